"""What the lake says of the images that ingest would leave."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from idedup_tasks.lake import Candidate
from idedup_tasks.periods import in_window
from idedup_tasks.quality.counting import Rows, after, repeated, tally
from idedup_tasks.quality.frames import stored_size
from idedup_tasks.run import Run
from idedup_tasks.stages.ingest.counts import Counts


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts, images = Counts(**candidate.counts), after(run, candidate, "images")
    files = images.files
    if run.window is not None:
        period = run.collection.arrival.period
        files = tuple(f for f in files if in_window(f.partition["arrival"], run.window, period))
    statuses = tally(Rows(run.lake, "images", files), ("status",))
    packs = _new_packs(run, candidate)
    return {
        "decoded_and_rejected": counts.decoded + counts.rejected,
        "reused_and_read": counts.reused + counts.read,
        "decoded_in_lake": statuses[("decoded",)],
        "rejected_in_lake": statuses[("rejected",)],
        "reject_ratio": counts.rejected / max(1, counts.listed),
        "images_repeated": repeated(images.scan, ("image_id",), images.stored),
        "pack_bytes_stated": sum(packs.values()),
        "pack_bytes_found": sum(stored_size(run.lake, path) or 0 for path in packs),
    }


def _new_packs(run: Run, candidate: Candidate) -> dict[str, int]:
    """The bytes of each new pack, as far as its rows reach.

    Rows that were written once more point where they did, and not all of their neighbours are left.
    """
    ends: dict[str, int] = {}
    old: set[str] = set()
    for change in candidate.changes:
        for batch in Rows(run.lake, "images", tuple(change.remove)).scan(["pack"]):
            old |= {*batch["pack"].unique().to_pylist()}
        columns = ["pack", "offset", "length", "fine_offset", "fine_length"]
        for batch in run.lake.scan_change(change, columns):
            end = pc.max_element_wise(
                pc.add(batch["offset"], batch["length"]),
                pc.add(batch["fine_offset"], batch["fine_length"]),
            )
            rows = pa.table({"pack": batch["pack"], "end": end}).drop_null()
            for row in rows.group_by("pack").aggregate([("end", "max")]).to_pylist():
                ends[row["pack"]] = max(ends.get(row["pack"], 0), row["end_max"])
    return {path: end for path, end in ends.items() if path not in old}
