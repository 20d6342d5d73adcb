"""Great Expectations and Arrow come to the same verdict of each rule, kept and broken."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_quality import World

from idedup_tasks.lake import RESULTS, TABLES
from idedup_tasks.pipeline import check, rules_of
from idedup_tasks.quality import arrow_evaluation, checking, evaluation
from idedup_tasks.quality.outcome import Outcome
from idedup_tasks.quality.rules import (
    AtLeast,
    Between,
    Empty,
    Equal,
    Expectation,
    Filled,
    Matches,
    OneOf,
    Where,
    columns_of,
)
from idedup_tasks.settings import STAGES

# The columns that a gate looks at and no schema declares.
DERIVED = {
    "arrival_of_moment": pa.string(),
    "bytes_found": pa.int64(),
    "pack_bytes": pa.int64(),
    "thumbnail_end": pa.int64(),
    "fine_end": pa.int64(),
    "transform_numbers": pa.int32(),
    "norm": pa.float64(),
    "dim": pa.int32(),
    "broken": pa.bool_(),
    "schema": pa.string(),
    "rows": pa.int64(),
    "rows_stated": pa.int64(),
}
FRAMES = [
    (stage, frame)
    for stage in STAGES
    for frame in dict.fromkeys(
        rule.frame for rule in rules_of(stage, World(Path("/nowhere")).run, {})
    )
]


def expectations_of(stage: str, frame: str) -> list[Expectation]:
    rules = rules_of(stage, World(Path("/nowhere")).run, {})
    return [e for rule in rules if rule.frame == frame for e in rule.expectations]


def type_of(frame: str, column: str) -> pa.DataType:
    if frame == "counts":
        return pa.float64()
    declared = RESULTS if frame == "results" else TABLES[frame].schema if frame in TABLES else None
    if declared is not None and column in declared.names:
        return declared.field(column).type
    return DERIVED[column]


def hard_values(expectation: Expectation, column: str) -> Iterator[Any]:
    """On both sides of where the expectation's verdict turns."""
    where = expectation.where
    if where is not None and where.column == column:
        yield where.value
    if column not in columns_of(expectation):
        return
    match expectation:
        case OneOf(_, values):
            yield from values
        case Matches(_, regex):
            digits = "0123456789abcdef" * 4
            fitting = digits[: int(regex.rpartition("{")[2].rstrip("}"))]
            yield from (fitting, fitting[1:], f"{fitting}0", fitting.upper(), f"{fitting}\n", "")
            yield from (f"\n{fitting}", f"{fitting}\n{fitting}", fitting.replace("a", "ａ"))
        case Between(_, low, high):
            for limit in (low, high):
                if isinstance(limit, datetime):
                    step = timedelta(microseconds=1)
                    yield from (limit, limit - step, limit + step)
                elif limit is not None:
                    yield from (limit, limit - 1, limit + 1)
                    yield from (math.nextafter(limit, -math.inf), math.nextafter(limit, math.inf))


def pool(expectations: list[Expectation], frame: str, column: str) -> list[Any]:
    """Values of a column that are worth trying, a missing one among them."""
    kind = type_of(frame, column)
    found = [v for expectation in expectations for v in hard_values(expectation, column)]
    if pa.types.is_string(kind):
        found += ["odd", "even"]
    elif pa.types.is_boolean(kind):
        found = [True, False]
    elif pa.types.is_timestamp(kind):
        found += [datetime(y, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) for y in (1, 1999, 9999)]
    elif pa.types.is_integer(kind):
        found = [v for v in found if v == int(v)] + [0, 1, 2]
    else:
        found += [0.0, 1.0, 0.5, math.inf, -math.inf, math.nan]
    # A count is never missing: what lacks is left out of its row.
    return found if frame == "counts" else [*found, None]


def columns(expectations: list[Expectation]) -> list[str]:
    named = [c for e in expectations for c in columns_of(e)]
    return list(dict.fromkeys(named + [e.where.column for e in expectations if e.where]))


def table(frame: str, rows: list[dict[str, Any]], names: list[str]) -> pa.Table:
    return pa.Table.from_pylist(rows, pa.schema([(c, type_of(frame, c)) for c in names]))


def both(rows: pa.Table, expectations: list[Expectation]) -> list[Outcome]:
    """The outcomes, which are the same from both, down to the words."""
    found = arrow_evaluation.evaluate(rows, expectations)
    expected = evaluation.evaluator()(rows, expectations)
    for expectation, a, b in zip(expectations, found, expected, strict=True):
        assert (a.unexpected, a.problem is None) == (b.unexpected, b.problem is None), expectation
        assert checking.fault(expectation, a.values) == checking.fault(expectation, b.values)
    return found


@pytest.mark.parametrize(("stage", "frame"), FRAMES)
def test_both_give_one_verdict_of_any_rows(stage: str, frame: str) -> None:
    expectations = expectations_of(stage, frame)
    names = columns(expectations)
    row = st.fixed_dictionaries({c: st.sampled_from(pool(expectations, frame, c)) for c in names})

    @settings(
        max_examples=4,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(row, min_size=1, max_size=1 if frame == "counts" else 30))
    def agree(rows: list[dict[str, Any]]) -> None:
        both(table(frame, rows, names), expectations)

    agree()


@pytest.mark.parametrize(("stage", "frame"), FRAMES)
def test_both_find_each_rule_broken(stage: str, frame: str) -> None:
    expectations = expectations_of(stage, frame)
    names, rng = columns(expectations), np.random.default_rng(1)
    pools = {c: pool(expectations, frame, c) for c in names}
    rows = [{c: pools[c][rng.integers(len(pools[c]))] for c in names} for _ in range(500)]
    outcomes = both(table(frame, rows, names), expectations)
    kept = [e for e, o in zip(expectations, outcomes, strict=True) if not o.unexpected]
    assert not kept


@pytest.mark.parametrize("stage", STAGES)
def test_both_find_each_rule_kept(stage: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    candidate = world.candidate(stage)
    found = check(world.run, candidate, "arrow")
    assert found == check(world.run, candidate)
    assert all(result.success for result in found)


@pytest.mark.parametrize("stage", STAGES)
def test_both_find_the_same_where_nothing_can_be_read(stage: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    candidate = world.candidate(stage)
    candidate.counts.clear()
    for change in candidate.changes:
        for file in change.add:
            path = Path(world.run.lake.path(f"{change.table}/{file.path}"))
            path.write_bytes(b"x" * file.bytes)
    found, expected = check(world.run, candidate, "arrow"), check(world.run, candidate)
    assert [(r.rule, r.success) for r in found] == [(r.rule, r.success) for r in expected]
    assert not all(r.success for r in found)


def test_a_column_that_is_not_there_is_no_verdict() -> None:
    rows = pa.table({"there": [1.0]})
    where = Where("missing", "is", "x")
    asked = [
        *(Filled("missing"), Empty("missing"), OneOf("missing", ("a",)), Matches("missing", "a")),
        *(Between("missing", 0, 1), Equal("there", "missing"), AtLeast("missing", "there")),
        *(Filled("there", where), Between("there", 0, 1, where)),
    ]
    for outcome in both(rows, asked):
        assert outcome.problem is not None
        assert "missing" in outcome.problem


@pytest.mark.parametrize("value", ["text", None])
def test_a_column_of_another_type_breaks_what_is_asked_of_it(value: str | None) -> None:
    rows = pa.table({"a": pa.array([value], pa.string()), "b": [1]})
    asked: list[Expectation] = [Between("a", 0, 1), Equal("a", "b"), AtLeast("a", "b")]
    for expectation in asked:
        verdicts = {
            bool(outcome.unexpected) or outcome.problem is not None
            for evaluate in (arrow_evaluation.evaluate, evaluation.evaluator())
            for outcome in evaluate(rows, [expectation])
        }
        assert verdicts == {True} or value is None


def _imported(code: str, *modules: str) -> set[str]:
    script = f"import sys\n{code}\nprint('imported', *({{*sys.modules}} & {{*{modules!r}}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_naming_the_rules_costs_no_great_expectations_and_no_pandas() -> None:
    code = "import idedup_tasks.quality"
    assert _imported(code, "great_expectations", "pandas", "pyarrow", "numpy", "faiss") == set()
    code = "from idedup_tasks.pipeline import rule_names\nassert 'vectors_unit' in rule_names()"
    assert _imported(code, "great_expectations", "pandas", "faiss") == set()


def test_a_scan_imports_no_great_expectations(tmp_path: Path) -> None:
    from PIL import Image

    Image.effect_noise((40, 30), 80).save(tmp_path / "a.png")
    code = (
        "from idedup_tasks import api\n"
        f"api.scan({str(tmp_path)!r}, {str(tmp_path / 'out')!r}, device='cpu')\n"
    )
    assert _imported(code, "great_expectations") == set()
