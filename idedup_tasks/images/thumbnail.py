"""The small picture that hashes and descriptors are computed from.

Its making is part of the collection's identity: short side 256, long side at most 1,024, never
enlarged, RGB, orientation applied, transparency on white, JPEG quality 90.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageChops

THUMBNAIL_SHORT_SIDE = 256
THUMBNAIL_LONG_SIDE = 1024
THUMBNAIL_QUALITY = 90


def thumbnail_size(width: int, height: int) -> tuple[int, int]:
    scale = min(
        THUMBNAIL_SHORT_SIDE / min(width, height), THUMBNAIL_LONG_SIDE / max(width, height), 1.0
    )
    return max(1, round(width * scale)), max(1, round(height * scale))


def write_thumbnail(picture: Image.Image) -> bytes:
    """A picture of thumbnail size as the lake keeps it."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=THUMBNAIL_QUALITY)
    return stream.getvalue()


def open_thumbnail(data: bytes) -> Image.Image:
    """Decode a thumbnail of the lake: RGB, as ingest made it."""
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.load()
    return image


def colourfulness(thumbnail: Image.Image) -> float:
    """Mean distance of a pixel's highest channel from its lowest in levels, 0 for grey.

    It is not rounded: of equal pixels it is equal, and of a lossy copy's in colour hardly ever.
    """
    red, green, blue = thumbnail.convert("RGB").split()
    # Of three levels the distances add up to twice that of the highest and the lowest.
    apart = ((red, green), (green, blue), (blue, red))
    levels = sum(int(np.asarray(ImageChops.difference(*two)).sum()) for two in apart)
    return levels / (2 * thumbnail.width * thumbnail.height)


def is_low_information(thumbnail: Image.Image) -> bool:
    """Tell whether a picture is flat or nearly blank, so that only equal bytes prove a copy.

    The RGB picture is averaged over a grid of 32 x 32 cells, which takes noise away. It is low in
    information if inside the outer eighth of the grid

    - the cells' levels, from the 1st to the 99th percentile, spread by at most 10 of 256 in every
      channel (a speck, a staple or a page number does not make a page; a line of text does), and
    - the median deviation of pixels within a cell is at most 10, so that an even texture is not
      taken for a blank,

    and each line of cells along the outer eighth spreads as little from its 10th to its 90th
    percentile, up to one a side: a blank may have a frame or a scanner's dark edge, but a skyline
    under an empty sky is a picture.
    """
    cells_a_side, margin, flat, noise = 32, 4, 10.0, 10.0
    rgb = thumbnail.convert("RGB")
    grid = rgb.resize((cells_a_side, cells_a_side), Image.Resampling.BOX)
    cells = np.asarray(grid, dtype=np.float64)
    inner = cells[margin:-margin, margin:-margin]
    if _spread(inner.reshape(-1, 3), tail=1) > flat:
        return False

    # Deviation within a cell: mean of squares less the square of the mean, on the grey picture.
    grey = np.asarray(rgb.convert("L"), dtype=np.float32)
    squares = Image.fromarray(grey**2).resize(grid.size, Image.Resampling.BOX)
    means = Image.fromarray(grey).resize(grid.size, Image.Resampling.BOX)
    variance = np.asarray(squares, np.float64) - np.asarray(means, np.float64) ** 2
    inner_variance = variance[margin:-margin, margin:-margin]
    if float(np.sqrt(max(np.median(inner_variance), 0.0))) > noise:
        return False

    for side in range(4):
        lines = np.rot90(cells, side)[:margin, margin:-margin]
        if sum(_spread(line, tail=10) > flat for line in lines) > 1:
            return False
    return True


def _spread(levels: np.ndarray, tail: int) -> float:
    """Distance between the percentiles `tail` and 100 - `tail`, in the widest channel of (n, 3)."""
    low, high = np.percentile(levels, (tail, 100 - tail), axis=0)
    return float((high - low).max())
