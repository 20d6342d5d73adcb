"""What the source lists, sorted into arrival periods on disk instead of in memory."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Self

import numpy as np

from idedup_tasks.ids import among, fixed, image_id
from idedup_tasks.lake import Snapshot
from idedup_tasks.periods import in_window, period_of
from idedup_tasks.run import Run
from idedup_tasks.settings import Collection
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


def placement(collection: Collection) -> Callable[[SourceObject], Listed]:
    """The function that gives an object of a collection its place in the lake.

    An object whose key lacks the date that the rule of arrival asks for has a `problem`, so that it
    is rejected with its reason, in the period in which it was modified.
    """
    arrival = collection.arrival
    date_of = None if arrival.template is None else _date_in_key(arrival.template)

    def place(entry: SourceObject) -> Listed:
        moment = entry.modified_at if date_of is None else date_of(entry.key)
        if moment is None:
            moment = entry.modified_at
            undated = (
                f"Its key lacks the date that `arrival` asks for ({arrival.template}): move it, or "
                "mend the template."
            )
            entry = replace(entry, problem=entry.problem or undated)
        name = image_id(collection.name, entry.key)
        return Listed(name, period_of(moment, arrival.period), moment, entry)

    return place


def _date_in_key(template: str) -> Callable[[str], datetime | None]:
    """The function that reads the date off a key; it gives None where there is none."""
    digits = {"year": r"\d{4}", "month": r"\d{2}", "day": r"\d{2}", "hour": r"\d{2}"}
    pattern = re.escape(template)
    for name, number in digits.items():
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{number})", 1)
    dated = re.compile(pattern)

    def date_of(key: str) -> datetime | None:
        found = dated.search(key)
        if found is None:
            return None
        parts = {"day": 1, "hour": 0} | {k: int(v) for k, v in found.groupdict().items()}
        try:
            return datetime(**parts, tzinfo=UTC)
        except ValueError:  # such as month 13
            return None

    return date_of


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
        for moment, identity, text in self._rows.execute(query, (arrival,)):
            fields = json.loads(text)
            fields["modified_at"] = datetime.fromisoformat(fields["modified_at"])
            arrived_at = _EPOCH + moment * _MICROSECOND
            yield Listed(identity, arrival, arrived_at, SourceObject(**fields))


class OutsideWindow:
    """Counts objects outside the window that the lake lacks, at eight bytes an image held."""

    def __init__(self, snapshot: Snapshot, run: Run) -> None:
        # Ids by where the lake has them: in a period of the window, or in their own outside it.
        self._within = self._known = np.empty(0, dtype=np.uint64)
        within, known = [self._within], [self._known]
        for named in snapshot.partitions() if run.window is not None else ():
            arrival = named["arrival"]
            inside = in_window(arrival, run.window, run.collection.arrival.period)
            for batch in snapshot.scan(["image_id"], files=snapshot.files(arrival=arrival)):
                short = _short(fixed(batch["image_id"], 32))
                (within if inside else known).append(short if inside else short ^ _salt(arrival))
        self._within, self._known = (np.unique(np.concatenate(ids)) for ids in (within, known))
        self._pending: list[Listed] = []
        self._counts: dict[str, int] = {}
        self._moved: set[str] = set()

    def add(self, listed: Listed) -> None:
        self._pending.append(listed)
        if len(self._pending) >= 10_000:
            self._settle()

    def _settle(self) -> None:
        short = _short(np.array([p.image_id for p in self._pending], "S32"))
        salted = short ^ np.array([_salt(p.arrival) for p in self._pending], dtype=np.uint64)
        moved, known = among(short, self._within), among(salted, self._known)
        for listed, left, here in zip(self._pending, moved, known, strict=True):
            if left:
                self._moved.add(listed.image_id)
            if not here:
                self._counts[listed.arrival] = self._counts.get(listed.arrival, 0) + 1
        self._pending.clear()

    def lacking(self) -> tuple[dict[str, int], frozenset[str]]:
        """Number of objects the lake lacks where they belong, by arrival period; and the ids of
        those that it has in a period of the window, though they have left that."""
        if self._pending:
            self._settle()
        return dict(sorted(self._counts.items())), frozenset(self._moved)


@lru_cache(maxsize=100_000)
def _salt(arrival: str) -> np.uint64:
    """Tells an image that is in one period from the same in another."""
    hashed = hashlib.blake2b(arrival.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(hashed, "big"))


def _short(ids: np.ndarray) -> np.ndarray:
    """(n,) uint64: the first 16 hex digits of (n,) S32 ids."""
    every = np.frombuffer(bytes.fromhex(ids.tobytes().decode()), ">u8")
    return every[::2].astype(np.uint64)
