"""Bring Superset's databases, datasets, charts and dashboard to what `assets/` says.

    python bi/superset/load.py

It runs with Superset's own Python and settings (`SUPERSET_CONFIG_PATH`), after `superset db
upgrade` and `superset init`; repeat it after each change. From the environment:

    IDEDUP_BI           URL of the warehouse as the reading role, such as
                        postgresql+psycopg2://idedup_bi:password@host/idedup
    SUPERSET_ADMIN      the user who owns the dashboard (default: admin)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml
from superset.app import create_app

ASSETS = Path(__file__).resolve().parent / "assets"
DATABASE = "databases/idedup_warehouse.yaml"


def contents(url: str) -> dict[str, str]:
    """The assets by their names, with the warehouse's address, which no file holds."""
    found = {str(p.relative_to(ASSETS)): p.read_text() for p in sorted(ASSETS.rglob("*.yaml"))}
    database = yaml.safe_load(found[DATABASE])
    database["sqlalchemy_uri"] = url
    found[DATABASE] = yaml.safe_dump(database)
    return found


def main() -> int:
    url = os.environ.get("IDEDUP_BI")
    if not url:
        print("IDEDUP_BI is not set: give the warehouse's URL as idedup_bi.", file=sys.stderr)
        return 2
    app = create_app()
    with app.app_context():
        # Superset's modules need the application, so they come after it.
        from superset import security_manager
        from superset.commands.importers.v1.assets import ImportAssetsCommand
        from superset.utils.core import override_user

        name = os.environ.get("SUPERSET_ADMIN", "admin")
        admin = security_manager.find_user(username=name)
        if admin is None:
            print(f"Superset has no user {name}: `superset fab create-admin`.", file=sys.stderr)
            return 1
        with override_user(admin):
            ImportAssetsCommand(contents(url)).run()
    print("The dashboard is at /superset/dashboard/image-duplicates/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
