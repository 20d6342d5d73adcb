"""Every command, option, setting, view and DAG is in the docs, and the docs name no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from idedup_tasks.cli import app
from idedup_tasks.settings import Matching

ROOT = Path(__file__).resolve().parents[2]
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
DAGS = sorted(path.stem for path in (ROOT / "dags").glob("*.py"))
VIEWS = sorted(path.stem.split("_", 1)[1] for path in (ROOT / "sql" / "views").glob("*.sql"))


def commands(group: TyperGroup, path: str = "idedup") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(typer.main.get_group(app)))


def section(command: str) -> str:
    """What docs/command-line.md says under the heading that names a command."""
    *group, name = command.split()
    for part in re.split(r"^## ", DOCS["command-line.md"], flags=re.MULTILINE)[1:]:
        heading = part.partition("\n")[0]
        if heading.startswith(" ".join(group)) and re.search(rf"\b{name}\b", heading):
            return part
    return ""


def options(command: str) -> set[str]:
    return {
        option
        for parameter in COMMANDS[command].params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--") and not option.startswith("--no-")
    } - {"--help"}


def test_commands_were_found() -> None:
    assert {"idedup scan", "idedup maintain check", "idedup db upgrade"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_is_in_its_commands_section(command: str) -> None:
    said = section(command)
    assert said, f"docs/command-line.md has no section on `{command}`"
    named = set(re.findall(r"--[a-z][a-z-]*", said))
    assert options(command) - named == set(), f"not in the section on `{command}`"


def test_the_docs_name_no_option_that_is_not_there() -> None:
    known = {option for command in COMMANDS for option in options(command)}
    named = set(re.findall(r"--[a-z][a-z-]*", DOCS["command-line.md"]))
    assert named - known == set()


@pytest.mark.parametrize("dag", DAGS)
def test_each_dag_is_in_the_docs(dag: str) -> None:
    name = "image_dedup_<name>" if dag == "image_dedup" else dag
    assert any(f"`{name}`" in text or f"`idedup_dags.{name}`" in text for text in DOCS.values())


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_in_the_docs(view: str) -> None:
    assert f"`{view}`" in DOCS["warehouse.md"]
    assert f"### {view}\n" in DOCS["dictionary.md"]


def test_each_variable_of_the_environment_is_in_the_docs() -> None:
    read: set[str] = set()
    for folder in ("idedup_tasks", "dags", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            read |= set(re.findall(r"""["'](IDEDUP_[A-Z_]*[A-Z])["']""", path.read_text("utf-8")))
    assert "IDEDUP_HOME" in read
    named = set(re.findall(r"IDEDUP_[A-Z_]*[A-Z]", "".join(DOCS.values())))
    assert read - named == set()


def test_the_limit_of_comparing_all_is_said_as_it_is() -> None:
    limit = Matching().exact_limit
    assert limit == 60_000
    assert f"`exact_limit`**: up to {limit:,} images" in DOCS["operations.md"]
    assert f"| `exact_limit` | whole number, ≥ 0 | `{limit}` |" in DOCS["collections.md"]
    assert f"Up to `exact_limit` ({limit:,})" in DOCS["benchmarks.md"]
