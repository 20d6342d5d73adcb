"""What the source lists, sorted into arrival periods on disk instead of in memory."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from idedup_tasks.periods import period_of
from idedup_tasks.settings import Arrival
from idedup_tasks.sources import SourceObject

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Listed:
    """An object of the source with its place in the lake."""

    image_id: str
    arrival: str
    arrived_at: datetime
    entry: SourceObject


def arrival_rule(arrival: Arrival) -> Callable[[SourceObject], tuple[str, datetime]]:
    """The function from an object to the name of its arrival period and its arrival (UTC).

    A key without the date that `template` asks for arrives when it was modified: a file in the
    wrong folder is still an image, and is looked at.
    """

    def modified(entry: SourceObject) -> tuple[str, datetime]:
        return period_of(entry.modified_at, arrival.period), entry.modified_at

    if arrival.template is None:
        return modified
    digits = {"year": r"\d{4}", "month": r"\d{2}", "day": r"\d{2}", "hour": r"\d{2}"}
    pattern = re.escape(arrival.template)
    for name, number in digits.items():
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{number})", 1)
    dated = re.compile(pattern)

    def from_key(entry: SourceObject) -> tuple[str, datetime]:
        found = dated.search(entry.key)
        if found is None:
            return modified(entry)
        parts = {"day": 1, "hour": 0} | {k: int(v) for k, v in found.groupdict().items()}
        try:
            moment = datetime(**parts, tzinfo=UTC)
        except ValueError:  # such as month 13
            return modified(entry)
        return period_of(moment, arrival.period), moment

    return from_key


class Listing:
    """The objects of a window, kept in a scratch SQLite file: a first load lists millions."""

    def __init__(self) -> None:
        # An empty name is SQLite's own temporary database: it spills to disk when it is large,
        # and is gone when it is closed.
        self._rows = sqlite3.connect("")
        self._rows.execute(
            "CREATE TABLE object (arrival TEXT, arrived_us INTEGER, image_id TEXT, entry TEXT)"
        )
        self._pending: list[tuple[str, int, str, str]] = []
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def __len__(self) -> int:
        return self._count

    def add(self, listed: Listed) -> None:
        entry = asdict(listed.entry) | {"modified_at": listed.entry.modified_at.isoformat()}
        moment = (listed.arrived_at - _EPOCH) // _MICROSECOND
        # JSON in ASCII keeps file names that are not valid UTF-8 as they are.
        self._pending.append((listed.arrival, moment, listed.image_id, json.dumps(entry)))
        self._count += 1
        if len(self._pending) >= 10_000:
            self._settle()

    def finish(self) -> None:
        """Everything is listed; index it for reading."""
        self._settle()
        self._rows.execute("CREATE INDEX by_arrival ON object (arrival, arrived_us)")
        self._rows.execute("CREATE INDEX by_id ON object (image_id)")

    def _settle(self) -> None:
        self._rows.executemany("INSERT INTO object VALUES (?, ?, ?, ?)", self._pending)
        self._pending.clear()

    def arrivals(self) -> list[str]:
        """The arrival periods listed, in order."""
        return [row[0] for row in self._rows.execute("SELECT DISTINCT arrival FROM object")]

    def holds(self, image_id: str) -> bool:
        query = "SELECT 1 FROM object WHERE image_id = ?"
        return self._rows.execute(query, (image_id,)).fetchone() is not None

    def partition(self, arrival: str) -> Iterator[Listed]:
        """The objects of one period, in order of arrival, then id."""
        query = (
            "SELECT arrived_us, image_id, entry FROM object WHERE arrival = ?"
            " ORDER BY arrived_us, image_id"
        )
        for moment, image_id, text in self._rows.execute(query, (arrival,)):
            fields = json.loads(text)
            fields["modified_at"] = datetime.fromisoformat(fields["modified_at"])
            arrived_at = _EPOCH + moment * _MICROSECOND
            yield Listed(image_id, arrival, arrived_at, SourceObject(**fields))
