"""What is written lies in the folder that was named, whatever its name, or nothing is written."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import builders
import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from idedup_tasks import api, cli
from idedup_tasks.descriptors import registry
from idedup_tasks.lake import Lake
from idedup_tasks.settings import Places, SettingsError
from idedup_tasks.warehouse import Warehouse

# What URLs, globs, shells and tables take for something else.
ODD = ["::", "?", "#", "%", "%20", " ", "\n", '"', "'", "\\", "-", "*", "[a]", "{b}", "~", ":", "é"]
NAMES = st.lists(st.sampled_from([*ODD, "a", "名", "s3:", "\udce9"]), min_size=1, max_size=4)
_number = itertools.count()


def made(folder: Path) -> set[Path]:
    """The paths below a folder, relative to it."""
    return {path.relative_to(folder) for path in folder.rglob("*")}


@settings(max_examples=40, deadline=None)
@given(name=NAMES.map("".join))
@example(name="srcx::dups")
@example(name="what?")
@example(name="a%20b")
@example(name="new\nline")
@example(name="back\\slash")
@example(name="caf\udce9")
@example(name="file::a")
@example(name="-o")
@example(name="100%")
def test_lake_and_warehouse_lie_in_the_folder_or_nowhere(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    base = tmp_path_factory.getbasetemp() / f"named{next(_number)}"
    home = base / name
    base.mkdir()
    places = api.places_of_scan(home)
    try:
        lake = Lake(places.lake, "photos")
    except SettingsError as refused:
        assert "\n" not in str(refused)
        assert str(refused).endswith("name another folder.")
        str(refused).encode()  # can be printed
        assert not made(base)
        return
    assert lake.snapshot("images").version == 0
    lake.write_text("reports/a.html", "page")
    assert [file.path for file in lake.files_under("reports")] == ["reports/a.html"]
    assert registry.registrations(places.lake) == []
    # The address itself: making the tables takes longer than all the rest.
    with sa.create_engine(places.warehouse).begin() as connection:
        connection.execute(sa.text("CREATE TABLE something (id INTEGER)"))
    assert {path.parts[0] for path in made(base)} == {name}
    expected = {"lake/photos/reports/a.html", "lake/photos/images/_delta_log", "warehouse.db"}
    assert set(map(Path, expected)) <= made(home / ".idedup")
    shutil.rmtree(base)


def test_a_scan_into_a_name_like_two_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders.doubles(monkeypatch.setattr)
    builders.unguarded(monkeypatch.setattr)
    source = tmp_path / "srcx"
    source.mkdir()
    for number in range(2):
        content = builders.Picture(hash=0x0F0F_3C3C_00FF_A5A5, family=1, nonce=number).content
        builders.place(source, f"{number}.png", content, 0)
    before = made(source)
    monkeypatch.chdir(tmp_path)
    names = {"srcx::dups", "what?#1", "-o [x]*"}
    for name in sorted(names):
        result = api.scan("srcx", name)
        assert result.output == tmp_path / name
        assert result.summary["counts"]["duplicates_same"] == 1
        assert (tmp_path / name / ".idedup/warehouse.db").is_file()
        assert api.preview(scan=name, cut=0.9).before.members == 1
    assert made(source) == before
    assert {path.name for path in tmp_path.iterdir()} == {
        "srcx",
        "srcx::dups",
        "what?#1",
        "-o [x]*",
    }


@pytest.mark.parametrize("name", ["a%20b", "new\nline", "back\\slash", "caf\udce9"])
def test_a_scan_into_a_name_that_tables_cannot_have_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = tmp_path / "source"
    builders.place(source, "1.png", builders.encoded(builders.scene(1)), 0)
    assert cli.main(["scan", str(source), "-o", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert "cannot hold a lake" in said
    assert said.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"source"}


def test_a_home_of_any_name_holds_the_warehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IDEDUP_WAREHOUSE", raising=False)
    monkeypatch.setenv("IDEDUP_HOME", str(tmp_path / "a 100%25?b=c#d"))
    warehouse = Warehouse(Places.from_environment().warehouse)
    warehouse.upgrade()
    assert warehouse.query("collections") == []
    assert (tmp_path / "a 100%25?b=c#d/warehouse.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["a 100%25?b=c#d"]


def test_state_is_its_owners_and_results_are_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders.doubles(monkeypatch.setattr)
    builders.unguarded(monkeypatch.setattr)
    picture = builders.Picture(hash=0x0F0F_3C3C_00FF_A5A5, family=1)
    builders.place(tmp_path / "source", "1.png", picture.content, 0)
    (tmp_path / "found/.idedup").mkdir(parents=True, mode=0o755)  # of an earlier release
    umask = os.umask(0o022)
    try:
        api.scan(tmp_path / "source", tmp_path / "found")
        monkeypatch.setenv("IDEDUP_HOME", str(tmp_path / "state/home"))
        monkeypatch.delenv("IDEDUP_WAREHOUSE", raising=False)
        assert cli.main(["db", "upgrade"]) == 0
    finally:
        os.umask(umask)
    for state in ("found/.idedup", "state/home"):
        assert (tmp_path / state).stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "found/report.html").stat().st_mode & 0o777 == 0o644
    # A home that is shared on purpose stays so.
    (tmp_path / "state/home").chmod(0o750)
    assert cli.main(["db", "upgrade"]) == 0
    assert (tmp_path / "state/home").stat().st_mode & 0o777 == 0o750
