"""What a candidate's counts must agree with, computed from the lake itself.

A stage counts what it did; its gate counts again from the table versions that the stage read and
from the table as the candidate would leave it, so that a stage that miscounts, drops or repeats a
row is found by other code than its own.

Sets of rows are compared by 64-bit hashes of their keys, eight bytes a row, in passes over slices
of the hash's range once a table has more than `KEYS_AT_ONCE` rows, so that memory stays bounded at
any size. Two different keys among n share a hash with probability n² / 2^65: 0.03 % at a hundred
million. A repeated key is therefore looked at again in full before it is reported; in the other
comparisons a chance equality could only hide a fault of one row, never invent one, except that two
groups with one hash would look like one with two keepers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pandas.util import hash_pandas_object

from idedup_tasks.lake import TABLES, Candidate, DataFile, Lake
from idedup_tasks.periods import in_window
from idedup_tasks.run import Run

KEYS_AT_ONCE = 2**24
# So many suspicious keys are looked at in full; beyond, the fault is certain anyway.
_SUSPECTS = 10_000
# The share of duplicates among fewer images says nothing.
_FEW_IMAGES = 10

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Scan = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]

_DECODED = ds.field("status") == "decoded"
_ACTIVE = ds.field("status") == "active"


@dataclass(frozen=True)
class Rows:
    """The rows of a table as some version or candidate has them."""

    lake: Lake
    table: str
    files: tuple[DataFile, ...]
    where: ds.Expression | None = None

    def scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self.lake.scan_files(TABLES[self.table], self.files, columns, self.where)

    @property
    def stored(self) -> int:
        """Rows of the files, before `where`."""
        return sum(f.rows for f in self.files)


def read_version(
    run: Run, candidate: Candidate, table: str, where: ds.Expression | None = None
) -> Rows:
    """The rows of a table that the stage read."""
    snapshot = run.lake.snapshot(table, candidate.reads[table])
    return Rows(run.lake, table, tuple(snapshot.files()), where)


def after(run: Run, candidate: Candidate, table: str) -> Rows:
    """The rows that a table would have once the candidate is published."""
    change = next((c for c in candidate.changes if c.table == table), None)
    if change is None:
        return Rows(run.lake, table, tuple(run.lake.snapshot(table).files()))
    removed = {f.path for f in change.remove}
    base = run.lake.snapshot(table, change.base_version).files()
    return Rows(run.lake, table, (*(f for f in base if f.path not in removed), *change.add))


def facts(run: Run, candidate: Candidate) -> dict[str, Any]:
    """The candidate's own counts, and beside them what the lake says: one row for the suite."""
    counts = {k: v for k, v in candidate.counts.items() if isinstance(v, int | float)}
    return {**counts, **_FACTS[candidate.stage](run, candidate)}


# --- stages ------------------------------------------------------------------------------------


def _ingest(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts, images = candidate.counts, after(run, candidate, "images")
    files = images.files
    if run.window is not None:
        period = run.collection.arrival.period
        files = tuple(f for f in files if in_window(f.partition["arrival"], run.window, period))
    statuses = tally(Rows(run.lake, "images", files), ("status",))
    return {
        "decoded_and_rejected": counts["decoded"] + counts["rejected"],
        "reused_and_read": counts["reused"] + counts["read"],
        "decoded_in_lake": statuses[("decoded",)],
        "rejected_in_lake": statuses[("rejected",)],
        "reject_ratio": counts["rejected"] / max(1, counts["listed"]),
        "images_repeated": repeated(images.scan, ("image_id",), images.stored),
    }


def _prefilter(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = candidate.counts
    images = read_version(run, candidate, "images", _DECODED)
    prints = after(run, candidate, "fingerprints")
    found = tally(prints, ("status", "relation"))
    lost, strange = differences(images, prints, ("arrival", "image_id", "sha256"))
    return {
        "active_and_collapsed": counts["active"]
        + counts["collapsed_exact"]
        + counts["collapsed_perceptual"],
        "decoded_in_lake": tally(images, ("status",))[("decoded",)],
        "active_in_lake": found[("active", None)],
        "collapsed_exact_in_lake": found[("collapsed", "exact")],
        "collapsed_perceptual_in_lake": found[("collapsed", "perceptual")],
        "images_without_fingerprint": lost,
        "fingerprints_without_image": strange,
        "fingerprints_repeated": repeated(prints.scan, ("image_id",), prints.stored),
        "onto_unknown": _onto_unknown(prints),
    }


def _embed(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = candidate.counts
    active = read_version(run, candidate, "fingerprints", _ACTIVE)
    every = after(run, candidate, "embeddings")
    vectors = Rows(
        run.lake,
        "embeddings",
        tuple(f for f in every.files if f.partition["model_id"] == counts["model_id"]),
    )
    # An image that changed keeps the vector of its former bytes: a key holds the digest.
    key = ("arrival", "image_id", "sha256")
    without, _ = differences(active, vectors, key)
    return {
        "present_and_embedded": counts["present"] + counts["embedded"],
        "active_in_lake": tally(active, ("status",))[("active",)],
        "active_without_embedding": without,
        "embeddings_repeated": repeated(vectors.scan, key, vectors.stored),
    }


def _index(run: Run, candidate: Candidate) -> dict[str, Any]:
    active = read_version(run, candidate, "fingerprints", _ACTIVE)
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


def _group(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = candidate.counts
    prints = read_version(run, candidate, "fingerprints")
    groups, pairs = after(run, candidate, "groups"), after(run, candidate, "pairs")
    found = tally(groups, ("verdict", "relation"))
    lost, strange = differences(prints, groups, ("arrival", "image_id", "sha256", "status"))
    duplicates = {
        f"duplicates_{relation}_in_lake": found[("duplicate", relation)]
        for relation in ("exact", "perceptual", "near")
    }
    return {
        "unique_keepers_and_duplicates": counts["unique"]
        + counts["keepers"]
        + counts["duplicates_exact"]
        + counts["duplicates_perceptual"]
        + counts["duplicates_near"],
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


def _report(run: Run, candidate: Candidate) -> dict[str, Any]:
    counts = candidate.counts
    images = read_version(run, candidate, "images")
    groups = read_version(run, candidate, "groups")
    path = candidate.files["results"]
    verdicts = tally(groups, ("verdict", "relation"))

    def results(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with run.lake.open(path) as stream:
            yield from pq.ParquetFile(stream).iter_batches(columns=list(columns))

    statuses: Counter[str] = Counter()
    relations: Counter[str] = Counter()
    reclaimable: Counter[str] = Counter()
    arrived: Counter[str] = Counter()
    repeats: Counter[str] = Counter()
    rows = 0
    for batch in results(("arrival", "status", "verdict", "relation", "bytes")):
        rows += batch.num_rows
        frame = batch.to_pandas()
        arrived.update(frame["arrival"][frame["status"] != "rejected"].value_counts().to_dict())
        repeats.update(frame["arrival"][frame["verdict"] == "duplicate"].value_counts().to_dict())
        statuses.update(frame["status"].value_counts().to_dict())
        duplicates = frame[frame["verdict"] == "duplicate"].groupby("relation")["bytes"]
        relations.update({str(k): int(v) for k, v in duplicates.size().items()})
        reclaimable.update({str(k): int(v) for k, v in duplicates.sum().items()})
    lost, strange = differences(images.scan, results, ("image_id", "arrival"), rows)
    wrong, foreign = differences(
        groups.scan, _only_judged(results), ("image_id", "sha256", "status", "verdict"), rows
    )
    return {
        "active_collapsed_and_rejected": counts["active"]
        + counts["collapsed"]
        + counts["rejected"],
        "images_in_lake": images.stored,
        "rows_in_results": rows,
        **{f"{s}_in_results": statuses[s] for s in ("active", "collapsed", "rejected")},
        **{
            f"duplicates_{r}_in_lake": verdicts[("duplicate", r)]
            for r in ("exact", "perceptual", "near")
        },
        **{f"reclaimable_{r}_in_results": reclaimable[r] for r in ("exact", "perceptual", "near")},
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
    limit = float(np.median(before)) + run.collection.quality.max_duplicate_jump
    return {"duplicate_rate": rate, "duplicate_rate_limit": min(1.0, limit)}


def _only_judged(scan: Scan) -> Scan:
    def judged(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in scan(columns):
            yield batch.filter(pc.field("status") != "rejected")

    return judged


_FACTS: Mapping[str, Callable[[Run, Candidate], dict[str, Any]]] = {
    "ingest": _ingest,
    "prefilter": _prefilter,
    "embed": _embed,
    "index": _index,
    "group": _group,
    "report": _report,
}


# --- counting and comparing --------------------------------------------------------------------


def tally(rows: Rows, columns: Sequence[str]) -> Counter[tuple[Any, ...]]:
    """How often each combination of values occurs; for columns of few values."""
    found: Counter[tuple[Any, ...]] = Counter()
    for batch in rows.scan(columns):
        counted = (
            pa.Table.from_batches([batch]).group_by(list(columns)).aggregate([([], "count_all")])
        )
        for row in counted.to_pylist():
            found[tuple(row[c] for c in columns)] += row["count_all"]
    return found


def repeated(scan: Scan, columns: Sequence[str], rows: int) -> int:
    """How many distinct keys occur more than once (counted up to 10,000)."""
    suspects: list[Hashes] = []
    for part, parts in _passes(rows):
        hashes, times = np.unique(_hashes(scan, columns, part, parts), return_counts=True)
        suspects.append(hashes[times > 1])
    suspect = np.concatenate(suspects)[:_SUSPECTS]
    if not len(suspect):
        return 0
    seen: Counter[tuple[Any, ...]] = Counter()
    for batch in scan(columns):
        again = np.isin(row_hashes(batch, columns), suspect)
        keys = batch.filter(pa.array(again)).to_pydict()
        seen.update(zip(*(keys[c] for c in columns), strict=True))
    return sum(times > 1 for times in seen.values())


def differences(
    left: Rows | Scan, right: Rows | Scan, columns: Sequence[str], rows: int | None = None
) -> tuple[int, int]:
    """How many keys only `left` has, and how many only `right` has.

    Args:
        rows: how many rows there are about, when it is not known from `left` and `right`.
    """
    if rows is None:
        rows = max(side.stored for side in (left, right) if isinstance(side, Rows))
    scan_left = left.scan if isinstance(left, Rows) else left
    scan_right = right.scan if isinstance(right, Rows) else right
    only_left = only_right = 0
    for part, parts in _passes(rows):
        a = np.unique(_hashes(scan_left, columns, part, parts))
        b = np.unique(_hashes(scan_right, columns, part, parts))
        shared = len(np.intersect1d(a, b, assume_unique=True))
        only_left += len(a) - shared
        only_right += len(b) - shared
    return only_left, only_right


def _onto_unknown(prints: Rows) -> int:
    """Collapsed images whose `onto` is not there, or, for perceptual twins, not active.

    An exact copy may lie on an earliest copy that is itself a perceptual twin.
    """
    unknown = 0
    columns = ("image_id", "status", "onto", "relation")
    for part, parts in _passes(prints.stored):
        held: dict[str, list[Hashes]] = {"every": [], "active": [], "exact": [], "perceptual": []}
        for batch in prints.scan(columns):
            for name, rows, column in (
                ("every", batch, "image_id"),
                ("active", _equal(batch, "status", "active"), "image_id"),
                ("exact", _equal(batch, "relation", "exact"), "onto"),
                ("perceptual", _equal(batch, "relation", "perceptual"), "onto"),
            ):
                held[name].append(_sliced(row_hashes(rows, (column,)), part, parts))
        found = {name: _concatenated(hashes) for name, hashes in held.items()}
        unknown += int((~np.isin(found["exact"], found["every"])).sum())
        unknown += int((~np.isin(found["perceptual"], found["active"])).sum())
    return unknown


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
    for part, parts in _passes(groups.stored):
        held: dict[str, list[Hashes]] = {}
        for batch in groups.scan(columns):
            batch = batch.filter(pc.field("group_id").is_valid())
            group = row_hashes(batch, ("group_id",))
            batch = batch.filter(pa.array(group % np.uint64(parts) == part))
            keepers = _equal(batch, "verdict", "keeper")
            others = _equal(batch, "verdict", "duplicate")
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
        found = {name: _concatenated(hashes) for name, hashes in held.items()}
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


def _passes(rows: int) -> Iterator[tuple[int, int]]:
    parts = max(1, -(-rows // KEYS_AT_ONCE))
    return ((part, parts) for part in range(parts))


def _hashes(scan: Scan, columns: Sequence[str], part: int, parts: int) -> Hashes:
    return _concatenated([_sliced(row_hashes(b, columns), part, parts) for b in scan(columns)])


def row_hashes(batch: pa.RecordBatch, columns: Sequence[str]) -> Hashes:
    """64-bit SipHash of each row's key, uint64 (rows,)."""
    frame = batch.select(list(columns)).to_pandas()
    return np.asarray(hash_pandas_object(frame, index=False, categorize=False), np.uint64)


def _sliced(hashes: Hashes, part: int, parts: int) -> Hashes:
    return hashes if parts == 1 else hashes[hashes % np.uint64(parts) == part]


def _equal(batch: pa.RecordBatch, column: str, value: str) -> pa.RecordBatch:
    return batch.filter(pc.field(column) == value)


def _concatenated(parts: list[Hashes]) -> Hashes:
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)
