"""Where work runs does not show: a real Dask scheduler and workers, killed in mid-stage too."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import builders
import compute_jobs
import numpy as np
import pytest
from builders import Bench, current_state, differences, encoded, scene
from distributed import Client
from PIL import Image

from idedup_tasks import compute, looking, pipeline
from idedup_tasks.settings import SettingsError
from idedup_tasks.stages.embed import prepare as embed
from idedup_tasks.stages.ingest import planning as ingest
from idedup_tasks.stages.match import candidates
from idedup_tasks.stages.prefilter import prepare as prefilter

_FOLDER = Path(__file__).parent
CANARY = "hunter2-of-the-canary"


class Processes:
    """A scheduler and workers on free ports of this machine, stopped by their pids."""

    def __init__(self, folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        path = f"{_FOLDER}{os.pathsep}{_FOLDER.parent}"
        self._environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path} | environment
        self._environment.pop("IDEDUP_DASK_SCHEDULER", None)
        self._started: list[subprocess.Popen[bytes]] = []
        self.log = folder / "log"
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self, scheme: str = "tcp", *options: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"{scheme}://127.0.0.1:{port}"
        self.scheduler = self._start(
            *("scheduler", "--host", f"{scheme}://127.0.0.1", "--port", str(port)),
            *("--dashboard-address", "127.0.0.1:0", *options),
        )
        return self.address

    def start_worker(self, *options: str) -> None:
        self.workers.append(
            self._start(
                *("worker", self.address, "--nworkers", "1", "--nthreads", "1"),
                *("--local-directory", str(self._folder), "--no-dashboard", *options),
            )
        )

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self._started):
            # A nanny takes its worker with it only when it is asked to end; the group is ours.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A scheduler and two workers: one under a nanny and daemonic, as is Dask's habit."""
    environment = {"AIRFLOW_CONN_ACME_S3": f"aws://AKIA:{CANARY}-of-the-worker@"}
    processes = Processes(tmp_path_factory.mktemp("dask"), **environment)
    try:
        processes.start_scheduler()
        processes.start_worker()
        processes.start_worker("--no-nanny")
        yield processes
    finally:
        processes.close()


@pytest.fixture
def on_cluster(running: Processes, monkeypatch: pytest.MonkeyPatch) -> Processes:
    monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", running.address)
    return running


@pytest.fixture
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several jobs a stage, though there are few pictures."""
    monkeypatch.setattr(ingest, "CHUNK", 4)
    monkeypatch.setattr(embed, "CHUNK", 4)
    monkeypatch.setattr(prefilter, "CHUNK", 4)
    monkeypatch.setattr(looking, "CHUNK", 4)
    monkeypatch.setattr(candidates, "SIDE", 4)
    monkeypatch.setattr(candidates, "TILES", 2)
    monkeypatch.setattr(candidates, "WORTH_SPREADING", 0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of three days, with copies of every kind, and files that are no pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(18):
        picture = scene(i)
        builders.place(folder, f"{i:02}.png", encoded(picture), i % 3, i)
        if i % 4 == 0:
            builders.place(folder, f"{i:02}-again.png", encoded(picture), (i + 1) % 3, 30 + i)
        if i % 4 == 1:
            smaller = picture.resize((80, 80), Image.Resampling.LANCZOS)
            builders.place(folder, f"{i:02}-small.jpg", encoded(smaller, "JPEG", quality=70), 2, i)
        if i % 4 == 2:
            cut = picture.crop((4, 4, 92, 92))
            builders.place(folder, f"{i:02}-cut.png", encoded(cut), 2, 30 + i)
    builders.place(folder, "broken.png", b"\x89PNG\r\n\x1a\n and no more", 1)
    builders.place(folder, "empty.jpg", b"", 2)
    return folder


def a_bench(home: Path, pictures: Path, **settings: Any) -> Bench:
    return builders.bench(home, pictures, model_id=None, thresholds=None, **settings)


@pytest.fixture(scope="module")
def expected(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process gives."""
    with pytest.MonkeyPatch.context() as patch:
        builders.unguarded(patch.setattr)
        patch.delenv("IDEDUP_DASK_SCHEDULER", raising=False)
        bench = a_bench(tmp_path_factory.mktemp("here"), pictures)
        pipeline.execute(bench.run())
    state = current_state(bench.run())
    relations = {row[6] for row in state["groups"]}
    assert {"exact", "same"} <= relations
    assert len(state["matches"]) > 1
    return state


def at(what: str, act: Callable[[], None]) -> Callable[[str, int, int | None], None]:
    """A `progress` that does something once, when a stage is under way."""
    left = [act]

    def progress(named: str, done: int, total: int | None) -> None:
        if named == what and done and done != total and left:
            left.pop()()

    progress.left = left  # type: ignore[attr-defined]
    return progress


def test_rows_are_the_same_wherever_they_were_computed(
    on_cluster: Processes,
    small_jobs: None,
    unguarded: None,
    pictures: Path,
    expected: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "idedup_tasks.compute")
    bench = a_bench(tmp_path / "home", pictures)
    pipeline.execute(bench.run())
    assert differences(current_state(bench.run()), expected) == {}
    assert "Dask dashboard: http://127.0.0.1:" in caplog.text
    assert list((tmp_path / "home" / "lake").rglob("*.npy")) == []
    with Client(on_cluster.address, set_as_default=False) as client:
        done = client.run_on_scheduler(_jobs_done)
    names = {"read_batch", "hash_chunk", "encode_chunk", "build_shard", "compare", "look_chunk"}
    assert {name for name in names if done.get(name, 0) > 1} == names - {"build_shard"}
    assert done["build_shard"] == 1


def _jobs_done(dask_scheduler: Any) -> dict[str, int]:
    prefixes = dask_scheduler.task_prefixes.values()
    return {p.name: p.state_counts["memory"] for p in prefixes}


def test_a_killed_worker_is_survived(
    small_jobs: None,
    unguarded: None,
    pictures: Path,
    expected: dict[str, Any],
    tmp_path: Path,
    on_cluster: Processes,
) -> None:
    def kill() -> None:
        worker = on_cluster.workers.pop()
        worker.kill()
        assert worker.wait(30) == -signal.SIGKILL
        on_cluster.start_worker("--no-nanny")

    reading, embedding = at("reading", kill), at("embedding", kill)

    def progress(*told: Any) -> None:
        reading(*told)
        embedding(*told)

    bench = a_bench(tmp_path / "home", pictures)
    pipeline.execute(bench.run(progress=progress))
    assert not reading.left
    assert not embedding.left
    assert differences(current_state(bench.run()), expected) == {}


def test_a_lost_scheduler_fails_the_stage_and_a_retry_completes_it(
    small_jobs: None,
    unguarded: None,
    pictures: Path,
    expected: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = Processes(tmp_path / "lost")
    fresh = Processes(tmp_path / "fresh")
    bench = a_bench(tmp_path / "home", pictures)
    try:
        monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", lost.start_scheduler())
        lost.start_worker("--no-nanny")
        run = bench.run(progress=at("reading", lost.scheduler.kill))
        with pytest.raises(compute.DaskError, match=r"127\.0\.0\.1:\d+ was lost .* again"):
            pipeline.execute(run)
        assert bench.run().lake.snapshot("images").rows == 0
        assert list((tmp_path / "home" / "lake").glob("*/images/*/chunk-*"))  # and are found again
        lost.close()
        monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", fresh.start_scheduler())
        fresh.start_worker("--no-nanny")
        pipeline.execute(bench.run())
    finally:
        lost.close()
        fresh.close()
    assert differences(current_state(bench.run()), expected) == {}


def test_results_come_in_order_with_their_context_and_what_they_advanced(
    on_cluster: Processes,
) -> None:
    advanced: list[int] = []
    jobs = ((f"job {n}", n) for n in range(40))
    results = list(compute.run_jobs(compute_jobs.squared, jobs, advanced.append))
    assert results == [(f"job {n}", n**2) for n in range(40)]
    assert advanced == list(range(40))
    with pytest.raises(LookupError, match="no such thing as 3"):
        list(compute.run_jobs(compute_jobs.fail, [(None, 3)]))


def test_what_is_costly_to_make_is_made_once_a_process(on_cluster: Processes) -> None:
    jobs = [(None, n) for n in range(20)]
    shares = [share for _, share in compute.run_jobs(compute_jobs.share, jobs)]
    assert os.getpid() not in {pid for pid, _, _ in shares}
    assert {(made, cores) for _, made, cores in shares} == {(1, 1)}


def test_a_decoder_that_crashes_or_hangs_costs_its_file_and_no_worker(
    on_cluster: Processes,
) -> None:
    """Dask's workers are daemonic under a nanny: they may have processes all the same."""
    jobs = [(n, 5) for n in range(2)]
    results = [found for _, found in compute.run_jobs(compute_jobs.isolated, jobs)]
    kinds = ["done", "crashed", "done", "crashed", "timed-out"]
    assert [found["kinds"] for found in results] == [kinds] * 2
    # All were done by workers that lived on to take another job.
    again = {pid for _, (pid, _, _) in compute.run_jobs(compute_jobs.share, jobs * 10)}
    assert {found["pid"] for found in results} <= again


class Listener:
    """Stands between a client and its scheduler, and keeps what passes."""

    def __init__(self, target: str) -> None:
        host, port = target.rpartition("/")[2].split(":")
        self._target = host, int(port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self.heard = bytearray()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._server.accept()
                scheduler = socket.create_connection(self._target)
                for pair in ((client, scheduler), (scheduler, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self.heard += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._server.close()


def test_credentials_reach_workers_by_their_own_environment_only(
    on_cluster: Processes,
    small_jobs: None,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    listener = Listener(on_cluster.address)
    monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", listener.address)
    bench = a_bench(tmp_path / "home", pictures, connection="acme_s3")
    options = {"key": "AKIA", "secret": CANARY}
    try:
        prepared = pipeline.prepare("ingest", bench.run(source_options=options))
        # A connection that the workers do not have is named, and nothing else is said.
        other = a_bench(tmp_path / "other", pictures, connection="unknown")
        with pytest.raises(SettingsError, match="AIRFLOW_CONN_UNKNOWN is not set"):
            pipeline.prepare("ingest", other.run(source_options=options))
    finally:
        listener.close()
    assert prepared["counts"]["decoded"] > 10
    heard = bytes(listener.heard)
    assert b"00-again.png" in heard
    assert b"acme_s3" in heard
    written = "".join(path.read_text() for path in (tmp_path / "home").rglob("*.json"))
    for told in (heard.decode(errors="replace"), on_cluster.log.read_text(), caplog.text, written):
        assert CANARY not in told


def test_arrays_that_jobs_share_travel_through_the_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    from idedup_tasks.lake import Lake, share_arrays

    lake = Lake(str(tmp_path), "one")
    large = np.arange(100_000, dtype=np.float32).reshape(-1, 10)
    monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", "tcp://nowhere:1")
    with share_arrays(lake, {"large": large}, here=False) as shared:
        travelled = pickle.dumps(shared)
        assert len(travelled) < 2_000
        arrived = pickle.loads(travelled)
        assert (np.asarray(arrived["large"]) == large).all()
    assert list(tmp_path.rglob("*.npy")) == []
    with share_arrays(lake, {"large": large}, here=True) as shared:
        assert shared["large"] is large
        assert list(tmp_path.rglob("*.npy")) == []


# --- what a person must mend -------------------------------------------------------------------


def test_a_scheduler_that_does_not_answer_is_an_error_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", f"tcp://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(compute, "CONNECT_S", 1.0)
    with pytest.raises(compute.DaskError, match=r"does not answer.*IDEDUP_DASK_SCHEDULER"):
        list(compute.run_jobs(compute_jobs.squared, [(None, 1)]))
    # Nothing to do needs no cluster, and too little is done here.
    assert list(compute.run_jobs(compute_jobs.squared, [])) == []
    assert list(compute.run_jobs(compute_jobs.squared, [(0, 3)], here=True)) == [(0, 9)]


@pytest.mark.parametrize("gpu", [False, True])
def test_a_cluster_without_workers_is_an_error_soon(
    gpu: bool,
    running: Processes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes = Processes(tmp_path)
    monkeypatch.setattr(compute, "NO_WORKER_S", 0.5)
    try:
        # The workers there are have no GPU.
        address = running.address if gpu else processes.start_scheduler()
        monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", address)
        which = "worker with the resource GPU" if gpu else "worker"
        with pytest.raises(compute.DaskError, match=rf"has had no {which} for \d+ seconds:"):
            list(compute.run_jobs(compute_jobs.squared, [(None, 1)], gpu=gpu))
    finally:
        processes.close()


def test_an_address_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", "carrier-pigeon://loft")
    with pytest.raises(SettingsError, match="carrier-pigeon"):
        list(compute.run_jobs(compute_jobs.squared, [(None, 1)]))


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    """A certificate authority's file, and a certificate for this machine with its key."""
    x509 = pytest.importorskip("cryptography.x509", reason="makes the certificates")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test's authority")])
    machine = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])

    def certificate(subject: Any, public: Any, extension: Any) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    basic = x509.BasicConstraints(ca=True, path_length=None)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    files = {
        "CA": certificate(authority, authority_key.public_key(), basic),
        "CERT": certificate(machine, key.public_key(), here),
        "KEY": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.pem").write_bytes(content)
    return {name: str(tmp_path / f"{name}.pem") for name in files}


def test_traffic_can_be_tls(
    certificates: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--tls-ca-file", certificates["CA"], "--tls-cert", certificates["CERT"]]
    options += ["--tls-key", certificates["KEY"]]
    processes = Processes(tmp_path / "dask")
    try:
        address = processes.start_scheduler("tls", *options)
        processes.start_worker("--no-nanny", *options)
        monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", address)
        for name, file in certificates.items():
            monkeypatch.setenv(f"IDEDUP_DASK_TLS_{name}", file)
        jobs = [(None, n) for n in range(3)]
        assert [n for _, n in compute.run_jobs(compute_jobs.squared, jobs)] == [0, 1, 4]
        # Without a certificate nobody gets in.
        monkeypatch.setattr(compute, "CONNECT_S", 2.0)
        monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", address.replace("tls://", "tcp://"))
        with pytest.raises(compute.DaskError, match="does not answer"):
            list(compute.run_jobs(compute_jobs.squared, jobs))
    finally:
        processes.close()


def test_tls_without_its_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEDUP_DASK_SCHEDULER", "tls://127.0.0.1:8786")
    monkeypatch.setenv("IDEDUP_DASK_TLS_CA", str(tmp_path / "missing.pem"))
    with pytest.raises(SettingsError, match=r"IDEDUP_DASK_TLS_CA is .*missing\.pem.*PEM"):
        list(compute.run_jobs(compute_jobs.squared, [(None, 1)]))
