"""Arrival periods: the hours, days or months (UTC) that a collection's images are cut into."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

Period = Literal["hour", "day", "month"]


def period_of(moment: datetime, period: Period) -> str:
    """Name of the arrival period that holds a UTC moment: `2026-01-31`, `2026-01`, `2026-01-31T09`.

    The names sort as the periods do and need no quoting in paths.
    """
    # Not strftime, which on Linux writes the year 999 in three digits.
    length = {"hour": 13, "day": 10, "month": 7}
    return moment.isoformat()[: length[period]]


def in_window(arrival: str, window: tuple[datetime, datetime] | None, period: Period) -> bool:
    """Whether a period overlaps a half-open window. A period is never brought up to date in part.

    Names of periods sort as the periods do.
    """
    if window is None:
        return True
    start, end = window
    if end <= start:
        return False
    return period_of(start, period) <= arrival <= period_of(end - timedelta(microseconds=1), period)


def periods_named(periods: Mapping[str, int], most: int = 12) -> str:
    """`2026-01-01 (3), 2026-01-02 (14) and 40 more periods`."""
    named = [f"{name} ({count:,})" for name, count in sorted(periods.items())[:most]]
    rest = len(periods) - len(named)
    return ", ".join(named) + (f" and {rest} more periods" if rest > 0 else "")
