"""An explanation to look at: one PNG, or one HTML file that needs nothing else."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from idedup_tasks.explanation.alignment import Box
from idedup_tasks.explanation.finding import Finding
from idedup_tasks.pages.templates import data_uri, templates, visible

_HEIGHT = 360
_GAP = 24
_INK, _PAPER, _LINE = (29, 35, 41), (255, 255, 255), (0, 190, 90)
# From nothing to all: dark violet over red to yellow, each lighter than the one before.
_COLOURS = np.array([(24, 16, 56), (120, 28, 110), (205, 62, 80), (246, 140, 40), (252, 230, 100)])


def coloured(heat: np.ndarray) -> np.ndarray:
    """Values of 0 to 1 as colours: (h, w, 3) float32 of 0 to 255."""
    at = heat.clip(0, 1) * (len(_COLOURS) - 1)
    low = np.minimum(at.astype(np.int64), len(_COLOURS) - 2)
    part = (at - low)[..., None]
    mixed: np.ndarray = _COLOURS[low] * (1 - part) + _COLOURS[low + 1] * part
    return mixed.astype(np.float32)


def overlay(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """A heat map of values from 0 to 1, of any shape, laid over a picture's grey levels."""
    wide = Image.fromarray(heat.astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)
    colours = coloured(np.asarray(wide))
    grey = np.asarray(picture.convert("L"), np.float32)[..., None]
    # Light and dark of the picture stay to be seen, colour is the map's.
    mixed = colours * (0.35 + 0.65 * grey / 255) * 0.75 + 0.25 * grey
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def marked(found: Finding, which: str) -> Image.Image:
    """Picture `a` or `b` with what both show outlined, and corresponding places numbered."""
    picture = (found.picture_a if which == "a" else found.picture_b).convert("RGB")
    scale = 2 * _HEIGHT / picture.height
    picture = picture.resize((max(8, round(picture.width * scale)), 2 * _HEIGHT))
    draw = ImageDraw.Draw(picture)
    font = _font(26)
    if found.where.common is not None:
        box = found.where.common.box_a if which == "a" else found.where.common.box_b
        draw.rectangle(_pixels(box, picture), outline=_LINE, width=6)
    for number, point in enumerate(found.where.points, 1):
        x, y = (point.xa, point.ya) if which == "a" else (point.xb, point.yb)
        x, y = x * picture.width, y * picture.height
        draw.ellipse((x - 20, y - 20, x + 20, y + 20), fill=_PAPER, outline=_LINE, width=4)
        draw.text((x, y), str(number), _INK, font, anchor="mm")
    return picture


def similarity(found: Finding, which: str) -> Image.Image:
    """The picture coloured by how alike its places are to those of the other; cosines 0 to 1."""
    where = found.where
    return (
        overlay(found.picture_a, where.similarity_a)
        if which == "a"
        else overlay(found.picture_b, where.similarity_b)
    )


def contribution(found: Finding, which: str) -> Image.Image:
    """The picture coloured by each place's part of the cosine, on one scale for both pictures."""
    where = found.where
    # Of two equal images each place adds its share of 1: what adds less than that twice stays dark,
    # so that images with nothing in common do not light up.
    most = max(float(m.max()) for m in (where.contribution_a, where.contribution_b))
    most = max(most, 2 / where.contribution_a.size)
    return (
        overlay(found.picture_a, where.contribution_a / most)
        if which == "a"
        else overlay(found.picture_b, where.contribution_b / most)
    )


def facts(found: Finding) -> list[tuple[str, str]]:
    """What was measured, as names and values in words."""
    thresholds, common = found.thresholds, found.where.common
    rows = [
        (
            "Cosine",
            f"{found.cosine:.4f} (pair {thresholds.pair:g}, candidate {thresholds.candidate:g}, "
            f"cut {thresholds.cut:g})",
        ),
        (
            f"{found.hash} distance",
            f"{found.hash_distance} of 64 bits (up to {thresholds.phash_distance} are twins)",
        ),
        ("Equal bytes", "yes" if found.same_bytes else "no"),
        ("Descriptor", found.model_id),
    ]
    if found.turn:
        rows.append(
            (
                "Turned",
                f"the second picture, {found.turn}, has a cosine of {found.turned_cosine:.4f}",
            )
        )
    if common is None:
        rows.append(("Common part", "none found"))
    else:
        part_a, part_b = (_area(box) for box in (common.box_a, common.box_b))
        rows.append(
            (
                "Common part",
                f"{part_a:.0%} of the first picture and {part_b:.0%} of the second; cut out, the "
                f"two have a cosine of {found.common_cosine:.4f}",
            )
        )
    if found.decided:
        rows.append(("In the collection", found.decided))
    return rows


_ROWS = (
    (marked, "What both show, outlined; 1 to 5: places that correspond."),
    (similarity, "How alike corresponding places are: yellow a cosine of 1, dark 0."),
    (contribution, "What the cosine is made of: the lighter, the more a place adds to it."),
)


def captions(found: Finding) -> list[str]:
    """What each row of pictures shows."""
    texts = [text for _, text in _ROWS]
    if found.where.common is None:
        texts[0] = "The two pictures; no part was found that both show."
        texts[1] = "How alike each place is to the place of the other that is most like it."
    return texts


def draw(found: Finding) -> Image.Image:
    """The whole explanation as one picture, RGB."""
    rows = [[_sized(show(found, which)) for which in "ab"] for show, _ in _ROWS]
    width = max(sum(p.width for p in rows[0]) + 3 * _GAP, 900)
    large, plain = _font(22), _font(15)
    lines = [(text, large) for text in _wrapped(found.verdict, large, width - 2 * _GAP)]
    for name, value in [("First", found.a), ("Second", found.b), *facts(found)]:
        lines += [
            (t, plain) for t in _wrapped(visible(f"{name}: {value}"), plain, width - 2 * _GAP)
        ]
    top = _GAP + sum(font.size * 1.5 for _, font in lines)
    height = round(top + len(rows) * (_HEIGHT + 2.2 * _GAP) + _GAP)
    page = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(page)
    y = float(_GAP)
    for text, font in lines:
        pen.text((_GAP, y), text, _INK, font)
        y += font.size * 1.5
    for pictures, caption in zip(rows, captions(found), strict=True):
        pen.text((_GAP, y + 8), caption, _INK, plain)
        y += 1.4 * _GAP
        x = _GAP
        for picture in pictures:
            page.paste(picture, (x, round(y)))
            x += picture.width + _GAP
        y += _HEIGHT + 0.8 * _GAP
    return page


def page(found: Finding) -> str:
    """The explanation as HTML: no script, no address outside the file."""
    rows = [
        (caption, [data_uri(_sized(show(found, which), 2 * _HEIGHT), 88) for which in "ab"])
        for (show, _), caption in zip(_ROWS, captions(found), strict=True)
    ]
    return _template().render(found=found, rows=rows, facts=facts(found))


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    return templates(Path(__file__).parent).get_template("page_of_two.html")


def _sized(picture: Image.Image, height: int = _HEIGHT) -> Image.Image:
    return picture.resize((max(8, round(picture.width * height / picture.height)), height))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _pixels(box: Box, picture: Image.Image) -> tuple[float, float, float, float]:
    width, height = picture.width - 1, picture.height - 1
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("This Pillow was built without FreeType: install its wheel from PyPI.")
    return font


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
