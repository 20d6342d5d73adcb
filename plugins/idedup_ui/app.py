"""The routes of the Airflow plugin: read-only, guarded by Airflow's own authentication.

Airflow does not authenticate a plugin's application: every route depends on `requires_access_dag`,
and the application on `requires_authenticated`. The pages are shown in a frame of Airflow's own
origin, so a script that came in through a file's name could act as the person who looks at it:
templates escape, and the Content-Security-Policy lets no script run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import quote

import jinja2
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import (
    GetUserDep,
    requires_access_dag,
    requires_authenticated,
)
from fastapi import Depends, FastAPI, HTTPException, Path, Request, Response
from fastapi.responses import HTMLResponse

from idedup_tasks.settings import Places
from idedup_tasks.warehouse import Warehouse, WarehouseError

CONTENT_SECURITY_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
_DAG_PREFIX = "image_dedup_"
_RUNS, _GROUPS, _MEMBERS = 5, 3, 8

DagId = Annotated[str, Path(pattern=rf"^{_DAG_PREFIX}[a-z0-9][a-z0-9_-]{{0,62}}$")]
RunId = Annotated[str, Path(max_length=250)]
ImageId = Annotated[str, Path(pattern=r"^[0-9a-f]{8,64}$")]


def create_app() -> FastAPI:
    """The application that the plugin mounts at `/idedup`."""
    app = FastAPI(
        dependencies=[Depends(requires_authenticated())],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    may_read = [Depends(requires_access_dag("GET"))]
    app.get("/", dependencies=may_read, response_class=HTMLResponse)(collections_page)
    app.get(
        "/dags/{dag_id}/runs/{run_id}/report", dependencies=may_read, response_class=HTMLResponse
    )(run_report)
    app.get("/dags/{dag_id}/images/{image_id}", dependencies=may_read)(thumbnail)

    @app.middleware("http")
    async def with_headers(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(WarehouseError)
    def without_warehouse(_: Request, error: WarehouseError) -> HTMLResponse:
        return HTMLResponse(_page("notice.html", notice=str(error)), status_code=503)

    return app


def collections_page(user: GetUserDep) -> str:
    """All collections whose DAG the user may read: totals, newest runs, open quality failures."""
    readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    warehouse = _warehouse()
    collections = []
    for totals in warehouse.query("collections"):
        name = totals["collection"]
        if f"{_DAG_PREFIX}{name}" not in readable:
            continue
        groups = warehouse.query("top_groups", collection=name, limit=_GROUPS)
        for group in groups:
            group["members"] = warehouse.query(
                "members", collection=name, group_id=group["group_id"], limit=_MEMBERS
            )
        runs = warehouse.query("runs", collection=name, limit=_RUNS)
        doubts = warehouse.query("uncertain", collection=name, limit=1)
        uncertain = doubts[0]["uncertain_members"] if doubts else 0
        collections.append({**totals, "runs": runs, "top_groups": groups, "uncertain": uncertain})
    shown = {c["collection"] for c in collections}
    failures = [f for f in warehouse.query("quality_open") if f["collection"] in shown]
    return _page("collections.html", collections=collections, failures=failures)


def run_report(dag_id: DagId, run_id: RunId) -> HTMLResponse:
    """A run's report as the report stage wrote it; before that, how far the run has come."""
    from idedup_tasks.lake import Lake

    collection = dag_id.removeprefix(_DAG_PREFIX)
    warehouse = _warehouse()
    stages = warehouse.query("stages", collection=collection, run_id=run_id)
    written = [(s["versions_written"] or {}).get("report") for s in stages]
    lake = Lake(Places.from_environment().lake, collection)
    if written and written[-1] and lake.exists(written[-1]):
        return HTMLResponse(lake.read_text(written[-1]))
    quality = warehouse.query("quality", collection=collection, run_id=run_id)
    page = _page(
        "run.html",
        collection=collection,
        label=_run_label({"run_id": run_id, "window_start": None, **(stages[0] if stages else {})}),
        stages=stages,
        failures=[rule for rule in quality if not rule["success"]],
    )
    return HTMLResponse(page, status_code=200 if stages else 404)


def thumbnail(dag_id: DagId, image_id: ImageId) -> Response:
    """An image's thumbnail (JPEG) from the lake, found by its id."""
    import pyarrow.dataset as ds

    from idedup_tasks.lake import Lake

    collection = dag_id.removeprefix(_DAG_PREFIX)
    rows = _warehouse().query("image", collection=collection, image_id=image_id)
    if rows:
        images = Lake(Places.from_environment().lake, collection).snapshot("images")
        files = [f for f in images.files() if f.partition["arrival"] == rows[0]["arrival"]]
        found = images.read(["thumbnail"], ds.field("image_id") == image_id, files=files)
        content = found["thumbnail"][0].as_py() if found.num_rows else None
        if content is not None:
            headers = {"Cache-Control": "private, max-age=3600"}
            return Response(content, media_type="image/jpeg", headers=headers)
    raise HTTPException(404, "There is no thumbnail of this image.")


@lru_cache(maxsize=4)
def _warehouse_at(url: str) -> Warehouse:
    return Warehouse(url)


def _warehouse() -> Warehouse:
    return _warehouse_at(Places.from_environment().warehouse)


def _page(template: str, **content: Any) -> str:
    return _templates().get_template(template).render(**content)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FilePath(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["segment"] = lambda text: quote(str(text), safe="")
    environment.filters["size"] = _size
    environment.filters["moment"] = lambda at: at.strftime("%Y-%m-%d %H:%M") if at else ""
    environment.filters["run_label"] = _run_label
    return environment


def _run_label(run: Mapping[str, Any]) -> str:
    """What a person calls a run: its kind, and the first day of its interval (run ids hold the
    last) or, without one, when it was started."""
    kind, _, moment = run["run_id"].rpartition("__")
    return f"{kind} {str(run['window_start'] or moment)[:10]}".strip()


def _size(count: float | None) -> str:
    value = float(count or 0)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
