"""Learning from pairs, as the paper's IdedupNet does: views, loss and what counts as accuracy.

The paper gives the kinds of augmentation, cosine similarity and a threshold found by a grid search
from 0.70 to 0.95 in steps of 0.05. It does not give the strength of the colour changes (here 20 %),
the loss (here that of Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant
Mapping, 2006, eq. 4, without its factors of one half, margin 1), which pairs are shown (here as
many copies as unrelated pairs) or on what accuracy is counted (here the share of right decisions on
validation pairs at the threshold).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter, functional

from idedup_tasks.training.augment import GREY
from idedup_tasks.training.recipes import Recipe

CROP = 0.1
ROTATION = 15.0
COLOUR = 0.2
MARGIN = 1.0
THRESHOLDS = tuple(round(0.70 + 0.05 * i, 2) for i in range(6))


class Pairs:
    """The objective of the paper's network."""

    def optimizer(self, parameters: Iterator[Parameter], recipe: Recipe) -> torch.optim.Optimizer:
        """Adam, whose weight decay is the L2 penalty (Keras' 0.0001·w² has twice its gradient)."""
        return torch.optim.Adam(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)

    def views(
        self,
        pixels: np.ndarray,
        aspects: np.ndarray,
        recipe: Recipe,
        side: int,
        rng: np.random.Generator,
    ) -> list[Tensor]:
        """Each photograph as it is and augmented: two of uint8 (n, 3, side, side)."""
        return [resized(pixels, side).byte(), augmented(pixels, aspects, side, rng)]

    def loss(self, vectors: Tensor, photos: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
        """Loss of the views of a batch, vectors (2n, dim), and the share of right decisions."""
        same, other = pair_cosines(*vectors.chunk(2))
        accuracy = best_threshold(same.detach(), other.detach())[1]
        return pair_loss(same, other), torch.tensor(accuracy)

    def accuracy(self, originals: Tensor, copies: Tensor) -> tuple[float, float | None]:
        """Share of right decisions on validation pairs, and the threshold that gives it."""
        threshold, accuracy = best_threshold(*pair_cosines(originals, copies))
        return accuracy, threshold


def resized(pixels: np.ndarray, side: int) -> Tensor:
    """Images uint8 (n, 3, s, s) as float (n, 3, side, side) in [0, 255]."""
    source = torch.from_numpy(pixels).float()
    return functional.interpolate(
        source, (side, side), mode="bilinear", align_corners=False, antialias=True
    ).clamp(0, 255)


def augmented(
    pixels: np.ndarray, aspects: np.ndarray, side: int, rng: np.random.Generator
) -> Tensor:
    """The paper's augmentation of images uint8 (n, 3, s, s): uint8 (n, 3, side, side).

    Cropped by up to 10 % of each side, flipped either way, turned by up to 15 degrees (corners
    repeat the edge), brightness, contrast and saturation changed by up to 20 %.
    """
    n = len(pixels)
    kept = rng.uniform(1 - CROP, 1, (n, 2))
    shift = rng.uniform(-1, 1, (n, 2)) * (1 - kept)
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION, n))
    flips = rng.choice([-1.0, 1.0], (n, 2))
    # Turned in the photograph's own proportions, since the cache squashes it to a square.
    wide = np.stack([aspects, np.ones(n)], 1)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1)
    maps = turn.reshape(n, 2, 2) * (kept * flips * wide)[:, None, :] / wide[:, :, None]
    maps = np.concatenate([maps, shift[:, :, None]], 2).astype(np.float32)
    grid = functional.affine_grid(torch.from_numpy(maps), [n, 3, side, side], align_corners=False)
    views = functional.grid_sample(
        resized(pixels, side), grid, padding_mode="border", align_corners=False
    )

    def factor() -> Tensor:
        drawn = rng.uniform(1 - COLOUR, 1 + COLOUR, (n, 1, 1, 1)).astype(np.float32)
        return torch.from_numpy(drawn)

    views = (views * factor()).clamp(0, 255)
    middle = (views * GREY).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    views = (middle + (views - middle) * factor()).clamp(0, 255)
    grey = (views * GREY).sum(1, keepdim=True)
    return (grey + (views - grey) * factor()).clamp(0, 255).byte()


def pair_cosines(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines (n,) of each photograph's two views, and of a view with the next photograph's."""
    return (first * second).sum(1), (first * second.roll(1, 0)).sum(1)


def pair_loss(same: Tensor, other: Tensor) -> Tensor:
    """Contrastive loss of the cosines of copies and of unrelated pairs.

    With d the Euclidean distance of unit vectors, d² = 2 - 2·cosine: d² for copies and
    max(0, 1 - d)² for unrelated pairs.
    """
    apart = (2 - 2 * other).clamp(min=1e-8).sqrt()
    return (2 - 2 * same).mean() + (MARGIN - apart).clamp(min=0).square().mean()


def best_threshold(same: Tensor, other: Tensor) -> tuple[float, float]:
    """(threshold, accuracy) of the grid; of equal ones the highest threshold."""
    pairs = len(same) + len(other)
    accuracies = [
        (int((same >= level).sum() + (other < level).sum()) / pairs, level) for level in THRESHOLDS
    ]
    accuracy, threshold = max(accuracies)
    return threshold, accuracy
