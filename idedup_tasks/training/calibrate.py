"""Thresholds from photographs set aside: a descriptor's decision levels, found by measuring.

A network with a background knows the kinds of photographs that it was made from, and tells apart
what other kinds have in common less well. A collection has some of both. So each photograph set
aside counts twice: once as it is, and once seen through the background less the centroids of its
own kind, as if that kind were new.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from idedup_tasks.benchmarks.measures import (
    Encoding,
    PairCurve,
    grouping_quality,
    linked_groups,
)
from idedup_tasks.descriptors import DecisionLevels, Descriptor, DescriptorCard
from idedup_tasks.descriptors.network import apart_from
from idedup_tasks.descriptors.torch_runtime import TorchRuntime
from idedup_tasks.training.copies import CopySet, collection_of, phash_curve
from idedup_tasks.training.measure import pair_curve, summary
from idedup_tasks.training.quantiser import train_quantiser
from idedup_tasks.training.recipes import TrainingError

PAIR_PRECISION = 0.99
UNKNOWN_PAIR_PRECISION = 0.97
PERCEPTUAL_PRECISION = 0.999
# Of the mean over photographs as they are and as unknown ones.
GROUP_PRECISION = 0.98

# Kinds that a background is divided into. Of 8 to 32, each gives unknown kinds the precision and
# recall that photographs have whose whole source (a data set, a shop's receipts) is left out.
KINDS = 16

CANDIDATES = [round(0.20 + 0.05 * i, 2) for i in range(16)]
CUTS = [round(0.16 + 0.02 * i, 2) for i in range(42)]


@dataclass(frozen=True)
class Calibration:
    """Thresholds and what they were read from; `figures` are those of the photographs set aside."""

    thresholds: DecisionLevels
    figures: dict[str, Any]
    curves: dict[str, Any]


def group_levels(
    collections: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[float, float, list[list[float]]]:
    """(candidate, cut) of the best groups, and the grid [candidate, cut, precision, recall, F1].

    `collections` are vectors (n, dim) and the true group of each; quality is the mean over them.
    Best is the highest pairwise F1 among those with precision >= 0.98, or among all where none
    has it; of settings within 0.001 the highest candidate wins, since it compares fewest pairs.
    """
    grid = []
    for candidate in CANDIDATES:
        qualities = [
            [grouping_quality(labels, truth) for labels in groups_at(vectors, candidate)]
            for vectors, truth in collections
        ]
        for cut, quality in zip(CUTS, np.mean(qualities, axis=0), strict=True):
            grid.append([candidate, cut, *map(float, quality)])
    eligible = [row for row in grid if row[2] >= GROUP_PRECISION] or grid
    best = max(row[4] for row in eligible)
    candidate, cut, *_ = max(row for row in eligible if row[4] >= best - 0.001)
    return candidate, cut, [[round(value, 4) for value in row] for row in grid]


def groups_at(vectors: np.ndarray, candidate: float) -> np.ndarray:
    """Group labels int64 (cuts, n) of unit vectors (n, dim), at each of CUTS."""
    falling = linked_groups(Encoding(vectors), np.arange(len(vectors)), candidate, CUTS[::-1])
    return falling[::-1]


def as_unknown(card: DescriptorCard, photos: CopySet) -> tuple[np.ndarray, np.ndarray] | None:
    """Vectors of copies and originals, each as if the background had no pictures of its kind.

    A copy is of its original's kind. None where the network has no background, or too small a one
    to be divided.
    """
    runtime = TorchRuntime(card, "cpu")
    background, runtime.network.background = runtime.network.background, None
    if background is None or len(background) < 4 * KINDS:
        return None
    plain = Descriptor(card, "reference", runtime)
    copies, originals = plain.encode(photos.copies), plain.encode(photos.originals)
    centres = train_quantiser(background.numpy(), KINDS).astype(np.float32)
    known = (background.numpy() @ centres.T).argmax(1)
    kinds = (originals @ centres.T).argmax(1)
    for vectors, own in ((copies, kinds[photos.truth]), (originals, kinds)):
        for kind in np.unique(own):
            others = background[torch.from_numpy(known != kind)]
            vectors[own == kind] = apart_from(others, torch.from_numpy(vectors[own == kind]))
    return copies, originals


def thinned(curve: PairCurve, points: int = 200) -> dict[str, list[float]]:
    """A precision-recall curve at 200 points evenly spaced in recall, for plotting."""
    wanted = np.searchsorted(curve.recall, np.linspace(0, curve.recall[-1], points))
    rows = np.unique(np.minimum(wanted, len(curve.recall) - 1))
    return {
        "threshold": [round(float(v), 4) for v in curve.scores[rows]],
        "precision": [round(float(v), 4) for v in curve.precision[rows]],
        "recall": [round(float(v), 4) for v in curve.recall[rows]],
    }


def calibrate(card: DescriptorCard, descriptor: Descriptor, photos: CopySet) -> Calibration:
    """Find all four thresholds of a descriptor, which is the one that `card` describes.

    pair: the lowest similarity with precision >= 0.99, each copy compared with every original, and
    with precision >= 0.97 if every kind were unknown. phash_distance: the largest with precision
    >= 0.999. candidate and cut: see `group_levels`. Where no similarity has the precision, as can
    be with a network that learnt little, pair is 1 and the figures' recall at precision 0.99 is 0.
    Raises TrainingError where no distance has it.
    """
    seen = [(descriptor.encode(photos.copies), descriptor.encode(photos.originals))]
    unknown = as_unknown(card, photos)
    if unknown is not None:
        seen.append(unknown)
    curve, *curve_of_unknown = (pair_curve(c @ o.T, photos.truth) for c, o in seen)
    levels = [curve.at_precision(PAIR_PRECISION)]
    levels += [other.at_precision(UNKNOWN_PAIR_PRECISION) for other in curve_of_unknown]
    pair = max(threshold for _, threshold in levels)
    hashes = phash_curve(photos)
    _, negative_distance = hashes.at_precision(PERCEPTUAL_PRECISION)
    if not np.isfinite(negative_distance):
        raise TrainingError(
            f"no distance of pHashes reaches precision {PERCEPTUAL_PRECISION} on "
            f"{len(photos.originals)} photographs; give more photographs, without near duplicates "
            "among them"
        )
    candidate, cut, grid = group_levels([collection_of(photos, *vectors) for vectors in seen])
    # Rounded up to the four decimals that scores are compared in.
    pair = min(1.0, float(np.ceil(pair * 1e4) / 1e4))
    grouped = next(row for row in grid if row[:2] == [candidate, cut])
    figures = {
        "originals": len(photos.originals),
        "copies": len(photos.copies),
        "pairs": summary(curve),
        "groups": dict(zip(("precision", "recall", "f1"), grouped[2:], strict=True)),
        "phash": summary(hashes),
    }
    for other in curve_of_unknown:
        figures["pairs_of_unknown_kinds"] = summary(other)
    curves = {
        "pairs": thinned(curve),
        "phash": {
            "distance": [int(-s) for s in hashes.scores[hashes.scores >= -24]],
            "precision": [round(float(p), 5) for p in hashes.precision[hashes.scores >= -24]],
            "recall": [round(float(r), 4) for r in hashes.recall[hashes.scores >= -24]],
        },
        "groups": {"columns": ["candidate", "cut", "precision", "recall", "f1"], "rows": grid},
    }
    thresholds = DecisionLevels(pair, candidate, cut, int(-negative_distance))
    return Calibration(thresholds, figures, curves)
