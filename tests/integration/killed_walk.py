"""Walk a collection and end by SIGKILL at a chosen moment; run by `test_kills`.

    python killed_walk.py    # one JSON order a line on standard input, one JSON answer a line

Moments are counted: each time a walk passes a place in its writing where a kill could hurt. Each
walk is a fork of this process, which has imported everything and started nothing: no thread of
Arrow, Delta Lake or OpenMP exists before the fork.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import builders
from builders import Bench
from deltalake import DeltaTable

import idedup_tasks.looking
import idedup_tasks.stages.embed.prepare
import idedup_tasks.stages.group.prepare
import idedup_tasks.stages.index.prepare
import idedup_tasks.stages.ingest.planning
import idedup_tasks.stages.match.prepare
import idedup_tasks.stages.report.page
from idedup_tasks import lake, pipeline, warehouse
from idedup_tasks.settings import STAGES, Collection


def replace(name: str, value: Any) -> None:
    module, attribute = name.rsplit(".", 1)
    setattr(importlib.import_module(module), attribute, value)


class Moments:
    """Counts places passed; kills this process at the chosen one."""

    def __init__(self, stage: str | None, kill_at: int | None) -> None:
        self._stage, self._kill_at = stage, kill_at
        self.now = ""  # the task under way, such as `embed gate`
        self.passed: list[str] = []

    def __call__(self, place: str) -> None:
        if self._stage is not None and not self.now.startswith(self._stage):
            return
        self.passed.append(f"{self.now}: {place}")
        if len(self.passed) - 1 == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def watch(moments: Moments) -> None:
    """Put moments into everything that changes the lake or the warehouse."""
    create, publish = lake.Lake.create, lake.Lake.publish
    transaction = DeltaTable.create_write_transaction
    execute = warehouse.Warehouse.execute

    @contextmanager
    def watched_create(self: Any, relative: str, *args: Any, **options: Any) -> Iterator[IO[bytes]]:
        moments(f"before writing {Path(relative).suffix}")
        with create(self, relative, *args, **options) as stream:
            yield stream
            stream.flush()
            moments(f"{Path(relative).suffix} written, not in its place")
        moments(f"{Path(relative).suffix} in its place")

    def watched_publish(self: Any, change: Any) -> int:
        moments(f"before publishing {change.table}")
        version = publish(self, change)
        moments(f"{change.table} published")
        return version

    def watched_transaction(self: Any, *args: Any, **options: Any) -> None:
        moments("before the commit")
        transaction(self, *args, **options)

    def watched_execute(self: Any, connection: Any, file: str, parameters: Any = None) -> Any:
        result = execute(self, connection, file, parameters)
        moments(f"after {file}")
        return result

    lake.Lake.create = watched_create  # type: ignore[method-assign]
    lake.Lake.publish = watched_publish  # type: ignore[method-assign]
    DeltaTable.create_write_transaction = watched_transaction  # type: ignore[method-assign]
    warehouse.Warehouse.execute = watched_execute  # type: ignore[method-assign]


def walk(order: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
    builders.doubles(replace)
    builders.unguarded(replace)
    # Small chunks, so that a kill can come between two; and looks are published chunk by chunk.
    idedup_tasks.stages.ingest.planning.CHUNK = idedup_tasks.stages.embed.prepare.CHUNK = 2
    idedup_tasks.looking.CHUNK, idedup_tasks.looking.COMMIT_S = 2, 0.0
    reads: list[str] = []
    looks: list[tuple[str, str]] = []
    read = builders.read_in_process

    def counted(objects: Any, *args: Any, **options: Any) -> Iterator[Any]:
        for item, outcome in read(objects, *args, **options):
            reads.append(item.key)
            yield item, outcome

    def looked(a: Any, b: Any) -> Any:
        looks.append((a.sha256, b.sha256))
        return builders.drawn_look(a, b)

    replace("idedup_tasks.images.read_objects", counted)
    replace("idedup_tasks.verification.look", looked)
    moments = Moments(order.get("stage"), order.get("kill_at"))
    watch(moments)
    collection = Collection.model_validate(order["collection"])
    bench = Bench(Path(order["source"]), Path(order["home"]), collection)
    run = bench.run(order["day"])
    for stage in order.get("stages", STAGES):
        moments.now = f"{stage} prepare"
        prepared = pipeline.prepare(stage, run)["candidate"]
        moments.now = f"{stage} gate"
        pipeline.gate(stage, run, prepared)
    answer({"moments": moments.passed, "reads": reads, "looks": looks})


def walk_and_answer(order: dict[str, Any]) -> int:
    answer = Path(order["answer"])
    try:
        walk(order, lambda found: answer.write_text(json.dumps(found)))
    except BaseException:
        answer.write_text(json.dumps({"error": traceback.format_exc()}))
        return 1
    return 0


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(walk_and_answer(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
