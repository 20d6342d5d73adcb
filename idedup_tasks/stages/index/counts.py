"""What index counts: the gate reconciles it, people read it, a candidate keeps it as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Vectors of the index and its shards.

    active: images to hold; indexed: of them, in a shard; added: in a new one. rebuilt: shards that
    were damaged or missing. stale: vectors of images that are no longer active. sampled: vectors
    asked for, found_themselves: of them, those that the index finds first.
    """

    active: int
    indexed: int
    added: int
    shards: int
    rebuilt: int
    stale: int
    sampled: int
    found_themselves: int
    images: int  # that the stage worked on

    @property
    def rows(self) -> tuple[int, int]:
        return self.active, self.indexed
