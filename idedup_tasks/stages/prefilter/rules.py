"""The rules of prefilter's gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from idedup_tasks.quality.rules import (
    Between,
    Equal,
    Rule,
    Where,
    as_declared,
    empty,
    filled,
    one_of,
    zero,
)

if TYPE_CHECKING:
    from idedup_tasks.run import Run

_ACTIVE = Where("status", "is", "active")
_COLLAPSED = Where("status", "is", "collapsed")


def rules(run: Run, counts: Mapping[str, Any]) -> list[Rule]:
    return [
        as_declared("fingerprints"),
        Rule(
            "fingerprints_filled",
            "fingerprints",
            "an id, a digest, a hash and a status in every row",
            filled("image_id", "sha256", "hash", "low_information", "status"),
        ),
        Rule(
            "fingerprint_statuses",
            "fingerprints",
            "active or collapsed; exact or same",
            (one_of("status", "active", "collapsed"), one_of("relation", "exact", "same")),
        ),
        Rule(
            "collapse_evidence",
            "fingerprints",
            "what it collapsed onto, why and how far, for collapsed images and no others",
            (
                *filled("onto", "relation", "distance", where=_COLLAPSED),
                *empty("onto", "relation", "distance", where=_ACTIVE),
            ),
        ),
        Rule(
            "collapse_distances",
            "fingerprints",
            f"0 to {run.thresholds.phash_distance} of 64 bits, and 0 for exact copies",
            (
                Between("distance", 0, run.thresholds.phash_distance),
                Between("distance", 0, 0, where=Where("relation", "is", "exact")),
            ),
        ),
        Rule(
            "low_information_by_bytes",
            "fingerprints",
            "images of low information match by their bytes only",
            (one_of("relation", "exact", where=Where("low_information", "is", True)),),
        ),
        Rule(
            "collapse_targets",
            "counts",
            "exact copies lie on an image that is there, twins on an active one",
            (zero("onto_unknown"),),
        ),
        Rule(
            "fingerprints_unique",
            "counts",
            "each image once, over all partitions",
            (zero("fingerprints_repeated"),),
        ),
        Rule(
            "prefilter_reconciles",
            "counts",
            "decoded = active + collapsed, and as many decoded images in the lake",
            (Equal("decoded", "active_and_collapsed"), Equal("decoded", "decoded_in_lake")),
        ),
        Rule(
            "prefilter_in_lake",
            "counts",
            "as many active and collapsed rows in the lake as were counted",
            (
                Equal("active", "active_in_lake"),
                Equal("collapsed_exact", "collapsed_exact_in_lake"),
                Equal("collapsed_same", "collapsed_same_in_lake"),
            ),
        ),
        Rule(
            "fingerprints_complete",
            "counts",
            "a fingerprint for each decoded image with its digest and period, and no other",
            (zero("images_without_fingerprint"), zero("fingerprints_without_image")),
        ),
    ]
