"""Where two images match: maps of similarity, and what each place adds to their cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from idedup_tasks.explanation.alignment import COMMON, Alignment, Box, align

if TYPE_CHECKING:
    from idedup_tasks.explanation.places import PlaceNetwork

# Rows and columns of the maps of similarity; the network's own are fewer.
_SIDE = 96
_POINTS = 5


@dataclass(frozen=True)
class Point:
    """A place of each image that look alike: x and y as shares of width and height; the cosine."""

    xa: float
    ya: float
    xb: float
    yb: float
    similarity: float


@dataclass(frozen=True)
class Where:
    """Where two images match.

    similarity_a, similarity_b: (96, 96) float32, how alike each place of one image is to the place
    of the other that it corresponds to, as a cosine, 0 outside what both show. Without a common
    part: to the place of the other that it is most like.
    contribution_a, contribution_b: (rows, columns) float32, each place's part of the cosine of the
    two images; each of the two maps sums to that cosine.
    common: what both show, or None if nothing was found.
    points: places of both that correspond and stand out; none without a common part.
    """

    similarity_a: np.ndarray
    similarity_b: np.ndarray
    contribution_a: np.ndarray
    contribution_b: np.ndarray
    common: Alignment | None
    points: tuple[Point, ...]


def best_turn(network: PlaceNetwork, a: Image.Image, turned: dict[int, Image.Image]) -> int:
    """Which of the second image's positions fits the first image best; the first of them where
    none shows a common part.

    The cosine hardly knows a mirrored copy from its original; where their places are, does.
    """
    if len(turned) == 1:
        return next(iter(turned))
    seen = network.closely(a)
    scores = {turn: align(seen, network.closely(b)).score for turn, b in turned.items()}
    return max(scores, key=lambda turn: scores[turn] if scores[turn] >= COMMON else 0.0)


def find_where(
    network: PlaceNetwork, a: Image.Image, b: Image.Image, turn: Image.Transpose | None = None
) -> Where:
    """Compare two images place by place; maps of the second are of it with `turn` applied."""
    turned = b if turn is None else b.transpose(turn)
    seen_a, seen_b = network.closely(a), network.closely(turned)
    common = align(seen_a, seen_b)
    parts_a, parts_b = network.parts(a), network.parts(b)
    contribution_b = _map(parts_b.parts @ parts_a.vector)
    if common.score < COMMON:
        return Where(
            *_most_alike(seen_a, seen_b),
            parts_a.parts @ parts_b.vector,
            np.array(contribution_b if turn is None else contribution_b.transpose(turn)),
            None,
            (),
        )
    # The common part of both at one size: its places correspond one to one.
    seen_a = network.closely(cut(a, common.box_a))
    seen_b = network.closely(cut(turned, common.box_b))
    similar = (seen_a * seen_b).sum(axis=2)
    return Where(
        _placed(similar, common.box_a),
        _placed(similar, common.box_b),
        parts_a.parts @ parts_b.vector,
        np.array(contribution_b if turn is None else contribution_b.transpose(turn)),
        common,
        _points(similar, seen_a, seen_b, common),
    )


def cut(image: Image.Image, box: Box) -> Image.Image:
    """The part of an image within a box of shares of its width and height; 8 pixels at least."""
    left, top = (int(min(edge * s, s - 8)) for edge, s in zip(box[:2], image.size, strict=True))
    right = max(left + 8, round(box[2] * image.width))
    bottom = max(top + 8, round(box[3] * image.height))
    return image.crop((left, top, right, bottom))


def _map(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.float32))


def _placed(similar: np.ndarray, box: Box) -> np.ndarray:
    """A map of the whole image, 0 outside the box that the similarities are of."""
    left, top, right, bottom = (round(edge * _SIDE) for edge in box)
    size = (max(right - left, 1), max(bottom - top, 1))
    whole = np.zeros((_SIDE, _SIDE), dtype=np.float32)
    inside = np.asarray(_map(similar).resize(size, Image.Resampling.BILINEAR))
    whole[top : top + size[1], left : left + size[0]] = inside[: _SIDE - top, : _SIDE - left]
    return whole.clip(0, 1)


def _most_alike(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each place of either image the similarity of the place of the other most like it."""
    dim = a.shape[2]
    similar = a.reshape(-1, dim) @ b.reshape(-1, dim).T
    whole = (0.0, 0.0, 1.0, 1.0)
    return (
        _placed(similar.max(axis=1).reshape(a.shape[:2]), whole),
        _placed(similar.max(axis=0).reshape(b.shape[:2]), whole),
    )


def _points(
    similar: np.ndarray, seen_a: np.ndarray, seen_b: np.ndarray, common: Alignment
) -> tuple[Point, ...]:
    """The places that are alike and unlike the rest of the picture, none beside another.

    A patch of sky is like all of the sky: a place counts by how much more it is like its
    counterpart than like the other's places on average.
    """
    rows, columns = similar.shape
    left = np.full(similar.shape, -np.inf)
    left[1:-1, 1:-1] = (similar - seen_a @ seen_b.mean(axis=(0, 1)))[1:-1, 1:-1]
    points = []
    for _ in range(_POINTS):
        row, column = (int(i) for i in np.unravel_index(int(left.argmax()), left.shape))
        at = ((column + 0.5) / columns, (row + 0.5) / rows)
        xa, ya = _within(at, common.box_a)
        xb, yb = _within(at, common.box_b)
        points.append(Point(xa, ya, xb, yb, round(float(similar[row, column]), 4)))
        left[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = -np.inf
    return tuple(points)


def _within(at: tuple[float, float], box: Box) -> tuple[float, float]:
    return box[0] + at[0] * (box[2] - box[0]), box[1] + at[1] * (box[3] - box[1])
