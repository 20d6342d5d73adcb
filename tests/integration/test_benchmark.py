"""`idedup benchmark` end to end, and what is said of bad use."""

from __future__ import annotations

import json
from pathlib import Path

import builders
import pytest

from idedup_tasks import cli
from idedup_tasks.warehouse import Warehouse


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builders.save_scenes(tmp_path_factory.mktemp("photos"), 30)


def test_descriptor_and_hashes_on_a_folder(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/warehouse.db"
    Warehouse(url).upgrade()
    arguments = ["benchmark", "--photos", str(photos), "--output", str(tmp_path / "out")]
    options = ["--methods", "ahash,phash,mobilenet_v3", "--device", "cpu", "--warehouse", url]
    assert cli.main([*arguments, *options]) == 0
    said = capsys.readouterr()
    assert "mobilenet_v3" in said.out
    assert f"Report: {tmp_path}/out/benchmark.html" in said.out
    assert "encoding" in said.err
    results = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert results["dataset"]["originals"] == 30
    assert results["dataset"]["queries"] == 150
    descriptor = results["methods"]["mobilenet_v3"]
    assert descriptor["model_id"].startswith("mobilenet_v3-")
    assert descriptor["model_bytes"] > 1e6
    assert descriptor["groups"]["made_by"] == "average linkage"
    # Even of colour fields, which it never saw, it knows more copies than a hash.
    assert descriptor["map"]["all"] > results["methods"]["ahash"]["map"]["all"]
    page = (tmp_path / "out" / "benchmark.html").read_text()
    assert "mobilenet_v3" in page
    assert "98.68 %" in page
    rows = Warehouse(url).query("benchmarks")
    assert {row["method"] for row in rows} == {"ahash", "phash", "mobilenet_v3"}
    assert {row["benchmark_id"] for row in rows} == {results["benchmark_id"]}
    assert {row["model_id"] for row in rows} == {None, descriptor["model_id"]}


def test_the_workflow_on_layouts_that_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--dataset", "layouts", "--limit", "6", "--methods", "idedup-scan,phash"]
    assert cli.main(["benchmark", *options, "--output", str(tmp_path / "out")]) == 0
    assert "scanning" in capsys.readouterr().err
    results = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert results["dataset"]["images"] == 10
    assert list(results["methods"]) == [
        "idedup-scan",
        "phash",
    ]
    # Six families, so that nothing looks alike: both pictures with copies are found with them.
    found = results["methods"]["idedup-scan"]
    assert found["groups"]["pairwise_recall"] == 1
    assert found["rejected"] == 0
    assert found["groups"]["duplicates"]["pairwise_precision"] == 1


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--photos", "absent"], 2, "absent is no folder"),
        ([], 2, "copydays is made of a folder's pictures: name it with --photos"),
        (["--photos", ".", "--dataset", "imagenet"], 2, "imagenet"),
        (["--photos", ".", "--dataset", "groups"], 2, "groups.csv"),
        (["--photos", ".", "--methods", "sift"], 2, "hashes are ahash"),
        (["--photos", ".", "--methods", "fastdup"], 2, "--peer-python"),
        (["--photos", ".", "--methods", ","], 2, "no method"),
    ],
)
def test_bad_use_is_answered_by_a_sentence(
    options: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["benchmark", *options]) == code
    said = capsys.readouterr()
    assert says in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not said.out


def test_a_warehouse_that_is_not_ready_is_known_before_anything_is_measured(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    arguments = ["--photos", str(photos), "--methods", "ahash", "--output", str(tmp_path / "out")]
    assert cli.main(["benchmark", *arguments, "--warehouse", url]) == 2
    assert "idedup db upgrade" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
