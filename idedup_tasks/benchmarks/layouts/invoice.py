"""An invoice as it is scanned: A4 at 300 dpi, where one digit is a few of millions of pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

from idedup_tasks.benchmarks.layouts import words
from idedup_tasks.benchmarks.layouts.sheet import Look, Sheet, mixed

SIZE = (2480, 3508)


def invoice(
    look: Look, rng: np.random.Generator, change: np.random.Generator | None = None
) -> Image.Image:
    """An invoice of one firm; with `change`, another digit in one of its sums, and nothing else."""
    layout = look.choices()
    sheet = Sheet(look, *SIZE, mixed((255, 255, 255), look.accent, layout.uniform(0, 0.03)))
    ink, soft = (30, 30, 34), (110, 110, 116)
    size, tall = int(layout.integers(36, 46)), int(layout.integers(78, 120))
    firm = f"{words.name(layout).split()[1]} {words.title(layout, look.language, 1, 2)}"
    street = f"{words.title(layout, look.language, 1, 2)} {layout.integers(1, 90)}"
    ruled, barred = bool(layout.integers(2)), bool(layout.integers(2))
    heads = [words.title(layout, look.language, 1, 2) for _ in range(4)]
    closing = words.paragraph(layout, look.language, 3)
    if barred:
        sheet.box(0, 0, SIZE[0], 150, look.accent)
    sheet.text(220, 210, firm, 96, look.accent, bold=True)
    sheet.text(SIZE[0] - 220, 230, street, size, soft, "ra")
    sheet.text(SIZE[0] - 220, 300, f"{words.digits(layout, 5)} Hamburg", size, soft, "ra")
    for row in range(3):
        line = (words.name(rng), words.title(rng, look.language, 1, 3), words.digits(rng, 5))[row]
        sheet.text(220, 520 + 64 * row, line, size, ink)
    sheet.text(220, 860, f"{heads[0]} {words.digits(rng, 6)}", 64, ink, bold=True)
    sheet.text(SIZE[0] - 220, 880, words.day(rng), size, ink, "ra")
    count = int(rng.integers(6, 16))
    cents = rng.integers(100, 400_000, count)
    sums = [f"{value / 100:,.2f}" for value in [*cents, cents.sum(), cents.sum() * 0.19]]
    items = [words.title(rng, look.language, 2, 6) for _ in range(count)]
    numbers = rng.integers(1, 60, count)
    if change is not None:
        at = int(change.integers(len(sums)))
        sums[at] = _another_digit(sums[at], change)
    right, y = SIZE[0] - 220, 1060
    for x, head, anchor in ((220, heads[1], "la"), (1600, heads[2], "ra"), (right, heads[3], "ra")):
        sheet.text(x, y, head, size, soft, anchor)
    for row, item in enumerate(items):
        y += tall
        if ruled:
            sheet.rule(220, y - 14, right, y - 14, (190, 190, 194), 2)
        sheet.fitted(220, y, item, size, 1150, fill=ink)
        sheet.text(1600, y, str(numbers[row]), size, ink, "ra")
        sheet.text(right, y, sums[row], size, ink, "ra")
    sheet.rule(1400, y + tall - 14, right, y + tall - 14, ink, 5)
    for row, text in enumerate(sums[count:]):
        sheet.text(right, y + tall * (row + 1), f"{text} EUR", size + 6, ink, "ra", bold=row == 0)
    sheet.paragraph(220, 3100, closing, size - 8, SIZE[0] - 440, fill=soft)
    return sheet.image


def _another_digit(text: str, rng: np.random.Generator) -> str:
    places = [place for place, letter in enumerate(text) if letter.isdigit()]
    place = int(rng.choice(places))
    others = [digit for digit in "123456789" if digit != text[place]]
    return f"{text[:place]}{rng.choice(others)}{text[place + 1 :]}"
