"""One image file, read once into everything that the later stages need."""

from __future__ import annotations

import builtins
import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from idedup_tasks.images.decoding import decode
from idedup_tasks.images.formats import sniff
from idedup_tasks.images.page import write_fine
from idedup_tasks.images.refusal import Rejected, rejection, too_large
from idedup_tasks.images.thumbnail import colourfulness, is_low_information, write_thumbnail
from idedup_tasks.settings import Limits


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image after reading it once.

    sha256: hex digest of the file. bytes: its size. format: one of `FORMATS`, sniffed from content.
    width, height: pixels of the original, orientation applied. mode: Pillow's name of the original
    pixel layout ("RGB", "P", "I;16", ...; "RAW" for a sensor's mosaic). exif_orientation: 1 to 8 as
    the file states it, 1 where it states none or nonsense. taken_at: EXIF DateTimeOriginal in UTC;
    a camera that recorded no offset is taken at its word as UTC. exif_fields: how many fields the
    file's EXIF has, those that describe the layout of its pixels aside. detail: megapixels that its
    real detail needs, see `images.detail`. was_jpeg: of a lossless format, see `images.blocks`.
    coarseness: of a JPEG, the mean step of its luminance table (29 at quality 75), else 0.
    colour: see `colourfulness`. low_information: see `is_low_information`. thumbnail: JPEG bytes,
    see `images.thumbnail`. fine: of a page that the thumbnail shrank more than 1.5 times, the JPEG
    bytes of a larger grey picture, see `images.page`; of others None.
    """

    sha256: str
    bytes: int
    format: str
    width: int
    height: int
    mode: str
    exif_orientation: int
    taken_at: datetime | None
    exif_fields: int
    detail: float
    was_jpeg: bool
    coarseness: float
    colour: float
    low_information: bool
    thumbnail: builtins.bytes = field(repr=False)
    fine: builtins.bytes | None = field(repr=False)


def read_image(data: bytes, limits: Limits | None = None) -> ImageFacts:
    """Decode one image file from memory.

    Equal bytes give equal facts, thumbnail included, bit for bit under the same libraries. The
    first frame of an animation and the first page of a multi-page file stand for the whole.

    Raises `Rejected` for everything that cannot or may not be decoded, and nothing else.
    """
    limits = limits or Limits.model_validate({})
    if not data:
        raise Rejected("empty", "The file holds no bytes.")
    if len(data) > limits.max_bytes:
        raise too_large(len(data), limits)
    format_ = sniff(data)
    try:
        decoded = decode(data, format_, limits)
        thumbnail = write_thumbnail(decoded.picture)
        fine = None if decoded.fine is None else write_fine(decoded.fine)
        low_information = is_low_information(decoded.picture)
    except (KeyboardInterrupt, SystemExit, Rejected):
        raise
    except BaseException as error:
        # Decoders raise whatever they like, and the one written in Rust panics with an exception
        # that does not derive from Exception.
        raise rejection(error, format_) from error
    return ImageFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        format=format_,
        width=decoded.width,
        height=decoded.height,
        mode=decoded.mode,
        exif_orientation=decoded.exif_orientation,
        taken_at=decoded.taken_at,
        exif_fields=decoded.exif_fields,
        detail=decoded.detail,
        was_jpeg=decoded.was_jpeg,
        coarseness=decoded.coarseness,
        colour=colourfulness(decoded.picture),
        low_information=low_information,
        thumbnail=thumbnail,
        fine=fine,
    )
