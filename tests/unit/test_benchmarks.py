"""The benchmark: measures against brute force, datasets and their faults, processes, the page."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from builders import save_scenes
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from idedup_tasks.benchmarks import methods as methods_module
from idedup_tasks.benchmarks.datasets import BenchmarkError, open_dataset, read_photo
from idedup_tasks.benchmarks.edits import CROPS_AND_JPEGS, EDITS, STRONG
from idedup_tasks.benchmarks.measures import (
    Decisions,
    Encoding,
    b_cubed,
    components,
    grouping_quality,
    linked_groups,
    rank,
    tally_pairs,
)
from idedup_tasks.benchmarks.methods import Method, Process, choose_methods
from idedup_tasks.benchmarks.page import PAPER_CLAIM, PAPER_MATRIX, render
from idedup_tasks.benchmarks.peers.frames import signs
from idedup_tasks.benchmarks.peers.group import joined
from idedup_tasks.benchmarks.run import GRID, measure, measures_of, run_benchmark, write_results
from idedup_tasks.benchmarks.speed import choose_programs, compare_speed
from idedup_tasks.descriptors import load_card
from idedup_tasks.linkage import average_cuts


def random_encoding(n: int, dim: int = 6, seed: int = 0) -> Encoding:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return Encoding(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def similarities(encoding: Encoding) -> np.ndarray:
    """All of them, rounded as decisions are, by another way than `Encoding.levels`."""
    exact = encoding.vectors.astype(np.float64) @ encoding.vectors.T.astype(np.float64)
    return ((1 + exact) / 2 if encoding.hamming else exact).round(4)


# --- measures ----------------------------------------------------------------------------------


@pytest.fixture(params=["cosines", "hashes"])
def encoding(request: pytest.FixtureRequest) -> Encoding:
    if request.param == "cosines":
        return random_encoding(40)
    # Eight bits, so that many pairs score the same.
    bits = np.random.default_rng(1).integers(0, 2, (40, 8)) * 2.0 - 1
    return Encoding((bits / np.sqrt(8)).astype(np.float32), hamming=True)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.375, 0.5, 0.75, 1.0])
def test_decisions_are_those_of_counting_pairs(encoding: Encoding, threshold: float) -> None:
    rng = np.random.default_rng(2)
    groups = np.concatenate([np.arange(15), rng.integers(0, 15, 25)])
    kinds = np.array(["original"] * 15 + ["a", "b", "c", "d", "e"] * 5)
    ranked = rank(encoding, groups, kinds, np.arange(15, 40), np.arange(15))
    scores = similarities(encoding)
    for kind, tally in ranked.tallies.items():
        counts = [0, 0, 0, 0]
        for i, j in itertools.product(range(15, 40), range(15)):
            if kinds[i] == kind:
                called, right = scores[i, j] >= threshold, groups[i] == groups[j]
                counts[(0 if right else 1) if called else (2 if right else 3)] += 1
        found = tally.decisions(threshold)
        assert [
            found.true_positives,
            found.false_positives,
            found.false_negatives,
            found.true_negatives,
        ] == counts


def test_precision_recall_f1_and_accuracies() -> None:
    decisions = Decisions(6, 2, 4, 88)
    assert decisions.precision == pytest.approx(0.75)
    assert decisions.recall == pytest.approx(0.6)
    assert decisions.f1 == pytest.approx(2 * 0.75 * 0.6 / 1.35)
    assert decisions.accuracy == pytest.approx(0.94)
    assert decisions.balanced_accuracy == pytest.approx((0.6 + 88 / 90) / 2)
    nothing = Decisions(0, 0, 5, 5)
    assert (nothing.precision, nothing.recall, nothing.f1) == (1.0, 0.0, 0.0)


def test_curve_average_precisions_and_levels_by_brute_force(encoding: Encoding) -> None:
    groups = np.concatenate([np.arange(15), np.random.default_rng(3).integers(0, 15, 25)])
    kinds = np.full(40, "edit")
    ranked = rank(encoding, groups, kinds, np.arange(15, 40), np.arange(15))
    scores = similarities(encoding)[15:, :15]
    right = groups[15:, None] == groups[:15]
    curve = ranked.tallies["edit"].curve()
    last, micro_ap, best_f1, recall_99 = 0.0, 0.0, 0.0, 0.0
    for threshold in sorted(set(scores.ravel()), reverse=True):
        called = scores >= threshold
        precision = (called & right).sum() / called.sum()
        recall = (called & right).sum() / right.sum()
        micro_ap += (recall - last) * precision
        best_f1 = max(best_f1, 2 * precision * recall / (precision + recall or 1))
        recall_99 = recall if precision >= 0.99 else recall_99
        last = recall
    assert curve.average_precision() == pytest.approx(micro_ap)
    assert curve.best_f1()[0] == pytest.approx(best_f1)
    assert curve.at_precision(0.99)[0] == pytest.approx(recall_99)
    # A single right answer: the reciprocal of the worst rank that it shares.
    own = [1 / (row >= row[truth]).sum() for row, truth in zip(scores, groups[15:], strict=True)]
    np.testing.assert_allclose(ranked.average_precision, own)


def test_among_images_that_are_query_and_reference_each_pair_counts_once(
    encoding: Encoding,
) -> None:
    groups = np.random.default_rng(4).integers(0, 12, 40)
    everything = np.arange(40)
    ranked = rank(encoding, groups, np.full(40, "image"), everything, everything)
    tally, scores = ranked.tallies["image"], similarities(encoding)
    assert tally.right.sum() + tally.wrong.sum() == 40 * 39 // 2
    pairs = list(itertools.combinations(range(40), 2))
    assert tally.right.sum() == sum(groups[i] == groups[j] for i, j in pairs)
    assert tally.decisions(0.5).false_positives == sum(
        groups[i] != groups[j] and scores[i, j] >= 0.5 for i, j in pairs
    )
    expected = []
    for i in range(40):
        others = [j for j in range(40) if j != i]
        friends = [j for j in others if groups[j] == groups[i]]
        precisions = [
            sum(scores[i, k] >= scores[i, j] for k in friends)
            / sum(scores[i, k] >= scores[i, j] for k in others)
            for j in friends
        ]
        if friends:
            expected.append(np.mean(precisions))
    assert len(ranked.right) == len(expected)
    np.testing.assert_allclose(ranked.average_precision, expected)


def test_labelled_pairs_are_counted_alone(encoding: Encoding) -> None:
    pairs = np.random.default_rng(5).integers(0, 40, (60, 2))
    same = np.random.default_rng(6).random(60) < 0.4
    found = tally_pairs(encoding, pairs, same).decisions(0.4)
    called = np.array([similarities(encoding)[a, b] >= 0.4 for a, b in pairs])
    assert found == Decisions(
        int((called & same).sum()),
        int((called & ~same).sum()),
        int((~called & same).sum()),
        int((~called & ~same).sum()),
    )


def test_components_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks of seven rows, so that components cross them.
    monkeypatch.setattr("idedup_tasks.benchmarks.measures.ROWS", 7)
    encoding, rows = random_encoding(60, 4), np.arange(3, 60)
    near = similarities(encoding)[3:, 3:] >= 0.85
    labels = components(encoding, rows, 0.85)
    reach = near.copy()
    for _ in range(6):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    np.testing.assert_array_equal(labels[:, None] == labels, reach)
    assert 1 < len(np.unique(labels)) < 57
    cuts = [0.95, 0.9, 0.7, 0.2, -1.0]
    for groups, cut in zip(linked_groups(encoding, rows, 0.8, cuts), cuts, strict=True):
        expected = groups_by_scipy(encoding.vectors[3:], 0.8, cut)
        np.testing.assert_array_equal(groups[:, None] == groups, expected[:, None] == expected)
    whole = linked_groups(encoding, rows, -1.0, cuts)
    for groups, cut in zip(whole, cuts, strict=True):
        expected = next(average_cuts(encoding.vectors[3:], [cut]))
        np.testing.assert_array_equal(groups[:, None] == groups, expected[:, None] == expected)


def groups_by_scipy(vectors: np.ndarray, candidate: float, cut: float) -> np.ndarray:
    """Average linkage of each component's matrix of cosines."""
    cosines = vectors @ vectors.T
    _, component = connected_components(cosines >= candidate, directed=False)
    labels = component.copy()
    for members in (np.flatnonzero(component == k) for k in np.unique(component)):
        if len(members) > 1:
            distances = np.maximum(1 - cosines[np.ix_(members, members)], 0).astype(np.float64)
            np.fill_diagonal(distances, 0)
            tree = linkage(squareform(distances, checks=False), "average")
            labels[members] = (members[0] + 1) * 1000 + fcluster(tree, 1 - cut, "distance")
    return labels


def test_groups_do_not_chain() -> None:
    # A walk along an arc: neighbours are alike, the ends are not.
    angles = np.deg2rad(np.arange(0, 180, 15))
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    cosines, rows = vectors @ vectors.T, np.arange(len(angles))
    cut, whole = linked_groups(Encoding(vectors), rows, 0.9, [0.8, -1.0])
    assert len(set(whole)) == 1
    assert len(set(cut)) > 2
    for group in set(cut):
        members = np.flatnonzero(cut == group)
        assert cosines[np.ix_(members, members)].mean() >= 0.8
    [apart] = linked_groups(Encoding(vectors), rows, 0.99, [-1.0])
    assert len(set(apart)) == len(angles)


def test_group_quality_by_brute_force() -> None:
    rng = np.random.default_rng(7)
    labels, truth = rng.integers(0, 9, 50), rng.integers(0, 12, 50)
    pairs = list(itertools.combinations(range(50), 2))
    found = {(i, j) for i, j in pairs if labels[i] == labels[j]}
    wanted = {(i, j) for i, j in pairs if truth[i] == truth[j]}
    precision, recall, _ = grouping_quality(labels, truth)
    assert precision == pytest.approx(len(found & wanted) / len(found))
    assert recall == pytest.approx(len(found & wanted) / len(wanted))
    of_image = []
    for i in range(50):
        group = {j for j in range(50) if labels[j] == labels[i]}
        true = {j for j in range(50) if truth[j] == truth[i]}
        of_image.append((len(group & true) / len(group), len(group & true) / len(true)))
    p, r = np.mean(of_image, axis=0)
    assert b_cubed(labels, truth) == pytest.approx((p, r, 2 * p * r / (p + r)))
    assert b_cubed(truth, truth) == (1.0, 1.0, 1.0)


# --- datasets ----------------------------------------------------------------------------------


def pixels(dataset: Any) -> list[bytes]:
    return [image.tobytes() for batch in dataset.batches(16) for image in batch]


def test_the_protocol_has_copydays_crops_and_jpegs() -> None:
    assert {f"crop {p} %" for p in (10, 15, 20, 30, 40, 50, 60, 70, 80)} <= set(CROPS_AND_JPEGS)
    assert {f"JPEG {q}" for q in (75, 50, 30, 20, 15, 10, 8, 5, 3)} <= set(CROPS_AND_JPEGS)
    assert len(CROPS_AND_JPEGS) == 18
    assert not set(CROPS_AND_JPEGS) & set(STRONG)
    image = Image.new("RGB", (400, 200))
    cropped = EDITS["crop 80 %"](image, np.random.default_rng(0), lambda: image)
    assert cropped.width * cropped.height == pytest.approx(0.2 * 400 * 200, rel=0.02)
    assert EDITS["JPEG 3"](image, np.random.default_rng(0), lambda: image).size == (100, 50)


def test_copies_repeat_and_use_each_edit_equally_often(tmp_path: Path) -> None:
    folder = save_scenes(tmp_path / "photos", 33)
    dataset = open_dataset("copydays", folder)
    kinds, counts = np.unique(dataset.kinds[dataset.queries], return_counts=True)
    assert set(kinds) == set(EDITS)
    assert set(counts) == {5}
    assert sum(map(len, dataset.sets.values())) == len(EDITS)
    first = pixels(dataset)
    assert first == pixels(open_dataset("copydays", folder))
    other = pixels(open_dataset("copydays", folder, seed=1))
    assert first[:33] == other[:33]
    assert first[33:] != other[33:]
    # Originals come first, as they are.
    assert first[0] == read_photo(folder / "000.png").tobytes()


def test_distractors_are_references_and_nobodys_copy(tmp_path: Path) -> None:
    photos, others = save_scenes(tmp_path / "a", 4), save_scenes(tmp_path / "b", 3, first=4)
    dataset = open_dataset("copydays", photos, others, copies=2)
    assert dataset.kinds[4:7].tolist() == ["distractor"] * 3
    assert dataset.references.tolist() == list(range(7))
    assert dataset.groups[dataset.queries].max() == 3
    assert open_dataset("copydays", photos, limit=2).groups.max() == 1


def test_large_photographs_are_reduced_like_thumbnails(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (1600, 1200), "red").save(tmp_path / name)
    dataset = open_dataset("copydays", tmp_path, copies=1)
    [batch] = dataset.batches()
    assert dataset.open(0).size == (683, 512)
    assert batch[0].size == (342, 256)


def test_inria_copydays_is_recognised_by_its_folders(tmp_path: Path) -> None:
    save_scenes(tmp_path / "x", 3)
    for block in ("original", "crops/10", "jpegqual/75", "strong"):
        (tmp_path / "copydays" / block).mkdir(parents=True)
    for i in range(3):
        for block, number in (("original", 0), ("crops/10", 0), ("jpegqual/75", 0), ("strong", 1)):
            with Image.open(tmp_path / "x" / f"00{i}.png") as image:
                image.save(tmp_path / "copydays" / block / f"200{i}0{number}.jpg")
    dataset = open_dataset("copydays", tmp_path / "copydays")
    assert dataset.name == "INRIA Copydays"
    assert dataset.kinds.tolist() == [
        *["original"] * 3,
        *["crop 10 %"] * 3,
        *["JPEG 75"] * 3,
        *["strong"] * 3,
    ]
    assert dataset.groups.tolist() == [0, 1, 2] * 4
    assert dataset.sets == {
        "crops and JPEGs": ["crop 10 %", "JPEG 75"],
        "strong edits": ["strong"],
    }


def test_groups_come_from_a_table(tmp_path: Path) -> None:
    save_scenes(tmp_path, 5)
    table = "file,group\n000.png,x\n001.png,x\n002.png,y\n003.png,y\n004.png,\n"
    (tmp_path / "groups.csv").write_text(table)
    dataset = open_dataset("groups", tmp_path)
    assert dataset.groups.tolist() == [0, 0, 1, 1, 6]
    assert len(open_dataset("groups", tmp_path, limit=1)) == 2
    figures = measure(
        dataset,
        Encoding(np.eye(5, dtype=np.float32)),
        {"threshold": 0.5, "candidate": None, "cut": None},
    )
    assert figures["at_threshold"]["all"]["false_negatives"] == 2
    assert figures["groups"]["groups"] == 0


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (None, "there is no"),
        ("name,group\n000.png,x\n", "no column file"),
        ("file,group\n", "no rows"),
        ("file,group\n000.png,x\nabsent.png,x\n", "line 3: there is no file"),
        ("file,group\n000.png,x\n000.png,y\n", "line 3: 000.png is in line 2 too"),
        ("file,group\n000.png,x\n001.png,y\n", "no group of two"),
        ("file,group\n000.png\n001.png,\n", "no group of two"),
    ],
)
def test_faults_of_groups_csv_are_named(tmp_path: Path, table: str | None, says: str) -> None:
    save_scenes(tmp_path, 2)
    if table is not None:
        (tmp_path / "groups.csv").write_text(table)
    with pytest.raises(BenchmarkError, match=says):
        open_dataset("groups", tmp_path)


def test_cifar10_reads_binary_batches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    records = [bytes([7]) + image.transpose(2, 0, 1).tobytes() for image in colours]
    (tmp_path / "data_batch_1.bin").write_bytes(b"".join(records))
    Image.fromarray(colours[1]).save(tmp_path / "copy.png")
    (tmp_path / "pairs.csv").write_text(
        "a,b,same\ndata_batch_1.bin/1,copy.png,1\ndata_batch_1.bin/0,data_batch_1.bin/2,0\n"
    )
    dataset = open_dataset("cifar10", tmp_path)
    assert len(dataset) == 4
    assert dataset.pairs is not None
    assert dataset.same is not None
    (a, b), (c, d) = dataset.pairs
    assert dataset.open(a).tobytes() == dataset.open(b).tobytes() == colours[1].tobytes()
    assert dataset.open(c).tobytes() != dataset.open(d).tobytes()
    assert dataset.same.tolist() == [True, False]
    figures = measure(
        dataset,
        Encoding(np.eye(4, dtype=np.float32)),
        {"threshold": 0.5, "candidate": None, "cut": None},
    )
    assert figures["at_threshold"]["all"]["true_negatives"] == 1
    assert "groups" not in figures
    assert "map" not in figures


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("a,b,same\nx.png,copy.png,1\n", "same 1 and same 0"),
        ("a,b,same\ncopy.png,copy.png,maybe\n", "'maybe'"),
        ("a,b,same\ncopy.png,b.bin/9,1\ncopy.png,copy.png,0\n", "1 whole records"),
        ("a,b,same\ncopy.png,b.bin,1\ncopy.png,copy.png,0\n", "neither a file"),
    ],
)
def test_faults_of_pairs_csv_are_named(tmp_path: Path, table: str, says: str) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "copy.png")
    (tmp_path / "b.bin").write_bytes(bytes(3073))
    (tmp_path / "pairs.csv").write_text(table)
    with pytest.raises(BenchmarkError, match=says):
        open_dataset("cifar10", tmp_path)


def test_other_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="is no folder"):
        open_dataset("copydays", tmp_path / "absent")
    with pytest.raises(BenchmarkError, match="holds no photographs"):
        open_dataset("copydays", tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(BenchmarkError, match=r"broken\.jpg cannot be read"):
        read_photo(tmp_path / "broken.jpg")
    Image.new("RGB", (8, 40)).save(tmp_path / "thin.png")
    with pytest.raises(BenchmarkError, match="8 × 40"):
        read_photo(tmp_path / "thin.png")
    with pytest.raises(BenchmarkError, match="descriptor 'sift' has no file"):
        choose_methods(["sift"])
    with pytest.raises(BenchmarkError, match="--peer-python"):
        choose_methods(["fastdup"])
    with pytest.raises(BenchmarkError, match="phash is among the methods twice"):
        choose_methods(["phash", "phash"])


def test_descriptors_of_one_name_go_by_their_model_id(tmp_path: Path) -> None:
    shipped = load_card()
    for file in shipped.folder.glob("mobilenet_v3*"):
        (tmp_path / file.name).symlink_to(file)
    other = replace(shipped, gem_p=shipped.gem_p + 1, folder=tmp_path)
    (tmp_path / "mobilenet_v3.json").unlink()
    first, second, third = choose_methods(
        ["mobilenet_v3", str(other.write()), "ahash"], None, "cpu"
    )
    assert first.name == shipped.model_id("cpu") != second.name == other.model_id("cpu")
    assert third.name == "ahash"


# --- processes ---------------------------------------------------------------------------------


def stand_in(tmp_path: Path, body: str) -> Method:
    """A peer whose process is a small script beside the real ones' protocol."""
    script = tmp_path / "peer.py"
    frames = Path(methods_module.__file__).parent / "peers"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(frames)!r})\n"
        "import numpy as np\nfrom frames import answer_channel, serve, write_line\n"
        f"out = answer_channel()\n{body}"
    )
    return Method("stand-in", "peer", (sys.executable, str(script)))


LATE = """
class Late:
    def __init__(self):
        self.rows = []
    def encode(self, images):
        print("what libraries print does not reach the pipe", flush=True)
        self.rows += [np.asarray(image, float).mean((0, 1)) + 1 for image in images]
    def finish(self):
        return np.array(self.rows)
about = {"model_id": "late", "threshold": 0.9, "candidate": 0.96, "cut": None, "hamming": False}
serve(Late(), {**about, "model_bytes": 5}, out)
"""


def test_a_peer_that_answers_at_the_end(tmp_path: Path) -> None:
    dataset = open_dataset("copydays", save_scenes(tmp_path / "photos", 3), copies=1)
    method = stand_in(tmp_path, LATE)
    results = run_benchmark(dataset, [method], benchmark_id="x")
    result = results["methods"]["stand-in"]
    assert result["dim"] == 3
    assert result["model_bytes"] == 5
    assert result["peak_bytes"] > 1e6
    assert result["groups"]["made_by"] == "connected components from 0.96"
    assert result["groups"]["best_components"]["pairwise_f1"] >= result["groups"]["pairwise_f1"]


def test_a_peer_that_cannot_be_used_is_named_and_left_out(tmp_path: Path) -> None:
    dataset = open_dataset("copydays", save_scenes(tmp_path / "photos", 3), copies=1)
    broken = stand_in(tmp_path, 'write_line(out, {"error": "no weights here"})')
    results = run_benchmark(dataset, [broken, *choose_methods(["ahash"])])
    assert results["not_run"] == {"stand-in": "no weights here"}
    assert "no weights here" in render(results)
    with pytest.raises(BenchmarkError, match="no method can be used"):
        run_benchmark(dataset, [broken])


def test_a_peer_sees_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW__CORE__FERNET_KEY", "AWS_SECRET_ACCESS_KEY", "IDEDUP_WAREHOUSE"):
        monkeypatch.setenv(name, "hunter2")
    process = Process(stand_in(tmp_path, 'import os; write_line(out, {"seen": dict(os.environ)})'))
    try:
        assert not process.refusal()
        seen = process.about["seen"]
    finally:
        process.close()
    assert "hunter2" not in seen.values()
    assert seen["PATH"] == os.environ["PATH"]


def test_a_process_that_dies_says_why(tmp_path: Path) -> None:
    process = Process(stand_in(tmp_path, 'raise SystemExit("out of luck")'))
    try:
        assert process.refusal() == "stand-in ended with code 1: out of luck"
    finally:
        process.close()
    late = Process(stand_in(tmp_path, LATE.replace("self.rows +=", "raise ValueError('bad') #")))
    try:
        assert not late.refusal()
        with pytest.raises(BenchmarkError, match="ValueError: bad"):
            late.encode([Image.new("RGB", (20, 20))])
            late.encode([Image.new("RGB", (20, 20))])
    finally:
        late.close()


def test_hashes_are_those_of_imagehash(tmp_path: Path) -> None:
    dataset = open_dataset("copydays", save_scenes(tmp_path, 4), copies=3)
    images = [image for batch in dataset.batches() for image in batch]
    [method] = choose_methods(["dhash"])
    process = Process(method)
    try:
        assert not process.refusal()
        process.encode(images[:7])
        process.encode(images[7:])
        outcome = process.finish(len(images))
    finally:
        process.close()
    expected = [int(str(imagehash.dhash(image)), 16) for image in images]
    np.testing.assert_array_equal(outcome.encoding.vectors * 8, signs(expected))
    distance = bin(expected[0] ^ expected[5]).count("1")
    [[level]] = outcome.encoding.levels(np.array([0]), np.array([5]))
    assert level / 10_000 - 1 == pytest.approx(round(1 - distance / 64, 4))


def test_the_peers_script_needs_nothing_of_idedup() -> None:
    folder = Path(methods_module.__file__).parent / "peers"
    script = (
        "import sys; sys.modules['idedup_tasks'] = None\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
        "import encode; encode.main('imagededup-phash')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, input=b"")
    # imagededup is not in this environment, and it says so as every peer does.
    assert json.loads(done.stdout.splitlines()[0]) == {
        "error": "ModuleNotFoundError: No module named 'imagededup'"
    }


def test_programs_are_timed_in_turn_and_judged_by_their_groups(tmp_path: Path) -> None:
    """A stand-in that calls everything one picture, and a program that is not here."""
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "_, script, name, folder, found = sys.argv\n"
        "answer = {'groups': [os.listdir(folder)]}\n"
        "if name != 'fastdup':\n"
        "    answer = {'error': 'not here'}\n"
        "open(found, 'w').write(json.dumps(answer))\n"
    )
    stand_in.chmod(0o755)
    dataset = open_dataset("copydays", save_scenes(tmp_path / "photos", 4), copies=1)
    programs = choose_programs(["fastdup", "imagededup-phash"], stand_in)
    found = compare_speed(dataset, programs, 3, stand_in)
    n = len(dataset)
    fastdup = found["programs"]["fastdup"]
    assert len(fastdup["runs"]) == 3
    assert fastdup["found"] == found["pairs"] == 4
    assert fastdup["wrong"] == n * (n - 1) // 2 - 4
    assert fastdup["seconds"] > 0
    assert fastdup["peak_bytes"] > 0
    assert found["not_run"] == {"imagededup-phash": "not here"}


def test_the_workflow_is_timed_as_a_program_of_its_own(tmp_path: Path) -> None:
    dataset = open_dataset("copydays", save_scenes(tmp_path / "photos", 4), copies=1)
    found = compare_speed(dataset, choose_programs(None, None), 1)
    own = found["programs"]["idedup-scan"]
    assert own["times"] == 1
    assert own["found"] + own["wrong"] >= 0
    assert own["found"] <= found["pairs"]


def test_programs_that_group_nothing_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="sscd groups no folder"):
        choose_programs(["sscd"], Path(sys.executable))
    with pytest.raises(BenchmarkError, match="--peer-python"):
        choose_programs(["fastdup"], None)


def test_what_imagededup_lists_file_by_file_becomes_groups() -> None:
    listed = {"a": ["b"], "b": ["a", "c"], "c": [], "d": [], "e": ["f"], "f": ["e"]}
    assert sorted(joined(listed.items())) == [["a", "b", "c"], ["e", "f"]]


# --- results -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = save_scenes(tmp_path_factory.mktemp("photos"), 9)
    dataset = open_dataset("copydays", folder, copies=4)
    return run_benchmark(dataset, choose_methods(["ahash", "phash"]), benchmark_id="<b>id</b>")


def test_results_hold_every_measure(results: dict[str, Any], tmp_path: Path) -> None:
    measures = measures_of(results["methods"]["phash"])
    sets = ("all", "crops and JPEGs", "strong edits")
    for name in sets:
        for what in ("micro_ap", "best_f1", "recall_at_precision_0.99"):
            assert 0 <= measures[f"pairs.{name}.{what}"] <= 1
        assert 0 < measures[f"map.{name}"] <= 1
        for what in ("precision", "recall", "f1", "accuracy", "true_positives"):
            assert f"at_threshold.{name}.{what}" in measures
            for threshold in GRID:
                assert f"grid.{name}.{threshold:g}.{what}" in measures
    both = [measures[f"at_threshold.{name}.true_positives"] for name in sets]
    assert both[0] == both[1] + both[2]
    for what in ("ms_per_image", "cpu_ms_per_image", "peak_bytes", "model_bytes"):
        assert measures[what] >= 0
    assert measures["groups.b_cubed_f1"] > 0
    paths = write_results(results, tmp_path / "out")
    assert [path.name for path in paths] == ["benchmark.json", "benchmark.csv", "benchmark.html"]
    again = json.loads(paths[0].read_text())
    assert measures_of(again["methods"]["phash"]) == measures
    header, *rows = paths[1].read_text().splitlines()
    assert header.startswith("method,model_id,")
    assert len(rows) == 2
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_the_page_is_whole_and_escaped(results: dict[str, Any]) -> None:
    hostile = {"<script>alert(1)</script>": results["methods"]["ahash"]}
    page = render(
        {
            **results,
            "methods": {**results["methods"], **hostile},
            "not_run": {"<img src=x>": "<b>because</b>"},
        }
    )
    assert "<script" not in page
    assert "<img src=x>" not in page
    assert "<b>because" not in page
    assert "<b>id</b>" not in page
    assert "&lt;b&gt;id" in page
    assert not re.search(r'(src|href)="|https?:', page)
    # The paper's tables: rows measured, and rows that were not.
    assert page.count(">not run here<") == 6 + 2 + 4
    assert "98.68 %" in page
    assert "95.45 %" in page


def test_the_papers_claims_do_not_follow_from_its_matrix() -> None:
    assert PAPER_MATRIX.accuracy == pytest.approx(0.9545, abs=5e-5)
    assert PAPER_CLAIM["accuracy"] == 0.9868
    assert PAPER_MATRIX.precision == pytest.approx(PAPER_CLAIM["precision"], abs=5e-4)
    assert PAPER_MATRIX.recall == pytest.approx(PAPER_CLAIM["recall"], abs=1e-3)


def test_curves_of_training_are_drawn_where_they_lie_beside_a_descriptor(
    results: dict[str, Any], tmp_path: Path
) -> None:
    assert "has the curves of its training" in render(results)
    curves = {
        "epoch": [1, 2, 3],
        "loss": [2.0, 1.0, 0.5],
        "accuracy": [0.1, 0.5, 0.7],
        "validation_accuracy": [0.1, 0.4, 0.6],
    }
    trained = {**results["methods"]["phash"], "training": curves}
    page = render({**results, "methods": {"mobilenet_v3": trained}})
    assert "Loss by epoch: mobilenet_v3" in page
    assert "at the end 0.600 on photographs" in page
