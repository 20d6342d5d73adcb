"""The report of a run: one HTML file that needs nothing else.

No script and no address outside the file: pictures are data URIs and inline SVG, and the page
carries its own Content-Security-Policy. File names come from strangers; the template escapes all.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow.compute as pc
from PIL import Image

from idedup_tasks.commands import command
from idedup_tasks.lake import PLACE, find_thumbnails
from idedup_tasks.linkage import merge_tree
from idedup_tasks.pages import charts
from idedup_tasks.pages.charts import Chart
from idedup_tasks.pages.templates import data_uri, templates, visible
from idedup_tasks.pages.units import human_bytes
from idedup_tasks.run import Run
from idedup_tasks.settings import RELATIONS, Thresholds
from idedup_tasks.stages.group.counts import Suggestion
from idedup_tasks.warehouse import Warehouse

# What a page of a few megabytes can hold.
_GROUPS = 20
_MEMBERS = 12
_LEAVES = 30
_SAMPLES = 5
_DOUBTS = 9
_PERIODS = 45
_FORMATS = 10
_THUMBNAIL = 160
_BIN = 0.01

_SIZES = ((2, 2), (3, 3), (4, 4), (5, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, None))


@dataclass
class GroupCard:
    """A group as the page shows it: its row, the members shown, and their tree."""

    row: dict[str, Any]
    members: list[dict[str, Any]]
    more: int
    tree: Chart | None = None
    tree_note: str = ""


@dataclass
class Doubt:
    """An uncertain member beside the image that it is least like of its match and the keeper."""

    member: dict[str, Any]
    other: dict[str, Any]
    score: float
    relation: str  # of the other to the member: keeper | match
    command: str  # draws where the two match


@dataclass
class _Pictures:
    """What the lake holds of the members shown, by image_id."""

    thumbnails: dict[str, str] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)


def render(run: Run, warehouse: Warehouse) -> str:
    """The page about a run and the state it left the collection in.

    Figures come from the warehouse, thumbnails, vectors and scores from the lake; about 250
    thumbnails and 600 vectors are held at once, whatever the size of the collection.

    Raises:
        LookupError: the warehouse holds nothing about the collection.
    """
    name = run.collection.name
    found = warehouse.query("totals", collection=name)
    if not found:
        raise LookupError(f"The warehouse {warehouse.address} holds no collection {name}.")
    totals = found[0]
    thresholds = run.thresholds
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
    doubts, uncertain = _doubts(run, warehouse)
    page = _template().render(
        run=run,
        totals=totals,
        thresholds=thresholds,
        cost=float(totals["savable_per_month"]),
        relations=RELATIONS,
        charts=[
            chart
            for chart in (
                _period_chart(periods),
                _size_chart(sizes),
                _format_chart(formats),
                _score_chart(run, thresholds),
                _suggestion_chart(stages, thresholds),
            )
            if chart is not None
        ],
        periods=periods,
        formats=sorted(formats, key=lambda row: (-row["reclaimable_bytes"], row["format"])),
        groups=_groups(run, warehouse, thresholds),
        doubts=doubts,
        uncertain=uncertain,
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
        score=lambda value: "–" if value is None else f"{value:.4g}",
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
                row["arrival"][:length], dict.fromkeys(("duplicates", "decoded", *RELATIONS), 0)
            )
            sums["duplicates"] += row["duplicates"]
            sums["decoded"] += row["decoded"]
            for relation in RELATIONS:
                sums[relation] += row[f"duplicates_{relation}"]
        if len(folded) <= _PERIODS:
            break
    if not any(row["duplicates"] for row in folded.values()):
        return None
    most = max(folded, key=lambda name: folded[name]["duplicates"])
    chart = Chart(
        "Duplicates by arrival",
        f"Duplicates in {len(folded)} arrival periods; most, {folded[most]['duplicates']:,}, "
        f"arrived in {most}.",
        height=240,
        legend=[(relation, relation) for relation in RELATIONS],
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
        legend=[(relation, relation) for relation in RELATIONS],
    )
    charts.rows(
        chart,
        [row["format"] for row in held],
        {r: [row[f"reclaimable_{r}"] for row in held] for r in RELATIONS},
        human_bytes,
    )
    return chart


def _score_chart(run: Run, thresholds: Thresholds) -> Chart | None:
    """Similarities of the candidate pairs in the lake, streamed."""
    bins = round(2 / _BIN)
    counts = np.zeros(bins, dtype=np.int64)
    for batch in run.lake.snapshot("pairs").scan(["score"]):
        scores = batch.column("score").to_numpy(zero_copy_only=False)
        # Scores have four decimals: an offset keeps 0.29 in the bin that starts there.
        index = np.floor((scores + 1) / _BIN + 1e-6).astype(np.int64)
        counts += np.bincount(index.clip(0, bins - 1), minlength=bins)
    total = int(counts.sum())
    if not total:
        return None
    marks = {
        "pair": thresholds.pair,
        "candidate": thresholds.candidate,
        "cut": thresholds.cut,
    }
    lowest = min(int(np.flatnonzero(counts)[0]), *(int((m + 1) / _BIN) for m in marks.values()))
    first = max(0, (lowest - 2) // 5 * 5)
    chart = Chart(
        "Similarity of candidate pairs",
        f"{total:,} pairs of active images, from {first * _BIN - 1:.2f} to 1.",
        height=240,
        note="Pairs kept in the lake: the best matches of each active image.",
    )
    charts.histogram(chart, counts[first:], first * _BIN - 1, _BIN, marks)
    return chart


def _suggestion_chart(stages: Sequence[dict[str, Any]], thresholds: Thresholds) -> Chart | None:
    """What the collection's own similarities say of its threshold, as the group stage found it."""
    [found] = [
        (stage["counts"] or {}).get("suggestion") for stage in stages if stage["stage"] == "group"
    ] or [None]
    if not found:
        return None
    suggestion = Suggestion(**found)
    if not suggestion.best_matches:
        return None
    sampled = sum(suggestion.best_matches)
    marks = {"pair": thresholds.pair}
    threshold = suggestion.threshold
    if threshold is None:
        note = f"No threshold is suggested from this collection: {suggestion.because}."
    else:
        marks["suggested"] = threshold
        note = (
            f"From {threshold:.2f} on, pairs of this collection stand out from what chance makes "
            f"alike; {thresholds.pair:g} is in use. A suggestion: nothing applies it. To try it, "
            "set candidate and pair among the collection's thresholds."
        )
    chart = Chart(
        "Most similar other image",
        f"Of {sampled:,} sampled images, how similar the image most like each is. {note}",
        height=240,
        note=note,
    )
    counts = np.array(suggestion.best_matches, dtype=np.int64)
    charts.histogram(chart, counts, 0.0, 1 / len(counts), marks, "images")
    return chart


# --- groups ------------------------------------------------------------------------------------


def _groups(run: Run, warehouse: Warehouse, thresholds: Thresholds) -> list[GroupCard]:
    name = run.collection.name
    cards = []
    for row in warehouse.query("top_groups", collection=name, limit=_GROUPS):
        members = warehouse.query(
            "members", collection=name, group_id=row["group_id"], limit=_LEAVES
        )
        cards.append(GroupCard(row, members, row["size"] - min(_MEMBERS, len(members))))
    pictures = _read_pictures(run, [member for card in cards for member in card.members], cards)
    for card in cards:
        for number, member in enumerate(card.members, 1):
            member["number"] = number
            member["thumbnail"] = pictures.thumbnails.get(member["image_id"])
        _draw_tree(card, pictures, thresholds.cut)
        card.members = card.members[:_MEMBERS]
    return cards


def _doubts(run: Run, warehouse: Warehouse) -> tuple[list[Doubt], int]:
    """The most doubtful members of all groups, with pictures; and how many are uncertain at all."""
    name = run.collection.name
    rows = warehouse.query("uncertain", collection=name, limit=_DOUBTS)
    doubts = []
    for row in rows:
        to_keeper = row["score_to_keeper"] < row["score"] or row["matched_id"] == row["keeper_id"]
        wanted = row["keeper_id"] if to_keeper else row["matched_id"]
        [other] = warehouse.query("image", collection=name, image_id=wanted)
        score = min(row["score"], row["score_to_keeper"])
        draw = command(
            *("explain", other["image_id"], row["image_id"], "--output", "why.html"),
            places=run.places,
            collection=name,
            scan=run.scan,
        )
        doubts.append(Doubt(row, other, score, "keeper" if to_keeper else "match", draw))
    shown = [image for doubt in doubts for image in (doubt.member, doubt.other)]
    thumbnails = _read_thumbnails(run, shown)
    for image in shown:
        image["thumbnail"] = thumbnails.get(image["image_id"])
    return doubts, rows[0]["uncertain_members"] if rows else 0


def _read_thumbnails(run: Run, shown: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Small pictures by image_id; where one is lost or damaged, the page is without it."""
    pictures: dict[str, str] = {}
    arrivals = {image["arrival"] for image in shown}
    images = run.lake.snapshot("images")
    files = [f for f in images.files() if f.partition["arrival"] in arrivals]
    where = pc.field("image_id").isin([image["image_id"] for image in shown])
    rows = images.read(["image_id", *PLACE], where, files=files)
    found = zip(rows["image_id"].to_pylist(), find_thumbnails(run.lake, rows), strict=True)
    for image_id, stored in found:
        picture = _thumbnail(stored)
        if picture is not None:
            pictures[image_id] = picture
    return pictures


def _read_pictures(
    run: Run, members: Sequence[dict[str, Any]], cards: Iterable[GroupCard]
) -> _Pictures:
    """Thumbnails of the members shown and vectors of all, from the partitions that hold them."""
    pictures = _Pictures()
    if not members:
        return pictures
    arrivals = {member["arrival"] for member in members}
    shown = [m for card in cards for m in card.members[:_MEMBERS]]
    pictures.thumbnails = _read_thumbnails(run, shown)
    embeddings = run.lake.snapshot("embeddings")
    files = [
        f
        for f in embeddings.files()
        if f.partition["arrival"] in arrivals and f.partition["model_id"] == run.model_id
    ]
    where = pc.field("image_id").isin([member["image_id"] for member in members])
    for batch in embeddings.scan(["image_id", "vector"], where, files=files):
        for row in batch.to_pylist():
            pictures.vectors[row["image_id"]] = np.asarray(row["vector"], np.float32)
    return pictures


def _thumbnail(stored: bytes | None) -> str | None:
    """A small JPEG as a data URI, or None where there is no picture to show."""
    if not stored:
        return None
    try:
        with Image.open(io.BytesIO(stored), formats=["JPEG"]) as image:
            image.draft("RGB", (2 * _THUMBNAIL, 2 * _THUMBNAIL))
            small = image.convert("RGB")
    except OSError:
        return None
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return data_uri(small, 72)


def _draw_tree(card: GroupCard, pictures: _Pictures, cut: float) -> None:
    leaves = [m for m in card.members if m["image_id"] in pictures.vectors]
    if len(leaves) < 2:
        card.tree_note = "There is no tree to draw: all members are twins of one image."
        return
    names = [f"{m['number']}  {_clipped(visible(m['key'].rpartition('/')[2]))}" for m in leaves]
    tree = merge_tree(np.stack([pictures.vectors[m["image_id"]] for m in leaves]))
    card.tree = Chart(
        "How the group was put together",
        f"Average linkage of {len(leaves)} images; the last two clusters merge at a mean "
        f"similarity of {1 - tree[-1, 2]:.2f}, and the cut is at {cut:.2f}.",
        height=0,
    )
    charts.dendrogram(card.tree, tree, names, cut)
    if card.row["size"] > len(leaves):
        card.tree_note = (
            f"{len(leaves)} of {card.row['size']:,} members: twins that collapsed onto another "
            f"have no vector of their own, and {_LEAVES} are drawn at most."
        )


def _clipped(text: str, limit: int = 19) -> str:
    """The start and the end of a long name: the end tells copies apart."""
    return text if len(text) <= limit else f"{text[: limit - 9]}…{text[-8:]}"
