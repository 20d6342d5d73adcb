"""Rules as Great Expectations evaluates them; nothing else imports it, or pandas for its sake."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import great_expectations as gx
import pyarrow as pa
from great_expectations.core import ExpectationValidationResult
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.expectations.core.expect_column_pair_values_a_to_be_greater_than_b import (
    ExpectColumnPairValuesAToBeGreaterThanB,
)
from great_expectations.expectations.core.expect_column_pair_values_to_be_equal import (
    ExpectColumnPairValuesToBeEqual,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import (
    ExpectColumnValuesToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_in_set import (
    ExpectColumnValuesToBeInSet,
)
from great_expectations.expectations.core.expect_column_values_to_be_null import (
    ExpectColumnValuesToBeNull,
)
from great_expectations.expectations.core.expect_column_values_to_match_regex import (
    ExpectColumnValuesToMatchRegex,
)
from great_expectations.expectations.core.expect_column_values_to_not_be_null import (
    ExpectColumnValuesToNotBeNull,
)
from great_expectations.expectations.expectation import Expectation as GreatExpectation
from great_expectations.expectations.row_conditions import Column, Condition

from idedup_tasks.quality.outcome import Evaluate, Outcome
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
)

# It sets a level of its own when it is imported, so the level of its parents does not reach it.
logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)


def evaluator() -> Evaluate:
    """What evaluates expectations over a batch of rows."""
    batch_definition = _batch_definition()

    def evaluate(rows: pa.Table, expectations: Sequence[Expectation]) -> list[Outcome]:
        # An expectation comes back as another object: its place says which it was.
        suite = gx.ExpectationSuite(
            name="rules",
            expectations=[
                _translated(expectation).copy(update={"meta": {"place": place}})
                for place, expectation in enumerate(expectations)
            ],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about what Great Expectations does
            found = batch_definition.get_batch({"dataframe": rows.to_pandas()}).validate(
                suite, result_format="SUMMARY"
            )
        outcomes: dict[int, Outcome] = {}
        for result in found.results:
            config = result.expectation_config
            assert config is not None
            assert config.meta is not None
            outcomes[config.meta["place"]] = _outcome(result)
        return [outcomes[place] for place in range(len(expectations))]

    return evaluate


def _batch_definition() -> BatchDefinition[Any]:
    """An ephemeral context: it keeps nothing and writes nothing."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("candidate").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("batch")


def _translated(e: Expectation) -> GreatExpectation:
    where: dict[str, Any] = {} if e.where is None else {"row_condition": _condition(e.where)}
    match e:
        case Filled(column):
            return ExpectColumnValuesToNotBeNull(column=column, **where)
        case Empty(column):
            return ExpectColumnValuesToBeNull(column=column, **where)
        case OneOf(column, values):
            return ExpectColumnValuesToBeInSet(column=column, value_set=list(values), **where)
        case Matches(column, regex):
            return ExpectColumnValuesToMatchRegex(column=column, regex=rf"\A(?:{regex})\Z", **where)
        case Between(column, low, high):
            return ExpectColumnValuesToBeBetween(
                column=column, min_value=low, max_value=high, **where
            )
        case Equal(left, right):
            return ExpectColumnPairValuesToBeEqual(column_A=left, column_B=right, **where)
        case AtLeast(left, right):
            return ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=left,
                column_B=right,
                or_equal=not e.strictly,
                ignore_row_if="either_value_is_missing",
                **where,
            )


def _condition(where: Where) -> Condition:
    column = Column(where.column)
    if where.sign == "is over":
        return column > where.value
    if isinstance(where.value, bool):
        # A condition takes no booleans: of a boolean column, 1 is true and 0 is false.
        values = [int(where.value)]
        return column.is_in(values) if where.sign == "is" else column.is_not_in(values)
    return column == where.value if where.sign == "is" else column != where.value


def _outcome(result: ExpectationValidationResult) -> Outcome:
    if result.success:
        return Outcome()
    problem = _exception(result.exception_info)
    if problem is not None:
        return Outcome(problem=problem)
    found = result.result
    return Outcome(found["unexpected_count"], found.get("partial_unexpected_list", []))


def _exception(info: dict[str, Any] | None) -> str | None:
    """Great Expectations gives one record, or one per metric that could not be computed."""
    if not info:
        return None
    records = [info] if "raised_exception" in info else list(info.values())
    for record in records:
        if record["raised_exception"]:
            return " ".join(str(record["exception_message"]).split())
    return None
