"""Which images collapse onto which earlier one: pure functions over images in order of arrival."""

from __future__ import annotations

import faiss
import numpy as np

# Within a block all are compared with all by plain XOR; between blocks, FAISS finds the active
# images near by. Small enough for the first to stay cheap.
BLOCK = 1_024
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


def collapse_perceptual(
    hashes: np.ndarray, distance: int, variants: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Walk images in order; each collapses onto the nearest earlier active one, or becomes active.

    Only an image that is active itself can be collapsed onto, so that no chain leads from an image
    to one that it does not resemble. The outcome depends on the set of images alone.

    Args:
        hashes: (n,) uint64 in order of (arrived_at, key).
        distance: largest Hamming distance, in bits, at which an image collapses.
        variants: (n, 8) uint64, the hashes of each image's rotations and mirrors: those of the
            later image are compared with the earlier one's own hash.

    Returns:
        (n,) int64: position of the active image collapsed onto (smallest distance, then earliest),
        or -1 for an active image; (n,) int64: that distance, 0 for an active image.
    """
    n = len(hashes)
    onto = np.full(n, -1, dtype=np.int64)
    apart = np.zeros(n, dtype=np.int64)
    queries = hashes[:, None] if variants is None else variants
    index = _ActiveHashes(distance)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        block, asked = hashes[start:stop], queries[start:stop]
        # Nearest as one number: distance in the high bits, position in the low ones, so that the
        # minimum is the nearest and, of equally near ones, the earliest.
        nearest = index.nearest(asked)
        bits = np.bitwise_count(asked[:, None, :] ^ block[None, :, None]).min(axis=2)
        near = np.tril(bits <= distance, -1)  # rows: the later image, columns: the earlier
        for i in np.flatnonzero(near.any(axis=0)):
            if nearest[i] == _NONE:  # no earlier active image is near it: it is active itself
                later = np.flatnonzero(near[:, i])
                found = bits[later, i].astype(np.int64) << 32 | (start + i)
                nearest[later] = np.minimum(nearest[later], found)
        active = np.flatnonzero(nearest == _NONE)
        index.add(block[active], start + active)
        collapsed = np.flatnonzero(nearest != _NONE)
        onto[start + collapsed] = nearest[collapsed] & 0xFFFFFFFF
        apart[start + collapsed] = nearest[collapsed] >> 32
    return onto, apart


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

    def add(self, hashes: np.ndarray, positions: np.ndarray) -> None:
        self._index.add(hashes.view(np.uint8).reshape(-1, 8))
        self._positions.append(positions)

    def nearest(self, asked: np.ndarray) -> np.ndarray:
        """(m,) int64 for (m, k) uint64 queries: the best `distance << 32 | position`, or _NONE."""
        nearest = np.full(len(asked), _NONE, dtype=np.int64)
        if not self._index.ntotal:
            return nearest
        codes = np.ascontiguousarray(asked).view(np.uint8).reshape(-1, 8)
        limits, distances, found = self._index.range_search(codes, self._distance + 1)
        if len(found):
            rows = np.repeat(np.arange(len(codes)) // asked.shape[1], np.diff(limits.astype(int)))
            self._positions = [np.concatenate(self._positions)]
            positions = self._positions[0][found]
            np.minimum.at(nearest, rows, (distances.astype(np.int64) << 32) | positions)
        return nearest
