"""The rows that a gate looks at, as Arrow tables of bounded size.

Vectors are not handed on: of one only its norm, its length and whether all its values are finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from idedup_tasks.lake import RESULTS, TABLES, Candidate, Lake, TableChange, stored_schema
from idedup_tasks.periods import period_of
from idedup_tasks.run import Run
from idedup_tasks.shards import ids_path

BATCH_ROWS = 100_000
_UNREAD = ("variants", "regions")


def frames(run: Run, candidate: Candidate, frame: str) -> Iterator[pa.Table]:
    """Stream one frame of a candidate.

    Args:
        frame: `files` (one row per data file: what its footer says), `results` (the rows of a
            report's result file), or the name of a table (the rows that would be added to it).
    """
    if frame == "files":
        yield _files(run, candidate)
        return
    if frame == "results":
        yield from _joined(_result_batches(run, candidate))
        return
    for change in candidate.changes:
        if change.table == frame:
            for rows in _joined(_added(run, change)):
                yield _derived(run, rows, frame)


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches of at least `BATCH_ROWS` rows: an expectation has a fixed cost per batch."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= BATCH_ROWS:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _added(run: Run, change: TableChange) -> Iterator[pa.RecordBatch]:
    columns = [c for c in TABLES[change.table].schema.names if c not in _UNREAD]
    for batch in run.lake.scan_change(change, columns):
        yield _without_vectors(batch) if "vector" in columns else batch


def _without_vectors(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Replace `vector` by `norm`, `dim` and `broken` (it holds a NaN or an infinity)."""
    vectors = batch.column("vector")
    lengths = np.diff(vectors.offsets.to_numpy())
    values = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    whole = lengths > 0  # `reduceat` has no answer for an empty slice
    norms = np.zeros(len(lengths))
    broken = np.zeros(len(lengths), bool)
    if whole.any():
        norms[whole] = np.sqrt(np.add.reduceat(values * values, starts[whole]))
        broken[whole] = np.logical_or.reduceat(~np.isfinite(values), starts[whole])
    rows = batch.drop_columns(["vector"])
    for name, of_vectors in (("norm", norms), ("dim", lengths), ("broken", broken)):
        rows = rows.append_column(name, pa.array(of_vectors))
    return rows


def _derived(run: Run, rows: pa.Table, table: str) -> pa.Table:
    """The rows, with what a rule compares a column of theirs with."""
    if table == "images":
        # Formatting is slow and there are few periods: once per hour that occurs.
        period = run.collection.arrival.period
        hours = pc.floor_temporal(rows["arrived_at"], unit="hour").combine_chunks()
        coded = hours.dictionary_encode()
        names = [period_of(hour, period) for hour in coded.dictionary.to_pylist()]
        rows = rows.append_column(
            "arrival_of_moment", pa.array(names, pa.string()).take(coded.indices)
        )
        packs = rows["pack"].combine_chunks().dictionary_encode()
        sizes = [stored_size(run.lake, path) for path in packs.dictionary.to_pylist()]
        rows = rows.append_column("pack_bytes", pa.array(sizes, pa.int64()).take(packs.indices))
        for end, start in (("thumbnail_end", ""), ("fine_end", "fine_")):
            reaches = pc.add(rows[f"{start}offset"], rows[f"{start}length"])
            rows = rows.append_column(end, reaches)
        return rows
    if table in ("matches", "groups"):
        numbers = pc.list_value_length(rows["transform"])
        return rows.drop_columns(["transform"]).append_column("transform_numbers", numbers)
    if table == "index":
        found = [_shard_bytes(run.lake, path) for path in rows["path"].to_pylist()]
        return rows.append_column("bytes_found", pa.array(found, pa.int64()))
    return rows


def stored_size(lake: Lake, path: str) -> int | None:
    """Bytes of a file of the lake; None when it is missing."""
    try:
        return lake.size(path)
    except FileNotFoundError:
        return None


def _shard_bytes(lake: Lake, path: str) -> int | None:
    """What a shard's two files hold together; None when one is missing."""
    index, ids = stored_size(lake, path), stored_size(lake, ids_path(path))
    return None if index is None or ids is None else index + ids


def _files(run: Run, candidate: Candidate) -> pa.Table:
    """One row per data file that would be added: `path`, `schema` and rows as its footer has them.

    `schema` is `as declared` or says what differs. An index shard's row in the lake has no place
    here: it is a row of the table `index`.
    """
    found = []
    for change in candidate.changes:
        declared = stored_schema(TABLES[change.table])
        for file in change.add:
            path = f"{change.table}/{file.path}"
            found.append({"path": path, "rows_stated": file.rows, **_footer(run, path, declared)})
    if "results" in candidate.files:
        path = candidate.files["results"]
        footer = _footer(run, path, RESULTS)
        # Nothing states how many rows a result file has but itself; the stage's facts do.
        found.append({"path": path, "rows_stated": footer["rows"], **footer})
    return pa.Table.from_pylist(found)


def _footer(run: Run, path: str, declared: pa.Schema) -> dict[str, str | int]:
    with run.lake.open(path) as stream:
        file = pq.ParquetFile(stream)
        schema, rows = file.schema_arrow, file.metadata.num_rows
    faults = [f"lacks {name}" for name in declared.names if name not in schema.names]
    faults += [f"has {name} besides" for name in schema.names if name not in declared.names]
    faults += [
        f"{field.name} is {schema.field(field.name).type} and not {field.type}"
        for field in declared
        if field.name in schema.names and schema.field(field.name).type != field.type
    ]
    return {"schema": "; ".join(faults) or "as declared", "rows": rows}


def _result_batches(run: Run, candidate: Candidate) -> Iterator[pa.RecordBatch]:
    with run.lake.open(candidate.files["results"]) as stream:
        yield from pq.ParquetFile(stream).iter_batches(BATCH_ROWS)
