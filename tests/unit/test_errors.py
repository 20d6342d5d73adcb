"""Errors say by their type whether trying again can help."""

from __future__ import annotations

import importlib
import pkgutil

import idedup_tasks
from idedup_tasks.errors import IdedupError, TerminalError, TransientError

# They run when they are imported, or in another Python.
NOT_IMPORTED = ("__main__", "peers.encode")


def defined() -> set[type[Exception]]:
    """Every class of errors that a module of the package defines."""
    names = [m.name for m in pkgutil.walk_packages(idedup_tasks.__path__, "idedup_tasks.")]
    modules = [importlib.import_module(n) for n in names if not n.endswith(NOT_IMPORTED)]
    return {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Exception)  # Ctrl-C is none
        and value.__module__.startswith("idedup_tasks.")
    }


def test_every_error_says_whether_a_retry_can_help() -> None:
    found = defined() - {IdedupError, TerminalError, TransientError}
    assert len(found) > 20
    assert {e for e in found if not issubclass(e, IdedupError)} == set()
    families = {e for e in found if any(other in e.__subclasses__() for other in found)}
    for error in found - families:
        assert issubclass(error, TerminalError) != issubclass(error, TransientError), error
