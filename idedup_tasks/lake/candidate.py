"""What a stage prepared: data files that no version refers to yet, and what a commit would do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from idedup_tasks.errors import TerminalError


class DamagedCandidate(TerminalError, RuntimeError):
    """A candidate's data file is missing or of another size than when it was written."""


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table: path relative to the table, bytes, rows, partition values."""

    path: str
    bytes: int
    rows: int
    partition: dict[str, str]


@dataclass
class TableChange:
    """What one commit would do to one table: files added and removed since `base_version`."""

    table: str
    base_version: int
    add: list[DataFile] = field(default_factory=list)
    remove: list[DataFile] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    data_change: bool = True  # False: the same rows in other files

    @property
    def empty(self) -> bool:
        return not self.add and not self.remove


@dataclass
class Candidate:
    """What a stage prepared and its gate has yet to check and publish.

    `reads` are the table versions it was computed from (for the warehouse, also `lake_id`, the
    lake that they are of), `counts` what the gate reconciles and people read. Small: it is kept as
    JSON in the lake, and its path travels between tasks.
    """

    stage: str
    run_id: str
    changes: list[TableChange]
    reads: dict[str, Any]
    counts: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)  # further files, by role

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Candidate:
        content = json.loads(text)
        content["changes"] = [
            TableChange(
                **{
                    **change,
                    "add": [DataFile(**f) for f in change["add"]],
                    "remove": [DataFile(**f) for f in change["remove"]],
                }
            )
            for change in content["changes"]
        ]
        return cls(**content)
