"""The command line end to end: real scans of small folders, and what is said of bad use."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from result_rows import a_run, keeper, member

import idedup_tasks
from idedup_tasks import api, cli
from idedup_tasks.api.previewing import compare_groupings
from idedup_tasks.api.results import group_members
from idedup_tasks.lake import RESULTS
from idedup_tasks.settings import STAGES

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png")
# Names that have broken tables, spreadsheets and shells before.
ODD_NAMES = ("=1+1.jpg", "+a;b.jpg", 'say "no", twice.jpg', "line\nbreak.jpg", "名前 ü.jpg")
# What they show: pictures that are like nothing else.
OTHERS = ("rocket.jpg", "hubble_deep_field.jpg", "retina.jpg", "page.png", "camera.png")


def make_folder(folder: Path) -> dict[str, set[str]]:
    """Three photographs with honest edits, others that are like nothing, and two broken files.

    Returns:
        Names of the files that belong together, by photograph.
    """
    found = importlib.util.find_spec("skimage")
    assert found is not None
    assert found.origin is not None
    shipped = Path(found.origin).parent / "data"
    folder.mkdir(parents=True)
    truth: dict[str, set[str]] = {}
    for name in PHOTOS:
        stem = name.partition(".")[0]
        photo = Image.open(shipped / name).convert("RGB")
        photo.save(folder / f"{stem}.png")
        shutil.copy(folder / f"{stem}.png", folder / f"{stem} (copy).png")
        photo.save(folder / f"{stem}-q60.jpg", quality=60)
        ImageOps.scale(photo, 0.6).save(folder / f"{stem}-small.jpg", quality=90)
        truth[stem] = {f"{stem}{end}" for end in (".png", " (copy).png", "-q60.jpg", "-small.jpg")}
    for n, (name, other) in enumerate(zip(ODD_NAMES, OTHERS, strict=True)):
        Image.open(shipped / other).convert("RGB").resize((300, 240 + n)).save(folder / name)
    shutil.copy(folder / ODD_NAMES[0], folder / "-twin of =1+1.jpg")
    (folder / "notes.jpg").write_text("not a picture")
    (folder / "empty.png").touch()
    return truth


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One scan, through the command line, for all tests that only look."""
    folder = tmp_path_factory.mktemp("scan")
    groups = make_folder(folder / "pictures")
    output = folder / "pictures" / "found"
    code = cli.main(["scan", str(folder / "pictures"), "-o", str(output), "--device", "cpu"])
    assert code == 0
    return {"groups": groups, "source": folder / "pictures", "output": output}


def summary_of(truth: dict[str, Any]) -> dict[str, Any]:
    return json.loads((truth["output"] / "summary.json").read_text(encoding="utf-8"))


def test_a_scan_finds_the_duplicates(truth: dict[str, Any]) -> None:
    rows = pq.read_table(truth["output"] / "groups.parquet").to_pylist()
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["group_id"], set()).add(Path(row["path"]).name)
    expected = [*truth["groups"].values(), {"=1+1.jpg", "-twin of =1+1.jpg"}]
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, expected))
    exact = {Path(row["path"]).name for row in rows if row["relation"] == "exact"}
    assert len(exact) == 4  # one of each pair of copies


def test_the_summary_agrees_with_the_truth(truth: dict[str, Any]) -> None:
    summary = summary_of(truth)
    counts = summary["counts"]
    assert counts["images"] == 3 * 4 + 6 + 2
    assert counts["rejected"] == 2
    assert counts["groups"] == 4
    assert counts["duplicates_exact"] == 4
    assert counts["duplicates_same"] == 3 * 2
    assert counts["variants"] == 0
    assert [Path(r["uri"]).name for r in summary["rejected"]] == ["empty.png", "notes.jpg"]
    assert all(r["reason"].endswith(".") for r in summary["rejected"])
    assert tuple(summary["stages"]) == STAGES
    assert all(stage["seconds"] > 0 for stage in summary["stages"].values())
    assert summary["stages"]["ingest"]["images_per_second"] > 0
    pairs = pq.read_table(truth["output"] / "pairs.parquet")
    assert summary["counts"]["pairs"] == pairs.num_rows


def test_each_group_has_one_keeper_and_each_duplicate_its_evidence(truth: dict[str, Any]) -> None:
    table = pq.read_table(truth["output"] / "groups.parquet")
    assert tuple(table.column_names) == api.GROUP_COLUMNS
    rows = table.to_pylist()
    keepers = {row["group_id"]: row["uri"] for row in rows if row["is_keeper"]}
    assert sum(row["is_keeper"] for row in rows) == len({row["group_id"] for row in rows})
    for row in rows:
        assert row["keeper_uri"] == keepers[row["group_id"]]
        assert (row["relation"] is None) == row["is_keeper"]
        assert row["is_keeper"] or (row["score"] and row["overlap"] and row["keeper_overlap"])
        assert row["why"]
    firsts = {row["group_id"]: row for row in reversed(rows)}
    assert all(row["is_keeper"] for row in firsts.values())


def test_links_out_of_the_source_are_rejected_unless_they_may_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders.doubles(monkeypatch.setattr)
    builders.unguarded(monkeypatch.setattr)
    source, outside = tmp_path / "source", tmp_path / "outside"
    for number, folder in enumerate((source, outside, outside / "album")):
        picture = builders.Picture(hash=0x0F0F_3C3C_00FF_A5A5 >> number * 9, family=number)
        builders.place(folder, "1.png", picture.content, 0)
    (source / "link.png").symlink_to(outside / "1.png")
    (source / "album").symlink_to(outside / "album")
    strict = api.scan(source, tmp_path / "found").summary
    assert (strict["counts"]["images"], strict["counts"]["rejected"]) == (3, 2)
    assert [Path(r["uri"]).name for r in strict["rejected"]] == ["album", "link.png"]
    assert all("leads out of the source" in r["reason"] for r in strict["rejected"])
    (tmp_path / "follow.yaml").write_text("follow_links: true")
    followed = api.scan(source, tmp_path / "found", settings=tmp_path / "follow.yaml").summary
    assert (followed["counts"]["images"], followed["counts"]["rejected"]) == (3, 0)
    # And back again: what was read through the links is no longer there.
    assert api.scan(source, tmp_path / "found").summary["counts"] == strict["counts"]


def test_variants_follow_the_duplicates(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    content = [
        keeper("03"),
        member("01", "03", "03", "edited"),
        member("02", "03", "03", "inside"),
        member("04", "03", "03", "exact"),
    ]
    with run.lake.create("results.parquet") as stream:
        pq.write_table(pa.Table.from_pylist(content, schema=RESULTS), stream)
    rows = group_members(run, "results.parquet").to_pylist()
    assert [Path(r["uri"]).stem for r in rows] == ["03", "04", "01", "02"]


def test_each_member_and_its_keeper_are_a_pair_that_was_looked_at(truth: dict[str, Any]) -> None:
    pairs = pq.read_table(truth["output"] / "pairs.parquet")
    assert tuple(pairs.column_names) == api.PAIR_COLUMNS
    seen = {frozenset((p["uri_a"], p["uri_b"])): p["relation"] for p in pairs.to_pylist()}
    assert len(seen) == pairs.num_rows
    for row in pq.read_table(truth["output"] / "groups.parquet").to_pylist():
        if not row["is_keeper"]:
            assert seen[frozenset((row["uri"], row["keeper_uri"]))] == row["relation"]


@pytest.mark.parametrize("name", ["groups", "pairs"])
def test_the_csv_is_the_parquet_file_and_holds_no_formula(truth: dict[str, Any], name: str) -> None:
    rows = pq.read_table(truth["output"] / f"{name}.parquet").to_pylist()
    with (truth["output"] / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        written = list(csv.DictReader(stream))
    assert len(written) == len(rows)
    for text, row in zip(written, rows, strict=True):
        for column, value in row.items():
            expected = "" if value is None else str(value)
            assert text[column] == (expected.lower() if isinstance(value, bool) else expected)
            assert not text[column].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_images_parquet_is_the_keep_list(truth: dict[str, Any]) -> None:
    table = pq.read_table(truth["output"] / "images.parquet")
    assert table.schema.equals(RESULTS)
    rows = {Path(row["key"]).name: row for row in table.to_pylist()}
    assert set(rows) == {p.name for p in truth["source"].iterdir() if p.is_file()}
    kept = {name for name, row in rows.items() if row["verdict"] in ("unique", "keeper")}
    assert len(kept) == 3 + 1 + len(ODD_NAMES) - 1
    assert rows["notes.jpg"]["verdict"] is None
    assert rows["notes.jpg"]["status"] == "rejected"


def test_the_report_is_one_page_without_script(truth: dict[str, Any]) -> None:
    page = (truth["output"] / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!")
    assert "<script" not in page
    assert "astronaut" in page


def test_a_scans_own_output_is_left_out(truth: dict[str, Any]) -> None:
    assert summary_of(truth)["excluded"] == ["found/"]
    again = idedup_tasks.scan(truth["source"], truth["output"], device="cpu")
    assert again.summary["counts"] == summary_of(truth)["counts"]
    assert again.summary["stages"]["ingest"]["read"] == 0  # and nothing is read twice
    assert again.summary["stages"]["embed"]["embedded"] == 0


def test_after_deleting_duplicates_a_second_scan_finds_none(tmp_path: Path) -> None:
    make_folder(tmp_path / "pictures")
    for name in ("notes.jpg", "empty.png", "coffee.png", "coffee (copy).png"):
        (tmp_path / "pictures" / name).unlink()
    seen: list[str] = []
    first = idedup_tasks.scan(
        tmp_path / "pictures",
        tmp_path / "found",
        device="cpu",
        progress=lambda stage, what, done, total: seen.append(stage),
    )
    assert list(dict.fromkeys(seen)) == list(first.summary["stages"])
    for row in first.groups.to_pylist():
        if not row["is_keeper"]:
            Path(row["path"]).unlink()
    second = idedup_tasks.scan(tmp_path / "pictures", tmp_path / "found", device="cpu")
    assert second.summary["counts"]["groups"] == 0
    assert second.summary["counts"]["images"] == 3 + len(ODD_NAMES)
    assert second.summary["stages"]["ingest"]["read"] == 0
    with second.output.joinpath("groups.csv").open(encoding="utf-8") as stream:
        assert len(stream.readlines()) == 1


# --- query and preview -------------------------------------------------------------------------


def test_query_lists_what_was_seen_exact_ones_first(
    truth: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    scan = ["--scan", str(truth["output"])]
    photo = truth["source"] / "astronaut.png"
    assert cli.main(["query", str(photo), *scan, "--json"]) == 0
    matches = json.loads(capsys.readouterr().out)
    matches = [match for match in matches if match["relation"] != "alike"]
    assert {Path(m["uri"]).name for m in matches} == truth["groups"]["astronaut"]
    assert [m["relation"] for m in matches[:2]] == ["exact", "exact"]
    assert "exact" not in [m["relation"] for m in matches[2:]]
    assert [m["score"] for m in matches[2:]] == sorted(
        (m["score"] for m in matches[2:]), reverse=True
    )
    assert {m["relation"] for m in matches[2:]} == {"same"}

    assert cli.main(["query", str(photo), *scan, "--limit", "1"]) == 0
    assert "astronaut" in capsys.readouterr().out


def test_query_finds_an_edit_that_the_library_does_not_hold(
    truth: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = Image.open(truth["source"] / "chelsea.png")
    ImageOps.mirror(photo).save(tmp_path / "mirrored.webp", quality=80)
    matches = idedup_tasks.query(tmp_path / "mirrored.webp", scan=truth["output"])
    assert matches
    assert {m.relation for m in matches} == {"same"}
    assert {Path(m.uri).name for m in matches} <= truth["groups"]["chelsea"]

    noise = np.random.default_rng(99).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((300, 300), Image.Resampling.NEAREST).save(tmp_path / "new.png")
    assert cli.main(["query", str(tmp_path / "new.png"), "--scan", str(truth["output"])]) == 0
    assert capsys.readouterr().out == "Nothing like it is there.\n"


def test_explain_says_and_draws_why(
    truth: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pq.read_table(truth["output"] / "images.parquet").to_pylist()
    ids = {Path(row["uri"]).name: row["image_id"] for row in rows}
    scan = ["--scan", str(truth["output"])]
    twin = ids["coffee (copy).png"]
    drawn = tmp_path / "why.html"
    assert cli.main(["explain", ids["coffee.png"], twin, *scan, "-o", str(drawn)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Exact: the two files have the same bytes.\n")
    assert "In the collection: one group: " in said
    assert "of the keeper (" in said
    assert f"Drawn: {drawn}" in said
    assert drawn.read_text(encoding="utf-8").startswith("<!doctype html>")

    # A file beside an image of the collection; the collection has decided nothing about it.
    photo = str(truth["source"] / "chelsea.png")
    assert cli.main(["explain", photo, ids["coffee.png"], *scan, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["relation"] == "different"
    assert found["score"] == 0
    assert found["decided"] is None
    assert found["why"] == "Different pictures: nothing was found that both show."

    # Two of the collection that stand apart, and why nobody looked at them.
    assert cli.main(["explain", ids["chelsea.png"], ids["coffee.png"], *scan]) == 0
    assert "In the collection: they stand apart; they were never" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "options", "code", "said"),
    [
        (("{0}", "chelsea.png"), ["-o", "why.pdf"], 2, "why.pdf is neither .html nor .png"),
        (("0" * 32, "chelsea.png"), [], 2, f"has no image {'0' * 32}"),
        (("{rejected}", "chelsea.png"), [], 2, "was rejected: "),
        (("notes.jpg", "chelsea.png"), [], 2, "notes.jpg cannot be compared: The content is not"),
        (("nowhere.jpg", "chelsea.png"), [], 2, "nowhere.jpg is not there"),
        (("chelsea.png", "."), [], 2, " is a folder: name one image in it"),
    ],
)
def test_bad_use_of_explain_is_one_sentence(
    names: tuple[str, str],
    options: list[str],
    code: int,
    said: str,
    truth: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = pq.read_table(truth["output"] / "images.parquet").to_pylist()
    rejected = next(row["image_id"] for row in rows if row["status"] == "rejected")
    given = [
        name.format("0", rejected=rejected) if name[0] in "{0" else str(truth["source"] / name)
        for name in names
    ]
    scan = ["--scan", str(truth["output"])]
    assert cli.main(["explain", *given, *scan, *options]) == code
    assert said in sentence(capsys)


def test_preview_shows_what_would_change_and_changes_nothing(
    truth: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lake = truth["output"] / ".idedup" / "lake"
    before = sorted(lake.rglob("*"))
    scan = ["--scan", str(truth["output"])]
    # Of the same picture the small JPEG came last; "bytes" prefers the PNG, "earliest" too.
    assert cli.main(["preview", *scan, "--keeper", "prettiest", "--json"]) == 2
    assert "'prettiest' is not a keeper criterion" in capsys.readouterr().err
    assert cli.main(["preview", *scan, "--cut", "0.7", "--keeper", "earliest", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["before"]["groups"] == found["after"]["groups"] == 4
    assert cli.main(["preview", *scan, "--cut", "1"]) == 0
    assert "groups" in capsys.readouterr().out
    assert sorted(lake.rglob("*")) == before


def test_a_preview_counts_what_happens_to_groups() -> None:
    def side(rows: list[tuple[str | None, str | None]], when: str) -> dict[str, list[str | None]]:
        groups, keepers = zip(*rows, strict=True)
        return {f"group_id_{when}": list(groups), f"keeper_id_{when}": list(keepers)}

    # a b stay with another keeper; c d e split, e alone; f g dissolve; h i and j k merge; l m new.
    ids = list("abcdefghijklmn")
    none = (None, None)
    before = [
        *[("a", "a")] * 2, *[("c", "c")] * 3, *[("f", "f")] * 2, *[("h", "h")] * 2,
        *[("j", "j")] * 2, none, none, none,
    ]  # fmt: skip
    after = [
        *[("a", "b")] * 2, *[("c", "c")] * 2, none, none, none, *[("h", "h")] * 4,
        *[("l", "l")] * 2, none,
    ]  # fmt: skip
    rows = pd.DataFrame(
        {"image_id": ids, "uri": ids, "bytes": [10] * len(ids)}
        | side(before, "before")
        | side(after, "after")
    )
    found = compare_groupings(rows)
    assert found.before == api.Totals(5, 6, 60)
    assert found.after == api.Totals(4, 6, 60)
    assert (found.dissolved, found.split, found.merged, found.appeared) == (1, 1, 1, 1)
    assert found.other_keeper == 1
    assert found.newly_grouped == ["a", "j", "m"]
    assert found.no_longer_grouped == ["b", "e", "g"]


# --- what is said when it cannot be done -------------------------------------------------------


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return captured.err.strip()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["scan", "{tmp}/none", "-o", "{tmp}/o"], 2, "none is not there"),
        (["scan", "{tmp}/file", "-o", "{tmp}/o"], 2, "file is a file: name the folder"),
        (["scan", "{tmp}/empty", "-o", "{tmp}/o"], 2, "holds no files"),
        (["scan", "{tmp}/full", "-o", "{tmp}/full"], 2, "is the source itself"),
        (["scan", "{tmp}/full", "-o", "{tmp}/file/o"], 2, "cannot be written to"),
        (["scan", "{tmp}/full", "-o", "/proc/o"], 2, "cannot be written to"),
        (["scan", "gopher://x/y", "-o", "{tmp}/o"], 2, "gopher:// is not a protocol"),
        (["scan", "{tmp}/full"], 2, "Missing option '--output'"),
        (["scan", "{tmp}/full", "-o", "{tmp}/o", "--settings", "{tmp}/file"], 2, "file: expected"),
        (["scan", "{tmp}/full", "-o", "{tmp}/o", "--settings", "{tmp}/bad.yaml"], 2, "bad.yaml: "),
        (["scan", "{tmp}/full", "-o", "{tmp}/o", "--descriptor", "none"], 2, "none"),
        (["scan", "{tmp}/full", "-o", "{tmp}/o", "--device", "tpu"], 2, "tpu"),
        (
            ["scan", "{tmp}/full", "-o", "{tmp}/o", "--settings", "{tmp}/no"],
            2,
            "no: cannot be read",
        ),
        (["query", "{tmp}/file", "--scan", "{tmp}/empty"], 2, "holds no scan"),
        (["query", "{tmp}/file"], 2, "/home/collections has none; name one with --collection, or"),
        (["explain", "{tmp}/none.jpg", "{tmp}/file"], 2, "none.jpg is not there: name an image"),
        (["explain", "{tmp}/full", "{tmp}/file"], 2, "full is a folder: name one image in it"),
        (["explain", "{tmp}/file", "{tmp}/file"], 2, "file cannot be compared: The content is"),
        (["query", "{tmp}/file", "-c", "none"], 2, "There is no collection none"),
        (["query", "{tmp}/file", "-c", "new"], 2, "holds nothing yet"),
        (["preview", "-c", "none", "--cut", "0.7"], 2, "There is no collection none"),
        (["maintain", "check", "-c", "none"], 2, "There is no collection none"),
        (["collections", "check", "{tmp}/empty"], 2, "has no collection files"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IDEDUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IDEDUP_COLLECTIONS", str(tmp_path / "home" / "collections"))
    # Tests that import Airflow set these for the whole process.
    for name in ("IDEDUP_LAKE", "IDEDUP_WAREHOUSE"):
        monkeypatch.delenv(name, raising=False)
    if {"-c", "maintain"} & set(arguments):
        (tmp_path / "home" / "collections").mkdir(parents=True)
        (tmp_path / "home" / "collections" / "new.yaml").write_text("name: new\nsource: /n\n")
    (tmp_path / "empty" / "within").mkdir(parents=True)
    (tmp_path / "full").mkdir()
    Image.new("RGB", (30, 30), "red").save(tmp_path / "full" / "a.png")
    (tmp_path / "file").write_text("words")
    (tmp_path / "bad.yaml").write_text("device: abacus\n")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main([a.format(tmp=tmp_path) for a in arguments]) == code
    assert said in sentence(capsys)
    if arguments[0] != "scan" or "{tmp}/empty" in arguments:
        assert sorted(tmp_path.rglob("*")) == before  # who only reads makes nothing


@pytest.mark.parametrize("command", ["compact", "vacuum", "source", "check"])
def test_maintaining_what_never_ran_makes_nothing(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IDEDUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IDEDUP_COLLECTIONS", str(tmp_path / "collections"))
    for name in ("IDEDUP_LAKE", "IDEDUP_WAREHOUSE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "collections").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    (tmp_path / "collections" / "new.yml").write_text(
        f"name: new\nsource: {tmp_path / 'pictures'}\n"
    )
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["maintain", command]) == 0
    assert capsys.readouterr().out == "new: it never ran, nothing is to be done\n"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("image", "code", "said"),
    [
        ("notes.jpg", 2, "notes.jpg cannot be compared: The content is not that of any"),
        ("nowhere.jpg", 2, "nowhere.jpg is not there: name an image"),
        ("", 2, " is a folder: name one image in it"),
    ],
)
def test_a_query_with_what_is_no_image_is_one_sentence(
    image: str,
    code: int,
    said: str,
    truth: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    scan = ["--scan", str(truth["output"])]
    assert cli.main(["query", str(truth["source"] / image), *scan]) == code
    assert said in sentence(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "s3://AKIA:hunter2@bucket/photos", "-o", "found"],
        ["scan", "s3://AKIA:hunter2/and+more@bucket", "-o", "found"],
        ["scan", "az://photos/in?sig=hunter2", "-o", "found"],
        ["explain", "https://me:hunter2@host/a.jpg", "https://hunter2@host/b.jpg"],
        ["explain", "nonsense://me:hunter2@host/a.jpg", "b.jpg"],
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    said = sentence(capsys)
    assert "user or a password" in said or "after ? or #" in said
    assert "hunter2" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "{tmp}/none", "-o", "{tmp}/o"],
        ["scan", "{tmp}", "-o", "/proc/o"],
        ["scan", "{tmp}/empty", "-o", "{tmp}/o"],
        ["scan", "{tmp}", "-o", "{tmp}/o", "--settings", "{tmp}/none.yaml"],
        ["query", "{tmp}/none.jpg"],
        ["explain", "{tmp}/none.jpg", "{tmp}/none.jpg"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_nothing_heavy_is_loaded_before_bad_use_is_told(
    arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    code = (
        "import sys\n"
        "from idedup_tasks import cli\n"
        "assert cli.main(sys.argv[1:]) == 2\n"
        "heavy = {'torch', 'openvino', 'sklearn', 'matplotlib', 'dask', 'great_expectations'}\n"
        "if sys.argv[1] == 'scan':\n"
        "    heavy |= {'numpy', 'pyarrow', 'deltalake', 'sqlalchemy', 'faiss', 'scipy'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    environment = {**os.environ, "IDEDUP_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", code, *(a.format(tmp=tmp_path) for a in arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr


def test_a_folder_that_may_not_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Asked of the system and not tried: these tests may run as a user who may read everything.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cli.main(["scan", str(tmp_path), "-o", str(tmp_path / "o")]) == 2
    assert "may not be read" in sentence(capsys)


def test_a_broken_gate_is_one_sentence_and_publishes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    rng = np.random.default_rng(3)
    for n in range(10):
        noise = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(source / f"{n}.png")
        (source / f"{n}.txt").write_text("words")
    (tmp_path / "strict.yaml").write_text("quality: {max_reject_ratio: 0.1}\n")
    scan = ["scan", str(source), "-o", str(tmp_path / "o")]
    assert cli.main([*scan, "--settings", str(tmp_path / "strict.yaml")]) == 2
    error = capsys.readouterr().err
    assert "reject_ratio" in error
    assert "is not published" in error
    assert not (tmp_path / "o" / "report.html").exists()
    # A one-off scan of a mixed folder only warns.
    assert cli.main(scan) == 0
    output = capsys.readouterr().out
    assert "Warning: ingest" in output
    assert json.loads((tmp_path / "o" / "summary.json").read_text())["counts"]["rejected"] == 10


def test_after_ctrl_c_the_same_command_goes_on(tmp_path: Path) -> None:
    make_folder(tmp_path / "pictures")
    command = [sys.executable, "-m", "idedup_tasks.cli", "scan", str(tmp_path / "pictures")]
    command += ["-o", str(tmp_path / "found"), "--device", "cpu"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background of a shell inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while not list(tmp_path.glob("found/.idedup/lake/*/candidates/*/ingest.json")):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to all of its processes
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error.strip().splitlines()[-1] == (
        "Interrupted. Run the same command again to go on where it stopped."
    )
    assert "Traceback" not in error
    with pytest.raises(ProcessLookupError):  # no worker is left, once the system has buried them
        for _ in range(600):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    assert cli.main(command[3:]) == 0
    summary = json.loads((tmp_path / "found" / "summary.json").read_text())
    assert summary["counts"]["groups"] == 4


# --- the rest ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["scan"],
        ["query"],
        ["explain"],
        ["preview"],
        ["train"],
        ["db", "upgrade"],
        ["collections", "check"],
    ],
    ids=" ".join,
)
def test_help_is_there(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--help"]) == 0
    output = capsys.readouterr().out
    assert "Usage: idedup" in output
    assert command in ([], ["db", "upgrade"]) or "Example" in output


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("idedup ")


def test_db_upgrade_makes_the_warehouse_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDEDUP_WAREHOUSE", f"sqlite:///{tmp_path}/new/warehouse.db")
    for _ in range(2):
        assert cli.main(["db", "upgrade"]) == 0
        assert "is up to date." in capsys.readouterr().out
    assert (tmp_path / "new" / "warehouse.db").is_file()


def test_collections_check_names_file_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nsource: /a\n")
    (tmp_path / "b.yaml").write_text("name: b\nsource: /b\nquality: {warn_only: [reject_ratio]}\n")
    assert cli.main(["collections", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "a.yaml: good (a)\nb.yaml: good (b)\n"
    (tmp_path / "b.yaml").write_text("name: b\nsource: /b\nquality: {warn_only: [reject_rate]}\n")
    (tmp_path / "c.yaml").write_text("name: a\nsource: /c\n")
    (tmp_path / "d.yaml").write_text("name: d\nsource: /d\ngrouping: {linkage: nearest}\n")
    assert cli.main(["collections", "check", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a.yaml: good (a)"
    assert lines[1].startswith("b.yaml: quality.warn_only: no rule is called reject_rate")
    assert lines[2].startswith("c.yaml: name: a is the name in a.yaml too")
    assert lines[3].startswith("d.yaml: grouping.linkage")


def test_a_small_scan_imports_and_starts_little(tmp_path: Path) -> None:
    folder = builders.save_scenes(tmp_path / "scenes", 10)
    code = (
        "import contextlib, sys, threading, psutil\n"
        "from idedup_tasks import cli\n"
        "me, workers, over = psutil.Process(), set(), threading.Event()\n"
        # In two parts: a child that is just being forked has this very text as its command line.
        "name = 'spawn_' + 'main'\n"
        "def watch():\n"
        "    while not over.wait(0.01):\n"
        "        for child in me.children():\n"
        "            with contextlib.suppress(psutil.Error):  # it may have ended meanwhile\n"
        "                if name in str(child.cmdline()):\n"
        "                    workers.add(child.pid)\n"
        "watching = threading.Thread(target=watch)\n"
        "watching.start()\n"
        "code = cli.main(['scan', *sys.argv[1:]])\n"
        "over.set()\n"
        "watching.join()\n"
        "heavy = {'alembic', 'dask', 'great_expectations', 'matplotlib', 'pandas'}\n"
        "heavy |= {'pywt', 'scipy.cluster', 'scipy.fftpack', 'scipy.sparse', 'skimage', 'torch'}\n"
        "print(code, len(workers), sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, str(folder), "--output", str(tmp_path / "found")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == "0 1 []", ran.stderr


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import idedup_tasks, idedup_tasks.cli, sys;"
        "heavy = {'numpy', 'pyarrow', 'torch', 'faiss', 'great_expectations', 'sqlalchemy'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
