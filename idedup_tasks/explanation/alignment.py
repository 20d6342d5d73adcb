"""What two images have in common, from the similarity of their feature maps: a scale and a shift.

The second image is laid over the first at many scales and shifts; the best placement is the one
whose overlapping places look most alike. Only similarities are looked at: no key points, no
fitting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Sizes of the second image relative to the first, along each axis, in steps of about 1.19.
_SCALES = (2.0 ** np.arange(-1.5, 1.51, 0.25)).tolist()
# Most that the ratio of width to height may differ: an image stretched, or cut to another shape.
_STRETCH = 1.7
# A place speaks for a placement by how much its similarity exceeds this. Unrelated places of
# photographs have a cosine of about 0.1 on average, the same place after an edit 0.3 to 0.9.
_BASE = 0.25

# From this score on two images have a part in common. Of photographs set aside, unrelated pairs
# had at most 0.03, nine in ten crops to half the area 0.17 and more, to three tenths 0.05 and more.
COMMON = 0.05

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Alignment:
    """The best placement of one image over another.

    box_a, box_b: (left, top, right, bottom) of what both show, as shares of width and height of
    each. score: mean similarity over `_BASE` in the common part, times the geometric mean of the
    shares that this part has of both images.
    """

    box_a: Box
    box_b: Box
    score: float


def align(a: np.ndarray, b: np.ndarray) -> Alignment:
    """Find the scale and shift at which two feature maps agree best.

    Args:
        a, b: (rows, columns, dim) float32, unit vectors; both of one shape.
    """
    rows, columns, dim = a.shape
    similar = a.reshape(-1, dim) @ b.reshape(-1, dim).T
    gain = similar.reshape(rows, columns, rows, columns) - np.float32(_BASE)
    best = -np.inf
    for tall in _SCALES:
        shifts_y = _shifts(rows, tall)
        down = _places(rows, tall, shifts_y)
        for wide in _SCALES:
            if max(tall / wide, wide / tall) > _STRETCH:
                continue
            shifts_x = _shifts(columns, wide)
            across = _places(columns, wide, shifts_x)
            score = _mean_gain(gain, down, across)
            # The share of the first image that lies on the second; times the scales: the share of
            # the second that lies on the first.
            share = (down >= 0).mean(axis=1)[:, None] * (across >= 0).mean(axis=1)[None, :]
            score *= np.sqrt(np.minimum(share * tall * wide, 1) / np.maximum(share, 1e-9))
            y, x = np.unravel_index(int(score.argmax()), score.shape)
            if score[y, x] > best:
                best = float(score[y, x])
                vertical = _common(tall, float(shifts_y[y]))
                horizontal = _common(wide, float(shifts_x[x]))
    (left, right, left_b, right_b), (top, bottom, top_b, bottom_b) = horizontal, vertical
    return Alignment((left, top, right, bottom), (left_b, top_b, right_b, bottom_b), best)


def _shifts(count: int, scale: float) -> np.ndarray:
    """Shifts, half a place apart, at which at least a quarter of the smaller image overlaps."""
    most = (1 + scale) / 2 - 0.25 * min(1.0, scale)
    step = 0.5 / count * max(1.0, scale)
    steps = np.floor(most / step)
    return np.arange(-steps, steps + 1) * step


def _places(count: int, scale: float, shifts: np.ndarray) -> np.ndarray:
    """(shifts, count) int64: where each place of the first image falls on the second, or -1."""
    own = (np.arange(count) + 0.5) / count - 0.5
    there = own[None, :] * scale + 0.5 + shifts[:, None]
    index = np.floor(there * count).astype(np.int64)
    return np.where((index >= 0) & (index < count), index, -1)


def _mean_gain(gain: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(shifts down, shifts across) float32: the mean over all places of the first image, those
    that fall outside the second counting as 0."""
    rows, columns = gain.shape[:2]
    found = gain[
        np.arange(rows)[None, None, :, None],
        np.arange(columns)[None, None, None, :],
        down[:, None, :, None],
        across[None, :, None, :],
    ]
    inside = (down >= 0)[:, None, :, None] & (across >= 0)[None, :, None, :]
    means: np.ndarray = np.where(inside, found, 0).mean(axis=(2, 3))
    return means


def _common(scale: float, shift: float) -> tuple[float, float, float, float]:
    """Start and end of the overlap along one axis: on the first image, then on the second."""
    start, end = (((edge - 0.5 - shift) / scale) + 0.5 for edge in (0.0, 1.0))
    start, end = max(0.0, start), min(1.0, end)
    there = [(v - 0.5) * scale + 0.5 + shift for v in (start, end)]
    return start, end, max(0.0, there[0]), min(1.0, there[1])
