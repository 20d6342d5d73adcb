"""Compaction: the same rows in fewer files, the same vectors in fewer shards.

A run leaves a file or more in each partition it touches, and each file costs a request to open.
Packs stay as they are: the rows point where they did.
Compaction writes the rows of small files into one and publishes that in a commit which says that no
data changed and repeats what the newest version says of itself, so that it is not a difference to
anybody. A run under way whose table was compacted prepares its stage again, as after any conflict.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from idedup_tasks.lake import TABLES, Conflict, DataFile, Lake, Snapshot, TableChange
from idedup_tasks.run import Run

log = logging.getLogger(__name__)

# Large enough for long reads, small enough to be rewritten when a row of it changes.
TARGET_BYTES = 128 * 2**20
# Published at once: each commit makes a run under way prepare its stage again.
_BYTES_A_COMMIT = 8 * 2**30
# Rows with vectors are read so many at a time.
_BATCH_ROWS = 1_000
_ATTEMPTS = 10


@dataclass(frozen=True)
class Compacted:
    """What became of one table: files (of the index, shards) before and after, bytes rewritten."""

    table: str
    before: int
    after: int
    bytes: int


@dataclass(frozen=True)
class _Merge:
    sources: list[DataFile]
    result: DataFile


def compact(run: Run, target_bytes: int = TARGET_BYTES) -> list[Compacted]:
    """Merge small files partition by partition, and small shards.

    A kill leaves the table as it was, with a file beside it that the next compaction takes up.

    Args:
        target_bytes: files of less than half this are merged, up to about this size.

    Returns:
        One entry per table that changed.

    Raises:
        Conflict: runs published so often meanwhile that none of the tries came through.
        DamagedShard: a shard is damaged; the index stage rebuilds it.
    """
    done = [_compact_table(run, name, target_bytes) for name in TABLES if name != "index"]
    done.append(_compact_shards(run))
    return [table for table in done if table.before != table.after]


def _compact_table(run: Run, name: str, target_bytes: int) -> Compacted:
    lake, snapshot = run.lake, run.lake.snapshot(name)
    before = len(snapshot.files())
    merged: list[_Merge] = []
    rewritten = 0
    for sources in _small_files(snapshot, target_bytes):
        merged.append(_Merge(sources, _merge(lake, snapshot, sources)))
        if sum(f.bytes for merge in merged for f in merge.sources) >= _BYTES_A_COMMIT:
            rewritten += _publish(lake, name, merged)
            merged = []
        run.progress(f"compacting {name}", rewritten, None)
    if merged:
        rewritten += _publish(lake, name, merged)
    after = len(lake.snapshot(name).files()) if rewritten else before
    return Compacted(name, before, after, rewritten)


def _small_files(snapshot: Snapshot, target_bytes: int) -> Iterator[list[DataFile]]:
    """Files of one partition that together make one of about the target's size."""
    for partition in snapshot.partitions():
        together: list[DataFile] = []
        for file in snapshot.files(**partition):
            if file.bytes >= target_bytes // 2:
                continue
            if sum(f.bytes for f in together) + file.bytes > target_bytes:
                if len(together) > 1:
                    yield together
                together = []
            together.append(file)
        if len(together) > 1:
            yield together


def _merge(lake: Lake, snapshot: Snapshot, sources: list[DataFile]) -> DataFile:
    """Write the rows of files into one, named after them; files never change under their name."""
    name, partition = snapshot.definition.name, sources[0].partition
    listed = "\n".join(file.path for file in sources)
    file_name = f"compact-{hashlib.sha256(listed.encode()).hexdigest()[:32]}.parquet"
    rows = sum(file.rows for file in sources)
    found = lake.written(name, partition, file_name)
    if found is not None and found.rows == rows:
        return found
    batches = snapshot.scan(batch_rows=_BATCH_ROWS, files=sources)
    result = lake.write_rows(name, partition, batches, file_name if found is None else None)
    if result.rows != rows:
        raise Conflict(
            f"{name}: {len(sources)} files hold {result.rows:,} rows and the table says {rows:,}: "
            "check the collection."
        )
    return result


def _publish(lake: Lake, name: str, merged: list[_Merge]) -> int:
    """Swap files for their merged ones in the newest version; return the bytes that were swapped.

    What another run published meanwhile stays: a merge whose sources it removed is dropped.
    """
    for _ in range(_ATTEMPTS):
        newest = lake.snapshot(name)
        present = {f.path for f in newest.files()}
        whole = [m for m in merged if {f.path for f in m.sources} <= present]
        if not whole:
            return 0
        change = TableChange(
            name,
            newest.version,
            add=[m.result for m in whole],
            remove=[f for m in whole for f in m.sources],
            metadata=newest.metadata,
            data_change=False,
        )
        try:
            lake.publish(change)
        except Conflict:
            log.info("%s was published by a run meanwhile: trying again", name)
            continue
        return sum(m.result.bytes for m in whole)
    raise Conflict(f"{name} is not compacted after {_ATTEMPTS} tries: compact when no run is on.")


def _compact_shards(run: Run) -> Compacted:
    from idedup_tasks.stages.index.prepare import repack

    lake = run.lake
    for _ in range(_ATTEMPTS):
        before = lake.snapshot("index").rows
        change = repack(run) if before else None
        if change is None:
            return Compacted("index", before, before, 0)
        try:
            lake.publish(change)
        except Conflict:
            log.info("the index was published by a run meanwhile: trying again")
            continue
        after = lake.snapshot("index")
        return Compacted("index", before, after.rows, _bytes_of_shards(after))
    raise Conflict(f"The index is not compacted after {_ATTEMPTS} tries: try when no run is on.")


def _bytes_of_shards(snapshot: Snapshot) -> int:
    return sum(sum(batch["bytes"].to_pylist()) for batch in snapshot.scan(["bytes"]))
