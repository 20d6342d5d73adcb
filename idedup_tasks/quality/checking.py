"""Walk a stage's rules over a candidate, frame by frame and batch by batch, and put what was found
into words; whether an expectation holds in a batch is for an evaluator to say."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from idedup_tasks.lake import Candidate
from idedup_tasks.quality.frames import frames
from idedup_tasks.quality.outcome import Evaluate
from idedup_tasks.quality.rules import Evaluator, Expectation, Rule, RuleResult, columns_of
from idedup_tasks.run import Run

_SHOWN = 3  # of unexpected values, and of faults of one rule

Facts = Callable[[Run, Candidate], Mapping[str, Any]]


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


def check(
    run: Run, candidate: Candidate, rules: Sequence[Rule], facts: Facts, evaluator: Evaluator
) -> list[RuleResult]:
    """See `idedup_tasks.quality.check`."""
    demoted = run.collection.quality.warn_only
    findings = {rule.name: _Finding() for rule in rules}
    by_frame: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        by_frame[rule.frame].append(rule)
    evaluate = _evaluate(evaluator)
    for frame, of_frame in by_frame.items():
        try:
            for rows in _batches(run, candidate, facts, frame):
                if rows.num_rows:
                    _check_batch(rows, frame, of_frame, findings, evaluate)
        except Exception as error:
            # A gate that cannot look does not open: the rows that cannot be read are the finding.
            for rule in of_frame:
                fault = f"not evaluated: {type(error).__name__}: {error}"[:500]
                findings[rule.name].faults[fault] = 0
    return [
        RuleResult(
            rule.name,
            "warn" if rule.name in demoted else rule.severity,
            not findings[rule.name].faults,
            findings[rule.name].observed(),
            rule.wants,
        )
        for rule in rules
    ]


def _evaluate(evaluator: Evaluator) -> Evaluate:
    if evaluator == "arrow":
        from idedup_tasks.quality import arrow_evaluation

        return arrow_evaluation.evaluate
    # Before its first import: Great Expectations reads it then.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    from idedup_tasks.quality import evaluation

    return evaluation.evaluator()


def _batches(run: Run, candidate: Candidate, facts: Facts, frame: str) -> Iterator[pa.Table]:
    if frame == "counts":
        # The candidate's own counts, and beside them what the lake says.
        counts = {k: v for k, v in candidate.counts.items() if isinstance(v, int | float)}
        yield pa.Table.from_pylist([{**counts, **facts(run, candidate)}])
    else:
        yield from frames(run, candidate, frame)


def _check_batch(
    rows: pa.Table,
    frame: str,
    rules: Sequence[Rule],
    findings: Mapping[str, _Finding],
    evaluate: Evaluate,
) -> None:
    """Add what one batch says to the findings."""
    for rule in rules:
        findings[rule.name].rows += rows.num_rows
    asked = [(rule.name, expectation) for rule in rules for expectation in rule.expectations]
    outcomes = evaluate(rows, [expectation for _, expectation in asked])
    for (name, expectation), outcome in zip(asked, outcomes, strict=True):
        finding, columns = findings[name], columns_of(expectation)
        counts = {}
        if frame == "counts":
            counts = {c: _shown(rows[c][0].as_py()) for c in columns if c in rows.column_names}
            finding.values.update(counts)
        if outcome.problem is not None:
            what = f"{' and '.join(columns)} not evaluated: {outcome.problem}"[:500]
            finding.faults[what] = 0
        elif outcome.unexpected and frame == "counts":
            finding.faults[", ".join(f"{c} {v}" for c, v in counts.items())] = 0
        elif outcome.unexpected:
            what = fault(expectation, outcome.values)
            finding.faults[what] = finding.faults.get(what, 0) + outcome.unexpected


def fault(expectation: Expectation, values: Sequence[Any]) -> str:
    """What is wrong, in words, from the unexpected values of an outcome."""
    where = f" where {expectation.where}" if expectation.where else ""
    distinct = dict.fromkeys(_shown(v) for v in values if not _missing(v))
    shown = ", ".join(list(distinct)[:_SHOWN]) or "missing"
    return f"{' and '.join(columns_of(expectation))} is {shown}{where}"


def _missing(value: object) -> bool:
    return value is None or value != value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " against ".join(_shown(v) for v in value)
    if hasattr(value, "item"):
        value = value.item()
    if _missing(value):
        return "missing"
    if isinstance(value, float):
        return f"{value:,.6g}" if value % 1 else f"{value:,.0f}"
    return (
        f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{value}"[:80]
    )
