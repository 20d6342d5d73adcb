"""What one image is to another, and what a collection made of the two."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idedup_tasks.api.reading import UsageError, open_collection, picture_of, read_image
from idedup_tasks.settings import RELATIONS, Collection, Thresholds

if TYPE_CHECKING:
    from idedup_tasks.explanation import Explanation
    from idedup_tasks.images import ImageFacts
    from idedup_tasks.run import Run
    from idedup_tasks.verification import Picture

_IMAGE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class _Compared:
    """One of the two images to explain; image_id only where it was named by it."""

    name: str
    picture: Picture
    low_information: bool
    image_id: str | None = None


def explain(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    collection: str | None = None,
    *,
    scan: str | os.PathLike[str] | None = None,
) -> Explanation:
    """Look at two images as the workflow does, and say what one is to the other.

    Nothing is written.

    Args:
        a, b: path or URL of an image file, or the image_id of an image of the collection.
        collection: its name; its descriptor, thresholds and hash are used. Left out, and with two
            files, those of the shipped descriptor.
        scan: output folder of an earlier `scan`, instead of the places of the environment.

    Raises:
        UsageError: no such file, collection or image_id, or an image_id of a rejected file.
        Rejected: a file is not an image that can be read.
        DescriptorError: the descriptor's network cannot be looked into.
    """
    given = [os.fspath(image) for image in (a, b)]
    asked = collection is not None or scan is not None or any(map(_is_image_id, given))
    run = open_collection(collection, scan) if asked else None
    plain = {"name": "files", "source": "/"}
    settings = Collection.model_validate(plain) if run is None else run.collection
    # Files first, and what takes seconds to import only when there are two to compare.
    files = {name: read_image(settings, name) for name in given if not _is_image_id(name)}

    import numpy as np
    from PIL import Image

    from idedup_tasks import explanation, verification
    from idedup_tasks.descriptors import load_card, load_descriptor
    from idedup_tasks.explanation.places import PlaceNetwork
    from idedup_tasks.hashes import dihedral_variants, perceptual_hash

    thresholds = _thresholds(settings)
    first, second = (
        _file(name, files[name]) if run is None or name in files else _named_image(run, name)
        for name in given
    )
    descriptor = load_descriptor(settings.descriptor, settings.device, settings.matching.thorough)
    if run is not None and descriptor.model_id != run.model_id:
        raise UsageError(f"The descriptor here is {descriptor.model_id}, not {run.model_id}.")
    seen = verification.look(first.picture, second.picture)
    placed = None if seen.evidence.way == "none" else seen.transform
    pair = explanation.draw(first.picture, second.picture, placed)
    network = PlaceNetwork(load_card(settings.descriptor))

    one, other = (Image.fromarray(image.picture.pixels) for image in (first, second))
    vectors = descriptor.encode([one, other])
    cosine = round(float(np.dot(*vectors.astype(np.float64))), 4)
    hashes = dihedral_variants([other], settings.prefilter.hash)[0]
    if not settings.prefilter.mirrored:
        hashes = hashes[:1]
    own = perceptual_hash([one], settings.prefilter.hash)
    distance = int(np.bitwise_count(hashes ^ own).min())
    return explanation.Explanation(
        a=first.name,
        b=second.name,
        relation=seen.relation,
        score=seen.score,
        overlap_a=seen.overlap_a,
        overlap_b=seen.overlap_b,
        changed=seen.changed,
        place=seen.place,
        why=explanation.sentence(seen, pair.turn),
        decided=(
            None if run is None else _decided(run, first, second, cosine, distance, thresholds)
        ),
        turn=explanation.TURNS[pair.turn],
        verifier=verification.verifier_version(),
        model_id=descriptor.model_id,
        cosine=cosine,
        hash=settings.prefilter.hash,
        hash_distance=distance,
        thresholds=thresholds,
        pair=pair,
        where=explanation.find_where(network, one, other, pair),
    )


def _is_image_id(name: str) -> bool:
    return _IMAGE_ID.fullmatch(name) is not None and not Path(name).exists()


def _thresholds(collection: Collection) -> Thresholds:
    from idedup_tasks.descriptors import descriptor_info

    if collection.thresholds is not None:
        return collection.thresholds
    levels = descriptor_info(collection.descriptor).thresholds
    return Thresholds(candidate=levels.candidate, phash_distance=levels.phash_distance)


def _file(path: str, facts: ImageFacts) -> _Compared:
    return _Compared(path, picture_of(facts), facts.low_information)


def _named_image(run: Run, image_id: str) -> _Compared:
    """An image of the collection, by its id."""
    import pyarrow.dataset as ds

    from idedup_tasks.explanation.stored import read_pictures

    columns = ["image_id", "arrival", "uri", "low_information", "status", "reason"]
    found = run.lake.snapshot("images").read(columns, ds.field("image_id") == image_id)
    name = run.collection.name
    if not found.num_rows:
        raise UsageError(
            f"Collection {name} has no image {image_id}: take ids from its report, its tables or "
            "views, or give the path of a file."
        )
    [row] = found.to_pylist()
    if row["status"] == "rejected":
        raise UsageError(f"Image {image_id} of {name} was rejected: {row['reason']}.")
    pictures = read_pictures(run.lake, [row], fine=True)
    if not pictures:
        raise UsageError(
            f"The thumbnail of image {image_id} of {name} is missing or damaged: idedup maintain "
            "check --repair makes it anew."
        )
    return _Compared(row["uri"], pictures[image_id], row["low_information"], image_id)


def _decided(
    run: Run,
    first: _Compared,
    second: _Compared,
    cosine: float,
    distance: int,
    thresholds: Thresholds,
) -> str | None:
    """What the collection made of two of its images, and why, as one sentence."""
    import pyarrow.dataset as ds

    if first.image_id is None or second.image_id is None:
        return None
    columns = ["image_id", "group_id", "verdict", "relation", "keeper_id", "why", "crowded"]
    ids = [first.image_id, second.image_id]
    rows = run.lake.snapshot("groups").read(columns, ds.field("image_id").isin(ids)).to_pylist()
    found = {row["image_id"]: row for row in rows}
    if set(found) != set(ids):
        return "not yet grouped"
    one, other = (found[image_id] for image_id in ids)
    if one["group_id"] is not None and one["group_id"] == other["group_id"]:
        if one is other:
            return "one image"
        members = [
            f"the {name} is {_role(row)}" for name, row in (("first", one), ("second", other))
        ]
        return f"one group: {', '.join(members)}"
    if one is other:
        return "one image, alone"
    matched = _matched(run, first, second)
    if matched is not None:
        why = f"they were looked at: {matched['relation']}, score {matched['score']:.2f}"
        if matched["relation"] in RELATIONS:
            why += ", but their groups hold together better without each other"
    elif first.low_information or second.low_information:
        why = "a flat or near-blank picture is compared by its bytes only"
    elif one["crowded"] or other["crowded"]:
        why = "they were never looked at: crowded by others that are more like either of them"
    else:
        why = (
            f"they were never looked at: at a cosine of {cosine:.2f} (from "
            f"{thresholds.candidate:g} on parts are compared) and with hashes {distance} bits "
            "apart, a copy is unlikely"
        )
    return f"they stand apart; {why}"


def _role(row: dict[str, Any]) -> str:
    what = "the keeper" if row["verdict"] == "keeper" else f"a {row['verdict']} of the keeper"
    return f"{what} ({row['why'] or row['relation'] or 'chosen'})"


def _matched(run: Run, first: _Compared, second: _Compared) -> dict[str, Any] | None:
    """The row of `matches` of the contents of two images, each of which its earliest stands for."""
    import pyarrow.dataset as ds

    digests = [first.picture.sha256, second.picture.sha256]
    images = run.lake.snapshot("images").read(
        ["image_id", "sha256", "arrived_at", "key"], ds.field("sha256").isin(digests)
    )
    order = [("arrived_at", "ascending"), ("key", "ascending")]
    ids: dict[str, str] = {}
    for row in images.sort_by(order).to_pylist():
        ids.setdefault(row["sha256"], row["image_id"])
    low, high = sorted(ids[digest] for digest in digests)
    rows = run.lake.snapshot("matches").read(
        ["relation", "score"], (ds.field("image_a") == low) & (ds.field("image_b") == high)
    )
    return rows.to_pylist()[0] if rows.num_rows else None
