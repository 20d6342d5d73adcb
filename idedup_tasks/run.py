"""A run: one walk over one collection, and what everything that takes part in it needs to know."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idedup_tasks.errors import TerminalError
from idedup_tasks.settings import Collection, Places, Thresholds

if TYPE_CHECKING:
    from idedup_tasks.lake import Candidate, Lake

log = logging.getLogger(__name__)


def _log_progress() -> Callable[[str, int, int | None], None]:
    last: dict[str, float] = {}

    def progress(what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - last.get(what, 0.0) >= 10 or done == total:
            last[what] = now
            log.info("%s: %s%s", what, f"{done:,}", f" of {total:,}" if total is not None else "")

    return progress


@dataclass(frozen=True)
class Run:
    """One run over one collection.

    Attributes:
        collection: its settings.
        run_id: the scheduler's name of the run; a rerun has the same.
        window: half-open UTC interval of arrivals to bring up to date, or None for all.
        places: where lake and warehouse are.
        source_options: credentials and options of the source's file system; never logged.
        allow_removals: accept a listing that removes a large share of a partition.
        excluded: beginnings of keys that are not looked at, such as a scan's own output.
        progress: called with (what, done, total or None) while a stage works.
        scan: output folder of `idedup scan`, where it is one.
    """

    collection: Collection
    run_id: str
    window: tuple[datetime, datetime] | None
    places: Places
    source_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    allow_removals: bool = False
    excluded: tuple[str, ...] = ()
    progress: Callable[[str, int, int | None], None] = field(
        default_factory=_log_progress, repr=False
    )
    scan: Path | None = None

    @property
    def lake(self) -> Lake:
        # Here, so that a run can be named, and with it the rules of its gates, without Arrow.
        from idedup_tasks.lake import Lake

        return Lake(self.places.lake, self.collection.name)

    def counter(self, what: str, total: int | None) -> Callable[[int], None]:
        """A function to call with how many more are done: `progress` is told how many in all."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.progress(what, done, total)

        return advance

    @property
    def model_id(self) -> str:
        """The descriptor's version, which the collection may pin.

        Raises:
            ModelMismatch: the installed descriptor is another than the collection pins.
        """
        from idedup_tasks.descriptors import descriptor_info

        collection = self.collection
        installed = descriptor_info(
            collection.descriptor, collection.device, collection.matching.thorough
        ).model_id
        if collection.model_id not in (None, installed):
            raise ModelMismatch(
                f"Collection {collection.name} pins model_id {collection.model_id}, and the "
                f"installed {collection.descriptor} is {installed}: install the pinned one, name "
                "it as `descriptor` if it is registered in the lake, or set `model_id` (and its "
                "thresholds) to the installed one to embed everything anew."
            )
        return installed

    @property
    def thresholds(self) -> Thresholds:
        """The collection's own thresholds, or those calibrated for its descriptor."""
        from idedup_tasks.descriptors import descriptor_info

        if self.collection.thresholds is not None:
            return self.collection.thresholds
        levels = descriptor_info(self.collection.descriptor).thresholds
        return Thresholds(candidate=levels.candidate, phash_distance=levels.phash_distance)


class ModelMismatch(TerminalError, RuntimeError):
    """The installed descriptor is not the one the collection pins."""


def publish_changes(run: Run, candidate: Candidate) -> dict[str, int]:
    """Publish a candidate's table changes; what most stages' `publish` is."""
    return {change.table: run.lake.publish(change) for change in candidate.changes}
