"""Sources as they are: broken files, hostile names, nothing at all; and counts that reconcile."""

from __future__ import annotations

import csv
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from builders import Bench, Picture, encoded, scene, walk
from PIL import Image

from idedup_tasks import pipeline, sources
from idedup_tasks.pipeline import QualityFailure
from idedup_tasks.run import Run
from idedup_tasks.settings import STAGES

SHARED = Path(__file__).resolve().parents[2] / "../shared/odd_inputs"
LENIENT = {"quality": {"max_reject_ratio": 1.0}, "model_id": None, "thresholds": None}


def _plain_bench(tmp_path: Path, source: Path, **settings: Any) -> Bench:
    """Without doubles: real decoding processes, hashes and descriptor."""
    return builders.bench(tmp_path / "home", source, **(LENIENT | settings))


def _images(run: Run) -> dict[str, dict[str, Any]]:
    columns = ["key", "status", "reason_code", "reason", "format"]
    return {r["key"]: r for r in run.lake.snapshot("images").read(columns).to_pylist()}


def _duplicates(run: Run) -> set[str]:
    """Keys of the duplicates, as the warehouse has them."""
    path = run.places.warehouse.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database:
        return {k for (k,) in database.execute("SELECT key FROM image WHERE verdict = 'duplicate'")}


def _reconciled(run: Run, walked: dict[str, dict[str, Any]], files: int) -> dict[str, Any]:
    """Invariant 4, from the last count back to the first, and in the warehouse."""
    counts = {stage: walked[stage]["counts"] for stage in STAGES}
    report = counts["report"]
    assert report["images"] == counts["ingest"]["listed"] == files
    assert report["active"] + report["collapsed"] + report["rejected"] == files
    assert report["rejected"] == counts["ingest"]["rejected"]
    assert report["active"] == counts["prefilter"]["active"] == counts["index"]["indexed"]
    path = run.places.warehouse.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database:
        found = dict(database.execute("SELECT status, count(*) FROM image GROUP BY status"))
    assert found == {s: report[s] for s in ("active", "collapsed", "rejected") if report[s]}
    return counts


def test_every_odd_input(tmp_path: Path) -> None:
    if not (SHARED / "manifest.csv").is_file():
        pytest.skip(f"{SHARED} is not there; the generated ones below are tested all the same")
    with (SHARED / "manifest.csv").open(newline="", encoding="utf-8") as file:
        expected = {row["file"]: row["expected"] for row in csv.DictReader(file)}
    # A copy, since the manifest is no image; times as they are.
    source = tmp_path / "odd"
    source.mkdir()
    for name in expected:
        (source / name).symlink_to((SHARED / name).resolve())
    bench = _plain_bench(tmp_path, source, follow_links=True)
    walked = walk(bench.run())
    _reconciled(bench.run(), walked, len(expected))
    found = _images(bench.run())
    wrong = {}
    for name, wanted in expected.items():
        row = found[name]
        if wanted == "decodes" and row["status"] != "decoded":
            wrong[name] = row["reason"]
        elif wanted.startswith("must be rejected") and row["status"] != "rejected":
            wrong[name] = f"decoded as {row['format']}"
        if row["status"] == "rejected":
            assert row["reason_code"] not in ("crashed", "timed-out"), name
            assert row["reason"], name
    assert wrong == {}
    with pytest.raises(QualityFailure, match="reject_ratio"):
        strict = _plain_bench(tmp_path / "strict", source, quality={}, follow_links=True)
        walk(strict.run(), ["ingest"])


def _oddities() -> dict[str, tuple[bytes, str | None]]:
    """File name: content, and the reason it must be rejected for (None: it decodes)."""
    whole = encoded(scene(1))
    grey = np.linspace(0, 65_535, 96 * 96).reshape(96, 96).astype(np.uint16)
    turned = scene(3, 64)
    exif = turned.getexif()
    exif[0x0112] = 6
    return {
        "plain.png": (whole, None),
        "misnamed.jpg": (whole, None),
        "truncated.png": (whole[: len(whole) // 2], "truncated"),
        "empty.png": (b"", "empty"),
        "text.jpg": (b"hello, this is no image at all", "not-an-image"),
        "random.jpg": (np.random.default_rng(1).bytes(2_000), "not-an-image"),
        "dot.png": (encoded(Image.new("RGB", (1, 1))), None),
        "blank.png": (encoded(Image.new("RGB", (64, 64), "white")), None),
        "strip.png": (encoded(Image.new("RGB", (9_000, 1), "red")), None),
        "deep.png": (encoded(Image.fromarray(grey)), None),
        "print.jpg": (encoded(scene(2).convert("CMYK"), "JPEG"), None),
        "clear.webp": (encoded(scene(4).convert("RGBA"), "WEBP"), None),
        "turned.jpg": (encoded(turned, "JPEG", exif=exif), None),
        "trailing.png": (whole + b"garbage", None),
        "palette.gif": (encoded(scene(5).convert("P"), "GIF"), None),
        "bomb.png": (encoded(Image.new("1", (12_000, 12_000))), "too-many-pixels"),
    }


def test_generated_odd_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    bench = _plain_bench(tmp_path, source)
    files = _oddities()
    for minute, (name, (content, _)) in enumerate(files.items()):
        builders.place(source, name, content, 0, minute)
    walked = walk(bench.run())
    counts = _reconciled(bench.run(), walked, len(files))
    found = {name: row["reason_code"] for name, row in _images(bench.run()).items()}
    assert found == {name: reason for name, (_, reason) in files.items()}
    # The same bytes under another extension, and with garbage behind them; no near-blank picture
    # is anything's duplicate.
    assert counts["report"]["duplicates_exact"] == 1
    repeats = _duplicates(bench.run())
    assert len({"plain.png", "misnamed.jpg", "trailing.png"} & repeats) == 2
    assert not repeats & {"dot.png", "blank.png", "strip.png"}


def test_a_thousand_with_two_percent_broken(tmp_path: Path) -> None:
    """Scenes, copies, recompressed and smaller ones, and one in fifty cut off."""
    source = tmp_path / "source"
    bench = _plain_bench(tmp_path, source, quality={})
    broken = 0
    for i in range(1_000):
        kind, picture = i % 10, scene(i - i % 10, 72)
        content = {
            0: lambda p: encoded(p),
            1: lambda p: encoded(p),
            2: lambda p: encoded(p, "JPEG", quality=80),
            3: lambda p: encoded(p.resize((48, 48))),
        }.get(kind, lambda p, i=i: encoded(scene(10_000 + i, 72)))(picture)
        if i % 50 == 25:
            content, broken = content[: len(content) // 2], broken + 1
        builders.place(source, f"{i % 7}/{i:04}.img", content, i % 3, i)
    walked = walk(bench.run())
    counts = _reconciled(bench.run(), walked, 1_000)
    assert counts["report"]["rejected"] == broken == 20
    assert counts["report"]["duplicates_exact"] == 100
    assert counts["report"]["duplicates"] >= 280
    assert counts["report"]["groups"] >= 100


@pytest.mark.parametrize("day", [None, 0])
def test_an_empty_folder_is_a_green_run(bench: Bench, day: int | None) -> None:
    walked = walk(bench.run(day))
    assert all(gate["counts"]["images"] == 0 for gate in walked.values())
    assert len(walked) == len(STAGES)
    versions = builders.versions(bench.run())
    walk(bench.run(day))
    assert builders.versions(bench.run()) == versions


def test_only_rejected_and_only_blank_files(bench: Bench) -> None:
    """Nothing has a vector: stages that work on vectors have nothing to do, and say so."""
    bench = bench.with_settings(quality={"max_reject_ratio": 1.0})
    builders.place(bench.source, "text.jpg", b"no image", 0)
    walked = walk(bench.run())
    assert _reconciled(bench.run(), walked, 1)["report"]["rejected"] == 1
    blank = encoded(Image.new("RGB", (128, 64), "white"))
    builders.place(bench.source, "white.png", blank, 1)
    builders.place(bench.source, "white too.png", blank, 1)
    other = encoded(Image.new("RGB", (128, 64), "black"))
    builders.place(bench.source, "black.png", other, 1)
    counts = _reconciled(bench.run(), walk(bench.run()), 4)["report"]
    assert (counts["duplicates"], counts["duplicates_exact"], counts["variants"]) == (1, 1, 0)


def test_a_source_that_is_not_there_fails_and_is_recorded(bench: Bench, unguarded: None) -> None:
    builders.place(bench.source, "a.png", Picture(1, 1).content, 0)
    walk(bench.run(), ["ingest"])
    gone = bench.source.rename(bench.source.with_name("unmounted"))
    with pytest.raises(sources.SourceUnreachable, match="cannot be listed"):
        walk(bench.run(run_id="later"))
    assert len(_images(bench.run())) == 1
    with closing(sqlite3.connect(bench.home / "warehouse.db")) as database:
        rows = database.execute("SELECT state, error FROM run WHERE run_id = 'later'").fetchall()
    assert len(rows) == 1
    assert rows[0][0] == "failed"
    assert str(bench.source) in rows[0][1]
    gone.rename(bench.source)
    assert walk(bench.run(run_id="later"))["ingest"]["counts"]["reused"] == 1


def test_an_unmounted_folder_is_not_taken_for_an_empty_one(bench: Bench) -> None:
    for i in range(4):
        builders.place(bench.source, f"{i}.png", Picture(i * 0x1234567, i).content, 0)
    walk(bench.run(0), ["ingest"])
    (bench.source / "0.png").unlink()
    with pytest.raises(QualityFailure, match="removal_ratio"):
        walk(bench.run(0), ["ingest"])
    assert len(_images(bench.run())) == 4
    walk(bench.run(0, allow_removals=True), ["ingest"])
    assert len(_images(bench.run())) == 3


def test_files_that_moved_to_another_day_have_not_vanished(bench: Bench) -> None:
    """Copied over with new times: the old day gives them up without being taken for unmounted."""
    for i in range(4):
        builders.place(bench.source, f"{i}.png", Picture(i * 0x1234567, i).content, 0)
    walk(bench.run(0), ["ingest"])
    for i in range(4):
        os.utime(bench.source / f"{i}.png", (builders.moment(2).timestamp(),) * 2)
    prepared = pipeline.prepare("ingest", bench.run(0))
    assert prepared["counts"]["vanished"] == 0
    assert "backfill 2026-01-03 (4)" in prepared["warnings"][0]
    pipeline.gate("ingest", bench.run(0), prepared["candidate"])
    assert _images(bench.run()) == {}
    walk(bench.run(2), ["ingest"])
    assert len(_images(bench.run())) == 4


def test_what_may_not_be_read_is_rejected_until_it_may(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the run that met it was not published: its chunk is not taken as it is."""
    for i in range(12):
        builders.place(bench.source, f"{i}.png", Picture(i * 0x1234567, i).content, 0)
    read = sources.read_object
    denied = {f"{i}.png" for i in range(6)}

    def denying(uri: str, *args: Any, **options: Any) -> bytes:
        if uri.rpartition("/")[2] in denied:
            raise sources.ObjectUnreadable(f"{uri} may not be read.")
        return read(uri, *args, **options)

    monkeypatch.setattr("idedup_tasks.images.objects.read_object", denying)
    with pytest.raises(QualityFailure, match="reject_ratio"):
        walk(bench.run(), ["ingest"])
    denied.difference_update({f"{i}.png" for i in range(5)})
    counts = walk(bench.run(), ["ingest"])["ingest"]["counts"]
    assert (counts["decoded"], counts["rejected"]) == (11, 1)
    versions = builders.versions(bench.run())
    walk(bench.run(), ["ingest"])
    assert builders.versions(bench.run()) == versions
    denied.clear()
    counts = walk(bench.run(), ["ingest"])["ingest"]["counts"]
    assert (counts["decoded"], counts["reused"], counts["read"]) == (12, 11, 1)
    assert {row["status"] for row in _images(bench.run()).values()} == {"decoded"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may use."""
    with tempfile.TemporaryDirectory(prefix="idedup-test-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_a_folder_without_permission_is_counted(open_folder: Path, drawn: None) -> None:
    """By a user whom permissions bind: root reads everything."""
    source, home = open_folder / "source", open_folder / "home"
    bench = builders.bench(home, source, quality={"max_reject_ratio": 1.0})
    builders.place(source, "open/a.png", Picture(1 << 40, 1).content, 0)
    builders.place(source, "closed/b.png", Picture(3 << 50, 2).content, 0)
    builders.place(source, "c.png", Picture(5 << 30, 3).content, 0)
    (source / "closed").chmod(0)
    (source / "c.png").chmod(0)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o777)
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65_534)
    try:
        walk(bench.run(), ["ingest"])
    finally:
        if mine == 0:
            os.seteuid(mine)
        (source / "closed").chmod(0o755)
    found = {key: row["reason_code"] for key, row in _images(bench.run()).items()}
    assert found == {"open/a.png": None, "c.png": "unreadable", "closed/": "unreadable"}


HOSTILE = [
    b"line\nbreak.png",
    b"<img src=x onerror=alert(1)>.png",
    b"'; DROP TABLE image; --.png",
    b"\xff\xfe not utf-8 \x80.png",
    "ünïcode 名前 🖼.png".encode(),
    b"percent%2F..%00.png",
    b"-rf *.png",
    b" leading and trailing .png ",
    b"back\\slash.png",
    b"=HYPERLINK(1).png",
    b".hidden",
    b"x" * 255,
]


def test_hostile_names_go_through_unharmed(bench: Bench) -> None:
    for i, name in enumerate(HOSTILE):
        path = Path(os.fsdecode(bytes(bench.source) + b"/" + name))
        path.write_bytes(Picture(0x9E3779B97F4A7C15 * (i + 1) % 2**64, 1, i).content)
        os.utime(path, (builders.moment(0).timestamp(),) * 2)
    walked = walk(bench.run())
    assert _reconciled(bench.run(), walked, len(HOSTILE))["report"]["active"] == len(HOSTILE)
    with closing(sqlite3.connect(bench.home / "warehouse.db")) as database:
        uris = {row[0] for row in database.execute("SELECT uri FROM image")}
    assert len(uris) == len(HOSTILE)
    for uri in uris:
        assert len(sources.read_object(uri, 10**6)) > 100
    page = bench.run().lake.read_text(walked["report"]["versions"]["report"])
    assert "&lt;img src=x onerror" in page
    assert "<img src=x" not in page


def test_a_run_id_cannot_lead_out_of_its_folder(bench: Bench) -> None:
    for run_id in ("..", "../../x", "a/b", "a:b", "."):
        walk(bench.run(run_id=run_id), ["ingest"])
    lake = bench.home / "lake" / "drawn"
    assert sorted(p.name for p in lake.iterdir()) == ["candidates", "images"]
    assert len(list((lake / "candidates").iterdir())) == 5
    assert Counter(p.parent.parent for p in bench.home.rglob("ingest.json")) == {
        lake / "candidates": 5
    }
