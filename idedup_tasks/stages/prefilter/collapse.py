"""Which images collapse onto which earlier one: pure functions over images in order of arrival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

import faiss
import numpy as np

# Of the active images that came before it, an image looks at so many nearest at most.
LOOKS = 4
# Within a block all are compared with all by plain XOR; between blocks, FAISS finds the active
# images near by. Small enough for the first to stay cheap.
BLOCK = 1_024
HITS = 2**22  # that one search may give, should all active images lie near by
_NONE = np.iinfo(np.int64).max
# Look-ups, and hashes compared, at a time: some tens of megabytes.
_AT_ONCE = 2**21
FEW = 4_096  # hashes that are rather compared with all than looked up
_UNKNOWN = -2


def collapse_exact(digests: np.ndarray) -> np.ndarray:
    """Collapse byte-identical images onto the earliest.

    Args:
        digests: (n, 32) uint8, the SHA-256 of each image, in order of (arrived_at, key).

    Returns:
        (n,) int64: position of the earliest image with the same digest; an image's own if it is it.
    """
    if not len(digests):
        return np.empty(0, dtype=np.int64)
    rows = np.ascontiguousarray(digests).view("V32").ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


@dataclass(frozen=True)
class Before:
    """What an earlier walk gave, for those that take part in this one in the same order.

    onto: (n,) int64, position of the active image collapsed onto, -1 for an active image, -2 for
    one that did not take part; apart: (n,) int64, distance in bits. gone: (g,) uint64, hashes of
    images that were active then, and take no part, or another, now.
    """

    onto: np.ndarray
    apart: np.ndarray
    gone: np.ndarray

    @classmethod
    def nothing(cls, n: int) -> Before:
        """For a first walk."""
        return cls(np.full(n, _UNKNOWN), np.zeros(n, np.int64), np.empty(0, np.uint64))


def collapse_same(
    hashes: np.ndarray,
    distance: int,
    same: Callable[[np.ndarray, np.ndarray], np.ndarray],
    variants: np.ndarray | None = None,
    before: Before | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Walk images in order; each collapses onto one of the nearest earlier active ones, or becomes
    active.

    An image looks at its four nearest earlier active ones, by distance and then order, and
    collapses onto the first that is the same. Only an image that is active itself can be collapsed
    onto, so that no chain leads from an image to one that it was not compared with. The outcome
    depends on the set of images alone.

    An image that lies near nobody is active, and most do. What was known before stands but for
    those that came, those near what came or went, and those near whom that makes active or not.

    Args:
        hashes: (n,) uint64 in order of (arrived_at, key).
        distance: largest Hamming distance, in bits, at which two images are looked at.
        same: of the positions of later and of earlier images, (m,) int64 both, says which pairs
            are the same picture, (m,) bool. No pair is asked twice.
        variants: (n, 8) uint64, the hashes of each image's rotations and mirrors: those of the
            later image are compared with the earlier one's own hash.
        before: what an earlier walk gave with the same distance and looks.

    Returns:
        (n,) int64: position of the active image collapsed onto, or -1 for an active image; (n,)
        int64: the distance in bits, 0 for an active image.
    """
    before = before or Before.nothing(len(hashes))
    near = _Near(hashes, distance, variants)
    came = before.onto == _UNKNOWN
    open_, _ = near.of(np.flatnonzero(came))
    open_ |= came | near.of_hashes(before.gone)
    known: dict[tuple[int, int], bool] = {}
    while True:
        onto, apart = before.onto.copy(), before.apart.copy()
        onto[open_], apart[open_] = -1, 0
        walked, company = near.of(np.flatnonzero(open_))
        walked |= company
        at = np.flatnonzero(walked)
        settled = np.where(open_[at], _UNKNOWN, onto[at])
        found = _settle(hashes, distance, same, variants, at, settled, known)
        onto[at], apart[at] = np.where(open_[at], found, (onto[at], apart[at]))
        # What was active and is not, or the other way round, is news to those near it.
        turned = ~came & ((onto < 0) != (before.onto < 0))
        further, _ = near.of(np.flatnonzero(turned))
        if not (further & ~open_).any():
            return onto, apart
        open_ |= further


def _settle(
    hashes: np.ndarray,
    distance: int,
    same: Callable[[np.ndarray, np.ndarray], np.ndarray],
    variants: np.ndarray | None,
    at: np.ndarray,
    settled: np.ndarray,
    known: dict[tuple[int, int], bool],
) -> np.ndarray:
    """Walk the images at some positions, until every look that it takes is known.

    Which images are active is known only as the walk goes on, and looks are dear and better asked
    for many at once: so it is walked as if every look not yet known were to come out in the usual
    way, those are asked for, and it is walked again, until nothing is left to ask.

    Args:
        at: (k,) int64, ascending.
        settled: (k,) int64, -2 for those to be decided; of others, whether they are active: -1.
        known: looks, by positions; those that are asked for are added.

    Returns:
        (2, k) int64: position collapsed onto, and the distance, of those to be decided.
    """
    doubted = np.zeros(len(at), dtype=bool)
    index = {position: i for i, position in enumerate(at.tolist())} if known else {}
    here = {(index[a], index[b]): v for (a, b), v in known.items() if a in index and b in index}
    doubted[[later for (later, _), alike in here.items() if not alike]] = True
    some = None if variants is None else variants[at]
    while True:
        onto, apart, unknown = _walk(hashes[at], distance, here, doubted, some, settled)
        if not unknown:
            return np.array([np.where(onto < 0, -1, at[onto]), apart])
        later, earlier = np.array(unknown, dtype=np.int64).T
        alike = same(at[later], at[earlier])
        doubted[later[~alike]] = True
        here.update(zip(unknown, alike.tolist(), strict=True))
        pairs = zip(at[later].tolist(), at[earlier].tolist(), strict=True)
        known.update(zip(pairs, alike.tolist(), strict=True))


def _walk(
    hashes: np.ndarray,
    distance: int,
    known: dict[tuple[int, int], bool],
    doubted: np.ndarray,
    variants: np.ndarray | None,
    settled: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """One walk, and the pairs that it would have had to know.

    doubted: (n,) bool, images that are not the same as one that they lay near. settled: (n,) int64,
    -2 for images to be decided; others are active if it is -1.
    """
    n = len(hashes)
    onto = np.full(n, -1, dtype=np.int64)
    apart = np.zeros(n, dtype=np.int64)
    unknown: list[tuple[int, int]] = []
    queries = hashes[:, None] if variants is None else variants
    index = _ActiveHashes(distance)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        block, asked = hashes[start:stop], queries[start:stop]
        # Nearest as one number: distance in the high bits, position in the low ones, so that the
        # smallest are the nearest and, of equally near ones, the earliest.
        before = index.nearest(asked)
        bits = np.bitwise_count(asked[:, None, :] ^ block[None, :, None]).min(axis=2)
        near = np.tril(bits <= distance, -1)  # rows: the later image, columns: the earlier
        active = settled[start:stop] < 0
        undecided = settled[start:stop] == _UNKNOWN
        for i in np.flatnonzero(undecided & (near.any(axis=1) | (before[:, 0] != _NONE))):
            inside = np.flatnonzero(near[i] & active)
            keys = bits[i, inside].astype(np.int64) << 32 | (start + inside)
            nearest = np.sort(np.concatenate([before[i], keys]))[:LOOKS]
            nearest = nearest[nearest != _NONE]
            image, earlier = start + int(i), (nearest & 0xFFFFFFFF).tolist()
            chosen, missing = _decide(
                [known.get((image, e)) for e in earlier], doubted=bool(doubted[image])
            )
            unknown += [(image, earlier[m]) for m in missing]
            if chosen is not None:
                active[i] = False
                onto[image], apart[image] = earlier[chosen], nearest[chosen] >> 32
        index.add(block[active], start + np.flatnonzero(active))
    return onto, apart, unknown


def _decide(looks: list[bool | None], *, doubted: bool) -> tuple[int | None, list[int]]:
    """Which of an image's nearest it collapses onto, as far as is known, and what must be known.

    Most that lie near are copies, and the same as the first. Of one that is not, those near are
    most often of one template, and it is the same as none: all is asked at once, and it counts as
    active meanwhile, so that 20,000 of them are settled in three walks.
    """
    if not doubted and looks:
        return (0, [0]) if looks[0] is None else (0, [])
    first = next((i for i, look in enumerate(looks) if look), None)
    missing = [i for i, look in enumerate(looks[:first]) if look is None]
    return (None if missing else first), missing


class _ActiveHashes:
    """The active images so far, in a FAISS binary index that grows block by block."""

    def __init__(self, distance: int) -> None:
        self._distance = distance
        # Of three 21-bit parts of two hashes at most d bits apart, one differs in at most d // 3
        # bits: looking up each part with that many flips misses nothing. With many flips there are
        # more look-ups than hashes to compare with.
        flips = distance // 3
        if flips <= 3:
            self._index: faiss.IndexBinary = faiss.IndexBinaryMultiHash(64, 3, 21)
            self._index.nflip = flips
        else:
            self._index = faiss.IndexBinaryFlat(64)
        self._positions = [np.empty(0, dtype=np.int64)]
        self._times: Counter[int] = Counter()

    def add(self, hashes: np.ndarray, positions: np.ndarray) -> None:
        """Of images with one hash only the earliest can be among anybody's nearest."""
        early = np.zeros(len(hashes), dtype=bool)
        for i, own in enumerate(hashes.tolist()):
            early[i] = self._times[own] < LOOKS
            self._times[own] += 1
        self._index.add(hashes[early].view(np.uint8).reshape(-1, 8))
        self._positions.append(positions[early])

    def nearest(self, asked: np.ndarray) -> np.ndarray:
        """(m, LOOKS) int64 for (m, k) uint64 queries: the least of `distance << 32 | position`, in
        order, with _NONE for those that are not there."""
        nearest = np.full((len(asked), LOOKS), _NONE, dtype=np.int64)
        if not self._index.ntotal:
            return nearest
        self._positions = [np.concatenate(self._positions)]
        most = max(1, HITS // (self._index.ntotal * asked.shape[1]))
        for start in range(0, len(asked), most):
            rows, keys = self._hits(asked[start : start + most])
            for place in range(LOOKS if len(keys) else 0):
                starts = np.flatnonzero(np.diff(rows, prepend=-1))
                least = np.minimum.reduceat(keys, starts)
                nearest[start + rows[starts], place] = least
                # The same image may have been met by several of the variants.
                taken = np.repeat(least, np.diff(starts, append=len(keys)))
                rest = (keys ^ taken) & 0xFFFFFFFF != 0
                rows, keys = rows[rest], keys[rest]
                if not len(keys):
                    break
        return nearest

    def _hits(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row of the query, ascending, and `distance << 32 | position` of every image near one."""
        codes = np.ascontiguousarray(asked).view(np.uint8).reshape(-1, 8)
        limits, distances, found = self._index.range_search(codes, self._distance + 1)
        rows = np.repeat(np.arange(len(codes)) // asked.shape[1], np.diff(limits.astype(int)))
        return rows, (distances.astype(np.int64) << 32) | self._positions[0][found]


class _Near:
    """Which images lie near some others, whichever came first."""

    def __init__(self, hashes: np.ndarray, distance: int, variants: np.ndarray | None) -> None:
        # Of one hash there may be thousands: it is compared once.
        self._hashes, self._which, self._times = np.unique(
            hashes, return_inverse=True, return_counts=True
        )
        self._distance, self._variants = distance, variants

    @cached_property
    def _own(self) -> _Table:
        return _Table(self._hashes, self._distance)

    @cached_property
    def _turned(self) -> list[tuple[_Table, np.ndarray]]:
        """Of rotations and mirrors: their hashes, and which of them each image has."""
        columns = () if self._variants is None else tuple(self._variants.T[1:])
        uniques = (np.unique(column, return_inverse=True) for column in columns)
        return [(_Table(values, self._distance), which) for values, which in uniques]

    def of(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) bool: which lie near another one that is at some positions; and which of those at
        the positions lie near any other. An image may count as near to its own mirror image."""
        chosen = np.zeros(len(self._which), dtype=bool)
        chosen[positions] = True
        times = np.bincount(self._which[positions], minlength=len(self._hashes))
        asked = np.flatnonzero(times)
        met, company = np.zeros(len(self._hashes), dtype=bool), self._times > 1
        for rows, found in self._own.near(self._hashes[asked]):
            others = asked[rows] != found
            met[found[others]] = True
            company[asked[rows[others]]] = True
        hit = met[self._which] | (times[self._which] > chosen)
        for turn, (table, which) in enumerate(self._turned, 1):
            met = np.zeros(len(table.hashes), dtype=bool)
            for rows, found in table.near(self._hashes[asked]):
                met[found] = True
                company[asked[rows]] = True
            hit |= met[which]
            assert self._variants is not None
            values, back = np.unique(self._variants[positions, turn], return_inverse=True)
            met, seen = (np.zeros(len(v), dtype=bool) for v in (self._hashes, values))
            for rows, found in self._own.near(values):
                met[found] = True
                seen[rows] = True
            hit |= met[self._which]
            company[self._which[positions[seen[back]]]] = True
        return hit, chosen & company[self._which]

    def of_hashes(self, hashes: np.ndarray) -> np.ndarray:
        """(n,) bool: which lie near an image of one of these hashes, were it an earlier one."""
        hit = np.zeros(len(self._which), dtype=bool)
        for table, which in [(self._own, self._which), *self._turned] if len(hashes) else ():
            met = np.zeros(len(table.hashes), dtype=bool)
            for _, found in table.near(np.unique(hashes)):
                met[found] = True
            hit |= met[which]
        return hit


class _Table:
    """Hashes by each of three parts.

    Of two at most d bits apart, one part differs in at most d // 3 bits: looking up each part with
    so many flips misses nothing.
    """

    _WIDTHS = (21, 21, 22)

    def __init__(self, hashes: np.ndarray, distance: int) -> None:
        self.hashes, self._distance = hashes, distance
        # With many flips there are more look-ups than hashes to compare with.
        many = len(hashes) > FEW and distance // 3 <= 3
        parts = enumerate(self._WIDTHS) if many else ()
        self._parts = [self._part(at, width) for at, width in parts]

    def _part(self, at: int, width: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """How far to shift, the flips, where each value's hashes begin, and those in order."""
        shift = sum(self._WIDTHS[:at])
        values = self._value(self.hashes, shift, width)
        starts = np.zeros(2**width + 1, dtype=np.int64)
        np.cumsum(np.bincount(values, minlength=2**width), out=starts[1:])
        order = np.argsort(values, kind="stable").astype(np.int32)
        return shift, _flips(width, self._distance // 3), starts, order

    @staticmethod
    def _value(hashes: np.ndarray, shift: int, width: int) -> np.ndarray:
        return ((hashes >> np.uint64(shift)) & np.uint64(2**width - 1)).astype(np.int64)

    def near(self, queries: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of a query's row and the position of a hash near it; some more than once."""
        if not self._parts:
            step = max(1, _AT_ONCE // max(1, len(self.hashes)))
            for start in range(0, len(queries), step):
                apart = np.bitwise_count(queries[start : start + step, None] ^ self.hashes)
                rows, found = np.nonzero(apart <= self._distance)
                yield rows + start, found
            return
        for (shift, flips, starts, order), width in zip(self._parts, self._WIDTHS, strict=True):
            step = max(1, _AT_ONCE // len(flips))
            for start in range(0, len(queries), step):
                some = queries[start : start + step]
                keys = self._value(some, shift, width)[:, None] ^ flips
                first, count = starts[keys].ravel(), (starts[keys + 1] - starts[keys]).ravel()
                filled = np.flatnonzero(count)
                first, count, rows = first[filled], count[filled], filled // len(flips) + start
                ends = np.cumsum(count)
                # As many look-ups at a time as give so many hashes, or one.
                total = int(count.sum())
                cuts = np.searchsorted(ends, np.arange(0, total, _AT_ONCE), side="right")
                for low, high in pairwise([*np.unique(cuts), len(count)]):
                    part = slice(low, high)
                    row = np.repeat(rows[part], count[part])
                    run_ends = np.cumsum(count[part])
                    within = np.arange(len(row)) - np.repeat(run_ends - count[part], count[part])
                    found = order[np.repeat(first[part], count[part]) + within]
                    apart = np.bitwise_count(queries[row] ^ self.hashes[found])
                    here = apart <= self._distance
                    yield row[here], found[here]


def _flips(width: int, most: int) -> np.ndarray:
    """int64: every way to flip at most so many of `width` bits, as masks."""
    masks = [
        sum(1 << bit for bit in bits)
        for count in range(most + 1)
        for bits in combinations(range(width), count)
    ]
    return np.array(masks, dtype=np.int64)
