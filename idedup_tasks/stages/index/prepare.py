"""Index: immutable FAISS shards that hold the vector of every active image.

A shard is a flat inner-product index and, beside it, the ids of its rows; its checksum covers
both. Shards are never changed: new vectors make new shards, small ones are folded into the next
one, and one that is missing or damaged is left out and made anew from the lake.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
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
from idedup_tasks.stages.index.counts import Counts

publish = publish_changes

SHARD = 100_000
_SAMPLE = 200
_IDS = pa.schema([pa.field("image_id", pa.string()), pa.field("sha256", pa.string())])


class DamagedShard(RuntimeError):
    """A shard is missing, or its bytes are not those that were written."""


@dataclass
class Shard:
    """An open shard: row i of `vectors` (float32, L2-normalised) belongs to row i of `ids`."""

    ids: pa.Table  # image_id, sha256; in order of image_id
    flat: Any  # faiss.IndexFlatIP

    @property
    def vectors(self) -> np.ndarray:
        """(n, dim) float32, a view of the index's own memory."""
        stored = faiss.rev_swig_ptr(self.flat.get_xb(), self.flat.ntotal * self.flat.d)
        return stored.reshape(self.flat.ntotal, self.flat.d)


def prepare(run: Run) -> Candidate:
    """Check the shards there are, and make new ones of the vectors that no shard holds."""
    lake = run.lake
    model_id = run.model_id
    target = lake.snapshot("index")
    embeddings = lake.snapshot("embeddings")
    fingerprints = lake.snapshot("fingerprints", embeddings.reads("fingerprints"))
    active = _active_keys(fingerprints)

    sound, damaged = _check_shards(lake, target, model_id)
    held = _held_keys(lake, sound, active)
    lacking = active.filter(pc.invert(pc.is_in(active, _merged(list(held.values())))))
    if len(lacking):
        # Every run would leave a small shard behind; the next shard takes them in.
        small = [row for row in sound if len(held[row["shard_id"]]) < SHARD // 2]
        sound = [row for row in sound if row not in small]
        lacking = _merged([lacking, *(held.pop(row["shard_id"]) for row in small)])
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
    rows = _rows(target, model_id)
    if not rows:
        return None
    for row in rows:
        open_shard(lake, row)
    # The versions that the index is up to date with, and no newer ones: it must stay what it is.
    embeddings = lake.snapshot("embeddings", target.reads("embeddings"))
    fingerprints = lake.snapshot("fingerprints", target.reads("fingerprints"))
    active = _active_keys(fingerprints)
    held = _held_keys(lake, rows, active)

    def live(row: dict[str, Any]) -> int:
        return len(held[row["shard_id"]])

    stale = [row for row in rows if live(row) < 0.8 * row["vectors"]]
    small = [row for row in rows if live(row) < SHARD // 2 and row not in stale]
    loose = stale + small if len(small) > 1 or stale else []
    if not loose:
        return None
    keys = _merged([held[row["shard_id"]] for row in loose])
    kept = [row for row in rows if row not in loose]
    change = TableChange("index", target.version, metadata=target.metadata, data_change=False)
    table = pa.Table.from_pylist(kept + _build(run, embeddings, model_id, keys, len(keys)), INDEX)
    reconcile_partition(lake, target, change, {"model_id": model_id}, table)
    return None if change.empty else change


def shards(lake: Lake, snapshot: Snapshot, model_id: str) -> Iterator[Shard]:
    """Open the shards of a published index one after the other, each checked.

    Raises:
        DamagedShard: names the shard; rerunning the index stage rebuilds it.
    """
    for row in sorted(_rows(snapshot, model_id), key=lambda r: r["shard_id"]):
        yield open_shard(lake, row)


def search(run: Run, vectors: np.ndarray, k: int = 10) -> tuple[list[list[str]], np.ndarray]:
    """The k most similar images of a collection, shard by shard, on the GPU where there is one.

    Args:
        vectors: (n, dim) float32, L2-normalised, of the collection's model_id.

    Returns:
        For each query the image_ids, best first (fewer than k in a small collection), and (n, k)
        float32 cosine similarities, padded with -1. What is no longer active is left out.
    """
    lake, snapshot = run.lake, run.lake.snapshot("index")
    active = _active_keys(lake.snapshot("fingerprints", snapshot.reads("fingerprints")))
    scores = np.full((len(vectors), k), -1.0, dtype=np.float32)
    names = np.full((len(vectors), k), None, dtype=object)
    for shard in shards(lake, snapshot, run.model_id):
        live = pc.is_in(_keys(shard.ids), active).to_numpy(zero_copy_only=False)
        ids = shard.ids["image_id"].to_numpy(zero_copy_only=False)
        flat = shard.flat
        if not live.all():
            ids = ids[live]
            flat = faiss.IndexFlatIP(shard.flat.d)
            flat.add(np.ascontiguousarray(shard.vectors[live]))
        if not flat.ntotal:
            continue
        if faiss.get_num_gpus():
            flat = faiss.index_cpu_to_all_gpus(flat)
        found, rows = flat.search(np.ascontiguousarray(vectors, dtype=np.float32), k)
        found[rows < 0] = -1.0
        both = np.concatenate([scores, found], axis=1)
        both_names = np.concatenate([names, np.where(rows >= 0, ids[rows], None)], axis=1)
        best = np.argsort(-both, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(both, best, axis=1)
        names = np.take_along_axis(both_names, best, axis=1)
    return [[name for name in row if name is not None] for row in names], scores


def open_shard(lake: Lake, row: dict[str, Any]) -> Shard:
    """Read one shard whole and check it against its checksum before FAISS parses it."""
    try:
        with lake.open(row["path"]) as stream:
            index = stream.read()
        with lake.open(ids_path(row["path"])) as stream:
            ids = stream.read()
    except FileNotFoundError as error:
        raise DamagedShard(f"shard {row['path']} is missing: rerun the index stage.") from error
    if hashlib.sha256(index + ids).hexdigest() != row["checksum"]:
        raise DamagedShard(f"shard {row['path']} is damaged: rerun the index stage.")
    flat = faiss.deserialize_index(np.frombuffer(index, dtype=np.uint8))
    return Shard(pq.read_table(io.BytesIO(ids)), flat)


def ids_path(path: str) -> str:
    """Path of the ids of a shard's rows, beside the shard; `bytes` and `checksum` cover both."""
    return path.removesuffix(".faiss") + ".ids.parquet"


def _rows(snapshot: Snapshot, model_id: str) -> list[dict[str, Any]]:
    files = snapshot.files(model_id=model_id)
    return snapshot.read(files=files).to_pylist()


def _keys(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """What identifies a vector: 32 bytes of image_id and content, as a binary array.

    An image whose content changed has another key, so its old vector is left out.
    """
    images, contents = rows["image_id"].to_pylist(), rows["sha256"].to_pylist()
    joined = (
        bytes.fromhex(i) + bytes.fromhex(c)[:16] for i, c in zip(images, contents, strict=True)
    )
    return pa.array(joined, pa.binary(32))


def _active_keys(fingerprints: Snapshot) -> pa.Array:
    where = ds.field("status") == "active"
    parts = [_keys(batch) for batch in fingerprints.scan(["image_id", "sha256"], where)]
    return _merged(parts)


def _merged(parts: list[pa.Array]) -> pa.Array:
    return pa.concat_arrays([pa.array([], pa.binary(32)), *parts])


def _check_shards(lake: Lake, target: Snapshot, model_id: str) -> tuple[list[dict[str, Any]], int]:
    """The rows of the shards that are whole, and the number of those that are not."""
    rows = _rows(target, model_id)
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
            keys = _keys(pq.read_table(stream))
        keys = keys.filter(pc.is_in(keys, active))
        held[row["shard_id"]] = keys.filter(pc.invert(pc.is_in(keys, _merged(list(held.values())))))
    return held


def _build(
    run: Run, embeddings: Snapshot, model_id: str, lacking: pa.Array, active: int
) -> list[dict[str, Any]]:
    """Write shards of the vectors that are lacking, as many as a shard takes at a time."""
    if not len(lacking):
        return []
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        run.progress("indexing", done, len(lacking))

    parts = _parts(embeddings, model_id, lacking)
    jobs = ((None, _Vectors(run.lake, model_id, shard)) for shard in parts)
    return [row for _, row in compute.run_jobs(write_shard, jobs, advance)]


# A data file of `embeddings`, and which of its rows are taken: a bit each, from the first on.
_Part = tuple[DataFile, np.ndarray]


def _parts(embeddings: Snapshot, model_id: str, lacking: pa.Array) -> Iterator[list[_Part]]:
    """Where the vectors that are lacking lie, as many at a time as a shard takes."""
    parts: list[_Part] = []
    count = 0
    done: pa.Array = _merged([])
    for file in embeddings.files(model_id=model_id):
        rows = np.zeros(file.rows, dtype=bool)
        start = 0
        for batch in embeddings.scan(["image_id", "sha256"], files=[file]):
            keys = _keys(batch)
            # An image that moved to another period has its vector twice; the first will do.
            wanted = pc.and_(pc.is_in(keys, lacking), pc.invert(pc.is_in(keys, done)))
            done = _merged([done, keys.filter(wanted)])
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


def write_shard(vectors: _Vectors) -> dict[str, Any]:
    """Write one shard and return its row of the index."""
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
    return _write_shard(vectors.lake, vectors.model_id, taken)


def _write_shard(lake: Lake, model_id: str, batches: list[pa.RecordBatch]) -> dict[str, Any]:
    rows = pa.Table.from_batches(batches).sort_by("image_id")
    vectors = rows["vector"].combine_chunks()
    matrix = vectors.values.to_numpy().reshape(len(vectors), -1)
    flat = faiss.IndexFlatIP(matrix.shape[1])
    flat.add(np.ascontiguousarray(matrix))
    index = faiss.serialize_index(flat).tobytes()
    stream = io.BytesIO()
    pq.write_table(rows.select(_IDS.names).cast(_IDS), stream, compression="zstd")
    ids = stream.getvalue()
    checksum = hashlib.sha256(index + ids).hexdigest()
    path = f"shards/{model_id}/{checksum[:32]}.faiss"
    # Named after its content: what is there is the same, or damaged.
    for name, content in ((ids_path(path), ids), (path, index)):
        with lake.create(name) as target:
            target.write(content)
    return {
        "model_id": model_id,
        "shard_id": checksum[:32],
        "path": path,
        "bytes": len(index) + len(ids),
        "checksum": checksum,
        "vectors": len(matrix),
    }


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
