"""Where one picture lies in another as it is: cut out, shrunk, mirrored, but not turned.

Most parts of pictures are such crops, and sliding one over the other at a few sizes costs a
fraction of what local features do, which are asked where this finds nothing.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from idedup_tasks.verification import geometry
from idedup_tasks.verification.picture import Picture

Array = np.ndarray[Any, Any]

# Sizes at which a part is tried: the largest that fits, each next one so much smaller, down to that
# share of it, and to so many pixels of the shorter side.
_STEP, _SMALLEST, _FEWEST = 1.1, 0.35, 8
# Correlation from which it is worth a closer look.
_LIKELY = 0.8


def crop(a: Picture, b: Picture) -> Array | None:
    """The likeliest way in which one of two pictures is a crop of the other.

    Returns:
        float64 (3, 3), from a to b in shares, good to a few hundredths; None where none is likely.
    """
    found: tuple[float, Array, bool] = (_LIKELY, np.eye(3), True)
    for part, whole, forward in ((a, b, True), (b, a, False)):
        correlation, transform = _slid(part, whole)
        if correlation > found[0]:
            found = (correlation, transform, forward)
    correlation, transform, forward = found
    if correlation <= _LIKELY:
        return None
    return transform if forward else geometry.inverse(transform)


def _slid(part: Picture, whole: Picture) -> tuple[float, Array]:
    """The best place of a part in a whole: correlation, and transform from part to whole."""
    ground = whole.small
    high, wide = ground.shape
    height, width = part.small.shape
    best, at = 0.0, (0.0, 0.0, 1.0, 1.0, False)
    zoom = min(wide / width, high / height)
    least = max(zoom * _SMALLEST, _FEWEST / min(width, height))
    sizes: list[tuple[int, int]] = []
    while zoom >= least:
        sizes.append((max(1, round(width * zoom)), max(1, round(height * zoom))))
        zoom /= _STEP
    for size in sizes:
        shrunk = cv2.resize(part.small, size, interpolation=cv2.INTER_AREA)
        for mirrored in (False, True):
            piece = cv2.flip(shrunk, 1) if mirrored else shrunk
            alike = cv2.matchTemplate(ground, piece, cv2.TM_CCOEFF_NORMED)
            _, highest, _, (left, top) = cv2.minMaxLoc(alike)
            if math.isfinite(highest) and highest > best:
                best = highest
                at = (left / wide, top / high, size[0] / wide, size[1] / high, mirrored)
    left, top, across, down, mirrored = at
    transform = np.array([[across, 0, left], [0, down, top], [0, 0, 1.0]])
    return best, transform @ geometry.FRAMES[1] if mirrored else transform
