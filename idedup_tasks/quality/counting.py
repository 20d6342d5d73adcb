"""Count and compare the rows of the lake: what the facts of each stage are made of.

A stage counts what it did; its gate counts again from the table versions that the stage read and
from the table as the candidate would leave it, so that a stage that miscounts, drops or repeats a
row is found by other code than its own.

Sets of rows are compared by 64-bit hashes of their keys, eight bytes a row, in passes over slices
of the hash's range once a table has more than `KEYS_AT_ONCE` rows, so that memory stays bounded at
any size. Two different keys among n share a hash with probability n² / 2^65: 0.03 % at a hundred
million. A repeated key is therefore looked at again in full before it is reported; in the other
comparisons a chance equality could only hide a fault of one row, never invent one, except that two
groups with one hash would look like one with two keepers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from idedup_tasks.lake import TABLES, Candidate, DataFile, Lake
from idedup_tasks.run import Run

KEYS_AT_ONCE = 2**24
# So many suspicious keys are looked at in full; beyond, the fault is certain anyway.
_SUSPECTS = 10_000

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Scan = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class Rows:
    """The rows of a table as some version or candidate has them."""

    lake: Lake
    table: str
    files: tuple[DataFile, ...]
    where: ds.Expression | None = None

    def scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self.lake.scan_files(TABLES[self.table], self.files, columns, self.where)

    @property
    def stored(self) -> int:
        """Rows of the files, before `where`."""
        return sum(f.rows for f in self.files)


def read_version(
    run: Run, candidate: Candidate, table: str, where: ds.Expression | None = None
) -> Rows:
    """The rows of a table that the stage read."""
    snapshot = run.lake.snapshot(table, candidate.reads[table])
    return Rows(run.lake, table, tuple(snapshot.files()), where)


def after(run: Run, candidate: Candidate, table: str) -> Rows:
    """The rows that a table would have once the candidate is published."""
    change = next((c for c in candidate.changes if c.table == table), None)
    if change is None:
        return Rows(run.lake, table, tuple(run.lake.snapshot(table).files()))
    removed = {f.path for f in change.remove}
    base = run.lake.snapshot(table, change.base_version).files()
    return Rows(run.lake, table, (*(f for f in base if f.path not in removed), *change.add))


def tally(rows: Rows, columns: Sequence[str]) -> Counter[tuple[Any, ...]]:
    """How often each combination of values occurs; for columns of few values."""
    found: Counter[tuple[Any, ...]] = Counter()
    for batch in rows.scan(columns):
        counted = (
            pa.Table.from_batches([batch]).group_by(list(columns)).aggregate([([], "count_all")])
        )
        for row in counted.to_pylist():
            found[tuple(row[c] for c in columns)] += row["count_all"]
    return found


def repeated(scan: Scan, columns: Sequence[str], rows: int) -> int:
    """How many distinct keys occur more than once (counted up to 10,000)."""
    suspects: list[Hashes] = []
    for part, parts in passes(rows):
        hashes, times = np.unique(_hashes(scan, columns, part, parts), return_counts=True)
        suspects.append(hashes[times > 1])
    suspect = np.concatenate(suspects)[:_SUSPECTS]
    if not len(suspect):
        return 0
    seen: Counter[tuple[Any, ...]] = Counter()
    for batch in scan(columns):
        again = np.isin(row_hashes(batch, columns), suspect)
        keys = batch.filter(pa.array(again)).to_pydict()
        seen.update(zip(*(keys[c] for c in columns), strict=True))
    return sum(times > 1 for times in seen.values())


def differences(
    left: Rows | Scan, right: Rows | Scan, columns: Sequence[str], rows: int | None = None
) -> tuple[int, int]:
    """How many keys only `left` has, and how many only `right` has.

    Args:
        rows: how many rows there are about, when it is not known from `left` and `right`.
    """
    if rows is None:
        rows = max(side.stored for side in (left, right) if isinstance(side, Rows))
    scan_left = left.scan if isinstance(left, Rows) else left
    scan_right = right.scan if isinstance(right, Rows) else right
    only_left = only_right = 0
    for part, parts in passes(rows):
        a = np.unique(_hashes(scan_left, columns, part, parts))
        b = np.unique(_hashes(scan_right, columns, part, parts))
        shared = len(np.intersect1d(a, b, assume_unique=True))
        only_left += len(a) - shared
        only_right += len(b) - shared
    return only_left, only_right


def passes(rows: int) -> Iterator[tuple[int, int]]:
    parts = max(1, -(-rows // KEYS_AT_ONCE))
    return ((part, parts) for part in range(parts))


def _hashes(scan: Scan, columns: Sequence[str], part: int, parts: int) -> Hashes:
    return concatenated([sliced(row_hashes(b, columns), part, parts) for b in scan(columns)])


def row_hashes(batch: pa.RecordBatch, columns: Sequence[str]) -> Hashes:
    """64-bit hash of each row's key, uint64 (rows,): Python's own, the same within a process."""
    keys = zip(*(_values(batch.column(c)) for c in columns), strict=True)
    hashes: Hashes = np.fromiter(map(hash, keys), np.int64, batch.num_rows).view(np.uint64)
    return hashes


def _values(column: pa.Array) -> list[Any]:
    # NumPy is the faster way for texts, which most keys are.
    if pa.types.is_string(column.type):
        return list(column.to_numpy(zero_copy_only=False).tolist())
    return list(column.to_pylist())


def sliced(hashes: Hashes, part: int, parts: int) -> Hashes:
    return hashes if parts == 1 else hashes[hashes % np.uint64(parts) == part]


def where_equal(batch: pa.RecordBatch, column: str, value: str) -> pa.RecordBatch:
    return batch.filter(pc.field(column) == value)


def concatenated(parts: list[Hashes]) -> Hashes:
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)
