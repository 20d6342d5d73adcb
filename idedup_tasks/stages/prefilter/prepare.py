"""Prefilter: copies with the same bytes, and twins that a look says are the same, collapse.

What collapsed is never embedded: on real collections that saves most of the work. The outcome is
a function of the set of images, so all of them are read each time, at about 150 bytes an image; but
only those that came, and those near what came or went, are walked again, only hashes and looks
that are missing are computed, and only partitions that differ written.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from idedup_tasks import compute
from idedup_tasks.hashes import dihedral_variants, perceptual_hash
from idedup_tasks.ids import among, digests, fixed
from idedup_tasks.images import open_thumbnail
from idedup_tasks.lake import (
    Candidate,
    Lake,
    Snapshot,
    TableChange,
    reconcile_partition,
    stream_thumbnails,
)
from idedup_tasks.looking import Looks, pictures_of
from idedup_tasks.run import Run, publish_changes
from idedup_tasks.settings import Prefilter, digest
from idedup_tasks.stages.prefilter.collapse import Before, collapse_exact, collapse_same
from idedup_tasks.stages.prefilter.counts import Counts
from idedup_tasks.verification import verifier_version

publish = publish_changes

_HASH_BATCH = 256
CHUNK = 1_000


@dataclass
class _Partition:
    """One arrival period's images in order of (arrived_at, key).

    ids: (n,) S32. digests: (n, 32) uint8. low_information: (n,) bool. hashes: (n, 1) uint64, or
    (n, 8), the image's own hash first, then its rotations and mirrors. held: what the lake says of
    them. gone: (g,) uint64, hashes of active images that are not among them any more.
    """

    arrival: str
    ids: np.ndarray
    digests: np.ndarray
    low_information: np.ndarray
    hashes: np.ndarray
    held: _Held
    gone: np.ndarray


@dataclass
class _Held:
    """Fingerprints that the lake holds of some images, in their order.

    there: (n,) bool, whether it has one of this content. active, exact: (n,) bool. onto: (n,) S32,
    empty for an active image. distance: (n,) int64. rows: how many it holds of the period.
    """

    there: np.ndarray
    active: np.ndarray
    exact: np.ndarray
    onto: np.ndarray
    distance: np.ndarray
    rows: int

    @classmethod
    def nothing(cls, n: int) -> _Held:
        no = np.zeros(n, dtype=bool)
        return cls(no, no.copy(), no.copy(), np.zeros(n, "S32"), np.zeros(n, np.int64), 0)


def prepare(run: Run) -> Candidate:
    """Compute every image's fingerprint and status, and the partitions that differ."""
    lake = run.lake
    target = lake.snapshot("fingerprints")
    source = lake.snapshot("images")
    settings = run.collection.prefilter
    distance = run.thresholds.phash_distance
    change = TableChange("fingerprints", target.version)
    change.metadata = {
        "settings": digest(settings, distance, verifier_version()),
        "hash": settings.hash,
        "mirrored": settings.mirrored,
        "reads": {"images": source.version},
    }
    # Hashes made under another setting are no use; the column does not say which it was.
    made_alike = all(target.metadata.get(k) == change.metadata[k] for k in ("hash", "mirrored"))
    known = target if made_alike else None
    # What became of them holds as well, if nothing else has changed.
    stands = made_alike and target.metadata.get("settings") == change.metadata["settings"]
    moved = _moved(lake, source, target.reads("images")) if stands else None
    stands = moved is not None

    partitions = _hashed(run, source, known, settings, moved)
    held = {f["arrival"] for f in target.partitions()}
    partitions += [
        _partition(source, known, arrival, settings, moved)[0]
        for arrival in held - {p.arrival for p in partitions}
    ]
    partitions.sort(key=lambda p: p.arrival)

    counts = Counts()
    if partitions:
        counts = _collapse(run, source, target, change, partitions, stands)
    reads = {"images": source.version}
    return Candidate("prefilter", run.run_id, [change], reads, asdict(counts))


def _collapse(
    run: Run,
    source: Snapshot,
    target: Snapshot,
    change: TableChange,
    partitions: list[_Partition],
    stands: bool,
) -> Counts:
    """stands: whether what the lake says became of images was decided as it would be now."""
    # Periods follow each other and each is in order, so their concatenation is.
    ids = np.concatenate([p.ids for p in partitions])
    low = np.concatenate([p.low_information for p in partitions])
    onto = collapse_exact(np.concatenate([p.digests for p in partitions]))
    exact = onto != np.arange(len(onto))
    # Flat and near-blank images resemble each other without being copies: by bytes only.
    walked = np.flatnonzero(~exact & ~low)
    hashes = np.concatenate([p.hashes for p in partitions])
    variants = hashes[walked] if hashes.shape[1] > 1 else None
    looked_at = 0

    def same(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
        """What looks say of pairs of those that are walked."""
        nonlocal looked_at
        looked_at += len(later)
        named, ends = np.unique([later, earlier], return_inverse=True)
        first, second = ends.reshape(2, -1)
        looks = Looks(run, pictures_of(source, ids[walked[named]])).at(first, second)
        alike: np.ndarray = pc.equal(looks["relation"], "same").to_numpy()
        return alike

    near, apart = collapse_same(
        np.ascontiguousarray(hashes[walked, 0]),
        run.thresholds.phash_distance,
        same,
        variants,
        _before(partitions, ids, walked, hashes[:, 0]) if stands else None,
    )
    twin = np.zeros(len(onto), dtype=bool)
    twin[walked[near >= 0]] = True
    onto[walked[near >= 0]] = walked[near[near >= 0]]
    distances = np.zeros(len(onto), dtype=np.int64)
    distances[walked] = apart

    collapsed = exact | twin
    names = np.where(collapsed, ids[onto], b"")
    start = 0
    for partition in partitions:
        part = slice(start, start + len(partition.ids))
        start = part.stop
        held = partition.held
        if (
            stands
            and held.rows == len(partition.ids)
            and (
                held.there
                & (held.active != collapsed[part])
                & (held.exact == exact[part])
                & (held.onto == names[part])
                & (held.distance == distances[part])
            ).all()
        ):
            continue  # it holds these rows
        hidden = pa.array(~collapsed[part])
        relation = np.where(exact[part], "exact", "same")
        variant_rows = (
            pa.nulls(len(partition.ids), pa.list_(pa.int64()))
            if variants is None
            else pa.FixedSizeListArray.from_arrays(
                pa.array(partition.hashes.ravel().view(np.int64)), 8
            ).cast(pa.list_(pa.int64()))
        )
        rows = pa.table(
            {
                "arrival": pa.repeat(pa.scalar(partition.arrival), len(partition.ids)),
                "image_id": pa.array(partition.ids.astype(str)),
                "sha256": [bytes(d).hex() for d in partition.digests],
                "hash": np.ascontiguousarray(partition.hashes[:, 0]).view(np.int64),
                "variants": variant_rows,
                "low_information": partition.low_information,
                "status": np.where(collapsed[part], "collapsed", "active"),
                "onto": pc.if_else(hidden, None, pa.array(names[part].astype(str))),
                "relation": pc.if_else(hidden, None, pa.array(relation, pa.string())),
                "distance": pc.if_else(hidden, None, pa.array(distances[part])),
            }
        )
        reconcile_partition(run.lake, target, change, {"arrival": partition.arrival}, rows)
    return Counts(
        decoded=len(onto),
        active=int((~collapsed).sum()),
        collapsed_exact=int(exact.sum()),
        collapsed_same=int(twin.sum()),
        looked_at=looked_at,
        low_information=int(low.sum()),
        embeddings_saved=int(collapsed.sum()),
        images=len(onto),
    )


def _before(
    partitions: list[_Partition], ids: np.ndarray, walked: np.ndarray, hashes: np.ndarray
) -> Before:
    """What became, the last time, of those that are walked, and what has gone since."""
    there, active, exact, distance = (
        np.concatenate([getattr(p.held, name) for p in partitions])
        for name in ("there", "active", "exact", "distance")
    )
    twins = np.flatnonzero(there[walked] & ~active[walked] & ~exact[walked])
    named = np.concatenate([p.held.onto for p in partitions])[walked[twins]]
    found = pc.index_in(pa.array(named), pa.array(ids[walked]))
    onto = np.where(there[walked] & active[walked], -1, -2)
    onto[twins] = found.fill_null(-2).to_numpy()
    # Of the same bytes as an earlier one by now.
    stays = np.zeros(len(ids), dtype=bool)
    stays[walked] = True
    low = np.concatenate([p.low_information for p in partitions])
    left = hashes[there & active & ~stays & ~low]
    gone = np.concatenate([left, *(p.gone for p in partitions)])
    return Before(onto, np.where(onto < 0, 0, distance[walked]), gone)


def _moved(lake: Lake, now: Snapshot, version: int | None) -> np.ndarray | None:
    """(m,) S32, ascending: the images whose place in the order may be another one than in an older
    version of `images`; None where that cannot be told, for a file of it is damaged or gone, or an
    older copy of the table was put back."""
    if version is None or version > now.version:
        return None
    then = lake.snapshot("images", version)
    before, after = ({f.path: f for f in images.files()} for images in (then, now))
    columns = ["image_id", "arrived_at"]
    new = now.read(columns, files=[f for path, f in after.items() if path not in before])
    try:
        old = then.read(columns, files=[f for path, f in before.items() if path not in after])
    except (OSError, pa.ArrowException):
        return None
    both = old.join(new, "image_id", join_type="inner", right_suffix="_now")
    differ = pc.not_equal(both["arrived_at"], both["arrived_at_now"])
    return np.sort(fixed(both["image_id"].filter(differ), 32))


def _hashed(
    run: Run,
    source: Snapshot,
    known: Snapshot | None,
    settings: Prefilter,
    moved: np.ndarray | None,
) -> list[_Partition]:
    """The decoded images of each period with their hashes; those that are missing are computed."""
    partitions: list[_Partition] = []
    advance = run.counter("hashing", source.rows)

    def chunks() -> Iterator[tuple[tuple[_Partition, list[int]], _Hashing]]:
        for named in source.partitions():
            partition, missing = _partition(source, known, named["arrival"], settings, moved)
            partitions.append(partition)
            advance(len(partition.ids) - len(missing))
            for images in source.along_packs(named["arrival"], missing, CHUNK):
                rows = [missing[i] for i in images["image_id"].to_pylist()]
                yield (partition, rows), _Hashing(run.lake, images, settings)

    for (partition, rows), hashes in compute.run_jobs(hash_chunk, chunks(), advance):
        partition.hashes[rows] = hashes
    return partitions


def _partition(
    source: Snapshot,
    known: Snapshot | None,
    arrival: str,
    settings: Prefilter,
    moved: np.ndarray | None,
) -> tuple[_Partition, dict[str, int]]:
    """The decoded images of a period with the hashes that are known, and the rows that lack one."""
    files = source.files(arrival=arrival)
    decoded = ds.field("status") == "decoded"
    columns = ["image_id", "arrived_at", "key", "sha256", "low_information"]
    rows = source.read(columns, decoded, files=files)
    rows = rows.sort_by([("arrived_at", "ascending"), ("key", "ascending")])
    ids, contents = fixed(rows["image_id"], 32), digests(rows["sha256"])
    low = rows["low_information"].to_numpy()
    hashes = np.zeros((len(ids), 8 if settings.mirrored else 1), dtype=np.uint64)
    held, gone = _Held.nothing(len(ids)), np.empty(0, np.uint64)
    if known is not None:
        table = known.read(_HELD, files=known.files(arrival=arrival)).sort_by("image_id")
        held, gone = _held(table, ids, contents, low, hashes)
    missing = {ids[i].decode(): i for i in np.flatnonzero(~held.there).tolist()}
    if moved is not None:
        # To the walk, it went from one place and came to another.
        elsewhere = held.there & among(ids, moved)
        gone = np.concatenate([gone, hashes[elsewhere & held.active & ~low, 0]])
        held.there &= ~elsewhere
    return _Partition(arrival, ids, contents, low, hashes, held, gone), missing


_HELD = (
    *("image_id", "sha256", "hash", "variants", "low_information"),
    *("status", "onto", "relation", "distance"),
)


def _held(
    table: pa.Table, ids: np.ndarray, contents: np.ndarray, low: np.ndarray, hashes: np.ndarray
) -> tuple[_Held, np.ndarray]:
    """What the fingerprints of a period, in order of image_id, say of some images, with their
    hashes put into place; and the hashes of active ones that they say nothing of."""
    if not table.num_rows:
        return _Held.nothing(len(ids)), np.empty(0, np.uint64)
    names = fixed(table["image_id"], 32)
    at = np.minimum(np.searchsorted(names, ids), len(names) - 1)
    there = (names[at] == ids) & (digests(table["sha256"])[at] == contents).all(axis=1)
    there &= table["low_information"].to_numpy()[at] == low
    own = table["hash"].to_numpy().view(np.uint64)
    if hashes.shape[1] == 1:
        hashes[there, 0] = own[at[there]]
    else:
        every = table["variants"].combine_chunks().flatten().to_numpy().view(np.uint64)
        hashes[there] = every.reshape(-1, 8)[at[there]]
    active = pc.equal(table["status"], "active").to_numpy()
    exact = pc.equal(table["relation"], "exact").fill_null(False).to_numpy()
    left = active & ~table["low_information"].to_numpy()
    left[at[there]] = False
    held = _Held(
        there,
        active[at],
        exact[at],
        fixed(table["onto"], 32)[at],
        table["distance"].fill_null(0).to_numpy()[at].astype(np.int64),
        table.num_rows,
    )
    return held, own[left]


@dataclass(frozen=True)
class _Hashing:
    """Images to hash: image_id, and where their thumbnails lie."""

    lake: Lake
    images: pa.RecordBatch
    settings: Prefilter


def hash_chunk(chunk: _Hashing) -> np.ndarray:
    """(n, 1) uint64 for the n images of a chunk, or (n, 8) with rotations and mirrors."""
    settings, images = chunk.settings, chunk.images
    hashes = np.empty((images.num_rows, 8 if settings.mirrored else 1), dtype=np.uint64)
    with ThreadPoolExecutor(compute.cores_of_job()) as threads:
        done = 0
        for _, stored in stream_thumbnails(chunk.lake, images, _HASH_BATCH):
            thumbnails = list(threads.map(open_thumbnail, stored))
            if settings.mirrored:
                computed = dihedral_variants(thumbnails, settings.hash)
            else:
                computed = perceptual_hash(thumbnails, settings.hash)[:, None]
            hashes[done : done + len(thumbnails)] = computed
            done += len(thumbnails)
            compute.advance(len(thumbnails))
    return hashes
