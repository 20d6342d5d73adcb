"""Whether a picture was cut out of a larger one, or set into it: what runs along its border."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from idedup_tasks.verification.geometry import apply

Array = np.ndarray[Any, Any]

_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
# Points along a side, and offsets across it in pixels, outwards.
_ALONG = 96
_ACROSS = np.arange(-8.0, 9.0)
# Closer than so many pixels to the larger picture's own border, a side has no surround.
_MARGIN = 4.0
# A step of so many levels over two pixels is an edge; so much more often than beside it, a seam.
_STEP, _OFTENER = 8.0, 0.35
# A surround is flat below this deviation, what lies inside it is not above that one.
_FLAT, _LIVELY = 4.0, 9.0


def seams(whole: Array, to_whole: Array) -> float:
    """The share of a part's border, as far as it lies within the whole, along which a seam runs.

    Args:
        whole: uint8 (height, width) grey.
        to_whole: (3, 3) from shares of the part to shares of the whole.

    Returns:
        0 to 1; 0 where no side of the part lies within the whole.
    """
    height, width = whole.shape
    corners = apply(to_whole, _CORNERS) * (width, height) - 0.5
    inwards = corners.mean(0)
    seamed = total = 0.0
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        points = start + (end - start) * np.linspace(0.06, 0.94, _ALONG)[:, None]
        normal = np.array([end[1] - start[1], start[0] - end[0]])
        length = float(np.linalg.norm(normal))
        if length < 12:
            continue
        normal = normal / length
        if normal @ (inwards - (start + end) / 2) > 0:
            normal = -normal
        outer = points + normal * _MARGIN
        within = ((outer >= 0) & (outer <= (width - 1, height - 1))).all(1)
        if within.sum() < _ALONG / 4:
            continue
        points = points[within]
        share = length * float(within.mean())
        total += share
        seamed += share * _is_seam(whole, points, normal)
    return seamed / total if total else 0.0


def _is_seam(whole: Array, points: Array, normal: Array) -> bool:
    places = points[:, None] + normal * _ACROSS[:, None]
    profile = cv2.remap(
        whole,
        places[..., 0].astype(np.float32),
        places[..., 1].astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float32)
    steps = np.abs(profile[:, 2:] - profile[:, :-2])  # at offsets -7 to 7
    often = (steps > _STEP).mean(0)
    at, beside = float(often[5:10].max()), float(np.median(np.r_[often[:4], often[-4:]]))
    if at - beside >= _OFTENER:
        return True
    outside, inside = profile[:, 11:], profile[:, :6]
    return bool(outside.std() < _FLAT and inside.std() > _LIVELY)
