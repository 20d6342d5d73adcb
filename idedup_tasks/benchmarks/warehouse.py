"""The warehouse with many rows: loading results into it, and reading its views.

    python -m idedup_tasks.benchmarks.warehouse --rows 1000000 --url postgresql+psycopg://…

Synthetic results, of twenty images three in a group and two alike, are applied to the collection
`benchmark` of a warehouse that `idedup db upgrade` has prepared: first to an empty collection, then
again unchanged, then with one image in a hundred changed. Making the rows is timed on its own and
taken off. Then each view is read under EXPLAIN (ANALYZE), on PostgreSQL, as a dashboard reads it:
for this collection. At the end the collection's rows are removed again, unless `--keep` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from idedup_tasks.lake import PAIR_RESULTS, RESULTS, Candidate
from idedup_tasks.run import Run
from idedup_tasks.settings import DUPLICATES, RELATIONS, Collection, Places
from idedup_tasks.warehouse import STATE_TABLES, Warehouse

_BATCH = 20_000
_DAYS = 365
_START = datetime(2026, 1, 1, tzinfo=UTC)
_RELATIONS = np.array(RELATIONS)
_FORMATS = np.array(["JPEG", "PNG", "WEBP", "HEIF"])
_OVERLAPS = ("overlap", "keeper_overlap")


def results(rows: int, changed: float = 0.0, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Results of `rows` images in `RESULTS`' order; a share `changed` of them has another size.

    Of twenty images the first is a keeper, the next two its duplicates or variants, and the last of
    two hundred is rejected.
    """
    for start in range(0, rows, _BATCH):
        number = np.arange(start, min(start + _BATCH, rows))
        place = number % 20
        grouped = (place < 3) & (number - place + 2 < rows)
        duplicate = grouped & (place > 0)
        bad = (number % 200 == 199) & ~grouped
        rng = np.random.default_rng([seed, start])
        size = rng.integers(10_000, 5_000_000, len(number))
        kind = rng.integers(0, len(RELATIONS), len(number))
        score = np.where(kind == 0, 1.0, np.round(rng.uniform(0.7, 1.0, len(number)), 4))
        size += rng.random(len(number)) < changed
        ids, keepers = _padded(number, 32), _padded(number - place, 32)
        folder, file = _text(number % 40), _text(number)
        key = pc.binary_join_element_wise("folder ", folder, "/", file, ".jpg", "")
        moment = (number * (86_400_000_000 * _DAYS // rows)).astype("timedelta64[us]")
        arrived = pa.array(np.datetime64(_START.replace(tzinfo=None), "us") + moment)
        status = np.where(bad, "rejected", np.where(duplicate & (kind < 2), "collapsed", "active"))
        beside = np.where(kind < len(DUPLICATES), "duplicate", "variant")
        verdict = np.where(grouped, np.where(place == 0, "keeper", beside), "unique")
        relation = _where(duplicate, pa.array(_RELATIONS[kind]))
        columns = {
            "image_id": ids,
            "arrival": pc.strftime(arrived, format="%Y-%m-%d"),
            "key": key,
            "uri": pc.binary_join_element_wise("s3://bucket/", key, ""),
            "arrived_at": arrived.cast(pa.timestamp("us", "UTC")),
            "bytes": pa.array(size),
            "sha256": _where(~bad, _padded(number, 64)),
            "width": _where(~bad, pa.repeat(pa.scalar(4000, pa.int32()), len(number))),
            "height": _where(~bad, pa.repeat(pa.scalar(3000, pa.int32()), len(number))),
            "format": _where(~bad, pa.array(_FORMATS[number % 4])),
            "taken_at": pa.nulls(len(number), pa.timestamp("us", "UTC")),
            "low_information": _where(~bad, pa.repeat(False, len(number))),
            "status": pa.array(status),
            "reason_code": _where(bad, pa.repeat("damaged", len(number))),
            "reason": _where(bad, pa.repeat("cannot be read", len(number))),
            "verdict": _where(~bad, pa.array(verdict)),
            "group_id": _where(grouped, keepers),
            "relation": relation,
            "method": relation,
            "keeper_id": _where(grouped, keepers),
            "score": _where(duplicate, pa.array(score)),
            **{name: _where(duplicate, pa.repeat(1.0, len(number))) for name in _OVERLAPS},
            "changed": _where(duplicate, pa.repeat(0.0, len(number))),
            "place": pa.nulls(len(number), pa.string()),
            "why": _where(grouped, pa.repeat("made up", len(number))),
        }
        yield pa.RecordBatch.from_pydict(columns, schema=RESULTS)


def pairs(rows: int, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Of each twenty images, the keeper with both others, and the next two with each other."""
    for start in range(0, rows, _BATCH):
        number = np.arange(start, min(start + _BATCH, rows))
        first = number[(number % 20 == 0) & (number + 4 < rows)]
        a = np.concatenate([first, first, first + 3])
        b = np.concatenate([first + 1, first + 2, first + 4])
        rng = np.random.default_rng([seed, start, 1])
        relation = np.where(a % 20 == 0, "same", "alike")
        columns = {
            "image_a": _padded(a, 32),
            "image_b": _padded(b, 32),
            "relation": pa.array(relation),
            "score": pa.array(np.round(rng.uniform(0.3, 1.0, len(a)), 4)),
            **{name: pa.repeat(1.0, len(a)) for name in ("overlap_a", "overlap_b")},
            "changed": pa.repeat(0.0, len(a)),
        }
        yield pa.RecordBatch.from_pydict(columns, schema=PAIR_RESULTS)


def _text(number: np.ndarray) -> pa.Array:
    return pa.array(number).cast(pa.string())


def _padded(number: np.ndarray, width: int) -> pa.Array:
    return pc.utf8_lpad(_text(number), width, "0")


def _where(mask: np.ndarray, values: pa.Array) -> pa.Array:
    """The values where the mask holds, null elsewhere."""
    return pc.if_else(pa.array(mask), values, pa.scalar(None, values.type))


def measure(warehouse: Warehouse, run: Run, rows: int) -> Iterator[dict[str, Any]]:
    """Apply the results three times; what was touched, and rows of the four tables a second."""
    clock = time.perf_counter()
    for made in (results(rows), pairs(rows)):
        for _ in made:
            pass
    making = time.perf_counter() - clock
    for name, changed in (("empty", 0.0), ("unchanged", 0.0), ("1 % changed", 0.01)):
        candidate = Candidate("report", run.run_id, [], {}, {})
        clock = time.perf_counter()
        done = warehouse.apply(run, candidate, results(rows, changed), pairs(rows))
        seconds = time.perf_counter() - clock - making
        about = {"collection": run.collection.name}
        with warehouse.connect() as connection:
            counts = [
                warehouse.execute(connection, f"apply/{table}_count.sql", about).scalar_one()
                for table in STATE_TABLES
            ]
        state = sum(counts)
        yield (
            {"into": name, "seconds": round(seconds, 1), "making_rows": round(making, 1), **done}
            | {"state_rows": state, "state_rows_per_second": round(state / seconds)}
        )


def explain(warehouse: Warehouse, run: Run) -> Iterator[tuple[str, float, str]]:
    """Each view's name, its milliseconds for this collection, and PostgreSQL's plan."""
    with warehouse.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        for view in sorted(sa.inspect(connection).get_view_names()):
            if view == "benchmark_history":  # no collection in it
                continue
            table = sa.table(view, sa.column("collection"))
            query = sa.select(sa.text("*")).select_from(table)
            query = query.where(table.c.collection == run.collection.name)
            text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
            plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, COSTS OFF, FORMAT JSON) {text}")
            [content] = plan.scalar_one()
            yield view, content["Execution Time"], json.dumps(content["Plan"], indent=1)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--url", required=True, help="SQLAlchemy URL, as the role that writes")
    parser.add_argument("--plans", type=Path, help="a folder for the plans, one file a view")
    parser.add_argument("--keep", action="store_true", help="leave the rows in the warehouse")
    given = parser.parse_args(arguments)
    warehouse = Warehouse(given.url)
    collection = Collection.model_validate({"name": "benchmark", "source": "/nowhere"})
    places = Places(home=Path(), lake="", warehouse=given.url, collections=Path())
    run = Run(collection, "benchmark", None, places)
    for row in measure(warehouse, run, given.rows):
        print(json.dumps(row), flush=True)
    if warehouse.dialect == "postgresql":
        for view, milliseconds, plan in explain(warehouse, run):
            print(f"{view}: {milliseconds:,.0f} ms", flush=True)
            if given.plans:
                given.plans.mkdir(parents=True, exist_ok=True)
                (given.plans / f"{view}.json").write_text(plan, encoding="utf-8")
    if not given.keep:
        warehouse.apply(run, Candidate("report", run.run_id, [], {}, {}), results(0), pairs(0))
        with warehouse.connect() as connection, connection.begin():
            for table, column in (("model", "collection"), ("collection", "name")):
                held = sa.table(table, sa.column(column))
                connection.execute(sa.delete(held).where(held.c[column] == collection.name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
