"""A sample collection with a known answer, made from photographs that pip packages carry.

scikit-image and scikit-learn ship about twenty photographs. Honest edits of them are the
duplicates, generated scenes are the unrelated rest, and a ground-truth file says which is which.
It shows that a run works; it is far too small and too easy to quote a figure from.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

DAYS = 3
SCENES = 170

_PHOTOS = {
    "skimage/data": (
        "astronaut.png brick.png camera.png chelsea.png clock_motion.png coffee.png coins.png "
        "grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png page.png "
        "retina.jpg rocket.jpg text.png"
    ),
    "sklearn/datasets/images": "china.jpg flower.jpg",
}


def make_sample(
    target: Path, *, first_day: date | None = None, seed: int = 2025, scenes: int = SCENES
) -> Path:
    """Write the sample collection, a few hundred files over three days; once.

    The same arguments give the same pictures and modification times. A sample that is there
    whole (its ground-truth file is written last) is left alone.

    Args:
        target: folder to make; its files are spread over folders as a person's would be.
        first_day: UTC day of the first arrivals; by default the three days end yesterday.
        seed: of everything random.
        scenes: how many unrelated scenes are generated.

    Returns:
        The ground truth, `{target}-truth.csv` beside the folder: `file` (relative to it),
        `original` (what it was made from; files with the same are duplicates; empty for the
        broken ones) and `edit` (`original`, `broken`, or what was done).
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
        *_write_scenes(target, rng, scenes),
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
    """Name and RGB picture of each photograph that the installed packages carry.

    Raises:
        FileNotFoundError: a package is not installed or lacks a picture.
    """
    for folder, names in _PHOTOS.items():
        package = folder.split("/")[0]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(
                f"The sample needs the pictures of {package}: pip install -r requirements.txt."
            )
        base = Path(spec.origin).parent.parent / folder
        for name in names.split():
            with Image.open(base / name) as image:
                yield name.split(".")[0], image.convert("RGB")


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
    ("format changed", _same, "heic", 80),
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
        # Seven or eight of the edits each, another choice for the next photograph.
        for position, (edit, change, ending, quality) in enumerate(_EDITS):
            if (position + number) % 5 in (1, 3):
                continue
            file = f"{'phone' if position % 2 else 'exports'}/{name}-{edit.replace(' ', '-')}"
            file = f"{file}.{ending}"
            _save(change(image, rng), target / file, quality)
            rows.append((file, name, edit))
    return rows


def _save(image: Image.Image, path: Path, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".heic":
        from pillow_heif import register_heif_opener

        register_heif_opener()
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


# --- generated scenes ---


def _write_scenes(
    target: Path, rng: np.random.Generator, scenes: int
) -> list[tuple[str, str, str]]:
    rows = []
    for number in range(scenes):
        size = (int(rng.integers(380, 640)), int(rng.integers(300, 520)))
        draw = _SCENES[number % len(_SCENES)]
        file = f"scenes/{draw.__name__[1:]}-{number:03}.jpg"
        _save(draw(rng, size), target / file, 88)
        rows.append((file, f"scene {number:03}", "original"))
    return rows


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in rng.integers(10, 246, size=3))
    return red, green, blue


def _noise(rng: np.random.Generator, size: tuple[int, int], octaves: int = 6) -> np.ndarray:
    """Fractal noise in [0, 1], float64 of (height, width): random grids of doubling fineness."""
    total = np.zeros((size[1], size[0]))
    roughness = rng.uniform(0.4, 0.75)
    for octave in range(octaves):
        cells = 2 ** (octave + 1)
        grid = Image.fromarray(rng.random((cells + 1, cells + 1)).astype(np.float32))
        total += roughness**octave * np.asarray(grid.resize(size, Image.Resampling.BICUBIC))
    return (total - total.min()) / np.ptp(total)


def _toned(values: np.ndarray, colours: np.ndarray) -> Image.Image:
    """Map [0, 1] of (height, width) onto a ramp of (n, 3) colours."""
    at = np.linspace(0, 1, len(colours))
    channels = [np.interp(values, at, colours[:, c]) for c in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def _landscape(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    sky = np.linspace(0, 1, height)[:, None] ** rng.uniform(0.5, 2) * np.ones(width)
    image = _toned(
        np.clip(sky + 0.25 * _noise(rng, size) - 0.12, 0, 1), rng.integers(60, 256, (3, 3))
    )
    draw = ImageDraw.Draw(image)
    x, y, r = rng.uniform(0, width), rng.uniform(0, height / 2), rng.uniform(10, height / 6)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=_colour(rng))
    for layer in range(int(rng.integers(2, 6))):
        ridge = _noise(rng, (width, 2), octaves=7)[0] * height * rng.uniform(0.15, 0.6)
        base = height * (0.35 + 0.15 * layer)
        points = [(float(i), float(base + h)) for i, h in enumerate(ridge)]
        draw.polygon([*points, (width, height), (0, height)], fill=_colour(rng))
    for _ in range(int(rng.integers(0, 60))):
        x, y = rng.uniform(0, width), rng.uniform(height * 0.6, height)
        tall = rng.uniform(8, 60)
        draw.polygon([(x - tall / 3, y), (x, y - tall), (x + tall / 3, y)], fill=_colour(rng))
    return image


def _terrain(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    warp = _noise(rng, size, int(rng.integers(3, 8)))
    if rng.random() < 0.5:
        warp = np.abs(np.sin(warp * rng.uniform(4, 25)))
    return _toned(warp, rng.integers(0, 256, (int(rng.integers(3, 8)), 3)))


def _skyline(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    image = _toned(
        np.linspace(0, 1, height)[:, None] * np.ones(width), rng.integers(0, 256, (3, 3))
    )
    draw = ImageDraw.Draw(image)
    x = -20.0
    while x < width:
        wide, tall = rng.uniform(20, 110), rng.uniform(0.15, 0.9) * height
        wall, light = _colour(rng), _colour(rng)
        draw.rectangle((x, height - tall, x + wide, height), fill=wall)
        step = rng.uniform(8, 22)
        for column in np.arange(x + 4, x + wide - 5, step):
            for row in np.arange(height - tall + 5, height, step * rng.uniform(0.8, 1.6)):
                if rng.random() < 0.6:
                    draw.rectangle((column, row, column + step / 2, row + step / 2), fill=light)
        x += wide + rng.uniform(-10, 25)
    return image


def _mosaic(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    from scipy.spatial import cKDTree

    width, height = size
    count = int(rng.integers(12, 160))
    sites = rng.uniform(0, 1, (count, 2)) * (width, height)
    ys, xs = np.mgrid[0:height, 0:width]
    distances, nearest = cKDTree(sites).query(np.stack([xs, ys], axis=-1), k=2)
    pixels = rng.integers(0, 256, (count, 3))[nearest[..., 0]].astype(np.float64)
    pixels[distances[..., 1] - distances[..., 0] < rng.uniform(0, 5)] = _colour(rng)
    return Image.fromarray(pixels.astype(np.uint8))


def _still(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Overlapping shapes with soft shadows on a textured ground."""
    width, height = size
    image = _toned(_noise(rng, size), rng.integers(40, 240, (3, 3)))
    for _ in range(int(rng.integers(4, 22))):
        draw = ImageDraw.Draw(image)
        x, y = rng.uniform(-0.1, 1, 2) * (width, height)
        w, h = rng.uniform(0.06, 0.5, 2) * (width, height)
        box, fill = (x, y, x + w, y + h), _colour(rng)
        shadow = tuple(c + 8 for c in box)
        kind = int(rng.integers(4))
        if kind == 0:
            draw.ellipse(shadow, fill=(20, 20, 20))
            draw.ellipse(box, fill=fill)
        elif kind == 1:
            draw.rounded_rectangle(shadow, radius=min(w, h) / 4, fill=(20, 20, 20))
            draw.rounded_rectangle(box, radius=min(w, h) / 4, fill=fill)
        elif kind == 2:
            corners = [tuple(rng.uniform(0, 1, 2) * (w, h) + (x, y)) for _ in range(5)]
            draw.polygon(corners, fill=fill)
        else:
            draw.arc(box, 0, rng.uniform(90, 360), fill=fill, width=int(rng.integers(4, 40)))
        if rng.random() < 0.3:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))
    return image


def _lights(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Out-of-focus lights on a dark ground."""
    width, height = size
    image = _toned(_noise(rng, size, 3), rng.integers(0, 90, (2, 3)))
    for _ in range(int(rng.integers(8, 70))):
        layer = Image.new("L", size)
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, 60)
        strength = int(rng.integers(60, 220))
        ImageDraw.Draw(layer).ellipse((x - r, y - r, x + r, y + r), fill=strength)
        image.paste(Image.new("RGB", size, _colour(rng)), mask=layer)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 4)))


def _weave(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Bands that cross at an angle, worn by noise."""
    width, height = size
    ys, xs = np.mgrid[0:height, 0:width]
    angle = rng.uniform(0, np.pi)
    along, across = xs * np.cos(angle) + ys * np.sin(angle), ys * np.cos(angle) - xs * np.sin(angle)
    bend = _noise(rng, size, 4) * rng.uniform(0, 6)
    bands = np.sin(along / rng.uniform(4, 40) + bend) + np.sin(across / rng.uniform(4, 90) - bend)
    values = np.clip(bands / 4 + 0.5 + 0.2 * (_noise(rng, size) - 0.5), 0, 1)
    return _toned(values, rng.integers(0, 256, (int(rng.integers(2, 6)), 3)))


_SCENES = (_landscape, _terrain, _skyline, _mosaic, _still, _lights, _weave)
