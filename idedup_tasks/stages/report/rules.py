"""The rules of report's gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from idedup_tasks.quality.rules import (
    AtLeast,
    Equal,
    Rule,
    Where,
    as_declared,
    filled,
    one_of,
    zero,
)
from idedup_tasks.settings import DUPLICATES, RELATIONS, VARIANTS

if TYPE_CHECKING:
    from idedup_tasks.run import Run

# The rule that an alert of kind `jump` goes by.
DUPLICATE_RATE_JUMP = "duplicate_rate_jump"
_REJECTED = Where("status", "is", "rejected")
_NOT_REJECTED = Where("status", "is not", "rejected")
_OF_A_KEEPER = (Where("verdict", "is", "duplicate"), Where("verdict", "is", "variant"))
_EVIDENCE = (
    *("group_id", "relation", "method", "keeper_id"),
    *("score", "overlap", "keeper_overlap", "changed", "why"),
)


def rules(run: Run, counts: Mapping[str, Any]) -> list[Rule]:
    return [
        as_declared("results"),
        Rule(
            "results_filled",
            "results",
            "what every row of its status must have",
            (
                *filled("image_id", "arrival", "key", "uri", "arrived_at", "bytes", "status"),
                *filled("reason_code", "reason", where=_REJECTED),
                *filled("sha256", "width", "height", "verdict", where=_NOT_REJECTED),
            ),
        ),
        Rule(
            "result_statuses",
            "results",
            "known statuses, verdicts and relations",
            (
                one_of("status", "active", "collapsed", "rejected"),
                one_of("verdict", "unique", "keeper", "duplicate", "variant"),
                one_of("relation", *RELATIONS),
            ),
        ),
        Rule(
            "result_evidence",
            "results",
            "what was seen of each duplicate or variant and its keeper, and why",
            tuple(check for where in _OF_A_KEEPER for check in filled(*_EVIDENCE, where=where)),
        ),
        Rule("results_unique", "counts", "each image once", (zero("results_repeated"),)),
        Rule(
            "report_reconciles",
            "counts",
            "images = active + collapsed + rejected = images in the lake = rows in the result",
            (
                Equal("images", "active_collapsed_and_rejected"),
                Equal("images", "images_in_lake"),
                Equal("images", "rows_in_results"),
                *(Equal(s, f"{s}_in_results") for s in ("active", "collapsed", "rejected")),
            ),
        ),
        Rule(
            "report_duplicates",
            "counts",
            "groups, duplicates and variants of each relation as the lake has them",
            (
                Equal("groups", "keepers_in_lake"),
                *(Equal(name, f"{name}_in_lake") for name in ("duplicates", "variants")),
                *(Equal(f"duplicates_{r}", f"duplicates_{r}_in_lake") for r in DUPLICATES),
                *(Equal(f"variants_{r}", f"variants_{r}_in_lake") for r in VARIANTS),
            ),
        ),
        Rule(
            "reclaimable_bytes",
            "counts",
            "by relation the bytes of the duplicates, and of variants where they are reclaimable",
            tuple(Equal(f"reclaimable_{r}", f"reclaimable_{r}_in_results") for r in RELATIONS),
        ),
        Rule(
            "results_complete",
            "counts",
            "a row for each image of the lake, and no other",
            (zero("images_without_result"), zero("results_without_image")),
        ),
        Rule("result_pairs_unique", "counts", "each pair once", (zero("pairs_repeated"),)),
        Rule(
            "result_pairs_complete",
            "counts",
            "each pair that was looked at and each member's with its keeper, as the lake has them",
            (
                Equal("pairs", "pairs_in_file"),
                Equal("alike", "alike_in_file"),
                zero("pairs_lost"),
                zero("pairs_without_look"),
            ),
        ),
        # More of the same than ever is worth knowing: an upload repeated, a camera that hangs.
        Rule(
            DUPLICATE_RATE_JUMP,
            "counts",
            f"at most {run.collection.quality.max_duplicate_jump:.0%} more duplicates among what "
            "arrived than usual",
            (AtLeast("duplicate_rate_limit", "duplicate_rate"),),
            "warn",
        ),
        Rule(
            "results_as_grouped",
            "counts",
            "status and verdict of each image as the groups have them",
            (zero("verdicts_without_result"), zero("results_without_verdict")),
        ),
    ]
