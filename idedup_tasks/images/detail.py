"""How many pixels the real detail of a picture needs, whatever it was enlarged to."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from idedup_tasks.images.thumbnail import THUMBNAIL_SHORT_SIDE

Array = np.ndarray[Any, Any]

_LINES, _SEGMENTS = 32, 6  # a direction
_BANDS, _BAND_SEGMENT = 8, 64  # of the height; pixels, of the smaller picture
_NOISE = 3.0  # deviation in levels of what is taken for noise or a codec's doing
_SHARE = 0.8

# Rows of a picture at full size, from one down to before another; None where they cannot be had.
Rows = Callable[[int, int], Image.Image | None]


def real_detail(picture: Image.Image, width: int, height: int, rows: Rows) -> float:
    """Megapixels that the real detail of a picture needs; 0.0 where it has no structure.

    Edges have the spectrum 1/f², so that the energy of their gradient is even over all frequencies,
    up to where the lens, a blur or an enlargement ends it. In each direction 32 lines are cut into
    six segments; those with structure (a flat ground or a frame has none) are averaged; even
    noise of 3 levels is taken off. The frequency below which 80 % of the gradient's energy
    lies, over 80 % of the highest there is, at most 1, is the share of that direction's pixels that
    the detail needs: a picture enlarged twice has half of it, so its original's pixels.

    It is measured where the codec of a JPEG would decode it for a thumbnail, at a short side of 512
    to 1,023 pixels, so that one picture has one measure in every format. What an original of more
    pixels has beyond that is measured on an eighth of its height, a sharp one near its upper edge:
    how much more detail it has at full size than in the smaller picture.

    The parts of a picture count by their area: what a frame or a collage adds is for whoever knows
    how two pictures overlap to take off again (`detail` times the overlapping share).

    Args:
        picture: as decoded, of a mode that converts to grey.
        width, height: pixels of the original, the same way round as `picture`.
        rows: gives some of it at full size; where it gives none, all pixels count.
    """
    levels = np.asarray(_measured(picture, width, height))
    needed = _detail(levels)
    if width * height <= 1.2 * levels.size or not needed:
        return needed
    start, end = _sharp_band(levels)
    there = _detail(levels[start:end], _BAND_SEGMENT)
    scale = height / len(levels)
    band = rows(round(start * scale), round(end * scale))
    if band is None or not there:
        return width * height / 1e6
    full = np.asarray(band if band.mode == "L" else band.convert("L"))
    more = _detail(full, round(_BAND_SEGMENT * scale)) / there
    return min(needed * max(more, 1.0), width * height / 1e6)


def _detail(levels: Array, segment: int = 0) -> float:
    across, down = _spectrum(levels, segment), _spectrum(levels.T, segment)
    if across is None or down is None:
        return 0.0
    return _needed(across) * _needed(down) * levels.size / 1e6


def _sharp_band(levels: Array) -> tuple[int, int]:
    """First row, and the one after the last, of the band with most sharpness for its cost: to have
    it at full size, all that lies above is decoded."""
    bounds = np.arange(_BANDS + 1) * len(levels) // _BANDS
    bends = np.diff(levels[:, ::2].astype(np.int16), n=2, axis=0)
    energy = np.add.reduceat(np.square(bends, dtype=np.int32).mean(axis=1), bounds[:-1])
    first = int(np.argmax(energy / np.arange(2, _BANDS + 2)))
    return int(bounds[first]), int(bounds[first + 1])


def _measured(picture: Image.Image, width: int, height: int) -> Image.Image:
    grey = picture if picture.mode == "L" else picture.convert("L")
    power = (min(width, height) // (2 * THUMBNAIL_SHORT_SIDE)).bit_length() - 1
    factor = 2 ** min(max(power, 0), 3)
    size = (-(-width // factor), -(-height // factor))
    if grey.width <= 1.2 * size[0]:
        return grey
    return grey.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _spectrum(levels: Array, length: int = 0) -> Array | None:
    """Energy by frequency, without the noise, of the segments with structure: at 1, 2, … cycles a
    segment, which is a sixth of a line unless told.
    """
    high, wide = levels.shape
    length = min(length, wide) or max(wide // _SEGMENTS, min(wide, 16))
    if length < 8:
        return None
    lines = (np.arange(0.5, _LINES) * (high / _LINES)).astype(int)
    parts = levels[lines, : wide // length * length].astype(np.float32).reshape(-1, length)
    window, weight = _window(length)
    parts -= (parts @ weight)[:, None]
    parts *= window  # adds up to the mean square of a segment
    waves = np.fft.rfft(parts, axis=1)[:, 1:]
    energy = waves.real**2 + waves.imag**2
    whole = energy.sum(axis=1)
    structured = whole >= max(16.0, 0.2 * float(np.sort(whole)[int(0.9 * len(whole))]))
    if not structured.any():
        return None
    mean = structured @ energy / np.count_nonzero(structured)
    real: Array = np.maximum(mean - 2 * _NOISE**2 / length, 0.0)
    return real


@lru_cache(maxsize=256)
def _window(length: int) -> tuple[Array, Array]:
    """Hann's, by which the ends of a segment weigh nothing, or each would be an edge; and weights
    for the mean of a segment under it."""
    window = np.hanning(length + 2)[1:-1]
    scaled = window * np.sqrt(2 / (length * (window @ window)))
    return scaled.astype(np.float32), (window / window.sum()).astype(np.float32)


def _needed(energy: Array) -> float:
    """Share of the pixels along a line."""
    gradient = np.cumsum(energy * np.arange(1.0, len(energy) + 1) ** 2)
    wanted = _SHARE * float(gradient[-1])
    if not wanted:
        return 1 / len(energy)
    last = int(np.searchsorted(gradient, wanted))
    before = float(gradient[last - 1]) if last else 0.0
    reached = last + 0.5 + (wanted - before) / (float(gradient[last]) - before)
    return min(1.0, reached / (_SHARE * len(energy)))
