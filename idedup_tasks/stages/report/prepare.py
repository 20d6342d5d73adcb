"""Report: the collection's result as one file, the warehouse brought up to it, and a page to read.

The result is a function of the published tables. The warehouse is changed by the difference, in
one transaction, so that a dashboard never sees half a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from idedup_tasks.lake import RESULTS, Candidate, Conflict, Lake, Snapshot, safe_name, uncertain
from idedup_tasks.run import Run
from idedup_tasks.stages.report.counts import Counts

_FROM_GROUPS = [
    "image_id",
    "status",
    "verdict",
    "group_id",
    "relation",
    "method",
    "matched_id",
    "score",
    "threshold",
    "keeper_id",
    "score_to_keeper",
]


def prepare(run: Run) -> Candidate:
    """Join images and groups into one row per object; nothing that people read changes yet."""
    lake = run.lake
    reads, parts = results(run)
    path = f"candidates/{safe_name(run.run_id)}/results.parquet"
    counts = Counts()
    with (
        lake.create(path) as stream,
        pq.ParquetWriter(stream, RESULTS, compression="zstd") as writer,
    ):
        for rows in parts:
            writer.write_table(rows)
            _count(counts, rows)
            doubtful = uncertain(rows, run.collection.grouping.uncertain_margin)
            counts.uncertain += pc.sum(doubtful).as_py() or 0
            run.progress("joining", counts.images, None)
    reads["lake_id"] = lake.id
    return Candidate("report", run.run_id, [], reads, asdict(counts), files={"results": path})


def results(run: Run) -> tuple[dict[str, Any], Iterator[pa.Table]]:
    """The collection's result as the lake has it: the versions it is of, and its rows.

    Returns:
        Versions of `images` and `groups`, and a table of schema `RESULTS` per arrival period.

    Raises:
        Conflict: while the rows are taken, when the two tables do not belong together.
    """
    groups = run.lake.snapshot("groups")
    images = run.lake.snapshot("images", groups.reads("images"))
    parts = (_results_of(images, groups, named["arrival"]) for named in images.partitions())
    return {"images": images.version, "groups": groups.version}, parts


def publish(run: Run, candidate: Candidate) -> dict[str, Any]:
    """Apply the result to the warehouse and write the run's report.

    Returns:
        The table versions reported, the rows changed, and `report`, the page's path in the lake.

    Raises:
        Conflict: the warehouse already holds the result of newer tables.
    """
    from idedup_tasks.stages.report.page import render
    from idedup_tasks.warehouse import Warehouse

    warehouse = Warehouse(run.places.warehouse)
    changed = warehouse.apply(run, candidate, read_results(run.lake, candidate.files["results"]))
    path = report_path(run.run_id)
    run.lake.write_text(path, render(run, warehouse))
    return {**candidate.reads, **changed, "report": path}


def read_results(lake: Lake, path: str) -> Iterator[pa.RecordBatch]:
    """Stream a result file: schema `RESULTS`, in order of (arrival, image_id)."""
    with lake.open(path) as stream:
        yield from pq.ParquetFile(stream).iter_batches(batch_size=16_384)


def report_path(run_id: str) -> str:
    """Where a run's page lies in the lake."""
    return f"reports/{safe_name(run_id)}.html"


def _results_of(images: Snapshot, groups: Snapshot, arrival: str) -> pa.Table:
    files = images.files(arrival=arrival)
    own = [c for c in RESULTS.names if c not in _FROM_GROUPS]
    objects = images.read(["image_id", *own, "status"], files=files).sort_by("image_id")
    decoded = objects.filter(pc.equal(objects["status"], "decoded"))
    rejected = objects.filter(pc.equal(objects["status"], "rejected"))
    files = groups.files(arrival=arrival)
    members = groups.read(_FROM_GROUPS, files=files).sort_by("image_id")
    if not members["image_id"].equals(decoded["image_id"]):
        raise Conflict(f"groups of {arrival} do not belong to images version {images.version}.")
    for column in _FROM_GROUPS[1:]:
        values = members[column]
        missing = pa.nulls(rejected.num_rows, values.type)
        if column == "status":
            decoded = decoded.set_column(decoded.schema.get_field_index("status"), column, values)
        else:
            decoded = decoded.append_column(column, values)
            rejected = rejected.append_column(column, missing)
    rows = pa.concat_tables([t.select(RESULTS.names).cast(RESULTS) for t in (decoded, rejected)])
    return rows.sort_by("image_id")


def _count(counts: Counts, rows: pa.Table) -> None:
    counts.images += rows.num_rows
    counts.bytes += pc.sum(rows["bytes"]).as_py() or 0
    statuses = _totals(rows, "status")
    counts.active += statuses["active"][0]
    counts.collapsed += statuses["collapsed"][0]
    counts.rejected += statuses["rejected"][0]
    counts.decoded = counts.images - counts.rejected
    counts.groups += _totals(rows, "verdict")["keeper"][0]
    relations = _totals(rows, "relation")
    counts.duplicates_exact += relations["exact"][0]
    counts.reclaimable_exact += relations["exact"][1]
    counts.duplicates_perceptual += relations["perceptual"][0]
    counts.reclaimable_perceptual += relations["perceptual"][1]
    counts.duplicates_near += relations["near"][0]
    counts.reclaimable_near += relations["near"][1]


def _totals(rows: pa.Table, column: str) -> Mapping[str | None, tuple[int, int]]:
    """By value of a column, how many rows have it and their bytes."""
    totals = rows.group_by(column).aggregate([([], "count_all"), ("bytes", "sum")])
    found = {t[column]: (t["count_all"], t["bytes_sum"] or 0) for t in totals.to_pylist()}
    return defaultdict(lambda: (0, 0), found)
