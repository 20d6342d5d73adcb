"""Delta tables that change by one atomic commit.

A commit is a compare-and-swap on the table's version: if somebody published in between, it is a
`Conflict` and the stage starts again from the newest versions.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from idedup_tasks.errors import TransientError
from idedup_tasks.lake.candidate import Candidate, DamagedCandidate, DataFile, TableChange
from idedup_tasks.lake.packs import PLACE
from idedup_tasks.lake.store import Store
from idedup_tasks.lake.tables import TABLES, TableDefinition, stored_schema

_METADATA = "idedup"
_ROW_GROUP = 16_384


class Conflict(TransientError, RuntimeError):
    """Somebody else published this table meanwhile: start again from the newest versions."""


@dataclass(frozen=True)
class Commit:
    """One entry of a table's log: when, what it recorded, and the data files it added."""

    at: datetime
    metadata: dict[str, Any]
    added: frozenset[str]


class Snapshot:
    """One pinned version of one table; reading it never sees a later commit."""

    def __init__(self, lake: Lake, definition: TableDefinition, table: DeltaTable) -> None:
        self._lake, self._table, self.definition = lake, table, definition
        self.version: int = table.version()

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the commit that made this version recorded: settings digest, versions read."""
        # From this version's own entry of the log: `DeltaTable.history` of a pinned version starts
        # at the newest one, which another run may have published since.
        commit = self._lake.commit(self.definition.name, self.version)
        return {} if commit is None else commit.metadata

    def reads(self, upstream: str) -> int | None:
        """The version of another table that this one was brought up to date with; None: never.

        What a stage reads is pinned through this, so that a run never sees images whose
        fingerprints, or vectors, another run has yet to publish.
        """
        version = self.metadata.get("reads", {}).get(upstream)
        return None if version is None else int(version)

    def files(self, **partition: str) -> list[DataFile]:
        """The data files of this version, or of partitions with these values, in order of path."""
        if not partition:
            return list(self._files)
        wanted = partition.items()
        # Stages ask for one period after the other: not through all files for each of them.
        fewest = min((self._files_by.get(item, []) for item in wanted), key=len)
        return [f for f in fewest if wanted <= f.partition.items()]

    @cached_property
    def _files(self) -> list[DataFile]:
        found = []
        for row in pa.table(self._table.get_add_actions(flatten=True)).to_pylist():
            partition = {c: row[f"partition.{c}"] for c in self.definition.partition_by}
            found.append(DataFile(row["path"], row["size_bytes"], row["num_records"], partition))
        return sorted(found, key=lambda f: f.path)

    @cached_property
    def _files_by(self) -> dict[tuple[str, str], list[DataFile]]:
        """The data files by each column and value of their partition."""
        found: dict[tuple[str, str], list[DataFile]] = {}
        for file in self._files:
            for item in file.partition.items():
                found.setdefault(item, []).append(file)
        return found

    def partitions(self) -> list[dict[str, str]]:
        """The distinct partition values, sorted."""
        distinct = {tuple(sorted(f.partition.items())) for f in self.files()}
        return [dict(items) for items in sorted(distinct)]

    def scan(
        self,
        columns: Sequence[str] | None = None,
        where: ds.Expression | None = None,
        batch_rows: int = _ROW_GROUP,
        files: Iterable[DataFile] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Stream rows (all, or of `files`); no order is promised across files."""
        schema = self.definition.schema
        wanted = list(columns) if columns is not None else schema.names
        chosen = self.files() if files is None else list(files)
        yield from self._lake.scan_files(
            self.definition, chosen, wanted, where=where, batch_rows=batch_rows
        )

    def read(
        self,
        columns: Sequence[str] | None = None,
        where: ds.Expression | None = None,
        files: Iterable[DataFile] | None = None,
    ) -> pa.Table:
        """Rows as one Arrow table; only for columns of a few tens of bytes a row."""
        schema = self.definition.schema
        wanted = list(columns) if columns is not None else schema.names
        batches = list(self.scan(wanted, where, files=files))
        return pa.Table.from_batches(batches, pa.schema([schema.field(c) for c in wanted]))

    def along_packs(
        self, arrival: str, wanted: Collection[str], most: int
    ) -> Iterator[pa.RecordBatch]:
        """Cut images of a period into chunks that say where their thumbnails lie.

        They follow the rows of the data files, as packs do, so that a chunk reads long parts of
        few packs; a rerun cuts alike.

        Args:
            wanted: image_ids, of which those that are not in the period are left out.
            most: images in a chunk.

        Returns:
            image_id and the columns of `PLACE`.
        """
        chunk: list[pa.RecordBatch] = []
        files = self.files(arrival=arrival) if wanted else ()
        for batch in self.scan(["image_id", *PLACE], files=files):
            here = batch.filter(pa.array([i in wanted for i in batch["image_id"].to_pylist()]))
            while here.num_rows:
                part = here.slice(0, most - sum(b.num_rows for b in chunk))
                here = here.slice(part.num_rows)
                chunk.append(part)
                if sum(b.num_rows for b in chunk) == most:
                    yield pa.concat_batches(chunk)
                    chunk = []
        if chunk:
            yield pa.concat_batches(chunk)

    @property
    def rows(self) -> int:
        return sum(f.rows for f in self.files())


class Lake(Store):
    """The files of one collection, and the tables among them."""

    def snapshot(self, name: str, version: int | None = None) -> Snapshot:
        """Pin a table's newest version, or a given one; the table is created when it is missing.

        Raises:
            OtherFormat: the lake was written by a release that lays it out in another way.
        """
        self.refuse_format(self.stated_format)
        definition = TABLES[name]
        location = f"{self.uri}/{name}"
        try:
            table = DeltaTable(location, version=version)
        except TableNotFoundError:
            if self.local:
                self._fs.makedirs(location, exist_ok=True)
            # Of runs that create it at once, all go on with what the first created: a second
            # creation, on top, would look like a version of which nobody knows what it read.
            try:
                DeltaTable.create(
                    location,
                    schema=definition.schema,
                    partition_by=list(definition.partition_by),
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except DeltaError:
                if not DeltaTable.is_deltatable(location):
                    raise
            table = DeltaTable(location, version=version)
        # A first run that was cut off states no format.
        if {field.name for field in table.schema().fields} != {*definition.schema.names}:
            self.refuse_format(1)
        return Snapshot(self, definition, table)

    def commit(self, name: str, version: int) -> Commit | None:
        """What made a version of a table; None when the log no longer says."""
        relative = f"{name}/_delta_log/{version:020}.json"
        try:
            actions = [json.loads(line) for line in self.read_text(relative).splitlines()]
        except FileNotFoundError:
            return None
        [info] = [a["commitInfo"] for a in actions if "commitInfo" in a] or [{}]
        return Commit(
            datetime.fromtimestamp(info.get("timestamp", 0) / 1000, UTC),
            json.loads(info.get(_METADATA, "{}")),
            # Paths are stored as parts of a URL.
            frozenset(unquote(a["add"]["path"]) for a in actions if "add" in a),
        )

    def data_path(self, name: str, partition: Mapping[str, str], file_name: str) -> str:
        """Path of a data file relative to its table."""
        folders = [f"{c}={partition[c]}" for c in TABLES[name].partition_by]
        return "/".join([*folders, file_name])

    def write_rows(
        self,
        name: str,
        partition: Mapping[str, str],
        rows: pa.Table | Iterable[pa.RecordBatch],
        file_name: str | None = None,
    ) -> DataFile:
        """Write one data file that no version refers to yet.

        Args:
            name: the table.
            partition: its partition values.
            rows: the rows, with or without partition columns, in their final order.
            file_name: a name of the caller's choice makes the file findable by a rerun. It must say
                what is in the file: one of that name that has appeared meanwhile is kept, since
                another run may have published it.
        """
        definition = TABLES[name]
        relative = self.data_path(name, partition, file_name or f"{uuid.uuid4().hex}.parquet")
        schema = stored_schema(definition)
        batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
        count = 0
        with (
            self.create(f"{name}/{relative}", replace=file_name is None) as stream,
            pq.ParquetWriter(
                stream,
                schema,
                compression="zstd",
                write_page_index=True,
                write_page_checksum=True,
            ) as writer,
        ):
            for batch in batches:
                selected = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
                writer.write_table(selected, row_group_size=_ROW_GROUP)
                count += batch.num_rows
        return DataFile(relative, self.size(f"{name}/{relative}"), count, dict(partition))

    def written(self, name: str, partition: Mapping[str, str], file_name: str) -> DataFile | None:
        """A data file written earlier under a chosen name, or None if there is none.

        Its `rows` are -1 when it is damaged: it is read whole, which is less than making it anew.
        """
        relative = self.data_path(name, partition, file_name)
        if not self.exists(f"{name}/{relative}"):
            return None
        with self.open(f"{name}/{relative}") as stream:
            try:
                file = pq.ParquetFile(stream, page_checksum_verification=True)
                rows = sum(batch.num_rows for batch in file.iter_batches())
            except (pa.ArrowException, OSError):  # the latter is what a spoilt page raises
                rows = -1
        return DataFile(relative, self.size(f"{name}/{relative}"), rows, dict(partition))

    def scan_files(
        self,
        definition: TableDefinition,
        files: Iterable[DataFile],
        columns: Sequence[str],
        where: ds.Expression | None = None,
        batch_rows: int = _ROW_GROUP,
    ) -> Iterator[pa.RecordBatch]:
        """Stream the rows of data files, published or not, file by file in the order given."""
        schema = pa.schema([definition.schema.field(c) for c in columns])
        stored = stored_schema(definition)
        for file in files:
            names = [c for c in columns if c in stored.names]
            dataset = ds.dataset(
                self.path(f"{definition.name}/{file.path}"),
                schema=stored,
                format="parquet",
                filesystem=self._fs,
            )
            # A little read-ahead only: vectors are large, and memory is bounded.
            scanner = dataset.scanner(
                columns=names,
                filter=where,
                batch_size=batch_rows,
                batch_readahead=2,
                fragment_readahead=1,
            )
            for batch in scanner.to_batches():
                if not batch.num_rows:
                    continue
                arrays = [
                    batch.column(c)
                    if c in names
                    else pa.repeat(pa.scalar(file.partition[c], pa.string()), batch.num_rows)
                    for c in columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def scan_change(
        self, change: TableChange, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream the rows a candidate would add: what its gate checks."""
        definition = TABLES[change.table]
        wanted = list(columns) if columns is not None else definition.schema.names
        yield from self.scan_files(definition, change.add, wanted)

    def publish(self, change: TableChange) -> int:
        """Commit a change and return the table's new version.

        Publishing twice is harmless: a change whose files are already the table's is left alone.
        A change without files is committed when its metadata is news: which versions the table is
        up to date with.

        Raises:
            Conflict: the table has moved on from the change's base version.
            DamagedCandidate: a file to be added is not there as it was written.
        """
        snapshot = self.snapshot(change.table)
        present = {f.path for f in snapshot.files()}
        added = {f.path for f in change.add}
        removed = {f.path for f in change.remove}
        done = added <= present and not removed & present
        if done and snapshot.metadata == change.metadata:
            return snapshot.version
        if snapshot.version != change.base_version:
            raise Conflict(
                f"{change.table} is at version {snapshot.version}, and this change was made for "
                f"version {change.base_version}: it is prepared again from the newest versions."
            )
        for file in change.add:
            relative = f"{change.table}/{file.path}"
            if not self.exists(relative) or self.size(relative) != file.bytes:
                raise DamagedCandidate(
                    f"{relative} is missing or damaged: rerun the stage that wrote it."
                )
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(f.path, change.data_change, now, f.bytes, {**f.partition})
            for f in change.remove
        ]
        actions += [
            AddAction(
                f.path,
                f.bytes,
                f.partition,
                now,
                change.data_change,
                json.dumps({"numRecords": f.rows}),
            )
            for f in change.add
        ]
        definition = TABLES[change.table]
        try:
            snapshot._table.create_write_transaction(
                actions,
                "append",
                definition.schema,
                partition_by=list(definition.partition_by),
                commit_properties=CommitProperties(
                    custom_metadata={_METADATA: json.dumps(change.metadata, sort_keys=True)},
                    # No silent rebase: a commit that lost the race must be checked again.
                    max_commit_retries=0,
                ),
            )
        except CommitFailedError as error:
            raise Conflict(
                f"{change.table} was published by another run at the same moment."
            ) from error
        return change.base_version + 1

    def save_candidate(self, candidate: Candidate) -> str:
        """Keep a candidate where its gate, and a person after a failure, finds it."""
        relative = f"candidates/{safe_name(candidate.run_id)}/{candidate.stage}.json"
        self.write_text(relative, candidate.to_json())
        return relative

    def load_candidate(self, relative: str) -> Candidate:
        return Candidate.from_json(self.read_text(relative))


def safe_name(run_id: str) -> str:
    """A run id as a file name, another one for every run id."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", run_id)
    if safe == run_id and not safe.startswith("."):
        return safe
    return f"run_{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def reconcile_partition(
    lake: Lake,
    snapshot: Snapshot,
    change: TableChange,
    partition: Mapping[str, str],
    rows: pa.Table,
) -> bool:
    """Add to `change` what makes one partition hold exactly `rows`; say whether it differed.

    Rows are compared in order of the table's key, so equal content is never written again.
    """
    definition = snapshot.definition
    schema = definition.schema
    rows = rows.select(schema.names).cast(schema)
    rows = rows.sort_by([(c, "ascending") for c in definition.key])
    current = snapshot.files(**partition)
    if sum(f.rows for f in current) == rows.num_rows:
        held = snapshot.read(files=current)
        if held.sort_by([(c, "ascending") for c in definition.key]).equals(rows):
            return False
    change.remove.extend(current)
    if rows.num_rows:
        change.add.append(lake.write_rows(definition.name, partition, rows))
    return True
