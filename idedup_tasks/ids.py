"""What names an image wherever it is spoken of."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa


def image_id(collection: str, key: str) -> str:
    """128-bit id of an image, as 32 hex digits: a hash of collection and key.

    The key is relative to the source, so that moving a whole source keeps the ids.
    """
    name = f"{collection}\0{key}".encode(errors="surrogateescape")
    return hashlib.blake2b(name, digest_size=16).hexdigest()


def fixed(column: pa.ChunkedArray | pa.Array, width: int) -> np.ndarray:
    """(n,) S`width`: texts that are all so long, without making an object of each; null is empty.

    Raises:
        ValueError: one is longer or shorter.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_fixed(chunk, width) for chunk in chunks]
    return np.concatenate(parts) if parts else np.empty(0, f"S{width}")


def _fixed(column: pa.Array, width: int) -> np.ndarray:
    filled: np.ndarray[Any, Any] = np.zeros(len(column), f"S{width}")
    there = column.is_valid().to_numpy(zero_copy_only=False)
    texts = column.drop_null().cast(pa.large_string())
    _, offsets, data = texts.buffers()
    if len(texts):
        ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        if (np.diff(ends) != width).any():
            raise ValueError(f"Not all of {len(texts):,} texts are {width} characters long.")
        filled[there] = np.frombuffer(data, f"S{width}", len(texts), int(ends[0]))
    return filled


def digests(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """(n, 32) uint8: SHA-256 digests that are written in hex digits."""
    return np.frombuffer(bytes.fromhex(fixed(column, 64).tobytes().decode()), np.uint8).reshape(
        -1, 32
    )


def among(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """(n,) bool: which of n values are among those of another array, which is sorted once."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.asarray(ascending[at] == values)
