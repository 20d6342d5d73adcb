"""What prefilter counts: the gate reconciles it, people read it, a candidate keeps it as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Decoded images of the collection, by what became of them.

    looked_at: pairs, each an image and one of the nearest before it; known ones are among them.
    """

    decoded: int = 0
    active: int = 0
    collapsed_exact: int = 0
    collapsed_same: int = 0
    low_information: int = 0  # matched by their bytes only
    looked_at: int = 0
    embeddings_saved: int = 0
    images: int = 0  # that the stage worked on

    @property
    def rows(self) -> tuple[int, int]:
        return self.decoded, self.active
