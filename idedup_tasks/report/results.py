"""The columns of a collection's result: one row per object ever listed.

The report stage writes them as one Parquet file; the warehouse, `images.parquet` and `groups.csv`
are made from it.
"""

from __future__ import annotations

import pyarrow as pa

from idedup_tasks.lake import TIMESTAMP

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
        pa.field("verdict", pa.string()),  # unique | keeper | duplicate; null when rejected
        pa.field("group_id", pa.string()),  # image_id of the group's earliest member
        pa.field("relation", pa.string()),  # exact | perceptual | near; duplicates only
        pa.field("method", pa.string()),
        pa.field("matched_id", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("keeper_id", pa.string()),
        pa.field("score_to_keeper", pa.float64()),
    ]
)
