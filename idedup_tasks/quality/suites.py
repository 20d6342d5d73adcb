"""What is checked, stage by stage: the suites of the gates, all of them, in one place.

A rule has a name that is unique over all stages (`quality.warn_only` of a collection names it), the
frame it looks at, what it wants in words, and the Great Expectations that say the same exactly:

- a table's name: the rows that the candidate would add to it, in batches;
- `results`: the rows of a report's result file, in batches;
- `files`: one row per data file, as its footer has it;
- `counts`: one row, the candidate's counts beside what the lake says (`facts`).

A frame without rows breaks no rule: an interval in which nothing arrived is a green run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column, Condition

from idedup_tasks.descriptors import descriptor_info
from idedup_tasks.lake import Candidate
from idedup_tasks.quality import Severity
from idedup_tasks.run import Run
from idedup_tasks.settings import Collection, Places

# Below this many objects one unreadable file more or less is no statement about the source.
FEW_OBJECTS = 10
# The rule that an alert of kind `jump` goes by.
DUPLICATE_RATE_JUMP = "duplicate_rate_jump"
# float32 rounding of a unit vector's norm is 1e-7; a vector that nobody normalised is far off.
_NORM_TOLERANCE = 1e-3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID = "^[0-9a-f]{32}$"
_SHA256 = "^[0-9a-f]{64}$"
_DECODED = Column("status") == "decoded"
_REJECTED = Column("status") == "rejected"
_NOT_REJECTED = Column("status") != "rejected"
_ACTIVE = Column("status") == "active"
_COLLAPSED = Column("status") == "collapsed"
_DUPLICATE = Column("verdict") == "duplicate"


@dataclass(frozen=True)
class Rule:
    """One rule of a suite; see the module's first lines."""

    name: str
    frame: str
    wants: str
    expectations: tuple[Expectation, ...]
    severity: Severity = "error"


def suite(run: Run, candidate: Candidate) -> list[Rule]:
    """The rules of a candidate's stage, with the collection's limits and demotions applied.

    Raises:
        ValueError: there is no such stage.
    """
    if candidate.stage not in _SUITES:
        raise ValueError(
            f"Stage {candidate.stage!r} has no suite: it is one of {', '.join(_SUITES)}."
        )
    demoted = run.collection.quality.warn_only
    return [
        replace(rule, severity="warn") if rule.name in demoted else rule
        for rule in _SUITES[candidate.stage](run, candidate)
    ]


def names() -> frozenset[str]:
    """The names of all rules, over all stages."""
    places = Places(home=Path(), lake="", warehouse="", collections=Path())
    collection = Collection.model_validate({"name": "any", "source": "any"})
    run = Run(collection, "any", None, places)
    return frozenset(
        rule.name
        for stage, rules in _SUITES.items()
        for rule in rules(run, Candidate(stage, "any", [], {}, {}))
    )


# --- the suites --------------------------------------------------------------------------------


def _ingest(run: Run, candidate: Candidate) -> list[Rule]:
    quality = run.collection.quality
    removals = 1.0 if run.allow_removals else quality.max_removal_ratio
    few = candidate.counts.get("listed", 0) < FEW_OBJECTS
    return [
        _schema("images"),
        Rule(
            "images_filled",
            "images",
            "what every row of its status must have",
            (
                *_filled("image_id", "key", "uri", "arrived_at", "bytes", "etag", "status"),
                *_filled("sha256", "width", "height", "format", where=_DECODED),
                *_filled("reason_code", "reason", where=_REJECTED),
            ),
        ),
        Rule(
            "images_statuses",
            "images",
            "decoded or rejected",
            (_one_of("status", "decoded", "rejected"),),
        ),
        Rule("image_ids", "images", "32 hex digits", (_matches("image_id", _ID),)),
        Rule("image_digests", "images", "64 hex digits", (_matches("sha256", _SHA256),)),
        Rule(
            "image_sizes",
            "images",
            f"width and height of 1 or more, and at most {run.collection.limits.max_bytes:,} bytes",
            (
                _between("width", 1, None),
                _between("height", 1, None),
                _between("bytes", 0, run.collection.limits.max_bytes, where=_DECODED),
            ),
        ),
        Rule(
            "arrival_periods",
            "images",
            "the period that holds arrived_at",
            (_equal("arrival", "arrival_of_moment"),),
        ),
        # A wrong clock at the source is worth knowing, and no reason to stop.
        Rule(
            "arrivals_plausible",
            "images",
            "not before 1970 and not after tomorrow",
            (_between("arrived_at", _EPOCH, datetime.now(UTC) + timedelta(days=1)),),
            "warn",
        ),
        Rule(
            "images_unique",
            "counts",
            "each image once, over all partitions",
            (_zero("images_repeated"),),
        ),
        Rule(
            "ingest_reconciles",
            "counts",
            "listed = decoded + rejected = reused + read",
            (_equal("listed", "decoded_and_rejected"), _equal("listed", "reused_and_read")),
        ),
        Rule(
            "ingest_in_lake",
            "counts",
            "as many decoded and rejected rows in the lake as were counted",
            (_equal("decoded", "decoded_in_lake"), _equal("rejected", "rejected_in_lake")),
        ),
        Rule(
            "reject_ratio",
            "counts",
            f"at most {quality.max_reject_ratio:.0%} of the objects rejected",
            (_between("reject_ratio", 0, quality.max_reject_ratio),),
            "warn" if few else "error",
        ),
        Rule(
            "removal_ratio",
            "counts",
            f"at most {removals:.0%} of a partition vanished",
            (_between("max_removed_ratio", 0, removals),),
        ),
    ]


def _prefilter(run: Run, candidate: Candidate) -> list[Rule]:
    return [
        _schema("fingerprints"),
        Rule(
            "fingerprints_filled",
            "fingerprints",
            "an id, a digest, a hash and a status in every row",
            _filled("image_id", "sha256", "hash", "low_information", "status"),
        ),
        Rule(
            "fingerprint_statuses",
            "fingerprints",
            "active or collapsed; exact or perceptual",
            (_one_of("status", "active", "collapsed"), _one_of("relation", "exact", "perceptual")),
        ),
        Rule(
            "collapse_evidence",
            "fingerprints",
            "what it collapsed onto, why and how far, for collapsed images and no others",
            (
                *_filled("onto", "relation", "distance", where=_COLLAPSED),
                *_empty("onto", "relation", "distance", where=_ACTIVE),
            ),
        ),
        Rule(
            "collapse_distances",
            "fingerprints",
            f"0 to {run.thresholds.phash_distance} of 64 bits, and 0 for exact copies",
            (
                _between("distance", 0, run.thresholds.phash_distance),
                _between("distance", 0, 0, where=Column("relation") == "exact"),
            ),
        ),
        Rule(
            "low_information_by_bytes",
            "fingerprints",
            "images of low information match by their bytes only",
            (_one_of("relation", "exact", where=Column("low_information").is_in([1])),),
        ),
        Rule(
            "collapse_targets",
            "counts",
            "exact copies lie on an image that is there, perceptual twins on an active one",
            (_zero("onto_unknown"),),
        ),
        Rule(
            "fingerprints_unique",
            "counts",
            "each image once, over all partitions",
            (_zero("fingerprints_repeated"),),
        ),
        Rule(
            "prefilter_reconciles",
            "counts",
            "decoded = active + collapsed, and as many decoded images in the lake",
            (_equal("decoded", "active_and_collapsed"), _equal("decoded", "decoded_in_lake")),
        ),
        Rule(
            "prefilter_in_lake",
            "counts",
            "as many active and collapsed rows in the lake as were counted",
            (
                _equal("active", "active_in_lake"),
                _equal("collapsed_exact", "collapsed_exact_in_lake"),
                _equal("collapsed_perceptual", "collapsed_perceptual_in_lake"),
            ),
        ),
        Rule(
            "fingerprints_complete",
            "counts",
            "a fingerprint for each decoded image with its digest and period, and no other",
            (_zero("images_without_fingerprint"), _zero("fingerprints_without_image")),
        ),
    ]


def _embed(run: Run, candidate: Candidate) -> list[Rule]:
    dim = descriptor_info(run.collection.descriptor).dim
    return [
        _schema("embeddings"),
        Rule(
            "embeddings_filled",
            "embeddings",
            "a model, an id and a digest in every row",
            _filled("model_id", "image_id", "sha256"),
        ),
        Rule(
            "one_model",
            "embeddings",
            f"only {run.model_id}",
            (_one_of("model_id", run.model_id),),
        ),
        Rule("vector_lengths", "embeddings", f"{dim} values", (_between("dim", dim, dim),)),
        Rule("vectors_finite", "embeddings", "no NaN and no infinity", (_one_of("broken", False),)),
        Rule(
            "vectors_unit",
            "embeddings",
            f"norm 1 ± {_NORM_TOLERANCE}",
            (
                _between(
                    "norm",
                    1 - _NORM_TOLERANCE,
                    1 + _NORM_TOLERANCE,
                    where=Column("broken").is_in([0]),
                ),
            ),
        ),
        Rule(
            "embeddings_unique",
            "counts",
            "each image once under the model",
            (_zero("embeddings_repeated"),),
        ),
        Rule(
            "embed_reconciles",
            "counts",
            "active = present + embedded, and as many active images in the lake",
            (_equal("active", "present_and_embedded"), _equal("active", "active_in_lake")),
        ),
        Rule(
            "embeddings_complete",
            "counts",
            "a vector, made from the current bytes, for each active image",
            (_zero("active_without_embedding"),),
        ),
    ]


def _index(run: Run, candidate: Candidate) -> list[Rule]:
    return [
        _schema("index"),
        Rule(
            "shards_filled",
            "index",
            "model, name, path, size, checksum and number of vectors of every shard",
            _filled("model_id", "shard_id", "path", "bytes", "checksum", "vectors"),
        ),
        Rule(
            "shard_sizes",
            "index",
            "files and vectors of at least one byte and one vector",
            (_between("bytes", 1, None), _between("vectors", 1, None)),
        ),
        Rule("shard_checksums", "index", "64 hex digits", (_matches("checksum", _SHA256),)),
        Rule(
            "shard_files",
            "index",
            "each shard's file is there with its size",
            (_equal("bytes", "bytes_found"),),
        ),
        Rule("shards_unique", "counts", "each shard once", (_zero("shards_repeated"),)),
        Rule(
            "index_reconciles",
            "counts",
            "indexed = active, and as many active images in the lake",
            (_equal("indexed", "active"), _equal("active", "active_in_lake")),
        ),
        Rule(
            "index_in_lake",
            "counts",
            "the shards hold at least as many vectors as there are active images",
            (_at_least("vectors_in_shards", "active_in_lake"),),
        ),
        Rule(
            "self_recall",
            "counts",
            "each sampled vector finds itself",
            (_equal("found_themselves", "sampled"),),
        ),
        Rule(
            "self_recall_sampled",
            "counts",
            "a sample, when anything is indexed",
            (_between("sampled", 1, None, where=Column("indexed") > 0),),
        ),
    ]


def _group(run: Run, candidate: Candidate) -> list[Rule]:
    return [
        _schema("pairs_and_groups"),
        Rule(
            "pairs_filled", "pairs", "two ids and a score", _filled("image_a", "image_b", "score")
        ),
        Rule("pairs_ordered", "pairs", "image_a before image_b", (_one_of("ordered", True),)),
        Rule("pair_scores", "pairs", "0 to 1", (_between("score", 0, 1),)),
        Rule(
            "groups_filled",
            "groups",
            "an id, a digest, a status and a verdict in every row",
            _filled("image_id", "sha256", "status", "verdict"),
        ),
        Rule(
            "group_statuses",
            "groups",
            "known statuses, verdicts and relations, and no collapsed image that is unique",
            (
                _one_of("status", "active", "collapsed"),
                _one_of("verdict", "unique", "keeper", "duplicate"),
                _one_of("relation", "exact", "perceptual", "near"),
                _one_of("verdict", "keeper", "duplicate", where=_COLLAPSED),
            ),
        ),
        Rule(
            "group_ids",
            "groups",
            "a group for keepers and duplicates, and none for unique images",
            (
                _one_of("grouped", True, where=Column("verdict") != "unique"),
                _one_of("grouped", False, where=Column("verdict") == "unique"),
            ),
        ),
        Rule(
            "evidence",
            "groups",
            "relation, method, match, score, threshold and keeper of each duplicate",
            _filled(
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
            _empty("matched_id", "relation", "score", where=Column("verdict") != "duplicate"),
        ),
        Rule(
            "group_scores",
            "groups",
            "scores of 0 to 1, and of -1 to 1 to the keeper",
            (_between("score", 0, 1), _between("score_to_keeper", -1, 1)),
        ),
        Rule(
            "score_over_threshold",
            "groups",
            "a near duplicate's score reaches the threshold it cites",
            (_at_least("score", "threshold", where=Column("relation") == "near"),),
        ),
        Rule(
            "groups_of_two",
            "counts",
            "two members or more in each group",
            (_zero("groups_of_one"),),
        ),
        Rule(
            "one_keeper",
            "counts",
            "one keeper in each group",
            (_zero("groups_without_one_keeper"),),
        ),
        Rule(
            "group_names",
            "counts",
            "a group is named after one of its members",
            (_zero("groups_without_their_name"),),
        ),
        Rule(
            "evidence_in_group",
            "counts",
            "match and keeper of a duplicate belong to its group",
            (_zero("matches_outside_group"), _zero("keepers_outside_group")),
        ),
        Rule("verdicts_unique", "counts", "each image once", (_zero("verdicts_repeated"),)),
        Rule("pairs_unique", "counts", "each pair once", (_zero("pairs_repeated"),)),
        Rule(
            "group_reconciles",
            "counts",
            "decoded = unique + keepers + duplicates, as many fingerprints in the lake, and as "
            "many groups as keepers",
            (
                _equal("decoded", "unique_keepers_and_duplicates"),
                _equal("decoded", "decoded_in_lake"),
                _equal("groups", "keepers"),
            ),
        ),
        Rule(
            "group_in_lake",
            "counts",
            "as many unique images, keepers and duplicates of each kind in the lake as counted",
            (
                _equal("unique", "unique_in_lake"),
                _equal("keepers", "keepers_in_lake"),
                *(
                    _equal(f"duplicates_{r}", f"duplicates_{r}_in_lake")
                    for r in ("exact", "perceptual", "near")
                ),
            ),
        ),
        Rule(
            "verdicts_complete",
            "counts",
            "a verdict for each fingerprint with its digest, period and status, and no other",
            (_zero("images_without_verdict"), _zero("verdicts_without_image")),
        ),
    ]


def _report(run: Run, candidate: Candidate) -> list[Rule]:
    return [
        _schema("results"),
        Rule(
            "results_filled",
            "results",
            "what every row of its status must have",
            (
                *_filled("image_id", "arrival", "key", "uri", "arrived_at", "bytes", "status"),
                *_filled("reason_code", "reason", where=_REJECTED),
                *_filled("sha256", "width", "height", "verdict", where=_NOT_REJECTED),
            ),
        ),
        Rule(
            "result_statuses",
            "results",
            "known statuses, verdicts and relations",
            (
                _one_of("status", "active", "collapsed", "rejected"),
                _one_of("verdict", "unique", "keeper", "duplicate"),
                _one_of("relation", "exact", "perceptual", "near"),
            ),
        ),
        Rule(
            "result_evidence",
            "results",
            "group, relation, method, match, score, threshold and keeper of each duplicate",
            _filled(
                "group_id",
                "relation",
                "method",
                "matched_id",
                "score",
                "threshold",
                "keeper_id",
                where=_DUPLICATE,
            ),
        ),
        Rule("results_unique", "counts", "each image once", (_zero("results_repeated"),)),
        Rule(
            "report_reconciles",
            "counts",
            "images = active + collapsed + rejected = images in the lake = rows in the result",
            (
                _equal("images", "active_collapsed_and_rejected"),
                _equal("images", "images_in_lake"),
                _equal("images", "rows_in_results"),
                *(_equal(s, f"{s}_in_results") for s in ("active", "collapsed", "rejected")),
            ),
        ),
        Rule(
            "report_duplicates",
            "counts",
            "groups and duplicates of each kind as the lake has them",
            (
                _equal("groups", "keepers_in_lake"),
                *(
                    _equal(f"duplicates_{r}", f"duplicates_{r}_in_lake")
                    for r in ("exact", "perceptual", "near")
                ),
            ),
        ),
        Rule(
            "reclaimable_bytes",
            "counts",
            "the sum of the bytes of the duplicates of each kind",
            tuple(
                _equal(f"reclaimable_{r}", f"reclaimable_{r}_in_results")
                for r in ("exact", "perceptual", "near")
            ),
        ),
        Rule(
            "results_complete",
            "counts",
            "a row for each image of the lake, and no other",
            (_zero("images_without_result"), _zero("results_without_image")),
        ),
        # More of the same than ever is worth knowing: an upload repeated, a camera that hangs.
        Rule(
            DUPLICATE_RATE_JUMP,
            "counts",
            f"at most {run.collection.quality.max_duplicate_jump:.0%} more duplicates among what "
            "arrived than usual",
            (_at_least("duplicate_rate_limit", "duplicate_rate"),),
            "warn",
        ),
        Rule(
            "results_as_grouped",
            "counts",
            "status and verdict of each image as the groups have them",
            (_zero("verdicts_without_result"), _zero("results_without_verdict")),
        ),
    ]


_SUITES: Mapping[str, Callable[[Run, Candidate], list[Rule]]] = {
    "ingest": _ingest,
    "prefilter": _prefilter,
    "embed": _embed,
    "index": _index,
    "group": _group,
    "report": _report,
}


# --- the words they are written in -------------------------------------------------------------


def _schema(name: str) -> Rule:
    """Data files hold the declared columns and as many rows as their commit says."""
    return Rule(
        f"{name}_schema",
        "files",
        "columns and rows as declared",
        (_one_of("schema", "as declared"), _equal("rows", "rows_stated")),
    )


# A condition takes no booleans: of a boolean column, 1 is true and 0 is false.
def _condition(where: Condition | None) -> dict[str, Any]:
    return {} if where is None else {"row_condition": where}


def _filled(*columns: str, where: Condition | None = None) -> tuple[Expectation, ...]:
    return tuple(gxe.ExpectColumnValuesToNotBeNull(column=c, **_condition(where)) for c in columns)


def _empty(*columns: str, where: Condition | None = None) -> tuple[Expectation, ...]:
    return tuple(gxe.ExpectColumnValuesToBeNull(column=c, **_condition(where)) for c in columns)


def _one_of(column: str, *values: object, where: Condition | None = None) -> Expectation:
    """Nulls pass: whether a value is needed is said by `_filled`."""
    return gxe.ExpectColumnValuesToBeInSet(
        column=column, value_set=list(values), **_condition(where)
    )


def _matches(column: str, regex: str) -> Expectation:
    return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=regex)


def _between(column: str, low: Any, high: Any, where: Condition | None = None) -> Expectation:
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, min_value=low, max_value=high, **_condition(where)
    )


def _zero(column: str) -> Expectation:
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0, max_value=0)


def _equal(left: str, right: str) -> Expectation:
    return gxe.ExpectColumnPairValuesToBeEqual(column_A=left, column_B=right)


def _at_least(left: str, right: str, where: Condition | None = None) -> Expectation:
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=left,
        column_B=right,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
        **_condition(where),
    )
