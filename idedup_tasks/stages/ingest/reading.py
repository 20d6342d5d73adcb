"""Reading: objects of the source become rows of `images` and pictures in packs, written here.

What `read_batch` needs fits into a message, and so does what it returns, so it runs wherever
`compute.run_jobs` puts it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from idedup_tasks import compute, images
from idedup_tasks.connections import Access
from idedup_tasks.isolation import crew_size, worker_crew
from idedup_tasks.lake import IMAGES, TABLES, DataFile, Lake, PackWriter
from idedup_tasks.settings import Limits
from idedup_tasks.stages.ingest.listing import Listed


@dataclass(frozen=True)
class Reading:
    """Objects of one period whose rows go into one file.

    name: of that file; None: any. known: the files with the rows as they were, if these objects
    have been read before; only rows that differ are then written.
    """

    arrival: str
    objects: list[Listed]
    name: str | None
    known: list[DataFile] | None = None


@dataclass(frozen=True)
class Batch:
    """Readings that are done one after the other, in one stream; objects: of all batches."""

    lake: Lake
    access: Access
    limits: Limits
    follow_links: bool
    readings: list[Reading]
    objects: int


@dataclass(frozen=True)
class Outcome:
    """What came of one reading. file: None if no row differed. same: ids of rows that do not."""

    file: DataFile | None
    same: frozenset[str]
    decoded: int
    rejected: int
    bytes: int


def read_batch(batch: Batch) -> list[Outcome]:
    """Read, decode and write.

    Raises:
        SourceUnreachable: the source as a whole has stopped answering.
    """
    processes = crew_size(batch.objects, compute.cores_of_job())
    outcomes = images.read_objects(
        (listed.entry for reading in batch.readings for listed in reading.objects),
        batch.limits,
        batch.access.options(),
        processes=processes,
        follow_links=batch.follow_links,
        # Starting processes takes as long as reading a few hundred small images.
        crew=compute.once(worker_crew, processes, "idedup_tasks.images", threading.get_ident()),
    )
    with contextlib.closing(outcomes):
        return [
            _written(batch.lake, reading, islice(outcomes, len(reading.objects)))
            for reading in batch.readings
        ]


def _written(lake: Lake, reading: Reading, outcomes: Iterator[Any]) -> Outcome:
    """Write a pack and then the rows that point into it, so that none ever points at nothing.

    What was rejected for a passing reason is read again; when nothing came of it, the row stays, so
    that repeating a run changes nothing.
    """
    held = _held(lake, reading)
    rows: list[dict[str, Any]] = []
    same: list[dict[str, Any]] = []
    stored: list[tuple[dict[str, Any], dict[str, int]]] = []
    with PackWriter() as pack:
        for listed, (_, outcome) in zip(reading.objects, outcomes, strict=True):
            row = _row(listed, outcome)
            if held.get(listed.image_id) == row:
                same.append(row)
            else:
                if isinstance(outcome, images.ImageFacts):
                    stored.append((row, pack.add(outcome.thumbnail, outcome.fine)))
                rows.append(row)
            compute.advance(1)
        path = pack.store(lake)
    for row, place in stored:
        row |= {"pack": path, **place}
    file = None
    if rows or reading.known is None:
        table = pa.Table.from_pylist(rows, IMAGES)
        file = lake.write_rows("images", {"arrival": reading.arrival}, table, reading.name)
    if file is not None and reading.known is None:
        # What is there, for another run may have been faster.
        return counted(lake, file)
    unchanged = frozenset(row["image_id"] for row in same)
    return _counts(file, unchanged, pa.Table.from_pylist([*rows, *same], IMAGES))


def _held(lake: Lake, reading: Reading) -> dict[str, dict[str, Any]]:
    """The rows, by image_id, of objects that have been read before."""
    if reading.known is None:
        return {}
    where = ds.field("image_id").isin(pa.array([o.image_id for o in reading.objects]))
    batches = lake.scan_files(TABLES["images"], reading.known, IMAGES.names, where=where)
    return {row["image_id"]: row for batch in batches for row in batch.to_pylist()}


def counted(lake: Lake, file: DataFile) -> Outcome:
    """What a data file holds, wherever it came from."""
    batches = lake.scan_files(TABLES["images"], [file], ["status", "bytes"])
    return _counts(file, frozenset(), pa.Table.from_batches(batches, _COUNTED))


_COUNTED = pa.schema([IMAGES.field("status"), IMAGES.field("bytes")])


def _counts(file: DataFile | None, same: frozenset[str], rows: pa.Table) -> Outcome:
    decoded = pc.sum(pc.equal(rows["status"], "decoded")).as_py() or 0
    size = pc.sum(rows["bytes"]).as_py() or 0
    return Outcome(file, same, decoded, rows.num_rows - decoded, size)


def _row(listed: Listed, outcome: images.ImageFacts | images.Rejected) -> dict[str, Any]:
    """A row of `images`, but for where its pictures lie."""
    row: dict[str, Any] = dict.fromkeys(IMAGES.names) | {
        "arrival": listed.arrival,
        "image_id": listed.image_id,
        "key": listed.entry.key,
        "uri": listed.entry.uri,
        "arrived_at": listed.arrived_at,
        "bytes": listed.entry.bytes,
        "etag": listed.entry.etag,
    }
    if isinstance(outcome, images.Rejected):
        return row | {
            "status": "rejected",
            "reason_code": outcome.code,
            "reason": outcome.reason,
        }
    return row | {
        "status": "decoded",
        "sha256": outcome.sha256,
        "width": outcome.width,
        "height": outcome.height,
        "format": outcome.format,
        "mode": outcome.mode,
        "exif_orientation": outcome.exif_orientation,
        "taken_at": outcome.taken_at,
        "low_information": outcome.low_information,
        "detail": outcome.detail,
        "was_jpeg": outcome.was_jpeg,
        "coarseness": outcome.coarseness,
        "colour": outcome.colour,
        "exif_fields": outcome.exif_fields,
    }
