"""Which member of a group is kept, and why: of it, and of the others to it, in a sentence.

Criteria count in their order; the id breaks ties. They are columns of ranks, 0 the best, so that a
group is a matter of sorting however many there are.

whole       shows the whole: it is no crop of another member, and holds none inside a frame, a
            screenshot or a collage
unedited    nobody says it is the edited one: of two that differ in a part, the one that more
            members differ from
detail      real detail, in steps of two from the best of the group; never the number of pixels
resolution  pixels
format      what a camera wrote, then formats by how little they lose; a lossless copy of what was
            decoded from a lossy member is no better than that
exif        most fields
bytes       largest file
earliest    by arrival
path        by `preferred_paths`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from idedup_tasks.settings import KeeperCriterion
from idedup_tasks.stages.group.seen import ALIKE, CROP, EDITED, INSIDE, Seen

# Of the same picture in two formats the earlier here is the better original: what a camera wrote,
# then lossless, then lossy by how little is usually lost.
_FORMATS = (
    *("RAW", "HEIF", "TIFF", "PSD", "PNG", "BMP", "JPEG2000", "JXL", "AVIF", "WEBP", "JPEG"),
    "GIF",
)
FORMAT_RANK = {name: rank for rank, name in enumerate(_FORMATS)}
_LOSSLESS = frozenset(FORMAT_RANK[name] for name in ("TIFF", "PSD", "PNG", "BMP"))
_LOSSY = frozenset(FORMAT_RANK[name] for name in ("JPEG2000", "JXL", "AVIF", "WEBP", "JPEG"))

# Pixels along a side of a part, over those of the whole in its place, from which it is larger than
# it was cut out; and how much of that its detail must bear out.
_ENLARGED, _BORNE_OUT = 1.1, 1.25
# Two pictures both of which lie so far on each other show the same, and can disagree.
_IN_COMMON = 0.5


@dataclass(frozen=True)
class Facts:
    """What the policy knows of n contents, each by one of its images.

    width, height, bytes, exif_fields: (n,) int64. detail: (n,) float64, megapixels that its real
    detail needs. format: (n,) names. path: (n,) int64, rank among the preferred paths. earliest:
    (n,) int64, order of arrival. image_id: (n,) text.
    """

    width: np.ndarray
    height: np.ndarray
    detail: np.ndarray
    bytes: np.ndarray
    exif_fields: np.ndarray
    format: np.ndarray
    path: np.ndarray
    earliest: np.ndarray
    image_id: np.ndarray


@dataclass(frozen=True)
class Ranks:
    """Ranks of n contents by each criterion, 0 the best; and all together, within groups.

    by: (n,) each. doubtful: (n,) bool, members of two that differ in a part, either of which may
    be the edited one. order: members of groups, group by group, the keeper first.
    """

    by: dict[str, np.ndarray]
    doubtful: np.ndarray
    order: np.ndarray


def path_ranks(keys: Sequence[str], preferred_paths: Sequence[str]) -> np.ndarray:
    """(n,) int64: the first of the preferred paths that each key begins with."""

    def rank(key: str) -> int:
        found = (i for i, prefix in enumerate(preferred_paths) if key.startswith(prefix))
        return next(found, len(preferred_paths))

    return np.array([rank(key) for key in keys], np.int64)


def rank(group: np.ndarray, seen: Seen, facts: Facts, policy: Sequence[KeeperCriterion]) -> Ranks:
    """Rank the members of groups.

    Args:
        group: (n,) int64, which group each content is in, -1 for none.
        seen: what is known of pairs of members; what is not known has no say.
    """
    n = len(group)
    pairs = np.flatnonzero((group[seen.first] >= 0) & (group[seen.first] == group[seen.second]))
    needed = set(policy)
    by: dict[str, np.ndarray] = {}
    doubtful = np.zeros(n, bool)
    if "whole" in needed:
        by["whole"] = _not_whole(n, pairs, seen, facts)
    if "unedited" in needed:
        by["unedited"], doubtful = _edited(n, pairs, seen)
    if "detail" in needed:
        by["detail"] = _steps(group, facts.detail)
    if "resolution" in needed:
        by["resolution"] = -facts.width * facts.height
    if "format" in needed:
        by["format"] = _formats(group, facts)
    by |= {
        "exif": -facts.exif_fields,
        "bytes": -facts.bytes,
        "earliest": facts.earliest,
        "path": facts.path,
    }
    members = np.flatnonzero(group >= 0)
    # lexsort takes its most significant key last.
    keys = [by[criterion][members] for criterion in reversed(policy)]
    _, ids = np.unique(facts.image_id[members], return_inverse=True)
    order = members[np.lexsort([ids.ravel(), *keys, group[members]])]
    return Ranks(by, doubtful, order)


def keepers(group: np.ndarray, ranks: Ranks) -> np.ndarray:
    """(n,) int64: the first of each content's group, -1 for none."""
    kept = np.full(len(group), -1)
    if len(ranks.order):
        own = group[ranks.order]
        starts = np.flatnonzero(np.diff(own, prepend=-1))
        sizes = np.diff(np.append(starts, len(own)))
        kept[ranks.order] = np.repeat(ranks.order[starts], sizes)
    return kept


def _not_whole(n: int, pairs: np.ndarray, seen: Seen, facts: Facts) -> np.ndarray:
    """(n,) int64: 1 for a part of another member, and for what holds one inside."""
    worse = np.zeros(n, np.int64)
    first, second = seen.first[pairs], seen.second[pairs]
    relation = seen.relation[pairs]
    first_is_part = seen.overlap_first[pairs] >= seen.overlap_second[pairs]
    part = np.where(first_is_part, first, second)
    holder = np.where(first_is_part, second, first)
    worse[part[relation == CROP]] = 1
    inside = relation == INSIDE
    # What looks cut out with more pixels than the whole has there, and no more detail, was
    # enlarged: a crop, of which the other is the whole.
    share = np.where(first_is_part, seen.overlap_second[pairs], seen.overlap_first[pairs])
    pixels = (facts.width * facts.height).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        larger = np.sqrt(pixels[part] / (pixels[holder] * share))
        finer = np.sqrt(facts.detail[part] / (facts.detail[holder] * share))
    enlarged = inside & (larger > _ENLARGED) & (finer < 1 + (larger - 1) / 4)
    worse[part[enlarged]] = 1
    worse[holder[inside & ~enlarged]] = 1
    return worse


def _edited(n: int, pairs: np.ndarray, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int64: 1 for who is the edited one of two; and bool, for whom that is not known."""
    relation = seen.relation[pairs]
    common = np.minimum(seen.overlap_first[pairs], seen.overlap_second[pairs]) >= _IN_COMMON
    apart = (relation == EDITED) | ((relation == ALIKE) & common)
    disagrees = np.bincount(seen.first[pairs[apart]], minlength=n)
    disagrees += np.bincount(seen.second[pairs[apart]], minlength=n)
    two = pairs[relation == EDITED]
    a, b = seen.first[two], seen.second[two]
    worse = np.zeros(n, np.int64)
    worse[a[disagrees[a] > disagrees[b]]] = 1
    worse[b[disagrees[b] > disagrees[a]]] = 1
    doubtful = np.zeros(n, bool)
    even = disagrees[a] == disagrees[b]
    doubtful[a[even]] = doubtful[b[even]] = True
    return worse, doubtful & (worse == 0)


def _steps(group: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """(n,) int64: halvings of the group's best detail, so that a re-encode is no step away."""
    members = np.flatnonzero(group >= 0)
    best = np.zeros(int(group.max(initial=-1)) + 1)
    np.maximum.at(best, group[members], detail[members])
    steps = np.zeros(len(group), np.int64)
    own = np.maximum(detail[members], 1e-9)
    steps[members] = np.rint(np.log2(np.maximum(best[group[members]], 1e-9) / own))
    return steps


def _formats(group: np.ndarray, facts: Facts) -> np.ndarray:
    """(n,) int64: ranks of formats, where what was decoded from a lossy member counts as lossy."""
    worst = len(FORMAT_RANK)
    names, inverse = np.unique(facts.format, return_inverse=True)
    ranks = np.array([FORMAT_RANK.get(str(name).upper(), worst) for name in names] or [0])
    found = ranks[inverse.ravel()] if len(names) else np.zeros(0, np.int64)
    lossless, lossy = np.isin(found, list(_LOSSLESS)), np.isin(found, list(_LOSSY))
    members = np.flatnonzero((group >= 0) & (lossless | lossy))
    if not len(members):
        return found
    sizes = np.stack([group[members], facts.width[members], facts.height[members]], axis=1)
    _, size = np.unique(sizes, axis=0, return_inverse=True)
    # Equal pixels have equal detail; a lossy copy's differs in its last digits. And what a camera
    # has described in a lossy file was not lossless before.
    size, fields = size.ravel(), facts.exif_fields[members]
    exact = np.stack([size, facts.detail[members].round(9)], axis=1)
    _, same = np.unique(exact, axis=0, return_inverse=True)
    source = lossy[members]
    decoded = lossless[members] & np.isin(same.ravel(), same.ravel()[source])
    decoded |= lossless[members] & (fields == 0) & np.isin(size, size[source & (fields > 0)])
    result = found.copy()
    result[members[decoded]] = worst
    return result


# --- sentences -----------------------------------------------------------------------------------


def why_kept(
    members: np.ndarray, ranks: Ranks, facts: Facts, policy: Sequence[KeeperCriterion]
) -> str:
    """Why the keeper of a group is kept, and not the next in rank.

    Args:
        members: (k,) positions in order of rank, the keeper first; alone if all have its bytes.
    """
    keeper = int(members[0])
    if len(members) == 1:
        return "all have the same bytes"
    second = int(members[1])
    said = []
    for criterion in policy:
        rank = ranks.by[criterion]
        others = rank[members[1:]]
        if criterion == "whole" and rank[keeper] == 0:
            said.append("whole picture")
        elif criterion == "unedited" and rank[keeper] == 0 and others.any():
            said.append("not edited")
        if rank[keeper] != rank[second]:
            if words := _better(criterion, keeper, second, facts):
                said.append(words)
            break
    else:
        said.append("the first by id")
    if ranks.doubtful[keeper]:
        said.append("it or another member is edited")
    return "; ".join(said)


def _better(criterion: str, keeper: int, second: int, facts: Facts) -> str:
    if criterion == "detail":
        times = facts.detail[keeper] / max(float(facts.detail[second]), 1e-9)
        return f"{times_of(times)} times the detail"
    if criterion == "resolution":
        pixels = facts.width * facts.height
        times = pixels[keeper] / max(int(pixels[second]), 1)
        return f"{times_of(times)} times the pixels"
    if criterion == "format":
        return f"{facts.format[keeper]}, not {facts.format[second]}"
    if criterion == "exif":
        fields = int(facts.exif_fields[keeper])
        return f"more EXIF ({fields} field{'s' if fields != 1 else ''})"
    if criterion == "bytes":
        return "the larger file"
    if criterion == "earliest":
        return "the earliest"
    return "in a preferred path" if criterion == "path" else ""


def why_member(look: Mapping[str, Any], detail: float, doubtful: bool) -> str:
    """What a member is to its keeper.

    Args:
        look: columns of `lake.LOOK`, of the member to the keeper.
        detail: times the keeper's. doubtful: whether the keeper may as well be the edited one.
    """
    relation, overlap, keeper_overlap = look["relation"], look["overlap_a"], look["overlap_b"]
    if relation == "exact":
        return "the same bytes"
    if relation == "same":
        less = "" if 0.8 < detail < 1.25 else f", {times_of(detail)} times the detail"
        return f"the same picture{less}"
    if relation == "crop":
        if overlap >= keeper_overlap:
            return f"a crop: shows {percent(keeper_overlap)} of the keeper"
        return f"the whole: the keeper is a crop, {percent(overlap)} of it"
    if relation == "inside":
        if overlap < keeper_overlap:
            return f"a screenshot or frame around it: the keeper is {percent(overlap)} of it"
        return f"a part that was enlarged: shows {percent(keeper_overlap)} of the keeper"
    where = f", {look['place']}" if look["place"] else ""
    who = "this or the keeper is edited" if doubtful else "edited"
    return f"{who}: {percent(look['changed'])} differs{where}"


def percent(share: float) -> str:
    """A share for people: never 0 % of something, nor all of what is not."""
    hundredths = round(100 * share)
    if hundredths == 0 and share > 0:
        return "less than 1 %"
    return f"{min(hundredths, 99) if share < 0.995 else hundredths} %"


def times_of(ratio: float) -> str:
    """A ratio for people: two digits, at most one behind the point, but small ones."""
    if ratio >= 9.95:
        return f"{ratio:,.0f}"
    return f"{ratio:.1f}" if ratio >= 0.095 else f"{ratio:.2f}"
