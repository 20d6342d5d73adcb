"""Jobs for the workers of `test_compute`, which import them by name."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Any

from idedup_tasks import compute
from idedup_tasks.isolation import Failure, map_isolated


def crash_if_odd(number: int) -> int:
    """Stands in for a decoder."""
    if number % 2:
        ctypes.string_at(0)
    if number == 4:
        time.sleep(600)
    return os.getpid()


def isolated(count: int) -> dict[str, Any]:
    """What came of items that crash or hang, and the process that survived them."""
    results = map_isolated(crash_if_odd, range(count), processes=1, timeout_s=10)
    kinds = [r.kind if isinstance(r, Failure) else "done" for r in results]
    return {"pid": os.getpid(), "kinds": kinds}


def squared(number: int) -> int:
    compute.advance(number)
    return number**2


def fail(number: int) -> int:
    raise LookupError(f"no such thing as {number}")


def share(number: int) -> tuple[int, int, int]:
    """Process, number of objects made by `once` in it, cores for one job."""
    made = compute.once(_Counted)
    return os.getpid(), made.count, compute.cores_of_job()


class _Counted:
    made = 0
    _lock = threading.Lock()

    def __init__(self) -> None:
        with self._lock:
            type(self).made += 1
        self.count = type(self).made
