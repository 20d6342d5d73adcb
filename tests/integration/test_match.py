"""Match: which pairs are looked at, and that it does not matter how they came."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from builders import Bench, Picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps
from skimage import data

from idedup_tasks import pipeline, verification
from idedup_tasks.lake import Conflict, TableChange, reconcile_partition
from idedup_tasks.run import Run
from idedup_tasks.settings import RELATIONS
from idedup_tasks.stages.match.prepare import collect, gathered

STAGES = ("ingest", "prefilter", "embed", "index", "match")


def walk(run: Run, stages: Iterable[str] = STAGES) -> dict[str, dict[str, Any]]:
    """The stages up to match, with all their rules; what each counted."""
    found = {}
    for stage in stages:
        module = pipeline.stage_module(stage)
        candidate = module.prepare(run)
        broken = [r for r in pipeline.check(run, candidate, "arrow") if not r.success]
        assert broken == []
        module.publish(run, candidate)
        found[stage] = candidate.counts
    return found


def matches(run: Run) -> list[dict[str, Any]]:
    """The table, by the keys of its images; the first of a pair is the one with the lesser key."""
    keys = {
        row["image_id"]: row["key"]
        for row in run.lake.snapshot("images").read(["image_id", "key"]).to_pylist()
    }
    rows = []
    for row in run.lake.snapshot("matches").read().to_pylist():
        assert row["image_a"] < row["image_b"]
        ends = keys[row["image_a"]], keys[row["image_b"]]
        rows.append({**row, "pair": tuple(sorted(ends))})
    return sorted(rows, key=lambda row: row["pair"])


def by_proposer(run: Run) -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = {"hash": set(), "vector": set(), "component": set()}
    for row in matches(run):
        found[row["proposed_by"]].add(row["pair"])
    return found


def far(i: int) -> int:
    """Hashes that are far from each other."""
    return 0x9E3779B97F4A7C15 * (i + 1) % 2**64


def fill(bench: Bench, pictures: dict[str, Picture], day: int = 0) -> None:
    for minute, (key, picture) in enumerate(pictures.items()):
        builders.place(bench.source, key, picture.content, day, minute)


def pairs_of(*keys: str) -> set[tuple[str, str]]:
    return set(combinations(keys, 2))


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, drawn: None) -> Counter[tuple[str, str]]:
    """How often each two contents were looked at."""
    seen: Counter[tuple[str, str]] = Counter()
    double = verification.look

    def look(a: verification.Picture, b: verification.Picture) -> verification.Look:
        seen[a.sha256, b.sha256] += 1
        return double(a, b)

    monkeypatch.setattr(verification, "look", look)
    return seen


def test_every_pair_that_is_proposed_is_looked_at(
    bench: Bench, looked: Counter[tuple[str, str]]
) -> None:
    """A chain of edits in which neighbours are candidates, and a twin and a copy of its middle."""
    chain = {f"c{i}": Picture(far(i), 1, 30 * i) for i in range(3)}
    others = {"c1-twin": Picture(far(1) ^ 1, 1, 35), "other": Picture(far(9), 2, 0)}
    fill(bench, chain | others | {"z-copy": chain["c1"]})
    run = bench.run()
    counts = walk(run)
    assert by_proposer(run) == {
        "hash": {("c1", "c1-twin")},
        "vector": {("c0", "c1"), ("c1", "c2")},
        # One component by what was seen; c0 and c2 are two edits of one picture.
        "component": pairs_of("c0", "c1", "c1-twin", "c2")
        - {("c1", "c1-twin"), ("c0", "c1"), ("c1", "c2")},
    }
    seen = {row["pair"]: (row["relation"], row["cosine"]) for row in matches(run)}
    assert seen["c0", "c1"] == ("edited", 0.866)
    assert seen["c0", "c2"] == ("alike", None)
    assert seen["c1", "c1-twin"] == ("same", None)
    assert set(looked.values()) == {1}
    assert counts["match"]["looks_known"] == counts["match"]["hash_pairs"] == 1
    assert counts["match"]["components"] == 1
    again = walk(run)["match"]
    assert (again["images"], again["looks_new"]) == (0, 0)
    assert set(looked.values()) == {1}


def test_what_only_looks_alike_makes_no_component(bench: Bench) -> None:
    """45 degrees are a candidate at that threshold, and no edit."""
    bench = bench.with_settings(thresholds={"candidate": 0.7, "phash_distance": 4})
    fill(bench, {f"c{i}": Picture(far(i), 1, 45 * i) for i in range(4)})
    run = bench.run()
    assert walk(run)["match"]["components"] == 0
    assert by_proposer(run)["vector"] == {("c0", "c1"), ("c1", "c2"), ("c2", "c3")}
    assert by_proposer(run)["component"] == set()


def test_a_large_component_is_not_looked_at_in_full(bench: Bench) -> None:
    bench = bench.with_settings(grouping={"linkage_limit": 4})
    small = {f"a{i}": Picture(far(i), 1, 30 * i) for i in range(4)}
    large = {f"b{i}": Picture(far(9 + i), 2, 30 * i) for i in range(5)}
    fill(bench, small | large)
    run = bench.run()
    assert walk(run)["match"]["components"] == 2
    assert by_proposer(run)["component"] == {("a0", "a2"), ("a0", "a3"), ("a1", "a3")}


def test_an_image_is_looked_at_with_its_nearest_and_crowded_beyond(bench: Bench) -> None:
    """A pair is looked at if it is among the best of either."""
    bench = bench.with_settings(matching={"candidates": 2}, grouping={"linkage_limit": 2})
    fill(bench, {f"c{i}": Picture(far(i), 1, 5 * i) for i in range(6)})
    run = bench.run()
    counts = walk(run)["match"]
    degrees = range(0, 30, 5)
    kept = set()
    for a in range(6):
        others = sorted((abs(degrees[a] - degrees[b]), b) for b in range(6) if b != a)
        least = others[1][0]  # of equals, ids decide
        sure = [b for apart, b in others if apart < least]
        kept |= {tuple(sorted((f"c{a}", f"c{b}"))) for b in sure}
    found = by_proposer(run)["vector"]
    assert kept <= found
    assert len(found) < 15
    times = Counter(key for pair in found for key in pair)
    assert counts["crowded"] == sum(n >= 2 for n in times.values()) == 6
    assert len(found) <= 6 * 2


def test_what_crowded_images_lose_is_looked_at_later(bench: Bench, tmp_path: Path) -> None:
    bench = bench.with_settings(matching={"candidates": 2}, grouping={"linkage_limit": 2})
    keys = [f"c{i}" for i in range(6)]
    fill(bench, {key: Picture(far(i), 1, 5 * i) for i, key in enumerate(keys)})
    walk(bench.run())
    for key in keys[1:3]:
        (bench.source / key).unlink()
    walk(bench.run(allow_removals=True))
    once = bench.fresh(tmp_path / "once")
    walk(once.run())
    assert matches(bench.run()) == matches(once.run())


def test_low_information_is_compared_by_bytes_only(bench: Bench) -> None:
    flat = [b"P5 128 64 255 " + bytes([grey]) * (128 * 64) for grey in (90, 91)]
    for i, content in enumerate(flat):
        builders.place(bench.source, f"flat{i}", content, 0, i)
    counts = walk(bench.run())
    assert counts["match"]["looked_at"] == counts["prefilter"]["looked_at"] == 0


def test_what_collapses_was_looked_at(bench: Bench) -> None:
    """One hash: the second is the same, the third is of another family, the fourth its copy."""
    pictures = {
        "a": Picture(far(0), 1, 0),
        "b": Picture(far(0), 1, 5),
        "c": Picture(far(0), 2, 0),
        "d": Picture(far(0), 2, 8),
    }
    fill(bench, pictures)
    run = bench.run()
    counts = walk(run)["prefilter"]
    assert (counts["active"], counts["collapsed_same"]) == (2, 2)
    assert by_proposer(run)["hash"] == {("a", "b"), ("c", "d")}


def test_a_change_of_the_verifier_looks_anew_and_collapses_anew(
    bench: Bench, looked: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench, {"a": Picture(far(0), 1, 0), "b": Picture(far(0), 1, 5)})
    run = bench.run()
    assert walk(run)["prefilter"]["collapsed_same"] == 1
    for module in ("looking", "stages.prefilter.prepare"):
        monkeypatch.setattr(f"idedup_tasks.{module}.verifier_version", lambda: "looks-2-other")
    before = verification.look

    def stricter(a: verification.Picture, b: verification.Picture) -> verification.Look:
        from dataclasses import replace

        return replace(before(a, b), relation="edited")

    monkeypatch.setattr(verification, "look", stricter)
    counts = walk(run)
    assert counts["prefilter"]["collapsed_same"] == 0
    assert set(looked.values()) == {2}
    assert by_proposer(run) == {"hash": set(), "vector": {("a", "b")}, "component": set()}


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**32), candidates=st.integers(1, 4))
def test_matches_are_a_function_of_the_set(
    tmp_path_factory: pytest.TempPathFactory, seed: int, candidates: int
) -> None:
    """Over days in any order, with files that vanish and come: as one run over what is left."""
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        builders.doubles(patch.setattr)
        folder = tmp_path_factory.mktemp("match")
        bench = builders.bench(
            folder / "home",
            folder / "source",
            matching={"candidates": candidates},
            grouping={"linkage_limit": rng.choice((2, 5, 64))},
        )
        for i in range(14):
            picture = Picture(far(rng.randrange(5)), rng.randrange(2), 10 * rng.randrange(9), i)
            builders.place(bench.source, f"{rng.randrange(99):02}-{i}", picture.content, i % 3, i)
        for day in rng.sample(range(3), 3):
            walk(bench.run(day))
        for path in rng.sample(sorted(bench.source.iterdir()), 3):
            path.unlink()
        picture = Picture(far(0), 0, 15, 99)
        builders.place(bench.source, "0-late", picture.content, 0, 0)
        for day in rng.sample(range(3), 3):
            walk(bench.run(day, allow_removals=True))
        once = bench.fresh(folder / "once")
        walk(once.run())
        assert matches(bench.run()) == matches(once.run())
        rows = matches(once.run())
        assert len({row["pair"] for row in rows}) == len(rows)


class DrawnInParts(builders.DrawnDescriptor):
    """Of a picture's two parts one is like it, and one like nothing."""

    def encode_with_regions(self, thumbnails: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        vectors = self.encode(thumbnails)
        return vectors, parts_of(vectors)


def parts_of(vectors: np.ndarray) -> np.ndarray:
    return np.rint(127 * np.stack([vectors, vectors[:, ::-1]], axis=1)).astype(np.int8)


@pytest.mark.parametrize("lacks", ["its row", "its parts"])
def test_vectors_of_parts_are_those_of_each_image_and_none_may_lack(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    monkeypatch.setattr("idedup_tasks.descriptors.load_descriptor", lambda *_: DrawnInParts())
    fill(bench, {f"{i}.png": Picture(far(i), i, 10 * i) for i in range(5)})
    run = bench.run()
    walk(run, STAGES[:4])
    found = collect(run)
    with gathered(run, found):
        assert found.regions is not None
        np.testing.assert_array_equal(found.regions, parts_of(found.vectors))

    embeddings = run.lake.snapshot("embeddings")
    rows = embeddings.read()
    if lacks == "its row":
        rows = rows.slice(1)
    else:
        first = pa.array([i == 0 for i in range(rows.num_rows)])
        regions = pc.if_else(first, pa.scalar(b""), rows["regions"])
        rows = rows.set_column(rows.schema.get_field_index("regions"), "regions", regions)
    change = TableChange("embeddings", embeddings.version, metadata=embeddings.metadata)
    [partition] = embeddings.partitions()
    reconcile_partition(run.lake, embeddings, change, partition, rows)
    run.lake.publish(change)
    index = pipeline.stage_module("index")
    index.publish(run, index.prepare(run))
    found = collect(run)
    with pytest.raises(Conflict, match=r"1 active images .* parts"), gathered(run, found):
        pass


def test_where_nothing_is_new_no_vector_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = {f"{i}.png": Picture(far(i), i // 2, 5 * i) for i in range(6)}
    fill(bench, pictures)
    run = bench.run()
    first = walk(run)["match"]
    held = run.lake.snapshot("matches").read()

    def no_shard(*_: object) -> None:
        raise AssertionError("a shard was opened")

    with monkeypatch.context() as patch:
        patch.setattr("idedup_tasks.stages.match.prepare.open_shards", no_shard)
        again = walk(run, ("match",))["match"]
        assert (again["images"], again["looks_new"]) == (0, 0)
        assert {n: again[n] for n in first if n not in ("images", "looks_new", "looks_known")} == {
            n: first[n] for n in first if n not in ("images", "looks_new", "looks_known")
        }
        assert run.lake.snapshot("matches").read().equals(held)
    with pytest.raises(AssertionError, match="opened"):
        fill(bench, {"9.png": Picture(far(9), 0, 1)})
        monkeypatch.setattr("idedup_tasks.stages.match.prepare.open_shards", no_shard)
        walk(run)


def test_a_picture_that_runs_into_another_is_found_thoroughly(tmp_path: Path) -> None:
    """One with straight edges always is. And setting it is another version of the descriptor, with
    vectors of its own."""
    default = builders.bench(tmp_path / "home", tmp_path / "source", model_id=None, thresholds=None)
    cat, coffee, rocket = (
        Image.fromarray(getattr(data, name)()).resize((256, 256))
        for name in ("chelsea", "coffee", "rocket")
    )
    sheet = rocket.copy()
    sheet.paste(cat.resize((112, 112)), (10, 134))
    faded, soft = rocket.copy(), Image.new("L", (128, 128))
    soft.paste(255, (16, 16, 112, 112))
    soft = soft.filter(ImageFilter.GaussianBlur(8))
    faded.paste(cat.resize((128, 128)), (10, 118), soft)
    pictures = {"cat": cat, "coffee": coffee, "faded": faded, "rocket": rocket, "sheet": sheet}
    for minute, (name, picture) in enumerate(pictures.items()):
        builders.place(default.source, name + ".png", builders.encoded(picture), 0, minute)
    thorough = default.with_settings(matching={"thorough": True})
    found = []
    for bench, embedded in ((default, 5), (thorough, 5), (default, 0)):
        run = bench.run()
        counts = walk(run)["embed"]
        assert (counts["embedded"], counts["present"]) == (embedded, 5 - embedded)
        found.append({row["pair"]: row["cosine"] for row in matches(run)})
    pasted, runs_into = ("cat.png", "sheet.png"), ("cat.png", "faded.png")
    assert pasted in found[0]
    assert runs_into not in found[0]
    assert {pasted, runs_into} <= set(found[1])
    assert found[1][runs_into] > 0.3
    assert not any("coffee.png" in pair for pair in found[0])
    assert found[2] == found[0]
    assert default.run().model_id != thorough.run().model_id


def test_real_pictures_are_seen(tmp_path: Path) -> None:
    """Scenes with an honest copy, a part and a mirrored copy each, by the real hash, network and
    verifier; scenes do not resemble each other."""
    bench = builders.bench(
        tmp_path / "home", tmp_path / "source", thresholds={"candidate": 0.5, "phash_distance": 6}
    )
    for number, scene in enumerate(builders.scenes(4)):
        scene = scene.resize((288, 288))
        edits = {
            "0": scene,
            "1-small": scene.resize((192, 192)),
            "2-part": scene.crop((20, 20, 250, 260)),
            "3-mirrored": ImageOps.mirror(scene),
        }
        for minute, (name, edit) in enumerate(edits.items()):
            content = builders.encoded(edit, "JPEG", quality=90)
            builders.place(bench.source, f"{number}/{name}.jpg", content, minute, number)
    run = bench.run()
    counts = walk(run)
    assert counts["prefilter"]["collapsed_same"] == 4
    tied = [row["pair"] for row in matches(run) if row["relation"] in RELATIONS]
    assert all(a[0] == b[0] for a, b in tied)
    for number in range(4):
        seen = {
            row["pair"]: row["relation"]
            for row in matches(run)
            if row["pair"][0][0] == row["pair"][1][0] == f"{number}"
        }
        assert seen[f"{number}/0.jpg", f"{number}/1-small.jpg"] == "same"
        assert seen[f"{number}/0.jpg", f"{number}/3-mirrored.jpg"] == "same"
        assert seen[f"{number}/0.jpg", f"{number}/2-part.jpg"] in ("crop", "inside")
        assert len(seen) == 6, "all pairs of a small component"
    assert counts["match"]["components"] == 4
