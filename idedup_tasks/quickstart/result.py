"""What a run found, as `make run` prints it, and which commands ask more."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from idedup_tasks import terminal
from idedup_tasks.commands import command, file_name
from idedup_tasks.lake import Lake
from idedup_tasks.quickstart.sample import agreement, wrong_pairs
from idedup_tasks.settings import DUPLICATES, STAGES, VARIANTS, Collection, Places
from idedup_tasks.warehouse import Warehouse


def show_result(
    console: Console,
    places: Places,
    collection: Collection,
    run_ids: Sequence[str],
    truth: Path | None,
) -> None:
    """Print what the collection holds now, what the stages took, and where the report is."""
    warehouse = Warehouse(places.warehouse)
    totals = next(iter(warehouse.query("totals", collection=collection.name)), None)
    if totals is None or totals["applied_at"] is None:
        console.print("There is no result: no run came as far as the report.")
        return
    console.print(terminal.totals_table(totals, f"\n{collection.name}"))
    stages = [
        stage
        for run_id in run_ids
        for stage in warehouse.query("stages", collection=collection.name, run_id=run_id)
    ]
    console.print(_stage_table(stages))
    if truth is not None:
        console.print(_rightness(places, collection, truth))
    written = [(s["versions_written"] or {}).get("report") for s in stages]
    reports = [path for path in written if path]
    if reports:
        console.print(f"Report: {places.lake}/{collection.name}/{reports[-1]}", markup=False)
    for line in what_next(places, collection):
        console.print(line, markup=False)


def what_next(places: Places, collection: Collection) -> list[str]:
    """Lines on how to go on with a collection; the commands in them work as they stand."""
    lake = Lake(places.lake, collection.name)
    uris = {
        row["image_id"]: row["uri"]
        for row in lake.snapshot("images").read(["image_id", "uri"]).to_pylist()
    }
    columns = ["image_id", "group_id", "keeper_id", "relation"]
    members = lake.snapshot("groups").read(columns).to_pylist()
    # A part or an edit is more worth an explanation than what is the same.
    telling = ("crop", "edited", "inside", "same", "exact", None)
    sizes = Counter(row["group_id"] for row in members)
    members.sort(
        key=lambda row: (
            telling.index(row["relation"]),
            sizes[row["group_id"]],
            uris[row["image_id"]],
        )
    )
    write = partial(command, places=places, collection=collection.name)
    lines = ["", "What it holds can be asked, from any folder:"]
    if members:
        image = file_name(uris[members[0]["image_id"]])
        lines.append(f"  {write('query', image)}")
        if members[0]["relation"] is not None:
            other = file_name(uris[members[0]["keeper_id"]])
            lines.append(f"  {write('explain', image, other, '--output', 'why.html')}")
    return [
        *lines,
        f"  {write('preview', '--cut', '0.8')}",
        f"Its settings: {places.collections}/{collection.name}.yaml. Put another YAML file there "
        "and it becomes a DAG.",
        "",
    ]


def _stage_table(stages: Sequence[Mapping[str, Any]]) -> Table:
    table = terminal.table("", "seconds", "images/s", title="\nstages")
    for name in STAGES:
        of_name = [s for s in stages if s["stage"] == name]
        seconds = sum(s["seconds"] for s in of_name)
        images = sum(s["images"] or 0 for s in of_name)
        rate = f"{images / seconds:,.0f}" if seconds else ""
        table.add_row(name, f"{seconds:.1f}", rate)
    return table


def _rightness(places: Places, collection: Collection, truth: Path) -> str:
    """How the groups compare with the ground truth: each member with its keeper, and all pairs."""
    lake = Lake(places.lake, collection.name)
    images = lake.snapshot("images").read(["image_id", "key"]).to_pylist()
    members = lake.snapshot("groups").read(["image_id", "group_id", "keeper_id", "relation"])
    keys = {row["image_id"]: row["key"] for row in images}
    found = {keys[row["image_id"]]: row["group_id"] for row in members.to_pylist()}
    with truth.open(encoding="utf-8", newline="") as stream:
        originals = {row["file"]: row["original"] or None for row in csv.DictReader(stream)}

    def right(kind: str, relations: Sequence[str]) -> str:
        pairs = [
            (originals.get(keys[row["image_id"]]), originals.get(keys[row["keeper_id"]]))
            for row in members.to_pylist()
            if row["relation"] in relations
        ]
        agreed = sum(one == other is not None for one, other in pairs)
        return f"{agreed:,} of {len(pairs):,} {kind}"

    held, _, both = agreement(originals, found)
    recall = f"{both / held:.1%}" if held else "none"
    wrong = wrong_pairs(originals, found)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in wrong.most_common())
    return (
        f"\nAgainst the sample's ground truth: {right('duplicates', DUPLICATES)} and "
        f"{right('variants', VARIANTS)} are right, and {recall} of {held:,} pairs that were made "
        "from one picture share a group (the sample is far too small to say how right it is "
        "elsewhere)." + (f"\n{wrong.total():,} wrong pairs share one: {kinds}." if wrong else "")
    )
