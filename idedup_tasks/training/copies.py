"""Photographs and edited copies of them, held in memory, to calibrate with.

Every photograph is an original; each is edited in five ways, all kinds of edit equally often, and
each copy is compared with every original: thousands of unrelated images for each copy. The edits
are those of `idedup benchmark`, which streams them and has more to measure.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from idedup_tasks.benchmarks.edits import EDITS
from idedup_tasks.benchmarks.measures import PairCurve
from idedup_tasks.compute import usable_cores
from idedup_tasks.hashes import perceptual_hash
from idedup_tasks.training.measure import pair_curve
from idedup_tasks.training.photos import open_photo

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
        return EDITS[kind](originals[i], rng, lambda: other)

    with ThreadPoolExecutor(usable_cores()) as pool:
        copies = list(pool.map(edit, jobs))
    truth, kinds = zip(*jobs, strict=True)
    return CopySet(originals, copies, np.array(truth), np.array(kinds))


def phash_bits(images: list[Image.Image]) -> np.ndarray:
    """64-bit pHashes as float32 (n, 64) of 0 and 1."""
    octets = perceptual_hash(images).astype(">u8").view(np.uint8).reshape(-1, 8)
    return np.unpackbits(octets, axis=1).astype(np.float32)


def phash_curve(photos: CopySet) -> PairCurve:
    """Pairs ranked by minus the Hamming distance of their pHashes."""
    copies, originals = phash_bits(photos.copies), phash_bits(photos.originals)
    distances = copies.sum(1)[:, None] + originals.sum(1)[None] - 2 * copies @ originals.T
    return pair_curve(-distances, photos.truth)


def collection_of(
    photos: CopySet, copies: np.ndarray, originals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A collection to group: every original, and all copies of each third one.

    Returns vectors (n, dim) and the true group of each.
    """
    kept = photos.truth % 3 == 0
    truth = np.concatenate([np.arange(len(originals)), photos.truth[kept]])
    return np.concatenate([originals, copies[kept]]), truth
