"""Exit with 0 when an address answers well: what the health checks of the stack run.

python config/stack/healthy.py URL [PART]   PART: a component in the answer of Airflow's monitor
"""

from __future__ import annotations

import json
import sys
import urllib.request


def main(url: str, part: str | None = None) -> int:
    # Containers talk to each other past any proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            content = answer.read()
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    if part is None:
        return 0
    state = (json.loads(content).get(part) or {}).get("status")
    print(f"{part}: {state}")
    return 0 if state == "healthy" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
