"""The warehouse: what people and dashboards read, on SQLite or PostgreSQL.

The SQL lies in `sql/`: `migrations/` (Alembic), `views/` (the public contract, described in
`docs/warehouse.md`), `queries/` (what the pages read), `record/` and `apply/` (what is written).
Both databases run the same files; `name.postgresql.sql` is run by PostgreSQL only.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

from idedup_tasks.extras import require
from idedup_tasks.lake import Candidate, Conflict
from idedup_tasks.lake.results import RESULTS

if TYPE_CHECKING:
    from idedup_tasks.run import Run
    from idedup_tasks.settings import Thresholds

# Inside the package in a wheel, beside it in a checkout.
_PACKAGE = Path(__file__).resolve().parent.parent
_SQL = next(f for f in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if f.is_dir())

_NOT_ALLOWED = "42501"  # SQLSTATE insufficient_privilege

# Rows sent at once: larger batches gain no time and cost memory.
_BATCH = 10_000

# Beside the versions of its tables: the lake that they are of.
_LAKE_ID = "lake_id"

# Of current state, parents before children; rows leave in the opposite order.
STATE_TABLES = ("image", "duplicate_group", "group_member", "duplicate_pair")

# What names a row of them.
_KEYS: Mapping[str, str] = {
    "image": "image_id",
    "duplicate_group": "group_id",
    "group_member": "image_id",
    "duplicate_pair": "image_a, image_b",
}

# The columns of `apply/staged_create.sql`: those of the results and two made from them.
_STAGED = [
    *("image_id", "arrival", "period_start", "key", "prefix"),
    *(name for name in RESULTS.names if name not in ("image_id", "arrival", "key")),
]

_JSON_COLUMNS = frozenset({"card", "counts", "warnings", "versions_read", "versions_written"})
_BOOLEAN_COLUMNS = frozenset(
    {"success", "is_keeper", "is_match", "is_keeper_match", "low_information", "uncertain"}
)
_TIME_COLUMNS = frozenset({"window_start", "window_end", "period_start"})  # and all `…_at`


class WarehouseError(RuntimeError):
    """The warehouse cannot be reached, or its schema is not the one this release needs."""


class StageCounts(Protocol):
    """What `record_stage` needs of a stage's counts."""

    @property
    def images(self) -> int:
        """How many the stage worked on."""
        ...

    @property
    def rows(self) -> tuple[int, int]:
        """How many rows the stage looked at and how many it let through."""
        ...


class RuleResult(Protocol):
    """What `record_quality` needs of a quality rule's outcome."""

    @property
    def rule(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def success(self) -> bool: ...
    @property
    def observed(self) -> str: ...
    @property
    def expected(self) -> str: ...


class Warehouse:
    """The tables of one warehouse; making one costs nothing, the first use connects.

    Args:
        url: a SQLAlchemy URL: `sqlite:///path` (`?` and `%` in it as `%3F` and `%25`),
            `postgresql+psycopg://…`; a bare `postgresql://` or `postgres://` means psycopg.

    Every method raises WarehouseError, with one sentence and never a password, when the database
    cannot be reached or `upgrade` has not been run, and ExtraMissing without its driver.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise WarehouseError(
                "The warehouse's address is no database URL: expected sqlite:///path or "
                "postgresql+psycopg://user:password@host/database."
            ) from None
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise WarehouseError(
                f"The warehouse cannot be a {parsed.get_backend_name()} database: expected "
                "sqlite:///path or postgresql+psycopg://user:password@host/database."
            )
        self._url = parsed
        self.dialect = parsed.get_backend_name()

    def __repr__(self) -> str:
        return f"Warehouse({self.address!r})"

    @property
    def address(self) -> str:
        """Where the warehouse is, without password or options: for messages and pages."""
        return self._url.set(query={}).render_as_string(hide_password=True)

    # --- schema --------------------------------------------------------------------------------

    def upgrade(self) -> None:
        """Create the tables, or bring them to this release's version, and refresh the views.

        On PostgreSQL it must own them; the roles of `sql/roles/create.sql`, where the server has
        them, are granted what they need.
        """
        from alembic import command

        if self.dialect == "sqlite" and self._url.database:
            Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
        with self._transaction(write=True, checked=False) as connection:
            if self.dialect == "postgresql":
                # Two processes that upgrade at once: the second finds it done.
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('idedup'))"))
            views = {p.stem.split("_", 1)[1]: p for p in sorted((_SQL / "views").glob("*.sql"))}
            if self.dialect == "sqlite":
                # It renames no table while a view is broken, and cannot replace a view.
                for view in views:
                    connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view}")
            config = _alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            for path in views.values():
                [statement] = statements(path)
                if self.dialect == "postgresql":
                    # Replacing keeps what was granted, and refuses to take a column away.
                    statement = statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
                connection.exec_driver_sql(statement)
            if self.dialect == "postgresql":
                files = ["comments.postgresql.sql"]
                if self._execute(connection, "roles/present.postgresql.sql").scalar_one():
                    files.append("roles/grants.postgresql.sql")
                for file in files:
                    for statement in statements(_SQL / file):
                        connection.exec_driver_sql(statement)

    def revision(self) -> str | None:
        """The schema's version; None where there are no tables. Asking makes none."""
        from alembic.runtime.migration import MigrationContext

        # Connecting to SQLite would create the file.
        if self.dialect == "sqlite" and not Path(self._url.database or "").is_file():
            return None
        with self._transaction(checked=False) as connection:
            return MigrationContext.configure(connection).get_current_revision()

    @cached_property
    def _schema(self) -> str | None:
        """The schema's version, looked at once and found to be the one this release needs."""
        found = self.revision()
        needed = _newest_revision()
        if found != needed:
            state = "has no tables yet" if found is None else f"has schema version {found}"
            raise WarehouseError(
                f"The warehouse {self.address} {state}, and this release needs version {needed}: "
                "run `idedup db upgrade`."
            )
        return found

    # --- connections ---------------------------------------------------------------------------

    @cached_property
    def _engine(self) -> sa.Engine:
        if self.dialect == "postgresql":
            require(self._url.get_driver_name(), f"The warehouse {self.address}")
            # Times are sent and read as UTC whatever the server's zone is.
            arguments = {"options": "-c timezone=UTC", "connect_timeout": 10}
            query = {k: v for k, v in self._url.query.items() if k != "options"}
            if "options" in self._url.query:
                arguments["options"] = f"{self._url.query['options']} {arguments['options']}"
            url = self._url.set(query=query)
        else:
            arguments, url = {"timeout": 60}, self._url
        engine = sa.create_engine(
            url,
            # A task is a process of its own and makes few connections; temporary tables end
            # with theirs.
            poolclass=sa.NullPool,
            connect_args=arguments,
            hide_parameters=True,
        )
        if self.dialect == "sqlite":

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

    @contextmanager
    def _connection(self, checked: bool = True) -> Iterator[sa.Connection]:
        if checked and self._schema is None:
            raise WarehouseError("This release has no migrations: install it again.")
        try:
            with self._engine.connect() as connection:
                yield connection
        except (OperationalError, ProgrammingError) as error:
            # The driver's first line: what happened, without statement or parameters.
            reason = f"{error.orig}".strip().splitlines()[0] if error.orig else "no answer"
            if isinstance(error, ProgrammingError):
                if getattr(error.orig, "sqlstate", None) != _NOT_ALLOWED:
                    raise
                raise WarehouseError(
                    f"The warehouse {self.address} does not let this role do so ({reason}): tasks "
                    "need the writer in IDEDUP_WAREHOUSE, `idedup db upgrade` the owner in "
                    "IDEDUP_WAREHOUSE_OWNER."
                ) from None
            password = self._url.password
            if password:
                reason = reason.replace(str(password), "***")
            raise WarehouseError(
                f"The warehouse {self.address} cannot be used ({reason}): check the address in "
                "IDEDUP_WAREHOUSE, that its server runs and that its disk has room."
            ) from None

    @contextmanager
    def _transaction(self, write: bool = False, checked: bool = True) -> Iterator[sa.Connection]:
        with self._connection(checked) as connection:
            connection = connection.execution_options(idedup_write=write)
            with connection.begin():
                yield connection

    def _execute(
        self,
        connection: sa.Connection,
        file: str,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> sa.CursorResult[Any]:
        """Run the statements of a file under `sql/`; the last one's result."""
        for statement in statements(_SQL / file):
            result = connection.execute(
                sa.text(statement), parameters, execution_options={"preserve_rowcount": True}
            )
        return result

    # --- history -------------------------------------------------------------------------------

    def record_stage(
        self,
        run: Run,
        stage: str,
        started: datetime,
        seconds: float,
        candidate: Candidate | None = None,
        counts: StageCounts | None = None,
        error: str | None = None,
    ) -> None:
        """Record that a stage was prepared, or failed; a rerun overwrites its row, counting tries.

        Args:
            started: aware moment when preparing began.
            seconds: how long it took.
            candidate: what was prepared.
            counts: its counts, which give rows in and out and images per second.
            error: why it failed.
        """
        rows_in, rows_out = counts.rows if counts else (None, None)
        images = counts.images if counts else None
        start, end = run.window or (None, None)
        row = {
            "collection": run.collection.name,
            "run_id": run.run_id,
            "stage": stage,
            "state": "failed" if error is not None else "prepared",
            "window_start": _moment(start),
            "window_end": _moment(end),
            "started_at": _moment(started),
            "seconds": seconds,
            "rows_in": rows_in,
            "rows_out": rows_out,
            "images": images,
            "images_per_second": images / seconds if images is not None and seconds > 0 else None,
            "counts": _json(candidate.counts) if candidate else None,
            "warnings": _json(candidate.warnings) if candidate else None,
            "versions_read": _json(candidate.reads) if candidate else None,
            "error": _storable(error),
        }
        with self._transaction(write=True) as connection:
            self._execute(connection, "record/collection.sql", _collection(run))
            self._execute(connection, "record/stage.sql", row)

    def record_published(self, run: Run, stage: str, versions: Mapping[str, int]) -> None:
        """Record which table versions a stage published."""
        row = {
            "collection": run.collection.name,
            "run_id": run.run_id,
            "stage": stage,
            "published_at": _moment(datetime.now(UTC)),
            "versions_written": _json(dict(versions)),
        }
        with self._transaction(write=True) as connection:
            self._execute(connection, "record/published.sql", row)

    def record_quality(self, run: Run, stage: str, results: Sequence[RuleResult]) -> None:
        """Replace what is recorded of this run's and stage's quality rules."""
        about = {"collection": run.collection.name, "run_id": run.run_id, "stage": stage}
        checked = _moment(datetime.now(UTC))
        rows = [
            {
                **about,
                "rule": result.rule,
                "severity": result.severity,
                "success": bool(result.success),
                "observed": _storable(result.observed),
                "expected": _storable(result.expected),
                "checked_at": checked,
            }
            for result in results
        ]
        with self._transaction(write=True) as connection:
            self._execute(connection, "record/collection.sql", _collection(run))
            self._execute(connection, "record/quality_delete.sql", about)
            if rows:
                self._execute(connection, "record/quality_insert.sql", rows)

    def record_model(
        self,
        *,
        model_id: str,
        descriptor: str,
        dim: int,
        thresholds: Thresholds,
        location: str,
        card: Mapping[str, Any],
    ) -> None:
        """Register a descriptor; registering the same model_id again brings its row up to date.

        Args:
            model_id: its version.
            descriptor: its name.
            dim: length of its vectors.
            thresholds: as calibrated.
            location: where in the lake its weights and card lie.
            card: the card, as JSON takes it.
        """
        row = {
            "model_id": model_id,
            "descriptor": descriptor,
            "dim": dim,
            **_thresholds(thresholds),
            "registered_at": _moment(datetime.now(UTC)),
            "location": location,
            "card": _json(card),
        }
        with self._transaction(write=True) as connection:
            self._execute(connection, "record/model.sql", row)

    def record_benchmark(
        self, benchmark_id: str, created_at: datetime, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Replace what is recorded of a benchmark.

        Args:
            benchmark_id: name of this run of it.
            created_at: aware moment of measuring.
            rows: mappings with `dataset`, `method`, `model_id` (may be None), `measure`, `value`.
        """
        about = {"benchmark_id": benchmark_id, "created_at": _moment(created_at)}
        with self._transaction(write=True) as connection:
            self._execute(connection, "record/benchmark_delete.sql", about)
            if rows:
                bound = [{"model_id": None, **row, **about} for row in rows]
                self._execute(connection, "record/benchmark_insert.sql", bound)

    # --- current state -------------------------------------------------------------------------

    def apply(
        self, run: Run, candidate: Candidate, results: Iterator[pa.RecordBatch]
    ) -> dict[str, int]:
        """Make the collection's current state exactly the results, in one transaction.

        The results go to a temporary table first; then only rows that differ are touched, so
        applying the same results again changes nothing. Writers of one collection queue.

        Args:
            candidate: of the report stage; `reads` are the table versions behind the results and,
                as `lake_id`, the lake they are of. Versions of two lakes are not comparable: the
                results of another lake than the one held are taken as they are.
            results: batches with the columns of `report.results.RESULTS`, each image once.

        Returns:
            Rows `inserted`, `updated` and `deleted`, over the four tables of current state.

        Raises:
            Conflict: the warehouse holds results made from newer table versions.
        """
        about = _about(run, candidate.reads)
        done = {"inserted": 0, "updated": 0, "deleted": 0}
        with self._connection() as connection:
            # Temporary tables are this connection's own: filling them holds up nobody.
            with connection.begin():
                self._stage(connection, results)
            connection = connection.execution_options(idedup_write=True)
            with connection.begin():
                self._execute(connection, "record/collection.sql", about)
                if self.dialect == "postgresql":
                    self._execute(connection, "apply/lock.postgresql.sql", about)
                held = self._execute(connection, "apply/versions.sql", about).scalar_one()
                _refuse_older(run.collection.name, candidate.reads, _parsed(held) or {})
                self._execute(connection, "apply/model_delete.sql", about)
                self._execute(connection, "apply/model.sql", about)
                self._execute(connection, "apply/collection.sql", about)
                before = {t: self._count(connection, t, about) for t in STATE_TABLES}
                touched = {
                    table: self._execute(connection, f"apply/{table}_upsert.sql", about).rowcount
                    for table in STATE_TABLES
                }
                for table in reversed(STATE_TABLES):
                    deleted = self._execute(connection, f"apply/{table}_delete.sql", about).rowcount
                    inserted = self._count(connection, table, about) - before[table] + deleted
                    done["inserted"] += inserted
                    done["updated"] += touched[table] - inserted
                    done["deleted"] += deleted
            # PostgreSQL would do so itself, a minute later; until then it may take a table of a
            # million rows for an empty one, and the report reads the views at once.
            if self.dialect == "postgresql" and 10 * sum(done.values()) > sum(before.values()):
                with connection.begin():
                    self._execute(connection, "apply/figures.postgresql.sql")
        return done

    def compare(
        self, run: Run, reads: Mapping[str, Any], results: Iterator[pa.RecordBatch]
    ) -> dict[str, list[str]]:
        """What `apply` would change: by table, the keys of the rows. Nothing is kept of it.

        Only tables with differences are named. A row of `duplicate_pair` is named by its two ids.
        """
        about = _about(run, reads)
        different: dict[str, list[str]] = {}
        with self._connection() as connection:
            with connection.begin():
                self._stage(connection, results)
            connection = connection.execution_options(idedup_write=True)
            with connection.begin() as transaction:
                self._execute(connection, "record/collection.sql", about)
                for change in ("upsert", "delete"):
                    tables = STATE_TABLES if change == "upsert" else reversed(STATE_TABLES)
                    for table in tables:
                        [statement] = statements(_SQL / f"apply/{table}_{change}.sql")
                        text = sa.text(f"{statement} RETURNING {_KEYS[table]}")
                        rows = connection.execute(text, about).all()
                        if rows:
                            different.setdefault(table, []).extend(" and ".join(r) for r in rows)
                transaction.rollback()
        return {table: sorted(keys) for table, keys in sorted(different.items())}

    def held_versions(self, collection: str) -> dict[str, Any]:
        """The table versions, and the `lake_id`, behind a collection's current state; {}: none."""
        with self._transaction() as connection:
            found = self._execute(connection, "apply/versions.sql", {"collection": collection})
            held = found.scalar_one_or_none()
        return dict(_parsed(held) or {})

    def _stage(self, connection: sa.Connection, results: Iterator[pa.RecordBatch]) -> None:
        self._execute(connection, "apply/staged_create.sql")
        for batch in results:
            for start in range(0, batch.num_rows, _BATCH):
                self._load(connection, _staged(batch.slice(start, _BATCH)))
        if self.dialect == "postgresql":
            self._execute(connection, "apply/staged_analyse.postgresql.sql")
        self._execute(connection, "apply/duplicate_group_staged.sql")
        self._execute(connection, "apply/duplicate_pair_staged.sql")

    def _load(self, connection: sa.Connection, batch: pa.RecordBatch) -> None:
        """Add rows to the staging table the fastest way each driver has."""
        if self.dialect == "sqlite":
            [insert] = statements(_SQL / "apply/staged_insert.sqlite.sql")
            columns = [column.to_pylist() for column in batch.columns]
            connection.exec_driver_sql(insert, list(zip(*columns, strict=True)))
            return
        [copy_in] = statements(_SQL / "apply/staged_copy.postgresql.sql")
        lines = io.BytesIO()
        # Strings are quoted and nulls are not, which is how COPY tells '' from null.
        options = pacsv.WriteOptions(include_header=False, quoting_style="needed")
        pacsv.write_csv(batch, lines, options)
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(copy_in) as copy:
            copy.write(lines.getvalue())

    def _count(self, connection: sa.Connection, table: str, about: Mapping[str, Any]) -> int:
        return self._execute(connection, f"apply/{table}_count.sql", about).scalar_one()

    # --- reading -------------------------------------------------------------------------------

    def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of a named query, `sql/queries/{name}.sql`, with bound parameters.

        Both databases give the same Python values: aware UTC datetimes, bools, parsed JSON.

        Raises:
            KeyError: there is no such query.
        """
        path = _SQL / "queries" / f"{name}.sql"
        if not re.fullmatch(r"[a-z_]+", name) or not path.is_file():
            raise KeyError(f"There is no query {name!r} in sql/queries.")
        bound = {k: _moment(v) if isinstance(v, datetime) else v for k, v in parameters.items()}
        with self._transaction() as connection:
            rows = self._execute(connection, f"queries/{name}.sql", bound).mappings().all()
        return [{column: _value(column, value) for column, value in row.items()} for row in rows]


@lru_cache(maxsize=256)
def statements(path: Path) -> tuple[str, ...]:
    """The statements of an SQL file; each ends with a semicolon at the end of a line."""
    text = path.read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    parts = re.split(r";[ \t]*$", "\n".join(lines), flags=re.MULTILINE)
    return tuple(part.strip() for part in parts if part.strip())


def _alembic() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SQL / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@lru_cache(maxsize=1)
def _newest_revision() -> str | None:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_alembic()).get_current_head()


def _collection(run: Run) -> dict[str, Any]:
    return {
        "collection": run.collection.name,
        "source": _without_credentials(run.collection.source),
        "period": run.collection.arrival.period,
        "price_per_gb_month": run.collection.price_per_gb_month,
        "currency": run.collection.currency,
        "uncertain_margin": run.collection.grouping.uncertain_margin,
    }


def _thresholds(thresholds: Thresholds) -> dict[str, Any]:
    return {
        "threshold_pair": thresholds.pair,
        "threshold_candidate": thresholds.candidate,
        "threshold_cut": thresholds.cut,
        "phash_distance": thresholds.phash_distance,
    }


def _about(run: Run, reads: Mapping[str, Any]) -> dict[str, Any]:
    """What the statements under `sql/apply/` are bound to."""
    from idedup_tasks.descriptors import descriptor_info

    collection = run.collection
    return {
        **_collection(run),
        "model_id": run.model_id,
        "descriptor": collection.descriptor,
        "dim": descriptor_info(collection.descriptor).dim,
        **_thresholds(run.thresholds),
        "run_id": run.run_id,
        "versions_read": _json(reads),
        "applied_at": _moment(datetime.now(UTC)),
    }


def _without_credentials(source: str) -> str:
    if "://" not in source:
        return source
    parts = urlsplit(source)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _refuse_older(collection: str, reads: Mapping[str, Any], held: Mapping[str, Any]) -> None:
    lakes = {versions.get(_LAKE_ID) for versions in (reads, held)} - {None}
    if len(lakes) > 1:
        return
    newer = {t: v for t, v in held.items() if t in reads and t != _LAKE_ID and v > reads[t]}
    if newer:
        found = ", ".join(f"{t} {v} (here {reads[t]})" for t, v in sorted(newer.items()))
        raise Conflict(
            f"The warehouse already holds results of {collection} made from newer versions of "
            f"{found}: they are prepared again from the newest versions."
        )


def _staged(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns of `apply/staged_create.sql`, in its order: times as UTC text, no NUL."""
    columns: dict[str, pa.Array] = {}
    for field in RESULTS:
        values = batch.column(field.name)
        if pa.types.is_timestamp(field.type):
            values = values.cast(pa.timestamp("us")).cast(pa.string())
        elif pa.types.is_string(field.type):
            values = pc.replace_substring(values, "\x00", "\ufffd")
        columns[field.name] = values
    starts = [_period_start(arrival) for arrival in columns["arrival"].to_pylist()]
    columns["period_start"] = pa.array(starts, pa.string())
    top = pc.replace_substring_regex(columns["key"], r"(?s)/.*", "")
    columns["prefix"] = pc.if_else(pc.match_substring(columns["key"], "/"), top, "")
    return pa.RecordBatch.from_pydict({name: columns[name] for name in _STAGED})


@lru_cache(maxsize=100_000)
def _period_start(arrival: str) -> str | None:
    """First moment of an arrival period, as UTC text; null for a name that is no date."""
    try:
        start = datetime.fromisoformat(f"{arrival}-01" if len(arrival) == 7 else arrival)
    except ValueError:
        return None
    return _moment(start.replace(tzinfo=UTC))


def _moment(moment: datetime | None) -> str | None:
    """UTC text that both databases take for a time and that sorts as time does."""
    if moment is None:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _storable(text: str | None) -> str | None:
    """PostgreSQL stores no NUL, and messages of image decoders have some."""
    return None if text is None else str(text).replace("\x00", "\ufffd")


def _json(content: Any) -> str:
    # A NaN is no JSON; counts have none, and a ratio that does is better refused here.
    return json.dumps(content, sort_keys=True, allow_nan=False).replace("\\u0000", "\\ufffd")


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _value(column: str, value: Any) -> Any:
    if value is None:
        return None
    if column in _JSON_COLUMNS:
        return _parsed(value)
    if column in _BOOLEAN_COLUMNS:
        return bool(value)
    if column.endswith("_at") or column in _TIME_COLUMNS:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return value
