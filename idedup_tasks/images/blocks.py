"""Whether a picture was decoded from a JPEG, whatever it was stored as since."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

_SIDE = 256  # pixels in the middle that are asked
_CERTAIN = 5.0  # deviations; of pictures that never were a JPEG hardly one reaches 4
_BLOCKS = 400  # fewer have larger deviations by chance, as means have: more is asked

# The highest three frequencies of the cosine transform of 8 pixels (ISO/IEC 10918-1, A.3.3).
_HIGHEST = np.cos(np.outer(np.arange(5, 8), np.arange(1, 16, 2)) * np.pi / 16) / 2
_HIGHEST = _HIGHEST.astype(np.float32)
_ROUNDING = 0.02  # energy that is as good as none: of levels rounded to whole numbers


def was_jpeg(picture: Image.Image) -> bool:
    """Whether a picture at full size lies in the blocks of 8 x 8 pixels that a JPEG has.

    A codec that rounds frequencies leaves next to nothing of the highest in its own blocks, and in
    blocks that lie otherwise what the seams between its own have of them. So their energy, a
    logarithm, is compared over the 64 ways to lay blocks: the least of them lies below the median
    by more than five times what they deviate. It survives changes of brightness and colour, mirrors
    and crops, but no change of size; other codecs have blocks of 8 x 8 pixels as well.
    """
    left, top = (max(0, (side - _SIDE) // 2) for side in picture.size)
    right, low = min(left + _SIDE, picture.width), min(top + _SIDE, picture.height)
    levels = np.asarray(picture.crop((left, top, right, low)).convert("L"), np.float32)
    high, wide = ((side - 8) // 8 for side in levels.shape)
    if min(high, wide) < 4:
        return False
    rows = 8 * high
    energy = np.empty((8, 8))
    for x in range(8):
        across = levels[:, x : x + 8 * wide].reshape(len(levels), wide, 8) @ _HIGHEST.T
        total = np.zeros(rows)
        for frequency in _HIGHEST:
            both = sum(w * across[y : y + rows] for y, w in enumerate(frequency))
            total += np.log(np.square(both) + _ROUNDING).mean(axis=(1, 2))
        energy[:, x] = total.reshape(high, 8).mean(axis=0)
    middle = np.median(energy)
    deviation = np.median(np.abs(energy - middle)) + _ROUNDING
    certain = _CERTAIN * max(1.0, math.sqrt(_BLOCKS / (high * wide)))
    return bool(middle - energy.min() > certain * deviation)
