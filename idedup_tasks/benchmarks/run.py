"""Measure methods on a dataset: `idedup benchmark`, and the DAG of the same name.

Images are made in batches and shown to every method in turn; then each method's vectors are
compared, one method at a time.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from idedup_tasks.benchmarks.datasets import BenchmarkError, Dataset
from idedup_tasks.benchmarks.measures import (
    Decisions,
    Encoding,
    PairCurve,
    Scores,
    Tally,
    b_cubed,
    components,
    grouping_quality,
    linked_groups,
    rank,
    tally_pairs,
)
from idedup_tasks.benchmarks.methods import Encoded, Method, Process
from idedup_tasks.benchmarks.workflow import Scanned, scan
from idedup_tasks.compute import usable_cores

PRECISION = 0.99
GRID = tuple(round(0.70 + 0.05 * step, 2) for step in range(6))
ALL = "all"

#: progress(what, done, total)
Progress = Callable[[str, int, int], None]


def run_benchmark(
    dataset: Dataset,
    methods: Sequence[Method],
    progress: Progress | None = None,
    benchmark_id: str | None = None,
) -> dict[str, Any]:
    """Measure methods on the images of a dataset; returns what benchmark.json holds.

    A peer that cannot be used here is left out, and `not_run` says why; every other method must
    work. `benchmark_id` names the run in the warehouse; a second one of that name replaces it.

    Raises:
        BenchmarkError: a method cannot be used or has died, or an image cannot be read.
    """
    show = progress or (lambda what, done, total: None)
    created = datetime.now(UTC)
    encoders = [method for method in methods if method.family != "workflow"]
    encoded, not_run = _encode(dataset, encoders, show) if encoders else ([], {})
    results: dict[str, Any] = {}
    for done, (method, outcome) in enumerate(encoded):
        show("comparing", done, len(encoded))
        results[method.name] = _about(method, outcome, len(dataset)) | measure(
            dataset, outcome.encoding, outcome.about
        )
    show("comparing", len(encoded), len(encoded))
    for method in methods:
        if method.family == "workflow":
            results[method.name] = measure_scan(dataset, scan(dataset, method, show))
    stamp = f"{created:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    return {
        "benchmark_id": benchmark_id or f"{dataset.name.replace(' ', '_')}-{stamp}",
        "created_at": created.isoformat(timespec="seconds"),
        "idedup": version("idedup"),
        "machine": f"{_processor()}, {usable_cores()} cores",
        "dataset": _counts(dataset),
        "methods": {
            method.name: results[method.name] for method in methods if method.name in results
        },
        "not_run": not_run,
    }


def _encode(
    dataset: Dataset, methods: Sequence[Method], show: Progress
) -> tuple[list[tuple[Method, Encoded]], dict[str, str]]:
    with ExitStack() as stack:
        processes, running, not_run = [], [], {}
        for method in methods:
            processes.append(Process(method))
            stack.callback(processes[-1].close)
        for done, process in enumerate(processes):
            show("loading", done, len(methods))
            refusal = process.refusal()
            if not refusal:
                running.append(process)
            elif process.method.family == "peer":
                not_run[process.method.name] = refusal
            else:
                raise BenchmarkError(f"{process.method.name} cannot be used: {refusal}")
        show("loading", len(methods), len(methods))
        if not running:
            raise BenchmarkError(f"no method can be used here: {not_run}")
        done = 0
        for images in dataset.batches():
            for process in running:
                process.encode(images)
            done += len(images)
            show("encoding", done, len(dataset))
        outcomes = []
        for done, process in enumerate(running):
            show("collecting", done, len(running))
            outcomes.append((process.method, process.finish(len(dataset))))
            process.close()
        show("collecting", len(running), len(running))
        return outcomes, not_run


def _about(method: Method, outcome: Encoded, images: int) -> dict[str, Any]:
    return {
        "family": method.family,
        "architecture": method.architecture,
        **outcome.about,
        "dim": int(outcome.encoding.vectors.shape[1]),
        "ms_per_image": 1000 * outcome.seconds / images,
        "cpu_ms_per_image": 1000 * outcome.cpu_seconds / images,
        "peak_bytes": outcome.peak_bytes,
        "training": _training_curves(method),
    }


def _training_curves(method: Method) -> dict[str, Any] | None:
    """Loss and accuracy by epoch, where training left them beside a descriptor."""
    if method.folder is None:
        return None
    for file in ("training.json", f"{method.name}_training.json"):
        if (method.folder / file).is_file():
            curves: dict[str, Any] = json.loads((method.folder / file).read_text("utf-8"))
            return curves
    return None


def _processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _counts(dataset: Dataset) -> dict[str, Any]:
    kinds, counts = np.unique(dataset.kinds, return_counts=True)
    held = {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)}
    return {
        "name": dataset.name,
        "images": len(dataset),
        "queries": len(dataset.queries),
        "references": len(dataset.references),
        "originals": held.pop("original", 0),
        "distractors": held.pop("distractor", 0),
        "labelled_pairs": 0 if dataset.pairs is None else len(dataset.pairs),
        "grouped_images": len(dataset.collection),
        "kinds": held,
    }


# --- measuring ---------------------------------------------------------------------------------


def measure(dataset: Dataset, encoding: Encoding, about: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of one method that encodes images.

    `about` holds its threshold, and candidate and cut, None where it has none. `at_threshold`,
    `grid` and `pairs` are of all queries and of each of the dataset's `sets`; the precision of 0.99
    behind `recall_by_kind` is that over all queries.
    """
    found = _compared(dataset, encoding, float(about["threshold"]))
    if dataset.pairs is None:
        found["groups"] = _groups(dataset, encoding, about)
    return found


def measure_scan(dataset: Dataset, scanned: Scanned) -> dict[str, Any]:
    """All figures of the workflow, which decides by groups: by what it is that two share one.

    `called_duplicates` are decisions by what a pair is called: exact, same or crop, or anything
    else. `groups` are all groups that were found; its `duplicates` are those of what is called a
    duplicate of its keeper alone, variants left out. `originals_kept` is the share of true groups
    with an original and a duplicate found of it, in which the original is no duplicate itself.
    """
    found = _compared(dataset, scanned.scores, 1.0)
    found["at_threshold"] = _compared(dataset, scanned.grouped, 1.0)["at_threshold"]
    found["called_duplicates"] = _compared(dataset, scanned.called, 1.0)["at_threshold"]
    if dataset.pairs is None:
        rows = dataset.collection
        truth = dataset.groups[rows]
        found["groups"] = {
            "made_by": "idedup scan",
            **_group_figures(scanned.groups[rows], truth),
            "duplicates": _group_figures(scanned.duplicates[rows], truth),
        }
        if dataset.originals is not None:
            found["originals_kept"] = _originals_kept(dataset, scanned)
    return {**scanned.about, **found}


def _originals_kept(dataset: Dataset, scanned: Scanned) -> float | None:
    assert dataset.originals is not None
    _, place, size = np.unique(scanned.duplicates, return_inverse=True, return_counts=True)
    asked = dataset.originals[size[place.ravel()][dataset.originals] > 1]
    return float(scanned.keeper[asked].mean()) if len(asked) else None


def _compared(dataset: Dataset, encoding: Scores, threshold: float) -> dict[str, Any]:
    """The figures of pairs: ranked, and decided by a threshold."""
    found: dict[str, Any] = {}
    if dataset.pairs is not None and dataset.same is not None:
        tallies = {ALL: tally_pairs(encoding, dataset.pairs, dataset.same)}
    else:
        ranked = rank(encoding, dataset.groups, dataset.kinds, dataset.queries, dataset.references)
        tallies = {ALL: ranked.tally(ranked.tallies)}
        tallies |= {name: ranked.tally(kinds) for name, kinds in dataset.sets.items()}
        chosen = {ALL: set(ranked.tallies)} | {k: set(v) for k, v in dataset.sets.items()}
        kinds = dataset.kinds[ranked.right]
        found["map"] = {
            name: float(ranked.average_precision[np.isin(kinds, list(members))].mean())
            for name, members in chosen.items()
        }
        _, level = tallies[ALL].curve().at_precision(PRECISION)
        found["recall_by_kind"] = {
            kind: ranked.tallies[kind].decisions(level).recall for kind in _in_order(dataset)
        }
    found["pairs"] = {name: _ranking(tally) for name, tally in tallies.items()}
    found["at_threshold"] = {
        name: _decided(tally.decisions(threshold)) for name, tally in tallies.items()
    }
    found["grid"] = {
        name: [{"threshold": t, **_decided(tally.decisions(t))} for t in GRID]
        for name, tally in tallies.items()
    }
    return found


def _in_order(dataset: Dataset) -> list[str]:
    """Kinds of queries, those of the sets first and as they stand there."""
    named = [kind for kinds in dataset.sets.values() for kind in kinds]
    return named or [str(kind) for kind in np.unique(dataset.kinds[dataset.queries])]


def _ranking(tally: Tally) -> dict[str, Any]:
    curve = tally.curve()
    best, threshold = curve.best_f1()
    recall, level = curve.at_precision(PRECISION)
    return {
        "micro_ap": curve.average_precision(),
        "best_f1": best,
        "best_f1_threshold": threshold,
        "recall_at_precision_0.99": recall,
        "threshold_at_precision_0.99": level if np.isfinite(level) else None,
        "curve": _thinned(curve),
    }


def _thinned(curve: PairCurve, points: int = 100) -> dict[str, list[float]]:
    """A precision-recall curve at points evenly spaced in recall, for drawing."""
    wanted = np.searchsorted(curve.recall, np.linspace(0, curve.recall[-1], points))
    rows = np.unique(np.minimum(wanted, len(curve.recall) - 1))
    return {
        "recall": [round(float(value), 4) for value in curve.recall[rows]],
        "precision": [round(float(value), 4) for value in curve.precision[rows]],
    }


def _decided(decisions: Decisions) -> dict[str, Any]:
    return {
        "true_positives": decisions.true_positives,
        "false_positives": decisions.false_positives,
        "false_negatives": decisions.false_negatives,
        "true_negatives": decisions.true_negatives,
        "precision": decisions.precision,
        "recall": decisions.recall,
        "f1": decisions.f1,
        "accuracy": decisions.accuracy,
        "balanced_accuracy": decisions.balanced_accuracy,
    }


def _groups(dataset: Dataset, encoding: Encoding, about: Mapping[str, Any]) -> dict[str, Any]:
    """Quality of the final groups; what has no calibrated cut gets connected components.

    Those are made at the method's own threshold, and at each of the grid: the best of them (by
    pairwise F1, chosen with the answers in sight) is what the method could reach at all.
    """
    rows = dataset.collection
    truth = dataset.groups[rows]
    candidate, cut = about["candidate"], about["cut"]
    if cut is not None:
        [labels] = linked_groups(encoding, rows, float(candidate), [float(cut)])
        return {"made_by": "average linkage", **_group_figures(labels, truth)}
    own = float(about["threshold"] if candidate is None else candidate)
    figures = _group_figures(components(encoding, rows, own), truth)
    tries = [
        {"threshold": t, **_group_figures(components(encoding, rows, t), truth)}
        for t in GRID
        if t != own
    ]
    best = max([{"threshold": own, **figures}, *tries], key=lambda tried: tried["pairwise_f1"])
    return {"made_by": f"connected components from {own:.4g}", **figures, "best_components": best}


def _group_figures(labels: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    pairwise, cubed = grouping_quality(labels, truth), b_cubed(labels, truth)
    names = ("precision", "recall", "f1")
    return {
        **{f"pairwise_{name}": value for name, value in zip(names, pairwise, strict=True)},
        **{f"b_cubed_{name}": value for name, value in zip(names, cubed, strict=True)},
        "groups": int((np.unique(labels, return_counts=True)[1] > 1).sum()),
        "largest_group": int(np.unique(labels, return_counts=True)[1].max()),
    }


# --- results -----------------------------------------------------------------------------------

_NO_MEASURES = ("family", "architecture", "model_id", "training")


def measures_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one method by name, such as `pairs.all.micro_ap` or `grid.all.0.85.f1`."""
    flat: dict[str, float] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key != "curve":
                    walk(f"{name}.{key}" if name else str(key), inner)
        elif isinstance(value, list):
            for inner in value:
                point = {key: v for key, v in inner.items() if key != "threshold"}
                walk(f"{name}.{inner['threshold']:g}", point)
        elif isinstance(value, int | float):
            flat[name] = float(value)

    walk("", {key: value for key, value in result.items() if key not in _NO_MEASURES})
    return flat


def write_results(results: Mapping[str, Any], output: Path) -> list[Path]:
    """Write benchmark.json, benchmark.csv and benchmark.html into a folder; returns their paths."""
    from idedup_tasks.benchmarks.page import render

    output.mkdir(parents=True, exist_ok=True)
    written = {
        "benchmark.json": json.dumps(results, indent=1, ensure_ascii=False) + "\n",
        "benchmark.html": render(results),
    }
    for name, text in written.items():
        _write_whole(output / name, text)
    columns: dict[str, None] = {}
    rows = []
    for method, result in results["methods"].items():
        measures = measures_of(result)
        columns |= dict.fromkeys(measures)
        rows.append({"method": method, "model_id": result["model_id"] or "", **measures})
    table = output / "benchmark.csv"
    scratch = table.with_suffix(".part")
    with scratch.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["method", "model_id", *columns])
        writer.writeheader()
        writer.writerows(rows)
    scratch.replace(table)
    return [output / "benchmark.json", table, output / "benchmark.html"]


def _write_whole(path: Path, text: str) -> None:
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def check_warehouse(warehouse_url: str) -> None:
    """Raise WarehouseError now where `record` would, rather than after hours of measuring."""
    from idedup_tasks.warehouse import Warehouse

    Warehouse(warehouse_url).query("benchmarks")


def record(results: Mapping[str, Any], warehouse_url: str) -> int:
    """Put the figures into the warehouse, in place of an earlier run of that id; returns how many.

    Raises WarehouseError where it cannot be reached or `idedup db upgrade` has not been run.
    """
    from idedup_tasks.warehouse import Warehouse

    rows = [
        {
            "dataset": results["dataset"]["name"],
            "method": method,
            "model_id": result["model_id"],
            "measure": measure,
            "value": value,
        }
        for method, result in results["methods"].items()
        for measure, value in measures_of(result).items()
    ]
    created = datetime.fromisoformat(results["created_at"])
    Warehouse(warehouse_url).record_benchmark(results["benchmark_id"], created, rows)
    return len(rows)
