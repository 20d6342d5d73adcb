"""Match: candidate pairs of active images, connected components, and a look at every pair.

A pair is of contents, each of which its earliest image stands for. It is proposed by the hash (a
twin and what it collapsed onto), by vectors, or by a component: in small connected components of
what looks tie together all pairs are looked at, for the clustering that comes after. The outcome is
a function of the set of images. Only images that are new or crowded are compared by vectors again,
and only pairs that nobody has looked at before are looked at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from idedup_tasks.descriptors.sorter import Sorter
from idedup_tasks.ids import digests, fixed
from idedup_tasks.lake import (
    MATCHES,
    Candidate,
    Conflict,
    Lake,
    Snapshot,
    TableChange,
    reconcile_partition,
)
from idedup_tasks.linkage import components
from idedup_tasks.looking import Looks, pictures_of
from idedup_tasks.run import Run, publish_changes
from idedup_tasks.settings import RELATIONS, digest
from idedup_tasks.shards import open_shards
from idedup_tasks.stages.match.candidates import (
    SCALE,
    FoundPairs,
    find_pairs,
    known_pairs,
    nearest_cells,
    ranks_of,
)
from idedup_tasks.stages.match.counts import Counts
from idedup_tasks.verification import verifier_version

publish = publish_changes

_RECALL_SAMPLE = 1_000


@dataclass
class Collected:
    """A collection's contents, and the vectors to compare.

    ids: (n,) S32, ascending, of the earliest image of each content. sha256: (n, 32) uint8. onto:
    (n,) int64, position of what a twin collapsed onto, -1 for an active image. compared: (m,)
    int64, positions of the images with a vector, ascending; vectors: (m, dim) float32, and regions:
    (m, r, dim) int8, of their parts, if the descriptor makes such; memory maps on scratch disk.
    reads: the versions that all this is of.
    """

    ids: np.ndarray
    sha256: np.ndarray
    onto: np.ndarray
    compared: np.ndarray
    vectors: np.ndarray
    regions: np.ndarray | None
    reads: dict[str, int]


@dataclass
class _Pairs:
    """Pairs of contents. ends: (2, m) int64 positions, the smaller first. cosine: (m,) float64, NaN
    where vectors were not asked. looks: m rows of `lake.LOOK`."""

    proposed_by: str
    ends: np.ndarray
    cosine: np.ndarray
    looks: pa.Table

    @property
    def tied(self) -> np.ndarray:
        """(m,) bool: whether one of the two is the other's duplicate or variant."""
        found: np.ndarray = pc.is_in(self.looks["relation"], pa.array(RELATIONS)).to_numpy()
        return found


def prepare(run: Run) -> Candidate:
    """Compare what is new, look at what was not looked at, and describe what differs.

    Raises:
        DamagedShard: rerun the index stage, which rebuilds it.
        DamagedPack: a thumbnail is missing or damaged.
    """
    lake, settings = run.lake, run.collection.matching
    target = lake.snapshot("matches")
    sorter = _sorter(run)
    found = collect(run)
    mode = "exact" if len(found.compared) <= settings.exact_limit else "cells"
    change = TableChange("matches", target.version)
    change.metadata = {
        "settings": _candidate_settings(run, mode, sorter),
        "verifier": verifier_version(),
        "linkage_limit": run.collection.grouping.linkage_limit,
        "reads": found.reads,
    }
    asked, known = _what_is_new(lake, target, change.metadata, found, settings.candidates)
    if known is not None and not asked.any():
        pairs = known_pairs(len(asked), settings.candidates, known)
        recall = target.metadata["sampled_recall"]
    else:
        with gathered(run, found):
            cells = _cells(run, found.vectors) if mode == "cells" else None
            pairs = find_pairs(
                found.vectors,
                asked,
                run.thresholds.candidate,
                settings.candidates,
                cells,
                known,
                found.regions,
                lambda done, total: run.progress("comparing", done, total),
                sorter,
                lake=lake,
            )
            recall = _sampled_recall(run, found, sorter, pairs, cells)
    change.metadata["sampled_recall"] = recall
    matches, components, made = _look(run, found, pairs)
    tables = [_rows(found, some) for some in matches]
    reconcile_partition(lake, target, change, {}, pa.concat_tables(tables))
    relations = pc.value_counts(pa.concat_tables(tables)["relation"]).to_pylist()
    hash_pairs, candidates, component_pairs = (len(some.cosine) for some in matches)
    looked_at = hash_pairs + candidates + component_pairs
    counts = Counts(
        active=int((found.onto < 0).sum()),
        images=int(asked.sum()),
        candidates=candidates,
        hash_pairs=hash_pairs,
        component_pairs=component_pairs,
        looked_at=looked_at,
        looks_new=made,
        looks_known=looked_at - made,
        **{row["values"]: row["counts"] for row in relations},
        crowded=int((pairs.degree >= settings.candidates).sum()),
        components=components,
        mode=mode,
        sampled_recall=recall,
    )
    return Candidate("match", run.run_id, [change], found.reads, asdict(counts))


# --- what there is to compare --------------------------------------------------------------------


def collect(run: Run) -> Collected:
    """Bring together, at versions that belong together, what is compared; no vectors as yet."""
    lake = run.lake
    index = lake.snapshot("index")
    fingerprints = lake.snapshot("fingerprints", index.reads("fingerprints"))
    images = lake.snapshot("images", fingerprints.reads("images"))
    reads = {
        "images": images.version,
        "fingerprints": fingerprints.version,
        "index": index.version,
    }
    contents = (ds.field("status") == "active") | (ds.field("relation") == "same")
    columns = ["image_id", "sha256", "onto", "low_information"]
    table = fingerprints.read(columns, contents).sort_by("image_id")
    ids = fixed(table["image_id"], 32)
    onto_ids = fixed(table["onto"], 32)
    onto = np.where(onto_ids == b"", -1, np.searchsorted(ids, onto_ids))
    # Flat and near-blank images match by bytes only: they have no row to be compared.
    low = table["low_information"].to_numpy()
    return Collected(
        ids,
        digests(table["sha256"]),
        onto,
        np.flatnonzero((onto < 0) & ~low),
        np.empty((0, 0), dtype=np.float32),
        None,
        reads,
    )


@contextmanager
def gathered(run: Run, found: Collected) -> Iterator[None]:
    """Put the vectors to compare in place, at the same versions; they are gone afterwards."""
    lake = run.lake
    index = lake.snapshot("index", found.reads["index"])
    embeddings = lake.snapshot("embeddings", index.reads("embeddings"))
    with tempfile.TemporaryDirectory(prefix="idedup-") as folder:
        scratch = Path(folder)
        found.vectors = _gather(lake, index, run.model_id, found, scratch / "vectors.f32")
        found.regions = _gather_regions(embeddings, run.model_id, found, scratch / "regions.i8")
        yield
        # Closes the maps before their files go.
        found.vectors, found.regions = np.empty((0, 0), dtype=np.float32), None


def _gather(lake: Lake, index: Snapshot, model_id: str, found: Collected, path: Path) -> np.ndarray:
    """Put the vectors of the images to compare into one file, in order of image_id."""
    ids = found.ids[found.compared]
    vectors: np.ndarray | None = None
    filled = np.zeros(len(ids), dtype=bool)
    for shard in open_shards(lake, index, model_id):
        if not len(ids):
            break
        if vectors is None:
            vectors = np.memmap(path, np.float32, "w+", shape=(len(ids), shard.flat.d))
        row, live = _rows_of(found, shard.ids["image_id"], shard.ids["sha256"])
        vectors[row[live]] = shard.vectors[live]
        filled[row[live]] = True
    if not filled.all():
        raise Conflict(
            f"{int((~filled).sum())} active images have no vector in the index: rerun the embed "
            "and index stages."
        )
    return np.empty((0, 1), dtype=np.float32) if vectors is None else vectors


def _gather_regions(
    embeddings: Snapshot, model_id: str, found: Collected, path: Path
) -> np.ndarray | None:
    """Put the vectors of parts of the images to compare into one file, in order of image_id; None
    where the descriptor makes no such vectors."""
    count, dim = found.vectors.shape
    regions: np.ndarray | None = None
    filled, length = np.zeros(count, dtype=bool), None
    columns = ["image_id", "sha256", "regions"]
    for batch in embeddings.scan(columns, files=embeddings.files(model_id=model_id)):
        if not count:
            break
        row, live = _rows_of(found, batch["image_id"], batch["sha256"])
        if not live.any():
            continue
        parts = batch["regions"].fill_null(b"")
        lengths = pc.binary_length(parts).to_numpy()
        if length is None:
            length = int(lengths[live][0])
        # All of one descriptor: what is shorter or longer than the first is none of its making.
        live &= lengths == length
        if length:
            if regions is None:
                regions = np.memmap(path, np.int8, "w+", shape=(count, length // dim, dim))
            joined = b"".join(parts.filter(pa.array(live)).to_pylist())
            regions[row[live]] = np.frombuffer(joined, np.int8).reshape(-1, *regions.shape[1:])
        filled[row[live]] = True
    if not filled.all():
        raise Conflict(
            f"{int((~filled).sum())} active images of the index have no vectors of their parts: "
            "rerun the embed and index stages."
        )
    return regions


def _rows_of(
    found: Collected, image_ids: pa.ChunkedArray | pa.Array, sha256: pa.ChunkedArray | pa.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the images to compare some rows are of, and whether: with the same content."""
    ids, names = found.ids[found.compared], fixed(image_ids, 32)
    row = np.minimum(np.searchsorted(ids, names), len(ids) - 1)
    live = ids[row] == names
    live &= (found.sha256[found.compared[row]] == digests(sha256)).all(axis=1)
    return row, live


# --- candidates ----------------------------------------------------------------------------------


def _sorter(run: Run) -> Sorter | None:
    """The descriptor's; none where the collection has thresholds of its own, which are of the
    cosine, nor where windows are encoded, which it was not fitted on."""
    from idedup_tasks.descriptors import load_card

    if run.collection.thresholds is not None or run.collection.matching.thorough:
        return None
    numbers = load_card(run.collection.descriptor).sorter
    return Sorter(**numbers) if numbers else None


def _candidate_settings(run: Run, mode: str, sorter: Sorter | None) -> str:
    settings = run.collection.matching
    cells = settings.cells_per_image if mode == "cells" else 0
    return digest(run.model_id, run.thresholds.candidate, settings.candidates, mode, cells, sorter)


def _what_is_new(
    lake: Lake, matches: Snapshot, wanted: dict[str, Any], found: Collected, limit: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
    """Which images must be compared, and the known candidates among the others.

    Which were compared the last time, the fingerprints say that it was done with. One that is
    crowded is compared again: it may have lost what kept others from being looked at.
    """
    asked = np.ones(len(found.compared), dtype=bool)
    before = matches.metadata
    if before.get("settings") != wanted["settings"] or not len(asked):
        return asked, None
    then = lake.snapshot("fingerprints", before["reads"]["fingerprints"])
    compared = (ds.field("status") == "active") & ~ds.field("low_information")
    for batch in then.scan(["image_id", "sha256"], compared):
        row, same = _rows_of(found, batch["image_id"], batch["sha256"])
        asked[row[same]] = False
    first, second, score = _stored_candidates(matches, found.ids[found.compared])
    held = first >= 0, second >= 0
    degree = np.bincount(first[held[0]], minlength=len(asked))
    degree += np.bincount(second[held[1]], minlength=len(asked))
    asked |= degree >= limit
    here = held[0] & held[1]
    here[here] &= ~asked[first[here]] & ~asked[second[here]]
    return asked, (first[here], second[here], score[here])


def _stored_candidates(
    matches: Snapshot, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The candidates that were found before: positions in `ids`, -1 where an image is gone."""
    parts: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.int64),) * 3]
    columns = ["image_a", "image_b", "cosine"]
    for batch in matches.scan(columns, ds.field("proposed_by") == "vector"):
        ends = []
        for column in columns[:2]:
            names = fixed(batch[column], 32)
            at = np.minimum(np.searchsorted(ids, names), len(ids) - 1)
            ends.append(np.where(ids[at] == names, at, -1))
        parts.append((*ends, np.rint(batch["cosine"].to_numpy() * SCALE).astype(np.int64)))
    first, second, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return first, second, score


def _cells(run: Run, vectors: np.ndarray) -> np.ndarray:
    from idedup_tasks.descriptors import load_quantiser

    centroids = load_quantiser(run.collection.descriptor)
    return nearest_cells(vectors, centroids, run.collection.matching.cells_per_image)


def _sampled_recall(
    run: Run,
    found: Collected,
    sorter: Sorter | None,
    pairs: FoundPairs,
    cells: np.ndarray | None,
) -> float | None:
    """Of the matches that a sample of images has in truth, the share that cells found."""
    if cells is None:
        return None
    vectors, lowest = found.vectors, run.thresholds.candidate
    chosen = np.linspace(0, len(vectors) - 1, _RECALL_SAMPLE).astype(np.int64)
    asked = vectors[chosen]
    matches = np.zeros(len(chosen), dtype=np.int64)
    for start in range(0, len(vectors), 16_384):
        similar = asked @ vectors[start : start + 16_384].T
        # float32 will do: this measures, and decides nothing.
        row, column = np.nonzero(similar >= lowest - 0.5 / SCALE)
        if sorter is not None and found.regions is not None:
            ends = chosen[row], column + start
            row = row[ranks_of(sorter, vectors, found.regions, *ends) >= 0]
        matches += np.bincount(row, minlength=len(chosen))
    matches -= 1  # itself
    total = int(matches.sum())
    return round(float(pairs.degree[chosen].sum()) / total, 4) if total else 1.0


# --- looks ---------------------------------------------------------------------------------------


def _look(run: Run, found: Collected, pairs: FoundPairs) -> tuple[list[_Pairs], int, int]:
    """Look at all pairs: those of the hash, of vectors, and of components; the number of connected
    components, and of looks that nobody had made before."""
    twins = np.flatnonzero(found.onto >= 0)
    by_hash = np.sort([twins, found.onto[twins]], axis=0)
    by_vector = found.compared[np.array([pairs.first, pairs.second], dtype=np.int64)]
    used = np.unique(np.concatenate([by_hash, by_vector], axis=1))
    images = run.lake.snapshot("images", found.reads["images"])
    looks = Looks(run, pictures_of(images, found.ids[used]))

    ends = np.searchsorted(used, np.concatenate([by_hash, by_vector], axis=1))
    seen = looks.at(ends[0], ends[1], "looking at candidates")
    hashed = len(twins)
    unknown = np.full(hashed, np.nan)
    matches = [
        _Pairs("hash", by_hash, unknown, seen.slice(0, hashed)),
        _Pairs("vector", by_vector, pairs.score / SCALE, seen.slice(hashed)),
    ]
    tied = np.concatenate([some.tied for some in matches])
    components, rest = _rest_of_components(ends, tied, len(used), run)
    cosine = np.full(rest.shape[1], np.nan)
    seen = looks.at(rest[0], rest[1], "looking at components")
    matches.append(_Pairs("component", used[rest], cosine, seen))
    return matches, components, looks.made


def _rest_of_components(
    ends: np.ndarray, tied: np.ndarray, n: int, run: Run
) -> tuple[int, np.ndarray]:
    """The number of connected components of two or more, and (2, m) int64: the pairs in those of up
    to `grouping.linkage_limit` that are not yet looked at.

    Args:
        ends: (2, k) positions of those that are.
        tied: (k,) bool, those that connect.
    """
    first, second = ends[:, tied]
    label = components(n, first, second)
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    sizes = np.diff(starts, append=n)
    missing = [np.empty((2, 0), np.int64)]
    small = (sizes > 2) & (sizes <= run.collection.grouping.linkage_limit)
    for start, size in zip(starts[small], sizes[small], strict=True):
        members = order[start : start + size]
        missing.append(members[np.array(np.triu_indices(size, 1))])
    every = np.concatenate(missing, axis=1)
    every = every[:, ~np.isin(every[0] * n + every[1], ends[0] * n + ends[1])]
    return int((sizes > 1).sum()), every


def _rows(found: Collected, some: _Pairs) -> pa.Table:
    """Rows of `matches`."""
    columns = {
        "image_a": pa.array(found.ids[some.ends[0]].astype(str), pa.string()),
        "image_b": pa.array(found.ids[some.ends[1]].astype(str), pa.string()),
        "proposed_by": pa.array([some.proposed_by] * len(some.cosine), pa.string()),
        "cosine": pa.array(some.cosine, mask=np.isnan(some.cosine)),
    }
    looks = {name: some.looks[name] for name in some.looks.column_names}
    return pa.table(columns | looks, MATCHES)
