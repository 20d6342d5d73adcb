"""A look at two pictures, and what it says."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from idedup_tasks.images import (
    Rejected,
    fine_size,
    is_worth_finer,
    read_image,
    thumbnail_size,
    too_large,
)
from idedup_tasks.settings import Limits
from idedup_tasks.verification import geometry
from idedup_tasks.verification.evidence import Evidence, differing, see
from idedup_tasks.verification.picture import Picture
from idedup_tasks.verification.verdict import Relation, relation, score

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Look:
    """What a look at two pictures saw.

    Attributes:
        relation: of the two, see `docs/verification.md`.
        score: 0 to 1, the confidence that one was made from the other, or both from a third.
        overlap_a, overlap_b: share of the area of each that lies on the other.
        changed: disagreeing share of the informative area of the overlap.
        place: where in what both show most of what differs lies, as the first picture lies: "top
            left", "top" … "bottom right", or "all over"; "" if nothing differs.
        blur: deviation, in pixels of what was compared, of the blur that makes the sharper as soft
            as the other; above 0 the second is the sharper, below 0 the first.
        transform: float64 (3, 3), from the first to the second, in shares of width and height.
        evidence: all that it was decided from.
    """

    relation: Relation
    score: float
    overlap_a: float
    overlap_b: float
    changed: float
    place: str
    blur: float
    transform: Array
    evidence: Evidence

    def turned(self) -> Look:
        """What the second picture is to the first."""
        seen = self.evidence.turned()
        return replace(
            self,
            overlap_a=self.overlap_b,
            overlap_b=self.overlap_a,
            place=seen.agreement.place,
            blur=seen.agreement.blur,
            transform=seen.transform,
            evidence=seen,
        )

    def row(self) -> dict[str, Any]:
        """Its columns in the lake, `lake.LOOK`; `turned_rows` turns such rows round."""
        return {
            "relation": self.relation,
            "score": self.score,
            "overlap_a": self.overlap_a,
            "overlap_b": self.overlap_b,
            "changed": self.changed,
            "place": self.place or None,
            "blur": self.blur,
            "transform": [float(v) for v in self.transform.ravel()],
            "way": self.evidence.way,
        }


def turned_rows(rows: pa.Table, turned: Array) -> pa.Table:
    """Looks as of the same pairs the other way round.

    Args:
        rows: at least the columns of `lake.LOOK`.
        turned: (n,) bool, of which rows; the others stay.
    """
    at = np.flatnonzero(turned)
    if not len(at):
        return rows
    own = rows.take(pa.array(at)).combine_chunks()
    transforms = pc.list_flatten(own["transform"]).to_numpy().reshape(-1, 3, 3)
    others = geometry.inverse(transforms)
    shapes = pa.FixedSizeListArray.from_arrays(pa.array(others.ravel()), 9)
    places = own["place"].fill_null("").to_pylist()
    changed = {
        "overlap_a": own["overlap_b"],
        "overlap_b": own["overlap_a"],
        "place": [p or None for p in geometry.turned_places(places, transforms)],
        "blur": 0.0 - own["blur"].to_numpy(),
        "transform": shapes,
    }
    for name, values in changed.items():
        field = rows.schema.field(name)
        column = values if isinstance(values, pa.ChunkedArray) else pa.array(values)
        own = own.set_column(own.column_names.index(name), field, column.cast(field.type))
    place = np.arange(rows.num_rows)
    place[at] = rows.num_rows + np.arange(len(at))
    return pa.concat_tables([rows, own]).take(pa.array(place)).combine_chunks()


def look(a: Picture, b: Picture) -> Look:
    """Look at two pictures.

    What is said does not depend on which comes first: it is seen in the order of their digests,
    and turned round where that is not the order given.
    """
    with _ONE_THREAD:
        return _look(a, b) if a.sha256 <= b.sha256 else _look(b, a).turned()


class _OneThread:
    """OpenCV in one thread as long as anybody looks: its setting is one for the process."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                cv2.setNumThreads(self._before)


_ONE_THREAD = _OneThread()


def _look(a: Picture, b: Picture) -> Look:
    if a.sha256 == b.sha256:
        seen = Evidence.equal()
        return Look("exact", 1.0, 1.0, 1.0, 0.0, "", 0.0, seen.transform, seen)
    seen = see(a, b)
    confidence = score(seen)
    pixels_a = seen.overlap_a * a.width * a.height
    pixels_b = seen.overlap_b * b.width * b.height
    return Look(
        relation=relation(seen, confidence, pixels_a / max(pixels_b, 1.0)),
        score=confidence,
        overlap_a=round(seen.overlap_a, 4),
        overlap_b=round(seen.overlap_b, 4),
        changed=round(seen.agreement.changed, 4),
        place=seen.agreement.place,
        blur=seen.agreement.blur,
        transform=seen.transform,
        evidence=seen,
    )


@dataclass(frozen=True)
class Laid:
    """Two pictures laid on each other, to be drawn.

    a, b: uint8 (height, width, channels), what both show, on one grid. differs: uint8 (height,
    width), 255 where they disagree. to_a, to_b: float64 (3, 3), from shares of the grid to shares
    of each picture.
    """

    a: Array
    b: Array
    differs: Array
    to_a: Array
    to_b: Array


def lay(a: Picture, b: Picture, transform: Array) -> Laid | None:
    """Lay one picture on another as a look did, whose transform it is.

    Returns:
        None where too little of them overlaps.
    """
    found = differing(a, b, transform)
    if found is None:
        return None
    pair, differs = found
    if pair.swapped:
        to_a, to_b = geometry.inverse(transform) @ pair.cut, pair.cut
    else:
        to_a, to_b = pair.cut, transform @ pair.cut
    return Laid(pair.a, pair.b, differs, to_a, to_b)


def compare(
    a: str | os.PathLike[str] | bytes | Image.Image,
    b: str | os.PathLike[str] | bytes | Image.Image,
    *,
    limits: Limits | None = None,
) -> Look:
    """Look at two images and say what one is to the other.

    Args:
        a, b: paths, bytes of image files, or Pillow images.
        limits: what a file may cost; those of a collection by default.

    Raises:
        Rejected: a file that cannot or may not be decoded, with the reason.
        OSError: a path that cannot be read.
    """
    limits = limits or Limits.model_validate({})
    # The reader sets Pillow's guard to the limits; whoever calls this has a guard of their own.
    guard = Image.MAX_IMAGE_PIXELS
    try:
        return look(open_picture(a, limits), open_picture(b, limits))
    finally:
        Image.MAX_IMAGE_PIXELS = guard


def open_picture(image: str | os.PathLike[str] | bytes | Image.Image, limits: Limits) -> Picture:
    """What a look needs of an image; arguments and errors as for `compare`."""
    if isinstance(image, Image.Image):
        return _of_pillow(image, limits)
    if not isinstance(image, bytes):
        path = Path(image)
        size = path.stat().st_size
        if size > limits.max_bytes:
            raise too_large(size, limits)
        image = path.read_bytes()
    facts = read_image(image, limits)
    return Picture.of_thumbnail(
        facts.thumbnail,
        width=facts.width,
        height=facts.height,
        sha256=facts.sha256,
        fine=facts.fine,
    )


def _of_pillow(image: Image.Image, limits: Limits) -> Picture:
    """As a collection would have it: on white, shrunk to thumbnail size; not turned."""
    width, height = image.size
    if width * height > limits.max_pixels or width * height == 0:
        raise Rejected(
            "too-many-pixels" if width * height else "empty",
            f"The picture has {width} x {height} pixels; from 1 to {limits.max_pixels:,} can be "
            "looked at.",
        )
    whole = _on_white(image).convert("RGB")
    digest = hashlib.sha256(f"{width}x{height}".encode() + whole.tobytes()).hexdigest()
    small = whole.resize(thumbnail_size(width, height), Image.Resampling.LANCZOS)
    fine = None
    if is_worth_finer(small, width, height):
        grey = whole.convert("L").resize(fine_size(width, height), Image.Resampling.LANCZOS)
        fine = np.asarray(grey)
    return Picture(np.asarray(small), width=width, height=height, sha256=digest, fine=fine)


def _on_white(image: Image.Image) -> Image.Image:
    """In 8 bits, without transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.nan_to_num(np.asarray(image, np.float64))
        full = next((f for f in (1.0, 255.0) if levels.max() <= f), 65535.0)
        return Image.fromarray((levels / full * 255).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image


@cache
def verifier_version() -> str:
    """Names what a look depends on besides the two pictures: code, calibration, OpenCV, NumPy.

    Equal versions give equal looks on one family of processors.
    """
    digest = hashlib.sha256()
    room = files(__package__)
    for file in sorted(room.iterdir(), key=lambda f: f.name):
        if file.name.endswith((".py", ".json")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    for part in (cv2.__version__, np.__version__):
        digest.update(part.encode() + b"\0")
    return f"looks-1-{digest.hexdigest()[:12]}"
