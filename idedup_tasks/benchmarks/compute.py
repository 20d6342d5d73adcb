"""What Dask workers bring: the stages over photographs of a folder, with 1, 2 and 4 of them.

    python -m idedup_tasks.benchmarks.compute --photographs FOLDER --count 5000 --folder /tmp/dask

Starts a scheduler and workers on this machine, one thread each, for one count after the other, and
runs each stage without its gate into a lake of its own. `here` is the same without a cluster. On a
machine with fewer cores than workers, what is measured is the cost of the journey and no more.
Ratios are within one run of this script, since the machine may have other work; the last line says
whether every run found the same groups.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from idedup_tasks import pipeline
from idedup_tasks.run import Run
from idedup_tasks.settings import Collection, Places, sqlite_url

_STAGES = ("ingest", "prefilter", "embed", "index", "group")
_PATIENCE_S = 120.0


def import_stages() -> None:
    """Import what the stages need."""
    for stage in _STAGES:
        pipeline.stage_module(stage)
    import openvino  # noqa: F401 - last: the descriptors keep it from reporting


@contextmanager
def dask_cluster(workers: int, folder: Path) -> Iterator[str]:
    """A scheduler and workers as processes of this machine; yields the scheduler's address."""
    from distributed import Client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    dask = [sys.executable, "-m", "dask"]
    # As many cores as there are workers: no library may take more for itself.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    quiet = ["--no-dashboard"]
    local = ["--memory-limit", "0", "--local-directory", str(folder)]
    worker = [*dask, "worker", address, "--nthreads", "1", "--no-nanny", *local, *quiet]
    commands = [[*dask, "scheduler", "--host", "127.0.0.1", "--port", port, *quiet]]
    commands += [worker] * workers
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "dask.log").open("ab") as log:
        try:
            started.extend(
                subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
                for command in commands
            )
            with Client(address, timeout=_PATIENCE_S, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=_PATIENCE_S)
                client.run(import_stages)  # workers live long: that is not part of the work
            yield address
        finally:
            # Nothing is left to be saved, and a worker takes a minute to take its leave.
            for process in started:
                process.kill()
            for process in started:
                process.wait()


def measure(name: str, folder: Path, source: Path, workers: int) -> dict[str, Any]:
    """Seconds of each stage, with this many workers (0: without a cluster), and what was found."""
    from idedup_tasks.warehouse import Warehouse

    home = folder / name
    home.mkdir(parents=True)
    places = Places(
        home=home,
        lake=str(home / "lake"),
        warehouse=sqlite_url(home / "warehouse.db"),
        collections=home,
    )
    Warehouse(places.warehouse).upgrade()
    collection = Collection.model_validate({"name": "cluster", "source": str(source)})
    run = Run(collection, name, None, places)
    seconds = {}
    os.environ.pop("IDEDUP_DASK_SCHEDULER", None)
    with dask_cluster(workers, home) if workers else nullcontext() as address:
        if address:
            os.environ["IDEDUP_DASK_SCHEDULER"] = address
        try:
            for stage in _STAGES:
                module, started = pipeline.stage_module(stage), time.perf_counter()
                module.publish(run, module.prepare(run))
                seconds[stage] = round(time.perf_counter() - started, 2)
        finally:
            os.environ.pop("IDEDUP_DASK_SCHEDULER", None)
    groups = run.lake.snapshot("groups").read(["image_id", "group_id", "relation", "matched_id"])
    rows = json.dumps(groups.sort_by("image_id").to_pylist()).encode()
    return {
        "workers": workers,
        "images": groups.num_rows,
        "seconds": seconds | {"all": round(sum(seconds.values()), 2)},
        "groups": hashlib.sha256(rows).hexdigest()[:16],
    }


def chosen(photographs: Path, count: int, folder: Path) -> Path:
    """A folder with hard links to (or copies of) the first photographs by name."""
    source = folder / "source"
    source.mkdir(parents=True)
    files = sorted(path for path in photographs.rglob("*") if path.is_file())[:count]
    for number, path in enumerate(files):
        target = source / f"{number:06}{path.suffix}"
        try:
            target.hardlink_to(path)
        except OSError:
            shutil.copy2(path, target)
    return source


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photographs", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--folder", type=Path, required=True, help="empty or missing; left behind")
    given = parser.parse_args()
    if given.folder.exists() and any(given.folder.iterdir()):
        parser.error(f"{given.folder} is not empty")
    source = chosen(given.photographs, given.count, given.folder)
    # Once before: imports, the network's conversion and the file cache are nobody's merit.
    measure("warm-up", given.folder, source, 0)
    results = []
    for workers in (0, *given.workers):
        results.append(measure(f"workers-{workers}", given.folder, source, workers))
        print(json.dumps(results[-1]), flush=True)
    base = next((r for r in results if r["workers"] == 1), results[0])
    for result in results:
        times = {
            stage: round(base["seconds"][stage] / max(seconds, 0.01), 2)
            for stage, seconds in result["seconds"].items()
        }
        print(json.dumps({"workers": result["workers"], "times_as_fast": times}), flush=True)
    print(json.dumps({"same_groups": len({r["groups"] for r in results}) == 1}))


if __name__ == "__main__":
    main()
