"""What the lake says of the groups that group would leave."""

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
    sliced,
    tally,
    where_equal,
)
from idedup_tasks.run import Run
from idedup_tasks.settings import RELATIONS
from idedup_tasks.stages.group.counts import Counts
from idedup_tasks.verification import verifier_version


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = Counts(**candidate.counts)
    prints = read_version(run, candidate, "fingerprints")
    groups = after(run, candidate, "groups")
    verdicts, related = tally(groups, ("verdict",)), tally(groups, ("relation",))
    lost, strange = differences(prints, groups, ("arrival", "image_id", "sha256", "status"))
    return {
        "by_verdict": counts.unique + counts.keepers + counts.duplicates + counts.variants,
        "decoded_in_lake": sum(tally(prints, ("status",)).values()),
        "unique_in_lake": verdicts[("unique",)],
        "keepers_in_lake": verdicts[("keeper",)],
        **{f"{relation}_in_lake": related[(relation,)] for relation in RELATIONS},
        "crowded_in_lake": tally(groups, ("crowded",))[(True,)],
        "images_without_verdict": lost,
        "verdicts_without_image": strange,
        "verdicts_repeated": repeated(groups.scan, ("image_id",), groups.stored),
        "members_never_looked_at": _never_looked_at(run, groups),
        **_memberships(groups),
    }


def _memberships(groups: Rows) -> dict[str, int]:
    """What must hold inside every group: size, name, and one keeper for all."""
    totals: Counter[str] = Counter(
        dict.fromkeys(
            (
                "groups_in_lake",
                "groups_of_one",
                "groups_without_one_keeper",
                "groups_without_their_name",
                "keepers_outside_group",
            ),
            0,
        )
    )
    for part, parts in passes(groups.stored):
        held: dict[str, list[Hashes]] = {}
        for batch in groups.scan(("group_id", "image_id", "verdict", "keeper_id")):
            batch = batch.filter(pc.field("group_id").is_valid())
            group = row_hashes(batch, ("group_id",))
            batch = batch.filter(pa.array(group % np.uint64(parts) == part))
            keepers = where_equal(batch, "verdict", "keeper")
            named = batch.filter(pc.field("image_id") == pc.field("group_id"))
            for name, rows, key in (
                ("group", batch, ("group_id",)),
                ("group_kept", keepers, ("group_id",)),
                ("group_named", named, ("group_id",)),
                ("keeper", keepers, ("group_id", "image_id")),
                ("names_keeper", batch, ("group_id", "keeper_id")),
            ):
                held.setdefault(name, []).append(row_hashes(rows, key))
        found = {name: concatenated(hashes) for name, hashes in held.items()}
        if not found:
            continue
        every, sizes = np.unique(found["group"], return_counts=True)
        _, keepers_of = np.unique(found["group_kept"], return_counts=True)
        totals["groups_in_lake"] += len(every)
        totals["groups_of_one"] += int((sizes < 2).sum())
        totals["groups_without_one_keeper"] += len(every) - int((keepers_of == 1).sum())
        totals["groups_without_their_name"] += len(np.setdiff1d(every, found["group_named"]))
        totals["keepers_outside_group"] += int(
            (~np.isin(found["names_keeper"], found["keeper"])).sum()
        )
    return dict(totals)


def _never_looked_at(run: Run, groups: Rows) -> int:
    """Duplicates and variants whose content nobody has looked at with that of their keeper.

    They may have its bytes, or stand with it in the table of looks, by this verifier. Of two
    contents it knows only that one.
    """
    looks = run.lake.snapshot("looks")
    files = looks.files(verifier=verifier_version())
    missing = 0
    for part, parts in passes(groups.stored + sum(f.rows for f in files)):
        ids, digests = _keepers(groups)
        wanted: list[Hashes] = []
        for batch in groups.scan(("sha256", "verdict", "keeper_id")):
            batch = batch.filter(pc.field("verdict").isin(["duplicate", "variant"]))
            if not batch.num_rows or not len(ids):
                missing += batch.num_rows if part == 0 else 0
                continue
            names = np.array(batch["keeper_id"].fill_null("").to_pylist(), "S32")
            at = np.minimum(np.searchsorted(ids, names), len(ids) - 1)
            own = np.array(batch["sha256"].to_pylist(), "S64")
            theirs = np.where(ids[at] == names, digests[at], b"")
            apart = own != theirs
            pairs = _pairs(own[apart], theirs[apart])
            wanted.append(sliced(row_hashes(pairs, ("sha256_a", "sha256_b")), part, parts))
        seen = [
            sliced(row_hashes(batch, ("sha256_a", "sha256_b")), part, parts)
            for batch in looks.scan(["sha256_a", "sha256_b"], files=files)
        ]
        missing += int((~np.isin(concatenated(wanted), concatenated(seen))).sum())
    return missing


def _keepers(groups: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Ids of keepers, S32 and sorted, and their digests, S64."""
    ids, digests = [np.empty(0, "S32")], [np.empty(0, "S64")]
    for batch in groups.scan(("image_id", "sha256", "verdict")):
        kept = where_equal(batch, "verdict", "keeper")
        ids.append(np.array(kept["image_id"].to_pylist(), "S32"))
        digests.append(np.array(kept["sha256"].to_pylist(), "S64"))
    names, contents = np.concatenate(ids), np.concatenate(digests)
    order = np.argsort(names)
    return names[order], contents[order]


def _pairs(own: np.ndarray, theirs: np.ndarray) -> pa.RecordBatch:
    """As looks are kept: the smaller content first."""
    turned = own > theirs
    low, high = np.where(turned, theirs, own), np.where(turned, own, theirs)
    columns = {"sha256_a": low.astype(str), "sha256_b": high.astype(str)}
    return pa.RecordBatch.from_pydict({k: pa.array(v, pa.string()) for k, v in columns.items()})
