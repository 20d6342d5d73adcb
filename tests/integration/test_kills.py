"""Invariant 3: a process killed at any instant leaves the old version or the new one.

`killed_walk` ends itself by SIGKILL at places in every stage and gate: before, within and after
each file, each commit and each statement to the warehouse. A rerun must then leave what an
undisturbed run leaves.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import builders
import pytest
from builders import Bench, Picture, current_state, differences

from idedup_tasks.lake import TABLES
from idedup_tasks.settings import STAGES

_SCRIPT = Path(__file__).with_name("killed_walk.py")


class Walker:
    """The process whose forks walk and are killed."""

    def __init__(self, answers: Path) -> None:
        self._answers = answers
        self._process = subprocess.Popen(
            [sys.executable, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def walk(self, bench: Bench, day: int | None, **order: Any) -> tuple[int, dict[str, Any]]:
        """Exit code (-9: killed) and what the walk said, if it came to the end."""
        self._answers.unlink(missing_ok=True)
        order |= {
            "source": str(bench.source),
            "home": str(bench.home),
            "collection": bench.collection.model_dump(mode="json"),
            "day": day,
            "answer": str(self._answers),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())["status"]
        said = json.loads(self._answers.read_text()) if self._answers.exists() else {}
        assert "error" not in said, said["error"]
        return status, said

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Walker]]:
    """Two, so that two kills are gone through at the same time."""
    answers = tmp_path_factory.mktemp("walkers")
    walkers = [Walker(answers / f"{number}.json") for number in range(2)]
    try:
        yield walkers
    finally:
        for walker in walkers:
            walker.close()


@pytest.fixture(scope="module")
def walker(walkers: list[Walker]) -> Walker:
    return walkers[0]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, walker: Walker) -> Bench:
    """A collection whose second day has run, when files of the first and second day have come."""
    folder = tmp_path_factory.mktemp("kills")
    # So small a limit that group, too, asks for looks: at the keepers of the larger component.
    limit = {"linkage_limit": 4}
    bench = builders.bench(folder / "begun", folder / "source", grouping=limit)
    base = 0x0123456789ABCDEF

    def far(i: int) -> int:
        return base * (i + 3) % 2**64

    for i in range(3):
        builders.place(bench.source, f"near{i}.png", Picture(far(i), 1, 30 * i).content, 1, i)
    builders.place(bench.source, "late.png", Picture(base ^ 0b111, 2).content, 1, 7)
    builders.place(bench.source, "later.png", Picture(base ^ 0b111111, 2).content, 1, 8)
    assert walker.walk(bench, None)[0] == 0
    # The first day's picture takes one of the second day's with it, and re-activates another.
    builders.place(bench.source, "early.png", Picture(base, 2, 10).content, 0)
    for i in range(4):
        builders.place(bench.source, f"new{i}.png", Picture(far(i + 9), 1, 15 * i).content, 0, i)
    changed = Picture(far(20), 1, 45).content
    builders.place(bench.source, "near1.png", changed, 1, 30)
    return bench


def _copied(bench: Bench, home: Path) -> Bench:
    shutil.copytree(bench.home, home)
    return Bench(bench.source, home, bench.collection)


@pytest.fixture(scope="module")
def undisturbed(
    begun: Bench, walker: Walker, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """State after a run that nothing disturbed, and by stage the moments at which to kill."""
    bench = _copied(begun, tmp_path_factory.mktemp("undisturbed") / "home")
    status, said = walker.walk(bench, None)
    assert status == 0
    moments: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for moment in said["moments"]:
        moments[moment.split()[0]].append(moment)
    return current_state(bench.run()), moments


def _chosen(stage: str, moments: list[str]) -> list[int]:
    """The first moment of each kind, and the last file: a chunk before others, and one after.

    Every stage records its history and keeps its candidate alike: that is left to `ingest`.
    """
    chosen = {moment: i for i, moment in reversed(list(enumerate(moments)))}
    written = [i for i, m in enumerate(moments) if m.endswith(".parquet written, not in its place")]
    kept = []
    for i in sorted({*chosen.values(), written[-1]}):
        what = moments[i].partition(": ")[2]
        if "record/" in what or ".json" in what:
            wanted = stage == "ingest"
        else:
            wanted = "apply/" not in what or what.endswith(("upsert.sql", "delete.sql"))
        if wanted:
            kept.append(i)
    return kept


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_leaves_the_old_or_the_new(
    begun: Bench,
    undisturbed: tuple[dict[str, Any], dict[str, list[str]]],
    walkers: list[Walker],
    tmp_path: Path,
    stage: str,
) -> None:
    expected, moments = undisturbed
    position = STAGES.index(stage)
    before = _copied(begun, tmp_path / "before")
    if position:
        assert walkers[0].walk(before, None, stages=STAGES[:position])[0] == 0
    held = {name: before.run().lake.snapshot(name).version for name in TABLES}
    rows = {name: before.run().lake.snapshot(name).read() for name in TABLES}
    kills = _chosen(stage, moments[stage])
    assert len(kills) >= 6
    if stage in ("match", "group"):
        assert any("publishing looks" in moments[stage][i] for i in kills)

    def survive(walker: Walker, kills: list[int]) -> None:
        for kill in kills:
            what = moments[stage][kill]
            bench = _copied(before, tmp_path / f"{kill}")
            order = {"stages": STAGES[position : position + 1], "stage": stage, "kill_at": kill}
            status, _ = walker.walk(bench, None, **order)
            assert status == -signal.SIGKILL, f"{what}: not killed"
            lake = bench.run().lake
            for name in TABLES:
                assert lake.snapshot(name, held[name]).read().equals(rows[name]), f"{what}: {name}"
                lake.snapshot(name).read()  # whatever is the newest, it can be read
            status, _ = walker.walk(bench, None, stages=STAGES[position:])
            assert status == 0
            found = differences(current_state(bench.run()), expected)
            assert found == {}, f"killed at {what}"
            shutil.rmtree(bench.home)

    with ThreadPoolExecutor(len(walkers)) as threads:
        halves = [kills[i :: len(walkers)] for i in range(len(walkers))]
        assert list(threads.map(survive, walkers, halves)) == [None] * len(walkers)


def test_finished_chunks_are_not_read_again(
    begun: Bench,
    undisturbed: tuple[dict[str, Any], dict[str, list[str]]],
    walker: Walker,
    tmp_path: Path,
) -> None:
    _, moments = undisturbed
    in_place = [i for i, m in enumerate(moments["ingest"]) if m.endswith(".parquet in its place")]
    bench = _copied(begun, tmp_path / "home")
    whole = _copied(begun, tmp_path / "whole")
    status, undisturbed_walk = walker.walk(whole, None, stages=["ingest"])
    assert status == 0
    order = {"stages": ["ingest"], "stage": "ingest", "kill_at": in_place[1]}
    assert walker.walk(bench, None, **order)[0] == -signal.SIGKILL
    status, again = walker.walk(bench, None, stages=["ingest"])
    assert status == 0
    # Two chunks of two objects each were in their place.
    assert len(undisturbed_walk["reads"]) == 6
    assert len(again["reads"]) == 2


def test_finished_looks_are_not_made_again(
    begun: Bench,
    undisturbed: tuple[dict[str, Any], dict[str, list[str]]],
    walker: Walker,
    tmp_path: Path,
) -> None:
    """Neither those that were published nor those that only lie there."""
    expected, moments = undisturbed
    stage = "match"
    before = _copied(begun, tmp_path / "before")
    position = STAGES.index(stage)
    assert walker.walk(before, None, stages=STAGES[:position])[0] == 0
    whole = _copied(before, tmp_path / "whole")
    status, undisturbed_walk = walker.walk(whole, None, stages=[stage])
    assert status == 0
    wanted = {tuple(pair) for pair in undisturbed_walk["looks"]}
    assert len(wanted) == len(undisturbed_walk["looks"]) > 2, "more than a chunk"
    published = [i for i, m in enumerate(moments[stage]) if m.endswith("before publishing looks")]
    bench = _copied(before, tmp_path / "home")
    order = {"stages": [stage], "stage": stage, "kill_at": published[len(published) // 2]}
    assert walker.walk(bench, None, **order)[0] == -signal.SIGKILL
    known = before.run().lake.snapshot("looks").rows
    held = bench.run().lake.snapshot("looks").rows - known
    assert 0 < held < len(wanted), "half written"
    status, again = walker.walk(bench, None, stages=[stage])
    assert status == 0
    # What was in its place, and not published, is not looked at either.
    assert len(again["looks"]) < len(wanted) - held
    assert {tuple(pair) for pair in again["looks"]} < wanted
    assert bench.run().lake.snapshot("looks").rows == known + len(wanted)
    assert walker.walk(bench, None, stages=STAGES[position:])[0] == 0
    assert differences(current_state(bench.run()), expected) == {}
