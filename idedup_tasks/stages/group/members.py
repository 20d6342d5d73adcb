"""From clusters to groups: who is in one, which member is kept, and why each belongs.

A group is a cluster of active images with everything that collapsed onto them. Its evidence is a
tree rooted at the keeper: a collapsed image points at what it collapsed onto, an active one at its
best match; on the way from the keeper to its own active image the links are turned round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from idedup_tasks.settings import KeeperCriterion
from idedup_tasks.stages.group.clusters import Clusters, cosine

# Of the same picture in two formats the earlier here is the better original: what a camera wrote,
# then lossless, then lossy by how little is usually lost.
_FORMATS = (
    *("RAW", "TIFF", "PSD", "PNG", "BMP", "JPEG2000", "JXL", "HEIF", "AVIF", "WEBP", "JPEG"),
    "GIF",
)
FORMAT_RANK = {name: rank for rank, name in enumerate(_FORMATS)}


@dataclass
class Images:
    """The decoded images of a collection, in order of (arrived_at, key).

    onto: (n,) int64, position collapsed onto, -1 for an active image. exact: (n,) bool, collapsed
    by equal bytes. distance: (n,) int32, bits between perceptual hashes where collapsed by them.
    hashes: (n,) uint64. active: (n,) int64, row among the vectors of the image itself, -1 where
    there is none (collapsed, or of low information).
    """

    onto: np.ndarray
    exact: np.ndarray
    distance: np.ndarray
    hashes: np.ndarray
    active: np.ndarray


@dataclass
class Members:
    """For each image, in the same order: its group and the evidence of its membership.

    group: (n,) int64, position of the group's earliest member, -1 for a unique image.
    keeper, matched: (n,) int64 positions, -1 for none. relation: (n,) of "", "exact", "perceptual",
    "near". score, score_to_keeper: (n,) float64, NaN for none.
    """

    group: np.ndarray
    keeper: np.ndarray
    matched: np.ndarray
    relation: np.ndarray
    score: np.ndarray
    score_to_keeper: np.ndarray


@dataclass
class Qualities:
    """What the keeper policy looks at, for the images at `positions` only.

    pixels, bytes: (m,) int64. format: names. key, image_id: (m,) strings.
    """

    positions: np.ndarray
    pixels: np.ndarray
    bytes: np.ndarray
    format: list[str]
    key: list[str]
    image_id: list[str]


def group_of(images: Images, clusters: Clusters) -> np.ndarray:
    """(n,) int64: position of the earliest member of each image's group; -1 for a unique image."""
    n = len(images.onto)
    root = _root(images)
    row = images.active[root]
    # Images of low information have no vector: they stand alone but for copies by bytes.
    label = np.where(row >= 0, clusters.label[row] if len(clusters.label) else 0, -1 - root)
    _, inverse, sizes = np.unique(label, return_inverse=True, return_counts=True)
    earliest = np.full(len(sizes), n)
    np.minimum.at(earliest, inverse, np.arange(n))
    return np.where(sizes[inverse] > 1, earliest[inverse], -1)


def choose_keepers(
    group: np.ndarray,
    qualities: Qualities,
    policy: tuple[KeeperCriterion, ...],
    preferred_paths: tuple[str, ...],
) -> np.ndarray:
    """(n,) int64: position of the keeper of each image's group, -1 for a unique image.

    Criteria count in their order; the image id breaks ties.
    """
    worst = len(FORMAT_RANK)

    def path_rank(key: str) -> int:
        found = (i for i, prefix in enumerate(preferred_paths) if key.startswith(prefix))
        return next(found, len(preferred_paths))

    ranks = {
        "resolution": lambda: -qualities.pixels,
        "format": lambda: np.array([FORMAT_RANK.get(f.upper(), worst) for f in qualities.format]),
        "bytes": lambda: -qualities.bytes,
        "earliest": lambda: qualities.positions,
        "path": lambda: np.array([path_rank(key) for key in qualities.key]),
    }
    keeper = np.full(len(group), -1)
    if not len(qualities.positions):
        return keeper
    own = group[qualities.positions]
    # lexsort takes its most significant key last.
    order = np.lexsort([np.array(qualities.image_id), *(ranks[c]() for c in reversed(policy)), own])
    first = order[np.flatnonzero(np.diff(own[order], prepend=-1))]
    kept = np.full(len(group), -1)
    kept[own[first]] = qualities.positions[first]
    grouped = group >= 0
    keeper[grouped] = kept[group[grouped]]
    return keeper


def evidence(
    images: Images, vectors: np.ndarray, clusters: Clusters, group: np.ndarray, keeper: np.ndarray
) -> Members:
    """Why each member belongs to its group."""
    n = len(group)
    matched = images.onto.copy()
    relation = np.where(matched >= 0, np.where(images.exact, "exact", "perceptual"), "")
    relation = relation.astype("<U10")
    score = np.where(images.exact, 1.0, 1.0 - images.distance / 64)
    position_of_row = np.flatnonzero(images.active >= 0)
    rows = images.active[position_of_row]
    by_row = np.empty(len(rows), dtype=np.int64)
    by_row[rows] = position_of_row
    near = clusters.best[rows] >= 0
    at = position_of_row[near]
    matched[at] = by_row[clusters.best[rows[near]]]
    relation[at] = "near"
    score[at] = clusters.best_score[rows[near]]

    # From the keeper up to its active image the links are turned round: two steps at most, from a
    # copy to the earliest with its bytes, and from that to the active image.
    kept = np.unique(keeper[keeper >= 0])
    above = images.onto[kept]
    higher = np.where(above >= 0, images.onto[above], -1)
    second = higher >= 0
    for lower, upper in ((above[second], higher[second]), (kept[above >= 0], above[above >= 0])):
        matched[upper] = lower
        relation[upper] = np.where(images.exact[lower], "exact", "perceptual")
        score[upper] = np.where(images.exact[lower], 1.0, 1.0 - images.distance[lower] / 64)
    matched[kept], relation[kept], score[kept] = -1, "", np.nan
    lone = group < 0
    matched[lone], relation[lone], score[lone] = -1, "", np.nan

    to_keeper = np.full(n, np.nan)
    others = np.flatnonzero((group >= 0) & (keeper != np.arange(n)))
    theirs = keeper[others]
    root = _root(images)
    bytes_of = np.where(images.exact, images.onto, np.arange(n))
    same_bytes = bytes_of[others] == bytes_of[theirs]
    same_root = root[others] == root[theirs]
    bits = np.bitwise_count(images.hashes[others] ^ images.hashes[theirs])
    to_keeper[others] = np.where(same_bytes, 1.0, 1.0 - bits / 64)
    apart = np.flatnonzero(~same_root)
    for start in range(0, len(apart), 65_536):
        part = apart[start : start + 65_536]
        a = images.active[root[others[part]]]
        b = images.active[root[theirs[part]]]
        to_keeper[others[part]] = cosine(vectors[a], vectors[b])
    return Members(group, keeper, matched, relation, score, to_keeper)


def _root(images: Images) -> np.ndarray:
    step = np.where(images.onto >= 0, images.onto, np.arange(len(images.onto)))
    return step[step]
