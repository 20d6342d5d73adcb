"""Report: the collection's result as two files, the warehouse brought up to it, and a page to read.

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

from idedup_tasks.lake import (
    PAIR_RESULTS,
    RESULTS,
    Candidate,
    Conflict,
    Lake,
    Snapshot,
    safe_name,
)
from idedup_tasks.run import Run
from idedup_tasks.settings import DUPLICATES, VARIANTS
from idedup_tasks.stages.report.counts import Counts

_FROM_GROUPS = [
    "image_id",
    "status",
    "verdict",
    "group_id",
    "relation",
    "method",
    "keeper_id",
    "score",
    "overlap",
    "keeper_overlap",
    "changed",
    "place",
    "why",
]
# What a row of groups says of the pair of a member and its keeper.
_SEEN = ["image_id", "keeper_id", "relation", "score", "overlap", "keeper_overlap", "changed"]
_TURNED = {"overlap_a": "overlap_b", "overlap_b": "overlap_a"}


def prepare(run: Run) -> Candidate:
    """Join images and groups into one row per object, and list the pairs that were looked at.

    Nothing that people read changes yet.
    """
    lake = run.lake
    reads, parts, pairs = results(run)
    folder = f"candidates/{safe_name(run.run_id)}"
    path = f"{folder}/results.parquet"
    counts = Counts()
    with (
        lake.create(path) as stream,
        pq.ParquetWriter(stream, RESULTS, compression="zstd") as writer,
    ):
        for rows in parts:
            writer.write_table(rows)
            _count(counts, rows, run.collection.grouping.variants_reclaimable)
            run.progress("joining", counts.images, None)
    looked_at = f"{folder}/pairs.parquet"
    with (
        lake.create(looked_at) as stream,
        pq.ParquetWriter(stream, PAIR_RESULTS, compression="zstd") as writer,
    ):
        for batch in pairs:
            writer.write_batch(batch)
            counts.pairs += batch.num_rows
            counts.alike += _totals(batch, "relation")["alike"]
            run.progress("listing pairs", counts.pairs, None)
    reads["lake_id"] = lake.id
    files = {"results": path, "pairs": looked_at}
    return Candidate("report", run.run_id, [], reads, asdict(counts), files=files)


def results(
    run: Run,
) -> tuple[dict[str, Any], Iterator[pa.Table], Iterator[pa.RecordBatch]]:
    """The collection's result as the lake has it: the versions it is of, its rows and its pairs.

    Returns:
        Versions of `images`, `matches` and `groups`; a table of schema `RESULTS` per arrival
        period; and batches of schema `PAIR_RESULTS`, each pair once: members of groups with their
        keepers first.

    Raises:
        Conflict: while the rows are taken, when the tables do not belong together.
    """
    groups = run.lake.snapshot("groups")
    matches = run.lake.snapshot("matches", groups.reads("matches"))
    images = run.lake.snapshot("images", groups.reads("images"))
    parts = (_results_of(images, groups, named["arrival"]) for named in images.partitions())
    reads = {"images": images.version, "matches": matches.version, "groups": groups.version}
    return reads, parts, _pairs(matches, groups)


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
    changed = warehouse.apply(
        run,
        candidate,
        read_results(run.lake, candidate.files["results"]),
        read_results(run.lake, candidate.files["pairs"]),
    )
    path = report_path(run.run_id)
    run.lake.write_text(path, render(run, warehouse))
    return {**candidate.reads, **changed, "report": path}


def read_results(lake: Lake, path: str) -> Iterator[pa.RecordBatch]:
    """Stream a result file: `RESULTS` in order of (arrival, image_id), or `PAIR_RESULTS`."""
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


def _pairs(matches: Snapshot, groups: Snapshot) -> Iterator[pa.RecordBatch]:
    """Each member with its keeper, and the matches that are no such pair.

    What the two say of one pair is the same look. Of the members' pairs the ids stay in memory.
    """
    listed = [pa.array([], pa.large_string())]
    for named in groups.partitions():
        members = groups.read(_SEEN, files=groups.files(arrival=named["arrival"]))
        members = members.filter(pc.field("relation").is_valid())
        for batch in keeper_pairs(members.sort_by("image_id")).to_batches():
            listed.append(_names(batch))
            yield batch
    held = pa.concat_arrays(listed)
    for batch in matches.scan(PAIR_RESULTS.names):
        yield batch.filter(pc.invert(pc.is_in(_names(batch), held))).cast(PAIR_RESULTS)


def keeper_pairs(members: pa.Table | pa.RecordBatch) -> pa.Table:
    """The pairs of members and their keepers: schema `PAIR_RESULTS`.

    Args:
        members: rows of `groups` or of the results that have a relation.
    """
    own = pa.table({name: members[name] for name in _SEEN})
    own = own.rename_columns([
        *("image_a", "image_b", "relation", "score", "overlap_a", "overlap_b", "changed")
    ])  # fmt: skip
    first = pc.less(own["image_a"], own["image_b"])
    swapped = {"image_a": "image_b", "image_b": "image_a", **_TURNED}
    columns = {
        name: pc.if_else(first, own[name], own[swapped.get(name, name)])
        for name in PAIR_RESULTS.names
    }
    return pa.table(columns).cast(PAIR_RESULTS)


def _names(pairs: pa.RecordBatch) -> pa.Array:
    """What names a pair: both ids."""
    ids = (pairs[c].cast(pa.large_string()) for c in ("image_a", "image_b"))
    return pc.binary_join_element_wise(*ids, pa.scalar(" ", pa.large_string()))


def _count(counts: Counts, rows: pa.Table, variants_reclaimable: bool) -> None:
    counts.images += rows.num_rows
    counts.bytes += pc.sum(rows["bytes"]).as_py() or 0
    statuses, verdicts = _totals(rows, "status"), _totals(rows, "verdict")
    counts.active += statuses["active"]
    counts.collapsed += statuses["collapsed"]
    counts.rejected += statuses["rejected"]
    counts.decoded = counts.images - counts.rejected
    counts.groups += verdicts["keeper"]
    counts.duplicates += verdicts["duplicate"]
    counts.variants += verdicts["variant"]
    relations, sizes = _totals(rows, "relation"), _totals(rows, "relation", "bytes")
    for names, kind in ((DUPLICATES, "duplicates"), (VARIANTS, "variants")):
        for name in names:
            field = f"{kind}_{name}"
            setattr(counts, field, getattr(counts, field) + relations[name])
            if kind == "duplicates" or variants_reclaimable:
                field = f"reclaimable_{name}"
                setattr(counts, field, getattr(counts, field) + sizes[name])


def _totals(
    rows: pa.Table | pa.RecordBatch, column: str, of: str | None = None
) -> Mapping[str | None, int]:
    """By value of a column, how many rows have it, or the sum of another column."""
    kind = ([], "count_all") if of is None else (of, "sum")
    totals = pa.table({name: rows[name] for name in (column, of) if name}).group_by(column)
    found = totals.aggregate([kind]).to_pydict()
    amounts = found["count_all" if of is None else f"{of}_sum"]
    return defaultdict(int, zip(found[column], (a or 0 for a in amounts), strict=True))
