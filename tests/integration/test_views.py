"""The views, which dashboards read: on SQLite and PostgreSQL they give the same figures."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from result_rows import (
    a_candidate,
    a_run,
    counts_in,
    fill,
    image,
    keeper,
    member,
    pair,
    rejected,
)

from idedup_tasks.run import Run
from idedup_tasks.settings import RELATIONS
from idedup_tasks.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[2]

GB = 1_000_000_000


@dataclass(frozen=True)
class Result:
    rule: str
    severity: str
    success: bool
    observed: str = "3"
    expected: str = "at most 2"


def a_collection() -> list[dict[str, Any]]:
    """Two days: five images in one mixed group, a pair of twins, one unique, two rejected."""
    first, second = {"arrival": "2026-01-01"}, {"arrival": "2026-01-02"}
    return [
        keeper("01", bytes=3 * GB, key="a/one.jpg", **first),
        member("02", "01", "01", "exact", bytes=3 * GB, key="a/two.jpg", **first),
        member("03", "01", "01", "same", bytes=2 * GB, key="b/3.png", **second) | {"format": "PNG"},
        member("04", "01", "01", "crop", bytes=GB, key="b/4.png", **second) | {"format": "PNG"},
        member("04e", "01", "01", "edited", bytes=4 * GB, key="b/4e.jpg", **second),
        keeper("05", bytes=10, key="five.jpg", **second),
        member("06", "05", "05", "exact", bytes=10, key="six.jpg", **second),
        image("07", bytes=5, key="b/c/seven.jpg", **second),
        rejected("08", "damaged", bytes=1, key="b/eight.jpg", **second),
        rejected("09", "too_large", bytes=2, key="b/nine.jpg", arrival="2026-01-03"),
    ]


@pytest.fixture
def run(warehouse: Warehouse, tmp_path: Path) -> Run:
    run = a_run(tmp_path, price_per_gb_month=0.5, currency="EUR")
    fill(warehouse, run, a_collection(), [pair("05", "07"), pair("07", "08", "undecided")])
    return run


def view(warehouse: Warehouse, name: str) -> list[dict[str, Any]]:
    with warehouse.engine.connect() as connection:
        found = connection.execute(sa.select(sa.text("*")).select_from(sa.table(name)))
        return [dict(row) for row in found.mappings()]


def by(found: list[dict[str, Any]], *columns: str) -> dict[Any, dict[str, Any]]:
    keyed = {tuple(row[c] for c in columns): row for row in found}
    assert len(keyed) == len(found)
    return {key if len(columns) > 1 else key[0]: row for key, row in keyed.items()}


def test_duplicates_by_period(warehouse: Warehouse, run: Run) -> None:
    found = by(warehouse.query("periods", collection="photos"), "arrival")
    first, second, third = (found[f"2026-01-0{day}"] for day in (1, 2, 3))
    assert first["period_start"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert (first["images"], first["duplicates"], first["duplicate_rate"]) == (2, 1, 0.5)
    assert (first["keepers"], first["unique_images"]) == (1, 0)
    assert (second["images"], second["decoded"], second["rejected"]) == (7, 6, 1)
    assert second["duplicate_rate"] == pytest.approx(3 / 6)
    kinds = ("duplicates_exact", "duplicates_same", "duplicates_crop")
    assert [second[kind] for kind in kinds] == [1, 1, 1]
    kinds = ("variants", "variants_inside", "variants_edited")
    assert [second[kind] for kind in kinds] == [1, 0, 1]
    assert [second[f"reclaimable_{r}"] for r in RELATIONS] == [10, 2 * GB, GB, 0, 0]
    assert second["reclaimable_bytes"] == 3 * GB + 10
    assert third["duplicate_rate"] is None
    assert third["decoded"] == 0


def test_a_late_backfill_corrects_the_past(warehouse: Warehouse, run: Run) -> None:
    """An earlier copy turns up: the day that held the original now holds a duplicate of it."""
    content = a_collection()
    content[7] = member("07", "00", "00", "exact", key="b/c/seven.jpg")
    content[7]["arrival"] = "2026-01-02"
    content.append(keeper("00", arrival="2025-12-31"))
    fill(warehouse, run, content, version=2)
    found = by(view(warehouse, "duplicates_by_period"), "arrival")
    assert found["2025-12-31"]["keepers"] == 1
    assert (found["2026-01-02"]["duplicates"], found["2026-01-02"]["unique_images"]) == (4, 0)
    assert sum(row["images"] for row in found.values()) == 11


def test_duplicates_by_format(warehouse: Warehouse, run: Run) -> None:
    found = by(view(warehouse, "duplicates_by_format"), "format")
    assert set(found) == {"JPEG", "PNG", "unknown"}
    assert found["PNG"]["duplicate_rate"] == 1.0
    assert found["PNG"]["reclaimable_bytes"] == 3 * GB
    assert found["unknown"]["rejected"] == 2
    assert found["unknown"]["duplicate_rate"] is None


def test_duplicates_by_prefix(warehouse: Warehouse, run: Run) -> None:
    found = by(view(warehouse, "duplicates_by_prefix"), "prefix")
    assert {prefix: row["images"] for prefix, row in found.items()} == {"": 2, "a": 2, "b": 6}
    top = warehouse.query("prefixes", collection="photos", limit=2)
    assert [row["prefix"] for row in top] == ["a", "b"]


def test_duplicate_counts_are_what_the_others_are_sums_of(warehouse: Warehouse, run: Run) -> None:
    found = by(view(warehouse, "duplicate_counts"), "arrival", "prefix", "format")
    assert set(found) == {
        ("2026-01-01", "a", "JPEG"),
        ("2026-01-02", "b", "PNG"),
        ("2026-01-02", "", "JPEG"),
        ("2026-01-02", "b", "JPEG"),
        ("2026-01-02", "b", "unknown"),
        ("2026-01-03", "b", "unknown"),
    }
    png = found["2026-01-02", "b", "PNG"]
    assert (png["images"], png["active"], png["collapsed"]) == (2, 1, 1)
    assert (png["duplicates_same"], png["duplicates_crop"]) == (1, 1)
    assert float(png["cost_per_month"]) == float(png["savable_per_month"]) == pytest.approx(1.5)
    first = found["2026-01-01", "a", "JPEG"]
    assert float(first["cost_per_month"]) == pytest.approx(3.0)
    assert float(first["savable_per_month"]) == pytest.approx(1.5)
    [totals] = warehouse.query("totals", collection="photos")
    for column in ("images", "rejected", "duplicates", "variants", "bytes", "reclaimable_bytes"):
        assert sum(row[column] for row in found.values()) == totals[column]


def test_alike_pairs(warehouse: Warehouse, run: Run) -> None:
    """They are listed apart: nothing is a duplicate, or reclaimable, by them."""
    [alike] = view(warehouse, "alike_pairs")
    assert (alike["key_a"], alike["key_b"]) == ("five.jpg", "b/c/seven.jpg")
    assert (alike["score"], alike["overlap_a"], alike["changed"]) == (0.4, 0.9, 0.3)
    assert alike["arrival"] == "2026-01-02"
    assert by(view(warehouse, "image_state"), "image_id")["07"]["verdict"] == "unique"
    content = [image("01"), image("02", arrival="2026-01-02"), image("03")]
    fill(warehouse, run, content, [pair("01", "02", score=0.3), pair("02", "03", score=0.35)])
    nearest, other = warehouse.query("alike_pairs", collection="photos", limit=2)
    assert (nearest["image_a"], other["image_a"], nearest["pairs"]) == ("02", "01", 2)
    assert nearest["period_start"] == datetime(2026, 1, 2, tzinfo=UTC)
    assert len(warehouse.query("alike_pairs", collection="photos", limit=1)) == 1


def test_group_sizes_and_profile(warehouse: Warehouse, run: Run) -> None:
    sizes = by(view(warehouse, "group_sizes"), "size", "relation")
    assert set(sizes) == {(5, "mixed"), (2, "exact")}
    assert sizes[5, "mixed"]["reclaimable_bytes"] == 6 * GB
    assert sizes[5, "mixed"]["images"] == 5
    profile = by(view(warehouse, "group_profile"), "group_id")
    assert profile["01"]["keeper_key"] == "a/one.jpg"
    counted = ("duplicates", "variants", *RELATIONS)
    assert [profile["01"][name] for name in counted] == [3, 1, 1, 1, 1, 0, 1]
    assert float(profile["01"]["cost_per_month"]) == pytest.approx(3.0)
    assert (profile["01"]["first_arrival"], profile["01"]["last_arrival"]) == (
        "2026-01-01",
        "2026-01-02",
    )


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_group_of_one_relation(warehouse: Warehouse, tmp_path: Path, relation: str) -> None:
    run = a_run(tmp_path)
    content = [keeper("01"), member("02", "01", "01", relation)]
    fill(warehouse, run, content)
    assert [row["relation"] for row in view(warehouse, "group_profile")] == [relation]


def test_top_groups(warehouse: Warehouse, run: Run) -> None:
    content = [
        *a_collection(),
        keeper("0a", bytes=9 * GB),
        member("0b", "0a", "0a", "exact", bytes=9 * GB),
    ]
    fill(warehouse, run, content)
    found = by(view(warehouse, "top_groups"), "group_id")
    ranks = {g: (row["rank_by_size"], row["rank_by_bytes"]) for g, row in found.items()}
    assert ranks == {"01": (1, 2), "0a": (2, 1), "05": (3, 3)}
    top = warehouse.query("top_groups", collection="photos", limit=2)
    assert [row["group_id"] for row in top] == ["01", "0a"]


def test_member_evidence(warehouse: Warehouse, run: Run) -> None:
    """The keeper, then duplicates, then variants, with what was seen of each and the keeper."""
    members = warehouse.query("members", collection="photos", group_id="01", limit=10)
    assert [m["image_id"] for m in members] == ["01", "02", "03", "04", "04e"]
    assert (members[0]["is_keeper"], members[0]["verdict"]) == (True, "keeper")
    assert (members[0]["relation"], members[0]["why"]) == (None, "the whole picture")
    last = members[4]
    assert (last["key"], last["keeper_key"]) == ("b/4e.jpg", "a/one.jpg")
    assert (last["verdict"], last["relation"], last["method"]) == ("variant", "edited", "looks-1")
    assert (last["score"], last["overlap"], last["keeper_overlap"]) == (0.9, 1.0, 1.0)
    assert (last["changed"], last["place"], last["why"]) == (0.07, "top left", "edited, by hand")
    assert last["is_keeper"] is False
    few = warehouse.query("members", collection="photos", group_id="01", limit=3)
    assert [m["image_id"] for m in few] == ["01", "02", "04e"], "duplicates leave variants room"


def test_rejects_by_reason(warehouse: Warehouse, run: Run) -> None:
    found = by(view(warehouse, "rejects_by_reason"), "arrival", "reason_code")
    assert set(found) == {("2026-01-02", "damaged"), ("2026-01-03", "too_large")}
    [sample] = warehouse.query(
        "rejected_sample", collection="photos", reason_code="damaged", limit=5
    )
    assert sample["key"] == "b/eight.jpg"
    assert sample["reason"] == "cannot be read: damaged"
    assert sum(r["images"] for r in warehouse.query("rejects", collection="photos")) == 2


def test_collection_totals_and_cost(warehouse: Warehouse, run: Run, tmp_path: Path) -> None:
    empty = a_run(tmp_path, name="empty")
    warehouse.record_quality(empty, "ingest", [])
    found = by(warehouse.query("collections"), "collection")
    photos = found["photos"]
    assert [photos[c] for c in ("images", "active", "collapsed", "rejected")] == [10, 5, 3, 2]
    assert (photos["decoded"], found["empty"]["decoded"]) == (8, 0)
    assert (photos["currency"], found["empty"]["currency"]) == ("EUR", "USD")
    for name in ("duplicate_counts", "group_profile", "top_groups", "storage_cost"):
        rows = view(warehouse, name)
        assert {row["currency"] for row in rows} == {"EUR"}, name
    assert (photos["groups"], photos["duplicates"], photos["unique_images"]) == (2, 4, 1)
    assert (photos["variants"], photos["variants_edited"]) == (1, 1)
    assert photos["duplicate_rate"] == pytest.approx(4 / 8)
    assert float(photos["savable_per_month"]) == pytest.approx(3.0)
    assert photos["model_id"] == run.model_id
    assert found["empty"]["images"] == 0
    assert found["empty"]["duplicate_rate"] is None
    assert float(found["empty"]["savable_per_month"]) == 0
    cost = by(view(warehouse, "storage_cost"), "relation")
    assert cost["exact"]["images"] == 2
    assert float(cost["exact"]["cost_per_month"]) == pytest.approx(1.5)
    assert sum(float(row["cost_per_month"]) for row in cost.values()) == pytest.approx(3.0)
    assert (cost["edited"]["images"], cost["edited"]["reclaimable_bytes"]) == (1, 0)


def test_run_health_and_quality(warehouse: Warehouse, run: Run) -> None:
    started = datetime(2026, 1, 5, tzinfo=UTC)
    vectors = {"present": 0, "embedded": 8, "dim": 256, "model_id": "model@1"}
    of_stages = {
        "ingest": {"listed": 8, "decoded": 8},
        "prefilter": {"decoded": 8, "active": 8},
        "embed": {"active": 8, **vectors},
    }
    for number, (stage, counts) in enumerate(of_stages.items()):
        candidate = a_candidate(run, stage, images=8, **counts)
        began = started + timedelta(seconds=number)
        warehouse.record_stage(run, stage, began, 4.0, candidate, counts_in(candidate))
    warehouse.record_quality(
        run, "ingest", [Result("a", "error", True), Result("b", "warn", False)]
    )
    warehouse.record_published(run, "ingest", {"images": 1})
    warehouse.record_quality(run, "prefilter", [Result("a", "error", False)])
    stages = warehouse.query("stages", collection="photos", run_id=run.run_id)
    assert [(s["stage"], s["state"]) for s in stages] == [
        ("ingest", "published"),
        ("prefilter", "refused"),
        ("embed", "prepared"),
    ]
    assert (stages[0]["rules"], stages[0]["rules_failed"], stages[0]["rules_warned"]) == (2, 0, 1)
    assert stages[0]["images_per_second"] == 2.0
    [newest] = warehouse.query("runs", collection="photos", limit=5)
    assert (newest["stages_published"], newest["stages_failed"]) == (1, 1)
    assert newest["seconds"] == 12.0
    assert newest["started_at"] == started
    assert len(warehouse.query("quality_open")) == 2
    assert (newest["listed"], newest["rejected"], newest["images"]) == (8, 0, 8)
    assert newest["images_per_second"] == pytest.approx(8 / 12)

    later = replace(run, run_id="manual__2")
    warehouse.record_quality(later, "prefilter", [Result("a", "error", True)])
    [still] = warehouse.query("quality_open")
    assert (still["stage"], still["rule"], still["severity"]) == ("ingest", "b", "warn")
    history = by(view(warehouse, "quality_over_time"), "run_id", "stage", "rule")
    assert history["manual__1", "prefilter", "a"]["age"] == 2
    assert history["manual__2", "prefilter", "a"]["age"] == 1


def test_rejects_of_a_run_are_those_that_arrived_in_its_window(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    day = a_run(tmp_path, run_id="day")
    everything = replace(a_run(tmp_path, run_id="everything"), window=None)
    for run in (day, everything):
        candidate = a_candidate(run, "ingest", listed=5, decoded=1, images=5)
        warehouse.record_stage(
            run, "ingest", datetime.now(UTC), 1.0, candidate, counts_in(candidate)
        )
    moments = {
        "01": datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        "02": datetime(2026, 1, 1, tzinfo=UTC),
        "03": datetime(2026, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC),
        "04": datetime(2026, 1, 2, tzinfo=UTC),
    }
    content = [rejected(i, arrived_at=moment) for i, moment in moments.items()]
    content.append(rejected("05", "too_large", arrived_at=moments["02"], bytes=7))
    content.append(image("06", arrived_at=moments["02"]))
    fill(warehouse, day, content)
    found = by(view(warehouse, "rejects_by_run"), "run_id", "reason_code")
    assert {key: row["images"] for key, row in found.items()} == {
        ("day", "damaged"): 2,
        ("day", "too_large"): 1,
        ("everything", "damaged"): 4,
        ("everything", "too_large"): 1,
    }
    assert found["day", "too_large"]["bytes"] == 7


def test_benchmark_history(warehouse: Warehouse) -> None:
    figure = {"dataset": "photos", "method": "phash", "measure": "f1", "value": 0.7}
    for day in (1, 2):
        moment = datetime(2026, 1, day, tzinfo=UTC)
        warehouse.record_benchmark(f"run {day}", moment, [{**figure, "value": day / 10}])
    found = by(view(warehouse, "benchmark_history"), "age")
    assert (found[1]["benchmark_id"], found[1]["value"]) == ("run 2", 0.2)
    assert (found[2]["benchmark_id"], found[2]["value"]) == ("run 1", 0.1)


def test_the_dictionary_says_what_the_database_says(postgresql_url: str) -> None:
    warehouse = Warehouse(postgresql_url)
    warehouse.upgrade()
    spec = importlib.util.spec_from_file_location("dictionary", ROOT / "docs/dictionary.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.dictionary(warehouse)
    assert "None" not in found, "a table, view or column has no comment"
    written = (ROOT / "docs/dictionary.md").read_text(encoding="utf-8")
    assert found == written, "run `make docs`"
    for view in sa.inspect(warehouse.engine).get_view_names():
        document = (ROOT / "docs/warehouse.md").read_text(encoding="utf-8")
        assert f"`{view}`" in document, view


def test_both_databases_have_the_same_columns(tmp_path: Path, postgresql_url: str) -> None:
    columns = []
    for url in (f"sqlite:///{tmp_path}/warehouse.db", postgresql_url):
        warehouse = Warehouse(url)
        warehouse.upgrade()
        inspector = sa.inspect(warehouse.engine)
        names = (*inspector.get_table_names(), *inspector.get_view_names())
        columns.append({n: [c["name"] for c in inspector.get_columns(n)] for n in names})
    assert columns[0] == columns[1]
