"""Hierarchical clustering of the images of one connected component.

Groups are cut from a matrix of scores, of a few dozen images at most (`matrix_clusters`). A
descriptor alone, without looks, is measured on components of any size by average linkage of
vectors: the similarity of two clusters A and B is the mean cosine over their pairs,
s_A . s_B / (|A| |B|), with s the sum of unit vectors (UPGMA; Sokal & Michener, 1958).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from idedup_tasks.settings import Linkage

# Similarities are compared after rounding, so that the order in which sums were added cannot
# decide between equals.
_DECIMALS = 10
# Products of float32 vectors of length one or less differ from exact ones by far less than this.
_SLACK = 1e-5
_ROWS = 512


def components(n: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) int64: the smallest position in each one's connected component.

    Args:
        first, second: (m,) the ends of edges, positions below n.
    """
    # Of each edge the greater end points to the lesser one, and each end as far as those lead.
    smallest = np.arange(n)
    while len(first):
        low, high = np.minimum(first, second), np.maximum(first, second)
        np.minimum.at(smallest, high, low)
        while not np.array_equal(smallest, further := smallest[smallest]):
            smallest = further
        first, second = smallest[low], smallest[high]
        apart = first != second
        first, second = first[apart], second[apart]
    return smallest


def average_cuts(vectors: np.ndarray, cuts: Sequence[float]) -> Iterator[np.ndarray]:
    """Cut a component by average linkage of vectors, at each of some cuts, the highest first.

    All pairs of clusters that are each other's nearest are merged at once, round by round. Average
    linkage is reducible (a merged cluster is never nearer to a third than the nearer of its parts),
    so that this gives the same tree as merging one pair at a time (Murtagh, 1983), and a cluster
    whose nearest lies below the cut can be set aside for good.

    Args:
        vectors: (n, dim) L2-normalised, in order of image_id.
        cuts: mean cosines, rounded to 4 decimals, at or above which clusters merge. Each goes on
            from the one before, whose clusters are parts of its own.

    Returns:
        For each cut (n,) int64: for each image the position of its cluster's first member.
    """
    n = len(vectors)
    sums = vectors.astype(np.float64)
    # Identical vectors first: many of them would all name the same nearest, and merge one by one.
    _, first, inverse = np.unique(sums, axis=0, return_index=True, return_inverse=True)
    label = first[inverse.ravel()]
    sizes = np.bincount(label, minlength=n).astype(np.float64)
    sums *= sizes[:, None]
    nearest = np.full(n, -1)
    for cut in cuts:
        alive = np.unique(label)
        unknown = alive
        while len(alive) > 1:
            best = np.empty(len(unknown))
            means = sums[alive] / sizes[alive, None]
            quick = means.astype(np.float32)
            for start in range(0, len(unknown), _ROWS):
                rows = unknown[start : start + _ROWS]
                part = slice(start, start + _ROWS)
                column, best[part] = _nearest(np.searchsorted(alive, rows), means, quick)
                nearest[rows] = alive[column]
            settled = unknown[best.round(4) < cut]
            nearest[settled] = -1
            alive = alive[nearest[alive] >= 0]
            mutual = alive[(nearest[nearest[alive]] == alive) & (alive < nearest[alive])]
            partner = nearest[mutual]
            if not len(mutual):
                break
            sums[mutual] += sums[partner]
            sizes[mutual] += sizes[partner]
            moved = np.arange(n)
            moved[partner] = mutual
            label = moved[label]
            gone = np.zeros(n, dtype=bool)
            gone[partner] = True
            changed = gone.copy()
            changed[mutual] = True
            alive = alive[~gone[alive]]
            unknown = alive[changed[alive] | changed[nearest[alive]]]
        yield label


def _nearest(
    rows: np.ndarray, means: np.ndarray, quick: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For some rows of `means` the nearest other row (the first of equals), and its similarity.

    `quick`, the same in float32, finds the few that may be it; float64 decides.
    """
    similar = quick[rows] @ quick.T
    similar[np.arange(len(rows)), rows] = -np.inf
    near = similar >= similar.max(axis=1, keepdims=True) - _SLACK
    a, b = np.nonzero(near)
    exact = np.einsum("ij,ij->i", means[rows[a]], means[b]).round(_DECIMALS)
    order = np.lexsort((b, -exact, a))
    first = order[np.flatnonzero(np.diff(a[order], prepend=-1))]
    return b[first], exact[first]


def matrix_clusters(similar: np.ndarray, cut: float, method: Linkage) -> np.ndarray:
    """Cut a component by a linkage of its scores.

    Ward's method is told Euclidean distances: of unit vectors with scores as cosines,
    |a - b|^2 = 2 - 2 cos(a, b). The cut is translated in the same way.

    Args:
        similar: (n, n) float64, symmetric, 0 to 1, to 4 decimals.
        cut: score at or above which clusters merge.

    Returns:
        (n,) int64: for each image the position of its cluster's first member.
    """
    if len(similar) < 2:
        return np.arange(len(similar))
    from scipy.cluster.hierarchy import fcluster

    level = np.sqrt(2 * (1 - cut)) if method == "ward" else 1 - cut
    flat = fcluster(merge_tree(similar, method), level + 1e-9, criterion="distance")
    _, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    clusters: np.ndarray = first[inverse]
    return clusters


def merge_tree(similar: np.ndarray, method: Linkage = "average") -> np.ndarray:
    """The dendrogram of a few images.

    Args:
        similar: (n, n) float64, symmetric, 0 to 1; n of at least 2.

    Returns:
        (n - 1, 4) float64 as scipy.cluster.hierarchy.linkage gives it; heights are 1 - score, of
        Ward's method its distances.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    distance = 1 - similar
    if method == "ward":
        distance = np.sqrt(2 * distance.clip(0))
    np.fill_diagonal(distance, 0)
    tree: np.ndarray = linkage(squareform(distance.clip(0), checks=False), method)
    return tree
