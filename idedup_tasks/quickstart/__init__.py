"""`make run`: a real Airflow finds the duplicates of a sample collection, or of a folder.

Airflow is started as any other program and driven through its REST API, so everything seen here
can be done by hand in its UI.
"""

from __future__ import annotations

import argparse
import csv
import errno
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from idedup_tasks.api import collection_name, size_text
from idedup_tasks.commands import command, file_name
from idedup_tasks.errors import TerminalError
from idedup_tasks.quickstart.airflow import AirflowError, LocalAirflow
from idedup_tasks.quickstart.sample import arrival_days, make_sample
from idedup_tasks.settings import (
    STAGES,
    Collection,
    Places,
    SettingsError,
    load_collection,
    make_private,
    secret_in,
)
from idedup_tasks.warehouse import Warehouse, WarehouseError

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


class UsageError(TerminalError, ValueError):
    """What was asked for cannot be done; one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 when something failed, 2 for bad use, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--source", help="folder or URL to look through, instead of the sample")
    parser.add_argument("--once", action="store_true", help="exit after the result")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        return _run(console, options.source, options.once)
    except KeyboardInterrupt:
        console.print("Ended before there was a result.")
        return 130
    except (UsageError, SettingsError) as error:
        fault, code = str(error), 2
    except (AirflowError, WarehouseError, FileNotFoundError) as error:
        fault, code = str(error), 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        fault, code = f"The disk is full: make room, or set IDEDUP_HOME elsewhere ({error}).", 1
    Console(stderr=True, highlight=False, soft_wrap=True).print(fault, markup=False)
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
            f"{places.home} has {size_text(free)} of free disk, and a run needs "
            f"{size_text(_FREE_BYTES)}: make room, or set IDEDUP_HOME to another folder."
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


# --- result ---


def show_result(
    console: Console,
    places: Places,
    collection: Collection,
    run_ids: Sequence[str],
    truth: Path | None,
) -> None:
    """Print what the collection holds now, what the stages took, and where the report is."""
    warehouse = Warehouse(places.warehouse)
    totals = next(iter(warehouse.query("totals", collection=collection.name)), None)
    if totals is None or totals["applied_at"] is None:
        console.print("There is no result: no run came as far as the report.")
        return
    table = Table(title=f"\n{collection.name}", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "images", "reclaimable"):
        table.add_column(heading, justify="right" if heading else "left")
    for kind in ("exact", "perceptual", "near"):
        table.add_row(
            f"{kind} duplicates",
            f"{totals[f'duplicates_{kind}']:,}",
            size_text(totals[f"reclaimable_{kind}"]),
        )
    table.add_row(
        "all duplicates", f"{totals['duplicates']:,}", size_text(totals["reclaimable_bytes"])
    )
    table.add_row("groups", f"{totals['groups']:,}", "")
    table.add_row("images", f"{totals['decoded']:,}", "")
    table.add_row("rejected files", f"{totals['rejected']:,}", "")
    table.add_row("all files", f"{totals['images']:,}", f"of {size_text(totals['bytes'])}")
    console.print(table)
    stages = [s for run_id in run_ids for s in _stages(warehouse, collection.name, run_id)]
    console.print(_stage_table(stages))
    if truth is not None:
        console.print(_rightness(places, collection, truth))
    written = [(s["versions_written"] or {}).get("report") for s in stages]
    reports = [path for path in written if path]
    if reports:
        console.print(f"Report: {places.lake}/{collection.name}/{reports[-1]}", markup=False)
    for line in what_next(places, collection):
        console.print(line, markup=False)


def what_next(places: Places, collection: Collection) -> list[str]:
    """Lines on how to go on with a collection; the commands in them work as they stand."""
    from idedup_tasks.lake import Lake

    lake = Lake(places.lake, collection.name)
    uris = {
        row["image_id"]: row["uri"]
        for row in lake.snapshot("images").read(["image_id", "uri"]).to_pylist()
    }
    columns = ["image_id", "group_id", "matched_id", "relation"]
    members = lake.snapshot("groups").read(columns).to_pylist()
    # What is near is more worth an explanation than what is the same, and a small group is more
    # often right than a large one.
    sizes = Counter(row["group_id"] for row in members)
    members.sort(
        key=lambda row: (row["relation"] != "near", sizes[row["group_id"]], uris[row["image_id"]])
    )
    write = partial(command, places=places, collection=collection.name)
    lines = ["", "What it holds can be asked, from any folder:"]
    if members:
        image = file_name(uris[members[0]["image_id"]])
        lines.append(f"  {write('query', image)}")
        if members[0]["matched_id"] is not None:
            other = file_name(uris[members[0]["matched_id"]])
            lines.append(f"  {write('explain', image, other, '--output', 'why.html')}")
    return [
        *lines,
        f"  {write('preview', '--cut', '0.9')}",
        f"Its settings: {places.collections}/{collection.name}.yaml. Put another YAML file there "
        "and it becomes a DAG.",
        "",
    ]


def _stages(warehouse: Warehouse, collection: str, run_id: str) -> list[dict[str, Any]]:
    return warehouse.query("stages", collection=collection, run_id=run_id)


def _stage_table(stages: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="\nstages", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "seconds", "images/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in STAGES:
        of_name = [s for s in stages if s["stage"] == name]
        seconds = sum(s["seconds"] for s in of_name)
        images = sum(s["images"] or 0 for s in of_name)
        rate = f"{images / seconds:,.0f}" if seconds else ""
        table.add_row(name, f"{seconds:.1f}", rate)
    return table


def _rightness(places: Places, collection: Collection, truth: Path) -> str:
    """How the groups compare with the ground truth, pair by pair."""
    from idedup_tasks.lake import Lake

    lake = Lake(places.lake, collection.name)
    keys = lake.snapshot("images").read(["image_id", "key"]).to_pylist()
    groups = lake.snapshot("groups").read(["image_id", "group_id"]).to_pylist()
    by_id = {row["image_id"]: row["group_id"] for row in groups}
    found = {row["key"]: by_id.get(row["image_id"]) for row in keys}
    with truth.open(encoding="utf-8", newline="") as stream:
        originals = {row["file"]: row["original"] or None for row in csv.DictReader(stream)}
    held, reported, right = agreement(originals, found)
    precision = f"{right / reported:.1%}" if reported else "none reported"
    recall = f"{right / held:.1%}" if held else "none to find"
    wrong = wrong_pairs(originals, found)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in wrong.most_common())
    return (
        f"\nAgainst the sample's ground truth: {recall} of {held:,} duplicate pairs found, "
        f"{precision} of {reported:,} reported pairs right (the sample is far too small to say how "
        "right it is elsewhere)."
        + (f"\nOf {wrong.total():,} wrong pairs: {kinds}." if wrong else "")
    )


def wrong_pairs(truth: Mapping[str, str | None], found: Mapping[str, str | None]) -> Counter[str]:
    """Pairs of files that share a group and should not, by what they show.

    Args:
        truth: what each file was made from, as in the sample's ground truth, or None.
        found: group of each file, None for a file in no group.
    """
    groups: dict[str, list[str]] = {}
    for file, group in found.items():
        if group is not None:
            groups.setdefault(group, []).append(truth.get(file) or "")
    wrong: Counter[str] = Counter()
    for members in groups.values():
        for one, other in combinations(members, 2):
            if one != other:
                kinds = {name.rpartition(" ")[0] or "photograph" for name in (one, other)}
                wrong["of two kinds" if len(kinds) > 1 else f"{kinds.pop()}s"] += 1
    return wrong


def agreement(
    truth: Mapping[str, str | None], found: Mapping[str, str | None]
) -> tuple[int, int, int]:
    """Compare two groupings of the same files by the pairs that share a group.

    Args:
        truth, found: group of each file, None for a file in no group.

    Returns:
        Pairs in the truth, pairs found, pairs in both.
    """

    def pairs(groups: Iterable[Any]) -> int:
        return sum(n * (n - 1) // 2 for n in Counter(groups).values())

    both = [
        (truth[file], group)
        for file, group in found.items()
        if group is not None and truth.get(file) is not None
    ]
    return (
        pairs(group for group in truth.values() if group is not None),
        pairs(group for group in found.values() if group is not None),
        pairs(both),
    )


def _wait_for_interrupt(airflow: LocalAirflow) -> None:
    try:
        while True:
            airflow.check_alive()
            time.sleep(1)
    except KeyboardInterrupt:
        return
