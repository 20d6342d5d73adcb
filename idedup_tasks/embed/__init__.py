"""Embed: a descriptor for each active image that lacks one under the collection's model_id.

Vectors are only ever added: an image that collapses later keeps its vector, and what comes after
leaves it out. Finished chunks are found again after a kill.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from os import cpu_count
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from idedup_tasks.lake import EMBEDDINGS, Candidate, DataFile, Snapshot, TableChange
from idedup_tasks.pipeline import Run, publish_changes
from idedup_tasks.prefilter import open_thumbnail

publish = publish_changes

CHUNK = 4_096
_ENCODE = 256


def prepare(run: Run) -> Candidate:
    """Encode what is missing, period by period.

    Raises:
        DescriptorError: the weights are missing or damaged.
        ModelMismatch: the collection pins another model_id.
    """
    lake = run.lake
    model_id = run.model_id
    target = lake.snapshot("embeddings")
    fingerprints = lake.snapshot("fingerprints")
    # The images that the fingerprints were made from, though more may have come since.
    images = lake.snapshot("images", fingerprints.reads("images"))
    change = TableChange("embeddings", target.version)
    change.metadata = {
        "settings": model_id,
        "reads": {"fingerprints": fingerprints.version, "images": images.version},
    }
    encode: _Encoder | None = None
    active = embedded = 0
    total = _active_count(fingerprints)
    for named in fingerprints.partitions():
        arrival = named["arrival"]
        lacking = _lacking(target, fingerprints, model_id, arrival)
        for start in range(0, len(lacking), CHUNK):
            # Loaded when first needed: most reruns find nothing missing.
            encode = encode or _Encoder(run, model_id)
            change.add.append(encode(images, arrival, lacking[start : start + CHUNK]))
            run.progress("embedding", active + start, total)
        embedded += len(lacking)
        active += _active_count(fingerprints, arrival=arrival)
    run.progress("embedding", active, total)
    counts: dict[str, Any] = {
        "active": active,
        "present": active - embedded,
        "embedded": sum(f.rows for f in change.add),
        "dim": _dimension(run),
        "model_id": model_id,
        "images": embedded,
    }
    reads = {"fingerprints": fingerprints.version, "images": images.version}
    return Candidate("embed", run.run_id, [change], reads, counts)


def _dimension(run: Run) -> int:
    from idedup_tasks.descriptors import descriptor_info

    return descriptor_info(run.collection.descriptor, run.collection.device).dim


def _active_count(fingerprints: Snapshot, **partition: str) -> int:
    files = fingerprints.files(**partition)
    active = ds.field("status") == "active"
    return sum(b.num_rows for b in fingerprints.scan(["status"], active, files=files))


def _lacking(
    target: Snapshot, fingerprints: Snapshot, model_id: str, arrival: str
) -> list[tuple[str, str]]:
    """The (image_id, sha256) of a period's active images without a vector, in order."""
    held = target.files(model_id=model_id, arrival=arrival)
    rows = fingerprints.files(arrival=arrival)
    columns = ["image_id", "sha256"]
    present = {tuple(row.values()) for row in target.read(columns, files=held).to_pylist()}
    active = fingerprints.read(columns, ds.field("status") == "active", files=rows)
    return sorted({tuple(row.values()) for row in active.to_pylist()} - present)


class _Encoder:
    """Thumbnails in, data files of vectors out; the next batch is decoded while one is encoded."""

    def __init__(self, run: Run, model_id: str) -> None:
        from idedup_tasks.descriptors import load_descriptor

        self._lake = run.lake
        self._model_id = model_id
        self._descriptor = load_descriptor(run.collection.descriptor, run.collection.device)

    def __call__(self, images: Snapshot, arrival: str, chunk: list[tuple[str, str]]) -> DataFile:
        partition = {"model_id": self._model_id, "arrival": arrival}
        listed = "\n".join(f"{image} {sha256}" for image, sha256 in chunk)
        name = f"chunk-{hashlib.sha256(listed.encode()).hexdigest()[:32]}.parquet"
        found = self._lake.written("embeddings", partition, name)
        if found is not None and found.rows == len(chunk):
            return found
        # A damaged file is left alone, for another run may have published it.
        return self._lake.write_rows(
            "embeddings",
            partition,
            self._rows(images, arrival, dict(chunk)),
            name if found is None else None,
        )

    def _rows(
        self, images: Snapshot, arrival: str, sha256_of: dict[str, str]
    ) -> Iterator[pa.RecordBatch]:
        files = images.files(arrival=arrival)
        where = ds.field("image_id").isin(pa.array(list(sha256_of)))
        batches = images.scan(["image_id", "thumbnail"], where, batch_rows=_ENCODE, files=files)
        with ThreadPoolExecutor(cpu_count()) as threads:

            def decode(batch: pa.RecordBatch) -> list[Any]:
                return [threads.submit(open_thumbnail, t) for t in batch["thumbnail"].to_pylist()]

            # One batch ahead: it decodes in threads while the network works on the one before.
            ahead: deque[tuple[pa.RecordBatch, list[Any]]] = deque()
            for following in chain(batches, [None]):
                if following is not None:
                    ahead.append((following, decode(following)))
                    if len(ahead) < 2:
                        continue
                if not ahead:
                    break
                batch, futures = ahead.popleft()
                vectors = self._descriptor.encode([f.result() for f in futures])
                ids = batch["image_id"].to_pylist()
                dim = vectors.shape[1]
                column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.array([self._model_id] * len(ids)),
                        pa.array([arrival] * len(ids)),
                        pa.array(ids),
                        pa.array([sha256_of[i] for i in ids]),
                        column.cast(pa.list_(pa.float32())),
                    ],
                    schema=EMBEDDINGS,
                )
