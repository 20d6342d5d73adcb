"""Ingest: make the `images` partitions of a window equal to what the source lists.

Each object is read once, decoded once, and reduced to a row and a thumbnail in a pack; everything
after works from those. Objects whose key, size and etag are unchanged are not read again. What is
new is written in chunks named after their content, so that a killed run, repeated, goes on where
it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from idedup_tasks import sources
from idedup_tasks.lake import TIMESTAMP, Candidate, DataFile, Lake, Snapshot, TableChange
from idedup_tasks.periods import in_window, periods_named
from idedup_tasks.run import Run, publish_changes
from idedup_tasks.settings import digest
from idedup_tasks.stages.ingest.counts import Counts
from idedup_tasks.stages.ingest.listing import Listing, OutsideWindow, placement
from idedup_tasks.stages.ingest.planning import PeriodPlan, have_read, plan_period
from idedup_tasks.stages.ingest.reading import counted

publish = publish_changes

_REWRITE_ROWS = 1_000


def prepare(run: Run) -> Candidate:
    """List the source, read what is new, and describe the partitions that differ.

    Raises:
        SourceUnreachable: the source cannot be listed; worth a retry.
    """
    collection = run.collection
    snapshot = run.lake.snapshot("images")
    change = TableChange("images", snapshot.version)
    told = (collection.source, collection.follow_links, collection.arrival, collection.limits)
    change.metadata = {"settings": digest(*told)}
    counts = Counts()
    warnings: list[str] = []

    with Listing() as listing:
        outside = OutsideWindow(snapshot, run)
        _list_source(run, listing, outside)
        lacking, moved = outside.lacking()
        counts.outside_window = sum(lacking.values())
        if lacking:
            warnings.append(
                f"{counts.outside_window:,} objects outside this run's window are not in the "
                f"lake yet; backfill {periods_named(lacking)}."
            )

        held = {f["arrival"] for f in snapshot.partitions()}
        arrivals = {a for a in held if in_window(a, run.window, collection.arrival.period)}
        arrivals = arrivals | set(listing.arrivals())
        counts.partitions = len(arrivals)
        arrived: set[str] = set()
        plans = (plan_period(run, snapshot, listing, moved, a) for a in sorted(arrivals))
        for plan in have_read(run, plans, len(listing)):
            _write_partition(run.lake, snapshot, change, plan, counts)
            if held - arrivals:
                arrived |= plan.arrived
        if arrived:
            _leave_old_partitions(run.lake, snapshot, change, arrived, arrivals)
    counts.images = counts.read
    reads = {"images": snapshot.version}
    return Candidate("ingest", run.run_id, [change], reads, asdict(counts), warnings)


def _list_source(run: Run, listing: Listing, outside: OutsideWindow) -> None:
    """Sort what the source lists: into this run's window, and outside it."""
    collection = run.collection
    place = placement(collection)
    for entry in sources.list_objects(
        collection.source, dict(run.source_options), follow_links=collection.follow_links
    ):
        if entry.key.startswith(run.excluded):
            continue
        listed = place(entry)
        if in_window(listed.arrival, run.window, collection.arrival.period):
            listing.add(listed)
            run.progress("listing", len(listing), None)
        else:
            outside.add(listed)
    listing.finish()


def _write_partition(
    lake: Lake, snapshot: Snapshot, change: TableChange, plan: PeriodPlan, counts: Counts
) -> None:
    """Add the difference of one partition, whose new rows are written, to `change`."""
    reused = plan.reused_decoded + plan.reused_rejected
    outcomes = [*plan.outcomes, *(counted(lake, file) for file in plan.found)]
    read = sum(outcome.decoded + outcome.rejected for outcome in outcomes)
    counts.listed += reused + read
    counts.reused += reused
    counts.read += read
    counts.decoded += plan.reused_decoded + sum(o.decoded for o in outcomes)
    counts.rejected += plan.reused_rejected + sum(o.rejected for o in outcomes)
    counts.bytes += plan.reused_bytes + sum(o.bytes for o in outcomes)
    counts.vanished += plan.vanished
    if plan.held:
        counts.max_removed_ratio = max(counts.max_removed_ratio, plan.vanished / plan.held)
    for outcome in outcomes:
        plan.drop -= outcome.same
    change.add.extend(outcome.file for outcome in outcomes if outcome.file is not None)
    _rewrite(lake, snapshot, change, plan.files, plan.drop, plan.restated)


def _rewrite(
    lake: Lake,
    snapshot: Snapshot,
    change: TableChange,
    files: Iterable[DataFile],
    drop: set[str],
    restated: Mapping[str, tuple[str, datetime]],
) -> None:
    """Replace the files that hold any of these rows by copies without the first, with the others'
    address and moment as they are now."""
    dropped, wanted = pa.array(sorted(drop), pa.string()), pa.array(sorted({*drop, *restated}))
    for file in files if len(wanted) else ():
        ids = snapshot.read(["image_id"], files=[file])["image_id"]
        if not pc.any(pc.is_in(ids, wanted)).as_py():
            continue
        change.remove.append(file)
        if not pc.all(pc.is_in(ids, dropped)).as_py():
            kept = (
                _restated(batch.filter(pc.invert(pc.is_in(batch["image_id"], dropped))), restated)
                for batch in snapshot.scan(batch_rows=_REWRITE_ROWS, files=[file])
            )
            change.add.append(lake.write_rows("images", file.partition, kept))


def _restated(
    batch: pa.RecordBatch, restated: Mapping[str, tuple[str, datetime]]
) -> pa.RecordBatch:
    columns = {name: batch[name] for name in batch.schema.names}
    held = zip(batch["uri"].to_pylist(), batch["arrived_at"].to_pylist(), strict=True)
    both = [
        restated.get(i, old) for i, old in zip(batch["image_id"].to_pylist(), held, strict=True)
    ]
    columns["uri"] = pa.array([uri for uri, _ in both], pa.string())
    columns["arrived_at"] = pa.array([moment for _, moment in both], TIMESTAMP)
    return pa.RecordBatch.from_pydict(columns, batch.schema)


def _leave_old_partitions(
    lake: Lake, snapshot: Snapshot, change: TableChange, ids: set[str], arrivals: set[str]
) -> None:
    """An object whose arrival changed leaves the partition it was in: an image is listed once."""
    if not ids:
        return
    others = [f for f in snapshot.files() if f.partition["arrival"] not in arrivals]
    _rewrite(lake, snapshot, change, others, ids, {})
