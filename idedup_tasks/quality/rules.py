"""The words that rules are written in; each stage writes its own in `stages/<stage>/rules.py`.

A rule has a name that is unique over all stages (`quality.warn_only` of a collection names it), the
frame it looks at, what it wants in words, and the expectations that say the same exactly:

- a table's name: the rows that the candidate would add to it, in batches;
- `results`: the rows of a report's result file, in batches;
- `files`: one row per data file, as its footer has it;
- `counts`: one row, the candidate's counts beside what the lake says (`stages/<stage>/facts.py`).

A frame without rows breaks no rule: an interval in which nothing arrived is a green run.

Missing, below, is a null or a NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Severity = Literal["error", "warn"]
Evaluator = Literal["great_expectations", "arrow"]

ID = "[0-9a-f]{32}"
SHA256 = "[0-9a-f]{64}"


@dataclass(frozen=True)
class Where:
    """The rows that an expectation is about; a missing value is not equal to anything."""

    column: str
    sign: Literal["is", "is not", "is over"]
    value: str | bool | int

    def __str__(self) -> str:
        return f"{self.column} {self.sign} {self.value}"


@dataclass(frozen=True)
class Filled:
    """No value is missing."""

    column: str
    where: Where | None = None


@dataclass(frozen=True)
class Empty:
    """Every value is missing."""

    column: str
    where: Where | None = None


@dataclass(frozen=True)
class OneOf:
    """Each value is one of these; one that is missing passes."""

    column: str
    values: tuple[str | bool, ...]
    where: Where | None = None


@dataclass(frozen=True)
class Matches:
    """The regular expression fits each text from its beginning to its end; a missing one passes."""

    column: str
    regex: str
    where: Where | None = None


@dataclass(frozen=True)
class Between:
    """Each value is `low` or more and `high` or less; one that is missing passes."""

    column: str
    low: float | datetime | None
    high: float | datetime | None
    where: Where | None = None


@dataclass(frozen=True)
class Equal:
    """Both columns hold the same in each row; where both are missing, they do."""

    left: str
    right: str
    where: Where | None = None


@dataclass(frozen=True)
class AtLeast:
    """`left` is as large as `right` in each row or, `strictly`, larger; passes where one lacks."""

    left: str
    right: str
    where: Where | None = None
    strictly: bool = False


Expectation = Filled | Empty | OneOf | Matches | Between | Equal | AtLeast


@dataclass(frozen=True)
class Rule:
    """One rule; see the module's first lines."""

    name: str
    frame: str
    wants: str
    expectations: tuple[Expectation, ...]
    severity: Severity = "error"


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


def as_declared(name: str) -> Rule:
    """Data files hold the declared columns and as many rows as their commit says."""
    return Rule(
        f"{name}_schema",
        "files",
        "columns and rows as declared",
        (one_of("schema", "as declared"), Equal("rows", "rows_stated")),
    )


def filled(*columns: str, where: Where | None = None) -> tuple[Filled, ...]:
    return tuple(Filled(column, where) for column in columns)


def empty(*columns: str, where: Where | None = None) -> tuple[Empty, ...]:
    return tuple(Empty(column, where) for column in columns)


def one_of(column: str, *values: str | bool, where: Where | None = None) -> OneOf:
    return OneOf(column, values, where)


def zero(column: str) -> Between:
    return Between(column, 0, 0)


def columns_of(expectation: Expectation) -> tuple[str, ...]:
    """The one or two columns that an expectation looks at, its condition aside."""
    if isinstance(expectation, Equal | AtLeast):
        return expectation.left, expectation.right
    return (expectation.column,)
