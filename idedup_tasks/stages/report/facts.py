"""What the lake says of the result that report would show."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from idedup_tasks.lake import Candidate
from idedup_tasks.periods import in_window
from idedup_tasks.quality.counting import Scan, differences, read_version, repeated, tally
from idedup_tasks.run import Run
from idedup_tasks.settings import RELATIONS
from idedup_tasks.stages.report.counts import Counts

# The share of duplicates among fewer images says nothing.
_FEW_IMAGES = 10


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = Counts(**candidate.counts)
    images = read_version(run, candidate, "images")
    groups = read_version(run, candidate, "groups")
    path = candidate.files["results"]
    verdicts = tally(groups, ("verdict", "relation"))

    def results(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with run.lake.open(path) as stream:
            yield from pq.ParquetFile(stream).iter_batches(columns=list(columns))

    statuses: Counter[str] = Counter()
    reclaimable: Counter[str] = Counter()
    arrived: Counter[str] = Counter()
    repeats: Counter[str] = Counter()
    keys = ["arrival", "status", "verdict", "relation"]
    for batch in results((*keys, "bytes")):
        totals = pa.Table.from_batches([batch]).group_by(keys)
        for row in totals.aggregate([([], "count_all"), ("bytes", "sum")]).to_pylist():
            rows = row["count_all"]
            statuses[row["status"]] += rows
            if row["status"] != "rejected":
                arrived[row["arrival"]] += rows
            if row["verdict"] == "duplicate":
                repeats[row["arrival"]] += rows
                reclaimable[row["relation"]] += row["bytes_sum"] or 0
    rows = sum(statuses.values())
    lost, strange = differences(images.scan, results, ("image_id", "arrival"), rows)
    wrong, foreign = differences(
        groups.scan, _only_judged(results), ("image_id", "sha256", "status", "verdict"), rows
    )
    return {
        "active_collapsed_and_rejected": counts.active + counts.collapsed + counts.rejected,
        "images_in_lake": images.stored,
        "rows_in_results": rows,
        **{f"{s}_in_results": statuses[s] for s in ("active", "collapsed", "rejected")},
        **{f"duplicates_{r}_in_lake": verdicts[("duplicate", r)] for r in RELATIONS},
        **{f"reclaimable_{r}_in_results": reclaimable[r] for r in RELATIONS},
        "keepers_in_lake": verdicts[("keeper", None)],
        "images_without_result": lost,
        "results_without_image": strange,
        "verdicts_without_result": wrong,
        "results_without_verdict": foreign,
        "results_repeated": repeated(results, ("image_id",), rows),
        **_duplicate_rates(run, arrived, repeats),
    }


def _duplicate_rates(
    run: Run, arrived: Mapping[str, int], repeats: Mapping[str, int]
) -> dict[str, float]:
    """How many of the run's arrivals are duplicates, and how many at most it would be as usual.

    Usual is the median of up to 28 periods before. With fewer than three of them, or few images,
    nothing can be said: the limit is 1. A run over everything is judged by its newest period.
    """
    period = run.collection.arrival.period
    enough = sorted(a for a, images in arrived.items() if images >= _FEW_IMAGES)
    if run.window is None:
        judged = enough[-1:]
    else:
        judged = [a for a in sorted(arrived) if in_window(a, run.window, period)]
    images = sum(arrived[a] for a in judged)
    rate = sum(repeats.get(a, 0) for a in judged) / max(1, images)
    before = [repeats.get(a, 0) / arrived[a] for a in enough if judged and a < judged[0]][-28:]
    if images < _FEW_IMAGES or len(before) < 3:
        return {"duplicate_rate": rate, "duplicate_rate_limit": 1.0}
    limit = statistics.median(before) + run.collection.quality.max_duplicate_jump
    return {"duplicate_rate": rate, "duplicate_rate_limit": min(1.0, limit)}


def _only_judged(scan: Scan) -> Scan:
    def judged(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in scan(columns):
            yield batch.filter(pc.field("status") != "rejected")

    return judged
