"""The tasks of the maintenance DAG, as plain functions over one collection file.

What they do is `idedup_tasks.maintenance`, imported when a task runs and not before.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from idedup_dags.tasks import data_faults_fail, source_options
from idedup_tasks.settings import Places, SettingsError, load_collection

if TYPE_CHECKING:
    from idedup_tasks.run import Run

log = logging.getLogger(__name__)


def collection_files() -> list[str]:
    """The collection files that can be used; the others have a DAG that says what is wrong."""
    wanted = get_current_context()["params"]["collection"]
    found: dict[str, str] = {}
    for path in sorted(Places.from_environment().collections.glob("*.yaml")):
        try:
            found[load_collection(path).name] = path.name
        except SettingsError as fault:
            log.warning("%s is left out: %s", path.name, fault)
    if wanted and wanted not in found:
        raise AirflowFailException(
            f"params: collection: there is no {wanted} (expected one of {', '.join(found)})."
        )
    return [file for name, file in found.items() if wanted in (None, "", name)]


@data_faults_fail()
def compare_source(file: str) -> list[str]:
    """Name the arrival periods in which source and lake differ; run them again when asked to."""
    from idedup_tasks import maintenance

    run = _run(file)
    found = maintenance.compare_source(run)
    for period in found:
        log.warning("%s differs from the source: %s", run.collection.name, period)
    if found and _param("repair"):
        maintenance.bring_up(run, [period.arrival for period in found])
        found = maintenance.compare_source(run)
    return [str(period) for period in found]


@data_faults_fail()
def check(file: str) -> list[str]:
    """Fail with each difference between lake, index and warehouse; mend them when asked to."""
    from idedup_tasks import maintenance

    run = _run(file)
    found = maintenance.check(run)
    for difference in found:
        log.warning("%s: %s", run.collection.name, difference)
    if found and _param("repair"):
        found = maintenance.repair(run, found)
    faults = [str(difference) for difference in found if not difference.stale]
    if faults:
        raise AirflowFailException(
            f"{run.collection.name}: {'; '.join(faults[:20])}. Run maintenance with `repair`."
        )
    return [str(difference) for difference in found]


@data_faults_fail()
def compact(file: str) -> dict[str, list[int]]:
    """Merge small files and shards; files before and after, by table."""
    from idedup_tasks import maintenance

    done = maintenance.compact(_run(file))
    return {table.table: [table.before, table.after] for table in done}


@data_faults_fail()
def vacuum(file: str) -> dict[str, dict[str, Any]]:
    """Name what nothing refers to any more, delete it when asked to; files and bytes by kind."""
    from idedup_tasks import maintenance

    logs = Path(conf.get("logging", "base_log_folder"))
    found = maintenance.vacuum(
        _run(file),
        timedelta(days=_param("retention_days")),
        delete=_param("delete"),
        logs=logs if logs.is_dir() else None,
        logs_retention=timedelta(days=_param("log_retention_days")),
    )
    for kind in found:
        done = "deleted" if _param("delete") else "could be deleted"
        log.info("%s: %d files (%d bytes) %s", kind.kind, kind.files, kind.bytes, done)
    return {kind.kind: {"files": kind.files, "bytes": kind.bytes} for kind in found}


def _param(name: str) -> Any:
    return get_current_context()["params"][name]


def _run(file: str) -> Run:
    """A run over everything, that the task at hand works in."""
    from idedup_tasks.run import Run

    places = Places.from_environment()
    collection = load_collection(places.collections / file)
    return Run(
        collection=collection,
        run_id=get_current_context()["dag_run"].run_id,
        window=None,
        places=places,
        source_options=source_options(file, collection),
        allow_removals=_param("allow_removals"),
    )
