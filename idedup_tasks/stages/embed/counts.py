"""What embed counts: the gate reconciles it, people read it, a candidate keeps it as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Active images of the collection: `present` had a vector before, `embedded` have one now."""

    active: int
    present: int
    embedded: int
    dim: int
    model_id: str
    images: int  # that the stage worked on

    @property
    def rows(self) -> tuple[int, int]:
        # Vectors that were there already have come through as well.
        return self.active, self.present + self.embedded
