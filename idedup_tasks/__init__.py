"""Finds duplicate images, and looks at each pair: a workflow, a command line and a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idedup_tasks.api import explain, preview, query, scan
    from idedup_tasks.verification import compare

__all__ = ["compare", "explain", "preview", "query", "scan"]


def __getattr__(name: str) -> Any:
    # On first use: importing any part of the package imports this module too.
    if name == "compare":
        from idedup_tasks.verification import compare

        return compare
    if name in __all__:
        from idedup_tasks import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
