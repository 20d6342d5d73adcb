"""Embed: a descriptor for each active image that lacks one under the collection's model_id.

Vectors are only ever added: an image that collapses later keeps its vector, and what comes after
leaves it out. Finished chunks are found again after a kill.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from idedup_tasks import compute
from idedup_tasks.descriptors.card import resolve_device
from idedup_tasks.images import open_thumbnail
from idedup_tasks.lake import (
    EMBEDDINGS,
    Candidate,
    DataFile,
    Lake,
    Snapshot,
    TableChange,
    stream_thumbnails,
)
from idedup_tasks.run import ModelMismatch, Run, publish_changes
from idedup_tasks.stages.embed.counts import Counts

if TYPE_CHECKING:
    from idedup_tasks.descriptors import Descriptor

publish = publish_changes

CHUNK = 1_000
_ENCODE = 128


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
    active = _active_count(fingerprints)
    embedded = 0
    advance = run.counter("embedding", active)
    # What "auto" is, is decided here: workers must not come to differ.
    device = resolve_device(run.collection.device)

    def chunks() -> Iterator[tuple[None, _Encoding]]:
        nonlocal embedded
        thorough = run.collection.matching.thorough
        encoder = _Encoder(run.collection.descriptor, device, thorough, model_id)
        for named in fingerprints.partitions():
            arrival = named["arrival"]
            lacking = _lacking(target, fingerprints, model_id, arrival)
            embedded += len(lacking)
            advance(_active_count(fingerprints, arrival=arrival) - len(lacking))
            for places in images.along_packs(arrival, lacking, CHUNK):
                sha256_of = {i: lacking[i] for i in places["image_id"].to_pylist()}
                yield None, _Encoding(lake, encoder, arrival, places, sha256_of)

    for _, file in compute.run_jobs(encode_chunk, chunks(), advance, gpu=device == "cuda"):
        change.add.append(file)
    counts = Counts(
        active=active,
        present=active - embedded,
        embedded=sum(f.rows for f in change.add),
        dim=_dimension(run),
        model_id=model_id,
        images=embedded,
    )
    reads = {"fingerprints": fingerprints.version, "images": images.version}
    return Candidate("embed", run.run_id, [change], reads, asdict(counts))


def _dimension(run: Run) -> int:
    from idedup_tasks.descriptors import descriptor_info

    return descriptor_info(run.collection.descriptor, run.collection.device).dim


def _active_count(fingerprints: Snapshot, **partition: str) -> int:
    files = fingerprints.files(**partition)
    active = ds.field("status") == "active"
    return sum(b.num_rows for b in fingerprints.scan(["status"], active, files=files))


def _lacking(
    target: Snapshot, fingerprints: Snapshot, model_id: str, arrival: str
) -> dict[str, str]:
    """The sha256, by image_id, of a period's active images without a vector."""
    held = target.files(model_id=model_id, arrival=arrival)
    rows = fingerprints.files(arrival=arrival)
    columns = ["image_id", "sha256"]
    present = {tuple(row.values()) for row in target.read(columns, files=held).to_pylist()}
    active = fingerprints.read(columns, ds.field("status") == "active", files=rows)
    return dict({tuple(row.values()) for row in active.to_pylist()} - present)


@dataclass(frozen=True)
class _Encoder:
    """A descriptor, on a device, by name: loaded where it works."""

    descriptor: str
    device: str
    thorough: bool
    model_id: str

    def load(self) -> Descriptor:
        """Load it, once for all chunks of a process.

        Raises:
            ModelMismatch: another version is installed here than where the run was planned.
        """
        from idedup_tasks import descriptors

        asked = self.descriptor, self.device, self.thorough
        installed = descriptors.descriptor_info(*asked).model_id
        if installed != self.model_id:
            raise ModelMismatch(
                f"The descriptor {self.descriptor} is {installed} on a Dask worker and "
                f"{self.model_id} in the task: install the same release and weights on all."
            )
        return compute.once(descriptors.load_descriptor, *asked)


@dataclass(frozen=True)
class _Encoding:
    """Images that become one data file of vectors: image_id, and where their thumbnails lie."""

    lake: Lake
    encoder: _Encoder
    arrival: str
    images: pa.RecordBatch
    sha256_of: dict[str, str]


def encode_chunk(chunk: _Encoding) -> DataFile:
    """Encode what a chunk names, unless an earlier try has."""
    partition = {"model_id": chunk.encoder.model_id, "arrival": chunk.arrival}
    listed = "\n".join(f"{image} {sha256}" for image, sha256 in sorted(chunk.sha256_of.items()))
    name = f"chunk-{hashlib.sha256(listed.encode()).hexdigest()[:32]}.parquet"
    found = chunk.lake.written("embeddings", partition, name)
    if found is not None and found.rows == len(chunk.sha256_of):
        compute.advance(found.rows)
        return found
    # A damaged file is left alone, for another run may have published it.
    return chunk.lake.write_rows(
        "embeddings", partition, _vectors(chunk), name if found is None else None
    )


def _vectors(chunk: _Encoding) -> Iterator[pa.RecordBatch]:
    """The next batch is decoded while one is encoded."""
    descriptor = chunk.encoder.load()
    parts = stream_thumbnails(chunk.lake, chunk.images, _ENCODE)
    with ThreadPoolExecutor(compute.cores_of_job()) as threads:
        batches = (
            (part, [threads.submit(open_thumbnail, t) for t in stored]) for part, stored in parts
        )
        # One batch ahead: it decodes in threads while the network works on the one before.
        ahead: deque[tuple[pa.RecordBatch, list[Any]]] = deque()
        for following in chain(batches, [None]):
            if following is not None:
                ahead.append(following)
                if len(ahead) < 2:
                    continue
            if not ahead:
                break
            batch, futures = ahead.popleft()
            vectors, regions = descriptor.encode_with_regions([f.result() for f in futures])
            ids = batch["image_id"].to_pylist()
            dim = vectors.shape[1]
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array([chunk.encoder.model_id] * len(ids)),
                    pa.array([chunk.arrival] * len(ids)),
                    pa.array(ids),
                    pa.array([chunk.sha256_of[i] for i in ids]),
                    column.cast(pa.list_(pa.float32())),
                    pa.array([parts.tobytes() for parts in regions], pa.binary()),
                ],
                schema=EMBEDDINGS,
            )
            compute.advance(len(ids))
