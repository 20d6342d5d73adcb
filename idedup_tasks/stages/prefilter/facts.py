"""What the lake says of the fingerprints that prefilter would leave."""

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
    differences,
    passes,
    read_version,
    repeated,
    row_hashes,
    sliced,
    tally,
    where_equal,
)
from idedup_tasks.run import Run
from idedup_tasks.stages.prefilter.counts import Counts


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = Counts(**candidate.counts)
    images = read_version(run, candidate, "images", ds.field("status") == "decoded")
    prints = after(run, candidate, "fingerprints")
    found = tally(prints, ("status", "relation"))
    lost, strange = differences(images, prints, ("arrival", "image_id", "sha256"))
    return {
        "active_and_collapsed": counts.active + counts.collapsed_exact + counts.collapsed_same,
        "decoded_in_lake": tally(images, ("status",))[("decoded",)],
        "active_in_lake": found[("active", None)],
        "collapsed_exact_in_lake": found[("collapsed", "exact")],
        "collapsed_same_in_lake": found[("collapsed", "same")],
        "images_without_fingerprint": lost,
        "fingerprints_without_image": strange,
        "fingerprints_repeated": repeated(prints.scan, ("image_id",), prints.stored),
        "onto_unknown": _onto_unknown(prints),
    }


def _onto_unknown(prints: Rows) -> int:
    """Collapsed images whose `onto` is not there, or, for twins, not active.

    An exact copy may lie on an earliest copy that is itself a twin.
    """
    unknown = 0
    columns = ("image_id", "status", "onto", "relation")
    for part, parts in passes(prints.stored):
        held: dict[str, list[Hashes]] = {"every": [], "active": [], "exact": [], "same": []}
        for batch in prints.scan(columns):
            for name, rows, column in (
                ("every", batch, "image_id"),
                ("active", where_equal(batch, "status", "active"), "image_id"),
                ("exact", where_equal(batch, "relation", "exact"), "onto"),
                ("same", where_equal(batch, "relation", "same"), "onto"),
            ):
                held[name].append(sliced(row_hashes(rows, (column,)), part, parts))
        found = {name: concatenated(hashes) for name, hashes in held.items()}
        unknown += int((~np.isin(found["exact"], found["every"])).sum())
        unknown += int((~np.isin(found["same"], found["active"])).sum())
    return unknown
