"""The warehouse: what people and dashboards read, on SQLite or PostgreSQL.

The SQL lies in `sql/`: `migrations/` (Alembic), `views/` (the public contract, described in
`docs/warehouse.md`), `queries/` (what the pages read), `record/` and `apply/` (what is written).
Both databases run the same files; `name.postgresql.sql` is run by PostgreSQL only.
"""

from idedup_tasks.warehouse.database import (
    WarehouseError,
    WarehouseUnfit,
    WarehouseUnreachable,
    alembic_config,
    statements,
)
from idedup_tasks.warehouse.history import History, StageCounts
from idedup_tasks.warehouse.state import STATE_TABLES, State

__all__ = [
    "STATE_TABLES",
    "StageCounts",
    "Warehouse",
    "WarehouseError",
    "WarehouseUnfit",
    "WarehouseUnreachable",
    "alembic_config",
    "statements",
]


class Warehouse(History, State):
    """The tables of one warehouse; making one costs nothing, the first use connects.

    Args:
        url: a SQLAlchemy URL: `sqlite:///path` (`?` and `%` in it as `%3F` and `%25`),
            `postgresql+psycopg://…`; a bare `postgresql://` or `postgres://` means psycopg.

    Every method raises WarehouseError, with one sentence and never a password, when the database
    cannot be reached or `upgrade` has not been run, and ExtraMissing without its driver.
    """
