"""From what was seen to a relation and a score."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from idedup_tasks.verification.agreement import MOST_NOISE, Agreement
from idedup_tasks.verification.evidence import Evidence

Relation = Literal["exact", "same", "crop", "inside", "edited", "alike", "different", "undecided"]


@cache
def calibration() -> dict[str, Any]:
    """The thresholds and curves, and the numbers that they come from."""
    text = files(__package__).joinpath("calibration.json").read_text("utf-8")
    return dict(json.loads(text))


def clues(seen: Evidence) -> dict[str, float]:
    """What the score is computed from."""
    agreed = seen.agreement
    overlap = math.sqrt(max(seen.overlap_a, 1e-4) * max(seen.overlap_b, 1e-4))
    return {
        "detail": max(agreed.detail, 0.0),
        "correlation": max(agreed.correlation, 0.0),
        "changed": math.sqrt(min(agreed.changed, 1.0)),
        "noise": agreed.noise / 12,
        "inliers": min(math.log1p(seen.inliers), 5.0) / 5,
        "features": 1.0 if seen.way == "features" else 0.0,
        "overlap": math.log10(overlap),
        "moved": 1 - min(seen.overlap_a, seen.overlap_b) if seen.way == "frames" else 0.0,
        "small": max(0.0, math.log2(128 / max(agreed.side, 8))),
        "unlike": agreed.unlike,
        "page": 1.0 if seen.pages and agreed.changed > 0 else 0.0,
        "partial": 1.0 if is_partial(seen) else 0.0,
        "doubt": max(0.0, 0.75 - agreed.detail),
        "frame": max(seen.frame_correlation, 0.0),
    }


def is_partial(seen: Evidence) -> bool:
    """Whether each shows what the other does not, and neither was set into something.

    Two shots, or two parts, of one scene.
    """
    limits = calibration()["limits"]
    least = limits["part" if seen.agreement.changed == 0 else "part_edited"]
    whole = max(seen.overlap_a, seen.overlap_b) >= least
    return not whole and bool(max(seen.seam_a, seen.seam_b) <= limits["seams"])


def _is_plain(agreed: Agreement) -> bool:
    """Whether they agree as closely as few pixels must, of which many pictures have similar ones.

    With each halving of the side more of the structure and less noise is asked for.
    """
    limits = calibration()["limits"]
    halved = math.log2(limits["few_side"] / max(agreed.side, 8))
    if halved <= 0:
        return True
    asked = min(limits["detail"] + limits["few_detail"] * halved, 0.98)
    quiet = agreed.noise <= MOST_NOISE - limits["few_noise"] * halved
    # Strong JPEG of a small copy is noise, too, but leaves more of the structure than asked.
    return bool(agreed.detail >= asked + (0 if quiet else limits["few_noisy"]))


def _is_drowned(agreed: Agreement, confidence: float) -> bool:
    """Whether the tolerance for noise hides what would tell the two apart.

    Noise at its ceiling is rarely noise: flat areas in other tones look so, too, as in two icons
    on one ground or two pages of panels. A noisy copy has structure all over, and scores well.
    """
    limits = calibration()["limits"]
    informed = agreed.structure * (1 - agreed.unlike)
    told = informed >= limits["informed"] and confidence >= limits["duplicate"]
    return agreed.noise >= MOST_NOISE and not told


def score(seen: Evidence) -> float:
    """The confidence that one picture was made from the other, 0 to 1, rounded to 4 decimals."""
    if seen.way == "none":
        return 0.0
    curve = calibration()["score"]
    found = clues(seen)
    total = curve["intercept"] + sum(
        weight * found[name] for name, weight in curve["weights"].items()
    )
    return round(1 / (1 + math.exp(-max(-30.0, min(30.0, total)))), 4)


def relation(seen: Evidence, confidence: float, ratio: float) -> Relation:
    """What one picture is to the other.

    Args:
        seen: evidence.
        confidence: `score` of it.
        ratio: pixels of the first original over pixels of the second, where both overlap.
    """
    limits = calibration()["limits"]
    agreed = seen.agreement
    if seen.way == "none" or confidence < limits["alike"]:
        if seen.blank:
            return "undecided"
        near = seen.inliers >= limits["alike_inliers"]
        near |= seen.frame_correlation >= limits["alike_frames"]
        return "alike" if near else "different"
    if agreed.side < limits["side"]:
        return "undecided"
    if seen.fine_print and agreed.side < limits["print_side"] and seen.shrunk > limits["shrunk"]:
        return "undecided"
    if agreed.structure < limits["structure"] and agreed.contrast < limits["contrast"]:
        return "undecided"
    in_place = min(seen.overlap_a, seen.overlap_b) >= limits["in_place"]
    clean = (
        agreed.changed == 0
        and agreed.detail >= limits["detail_in_place" if in_place else "detail"]
        and confidence >= limits["duplicate"]
    )
    if is_partial(seen) or not _is_plain(agreed) or _is_drowned(agreed, confidence):
        return "alike"
    if not clean:
        # Of pages, an edited one cannot be told from another with one layout; nor of what has so
        # little to agree in: receipts on a table, one site, a thing on a plain ground. Less
        # of it will do where one has something that the other lacks: other content has as much.
        close = agreed.detail >= limits["detail_edited"] and confidence >= limits["edited"]
        informed = agreed.structure * (1 - agreed.unlike)
        little = max(agreed.unlike, agreed.changed) <= limits["little"]
        adds = agreed.added >= limits["added"] and confidence >= limits["added_score"]
        told = little or informed >= limits["informed_added" if adds else "informed"]
        return "edited" if close and told and not seen.pages else "alike"
    whole = limits["whole"]
    if min(seen.overlap_a, seen.overlap_b) >= whole:
        return "same"
    part_is_a = seen.overlap_a >= seen.overlap_b
    if max(seen.overlap_a, seen.overlap_b) < limits["part"]:
        return "inside"
    seam = seen.seam_a if part_is_a else seen.seam_b
    # Pixels of the part over those of the whole where both show the same.
    finer_part = ratio if part_is_a else 1 / max(ratio, 1e-9)
    # How much softer the whole is than the part, in pixels of blur.
    softer_whole = -agreed.blur if part_is_a else agreed.blur
    if (
        # A cut has all of its part; a camera that moved over a flat thing shows some more.
        max(seen.overlap_a, seen.overlap_b) < limits["part_cut"]
        or seam > limits["seams"]
        or finer_part > limits["detail_ratio"]
        or softer_whole > limits["softer"]
    ):
        return "inside"
    return "crop"
