"""What commands print with: consoles, tables and progress bars, the same for all of them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from idedup_tasks.pages.units import human_bytes
from idedup_tasks.settings import DUPLICATES, VARIANTS

_pressed = threading.Event()


class CtrlC(KeyboardInterrupt):
    """Ctrl-C; a class of our own: Python ends by the signal once its own was raised in `exec`."""


def _press(_number: int, _frame: FrameType | None) -> None:
    _pressed.set()
    raise CtrlC


@contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """Have Ctrl-C end the work even where it comes as a finaliser or a callback runs.

    Python drops what is raised there, and libraries take it for an error of their own: the function
    of `stage_bars` raises it again. Gives a function that says whether it was pressed.
    """
    _pressed.clear()
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # somebody else's, or ignored in the background
        yield _pressed.is_set
        return
    say = sys.unraisablehook

    def say_others(raised: sys.UnraisableHookArgs) -> None:
        if not issubclass(raised.exc_type, CtrlC):
            say(raised)

    signal.signal(signal.SIGINT, _press)
    sys.unraisablehook = say_others
    try:
        yield _pressed.is_set
    finally:
        sys.unraisablehook = say
        signal.signal(signal.SIGINT, before)


def stdout() -> Console:
    # What goes into a file or a pipe is not cut to the width of a screen.
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)


def stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def table(*headings: str, left: Sequence[str] = (), title: str | None = None) -> Table:
    """The first column and those named `left` are texts; the others numbers."""
    made = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for place, heading in enumerate(headings):
        text = place == 0 or heading in left
        made.add_column(heading, justify="left" if text else "right", overflow="fold")
    return made


def totals_table(totals: Mapping[str, Any], title: str | None = None) -> Table:
    """What a collection holds, by the report stage's counts or the view `collection_totals`."""
    made = table("", "images", "reclaimable", title=title)
    for relations, kind in ((DUPLICATES, "duplicates"), (VARIANTS, "variants")):
        counts = {r: totals[f"{kind}_{r}"] for r in relations}
        sizes = {r: totals[f"reclaimable_{r}"] for r in relations}
        # Variants are for people to decide upon, unless the collection says otherwise.
        said = kind == "duplicates" or any(sizes.values())
        for relation in relations:
            size = human_bytes(sizes[relation]) if said else ""
            made.add_row(f"{kind}: {relation}", f"{counts[relation]:,}", size)
        size = human_bytes(sum(sizes.values())) if said else ""
        made.add_row(f"all {kind}", f"{sum(counts.values()):,}", size)
    made.add_row("groups", f"{totals['groups']:,}", "")
    made.add_row("images", f"{totals['decoded']:,}", "")
    made.add_row("rejected files", f"{totals['rejected']:,}", "")
    made.add_row("all files", f"{totals['images']:,}", f"of {human_bytes(totals['bytes'])}")
    return made


@contextmanager
def stage_bars() -> Iterator[Callable[[str, str, int, int | None], None]]:
    """One bar per stage on stderr; on something that is no terminal, a line when it is done.

    Gives a function to call with (stage, what, done, total or None).
    """
    tasks: dict[str, TaskID] = {}
    bars = Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=stderr(),
    )

    def settle() -> None:
        for stage, task in tasks.items():
            done = next(t.completed for t in bars.tasks if t.id == task)
            bars.update(task, description=stage, completed=done, total=done)
            bars.stop_task(task)

    def show(stage: str, what: str, done: int, total: int | None) -> None:
        if _pressed.is_set():
            raise CtrlC
        # Not before there is something to show: bad use is answered by its sentence alone.
        bars.start()
        if stage not in tasks:
            settle()
            tasks[stage] = bars.add_task(stage, total=total)
        description = f"{stage}: {what}"
        if what == "checking":
            bars.update(tasks[stage], description=description)
        else:
            bars.update(tasks[stage], description=description, completed=done, total=total)

    try:
        yield show
        settle()
    finally:
        if tasks:
            bars.stop()
