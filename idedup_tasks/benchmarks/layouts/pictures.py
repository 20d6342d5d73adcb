"""What shows something: charts of one report, slides of one firm, texts on one picture, maps."""

from __future__ import annotations

import numpy as np
from PIL import Image

from idedup_tasks.benchmarks.layouts import words
from idedup_tasks.benchmarks.layouts.sheet import Look, Sheet, filling, font, hsv, mixed


def chart(look: Look, rng: np.random.Generator) -> Image.Image:
    """Two years of something by month in one report's style: bars, lines or areas."""
    layout = look.choices()
    width, height = ((800, 500), (1000, 600), (960, 720))[int(layout.integers(3))]
    kind = int(layout.integers(3))
    sheet = Sheet(look, width, height)
    colours = (mixed(look.soft, look.paper, 0.4), look.accent)
    what = words.MEASURED[int(rng.integers(len(words.MEASURED)))]
    year, step = int(rng.integers(2015, 2025)), (20, 50, 100, 200, 500)[int(rng.integers(5))]
    sheet.text(60, 22, f"{what} by month", 28, bold=True)
    left, right, top, bottom = 80, width - 30, 110, height - 60
    for row in range(6):
        y = bottom - (bottom - top) * row / 5
        sheet.rule(left, y, right, y, mixed(look.paper, look.ink, 0.15))
        sheet.text(left - 12, y, f"{step * row:,}", 17, look.soft, "rm")
    phase = np.arange(12) / 12 * 2 * np.pi * rng.integers(1, 3) + rng.uniform(0, 6.3)
    season = 0.5 + 0.28 * np.sin(phase)
    for series, colour in enumerate(colours):
        values = (season + rng.uniform(-0.15, 0.15) + rng.normal(0, 0.09, 12)).clip(0.04, 0.98)
        across = left + (right - left) * (np.arange(12) + 0.5) / 12
        up = bottom - (bottom - top) * values
        points = list(zip(across.tolist(), up.tolist(), strict=True))
        if kind == 0:
            for x, y in points:
                sheet.box(x + (series - 1) * 22, y, 20, bottom - y, colour)
        elif kind == 1:
            sheet.draw.line(points, fill=colour, width=4, joint="curve")
            for x, y in points:
                sheet.draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
        else:
            area = [(points[0][0], bottom), *points, (points[-1][0], bottom)]
            sheet.draw.polygon(area, fill=mixed(colour, look.paper, 0.35 * series))
        x = right - 180 + 95 * series
        sheet.box(x, 66, 18, 18, colour)
        sheet.text(x + 26, 75, str(year + series), 18, anchor="lm")
    sheet.rule(left, bottom, right, bottom, look.soft, 2)
    for month, name in enumerate(words.MONTHS):
        x = left + (right - left) * (month + 0.5) / 12
        sheet.text(x, bottom + 20, name, 17, look.soft, "mm")
    sheet.text(60, height - 20, "Source: monthly report", 14, look.soft, "lm")
    return sheet.image


def slide(look: Look, rng: np.random.Generator) -> Image.Image:
    """A slide in one firm's template: a heading and a few points."""
    layout = look.choices()
    sheet = Sheet(look, 1280, 720)
    kind, mark = int(layout.integers(3)), words.title(layout, look.language, 1, 3)
    if kind == 0:
        sheet.box(0, 0, 1280, 110, look.accent)
    elif kind == 1:
        sheet.box(0, 0, 70, 720, look.accent)
        sheet.draw.ellipse((980, 420, 1420, 860), fill=mixed(look.accent, look.paper, 0.75))
    else:
        sheet.draw.polygon([(0, 720), (0, 560), (1280, 660), (1280, 720)], fill=look.accent)
    sheet.text(1240, 690, mark, 18, look.soft, "rm")
    heading = words.title(rng, look.language, 2, 6)
    ink = (255, 255, 255) if kind == 0 else look.ink
    sheet.fitted(100, 34, heading, 44, 1100, fill=ink)
    y = 170.0
    for _ in range(int(rng.integers(3, 7))):
        sheet.draw.ellipse((104, y + 12, 116, y + 24), fill=look.accent)
        text = words.title(rng, look.language, 3, 12)
        y = sheet.paragraph(140, y, text, 30, 1000, bottom=640) + 18
    sheet.text(40, 690, str(rng.integers(1, 60)), 18, look.soft, "lm")
    return sheet.image


def meme(look: Look, rng: np.random.Generator) -> Image.Image:
    """One picture with other words: across it, or above it on white."""
    layout = look.choices()
    width, height = ((600, 600), (640, 480), (500, 680))[int(layout.integers(3))]
    above = bool(layout.integers(2))
    picture = filling(look.photographs(layout), width, height)
    size = int(layout.integers(30, 46))
    lines = [words.title(rng, look.language, 2, 6) for _ in range(2)]
    if above:
        sheet = Sheet(look, width, height + 3 * size, (255, 255, 255))
        sheet.image.paste(picture, (0, 3 * size))
        text = " ".join(lines)
        sheet.paragraph(16, 10, text, size - 8, width - 32, fill=(10, 10, 10), bottom=3 * size)
        return sheet.image
    sheet = Sheet(look, width, height)
    sheet.image.paste(picture)
    for text, top in zip(lines, (True, False), strict=True):
        rows = sheet.wrapped(text.upper(), size, width - 40, bold=True)
        for row, line in enumerate(rows):
            y = 14 + row * size * 1.15 if top else height - 14 - size * 1.15 * (len(rows) - row)
            sheet.draw.text(
                (width / 2, y),
                line,
                fill="white",
                font=font(look.face, size, bold=True),
                anchor="ma",
                stroke_width=3,
                stroke_fill="black",
            )
    return sheet.image


def card_map(look: Look, rng: np.random.Generator) -> Image.Image:
    """A part of a town, another each time, drawn by one service."""
    layout = look.choices()
    width, height = ((900, 700), (1000, 1000), (640, 1000))[int(layout.integers(3))]
    land = mixed(hsv(layout.random(), 0.15, 0.93), look.paper, 0.3)
    water, park = (
        hsv(layout.uniform(0.5, 0.62), 0.4, 0.85),
        hsv(layout.uniform(0.25, 0.4), 0.3, 0.8),
    )
    road = mixed(land, (255, 255, 255) if sum(land) < 600 else (90, 90, 90), 0.6)
    sheet = Sheet(look, width, height, land)
    for colour, count in ((park, 4), (water, 2)):
        for _ in range(int(rng.integers(1, count + 1))):
            angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
            reach = rng.uniform(60, 220, 9)
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            shape = [
                (x + r * np.cos(a), y + r * np.sin(a)) for a, r in zip(angles, reach, strict=True)
            ]
            sheet.draw.polygon(shape, fill=colour)
    tilt = rng.uniform(-0.6, 0.6)
    for direction in (tilt, tilt + np.pi / 2):
        at = -600.0
        while at < 1600:
            at += rng.uniform(50, 190)
            x, y = (
                width / 2 + (at - 500) * np.sin(direction),
                height / 2 - (at - 500) * np.cos(direction),
            )
            dx, dy = 2000 * np.cos(direction), 2000 * np.sin(direction)
            sheet.rule(x - dx, y - dy, x + dx, y + dy, road, int(rng.choice([3, 3, 5, 12])))
    for _ in range(int(rng.integers(8, 18))):
        text = words.title(rng, look.language, 1, 3)
        x, y = rng.uniform(0.04, 0.8) * width, rng.uniform(0.1, 0.9) * height
        sheet.text(x, y, text, int(rng.integers(13, 20)), (40, 40, 46))
    x, y = rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height
    sheet.draw.polygon([(x, y), (x - 16, y - 34), (x + 16, y - 34)], fill=look.accent)
    sheet.draw.ellipse((x - 18, y - 56, x + 18, y - 20), fill=look.accent)
    sheet.box(20, 20, width - 40, 56, (255, 255, 255), radius=12)
    sheet.text(44, 48, words.title(rng, look.language, 1, 4), 22, (40, 40, 46), "lm")
    for button in range(2):
        sheet.box(width - 64, height - 140 + 56 * button, 44, 44, (255, 255, 255), radius=8)
        sheet.text(width - 42, height - 118 + 56 * button, "+-"[button], 26, (60, 60, 60), "mm")
    return sheet.image


def product(look: Look, rng: np.random.Generator) -> Image.Image:
    """A tile of one shop: a thing on white, its name and its price."""
    layout = look.choices()
    width, height = int(layout.integers(420, 640)), int(layout.integers(560, 760))
    sheet = Sheet(look, width, height, (255, 255, 255))
    kind, space = int(layout.integers(4)), height - 190
    hue, x, y = rng.random(), width / 2, space / 2 + 10
    body, dark = hsv(hue, rng.uniform(0.2, 0.9), 0.8), hsv(hue, 0.5, 0.45)
    wide, high = rng.uniform(0.35, 0.6) * width, rng.uniform(0.55, 0.8) * space
    left, top = x - wide / 2, y - high / 2
    if kind == 0:  # a bottle
        neck = wide * rng.uniform(0.25, 0.5)
        sheet.box(x - neck / 2, top, neck, high * 0.4, dark, radius=8)
        sheet.box(left, top + high * 0.3, wide, high * 0.7, body, radius=wide * 0.2)
        sheet.box(left, top + high * 0.5, wide, high * 0.28, (250, 250, 246))
        sheet.text(x, top + high * 0.64, words.title(rng, look.language, 1, 2), 26, dark, "mm")
    elif kind == 1:  # a mug
        sheet.draw.ellipse((x + wide * 0.2, y - high * 0.25, x + wide * 0.8, y + high * 0.25),
                           outline=dark, width=18)  # fmt: skip
        sheet.box(left, top, wide, high, body, radius=20)
        for band in range(int(rng.integers(1, 5))):
            sheet.box(left, top + high * (0.15 + 0.18 * band), wide, 12, dark)
    elif kind == 2:  # a book
        sheet.box(left + 10, top + 10, wide, high, (200, 200, 204))
        sheet.box(left, top, wide, high, body)
        heading = words.title(rng, look.language, 2, 5)
        sheet.paragraph(
            left + 16, top + 30, heading, 34, wide - 30, fill=(255, 255, 255), bold=True
        )
        sheet.text(x, top + high - 40, words.name(rng), 20, (255, 255, 255), "mm")
    else:  # whatever it is, photographed
        sheet.picture(30, 30, width - 60, space - 40, look.photographs(rng))
    sheet.fitted(
        24, height - 160, words.title(rng, look.language, 2, 5), 24, width - 48, fill=(30, 30, 34)
    )
    sheet.text(24, height - 112, f"{words.amount(rng, 2, 200)} EUR", 36, look.accent, bold=True)
    stars = int(rng.integers(1, 6))
    for star in range(5):
        colour = (245, 180, 40) if star < stars else (220, 220, 224)
        at = 34 + 30 * star
        sheet.draw.regular_polygon((at, height - 40, 12), 5, fill=colour)
    sheet.box(width - 150, height - 66, 126, 44, look.accent, radius=10)
    return sheet.image
