"""Why two images are, or are not, duplicates: where they match, and what decided.

>>> found = idedup_tasks.explain("a.jpg", "b.jpg")
>>> found.verdict
'Near duplicates: the cosine of 0.8312 reaches the pair threshold of 0.5151.'
>>> found.where.similarity_a  # float32 (96, 96): what of the first image the second shows
>>> found.save("why.html")
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from idedup_tasks.explanation.alignment import COMMON, Alignment, Box, align

if TYPE_CHECKING:
    from idedup_tasks.explanation.places import PlaceNetwork
    from idedup_tasks.settings import Thresholds

# Rows and columns of the maps of similarity; the network's own are fewer.
_SIDE = 96
_POINTS = 5

# How the second image is changed to look like the first, in the order of `hashes.DIHEDRAL`.
TURNS = (
    "",
    "turned by 90° to the left",
    "turned upside down",
    "turned by 90° to the right",
    "mirrored",
    "flipped top to bottom",
    "mirrored and turned by 90° to the left",
    "mirrored and turned by 90° to the right",
)


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


@dataclass(frozen=True)
class Explanation:
    """Why two images are, or are not, duplicates.

    Attributes:
        a, b: what the two images are called.
        cosine: of their descriptors, as the workflow compares them: rounded to 4 decimals.
        thresholds: of the descriptor, or the collection's own.
        hash: kind of perceptual hash; hash_distance: bits of 64 in which the two differ.
        same_bytes: whether the files are equal.
        relation: what they are, compared alone: `exact`, `perceptual`, `near`, or None.
        uncertain: a near duplicate, or nearly one, within the margin of the pair threshold.
        verdict: the same in a sentence.
        decided: what the collection made of the two, in a sentence; None when it was not asked.
        turn: how the second image is changed to look like the first; "" when it need not be.
            `where` and `picture_b` show it so.
        turned_cosine: the cosine then.
        common_cosine: the cosine of the parts that both show, cut out; None without a common part.
        where: the maps.
        picture_a, picture_b: the thumbnails that were compared.
    """

    a: str
    b: str
    model_id: str
    cosine: float
    thresholds: Thresholds
    hash: str
    hash_distance: int
    same_bytes: bool
    relation: str | None
    uncertain: bool
    verdict: str
    decided: str | None
    turn: str
    turned_cosine: float
    common_cosine: float | None
    where: Where
    picture_a: Image.Image = field(repr=False)
    picture_b: Image.Image = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """What was measured, without pictures and maps: plain JSON."""
        shown = ("where", "picture_a", "picture_b", "thresholds")
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shown}
        common = self.where.common
        return {
            **plain,
            "thresholds": self.thresholds.model_dump(),
            "common": None if common is None else asdict(common),
            "points": [asdict(point) for point in self.where.points],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as something to look at: a PNG, or an HTML file that needs nothing else.

        Args:
            path: the file, in a folder that is there.

        Raises:
            ValueError: the name ends in neither .html nor .png.
        """
        from idedup_tasks.explanation import picture

        file = Path(path)
        check_drawing(file)
        if file.suffix.lower() == ".png":
            picture.draw(self).save(file, "PNG")
        else:
            file.write_text(picture.page(self), encoding="utf-8")


def check_drawing(path: Path) -> None:
    """Raises ValueError where an explanation cannot be drawn into a file of that name."""
    if path.suffix.lower() not in (".html", ".png"):
        raise ValueError(f"{path} is neither .html nor .png: name a file of one of these.")


def decide(
    same_bytes: bool,
    low_information: bool,
    hash_distance: int,
    cosine: float,
    common_cosine: float | None,
    thresholds: Thresholds,
    margin: float,
) -> tuple[str | None, bool, str]:
    """What two images are, compared alone: relation, whether it is uncertain, and the verdict.

    Args:
        low_information: one of the two is flat or near-blank, and matches by its bytes only.
        cosine: rounded to 4 decimals, as scores are.
        common_cosine: of what both show, cut out; None where nothing was found.
        margin: cosine on either side of the pair threshold.
    """
    if same_bytes:
        return "exact", False, "Exact duplicates: the two files have the same bytes."
    if low_information:
        return (
            None,
            False,
            "Not duplicates: a flat or near-blank picture matches by its bytes only, and the two "
            "files differ.",
        )
    limit = thresholds.phash_distance
    if hash_distance <= limit:
        return (
            "perceptual",
            False,
            f"Perceptual twins: their hashes differ in {hash_distance} of 64 bits, and up to "
            f"{limit} count as the same picture.",
        )
    uncertain = abs(cosine - thresholds.pair) < margin
    doubt = f" That is within {margin:g} of it: look at the pictures." if uncertain else ""
    if cosine >= thresholds.pair:
        return (
            "near",
            uncertain,
            f"Near duplicates: the cosine of {cosine:.4f} reaches the pair threshold of "
            f"{thresholds.pair:g}.{doubt}",
        )
    if common_cosine is not None and common_cosine >= thresholds.pair:
        doubt += (
            f" Yet the parts that both show have a cosine of {common_cosine:.4f}: this may well be "
            "one picture, cut or framed in different ways."
        )
    return (
        None,
        uncertain,
        f"Not called duplicates: the cosine of {cosine:.4f} is below the pair threshold of "
        f"{thresholds.pair:g}.{doubt}",
    )


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
