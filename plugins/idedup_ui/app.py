"""The routes of the Airflow plugin: read-only, guarded by Airflow's own authentication.

Airflow does not authenticate a plugin's application: every route depends on `requires_access_dag`,
and the application on `requires_authenticated`. The pages are shown in a frame of Airflow's own
origin, so a script that came in through a file's name could act as the person who looks at it:
templates escape, and the Content-Security-Policy lets no script run. Airflow's frames may neither
open windows nor leave the frame, so every link leads to a page of this application.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import quote

import jinja2
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import (
    GetUserDep,
    requires_access_dag,
    requires_authenticated,
)
from fastapi import Depends, FastAPI, HTTPException, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from idedup_tasks.pages.templates import templates
from idedup_tasks.settings import STAGES, VARIANTS, Places
from idedup_tasks.warehouse import Warehouse, WarehouseError
from idedup_ui import progress

CONTENT_SECURITY_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
_DAG_PREFIX = "image_dedup_"
_RUNS, _GROUPS, _MEMBERS, _ALIKE = 5, 3, 7, 4
# Most width and height of each of two pictures that are drawn, in pixels.
_DRAWING = 320
_COLLECTION_DAG = rf"^{_DAG_PREFIX}[a-z0-9][a-z0-9_-]{{0,62}}$"
_REFRESH_SECONDS = 10
# Where a detail says less to a person than the status does.
_SAID = {
    401: "You are not signed in, or no longer: sign in to Airflow, then open this page again.",
    403: "You may not see this: it needs a role that may read the DAG and its runs.",
    404: "There is no such page.",
    405: "These pages are only read.",
    422: "This address is of no run and no image.",
}

AnyDagId = Annotated[str, Path(max_length=250)]
DagId = Annotated[str, Path(pattern=_COLLECTION_DAG)]
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
    may_read_runs = [*may_read, Depends(requires_access_dag("GET", DagAccessEntity.RUN))]
    app.get(
        "/dags/{dag_id}/runs/{run_id}/report",
        dependencies=may_read_runs,
        response_class=HTMLResponse,
    )(run_report)
    app.get("/dags/{dag_id}/images/{image_id}", dependencies=may_read)(thumbnail)
    app.get("/dags/{dag_id}/pairs/{image_a}/{image_b}", dependencies=may_read)(pair)

    @app.middleware("http")
    async def with_headers(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    # People meet every answer in a frame: a fault is a page as well.
    @app.exception_handler(WarehouseError)
    def without_warehouse(request: Request, error: WarehouseError) -> HTMLResponse:
        return _notice(request, str(error), 503)

    @app.exception_handler(RequestValidationError)
    def not_an_address(request: Request, _: RequestValidationError) -> HTMLResponse:
        return _notice(request, _SAID[422], 422)

    @app.exception_handler(AnyHTTPException)
    def refused(request: Request, error: AnyHTTPException) -> HTMLResponse:
        said = _SAID.get(error.status_code, str(error.detail))
        return _notice(request, said, error.status_code, error.headers)

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
        apart = warehouse.query("alike_pairs", collection=name, limit=_ALIKE)
        alike = {"alike_pairs": apart, "alike": apart[0]["pairs"] if apart else 0}
        collections.append({**totals, **alike, "runs": runs, "top_groups": groups})
    shown = {c["collection"] for c in collections}
    failures = [f for f in warehouse.query("quality_open") if f["collection"] in shown]
    folder = Places.from_environment().collections
    return _page(
        "collections.html",
        collections=collections,
        failures=failures,
        folder=str(folder),
        stages=len(STAGES),
        drawn=("crop", *VARIANTS),
    )


def run_report(
    request: Request, dag_id: AnyDagId, run_id: RunId, session: SessionDep
) -> HTMLResponse:
    """A run's report as the report stage wrote it; before that, where the run is.

    Airflow shows this page on the runs of every DAG: on those of another it says what it is for.
    """
    from idedup_tasks.lake import Lake

    if not re.match(_COLLECTION_DAG, dag_id):
        notice = f"This run is not of a collection: it is of the DAG {dag_id}."
        return _notice(request, notice, 404)
    collection = dag_id.removeprefix(_DAG_PREFIX)
    run = progress.run_state(session, dag_id, run_id)
    warehouse = _warehouse()
    stages = warehouse.query("stages", collection=collection, run_id=run_id)
    if run is None and not stages:
        notice = f"Airflow knows no run {run_id} of {collection}: it may have been deleted."
        return _notice(request, notice, 404)
    quality = warehouse.query("quality", collection=collection, run_id=run_id)
    reasons = progress.reasons(stages, quality)
    written = [(s["versions_written"] or {}).get("report") for s in stages]
    lake = Lake(Places.from_environment().lake, collection)
    if written and written[-1] and lake.exists(written[-1]):
        again = run is not None and run.state != "success"
        above = _page(
            "above_report.html",
            back=_back(request),
            sentences=progress.sentences(run, reasons) if run and again else [],
        )
        # In a frame the page stands on Airflow's own ground.
        report = lake.read_text(written[-1])
        return HTMLResponse(
            report.replace("<body>", f'<body style="background: none">\n{above}', 1)
        )
    window_start = stages[0]["window_start"] if stages else run and run.window_start
    page = _page(
        "run.html",
        back=_back(request),
        refresh=_REFRESH_SECONDS if run is not None and run.going else None,
        collection=collection,
        label=_run_label({"run_id": run_id, "window_start": window_start}),
        sentences=progress.sentences(run, reasons)
        if run is not None
        else ["Airflow no longer knows this run; this is what it recorded."],
        stages=stages,
        failures=[rule for rule in quality if not rule["success"]],
    )
    return HTMLResponse(page)


def thumbnail(dag_id: DagId, image_id: ImageId) -> Response:
    """An image's thumbnail (JPEG) from the lake, found by its id."""
    import pyarrow.dataset as ds

    from idedup_tasks.lake import PLACE, Lake, OtherFormat, find_thumbnails

    collection = dag_id.removeprefix(_DAG_PREFIX)
    rows = _warehouse().query("image", collection=collection, image_id=image_id)
    if rows:
        lake = Lake(Places.from_environment().lake, collection)
        try:
            images = lake.snapshot("images")
        except OtherFormat as error:
            raise HTTPException(409, str(error)) from error
        files = [f for f in images.files() if f.partition["arrival"] == rows[0]["arrival"]]
        found = images.read([*PLACE], ds.field("image_id") == image_id, files=files)
        headers = {"Cache-Control": "private, max-age=3600"}
        for content in find_thumbnails(lake, found):
            if content is not None:
                return Response(content, media_type="image/jpeg", headers=headers)
    raise HTTPException(404, "There is no thumbnail of this image.")


def pair(dag_id: DagId, image_a: ImageId, image_b: ImageId) -> Response:
    """Two images as they were looked at (JPEG): beside each other, with what differs marked.

    Only what the collection's run has looked at is drawn: members of groups with their keepers, and
    pairs that were proposed.
    """
    from idedup_tasks.explanation.stored import draw_stored
    from idedup_tasks.lake import Lake

    collection = dag_id.removeprefix(_DAG_PREFIX)
    warehouse = _warehouse()
    images = [
        image
        for image_id in (image_a, image_b)
        for image in warehouse.query("image", collection=collection, image_id=image_id)
    ]
    drawn = None
    if len(images) == 2 and image_a != image_b:
        drawn = draw_stored(Lake(Places.from_environment().lake, collection), *images)
    if drawn is None:
        raise HTTPException(404, "Nothing is stored of a look at these two images.")
    content = io.BytesIO()
    drawn.beside(_DRAWING).save(content, "JPEG", quality=80)
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(content.getvalue(), media_type="image/jpeg", headers=headers)


@lru_cache(maxsize=4)
def _warehouse_at(url: str) -> Warehouse:
    return Warehouse(url)


def _warehouse() -> Warehouse:
    return _warehouse_at(Places.from_environment().warehouse)


def _back(request: Request) -> str:
    """The Dedup page's own address, below whatever prefix Airflow is served at."""
    return f"{request.scope['root_path']}/"


def _notice(
    request: Request, notice: str, status: int, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    page = _page("notice.html", notice=notice, back=_back(request))
    return HTMLResponse(page, status_code=status, headers=dict(headers or {}))


def _page(template: str, **content: Any) -> str:
    return _templates().get_template(template).render(**content)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    return templates(
        FilePath(__file__).parent / "templates",
        segment=lambda text: quote(str(text), safe=""),
        moment=lambda at: at.strftime("%Y-%m-%d %H:%M") if at else "",
        run_label=_run_label,
    )


def _run_label(run: Mapping[str, Any]) -> str:
    """What a person calls a run: its kind, and the first day of its interval (run ids hold the
    last) or, without one, when it was started."""
    kind, _, moment = run["run_id"].rpartition("__")
    return f"{kind} {str(run['window_start'] or moment)[:10]}".strip()
