"""Learning a descriptor: views of one photograph together, all else apart.

A run of a recipe is steps on batches; between them it mines, validates and writes checkpoints.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader

from idedup_tasks.training.batches import ViewBatches, validation_views
from idedup_tasks.training.checkpoint import restore, save
from idedup_tasks.training.learner import Learner
from idedup_tasks.training.photos import PhotoCache
from idedup_tasks.training.recipes import MEASURED_STEPS, UNLIMITED, Recipe, TrainingError

# A checkpoint whenever either has passed: a run that is killed loses no more than that.
CHECKPOINT_STEPS = 100
CHECKPOINT_SECONDS = 60.0

# Of the measured steps the first ones do not count: they wait for the first batches.
UNMEASURED_STEPS = 6


class Loop:
    """Steps of a learner, and what goes on between them.

    `kept` are the views that it is validated on (see `validation_views`), `spent_until` the CPU
    seconds of this process that are counted as spent, `saved_at` when the last checkpoint was
    written, in monotonic seconds.
    """

    def __init__(
        self,
        learner: Learner,
        photos: PhotoCache,
        kept: tuple[Tensor, Tensor],
        checkpoint: Path,
        progress: Callable[[int, float, float], None] | None,
    ) -> None:
        self.learner = learner
        self.photos = photos
        self.kept = kept
        self.checkpoint = checkpoint
        self.progress = progress
        self.steps_in_epoch = len(photos.aspects) // learner.recipe.images
        self.spent_until = time.process_time()
        self.saved_at = time.monotonic()

    def run(self, until: int) -> list[float]:
        """Learn up to a step; returns the moments, in monotonic seconds, at which steps ended."""
        learner, ends = self.learner, []
        for views, photos, seconds in self.batches(until):
            loss, accuracy = learner.learn(views, photos)
            self.spend(seconds)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at step {learner.step}; run again with a lower learning "
                    "rate"
                )
            ends.append(time.monotonic())
            learner.epoch.append((loss, accuracy))
            if learner.step % self.steps_in_epoch == 0 or learner.used_up():
                learner.end_epoch(math.ceil(learner.step / self.steps_in_epoch), *self.kept)
            self.save_if_due(ends[-1])
            if self.progress:
                self.progress(learner.step, loss, accuracy)
        return ends

    def batches(self, until: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Batches up to a step, fewer if the learner has finished before: see `ViewBatches`."""
        learner = self.learner
        while learner.step < until and not learner.finished():
            end = min(until, learner.mine(self.photos))
            batches = ViewBatches(
                self.photos, learner.recipe, learner.step, end, learner.neighbours
            )
            for batch in DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4):
                yield batch
                if learner.finished():
                    return

    def spend(self, elsewhere: float) -> None:
        """Count the CPU seconds of this process since the last time, and its worker's."""
        now = time.process_time()
        self.learner.spent += now - self.spent_until + elsewhere
        self.spent_until = now

    def save_if_due(self, now: float) -> None:
        """Write a checkpoint, if it is time or the run has ended."""
        late = now - self.saved_at > CHECKPOINT_SECONDS
        if late or self.learner.step % CHECKPOINT_STEPS == 0 or self.learner.finished():
            save(self.learner, self.checkpoint)
            self.saved_at = now

    def plan(self) -> None:
        """Fix how many steps the run makes, from the time that its first ones take."""
        learner = self.learner
        ends = self.run(min(learner.recipe.steps, learner.step + MEASURED_STEPS))[UNMEASURED_STEPS:]
        if len(ends) > 1:
            learner.plan((ends[-1] - ends[0]) / (len(ends) - 1))
            save(learner, self.checkpoint)


def learn(
    photos: PhotoCache,
    validation: PhotoCache,
    recipe: Recipe,
    checkpoint: Path,
    init: str | None = None,
    progress: Callable[[int, float, float], None] | None = None,
    planned: Callable[[int], None] | None = None,
) -> Learner:
    """Run a recipe to its end, from the checkpoint where there is one.

    `progress(step, loss, accuracy)` is called after each step, `planned(steps)` if it becomes
    known how many there will be. Checkpoints are written every 100 steps or minute, and at the end.
    Raises TrainingError for fewer photographs than one batch.
    """
    if len(photos.aspects) < recipe.images:
        raise TrainingError(
            f"{len(photos.aspects)} photographs are fewer than a batch of {recipe.images}; give "
            "more photographs or a smaller batch"
        )
    if recipe.epochs:
        in_epochs = recipe.epochs * (len(photos.aspects) // recipe.images)
        recipe = replace(recipe, steps=min(recipe.steps, in_epochs))
    learner = Learner(recipe, init)
    if checkpoint.exists():
        restore(learner, checkpoint)
    loop = Loop(learner, photos, validation_views(validation, recipe), checkpoint, progress)
    if recipe.minutes is not None and learner.seconds is None:
        loop.plan()
    if planned and learner.recipe.steps < UNLIMITED:
        planned(learner.recipe.steps)
    loop.run(learner.recipe.steps)
    return learner
