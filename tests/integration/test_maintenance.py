"""Compaction, vacuum, the source looked through, and the check that names and mends."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import builders
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from builders import Bench, Picture, current_state, differences, walk

import idedup_tasks.stages.index.prepare
from idedup_tasks import maintenance, pipeline
from idedup_tasks.lake import TABLES, Conflict, Lake, TableChange
from idedup_tasks.maintenance import MaintenanceError, vacuum
from idedup_tasks.maintenance.source import windows
from idedup_tasks.run import Run

_BASE = 0x0123456789ABCDEF
LATER = datetime.now(UTC) + timedelta(days=10)


def fill(bench: Bench) -> Bench:
    """Three days in three runs, in chunks of two: many files, and three small shards."""
    for day in range(3):
        for i in range(5):
            number = 10 * day + i
            picture = Picture(_BASE * (number + 3) % 2**64, number % 6, 20 * (number % 2))
            builders.place(bench.source, f"{number}.png", picture.content, day, i)
    twin = (bench.source / "1.png").read_bytes()
    builders.place(bench.source, "twin.png", twin, 2, 50)
    for day in range(3):
        walk(bench.run(day))
    return bench


@pytest.fixture(scope="module")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    with pytest.MonkeyPatch.context() as patch:
        builders.doubles(patch.setattr)
        builders.unguarded(patch.setattr)
        small_files(patch.setattr)
        folder = tmp_path_factory.mktemp("maintained")
        return fill(builders.bench(folder / "home", folder / "source"))


def small_files(set_attribute: Callable[[str, Any], None]) -> None:
    for chunks in ("stages.ingest.planning", "stages.embed.prepare", "looking"):
        set_attribute(f"idedup_tasks.{chunks}.CHUNK", 2)
    set_attribute("idedup_tasks.stages.index.prepare.SHARD", 5)


@pytest.fixture
def filled(
    filled_home: Bench,
    tmp_path: Path,
    drawn: None,
    unguarded: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    """A copy of its own for each test, with the source."""
    small_files(monkeypatch.setattr)
    shutil.copytree(filled_home.home, tmp_path / "home")
    shutil.copytree(filled_home.source, tmp_path / "source")
    return Bench(
        tmp_path / "source",
        tmp_path / "home",
        filled_home.collection.model_copy(update={"source": str(tmp_path / "source")}),
    )


def settle(bench: Bench) -> dict[str, Any]:
    """The state after a run over everything: the copied source has another address."""
    walk(bench.run())
    return current_state(bench.run())


def files(run: Run) -> dict[str, int]:
    return {name: len(run.lake.snapshot(name).files()) for name in TABLES}


# --- compaction ----------------------------------------------------------------------------------


def test_compaction_changes_files_and_nothing_else(filled: Bench) -> None:
    expected, run = settle(filled), filled.run()
    before = files(run)
    done = {c.table: c for c in maintenance.compact(run)}
    assert before["images"] > 3
    assert before["embeddings"] > 3
    assert before["looks"] > 1
    assert files(run)["looks"] == files(run)["matches"] == 1
    assert files(run)["images"] == files(run)["embeddings"] == 3  # one a day
    assert (done["images"].before, done["images"].after) == (before["images"], 3)
    assert differences(current_state(run), expected) == {}
    found = walk(run)
    assert found["ingest"]["counts"]["read"] == found["embed"]["counts"]["embedded"] == 0
    assert found["match"]["counts"]["images"] == found["match"]["counts"]["looks_new"] == 0
    assert found["index"]["counts"]["added"] == 0
    assert {k: found["report"]["versions"][k] for k in ("inserted", "updated", "deleted")} == {
        "inserted": 0,
        "updated": 0,
        "deleted": 0,
    }
    assert differences(current_state(run), expected) == {}
    assert files(run)["images"] == 3
    assert maintenance.compact(run) == []


def test_compaction_says_that_no_data_changed(filled: Bench) -> None:
    run = filled.run()
    held = {name: run.lake.snapshot(name).metadata for name in TABLES}
    maintenance.compact(run)
    for name in ("images", "embeddings"):
        snapshot = run.lake.snapshot(name)
        assert snapshot.metadata == held[name]
        log = run.lake.read_text(f"{name}/_delta_log/{snapshot.version:020}.json")
        assert '"dataChange":false' in log
        assert '"dataChange":true' not in log


def test_small_shards_become_one(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, run = settle(filled), filled.run()
    before = run.lake.snapshot("index").rows
    assert before > 1
    monkeypatch.setattr(idedup_tasks.stages.index.prepare, "SHARD", 1_000)
    done = {c.table: c for c in maintenance.compact(run)}
    assert (done["index"].before, done["index"].after) == (before, 1)
    assert differences(current_state(run), expected) == {}
    assert walk(run)["index"]["counts"]["added"] == 0
    assert differences(current_state(run), expected) == {}
    assert maintenance.compact(run) == []


def test_a_shard_of_images_that_are_gone_is_made_anew(filled: Bench) -> None:
    for number in (0, 2, 3):
        (filled.source / f"{number}.png").unlink()
    walk(filled.run(allow_removals=True))
    run = filled.run()
    stale = sum(r["vectors"] for r in run.lake.snapshot("index").read().to_pylist())
    maintenance.compact(run)
    rows = run.lake.snapshot("index").read().to_pylist()
    assert sum(r["vectors"] for r in rows) < stale
    assert walk(run)["index"]["counts"]["stale"] == 0


def test_a_run_that_publishes_meanwhile_loses_nothing(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = filled.run()
    builders.place(filled.source, "new.png", Picture(_BASE, 40).content, 1, 30)
    publish, raced = Lake.publish, threading.Event()

    def first_somebody_else(lake: Lake, change: Any) -> int:
        if change.table == "images" and not change.data_change and not raced.is_set():
            raced.set()
            walk(filled.run(1), ["ingest"])
        return publish(lake, change)

    monkeypatch.setattr(Lake, "publish", first_somebody_else)
    maintenance.compact(run)
    assert raced.is_set()
    keys = run.lake.snapshot("images").read(["key"])["key"].to_pylist()
    assert len(keys) == 17
    assert "new.png" in keys
    walk(run)
    fresh = filled.fresh(filled.home.parent / "fresh")
    walk(fresh.run())
    assert differences(current_state(run), current_state(fresh.run())) == {}


def test_a_stage_under_way_prepares_again(filled: Bench) -> None:
    run = filled.run()
    builders.place(filled.source, "new.png", Picture(_BASE, 40).content, 1, 30)
    prepared = pipeline.prepare("ingest", run)["candidate"]
    maintenance.compact(run)
    with pytest.raises(Conflict):
        run.lake.publish(run.lake.load_candidate(prepared).changes[0])
    pipeline.gate("ingest", run, prepared)
    keys = run.lake.snapshot("images").read(["key"])["key"].to_pylist()
    assert len(keys) == len(set(keys)) == 17


_KILLED = """
import os, signal, sys
import builders
from idedup_tasks import lake, maintenance
from idedup_tasks.settings import Collection
from pathlib import Path
home, source, at = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
write, publish = lake.Lake.write_rows, lake.Lake.publish
def kill(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
def written(*a, **k):
    result = write(*a, **k)
    kill()
def published(self, change):
    result = publish(self, change)
    kill()
if at == "written": lake.Lake.write_rows = written
elif at == "before": lake.Lake.publish = kill
else: lake.Lake.publish = published
bench = builders.Bench(source, home, Collection.model_validate_json(sys.argv[4]))
maintenance.compact(bench.run())
"""


@pytest.mark.parametrize("moment", ["written", "before", "published"])
def test_a_kill_in_the_middle_leaves_the_old_or_the_new(filled: Bench, moment: str) -> None:
    run = filled.run()
    expected = current_state(run)
    version = run.lake.snapshot("images").version
    killed = subprocess.run(
        [
            *(sys.executable, "-c", _KILLED),
            *(str(filled.home), str(filled.source), moment),
            filled.collection.model_dump_json(),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert run.lake.snapshot("images").version == version + (moment == "published")
    assert differences(current_state(run), expected) == {}
    maintenance.compact(run)
    assert files(run)["images"] == 3
    assert differences(current_state(run), expected) == {}


# --- vacuum --------------------------------------------------------------------------------------


def test_vacuum_keeps_what_the_retention_promises(filled: Bench) -> None:
    run = filled.run()
    expected = settle(filled)
    held = {name: run.lake.snapshot(name) for name in TABLES}
    rows = {name: snapshot.read() for name, snapshot in held.items()}
    maintenance.compact(run)
    assert [g for g in vacuum(run, delete=True) if "data files" in g.kind] == []
    for name, snapshot in held.items():
        assert run.lake.snapshot(name, snapshot.version).read().equals(rows[name])
    assert differences(current_state(run), expected) == {}


def test_vacuum_takes_what_nothing_needs(filled: Bench) -> None:
    expected, run = settle(filled), filled.run()
    maintenance.compact(run)
    walk(run)  # whose tables are made of the compacted ones
    lake = run.lake
    for left in ("images/arrival=2026-01-01/left.parquet", "images/x.parquet.abc.partial"):
        lake.write_text(left, "left by a killed run")
    stored = {f.path for f in lake.files_under("")}
    found = {g.kind: g for g in vacuum(run, now=LATER)}
    assert {f.path for f in lake.files_under("")} == stored, "nothing is deleted unless asked"
    assert {"data files of images", "files half written", "candidates of runs"} <= found.keys()
    deleted = {g.kind: g for g in vacuum(run, delete=True, now=LATER)}
    assert deleted == found
    gone = stored - {f.path for f in lake.files_under("")}
    assert len(gone) == sum(g.files for g in found.values())
    assert "images/arrival=2026-01-01/left.parquet" in gone
    assert differences(current_state(run), expected) == {}
    assert maintenance.check(run) == []
    walk(run)
    assert differences(current_state(run), expected) == {}
    after = {f.path for f in lake.files_under("images") if f.path.endswith(".parquet")}
    assert after == {f"images/{f.path}" for f in lake.snapshot("images").files()}


def test_vacuum_keeps_versions_that_others_were_made_from(filled: Bench) -> None:
    expected, run = settle(filled), filled.run()
    maintenance.compact(run)  # no run has followed: the fingerprints are of the version before
    vacuum(run, delete=True, now=LATER)
    assert differences(current_state(run), expected) == {}
    walk(run, ["embed", "index", "group", "report"])
    assert differences(current_state(run), expected) == {}


def test_vacuum_keeps_files_that_a_candidate_names(filled: Bench) -> None:
    run = filled.run()
    builders.place(filled.source, "new.png", Picture(_BASE, 40).content, 1, 30)
    prepared = pipeline.prepare("ingest", run)["candidate"]
    [change] = run.lake.load_candidate(prepared).changes
    for file in change.add:  # as if an earlier try had written them long ago
        os.utime(run.lake.path(f"images/{file.path}"), (0, 0))
    vacuum(run, delete=True)
    pipeline.gate("ingest", run, prepared)
    assert "new.png" in run.lake.snapshot("images").read(["key"])["key"].to_pylist()


def test_vacuum_drops_looks_by_other_verifiers_on_request(filled: Bench) -> None:
    expected, run = settle(filled), filled.run()
    own = run.lake.snapshot("looks")
    table = own.read()
    at = table.schema.get_field_index("verifier")
    old = table.set_column(at, table.schema.field(at), pa.array(["old"] * len(table)))
    file = run.lake.write_rows("looks", {"verifier": "old"}, old)
    run.lake.publish(TableChange("looks", own.version, [file]))
    kind = f"files of {len(table):,} looks by other verifiers"
    wanted = maintenance.Garbage(kind, 1, file.bytes, f"looks/{file.path}")
    assert wanted in vacuum(run)
    assert run.lake.snapshot("looks").rows == 2 * len(table), "nothing is dropped unless asked"
    assert wanted in vacuum(run, delete=True)
    assert {f.path for f in run.lake.snapshot("looks").files()} == {f.path for f in own.files()}
    assert run.lake.exists(f"looks/{file.path}"), "readable within the retention"
    assert not [g for g in vacuum(run) if "verifiers" in g.kind]
    assert maintenance.check(run) == []
    assert walk(run)["match"]["counts"]["looks_new"] == 0
    assert differences(current_state(run), expected) == {}


def test_too_short_a_retention_is_refused(filled: Bench) -> None:
    with pytest.raises(MaintenanceError, match="give 2 days or more"):
        vacuum(filled.run(), timedelta(hours=1), delete=True)


def test_old_logs_go_and_new_ones_stay(filled: Bench, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    old = logs / "dag_id=a/run_id=old/task_id=t/attempt=1.log"
    new = logs / "dag_id=a/run_id=new/task_id=t/attempt=1.log"
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.write_text("said")
    os.utime(old, (0, 0))
    (logs / "scheduler.log").write_text("said")
    os.utime(logs / "scheduler.log", (0, 0))
    [found] = [g for g in vacuum(filled.run(), logs=logs) if g.kind == "task logs"]
    assert (found.files, found.bytes) == (1, 4)
    assert old.exists()
    vacuum(filled.run(), logs=logs, delete=True)
    assert new.exists()
    assert (logs / "scheduler.log").exists()
    assert not (logs / "dag_id=a/run_id=old").exists()


# --- the source ----------------------------------------------------------------------------------


def test_the_source_is_compared_period_by_period(filled: Bench) -> None:
    settle(filled)
    run = filled.run()
    assert maintenance.compare_source(run) == []
    (filled.source / "1.png").unlink()
    builders.place(filled.source, "new.png", Picture(_BASE, 40).content, 1, 30)
    builders.place(filled.source, "20.png", Picture(_BASE, 41).content, 2, 30)
    found = maintenance.compare_source(run)
    assert [str(f) for f in found] == [
        "2026-01-01: 1 vanished (1.png)",
        "2026-01-02: 1 lacking (new.png)",
        "2026-01-03: 1 changed (20.png)",
    ]
    maintenance.bring_up(filled.run(allow_removals=True), [f.arrival for f in found])
    assert maintenance.compare_source(run) == []
    fresh = filled.fresh(filled.home.parent / "fresh")
    walk(fresh.run())
    assert differences(current_state(run), current_state(fresh.run())) == {}


def test_neighbouring_periods_share_a_window() -> None:
    def moment(year: int, month: int, day: int, hour: int = 0) -> datetime:
        return datetime(year, month, day, hour, tzinfo=UTC)

    days = ["2026-01-31", "2026-02-01", "2026-02-03"]
    assert list(windows(days, "day")) == [
        (moment(2026, 1, 31), moment(2026, 2, 2)),
        (moment(2026, 2, 3), moment(2026, 2, 4)),
    ]
    months = ["2026-12", "2027-01"]
    assert list(windows(months, "month")) == [(moment(2026, 12, 1), moment(2027, 2, 1))]
    hours = ["2026-01-01T23"]
    assert list(windows(hours, "hour")) == [(moment(2026, 1, 1, 23), moment(2026, 1, 2))]


# --- the check -----------------------------------------------------------------------------------


def _a_file(run: Run, name: str) -> Path:
    return Path(run.lake.path(f"{name}/{run.lake.snapshot(name).files()[0].path}"))


def _remove(name: str) -> Callable[[Run], str]:
    def damage(run: Run) -> str:
        path = _a_file(run, name)
        path.unlink()
        return f"{path.name} is missing"

    return damage


def _shorten(name: str) -> Callable[[Run], str]:
    def damage(run: Run) -> str:
        path = _a_file(run, name)
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[:-7])
        return f"{path.name} has {size - 7:,} bytes instead of {size:,}"

    return damage


def _scribble(name: str) -> Callable[[Run], str]:
    def damage(run: Run) -> str:
        path = _a_file(run, name)
        content = bytearray(path.read_bytes())
        content[-20:] = b"\xff" * 20
        path.write_bytes(content)
        return f"{path.name} cannot be read"

    return damage


def _flip(name: str, column: str) -> Callable[[Run], str]:
    """One bit of a column's last page."""

    def damage(run: Run) -> str:
        path = _a_file(run, name)
        content = bytearray(path.read_bytes())
        group = pq.ParquetFile(path).metadata.row_group(0)
        [found] = [
            chunk
            for chunk in map(group.column, range(group.num_columns))
            if chunk.path_in_schema.partition(".")[0] == column
        ]
        start = found.dictionary_page_offset or found.data_page_offset
        content[start + found.total_compressed_size - 1] ^= 1
        path.write_bytes(content)
        return f"{path.name} cannot be read"

    return damage


def _spoil_shard(run: Run) -> str:
    row = run.lake.snapshot("index").read().to_pylist()[0]
    path = Path(run.lake.path(row["path"]))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    return f"index: shard {row['path']} is damaged"


def _lose_shard(run: Run) -> str:
    row = run.lake.snapshot("index").read().to_pylist()[0]
    Path(run.lake.path(row["path"])).unlink()
    return f"index: shard {row['path']} is missing"


def _by_hand(statement: str, said: str) -> Callable[[Run], str]:
    def damage(run: Run) -> str:
        path = run.places.warehouse.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as database, database:
            assert database.execute(statement).rowcount == 1
        return said

    return damage


def _lose_rows(name: str, said: str) -> Callable[[Run], str]:
    """A data file leaves its table by a commit: nothing is damaged, and rows are gone."""

    def damage(run: Run) -> str:
        from idedup_tasks.lake import TableChange

        snapshot = run.lake.snapshot(name)
        file = snapshot.files()[0]
        change = TableChange(name, snapshot.version, [], [file], snapshot.metadata)
        run.lake.publish(change)
        return f"lake: {file.rows} {said}"

    return damage


_DAMAGES: dict[str, Callable[[Run], str]] = {
    **{f"{name} removed": _remove(name) for name in TABLES},
    "images cut short": _shorten("images"),
    "images scribbled on": _scribble("images"),
    "sha256 flipped": _flip("images", "sha256"),
    "vector flipped": _flip("embeddings", "vector"),
    "hash flipped": _flip("fingerprints", "hash"),
    "look flipped": _flip("looks", "score"),
    "score flipped": _flip("matches", "score"),
    "groups scribbled on": _scribble("groups"),
    "embeddings scribbled on": _scribble("embeddings"),
    "shard spoilt": _spoil_shard,
    "shard lost": _lose_shard,
    "images lost": _lose_rows("images", "fingerprints have no image"),
    "fingerprints lost": _lose_rows("fingerprints", "images have no fingerprint"),
    "vectors lost": _lose_rows("embeddings", "active images have no vector"),
    "verdicts lost": _lose_rows("groups", "fingerprints have no verdict"),
    "row changed": _by_hand(
        "UPDATE image SET bytes = bytes + 1 WHERE key = '3.png'",
        "warehouse: 1 rows of image are not as the lake has them: ",
    ),
    "row removed": _by_hand(
        "DELETE FROM duplicate_pair WHERE rowid = (SELECT min(rowid) FROM duplicate_pair)",
        "warehouse: 1 rows of duplicate_pair are not as the lake has them: ",
    ),
    "row added": _by_hand(
        "INSERT INTO image SELECT collection, 'abc', arrival, period_start, key, prefix, uri,"
        " arrived_at, bytes, sha256, width, height, format, taken_at, low_information, status,"
        " reason_code, reason, verdict FROM image WHERE key = '3.png'",
        "warehouse: 1 rows of image are not as the lake has them: abc",
    ),
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_damage_is_named_and_mended(filled: Bench, damage: str) -> None:
    expected, run = settle(filled), filled.run()
    assert maintenance.check(run) == []
    named = _DAMAGES[damage](run)
    found = maintenance.check(run)
    assert any(named in str(d) for d in found), [str(d) for d in found]
    assert maintenance.check(run) == found, "looking changes nothing"
    if damage == "images lost":
        # Nothing says which file they were in: the source does.
        maintenance.bring_up(run, [p.arrival for p in maintenance.compare_source(run)])
    left = maintenance.repair(run, found)
    assert left == []
    assert differences(current_state(run), expected) == {}


def test_vectors_of_images_that_are_gone_are_named_and_dropped_on_request(filled: Bench) -> None:
    (filled.source / "4.png").unlink()
    expected, run = settle(filled.with_settings()), filled.run()
    found = maintenance.check(run)
    assert [d.stale for d in found] == [True]
    before = run.lake.snapshot("embeddings").rows
    assert maintenance.repair(run, found) == []
    assert run.lake.snapshot("embeddings").rows == before - 1
    assert differences(current_state(run), expected) == {}


# --- backup and restore --------------------------------------------------------------------------


def _back_up_warehouse(bench: Bench, folder: Path) -> None:
    folder.mkdir()
    path = bench.places.warehouse.removeprefix("sqlite:///")
    with (
        closing(sqlite3.connect(path)) as held,
        closing(sqlite3.connect(folder / "warehouse.db")) as copy,
    ):
        held.backup(copy)


def _back_up_lake(bench: Bench, folder: Path) -> None:
    """In the order of docs/operations.md: what was made first, last; a table's log before files."""
    held, copy = bench.home / "lake/drawn", folder / "lake/drawn"
    copy.mkdir(parents=True)
    for name in (
        "groups",
        "matches",
        "looks",
        "index",
        "shards",
        "embeddings",
        "fingerprints",
        "images",
        "packs",
    ):
        if (held / name / "_delta_log").is_dir():
            shutil.copytree(held / name / "_delta_log", copy / name / "_delta_log")
        shutil.copytree(held / name, copy / name, dirs_exist_ok=True)
    shutil.copy(held / "lake.json", copy)


def test_a_backup_taken_while_runs_go_on_is_restored_to_an_equal_state(
    filled: Bench, tmp_path: Path
) -> None:
    settle(filled)
    backup = tmp_path / "backup"
    _back_up_warehouse(filled, backup)
    builders.place(filled.source, "new.png", Picture(_BASE, 40).content, 1, 30)
    builders.place(filled.source, "newer.png", Picture(_BASE ^ 1, 40).content, 1, 31)
    walk(filled.run(1))  # between the two parts of the backup
    _back_up_lake(filled, backup)
    expected = settle(filled)
    shutil.rmtree(filled.home)
    shutil.copytree(backup, filled.home)
    found = maintenance.check(filled.run())
    assert {d.place for d in found} == {"warehouse"}
    assert maintenance.repair(filled.run(), found) == []
    assert differences(current_state(filled.run()), expected) == {}
    walk(filled.run())
    assert differences(current_state(filled.run()), expected) == {}


def test_a_lake_older_than_the_warehouse_is_named_and_made_the_one_that_counts(
    filled: Bench, tmp_path: Path
) -> None:
    settle(filled)
    _back_up_lake(filled, tmp_path / "backup")
    builders.place(filled.source, "new.png", Picture(_BASE, 40).content, 1, 30)
    expected = settle(filled)
    shutil.rmtree(filled.home / "lake")
    shutil.copytree(tmp_path / "backup/lake", filled.home / "lake")
    run = filled.run()
    found = maintenance.check(run)
    assert any("was it restored from a copy?" in str(d) for d in found), found
    with pytest.raises(Conflict):
        walk(run, ["report"])
    assert maintenance.repair(run, found) == []
    walk(run)
    assert differences(current_state(run), expected) == {}


def test_copies_taken_at_different_moments_are_named_and_mended(
    filled: Bench, tmp_path: Path
) -> None:
    settle(filled)
    shutil.copytree(filled.home / "lake/drawn/images", tmp_path / "images")
    builders.place(filled.source, "new.png", Picture(_BASE, 40).content, 1, 30)
    expected, run = settle(filled), filled.run()
    shutil.rmtree(filled.home / "lake/drawn/images")
    shutil.copytree(tmp_path / "images", filled.home / "lake/drawn/images")
    found = maintenance.check(run)
    assert any("fingerprints was made from version" in str(d) for d in found), found
    maintenance.repair(run, found)
    walk(run)
    assert maintenance.check(run) == []
    assert differences(current_state(run), expected) == {}


# --- the command line ----------------------------------------------------------------------------


@pytest.fixture
def command(
    filled: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`idedup maintain …` over the filled collection: exit code and what was said."""
    from idedup_tasks.cli import main

    settings = filled.collection.model_dump(mode="json")
    (filled.home / "drawn.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("IDEDUP_HOME", str(filled.home))
    monkeypatch.setenv("IDEDUP_COLLECTIONS", str(filled.home))
    for name in ("IDEDUP_LAKE", "IDEDUP_WAREHOUSE"):
        monkeypatch.delenv(name, raising=False)
    settle(filled)

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["maintain", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_the_commands_say_what_they_found_and_did(
    filled: Bench, command: Callable[..., tuple[int, str]]
) -> None:
    code, said = command("check")
    assert (code, said) == (0, "drawn: lake, index and warehouse agree\n")
    code, said = command("compact", "--collection", "drawn")
    assert code == 0
    assert "drawn: images: " in said
    assert "files became 3" in said
    code, said = command("vacuum")
    assert (code, said) == (0, "drawn: nothing to delete\n")
    code, said = command("vacuum", "--days", "1", "--delete")
    assert code == 2
    assert "give 2 days or more" in said
    code, said = command("check", "--collection", "other")
    assert code == 2
    assert "There is no collection other" in said
    assert "has drawn" in said
    (filled.source / "0.png").unlink()
    code, said = command("source")
    assert (code, said) == (1, "drawn: 2026-01-01: 1 vanished (0.png)\n")
    code, said = command("source", "--repair", "--allow-removals")
    assert code == 0
    assert said.endswith("drawn: the lake has what the source has\n")
    path = _a_file(filled.run(), "groups")
    path.unlink()
    code, said = command("check")
    assert code == 1
    assert f"{path.name} is missing" in said
    code, said = command("check", "--repair")
    assert code == 0
    assert said.endswith("drawn: lake, index and warehouse agree\n")
