"""The paper's Table 2 again, on equal terms: train its networks, measure them, write the table.

    OMP_NUM_THREADS=1 python -m idedup_tasks.training.table2 \\
        --photos TRAIN --others OTHERS --output table2 2>&1 | tee -a table2.log

Every row has the same photographs, edits, objective, batch and budget of CPU seconds; `learn`
counts them, so other work on the machine costs none. Rows differ in the network, the side of the
input in pixels, and the start: random weights ("scratch") or the shipped descriptor's features
("shipped"). A command that was stopped or killed goes on where it was: a row that is trained or
measured is not done again. `table2.md` is written anew after each row; a row in brackets was so far
measured on photographs set aside only. Times are not measured here: `idedup benchmark` does, when
nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from idedup_tasks.descriptors import DEFAULT_DESCRIPTOR, load_card
from idedup_tasks.training.recipes import COMPARED, RECIPES, Recipe

CPU_SECONDS = 3600.0

# From trained features on, a smaller rate than from scratch: after 120 steps of IDedupNet at 64
# pixels, 0.494 of the strong views set aside were nearest to their own photograph, 0.446 at 0.001.
SHIPPED_RATE = 3e-4


@dataclass(frozen=True)
class Row:
    """A network of the table, the side of its input in pixels, and whether it starts from the
    shipped descriptor."""

    network: str
    side: int = 64
    shipped: bool = False

    @property
    def start(self) -> str:
        return "shipped" if self.shipped else "scratch"

    @property
    def folder(self) -> str:
        return f"{self.network}-{self.side}-{self.start}"


# Those that the project needs first come first.
ROWS = (
    Row("idedupnet", shipped=True),
    Row("idedupnet"),
    Row("mobilenet_v3"),
    Row("lenet"),
    Row("resnet50"),
    Row("densenet121"),
    Row("unet"),
    Row("mobilenet_v3", shipped=True),
    Row("idedupnet", 224, shipped=True),
    Row("mobilenet_v3", 224),
    Row("idedupnet", 224),
    Row("mobilenet_v3", 224, shipped=True),
)


def train_row(row: Row, photos: Path, output: Path, cpu_seconds: float) -> Path:
    """Train and calibrate a row, or go on with it; returns its sidecar."""
    from idedup_tasks.training.copies import make_copies
    from idedup_tasks.training.run import calibrate_card, fit, preprocess

    folder = output / row.folder
    sidecar = folder / f"{row.network}.json"
    if sidecar.exists() and "calibration" in load_card(str(sidecar)).figures:
        return sidecar
    own = RECIPES[row.network]
    recipe = replace(
        COMPARED,
        architecture=own.architecture,
        gem_p=own.gem_p,
        learning_rate=SHIPPED_RATE if row.shipped else own.learning_rate,
        minutes=None,
        cpu_seconds=cpu_seconds,
        sides=(row.side,),
        input_sides=(row.side,),
    )
    # One cache, and so the same pixels, for all rows.
    largest = max(row.side for row in ROWS)
    split = preprocess(photos, output, Recipe(sides=(largest,)), say)
    folder.mkdir(exist_ok=True)
    init = DEFAULT_DESCRIPTOR if row.shipped else None
    card = fit(split, folder, init, recipe, row.network, say)
    return calibrate_card(card, make_copies(split.aside), split.learnt, recipe.input_sides, say)


def measure_row(sidecar: Path, others: Path) -> Path:
    """Measure a trained row on photographs that nothing was learnt from; returns the results."""
    from idedup_tasks.benchmarks.datasets import open_dataset
    from idedup_tasks.benchmarks.methods import choose_methods
    from idedup_tasks.benchmarks.run import run_benchmark, write_results

    found = sidecar.parent / "benchmark" / "benchmark.json"
    if not found.exists():
        dataset = open_dataset("copydays", others)
        write_results(run_benchmark(dataset, choose_methods([str(sidecar)])), found.parent)
    return found


def table(output: Path) -> Iterator[str]:
    """The lines of the table in Markdown, of all rows that are trained."""
    yield (
        "| network | side | start | CPU seconds | steps | photographs seen "
        "| µAP | best F1 | recall at precision 0.99 |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in ROWS:
        folder = output / row.folder
        sidecar = folder / f"{row.network}.json"
        if not sidecar.exists() or "calibration" not in load_card(str(sidecar)).figures:
            continue
        figures = load_card(str(sidecar)).figures
        found, form = figures["calibration"]["pairs"], "({:.3f})"
        measured = folder / "benchmark" / "benchmark.json"
        if measured.exists():
            (result,) = json.loads(measured.read_text("utf-8"))["methods"].values()
            found, form = result["pairs"]["all"], "{:.3f}"
        training: dict[str, Any] = figures["training"]
        names = ("micro_ap", "best_f1", "recall_at_precision_0.99")
        cells = [
            row.network,
            row.side,
            row.start,
            f"{training['cpu_seconds_spent']:,.0f}",
            f"{training['steps']:,}",
            f"{training['photographs_seen']:,}",
            *(form.format(found[name]) for name in names),
        ]
        yield f"| {' | '.join(map(str, cells))} |"


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder to learn from")
    parser.add_argument("--others", type=Path, required=True, help="folder to measure on")
    parser.add_argument("--output", type=Path, required=True, help="folder for everything made")
    parser.add_argument("--cpu-seconds", type=float, default=CPU_SECONDS, help="of each row")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    say(f"process {os.getpid()}")
    for row in ROWS:
        say(row.folder)
        sidecar = train_row(row, chosen.photos, chosen.output, chosen.cpu_seconds)
        measure_row(sidecar, chosen.others)
        text = "\n".join(table(chosen.output)) + "\n"
        (chosen.output / "table2.md").write_text(text, "utf-8")
        print(text, flush=True)


if __name__ == "__main__":
    main()
