"""What the lake says of the groups and pairs that group would leave."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    tally,
    where_equal,
)
from idedup_tasks.run import Run
from idedup_tasks.settings import RELATIONS
from idedup_tasks.stages.group.counts import Counts


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = Counts(**candidate.counts)
    prints = read_version(run, candidate, "fingerprints")
    groups, pairs = after(run, candidate, "groups"), after(run, candidate, "pairs")
    found = tally(groups, ("verdict", "relation"))
    lost, strange = differences(prints, groups, ("arrival", "image_id", "sha256", "status"))
    duplicates = {
        f"duplicates_{relation}_in_lake": found[("duplicate", relation)] for relation in RELATIONS
    }
    return {
        "unique_keepers_and_duplicates": counts.unique + counts.keepers + counts.duplicates,
        "decoded_in_lake": sum(tally(prints, ("status",)).values()),
        "unique_in_lake": found[("unique", None)],
        "keepers_in_lake": found[("keeper", None)],
        **duplicates,
        "images_without_verdict": lost,
        "verdicts_without_image": strange,
        "verdicts_repeated": repeated(groups.scan, ("image_id",), groups.stored),
        "pairs_repeated": repeated(pairs.scan, ("image_a", "image_b"), pairs.stored),
        **_memberships(groups),
    }


def _memberships(groups: Rows) -> dict[str, int]:
    """What must hold inside every group: size, keeper, name, and evidence from the same group."""
    totals: Counter[str] = Counter(
        dict.fromkeys(
            (
                "groups_in_lake",
                "groups_of_one",
                "groups_without_one_keeper",
                "groups_without_their_name",
                "matches_outside_group",
                "keepers_outside_group",
            ),
            0,
        )
    )
    columns = ("group_id", "image_id", "verdict", "matched_id", "keeper_id")
    for part, parts in passes(groups.stored):
        held: dict[str, list[Hashes]] = {}
        for batch in groups.scan(columns):
            batch = batch.filter(pc.field("group_id").is_valid())
            group = row_hashes(batch, ("group_id",))
            batch = batch.filter(pa.array(group % np.uint64(parts) == part))
            keepers = where_equal(batch, "verdict", "keeper")
            others = where_equal(batch, "verdict", "duplicate")
            named = batch.filter(pc.field("image_id") == pc.field("group_id"))
            matched = others.filter(pc.field("matched_id").is_valid())
            kept = others.filter(pc.field("keeper_id").is_valid())
            for name, rows, key in (
                ("group", batch, ("group_id",)),
                ("group_kept", keepers, ("group_id",)),
                ("group_named", named, ("group_id",)),
                ("member", batch, ("group_id", "image_id")),
                ("keeper", keepers, ("group_id", "image_id")),
                ("match", matched, ("group_id", "matched_id")),
                ("match_keeper", kept, ("group_id", "keeper_id")),
            ):
                held.setdefault(name, []).append(row_hashes(rows, key))
        found = {name: concatenated(hashes) for name, hashes in held.items()}
        if not found:
            continue
        every, sizes = np.unique(found["group"], return_counts=True)
        kept, keepers_of = np.unique(found["group_kept"], return_counts=True)
        totals["groups_in_lake"] += len(every)
        totals["groups_of_one"] += int((sizes < 2).sum())
        totals["groups_without_one_keeper"] += len(every) - int((keepers_of == 1).sum())
        totals["groups_without_their_name"] += len(np.setdiff1d(every, found["group_named"]))
        totals["matches_outside_group"] += int((~np.isin(found["match"], found["member"])).sum())
        totals["keepers_outside_group"] += int(
            (~np.isin(found["match_keeper"], found["keeper"])).sum()
        )
    return dict(totals)
