"""Open the dashboard in a headless Chromium and look at what each chart got.

    python bi/superset/try.py http://127.0.0.1:8088 found.png [photos ['2026-01-01 : 2026-02-01']]

With a Superset that runs and has the dashboard (`load.py`), and with `playwright` from pip in the
Python that runs this; Chromium is CHROMIUM or /usr/bin/chromium. Logs in as SUPERSET_ADMIN (admin)
with SUPERSET_ADMIN_PASSWORD (admin). Prints a line a chart: how many rows /api/v1/chart/data gave
it, or the error. The dashboard's filters are set to a collection and an interval that are given.
Exit code 1 when a chart got an error, or no rows where there must be some.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml
from playwright.sync_api import Response, sync_playwright

CHARTS = sorted((Path(__file__).resolve().parent / "assets" / "charts").glob("*.yaml"))
# Nothing in these is good news: no rule is broken, every file could be read.
MAY_BE_EMPTY = {"Rules broken now", "Files not read, by reason", "Files not read, by run"}
CHROMIUM = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    address, picture = arguments[0].rstrip("/"), arguments[1]
    found: dict[str, Any] = {}
    names: dict[int, str] = {}

    def keep(response: Response) -> None:
        if "/api/v1/chart/data" not in response.url:
            return
        form = parse_qs(urlparse(response.url).query).get("form_data", ["{}"])[0]
        chart = json.loads(form).get("slice_id")
        if chart is None:
            return
        name = names.get(chart, str(chart))
        if response.status != 200:
            found[name] = f"{response.status} {response.text()[:300]}"
        else:
            found[name] = [result["rowcount"] for result in response.json()["result"]]

    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=CHROMIUM,
            viewport={"width": 1500, "height": 3500},
        )
        page = browser.pages[0]
        page.set_default_timeout(300_000)
        page.goto(f"{address}/login/")
        name, password = "[data-test=username-input]", "[data-test=password-input]"
        page.fill(name, os.environ.get("SUPERSET_ADMIN", "admin"))
        page.fill(password, os.environ.get("SUPERSET_ADMIN_PASSWORD", "admin"))
        page.press(password, "Enter")
        page.wait_for_url(lambda url: "/login" not in url)
        charts = page.request.get(f"{address}/api/v1/dashboard/image-duplicates/charts").json()
        names.update({chart["id"]: chart["slice_name"] for chart in charts["result"]})
        page.on("response", keep)
        chosen = []
        if len(arguments) > 2:
            value = f"!('{arguments[2]}')"
            data = f"filters:!((col:collection,op:IN,val:{value}))"
            chosen.append(("NATIVE_FILTER-collection", data, value))
        if len(arguments) > 3:
            value = f"'{arguments[3]}'"
            chosen.append(("NATIVE_FILTER-interval", f"time_range:{value}", value))
        masks = [
            f"{name}:(extraFormData:({data}),filterState:(value:{value}),id:{name},ownState:())"
            for name, data, value in chosen
        ]
        wanted = f"?native_filters=({','.join(masks)})" if masks else ""
        page.goto(f"{address}/superset/dashboard/image-duplicates/{wanted}")
        for _ in range(120):
            page.wait_for_timeout(2_000)
            if len(found) >= len(CHARTS):
                break
        page.wait_for_timeout(8_000)
        page.screenshot(path=picture)
        browser.close()
    wrong = 0
    for path in CHARTS:
        name = yaml.safe_load(path.read_text())["slice_name"]
        got = found.get(name, "asked for nothing")
        empty = got == [0] and name not in MAY_BE_EMPTY
        wrong += isinstance(got, str) or empty
        print(f"{'WRONG' if isinstance(got, str) or empty else 'ok   '} {name}: {got}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
