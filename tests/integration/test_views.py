"""The views, which dashboards read: on SQLite and PostgreSQL they give the same figures."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from result_rows import a_candidate, a_run, batches, counts_in, duplicate, image, keeper, rejected

from idedup_tasks.lake import RESULTS, uncertain
from idedup_tasks.run import Run
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
    """Two days: four images in one mixed group, a pair of twins, one unique, two rejected."""
    first, second = {"arrival": "2026-01-01"}, {"arrival": "2026-01-02"}
    return [
        keeper("01", bytes=3 * GB, key="a/one.jpg", **first),
        duplicate("02", "01", "01", "01", "exact", bytes=3 * GB, key="a/two.jpg", **first),
        duplicate("03", "01", "01", "01", "perceptual", bytes=2 * GB, key="b/3.png", **second)
        | {"format": "PNG"},
        duplicate("04", "03", "01", "01", "near", bytes=GB, key="b/4.png", **second)
        | {"format": "PNG", "score_to_keeper": 0.7},
        keeper("05", bytes=10, key="five.jpg", **second),
        duplicate("06", "05", "05", "05", "exact", bytes=10, key="six.jpg", **second),
        image("07", bytes=5, key="b/c/seven.jpg", **second),
        rejected("08", "damaged", bytes=1, key="b/eight.jpg", **second),
        rejected("09", "too_large", bytes=2, key="b/nine.jpg", arrival="2026-01-03"),
    ]


@pytest.fixture
def run(warehouse: Warehouse, tmp_path: Path) -> Run:
    run = a_run(tmp_path, price_per_gb_month=0.5, currency="EUR")
    warehouse.apply(run, a_candidate(run), batches(a_collection()))
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
    assert (second["images"], second["decoded"], second["rejected"]) == (6, 5, 1)
    assert second["duplicate_rate"] == pytest.approx(3 / 5)
    kinds = ("duplicates_exact", "duplicates_perceptual", "duplicates_near")
    assert [second[kind] for kind in kinds] == [1, 1, 1]
    sizes = ("reclaimable_exact", "reclaimable_perceptual", "reclaimable_near")
    assert [second[size] for size in sizes] == [10, 2 * GB, GB]
    assert second["reclaimable_bytes"] == 3 * GB + 10
    assert third["duplicate_rate"] is None
    assert third["decoded"] == 0


def test_a_late_backfill_corrects_the_past(warehouse: Warehouse, run: Run) -> None:
    """An earlier copy turns up: the day that held the original now holds a duplicate of it."""
    content = a_collection()
    content[6] = duplicate("07", "00", "00", "00", "exact", key="b/c/seven.jpg")
    content[6]["arrival"] = "2026-01-02"
    content.append(keeper("00", arrival="2025-12-31"))
    warehouse.apply(run, a_candidate(run, version=2), batches(content))
    found = by(view(warehouse, "duplicates_by_period"), "arrival")
    assert found["2025-12-31"]["keepers"] == 1
    assert (found["2026-01-02"]["duplicates"], found["2026-01-02"]["unique_images"]) == (4, 0)
    assert sum(row["images"] for row in found.values()) == 10


def test_duplicates_by_format(warehouse: Warehouse, run: Run) -> None:
    found = by(view(warehouse, "duplicates_by_format"), "format")
    assert set(found) == {"JPEG", "PNG", "unknown"}
    assert found["PNG"]["duplicate_rate"] == 1.0
    assert found["PNG"]["reclaimable_bytes"] == 3 * GB
    assert found["unknown"]["rejected"] == 2
    assert found["unknown"]["duplicate_rate"] is None


def test_duplicates_by_prefix(warehouse: Warehouse, run: Run) -> None:
    found = by(view(warehouse, "duplicates_by_prefix"), "prefix")
    assert {prefix: row["images"] for prefix, row in found.items()} == {"": 2, "a": 2, "b": 5}
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
    assert (png["duplicates_perceptual"], png["duplicates_near"]) == (1, 1)
    assert float(png["cost_per_month"]) == float(png["savable_per_month"]) == pytest.approx(1.5)
    first = found["2026-01-01", "a", "JPEG"]
    assert float(first["cost_per_month"]) == pytest.approx(3.0)
    assert float(first["savable_per_month"]) == pytest.approx(1.5)
    [totals] = warehouse.query("totals", collection="photos")
    for column in ("images", "rejected", "duplicates", "bytes", "reclaimable_bytes"):
        assert sum(row[column] for row in found.values()) == totals[column]


def test_threshold_sensitivity(warehouse: Warehouse, tmp_path: Path) -> None:
    """A score counts from the threshold on, not only above it."""
    run = a_run(tmp_path)
    scores = {"02": 0.7999, "03": 0.8, "04": 0.9, "05": 0.9001, "06": 1.0}
    content = [
        keeper("01", bytes=GB),
        *(
            duplicate(i, "01", "01", "01", "near", score=score, bytes=10)
            for i, score in scores.items()
        ),
        duplicate("07", "01", "01", "01", "near", score=0.95, arrival="2026-01-02", bytes=10),
        duplicate("08", "01", "01", "01", "exact"),
    ]
    warehouse.apply(run, a_candidate(run), batches(content))
    found = by(view(warehouse, "threshold_sensitivity"), "arrival", "threshold")
    first = [found["2026-01-01", threshold] for threshold in (0.8, 0.85, 0.9, 0.95)]
    assert [row["duplicates_near"] for row in first] == [5] * 4
    assert [row["remaining"] for row in first] == [4, 3, 3, 1]
    assert [row["remaining_bytes"] for row in first] == [40, 30, 30, 10]
    assert found["2026-01-02", 0.95]["remaining"] == 1
    assert len(found) == 8


def test_group_sizes_and_profile(warehouse: Warehouse, run: Run) -> None:
    sizes = by(view(warehouse, "group_sizes"), "size", "relation")
    assert set(sizes) == {(4, "mixed"), (2, "exact")}
    assert sizes[4, "mixed"]["reclaimable_bytes"] == 6 * GB
    assert sizes[4, "mixed"]["images"] == 4
    profile = by(view(warehouse, "group_profile"), "group_id")
    assert profile["01"]["keeper_key"] == "a/one.jpg"
    assert float(profile["01"]["cost_per_month"]) == pytest.approx(3.0)
    assert (profile["01"]["first_arrival"], profile["01"]["last_arrival"]) == (
        "2026-01-01",
        "2026-01-02",
    )


@pytest.mark.parametrize("relation", ["exact", "perceptual", "near"])
def test_a_group_of_one_relation(warehouse: Warehouse, tmp_path: Path, relation: str) -> None:
    run = a_run(tmp_path)
    content = [keeper("01"), duplicate("02", "01", "01", "01", relation)]
    warehouse.apply(run, a_candidate(run), batches(content))
    assert [row["relation"] for row in view(warehouse, "group_profile")] == [relation]


def test_top_groups(warehouse: Warehouse, run: Run) -> None:
    content = [
        *a_collection(),
        keeper("0a", bytes=9 * GB),
        duplicate("0b", "0a", "0a", "0a", "exact", bytes=9 * GB),
    ]
    warehouse.apply(run, a_candidate(run), batches(content))
    found = by(view(warehouse, "top_groups"), "group_id")
    ranks = {g: (row["rank_by_size"], row["rank_by_bytes"]) for g, row in found.items()}
    assert ranks == {"01": (1, 2), "0a": (2, 1), "05": (3, 3)}
    top = warehouse.query("top_groups", collection="photos", limit=2)
    assert [row["group_id"] for row in top] == ["01", "0a"]


def test_member_evidence(warehouse: Warehouse, run: Run) -> None:
    members = warehouse.query("members", collection="photos", group_id="01", limit=10)
    assert [m["image_id"] for m in members] == ["01", "02", "03", "04"]
    assert members[0]["is_keeper"] is True
    assert members[0]["matched_key"] is None
    last = members[3]
    assert (last["key"], last["matched_key"], last["keeper_key"]) == (
        "b/4.png",
        "b/3.png",
        "a/one.jpg",
    )
    assert (last["relation"], last["method"], last["score"], last["threshold"]) == (
        "near",
        "model@1",
        0.81,
        0.65,
    )
    assert last["score_to_keeper"] == 0.7
    assert last["is_keeper"] is False
    assert len(warehouse.query("members", collection="photos", group_id="01", limit=2)) == 2


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.1601, 1.0])
def test_uncertain_members(warehouse: Warehouse, tmp_path: Path, margin: float) -> None:
    """The view and the tables of a scan mark the same members: those near what decided."""
    scores = [(0.65, 0.65), (0.6999, 0.9), (0.7, 0.7), (0.9, 0.3), (0.9, 0.8101)]
    content = [keeper("00"), duplicate("01", "00", "00", "00", "exact")]
    content.append(duplicate("02", "00", "00", "00", "perceptual") | {"score": 0.9062})
    for number, (score, to_keeper) in enumerate(scores, 3):
        row = duplicate(f"{number:02d}", "00", "00", "00", "near")
        content.append(row | {"score": score, "score_to_keeper": to_keeper})
    run = a_run(tmp_path, grouping={"uncertain_margin": margin})
    warehouse.apply(run, a_candidate(run), batches(content))
    found = by(view(warehouse, "member_evidence"), "image_id")
    marked = [name for name, row in sorted(found.items()) if row["uncertain"]]
    rows = pa.Table.from_pylist(content, schema=RESULTS)
    wanted = uncertain(rows, margin).to_pylist()
    assert marked == [r["image_id"] for r, doubt in zip(content, wanted, strict=True) if doubt]
    expected = {0.0: ["06"], 0.05: ["03", "04", "06"], 0.1601: ["03", "04", "05", "06"]}
    assert marked == expected.get(margin, ["03", "04", "05", "06", "07"])
    listed = warehouse.query("uncertain", collection="photos", limit=2)
    assert listed[0]["image_id"] == "06"
    assert listed[0]["uncertain"] is True
    assert listed[0]["uncertain_members"] == len(marked)
    members = warehouse.query("members", collection="photos", group_id="00", limit=20)
    # The keeper, then the uncertain ones, then the rest.
    doubts = [False] + [True] * len(marked) + [False] * (7 - len(marked))
    assert [m["uncertain"] for m in members] == doubts


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
    assert [photos[c] for c in ("images", "active", "collapsed", "rejected")] == [9, 4, 3, 2]
    assert (photos["decoded"], found["empty"]["decoded"]) == (7, 0)
    assert (photos["currency"], found["empty"]["currency"]) == ("EUR", "USD")
    for name in ("duplicate_counts", "group_profile", "top_groups", "storage_cost"):
        rows = view(warehouse, name)
        assert {row["currency"] for row in rows} == {"EUR"}, name
    assert (photos["groups"], photos["duplicates"], photos["unique_images"]) == (2, 4, 1)
    assert photos["duplicate_rate"] == pytest.approx(4 / 7)
    assert float(photos["savable_per_month"]) == pytest.approx(3.0)
    assert photos["model_id"] == run.model_id
    assert found["empty"]["images"] == 0
    assert found["empty"]["duplicate_rate"] is None
    assert float(found["empty"]["savable_per_month"]) == 0
    cost = by(view(warehouse, "storage_cost"), "relation")
    assert cost["exact"]["images"] == 2
    assert float(cost["exact"]["cost_per_month"]) == pytest.approx(1.5)
    assert sum(float(row["cost_per_month"]) for row in cost.values()) == pytest.approx(3.0)


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
    warehouse.apply(day, a_candidate(day), batches(content))
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
