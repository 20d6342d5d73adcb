"""Run a function over a stream of items in processes that may crash or hang.

Image decoders are native code fed with files that strangers made. One that ends the process, never
returns or eats the memory costs its own item here, and nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Generic, Literal, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure(Generic[Item]):
    """An item whose processing ended its worker, took too long, or took too much memory."""

    item: Item
    kind: Literal["crashed", "timed-out", "memory"]
    detail: str


def map_isolated(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    processes: int,
    timeout_s: float,
    batch: int = 1,
    threads: int = 1,
    memory_limit_bytes: int | None = None,
    crew: Crew | None = None,
) -> Generator[Result | Failure[Item], None, None]:
    """Yield `function(item)` for each item, in order, computed in `processes` worker processes.

    function must be importable by name (not from `__main__`), and like items and results be fit to
    cross process borders. Items are handed over `batch` at a time and only a few batches ahead of
    the consumer; `threads` of a worker share a batch, for work that waits for a network.

    A batch may take `timeout_s` seconds. Where one crashes its worker or exceeds that, its items
    are tried again one by one, each with `timeout_s` of its own, so that only the guilty become
    `Failure`s: the function may thus run more than once for an item. memory_limit_bytes bounds a
    worker's address space (on Linux); what then raises MemoryError is tried once more alone.

    Any other exception of the function is raised here and ends the map. Closing the iterator stops
    the workers, and they do not outlive this process, however it ends. Only a `crew` that was given
    (its processes and memory limit then hold) is kept when all items are done, for the next map.

    The workers are started afresh (spawn), so this is safe beside running threads, and they do not
    import the caller's main module, so that scripts need no `__main__` guard.
    """
    if function_module(function) == "__main__":
        raise ValueError(f"{function!r} must be defined in a module, not in the main script.")
    work = _Work(function, threads)
    at_work = crew or Crew(processes, memory_limit_bytes)
    source = iter(items)
    under_way: deque[_Task[Item, Result]] = deque()

    def hand_over() -> None:
        while len(under_way) < 2 * at_work.processes and (some := list(islice(source, batch))):
            under_way.append(at_work.submit(work, some, timeout_s))

    done = False
    try:
        hand_over()
        while under_way:
            task = under_way.popleft()
            results = task.results()
            hand_over()
            for item, result in zip(task.items, results, strict=True):
                if isinstance(result, _Trouble):
                    alone = _alone(at_work, work, item, timeout_s)
                    yield alone
                else:
                    yield result
        done = True
    finally:
        if crew is None or not done:
            at_work.close()


def function_module(function: Callable[..., Any]) -> str:
    """The module that a function, or an object with `__call__`, must be imported from."""
    return getattr(function, "__module__", None) or type(function).__module__


@dataclass(frozen=True)
class _Trouble:
    """Why there is no result of an item, in the company that it was handed over in.

    broken: the workers as a whole, for whatever reason.
    """

    kind: Literal["crashed", "timed-out", "memory", "broken"]
    detail: str


@dataclass(frozen=True)
class _Work(Generic[Item, Result]):
    """What a worker does with the items that it is handed."""

    function: Callable[[Item], Result]
    threads: int

    def __call__(self, items: list[Item]) -> list[Result | _Trouble]:
        if self.threads == 1 or len(items) == 1:
            return [self._one(item) for item in items]
        with ThreadPoolExecutor(self.threads) as executor:
            return list(executor.map(self._one, items))

    def _one(self, item: Item) -> Result | _Trouble:
        try:
            return self.function(item)
        except MemoryError as error:
            return _Trouble("memory", str(error) or "out of memory")


@dataclass(frozen=True)
class _Task(Generic[Item, Result]):
    """Items under way in a pool."""

    items: list[Item]
    pool: ProcessPool
    future: ProcessFuture[list[Result | _Trouble]]

    def results(self) -> list[Result | _Trouble]:
        """One for each item: what ended the worker is each item's trouble, guilty or not."""
        # A pool that breaks just as a batch is queued forgets that batch.
        while not wait([self.future], timeout=5).done:
            if not self.pool.active and not wait([self.future], timeout=5).done:
                return [_Trouble("broken", "the pool of workers broke")] * len(self.items)
        try:
            return self.future.result()
        except ProcessExpired as error:
            trouble = _Trouble("crashed", _how_it_ended(error.exitcode))
        except TimeoutError:
            trouble = _Trouble("timed-out", "no result in time")
        except (BrokenProcessPool, CancelledError) as error:
            # A worker died between two batches, or before it could say which one it had taken.
            trouble = _Trouble("broken", str(error) or type(error).__name__)
        return [trouble] * len(self.items)


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-exitcode).name}"
    return f"ended with exit code {exitcode}"


def _alone(
    crew: Crew, work: _Work[Item, Result], item: Item, timeout_s: float
) -> Result | Failure[Item]:
    detail = ""
    for _ in range(3):
        [result] = crew.submit(work, [item], timeout_s).results()
        if not isinstance(result, _Trouble):
            return result
        if result.kind != "broken":
            return Failure(item, result.kind, result.detail)
        detail = result.detail
    # Three fresh sets of workers broke over this item: it is the item.
    return Failure(item, "crashed", detail)


WORKER_MEMORY = 4 * 2**30
# Objects that are read by a worker at a time.
HANDED_OVER = 16


def crew_size(objects: int, cores: int) -> int:
    """How many processes read so many objects: none that nothing would be handed to."""
    return max(1, min(cores, -(-objects // HANDED_OVER)))


def worker_crew(processes: int, module: str, thread: int) -> Crew:
    """A crew for the streams of one thread, one after the other.

    Args:
        module: what the work will need.
        thread: as `threading.get_ident` calls it.
    """
    return Crew(processes, WORKER_MEMORY, module)


class Crew:
    """Worker processes for one `map_isolated` at a time, started when needed, replaced when broken.

    They must be closed by, or before the end of, the thread that first uses them.
    """

    def __init__(
        self, processes: int, memory_limit_bytes: int | None = None, module: str | None = None
    ) -> None:
        self.processes = processes
        self._memory_limit_bytes = memory_limit_bytes
        self._module = module
        self._pool: ProcessPool | None = None

    def submit(
        self, work: _Work[Item, Result], items: list[Item], timeout_s: float
    ) -> _Task[Item, Result]:
        if self._pool is not None:
            try:
                return _scheduled(self._pool, work, items, timeout_s)
            except RuntimeError:  # the pool broke since it was last used
                self.close()
        self._pool = self._new_pool()
        return _scheduled(self._pool, work, items, timeout_s)

    def start(self) -> None:
        """Start the processes now, and have them import what their work will need."""
        self._pool = self._new_pool()
        for _ in range(self.processes if self._module else 0):
            self._pool.schedule(_import, args=(self._module,))

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.processes,
            initializer=_prepare_worker,
            initargs=(os.getpid(), self._memory_limit_bytes),
            context=_Context(),
        )

    def close(self) -> None:
        """Stop the processes, whatever they are doing."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None


def _scheduled(
    pool: ProcessPool, work: _Work[Item, Result], items: list[Item], timeout_s: float
) -> _Task[Item, Result]:
    return _Task(items, pool, pool.schedule(work, args=(items,), timeout=timeout_s))


def _import(module: str) -> None:
    importlib.import_module(module)


def _prepare_worker(parent: int, memory_limit_bytes: int | None) -> None:
    """Called first in each worker."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if memory_limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
    else:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Before numpy loads: a thread a core would claim gigabytes of address space on large machines,
    # and the processes keep the cores busy as it is.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    # Native decoders grumble on standard error, without saying about which file; whatever matters
    # comes back as a result.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    os.close(quiet)


def _end_with_parent() -> None:
    parent = process.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


_starting = threading.Lock()


class _Process(SpawnProcess):
    """A process that starts without the caller's main module, from daemonic processes too."""

    def start(self) -> None:
        # multiprocessing would run the main module again in the child: seconds for a scheduler's
        # command line, endless recursion for a script without a guard. And it forbids daemonic
        # processes (Dask's workers) children, lest they be orphaned: these end with their parent.
        with _starting:
            main = sys.modules["__main__"]
            config = process.current_process()._config  # type: ignore[attr-defined]
            daemonic = config.pop("daemon", None)
            sys.modules["__main__"] = types.ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main
                if daemonic is not None:
                    config["daemon"] = daemonic


class _Context(SpawnContext):
    Process = _Process
