"""Train, calibrate and register a descriptor: one command from photographs to usable weights.

`train` is three steps, which the DAG runs one by one: `preprocess`, `fit` and `calibrate_card`.
Each leaves its result in the output folder, and repeated, goes on from there.
"""

# ruff: noqa: E402 - what the next imports need is looked for first
from idedup_tasks.extras import require

require("torchvision", "Training")

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from idedup_tasks.descriptors import (
    DEFAULT_DESCRIPTOR,
    DecisionLevels,
    DescriptorCard,
    load_card,
    load_descriptor,
)
from idedup_tasks.descriptors.card import REGISTERED_AS, file_sha256
from idedup_tasks.descriptors.conversion import convert
from idedup_tasks.descriptors.named import WEIGHTS_FOLDER, shipped_descriptors
from idedup_tasks.descriptors.registry import add_card, registered_card, registrations
from idedup_tasks.settings import Places
from idedup_tasks.training.augment import view_batches
from idedup_tasks.training.calibrate import calibrate
from idedup_tasks.training.copies import CopySet, make_copies
from idedup_tasks.training.learn import learn
from idedup_tasks.training.learner import Curves, Learner
from idedup_tasks.training.measure import pair_curve, summary
from idedup_tasks.training.photos import (
    CACHE_SIDE,
    PhotoCache,
    cache_photos,
    is_set_aside,
    photo_files,
)
from idedup_tasks.training.quantiser import train_quantiser
from idedup_tasks.training.recipes import RECIPES, Recipe, TrainingError
from idedup_tasks.training.start import starting_weights
from idedup_tasks.training.whiten import fit_background, refit_head

# Neither thresholds nor a comparison mean anything on fewer photographs set aside.
FEWEST_SET_ASIDE = 100

# Where there is no terminal for a bar, seconds between two lines about progress.
SAY_EVERY = 30.0


@dataclass(frozen=True)
class Split:
    """Photographs to learn from and those set aside, decoded; `aside` are the latter's files."""

    learnt: PhotoCache
    validation: PhotoCache
    aside: list[Path]


@dataclass(frozen=True)
class Registration:
    """What came of trying to register a descriptor.

    `registered` is whether it is in the lake (at `location`) now; `micro_ap` its µAP on the
    photographs set aside, `current` the model_id of the one that it had to beat, and
    `current_micro_ap` that one's, if there was one.
    """

    registered: bool
    model_id: str
    location: str | None
    micro_ap: float | None
    current: str | None
    current_micro_ap: float | None


def train(
    photos: Path,
    output: Path,
    init: str | None = None,
    recipe: Recipe | None = None,
    name: str = DEFAULT_DESCRIPTOR,
    say: Callable[[str], None] = print,
) -> Path:
    """Train on a folder of photographs, calibrate, fit the quantiser; return the JSON sidecar.

    `output` receives weights, the converted network, quantiser, sidecar, calibration and training
    curves (JSON, PNG), and the checkpoint that a run which was stopped continues from. `recipe` is
    by default that of the network `name`. `init` is None, a safetensors file, the name of a
    descriptor, or "imagenet" (torchvision's weights: downloads). One photograph in six, chosen by
    its name, is set aside for calibration and never learnt from. Load the result with
    `load_descriptor(str(path))`; `register` puts it into the lake, where collections find it by its
    model_id.

    Raises TrainingError where the photographs are too few or `init` does not fit.
    """
    recipe = recipe or RECIPES[name]
    split = preprocess(photos, output, recipe, say)
    card = fit(split, output, init, recipe, name, say)
    return calibrate_card(card, make_copies(split.aside), split.learnt, recipe.input_sides, say)


def preprocess(
    photos: Path, output: Path, recipe: Recipe, say: Callable[[str], None] = print
) -> Split:
    """Set one photograph in six aside, and decode all into `output`/cache, once.

    Raises TrainingError where fewer than 100 are set aside.
    """
    files = photo_files(photos)
    aside = [f for f in files if is_set_aside(f)]
    if len(aside) < FEWEST_SET_ASIDE:
        raise TrainingError(
            f"{photos} leaves {len(aside)} of {len(files)} photographs to calibrate with, fewer "
            f"than {FEWEST_SET_ASIDE}; give about {6 * FEWEST_SET_ASIDE} photographs or more"
        )
    say(f"{len(files)} photographs, {len(aside)} of them set aside for calibration")
    side = max(CACHE_SIDE, *recipe.sides)
    learnt = cache_photos([f for f in files if not is_set_aside(f)], output / "cache", side)
    return Split(learnt, cache_photos(aside, output / "cache", side), aside)


def fit(
    split: Split,
    output: Path,
    init: str | None,
    recipe: Recipe,
    name: str,
    say: Callable[[str], None] = print,
) -> DescriptorCard:
    """Learn, from the checkpoint in `output` where there is one; write curves, weights, sidecar."""
    learner = learn_with_progress(
        split, recipe, output / "checkpoint.safetensors", starting_weights(init), say
    )
    write_curves(learner.curves, output)
    say(f"{learner.step} steps learnt; fitting the head and the background")
    learner.averaged.scales = recipe.scales
    learner.averaged.regions = recipe.regions
    refit_head(learner.averaged, split.learnt, recipe.input_sides[0], recipe.seed)
    fit_background(learner.averaged, split.learnt, recipe.input_sides[0], recipe.seed)
    card = write_weights(learner, output, name)
    card.figures["training"] |= {"photographs": len(split.learnt.aspects), "init": init}
    card.write()
    return card


def learn_with_progress(
    split: Split,
    recipe: Recipe,
    checkpoint: Path,
    init: str | None,
    say: Callable[[str], None] = print,
) -> Learner:
    """`learn`, with a progress bar on a terminal and a line each half minute elsewhere."""
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}, accuracy {task.fields[accuracy]:.3f}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("learn", total=None, loss=0.0, accuracy=0.0)
        said = time.monotonic()

        def planned(steps: int) -> None:
            bar.update(task, total=steps)
            if not console.is_terminal:
                say(f"learning for at most {steps} steps")

        def advance(step: int, loss: float, accuracy: float) -> None:
            nonlocal said
            bar.update(task, completed=step, loss=loss, accuracy=accuracy)
            if not console.is_terminal and time.monotonic() - said >= SAY_EVERY:
                said = time.monotonic()
                say(f"step {step}: loss {loss:.3f}, accuracy {accuracy:.3f}")

        return learn(split.learnt, split.validation, recipe, checkpoint, init, advance, planned)


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
    """The averaged weights in float16, and a sidecar without thresholds yet.

    Raises TrainingError where weights are not finite in float16.
    """
    weights = output / f"{name}.safetensors"
    state = {
        key: value.half().contiguous() if value.is_floating_point() else value
        for key, value in learner.averaged.state_dict().items()
    }
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise TrainingError(
            f"the weights of {name} are not finite in float16: its training has diverged; train "
            "again into another folder, from other weights or with another seed"
        )
    save_file(state, weights)
    weights.chmod(0o644)
    recipe, curves = learner.recipe, learner.curves
    training: dict[str, Any] = {
        "objective": recipe.objective,
        "steps": learner.step,
        "photographs_in_a_batch": recipe.images,
        # Each as often as it was drawn; every time it is seen in two or more views.
        "photographs_seen": learner.step * recipe.images,
        "sides": recipe.sides,
        "minutes": recipe.minutes,
        "cpu_seconds": recipe.cpu_seconds,
        "cpu_seconds_spent": round(learner.spent, 1),
    }
    if curves.threshold:
        # The paper's figure: right decisions on validation pairs at the threshold of its grid.
        training["pairs"] = {
            "threshold": curves.threshold[-1],
            "accuracy": curves.validation_accuracy[-1],
        }
    return DescriptorCard(
        name=name,
        architecture=recipe.architecture,
        dim=recipe.dim,
        input_size=recipe.input_sides[0],
        gem_p=recipe.gem_p,
        weights=weights.name,
        weights_sha256=file_sha256(weights),
        # Above every similarity: nothing is a duplicate until calibration has run.
        thresholds=DecisionLevels(2.0, 2.0, 2.0, -1),
        quantiser=f"{name}_quantiser.safetensors",
        quantiser_sha256="",
        figures={"training": training},
        folder=output,
        scales=learner.averaged.scales,
        regions=learner.averaged.regions,
        inner=recipe.inner,
    )


def calibrate_card(
    card: DescriptorCard,
    copies: CopySet,
    learnt: PhotoCache,
    sides: Sequence[int],
    say: Callable[[str], None] = print,
) -> Path:
    """Choose the input side (of `sides`), thresholds and quantiser of weights, and convert them.

    Writes and returns the sidecar.
    """
    card, by_side = choose_side(card, copies, sides, say)
    path = card.write()
    descriptor = load_descriptor(str(path), "cpu")
    calibration = calibrate(card, descriptor, copies)
    say(f"calibrated: {calibration.thresholds}")
    figures = card.figures | {
        "calibration": calibration.figures,
        "micro_ap_by_input_size": by_side,
    }
    curves = card.folder / f"{card.name}_calibration.json"
    curves.write_text(json.dumps(calibration.curves) + "\n", "utf-8")
    rng = np.random.default_rng(0)
    rows = np.arange(len(learnt.aspects))
    vectors = [
        descriptor.encode(list(view.permute(0, 2, 3, 1).numpy()))
        for views in view_batches(learnt, rows, card.input_size, 1, rng)
        for view in views
    ]
    quantiser = card.folder / card.quantiser
    save_arrays({"centroids": train_quantiser(np.concatenate(vectors))}, quantiser)
    quantiser.chmod(0o644)
    done = replace(
        card,
        thresholds=calibration.thresholds,
        sorter=asdict(calibration.sorter) if calibration.sorter else None,
        quantiser_sha256=file_sha256(quantiser),
        figures=figures,
    )
    done.write()
    return path


def choose_side(
    card: DescriptorCard,
    copies: CopySet,
    sides: Sequence[int],
    say: Callable[[str], None] = print,
) -> tuple[DescriptorCard, dict[str, float]]:
    """The card, converted at the input side of the highest µAP on the copies; the µAP of each side.

    Larger ones than trained at often serve better (Touvron et al., Fixing the train-test resolution
    discrepancy, 2019).
    """
    best = tried = card
    scores = {}
    for side in sides:
        tried = convert(replace(card, input_size=side))
        path = tried.write()
        descriptor = load_descriptor(str(path), "cpu")
        similarities = descriptor.encode(copies.copies) @ descriptor.encode(copies.originals).T
        figures = summary(pair_curve(similarities, copies.truth))
        say(f"input side {side}: {figures}")
        scores[str(side)] = figures["micro_ap"]
        if scores[str(side)] == max(scores.values()):
            best = tried
    # The converted network that lies there is that of the last side.
    return best if best is tried else convert(best), scores


def register(
    candidate: Path,
    photos: Path,
    places: Places | None = None,
    say: Callable[[str], None] = print,
) -> Registration:
    """Put a trained descriptor into the lake's registry, if it beats the current one.

    The current one is the descriptor of the same name that was registered last, or else the shipped
    one of that name; without either there is nothing to beat. Both are measured on the photographs
    of `photos` that are set aside; the higher µAP wins. The lake gets the files, which nobody
    changes again, the warehouse a row of its table `model`. A collection goes on with the
    descriptor that its file names: naming the new model_id there is what changes it.
    """
    from idedup_tasks.warehouse import Warehouse

    places = places or Places.from_environment()
    card = load_card(str(candidate))
    model_id = card.model_id(REGISTERED_AS)
    entries = registrations(places.lake)
    known = next((r for r in entries if r["model_id"] == model_id), None)
    if known is None:
        current = current_sidecar(card.name, places.lake)
        copies = make_copies([f for f in photo_files(photos) if is_set_aside(f)])
        found = micro_ap(candidate, copies)
        against = load_card(str(current)).model_id(REGISTERED_AS) if current else None
        to_beat = micro_ap(current, copies) if current else None
        say(f"µAP {found}" + (f", of {against} {to_beat}" if current else ""))
        if to_beat is not None and found <= to_beat:
            return Registration(False, model_id, None, found, against, to_beat)
        details: dict[str, Any] = {
            "micro_ap": found,
            "current": against,
            "current_micro_ap": to_beat,
        }
    else:
        # Its row may be missing: a run that was killed between the two is repeated.
        card = load_card(str(registered_card(model_id, places.lake)))
        details = {key: known.get(key) for key in ("micro_ap", "current", "current_micro_ap")}
    location = add_card(card, details, places.lake)
    Warehouse(places.warehouse).record_model(
        model_id=model_id,
        descriptor=card.name,
        dim=card.dim,
        thresholds=card.thresholds,
        location=location,
        card=card.content(),
    )
    return Registration(True, model_id, location, **details)


def current_sidecar(name: str, lake: str) -> Path | None:
    """What a candidate of a name has to beat: the last one registered, else the shipped one."""
    entries = [r for r in registrations(lake) if r["descriptor"] == name]
    if entries:
        return registered_card(entries[-1]["model_id"], lake)
    return WEIGHTS_FOLDER / f"{name}.json" if name in shipped_descriptors() else None


def ship(candidate: Path, photos: Path, folder: Path = WEIGHTS_FOLDER) -> bool:
    """Make a trained descriptor the one in `folder`, if it beats it; returns whether it did.

    For this package's developers: it replaces the weights that the package ships. Both are measured
    on the photographs of `photos` that are set aside; the higher µAP wins.
    """
    card = load_card(str(candidate))
    current = folder / f"{card.name}.json"
    if current.is_file():
        copies = make_copies([f for f in photo_files(photos) if is_set_aside(f)])
        if micro_ap(current, copies) >= micro_ap(candidate, copies):
            return False
    # The sidecar last: until then the digests tell that files are of different weights.
    files = (card.weights, *card.converted, card.quantiser)
    for file in (*files, f"{card.name}_calibration.json", "training.json", candidate.name):
        shutil.copy(card.folder / file, folder / file)
    return True


def micro_ap(sidecar: Path, copies: CopySet) -> float:
    """µAP of a descriptor on a set of copies."""
    descriptor = load_descriptor(str(sidecar), "cpu")
    similarities = descriptor.encode(copies.copies) @ descriptor.encode(copies.originals).T
    return float(summary(pair_curve(similarities, copies.truth))["micro_ap"])
