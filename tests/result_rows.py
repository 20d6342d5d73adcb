"""Rows as the report stage hands them to the warehouse, made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from idedup_tasks.lake import PAIR_RESULTS, RESULTS, Candidate
from idedup_tasks.pipeline import counts_of
from idedup_tasks.run import Run
from idedup_tasks.settings import DUPLICATES, Collection, Places
from idedup_tasks.warehouse import StageCounts, Warehouse


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
        **{"why": "the whole picture", **values},
    )


def member(
    image_id: str, keeper_id: str, group_id: str, relation: str, **values: Any
) -> dict[str, Any]:
    """A duplicate or a variant of its keeper, by the relation."""
    seen: dict[str, Any] = {"exact": (1.0, 1.0, 1.0, 0.0), "same": (0.99, 1.0, 1.0, 0.0)}
    seen |= {"crop": (0.97, 1.0, 0.62, 0.0), "inside": (0.95, 0.4, 1.0, 0.0)}
    seen |= {"edited": (0.9, 1.0, 1.0, 0.07)}
    score, overlap, keeper_overlap, changed = seen[relation]
    return image(
        image_id,
        **{
            "verdict": "duplicate" if relation in DUPLICATES else "variant",
            "status": "collapsed" if relation in ("exact", "same") else "active",
            "group_id": group_id,
            "relation": relation,
            "method": "sha256" if relation == "exact" else "looks-1",
            "keeper_id": keeper_id,
            "score": score,
            "overlap": overlap,
            "keeper_overlap": keeper_overlap,
            "changed": changed,
            "place": "top left" if changed else None,
            "why": f"{relation}, by hand",
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


def pair(image_a: str, image_b: str, relation: str = "alike", **values: Any) -> dict[str, Any]:
    """A pair that was looked at; the smaller id first."""
    row = {"image_a": image_a, "image_b": image_b, "relation": relation, "score": 0.4}
    return row | {"overlap_a": 0.9, "overlap_b": 0.8, "changed": 0.3} | values


def keeper_pairs(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each member and its keeper."""
    found = []
    for row in rows:
        if row["relation"] is None:
            continue
        overlaps = {row["image_id"]: row["overlap"], row["keeper_id"]: row["keeper_overlap"]}
        (a, overlap_a), (b, overlap_b) = sorted(overlaps.items())
        seen = {name: row[name] for name in ("relation", "score", "changed")}
        found.append(pair(a, b, **seen, overlap_a=overlap_a, overlap_b=overlap_b))
    return found


def batches(
    rows: Iterable[dict[str, Any]], size: int = 3, schema: pa.Schema = RESULTS
) -> Iterable[pa.RecordBatch]:
    table = pa.Table.from_pylist(list(rows), schema=schema)
    return iter(table.to_batches(max_chunksize=size))


def fill(
    warehouse: Warehouse,
    run: Run,
    rows: Iterable[dict[str, Any]],
    pairs: Iterable[dict[str, Any]] = (),
    version: int = 1,
    size: int = 3,
) -> dict[str, int]:
    """Apply results, with the pairs of members and keepers and those given beside them."""
    rows = list(rows)
    seen = [*keeper_pairs(rows), *pairs]
    return warehouse.apply(
        run,
        a_candidate(run, version=version),
        batches(rows, size),
        batches(seen, size, PAIR_RESULTS),
    )
