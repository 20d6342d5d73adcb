"""The command line: `idedup scan`, `query`, `explain`, `preview`, `train` and others.

Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted. Errors are sentences on stderr; results go
to stdout, progress to stderr.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from idedup_tasks import api
from idedup_tasks.cli.maintain import maintain
from idedup_tasks.commands import command, file_name
from idedup_tasks.settings import (
    STAGES,
    Collection,
    Places,
    SettingsError,
    load_collection,
    make_private,
    notifier_fault,
)
from idedup_tasks.stages.report.counts import Counts

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
database = typer.Typer(no_args_is_help=True, help="The warehouse that dashboards read.")
collections = typer.Typer(no_args_is_help=True, help="The collection files that become DAGs.")
app.add_typer(database, name="db")
app.add_typer(collections, name="collections")
app.add_typer(maintain, name="maintain")

_INTERRUPTED = 130  # what Typer makes of Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    _be_quiet()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=given, prog_name="idedup", standalone_mode=False)
        if code != _INTERRUPTED:
            return code if isinstance(code, int) else 0
        again = " Run the same command again to go on where it stopped." if _resumes(given) else ""
        return _fail(f"Interrupted.{again}", _INTERRUPTED)
    except (api.UsageError, SettingsError) as error:
        return _fail(str(error), 2)
    except typer.TyperException as error:
        message = error.format_message()
        # A command without arguments has printed its help, and there is nothing to add.
        return _fail(f"{message} (--help tells more)", 2) if message else 2
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1)
    except Exception as error:
        # What this package raises was written for people; anything else is a fault in it.
        if not type(error).__module__.startswith("idedup_tasks"):
            raise
        return _fail(str(error), 1)


def _fail(sentence: str, code: int) -> int:
    _stderr().print(sentence, markup=False)
    return code


def _be_quiet() -> None:
    """What libraries say in passing is not for the user of a command; failures still are."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())


def _resumes(arguments: Sequence[str]) -> bool:
    return bool(arguments) and arguments[0] in ("scan", "train")


def _stdout() -> Console:
    # What goes into a file or a pipe is not cut to the width of a screen.
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"idedup {version('idedup')}")
        raise typer.Exit


@app.callback()
def idedup(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Find exact, perceptual and near-duplicate images in folders and buckets.

    Nothing at the source is ever changed: commands read and report.
    """


# --- scan --------------------------------------------------------------------------------------


@app.command()
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
    **groups.parquet** (a row per member of a group), **images.parquet** (every file with its
    verdict: unique, keeper or duplicate) and **summary.json**.

    What was read stays in OUTPUT/.idedup, so that scanning again reads only what is new. Nothing at
    the source is changed. Files that cannot be read are listed with the reason.

    Examples:

    - `idedup scan ~/Pictures --output duplicates`
    - `idedup scan s3://bucket/photos -o duplicates --settings strict.yaml`
    """
    with _stage_bars() as show:
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
def _stage_bars() -> Iterator[api.Progress]:
    """One bar per stage on stderr; on something that is no terminal, a line when it is done."""
    tasks: dict[str, Any] = {}
    bars = Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=_stderr(),
    )

    def show(stage: str, what: str, done: int, total: int | None) -> None:
        # Not before there is something to show: bad use is answered by its sentence alone.
        bars.start()
        if stage not in tasks:
            for name, task in tasks.items():
                _settle(bars, name, task)
            tasks[stage] = bars.add_task(stage, total=total)
        description = f"{stage}: {what}"
        if what == "checking":
            bars.update(tasks[stage], description=description)
        else:
            bars.update(tasks[stage], description=description, completed=done, total=total)

    try:
        yield show
        for name, task in tasks.items():
            _settle(bars, name, task)
    finally:
        if tasks:
            bars.stop()


def _settle(bars: Progress, stage: str, task: Any) -> None:
    done = next(t.completed for t in bars.tasks if t.id == task)
    bars.update(task, description=stage, completed=done, total=done)
    bars.stop_task(task)


def _show_scan(result: api.ScanResult) -> None:
    console, summary = _stdout(), result.summary
    counts = Counts(**summary["counts"])
    table = _table("", "images", "reclaimable")
    for relation, (duplicates, size) in counts.of_relation.items():
        table.add_row(f"{relation} duplicates", f"{duplicates:,}", api.size_text(size))
    duplicates = sum(images for images, _ in counts.of_relation.values())
    reclaimable = sum(size for _, size in counts.of_relation.values())
    table.add_row("all duplicates", f"{duplicates:,}", api.size_text(reclaimable))
    table.add_row("groups", f"{counts.groups:,}", "")
    table.add_row("images", f"{counts.decoded:,}", "")
    table.add_row("rejected files", f"{counts.rejected:,}", "")
    table.add_row("all files", f"{counts.images:,}", f"of {api.size_text(counts.bytes)}")
    console.print(table)
    stages = _table("stage", "seconds", "gate", "images/s")
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
    cut = round(min(1.0, result.summary["thresholds"]["cut"] + 0.05), 4)
    console = _stdout()
    console.print(f"What is like an image: {of_scan('query', image)}", markup=False)
    other = of_scan("preview", "--cut", f"{cut:g}")
    console.print(f"What another threshold would change: {other}", markup=False)


# --- query -------------------------------------------------------------------------------------

_CollectionOption = Annotated[
    str | None,
    typer.Option("--collection", "-c", help="Name of the collection; not needed if there is one."),
]
_ScanOption = Annotated[
    Path | None,
    typer.Option("--scan", help="Output folder of an earlier scan, to look there."),
]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def query(
    image: Annotated[str, typer.Argument(help="Path or URL of an image.")],
    collection: _CollectionOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 10,
    scan: _ScanOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Show what a collection already holds of an image, best first.

    First copies with the same bytes, then perceptual twins, then near duplicates by cosine
    similarity. A near duplicate stands for the images that collapsed onto it.

    The collection is looked for where IDEDUP_HOME, IDEDUP_LAKE and IDEDUP_COLLECTIONS say.

    Examples:

    - `idedup query new.jpg --collection pictures`
    - `idedup query new.jpg --scan duplicates --json`
    """
    matches = api.query(image, collection, limit=limit, scan=scan)
    if as_json:
        _print_json([asdict(match) for match in matches])
        return
    console = _stdout()
    if not matches:
        console.print("Nothing like it is there.")
        return
    table = _table(
        "relation", "score", "pixels", "bytes", "verdict", "uri", left=("uri", "verdict")
    )
    for match in matches:
        table.add_row(
            match.relation,
            f"{match.score:.4f}",
            f"{match.width} × {match.height}",
            api.size_text(match.bytes),
            match.verdict or "",
            escape(match.uri),
        )
    console.print(table)


# --- explain -----------------------------------------------------------------------------------


@app.command()
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
    """Show why two images are, or are not, duplicates, and where they match.

    Says what decides when the two are compared alone, and with --output draws what both show and
    how alike they are place by place. An image_id is one of the collection's, as its report and
    tables name it.

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
    console = _stdout()
    console.print(found.verdict, markup=False)
    for name, value in picture.facts(found):
        console.print(f"{name}: {value}", markup=False)
    if output is not None:
        console.print(f"Drawn: {output}", markup=False)


# --- preview -----------------------------------------------------------------------------------


@app.command()
def preview(
    collection: _CollectionOption = None,
    cut: Annotated[
        float | None,
        typer.Option(help="Similarity at which groups are cut; higher makes smaller groups."),
    ] = None,
    keeper: Annotated[
        str | None,
        typer.Option(
            help="Criteria of the image to keep, in order and separated by commas: resolution, "
            "format, bytes, earliest, path."
        ),
    ] = None,
    scan: _ScanOption = None,
    as_json: _JsonOption = False,
) -> None:
    """Show what another threshold or keeper policy would change, before anything is changed.

    To make it so, put the values into the collection's file and run it again. Only images that
    pairs from the candidate threshold on connect are ever together, however low the cut. The report
    of a collection of 500 images or more suggests a threshold from its own similarities.

    Examples:

    - `idedup preview --collection pictures --cut 0.9`
    - `idedup preview --scan duplicates --keeper earliest,resolution`
    """
    criteria = None if keeper is None else [name.strip() for name in keeper.split(",")]
    found = api.preview(collection, cut=cut, keeper=criteria, scan=scan)
    if as_json:
        _print_json(found.to_dict())
        return
    console = _stdout()
    table = _table("", "now", "then")
    table.add_row("groups", f"{found.before.groups:,}", f"{found.after.groups:,}")
    table.add_row("duplicates", f"{found.before.duplicates:,}", f"{found.after.duplicates:,}")
    table.add_row(
        "reclaimable",
        api.size_text(found.before.reclaimable_bytes),
        api.size_text(found.after.reclaimable_bytes),
    )
    console.print(table)
    console.print()
    console.print(
        f"Groups dissolved {found.dissolved:,}, split {found.split:,}, merged {found.merged:,}, "
        f"new {found.appeared:,}, with another keeper {found.other_keeper:,}."
    )
    for what, uris in (
        ("would become duplicates", found.newly_duplicate),
        ("would no longer be duplicates", found.no_longer_duplicate),
    ):
        console.print(f"{len(uris):,} images {what}{':' if uris else '.'}")
        for uri in uris[:20]:
            console.print(f"  {uri}", markup=False)
        if len(uris) > 20:
            console.print(f"  and {len(uris) - 20:,} more (--json lists all)")


# --- the rest ----------------------------------------------------------------------------------


@app.command()
def train(
    photos: Annotated[
        Path,
        typer.Option(help="Folder of photographs, a few thousand or more.", show_default=False),
    ],
    network: Annotated[
        str,
        typer.Option(
            help="mobilenet_v3, mobilenet_v3_large, idedupnet, resnet50, densenet121, lenet, unet."
        ),
    ] = "mobilenet_v3",
    init: Annotated[
        str | None,
        typer.Option(
            help="What to start from: a safetensors file, a descriptor, or imagenet (torchvision's "
            "published weights, which are downloaded). By default from nothing."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for what is made; IDEDUP_HOME/training/NETWORK."
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Learn for about so long, instead of the recipe's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Learn for at most so many steps; 0: not at all.")
    ] = None,
    cpu_seconds: Annotated[
        float | None,
        typer.Option(
            min=1, help="Learn with so much processor time, whatever else the machine does."
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(min=32, help="Side of the input in pixels, instead of the recipe's."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=2, help="Photographs in a batch, instead of the recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="All random choices follow from it.")] = 0,
    register: Annotated[
        bool, typer.Option(help="Put it into the lake if it beats the current one of its name.")
    ] = False,
) -> None:
    """Train a descriptor on photographs, without labels, and calibrate its thresholds.

    Needs PyTorch: `pip install 'idedup[train]'`.

    One photograph in six is set aside to calibrate with. A run that was stopped, however, continues
    from its checkpoint in the output folder; another folder starts afresh. Prints the path of the
    descriptor's sidecar, which `--descriptor` takes, or its model_id where it was registered, which
    a collection file takes as `descriptor`.

    Examples:

    - `idedup train --photos ~/aerial --init mobilenet_v3 --minutes 60 --register`
    - `idedup train --photos ~/photos --network resnet50 --minutes 20 --output trained`
    - `idedup scan ~/Pictures -o duplicates --descriptor trained/resnet50.json`
    """
    from dataclasses import replace

    from idedup_tasks import training

    recipe = training.recipe_for(network, steps, minutes, side, batch, cpu_seconds)
    folder = output or make_private(Places.from_environment().home) / "training" / network
    console = _stderr()

    def say(text: str) -> None:
        console.print(text, markup=False)

    sidecar = training.train(photos, folder, init, replace(recipe, seed=seed), network, say)
    _stdout().print(f"{sidecar}", markup=False)
    if register:
        done = training.register(sidecar, photos, say=say)
        _stdout().print(
            f"Registered: {done.model_id}"
            if done.registered
            else f"Not registered: {done.current} is as good or better.",
            markup=False,
        )


@app.command()
def benchmark(
    photos: Annotated[Path, typer.Option(help="Folder of photographs, or of a data set.")],
    dataset: Annotated[
        Literal["copydays", "groups", "cifar10"],
        typer.Option(
            help="copydays: edited copies of the photographs, or INRIA Copydays where that is the "
            "folder. groups: the folder's groups.csv (file,group). cifar10: its pairs.csv "
            "(a,b,same) over images or binary batches."
        ),
    ] = "copydays",
    methods: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas: descriptors (by name, or the .json file that training "
            "wrote), ahash, dhash, phash, whash, imagededup-phash (-ahash, -dhash, -whash, -cnn), "
            "fastdup. By default the shipped descriptor, the hashes and, with --peer-python, the "
            "others."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made if needed.")
    ] = Path("benchmark"),
    distractors: Annotated[
        Path | None, typer.Option(help="Folder of unrelated photographs to hide the originals in.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Use so many photographs, groups or pairs at most.")
    ] = None,
    copies: Annotated[
        int, typer.Option(min=1, help="Edited copies of each photograph, for copydays.")
    ] = 5,
    peer_python: Annotated[
        Path | None,
        typer.Option(help="A Python that has imagededup and fastdup (docs/benchmarks.md)."),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Where descriptors run; cuda needs PyTorch: idedup[gpu]."),
    ] = "auto",
    warehouse: Annotated[
        str | None,
        typer.Option(
            envvar="IDEDUP_WAREHOUSE", help="SQLAlchemy URL of a database to put the figures into."
        ),
    ] = None,
) -> None:
    """Measure descriptors, hashes and other programs on the same images.

    Writes **benchmark.html** to look at, **benchmark.json** and **benchmark.csv**: precision,
    recall, F1 and accuracy at each method's threshold and over a grid, µAP, mAP, recall at
    precision 0.99 and by kind of edit, quality of the final groups, time, memory and size.

    Examples:

    - `idedup benchmark --photos ~/photos --output measured`
    - `idedup benchmark --photos ~/photos --methods phash,trained/mobilenet_v3.json --limit 500`
    - `idedup benchmark --photos ukbench --dataset groups`
    """
    from idedup_tasks.benchmarks import datasets, run
    from idedup_tasks.benchmarks.methods import choose_methods

    names = None if methods is None else [name for name in methods.split(",") if name.strip()]
    chosen = choose_methods(names, peer_python, device)
    images = datasets.open_dataset(dataset, photos, distractors, limit, copies)
    if warehouse is not None:
        run.check_warehouse(warehouse)
    with _stage_bars() as show:

        def advance(step: str, done: int, total: int) -> None:
            show(step, "images" if step == "encoding" else "methods", done, total)

        results = run.run_benchmark(images, chosen, advance)
    written = run.write_results(results, output)
    _show_benchmark(results)
    console = _stdout()
    for name, reason in results["not_run"].items():
        console.print(f"Not run here: {name} ({reason})", markup=False)
    if warehouse is not None:
        count = run.record(results, warehouse)
        console.print(f"{count:,} figures recorded as {results['benchmark_id']}.", markup=False)
    console.print(f"Report: {written[-1]}", markup=False)


def _show_benchmark(results: Mapping[str, Any]) -> None:
    headings = ("µAP", "best F1", "recall at P 0.99", "F1", "groups F1", "ms", "CPU ms", "memory")
    table = _table("method", *headings)
    for name, result in results["methods"].items():
        pairs, groups = result["pairs"]["all"], result.get("groups")
        table.add_row(
            escape(name),
            f"{pairs['micro_ap']:.3f}",
            f"{pairs['best_f1']:.3f}",
            f"{pairs['recall_at_precision_0.99']:.3f}",
            f"{result['at_threshold']['all']['f1']:.3f}",
            f"{groups['pairwise_f1']:.3f}" if groups else "",
            f"{result['ms_per_image']:.2f}",
            f"{result['cpu_ms_per_image']:.2f}",
            api.size_text(result["peak_bytes"]),
        )
    console = _stdout()
    console.print(table)
    console.print()


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
    _stdout().print(f"{warehouse.address} is up to date.", markup=False)


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
    console, faults = _stdout(), 0
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


def _table(*headings: str, left: Sequence[str] = ()) -> Table:
    """The first column and those named `left` are texts; the others numbers."""
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        text = place == 0 or heading in left
        table.add_column(heading, justify="left" if text else "right", overflow="fold")
    return table


def _print_json(content: list[dict[str, Any]] | Mapping[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
