"""`idedup db` and `collections`: what a deployment is made from, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idedup_tasks import api, terminal
from idedup_tasks.settings import (
    Collection,
    Places,
    SettingsError,
    load_collection,
    make_private,
    notifier_fault,
)

database = typer.Typer(no_args_is_help=True, help="The warehouse that dashboards read.")
collections = typer.Typer(no_args_is_help=True, help="The collection files that become DAGs.")


@database.command("upgrade")
def upgrade() -> None:
    """Create the warehouse's tables, or bring them to this release; harmless to repeat.

    The warehouse is the database that IDEDUP_WAREHOUSE names (a SQLAlchemy URL), by default SQLite
    under IDEDUP_HOME. IDEDUP_WAREHOUSE_OWNER goes before it: the same database as the role that
    owns it, where tasks may only write rows.
    """
    from idedup_tasks.warehouse import Warehouse

    places = Places.from_environment()
    warehouse = Warehouse(places.warehouse_owner or places.warehouse)
    if warehouse.dialect == "sqlite":
        make_private(places.home)
    warehouse.upgrade()
    terminal.stdout().print(f"{warehouse.address} is up to date.", markup=False)


@collections.command("check")
def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files or folders; by default the folder of IDEDUP_COLLECTIONS."),
    ] = None,
) -> None:
    """Check collection files as the DAGs would: every fault with file, field and what is expected.

    Examples:

    - `idedup collections check`
    """
    given = paths or [Places.from_environment().collections]
    files = [
        file
        for path in given
        for file in (sorted(path.glob("*.y*ml")) if path.is_dir() else [path])
    ]
    if not files:
        raise api.UsageError(f"{given[0]} has no collection files: expected *.yaml.")
    seen: dict[str, Path] = {}
    console, faults = terminal.stdout(), 0
    for file in files:
        try:
            collection = load_collection(file)
            _check_rules(file, collection)
            for alert in collection.alerts:
                if fault := notifier_fault(alert.notifier):
                    raise SettingsError(f"{file.name}: {fault}")
            if collection.name in seen:
                raise SettingsError(
                    f"{file.name}: name: {collection.name} is the name in "
                    f"{seen[collection.name].name} too (expected one of its own)"
                )
        except SettingsError as error:
            faults += 1
            console.print(str(error), markup=False)
        else:
            seen[collection.name] = file
            console.print(f"{file.name}: good ({collection.name})", markup=False)
    if faults:
        raise typer.Exit(1)


def _check_rules(file: Path, collection: Collection) -> None:
    """A misspelt rule in `warn_only` would demote nothing, in silence."""
    if not collection.quality.warn_only:
        return
    from idedup_tasks.pipeline import rule_names

    known = rule_names()
    for rule in collection.quality.warn_only:
        if rule not in known:
            raise SettingsError(
                f"{file.name}: quality.warn_only: no rule is called {rule} (expected names from "
                "docs/quality.md)"
            )
