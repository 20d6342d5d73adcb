"""The whole workflow as a method: what `idedup scan` says of a dataset's images.

A scan reads files, groups them and names a keeper of each group (`groups.csv`), and says what it
saw of each pair that it looked at (`pairs.csv`).
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from idedup_tasks.benchmarks.datasets import BenchmarkError, Dataset
from idedup_tasks.benchmarks.measures import Judged, members_of
from idedup_tasks.benchmarks.methods import Method
from idedup_tasks.compute import usable_cores
from idedup_tasks.settings import DUPLICATES, VARIANTS

_MIXED = ("jpeg", "jpeg", "png", "jpeg", "webp", "jpeg", "jpeg", "png", "jpeg", "jpeg")
_ARRIVED = 1_700_000_000  # all files at once: no keeper is chosen for having come first


@dataclass(frozen=True)
class Scanned:
    """What a scan found among n images.

    scores: of the pairs it looked at. called: 1 for pairs called exact, same or crop. grouped: 1
    for those that share a group. groups, duplicates: int64 (n,) labels, a variant being alone in
    the second. keeper: bool (n,), also of what is in no group. about: what it took.
    """

    scores: Judged
    called: Judged
    grouped: Judged
    groups: np.ndarray
    duplicates: np.ndarray
    keeper: np.ndarray
    about: dict[str, Any]


def scan(
    dataset: Dataset, method: Method, progress: Callable[[str, int, int], None] | None = None
) -> Scanned:
    """Write the images' files, scan them in a process of its own, and read what it found.

    Raises:
        BenchmarkError: the scan failed.
    """
    show = progress or (lambda what, done, total: None)
    with tempfile.TemporaryDirectory(prefix="idedup-benchmark-") as folder:
        source, output = Path(folder) / "pictures", Path(folder) / "found"
        source.mkdir()
        write_files(dataset, source, show)
        show("scanning", 0, 1)
        start = time.perf_counter()
        usage = run_command((*method.command, str(source), "--output", str(output)))
        seconds = time.perf_counter() - start
        show("scanning", 1, 1)
        summary = json.loads((output / "summary.json").read_text("utf-8"))
        n = len(dataset)
        groups, duplicates, keeper = read_groups(output / "groups.csv", n)
        scores, called = _read_pairs(output / "pairs.csv", n)
    about = {
        "family": method.family,
        "architecture": "",
        "model_id": None,
        "threshold": 1.0,
        "candidate": None,
        "cut": None,
        "model_bytes": 0,
        "dim": 0,
        "ms_per_image": 1000 * seconds / n,
        "cpu_ms_per_image": 1000 * (usage.ru_utime + usage.ru_stime) / n,
        "peak_bytes": usage.ru_maxrss * 1024,
        "rejected": len(summary["rejected"]),
        "training": None,
    }
    return Scanned(scores, called, _sharing(groups), groups, duplicates, keeper, about)


def write_files(
    dataset: Dataset,
    folder: Path,
    show: Callable[[str, int, int], None],
    mixed: bool = False,
) -> None:
    """A file of each image, whose row `row_of` tells from its name.

    Args:
        mixed: of what has no file of its own, seven in ten as JPEG, two as PNG, one as WebP; else
            all as PNG.
    """
    # Neither the order of names nor that of time says what is an original.
    names = np.random.default_rng(0).permutation(len(dataset))

    def write(row: int) -> None:
        if dataset.file is not None:
            content, ending = dataset.file(row)
        else:
            buffer = io.BytesIO()
            ending = _MIXED[row % len(_MIXED)] if mixed else "png"
            picture = dataset.open(row)
            if ending == "png":
                picture.save(buffer, "PNG", compress_level=1)
            else:
                picture.convert("RGB").save(buffer, ending.upper(), quality=92)
            content = buffer.getvalue()
        path = folder / f"{names[row]:07}-{row}.{ending}"
        path.write_bytes(content)
        os.utime(path, (_ARRIVED, _ARRIVED))

    with ThreadPoolExecutor(usable_cores()) as pool:
        for done, _ in enumerate(pool.map(write, range(len(dataset))), 1):
            show("writing", done, len(dataset))


def run_command(
    command: tuple[str, ...],
    environment: Mapping[str, str] | None = None,
    name: str = "idedup scan",
) -> Any:
    """Run a command to its end; the resources that it and its children took.

    Raises:
        BenchmarkError: it failed.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(  # noqa: S603 - our own
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            lines = [line.strip() for line in said if line.strip()]
            raise BenchmarkError(
                f"{name} ended with code {process.returncode}: {lines[-1] if lines else ''}"
            )
        return usage


def row_of(uri: str) -> int:
    """The row of an image whose file `write_files` wrote."""
    return int(Path(uri).stem.rpartition("-")[2])


def read_groups(file: Path, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Scanned.groups`, `.duplicates` and `.keeper` of a scan's groups.csv."""
    groups, duplicates = np.arange(n), np.arange(n)
    keeper = np.ones(n, bool)
    numbers: dict[str, int] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            row = row_of(line["uri"])
            groups[row] = numbers.setdefault(line["group_id"], n + len(numbers))
            if line["relation"] not in VARIANTS:
                duplicates[row] = groups[row]
            keeper[row] = line["is_keeper"].lower() == "true"
    return groups, duplicates, keeper


def _read_pairs(file: Path, n: int) -> tuple[Judged, Judged]:
    """The scores of pairs, and 1 for those called duplicates."""
    with file.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    pairs = np.array([(row_of(line["uri_a"]), row_of(line["uri_b"])) for line in lines], np.int64)
    scores = np.array([float(line["score"] or 0) for line in lines])
    called = np.array([float(line["relation"] in DUPLICATES) for line in lines])
    return Judged(n, pairs, scores), Judged(n, pairs, called)


def _sharing(labels: np.ndarray) -> Judged:
    """1 for each pair of the same label."""
    pairs = [
        np.stack([members[a], members[b]], 1)
        for members in members_of(labels)
        for a, b in [np.triu_indices(len(members), 1)]
    ]
    joined = np.concatenate(pairs)
    return Judged(len(labels), joined, np.ones(len(joined)))
