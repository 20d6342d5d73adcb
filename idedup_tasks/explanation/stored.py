"""Pictures and looks that a collection holds, to be drawn without looking again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from idedup_tasks.explanation.drawing import Pair, draw
from idedup_tasks.lake import (
    FINE_PLACE,
    PLACE,
    DataFile,
    Lake,
    Snapshot,
    find_pictures,
    find_thumbnails,
)
from idedup_tasks.verification import Picture

Array = np.ndarray[Any, Any]


def read_pictures(
    lake: Lake, images: Sequence[Mapping[str, Any]], fine: bool = False
) -> dict[str, Picture]:
    """Pictures by image_id; those that are lost or damaged, or no pictures, are not there.

    Args:
        images: `image_id` and `arrival` of each.
        fine: with the finer pictures of pages, which are a megabyte each.
    """
    snapshot = lake.snapshot("images")
    columns = ["image_id", "sha256", "width", "height", *PLACE, *(FINE_PLACE if fine else ())]
    rows = snapshot.read(columns, _among(images), files=_files(snapshot, images))
    found = (
        find_pictures(lake, rows)
        if fine
        else [None if small is None else (small, None) for small in find_thumbnails(lake, rows)]
    )
    pictures = {}
    for row, stored in zip(rows.to_pylist(), found, strict=True):
        if stored is None:
            continue
        about = {name: row[name] for name in ("width", "height", "sha256")}
        try:
            pictures[row["image_id"]] = Picture.of_thumbnail(stored[0], fine=stored[1], **about)
        except OSError:  # bytes that are whole, and no JPEG
            continue
    return pictures


def read_to_keeper(lake: Lake, members: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """By image_id of members of groups, where each lies on its keeper: (3, 3), in shares.

    Args:
        members: `image_id` and `arrival` of each.
    """
    groups = lake.snapshot("groups")
    columns = ["image_id", "transform"]
    rows = groups.read(columns, _among(members), files=_files(groups, members)).to_pylist()
    return {row["image_id"]: _square(row["transform"]) for row in rows if row["transform"]}


def read_matched(
    lake: Lake, pairs: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Array | None]:
    """By (image_a, image_b) of pairs that were looked at, where the first lies on the second.

    None where the look found no place for it. Pairs that were not looked at are not there.
    """
    wanted = set(pairs)
    where = pc.field("image_a").isin([a for a, _ in wanted])
    where &= pc.field("image_b").isin([b for _, b in wanted])
    columns = ["image_a", "image_b", "way", "transform"]
    return {
        (row["image_a"], row["image_b"]): (
            None if row["way"] == "none" else _square(row["transform"])
        )
        for row in lake.snapshot("matches").read(columns, where).to_pylist()
        if (row["image_a"], row["image_b"]) in wanted
    }


def draw_stored(lake: Lake, a: Mapping[str, Any], b: Mapping[str, Any]) -> Pair | None:
    """Two images of a collection as they were looked at; None where nothing is stored of that.

    Args:
        a, b: `image_id` and `arrival` of each.
    """
    one, other = a["image_id"], b["image_id"]
    groups = lake.snapshot("groups")
    columns = ["image_id", "keeper_id", "transform"]
    transform: Array | None = None
    for row in groups.read(columns, _among([a, b]), files=_files(groups, [a, b])).to_pylist():
        if row["transform"] and {row["image_id"], row["keeper_id"]} == {one, other}:
            to_keeper = _square(row["transform"])
            transform = to_keeper if row["image_id"] == one else np.linalg.inv(to_keeper)
    if transform is None:
        low, high = sorted((one, other))
        matched = read_matched(lake, [(low, high)])
        if (low, high) not in matched:
            return None
        transform = matched[low, high]
        if transform is not None and one != low:
            transform = np.linalg.inv(transform)
    pictures = read_pictures(lake, [a, b], fine=True)
    if len(pictures) < 2:
        return None
    return draw(pictures[one], pictures[other], transform)


def _among(images: Sequence[Mapping[str, Any]]) -> pc.Expression:
    return pc.field("image_id").isin([image["image_id"] for image in images])


def _files(snapshot: Snapshot, images: Sequence[Mapping[str, Any]]) -> list[DataFile]:
    """The files of a table that may hold rows of some images."""
    arrivals = {image["arrival"] for image in images}
    return [f for f in snapshot.files() if f.partition["arrival"] in arrivals]


def _square(numbers: Sequence[float]) -> Array:
    return np.array(numbers, np.float64).reshape(3, 3)
