"""What the lake promises; what stages do with damage, other settings and very many twins."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pyarrow as pa
import pytest
from builders import Bench, Picture, current_state, differences, encoded, scene, walk
from PIL import Image

from idedup_tasks import pipeline
from idedup_tasks.images import read_image
from idedup_tasks.lake import (
    EMBEDDINGS,
    FINGERPRINTS,
    IMAGES,
    MATCHES,
    TABLES,
    DamagedCandidate,
    Lake,
    PackWriter,
    TableChange,
)
from idedup_tasks.periods import period_of
from idedup_tasks.pipeline import QualityFailure
from idedup_tasks.run import ModelMismatch, Run
from idedup_tasks.settings import STAGES, Limits
from idedup_tasks.shards import DamagedShard, ids_path, open_shards, search

AFTER_INGEST = STAGES[1:]


def _varied(bench: Bench) -> None:
    """Copies, steps of the hash, a chain and something unrelated, over two days."""
    base = 0x0123456789ABCDEF
    pictures = [
        *(Picture(base ^ (2 ** (3 * i) - 1), 1, 5 * i) for i in range(4)),
        *(Picture(base * (i + 3) % 2**64, 2, 25 * i) for i in range(5)),
        Picture(base * 11 % 2**64, 3),
    ]
    # Two edits of one, which are only alike.
    edits = [Picture(base * (i + 13) % 2**64, 4, degrees) for i, degrees in enumerate((25, 0, 50))]
    for i, picture in enumerate([*pictures, pictures[4], pictures[9], *edits]):
        builders.place(bench.source, f"{i:02}.png", picture.content, i % 2, i)


# --- files ---------------------------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "photos")
    lake.write_text("a/b.txt", "old")
    with pytest.raises(ZeroDivisionError), lake.create("a/b.txt") as stream:
        stream.write(b"half of the new")
        raise ZeroDivisionError
    assert lake.read_text("a/b.txt") == "old"
    assert [p.name for p in (tmp_path / "photos" / "a").iterdir()] == ["b.txt"]


def test_a_named_data_file_is_written_once(tmp_path: Path) -> None:
    """It may be another run's, and published: what is there stays."""
    lake = Lake(str(tmp_path), "photos")
    look = {"relation": "same", "overlap_a": 1.0, "overlap_b": 1.0, "changed": 0.0, "blur": 0.0}
    look |= {"score": 0.9, "transform": [1.0] * 9, "way": "frames", "proposed_by": "vector"}
    rows = [pa.Table.from_pylist([{"image_a": "1", "image_b": b, **look}], MATCHES) for b in "23"]
    first = lake.write_rows("matches", {}, rows[0], "chunk.parquet")
    lake.publish(TableChange("matches", 0, add=[first]))
    assert lake.write_rows("matches", {}, rows[1], "chunk.parquet") == first
    assert lake.snapshot("matches").read().equals(rows[0])
    assert lake.written("matches", {}, "chunk.parquet") == first
    assert lake.written("matches", {}, "other.parquet") is None
    Path(lake.path(f"matches/{first.path}")).write_bytes(b"PAR1 and no more")
    damaged = lake.written("matches", {}, "chunk.parquet")
    assert damaged is not None
    assert damaged.rows == -1


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_candidate_is_not_published(
    bench: Bench, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders.place(bench.source, "a.png", Picture(1 << 40, 1).content, 0)
    run = bench.run()
    prepared = pipeline.prepare("ingest", run)
    candidate = run.lake.load_candidate(prepared["candidate"])
    path = Path(run.lake.path(f"images/{candidate.changes[0].add[0].path}"))
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(QualityFailure, match="images_schema"):
        pipeline.gate("ingest", run, prepared["candidate"])
    with pytest.raises(DamagedCandidate, match=r"rerun the stage"):
        run.lake.publish(candidate.changes[0])
    assert run.lake.snapshot("images").rows == 0
    walk(run, ["ingest"])
    assert run.lake.snapshot("images").rows == 1


def test_names_of_periods_sort_as_the_periods_do() -> None:
    years = [builders.FIRST_DAY.replace(year=year) for year in (1, 99, 999, 1970, 9999)]
    for period in ("hour", "day", "month"):
        names = [period_of(year, period) for year in years]  # type: ignore[arg-type]
        assert names == sorted(names)


# --- the index -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", ["missing", "ids missing", "truncated", "one bit", "ids one bit"]
)
def test_a_damaged_shard_is_found_and_rebuilt(bench: Bench, unguarded: None, damage: str) -> None:
    _varied(bench)
    walk(bench.run())
    run = bench.run(run_id="again")
    state = current_state(run)
    row = run.lake.snapshot("index").read().to_pylist()[0]
    path = Path(run.lake.path(ids_path(row["path"]) if "ids" in damage else row["path"]))
    content = bytearray(path.read_bytes())
    if "missing" in damage:
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-8])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(DamagedShard, match="rerun the index stage"):
        list(open_shards(run.lake, run.lake.snapshot("index"), run.model_id))
    with pytest.raises(DamagedShard):  # where there is something to compare
        pipeline.prepare("match", bench.with_settings(matching={"candidates": 7}).run())
    counts = walk(run)["index"]["counts"]
    assert counts["rebuilt"] == 1
    assert counts["indexed"] == counts["active"] == counts["added"]
    assert differences(current_state(run), state) == {}
    assert walk(run, ["index"])["index"]["counts"]["rebuilt"] == 0


def test_searching_leaves_out_what_is_no_longer_active(bench: Bench, unguarded: None) -> None:
    _varied(bench)
    walk(bench.run())
    (bench.source / "06.png").unlink()
    walk(bench.run(allow_removals=True))
    run = bench.run()
    query = np.zeros((1, 256), dtype=np.float32)
    query[0, 4:6] = np.cos(np.deg2rad(50)), np.sin(np.deg2rad(50))  # where 06.png was
    names, scores = search(run.lake, run.model_id, query, k=4)
    keys = run.lake.snapshot("images").read(["image_id", "key"]).to_pylist()
    key_of = {row["image_id"]: row["key"] for row in keys}
    assert [key_of[n] for n in names[0][:2]] in (["05.png", "07.png"], ["07.png", "05.png"])
    assert scores[0, 0] == pytest.approx(np.cos(np.deg2rad(25)), abs=1e-6)


# --- models and settings -------------------------------------------------------------------------


def test_another_model_than_the_pinned_one_fails_with_a_sentence(bench: Bench) -> None:
    _varied(bench)
    walk(bench.run(), ["ingest", "prefilter"])
    other = bench.with_settings(model_id="mobilenet_v3-00000000")
    with pytest.raises(ModelMismatch, match=r"pins model_id mobilenet_v3-00000000, and the inst"):
        walk(other.run(), ["embed"])
    assert bench.run().lake.snapshot("embeddings").rows == 0


CHANGES: dict[str, dict[str, Any]] = {
    "cut": {"grouping": {"cut": 0.95}},
    "candidate": {"thresholds": builders.THRESHOLDS.model_dump() | {"candidate": 0.6}},
    "distance": {"thresholds": builders.THRESHOLDS.model_dump() | {"phash_distance": 0}},
    "further distance": {"thresholds": builders.THRESHOLDS.model_dump() | {"phash_distance": 12}},
    "candidates": {"matching": {"candidates": 1}},
    "linkage limit": {"grouping": {"linkage_limit": 4}},
    "linkage": {"grouping": {"linkage": "complete"}},
    "keeper": {"keeper": ("path",), "preferred_paths": ("11",)},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_changed_settings_are_a_difference_like_any_other(
    bench: Bench, unguarded: None, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """There and back: each time what a fresh run under those settings gives."""
    _varied(bench)
    walk(bench.run())
    before = current_state(bench.run())
    changed = bench.with_settings(**changes)
    walk(changed.run(0))
    fresh = changed.fresh(tmp_path / "fresh")
    walk(fresh.run())
    assert differences(before, current_state(fresh.run())) != {}
    assert differences(current_state(changed.run()), current_state(fresh.run())) == {}
    walk(bench.run(1))
    assert differences(current_state(bench.run()), before) == {}


@pytest.mark.parametrize("changes", ["candidates", "candidate", "linkage limit"])
def test_settings_changed_and_killed_between_two_tables(
    bench: Bench, unguarded: None, tmp_path: Path, changes: str
) -> None:
    """Matches of the new settings beside groups of the old: those are not to be trusted."""
    _varied(bench)
    for i in range(5):  # more matches than are kept
        picture = Picture(0xFEDCBA9876543210 * (i + 3) % 2**64, 9, i)
        builders.place(bench.source, f"more{i}.png", picture.content, 0, i)
    walk(bench.run())
    changed = bench.with_settings(**CHANGES[changes])
    before = current_state(bench.run())
    run = changed.run()
    walk(run, ["prefilter", "embed", "index", "match"])  # and then: killed
    walk(run)
    fresh = changed.fresh(tmp_path / "fresh")
    walk(fresh.run())
    assert differences(current_state(run), current_state(fresh.run())) == {}
    walk(bench.run(), ["prefilter", "embed", "index", "match"])
    walk(bench.run())
    assert differences(current_state(bench.run()), before) == {}


@pytest.fixture
def scenes(tmp_path: Path, unguarded: None, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Real scenes, hashes and descriptor: three scenes, and copies that are turned and mirrored."""
    monkeypatch.setattr("idedup_tasks.images.read_objects", builders.read_in_process)
    home = tmp_path / "home"
    bench = builders.bench(home, tmp_path / "source", model_id=None, thresholds=None)
    for i in range(3):
        picture = scene(i, 128)
        builders.place(bench.source, f"{i}.png", encoded(picture), 0, i)
        mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        builders.place(bench.source, f"{i} mirrored.jpg", encoded(mirrored, "JPEG"), 1, i)
        turned = picture.transpose(Image.Transpose.ROTATE_90)
        builders.place(bench.source, f"{i} turned.jpg", encoded(turned, "JPEG"), 1, i)
    return bench


def test_mirrored_copies_are_found_when_asked_for(scenes: Bench, tmp_path: Path) -> None:
    assert walk(scenes.run())["prefilter"]["counts"]["collapsed_same"] == 0
    asked = scenes.with_settings(prefilter={"mirrored": True})
    assert walk(asked.run(0))["prefilter"]["counts"]["collapsed_same"] == 6
    fresh = asked.fresh(tmp_path / "fresh")
    walk(fresh.run())
    assert differences(current_state(asked.run()), current_state(fresh.run())) == {}
    assert walk(scenes.run(1))["prefilter"]["counts"]["collapsed_same"] == 0


@pytest.mark.parametrize("kind", ["dhash", "whash"])
def test_another_hash_replaces_every_hash(scenes: Bench, tmp_path: Path, kind: str) -> None:
    walk(scenes.run())
    # The calibrated distance is pHash's: another hash comes with its own.
    own = {"thresholds": builders.THRESHOLDS.model_dump(), "model_id": scenes.run().model_id}
    other = scenes.with_settings(prefilter={"hash": kind}, **own)
    walk(other.run(0), AFTER_INGEST)
    fresh = other.fresh(tmp_path / "fresh")
    walk(fresh.run())
    assert differences(current_state(other.run()), current_state(fresh.run())) == {}


# --- many that are alike -------------------------------------------------------------------------


def _planted(bench: Bench, vectors: np.ndarray) -> Run:
    """Write images, fingerprints and embeddings straight into the lake, as if they had come in.

    All are the same once they are looked at.
    """
    run, n = bench.run(), len(vectors)
    lake, arrival = run.lake, "2026-01-01"
    ids = [f"{i * 0x9E3779B97F4A7C15 % 2**64:032x}" for i in range(n)]
    with PackWriter() as pack:  # all look the same, once somebody looks
        place = pack.add(
            read_image(Picture(1 << 40, 1).content, Limits.model_validate({})).thumbnail
        )
        place["pack"] = pack.store(lake)
    common = {
        "arrival": pa.repeat(arrival, n),
        "image_id": ids,
        "sha256": [f"{i + 1:064x}" for i in range(n)],
    }
    tables = {
        "images": common
        | {
            "key": [f"{i}.jpg" for i in range(n)],
            "uri": [f"file:///{i}.jpg" for i in range(n)],
            "arrived_at": [builders.moment(0)] * n,
            "bytes": [1_000] * n,
            "etag": ["1"] * n,
            "width": [640] * n,
            "height": [480] * n,
            "format": ["JPEG"] * n,
            "status": ["decoded"] * n,
            "low_information": [False] * n,
            "detail": [0.3] * n,
            "colour": [9.0] * n,
            "was_jpeg": [False] * n,
            "coarseness": [0.0] * n,
            "exif_fields": [0] * n,
            **{name: [value] * n for name, value in place.items()},
        },
        "fingerprints": common
        | {
            "hash": np.random.default_rng(1).integers(-(2**62), 2**62, n),
            "low_information": [False] * n,
            "status": ["active"] * n,
        },
        "embeddings": common
        | {"model_id": pa.repeat(run.model_id, n), "vector": list(vectors.astype(np.float32))},
    }
    reads: dict[str, int] = {}
    for name, schema in (
        ("images", IMAGES),
        ("fingerprints", FINGERPRINTS),
        ("embeddings", EMBEDDINGS),
    ):
        rows = {f.name: tables[name].get(f.name, pa.nulls(n, f.type)) for f in schema}
        partition = {"arrival": arrival, "model_id": run.model_id}
        partition = {c: partition[c] for c in TABLES[name].partition_by}
        file = lake.write_rows(name, partition, pa.table(rows, schema))
        version = lake.snapshot(name).version
        change = TableChange(name, version, add=[file], metadata={"reads": dict(reads)})
        reads[name] = lake.publish(change)
    return run


def test_three_thousand_alike_make_one_group_and_few_looks(bench: Bench, unguarded: None) -> None:
    random = np.random.default_rng(5)
    vectors = random.normal(size=256) + 0.02 * random.normal(size=(3_000, 256))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    run = _planted(bench, vectors)
    counts = walk(run, ["index", "match", "group", "report"])
    found, grouped = counts["match"]["counts"], counts["group"]["counts"]
    limit = run.collection.matching.candidates
    assert 0 < found["looked_at"] == found["candidates"] <= 3_000 * limit
    assert run.lake.snapshot("matches").rows == found["candidates"] == found["same"]
    assert found["crowded"] == grouped["crowded"] == 3_000
    assert (grouped["components"], grouped["components_large"]) == (1, 1)
    assert grouped["groups"] == 1
    assert grouped["largest_group"] == 3_000
    assert grouped["looks_asked"] < 2 * 3_000
    with closing(sqlite3.connect(bench.home / "warehouse.db")) as held:
        (edges,) = held.execute("SELECT count(*) FROM duplicate_pair").fetchone()
    # What was looked at, and each with its keeper.
    assert found["candidates"] < edges < found["candidates"] + 3_000


def test_cells_and_exact_give_the_same_groups_where_all_share_a_cell(
    bench: Bench, unguarded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four cells, and each image in its nearest four."""
    random = np.random.default_rng(6)
    centres = random.normal(size=(40, 256))
    vectors = np.repeat(centres, 10, axis=0) + 0.5 * random.normal(size=(400, 256))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centroids = random.normal(size=(4, 256)).astype(np.float32)
    monkeypatch.setattr("idedup_tasks.descriptors.load_quantiser", lambda _: centroids)
    run = _planted(bench, vectors)
    exact = walk(run, ["index", "match", "group", "report"])
    state = current_state(run)
    cells = bench.with_settings(matching={"exact_limit": 0, "cells_per_image": 4}).run()
    found = walk(cells, ["match", "group", "report"])["match"]["counts"]
    assert (exact["match"]["counts"]["mode"], found["mode"]) == ("exact", "cells")
    assert found["sampled_recall"] == 1.0
    assert 30 < exact["group"]["counts"]["groups"] <= 45
    assert differences(current_state(cells), state) == {}


# --- sources that are reconciled without being read again ----------------------------------------


def test_a_source_that_moved_is_not_read_again(bench: Bench, unguarded: None) -> None:
    _varied(bench)
    walk(bench.run())
    elsewhere = bench.source.rename(bench.source.with_name("elsewhere"))
    moved = bench.with_settings(source=str(elsewhere))
    counts = [walk(moved.run(day))["ingest"]["counts"] for day in (0, 1)]
    assert [c["read"] for c in counts] == [0, 0]
    fresh = moved.fresh(bench.home.with_name("fresh"))
    walk(fresh.run())
    assert differences(current_state(moved.run()), current_state(fresh.run())) == {}
    versions = builders.versions(moved.run())
    walk(moved.run(0))
    assert builders.versions(moved.run()) == versions


@pytest.mark.parametrize(
    "arrival",
    [
        {"rule": "key", "template": "{year}/{month}/{day}/"},
        {"rule": "modified", "period": "hour"},
        {"rule": "modified", "period": "month"},
    ],
    ids=["key", "hour", "month"],
)
def test_another_rule_of_arrival_is_reconciled(
    bench: Bench, unguarded: None, arrival: dict[str, Any]
) -> None:
    """Images move to other periods, or to another moment of the same."""
    for i in range(8):
        picture = Picture(0x0123456789ABCDEF ^ (2 ** (3 * i) - 1), 1, 10 * i)
        builders.place(
            bench.source, f"2026/01/0{1 + i % 3}/{9 - i}.png", picture.content, 0, 50 * i
        )
    walk(bench.run())
    changed = bench.with_settings(arrival=arrival)
    walk(changed.run(0, days=1))
    walk(changed.run())
    fresh = changed.fresh(bench.home.with_name("fresh"))
    walk(fresh.run())
    assert differences(current_state(changed.run()), current_state(fresh.run())) == {}


def test_a_key_without_the_date_of_the_template_is_rejected(bench: Bench, unguarded: None) -> None:
    """Also when it was taken in under another rule; and taken in when the template is mended."""
    builders.place(bench.source, "in/2026/01/01/a.png", Picture(1 << 40, 1).content, 0)
    for key in ("in/2026/13/01/b.png", "in/lost/2026/01/02/c.png", "in/d.png"):
        builders.place(bench.source, key, Picture(1 << 20, 1).content, 0)

    def rejected(template: str | None) -> dict[str, str]:
        arrival = {"rule": "modified"} if template is None else {"rule": "key"}
        run = bench.with_settings(arrival=arrival | {"template": template}).run()
        walk(run)
        again = walk(run)["ingest"]["counts"]
        assert again["decoded"] + again["rejected"] == again["listed"] == 4
        rows = run.lake.snapshot("images").read(["key", "status", "reason"]).to_pylist()
        assert len(rows) == 4
        return {row["key"]: row["reason"] for row in rows if row["status"] == "rejected"}

    assert rejected(None) == {}
    found = rejected("in/{year}/{month}/{day}/")
    assert set(found) == {"in/2026/13/01/b.png", "in/lost/2026/01/02/c.png", "in/d.png"}
    assert set(found.values()) == {
        "Its key lacks the date that `arrival` asks for (in/{year}/{month}/{day}/): move it, or "
        "mend the template."
    }
    assert set(rejected("/{year}/{month}/{day}/")) == {"in/2026/13/01/b.png", "in/d.png"}


# --- what the log says ---------------------------------------------------------------------------


def test_a_stage_and_its_gate_each_end_in_one_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    builders.place(bench.source, "a.png", Picture(1 << 40, 1).content, 0)
    (bench.source / "b.png").write_text("no picture")
    run = bench.run()
    caplog.set_level("INFO")
    prepared = pipeline.prepare("ingest", run)
    own = [r.getMessage() for r in caplog.records if r.name == "idedup_tasks.pipeline"]
    assert own[-1].startswith("ingest: worked on 2, listed 2, decoded 1, rejected 1, ")
    caplog.clear()
    pipeline.gate("ingest", run, prepared["candidate"])
    # Few objects: that half of them cannot be read only warns.
    own = [r.getMessage() for r in caplog.records if r.name == "idedup_tasks.pipeline"]
    assert own[-1] == (
        "ingest: 14 rules hold, 1 warns (reject_ratio: found 0.5, expected at most "
        "20% of the objects rejected); published as images version 1."
    )
    # This one does not heed the level of its parents.
    assert "great_expectations.data_context.types.base" not in {r.name for r in caplog.records}


def test_a_gate_that_stays_shut_says_which_rule_and_what_to_do(bench: Bench) -> None:
    bench = bench.with_settings(quality={"max_removal_ratio": 0.0})
    for name, day in (("a.png", 0), ("b.png", 0)):
        builders.place(bench.source, name, Picture(1 << 40, 1).content, day)
    walk(bench.run(), ["ingest"])
    (bench.source / "a.png").unlink()
    prepared = pipeline.prepare("ingest", bench.run())
    with pytest.raises(QualityFailure) as failure:
        pipeline.gate("ingest", bench.run(), prepared["candidate"])
    said = str(failure.value)
    assert said.startswith(
        "ingest of drawn is not published: removal_ratio: found max_removed_ratio 0.5, expected at "
        "most 0% of a partition vanished. Mend the cause, then have ingest prepared again; "
    )
    assert "\n" not in said
    assert prepared["candidate"] in said
