"""Edits that people make to photographs, for calibration and benchmarks; never for learning.

Each takes an RGB photograph of at least 16 pixels a side, a random generator and a function that
opens an unrelated photograph, and returns the copy. They share no code with the views learnt from,
so that a mistake there cannot hide here.

`CROPS_AND_JPEGS` are those of INRIA Copydays (Douze et al., Evaluation of GIST descriptors for
web-scale image search, 2009); `STRONG` stand for its "strong" ones, which were made by hand.
"""

import io
import string
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Other = Callable[[], Image.Image]
Edit = Callable[[Image.Image, np.random.Generator, Other], Image.Image]


def crop(removed: float) -> Edit:
    """Keep a random window of the photograph's proportions, `removed` of its area cut away."""

    def edit(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
        scale = np.sqrt(1 - removed)
        width, height = int(image.width * scale), int(image.height * scale)
        left = int(rng.integers(0, image.width - width + 1))
        top = int(rng.integers(0, image.height - height + 1))
        return image.crop((left, top, left + width, top + height))

    return edit


def compress(quality: int) -> Edit:
    """A sixteenth of the pixels, then JPEG of the given quality."""

    def edit(image: Image.Image, rng: np.random.Generator, other: Other) -> Image.Image:
        return jpeg(shrink(image, rng, other), quality)

    return edit


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image as JPEG of the given quality has it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def shrink(image: Image.Image, _: np.random.Generator, __: Other) -> Image.Image:
    """A sixteenth of the pixels."""
    return image.resize((max(8, image.width // 4), max(8, image.height // 4)))


def stretch(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
    """Another aspect ratio, by up to 1.6."""
    factor = float(np.exp(rng.uniform(-0.47, 0.47)))
    return image.resize((max(8, int(image.width * factor)), image.height))


def mirror(image: Image.Image, _: np.random.Generator, __: Other) -> Image.Image:
    """Left and right exchanged."""
    return ImageOps.mirror(image)


def quarter_turn(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
    """Turned by 90, 180 or 270 degrees."""
    return image.rotate(90 * int(rng.integers(1, 4)), expand=True)


def rotate(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
    """Turned by 3 to 15 degrees, on a black or white canvas of the same or a larger size."""
    angle = float(rng.uniform(3, 15) * rng.choice([-1, 1]))
    colour = (255, 255, 255) if rng.random() < 0.5 else (0, 0, 0)
    return image.rotate(
        angle, Image.Resampling.BICUBIC, expand=bool(rng.random() < 0.5), fillcolor=colour
    )


def overlay(image: Image.Image, rng: np.random.Generator, other: Other) -> Image.Image:
    """An unrelated picture pasted over a tenth to a quarter of the area."""
    scale = float(np.sqrt(rng.uniform(0.1, 0.25)))
    size = (int(image.width * scale), int(image.height * scale))
    copy = image.copy()
    left = int(rng.integers(0, image.width - size[0]))
    copy.paste(other().resize(size), (left, int(rng.integers(0, image.height - size[1]))))
    return copy


def caption(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
    """Two lines of text across the picture."""
    copy = image.copy()
    draw = ImageDraw.Draw(copy)
    font = ImageFont.load_default(float(max(8, image.height * rng.uniform(0.09, 0.15))))
    letters = np.array(list(string.ascii_uppercase))
    for y in rng.uniform(0.02, 0.8, 2):
        words = " ".join("".join(rng.choice(letters, rng.integers(2, 8))) for _ in range(4))
        at = (0.03 * image.width, float(y) * image.height)
        draw.text(at, words, "white", font, stroke_width=1, stroke_fill="black")
    return copy


def border(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
    """A plain frame of 4 to 12 % of the width."""
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    return ImageOps.expand(image, int(image.width * rng.uniform(0.04, 0.12)), colour)


def blur(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
    """Gaussian blur of radius 1 to 3 % of the width."""
    return image.filter(ImageFilter.GaussianBlur(image.width * rng.uniform(0.01, 0.03)))


def noise(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
    """Gaussian noise of standard deviation 15 to 40."""
    pixels = np.asarray(image, np.float32)
    pixels = pixels + rng.uniform(15, 40) * rng.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def recolour(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
    """Brightness, contrast, saturation and the balance of the channels changed together."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(0.6, 1.4)))
    pixels = np.asarray(image, np.float32) * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def grey(image: Image.Image, _: np.random.Generator, __: Other) -> Image.Image:
    """No colour."""
    return image.convert("L").convert("RGB")


def screenshot(image: Image.Image, rng: np.random.Generator, _: Other) -> Image.Image:
    """Shown in a window: margins around, a title bar above, a line of text below."""
    margin = int(image.width * rng.uniform(0.03, 0.15))
    bar = int(image.height * rng.uniform(0.06, 0.12))
    size = (image.width + 2 * margin, image.height + 3 * bar)
    frame = Image.new("RGB", size, "white" if rng.random() < 0.5 else (32, 33, 36))
    draw = ImageDraw.Draw(frame)
    draw.rectangle((0, 0, size[0], bar - 1), tuple(int(c) for c in rng.integers(0, 256, 3)))
    frame.paste(image, (margin, bar + bar // 2))
    font = ImageFont.load_default(float(max(8, bar * 0.7)))
    draw.text((margin, size[1] - bar * 1.2), "1,024 likes · share", (128, 128, 128), font)
    return frame


def combined(count: int) -> Edit:
    """So many different edits, one after the other, then JPEG 30."""

    def edit(image: Image.Image, rng: np.random.Generator, other: Other) -> Image.Image:
        for i in sorted(rng.permutation(len(COMBINED))[:count]):
            image = COMBINED[i](image, rng, other)
        return jpeg(image, 30)

    return edit


COMBINED: list[Edit] = [
    *(crop(0.3), mirror, quarter_turn, rotate, overlay, caption),
    *(border, blur, noise, recolour, grey, screenshot),
]

CROPS_AND_JPEGS: dict[str, Edit] = {
    **{
        f"crop {percent} %": crop(percent / 100) for percent in (10, 15, 20, 30, 40, 50, 60, 70, 80)
    },
    **{f"JPEG {quality}": compress(quality) for quality in (75, 50, 30, 20, 15, 10, 8, 5, 3)},
}

STRONG: dict[str, Edit] = {
    "1/16 of the pixels": shrink,
    "stretch": stretch,
    "mirror": mirror,
    "quarter turn": quarter_turn,
    "rotation 3–15°": rotate,
    "overlay": overlay,
    "text": caption,
    "border": border,
    "blur": blur,
    "noise": noise,
    "recolour": recolour,
    "grey": grey,
    "screenshot": screenshot,
    "two edits": combined(2),
    "three edits": combined(3),
}

EDITS: dict[str, Edit] = CROPS_AND_JPEGS | STRONG
