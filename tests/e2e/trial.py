"""The collection of the end-to-end tests, and what its warehouse holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import imagehash
import sqlalchemy as sa
from PIL import Image, ImageFilter

from idedup_tasks.descriptors import descriptor_info
from idedup_tasks.quickstart.airflow import LocalAirflow
from idedup_tasks.quickstart.sample import photographs
from idedup_tasks.settings import RELATIONS, Places
from idedup_tasks.verification import compare
from idedup_tasks.warehouse import Warehouse

# The four days end yesterday: with a run for yesterday there, unpausing a DAG starts no other.
_TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FIRST_DAY = _TODAY - timedelta(days=4)
DAYS = [f"{FIRST_DAY + timedelta(days=day):%Y-%m-%d}" for day in range(4)]
_BRIDGED = 1  # this photograph is only in the bridge
STATE_TABLES = ("collection", "image", "duplicate_group", "group_member", "duplicate_pair", "model")
# History, not state: which run wrote a row last, and when; versions count the commits there were.
HISTORY = {"run_id", "applied_at", "versions_read"}


def make_source(folder: Path) -> Path:
    """Photographs and edits over four days, made so that the first day changes what later ones say.

    `early`, `middle` and `late` are one photograph, ever more blurred. A look says that `middle`
    is the same as either of the others, which it says of these two no more. Without day 0, `late`
    collapses onto `middle`; once `early` is known, `middle` collapses onto that, `late` is active
    again, and the group of the two is split.
    """
    folder.mkdir(parents=True)
    photos = [photo.resize((360, 280)) for _, photo in islice(photographs(), 9)]
    steps = bridge(photos[_BRIDGED])
    for day, name, picture in zip((0, 1, 2), ("early", "middle", "late"), steps, strict=True):
        put(folder, f"{name}.png", picture, day)
    for number, photo in enumerate(photos):
        if number == _BRIDGED:
            continue
        put(folder, f"photo {number}.png", photo, 1 + number % 3)
        put(folder, f"photo {number} small.jpg", photo.resize((250, 195)), 1 + (number + 1) % 3)
    for number in (4, 8):
        shutil.copyfile(folder / f"photo {number}.png", folder / f"photo {number} copy.png")
        date(folder / f"photo {number} copy.png", 1 + (number + 2) % 3)
    (folder / "broken.jpg").write_bytes(b"not a picture")
    date(folder / "broken.jpg", day=2)
    return folder


def bridge(photo: Image.Image) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Three steps into the blur, each the same as the next only, and all near by their hashes.

    Of all such, those with the most to spare: the stored thumbnail is not quite the picture.
    """
    limit = descriptor_info("mobilenet_v3").thresholds.phash_distance
    steps = [photo.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, *range(5, 30, 3))]
    hashes = [imagehash.phash(step) for step in steps]
    looks = {
        pair: compare(*(steps[i] for i in pair)) for pair in combinations(range(len(steps)), 2)
    }

    def spare(middle: int, late: int) -> float:
        near, far = (looks[0, middle], looks[middle, late]), looks[0, late]
        if {look.relation for look in near} != {"same"} or far.relation in RELATIONS:
            return 0
        return min(*(look.score for look in near), 1 - far.score)

    middle, late = max(combinations(range(1, len(steps)), 2), key=lambda pair: spare(*pair))
    assert spare(middle, late) > 0.5
    assert max(hashes[0] - hashes[late], hashes[middle] - hashes[late]) <= limit
    return steps[0], steps[middle], steps[late]


def put(folder: Path, name: str, picture: Image.Image, day: int, hour: int = 12) -> None:
    picture.save(folder / name)
    date(folder / name, day, hour)


def date(path: Path, day: int, hour: int = 12) -> None:
    moment = (FIRST_DAY + timedelta(days=day, hours=hour)).timestamp()
    os.utime(path, (moment, moment))


def make_places(home: Path, source: Path) -> Places:
    """A home with one daily collection, `trial`, and an empty warehouse."""
    places = Places(
        home=home,
        lake=str(home / "lake"),
        warehouse=f"sqlite:///{home}/warehouse.db",
        collections=home / "collections",
    )
    places.collections.mkdir(parents=True)
    # What a home keeps of the descriptor is the same in all: made once a session.
    cache = source.parent / "cache"
    cache.mkdir(exist_ok=True)
    (home / "cache").symlink_to(cache)
    (places.collections / "trial.yaml").write_text(
        f"name: trial\nsource: {source}\nquality: {{max_reject_ratio: 1}}\n"
    )
    Warehouse(places.warehouse).upgrade()
    return places


def wait_for_runs(
    airflow: LocalAirflow, dag_id: str, expected: Mapping[str, str], timeout: float = 900
) -> list[dict[str, Any]]:
    """Wait until the runs of these logical dates (ISO days) have these states."""
    deadline = time.monotonic() + timeout
    while True:
        airflow.check_alive()
        runs = {(run["logical_date"] or "")[:10]: run for run in airflow.runs(dag_id)}
        states = {day: runs[day]["state"] if day in runs else None for day in expected}
        if states == dict(expected):
            return [runs[day] for day in expected]
        if time.monotonic() > deadline or "failed" in states.values():
            raise AssertionError(f"{states}\n{failures(airflow, dag_id, list(runs.values()))}")
        time.sleep(1)


def failures(airflow: LocalAirflow, dag_id: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """What the tasks that did not succeed wrote last."""
    said = []
    for run in runs:
        for task in airflow.tasks(dag_id, run["dag_run_id"]):
            if task["state"] not in ("success", None, "upstream_failed"):
                said.append(f"{run['dag_run_id']} {task['task_id']} {task['state']}")
                pattern = f"dag_id=*/run_id={run['dag_run_id']}/task_id={task['task_id']}/*.log"
                logs = sorted((airflow.home / "logs").glob(pattern))
                said += [log.read_text()[-3000:] for log in logs[-1:]]
    return "\n".join(said)


def state(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the warehouse's current state, in order, without what is history."""
    engine = sa.create_engine(url)
    rows = {}
    with engine.connect() as connection:
        for name in STATE_TABLES:
            found = connection.execute(sa.text(f"SELECT * FROM {name}")).mappings()
            kept = [tuple(v for c, v in row.items() if c not in HISTORY) for row in found]
            rows[name] = sorted(kept, key=repr)
    engine.dispose()
    return rows


def fresh_state(home: Path, source: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The state after one run over everything in a new home, without Airflow.

    In a process of its own, as a task is: the stages load models.
    """
    places = make_places(home, source)
    script = (
        "from idedup_tasks.pipeline import Run, execute\n"
        "from idedup_tasks.settings import Places, load_collection\n"
        "places = Places.from_environment()\n"
        "collection = load_collection(places.collections / 'trial.yaml')\n"
        "execute(Run(collection, 'fresh', None, places))\n"
    )
    environment = {
        **os.environ,
        "IDEDUP_HOME": str(places.home),
        "IDEDUP_LAKE": places.lake,
        "IDEDUP_WAREHOUSE": places.warehouse,
        "IDEDUP_COLLECTIONS": str(places.collections),
    }
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return state(places.warehouse)


def statuses(url: str) -> dict[str, tuple[str, str | None]]:
    """(status, group) of each key, where a group is called by its earliest member's key."""
    engine = sa.create_engine(url)
    query = (
        "SELECT image.key, image.status, first.key FROM image"
        " LEFT JOIN group_member AS member"
        " ON member.collection = image.collection AND member.image_id = image.image_id"
        " LEFT JOIN image AS first"
        " ON first.collection = image.collection AND first.image_id = member.group_id"
    )
    with engine.connect() as connection:
        found = {key: (status, group) for key, status, group in connection.execute(sa.text(query))}
    engine.dispose()
    return found
