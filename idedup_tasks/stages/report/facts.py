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
from idedup_tasks.settings import DUPLICATES, RELATIONS, VARIANTS
from idedup_tasks.stages.report.counts import Counts

# What a pair is known by, as pairs have it, and as a result has it of a member and its keeper.
_PAIR = ["image_a", "image_b", "relation", "score", "overlap_a", "overlap_b", "changed"]
_MEMBER = ["image_id", "keeper_id", "relation", "score", "overlap", "keeper_overlap", "changed"]
_TURNED = {
    **{"image_a": "image_b", "image_b": "image_a"},
    **{"overlap_a": "overlap_b", "overlap_b": "overlap_a"},
}

# The share of duplicates among fewer images says nothing.
_FEW_IMAGES = 10


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = Counts(**candidate.counts)
    images = read_version(run, candidate, "images")
    groups = read_version(run, candidate, "groups")
    results = _file(run, candidate.files["results"])
    verdicts = tally(groups, ("verdict", "relation"))
    of_duplicates = {f"duplicates_{r}": verdicts[("duplicate", r)] for r in DUPLICATES}
    of_variants = {f"variants_{r}": verdicts[("variant", r)] for r in VARIANTS}
    paid = ("duplicate", "variant")[: 1 + run.collection.grouping.variants_reclaimable]

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
            if row["verdict"] in paid:
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
        "duplicates_in_lake": sum(
            n for (verdict, _), n in verdicts.items() if verdict == "duplicate"
        ),
        "variants_in_lake": sum(n for (verdict, _), n in verdicts.items() if verdict == "variant"),
        **{f"{name}_in_lake": count for name, count in (of_duplicates | of_variants).items()},
        **{f"reclaimable_{r}_in_results": reclaimable[r] for r in RELATIONS},
        "keepers_in_lake": verdicts[("keeper", None)],
        "images_without_result": lost,
        "results_without_image": strange,
        "verdicts_without_result": wrong,
        "results_without_verdict": foreign,
        "results_repeated": repeated(results, ("image_id",), rows),
        **_pair_facts(run, candidate, results, rows),
        **_duplicate_rates(run, arrived, repeats),
    }


def _file(run: Run, path: str) -> Scan:
    """The rows of a file beside the candidate."""

    def rows(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with run.lake.open(path) as stream:
            yield from pq.ParquetFile(stream).iter_batches(columns=list(columns))

    return rows


def _pair_facts(run: Run, candidate: Candidate, results: Scan, rows: int) -> dict[str, int]:
    """Whether the pairs are those of the lake: all matches, and each member with its keeper.

    Which of a pair comes first is the file's own affair: pairs are compared both ways round.
    """
    matches = read_version(run, candidate, "matches")
    pairs = _file(run, candidate.files["pairs"])
    members = dict(zip(_PAIR, _MEMBER, strict=True))

    def looked_at(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in matches.scan(_PAIR):
            yield from _both_ways(batch)
        for batch in results(_MEMBER):
            of_keepers = batch.filter(pc.field("relation").is_valid())
            named = [of_keepers[members[name]] for name in _PAIR]
            yield from _both_ways(pa.RecordBatch.from_arrays(named, _PAIR))

    def listed(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in pairs(_PAIR):
            yield from _both_ways(batch)

    relations: Counter[str] = Counter()
    for batch in pairs(("relation",)):
        relations.update(batch["relation"].to_pylist())
    count = relations.total()
    lost, strange = differences(looked_at, listed, _PAIR, 2 * (rows + matches.stored))
    return {
        "pairs_in_file": count,
        "alike_in_file": relations["alike"],
        "pairs_lost": lost // 2,
        "pairs_without_look": strange // 2,
        "pairs_repeated": repeated(pairs, ("image_a", "image_b"), count),
    }


def _both_ways(pairs: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    yield pairs.select(_PAIR)
    turned = [pairs[_TURNED.get(name, name)] for name in _PAIR]
    yield pa.RecordBatch.from_arrays(turned, _PAIR)


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
