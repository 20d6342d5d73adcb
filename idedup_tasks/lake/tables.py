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
        # Of a page-like picture that the thumbnail shrank: the finer grey one, in the same pack.
        pa.field("fine_offset", pa.int64()),
        pa.field("fine_length", pa.int32()),
        pa.field("fine_checksum", pa.int64()),
        pa.field("detail", pa.float64()),  # megapixels that its real detail needs
        pa.field("colour", pa.float64()),  # mean distance of two channels in levels, 0 for grey
        pa.field("coarseness", pa.float64()),  # mean step of a JPEG's luminance table, else 0
        pa.field("was_jpeg", pa.bool_()),  # of a lossless format: its pixels were a JPEG's
        pa.field("exif_fields", pa.int32()),  # how many EXIF fields the file has
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
        pa.field("relation", pa.string()),  # exact | same
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
        # Vectors of parts of it, int8 (parts, dim), times 127: of regions, then of pictures in it.
        pa.field("regions", pa.binary()),
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
# What a look at a pair says (`verification.Look`), of the first to the second.
LOOK = (
    pa.field("relation", pa.string(), nullable=False),  # exact … undecided, in all eight words
    pa.field("score", pa.float64(), nullable=False),  # 0 to 1, 4 decimals
    pa.field("overlap_a", pa.float64(), nullable=False),
    pa.field("overlap_b", pa.float64(), nullable=False),
    pa.field("changed", pa.float64(), nullable=False),
    pa.field("place", pa.string()),  # where most of what differs is, in the first: "top left"
    pa.field("blur", pa.float64(), nullable=False),  # over 0: the second is the sharper
    pa.field("transform", pa.list_(pa.float64()), nullable=False),  # nine numbers, row by row
    pa.field("way", pa.string(), nullable=False),  # bytes | frames | features | none
)
# A cache: looks by content, whoever asked for them. Rows are only added.
LOOKS = pa.schema(
    [
        pa.field("verifier", pa.string(), nullable=False),
        pa.field("sha256_a", pa.string(), nullable=False),  # sha256_a < sha256_b
        pa.field("sha256_b", pa.string(), nullable=False),
        *LOOK,
    ]
)
# Pairs of the images that are there now, each the earliest with its bytes; all were looked at.
MATCHES = pa.schema(
    [
        pa.field("image_a", pa.string(), nullable=False),  # image_a < image_b
        pa.field("image_b", pa.string(), nullable=False),
        pa.field("proposed_by", pa.string(), nullable=False),  # hash | vector | component
        pa.field("cosine", pa.float64()),  # 4 decimals; null where vectors were not asked
        *LOOK,
    ]
)
GROUPS = pa.schema(
    [
        pa.field("arrival", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # active | collapsed
        pa.field("verdict", pa.string(), nullable=False),  # unique | keeper | duplicate | variant
        pa.field("group_id", pa.string()),
        # Of a member to its keeper, and null for the keeper itself.
        pa.field("relation", pa.string()),  # exact | same | crop | inside | edited
        pa.field("method", pa.string()),  # sha256 | the verifier's version
        pa.field("keeper_id", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("overlap", pa.float64()),  # share of its area that lies on the keeper
        pa.field("keeper_overlap", pa.float64()),  # share of the keeper's area that lies on it
        pa.field("changed", pa.float64()),
        pa.field("place", pa.string()),  # where, in it
        pa.field("transform", pa.list_(pa.float64())),  # from it to the keeper
        pa.field("why", pa.string()),  # a sentence; of a keeper, why it is kept
        pa.field("crowded", pa.bool_(), nullable=False),  # had more candidates than were looked at
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
        TableDefinition("looks", LOOKS, ("verifier",), ("sha256_a", "sha256_b")),
        TableDefinition("matches", MATCHES, (), ("image_a", "image_b")),
        TableDefinition("groups", GROUPS, ("arrival",), ("image_id",)),
    )
}


def stored_schema(definition: TableDefinition) -> pa.Schema:
    """The columns inside the data files: all but the partition columns, as Delta stores them."""
    return pa.schema([f for f in definition.schema if f.name not in definition.partition_by])
