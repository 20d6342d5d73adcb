"""Train, calibrate and register a descriptor: one command from photographs to usable weights."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from idedup_tasks.descriptors import (
    DEFAULT_DESCRIPTOR,
    DescriptorCard,
    Thresholds,
    load_card,
    load_descriptor,
)
from idedup_tasks.descriptors.card import WEIGHTS_FOLDER, file_sha256
from idedup_tasks.training.augment import augment
from idedup_tasks.training.calibrate import calibrate
from idedup_tasks.training.copies import CopySet, make_copies
from idedup_tasks.training.learn import Curves, Learner, Recipe, learn
from idedup_tasks.training.measure import pair_curve, summary
from idedup_tasks.training.photos import (
    PhotoCache,
    TrainingError,
    cache_photos,
    is_set_aside,
    photo_files,
)
from idedup_tasks.training.quantiser import train_quantiser
from idedup_tasks.training.whiten import refit_head

# Sides tried at inference: larger ones than trained at often serve better (Touvron et al.,
# Fixing the train-test resolution discrepancy, 2019).
INPUT_SIDES = (128, 160, 192, 224)

# Neither thresholds nor a comparison mean anything on fewer photographs set aside.
FEWEST_SET_ASIDE = 100


def train(
    photos: Path,
    output: Path,
    init: str | None = None,
    recipe: Recipe | None = None,
    name: str = DEFAULT_DESCRIPTOR,
    say: Callable[[str], None] = print,
) -> Path:
    """Train on a folder of photographs, calibrate, fit the quantiser; return the JSON sidecar.

    `output` receives weights, quantiser, sidecar, calibration and training curves (JSON, PNG), and
    the checkpoint that a run which was stopped continues from. `init` is None, a safetensors file,
    the name of a shipped descriptor, or "imagenet" (torchvision's weights: downloads). One
    photograph in six, chosen by its name, is set aside for calibration and never learnt from.
    Load the result with `load_descriptor(str(path))`; `register` makes it the shipped one.

    Raises TrainingError where the photographs are too few or `init` does not fit.
    """
    recipe = recipe or Recipe()
    files = photo_files(photos)
    aside = [f for f in files if is_set_aside(f)]
    if len(aside) < FEWEST_SET_ASIDE:
        raise TrainingError(
            f"{photos} leaves {len(aside)} of {len(files)} photographs to calibrate with, fewer "
            f"than {FEWEST_SET_ASIDE}; give about {6 * FEWEST_SET_ASIDE} photographs or more"
        )
    say(f"{len(files)} photographs, {len(aside)} of them set aside for calibration")
    output.mkdir(parents=True, exist_ok=True)
    cache = output / "cache"
    learnt = cache_photos([f for f in files if not is_set_aside(f)], cache)
    validation = cache_photos(aside, cache)
    learner = learn_with_progress(
        learnt, validation, recipe, output / "checkpoint.safetensors", starting_weights(init)
    )
    write_curves(learner.curves, output)
    say("refitting the head")
    refit_head(learner.averaged, learnt, recipe.sides[-1][0], recipe.seed)
    card = write_weights(learner, output, name)
    return calibrate_card(card, make_copies(aside), learnt, say)


def starting_weights(init: str | None) -> str | None:
    """Turn the name of a shipped descriptor into the path of its weights."""
    if init is None or init == "imagenet" or Path(init).is_file():
        return init
    card = load_card(init)
    return str(card.folder / card.weights)


def learn_with_progress(
    learnt: PhotoCache, validation: PhotoCache, recipe: Recipe, checkpoint: Path, init: str | None
) -> Learner:
    """`learn`, with a progress bar."""
    columns = (
        TextColumn("step {task.completed} of {task.total}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}, accuracy {task.fields[accuracy]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("learn", total=recipe.steps, loss=0.0, accuracy=0.0)

        def advance(step: int, loss: float, accuracy: float) -> None:
            progress.update(task, completed=step, loss=loss, accuracy=accuracy)

        return learn(learnt, validation, recipe, checkpoint, init, advance)


def write_curves(curves: Curves, output: Path) -> None:
    """Loss and accuracy by epoch, as JSON and as a figure."""
    from matplotlib.figure import Figure

    (output / "training.json").write_text(json.dumps(asdict(curves), indent=2) + "\n", "utf-8")
    figure = Figure((9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(curves.epoch, curves.loss)
    left.set(xlabel="epoch", ylabel="loss")
    right.plot(curves.epoch, curves.accuracy, label="training batches")
    right.plot(curves.epoch, curves.validation_accuracy, label="photographs set aside")
    right.set(xlabel="epoch", ylabel="accuracy")
    right.legend()
    figure.savefig(output / "training.png", dpi=120)


def write_weights(learner: Learner, output: Path, name: str) -> DescriptorCard:
    """The averaged weights in float16, and a sidecar without thresholds yet."""
    weights = output / f"{name}.safetensors"
    state = {
        key: value.half().contiguous() if value.is_floating_point() else value
        for key, value in learner.averaged.state_dict().items()
    }
    save_file(state, weights)
    weights.chmod(0o644)
    recipe = learner.recipe
    return DescriptorCard(
        name=name,
        architecture=recipe.architecture,
        dim=recipe.dim,
        input_size=recipe.sides[-1][0],
        gem_p=recipe.gem_p,
        weights=weights.name,
        weights_sha256=file_sha256(weights),
        # Above every similarity: nothing is a duplicate until calibration has run.
        thresholds=Thresholds(2.0, 2.0, 2.0, -1),
        quantiser=f"{name}_quantiser.safetensors",
        quantiser_sha256="",
        figures={},
        folder=output,
    )


def calibrate_card(
    card: DescriptorCard, copies: CopySet, learnt: PhotoCache, say: Callable[[str], None] = print
) -> Path:
    """Choose the input side, thresholds and quantiser of weights; write and return the sidecar."""
    card, by_side = choose_side(card, copies, say)
    path = card.write()
    load_card.cache_clear()
    descriptor = load_descriptor(str(path), "cpu")
    calibration = calibrate(descriptor, copies)
    say(f"calibrated: {calibration.thresholds}")
    figures = {"calibration": calibration.figures, "micro_ap_by_input_size": by_side}
    curves = card.folder / f"{card.name}_calibration.json"
    curves.write_text(json.dumps(calibration.curves) + "\n", "utf-8")
    rng = np.random.default_rng(0)
    vectors = []
    for first in range(0, len(learnt.aspects), 256):
        batch = slice(first, first + 256)
        pixels, aspects = np.array(learnt.pixels[batch]), learnt.aspects[batch]
        for strong in (False, True):
            views = augment(pixels, aspects, card.input_size, strong, rng)
            vectors.append(descriptor.encode(list(views.permute(0, 2, 3, 1).numpy())))
    quantiser = card.folder / card.quantiser
    save_arrays({"centroids": train_quantiser(np.concatenate(vectors))}, quantiser)
    quantiser.chmod(0o644)
    done = replace(
        card,
        thresholds=calibration.thresholds,
        quantiser_sha256=file_sha256(quantiser),
        figures=figures,
    )
    done.write()
    load_card.cache_clear()
    return path


def choose_side(
    card: DescriptorCard, copies: CopySet, say: Callable[[str], None] = print
) -> tuple[DescriptorCard, dict[str, float]]:
    """The card with the input side of the highest µAP on the copies, and the µAP of each side."""
    best, scores = card, {}
    for side in INPUT_SIDES:
        tried = replace(card, input_size=side)
        path = tried.write()
        load_card.cache_clear()
        descriptor = load_descriptor(str(path), "cpu")
        similarities = descriptor.encode(copies.copies) @ descriptor.encode(copies.originals).T
        figures = summary(pair_curve(similarities, copies.truth))
        say(f"input side {side}: {figures}")
        scores[str(side)] = figures["micro_ap"]
        if scores[str(side)] == max(scores.values()):
            best = tried
    return best, scores


def register(candidate: Path, photos: Path, folder: Path = WEIGHTS_FOLDER) -> bool:
    """Make a trained descriptor the one in `folder`, if it beats it; returns whether it did.

    Both are measured on the photographs of `photos` that are set aside; the higher µAP wins.
    """
    card = load_card(str(candidate))
    current = folder / f"{card.name}.json"
    if current.is_file():
        copies = make_copies([f for f in photo_files(photos) if is_set_aside(f)])
        if micro_ap(current, copies) >= micro_ap(candidate, copies):
            return False
    # The sidecar last: until then the digests tell that files are of different weights.
    for file in (card.weights, card.quantiser, f"{card.name}_calibration.json", candidate.name):
        shutil.copy(card.folder / file, folder / file)
    load_card.cache_clear()
    return True


def micro_ap(sidecar: Path, copies: CopySet) -> Any:
    """µAP of a descriptor on a set of copies."""
    descriptor = load_descriptor(str(sidecar), "cpu")
    similarities = descriptor.encode(copies.copies) @ descriptor.encode(copies.originals).T
    return summary(pair_curve(similarities, copies.truth))["micro_ap"]
