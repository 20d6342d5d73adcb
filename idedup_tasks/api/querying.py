"""What a collection already holds of an image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idedup_tasks.api.reading import UsageError, open_collection, read_image, thumbnail_of
from idedup_tasks.settings import RELATIONS

if TYPE_CHECKING:
    from idedup_tasks.images import ImageFacts
    from idedup_tasks.lake import Snapshot
    from idedup_tasks.run import Run


@dataclass(frozen=True)
class Match:
    """One image of a collection that is a copy, a twin or a near duplicate of the one asked about.

    Attributes:
        relation: `exact`, `perceptual` or `near`.
        score: 1 for equal bytes; 1 - d/64 for hashes d bits apart; else the cosine similarity.
        threshold: the score from which it counts as one.
        verdict: `unique`, `keeper` or `duplicate` within the collection.
    """

    image_id: str
    uri: str
    relation: str
    method: str
    score: float
    threshold: float
    verdict: str | None
    group_id: str | None
    width: int
    height: int
    bytes: int


def query(
    image: str | os.PathLike[str],
    collection: str | None = None,
    *,
    limit: int = 10,
    scan: str | os.PathLike[str] | None = None,
) -> list[Match]:
    """What a collection already holds of an image, best first; nothing is written.

    Copies by bytes and perceptual twins are looked for among all images, near duplicates among the
    active ones: what collapsed onto one of them stands behind it.

    Args:
        image: path or URL of an image file.
        collection: its name; the only one there is when left out.
        limit: at most so many matches.
        scan: output folder of an earlier `scan`, instead of the places of the environment.

    Raises:
        UsageError: there is no such image or collection, or the collection holds nothing yet.
        Rejected: the file is not an image that can be read.
    """
    run = open_collection(collection, scan)
    facts = read_image(run.collection, os.fspath(image))
    found: dict[str, tuple[str, str, float, float]] = {}
    for name in _same_bytes(run.lake.snapshot("images"), facts.sha256):
        found[name] = ("exact", "sha256", 1.0, 1.0)
    if not facts.low_information:
        # As in the workflow: flat and near-blank images match by their bytes only.
        kind, threshold = run.collection.prefilter.hash, 1 - run.thresholds.phash_distance / 64
        for name, score in _perceptual_twins(run, facts):
            found.setdefault(name, ("perceptual", kind, score, threshold))
        for name, score in _near_duplicates(run, facts, limit):
            found.setdefault(name, ("near", run.model_id, score, run.thresholds.pair))
    return _matches(run, found)[:limit]


def _same_bytes(images: Snapshot, sha256: str) -> list[str]:
    import pyarrow.dataset as ds

    found = images.read(["image_id"], ds.field("sha256") == sha256)
    ids: list[str] = found["image_id"].to_pylist()
    return ids


def _perceptual_twins(run: Run, facts: ImageFacts) -> Iterator[tuple[str, float]]:
    """Images within the perceptual distance, with their scores."""
    import numpy as np

    from idedup_tasks.hashes import dihedral_variants, perceptual_hash

    settings, distance = run.collection.prefilter, run.thresholds.phash_distance
    thumbnail = thumbnail_of(facts)
    if settings.mirrored:
        own = dihedral_variants([thumbnail], settings.hash)[0]
    else:
        own = perceptual_hash([thumbnail], settings.hash)
    for batch in run.lake.snapshot("fingerprints").scan(["image_id", "hash", "low_information"]):
        hashes = batch["hash"].to_numpy().view(np.uint64)
        bits = np.bitwise_count(hashes[:, None] ^ own[None, :]).min(axis=1)
        near = (bits <= distance) & ~batch["low_information"].to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(near):
            yield batch["image_id"][int(row)].as_py(), 1 - int(bits[row]) / 64


def _near_duplicates(run: Run, facts: ImageFacts, limit: int) -> Iterator[tuple[str, float]]:
    """The most similar active images from the pair threshold on, with their cosines."""
    from idedup_tasks import shards
    from idedup_tasks.descriptors import load_descriptor

    model_id = run.model_id
    descriptor = load_descriptor(run.collection.descriptor, run.collection.device)
    if descriptor.model_id != model_id:
        raise UsageError(f"The descriptor here is {descriptor.model_id}, the index is {model_id}.")
    vectors = descriptor.encode([thumbnail_of(facts)])
    names, scores = shards.search(run.lake, model_id, vectors, limit)
    for name, score in zip(names[0], scores[0], strict=False):
        if round(float(score), 4) >= run.thresholds.pair:
            yield name, round(float(score), 4)


def _matches(run: Run, found: dict[str, tuple[str, str, float, float]]) -> list[Match]:
    import pyarrow as pa
    import pyarrow.dataset as ds

    wanted = ds.field("image_id").isin(pa.array(list(found), pa.string()))
    groups = run.lake.snapshot("groups").read(["image_id", "verdict", "group_id"], wanted)
    verdicts = {row["image_id"]: row for row in groups.to_pylist()}
    columns = ["image_id", "uri", "width", "height", "bytes", "arrived_at"]
    rows = run.lake.snapshot("images").read(columns, wanted).to_pylist()
    rows.sort(
        key=lambda row: (
            RELATIONS.index(found[row["image_id"]][0]),
            -found[row["image_id"]][2],
            row["arrived_at"],
            row["uri"],
        )
    )
    return [
        Match(
            row["image_id"],
            row["uri"],
            *found[row["image_id"]],
            verdicts.get(row["image_id"], {}).get("verdict"),
            verdicts.get(row["image_id"], {}).get("group_id"),
            row["width"],
            row["height"],
            row["bytes"],
        )
        for row in rows
    ]
