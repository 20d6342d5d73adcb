"""How values are written, so that both databases hold the same and give the same back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

_JSON_COLUMNS = frozenset({"card", "counts", "warnings", "versions_read", "versions_written"})
_BOOLEAN_COLUMNS = frozenset(
    {"success", "is_keeper", "is_keeper_pair", "low_information", "variants_reclaimable"}
)
_TIME_COLUMNS = frozenset({"window_start", "window_end", "period_start"})  # and all `…_at`


def utc_text(moment: datetime | None) -> str | None:
    """UTC text that both databases take for a time and that sorts as time does."""
    if moment is None:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def storable(text: str | None) -> str | None:
    """PostgreSQL stores no NUL, and messages of image decoders have some."""
    return None if text is None else str(text).replace("\x00", "\ufffd")


def json_text(content: Any) -> str:
    # A NaN is no JSON; counts have none, and a ratio that does is better refused here.
    return json.dumps(content, sort_keys=True, allow_nan=False).replace("\\u0000", "\\ufffd")


def parsed(value: Any) -> Any:
    """JSON as Python values; PostgreSQL's driver has parsed it already."""
    return json.loads(value) if isinstance(value, str) else value


def read_value(column: str, value: Any) -> Any:
    """A column's value as an aware UTC datetime, bool or parsed JSON where the column is one."""
    if value is None:
        return None
    if column in _JSON_COLUMNS:
        return parsed(value)
    if column in _BOOLEAN_COLUMNS:
        return bool(value)
    if column.endswith("_at") or column in _TIME_COLUMNS:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return value
