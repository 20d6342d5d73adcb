"""Edit photographs with AugLy, one to four edits on top of each other, as those of DISC21 are.

`python edit.py PLAN FOLDER`, run by a Python that has AugLy (requirements.txt beside this file).
PLAN is a file of JSON: a list of {"photo", "other": paths, "edits": names in their order, "seed",
"file": what the copy is called in FOLDER}; an edit that needs a second picture takes the other.
Says a line of JSON when all are done: {"augly": its version}. `--edits` lists the names instead.

Douze et al., The 2021 Image Similarity Dataset and Challenge, 2021; Papakipos and Bitton, AugLy:
Data Augmentations for Robustness, 2022.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

SIDE = 512  # photographs are read at this short side at most, as the benchmark's others are
_WORDS = "when the cat says no monday again nobody me every time they ask why not".split()  # noqa: SIM905

#: AugLy's image functions, a picture, a generator, and another picture; makes a picture.
Edit = Callable[[Any, Image.Image, random.Random, Image.Image], Any]


def _assets(name: str) -> Path:
    from augly import utils

    return Path(getattr(utils, name))


def _crop(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
    wide, high = rng.uniform(0.45, 0.9), rng.uniform(0.45, 0.9)
    left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
    return augly.crop(image, x1=left, y1=top, x2=left + wide, y2=top + high)


def _emoji(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
    folder = _assets("EMOJI_DIR")
    path = rng.choice(sorted(folder.rglob("*.png")))
    size, x, y = rng.uniform(0.15, 0.45), rng.uniform(0, 0.6), rng.uniform(0, 0.6)
    return augly.overlay_emoji(
        image, emoji_path=str(path), emoji_size=size, x_pos=x, y_pos=y, opacity=rng.uniform(0.6, 1)
    )


def _text(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
    names = ("OpenSans-Bold", "Montserrat-Black", "Ubuntu-R", "PlayfairDisplay-Bold", "Lobster_1.3")
    font = _assets("FONTS_DIR") / f"{rng.choice(names)}.ttf"
    lines = [[rng.randrange(1, 90) for _ in range(rng.randint(4, 14))] for _ in range(2)]
    return augly.overlay_text(
        image,
        text=lines,
        font_file=str(font),
        font_size=rng.uniform(0.08, 0.22),
        color=_colour(rng),
        x_pos=rng.uniform(0, 0.3),
        y_pos=rng.uniform(0, 0.7),
        opacity=rng.uniform(0.6, 1),
    )


def _meme(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
    text = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(2, 4)))
    high = max(40, round(image.height * rng.uniform(0.15, 0.35)))
    return augly.meme_format(image, text=text, caption_height=high, text_color=_colour(rng))


def _stripes(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
    return augly.overlay_stripes(
        image,
        line_width=rng.uniform(0.05, 0.3),
        line_color=_colour(rng),
        line_angle=rng.uniform(-90, 90),
        line_density=rng.uniform(0.1, 0.5),
        line_type=rng.choice(["solid", "dotted", "dashed"]),
        line_opacity=rng.uniform(0.4, 1),
    )


def _screenshot(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
    folder = _assets("SCREENSHOT_TEMPLATES_DIR")
    path = str(folder / rng.choice(["web.png", "mobile.png"]))
    return augly.overlay_onto_screenshot(image, template_filepath=path)


def _background(augly: Any, image: Image.Image, rng: random.Random, other: Image.Image) -> Any:
    return augly.overlay_onto_background_image(
        image,
        background_image=other,
        overlay_size=rng.uniform(0.45, 0.8),
        x_pos=rng.uniform(0, 0.3),
        y_pos=rng.uniform(0, 0.2),
    )


def _overlay(augly: Any, image: Image.Image, rng: random.Random, other: Image.Image) -> Any:
    return augly.overlay_image(
        image,
        overlay=other,
        overlay_size=rng.uniform(0.25, 0.45),
        x_pos=rng.uniform(0, 0.6),
        y_pos=rng.uniform(0, 0.6),
        opacity=rng.uniform(0.7, 1),
    )


def _jitter(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
    return augly.color_jitter(
        image,
        brightness_factor=rng.uniform(0.6, 1.5),
        contrast_factor=rng.uniform(0.6, 1.6),
        saturation_factor=rng.uniform(0.3, 2),
    )


def _turn(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
    return augly.rotate(image, degrees=rng.choice([90, 180, 270, rng.uniform(-25, 25)]))


def _pad(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
    return augly.pad(
        image, w_factor=rng.uniform(0, 0.3), h_factor=rng.uniform(0, 0.3), color=_colour(rng)
    )


def _simple(name: str, **ranges: tuple[float, float]) -> Edit:
    """A function of AugLy by its name, each of its arguments drawn from a range."""

    def edit(augly: Any, image: Image.Image, rng: random.Random, _: Image.Image) -> Any:
        values: dict[str, float] = {key: rng.uniform(*ends) for key, ends in ranges.items()}
        if name in ("random_noise", "perspective_transform", "shuffle_pixels"):
            values["seed"] = rng.randrange(2**31)
        if name == "encoding_quality":
            values["quality"] = round(values["quality"])
        return getattr(augly, name)(image, **values)

    return edit


EDITS: dict[str, Edit] = {
    "crop": _crop,
    "emoji": _emoji,
    "text": _text,
    "meme": _meme,
    "stripes": _stripes,
    "screenshot": _screenshot,
    "background": _background,
    "overlay": _overlay,
    "colour": _jitter,
    "turn": _turn,
    "border": _pad,
    "square": _simple("pad_square"),
    "perspective": _simple("perspective_transform", sigma=(8, 30)),
    "mirror": _simple("hflip"),
    "upside down": _simple("vflip"),
    "grey": _simple("grayscale"),
    "blur": _simple("blur", radius=(1, 4)),
    "pixels": _simple("pixelization", ratio=(0.2, 0.6)),
    "JPEG": _simple("encoding_quality", quality=(5, 40)),
    "noise": _simple("random_noise", var=(0.005, 0.03)),
    "shuffled": _simple("shuffle_pixels", factor=(0.03, 0.15)),
    "stretch": _simple("change_aspect_ratio", ratio=(0.6, 1.8)),
    "smaller": _simple("scale", factor=(0.4, 0.8)),
    "sharp": _simple("sharpen", factor=(2, 10)),
}


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def load() -> Any:
    """AugLy's image functions, with what it still expects of NumPy and Pillow."""
    import numpy as np
    from PIL import ImageFont

    if not hasattr(np, "float"):
        np.float = float  # type: ignore[attr-defined]  # gone since NumPy 1.24
    if not hasattr(ImageFont.FreeTypeFont, "getsize_multiline"):  # gone since Pillow 10

        def size(font: ImageFont.FreeTypeFont, text: str) -> tuple[float, float]:
            box = font.getbbox(text)
            return box[2], box[3]

        ImageFont.FreeTypeFont.getsize_multiline = size  # type: ignore[attr-defined]
    from augly import image

    return image


def _read(path: str) -> Image.Image:
    with Image.open(path) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        picture = ImageOps.exif_transpose(image).convert("RGB")
    scale = SIDE / min(picture.size)
    if scale < 1:
        size = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture


def make(planned: dict[str, Any], folder: Path) -> None:
    """Write one edited copy: JPEG of quality 60 to 95."""
    augly, rng = load(), random.Random(planned["seed"])  # noqa: S311 - no secret is made of it
    image, other = _read(planned["photo"]), _read(planned["other"])
    for name in planned["edits"]:
        image = EDITS[name](augly, image, rng, other).convert("RGB")
        if max(image.size) > 4 * SIDE:  # a screenshot of a screenshot
            image.thumbnail((4 * SIDE, 4 * SIDE))
        if min(image.size) < 24:  # the next edit could leave nothing of it
            break
    image.save(folder / planned["file"], "JPEG", quality=rng.randint(60, 95))


def main(plan: Path, folder: Path) -> None:
    load()
    from importlib.metadata import version

    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(partial(make, folder=folder), json.loads(plan.read_text()), chunksize=16))
    print(json.dumps({"augly": version("augly")}))


if __name__ == "__main__":
    if sys.argv[1:] == ["--edits"]:
        print(json.dumps(list(EDITS)))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
