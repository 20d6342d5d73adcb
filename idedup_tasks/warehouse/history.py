"""What happened: the rows that runs, gates, registrations and benchmarks leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from idedup_tasks.quality import RuleResult
from idedup_tasks.warehouse.database import Database
from idedup_tasks.warehouse.values import json_text, storable, utc_text

if TYPE_CHECKING:
    from idedup_tasks.descriptors import DecisionLevels
    from idedup_tasks.lake import Candidate
    from idedup_tasks.run import Run


class StageCounts(Protocol):
    """What `record_stage` needs of a stage's counts."""

    @property
    def images(self) -> int:
        """How many the stage worked on."""
        ...

    @property
    def rows(self) -> tuple[int, int]:
        """How many rows the stage looked at and how many it let through."""
        ...


class History(Database):
    """Records rows of history; a rerun overwrites its own."""

    def record_stage(
        self,
        run: Run,
        stage: str,
        started: datetime,
        seconds: float,
        candidate: Candidate | None = None,
        counts: StageCounts | None = None,
        error: str | None = None,
    ) -> None:
        """Record that a stage was prepared, or failed; a rerun overwrites its row, counting tries.

        Args:
            started: aware moment when preparing began.
            seconds: how long it took.
            candidate: what was prepared.
            counts: its counts, which give rows in and out and images per second.
            error: why it failed.
        """
        rows_in, rows_out = counts.rows if counts else (None, None)
        images = counts.images if counts else None
        start, end = run.window or (None, None)
        row = {
            "collection": run.collection.name,
            "run_id": run.run_id,
            "stage": stage,
            "state": "failed" if error is not None else "prepared",
            "window_start": utc_text(start),
            "window_end": utc_text(end),
            "started_at": utc_text(started),
            "seconds": seconds,
            "rows_in": rows_in,
            "rows_out": rows_out,
            "images": images,
            "images_per_second": images / seconds if images is not None and seconds > 0 else None,
            "counts": json_text(candidate.counts) if candidate else None,
            "warnings": json_text(candidate.warnings) if candidate else None,
            "versions_read": json_text(candidate.reads) if candidate else None,
            "error": storable(error),
        }
        with self.transaction(write=True) as connection:
            self.execute(connection, "record/collection.sql", about_collection(run))
            self.execute(connection, "record/stage.sql", row)

    def record_published(self, run: Run, stage: str, versions: Mapping[str, int]) -> None:
        """Record which table versions a stage published."""
        row = {
            "collection": run.collection.name,
            "run_id": run.run_id,
            "stage": stage,
            "published_at": utc_text(datetime.now(UTC)),
            "versions_written": json_text(dict(versions)),
        }
        with self.transaction(write=True) as connection:
            self.execute(connection, "record/published.sql", row)

    def record_quality(self, run: Run, stage: str, results: Sequence[RuleResult]) -> None:
        """Replace what is recorded of this run's and stage's quality rules."""
        about = {"collection": run.collection.name, "run_id": run.run_id, "stage": stage}
        checked = utc_text(datetime.now(UTC))
        rows = [
            {
                **about,
                "rule": result.rule,
                "severity": result.severity,
                "success": bool(result.success),
                "observed": storable(result.observed),
                "expected": storable(result.expected),
                "checked_at": checked,
            }
            for result in results
        ]
        with self.transaction(write=True) as connection:
            self.execute(connection, "record/collection.sql", about_collection(run))
            self.execute(connection, "record/quality_delete.sql", about)
            if rows:
                self.execute(connection, "record/quality_insert.sql", rows)

    def record_model(
        self,
        *,
        model_id: str,
        descriptor: str,
        dim: int,
        thresholds: DecisionLevels,
        location: str,
        card: Mapping[str, Any],
    ) -> None:
        """Register a descriptor; registering the same model_id again brings its row up to date.

        Args:
            model_id: its version.
            descriptor: its name.
            dim: length of its vectors.
            thresholds: as calibrated.
            location: where in the lake its weights and card lie.
            card: the card, as JSON takes it.
        """
        row = {
            "model_id": model_id,
            "descriptor": descriptor,
            "dim": dim,
            **about_thresholds(thresholds),
            "registered_at": utc_text(datetime.now(UTC)),
            "location": location,
            "card": json_text(card),
        }
        with self.transaction(write=True) as connection:
            self.execute(connection, "record/model.sql", row)

    def record_benchmark(
        self, benchmark_id: str, created_at: datetime, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Replace what is recorded of a benchmark.

        Args:
            benchmark_id: name of this run of it.
            created_at: aware moment of measuring.
            rows: mappings with `dataset`, `method`, `model_id` (may be None), `measure`, `value`.
        """
        about = {"benchmark_id": benchmark_id, "created_at": utc_text(created_at)}
        with self.transaction(write=True) as connection:
            self.execute(connection, "record/benchmark_delete.sql", about)
            if rows:
                bound = [{"model_id": None, **row, **about} for row in rows]
                self.execute(connection, "record/benchmark_insert.sql", bound)


def about_collection(run: Run) -> dict[str, Any]:
    """What `record/collection.sql` is bound to."""
    collection = run.collection
    return {
        "collection": collection.name,
        "source": collection.source,
        "period": collection.arrival.period,
        "price_per_gb_month": collection.price_per_gb_month,
        "currency": collection.currency,
        "variants_reclaimable": collection.grouping.variants_reclaimable,
    }


def about_thresholds(thresholds: DecisionLevels) -> dict[str, Any]:
    """A descriptor's levels, as its card has them."""
    return {
        "threshold_pair": thresholds.pair,
        "threshold_candidate": thresholds.candidate,
        "threshold_cut": thresholds.cut,
        "phash_distance": thresholds.phash_distance,
    }
