"""Learning a descriptor: views of one photograph together, all else apart.

What is kept is a moving average of the weights.
"""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter
from torch.utils.data import DataLoader, Dataset

from idedup_tasks.descriptors.network import (
    ARCHITECTURES,
    DescriptorNetwork,
    see_zero_to_one,
)
from idedup_tasks.training.augment import augment, view_batches
from idedup_tasks.training.pairs import Pairs
from idedup_tasks.training.photos import PhotoCache
from idedup_tasks.training.recipes import (
    MEASURED_STEPS,
    UNLIMITED,
    UNMEASURED_STEPS,
    Recipe,
    TrainingError,
)

VALIDATION_PHOTOS = 500

# Hard negatives: up to so many photographs each get their nearest others, by the averaged weights,
# and get them anew every so many steps. What is nearer than SAME_PICTURE may be one picture twice,
# which must not be pushed apart.
MINED_PHOTOS = 20_000
MINING_STEPS = 1000
NEIGHBOURS = 12
SAME_PICTURE = 0.85

# A checkpoint whenever either has passed: a run that is killed loses no more than that.
CHECKPOINT_STEPS = 100
CHECKPOINT_SECONDS = 60.0


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


OBJECTIVES: dict[str, Objective] = {"copies": Copies(), "pairs": Pairs()}


class ViewBatches(Dataset):
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


def initial_network(recipe: Recipe, init: str | None) -> DescriptorNetwork:
    """A network to start from.

    `init` is None (random weights from the seed), the path of a safetensors file in this package's
    layout, or "imagenet": torchvision's published weights of the features, which it downloads
    unless they are in its cache. The paper's network also takes the features of a MobileNetV3 whose
    head is linear, such as the shipped descriptor; its own head is random then. Raises
    TrainingError where the file does not fit the network, where none are published, or where they
    cannot be had.
    """
    torch.manual_seed(recipe.seed)
    published = ARCHITECTURES[recipe.architecture].published
    if init == "imagenet" and published is None:
        raise TrainingError(
            f"torchvision publishes no weights of {recipe.architecture}; start from a safetensors "
            "file or from nothing"
        )
    try:
        network = DescriptorNetwork(
            recipe.architecture, recipe.dim, recipe.gem_p, published=init == "imagenet"
        )
    except OSError as error:
        raise TrainingError(
            f"torchvision's weights of {recipe.architecture} cannot be downloaded ({error}); save "
            f"{published.url} as {torch.hub.get_dir()}/checkpoints/{Path(published.url).name}, or "
            "start from a safetensors file or from nothing"
        ) from error
    if init not in (None, "imagenet"):
        try:
            state = load_file(init)
            # It belongs to weights that are finished, and is found anew for these.
            state.pop("background", None)
            if ARCHITECTURES[recipe.architecture].zero_to_one and "head.weight" in state:
                prefix = "features."
                network.features.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
                )
                see_zero_to_one(network.features)
            else:
                network.load_state_dict(state)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise TrainingError(
                f"{init} cannot start a {recipe.architecture} of {recipe.dim} dimensions; give "
                f"its own safetensors weights, imagenet or nothing ({str(error)[:200]})"
            ) from error
    return network


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
        loss.backward()
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
            torch.cat([self.averaged(batch) for batch in images.split(50)])
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
    def mine(self, photos: PhotoCache) -> None:
        """Find neighbours anew, if it is time: every MINING_STEPS, at the start only where there
        are weights to start from."""
        due = self.step % MINING_STEPS == 0 and (self.step > 0 or self.mines_at_once)
        if self.recipe.hard > 0 and due:
            self.neighbours = nearest_photographs(self.averaged, photos, self.recipe)

    def plan(self, seconds: float) -> None:
        """Fix the number of steps from the measured time of one."""
        self.seconds = seconds
        self.recipe = replace(self.recipe, steps=self.recipe.steps_in(seconds))

    def save(self, path: Path) -> None:
        """Write a checkpoint that replaces the last one whole."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        if self.neighbours is not None:
            tensors["neighbours"] = torch.from_numpy(self.neighbours)
        tensors = {k: v.contiguous().clone() for k, v in tensors.items()}
        metadata = {
            "step": str(self.step),
            "curves": json.dumps(asdict(self.curves)),
            "epoch": json.dumps(self.epoch),
            "seconds": json.dumps(self.seconds),
            "spent": json.dumps(self.spent),
            "architecture": self.recipe.architecture,
        }
        part = path.with_suffix(".part")
        save_file(tensors, part, metadata)
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises TrainingError where it is damaged or of another network.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            for part, network in (("network.", self.network), ("averaged.", self.averaged)):
                network.load_state_dict(
                    {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
                )
        except (OSError, RuntimeError, SafetensorError) as error:
            raise TrainingError(
                f"{path} is no checkpoint of a {self.recipe.architecture} of {self.recipe.dim} "
                f"dimensions; give another output folder or remove it ({str(error)[:200]})"
            ) from error
        self.step = int(metadata["step"])
        if "neighbours" in tensors:
            self.neighbours = tensors["neighbours"].numpy()
        self.spent = json.loads(metadata.get("spent", "0.0"))
        self.curves = Curves(**json.loads(metadata["curves"]))
        self.epoch = [tuple(pair) for pair in json.loads(metadata.get("epoch", "[]"))]
        seconds = json.loads(metadata.get("seconds", "null"))
        if seconds is not None and self.recipe.minutes is not None:
            self.plan(seconds)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, i, key = name.split(".")
                state.setdefault(int(i), {})[key] = value
        content = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": state, "param_groups": content["param_groups"]})


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
    per_epoch = len(photos.aspects) // recipe.images
    if recipe.epochs:
        recipe = replace(recipe, steps=min(recipe.steps, recipe.epochs * per_epoch))
    learner = Learner(recipe, init)
    if checkpoint.exists():
        learner.restore(checkpoint)
    kept = validation_views(validation, recipe)
    clock = time.process_time()

    def spend(elsewhere: float) -> None:
        """Add what this process has used since the last time, and its worker for a batch."""
        nonlocal clock
        now = time.process_time()
        learner.spent += now - clock + elsewhere
        clock = now

    def run(until: int) -> list[float]:
        """Learn up to a step; returns the moments at which steps ended."""
        ends: list[float] = []
        while learner.step < until and not learner.finished():
            learner.mine(photos)
            mined_again = (learner.step // MINING_STEPS + 1) * MINING_STEPS
            ends += run_batches(min(until, mined_again))
        return ends

    def run_batches(until: int) -> list[float]:
        ends, saved = [], time.monotonic()
        batches = ViewBatches(photos, learner.recipe, learner.step, until, learner.neighbours)
        loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)
        for views, ids, seconds in loader:
            loss, accuracy = learner.learn(views, ids)
            spend(seconds)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at step {learner.step}; run again with a lower learning "
                    "rate"
                )
            ends.append(time.monotonic())
            learner.epoch.append((loss, accuracy))
            if learner.step % per_epoch == 0 or learner.used_up():
                learner.end_epoch(math.ceil(learner.step / per_epoch), *kept)
            done = learner.finished()
            due = ends[-1] - saved > CHECKPOINT_SECONDS or learner.step % CHECKPOINT_STEPS == 0
            if due or done:
                learner.save(checkpoint)
                saved = ends[-1]
            if progress:
                progress(learner.step, loss, accuracy)
            if done:
                break
        return ends

    if recipe.minutes is not None and learner.seconds is None and not learner.finished():
        ends = run(min(recipe.steps, learner.step + MEASURED_STEPS))
        measured = ends[UNMEASURED_STEPS:]
        if len(measured) > 1:
            learner.plan((measured[-1] - measured[0]) / (len(measured) - 1))
            learner.save(checkpoint)
    if planned and learner.recipe.steps < UNLIMITED:
        planned(learner.recipe.steps)
    if not learner.finished():
        run(learner.recipe.steps)
    return learner


def validation_views(validation: PhotoCache, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Up to 500 photographs set aside, each in a first view and an edited one: uint8
    (n, 3, side, side)."""
    rng = np.random.default_rng([recipe.seed, 2])
    rows = np.sort(rng.permutation(len(validation.aspects))[:VALIDATION_PHOTOS])
    pixels, aspects = np.array(validation.pixels[rows]), validation.aspects[rows]
    once = replace(recipe, strong_views=1)
    views = OBJECTIVES[recipe.objective].views(pixels, aspects, once, recipe.sides[-1], rng)
    return views[0], views[1]
