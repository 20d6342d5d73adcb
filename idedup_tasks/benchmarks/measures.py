"""Measures of copy detection: pairs by similarity, rankings, and groups.

Similarities lie between -1 and 1 and are rounded to 4 decimals before anything is compared, as the
group stage does. Counting right and wrong pairs at each of those 20,001 levels then says all about
decisions at any threshold, in memory that does not grow with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from idedup_tasks.linkage import average_cuts

STEPS = 10_000  # levels of similarity in a unit: 4 decimals
ROWS = 512
_CELLS = 2**24  # similarities that are compared with each other at once


@dataclass(frozen=True)
class PairCurve:
    """Precision and recall at each distinct score, from the highest down to the lowest copy's."""

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    def average_precision(self) -> float:
        """µAP: average precision of all pairs of all queries in one ranking (SSCD, section 4)."""
        steps = np.diff(self.recall, prepend=0.0)
        return float((steps * self.precision).sum())

    def best_f1(self) -> tuple[float, float]:
        """The highest F1 over all thresholds, and its threshold."""
        f1 = 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)
        best = int(f1.argmax())
        return float(f1[best]), float(self.scores[best])

    def at_precision(self, precision: float) -> tuple[float, float]:
        """(recall, threshold) of the lowest threshold with at least that precision.

        (0, infinity) where no threshold has it.
        """
        good = np.flatnonzero(self.precision >= precision)
        if not len(good):
            return 0.0, float("inf")
        return float(self.recall[good[-1]]), float(self.scores[good[-1]])

    def at_threshold(self, threshold: float) -> tuple[float, float]:
        """(precision, recall) of the pairs that score at least the threshold."""
        last = int(np.searchsorted(-self.scores, -threshold, side="right")) - 1
        return (float(self.precision[last]), float(self.recall[last])) if last >= 0 else (1.0, 0.0)


@dataclass(frozen=True)
class Decisions:
    """The confusion matrix of calling pairs copies from some threshold on."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Share of what was called a copy that is one; 1 where nothing was."""
        called = self.true_positives + self.false_positives
        return self.true_positives / called if called else 1.0

    @property
    def recall(self) -> float:
        """Share of the copies that were called so; 1 where there is none."""
        copies = self.true_positives + self.false_negatives
        return self.true_positives / copies if copies else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        wrong = self.false_positives + self.false_negatives
        both = 2 * self.true_positives
        return both / (both + wrong) if both + wrong else 1.0

    @property
    def accuracy(self) -> float:
        """Share of right decisions; next to 1 for every method where copies are rare."""
        right = self.true_positives + self.true_negatives
        return right / (right + self.false_positives + self.false_negatives)

    @property
    def balanced_accuracy(self) -> float:
        """Expected accuracy where as many unrelated pairs as copies are judged."""
        unrelated = self.true_negatives + self.false_positives
        return (self.recall + (self.true_negatives / unrelated if unrelated else 1.0)) / 2


class Tally:
    """How many right and wrong pairs there are at each level of similarity.

    `right` and `wrong` are int64 (20001,), the last entry that of similarity 1.
    """

    def __init__(self) -> None:
        self.right = np.zeros(2 * STEPS + 1, np.int64)
        self.wrong = np.zeros(2 * STEPS + 1, np.int64)

    def add(self, levels: np.ndarray, right: np.ndarray) -> None:
        """Count pairs of any shape: their levels, and whether each is right."""
        everything = np.bincount(levels.ravel(), minlength=len(self.right))
        good = np.bincount(levels[right], minlength=len(self.right))
        self.right += good
        self.wrong += everything - good

    def __add__(self, other: Tally) -> Tally:
        total = Tally()
        total.right = self.right + other.right
        total.wrong = self.wrong + other.wrong
        return total

    def decisions(self, threshold: float) -> Decisions:
        """The decisions that a threshold makes on the pairs counted."""
        first = first_level(threshold)
        return Decisions(
            int(self.right[first:].sum()),
            int(self.wrong[first:].sum()),
            int(self.right[:first].sum()),
            int(self.wrong[:first].sum()),
        )

    def curve(self) -> PairCurve:
        """Precision and recall at each level that any pair has, down to the lowest right one's."""
        held = np.flatnonzero(self.right + self.wrong)[::-1]
        held = held[held >= np.flatnonzero(self.right)[0]]
        true, false = np.cumsum(self.right[held]), np.cumsum(self.wrong[held])
        return PairCurve(held / STEPS - 1, true / (true + false), true / self.right.sum())


def levels_of(similarities: np.ndarray) -> np.ndarray:
    """Similarities as whole steps from -1: int32, 0 to 20000."""
    levels: np.ndarray = np.rint((similarities + 1) * STEPS)
    return levels.clip(0, 2 * STEPS).astype(np.int32)


def first_level(threshold: float) -> int:
    """The lowest level at or above a threshold."""
    return int(np.clip(np.ceil(round((threshold + 1) * STEPS, 6)), 0, 2 * STEPS + 1))


class Scores(Protocol):
    """How similar a method finds each two of n images."""

    def levels(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Levels of the similarities of some images to others: int32 (rows, columns)."""

    def paired(self, pairs: np.ndarray) -> np.ndarray:
        """Levels of pairs of images, given as int64 (m, 2): int32 (m,)."""


@dataclass(frozen=True)
class Encoding:
    """What a method made of n images, in order.

    vectors: float32 (n, dim), unit rows. hamming: the rows are hashes, bits as ± one over the root
    of their number, and similarity is the share of bits that agree, 1 - distance / bits; otherwise
    it is the inner product.
    """

    vectors: np.ndarray
    hamming: bool = False

    def levels(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Levels of the similarities of some images to others: int32 (rows, columns)."""
        inner = self.vectors[rows] @ self.vectors[columns].T
        return levels_of((1 + inner) / 2 if self.hamming else inner)

    def paired(self, pairs: np.ndarray) -> np.ndarray:
        """Levels of pairs of images, given as int64 (m, 2): int32 (m,)."""
        inner = np.einsum("ij,ij->i", self.vectors[pairs[:, 0]], self.vectors[pairs[:, 1]])
        return levels_of((1 + inner) / 2 if self.hamming else inner)


class Judged:
    """What a method says of the pairs that it looked at, of n images; of all others nothing.

    pairs: int64 (m, 2), each in one order or in both, of which the higher similarity counts.
    similarities: float (m,), at least 0. A pair that is not among them has -1.
    """

    def __init__(self, n: int, pairs: np.ndarray, similarities: np.ndarray) -> None:
        a, b = pairs.reshape(-1, 2).T
        one = coo_matrix((levels_of(similarities), (a, b)), shape=(n, n)).tocsr()
        self._levels = csr_matrix(one.maximum(one.T))

    def levels(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Levels of the similarities of some images to others: int32 (rows, columns)."""
        found: np.ndarray = self._levels[rows][:, columns].toarray().astype(np.int32)
        return found

    def paired(self, pairs: np.ndarray) -> np.ndarray:
        """Levels of pairs of images, given as int64 (m, 2): int32 (m,)."""
        return np.asarray(self._levels[pairs[:, 0], pairs[:, 1]], np.int32).ravel()


@dataclass(frozen=True)
class Ranked:
    """Right and wrong pairs by kind of query, and the average precision of each query."""

    tallies: dict[str, Tally]
    right: np.ndarray  # queries that have something to be found
    average_precision: np.ndarray

    def tally(self, kinds: Iterable[str]) -> Tally:
        """The pairs of all queries of these kinds."""
        return sum((self.tallies[kind] for kind in kinds), Tally())


def rank(
    encoding: Scores,
    groups: np.ndarray,
    kinds: np.ndarray,
    queries: np.ndarray,
    references: np.ndarray,
) -> Ranked:
    """Compare each query with every reference but itself.

    Args:
        groups: int64 (n,); a pair is right where both have the same.
        kinds: text (n,), by which pairs are counted.
        queries, references: rows of images, ascending. A pair of images that are both query and
            reference is counted once, and both find each other.

    Average precision of a query: mean over what is right for it of the precision at its rank
    (without interpolation); what scores the same shares the last of its ranks, so that ties count
    against a method, as they do at a threshold.
    """
    tallies = {str(kind): Tally() for kind in np.unique(kinds[queries])}
    both = np.isin(references, queries)
    asked, precisions = [], []
    for first in range(0, len(queries), ROWS):
        rows = queries[first : first + ROWS]
        levels = encoding.levels(rows, references)
        right = groups[rows, None] == groups[references][None]
        levels[rows[:, None] == references[None]] = -1  # itself, below everything
        right &= levels >= 0
        counted = (levels >= 0) & ~(both & (rows[:, None] > references[None]))
        for kind in np.unique(kinds[rows]):
            chosen = (kinds[rows] == kind)[:, None] & counted
            tallies[str(kind)].add(levels[chosen], right[chosen])
        asked.append(right.any(1))
        precisions.append(_average_precisions(levels, right))
    return Ranked(tallies, queries[np.concatenate(asked)], np.concatenate(precisions))


def _average_precisions(levels: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Average precision of each row that has something right, float64."""
    at, column = np.nonzero(right)
    precision = np.empty(len(at))
    step = max(1, _CELLS // levels.shape[1])
    for first in range(0, len(at), step):
        part = slice(first, first + step)
        rows = at[part]
        above = levels[rows] >= levels[rows, column[part]][:, None]
        precision[part] = (above & right[rows]).sum(1) / above.sum(1)
    wanted: np.ndarray = right.sum(1)
    means: np.ndarray = np.bincount(at, precision, len(levels)) / np.maximum(wanted, 1)
    asked: np.ndarray = means[wanted > 0]
    return asked


def tally_pairs(encoding: Scores, pairs: np.ndarray, same: np.ndarray) -> Tally:
    """Count labelled pairs: rows int64 (m, 2), and whether each pair is right, bool (m,)."""
    tally = Tally()
    for first in range(0, len(pairs), ROWS * 16):
        part = slice(first, first + ROWS * 16)
        tally.add(encoding.paired(pairs[part]), same[part])
    return tally


# --- groups ------------------------------------------------------------------------------------


def components(encoding: Encoding, rows: np.ndarray, threshold: float) -> np.ndarray:
    """Connected components of the pairs at or above a threshold: int64 (rows,) labels."""
    n, first_good = len(rows), first_level(threshold)
    labels = np.arange(n)
    for first in range(0, n, ROWS):
        block = slice(first, first + ROWS)
        near, column = np.nonzero(encoding.levels(rows[block], rows[first:]) >= first_good)
        # What earlier blocks have joined stays joined: edges run between labels.
        ends = np.stack([labels[near + first], labels[column + first]])
        edges = coo_matrix((np.ones(ends.shape[1], bool), ends), shape=(n, n))
        labels = connected_components(edges, directed=False)[1][labels]
    return labels.astype(np.int64)


def linked_groups(
    encoding: Encoding, rows: np.ndarray, candidate: float, cuts: Sequence[float]
) -> np.ndarray:
    """Groups as the group stage makes them: components of candidates, cut by average linkage.

    Returns int64 (cuts, rows), labels for each of the cuts, which are given the highest first.
    """
    groups = np.tile(np.arange(len(rows)), (len(cuts), 1))
    for members in members_of(components(encoding, rows, candidate)):
        if len(members) > 1:
            clusters = average_cuts(encoding.vectors[rows[members]], cuts)
            groups[:, members] = members[np.stack(list(clusters))]
    return groups


def members_of(labels: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each label, ascending."""
    order = np.argsort(labels, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def grouping_quality(labels: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """(precision, recall, F1) of the pairs of images that share a group."""

    def pairs(sizes: np.ndarray) -> float:
        return float((sizes * (sizes - 1) // 2).sum())

    _, both = np.unique(np.stack([labels, truth]), axis=1, return_counts=True)
    right = pairs(both)
    found = pairs(np.unique(labels, return_counts=True)[1])
    wanted = pairs(np.unique(truth, return_counts=True)[1])
    precision = right / found if found else 1.0
    recall = right / wanted if wanted else 1.0
    return precision, recall, 2 * right / (found + wanted) if found + wanted else 1.0


def b_cubed(labels: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """(precision, recall, F1) averaged over images: B³ of Bagga & Baldwin (1998).

    An image's precision is the share of its group that is truly of its group, itself included, its
    recall the share of its true group that is in its group.
    """
    _, found, size = np.unique(labels, return_inverse=True, return_counts=True)
    _, wanted, true_size = np.unique(truth, return_inverse=True, return_counts=True)
    _, cell, both = np.unique(
        np.stack([labels, truth]), axis=1, return_inverse=True, return_counts=True
    )
    shared = both[cell.ravel()]
    precision = float((shared / size[found]).mean())
    recall = float((shared / true_size[wanted]).mean())
    return precision, recall, 2 * precision * recall / (precision + recall)
