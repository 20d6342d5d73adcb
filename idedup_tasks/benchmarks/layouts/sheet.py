"""What pictures of one layout have in common, and a sheet to draw them on.

A `Look` is one app, one shop, one house style: colours, typefaces, a language, and a seed from
which a family takes whatever else its pictures share. What a picture says comes from a generator of
its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from idedup_tasks.benchmarks.layouts import words

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
#: A photograph, or something like one, that a generator chooses.
Photographs = Callable[[np.random.Generator], Image.Image]

#: Regular and bold file of each typeface, in matplotlib's folder; none: the font of Pillow.
FACES: tuple[tuple[str, str] | None, ...] = (
    ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),
    ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    ("STIXGeneral.ttf", "STIXGeneralBol.ttf"),
    None,
)
MONO = FACES[2]


@dataclass(frozen=True)
class Look:
    """What all pictures of one layout share.

    face: see `FACES`. language: a key of `words.LANGUAGES`. paper, ink, soft, accent: colours of
    the ground, of text, of side remarks, and of what stands out; ink is readable on paper, and
    white on accent. photographs: where pictures within the picture come from.
    """

    seed: int
    face: tuple[str, str] | None
    language: str
    paper: Colour
    ink: Colour
    soft: Colour
    accent: Colour
    photographs: Photographs

    def choices(self) -> np.random.Generator:
        """The same generator at each call: what is drawn from it is part of the layout."""
        return np.random.default_rng([self.seed, 1])


def draw_look(seed: int, photographs: Photographs) -> Look:
    """A layout at random: two of three on light paper, one of three not in English."""
    rng = np.random.default_rng([seed, 0])
    language = "en" if rng.random() < 0.6 else str(rng.choice(list(words.LANGUAGES)))
    faces = FACES if language == "en" else FACES[:4]  # Pillow's own has no other letters
    face = faces[int(rng.integers(len(faces)))]
    hue = rng.random()
    if rng.random() < 0.67:
        paper = hsv(rng.random(), rng.choice([0, 0, 0.03, 0.1]), rng.uniform(0.93, 1))
        ink, soft = hsv(hue, 0.3, rng.uniform(0.08, 0.25)), hsv(hue, 0.12, 0.5)
    else:
        paper = hsv(hue, rng.uniform(0, 0.4), rng.uniform(0.08, 0.2))
        ink, soft = hsv(hue, 0.04, rng.uniform(0.85, 0.98)), hsv(hue, 0.1, 0.62)
    accent = hsv(rng.random(), rng.uniform(0.5, 0.95), rng.uniform(0.4, 0.7))
    return Look(seed, face, language, paper, ink, soft, accent, photographs)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour by hue, saturation and value, each of [0, 1]."""
    k = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    share = value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))
    red, green, blue = (round(255 * float(part)) for part in share)
    return red, green, blue


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other colour in the one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def check_fonts() -> None:
    """Raise FileNotFoundError where matplotlib, whose fonts are used, is not installed."""
    for face in FACES:
        _file(face, bold=False)


def _file(face: tuple[str, str] | None, bold: bool) -> Path | None:
    if face is None:
        return None
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("layouts are drawn with matplotlib's fonts: pip install matplotlib")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / face[bold]


@cache
def font(face: tuple[str, str] | None, size: int, bold: bool = False) -> Font:
    """A typeface at a size in pixels; the font of Pillow has no bold one."""
    file = _file(face, bold)
    if file is None:
        return ImageFont.load_default(size)
    # Without Raqm, so that a machine that lacks it draws the same.
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


class Sheet:
    """An RGB picture being drawn in the typeface of a look."""

    def __init__(self, look: Look, width: int, height: int, paper: Colour | None = None) -> None:
        self.look = look
        self.image = Image.new("RGB", (width, height), paper or look.paper)
        self.draw = ImageDraw.Draw(self.image)
        self.face = look.face

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int,
        fill: Colour | None = None,
        anchor: str = "la",
        bold: bool = False,
    ) -> None:
        """A line of text in ink, or another colour; anchors are those of Pillow."""
        ink = fill or self.look.ink
        self.draw.text((x, y), text, fill=ink, font=font(self.face, size, bold), anchor=anchor)

    def length(self, text: str, size: int, bold: bool = False) -> float:
        """How wide a line is, in pixels."""
        return self.draw.textlength(text, font=font(self.face, size, bold))

    def wrapped(self, text: str, size: int, width: float, bold: bool = False) -> list[str]:
        """The text in lines that are no wider than `width`, where words are not."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and self.length(longer, size, bold) > width:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines

    def paragraph(
        self,
        x: float,
        y: float,
        text: str,
        size: int,
        width: float,
        *,
        fill: Colour | None = None,
        bottom: float = float("inf"),
        leading: float = 1.35,
        bold: bool = False,
    ) -> float:
        """Lines from y down as long as they end above `bottom`; where the next one would begin."""
        for line in self.wrapped(text, size, width, bold):
            if y + size * leading > bottom:
                break
            self.text(x, y, line, size, fill, bold=bold)
            y += size * leading
        return y

    def fitted(
        self, x: float, y: float, text: str, size: int, width: float, **options: object
    ) -> None:
        """A line cut off, with dots, where it would be wider than `width`."""
        if self.length(text, size) > width:
            while text and self.length(f"{text}...", size) > width:
                text = text[:-1]
            text = f"{text.rstrip()}..."
        self.text(x, y, text, size, **options)  # type: ignore[arg-type]

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: Colour | None = None,
        *,
        outline: Colour | None = None,
        radius: float = 0,
        line: int = 1,
    ) -> None:
        """A rectangle by corner and size, its corners rounded or not."""
        self.draw.rounded_rectangle(
            (x, y, x + width, y + height), radius, fill=fill, outline=outline, width=line
        )

    def rule(
        self, x: float, y: float, to_x: float, to_y: float, fill: Colour, line: int = 1
    ) -> None:
        """A straight line."""
        self.draw.line([(x, y), (to_x, to_y)], fill=fill, width=line)

    def picture(self, x: int, y: int, width: int, height: int, photograph: Image.Image) -> None:
        """A photograph, cut to fill a rectangle."""
        self.image.paste(filling(photograph, width, height), (x, y))


def filling(photograph: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of a photograph, in exactly that size."""
    scale = max(width / photograph.width, height / photograph.height)
    wide, high = width / scale, height / scale
    left, top = (photograph.width - wide) / 2, (photograph.height - high) / 2
    window = (left, top, left + wide, top + high)
    return photograph.resize((width, height), Image.Resampling.BICUBIC, box=window)


def scene(rng: np.random.Generator) -> Image.Image:
    """Something like a photograph, 640 x 480: sky, hills, a few things on them, light and grain."""
    width, height = 640, 480
    hue, light = rng.random(), rng.uniform(0.35, 1)
    up = np.linspace(0, 1, height)[:, None, None]
    top, low = (np.array(hsv(hue + d, rng.uniform(0.1, 0.6), light)) for d in (0, 0.08))
    canvas = Image.fromarray(
        np.broadcast_to(top + (low - top) * up, (height, width, 3)).astype(np.uint8)
    )
    draw = ImageDraw.Draw(canvas)
    across = np.arange(0, width + 8, 8)
    for depth in range(int(rng.integers(2, 5))):
        phase, wave = rng.uniform(0, 6.3, 3), rng.uniform(1, 7, 3)
        ridge = np.sin(across[:, None] / width * wave + phase).sum(1) * rng.uniform(8, 38)
        base = height * (0.4 + 0.14 * depth) + rng.uniform(-25, 25)
        points = list(zip(across.tolist(), (base + ridge).tolist(), strict=True))
        colour = hsv(rng.random(), rng.uniform(0.15, 0.7), light * rng.uniform(0.25, 0.8))
        draw.polygon([(0, height), *points, (width, height)], fill=colour)
    for _ in range(int(rng.integers(2, 9))):
        x, y = rng.uniform(0, width), rng.uniform(height * 0.15, height * 0.85)
        wide, high = rng.uniform(15, 150, 2)
        colour = hsv(rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.2, 1))
        shape = (draw.ellipse, draw.rectangle)[int(rng.integers(2))]
        shape((x, y, x + wide, y + high), fill=colour)
    coarse = rng.normal(0, 9, (12, 16)).astype(np.float32)
    shade = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    grain = rng.normal(0, 5, (height, width)).astype(np.float32)
    pixels = np.asarray(canvas, np.float32) + (shade + grain)[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
