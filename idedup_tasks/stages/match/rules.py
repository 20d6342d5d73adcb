"""The rules of match's gate."""

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

# All that a look says.
WORDS = (*RELATIONS, "alike", "different", "undecided")
_BY_VECTOR = Where("proposed_by", "is", "vector")
_OTHERS = Where("proposed_by", "is not", "vector")
# Of the candidates of a sample; below it, duplicates are missed that vectors would have proposed.
_RECALL = 0.95


def rules(run: Run, counts: Mapping[str, Any]) -> list[Rule]:
    return [
        as_declared("matches"),
        Rule(
            "matches_filled",
            "matches",
            "two ids, what proposed them, and a look in every row",
            filled(
                "image_a",
                "image_b",
                "proposed_by",
                "relation",
                "score",
                "overlap_a",
                "overlap_b",
                "changed",
                "blur",
                "transform_numbers",
                "way",
            ),
        ),
        Rule(
            "matches_ordered",
            "matches",
            "image_a before image_b",
            (AtLeast("image_b", "image_a", strictly=True),),
        ),
        Rule(
            "match_words",
            "matches",
            "known proposers, relations and ways",
            (
                one_of("proposed_by", "hash", "vector", "component"),
                one_of("relation", *WORDS),
                one_of("way", "bytes", "frames", "features", "none"),
            ),
        ),
        Rule(
            "match_shares",
            "matches",
            "scores, overlaps and what changed from 0 to 1",
            tuple(Between(c, 0, 1) for c in ("score", "overlap_a", "overlap_b", "changed")),
        ),
        Rule("match_transforms", "matches", "3 x 3", (Between("transform_numbers", 9, 9),)),
        Rule(
            "match_cosines",
            "matches",
            f"from {run.thresholds.candidate} on for what vectors proposed, and none for others",
            (
                *filled("cosine", where=_BY_VECTOR),
                *empty("cosine", where=_OTHERS),
                # Of float32 vectors of length one, or as good as.
                Between("cosine", run.thresholds.candidate, 1.001),
            ),
        ),
        Rule(
            "twins_are_the_same",
            "matches",
            "what collapsed by its hash was looked at and is the same",
            (one_of("relation", "same", where=Where("proposed_by", "is", "hash")),),
        ),
        Rule("matches_unique", "counts", "each pair once", (zero("matches_repeated"),)),
        Rule(
            "matches_of_contents",
            "counts",
            "images that are active, or twins of one that is",
            (zero("matched_unknown"),),
        ),
        Rule(
            "match_reconciles",
            "counts",
            "looked at = candidates + twins + components = new + known = all relations, as many "
            "twins as collapsed, and as many active images in the lake",
            (
                Equal("looked_at", "proposed"),
                Equal("looked_at", "new_and_known"),
                Equal("looked_at", "by_relation"),
                Equal("hash_pairs", "twins_in_lake"),
                Equal("active", "active_in_lake"),
            ),
        ),
        Rule(
            "match_in_lake",
            "counts",
            "as many pairs of each kind, and crowded images, in the lake as counted",
            (
                Equal("candidates", "candidates_in_lake"),
                Equal("hash_pairs", "hash_pairs_in_lake"),
                Equal("component_pairs", "component_pairs_in_lake"),
                *(Equal(word, f"{word}_in_lake") for word in WORDS),
                Equal("crowded", "crowded_in_lake"),
            ),
        ),
        Rule(
            "candidate_recall",
            "counts",
            f"{_RECALL:.0%} or more of the candidates of a sample found by cells",
            (Between("recall", _RECALL, None),),
            severity="warn",
        ),
    ]
