"""Candidate pairs: which images are compared, and what is kept of it.

Two images are compared either always (up to a configured size) or when they share one of their
nearest cells of a quantiser that came with the descriptor. Both are symmetric and know nothing of
when an image came, so comparing the new with everything leaves what comparing everything would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import NamedTuple

import faiss
import numpy as np

from idedup_tasks import compute
from idedup_tasks.descriptors.sorter import (
    EIGHT_BITS,
    Sorter,
    has_inner,
    nearest_inner,
    regions_of,
)
from idedup_tasks.lake import Lake, SharedArrays, share_arrays
from idedup_tasks.linkage import components

SIDE = 2_048
DENSE = 200_000  # hits in a tile above which it is scored and pruned as a whole
BUDGET = 6_000_000  # pairs held before they are pruned
# float32 products of unit vectors differ from float64 ones by far less than this, and those of a
# GPU's tensor cores, which may round their inputs to 10 bits, still by less. What comes through is
# scored in float64, so that the result does not depend on where the products were made.
_SLACK, _GPU_SLACK = 1e-4, 2e-3
SCALE = 10_000
MOST = 500_000  # of a rank, so that it and a place fit in 32 bits

TILES = 8  # that one job compares: a second or so of work
# Comparisons that take longer, on a core or two, than handing the vectors to Dask's workers.
WORTH_SPREADING = 10**9


@dataclass
class FoundPairs:
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
    regions: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
    sorter: Sorter | None = None,
    *,
    lake: Lake,
) -> FoundPairs:
    """All matches of some images among all, pruned to each image's best.

    Args:
        vectors: (n, dim) float32, L2-normalised; may be a memory map.
        asked: (n,) bool, the images to compare; matches among the others are `known`.
        threshold: cosine, rounded to 4 decimals, at or above which a pair is a match.
        per_image: a pair is kept if it is among the best of either image (by the sorter, or else
            the score; then position).
        cells: (n, k) int32, cells of each image; None compares all.
        known: first, second and score of the matches among images that are not asked.
        regions: (n, r, dim) int8, vectors of parts of each image times 127, of its regions and then
            of pictures that lie in it; may be a memory map. A pair's score is then the highest
            cosine of the two images, of either with a part of the other, and of two pictures that
            lie in them. Cells know nothing of parts.
        progress: called with (comparisons done, total) now and then.
        sorter: of the pairs from the threshold on, those are matches that it passes. It needs
            regions.
        lake: where Dask's workers find the vectors.
    """
    kept = _Kept(len(vectors), per_image)
    if regions is None or not regions.shape[1]:
        regions = sorter = None
    if known is not None:
        first, second, rank = known
        if sorter is not None:
            rank = ranks_of(sorter, vectors, regions, first, second)
        kept.count(first, second)
        kept.add(first, second, rank)
    plan = _Plan.of_all(asked) if cells is None else _Plan.of_cells(asked, cells)
    done, total = 0, plan.comparisons

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    arrays = {"vectors": vectors, "asked": asked, "rows": plan.rows, "columns": plan.columns}
    if cells is not None:
        arrays["cells"] = cells
    products = 1
    if regions is not None:
        arrays["regions"] = regions
        parts = regions.shape[1]
        products += 2 * parts + (parts - regions_of(parts)) ** 2
    lowest = round(threshold * SCALE)
    here = total * products < WORTH_SPREADING
    with share_arrays(lake, arrays, here=here) as shared:
        tiles = plan.tiles()
        jobs = (
            (None, _Job(shared, some, lowest, per_image, products > 1, sorter))
            for some in iter(lambda: list(islice(tiles, TILES)), [])
        )
        for _, found in compute.run_jobs(compare, jobs, advance, here=here):
            for matches in found:
                kept.take(matches)
    pairs = kept.finish()
    if sorter is not None:
        # What was kept by its rank is told by its cosine.
        pairs.score = _scores(vectors, regions, pairs.first, pairs.second)
    return pairs


def known_pairs(
    n: int, per_image: int, known: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> FoundPairs:
    """What `find_pairs` gives where no image is asked, without any vectors."""
    kept = _Kept(n, per_image)
    first, second, score = known
    kept.count(first, second)
    kept.add(first, second, score)
    return kept.finish()


class _Tile(NamedTuple):
    """A rectangle of comparisons: ranges of `_Plan.rows` and `_Plan.columns`, of one cell."""

    top: int
    bottom: int
    left: int
    right: int
    cell: int


@dataclass(frozen=True)
class _Plan:
    """Which images meet: within a cell (or all being one), those asked with all.

    rows: positions of the images asked, columns: of all, both cell by cell and ascending in each.
    row_starts, column_starts: where each cell begins, and the end. names: of the cells.
    """

    asked: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    row_starts: np.ndarray
    column_starts: np.ndarray
    names: list[int]

    @classmethod
    def of_all(cls, asked: np.ndarray) -> _Plan:
        rows = np.flatnonzero(asked)
        ends = np.array([0, len(rows)]), np.array([0, len(asked)])
        return cls(asked, rows, np.arange(len(asked)), *ends, [-1])

    @classmethod
    def of_cells(cls, asked: np.ndarray, cells: np.ndarray) -> _Plan:
        order = np.argsort(cells.ravel(), kind="stable")
        columns = (order // cells.shape[1]).astype(np.int32)
        cell_of = cells.ravel()[order]
        starts = np.flatnonzero(np.diff(cell_of, prepend=-1))
        chosen = asked[columns]
        # How many rows come before a column is where its cell's rows begin.
        before = np.concatenate([[0], np.cumsum(chosen)])
        ends = np.append(starts, len(columns))
        return cls(asked, columns[chosen], columns, before[ends], ends, cell_of[starts].tolist())

    @property
    def comparisons(self) -> int:
        return sum((t.bottom - t.top) * (t.right - t.left) for t in self.tiles())

    def tiles(self) -> Iterator[_Tile]:
        for cell, name in enumerate(self.names):
            rows, columns = self.row_starts[cell : cell + 2], self.column_starts[cell : cell + 2]
            for top in range(rows[0], rows[1], SIDE):
                for left in range(columns[0], columns[1], SIDE):
                    tile = _Tile(
                        top, min(top + SIDE, rows[1]), left, min(left + SIDE, columns[1]), name
                    )
                    if not self._met_from_there(tile):
                        yield tile

    def _met_from_there(self, tile: _Tile) -> bool:
        """Where every column is asked too and comes earlier, the pair is met from there."""
        columns = self.columns[tile.left : tile.right]
        return columns[-1] < self.rows[tile.top] and bool(self.asked[columns].all())


@dataclass(frozen=True)
class _Job:
    """Tiles to compare, of arrays that lie where the job can see them."""

    shared: SharedArrays
    tiles: list[_Tile]
    lowest: int
    per_image: int
    regions: bool
    sorter: Sorter | None


class _Matches(NamedTuple):
    """What a tile gives. first, second, score: of pairs worth keeping. dropped: positions, and how
    many matches each has beyond those kept; joined: pairs that connect what those connect."""

    first: np.ndarray
    second: np.ndarray
    score: np.ndarray
    dropped: tuple[np.ndarray, np.ndarray]
    joined: tuple[np.ndarray, np.ndarray]


def compare(job: _Job) -> list[_Matches]:
    """The matches of a job's tiles; at most a few thousand times `per_image` a tile."""
    names = ("vectors", "asked", "rows", "columns")
    vectors, asked, rows, columns = (job.shared[name] for name in names)
    regions = job.shared["regions"] if job.regions else None
    found = []
    for tile in job.tiles:
        cells = None if tile.cell < 0 else job.shared["cells"]
        mine, theirs = rows[tile.top : tile.bottom], columns[tile.left : tile.right]
        found.append(_matches(vectors, regions, mine, theirs, asked, job, cells, tile.cell))
        compute.advance(len(mine) * len(theirs))
    return found


def _matches(
    vectors: np.ndarray,
    regions: np.ndarray | None,
    rows: np.ndarray,
    columns: np.ndarray,
    asked: np.ndarray,
    job: _Job,
    cells: np.ndarray | None,
    cell: int,
) -> _Matches:
    lowest = job.lowest
    left, right = vectors[rows], vectors[columns]
    slack = _GPU_SLACK if faiss.get_num_gpus() else _SLACK
    hits = _products(left, right) >= lowest / SCALE - slack
    if regions is not None:
        parts = _best_of_parts(left, right, regions, rows, columns)
        hits |= parts >= lowest
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
    if len(a) > DENSE:
        product = left.astype(np.float64) @ right.T.astype(np.float64)
        score = np.rint(product[a, b] * SCALE).astype(np.int32)
    else:
        score = np.empty(len(a), dtype=np.int32)
        for start in range(0, len(a), 65_536):
            part = slice(start, start + 65_536)
            pair = left[a[part]].astype(np.float64), right[b[part]].astype(np.float64)
            score[part] = np.rint(np.einsum("ij,ij->i", *pair) * SCALE)
    if regions is not None:
        score = np.maximum(score, parts[a, b])
    enough = score >= lowest
    a, b, score = a[enough], b[enough], score[enough]
    if job.sorter is not None:
        score = ranks_of(job.sorter, vectors, regions, rows[a], columns[b])
        passed = score >= 0
        a, b, score = a[passed], b[passed], score[passed]
    dropped, joined = (_NONE, _NONE), (_NONE, _NONE)
    if len(a) > DENSE:
        keep = _among_best_of_tile(a, b, score, hits.shape, job.per_image)
        dropped, joined = _summary(rows, columns, a[~keep], b[~keep])
        a, b, score = a[keep], b[keep], score[keep]
    first, second = rows[a], columns[b]
    return _Matches(
        np.minimum(first, second).astype(np.int32),
        np.maximum(first, second).astype(np.int32),
        score,
        dropped,
        joined,
    )


def _products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Inner products float32 (n, m) of rows float32 (n, dim) and (m, dim)."""
    if not faiss.get_num_gpus():
        product: np.ndarray = left @ right.T
        return product
    gpu = _gpu(threading.get_ident())
    found: np.ndarray = faiss.pairwise_distance_gpu(
        gpu, left, right, metric=faiss.METRIC_INNER_PRODUCT
    )
    return found


def _best_of_parts(
    left: np.ndarray,
    right: np.ndarray,
    regions: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """(n, m) int32: the highest cosine, times SCALE, of either image with a part of the other, and
    of pictures that lie in them.

    Products of 8-bit vectors are whole numbers that float32 sums exactly in any order.
    """
    whole_left, whole_right = (np.rint(v * EIGHT_BITS) for v in (left, right))
    best: np.ndarray = np.full((len(rows), len(columns)), -np.inf, dtype=np.float32)
    parts = regions.shape[1]
    inner = range(regions_of(parts), parts)
    inner_right = [regions[columns, part].astype(np.float32) for part in inner]
    for part in range(parts):
        one = regions[rows, part].astype(np.float32)
        other = regions[columns, part].astype(np.float32)
        np.maximum(best, _products(whole_left, other), out=best)
        for against in [whole_right, *(inner_right if part in inner else ())]:
            np.maximum(best, _products(one, against), out=best)
    return _rounded(best).astype(np.int32)


def _rounded(products: np.ndarray) -> np.ndarray:
    """Cosines times SCALE of products of 8-bit vectors; those of two rounded ones may exceed 1."""
    scaled: np.ndarray = np.minimum(np.rint(products * (SCALE / EIGHT_BITS**2)), SCALE)
    return scaled


def _parts_of(vectors: np.ndarray, regions: np.ndarray | None, at: np.ndarray) -> np.ndarray:
    """(m, 1 + r, dim) int8: images and then their parts."""
    whole = np.rint(vectors[at] * EIGHT_BITS).astype(np.int8)[:, None]
    return whole if regions is None else np.concatenate([whole, regions[at]], axis=1)


def ranks_of(
    sorter: Sorter,
    vectors: np.ndarray,
    regions: np.ndarray | None,
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    """(m,) int32: what the sorter says of pairs, times SCALE; below zero, -1."""
    ranks = np.full(len(first), -1, dtype=np.int32)
    for start in range(0, len(first), SIDE):
        part = slice(start, start + SIDE)
        ends = (_parts_of(vectors, regions, side[part]) for side in (first, second))
        ranks[part] = np.clip(np.rint(sorter.likeness(*ends) * SCALE), -1, MOST)
    return ranks


def _scores(
    vectors: np.ndarray, regions: np.ndarray | None, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """(m,) int32: the scores of pairs, as `_matches` finds them."""
    scores = np.empty(len(first), dtype=np.int32)
    for start in range(0, len(first), SIDE):
        part = slice(start, start + SIDE)
        pair = [vectors[side[part]].astype(np.float64) for side in (first, second)]
        whole = np.rint(np.einsum("ij,ij->i", *pair) * SCALE)
        one, other = (_parts_of(vectors, regions, s[part]) for s in (first, second))
        parts = np.maximum(
            np.einsum("id,ird->ir", one[:, 0], other[:, 1:], dtype=np.int64).max(1),
            np.einsum("ird,id->ir", one[:, 1:], other[:, 0], dtype=np.int64).max(1),
        ).astype(np.float32)
        if has_inner(one):
            parts = np.maximum(parts, nearest_inner(one, other))
        scores[part] = np.maximum(whole, _rounded(parts))
    return scores


_NONE = np.empty(0, dtype=np.int32)


def _summary(
    rows: np.ndarray, columns: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Of matches that are not kept: how many each image has, and a few pairs that connect as much.

    They may be millions; these are at most as many as the tile has rows and columns.
    """
    nodes = np.concatenate([rows, columns])
    counts = np.concatenate(
        [np.bincount(a, minlength=len(rows)), np.bincount(b, minlength=len(columns))]
    )
    ends = a, b + len(rows)
    heads = components(len(nodes), *ends)
    linked = heads != np.arange(len(nodes))
    some = counts > 0
    return (nodes[some], counts[some]), (nodes[heads[linked]], nodes[linked])


@cache
def _gpu(thread: int) -> faiss.StandardGpuResources:
    # One a thread: they are not made to be shared.
    return faiss.StandardGpuResources()


def _among_best_of_tile(
    a: np.ndarray, b: np.ndarray, score: np.ndarray, shape: tuple[int, int], count: int
) -> np.ndarray:
    """(m,) bool: which hits of a dense tile are among the best `count` of their row or column.

    Fast and generous: it only keeps a tile of images that are all alike from being held whole.
    """
    # Score in the high bits and nearness to the start in the low ones make every key distinct.
    bits = SIDE.bit_length()
    keep = np.zeros(len(a), dtype=bool)
    for axis, other in ((1, b), (0, a)):
        keys = np.full(shape, -1, dtype=np.int32)
        keys[a, b] = (score << bits) + (SIDE - other.astype(np.int32))
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
        self._budget = BUDGET
        self._degree = np.zeros(n, dtype=np.int64)
        self._component = np.arange(n, dtype=np.int32)

    def count(self, first: np.ndarray, second: np.ndarray) -> None:
        self._degree += np.bincount(first, minlength=self._n)
        self._degree += np.bincount(second, minlength=self._n)

    def take(self, found: _Matches) -> None:
        self.count(found.first, found.second)
        np.add.at(self._degree, *found.dropped)
        if len(found.joined[0]):
            self.join(*found.joined)
        self.add(found.first, found.second, found.score)

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Pairs that connect components though they are not kept."""
        everyone = np.arange(self._n)
        ends = np.concatenate([first, everyone]), np.concatenate([second, self._component])
        self._component = components(self._n, *ends).astype(np.int32)

    def add(self, first: np.ndarray, second: np.ndarray, score: np.ndarray) -> None:
        if len(first):
            part = first.astype(np.int32), second.astype(np.int32), score.astype(np.int32)
            self._parts.append(part)
            self._held += len(first)
        if self._held > self._budget:
            self._prune()
            self._budget = max(BUDGET, 2 * self._held)

    def _prune(self) -> None:
        first, second, score = (np.concatenate(c) for c in zip(*self._parts, strict=True))
        self.join(first, second)
        keep = _among_best(first, second, score, self.per_image)
        self._parts = [(first[keep], second[keep], score[keep])]
        self._held = int(keep.sum())

    def finish(self) -> FoundPairs:
        if not self._parts:
            empty = np.empty(0, dtype=np.int32)
            return FoundPairs(empty, empty, empty, self._degree, self._component)
        self._prune()
        first, second, score = self._parts[0]
        order = np.lexsort((second, first))
        return FoundPairs(first[order], second[order], score[order], self._degree, self._component)
