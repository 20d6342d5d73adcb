"""The DAGs: what they are made of, what a bad file does, and one run of one, task by task."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Connection
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.types import DagRunType
from idedup_dags import tasks

from idedup_tasks import connections
from idedup_tasks.lake import Conflict, DamagedCandidate, Lake
from idedup_tasks.pipeline import QualityFailure
from idedup_tasks.run import ModelMismatch
from idedup_tasks.settings import STAGES, Places, SettingsError, load_collection
from idedup_tasks.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "faiss", "great_expectations", "deltalake", "pyarrow", "numpy", "PIL", "openvino")
MARCH = (datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 2, tzinfo=UTC))


def parse(folder: Path, module: str = "image_dedup") -> ModuleType:
    """Import the DAGs of a module as a DAG file does, over the collection files of a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDEDUP_COLLECTIONS", str(folder))
        sys.modules.pop(f"idedup_dags.{module}", None)
        return importlib.import_module(f"idedup_dags.{module}")


def dags_of(module: ModuleType) -> dict[str, DAG]:
    return {d.dag_id: d for d in vars(module).values() if isinstance(d, DAG)}


@pytest.fixture
def shipped() -> dict[str, DAG]:
    dags = dags_of(parse(ROOT / "config/examples"))
    assert len(dags) == 2
    return dags


def test_parsing_imports_nothing_heavy() -> None:
    script = (
        "import sys, time, json, airflow.sdk; at = time.perf_counter(); import image_dedup;"
        "took = time.perf_counter() - at;"
        f"print(json.dumps([took, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "dags"),
        "IDEDUP_COLLECTIONS": str(ROOT / "config/examples"),
    }
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    seconds, heavy = json.loads(result.stdout.splitlines()[-1])
    print(f"parsed in {seconds:.2f} s")
    assert heavy == []


def test_each_collection_is_a_dag_of_seven_stages_and_their_gates(shipped: dict[str, DAG]) -> None:
    for dag in shipped.values():
        assert dag.dag_id.startswith("image_dedup_")
        assert "idedup" in dag.tags
        assert "invalid-config" not in dag.tags
        assert len(STAGES) == 7
        expected = [f"{stage}.{task}" for stage in STAGES for task in ("prepare", "gate")]
        assert [task.task_id for task in dag.topological_sort()] == expected
        for before, after in pairwise(expected):
            assert dag.get_task(before).downstream_task_ids == {after}
        DagSerialization.to_dict(dag)


def test_every_task_is_retried_with_backoff_and_ends_in_time(shipped: dict[str, DAG]) -> None:
    for dag in shipped.values():
        for task in dag.tasks:
            assert task.owner not in ("", "airflow")
            assert task.retries >= 3
            assert task.retry_exponential_backoff > 1
            assert task.max_retry_delay <= timedelta(hours=1)
            assert task.execution_timeout is not None


def test_schedules_have_intervals_and_do_not_catch_up(shipped: dict[str, DAG]) -> None:
    for dag in shipped.values():
        assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"
        assert dag.catchup is False
        assert dag.start_date is not None
        assert dag.max_active_runs == 1


def test_documentation_says_what_an_operator_needs(shipped: dict[str, DAG]) -> None:
    for dag in shipped.values():
        for part in ("Purpose", "Inputs", "Outputs", "How to backfill", "Triage notes"):
            assert part in str(dag.doc_md)


def test_the_report_emits_an_asset_and_its_tasks_have_a_link(shipped: dict[str, DAG]) -> None:
    for dag in shipped.values():
        gate = dag.get_task("report.gate")
        assert [a.name for a in gate.outlets] == [
            f"{dag.dag_id.removeprefix('image_dedup_')} dedup report"
        ]
        linked = {task.task_id for task in dag.tasks if task.operator_extra_links}
        assert linked == {"report.prepare", "report.gate"}
        [link] = gate.operator_extra_links
        key = SimpleNamespace(dag_id=dag.dag_id, run_id="manual__2025-03-01T00:00:00+00:00")
        url = link.get_link(gate, ti_key=key)
        run = f"/dags/{dag.dag_id}/runs/manual__2025-03-01T00%3A00%3A00%2B00%3A00"
        assert url == f"{run}/plugin/dedup-report"


def test_a_gpu_pool_serves_embedding_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nsource: /pictures\n")
    assert {t.pool for t in dags_of(parse(tmp_path))["image_dedup_a"].tasks} == {"default_pool"}
    monkeypatch.setenv("IDEDUP_GPU_POOL", "gpu")
    dag = dags_of(parse(tmp_path))["image_dedup_a"]
    assert {t.task_id for t in dag.tasks if t.pool == "gpu"} == {"embed.prepare", "embed.gate"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("name: b\nsource: x\ngrouping: {cut: 3}\n", ["grouping.cut", "less than or equal"]),
        ("name: b\n", ["source", "required"]),
        ("name: b\nsource: x\nschedule: hourlyish\n", ["schedule", "cron"]),
        ("name: b\nsource: x\nunknown: 1\n", ["unknown", "not permitted"]),
        ("name: b\nsource: {{ nothing }}\n", ["bad.yaml"]),
        ("name: [\n", ["bad.yaml", "YAML"]),
        ("name: good\nsource: y\n", ["name", "no other file has"]),
    ],
)
def test_a_bad_file_is_a_dag_that_says_so(tmp_path: Path, content: str, named: list[str]) -> None:
    (tmp_path / "a good one.yaml").write_text("name: good\nsource: /pictures\n")
    (tmp_path / "bad.yaml").write_text(content)
    dags = dags_of(parse(tmp_path))
    assert set(dags) == {"image_dedup_good", "invalid_bad"}
    bad = dags["invalid_bad"]
    assert "invalid-config" in bad.tags
    [task] = bad.tasks
    for text in (str(bad.doc_md), str(task.task_display_name)):
        assert "bad.yaml" in text
        assert all(word in text for word in named), text
    DagSerialization.to_dict(bad)
    with pytest.raises(AirflowFailException, match=r"bad\.yaml"):
        task.python_callable()
    assert len(dags["image_dedup_good"].tasks) == 14


# --- windows, faults and credentials ---


@pytest.mark.parametrize(
    "run_type", ["scheduled", "backfill", DagRunType.SCHEDULED, DagRunType.BACKFILL_JOB]
)
def test_scheduled_and_backfilled_runs_go_by_their_interval(run_type: str) -> None:
    params = {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}
    assert tasks.window_of(run_type, MARCH, params) == MARCH


@pytest.mark.parametrize("interval", [MARCH, (None, None)])
@pytest.mark.parametrize("run_type", ["manual", "asset_triggered", DagRunType.MANUAL])
def test_other_runs_go_by_their_params_or_over_everything(
    run_type: str, interval: tuple[datetime | None, datetime | None]
) -> None:
    assert tasks.window_of(run_type, interval, {"start": None, "end": None}) is None
    params = {"start": "2025-03-01T00:00:00Z", "end": "2025-03-02T01:00:00+01:00"}
    assert tasks.window_of(run_type, interval, params) == MARCH
    params = {"start": "2025-03-01", "end": "2025-03-02"}  # without a zone: UTC
    assert tasks.window_of(run_type, interval, params) == MARCH


@pytest.mark.parametrize(
    "params",
    [
        {"start": "2025-03-01T00:00:00Z", "end": None},
        {"start": None, "end": "2025-03-01T00:00:00Z"},
        {"start": "2025-03-02T00:00:00Z", "end": "2025-03-01T00:00:00Z"},
    ],
)
def test_half_a_window_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="params"):
        tasks.window_of("manual", (None, None), params)


@pytest.mark.parametrize("fault", [DamagedCandidate, ModelMismatch, QualityFailure, SettingsError])
def test_faults_of_the_data_are_not_retried(fault: type[Exception]) -> None:
    with pytest.raises(AirflowFailException, match="what is wrong"), tasks.data_faults_fail():
        raise fault("what is wrong")


@pytest.mark.parametrize("passing", [Conflict, ConnectionError, TimeoutError])
def test_faults_that_pass_are_retried(passing: type[Exception]) -> None:
    with pytest.raises(passing), tasks.data_faults_fail():
        raise passing("later")


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (
            Connection(
                conn_id="c",
                conn_type="aws",
                login="AKIA",
                password="secret",
                extra='{"endpoint_url": "http://minio:9000", "region_name": "eu-west-1"}',
            ),
            {
                "key": "AKIA",
                "secret": "secret",
                "endpoint_url": "http://minio:9000",
                "client_kwargs": {"region_name": "eu-west-1"},
            },
        ),
        (Connection(conn_id="c", conn_type="aws"), {}),  # the machine's own role
        (
            Connection(
                conn_id="c",
                conn_type="google_cloud_platform",
                extra='{"keyfile_dict": "{\\"type\\": \\"service_account\\"}", "project": "p"}',
            ),
            {"token": {"type": "service_account"}, "project": "p"},
        ),
        (
            Connection(conn_id="c", conn_type="wasb", login="account", password="key"),
            {"account_name": "account", "account_key": "key"},
        ),
        (
            Connection(
                conn_id="c",
                conn_type="adls",
                host="account",
                login="client",
                password="secret",
                extra='{"tenant_id": "t"}',
            ),
            {
                "account_name": "account",
                "client_id": "client",
                "client_secret": "secret",
                "tenant_id": "t",
            },
        ),
    ],
)
def test_connections_become_options_of_the_file_system(
    connection: Connection, expected: dict[str, Any]
) -> None:
    assert connections.source_options(connection) == expected


def test_a_connection_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"c is of type 'ftp'.*aws"):
        connections.source_options(Connection(conn_id="c", conn_type="ftp", password="secret"))


@pytest.mark.parametrize(
    "stated",
    [
        "aws://AK%2FIA:se%40cret@/?endpoint_url=http%3A%2F%2F127.0.0.1%3A9000&region_name=eu-1",
        "aws://AKIA:secret@minio",
        "google-cloud-platform:///?__extra__=%7B%22project%22%3A+%22p%22%2C+%22key_path%22%3A+%22"
        "%2Fk.json%22%7D",
        '{"conn_type": "aws", "login": "AKIA", "password": "s", "extra": {"region_name": "r"}}',
        '{"conn_type": "wasb", "login": "a", "extra": "{\\"sas_token\\": \\"s\\"}"}',
    ],
)
def test_a_worker_reads_a_connection_from_its_environment_as_airflow_does(
    stated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ACME_S3", stated)
    expected = connections.source_options(Connection.get("acme_s3"))
    assert expected
    assert connections.Access("acme_s3").options() == expected


@pytest.mark.parametrize(
    "stated", ["", "no-uri-but-hunter2", '{"conn_type": hunter2', '["hunter2"]']
)
def test_a_connection_that_a_worker_cannot_read_is_named_and_not_quoted(
    stated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ACME_S3", stated)
    with pytest.raises(SettingsError, match="AIRFLOW_CONN_ACME_S3") as caught:
        connections.Access("acme_s3").options()
    assert "hunter2" not in str(caught.value)


# --- a run ---


def test_a_run_of_the_dag_fills_lake_and_warehouse(finished_run: Any) -> None:
    assert finished_run.state == "success"
    places = Places.from_environment()
    collection = load_collection(places.collections / "small.yaml")
    warehouse = Warehouse(places.warehouse)
    [totals] = warehouse.query("totals", collection=collection.name)
    assert totals["images"] == 9
    assert totals["rejected"] == 1
    assert totals["duplicates_exact"] == 1
    assert totals["duplicates"] == 2
    stages = warehouse.query("stages", collection="small", run_id=finished_run.run_id)
    assert [s["stage"] for s in stages] == list(STAGES)
    assert {s["state"] for s in stages} == {"published"}
    assert all(s["window_start"] is None for s in stages)
    assert Lake(places.lake, "small").snapshot("images").rows == 9


def test_what_tasks_hand_each_other_is_small(finished_run: Any) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(XComModel.task_id, XComModel.value).where(
        XComModel.run_id == finished_run.run_id, XComModel.key == "return_value"
    )
    with create_session() as session:
        values = {row.task_id: json.dumps(row.value) for row in session.execute(query)}
    assert len(values) == 14
    assert max(map(len, values.values())) < 5_000
