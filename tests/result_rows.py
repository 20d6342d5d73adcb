"""Rows as the report stage hands them to the warehouse, made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from idedup_tasks.lake import RESULTS, Candidate
from idedup_tasks.pipeline import counts_of
from idedup_tasks.run import Run
from idedup_tasks.settings import Collection, Places
from idedup_tasks.warehouse import StageCounts


def a_run(folder: Path, name: str = "photos", run_id: str = "manual__1", **settings: Any) -> Run:
    collection = Collection(name=name, source="/photos", **settings)
    places = Places(home=folder, lake=str(folder), warehouse="", collections=folder)
    window = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    return Run(collection, run_id, window, places)


def a_candidate(run: Run, stage: str = "report", version: int = 1, **counts: Any) -> Candidate:
    return Candidate(stage, run.run_id, [], {"images": version, "groups": version}, counts)


def counts_in(candidate: Candidate) -> StageCounts:
    return counts_of(candidate.stage, candidate.counts)


def image(image_id: str, **values: Any) -> dict[str, Any]:
    """An active, unique image; `values` say otherwise."""
    row: dict[str, Any] = dict.fromkeys(RESULTS.names)
    row.update(
        image_id=image_id,
        arrival="2026-01-01",
        key=f"{image_id}.jpg",
        arrived_at=datetime(2026, 1, 1, 9, tzinfo=UTC),
        bytes=100,
        sha256=f"{image_id}-digest",
        width=640,
        height=480,
        format="JPEG",
        low_information=False,
        status="active",
        verdict="unique",
    )
    row.update(values)
    row.setdefault("uri", None)
    row["uri"] = row["uri"] or f"/photos/{row['key']}"
    return row


def keeper(image_id: str, group_id: str | None = None, **values: Any) -> dict[str, Any]:
    return image(
        image_id,
        verdict="keeper",
        group_id=group_id or image_id,
        keeper_id=image_id,
        **values,
    )


def duplicate(
    image_id: str, matched_id: str, group_id: str, keeper_id: str, relation: str, **values: Any
) -> dict[str, Any]:
    score = {"exact": 1.0, "perceptual": 0.9531, "near": 0.81}[relation]
    return image(
        image_id,
        **{
            "verdict": "duplicate",
            "status": "active" if relation == "near" else "collapsed",
            "group_id": group_id,
            "relation": relation,
            "method": {"exact": "sha256", "perceptual": "phash", "near": "model@1"}[relation],
            "matched_id": matched_id,
            "score": score,
            "threshold": {"exact": 1.0, "perceptual": 0.9062, "near": 0.65}[relation],
            "keeper_id": keeper_id,
            "score_to_keeper": score,
            **values,
        },
    )


def rejected(image_id: str, reason_code: str = "damaged", **values: Any) -> dict[str, Any]:
    return image(
        image_id,
        **{
            "status": "rejected",
            "verdict": None,
            "format": None,
            "width": None,
            "height": None,
            "low_information": None,
            "sha256": None,
            "reason_code": reason_code,
            "reason": f"cannot be read: {reason_code}",
            **values,
        },
    )


def batches(rows: Iterable[dict[str, Any]], size: int = 3) -> Iterable[pa.RecordBatch]:
    table = pa.Table.from_pylist(list(rows), schema=RESULTS)
    return iter(table.to_batches(max_chunksize=size))
