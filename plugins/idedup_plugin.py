"""The Airflow plugin: a page over all collections, and each run's report on the run's own page.

Every Airflow component imports this file, so it is small; the pages are imported when the API
server answers the first request for one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

_Message = MutableMapping[str, Any]


class Pages:
    """An ASGI application that is made on its first request."""

    _app: Callable[..., Awaitable[None]] | None = None

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        if self._app is None:
            from idedup_ui.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


_APPS = [{"app": Pages(), "url_prefix": "/idedup", "name": "idedup"}]
_VIEWS = [
    {
        "name": "Dedup",
        "href": "idedup/",
        "destination": "nav",
        "url_route": "dedup",
        "nav_top_level": True,
    },
    {
        "name": "Duplicates",
        "href": "idedup/dags/{DAG_ID}/runs/{RUN_ID}/report",
        "destination": "dag_run",
        "url_route": "dedup-report",
    },
]


class IdedupPlugin(AirflowPlugin):
    name = "idedup"
    fastapi_apps = _APPS
    external_views = _VIEWS
