"""The gates: what a candidate must satisfy before anybody reads it.

    >>> results = check(run, candidate, rules, facts)
    >>> [r.rule for r in results if not r.success and r.severity == "error"]

`rules` are the words that a stage's rules are written in, and cost nothing to name; `counting` and
`frames` read what they are about from the lake; `checking` walks a stage's rules over it, and asks
Great Expectations (`evaluation`, the only place that knows it: its import takes seconds) or Arrow
(`arrow_evaluation`) whether they hold. The verdicts are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from idedup_tasks.quality.rules import Evaluator, Rule, RuleResult, Severity

if TYPE_CHECKING:
    from idedup_tasks.lake import Candidate
    from idedup_tasks.run import Run


def check(
    run: Run,
    candidate: Candidate,
    rules: Sequence[Rule],
    facts: Callable[[Run, Candidate], Mapping[str, Any]],
    evaluator: Evaluator = "great_expectations",
) -> list[RuleResult]:
    """Check a candidate against its stage's rules.

    The rows that the candidate would add are read in batches; what must hold over the whole table
    is computed from eight bytes a row (see `counting`). Nothing is written.

    Args:
        run: the run whose gate this is; the names in its collection's `quality.warn_only` become
            warnings.
        candidate: what the stage prepared.
        rules: of its stage.
        facts: what the lake says that the candidate's counts must agree with.

    Returns:
        One result per rule, in the order of `rules`.
    """
    from idedup_tasks.quality import checking

    return checking.check(run, candidate, rules, facts, evaluator)


__all__ = ["Evaluator", "Rule", "RuleResult", "Severity", "check"]
