"""What report counts: the gate reconciles it, people read it, a candidate keeps it as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """Objects of the collection, counted period by period, and the pairs that were looked at.

    images: all; decoded: all but the rejected. bytes: of all. duplicates_…, variants_…: by relation
    to their keeper. reclaimable_…: bytes of those that count as reclaimable, which variants do only
    where the collection says so. pairs: looked at; alike: those that are alike and no more.
    """

    images: int = 0
    decoded: int = 0
    active: int = 0
    collapsed: int = 0
    rejected: int = 0
    groups: int = 0
    bytes: int = 0
    duplicates: int = 0
    duplicates_exact: int = 0
    duplicates_same: int = 0
    duplicates_crop: int = 0
    variants: int = 0
    variants_inside: int = 0
    variants_edited: int = 0
    reclaimable_exact: int = 0
    reclaimable_same: int = 0
    reclaimable_crop: int = 0
    reclaimable_inside: int = 0
    reclaimable_edited: int = 0
    pairs: int = 0
    alike: int = 0

    @property
    def rows(self) -> tuple[int, int]:
        return self.images, self.images
