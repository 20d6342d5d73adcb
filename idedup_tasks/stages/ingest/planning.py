"""What one arrival period needs: which of its rows stay, which go, and which objects are read."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow.compute as pc

from idedup_tasks import compute
from idedup_tasks.connections import Access
from idedup_tasks.lake import FINE_PLACE, PLACE, DataFile, Lake, Snapshot, find_pictures
from idedup_tasks.run import Run
from idedup_tasks.settings import Limits, digest
from idedup_tasks.sources import SourceObject
from idedup_tasks.stages.ingest.listing import Listed, Listing
from idedup_tasks.stages.ingest.reading import Batch, Outcome, Reading, read_batch

CHUNK = 500
_PICTURES = 100  # read at once
# These may come out differently next time though the object is the same, and those when limits
# were raised; others may not.
_PASSING = frozenset({"unreadable", "vanished", "crashed", "timed-out", "out-of-memory"})
_RETRIED = _PASSING | {"too-large", "too-many-pixels"}


@dataclass
class PeriodPlan:
    """One period. What is in no field but `files` stays as it is.

    files: with the rows of the period; held: how many those are.
    reused_decoded, reused_rejected, reused_bytes: rows that stay, since nothing is new of them.
    restated: of these, by image_id, the address and moment of those that are listed under others
    now: the source has moved, an object was uploaded again, the rule of arrival is another one.
    vanished: rows whose object the source no longer has.
    drop: image_ids of rows that go: vanished, moved to another period, or read anew.
    arrived: image_ids of new and changed objects.
    readings: what is read, known objects first; outcomes: what came of these, in their order.
    found: chunks of new objects that an earlier try left behind.
    """

    arrival: str
    files: list[DataFile]
    held: int = 0
    reused_decoded: int = 0
    reused_rejected: int = 0
    reused_bytes: int = 0
    restated: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    vanished: int = 0
    drop: set[str] = field(default_factory=set)
    arrived: set[str] = field(default_factory=set)
    readings: list[Reading] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    found: list[DataFile] = field(default_factory=list)

    def keep(self, row: dict[str, Any], listed: Listed) -> None:
        """Leave an object's row, but for where and when it is listed."""
        stated = (listed.entry.uri, listed.arrived_at)
        if stated != (row["uri"], row["arrived_at"]):
            self.restated[listed.image_id] = stated
        self.reused_bytes += row["bytes"]
        self.reused_decoded += row["status"] == "decoded"
        self.reused_rejected += row["status"] == "rejected"


def plan_period(
    run: Run, snapshot: Snapshot, listing: Listing, moved: frozenset[str], arrival: str
) -> PeriodPlan:
    """Compare what is listed for a period with the rows there are.

    Args:
        moved: image_ids that the period may hold and that are listed outside the run's window.
    """
    limits = run.collection.limits
    plan = PeriodPlan(arrival, snapshot.files(arrival=arrival))
    columns = ["image_id", "uri", "arrived_at", "bytes", "etag", "status", "reason_code"]
    columns += ["width", "height"]
    rows = {row["image_id"]: row for row in snapshot.read(columns, files=plan.files).to_pylist()}
    plan.held = len(rows)
    fresh: list[Listed] = []
    again: list[Listed] = []
    for listed in listing.partition(arrival):
        row = rows.pop(listed.image_id, None)
        if row is None:
            fresh.append(listed)
            continue
        unchanged = (row["bytes"], row["etag"]) == (listed.entry.bytes, listed.entry.etag)
        if unchanged and _settled(row, listed.entry, limits):
            plan.keep(row, listed)
            continue
        plan.drop.add(listed.image_id)
        (again if unchanged else fresh).append(listed)
    # What is left was not listed in this period.
    plan.drop |= rows.keys()
    plan.vanished = sum(i not in moved and not listing.holds(i) for i in rows)
    plan.arrived = {listed.image_id for listed in fresh}
    plan.readings = [Reading(arrival, chunk, None, known=plan.files) for chunk in _chunks(again)]
    for chunk in _chunks(fresh):
        name = f"chunk-{_chunk_digest(chunk, limits)}.parquet"
        file = run.lake.written("images", {"arrival": arrival}, name)
        if file is None:
            plan.readings.append(Reading(arrival, chunk, name))
        elif _whole(run.lake, snapshot, file, len(chunk)):
            plan.found.append(file)
        else:
            # Read once more, into another file: what is there may be another run's by now.
            plan.readings.append(Reading(arrival, chunk, None))
    return plan


def have_read(run: Run, plans: Iterable[PeriodPlan], total: int) -> Iterator[PeriodPlan]:
    """Have read what the plans ask for; each comes, in order, when all of its own is there.

    Args:
        total: objects of all plans, of which progress is told.
    """
    collection = run.collection
    access = Access(collection.connection, run.source_options)
    planned: deque[PeriodPlan] = deque()
    advance = run.counter("reading", total)

    def readings() -> Iterator[tuple[PeriodPlan, Reading]]:
        for plan in plans:
            planned.append(plan)
            advance(plan.reused_decoded + plan.reused_rejected + sum(f.rows for f in plan.found))
            for reading in plan.readings:
                yield plan, reading

    def batches() -> Iterator[tuple[list[PeriodPlan], Batch]]:
        for together in _batched(readings(), compute.job_size(CHUNK)):
            asked = [reading for _, reading in together]
            limits, links = collection.limits, collection.follow_links
            batch = Batch(run.lake, access, limits, links, asked, total)
            yield [plan for plan, _ in together], batch

    for owners, outcomes in compute.run_jobs(read_batch, batches(), advance):
        for plan, outcome in zip(owners, outcomes, strict=True):
            plan.outcomes.append(outcome)
        while planned and len(planned[0].outcomes) == len(planned[0].readings):
            yield planned.popleft()
    yield from planned


def _batched(
    readings: Iterable[tuple[PeriodPlan, Reading]], most: int
) -> Iterator[list[tuple[PeriodPlan, Reading]]]:
    """Readings of at most so many objects, where one has no more: small periods share a batch, so
    that a store's latency is not paid for each."""
    together: list[tuple[PeriodPlan, Reading]] = []
    size = 0
    for plan, reading in readings:
        if together and size + len(reading.objects) > most:
            yield together
            together, size = [], 0
        together.append((plan, reading))
        size += len(reading.objects)
    if together:
        yield together


def _chunks(objects: list[Listed]) -> Iterator[list[Listed]]:
    return (objects[start : start + CHUNK] for start in range(0, len(objects), CHUNK))


def _chunk_digest(chunk: list[Listed], limits: Limits) -> str:
    hasher = hashlib.sha256(digest(limits).encode())
    for listed in chunk:
        entry = listed.entry
        stated = (listed.image_id, entry.bytes, entry.etag, entry.uri, entry.problem)
        hasher.update(json.dumps([*stated, listed.arrived_at.isoformat()]).encode())
    return hasher.hexdigest()[:32]


def _whole(lake: Lake, snapshot: Snapshot, file: DataFile, rows: int) -> bool:
    """Whether a chunk written earlier will do: each picture is in its pack, and nothing was
    rejected for a passing reason."""
    if file.rows != rows:
        return False
    columns = ["status", "reason_code", *PLACE, *FINE_PLACE]
    for batch in lake.scan_files(snapshot.definition, [file], columns, batch_rows=_PICTURES):
        if _PASSING & set(batch["reason_code"].to_pylist()):
            return False
        if None in find_pictures(lake, batch.filter(pc.field("status") == "decoded")):
            return False
    return True


def _settled(row: dict[str, Any], entry: SourceObject, limits: Limits) -> bool:
    """Whether reading an unchanged object again must give the same row."""
    if row["status"] == "rejected":
        # Limits may have been raised, and a crash or a denied permission mended.
        return row["reason_code"] not in _RETRIED
    if entry.problem is not None:  # such as a rule of arrival that its key does not follow
        return False
    small = row["bytes"] <= limits.max_bytes
    return small and bool(row["width"] * row["height"] <= limits.max_pixels)
