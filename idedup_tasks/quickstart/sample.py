"""A sample collection with a known answer: photographs, and pictures that only look alike.

scikit-image ships a dozen photographs; honest edits of them are the duplicates. Beside them lie
chats of one app, receipts of one shop and charts of one report, each another one, a few with copies
of their own. A ground-truth file says which is which. It shows that a run works, and where it errs;
it is far too small to quote a figure from.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from idedup_tasks.benchmarks.layouts import FAMILIES, Colour, Look, scene

DAYS = 3

_PHOTOS = (
    "astronaut.png camera.png chelsea.png coffee.png coins.png hubble_deep_field.jpg ihc.png "
    "moon.png motorcycle_left.png page.png retina.jpg rocket.jpg"
)


def make_sample(target: Path, *, first_day: date | None = None, seed: int = 2025) -> Path:
    """Write the sample collection, between 200 and 300 files over three days; once.

    The same arguments give the same pictures and modification times. A sample that is there
    whole (its ground-truth file is written last) is left alone.

    Args:
        target: folder to make; its files are spread over folders as a person's would be.
        first_day: UTC day of the first arrivals; by default the three days end yesterday.
        seed: of everything random.

    Returns:
        The ground truth, `{target}-truth.csv` beside the folder: `file` (relative to it),
        `original` (what it was made from; files with the same are duplicates; empty for the
        broken ones; a photograph's name, or a kind and a number such as `receipt 07`) and `edit`
        (`original`, `broken`, or what was done).
    """
    truth = target.with_name(f"{target.name}-truth.csv")
    if truth.exists():
        return truth
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    first = first_day or datetime.now(UTC).date() - timedelta(days=DAYS)
    rows = [
        *_write_photos(target, rng),
        *_write_lookalikes(target, rng),
        *_write_broken(target),
    ]
    for number, (file, _, _) in enumerate(rows):
        # Files of one original lie next to each other in `rows`, so they fall on all the days.
        day = int(rng.integers(DAYS)) if number % 2 else number % DAYS
        moment = datetime.combine(first, time(6), UTC) + timedelta(days=day, minutes=number)
        os.utime(target / file, (moment.timestamp(), moment.timestamp()))
    partial = truth.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "original", "edit"])
        writer.writerows(sorted(rows))
    partial.replace(truth)
    return truth


def arrival_days(target: Path) -> list[date]:
    """The UTC days on which a sample's files arrived, in order."""
    files = (path for path in target.rglob("*") if path.is_file())
    return sorted({datetime.fromtimestamp(f.stat().st_mtime, UTC).date() for f in files})


def photographs() -> Iterator[tuple[str, Image.Image]]:
    """Name and RGB picture of each photograph that scikit-image carries.

    Raises:
        FileNotFoundError: it is not installed or lacks a picture.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "The sample needs the photographs of scikit-image: pip install -r requirements.txt."
        )
    for name in _PHOTOS.split():
        with Image.open(Path(spec.origin).parent / "data" / name) as image:
            yield name.split(".")[0], image.convert("RGB")


# --- how right an answer is ---


def wrong_pairs(truth: Mapping[str, str | None], found: Mapping[str, str | None]) -> Counter[str]:
    """Pairs of files that share a group and should not, by what they show.

    Args:
        truth: what each file was made from, as in the sample's ground truth, or None.
        found: group of each file, None for a file in no group.
    """
    groups: dict[str, list[str]] = {}
    for file, group in found.items():
        if group is not None:
            groups.setdefault(group, []).append(truth.get(file) or "")
    wrong: Counter[str] = Counter()
    for members in groups.values():
        for one, other in combinations(members, 2):
            if one != other:
                kinds = {name.rpartition(" ")[0] or "photograph" for name in (one, other)}
                wrong["of two kinds" if len(kinds) > 1 else f"{kinds.pop()}s"] += 1
    return wrong


def agreement(
    truth: Mapping[str, str | None], found: Mapping[str, str | None]
) -> tuple[int, int, int]:
    """Compare two groupings of the same files by the pairs that share a group.

    Args:
        truth, found: group of each file, None for a file in no group.

    Returns:
        Pairs in the truth, pairs found, pairs in both.
    """

    def pairs(groups: Iterable[Any]) -> int:
        return sum(n * (n - 1) // 2 for n in Counter(groups).values())

    both = [
        (truth[file], group)
        for file, group in found.items()
        if group is not None and truth.get(file) is not None
    ]
    return (
        pairs(group for group in truth.values() if group is not None),
        pairs(group for group in found.values() if group is not None),
        pairs(both),
    )


# --- edits of a photograph ---


def _resized(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(0.4, 0.8)
    return image.resize((round(image.width * factor), round(image.height * factor)))


def _same(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    margins = rng.uniform(0.02, 0.12, size=4) * np.tile(image.size, 2)
    left, top, right, bottom = (round(m) for m in margins)
    return image.crop((left, top, image.width - right, image.height - bottom))


def _rotated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    angle = rng.uniform(2, 5) * rng.choice([-1, 1])
    turned = image.rotate(angle, Image.Resampling.BICUBIC)
    return ImageOps.crop(turned, border=round(0.08 * min(image.size)))


def _recoloured(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.8, 1.25))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.8, 1.25))
    return ImageEnhance.Color(image).enhance(rng.uniform(0.4, 1.5))


def _grey(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.convert("L")


def _watermarked(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    overlay = Image.new("L", image.size)
    draw = ImageDraw.Draw(overlay)
    size = image.height / 12
    for row in range(3):
        draw.text(
            (image.width * (0.1 + 0.2 * row), image.height * (0.2 + 0.25 * row)),
            "SAMPLE (c) idedup",
            fill=150,
            font_size=size,
        )
    return Image.composite(Image.new("RGB", image.size, "white"), image, overlay)


def _bordered(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.expand(image, border=round(0.04 * min(image.size)), fill="white")


def _blurred(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.5))


def _mirrored(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(image)


_Edit = Callable[[Image.Image, np.random.Generator], Image.Image]
_EDITS: tuple[tuple[str, _Edit, str, int], ...] = (  # what is done, how, file ending, quality
    ("resized", _resized, "jpg", 85),
    ("recompressed", _same, "jpg", 35),
    ("format changed", _same, "webp", 80),
    ("format changed", _same, "tiff", 0),
    ("cropped", _cropped, "jpg", 88),
    ("rotated", _rotated, "jpg", 88),
    ("recoloured", _recoloured, "jpg", 88),
    ("grey", _grey, "png", 0),
    ("watermarked", _watermarked, "jpg", 88),
    ("bordered", _bordered, "jpg", 88),
    ("blurred", _blurred, "jpg", 88),
    ("mirrored", _mirrored, "jpg", 88),
)


def _write_photos(target: Path, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    rows = []
    for number, (name, image) in enumerate(photographs()):
        original = f"camera/{name}.jpg"
        _save(image, target / original, 92)
        rows.append((original, name, "original"))
        copy = f"backup/{name} (copy).jpg"
        (target / copy).parent.mkdir(exist_ok=True)
        shutil.copyfile(target / original, target / copy)
        rows.append((copy, name, "exact copy"))
        # Nine or ten of the edits each, another choice for the next photograph.
        for position, (edit, change, ending, quality) in enumerate(_EDITS):
            if (position + number) % 5 == 1:
                continue
            file = f"{'phone' if position % 2 else 'exports'}/{name}-{edit.replace(' ', '-')}"
            file = f"{file}.{ending}"
            _save(change(image, rng), target / file, quality)
            rows.append((file, name, edit))
    return rows


def _save(image: Image.Image, path: Path, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": quality} if quality else {}
    buffer = io.BytesIO()  # one write, so that a full disk leaves no half picture that decodes
    image.save(buffer, Image.registered_extensions()[path.suffix], **options)
    path.write_bytes(buffer.getvalue())


def _write_broken(target: Path) -> list[tuple[str, str, str]]:
    whole = (target / "camera/astronaut.jpg").read_bytes()
    (target / "phone/interrupted upload.jpg").write_bytes(whole[: len(whole) // 40])
    (target / "phone/notes.jpg").write_text("Not a picture, whatever the name says.\n")
    (target / "backup/empty.png").touch()
    names = ("phone/interrupted upload.jpg", "phone/notes.jpg", "backup/empty.png")
    return [(name, "", "broken") for name in names]


# --- what only looks alike ---


def _look(seed: int, paper: Colour, accent: Colour) -> Look:
    ink, soft = (32, 33, 36), (120, 124, 130)
    return Look(seed, None, "en", paper, ink, soft, accent, scene)


# Kind, look, folder, ending and number: one app, one shop and one report, in Pillow's own font.
_LOOKALIKES: tuple[tuple[str, Look, str, str, int], ...] = (
    (
        "chat",
        _look(3, (239, 231, 221), (0, 150, 136)),
        "phone/Screenshots",
        "png",
        16,
    ),
    ("receipt", _look(1, (250, 249, 245), (58, 58, 66)), "documents/receipts", "jpg", 14),
    ("chart", _look(2, (255, 255, 255), (31, 119, 180)), "documents/charts", "png", 12),
)
_SENT = (  # what happens to a picture on its way from one folder to another
    ("resized", _resized, "jpg", 85),
    ("recompressed", _same, "jpg", 40),
    ("format changed", _same, "webp", 80),
)


def _write_lookalikes(target: Path, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    rows = []
    for kind, look, folder, ending, count in _LOOKALIKES:
        for number in range(1, count + 1):
            name, image = f"{kind} {number:02}", FAMILIES[kind](look, rng)
            original = f"{folder}/{name}.{ending}"
            _save(image, target / original, 90 if ending == "jpg" else 0)
            rows.append((original, name, "original"))
            # Every other one was sent to somebody, every sixth one twice.
            for position in range((number % 2) + (number % 6 == 1)):
                edit, change, end, quality = _SENT[(number // 2 + position) % len(_SENT)]
                file = f"{name}-{edit.replace(' ', '-')}.{end}"
                file = f"{'messages' if position else 'backup'}/{file}"
                _save(change(image, rng), target / file, quality)
                rows.append((file, name, edit))
    return rows
