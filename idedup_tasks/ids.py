"""What names an image wherever it is spoken of."""

from __future__ import annotations

import hashlib


def image_id(collection: str, key: str) -> str:
    """128-bit id of an image, as 32 hex digits: a hash of collection and key.

    The key is relative to the source, so that moving a whole source keeps the ids.
    """
    name = f"{collection}\0{key}".encode(errors="surrogateescape")
    return hashlib.blake2b(name, digest_size=16).hexdigest()
