"""The program `idedup`: its commands in the order of its help, and what an error becomes."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from idedup_tasks import terminal
from idedup_tasks.cli.asking import explain, preview, query
from idedup_tasks.cli.deployment import collections, database
from idedup_tasks.cli.descriptors import benchmark, train
from idedup_tasks.cli.maintain import maintain
from idedup_tasks.cli.scanning import scan
from idedup_tasks.errors import IdedupError, TerminalError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (scan, query, explain, preview, train, benchmark):
    app.command()(verb)
app.add_typer(database, name="db")
app.add_typer(collections, name="collections")
app.add_typer(maintain, name="maintain")

_INTERRUPTED = 130  # what Typer makes of Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    _be_quiet()
    _collect_less()
    given = list(sys.argv[1:] if arguments is None else arguments)
    with terminal.ctrl_c() as pressed:
        try:
            code = _answer(given)
        except Exception:
            if not pressed():
                raise
            code = _INTERRUPTED
        if code == _INTERRUPTED or (code and pressed()):
            again = "Run the same command again to go on where it stopped."
            return _fail(f"Interrupted. {again if _resumes(given) else ''}".rstrip(), _INTERRUPTED)
        return code


def _answer(given: list[str]) -> int:
    """The command's exit code, once it has said what is wrong."""
    try:
        code = app(args=given, prog_name="idedup", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except IdedupError as error:
        return _fail(str(error), 2 if isinstance(error, TerminalError) else 1)
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


def _fail(sentence: str, code: int) -> int:
    terminal.stderr().print(sentence, markup=False)
    return code


def _be_quiet() -> None:
    """What libraries say in passing is not for the user of a command; failures still are."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())


def _collect_less() -> None:
    """What imports leave is no garbage: looking through it again and again, and once more at the
    end, takes a small scan a fifth of its time."""
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)


def _resumes(arguments: Sequence[str]) -> bool:
    return bool(arguments) and arguments[0] in ("scan", "train")


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
    """Find duplicate images in folders and buckets, each pair looked at.

    Nothing at the source is ever changed: commands read and report.
    """
