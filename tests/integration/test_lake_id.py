"""The lake's id: written once, by one of those that want it, and never again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import builders
import pytest
from builders import Bench, Picture, walk

from idedup_tasks.lake import Lake


def test_of_many_that_ask_at_once_one_writes(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        found = {*threads.map(lambda _: Lake(str(tmp_path), "photos").id, range(64))}
    assert len(found) == 1
    written = json.loads((tmp_path / "photos/lake.json").read_text())
    assert written == {"lake_id": found.pop(), "format": 3}
    assert [f.name for f in (tmp_path / "photos").iterdir()] == ["lake.json"]


def test_a_collection_has_an_id_of_its_own(tmp_path: Path) -> None:
    assert Lake(str(tmp_path), "photos").id != Lake(str(tmp_path), "scans").id


@pytest.mark.usefixtures("unguarded")
def test_results_say_which_lake_they_are_of(bench: Bench) -> None:
    builders.place(bench.source, "one.png", Picture(1, 1).content, 0)
    walk(bench.run())
    held = bench.run().lake.id
    path = bench.run().lake.path("candidates/run-None-1/report.json")
    assert json.loads(Path(path).read_text())["reads"]["lake_id"] == held
    walk(bench.run())
    assert bench.run().lake.id == held
