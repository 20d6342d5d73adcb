"""What group counts: the gate reconciles it, people read it, a candidate keeps it as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Suggestion:
    """What a collection's similarities say of its threshold.

    threshold: cosine to two decimals, or None with the reason in `because`. images: compared.
    best_matches: (BINS,) how many of the sampled images have their most similar other image in each
    fiftieth of 0 to 1, those below 0 in the first.
    """

    threshold: float | None
    because: str
    images: int
    best_matches: list[int]


@dataclass(frozen=True)
class Counts:
    """Decoded images of the collection by verdict, its groups, and the pairs they are made of.

    duplicates_…: by relation. compared: images whose pairs are new. pairs: kept; pairs_found: at
    or above the candidate threshold; pairs_capped: found and not kept; pairs_cut: kept, between
    images of two groups. mode: `exact` or `cells`. linkage_fallbacks: components cut by average
    linkage. sampled_recall: of the matches of a sample, the share that cells found; None: exact.
    suggestion: a `Suggestion`, as JSON has it.
    """

    decoded: int
    active: int
    unique: int
    keepers: int
    groups: int
    largest_group: int
    duplicates_exact: int
    duplicates_perceptual: int
    duplicates_near: int
    images: int  # that the stage worked on
    compared: int
    pairs: int
    pairs_found: int
    pairs_capped: int
    pairs_cut: int
    components: int
    mode: str
    linkage: str
    linkage_fallbacks: int
    sampled_recall: float | None
    suggestion: Mapping[str, Any]

    @property
    def rows(self) -> tuple[int, int]:
        return self.active, self.groups

    @property
    def duplicates(self) -> int:
        return self.duplicates_exact + self.duplicates_perceptual + self.duplicates_near
