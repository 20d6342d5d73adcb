"""What a network learns from and by what it is judged: copies of photographs, or pairs of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from idedup_tasks.training.augment import augment
from idedup_tasks.training.pairs import Pairs
from idedup_tasks.training.recipes import Recipe


class Objective(Protocol):
    """What a network learns from and by what it is judged."""

    def optimizer(
        self, parameters: Iterator[Parameter], recipe: Recipe
    ) -> torch.optim.Optimizer: ...

    def views(
        self,
        pixels: np.ndarray,
        aspects: np.ndarray,
        recipe: Recipe,
        side: int,
        rng: np.random.Generator,
    ) -> list[Tensor]: ...

    def loss(self, vectors: Tensor, photos: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]: ...

    def accuracy(self, originals: Tensor, copies: Tensor) -> tuple[float, float | None]: ...


class Copies:
    """One mild and some strong views of each photograph, `contrastive_loss`, AdamW."""

    def optimizer(self, parameters: Iterator[Parameter], recipe: Recipe) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)

    def views(
        self,
        pixels: np.ndarray,
        aspects: np.ndarray,
        recipe: Recipe,
        side: int,
        rng: np.random.Generator,
    ) -> list[Tensor]:
        strong = [False] + [True] * recipe.strong_views
        return [augment(pixels, aspects, side, s, rng) for s in strong]

    def loss(self, vectors: Tensor, photos: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
        return contrastive_loss(vectors, photos, recipe)

    def accuracy(self, originals: Tensor, copies: Tensor) -> tuple[float, float | None]:
        """Share of copies nearest to their own original."""
        best = (copies @ originals.T).argmax(1)
        return (best == torch.arange(len(best))).float().mean().item(), None


def contrastive_loss(vectors: Tensor, photos: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """InfoNCE + KoLeo of unit vectors (n, dim) of views of photographs (n,), and the accuracy.

    Each pair of views of one photograph is told apart from all views of others; further views of
    the same photograph are left out.
    """
    cosines = vectors @ vectors.T
    same = photos[:, None] == photos[None, :]
    itself = torch.eye(len(vectors), dtype=torch.bool)
    logits = cosines / recipe.temperature
    negatives = logits.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
    positive = same & ~itself
    losses = torch.logaddexp(negatives, logits) - logits
    info_nce = losses[positive].mean()
    # -log of the distance to the nearest other photograph (Sablayrolles et al. 2019, eq. 6).
    nearest = cosines.masked_fill(same, -1).amax(1)
    koleo = -((2 - 2 * nearest).clamp(min=1e-8).sqrt() + 1e-6).log().mean()
    with torch.no_grad():
        best_same = cosines.masked_fill(~positive, -1).amax(1)
        accuracy = (best_same > nearest).float().mean()
    return info_nce + recipe.koleo * koleo, accuracy


OBJECTIVES: dict[str, Objective] = {"copies": Copies(), "pairs": Pairs()}
