"""Lake, index and warehouse against each other: each difference named, and mended on request.

A run leaves these equal. A disk, a person or a restored backup may not. What is found while a run
is between two of its stages may be that run's own work in progress: check when none is on.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from idedup_tasks.lake import (
    FINE_PLACE,
    PLACE,
    TABLES,
    DataFile,
    Lake,
    Snapshot,
    TableChange,
    find_pictures,
    stored_schema,
)
from idedup_tasks.maintenance.source import bring_up
from idedup_tasks.quality.counting import Rows, Scan, row_hashes
from idedup_tasks.run import Run
from idedup_tasks.settings import STAGES

log = logging.getLogger(__name__)

_EXAMPLES = 3
_PICTURES = 100  # read at once
_MADE_BY = {
    "images": "ingest",
    "fingerprints": "prefilter",
    "embeddings": "embed",
    "index": "index",
    "looks": "match",
    "matches": "match",
    "groups": "group",
}
_DECODED = ds.field("status") == "decoded"
_ACTIVE = ds.field("status") == "active"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be.

    Attributes:
        place: where: the lake, the index or the warehouse.
        what: one sentence that names it.
        stage: the first stage that must run to mend it.
        table, file: the data file that is missing or damaged, or rows of which are.
        images: the image_ids of these rows; empty: all of the file.
        stale: vectors of images that are gone: no fault, they stay until somebody asks.
        restored: the lake is older than the warehouse, and counts as another one from now on.
    """

    place: Literal["lake", "index", "warehouse"]
    what: str
    stage: str
    table: str | None = None
    file: DataFile | None = None
    images: tuple[str, ...] = ()
    stale: bool = False
    restored: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


def check(run: Run) -> list[Difference]:
    """Compare what the tables, the index and the warehouse say; nothing is written.

    Every page of every data file, every stored picture and every shard is read against its
    checksum. Rows are compared by 64-bit hashes of their keys, eight bytes a row.

    Returns:
        The differences, what cannot be read first: while there is any, rows are not compared.
    """
    lake = run.lake
    unreadable = [*_damaged_files(run), *_origins(lake)]
    lost = _damaged_packs(run, {d.file.path for d in unreadable if d.file is not None})
    others = [*lost, *_damaged_shards(run), *_restored(run)]
    if unreadable:
        return unreadable + others
    return [*others, *_rows(run, lake), *_warehouse(run, lake)]


# --- files ---------------------------------------------------------------------------------------


def _damaged_files(run: Run) -> Iterator[Difference]:
    lake = run.lake
    for name in TABLES:
        if not lake.exists(f"{name}/_delta_log"):
            continue
        snapshot = lake.snapshot(name)
        files = snapshot.files()
        for number, file in enumerate(files, 1):
            fault = _fault(lake, snapshot, file)
            if fault is not None:
                what = f"{lake.uri}/{name}/{file.path} {fault}"
                yield Difference("lake", what, _MADE_BY[name], name, file)
            run.progress(f"reading {name}", number, len(files))


def _fault(lake: Lake, snapshot: Snapshot, file: DataFile) -> str | None:
    relative = f"{snapshot.definition.name}/{file.path}"
    if not lake.exists(relative):
        return "is missing"
    if (size := lake.size(relative)) != file.bytes:
        return f"has {size:,} bytes instead of {file.bytes:,}"
    wanted = stored_schema(snapshot.definition)
    try:
        with lake.open(relative) as stream:
            parquet = pq.ParquetFile(stream, page_checksum_verification=True)
            rows = sum(b.num_rows for b in parquet.iter_batches())
            names = parquet.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"cannot be read ({' '.join(str(error).split())[:200]})"
    if rows != file.rows:
        return f"holds {rows:,} rows instead of {file.rows:,}"
    return None if names == wanted.names else f"has the columns {', '.join(names)}"


def _damaged_packs(run: Run, unreadable: Collection[str]) -> Iterator[Difference]:
    """By data file and pack, the images a stored picture of which is missing or damaged."""
    lake = run.lake
    if not lake.exists("images/_delta_log"):
        return
    snapshot, checked = lake.snapshot("images"), 0
    for file in snapshot.files():
        if file.path in unreadable:
            continue
        lost: dict[str, list[str]] = {}
        columns = ["image_id", *PLACE, *FINE_PLACE]
        for batch in snapshot.scan(columns, _DECODED, batch_rows=_PICTURES, files=[file]):
            for row, found in enumerate(find_pictures(lake, batch)):
                if found is None:
                    image = batch["image_id"][row].as_py()
                    lost.setdefault(batch["pack"][row].as_py(), []).append(image)
            checked += batch.num_rows
            run.progress("reading pictures", checked, snapshot.rows)
        for pack, images in lost.items():
            what = _named(
                (len(images), images[:_EXAMPLES]), f"pictures in {pack} are missing or damaged"
            )
            yield Difference("lake", what, "ingest", "images", file, tuple(images))


def _damaged_shards(run: Run) -> Iterator[Difference]:
    from idedup_tasks.shards import DamagedShard, open_shard

    lake = run.lake
    if not lake.exists("index/_delta_log"):
        return
    snapshot = lake.snapshot("index")
    try:
        rows = snapshot.read(files=snapshot.files(model_id=run.model_id)).to_pylist()
    except (pa.ArrowException, OSError):
        return  # the manifest itself is damaged, and named as a data file
    for row in rows:
        try:
            open_shard(lake, row)
        except DamagedShard as error:
            yield Difference("index", str(error).partition(":")[0], "index")


def _origins(lake: Lake) -> Iterator[Difference]:
    """Tables that say they were made from versions that are not there: copied at other moments."""
    newest = {n: lake.snapshot(n) for n in TABLES if lake.exists(f"{n}/_delta_log")}
    for name, snapshot in newest.items():
        for source, version in snapshot.metadata.get("reads", {}).items():
            if source in newest and version > newest[source].version:
                what = (
                    f"{name} was made from version {version} of {source}, whose newest is "
                    f"{newest[source].version}"
                )
                yield Difference("lake", what, _MADE_BY[name])


# --- rows ----------------------------------------------------------------------------------------


def _rows(run: Run, lake: Lake) -> Iterator[Difference]:
    def newest(name: str, where: ds.Expression | None = None, **partition: str) -> Rows:
        return Rows(lake, name, tuple(lake.snapshot(name).files(**partition)), where)

    decoded, prints = newest("images", _DECODED), newest("fingerprints")
    key = ("arrival", "image_id", "sha256")
    yield from _unequal(
        decoded,
        prints,
        key,
        ("images have no fingerprint", "fingerprints have no image"),
        "prefilter",
    )
    active = newest("fingerprints", _ACTIVE)
    vectors = newest("embeddings", model_id=run.model_id)
    lost = _only(active.scan, vectors.scan, key)
    if lost:
        yield Difference("lake", _named(lost, "active images have no vector"), "embed")
    gone = _stale_vectors(run)
    if gone:
        what = _named(gone, "vectors are of images that are gone")
        yield Difference("lake", what, "embed", stale=True)
    yield from _index(run, active)
    yield from _unequal(
        prints,
        newest("groups"),
        (*key, "status"),
        ("fingerprints have no verdict", "verdicts have no fingerprint"),
        "group",
    )


def _unequal(
    left: Rows, right: Rows, key: Sequence[str], said: tuple[str, str], stage: str
) -> Iterator[Difference]:
    for a, b, what in ((left, right, said[0]), (right, left, said[1])):
        found = _only(a.scan, b.scan, key)
        if found:
            yield Difference("lake", _named(found, what), stage)


def _only(left: Scan, right: Scan, key: Sequence[str]) -> tuple[int, list[str]] | None:
    """How many rows only `left` has, and a few of their image ids; None: not one."""
    held = [row_hashes(batch, key) for batch in right(key)]
    known = np.unique(np.concatenate(held)) if held else np.empty(0, np.uint64)
    count, examples = 0, list[str]()
    for batch in left(key):
        missing = ~np.isin(row_hashes(batch, key), known)
        count += int(missing.sum())
        if missing.any() and len(examples) < _EXAMPLES:
            examples += batch["image_id"].filter(pa.array(missing)).to_pylist()
    return (count, examples[:_EXAMPLES]) if count else None


def _named(found: tuple[int, list[str]], what: str) -> str:
    count, examples = found
    more = ", …" if count > len(examples) else ""
    return f"{count:,} {what}: {', '.join(examples)}{more}"


def _index(run: Run, active: Rows) -> Iterator[Difference]:
    from idedup_tasks.shards import DamagedShard, open_shards

    key = ("image_id", "sha256")

    def held(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for shard in open_shards(run.lake, run.lake.snapshot("index"), run.model_id):
            yield from shard.ids.select(list(columns)).to_batches()

    try:
        lost = _only(active.scan, held, key)
    except DamagedShard:
        return  # named already, and rebuilt from the vectors
    if lost:
        yield Difference("index", _named(lost, "active images are in no shard"), "index")


def _stale_vectors(run: Run) -> tuple[int, list[str]] | None:
    """Vectors of images that neither the newest tables have nor those that the index is made of."""
    ids = _present_ids(run)
    count, examples = 0, list[str]()
    for batch in run.lake.snapshot("embeddings").scan(["image_id"]):
        gone = pc.invert(pc.is_in(batch["image_id"], ids))
        missing = batch["image_id"].filter(gone)
        count += len(missing)
        if len(examples) < _EXAMPLES:
            examples += missing.to_pylist()
    return (count, examples[:_EXAMPLES]) if count else None


def _present_ids(run: Run) -> pa.Array:
    lake = run.lake
    embeddings = lake.snapshot("embeddings")
    sources = [
        lake.snapshot("images"),
        lake.snapshot("fingerprints"),
        lake.snapshot("fingerprints", embeddings.reads("fingerprints")),
    ]
    parts = [b["image_id"] for snapshot in sources for b in snapshot.scan(["image_id"])]
    return pc.unique(pa.chunked_array(parts, pa.string()))


# --- the warehouse -------------------------------------------------------------------------------


def _warehouse(run: Run, lake: Lake) -> Iterator[Difference]:
    from idedup_tasks.lake import Conflict
    from idedup_tasks.stages.report import prepare as report
    from idedup_tasks.warehouse import Warehouse

    warehouse, name = Warehouse(run.places.warehouse), run.collection.name
    try:
        reads, parts, pairs = report.results(run)
        held = warehouse.held_versions(name)
        batches = (batch for part in parts for batch in part.to_batches())
        different = warehouse.compare(run, {**reads, "lake_id": lake.id}, batches, pairs)
    except Conflict as conflict:
        yield Difference("lake", f"a run has not come to its end: {conflict}", "group")
        return
    if held.get("lake_id", lake.id) != lake.id:
        what = f"{name} holds results of another lake ({held['lake_id']}, this one is {lake.id})"
        yield Difference("warehouse", what, "report")
    for table, keys in different.items():
        shown = ", ".join(keys[:_EXAMPLES]) + (", …" if len(keys) > _EXAMPLES else "")
        what = f"{len(keys):,} rows of {table} are not as the lake has them: {shown}"
        yield Difference("warehouse", what, "report")


def _restored(run: Run) -> Iterator[Difference]:
    """The lake was put back to an older state than the warehouse shows."""
    from idedup_tasks.warehouse import Warehouse

    lake, name = run.lake, run.collection.name
    held = Warehouse(run.places.warehouse).held_versions(name)
    if held.get("lake_id", lake.id) != lake.id:
        return
    for table in sorted(held.keys() & TABLES.keys()):
        version = lake.snapshot(table).version
        if held[table] > version:
            what = (
                f"{name} holds results of version {held[table]} of {table}, and the lake has "
                f"version {version}: was it restored from a copy?"
            )
            yield Difference("warehouse", what, "report", restored=True)


# --- mending -------------------------------------------------------------------------------------


def repair(run: Run, differences: Sequence[Difference]) -> list[Difference]:
    """Make up differences by the stages themselves, and check again.

    A damaged file, or the rows whose pictures are, leave their table first, so that its stage
    sees what is lacking. These images are read again from the source: what has vanished there is
    gone.

    Args:
        run: a run without a window.

    Returns:
        What is left, after at most one more turn: damage can hide what it has done to rows.
    """
    for _ in range(2):
        if not differences:
            break
        arrivals = _drop(run, [d for d in differences if d.file is not None])
        if any(d.restored for d in differences):
            run.lake.remove("lake.json")
        if any(d.stale for d in differences):
            _drop_stale_vectors(run)
        first = min(STAGES.index(d.stage) for d in differences)
        bring_up(run, arrivals, stages=STAGES[max(1, first) :])
        differences = check(run)
    return list(differences)


def _drop(run: Run, damaged: Sequence[Difference]) -> set[str]:
    """Take what is damaged out of its tables; return the periods whose images must be read."""
    lake = run.lake
    arrivals: set[str] = set()
    names = [d.table for d in damaged if d.table]
    if "fingerprints" in names:
        # Which images were compared, matches know by the fingerprints of then.
        names.append("matches")
    for name in dict.fromkeys(names):
        files = {d.file.path: d.file for d in damaged if d.table == name and d.file}
        snapshot = lake.snapshot(name)
        metadata = snapshot.metadata
        if name in ("matches", "groups"):
            # Without the name of what was compared, everything is compared anew.
            metadata = {"reads": metadata.get("reads", {})}
        change = TableChange(name, snapshot.version, metadata=metadata)
        for path, file in files.items():
            here = [d for d in damaged if d.table == name and d.file and d.file.path == path]
            gone = pa.array([image for d in here for image in d.images], pa.string())
            change.remove.append(file)
            if all(d.images for d in here) and len(gone) < file.rows:
                kept = (
                    batch.filter(pc.invert(pc.is_in(batch["image_id"], gone)))
                    for batch in snapshot.scan(files=[file])
                )
                change.add.append(lake.write_rows(name, file.partition, kept))
        lake.publish(change)
        if files:
            log.warning("%d damaged files left %s", len(files), name)
        if name == "images":
            arrivals |= {f.partition["arrival"] for f in files.values()}
    return arrivals


def _drop_stale_vectors(run: Run) -> None:
    lake, snapshot = run.lake, run.lake.snapshot("embeddings")
    ids = _present_ids(run)
    change = TableChange("embeddings", snapshot.version, metadata=snapshot.metadata)
    for file in snapshot.files():
        held = snapshot.read(["image_id"], files=[file])["image_id"]
        here = pc.is_in(held, ids)
        if pc.all(here).as_py():
            continue
        change.remove.append(file)
        if pc.any(here).as_py():
            kept = _kept(snapshot.scan(files=[file]), ids)
            change.add.append(lake.write_rows("embeddings", file.partition, kept))
    if not change.empty:
        lake.publish(change)


def _kept(batches: Iterable[pa.RecordBatch], ids: Any) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.filter(pc.is_in(batch["image_id"], ids))
