"""What the lake says of the shards that index would leave."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from idedup_tasks.lake import Candidate
from idedup_tasks.quality.counting import after, read_version, repeated, tally
from idedup_tasks.run import Run


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    active = read_version(run, candidate, "fingerprints", ds.field("status") == "active")
    shards = after(run, candidate, "index")
    held = list(shards.scan(("model_id", "vectors")))
    vectors = sum(
        pc.sum(b.filter(pc.field("model_id") == run.model_id).column("vectors")).as_py() or 0
        for b in held
    )
    return {
        "active_in_lake": tally(active, ("status",))[("active",)],
        "vectors_in_shards": vectors,
        "shards_repeated": repeated(shards.scan, ("model_id", "shard_id"), shards.stored),
    }
