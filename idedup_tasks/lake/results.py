"""The columns of a collection's result: one row per object ever listed.

The report stage writes them as one Parquet file; the warehouse, `images.parquet` and `groups.csv`
are made from it.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

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


def uncertain(rows: pa.Table, margin: float) -> pa.ChunkedArray:
    """Which near duplicates to look at first: those whose similarity to the image they matched, or
    to the keeper, is less than `margin` above the threshold that their match reached.

    The same as in sql/views/33_member_evidence.sql. Scores have four decimals: half of the last one
    stands for how binary fractions are rounded.

    Args:
        rows: relation, score, score_to_keeper and threshold of results, one row per image.

    Returns:
        bool for each row, never null.
    """
    least = pc.min_element_wise(rows["score"], rows["score_to_keeper"])
    close = pc.less(pc.subtract(least, rows["threshold"]), margin - 0.00005)
    return pc.fill_null(pc.and_(pc.equal(rows["relation"], "near"), close), False)
