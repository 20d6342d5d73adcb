"""What another cut or keeper policy would change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

from idedup_tasks.api.reading import UsageError, open_collection
from idedup_tasks.settings import KeeperCriterion

if TYPE_CHECKING:
    import pandas as pd

    from idedup_tasks.run import Run


@dataclass(frozen=True)
class Totals:
    """Groups of two or more, their members beside the keepers, and the bytes of those.

    Members are duplicates and variants: which is which, only a run says.
    """

    groups: int
    members: int
    bytes: int


@dataclass(frozen=True)
class Preview:
    """What another cut or keeper policy would change.

    Attributes:
        before, after: totals now, and with the other settings.
        dissolved: groups whose members would all be unique.
        split: other groups whose members would no longer be together.
        merged: groups after that hold members of two or more groups of now.
        appeared: groups after whose members are all unique now.
        other_keeper: groups with the same members and another keeper.
        newly_grouped, no_longer_grouped: uris of images that would become, or cease to be, members
            of a group beside its keeper; sorted.
    """

    before: Totals
    after: Totals
    dissolved: int
    split: int
    merged: int
    appeared: int
    other_keeper: int
    newly_grouped: list[str]
    no_longer_grouped: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def preview(
    collection: str | None = None,
    *,
    cut: float | None = None,
    keeper: Sequence[str] | None = None,
    scan: str | os.PathLike[str] | None = None,
) -> Preview:
    """What another cut or keeper policy would change in a collection; nothing is written.

    Args:
        collection: its name; the only one there is when left out.
        cut: score, of a look, at which the hierarchical clustering is cut, 0 to 1. Only images that
            a look says are one picture, or a part or edit of it, are ever together, however low.
        keeper: criteria in order, of those that the setting `keeper` has.
        scan: output folder of an earlier `scan`, instead of the places of the environment.

    Raises:
        UsageError: a value that cannot be previewed, or no such collection.
    """
    from idedup_tasks.stages.group import prepare as group

    run = open_collection(collection, scan)
    policy = _policy(run, keeper)
    if cut is not None and not 0 <= cut <= 1:
        raise UsageError(f"A cut of {cut} is no score: expected 0 to 1.")
    if cut is None and keeper is None:
        raise UsageError("There is nothing to preview: give another cut or another keeper.")
    after = group.regroup(run, cut, policy)
    groups = run.lake.snapshot("groups")
    before = groups.read(["image_id", "group_id", "keeper_id"])
    images = run.lake.snapshot("images", groups.reads("images")).read(["image_id", "uri", "bytes"])
    rows = before.to_pandas().merge(
        after.to_pandas(), on="image_id", suffixes=("_before", "_after"), validate="one_to_one"
    )
    return compare_groupings(rows.merge(images.to_pandas(), on="image_id", validate="one_to_one"))


def _policy(run: Run, keeper: Sequence[str] | None) -> tuple[KeeperCriterion, ...]:
    if keeper is None:
        return run.collection.keeper
    for criterion in keeper:
        if criterion not in get_args(KeeperCriterion):
            raise UsageError(
                f"{criterion!r} is not a keeper criterion: expected "
                f"{', '.join(get_args(KeeperCriterion))}."
            )
    return tuple(keeper)  # type: ignore[arg-type]


class _Grouping:
    """One of the two ways to group the same images.

    Attributes:
        group_of: the group of each image that is in one.
        members, keeper_of: of each group.
        others: the rows of members that are not their group's keeper.
    """

    def __init__(self, rows: pd.DataFrame, when: str) -> None:
        grouped = rows[rows[f"group_id_{when}"].notna()]
        ids, groups = grouped["image_id"], grouped[f"group_id_{when}"]
        keepers = grouped[f"keeper_id_{when}"]
        self.group_of: dict[str, str] = dict(zip(ids, groups, strict=True))
        self.keeper_of: dict[str, str] = dict(zip(groups, keepers, strict=True))
        self.members: dict[str, set[str]] = {}
        for image, group in self.group_of.items():
            self.members.setdefault(group, set()).add(image)
        self.others = grouped[ids != keepers]

    def totals(self) -> Totals:
        return Totals(len(self.members), len(self.others), int(self.others["bytes"].sum()))


def compare_groupings(rows: pd.DataFrame) -> Preview:
    """What becomes of the groups of now.

    Args:
        rows: image_id, uri, bytes, and group_id and keeper_id each `_before` and `_after`, null for
            a unique image.
    """
    before, after = _Grouping(rows, "before"), _Grouping(rows, "after")
    dissolved = split = other_keeper = 0
    for group, members in before.members.items():
        # An image alone counts as a place of its own, so that leaving a group splits it.
        places = {after.group_of.get(image, image) for image in members}
        if places.isdisjoint(after.members):
            dissolved += 1
        elif len(places) > 1:
            split += 1
        elif after.members[place := places.pop()] == members:
            other_keeper += before.keeper_of[group] != after.keeper_of[place]
    sources = [
        {before.group_of[image] for image in members if image in before.group_of}
        for members in after.members.values()
    ]
    was, becomes = set(before.others["uri"]), set(after.others["uri"])
    return Preview(
        before.totals(),
        after.totals(),
        dissolved=dissolved,
        split=split,
        merged=sum(len(groups) > 1 for groups in sources),
        appeared=sum(not groups for groups in sources),
        other_keeper=other_keeper,
        newly_grouped=sorted(becomes - was),
        no_longer_grouped=sorted(was - becomes),
    )
