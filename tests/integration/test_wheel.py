"""What people install: the wheel, into an empty environment and into one that has Airflow."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from idedup_tasks.quickstart import agreement
from idedup_tasks.quickstart.sample import make_sample

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


# --- the core alone ---

# A third of the sample: of each kind of edit and of lookalike there is some.
SOME = re.compile(r"astronaut|chelsea|coffee|rocket|\w+ 0[1-4]")


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the core, in the versions of requirements.txt, and nothing else."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet"]
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"):
        install = [uv, "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, "--constraint", ROOT / "requirements.txt", wheel], check=True)
    return folder


@pytest.fixture
def idedup(clean: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs the installed command as a user without any variable of idedup's would."""

    def run(*arguments: str | Path) -> str:
        result = subprocess.run(
            [clean / "bin" / "idedup", *arguments],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "XDG_DATA_HOME": str(tmp_path / "data"),
            },
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


def files(folder: Path) -> set[Path]:
    """What lies there, beside what Python compiles for itself."""
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_the_core_finds_duplicates_and_keeps_its_state_apart(
    clean: Path, idedup: Callable[..., str], tmp_path: Path
) -> None:
    source = tmp_path / "pictures"
    with make_sample(source).open(newline="", encoding="utf-8") as stream:
        originals = {row["file"]: row["original"] or None for row in csv.DictReader(stream)}
    for file, original in list(originals.items()):
        if original is not None and not SOME.fullmatch(original):
            (source / file).unlink()
            del originals[file]
    before = files(clean)
    assert re.fullmatch(r"idedup \d+\.\d+\.\d+\n", idedup("--version"))

    idedup("scan", source, "--output", tmp_path / "found")
    with (tmp_path / "found/groups.csv").open(newline="", encoding="utf-8") as stream:
        found = {
            Path(row["path"]).relative_to(source).as_posix(): row["group_id"]
            for row in csv.DictReader(stream)
        }
    held, _, right = agreement(originals, found)
    assert right > 0.95 * held > 0
    assert (tmp_path / "found/report.html").stat().st_size > 1000

    one, other = islice((source / file for file, name in originals.items() if name == "coffee"), 2)
    idedup("explain", one, other, "--output", tmp_path / "why.html")
    idedup("db", "upgrade")
    assert (tmp_path / "data/idedup/warehouse.db").is_file()
    assert files(clean) == before, "nothing is written beside the package"


def test_the_core_is_without_what_it_does_not_need(clean: Path) -> None:
    large = ("torch", "airflow", "superset", "dask", "distributed", "psycopg", "matplotlib")
    script = f"import importlib.util as i; print([m for m in {large!r} if i.find_spec(m)])"
    result = subprocess.run(
        [clean / "bin" / "python", "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


# --- with Airflow ---

LOOK = """
import json
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import get_import_errors, get_plugin_info
import idedup_dags, idedup_plugin, idedup_tasks, idedup_ui
bag = DagBag()
print(json.dumps({
    "dags": sorted(bag.dags),
    "files": sorted({dag.fileloc for dag in bag.dags.values()}),
    "faults": [*bag.import_errors.values(), *get_import_errors().values()],
    "plugins": [(plugin["name"], str(plugin["source"])) for plugin in get_plugin_info()],
    "modules": [m.__file__ for m in (idedup_dags, idedup_plugin, idedup_tasks, idedup_ui)],
}))
"""


def test_airflow_finds_plugin_and_dags_of_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    installed, dags = tmp_path / "site-packages", tmp_path / "airflow/dags"
    zipfile.ZipFile(wheel).extractall(installed)
    # All else of this environment, where the checkout itself may be installed.
    rest = tmp_path / "rest"
    rest.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "idedup" not in entry.name:
            (rest / entry.name).symlink_to(entry)
    dags.mkdir(parents=True)
    line = "from idedup_dags.image_dedup import *  # Airflow DAGs\n"
    assert line in (ROOT / "docs/installing.md").read_text()
    (dags / "duplicates.py").write_text(line)
    for module in ("idedup_maintenance", "descriptor_training", "descriptor_benchmark"):
        (dags / f"{module}.py").write_text(line.replace("image_dedup", module))
    collections = tmp_path / "data/idedup/collections"
    collections.mkdir(parents=True)
    for name in ("one", "two-b"):
        (collections / f"{name}.yaml").write_text(f"name: {name}\nsource: /pictures\n")
    (collections / "bad.yaml").write_text("name: [\n")
    others = ("AIRFLOW", "IDEDUP", "PYTHONPATH")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(others)} | {
        "PYTHONPATH": f"{installed}:{rest}",
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    result = subprocess.run(
        [sys.executable, "-S", "-c", LOOK],  # without this environment's own folder
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    assert seen["faults"] == []
    assert seen["dags"] == [
        *("descriptor_benchmark", "descriptor_training", "idedup_maintenance"),
        *("image_dedup_one", "image_dedup_two-b", "invalid_bad"),
    ]
    assert all(Path(file).parent == dags for file in seen["files"])
    [plugin] = [source for name, source in seen["plugins"] if name == "idedup"]
    assert "EntryPoint" in plugin or "idedup==" in plugin
    assert all(Path(module).is_relative_to(installed) for module in seen["modules"])


def test_the_dag_files_of_the_checkout_are_such_lines() -> None:
    for file in sorted((ROOT / "dags").glob("*.py")):
        assert file.read_text() == (
            f"from idedup_dags.{file.stem} import *  # noqa: F403 - Airflow DAGs\n"
        )
