"""What ingest counts: the gate reconciles it, people read it, and a candidate keeps it as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """Objects of the run's window, counted partition by partition.

    listed: in the source; decoded and rejected: as their rows have it. reused: unchanged, not read;
    read: read now. vanished: rows whose object the source no longer has. outside_window: listed,
    outside the window and not in the lake. bytes: of decoded and rejected objects.
    max_removed_ratio: the largest share of a partition that vanished.
    """

    listed: int = 0
    decoded: int = 0
    rejected: int = 0
    reused: int = 0
    read: int = 0
    vanished: int = 0
    outside_window: int = 0
    bytes: int = 0
    max_removed_ratio: float = 0.0
    partitions: int = 0
    images: int = 0  # that the stage worked on

    @property
    def rows(self) -> tuple[int, int]:
        return self.listed, self.decoded
