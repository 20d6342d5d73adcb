"""What a descriptor finds among edited photographs: `python -m idedup_tasks.training.evaluate`.

Every photograph of a folder is an original; each is edited in five ways, all kinds of edit equally
often, and each copy is compared with every original: thousands of unrelated images for each copy.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image

from idedup_tasks.descriptors import DEFAULT_DESCRIPTOR, Descriptor, load_descriptor
from idedup_tasks.descriptors.runtime import usable_cores
from idedup_tasks.training.edits import EDITS
from idedup_tasks.training.measure import (
    PairCurve,
    average_linkage,
    grouping_quality,
    pair_curve,
)
from idedup_tasks.training.photos import open_photo, photo_files

COPIES = 5


@dataclass(frozen=True)
class CopySet:
    """Originals and edited copies: `truth` is the row of a copy's original, `kinds` its edit."""

    originals: list[Image.Image]
    copies: list[Image.Image]
    truth: np.ndarray
    kinds: np.ndarray


def make_copies(files: list[Path], seed: int = 0) -> CopySet:
    """Edit each photograph in five ways; a function of the files and the seed alone."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        originals = list(pool.map(open_photo, files))
    names = list(EDITS)
    # Photograph i gets kinds 5i, 5i+1, …: over all, each kind equally often.
    jobs = [(i, names[(COPIES * i + k) % len(names)]) for i in range(len(files)) for k in range(5)]

    def edit(job: tuple[int, str]) -> Image.Image:
        i, kind = job
        rng = np.random.default_rng([seed, i, names.index(kind)])
        other = originals[int(rng.integers(0, len(originals)))]
        return EDITS[kind](originals[i], rng, other)

    with ThreadPoolExecutor(usable_cores()) as pool:
        copies = list(pool.map(edit, jobs))
    truth, kinds = zip(*jobs, strict=True)
    return CopySet(originals, copies, np.array(truth), np.array(kinds))


def phash_bits(images: list[Image.Image]) -> np.ndarray:
    """64-bit pHashes as float32 (n, 64) of 0 and 1."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        hashes = list(pool.map(imagehash.phash, images))
    return np.array([h.hash.ravel() for h in hashes], np.float32)


def phash_curve(photos: CopySet) -> PairCurve:
    """Pairs ranked by minus the Hamming distance of their pHashes."""
    copies, originals = phash_bits(photos.copies), phash_bits(photos.originals)
    distances = copies.sum(1)[:, None] + originals.sum(1)[None] - 2 * copies @ originals.T
    return pair_curve(-distances, photos.truth)


def collection_of(photos: CopySet, copies: np.ndarray, originals: np.ndarray) -> tuple[Any, Any]:
    """A collection to group: every original, and all copies of each third one.

    Returns vectors (n, dim) and the true group of each.
    """
    kept = photos.truth % 3 == 0
    truth = np.concatenate([np.arange(len(originals)), photos.truth[kept]])
    return np.concatenate([originals, copies[kept]]), truth


def summary(curve: PairCurve) -> dict[str, float]:
    """µAP, best F1 and recall at precision 0.99 of a curve."""
    f1, threshold = curve.best_f1()
    recall, _ = curve.at_precision(0.99)
    return {
        "micro_ap": round(curve.average_precision(), 4),
        "best_f1": round(f1, 4),
        "best_f1_threshold": round(threshold, 4),
        "recall_at_precision_0.99": round(recall, 4),
    }


def evaluate(descriptor: Descriptor, photos: CopySet) -> dict[str, Any]:
    """Figures of a descriptor, and of pHash for comparison, on one set of copies."""
    started = time.perf_counter()
    copies, originals = descriptor.encode(photos.copies), descriptor.encode(photos.originals)
    seconds = time.perf_counter() - started
    scores = copies @ originals.T
    curve = pair_curve(scores, photos.truth)
    thresholds = descriptor.thresholds
    precision, recall = curve.at_threshold(thresholds.pair)
    _, level = curve.at_precision(0.99)
    own = scores[np.arange(len(copies)), photos.truth]
    vectors, truth = collection_of(photos, copies, originals)
    (labels,) = average_linkage(vectors @ vectors.T, thresholds.candidate, [thresholds.cut])
    grouped = grouping_quality(labels, truth)
    hashes = phash_curve(photos)
    hash_precision, hash_recall = hashes.at_threshold(-thresholds.phash_distance)
    return {
        "model_id": descriptor.model_id,
        "originals": len(originals),
        "copies": len(copies),
        "images_per_second": round((len(copies) + len(originals)) / seconds),
        "pairs": summary(curve),
        "at_pair_threshold": {"precision": round(precision, 4), "recall": round(recall, 4)},
        "recall_at_precision_0.99_by_edit": {
            kind: round(float((own[photos.kinds == kind] >= level).mean()), 3) for kind in EDITS
        },
        "groups": dict(
            zip(("precision", "recall", "f1"), (round(g, 4) for g in grouped), strict=True)
        ),
        "phash": summary(hashes)
        | {"precision_at_distance": round(hash_precision, 4), "recall": round(hash_recall, 4)},
    }


def main() -> None:
    """Print the figures of a descriptor on a folder of photographs as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--descriptor", default=DEFAULT_DESCRIPTOR)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    photos = make_copies(photo_files(options.photos))
    descriptor = load_descriptor(options.descriptor, options.device)
    print(json.dumps(evaluate(descriptor, photos), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
