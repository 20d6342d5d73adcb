"""Which images collapse onto which earlier one: pure functions over images in order of arrival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import faiss
import numpy as np

# Of the active images that came before it, an image looks at so many nearest at most.
LOOKS = 4
# Within a block all are compared with all by plain XOR; between blocks, FAISS finds the active
# images near by. Small enough for the first to stay cheap.
BLOCK = 1_024
HITS = 2**22  # that one search may give, should all active images lie near by
_NONE = np.iinfo(np.int64).max


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


def collapse_same(
    hashes: np.ndarray,
    distance: int,
    same: Callable[[np.ndarray, np.ndarray], np.ndarray],
    variants: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Walk images in order; each collapses onto one of the nearest earlier active ones, or becomes
    active.

    An image looks at its four nearest earlier active ones, by distance and then order, and
    collapses onto the first that is the same. Only an image that is active itself can be collapsed
    onto, so that no chain leads from an image to one that it was not compared with. The outcome
    depends on the set of images alone.

    Which images are active is known only as the walk goes on, and looks are dear and better asked
    for many at once: so it is walked as if every look not yet known were to come out in the usual
    way, those are asked for, and it is walked again, until nothing is left to ask.

    Args:
        hashes: (n,) uint64 in order of (arrived_at, key).
        distance: largest Hamming distance, in bits, at which two images are looked at.
        same: of the positions of later and of earlier images, (m,) int64 both, says which pairs
            are the same picture, (m,) bool. No pair is asked twice.
        variants: (n, 8) uint64, the hashes of each image's rotations and mirrors: those of the
            later image are compared with the earlier one's own hash.

    Returns:
        (n,) int64: position of the active image collapsed onto, or -1 for an active image; (n,)
        int64: the distance in bits, 0 for an active image.
    """
    known: dict[tuple[int, int], bool] = {}
    doubted = np.zeros(len(hashes), dtype=bool)
    while True:
        onto, apart, unknown = _walk(hashes, distance, known, doubted, variants)
        if not unknown:
            return onto, apart
        later, earlier = np.array(unknown, dtype=np.int64).T
        alike = same(later, earlier)
        doubted[later[~alike]] = True
        known.update(zip(unknown, alike.tolist(), strict=True))


def _walk(
    hashes: np.ndarray,
    distance: int,
    known: dict[tuple[int, int], bool],
    doubted: np.ndarray,
    variants: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """One walk, and the pairs that it would have had to know.

    doubted: (n,) bool, images that are not the same as one that they lay near.
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
        active = np.ones(len(block), dtype=bool)
        for i in np.flatnonzero(near.any(axis=1) | (before[:, 0] != _NONE)):
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
