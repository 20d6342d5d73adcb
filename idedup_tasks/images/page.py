"""The finer picture of a page: what is printed small on one is lost in its thumbnail.

Grey, orientation applied, transparency on white, short side at most 1,024 and long side at most
8,192, never enlarged, JPEG. Like the thumbnail, it is part of the collection's identity.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

FINE_SHORT_SIDE = 1024
FINE_LONG_SIDE = 8192
FINE_QUALITY = 85
# A thumbnail that shrank its page less shows as much of it as a look needs.
_SHRUNK = 1.5


def flat_share(grey: np.ndarray[Any, Any]) -> float:
    """Share of the pixels of a uint8 (height, width) that have one level, to eight of 256."""
    counts = np.bincount(grey.ravel(), minlength=256)
    return float(np.convolve(counts, np.ones(17), "same").max() / counts.sum())


def is_page_like(grey: np.ndarray[Any, Any]) -> bool:
    """Whether one level fills more than half of a thumbnail, uint8 (height, width)."""
    return flat_share(grey) > 0.5


def is_worth_finer(thumbnail: Image.Image, width: int, height: int) -> bool:
    """Whether a thumbnail, RGB, of a picture of this size is of a page and hides its print."""
    shrunk = min(width, height) / min(thumbnail.size)
    return shrunk > _SHRUNK and is_page_like(np.asarray(thumbnail.convert("L")))


def fine_size(width: int, height: int) -> tuple[int, int]:
    scale = min(FINE_SHORT_SIDE / min(width, height), FINE_LONG_SIDE / max(width, height), 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def write_fine(picture: Image.Image) -> bytes:
    """A grey picture of `fine_size` as the lake keeps it."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=FINE_QUALITY)
    return stream.getvalue()
