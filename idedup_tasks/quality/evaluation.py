"""Evaluate a suite with Great Expectations, frame by frame and batch by batch."""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.core import ExpectationValidationResult
from great_expectations.core.batch_definition import BatchDefinition

from idedup_tasks.lake import Candidate
from idedup_tasks.quality import RuleResult
from idedup_tasks.quality.facts import facts
from idedup_tasks.quality.frames import frames
from idedup_tasks.quality.suites import Rule, suite
from idedup_tasks.run import Run

# It sets a level of its own when it is imported, so the level of its parents does not reach it.
logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)

_SHOWN = 3  # of unexpected values, and of faults of one rule


@dataclass
class _Finding:
    """What the batches so far say of one rule."""

    rows: int = 0
    faults: dict[str, int] = field(default_factory=dict)  # what is wrong: in how many rows
    values: dict[str, str] = field(default_factory=dict)  # of a frame of one row

    def observed(self) -> str:
        if self.faults:
            shown = [
                f"{what} ({times:,} of {self.rows:,} rows)" if times else what
                for what, times in list(self.faults.items())[:_SHOWN]
            ]
            more = len(self.faults) - len(shown)
            return "; ".join(shown) + (f"; and {more} more" if more else "")
        if self.values:
            return ", ".join(f"{name} {value}" for name, value in self.values.items())
        return f"holds in {self.rows:,} rows" if self.rows else "no rows to check"


def evaluate(run: Run, candidate: Candidate) -> list[RuleResult]:
    """See `idedup_tasks.quality.check`."""
    rules = suite(run, candidate)
    findings = {rule.name: _Finding() for rule in rules}
    by_frame: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        by_frame[rule.frame].append(rule)
    batch_definition = _batch_definition()
    for frame, of_frame in by_frame.items():
        _evaluate_frame(run, candidate, frame, of_frame, findings, batch_definition)
    return [
        RuleResult(
            rule.name,
            rule.severity,
            not findings[rule.name].faults,
            findings[rule.name].observed(),
            rule.wants,
        )
        for rule in rules
    ]


def _batch_definition() -> BatchDefinition:
    """An ephemeral context: it keeps nothing and writes nothing."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("candidate").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("batch")


def _evaluate_frame(
    run: Run,
    candidate: Candidate,
    frame: str,
    rules: list[Rule],
    findings: dict[str, _Finding],
    batch_definition: BatchDefinition,
) -> None:
    # An expectation comes back as another object; its place in the suite leads to its rule.
    owners = [rule.name for rule in rules for _ in rule.expectations]
    expectations = [
        e.copy(update={"meta": {"place": place}})
        for place, e in enumerate(e for rule in rules for e in rule.expectations)
    ]
    expected = gx.ExpectationSuite(name=frame, expectations=expectations)
    try:
        for rows in _batches(run, candidate, frame):
            if rows.empty:
                continue
            for name in set(owners):
                findings[name].rows += len(rows)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pandas, about what Great Expectations does
                results = batch_definition.get_batch({"dataframe": rows}).validate(
                    expected, result_format="SUMMARY"
                )
            for result in results.results:
                config = result.expectation_config
                assert config is not None and config.meta is not None
                finding = findings[owners[config.meta["place"]]]
                _take(finding, config.kwargs, result, rows if frame == "counts" else None)
    except Exception as error:
        # A gate that cannot look does not open: the rows that cannot be read are the finding.
        for name in set(owners):
            findings[name].faults[f"not evaluated: {type(error).__name__}: {error}"[:500]] = 0


def _batches(run: Run, candidate: Candidate, frame: str) -> Iterator[pd.DataFrame]:
    if frame == "counts":
        yield pd.DataFrame([facts(run, candidate)])
    else:
        yield from frames(run, candidate, frame)


def _take(
    finding: _Finding,
    kwargs: dict[str, Any],
    result: ExpectationValidationResult,
    row: pd.DataFrame | None,
) -> None:
    """Add one expectation's result over one batch to its rule's finding."""
    columns = [kwargs[c] for c in ("column", "column_A", "column_B") if c in kwargs]
    name = " and ".join(columns)
    if row is not None:
        present = {c: _shown(row[c].iloc[0]) for c in columns if c in row}
        finding.values.update(present)
    if result.success:
        return
    message = _exception(result.exception_info)
    if message is not None:
        finding.faults[f"{name} not evaluated: {message}"[:500]] = 0
    elif row is not None:
        finding.faults[", ".join(f"{c} {v}" for c, v in present.items())] = 0
    else:
        what = _fault(name, kwargs, result.result)
        finding.faults[what] = finding.faults.get(what, 0) + result.result["unexpected_count"]


def _fault(name: str, kwargs: dict[str, Any], result: dict[str, Any]) -> str:
    where = f" where {kwargs['row_condition']}" if kwargs.get("row_condition") else ""
    values = [v for v in result.get("partial_unexpected_list", []) if not _missing(v)]
    distinct = list(dict.fromkeys(_shown(v) for v in values))[:_SHOWN]
    return f"{name} is {', '.join(distinct) or 'missing'}{where}"


def _exception(info: dict[str, Any] | None) -> str | None:
    """Great Expectations gives one record, or one per metric that could not be computed."""
    if not info:
        return None
    records = [info] if "raised_exception" in info else list(info.values())
    for record in records:
        if record["raised_exception"]:
            return " ".join(str(record["exception_message"]).split())
    return None


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " against ".join(_shown(v) for v in value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return f"{value:,.6g}" if value % 1 else f"{value:,.0f}"
    return (
        f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{value}"[:80]
    )
