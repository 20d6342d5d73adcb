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
_STEP, _SMALLEST, _FEWEST = 1.12, 0.35, 8
# Correlation from which it is worth a closer look.
_LIKELY = 0.86


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
    best = 0.0
    left, top, across, down, mirrored = 0.0, 0.0, 1.0, 1.0, False
    zoom = min(wide / width, high / height)
    least = max(zoom * _SMALLEST, _FEWEST / min(width, height))
    tried = math.floor(math.log(max(zoom / least, 1.0)) / math.log(_STEP)) + 1
    for share in zoom / _STEP ** np.arange(tried):
        size = max(1, round(width * share)), max(1, round(height * share))
        shrunk = cv2.resize(part.small, size, interpolation=cv2.INTER_AREA)
        for flipped in (False, True):
            piece = cv2.flip(shrunk, 1) if flipped else shrunk
            alike = cv2.matchTemplate(ground, piece, cv2.TM_CCOEFF_NORMED)
            _, highest, _, (column, row) = cv2.minMaxLoc(alike)
            if math.isfinite(highest) and highest > best:
                best, mirrored = highest, flipped
                left, top, across, down = column / wide, row / high, size[0] / wide, size[1] / high
    transform = np.array([[across, 0, left], [0, down, top], [0, 0, 1.0]])
    return best, transform @ geometry.FRAMES[1] if mirrored else transform
