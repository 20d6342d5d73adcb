"""The methods of a benchmark: a process each, fed with the same images in turn."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from idedup_tasks.benchmarks.datasets import BenchmarkError
from idedup_tasks.benchmarks.measures import Encoding
from idedup_tasks.benchmarks.peers.environment import peer_environment
from idedup_tasks.benchmarks.peers.frames import write_images
from idedup_tasks.descriptors import DEFAULT_DESCRIPTOR, DescriptorError, load_card
from idedup_tasks.settings import HashKind

HASHES: tuple[HashKind, ...] = tuple(sorted(get_args(HashKind)))
PEERS = (
    *(f"imagededup-{name}" for name in HASHES),
    *("imagededup-cnn", "fastdup", "sscd", "sscd-student"),
)
_PEER_SCRIPT = Path(__file__).parent / "peers" / "encode.py"

#: The whole workflow: `idedup scan` over the images' files, which says what is grouped.
SCAN = "idedup-scan"

Family = Literal["descriptor", "hash", "peer", "workflow"]


@dataclass(frozen=True)
class Method:
    """What is to be measured: `name` in tables, and the command of its process."""

    name: str
    family: Family
    command: tuple[str, ...]
    architecture: str = ""
    model_id: str = ""
    folder: Path | None = None  # of a descriptor's files


@dataclass(frozen=True)
class Encoded:
    """What a method made of all images, and what that took.

    about: model_id, threshold, candidate and cut (None without calibration), model_bytes.
    seconds, cpu_seconds: of encoding alone, loading the model and reading images excluded; CPU
    seconds are of all threads. peak_bytes: resident memory of the method's process, its libraries
    and one batch of images included.
    """

    encoding: Encoding
    about: dict[str, Any]
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def choose_methods(
    names: Sequence[str] | None, peer_python: Path | None = None, device: str = "auto"
) -> list[Method]:
    """The methods of these names, which are hashes, descriptors (by name or path) and peers.

    By default the shipped descriptor and the hashes, and the peers where there is a Python for
    them. Raises BenchmarkError for a name that nothing has, or a peer without its Python.
    """
    if names is None:
        names = (DEFAULT_DESCRIPTOR, *HASHES, *(PEERS if peer_python else ()))
    methods = [_method(name.strip(), peer_python, device) for name in names]
    # Descriptors of one name, such as the shipped one and one trained further, go by model_id.
    count = Counter(method.name for method in methods)
    methods = [
        replace(method, name=method.model_id or method.name) if count[method.name] > 1 else method
        for method in methods
    ]
    for name, times in Counter(method.name for method in methods).items():
        if times > 1:
            raise BenchmarkError(f"{name} is among the methods twice: name it once")
    if not methods:
        raise BenchmarkError(f"there is no method to measure; name some, such as {HASHES[2]}")
    return methods


def _method(name: str, peer_python: Path | None, device: str) -> Method:
    own = (sys.executable, "-m", "idedup_tasks.benchmarks.encode", name, device)
    if name in HASHES:
        return Method(name, "hash", own)
    if name == SCAN:
        scan = (sys.executable, "-m", "idedup_tasks.cli", "scan", "--device", device)
        return Method(name, "workflow", scan)
    if name in PEERS:
        if peer_python is None:
            raise BenchmarkError(
                f"{name} runs in a Python of its own: give --peer-python, or IDEDUP_PEER_PYTHON "
                "to the DAG's workers (docs/benchmarks.md says how to make one)"
            )
        if not peer_python.is_file():
            raise BenchmarkError(f"{peer_python} is no file: expected a Python for {name}")
        return Method(name, "peer", (str(peer_python), str(_PEER_SCRIPT), name))
    try:
        card = load_card(name)
    except DescriptorError as error:
        raise BenchmarkError(
            f"{error}; hashes are {', '.join(HASHES)}; {SCAN} is the whole workflow"
        ) from error
    return Method(
        card.name, "descriptor", own, card.architecture, card.model_id(device), card.folder
    )


class Process:
    """A method's process, from loading to its vectors; close it whatever happens."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._complaints = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - see close
        self._process = subprocess.Popen(  # noqa: S603 - names are checked by choose_methods
            method.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=peer_environment() if method.family == "peer" else None,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout
        self.about: dict[str, Any] = {}

    def refusal(self) -> str:
        """Wait until the method is loaded; why it cannot be used here, or nothing where it can."""
        try:
            self.about = json.loads(self._line())
        except BenchmarkError as error:
            return str(error)
        return str(self.about.get("error", ""))

    def encode(self, images: list[Image.Image]) -> None:
        """Hand over a batch of RGB images, and wait until it is encoded."""
        try:
            write_images(self._to, images)
        except BrokenPipeError:
            raise self._death() from None
        if images:
            self._line()

    def finish(self, count: int) -> Encoded:
        """What was made of all images.

        Raises BenchmarkError where the process has died, or lost some of the `count` images.
        """
        self.encode([])
        result = json.loads(self._line())
        n, dim = result["n"], result["dim"]
        vectors = np.frombuffer(self._from.read(n * dim * 4), np.float32).reshape(n, dim)
        if n != count:
            raise BenchmarkError(f"{self.method.name} encoded {n} of {count} images")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return Encoded(
            Encoding(vectors / np.maximum(lengths, 1e-12), bool(self.about["hamming"])),
            {key: value for key, value in self.about.items() if key != "hamming"},
            result["seconds"],
            result["cpu_seconds"],
            result["peak_bytes"],
        )

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._to.close()
        self._from.close()
        self._complaints.close()

    def _line(self) -> bytes:
        line = self._from.readline()
        if not line:
            raise self._death()
        return line

    def _death(self) -> BenchmarkError:
        code = self._process.wait()
        self._complaints.seek(0)
        said = [line.strip() for line in self._complaints if line.strip()]
        last = f": {said[-1]}" if said else ""
        return BenchmarkError(f"{self.method.name} ended with code {code}{last}")
