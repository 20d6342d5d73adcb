"""What an evaluator says of one expectation over one batch of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from idedup_tasks.quality.rules import Expectation

VALUES = 20  # unexpected values of a batch that an evaluator gives at most


@dataclass(frozen=True)
class Outcome:
    """What an evaluator says of one expectation over one batch.

    Attributes:
        unexpected: rows that are otherwise than expected.
        values: of the first `VALUES` of them, in their order; pairs where two columns are compared.
        problem: why it could not be evaluated, if it could not.
    """

    unexpected: int = 0
    values: Sequence[Any] = ()
    problem: str | None = None


Evaluate = Callable[[pa.Table, Sequence[Expectation]], list[Outcome]]
