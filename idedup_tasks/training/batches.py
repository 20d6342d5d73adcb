"""The batches of a run, each a function of seed, step and neighbours alone, and those neighbours.

Hard negatives: up to so many photographs each get their nearest others, by the averaged weights,
and batches are drawn from both.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from idedup_tasks.descriptors.network import DescriptorNetwork
from idedup_tasks.training.augment import view_batches
from idedup_tasks.training.objectives import OBJECTIVES
from idedup_tasks.training.photos import PhotoCache
from idedup_tasks.training.recipes import Recipe

VALIDATION_PHOTOS = 500

MINED_PHOTOS = 20_000
NEIGHBOURS = 12
# What is nearer may be one picture twice, which must not be pushed apart.
SAME_PICTURE = 0.85


class ViewBatches(Dataset[tuple[Tensor, Tensor, float]]):
    """Batch number `step` of the run, a function of seed, step and neighbours alone, and the CPU
    seconds that it took."""

    def __init__(
        self,
        photos: PhotoCache,
        recipe: Recipe,
        first_step: int,
        until: int,
        neighbours: np.ndarray | None = None,
    ) -> None:
        self.photos = photos
        self.recipe = recipe
        self.first_step = first_step
        self.until = until
        self.neighbours = neighbours

    def __len__(self) -> int:
        return max(0, self.until - self.first_step)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, float]:
        if index >= len(self):
            raise IndexError(index)
        began = time.process_time()
        step = self.first_step + index
        rng = np.random.default_rng([self.recipe.seed, step])
        rows = np.sort(batch_rows(len(self.photos.aspects), self.recipe, step, self.neighbours))
        # In the order of the file for reading, then shuffled: neighbours are pasted into each
        # other, and files in order come from one source.
        rng_order = rng.permutation(len(rows))
        pixels = np.array(self.photos.pixels[rows])[rng_order]
        rows = rows[rng_order]
        aspects = self.photos.aspects[rows]
        views = OBJECTIVES[self.recipe.objective].views(
            pixels, aspects, self.recipe, self.recipe.side(step), rng
        )
        photos = torch.from_numpy(np.tile(rows, len(views)))
        return torch.cat(views), photos, time.process_time() - began


def batch_rows(
    photos: int, recipe: Recipe, step: int, neighbours: np.ndarray | None = None
) -> np.ndarray:
    """Which photographs batch `step` holds: each once an epoch, in random order.

    With `neighbours` (photos, k), -1 for none, the share `recipe.hard` of the batch is drawn from
    those of the rest: one of each, then a second, and what is missing at random.
    """
    drawn = 0 if neighbours is None else int(recipe.hard * recipe.images)
    taken = recipe.images - drawn
    epoch, place = divmod(step, max(1, photos // taken))
    order = np.random.default_rng([recipe.seed, 1, epoch]).permutation(photos)
    rows = order[place * taken : (place + 1) * taken]
    if neighbours is None:
        return rows
    rng = np.random.default_rng([recipe.seed, 4, step])
    near = rng.permuted(neighbours[rows], axis=1).T.ravel()
    others = np.concatenate([near[near >= 0], rng.permutation(photos)])
    others = others[~np.isin(others, rows)]
    _, first = np.unique(others, return_index=True)
    return np.concatenate([rows, others[np.sort(first)[:drawn]]])


def nearest_photographs(
    network: DescriptorNetwork, photos: PhotoCache, recipe: Recipe
) -> np.ndarray:
    """The NEIGHBOURS nearest other photographs of each: rows int32 (n, NEIGHBOURS), -1 for none.

    Of more than MINED_PHOTOS, that many are chosen at random; the others have none.
    """
    import faiss

    rng = np.random.default_rng([recipe.seed, 5])
    rows = np.sort(rng.permutation(len(photos.aspects))[:MINED_PHOTOS])
    vectors = np.concatenate(
        [network(mild).numpy() for mild, *_ in view_batches(photos, rows, recipe.sides[-1], 0, rng)]
    )
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    # Room for what is too near: some have many pictures of one thing.
    cosines, found = index.search(vectors, min(len(rows), 4 * NEIGHBOURS))
    found[(cosines > SAME_PICTURE) | (found == np.arange(len(rows))[:, None])] = -1
    # A stable sort brings those left to the front, nearest first.
    found = np.take_along_axis(found, np.argsort(found < 0, axis=1, kind="stable"), 1)
    nearest = np.full((len(photos.aspects), NEIGHBOURS), -1, np.int32)
    kept = found[:, :NEIGHBOURS]
    nearest[rows, : kept.shape[1]] = np.where(kept >= 0, rows[kept], -1)
    return nearest


def validation_views(validation: PhotoCache, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Up to 500 photographs set aside, each in a first view and an edited one: uint8
    (n, 3, side, side)."""
    rng = np.random.default_rng([recipe.seed, 2])
    rows = np.sort(rng.permutation(len(validation.aspects))[:VALIDATION_PHOTOS])
    pixels, aspects = np.array(validation.pixels[rows]), validation.aspects[rows]
    once = replace(recipe, strong_views=1)
    views = OBJECTIVES[recipe.objective].views(pixels, aspects, once, recipe.sides[-1], rng)
    return views[0], views[1]
