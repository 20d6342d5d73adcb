"""The stack of docker-compose.yaml, as plain processes, finds what a single process finds.

And that although one of its two Dask workers is killed while it works.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlalchemy as sa
import yaml
from compose_file import ROOT
from distributed import Client
from stack import Stack
from trial import HISTORY, STATE_TABLES, failures

from idedup_tasks.quickstart.airflow import AirflowError, LocalAirflow
from idedup_tasks.quickstart.sample import make_sample
from idedup_tasks.settings import STAGES, Places

# The first test waits for all services too.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

FIRST_DAY = date(2026, 1, 1)
COLLECTION = {
    "name": "sample",
    # The sample's days, in keys: the store says itself when an object was written.
    "arrival": {"rule": "key", "template": "incoming/{year}/{month}/{day}/"},
    "schedule": None,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample collection, each file under the day that it arrived on."""
    made = tmp_path_factory.mktemp("sample")
    make_sample(made / "sample", first_day=FIRST_DAY)
    source = made / "source"
    for file in sorted(p for p in (made / "sample").rglob("*") if p.is_file()):
        day = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        target = source / f"incoming/{day:%Y/%m/%d}" / file.relative_to(made / "sample")
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    return source


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a home keeps of the descriptor: the same in all, and slow to make."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def alone(source: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The state after one run over everything, in one process, from folder to folder."""
    home = tmp_path_factory.mktemp("alone")
    (home / "cache").symlink_to(cache)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from idedup_tasks.pipeline import Run, execute\n"
        "from idedup_tasks.settings import Collection, Places\n"
        "from idedup_tasks.warehouse import Warehouse\n"
        "home, settings = Path(sys.argv[1]), sys.argv[2]\n"
        "url = f'sqlite:///{home}/warehouse.db'\n"
        "Warehouse(url).upgrade()\n"
        "places = Places(home=home, lake=f'{home}/lake', warehouse=url, collections=home)\n"
        "execute(Run(Collection.model_validate_json(settings), 'alone', None, places))\n"
    )
    settings = json.dumps({**COLLECTION, "source": str(source)})
    result = subprocess.run(
        [sys.executable, "-c", script, str(home), settings], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return state(f"sqlite:///{home}/warehouse.db")


@pytest.fixture(scope="module")
def stack(cache: Path) -> Iterator[Stack]:
    """All services, healthy, with secrets of their own."""
    # Not pytest's folder: PostgreSQL's socket lies in it, and socket paths are limited.
    folder = Path(tempfile.mkdtemp(prefix="idedup-stack-"))
    env_file, collections = folder / ".env", folder / "collections"
    write = [sys.executable, str(ROOT / "config/stack/environment.py"), "write"]
    subprocess.run([*write, str(ROOT / ".env.example"), str(env_file)], check=True)
    collections.mkdir()
    settings = {**COLLECTION, "source": "s3://photos"}
    (collections / "sample.yaml").write_text(yaml.safe_dump(settings))
    (folder / "home").mkdir()
    (folder / "home" / "cache").symlink_to(cache)
    try:
        with Stack(folder, env_file, collections, without=("superset", "superset-init")) as stack:
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def airflow(stack: Stack) -> LocalAirflow:
    """The stack's Airflow, driven as a person would: over HTTP, with the password of .env."""
    places = Places(home=stack.folder / "home", lake="", warehouse="", collections=stack.folder)
    airflow = LocalAirflow(stack.folder / "airflow", places)
    airflow.url = f"http://{stack.address('8080')}"
    airflow.password = stack.secret("AIRFLOW_ADMIN_PASSWORD")
    return airflow


def test_the_stack_finds_what_one_process_finds(
    source: Path, alone: dict[str, Any], stack: Stack, airflow: LocalAirflow
) -> None:
    print(f"\nservices up after {stack.took:.0f} s:", stack.took_each())
    store = boto3.client(
        "s3",
        endpoint_url=f"http://{stack.address('8333')}",
        region_name="us-east-1",
        aws_access_key_id=stack.secret("S3_ACCESS_KEY"),
        aws_secret_access_key=stack.secret("S3_SECRET_KEY"),
    )
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        store.upload_file(str(file), "photos", file.relative_to(source).as_posix())
    began = time.monotonic()
    with _killer(f"tcp://{stack.address('8786')}") as killed:
        run = _run_everything(airflow)
    print(f"the run took {time.monotonic() - began:.0f} s: {_stages(stack)}")

    assert run["state"] == "success", _faults(stack, airflow, run)
    assert len(killed) == 1, "no job of the run was seen on a Dask worker"
    there = state(_warehouse(stack))
    assert {name: len(rows) for name, rows in there.items()} == {
        name: len(rows) for name, rows in alone.items()
    }
    for name in STATE_TABLES:
        assert there[name] == alone[name], name
    assert len(there["duplicate_pair"]) > 50

    # The lake is in the store, and nowhere else.
    assert not (stack.folder / "home" / "lake").exists()
    kept = store.list_objects_v2(Bucket="lake", Prefix="idedup/sample/")["Contents"]
    assert {key["Key"].split("/")[2] for key in kept} >= {"images", "groups", "index", "reports"}
    # What tasks and services wrote down repeats no secret.
    for path in stack.folder.rglob("*.log"):
        written = path.read_text(errors="replace")
        assert not [name for name in stack.secrets if stack.secret(name) in written], path


@contextmanager
def _killer(scheduler: str) -> Iterator[list[int]]:
    """Meanwhile, kill the first Dask worker that has something to do, as a power cut would.

    Yields the list of ids of processes that were killed.
    """
    killed: list[int] = []
    ended = threading.Event()

    def watch(client: Client, processes: dict[str, int]) -> None:
        while not killed and not ended.wait(0.05):
            for worker, jobs in client.processing().items():
                if jobs and not killed:
                    os.kill(processes[worker], signal.SIGKILL)
                    killed.append(processes[worker])

    with Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
        watcher = threading.Thread(target=watch, args=(client, client.run(os.getpid)))
        watcher.start()
        try:
            yield killed
        finally:
            ended.set()
            watcher.join()


def _run_everything(airflow: LocalAirflow) -> dict[str, Any]:
    dag_id, deadline = "image_dedup_sample", time.monotonic() + 1200
    while True:
        try:
            airflow.pause(dag_id, False)
            break
        except AirflowError:  # the DAG processor has not read it yet
            assert time.monotonic() < deadline
            time.sleep(0.5)
    run_id = airflow.trigger(dag_id)
    while True:
        [run] = airflow.runs(dag_id)
        states = {task["state"] for task in airflow.tasks(dag_id, run_id)}
        # A fault is not waited out: nothing here needs a second try.
        if run["state"] in ("success", "failed") or "up_for_retry" in states:
            return run
        assert time.monotonic() < deadline, f"the run is still {states}"
        time.sleep(1)


def _faults(stack: Stack, airflow: LocalAirflow, run: dict[str, Any]) -> str:
    said = failures(airflow, "image_dedup_sample", [run])
    return "\n".join([said, *(stack.log(name) for name in ("airflow-scheduler", "dask-worker"))])


def _warehouse(stack: Stack) -> str:
    password = stack.secret("IDEDUP_WRITER_PASSWORD")
    return f"postgresql+psycopg://idedup_writer:{password}@{stack.address('5432')}/idedup"


def _stages(stack: Stack) -> dict[str, float]:
    engine = sa.create_engine(_warehouse(stack))
    with engine.connect() as connection:
        took = dict(connection.execute(sa.text("SELECT stage, seconds FROM run")).all())
    engine.dispose()
    return {stage: round(took[stage], 1) for stage in STAGES if stage in took}


def state(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the current state, in order, without history and without where the source is.

    PostgreSQL answers with moments and booleans where SQLite has text and numbers.
    """
    where = {"image": {"uri"}, "collection": {"source"}}

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        return int(value) if isinstance(value, bool) else value

    engine, rows = sa.create_engine(url), {}
    with engine.connect() as connection:
        for name in STATE_TABLES:
            found = connection.execute(sa.text(f"SELECT * FROM {name}")).mappings()
            left_out = HISTORY | where.get(name, set())
            kept = [
                tuple((c, plain(v)) for c, v in sorted(row.items()) if c not in left_out)
                for row in found
            ]
            rows[name] = sorted(kept, key=repr)
    engine.dispose()
    return rows
