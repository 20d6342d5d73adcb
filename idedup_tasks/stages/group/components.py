"""The members of what is tied."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def members_of(label: np.ndarray) -> Iterator[np.ndarray]:
    """The ascending positions of each label of 0 or more, in the order of labels."""
    order = np.argsort(label, kind="stable")
    order = order[label[order] >= 0]
    yield from np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(order) else ()
