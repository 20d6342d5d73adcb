"""64-bit perceptual hashes, computed in batches, bit for bit those of the `imagehash` package.

A hash is a uint64 whose most significant bit is the first of the 8 x 8 bits in row-major order, so
that `f"{value:016x}"` equals `str(imagehash.phash(image))`.

phash: signs of the low frequencies of the discrete cosine transform about their median (Zauner,
"Implementation and benchmarking of perceptual image hash functions", 2010). dhash: whether each
point of an 8 x 9 miniature is brighter than its left neighbour. ahash: whether each point of an
8 x 8 miniature is brighter than their mean. whash: as phash, on the low band of a Haar wavelet
transform.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np
from PIL import Image

from idedup_tasks.settings import HashKind

_SIDE = 8
# Differences of frequencies, which go up to a million, that no way of summing them can turn round.
_SURE = 1e-6
_BATCH = 32  # images whose grey levels are held at once: 16 MiB for whash at scale 256

#: Columns of `dihedral_variants`: what is done to an image before it is hashed.
DIHEDRAL: tuple[Image.Transpose | None, ...] = (
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


def perceptual_hash(images: Sequence[Image.Image], kind: HashKind = "phash") -> np.ndarray:
    """Hash images of any size and mode: (n,) uint64.

    Raises ValueError for an unknown kind.
    """
    if kind not in get_args(HashKind):
        raise ValueError(
            f"{kind!r} is not a perceptual hash; choose one of {', '.join(get_args(HashKind))}."
        )
    bits = _BITS[kind]
    hashes = np.empty(len(images), dtype=np.uint64)
    for start in range(0, len(images), _BATCH):
        grey = [image.convert("L") for image in images[start : start + _BATCH]]
        for where, answers in bits(grey):
            packed = np.packbits(answers.reshape(len(answers), _SIDE * _SIDE), axis=1)
            hashes[start + where] = packed.view(">u8")[:, 0]
    return hashes


def dihedral_variants(images: Sequence[Image.Image], kind: HashKind = "phash") -> np.ndarray:
    """Hash the eight rotations and mirrors of each image: (n, 8) uint64, columns as `DIHEDRAL`.

    Column 0 is the image as it is.
    """
    grey = [image.convert("L") for image in images]
    columns = [
        perceptual_hash(
            [image if turn is None else image.transpose(turn) for image in grey],
            kind,
        )
        for turn in DIHEDRAL
    ]
    return np.stack(columns, axis=1)


# Each of these yields (indices (m,), bits (m, 8, 8) bool) that together cover the grey images; of
# two answers for one the later counts.
_Answers = Iterator[tuple[np.ndarray, np.ndarray]]


def _levels(grey: Sequence[Image.Image], width: int, height: int) -> np.ndarray:
    """The grey levels of images shrunk to one size: (n, height, width) uint8."""
    shrunk = [image.resize((width, height), Image.Resampling.LANCZOS) for image in grey]
    return np.stack([np.asarray(image) for image in shrunk])


def _phash(grey: Sequence[Image.Image]) -> _Answers:
    levels = _levels(grey, 4 * _SIDE, 4 * _SIDE)
    low = _COSINES @ levels @ _COSINES.T
    above = low - np.median(low, axis=(1, 2), keepdims=True)
    yield np.arange(len(grey)), above > 0
    # Where a frequency is the median, the last bit of a sum decides: imagehash's own, as it sums.
    [ties] = np.nonzero(np.abs(above).min(axis=(1, 2)) < _SURE)
    if len(ties):
        from scipy.fftpack import dct

        low = dct(dct(levels[ties], axis=1), axis=2)[:, :_SIDE, :_SIDE]
        yield ties, low > np.median(low, axis=(1, 2), keepdims=True)


def _cosines() -> np.ndarray:
    """The low frequencies of the discrete cosine transform of a line: (8, 32) float64."""
    points = np.arange(4 * _SIDE) + 0.5
    return 2 * np.cos(np.pi / (4 * _SIDE) * np.arange(_SIDE)[:, None] * points)


_COSINES = _cosines()


def _dhash(grey: Sequence[Image.Image]) -> _Answers:
    levels = _levels(grey, _SIDE + 1, _SIDE)
    yield np.arange(len(grey)), levels[:, :, 1:] > levels[:, :, :-1]


def _ahash(grey: Sequence[Image.Image]) -> _Answers:
    levels = _levels(grey, _SIDE, _SIDE)
    yield np.arange(len(grey)), levels > levels.mean(axis=(1, 2), keepdims=True)


def _whash(grey: Sequence[Image.Image]) -> _Answers:
    import pywt

    # The transform's scale is the greatest power of two within an image, at least 8.
    scales = np.array([max(1 << (min(image.size).bit_length() - 1), _SIDE) for image in grey])
    for scale in np.unique(scales):
        where = np.flatnonzero(scales == scale)
        depth = int(scale).bit_length() - 1
        levels = _levels([grey[index] for index in where.tolist()], int(scale), int(scale)) / 255.0
        bands = list(pywt.wavedec2(levels, "haar", level=depth, axes=(1, 2)))
        bands[0] = np.zeros_like(bands[0])  # brightness of the whole
        levels = pywt.waverec2(bands, "haar", axes=(1, 2))
        low = pywt.wavedec2(levels, "haar", level=depth - _SIDE.bit_length() + 1, axes=(1, 2))[0]
        yield where, low > np.median(low, axis=(1, 2), keepdims=True)


_BITS = {"phash": _phash, "dhash": _dhash, "ahash": _ahash, "whash": _whash}
