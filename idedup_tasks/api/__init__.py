"""The workflow as functions: scan a folder, ask what it holds and why, preview settings.

    >>> result = idedup_tasks.scan("~/Pictures", "duplicates")
    >>> result.summary["counts"]["duplicates"]
    >>> idedup_tasks.query("new.jpg", "pictures")[:1]
    >>> idedup_tasks.explain("a.jpg", "b.jpg").why
    >>> idedup_tasks.preview("pictures", cut=0.7).after.groups

The command line is made from these.
"""

from idedup_tasks.api.explaining import explain
from idedup_tasks.api.previewing import Preview, Totals, preview
from idedup_tasks.api.querying import Match, query
from idedup_tasks.api.reading import UsageError, places_of_scan
from idedup_tasks.api.results import GROUP_COLUMNS, PAIR_COLUMNS, ScanResult
from idedup_tasks.api.scanning import Progress, collection_name, scan

__all__ = [
    "GROUP_COLUMNS",
    "PAIR_COLUMNS",
    "Match",
    "Preview",
    "Progress",
    "ScanResult",
    "Totals",
    "UsageError",
    "collection_name",
    "explain",
    "places_of_scan",
    "preview",
    "query",
    "scan",
]
