"""The sample collection: whole, repeatable, spread over its days, its truth true."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from idedup_tasks.quickstart import agreement, wrong_pairs
from idedup_tasks.quickstart.sample import DAYS, arrival_days, make_sample, photographs

FIRST_DAY = date(2025, 6, 2)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    folder = tmp_path_factory.mktemp("sample") / "pictures"
    truth = make_sample(folder, first_day=FIRST_DAY)
    with truth.open(encoding="utf-8", newline="") as stream:
        return folder, list(csv.DictReader(stream))


def contents(folder: Path) -> dict[str, tuple[str, float]]:
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_truth_names_every_file_and_lies_outside(
    sample: tuple[Path, list[dict[str, str]]],
) -> None:
    folder, rows = sample
    assert [row["file"] for row in rows] == sorted(contents(folder))
    assert 200 <= len(rows) <= 300


def test_all_files_but_the_broken_ones_are_pictures(
    sample: tuple[Path, list[dict[str, str]]],
) -> None:
    folder, rows = sample
    broken = [row["file"] for row in rows if row["edit"] == "broken"]
    assert len(broken) == 3
    for row in rows:
        if row["file"] in broken:
            assert row["original"] == ""
            with (
                pytest.raises((OSError, UnidentifiedImageError)),
                Image.open(folder / row["file"]) as image,
            ):
                image.load()
        else:
            with Image.open(folder / row["file"]) as image:
                image.load()


def test_exact_copies_are_exact_and_edits_are_not(
    sample: tuple[Path, list[dict[str, str]]],
) -> None:
    folder, rows = sample
    digests = {name: digest for name, (digest, _) in contents(folder).items()}
    by_original: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        by_original[row["original"]][row["file"]] = row["edit"]
    for name, _ in photographs():
        files = by_original[name]
        assert len(files) >= 8
        alike = {digests[f] for f, edit in files.items() if edit in ("original", "exact copy")}
        assert len(alike) == 1
        edited = [digests[f] for f, e in files.items() if e not in ("original", "exact copy")]
        assert len(set(edited)) == len(edited)
        assert not alike & set(edited)


def test_it_is_mostly_photographs_with_lookalikes_of_three_kinds(
    sample: tuple[Path, list[dict[str, str]]],
) -> None:
    folder, rows = sample
    names = {name for name, _ in photographs()}
    assert names.isdisjoint({"grass", "gravel", "brick"})
    assert sum(row["original"] in names for row in rows) > len(rows) / 2
    others: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if row["original"] not in names and row["edit"] != "broken":
            others[row["original"].rpartition(" ")[0]].append(row)
    assert set(others) == {"chat", "receipt", "chart"}
    for of_kind in others.values():
        drawn = [folder / row["file"] for row in of_kind if row["edit"] == "original"]
        assert len({Image.open(path).size for path in drawn}) == 1  # one layout
        assert len({path.read_bytes() for path in drawn}) == len(drawn)  # never the same picture
        copies = Counter(row["original"] for row in of_kind)
        assert set(copies.values()) == {1, 2, 3}


def test_nothing_is_written_that_only_a_gpl_encoder_writes(
    sample: tuple[Path, list[dict[str, str]]],
) -> None:
    folder, _ = sample
    endings = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert endings == {".jpg", ".png", ".webp", ".tiff"}


def test_copies_arrive_on_other_days_than_their_originals(
    sample: tuple[Path, list[dict[str, str]]],
) -> None:
    folder, rows = sample
    assert arrival_days(folder) == [date(2025, 6, 2 + day) for day in range(DAYS)]
    days: dict[str, set[date]] = defaultdict(set)
    for row in rows:
        moment = (folder / row["file"]).stat().st_mtime
        days[row["original"]].add(datetime.fromtimestamp(moment, UTC).date())
    assert all(len(days[name]) == DAYS for name, _ in photographs())


def test_it_is_the_same_every_time_and_made_once(
    sample: tuple[Path, list[dict[str, str]]], tmp_path: Path
) -> None:
    folder, _ = sample
    again = tmp_path / "pictures"
    truth = make_sample(again, first_day=FIRST_DAY)
    assert contents(again) == contents(folder)
    removed = sorted(again.rglob("*.jpg"))[0]
    removed.unlink()
    make_sample(again, first_day=FIRST_DAY)
    assert not removed.exists()  # what is there whole is left alone
    truth.unlink()
    make_sample(again, first_day=FIRST_DAY)
    assert contents(again) == contents(folder)  # what was cut off is made anew


def test_by_default_the_days_end_yesterday(tmp_path: Path) -> None:
    before = datetime.now(UTC).date()
    make_sample(tmp_path / "pictures")
    after = datetime.now(UTC).date()
    assert arrival_days(tmp_path / "pictures")[-1].toordinal() + 1 in (
        before.toordinal(),
        after.toordinal(),
    )


def test_agreement_counts_pairs() -> None:
    truth = {"a": "x", "b": "x", "c": "x", "d": "y", "e": None}
    assert agreement(truth, {"a": "1", "b": "1", "c": "1", "d": None, "e": None}) == (3, 3, 3)
    assert agreement(truth, {"a": "1", "b": "1", "c": "2", "d": "2", "e": None}) == (3, 2, 1)
    assert agreement(truth, {"a": "1", "d": "1", "e": "1"}) == (3, 3, 0)


def test_wrong_pairs_are_counted_by_what_they_show() -> None:
    truth = {
        "a": "chat 01",
        "b": "chat 01",
        "c": "chat 02",
        "d": "moon",
        "e": "cat",
        "f": "chart 01",
    }
    assert not wrong_pairs(truth, {"a": "1", "b": "1", "c": None, "d": None})
    found = {"a": "1", "b": "1", "c": "1", "d": "2", "e": "2", "f": "2"}
    assert wrong_pairs(truth, found) == {"chats": 2, "photographs": 1, "of two kinds": 2}
