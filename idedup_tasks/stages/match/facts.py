"""What the lake says of the matches that match would leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.dataset as ds

from idedup_tasks.lake import Candidate
from idedup_tasks.quality.counting import (
    Hashes,
    Rows,
    after,
    concatenated,
    passes,
    read_version,
    repeated,
    row_hashes,
    sliced,
    tally,
)
from idedup_tasks.run import Run
from idedup_tasks.stages.match.counts import Counts
from idedup_tasks.stages.match.rules import WORDS


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = Counts(**candidate.counts)
    contents = (ds.field("status") == "active") | (ds.field("relation") == "same")
    prints = read_version(run, candidate, "fingerprints", contents)
    matches = after(run, candidate, "matches")
    proposed, seen = tally(matches, ("proposed_by",)), tally(matches, ("relation",))
    statuses = tally(prints, ("status",))
    return {
        "proposed": counts.candidates + counts.hash_pairs + counts.component_pairs,
        "new_and_known": counts.looks_new + counts.looks_known,
        "by_relation": sum(getattr(counts, word) for word in WORDS),
        "active_in_lake": statuses[("active",)],
        "twins_in_lake": statuses[("collapsed",)],
        "candidates_in_lake": proposed[("vector",)],
        "hash_pairs_in_lake": proposed[("hash",)],
        "component_pairs_in_lake": proposed[("component",)],
        **{f"{word}_in_lake": seen[(word,)] for word in WORDS},
        "recall": 1.0 if counts.sampled_recall is None else counts.sampled_recall,
        "crowded_in_lake": _crowded(matches, run.collection.matching.candidates),
        "matched_unknown": _unknown(matches, prints),
        "matches_repeated": repeated(matches.scan, ("image_a", "image_b"), matches.stored),
    }


def _crowded(matches: Rows, limit: int) -> int:
    """Images with so many candidates or more."""
    proposed = Rows(matches.lake, "matches", matches.files, ds.field("proposed_by") == "vector")
    crowded = 0
    for part, parts in passes(2 * matches.stored):
        ends = _ends(proposed, part, parts)
        crowded += int((np.unique(ends, return_counts=True)[1] >= limit).sum())
    return crowded


def _unknown(matches: Rows, prints: Rows) -> int:
    """Images in a match that are neither active nor a twin of one that is."""
    unknown = 0
    for part, parts in passes(max(2 * matches.stored, prints.stored)):
        held = [
            sliced(row_hashes(b, ("image_id",)), part, parts) for b in prints.scan(["image_id"])
        ]
        ends = np.unique(_ends(matches, part, parts))
        unknown += int((~np.isin(ends, concatenated(held))).sum())
    return unknown


def _ends(matches: Rows, part: int, parts: int) -> Hashes:
    columns = ("image_a", "image_b")
    return concatenated(
        [
            sliced(row_hashes(batch, (column,)), part, parts)
            for batch in matches.scan(columns)
            for column in columns
        ]
    )
