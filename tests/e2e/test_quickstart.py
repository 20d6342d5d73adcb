"""`make run` as a person meets it: a folder of their own, and what goes wrong."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from idedup_tasks.quickstart.airflow import free_port

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def quickstart(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "idedup_tasks.quickstart", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "IDEDUP_HOME": str(home),
            "IDEDUP_COLLECTIONS": str(home / "collections"),
        },
        capture_output=True,
        text=True,
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    """The port that Airflow would like best, in use."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", free_port(8080)))
        taken.listen()
        yield int(taken.getsockname()[1])


def test_a_folder_of_ones_own(source: Path, tmp_path: Path, taken_port: int) -> None:
    before = {process.pid for process in psutil.process_iter()}
    result = quickstart(tmp_path / "home", "--source", str(source), "--once")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert "all duplicates" in result.stdout
    assert re.search(r"all files +22 +of", result.stdout)
    address = re.search(r"Airflow: (http://127\.0\.0\.1:(\d+)) ", result.stdout)
    assert address is not None
    assert int(address[2]) != taken_port
    # Told before there is anything to wait for, and again at the end.
    told = [line.startswith("Airflow: ") for line in result.stdout.splitlines()]
    assert sum(told) == 2
    assert told.index(True) < result.stdout.splitlines().index("Starting the runs …")
    assert f"{tmp_path}/home/collections/" in result.stdout
    asked = [line for line in result.stdout.splitlines() if " query " in line]
    # As in a shell of one's own: other tests of this process set variables of idedup's.
    shell = {k: v for k, v in os.environ.items() if not k.startswith("IDEDUP_")}
    answer = subprocess.run(
        ["sh", "-c", asked[0]], capture_output=True, text=True, cwd=tmp_path, env=shell
    )
    assert answer.returncode == 0, answer.stderr
    assert "exact" in answer.stdout
    report = re.search(r"Report: (.*\.html)", result.stdout)
    assert report is not None
    assert Path(report[1]).stat().st_size > 1000
    for name in ("secrets.json", "passwords.json"):
        assert (tmp_path / "home/airflow" / name).stat().st_mode & 0o077 == 0
    left = [p for p in psutil.process_iter(["environ"]) if p.pid not in before]
    marked = [p for p in left if str(tmp_path) in str((p.info["environ"] or {}).values())]
    assert marked == []


@pytest.mark.parametrize(
    ("source", "home", "sentence"),
    [
        ("/no/such/folder", "home", "SOURCE=/no/such/folder is not a folder"),
        (None, "file/home", "IDEDUP_HOME=.*/file/home cannot be made"),
    ],
)
def test_bad_use_is_a_sentence(
    source: str | None, home: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = quickstart(tmp_path / home, "--once", *(["--source", source] if source else []))
    assert result.returncode == 2
    assert re.match(sentence, result.stderr)
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_disk_without_room_is_a_sentence(tmp_path: Path) -> None:
    script = (
        "import shutil, sys, types\n"
        "shutil.disk_usage = lambda _: types.SimpleNamespace(free=5_000_000)\n"
        "from idedup_tasks.quickstart import main\n"
        "sys.exit(main(['--once']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "IDEDUP_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "5 MB of free disk" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_nothing_outlives_the_process_that_started_airflow(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from idedup_tasks.quickstart.airflow import LocalAirflow\n"
        "from idedup_tasks.settings import Places\n"
        "with LocalAirflow(Path(sys.argv[1]), Places.from_environment(), port=0):\n"
        "    print('started', flush=True)\n"
        "    time.sleep(3600)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "airflow")],
        env={**os.environ, "IDEDUP_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "started\n"
    started = psutil.Process(starter.pid).children(recursive=True)
    assert len(started) >= 5

    refused = second_start(tmp_path / "airflow")
    assert "Another Airflow already runs" in refused

    starter.send_signal(signal.SIGKILL)
    starter.wait()
    _, alive = psutil.wait_procs(started, timeout=120)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def second_start(airflow_home: Path) -> str:
    """What a second Airflow in the same home is told."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from idedup_tasks.quickstart.airflow import AirflowError, LocalAirflow\n"
        "from idedup_tasks.settings import Places\n"
        "try:\n"
        "    LocalAirflow(Path(sys.argv[1]), Places.from_environment()).start()\n"
        "except AirflowError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(airflow_home)],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout
