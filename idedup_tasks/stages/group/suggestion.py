"""A threshold suggested by a collection's own similarities; shown in the report, never applied.

Nearly all pairs of a collection are unrelated. Beyond a high level their similarities thin out
exponentially, as the tails of most distributions do (peaks over threshold: Pickands, "Statistical
Inference Using Extreme Order Statistics", 1975, here with shape 0). The tail is fitted where copies
are too few to matter, and says how many unrelated pairs to expect at each higher similarity. The
suggestion is the lowest from which they are a small share of the pairs found.
"""

from __future__ import annotations

import numpy as np

from idedup_tasks.stages.group.counts import Suggestion
from idedup_tasks.stages.group.pairs import SCALE

# The tail is fitted between these upper quantiles: high enough to be a tail, and low enough that a
# few copies of each image do not reach down there, from `FEWEST` images on.
_UPPER = (0.10, 0.03)
FEWEST = 500
# Beyond so many images the tail would be followed over too many powers of ten.
MOST = 1_000_000
_LEAST_PAIRS = 10
# Unrelated pairs that the tail predicts among those found. Photographs that share a motif (bursts,
# one receipt form) are more frequent than any tail says; with 0.001 predicted, precision was about
# 0.98 on photographs set aside, with 0.01 about 0.95 (docs/descriptor.md).
_SHARE = 0.001
_SAMPLE = 1_000
PRODUCTS = 150_000_000
COLUMNS = 4_096
BINS = 50


def suggest(vectors: np.ndarray) -> Suggestion:
    """Suggest the similarity from which two images of a collection are likely copies.

    A function of the vectors alone, whatever the number of threads: products are float64, rounded
    to 4 decimals, and the sample is the first rows, since image_ids are hashes.

    Args:
        vectors: (n, dim) float32, L2-normalised, in order of image_id; may be a memory map.
    """
    n = len(vectors)
    if n < FEWEST:
        return Suggestion(None, f"fewer than {FEWEST} images to compare", n, [])
    if n > MOST:
        return Suggestion(None, f"more than {MOST:,} images to compare", n, [])
    sample = min(_SAMPLE, n, max(1, PRODUCTS // n))
    counts, best = _similarities(vectors, sample)
    inside = (best.clip(0, SCALE - 1) * BINS // SCALE).astype(np.int64)
    best_matches = np.bincount(inside, minlength=BINS).tolist()
    threshold = _lowest(counts)
    if threshold is None:
        return Suggestion(None, "too few pairs stand out from the rest", n, best_matches)
    return Suggestion(threshold, "", n, best_matches)


def _similarities(vectors: np.ndarray, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """Compare the first images with all others.

    Returns:
        (SCALE + 1,) int64: how many pairs have each similarity, by ten-thousandths from 0, those
        below 0 counted as 0; and (sample,) int64, each one's highest in the same unit.
    """
    asked = vectors[:sample].astype(np.float64)
    counts = np.zeros(SCALE + 1, dtype=np.int64)
    best = np.full(sample, -SCALE)
    for start in range(0, len(vectors), COLUMNS):
        block = vectors[start : start + COLUMNS].astype(np.float64)
        scores = np.rint(asked @ block.T * SCALE).astype(np.int64)
        own = np.arange(start, min(start + len(block), sample))
        scores[own, own - start] = -SCALE  # an image and itself
        best = np.maximum(best, scores.max(axis=1))
        counts += np.bincount(scores.clip(0, SCALE).ravel(), minlength=SCALE + 1)
        counts[0] -= len(own)
    return counts, best


def _lowest(counts: np.ndarray) -> float | None:
    """The lowest similarity, in steps of 0.01, from which unrelated pairs are rare enough."""
    total = int(counts.sum())
    found = np.cumsum(counts[::-1])[::-1]  # pairs at or above each similarity
    low, high = (int(np.flatnonzero(found >= share * total)[-1]) for share in _UPPER)
    if high <= low:
        return None
    # The exponential tail through both points.
    scale = (high - low) / np.log(found[low] / found[high])
    levels = np.arange(-(-high // 100) * 100, SCALE + 1, 100)
    expected = found[high] * np.exp(-(levels - high) / scale)
    enough = (expected <= _SHARE * found[levels]) & (found[levels] >= _LEAST_PAIRS)
    # Not below a level at which chance is already too frequent again.
    refused = np.flatnonzero(~enough & (found[levels] >= _LEAST_PAIRS))
    first = refused[-1] + 1 if len(refused) else 0
    if first >= len(levels) or not enough[first]:
        return None
    return float(levels[first]) / SCALE
