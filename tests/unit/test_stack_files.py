"""What docker-compose.yaml, .env.example and the scripts of the stack promise."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import compose_file
import pytest
import yaml
from compose_file import ROOT

from idedup_tasks.settings import load_collection
from idedup_tasks.sources import is_local

sys.path.insert(0, str(ROOT / "config" / "stack"))
import environment
import prepare_store

STEPS = {"preflight", "store-init", "warehouse-init", "airflow-init", "superset-init"}


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / ".env"
    assert environment.main(["write", str(ROOT / ".env.example"), str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The file as plain YAML: anchors are resolved, variables are not."""
    return yaml.safe_load((ROOT / "docker-compose.yaml").read_text())


def _services(written: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from written["services"].items()


# --- the parser's verdict ---


def test_compose_accepts_the_file(env_file: Path, written: dict[str, Any]) -> None:
    config = compose_file.parsed(env_file, "gpu")
    assert set(config["services"]) == set(written["services"])
    assert "dask-worker-gpu" not in compose_file.parsed(env_file)["services"]
    worker = config["services"]["dask-worker-gpu"]
    assert worker["deploy"]["resources"]["reservations"]["devices"] == [
        {"capabilities": ["gpu"], "count": 1, "driver": "nvidia"}
    ]
    assert "--resources=GPU=1" in worker["command"]
    assert worker["build"]["args"] == {"CUDA": "1"}


@pytest.mark.parametrize("name", environment.SECRETS)
def test_compose_refuses_a_file_without_a_secret(env_file: Path, tmp_path: Path, name: str) -> None:
    lines = [f"{k}={v}" for k, v in environment.read(env_file).items() if k != name]
    lacking = tmp_path / ".env"
    lacking.write_text("\n".join(lines))
    result = compose_file.run("--env-file", str(lacking), "config", "--quiet")
    assert result.returncode != 0
    assert name in result.stderr
    assert "make env" in result.stderr


# --- what every service keeps to ---


def test_everything_waits_for_the_check_of_the_secrets(written: dict[str, Any]) -> None:
    services = written["services"]

    def awaited(name: str) -> set[str]:
        needed = services[name].get("depends_on", {})
        return set(needed).union(*(awaited(other) for other in needed))

    for name, service in services.items():
        assert name == "preflight" or "preflight" in awaited(name), name
        for other, how in service.get("depends_on", {}).items():
            expected = "completed_successfully" if other in STEPS else "healthy"
            assert how["condition"] == f"service_{expected}", (name, other)
    checked = services["preflight"]["environment"]
    assert set(checked) == set(environment.SECRETS)


def test_limits_health_and_restarts(written: dict[str, Any]) -> None:
    for name, service in _services(written):
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["logging"]["options"]["max-size"], name
        if name in STEPS:
            assert service["restart"] in ("no", "on-failure:3"), name
        else:
            assert service["restart"] == "unless-stopped", name
            test = service["healthcheck"]["test"]
            assert test[0] == "CMD", name
            assert len(test) > 2, name


def test_nobody_is_root(written: dict[str, Any]) -> None:
    for name, service in _services(written):
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*|superset", service["user"]), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
    for stage in re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.M)[1:]:
        last = re.findall(r"^USER (\S+)", stage, flags=re.M)[-1]
        assert last.split(":")[0] not in ("root", "0")


def test_ports_are_those_that_people_open_and_on_loopback(written: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in _services(written) if "ports" in s}
    assert set(published) == {"airflow-api-server", "dask-scheduler", "objectstore", "superset"}
    for name, [port] in published.items():
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z0-9]+_PORT:-\d+\}:\d+", port), name
    assert "8786" not in str(published)


def test_what_the_stack_mounts_can_be_used(written: dict[str, Any]) -> None:
    """Volumes hold state, and Airflow opens even its passwords file for appending; what comes from
    this repository is only read."""
    for name, service in _services(written):
        for mount in service.get("volumes", []):
            source, _, mode = re.findall(r"^([^:]+):(/[^:]+):?(\w*)$", mount)[0]
            assert mode == ("" if source in written["volumes"] else "ro"), (name, mount)
    # A folder of this machine is none that the containers have.
    for path in (ROOT / "config" / "collections").glob("*.yaml"):
        assert not is_local(load_collection(path).source), path


def test_images_are_pinned(written: dict[str, Any]) -> None:
    tags = [service["image"] for _, service in _services(written)]
    tags += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), flags=re.M)
    for tag in tags:
        assert re.fullmatch(r"[a-z/-]+:\d+\.\d+[\w.-]*", tag), tag


def test_only_tasks_and_workers_reach_the_dask_scheduler(written: dict[str, Any]) -> None:
    members = {name for name, s in _services(written) if "cluster" in s.get("networks", [])}
    assert members == {"dask-scheduler", "dask-worker", "dask-worker-gpu", "airflow-scheduler"}


def test_a_service_is_given_no_secret_that_it_has_no_use_for(written: dict[str, Any]) -> None:
    users: dict[str, set[str]] = {}
    for name, service in _services(written):
        for secret in re.findall(r"\$\{([A-Z0-9_]+):\?", str(service)):
            users.setdefault(secret, set()).add(name)
    everywhere = {"preflight"}
    database = everywhere | {"postgres"}
    assert users["IDEDUP_OWNER_PASSWORD"] == database | {"warehouse-init"}
    assert users["IDEDUP_WRITER_PASSWORD"] == database | {
        *("warehouse-init", "airflow-api-server", "airflow-scheduler")
    }
    assert users["POSTGRES_PASSWORD"] == database
    assert users["IDEDUP_BI_PASSWORD"] == database | {"superset-init"}
    for worker in ("dask-worker", "dask-worker-gpu"):
        held = {secret for secret, names in users.items() if worker in names}
        assert held == {"S3_ACCESS_KEY", "S3_SECRET_KEY"}


def test_no_secret_is_written_down(written: dict[str, Any]) -> None:
    """Each secret comes from .env: a variable, never a value."""

    def texts(node: object, path: str = "") -> Iterator[tuple[str, str]]:
        if isinstance(node, dict):
            for key, value in node.items():
                yield from texts(value, f"{path}.{key}")
        elif isinstance(node, list):
            for value in node:
                yield from texts(value, path)
        else:
            yield path, str(node)

    for path, text in texts(written):
        assert not re.search(r"://[^/@\s$]*:[^$@/]+@", text), path
        # Files that hold secrets are named here; secrets are not.
        if re.search(r"(PASSWORD|SECRET|_KEY|KEY_ID)$", path):
            assert text.startswith("${"), path
            assert ":?" in text, path


# --- .env ---


def test_the_example_explains_each_secret_and_passes_for_none() -> None:
    example = (ROOT / ".env.example").read_text()
    for name in environment.SECRETS:
        assert re.search(rf"^#[^\n]+\n({name}|S3_ACCESS_KEY=\S+\n{name})=", example, flags=re.M), (
            name
        )
    faults = list(environment.faults(environment.read(ROOT / ".env.example")))
    assert [fault.split()[0] for fault in faults] == list(environment.SECRETS)
    assert all(".env.example, which everybody knows" in fault for fault in faults)


def test_the_example_has_every_variable_of_the_file_and_no_other() -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", text))
    example = environment.read(ROOT / ".env.example")
    assert used == set(example)
    defaults = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", text))
    assert defaults == {name: example[name] for name in used - set(environment.SECRETS)}


def test_a_written_file_is_good_private_and_never_replaced(env_file: Path) -> None:
    values = environment.read(env_file)
    assert list(environment.faults(values)) == []
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert values["AIRFLOW_PORT"] == "8080"
    before = env_file.read_text()
    assert environment.main(["write", str(ROOT / ".env.example"), str(env_file)]) == 1
    assert env_file.read_text() == before


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("POSTGRES_PASSWORD", "", "is not set"),
        ("POSTGRES_PASSWORD", "change-me-again", "everybody knows"),
        ("POSTGRES_PASSWORD", "short", "5 characters"),
        ("IDEDUP_BI_PASSWORD", "with/slash/and@at/that-is-long", "breaks an address"),
        ("AIRFLOW_JWT_SECRET", "x" * 63, "63 characters"),
        ("AIRFLOW_FERNET_KEY", "bm90IDMyIGJ5dGVz", "no Fernet key"),
        ("AIRFLOW_FERNET_KEY", "!", "no Fernet key"),
    ],
)
def test_a_bad_secret_is_named_and_not_repeated(
    env_file: Path, name: str, value: str, fault: str
) -> None:
    [said] = environment.faults({**environment.read(env_file), name: value})
    assert said.startswith(name)
    assert fault in said
    assert not value or value not in said


def test_two_secrets_are_not_the_same(env_file: Path) -> None:
    values = environment.read(env_file)
    values["SUPERSET_SECRET_KEY"] = values["AIRFLOW_SECRET_KEY"]
    [said] = environment.faults(values)
    assert said.startswith("SUPERSET_SECRET_KEY is the same as AIRFLOW_SECRET_KEY")


def test_the_check_ends_with_an_error(tmp_path: Path) -> None:
    """As Compose and `make up` run it."""
    script = [sys.executable, str(ROOT / "config" / "stack" / "environment.py"), "check"]
    for arguments, said in (
        ([str(ROOT / ".env.example")], "POSTGRES_PASSWORD still has the value"),
        ([str(tmp_path / ".env")], "`make env` writes one"),
        ([], "POSTGRES_PASSWORD is not set"),
    ):
        result = subprocess.run([*script, *arguments], env={}, capture_output=True, text=True)
        assert result.returncode == 1
        assert said in result.stderr


# --- the other scripts ---


def _store(refuse: bool) -> Mock:
    """A store with a bucket in which only the first conditional write succeeds, or every one."""
    held: set[str] = set()

    def call_s3(method: str, *, Key: str = "", **_: object) -> None:
        if method == "put_object":
            if refuse and Key in held:
                raise OSError("An error occurred (PreconditionFailed)")
            held.add(Key)

    return Mock(exists=Mock(return_value=True), call_s3=call_s3)


@pytest.mark.parametrize(("refuse", "code"), [(True, 0), (False, 1)])
def test_a_store_without_atomic_commits_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refuse: bool, code: int
) -> None:
    # One writer after the other: with a real store, the race is its own affair.
    monkeypatch.setattr(prepare_store, "ThreadPoolExecutor", lambda _: _OneByOne())
    monkeypatch.setattr(prepare_store.fsspec, "filesystem", lambda *_, **__: _store(refuse))
    assert prepare_store.main(["lake"]) == code
    assert ("cannot hold a lake" in capsys.readouterr().err) == (code == 1)


class _OneByOne:
    map = staticmethod(map)

    def __enter__(self) -> _OneByOne:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def test_the_images_are_built_from_the_pins_and_without_a_registry_for_the_syntax() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--constraint requirements.txt" in dockerfile
    extras = re.search(r'"\.\[([a-z0-9,]+)\$further\]"', dockerfile)
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    assert not dockerfile.startswith("# syntax")


def test_the_build_sees_no_secrets_and_no_state() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (\S+?)/? ", (ROOT / "Dockerfile").read_text(), flags=re.M)
    assert sent == set(copied)


def test_a_new_collection_file_makes_no_new_image() -> None:
    """Containers mount these files. In the build they would change a layer below the packages,
    and `make up` would install all of them again."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    def sent(path: str) -> bool:
        above = [path, *(str(p) for p in Path(path).parents)]
        # The last line that fits decides.
        fits = [line for line in lines if any(fnmatch(p, line.lstrip("!")) for p in above)]
        return fits[-1].startswith("!")

    assert sent("config/stack/healthy.py")
    assert sent("config/collections/README.md")
    assert not sent("config/collections/photos.yaml")
    assert not sent("config/collections/a.yml")
