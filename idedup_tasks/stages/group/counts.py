"""What group counts: the gate reconciles it, people read it, a candidate keeps it as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Decoded images of the collection by verdict, and its groups.

    exact … edited: members by their relation to their keeper. components: of two contents or more
    that looks tie together; components_large: those with more than the linkage is given, cut into
    stars. left: times that a content left a cluster, not tied to its keeper. looks_asked: those
    that match had not made. crowded: images with as many candidates as are looked at, or more.
    """

    decoded: int
    active: int
    unique: int
    keepers: int
    groups: int
    largest_group: int
    images: int  # that the stage worked on
    crowded: int
    components: int
    components_large: int
    left: int
    looks_asked: int
    linkage: str
    exact: int = 0
    same: int = 0
    crop: int = 0
    inside: int = 0
    edited: int = 0

    @property
    def rows(self) -> tuple[int, int]:
        return self.active, self.groups

    @property
    def duplicates(self) -> int:
        return self.exact + self.same + self.crop

    @property
    def variants(self) -> int:
        return self.inside + self.edited
