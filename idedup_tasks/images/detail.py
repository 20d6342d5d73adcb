"""How many pixels the real detail of a picture needs, whatever it was enlarged to."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from idedup_tasks.images.thumbnail import THUMBNAIL_SHORT_SIDE

Array = np.ndarray[Any, Any]

_LINES, _SEGMENTS = 32, 6  # a direction
_NOISE = 3.0  # deviation in levels of what is taken for noise or a codec's doing
_SHARE = 0.8
_ALIVE = 0.15


def real_detail(picture: Image.Image, width: int, height: int) -> float:
    """Megapixels that the real detail of a picture needs; 0.0 where it has no structure.

    Edges have the spectrum 1/f², so that the energy of their gradient is even over all frequencies,
    up to where the lens, a blur or an enlargement ends it. In each direction 32 lines are cut into
    six segments; those with structure (a flat ground or a frame has none) are averaged; even
    noise of 3 levels is taken off. The frequency below which 80 % of the gradient's energy
    lies, over 80 % of the highest there is, at most 1, is the share of that direction's pixels that
    the detail needs: a picture enlarged twice has half of it, so its original's pixels.

    It is measured where the codec of a JPEG would decode it for a thumbnail, at a short side of 512
    to 1,023 pixels, so that one picture has one measure in every format. Where that smaller
    picture has detail up to its own highest frequencies, all of the original's pixels count: how
    far an original of more pixels was enlarged is not seen.

    The parts of a picture count by their area: what a frame or a collage adds is for whoever knows
    how two pictures overlap to take off again (`detail` times the overlapping share).

    Args:
        picture: as decoded, of a mode that converts to grey.
        width, height: pixels of the original, the same way round as `picture`.
    """
    levels = np.asarray(_measured(picture, width, height))
    across, down = _spectrum(levels), _spectrum(levels.T)
    if across is None or down is None:
        return 0.0
    if width * height > 1.2 * levels.size and _alive(across) and _alive(down):
        return width * height / 1e6
    return _needed(across) * _needed(down) * levels.size / 1e6


def _measured(picture: Image.Image, width: int, height: int) -> Image.Image:
    grey = picture if picture.mode == "L" else picture.convert("L")
    power = (min(width, height) // (2 * THUMBNAIL_SHORT_SIDE)).bit_length() - 1
    factor = 2 ** min(max(power, 0), 3)
    size = (-(-width // factor), -(-height // factor))
    if grey.width <= 1.2 * size[0]:
        return grey
    return grey.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _spectrum(levels: Array) -> Array | None:
    """Energy by frequency, without the noise, of the segments with structure: at 1, 2, … cycles a
    segment.
    """
    high, wide = levels.shape
    length = max(wide // _SEGMENTS, min(wide, 16))
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


def _gradient(energy: Array) -> Array:
    gradient: Array = energy * np.arange(1.0, len(energy) + 1) ** 2
    return gradient


def _needed(energy: Array) -> float:
    """Share of the pixels along a line."""
    gradient = np.cumsum(_gradient(energy))
    wanted = _SHARE * float(gradient[-1])
    if not wanted:
        return 1 / len(energy)
    last = int(np.searchsorted(gradient, wanted))
    before = float(gradient[last - 1]) if last else 0.0
    reached = last + 0.5 + (wanted - before) / (float(gradient[last]) - before)
    return min(1.0, reached / (_SHARE * len(energy)))


def _alive(energy: Array) -> bool:
    """Whether the gradient goes on to the highest frequencies, where an enlarged one has none."""
    gradient, count = _gradient(energy), len(energy)
    low, high = gradient[: count // 2], gradient[int(0.7 * count) :]
    return bool(high.mean() > _ALIVE * low.mean())
