"""The benchmark's page: one HTML file that needs nothing else, and the paper's tables, filled in.

As the report of a run: no script, no address outside, and everything escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from idedup_tasks.benchmarks import figures
from idedup_tasks.benchmarks.measures import Decisions
from idedup_tasks.benchmarks.methods import HASHES
from idedup_tasks.pages.templates import templates

# What the IDedupNet paper says of itself: its text and Table 2, and its confusion matrix (true and
# false positives, false and true negatives are 560, 40, 10 and 490).
PAPER_CLAIM = {"accuracy": 0.9868, "precision": 0.933, "recall": 0.982, "f1": 0.956, "ms": 12.0}
PAPER_MATRIX = Decisions(560, 40, 10, 490)

NETWORKS = ("idedupnet", "mobilenet_v3", "resnet50", "densenet121", "lenet", "unet")
LEARNT = ("imagededup-cnn", "fastdup", "idedupnet", "mobilenet_v3")


def render(results: Mapping[str, Any]) -> str:
    """The page about the results of a benchmark, as `run_benchmark` returns them."""
    methods = results["methods"]
    comparisons = [
        figures.comparison(title, {n: r["pairs"]["all"][measure] for n, r in methods.items()})
        for title, measure in (
            ("µAP", "micro_ap"),
            ("Best F1 over all thresholds", "best_f1"),
            ("Recall at precision 0.99", "recall_at_precision_0.99"),
        )
    ]
    if any("groups" in result for result in methods.values()):
        grouped = {name: result["groups"]["pairwise_f1"] for name, result in methods.items()}
        comparisons.append(figures.comparison("Pairwise F1 of the final groups", grouped))
    training = [
        chart
        for name, result in methods.items()
        if result["training"]
        for chart in figures.training_curves(name, result["training"])
    ]
    page = _template().render(
        results=results,
        methods=methods,
        sets=list(next(iter(methods.values()))["pairs"]),
        comparisons=comparisons,
        precision_recall=figures.precision_recall(methods),
        training=training,
        networks=_rows(NETWORKS, methods),
        techniques=_rows(HASHES, methods) + _rows(LEARNT, methods),
        claim=PAPER_CLAIM,
        matrix=PAPER_MATRIX,
    )
    return page.lstrip()


def _rows(
    names: tuple[str, ...], methods: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, Mapping[str, Any] | None]]:
    """A row for each name: what was measured (two of a name go by their model_id), or None."""
    rows: list[tuple[str, Mapping[str, Any] | None]] = []
    for name in names:
        found = [method for method in methods if name in (method, method.rpartition("-")[0])]
        rows += [(method, methods[method]) for method in found]
        if not found:
            rows.append((name, None))
    return rows


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    page = templates(
        Path(__file__).parent,
        figure=lambda value: "–" if value is None else f"{value:.3f}",
        share=lambda value: f"{100 * value:.2f} %",
        heat=lambda value: f"heat{min(9, int(10 * value))}",
    )
    return page.get_template("benchmark.html")
