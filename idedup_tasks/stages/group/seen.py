"""What was seen of pairs of contents, in arrays, and how more of it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idedup_tasks.lake import LOOK
from idedup_tasks.settings import RELATIONS
from idedup_tasks.verification import turned_rows

# By their number; what is less than `LINKED` ties two contents to each other.
WORDS = (*RELATIONS, "alike", "different", "undecided")
LINKED = len(RELATIONS)
EXACT, SAME, CROP, INSIDE, EDITED, ALIKE = range(6)
NOT_SEEN = len(WORDS)

# (m,) int64 positions of contents, twice; returns m rows with the columns of `lake.LOOK`, each of
# which says what the first content of the pair is to the second. `looking.Looks.at` is one.
Ask = Callable[[np.ndarray, np.ndarray], pa.Table]


class Seen:
    """Looks at pairs of n contents, which have positions in order of (arrived_at, key).

    A pair is a row, whose first position is the smaller. `first`, `second`: (m,) int64.
    `relation`: (m,) int8, numbers in `WORDS`. `score`, `overlap_first`, `overlap_second` (share of
    the area of each that lies on the other), `blur` (over 0: the second is the sharper): (m,)
    float64. `turned`: (m,) bool, whether one lies on the other turned or mirrored. `said` has the
    rest, from the side of either.

    Args:
        first, second: (m,) positions, in either order, each pair once.
        looks: m rows with the columns of `lake.LOOK`, of the first to the second.
        ask: for what is not among these.
    """

    def __init__(
        self, n: int, first: np.ndarray, second: np.ndarray, looks: pa.Table, ask: Ask | None = None
    ) -> None:
        self.n, self._ask = n, ask
        self.asked = 0
        self.first = self.second = np.empty(0, np.int64)
        self.relation = np.empty(0, np.int8)
        self.score = self.overlap_first = self.overlap_second = self.blur = np.empty(0)
        self.turned = np.empty(0, bool)
        self._looks = no_looks()
        self._of = np.empty(0, np.int64)  # the content that a row of `_looks` speaks of
        self._add(first, second, looks)
        # What was known, and what was asked since: sorted keys, and the rows that they are of.
        nothing = np.empty(0, np.int64)
        self._known = len(self.first)
        self._sorted = [self._in_order(0), (nothing, nothing)]

    def rows(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(m,) int64: the rows of pairs, -1 where nobody looked."""
        low, high = np.minimum(a, b).astype(np.int64), np.maximum(a, b).astype(np.int64)
        wanted = low * self.n + high
        found = np.full(len(wanted), -1)
        for keys, part in self._sorted:
            if len(part):
                at = np.minimum(np.searchsorted(keys, wanted), len(part) - 1)
                here = keys[at] == wanted
                found[here] = part[at[here]]
        return found

    def look(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(m,) int64: the rows of pairs of different contents; those that are missing are asked.

        Raises:
            LookupError: nobody can be asked.
        """
        found = self.rows(a, b)
        if (found >= 0).all():
            return found
        low, high = np.minimum(a, b)[found < 0], np.maximum(a, b)[found < 0]
        pairs = np.unique(np.stack([low, high], axis=1), axis=0)
        if self._ask is None:
            raise LookupError(f"{len(pairs)} pairs were not looked at, and nobody can be asked")
        self.asked += len(pairs)
        self._add(pairs[:, 0], pairs[:, 1], self._ask(pairs[:, 0], pairs[:, 1]))
        self._sorted[1] = self._in_order(self._known)
        return self.rows(a, b)

    def linked(self, rows: np.ndarray) -> np.ndarray:
        """(m,) bool: whether what was seen ties the two; a row of -1 ties nothing."""
        tied = np.zeros(len(rows), bool)
        known = rows >= 0
        tied[known] = self.relation[rows[known]] < LINKED
        return tied

    def said(self, rows: np.ndarray, of: np.ndarray) -> pa.Table:
        """Columns of `lake.LOOK`: what (m,) contents, each one of the pair, are to the other."""
        looks = self._looks.take(pa.array(rows))
        return turned_rows(looks, self._of[rows] != of)

    def within(self, members: np.ndarray) -> np.ndarray:
        """Rows of pairs both of which are among some contents, (n,) bool."""
        return np.flatnonzero(members[self.first] & members[self.second])

    def _in_order(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        """The keys of the rows from `start` on, sorted, and those rows."""
        keys = self.first[start:] * self.n + self.second[start:]
        order = np.argsort(keys)
        return keys[order], order + start

    def _add(self, first: np.ndarray, second: np.ndarray, looks: pa.Table) -> None:
        order = np.lexsort((np.maximum(first, second), np.minimum(first, second)))
        first, second, looks = first[order], second[order], looks.take(pa.array(order))
        turned = first > second
        words = pc.index_in(looks["relation"], pa.array(WORDS)).to_numpy()
        overlaps = looks["overlap_a"].to_numpy(), looks["overlap_b"].to_numpy()
        blur = looks["blur"].to_numpy()
        new = {
            "first": np.minimum(first, second).astype(np.int64),
            "second": np.maximum(first, second).astype(np.int64),
            "relation": words.astype(np.int8),
            "score": looks["score"].to_numpy(),
            "overlap_first": np.where(turned, overlaps[1], overlaps[0]),
            "overlap_second": np.where(turned, overlaps[0], overlaps[1]),
            "blur": np.where(turned, -blur, blur),
            "turned": _turned(looks["transform"]),
            "_of": first.astype(np.int64),
        }
        for name, values in new.items():
            setattr(self, name, np.concatenate([getattr(self, name), values]))
        self._looks = pa.concat_tables([self._looks, looks.select(self._looks.column_names)])


def no_looks() -> pa.Table:
    """Nothing that was seen, with the columns of `lake.LOOK`."""
    return pa.schema(LOOK).empty_table()


def _turned(transforms: pa.ChunkedArray) -> np.ndarray:
    """(m,) bool: by more than 45 degrees, or mirrored; of something, in shares of its sides."""
    flat = pc.list_flatten(transforms).to_numpy().reshape(-1, 9)
    upright: np.ndarray = (flat[:, 0] > np.abs(flat[:, 1])) & (flat[:, 4] > np.abs(flat[:, 3]))
    return ~upright
