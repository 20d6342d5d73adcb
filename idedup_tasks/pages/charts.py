"""Charts as geometry: what the page's template draws as inline SVG, in the page's own colours.

A chart is a list of marks in a box of `WIDTH` units, which is narrow, so that its text is still
readable on a telephone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

WIDTH = 440.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 16.0, 26.0


@dataclass(frozen=True)
class Bar:
    """A filled rectangle; `kind` names its colour, `title` is read out and shown on hovering."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Line:
    """A straight line; `kind` is `grid`, `mark` or `tree`."""

    x1: float
    y1: float
    x2: float
    y2: float
    kind: str


@dataclass(frozen=True)
class Label:
    """A text; `anchor` is where (x, y) lies in it: start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    kind: str = "axis"


@dataclass
class Chart:
    """A drawing with what it is called and what it says, for those who cannot see it."""

    title: str
    summary: str
    height: float
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)  # (kind, name)
    note: str = ""
    width: float = WIDTH


def columns(
    chart: Chart,
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    show: Callable[[float], str],
    over: Sequence[str] = (),
) -> None:
    """Add stacked columns with a value axis.

    Args:
        names: of the columns, from left to right.
        series: by kind, a value for each column; stacked in this order from the bottom.
        show: how a value reads.
        over: a text over each column, if there is room.
    """
    totals = [sum(values) for values in zip(*series.values(), strict=True)]
    ticks = nice_ticks(max(totals))

    def scaled(value: float) -> float:
        return value / ticks[-1] * (chart.height - _TOP - _BOTTOM)

    base = chart.height - _BOTTOM
    for tick in ticks:
        y = base - scaled(tick)
        chart.lines.append(Line(_LEFT, y, chart.width - _RIGHT, y, "grid"))
        chart.labels.append(Label(_LEFT - 5, y + 4, show(tick), "end"))
    step = (chart.width - _LEFT - _RIGHT) / len(names)
    wide = min(step * 0.82, 44.0)
    # Not more names under the axis than fit beside each other.
    room = max(1, math.ceil(max(len(n) for n in names) * 6.2 / step))
    for i, name in enumerate(names):
        middle = _LEFT + step * (i + 0.5)
        y = base
        for kind, values in series.items():
            if values[i] <= 0:
                continue
            high = max(scaled(values[i]), 1.0)
            y -= high
            title = f"{name}: {show(values[i])} {kind}"
            chart.bars.append(Bar(middle - wide / 2, y, wide, high, kind, title))
        if i % room == 0:
            chart.labels.append(Label(middle, base + 16, name))
        if over and step >= 30:
            chart.labels.append(Label(middle, y - 4, over[i], kind="over"))


def rows(
    chart: Chart,
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    show: Callable[[float], str],
) -> None:
    """Add stacked rows, each with its name before and its sum behind it; sets the height."""
    totals = [sum(values) for values in zip(*series.values(), strict=True)]
    left, right, step = 74.0, 62.0, 30.0
    chart.height = step * len(names) + 8
    scale = (chart.width - left - right) / max([*totals, 1])
    for i, name in enumerate(names):
        x, y = left, 6 + step * i
        chart.labels.append(Label(left - 8, y + 15, name, "end"))
        for kind, values in series.items():
            if values[i] > 0:
                wide = max(values[i] * scale, 1.0)
                title = f"{name}: {show(values[i])} {kind}"
                chart.bars.append(Bar(x, y, wide, step - 9, kind, title))
                x += wide
        chart.labels.append(Label(x + 6, y + 15, show(totals[i]), "start"))


def histogram(
    chart: Chart,
    counts: np.ndarray,
    start: float,
    width: float,
    marks: Mapping[str, float],
    what: str = "pairs",
) -> None:
    """Add a histogram of similarities, with named thresholds.

    Args:
        counts: (bins,) int64; bin i holds scores from `start + i * width`.
        marks: thresholds by name, in the same unit as `start`.
        what: is counted.
    """
    end = start + width * len(counts)
    top_space, base = 46.0, chart.height - _BOTTOM
    wide = chart.width - _LEFT - _RIGHT
    logarithmic = counts.max(initial=0) > 200
    ticks = _decades(counts.max(initial=0)) if logarithmic else nice_ticks(counts.max(initial=0))

    def scaled(value: float) -> float:
        share = math.log10(1 + value) / math.log10(1 + ticks[-1])
        return (share if logarithmic else value / ticks[-1]) * (base - top_space)

    def across(score: float) -> float:
        return _LEFT + (score - start) / (end - start) * wide

    for tick in ticks:
        y = base - scaled(tick)
        chart.lines.append(Line(_LEFT, y, chart.width - _RIGHT, y, "grid"))
        chart.labels.append(Label(_LEFT - 5, y + 4, short(tick), "end"))
    for i, count in enumerate(counts.tolist()):
        if count:
            low = start + i * width
            title = f"{count:,} {what} from {low:.2f} to {low + width:.2f}"
            high = max(scaled(count), 1.0)
            each = wide / len(counts)
            chart.bars.append(Bar(across(low), base - high, each * 0.9, high, "pairs", title))
    for tick in range(math.ceil(start * 10 - 1e-9), math.floor(end * 10 + 1e-9) + 1):
        chart.labels.append(Label(across(tick / 10), base + 16, f"{tick / 10:.1f}"))
    for i, (name, score) in enumerate(sorted(marks.items(), key=lambda item: item[1])):
        x = across(score)
        y = 12.0 + 13 * (i % 3)
        chart.lines.append(Line(x, y + 3, x, base, "mark"))
        anchor = "end" if x > chart.width * 0.75 else "start"
        chart.labels.append(
            Label(x - 3 if anchor == "end" else x + 3, y + 5, f"{name} {score:.2f}", anchor, "mark")
        )
    if logarithmic:
        chart.note = f"{chart.note} The scale of counts is logarithmic.".strip()


def dendrogram(chart: Chart, tree: np.ndarray, names: Sequence[str], cut: float) -> None:
    """Add a tree of images, similar ones on the right; sets the height.

    Args:
        tree: (n - 1, 4) as scipy.cluster.hierarchy.linkage gives it, heights 1 - mean cosine.
        names: of the n images.
        cut: mean cosine at which clusters were cut.
    """
    from scipy.cluster.hierarchy import dendrogram as layout

    drawn = layout(tree, no_plot=True)
    step, top, right = 20.0, 22.0, 168.0
    chart.height = top + step * len(names) + 4
    base = chart.height - 4
    low = min(cut, 1 - float(tree[:, 2].max()))
    low = max(-1.0, math.floor(low * 20 - 0.5) / 20)

    def across(distance: float) -> float:
        return 14 + (1 - distance - low) / (1 - low) * (chart.width - right - 14)

    def down(position: float) -> float:
        return top + step * ((position - 5) / 10 + 0.5)

    for similarity in nice_between(low, 1.0):
        x = across(1 - similarity)
        chart.lines.append(Line(x, top - 4, x, base, "grid"))
        chart.labels.append(Label(x, top - 9, f"{similarity:g}"))
    x = across(1 - cut)
    chart.lines.append(Line(x, top - 4, x, base, "mark"))
    for across_at, down_at in zip(drawn["dcoord"], drawn["icoord"], strict=True):
        points = [(across(d), down(p)) for d, p in zip(across_at, down_at, strict=True)]
        for (x1, y1), (x2, y2) in itertools.pairwise(points):
            chart.lines.append(Line(x1, y1, x2, y2, "tree"))
    for i, leaf in enumerate(drawn["leaves"]):
        y = top + step * (i + 0.5) + 4
        chart.labels.append(Label(chart.width - right + 8, y, names[leaf], "start", "leaf"))


def nice_ticks(top: float) -> list[float]:
    """Round numbers from 0 to at least `top`, six at most but for tiny ranges."""
    if top <= 0:
        return [0, 1]
    power = 10 ** math.floor(math.log10(top / 4)) if top > 4 else 1
    step = next(m * power for m in (1, 2, 5, 10) if top / (m * power) <= 5)
    return [step * i for i in range(math.ceil(top / step) + 1)]


def nice_between(low: float, high: float) -> list[float]:
    """Round similarities to label between two."""
    step = next(s for s in (0.05, 0.1, 0.2, 0.5) if (high - low) / s <= 6)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * i, 4) for i in range(first, last + 1)]


def _decades(top: float) -> list[float]:
    return [0, *(10**i for i in range(math.ceil(math.log10(max(top, 1))) + 1))]


def short(value: float) -> str:
    """A count in few characters: 950, 1.2k, 3M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:,.0f}"
