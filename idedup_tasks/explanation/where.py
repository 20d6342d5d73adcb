"""Where two images match: maps of similarity, and what each place adds to their cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from idedup_tasks.explanation.drawing import Pair, moved, turned

if TYPE_CHECKING:
    from idedup_tasks.explanation.places import PlaceNetwork

# Rows and columns of the maps of similarity; the network's own are fewer.
_SIDE = 96


@dataclass(frozen=True)
class Where:
    """Where two images match.

    similarity_a, similarity_b: (96, 96) float32, how alike each place of one image is to the place
    of the other that lies on it, as a cosine, 0 outside what both show. Where nothing says how they
    lie: to the place of the other that it is most like.
    contribution_a, contribution_b: (rows, columns) float32, each place's part of the cosine of the
    two images; each of the two maps sums to that cosine.
    """

    similarity_a: np.ndarray
    similarity_b: np.ndarray
    contribution_a: np.ndarray
    contribution_b: np.ndarray


def find_where(network: PlaceNetwork, a: Image.Image, b: Image.Image, pair: Pair) -> Where:
    """Compare two images place by place.

    Args:
        a, b: the images as they are.
        pair: how they lie on each other; the maps of `b` are of it as it stands there.
    """
    parts_a, parts_b = network.parts(a), network.parts(b)
    contribution_b = turned(_map(parts_b.parts @ parts_a.vector), pair.turn)
    contributions = parts_a.parts @ parts_b.vector, np.array(contribution_b)
    if pair.laid is None:
        seen = (network.closely(image) for image in (pair.a, pair.b))
        return Where(*_most_alike(*seen), *contributions)
    # What both show, on one grid: its places lie on each other.
    seen_a, seen_b = (
        network.closely(Image.fromarray(shown.squeeze())) for shown in (pair.laid.a, pair.laid.b)
    )
    similar = _map((seen_a * seen_b).sum(axis=2).clip(0, 1))
    size = (_SIDE, _SIDE)
    placed = [np.array(moved(similar, to, size)) for to in (pair.laid.to_a, pair.laid.to_b)]
    return Where(placed[0], placed[1], *contributions)


def _map(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.float32))


def _most_alike(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each place of either image the similarity of the place of the other most like it."""
    dim = a.shape[2]
    similar = a.reshape(-1, dim) @ b.reshape(-1, dim).T
    size = (_SIDE, _SIDE)
    best = (
        _map(found.reshape(shape[:2])).resize(size, Image.Resampling.BILINEAR)
        for found, shape in ((similar.max(axis=1), a.shape), (similar.max(axis=0), b.shape))
    )
    one, other = (np.asarray(found).clip(0, 1) for found in best)
    return one, other
