"""What a look needs of one image, each part computed once, when it is first asked for."""

from __future__ import annotations

import hashlib
import io
import math
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from PIL import Image

from idedup_tasks.images import flat_share, is_page_like
from idedup_tasks.verification.features import Features

Array = np.ndarray[Any, Any]

#: Side of the squares on which frames are laid over each other.
COARSE, MIDDLE, CLOSE, FINE = 32, 64, 128, 384
#: Pixels of the pictures that are slid over each other.
SMALL = 800


class Picture:
    """A picture to be looked at, with what was computed of it for the looks before.

    Keep the object as long as its image has candidates: a second look at the same picture costs a
    fraction of the first. Not for two threads at once.

    Attributes:
        pixels: uint8 (height, width, 3), RGB, upright: a thumbnail, or whatever is to be seen.
        width, height: pixels of the original, which tell how much detail stands behind `pixels`.
        sha256: hex digest of the original's bytes; without it, of the pixels.
    """

    def __init__(
        self,
        pixels: Array,
        *,
        width: int | None = None,
        height: int | None = None,
        sha256: str | None = None,
        fine: Array | bytes | None = None,
    ) -> None:
        """`fine`: see there; as pixels, or as the bytes of a JPEG, read when it is asked for."""
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise ValueError(
                f"A picture has the shape (height, width, 3) in uint8, not {pixels.shape} in "
                f"{pixels.dtype}."
            )
        self.pixels = np.ascontiguousarray(pixels)
        self.width = width or pixels.shape[1]
        self.height = height or pixels.shape[0]
        self.sha256 = (
            sha256 or hashlib.sha256(str(pixels.shape).encode() + self.pixels.tobytes()).hexdigest()
        )
        self._fine = fine

    @classmethod
    def of_thumbnail(
        cls,
        thumbnail: bytes,
        *,
        width: int,
        height: int,
        sha256: str,
        fine: bytes | None = None,
    ) -> Picture:
        """From the JPEG bytes that a collection stores; `fine`: of its larger grey one."""
        with Image.open(io.BytesIO(thumbnail), formats=["JPEG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
        return cls(pixels, width=width, height=height, sha256=sha256, fine=fine)

    @cached_property
    def fine(self) -> Array | None:
        """uint8 (height, width) grey, larger than `pixels`, or None: of page-like pictures, which a
        thumbnail does not show enough of."""
        if not isinstance(self._fine, bytes):
            return self._fine
        with Image.open(io.BytesIO(self._fine), formats=["JPEG"]) as image:
            return np.asarray(image.convert("L"))

    @cached_property
    def fine_square(self) -> Array:
        """float32 (FINE, FINE): the finer picture without its proportions, a little blurred."""
        assert self.fine is not None
        square = cv2.resize(self.fine, (FINE, FINE), interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(square.astype(np.float32), (0, 0), 0.8)

    @cached_property
    def grey(self) -> Array:
        """uint8 (height, width): luminance."""
        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY))

    @cached_property
    def _flat(self) -> float:
        return flat_share(self.grey)

    @cached_property
    def is_page(self) -> bool:
        """Whether it is page-like: see `images.is_page_like`."""
        return is_page_like(self.grey)

    @cached_property
    def has_fine_print(self) -> bool:
        """Whether it is a page of thin strokes, or of little else than its ground.

        Strokes are what closing and opening by 5 x 5 pixels take away, in deviations.
        """
        if not self.is_page:
            return False
        kernel = np.ones((5, 5), np.uint8)
        dark = cv2.subtract(cv2.morphologyEx(self.grey, cv2.MORPH_CLOSE, kernel), self.grey)
        light = cv2.subtract(self.grey, cv2.morphologyEx(self.grey, cv2.MORPH_OPEN, kernel))
        strokes = (float(dark.mean()) + float(light.mean())) / max(float(self.grey.std()), 1.0)
        return self._flat > 0.75 or strokes > 0.35

    @cached_property
    def _squares(self) -> dict[int, Array]:
        close = cv2.resize(self.grey, (CLOSE, CLOSE), interpolation=_way(self.grey, CLOSE))
        squares: dict[int, Array] = {CLOSE: close.astype(np.float32)}
        for side in (MIDDLE, COARSE):
            squares[side] = cv2.resize(squares[CLOSE], (side, side), interpolation=cv2.INTER_AREA)
        return squares

    def square(self, side: int) -> Array:
        """float32 (side, side): the grey picture without its proportions."""
        return self._squares[side]

    @cached_property
    def contrast(self) -> float:
        """Deviation in levels of the coarse square."""
        return float(self.square(COARSE).std())

    @cached_property
    def frames(self) -> Array:
        """float32 (8, 1024): the coarse square laid in the ways of `geometry.FRAMES`, unit norm."""
        square = self.square(COARSE)
        square = square - square.mean()
        square /= max(float(np.linalg.norm(square)), 1e-6)
        turned = square.T
        ways = [
            square,
            square[:, ::-1],
            square[::-1],
            square[::-1, ::-1],
            turned,
            turned[:, ::-1],
            turned[::-1],
            turned[::-1, ::-1],
        ]
        return np.stack([way.ravel() for way in ways])

    @cached_property
    def small(self) -> Array:
        """uint8 (height, width): the grey picture at `SMALL` pixels, in its proportions."""
        height, width = self.grey.shape
        shrink = math.sqrt(SMALL / (height * width))
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        return np.asarray(cv2.resize(self.grey, size, interpolation=cv2.INTER_AREA))

    @cached_property
    def features(self) -> Features:
        """Local features of the grey picture."""
        return Features.of(self.grey)


def _way(picture: Array, side: int) -> int:
    """INTER_AREA only shrinks; enlarged by it, a picture has steps."""
    return cv2.INTER_AREA if min(picture.shape) >= side else cv2.INTER_LINEAR
