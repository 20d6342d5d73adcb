"""The lake: Delta tables that change by one atomic commit, and files beside them.

A stage never changes a table. It writes data files that no version refers to yet and describes
them in a `Candidate`; its gate checks those files and then publishes the candidate in one commit.
"""

from idedup_tasks.lake.arrays import SharedArrays, share_arrays
from idedup_tasks.lake.candidate import Candidate, DamagedCandidate, DataFile, TableChange
from idedup_tasks.lake.delta import (
    Commit,
    Conflict,
    Lake,
    Snapshot,
    reconcile_partition,
    safe_name,
)
from idedup_tasks.lake.packs import (
    FINE_PLACE,
    PLACE,
    DamagedPack,
    PackWriter,
    find_pictures,
    find_thumbnails,
    read_pictures,
    read_thumbnails,
    stream_thumbnails,
)
from idedup_tasks.lake.results import PAIR_RESULTS, RESULTS
from idedup_tasks.lake.store import OtherFormat, StoredFile
from idedup_tasks.lake.tables import (
    EMBEDDINGS,
    FINGERPRINTS,
    GROUPS,
    IMAGES,
    INDEX,
    LOOK,
    LOOKS,
    MATCHES,
    TABLES,
    TIMESTAMP,
    TableDefinition,
    stored_schema,
)

__all__ = [
    "EMBEDDINGS",
    "FINE_PLACE",
    "FINGERPRINTS",
    "GROUPS",
    "IMAGES",
    "INDEX",
    "LOOK",
    "LOOKS",
    "MATCHES",
    "PAIR_RESULTS",
    "PLACE",
    "RESULTS",
    "TABLES",
    "TIMESTAMP",
    "Candidate",
    "Commit",
    "Conflict",
    "DamagedCandidate",
    "DamagedPack",
    "DataFile",
    "Lake",
    "OtherFormat",
    "PackWriter",
    "SharedArrays",
    "Snapshot",
    "StoredFile",
    "TableChange",
    "TableDefinition",
    "find_pictures",
    "find_thumbnails",
    "read_pictures",
    "read_thumbnails",
    "reconcile_partition",
    "safe_name",
    "share_arrays",
    "stored_schema",
    "stream_thumbnails",
]
