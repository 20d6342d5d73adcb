"""Average linkage on vectors against scipy's on the matrix; the other linkages; the chain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from idedup_tasks.stages.group.pairs import FoundPairs
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from idedup_tasks.linkage import average_clusters, matrix_clusters, merge_tree
from idedup_tasks.settings import Grouping
from idedup_tasks.stages.group.clusters import cut_components


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clumps(seed: int, n: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(4, 8)))
    return unit(centres[rng.integers(0, 4, n)] + spread * rng.normal(size=(n, 8)))


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == k).tolist()) for k in np.unique(labels)}


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(2, 60),
    spread=st.floats(0.05, 0.6),
    cut=st.floats(0.2, 0.95),
)
def test_average_linkage_is_scipys(seed: int, n: int, spread: float, cut: float) -> None:
    vectors = clumps(seed, n, spread)
    distance = 1 - vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance.clip(0), checks=False), "average")
    if np.abs(1 - tree[:, 2] - cut).min() < 1e-3:
        return  # a merge at the cut itself is decided by rounding
    assert partition(average_clusters(vectors, cut)) == partition(
        fcluster(tree, 1 - cut, "distance")
    )


def test_labels_are_first_members() -> None:
    vectors = unit(np.array([[1, 0], [0, 1], [1, 0.01], [0, 1], [1, 0]]))
    assert average_clusters(vectors, 0.9).tolist() == [0, 1, 0, 1, 0]


def test_a_chain_is_not_one_group() -> None:
    # Each resembles its neighbours at cosine 0.9; the ends have nothing in common.
    angles = np.arange(60) * np.arccos(0.9)
    plane = np.stack([np.cos(angles / 4), np.sin(angles / 4)], axis=1)
    chain = unit(np.concatenate([plane, 0 * plane], axis=1))
    near = (chain[:-1] * chain[1:]).sum(axis=1)
    assert near.min() > 0.9
    clusters = partition(average_clusters(chain, 0.9))
    assert len(clusters) > 5
    for cluster in clusters:
        members = chain[sorted(cluster)].astype(np.float64)
        assert (members @ members.T).mean() >= 0.9


@pytest.mark.parametrize("method", ["ward", "complete", "single"])
def test_other_linkages_separate_what_is_apart(method: str) -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(8)[:3], 5, axis=0)
    vectors = unit(centres + 0.02 * rng.normal(size=centres.shape))
    labels = matrix_clusters(vectors, 0.8, method)  # type: ignore[arg-type]
    assert labels.tolist() == [0] * 5 + [5] * 5 + [10] * 5


def test_single_linkage_chains_and_average_does_not() -> None:
    angles = np.arange(30) * 0.2
    chain = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert len(partition(matrix_clusters(chain, 0.97, "single"))) == 1
    assert len(partition(average_clusters(chain, 0.97))) > 5


def test_identical_vectors_are_one_cluster() -> None:
    vectors = unit(np.ones((500, 4)))
    assert set(average_clusters(vectors, 0.99)) == {0}


def test_the_tree_joins_the_nearest_first() -> None:
    vectors = unit(np.array([[1, 0], [0, 1], [1, 0.1]]))
    tree = merge_tree(vectors)
    assert tree.shape == (2, 4)
    assert sorted(tree[0, :2]) == [0, 2]
    assert tree[0, 2] == pytest.approx(1 - 1 / np.hypot(1, 0.1), abs=1e-4)


class Counted(np.ndarray):
    """An array that counts how often its kind is asked for its length."""

    asked = 0

    def __len__(self) -> int:
        Counted.asked += 1
        return super().__len__()


def test_the_work_a_component_costs_does_not_grow_with_their_number() -> None:
    def asked_each(count: int) -> float:
        vectors = np.repeat(np.eye(count, dtype=np.float32), 2, axis=0)
        none = np.empty(0, dtype=np.int32)
        component = np.repeat(np.arange(0, 2 * count, 2, dtype=np.int32), 2).view(Counted)
        pairs = FoundPairs(none, none, none, np.ones(2 * count, dtype=np.int64), component)
        said: list[tuple[int, int]] = []
        Counted.asked = 0
        found = cut_components(
            vectors, pairs, 0.9, Grouping(), lambda done, total: said.append((done, total))
        )
        assert found.components == count
        assert said == [(2 * n, 2 * count) for n in range(1, count + 1)]
        assert Counted.asked >= count
        return Counted.asked / count

    assert asked_each(40) == asked_each(10)
