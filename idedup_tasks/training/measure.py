"""Measures of copy detection for calibration: pairs by similarity, and groups by cut."""

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from idedup_tasks.benchmarks.measures import PairCurve, grouping_quality

__all__ = ["PairCurve", "average_linkage", "grouping_quality", "pair_curve", "summary"]


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


def summary(curve: PairCurve) -> dict[str, float]:
    """µAP, best F1 and recall at precision 0.99 of a curve."""
    f1, threshold = curve.best_f1()
    recall, _ = curve.at_precision(0.99)
    return {
        "micro_ap": round(curve.average_precision(), 4),
        "best_f1": round(f1, 4),
        "best_f1_threshold": round(threshold, 4),
        "recall_at_precision_0.99": round(recall, 4),
    }
