"""`idedup query`, `explain` and `preview`: what a collection holds, why, and what if."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.markup import escape
from rich.table import Table

from idedup_tasks import api, terminal
from idedup_tasks.pages.units import human_bytes
from idedup_tasks.settings import KeeperCriterion

_CollectionOption = Annotated[
    str | None,
    typer.Option("--collection", "-c", help="Name of the collection; not needed if there is one."),
]
_ScanOption = Annotated[
    Path | None,
    typer.Option("--scan", help="Output folder of an earlier scan, to look there."),
]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def query(
    image: Annotated[str, typer.Argument(help="Path or URL of an image.")],
    collection: _CollectionOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 10,
    scan: _ScanOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Show what a collection already holds of an image, best first.

    What bytes, hashes and vectors propose is looked at, and called what was seen: exact, same,
    crop, inside or edited. Images that are alike and no more are shown apart.

    The collection is looked for where IDEDUP_HOME, IDEDUP_LAKE and IDEDUP_COLLECTIONS say.

    Examples:

    - `idedup query new.jpg --collection pictures`
    - `idedup query new.jpg --scan duplicates --json`
    """
    matches = api.query(image, collection, limit=limit, scan=scan)
    if as_json:
        _print_json([asdict(match) for match in matches])
        return
    console = terminal.stdout()
    if not matches:
        console.print("Nothing like it is there.")
        return
    found = [match for match in matches if match.relation != "alike"]
    alike = [match for match in matches if match.relation == "alike"]
    if found:
        console.print(_match_table(found))
    else:
        console.print("No copy of it is there.")
    if alike:
        console.print("\nAlike, but not the same picture:")
        console.print(_match_table(alike))


def _match_table(matches: Sequence[api.Match]) -> Table:
    table = terminal.table(
        *("relation", "score", "pixels", "bytes", "verdict", "seen", "uri"),
        left=("uri", "verdict", "seen"),
    )
    for match in matches:
        table.add_row(
            match.relation,
            f"{match.score:.4f}",
            f"{match.width} × {match.height}",
            human_bytes(match.bytes),
            match.verdict or "",
            match.why,
            escape(match.uri),
        )
    return table


def explain(
    first: Annotated[str, typer.Argument(metavar="A", help="Path, URL or image_id of an image.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Path, URL or image_id of another.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to draw it into: .html or .png."),
    ] = None,
    collection: _CollectionOption = None,
    scan: _ScanOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Look at two images, say what one is to the other, and draw it.

    Says what the workflow sees of the two: the same picture, a crop, one inside the other, edited,
    alike or different, and why the collection has them in one group or apart. With --output draws
    them laid on each other, with what differs marked, and below why they were proposed: how alike
    they are place by place. An image_id is one of the collection's, as its report and tables name
    it.

    Examples:

    - `idedup explain a.jpg b.jpg --output why.html`
    - `idedup explain 0f…e2 9a…41 --scan duplicates -o why.png`
    """
    from idedup_tasks.explanation import check_drawing

    if output is not None:
        try:
            check_drawing(output)
        except ValueError as error:
            raise api.UsageError(str(error)) from error
    found = api.explain(first, second, collection, scan=scan)

    from idedup_tasks.explanation import picture

    if output is not None:
        found.save(output)
    if as_json:
        _print_json(found.to_dict())
        return
    console = terminal.stdout()
    console.print(found.why, markup=False)
    for name, value in picture.facts(found):
        console.print(f"{name}: {value}", markup=False)
    if output is not None:
        console.print(f"Drawn: {output}", markup=False)


# --- preview -----------------------------------------------------------------------------------


def preview(
    collection: _CollectionOption = None,
    cut: Annotated[
        float | None,
        typer.Option(help="Score at which groups are cut; higher makes smaller groups."),
    ] = None,
    keeper: Annotated[
        str | None,
        typer.Option(
            help="Criteria of the image to keep, in order and separated by commas: "
            f"{', '.join(get_args(KeeperCriterion))}."
        ),
    ] = None,
    scan: _ScanOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Show what another cut or keeper policy would change, before anything is changed.

    To make it so, put the values into the collection's file (`grouping.cut`, `keeper`) and run it
    again. Only images that were seen to be one picture, or a part or edit of it, are ever together,
    however low the cut.

    Examples:

    - `idedup preview --collection pictures --cut 0.9`
    - `idedup preview --scan duplicates --keeper earliest,resolution`
    """
    criteria = None if keeper is None else [name.strip() for name in keeper.split(",")]
    found = api.preview(collection, cut=cut, keeper=criteria, scan=scan)
    if as_json:
        _print_json(found.to_dict())
        return
    console = terminal.stdout()
    table = terminal.table("", "now", "then")
    table.add_row("groups", f"{found.before.groups:,}", f"{found.after.groups:,}")
    table.add_row("beside a keeper", f"{found.before.members:,}", f"{found.after.members:,}")
    table.add_row("their bytes", human_bytes(found.before.bytes), human_bytes(found.after.bytes))
    console.print(table)
    console.print()
    console.print(
        f"Groups dissolved {found.dissolved:,}, split {found.split:,}, merged {found.merged:,}, "
        f"new {found.appeared:,}, with another keeper {found.other_keeper:,}."
    )
    for what, uris in (
        ("would stand beside a keeper", found.newly_grouped),
        ("would no longer stand beside one", found.no_longer_grouped),
    ):
        console.print(f"{len(uris):,} images {what}{':' if uris else '.'}")
        for uri in uris[:20]:
            console.print(f"  {uri}", markup=False)
        if len(uris) > 20:
            console.print(f"  and {len(uris) - 20:,} more (--json lists all)")


def _print_json(content: list[dict[str, Any]] | Mapping[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
