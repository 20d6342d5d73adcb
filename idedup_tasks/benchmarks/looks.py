"""The verifier alone: each image's nearest others by the descriptor, looked at.

    python -m idedup_tasks.benchmarks.looks --dataset layouts --output looks.csv
    python -m idedup_tasks.benchmarks.looks --dataset edits --photos FOLDER --peer-python PYTHON

Prints a table of what looks called the pairs and how many of them are copies, and what ranking by
a look's score finds beside ranking the same pairs by the cosine. Copies that are not among the
nearest were not looked at; they count as not found. The file has a row for each pair.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from idedup_tasks.benchmarks.datasets import DATASETS, Dataset, open_dataset
from idedup_tasks.benchmarks.measures import Judged, Tally, rank
from idedup_tasks.settings import DUPLICATES, VARIANTS, Limits
from idedup_tasks.verification import Look, Picture, look, open_picture, verifier_version

_COLUMNS = ("a", "b", "copies", "cosine", "relation", "score", "overlap_a", "overlap_b", "changed")
# Groups are what these datasets know; of the others only some pairs are labelled.
_GROUPED = tuple(name for name in DATASETS if name != "cifar10")


@dataclass(frozen=True)
class Looked:
    """pairs: int64 (m, 2) rows of a dataset. cosine: float (m,). looks: of each pair."""

    pairs: np.ndarray
    cosine: np.ndarray
    looks: list[Look]
    cpu_ms: float  # a look, what its pictures are reduced to included


def look_at_nearest(dataset: Dataset, nearest: int) -> Looked:
    """Look at each query with the references that the shipped descriptor finds nearest to it."""
    from idedup_tasks.descriptors import load_descriptor

    descriptor = load_descriptor()
    vectors = np.concatenate([descriptor.encode(images) for images in dataset.batches()])
    pairs, cosine = _candidates(dataset, vectors, nearest)
    limits = Limits.model_validate({})
    pictures: dict[int, Picture] = {}

    def picture(row: int) -> Picture:
        if row not in pictures:
            file = dataset.file
            content = dataset.open(row) if file is None else file(row)[0]
            pictures[row] = open_picture(content, limits)
        return pictures[row]

    looks: list[Look] = []
    took = 0.0
    for a, b in pairs.tolist():
        both = picture(a), picture(b)
        began = time.process_time()
        looks.append(look(*both))
        took += time.process_time() - began
    return Looked(pairs, cosine, looks, 1000 * took / max(1, len(looks)))


def _candidates(
    dataset: Dataset, vectors: np.ndarray, nearest: int
) -> tuple[np.ndarray, np.ndarray]:
    references = dataset.references
    found: dict[tuple[int, int], float] = {}
    for query in dataset.queries.tolist():
        similar = vectors[references] @ vectors[query]
        similar[references == query] = -1
        for place in np.argsort(-similar, kind="stable")[:nearest].tolist():
            other = int(references[place])
            if other != query:
                found[min(query, other), max(query, other)] = float(similar[place])
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    return pairs, np.array([found[a, b] for a, b in pairs.tolist()])


def report(dataset: Dataset, seen: Looked) -> Iterator[str]:
    """The lines of the table."""
    relations = np.array([one.relation for one in seen.looks])
    right = dataset.groups[seen.pairs[:, 0]] == dataset.groups[seen.pairs[:, 1]]
    yield f"{dataset.name}: {len(seen.pairs):,} pairs looked at, {right.sum():,} of them copies"
    yield f"{verifier_version()}; {seen.cpu_ms:.1f} CPU ms a look"
    for relation in np.unique(relations):
        called = relations == relation
        yield f"  {relation:<10} {called.sum():>6,}, copies {right[called].sum():>6,}"
    linking = (*DUPLICATES, *VARIANTS)
    for name, chosen in (("duplicates", DUPLICATES), ("with variants", linking)):
        called = np.isin(relations, chosen)
        yield (
            f"{name}: {right[called].sum():,} of {called.sum():,} are copies, "
            f"{right[called].sum() / max(1, right.sum()):.3f} of the copies looked at"
        )
    scores = np.array([one.score for one in seen.looks])
    for name, similarities in (("score", scores), ("cosine", np.maximum(seen.cosine, 0))):
        curve = _ranked(dataset, Judged(len(dataset), seen.pairs, similarities)).curve()
        yield (
            f"by {name}: µAP {curve.average_precision():.3f}, "
            f"recall at precision 0.99 {curve.at_precision(0.99)[0]:.3f} of all copies"
        )


def _ranked(dataset: Dataset, judged: Judged) -> Tally:
    kinds = np.unique(dataset.kinds[dataset.queries])
    ranked = rank(judged, dataset.groups, dataset.kinds, dataset.queries, dataset.references)
    return ranked.tally(str(kind) for kind in kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", choices=_GROUPED, default="layouts")
    parser.add_argument("--photos", type=Path, help="folder of photographs, for what is not drawn")
    parser.add_argument("--limit", type=int, help="so many photographs, groups or pictures")
    parser.add_argument("--nearest", type=int, default=6, help="others looked at with each image")
    parser.add_argument("--peer-python", type=Path, help="a Python with AugLy, for edits")
    parser.add_argument("--output", type=Path, help="CSV file with a row for each pair")
    given = parser.parse_args()
    dataset = open_dataset(
        given.dataset, given.photos, limit=given.limit, peer_python=given.peer_python
    )
    seen = look_at_nearest(dataset, given.nearest)
    for line in report(dataset, seen):
        print(line)
    if given.output is not None:
        with given.output.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow(_COLUMNS)
            for (a, b), cosine, one in zip(
                seen.pairs.tolist(), seen.cosine, seen.looks, strict=True
            ):
                copies = int(dataset.groups[a] == dataset.groups[b])
                about = (one.relation, one.score, one.overlap_a, one.overlap_b, one.changed)
                rows.writerow([a, b, copies, round(float(cosine), 4), *about])


if __name__ == "__main__":
    main()
