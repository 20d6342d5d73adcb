"""Local features, and the transform that most of them agree on.

SIFT (Lowe, 2004) on the grey picture, as RootSIFT (Arandjelović and Zisserman, 2012). Each match
is a hypothesis by itself, since a feature has a place, a size and a direction (Philbin et al.,
"fast spatial matching", 2007): all are tried, so nothing is drawn at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from idedup_tasks.verification.geometry import product

Array = np.ndarray[Any, Any]

#: Most features of a picture, the strongest of them.
MOST = 500
_CONTRAST = 0.02
# Pixels that a picture is shrunk to: they cost what there are of them, and find as many copies.
_AREA = 36_000
# Matches whose second-best is not farther than this many times the best say nothing.
_RATIO = 0.88
_MOST_MATCHES = 160
# Matches, the best of them, that are tried as hypotheses.
_HYPOTHESES = 64
# So many inliers, and the mirrored picture is not asked for.
_ENOUGH = 15
# Hypotheses that are refined, and the distances within which a match agrees as that goes on, in
# pixels of the second picture.
_REFINED = 4
_LOOSE, _STEPS = 14.0, (9.0, 6.0, 4.0, 3.0)


@dataclass(frozen=True)
class Features:
    """n local features.

    points: float32 (n, 2), pixels. sizes: float32 (n,), pixels. angles: float32 (n,), radians.
    descriptors: float32 (n, 128), unit vectors. shape: (height, width) of the picture as it was
    searched, whose pixels these are.
    """

    points: Array
    sizes: Array
    angles: Array
    descriptors: Array
    shape: tuple[int, int]

    @classmethod
    def of(cls, grey: Array) -> Features:
        """Find the features of an uint8 (height, width) picture."""
        sift = cv2.SIFT.create(nfeatures=MOST, contrastThreshold=_CONTRAST)
        height, width = grey.shape
        shrink = math.sqrt(_AREA / (height * width))
        if shrink < 1:
            size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        found, descriptors = sift.detectAndCompute(grey, None)
        count = len(found)
        if count == 0 or descriptors is None:
            descriptors = np.zeros((0, 128), np.float32)
        roots = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-6))
        return cls(
            points=np.array([k.pt for k in found], np.float32).reshape(count, 2),
            sizes=np.array([k.size for k in found], np.float32),
            angles=np.radians(np.array([k.angle for k in found], np.float32)),
            descriptors=roots.astype(np.float32),
            shape=(int(grey.shape[0]), int(grey.shape[1])),
        )

    @cached_property
    def same_place(self) -> Array:
        """(n, n) bool: features within five pixels of each other, which are no rivals."""
        x, y = self.points.T
        return np.asarray((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 < np.float32(25))

    @cached_property
    def mirrored(self) -> Array:
        """(n, 128): the descriptors that the mirrored picture has at the same places."""
        cells = self.descriptors.reshape(-1, 4, 4, 8)[:, ::-1]
        return cells[..., (-np.arange(8)) % 8].reshape(-1, 128)


@dataclass(frozen=True)
class Fit:
    """What the features agree on.

    transform: (3, 3), pixel coordinates of the first picture to those of the second. inliers:
    matches that agree, at most one a place. matches: all that were found.
    """

    transform: Array
    inliers: int
    matches: int


def fit(a: Features, b: Features) -> Fit | None:
    """The transform on which most matches agree, mirrored or not; None where fewer than 4 do."""
    if min(len(a.points), len(b.points)) < 4:
        return None
    upright = _fit(a, b, mirrored=False)
    if upright is not None and upright.inliers >= _ENOUGH:
        return upright
    mirrored = _fit(a, b, mirrored=True)
    if upright is None or (mirrored is not None and mirrored.inliers > upright.inliers):
        return mirrored
    return upright


def _fit(a: Features, b: Features, mirrored: bool) -> Fit | None:
    own = a.mirrored if mirrored else a.descriptors
    similar = product(own, b.descriptors, cv2.GEMM_2_T)
    rows, columns = _matches(similar, b)
    if len(rows) < 4:
        return None
    p, q = a.points[rows].astype(np.float64), b.points[columns].astype(np.float64)
    scale = (b.sizes[columns] / a.sizes[rows]).astype(np.float64)
    angles = -a.angles[rows] if mirrored else a.angles[rows]
    turn = (b.angles[columns] - angles).astype(np.float64)
    flip = np.diag([1.0, -1.0]) if mirrored else np.eye(2)
    few = slice(_HYPOTHESES)
    cos, sin = scale[few] * np.cos(turn[few]), scale[few] * np.sin(turn[few])
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2) @ flip
    moved = linear @ p.T  # (hypotheses, 2, matches)
    moved += (q[few] - np.einsum("hij,hj->hi", linear, p[few]))[..., None] - q.T
    near = (moved**2).sum(1) < _LOOSE**2
    size = np.log(scale)
    near &= np.abs(size[few, None] - size) < 0.5
    near &= np.abs((turn[few, None] - turn + np.pi) % (2 * np.pi) - np.pi) < 0.5
    votes = near.sum(1)
    order = np.argsort(-votes, kind="stable")[:_REFINED]
    best: tuple[int, Array, Array] | None = None
    for hypothesis in order:
        if votes[hypothesis] < 3 or (best is not None and votes[hypothesis] < best[0] / 2):
            break
        refined = _refined(p, q, near[hypothesis], mirrored)
        if refined is not None and (best is None or refined[0] > best[0]):
            best = refined
    if best is None or best[0] < 4:
        return None
    return Fit(best[1], best[0], len(rows))


def _matches(similar: Array, b: Features) -> tuple[Array, Array]:
    """Rows and columns of the best matches, by how much they stand out."""
    best = similar.argmax(1)
    rows = np.arange(len(best))
    top = similar[rows, best]
    # A second feature at the same place (another direction or size) is no rival.
    second = np.where(b.same_place[best], np.float32(-1), similar).max(1)
    distance = np.sqrt(np.maximum(2 - 2 * top, 0))
    ratio = distance / np.maximum(np.sqrt(np.maximum(2 - 2 * second, 0)), 1e-6)
    kept = np.flatnonzero(ratio < _RATIO)
    kept = kept[np.argsort(ratio[kept], kind="stable")][:_MOST_MATCHES]
    return kept, best[kept]


def _refined(p: Array, q: Array, near: Array, mirrored: bool) -> tuple[int, Array, Array] | None:
    """Fit, take what agrees with the fit, and fit again, ever closer."""
    transform: Array | None = None
    for distance in _STEPS:
        if near.sum() < 3:
            return None
        transform = _least_squares(p[near], q[near], mirrored)
        if transform is None:
            return None
        there = p @ transform[:2, :2].T + transform[:2, 2]
        # Where the second picture is shown larger, a pixel of the first is more than one there.
        zoom = max(1.0, float(np.sqrt(abs(np.linalg.det(transform[:2, :2])))))
        near = ((there - q) ** 2).sum(1) < (distance * zoom) ** 2
    places = min(_places(p[near]), _places(q[near]))
    assert transform is not None
    return places, transform, near


def _places(points: Array) -> int:
    """Points that are not the same place, to three pixels."""
    cells = np.round(points / 3).astype(np.int64)
    return len(set((cells[:, 0] * 65_536 + cells[:, 1]).tolist()))


def _least_squares(p: Array, q: Array, mirrored: bool) -> Array | None:
    """An affine transform from at least 6 places, a similarity from fewer; None if degenerate."""
    centre_p, centre_q = p.mean(0), q.mean(0)
    x, y = p - centre_p, q - centre_q
    if _places(p) >= 6:
        spread = x.T @ x
        values = np.linalg.eigvalsh(spread / len(x))
        if values[0] < 4.0:
            return None
        linear = np.linalg.solve(spread, x.T @ y).T
    else:
        total = float((x**2).sum())
        if total < 4.0 * len(x):
            return None
        flip = np.array([1.0, -1.0]) if mirrored else np.array([1.0, 1.0])
        x = x * flip
        c = float((x * y).sum()) / total
        s = float((x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum()) / total
        linear = np.array([[c, -s], [s, c]]) * flip
    stretch = np.linalg.svd(linear, compute_uv=False)
    if stretch[1] < 0.05 or stretch[0] > 20 or stretch[0] > 2.6 * stretch[1]:
        return None
    transform = np.eye(3)
    transform[:2, :2] = linear
    transform[:2, 2] = centre_q - linear @ centre_p
    return transform
