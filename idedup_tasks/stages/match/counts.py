"""What match counts: the gate reconciles it, people read it, a candidate keeps it as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Pairs of the collection that were looked at, by what proposed them and by what was seen.

    candidates: proposed by vectors; hash_pairs: a twin with what it collapsed onto;
    component_pairs: the others of small components. looked_at: all of these, of which nobody had
    looked at looks_new before. exact … undecided: by relation. crowded: images with as many
    candidates as are looked at, or more. components: of two contents or more that looks tie
    together. mode: `exact` or `cells`. sampled_recall: of the candidates of a sample, the share
    that cells found; None: exact.
    """

    active: int
    images: int  # that the stage worked on
    candidates: int
    hash_pairs: int
    component_pairs: int
    looked_at: int
    looks_new: int
    looks_known: int
    crowded: int
    components: int
    mode: str
    sampled_recall: float | None
    exact: int = 0
    same: int = 0
    crop: int = 0
    inside: int = 0
    edited: int = 0
    alike: int = 0
    different: int = 0
    undecided: int = 0

    @property
    def rows(self) -> tuple[int, int]:
        return self.active, self.looked_at
