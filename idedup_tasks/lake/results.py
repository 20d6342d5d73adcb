"""The columns of a collection's result: one row per object ever listed.

The report stage writes them as one Parquet file, and the pairs that were looked at as another; the
warehouse, `images.parquet`, `groups.csv` and `pairs.csv` are made from them.
"""

from __future__ import annotations

import pyarrow as pa

from idedup_tasks.lake.tables import TIMESTAMP

RESULTS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("arrival", pa.string(), nullable=False),  # name of the arrival period
        pa.field("key", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("arrived_at", TIMESTAMP, nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("taken_at", TIMESTAMP),
        pa.field("low_information", pa.bool_()),
        pa.field("status", pa.string(), nullable=False),  # active | collapsed | rejected
        pa.field("reason_code", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("verdict", pa.string()),  # unique | keeper | duplicate | variant; null: rejected
        pa.field("group_id", pa.string()),  # image_id of the group's earliest member
        pa.field("relation", pa.string()),  # to its keeper; see `tables.GROUPS`
        pa.field("method", pa.string()),
        pa.field("keeper_id", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("overlap", pa.float64()),
        pa.field("keeper_overlap", pa.float64()),
        pa.field("changed", pa.float64()),
        pa.field("place", pa.string()),
        pa.field("why", pa.string()),
    ]
)
# Every pair of images that are there which was looked at: the candidates, and each member of a
# group with its keeper. `image_a` < `image_b`.
PAIR_RESULTS = pa.schema(
    [
        pa.field("image_a", pa.string(), nullable=False),
        pa.field("image_b", pa.string(), nullable=False),
        pa.field("relation", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("overlap_a", pa.float64(), nullable=False),
        pa.field("overlap_b", pa.float64(), nullable=False),
        pa.field("changed", pa.float64(), nullable=False),
    ]
)
