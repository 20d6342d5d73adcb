"""Screenshots: of one app, one site, one editor."""

from __future__ import annotations

import numpy as np
from PIL import Image

from idedup_tasks.benchmarks.layouts import words
from idedup_tasks.benchmarks.layouts.sheet import MONO, Colour, Look, Sheet, hsv, mixed

_WHITE: Colour = (255, 255, 255)
_PHONES = ((540, 1170), (720, 1280), (600, 1300), (480, 960))
_WINDOWS = ((1280, 800), (1024, 768), (1440, 900), (1100, 900))


def _status_bar(sheet: Sheet, rng: np.random.Generator, ink: Colour) -> None:
    """The clock, the battery and the signal of a phone."""
    width = sheet.image.width
    sheet.text(width * 0.05, 14, words.hour(rng), 21, ink)
    sheet.box(width - 70, 17, 34, 18, outline=ink, radius=4, line=2)
    sheet.box(width - 67, 20, int(rng.integers(4, 28)), 12, ink)
    for bar in range(4):
        x, high = width - 116 + 9 * bar, 6 + 4 * bar if bar < rng.integers(2, 5) else 3
        sheet.box(x, 35 - high, 6, high, ink)


def chat(look: Look, rng: np.random.Generator) -> Image.Image:
    """A conversation with one person in one app, as far as the screen goes."""
    layout = look.choices()
    width, height = _PHONES[int(layout.integers(len(_PHONES)))]
    size, bar = int(layout.integers(20, 28)), hsv(layout.random(), 0.8, 0.4)
    mine = mixed(look.accent, look.paper, 0.72)
    theirs = mixed(look.paper, look.ink, 0.07)
    radius, tails = int(layout.integers(4, 22)), bool(layout.integers(2))
    friend, face = words.name(layout).split()[0], hsv(layout.random(), 0.45, 0.85)
    sheet = Sheet(look, width, height)
    y, sender = 176.0, bool(rng.integers(2))
    minutes = int(rng.integers(7 * 60, 22 * 60))
    for said in words.messages(rng, look.language, 40):
        lines = sheet.wrapped(said, size, width * 0.62)
        wide = max(max(sheet.length(line, size) for line in lines) + 36, 130)
        tall = size * 1.32 * len(lines) + 38
        if y + tall > height - 110:
            break
        left = width - 18 - wide if sender else 18
        sheet.box(left, y + 2, wide, tall, mixed(look.paper, look.ink, 0.2), radius=radius)
        sheet.box(left, y, wide, tall, mine if sender else theirs, radius=radius)
        if tails:
            tip = left + wide - 4 if sender else left + 4
            out = tip + (14 if sender else -14)
            corner = [(tip, y + tall - 20), (out, y + tall), (tip, y + tall - 3)]
            sheet.draw.polygon(corner, fill=mine if sender else theirs)
        for row, line in enumerate(lines):
            sheet.text(left + 18, y + 9 + size * 1.32 * row, line, size)
        at = f"{minutes // 60:02}:{minutes % 60:02}"
        sheet.text(left + wide - 14, y + tall - 10, at, 15, look.soft, "rs")
        minutes = min(minutes + int(rng.integers(0, 9)), 24 * 60 - 1)
        if rng.random() < 0.65:
            sender, y = not sender, y + 8
        y += tall + 8
    sheet.box(0, 0, width, 148, bar)
    _status_bar(sheet, rng, _WHITE)
    sheet.draw.line([(40, 84), (24, 98), (40, 112)], fill=_WHITE, width=4, joint="curve")
    sheet.draw.ellipse((58, 66, 122, 130), fill=face)
    sheet.draw.ellipse((78, 76, 102, 102), fill=mixed(face, (0, 0, 0), 0.6))
    sheet.draw.pieslice((66, 100, 114, 148), 180, 360, fill=mixed(face, (0, 0, 0), 0.6))
    sheet.text(140, 70, friend, 28, _WHITE)
    sheet.text(140, 106, "online", 19, mixed(_WHITE, bar, 0.25))
    sheet.box(0, height - 88, width, 88, look.paper)
    sheet.box(14, height - 78, width - 104, 56, theirs, radius=28)
    sheet.draw.ellipse((width - 74, height - 80, width - 14, height - 20), fill=look.accent)
    arrow = [(width - 54, height - 62), (width - 28, height - 50), (width - 54, height - 38)]
    sheet.draw.polygon(arrow, fill=_WHITE)
    return sheet.image


def site(look: Look, rng: np.random.Generator) -> Image.Image:
    """A page of one site: the same frame around another picture, with another line under it."""
    layout = look.choices()
    width, height = _WINDOWS[int(layout.integers(len(_WINDOWS)))]
    sheet = Sheet(look, width, height)
    bar, brand = int(layout.integers(44, 90)), words.title(layout, look.language, 1, 3)
    sheet.box(0, 0, width, bar, look.accent)
    sheet.text(24, bar / 2, brand, 30, _WHITE, "lm", bold=True)
    for entry in range(int(layout.integers(3, 7))):
        text = words.title(layout, look.language, 1, 2)
        sheet.text(width - 40 - 120 * entry, bar / 2, text, 18, _WHITE, "rm")
    side = int(width * layout.uniform(0.16, 0.3))
    left = side + 24 if layout.integers(2) else 24
    panel = 24 if left > 24 else width - side - 24
    y = bar + 30.0
    for _ in range(int(layout.integers(6, 14))):
        sheet.fitted(panel, y, words.title(layout, look.language, 2, 6), 17, side - 30)
        y += 34
    share = layout.uniform(0.55, 0.8)
    wide, high = width - side - 72, int((height - bar) * share)
    sheet.picture(left, bar + 24, wide, high, look.photographs(rng))
    y = bar + high + 44
    sheet.fitted(left, y, words.title(rng, look.language, 3, 8), 26, wide)
    note = f"{rng.integers(2, 9999):,} · {words.day(rng)}" if look.face else words.day(rng)
    sheet.text(left, y + 38, note, 16, look.soft)
    for button in range(3):
        sheet.box(left + wide - 60 * (button + 1), y + 36, 48, 30, look.accent, radius=8)
    return sheet.image


def code(look: Look, rng: np.random.Generator) -> Image.Image:
    """A screenful of source text in one editor."""
    layout = look.choices()
    width, height = _WINDOWS[int(layout.integers(len(_WINDOWS)))]
    size = int(layout.integers(15, 22))
    step, left = round(size * 1.45), int(layout.integers(60, 260))
    sheet = Sheet(look, width, height)
    sheet.face = MONO
    blue, green = (mixed(hsv(hue, 0.8, 0.7), look.ink, 0.25) for hue in layout.random(2))
    sheet.box(0, 0, left - 60, height, mixed(look.paper, look.ink, 0.06))
    for entry in range(int(layout.integers(5, 16)) if left > 150 else 0):
        text = f"{words.some(layout, 'en', 1)}.py"
        sheet.text(14, 50 + entry * 30, text, 14, look.soft)
    sheet.box(0, 0, width, 34, mixed(look.paper, look.ink, 0.12))
    sheet.text(left, 17, f"{words.some(rng, 'en', 1)}.py", 15, anchor="lm")
    indent, first = 0, int(rng.integers(1, 400))
    for row in range((height - 50) // step):
        y = 44 + row * step
        sheet.text(left - 12, y, str(first + row), size - 3, look.soft, "ra")
        kind = rng.random()
        if kind < 0.14:
            indent = 0
            continue
        x = left + indent * size * 2.4
        one, two, three = (words.some(rng, "en", 1) for _ in range(3))
        if kind < 0.26:
            sheet.text(x, y, f"# {words.some(rng, 'en', int(rng.integers(3, 9)))}", size, green)
        elif kind < 0.42:
            word = str(rng.choice(["if", "for", "while", "def", "with", "class"]))
            sheet.text(x, y, word, size, blue, bold=True)
            x += sheet.length(f"{word} ", size, bold=True)
            sheet.text(x, y, f"{one}_{two}({three}):", size)
            indent = min(indent + 1, 4)
        else:
            value = str(rng.choice([f"{two}({three})", digits_or(rng), f'"{two} {three}"', two]))
            sheet.text(x, y, f"{one} = {value}", size)
            indent = max(0, indent - int(rng.random() < 0.3))
    return sheet.image


def digits_or(rng: np.random.Generator) -> str:
    """A number as it stands in a program."""
    return words.digits(rng, int(rng.integers(1, 6))) if rng.random() < 0.7 else words.amount(rng)


def calendar(look: Look, rng: np.random.Generator) -> Image.Image:
    """A month in one calendar, with another month's appointments."""
    layout = look.choices()
    width, height = _WINDOWS[int(layout.integers(len(_WINDOWS)))]
    sheet = Sheet(look, width, height)
    top, left, gap = int(layout.integers(90, 150)), int(layout.integers(10, 200)), 3
    colours = [hsv(hue, 0.5, 0.75) for hue in layout.random(4)]
    start, days = int(rng.integers(7)), int(rng.integers(28, 32))
    month = f"{words.MONTHS[int(rng.integers(12))]} {rng.integers(2015, 2026)}"
    sheet.text(left + 10, 24, month, 36, bold=True)
    for entry in range(5 if left > 90 else 0):
        sheet.box(16, 110 + 50 * entry, 20, 20, colours[entry % 4], radius=4)
        sheet.fitted(46, 110 + 50 * entry, words.title(layout, look.language, 1, 2), 16, left - 50)
    wide, high = (width - left) / 7, (height - top) / 6
    for cell in range(42):
        x, y = left + cell % 7 * wide, top + cell // 7 * high
        number = cell - start + 1
        inside = 1 <= number <= days
        ground = mixed(look.paper, look.ink, 0.04 if inside else 0.1)
        sheet.box(x, y, wide - gap, high - gap, ground)
        if inside:
            sheet.text(x + 8, y + 6, str(number), 17, look.soft)
            for slot in range(int(rng.choice([0, 0, 0, 1, 1, 2]))):
                at = y + 32 + slot * 30
                sheet.box(x + 4, at, wide - 12, 26, colours[int(rng.integers(4))], radius=5)
                text = words.title(rng, look.language, 1, 4)
                sheet.fitted(x + 10, at + 4, text, 15, wide - 24, fill=(20, 20, 20))
    return sheet.image


def weather(look: Look, rng: np.random.Generator) -> Image.Image:
    """The forecast for one town in one app."""
    layout = look.choices()
    width, height = _PHONES[int(layout.integers(len(_PHONES)))]
    ground = hsv(layout.random(), layout.uniform(0.3, 0.7), layout.uniform(0.35, 0.6))
    town = str(layout.choice(["Hamburg", "Lyon", "Porto", "Turku", "Leeds", "Graz"]))
    rows, big = int(layout.integers(5, 8)), int(layout.integers(90, 150))
    sheet = Sheet(look, width, height, ground)
    _status_bar(sheet, rng, _WHITE)
    sheet.text(width / 2, 110, town, 40, _WHITE, "mm")
    sheet.text(width / 2, 230, f"{rng.integers(-12, 36)}°", big, _WHITE, "mm")
    _sky(sheet, width / 2, 370, 46, rng)
    top = 480
    step = (height - top - 30) / rows
    first = int(rng.integers(7))
    for row in range(rows):
        y = top + step * (row + 0.5)
        sheet.rule(20, y - step / 2, width - 20, y - step / 2, mixed(ground, _WHITE, 0.3))
        names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
        sheet.text(30, y, names[(first + row) % 7], 24, _WHITE, "lm")
        _sky(sheet, width * 0.42, y, 18, rng)
        low = int(rng.integers(-10, 24))
        span = int(rng.integers(2, 13))
        sheet.text(width * 0.66, y, f"{low}°", 24, mixed(ground, _WHITE, 0.7), "rm")
        sheet.box(width * 0.69, y - 3, width * 0.14, 6, mixed(ground, _WHITE, 0.3), radius=3)
        at = width * (0.69 + 0.14 * (low + 10) / 50)
        sheet.box(at, y - 3, width * 0.14 * span / 36, 6, (250, 200, 80), radius=3)
        sheet.text(width - 24, y, f"{low + span}°", 24, _WHITE, "rm")
    return sheet.image


def _sky(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """Sun, cloud or rain, centred."""
    kind = int(rng.integers(4))
    if kind < 2:
        sheet.draw.ellipse((x - size, y - size, x + size, y + size), fill=(250, 205, 70))
    if kind > 0:
        for dx, dy, r in ((-0.7, 0.3, 0.6), (0.1, 0, 0.8), (0.8, 0.35, 0.55)):
            box = (
                x + (dx - r) * size,
                y + (dy - r) * size,
                x + (dx + r) * size,
                y + (dy + r) * size,
            )
            sheet.draw.ellipse(box, fill=(232, 236, 240))
    for drop in range(4 if kind == 3 else 0):
        at = x + (drop - 1.5) * size * 0.45
        sheet.rule(at, y + size, at - size * 0.2, y + size * 1.5, (120, 170, 240), 3)
