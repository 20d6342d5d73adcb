"""Reading: objects of the source become rows of `images`, in data files that this writes itself.

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
from idedup_tasks.isolation import Crew
from idedup_tasks.lake import IMAGES, TABLES, DataFile, Lake
from idedup_tasks.settings import Limits
from idedup_tasks.stages.ingest.listing import Listed

_WRITE_ROWS = 100


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
    """Readings that are done one after the other, in one stream."""

    lake: Lake
    access: Access
    limits: Limits
    follow_links: bool
    readings: list[Reading]


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
    cores = compute.cores_of_job()
    outcomes = images.read_objects(
        (listed.entry for reading in batch.readings for listed in reading.objects),
        batch.limits,
        batch.access.options(),
        processes=cores,
        follow_links=batch.follow_links,
        # Starting processes takes as long as reading a few hundred small images.
        crew=compute.once(_crew, cores, threading.get_ident()),
    )
    with contextlib.closing(outcomes):
        return [
            _written(batch.lake, reading, _rows(reading, outcomes)) for reading in batch.readings
        ]


def _crew(processes: int, thread: int) -> Crew:
    """Each thread of a Dask worker has its own, since a crew serves one stream at a time."""
    return images.decoding_crew(processes)


def _written(lake: Lake, reading: Reading, rows: Iterator[pa.RecordBatch]) -> Outcome:
    partition = {"arrival": reading.arrival}
    if reading.known is not None:
        return _differing(lake, partition, reading.known, pa.Table.from_batches(rows, IMAGES))
    file = lake.write_rows("images", partition, rows, reading.name)
    # What is there, for another run may have been faster.
    return counted(lake, file)


def counted(lake: Lake, file: DataFile) -> Outcome:
    """What a data file holds, wherever it came from."""
    batches = lake.scan_files(TABLES["images"], [file], ["status", "bytes"])
    return _counts(file, frozenset(), pa.Table.from_batches(batches, _COUNTED))


_COUNTED = pa.schema([IMAGES.field("status"), IMAGES.field("bytes")])


def _counts(file: DataFile | None, same: frozenset[str], rows: pa.Table) -> Outcome:
    decoded = pc.sum(pc.equal(rows["status"], "decoded")).as_py() or 0
    size = pc.sum(rows["bytes"]).as_py() or 0
    return Outcome(file, same, decoded, rows.num_rows - decoded, size)


def _differing(
    lake: Lake, partition: dict[str, str], known: list[DataFile], rows: pa.Table
) -> Outcome:
    """What was rejected for a passing reason is read again; when nothing came of it, the row
    stays, so that repeating a run changes nothing."""
    where = ds.field("image_id").isin(rows["image_id"].combine_chunks())
    old = lake.scan_files(TABLES["images"], known, IMAGES.names, where=where)
    held = {row["image_id"]: row for batch in old for row in batch.to_pylist()}
    same = frozenset(
        row["image_id"] for row in rows.to_pylist() if held.get(row["image_id"]) == row
    )
    unlike = rows.filter(pc.invert(pc.is_in(rows["image_id"], pa.array(sorted(same), pa.string()))))
    file = lake.write_rows("images", partition, unlike) if unlike.num_rows else None
    return _counts(file, same, rows)


def _rows(reading: Reading, outcomes: Iterator[Any]) -> Iterator[pa.RecordBatch]:
    """Rows of `images` in the order of the objects, in small batches."""
    for start in range(0, len(reading.objects), _WRITE_ROWS):
        part = reading.objects[start : start + _WRITE_ROWS]
        pairs = zip(part, islice(outcomes, len(part)), strict=True)
        yield pa.RecordBatch.from_pylist([_row(e, outcome) for e, (_, outcome) in pairs], IMAGES)
        compute.advance(len(part))


def _row(listed: Listed, outcome: images.ImageFacts | images.Rejected) -> dict[str, Any]:
    row: dict[str, Any] = {
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
        "thumbnail": outcome.thumbnail,
    }
