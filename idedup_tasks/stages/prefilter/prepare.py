"""Prefilter: copies with the same bytes, and twins that a look says are the same, collapse.

What collapsed is never embedded: on real collections that saves most of the work. The outcome is
a function of the set of images, so the whole collection is walked again each time, at about 70
bytes an image; only hashes and looks that are missing are computed, and only partitions that differ
written.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from idedup_tasks import compute
from idedup_tasks.hashes import dihedral_variants, perceptual_hash
from idedup_tasks.images import open_thumbnail
from idedup_tasks.lake import (
    FINGERPRINTS,
    Candidate,
    Lake,
    Snapshot,
    TableChange,
    reconcile_partition,
    stream_thumbnails,
)
from idedup_tasks.looking import Looks, pictures_of
from idedup_tasks.run import Run, publish_changes
from idedup_tasks.settings import Prefilter, digest
from idedup_tasks.stages.prefilter.collapse import collapse_exact, collapse_same
from idedup_tasks.stages.prefilter.counts import Counts
from idedup_tasks.verification import verifier_version

publish = publish_changes

_HASH_BATCH = 256
CHUNK = 1_000


@dataclass
class _Partition:
    """One arrival period's images in order of (arrived_at, key)."""

    arrival: str
    ids: pa.Array
    digests: np.ndarray  # (n, 32) uint8
    low_information: np.ndarray  # (n,) bool
    # (n, 1) uint64, or (n, 8): the image's own hash first, then its rotations and mirrors.
    hashes: np.ndarray


def prepare(run: Run) -> Candidate:
    """Compute every image's fingerprint and status, and the partitions that differ."""
    lake = run.lake
    target = lake.snapshot("fingerprints")
    source = lake.snapshot("images")
    settings = run.collection.prefilter
    distance = run.thresholds.phash_distance
    change = TableChange("fingerprints", target.version)
    change.metadata = {
        "settings": digest(settings, distance, verifier_version()),
        "hash": settings.hash,
        "mirrored": settings.mirrored,
        "reads": {"images": source.version},
    }
    # Hashes made under another setting are no use; the column does not say which it was.
    made_alike = all(target.metadata.get(k) == change.metadata[k] for k in ("hash", "mirrored"))
    known = target if made_alike else None

    partitions = _hashed(run, source, known, settings)
    held = {f["arrival"] for f in target.partitions()}
    partitions += [_empty(a, settings) for a in sorted(held - {p.arrival for p in partitions})]
    partitions.sort(key=lambda p: p.arrival)

    counts = Counts()
    if partitions:
        counts = _collapse(run, source, target, change, partitions)
    reads = {"images": source.version}
    return Candidate("prefilter", run.run_id, [change], reads, asdict(counts))


def _collapse(
    run: Run,
    source: Snapshot,
    target: Snapshot,
    change: TableChange,
    partitions: list[_Partition],
) -> Counts:
    # Periods follow each other and each is in order, so their concatenation is.
    ids = pa.chunked_array([p.ids for p in partitions], pa.string())
    low = np.concatenate([p.low_information for p in partitions])
    onto = collapse_exact(np.concatenate([p.digests for p in partitions]))
    exact = onto != np.arange(len(onto))
    # Flat and near-blank images resemble each other without being copies: by bytes only.
    walked = np.flatnonzero(~exact & ~low)
    hashes = np.concatenate([p.hashes for p in partitions])[walked]
    variants = hashes if hashes.shape[1] > 1 else None
    own = np.ascontiguousarray(hashes[:, 0])
    looked_at = 0

    def same(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
        """What looks say of pairs of those that are walked."""
        nonlocal looked_at
        looked_at += len(later)
        named, ends = np.unique([later, earlier], return_inverse=True)
        first, second = ends.reshape(2, -1)
        names = np.array(ids.take(pa.array(walked[named])).to_pylist(), dtype="S32")
        looks = Looks(run, pictures_of(source, names)).at(first, second)
        alike: np.ndarray = pc.equal(looks["relation"], "same").to_numpy()
        return alike

    near, apart = collapse_same(own, run.thresholds.phash_distance, same, variants)
    twin = np.zeros(len(onto), dtype=bool)
    twin[walked[near >= 0]] = True
    onto[walked[near >= 0]] = walked[near[near >= 0]]
    distances = np.zeros(len(onto), dtype=np.int32)
    distances[walked] = apart

    collapsed = exact | twin
    start = 0
    for partition in partitions:
        part = slice(start, start + len(partition.ids))
        start = part.stop
        hidden = pa.array(~collapsed[part])
        relation = np.where(exact[part], "exact", "same")
        variant_rows = (
            pa.nulls(len(partition.ids), pa.list_(pa.int64()))
            if variants is None
            else pa.FixedSizeListArray.from_arrays(
                pa.array(partition.hashes.ravel().view(np.int64)), 8
            ).cast(pa.list_(pa.int64()))
        )
        rows = pa.table(
            {
                "arrival": pa.repeat(pa.scalar(partition.arrival), len(partition.ids)),
                "image_id": partition.ids,
                "sha256": [bytes(d).hex() for d in partition.digests],
                "hash": np.ascontiguousarray(partition.hashes[:, 0]).view(np.int64),
                "variants": variant_rows,
                "low_information": partition.low_information,
                "status": np.where(collapsed[part], "collapsed", "active"),
                "onto": pc.if_else(hidden, None, ids.take(pa.array(onto[part]))),
                "relation": pc.if_else(hidden, None, pa.array(relation, pa.string())),
                "distance": pc.if_else(hidden, None, pa.array(distances[part])),
            },
            FINGERPRINTS,
        )
        reconcile_partition(run.lake, target, change, {"arrival": partition.arrival}, rows)
    return Counts(
        decoded=len(onto),
        active=int((~collapsed).sum()),
        collapsed_exact=int(exact.sum()),
        collapsed_same=int(twin.sum()),
        looked_at=looked_at,
        low_information=int(low.sum()),
        embeddings_saved=int(collapsed.sum()),
        images=len(onto),
    )


def _empty(arrival: str, settings: Prefilter) -> _Partition:
    return _Partition(
        arrival,
        pa.array([], pa.string()),
        np.empty((0, 32), np.uint8),
        np.empty(0, bool),
        np.empty((0, 8 if settings.mirrored else 1), np.uint64),
    )


def _hashed(
    run: Run, source: Snapshot, known: Snapshot | None, settings: Prefilter
) -> list[_Partition]:
    """The decoded images of each period with their hashes; those that are missing are computed."""
    partitions: list[_Partition] = []
    advance = run.counter("hashing", source.rows)

    def chunks() -> Iterator[tuple[tuple[_Partition, list[int]], _Hashing]]:
        for named in source.partitions():
            partition, missing = _partition(source, known, named["arrival"], settings)
            partitions.append(partition)
            advance(len(partition.ids) - len(missing))
            for images in source.along_packs(named["arrival"], missing, CHUNK):
                rows = [missing[i] for i in images["image_id"].to_pylist()]
                yield (partition, rows), _Hashing(run.lake, images, settings)

    for (partition, rows), hashes in compute.run_jobs(hash_chunk, chunks(), advance):
        partition.hashes[rows] = hashes
    return partitions


def _partition(
    source: Snapshot, known: Snapshot | None, arrival: str, settings: Prefilter
) -> tuple[_Partition, dict[str, int]]:
    """The decoded images of a period with the hashes that are known, and the rows that lack one."""
    files = source.files(arrival=arrival)
    decoded = ds.field("status") == "decoded"
    columns = ["image_id", "arrived_at", "key", "sha256", "low_information"]
    rows = source.read(columns, decoded, files=files)
    rows = rows.sort_by([("arrived_at", "ascending"), ("key", "ascending")])
    if not rows.num_rows:
        return _empty(arrival, settings), {}
    missing = {image: i for i, image in enumerate(rows["image_id"].to_pylist())}
    digests = rows["sha256"].to_pylist()
    hashes = np.zeros((len(missing), 8 if settings.mirrored else 1), dtype=np.uint64)
    if known is not None:
        held = known.files(arrival=arrival)
        for batch in known.scan(["image_id", "sha256", "hash", "variants"], files=held):
            for row in batch.to_pylist():
                i = missing.get(row["image_id"])
                if i is not None and digests[i] == row["sha256"]:
                    values = row["variants"] if settings.mirrored else [row["hash"]]
                    hashes[i] = np.array(values, dtype=np.int64).view(np.uint64)
                    del missing[row["image_id"]]
    partition = _Partition(
        arrival,
        rows["image_id"].combine_chunks(),
        np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32),
        rows["low_information"].to_numpy(),
        hashes,
    )
    return partition, missing


@dataclass(frozen=True)
class _Hashing:
    """Images to hash: image_id, and where their thumbnails lie."""

    lake: Lake
    images: pa.RecordBatch
    settings: Prefilter


def hash_chunk(chunk: _Hashing) -> np.ndarray:
    """(n, 1) uint64 for the n images of a chunk, or (n, 8) with rotations and mirrors."""
    settings, images = chunk.settings, chunk.images
    hashes = np.empty((images.num_rows, 8 if settings.mirrored else 1), dtype=np.uint64)
    with ThreadPoolExecutor(compute.cores_of_job()) as threads:
        done = 0
        for _, stored in stream_thumbnails(chunk.lake, images, _HASH_BATCH):
            thumbnails = list(threads.map(open_thumbnail, stored))
            if settings.mirrored:
                computed = dihedral_variants(thumbnails, settings.hash)
            else:
                computed = perceptual_hash(thumbnails, settings.hash)[:, None]
            hashes[done : done + len(thumbnails)] = computed
            done += len(thumbnails)
            compute.advance(len(thumbnails))
    return hashes
