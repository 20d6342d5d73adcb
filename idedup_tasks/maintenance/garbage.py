"""Vacuum: what nothing refers to any more, and history older than anybody asks for.

Kept is every version that was the newest one at some moment within the retention, and every
version that one of those was made from, however old; so stages, searches and pages find what they
cite, and older states of a table can be read for as long as the retention says.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from idedup_tasks.errors import TerminalError
from idedup_tasks.lake import (
    TABLES,
    Conflict,
    DataFile,
    Lake,
    Snapshot,
    StoredFile,
    TableChange,
)
from idedup_tasks.run import Run
from idedup_tasks.shards import ids_path
from idedup_tasks.verification import verifier_version

log = logging.getLogger(__name__)

RETENTION = timedelta(days=7)
# A task may run for a day, and its gate after it: what they have written nobody refers to yet.
SHORTEST = timedelta(days=2)
_ATTEMPTS = 10


class MaintenanceError(TerminalError, RuntimeError):
    """What was asked for would harm the collection, or cannot be done."""


@dataclass(frozen=True)
class Garbage:
    """Files of one kind that are no longer needed, with an example."""

    kind: str
    files: int
    bytes: int
    example: str


def vacuum(
    run: Run,
    retention: timedelta = RETENTION,
    *,
    delete: bool = False,
    logs: Path | None = None,
    logs_retention: timedelta = timedelta(days=90),
    now: datetime | None = None,
) -> list[Garbage]:
    """Find what is no longer needed; delete it when asked to.

    - data files of tables, and index shards, of versions older than the retention
    - packs of thumbnails to which no row of a data file that stays points; a pack goes or stays as
      a whole, however few of its thumbnails are still needed
    - looks by other verifiers than the installed one, which no run reads; they leave the table, and
      their files follow once no version within the retention has them
    - data files that a killed run left, `*.partial` files
    - candidates, with the results they hold
    - reports, and Airflow's task logs, of runs older than `logs_retention`

    Args:
        retention: how long a replaced version stays readable; two days or more.
        delete: whether to delete it, or only to say what there is.
        logs: folder of log files; None: logs are left alone.
        now: the moment to count back from, if not the present.

    Returns:
        One entry per kind of which there is something.

    Raises:
        MaintenanceError: the retention is too short for runs under way.
    """
    if min(retention, logs_retention) < SHORTEST:
        raise MaintenanceError(
            f"A retention of {min(retention, logs_retention)} could take files from runs that are "
            f"under way: give {SHORTEST.days} days or more."
        )
    now = now or datetime.now(UTC)
    lake, since = run.lake, now - retention
    # Listed first: what somebody publishes from now on refers to other files or to these.
    stored = {name: _old_data_files(lake, name, since) for name in TABLES}
    shards = [f for f in lake.files_under("shards") if f.written_at < since]
    kept = kept_versions(lake, since)
    unneeded = {name: _data_files(lake, name, stored[name], kept, since) for name in TABLES}
    found = [
        *((f"data files of {name}", files) for name, files in unneeded.items()),
        _packs(lake, since, unneeded["images"]),
        _shards(lake, shards, kept),
        _partial_files(lake, since),
        _candidates(lake, since),
        _reports(lake, now - logs_retention),
    ]
    garbage = [_take(lake, kind, files, delete) for kind, files in found]
    garbage.append(_other_looks(lake, delete))
    if logs is not None:
        garbage.append(_old_logs(logs, now - logs_retention, delete))
    return [kind for kind in garbage if kind.files]


def _take(lake: Lake, kind: str, files: Iterable[StoredFile], delete: bool) -> Garbage:
    listed = sorted(files, key=lambda f: f.path)
    for file in listed if delete else ():
        lake.remove(file.path)
    example = listed[0].path if listed else ""
    return Garbage(kind, len(listed), sum(f.bytes for f in listed), example)


# --- tables --------------------------------------------------------------------------------------


def _old_data_files(lake: Lake, name: str, since: datetime) -> list[StoredFile]:
    return [file for file in lake.files_under(name) if _is_data(file) and file.written_at < since]


def _is_data(file: StoredFile) -> bool:
    return file.path.endswith(".parquet") and "/_delta_log/" not in file.path


def _data_files(
    lake: Lake,
    name: str,
    stored: list[StoredFile],
    kept: Mapping[str, set[int]],
    since: datetime,
) -> list[StoredFile]:
    if not stored:
        return []
    needed: set[str] = set()
    versions = kept.get(name, set())
    for version in versions:
        commit = lake.commit(name, version)
        if version - 1 in versions and commit is not None:
            needed |= commit.added  # the others are the version's before
        else:
            needed |= {f.path for f in lake.snapshot(name, version).files()}
    needed = {f"{name}/{path}" for path in needed} | _named_by_candidates(lake, name, since)
    return [f for f in stored if f.path not in needed]


def kept_versions(lake: Lake, since: datetime) -> dict[str, set[int]]:
    """By table, the versions within the retention and all that they were made from."""
    wanted: dict[str, set[int]] = {}
    pending: list[tuple[str, int]] = []
    for name in TABLES:
        if lake.exists(f"{name}/_delta_log"):
            pending += [(name, version) for version in _recent(lake, name, since)]
    while pending:
        name, version = pending.pop()
        if version in wanted.setdefault(name, set()):
            continue
        commit = lake.commit(name, version)
        if commit is None:  # older than the log reaches back: nobody can read it
            continue
        wanted[name].add(version)
        reads = commit.metadata.get("reads", {})
        pending += [(table, int(held)) for table, held in reads.items() if table in TABLES]
    return wanted


def _recent(lake: Lake, name: str, since: datetime) -> Iterator[int]:
    """The versions committed since then, and the one that was the newest at that moment."""
    for version in range(lake.snapshot(name).version, -1, -1):
        commit = lake.commit(name, version)
        if commit is None:
            return
        yield version
        if commit.at < since:
            return


def _other_looks(lake: Lake, delete: bool) -> Garbage:
    """Rows of the cache of looks that another verifier saw; whoever returns to it looks again."""
    for _ in range(_ATTEMPTS):
        looks, verifier = lake.snapshot("looks"), verifier_version()
        others = [f for f in looks.files() if f.partition["verifier"] != verifier]
        others.sort(key=lambda f: f.path)
        if others and delete:
            try:
                lake.publish(TableChange("looks", looks.version, remove=others))
            except Conflict:
                log.info("looks was published by a run meanwhile: trying again")
                continue
        rows, size = sum(f.rows for f in others), sum(f.bytes for f in others)
        example = f"looks/{others[0].path}" if others else ""
        return Garbage(f"files of {rows:,} looks by other verifiers", len(others), size, example)
    raise Conflict(f"looks is not vacuumed after {_ATTEMPTS} tries: vacuum when no run is on.")


def _named_by_candidates(lake: Lake, name: str, since: datetime) -> set[str]:
    """A candidate may take up a file that an earlier try wrote long ago."""
    named: set[str] = set()
    for file in lake.files_under("candidates"):
        if file.path.endswith(".json") and file.written_at >= since:
            for change in lake.load_candidate(file.path).changes:
                if change.table == name:
                    named |= {f"{name}/{added.path}" for added in change.add}
    return named


def _packs(lake: Lake, since: datetime, unneeded: list[StoredFile]) -> tuple[str, list[StoredFile]]:
    """Packs to which nothing points: not only of tables, for a rerun takes up what a kill left."""
    kind = "packs of thumbnails"
    gone, needed = {f.path for f in unneeded}, set[str]()
    for file in lake.files_under("images"):
        if _is_data(file) and file.path not in gone:
            try:
                with lake.open(file.path) as stream:
                    needed |= {*pq.read_table(stream, columns=["pack"])["pack"].to_pylist()}
            except (pa.ArrowException, OSError) as error:
                log.warning("%s cannot be read, so no pack is deleted: %s", file.path, error)
                return kind, []
    # Listed last: a run that makes an old pack anew meanwhile has written it again.
    packs = (f for f in lake.files_under("packs") if f.path.endswith(".pack"))
    return kind, [f for f in packs if f.written_at < since and f.path not in needed]


def _shards(
    lake: Lake, stored: list[StoredFile], kept: Mapping[str, set[int]]
) -> tuple[str, list[StoredFile]]:
    kind = "index shards"
    if not stored:
        return kind, []
    files: dict[str, DataFile] = {}
    for version in kept.get("index", ()):
        files |= {f.path: f for f in lake.snapshot("index", version).files()}
    needed = set()
    for path in _paths(lake.snapshot("index"), files.values()):
        needed |= {path, ids_path(path)}
    return kind, [f for f in stored if f.path not in needed]


def _paths(snapshot: Snapshot, files: Iterable[DataFile]) -> Iterator[str]:
    for batch in snapshot.scan(["path"], files=files):
        yield from batch["path"].to_pylist()


# --- the rest ------------------------------------------------------------------------------------


def _partial_files(lake: Lake, since: datetime) -> tuple[str, list[StoredFile]]:
    partial = (f for f in lake.files_under("") if f.path.endswith(".partial"))
    return "files half written", [f for f in partial if f.written_at < since]


def _candidates(lake: Lake, since: datetime) -> tuple[str, list[StoredFile]]:
    """Those of runs that have written nothing since; a run's files go together."""
    runs: dict[str, list[StoredFile]] = {}
    for file in lake.files_under("candidates"):
        runs.setdefault(file.path.split("/")[1], []).append(file)
    old = [files for files in runs.values() if max(f.written_at for f in files) < since]
    kept = (f for files in old for f in files if not f.path.endswith(".partial"))
    return "candidates of runs", list(kept)


def _reports(lake: Lake, since: datetime) -> tuple[str, list[StoredFile]]:
    pages = (f for f in lake.files_under("reports") if re.search(r"\.html$", f.path))
    return "reports of runs", [f for f in pages if f.written_at < since]


def _old_logs(folder: Path, since: datetime, delete: bool) -> Garbage:
    """Log files of runs (`dag_id=…/run_id=…/`), wherever Airflow keeps them on this machine."""
    files, total, example = 0, 0, ""
    for path in sorted(folder.glob("dag_id=*/run_id=*/**/*.log")):
        about = path.stat()
        if about.st_mtime >= since.timestamp():
            continue
        files, total, example = files + 1, total + about.st_size, example or str(path)
        if delete:
            path.unlink(missing_ok=True)
            for empty in path.parents:
                if empty == folder or any(empty.iterdir()):
                    break
                empty.rmdir()
    return Garbage("task logs", files, total, example)
