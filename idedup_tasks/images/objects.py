"""Reading a collection: its objects become facts in processes that may crash or hang."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from idedup_tasks.images.image import ImageFacts, read_image
from idedup_tasks.images.refusal import Rejected, too_large
from idedup_tasks.isolation import HANDED_OVER, WORKER_MEMORY, Crew, Failure, map_isolated
from idedup_tasks.settings import Limits
from idedup_tasks.sources import (
    ObjectUnreadable,
    ObjectVanished,
    SourceObject,
    is_local,
    list_objects,
    read_object,
)


@dataclass(frozen=True)
class ObjectReader:
    """Reads and decodes one object, in a worker, so that its bytes never cross to the parent."""

    limits: Limits
    storage_options: Mapping[str, Any] = field(repr=False)
    follow_links: bool = False

    def __call__(self, item: SourceObject) -> ImageFacts | Rejected:
        if item.problem is not None:
            return Rejected("unreadable", item.problem)
        if item.bytes > self.limits.max_bytes:
            return too_large(item.bytes, self.limits)
        source = item.uri.removesuffix(item.key)
        try:
            data = read_object(
                item.uri,
                self.limits.max_bytes,
                self.storage_options,
                within=None if self.follow_links else source,
            )
            return read_image(data, self.limits)
        except Rejected as rejected:
            if rejected.code == "out-of-memory":  # perhaps a neighbour's fault: try it alone
                raise MemoryError from None
            # Not the one that was raised: its traceback keeps the decoded picture in memory.
            return Rejected(rejected.code, rejected.reason)
        except ObjectUnreadable as error:
            # One object without permission is that object's matter; when the listing fails as
            # well, credentials have expired or a disk is gone, and nothing must be concluded.
            next(list_objects(source, self.storage_options), None)
            code = "vanished" if isinstance(error, ObjectVanished) else "unreadable"
            return Rejected(code, str(error))


def read_objects(
    objects: Iterable[SourceObject],
    limits: Limits | None = None,
    storage_options: Mapping[str, Any] | None = None,
    *,
    processes: int,
    memory_limit_bytes: int = WORKER_MEMORY,
    crew: Crew | None = None,
    follow_links: bool = False,
) -> Generator[tuple[SourceObject, ImageFacts | Rejected], None, None]:
    """Read and decode a stream of objects in worker processes, in order, a bounded number at once.

    Each object is read by a worker and comes back as its facts or as `Rejected`; a file that
    crashes its decoder, or is not done within the limits' timeout_seconds or memory_limit_bytes of
    address space, is rejected as crashed, timed-out or out-of-memory. From remote stores each
    worker reads several objects at once, since the network is what it waits for.

    A `crew`, such as `worker_crew` gives, is kept for the next call. A local file that has come
    to lead out of its source since it was listed is `unreadable` unless `follow_links` is set.

    Raises `SourceUnreachable` when the source as a whole stops answering.
    """
    objects = iter(objects)
    first = next(objects, None)
    if first is None:
        return
    limits = limits or Limits.model_validate({})
    reader = ObjectReader(limits, dict(storage_options or {}), follow_links)
    threads = 1 if is_local(first.uri) else 8
    under_way: deque[SourceObject] = deque()

    def noted() -> Iterator[SourceObject]:
        for item in chain([first], objects):
            under_way.append(item)
            yield item

    results = map_isolated(
        reader,
        noted(),
        processes=processes,
        timeout_s=limits.timeout_seconds,
        batch=HANDED_OVER,
        threads=threads,
        memory_limit_bytes=memory_limit_bytes,
        crew=crew,
    )
    with contextlib.closing(results):
        for result in results:
            item = under_way.popleft()
            if not isinstance(result, Failure):
                yield item, result
                continue
            if result.kind == "timed-out":  # the file, or a store that has fallen silent?
                next(list_objects(item.uri.removesuffix(item.key), storage_options), None)
            yield item, _failed(result, limits)


def _failed(failure: Failure[SourceObject], limits: Limits) -> Rejected:
    if failure.kind == "crashed":
        return Rejected("crashed", f"The decoder crashed on the file: it {failure.detail}.")
    if failure.kind == "timed-out":
        return Rejected(
            "timed-out", f"Reading the file took more than {limits.timeout_seconds:g} seconds."
        )
    return Rejected("out-of-memory", "Decoding the file takes too much memory.")
