"""Which member of a group is kept, and why: of it, and of the others to it, in a sentence.

Criteria count in their order; the id breaks ties. They are columns of ranks, 0 the best, so that a
group is a matter of sorting however many there are.

whole       shows the whole: it is no crop of another member, and holds none inside a frame, a
            screenshot or a collage
unedited    nobody says it is the edited one: of two that differ in a part, the one that more
            members differ from; of two of which one is grey, that one
detail      real detail: it is no smaller copy of another member, none that was blurred, and none
            that was enlarged; never the number of pixels alone
resolution  pixels
format      what a camera wrote, then formats by how little they lose; a lossless copy of what was
            decoded from a lossy member is no better than that, nor are pixels that were a JPEG's
exif        most fields
bytes       largest file
central     agrees best with all the others, and lies as most of them do: what was made from one
            picture agrees with that better than with each other, in colours and detail as well.
            What little parts two of them is weighed with the bytes of their files and with who came
            first
earliest    by arrival
path        by `preferred_paths`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from idedup_tasks.explanation import TURNS, turn_of
from idedup_tasks.images import THUMBNAIL_SHORT_SIDE
from idedup_tasks.linkage import components
from idedup_tasks.settings import KeeperCriterion
from idedup_tasks.stages.group.seen import (
    ALIKE,
    CROP,
    EDITED,
    INSIDE,
    LINKED,
    NOT_SEEN,
    Seen,
)

# Of the same picture in two formats the earlier here is the better original: what a camera wrote,
# then lossless, then lossy; of that, what cameras write before what is mostly made from it.
_FORMATS = (
    *("RAW", "HEIF", "TIFF", "PSD", "PNG", "BMP", "JPEG2000", "JPEG", "JXL", "AVIF", "WEBP"),
    "GIF",
)
FORMAT_RANK = {name: rank for rank, name in enumerate(_FORMATS)}
_LOSSLESS = frozenset(FORMAT_RANK[name] for name in ("TIFF", "PSD", "PNG", "BMP"))
_LOSSY = frozenset(FORMAT_RANK[name] for name in ("JPEG2000", "JXL", "AVIF", "WEBP", "JPEG"))

_COARSE = 40.0  # steps of a JPEG's table, at quality 65: what is coarser is rather a copy
_UNEVEN = 0.97  # overlaps of a part and its whole differ by more
_LARGER_PART = 1.2  # pixels of a part, over those of its whole in its place
_TO_SCALE, _MANY = 0.02, 5
# More pixels, and detail, from which another is larger; detail from which, on as many pixels, it is
# sharper; pixels from which one with as much detail was enlarged.
_SMALLER, _BLURRED, _LARGER = 1.2, 1.8, 1.5
_SAME_FRAME = 0.9
_LESS = 0.02  # of a score, that one other may say at most
_HIDDEN = 0.02  # of a score, for an octave of colours, or of detail
_BYTES = 0.002  # of a mean score, for an octave of bytes
_DOUBT = 0.001  # of a mean score, that may be who came first
_STEP = 0.001  # of a mean score, by which one of equal pixels may seem to agree less
_PALE = 0.25  # of another's colours
# Two pictures both of which lie so far on each other show the same, and can disagree.
_IN_COMMON = 0.5


@dataclass(frozen=True)
class Facts:
    """What the policy knows of n contents, each by one of its images.

    width, height, bytes, exif_fields: (n,) int64. detail: (n,) float64, megapixels that its real
    detail needs. colour: (n,) float64, how much of it there is, 0 for grey, NaN where that is not
    known. was_jpeg: (n,) bool, of lossless formats. coarseness: (n,) float64, mean step of a JPEG's
    luminance table, else 0. format: (n,) names. path: (n,) int64, rank among the preferred paths.
    earliest: (n,) int64, order of arrival. image_id: (n,) text.
    """

    width: np.ndarray
    height: np.ndarray
    detail: np.ndarray
    colour: np.ndarray
    was_jpeg: np.ndarray
    coarseness: np.ndarray
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
        by["unedited"], doubtful = _edited(n, pairs, seen, facts)
    if "detail" in needed:
        by["detail"] = _less_detail(n, pairs, seen, facts)
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
    if "central" in needed:
        before = [by[criterion] for criterion in policy[: list(policy).index("central")]]
        by["central"] = _off_centre(group, pairs, seen, facts, before)
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
    share = np.where(first_is_part, seen.overlap_second[pairs], seen.overlap_first[pairs])
    own = np.where(first_is_part, seen.overlap_first[pairs], seen.overlap_second[pairs])
    # Turned by a few degrees, each lacks as much of the other: neither is a part.
    uneven = share < _UNEVEN * own
    crop, inside = (relation == CROP) & uneven, (relation == INSIDE) & uneven
    worse[part[crop]] = 1
    framed = (relation < LINKED) & (np.minimum(share, own) >= _SAME_FRAME) & ~uneven
    frame = components(n, first[framed], second[framed])
    # What is a crop of one picture is none that another of the same frame was put around.
    cut_out = np.unique(part[crop] * n + frame[holder[crop]])
    inside &= ~np.isin(part * n + frame[holder], cut_out)
    # A crop, too, is what was enlarged: it has more pixels than the whole has there, and no more
    # detail than those could show, and more members have the frame of the whole than have its own.
    # And so is what was cut out pixel for pixel, with a frame of which it is the only one of many.
    company = np.bincount(frame, minlength=n)[frame]
    pixels = (facts.width * facts.height).astype(np.float64)
    there = np.maximum(pixels[holder] * share, 1.0)
    enlarged = (pixels[part] > _LARGER_PART * there) & (company[holder] > company[part])
    enlarged &= 1e6 * facts.detail[part] < _LARGER_PART * there
    enlarged |= (np.abs(pixels[part] / there - 1) < _TO_SCALE) & (
        company[holder] >= _MANY * company[part]
    )
    enlarged &= inside
    worse[part[enlarged]] = 1
    worse[holder[inside & ~enlarged]] = 1
    return worse


def _edited(n: int, pairs: np.ndarray, seen: Seen, facts: Facts) -> tuple[np.ndarray, np.ndarray]:
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
    # Who has lost the colours that most have whom it is tied to.
    linked = pairs[relation < LINKED]
    ends = np.concatenate([seen.first[linked], seen.second[linked]])
    others = np.concatenate([seen.second[linked], seen.first[linked]])
    pale = facts.colour[ends] < _PALE * facts.colour[others]
    worse[2 * np.bincount(ends[pale], minlength=n) > np.bincount(ends, minlength=n)] = 1
    doubtful = np.zeros(n, bool)
    even = disagrees[a] == disagrees[b]
    doubtful[a[even]] = doubtful[b[even]] = True
    return worse, doubtful & (worse == 0)


def _less_detail(n: int, pairs: np.ndarray, seen: Seen, facts: Facts) -> np.ndarray:
    """(n,) int64: by how many half octaves others of the same framing have more detail.

    Noise and a strong codec look like detail. So more detail on more pixels says by itself that
    the other is a smaller copy, but on as many pixels that it was blurred, or on fewer that it was
    enlarged, only if most say so of those that are large enough to know.
    """
    framed = np.minimum(seen.overlap_first[pairs], seen.overlap_second[pairs]) >= _SAME_FRAME
    framed &= seen.relation[pairs] < LINKED
    own = np.concatenate([seen.first[pairs[framed]], seen.second[pairs[framed]]])
    other = np.concatenate([seen.second[pairs[framed]], seen.first[pairs[framed]]])
    pixels = (facts.width * facts.height).astype(np.float64)
    detail = np.maximum(facts.detail, 1e-6)
    more_pixels, more_detail = pixels[other] / pixels[own], detail[other] / detail[own]

    smaller = more_pixels >= _SMALLER
    smaller &= more_detail >= np.maximum(_SMALLER, np.sqrt(more_pixels))
    loss = np.zeros(n)
    np.maximum.at(loss, own[smaller], np.log2(np.minimum(more_pixels, more_detail)[smaller]))
    # Of what a thumbnail holds whole, a look has seen which of the two is the sharper.
    blur = np.concatenate([seen.blur[pairs[framed]], -seen.blur[pairs[framed]]])
    side = np.minimum(facts.width, facts.height)
    sharper = (blur > 0) | (np.maximum(side[own], side[other]) > THUMBNAIL_SHORT_SIDE)
    for says, knows, by in (
        (
            (more_detail >= _BLURRED) & sharper,
            (more_pixels < _SMALLER) & (more_pixels >= 1 / _SMALLER),
            0.0,
        ),
        (more_detail >= 1, more_pixels <= 1 / _LARGER, 0.5),
    ):
        asked = np.bincount(own[knows], minlength=n)
        agreeing = np.bincount(own[knows & says], minlength=n)
        accepted = knows & says & (2 * agreeing > asked)[own]
        np.maximum.at(loss, own[accepted], np.maximum(np.log2(more_detail[accepted]), by))
    return np.ceil(2 * loss - 1e-9).astype(np.int64)


def _off_centre(
    group: np.ndarray, pairs: np.ndarray, seen: Seen, facts: Facts, before: list[np.ndarray]
) -> np.ndarray:
    """(n,) int64: steps by which each agrees less with the others than the best of its group
    does; more than any for whoever is turned or mirrored against most.
    """
    n = len(group)
    known = pairs[seen.relation[pairs] < NOT_SEEN]
    ends = np.concatenate([seen.first[known], seen.second[known]])
    count = np.maximum(np.bincount(ends, minlength=n), 1)
    # Of each other it is asked how much less that agrees with it than with whom it agrees most.
    others = np.concatenate([seen.second[known], seen.first[known]])
    # A look matches levels and blur before it compares: what that hides, colours and detail tell.
    a, b = seen.first[known], seen.second[known]
    apart = np.zeros(len(known))
    for measure in (np.log2(1 + facts.colour), np.log2(1e-6 + facts.detail)):
        apart += np.nan_to_num(np.abs(measure[a] - measure[b])).clip(0, 1)
    score = np.tile(seen.score[known] - _HIDDEN * apart, 2)
    most = np.full(n, -np.inf)
    np.maximum.at(most, others, score)
    less = np.minimum(most[others] - score, _LESS)
    mean = 1 - np.bincount(ends, weights=less, minlength=n) / count
    mean[group >= 0] += _BYTES * _heavier(group, facts)
    turned = np.bincount(ends, weights=np.tile(seen.turned[known], 2), minlength=n)
    members = np.flatnonzero(group >= 0)
    # Who came first, of those that the criteria before leave, has the benefit of the doubt.
    order = members[
        np.lexsort([facts.earliest[members], *(b[members] for b in before[::-1]), group[members]])
    ]
    if len(order):
        mean[order[np.flatnonzero(np.diff(group[order], prepend=-1))]] += _DOUBT
    best = np.zeros(n)
    np.maximum.at(best, group[members], mean[members])
    off = np.zeros(n, np.int64)
    off[members] = np.rint((best[group[members]] - mean[members]) / _STEP)
    off[2 * turned > count] += round(1 / _STEP)
    return off


def _heavier(group: np.ndarray, facts: Facts) -> np.ndarray:
    """(k,) of the members of groups: by how many octaves, at most half a one, the file is larger
    than the median of those with as many pixels and its format: to be encoded again costs bytes,
    and so does noise."""
    members = np.flatnonzero(group >= 0)
    if not len(members):
        return np.empty(0)
    names = np.unique(facts.format[members], return_inverse=True)[1].ravel()
    pixels = (facts.width * facts.height)[members]
    _, alike = np.unique(
        np.stack([group[members], pixels, names], axis=1), axis=0, return_inverse=True
    )
    alike = alike.ravel()
    octaves = np.log2(np.maximum(facts.bytes[members], 1))
    order = np.lexsort([octaves, alike])
    starts = np.flatnonzero(np.diff(alike[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    median = (octaves[order[starts + (sizes - 1) // 2]] + octaves[order[starts + sizes // 2]]) / 2
    heavier: np.ndarray = (octaves - median[alike]).clip(-1, 0.5)
    return heavier


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
    # Equal pixels have equal detail and colour, and a lossy copy's differ in their last digits,
    # unless it is grey and so full of detail that the number of pixels stands for it. Pixels that
    # were a JPEG's were that of a JPEG of as many: to make a fine one of them is seldom, while a
    # coarse one is a copy for the web, and lacks something. And what a camera has described in a
    # lossy file was not lossless before.
    size, fields = size.ravel(), facts.exif_fields[members]
    colour = np.nan_to_num(facts.colour[members], nan=-1.0)
    exact = np.stack([size, facts.detail[members].round(9), colour], axis=1)
    _, same = np.unique(exact, axis=0, return_inverse=True)
    source = lossy[members]
    measured = 1e6 * facts.detail[members] < (facts.width * facts.height)[members] - 0.5
    measured |= facts.colour[members] > 0
    decoded = lossless[members] & measured & np.isin(same.ravel(), same.ravel()[source])
    decoded |= lossless[members] & (fields == 0) & np.isin(size, size[source & (fields > 0)])
    jpeg = source & (found[members] == FORMAT_RANK["JPEG"])
    coarse = jpeg & (facts.coarseness[members] > _COARSE)
    was = facts.was_jpeg[members]
    decoded |= was & np.isin(size, size[jpeg & ~coarse])
    result = found.copy()
    behind = was & ~np.isin(size, size[coarse])
    result[members[behind]] = np.maximum(found[members[behind]], FORMAT_RANK["JPEG"])
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
            doubt = criterion == "central" and rank[second] - rank[keeper] <= _DOUBT / _STEP
            first = facts.earliest[keeper] < facts.earliest[second]
            words = _better("earliest" if doubt and first else criterion, keeper, second, facts)
            if words:
                said.append(words)
            break
    else:
        said.append("the first by id")
    if ranks.doubtful[keeper]:
        said.append(f"it or {'the other' if len(members) == 2 else 'another member'} is edited")
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
    if criterion == "central":
        return "agrees best with the others"
    if criterion == "earliest":
        return "the earliest"
    return "in a preferred path" if criterion == "path" else ""


def why_member(look: Mapping[str, Any], detail: float, doubtful: bool) -> str:
    """What a member is to its keeper.

    Args:
        look: columns of `lake.LOOK`, of the member to the keeper.
        detail: times the keeper's. doubtful: whether the keeper may as well be the edited one.
    """
    if look["relation"] == "exact":
        return "the same bytes"
    turn = TURNS[turn_of(np.reshape(look["transform"], (3, 3)))]
    return f"{_what(look, detail, doubtful)}{turn and f', {turn}'}"


def _what(look: Mapping[str, Any], detail: float, doubtful: bool) -> str:
    """`why_member`, but for how it is turned."""
    relation, overlap, keeper_overlap = look["relation"], look["overlap_a"], look["overlap_b"]
    if relation == "same":
        # More than the keeper's is noise, or a codec's doing: else it would be kept.
        less = "" if detail > 0.8 else f", {times_of(detail)} times the detail"
        return f"the same picture{less}"
    if relation == "crop":
        if min(overlap, keeper_overlap) >= _UNEVEN * max(overlap, keeper_overlap):
            return f"cut or turned by a little: shows {percent(keeper_overlap)} of the keeper"
        if overlap >= keeper_overlap:
            return f"a crop: shows {percent(keeper_overlap)} of the keeper"
        return f"the whole: the keeper is a crop, {percent(overlap)} of it"
    if relation == "inside":
        if overlap < keeper_overlap:
            return f"a screenshot or frame around it: the keeper is {percent(overlap)} of it"
        return f"a part of it: shows {percent(keeper_overlap)} of the keeper"
    where = f", {look['place']}" if look["place"] else ""
    who = "this or the keeper is edited" if doubtful else "edited"
    return f"{who}: {percent(look['changed'])} differs{where}" if look["changed"] else who


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
