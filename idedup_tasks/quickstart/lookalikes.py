"""Pictures of one layout that are not the same: chats of one app, receipts of a shop, charts.

People keep many of these, and they are what a finder of duplicates most easily merges wrongly.
Each is an RGB picture of what it shows, drawn with the font that Pillow carries; the same generator
gives the same picture.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_INK = (32, 33, 36)
_SOFT = (120, 124, 130)
_SAID = (
    "Are you home yet?",
    "The train is late again, about twenty minutes.",
    "Could you bring bread and some milk?",
    "I found the keys, they were in the other coat.",
    "Happy birthday!! Hope you have a lovely day.",
    "Shall we say seven at the station?",
    "Mum asks whether you are coming on Sunday.",
    "The parcel came, I put it under the stairs.",
    "What was the name of that film?",
    "No idea, something with a lighthouse.",
    "The plumber can only come on Thursday morning.",
    "I booked the table for four people.",
    "Did you see the snow on the hills?",
    "Running late, start without me.",
    "The cat has been on the roof since noon.",
    "Thanks for yesterday, it was great to see everyone.",
    "My phone is nearly empty, call me on the other one.",
    "The meeting was moved to half past ten.",
    "Can you send me the address once more?",
    "Hafenstrasse 12, second floor, the bell says Meyer.",
    "I think we should take the earlier ferry.",
    "The dentist says it has to come out.",
    "Don't forget to water the tomatoes.",
    "The car needs new tyres before the holiday.",
    "He said maybe, which means no.",
    "Got the job!",
    "We are at the lake, the water is freezing.",
    "Two tickets left, shall I take them?",
    "The neighbours are drilling again.",
    "Send me the picture of the two of us on the bridge.",
    "It rained all day, so we went to the museum.",
    "I'll pay you back on Friday.",
    "There is soup in the fridge.",
    "Which size do you wear, 42 or 43?",
    "The concert was cancelled.",
    "Ok",
    "Sure, no problem.",
    "See you there",
    "That is a long story, I will tell you tonight.",
    "Good night",
)
_GOODS = (
    "Apples 1 kg", "Bread rye", "Butter 250 g", "Candles", "Cheese Gouda", "Chocolate dark",
    "Coffee beans", "Cucumber", "Eggs x10", "Flour 1 kg", "Grapes", "Honey", "Ice cream",
    "Jam plum", "Lemons x4", "Milk 1 l", "Mushrooms", "Napkins", "Oat flakes", "Olive oil",
    "Onions 1 kg", "Oranges 2 kg", "Paper towels", "Pasta penne", "Pepper black", "Rice basmati",
    "Salmon", "Shampoo", "Sparkling water", "Spinach", "Tea green", "Toothpaste", "Tomatoes",
    "Walnuts", "Yoghurt",
)  # fmt: skip
_MEASURED = (
    "Visitors", "Orders", "Returns", "Support tickets", "New members", "Energy in MWh",
    "Rainfall in mm", "Page views in thousands", "Downloads", "Deliveries", "Loans",
    "Overnight stays",
)  # fmt: skip
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _wrapped(draw: ImageDraw.ImageDraw, text: str, size: int, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=_font(size)) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def chat(rng: np.random.Generator) -> Image.Image:
    """A screenshot, 540 x 1170, of a conversation with the same person in the same app."""
    width, height = 540, 1170
    image = Image.new("RGB", (width, height), (239, 231, 221))
    draw = ImageDraw.Draw(image)
    clock = int(rng.integers(7 * 60, 22 * 60))
    y, sender = 176.0, bool(rng.integers(2))
    chosen = [_SAID[n] for n in rng.permutation(len(_SAID))]
    # From the first message down until the screen is full, as a conversation scrolls.
    for said in chosen:
        lines = _wrapped(draw, said, 22, 330)
        wide = max(draw.textlength(line, font=_font(22)) for line in lines)
        wide, tall = max(wide + 36, 130), 29 * len(lines) + 38
        if y + tall > height - 110:
            break
        left = width - 18 - wide if sender else 18
        bubble = (220, 248, 198) if sender else (255, 255, 255)
        draw.rounded_rectangle(
            (left, y + 2, left + wide, y + tall + 2), radius=16, fill=(216, 208, 198)
        )
        draw.rounded_rectangle((left, y, left + wide, y + tall), radius=16, fill=bubble)
        for row, line in enumerate(lines):
            draw.text((left + 18, y + 9 + 29 * row), line, fill=_INK, font=_font(22))
        at = f"{clock // 60:02}:{clock % 60:02}"
        draw.text((left + wide - 14, y + tall - 10), at, fill=_SOFT, font=_font(15), anchor="rs")
        clock = min(clock + int(rng.integers(0, 9)), 24 * 60 - 1)
        if rng.random() < 0.65:
            sender, y = not sender, y + 8
        y += tall + 8
    draw.rectangle((0, 0, width, 148), fill=(7, 94, 84))
    draw.text((28, 14), f"{clock // 60:02}:{clock % 60:02}", fill="white", font=_font(21))
    battery = int(rng.integers(4, 30))
    draw.rounded_rectangle((470, 17, 504, 35), radius=4, outline="white", width=2)
    draw.rectangle((473, 20, 473 + battery, 32), fill="white")
    for bar in range(4):
        draw.rectangle((424 + 9 * bar, 32 - 4 * bar, 430 + 9 * bar, 35), fill="white")
    draw.line([(40, 84), (24, 98), (40, 112)], fill="white", width=4, joint="curve")
    draw.ellipse((58, 66, 122, 130), fill=(223, 173, 120))
    draw.ellipse((78, 76, 102, 102), fill=(96, 62, 44))
    draw.pieslice((66, 100, 114, 148), 180, 360, fill=(96, 62, 44))
    draw.text((140, 70), "Anna", fill="white", font=_font(28))
    draw.text((140, 106), "online", fill=(190, 220, 214), font=_font(19))
    for dot in range(3):
        draw.ellipse((508, 86 + 11 * dot, 514, 92 + 11 * dot), fill="white")
    draw.rectangle((0, height - 88, width, height), fill=(239, 231, 221))
    draw.rounded_rectangle((14, height - 78, 452, height - 22), radius=28, fill="white")
    draw.text((44, height - 50), "Message", fill=_SOFT, font=_font(22), anchor="lm")
    draw.ellipse((466, height - 80, 526, height - 20), fill=(0, 150, 136))
    arrow = [(486, height - 62), (512, height - 50), (486, height - 38), (490, height - 50)]
    draw.polygon(arrow, fill="white")
    return image


def receipt(rng: np.random.Generator) -> Image.Image:
    """A photograph, 480 x 800, of a receipt of one shop on a table."""
    width, height = 480, 800
    grain = rng.normal(0, 4, (height, 1)) + rng.normal(0, 2.5, (height, width))
    table = np.array([128, 96, 68]) + grain[..., None] * np.array([1, 0.9, 0.8])
    image = Image.fromarray(table.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    count = int(rng.integers(5, 12))
    bottom = 452 + 27 * count
    draw.rectangle((66, 26, 422, bottom + 6), fill=(88, 64, 46))
    draw.rectangle((60, 20, 416, bottom), fill=(250, 249, 245))
    ink, centre = (58, 58, 66), 238
    draw.rounded_rectangle((138, 40, 338, 92), radius=10, fill=ink)
    draw.text((centre, 66), "GREENS & CO", fill=(250, 249, 245), font=_font(26), anchor="mm")
    for row, line in enumerate(("Market Square 4", "Tel. 0123 456 780", "VAT no. 20 773 1184")):
        draw.text((centre, 114 + 21 * row), line, fill=ink, font=_font(16), anchor="mm")
    day = f"{rng.integers(1, 29):02}/{rng.integers(1, 13):02}/2025"
    hour = f"{rng.integers(8, 20):02}:{rng.integers(60):02}"
    draw.text((78, 182), f"{day}  {hour}", fill=ink, font=_font(17))
    draw.text(
        (398, 182), f"No. {rng.integers(10_000, 99_999)}", fill=ink, font=_font(17), anchor="ra"
    )
    _dashes(draw, 214, ink)
    y, total = 226, 0
    for good in rng.choice(len(_GOODS), count, replace=False):
        cents = int(rng.integers(8, 130)) * 10 - 1
        total += cents
        draw.text((78, y), _GOODS[good], fill=ink, font=_font(18))
        draw.text((398, y), f"{cents / 100:.2f}", fill=ink, font=_font(18), anchor="ra")
        y += 27
    _dashes(draw, y + 6, ink)
    draw.text((78, y + 16), "TOTAL EUR", fill=ink, font=_font(25))
    draw.text((398, y + 16), f"{total / 100:.2f}", fill=ink, font=_font(25), anchor="ra")
    draw.text((78, y + 56), "incl. VAT 7 %", fill=ink, font=_font(16))
    draw.text((398, y + 56), f"{total * 7 / 10_700:.2f}", fill=ink, font=_font(16), anchor="ra")
    draw.text((78, y + 80), "Card  **** **** **** 4417", fill=ink, font=_font(16))
    _dashes(draw, y + 110, ink)
    draw.text((centre, y + 130), "Thank you, see you soon!", fill=ink, font=_font(18), anchor="mm")
    x = 108
    while x < 366:
        bar = int(rng.integers(1, 4))
        draw.rectangle((x, y + 150, x + bar, y + 204), fill=ink)
        x += bar + int(rng.integers(2, 5))
    # The light falls from one side.
    shade = np.outer(np.linspace(1.0, 0.95, height), np.linspace(1.0, 0.86, width))
    return Image.fromarray((np.asarray(image) * shade[..., None]).astype(np.uint8))


def _dashes(draw: ImageDraw.ImageDraw, y: int, ink: tuple[int, int, int]) -> None:
    for x in range(78, 398, 10):
        draw.line([(x, y), (x + 5, y)], fill=ink, width=1)


def chart(rng: np.random.Generator) -> Image.Image:
    """A chart, 800 x 500, of two years of something by month, in one report's style."""
    width, height = 800, 500
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    colours = ((176, 190, 205), (31, 119, 180))
    what, year = _MEASURED[int(rng.integers(len(_MEASURED)))], int(rng.integers(2015, 2025))
    draw.text((60, 22), f"{what} by month", fill=_INK, font=_font(28))
    step = (20, 50, 100, 200, 500)[int(rng.integers(5))]
    left, right, top, bottom = 80, 770, 110, 440
    for row in range(6):
        y = bottom - (bottom - top) * row / 5
        draw.line([(left, y), (right, y)], fill=(222, 224, 228), width=1)
        draw.text((left - 12, y), f"{step * row:,}", fill=_SOFT, font=_font(17), anchor="rm")
    phase = np.arange(12) / 12 * 2 * np.pi * rng.integers(1, 3) + rng.uniform(0, 6.3)
    season = 0.5 + 0.28 * np.sin(phase)
    for series, colour in enumerate(colours):
        values = (season + rng.uniform(-0.15, 0.15) + rng.normal(0, 0.09, 12)).clip(0.04, 0.98)
        for month, value in enumerate(values):
            x = left + (right - left) * (month + 0.5) / 12 + (series - 1) * 22
            draw.rectangle((x, bottom - (bottom - top) * value, x + 20, bottom), fill=colour)
        x = 590 + 95 * series
        draw.rectangle((x, 66, x + 18, 84), fill=colour)
        draw.text((x + 26, 75), str(year + series), fill=_INK, font=_font(18), anchor="lm")
    draw.line([(left, bottom), (right, bottom)], fill=_SOFT, width=2)
    for month, name in enumerate(_MONTHS):
        x = left + (right - left) * (month + 0.5) / 12
        draw.text((x, bottom + 20), name, fill=_SOFT, font=_font(17), anchor="mm")
    draw.text((60, 480), "Source: monthly report", fill=_SOFT, font=_font(14), anchor="lm")
    return image
