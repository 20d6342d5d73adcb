"""What was found of two images, and the sentence that it comes to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from PIL import Image

from idedup_tasks.explanation.where import Where

if TYPE_CHECKING:
    from idedup_tasks.settings import Thresholds

# How the second image is changed to look like the first, in the order of `hashes.DIHEDRAL`.
TURNS = (
    "",
    "turned by 90° to the left",
    "turned upside down",
    "turned by 90° to the right",
    "mirrored",
    "flipped top to bottom",
    "mirrored and turned by 90° to the left",
    "mirrored and turned by 90° to the right",
)


@dataclass(frozen=True)
class Finding:
    """What was found of two images: why they are, or are not, duplicates.

    Attributes:
        a, b: what the two images are called.
        cosine: of their descriptors, as the workflow compares them: rounded to 4 decimals.
        thresholds: of the descriptor, or the collection's own.
        hash: kind of perceptual hash; hash_distance: bits of 64 in which the two differ.
        same_bytes: whether the files are equal.
        relation: what they are, compared alone: `exact`, `perceptual`, `near`, or None.
        uncertain: a near duplicate, or nearly one, within the margin of the pair threshold.
        verdict: the same in a sentence.
        decided: what the collection made of the two, in a sentence; None when it was not asked.
        turn: how the second image is changed to look like the first; "" when it need not be.
            `where` and `picture_b` show it so.
        turned_cosine: the cosine then.
        common_cosine: the cosine of the parts that both show, cut out; None without a common part.
        where: the maps.
        picture_a, picture_b: the thumbnails that were compared.
    """

    a: str
    b: str
    model_id: str
    cosine: float
    thresholds: Thresholds
    hash: str
    hash_distance: int
    same_bytes: bool
    relation: str | None
    uncertain: bool
    verdict: str
    decided: str | None
    turn: str
    turned_cosine: float
    common_cosine: float | None
    where: Where
    picture_a: Image.Image = field(repr=False)
    picture_b: Image.Image = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """What was measured, without pictures and maps: plain JSON."""
        shown = ("where", "picture_a", "picture_b", "thresholds")
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shown}
        common = self.where.common
        return {
            **plain,
            "thresholds": self.thresholds.model_dump(),
            "common": None if common is None else asdict(common),
            "points": [asdict(point) for point in self.where.points],
        }


def decide(
    same_bytes: bool,
    low_information: bool,
    hash_distance: int,
    cosine: float,
    common_cosine: float | None,
    thresholds: Thresholds,
    margin: float,
) -> tuple[str | None, bool, str]:
    """What two images are, compared alone: relation, whether it is uncertain, and the verdict.

    Args:
        low_information: one of the two is flat or near-blank, and matches by its bytes only.
        cosine: rounded to 4 decimals, as scores are.
        common_cosine: of what both show, cut out; None where nothing was found.
        margin: cosine on either side of the pair threshold.
    """
    if same_bytes:
        return "exact", False, "Exact duplicates: the two files have the same bytes."
    if low_information:
        return (
            None,
            False,
            "Not duplicates: a flat or near-blank picture matches by its bytes only, and the two "
            "files differ.",
        )
    limit = thresholds.phash_distance
    if hash_distance <= limit:
        return (
            "perceptual",
            False,
            f"Perceptual twins: their hashes differ in {hash_distance} of 64 bits, and up to "
            f"{limit} count as the same picture.",
        )
    uncertain = abs(cosine - thresholds.pair) < margin
    doubt = f" That is within {margin:g} of it: look at the pictures." if uncertain else ""
    if cosine >= thresholds.pair:
        return (
            "near",
            uncertain,
            f"Near duplicates: the cosine of {cosine:.4f} reaches the pair threshold of "
            f"{thresholds.pair:g}.{doubt}",
        )
    if common_cosine is not None and common_cosine >= thresholds.pair:
        doubt += (
            f" Yet the parts that both show have a cosine of {common_cosine:.4f}: this may well be "
            "one picture, cut or framed in different ways."
        )
    return (
        None,
        uncertain,
        f"Not called duplicates: the cosine of {cosine:.4f} is below the pair threshold of "
        f"{thresholds.pair:g}.{doubt}",
    )
