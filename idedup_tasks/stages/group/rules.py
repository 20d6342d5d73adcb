"""The rules of group's gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from idedup_tasks.quality.rules import (
    AtLeast,
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
from idedup_tasks.settings import RELATIONS

if TYPE_CHECKING:
    from idedup_tasks.run import Run

_COLLAPSED = Where("status", "is", "collapsed")
_DUPLICATE = Where("verdict", "is", "duplicate")


def rules(run: Run, counts: Mapping[str, Any]) -> list[Rule]:
    return [
        as_declared("pairs_and_groups"),
        Rule("pairs_filled", "pairs", "two ids and a score", filled("image_a", "image_b", "score")),
        Rule(
            "pairs_ordered",
            "pairs",
            "image_a before image_b",
            (AtLeast("image_b", "image_a", strictly=True),),
        ),
        Rule("pair_scores", "pairs", "0 to 1", (Between("score", 0, 1),)),
        Rule(
            "groups_filled",
            "groups",
            "an id, a digest, a status and a verdict in every row",
            filled("image_id", "sha256", "status", "verdict"),
        ),
        Rule(
            "group_statuses",
            "groups",
            "known statuses, verdicts and relations, and no collapsed image that is unique",
            (
                one_of("status", "active", "collapsed"),
                one_of("verdict", "unique", "keeper", "duplicate"),
                one_of("relation", *RELATIONS),
                one_of("verdict", "keeper", "duplicate", where=_COLLAPSED),
            ),
        ),
        Rule(
            "group_ids",
            "groups",
            "a group for keepers and duplicates, and none for unique images",
            (
                *filled("group_id", where=Where("verdict", "is not", "unique")),
                *empty("group_id", where=Where("verdict", "is", "unique")),
            ),
        ),
        Rule(
            "evidence",
            "groups",
            "relation, method, match, score, threshold and keeper of each duplicate",
            filled(
                "relation",
                "method",
                "matched_id",
                "score",
                "threshold",
                "keeper_id",
                where=_DUPLICATE,
            ),
        ),
        Rule(
            "no_evidence_for_keepers",
            "groups",
            "no match and no relation for a keeper or a unique image",
            empty("matched_id", "relation", "score", where=Where("verdict", "is not", "duplicate")),
        ),
        Rule(
            "group_scores",
            "groups",
            "scores of 0 to 1, and of -1 to 1 to the keeper",
            (Between("score", 0, 1), Between("score_to_keeper", -1, 1)),
        ),
        Rule(
            "score_over_threshold",
            "groups",
            "a near duplicate's score reaches the threshold it cites",
            (AtLeast("score", "threshold", where=Where("relation", "is", "near")),),
        ),
        Rule(
            "groups_of_two",
            "counts",
            "two members or more in each group",
            (zero("groups_of_one"),),
        ),
        Rule(
            "one_keeper",
            "counts",
            "one keeper in each group",
            (zero("groups_without_one_keeper"),),
        ),
        Rule(
            "group_names",
            "counts",
            "a group is named after one of its members",
            (zero("groups_without_their_name"),),
        ),
        Rule(
            "evidence_in_group",
            "counts",
            "match and keeper of a duplicate belong to its group",
            (zero("matches_outside_group"), zero("keepers_outside_group")),
        ),
        Rule("verdicts_unique", "counts", "each image once", (zero("verdicts_repeated"),)),
        Rule("pairs_unique", "counts", "each pair once", (zero("pairs_repeated"),)),
        Rule(
            "group_reconciles",
            "counts",
            "decoded = unique + keepers + duplicates, as many fingerprints in the lake, and as "
            "many groups as keepers",
            (
                Equal("decoded", "unique_keepers_and_duplicates"),
                Equal("decoded", "decoded_in_lake"),
                Equal("groups", "keepers"),
            ),
        ),
        Rule(
            "group_in_lake",
            "counts",
            "as many unique images, keepers and duplicates of each kind in the lake as counted",
            (
                Equal("unique", "unique_in_lake"),
                Equal("keepers", "keepers_in_lake"),
                *(Equal(f"duplicates_{r}", f"duplicates_{r}_in_lake") for r in RELATIONS),
            ),
        ),
        Rule(
            "verdicts_complete",
            "counts",
            "a verdict for each fingerprint with its digest, period and status, and no other",
            (zero("images_without_verdict"), zero("verdicts_without_image")),
        ),
    ]
