"""The training DAG: what it is made of, and one small run of it, task by task."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import builders
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization
from idedup_dags import training as tasks

from idedup_tasks.settings import Places
from idedup_tasks.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "faiss", "numpy", "PIL", "openvino", "matplotlib", "deltalake")
ORDER = ["preprocess", "train", "calibrate", "benchmark", "register"]


def parse() -> DAG:
    path = ROOT / "dags/idedup_dags/descriptor_training.py"
    spec = importlib.util.spec_from_file_location("descriptor_training", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["descriptor_training"] = module
    spec.loader.exec_module(module)
    [dag] = [value for value in vars(module).values() if isinstance(value, DAG)]
    return dag


def test_parsing_imports_nothing_heavy() -> None:
    script = (
        "import sys, json, airflow.sdk, descriptor_training;"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT / "dags")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout.splitlines()[-1]) == []


def test_the_dag_is_five_steps_in_order() -> None:
    dag = parse()
    assert [task.task_id for task in dag.topological_sort()] == ORDER
    assert dag.schedule is None
    assert dag.max_active_runs == 1
    assert {"idedup", "descriptor"} <= dag.tags
    for task in dag.tasks:
        assert task.retries >= 3
        assert task.owner == "idedup"
        assert task.retry_exponential_backoff > 1
        assert task.max_retry_delay <= timedelta(hours=1)
        assert task.execution_timeout is not None
    for part in ("Purpose", "Inputs", "Outputs", "How to backfill", "Triage notes"):
        assert part in str(dag.doc_md)
    assert len((ROOT / "dags/idedup_dags/descriptor_training.py").read_text().splitlines()) < 100
    DagSerialization.to_dict(dag)


def test_the_form_offers_each_network_that_has_a_recipe() -> None:
    from idedup_tasks.training import RECIPES

    form = parse().params.dump()
    assert parse().params.get_param("network").schema["enum"] == list(RECIPES)
    assert form["network"] == "mobilenet_v3"


def test_the_budget_of_the_form_is_the_recipes() -> None:
    form = {"network": "lenet", "minutes": None, "steps": 9, "cpu_seconds": 60, "batch": 4}
    recipe = tasks.recipe_of({**form, "side": 32})
    assert (recipe.steps, recipe.minutes, recipe.cpu_seconds) == (9, None, 60)
    assert (recipe.images, recipe.sides) == (4, (32,))


def test_faults_of_the_photographs_are_not_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDEDUP_PHOTOS", str(tmp_path))
    given: dict[str, Any] = {"photos": str(tmp_path), "network": "lenet"}
    given |= dict.fromkeys(("steps", "minutes", "cpu_seconds", "side", "batch"))
    run = {"params": given, "dag_run": SimpleNamespace(run_id="manual__1")}
    monkeypatch.setattr(tasks, "get_current_context", lambda: run)
    with pytest.raises(AirflowFailException, match="holds no photographs"):
        tasks.preprocess()


def test_a_run_looks_at_no_other_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEDUP_PHOTOS", str(tmp_path / "photos"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/link").symlink_to("/etc")
    for photos in ("/etc", str(tmp_path / "photos/link"), str(tmp_path)):
        given = {"photos": photos, "network": "lenet", "benchmark_photos": photos}
        run = {"params": given, "dag_run": SimpleNamespace(run_id="manual__1")}
        monkeypatch.setattr(tasks, "get_current_context", lambda run=run: run)
        with pytest.raises(AirflowFailException, match="params: photos: "):
            tasks.preprocess()
        with pytest.raises(AirflowFailException, match="params: benchmark_photos: "):
            tasks.benchmark({"sidecar": str(tmp_path / "x.json")})


def test_a_run_keeps_its_folder_over_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    run = {"dag_run": SimpleNamespace(run_id="manual__2025-03-01T00:00:00+00:00")}
    monkeypatch.setattr(tasks, "get_current_context", lambda: run)
    folder = tasks.output_folder()
    assert folder == tasks.output_folder()
    assert folder.parent == Places.from_environment().home / "training"


@pytest.mark.training
def test_a_run_ends_with_a_registered_descriptor(
    airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = builders.save_scenes(tmp_path / "photos", 750)
    monkeypatch.setenv("IDEDUP_PHOTOS", str(photos))

    def benchmark(calibrated: dict[str, Any]) -> dict[str, Any]:
        # The real one starts processes, which a process that has trained cannot: see the Makefile.
        assert Path(calibrated["sidecar"]).is_file()
        return {"measures": {}}

    monkeypatch.setattr(tasks, "benchmark", benchmark)
    given = {"photos": str(photos), "network": "lenet", "init": None, "steps": 2, "side": 32}
    run = parse().test(run_conf={**given, "batch": 8})
    assert run.state == "success"
    # Like everything between tasks: small, and JSON.
    values = {ti.task_id: ti.xcom_pull(ti.task_id) for ti in run.get_task_instances()}
    assert values["preprocess"]["learnt"] + values["preprocess"]["set_aside"] == 750
    assert values["train"]["steps"] == 2
    assert len(json.dumps(values)) < 10_000
    registered = values["register"]
    assert registered["registered"]
    assert registered["model_id"] == values["calibrate"]["model_id"]
    assert (Path(registered["location"]) / "registration.json").is_file()
    rows = Warehouse(Places.from_environment().warehouse).query("registered_models")
    assert [row["model_id"] for row in rows] == [registered["model_id"]]


def test_the_benchmark_is_recorded_under_the_runs_name(
    airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = builders.save_scenes(tmp_path / "photos", 30)
    monkeypatch.setenv("IDEDUP_PHOTOS", str(photos))
    monkeypatch.setattr("idedup_tasks.benchmarks.methods.HASHES", ("phash",))
    given = {"photos": str(photos), "benchmark_photos": None}
    run = {
        "params": given,
        "dag": SimpleNamespace(dag_id="descriptor_training"),
        "dag_run": SimpleNamespace(run_id="manual__2"),
    }
    monkeypatch.setattr(tasks, "get_current_context", lambda: run)
    # Any descriptor will do, and the shipped one is there.
    from idedup_tasks.descriptors.named import WEIGHTS_FOLDER

    output = tmp_path / "output"
    output.mkdir()
    for file in WEIGHTS_FOLDER.glob("mobilenet_v3*"):
        (output / file.name).write_bytes(file.read_bytes())
    done = tasks.benchmark({"sidecar": str(output / "mobilenet_v3.json")})
    assert done["benchmark_id"] == "descriptor_training/manual__2"
    assert 0 < done["measures"]["pairs.all.micro_ap"] <= 1
    assert all(Path(file).is_file() for file in done["files"])
    # Only what training set aside is measured on.
    from idedup_tasks.training.photos import is_set_aside, photo_files

    links = sorted((output / "set_aside").iterdir())
    aside = [file for file in photo_files(photos) if is_set_aside(file)]
    assert [link.resolve() for link in links] == aside
    assert aside
