"""Keys are told apart by hashes that are the same in every batch, missing values among them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from idedup_tasks.quality.counting import row_hashes

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["a", "b", None, "a"], pa.string()),
        ([1, 2, None, 1], pa.int64()),
        ([0.5, 2.0, None, 0.5], pa.float64()),
        ([MOMENT, datetime(2026, 1, 3, tzinfo=UTC), None, MOMENT], pa.timestamp("us", "UTC")),
    ],
)
def test_equal_keys_have_equal_hashes(values: list[Any], type_: pa.DataType) -> None:
    def hashes(some: list[Any]) -> list[int]:
        columns = [pa.array(some, type_), pa.array(["x"] * len(some))]
        batch = pa.RecordBatch.from_arrays(columns, ["key", "other"])
        return [int(value) for value in row_hashes(batch, ("key", "other"))]

    together = hashes(values)
    assert together[0] == together[3]
    assert len(set(together)) == 3
    assert [hashes([value])[0] for value in values] == together
