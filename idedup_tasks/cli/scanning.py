"""`idedup scan`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Annotated, Literal

import typer

from idedup_tasks import api, terminal
from idedup_tasks.commands import command, file_name
from idedup_tasks.settings import STAGES


def scan(
    source: Annotated[
        str, typer.Argument(help="Folder, or URL such as s3://bucket/prefix, to look through.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made if needed.")
    ],
    settings: Annotated[
        Path | None,
        typer.Option(help="YAML file with the fields of a collection (docs/collections.md)."),
    ] = None,
    descriptor: Annotated[
        str | None, typer.Option(help="Descriptor by name, or the .json file that training wrote.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None,
        typer.Option(help="Where the descriptor runs; cuda needs PyTorch: idedup[gpu]."),
    ] = None,
) -> None:
    """Find the duplicates in a folder or bucket.

    Writes into the output folder: **report.html** to look at, **groups.csv** and
    **groups.parquet** (a row per member of a group, with what was seen of it and its keeper),
    **pairs.csv** and **pairs.parquet** (every pair that was looked at), **images.parquet** (every
    file with its verdict: unique, keeper, duplicate or variant) and **summary.json**.

    What was read stays in OUTPUT/.idedup, so that scanning again reads only what is new. Nothing at
    the source is changed. Files that cannot be read are listed with the reason.

    Examples:

    - `idedup scan ~/Pictures --output duplicates`
    - `idedup scan s3://bucket/photos -o duplicates --settings strict.yaml`
    """
    with _without_pandas():
        with terminal.stage_bars() as show:
            result = api.scan(
                source,
                output,
                settings=settings,
                descriptor=descriptor,
                device=device,
                progress=show,
            )
        _show_scan(result)


@contextmanager
def _without_pandas() -> Iterator[None]:
    """Arrow imports pandas, wherever it is installed, to make the first array from Python values; a
    scan has no use for it, and it takes longer to import than ten images to read."""
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("a scan does without pandas", name=name)


def _show_scan(result: api.ScanResult) -> None:
    console, summary = terminal.stdout(), result.summary
    console.print(terminal.totals_table(summary["counts"]))
    stages = terminal.table("stage", "seconds", "gate", "images/s")
    for name in STAGES:
        stage = summary["stages"][name]
        rate = stage["images_per_second"]
        stages.add_row(
            name,
            f"{stage['seconds']:.1f}",
            f"{stage['gate_seconds']:.1f}",
            f"{rate:,.0f}" if rate else "",
        )
    console.print()
    console.print(stages)
    console.print()
    for warning in summary["warnings"]:
        console.print(f"Warning: {warning}", markup=False)
    for prefix in summary["excluded"]:
        console.print(f"Not looked at: {prefix} holds the results.", markup=False)
    console.print(f"Report: {result.report}", markup=False)
    _say_what_next(result)


def _say_what_next(result: api.ScanResult) -> None:
    """Two commands about what was found, that work as they stand."""
    import pyarrow.compute as pc

    readable = result.images.filter(pc.field("status") != "rejected")["uri"]
    if not len(readable):
        return
    of_scan = partial(
        command,
        places=api.places_of_scan(result.output),
        collection=result.summary["collection"],
        scan=result.output,
    )
    grouped = result.groups["uri"]
    image = file_name((grouped if len(grouped) else readable)[0].as_py())
    cut = round(min(1.0, result.summary["cut"] + 0.2), 4)
    console = terminal.stdout()
    console.print(f"What is like an image: {of_scan('query', image)}", markup=False)
    other = of_scan("preview", "--cut", f"{cut:g}")
    console.print(f"What another cut would change: {other}", markup=False)
