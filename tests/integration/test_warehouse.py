"""The warehouse on real databases: its schema, its history, and how current state is applied."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from result_rows import (
    a_candidate,
    a_run,
    batches,
    counts_in,
    fill,
    image,
    keeper,
    keeper_pairs,
    member,
    pair,
    rejected,
)

from idedup_tasks.descriptors import DecisionLevels
from idedup_tasks.lake import PAIR_RESULTS, Candidate, Conflict
from idedup_tasks.settings import RELATIONS
from idedup_tasks.warehouse import Warehouse, WarehouseError

STATE = ("image", "duplicate_group", "group_member", "duplicate_pair", "model")


@dataclass(frozen=True)
class Result:
    rule: str
    severity: str
    success: bool
    observed: str = "3"
    expected: str = "at most 2"


def rows(warehouse: Warehouse, table: str) -> list[tuple[Any, ...]]:
    with warehouse.engine.connect() as connection:
        found = connection.execute(sa.select(sa.text("*")).select_from(sa.table(table)))
        return sorted((tuple(row) for row in found), key=repr)


def state(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    return {table: rows(warehouse, table) for table in STATE}


def a_group() -> list[dict[str, Any]]:
    """`01` earliest, `02` its bytes again, `03` the same but larger and kept, `04` edited."""
    return [
        member("01", "03", "01", "same"),
        member("02", "03", "01", "same"),
        keeper("03", "01", bytes=300),
        member("04", "03", "01", "edited"),
        image("05", key="summer/beach.png", format="PNG"),
        rejected("06"),
    ]


# --- schema ------------------------------------------------------------------------------------


def test_upgrade_from_nothing_and_again(empty_warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="run `idedup db upgrade`"):
        empty_warehouse.query("collections")
    empty_warehouse.upgrade()
    empty_warehouse.upgrade()
    assert empty_warehouse.query("collections") == []
    inspector = sa.inspect(empty_warehouse.engine)
    assert {*STATE, "collection", "run", "quality_result"} <= set(inspector.get_table_names())
    for table in (*STATE, "run", "quality_result"):
        key = inspector.get_pk_constraint(table)["constrained_columns"]
        assert key[0] == "collection", table


def test_upgrades_at_the_same_moment(empty_warehouse: Warehouse) -> None:
    errors: list[BaseException] = []

    def upgrade() -> None:
        try:
            empty_warehouse.upgrade()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert empty_warehouse.query("collections") == []


def test_a_newer_schema_is_refused(warehouse: Warehouse) -> None:
    with warehouse.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(WarehouseError, match="version 9999"):
        Warehouse(warehouse.url.render_as_string(hide_password=False)).query("collections")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:s3cret@127.0.0.1:1/warehouse",
        "postgres://someone:s3cret@no.such.host.invalid/warehouse?sslmode=require",
        "mysql://someone:s3cret@localhost/warehouse",
        "someone:s3cret@localhost",
        "sqlite:////proc/nothing/s3cret.db?password=s3cret",
    ],
)
def test_errors_are_a_sentence_without_the_password(url: str) -> None:
    with pytest.raises(WarehouseError) as caught:
        Warehouse(url).query("collections")
    text = f"{caught.value!r} {caught.value}"
    assert "s3cret@" not in text
    assert "=s3cret" not in text
    assert str(caught.value).endswith(".")
    assert caught.value.__cause__ is None


def test_address_and_repr_hide_the_password() -> None:
    warehouse = Warehouse("postgresql://someone:s3cret@host/db?sslkey=private")
    assert warehouse.address == "postgresql+psycopg://someone:***@host/db"
    assert "s3cret" not in repr(warehouse)


# --- history -----------------------------------------------------------------------------------


def test_a_rerun_overwrites_its_row(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    started = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    candidate = a_candidate(run, "ingest", listed=10, decoded=9, rejected=1, images=10)
    candidate.warnings.append("2 objects lie outside the window")
    warehouse.record_stage(run, "ingest", started, 2.0, error="unreachable \x00 source")
    [row] = warehouse.query("stages", collection="photos", run_id=run.run_id)
    assert row["state"] == "failed"
    assert row["error"] == "unreachable \ufffd source"
    assert row["rows_in"] is None
    assert row["images_per_second"] is None

    warehouse.record_stage(run, "ingest", started, 2.0, candidate, counts_in(candidate))
    warehouse.record_published(run, "ingest", {"images": 3})
    [row] = warehouse.query("stages", collection="photos", run_id=run.run_id)
    assert row["state"] == "published"
    assert row["tries"] == 2
    assert row["error"] is None
    assert (row["rows_in"], row["rows_out"], row["images_per_second"]) == (10, 9, 5.0)
    assert row["started_at"] == started
    assert row["published_at"].tzinfo is not None
    assert (row["window_start"], row["window_end"]) == run.window
    assert row["counts"]["rejected"] == 1
    assert row["warnings"] == ["2 objects lie outside the window"]

    warehouse.record_stage(run, "ingest", started, 0.0, candidate, counts_in(candidate))
    [row] = warehouse.query("stages", collection="photos", run_id=run.run_id)
    assert row["state"] == "prepared"
    assert row["published_at"] is None
    assert row["tries"] == 3
    assert row["images_per_second"] is None


def test_a_run_without_a_window(warehouse: Warehouse, tmp_path: Path) -> None:
    run = replace(a_run(tmp_path), window=None)
    vectors = {"dim": 256, "model_id": "model@1"}
    candidate = a_candidate(run, "embed", active=5, present=3, embedded=2, images=2, **vectors)
    warehouse.record_stage(run, "embed", datetime.now(UTC), 1.0, candidate, counts_in(candidate))
    [row] = warehouse.query("stages", collection="photos", run_id=run.run_id)
    assert row["window_start"] is None
    assert row["rows_out"] == 5


def test_quality_results_are_replaced(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    warehouse.record_quality(
        run, "ingest", [Result("a", "error", False), Result("b", "warn", True)]
    )
    warehouse.record_quality(run, "embed", [Result("a", "warn", False)])
    warehouse.record_quality(run, "ingest", [Result("a", "error", True)])
    found = warehouse.query("quality", collection="photos", run_id=run.run_id)
    assert {(r["stage"], r["rule"], r["success"]) for r in found} == {
        ("ingest", "a", True),
        ("embed", "a", False),
    }
    warehouse.record_quality(run, "embed", [])
    assert len(warehouse.query("quality", collection="photos", run_id=run.run_id)) == 1


def test_registering_a_model_again_replaces_its_card(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    fill(warehouse, run, [])
    about = {"model_id": "mobilenet@2", "descriptor": "mobilenet", "dim": 256}
    about |= {"thresholds": DecisionLevels(0.7, 0.6, 0.5, 6)}
    for f1 in (0.8, 0.9):
        warehouse.record_model(**about, location="models/mobilenet@2", card={"f1": f1})
    fill(warehouse, run, [])
    [row] = warehouse.query("registered_models")
    assert (row["model_id"], row["card"], row["threshold_cut"]) == ("mobilenet@2", {"f1": 0.9}, 0.5)
    assert row["location"] == "models/mobilenet@2"
    assert row["registered_at"].tzinfo is not None
    assert {row[0] for row in rows(warehouse, "model")} == {"", "photos"}


def test_a_benchmark_recorded_again_is_replaced(warehouse: Warehouse) -> None:
    moment = datetime(2026, 1, 2, 3, tzinfo=UTC)
    figure = {"dataset": "photos", "method": "phash", "measure": "f1", "value": 0.7}
    warehouse.record_benchmark("first", moment, [figure, {**figure, "measure": "recall"}])
    warehouse.record_benchmark("second", moment, [{**figure, "model_id": "m@1", "value": 0.9}])
    warehouse.record_benchmark("first", moment, [figure])
    found = {row["benchmark_id"]: row for row in warehouse.query("benchmarks")}
    assert len(warehouse.query("benchmarks")) == 2
    assert found["first"] == {**figure, "benchmark_id": "first", "created_at": moment} | {
        "model_id": None
    }
    assert (found["second"]["model_id"], found["second"]["value"]) == ("m@1", 0.9)


# --- current state -----------------------------------------------------------------------------


def test_apply_fills_all_tables(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    looked_at = [pair("01", "04", "edited", score=0.8), pair("01", "05")]
    done = fill(warehouse, run, a_group(), [*looked_at, pair("04", "05", "different")])
    # Six images, one group, four members; pairs 01-03, 02-03, 03-04, 01-04 and 01-05.
    assert done == {"inserted": 16, "updated": 0, "deleted": 0}
    [group] = rows(warehouse, "duplicate_group")
    counted = (2, 1, 0, 2, 0, 0, 1)
    days = ("2026-01-01", "2026-01-01")
    assert group == ("photos", "01", "03", 4, 600, 200, *counted, *days)
    pairs = {row[1:3]: row[3:] for row in rows(warehouse, "duplicate_pair")}
    assert pairs == {
        ("01", "03"): ("same", 0.99, 1.0, 1.0, 0.0, True),
        ("02", "03"): ("same", 0.99, 1.0, 1.0, 0.0, True),
        ("03", "04"): ("edited", 0.9, 1.0, 1.0, 0.07, True),
        ("01", "04"): ("edited", 0.8, 0.9, 0.8, 0.3, False),
        ("01", "05"): ("alike", 0.4, 0.9, 0.8, 0.3, False),
    }
    members = {row[1]: row[3:] for row in rows(warehouse, "group_member")}
    assert members["04"] == (
        *(False, "edited", "looks-1", "03", 0.9, 1.0, 1.0, 0.07, "top left", "edited, by hand"),
    )
    assert members["03"] == (True, None, None, "03", *[None] * 5, "the whole picture")
    beach = warehouse.query("image", collection="photos", image_id="05")[0]
    assert beach["prefix"] == "summer"
    assert beach["low_information"] is False
    assert beach["period_start"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert beach["arrived_at"] == datetime(2026, 1, 1, 9, tzinfo=UTC)


def test_variants_are_reclaimable_where_the_collection_says_so(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """A setting changes groups and views, and back."""
    for said, size in ((False, 200), (True, 300), (False, 200)):
        run = a_run(tmp_path, grouping={"variants_reclaimable": said})
        done = fill(warehouse, run, a_group())
        [group] = rows(warehouse, "duplicate_group")
        assert group[5] == size
        [totals] = warehouse.query("totals", collection="photos")
        assert (totals["reclaimable_bytes"], totals["reclaimable_edited"]) == (size, size - 200)
    assert done == {"inserted": 0, "updated": 1, "deleted": 0}


def test_a_pair_that_is_no_longer_alike_leaves(warehouse: Warehouse, tmp_path: Path) -> None:
    run, pictures = a_run(tmp_path), [image("01"), image("02"), image("03")]
    fill(warehouse, run, pictures, [pair("01", "02"), pair("02", "03")])
    seen = [pair("01", "02", "different"), pair("02", "03", "undecided", score=0.0)]
    done = fill(warehouse, run, pictures, seen)
    assert done == {"inserted": 0, "updated": 1, "deleted": 1}
    assert [row[1:5] for row in rows(warehouse, "duplicate_pair")] == [
        ("02", "03", "undecided", 0.0)
    ]


def test_applying_again_changes_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    fill(warehouse, run, a_group())
    before = state(warehouse)
    done = fill(warehouse, run, reversed(a_group()), size=2)
    assert done == {"inserted": 0, "updated": 0, "deleted": 0}
    assert state(warehouse) == before


def test_only_what_differs_is_touched(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    fill(warehouse, run, a_group())
    changed = a_group()
    changed[4] = image("05", key="winter/beach.png", format="PNG")  # updated
    changed[5] = image("07")  # 06 deleted, 07 inserted
    done = fill(warehouse, run, changed)
    assert done == {"inserted": 1, "updated": 1, "deleted": 1}


def test_null_and_value_differ_both_ways(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    for width in (None, 5, None):
        fill(warehouse, run, [image("01", width=width)])
        assert warehouse.query("image", collection="photos", image_id="01")[0]["width"] == width


def test_an_earlier_arrival_splits_a_group(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    fill(warehouse, run, a_group())
    split = [
        image("01"),
        image("02"),
        keeper("03"),
        member("04", "03", "03", "crop"),
        keeper("0a"),
        member("05", "0a", "0a", "exact"),
    ]
    fill(warehouse, run, split, version=2)
    fresh = a_run(tmp_path, name="fresh")
    fill(warehouse, fresh, split)
    held = {t: [r for r in found if r[0] == "photos"] for t, found in state(warehouse).items()}
    other = {
        t: [("photos", *r[1:]) for r in found if r[0] == "fresh"]
        for t, found in state(warehouse).items()
    }
    assert held == other
    assert {row[1] for row in held["duplicate_group"]} == {"03", "0a"}


def test_collections_do_not_touch_each_other(warehouse: Warehouse, tmp_path: Path) -> None:
    first, second = a_run(tmp_path), a_run(tmp_path, name="scans")
    fill(warehouse, first, a_group())
    before = state(warehouse)
    fill(warehouse, second, a_group())
    fill(warehouse, second, [])
    after = state(warehouse)
    after["model"] = [row for row in after["model"] if row[0] == "photos"]
    assert after == before


def test_nothing_at_all(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    done = fill(warehouse, run, [])
    assert done == {"inserted": 0, "updated": 0, "deleted": 0}
    [totals] = warehouse.query("totals", collection="photos")
    assert totals["images"] == 0
    assert totals["duplicate_rate"] is None


def test_older_versions_are_refused_and_leave_no_trace(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    run = a_run(tmp_path)
    fill(warehouse, run, a_group(), version=7)
    before = state(warehouse)
    with pytest.raises(Conflict, match=r"images 7 \(here 6\)"):
        fill(warehouse, run, [], version=6)
    assert state(warehouse) == before
    fill(warehouse, run, [], version=8)
    assert state(warehouse)["image"] == []


def test_another_lake_replaces_the_state(warehouse: Warehouse, tmp_path: Path) -> None:
    """A new lake begins at version 0 again: its results are not older ones of the lake before."""
    run = a_run(tmp_path)

    def of_lake(lake_id: str | None, version: int) -> Candidate:
        candidate = a_candidate(run, version=version)
        if lake_id:
            candidate.reads["lake_id"] = lake_id
        return candidate

    warehouse.apply(run, of_lake(None, 5), batches([image("01")]), [])
    with pytest.raises(Conflict):  # which lake the state is of is not known yet
        warehouse.apply(run, of_lake("first", 4), batches([image("02")]), [])
    warehouse.apply(run, of_lake("first", 5), batches([image("02")]), [])
    with pytest.raises(Conflict, match=r"newer versions of groups 5 \(here 4\), images 5"):
        warehouse.apply(run, of_lake("first", 4), batches([image("03")]), [])
    done = warehouse.apply(run, of_lake("second", 0), batches([image("04")]), [])
    assert done == {"inserted": 1, "updated": 0, "deleted": 1}
    assert [row[1] for row in rows(warehouse, "image")] == ["04"]


def test_a_failure_in_the_middle_leaves_the_old_state(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    fill(warehouse, run, a_group())
    before = state(warehouse), warehouse.query("collections")
    with pytest.raises(sa.exc.IntegrityError):
        fill(warehouse, run, [image("01")], [pair("01", "ff")], version=2)
    assert (state(warehouse), warehouse.query("collections")) == before


def test_odd_text_survives(warehouse: Warehouse, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    names = ["a'; DROP TABLE image; --.jpg", "100%s :collection {}.jpg", "日本\n\t\\ \u202e.jpg"]
    content = [image(f"0{i}", key=name) for i, name in enumerate(names)]
    content.append(rejected("0f", reason="marker \x00 found"))
    fill(warehouse, run, content)
    assert [
        warehouse.query("image", collection="photos", image_id=f"0{i}")[0]["key"] for i in range(3)
    ] == names
    [row] = warehouse.query("image", collection="photos", image_id="0f")
    assert row["reason"] == "marker \ufffd found"


@pytest.mark.parametrize(
    ("arrival", "start"),
    [
        ("2026-02", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-03T04", datetime(2026, 2, 3, 4, tzinfo=UTC)),
        ("unknown", None),
    ],
)
def test_period_start(
    warehouse: Warehouse, tmp_path: Path, arrival: str, start: datetime | None
) -> None:
    run = a_run(tmp_path)
    fill(warehouse, run, [image("01", arrival=arrival)])
    [period] = warehouse.query("periods", collection="photos")
    assert (period["arrival"], period["period_start"]) == (arrival, start)


def test_two_writers_queue(warehouse: Warehouse, tmp_path: Path) -> None:
    """Overlapping applies of many versions end with the newest, whoever comes last."""
    errors: list[BaseException] = []
    refused: list[int] = []
    start = threading.Barrier(4)

    def write(version: int) -> None:
        run = a_run(tmp_path, run_id=f"run-{version}")
        content = [image(f"{i:04x}", bytes=version) for i in range(200)]
        start.wait()
        try:
            fill(warehouse, run, content, version=version, size=50)
        except Conflict:
            refused.append(version)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(v,)) for v in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert 4 not in refused
    assert {row[8] for row in rows(warehouse, "image")} == {4}
    assert len(rows(warehouse, "image")) == 200


def test_history_is_written_while_state_is_applied(warehouse: Warehouse, tmp_path: Path) -> None:
    """A writer in the middle of its transaction does not keep the staging of another waiting."""
    run = a_run(tmp_path)
    warehouse.record_quality(run, "ingest", [])
    recorded = threading.Event()

    def slow():
        for batch in batches([image("01"), image("02")], size=1):
            yield batch
            warehouse.record_quality(run, "ingest", [Result("a", "warn", True)])
            recorded.set()

    warehouse.apply(run, a_candidate(run), slow(), [])
    assert recorded.is_set()
    assert len(rows(warehouse, "image")) == 2


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from result_rows import a_run, fill, image
from idedup_tasks.warehouse import Warehouse
execute = Warehouse.execute
def until(self, connection, file, parameters=None):
    if file == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(self, connection, file, parameters)
Warehouse.execute = until
run = a_run(Path("."))
fill(Warehouse(sys.argv[2]), run, [image("01", bytes=7)], version=2)
"""


@pytest.mark.parametrize(
    "moment", ["duplicate_pair_staged", "group_member_upsert", "image_delete", "image_count"]
)
def test_killed_in_the_middle(warehouse: Warehouse, tmp_path: Path, moment: str) -> None:
    """The old state stays, nothing stays locked, and the next attempt succeeds."""
    run = a_run(tmp_path)
    fill(warehouse, run, a_group())
    before = state(warehouse), warehouse.query("collections")
    url = warehouse.url.render_as_string(hide_password=False)
    folder = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", _KILLED, folder, url, f"apply/{moment}.sql"]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    assert (state(warehouse), warehouse.query("collections")) == before
    fill(warehouse, run, [image("01", bytes=7)], version=2)
    assert [(row[1], row[8]) for row in rows(warehouse, "image")] == [("01", 7)]


_PROCESS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from result_rows import a_candidate, a_run
from idedup_tasks.warehouse import Warehouse
for i in range(15):
    run = a_run(Path("."), run_id=f"run-{sys.argv[3]}-{i}")
    warehouse = Warehouse(sys.argv[2])
    candidate = a_candidate(run, "ingest", listed=1, decoded=1, images=1)
    warehouse.record_stage(run, "ingest", datetime.now(UTC), 1.0, candidate=candidate)
    warehouse.record_quality(run, "ingest", [])
    warehouse.record_published(run, "ingest", {"images": i})
"""


def test_processes_record_at_the_same_time(warehouse: Warehouse) -> None:
    url = warehouse.url.render_as_string(hide_password=False)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(Path(__file__).parents[1]), url, str(number)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in processes:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    assert len(rows(warehouse, "run")) == 60
    [newest] = warehouse.query("runs", collection="photos", limit=1)
    assert newest["stages_published"] == 1


# Random collections: ids `00`…`0b`, of which those in groups are consecutive.
@st.composite
def results(draw: st.DrawFn) -> list[dict[str, Any]]:
    ids = [f"{i:02x}" for i in draw(st.sets(st.integers(0, 11)))]
    content: list[dict[str, Any]] = []
    while ids:
        size = min(draw(st.integers(1, 4)), len(ids))
        group, ids = ids[:size], ids[size:]
        kept = draw(st.sampled_from(group))
        for name in group:
            arrival = draw(st.sampled_from(["2026-01-01", "2026-01-02"]))
            if size == 1:
                content.append(draw(st.sampled_from([image, rejected]))(name, arrival=arrival))
            elif name == kept:
                content.append(keeper(name, group[0], arrival=arrival))
            else:
                relation = draw(st.sampled_from(RELATIONS))
                content.append(member(name, kept, group[0], relation, arrival=arrival))
    return content


@st.composite
def looks(draw: st.DrawFn, content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pairs beside those of members and keepers."""
    known = {(p["image_a"], p["image_b"]) for p in keeper_pairs(content)}
    ids = sorted(row["image_id"] for row in content)
    others = [(a, b) for a in ids for b in ids if a < b and (a, b) not in known]
    words = st.sampled_from(["edited", "alike", "different", "undecided"])
    picked = draw(st.sets(st.sampled_from(others), max_size=6)) if others else set()
    return [pair(a, b, draw(words)) for a, b in sorted(picked)]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(results(), min_size=1, max_size=4), data=st.data())
def test_state_depends_on_the_last_results_only(
    warehouse: Warehouse, tmp_path: Path, history: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    """Whatever was applied before, the tables equal those of a warehouse that saw only the last."""
    run, fresh = a_run(tmp_path), a_run(tmp_path, name="fresh")
    for content in history:
        pairs = data.draw(looks(content))
        fill(warehouse, run, content, pairs)
    fill(warehouse, fresh, [])
    fill(warehouse, fresh, history[-1], pairs)
    found = state(warehouse)
    for table in STATE:
        held = [row[1:] for row in found[table] if row[0] == "photos"]
        assert held == [row[1:] for row in found[table] if row[0] == "fresh"], table
    seen = [*keeper_pairs(history[-1]), *pairs]
    about = (batches(history[-1]), batches(seen, schema=PAIR_RESULTS))
    assert warehouse.compare(run, a_candidate(run).reads, *about) == {}
