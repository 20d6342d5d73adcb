"""The processes of one Airflow, ended together: `python -m idedup_tasks.quickstart.guard LOGS`.

The guard ends its children, and whatever they started, when its standard input closes: that is when
it is told to, and also when the process that started it was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

_AIRFLOW = [sys.executable, "-m", "airflow"]
# Tasks are forks of the scheduler. What every gate imports, seconds of it, it imports once.
_SCHEDULER = (
    "import sys, idedup_tasks.quality.evaluation, idedup_tasks.warehouse\n"
    "from airflow.__main__ import main\n"
    "sys.argv[0] = 'airflow'\n"
    "main()"
)
_COMPONENTS = {
    "api-server": [*_AIRFLOW, "api-server"],
    # Log files are read from disk: their servers would listen on every address.
    "scheduler": [sys.executable, "-c", _SCHEDULER, "scheduler", "--skip-serve-logs"],
    "dag-processor": [*_AIRFLOW, "dag-processor"],
    "triggerer": [*_AIRFLOW, "triggerer", "--skip-serve-logs"],
}
_GRACE_SECONDS = 15
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def guard(logs: Path) -> int:
    """Run the components until standard input closes or one of them ends; leave no process."""
    if sys.platform == "linux":
        # Orphans of the components become the guard's, so that it can end them too.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: asked.set())
    components: dict[int, str] = {}
    ended = None
    try:
        for name, command in _COMPONENTS.items():
            with (logs / f"{name}.log").open("ab") as log:
                process = subprocess.Popen(  # noqa: S603 - fixed arguments
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            components[process.pid] = name
        while ended is None and not asked.is_set() and not _closed(sys.stdin.fileno()):
            ended = next((components[pid] for pid in _reap() if pid in components), None)
    finally:
        _end(list(components))
    if ended is not None:
        with contextlib.suppress(BrokenPipeError):
            os.write(sys.stdout.fileno(), ended.encode())
    return 0 if ended is None else 1


def _closed(descriptor: int) -> bool:
    """Wait a moment; say whether the other end of the pipe was closed."""
    readable, _, _ = select.select([descriptor], [], [], 0.2)
    return bool(readable) and not os.read(descriptor, 1)


def _reap() -> Iterator[int]:
    """Ids of children that ended, adopted ones included."""
    with contextlib.suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            yield pid


def _end(components: list[int]) -> None:
    """Ask the components to end, and make everything end that is still there after a while."""
    for pid in components:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while left := _descendants():
        if time.monotonic() > deadline:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        list(_reap())
        time.sleep(0.1)


def _descendants() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE
    ]


if __name__ == "__main__":
    sys.exit(guard(Path(sys.argv[1])))
