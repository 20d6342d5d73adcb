"""Thresholds from photographs set aside: a descriptor's decision levels, found by measuring."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from idedup_tasks.descriptors import Descriptor, Thresholds
from idedup_tasks.training.copies import CopySet, collection_of, phash_curve
from idedup_tasks.training.measure import (
    PairCurve,
    average_linkage,
    grouping_quality,
    pair_curve,
    summary,
)
from idedup_tasks.training.photos import TrainingError

PAIR_PRECISION = 0.99
PERCEPTUAL_PRECISION = 0.999
GROUP_PRECISION = 0.99

CANDIDATES = [round(0.20 + 0.05 * i, 2) for i in range(16)]
CUTS = [round(0.16 + 0.02 * i, 2) for i in range(42)]


@dataclass(frozen=True)
class Calibration:
    """Thresholds and what they were read from; `figures` are those of the photographs set aside."""

    thresholds: Thresholds
    figures: dict[str, Any]
    curves: dict[str, Any]


def group_levels(vectors: np.ndarray, truth: np.ndarray) -> tuple[float, float, list[list[float]]]:
    """(candidate, cut) of the best groups, and the grid [candidate, cut, precision, recall, F1].

    Best is the highest pairwise F1 among those with precision >= 0.99, or among all where none
    has it; of settings within 0.001 the highest candidate wins, since it compares fewest pairs.
    """
    cosines = vectors @ vectors.T
    grid = []
    for candidate in CANDIDATES:
        for cut, labels in zip(CUTS, average_linkage(cosines, candidate, CUTS), strict=True):
            grid.append([candidate, cut, *grouping_quality(labels, truth)])
    eligible = [row for row in grid if row[2] >= GROUP_PRECISION] or grid
    best = max(row[4] for row in eligible)
    candidate, cut, *_ = max(row for row in eligible if row[4] >= best - 0.001)
    return candidate, cut, [[round(value, 4) for value in row] for row in grid]


def thinned(curve: PairCurve, points: int = 200) -> dict[str, list[float]]:
    """A precision-recall curve at 200 points evenly spaced in recall, for plotting."""
    wanted = np.searchsorted(curve.recall, np.linspace(0, curve.recall[-1], points))
    rows = np.unique(np.minimum(wanted, len(curve.recall) - 1))
    return {
        "threshold": [round(float(v), 4) for v in curve.scores[rows]],
        "precision": [round(float(v), 4) for v in curve.precision[rows]],
        "recall": [round(float(v), 4) for v in curve.recall[rows]],
    }


def calibrate(descriptor: Descriptor, photos: CopySet) -> Calibration:
    """Find all four thresholds of a descriptor.

    pair: the lowest similarity with precision >= 0.99, each copy compared with every original;
    phash_distance: the largest with precision >= 0.999; candidate and cut: see `group_levels`.
    Where no similarity has the precision, as can be with a network that learnt little, pair is 1
    and the figures' recall at precision 0.99 is 0. Raises TrainingError where no distance has it.
    """
    copies, originals = descriptor.encode(photos.copies), descriptor.encode(photos.originals)
    curve = pair_curve(copies @ originals.T, photos.truth)
    _, pair = curve.at_precision(PAIR_PRECISION)
    hashes = phash_curve(photos)
    _, negative_distance = hashes.at_precision(PERCEPTUAL_PRECISION)
    if not np.isfinite(negative_distance):
        raise TrainingError(
            f"no distance of pHashes reaches precision {PERCEPTUAL_PRECISION} on {len(originals)} "
            "photographs; give more photographs, without near duplicates among them"
        )
    vectors, truth = collection_of(photos, copies, originals)
    candidate, cut, grid = group_levels(vectors, truth)
    # Rounded up to the four decimals that scores are compared in.
    pair = min(1.0, float(np.ceil(pair * 1e4) / 1e4))
    grouped = next(row for row in grid if row[:2] == [candidate, cut])
    figures = {
        "originals": len(originals),
        "copies": len(copies),
        "pairs": summary(curve),
        "groups": dict(zip(("precision", "recall", "f1"), grouped[2:], strict=True)),
        "phash": summary(hashes),
    }
    curves = {
        "pairs": thinned(curve),
        "phash": {
            "distance": [int(-s) for s in hashes.scores[hashes.scores >= -24]],
            "precision": [round(float(p), 5) for p in hashes.precision[hashes.scores >= -24]],
            "recall": [round(float(r), 4) for r in hashes.recall[hashes.scores >= -24]],
        },
        "groups": {"columns": ["candidate", "cut", "precision", "recall", "f1"], "rows": grid},
    }
    thresholds = Thresholds(pair, candidate, cut, int(-negative_distance))
    return Calibration(thresholds, figures, curves)
