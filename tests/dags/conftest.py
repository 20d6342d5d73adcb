"""A throw-away Airflow home for tests that import Airflow: set before anything imports it."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from idedup_tasks.quickstart.sample import photographs

ROOT = Path(__file__).resolve().parents[2]
_HOME = Path(tempfile.mkdtemp(prefix="idedup-airflow-"))

for _name in [n for n in os.environ if n.startswith("AIRFLOW_")]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": str(_HOME),
    "AIRFLOW__API__SECRET_KEY": "s" * 64,
    "AIRFLOW__API_AUTH__JWT_SECRET": "j" * 64,
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    # `dag.test()` waits between tries, too: for half an hour, and then says what was wrong.
    "AIRFLOW__CORE__MAX_TASK_RETRY_DELAY": "1",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,reader:viewer",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "GX_ANALYTICS_ENABLED": "False",
    "IDEDUP_HOME": str(_HOME / "idedup"),
    "IDEDUP_COLLECTIONS": str(_HOME / "collections"),
    "IDEDUP_NOTIFIERS": "recording",
}
for _folder in ("dags", "plugins"):
    if str(ROOT / _folder) not in sys.path:
        sys.path.insert(0, str(ROOT / _folder))

# A file name that would be a script if a page did not escape it.
_HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="session")
def hostile_name() -> str:
    return _HOSTILE


@pytest.fixture(scope="session")
def airflow_home() -> Iterator[Path]:
    """The throw-away home, with a metadata database and a warehouse."""
    from airflow.utils.db import initdb

    from idedup_tasks.settings import Places
    from idedup_tasks.warehouse import Warehouse

    initdb()
    Warehouse(Places.from_environment().warehouse).upgrade()
    yield _HOME
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def collections_folder() -> Path:
    """The folder of collection files that the DAGs of these tests are made from."""
    folder = _HOME / "collections"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def source(collections_folder: Path) -> Path:
    """Pictures of two days, with equal, recompressed and broken ones, and their collection."""
    folder = _HOME / "source"
    folder.mkdir(exist_ok=True)
    for number, (_, photo) in enumerate(islice(photographs(), 6)):
        photo.save(folder / f"picture {number}.png")
        if number == 0:
            photo.save(folder / "picture 0 again.jpg", quality=80)
    shutil.copyfile(folder / "picture 1.png", folder / _HOSTILE)
    (folder / "broken.jpg").write_bytes(b"not a picture")
    for number, path in enumerate(sorted(folder.iterdir())):
        moment = datetime(2025, 3, 1 + number % 2, 12, number, tzinfo=UTC).timestamp()
        os.utime(path, (moment, moment))
    (collections_folder / "small.yaml").write_text(
        f"name: small\nsource: {folder}\nstart_date: 2025-01-01\ntags: [test]\n"
        "owner: somebody\nquality: {max_reject_ratio: 0.5}\n"
    )
    return folder


@pytest.fixture(scope="session")
def finished_run(airflow_home: Path, source: Path) -> Any:
    """The DAG run of one `dag.test()` over the small source."""
    # `test` has Airflow parse the DAGs folder in this process, and not in a new one.
    sys.modules.pop("idedup_dags.image_dedup", None)
    return importlib.import_module("idedup_dags.image_dedup").image_dedup_small.test()
