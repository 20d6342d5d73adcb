"""Candidate pairs against brute force, in tiles small enough to meet every path."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idedup_tasks.lake import Lake
from idedup_tasks.stages.match import candidates as pairs
from idedup_tasks.stages.match.candidates import SCALE, nearest_cells

# Without a cluster nothing is put there.
find_pairs = partial(pairs.find_pairs, lake=Lake("/nowhere", "none"))


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clumps(seed: int, n: int, spread: float, dim: int = 8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(4, dim)))
    return unit(centres[rng.integers(0, 4, n)] + spread * rng.normal(size=(n, dim)))


def all_scores(vectors: np.ndarray) -> np.ndarray:
    scores = np.rint(vectors.astype(np.float64) @ vectors.T.astype(np.float64) * SCALE)
    np.fill_diagonal(scores, -SCALE)
    return scores.astype(int)


def expected(vectors: np.ndarray, threshold: float, per_image: int) -> set[tuple[int, int, int]]:
    scores = all_scores(vectors)
    kept = set()
    for i, row in enumerate(scores):
        matches = [j for j in range(len(row)) if row[j] >= round(threshold * SCALE)]
        matches.sort(key=lambda j, row=row: (-row[j], j))
        kept |= {(min(i, j), max(i, j), int(row[j])) for j in matches[:per_image]}
    return kept


def found(result: pairs.FoundPairs) -> set[tuple[int, int, int]]:
    rows = list(
        zip(result.first.tolist(), result.second.tolist(), result.score.tolist(), strict=True)
    )
    assert rows == sorted(set(rows)), "each pair once, in order"
    return set(rows)


@pytest.fixture(params=["small tiles", "as shipped"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "small tiles":
        monkeypatch.setattr(pairs, "SIDE", 16)
        monkeypatch.setattr(pairs, "DENSE", 30)
        monkeypatch.setattr(pairs, "BUDGET", 100)


some = {
    "seed": st.integers(0, 2**32),
    "n": st.integers(1, 80),
    "spread": st.floats(0.01, 0.6),
    "per_image": st.integers(1, 12),
}


@pytest.mark.usefixtures("tiles")
class TestFindPairs:
    @settings(deadline=None, max_examples=40)
    @given(**some)
    def test_all_pairs_are_those_of_brute_force(
        self, seed: int, n: int, spread: float, per_image: int
    ) -> None:
        vectors = clumps(seed, n, spread)
        result = find_pairs(vectors, np.ones(n, bool), 0.6, per_image)
        assert found(result) == expected(vectors, 0.6, per_image)
        matches = all_scores(vectors) >= 6_000
        assert result.degree.tolist() == matches.sum(axis=1).tolist()
        for i, j in zip(*np.nonzero(matches), strict=True):
            assert result.component[i] == result.component[j], "joined though the pair is not kept"

    @settings(deadline=None, max_examples=40)
    @given(**some, share=st.floats(0, 1))
    def test_comparing_the_new_with_all_gives_the_same_as_comparing_all(
        self, seed: int, n: int, spread: float, per_image: int, share: float
    ) -> None:
        vectors = clumps(seed, n, spread)
        whole = find_pairs(vectors, np.ones(n, bool), 0.6, per_image)
        earlier = np.flatnonzero(np.random.default_rng(seed).random(n) < share)
        before = find_pairs(vectors[earlier], np.ones(len(earlier), bool), 0.6, per_image)
        asked = np.ones(n, bool)
        asked[earlier] = before.degree > per_image
        first, second = earlier[before.first], earlier[before.second]
        here = ~asked[first] & ~asked[second]
        known = first[here], second[here], before.score[here]
        result = find_pairs(vectors, asked, 0.6, per_image, known=known)
        assert found(result) == found(whole)
        assert result.degree.tolist() == whole.degree.tolist()
        assert result.component.tolist() == whole.component.tolist()

    @settings(deadline=None, max_examples=40)
    @given(**some)
    def test_cells_compare_those_that_share_one(
        self, seed: int, n: int, spread: float, per_image: int
    ) -> None:
        vectors = clumps(seed, n, spread)
        centroids = unit(np.random.default_rng(seed + 1).normal(size=(6, 8)))
        cells = nearest_cells(vectors, centroids, 2)
        result = find_pairs(vectors, np.ones(n, bool), 0.6, n, cells=cells)
        shared = (cells[:, None, :, None] == cells[None, :, None, :]).any(axis=(2, 3))
        want = {p for p in expected(vectors, 0.6, n) if shared[p[0], p[1]]}
        assert found(result) == want

    @settings(deadline=None, max_examples=20)
    @given(**some)
    def test_one_cell_for_all_is_exact(
        self, seed: int, n: int, spread: float, per_image: int
    ) -> None:
        vectors = clumps(seed, n, spread)
        cells = np.zeros((n, 1), dtype=np.int32)
        result = find_pairs(vectors, np.ones(n, bool), 0.6, per_image, cells=cells)
        assert found(result) == expected(vectors, 0.6, per_image)


def test_images_that_are_all_alike_leave_few_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(1, 32)) + 0.1 * rng.normal(size=(4_000, 32)))
    result = find_pairs(vectors, np.ones(4_000, bool), 0.6, 10)
    assert len(result.first) <= 4_000 * 10
    assert result.degree.min() > 3_000
    assert set(result.component) == {0}


def test_equal_pictures_in_two_images_have_a_cosine_of_one() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(40, 8)))
    # Rounding to 8 bits makes some of them longer than one.
    inner = np.rint(unit(rng.normal(size=(20, 3, 8))) * 127).astype(np.int8)
    regions = np.concatenate([inner, inner])
    result = find_pairs(vectors, np.ones(40, bool), 0.95, 40, regions=regions)
    pairs = dict(zip(zip(result.first, result.second, strict=True), result.score, strict=True))
    equal = [pairs[i, i + 20] for i in range(20)]
    assert min(equal) > 9_500
    assert max(equal) == SCALE


@pytest.mark.parametrize("seed", range(3))
def test_parts_of_an_image_meet_other_images(seed: int, tiles: None) -> None:
    rng = np.random.default_rng(seed)
    n, each, dim = 60, 3, 8
    vectors = unit(rng.normal(size=(n, dim)))
    regions = np.rint(unit(rng.normal(size=(n * each, dim))) * 127).astype(np.int8)
    regions = regions.reshape(n, each, dim)
    whole = np.rint(vectors * 127).astype(np.int64)
    towards = np.einsum("id,jrd->ijr", whole, regions.astype(np.int64)).max(2)
    # One of the three is a region; the others, pictures that lie in the image, meet each other too.
    inner = regions[:, 1:].astype(np.int64)
    of_inner = np.einsum("ird,jsd->ijrs", inner, inner).max((2, 3))
    parts = np.maximum(np.maximum(towards, towards.T), of_inner)
    parts = np.rint(parts * SCALE / 127**2).astype(int)
    scores = np.maximum(all_scores(vectors), parts)
    result = find_pairs(vectors, np.ones(n, bool), 0.8, n, regions=regions)
    first, second = np.nonzero(np.triu(scores >= 8_000, 1))
    assert found(result) == set(
        zip(first.tolist(), second.tolist(), scores[first, second].tolist(), strict=True)
    )
    alone = find_pairs(vectors, np.ones(n, bool), 0.8, n)
    assert len(result.first) > len(alone.first) > 0
    empty = np.empty((n, 0, dim), np.int8)
    assert found(find_pairs(vectors, np.ones(n, bool), 0.8, n, regions=empty)) == found(alone)
