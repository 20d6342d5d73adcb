"""What a collection needs from time to time, and no run does.

    compact(run)                       many small files become few; what they say stays as it is
    vacuum(run, retention, …)          what nothing refers to any more, and old history
    compare_source(run)                the whole source against the lake, period by period
    check(run)                         lake, index and warehouse against each other
    repair(run, differences)           makes up the differences, by the stages themselves

Nothing is deleted by default, and nothing here keeps a run from going on: what is published goes
through the same compare-and-swap as a stage's result.
"""

from idedup_tasks.maintenance.compaction import Compacted, compact
from idedup_tasks.maintenance.consistency import Difference, check, repair
from idedup_tasks.maintenance.source import SourceDifference, bring_up, compare_source
from idedup_tasks.maintenance.vacuum import Garbage, MaintenanceError, vacuum

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
