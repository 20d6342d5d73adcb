"""The benchmark's figures: comparison bars, precision-recall and training curves, as charts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from idedup_tasks.pages.charts import Bar, Chart, Label, Line, nice_ticks

# Classes of colours that the page knows for lines; more series than these share them.
COLOURS = 12
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 16.0, 34.0


def comparison(title: str, values: Mapping[str, float], note: str = "") -> Chart:
    """A bar a method, from 0 to 1, the best one on top."""
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    best, value = ordered[0]
    chart = Chart(title, f"Best is {best} with {value:.3f}.", 24.0 * len(ordered) + 8, note=note)
    left = 14 + 7.4 * max(len(name) for name in values)
    for i, (name, value) in enumerate(ordered):
        y, wide = 6 + 24.0 * i, max(1.0, value * (chart.width - left - 48))
        chart.bars.append(Bar(left, y, wide, 16, "exact", f"{name}: {value:.4f}"))
        chart.labels.append(Label(left - 8, y + 12, name, "end"))
        chart.labels.append(Label(left + wide + 6, y + 12, f"{value:.3f}", "start", "over"))
    return chart


def precision_recall(results: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Precision over recall of every method, all queries together."""
    chart = Chart(
        "Precision and recall",
        f"Curves of {len(results)} methods; the further up and right, the better.",
        300,
        note="Up: precision; across: recall. Each copy is compared with every reference.",
    )
    series = {
        name: (
            result["pairs"]["all"]["curve"]["recall"],
            result["pairs"]["all"]["curve"]["precision"],
        )
        for name, result in results.items()
    }
    _curves(chart, series, 1.0, 1.0)
    return chart


def training_curves(name: str, curves: Mapping[str, Sequence[float]]) -> list[Chart]:
    """Loss and accuracy by epoch of one descriptor."""
    epochs = curves["epoch"]
    last = f"{len(epochs)} epochs of {name}; at the end"
    loss = Chart(f"Loss by epoch: {name}", f"{last} {curves['loss'][-1]:.3f}.", 240)
    _curves(loss, {"loss": (epochs, curves["loss"])}, max(epochs), max(curves["loss"]))
    accuracy = Chart(
        f"Accuracy by epoch: {name}",
        f"{last} {curves['validation_accuracy'][-1]:.3f} on photographs set aside.",
        240,
    )
    both = {
        "training batches": (epochs, curves["accuracy"]),
        "photographs set aside": (epochs, curves["validation_accuracy"]),
    }
    _curves(accuracy, both, max(epochs), 1.0)
    return [loss, accuracy]


def _curves(
    chart: Chart,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    right: float,
    top: float,
) -> None:
    """Add lines through points (across, up), with axes from 0."""
    wide, high = chart.width - _LEFT - _RIGHT, chart.height - _TOP - _BOTTOM
    base = chart.height - _BOTTOM
    across_ticks, up_ticks = _ticks(right), _ticks(top)
    for tick in up_ticks:
        y = base - tick / up_ticks[-1] * high
        chart.lines.append(Line(_LEFT, y, chart.width - _RIGHT, y, "grid"))
        chart.labels.append(Label(_LEFT - 5, y + 4, f"{tick:g}", "end"))
    for tick in across_ticks:
        x = _LEFT + tick / across_ticks[-1] * wide
        chart.labels.append(Label(x, base + 16, f"{tick:g}"))
    for i, (name, (across, up)) in enumerate(series.items()):
        kind = f"series{i % COLOURS}"
        chart.legend.append((kind, name))
        points = [
            (_LEFT + x / across_ticks[-1] * wide, base - y / up_ticks[-1] * high)
            for x, y in zip(across, up, strict=True)
        ]
        for (x1, y1), (x2, y2) in itertools.pairwise(points):
            chart.lines.append(Line(x1, y1, x2, y2, kind))


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to at least `top`; tenths where that is small."""
    if top <= 4:
        return [round(tick / 10, 1) for tick in nice_ticks(top * 10)]
    return nice_ticks(top)
