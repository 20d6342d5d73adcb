"""How the benchmark hands images to a method's process, and what comes back, over a pipe.

The process answers first with a line of JSON about itself (or `{"error": sentence}`). Then it reads
batches: a line of JSON, a list of [width, height], followed by each image's RGB bytes; each is
answered by an empty line, so that no method computes while another does. An empty list ends it, and
is answered by a line of JSON with `n`, `dim`, `seconds` and `cpu_seconds` of encoding alone and
`peak_bytes` of resident memory, followed by the vectors, float32 (n, dim).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

import numpy as np
from PIL import Image


class Encoder(Protocol):
    """What turns images into rows: vectors, or the bits of hashes as +1 and -1."""

    def encode(self, images: list[Image.Image]) -> np.ndarray | None:
        """The rows of a batch, float32 (n, dim).

        None where all come at the end: the batch was only put by, and that takes no time.
        """

    def finish(self) -> np.ndarray | None:
        """The rows of all batches, where `encode` gave none."""


def answer_channel() -> BinaryIO:
    """Standard output for answers alone: whatever else is printed goes to standard error."""
    sys.stdout.flush()
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return channel


def serve(encoder: Encoder, about: dict[str, Any], out: BinaryIO) -> None:
    """Say `about`, then encode what comes on standard input until the end of it."""
    write_line(out, about)
    rows: list[np.ndarray] = []
    seconds, cpu_seconds, more = 0.0, 0.0, True
    while more:
        images = read_images(sys.stdin.buffer)
        more = bool(images)
        start, cpu = time.perf_counter(), time.process_time()
        some = encoder.encode(images) if more else encoder.finish()
        if some is not None:
            seconds += time.perf_counter() - start
            cpu_seconds += time.process_time() - cpu
            rows.append(np.asarray(some, np.float32))
        if more:
            out.write(b"\n")
            out.flush()
    vectors = np.concatenate(rows) if rows else np.empty((0, 0), np.float32)
    result = {"n": len(vectors), "dim": vectors.shape[1], "seconds": seconds}
    write_line(out, {**result, "cpu_seconds": cpu_seconds, "peak_bytes": peak_bytes()})
    out.write(vectors.tobytes())
    out.close()


def write_line(out: IO[bytes], content: Any) -> None:
    """A value as one line of JSON."""
    out.write(json.dumps(content).encode() + b"\n")
    out.flush()


def write_images(out: IO[bytes], images: list[Image.Image]) -> None:
    """A batch of RGB images; an empty one is the end."""
    write_line(out, [image.size for image in images])
    for image in images:
        out.write(image.tobytes())
    out.flush()


def read_images(source: BinaryIO) -> list[Image.Image]:
    """The next batch; empty at the end, and where the other side has gone."""
    line = source.readline()
    sizes = json.loads(line) if line else []
    return [Image.frombytes("RGB", (w, h), source.read(w * h * 3)) for w, h in sizes]


def signs(hashes: list[int], bits: int = 64) -> np.ndarray:
    """The bits of hashes as float32 (n, bits) of +1 and -1."""
    texts = [f"{value:0{bits}b}" for value in hashes]
    return np.array([[1.0 if bit == "1" else -1.0 for bit in text] for text in texts], np.float32)


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux it starts with what the starting process had.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
