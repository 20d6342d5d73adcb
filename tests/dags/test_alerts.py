"""Alerts: who is told of what, and that nobody's silence makes a task fail."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import builders
import pytest
import structlog
import yaml
from airflow.sdk import DAG
from airflow.sdk.definitions.deadline import DeadlineReference
from airflow.serialization.serialized_objects import DagSerialization
from idedup_dags import alerts

from idedup_tasks import cli
from idedup_tasks.settings import load_collection

ROOT = Path(__file__).resolve().parents[2]
DAY = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "recorded.jsonl"
    monkeypatch.setenv("RECORDED", str(path))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of collection files of the test's own."""
    path = tmp_path / "collections"
    path.mkdir()
    monkeypatch.setenv("IDEDUP_COLLECTIONS", str(path))
    return path


def dag_of(folder: Path, **settings: Any) -> DAG:
    """The DAG of one collection, `told`, with a recording notifier unless `alerts` are given."""
    given = {
        "name": "told",
        "start_date": "2025-01-01",
        "alerts": [{"notifier": "recording.Recorder"}],
        **settings,
    }
    (folder / "told.yaml").write_text(yaml.safe_dump(given))
    sys.modules.pop("idedup_dags.image_dedup", None)
    module = importlib.import_module("idedup_dags.image_dedup")
    [dag] = [d for n, d in vars(module).items() if isinstance(d, DAG) and n != "dag"]
    return dag


def told(path: Path) -> list[list[str]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def pictures(folder: Path, per_day: int, days: int, copies_on: int | None = None) -> str:
    folder.mkdir()
    for day in range(days):
        for i in range(per_day):
            number = i if day == copies_on else day * per_day + i
            content = builders.encoded(builders.scene(number))
            path = builders.place(folder, f"{day}/{i}.png", content, day)
            assert path.is_file()
    return str(folder)


@pytest.mark.usefixtures("airflow_home")
def test_a_broken_rule_is_told_as_quality(folder: Path, recorded: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number}.jpg").write_bytes(b"not a picture %d" % number)
    run = dag_of(folder, source=str(source)).test()
    assert run.state == "failed"
    [[kind, text]] = told(recorded)
    assert kind == "quality"
    assert text.startswith("quality told ingest.gate failed: ingest of told is not published:")
    assert "reject_ratio" in text


@pytest.mark.usefixtures("airflow_home")
def test_a_task_that_failed_for_good_is_told(
    folder: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", "ftp://somewhere")
    dag = dag_of(
        folder,
        source="s3://photos",
        connection="wrong",
        alerts=[
            {"notifier": "recording.Unreachable"},
            {"notifier": "recording.Recorder", "on": ["quality", "jump"]},
            {"notifier": "recording.Recorder", "arguments": {"text": "{{ alert.run_id }}"}},
        ],
    )
    run = dag.test()
    assert run.state == "failed"
    assert told(recorded) == [["failure", run.run_id]]


@pytest.mark.usefixtures("airflow_home")
def test_more_duplicates_than_usual_are_told(folder: Path, recorded: Path, tmp_path: Path) -> None:
    source = pictures(tmp_path / "source", 10, 4, copies_on=3)
    run = dag_of(folder, source=source).test()
    assert run.state == "success"
    [[kind, text]] = told(recorded)
    assert kind == "jump"
    assert "duplicate_rate 1" in text
    # A few of the drawings are like another: usual is more than none, and far from all.
    assert 0.2 <= float(text.split("duplicate_rate_limit ")[1].split(",")[0]) < 0.9


def test_a_missed_deadline_is_told(folder: Path, recorded: Path) -> None:
    """As the executor does it: by path, with the short context that Airflow gives."""
    from airflow.sdk.execution_time.callback_supervisor import execute_callback

    dag = dag_of(folder, source="/photos", deadline_hours=1.5)
    assert isinstance(dag.deadline, list)
    [deadline] = dag.deadline
    assert deadline.reference == DeadlineReference.DAGRUN_QUEUED_AT
    assert deadline.interval == timedelta(hours=1.5)
    DagSerialization.to_dict(dag)
    context = {"dag_run": {"dag_run_id": "scheduled__1"}, "deadline": {"id": "1"}}
    done, error = execute_callback(
        deadline.callback.path,
        {**deadline.callback.kwargs, "context": context},
        Path("image_dedup.py"),
        ROOT / "dags",
        structlog.get_logger(),
    )
    assert done, error
    assert told(recorded) == [["deadline", "deadline told the run has not ended within 1.5 hours"]]


def test_without_settings_the_log_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    dag = dag_of(folder, source="/photos", alerts=[])
    assert not dag.deadline
    collection = load_collection(folder / "told.yaml")
    with caplog.at_level(logging.ERROR):
        alerts.send("failure", collection, {}, "the disk is full")
    assert "Alert (failure) of told: the disk is full" in caplog.text


def test_text_is_not_a_template(folder: Path, recorded: Path) -> None:
    dag_of(folder, source="/photos")
    collection = load_collection(folder / "told.yaml")
    alerts.send("failure", collection, {}, "{{ 7 * 7 }}.jpg is gone")
    assert told(recorded) == [["failure", "failure told {{ 7 * 7 }}.jpg is gone"]]


@pytest.mark.parametrize(
    ("alert", "named"),
    [
        ({"notifier": "nowhere.Notifier"}, "nowhere"),
        ({"notifier": "recording.Recorder", "arguments": {"colour": 1}}, "colour"),
        ({"notifier": "recording.Recorder", "on": ["thunder"]}, "alerts.0.on.0"),
        ({"notifier": "Recorder"}, "alerts.0.notifier"),
    ],
)
def test_a_notifier_that_cannot_be_made_is_a_fault_of_the_file(
    folder: Path, alert: dict[str, Any], named: str
) -> None:
    dag = dag_of(folder, source="/photos", alerts=[alert])
    assert "invalid-config" in dag.tags
    assert named in str(dag.doc_md)
    assert "told.yaml" in str(dag.doc_md)


@pytest.mark.parametrize(
    ("notifier", "arguments"),
    [
        ("subprocess.check_output", {"args": ["touch", "{made}"]}),
        ("os.mkdir", {"path": "{made}"}),
        ("planted.Notifier", {}),  # importing it is enough
        ("recordings.Recorder", {}),
        ("airflow.providers.standard.operators.bash.BashOperator", {"task_id": "x"}),
        ("airflow.providers.smtp.notifications.smtp.SmtpHook", {}),
        ("recording.Path", {}),
        ("recording.json.loads", {"s": "1"}),
    ],
)
def test_a_collection_file_runs_no_code(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    notifier: str,
    arguments: dict[str, Any],
) -> None:
    made = tmp_path / "made"
    (tmp_path / "planted.py").write_text(f"open({str(made)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    given = json.loads(json.dumps(arguments).replace("{made}", str(made)))
    dag = dag_of(folder, source="/photos", alerts=[{"notifier": notifier, "arguments": given}])
    assert "invalid-config" in dag.tags
    assert f"told.yaml: alerts: {notifier}" in str(dag.doc_md)
    assert not made.exists()
    assert "planted" not in sys.modules
    # The command line says so too, where it can tell by the name.
    named = notifier.startswith(("recording.", "airflow.providers.smtp"))
    assert cli.main(["collections", "check"]) == (0 if named else 1)
    assert named or f"{notifier} is not among" in capsys.readouterr().out


def test_a_deployment_names_notifiers_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for named, allowed in (("", False), ("other, recording", True), ("record", False)):
        monkeypatch.setenv("IDEDUP_NOTIFIERS", named)
        assert ("invalid-config" not in dag_of(folder, source="/photos").tags) == allowed


def test_smtp_can_be_configured(folder: Path) -> None:
    arguments = {
        "to": "team@example.org",
        "from_email": "airflow@example.org",
        "subject": "{{ alert.kind }} of {{ alert.collection }}",
        "html_content": "{{ alert.text }}",
    }
    name = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    dag_of(folder, source="/photos", alerts=[{"notifier": name, "arguments": arguments}])
    [alert] = load_collection(folder / "told.yaml").alerts
    assert alerts.notifier_of(alert).template_fields


def test_alerts_change_no_stage(folder: Path, tmp_path: Path) -> None:
    """Whom to tell is no setting that results depend on."""
    home = tmp_path / "home"
    bench = builders.bench(home, tmp_path / "source")
    builders.place(bench.source, "1.png", builders.encoded(builders.scene(1)), 0)
    builders.walk(bench.run(), ["ingest"])
    held = bench.run().lake.snapshot("images")
    changed = bench.with_settings(
        alerts=[{"notifier": "recording.Recorder"}],
        deadline_hours=3,
        quality={"max_duplicate_jump": 0.5},
    )
    builders.walk(changed.run(), ["ingest"])
    assert bench.run().lake.snapshot("images").version == held.version
    shutil.rmtree(home)
