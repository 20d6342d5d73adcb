"""Looks at pairs: known from the lake or made, whoever asks, in whatever order."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pyarrow as pa
import pytest
from builders import Bench, Picture

from idedup_tasks import compute, looking, verification
from idedup_tasks.images import read_image
from idedup_tasks.lake import IMAGES, LOOK, Conflict, PackWriter, read_thumbnails
from idedup_tasks.looking import COLUMNS, Looks, pictures_of
from idedup_tasks.pipeline import stage_module
from idedup_tasks.settings import Limits

LIMITS = Limits.model_validate({})


def store(bench: Bench, contents: list[bytes]) -> pa.Table:
    """Put the thumbnails of some image files into a pack; their rows."""
    rows = []
    with PackWriter() as pack:
        for content in contents:
            facts = read_image(content, LIMITS)
            about = {name: getattr(facts, name) for name in ("sha256", "width", "height")}
            rows.append({**about, **pack.add(facts.thumbnail)})
        path = pack.store(bench.run().lake)
    schema = pa.schema([IMAGES.field(name) for name in COLUMNS])
    return pa.Table.from_pylist([{**row, "pack": path} for row in rows], schema)


@pytest.fixture
def pictures(bench: Bench) -> pa.Table:
    """Drawn pictures of two families, some degrees apart."""
    return store(bench, [Picture(i, i % 2, 7 * i).content for i in range(9)])


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, drawn: None) -> list[tuple[str, str]]:
    """The contents of every pair that was looked at, as they were given."""
    seen: list[tuple[str, str]] = []
    double = verification.look

    def look(a: verification.Picture, b: verification.Picture) -> verification.Look:
        seen.append((a.sha256, b.sha256))
        return double(a, b)

    monkeypatch.setattr(verification, "look", look)
    return seen


def every_pair(n: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(n, 1)
    return first, second


def expected(pictures: pa.Table, bench: Bench, first: Any, second: Any) -> list[dict[str, Any]]:
    """Each look by itself."""
    rows = pictures.to_pylist()
    thumbnails = read_thumbnails(bench.run().lake, pictures)
    found = []
    for ends in zip(first, second, strict=True):
        a, b = (
            verification.Picture.of_thumbnail(
                thumbnails[i], **{n: rows[i][n] for n in ("width", "height", "sha256")}
            )
            for i in ends
        )
        turned = a.sha256 > b.sha256
        look = verification.look(b, a) if turned else verification.look(a, b)
        found.append(builders.turned(look.row()) if turned else look.row())
    return found


def test_each_row_says_what_the_first_is_to_the_second(bench: Bench, pictures: pa.Table) -> None:
    first, second = every_pair(len(pictures))
    there = Looks(bench.run(), pictures).at(first, second)
    back = Looks(bench.run(), pictures).at(second, first)
    assert there.schema == pa.schema(LOOK)
    assert there.to_pylist() == expected(pictures, bench, first, second)
    assert back.to_pylist() == expected(pictures, bench, second, first)
    both = zip(there.to_pylist(), back.to_pylist(), strict=True)
    crops = [(a, b) for a, b in both if a["relation"] == "crop"]
    assert crops
    assert all(a["overlap_a"] == b["overlap_b"] != a["overlap_b"] for a, b in crops)


def test_a_pair_is_looked_at_once_for_all(
    bench: Bench, pictures: pa.Table, looked: list[tuple[str, str]]
) -> None:
    looks = Looks(bench.run(), pictures)
    rows = looks.at(np.array([0, 1, 1, 3, 3]), np.array([1, 0, 2, 3, 4]))
    assert sorted(map(sorted, looked)) == sorted(map(sorted, set(looked))), "three pairs"
    assert all(a < b for a, b in looked), "the smaller content comes first"
    assert (len(looked), looks.made) == (3, 3)
    assert rows["relation"].to_pylist()[3] == "exact"
    # Other positions, other neighbours: what counts are the contents.
    others = pictures.take([4, 1, 0, 3])
    again = Looks(bench.run(), others)
    found = again.at(np.array([2, 3]), np.array([1, 0]))
    assert found.to_pylist() == rows.take([0, 4]).to_pylist()
    assert (len(looked), again.made) == (3, 0)


def test_nothing_is_asked_of_nothing(bench: Bench, pictures: pa.Table) -> None:
    none = np.empty(0, np.int64)
    assert Looks(bench.run(), pictures).at(none, none).num_rows == 0
    assert Looks(bench.run(), pictures.slice(0, 0)).at(none, none).num_rows == 0


def test_another_version_of_the_verifier_looks_anew(
    bench: Bench, pictures: pa.Table, looked: list[tuple[str, str]], monkeypatch: Any
) -> None:
    pair = np.array([0]), np.array([2])
    Looks(bench.run(), pictures).at(*pair)
    monkeypatch.setattr(looking, "verifier_version", lambda: "looks-2-other")
    assert Looks(bench.run(), pictures).at(*pair).num_rows == 1
    assert len(looked) == 2


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("chunk", [4, 500])
def test_the_real_verifier_says_the_same_over_any_chunks_and_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, chunk: int
) -> None:
    bench = builders.bench(tmp_path / "home", tmp_path / "source")
    scenes = builders.scenes(3)
    smaller = [s.resize((70, 70)) for s in scenes]
    edits = [*scenes, *smaller, *(s.crop((5, 5, 90, 90)) for s in scenes)]
    pictures = store(bench, [builders.encoded(e) for e in edits])
    first, second = every_pair(len(edits))
    monkeypatch.setattr(looking, "CHUNK", chunk)
    monkeypatch.setattr(compute, "cores_of_job", lambda: threads)
    found = Looks(bench.run(), pictures).at(first, second).to_pylist()
    assert found == expected(pictures, bench, first, second)
    relations = {row["relation"] for row in found}
    assert "same" in relations
    assert relations & {"crop", "inside"}


def test_a_finer_picture_is_looked_at_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [Picture(i, 0, i).content for i in range(3)]
    pictures = store(bench, contents)
    fine = builders.scene(5, 300).convert("L")
    with PackWriter() as pack:
        place = pack.add(read_image(contents[1], LIMITS).thumbnail, builders.encoded(fine, "JPEG"))
        path = pack.store(bench.run().lake)
    rows = pictures.to_pylist()
    rows[1] |= {**place, "pack": path}
    seen: dict[str, Any] = {}
    double = verification.look

    def look(a: verification.Picture, b: verification.Picture) -> verification.Look:
        seen.update({p.sha256: None if p.fine is None else p.fine.shape for p in (a, b)})
        return double(a, b)

    monkeypatch.setattr(verification, "look", look)
    table = pa.Table.from_pylist(rows, pictures.schema)
    Looks(bench.run(), table).at(np.array([0, 1]), np.array([1, 2]))
    assert [seen[row["sha256"]] for row in rows] == [None, (300, 300), None]


class Cut(Exception):
    """A kill, as far as this process can have one."""


def test_a_run_that_was_cut_off_goes_on(
    bench: Bench,
    pictures: pa.Table,
    looked: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = every_pair(len(pictures))
    monkeypatch.setattr(looking, "CHUNK", 10)
    written, real = [], looking.look_chunk

    def cut(chunk: Any) -> Any:
        if len(written) == 2:
            raise Cut
        written.append(real(chunk))
        return written[-1]

    monkeypatch.setattr(looking, "look_chunk", cut)
    with pytest.raises(Cut):
        Looks(bench.run(), pictures).at(first, second)
    assert bench.run().lake.snapshot("looks").rows == 0, "nobody has published them"
    assert len(looked) == 20
    monkeypatch.setattr(looking, "look_chunk", real)
    Looks(bench.run(), pictures).at(first, second)
    assert len(looked) == len(first) == bench.run().lake.snapshot("looks").rows


def test_looks_are_published_as_they_are_made(
    bench: Bench, pictures: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "CHUNK", 10)
    monkeypatch.setattr(looking, "COMMIT_S", 0)
    first, second = every_pair(len(pictures))
    before = bench.run().lake.snapshot("looks").version
    Looks(bench.run(), pictures).at(first, second)
    looks = bench.run().lake.snapshot("looks")
    assert looks.version - before == len(looks.files()) == -(-len(first) // 10)


def test_several_writers_lose_nothing(bench: Bench, pictures: pa.Table) -> None:
    """Who publishes second does so again, on top of the first; what both looked at is one look."""
    first, second = every_pair(len(pictures))
    start, found = threading.Barrier(4), {}

    def work(worker: int) -> None:
        some = np.arange(len(first)) % 4 != worker
        start.wait()
        looks = Looks(bench.run(), pictures)
        found[worker] = looks.at(first[some], second[some]).to_pylist()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    every = expected(pictures, bench, first, second)
    for worker in range(4):
        assert found[worker] == [row for i, row in enumerate(every) if i % 4 != worker]
    stored = bench.run().lake.snapshot("looks").read(["sha256_a", "sha256_b"]).to_pylist()
    assert len({tuple(row.values()) for row in stored}) == len(first)
    after = Looks(bench.run(), pictures)
    assert after.at(first, second).to_pylist() == every
    assert after.made == 0


def test_progress_counts_known_and_new(bench: Bench, pictures: pa.Table) -> None:
    told: list[tuple[str, int, int | None]] = []
    run = bench.run(progress=lambda *said: told.append(said))
    Looks(run, pictures).at(np.array([0]), np.array([1]))
    Looks(run, pictures).at(np.array([0, 0]), np.array([1, 2]), "looking at twins")
    assert told[-1] == ("looking at twins", 2, 2)
    assert ("looking at twins", 1, 2) in told


def test_pictures_come_in_the_order_asked_for(bench: Bench) -> None:
    for i in range(5):
        builders.place(bench.source, f"{i}.png", Picture(i, i).content, day=i % 2)
    run = bench.run()
    ingest = stage_module("ingest")
    ingest.publish(run, ingest.prepare(run))
    images = run.lake.snapshot("images")
    rows = images.read(["image_id", *COLUMNS]).to_pylist()
    wanted = [rows[i] for i in (3, 0, 4)]
    ids = np.array([row["image_id"] for row in wanted], dtype="S32")
    found = pictures_of(images, ids)
    assert found.to_pylist() == [{n: row[n] for n in COLUMNS} for row in wanted]
    with pytest.raises(Conflict, match="1 images are not in version"):
        pictures_of(images, np.append(ids, b"0" * 32))
