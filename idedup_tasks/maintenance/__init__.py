"""What a collection needs from time to time, and no run does.

    compact(run)                       many small files become few; what they say stays as it is
    vacuum(run, retention, …)          what nothing refers to any more, and old history
    compare_source(run)                the whole source against the lake, period by period
    bring_up(run, arrivals)            runs these periods again
    check(run)                         lake, index and warehouse against each other
    repair(run, differences)           makes up the differences, by the stages themselves

Nothing is deleted by default, and nothing here keeps a run from going on: what is published goes
through the same compare-and-swap as a stage's result.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idedup_tasks.maintenance.compaction import Compacted, compact
    from idedup_tasks.maintenance.consistency import Difference, check, repair
    from idedup_tasks.maintenance.garbage import Garbage, MaintenanceError, vacuum
    from idedup_tasks.maintenance.source import SourceDifference, bring_up, compare_source

_MODULES = {
    "compaction": ("Compacted", "compact"),
    "consistency": ("Difference", "check", "repair"),
    "source": ("SourceDifference", "bring_up", "compare_source"),
    "garbage": ("Garbage", "MaintenanceError", "vacuum"),
}


def __getattr__(name: str) -> Any:
    """Import the lake only when something is done to it: the command line names these commands."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Compacted",
    "Difference",
    "Garbage",
    "MaintenanceError",
    "SourceDifference",
    "bring_up",
    "check",
    "compact",
    "compare_source",
    "repair",
    "vacuum",
]
