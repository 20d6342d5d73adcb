"""What a run has learnt so far, and one more step of it.

What is kept is a moving average of the weights.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from idedup_tasks.training.batches import nearest_photographs
from idedup_tasks.training.objectives import OBJECTIVES
from idedup_tasks.training.photos import PhotoCache
from idedup_tasks.training.recipes import Recipe
from idedup_tasks.training.start import initial_network

# Steps after which neighbours are found anew.
MINING_STEPS = 1000


@dataclass
class Curves:
    """Loss and accuracy by epoch.

    Accuracy of "copies" is the share of strong views nearest to their own photograph, among a batch
    in training and among 500 photographs set aside in validation; of "pairs" the share of right
    decisions on pairs of the same, at the best threshold of the grid, which `threshold` keeps.
    """

    epoch: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)

    def without_gain(self) -> int:
        """Epochs since the one with the best validation accuracy."""
        found = self.validation_accuracy
        return len(found) - 1 - found.index(max(found)) if found else 0


class Learner:
    """The state of a run: network, moving average, optimizer, curves and step.

    `epoch` has loss and accuracy of each step of the epoch at hand, `seconds` the measured time of
    a step where the recipe has a time budget, `spent` the CPU seconds of all steps so far,
    `neighbours` what hard negatives are drawn from.
    """

    def __init__(self, recipe: Recipe, init: str | None) -> None:
        self.recipe = recipe
        self.objective = OBJECTIVES[recipe.objective]
        self.step = 0
        self.seconds: float | None = None
        self.spent = 0.0
        self.epoch: list[tuple[float, float]] = []
        self.curves = Curves()
        self.neighbours: np.ndarray | None = None
        self.mines_at_once = init is not None
        self.network = initial_network(recipe, init).to(memory_format=torch.channels_last)
        self.network.train()
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = self.objective.optimizer(self.network.parameters(), recipe)

    def learn(self, views: Tensor, photos: Tensor) -> tuple[float, float]:
        """One step on views uint8 (n, 3, side, side); returns loss and accuracy."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step, self.spent)
        # Dropout is a function of seed and step, so that a continued run repeats it.
        torch.manual_seed((self.recipe.seed << 32) + self.step)
        vectors = self.network(views.contiguous(memory_format=torch.channels_last))
        loss, accuracy = self.objective.loss(vectors, photos, self.recipe)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.average()
        self.step += 1
        return loss.item(), accuracy.item()

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged weights, faster while the run is young."""
        decay = min(self.recipe.average, (self.step + 1) / (self.step + 10))
        current = self.network.state_dict()
        for name, value in self.averaged.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])

    @torch.inference_mode()
    def validate(self, originals: Tensor, copies: Tensor) -> tuple[float, float | None]:
        """Accuracy of the averaged weights on views (n, 3, side, side) of photographs set aside,
        and the threshold that gives it where the objective has one."""
        vectors = [
            torch.cat([self.averaged(batch) for batch in torch.split(images, 50)])
            for images in (originals, copies)
        ]
        return self.objective.accuracy(*vectors)

    def end_epoch(self, number: int, originals: Tensor, copies: Tensor) -> None:
        """Add a point to the curves."""
        loss, accuracy = np.mean(self.epoch, axis=0)
        validation, threshold = self.validate(originals, copies)
        self.curves.epoch.append(number)
        self.curves.loss.append(round(float(loss), 4))
        self.curves.accuracy.append(round(float(accuracy), 4))
        self.curves.validation_accuracy.append(round(validation, 4))
        if threshold is not None:
            self.curves.threshold.append(threshold)
        self.epoch = []

    def used_up(self) -> bool:
        """Whether all steps are made, or all CPU seconds spent."""
        limit = self.recipe.cpu_seconds
        return self.step >= self.recipe.steps or (limit is not None and self.spent >= limit)

    def finished(self) -> bool:
        """Whether the budget is used up, or validation accuracy has stopped rising."""
        patience = self.recipe.patience
        return self.used_up() or 0 < patience <= self.curves.without_gain()

    @torch.inference_mode()
    def mine(self, photos: PhotoCache) -> int:
        """Find neighbours anew, if it is time; returns the step at which it is time again.

        That is every MINING_STEPS, at the start only where there are weights to start from.
        """
        due = self.step % MINING_STEPS == 0 and (self.step > 0 or self.mines_at_once)
        if self.recipe.hard > 0 and due:
            self.neighbours = nearest_photographs(self.averaged, photos, self.recipe)
        return (self.step // MINING_STEPS + 1) * MINING_STEPS

    def plan(self, seconds: float) -> None:
        """Fix the number of steps from the measured time of one."""
        self.seconds = seconds
        self.recipe = replace(self.recipe, steps=self.recipe.steps_in(seconds))
