"""Looks at pairs of a collection's pictures: those that are known from the lake, and new ones.

A look is a function of two contents and the verifier's version, whoever asks for it and whenever.
So they are kept in the table `looks`, which is a cache and no stage's result: rows are only added,
outside of any gate, every few seconds, and a run that was cut off goes on where it was.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from idedup_tasks import compute, verification
from idedup_tasks.ids import fixed
from idedup_tasks.lake import (
    FINE_PLACE,
    LOOK,
    LOOKS,
    PLACE,
    Conflict,
    DataFile,
    Lake,
    Snapshot,
    TableChange,
    read_pictures,
)
from idedup_tasks.linkage import components
from idedup_tasks.run import ModelMismatch, Run
from idedup_tasks.verification import Picture, turned_rows, verifier_version

#: What `images` has to say of a picture that is looked at.
COLUMNS = ("sha256", "width", "height", *PLACE, *FINE_PLACE)

CHUNK = 500  # pairs: some seconds of work
COMMIT_S = 20.0
_TRIES = 50  # to add rows; each that fails is another run's that did not
_ROW = pa.schema(LOOK)


def pictures_of(images: Snapshot, image_ids: np.ndarray) -> pa.Table:
    """What `Looks` needs of some decoded images.

    Args:
        images: a version of the table.
        image_ids: (n,) S32, each once.

    Returns:
        Columns of `COLUMNS`, in the order of `image_ids`.

    Raises:
        Conflict: one is not there.
    """
    found = [
        pa.table(
            {name: pa.array([], images.definition.schema.field(name).type) for name in COLUMNS}
        )
    ]
    rows = [np.empty(0, np.int64)]
    order = np.argsort(image_ids)
    for batch in images.scan(["image_id", *COLUMNS]) if len(image_ids) else ():
        at, here = _positions(batch["image_id"], image_ids, order)
        rows.append(at[here])
        found.append(pa.Table.from_batches([batch.filter(pa.array(here)).select(list(COLUMNS))]))
    held = np.concatenate(rows)
    if len(held) != len(image_ids):
        raise Conflict(
            f"{len(image_ids) - len(held)} images are not in version {images.version} of images: "
            "the stage starts again from the newest versions."
        )
    return pa.concat_tables(found, promote_options="permissive").take(pa.array(np.argsort(held)))


class Looks:
    """Looks at pairs of some pictures.

    Args:
        run: whose lake holds the looks that are known and the pictures.
        pictures: rows of `images` with the columns of `COLUMNS`, each content once.

    Attributes:
        made: how many looks were asked for that nobody had made before.
    """

    def __init__(self, run: Run, pictures: pa.Table) -> None:
        self._run, self._lake = run, run.lake
        self.made = 0
        self._pictures = pictures.select(list(COLUMNS))
        self._verifier = verifier_version()
        self._contents = fixed(pictures["sha256"], 64)
        order = np.argsort(self._contents)
        # Position of each content in ascending order, which is the order that looks are kept in.
        self._order, self._rank = order, np.argsort(order)

    def at(self, first: np.ndarray, second: np.ndarray, what: str = "looking") -> pa.Table:
        """Look at pairs.

        Args:
            first, second: (m,) positions in `pictures`, in any order and as often as you like.
            what: the name that progress is told under.

        Returns:
            (m) rows with the columns of `lake.LOOK`: what first[i] is to second[i].

        Raises:
            DamagedPack: the thumbnail of a picture is missing or damaged.
            Conflict: other runs added their looks first, over and over.
        """
        first, second = np.asarray(first, np.int64), np.asarray(second, np.int64)
        turned = self._rank[first] > self._rank[second]
        low, high = np.where(turned, [second, first], [first, second])
        keys = low * len(self._contents) + high
        wanted = np.unique(keys[low != high])
        self._look_at_new(wanted, what)
        held, rows = self._read(wanted)
        place = np.where(low == high, len(wanted), np.searchsorted(wanted, keys))
        rows = pa.concat_tables([rows.take(pa.array(held)), _equal()])
        return turned_rows(rows.take(pa.array(place)).combine_chunks(), turned)

    def _look_at_new(self, wanted: np.ndarray, what: str) -> None:
        """See to it that the lake has a look at every pair wanted."""
        new = ~self._known(self._lake.snapshot("looks"), wanted)
        self.made += int(new.sum())
        advance = self._run.counter(what, len(wanted))
        advance(int((~new).sum()))
        done: list[DataFile] = []
        committed = time.monotonic()
        for _, file in compute.run_jobs(look_chunk, self._chunks(wanted[new]), advance):
            done.append(file)
            if time.monotonic() - committed >= COMMIT_S:
                _append(self._lake, done)
                done, committed = [], time.monotonic()
        _append(self._lake, done)

    def _chunks(self, keys: np.ndarray) -> Iterator[tuple[None, _Chunk]]:
        """Pairs that hang together come together, so that a picture's features are made once."""
        n = len(self._contents)
        first, second = np.divmod(keys, n)
        component = components(n, first, second)
        # Named by content and in its order, so that a rerun cuts alike.
        least = np.full(n, n)
        np.minimum.at(least, component, self._rank)
        order = np.lexsort((self._rank[second], self._rank[first], least[component[first]]))
        for start in range(0, len(order), CHUNK):
            part = order[start : start + CHUNK]
            named, ends = np.unique([first[part], second[part]], return_inverse=True)
            a, b = ends.reshape(2, -1)
            pictures = self._pictures.take(pa.array(named)).combine_chunks()
            yield None, _Chunk(self._lake, self._verifier, pictures, a, b)

    def _known(self, looks: Snapshot, wanted: np.ndarray) -> np.ndarray:
        """(m,) bool: which of the keys wanted the lake has a look at."""
        known = np.zeros(len(wanted), bool)
        for at, _ in self._scan(looks, wanted, ()):
            known[at] = True
        return known

    def _read(self, wanted: np.ndarray) -> tuple[np.ndarray, pa.Table]:
        """Rows of `lake.LOOK`, and for each key wanted which of them is its look."""
        held = np.full(len(wanted), -1)
        parts, count = [_ROW.empty_table()], 0
        for at, batch in self._scan(self._lake.snapshot("looks"), wanted, tuple(_ROW.names)):
            fresh = held[at] < 0  # of several, for two runs may have looked: they are equal
            rows = batch.filter(pa.array(fresh)).select(_ROW.names)
            held[at[fresh]] = count + np.arange(rows.num_rows)
            parts.append(pa.Table.from_batches([rows], _ROW))
            count += rows.num_rows
        return held, pa.concat_tables(parts)

    def _scan(
        self, looks: Snapshot, wanted: np.ndarray, columns: tuple[str, ...]
    ) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """The rows that are wanted, batch by batch, and which of the keys each is."""
        files = looks.files(verifier=self._verifier) if len(wanted) else []
        for batch in looks.scan(["sha256_a", "sha256_b", *columns], files=files):
            a, here = _positions(batch["sha256_a"], self._contents, self._order)
            b, also = _positions(batch["sha256_b"], self._contents, self._order)
            keys = a * len(self._contents) + b
            at = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
            here = here & also & (wanted[at] == keys)
            if here.any():
                at, first = np.unique(at[here], return_index=True)
                yield at, batch.take(pa.array(np.flatnonzero(here)[first]))


def _append(lake: Lake, files: list[DataFile]) -> None:
    """Add rows to the table, whoever else does; they contradict nobody's."""
    for attempt in range(_TRIES):
        looks = lake.snapshot("looks")
        present = {f.path for f in looks.files()}
        change = TableChange("looks", looks.version, [f for f in files if f.path not in present])
        if not change.add:
            return
        try:
            lake.publish(change)
            return
        except Conflict:
            if attempt == _TRIES - 1:
                raise


def _positions(
    column: pa.Array, among: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where in `among`, which `order` sorts, the texts of a column are, and whether."""
    texts = fixed(column, among.itemsize)
    at = order[np.minimum(np.searchsorted(among, texts, sorter=order), len(among) - 1)]
    return at, among[at] == texts


def _equal() -> pa.Table:
    """The look at two equal contents."""
    shape = np.eye(3).ravel().tolist()
    columns = [["exact"], [1.0], [1.0], [1.0], [0.0], [None], [0.0], [shape], ["bytes"]]
    return pa.table(columns, _ROW)


# --- a job ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chunk:
    """Pairs that become one data file: positions in `pictures`, the smaller content first."""

    lake: Lake
    verifier: str
    pictures: pa.Table
    first: np.ndarray
    second: np.ndarray


def look_chunk(chunk: _Chunk) -> DataFile:
    """Look at a chunk's pairs, unless an earlier try has.

    Raises:
        ModelMismatch: another version of the verifier is installed here than in the task.
    """
    if verifier_version() != chunk.verifier:
        raise ModelMismatch(
            f"The verifier is {verifier_version()} on a Dask worker and {chunk.verifier} in the "
            "task: install the same release, OpenCV and NumPy on all."
        )
    contents = chunk.pictures["sha256"].to_pylist()
    pairs = [(contents[a], contents[b]) for a, b in zip(chunk.first, chunk.second, strict=True)]
    listed = "\n".join(f"{a} {b}" for a, b in pairs)
    name = f"chunk-{hashlib.sha256(listed.encode()).hexdigest()[:32]}.parquet"
    partition = {"verifier": chunk.verifier}
    found = chunk.lake.written("looks", partition, name)
    if found is not None and found.rows == len(pairs):
        compute.advance(found.rows)
        return found
    seen = [
        {"verifier": chunk.verifier, "sha256_a": a, "sha256_b": b, **row}
        for (a, b), row in zip(pairs, _seen(chunk), strict=True)
    ]
    # A damaged file is left alone, for another run may have published it.
    return chunk.lake.write_rows(
        "looks", partition, pa.Table.from_pylist(seen, LOOKS), name if found is None else None
    )


def _seen(chunk: _Chunk) -> Iterator[dict[str, Any]]:
    """The looks of a chunk, in order, by as many threads as the job has cores."""
    rows = chunk.pictures.select(["sha256", "width", "height"]).to_pylist()

    def look_at(part: np.ndarray) -> list[dict[str, Any]]:
        pairs = [(int(chunk.first[i]), int(chunk.second[i])) for i in part]
        named = np.unique(pairs)
        stored = read_pictures(chunk.lake, chunk.pictures.take(pa.array(named)))
        held = dict(zip(named.tolist(), stored, strict=True))
        # Not for two threads at once, and half a megabyte each: a picture is opened with the first
        # of its pairs and let go with the last.
        pictures: dict[int, Picture] = {}
        last = {i: at for at, pair in enumerate(pairs) for i in pair}
        found = []
        for at, pair in enumerate(pairs):
            for i in pair:
                if i not in pictures:
                    thumbnail, fine = held.pop(i)
                    pictures[i] = Picture.of_thumbnail(thumbnail, fine=fine, **rows[i])
            found.append(verification.look(*(pictures[i] for i in pair)).row())
            for i in pair:
                if last[i] == at:
                    del pictures[i]
        return found

    parts = _parts(chunk.first, chunk.second, compute.cores_of_job())
    with ThreadPoolExecutor(compute.cores_of_job()) as threads:
        for found in threads.map(look_at, parts):
            compute.advance(len(found))
            yield from found


def _parts(first: np.ndarray, second: np.ndarray, threads: int) -> list[np.ndarray]:
    """Runs of pairs for one thread each: a few a thread, cut where no picture is on both sides,
    unless that leaves a run longer than a thread's share."""
    share = -(-len(first) // threads)
    few = max(1, share // 4)
    reach = np.zeros(max(first.max(initial=0), second.max(initial=0)) + 1, np.int64)
    for side in (first, second):
        np.maximum.at(reach, side, np.arange(len(side)))
    ends: list[int] = []
    start, open_until = 0, -1
    for at in range(len(first)):
        open_until = max(open_until, reach[first[at]], reach[second[at]])
        length = at + 1 - start
        if (length >= few and open_until == at) or length == share:
            ends.append(at + 1)
            start = at + 1
    return [part for part in np.split(np.arange(len(first)), ends) if len(part)]
