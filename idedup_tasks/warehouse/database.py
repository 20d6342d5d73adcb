"""The database behind the warehouse: its address, its schema, and running the SQL of `sql/`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

from idedup_tasks.errors import IdedupError, TerminalError, TransientError
from idedup_tasks.extras import require
from idedup_tasks.warehouse.values import read_value, utc_text

if TYPE_CHECKING:
    from alembic.config import Config

# Inside the package in a wheel, beside it in a checkout.
_PACKAGE = Path(__file__).resolve().parent.parent
SQL = next(f for f in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if f.is_dir())

_EXPECTED = "expected sqlite:///path or postgresql+psycopg://user:password@host/database."
_NOT_ALLOWED = "42501"  # SQLSTATE insufficient_privilege


class WarehouseError(IdedupError, RuntimeError):
    """The warehouse cannot be reached, or its schema is not the one this release needs."""


class WarehouseUnfit(WarehouseError, TerminalError):
    """Its address, its schema or the role's rights are not what this release needs."""


class WarehouseUnreachable(WarehouseError, TransientError):
    """It does not answer, or cannot write now."""


class Database:
    """A database with the warehouse's tables; what `Warehouse` says of its address holds here.

    Attributes:
        url: as SQLAlchemy parsed it, password included: for connecting, not for showing.
        dialect: `sqlite` or `postgresql`.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise WarehouseUnfit(
                f"The warehouse's address is no database URL: {_EXPECTED}"
            ) from None
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.url, self.dialect = parsed, parsed.get_backend_name()
        if self.dialect not in ("sqlite", "postgresql"):
            raise WarehouseUnfit(f"The warehouse cannot be a {self.dialect} database: {_EXPECTED}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    @property
    def address(self) -> str:
        """Where the warehouse is, without password or options: for messages and pages."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    # --- schema --------------------------------------------------------------------------------

    def upgrade(self) -> None:
        """Create the tables, or bring them to this release's version, and refresh the views.

        On PostgreSQL it must own them; the roles of `sql/roles/create.sql`, where the server has
        them, are granted what they need.
        """
        if self.dialect == "sqlite" and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        views = {p.stem.split("_", 1)[1]: p for p in sorted((SQL / "views").glob("*.sql"))}
        with self.transaction(write=True, checked=False) as connection:
            if self.dialect == "postgresql":
                # Two processes that upgrade at once: the second finds it done.
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('idedup'))"))
            found = _revision(connection)
            self._refuse_unknown(found)
            if self.dialect == "sqlite":
                # It renames no table while a view is broken, and cannot replace a view.
                for view in views:
                    connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view}")
            if found is None and self.dialect == "sqlite":
                _create(connection)
            elif found not in _revisions()[:1]:
                from alembic import command

                config = alembic_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            for path in views.values():
                [statement] = statements(path)
                if self.dialect == "postgresql":
                    # Replacing keeps what was granted, and refuses to take a column away.
                    statement = statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
                connection.exec_driver_sql(statement)
            if self.dialect == "postgresql":
                self.execute(connection, "comments.postgresql.sql")
                if self.execute(connection, "roles/present.postgresql.sql").scalar_one():
                    self.execute(connection, "roles/grants.postgresql.sql")

    def revision(self) -> str | None:
        """The schema's version; None where there are no tables. Asking makes none."""
        # Connecting to SQLite would create the file.
        if self.dialect == "sqlite" and not Path(self.url.database or "").is_file():
            return None
        with self.transaction(checked=False) as connection:
            return _revision(connection)

    @cached_property
    def _schema(self) -> str | None:
        """The schema's version, looked at once and found to be the one this release needs."""
        found = self.revision()
        needed = next(iter(_revisions()), None)
        self._refuse_unknown(found)
        if found != needed:
            state = "has no tables yet" if found is None else f"has schema version {found}"
            raise WarehouseUnfit(
                f"The warehouse {self.address} {state}, and this release needs version {needed}: "
                "run `idedup db upgrade`."
            )
        return found

    def _refuse_unknown(self, found: str | None) -> None:
        """Raise `WarehouseUnfit` for a schema that no migration of this release leads from."""
        if found is not None and found not in _revisions():
            raise WarehouseUnfit(
                f"The warehouse {self.address} has schema version {found} of another release, "
                "which this one neither reads nor changes: scan or ingest anew into another home "
                "(--output, IDEDUP_HOME or IDEDUP_WAREHOUSE)."
            )

    # --- connections ---------------------------------------------------------------------------

    @cached_property
    def engine(self) -> sa.Engine:
        if self.dialect == "sqlite":
            return _sqlite_engine(self.url)
        require(self.url.get_driver_name(), f"The warehouse {self.address}")
        # Times are sent and read as UTC whatever the server's zone is.
        options = "-c timezone=UTC"
        query = {k: v for k, v in self.url.query.items() if k != "options"}
        if "options" in self.url.query:
            options = f"{self.url.query['options']} {options}"
        return _engine(self.url.set(query=query), options=options, connect_timeout=10)

    @contextmanager
    def connect(self, checked: bool = True) -> Iterator[sa.Connection]:
        """A connection; its failures are WarehouseErrors.

        Args:
            checked: refuse a schema that is not the one this release needs.
        """
        if checked and self._schema is None:
            raise WarehouseUnfit("This release has no migrations: install it again.")
        try:
            with self.engine.connect() as connection:
                yield connection
        except (OperationalError, ProgrammingError) as error:
            # The driver's first line: what happened, without statement or parameters.
            reason = f"{error.orig}".strip().splitlines()[0] if error.orig else "no answer"
            if isinstance(error, ProgrammingError):
                if getattr(error.orig, "sqlstate", None) != _NOT_ALLOWED:
                    raise
                raise WarehouseUnfit(
                    f"The warehouse {self.address} does not let this role do so ({reason}): tasks "
                    "need the writer in IDEDUP_WAREHOUSE, `idedup db upgrade` the owner in "
                    "IDEDUP_WAREHOUSE_OWNER."
                ) from None
            if self.url.password:
                reason = reason.replace(str(self.url.password), "***")
            raise WarehouseUnreachable(
                f"The warehouse {self.address} cannot be used ({reason}): check the address in "
                "IDEDUP_WAREHOUSE, that its server runs and that its disk has room."
            ) from None

    @contextmanager
    def transaction(self, write: bool = False, checked: bool = True) -> Iterator[sa.Connection]:
        with self.connect(checked) as connection:
            connection = connection.execution_options(idedup_write=write)
            with connection.begin():
                yield connection

    # --- statements ----------------------------------------------------------------------------

    def execute(
        self,
        connection: sa.Connection,
        file: str,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> sa.CursorResult[Any]:
        """Run the statements of a file under `sql/`; the last one's result."""
        for statement in statements(SQL / file):
            result = connection.execute(
                sa.text(statement), parameters, execution_options={"preserve_rowcount": True}
            )
        return result

    def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of a named query, `sql/queries/{name}.sql`, with bound parameters.

        Both databases give the same Python values: aware UTC datetimes, bools, parsed JSON.

        Raises:
            KeyError: there is no such query.
        """
        path = SQL / "queries" / f"{name}.sql"
        if not re.fullmatch(r"[a-z_]+", name) or not path.is_file():
            raise KeyError(f"There is no query {name!r} in sql/queries.")
        bound = {k: utc_text(v) if isinstance(v, datetime) else v for k, v in parameters.items()}
        with self.transaction() as connection:
            rows = self.execute(connection, f"queries/{name}.sql", bound).mappings().all()
        return [
            {column: read_value(column, value) for column, value in row.items()} for row in rows
        ]


def _engine(url: sa.URL, **arguments: Any) -> sa.Engine:
    # A task is a process of its own and makes few connections; temporary tables end with theirs.
    return sa.create_engine(
        url, poolclass=sa.NullPool, connect_args=arguments, hide_parameters=True
    )


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = _engine(url, timeout=60)

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        # The driver shall not begin transactions of its own; `begin` below does.
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 60000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later could not wait for the lock.
        write = connection.get_execution_options().get("idedup_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@lru_cache(maxsize=256)
def statements(path: Path) -> tuple[str, ...]:
    """The statements of an SQL file; each ends with a semicolon at the end of a line."""
    text = path.read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    parts = re.split(r";[ \t]*$", "\n".join(lines), flags=re.MULTILINE)
    return tuple(part.strip() for part in parts if part.strip())


def alembic_config() -> Config:
    """What Alembic needs to find the migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SQL / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


# Of what is asked at every start, Alembic, whose import takes as long as a few dozen images, is not
# asked: what it keeps is one row, and what it would read of the migrations is their names.


def _revision(connection: sa.Connection) -> str | None:
    """The version of the schema that Alembic noted; None where there are no tables."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql(
        "SELECT version_num FROM alembic_version"
    ).scalar()
    return found


def _create(connection: sa.Connection) -> None:
    """The tables of a new SQLite warehouse, and Alembic's own, as the migrations make them."""
    for file in sorted((SQL / "migrations" / "versions").glob("*.sql")):
        if not file.name.endswith(".postgresql.sql"):
            for statement in statements(file):
                connection.exec_driver_sql(statement)
    connection.exec_driver_sql(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (_revisions()[0],))


@lru_cache(maxsize=1)
def _revisions() -> tuple[str, ...]:
    """The versions of the schema that this release knows, the one it needs first."""
    files = sorted((SQL / "migrations" / "versions").glob("*.py"), reverse=True)
    return tuple(file.name.split("_", 1)[0] for file in files)
