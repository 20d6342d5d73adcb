"""The tables of a lake: their columns, how they are partitioned, and what orders their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")

IMAGES = pa.schema(
    [
        pa.field("arrival", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("arrived_at", TIMESTAMP, nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("mode", pa.string()),
        pa.field("exif_orientation", pa.int32()),
        pa.field("taken_at", TIMESTAMP),
        pa.field("status", pa.string(), nullable=False),  # decoded | rejected
        pa.field("reason_code", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("low_information", pa.bool_()),
        # Where its thumbnail lies; null when rejected.
        pa.field("pack", pa.string()),  # path relative to the collection's folder
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int32()),
        pa.field("checksum", pa.int64()),  # of the thumbnail, see `packs.checksum`
    ]
)
FINGERPRINTS = pa.schema(
    [
        pa.field("arrival", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("hash", pa.int64(), nullable=False),  # the 64 bits, as a signed integer
        pa.field("variants", pa.list_(pa.int64())),  # eight rotations and mirrors, if compared
        pa.field("low_information", pa.bool_(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # active | collapsed
        pa.field("onto", pa.string()),  # image_id it collapsed onto
        pa.field("relation", pa.string()),  # exact | perceptual
        pa.field("distance", pa.int32()),  # bits; 0 for exact
    ]
)
EMBEDDINGS = pa.schema(
    [
        pa.field("model_id", pa.string(), nullable=False),
        pa.field("arrival", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("vector", pa.list_(pa.float32()), nullable=False),  # L2-normalised
    ]
)
INDEX = pa.schema(
    [
        pa.field("model_id", pa.string(), nullable=False),
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # relative to the collection's folder
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("checksum", pa.string(), nullable=False),  # sha256 of the file
        pa.field("vectors", pa.int64(), nullable=False),
    ]
)
PAIRS = pa.schema(
    [
        pa.field("image_a", pa.string(), nullable=False),  # image_a < image_b
        pa.field("image_b", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),  # cosine, 4 decimals
    ]
)
GROUPS = pa.schema(
    [
        pa.field("arrival", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # active | collapsed
        pa.field("verdict", pa.string(), nullable=False),  # unique | keeper | duplicate
        pa.field("group_id", pa.string()),
        pa.field("relation", pa.string()),  # exact | perceptual | near; null for a keeper
        pa.field("method", pa.string()),  # sha256 | the hash | the model_id
        pa.field("matched_id", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("keeper_id", pa.string()),
        pa.field("score_to_keeper", pa.float64()),
        pa.field("pairs_capped", pa.bool_(), nullable=False),  # had more matches than are kept
    ]
)


@dataclass(frozen=True)
class TableDefinition:
    """A table's columns, how it is partitioned, and what orders its rows."""

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    key: tuple[str, ...]


TABLES: Mapping[str, TableDefinition] = {
    table.name: table
    for table in (
        TableDefinition("images", IMAGES, ("arrival",), ("image_id",)),
        TableDefinition("fingerprints", FINGERPRINTS, ("arrival",), ("image_id",)),
        TableDefinition("embeddings", EMBEDDINGS, ("model_id", "arrival"), ("image_id",)),
        TableDefinition("index", INDEX, ("model_id",), ("shard_id",)),
        TableDefinition("pairs", PAIRS, (), ("image_a", "image_b")),
        TableDefinition("groups", GROUPS, ("arrival",), ("image_id",)),
    )
}


def stored_schema(definition: TableDefinition) -> pa.Schema:
    """The columns inside the data files: all but the partition columns, as Delta stores them."""
    return pa.schema([f for f in definition.schema if f.name not in definition.partition_by])
