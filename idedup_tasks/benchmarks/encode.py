"""Encode images by a descriptor or hash: `python -m idedup_tasks.benchmarks.encode NAME DEVICE`.

One process a method, spoken to by a pipe (`peers.frames`), so that what it takes of memory and time
is its own.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image

from idedup_tasks.benchmarks.methods import HASHES
from idedup_tasks.benchmarks.peers.frames import answer_channel, serve, signs, write_line
from idedup_tasks.descriptors import DescriptorError, load_card, load_descriptor
from idedup_tasks.extras import ExtraMissing
from idedup_tasks.hashes import perceptual_hash
from idedup_tasks.settings import HashKind

# imagededup's, so that hashes are judged alike; the workflow's own is calibrated, and stricter.
HASH_DISTANCE = 10


class Hash:
    """A perceptual hash of 64 bits, in batches on one thread."""

    def __init__(self, kind: HashKind) -> None:
        self.kind = kind
        self.about: dict[str, Any] = {
            "model_id": None,
            "threshold": 1 - HASH_DISTANCE / 64,
            "candidate": None,
            "cut": None,
            "hamming": True,
            "model_bytes": 0,
        }

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        return signs(perceptual_hash(images, self.kind).tolist())

    def finish(self) -> None:
        return None


class Described:
    """A descriptor on one device."""

    def __init__(self, name: str, device: str) -> None:
        card, self.descriptor = load_card(name), load_descriptor(name, device)
        thresholds = self.descriptor.thresholds
        self.about: dict[str, Any] = {
            "model_id": self.descriptor.model_id,
            "threshold": thresholds.pair,
            "candidate": thresholds.candidate,
            "cut": thresholds.cut,
            "hamming": False,
            "model_bytes": (card.folder / card.weights).stat().st_size,
        }

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        return self.descriptor.encode(images)

    def finish(self) -> None:
        return None


def main(name: str, device: str) -> None:
    out = answer_channel()
    try:
        encoder = Hash(name) if name in HASHES else Described(name, device)
    except (DescriptorError, ExtraMissing) as error:
        write_line(out, {"error": str(error)})
        return
    serve(encoder, encoder.about, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
