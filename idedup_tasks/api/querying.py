"""What a collection already holds of an image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idedup_tasks.api.reading import (
    UsageError,
    open_collection,
    picture_of,
    read_image,
    thumbnail_of,
)
from idedup_tasks.settings import RELATIONS

if TYPE_CHECKING:
    from idedup_tasks.images import ImageFacts
    from idedup_tasks.run import Run
    from idedup_tasks.verification import Look, Picture

# What is worth showing of a look, best first.
_SHOWN = (*RELATIONS, "alike")


@dataclass(frozen=True)
class Match:
    """One image of a collection that is a copy or variant of the one asked about, or alike.

    Attributes:
        relation: `exact`, `same`, `crop`, `inside` or `edited`; or `alike`: similar, and not the
            same picture when looked at.
        method: `sha256`, or the version of the verifier that looked.
        score: 0 to 1, the confidence that one was made from the other, or both from a third.
        overlap: share of the area of the image asked about that lies on this one.
        match_overlap: share of this one's area that lies on the image asked about.
        changed: share of the informative area that both show in which they disagree.
        place: where in the image asked about most of that is, such as `top left`; None if nowhere.
        why: a sentence.
        verdict: `unique`, `keeper`, `duplicate` or `variant` within the collection.
    """

    image_id: str
    uri: str
    relation: str
    method: str
    score: float
    overlap: float
    match_overlap: float
    changed: float
    place: str | None
    why: str
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
    """What a collection already holds of an image, best first, what is only alike last.

    Candidates are images with the same bytes, those with the nearest perceptual hashes, and the
    active ones with the most similar vectors; each one is looked at, and nothing is called a copy
    that was not. A flat or near-blank image matches by bytes only, on either side. Nothing is
    written.

    Args:
        image: path or URL of an image file.
        collection: its name; the only one there is when left out.
        limit: at most so many matches.
        scan: output folder of an earlier `scan`, instead of the places of the environment.

    Raises:
        UsageError: there is no such image or collection, or the collection holds nothing yet.
        Rejected: the file is not an image that can be read.
        DamagedPack: what the collection stores of a candidate is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    run = open_collection(collection, scan)
    facts = read_image(run.collection, os.fspath(image))
    # Of more candidates than are asked for, only the nearest are looked at.
    most = max(limit, run.collection.matching.candidates)
    proposed: set[str] = set()
    if not facts.low_information:
        proposed.update(_near_hashes(run, facts, most))
        proposed.update(_near_vectors(run, facts, most))
    columns = ["image_id", "arrival", "arrived_at", "uri", "sha256", "width", "height", "bytes"]
    near = ds.field("image_id").isin(pa.array(sorted(proposed), pa.string()))
    # The index knows nothing of low information.
    found = (ds.field("sha256") == facts.sha256) | (near & ~ds.field("low_information"))
    where = (ds.field("status") == "decoded") & found
    rows = run.lake.snapshot("images").read(columns, where).to_pylist()
    return _matches(run, rows, _looks(run, picture_of(facts), rows))[:limit]


def _near_hashes(run: Run, facts: ImageFacts, most: int) -> Iterator[str]:
    """The images with the nearest hashes, within the perceptual distance."""
    import numpy as np

    from idedup_tasks.hashes import dihedral_variants, perceptual_hash

    settings, distance = run.collection.prefilter, run.thresholds.phash_distance
    thumbnail = thumbnail_of(facts)
    if settings.mirrored:
        own = dihedral_variants([thumbnail], settings.hash)[0]
    else:
        own = perceptual_hash([thumbnail], settings.hash)
    found: list[tuple[int, str]] = []
    for batch in run.lake.snapshot("fingerprints").scan(["image_id", "hash"]):
        hashes = batch["hash"].to_numpy().view(np.uint64)
        bits = np.bitwise_count(hashes[:, None] ^ own[None, :]).min(axis=1)
        near = np.flatnonzero(bits <= distance)
        found += [(int(bits[row]), batch["image_id"][int(row)].as_py()) for row in near]
        found = sorted(found)[:most]
    return (name for _, name in found)


def _near_vectors(run: Run, facts: ImageFacts, most: int) -> Iterator[str]:
    """The active images with the most similar vectors, from the candidate threshold on."""
    from idedup_tasks import shards
    from idedup_tasks.descriptors import load_descriptor

    model_id = run.model_id
    asked = run.collection
    descriptor = load_descriptor(asked.descriptor, asked.device, asked.matching.thorough)
    if descriptor.model_id != model_id:
        raise UsageError(f"The descriptor here is {descriptor.model_id}, the index is {model_id}.")
    vectors = descriptor.encode([thumbnail_of(facts)])
    names, scores = shards.search(run.lake, model_id, vectors, most)
    for name, score in zip(names[0], scores[0], strict=False):
        if round(float(score), 4) >= run.thresholds.candidate:
            yield name


def _looks(run: Run, asked: Picture, rows: list[dict[str, Any]]) -> dict[str, Look]:
    """A look at each content, by its sha256; equal bytes need no picture."""
    from idedup_tasks.explanation.stored import read_pictures
    from idedup_tasks.lake import DamagedPack
    from idedup_tasks.verification import look

    found = {asked.sha256: look(asked, asked)}
    others = {r["sha256"]: r for r in rows if r["sha256"] != asked.sha256}
    pictures = read_pictures(run.lake, list(others.values()))
    for sha256, row in others.items():
        if row["image_id"] not in pictures:
            raise DamagedPack(
                f"The thumbnail of {row['uri']} is missing or damaged: `idedup maintain check "
                "--repair` has it read again."
            )
        found[sha256] = look(asked, pictures[row["image_id"]])
    return found


def _matches(run: Run, rows: list[dict[str, Any]], looks: Mapping[str, Look]) -> list[Match]:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from idedup_tasks.verification import verifier_version

    shown = [row for row in rows if looks[row["sha256"]].relation in _SHOWN]
    wanted = ds.field("image_id").isin(pa.array([r["image_id"] for r in shown], pa.string()))
    groups = run.lake.snapshot("groups").read(["image_id", "verdict", "group_id"], wanted)
    verdicts = {row["image_id"]: row for row in groups.to_pylist()}

    def rank(row: dict[str, Any]) -> tuple[Any, ...]:
        seen = looks[row["sha256"]]
        return _SHOWN.index(seen.relation), -seen.score, row["arrived_at"], row["uri"]

    found = []
    for row in sorted(shown, key=rank):
        seen, within = looks[row["sha256"]], verdicts.get(row["image_id"], {})
        match = Match(
            image_id=row["image_id"],
            uri=row["uri"],
            relation=seen.relation,
            method="sha256" if seen.relation == "exact" else verifier_version(),
            score=seen.score,
            overlap=seen.overlap_a,
            match_overlap=seen.overlap_b,
            changed=seen.changed,
            place=seen.place or None,
            why=_why(seen),
            verdict=within.get("verdict"),
            group_id=within.get("group_id"),
            width=row["width"],
            height=row["height"],
            bytes=row["bytes"],
        )
        found.append(match)
    return found


def _why(seen: Look) -> str:
    """What an image of the collection is to the one asked about, as a sentence."""
    part = seen.overlap_b >= seen.overlap_a
    where = f", {seen.place}" if seen.place else ""
    said: dict[str, str] = {
        "exact": "the same bytes",
        "same": "the same picture",
        "crop": f"a crop: shows {100 * seen.overlap_a:.0f} % of it"
        if part
        else f"the whole: it is {100 * seen.overlap_b:.0f} % of this",
        "inside": f"a part with more detail, or cut out of it: {100 * seen.overlap_a:.0f} % of it"
        if part
        else f"a screenshot, frame or collage: it is {100 * seen.overlap_b:.0f} % of this",
        "edited": f"edited: {100 * seen.changed:.0f} % differs{where}",
        "alike": "similar, but not the same picture",
    }
    return said[seen.relation]
