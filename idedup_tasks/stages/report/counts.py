"""What report counts: the gate reconciles it, people read it, a candidate keeps it as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """Objects of the collection, counted period by period.

    images: all; decoded: all but the rejected. bytes: of all. uncertain: members of groups that are
    near a threshold. duplicates_…: by relation, and reclaimable_…: their bytes.
    """

    images: int = 0
    decoded: int = 0
    active: int = 0
    collapsed: int = 0
    rejected: int = 0
    groups: int = 0
    bytes: int = 0
    uncertain: int = 0
    duplicates_exact: int = 0
    reclaimable_exact: int = 0
    duplicates_perceptual: int = 0
    reclaimable_perceptual: int = 0
    duplicates_near: int = 0
    reclaimable_near: int = 0

    @property
    def rows(self) -> tuple[int, int]:
        return self.images, self.images
