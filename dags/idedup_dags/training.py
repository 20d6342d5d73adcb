"""The tasks of the training DAG, as plain functions around `idedup_tasks.training`.

Between them travel paths and figures; photographs, weights and checkpoints lie in the run's output
folder, so a task that is retried goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context

from idedup_dags import permitted
from idedup_dags.defaults import Returned
from idedup_dags.tasks import data_faults_fail
from idedup_tasks.settings import Places, make_private

if TYPE_CHECKING:
    from idedup_tasks.training import Recipe

log = logging.getLogger(__name__)


@data_faults_fail()
def preprocess() -> dict[str, Any]:
    """Set photographs aside and decode all; returns their numbers and the output folder."""
    from idedup_tasks.training.run import preprocess as decode

    settings = get_current_context()["params"]
    split = decode(photos_of(settings), output_folder(), recipe_of(settings), log.info)
    return {
        "output": str(output_folder()),
        "learnt": len(split.learnt.aspects),
        "set_aside": len(split.aside),
    }


@data_faults_fail()
def train(prepared: Returned) -> dict[str, Any]:
    """Learn, from the checkpoint where there is one; returns the sidecar and the last figures."""
    from idedup_tasks.training.run import fit
    from idedup_tasks.training.run import preprocess as decoded

    settings = get_current_context()["params"]
    recipe, output = recipe_of(settings), Path(prepared["output"])
    split = decoded(photos_of(settings), output, recipe, log.info)
    init = settings["init"] and permitted.descriptor("init", settings["init"])
    card = fit(split, output, init, recipe, settings["network"], log.info)
    return {"sidecar": str(output / f"{card.name}.json"), **card.figures["training"]}


@data_faults_fail()
def calibrate(prepared: Returned, trained: Returned) -> dict[str, Any]:
    """Choose input side, thresholds and quantiser; returns the sidecar and what was measured."""
    from idedup_tasks.descriptors import load_card
    from idedup_tasks.training.copies import make_copies
    from idedup_tasks.training.run import calibrate_card
    from idedup_tasks.training.run import preprocess as decoded

    settings = get_current_context()["params"]
    recipe, output = recipe_of(settings), Path(prepared["output"])
    split = decoded(photos_of(settings), output, recipe, log.info)
    card, copies = load_card(trained["sidecar"]), make_copies(split.aside)
    sidecar = calibrate_card(card, copies, split.learnt, recipe.input_sides, log.info)
    done = load_card(str(sidecar))
    return {
        "sidecar": str(sidecar),
        "model_id": done.model_id("cpu"),
        "thresholds": asdict(done.thresholds),
        "figures": done.figures["calibration"],
    }


@data_faults_fail()
def benchmark(calibrated: Returned) -> dict[str, Any]:
    """Measure the descriptor and the hashes; returns the descriptor's figures and the files."""
    from idedup_tasks.benchmarks.datasets import open_dataset
    from idedup_tasks.benchmarks.methods import HASHES, choose_methods
    from idedup_tasks.benchmarks.run import measures_of, record, run_benchmark, write_results

    context = get_current_context()
    settings, sidecar = context["params"], Path(calibrated["sidecar"])
    photos = settings["benchmark_photos"]
    if photos:
        folder = permitted.photos("benchmark_photos", photos)
    else:
        folder = set_aside(settings, sidecar.parent)
    dataset = open_dataset("copydays", folder)
    methods = choose_methods([str(sidecar), *HASHES])
    run_id = f"{context['dag'].dag_id}/{context['dag_run'].run_id}"
    results = run_benchmark(dataset, methods, benchmark_id=run_id)
    files = write_results(results, sidecar.parent / "benchmark")
    record(results, Places.from_environment().warehouse)
    found = measures_of(results["methods"][methods[0].name])
    measures = {name: value for name, value in found.items() if name.startswith("pairs.all.")}
    return {"benchmark_id": run_id, "files": [str(file) for file in files], "measures": measures}


def set_aside(settings: Mapping[str, Any], output: Path) -> Path:
    """A folder of links to the photographs that were set aside."""
    from idedup_tasks.training.photos import is_set_aside, photo_files

    folder = output / "set_aside"
    folder.mkdir(exist_ok=True)
    for number, file in enumerate(filter(is_set_aside, photo_files(photos_of(settings)))):
        link = folder / f"{number:06}-{file.name}"
        if not link.is_symlink():
            link.symlink_to(file.resolve())
    return folder


@data_faults_fail()
def register(calibrated: Returned) -> dict[str, Any]:
    """Put the descriptor into the lake and the warehouse if it beats the current one."""
    from idedup_tasks import training

    settings = get_current_context()["params"]
    done = training.register(
        Path(calibrated["sidecar"]), photos_of(settings), Places.from_environment(), log.info
    )
    if done.registered:
        log.info("registered as %s in %s", done.model_id, done.location)
    else:
        log.info("not registered: %s is as good or better", done.current)
    return asdict(done)


def photos_of(settings: Mapping[str, Any]) -> Path:
    return permitted.photos("photos", settings["photos"])


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """The network's recipe with the run's budget and input side."""
    from idedup_tasks.training import recipe_for

    return recipe_for(
        *(settings[n] for n in ("network", "steps", "minutes", "side", "batch", "cpu_seconds"))
    )


def output_folder() -> Path:
    """Where a run keeps what it makes: the same for each try."""
    from idedup_tasks.lake import safe_name

    run_id = get_current_context()["dag_run"].run_id
    return make_private(Places.from_environment().home) / "training" / safe_name(run_id)
