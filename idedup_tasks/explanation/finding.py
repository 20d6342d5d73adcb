"""What was found of two images, and the sentence that it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from idedup_tasks.explanation.drawing import TURNS, Pair
from idedup_tasks.explanation.where import Where

if TYPE_CHECKING:
    from idedup_tasks.settings import Thresholds
    from idedup_tasks.verification import Look


@dataclass(frozen=True)
class Finding:
    """What was found of two images: what one is to the other, and why they were looked at.

    Attributes:
        a, b: what the two images are called.
        relation: exact, same, crop, inside, edited, alike, different or undecided.
        score: 0 to 1, the confidence that one was made from the other, or both from a third.
        overlap_a, overlap_b: share of the area of each that lies on the other.
        changed: share of what can be told apart in the overlap that differs; place: where most of
            it is in the first image, "" if nothing differs.
        why: the same in a sentence.
        decided: what the collection made of the two, in a sentence; None when it was not asked.
        turn: how the second image is changed to stand as the first does; "" when it need not be.
            `pair` and `where` show it so.
        verifier: version of what looked.
        cosine: of their descriptors, as the workflow compares them: rounded to 4 decimals.
        hash: kind of perceptual hash; hash_distance: bits of 64 in which the two differ.
        thresholds: from where on two images are looked at: of the descriptor, or the collection's.
        pair: the two, to be drawn. where: the maps.
    """

    a: str
    b: str
    relation: str
    score: float
    overlap_a: float
    overlap_b: float
    changed: float
    place: str
    why: str
    decided: str | None
    turn: str
    verifier: str
    model_id: str
    cosine: float
    hash: str
    hash_distance: int
    thresholds: Thresholds
    pair: Pair = field(repr=False)
    where: Where = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """What was measured, without pictures and maps: plain JSON."""
        shown = ("where", "pair", "thresholds")
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shown}
        return {**plain, "thresholds": self.thresholds.model_dump()}


def sentence(seen: Look, turn: int) -> str:
    """What a look saw of a first and a second image, in words."""
    turned = f"; the second is {_undone(turn)}" if turn else ""
    differs = share(seen.changed)
    place = "" if not seen.place else f", {_where(seen.place)}"
    part, whole, shows = (
        ("first", "second", seen.overlap_b)
        if seen.overlap_a >= seen.overlap_b
        else ("second", "first", seen.overlap_a)
    )
    match seen.relation:
        case "exact":
            return "Exact: the two files have the same bytes."
        case "same":
            return f"The same picture: all that both show agrees{turned}."
        case "crop":
            return f"A crop: the {part} shows {share(shows)} of the {whole}{turned}."
        case "inside":
            return (
                f"One inside the other: the {part} fills {share(shows)} of the {whole}, which has "
                f"something around it or less detail{turned}."
            )
        case "edited":
            return f"Edited: {differs} of what both show differs{place}{turned}."
        case "alike" if seen.evidence.way != "none":
            return (
                "Alike, and not one picture made from the other: laid on each other, "
                f"{differs} differs{place}."
                if seen.changed
                else "Alike, and not one picture made from the other: its fine structure differs."
            )
        case "alike":
            return "Alike, and not one picture made from the other: they do not lie on each other."
        case "undecided":
            return "Undecided: too little can be seen of these pictures to tell."
        case _:
            return "Different pictures: nothing was found that both show."


def share(value: float) -> str:
    """A share as people read it: `62 %`, `0.4 %`."""
    if value and value < 0.0005:
        return "less than 0.1 %"
    return f"{100 * value:.1f} %" if 0 < value < 0.0095 else f"{100 * value:.0f} %"


def _where(place: str) -> str:
    return place if place == "all over" else f"mostly {place}"


def _undone(turn: int) -> str:
    """How the second lies, where `TURNS` says what undoes it."""
    return TURNS[{1: 3, 3: 1}.get(turn, turn)]
