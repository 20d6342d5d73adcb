"""The whole source against the lake: what a run sees only of its own window.

An object deleted at the source leaves the lake when its arrival period runs again. Nobody runs
January again in June, so the maintenance run lists everything and says which periods differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from idedup_tasks import pipeline, sources
from idedup_tasks.lake import Snapshot
from idedup_tasks.periods import Period
from idedup_tasks.run import Run
from idedup_tasks.settings import STAGES
from idedup_tasks.stages.ingest.listing import Listing, placement

_EXAMPLES = 3


@dataclass
class SourceDifference:
    """One arrival period in which lake and source differ.

    Attributes:
        vanished: objects that the lake has and the source no longer.
        moved: objects that the source now counts to another period.
        lacking: objects that the lake does not have in this period.
        changed: objects whose size or etag is another.
        examples: keys of the first few.
    """

    arrival: str
    vanished: int = 0
    moved: int = 0
    lacking: int = 0
    changed: int = 0
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ("vanished", "moved", "lacking", "changed")
        counts = ", ".join(f"{getattr(self, k):,} {k}" for k in kinds if getattr(self, k))
        return f"{self.arrival}: {counts} ({', '.join(self.examples)})"

    def note(self, kind: str, key: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(key)


def compare_source(run: Run) -> list[SourceDifference]:
    """List the whole source and name the periods in which the lake differs from it.

    Nothing is read but the listing, and nothing is written.

    Raises:
        SourceUnreachable: the source cannot be listed; worth a retry.
    """
    collection, snapshot = run.collection, run.lake.snapshot("images")
    with Listing() as listing:
        place = placement(collection)
        for entry in sources.list_objects(
            collection.source, dict(run.source_options), follow_links=collection.follow_links
        ):
            if not entry.key.startswith(run.excluded):
                listing.add(place(entry))
                run.progress("listing", len(listing), None)
        listing.finish()
        arrivals = {f["arrival"] for f in snapshot.partitions()} | set(listing.arrivals())
        found = [_compare(snapshot, listing, arrival) for arrival in sorted(arrivals)]
    return [period for period in found if period.examples]


def _compare(snapshot: Snapshot, listing: Listing, arrival: str) -> SourceDifference:
    found = SourceDifference(arrival)
    columns = ["image_id", "key", "bytes", "etag"]
    rows = snapshot.read(columns, files=snapshot.files(arrival=arrival)).to_pylist()
    held = {row["image_id"]: row for row in rows}
    for listed in listing.partition(arrival):
        row = held.pop(listed.image_id, None)
        if row is None:
            found.note("lacking", listed.entry.key)
        elif (row["bytes"], row["etag"]) != (listed.entry.bytes, listed.entry.etag):
            found.note("changed", listed.entry.key)
    for identity, row in held.items():
        found.note("moved" if listing.holds(identity) else "vanished", row["key"])
    return found


def bring_up(run: Run, arrivals: Iterable[str], *, stages: Iterable[str] = STAGES) -> None:
    """Run ingest for the windows of these periods, and the other stages once after them.

    Raises:
        QualityFailure: among others, when a listing would remove much and `run.allow_removals` is
            not set.
    """
    later = [stage for stage in stages if stage != "ingest"]
    for start, end in windows(arrivals, run.collection.arrival.period):
        part = replace(run, window=(start, end), run_id=f"{run.run_id}_{start:%Y-%m-%dT%H}")
        pipeline.gate("ingest", part, pipeline.prepare("ingest", part)["candidate"])
    for stage in later:
        pipeline.gate(stage, run, pipeline.prepare(stage, run)["candidate"])


def windows(arrivals: Iterable[str], period: Period) -> Iterator[tuple[datetime, datetime]]:
    """Half-open UTC windows that hold these periods and no others; neighbours share one."""
    held: tuple[datetime, datetime] | None = None
    for arrival in sorted(set(arrivals)):
        start, end = _window(arrival, period)
        if held is not None and held[1] == start:
            held = held[0], end
            continue
        if held is not None:
            yield held
        held = start, end
    if held is not None:
        yield held


def _window(arrival: str, period: Period) -> tuple[datetime, datetime]:
    start = datetime.fromisoformat(f"{arrival}-01" if period == "month" else arrival)
    start = start.replace(tzinfo=UTC)
    if period == "month":
        return start, (start + timedelta(days=31)).replace(day=1)
    return start, start + (timedelta(days=1) if period == "day" else timedelta(hours=1))
