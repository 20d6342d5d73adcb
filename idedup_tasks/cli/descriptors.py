"""`idedup train` and `benchmark`: make a descriptor, and measure it beside others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from idedup_tasks import terminal
from idedup_tasks.pages.units import human_bytes
from idedup_tasks.settings import Places, make_private
from idedup_tasks.training import RECIPES


def train(
    photos: Annotated[
        Path,
        typer.Option(help="Folder of photographs, a few thousand or more.", show_default=False),
    ],
    network: Annotated[
        str,
        typer.Option(help=f"{', '.join(RECIPES)}."),
    ] = "mobilenet_v3",
    init: Annotated[
        str | None,
        typer.Option(
            help="What to start from: a safetensors file, a descriptor, or imagenet (torchvision's "
            "published weights, which are downloaded). By default from nothing."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for what is made; IDEDUP_HOME/training/NETWORK."
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Learn for about so long, instead of the recipe's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Learn for at most so many steps; 0: not at all.")
    ] = None,
    cpu_seconds: Annotated[
        float | None,
        typer.Option(
            min=1, help="Learn with so much processor time, whatever else the machine does."
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(min=32, help="Side of the input in pixels, instead of the recipe's."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=2, help="Photographs in a batch, instead of the recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="All random choices follow from it.")] = 0,
    register: Annotated[
        bool, typer.Option(help="Put it into the lake if it beats the current one of its name.")
    ] = False,
) -> None:
    """Train a descriptor on photographs, without labels, and calibrate its thresholds.

    Needs PyTorch: `pip install 'idedup[train]'`.

    One photograph in six is set aside to calibrate with. A run that was stopped, however, continues
    from its checkpoint in the output folder; another folder starts afresh. Prints the path of the
    descriptor's sidecar, which `--descriptor` takes, or its model_id where it was registered, which
    a collection file takes as `descriptor`.

    Examples:

    - `idedup train --photos ~/aerial --init mobilenet_v3 --minutes 60 --register`
    - `idedup train --photos ~/photos --network resnet50 --minutes 20 --output trained`
    - `idedup scan ~/Pictures -o duplicates --descriptor trained/resnet50.json`
    """
    from dataclasses import replace

    from idedup_tasks import training

    recipe = training.recipe_for(network, steps, minutes, side, batch, cpu_seconds)
    folder = output or make_private(Places.from_environment().home) / "training" / network
    console = terminal.stderr()

    def say(text: str) -> None:
        console.print(text, markup=False)

    sidecar = training.train(photos, folder, init, replace(recipe, seed=seed), network, say)
    terminal.stdout().print(f"{sidecar}", markup=False)
    if register:
        done = training.register(sidecar, photos, say=say)
        terminal.stdout().print(
            f"Registered: {done.model_id}"
            if done.registered
            else f"Not registered: {done.current} is as good or better.",
            markup=False,
        )


def benchmark(
    photos: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs, or of a data set; not needed for what is drawn."),
    ] = None,
    dataset: Annotated[
        Literal["copydays", "edits", "groups", "cifar10", "layouts", "documents"],
        typer.Option(
            help="copydays: edited copies of the photographs, or INRIA Copydays where that is the "
            "folder. edits: copies edited one to four times, and others without an original. "
            "groups: the folder's groups.csv (file,group). cifar10: its pairs.csv (a,b,same) over "
            "images or binary batches. layouts, documents: drawn, of one layout with other content."
        ),
    ] = "copydays",
    methods: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas: idedup-scan (the whole workflow), descriptors (by name, or "
            "the .json file that training wrote), ahash, dhash, phash, whash, imagededup-phash "
            "(-ahash, -dhash, -whash, -cnn), fastdup, sscd, sscd-student. By default the shipped "
            "descriptor, the hashes and, with --peer-python, the others."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made if needed.")
    ] = Path("benchmark"),
    distractors: Annotated[
        Path | None, typer.Option(help="Folder of unrelated photographs to hide the originals in.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Use so many photographs, groups or pairs at most.")
    ] = None,
    copies: Annotated[
        int, typer.Option(min=1, help="Edited copies of each photograph: copydays and edits.")
    ] = 5,
    peer_python: Annotated[
        Path | None,
        typer.Option(help="A Python with AugLy and other programs (docs/benchmarks.md)."),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Where descriptors run; cuda needs PyTorch: idedup[gpu]."),
    ] = "auto",
    speed: Annotated[
        bool,
        typer.Option(
            "--speed",
            help="Time whole programs instead: idedup-scan and, with --peer-python, fastdup and "
            "imagededup-phash (or --methods) group the same folder, in turn.",
        ),
    ] = False,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often each program is timed, with --speed.")
    ] = 5,
    warehouse: Annotated[
        str | None,
        typer.Option(
            envvar="IDEDUP_WAREHOUSE", help="SQLAlchemy URL of a database to put the figures into."
        ),
    ] = None,
) -> None:
    """Measure descriptors, hashes and other programs on the same images.

    Writes **benchmark.html** to look at, **benchmark.json** and **benchmark.csv**: precision,
    recall, F1 and accuracy at each method's threshold and over a grid, µAP, mAP, recall at
    precision 0.99 and by kind of edit, quality of the final groups, time, memory and size.

    Examples:

    - `idedup benchmark --photos ~/photos --output measured`
    - `idedup benchmark --photos ~/photos --methods phash,trained/mobilenet_v3.json --limit 500`
    - `idedup benchmark --photos ukbench --dataset groups`
    - `idedup benchmark --dataset layouts --methods idedup-scan,mobilenet_v3`
    - `idedup benchmark --speed --photos ~/photos --peer-python peers/bin/python`
    """
    from idedup_tasks.benchmarks import datasets, run
    from idedup_tasks.benchmarks.methods import choose_methods

    names = None if methods is None else [name for name in methods.split(",") if name.strip()]
    if speed:
        _compare_speed(dataset, photos, names, output, limit, copies, peer_python, rounds)
        return
    chosen = choose_methods(names, peer_python, device)
    images = datasets.open_dataset(
        dataset, photos, distractors, limit, copies, peer_python=peer_python
    )
    if warehouse is not None:
        run.check_warehouse(warehouse)
    with terminal.stage_bars() as show:

        def advance(step: str, done: int, total: int) -> None:
            unit = "images" if step in ("encoding", "writing") else "methods"
            show(step, unit, done, total)

        results = run.run_benchmark(images, chosen, advance)
    written = run.write_results(results, output)
    _show_benchmark(results)
    console = terminal.stdout()
    for name, reason in results["not_run"].items():
        console.print(f"Not run here: {name} ({reason})", markup=False)
    if warehouse is not None:
        count = run.record(results, warehouse)
        console.print(f"{count:,} figures recorded as {results['benchmark_id']}.", markup=False)
    console.print(f"Report: {written[-1]}", markup=False)


def _compare_speed(
    dataset: str,
    photos: Path | None,
    names: list[str] | None,
    output: Path,
    limit: int | None,
    copies: int,
    peer_python: Path | None,
    rounds: int,
) -> None:
    from idedup_tasks.benchmarks import datasets
    from idedup_tasks.benchmarks.speed import choose_programs, compare_speed

    programs = choose_programs(names, peer_python)
    images = datasets.open_dataset(dataset, photos, None, limit, copies, peer_python=peer_python)
    with terminal.stage_bars() as show:

        def advance(step: str, done: int, total: int) -> None:
            show(step, "images" if step == "writing" else "runs", done, total)

        found = compare_speed(images, programs, rounds, peer_python, advance)
    output.mkdir(parents=True, exist_ok=True)
    written = output / "speed.json"
    written.write_text(json.dumps(found, indent=1), encoding="utf-8")
    table = terminal.table("program", "seconds", "times", "CPU s", "memory", "found", "wrong")
    for name, figures in found["programs"].items():
        table.add_row(
            escape(name),
            f"{figures['seconds']:.2f}",
            f"{figures['times']:.2f}" if figures["times"] else "",
            f"{figures['cpu_seconds']:.2f}",
            human_bytes(int(figures["peak_bytes"])),
            f"{figures['found']:,} of {found['pairs']:,}",
            f"{figures['wrong']:,}",
        )
    console = terminal.stdout()
    console.print(table)
    for name, reason in found["not_run"].items():
        console.print(f"Not run here: {name} ({reason})", markup=False)
    console.print(
        f"Medians of {rounds} in turn over {found['images']:,} images: {written}", markup=False
    )


def _show_benchmark(results: Mapping[str, Any]) -> None:
    headings = ("µAP", "best F1", "recall at P 0.99", "F1", "groups F1", "ms", "CPU ms", "memory")
    table = terminal.table("method", *headings)
    for name, result in results["methods"].items():
        pairs, groups = result["pairs"]["all"], result.get("groups")
        table.add_row(
            escape(name),
            f"{pairs['micro_ap']:.3f}",
            f"{pairs['best_f1']:.3f}",
            f"{pairs['recall_at_precision_0.99']:.3f}",
            f"{result['at_threshold']['all']['f1']:.3f}",
            f"{groups['pairwise_f1']:.3f}" if groups else "",
            f"{result['ms_per_image']:.2f}",
            f"{result['cpu_ms_per_image']:.2f}",
            human_bytes(result["peak_bytes"]),
        )
    console = terminal.stdout()
    console.print(table)
    console.print()
