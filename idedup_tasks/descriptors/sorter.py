"""The sorter: of two images that lie near each other, whether a look is likely to find a copy.

A cosine is one number of two pictures. The cosines of all their parts say more: parts of a copy lie
where those of its original do, turned or shifted together, and those of a look-alike do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

EIGHT_BITS = 127  # what unit vectors are multiplied by
BLOCK = 2_000  # pairs: some 10 MB
DECIMALS = 4

# What a cosine of 1 more than `Sorter.inner` of an inner picture counts.
_INNER_SLOPE = 20.0
_KNOTS = (1.0, 2.5)  # standard deviations above the mean from which a clue counts more, or less


@dataclass(frozen=True)
class Sorter:
    """A logistic regression on clues of pairs, fitted by calibration.

    mean, deviation: (f,) of the clues. weights: (3 f,), of the clues in standard deviations, and of
    what they exceed one and two and a half by. bias: so that zero is the level from which a pair
    is looked at. inner: cosine of a picture that lies in one image with the other image, or with a
    picture that lies in it, from which the pair is looked at whatever the clues say; such a picture
    is a whole, and resembles no stranger as parts cut by a grid do.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    inner: float = math.inf

    def likeness(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """How likely pairs are copies: float64 (m,) to four decimals, from 0 on worth a look.

        Args:
            first, second: (m, 1 + parts, dim) int8, vectors of images and of their parts, times
                127: of the regions, and then of pictures that lie in the image. It does not matter
                which image is first.
        """
        found = [np.empty(0)]
        for start in range(0, len(first), BLOCK):
            part = slice(start, start + BLOCK)
            one, other = first[part], second[part]
            likeness = self.of_clues(clues(one, other))
            if has_inner(first):
                cosine = nearest_inner(one, other).astype(np.float64) / EIGHT_BITS**2
                inner = _INNER_SLOPE * (cosine - self.inner)
                likeness = np.maximum(likeness, np.round(inner, DECIMALS))
            found.append(likeness)
        return np.concatenate(found)

    def of_clues(self, values: np.ndarray) -> np.ndarray:
        """The same, of clues float64 (m, f)."""
        standard = (values - self.mean) / np.array(self.deviation)
        # Not a product of matrices, whose order of summing is the machine's.
        terms = _with_knots(standard) * np.array(self.weights)
        likeness: np.ndarray = np.round(terms.sum(axis=1) + self.bias, DECIMALS)
        return likeness


def regions_of(parts: int) -> int:
    """How many of an image's parts are regions, a square number of them; the others, fewer than it
    takes to the next square, are pictures that lie in it."""
    return math.isqrt(parts) ** 2


def has_inner(vectors: np.ndarray) -> bool:
    """Whether vectors (m, 1 + parts, dim) are of pictures that lie in images too."""
    parts: int = vectors.shape[1] - 1
    return regions_of(parts) < parts


def nearest_inner(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The highest cosine, times 127², of a picture in one image with the other image or a picture
    in it: float32 (m,), whole numbers.

    Args:
        first, second: as `Sorter.likeness` takes them.
    """
    regions = regions_of(first.shape[1] - 1)
    wholes = [np.delete(side, np.s_[1 : 1 + regions], axis=1) for side in (first, second)]
    one, other = (side.astype(np.float32) for side in wholes)
    products = np.matmul(one, other.transpose(0, 2, 1)).reshape(len(one), -1)
    # The first is that of the two images.
    nearest: np.ndarray = products[:, 1:].max(1)
    return nearest


def clues(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Clues float64 (m, f) of m pairs, the same whichever image is first.

    Args:
        first, second: as `Sorter.likeness` takes them, of which the wholes and regions count.
    """
    count = 1 + regions_of(first.shape[1] - 1)
    first, second = first[:, :count], second[:, :count]
    products = np.matmul(first.astype(np.float32), second.astype(np.float32).transpose(0, 2, 1))
    # Whole numbers so far, and exact; sums of them in float64 are as well.
    cosines = products.astype(np.float64)
    m, parts = len(cosines), cosines.shape[1] - 1
    whole, inside = cosines[:, 0, 0], cosines[:, 1:, 1:]
    of_first, of_second = cosines[:, 1:, 0], cosines[:, 0, 1:]
    # Of the image that has the part nearest to the other, then of the other.
    wider = (of_first.max(1) >= of_second.max(1))[:, None]
    near, far = np.where(wider, of_first, of_second), np.where(wider, of_second, of_first)
    rows, columns = inside.max(2).sum(1), inside.max(1).sum(1)
    turns, shifts = _places(round(parts**0.5))
    turned = np.stack([inside[:, np.arange(parts), turn] for turn in turns], 1)
    shifted = np.stack([inside[:, a, b].sum(1) / len(a) for a, b in shifts], 1)
    values = np.stack(
        [
            whole,
            near.max(1),
            far.max(1),
            near.sum(1) / parts,
            far.sum(1) / parts,
            np.partition(inside.reshape(m, -1), -parts, axis=1)[:, -parts],
            inside.sum((1, 2)) / parts**2,
            np.minimum(rows, columns) / parts,
            np.maximum(rows, columns) / parts,
            turned.sum(2).max(1) / parts,
            turned.min(2).max(1),
            turned[:, 0].sum(1) / parts,
            shifted.max(1),
            np.maximum(whole, near.max(1)),
        ],
        axis=1,
    )
    return values / EIGHT_BITS**2


def fit_sorter(copies: np.ndarray, others: np.ndarray, weight: np.ndarray, most: float) -> Sorter:
    """Fit a sorter on clues of pairs.

    Args:
        copies: (k, f) clues of true pairs; others: (m, f), of false ones that lie near.
        weight: (m,) how many pairs each of the others stands for.
        most: how many of the false pairs, by weight, may be looked at.
    """
    values = np.concatenate([copies, others])
    mean, deviation = values.mean(0), values.std(0) + 1e-6
    design = np.column_stack([_with_knots((values - mean) / deviation), np.ones(len(values))])
    truth = np.arange(len(values)) < len(copies)
    share = np.concatenate([np.ones(len(copies)), weight])
    ridge = np.append(np.ones(design.shape[1] - 1), 1e-6)
    beta = np.zeros(design.shape[1])
    for _ in range(30):  # Newton's method, which settles within ten
        expected = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        slope = design.T @ (share * (truth - expected)) - ridge * beta
        curve = (design * (share * expected * (1 - expected))[:, None]).T @ design
        beta += np.linalg.solve(curve + np.diag(ridge), slope)
    rounded = [tuple(np.round(part, 6).tolist()) for part in (mean, deviation, beta[:-1])]
    sorter = Sorter(rounded[0], rounded[1], rounded[2], bias=0.0)
    likeness = sorter.of_clues(others)
    order = np.argsort(-likeness, kind="stable")
    above = np.cumsum(weight[order]) > most
    level = likeness[order[above.argmax()]] if above.any() else likeness.min(initial=0.0)
    return replace(sorter, bias=-float(np.round(level + 10.0**-DECIMALS, DECIMALS)))


def _with_knots(standard: np.ndarray) -> np.ndarray:
    return np.concatenate([standard, *(np.maximum(standard - knot, 0) for knot in _KNOTS)], axis=1)


def _places(side: int) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    """Which parts of two images lie on each other: in its eight turned and mirrored places, the
    first as it is; and where one is shifted against the other by a part's distance."""
    grid = np.arange(side * side).reshape(side, side)
    turns = [np.rot90(g, k).ravel() for g in (grid, grid[:, ::-1]) for k in range(4)]
    shifts = []
    for down, across in product((-1, 0, 1), repeat=2):
        rows = slice(max(0, down), side + min(0, down)), slice(max(0, -down), side - max(0, down))
        columns = (
            slice(max(0, across), side + min(0, across)),
            slice(max(0, -across), side - max(0, across)),
        )
        if (down or across) and side > 1:
            shifts.append((grid[rows[0], columns[0]].ravel(), grid[rows[1], columns[1]].ravel()))
    return turns, shifts or [(grid.ravel(), grid.ravel())]
