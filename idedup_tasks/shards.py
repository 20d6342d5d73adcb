"""The index: immutable FAISS shards in the lake, each with the ids of its rows beside it.

A shard is a flat inner-product index; its checksum covers both files, and its name is made from
that, so that a shard is what was written, or damaged.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from idedup_tasks.errors import TerminalError
from idedup_tasks.ids import digests, fixed
from idedup_tasks.lake import Lake, Snapshot

_IDS = pa.schema([pa.field("image_id", pa.string()), pa.field("sha256", pa.string())])


class DamagedShard(TerminalError, RuntimeError):
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


def open_shards(lake: Lake, snapshot: Snapshot, model_id: str) -> Iterator[Shard]:
    """Open the shards of a published index one after the other, each checked.

    Raises:
        DamagedShard: names the shard; rerunning the index stage rebuilds it.
    """
    for row in sorted(shard_rows(snapshot, model_id), key=lambda r: r["shard_id"]):
        yield open_shard(lake, row)


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


def shard_rows(snapshot: Snapshot, model_id: str) -> list[dict[str, Any]]:
    """The rows of `index` of one model_id, a shard each."""
    files = snapshot.files(model_id=model_id)
    rows: list[dict[str, Any]] = snapshot.read(files=files).to_pylist()
    return rows


def search(
    lake: Lake, model_id: str, vectors: np.ndarray, k: int = 10
) -> tuple[list[list[str]], np.ndarray]:
    """The k most similar images of a collection, shard by shard, on the GPU where there is one.

    Args:
        vectors: (n, dim) float32, L2-normalised, of the index's model_id.

    Returns:
        For each query the image_ids, best first (fewer than k in a small collection), and (n, k)
        float32 cosine similarities, padded with -1. What is no longer active is left out.
    """
    snapshot = lake.snapshot("index")
    active = active_keys(lake.snapshot("fingerprints", snapshot.reads("fingerprints")))
    scores = np.full((len(vectors), k), -1.0, dtype=np.float32)
    names = np.full((len(vectors), k), None, dtype=object)
    for shard in open_shards(lake, snapshot, model_id):
        live = pc.is_in(vector_keys(shard.ids), active).to_numpy(zero_copy_only=False)
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


def vector_keys(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """What identifies a vector: 32 bytes of image_id and content, as a binary array.

    An image whose content changed has another key, so its old vector is left out.
    """
    images = bytes.fromhex(fixed(rows["image_id"], 32).tobytes().decode())
    keys = np.empty((rows.num_rows, 32), np.uint8)
    keys[:, :16] = np.frombuffer(images, np.uint8).reshape(-1, 16)
    keys[:, 16:] = digests(rows["sha256"])[:, :16]
    return pa.Array.from_buffers(pa.binary(32), len(keys), [None, pa.py_buffer(keys)])


def active_keys(fingerprints: Snapshot) -> pa.Array:
    """The keys of the images that are to have a vector in the index."""
    where = ds.field("status") == "active"
    parts = [vector_keys(batch) for batch in fingerprints.scan(["image_id", "sha256"], where)]
    return merged_keys(parts)


def merged_keys(parts: list[pa.Array]) -> pa.Array:
    return pa.concat_arrays([pa.array([], pa.binary(32)), *parts])


def write_shard(lake: Lake, model_id: str, rows: pa.Table) -> dict[str, Any]:
    """Write one shard of embeddings (image_id, sha256, vector) and return its row of the index."""
    rows = rows.sort_by("image_id")
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
