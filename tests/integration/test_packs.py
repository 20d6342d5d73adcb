"""Packs of thumbnails: what rows say of them, one reader, damage, what stays and what goes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pyarrow as pa
import pytest
from builders import Bench, Picture, current_state, differences, walk
from deltalake import DeltaTable
from PIL import Image, ImageDraw

from idedup_tasks import images, maintenance, pipeline
from idedup_tasks.lake import (
    FINE_PLACE,
    PLACE,
    DamagedPack,
    Lake,
    OtherFormat,
    PackWriter,
    find_pictures,
    find_thumbnails,
    read_pictures,
    read_thumbnails,
    stream_thumbnails,
)
from idedup_tasks.run import Run

_BASE = 0x0123456789ABCDEF
LATER = datetime.now(UTC) + timedelta(days=10)


def place(bench: Bench, number: int, day: int = 0) -> Path:
    picture = Picture(_BASE * (number + 3) % 2**64, number % 6, 20 * (number % 2))
    return builders.place(bench.source, f"{number}.png", picture.content, day, number)


@pytest.fixture
def filled(bench: Bench, unguarded: None) -> Bench:
    """Five pictures and a file that is none, on one day; one picture on the next."""
    for number in range(5):
        place(bench, number)
    builders.place(bench.source, "none.png", b"no picture", 0, 30)
    place(bench, 5, day=1)
    walk(bench.run())
    return bench


def places(lake: Lake) -> pa.Table:
    rows = lake.snapshot("images").read(["key", "status", *PLACE])
    return rows.sort_by("key")


def packs(lake: Lake) -> dict[str, int]:
    return {f.path: f.bytes for f in lake.files_under("packs")}


# --- one writer, one reader ----------------------------------------------------------------------


def write(lake: Lake, thumbnails: Sequence[bytes]) -> pa.Table:
    with PackWriter() as pack:
        rows = [pack.add(thumbnail) for thumbnail in thumbnails]
        path = pack.store(lake)
    return pa.Table.from_pylist([{"pack": path, **row} for row in rows])


def made_up(count: int, seed: int = 1, size: int = 2_000) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [rng.bytes(size + int(extra)) for extra in rng.integers(0, size, count)]


class CountingLake(Lake):
    """Says how many ranges it was asked for."""

    asked = 0

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        self.asked += len(ranges)
        return super().read_ranges(ranges)


def test_any_rows_are_read_in_their_own_order_by_few_requests(tmp_path: Path) -> None:
    lake = CountingLake(str(tmp_path), "photos")
    thumbnails = made_up(300) + made_up(300, seed=2)
    rows = pa.concat_tables([write(lake, thumbnails[:300]), write(lake, thumbnails[300:])])
    order = np.random.default_rng(3).permutation(600)
    assert read_thumbnails(lake, rows.take(order)) == [thumbnails[i] for i in order]
    assert lake.asked == 2  # a range a pack
    [one] = read_thumbnails(lake, rows.slice(450, 1))
    assert one == thumbnails[450]
    apart = [0, 299, 300, 599]  # far more between them than it is worth to read over
    assert read_thumbnails(lake, rows.take(apart)) == [thumbnails[i] for i in apart]
    assert lake.asked == 2 + 1 + 4
    assert read_thumbnails(lake, rows.slice(0, 0)) == []
    [batch] = rows.take(order).combine_chunks().to_batches()
    parts = list(stream_thumbnails(lake, batch, 70))
    assert [part.num_rows for part, _ in parts] == [70] * 8 + [40]
    assert [t for _, part in parts for t in part] == [thumbnails[i] for i in order]


def test_the_same_thumbnails_are_the_same_pack(tmp_path: Path) -> None:
    """Of many writers and readers at once, each reader sees the whole of it."""
    lake, thumbnails = Lake(str(tmp_path), "photos"), made_up(50, size=20_000)
    rows = write(lake, thumbnails)

    def write_and_read(_: int) -> bool:
        return write(lake, thumbnails).equals(rows) and read_thumbnails(lake, rows) == thumbnails

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write_and_read, range(40)))
    assert packs(lake) == {rows["pack"][0].as_py(): sum(map(len, thumbnails))}


def test_a_pack_of_nothing_is_none(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "photos")
    with PackWriter() as pack:
        assert pack.store(lake) is None
    assert packs(lake) == {}


def flip(path: Path, at: int = -10) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


_DAMAGES: dict[str, Callable[[Path], Any]] = {"flipped": flip, "cut": cut, "gone": os.unlink}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_what_was_not_written_is_never_handed_on(tmp_path: Path, damage: str) -> None:
    lake, thumbnails = Lake(str(tmp_path), "photos"), made_up(3)
    rows, others = write(lake, thumbnails), write(lake, made_up(2, seed=2))
    pack = rows["pack"][0].as_py()
    _DAMAGES[damage](Path(lake.path(pack)))
    sound = [None, None] if damage == "gone" else thumbnails[:2]
    mixed = pa.concat_tables([others, rows])
    assert find_thumbnails(lake, mixed) == [*made_up(2, seed=2), *sound, None]
    lost = "3" if damage == "gone" else "1"
    said = f"{lost} of 5 thumbnails .*/{pack}: `idedup maintain check --repair`"
    with pytest.raises(DamagedPack, match=said):
        read_thumbnails(lake, mixed)
    assert write(lake, thumbnails).equals(rows)
    assert read_thumbnails(lake, rows) == thumbnails  # writing it again has mended it


def test_rows_that_point_nowhere_have_no_thumbnail(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "photos")
    rows = write(lake, made_up(1))
    beyond = rows.set_column(1, "offset", pa.array([10**9]))
    nowhere = pa.table({c: pa.nulls(1, rows[c].type) for c in PLACE})
    assert find_thumbnails(lake, pa.concat_tables([beyond, nowhere])) == [None, None]


def write_pictures(
    lake: Lake, thumbnails: Sequence[bytes], finer: Sequence[bytes | None]
) -> pa.Table:
    with PackWriter() as pack:
        rows = [pack.add(*pictures) for pictures in zip(thumbnails, finer, strict=True)]
        path = pack.store(lake)
    nothing = dict.fromkeys(FINE_PLACE)
    return pa.Table.from_pylist([{"pack": path, **nothing, **row} for row in rows])


def test_thumbnails_lie_together_and_finer_pictures_behind_them(tmp_path: Path) -> None:
    lake = CountingLake(str(tmp_path), "photos")
    thumbnails, finer = made_up(60), made_up(60, seed=2, size=200_000)
    finer = [fine if number % 3 else None for number, fine in enumerate(finer)]
    rows = write_pictures(lake, thumbnails, finer)
    assert read_thumbnails(lake, rows) == thumbnails
    assert lake.asked == 1
    order = np.random.default_rng(3).permutation(60)
    expected = [(thumbnails[i], finer[i]) for i in order]
    assert read_pictures(lake, rows.take(order)) == expected
    assert rows["fine_offset"].null_count == 20
    assert packs(lake) == {
        rows["pack"][0].as_py(): sum(map(len, thumbnails)) + sum(len(f) for f in finer if f)
    }
    assert write_pictures(lake, thumbnails, finer).equals(rows)
    assert write_pictures(lake, thumbnails, finer[::-1])["pack"][0] != rows["pack"][0]
    assert read_pictures(lake, rows.slice(0, 0)) == []


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_finer_picture_is_never_handed_on(tmp_path: Path, damage: str) -> None:
    lake, thumbnails, finer = Lake(str(tmp_path), "photos"), made_up(3), made_up(3, seed=2)
    rows = write_pictures(lake, thumbnails, [None, *finer[1:]])
    _DAMAGES[damage](Path(lake.path(rows["pack"][0].as_py())))
    whole = [(thumbnails[0], None), (thumbnails[1], finer[1]), None]
    assert find_pictures(lake, rows) == ([None] * 3 if damage == "gone" else whole)
    with pytest.raises(DamagedPack, match="of 3 pictures are missing or damaged"):
        read_pictures(lake, rows)
    if damage != "gone":
        assert read_thumbnails(lake, rows) == thumbnails  # those are whole


# --- what ingest leaves --------------------------------------------------------------------------


def test_each_decoded_row_points_at_its_thumbnail(filled: Bench) -> None:
    lake = filled.run().lake
    rows = places(lake)
    for row, thumbnail in zip(rows.to_pylist(), find_thumbnails(lake, rows), strict=True):
        if row["status"] == "rejected":
            assert [row[c] for c in PLACE] == [None] * 4
            continue
        content = (filled.source / row["key"]).read_bytes()
        assert thumbnail == images.read_image(content).thumbnail
    sizes = rows.group_by("pack").aggregate([("length", "sum")]).drop_null().to_pylist()
    assert {row["pack"]: row["length_sum"] for row in sizes} == packs(lake)
    assert len(sizes) == 2  # a chunk a day


def page(number: int) -> bytes:
    """A page of text, larger than its thumbnail shows."""
    picture = Image.new("RGB", (700, 900), "white")
    for y in range(40, 860, 20):
        ImageDraw.Draw(picture).text((40, y), f"{number} {y * 7919} and so on", fill="black")
    return builders.encoded(picture)


def test_pages_have_a_finer_picture_too_and_keep_it(bench: Bench) -> None:
    for number in range(3):
        builders.place(bench.source, f"page-{number}.png", page(number), 0, number)
    place(bench, 4)
    builders.place(bench.source, "none.png", b"no picture", 0, 30)
    walk(bench.run(), ["ingest"])
    lake = bench.run().lake
    columns = ["key", "status", "detail", "exif_fields", *PLACE, *FINE_PLACE]

    def stored() -> dict[str, dict[str, Any]]:
        return {r["key"]: r for r in lake.snapshot("images").read(columns).to_pylist()}

    before = stored()
    for key, row in before.items():
        finer = {row[column] is not None for column in FINE_PLACE}
        assert finer == {key.startswith("page")}
        assert (row["detail"] is None) == (row["exif_fields"] is None) == (key == "none.png")
    rows = lake.snapshot("images").read(columns, pa.compute.field("status") == "decoded")
    for key, pictures in zip(rows["key"].to_pylist(), read_pictures(lake, rows), strict=True):
        facts = images.read_image((bench.source / key).read_bytes())
        assert pictures == (facts.thumbnail, facts.fine)
    (bench.source / "page-1.png").unlink()
    builders.place(bench.source, "page-2.png", page(9), 0, 2)
    walk(bench.run(allow_removals=True), ["ingest"])
    after = stored()
    assert after.keys() == before.keys() - {"page-1.png"}
    same = [key for key in after if after[key] == before[key]]
    assert sorted(same) == ["4.png", "none.png", "page-0.png"]
    assert after["page-2.png"]["pack"] != before["page-2.png"]["pack"]
    read_pictures(lake, lake.snapshot("images").read(columns, pa.compute.field("pack").is_valid()))


def test_a_chunk_with_a_spoilt_finer_picture_is_not_taken_up(bench: Bench) -> None:
    """A kill between the chunk and the commit, and then a disk that flips a bit."""
    for number in range(3):
        builders.place(bench.source, f"page-{number}.png", page(number), 0, number)
    run = bench.run()
    pipeline.prepare("ingest", run)
    [path] = packs(run.lake)
    flip(Path(run.lake.path(path)))  # its end: of a finer picture
    walk(run, ["ingest"])
    rows = run.lake.snapshot("images").read([*PLACE, *FINE_PLACE])
    assert rows.num_rows == len(read_pictures(run.lake, rows)) == 3


def test_a_spoilt_finer_picture_is_named_and_mended(tmp_path: Path, unguarded: None) -> None:
    """Without doubles, which read drawn pictures only."""
    settings = {"model_id": None, "thresholds": None}
    bench = builders.bench(tmp_path / "home", tmp_path / "source", **settings)
    for number in range(3):
        builders.place(bench.source, f"page-{number}.png", page(number), 0, number)
    run = bench.run()
    walk(run)
    assert maintenance.check(run) == []
    expected = current_state(run)
    [path] = packs(run.lake)
    flip(Path(run.lake.path(path)))
    [found] = maintenance.check(run)
    assert f"lake: 1 pictures in {path} are missing or damaged: " in str(found)
    assert maintenance.repair(run, [found]) == []
    assert differences(current_state(run), expected) == {}
    assert maintenance.vacuum(run, delete=True, now=LATER)
    rows = run.lake.snapshot("images").read([*PLACE, *FINE_PLACE])
    assert all(finer for _, finer in read_pictures(run.lake, rows))


def test_what_stays_keeps_its_place_and_is_not_copied(filled: Bench) -> None:
    lake = filled.run().lake
    before, stored = places(lake).to_pylist(), packs(lake)
    changed = Picture(_BASE, 4).content
    builders.place(filled.source, "1.png", changed, 0, 1)
    (filled.source / "2.png").unlink()
    walk(filled.run(allow_removals=True))
    after = {row["key"]: row for row in places(lake).to_pylist()}
    assert [after.get(row["key"]) == row for row in before] == [True, False, False, *[True] * 4]
    new = packs(lake).keys() - stored.keys()
    assert {after["1.png"]["pack"]} <= new
    assert packs(lake).items() >= stored.items()
    stored = packs(lake)
    moved = filled.source.rename(filled.home / "moved")
    walk(filled.with_settings(source=str(moved)).run())
    uris = lake.snapshot("images").read(["uri"])["uri"].to_pylist()
    assert all("/moved/" in uri for uri in uris)
    assert {row["key"]: row for row in places(lake).to_pylist()} == after
    assert packs(lake) == stored


def test_a_run_over_the_same_writes_nothing_and_compaction_leaves_packs(filled: Bench) -> None:
    run = filled.run()
    written = {f.path: f.written_at for f in run.lake.files_under("packs")}
    before = places(run.lake)
    walk(run)
    maintenance.compact(run)
    assert {f.path: f.written_at for f in run.lake.files_under("packs")} == written
    assert places(run.lake).equals(before)


def test_stages_refuse_a_damaged_pack_and_name_the_remedy(filled: Bench) -> None:
    run = filled.run()
    for path in packs(run.lake):
        flip(Path(run.lake.path(path)))
    with pytest.raises(DamagedPack, match="idedup maintain check --repair"):
        walk(filled.with_settings(prefilter={"mirrored": True}).run(), ["prefilter"])


# --- the check -----------------------------------------------------------------------------------


def damaged_pack(run: Run, key: str) -> Path:
    [row] = [row for row in places(run.lake).to_pylist() if row["key"] == key]
    return Path(run.lake.path(row["pack"]))


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("damage", _DAMAGES)
@pytest.mark.parametrize(
    ("key", "size"),
    [("4.png", 5), ("5.png", 1)],  # one of many; one alone, whose chunk has the same name again
)
def test_damage_is_named_and_mended(
    filled: Bench, damage: str, key: str, size: int, compacted: bool
) -> None:
    expected, run = current_state(filled.run()), filled.run()
    if compacted:
        place(filled, 6, day=1)
        walk(run)
        maintenance.compact(run)
        expected = current_state(run)
    assert maintenance.check(run) == []
    path = damaged_pack(run, key)
    _DAMAGES[damage](path)
    [found] = maintenance.check(run)
    lost = size if damage == "gone" else 1
    assert f"lake: {lost} pictures in packs/{path.name} are missing or damaged: " in str(found)
    assert len(found.images) == lost
    assert maintenance.repair(run, [found]) == []
    assert differences(current_state(run), expected) == {}
    read_thumbnails(run.lake, places(run.lake).filter(pa.compute.field("pack").is_valid()))


def test_a_chunk_with_a_lost_pack_is_not_taken_up(filled: Bench) -> None:
    """A kill between the chunk and the commit, and then a disk that loses a file."""
    expected, run = current_state(filled.run()), filled.run()
    for number in range(10, 13):
        place(filled, number, day=2)
    pipeline.prepare("ingest", run)
    for path in run.lake.files_under("packs"):
        Path(run.lake.path(path.path)).unlink()
    found = maintenance.check(run)
    assert [len(d.images) for d in found] == [5, 1]
    assert maintenance.repair(run, found) == []
    walk(run)
    assert differences(current_state(run), current_state(filled.run())) == {}
    assert maintenance.check(run) == []
    for number in range(10, 13):
        (filled.source / f"{number}.png").unlink()
    walk(filled.run(allow_removals=True))
    assert differences(current_state(run), expected) == {}


# --- vacuum --------------------------------------------------------------------------------------


def test_vacuum_takes_a_pack_when_no_kept_version_needs_it(filled: Bench) -> None:
    run = filled.run()
    only, shared = damaged_pack(run, "5.png"), damaged_pack(run, "4.png")
    (filled.source / "5.png").unlink()
    (filled.source / "4.png").unlink()
    walk(filled.run(allow_removals=True))
    expected = current_state(run)
    assert [g for g in maintenance.vacuum(run, delete=True) if "packs" in g.kind] == []
    found = {g.kind: g for g in maintenance.vacuum(run, delete=True, now=LATER)}
    gone = found["packs of thumbnails"]
    assert (gone.files, gone.example) == (1, f"packs/{only.name}")
    assert (only.exists(), shared.exists()) == (False, True)
    assert all(d.stale for d in maintenance.check(run))
    assert differences(current_state(run), expected) == {}


def test_vacuum_keeps_packs_of_what_a_candidate_or_a_rerun_will_take_up(filled: Bench) -> None:
    run = filled.run()
    place(filled, 10, day=2)
    prepared = pipeline.prepare("ingest", run)["candidate"]
    for file in (*run.lake.files_under("images"), *run.lake.files_under("packs")):
        os.utime(run.lake.path(file.path), (0, 0))
    maintenance.vacuum(run, delete=True)
    pipeline.gate("ingest", run, prepared)
    walk(run)
    assert maintenance.check(run) == []


def test_vacuum_takes_no_pack_while_a_table_cannot_be_read(filled: Bench) -> None:
    run = filled.run()
    (filled.source / "5.png").unlink()
    walk(filled.run(allow_removals=True))
    stored = packs(run.lake)
    flip(Path(run.lake.path(f"images/{run.lake.snapshot('images').files()[0].path}")), -6)
    maintenance.vacuum(run, delete=True, now=LATER)
    assert packs(run.lake) == stored


# --- the format ----------------------------------------------------------------------------------


def test_a_lake_of_another_format_is_refused(filled: Bench) -> None:
    path = Path(filled.run().lake.path("lake.json"))
    stated = json.loads(path.read_text())
    for number in (None, 2, 4):
        path.write_text(json.dumps({"lake_id": stated["lake_id"], "format": number}))
        if number is None:
            path.write_text(json.dumps({"lake_id": stated["lake_id"]}))
        said = f"of format {number or 1}, .* format 3: scan or ingest anew into another home"
        with pytest.raises(OtherFormat, match=said):
            walk(filled.run())


def test_a_lake_that_states_no_format_is_known_by_its_columns(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "photos")
    older = pa.schema([("arrival", pa.string()), ("image_id", pa.string())])
    DeltaTable.create(f"{lake.uri}/images", older, partition_by=["arrival"])
    with pytest.raises(OtherFormat, match="of format 1"):
        lake.snapshot("images")
