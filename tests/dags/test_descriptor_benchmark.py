"""The benchmark's DAG: what it is made of, and one run of it over a few pictures."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization
from idedup_dags import benchmark
from PIL import Image

from idedup_tasks.settings import Places
from idedup_tasks.warehouse import Warehouse

FILE = Path(__file__).resolve().parents[2] / "dags/idedup_dags/descriptor_benchmark.py"


@pytest.fixture(scope="module")
def dag() -> DAG:
    spec = importlib.util.spec_from_file_location("descriptor_benchmark", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["descriptor_benchmark"] = module
    spec.loader.exec_module(module)
    assert isinstance(module.descriptor_benchmark, DAG)
    return module.descriptor_benchmark


def test_it_is_wired_for_operators(dag: DAG) -> None:
    assert dag.dag_id == "descriptor_benchmark" and "idedup" in dag.tags
    assert dag.timetable.can_be_scheduled is False
    (measure,) = dag.tasks
    assert measure.owner == "idedup" and measure.retries >= 3
    assert measure.execution_timeout == timedelta(hours=24)
    for part in ("Purpose", "Inputs", "Outputs", "How to backfill", "Triage notes"):
        assert part in str(dag.doc_md)
    assert len(FILE.read_text().splitlines()) < 100
    DagSerialization.to_dict(dag)


def test_a_run_writes_the_page_and_the_rows(dag: DAG, airflow_home: Path) -> None:
    photos = airflow_home / "benchmark photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for i, coarse in enumerate(rng.integers(0, 256, (6, 7, 7, 3), np.uint8)):
        Image.fromarray(coarse).resize((90, 70)).save(photos / f"{i}.png")
    run = dag.test(run_conf={"photos": str(photos), "methods": ["ahash", "phash"]})
    assert run.state == "success"
    places = Places.from_environment()
    (folder,) = (places.home / "benchmarks").iterdir()
    results = json.loads((folder / "benchmark.json").read_text())
    assert results["benchmark_id"] == run.run_id
    assert set(results["methods"]) == {"ahash", "phash"}
    assert (folder / "benchmark.html").is_file() and (folder / "benchmark.csv").is_file()
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
    params: dict[str, Any] = {
        "photos": str(tmp_path),
        "dataset": "groups",
        "methods": ["ahash"],
        "peer_python": None,
        "limit": None,
    }
    context = {"params": params, "run_id": "manual"}
    monkeypatch.setattr(benchmark, "get_current_context", lambda: context)
    with pytest.raises(AirflowFailException, match=r"groups\.csv"):
        benchmark.measure()
