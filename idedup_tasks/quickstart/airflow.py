"""A real Airflow on this machine, started and stopped as one thing, driven through its REST API.

The API server, scheduler, DAG processor and triggerer are children of a guard process (`guard`) in
a session of its own, which ends them when it is told to and when the process that started it was
killed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

from idedup_tasks.errors import IdedupError, TransientError
from idedup_tasks.settings import Places, make_private, sqlite_url

_DAGS = ("image_dedup", "idedup_maintenance", "descriptor_training", "descriptor_benchmark")
_Answer = TypeVar("_Answer")


class AirflowError(IdedupError, RuntimeError):
    """Airflow does not start, ends by itself, or refuses a request."""


class MetadataLocked(AirflowError, TransientError):
    """SQLite refused a write because another process had written meanwhile: ask again."""


class LocalAirflow:
    """One Airflow with a home of its own; a context manager that starts and stops it.

    Args:
        home: where its configuration, database, logs and secrets live.
        places: of the lake, the warehouse and the collection files.
        metadata: SQLAlchemy URL of the metadata database (`postgresql+psycopg://…`); SQLite in
            `home` by default.
        port: preferred port of the API server on loopback; another is taken when it is in use.
        environment: further variables.
    """

    user = "admin"

    def __init__(
        self,
        home: Path,
        places: Places,
        *,
        metadata: str | None = None,
        port: int = 8080,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home, self.places = home, places
        self._metadata = metadata or sqlite_url(home / "airflow.db")
        self._preferred_port, self._further = port, dict(environment or {})
        self._guard: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._token = ""
        self.password = ""
        self.url = ""

    # --- start and stop ------------------------------------------------------------------------

    def __enter__(self) -> LocalAirflow:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout: float = 300) -> None:
        """Start all four components and wait until they are healthy.

        Raises:
            AirflowError: it is not installed, another one uses this home, or a component does not
                come up.
        """
        if importlib.util.find_spec("airflow") is None:
            raise AirflowError("Airflow is not installed: pip install 'idedup[airflow]' adds it.")
        make_private(self.home)
        self._take_home()
        (self.home / "logs").mkdir(exist_ok=True)
        deadline = time.monotonic() + timeout
        while True:
            port = free_port(self._preferred_port)
            environment = self.environment(port)
            self._migrate(environment)
            self.url, self._token = f"http://127.0.0.1:{port}", ""
            self._start_guard(environment)
            try:
                self._wait_until_healthy(deadline, timeout)
                return
            except AirflowError:
                # Starting takes a while: another program may have taken the port meanwhile.
                if self._guard_runs() or free_port(port) == port:
                    raise

    def _start_guard(self, environment: Mapping[str, str]) -> None:
        self._guard = subprocess.Popen(  # noqa: S603 - fixed arguments
            [sys.executable, "-m", "idedup_tasks.quickstart.guard", str(self.home / "logs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            cwd=self.home,
            # What the components and their tasks write is the user's alone, in an older home too.
            umask=0o077,
            start_new_session=True,
            # The home stays taken until the guard has ended everything.
            pass_fds=() if self._lock is None else (self._lock.fileno(),),
        )

    def _wait_until_healthy(self, deadline: float, timeout: float) -> None:
        while not self._healthy():
            self.check_alive()
            if time.monotonic() > deadline:
                raise AirflowError(
                    f"Airflow was not healthy after {timeout:.0f} s: see {self.home / 'logs'}."
                )
            time.sleep(0.5)

    def _guard_runs(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def stop(self) -> None:
        """End every process of this Airflow and wait until none is left."""
        if self._guard is not None:
            for stream in (self._guard.stdin, self._guard.stdout):
                if stream is not None:
                    stream.close()
            self._guard.wait()
            self._guard = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def check_alive(self) -> None:
        """Raise AirflowError when a component ended by itself."""
        if self._guard is None or self._guard.poll() is None:
            return
        said = self._guard.stdout.read().decode().strip() if self._guard.stdout else ""
        raise AirflowError(f"Airflow's {said or 'guard'} ended by itself: see {self.home}/logs.")

    def _take_home(self) -> None:
        self._lock = (self.home / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise AirflowError(
                f"Another Airflow already runs in {self.home}: end it, or set IDEDUP_HOME to "
                "another folder."
            ) from None

    def _migrate(self, environment: Mapping[str, str]) -> None:
        done = self.home / "migrated"
        wanted = f"{importlib.metadata.version('apache-airflow')} {self._metadata}"
        if done.exists() and done.read_text() == wanted:
            return
        result = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=dict(environment),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            umask=0o077,
        )
        if result.returncode:
            (self.home / "migrate.log").write_bytes(result.stdout)
            raise AirflowError(
                f"Airflow's database could not be made: see {self.home / 'migrate.log'}."
            )
        done.write_text(wanted)

    # --- settings ------------------------------------------------------------------------------

    def environment(self, port: int) -> dict[str, str]:
        """What every process of this Airflow runs with: quiet, local, secrets of its own."""
        held = self._secrets()
        self.password = held["password"]
        passwords = self.home / "passwords.json"
        _write_private(passwords, json.dumps({self.user: self.password}))
        settings = {
            "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager"
            ".SimpleAuthManager",
            "CORE__DAGS_FOLDER": str(self._write_dags()),
            "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__FERNET_KEY": held["fernet_key"],
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__PARALLELISM": str(max(2, min(8, os.cpu_count() or 2))),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{self.user}:admin",
            "API__BASE_URL": f"http://127.0.0.1:{port}",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            "API__SECRET_KEY": held["secret_key"],
            "API__WORKERS": "1",
            "API_AUTH__JWT_SECRET": held["jwt_secret"],
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "DATABASE__SQL_ALCHEMY_CONN": self._metadata,
            "LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
            "LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
            "SCHEDULER__CATCHUP_BY_DEFAULT": "False",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        if not self._metadata.startswith("sqlite"):
            # psycopg answers both ways; Airflow would look for asyncpg.
            settings["DATABASE__SQL_ALCHEMY_CONN_ASYNC"] = self._metadata
        # Settings of another Airflow on this machine do not count here; its connections may.
        others = ("AIRFLOW__", "AIRFLOW_HOME", "AIRFLOW_CONFIG")
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(others)},
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            "AIRFLOW_HOME": str(self.home),
            "IDEDUP_COLLECTIONS": str(self.places.collections),
            "IDEDUP_HOME": str(self.places.home),
            "IDEDUP_LAKE": self.places.lake,
            "IDEDUP_WAREHOUSE": self.places.warehouse,
            "GX_ANALYTICS_ENABLED": "False",
            # Tasks talk to the API server on loopback, past any proxy.
            "NO_PROXY": f"{os.environ.get('NO_PROXY', '')},127.0.0.1,localhost".lstrip(","),
            "no_proxy": f"{os.environ.get('no_proxy', '')},127.0.0.1,localhost".lstrip(","),
            **self._further,
        }

    def _write_dags(self) -> Path:
        """A folder of DAG files as anybody's Airflow has them (docs/installing.md)."""
        folder = self.home / "dags"
        folder.mkdir(exist_ok=True)
        for name in _DAGS:
            (folder / f"{name}.py").write_text(
                f"from idedup_dags.{name} import *  # Airflow DAGs\n"
            )
        return folder

    def _secrets(self) -> dict[str, str]:
        path = self.home / "secrets.json"
        if not path.exists():
            key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            made = {
                "fernet_key": key,
                "jwt_secret": secrets.token_urlsafe(64),
                "password": secrets.token_urlsafe(12),
                "secret_key": secrets.token_urlsafe(32),
            }
            _write_private(path, json.dumps(made))
        held: dict[str, str] = json.loads(path.read_text())
        return held

    # --- REST ----------------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Call `/api/v2{path}` as the admin user.

        Raises:
            AirflowError: the answer is an error; names method, path and what Airflow said.
        """
        if not self._token:
            login = {"username": self.user, "password": self.password}
            self._token = self._call("POST", "/auth/token", login)["access_token"]
        parameters = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
        path = f"/api/v2{path}{'?' if parameters else ''}{parameters}"
        return _persistently(lambda: self._call(method, path, body))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is our own
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as answer:
                content = answer.read()
                return json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            locked = error.code == 503 or "database is locked" in said
            raise (MetadataLocked if locked else AirflowError)(
                f"Airflow answered {method} {path} with {error.code}: {said[:500]}"
            ) from error

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError, AirflowError):
            # Signed in, so that it is this Airflow and no other that answers at the port.
            health = self.request("GET", "/monitor/health")
            return all((part or {}).get("status") == "healthy" for part in health.values())
        return False

    def wait_for_dag(self, dag_id: str, timeout: float = 300) -> None:
        """Wait until the DAG processor has read this home's collection files as they are now.

        Raises:
            AirflowError: it did not appear; names the import errors there are.
        """
        asked = time.time()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.check_alive()
            with contextlib.suppress(AirflowError):
                parsed = self.request("GET", f"/dags/{dag_id}")["last_parsed_time"]
                if parsed and _timestamp(parsed) > asked:
                    return
            time.sleep(0.5)
        errors = self.request("GET", "/importErrors")["import_errors"]
        said = "; ".join(f"{e['filename']}: {e['stack_trace'][-300:]}" for e in errors)
        raise AirflowError(f"DAG {dag_id} did not appear in {timeout:.0f} s. {said}")

    def pause(self, dag_id: str, paused: bool = True) -> None:
        """Pause a DAG, or unpause it."""
        self.request("PATCH", f"/dags/{dag_id}", {"is_paused": paused})

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Create a pool, or change it."""
        body = {"name": name, "slots": slots, "description": description, "include_deferred": False}
        known = {pool["name"] for pool in self.request("GET", "/pools")["pools"]}
        method, path = ("PATCH", f"/pools/{name}") if name in known else ("POST", "/pools")
        self.request(method, path, body)

    def backfill(self, dag_id: str, first: str, last: str, *, max_active_runs: int = 1) -> int:
        """Backfill the intervals that start from `first` to `last` (both inclusive, ISO dates).

        Intervals that ran before run again, under the same run id; what of the DAG is unfinished
        is ended first. Returns the backfill's id.
        """
        body = {
            "dag_id": dag_id,
            "from_date": first,
            "to_date": last,
            "max_active_runs": max_active_runs,
            "reprocess_behavior": "completed",
        }

        def create() -> int:
            # What an earlier attempt left half made stands in the way of the next.
            self.end_unfinished(dag_id)
            return int(self._call("POST", "/api/v2/backfills", body)["id"])

        return _persistently(create)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a manual run without a logical date; returns its run id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The DAG's runs, in order of their logical date."""
        found = self.request("GET", f"/dags/{dag_id}/dagRuns", limit=100)["dag_runs"]
        return sorted(found, key=lambda run: (run["logical_date"] or "", run["run_after"]))

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        found: list[dict[str, Any]] = self.request("GET", path, limit=100)["task_instances"]
        return found

    def end_unfinished(self, dag_id: str) -> None:
        """Mark as failed what an Airflow that was killed left running, and cancel its backfills."""
        for backfill in self.request("GET", "/backfills", dag_id=dag_id)["backfills"]:
            if backfill["completed_at"] is None:
                self.request("PUT", f"/backfills/{backfill['id']}/cancel")
        for run in self.runs(dag_id):
            if run["state"] in ("queued", "running"):
                path = f"/dags/{dag_id}/dagRuns/{quote(run['dag_run_id'], safe='')}"
                self.request("PATCH", path, {"state": "failed"})


def _persistently(ask: Callable[[], _Answer]) -> _Answer:
    for _ in range(20):
        try:
            return ask()
        except MetadataLocked:
            time.sleep(1)
    return ask()


def free_port(preferred: int) -> int:
    """The preferred port on loopback when nobody listens there, else one that the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AirflowError("No port on 127.0.0.1 is free: end a program that listens on many.")


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
