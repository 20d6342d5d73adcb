"""Photographs to learn from: decoded once into a memory-mapped cache; some are set aside."""

import hashlib
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from idedup_tasks.compute import usable_cores
from idedup_tasks.training.recipes import TrainingError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}

# One photograph in six chooses thresholds and weights, and is never learnt from.
SET_ASIDE = 6

# Side of the square that a photograph is kept as: the default's input side.
CACHE_SIDE = 192


def photo_files(folder: Path) -> list[Path]:
    """All photographs under a folder, in order of name.

    Raises TrainingError where there are none.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise TrainingError(f"{folder} holds no photographs; give a folder with {sorted(SUFFIXES)}")
    return files


def is_set_aside(file: Path) -> bool:
    """Whether a photograph is kept for calibration, decided by its name alone."""
    return zlib.crc32(file.name.encode()) % SET_ASIDE == 0


def open_photo(file: Path) -> Image.Image:
    """Decode to RGB with orientation applied."""
    with Image.open(file) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


@dataclass(frozen=True)
class PhotoCache:
    """Decoded photographs: `pixels` uint8 (n, 3, side, side), squashed; `aspects` width/height."""

    pixels: np.ndarray
    aspects: np.ndarray


def cache_photos(files: list[Path], folder: Path, side: int = CACHE_SIDE) -> PhotoCache:
    """Decode photographs into `folder` once; later calls with the same files map what is there.

    `side` is that of the squares they are kept as, in pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identity = [[str(f), f.stat().st_size] for f in files]
    digest = hashlib.sha256(json.dumps([side, identity]).encode()).hexdigest()[:16]
    pixels_file, aspects_file = folder / f"{digest}.u8", folder / f"{digest}.npy"
    shape = (len(files), 3, side, side)
    # The aspects are written last: where they are, the pixels are whole.
    if not aspects_file.exists():
        pixels = np.memmap(pixels_file, np.uint8, "w+", shape=shape)

        def decode(row: int) -> float:
            image = open_photo(files[row])
            small = image.resize((side, side), Image.Resampling.BICUBIC)
            pixels[row] = np.asarray(small).transpose(2, 0, 1)
            return image.width / image.height

        with ThreadPoolExecutor(usable_cores()) as pool:
            aspects = np.array(list(pool.map(decode, range(len(files)))), np.float32)
        pixels.flush()
        np.save(aspects_file, aspects)
    return PhotoCache(np.memmap(pixels_file, np.uint8, "r", shape=shape), np.load(aspects_file))
