"""Rules as Arrow evaluates them: the verdicts of Great Expectations without its seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from idedup_tasks.quality.outcome import VALUES, Outcome
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


def evaluate(rows: pa.Table, expectations: Sequence[Expectation]) -> list[Outcome]:
    """What each expectation says of a batch of rows."""
    return [_evaluated(rows, expectation) for expectation in expectations]


def _evaluated(rows: pa.Table, expectation: Expectation) -> Outcome:
    try:
        if expectation.where is not None:
            rows = rows.filter(_holds(rows, expectation.where))
        unexpected = pc.fill_null(_unexpected(rows, expectation), False)
    except (pa.ArrowException, KeyError) as error:
        return Outcome(problem=" ".join(str(error).strip("'\"").split()))
    columns = [rows[c].filter(unexpected)[:VALUES].to_pylist() for c in columns_of(expectation)]
    values = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    return Outcome(pc.sum(unexpected).as_py() or 0, values)


def _holds(rows: pa.Table, where: Where) -> pa.ChunkedArray:
    column = rows[where.column]
    if where.sign == "is over":
        return pc.fill_null(pc.greater(column, where.value), False)
    equal = pc.fill_null(pc.equal(column, where.value), False)
    return equal if where.sign == "is" else pc.invert(equal)


def _unexpected(rows: pa.Table, expectation: Expectation) -> pa.ChunkedArray:
    """Where a batch is otherwise than expected; a null is no."""
    match expectation:
        case Filled(column):
            return _missing(rows[column])
        case Empty(column):
            return pc.invert(_missing(rows[column]))
        case OneOf(column, values):
            known = pa.array(values, rows[column].type)
            return pc.invert(_or_missing(pc.is_in(rows[column], known), rows[column]))
        case Matches(column, regex):
            return pc.invert(pc.match_substring_regex(rows[column], rf"\A(?:{regex})\z"))
        case Between(column, low, high):
            outside: Any = pa.scalar(False)
            if low is not None:
                outside = pc.less(rows[column], low)
            if high is not None:
                outside = pc.or_(outside, pc.greater(rows[column], high))
            return outside
        case Equal(left, right):
            a, b = rows[left], rows[right]
            same = pc.fill_null(pc.equal(a, b), False)
            both_missing = pc.and_(_missing(a), _missing(b))
            return pc.invert(pc.or_(same, both_missing))
        case AtLeast(left, right, strictly=strictly):
            return (pc.less_equal if strictly else pc.less)(rows[left], rows[right])


def _missing(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_null(values, nan_is_null=True)


def _or_missing(holds: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.or_(holds, _missing(values))
