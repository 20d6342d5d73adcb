"""What `pip install idedup` brings is enough: no PyTorch, Airflow, Dask or driver of a store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import builders
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]

# As where it was never installed; in the processes that a scan starts too.
LACKING = """
import sys
from importlib.machinery import PathFinder

LACKED = {
    *("torch", "torchvision", "airflow", "superset", "dask", "distributed"),
    *("s3fs", "gcsfs", "adlfs", "psycopg", "skimage", "sklearn"),
}


class Lacking(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in LACKED:
            return None
        return super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Lacking
"""

# One process for all commands: importing is most of what each takes.
WALK = """
import contextlib, io, json, os, sys
from idedup_tasks import cli

answers = {}
for name, variables, arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    os.environ.update(variables)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(arguments)
        except Exception as error:
            code = f"{type(error).__name__}: {error}"
    for variable in variables:
        del os.environ[variable]
    answers[name] = code, out.getvalue(), err.getvalue()
import sitecustomize
found = sorted(sitecustomize.LACKED & set(sys.modules))
json.dump([answers, found], sys.stdout)
"""


class Answer(NamedTuple):
    code: int | str
    out: str
    err: str


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("core")
    pictures, found = folder / "pictures", folder / "found"
    pictures.mkdir()
    for seed in range(4):
        picture = builders.scene(seed, 320)
        picture.save(pictures / f"{seed}.png")
        picture.resize((200, 200)).save(pictures / f"{seed}-small.jpg", quality=70)
    (folder / "cuda.yaml").write_text("device: cuda\n")
    a, b = str(pictures / "0.png"), str(pictures / "0-small.jpg")
    source, there = str(pictures), ["--scan", str(found)]

    def into(name: str) -> list[str]:
        return ["-o", str(folder / name)]

    scheduler = {"IDEDUP_DASK_SCHEDULER": "tcp://127.0.0.1:1"}
    server = {"IDEDUP_WAREHOUSE": "postgresql://someone:secret@127.0.0.1:1/db"}
    walk: list[tuple[str, dict[str, str], list[str]]] = [
        ("upgrade", {}, ["db", "upgrade"]),
        ("scan", {}, ["scan", source, "-o", str(found)]),
        ("query", {}, ["query", a, *there, "--json"]),
        ("explain", {}, ["explain", a, b, *there, *into("why.html")]),
        ("explain to png", {}, ["explain", a, b, *into("why.png")]),
        ("preview", {}, ["preview", *there, "--cut", "0.9"]),
        ("cuda", {}, ["scan", source, *into("cuda"), "--device", "cuda"]),
        (
            "cuda by settings",
            {},
            ["scan", source, *into("cuda"), "--settings", str(folder / "cuda.yaml")],
        ),
        ("train", {}, ["train", "--photos", source, *into("trained")]),
        (
            "benchmark",
            {},
            ["benchmark", "--photos", source, "--methods", "phash,mobilenet_v3", *into("bench")],
        ),
        ("dask", scheduler, ["scan", source, *into("dask")]),
        ("postgres", server, ["db", "upgrade"]),
        *(
            (scheme, {}, ["scan", f"{scheme}://bucket/pictures", *into(scheme)])
            for scheme in ("s3", "gs", "az")
        ),
        ("lake", {"IDEDUP_LAKE": "s3://bucket/lake"}, ["query", a, "-c", "pictures"]),
    ]
    (folder / "home" / "collections").mkdir(parents=True)
    collection = "name: pictures\nsource: /pictures\n"
    (folder / "home" / "collections" / "pictures.yaml").write_text(collection)
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(LACKING)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("IDEDUP_")}
    ran = subprocess.run(
        [sys.executable, "-c", WALK],
        input=json.dumps(walk),
        env=kept
        | {
            "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)]),
            "IDEDUP_HOME": str(folder / "home"),
            "IDEDUP_COLLECTIONS": str(folder / "home" / "collections"),
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answers, imported = json.loads(ran.stdout)
    return {
        "folder": folder,
        "imported": imported,
        **{name: Answer(*answer) for name, answer in answers.items()},
    }


@pytest.mark.parametrize(
    "command", ["upgrade", "scan", "query", "explain", "explain to png", "preview", "benchmark"]
)
def test_core_needs_no_extra(core: dict[str, Any], command: str) -> None:
    assert core[command].code == 0, core[command]


def test_what_core_makes_is_whole(core: dict[str, Any]) -> None:
    folder = core["folder"]
    summary = json.loads((folder / "found" / "summary.json").read_text())
    assert summary["counts"]["groups"] == 4
    assert summary["stages"]["embed"]["embedded"] > 0
    [first, *_] = json.loads(core["query"].out)
    assert (first["relation"], first["score"]) == ("exact", 1.0)
    page = (folder / "why.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/jpeg;base64,") == 8
    with Image.open(folder / "why.png") as drawn:
        assert drawn.width >= 900
    assert core["imported"] == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cuda", "'idedup[gpu]'"),
        ("cuda by settings", "'idedup[gpu]'"),
        ("train", "Training needs PyTorch"),
        ("train", "pip install 'idedup[train]'"),
        ("dask", "needs distributed"),
        ("dask", "pip install 'idedup[dask]'"),
        ("postgres", "postgresql+psycopg://someone:***@127.0.0.1:1/db needs psycopg"),
        ("postgres", "pip install 'idedup[postgres]'"),
        ("s3", "pip install 'idedup[s3]'"),
        ("gs", "pip install 'idedup[gcs]'"),
        ("az", "pip install 'idedup[azure]'"),
        ("lake", "pip install 'idedup[s3]'"),
    ],
)
def test_what_needs_an_extra_names_it_in_one_sentence(
    core: dict[str, Any], command: str, said: str
) -> None:
    code, out, err = core[command]
    assert code in (1, 2)
    assert out == ""
    # A scan on Dask has shown its first bar by then.
    [*bars, sentence] = err.splitlines()
    assert said in sentence
    assert not bars or (command == "dask" and all("ingest" in line for line in bars))


@pytest.mark.parametrize("command", ["cuda", "cuda by settings", "train", "s3", "gs", "az"])
def test_what_needs_an_extra_makes_nothing(core: dict[str, Any], command: str) -> None:
    assert core[command].code in (1, 2)
    for name in ("cuda", "trained", "s3", "gs", "az"):
        assert not (core["folder"] / name).exists()
