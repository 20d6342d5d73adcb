"""Crashing, hanging and greedy functions cost their own item; workers end with their parent."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from idedup_tasks import isolation
from idedup_tasks.isolation import Failure, map_isolated


def misbehave(item):
    """Do what the item says, in the worker."""
    action, value = item
    if action == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif action == "exit":
        os._exit(3)
    elif action == "leave quietly":
        os._exit(0)
    elif action == "hang":
        time.sleep(600)
    elif action == "devour":
        bytearray(8 * 2**30)
    elif action == "raise":
        raise LookupError(f"no such thing as {value}")
    elif action == "nap":
        time.sleep(value)
    return value, os.getpid()


def where_threads_run(_item):
    time.sleep(0.2)
    return threading.get_ident()


def main_of_worker(_item):
    return [name for name in vars(sys.modules["__main__"]) if not name.startswith("__")]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids, seconds=30):
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, [pid for pid in pids if alive(pid)]
        time.sleep(0.05)


@pytest.mark.parametrize("batch", [1, 5])
def test_results_keep_the_order_of_items(batch):
    items = [("nap", 0.05 if number % 7 == 0 else 0) for number in range(20)]
    items += [("give", number) for number in range(20)]
    results = list(map_isolated(misbehave, items, processes=2, timeout_s=60, batch=batch))
    assert [value for value, _ in results] == [value for _, value in items]
    pids = {pid for _, pid in results}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


def test_only_the_guilty_fail():
    items = [("give", number) for number in range(24)]
    items[2] = ("segfault", 2)
    items[3] = ("exit", 3)
    items[9] = ("hang", 9)
    items[17] = ("devour", 17)
    items[23] = ("leave quietly", 23)
    results = list(
        map_isolated(
            misbehave,
            items,
            processes=2,
            timeout_s=5,
            batch=6,
            memory_limit_bytes=4 * 2**30,
        )
    )
    failures = {one.item[1]: one for one in results if isinstance(one, Failure)}
    assert {number: failure.kind for number, failure in failures.items()} == {
        2: "crashed",
        3: "crashed",
        9: "timed-out",
        17: "memory",
        23: "timed-out",  # a worker that ends without an error says nothing at all
    }
    assert "SIGSEGV" in failures[2].detail
    assert "3" in failures[3].detail
    assert [one.item[1] if isinstance(one, Failure) else one[0] for one in results] == list(
        range(24)
    )


def test_many_crashes_in_a_row_do_not_break_the_pool():
    items = [("segfault" if number % 2 else "give", number) for number in range(30)]
    results = list(map_isolated(misbehave, items, processes=2, timeout_s=60, batch=4))
    assert [isinstance(one, Failure) for one in results] == [bool(n % 2) for n in range(30)]
    assert {one.kind for one in results if isinstance(one, Failure)} <= {"crashed", "timed-out"}


def test_an_exception_of_the_function_is_raised_here():
    items = [("give", 0), ("raise", "this")]
    with pytest.raises(LookupError, match="no such thing as this"):
        list(map_isolated(misbehave, items, processes=1, timeout_s=60))


def test_an_endless_stream_is_read_only_a_little_ahead_and_closing_stops_the_workers():
    drawn = itertools.count()
    results = map_isolated(
        misbehave,
        (("give", next(drawn)) for _ in itertools.count()),
        processes=2,
        timeout_s=60,
        batch=3,
    )
    pids = {next(results)[1] for _ in range(4)}
    assert next(drawn) <= 4 + 3 * 2 * 2 + 3
    children = {child.pid for child in multiprocessing.active_children()}
    results.close()
    assert pids <= children
    wait_until_gone(children)
    assert not children & {child.pid for child in multiprocessing.active_children()}


def test_closing_does_not_wait_for_what_hangs():
    results = map_isolated(
        misbehave, [("give", 1), ("hang", 2), ("hang", 3)], processes=2, timeout_s=600
    )
    _, pid = next(results)
    results.close()
    wait_until_gone([pid])


def test_threads_share_a_batch():
    idents = list(
        map_isolated(where_threads_run, range(8), processes=1, timeout_s=60, batch=4, threads=4)
    )
    assert len(set(idents)) > 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc")
def test_workers_die_with_a_killed_parent():
    program = """
        import sys, time
        sys.path.insert(0, sys.argv[1])
        from test_isolation import misbehave
        from idedup_tasks.isolation import map_isolated
        items = [("give", 1)] + [("hang", 2)] * 4
        results = map_isolated(misbehave, items, processes=2, timeout_s=600)
        next(results)
        import multiprocessing
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
    )
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    parent.kill()
    parent.wait()
    wait_until_gone(pids)


def test_a_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            sys.path[:0] = sys.argv[1:]
            from test_isolation import main_of_worker
            from idedup_tasks.isolation import map_isolated
            loaded_by_the_script = True
            print(list(map_isolated(main_of_worker, [1, 2], processes=1, timeout_s=60)))
            """
        )
    )
    # The package under test, and not one that is installed besides.
    package = Path(isolation.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, script, Path(__file__).parent, package], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[") == 3
    assert "loaded_by_the_script" not in done.stdout


def relay(connection):
    [(value, _)] = map_isolated(misbehave, [("give", 7)], processes=1, timeout_s=60)
    connection.send(value)


def test_a_daemonic_process_may_have_workers():
    """Dask's workers are daemonic, and multiprocessing forbids those to have children."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    daemon = context.Process(target=relay, args=(sender,), daemon=True)
    daemon.start()
    assert receiver.poll(60)
    assert receiver.recv() == 7
    daemon.join()


def test_functions_of_the_main_script_are_refused():
    def local(item):
        return item

    local.__module__ = "__main__"
    with pytest.raises(ValueError, match="main script"):
        next(map_isolated(local, [1], processes=1, timeout_s=1))
