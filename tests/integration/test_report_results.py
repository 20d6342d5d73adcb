"""The result and the pairs that report hands on: what the lake has, counted, and nothing else."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import Bench, Picture, bench, doubles, place, walk
from result_rows import keeper_pairs, member

from idedup_tasks import pipeline
from idedup_tasks.api.results import (
    GROUP_COLUMNS,
    PAIR_COLUMNS,
    group_members,
    pairs_looked_at,
    write_csv,
)
from idedup_tasks.lake import GROUPS, MATCHES, Candidate, TableChange
from idedup_tasks.run import Run
from idedup_tasks.stages.report import prepare as report
from idedup_tasks.warehouse import Warehouse

NAMES = ("whole", "copy", "part", "edit", "shot", "other")
RELATIONS = {"copy": "exact", "part": "crop", "edit": "edited"}


def a_match(a: str, b: str, relation: str, **values: Any) -> dict[str, Any]:
    """A row of `matches`; of a member and its keeper as `member` has it."""
    row = {"proposed_by": "vector", "blur": 0.0, "transform": [0.0] * 9, "way": "frames"}
    row |= {"overlap_a": 0.9, "overlap_b": 0.8, "changed": 0.3, "score": 0.4} | values
    if a > b:
        a, b = b, a
        row |= {"overlap_a": row["overlap_b"], "overlap_b": row["overlap_a"]}
    return row | {"image_a": a, "image_b": b, "relation": relation}


@pytest.fixture
def grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, dict[str, str]]:
    """Six drawn pictures in a lake up to the index, with matches and groups made by hand: `whole`
    keeps a copy, a part and an edit; `shot` is alike; `other` is nothing. And their ids."""
    doubles(monkeypatch.setattr)
    made: Bench = bench(tmp_path / "home", tmp_path / "pictures")
    drawn = [Picture(0x0F0F_3C3C_00FF_A5A5 >> 7 * i, i) for i in range(6)]
    drawn[1] = drawn[0]
    for minute, (name, picture) in enumerate(zip(NAMES, drawn, strict=True)):
        place(made.source, f"{name}.png", picture.content, 0, minute)
    run = made.run()
    walk(run, ("ingest", "prefilter", "embed", "index"))
    lake = run.lake
    images = lake.snapshot("images")
    rows = {Path(r["key"]).stem: r for r in images.read().to_pylist()}
    ids = {name: row["image_id"] for name, row in rows.items()}
    seen = {n: member(ids[n], ids["whole"], ids["whole"], r) for n, r in RELATIONS.items()}
    matches = [
        a_match(ids["part"], ids["whole"], "crop", **about(seen["part"])),
        a_match(ids["edit"], ids["whole"], "edited", **about(seen["edit"])),
        a_match(ids["edit"], ids["part"], "edited", score=0.7),
        a_match(ids["shot"], ids["whole"], "alike"),
        a_match(ids["shot"], ids["part"], "different", score=0.01),
    ]
    groups = []
    for name, row in rows.items():
        found: dict[str, Any] = dict.fromkeys(GROUPS.names)
        found |= {c: row[c] for c in ("arrival", "image_id", "sha256")}
        found |= {"status": "active", "verdict": "unique", "crowded": False}
        if name == "whole":
            kept = {"verdict": "keeper", "group_id": ids[name], "keeper_id": ids[name]}
            found |= kept | {"why": "whole picture"}
        elif name in seen:
            found |= {c: seen[name][c] for c in found if seen[name].get(c) is not None}
            found |= {c: row[c] for c in ("arrival", "image_id", "sha256")}
            found["status"] = "collapsed" if name == "copy" else "active"
        groups.append(found)
    publish(run, "matches", {}, pa.Table.from_pylist(matches, MATCHES), {})
    groups.sort(key=lambda row: str(row["image_id"]))
    reads = {"images": images.version, "matches": lake.snapshot("matches").version}
    arrival = {"arrival": groups[0]["arrival"]}
    publish(run, "groups", arrival, pa.Table.from_pylist(groups, GROUPS), reads)
    return run, ids


def about(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "score": row["score"],
        "overlap_a": row["overlap"],
        "overlap_b": row["keeper_overlap"],
        "changed": row["changed"],
    }


def publish(
    run: Run, table: str, partition: dict[str, str], rows: pa.Table, reads: dict[str, int]
) -> None:
    change = TableChange(table, run.lake.snapshot(table).version, metadata={"reads": reads})
    change.add.append(run.lake.write_rows(table, partition, rows))
    run.lake.publish(change)


def broken(run: Run, candidate: Candidate) -> set[str]:
    return {r.rule for r in pipeline.check(run, candidate, "arrow") if not r.success}


def rows_of(run: Run, candidate: Candidate, name: str) -> pa.Table:
    with run.lake.open(candidate.files[name]) as stream:
        return pq.read_table(stream)


def test_pairs_are_the_matches_and_each_member_with_its_keeper_once(
    grouped: tuple[Run, dict[str, str]],
) -> None:
    run, ids = grouped
    candidate = report.prepare(run)
    found = {
        frozenset((row["image_a"], row["image_b"])): row
        for row in rows_of(run, candidate, "pairs").to_pylist()
    }
    names = [("copy", "whole"), ("part", "whole"), ("edit", "whole"), ("edit", "part")]
    names += [("shot", "whole"), ("shot", "part")]
    assert set(found) == {frozenset((ids[a], ids[b])) for a, b in names}
    assert all(row["image_a"] < row["image_b"] for row in found.values())
    part = found[frozenset((ids["part"], ids["whole"]))]
    overlaps = {part["image_a"]: part["overlap_a"], part["image_b"]: part["overlap_b"]}
    assert overlaps == {ids["part"]: 1.0, ids["whole"]: 0.62}
    assert broken(run, candidate) == set()


@pytest.mark.parametrize("reclaimable", [False, True])
def test_counts(grouped: tuple[Run, dict[str, str]], reclaimable: bool) -> None:
    run, _ = grouped
    settings = {"grouping": {"variants_reclaimable": reclaimable}}
    run = replace(
        run, collection=run.collection.model_validate(run.collection.model_dump() | settings)
    )
    candidate = report.prepare(run)
    counts = candidate.counts
    sizes = {
        Path(r["key"]).stem: r["bytes"] for r in rows_of(run, candidate, "results").to_pylist()
    }
    assert (counts["images"], counts["groups"]) == (6, 1)
    assert (counts["duplicates"], counts["duplicates_exact"], counts["duplicates_crop"]) == (
        2,
        1,
        1,
    )
    assert (counts["variants"], counts["variants_edited"], counts["variants_inside"]) == (1, 1, 0)
    assert (counts["pairs"], counts["alike"]) == (6, 1)
    assert counts["reclaimable_exact"] == sizes["copy"]
    assert counts["reclaimable_edited"] == (sizes["edit"] if reclaimable else 0)
    assert broken(run, candidate) == set()


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda rows: rows[1:], "result_pairs_complete"),
        (lambda rows: [*rows, rows[0]], "result_pairs_unique"),
        (lambda rows: [{**rows[0], "relation": "alike"}, *rows[1:]], "result_pairs_complete"),
        (lambda rows: [{**rows[0], "overlap_a": 0.5}, *rows[1:]], "result_pairs_complete"),
        (
            lambda rows: [*rows, {**rows[0], "image_a": "0" * 32}],
            "result_pairs_complete",
        ),
    ],
)
def test_pairs_that_are_not_the_lakes_are_refused(
    grouped: tuple[Run, dict[str, str]], damage: Any, rule: str
) -> None:
    run, _ = grouped
    candidate = report.prepare(run)
    rows = rows_of(run, candidate, "pairs")
    with run.lake.create(candidate.files["pairs"]) as stream:
        pq.write_table(pa.Table.from_pylist(damage(rows.to_pylist()), rows.schema), stream)
    assert rule in broken(run, candidate)


def test_the_tables_of_a_scan(grouped: tuple[Run, dict[str, str]], tmp_path: Path) -> None:
    run, _ = grouped
    files = report.prepare(run).files
    groups = group_members(run, files["results"])
    assert tuple(groups.column_names) == GROUP_COLUMNS
    rows = groups.to_pylist()
    assert [Path(r["uri"]).stem for r in rows] == ["whole", "copy", "part", "edit"]
    assert [r["relation"] for r in rows] == [None, "exact", "crop", "edited"]
    assert {Path(r["keeper_uri"]).stem for r in rows} == {"whole"}
    assert (rows[2]["overlap"], rows[2]["keeper_overlap"]) == (1.0, 0.62)
    assert (rows[3]["changed"], rows[3]["place"]) == (0.07, "top left")
    pairs = pairs_looked_at(run, files["results"], files["pairs"])
    assert tuple(pairs.column_names) == PAIR_COLUMNS
    scores = pairs["score"].to_pylist()
    assert scores == sorted(scores, reverse=True)
    assert pairs["relation"].to_pylist()[-1] == "different"
    with (tmp_path / "groups.csv").open("wb") as stream:
        write_csv(groups, stream)
    with (tmp_path / "groups.csv").open(encoding="utf-8", newline="") as text:
        written = list(csv.DictReader(text))
    assert list(written[0])[:5] == ["uri", "group_id", "relation", "is_keeper", "image_id"]
    assert (written[0]["relation"], written[0]["is_keeper"]) == ("", "true")
    assert written[2]["why"] == "crop, by hand"


def test_the_warehouse_shows_them_and_agrees(grouped: tuple[Run, dict[str, str]]) -> None:
    run, ids = grouped
    candidate, warehouse = report.prepare(run), Warehouse(run.places.warehouse)
    files = (report.read_results(run.lake, candidate.files[n]) for n in ("results", "pairs"))
    warehouse.apply(run, candidate, *files)
    [alike] = warehouse.query("alike_pairs", collection="drawn", limit=9)
    assert {alike["image_a"], alike["image_b"]} == {ids["shot"], ids["whole"]}
    reads, parts, pairs = report.results(run)
    batches = (batch for part in parts for batch in part.to_batches())
    assert warehouse.compare(run, reads, batches, pairs) == {}
    rows = rows_of(run, candidate, "results").to_pylist()
    held = {(p["image_a"], p["image_b"]) for p in keeper_pairs(rows)}
    assert len(held) == 3
