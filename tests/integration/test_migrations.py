"""A new warehouse is as Alembic makes it. One of another release gets one sentence, whatever is
asked of it, and nothing is changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from idedup_tasks import cli
from idedup_tasks.warehouse import Warehouse, WarehouseUnfit, alembic_config

_SAID = r"^The warehouse \S+ has schema version 0005 of another release, which this one .*\.$"


@pytest.fixture
def older(empty_warehouse: Warehouse) -> Warehouse:
    """What the last release before the baseline left, as far as it matters: its version, a view
    and a table that are called as ours and have other columns."""
    if empty_warehouse.dialect == "sqlite":
        Path(str(empty_warehouse.url.database)).parent.mkdir()
    with empty_warehouse.transaction(write=True, checked=False) as connection:
        for statement in (
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
            "INSERT INTO alembic_version VALUES ('0005')",
            "CREATE TABLE duplicate_group (collection TEXT, perceptual BIGINT)",
            "CREATE VIEW group_profile AS SELECT perceptual FROM duplicate_group",
        ):
            connection.exec_driver_sql(statement)
    return empty_warehouse


def test_it_is_neither_read_nor_changed(older: Warehouse) -> None:
    with pytest.raises(WarehouseUnfit, match=_SAID):
        older.query("collections")
    with pytest.raises(WarehouseUnfit, match="scan or ingest anew into another home"):
        older.upgrade()
    inspector = sa.inspect(older.engine)
    assert set(inspector.get_table_names()) == {"alembic_version", "duplicate_group"}
    assert inspector.get_view_names() == ["group_profile"]


def test_the_command_says_so_in_one_line(
    older: Warehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = older.url.render_as_string(hide_password=False)
    monkeypatch.setenv("IDEDUP_WAREHOUSE", url)
    monkeypatch.delenv("IDEDUP_WAREHOUSE_OWNER", raising=False)
    assert cli.main(["db", "upgrade"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "has schema version 0005 of another release" in line


def test_a_new_sqlite_warehouse_is_as_alembic_makes_it(tmp_path: Path) -> None:
    made = Warehouse(f"sqlite:///{tmp_path}/made.db")
    made.upgrade()
    by_alembic = Warehouse(f"sqlite:///{tmp_path}/alembic.db")
    config = alembic_config()
    with by_alembic.transaction(write=True, checked=False) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    assert _schema(made) == _schema(by_alembic)
    assert made.revision() == by_alembic.revision()
    # And Alembic goes on from it.
    with made.transaction(write=True, checked=False) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    assert _schema(made) == _schema(by_alembic)


def _schema(warehouse: Warehouse) -> dict[str, str]:
    listed = "SELECT name, sql FROM sqlite_master WHERE type != 'view'"
    with warehouse.transaction(checked=False) as connection:
        rows = connection.exec_driver_sql(listed).all()
    # Blanks apart, which Alembic sets in its own way.
    return {name: re.sub(r"\s+", "", sql or "") for name, sql in rows}
