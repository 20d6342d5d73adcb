"""What was seen of pairs of contents, in arrays, and how more of it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idedup_tasks.lake import LOOK
from idedup_tasks.settings import RELATIONS

# By their number; what is less than `LINKED` ties two contents to each other.
WORDS = (*RELATIONS, "alike", "different", "undecided")
LINKED = len(RELATIONS)
EXACT, SAME, CROP, INSIDE, EDITED, ALIKE = range(6)
NOT_SEEN = len(WORDS)

# (m,) int64 positions of contents, twice; returns m rows with the columns of `lake.LOOK`, each of
# which says what the first content of the pair is to the second. `looking.Looks.at` is one.
Ask = Callable[[np.ndarray, np.ndarray], pa.Table]

_TURNED = {"overlap_a": "overlap_b", "overlap_b": "overlap_a"}


class Seen:
    """Looks at pairs of n contents, which have positions in order of (arrived_at, key).

    A pair is a row, whose first position is the smaller. `first`, `second`: (m,) int64.
    `relation`: (m,) int8, numbers in `WORDS`. `score`, `overlap_first`, `overlap_second` (share of
    the area of each that lies on the other), `changed`, `blur` (over 0: the second is the sharper):
    (m,) float64. `transform`: (m, 9) float64, of the first to the second. `place`: (m,) int16,
    numbers in `places`, where most of what differs is in the first.

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
        self.places: list[str | None] = [None]
        self.first = self.second = np.empty(0, np.int64)
        self.relation = np.empty(0, np.int8)
        self.place = np.empty(0, np.int16)
        empty = np.empty(0)
        self.score = self.overlap_first = self.overlap_second = self.changed = self.blur = empty
        self.transform = np.empty((0, 9))
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

    def overlaps(self, rows: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(m,) each: the share of the area of one of the two that lies on the other, and of that
        other's area that lies on it."""
        is_first = self.first[rows] == of
        own = np.where(is_first, self.overlap_first[rows], self.overlap_second[rows])
        return own, np.where(is_first, self.overlap_second[rows], self.overlap_first[rows])

    def place_in(self, row: int, content: int) -> str | None:
        """Where most of what differs is in one of the two; None where that is not known."""
        return self.places[self.place[row]] if self.first[row] == content else None

    def within(self, members: np.ndarray) -> np.ndarray:
        """Rows of pairs both of which are among some contents, (n,) bool."""
        return np.flatnonzero(members[self.first] & members[self.second])

    def _in_order(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        """The keys of the rows from `start` on, sorted, and those rows."""
        keys = self.first[start:] * self.n + self.second[start:]
        order = np.argsort(keys)
        return keys[order], order + start

    def _add(self, first: np.ndarray, second: np.ndarray, looks: pa.Table) -> None:
        turned = first > second
        low, high = np.minimum(first, second), np.maximum(first, second)
        order = np.lexsort((high, low))
        looks = looks.take(pa.array(order))
        turned = turned[order]

        def column(name: str) -> np.ndarray:
            values = looks[name].to_numpy().astype(np.float64)
            if name in _TURNED:
                values = np.where(turned, looks[_TURNED[name]].to_numpy(), values)
            return values

        words = pc.index_in(looks["relation"], pa.array(WORDS)).to_numpy().astype(np.int8)
        flat = pc.list_flatten(looks["transform"]).to_numpy().astype(np.float64)
        transform = flat.reshape(-1, 9).copy()
        transform[turned] = inverse(transform[turned])
        blur = column("blur")
        for name, new in (
            ("first", low[order].astype(np.int64)),
            ("second", high[order].astype(np.int64)),
            ("relation", words),
            ("score", column("score")),
            ("overlap_first", column("overlap_a")),
            ("overlap_second", column("overlap_b")),
            ("changed", column("changed")),
            ("blur", np.where(turned, -blur, blur)),
            ("transform", transform),
            ("place", self._places(looks["place"], turned)),
        ):
            setattr(self, name, np.concatenate([getattr(self, name), new]))

    def _places(self, said: pa.ChunkedArray, turned: np.ndarray) -> np.ndarray:
        """Numbers of places; one in the second picture is not where it is in the first."""
        for place in pc.unique(said).to_pylist():
            if place not in self.places:
                self.places.append(place)
        number = {place: i for i, place in enumerate(self.places)}
        found = np.array([number[place] for place in said.to_pylist()], np.int16)
        return np.where(turned, np.int16(0), found)


def no_looks() -> pa.Table:
    """Nothing that was seen, with the columns of `lake.LOOK`."""
    return pa.schema(LOOK).empty_table()


def inverse(transforms: np.ndarray) -> np.ndarray:
    """(m, 9) float64: the transforms turned round, rounded to 5 decimals; as they are if flat."""
    matrices = transforms.reshape(-1, 3, 3)
    sound = np.abs(np.linalg.det(matrices)) > 1e-9
    turned = matrices.copy()
    turned[sound] = np.linalg.inv(matrices[sound])
    scale = np.where(np.abs(turned[:, 2, 2]) > 1e-9, turned[:, 2, 2], 1.0)
    rounded: np.ndarray = np.round(turned / scale[:, None, None], 5).reshape(-1, 9)
    return rounded
