"""Connected components of what is tied."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def components(n: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) int64: the smallest position in each one's connected component."""
    edges = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(n, n))
    number = connected_components(edges, directed=False)[1]
    smallest = np.full(int(number.max(initial=-1)) + 1, n)
    np.minimum.at(smallest, number, np.arange(n))
    found: np.ndarray = smallest[number].astype(np.int64)
    return found


def members_of(label: np.ndarray) -> Iterator[np.ndarray]:
    """The ascending positions of each label of 0 or more, in the order of labels."""
    order = np.argsort(label, kind="stable")
    order = order[label[order] >= 0]
    yield from np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(order) else ()
