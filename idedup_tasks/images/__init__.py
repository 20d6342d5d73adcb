"""Decode an image file once into everything the later stages need.

`read_image` is the only place where bytes that a stranger made are decoded. What a file *is* comes
from its content, never from its name; what may be decoded is the closed list `FORMATS`; how large a
picture may be is read from its header before a pixel is decoded. A decoder can still crash or hang,
so collections are read through `read_objects`, which does the work in expendable processes.
"""

from idedup_tasks.images.formats import FORMATS
from idedup_tasks.images.image import ImageFacts, read_image
from idedup_tasks.images.objects import read_objects
from idedup_tasks.images.page import fine_size, flat_share, is_page_like, is_worth_finer
from idedup_tasks.images.refusal import Rejected, too_large
from idedup_tasks.images.thumbnail import (
    THUMBNAIL_LONG_SIDE,
    THUMBNAIL_SHORT_SIDE,
    is_low_information,
    open_thumbnail,
    thumbnail_size,
)

__all__ = [
    "FORMATS",
    "THUMBNAIL_LONG_SIDE",
    "THUMBNAIL_SHORT_SIDE",
    "ImageFacts",
    "Rejected",
    "fine_size",
    "flat_share",
    "is_low_information",
    "is_page_like",
    "is_worth_finer",
    "open_thumbnail",
    "read_image",
    "read_objects",
    "thumbnail_size",
    "too_large",
]
