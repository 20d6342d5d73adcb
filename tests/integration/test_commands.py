"""Every command that is printed anywhere can be pasted, and does what it says."""

from __future__ import annotations

import os
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from test_cli import make_folder

from idedup_tasks import api, cli, pipeline, quickstart
from idedup_tasks.run import Run
from idedup_tasks.settings import Places, load_collection
from idedup_tasks.warehouse import Warehouse

DOCS = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"
# Quoting for a shell and for a page is put to the test by the folders' names.
ODD = "it's <b> & $HOME"
COMMANDS = ["scan", "query", "explain", "preview", "maintain", "db", "collections"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory with pictures, and an IDEDUP_HOME with a collection of them that ran."""
    folder = tmp_path_factory.mktemp("world")
    make_folder(folder / "Pictures")
    for name, photo in (("new", "coffee"), ("a", "chelsea"), ("b", "chelsea-small")):
        source = next((folder / "Pictures").glob(f"{photo}.*"))
        (folder / f"{name}.jpg").write_bytes(source.read_bytes())
    # More than copies and small ones, so that the pages have commands.
    for photo in ("astronaut", "chelsea"):
        with Image.open(folder / "Pictures" / f"{photo}.png") as image:
            ImageOps.mirror(image).save(folder / "Pictures" / f"{photo} mirrored.jpg")
    (folder / "strict.yaml").write_text("grouping: {cut: 0.6}\n")
    places = places_of(folder)
    places.collections.mkdir(parents=True)
    (places.collections / "pictures.yaml").write_text(
        f"name: pictures\nsource: {folder}/Pictures\ngrouping: {{cut: 0.6}}\n"
    )
    Warehouse(places.warehouse).upgrade()
    collection = load_collection(places.collections / "pictures.yaml")
    pipeline.execute(Run(collection, "manual__1", None, places))
    return folder


def places_of(folder: Path) -> Places:
    home = folder / ODD
    return Places(
        home=home,
        lake=str(home / "lake"),
        warehouse=f"sqlite:///{home}/warehouse.db",
        collections=home / "collections",
    )


@pytest.fixture
def shell(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Another folder, and nothing in the environment that would find the collection."""
    for name in ("IDEDUP_HOME", "IDEDUP_COLLECTIONS", "IDEDUP_LAKE", "IDEDUP_WAREHOUSE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(world))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def paste(text: str) -> int:
    """Run a line as a POSIX shell would: leading assignments hold for this command only."""
    words, environment = shlex.split(text), dict(os.environ)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        os.environ[name] = value
    assert Path(words[0]).name == "idedup"
    try:
        return cli.main([str(Path(w).expanduser()) if w[:1] == "~" else w for w in words[1:]])
    finally:
        os.environ.clear()
        os.environ.update(environment)


class Codes(HTMLParser):
    """Texts of a page's <code> elements, as a browser would copy them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "code":
            self._inside = True
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "code"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[-1] += data


def test_what_a_scan_prints_at_its_end_and_in_its_report(
    world: Path, tmp_path: Path, shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / ODD
    scan = ["scan", str(world / "Pictures"), "-o", str(output), "--device", "cpu"]
    assert cli.main([*scan, "--settings", str(world / "strict.yaml")]) == 0
    said = capsys.readouterr().out.splitlines()
    commands = [line.partition(": ")[2] for line in said if "idedup " in line]
    assert [shlex.split(command)[1] for command in commands] == ["query", "preview"]
    page = Codes((output / "report.html").read_text(encoding="utf-8"))
    explained = [text for text in page.found if " explain " in text]
    assert explained
    assert all("--scan" in shlex.split(text) for text in [*commands, *explained])
    for text in [*commands, *explained[:1]]:
        assert paste(text) == 0, text
    assert (tmp_path / "why.html").is_file()
    # Another source, scanned into the same folder: the commands say which is meant.
    (world / "Other").mkdir()
    (world / "Other" / "new.jpg").write_bytes((world / "new.jpg").read_bytes())
    capsys.readouterr()
    assert cli.main(["scan", str(world / "Other"), "-o", str(output), "--device", "cpu"]) == 0
    said = capsys.readouterr().out.splitlines()
    commands = [line.partition(": ")[2] for line in said if "idedup " in line]
    assert len(commands) == 2
    for text in commands:
        assert paste(text) == 0, text


def test_what_a_runs_report_prints(world: Path, shell: pytest.MonkeyPatch) -> None:
    places = places_of(world)
    page = Codes((Path(places.lake) / "pictures/reports/manual__1.html").read_text("utf-8"))
    explained = [text for text in page.found if " explain " in text]
    assert explained
    for text in explained[:1]:
        assert paste(text) == 0, text


def test_what_make_run_prints_at_its_end(world: Path, shell: pytest.MonkeyPatch) -> None:
    places = places_of(world)
    collection = load_collection(places.collections / "pictures.yaml")
    lines = quickstart.what_next(places, collection)
    commands = [line.strip() for line in lines if "idedup " in line]
    assert [shlex.split(text)[2] for text in commands] == ["query", "explain", "preview"]
    for text in commands:
        assert paste(text) == 0, text
    assert f"{places.collections}/pictures.yaml" in "".join(lines)


def test_a_lake_elsewhere_is_named_and_the_warehouse_never(
    world: Path, tmp_path: Path, shell: pytest.MonkeyPatch
) -> None:
    places = places_of(world)
    lake, collections = tmp_path / "a lake", tmp_path / "files"
    lake.symlink_to(places.lake)
    collections.symlink_to(places.collections)
    elsewhere = places.model_copy(
        update={
            "home": tmp_path / "home",
            "lake": str(lake),
            "collections": collections,
            "warehouse": "postgresql://writer:secret@host/db",
        }
    )
    collection = load_collection(collections / "pictures.yaml")
    lines = quickstart.what_next(elsewhere, collection)
    assert "secret" not in "".join(lines)
    for text in [line.strip() for line in lines if "idedup " in line]:
        assert paste(text) == 0, text


def test_examples_of_the_documentation_and_of_help(
    world: Path, shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.chdir(world)
    shell.setenv("IDEDUP_HOME", str(places_of(world).home))
    shell.setenv("IDEDUP_COLLECTIONS", str(places_of(world).collections))
    blocks = re.findall(r"^```\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    examples = [line.partition("  #")[0].strip() for b in blocks for line in b.splitlines()]
    for name in COMMANDS[:4]:
        assert cli.main([name, "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        examples += [text.strip() for text in re.findall(r"• (idedup .*?)(?= •| ╭)", shown)]
    assert "idedup explain a.jpg b.jpg --output why.html" in examples[-8:]  # of help
    ran = []
    for text in dict.fromkeys(examples):
        verb = text.split()[1] if text.startswith("idedup ") else ""
        # Not here: buckets, ids of somebody's images, and what takes hours.
        if verb not in COMMANDS or "://" in text or "…" in text:
            continue
        assert paste(text) == 0, text
        ran.append(verb)
    assert {"scan", "query", "explain", "preview", "maintain"} <= set(ran)
    assert len(ran) >= 11


def test_a_scans_tables_are_arrow_tables(world: Path, shell: pytest.MonkeyPatch) -> None:
    result = api.scan(world / "Pictures", world / "duplicates", device="cpu")
    assert tuple(result.groups.column_names) == api.GROUP_COLUMNS
    assert result.images.num_rows == result.summary["counts"]["images"]
    assert len(result.groups.to_pandas()) == result.groups.num_rows > 0
