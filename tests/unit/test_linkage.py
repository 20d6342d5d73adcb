"""Average linkage on vectors against scipy's on the matrix; the cut of a matrix of scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from idedup_tasks.linkage import average_cuts, components, matrix_clusters, merge_tree


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clumps(seed: int, n: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(4, 8)))
    return unit(centres[rng.integers(0, 4, n)] + spread * rng.normal(size=(n, 8)))


def average_clusters(vectors: np.ndarray, cut: float) -> np.ndarray:
    return next(average_cuts(vectors, [cut]))


def scores(vectors: np.ndarray) -> np.ndarray:
    return (vectors.astype(np.float64) @ vectors.T.astype(np.float64)).round(4).clip(0, 1)


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
    assert matrix_clusters(scores(vectors), 0.9, "average").tolist() == [0, 1, 0, 1, 0]


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


@pytest.mark.parametrize("method", ["average", "ward", "complete", "single"])
def test_each_linkage_separates_what_is_apart(method: str) -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(8)[:3], 5, axis=0)
    vectors = unit(centres + 0.02 * rng.normal(size=centres.shape))
    labels = matrix_clusters(scores(vectors), 0.8, method)  # type: ignore[arg-type]
    assert labels.tolist() == [0] * 5 + [5] * 5 + [10] * 5


def test_single_linkage_chains_and_average_does_not() -> None:
    angles = np.arange(30) * 0.2
    chain = scores(unit(np.stack([np.cos(angles), np.sin(angles)], axis=1)))
    assert len(partition(matrix_clusters(chain, 0.97, "single"))) == 1
    assert len(partition(matrix_clusters(chain, 0.97, "average"))) > 5


@pytest.mark.parametrize("method", ["average", "ward", "complete", "single"])
def test_a_pair_is_joined_at_its_score_and_not_above(method: str) -> None:
    pair = np.array([[1, 0.6], [0.6, 1]])
    assert matrix_clusters(pair, 0.6, method).tolist() == [0, 0]  # type: ignore[arg-type]
    assert matrix_clusters(pair, 0.6001, method).tolist() == [0, 1]  # type: ignore[arg-type]
    assert matrix_clusters(np.ones((1, 1)), 0.5, method).tolist() == [0]  # type: ignore[arg-type]


def test_identical_vectors_are_one_cluster() -> None:
    vectors = unit(np.ones((500, 4)))
    assert set(average_clusters(vectors, 0.99)) == {0}


def test_the_tree_joins_the_nearest_first() -> None:
    vectors = unit(np.array([[1, 0], [0, 1], [1, 0.1]]))
    tree = merge_tree(scores(vectors))
    assert tree.shape == (2, 4)
    assert sorted(tree[0, :2]) == [0, 2]
    assert tree[0, 2] == pytest.approx(1 - 1 / np.hypot(1, 0.1), abs=1e-4)


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 200), share=st.floats(0, 2))
def test_components_are_scipys_named_by_their_smallest(seed: int, n: int, share: float) -> None:
    first, second = np.random.default_rng(seed).integers(0, n, (2, int(share * n)))
    edges = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(n, n))
    number = connected_components(edges, directed=False)[1]
    smallest = [int(np.flatnonzero(number == own)[0]) for own in number]
    assert components(n, first, second).tolist() == smallest


def test_a_long_chain_in_any_order_is_one_component() -> None:
    order = np.random.default_rng(7).permutation(50_000)
    assert not components(len(order), order[:-1], order[1:]).any()
