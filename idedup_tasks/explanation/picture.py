"""An explanation to look at: one PNG, or one HTML file that needs nothing else."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from idedup_tasks.explanation.finding import Finding, share
from idedup_tasks.pages.templates import data_uri, templates, visible

_HEIGHT = 360
_GAP = 24
_INK, _PAPER = (29, 35, 41), (255, 255, 255)
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


def similarity(found: Finding, which: str) -> Image.Image:
    """The picture coloured by how alike its places are to those of the other; cosines 0 to 1."""
    where = found.where
    return (
        overlay(found.pair.a, where.similarity_a)
        if which == "a"
        else overlay(found.pair.b, where.similarity_b)
    )


def contribution(found: Finding, which: str) -> Image.Image:
    """The picture coloured by each place's part of the cosine, on one scale for both pictures."""
    where = found.where
    # Of two equal images each place adds its share of 1: what adds less than that twice stays dark,
    # so that images with nothing in common do not light up.
    most = max(float(m.max()) for m in (where.contribution_a, where.contribution_b))
    most = max(most, 2 / where.contribution_a.size)
    return (
        overlay(found.pair.a, where.contribution_a / most)
        if which == "a"
        else overlay(found.pair.b, where.contribution_b / most)
    )


def facts(found: Finding) -> list[tuple[str, str]]:
    """What was measured, as names and values in words."""
    thresholds = found.thresholds
    rows = [("Score", f"{found.score:.4f}, by {found.verifier}")]
    # Where nothing is shown by both, nothing of it differs.
    if found.overlap_a or found.overlap_b:
        both = (
            f"{share(found.overlap_a)} of the first picture, {share(found.overlap_b)} of the second"
        )
        differs = f"{share(found.changed)}{f', {found.place}' if found.place else ''}"
        rows += [("Both show", both), ("Differs", differs)]
    if found.turn:
        rows.append(("Turned", f"the second picture is shown {found.turn}"))
    if found.decided:
        rows.append(("In the collection", found.decided))
    return [
        *rows,
        (
            "Cosine",
            f"{found.cosine:.4f} (looked at from {thresholds.candidate:g}), by {found.model_id}",
        ),
        (
            f"{found.hash} distance",
            f"{found.hash_distance} of 64 bits (looked at up to {thresholds.phash_distance})",
        ),
    ]


_Row = tuple[str, list[Image.Image]]


def looked_at(found: Finding, height: int) -> list[_Row]:
    """What decides: captions, and the pictures below them, of so many pixels' height at most."""
    pair, size = found.pair, (2 * height, height)
    marked = [pair.marked(which, size) for which in "ab"]
    if pair.laid is None:
        return [("The two pictures; nothing says where one would lie on the other.", marked)]
    differs = bool(pair.laid.differs.any())
    beside = min(found.overlap_a, found.overlap_b) < 0.97
    said = [
        "What the other does not show is dark." if beside else "",
        "What differs is marked." if differs else "Nothing differs where both show something.",
    ]
    laid = pair.on_each_other(size)
    return [
        (f"The two pictures. {' '.join(filter(None, said))}", marked),
        ("The first, and the second laid on it.", [ImageOps.contain(pair.a, size), laid]),
    ]


def proposed(found: Finding, height: int) -> list[_Row]:
    """Why they were looked at: the same of the heat maps."""
    lies = found.pair.laid is not None
    return [
        (caption, [_sized(show(found, which), height) for which in "ab"])
        for show, caption in (
            (
                similarity,
                "How alike the places are that lie on each other: yellow a cosine of 1, dark 0."
                if lies
                else "How alike each place is to the place of the other that is most like it.",
            ),
            (
                contribution,
                "What the cosine is made of: the lighter, the more a place adds to it.",
            ),
        )
    ]


def draw(found: Finding) -> Image.Image:
    """The whole explanation as one picture, RGB."""
    rows = looked_at(found, _HEIGHT) + proposed(found, _HEIGHT)
    width = max(*(sum(p.width for p in pictures) for _, pictures in rows), 852) + 3 * _GAP
    large, plain = _font(22), _font(15)
    lines = [(text, large) for text in _wrapped(found.why, large, width - 2 * _GAP)]
    for name, value in [("First", found.a), ("Second", found.b), *facts(found)]:
        lines += [
            (t, plain) for t in _wrapped(visible(f"{name}: {value}"), plain, width - 2 * _GAP)
        ]
    top = _GAP + sum(font.size * 1.5 for _, font in lines)
    height = top + sum(max(p.height for p in row) + 2.2 * _GAP for _, row in rows) + _GAP
    page = Image.new("RGB", (width, round(height)), _PAPER)
    pen = ImageDraw.Draw(page)
    y = float(_GAP)
    for text, font in lines:
        pen.text((_GAP, y), text, _INK, font)
        y += font.size * 1.5
    for caption, pictures in rows:
        pen.text((_GAP, y + 8), caption, _INK, plain)
        y += 1.4 * _GAP
        x = _GAP
        for picture in pictures:
            page.paste(picture, (x, round(y)))
            x += picture.width + _GAP
        y += max(picture.height for picture in pictures) + 0.8 * _GAP
    return page


def page(found: Finding) -> str:
    """The explanation as HTML: no script, no address outside the file."""
    looked, why = (
        [(caption, [data_uri(p, 88) for p in pictures]) for caption, pictures in rows]
        for rows in (looked_at(found, 2 * _HEIGHT), proposed(found, 2 * _HEIGHT))
    )
    return _template().render(found=found, looked=looked, proposed=why, facts=facts(found))


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    return templates(Path(__file__).parent).get_template("page_of_two.html")


def _sized(picture: Image.Image, height: int) -> Image.Image:
    return ImageOps.contain(picture, (2 * height, height))


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
