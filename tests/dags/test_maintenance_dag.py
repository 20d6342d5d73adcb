"""The maintenance DAG: wired, paused, deleting nothing unless told; and two runs of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from idedup_tasks import maintenance
from idedup_tasks.run import Run
from idedup_tasks.settings import Places, load_collection

FILE = Path(__file__).resolve().parents[2] / "dags/idedup_dags/idedup_maintenance.py"


@pytest.fixture(scope="module")
def dag() -> DAG:
    spec = importlib.util.spec_from_file_location("maintenance_dag", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    [found] = [d for d in vars(module).values() if isinstance(d, DAG)]
    return found


def test_it_only_wires_and_is_paused(dag: DAG) -> None:
    assert len(FILE.read_text().splitlines()) < 100
    assert dag.is_paused_upon_creation
    assert not dag.catchup
    assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"
    for part in ("Purpose", "Inputs", "Outputs", "How to backfill", "Triage notes"):
        assert part in str(dag.doc_md)
    DagSerialization.to_dict(dag)


def test_by_default_nothing_is_deleted_and_nothing_mended(dag: DAG) -> None:
    assert {n: p for n, p in dag.params.dump().items() if isinstance(p, bool)} == {
        "repair": False,
        "allow_removals": False,
        "delete": False,
    }


def test_damage_fails_the_check_until_it_is_repaired(
    dag: DAG, finished_run: Any, source: Path
) -> None:
    places = Places.from_environment()
    run = Run(load_collection(places.collections / "small.yaml"), "reading", None, places)
    lake = run.lake
    file = lake.snapshot("groups").files()[0]
    Path(lake.path(f"groups/{file.path}")).unlink()

    failed = dag.test(run_conf={"collection": "small"})
    assert failed.state == "failed"
    states = {ti.task_id: ti.state for ti in failed.get_task_instances()}
    assert states["collection.source"] == "success"
    assert states["collection.check"] == "failed"
    assert states["collection.compact"] == "upstream_failed"

    stored = {f.path for f in lake.files_under("")}
    mended = dag.test(run_conf={"collection": "small", "repair": True})
    assert mended.state == "success"
    assert maintenance.check(run) == []
    assert stored <= {f.path for f in lake.files_under("")}, "nothing is deleted unless asked"
