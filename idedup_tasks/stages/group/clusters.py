"""From candidate pairs to clusters: each connected component is cut hierarchically."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from idedup_tasks.linkage import average_clusters, matrix_clusters
from idedup_tasks.settings import Grouping
from idedup_tasks.stages.group.pairs import SCALE, FoundPairs

_ROWS = 256


@dataclass
class Clusters:
    """Clusters of n active images, in order of image_id.

    label: (n,) int64, position of the first member of the image's cluster; an image alone is its
    own. best: (n,) int64, the most similar other member (the first of equals), -1 for an image
    alone. best_score: (n,) float64, that cosine to 4 decimals. components: connected components of
    two or more. fallbacks: components too large for the chosen linkage.
    """

    label: np.ndarray
    best: np.ndarray
    best_score: np.ndarray
    components: int
    fallbacks: int


def cut_components(
    vectors: np.ndarray,
    pairs: FoundPairs,
    cut: float,
    settings: Grouping,
    progress: Callable[[int, int], None] | None = None,
) -> Clusters:
    """Cut every connected component of the candidate pairs.

    Args:
        vectors: (n, dim) float32, L2-normalised, in order of image_id; may be a memory map.
        pairs: over the same positions.
        cut: similarity at which clusters stop merging.
    """
    n = len(vectors)
    label = np.arange(n)
    best = np.full(n, -1)
    best_score = np.zeros(n)
    order = np.argsort(pairs.component, kind="stable")
    starts = np.flatnonzero(np.diff(pairs.component[order], prepend=-1))
    components = [c for c in np.split(order, starts[1:]) if len(c) > 1]
    total = sum(map(len, components))
    fallbacks = 0
    done = 0
    for members in components:
        own = vectors[members]
        if settings.linkage == "average":
            local = average_clusters(own, cut)
        elif len(members) > settings.linkage_limit:
            fallbacks += 1
            local = average_clusters(own, cut)
        else:
            local = matrix_clusters(own, cut, settings.linkage)
        label[members] = members[local]
        for first in np.unique(local):
            inside = np.flatnonzero(local == first)
            if len(inside) > 1:
                nearest, score = _best_matches(own[inside])
                best[members[inside]] = members[inside[nearest]]
                best_score[members[inside]] = score
        done += len(members)
        if progress is not None:
            progress(done, total)
    return Clusters(label, best, best_score, len(components), fallbacks)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cosine of unit vectors, (m, dim) each: float64 products rounded to 4 decimals."""
    products = np.einsum("ij,ij->i", a.astype(np.float64), b.astype(np.float64))
    rounded: np.ndarray = np.rint(products * SCALE) / SCALE
    return rounded


def _best_matches(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each image of a cluster the position of its nearest, and the cosine."""
    n = len(vectors)
    unit = vectors.astype(np.float64)
    nearest, score = np.empty(n, dtype=np.int64), np.empty(n)
    for start in range(0, n, _ROWS):
        similar = np.rint((unit[start : start + _ROWS] @ unit.T) * SCALE) / SCALE
        rows = np.arange(len(similar))
        similar[rows, rows + start] = -np.inf
        nearest[start : start + len(rows)] = similar.argmax(axis=1)
        score[start : start + len(rows)] = similar[rows, nearest[start : start + len(rows)]]
    return nearest, score
