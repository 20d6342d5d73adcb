"""Charts as geometry: what the page's template draws as inline SVG, in the page's own colours.

A chart is a list of marks in a box of `WIDTH` units, which is narrow, so that its text is still
readable on a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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
    """A straight line; `kind` names its colour."""

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


def nice_ticks(top: float) -> list[float]:
    """Round numbers from 0 to at least `top`, six at most but for tiny ranges."""
    if top <= 0:
        return [0, 1]
    power = 10 ** math.floor(math.log10(top / 4)) if top > 4 else 1
    step = next(m * power for m in (1, 2, 5, 10) if top / (m * power) <= 5)
    return [step * i for i in range(math.ceil(top / step) + 1)]


def short(value: float) -> str:
    """A count in few characters: 950, 1.2k, 3M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:,.0f}"
