"""Measures of copy detection: pairs by similarity, and groups."""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform


@dataclass(frozen=True)
class PairCurve:
    """Precision and recall at each distinct score, from the highest down to the lowest copy's."""

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    def average_precision(self) -> float:
        """µAP: average precision of all pairs of all queries in one ranking (SSCD, section 4)."""
        steps = np.diff(self.recall, prepend=0.0)
        return float((steps * self.precision).sum())

    def best_f1(self) -> tuple[float, float]:
        """The highest F1 over all thresholds, and its threshold."""
        f1 = 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)
        best = int(f1.argmax())
        return float(f1[best]), float(self.scores[best])

    def at_precision(self, precision: float) -> tuple[float, float]:
        """(recall, threshold) of the lowest threshold with at least that precision.

        (0, infinity) where no threshold has it.
        """
        good = np.flatnonzero(self.precision >= precision)
        if not len(good):
            return 0.0, float("inf")
        return float(self.recall[good[-1]]), float(self.scores[good[-1]])

    def at_threshold(self, threshold: float) -> tuple[float, float]:
        """(precision, recall) of the pairs that score at least the threshold."""
        last = int(np.searchsorted(-self.scores, -threshold, side="right")) - 1
        return (float(self.precision[last]), float(self.recall[last])) if last >= 0 else (1.0, 0.0)


def pair_curve(scores: np.ndarray, truth: np.ndarray) -> PairCurve:
    """Rank every (query, original) pair: scores (queries, originals), truth (queries,) the row of
    each query's own original. Every other pair is a false one."""
    flat = scores.ravel()
    is_copy = np.zeros(scores.shape, bool)
    is_copy[np.arange(len(truth)), truth] = True
    # Pairs below every copy do not change the curve.
    keep = flat >= scores[is_copy].min()
    flat, copies = flat[keep], is_copy.ravel()[keep]
    order = np.argsort(-flat, kind="stable")
    flat, copies = flat[order], copies[order]
    true = np.cumsum(copies)
    last = np.append(np.flatnonzero(np.diff(flat)), len(flat) - 1)
    return PairCurve(flat[last], true[last] / (last + 1), true[last] / len(truth))


def average_linkage(cosines: np.ndarray, candidate: float, cuts: list[float]) -> list[np.ndarray]:
    """Group labels (n,) for each cut: components of pairs >= candidate, cut by average linkage.

    The cosine of two clusters is the mean over their pairs, as in the group stage.
    """
    n = len(cosines)
    rows, columns = np.nonzero(np.triu(cosines >= candidate, 1))
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(n, n))
    count, component = connected_components(graph, directed=False)
    labels = [component.copy() for _ in cuts]
    fresh = count
    for members in np.split(
        np.argsort(component, kind="stable"), np.cumsum(np.bincount(component))
    ):
        if len(members) < 2:
            continue
        distances = np.maximum(1 - cosines[np.ix_(members, members)], 0).astype(np.float64)
        np.fill_diagonal(distances, 0)
        tree = linkage(squareform(distances, checks=False), "average")
        for label, cut in zip(labels, cuts, strict=True):
            label[members] = fresh + fcluster(tree, 1 - cut, "distance")
        fresh += len(members) + 1
    return labels


def grouping_quality(labels: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """(precision, recall, F1) of the pairs of images that share a group."""

    def pairs(sizes: np.ndarray) -> float:
        return float((sizes * (sizes - 1) // 2).sum())

    _, both = np.unique(np.stack([labels, truth]), axis=1, return_counts=True)
    right = pairs(both)
    found = pairs(np.unique(labels, return_counts=True)[1])
    wanted = pairs(np.unique(truth, return_counts=True)[1])
    precision = right / found if found else 1.0
    recall = right / wanted if wanted else 1.0
    return precision, recall, 2 * right / (found + wanted) if found + wanted else 1.0
