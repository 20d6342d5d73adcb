"""What `make run` does, step by step, and what it shows meanwhile."""

from __future__ import annotations

import argparse
import errno
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from idedup_tasks import terminal
from idedup_tasks.addresses import secret_in
from idedup_tasks.api import UsageError, collection_name
from idedup_tasks.errors import IdedupError, TerminalError
from idedup_tasks.pages.units import human_bytes
from idedup_tasks.quickstart.airflow import LocalAirflow
from idedup_tasks.quickstart.result import show_result
from idedup_tasks.quickstart.sample import arrival_days, make_sample
from idedup_tasks.settings import (
    STAGES,
    Collection,
    Places,
    load_collection,
    make_private,
)
from idedup_tasks.warehouse import Warehouse

_FREE_BYTES = 2 * 10**9
_POLL_SECONDS = 1.0
_FINISHED = {"success", "failed"}
_SIGNS = {
    "running": "[cyan]running[/]",
    "queued": "queued",
    "up_for_retry": "[yellow]retrying[/]",
    "failed": "[red]failed[/]",
    "upstream_failed": "[dim]not run[/]",
    "done": "[green]done[/]",
    "gate": "[cyan]gate[/]",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 when something failed, 2 for bad use, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="make run", description="Find the duplicates of a sample, or of SOURCE."
    )
    parser.add_argument("--source", help="folder or URL to look through, instead of the sample")
    parser.add_argument("--once", action="store_true", help="exit after the result")
    options = parser.parse_args(arguments)
    console = terminal.stdout()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        return _run(console, options.source, options.once)
    except KeyboardInterrupt:
        console.print("Ended before there was a result.")
        return 130
    except IdedupError as error:
        fault, code = str(error), 2 if isinstance(error, TerminalError) else 1
    except FileNotFoundError as error:
        fault, code = str(error), 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        fault, code = f"The disk is full: make room, or set IDEDUP_HOME elsewhere ({error}).", 1
    terminal.stderr().print(fault, markup=False)
    return code


def _end(number: int, _: Any) -> None:
    raise KeyboardInterrupt


def _run(console: Console, source: str | None, once: bool) -> int:
    places = Places.from_environment()
    url = _checked_source(source)
    _make_home(places)
    if url is None:
        with _step(console, "Making the sample collection"):
            truth: Path | None = make_sample(places.home / "sample")
        collection = _write_collection(places, "sample", places.home / "sample", daily=True)
    else:
        truth, collection = None, _write_collection(places, collection_name(url), url, daily=False)
    with _step(console, "Bringing the warehouse up to date"):
        Warehouse(places.warehouse_owner or places.warehouse).upgrade()
    dag_id = f"image_dedup_{collection.name}"
    gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    airflow = LocalAirflow(
        places.home / "airflow", places, environment={"IDEDUP_GPU_POOL": "gpu"} if gpus else {}
    )
    with _step(console, "Starting Airflow, which takes half a minute or so"):
        airflow.start()
    login = f"Airflow: {airflow.url}  user {airflow.user}  password {airflow.password}"
    try:
        console.print(login, markup=False)
        with _step(console, f"Waiting until Airflow has read the DAG {dag_id}"):
            airflow.wait_for_dag(dag_id)
        if gpus:
            airflow.set_pool("gpu", gpus, "Embedding, one task a GPU")
        with _step(console, "Starting the runs"):
            run_ids = _start_runs(airflow, dag_id, places if truth else None)
        console.print(f"The runs, to watch or to look into: {airflow.url}/dags/{dag_id}")
        succeeded = watch(console, airflow, dag_id, run_ids)
        show_result(console, places, collection, run_ids, truth)
        if not succeeded:
            console.print(
                f"[red]A run failed[/]: {airflow.url}/dags/{dag_id} has its log, and the DAG's "
                "documentation says what failures mean."
            )
        console.print(login, markup=False)
        if not once:
            console.print("Airflow stays up until Ctrl-C.")
            _wait_for_interrupt(airflow)
        return 0 if succeeded else 1
    finally:
        with _step(console, "Ending Airflow"):
            airflow.stop()


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    """Say what is being done: on a terminal with the seconds it has taken, elsewhere in a line."""
    if not console.is_terminal:
        console.print(f"{what} …", markup=False)
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(escape(what), total=None)
        yield


def _checked_source(source: str | None) -> str | None:
    """The source as an absolute path or URL."""
    if source is not None and (said := secret_in(source)):
        raise UsageError(f"SOURCE: {said}.")
    if source is None or "://" in source:
        return source
    folder = Path(source).expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"SOURCE={source} is not a folder: expected one, or a URL such as s3://…")
    return str(folder)


def _make_home(places: Places) -> None:
    for name, folder in (("HOME", places.home), ("COLLECTIONS", places.collections)):
        try:
            make_private(folder)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise UsageError(
                f"IDEDUP_{name}={folder} cannot be made ({error.strerror}): expected a folder "
                "that can be written to."
            ) from error
    free = shutil.disk_usage(places.home).free
    if free < _FREE_BYTES:
        raise UsageError(
            f"{places.home} has {human_bytes(free)} of free disk, and a run needs "
            f"{human_bytes(_FREE_BYTES)}: make room, or set IDEDUP_HOME to another folder."
        )


def _write_collection(places: Places, name: str, source: str | Path, daily: bool) -> Collection:
    """Write the collection file unless there is one, which a person may have changed."""
    path = places.collections / f"{name}.yaml"
    if not path.exists():
        settings = {"name": name, "source": str(source), "schedule": "0 0 * * *" if daily else None}
        path.write_text(
            "# Made by `make run`; every field: docs/collections.md.\n"
            + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True),
            encoding="utf-8",
        )
    return load_collection(path)


def _start_runs(airflow: LocalAirflow, dag_id: str, sample: Places | None) -> list[str]:
    """Backfill the sample's days, or start one manual run over everything."""
    airflow.pause(dag_id)
    if sample is None:
        airflow.end_unfinished(dag_id)
        run_ids = [airflow.trigger(dag_id)]
    else:
        days = [f"{day}T00:00:00Z" for day in arrival_days(sample.home / "sample")]
        airflow.backfill(dag_id, days[0], days[-1])
        run_ids = [
            run["dag_run_id"]
            for run in airflow.runs(dag_id)
            if run["run_type"] == "backfill" and run["logical_date"] in days
        ]
    # Only now: with a run for yesterday already there, unpausing starts no further one.
    airflow.pause(dag_id, False)
    return run_ids


# --- progress ---


def watch(console: Console, airflow: LocalAirflow, dag_id: str, run_ids: Sequence[str]) -> bool:
    """Show the stages of runs until all are finished; say whether all succeeded."""
    seen: set[tuple[str, str, str]] = set()
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        while True:
            airflow.check_alive()
            runs = airflow.runs(dag_id)
            states = {run["dag_run_id"]: run["state"] for run in runs}
            labels = {r["dag_run_id"]: (r["logical_date"] or r["run_type"])[:10] for r in runs}
            stages = {r: _stage_states(airflow.tasks(dag_id, r)) for r in run_ids}
            if console.is_terminal:
                live.update(_progress(stages, labels))
            else:
                for run_id, of_run in stages.items():
                    for stage, state in of_run.items():
                        if state in ("done", "failed") and (run_id, stage, state) not in seen:
                            seen.add((run_id, stage, state))
                            console.print(f"{labels[run_id]}  {stage}  {state}")
            if all(states.get(run_id) in _FINISHED for run_id in run_ids):
                return all(states[run_id] == "success" for run_id in run_ids)
            time.sleep(_POLL_SECONDS)


def _stage_states(tasks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    states = {task["task_id"]: task["state"] or "" for task in tasks}
    found = {}
    for stage in STAGES:
        prepare, gate = states.get(f"{stage}.prepare", ""), states.get(f"{stage}.gate", "")
        if prepare != "success":
            found[stage] = prepare
        elif gate == "success":
            found[stage] = "done"
        else:
            found[stage] = gate if gate in ("failed", "up_for_retry") else "gate"
    return found


def _progress(stages: Mapping[str, Mapping[str, str]], labels: Mapping[str, str]) -> Table:
    table = Table("run", *STAGES, box=None, pad_edge=False)
    for run_id, of_run in stages.items():
        table.add_row(labels[run_id], *(_SIGNS.get(of_run[s], "[dim]·[/]") for s in STAGES))
    return table


def _wait_for_interrupt(airflow: LocalAirflow) -> None:
    try:
        while True:
            airflow.check_alive()
            time.sleep(1)
    except KeyboardInterrupt:
        return
