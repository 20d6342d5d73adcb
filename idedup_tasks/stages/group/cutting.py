"""From pairs that were seen to clusters, of which nobody has asked yet who is kept.

A component of up to `linkage_limit` contents is cut by the linkage of its matrix of scores. A
larger one is cut into stars: in order of rank each content that is still free becomes a centre, and
takes what is tied to it. Then centres look at each other: one whose star touches a better one comes
under that, if the two are tied. That takes at most `ROUNDS` rounds of two looks a centre, so that a
component costs O(n) looks whatever it holds; once many rounds have said no, it takes none.
"""

from __future__ import annotations

import numpy as np

from idedup_tasks.linkage import matrix_clusters
from idedup_tasks.settings import Grouping
from idedup_tasks.stages.group.seen import CROP, INSIDE, Seen

# Rounds in which the centres of a large component look at each other, and the share of them that
# must have come under another for one more.
ROUNDS, _WORTHWHILE = 8, 0.05
_BELOW = 1e-4
# So much of the smaller of two parts may lie on the other without the two having to agree.
_APART = 0.5


def cut_matrix(members: np.ndarray, core: np.ndarray, seen: Seen, settings: Grouping) -> np.ndarray:
    """Cut a component by its scores; all its pairs are looked at.

    A pair that is not tied counts its score, but stays below the cut, and one of two cores nothing.
    Two parts of one whole that do not show the same are as near as the weaker of their ties to it:
    there is nothing else in which they could agree.

    Args:
        members: (k,) ascending positions of contents.
        core: (k,) int64, what duplicates tie each to, -1 for one without.

    Returns:
        (k,) int64: the first position of each one's cluster.
    """
    k = len(members)
    a, b = np.triu_indices(k, 1)
    rows = seen.look(members[a], members[b])
    tied = seen.linked(rows)
    score = np.where(tied, seen.score[rows], np.minimum(seen.score[rows], settings.cut - _BELOW))
    score[(core[a] >= 0) & (core[b] >= 0) & (core[a] != core[b])] = 0
    similar = np.eye(k)
    similar[a, b] = similar[b, a] = score.clip(0)
    if not tied.all():
        _parts_of_one_whole(members, seen, similar, a, b, rows, tied)
    clusters: np.ndarray = members[matrix_clusters(similar, settings.cut, settings.linkage)]
    return clusters


def _parts_of_one_whole(
    members: np.ndarray,
    seen: Seen,
    similar: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    rows: np.ndarray,
    tied: np.ndarray,
) -> None:
    """Put right, in a matrix of scores, pairs of parts that have too little in common to agree."""
    k = len(members)
    boxes: dict[int, dict[int, np.ndarray]] = {}  # whole -> part -> where it lies
    parts = tied & np.isin(seen.relation[rows], (CROP, INSIDE))
    first_is_part = seen.overlap_first[rows] >= seen.overlap_second[rows]
    part, whole = np.where(first_is_part, a, b)[parts], np.where(first_is_part, b, a)[parts]
    transforms = seen.said(rows[parts], members[part])["transform"].to_pylist()
    for x, y, transform in zip(part.tolist(), whole.tolist(), transforms, strict=True):
        boxes.setdefault(y, {})[x] = _box(np.array(transform).reshape(3, 3))
    loose = np.zeros((k, k), bool)
    loose[a[~tied], b[~tied]] = True
    weaker = similar.copy()
    for centre in sorted(boxes):
        placed = sorted(boxes[centre])
        for i, x in enumerate(placed):
            for y in placed[i + 1 :]:
                if loose[x, y] and _shared(boxes[centre][x], boxes[centre][y]) < _APART:
                    near = min(similar[x, centre], similar[y, centre])
                    weaker[x, y] = weaker[y, x] = max(weaker[x, y], near)
    similar[:] = weaker


def _box(transform: np.ndarray) -> np.ndarray:
    """(4,): left, top, right and bottom of where a part lies, in shares of its whole."""
    corners = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]).T @ transform.T
    x, y = corners[:, 0] / corners[:, 2], corners[:, 1] / corners[:, 2]
    return np.array([x.min(), y.min(), x.max(), y.max()]).clip(0, 1)


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    """The share of the smaller box that lies on the other."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(max(wide, 0) * max(high, 0) / max(min(areas), 1e-9))


def cut_stars(members: np.ndarray, order: np.ndarray, seen: Seen, ask: bool) -> np.ndarray:
    """Cut a large component into stars.

    Args:
        members: (k,) ascending positions of contents.
        order: the same, the best first.
        ask: whether centres look at each other; else only what was seen counts.

    Returns:
        (k,) int64: the position of each one's centre.
    """
    n = seen.n
    here = np.zeros(n, bool)
    here[members] = True
    rows = seen.within(here)
    rows = rows[seen.linked(rows)]
    a, b = seen.first[rows], seen.second[rows]
    rank = np.zeros(n, np.int64)
    rank[order] = np.arange(len(order))
    centre = _stars(order, a, b, rank, n)
    refused = np.empty(0, np.int64)
    for _ in range(ROUNDS if ask else 0):
        # Each centre looks at the best of those whose stars touch its own.
        ca, cb = centre[a], centre[b]
        touching = ca != cb
        better = np.where(rank[ca] < rank[cb], ca, cb)[touching]
        worse = np.where(rank[ca] < rank[cb], cb, ca)[touching]
        open_ = ~np.isin(worse * n + better, refused)
        better, worse = better[open_], worse[open_]
        if not len(worse):
            break
        first = np.lexsort((rank[better], worse))
        first = first[np.flatnonzero(np.diff(worse[first], prepend=-1))]
        worse, better = worse[first], better[first]
        said = seen.linked(seen.look(worse, better))
        refused = np.append(refused, worse[~said] * n + better[~said])
        under = np.arange(n)
        under[worse[said]] = better[said]
        top = _tops(under)
        # Who would come under another than it has seen, looks at that one as well.
        moved = worse[said & (top[worse] != better)]
        if len(moved):
            tied = seen.linked(seen.look(moved, top[moved]))
            refused = np.append(refused, moved[~tied] * n + top[moved[~tied]])
            under[moved[~tied]] = moved[~tied]
            top = _tops(under)
        centre[members] = top[centre[members]]
        if said.sum() < _WORTHWHILE * len(said):
            break
    found: np.ndarray = centre[members]
    return found


def _stars(order: np.ndarray, a: np.ndarray, b: np.ndarray, rank: np.ndarray, n: int) -> np.ndarray:
    """(n,) int64: each one's centre; who is free in order of rank takes its free neighbours."""
    ends, others = np.concatenate([a, b]), np.concatenate([b, a])
    by_end = np.argsort(ends, kind="stable")
    others = others[by_end]
    starts = np.searchsorted(ends[by_end], np.arange(n + 1))
    centre = np.full(n, -1)
    for position in order.tolist():
        if centre[position] < 0:
            centre[position] = position
            near = others[starts[position] : starts[position + 1]]
            centre[near[centre[near] < 0]] = position
    return centre


def _tops(under: np.ndarray) -> np.ndarray:
    """Follow each to the end; who comes under whom has no circles, for ranks only fall."""
    while True:
        higher: np.ndarray = under[under]
        if np.array_equal(higher, under):
            return higher
        under = higher
