"""Pictures that lie in a picture: what a screenshot, a frame, a collage or a photograph on top of
another shows, found by straight edges.

A vector of the whole says little of them, and one of a fixed window mixes them with what is around.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 160  # pixels of the longer side at which edges are looked for
STEP = 14  # levels from one pixel to the next, in some channel, that may be a picture's edge
LINES = 12  # of either direction that may be one, the likeliest
APART = 3  # pixels between two lines
LEAST = 0.15  # share of the whole's width or height that an inner picture has
SHORTEST = 16  # pixels of one
LONGEST = 0.95  # share of the whole's area
DENSE = 0.6  # share of each side of a rectangle that is an edge
FLAT = 10  # levels by which a bar differs from its median
SPECKS = 0.03  # share of a bar's pixels that may differ more

Box = tuple[float, float, float, float]


def inner_pictures(image: Image.Image, count: int) -> list[Box]:
    """Where pictures seem to lie in an image, the likeliest first.

    A rectangle whose sides are edges along most of their length (sides of the image itself need
    none, of two of them), the one with the clearest sides and the larger area first, without bars
    of one colour around it; where there is none, the image without such bars. Which are no inner
    pictures after all costs a vector that resembles nothing.

    Args:
        image: RGB.
        count: most that are given.

    Returns:
        Boxes (left, top, right, bottom) in shares of width and height; they may overlap.
    """
    shrink = min(1.0, SIDE / max(image.size))
    width, height = (max(1, round(side * shrink)) for side in image.size)
    if min(width, height) < SHORTEST:
        return []
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    # A plane after the other in memory, seen as height, width and channel.
    planes = np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1)).astype(np.int16)
    pixels = planes.transpose(1, 2, 0)
    found = []
    for left, top, right, bottom in _rectangles(pixels, count) or [(0, 0, width, height)]:
        # The edge itself belongs to neither side.
        x0, x1 = left + (left > 0), right - (right < width)
        y0, y1 = top + (top > 0), bottom - (bottom < height)
        up, down, west, east = _without_bars(pixels[y0:y1, x0:x1])
        if min(east - west, down - up) <= SHORTEST:
            continue  # bars all through
        box = x0 + west, y0 + up, x0 + east, y0 + down
        if (box[2] - box[0]) * (box[3] - box[1]) < LONGEST * width * height:
            found.append((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
    return found


def cut(image: Image.Image, box: Box) -> Image.Image:
    """What lies in a box, at least four pixels wide and high."""
    width, height = image.size
    left, top = (min(round(box[i] * s), s - 1) for i, s in ((0, width), (1, height)))
    right, bottom = max(round(box[2] * width), left + 4), max(round(box[3] * height), top + 4)
    return image.crop((left, top, min(right, width), min(bottom, height)))


def _rectangles(pixels: np.ndarray, count: int) -> list[tuple[int, int, int, int]]:
    """The likeliest rectangles of int16 (height, width, 3): left, top, right, bottom."""
    height, width = pixels.shape[:2]
    across, down = _edges(pixels), _edges(pixels.transpose(1, 0, 2))
    columns, below = _lines(across)
    rows, beside = _lines(down)
    left, right = _pairs(columns, width)
    top, bottom = _pairs(rows, height)
    i, j = (g.ravel() for g in np.meshgrid(np.arange(len(left)), np.arange(len(top))))
    left, right, top, bottom = left[i], right[i], top[j], bottom[j]
    high, wide = bottom - top, right - left
    sides = np.stack(
        [
            (below[bottom, left] - below[top, left]) / high,
            (below[bottom, right] - below[top, right]) / high,
            (beside[right, top] - beside[left, top]) / wide,
            (beside[right, bottom] - beside[left, bottom]) / wide,
        ]
    )
    own = np.stack([left > 0, right < width, top > 0, bottom < height])
    edges = own.sum(0)
    weakest = np.where(own, sides, 1.0).min(0, initial=1.0)
    area = high * wide / (height * width)
    clear = np.where(own, sides, 0.0).sum(0) / np.maximum(edges, 1)
    # A side of the image is no evidence, and a whole that is hardly smaller than the image none of
    # an inner picture: area counts up to 0.6.
    likely = clear * np.minimum(area, 0.6) ** 0.25 * np.array([0, 0, 0.8, 0.95, 1.0])[edges]
    likely[(weakest < DENSE) | (area >= LONGEST)] = 0
    chosen: list[tuple[int, int, int, int]] = []
    for at in np.argsort(-likely, kind="stable"):
        if likely[at] <= 0 or len(chosen) == count:
            break
        box = int(left[at]), int(top[at]), int(right[at]), int(bottom[at])
        if all(_shared(box, other) <= 0.5 for other in chosen):
            chosen.append(box)
    return chosen


def _edges(pixels: np.ndarray) -> np.ndarray:
    """Where a column differs from the one before it, more than its neighbours do: bool (height,
    width + 1)."""
    height, width = pixels.shape[:2]
    step = np.zeros((height, width + 3), np.int16)
    most = step[:, 2:-2]
    for channel in range(3):  # one after the other: a maximum over a short last axis is slow
        plane = pixels[:, :, channel]
        np.maximum(most, np.abs(plane[:, 1:] - plane[:, :-1]), out=most)
    here = step[:, 1:-1]
    peak: np.ndarray = (here >= step[:, :-2]) & (here >= step[:, 2:]) & (here >= STEP)
    return peak


def _lines(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the columns with the longest stretches of edge, ascending; and how much edge
    each column has above each row, int32 (height + 1, width + 1), give or take a pixel beside."""
    near = edges.copy()
    near[:, 1:] |= edges[:, :-1]
    near[:, :-1] |= edges[:, 1:]
    above = np.zeros((len(edges) + 1, edges.shape[1]), np.int32)
    np.cumsum(near, axis=0, out=above[1:])
    # The stretch with most edge, where a gap costs as much as one and a half pixels of edge bring.
    gained = 5 * above - 3 * np.arange(len(above))[:, None]
    longest = (gained - np.minimum.accumulate(gained, axis=0)).max(0)
    longest[[0, -1]] = 0
    chosen: list[int] = []
    free = longest >= 2 * 0.8 * LEAST * len(edges)
    for at in np.argsort(-longest, kind="stable")[: np.count_nonzero(free)].tolist():
        if free[at] and len(chosen) < LINES:
            free[max(0, at - APART) : at + APART + 1] = False
            chosen.append(at)
    return np.array(sorted(chosen), np.int64), above


def _pairs(lines: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Two of the lines or the image's own sides, far enough from each other."""
    lines = np.concatenate([[0], lines, [length]])
    first, second = np.triu_indices(len(lines), 1)
    apart = lines[second] - lines[first]
    far = apart >= max(SHORTEST, LEAST * length)
    return lines[first[far]], lines[second[far]]


def _shared(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Area of both over area of either."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    both = max(wide, 0) * max(high, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return both / (sum(areas) - both)


def _without_bars(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is left without sides of one colour."""
    up, down, west, east = 0, pixels.shape[0], 0, pixels.shape[1]
    while True:
        before = up, down, west, east
        while down - up > SHORTEST and _is_flat(pixels[up, west:east]):
            up += 1
        while down - up > SHORTEST and _is_flat(pixels[down - 1, west:east]):
            down -= 1
        while east - west > SHORTEST and _is_flat(pixels[up:down, west]):
            west += 1
        while east - west > SHORTEST and _is_flat(pixels[up:down, east - 1]):
            east -= 1
        if (up, down, west, east) == before:
            return before


def _is_flat(strip: np.ndarray) -> bool:
    middle = np.partition(strip, len(strip) // 2, axis=0)[len(strip) // 2]
    return bool((np.abs(strip - middle).max(1) > FLAT).sum() <= SPECKS * len(strip))
