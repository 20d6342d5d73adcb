"""The report of a run: one HTML file that needs nothing else.

No script and no address outside the file: pictures are data URIs and inline SVG, and the page
carries its own Content-Security-Policy. File names come from strangers; the template escapes all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from idedup_tasks.commands import command
from idedup_tasks.explanation import TURNS, Pair, draw, share
from idedup_tasks.explanation.stored import read_matched, read_pictures, read_to_keeper
from idedup_tasks.pages import charts
from idedup_tasks.pages.charts import Chart
from idedup_tasks.pages.templates import data_uri, templates
from idedup_tasks.pages.units import human_bytes
from idedup_tasks.run import Run
from idedup_tasks.settings import DUPLICATES, RELATIONS, VARIANTS
from idedup_tasks.verification import Picture
from idedup_tasks.warehouse import Warehouse

# What a page of a few megabytes can hold: groups, members of each, pairs drawn of each, pairs that
# are alike.
_GROUPS = 20
_MEMBERS = 12
_DRAWN = 4
_ALIKE = 9
_SAMPLES = 5
_PERIODS = 45
_FORMATS = 10
# Most width and height, in pixels: of a picture alone, and of each of two that are drawn.
_THUMBNAIL = 160
_DRAWING = 256
_QUALITY = 72
# Of a member to its keeper: what is drawn, for in the others nothing differs.
_DRAWN_RELATIONS = ("crop", *VARIANTS)
# The column of a relation where duplicates and variants are counted.
_COUNTED = {
    **{relation: f"duplicates_{relation}" for relation in DUPLICATES},
    **{relation: f"variants_{relation}" for relation in VARIANTS},
}

_SIZES = ((2, 2), (3, 3), (4, 4), (5, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, None))


@dataclass(frozen=True)
class Drawing:
    """Two pictures as they lie on each other: data URIs, and what was done to show the second."""

    first: str
    second: str
    turn: str


@dataclass(frozen=True)
class GroupCard:
    """A group as the page shows it: its row, the keeper and duplicates shown, the variants shown
    beside them, how many members are not shown, and the command that draws one and its keeper."""

    row: dict[str, Any]
    members: list[dict[str, Any]]
    variants: list[dict[str, Any]]
    more: int
    command: str | None


@dataclass(frozen=True)
class AlikePair:
    """Two images that were looked at and are alike, not one picture."""

    row: dict[str, Any]
    drawing: Drawing | None
    command: str  # draws the two


def render(run: Run, warehouse: Warehouse) -> str:
    """The page about a run and the state it left the collection in.

    Figures come from the warehouse, thumbnails and what was seen of pairs from the lake; about 250
    thumbnails are held at once, whatever the size of the collection.

    Raises:
        LookupError: the warehouse holds nothing about the collection.
    """
    name = run.collection.name
    found = warehouse.query("totals", collection=name)
    if not found:
        raise LookupError(f"The warehouse {warehouse.address} holds no collection {name}.")
    totals = found[0]
    stages = warehouse.query("stages", collection=name, run_id=run.run_id)
    quality = warehouse.query("quality", collection=name, run_id=run.run_id)
    rejects = warehouse.query("rejects", collection=name)
    for reject in rejects:
        reject["sample"] = warehouse.query(
            "rejected_sample",
            collection=name,
            reason_code=reject["reason_code"],
            limit=_SAMPLES,
        )
    periods = warehouse.query("periods", collection=name)
    formats = warehouse.query("formats", collection=name)
    sizes = warehouse.query("group_sizes", collection=name)
    alike, alike_pairs = _alike(run, warehouse)
    page = _template().render(
        run=run,
        totals=totals,
        cost=float(totals["savable_per_month"]),
        duplicate_relations=DUPLICATES,
        variant_relations=VARIANTS,
        counted=_COUNTED,
        charts=[
            chart
            for chart in (_period_chart(periods), _size_chart(sizes), _format_chart(formats))
            if chart is not None
        ],
        periods=periods,
        formats=sorted(formats, key=lambda row: (-row["reclaimable_bytes"], row["format"])),
        groups=_groups(run, warehouse),
        alike=alike,
        alike_pairs=alike_pairs,
        crowded=_crowded(stages),
        rejects=rejects,
        stages=stages,
        quality=sorted(quality, key=_by_urgency),
    )
    return page.lstrip()


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    page = templates(
        Path(__file__).parent,
        share=lambda value: "–" if value is None else f"{100 * value:.1f} %",
        moment=lambda value: "–" if value is None else f"{value:%Y-%m-%d %H:%M} UTC",
        money=lambda value: "< 0.01" if 0 < value < 0.01 else f"{value:,.2f}",
        part=share,
        score=lambda value: "–" if value is None else f"{value:.2f}",
        file_name=lambda key: key.rpartition("/")[2],
        folder=lambda key: key.rpartition("/")[0],
    )
    return page.get_template("page.html")


def _by_urgency(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["success"], row["severity"] != "error")


# --- charts ------------------------------------------------------------------------------------


def _period_chart(periods: Sequence[dict[str, Any]]) -> Chart | None:
    """Duplicates by arrival; long histories by month, longer ones by year."""
    folded: dict[str, dict[str, int]] = {}
    for length in (13, 10, 7, 4):
        folded = {}
        for row in periods:
            sums = folded.setdefault(
                row["arrival"][:length],
                dict.fromkeys(("duplicates", "variants", "decoded", *RELATIONS), 0),
            )
            for count in ("duplicates", "variants", "decoded"):
                sums[count] += row[count]
            for relation, column in _COUNTED.items():
                sums[relation] += row[column]
        if len(folded) <= _PERIODS:
            break
    if not any(row["duplicates"] + row["variants"] for row in folded.values()):
        return None
    most = max(folded, key=lambda name: folded[name]["duplicates"])
    chart = Chart(
        "Duplicates and variants by arrival",
        f"Duplicates in {len(folded)} arrival periods; most, {folded[most]['duplicates']:,}, "
        f"arrived in {most}.",
        height=240,
        legend=[(r, r) for r in RELATIONS if any(row[r] for row in folded.values())],
        note="Percentages: duplicates among the images that arrived then.",
    )
    charts.columns(
        chart,
        list(folded),
        {relation: [row[relation] for row in folded.values()] for relation in RELATIONS},
        charts.short,
        over=[
            f"{100 * row['duplicates'] / row['decoded']:.0f} %" if row["decoded"] else ""
            for row in folded.values()
        ],
    )
    if len(folded) * 30 > chart.width - 54:
        chart.note = ""
    return chart


def _size_chart(sizes: Sequence[dict[str, Any]]) -> Chart | None:
    if not sizes:
        return None
    kinds = (*RELATIONS, "mixed")
    names: list[str] = []
    series: dict[str, list[int]] = {kind: [] for kind in kinds}
    largest = max(row["size"] for row in sizes)
    for low, high in _SIZES:
        if low > largest:
            break
        names.append(f"{low}" if low == high else f"{low}+" if high is None else f"{low}–{high}")
        inside = [r for r in sizes if low <= r["size"] <= (high or largest)]
        for kind in kinds:
            series[kind].append(sum(r["groups"] for r in inside if r["relation"] == kind))
    total = sum(row["groups"] for row in sizes)
    chart = Chart(
        "Groups by size",
        f"{total:,} groups; the largest has {largest:,} images.",
        height=240,
        legend=[(kind, kind) for kind in kinds if any(series[kind])],
        note="Images in a group, the keeper included.",
    )
    charts.columns(chart, names, series, charts.short)
    return chart


def _format_chart(formats: Sequence[dict[str, Any]]) -> Chart | None:
    held = sorted(
        (row for row in formats if row["reclaimable_bytes"]),
        key=lambda row: (-row["reclaimable_bytes"], row["format"]),
    )[:_FORMATS]
    if not held:
        return None
    chart = Chart(
        "Reclaimable bytes by format",
        f"Most, {human_bytes(held[0]['reclaimable_bytes'])}, is {held[0]['format']}.",
        height=0,
        legend=[(r, r) for r in RELATIONS if any(row[f"reclaimable_{r}"] for row in held)],
    )
    charts.rows(
        chart,
        [row["format"] for row in held],
        {r: [row[f"reclaimable_{r}"] for row in held] for r in RELATIONS},
        human_bytes,
    )
    return chart


# --- pairs and groups --------------------------------------------------------------------------


def _crowded(stages: Sequence[dict[str, Any]]) -> int:
    """How many images had more candidates than were looked at, as the match stage counted."""
    [counts] = [s["counts"] for s in stages if s["stage"] == "match" and s["counts"]] or [{}]
    return int(counts.get("crowded", 0))


def _groups(run: Run, warehouse: Warehouse) -> list[GroupCard]:
    name = run.collection.name
    rows = warehouse.query("top_groups", collection=name, limit=_GROUPS)
    shown = [
        warehouse.query("members", collection=name, group_id=row["group_id"], limit=_MEMBERS)
        for row in rows
    ]
    everybody = [member for members in shown for member in members]
    if not everybody:
        return []
    pictures = read_pictures(run.lake, everybody)
    to_keeper = read_to_keeper(
        run.lake, [m for m in everybody if m["relation"] in _DRAWN_RELATIONS] or everybody[:1]
    )
    cards = []
    for row, members in zip(rows, shown, strict=True):
        drawn = 0
        for member in members:
            member["drawing"] = None
            image_id, keeper_id = member["image_id"], member["keeper_id"]
            member["thumbnail"] = _thumbnail(pictures.get(image_id))
            if member["relation"] not in _DRAWN_RELATIONS or drawn == _DRAWN:
                continue
            if image_id in to_keeper and {image_id, keeper_id} <= pictures.keys():
                # The keeper stands as it is, the member is laid on it.
                there = np.linalg.inv(to_keeper[image_id])
                member["drawing"] = _drawing(pictures, keeper_id, image_id, there)
                drawn += 1
        variants = [member for member in members if member["verdict"] == "variant"]
        others = [member for member in members if member["verdict"] != "variant"]
        # The keeper, then the surest; of those one picture is enough.
        others.sort(key=lambda m: m["relation"] is not None and RELATIONS.index(m["relation"]) + 1)
        beside = [member for member in (*variants, *others) if member["relation"]]
        explain = _explain(run, beside[0]["keeper_id"], beside[0]["image_id"]) if beside else None
        cards.append(GroupCard(row, others, variants, row["size"] - len(members), explain))
    return cards


def _alike(run: Run, warehouse: Warehouse) -> tuple[list[AlikePair], int]:
    """Pairs that are alike and no more, with pictures; and how many there are at all."""
    name = run.collection.name
    rows = warehouse.query("alike_pairs", collection=name, limit=_ALIKE)
    if not rows:
        return [], 0
    ends = {row[end] for row in rows for end in ("image_a", "image_b")}
    images = [
        image
        for end in sorted(ends)
        for image in warehouse.query("image", collection=name, image_id=end)
    ]
    pictures = read_pictures(run.lake, images, fine=True)
    matched = read_matched(run.lake, [(row["image_a"], row["image_b"]) for row in rows])
    pairs = []
    for row in rows:
        a, b = row["image_a"], row["image_b"]
        drawing = None
        if {a, b} <= pictures.keys():
            drawing = _drawing(pictures, a, b, matched.get((a, b)))
        pairs.append(AlikePair(row, drawing, _explain(run, a, b)))
    return pairs, rows[0]["pairs"]


def _explain(run: Run, a: str, b: str) -> str:
    """The command that draws two images large."""
    asked = ("explain", a, b, "--output", "why.html")
    return command(*asked, places=run.places, collection=run.collection.name, scan=run.scan)


def _drawing(pictures: dict[str, Picture], a: str, b: str, transform: np.ndarray | None) -> Drawing:
    pair: Pair = draw(pictures[a], pictures[b], transform)
    first, second = (data_uri(pair.marked(which, (_DRAWING, _DRAWING)), _QUALITY) for which in "ab")
    return Drawing(first, second, TURNS[pair.turn])


def _thumbnail(picture: Picture | None) -> str | None:
    """A small JPEG as a data URI, or None where there is no picture to show."""
    if picture is None:
        return None
    small = Image.fromarray(picture.pixels)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return data_uri(small, _QUALITY)
