"""What the lake says of the images that ingest would leave."""

from __future__ import annotations

from typing import Any

from idedup_tasks.lake import Candidate
from idedup_tasks.periods import in_window
from idedup_tasks.quality.counting import Rows, after, repeated, tally
from idedup_tasks.run import Run
from idedup_tasks.stages.ingest.counts import Counts


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts, images = Counts(**candidate.counts), after(run, candidate, "images")
    files = images.files
    if run.window is not None:
        period = run.collection.arrival.period
        files = tuple(f for f in files if in_window(f.partition["arrival"], run.window, period))
    statuses = tally(Rows(run.lake, "images", files), ("status",))
    return {
        "decoded_and_rejected": counts.decoded + counts.rejected,
        "reused_and_read": counts.reused + counts.read,
        "decoded_in_lake": statuses[("decoded",)],
        "rejected_in_lake": statuses[("rejected",)],
        "reject_ratio": counts.rejected / max(1, counts.listed),
        "images_repeated": repeated(images.scan, ("image_id",), images.stored),
    }
