"""How long programs take to group one folder, from their start to their end, and what they find.

They run in turn, round after round, so that whatever else the machine does meets all of them.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from idedup_tasks.benchmarks.datasets import BenchmarkError, Dataset
from idedup_tasks.benchmarks.measures import members_of
from idedup_tasks.benchmarks.methods import PEERS, SCAN
from idedup_tasks.benchmarks.peers.environment import peer_environment
from idedup_tasks.benchmarks.workflow import read_groups, row_of, run_command, write_files

_PEER_SCRIPT = Path(__file__).parent / "peers" / "group.py"

#: What groups a folder: the whole workflow, and other programs.
PROGRAMS = (SCAN, *(name for name in PEERS if not name.startswith("sscd")))
_BY_DEFAULT = ("fastdup", "imagededup-phash")


@dataclass(frozen=True)
class Timed:
    """What one run took: CPU seconds of all its processes, and what the largest had resident."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def choose_programs(names: Sequence[str] | None, peer_python: Path | None) -> list[str]:
    """The programs of these names; by default the workflow, and others where there is a Python.

    Raises:
        BenchmarkError: nothing has the name, or it is another program and there is no Python.
    """
    chosen = list(names or (SCAN, *(_BY_DEFAULT if peer_python else ())))
    for name in chosen:
        if name not in PROGRAMS:
            raise BenchmarkError(f"{name} groups no folder: expected {', '.join(PROGRAMS)}")
        if name != SCAN and peer_python is None:
            raise BenchmarkError(
                f"{name} runs in a Python of its own: give --peer-python (docs/benchmarks.md says "
                "how to make one)"
            )
    return chosen


def compare_speed(
    dataset: Dataset,
    programs: Sequence[str],
    rounds: int,
    peer_python: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Have each program group the dataset's images, `rounds` times each.

    Returns:
        JSON: `images`, `pairs` (of copies there are), `rounds`, `programs` by name (medians
        `seconds`, `cpu_seconds` and `peak_bytes`, `times` of the workflow's median, pairs `found`
        and `wrong`, and `runs`), `not_run` (the reason, by name).

    Raises:
        BenchmarkError: a scan failed.
    """
    show = progress or (lambda what, done, total: None)
    runs: dict[str, list[Timed]] = {}
    labels: dict[str, np.ndarray] = {}
    not_run: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="idedup-speed-") as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        write_files(dataset, pictures, show, mixed=True)
        for number in range(rounds):
            for place, name in enumerate(programs):
                show("timing", number * len(programs) + place, rounds * len(programs))
                if name in not_run:
                    continue
                with tempfile.TemporaryDirectory(prefix="found-", dir=folder) as found:
                    try:
                        timed = _run(name, pictures, Path(found), peer_python)
                        labels[name] = _labels(name, Path(found), len(dataset))
                    except BenchmarkError as error:
                        if name == SCAN:
                            raise
                        not_run[name] = str(error)
                        runs.pop(name, None)
                    else:
                        runs.setdefault(name, []).append(timed)
    made = {name: _summed_up(runs[name], labels[name], dataset) for name in runs}
    own = made.get(SCAN, {}).get("seconds")
    for figures in made.values():
        figures["times"] = figures["seconds"] / own if own else None
    return {
        "images": len(dataset),
        "pairs": _pairs_within(dataset.groups),
        "rounds": rounds,
        "programs": made,
        "not_run": not_run,
    }


def _run(name: str, pictures: Path, found: Path, peer_python: Path | None) -> Timed:
    if name == SCAN:
        command = [sys.executable, "-m", "idedup_tasks.cli", "scan"]
        command += [str(pictures), "--output", str(found)]
        environment = dict(os.environ)
    else:
        command = [str(peer_python), str(_PEER_SCRIPT), name]
        command += [str(pictures), str(found / "groups.json")]
        environment = peer_environment()
    start = time.perf_counter()
    usage = run_command(tuple(command), environment, name)
    seconds = time.perf_counter() - start
    return Timed(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _labels(name: str, found: Path, n: int) -> np.ndarray:
    """int64 (n,), equal for images that share a group."""
    if name == SCAN:
        return read_groups(found / "groups.csv", n)[0]
    answer = json.loads((found / "groups.json").read_text("utf-8"))
    if "error" in answer:
        raise BenchmarkError(answer["error"])
    labels = np.arange(n)
    for number, group in enumerate(answer["groups"], n):
        labels[[row_of(file) for file in group]] = number
    return labels


def _summed_up(runs: Sequence[Timed], labels: np.ndarray, dataset: Dataset) -> dict[str, Any]:
    # Pairs that share both groups: those of the labels of both together.
    both = np.unique([labels, dataset.groups], axis=1, return_inverse=True)[1]
    found = _pairs_within(both)
    return {
        "seconds": statistics.median(run.seconds for run in runs),
        "cpu_seconds": statistics.median(run.cpu_seconds for run in runs),
        "peak_bytes": statistics.median(run.peak_bytes for run in runs),
        "found": found,
        "wrong": _pairs_within(labels) - found,
        "runs": [[run.seconds, run.cpu_seconds, run.peak_bytes] for run in runs],
    }


def _pairs_within(labels: np.ndarray) -> int:
    return sum(len(members) * (len(members) - 1) // 2 for members in members_of(labels))
