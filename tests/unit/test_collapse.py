"""Collapse against its definition, written as plainly as it reads in the design."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idedup_tasks.stages.prefilter import collapse
from idedup_tasks.stages.prefilter.collapse import collapse_exact, collapse_perceptual


def walk(
    hashes: np.ndarray, distance: int, variants: np.ndarray | None = None
) -> tuple[list[int], list[int]]:
    """Each image against every earlier active one: the definition."""
    active: list[int] = []
    onto, apart = [], []
    for i, own in enumerate(hashes):
        asked = [own] if variants is None else list(variants[i])
        near = [(min(int(a ^ hashes[j]).bit_count() for a in asked), j) for j in active]
        best = min((n for n in near if n[0] <= distance), default=None)
        if best is None:
            active.append(i)
        onto.append(-1 if best is None else best[1])
        apart.append(0 if best is None else best[0])
    return onto, apart


def near_hashes(seed: int, n: int, flips: int) -> np.ndarray:
    """Hashes a few bits from a handful of centres, so that chains and ties occur."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, 4, dtype=np.uint64)[rng.integers(0, 4, n)]
    for _ in range(flips):
        hashes ^= np.uint64(1) << rng.integers(0, 64, n, dtype=np.uint64)
    return hashes


@pytest.mark.parametrize("block", [7, 1_024])
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 60),
    flips=st.integers(0, 6),
    distance=st.integers(0, 16),
)
def test_collapse_is_the_walk(block: int, seed: int, n: int, flips: int, distance: int) -> None:
    hashes = near_hashes(seed, n, flips)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collapse, "BLOCK", block)
        onto, apart = collapse_perceptual(hashes, distance)
    assert (onto.tolist(), apart.tolist()) == walk(hashes, distance)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 40), distance=st.integers(0, 8))
def test_variants_of_the_later_image_are_compared(seed: int, n: int, distance: int) -> None:
    hashes = near_hashes(seed, n, 1)
    variants = np.stack([hashes, *(np.roll(hashes, k) for k in range(1, 8))], axis=1)
    onto, apart = collapse_perceptual(hashes, distance, variants)
    assert (onto.tolist(), apart.tolist()) == walk(hashes, distance, variants)


def test_a_chain_does_not_collapse_onto_one() -> None:
    # Each is 4 bits from the one before it; with distance 4 every second stays active.
    chain = np.array([(1 << (4 * i)) - 1 for i in range(12)], dtype=np.uint64)
    onto, _ = collapse_perceptual(chain, 4)
    assert onto.tolist() == [-1, 0, -1, 2, -1, 4, -1, 6, -1, 8, -1, 10]


def test_equal_bytes_collapse_onto_the_earliest() -> None:
    names = ["a", "b", "a", "c", "b", "a"]
    digests = np.array([list(hashlib.sha256(n.encode()).digest()) for n in names], dtype=np.uint8)
    assert collapse_exact(digests).tolist() == [0, 1, 0, 3, 1, 0]
    assert collapse_exact(digests[:0]).tolist() == []


def test_many_alike_cost_little_memory() -> None:
    # 20,000 hashes that all lie within the distance of the first: one active image.
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**6, 20_000, dtype=np.uint64)
    onto, _ = collapse_perceptual(hashes, 6)
    assert (onto == -1).sum() == 1
