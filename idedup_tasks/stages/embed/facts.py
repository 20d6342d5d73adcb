"""What the lake says of the vectors that embed would leave."""

from __future__ import annotations

from typing import Any

import pyarrow.dataset as ds

from idedup_tasks.lake import Candidate
from idedup_tasks.quality.counting import Rows, after, differences, read_version, repeated, tally
from idedup_tasks.run import Run
from idedup_tasks.stages.embed.counts import Counts


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = Counts(**candidate.counts)
    active = read_version(run, candidate, "fingerprints", ds.field("status") == "active")
    every = after(run, candidate, "embeddings")
    vectors = Rows(
        run.lake,
        "embeddings",
        tuple(f for f in every.files if f.partition["model_id"] == counts.model_id),
    )
    # An image that changed keeps the vector of its former bytes: a key holds the digest.
    key = ("arrival", "image_id", "sha256")
    without, _ = differences(active, vectors, key)
    return {
        "present_and_embedded": counts.present + counts.embedded,
        "active_in_lake": tally(active, ("status",))[("active",)],
        "active_without_embedding": without,
        "embeddings_repeated": repeated(vectors.scan, key, vectors.stored),
    }
