"""The plugin's pages inside Airflow's own API server: who may see them, and what they let out."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from idedup_tasks.explanation.drawing import ACCENT
from idedup_tasks.lake import GROUPS, IMAGES, MATCHES, Lake, PackWriter, TableChange
from idedup_tasks.settings import Places
from idedup_tasks.warehouse import Warehouse

POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
DAG = "/idedup/dags/image_dedup_small"

Visitor = Callable[[str | None], TestClient]


@pytest.fixture(scope="module")
def visitor(finished_run: Any) -> Visitor:
    """A client of Airflow's API server, signed in with a role, or not at all."""
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    app = create_app(apps="core")

    def visit(role: str | None) -> TestClient:
        client = TestClient(app, raise_server_exceptions=False)
        if role is not None:
            # A user whose role is empty is known, and may do nothing.
            user = SimpleAuthManagerUser(username="somebody", role=role or None)
            token = get_auth_manager().generate_jwt(user)
            client.headers["Authorization"] = f"Bearer {token}"
        return client

    return visit


@pytest.fixture(scope="module")
def pages(finished_run: Any) -> list[str]:
    image = any_image()
    run = quote(finished_run.run_id, safe="")
    return ["/idedup/", f"{DAG}/runs/{run}/report", f"{DAG}/images/{image}"]


def any_image() -> str:
    lake = Lake(Places.from_environment().lake, "small")
    rows = lake.snapshot("images").read(["image_id", "status"]).to_pylist()
    return next(row["image_id"] for row in rows if row["status"] == "decoded")


def test_nobody_sees_anything_without_signing_in(visitor: Visitor, pages: list[str]) -> None:
    for page in pages:
        assert visitor(None).get(page).status_code == 401, page


def test_a_role_without_access_is_refused(visitor: Visitor, pages: list[str]) -> None:
    for page in pages:
        assert visitor("").get(page).status_code == 403, page


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_who_may_read_dags_may_read_the_pages(
    visitor: Visitor, pages: list[str], role: str
) -> None:
    for page in pages:
        assert visitor(role).get(page).status_code == 200, page


def test_a_forged_token_is_refused(visitor: Visitor, pages: list[str]) -> None:
    client = visitor("admin")
    client.headers["Authorization"] += "x"
    for page in pages:
        assert client.get(page).status_code in (401, 403), page


@pytest.mark.parametrize("role", [None, "", "viewer"])
def test_every_answer_forbids_scripts(visitor: Visitor, pages: list[str], role: str | None) -> None:
    for page in [*pages, "/idedup/nothing"]:
        headers = visitor(role).get(page).headers
        assert headers["content-security-policy"] == POLICY, page
        assert headers["x-content-type-options"] == "nosniff", page


def test_nothing_can_be_written(visitor: Visitor, pages: list[str]) -> None:
    for page in pages:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert visitor("admin").request(method, page).status_code == 405, (method, page)


def test_there_is_no_description_of_the_routes(visitor: Visitor) -> None:
    for path in ("docs", "redoc", "openapi.json"):
        assert visitor("admin").get(f"/idedup/{path}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        f"{DAG}/images/..%2F..%2F..%2Fwarehouse.db",
        f"{DAG}/images/%2Fetc%2Fpasswd",
        f"{DAG}/images/picture%200.png",
        f"{DAG}/images/{'0' * 64}",
        f"{DAG}/images/",
        f"{DAG}/runs/..%2F..%2Fwarehouse.db/report",
        f"{DAG}/runs/nobody-ran-this/report",
        "/idedup/dags/image_dedup_..%2Fsmall/runs/x/report",
        "/idedup/dags/image_dedup_%2E%2E/images/0123456789abcdef",
        "/idedup/dags/another_pipeline/runs/x/report",
    ],
)
def test_paths_lead_nowhere(visitor: Visitor, path: str) -> None:
    answer = visitor("admin").get(path)
    assert answer.status_code in (404, 422), answer.text[:200]
    assert "root:" not in answer.text
    assert "SQLite format" not in answer.text


def test_the_plugin_adds_a_page_and_a_tab_of_each_run() -> None:
    from idedup_plugin import IdedupPlugin

    views = {view["destination"]: view for view in IdedupPlugin.external_views}
    assert views["nav"]["name"] == "Dedup"
    assert views["dag_run"]["url_route"] == "dedup-report"  # where the report task's link leads
    run = views["dag_run"]["href"].format(DAG_ID="image_dedup_small", RUN_ID="x")
    assert f"/{run}".startswith(f"{DAG}/runs/x/")


def test_the_page_shows_collection_run_and_groups(
    visitor: Visitor, finished_run: Any, pages: list[str]
) -> None:
    text = visitor("viewer").get("/idedup/").text
    assert "<h2>small</h2>" in text
    assert f'href="{pages[1].removeprefix("/idedup/")}"' in text
    assert text.count("<img") >= 2


def test_hostile_names_are_text(visitor: Visitor, pages: list[str], hostile_name: str) -> None:
    texts = [visitor("viewer").get(page).text for page in pages[:2]]
    assert any(html.escape(hostile_name) in text or "&lt;img src=x" in text for text in texts)
    for text in texts:
        assert hostile_name not in text
        assert not re.search(r"<script|onerror=alert\(1\)>", text.replace("&gt;", ""), re.I)


def test_the_run_page_is_the_report_that_the_stage_wrote(
    visitor: Visitor, finished_run: Any, pages: list[str]
) -> None:
    places = Places.from_environment()
    stages = Warehouse(places.warehouse).query(
        "stages", collection="small", run_id=finished_run.run_id
    )
    path = stages[-1]["versions_written"]["report"]
    head, body = Lake(places.lake, "small").read_text(path).split("<body>")
    page = visitor("viewer").get(pages[1]).text
    assert page.startswith(head)
    assert page.endswith(body)
    assert "earlier try" not in page


def test_every_page_leads_back(visitor: Visitor, pages: list[str]) -> None:
    for page in (pages[1], f"{DAG}/runs/nobody-ran-this/report", "/idedup/nothing"):
        assert 'href="/idedup/"' in visitor("viewer").get(page).text, page
        behind_a_prefix = TestClient(visitor("viewer").app, root_path="/team")
        behind_a_prefix.headers = visitor("viewer").headers
        assert 'href="/team/idedup/"' in behind_a_prefix.get(page).text, page


def test_a_run_of_another_dag_has_a_sentence(visitor: Visitor) -> None:
    answer = visitor("viewer").get("/idedup/dags/idedup_maintenance/runs/manual__1/report")
    assert answer.headers["content-type"].startswith("text/html")
    assert "not of a collection: it is of the DAG idedup_maintenance" in answer.text
    assert 'href="/idedup/"' in answer.text


@pytest.mark.parametrize(
    ("role", "path", "status", "says"),
    [
        (None, "/idedup/", 401, "sign in to Airflow"),
        ("", "/idedup/", 403, "a role that may read the DAG"),
        ("viewer", "/idedup/nothing", 404, "no such page"),
        ("viewer", f"{DAG}/runs/nobody/report", 404, "knows no run nobody of small"),
        ("viewer", f"{DAG}/runs/{'x' * 251}/report", 422, "of no run"),
        ("viewer", "/idedup/dags/image_dedup_small/images/x", 422, "of no run"),
    ],
)
def test_a_fault_is_a_page(
    visitor: Visitor, role: str | None, path: str, status: int, says: str
) -> None:
    answer = visitor(role).get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert says in answer.text
    assert "{" not in answer.text.split("<body>")[1]


def test_a_run_that_waits_says_so_and_looks_again(visitor: Visitor, finished_run: Any) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    with create_session() as session:
        session.add(
            DagRun(
                dag_id="image_dedup_small",
                run_id="backfill__2026-01-02T00:00:00+00:00",
                run_type=DagRunType.BACKFILL_JOB,
                state="queued",
                logical_date=datetime(2026, 1, 1, tzinfo=UTC),
                data_interval=(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
                queued_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
                triggered_by=DagRunTriggeredByType.TEST,
            )
        )
    page = visitor("viewer").get(f"{DAG}/runs/backfill__2026-01-02T00:00:00+00:00/report")
    assert page.status_code == 200
    assert "small, backfill 2026-01-01" in page.text  # the day that it looks at, not its id's
    assert "waited for its turn since 2026-01-02 03:04 UTC" in page.text
    assert '<meta http-equiv="refresh" content="10">' in page.text


def test_a_run_that_is_repeated_says_so_above_its_earlier_report(
    visitor: Visitor, finished_run: Any, pages: list[str]
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    def become(state: str) -> None:
        with create_session() as session:
            run = session.get(DagRun, finished_run.id)
            assert run is not None
            run.state = state

    become("running")
    try:
        page = visitor("viewer").get(pages[1]).text
    finally:
        become("success")
    assert "report below is of an earlier try" in page
    assert "Duplicates in small" in page


def a_run_at(state: str, paused: bool = False, **tasks: str) -> Any:
    from idedup_ui.progress import RunState, TaskState

    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    states = {name.replace("_", "."): TaskState(state, at) for name, state in tasks.items()}
    return RunState(state, at, None, paused, states)


def test_a_run_says_where_it_is(airflow_home: Path) -> None:
    from idedup_ui.progress import sentences

    ingested = {"ingest_prepare": "success", "ingest_gate": "success"}

    def said(*arguments: Any, reasons: Any = {}, **tasks: Any) -> str:  # noqa: B006
        return " ".join(sentences(a_run_at(*arguments, **tasks), reasons))

    text = said("running", **ingested, prefilter_prepare="running")
    assert "prefilter has been running since 2026-01-02 03:04 UTC." in text
    assert "Done: ingest. Still to come: embed, index, match, group, report." in text
    assert "The gate of prefilter has been running" in said(
        "running", **ingested, prefilter_prepare="success", prefilter_gate="running"
    )
    assert "prefilter is prepared, and its gate is next." in said(
        "running", **ingested, prefilter_prepare="success"
    )
    assert "ingest waits for a free worker." in said("running", ingest_prepare="queued")
    assert "about to start" in said("running")
    lost = {"ingest": "The bucket is gone."}
    assert (
        "ingest did not succeed and is tried again: The bucket is gone. Still to come: prefilter,"
        in (said("running", ingest_prepare="up_for_retry", reasons=lost))
    )
    text = said("failed", ingest_prepare="failed", reasons=lost)
    assert "ingest failed: The bucket is gone." in text
    assert "Not begun: prefilter, embed, index, match, group, report." in text
    assert "clear the failed stage's prepare" in text
    assert "paused" in said("queued", True)
    assert "paused" not in said("queued")
    assert "ended without a task" in said("success")
    assert "Clear report.prepare" in said("success", **ingested)


def test_a_broken_rule_is_why_a_stage_failed(airflow_home: Path) -> None:
    from idedup_ui.progress import reasons

    rules = [
        {"stage": "ingest", "rule": "a", "severity": "warn", "success": False},
        {"stage": "ingest", "rule": "b", "severity": "error", "success": True},
        {
            "stage": "ingest",
            "rule": "reject_ratio",
            "severity": "error",
            "success": False,
            "observed": "reject_ratio 0.5",
            "expected": "at most 0.2",
        },
    ]
    found = reasons([{"stage": "ingest", "error": None}], rules)
    assert found == {"ingest": "reject_ratio: found 0.5, expected at most 0.2"}
    assert reasons([{"stage": "embed", "error": "no memory"}], []) == {"embed": "no memory"}


def test_thumbnails_are_pictures(visitor: Visitor, pages: list[str]) -> None:
    answer = visitor("viewer").get(pages[2])
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8")


def test_a_lake_of_another_format_is_told_and_no_fault(
    visitor: Visitor, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lake, "stated_format", 1)
    answer = visitor("viewer").get(pages[2])
    assert answer.status_code == 409
    assert "is of format 1, and this release reads and writes" in answer.text


def test_a_run_that_failed_shows_how_far_it_came(
    visitor: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from idedup_tasks.quality import RuleResult
    from idedup_tasks.run import Run
    from idedup_tasks.settings import load_collection

    places = Places.from_environment()
    run = Run(load_collection(places.collections / "small.yaml"), "manual__<b>", None, places)
    warehouse = Warehouse(places.warehouse)
    warehouse.record_stage(run, "ingest", datetime.now(UTC), 1.0, error="<script>no</script>")
    rule = RuleResult("reject_ratio", "error", False, "<i>0.9</i>", "at most 0.2")
    warehouse.record_quality(run, "ingest", [rule])
    page = visitor("viewer").get(f"{DAG}/runs/{quote(run.run_id, safe='')}/report")
    assert page.status_code == 200
    for text in ("&lt;script&gt;no&lt;/script&gt;", "reject_ratio", "&lt;i&gt;0.9", "failed"):
        assert text in page.text
    assert "Open quality failures" in visitor("viewer").get("/idedup/").text


def test_a_collection_whose_dag_may_not_be_read_is_not_shown(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    manager = type(get_auth_manager())
    monkeypatch.setattr(manager, "get_authorized_dag_ids", lambda *_, **__: {"another"})
    text = visitor("viewer").get("/idedup/").text
    assert "small" not in text
    assert "reject_ratio" not in text


@pytest.fixture(scope="module")
def looked_at(airflow_home: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A collection that holds a keeper, a crop and an edited one of it, and a look-alike."""
    import numpy as np
    from result_rows import a_run, fill, image, keeper, member, pair

    run = a_run(tmp_path_factory.mktemp("seen"), name="seen")
    numbers = {"0a": "0a" * 16, "0b": "0b" * 16, "0c": "0c" * 16, "0d": "0d" * 16}
    kept, cut, edited, other = numbers.values()
    content = [
        keeper(kept, key="keep.png", why="the whole picture"),
        member(cut, kept, kept, "crop", why="a crop: shows 50 % of the keeper"),
        member(edited, kept, kept, "edited", why="edited: 7 % differs, middle"),
        image(other, key="other.png"),
    ]
    pack, images, groups = PackWriter(), [], []
    for number, row in enumerate(content):
        noise = np.random.default_rng(number == 3).integers(40, 200, (9, 9, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC)
        if row["relation"] == "crop":
            picture = picture.crop((0, 0, 128, 256))
        if row["relation"] == "edited":
            picture.paste("white", (100, 100, 150, 150))
        stored = io.BytesIO()
        picture.save(stored, "JPEG", quality=95)
        known = {name: row.get(name) for name in IMAGES.names}
        images.append(known | {"etag": "1", "status": "decoded"} | pack.add(stored.getvalue()))
        transform = (
            [0.5, 0, 0, 0, 1, 0, 0, 0, 1] if row["relation"] == "crop" else np.eye(3).ravel()
        )
        about = {"crowded": False, "transform": list(transform) if row["relation"] else None}
        groups.append({name: row.get(name) for name in GROUPS.names} | about)
    lake = Lake(Places.from_environment().lake, "seen")
    path = pack.store(lake)
    alike = pair(kept, other, score=0.41)
    matched = {"proposed_by": "vector", "blur": 0.0, "way": "none", "transform": [0.0] * 9, **alike}
    for table, rows, schema in (
        ("images", [row | {"pack": path} for row in images], IMAGES),
        ("groups", groups, GROUPS),
        ("matches", [{name: matched.get(name) for name in MATCHES.names}], MATCHES),
    ):
        change = TableChange(table, lake.snapshot(table).version)
        partition = {} if table == "matches" else {"arrival": "2026-01-01"}
        content_of = pa.Table.from_pylist(rows, schema=schema)
        change.add.append(lake.write_rows(table, partition, content_of))
        lake.publish(change)
    fill(Warehouse(Places.from_environment().warehouse), run, content, [alike])
    return "/idedup/dags/image_dedup_seen/pairs"


def test_groups_say_what_was_seen(
    visitor: Visitor, looked_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    manager = type(get_auth_manager())
    monkeypatch.setattr(manager, "get_authorized_dag_ids", lambda *_, **__: {"image_dedup_seen"})
    text = visitor("viewer").get("/idedup/").text
    for said in (
        "<b>1</b>duplicates: 0 exact, 0 same, 1 crop",
        "<b>1</b>variants beside them: 0 inside, 1 edited",
        "<b>1</b>alike pairs, apart",
        "3 images, 100 bytes reclaimable, 1 variant beside",
        "a crop: shows 50 % of the keeper",
        '<span class="tag edited">edited</span> variant',
        "Alike, and listed apart",
        "score 0.41",
    ):
        assert said in text, said
    in_order = ("shows 50 %", 'aria-label="Variants"', "7 % differs", "listed apart")
    assert [*map(text.index, in_order)] == sorted(map(text.index, in_order))
    # Whole pictures with their names, for who does not see them.
    assert text.count('alt="keep.png"') == 1
    assert 'alt=""' not in text
    shown = re.findall(r'src="dags/image_dedup_seen/(.*?)"', text)
    kept, cut, edited, other = ("0a" * 16, "0b" * 16, "0c" * 16, "0d" * 16)
    assert shown == [
        f"images/{kept}",
        f"pairs/{kept}/{cut}",
        f"pairs/{kept}/{edited}",
        f"pairs/{kept}/{other}",
    ]


def test_a_pair_is_drawn_as_it_was_looked_at(visitor: Visitor, looked_at: str) -> None:
    import numpy as np

    def drawn(first: str, second: str) -> np.ndarray:
        answer = visitor("viewer").get(f"{looked_at}/{first * 16}/{second * 16}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["content-security-policy"] == POLICY
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert picture.width <= 2 * 320 + 8
            assert picture.height <= 320
            return np.asarray(picture.convert("RGB"), np.int16)

    crop = drawn("0a", "0b")
    assert crop[:, 175:310].mean() < 0.7 * crop[:, 10:150].mean(), "beside the crop it is dark"
    back = drawn("0b", "0a")
    assert back[:, -145:-10].mean() < 0.7 * back[:, -310:-170].mean(), "and the other way round"
    marks = (np.abs(drawn("0a", "0c") - ACCENT) < 40).all(axis=2)
    rows, columns = np.nonzero(marks)
    assert 100 < rows.min() < rows.max() < 220
    assert {True, False} == set((columns > 320).tolist()), "in both pictures"
    alike = drawn("0a", "0d")
    assert not (np.abs(alike - ACCENT) < 40).all(axis=2).any(), "no place was found for it"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{'0b' * 16}/{'0c' * 16}", 404),  # nobody looked at these two
        (f"{'0a' * 16}/{'0a' * 16}", 404),
        (f"{'0a' * 16}/{'ff' * 16}", 404),
        (f"{'0a' * 16}/..%2F..%2Fwarehouse.db", 404),
        (f"{'0a' * 16}/x", 422),
    ],
)
def test_only_what_was_looked_at_is_drawn(
    visitor: Visitor, looked_at: str, path: str, status: int
) -> None:
    answer = visitor("viewer").get(f"{looked_at}/{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(("role", "status"), [(None, 401), ("", 403), ("viewer", 200)])
def test_pairs_are_for_who_may_read_the_dag(
    visitor: Visitor, looked_at: str, role: str | None, status: int
) -> None:
    page = f"{looked_at}/{'0a' * 16}/{'0b' * 16}"
    assert visitor(role).get(page).status_code == status
    if role is not None:
        assert visitor(role).post(page).status_code == 405


def test_one_scan_has_the_same_numbers_everywhere(
    visitor: Visitor, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    from idedup_tasks.api import places_of_scan, scan

    (tmp_path / "settings.yaml").write_text("currency: EUR\n")
    result = scan(source, tmp_path / "found", settings=tmp_path / "settings.yaml")
    counts, places = result.summary["counts"], places_of_scan(result.output)
    files, decoded, rejected = counts["images"], counts["decoded"], counts["rejected"]
    assert rejected == 1
    assert decoded == files - 1 == len(list(source.iterdir())) - 1

    name = result.summary["collection"]
    [totals] = Warehouse(places.warehouse).query("totals", collection=name)
    [run] = Warehouse(places.warehouse).query("runs", collection=name, limit=1)
    assert (totals["images"], totals["decoded"], totals["rejected"]) == (files, decoded, rejected)
    assert (run["listed"], run["rejected"]) == (files, rejected)
    for count in ("duplicates", "variants", "duplicates_crop", "variants_edited"):
        assert totals[count] == counts[count]

    def words(page: str) -> str:
        return " ".join(
            html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.S)).split()
        )

    report = words(result.report.read_text())
    assert f"Images {decoded} of {files} files, " in report
    assert f"; {rejected} rejected" in report
    monkeypatch.setenv("IDEDUP_WAREHOUSE", places.warehouse)
    monkeypatch.setenv("IDEDUP_LAKE", places.lake)
    manager, readable = type(get_auth_manager()), {f"image_dedup_{name}"}
    monkeypatch.setattr(manager, "get_authorized_dag_ids", lambda *_, **__: readable)
    page = words(visitor("viewer").get("/idedup/").text)
    assert f"{decoded} images of {files} files, " in page
    assert f"{rejected} files rejected" in page
    assert f"{counts['groups']} groups" in page
    assert f"Groups {counts['groups']} " in report
    assert "EUR a month" in page
    assert "EUR a GB" in report


def test_without_a_warehouse_there_is_a_sentence(
    visitor: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDEDUP_WAREHOUSE", f"sqlite:///{tmp_path}/empty.db")
    answer = visitor("viewer").get("/idedup/")
    assert answer.status_code == 503
    assert "idedup db upgrade" in answer.text
    assert answer.headers["content-security-policy"] == POLICY


def test_the_plugin_is_small_until_a_page_is_asked_for() -> None:
    import subprocess
    import sys

    script = (
        "import sys, airflow.plugins_manager; before = set(sys.modules); import idedup_plugin;"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    plugins = Path(__file__).resolve().parents[2] / "plugins"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=plugins, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "['idedup_plugin']"
