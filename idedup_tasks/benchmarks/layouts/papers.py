"""What is printed: receipts of one shop, forms of one office, pages of one book."""

from __future__ import annotations

import numpy as np
from PIL import Image

from idedup_tasks.benchmarks.layouts import words
from idedup_tasks.benchmarks.layouts.sheet import Colour, Look, Sheet, hsv, mixed

_INK: Colour = (52, 52, 60)
_PAPER: Colour = (250, 249, 245)


def receipt(look: Look, rng: np.random.Generator) -> Image.Image:
    """A photograph of a receipt of one shop on one table."""
    layout = look.choices()
    width, height = int(layout.integers(420, 560)), 860
    wood = np.array(
        hsv(layout.uniform(0, 0.15), layout.uniform(0.1, 0.5), layout.uniform(0.3, 0.7))
    )
    size, shop = int(layout.integers(16, 21)), f"{words.name(layout).split()[1].upper()} & CO"
    street = f"{words.title(layout, look.language, 1, 2)} {layout.integers(1, 90)}"
    lines = (street, f"Tel. 0{words.digits(layout, 9)}", f"VAT {words.digits(layout, 9)}")
    card = words.digits(layout, 4)
    filled, barred = bool(layout.integers(2)), bool(layout.integers(2))
    grain = rng.normal(0, 4, (height, 1)) + rng.normal(0, 2.5, (height, width))
    sheet = Sheet(look, width, height)
    sheet.image.paste(Image.fromarray((wood + grain[..., None]).clip(0, 255).astype(np.uint8)))
    count = int(rng.integers(5, 12))
    left, right, middle = 78, width - 78, width / 2
    bottom = 470 + (size + 9) * count
    sheet.box(66, 26, width - 124, bottom - 20, mixed(_INK, (0, 0, 0), 0.2))
    sheet.box(60, 20, width - 120, bottom - 20, _PAPER)
    if filled:
        sheet.box(middle - 105, 40, 210, 52, _INK, radius=10)
    sheet.text(middle, 66, shop, 26, _PAPER if filled else _INK, "mm", bold=True)
    for row, line in enumerate(lines):
        sheet.text(middle, 114 + 21 * row, line, 16, _INK, "mm")
    sheet.text(left, 182, f"{words.day(rng)}  {words.hour(rng)}", 15, _INK)
    sheet.text(right, 182, f"No. {words.digits(rng, 5)}", 15, _INK, "ra")
    _dashes(sheet, left, right, 214)
    y, total = 226.0, 0
    for good in words.goods(rng, look.language, count):
        cents = int(rng.integers(8, 130)) * 10 - 1
        total += cents
        sheet.text(left, y, good, size, _INK)
        sheet.text(right, y, f"{cents / 100:.2f}", size, _INK, "ra")
        y += size + 9
    _dashes(sheet, left, right, y + 6)
    sheet.text(left, y + 16, "TOTAL EUR", 25, _INK)
    sheet.text(right, y + 16, f"{total / 100:.2f}", 25, _INK, "ra")
    sheet.text(left, y + 56, "incl. VAT 7 %", 16, _INK)
    sheet.text(right, y + 56, f"{total * 7 / 10_700:.2f}", 16, _INK, "ra")
    sheet.text(left, y + 80, f"Card  **** **** **** {card}", 16, _INK)
    _dashes(sheet, left, right, y + 110)
    sheet.text(middle, y + 130, "Thank you, see you soon!", 18, _INK, "mm")
    if barred:
        _bars(sheet, left + 30, right - 30, y + 150, 54, rng)
    # The light falls from one side.
    one, other = layout.uniform(0.85, 1, 2)
    shade = np.outer(np.linspace(1.0, one, height), np.linspace(1.0, other, width))
    return Image.fromarray((np.asarray(sheet.image) * shade[..., None]).astype(np.uint8))


def _dashes(sheet: Sheet, left: float, right: float, y: float) -> None:
    for x in range(int(left), int(right), 10):
        sheet.rule(x, y, x + 5, y, _INK)


def _bars(
    sheet: Sheet, x: float, right: float, y: float, high: float, rng: np.random.Generator
) -> None:
    """A bar code."""
    while x < right:
        bar = int(rng.integers(1, 4))
        sheet.box(x, y, bar, high, _INK)
        x += bar + int(rng.integers(2, 5))


def form(look: Look, rng: np.random.Generator) -> Image.Image:
    """A form of one office, of whose fields a few are filled in."""
    layout = look.choices()
    width, height = ((827, 1169), (900, 1200), (1169, 827))[int(layout.integers(3))]
    paper = hsv(layout.random(), layout.choice([0, 0.04]), 0.99)
    sheet = Sheet(look, width, height, paper)
    columns, tall = int(layout.integers(1, 4)), int(layout.integers(44, 66))
    pen = hsv(layout.uniform(0.58, 0.7), layout.uniform(0, 0.9), 0.35)
    sheet.text(60, 44, words.title(layout, look.language, 2, 5), 32, _INK, bold=True)
    sheet.text(width - 60, 50, f"F-{words.digits(layout, 4)}", 18, _INK, "ra")
    y = sheet.paragraph(
        60, 96, words.paragraph(layout, look.language, 3), 15, width - 120, fill=_INK
    )
    wide = (width - 120) / columns
    rows = int((height - 200 - y) // (tall + 24))
    boxes = bool(layout.integers(2))
    labels = [words.title(layout, look.language, 1, 3) for _ in range(rows * columns)]
    filled = set(rng.choice(rows * columns, min(rows * columns, int(rng.integers(5, 9))), False))
    for cell, label in enumerate(labels):
        x, top = 60 + cell % columns * wide, y + 20 + cell // columns * (tall + 24)
        sheet.text(x, top, label, 14, _INK)
        if boxes:
            sheet.box(x, top + 20, wide - 20, tall - 16, outline=_INK)
        else:
            sheet.rule(x, top + tall, x + wide - 20, top + tall, _INK)
        if cell in filled:
            said = (words.name(rng), words.digits(rng, 7), words.day(rng), words.amount(rng))
            text = said[int(rng.integers(4))]
            sheet.fitted(x + 10, top + 24, text, 20, wide - 40, fill=pen)
    for row in range(3):
        at = height - 130 + 30 * row
        sheet.box(60, at, 18, 18, outline=_INK)
        sheet.text(90, at, words.title(layout, look.language, 3, 7), 14, _INK)
        if rng.random() < 0.4:
            sheet.rule(62, at + 2, 76, at + 16, pen, 3)
            sheet.rule(76, at + 2, 62, at + 16, pen, 3)
    return sheet.image


def page(look: Look, rng: np.random.Generator) -> Image.Image:
    """A page of one book or journal, in one column or two."""
    layout = look.choices()
    width, height = ((827, 1169), (700, 1050), (900, 1200))[int(layout.integers(3))]
    size, columns = int(layout.integers(15, 24)), int(layout.integers(1, 3))
    margin, head = int(layout.integers(60, 110)), words.title(layout, look.language, 2, 5)
    paper = hsv(layout.uniform(0.08, 0.16), layout.uniform(0, 0.12), 0.98)
    sheet = Sheet(look, width, height, paper)
    number = int(rng.integers(2, 600))
    at = width - margin if number % 2 else margin
    sheet.text(width / 2, margin / 2, head, 15, _INK, "mm")
    sheet.text(at, height - margin / 2, str(number), 16, _INK, "mm")
    gap = 36
    wide = (width - 2 * margin - gap * (columns - 1)) / columns
    for column in range(columns):
        x, y = margin + column * (wide + gap), float(margin)
        if rng.random() < 0.4 and column == 0:
            heading = words.title(rng, look.language)
            y = sheet.paragraph(x, y, heading, size + 8, wide, fill=_INK, bold=True) + 10
        while y < height - margin - 2 * size:
            text = words.paragraph(rng, look.language, int(rng.integers(2, 7)))
            y = (
                sheet.paragraph(x, y, text, size, wide, fill=_INK, bottom=height - margin)
                + size / 2
            )
    return sheet.image


def table(look: Look, rng: np.random.Generator) -> Image.Image:
    """A spreadsheet of one office, with other figures in it."""
    layout = look.choices()
    columns, rows = int(layout.integers(4, 9)), int(layout.integers(12, 26))
    widths = layout.integers(90, 170, columns)
    widths[0] += 80
    tall, size = int(layout.integers(28, 38)), int(layout.integers(15, 19))
    width, height = int(widths.sum()) + 60, tall * (rows + 1) + 70
    sheet = Sheet(look, width, height)
    striped, ruled = bool(layout.integers(2)), bool(layout.integers(2))
    heads = [words.title(layout, look.language, 1, 2) for _ in range(columns)]
    money = layout.random(columns) < 0.5
    sheet.text(30, 12, f"{words.title(layout, look.language, 1, 3)} {rng.integers(2015, 2026)}", 24)
    lefts = 30 + np.concatenate([[0], np.cumsum(widths)])
    sheet.box(30, 50, width - 60, tall, look.accent)
    for column, head in enumerate(heads):
        x = float(lefts[column]) + 8
        sheet.fitted(x, 56, head, size, widths[column] - 12, fill=(255, 255, 255))
    for row in range(rows):
        y = 50 + tall * (row + 1)
        if striped and row % 2:
            sheet.box(30, y, width - 60, tall, mixed(look.paper, look.ink, 0.07))
        sheet.fitted(38, y + 6, words.title(rng, look.language, 1, 3), size, widths[0] - 12)
        for column in range(1, columns):
            value = words.amount(rng, 1, 90_000) if money[column] else str(rng.integers(0, 2000))
            if rng.random() < 0.9:
                sheet.text(float(lefts[column + 1]) - 10, y + 6, value, size, anchor="ra")
        if ruled:
            sheet.rule(30, y, width - 30, y, look.soft)
    for x in lefts if ruled else ():
        sheet.rule(float(x), 50, float(x), height - 20, look.soft)
    return sheet.image


def card(look: Look, rng: np.random.Generator) -> Image.Image:
    """A business card of one firm."""
    layout = look.choices()
    sheet = Sheet(look, 1050, 600)
    firm = f"{words.name(layout).split()[1]} {words.title(layout, look.language, 1, 2)}"
    x, kind = int(layout.integers(60, 400)), int(layout.integers(3))
    if kind == 0:
        sheet.box(0, 0, 40, 600, look.accent)
    elif kind == 1:
        sheet.box(0, 500, 1050, 100, look.accent)
    else:
        sheet.draw.polygon([(1050, 0), (760, 0), (1050, 420)], fill=look.accent)
    for ring in range(int(layout.integers(1, 4))):
        at = 110 + 46 * ring
        sheet.draw.ellipse((x, 70, x + at, 70 + at), outline=look.accent, width=9)
    sheet.text(x + 210, 100, firm, 46, look.accent, bold=True)
    person, host = words.name(rng), f"{firm.split()[0].lower()}.example"
    sheet.text(x, 270, person, 44)
    sheet.fitted(x, 330, words.title(rng, look.language, 1, 3), 26, 600, fill=look.soft)
    sheet.text(x, 400, f"+49 {words.digits(rng, 3)} {words.digits(rng, 7)}", 26)
    sheet.text(x, 440, f"{person.split()[1].lower()}@{host}", 26)
    return sheet.image


def ticket(look: Look, rng: np.random.Generator) -> Image.Image:
    """A boarding pass or an entrance ticket of one house."""
    layout = look.choices()
    width, height = int(layout.integers(900, 1300)), int(layout.integers(400, 560))
    sheet = Sheet(look, width, height)
    stub = int(width * layout.uniform(0.66, 0.76))
    sheet.box(0, 0, width, 84, look.accent)
    sheet.text(
        30, 42, words.title(layout, look.language, 2, 4), 34, (255, 255, 255), "lm", bold=True
    )
    for y in range(84, height, 18):
        sheet.rule(stub, y, stub, y + 9, look.soft, 2)
    heads = [words.title(layout, look.language, 1, 2) for _ in range(6)]
    places = ("HAM", "LIS", "OSL", "ATH", "GVA", "BRU", "RIX", "TLS")
    one, other = rng.choice(places, 2, replace=False)
    values = [
        *(words.name(rng), words.day(rng), words.hour(rng)),
        *(
            f"{one} - {other}",
            words.digits(rng, 2),
            f"{rng.integers(1, 40)}{rng.choice(list('ABCDEF'))}",
        ),
    ]
    for field, (head, value) in enumerate(zip(heads, values, strict=True)):
        x, y = 30 + field % 2 * stub // 2, 110 + field // 2 * (height - 130) // 3
        sheet.text(x, y, head, 17, look.soft)
        sheet.text(x, y + 24, value, 32)
    sheet.text(stub + 24, 110, values[0].split()[1], 26)
    sheet.text(stub + 24, 150, values[5], 40, bold=True)
    cells = 21
    side = int(min(width - stub - 60, height - 230) / cells)
    pattern = rng.random((cells, cells)) < 0.5
    sheet.box(stub + 16, 212, side * cells + 16, side * cells + 16, (255, 255, 255))
    for row, column in zip(*np.nonzero(pattern), strict=True):
        sheet.box(stub + 24 + column * side, 220 + row * side, side - 1, side - 1, (0, 0, 0))
    return sheet.image
