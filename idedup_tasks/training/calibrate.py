"""Thresholds from photographs set aside: a descriptor's decision levels, found by measuring.

A network with a background knows the kinds of photographs that it was made from, and tells apart
what other kinds have in common less well. A collection has some of both. So each photograph set
aside counts twice: once as it is, and once seen through the background less the centroids of its
own kind, as if that kind were new.
"""

from dataclasses import dataclass, replace
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
from idedup_tasks.descriptors.descriptor import in_8_bits
from idedup_tasks.descriptors.network import apart_from
from idedup_tasks.descriptors.sorter import (
    BLOCK,
    EIGHT_BITS,
    Sorter,
    clues,
    fit_sorter,
    has_inner,
    nearest_inner,
)
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

# Of pairs of unrelated photographs, the share that reach `candidate` with their vectors or those of
# their parts, and are sorted; and the share that the sorter lets through, to be looked at.
NEAR = 0.005
LOOKED_AT = 1.5e-4
# The share that is looked at for a picture that lies in one of them, whatever the sorter says.
INNER_LOOKED_AT = 2e-5
FITTED = 60_000  # a fortieth of the random pairs whose near ones a sorter is fitted on

CANDIDATES = [round(0.20 + 0.05 * i, 2) for i in range(16)]
CUTS = [round(0.16 + 0.02 * i, 2) for i in range(42)]


@dataclass(frozen=True)
class Calibration:
    """Thresholds and what they were read from; `figures` are those of the photographs set aside."""

    thresholds: DecisionLevels
    figures: dict[str, Any]
    curves: dict[str, Any]
    sorter: Sorter | None = None


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


def sorted_by_parts(
    descriptor: Descriptor, photos: CopySet
) -> tuple[float, Sorter, dict[str, list[float]]]:
    """(candidate, sorter, curve) of a descriptor that makes vectors of parts.

    The curve: at each share of unrelated photographs that are looked at, the share of copies that
    are looked at with their original.
    """
    wholes_and_parts = (
        descriptor.encode_with_regions(images) for images in (photos.copies, photos.originals)
    )
    copies, originals = (
        np.concatenate([in_8_bits(wholes)[:, None], parts], axis=1)
        for wholes, parts in wholes_and_parts
    )
    rng = np.random.default_rng(0)

    def near(first: np.ndarray, own: np.ndarray, lowest: float) -> tuple[np.ndarray, int]:
        """Clues of those of many random pairs that lie so near, and how many pairs these were."""
        i, j = (
            rng.integers(0, len(first), 40 * FITTED),
            rng.integers(0, len(originals), 40 * FITTED),
        )
        i, j = i[own[i] != j], j[own[i] != j]
        found = [np.empty((0, 0))]
        for start in range(0, len(i), BLOCK):
            part = slice(start, start + BLOCK)
            values = clues(first[i[part]], originals[j[part]])
            found.append(values[values[:, -1] >= lowest])
        return np.concatenate(found[1:]), len(i)

    every = np.arange(len(originals))
    chance = rng.integers(0, len(originals), (2, FITTED))
    chance = chance[:, chance[0] != chance[1]]
    scores = clues(originals[chance[0]], originals[chance[1]])[:, -1]
    candidate = round(float(np.quantile(scores, 1 - NEAR)), 2)
    true = clues(copies, originals[photos.truth])
    true = true[true[:, -1] >= candidate]
    strange, pairs = near(originals, every, candidate)
    others, _ = near(copies, photos.truth, candidate)
    false = np.concatenate([strange, others])
    # Photographs alone say what passes: of copies there are as many as were made.
    sorter = fit_sorter(true, false, np.ones(len(false)), np.inf)
    of_strange, of_true = np.sort(sorter.of_clues(strange))[::-1], sorter.of_clues(true)
    shares = [2e-5, 5e-5, 1e-4, LOOKED_AT, 2e-4, 4e-4, 1e-3]
    levels = [float(of_strange[min(int(s * pairs), len(strange) - 1)]) for s in shares]
    curve = {
        "looked_at": shares,
        "recall": [round(float((of_true > x).sum()) / len(copies), 4) for x in levels],
    }
    level = levels[shares.index(LOOKED_AT)] + 1e-4
    sorter = replace(sorter, bias=round(sorter.bias - level, 4))
    if has_inner(originals):
        sorter = replace(sorter, inner=inner_level(originals, rng))
    return candidate, sorter, curve


def inner_level(originals: np.ndarray, rng: np.random.Generator) -> float:
    """The cosine of a picture in one image with another image, or a picture in it, that one in
    50,000 pairs of unrelated photographs int8 (n, 1 + parts, dim) reaches."""
    i, j = rng.integers(0, len(originals), (2, 40 * FITTED))
    i, j = i[i != j], j[i != j]
    starts = range(0, len(i), BLOCK)
    parts = (slice(start, start + BLOCK) for start in starts)
    nearest = np.concatenate([nearest_inner(originals[i[p]], originals[j[p]]) for p in parts])
    return round(float(np.quantile(nearest, 1 - INNER_LOOKED_AT)) / EIGHT_BITS**2 + 0.005, 2)


def calibrate(card: DescriptorCard, descriptor: Descriptor, photos: CopySet) -> Calibration:
    """Find all four thresholds of a descriptor, which is the one that `card` describes.

    pair: the lowest similarity with precision >= 0.99, each copy compared with every original, and
    with precision >= 0.97 if every kind were unknown. phash_distance: the largest with precision
    >= 0.999. candidate and cut: see `group_levels`; with regions, candidate and the sorter are
    those of `sorted_by_parts`. Where no similarity has the precision, as can
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
    sorter = None
    if descriptor.regions:
        candidate, sorter, curves["sorter"] = sorted_by_parts(descriptor, photos)
    thresholds = DecisionLevels(pair, candidate, cut, int(-negative_distance))
    return Calibration(thresholds, figures, curves, sorter)
