"""The gates: what a candidate must satisfy before anybody reads it.

    >>> results = check(run, candidate)
    >>> [r.rule for r in results if not r.success and r.severity == "error"]

`suites` says what is checked, in one place; `facts` computes from the lake what a candidate's
counts must agree with; `frames` streams the rows a candidate would add. Great Expectations is
imported by `check` only: it takes seconds, and naming the gates must not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from idedup_tasks.lake import Candidate
    from idedup_tasks.run import Run

Severity = Literal["error", "warn"]


@dataclass(frozen=True)
class RuleResult:
    """What one rule found.

    Attributes:
        rule: its name, unique over all stages.
        severity: `error` keeps the candidate from being published; `warn` is only shown.
        success: whether the rule holds; a rule that could not be evaluated does not hold.
        observed: what was found, in words.
        expected: what the rule wants, in words.
    """

    rule: str
    severity: Severity
    success: bool
    observed: str
    expected: str


def check(run: Run, candidate: Candidate) -> list[RuleResult]:
    """Check a candidate against its stage's suite.

    The rows that the candidate would add are read in batches; what must hold over the whole table
    is computed from eight bytes a row (see `facts`). Nothing is written.

    Args:
        run: the run whose gate this is; its collection's `quality` settings hold the limits, and
            the names in `quality.warn_only` become warnings.
        candidate: what the stage prepared.

    Returns:
        One result per rule of the suite, in the suite's order.

    Raises:
        ValueError: the candidate's stage has no suite.
    """
    _without_analytics()
    from idedup_tasks.quality.evaluation import evaluate

    return evaluate(run, candidate)


def rule_names() -> frozenset[str]:
    """The names that `quality.warn_only` of a collection may hold."""
    _without_analytics()
    from idedup_tasks.quality.suites import names

    return names()


def _without_analytics() -> None:
    # Before the first import: Great Expectations reads it then.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"


__all__ = ["RuleResult", "Severity", "check", "rule_names"]
