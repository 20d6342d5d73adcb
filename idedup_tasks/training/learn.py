"""Learning a descriptor: views of one photograph together, all else apart.

The loss is InfoNCE over the batch (Oord et al. 2018) plus the KoLeo entropy term (Sablayrolles et
al. 2019), as in SSCD (Pizzi et al., A Self-Supervised Descriptor for Image Copy Detection, 2022).
What is kept is a moving average of the weights.
"""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import models

from idedup_tasks.descriptors.network import BACKBONES, DescriptorNetwork
from idedup_tasks.training.augment import augment
from idedup_tasks.training.photos import PhotoCache, TrainingError

VALIDATION_PHOTOS = 500
CHECKPOINT_STEPS = 100


@dataclass(frozen=True)
class Recipe:
    """How a descriptor is learnt.

    sides: (input side in pixels, share of the steps) from first to last.
    images: photographs in a batch, each seen as one mild and `strong_views` strongly edited views.
    cooldown: the last share of the steps, over which the learning rate falls; before it the rate is
        constant, so that a run can be lengthened: more steps continue the same checkpoint.
    average: decay of the moving average of the weights, per step.
    """

    architecture: str = "mobilenet_v3_small"
    dim: int = 256
    gem_p: float = 3.0
    steps: int = 5000
    images: int = 64
    strong_views: int = 2
    sides: tuple[tuple[int, float], ...] = ((96, 0.3), (128, 0.5), (160, 0.2))
    learning_rate: float = 1e-3
    cooldown: float = 0.25
    weight_decay: float = 0.01
    temperature: float = 0.05
    koleo: float = 0.5
    average: float = 0.998
    seed: int = 0

    def side(self, step: int) -> int:
        """Input side at a step."""
        done = 0.0
        for side, share in self.sides:
            done += share * self.steps
            if step < done:
                return side
        return self.sides[-1][0]

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up over 100 steps, constant, then down in a line to
        a hundredth (Hägele et al., Scaling Laws and Compute-Optimal Training Beyond Fixed Training
        Durations, 2024)."""
        warm = min(1.0, (step + 1) / 100)
        left = (self.steps - step) / max(1.0, self.cooldown * self.steps)
        return self.learning_rate * warm * max(0.01, min(1.0, left))


@dataclass
class Curves:
    """Loss and accuracy by epoch; accuracy is the share of strong views nearest to their own
    photograph, among a batch in training and among 500 photographs set aside in validation."""

    epoch: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)


class ViewBatches(Dataset):
    """Batch number `step` of the run, a function of the seed and the step alone."""

    def __init__(self, photos: PhotoCache, recipe: Recipe, first_step: int) -> None:
        self.photos = photos
        self.recipe = recipe
        self.first_step = first_step

    def __len__(self) -> int:
        return self.recipe.steps - self.first_step

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index >= len(self):
            raise IndexError(index)
        step = self.first_step + index
        rng = np.random.default_rng([self.recipe.seed, step])
        rows = np.sort(batch_rows(len(self.photos.aspects), self.recipe, step))
        # In the order of the file for reading, then shuffled: neighbours are pasted into each
        # other, and files in order come from one source.
        rng_order = rng.permutation(len(rows))
        pixels = np.array(self.photos.pixels[rows])[rng_order]
        rows = rows[rng_order]
        aspects = self.photos.aspects[rows]
        side = self.recipe.side(step)
        views = [augment(pixels, aspects, side, False, rng)]
        views += [
            augment(pixels, aspects, side, True, rng) for _ in range(self.recipe.strong_views)
        ]
        return torch.cat(views), torch.from_numpy(np.tile(rows, len(views)))


def batch_rows(photos: int, recipe: Recipe, step: int) -> np.ndarray:
    """Which photographs batch `step` holds: each once an epoch, in random order."""
    per_epoch = max(1, photos // recipe.images)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([recipe.seed, 1, epoch]).permutation(photos)
    return order[place * recipe.images : (place + 1) * recipe.images]


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
    layout, or "imagenet": torchvision's published weights of the backbone, which it downloads.
    Raises TrainingError where the file does not fit the architecture.
    """
    torch.manual_seed(recipe.seed)
    network = DescriptorNetwork(recipe.architecture, recipe.dim, recipe.gem_p)
    if init == "imagenet":
        build, _ = BACKBONES[recipe.architecture]
        weights = models.get_model_weights(build).IMAGENET1K_V1
        network.features.load_state_dict(build(weights=weights).features.state_dict())
    elif init is not None:
        try:
            network.load_state_dict(load_file(init))
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"{init} cannot start a {recipe.architecture} of {recipe.dim} dimensions; give "
                f"its own safetensors weights, imagenet or nothing ({str(error)[:200]})"
            ) from error
    return network


class Learner:
    """The state of a run: network, moving average, optimizer, curves and step."""

    def __init__(self, recipe: Recipe, init: str | None) -> None:
        self.recipe = recipe
        self.step = 0
        self.curves = Curves()
        self.network = initial_network(recipe, init).to(memory_format=torch.channels_last)
        self.network.train()
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )

    def learn(self, views: Tensor, photos: Tensor) -> tuple[float, float]:
        """One step on views uint8 (n, 3, side, side); returns loss and accuracy."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step)
        vectors = self.network(views.contiguous(memory_format=torch.channels_last))
        loss, accuracy = contrastive_loss(vectors, photos, self.recipe)
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
    def validate(self, originals: Tensor, copies: Tensor) -> float:
        """Share of copies (n, 3, side, side) nearest to their own original, averaged weights."""
        vectors = [
            torch.cat([self.averaged(batch) for batch in images.split(50)])
            for images in (originals, copies)
        ]
        best = (vectors[1] @ vectors[0].T).argmax(1)
        return (best == torch.arange(len(best))).float().mean().item()

    def save(self, path: Path) -> None:
        """Write a checkpoint that replaces the last one whole."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        tensors = {k: v.contiguous().clone() for k, v in tensors.items()}
        metadata = {"step": str(self.step), "curves": json.dumps(asdict(self.curves))}
        part = path.with_suffix(".part")
        save_file(tensors, part, metadata)
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint."""
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.step = int(metadata["step"])
        self.curves = Curves(**json.loads(metadata["curves"]))
        for part, network in (("network.", self.network), ("averaged.", self.averaged)):
            network.load_state_dict(
                {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            )
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
) -> Learner:
    """Run a recipe to its end, from the checkpoint where there is one.

    `progress(step, loss, accuracy)` is called after each step. Checkpoints are written every 100
    steps and at the end. Raises TrainingError for fewer photographs than one batch.
    """
    if len(photos.aspects) < recipe.images:
        raise TrainingError(
            f"{len(photos.aspects)} photographs are fewer than a batch of {recipe.images}; give "
            "more photographs or a smaller batch"
        )
    learner = Learner(recipe, init)
    if checkpoint.exists():
        learner.restore(checkpoint)
    rng = np.random.default_rng([recipe.seed, 2])
    rows = np.sort(rng.permutation(len(validation.aspects))[:VALIDATION_PHOTOS])
    kept = np.array(validation.pixels[rows]), validation.aspects[rows]
    originals, copies = (augment(*kept, recipe.sides[-1][0], s, rng) for s in (False, True))
    batches = ViewBatches(photos, recipe, learner.step)
    per_epoch = max(1, len(photos.aspects) // recipe.images)
    losses, accuracies = [], []
    for views, ids in DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4):
        loss, accuracy = learner.learn(views, ids)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {learner.step}; run again with a lower learning rate"
            )
        losses.append(loss)
        accuracies.append(accuracy)
        if learner.step % per_epoch == 0 or learner.step == recipe.steps:
            curves = learner.curves
            curves.epoch.append(math.ceil(learner.step / per_epoch))
            curves.loss.append(round(float(np.mean(losses)), 4))
            curves.accuracy.append(round(float(np.mean(accuracies)), 4))
            curves.validation_accuracy.append(round(learner.validate(originals, copies), 4))
            losses, accuracies = [], []
        if learner.step % CHECKPOINT_STEPS == 0 or learner.step == recipe.steps:
            learner.save(checkpoint)
        if progress:
            progress(learner.step, loss, accuracy)
    return learner
