"""Prefilter: copies with the same bytes, and perceptual twins, collapse onto the earliest.

What collapsed is never embedded: on real collections that saves most of the work. The outcome is
a function of the set of images, so the whole collection is walked again each time, at about 70
bytes an image; only hashes that are missing are computed, and only partitions that differ written.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from PIL import Image

from idedup_tasks.lake import (
    FINGERPRINTS,
    Candidate,
    Lake,
    Snapshot,
    TableChange,
    reconcile_partition,
)
from idedup_tasks.pipeline import Run, publish_changes
from idedup_tasks.prefilter.collapse import collapse_exact, collapse_perceptual
from idedup_tasks.prefilter.hashes import dihedral_variants, perceptual_hash
from idedup_tasks.settings import Prefilter, digest

publish = publish_changes

_HASH_BATCH = 256


@dataclass
class _Partition:
    """One arrival period's images in order of (arrived_at, key)."""

    arrival: str
    ids: pa.Array
    digests: np.ndarray  # (n, 32) uint8
    low_information: np.ndarray  # (n,) bool
    hashes: np.ndarray  # (n,) uint64
    variants: np.ndarray | None  # (n, 8) uint64


def prepare(run: Run) -> Candidate:
    """Compute every image's fingerprint and status, and the partitions that differ."""
    lake = run.lake
    target = lake.snapshot("fingerprints")
    source = lake.snapshot("images")
    settings = run.collection.prefilter
    distance = run.thresholds.phash_distance
    change = TableChange("fingerprints", target.version)
    change.metadata = {
        "settings": digest(settings, distance),
        "hash": settings.hash,
        "mirrored": settings.mirrored,
        "reads": {"images": source.version},
    }
    # Hashes made under another setting are no use; the column does not say which it was.
    made_alike = all(target.metadata.get(k) == change.metadata[k] for k in ("hash", "mirrored"))
    known = target if made_alike else None

    partitions = []
    for named in source.partitions():
        partitions.append(_partition(lake, source, known, named["arrival"], settings))
        run.progress("hashing", sum(len(p.ids) for p in partitions), source.rows)
    held = {f["arrival"] for f in target.partitions()}
    partitions += [_empty(a, settings) for a in sorted(held - {p.arrival for p in partitions})]
    partitions.sort(key=lambda p: p.arrival)

    counts: dict[str, Any] = dict.fromkeys(
        ("decoded", "active", "collapsed_exact", "collapsed_perceptual", "low_information"), 0
    )
    if partitions:
        _collapse(lake, target, change, partitions, distance, counts)
    counts["embeddings_saved"] = counts["collapsed_exact"] + counts["collapsed_perceptual"]
    counts["images"] = counts["decoded"]
    return Candidate("prefilter", run.run_id, [change], {"images": source.version}, counts)


def _collapse(
    lake: Lake,
    target: Snapshot,
    change: TableChange,
    partitions: list[_Partition],
    distance: int,
    counts: dict[str, Any],
) -> None:
    # Periods follow each other and each is in order, so their concatenation is.
    ids = pa.chunked_array([p.ids for p in partitions], pa.string())
    low = np.concatenate([p.low_information for p in partitions])
    onto = collapse_exact(np.concatenate([p.digests for p in partitions]))
    exact = onto != np.arange(len(onto))
    # Flat and near-blank images resemble each other without being copies: by bytes only.
    walked = np.flatnonzero(~exact & ~low)
    hashes = np.concatenate([p.hashes for p in partitions])
    with_variants = partitions[0].variants is not None
    variants = (
        np.concatenate([p.variants for p in partitions if p.variants is not None])[walked]
        if with_variants
        else None
    )
    near, apart = collapse_perceptual(hashes[walked], distance, variants)
    perceptual = np.zeros(len(onto), dtype=bool)
    perceptual[walked[near >= 0]] = True
    onto[walked[near >= 0]] = walked[near[near >= 0]]
    distances = np.zeros(len(onto), dtype=np.int32)
    distances[walked] = apart

    collapsed = exact | perceptual
    counts |= {
        "decoded": len(onto),
        "active": int((~collapsed).sum()),
        "collapsed_exact": int(exact.sum()),
        "collapsed_perceptual": int(perceptual.sum()),
        "low_information": int(low.sum()),
    }
    start = 0
    for partition in partitions:
        part = slice(start, start + len(partition.ids))
        start = part.stop
        hidden = pa.array(~collapsed[part])
        relation = np.where(exact[part], "exact", "perceptual")
        variant_rows = (
            pa.nulls(len(partition.ids), pa.list_(pa.int64()))
            if partition.variants is None
            else pa.FixedSizeListArray.from_arrays(
                pa.array(partition.variants.ravel().view(np.int64)), 8
            ).cast(pa.list_(pa.int64()))
        )
        rows = pa.table(
            {
                "arrival": pa.repeat(pa.scalar(partition.arrival), len(partition.ids)),
                "image_id": partition.ids,
                "sha256": [bytes(d).hex() for d in partition.digests],
                "hash": partition.hashes.view(np.int64),
                "variants": variant_rows,
                "low_information": partition.low_information,
                "status": np.where(collapsed[part], "collapsed", "active"),
                "onto": pc.if_else(hidden, None, ids.take(pa.array(onto[part]))),
                "relation": pc.if_else(hidden, None, pa.array(relation, pa.string())),
                "distance": pc.if_else(hidden, None, pa.array(distances[part])),
            },
            FINGERPRINTS,
        )
        reconcile_partition(lake, target, change, {"arrival": partition.arrival}, rows)


def _empty(arrival: str, settings: Prefilter) -> _Partition:
    return _Partition(
        arrival,
        pa.array([], pa.string()),
        np.empty((0, 32), np.uint8),
        np.empty(0, bool),
        np.empty(0, np.uint64),
        np.empty((0, 8), np.uint64) if settings.mirrored else None,
    )


def _partition(
    lake: Lake, source: Snapshot, known: Snapshot | None, arrival: str, settings: Prefilter
) -> _Partition:
    """The decoded images of a period with their hashes; those that are missing are computed."""
    files = source.files(arrival=arrival)
    decoded = ds.field("status") == "decoded"
    columns = ["image_id", "arrived_at", "key", "sha256", "low_information"]
    rows = source.read(columns, decoded, files=files)
    rows = rows.sort_by([("arrived_at", "ascending"), ("key", "ascending")])
    if not rows.num_rows:
        return _empty(arrival, settings)
    position = {image: i for i, image in enumerate(rows["image_id"].to_pylist())}
    digests = rows["sha256"].to_pylist()
    width = 8 if settings.mirrored else 1
    # The first column is the image's own hash, the others its rotations and mirrors.
    hashes = np.zeros((len(position), width), dtype=np.uint64)
    missing = np.ones(len(position), dtype=bool)
    if known is not None:
        held = known.files(arrival=arrival)
        for batch in known.scan(["image_id", "sha256", "hash", "variants"], files=held):
            for row in batch.to_pylist():
                i = position.get(row["image_id"])
                if i is not None and digests[i] == row["sha256"]:
                    values = row["variants"] if settings.mirrored else [row["hash"]]
                    hashes[i] = np.array(values, dtype=np.int64).view(np.uint64)
                    missing[i] = False
    if missing.any():
        wanted = rows["image_id"].filter(pa.array(missing)).combine_chunks()
        batches = source.scan(
            ["image_id", "thumbnail"],
            decoded & ds.field("image_id").isin(wanted),
            batch_rows=_HASH_BATCH,
            files=files,
        )
        for images, computed in _hash(batches, settings):
            hashes[[position[i] for i in images]] = computed
    return _Partition(
        arrival,
        rows["image_id"].combine_chunks(),
        np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32),
        rows["low_information"].to_numpy(),
        np.ascontiguousarray(hashes[:, 0]),
        hashes if settings.mirrored else None,
    )


def _hash(
    batches: Iterable[pa.RecordBatch], settings: Prefilter
) -> Iterator[tuple[list[str], np.ndarray]]:
    with ThreadPoolExecutor(cpu_count()) as threads:
        for batch in batches:
            thumbnails = list(threads.map(open_thumbnail, batch["thumbnail"].to_pylist()))
            if settings.mirrored:
                computed = dihedral_variants(thumbnails, settings.hash)
            else:
                computed = perceptual_hash(thumbnails, settings.hash)[:, None]
            yield batch["image_id"].to_pylist(), computed


def open_thumbnail(data: bytes) -> Image.Image:
    """Decode a thumbnail of the lake: RGB, as ingest made it."""
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.load()
    return image
