"""Migrations: a warehouse of each earlier version, with data in it, becomes this release's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from result_rows import a_candidate, a_run, batches, duplicate, image, keeper

from idedup_tasks.lake import Conflict
from idedup_tasks.warehouse import Warehouse, WarehouseError, alembic_config, statements

# What a release left behind, by version of its schema; see the first of them.
LEFT = Path(__file__).parent / "versions"
_SCRIPTS = list(ScriptDirectory.from_config(alembic_config()).walk_revisions())
EARLIER = sorted(script.revision for script in _SCRIPTS[1:])


@pytest.fixture(params=EARLIER)
def earlier(request: pytest.FixtureRequest, empty_warehouse: Warehouse) -> Warehouse:
    """A warehouse at an earlier version; one whose state differs from the version before has a
    file of rows of its own."""
    if empty_warehouse.dialect == "sqlite":
        Path(str(empty_warehouse.url.database)).parent.mkdir()
    files = [f for f in sorted(LEFT.glob("*.sql")) if f.stem <= request.param]
    with empty_warehouse.transaction(write=True, checked=False) as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        for file in files:
            command.upgrade(config, file.stem)
            for statement in statements(file):
                connection.exec_driver_sql(statement)
        command.upgrade(config, request.param)
    return empty_warehouse


def content(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    with warehouse.engine.connect() as connection:
        found = {}
        for table in sa.inspect(connection).get_table_names():
            selected = sa.select(sa.text("*")).select_from(sa.table(table))
            rows = [dict(row) for row in connection.execute(selected).mappings()]
            found[table] = sorted(rows, key=repr)
    del found["alembic_version"]
    return found


def shape(warehouse: Warehouse) -> dict[str, Any]:
    """Columns, types, keys and indexes of every table; columns and types of every view."""
    inspector = sa.inspect(warehouse.engine)
    names = {*inspector.get_table_names(), *inspector.get_view_names()}
    found: dict[str, Any] = {}
    for name in names:
        found[name] = [
            (c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)
        ]
        if inspector.has_table(name) and name not in inspector.get_view_names():
            found[f"{name}, key"] = inspector.get_pk_constraint(name)["constrained_columns"]
            found[f"{name}, refers to"] = sorted(
                (k["constrained_columns"], k["referred_table"])
                for k in inspector.get_foreign_keys(name)
            )
            found[f"{name}, indexes"] = sorted(
                (i["name"], i["column_names"]) for i in inspector.get_indexes(name)
            )
    return found


def test_nothing_is_lost(earlier: Warehouse) -> None:
    before = content(earlier)
    assert all(before[table] for table in ("collection", "model", "run", "image", "group_member"))
    with pytest.raises(WarehouseError, match="run `idedup db upgrade`"):
        earlier.query("collections")
    earlier.upgrade()
    after = content(earlier)
    for table, rows in before.items():
        kept = [{column: row[column] for column in rows[0]} for row in after[table]] if rows else []
        assert kept == rows, table


def test_an_upgraded_schema_is_a_new_one(earlier: Warehouse, tmp_path: Path, request: Any) -> None:
    earlier.upgrade()
    upgraded = shape(earlier)
    if earlier.dialect == "sqlite":
        fresh = Warehouse(f"sqlite:///{tmp_path}/fresh.db")
    else:
        fresh = Warehouse(_another_schema(request))
    fresh.upgrade()
    assert upgraded == shape(fresh)


def _another_schema(request: Any) -> str:
    import psycopg

    server = request.getfixturevalue("postgresql_server")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS fresh CASCADE")
        connection.execute("CREATE SCHEMA fresh")
    return f"{server}&options=-csearch_path%3Dfresh"


def test_an_upgraded_warehouse_is_used_as_before(earlier: Warehouse, tmp_path: Path) -> None:
    earlier.upgrade()
    [totals] = earlier.query("totals", collection="photos")
    assert (totals["images"], totals["rejected"], totals["duplicates_near"]) == (3, 1, 1)
    assert totals["savable_per_month"] == pytest.approx(20e-9 * 0.5)
    [run] = earlier.query("runs", collection="photos", limit=5)
    assert (run["run_id"], run["stages_published"]) == ("scheduled__1", 1)
    run = a_run(tmp_path)
    rows = [keeper("01"), duplicate("02", "01", "01", "01", "near"), image("04")]
    with pytest.raises(Conflict):
        earlier.apply(run, a_candidate(run, version=3), batches(rows))
    done = earlier.apply(run, a_candidate(run, version=4), batches(rows))
    assert (done["inserted"], done["deleted"]) == (1, 1)
    assert earlier.apply(run, a_candidate(run, version=4), batches(rows))["updated"] == 0
