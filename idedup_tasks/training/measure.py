"""Measures of copy detection for calibration: pairs by similarity."""

import numpy as np

from idedup_tasks.benchmarks.measures import PairCurve


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
