"""Group: candidate pairs, connected components, a hierarchical cut, keepers and evidence.

Only images that are new, or had more matches than are kept, are compared again; everything after
the pairs is computed anew each time, from the whole, because one earlier image can split a group.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from idedup_tasks.lake import (
    GROUPS,
    PAIRS,
    Candidate,
    Conflict,
    Lake,
    Snapshot,
    TableChange,
    reconcile_partition,
)
from idedup_tasks.run import Run, publish_changes
from idedup_tasks.settings import RELATIONS, KeeperCriterion, Thresholds, digest
from idedup_tasks.shards import open_shards
from idedup_tasks.stages.group.clusters import Clusters, cut_components
from idedup_tasks.stages.group.counts import Counts
from idedup_tasks.stages.group.members import (
    Images,
    Members,
    Qualities,
    choose_keepers,
    evidence,
    group_of,
)
from idedup_tasks.stages.group.pairs import SCALE, FoundPairs, find_pairs, nearest_cells
from idedup_tasks.stages.group.suggestion import suggest

publish = publish_changes

_RECALL_SAMPLE = 1_000


@dataclass
class Collected:
    """A collection's decoded images in order of (arrived_at, key), and the vectors to compare.

    ids: (n,) S32, sha256: (n, 32) uint8, both of all images. arrivals: name and number of images of
    each period, in order. compared: (m,) int64, positions of the images with a vector, in order of
    image_id; vectors: (m, dim) float32, a memory map on scratch disk.
    """

    ids: np.ndarray
    sha256: np.ndarray
    arrivals: list[tuple[str, int]]
    images: Images
    compared: np.ndarray
    vectors: np.ndarray
    reads: dict[str, int]


def prepare(run: Run) -> Candidate:
    """Compare what is new, cluster everything, and describe the partitions that differ.

    Raises:
        DamagedShard: rerun the index stage, which rebuilds it.
    """
    lake, settings = run.lake, run.collection.grouping
    pairs_target, groups_target = lake.snapshot("pairs"), lake.snapshot("groups")
    with collect(run) as found:
        count = len(found.compared)
        mode = "exact" if count <= settings.exact_limit else "cells"
        compared = _digest_of(found)
        pairs_change = TableChange("pairs", pairs_target.version)
        pairs_change.metadata = {
            "settings": _pair_settings(run, mode),
            "compared": compared,
            "reads": found.reads,
        }
        asked, known = _what_is_new(pairs_target, groups_target, pairs_change.metadata, found)
        cells = _cells(run, found.vectors) if mode == "cells" else None
        pairs = find_pairs(
            found.vectors,
            asked,
            run.thresholds.candidate,
            settings.pairs_per_image,
            cells,
            known,
            lambda done, total: run.progress("comparing", done, total),
            lake=lake,
        )
        clusters = _clusters(run, found, pairs)
        members = _members(run, found, clusters, run.collection.keeper)

        ids = found.ids[found.compared].astype(str)
        rows = {
            "image_a": ids[pairs.first],
            "image_b": ids[pairs.second],
            "score": pairs.score / SCALE,
        }
        reconcile_partition(lake, pairs_target, pairs_change, {}, pa.table(rows, PAIRS))
        groups_change = TableChange("groups", groups_target.version)
        groups_change.metadata = {
            "settings": digest(
                pairs_change.metadata["settings"],
                run.thresholds,
                # What is only shown is no reason to make groups anew.
                settings.model_dump(mode="json", exclude={"uncertain_margin"}),
                run.collection.keeper,
                run.collection.preferred_paths,
            ),
            "pair_settings": pairs_change.metadata["settings"],
            "compared": compared,
            "reads": found.reads,
        }
        capped = np.zeros(len(found.ids), dtype=bool)
        capped[found.compared] = pairs.degree > settings.pairs_per_image
        _write_groups(run, groups_target, groups_change, found, members, capped)

        inside = clusters.label[pairs.first] == clusters.label[pairs.second]
        counts = Counts(
            decoded=len(found.ids),
            active=int((found.images.onto < 0).sum()),
            **_verdicts(members),
            images=int(asked.sum()),
            compared=int(asked.sum()),
            pairs=len(pairs.first),
            pairs_found=int(pairs.degree.sum()) // 2,
            pairs_capped=int(pairs.degree.sum()) // 2 - len(pairs.first),
            pairs_cut=int((~inside).sum()),
            components=clusters.components,
            mode=mode,
            linkage=settings.linkage,
            linkage_fallbacks=clusters.fallbacks,
            sampled_recall=_sampled_recall(run, found.vectors, pairs, cells),
            suggestion=asdict(suggest(found.vectors)),
        )
    warnings = []
    if clusters.fallbacks:
        warnings.append(
            f"{clusters.fallbacks} components of more than {settings.linkage_limit:,} images were "
            f"cut by average linkage instead of {settings.linkage}."
        )
    changes = [pairs_change, groups_change]
    return Candidate("group", run.run_id, changes, found.reads, asdict(counts), warnings)


def regroup(run: Run, cut: float, keeper: tuple[KeeperCriterion, ...]) -> pa.Table:
    """What another cut or keeper policy would give, from the published pairs; nothing is written.

    Returns:
        image_id, group_id and keeper_id (both null for a unique image) of each decoded image.
    """
    with collect(run) as found:
        snapshot = run.lake.snapshot("pairs")
        ids = found.ids[found.compared]
        everyone = np.zeros(len(ids), dtype=bool)
        pairs = find_pairs(
            found.vectors,
            everyone,
            run.thresholds.candidate,
            run.collection.grouping.pairs_per_image,
            known=_known(snapshot, ids, everyone),
            lake=run.lake,
        )
        clusters = cut_components(found.vectors, pairs, cut, run.collection.grouping)
        members = _members(run, found, clusters, keeper)
        names = pa.array(found.ids.astype(str))
        return pa.table(
            {
                "image_id": names,
                "group_id": names.take(_positions(members.group)),
                "keeper_id": names.take(_positions(members.keeper)),
            }
        )


@contextmanager
def collect(run: Run) -> Iterator[Collected]:
    """Bring together, at versions that belong together, what grouping works on."""
    lake = run.lake
    index = lake.snapshot("index")
    fingerprints = lake.snapshot("fingerprints", index.reads("fingerprints"))
    images = lake.snapshot("images", fingerprints.reads("images"))
    reads = {
        "images": images.version,
        "fingerprints": fingerprints.version,
        "index": index.version,
    }
    parts = [
        _in_order(images, fingerprints, named["arrival"]) for named in fingerprints.partitions()
    ]
    table = pa.concat_tables([_ORDERED.empty_table(), *parts])
    ids = _id_array(table["image_id"])
    by_id = np.argsort(ids)
    digests = np.frombuffer(bytes.fromhex("".join(table["sha256"].to_pylist())), np.uint8)
    onto_ids = _id_array(table["onto"].fill_null(""))
    onto = np.full(len(ids), -1)
    collapsed = onto_ids != b""
    onto[collapsed] = by_id[np.searchsorted(ids, onto_ids[collapsed], sorter=by_id)]
    active = np.full(len(ids), -1)
    # Flat and near-blank images match by bytes only: they have no row to be compared.
    low = table["low_information"].to_numpy()
    compared = by_id[~collapsed[by_id] & ~low[by_id]]
    active[compared] = np.arange(len(compared))
    found = Collected(
        ids,
        digests.reshape(-1, 32),
        [
            (named["arrival"], part.num_rows)
            for named, part in zip(fingerprints.partitions(), parts, strict=True)
        ],
        Images(
            onto,
            np.array(table["relation"].fill_null("").to_pylist()) == "exact",
            table["distance"].fill_null(0).to_numpy(),
            table["hash"].to_numpy().view(np.uint64),
            active,
        ),
        compared,
        np.empty((0, 0), dtype=np.float32),
        reads,
    )
    with tempfile.TemporaryDirectory(prefix="idedup-") as scratch:
        found.vectors = _gather(lake, index, run.model_id, found, Path(scratch) / "vectors.f32")
        yield found
        found.vectors = np.empty((0, 0), dtype=np.float32)  # closes the map before its file goes


_ORDERED = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("onto", pa.string()),
        pa.field("relation", pa.string()),
        pa.field("distance", pa.int32()),
        pa.field("hash", pa.int64()),
        pa.field("low_information", pa.bool_()),
    ]
)


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


def _id_array(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype="S32")


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
        row = np.minimum(np.searchsorted(ids, _id_array(shard.ids["image_id"])), len(ids) - 1)
        contents = np.frombuffer(
            bytes.fromhex("".join(shard.ids["sha256"].to_pylist())), np.uint8
        ).reshape(-1, 32)
        live = ids[row] == _id_array(shard.ids["image_id"])
        live &= (found.sha256[found.compared[row]] == contents).all(axis=1)
        vectors[row[live]] = shard.vectors[live]
        filled[row[live]] = True
    if not filled.all():
        raise Conflict(
            f"{int((~filled).sum())} active images have no vector in the index: rerun the embed "
            "and index stages."
        )
    return np.empty((0, 1), dtype=np.float32) if vectors is None else vectors


def _digest_of(found: Collected) -> str:
    """Names the set of images compared: their ids and contents."""
    hasher = hashlib.sha256(found.ids[found.compared].tobytes())
    hasher.update(found.sha256[found.compared].tobytes())
    return hasher.hexdigest()[:32]


def _pair_settings(run: Run, mode: str) -> str:
    settings = run.collection.grouping
    cells = settings.cells_per_image if mode == "cells" else 0
    return digest(run.model_id, run.thresholds.candidate, settings.pairs_per_image, mode, cells)


def _what_is_new(
    pairs: Snapshot, groups: Snapshot, wanted: dict[str, Any], found: Collected
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
    """Which images must be compared, and the known matches among the others.

    The two tables are published one after the other; after a kill in between they name different
    sets of images or other settings, and everything is compared anew.
    """
    asked = np.ones(len(found.compared), dtype=bool)
    before, then = pairs.metadata, groups.metadata
    alike = before.get("settings") == then.get("pair_settings") == wanted["settings"]
    if not alike or before["compared"] != then.get("compared"):
        return asked, None
    ids = found.ids[found.compared]
    columns = ["image_id", "sha256", "pairs_capped"]
    for batch in groups.scan(columns, ds.field("status") == "active"):
        if not len(ids):
            break
        names = np.array(batch["image_id"].to_pylist(), dtype="S32")
        row = np.minimum(np.searchsorted(ids, names), len(ids) - 1)
        contents = np.frombuffer(bytes.fromhex("".join(batch["sha256"].to_pylist())), np.uint8)
        same = ids[row] == names
        same &= (found.sha256[found.compared[row]] == contents.reshape(-1, 32)).all(axis=1)
        same &= ~batch["pairs_capped"].to_numpy(zero_copy_only=False)
        asked[row[same]] = False
    return asked, _known(pairs, ids, asked)


def _known(
    pairs: Snapshot, ids: np.ndarray, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Published pairs among images that are still there and not compared again."""
    parts: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.int64),) * 3]
    for batch in pairs.scan(["image_a", "image_b", "score"]):
        if not len(ids):
            break
        names = [np.array(batch[c].to_pylist(), dtype="S32") for c in ("image_a", "image_b")]
        first, second = (np.minimum(np.searchsorted(ids, n), len(ids) - 1) for n in names)
        here = (ids[first] == names[0]) & (ids[second] == names[1])
        here &= ~asked[first] & ~asked[second]
        score = np.rint(batch["score"].to_numpy() * SCALE).astype(np.int64)
        parts.append((first[here], second[here], score[here]))
    first, second, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return first, second, score


def _cells(run: Run, vectors: np.ndarray) -> np.ndarray:
    from idedup_tasks.descriptors import load_quantiser

    centroids = load_quantiser(run.collection.descriptor)
    return nearest_cells(vectors, centroids, run.collection.grouping.cells_per_image)


def _clusters(run: Run, found: Collected, pairs: FoundPairs) -> Clusters:
    return cut_components(
        found.vectors,
        pairs,
        run.thresholds.cut,
        run.collection.grouping,
        lambda done, total: run.progress("clustering", done, total),
    )


def _members(
    run: Run, found: Collected, clusters: Clusters, policy: tuple[KeeperCriterion, ...]
) -> Members:
    group = group_of(found.images, clusters)
    qualities = _qualities(run.lake, found, np.flatnonzero(group >= 0))
    keeper = choose_keepers(group, qualities, policy, run.collection.preferred_paths)
    return evidence(found.images, found.vectors, clusters, group, keeper)


def _qualities(lake: Lake, found: Collected, positions: np.ndarray) -> Qualities:
    """What the keeper policy looks at, of the members of groups."""
    images = lake.snapshot("images", found.reads["images"])
    columns = ["image_id", "width", "height", "bytes", "format", "key"]
    ids = found.ids[positions]
    order = np.argsort(ids)
    pixels, sizes = np.zeros((2, len(ids)), dtype=np.int64)
    formats, keys = [""] * len(ids), [""] * len(ids)
    for batch in images.scan(columns, ds.field("status") == "decoded"):
        if not len(ids):
            break
        names = np.array(batch["image_id"].to_pylist(), dtype="S32")
        at = np.minimum(np.searchsorted(ids, names, sorter=order), len(ids) - 1)
        for i in np.flatnonzero(ids[order[at]] == names):
            row, own = batch.slice(i, 1).to_pylist()[0], order[at[i]]
            pixels[own] = row["width"] * row["height"]
            sizes[own], formats[own], keys[own] = row["bytes"], row["format"], row["key"]
    return Qualities(positions, pixels, sizes, formats, keys, list(ids.astype(str)))


def _positions(positions: np.ndarray) -> pa.Array:
    return pa.array(positions, mask=positions < 0)


def _write_groups(
    run: Run,
    target: Snapshot,
    change: TableChange,
    found: Collected,
    members: Members,
    capped: np.ndarray,
) -> None:
    """One row for each decoded image, period by period."""
    names = pa.array(found.ids.astype(str))
    thresholds = run.thresholds
    methods = {"exact": "sha256", "perceptual": run.collection.prefilter.hash, "near": run.model_id}
    reached = reached_thresholds(members, thresholds)
    own = np.arange(len(found.ids))
    verdict = np.where(
        members.group < 0, "unique", np.where(members.keeper == own, "keeper", "duplicate")
    )
    start = 0
    held = {f["arrival"] for f in target.partitions()}
    for arrival, count in found.arrivals:
        part = slice(start, start + count)
        start += count
        related = members.relation[part]
        rows = pa.table(
            {
                "arrival": pa.repeat(pa.scalar(arrival), count),
                "image_id": names[part],
                "sha256": [bytes(d).hex() for d in found.sha256[part]],
                "status": np.where(found.images.onto[part] >= 0, "collapsed", "active"),
                "verdict": verdict[part],
                "group_id": names.take(_positions(members.group[part])),
                "relation": pa.array([r or None for r in related.tolist()], pa.string()),
                "method": pa.array([methods.get(r) for r in related], pa.string()),
                "matched_id": names.take(_positions(members.matched[part])),
                "score": pa.array(members.score[part], mask=np.isnan(members.score[part])),
                "threshold": pa.array(reached[part], mask=np.isnan(reached[part])),
                "keeper_id": names.take(_positions(members.keeper[part])),
                "score_to_keeper": pa.array(
                    members.score_to_keeper[part], mask=np.isnan(members.score_to_keeper[part])
                ),
                "pairs_capped": capped[part],
            },
            GROUPS,
        )
        reconcile_partition(run.lake, target, change, {"arrival": arrival}, rows)
        held.discard(arrival)
    for arrival in sorted(held):
        reconcile_partition(run.lake, target, change, {"arrival": arrival}, GROUPS.empty_table())


def reached_thresholds(members: Members, thresholds: Thresholds) -> np.ndarray:
    """(n,) float64: the threshold that each score had to reach, NaN where there is no score.

    Two images are joined from the candidate threshold on, and that is what decides for a near
    duplicate. One whose best match in its group is below it was joined to an image that the cut
    has set apart, and only the cut holds it.
    """
    joined = members.score >= thresholds.candidate
    near = np.where(joined, max(thresholds.candidate, thresholds.cut), thresholds.cut)
    perceptual = 1 - thresholds.phash_distance / 64
    limits: dict[str, Any] = {"exact": 1.0, "perceptual": perceptual, "near": near}
    reached = np.full(len(members.score), np.nan)
    for relation, limit in limits.items():
        reached = np.where(members.relation == relation, limit, reached)
    return reached


def _verdicts(members: Members) -> dict[str, int]:
    own = np.arange(len(members.group))
    grouped = members.group >= 0
    duplicates = members.relation[grouped & (members.keeper != own)]
    sizes = np.bincount(members.group[grouped]) if grouped.any() else np.zeros(1, dtype=int)
    return {
        "unique": int((~grouped).sum()),
        "keepers": int((members.keeper == own).sum()),
        "groups": int((sizes > 0).sum()),
        "largest_group": int(sizes.max()),
        **{f"duplicates_{r}": int((duplicates == r).sum()) for r in RELATIONS},
    }


def _sampled_recall(
    run: Run, vectors: np.ndarray, pairs: FoundPairs, cells: np.ndarray | None
) -> float | None:
    """Of the matches that a sample of images has in truth, the share that cells found."""
    if cells is None:
        return None
    lowest = run.thresholds.candidate
    chosen = np.linspace(0, len(vectors) - 1, _RECALL_SAMPLE).astype(np.int64)
    asked = vectors[chosen]
    matches = np.zeros(len(chosen), dtype=np.int64)
    for start in range(0, len(vectors), 16_384):
        similar = asked @ vectors[start : start + 16_384].T
        # float32 will do: this measures, and decides nothing.
        matches += (similar >= lowest - 0.5 / SCALE).sum(axis=1)
    matches -= 1  # itself
    total = int(matches.sum())
    return round(float(pairs.degree[chosen].sum()) / total, 4) if total else 1.0
