"""Why two images are, or are not, duplicates."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idedup_tasks.api.reading import UsageError, open_collection, read_image, thumbnail_of
from idedup_tasks.settings import Collection, Thresholds

if TYPE_CHECKING:
    from PIL.Image import Image

    from idedup_tasks.explanation import Explanation
    from idedup_tasks.images import ImageFacts
    from idedup_tasks.run import Run

_IMAGE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class _Compared:
    """One of the two images to explain; image_id only where it was named by it."""

    name: str
    sha256: str
    low_information: bool
    thumbnail: Image
    image_id: str | None = None


def explain(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    collection: str | None = None,
    *,
    scan: str | os.PathLike[str] | None = None,
) -> Explanation:
    """Why two images are, or are not, duplicates, and where they match; nothing is written.

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

    from idedup_tasks import explanation
    from idedup_tasks.descriptors import load_card, load_descriptor
    from idedup_tasks.explanation.places import PlaceNetwork
    from idedup_tasks.hashes import DIHEDRAL, dihedral_variants, perceptual_hash
    from idedup_tasks.stages.group.clusters import cosine

    thresholds = _thresholds(settings)
    first, second = (
        _file(name, files[name]) if run is None or name in files else _named_image(run, name)
        for name in given
    )
    descriptor = load_descriptor(settings.descriptor, settings.device)
    if run is not None and descriptor.model_id != run.model_id:
        raise UsageError(f"The descriptor here is {descriptor.model_id}, not {run.model_id}.")
    shown = [second.thumbnail if t is None else second.thumbnail.transpose(t) for t in DIHEDRAL]
    vectors = descriptor.encode([first.thumbnail, *shown])
    cosines = cosine(np.broadcast_to(vectors[0], vectors[1:].shape), vectors[1:])
    margin = settings.grouping.uncertain_margin
    # Unrelated pictures are like each other in one position or another by chance.
    alike = cosines >= max(thresholds.cut, float(cosines.max()) - margin)
    network = PlaceNetwork(load_card(settings.descriptor))
    turned = {turn: shown[turn] for turn in sorted({0, *np.flatnonzero(alike).tolist()})}
    best = explanation.best_turn(network, first.thumbnail, turned)
    where = explanation.find_where(network, first.thumbnail, second.thumbnail, DIHEDRAL[best])

    hashes = dihedral_variants([second.thumbnail], settings.prefilter.hash)[0]
    if not settings.prefilter.mirrored:
        hashes = hashes[:1]
    own = perceptual_hash([first.thumbnail], settings.prefilter.hash)
    distance = int(np.bitwise_count(hashes ^ own).min())

    common_cosine = None
    if where.common is not None:
        parts = [
            explanation.cut(first.thumbnail, where.common.box_a),
            explanation.cut(shown[best], where.common.box_b),
        ]
        cut_out = descriptor.encode(parts)
        common_cosine = float(cosine(cut_out[:1], cut_out[1:])[0])
    same_bytes = first.sha256 == second.sha256
    relation, uncertain, verdict = explanation.decide(
        same_bytes,
        first.low_information or second.low_information,
        distance,
        float(cosines[0]),
        common_cosine,
        thresholds,
        margin,
    )
    return explanation.Explanation(
        a=first.name,
        b=second.name,
        model_id=descriptor.model_id,
        cosine=float(cosines[0]),
        thresholds=thresholds,
        hash=settings.prefilter.hash,
        hash_distance=distance,
        same_bytes=same_bytes,
        relation=relation,
        uncertain=uncertain,
        verdict=verdict,
        decided=None if run is None else _decided(run, first, second),
        turn=explanation.TURNS[best],
        turned_cosine=float(cosines[best]),
        common_cosine=common_cosine,
        where=where,
        picture_a=first.thumbnail,
        picture_b=shown[best],
    )


def _is_image_id(name: str) -> bool:
    return _IMAGE_ID.fullmatch(name) is not None and not Path(name).exists()


def _thresholds(collection: Collection) -> Thresholds:
    from idedup_tasks.descriptors import descriptor_info

    if collection.thresholds is not None:
        return collection.thresholds
    return Thresholds(**asdict(descriptor_info(collection.descriptor).thresholds))


def _file(path: str, facts: ImageFacts) -> _Compared:
    return _Compared(path, facts.sha256, facts.low_information, thumbnail_of(facts))


def _named_image(run: Run, image_id: str) -> _Compared:
    """An image of the collection, by its id."""
    import pyarrow.dataset as ds

    from idedup_tasks.images import open_thumbnail
    from idedup_tasks.lake import PLACE, read_thumbnails

    columns = ["uri", "sha256", "low_information", "reason", *PLACE]
    found = run.lake.snapshot("images").read(columns, ds.field("image_id") == image_id)
    name = run.collection.name
    if not found.num_rows:
        raise UsageError(
            f"Collection {name} has no image {image_id}: take ids from its report, its tables or "
            "views, or give the path of a file."
        )
    [row] = found.to_pylist()
    if row["pack"] is None:
        raise UsageError(f"Image {image_id} of {name} was rejected: {row['reason']}.")
    [thumbnail] = map(open_thumbnail, read_thumbnails(run.lake, found))
    return _Compared(row["uri"], row["sha256"], row["low_information"], thumbnail, image_id)


def _decided(run: Run, first: _Compared, second: _Compared) -> str | None:
    """What the collection's groups say of two of its images, as one sentence."""
    import pyarrow.dataset as ds

    ids = [first.image_id, second.image_id]
    if None in ids:
        return None
    columns = ["image_id", "verdict", "group_id", "relation", "matched_id", "score", "threshold"]
    rows = run.lake.snapshot("groups").read(columns, ds.field("image_id").isin(ids)).to_pylist()
    found = {row["image_id"]: row for row in rows}
    one, other = (found.get(str(name)) for name in ids)
    if one is None or other is None:
        return "not yet grouped"
    if one["group_id"] is None or one["group_id"] != other["group_id"]:
        return "not in one group"
    for row, name, against in ((one, "first", second), (other, "second", first)):
        if row["matched_id"] == against.image_id:
            return (
                f"one group; the {name} is there as {row['relation']} duplicate of the other, by a "
                f"score of {row['score']:.4f} (from {row['threshold']:.4g})"
            )
    return "one group, each through other members of it"
