"""Group: components of what was seen, hierarchical cut, keepers, and a look at each member.

Everything is computed anew from `matches`, for one earlier image can split a group; looks are asked
only in components that are too large for all their pairs to be in `matches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from idedup_tasks.ids import digests, fixed
from idedup_tasks.lake import (
    GROUPS,
    LOOK,
    Candidate,
    Conflict,
    Snapshot,
    TableChange,
    reconcile_partition,
)
from idedup_tasks.linkage import components
from idedup_tasks.looking import Looks, pictures_of
from idedup_tasks.run import Run, publish_changes
from idedup_tasks.settings import DUPLICATES, RELATIONS, Grouping, KeeperCriterion, digest
from idedup_tasks.stages.group.counts import Counts
from idedup_tasks.stages.group.keepers import Facts, path_ranks
from idedup_tasks.stages.group.seen import Seen, no_looks
from idedup_tasks.stages.group.settling import Settled, sentences, settle
from idedup_tasks.verification import verifier_version

publish = publish_changes


@dataclass
class Collected:
    """A collection's decoded images in order of (arrived_at, key), and their contents.

    ids: (n,) S32, sha256: (n, 32) uint8, status: (n,) bool, whether it is collapsed. content: (n,)
    int64, which content each has; contents are numbered by their earliest image, `earliest`: (m,)
    int64. arrivals: name and number of images of each period, in order. reads: the versions that
    all this is of.
    """

    ids: np.ndarray
    sha256: np.ndarray
    collapsed: np.ndarray
    content: np.ndarray
    earliest: np.ndarray
    arrivals: list[tuple[str, int]]
    reads: dict[str, int]


@dataclass
class _Grouped:
    """What became of contents, in `settled`; of images: face (m,) int64, the image that each
    content is known by; crowded (m,) bool."""

    seen: Seen
    facts: Facts
    face: np.ndarray
    settled: Settled
    crowded: np.ndarray


def prepare(run: Run) -> Candidate:
    """Group everything by what was seen, and describe the partitions that differ.

    Raises:
        DamagedPack: a thumbnail that has to be looked at is missing or damaged.
    """
    target = run.lake.snapshot("groups")
    found = collect(run)
    settings, policy = run.collection.grouping, run.collection.keeper
    grouped = _group(run, found, settings, policy)
    change = TableChange("groups", target.version)
    change.metadata = {
        "settings": digest(verifier_version(), settings, policy, run.collection.preferred_paths),
        "reads": found.reads,
    }
    rows = _rows(found, grouped, policy)
    _write(run, target, change, found, rows)
    settled = grouped.settled
    verdicts = _tally(rows["verdict"])
    sizes = pc.value_counts(rows["group_id"].drop_null()).field("counts").to_numpy()
    counts = Counts(
        decoded=len(found.ids),
        active=int((~found.collapsed).sum()),
        unique=verdicts.get("unique", 0),
        keepers=verdicts.get("keeper", 0),
        groups=len(sizes),
        largest_group=int(sizes.max(initial=0)),
        **_tally(rows["relation"].drop_null()),
        images=len(found.ids),
        crowded=int(grouped.crowded.sum()),
        components=settled.components,
        components_large=settled.large,
        left=settled.left,
        looks_asked=grouped.seen.asked,
        linkage=settings.linkage,
    )
    return Candidate("group", run.run_id, [change], found.reads, asdict(counts))


def regroup(
    run: Run, cut: float | None = None, keeper: Sequence[KeeperCriterion] | None = None
) -> pa.Table:
    """What another cut or keeper policy would give; no stage's result is written.

    Args:
        cut, keeper: the collection's own where left out.

    Returns:
        image_id, group_id and keeper_id (both null for a unique image) and relation of each decoded
        image.
    """
    found = collect(run)
    settings = run.collection.grouping
    if cut is not None:
        settings = settings.model_copy(update={"cut": cut})
    policy = tuple(keeper or run.collection.keeper)
    rows = _rows(found, _group(run, found, settings, policy), policy)
    return rows.select(["image_id", "group_id", "keeper_id", "relation"])


def collect(run: Run) -> Collected:
    """Bring together, at versions that belong together, what grouping works on."""
    lake = run.lake
    matches = lake.snapshot("matches")
    fingerprints = lake.snapshot("fingerprints", matches.reads("fingerprints"))
    images = lake.snapshot("images", fingerprints.reads("images"))
    arrivals = [named["arrival"] for named in fingerprints.partitions()]
    parts = [_in_order(images, fingerprints, arrival) for arrival in arrivals]
    table = pa.concat_tables([_ORDERED.empty_table(), *parts])
    sha256 = digests(table["sha256"])
    rows = np.ascontiguousarray(sha256).view("V32").ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    earliest = np.sort(first)
    content = np.searchsorted(earliest, first)[inverse.ravel()]
    return Collected(
        fixed(table["image_id"], 32),
        sha256,
        pc.equal(table["status"], "collapsed").to_numpy(),
        content,
        earliest,
        [(arrival, part.num_rows) for arrival, part in zip(arrivals, parts, strict=True)],
        {
            "images": images.version,
            "fingerprints": fingerprints.version,
            "matches": matches.version,
        },
    )


_ORDERED = pa.schema([(name, pa.string()) for name in ("image_id", "sha256", "status")])


def _in_order(images: Snapshot, fingerprints: Snapshot, arrival: str) -> pa.Table:
    """The fingerprints of one period in order of (arrived_at, key), which `images` knows."""
    files = images.files(arrival=arrival)
    order = images.read(
        ["image_id", "arrived_at", "key"], ds.field("status") == "decoded", files=files
    ).sort_by("image_id")
    files = fingerprints.files(arrival=arrival)
    rows = fingerprints.read(_ORDERED.names, files=files).sort_by("image_id")
    if not rows["image_id"].equals(order["image_id"]):
        raise Conflict(
            f"fingerprints of {arrival} do not belong to the images of version {images.version}."
        )
    order = order.append_column("row", pa.array(np.arange(order.num_rows)))
    order = order.sort_by([("arrived_at", "ascending"), ("key", "ascending")])
    return rows.take(order["row"]).cast(_ORDERED)


# --- what was seen -------------------------------------------------------------------------------


def _group(
    run: Run, found: Collected, settings: Grouping, policy: Sequence[KeeperCriterion]
) -> _Grouped:
    n = len(found.earliest)
    matches = run.lake.snapshot("matches", found.reads["matches"])
    tied, crowded = _edges(found, matches, run.collection.matching.candidates)
    component = components(n, *tied)
    inside = np.zeros(n, bool)
    inside[tied.ravel()] = True
    copies = np.bincount(found.content, minlength=n) > 1
    facts, face = _facts(run, found, inside | copies, policy)
    first, second, looks = _looks_within(found, matches, component, inside)
    seen = Seen(n, first, second, looks, _Asker(run, found, inside))
    settled = settle(
        seen, facts, policy, settings, lambda done, total: run.progress("grouping", done, total)
    )
    return _Grouped(seen, facts, face, settled, crowded)


class _Asker:
    """Looks at contents of components, once somebody asks."""

    def __init__(self, run: Run, found: Collected, inside: np.ndarray) -> None:
        self._run, self._found = run, found
        self._place = np.flatnonzero(inside)
        self._looks: Looks | None = None

    def __call__(self, first: np.ndarray, second: np.ndarray) -> pa.Table:
        if self._looks is None:
            images = self._run.lake.snapshot("images", self._found.reads["images"])
            ids = self._found.ids[self._found.earliest[self._place]]
            self._looks = Looks(self._run, pictures_of(images, ids))
        a, b = (np.searchsorted(self._place, ends) for ends in (first, second))
        return self._looks.at(a, b, "looking at keepers")


def _edges(found: Collected, matches: Snapshot, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(2, k) int64: the contents that looks tie together; and (m,) bool: which are crowded, for
    they have as many candidates as are looked at."""
    ends = [np.empty((2, 0), np.int64)]
    candidates = np.zeros(len(found.earliest), np.int64)
    for batch in matches.scan(["image_a", "image_b", "proposed_by", "relation"]):
        both = _contents(found, batch)
        ends.append(both[:, pc.is_in(batch["relation"], pa.array(RELATIONS)).to_numpy(False)])
        proposed = both[:, pc.equal(batch["proposed_by"], "vector").to_numpy(False)]
        candidates += np.bincount(proposed.ravel(), minlength=len(candidates))
    return np.concatenate(ends, axis=1), candidates >= most


def _looks_within(
    found: Collected, matches: Snapshot, component: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    """The pairs of contents of one component that were looked at."""
    ends, looks = [np.empty((2, 0), np.int64)], [no_looks()]
    names = [field.name for field in LOOK]
    for batch in matches.scan(["image_a", "image_b", *names]):
        both = _contents(found, batch)
        here = inside[both[0]] & (component[both[0]] == component[both[1]])
        ends.append(both[:, here])
        looks.append(pa.Table.from_batches([batch.filter(pa.array(here)).select(names)]))
    first, second = np.concatenate(ends, axis=1)
    return first, second, pa.concat_tables([part.cast(looks[0].schema) for part in looks])


def _contents(found: Collected, batch: pa.RecordBatch) -> np.ndarray:
    """(2, k) int64: the contents that the images of some matches have."""
    ids = found.ids[found.earliest]
    order = np.argsort(ids)
    ends = []
    for column in ("image_a", "image_b"):
        names = fixed(batch[column], 32)
        at = order[np.minimum(np.searchsorted(ids, names, sorter=order), len(ids) - 1)]
        if (ids[at] != names).any():
            raise Conflict("matches name images that are not there: rerun the match stage.")
        ends.append(at)
    return np.array(ends, np.int64).reshape(2, -1)


def _facts(
    run: Run, found: Collected, wanted: np.ndarray, policy: Sequence[KeeperCriterion]
) -> tuple[Facts, np.ndarray]:
    """What the keeper policy knows of contents, of those that are wanted; and (m,) int64, the image
    that each is known by: the best of those with its bytes."""
    n = len(found.earliest)
    images = run.lake.snapshot("images", found.reads["images"])
    order = np.argsort(found.ids)
    path = np.zeros(len(found.ids), np.int64)
    numbers = {
        name: np.zeros(n, dtype)
        for name, dtype in (
            ("width", np.int64),
            ("height", np.int64),
            ("bytes", np.int64),
            ("exif_fields", np.int64),
            ("detail", np.float64),
            ("colour", np.float64),
            ("was_jpeg", bool),
            ("coarseness", np.float64),
        )
    }
    formats = np.full(n, "", dtype="<U16")
    columns = ["image_id", "key", "format", *numbers]
    for batch in images.scan(columns, ds.field("status") == "decoded"):
        at = order[np.searchsorted(found.ids, fixed(batch["image_id"], 32), sorter=order)]
        here = np.flatnonzero(wanted[found.content[at]])
        at, batch = at[here], batch.take(pa.array(here))
        content = found.content[at]
        for name, values in numbers.items():
            unknown = np.nan if name == "colour" else values.dtype.type(0)
            values[content] = batch[name].fill_null(unknown).to_numpy(False)
        formats[content] = batch["format"].fill_null("").to_numpy(False)
        path[at] = path_ranks(batch["key"].to_pylist(), run.collection.preferred_paths)
    position = np.arange(len(found.ids))
    own = {"earliest": position, "path": path}
    keys = [own[criterion] for criterion in reversed(policy) if criterion in own]
    best = np.lexsort([found.ids, *keys, found.content])
    face = best[np.flatnonzero(np.diff(found.content[best], prepend=-1))]
    ids = found.ids[face].astype(str)
    return Facts(
        **numbers,
        format=formats,
        path=path[face],
        earliest=face,
        image_id=ids,
    ), face


# --- what is written -----------------------------------------------------------------------------


def _rows(found: Collected, grouped: _Grouped, policy: Sequence[KeeperCriterion]) -> pa.Table:
    """Columns of `groups`, all but the period, for each decoded image in order."""
    settled, seen = grouped.settled, grouped.seen
    content, images = found.content, np.arange(len(found.ids))
    m = len(found.earliest)
    # A content that is alone, and that several images have, is a group as well.
    copies = np.bincount(content, minlength=m) > 1
    kept = np.where(settled.keeper >= 0, settled.keeper, np.where(copies, np.arange(m), -1))
    group = kept[content]
    keeper = np.where(group >= 0, grouped.face[group], -1)
    named = np.full(m, len(images))
    np.minimum.at(named, group[group >= 0], images[group >= 0])
    first = np.where(group >= 0, named[group], -1)
    member = (group >= 0) & (keeper != images)
    exact = member & (content == group)

    why = np.array(sentences(settled, seen, grouped.facts, policy), object)
    why[(kept >= 0) & (settled.keeper < 0)] = "all have the same bytes"
    said = np.where(exact, "the same bytes", why[content])

    looked = np.flatnonzero(settled.look >= 0)
    looks = seen.said(settled.look[looked], looked)
    looks = pa.concat_tables([looks, _equal(looks.schema)])
    place = np.full(m, -1)
    place[looked] = np.arange(len(looked))
    row = np.where(exact, len(looked), place[content])
    by_row = looks.take(pa.array(row, mask=~member)).combine_chunks()
    relation = by_row["relation"]
    duplicate = pc.is_in(relation, pa.array(DUPLICATES)).to_numpy()
    names = pa.array(found.ids.astype(str), pa.string())
    verdict = np.where(duplicate, "duplicate", "variant")
    verdict = np.where(member, verdict, np.where(group >= 0, "keeper", "unique"))
    return pa.table(
        {
            "image_id": names,
            "sha256": [bytes(d).hex() for d in found.sha256],
            "status": np.where(found.collapsed, "collapsed", "active"),
            "verdict": verdict,
            "group_id": names.take(_positions(first)),
            "relation": relation,
            "method": pa.array(np.where(exact, "sha256", verifier_version()), mask=~member),
            "keeper_id": names.take(_positions(keeper)),
            "score": by_row["score"],
            "overlap": by_row["overlap_a"],
            "keeper_overlap": by_row["overlap_b"],
            "changed": by_row["changed"],
            "place": by_row["place"],
            "transform": by_row["transform"],
            "why": pa.array(said, pa.string(), mask=group < 0),
            "crowded": grouped.crowded[content] & (found.earliest[content] == images),
        }
    )


def _tally(column: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}


def _equal(schema: pa.Schema) -> pa.Table:
    """The look at two equal contents."""
    row = {"relation": "exact", "score": 1.0, "overlap_a": 1.0, "overlap_b": 1.0, "changed": 0.0}
    shape = np.eye(3).ravel().tolist()
    row |= {"place": None, "blur": 0.0, "transform": shape, "way": "bytes"}
    return pa.Table.from_pylist([row], schema)


def _positions(positions: np.ndarray) -> pa.Array:
    return pa.array(positions, mask=positions < 0)


def _write(
    run: Run, target: Snapshot, change: TableChange, found: Collected, rows: pa.Table
) -> None:
    """One row for each decoded image, period by period."""
    start = 0
    held = {f["arrival"] for f in target.partitions()}
    for arrival, count in found.arrivals:
        part = rows.slice(start, count)
        start += count
        part = part.append_column("arrival", pa.repeat(pa.scalar(arrival), count))
        part = part.select(GROUPS.names).cast(GROUPS)
        reconcile_partition(run.lake, target, change, {"arrival": arrival}, part)
        held.discard(arrival)
    for arrival in sorted(held):
        reconcile_partition(run.lake, target, change, {"arrival": arrival}, GROUPS.empty_table())
