"""Candidate pairs: which images are compared, and what is kept of it.

Two images are compared either always (up to a configured size) or when they share one of their
nearest cells of a quantiser that came with the descriptor. Both are symmetric and know nothing of
when an image came, so comparing the new with everything leaves what comparing everything would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import faiss
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

_SIDE = 2_048
_DENSE = 200_000  # hits in a tile above which it is scored and pruned as a whole
_BUDGET = 6_000_000  # pairs held before they are pruned
# float32 products of unit vectors differ from float64 ones by far less than this, and those of a
# GPU's tensor cores, which may round their inputs to 10 bits, still by less. What comes through is
# scored in float64, so that the result does not depend on where the products were made.
_SLACK, _GPU_SLACK = 1e-4, 2e-3
SCALE = 10_000

# Positions of rows and of columns to compare, and the cell that they share.
_Tile = tuple[np.ndarray, np.ndarray, int]


@dataclass
class Pairs:
    """Outcome of a comparison, over positions 0 to n - 1.

    first, second: (m,) int32, first < second. score: (m,) int32, cosine times 10,000.
    degree: (n,) int64, how many matches each compared image has, kept or not.
    component: (n,) int32, smallest position in the image's connected component over all matches.
    """

    first: np.ndarray
    second: np.ndarray
    score: np.ndarray
    degree: np.ndarray
    component: np.ndarray


def nearest_cells(vectors: np.ndarray, centroids: np.ndarray, count: int) -> np.ndarray:
    """(n, count) int32: each image's nearest cells by inner product, in ascending order of cell."""
    quantiser = faiss.IndexFlatIP(centroids.shape[1])
    quantiser.add(np.ascontiguousarray(centroids, dtype=np.float32))
    parts = [np.empty((0, count), dtype=np.int32)]
    for start in range(0, len(vectors), 65_536):
        block = np.ascontiguousarray(vectors[start : start + 65_536])
        _, cells = quantiser.search(block, count)
        parts.append(np.sort(cells, axis=1).astype(np.int32))
    return np.concatenate(parts)


def find_pairs(
    vectors: np.ndarray,
    asked: np.ndarray,
    threshold: float,
    per_image: int,
    cells: np.ndarray | None = None,
    known: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pairs:
    """All matches of some images among all, pruned to each image's best.

    Args:
        vectors: (n, dim) float32, L2-normalised; may be a memory map.
        asked: (n,) bool, the images to compare; matches among the others are `known`.
        threshold: cosine, rounded to 4 decimals, at or above which a pair is a match.
        per_image: a pair is kept if it is among the best of either image (score, then position).
        cells: (n, k) int32, cells of each image; None compares all.
        known: first, second and score of the matches among images that are not asked.
        progress: called with (comparisons done, total) now and then.
    """
    kept = _Kept(len(vectors), per_image)
    if known is not None:
        kept.count(*known[:2])
        kept.add(*known)
    work = list(_tiles_of_all(asked)) if cells is None else list(_tiles_of_cells(asked, cells))
    lowest = round(threshold * SCALE)
    done, total = 0, sum(len(rows) * len(columns) for rows, columns, _ in work)
    for rows, columns, cell in work:
        kept.add(*_matches(vectors, rows, columns, asked, lowest, cells, cell, kept))
        done += len(rows) * len(columns)
        if progress is not None:
            progress(done, total)
    return kept.finish()


def _tiles_of_all(asked: np.ndarray) -> Iterator[_Tile]:
    chosen = np.flatnonzero(asked)
    everything = np.arange(len(asked))
    for start in range(0, len(chosen), _SIDE):
        rows = chosen[start : start + _SIDE]
        for left in range(0, len(asked), _SIDE):
            columns = everything[left : left + _SIDE]
            # Where every column is asked too and comes earlier, the pair is met from there.
            if columns[-1] < rows[0] and asked[columns].all():
                continue
            yield rows, columns, -1


def _tiles_of_cells(asked: np.ndarray, cells: np.ndarray) -> Iterator[_Tile]:
    order = np.argsort(cells.ravel(), kind="stable")
    owner = (order // cells.shape[1]).astype(np.int64)
    cell_of = cells.ravel()[order]
    starts = np.flatnonzero(np.diff(cell_of, prepend=-1))
    for cell, members in zip(cell_of[starts].tolist(), np.split(owner, starts[1:]), strict=True):
        chosen = members[asked[members]]
        for start in range(0, len(chosen), _SIDE):
            rows = chosen[start : start + _SIDE]
            for left in range(0, len(members), _SIDE):
                columns = members[left : left + _SIDE]
                if columns[-1] < rows[0] and asked[columns].all():
                    continue
                yield rows, columns, cell


def _matches(
    vectors: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    asked: np.ndarray,
    lowest: int,
    cells: np.ndarray | None,
    cell: int,
    kept: _Kept,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matches of one tile: positions of both images, scores as integers."""
    left, right = vectors[rows], vectors[columns]
    if faiss.get_num_gpus():
        quick = faiss.pairwise_distance_gpu(_gpu(), left, right, metric=faiss.METRIC_INNER_PRODUCT)
        hits = quick >= lowest / SCALE - _GPU_SLACK
    else:
        hits = (left @ right.T) >= lowest / SCALE - _SLACK
    a, b = np.nonzero(hits)
    # A pair of two asked images is met from both sides: it counts from the earlier.
    once = (rows[a] != columns[b]) & ((rows[a] < columns[b]) | ~asked[columns[b]])
    a, b = a[once], b[once]
    if cells is not None and len(a):
        # And in each cell that both are in: it counts in the first of them.
        mine, theirs = cells[rows[a]], cells[columns[b]]
        shared = (mine[:, :, None] == theirs[:, None, :]).any(axis=2)
        here = np.where(shared, mine, np.iinfo(np.int32).max).min(axis=1)
        a, b = a[here == cell], b[here == cell]
    if len(a) > _DENSE:
        product = left.astype(np.float64) @ right.T.astype(np.float64)
        score = np.rint(product[a, b] * SCALE).astype(np.int32)
    else:
        score = np.empty(len(a), dtype=np.int32)
        for start in range(0, len(a), 65_536):
            part = slice(start, start + 65_536)
            pair = left[a[part]].astype(np.float64), right[b[part]].astype(np.float64)
            score[part] = np.rint(np.einsum("ij,ij->i", *pair) * SCALE)
    enough = score >= lowest
    a, b, score = a[enough], b[enough], score[enough]
    first, second = rows[a], columns[b]
    kept.count(first, second)
    if len(a) > _DENSE:
        keep = _among_best_of_tile(a, b, score, hits.shape, kept.per_image)
        kept.join(first[~keep], second[~keep])
        first, second, score = first[keep], second[keep], score[keep]
    return np.minimum(first, second), np.maximum(first, second), score


@cache
def _gpu() -> faiss.StandardGpuResources:
    return faiss.StandardGpuResources()


def _among_best_of_tile(
    a: np.ndarray, b: np.ndarray, score: np.ndarray, shape: tuple[int, int], count: int
) -> np.ndarray:
    """(m,) bool: which hits of a dense tile are among the best `count` of their row or column.

    Fast and generous: it only keeps a tile of images that are all alike from being held whole.
    """
    # Score in the high bits and nearness to the start in the low ones make every key distinct.
    bits = _SIDE.bit_length()
    keep = np.zeros(len(a), dtype=bool)
    for axis, other in ((1, b), (0, a)):
        keys = np.full(shape, -1, dtype=np.int32)
        keys[a, b] = (score << bits) + (_SIDE - other.astype(np.int32))
        place = shape[axis] - count
        if place <= 0:
            return np.ones(len(a), dtype=bool)
        least = np.asarray(np.partition(keys, place, axis=axis).take(place, axis=axis))
        keep |= keys[a, b] >= (least[a] if axis == 1 else least[b])
    return keep


def _among_best(first: np.ndarray, second: np.ndarray, score: np.ndarray, count: int) -> np.ndarray:
    """(m,) bool: which pairs are among the best `count` of either image, among the pairs given."""
    own, other = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.lexsort((other, -np.concatenate([score, score]), own))
    starts = np.flatnonzero(np.diff(own[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    keep = np.zeros(len(first), dtype=bool)
    keep[order[rank < count] % len(first)] = True
    return keep


class _Kept:
    """Pairs found so far, pruned to each image's best whenever they become many."""

    def __init__(self, n: int, per_image: int) -> None:
        self.per_image = per_image
        self._n = n
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._held = 0
        self._budget = _BUDGET
        self._degree = np.zeros(n, dtype=np.int64)
        self._component = np.arange(n, dtype=np.int32)

    def count(self, first: np.ndarray, second: np.ndarray) -> None:
        self._degree += np.bincount(first, minlength=self._n)
        self._degree += np.bincount(second, minlength=self._n)

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Pairs that connect components though they are not kept."""
        everyone = np.arange(self._n)
        ends = np.concatenate([first, everyone]), np.concatenate([second, self._component])
        graph = coo_matrix((np.ones(len(ends[0]), dtype=bool), ends), shape=(self._n, self._n))
        _, label = connected_components(graph, directed=False)
        smallest = np.full(label.max(initial=-1) + 1, self._n, dtype=np.int32)
        np.minimum.at(smallest, label, everyone.astype(np.int32))
        self._component = smallest[label]

    def add(self, first: np.ndarray, second: np.ndarray, score: np.ndarray) -> None:
        if len(first):
            part = first.astype(np.int32), second.astype(np.int32), score.astype(np.int32)
            self._parts.append(part)
            self._held += len(first)
        if self._held > self._budget:
            self._prune()
            self._budget = max(_BUDGET, 2 * self._held)

    def _prune(self) -> None:
        first, second, score = (np.concatenate(c) for c in zip(*self._parts, strict=True))
        self.join(first, second)
        keep = _among_best(first, second, score, self.per_image)
        self._parts = [(first[keep], second[keep], score[keep])]
        self._held = int(keep.sum())

    def finish(self) -> Pairs:
        if not self._parts:
            empty = np.empty(0, dtype=np.int32)
            return Pairs(empty, empty, empty, self._degree, self._component)
        self._prune()
        first, second, score = self._parts[0]
        order = np.lexsort((second, first))
        return Pairs(first[order], second[order], score[order], self._degree, self._component)
