"""What a collection holds now: replaced in one transaction by what the report stage found."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import sqlalchemy as sa

from idedup_tasks.lake import PAIR_RESULTS, RESULTS, Candidate, Conflict
from idedup_tasks.warehouse.database import SQL, Database, statements
from idedup_tasks.warehouse.history import about_collection, about_thresholds
from idedup_tasks.warehouse.values import json_text, parsed, utc_text

if TYPE_CHECKING:
    from idedup_tasks.run import Run

# Parents before children; rows leave in the opposite order.
STATE_TABLES = ("image", "duplicate_group", "group_member", "duplicate_pair")

# What names a row of them.
_KEYS: Mapping[str, str] = {
    "image": "image_id",
    "duplicate_group": "group_id",
    "group_member": "image_id",
    "duplicate_pair": "image_a, image_b",
}

# Rows sent at once: larger batches gain no time and cost memory.
_BATCH = 10_000

# Beside the versions of its tables: the lake that they are of.
_LAKE_ID = "lake_id"

# The columns of `apply/staged_create.sql`: those of the results and two made from them.
_STAGED = [
    *("image_id", "arrival", "period_start", "key", "prefix"),
    *(name for name in RESULTS.names if name not in ("image_id", "arrival", "key")),
]


class State(Database):
    """Makes the tables of current state what the results say, or says how they differ."""

    def apply(
        self,
        run: Run,
        candidate: Candidate,
        results: Iterable[pa.RecordBatch],
        pairs: Iterable[pa.RecordBatch],
    ) -> dict[str, int]:
        """Make the collection's current state exactly the results and pairs, in one transaction.

        They go to temporary tables first; then only rows that differ are touched, so
        applying the same results again changes nothing. Writers of one collection queue.

        Args:
            candidate: of the report stage; `reads` are the table versions behind the results and,
                as `lake_id`, the lake they are of. Versions of two lakes are not comparable: the
                results of another lake than the one held are taken as they are.
            results: batches with the columns of `lake.results.RESULTS`, each image once.
            pairs: batches with the columns of `lake.results.PAIR_RESULTS`, of images that the
                results have, each pair once; those that are different are left out.

        Returns:
            Rows `inserted`, `updated` and `deleted`, over the four tables of current state.

        Raises:
            Conflict: the warehouse holds results made from newer table versions.
        """
        about = _about(run, candidate.reads)
        done = {"inserted": 0, "updated": 0, "deleted": 0}
        with self.connect() as connection:
            # Temporary tables are this connection's own: filling them holds up nobody.
            with connection.begin():
                self._stage(connection, results, pairs)
            connection = connection.execution_options(idedup_write=True)
            with connection.begin():
                self.execute(connection, "record/collection.sql", about)
                if self.dialect == "postgresql":
                    self.execute(connection, "apply/lock.postgresql.sql", about)
                held = self.execute(connection, "apply/versions.sql", about).scalar_one()
                _refuse_older(run.collection.name, candidate.reads, parsed(held) or {})
                self.execute(connection, "apply/model_delete.sql", about)
                self.execute(connection, "apply/model.sql", about)
                self.execute(connection, "apply/collection.sql", about)
                before = {t: self._count(connection, t, about) for t in STATE_TABLES}
                touched = {
                    table: self.execute(connection, f"apply/{table}_upsert.sql", about).rowcount
                    for table in STATE_TABLES
                }
                for table in reversed(STATE_TABLES):
                    deleted = self.execute(connection, f"apply/{table}_delete.sql", about).rowcount
                    inserted = self._count(connection, table, about) - before[table] + deleted
                    done["inserted"] += inserted
                    done["updated"] += touched[table] - inserted
                    done["deleted"] += deleted
            # PostgreSQL would do so itself, a minute later; until then it may take a table of a
            # million rows for an empty one, and the report reads the views at once.
            if self.dialect == "postgresql" and 10 * sum(done.values()) > sum(before.values()):
                with connection.begin():
                    self.execute(connection, "apply/figures.postgresql.sql")
        return done

    def compare(
        self,
        run: Run,
        reads: Mapping[str, Any],
        results: Iterable[pa.RecordBatch],
        pairs: Iterable[pa.RecordBatch],
    ) -> dict[str, list[str]]:
        """What `apply` would change: by table, the keys of the rows. Nothing is kept of it.

        Only tables with differences are named. A row of `duplicate_pair` is named by its two ids.
        """
        about = _about(run, reads)
        different: dict[str, list[str]] = {}
        with self.connect() as connection:
            with connection.begin():
                self._stage(connection, results, pairs)
            connection = connection.execution_options(idedup_write=True)
            with connection.begin() as transaction:
                self.execute(connection, "record/collection.sql", about)
                for change in ("upsert", "delete"):
                    tables = STATE_TABLES if change == "upsert" else reversed(STATE_TABLES)
                    for table in tables:
                        [statement] = statements(SQL / f"apply/{table}_{change}.sql")
                        text = sa.text(f"{statement} RETURNING {_KEYS[table]}")
                        rows = connection.execute(text, about).all()
                        if rows:
                            different.setdefault(table, []).extend(" and ".join(r) for r in rows)
                transaction.rollback()
        return {table: sorted(keys) for table, keys in sorted(different.items())}

    def held_versions(self, collection: str) -> dict[str, Any]:
        """The table versions, and the `lake_id`, behind a collection's current state; {}: none."""
        with self.transaction() as connection:
            found = self.execute(connection, "apply/versions.sql", {"collection": collection})
            held = found.scalar_one_or_none()
        return dict(parsed(held) or {})

    def _stage(
        self,
        connection: sa.Connection,
        results: Iterable[pa.RecordBatch],
        pairs: Iterable[pa.RecordBatch],
    ) -> None:
        self.execute(connection, "apply/staged_create.sql")
        for batch in results:
            for start in range(0, batch.num_rows, _BATCH):
                self._load(connection, "staged", _staged(batch.slice(start, _BATCH)))
        for batch in pairs:
            seen = batch.select(PAIR_RESULTS.names).filter(pc.field("relation") != "different")
            for start in range(0, seen.num_rows, _BATCH):
                self._load(connection, "staged_look", seen.slice(start, _BATCH))
        if self.dialect == "postgresql":
            self.execute(connection, "apply/staged_analyse.postgresql.sql")
        self.execute(connection, "apply/duplicate_group_staged.sql")
        self.execute(connection, "apply/duplicate_pair_staged.sql")

    def _load(self, connection: sa.Connection, table: str, batch: pa.RecordBatch) -> None:
        """Add rows to a staging table the fastest way each driver has."""
        if self.dialect == "sqlite":
            [insert] = statements(SQL / f"apply/{table}_insert.sqlite.sql")
            columns = [column.to_pylist() for column in batch.columns]
            connection.exec_driver_sql(insert, list(zip(*columns, strict=True)))
            return
        [copy_in] = statements(SQL / f"apply/{table}_copy.postgresql.sql")
        lines = io.BytesIO()
        # Strings are quoted and nulls are not, which is how COPY tells '' from null.
        options = pacsv.WriteOptions(include_header=False, quoting_style="needed")
        pacsv.write_csv(batch, lines, options)
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(copy_in) as copy:
            copy.write(lines.getvalue())

    def _count(self, connection: sa.Connection, table: str, about: Mapping[str, Any]) -> int:
        rows: int = self.execute(connection, f"apply/{table}_count.sql", about).scalar_one()
        return rows


def _about(run: Run, reads: Mapping[str, Any]) -> dict[str, Any]:
    """What the statements under `sql/apply/` are bound to."""
    from idedup_tasks.descriptors import descriptor_info

    collection = run.collection
    descriptor = descriptor_info(collection.descriptor)
    return {
        **about_collection(run),
        "model_id": run.model_id,
        "descriptor": collection.descriptor,
        "dim": descriptor.dim,
        **about_thresholds(descriptor.thresholds),
        "run_id": run.run_id,
        "versions_read": json_text(reads),
        "applied_at": utc_text(datetime.now(UTC)),
    }


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
    return utc_text(start.replace(tzinfo=UTC))
