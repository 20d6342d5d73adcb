"""Runs that overlap, as backfills do: the second of two writers starts again, and all ends well."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import builders
import pytest
from builders import Bench, Picture, current_state, differences, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from idedup_tasks import pipeline
from idedup_tasks.lake import Conflict, Lake, TableChange
from idedup_tasks.run import Run
from idedup_tasks.settings import STAGES
from idedup_tasks.warehouse import Warehouse

DAYS = 3


def fill(bench: Bench) -> None:
    """Pictures of three days: each day collapses, groups or re-activates something of another."""
    base = 0x0123456789ABCDEF

    def far(i: int) -> int:
        return base * (i + 3) % 2**64

    pictures = {
        # Steps of three bits: which collapse depends on the earliest, which comes with day 0.
        ("s0", 0): Picture(base, 1, 0),
        ("s1", 1): Picture(base ^ 0b111, 1, 10),
        ("s2", 2): Picture(base ^ 0b111111, 2, 0),
        ("s3", 1): Picture(base ^ 0b111111000, 1, 20),
        # A chain over all days.
        ("c0", 2): Picture(far(0), 3, 0),
        ("c1", 0): Picture(far(1), 3, 30),
        ("c2", 1): Picture(far(2), 3, 60),
        ("e0", 1): Picture(far(3), 4, 0),
        ("e1", 0): Picture(far(3), 4, 0),
        ("u0", 0): Picture(far(4), 5, 0),
        ("u1", 2): Picture(far(5), 6, 0),
    }
    for minute, ((key, day), picture) in enumerate(pictures.items()):
        builders.place(bench.source, f"{key}.png", picture.content, day, minute)


@pytest.fixture
def filled(bench: Bench, unguarded: None) -> Bench:
    fill(bench)
    return bench


@pytest.fixture
def expected(filled: Bench, tmp_path: Path) -> dict[str, Any]:
    """The state that one run over everything leaves."""
    once = filled.fresh(tmp_path / "once")
    walk(once.run())
    return current_state(once.run())


# --- one table, two writers ----------------------------------------------------------------------


def test_the_second_of_two_candidates_is_refused(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "photos")
    base = lake.snapshot("matches").version
    assert lake.publish(TableChange("matches", base, metadata={"by": "first"})) == base + 1
    with pytest.raises(Conflict, match="prepared again"):
        lake.publish(TableChange("matches", base, metadata={"by": "second"}))
    assert lake.snapshot("matches").metadata == {"by": "first"}


def test_a_commit_that_loses_the_race_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have found their base version current; only then does the first commit."""
    lake = Lake(str(tmp_path), "photos")
    base = lake.snapshot("matches").version
    pinned = lake.snapshot("matches")
    assert lake.publish(TableChange("matches", base, metadata={"by": "first"})) == base + 1
    monkeypatch.setattr(Lake, "snapshot", lambda *_: pinned)
    with pytest.raises(Conflict, match="same moment"):
        lake.publish(TableChange("matches", base, metadata={"by": "second"}))
    monkeypatch.undo()
    assert lake.snapshot("matches").version == base + 1
    assert lake.snapshot("matches").metadata == {"by": "first"}


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Eight threads publish to one table; exactly one wins each version."""
    lake = Lake(str(tmp_path), "photos")
    lake.snapshot("matches")
    barrier = threading.Barrier(8)
    won: list[tuple[int, int]] = []

    def write(number: int) -> None:
        own = Lake(str(tmp_path), "photos")
        barrier.wait()
        while True:
            base = own.snapshot("matches").version
            try:
                version = own.publish(TableChange("matches", base, metadata={"by": number}))
            except Conflict:
                continue
            won.append((version, number))
            return

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version for version, _ in won) == list(range(1, 9))
    for version, number in won:
        assert lake.snapshot("matches", version).metadata == {"by": number}


def test_tables_created_at_once_are_created_once(tmp_path: Path) -> None:
    """A second creation would be a version on top, of which nobody knows what it read."""
    for attempt in range(5):
        barrier = threading.Barrier(6)
        versions: list[int] = []

        def create(root: str, barrier: threading.Barrier, versions: list[int]) -> None:
            lake = Lake(root, "photos")
            barrier.wait()
            versions.extend(lake.snapshot(name).version for name in ("images", "matches"))

        arguments = (str(tmp_path / f"{attempt}"), barrier, versions)
        threads = [threading.Thread(target=create, args=arguments) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert versions == [0] * 12


def test_a_pinned_version_keeps_its_rows_and_what_it_read(filled: Bench) -> None:
    """What a version says of itself does not change when another run publishes the next."""
    walk(filled.run(0))
    lake = filled.run().lake
    pinned = {name: lake.snapshot(name) for name in ("images", "fingerprints", "groups")}
    versions = {name: snapshot.version for name, snapshot in pinned.items()}
    walk(filled.run(1))
    for name, snapshot in pinned.items():
        later = lake.snapshot(name, versions[name])
        assert lake.snapshot(name).version > versions[name]
        assert later.metadata == snapshot.metadata
        assert later.read().equals(snapshot.read())
    reads = pinned["fingerprints"].reads("images")
    assert reads == versions["images"] < (lake.snapshot("fingerprints").reads("images") or 0)


# --- two runs ------------------------------------------------------------------------------------


def _tasks(run: Run) -> Iterator[Callable[[], None]]:
    """What a scheduler starts one after the other: each stage, then its gate."""
    for stage in STAGES:
        candidates: list[str] = []

        def prepare(stage: str = stage, candidates: list[str] = candidates) -> None:
            candidates.append(pipeline.prepare(stage, run)["candidate"])

        def gate(stage: str = stage, candidates: list[str] = candidates) -> None:
            pipeline.gate(stage, run, candidates[-1])

        yield prepare
        yield gate


@pytest.mark.parametrize("stage", STAGES)
def test_a_candidate_overtaken_by_another_run_is_prepared_again(
    filled: Bench, expected: dict[str, Any], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run has prepared a stage when another walks from that stage to the end."""
    again: Counter[str] = Counter()
    prepare = pipeline.prepare

    def counted(name: str, run: Run) -> dict[str, Any]:
        again[f"{name} {run.run_id}"] += 1
        return prepare(name, run)

    position = STAGES.index(stage)
    walk(filled.run(2))
    one, other = filled.run(0), filled.run(1)
    walk(other, STAGES[:position])
    walk(one, STAGES[:position])
    prepared = pipeline.prepare(stage, one)["candidate"]
    builders.place(filled.source, "new.png", Picture(0xFEDCBA9876543210, 7).content, 1, 59)
    walk(other)
    monkeypatch.setattr(pipeline, "prepare", counted)
    pipeline.gate(stage, one, prepared)
    assert again[f"{stage} {one.run_id}"] == 1
    walk(one, STAGES[position + 1 :])
    (filled.source / "new.png").unlink()
    walk(filled.run(1, allow_removals=True))
    assert differences(current_state(filled.run()), expected) == {}


def test_runs_interleaved_task_by_task_end_as_one(
    tmp_path: Path, drawn: None, unguarded: None
) -> None:
    """Three backfilled days and a run over everything, their tasks in any order."""
    source = tmp_path / "source"
    fill(builders.bench(tmp_path / "once", source))
    once = builders.bench(tmp_path / "once", source)
    walk(once.run())
    wanted = current_state(once.run())
    examples: Counter[str] = Counter()

    @settings(max_examples=6, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, 2**32), st.booleans())
    def holds(seed: int, with_everything: bool) -> None:
        examples["interleaved"] += 1
        bench = builders.bench(tmp_path / f"{examples['interleaved']}", source)
        runs = [bench.run(day) for day in range(DAYS)]
        if with_everything:
            runs.append(bench.run())
        waiting = [list(_tasks(run)) for run in runs]
        order = random.Random(seed)
        while any(waiting):
            next_ = order.choice([tasks for tasks in waiting if tasks])
            try:
                next_[0]()
            except Conflict:  # the scheduler's retry
                examples["retried"] += 1
                continue
            next_.pop(0)
        assert differences(current_state(bench.run()), wanted) == {}

    holds()
    assert examples["interleaved"] >= 6


def test_a_run_that_passes_between_any_two_reads(
    tmp_path: Path, drawn: None, unguarded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one run works, another passes it whole, once at each moment it looks at a table.

    What a stage reads must be of versions that belong together, whichever way they move on.
    """
    source = tmp_path / "source"
    once = builders.bench(tmp_path / "once", source)
    fill(once)
    walk(once.run())
    wanted = current_state(once.run())
    snapshot = Lake.snapshot
    looks = 0

    def counted(lake: Lake, name: str, version: int | None = None) -> Any:
        nonlocal looks
        looks += 1
        return snapshot(lake, name, version)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "snapshot", counted)
        probe = builders.bench(tmp_path / "probe", source)
        walk(probe.run(0))
    assert looks > 12
    for moment in range(looks):
        bench = builders.bench(tmp_path / f"{moment}", source)
        walk(bench.run(2))
        seen = 0

        def passed(lake: Lake, name: str, version: int | None = None) -> Any:
            nonlocal seen
            seen += 1
            if seen == moment + 1:  # noqa: B023
                with monkeypatch.context() as undisturbed:
                    undisturbed.setattr(Lake, "snapshot", snapshot)
                    walk(bench.run(1))  # noqa: B023
            return snapshot(lake, name, version)

        with monkeypatch.context() as patch:
            patch.setattr(Lake, "snapshot", passed)
            walk(bench.run(0))
        assert differences(current_state(bench.run()), wanted) == {}, f"passed at look {moment}"


def test_a_changed_file_is_not_embedded_under_its_former_digest(
    filled: Bench, expected: dict[str, Any]
) -> None:
    """One run has fingerprints of a file, another brings its new content in before it is embedded;
    when the file is as it was again, so must its vector be."""
    walk(filled.run(0), ["ingest", "prefilter"])
    changed = filled.source / "u0.png"
    before, times = changed.read_bytes(), (changed.stat().st_mtime,) * 2
    builders.place(filled.source, "u0.png", Picture(0xFEDCBA9876543210, 1, 5).content, 0, 55)
    walk(filled.run(0, run_id="other"), ["ingest"])
    walk(filled.run(0), STAGES[2:])
    changed.write_bytes(before)
    os.utime(changed, times)
    for day in range(DAYS):
        walk(filled.run(day))
    assert differences(current_state(filled.run()), expected) == {}


# --- the warehouse -------------------------------------------------------------------------------


def test_the_warehouse_refuses_what_was_made_from_older_tables(filled: Bench) -> None:
    from idedup_tasks.stages.report import prepare as report

    walk(filled.run(0))
    older = report.prepare(filled.run(0, run_id="older"))
    walk(filled.run(1))
    state = builders.warehouse_state(str(filled.home / "warehouse.db"))
    lake = filled.run().lake
    results, pairs = (report.read_results(lake, older.files[n]) for n in ("results", "pairs"))
    with pytest.raises(Conflict, match="newer versions"):
        Warehouse(filled.places.warehouse).apply(filled.run(0), older, results, pairs)
    assert builders.warehouse_state(str(filled.home / "warehouse.db")) == state
