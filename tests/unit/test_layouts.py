"""What looks alike and is not: drawn pictures and documents, edits, and the workflow's figures."""

from __future__ import annotations

import io
import itertools
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from idedup_tasks.benchmarks import layouts
from idedup_tasks.benchmarks.datasets import BenchmarkError, Dataset, open_dataset
from idedup_tasks.benchmarks.looks import Looked, look_at_nearest, report
from idedup_tasks.benchmarks.measures import Judged
from idedup_tasks.benchmarks.methods import Method, choose_methods
from idedup_tasks.benchmarks.page import render
from idedup_tasks.benchmarks.run import measure_scan, measures_of, run_benchmark
from idedup_tasks.benchmarks.workflow import scan

FAMILIES = len(layouts.FAMILIES)


def content(dataset: Dataset, row: int) -> bytes:
    assert dataset.file is not None
    return dataset.file(row)[0]


def small(image: Image.Image, side: int = 48) -> np.ndarray:
    return np.asarray(image.convert("L").resize((side, side)), np.float32)


def save_photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        layouts.scene(np.random.default_rng(i)).resize((160, 120)).save(folder / f"{i:02}.png")
    return folder


# --- layouts -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    """Two pictures of each family, in one look."""
    return open_dataset("layouts", limit=2 * FAMILIES)


def test_there_are_ten_families_or_more_and_each_third_picture_has_two_copies(
    drawn: Dataset,
) -> None:
    assert FAMILIES >= 10
    whole = open_dataset("layouts")
    sizes = Counter(whole.groups.tolist())
    assert len(sizes) == 480
    assert Counter(sizes.values()) == {1: 320, 3: 160}
    assert set(whole.kinds) == set(layouts.FAMILIES)
    assert whole.originals is not None
    assert np.unique(whole.groups[whole.originals]).tolist() == list(range(480))
    copied = whole.kinds[480:]
    assert set(copied) == set(layouts.FAMILIES)  # no family is left without copies


def test_the_same_seed_draws_the_same_bytes_and_another_one_others(drawn: Dataset) -> None:
    again, other = (open_dataset("layouts", limit=2 * FAMILIES, seed=seed) for seed in (0, 1))
    for row in (*range(0, FAMILIES, 3), len(drawn) - 1):
        assert content(drawn, row) == content(again, row)
        assert content(drawn, row) != content(other, row)


def test_pictures_of_one_look_agree_in_more_than_those_of_two() -> None:
    within, between = [], []
    for place, (name, draw) in enumerate(layouts.FAMILIES.items()):
        one, two = (layouts.draw_look(100 * place + k, layouts.scene) for k in (0, 1))
        first, second, elsewhere = (
            draw(look, np.random.default_rng(content))
            for look, content in ((one, 1), (one, 2), (two, 1))
        )
        if name != "table":  # whose rows are as many as the look has
            assert first.size[0] == second.size[0], name
        assert first.tobytes() != second.tobytes(), name
        assert draw(one, np.random.default_rng(1)).tobytes() == first.tobytes(), name
        within.append(np.abs(small(first) - small(second)).mean())
        between.append(np.abs(small(first) - small(elsewhere)).mean())
    assert np.median(within) * 2 < np.median(between)
    assert min(within) > 0.1  # what differs can be seen


def test_copies_are_copies(drawn: Dataset) -> None:
    pictures = [drawn.open(row) for row in range(len(drawn))]
    thumbnails = np.stack([small(picture) for picture in pictures])
    originals, endings = 2 * FAMILIES, Counter()
    assert len(drawn) > originals
    for row in range(originals, len(drawn)):
        assert drawn.file is not None
        endings[drawn.file(row)[1]] += 1
        apart = np.abs(thumbnails[:originals] - thumbnails[row]).mean((1, 2))
        nearest = apart.argsort()
        assert nearest[0] == drawn.groups[row]
        assert apart[nearest[0]] < min(3.0, apart[nearest[1]] / 1.5)
        assert content(drawn, row) != content(drawn, nearest[0])
    assert set(endings) == {"png", "jpg", "webp"}
    resized = sum(
        pictures[row].size != pictures[drawn.groups[row]].size
        for row in range(originals, len(drawn))
    )
    assert 0 < resized < len(drawn) - originals


def test_photographs_of_a_folder_are_shown_where_one_is_given(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "photos", 2)
    row = list(layouts.FAMILIES).index("site")
    plain, with_photos = (open_dataset("layouts", folder, limit=4) for folder in (None, photos))
    assert content(plain, row) != content(with_photos, row)
    assert content(plain, 0) == content(with_photos, 0)  # a chat shows none


# --- documents ---------------------------------------------------------------------------------


def test_documents_differ_in_one_digit_at_300_dpi() -> None:
    documents = open_dataset("documents", limit=2)
    assert documents.kinds.tolist() == [
        *["original"] * 2,
        *["recompressed"] * 2,
        *["one digit changed"] * 2,
    ]
    assert documents.groups.tolist() == [0, 1, 0, 1, 2, 3]
    original, copy, changed = (documents.open(row) for row in (0, 2, 4))
    assert original.size == copy.size == changed.size == (2480, 3508)  # A4
    box = ImageChops.difference(original, changed).getbbox()
    assert box is not None
    assert 3 < box[2] - box[0] < 60
    assert 3 < box[3] - box[1] < 80
    assert 0 < np.abs(np.asarray(original, int) - np.asarray(copy, int)).mean() < 3


# --- edits -------------------------------------------------------------------------------------


def test_edits_are_one_to_four_and_some_queries_have_no_answer(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "photos", 9)
    dataset = open_dataset("edits", photos, copies=4)
    assert dataset.name == "edits of our own"
    assert len(dataset.references) == 3
    assert len(dataset.queries) == 3 * 4 + 3
    counts = Counter(dataset.kinds[dataset.queries].tolist())
    assert counts.keys() == {"one edit", "two edits", "three edits", "four edits"}
    assert max(counts.values()) - min(counts.values()) <= 1
    answered = np.isin(dataset.groups[dataset.queries], dataset.groups[dataset.references])
    assert answered.tolist() == [True] * 12 + [False] * 3
    row = int(dataset.queries[-1])
    assert content(dataset, row) == content(open_dataset("edits", photos, copies=4), row)
    assert content(dataset, 0) == (photos / "00.png").read_bytes()


def test_without_augly_in_the_other_python_it_is_said(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "photos", 6)
    with pytest.raises(BenchmarkError, match=r"No module named 'augly'.*leave --peer-python out"):
        open_dataset("edits", photos, peer_python=Path(sys.executable))
    with pytest.raises(BenchmarkError, match="cannot be run"):
        open_dataset("edits", photos, peer_python=tmp_path / "absent")


def test_what_is_not_drawn_needs_a_folder() -> None:
    for name in ("copydays", "edits", "groups", "cifar10"):
        with pytest.raises(BenchmarkError, match=f"{name} is made of a folder"):
            open_dataset(name)


# --- the workflow ------------------------------------------------------------------------------


def test_judged_pairs_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    pairs = np.array([pair for pair in itertools.combinations(range(12), 2) if rng.random() < 0.4])
    similarities = rng.random(len(pairs)).round(4)
    expected = np.zeros((12, 12), np.int32)
    for (a, b), value in zip(pairs, similarities, strict=True):
        expected[a, b] = expected[b, a] = round((value + 1) * 10_000)
    judged = Judged(
        12, np.where(rng.random((len(pairs), 1)) < 0.5, pairs, pairs[:, ::-1]), similarities
    )
    rows, columns = np.array([3, 0, 7]), np.arange(2, 12)
    np.testing.assert_array_equal(judged.levels(rows, columns), expected[rows][:, columns])
    every = np.array(list(itertools.product(range(12), range(12))))
    np.testing.assert_array_equal(judged.paired(every), expected.ravel())


# A scan that groups pictures by their number: 0 and 1 (a copy), 2 and 3 (an edited one), 4 and 5.
STAND_IN = """
import csv, json, sys
from pathlib import Path
source, output = Path(sys.argv[1]), Path(sys.argv[3])
names = {int(path.stem.split("-")[1]): path for path in source.iterdir()}
assert len({path.stat().st_mtime for path in names.values()}) == 1
output.mkdir()
found = [(0, "a", "same", "false"), (1, "a", "", "true"), (2, "b", "", "true"),
         (3, "b", "edited", "false"), (4, "c", "", "true"), (5, "c", "crop", "false")]
with (output / "groups.csv").open("w") as stream:
    rows = csv.writer(stream)
    rows.writerow(["uri", "group_id", "relation", "is_keeper"])
    rows.writerows((names[n].as_uri(), *rest) for n, *rest in found)
with (output / "pairs.csv").open("w") as stream:
    rows = csv.writer(stream)
    rows.writerow(["uri_a", "uri_b", "relation", "score"])
    for a, b, relation, score in ((0, 1, "same", 0.9), (2, 3, "edited", 0.6), (4, 5, "crop", 0.8),
                                  (0, 2, "alike", 0.1), (0, 3, "undecided", "")):
        rows.writerow([names[a].as_uri(), names[b].as_uri(), relation, score])
(output / "summary.json").write_text(json.dumps({"rejected": []}))
"""


def stand_in(folder: Path, script: str) -> Method:
    file = folder / "scan.py"
    file.write_text(script)
    return Method("idedup-scan", "workflow", (sys.executable, str(file)))


def numbered(groups: list[int]) -> Dataset:
    rows = np.arange(len(groups))

    def file(row: int) -> tuple[bytes, str]:
        buffer = io.BytesIO()
        Image.new("RGB", (20, 20), (row, row, row)).save(buffer, "PNG")
        return buffer.getvalue(), "png"

    def open_(row: int) -> Image.Image:
        return Image.open(io.BytesIO(file(row)[0]))

    return Dataset(
        "numbers",
        np.full(len(groups), "number"),
        np.array(groups),
        rows,
        rows,
        {},
        rows,
        open_,
        originals=np.array([0, 2, 4, 6]),
        file=file,
    )


def test_a_scan_is_scored_by_its_groups_its_duplicates_and_its_pairs(tmp_path: Path) -> None:
    dataset = numbered([0, 0, 1, 1, 2, 3, 4])  # 4 and 5 are grouped wrongly
    found = measure_scan(dataset, scan(dataset, stand_in(tmp_path, STAND_IN)))
    assert found["groups"]["pairwise_precision"] == pytest.approx(2 / 3)
    assert found["groups"]["pairwise_recall"] == 1
    duplicates = found["groups"]["duplicates"]
    assert (duplicates["pairwise_precision"], duplicates["pairwise_recall"]) == (0.5, 0.5)
    called = found["called_duplicates"]["all"]
    assert (called["precision"], called["recall"]) == (0.5, 0.5)
    # Ranked: 0.9 right, 0.8 wrong, 0.6 right.
    assert found["pairs"]["all"]["micro_ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["pairs"]["all"]["recall_at_precision_0.99"] == 0.5
    assert found["at_threshold"]["all"]["true_positives"] == 2
    assert found["at_threshold"]["all"]["false_positives"] == 1
    # Of 0 and 4, which have duplicates, the second is its group's keeper.
    assert found["originals_kept"] == 0.5
    assert found["peak_bytes"] > 1e6


def test_a_scan_is_shown_on_the_page(tmp_path: Path) -> None:
    dataset = numbered([0, 0, 1, 1, 2, 3, 4])
    results = run_benchmark(dataset, [stand_in(tmp_path, STAND_IN)])
    figures = results["methods"]["idedup-scan"]
    assert measures_of(figures)["groups.duplicates.pairwise_recall"] == 0.5
    page = render(results)
    assert "of these the duplicates, without variants" in page
    assert "keeps the original in 50.00 %" in page


def test_labelled_pairs_are_decided_by_groups_too(tmp_path: Path) -> None:
    pairs, same = np.array([[1, 0], [4, 5], [0, 6], [2, 6]]), np.array([True, False, False, True])
    dataset = replace(numbered([0, 1, 2, 3, 4, 5, 6]), pairs=pairs, same=same, originals=None)
    found = measure_scan(dataset, scan(dataset, stand_in(tmp_path, STAND_IN)))
    decided = found["at_threshold"]["all"]
    assert (decided["precision"], decided["recall"]) == (0.5, 0.5)
    assert "groups" not in found


def test_a_scan_that_fails_says_why(tmp_path: Path) -> None:
    failing = stand_in(tmp_path, 'raise SystemExit("the disk is full")')
    with pytest.raises(BenchmarkError, match="idedup scan ended with code 1: the disk is full"):
        scan(numbered([0, 0]), failing)


def test_the_workflow_is_a_method_by_its_name() -> None:
    [method] = choose_methods(["idedup-scan"])
    assert method.family == "workflow"
    assert method.command[2:4] == ("idedup_tasks.cli", "scan")


def test_nearest_others_are_looked_at_and_what_was_not_counts_as_not_found() -> None:
    drawn = open_dataset("layouts", limit=16)
    seen = look_at_nearest(drawn, 3)
    copies = drawn.groups[seen.pairs[:, 0]] == drawn.groups[seen.pairs[:, 1]]
    assert 0 < copies.sum() < len(copies)
    called = np.array([one.relation == "same" for one in seen.looks])
    assert called.tolist() == copies.tolist()
    said = "\n".join(report(drawn, seen))
    assert f"duplicates: {copies.sum()} of {copies.sum()} are copies" in said
    assert "by score: µAP 1.000, recall at precision 0.99 1.000" in said
    rest = Looked(seen.pairs[~copies], seen.cosine[~copies], [], 0.0)
    unseen = replace(
        rest, looks=[one for one, same in zip(seen.looks, copies, strict=True) if not same]
    )
    assert "recall at precision 0.99 0.000 of all copies" in "\n".join(report(drawn, unseen))
