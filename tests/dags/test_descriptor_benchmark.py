"""The benchmark's DAG: what it is made of, and one run of it over a few pictures."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import builders
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization
from idedup_dags import benchmark

from idedup_tasks.settings import Places
from idedup_tasks.warehouse import Warehouse

FILE = Path(__file__).resolve().parents[2] / "dags/idedup_dags/descriptor_benchmark.py"


@pytest.fixture(scope="module")
def dag() -> DAG:
    spec = importlib.util.spec_from_file_location("descriptor_benchmark", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["descriptor_benchmark"] = module
    spec.loader.exec_module(module)
    assert isinstance(module.descriptor_benchmark, DAG)
    return module.descriptor_benchmark


def test_it_is_wired_for_operators(dag: DAG) -> None:
    assert dag.dag_id == "descriptor_benchmark"
    assert "idedup" in dag.tags
    assert dag.timetable.can_be_scheduled is False
    (measure,) = dag.tasks
    assert measure.owner == "idedup"
    assert measure.retries >= 3
    assert measure.execution_timeout == timedelta(hours=24)
    for part in ("Purpose", "Inputs", "Outputs", "How to backfill", "Triage notes"):
        assert part in str(dag.doc_md)
    assert len(FILE.read_text().splitlines()) < 100
    DagSerialization.to_dict(dag)


def test_a_run_writes_the_page_and_the_rows(dag: DAG, airflow_home: Path) -> None:
    photos = builders.save_scenes(airflow_home / "idedup/photos/a few", 6)
    run = dag.test(run_conf={"photos": str(photos), "methods": ["ahash", "phash"]})
    assert run.state == "success"
    places = Places.from_environment()
    (folder,) = (places.home / "benchmarks").iterdir()
    results = json.loads((folder / "benchmark.json").read_text())
    assert results["benchmark_id"] == run.run_id
    assert set(results["methods"]) == {"ahash", "phash"}
    assert (folder / "benchmark.html").is_file()
    assert (folder / "benchmark.csv").is_file()
    rows = Warehouse(places.warehouse).query("benchmarks")
    (row,) = [
        row
        for row in rows
        if (row["method"], row["measure"]) == ("phash", "pairs.all.micro_ap")
        and row["benchmark_id"] == run.run_id
    ]
    assert row["value"] == results["methods"]["phash"]["pairs"]["all"]["micro_ap"]


def test_what_a_retry_would_repeat_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IDEDUP_PHOTOS", f"/nowhere:{tmp_path}")
    started(monkeypatch, photos=str(tmp_path))
    with pytest.raises(AirflowFailException, match=r"groups\.csv"):
        benchmark.measure()


def started(monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
    params = {"dataset": "groups", "methods": ["ahash"], "limit": None, **given}
    context = {"params": params, "run_id": "manual"}
    monkeypatch.setattr(benchmark, "get_current_context", lambda: context)


def test_whoever_triggers_it_names_no_program_and_no_folder_elsewhere(
    dag: DAG, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "peer_python" not in dag.params
    monkeypatch.setenv("IDEDUP_HOME", str(tmp_path / "home"))
    allowed, elsewhere = tmp_path / "home/photos", tmp_path / "home/photos-of-others"
    for folder in (allowed, elsewhere, tmp_path / "home/training/run"):
        folder.mkdir(parents=True)
    (allowed / "link").symlink_to(elsewhere)
    (elsewhere / "x.json").write_text("{}")
    (tmp_path / "home/training/run/x.json").symlink_to(elsewhere / "x.json")
    monkeypatch.delenv("IDEDUP_PHOTOS", raising=False)
    for photos in ("/etc", str(elsewhere), f"{allowed}/../photos-of-others", f"{allowed}/link"):
        started(monkeypatch, photos=photos)
        with pytest.raises(AirflowFailException, match=r"params: photos: .*IDEDUP_PHOTOS"):
            benchmark.measure()
    training = tmp_path / "home/training"
    for name in (f"{elsewhere}/x.json", f"{training}/run/x.json", "../x", "a/../../x.json"):
        started(monkeypatch, photos=str(allowed), methods=[name])
        with pytest.raises(AirflowFailException, match=r"params: methods: .*training"):
            benchmark.measure()
    started(monkeypatch, photos=str(allowed), methods=["fastdup"], peer_python=sys.executable)
    with pytest.raises(AirflowFailException, match="IDEDUP_PEER_PYTHON"):
        benchmark.measure()
    # Within, what it finds there decides.
    started(monkeypatch, photos=f"{allowed}/.")
    with pytest.raises(AirflowFailException, match=r"groups\.csv"):
        benchmark.measure()
