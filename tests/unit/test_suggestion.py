"""A threshold suggested from a collection's own similarities."""

from __future__ import annotations

import numpy as np
import pytest

from idedup_tasks.stages.group import suggestion
from idedup_tasks.stages.group.suggestion import BINS, FEWEST, suggest


def a_collection(n: int, copies: int, dim: int = 256, seed: int = 0) -> tuple[np.ndarray, float]:
    """Random directions, and copies that differ a little: vectors, and the least similar copy's
    cosine to its original."""
    rng = np.random.default_rng(seed)
    originals = rng.normal(size=(n, dim))
    originals /= np.linalg.norm(originals, axis=1, keepdims=True)
    near = originals[:copies] + rng.normal(size=(copies, dim)) * 0.35 / np.sqrt(dim)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    cosines = (near * originals[:copies]).sum(axis=1)
    vectors = np.concatenate([originals, near])[rng.permutation(n + copies)]
    return vectors.astype(np.float32), float(cosines.min(initial=1))


@pytest.mark.parametrize("copies", [30, 150, 900])
def test_it_lies_in_the_valley(copies: int) -> None:
    vectors, least = a_collection(1_000, copies)
    unrelated, _ = a_collection(1_000, 0)
    similar = unrelated @ unrelated.T
    np.fill_diagonal(similar, -1)
    found = suggest(vectors)
    assert found.threshold is not None
    assert found.because == ""
    assert similar.max() < found.threshold <= least
    assert found.images == 1_000 + copies
    assert sum(found.best_matches) == min(1_000, found.images)


def test_a_denser_background_raises_it() -> None:
    """Pictures that all look a little alike need a higher threshold: that is what it is for."""
    vectors, _ = a_collection(1_000, 100)
    common = np.zeros(vectors.shape[1], np.float32)
    common[0] = 0.8
    dense = vectors + common
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    plain, raised = suggest(vectors), suggest(dense)
    assert plain.threshold is not None
    assert raised.threshold is not None
    assert raised.threshold > plain.threshold


def test_without_copies_there_is_none() -> None:
    found = suggest(a_collection(1_000, 0)[0])
    assert found.threshold is None
    assert found.because == "too few pairs stand out from the rest"
    assert len(found.best_matches) == BINS


@pytest.mark.parametrize("n", [0, 1, FEWEST - 1])
def test_too_few_images(n: int) -> None:
    found = suggest(a_collection(n, 0)[0])
    assert (found.threshold, found.images, found.best_matches) == (None, n, [])
    assert "fewer than 500" in found.because


def test_too_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestion, "MOST", 600)
    assert "more than 600" in suggest(a_collection(601, 0)[0]).because


def test_all_alike() -> None:
    """A collection of one picture has no background to stand out from."""
    vectors = np.tile(a_collection(1, 0)[0], (600, 1))
    assert suggest(vectors).threshold is None


def test_a_sample_suggests_about_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = a_collection(2_000, 500)
    whole = suggest(vectors).threshold
    monkeypatch.setattr(suggestion, "PRODUCTS", 300 * 2_500)
    part = suggest(vectors)
    assert sum(part.best_matches) == 300
    assert whole is not None
    assert part.threshold is not None
    assert abs(part.threshold - whole) <= 0.05


def test_it_is_the_same_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = a_collection(1_500, 100)
    once = suggest(vectors)
    monkeypatch.setattr(suggestion, "COLUMNS", 77)
    assert suggest(vectors) == once
