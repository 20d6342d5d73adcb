"""Collapse against its definition, written as plainly as it reads in the design."""

import hashlib
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from idedup_tasks.stages.prefilter import collapse
from idedup_tasks.stages.prefilter.collapse import LOOKS, Before, collapse_exact, collapse_same

Same = Callable[[int, int], bool]


def walk(
    hashes: np.ndarray, distance: int, same: Same, variants: np.ndarray | None = None
) -> tuple[list[int], list[int]]:
    """Each image against the nearest earlier active ones: the definition."""
    active: list[int] = []
    onto, apart = [], []
    for i, own in enumerate(hashes):
        asked = [own] if variants is None else list(variants[i])
        near = [(min(int(a ^ hashes[j]).bit_count() for a in asked), j) for j in active]
        nearest = sorted(n for n in near if n[0] <= distance)[:LOOKS]
        best = next((n for n in nearest if same(i, n[1])), None)
        if best is None:
            active.append(i)
        onto.append(-1 if best is None else best[1])
        apart.append(0 if best is None else best[0])
    return onto, apart


def relation(seed: int, often: float) -> Same:
    """Says of pairs, at random and for good, whether they are the same: nothing transitive."""

    def same(later: int, earlier: int) -> bool:
        return float(np.random.default_rng([seed, later, earlier]).random()) < often

    return same


class Asked:
    """Answers for many pairs at once, and keeps how often it was asked for what."""

    def __init__(self, same: Same) -> None:
        self._same = same
        self.rounds: list[list[tuple[int, int]]] = []

    def __call__(self, later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
        pairs = list(zip(later.tolist(), earlier.tolist(), strict=True))
        self.rounds.append(pairs)
        return np.array([self._same(*pair) for pair in pairs], dtype=bool)


def always(later: int, earlier: int) -> bool:
    return True


def never(later: int, earlier: int) -> bool:
    return False


def near_hashes(seed: int, n: int, flips: int) -> np.ndarray:
    """Hashes a few bits from a handful of centres, so that chains and ties occur."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, 4, dtype=np.uint64)[rng.integers(0, 4, n)]
    for _ in range(flips):
        hashes ^= np.uint64(1) << rng.integers(0, 64, n, dtype=np.uint64)
    return hashes


@pytest.mark.parametrize(("block", "hits"), [(7, 20), (1_024, 2**22)])
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 60),
    flips=st.integers(0, 6),
    distance=st.integers(0, 16),
    often=st.sampled_from((0.0, 0.1, 0.5, 0.9, 1.0)),
)
def test_collapse_is_the_walk(
    block: int, hits: int, seed: int, n: int, flips: int, distance: int, often: float
) -> None:
    hashes = near_hashes(seed, n, flips)
    asked = Asked(relation(seed, often))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collapse, "BLOCK", block)
        patch.setattr(collapse, "HITS", hits)
        onto, apart = collapse_same(hashes, distance, asked)
    assert (onto.tolist(), apart.tolist()) == walk(hashes, distance, relation(seed, often))
    every = [pair for pairs in asked.rounds for pair in pairs]
    assert len(every) == len(set(every)), "no pair is asked twice"


@pytest.mark.parametrize(("block", "hits"), [(5, 30), (1_024, 2**22)])
@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 40),
    distance=st.integers(0, 8),
    often=st.sampled_from((0.3, 1.0)),
)
def test_variants_of_the_later_image_are_compared(
    block: int, hits: int, seed: int, n: int, distance: int, often: float
) -> None:
    hashes = near_hashes(seed, n, 1)
    # Some of which are as near to an earlier image as another, or nearer.
    variants = np.stack([hashes, *(hashes ^ np.uint64(k) for k in range(1, 8))], axis=1)
    same = relation(seed, often)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collapse, "BLOCK", block)
        patch.setattr(collapse, "HITS", hits)
        onto, apart = collapse_same(hashes, distance, Asked(same), variants)
    assert (onto.tolist(), apart.tolist()) == walk(hashes, distance, same, variants)


@pytest.mark.parametrize("few", [0, 4_096])
@settings(deadline=None, max_examples=25)
@example(seed=0, n=40, flips=4, distance=6, often=0.3, mirrored=False)  # looks of a round before
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 50),
    flips=st.integers(0, 8),
    distance=st.integers(0, 11),
    often=st.sampled_from((0.0, 0.3, 0.7, 1.0)),
    mirrored=st.booleans(),
)
def test_what_was_known_changes_nothing(
    few: int, seed: int, n: int, flips: int, distance: int, often: float, mirrored: bool
) -> None:
    rng = np.random.default_rng(seed)
    hashes = near_hashes(seed, n, flips)
    variants = np.stack([hashes, *(hashes ^ np.uint64(k) for k in range(1, 8))], axis=1)
    # Some were there before, some are there now; most are both.
    then, now = (np.flatnonzero(rng.random(n) < 0.8) for _ in range(2))

    def collapsed(there: np.ndarray, before: Before | None) -> tuple[np.ndarray, np.ndarray]:
        same = Asked(lambda a, b: relation(seed, often)(int(there[a]), int(there[b])))
        turned = variants[there] if mirrored else None
        return collapse_same(hashes[there], distance, same, turned, before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collapse, "FEW", few)
        onto, apart = collapsed(then, None)
        held = np.full(n, -2)
        held[then] = np.where(onto < 0, -1, then[onto])
        place = np.full(n + 1, -2)
        place[now] = np.arange(len(now))
        place[n] = -1
        far = np.zeros(n, dtype=np.int64)
        far[then] = apart
        gone = np.setdiff1d(then[onto < 0], now)
        before = Before(place[held[now]], far[now], hashes[gone])
        before.onto[held[now] == -2] = -2
        before.onto[held[now] == -1] = -1
        found = collapsed(now, before)
    expected = collapsed(now, None)
    assert [a.tolist() for a in found] == [a.tolist() for a in expected]


def test_a_chain_does_not_collapse_onto_one() -> None:
    # Each is 4 bits from the one before it; with distance 4 every second stays active.
    chain = np.array([(1 << (4 * i)) - 1 for i in range(12)], dtype=np.uint64)
    onto, _ = collapse_same(chain, 4, Asked(always))
    assert onto.tolist() == [-1, 0, -1, 2, -1, 4, -1, 6, -1, 8, -1, 10]


def test_what_is_not_the_same_is_active_and_looks_at_four() -> None:
    hashes = np.zeros(8, dtype=np.uint64)
    asked = Asked(lambda later, earlier: (later, earlier) == (7, 4))
    onto, _ = collapse_same(hashes, 4, asked)
    assert onto.tolist() == [-1] * 8, "4 is the fifth of those that 7 lies near"
    assert {pair for pairs in asked.rounds for pair in pairs} == {
        (later, earlier) for later in range(8) for earlier in range(min(later, LOOKS))
    }


def test_copies_are_asked_once_each() -> None:
    asked = Asked(always)
    collapse_same(np.zeros(50, dtype=np.uint64), 4, asked)
    assert asked.rounds == [[(i, 0) for i in range(1, 50)]]


def test_equal_bytes_collapse_onto_the_earliest() -> None:
    names = ["a", "b", "a", "c", "b", "a"]
    digests = np.array([list(hashlib.sha256(n.encode()).digest()) for n in names], dtype=np.uint8)
    assert collapse_exact(digests).tolist() == [0, 1, 0, 3, 1, 0]
    assert collapse_exact(digests[:0]).tolist() == []


@pytest.mark.parametrize("same", [always, never])
@pytest.mark.parametrize(("n", "bits"), [(20_000, 6), (4_000, 12)])
def test_many_alike_are_bounded(n: int, bits: int, same: Same) -> None:
    # All lie within the distance of each other: copies of one image, or pictures of one template,
    # of which each is active; with few hashes, and with about as many as images.
    hashes = np.random.default_rng(0).integers(0, 2**bits, n, dtype=np.uint64)
    asked = Asked(same)
    tracemalloc.start()
    onto, _ = collapse_same(hashes, bits, asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (onto == -1).sum() == (1 if same is always else n)
    assert len(asked.rounds) <= 3
    assert sum(map(len, asked.rounds)) <= (LOOKS + 1) * n
    assert peak < 400 * 2**20
