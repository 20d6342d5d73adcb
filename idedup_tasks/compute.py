"""Where work runs: in this process, or on Dask workers when a scheduler is named.

A stage hands `run_jobs` a function and a stream of jobs and takes the results in the same order;
nothing else in it depends on where the function runs. `IDEDUP_DASK_SCHEDULER` names a scheduler
(tcp:// or tls://; with `IDEDUP_DASK_TLS_CA`, `_CERT` and `_KEY` for the latter).

A function is importable by name and computes a result from its job alone, so it does not matter
which worker runs it, or how often. Jobs and results are small: names of objects and of data files
go out, descriptions of data files come back. What is large, workers read from the source and write
to the lake themselves. A job never holds a credential (see `connections.Access`), because it is
pickled, sent and kept by the scheduler.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from idedup_tasks.errors import TransientError
from idedup_tasks.extras import require
from idedup_tasks.settings import SettingsError

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

Context = TypeVar("Context")
Job = TypeVar("Job")
Result = TypeVar("Result")
Made = TypeVar("Made")

CONNECT_S = 30.0
# A worker that was killed is back within seconds where something restarts it.
NO_WORKER_S = 60.0
_TLS = ("IDEDUP_DASK_TLS_CA", "IDEDUP_DASK_TLS_CERT", "IDEDUP_DASK_TLS_KEY")


class DaskError(TransientError, RuntimeError):
    """Dask cannot be used, or was lost; what is finished is kept, and a retry goes on."""


def scheduler_address() -> str | None:
    """Address of the Dask scheduler, if one is named."""
    return os.environ.get("IDEDUP_DASK_SCHEDULER") or None


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Iterable[tuple[Context, Job]],
    advance: Callable[[int], None] = lambda count: None,
    *,
    gpu: bool = False,
    here: bool = False,
) -> Iterator[tuple[Context, Result]]:
    """Yield `function(job)` for each job, in order, with the context it was given; lazily.

    Here, one job follows the other and the function itself uses the cores. On Dask, each thread of
    a worker takes a job and two more wait for it.

    Args:
        function: a function of a module; its exceptions are raised here.
        jobs: pairs of a context, which stays here, and a job, which travels.
        advance: called with the numbers that the function passed to `advance`.
        gpu: only workers with the resource `GPU` take these jobs.
        here: there is too little to do for it to be worth a journey.

    Raises:
        DaskError: the scheduler or all workers are out of reach, or a job kept ending workers.
        SettingsError: the address or the TLS files cannot be used.
        ExtraMissing: Dask is not installed.
    """
    address = scheduler_address()
    if address and not here:
        yield from _run_on_dask(address, function, jobs, advance, gpu)
    else:
        yield from _run_here(function, jobs, advance)


# --- what a function may ask ---------------------------------------------------------------------


class _Kept:
    """What the jobs of one process make once and share: a loaded network, worker processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Hashable, Any] = {}
        self._closing = ExitStack()

    def once(self, make: Callable[..., Made], *arguments: Hashable) -> Made:
        with self._lock:
            key = (make, *arguments)
            if key not in self._made:
                begun = _begun.pop(key, None)
                self._made[key] = made = make(*arguments) if begun is None else begun.result()
                if hasattr(made, "close"):
                    self._closing.callback(made.close)
            found: Made = self._made[key]
            return found

    def close(self) -> None:
        self._made.clear()
        self._closing.close()


def _started(make: Callable[..., Any], *arguments: Hashable) -> Any:
    made = make(*arguments)
    if hasattr(made, "start"):
        made.start()
    return made


# Being made for whoever first asks for it by `once`.
_begun: dict[Hashable, concurrent.futures.Future[Any]] = {}


@contextmanager
def ahead() -> Iterator[Callable[..., None]]:
    """Gives a function to call like `once`, ahead of the jobs: it returns at once, and what it is
    called with is made by a thread meanwhile, and started where it has a `start`. What no job asked
    for is closed in the end."""
    keys: list[Hashable] = []
    with ThreadPoolExecutor(thread_name_prefix="ahead") as threads:

        def begin(make: Callable[..., Any], *arguments: Hashable) -> None:
            keys.append((make, *arguments))
            _begun[keys[-1]] = threads.submit(_started, make, *arguments)

        try:
            yield begin
        finally:
            for left in (_begun.pop(key) for key in keys if key in _begun):
                if left.exception() is None and hasattr(made := left.result(), "close"):
                    made.close()


@dataclass(frozen=True)
class _Surroundings:
    """What a job can reach without its being part of the job."""

    kept: _Kept
    advance: Callable[[int], None]


# .job: the surroundings of the job that this thread is at. A Dask worker's threads are at one each.
_thread = threading.local()
# Of a Dask worker, from its first job on: what its threads share, and how many they are.
_kept_by_worker = _Kept()
_threads_of_worker: int | None = None


def advance(count: int) -> None:
    """Say, from within a function, that `count` more units of its work are done."""
    _thread.job.advance(count)


def once(make: Callable[..., Made], *arguments: Hashable) -> Made:
    """`make(*arguments)`, made once and kept for the jobs that follow in this process."""
    kept: _Kept = _thread.job.kept
    return kept.once(make, *arguments)


def usable_cores() -> int:
    """Number of CPU cores this process may use: on a Dask worker, the number of its threads."""
    if _threads_of_worker is not None:
        return _threads_of_worker
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of_job() -> int:
    """Number of cores for one job: all of them here; one on a worker, whose threads are as many."""
    return usable_cores() if _threads_of_worker is None else 1


def job_size(one: int) -> int:
    """How much work a job should hold: `one` when workers are dealt jobs, several times that here,
    where they follow one another and each begins and ends with idle cores."""
    return one if scheduler_address() else 10 * one


# --- in this process -----------------------------------------------------------------------------


def _run_here(
    function: Callable[[Job], Result],
    jobs: Iterable[tuple[Context, Job]],
    advance: Callable[[int], None],
) -> Iterator[tuple[Context, Result]]:
    with closing(_Kept()) as kept:
        for context, job in jobs:
            # For each job, since between two of them this thread may have been at another stream.
            _thread.job = _Surroundings(kept, advance)
            yield context, function(job)


# --- on Dask -------------------------------------------------------------------------------------


def _run_on_worker(function: Callable[[Job], Result], job: Job) -> tuple[Result, int]:
    """What a Dask worker runs: the result, and by how much the work has advanced."""
    global _threads_of_worker
    from distributed import get_worker

    _threads_of_worker = get_worker().state.nthreads
    counts: list[int] = []
    _thread.job = _Surroundings(_kept_by_worker, counts.append)
    return function(job), sum(counts)


def _run_on_dask(
    address: str,
    function: Callable[[Job], Result],
    jobs: Iterable[tuple[Context, Job]],
    advance: Callable[[int], None],
    gpu: bool,
) -> Iterator[tuple[Context, Result]]:
    waiting = iter(jobs)
    first = next(waiting, None)
    if first is None:
        return  # most reruns find nothing to do: no worker is needed for that
    with _connected(address) as client:
        workers = _Workers(client, address, gpu)
        under_way: deque[tuple[Context, Future[Any]]] = deque()
        arrived = threading.Event()

        def submit(context: Context, job: Job) -> None:
            key = f"{function.__name__}-{uuid.uuid4().hex}"
            resources = {"GPU": 1} if gpu else None
            future = client.submit(
                _run_on_worker, function, job, key=key, pure=False, resources=resources
            )
            future.add_done_callback(lambda _: arrived.set())
            under_way.append((context, future))

        def top_up() -> None:
            # Results are small: one slow job does not keep the others from going on.
            most = 2 * workers.slots()
            unfinished = sum(not future.done() for _, future in under_way)
            while unfinished < most and len(under_way) < 16 * most:
                following = next(waiting, None)
                if following is None:
                    return
                submit(*following)
                unfinished += 1

        submit(*first)
        while under_way:
            workers.check()
            top_up()
            context, future = under_way[0]
            if not future.done():
                arrived.wait(1.0)
                arrived.clear()
                continue
            result, advanced = _taken(future, address)
            under_way.popleft()
            advance(advanced)
            yield context, result


def _taken(future: Future[Any], address: str) -> Any:
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):
            raise DaskError(
                f"A job ended {error.allowed_failures + 1} Dask workers one after the other, the "
                f"last at {error.last_worker.address}: see that worker's log; most often it had "
                "too little memory."
            )
        raise error
    try:
        return future.result(timeout=CONNECT_S)
    except (CommClosedError, TimeoutError, concurrent.futures.CancelledError):
        raise _lost(address) from None


def _lost(address: str) -> DaskError:
    return DaskError(
        f"The Dask scheduler {address} was lost while it worked for this task: run the task again "
        "when it is back; finished data files are kept."
    )


class _Workers:
    """Watches, at most every few seconds, how many jobs the workers take at once."""

    def __init__(self, client: Client, address: str, gpu: bool) -> None:
        self._client, self._address, self._gpu = client, address, gpu
        self._slots = 0
        self._seen = self._asked = time.monotonic()
        self._ask()

    def slots(self) -> int:
        return max(1, self._slots)

    def check(self) -> None:
        """Raise `DaskError` when there has been nobody to do the work for too long."""
        if self._client.status != "running":
            raise _lost(self._address)
        if time.monotonic() - self._asked >= 5:
            self._ask()
        if not self._slots and time.monotonic() - self._seen > NO_WORKER_S:
            which = "worker with the resource GPU" if self._gpu else "worker"
            raise DaskError(
                f"The Dask scheduler {self._address} has had no {which} for "
                f"{NO_WORKER_S:.0f} seconds: start one with `dask worker`."
            )

    def _ask(self) -> None:
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        except (OSError, RuntimeError):  # Dask's closed connections and time-outs are among them
            raise _lost(self._address) from None
        self._asked = time.monotonic()
        self._slots = sum(
            int(w["resources"].get("GPU", 0)) if self._gpu else w["nthreads"] for w in workers
        )
        if self._slots:
            self._seen = self._asked


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    require("distributed", f"The Dask scheduler {address} in IDEDUP_DASK_SCHEDULER")
    from distributed import Client

    security = _security(address)
    try:
        client = Client(
            address, security=security, timeout=CONNECT_S, set_as_default=False, name="idedup"
        )
    except ValueError as error:
        raise SettingsError(
            f"IDEDUP_DASK_SCHEDULER {address!r} is no address of a scheduler, such as "
            f"tcp://host:8786: {error}."
        ) from None
    except (OSError, TimeoutError):
        raise DaskError(
            f"The Dask scheduler {address} does not answer within {CONNECT_S:.0f} seconds: start "
            "it, or mend IDEDUP_DASK_SCHEDULER (and IDEDUP_DASK_TLS_* if its traffic is TLS)."
        ) from None
    try:
        log.info("Dask dashboard: %s", _dashboard(client))
        yield client
    finally:
        # Unfinished jobs are forgotten by the scheduler with it.
        client.close(timeout=5)


def _dashboard(client: Client) -> str:
    try:
        return client.dashboard_link or "none"
    except KeyError:  # a scheduler that was started without one
        return "none"


def _security(address: str) -> Any:
    """Dask's own TLS, when the address asks for it.

    Raises:
        SettingsError: a file is not named, or not there.
    """
    if not address.startswith("tls://"):
        return None
    files = {name: os.environ.get(name) for name in _TLS}
    for name, file in files.items():
        if not file or not os.path.isfile(file):  # noqa: PTH113
            raise SettingsError(
                f"{name} is {file!r}: {address} needs a PEM file there, as in {', '.join(_TLS)}."
            )
    from distributed.security import Security

    ca, certificate, key = files.values()
    return Security(
        tls_ca_file=ca, tls_client_cert=certificate, tls_client_key=key, require_encryption=True
    )
