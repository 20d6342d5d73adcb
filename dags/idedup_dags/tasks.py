"""The tasks of a collection's DAG: a stage and its gate, as plain functions.

The stages themselves are `idedup_tasks.pipeline`, imported when a task runs and not before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import Asset, BaseOperatorLink, Connection, get_current_context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from idedup_dags import alerts
from idedup_dags.defaults import Returned, flag, text
from idedup_tasks.errors import TerminalError
from idedup_tasks.periods import period_of
from idedup_tasks.settings import Collection, Places, SettingsError, load_collection

if TYPE_CHECKING:
    from idedup_tasks.run import Run

log = logging.getLogger(__name__)

# A first load of millions takes hours. The stages keep what they finished, chunk by chunk, so a
# task that is cut off here goes on from there when it is retried.
TIMEOUTS = {
    "ingest": timedelta(hours=24),
    "prefilter": timedelta(hours=4),
    "embed": timedelta(hours=24),
    "index": timedelta(hours=4),
    "match": timedelta(hours=24),
    "group": timedelta(hours=8),
    "report": timedelta(hours=4),
}
GATE_TIMEOUT = timedelta(hours=4)


# What the form of a manual run asks for; the titles start with the names that documents use.
PARAMS = {
    "start": text(
        None,
        "A single run: arrived from then on. Empty, as end: all that the source has. "
        "A backfill's runs go by their dates.",
        title="start (UTC)",
        format="date-time",
    ),
    "end": text(
        None,
        "Arrived before then. Give both or neither.",
        title="end (UTC)",
        format="date-time",
    ),
    "allow_removals": flag("Off: a run fails when the source lacks a large share of what it had."),
}


@contextmanager
def data_faults_fail() -> Iterator[None]:
    """Faults that a retry would only repeat fail the task at once; all others are retried."""
    for library in ("alembic", "faiss.loader", "great_expectations"):
        logging.getLogger(library).setLevel(logging.WARNING)  # their chatter hides the stage's
    try:
        yield
    except TerminalError as fault:
        log.error("%s", fault)  # one line, before Airflow's traceback
        raise AirflowFailException(str(fault)) from fault


@data_faults_fail()
def prepare(file: str, stage: str) -> dict[str, Any]:
    """Compute what the stage would change. Small: the candidate's path, counts, warnings."""
    from idedup_tasks import pipeline

    return pipeline.prepare(stage, current_run(file, stage))


@data_faults_fail()
def gate(file: str, stage: str, prepared: Returned) -> dict[str, Any]:
    """Check the candidate and publish it. Small: table versions and counts."""
    from idedup_tasks import pipeline

    run = current_run(file, stage)
    published = pipeline.gate(stage, run, prepared["candidate"])
    context = get_current_context()
    jump = published["warned"].get("duplicate_rate_jump")
    if jump:
        alerts.send("jump", run.collection, context, f"more duplicates than usual arrived: {jump}")
    for outlet in context["task"].outlets:
        if isinstance(outlet, Asset):
            event = context["outlet_events"][outlet]
            event.add_partitions(partition_key(run))
            event.extra = {"run_id": run.run_id, "collection": run.collection.name}
    return published


def tell(fault: str) -> Callable[[], None]:
    """The only task of a collection file that cannot be used.

    Not an argument of the task: those are templates, and the fault quotes the file.
    """

    def invalid_config() -> None:
        raise AirflowFailException(fault)

    return invalid_config


def current_run(file: str, stage: str) -> Run:
    """The run that the task at hand belongs to."""
    from idedup_tasks.run import Run

    context = get_current_context()
    places = Places.from_environment()
    collection = load_collection(places.collections / file)
    options: dict[str, Any] = {}
    if stage == "ingest":  # only it reads the source, so only its tasks hold credentials
        options = source_options(file, collection)
    dag_run = context["dag_run"]
    interval = (dag_run.data_interval_start, dag_run.data_interval_end)
    return Run(
        collection=collection,
        run_id=dag_run.run_id,
        window=window_of(dag_run.run_type, interval, context["params"]),
        places=places,
        source_options=options,
        allow_removals=bool(context["params"]["allow_removals"]),
    )


def source_options(file: str, collection: Collection) -> dict[str, Any]:
    """What the collection's connection, if it names one, says of the source's file system.

    Raises:
        SettingsError: it is of a type that no source has.
    """
    from idedup_tasks import connections

    if collection.connection is None:
        return {}
    try:
        return connections.source_options(Connection.get(collection.connection))
    except ValueError as error:
        raise SettingsError(f"{file}: connection: {error}") from error


def window_of(
    run_type: str,
    interval: tuple[datetime | None, datetime | None],
    params: Mapping[str, Any],
) -> tuple[datetime, datetime] | None:
    """The half-open UTC window of arrivals that a run brings up to date; None is everything.

    Scheduled and backfilled runs have a data interval. A manual run goes by its params, and
    without them over everything: with or without a logical date, for that date is the moment
    somebody pressed a button and says nothing about which images were meant.

    Raises:
        SettingsError: only one of `start` and `end` is given, or they are the wrong way round.
    """
    start, end = interval
    if run_type in ("scheduled", "backfill") and start is not None and end is not None:
        return start, end
    given = {name: params.get(name) for name in ("start", "end")}
    if not any(given.values()):
        return None
    if not all(given.values()):
        raise SettingsError(f"params: start and end go together, found {given}: give both.")
    moments = [datetime.fromisoformat(str(given[name])) for name in ("start", "end")]
    start, end = (m.astimezone(UTC) if m.tzinfo else m.replace(tzinfo=UTC) for m in moments)
    if start >= end:
        raise SettingsError(f"params: start {start} is not before end {end}: swap them.")
    return start, end


def partition_key(run: Run) -> str:
    """Partition of the asset "new dedup report": the period a window starts with, or `all`."""
    if run.window is None:
        return "all"
    return period_of(run.window[0], run.collection.arrival.period)


class ReportLink(BaseOperatorLink):
    """The button on the report's tasks that opens the run's tab with the report."""

    name = "Duplicates of this run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        # Without host and port: the server may have moved when somebody follows the link.
        base = urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/")
        # The plugin's tab on the run's page.
        return f"{base}/dags/{quote(ti_key.dag_id)}/runs/{quote(ti_key.run_id)}/plugin/dedup-report"
