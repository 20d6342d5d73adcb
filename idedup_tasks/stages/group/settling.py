"""Groups in which every member was looked at with its keeper, and the two are tied.

Two pictures that each have duplicates of their own are two groups, though one be a variant of the
other: what is reclaimable of either stays so (`cores`). Components are cut into clusters, and in
each the keeper is chosen. Whoever is not tied to it by a look leaves, and then the keeper of who
remains is chosen again; what has left is cut again among itself, until nobody leaves. Each pass
settles a keeper in every cluster, so that it ends.

A component that stays larger than `linkage_limit` gets `PASSES` passes in which looks are asked.
After that it is cut into stars of what was seen, whose centres are kept: nobody leaves those. So
it costs at most PASSES x (2 x ROUNDS + CHANGES + 1) looks a content (80), and half of
`linkage_limit` more where it falls into small ones; mostly it is one or two. A component of up to
`linkage_limit` costs none that match has not made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from idedup_tasks.linkage import components
from idedup_tasks.settings import DUPLICATES, Grouping, KeeperCriterion
from idedup_tasks.stages.group.components import members_of
from idedup_tasks.stages.group.cutting import cut_matrix, cut_stars
from idedup_tasks.stages.group.keepers import (
    Facts,
    Ranks,
    keepers,
    rank,
    why_kept,
    why_member,
)
from idedup_tasks.stages.group.seen import Seen

PASSES = 4
# Other keepers that a group larger than `linkage_limit` tries once members have left.
CHANGES = 3
_ROUNDING = 1e-9  # of a cut: scores have four decimals


@dataclass(frozen=True)
class Settled:
    """Groups of n contents.

    keeper: (n,) int64, the keeper of each one's group, which stands for the group; -1 for a content
    alone. look: (n,) int64, the row of `Seen` of each member and its keeper, -1 for keepers and
    contents alone. ranks: of the members. components: of two or more. large: of those, how many
    were cut into stars. left: members that were not tied to the keeper of their cluster.
    """

    keeper: np.ndarray
    look: np.ndarray
    ranks: Ranks
    components: int
    large: int
    left: int


def settle(
    seen: Seen,
    facts: Facts,
    policy: Sequence[KeeperCriterion],
    settings: Grouping,
    progress: Callable[[int, int], None] | None = None,
) -> Settled:
    """Group contents by what was seen of them.

    Args:
        progress: called with (contents settled, contents in components).
    """
    n = seen.n
    keeper = np.full(n, -1)
    open_ = np.zeros(n, bool)
    tied = seen.linked(np.arange(len(seen.first)))
    open_[seen.first[tied]] = open_[seen.second[tied]] = True
    total = int(open_.sum())
    found = large = left = 0
    passes = 0
    while open_.any():
        core = cores(seen, open_)
        rows = seen.within(open_)
        rows = rows[seen.linked(rows) & ~_apart(core, seen.first[rows], seen.second[rows])]
        whole = components(n, seen.first[rows], seen.second[rows])
        whole[~open_] = -1
        label = np.full(n, -1)
        fixed = np.full(n, -1)  # centres of stars that stay the keepers
        order: np.ndarray | None = None
        # Most components are two contents and one look: no dendrogram is needed to cut those.
        sizes = np.bincount(whole[open_], minlength=n)
        two = rows[sizes[whole[seen.first[rows]]] == 2]
        label[seen.first[two]] = seen.first[two]
        together = seen.score[two] >= settings.cut - _ROUNDING
        label[seen.second[two]] = np.where(together, seen.first[two], seen.second[two])
        found += len(two) * (passes == 0)
        for members in members_of(np.where(open_ & (sizes[whole] > 2), whole, -1)):
            if len(members) <= settings.linkage_limit:
                label[members] = cut_matrix(members, core[members], seen, settings)
            else:
                if order is None:
                    order = rank(whole, seen, facts, policy).order
                own = order[np.searchsorted(whole[order], members[0]) :][: len(members)]
                last = passes >= PASSES
                label[members] = cut_stars(members, own, seen, ask=not last)
                if last:
                    fixed[members] = label[members]
                large += passes == 0
            found += passes == 0
        gone = _settle(label, fixed, core, keeper, seen, facts, policy, settings)
        left += int(gone.sum())
        open_ = gone
        passes += 1
        if progress is not None:
            progress(total - int(open_.sum()), total)
    sizes = np.bincount(keeper[keeper >= 0], minlength=n)
    keeper[(keeper >= 0) & (sizes[keeper] < 2)] = -1
    ranks = rank(keeper, seen, facts, policy)
    look = np.full(n, -1)
    member = np.flatnonzero((keeper >= 0) & (keeper != np.arange(n)))
    look[member] = seen.rows(member, keeper[member])
    return Settled(keeper, look, ranks, found, large, left)


def _settle(
    label: np.ndarray,
    fixed: np.ndarray,
    core: np.ndarray,
    keeper: np.ndarray,
    seen: Seen,
    facts: Facts,
    policy: Sequence[KeeperCriterion],
    settings: Grouping,
) -> np.ndarray:
    """Choose keepers of clusters, and let go who is not tied to them, until nobody leaves.

    Args:
        label: (n,) the cluster of each content, -1 for none.
        fixed: (n,) the keeper of each content's cluster where it is not to be chosen, else -1.
        core: (n,) see `cores`.
        keeper: (n,) is given the keepers of those that stay.

    Returns:
        (n,) bool: who left.
    """
    n = len(label)
    gone = np.zeros(n, bool)
    unsettled, before = label.copy(), np.full(n, -1)
    changes = 0
    while (unsettled >= 0).any():
        chosen = keepers(unsettled, rank(unsettled, seen, facts, policy))
        chosen = np.where(fixed >= 0, fixed, chosen)
        if changes >= CHANGES:
            # A large group that has changed its keeper often enough stays with it.
            sizes = np.bincount(unsettled[unsettled >= 0], minlength=n)
            weary = (before >= 0) & (sizes[unsettled] > settings.linkage_limit)
            chosen = np.where(weary, before, chosen)
        members = np.flatnonzero((unsettled >= 0) & (chosen != np.arange(n)))
        tied = seen.linked(seen.look(members, chosen[members]))
        tied &= ~_apart(core, members, chosen[members])
        leave = members[~tied]
        gone[leave] = True
        done = (unsettled >= 0) & ~np.isin(unsettled, unsettled[leave])
        keeper[done] = chosen[done]
        unsettled[done] = unsettled[leave] = -1
        before = np.where(unsettled >= 0, chosen, -1)
        changes += 1
    return gone


def cores(seen: Seen, among: np.ndarray) -> np.ndarray:
    """(n,) int64: the component, of those that duplicates tie together, that each content is in;
    -1 for one without duplicates among some contents, (n,) bool."""
    rows = seen.within(among)
    rows = rows[seen.relation[rows] < len(DUPLICATES)]
    core = components(seen.n, seen.first[rows], seen.second[rows])
    core[np.bincount(core, minlength=seen.n)[core] < 2] = -1
    return core


def _apart(core: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(m,) bool: whether each of the two has duplicates, and other ones."""
    found: np.ndarray = (core[a] >= 0) & (core[b] >= 0) & (core[a] != core[b])
    return found


def sentences(
    settled: Settled, seen: Seen, facts: Facts, policy: Sequence[KeeperCriterion]
) -> list[str]:
    """(n,) why each member belongs to its group, and why its keeper is kept; "" of others."""
    said = [""] * seen.n
    ranks, keeper = settled.ranks, settled.keeper
    order = ranks.order
    starts = np.flatnonzero(np.diff(keeper[order], prepend=-1))
    for members in np.split(order, starts[1:]) if len(order) else ():
        kept = int(keeper[members[0]])
        # A group too large for another choice keeps the centre of its star.
        chosen = kept == members[0]
        said[kept] = why_kept(members, ranks, facts, policy) if chosen else "tied to all the others"
    member = np.flatnonzero(settled.look >= 0)
    looks = seen.said(settled.look[member], member).to_pylist()
    detail = facts.detail[member] / np.maximum(facts.detail[keeper[member]], 1e-9)
    either = ranks.doubtful[member] & ranks.doubtful[keeper[member]]
    for i, look, times, doubtful in zip(
        member.tolist(), looks, detail.tolist(), either.tolist(), strict=True
    ):
        said[i] = why_member(look, times, doubtful)
    return said
