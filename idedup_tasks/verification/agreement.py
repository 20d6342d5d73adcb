"""How much of what two aligned pictures show agrees, pixel by pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from idedup_tasks.verification.geometry import (
    inverse,
    middle,
    pixels_to_shares,
    place,
    product,
    shares_to_pixels,
)

Array = np.ndarray[Any, Any]

# Levels by which smoothed pixels may differ, besides what noise and registration explain.
# First of photographs, then of page-like pictures: those have no noise, and one digit matters.
_TOLERANCE = (12.0, 8.0)
# Added to it: so many times the spread of the differences, which counts at most so many levels.
_NOISE, MOST_NOISE = 3.0, 12.0
# Share of a pixel by which the registration may be off: so much of the local slope is forgiven.
_OFF = (0.5, 0.35)
# Blur, in pixels, before pixels are compared: strokes of letters stay, single pixels do not.
_SMOOTH = 1.0
# Side of the windows whose range of levels tells structure.
_STRUCTURE = 7
# Windows, in pixels of half the size, in which structure of more than so many levels correlates, or
# does not if it stays below the first number; from the second on it is the same structure.
_WINDOW, _FAINT, _LIKE, _ALIKE = 7, 3.0, 0.35, 0.7
# A region of at least so many pixels, of which at most such a share is not the same, differs in
# tone, if it exceeds the tolerance by so many tolerances at most.
_TONED_AREA, _TONED, _TONED_EXCESS = 30, 0.02, 1.5
# Sum of excess, in tolerances, from which a connected region counts; so many times as much as the
# grid is finer than a thumbnail. Of photographs, then of page-like pictures.
_SPECK, _THUMBNAIL = (3.0, 1.5), 256
# Mean difference in levels below which two pictures are first compared as they are.
_AS_THEY_ARE = 6.0
# Correlation of shrunk pictures below which no curve explains one by the other.
_EXPLAINED = 0.3
# Knots of a curve of levels, and the pixels of the shrunk pictures that it is fitted to at least.
_KNOTS, _FEW_SAMPLES = 6, 16
_BLURS = (0.5, 0.8, 1.2, 1.6, 2.1, 2.7, 3.4, 4.2, 5.2, 6.5)
# Where one picture goes on and the other ends, what lies beyond shows through in so many pixels at
# most (shrinking, smoothing, half a pixel of registration); at most such a share of the short side.
_RIM, _RIM_SHARE = 3, 1 / 16
_NEAR = np.ones((3, 3), np.uint8)
_SAMPLE = 20_000
_LUMINANCE = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Aligned:
    """Two pictures on one grid: that of the coarser one, cut to what both show.

    a, b: uint8 (height, width, channels). inside: uint8, 255 where both show something. swapped:
    whether the grid is b's. box: (left, top, right, bottom) of the cut, in pixels of `size`, the
    whole grid's (width, height).
    """

    a: Array
    b: Array
    inside: Array
    swapped: bool
    box: tuple[int, int, int, int]
    size: tuple[int, int]

    @property
    def cut(self) -> Array:
        """(3, 3): from shares of the cut to shares of the picture whose grid it is."""
        left, top, right, bottom = self.box
        wide, high = self.size
        return np.array(
            [
                [(right - left) / wide, 0, left / wide],
                [0, (bottom - top) / high, top / high],
                [0, 0, 1.0],
            ]
        )


@dataclass(frozen=True)
class Agreement:
    """What was seen where two pictures lie on each other.

    changed: disagreeing informative area over informative area. strongest: the largest sum of
    what exceeds the tolerance, in tolerances, over a connected region. area: pixels of the largest
    such region. structure: share of the grid that is informative. correlation: of the two, after
    levels and blur were matched. detail: the same of structure from about 2 to 8 pixels, outside of
    what disagrees: near 1 in copies, lower in other shots of one thing, whatever they agree in at
    large. unlike: share of the structured area whose structure does not correlate, in windows of
    some 16 pixels: what was put over a copy, or most of another shot. blur: deviation in pixels of
    the blur that the first (negative) or second picture (positive) needed to become as soft as the
    other. noise, contrast: levels. side: short side of the grid. place: where on the grid most of
    what disagrees lies, see `geometry.place`. added: by how much more of the fine structure there
    one of the two has, 0 to 1: letters on a plain ground 1, other letters in their place near 0.
    """

    changed: float
    strongest: float
    area: int
    structure: float
    correlation: float
    detail: float
    unlike: float
    blur: float
    noise: float
    contrast: float
    side: int
    place: str = ""
    added: float = 0.0


NOTHING = Agreement(1.0, 1e6, 0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0)


def align(a: Array, b: Array, transform: Array, most: int = 256) -> Aligned | None:
    """Bring two pictures onto the grid of the one that is coarser where they overlap.

    Args:
        a, b: uint8 (height, width, channels).
        transform: a to b, in shares.
        most: largest short side of the grid, in pixels.

    Returns:
        None where less than 8 x 8 pixels overlap.
    """
    swapped = _density(a, b, transform) < 1
    fixed, moving = (b, a) if swapped else (a, b)
    to_moving = inverse(transform) if swapped else transform
    height, width = fixed.shape[:2]
    shrink = min(1.0, most / min(height, width))
    if shrink < 1:
        width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
        fixed = cv2.resize(fixed, (width, height), interpolation=cv2.INTER_AREA)
    back = transform if swapped else inverse(transform)
    corners = np.array([[0.0, 0.0, 1], [1.0, 0, 1], [1, 1, 1], [0, 1, 1]]) @ back.T
    corners = corners[:, :2] / corners[:, 2:]
    low = np.clip(np.floor(corners.min(0) * (width, height) + 0.01), 0, (width, height))
    high = np.clip(np.ceil(corners.max(0) * (width, height) - 0.01), 0, (width, height))
    left, top, right, bottom = (int(v) for v in (*low, *high))
    if right - left < 8 or bottom - top < 8:
        return None
    # The finer picture is shrunk, along each axis, to about the grid's density: no aliasing.
    middle = np.array([(left + right) / 2 / width, (top + bottom) / 2 / height])
    per = np.linalg.inv(_jacobian(to_moving, middle)) * np.array([[width], [height]])
    size = tuple(
        min(have, max(4, round(float(np.hypot(*per[:, axis])))))
        for axis, have in enumerate((moving.shape[1], moving.shape[0]))
    )
    if size != (moving.shape[1], moving.shape[0]):
        moving = cv2.resize(moving, size, interpolation=cv2.INTER_AREA)
    to_pixels = shares_to_pixels(*size) @ to_moving @ pixels_to_shares(width, height)
    matrix = to_pixels @ np.array([[1.0, 0, left], [0, 1.0, top], [0, 0, 1.0]])
    grid = (right - left, bottom - top)
    part = np.ascontiguousarray(fixed[top:bottom, left:right])
    if np.allclose(matrix, np.eye(3), atol=0.02) and grid == size:
        warped, inside = moving, np.full(grid[::-1], 255, np.uint8)
    else:
        way = cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(
            moving, matrix, grid, flags=cv2.INTER_CUBIC | way, borderMode=cv2.BORDER_REPLICATE
        )
        inside = cv2.warpPerspective(
            np.full(moving.shape[:2], 255, np.uint8), matrix, grid, flags=cv2.INTER_NEAREST | way
        )
        inside = cv2.erode(inside, _NEAR, borderType=cv2.BORDER_CONSTANT, borderValue=255)
        rim = min(_RIM, int(min(grid) * _RIM_SHARE))
        ends = (corners.min(0), corners.max(0) - 1) * np.array([width, height])
        for axis, (first, last) in enumerate(np.abs(ends).T > 0.75):
            lines = inside if axis else inside.T
            lines[: rim * first] = 0
            lines[len(lines) - rim * last :] = 0
    return Aligned(
        a=warped if swapped else part,
        b=part if swapped else warped,
        inside=inside,
        swapped=swapped,
        box=(left, top, right, bottom),
        size=(width, height),
    )


def _jacobian(transform: Array, at: Array) -> Array:
    bottom = transform[2] @ [*at, 1.0]
    there = transform[:2] @ [*at, 1.0] / bottom
    return np.asarray((transform[:2, :2] - np.outer(there, transform[2, :2])) / bottom)


def _density(a: Array, b: Array, transform: Array) -> float:
    """Pixels of b that lie on a pixel of a, in the middle of what both show."""
    centre = np.array([0.5, 0.5])
    there = transform @ [0.5, 0.5, 1.0]
    if not (there[:2] / there[2] >= 0).all() or not (there[:2] / there[2] <= 1).all():
        back = inverse(transform) @ [0.5, 0.5, 1.0]
        centre = np.clip(back[:2] / back[2], 0.0, 1.0)
    scale = abs(float(np.linalg.det(_jacobian(transform, centre))))
    return float(scale * (b.shape[0] * b.shape[1]) / (a.shape[0] * a.shape[1]))


def agreement(pair: Aligned, page: bool = False) -> tuple[Agreement, Array]:
    """Compare two aligned pictures; as pages, more strictly, where both are page-like.

    Returns:
        what was seen, and uint8 (height, width) of the grid, 255 where they disagree.
    """
    as_is = agreement_as_is(pair, page)
    if as_is is not None:
        return as_is
    inside = pair.inside > 0
    a, b, explained = _same_levels(pair)
    a, b, blur = _same_blur(a, b, inside)
    seen, shown = _compared(a, b, pair.inside, blur, page)
    return seen if explained >= _EXPLAINED else replace(seen, changed=1.0), shown


def agreement_as_is(pair: Aligned, page: bool = False) -> tuple[Agreement, Array] | None:
    """The same of two that agree as they are: most copies do, and nothing is to be matched.

    Returns:
        None where they do not: they may still agree in levels and blur of one of them.
    """
    a, b = _grey(pair.a), _grey(pair.b)
    if _apart(a.astype(np.float32), b.astype(np.float32), pair.inside > 0) >= _AS_THEY_ARE:
        return None
    seen, shown = _compared(a, b, pair.inside, 0.0, page)
    return (seen, shown) if seen.changed == 0 else None


def _compared(a: Array, b: Array, mask: Array, blur: float, page: bool) -> tuple[Agreement, Array]:
    """Compare two grey pictures, uint8 or float32, of one brightness and blur."""
    inside = mask > 0
    slope = cv2.min(_slope(a), _slope(b))
    structure = _range(a, b)
    slope, a, b = (p.astype(np.float32, copy=False) for p in (slope, a, b))
    difference = cv2.GaussianBlur(a - b, (5, 5), _SMOOTH)
    noise = min(_spread_of(difference, inside), MOST_NOISE)
    tolerance = _TOLERANCE[page] + _NOISE * noise
    slope = cv2.blur(slope, (3, 3))
    excess = np.abs(difference) - np.float32(_OFF[page]) * slope - np.float32(tolerance)
    excess[~inside] = 0
    excess = np.maximum(excess, 0) / np.float32(tolerance)

    half = (max(1, a.shape[1] // 2), max(1, a.shape[0] // 2))
    band_a, band_b = _band(a, half), _band(b, half)
    within = _shrunk(mask, half)
    structured, similar = _structure(band_a, band_b, within, noise)
    apart = structured & (similar < _LIKE)
    speck = _SPECK[page] * max(1.0, min(a.shape) / _THUMBNAIL)
    toned = None if page else (structured, structured & (similar < _ALIKE))
    disagrees, strongest, area = _regions(excess, speck, toned)

    informative = ((structure > tolerance) & inside) | (disagrees > 0)
    shown = cv2.dilate(disagrees, _NEAR)
    changed = float(((shown > 0) & informative).sum() / max(1, informative.sum()))
    return (
        Agreement(
            changed=changed,
            strongest=strongest,
            area=area,
            structure=float(informative.sum() / max(1, inside.sum())),
            correlation=_correlation(a[::2, ::2], b[::2, ::2], inside[::2, ::2]),
            detail=_correlation(band_a, band_b, within & ~_shrunk(shown, half)),
            unlike=float(apart.sum() / max(1, structured.sum())),
            blur=blur,
            noise=noise,
            contrast=min(float(cv2.meanStdDev(p, mask=mask)[1][0, 0]) for p in (a, b)),
            side=min(a.shape),
            place=place(shown),
            added=_added(band_a, band_b, within & _shrunk(shown, half)),
        ),
        shown * 255,
    )


def _regions(
    excess: Array, speck: float, toned: tuple[Array, Array] | None
) -> tuple[Array, float, int]:
    """What disagrees, uint8; the largest sum of excess over a connected region, and its pixels.

    Regions of a smaller sum than `speck` do not count. Nor does one of some size in which all
    structure correlates: there, one curve for the whole picture was too little (clipped colours, a
    filter). `toned`: at half the size, where there is structure, and where it does not correlate.
    """
    disagrees = (excess > 0).astype(np.uint8)
    count, labels = cv2.connectedComponents(disagrees, connectivity=8)
    if count == 1:
        return disagrees, 0.0, 0
    flat = labels.ravel()
    areas = np.bincount(flat, minlength=count)
    sums = np.bincount(flat, excess.ravel(), minlength=count)
    left_out = sums < speck
    if toned is not None:
        structured, apart = toned
        size = structured.shape[::-1]
        own = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
        near = own.astype(np.int64).ravel()
        seen = np.bincount(near, structured.ravel(), minlength=count)
        unlike = np.bincount(near, apart.ravel(), minlength=count)
        weak = sums <= _TONED_EXCESS * areas
        left_out |= (areas >= _TONED_AREA) & weak & (unlike <= _TONED * seen)
    left_out[0] = True  # all that agrees
    areas[left_out] = sums[left_out] = 0
    disagrees = (~left_out)[labels].astype(np.uint8)
    return disagrees, float(sums.max()), int(areas.max())


def _range(a: Array, b: Array) -> Array:
    """Levels between the darkest and the lightest near a pixel, in either picture."""
    window = np.ones((_STRUCTURE, _STRUCTURE), np.uint8)
    ranges = [cv2.subtract(cv2.dilate(p, window), cv2.erode(p, window)) for p in (a, b)]
    return np.asarray(cv2.max(*ranges))


def _shrunk(mask: Array, size: tuple[int, int]) -> Array:
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0)


def _spread_of(difference: Array, inside: Array) -> float:
    """Robust deviation, from some `_SAMPLE` pixels in even rows and columns."""
    step = max(1, round(math.sqrt(inside.size / _SAMPLE)))
    values = np.abs(difference[::step, ::step][inside[::step, ::step]])
    return 1.4826 * middle(values) if values.size else 0.0


def _slope(picture: Array) -> Array:
    """The most by which a neighbouring pixel differs."""
    return np.asarray(
        cv2.max(
            cv2.subtract(cv2.dilate(picture, _NEAR), picture),
            cv2.subtract(picture, cv2.erode(picture, _NEAR)),
        )
    )


def _band(picture: Array, size: tuple[int, int]) -> Array:
    """Structure of a few pixels, neither noise nor light, of the picture at half its size."""
    half = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(half, (3, 3), 0.6) - cv2.blur(half, (5, 5)))


def _structure(a: Array, b: Array, inside: Array, noise: float) -> tuple[Array, Array]:
    """Where bands have structure, bool, and how they correlate around each place, float32."""
    window = (_WINDOW, _WINDOW)
    energy_a, energy_b = cv2.blur(a * a, window), cv2.blur(b * b, window)
    structured = (cv2.max(energy_a, energy_b) > np.float32(_FAINT**2 + noise**2)) & inside
    return structured, cv2.blur(a * b, window) / (cv2.sqrt(energy_a * energy_b) + 1e-3)


def _added(a: Array, b: Array, where: Array) -> float:
    """How one-sided the structure of two bands is there."""
    energy_a, energy_b = (float(np.square(band[where]).sum()) for band in (a, b))
    return abs(energy_a - energy_b) / max(energy_a + energy_b, 1.0)


def _correlation(a: Array, b: Array, inside: Array) -> float:
    x, y = a[inside], b[inside]
    if x.size < 16:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    # No `@` on so many numbers, see `geometry.product`.
    norm = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / norm if norm > 1e-3 * x.size else 0.0


def _same_levels(pair: Aligned) -> tuple[Array, Array, float]:
    """Grey pictures with one brightness, contrast and gamma, and how well one explains the other.

    A curve of the grey level and two weights of colour turn one into the other: a least-squares
    fit on the shrunk pictures, in which what disagrees has no say (Tukey's weights).
    """
    height, width = pair.a.shape[:2]
    shrink = max(1.0, min(height, width) / 36)
    size = (max(4, round(width / shrink)), max(4, round(height / shrink)))
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (pair.a, pair.b)]
    samples = [s.reshape(-1, s.shape[2] if s.ndim == 3 else 1) for s in small]
    if cv2.countNonZero(pair.inside) < pair.inside.size:
        where = cv2.resize(pair.inside, size, interpolation=cv2.INTER_AREA).ravel() > 200
        if where.sum() < _FEW_SAMPLES:  # a sliver: nothing can be fitted to it
            return _grey(pair.a).astype(np.float32), _grey(pair.b).astype(np.float32), 0.0
        samples = [s[where] for s in samples]
    # What is clipped in one is still there in the other: the curve goes that way only.
    clipped = [float(((s <= 3) | (s >= 252)).mean()) for s in samples]
    forward = clipped[1] > clipped[0] + 0.002  # a curve from a to b
    source, target = (0, 1) if forward else (1, 0)
    curve, colour, explained = _curve(samples[source], samples[target])
    given, wanted = (pair.a, pair.b) if forward else (pair.b, pair.a)
    mapped = _mapped(given, curve, colour)
    other = _grey(wanted).astype(np.float32)
    return (mapped, other, explained) if forward else (other, mapped, explained)


def _grey(picture: Array) -> Array:
    if picture.ndim == 2 or picture.shape[2] == 1:
        return picture.reshape(picture.shape[:2])
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def _curve(source: Array, target: Array) -> tuple[Array, Array, float]:
    """Levels of the target at `_KNOTS` levels of the source, weights of red and blue less grey."""
    source, target = source.astype(np.float64), target.astype(np.float64)
    coloured = source.shape[1] == 3
    grey = source @ _LUMINANCE if coloured else source[:, 0]
    wanted = target @ _LUMINANCE if target.shape[1] == 3 else target[:, 0]
    knots = np.linspace(0, 255, _KNOTS)
    design = np.maximum(0, 1 - np.abs(grey[:, None] - knots) / (knots[1] - knots[0]))
    if coloured:
        design = np.column_stack([design, source[:, 0] - grey, source[:, 2] - grey])
    count, parameters = design.shape
    bend = np.zeros((_KNOTS - 2, parameters))
    for row in range(_KNOTS - 2):
        bend[row, row : row + 3] = (1, -2, 1)
    penalty = bend.T @ bend * 0.01 + np.diag([1e-6] * _KNOTS + [20.0] * (parameters - _KNOTS))
    weights = np.ones(count)
    solution, fitted = np.zeros(parameters), np.zeros(count)
    for _ in range(4):
        weighted = design * weights[:, None]
        normal = product(weighted, design, cv2.GEMM_1_T) + penalty * count
        given = product(weighted, wanted[:, None], cv2.GEMM_1_T)
        solution = np.linalg.solve(normal, given.ravel())
        fitted = (design * solution).sum(1)
        residual = wanted - fitted
        spread = max(1.4826 * middle(np.abs(residual)), 3.0)
        weights = np.clip(1 - (residual / (4 * spread)) ** 2, 0, None) ** 2
    explained = _weighted_correlation(fitted, wanted, weights)
    # A fit to what differs flattens the contrast; undone, the differences are seen.
    curve = solution[:_KNOTS]
    mean = float((fitted * weights).sum() / max(weights.sum(), 1e-9))
    if explained > _EXPLAINED:
        curve = mean + (curve - mean) / explained
    else:
        curve = float(wanted.mean()) + (knots - grey.mean()) * float(
            wanted.std() / max(grey.std(), 1.0)
        )
    return curve, solution[_KNOTS:], explained


def _weighted_correlation(x: Array, y: Array, weights: Array) -> float:
    total = max(float(weights.sum()), 1e-9)
    x = x - (x * weights).sum() / total
    y = y - (y * weights).sum() / total
    below = float(np.sqrt((weights * x * x).sum() * (weights * y * y).sum()))
    return max(float((weights * x * y).sum()) / below, 0.0) if below > 1e-6 else 0.0


def _mapped(picture: Array, curve: Array, colour: Array) -> Array:
    """float32: a picture's grey levels through a curve, and its colours."""
    levels = np.interp(np.arange(256), np.linspace(0, 255, _KNOTS), curve).astype(np.float32)
    mapped = levels[_grey(picture)]
    if len(colour) and float(np.abs(colour).max()) > 0.01:
        red, blue = colour
        row = np.array([red, 0, blue]) - (red + blue) * _LUMINANCE
        mapped = mapped + cv2.transform(picture, row[None].astype(np.float32)).astype(np.float32)
    return np.asarray(mapped)


def _same_blur(a: Array, b: Array, inside: Array) -> tuple[Array, Array, float]:
    """Blur the sharper picture until both agree best; by how much, negative where it was a."""
    energy_a, energy_b = _energy(a, inside), _energy(b, inside)
    if max(energy_a, energy_b) < 1.15 * (min(energy_a, energy_b) + 0.05):
        return a, b, 0.0
    sharp, soft = (a, b) if energy_a > energy_b else (b, a)
    best, blur, found = _apart(sharp, soft, inside), 0.0, sharp
    for deviation in _BLURS:
        softer = cv2.GaussianBlur(sharp, (0, 0), deviation)
        apart = _apart(softer, soft, inside)
        if apart >= best:
            break
        best, blur, found = apart, deviation, softer
    return (found, b, -blur) if energy_a > energy_b else (a, found, blur)


def _energy(picture: Array, inside: Array) -> float:
    """Mean square of the slope."""
    across = picture[::2, 1:] - picture[::2, :-1]
    down = picture[1:, ::2] - picture[:-1, ::2]
    within = inside[::2, 1:] & inside[::2, :-1], inside[1:, ::2] & inside[:-1, ::2]
    parts = [
        float(np.mean(d[w] ** 2)) if w.any() else 0.0
        for d, w in zip((across, down), within, strict=True)
    ]
    return sum(parts) / 4


def _apart(a: Array, b: Array, inside: Array) -> float:
    """Mean difference in levels, large ones cut."""
    values = np.abs(a[::2] - b[::2])[inside[::2]]
    return float(np.minimum(values, 60).mean()) if values.size else 0.0
