"""What is tried again: faults that pass, in every DAG; all others fail their task at once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import builders
import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException
from idedup_dags import benchmark, maintenance, tasks, training

import idedup_tasks.training
from idedup_tasks.descriptors.named import WEIGHTS_FOLDER
from idedup_tasks.lake import Conflict
from idedup_tasks.settings import Places
from idedup_tasks.warehouse import Warehouse, WarehouseUnreachable

SIDECAR = "mobilenet_v3.json"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The params of the run at hand; home, photographs and collections are the test's own."""
    home, photos = tmp_path / "home", tmp_path / "photos"
    for folder in (home / "collections", photos):
        folder.mkdir(parents=True)
    for name, value in {
        "HOME": home,
        "COLLECTIONS": home / "collections",
        "PHOTOS": photos,
    }.items():
        monkeypatch.setenv(f"IDEDUP_{name}", str(value))
    for name in ("IDEDUP_LAKE", "IDEDUP_WAREHOUSE"):
        monkeypatch.delenv(name, raising=False)
    Warehouse(Places.from_environment().warehouse).upgrade()
    given: dict[str, Any] = {
        **{"start": None, "end": None, "allow_removals": False, "repair": False},
        **{"photos": str(photos), "dataset": "copydays", "limit": None, "methods": ["ahash"]},
        **{"network": "lenet", "benchmark_photos": None},
        **dict.fromkeys(("steps", "minutes", "cpu_seconds", "side", "batch")),
    }
    times = dict.fromkeys(("data_interval_start", "data_interval_end"))
    run = SimpleNamespace(run_id="manual__1", run_type="manual", **times)
    dag, task = SimpleNamespace(dag_id="a_dag"), SimpleNamespace(outlets=[])
    context = {"params": given, "run_id": run.run_id, "dag_run": run, "dag": dag, "task": task}
    for module in (benchmark, maintenance, tasks, training):
        monkeypatch.setattr(module, "get_current_context", lambda: context)
    return given


def collection(**settings: Any) -> str:
    """Write the file of a collection and return its name."""
    file = Places.from_environment().collections / "a.yaml"
    file.write_text(yaml.safe_dump({"name": "a", **settings}))
    return file.name


def photograph(count: int = 2) -> None:
    """Put so many photographs where a run may look."""
    for number in range(count):
        builders.place(
            Places.from_environment().home.parent / "photos",
            f"{number}.png",
            builders.encoded(builders.scene(number)),
            0,
        )


def without_weights() -> str:
    """A descriptor's sidecar that lies alone, where a run may look."""
    folder = Places.from_environment().home / "training"
    folder.mkdir()
    return str(shutil.copy(WEIGHTS_FOLDER / SIDECAR, folder))


def fails_at_once(step: Callable[..., Any], *given: Any, match: str) -> None:
    with pytest.raises(AirflowFailException, match=match):
        step(*given)


# --- missing weights ---


@pytest.mark.usefixtures("params", "unguarded")
def test_a_collection_without_its_weights_fails_at_once(tmp_path: Path) -> None:
    photograph()
    file = collection(source=str(tmp_path / "photos"), descriptor=without_weights())
    for stage in ("ingest", "prefilter"):
        tasks.gate(file, stage, tasks.prepare(file, stage))
    fails_at_once(tasks.prepare, file, "embed", match="is missing; install the package again")


@pytest.mark.usefixtures("params")
def test_maintenance_without_the_descriptor_fails_at_once(tmp_path: Path) -> None:
    file = collection(source=str(tmp_path), descriptor="nobody_has_it")
    fails_at_once(maintenance.check, file, match="'nobody_has_it' has no file")


@pytest.mark.usefixtures("params")
def test_training_without_the_weights_fails_at_once() -> None:
    photograph(30)
    fails_at_once(training.benchmark, {"sidecar": without_weights()}, match="is missing; install")


def test_a_benchmark_without_the_weights_fails_at_once(params: dict[str, Any]) -> None:
    photograph()
    params["methods"] = [without_weights()]
    fails_at_once(benchmark.measure, match="is missing; install")


# --- a missing extra ---


@pytest.mark.usefixtures("params")
def test_a_source_without_its_extra_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    file = collection(source="s3://photos")
    fails_at_once(tasks.prepare, file, "ingest", match=r"pip install 'idedup\[s3\]'")
    fails_at_once(maintenance.compare_source, file, match=r"pip install 'idedup\[s3\]'")


@pytest.mark.usefixtures("params")
def test_training_without_its_extra_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package that others hold comes back afterwards, and not the one that is imported here.
    monkeypatch.setattr(idedup_tasks, "training", idedup_tasks.training)
    for name in [n for n in sys.modules if n.startswith("idedup_tasks.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    fails_at_once(training.preprocess, match=r"pip install 'idedup\[train\]'")


@pytest.mark.usefixtures("params")
def test_a_benchmark_without_its_warehouses_driver_fails_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photograph()
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("IDEDUP_WAREHOUSE", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    fails_at_once(benchmark.measure, match=r"pip install 'idedup\[postgres\]'")


# --- what passes ---


@pytest.mark.parametrize(
    ("called", "step"),
    [
        ("idedup_tasks.pipeline.gate", lambda file: tasks.gate(file, "group", {"candidate": ""})),
        ("idedup_tasks.maintenance.compact", maintenance.compact),
        ("idedup_tasks.training.register", lambda _: training.register({"sidecar": "x.json"})),
        ("idedup_tasks.benchmarks.run.check_warehouse", lambda _: benchmark.measure()),
    ],
)
def test_a_conflict_is_retried(
    called: str, step: Callable[[str], Any], params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph()

    def published_first(*_: Any, **__: Any) -> None:
        raise Conflict("another run published first")

    monkeypatch.setattr(called, published_first)
    with pytest.raises(Conflict):
        step(collection(source=params["photos"]))


@pytest.mark.usefixtures("params")
def test_a_warehouse_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    photograph()
    monkeypatch.setenv("IDEDUP_WAREHOUSE", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(WarehouseUnreachable):
        benchmark.measure()
