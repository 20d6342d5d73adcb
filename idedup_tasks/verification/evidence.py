"""What there is to see of two pictures: where one lies on the other, and what agrees there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from idedup_tasks.verification import geometry
from idedup_tasks.verification.agreement import (
    NOTHING,
    Agreement,
    Aligned,
    agreement,
    agreement_as_is,
    align,
)
from idedup_tasks.verification.crops import crop
from idedup_tasks.verification.features import fit
from idedup_tasks.verification.picture import CLOSE, COARSE, MIDDLE, Picture
from idedup_tasks.verification.seams import seams

Array = np.ndarray[Any, Any]

# Correlation of two coarse frames from which they are laid over each other closely.
_ALIKE_FRAMES = 0.45
# Correlation at which frames are first compared as they lie. Lines of text slide along each other,
# so that those of pages are rather left where they are.
_STILL, _STILL_PAGES = 0.97, 0.85
# Less of a picture than this on the other: no matter of frames.
_COVERED = 0.7
# A frame moves only if that explains so much of what its edges left unexplained.
_WORTH_MOVING = 0.1
# From this share of informative area in agreement two frames register, and nothing else is asked.
_REGISTERED, _CLOSE_NOISE, _CLEAN = 0.35, 4.0, 0.003
_UNMOVED = 0.985
# Pages that lie still register, however much differs in them, if so much of their structure
# correlates, and that closely: one template with other content.
_TEMPLATE_UNLIKE, _TEMPLATE_DETAIL = 0.5, 0.8
_DECIMALS = 5
# Degrees of freedom and iterations that bring what features found closer on the pixels, and that
# bring parts of pages closer in their finer pictures.
_STEPS, _FINER_STEPS = ((6, 5), (8, 4)), ((6, 6),)
# Short sides at which a crop is brought closer; the shares of the part and of the whole that agree
# at least, and the correlation of fine structure there. Then no local features are asked.
_CROP_SIDES, _CROP_PART, _CROP_WHOLE, _CROP_DETAIL = (40, CLOSE), 0.98, 0.08, 0.8
# Overlap from which a border is not asked for seams.
_WHOLE = 0.99
# A picture whose coarse frame deviates by fewer levels shows nothing.
_BLANK = 3.0
# Short side, in pixels, at which finer pictures are compared at most; and the correlation of their
# squares from which they are compared as they lie.
_FINEST, _STILL_FINE = 1024, 0.995


@dataclass(frozen=True)
class Evidence:
    """What a look saw.

    way: "frames" if one frame registers on or in the other, "features" if local features agree on a
    transform, "none". transform: a to b, in shares, rounded. inliers, matches: of the local
    features, 0 where they were not asked. agreement: of the pixels.
    agreement.place: in what both show, as the first picture lies.
    seam_a, seam_b: of the border of a, as far as it lies within b, the share along which a straight
    edge or a flat surround runs, 0 to 1; and of b within a. frame_correlation: of the coarse
    frames.
    blank: whether one of the pictures shows nothing. pages: whether both are page-like,
    fine_print: and one of them is mostly text. shrunk: pixels along a side of the finer original on
    one pixel of what was compared.
    """

    way: str
    transform: Array
    overlap_a: float
    overlap_b: float
    agreement: Agreement
    inliers: int = 0
    matches: int = 0
    seam_a: float = 0.0
    seam_b: float = 0.0
    frame_correlation: float = 0.0
    blank: bool = False
    pages: bool = False
    fine_print: bool = False
    shrunk: float = 1.0

    @classmethod
    def equal(cls) -> Evidence:
        """Of a picture and itself."""
        return cls("bytes", np.eye(3), 1.0, 1.0, replace(NOTHING, changed=0.0, strongest=0.0))

    def turned(self) -> Evidence:
        """The same seen the other way round."""
        agreed = self.agreement
        return replace(
            self,
            transform=geometry.inverse(self.transform),
            overlap_a=self.overlap_b,
            overlap_b=self.overlap_a,
            seam_a=self.seam_b,
            seam_b=self.seam_a,
            agreement=replace(
                agreed,
                blur=0.0 - agreed.blur,
                place=geometry.turned_place(agreed.place, self.transform),
            ),
        )


def see(a: Picture, b: Picture) -> Evidence:
    """Look at two pictures: frame on frame, frame in frame, and by local features."""
    framed, correlation = _frames(a, b)
    if framed is not None and _registered(framed):
        return framed
    cropped = _cropped(a, b, correlation)
    if cropped is not None:
        return cropped
    found = _features(a, b, correlation)
    if found is not None and (framed is None or found.agreement.changed < framed.agreement.changed):
        return found
    if framed is not None:
        return framed
    return Evidence(
        "none",
        np.eye(3),
        0.0,
        0.0,
        NOTHING,
        frame_correlation=correlation,
        blank=min(a.contrast, b.contrast) < _BLANK,
        pages=a.is_page and b.is_page,
    )


def _registered(seen: Evidence) -> bool:
    """Whether frames lie on each other: a part may differ, what agrees agrees closely.

    Frames that had to move to agree, and do not quite, may be those of a part and its whole.
    """
    agreed = seen.agreement
    if agreed.changed <= _CLEAN:
        return True
    if min(seen.overlap_a, seen.overlap_b) < _UNMOVED:
        return False
    if seen.pages and agreed.unlike <= _TEMPLATE_UNLIKE and agreed.detail >= _TEMPLATE_DETAIL:
        return True
    return agreed.noise <= _CLOSE_NOISE and agreed.changed <= _REGISTERED


def _frames(a: Picture, b: Picture) -> tuple[Evidence | None, float]:
    """Lay frame on frame in the likeliest of the eight ways."""
    alike = a.frames[0] @ b.frames.T
    way = int(alike.argmax())
    correlation = float(alike[way])
    if correlation < _ALIKE_FRAMES:
        return None, correlation
    # The frame of b was laid on a's: the way back is the transform from a to b.
    start = geometry.FRAMES[way]
    _, still = geometry.refine(a.square(CLOSE), b.square(CLOSE), start, 6, 0)
    seen = None
    if still > (_STILL_PAGES if a.is_page and b.is_page else _STILL):
        seen = _compared(a, b, start, "frames", correlation)
        if seen is not None and seen.agreement.changed <= _CLEAN:
            return seen, correlation
    transform = start
    for side, iterations in ((COARSE, 5), (MIDDLE, 5), (CLOSE, 2)):
        transform, close = geometry.refine(a.square(side), b.square(side), transform, 6, iterations)
    if 1 - close > (1 - still) * (1 - _WORTH_MOVING):
        if seen is not None:
            return seen, correlation
        transform = start
    if min(geometry.overlap(transform)) < _COVERED:
        return None, correlation
    return _compared(a, b, transform, "frames", correlation), correlation


def _cropped(a: Picture, b: Picture, correlation: float) -> Evidence | None:
    """What is seen of two of which one is plainly a crop of the other."""
    transform = crop(a, b)
    if transform is None:
        return None
    for side in _CROP_SIDES:
        transform = _closer(a.grey, b.grey, transform, _STEPS[:1], side)
    seen = _compared(a, b, transform, "frames", correlation)
    if seen is None:
        return None
    least, most = sorted((seen.overlap_a, seen.overlap_b))
    agrees = seen.agreement.changed == 0 and seen.agreement.detail >= _CROP_DETAIL
    return seen if agrees and least >= _CROP_WHOLE and most >= _CROP_PART else None


def _features(a: Picture, b: Picture, correlation: float) -> Evidence | None:
    found = fit(a.features, b.features)
    if found is None:
        return None
    (high_a, wide_a), (high_b, wide_b) = a.features.shape, b.features.shape
    transform = (
        geometry.pixels_to_shares(wide_b, high_b)
        @ found.transform
        @ geometry.shares_to_pixels(wide_a, high_a)
    )
    transform = transform / transform[2, 2]
    if not geometry.is_sound(transform):
        return None
    steps = _STEPS if found.inliers >= 8 else _STEPS[:1]
    transform = _closer(a.grey, b.grey, transform, steps, CLOSE)
    return _compared(a, b, transform, "features", correlation, found.inliers, found.matches)


def _closer(
    a: Array, b: Array, transform: Array, steps: Sequence[tuple[int, int]], most: int
) -> Array:
    """Refine a transform on the pixels of what both show.

    Args:
        a, b: uint8 (height, width).
        steps: degrees of freedom and iterations, one after the other as long as it helps.
        most: short side, in pixels, of the grid at most.
    """
    pair = align(a[..., None], b[..., None], transform, most=most)
    if pair is None:
        return transform
    cut = pair.cut
    fixed, moving = (pair.b, pair.a) if pair.swapped else (pair.a, pair.b)
    fixed = cv2.GaussianBlur(fixed.reshape(fixed.shape[:2]).astype(np.float32), (0, 0), 1.0)
    moving = cv2.GaussianBlur(moving.reshape(moving.shape[:2]).astype(np.float32), (0, 0), 1.0)
    # What was warped once lies on the same grid: what remains is a small transform of the cut.
    rest, before = geometry.refine(fixed, moving, np.eye(3), 6, 0, mask=pair.inside)
    best = rest
    for freedom, iterations in steps:
        rest, after = geometry.refine(fixed, moving, best, freedom, iterations, mask=pair.inside)
        if after <= before:
            break
        best, before = rest, after
    to_other = geometry.inverse(transform) if pair.swapped else transform
    refined = to_other @ cut @ best @ np.linalg.inv(cut)
    refined = refined / refined[2, 2]
    refined = geometry.inverse(refined) if pair.swapped else refined
    return refined if geometry.is_sound(refined) else transform


def _shrunk(a: Picture, b: Picture, overlap_a: float, overlap_b: float, pair: Aligned) -> float:
    finest = max(overlap_a * (a.width * a.height), overlap_b * (b.width * b.height))
    return math.sqrt(finest / max(1, cv2.countNonZero(pair.inside)))


def _finer(a: Picture, b: Picture, transform: Array, pair: Aligned) -> tuple[Array, Aligned]:
    """The same at the size of the finer pictures: theirs is the look that counts."""
    assert a.fine is not None
    assert b.fine is not None
    if min(geometry.overlap(transform)) > _UNMOVED:
        squares = a.fine_square, b.fine_square
        _, still = geometry.refine(*squares, transform, 6, 0)
        if still < _STILL_FINE:
            closer, close = geometry.refine(*squares, transform, 6, 3)
            if 1 - close < (1 - still) * (1 - _WORTH_MOVING):
                transform = np.round(closer, _DECIMALS)
    else:
        # What is half a pixel of thumbnails is more than one of theirs.
        closer = _closer(a.fine, b.fine, transform, _FINER_STEPS, _FINEST)
        transform = np.round(closer, _DECIMALS)
    return transform, align(a.fine[..., None], b.fine[..., None], transform, most=_FINEST) or pair


def differing(a: Picture, b: Picture, transform: Array) -> tuple[Aligned, Array] | None:
    """Two pictures laid on each other as a look lays them, and where they disagree.

    Returns:
        the pair, and uint8 of its grid, 255 where it disagrees; None where too little overlaps.
    """
    pair = align(a.pixels, b.pixels, transform)
    if pair is None:
        return None
    page = a.is_page and b.is_page
    seen, differs = agreement(pair, page)
    if seen.changed <= _CLEAN and a.fine is not None and b.fine is not None:
        pair = align(a.fine[..., None], b.fine[..., None], transform, most=_FINEST) or pair
        _, differs = agreement(pair, page)
    return pair, differs


def _compared(
    a: Picture,
    b: Picture,
    transform: Array,
    way: str,
    correlation: float,
    inliers: int = 0,
    matches: int = 0,
) -> Evidence | None:
    transform = np.round(transform, _DECIMALS)
    page = a.is_page and b.is_page
    pair = align(a.grey[..., None], b.grey[..., None], transform)
    if pair is None:
        return None
    found = agreement_as_is(pair, page)
    if found is None:  # colours are asked only now
        pair = align(a.pixels, b.pixels, transform) or pair
        found = agreement(pair, page)
    seen, _ = found
    if seen.changed <= _CLEAN and a.fine is not None and b.fine is not None:
        transform, pair = _finer(a, b, transform, pair)
        seen, _ = agreement(pair, page)
    if pair.swapped:
        there = geometry.turned_place(seen.place, geometry.inverse(transform))
        seen = replace(seen, place=there)
    overlap_a, overlap_b = geometry.overlap(transform)
    seam_a = seam_b = 0.0
    if seen.changed < _REGISTERED and min(overlap_a, overlap_b) < _WHOLE:
        seam_a = seams(b.grey, transform)
        seam_b = seams(a.grey, geometry.inverse(transform))
    return Evidence(
        way=way,
        transform=transform,
        overlap_a=overlap_a,
        overlap_b=overlap_b,
        agreement=seen,
        inliers=inliers,
        matches=matches,
        seam_a=seam_a,
        seam_b=seam_b,
        frame_correlation=correlation,
        blank=min(a.contrast, b.contrast) < _BLANK,
        pages=page,
        shrunk=_shrunk(a, b, overlap_a, overlap_b, pair),
        fine_print=page and (a.has_fine_print or b.has_fine_print),
    )
