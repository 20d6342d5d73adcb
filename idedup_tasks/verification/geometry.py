"""Where one picture lies on another: transforms in shares of width and height, and their refining.

A transform is a 3 x 3 homography, float64, that takes a point of the first picture to the second,
both in shares: (0, 0) is the upper left corner of a picture, (1, 1) the lower right one. It is
scaled so that its last entry is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]

#: The eight ways to lay a frame on a frame: mirrored or not, turned by quarters.
FRAMES: tuple[Array, ...] = tuple(
    np.array([[a, b, (1 - a - b) / 2], [c, d, (1 - c - d) / 2], [0.0, 0.0, 1.0]])
    for a, b, c, d in (
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, 1, -1, 0),
        (0, -1, 1, 0),
        (0, -1, -1, 0),
    )
)

#: Where something lies, in words; by rows, from the top.
_PLACES = (
    ("top left", "top", "top right"),
    ("left", "middle", "right"),
    ("bottom left", "bottom", "bottom right"),
)
#: What lies in no third of a height and in no third of a width by more than half.
_SPREAD = "all over"

_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def shares_to_pixels(width: int, height: int) -> Array:
    """(3, 3): from shares to the coordinates of pixel centres."""
    return np.array([[width, 0, -0.5], [0, height, -0.5], [0, 0, 1.0]])


def pixels_to_shares(width: int, height: int) -> Array:
    """(3, 3): the other way."""
    return np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1.0]])


def product(a: Array, b: Array, turned: int = 0) -> Array:
    """a @ b by OpenCV, in its one thread: the BLAS under NumPy starts threads of its own, whose
    waiting costs ten times the work, and whose number changes the last bits.

    Args:
        turned: cv2.GEMM_1_T or GEMM_2_T for a.T or b.T.
    """
    return np.asarray(cv2.gemm(a, b, 1, None, 0, flags=turned))  # type: ignore[call-overload]


def middle(values: Array) -> float:
    """The upper median: twice as fast as NumPy's, which looks for what is not a number first."""
    half = values.size // 2
    return float(np.partition(values, half, axis=None)[half]) if values.size else 0.0


def apply(transform: Array, points: Array) -> Array:
    """(n, 2) points through a transform."""
    moved = points @ transform[:, :2].T + transform[:, 2]
    return np.asarray(moved[:, :2] / moved[:, 2:])


def inverse(transform: Array) -> Array:
    """The transform, or (n, 3, 3) of them, the other way."""
    other = np.linalg.inv(transform)
    return np.asarray(other / other[..., 2:, 2:])


def overlap(transform: Array) -> tuple[float, float]:
    """The share of the first picture's area that lies on the second, and the other way round."""
    if any(np.array_equal(transform, frame) for frame in FRAMES):
        return 1.0, 1.0
    return _covered(transform), _covered(inverse(transform))


def _covered(transform: Array) -> float:
    """Share of the unit square that a transform takes into the unit square."""
    back = apply(inverse(transform), _CORNERS)
    if not np.isfinite(back).all():
        return 0.0
    area, _ = cv2.intersectConvexConvex(
        _CORNERS.astype(np.float32), _counter(back).astype(np.float32)
    )
    return float(min(max(area, 0.0), 1.0))


def _counter(corners: Array) -> Array:
    """The corners in the sense of `_CORNERS`."""
    x, y = corners.T
    area = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum()
    return corners if area > 0 else corners[::-1]


def place(mask: Array) -> str:
    """Where most of a mask lies, in one of nine words; "all over" if it is spread, "" if empty.

    In thirds of the height and of the width. What fills no third of the width by half but one of
    the height is at the "top", in the "middle" or at the "bottom".
    """
    total = cv2.countNonZero(mask)
    if total == 0:
        return ""
    thirds = []
    for axis in (1, 0):
        counts = (mask > 0).sum(axis)
        third = np.arange(len(counts)) * 3 // len(counts)
        shares = np.bincount(third, counts, minlength=3) / total
        thirds.append(int(shares.argmax()) if shares.max() >= 0.5 else None)
    row, column = thirds
    if row is None and column is None:
        return _SPREAD
    return _PLACES[1 if row is None else row][1 if column is None else column]


def turned_place(where: str, transform: Array) -> str:
    """What is `where` in the first picture of a transform, in the second, as that one lies."""
    return turned_places([where], transform[None])[0]


def turned_places(where: Sequence[str], transforms: Array) -> list[str]:
    """The same of n places and (n, 3, 3) transforms."""
    linear = np.array([frame[:2, :2] for frame in FRAMES])
    ways = np.einsum("fij,nij->nf", linear, transforms[:, :2, :2]).argmax(1).tolist()
    spots = {_PLACES[r][c]: (c - 1, r - 1) for r in range(3) for c in range(3)}
    turned = {
        (way, name): (np.rint(linear[way] @ spot).astype(int) + 1).tolist()
        for way in set(ways)
        for name, spot in spots.items()
    }
    at = (turned.get((way, name)) for way, name in zip(ways, where, strict=True))
    return [name if a is None else _PLACES[a[1]][a[0]] for name, a in zip(where, at, strict=True)]


def is_sound(transform: Array) -> bool:
    """Whether a transform could be of a copy: it keeps the frame convex and of a sensible size."""
    bottom = np.hstack([_CORNERS, np.ones((4, 1))]) @ transform[2]
    if not np.isfinite(transform).all() or (bottom <= 0.05).any():
        return False
    corners = apply(transform, _CORNERS)
    edges = np.roll(corners, -1, axis=0) - corners
    following = np.roll(edges, -1, axis=0)
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    if not ((turns > 0).all() or (turns < 0).all()):
        return False
    sides = np.linalg.norm(edges, axis=1)
    area = abs(turns).mean()
    return bool(1e-3 < area < 1e3 and sides.max() < 12 * sides.min())


def refine(
    fixed: Array,
    moving: Array,
    transform: Array,
    freedom: int,
    iterations: int,
    mask: Array | None = None,
) -> tuple[Array, float]:
    """Move a transform to where two pictures agree best (Gauss and Newton, robust).

    The gradients of both pictures are averaged as in "efficient second-order minimization"
    (Benhimane and Malis, 2004); residuals are weighted as by Tukey, so that a part that differs
    does not pull.

    Args:
        fixed, moving: float32 grey pictures. `moving` must not be much finer than `fixed`.
        transform: from fixed to moving, in shares.
        freedom: 2 shift, 6 affine, 8 homography.
        mask: uint8 of the shape of fixed, 0 where it must not be looked at.

    Returns:
        the transform, and the correlation of the two where they overlap.
    """
    height, width = fixed.shape
    to_moving = shares_to_pixels(moving.shape[1], moving.shape[0])
    from_fixed = pixels_to_shares(width, height)
    x, y = _grid(width, height)
    own_x, own_y = _gradients(fixed) if iterations else (fixed, fixed)
    size = (width, height)
    stride = 1 + max(width, height) // 128  # of a median, every other pixel tells as well
    inside = None if mask is None else mask > 0
    correlation = 0.0
    for step in range(iterations + 1):
        matrix = to_moving @ transform @ from_fixed
        warped = cv2.warpPerspective(
            moving,
            matrix,
            size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        a, b, scale = _levelled(fixed, warped, inside)
        residual = a - b
        correlation = float(
            1 - np.mean((residual if inside is None else residual[inside]) ** 2) / 2
        )
        if step == iterations:
            break
        spread = max(1.4826 * middle(np.abs(residual[::stride, ::stride])), 0.02)
        weights = np.maximum(1 - (residual / (4.7 * spread)) ** 2, 0) ** 2
        if inside is not None:
            weights *= inside
        that_x, that_y = _gradients(warped)
        gx = own_x * scale[0] + that_x * scale[1]
        gy = own_y * scale[0] + that_y * scale[1]
        columns = [gx, gy] if freedom == 2 else [gx * x, gx * y, gx, gy * x, gy * y, gy]
        if freedom == 8:
            along = -(gx * x + gy * y)
            columns += [along * x, along * y]
        jacobian = np.stack([c.ravel() for c in columns])
        weighted = jacobian * weights.ravel()
        normal = product(weighted, jacobian, cv2.GEMM_2_T).astype(np.float64)
        normal += np.eye(len(normal)) * (1e-4 * np.trace(normal) / len(normal) + 1e-9)
        given = product(weighted, residual.reshape(-1, 1)).astype(np.float64)
        change = np.linalg.solve(normal, given.ravel())
        moved = _moved(change)
        candidate = transform @ moved
        candidate = candidate / candidate[2, 2]
        if not is_sound(candidate):
            break
        transform = candidate
        if float(np.abs(moved - np.eye(3)).max()) * max(width, height) < 0.03:
            break  # one more warp would tell nothing new of what moved by a thirtieth of a pixel
    return transform, correlation


def _moved(change: Array) -> Array:
    """(3, 3) in shares of the fixed picture, from the parameters that were solved for."""
    p = np.eye(3)
    if len(change) == 2:
        p[0, 2], p[1, 2] = change
    else:
        p[0, :3] += change[:3]
        p[1, :3] += change[3:6]
    if len(change) == 8:
        p[2, :2] += change[6:]
    # Coordinates run from -1 to 1 while solving.
    to_unit = np.array([[2.0, 0, -1], [0, 2.0, -1], [0, 0, 1]])
    return np.asarray(np.linalg.inv(to_unit) @ p @ to_unit)


def _grid(width: int, height: int) -> tuple[Array, Array]:
    """Coordinates of pixel centres from -1 to 1: (1, width) and (height, 1) float32."""
    x = ((np.arange(width, dtype=np.float32) + 0.5) * (2 / width) - 1)[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5) * (2 / height) - 1)[:, None]
    return x, y


def _gradients(picture: Array) -> tuple[Array, Array]:
    """Change of level over half a width and half a height, so for coordinates from -1 to 1."""
    height, width = picture.shape
    kernel = np.array([[-0.5, 0, 0.5]], np.float32)
    gx = cv2.filter2D(picture, cv2.CV_32F, kernel * (width / 2), borderType=cv2.BORDER_REPLICATE)
    gy = cv2.filter2D(picture, cv2.CV_32F, kernel.T * (height / 2), borderType=cv2.BORDER_REPLICATE)
    return gx, gy


def _levelled(
    fixed: Array, warped: Array, inside: Array | None
) -> tuple[Array, Array, tuple[float, float]]:
    """Both with mean 0 and deviation 1 where they overlap, and half of each one's scale."""
    if inside is None:
        (mean_a,), (std_a,) = (v.ravel() for v in cv2.meanStdDev(fixed))
        (mean_b,), (std_b,) = (v.ravel() for v in cv2.meanStdDev(warped))
    else:
        where = inside.astype(np.uint8)
        (mean_a,), (std_a,) = (v.ravel() for v in cv2.meanStdDev(fixed, mask=where))
        (mean_b,), (std_b,) = (v.ravel() for v in cv2.meanStdDev(warped, mask=where))
    scale_a, scale_b = 1 / max(float(std_a), 1e-3), 1 / max(float(std_b), 1e-3)
    a = (fixed - np.float32(mean_a)) * np.float32(scale_a)
    b = (warped - np.float32(mean_b)) * np.float32(scale_b)
    return a, b, (0.5 * scale_a, 0.5 * scale_b)
