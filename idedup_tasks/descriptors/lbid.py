"""Learning-Based Image Deduplication (LBID), the paper's algorithm: D and q in, R and P out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

# What the paper's grid search found for its network.
THRESHOLD = 0.85


class Encoder(Protocol):
    def encode(self, images: Sequence[Image.Image]) -> np.ndarray: ...


def deduplicate(
    dataset: Sequence[Image.Image],
    query: Image.Image,
    descriptor: Encoder,
    threshold: float = THRESHOLD,
    duplicates: Sequence[bool] | None = None,
) -> tuple[list[tuple[int, float]], dict[str, Any]]:
    """Find the duplicates of one image in a dataset.

    Args:
        dataset: D, n images.
        query: q, one image.
        descriptor: what encodes them into unit vectors.
        threshold: cosine similarity from which an image is a duplicate.
        duplicates: for each image of D whether it is one, where that is known.

    Returns:
        R, the (row in D, cosine) of each duplicate, best first, and the statistics P: `images`,
        `duplicates`, `threshold`, `seconds`, and where the truth is given `accuracy`, `precision`
        and `recall` (1 where there is nothing to find). The paper does not say what P holds.

    To search a collection again and again, see `idedup query`: this encodes D each time.
    """
    started = time.perf_counter()
    if not len(dataset):
        cosines = np.empty(0)
    else:
        cosines = descriptor.encode(dataset) @ descriptor.encode([query])[0]
    found = cosines >= threshold
    rows = np.flatnonzero(found)
    results = [(int(i), float(cosines[i])) for i in rows[np.argsort(-cosines[rows], kind="stable")]]
    statistics: dict[str, Any] = {
        "images": len(dataset),
        "duplicates": len(results),
        "threshold": threshold,
        "seconds": time.perf_counter() - started,
    }
    if duplicates is not None:
        truth = np.asarray(duplicates, bool)
        right = int((found & truth).sum())
        statistics |= {
            "accuracy": float((found == truth).mean()) if len(truth) else 1.0,
            "precision": right / int(found.sum()) if found.any() else 1.0,
            "recall": right / int(truth.sum()) if truth.any() else 1.0,
        }
    return results, statistics
