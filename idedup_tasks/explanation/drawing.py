"""Two pictures that were looked at, drawn: where one lies on the other, and what differs there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from idedup_tasks.hashes import DIHEDRAL
from idedup_tasks.verification import Laid, Picture, lay

Array = np.ndarray[Any, Any]

#: How the second picture is changed to stand as the first does, in the order of `hashes.DIHEDRAL`.
TURNS = (
    "",
    "turned by 90° to the left",
    "turned upside down",
    "turned by 90° to the right",
    "mirrored",
    "flipped top to bottom",
    "mirrored and turned by 90° to the left",
    "mirrored and turned by 90° to the right",
)
# What each of them does to a point in shares of width and height.
_MOVES = tuple(
    np.array([[a, b, (1 - a - b) / 2], [c, d, (1 - c - d) / 2], [0.0, 0.0, 1.0]])
    for a, b, c, d in (
        (1, 0, 0, 1),
        (0, 1, -1, 0),
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    )
)
_ASIDE = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)
#: What differs: amber within black, which everybody tells from any ground by its lightness alone.
ACCENT = (255, 176, 0)
_EDGE, _PLACE, _BESIDE = (16, 16, 16), (255, 255, 255), (38, 42, 46)
# How much of what lies beside the other picture is taken away, and how strong what differs shines.
_DIMMED, _TINT = 0.72, 0.3
# From this share on a picture lies on the other as a whole, and no outline is drawn.
_WHOLE = 0.97
_GAP, _GROUND = 8, (128, 134, 140)


@dataclass(frozen=True)
class Pair:
    """Two pictures, the second standing as the first does.

    a, b: RGB; `b` is the second with `TURNS[turn]` done to it. transform: float64 (3, 3), from `a`
    to `b`, in shares of width and height; None where nothing says how they lie. laid: the two on
    one grid; None without a transform, or where too little overlaps.
    """

    a: Image.Image
    b: Image.Image
    turn: int
    transform: Array | None
    laid: Laid | None

    def marked(self, which: str, size: tuple[int, int]) -> Image.Image:
        """Picture `a` or `b`: what lies beside the other is dark, what differs is marked.

        Args:
            size: most width and height, in pixels; the picture is made to fit.
        """
        picture = ImageOps.contain(self.a if which == "a" else self.b, size)
        if self.transform is None or self.laid is None:
            return picture
        there = np.linalg.inv(self.transform) if which == "a" else self.transform
        shown = _within(there, picture.size)
        if np.asarray(shown).mean() < 255 * _WHOLE:
            _dim(picture, shown)
            _outline(picture, there)
        to_picture = self.laid.to_a if which == "a" else self.laid.to_b
        _mark(picture, Image.fromarray(self.laid.differs), to_picture)
        return picture

    def on_each_other(self, size: tuple[int, int]) -> Image.Image:
        """The second picture laid on the first one, which is grey and dark beside it.

        Args:
            size: as for `marked`.
        """
        first = ImageOps.contain(self.a, size)
        if self.transform is None or self.laid is None:
            return first
        there = np.linalg.inv(self.transform)
        shown = _within(there, first.size)
        picture = first.convert("L").convert("RGB")
        _dim(picture, shown)
        picture.paste(moved(self.b, there, first.size), (0, 0), shown)
        if np.asarray(shown).mean() < 255 * _WHOLE:
            _outline(picture, there)
        _mark(picture, Image.fromarray(self.laid.differs), self.laid.to_a)
        return picture

    def beside(self, side: int) -> Image.Image:
        """Both marked pictures beside each other, each within `side` pixels."""
        pictures = [self.marked(which, (side, side)) for which in "ab"]
        size = sum(p.width for p in pictures) + _GAP, max(p.height for p in pictures)
        both = Image.new("RGB", size, _GROUND)
        for picture, left in zip(pictures, (0, pictures[0].width + _GAP), strict=True):
            both.paste(picture, (left, (both.height - picture.height) // 2))
        return both


def draw(a: Picture, b: Picture, transform: Array | None) -> Pair:
    """Two pictures to be drawn as a look found them.

    Args:
        transform: the look's, from a to b in shares; None where it found no place for them.
    """
    if transform is None:
        return Pair(_shown(a), _shown(b), 0, None, None)
    turn = turn_of(transform)
    if turn:
        b = _turned(b, turn)
    transform = _MOVES[turn] @ transform
    return Pair(_shown(a), _shown(b), turn, transform, lay(a, b, transform))


def turn_of(transform: Array) -> int:
    """Which of `TURNS` makes a second picture stand as a first one does; said of the first, how it
    stands beside the second.

    Args:
        transform: (3, 3), from the first to the second.
    """
    return max(range(len(_MOVES)), key=lambda move: _stands(_MOVES[move] @ transform))


def moved(picture: Image.Image, transform: Array, size: tuple[int, int]) -> Image.Image:
    """A picture as it lies in a frame of so many pixels, black beside it.

    Args:
        transform: from shares of the picture to shares of the frame.
    """
    to_frame = (
        np.diag([*size, 1.0]) @ transform @ np.diag([1 / picture.width, 1 / picture.height, 1])
    )
    back = np.linalg.inv(to_frame)
    back /= back[2, 2]
    return picture.transform(
        size, Image.Transform.PERSPECTIVE, back.ravel()[:8].tolist(), Image.Resampling.BILINEAR
    )


def _within(there: Array, size: tuple[int, int]) -> Image.Image:
    """255 where the other picture lies in a frame; `there`: from its shares to the frame's."""
    return moved(Image.new("L", (64, 64), 255), there, size)


def _shown(picture: Picture) -> Image.Image:
    """The finer of what there is of a picture."""
    best = picture.pixels if picture.fine is None else picture.fine
    return Image.fromarray(best).convert("RGB")


def turned(image: Image.Image, turn: int) -> Image.Image:
    """An image with `TURNS[turn]` done to it."""
    way = DIHEDRAL[turn]
    return image if way is None else image.transpose(way)


def _turned(picture: Picture, turn: int) -> Picture:
    pixels, fine = (
        None if part is None else np.asarray(turned(Image.fromarray(part), turn))
        for part in (picture.pixels, picture.fine)
    )
    assert pixels is not None
    size = picture.width, picture.height
    width, height = size[::-1] if DIHEDRAL[turn] in _ASIDE else size
    return Picture(pixels, width=width, height=height, sha256=picture.sha256, fine=fine)


def _stands(transform: Array) -> float:
    """How upright a picture stands on another, at most 2."""
    linear = transform[:2, :2] - np.outer(transform[:2, 2], transform[2, :2])
    return float((linear.diagonal() / np.linalg.norm(linear, axis=1).clip(1e-9)).sum())


def _dim(picture: Image.Image, shown: Image.Image) -> None:
    """Darken a picture where `shown` is 0."""
    beside = Image.blend(picture, Image.new("RGB", picture.size, _BESIDE), _DIMMED)
    picture.paste(beside, (0, 0), ImageChops.invert(shown))


def _outline(picture: Image.Image, there: Array) -> None:
    """Draw the frame of the other picture; `there`: from its shares to this one's."""
    corners = np.array([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]) @ there.T
    points = corners[:, :2] / corners[:, 2:] * picture.size
    # A frame's own border is seen as well, so a little of it stays within the picture.
    points = points.clip(1, np.array(picture.size) - 2)
    line = [tuple(point) for point in (*points.tolist(), *points[:2].tolist())]
    pen, width = ImageDraw.Draw(picture), _line_width(picture)
    pen.line(line, _EDGE, width + 2, "curve")
    pen.line(line, _PLACE, width, "curve")


def _mark(picture: Image.Image, differs: Image.Image, to_picture: Array) -> None:
    """Outline and tint what differs: a mask on a grid, and from its shares to the picture's."""
    if differs.getbbox() is None:
        return
    width = _line_width(picture)
    # Neighbouring strokes become one region, and a single point one that can be seen.
    grid = _grown(differs, max(1.5, min(differs.size) / 80))
    region = moved(grid, to_picture, picture.size).point(_binary)
    region = _grown(region, 1.5 * width)
    tint = Image.blend(picture, Image.new("RGB", picture.size, ACCENT), _TINT)
    picture.paste(tint, (0, 0), region)
    line = ImageChops.subtract(_wider(region, width), region)
    edge = ImageChops.subtract(_wider(region, width + 1), _thinner(region))
    picture.paste(_EDGE, (0, 0), edge)
    picture.paste(ACCENT, (0, 0), line)


def _line_width(picture: Image.Image) -> int:
    return max(2, round(max(picture.size) / 160))


def _binary(level: float) -> int:
    return 255 if level > 127 else 0


def _grown(mask: Image.Image, radius: float) -> Image.Image:
    """A mask with all that lies within about `radius` pixels of it, rounded."""
    margin = int(3 * radius) + 1
    wide = ImageOps.expand(mask, margin, 0).filter(ImageFilter.GaussianBlur(radius))
    grown = wide.point(lambda level: 255 if level > 24 else 0)
    return ImageOps.crop(grown, margin)


def _wider(mask: Image.Image, pixels: int) -> Image.Image:
    return mask.filter(ImageFilter.MaxFilter(2 * pixels + 1))


def _thinner(mask: Image.Image) -> Image.Image:
    return mask.filter(ImageFilter.MinFilter(3))
