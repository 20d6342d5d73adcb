"""Ingest: make the `images` partitions of a window equal to what the source lists.

Each object is read once, decoded once, and reduced to a row with a thumbnail; everything after
works from those rows. Objects whose key, size and etag are unchanged are not read again. What is
new is written in chunks named after their content, so that a killed run, repeated, goes on where
it was.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idedup_tasks import compute, sources
from idedup_tasks.connections import Access
from idedup_tasks.ids import image_id
from idedup_tasks.lake import TIMESTAMP, Candidate, DataFile, Lake, Snapshot, TableChange
from idedup_tasks.periods import in_window, periods_named
from idedup_tasks.run import Run, publish_changes
from idedup_tasks.settings import Limits, digest
from idedup_tasks.stages.ingest.counts import Counts
from idedup_tasks.stages.ingest.listing import Listed, Listing, arrival_rule
from idedup_tasks.stages.ingest.reading import Batch, Outcome, Reading, counted, read_batch

CHUNK = 500
_REWRITE_ROWS = 1_000
# These may come out differently next time though the object is the same, and those when limits
# were raised; others may not.
_PASSING = frozenset({"unreadable", "vanished", "crashed", "timed-out", "out-of-memory"})
_RETRIED = _PASSING | {"too-large", "too-many-pixels"}

publish = publish_changes


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
        arrival_of = arrival_rule(collection.arrival)
        outside = _OutsideWindow(snapshot, run)
        for entry in sources.list_objects(
            collection.source, dict(run.source_options), follow_links=collection.follow_links
        ):
            if entry.key.startswith(run.excluded):
                continue
            listed = Listed(image_id(collection.name, entry.key), *arrival_of(entry), entry)
            if in_window(listed.arrival, run.window, collection.arrival.period):
                listing.add(listed)
                run.progress("listing", len(listing), None)
            else:
                outside.add(listed)
        listing.finish()
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
        plans = (_plan(run, snapshot, listing, moved, a) for a in sorted(arrivals))
        for plan in _read(run, plans, len(listing)):
            _write_partition(run.lake, snapshot, change, plan, counts)
            if held - arrivals:
                arrived |= plan.arrived
        if arrived:
            _leave_old_partitions(run.lake, snapshot, change, arrived, arrivals)
    counts.images = counts.read
    reads = {"images": snapshot.version}
    return Candidate("ingest", run.run_id, [change], reads, asdict(counts), warnings)


@dataclass
class _Plan:
    """One partition: which rows stay, which go, and which objects are read."""

    arrival: str
    files: list[DataFile]
    held: int = 0
    vanished: int = 0
    reused_decoded: int = 0
    reused_rejected: int = 0
    reused_bytes: int = 0
    drop: set[str] = field(default_factory=set)  # image_ids whose rows are replaced or gone
    # Unchanged, and listed under another address or moment: the source has moved, an object was
    # uploaded again, the rule of arrival is another one.
    restated: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)  # image_ids of new and changed objects
    # What is read, in chunks: objects that are known and read once more, then new and changed ones.
    readings: list[Reading] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    found: list[DataFile] = field(default_factory=list)  # chunks that an earlier try left behind


def _plan(
    run: Run, snapshot: Snapshot, listing: Listing, moved: frozenset[str], arrival: str
) -> _Plan:
    limits = run.collection.limits
    plan = _Plan(arrival, snapshot.files(arrival=arrival))
    columns = ["image_id", "uri", "arrived_at", "bytes", "etag", "status", "reason_code"]
    columns += ["width", "height"]
    held = {row["image_id"]: row for row in snapshot.read(columns, files=plan.files).to_pylist()}
    plan.held = len(held)
    fresh: list[Listed] = []
    again: list[Listed] = []
    for listed in listing.partition(arrival):
        row = held.pop(listed.image_id, None)
        if row is None:
            fresh.append(listed)
        elif (row["bytes"], row["etag"]) != (listed.entry.bytes, listed.entry.etag):
            fresh.append(listed)
            plan.drop.add(listed.image_id)
        elif not _settled(row, limits):
            again.append(listed)
            plan.drop.add(listed.image_id)
        else:
            stated = (listed.entry.uri, listed.arrived_at)
            if stated != (row["uri"], row["arrived_at"]):
                plan.restated[listed.image_id] = stated
            plan.reused_bytes += row["bytes"]
            plan.reused_decoded += row["status"] == "decoded"
            plan.reused_rejected += row["status"] == "rejected"
    plan.drop |= held.keys()
    plan.vanished = sum(i not in moved and not listing.holds(i) for i in held)
    plan.arrived = {listed.image_id for listed in fresh}
    for chunk in _chunks(again):
        plan.readings.append(Reading(arrival, chunk, None, known=plan.files))
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


def _chunks(objects: list[Listed]) -> Iterator[list[Listed]]:
    return (objects[start : start + CHUNK] for start in range(0, len(objects), CHUNK))


def _whole(lake: Lake, snapshot: Snapshot, file: DataFile, rows: int) -> bool:
    """Whether a chunk written earlier will do: nothing in it was rejected for a passing reason."""
    if file.rows != rows:
        return False
    codes = lake.scan_files(snapshot.definition, [file], ["reason_code"])
    return not any(_PASSING & set(batch["reason_code"].to_pylist()) for batch in codes)


def _settled(row: dict[str, Any], limits: Limits) -> bool:
    """Whether reading an unchanged object again must give the same row."""
    if row["status"] == "rejected":
        # Limits may have been raised, and a crash or a denied permission mended.
        return row["reason_code"] not in _RETRIED
    return row["bytes"] <= limits.max_bytes and row["width"] * row["height"] <= limits.max_pixels


def _read(run: Run, plans: Iterable[_Plan], total: int) -> Iterator[_Plan]:
    """Have read what the plans ask for; each comes, in order, when all of its own is there."""
    access = Access(run.collection.connection, run.source_options)
    planned: deque[_Plan] = deque()
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        run.progress("reading", done, total)

    def batches() -> Iterator[tuple[list[_Plan], Batch]]:
        # Small partitions share a batch, so that a store's latency is not paid for each.
        most = compute.job_size(CHUNK)
        together: list[tuple[_Plan, Reading]] = []
        for plan in plans:
            planned.append(plan)
            advance(plan.reused_decoded + plan.reused_rejected + sum(f.rows for f in plan.found))
            for reading in plan.readings:
                if sum(len(r.objects) for _, r in [*together, (plan, reading)]) > most:
                    yield batch_of(together)
                    together = []
                together.append((plan, reading))
        if together:
            yield batch_of(together)

    def batch_of(together: list[tuple[_Plan, Reading]]) -> tuple[list[_Plan], Batch]:
        readings = [reading for _, reading in together]
        collection = run.collection
        batch = Batch(run.lake, access, collection.limits, collection.follow_links, readings)
        return [plan for plan, _ in together], batch

    for owners, outcomes in compute.run_jobs(read_batch, batches(), advance):
        for plan, outcome in zip(owners, outcomes, strict=True):
            plan.outcomes.append(outcome)
        while planned and len(planned[0].outcomes) == len(planned[0].readings):
            yield planned.popleft()
    yield from planned


def _write_partition(
    lake: Lake, snapshot: Snapshot, change: TableChange, plan: _Plan, counts: Counts
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


def _chunk_digest(chunk: list[Listed], limits: Limits) -> str:
    hasher = hashlib.sha256(digest(limits).encode())
    for listed in chunk:
        stated = (listed.image_id, listed.entry.bytes, listed.entry.etag, listed.entry.uri)
        hasher.update(json.dumps([*stated, listed.arrived_at.isoformat()]).encode())
    return hasher.hexdigest()[:32]


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


class _OutsideWindow:
    """Counts objects outside the window that the lake lacks, at eight bytes an image held."""

    def __init__(self, snapshot: Snapshot, run: Run) -> None:
        # Ids by where the lake has them: in a period of the window, or in their own outside it.
        self._within = self._known = np.empty(0, dtype=np.uint64)
        within, known = [self._within], [self._known]
        for named in snapshot.partitions() if run.window is not None else ():
            arrival = named["arrival"]
            inside = in_window(arrival, run.window, run.collection.arrival.period)
            for batch in snapshot.scan(["image_id"], files=snapshot.files(arrival=arrival)):
                short = _short(batch["image_id"].to_pylist())
                (within if inside else known).append(short if inside else short ^ _salt(arrival))
        self._within, self._known = np.concatenate(within), np.unique(np.concatenate(known))
        self._pending: list[Listed] = []
        self._counts: dict[str, int] = {}
        self._moved: set[str] = set()

    def add(self, listed: Listed) -> None:
        self._pending.append(listed)
        if len(self._pending) >= 10_000:
            self._settle()

    def _settle(self) -> None:
        short = _short([p.image_id for p in self._pending])
        salted = short ^ np.array([_salt(p.arrival) for p in self._pending], dtype=np.uint64)
        moved = np.isin(short, self._within)
        known = np.isin(salted, self._known)
        for listed, left, here in zip(self._pending, moved, known, strict=True):
            if left:
                self._moved.add(listed.image_id)
            if not here:
                self._counts[listed.arrival] = self._counts.get(listed.arrival, 0) + 1
        self._pending.clear()

    def lacking(self) -> tuple[dict[str, int], frozenset[str]]:
        """Number of objects the lake lacks where they belong, by arrival period; and the ids of
        those that it has in a period of the window, though they have left that."""
        if self._pending:
            self._settle()
        return dict(sorted(self._counts.items())), frozenset(self._moved)


@lru_cache(maxsize=100_000)
def _salt(arrival: str) -> np.uint64:
    """Tells an image that is in one period from the same in another."""
    hashed = hashlib.blake2b(arrival.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(hashed, "big"))


def _short(ids: list[str]) -> np.ndarray:
    return np.array([int(i[:16], 16) for i in ids], dtype=np.uint64)
