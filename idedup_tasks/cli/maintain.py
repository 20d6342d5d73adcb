"""`idedup maintain`: the maintenance DAG's tasks on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from idedup_tasks import api
from idedup_tasks.pages.units import human_bytes
from idedup_tasks.settings import Places, load_collection

if TYPE_CHECKING:
    from idedup_tasks.run import Run

maintain = typer.Typer(
    no_args_is_help=True,
    help="Compact, vacuum, compare with the source, check. Nothing is deleted unless asked.",
)

_Collection = Annotated[
    str | None, typer.Option("--collection", "-c", help="Name of the collection; all by default.")
]
_Removals = Annotated[
    bool, typer.Option(help="Accept a listing that removes a large share of a partition.")
]


@maintain.command()
def compact(collection: _Collection = None) -> None:
    """Merge small files and small index shards; what they say stays as it is."""
    from idedup_tasks.maintenance import compact

    for run in _runs(collection):
        done = compact(run)
        for table in done:
            typer.echo(
                f"{run.collection.name}: {table.table}: {table.before} files became {table.after} "
                f"({human_bytes(table.bytes)})"
            )
        if not done:
            typer.echo(f"{run.collection.name}: nothing to compact")


@maintain.command()
def vacuum(
    collection: _Collection = None,
    days: Annotated[
        float, typer.Option(help="Replaced versions stay readable for so long; at least 2.")
    ] = 7,
    log_days: Annotated[
        float, typer.Option(help="Reports and task logs of runs stay for so long.")
    ] = 90,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is found.")] = False,
) -> None:
    """Name what nothing refers to any more; delete it with --delete."""
    from idedup_tasks.maintenance import vacuum

    logs = Places.from_environment().home / "airflow" / "logs"
    for run in _runs(collection):
        found = vacuum(
            run,
            timedelta(days=days),
            delete=delete,
            logs=logs if logs.is_dir() else None,
            logs_retention=timedelta(days=log_days),
        )
        for kind in found:
            typer.echo(
                f"{run.collection.name}: {kind.files:,} {kind.kind}, {human_bytes(kind.bytes)}, "
                f"such as {kind.example}"
            )
        if not found:
            typer.echo(f"{run.collection.name}: nothing to delete")
        elif not delete:
            typer.echo(f"{run.collection.name}: nothing was deleted (--delete does)")


@maintain.command()
def source(
    collection: _Collection = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Run the periods that differ again.")
    ] = False,
    allow_removals: _Removals = False,
) -> None:
    """List the whole source and name the arrival periods in which the lake differs.

    Exit code 1 while there are any. Credentials come from the environment.
    """
    from idedup_tasks.maintenance import bring_up, compare_source

    differ = False
    for run in _runs(collection, allow_removals):
        found = compare_source(run)
        for period in found:
            typer.echo(f"{run.collection.name}: {period}")
        if found and repair:
            bring_up(run, [period.arrival for period in found])
            found = compare_source(run)
        differ |= bool(found)
        if not found:
            typer.echo(f"{run.collection.name}: the lake has what the source has")
    if differ:
        raise typer.Exit(1)


@maintain.command()
def check(
    collection: _Collection = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what is found, by running stages again.")
    ] = False,
    allow_removals: _Removals = False,
) -> None:
    """Compare lake, index and warehouse, and name each difference.

    Exit code 1 while there are any.
    """
    from idedup_tasks import maintenance

    differ = False
    for run in _runs(collection, allow_removals):
        found = maintenance.check(run)
        for difference in found:
            typer.echo(f"{run.collection.name}: {difference}")
        if found and repair:
            found = maintenance.repair(run, found)
            for difference in found:
                typer.echo(f"{run.collection.name}: still there: {difference}")
        differ |= any(not difference.stale for difference in found)
        if not found:
            typer.echo(f"{run.collection.name}: lake, index and warehouse agree")
    if differ:
        raise typer.Exit(1)


def _runs(name: str | None, allow_removals: bool = False) -> Iterator[Run]:
    """A run over everything for each collection wanted that ever ran; of others it is said."""
    places = Places.from_environment()
    found = {c.name: c for c in map(load_collection, sorted(places.collections.glob("*.y*ml")))}
    if not found:
        raise api.UsageError(
            f"There is no collection: {places.collections} has no *.yaml file (IDEDUP_COLLECTIONS "
            "names the folder)."
        )
    if name is not None and name not in found:
        raise api.UsageError(
            f"There is no collection {name}: {places.collections} has {', '.join(sorted(found))}."
        )
    from idedup_tasks.run import Run

    run_id = f"maintenance__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    for collection in found.values():
        if name in (None, collection.name):
            run = Run(collection, run_id, None, places, allow_removals=allow_removals)
            if _has_run(run):
                yield run
            else:
                typer.echo(f"{collection.name}: it never ran, nothing is to be done")


def _has_run(run: Run) -> bool:
    """Ask without opening a table, which would make it."""
    from idedup_tasks.warehouse import Warehouse

    if run.lake.exists("images/_delta_log"):
        return True
    # A lake that was lost is a difference to be found.
    warehouse = Warehouse(run.places.warehouse)
    return warehouse.revision() is not None and bool(
        warehouse.query("totals", collection=run.collection.name)
    )
