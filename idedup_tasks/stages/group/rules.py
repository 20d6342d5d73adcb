"""The rules of group's gate."""

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
from idedup_tasks.settings import DUPLICATES, RELATIONS, VARIANTS

if TYPE_CHECKING:
    from idedup_tasks.run import Run

_COLLAPSED = Where("status", "is", "collapsed")
_UNIQUE, _KEEPER = Where("verdict", "is", "unique"), Where("verdict", "is", "keeper")
_DUPLICATE, _VARIANT = Where("verdict", "is", "duplicate"), Where("verdict", "is", "variant")
_SEEN = ("relation", "method", "score", "overlap", "keeper_overlap", "changed", "transform_numbers")


def rules(run: Run, counts: Mapping[str, Any]) -> list[Rule]:
    return [
        as_declared("groups"),
        Rule(
            "groups_filled",
            "groups",
            "an id, a digest, a status and a verdict in every row",
            filled("image_id", "sha256", "status", "verdict", "crowded"),
        ),
        Rule(
            "group_words",
            "groups",
            "known statuses and verdicts; exact, same and crop of duplicates, inside and edited of "
            "variants",
            (
                one_of("status", "active", "collapsed"),
                one_of("verdict", "unique", "keeper", "duplicate", "variant"),
                one_of("relation", *DUPLICATES, where=_DUPLICATE),
                one_of("relation", *VARIANTS, where=_VARIANT),
            ),
        ),
        Rule(
            "group_ids",
            "groups",
            "a group, a keeper and a reason for all but unique images, which have none",
            (
                *filled("group_id", "keeper_id", "why", where=Where("verdict", "is not", "unique")),
                *empty("group_id", "keeper_id", "why", where=_UNIQUE),
            ),
        ),
        Rule(
            "evidence",
            "groups",
            "what was seen of each duplicate or variant and its keeper",
            (*filled(*_SEEN, where=_DUPLICATE), *filled(*_SEEN, where=_VARIANT)),
        ),
        Rule(
            "no_evidence_for_keepers",
            "groups",
            "nothing seen for a keeper or a unique image",
            (*empty(*_SEEN, "place", where=_KEEPER), *empty(*_SEEN, "place", where=_UNIQUE)),
        ),
        Rule(
            "group_shares",
            "groups",
            "scores, overlaps and what changed from 0 to 1",
            tuple(Between(c, 0, 1) for c in ("score", "overlap", "keeper_overlap", "changed")),
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
            "one keeper in each group, which all of it name",
            (zero("groups_without_one_keeper"), zero("keepers_outside_group")),
        ),
        Rule(
            "group_names",
            "counts",
            "a group is named after one of its members",
            (zero("groups_without_their_name"),),
        ),
        Rule(
            "seen",
            "counts",
            "each duplicate or variant was looked at with its keeper, or has its bytes",
            (zero("members_never_looked_at"),),
        ),
        Rule("verdicts_unique", "counts", "each image once", (zero("verdicts_repeated"),)),
        Rule(
            "group_reconciles",
            "counts",
            "decoded = unique + keepers + duplicates + variants, as many fingerprints in the lake, "
            "and as many groups as keepers",
            (
                Equal("decoded", "by_verdict"),
                Equal("decoded", "decoded_in_lake"),
                Equal("groups", "keepers"),
                Equal("groups", "groups_in_lake"),
            ),
        ),
        Rule(
            "group_in_lake",
            "counts",
            "as many unique images, keepers, and members of each relation in the lake as counted",
            (
                Equal("unique", "unique_in_lake"),
                Equal("keepers", "keepers_in_lake"),
                Equal("crowded", "crowded_in_lake"),
                *(Equal(relation, f"{relation}_in_lake") for relation in RELATIONS),
            ),
        ),
        Rule(
            "verdicts_complete",
            "counts",
            "a verdict for each fingerprint with its digest, period and status, and no other",
            (zero("images_without_verdict"), zero("verdicts_without_image")),
        ),
    ]
