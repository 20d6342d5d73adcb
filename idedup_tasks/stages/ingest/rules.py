"""The rules of ingest's gate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from idedup_tasks.quality.rules import (
    ID,
    SHA256,
    AtLeast,
    Between,
    Equal,
    Matches,
    Rule,
    Where,
    as_declared,
    empty,
    filled,
    one_of,
    zero,
)
from idedup_tasks.stages.ingest.counts import Counts

if TYPE_CHECKING:
    from idedup_tasks.run import Run

# Below this many objects one unreadable file more or less is no statement about the source.
FEW_OBJECTS = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECODED = Where("status", "is", "decoded")
_REJECTED = Where("status", "is", "rejected")


def rules(run: Run, counts: Mapping[str, Any]) -> list[Rule]:
    quality = run.collection.quality
    removals = 1.0 if run.allow_removals else quality.max_removal_ratio
    few = Counts(**counts).listed < FEW_OBJECTS
    return [
        as_declared("images"),
        Rule(
            "images_filled",
            "images",
            "what every row of its status must have",
            (
                *filled("image_id", "key", "uri", "arrived_at", "bytes", "etag", "status"),
                *filled("sha256", "width", "height", "format", where=_DECODED),
                *filled("pack", "offset", "length", "checksum", where=_DECODED),
                *filled(
                    "detail", "colour", "was_jpeg", "coarseness", "exif_fields", where=_DECODED
                ),
                *filled("reason_code", "reason", where=_REJECTED),
            ),
        ),
        Rule(
            "images_statuses",
            "images",
            "decoded or rejected",
            (one_of("status", "decoded", "rejected"),),
        ),
        Rule("image_ids", "images", "32 hex digits", (Matches("image_id", ID),)),
        Rule("image_digests", "images", "64 hex digits", (Matches("sha256", SHA256),)),
        Rule(
            "image_sizes",
            "images",
            "width and height of 1 or more, no detail or more, colour of 0 to 255, and at most "
            f"{run.collection.limits.max_bytes:,} bytes",
            (
                Between("width", 1, None),
                Between("height", 1, None),
                Between("detail", 0, None),
                Between("colour", 0, 255),
                Between("exif_fields", 0, None),
                Between("bytes", 0, run.collection.limits.max_bytes, where=_DECODED),
            ),
        ),
        Rule(
            "thumbnails_in_packs",
            "images",
            "each picture's pack is there and reaches as far as the row says; of a finer picture "
            "all is said, or nothing",
            (
                *empty("pack", "fine_offset", where=_REJECTED),
                *filled("pack_bytes", where=_DECODED),
                Between("offset", 0, None),
                Between("length", 1, None),
                AtLeast("pack_bytes", "thumbnail_end"),
                AtLeast("pack_bytes", "fine_end"),
                Between("fine_offset", 0, None),
                Between("fine_length", 1, None),
                *filled("fine_length", where=Where("fine_offset", "is over", -1)),
                *filled("fine_checksum", where=Where("fine_length", "is over", 0)),
                *filled("fine_offset", where=Where("fine_checksum", "is over", -1)),
            ),
        ),
        Rule(
            "arrival_periods",
            "images",
            "the period that holds arrived_at",
            (Equal("arrival", "arrival_of_moment"),),
        ),
        # A wrong clock at the source is worth knowing, and no reason to stop.
        Rule(
            "arrivals_plausible",
            "images",
            "not before 1970 and not after tomorrow",
            (Between("arrived_at", _EPOCH, datetime.now(UTC) + timedelta(days=1)),),
            "warn",
        ),
        Rule(
            "images_unique",
            "counts",
            "each image once, over all partitions",
            (zero("images_repeated"),),
        ),
        Rule(
            "packs_reconcile",
            "counts",
            "new packs hold as many bytes as their rows say",
            (Equal("pack_bytes_stated", "pack_bytes_found"),),
        ),
        Rule(
            "ingest_reconciles",
            "counts",
            "listed = decoded + rejected = reused + read",
            (Equal("listed", "decoded_and_rejected"), Equal("listed", "reused_and_read")),
        ),
        Rule(
            "ingest_in_lake",
            "counts",
            "as many decoded and rejected rows in the lake as were counted",
            (Equal("decoded", "decoded_in_lake"), Equal("rejected", "rejected_in_lake")),
        ),
        Rule(
            "reject_ratio",
            "counts",
            f"at most {quality.max_reject_ratio:.0%} of the objects rejected",
            (Between("reject_ratio", 0, quality.max_reject_ratio),),
            "warn" if few else "error",
        ),
        Rule(
            "removal_ratio",
            "counts",
            f"at most {removals:.0%} of a partition vanished",
            (Between("max_removed_ratio", 0, removals),),
        ),
    ]
