"""What holds of every DAG: how its file, its documentation, its tags and its form are made."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from idedup_dags.defaults import DEFAULT_ARGS, Impact, Tag

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(file.stem for file in (ROOT / "dags").glob("*.py"))
RETRIES = ("retries", "retry_delay", "retry_exponential_backoff", "max_retry_delay")


@pytest.fixture
def dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, DAG]:
    """The DAGs of all modules, of one good and one bad collection file, by what documents say."""
    (tmp_path / "a.yaml").write_text("name: a\nsource: /pictures\ntags: [ours]\n")
    (tmp_path / "bad.yaml").write_text("name: b\n")
    monkeypatch.setenv("IDEDUP_COLLECTIONS", str(tmp_path))
    found: dict[str, DAG] = {}
    for module in MODULES:
        sys.modules.pop(f"idedup_dags.{module}", None)
        values = vars(importlib.import_module(f"idedup_dags.{module}")).values()
        found |= {dag.dag_id: dag for dag in values if isinstance(dag, DAG)}
    assert len(found) == 5
    found["image_dedup_<name>"] = found.pop("image_dedup_a")
    found["invalid_<file>"] = found.pop("invalid_bad")
    return found


def test_each_dag_says_how_bad_its_failure_is(dags: dict[str, DAG]) -> None:
    for name, dag in dags.items():
        assert len(dag.tags & set(Impact)) == 1, name
        assert Tag.ALL in dag.tags, name
        ours = {"ours"} if name == "image_dedup_<name>" else set()
        assert dag.tags - set(Impact) - set(Tag) == ours, name
        kept = DagSerialization.to_dict(dag)["dag"]["tags"]
        assert {type(tag) for tag in kept} == {str}, name


def test_documents_list_each_dag_with_its_tag(dags: dict[str, DAG]) -> None:
    text = (ROOT / "docs/airflow.md").read_text()
    listed = dict(re.findall(r"^\| `([^`]+)` \|.*\| `(impact-[a-z]+)` \|$", text, re.MULTILINE))
    assert listed == {name: next(iter(dag.tags & set(Impact))) for name, dag in dags.items()}


def test_each_dag_tells_its_operators_what_a_failure_means(dags: dict[str, DAG]) -> None:
    for name, dag in dags.items():
        if name != "invalid_<file>":  # which says what is wrong with the file, and no more
            told = str(dag.doc_md).partition("## Triage notes\n")[2]
            assert len(re.findall(r"^- \*\*.+\*\*", told, re.MULTILINE)) >= 3, name


def test_every_task_is_retried_alike(dags: dict[str, DAG]) -> None:
    for name, dag in dags.items():
        if name != "invalid_<file>":
            for task in dag.tasks:
                assert {r: getattr(task, r) for r in RETRIES} == {
                    r: DEFAULT_ARGS[r] for r in RETRIES
                }
                assert task.execution_timeout is not None


@pytest.mark.parametrize("module", MODULES)
def test_a_dag_file_only_wires(module: str) -> None:
    assert len((ROOT / f"dags/idedup_dags/{module}.py").read_text().splitlines()) < 100


def test_each_field_of_a_form_says_what_empty_means(dags: dict[str, DAG]) -> None:
    fields = {
        (dag.dag_id, name): dag.params.get_param(name)
        for dag in dags.values()
        for name in dag.params
    }
    assert len({dag_id for dag_id, _ in fields}) == 4
    for field, param in fields.items():
        says, wanted = param.description or "", param.schema.get("type")
        assert says.endswith("."), field
        if wanted == "boolean":
            assert says.startswith("Off: "), field
        elif "null" in (wanted or []) and field[1] != "end":
            assert "Empty" in says, field
