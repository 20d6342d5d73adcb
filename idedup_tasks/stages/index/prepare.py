"""Index: immutable FAISS shards that hold the vector of every active image.

Shards are never changed: new vectors make new shards, small ones are folded into the next one, and
one that is missing or damaged is left out and made anew from the lake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from idedup_tasks import compute
from idedup_tasks.lake import (
    INDEX,
    TABLES,
    Candidate,
    DataFile,
    Lake,
    Snapshot,
    TableChange,
    reconcile_partition,
)
from idedup_tasks.run import Run, publish_changes
from idedup_tasks.shards import (
    DamagedShard,
    active_keys,
    ids_path,
    merged_keys,
    open_shard,
    shard_rows,
    vector_keys,
    write_shard,
)
from idedup_tasks.stages.index.counts import Counts

publish = publish_changes

SHARD = 100_000
_SAMPLE = 200


def prepare(run: Run) -> Candidate:
    """Check the shards there are, and make new ones of the vectors that no shard holds."""
    lake = run.lake
    model_id = run.model_id
    target = lake.snapshot("index")
    embeddings = lake.snapshot("embeddings")
    fingerprints = lake.snapshot("fingerprints", embeddings.reads("fingerprints"))
    active = active_keys(fingerprints)

    sound, damaged = _check_shards(lake, target, model_id)
    held = _held_keys(lake, sound, active)
    lacking = active.filter(pc.invert(pc.is_in(active, merged_keys(list(held.values())))))
    if len(lacking):
        # Every run would leave a small shard behind; the next shard takes them in.
        small = [row for row in sound if len(held[row["shard_id"]]) < SHARD // 2]
        sound = [row for row in sound if row not in small]
        lacking = merged_keys([lacking, *(held.pop(row["shard_id"]) for row in small)])
    rows = sound + _build(run, embeddings, model_id, lacking, len(active))

    change = TableChange("index", target.version)
    change.metadata = {
        "settings": model_id,
        "reads": {"embeddings": embeddings.version, "fingerprints": fingerprints.version},
    }
    table = pa.Table.from_pylist(rows, INDEX)
    reconcile_partition(lake, target, change, {"model_id": model_id}, table)
    indexed = sum(len(keys) for keys in held.values()) + sum(
        row["vectors"] for row in rows if row["shard_id"] not in held
    )
    sampled, found = _self_recall(run, lake, rows)
    counts = Counts(
        active=len(active),
        indexed=indexed,
        added=len(lacking),
        shards=len(rows),
        rebuilt=damaged,
        stale=sum(row["vectors"] for row in rows) - indexed,
        sampled=sampled,
        found_themselves=found,
        images=len(lacking),
    )
    warnings = []
    if damaged:
        warnings.append(f"{damaged} damaged or missing shards were rebuilt from the lake.")
    reads = {"embeddings": embeddings.version, "fingerprints": fingerprints.version}
    return Candidate("index", run.run_id, [change], reads, asdict(counts), warnings)


def repack(run: Run) -> TableChange | None:
    """The same vectors in fewer shards: what compaction publishes. None: nothing would be gained.

    Shards less than half full become one, and one of whose vectors a fifth are no longer active is
    made anew. Nothing that searches the index finds anything else than before.

    Raises:
        DamagedShard: names the shard; rerunning the index stage rebuilds it.
    """
    lake, model_id = run.lake, run.model_id
    target = lake.snapshot("index")
    rows = shard_rows(target, model_id)
    if not rows:
        return None
    for row in rows:
        open_shard(lake, row)
    # The versions that the index is up to date with, and no newer ones: it must stay what it is.
    embeddings = lake.snapshot("embeddings", target.reads("embeddings"))
    fingerprints = lake.snapshot("fingerprints", target.reads("fingerprints"))
    active = active_keys(fingerprints)
    held = _held_keys(lake, rows, active)

    def live(row: dict[str, Any]) -> int:
        return len(held[row["shard_id"]])

    stale = [row for row in rows if live(row) < 0.8 * row["vectors"]]
    small = [row for row in rows if live(row) < SHARD // 2 and row not in stale]
    loose = stale + small if len(small) > 1 or stale else []
    if not loose:
        return None
    keys = merged_keys([held[row["shard_id"]] for row in loose])
    kept = [row for row in rows if row not in loose]
    change = TableChange("index", target.version, metadata=target.metadata, data_change=False)
    table = pa.Table.from_pylist(kept + _build(run, embeddings, model_id, keys, len(keys)), INDEX)
    reconcile_partition(lake, target, change, {"model_id": model_id}, table)
    return None if change.empty else change


def _check_shards(lake: Lake, target: Snapshot, model_id: str) -> tuple[list[dict[str, Any]], int]:
    """The rows of the shards that are whole, and the number of those that are not."""
    rows = shard_rows(target, model_id)
    checked = list(compute.run_jobs(is_whole, ((row, (lake, row)) for row in rows)))
    sound = [row for row, whole in checked if whole]
    return sound, len(rows) - len(sound)


def is_whole(shard: tuple[Lake, dict[str, Any]]) -> bool:
    """Whether a shard, by its row, is what was written."""
    try:
        open_shard(*shard)
    except DamagedShard:
        return False
    return True


def _held_keys(lake: Lake, rows: list[dict[str, Any]], active: pa.Array) -> dict[str, pa.Array]:
    """By shard, the keys of its vectors that are still active; none is counted twice."""
    held: dict[str, pa.Array] = {}
    for row in rows:
        with lake.open(ids_path(row["path"])) as stream:
            keys = vector_keys(pq.read_table(stream))
        keys = keys.filter(pc.is_in(keys, active))
        held[row["shard_id"]] = keys.filter(
            pc.invert(pc.is_in(keys, merged_keys(list(held.values()))))
        )
    return held


def _build(
    run: Run, embeddings: Snapshot, model_id: str, lacking: pa.Array, active: int
) -> list[dict[str, Any]]:
    """Write shards of the vectors that are lacking, as many as a shard takes at a time."""
    if not len(lacking):
        return []
    advance = run.counter("indexing", len(lacking))
    parts = _parts(embeddings, model_id, lacking)
    jobs = ((None, _Vectors(run.lake, model_id, shard)) for shard in parts)
    return [row for _, row in compute.run_jobs(build_shard, jobs, advance)]


# A data file of `embeddings`, and which of its rows are taken: a bit each, from the first on.
_Part = tuple[DataFile, np.ndarray]


def _parts(embeddings: Snapshot, model_id: str, lacking: pa.Array) -> Iterator[list[_Part]]:
    """Where the vectors that are lacking lie, as many at a time as a shard takes."""
    parts: list[_Part] = []
    count = 0
    done: pa.Array = merged_keys([])
    for file in embeddings.files(model_id=model_id):
        rows = np.zeros(file.rows, dtype=bool)
        start = 0
        for batch in embeddings.scan(["image_id", "sha256"], files=[file]):
            keys = vector_keys(batch)
            # An image that moved to another period has its vector twice; the first will do.
            wanted = pc.and_(pc.is_in(keys, lacking), pc.invert(pc.is_in(keys, done)))
            done = merged_keys([done, keys.filter(wanted)])
            rows[start : start + len(keys)] = wanted.to_numpy(zero_copy_only=False)
            start += len(keys)
            count += pc.sum(wanted).as_py()
            if count >= SHARD:
                yield [*parts, (file, np.packbits(rows))]
                parts, count = [], 0
                rows[:] = False
        if rows.any():
            parts.append((file, np.packbits(rows)))
    if parts:
        yield parts


@dataclass(frozen=True)
class _Vectors:
    """The vectors of one shard, by where they lie."""

    lake: Lake
    model_id: str
    parts: list[_Part]


def build_shard(vectors: _Vectors) -> dict[str, Any]:
    """Write one shard of vectors, by where they lie, and return its row of the index."""
    taken: list[pa.RecordBatch] = []
    for file, bits in vectors.parts:
        wanted = np.unpackbits(bits, count=file.rows).astype(bool)
        start = 0
        columns = ["image_id", "sha256", "vector"]
        for batch in vectors.lake.scan_files(TABLES["embeddings"], [file], columns):
            stop = start + batch.num_rows
            taken.append(batch.filter(pa.array(wanted[start:stop])))
            start = stop
    compute.advance(sum(batch.num_rows for batch in taken))
    return write_shard(vectors.lake, vectors.model_id, pa.Table.from_batches(taken))


def _self_recall(run: Run, lake: Lake, rows: list[dict[str, Any]]) -> tuple[int, int]:
    """How many of a sample of stored vectors find themselves, searched as a query would be."""
    each = max(1, _SAMPLE // max(1, len(rows)))
    jobs = ((None, (lake, row, each)) for row in rows)
    counted = [both for _, both in compute.run_jobs(find_themselves, jobs)]
    return sum(sampled for sampled, _ in counted), sum(found for _, found in counted)


def find_themselves(shard: tuple[Lake, dict[str, Any], int]) -> tuple[int, int]:
    """How many vectors of a shard were sampled, and how many of them found themselves."""
    lake, row, most = shard
    opened = open_shard(lake, row)
    chosen = np.linspace(0, len(opened.ids) - 1, min(len(opened.ids), most)).astype(np.int64)
    asked = np.ascontiguousarray(opened.vectors[chosen])
    scores, nearest = opened.flat.search(asked, 1)
    # Of identical vectors any one may come first: it is as near as the vector itself.
    own = np.einsum("ij,ij->i", asked, asked)
    found = (nearest[:, 0] == chosen) | (scores[:, 0] - own < 1e-6)
    return len(chosen), int(found.sum())
