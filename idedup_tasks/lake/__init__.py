"""The lake: Delta tables that change by one atomic commit, and files beside them.

A stage never changes a table. It writes data files that no version refers to yet and describes
them in a `Candidate`; its gate checks those files and then publishes the candidate in one commit.
A commit is a compare-and-swap on the table's version: if somebody published in between, it is a
`Conflict` and the stage starts again from the newest versions.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction
from fsspec.implementations.local import LocalFileSystem

from idedup_tasks.errors import TerminalError, TransientError
from idedup_tasks.extras import require_protocol
from idedup_tasks.settings import local_folder

log = logging.getLogger(__name__)

TIMESTAMP = pa.timestamp("us", tz="UTC")

IMAGES = pa.schema(
    [
        pa.field("arrival", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("arrived_at", TIMESTAMP, nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("mode", pa.string()),
        pa.field("exif_orientation", pa.int32()),
        pa.field("taken_at", TIMESTAMP),
        pa.field("status", pa.string(), nullable=False),  # decoded | rejected
        pa.field("reason_code", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("low_information", pa.bool_()),
        pa.field("thumbnail", pa.binary()),
    ]
)
FINGERPRINTS = pa.schema(
    [
        pa.field("arrival", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("hash", pa.int64(), nullable=False),  # the 64 bits, as a signed integer
        pa.field("variants", pa.list_(pa.int64())),  # eight rotations and mirrors, if compared
        pa.field("low_information", pa.bool_(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # active | collapsed
        pa.field("onto", pa.string()),  # image_id it collapsed onto
        pa.field("relation", pa.string()),  # exact | perceptual
        pa.field("distance", pa.int32()),  # bits; 0 for exact
    ]
)
EMBEDDINGS = pa.schema(
    [
        pa.field("model_id", pa.string(), nullable=False),
        pa.field("arrival", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("vector", pa.list_(pa.float32()), nullable=False),  # L2-normalised
    ]
)
INDEX = pa.schema(
    [
        pa.field("model_id", pa.string(), nullable=False),
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # relative to the collection's folder
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("checksum", pa.string(), nullable=False),  # sha256 of the file
        pa.field("vectors", pa.int64(), nullable=False),
    ]
)
PAIRS = pa.schema(
    [
        pa.field("image_a", pa.string(), nullable=False),  # image_a < image_b
        pa.field("image_b", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),  # cosine, 4 decimals
    ]
)
GROUPS = pa.schema(
    [
        pa.field("arrival", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # active | collapsed
        pa.field("verdict", pa.string(), nullable=False),  # unique | keeper | duplicate
        pa.field("group_id", pa.string()),
        pa.field("relation", pa.string()),  # exact | perceptual | near; null for a keeper
        pa.field("method", pa.string()),  # sha256 | the hash | the model_id
        pa.field("matched_id", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("keeper_id", pa.string()),
        pa.field("score_to_keeper", pa.float64()),
        pa.field("pairs_capped", pa.bool_(), nullable=False),  # had more matches than are kept
    ]
)


@dataclass(frozen=True)
class TableDefinition:
    """A table's columns, how it is partitioned, and what orders its rows."""

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    key: tuple[str, ...]


TABLES: Mapping[str, TableDefinition] = {
    table.name: table
    for table in (
        TableDefinition("images", IMAGES, ("arrival",), ("image_id",)),
        TableDefinition("fingerprints", FINGERPRINTS, ("arrival",), ("image_id",)),
        TableDefinition("embeddings", EMBEDDINGS, ("model_id", "arrival"), ("image_id",)),
        TableDefinition("index", INDEX, ("model_id",), ("shard_id",)),
        TableDefinition("pairs", PAIRS, (), ("image_a", "image_b")),
        TableDefinition("groups", GROUPS, ("arrival",), ("image_id",)),
    )
}

_METADATA = "idedup"
_LAKE_FILE = "lake.json"
_ROW_GROUP = 16_384


class Conflict(TransientError, RuntimeError):
    """Somebody else published this table meanwhile: start again from the newest versions."""


class DamagedCandidate(TerminalError, RuntimeError):
    """A candidate's data file is missing or of another size than when it was written."""


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table: path relative to the table, bytes, rows, partition values."""

    path: str
    bytes: int
    rows: int
    partition: dict[str, str]


@dataclass(frozen=True)
class Commit:
    """One entry of a table's log: when, what it recorded, and the data files it added."""

    at: datetime
    metadata: dict[str, Any]
    added: frozenset[str]


@dataclass(frozen=True)
class StoredFile:
    """A file of the lake, whether anything refers to it or not."""

    path: str  # relative to the collection's folder
    bytes: int
    written_at: datetime


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
        return [f for f in self._files if wanted <= f.partition.items()]

    @cached_property
    def _files(self) -> list[DataFile]:
        found = []
        for row in pa.table(self._table.get_add_actions(flatten=True)).to_pylist():
            partition = {c: row[f"partition.{c}"] for c in self.definition.partition_by}
            found.append(DataFile(row["path"], row["size_bytes"], row["num_records"], partition))
        return sorted(found, key=lambda f: f.path)

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

    @property
    def rows(self) -> int:
        return sum(f.rows for f in self.files())


class Lake:
    """The tables and files of one collection, on a local folder or an object store.

    Args:
        root: folder (a path or `file://` and a path) or URL of the lake.
        collection: the collection's name; its data lies under `{root}/{collection}`.

    Attributes:
        uri: where the collection's data lies: an absolute path, or a URL.
        local: whether that is a folder of this machine.

    Raises:
        SettingsError: a folder whose name the tables cannot have; nothing is made anywhere.
    """

    def __init__(self, root: str, collection: str) -> None:
        folder = local_folder(root)
        self.local = folder is not None
        self.uri = f"{(folder or root).rstrip('/')}/{collection}"
        require_protocol(self.uri)
        if self.local:
            # A path is not taken apart as fsspec does with URLs, where `::` chains two of them.
            self._fs, self._path = LocalFileSystem(), self.uri
        else:
            # Other processes write here too: a listing is never remembered.
            self._fs, self._path = fsspec.core.url_to_fs(self.uri, use_listings_cache=False)

    # --- files ---------------------------------------------------------------------------------

    def path(self, relative: str) -> str:
        """Full path of a file as the lake's file system takes it."""
        return f"{self._path}/{relative}"

    def exists(self, relative: str) -> bool:
        return bool(self._fs.exists(self.path(relative)))

    def size(self, relative: str) -> int:
        return int(self._fs.size(self.path(relative)))

    def open(self, relative: str) -> IO[bytes]:
        return self._fs.open(self.path(relative), "rb")

    def read_text(self, relative: str) -> str:
        with self.open(relative) as stream:
            return stream.read().decode()

    @contextmanager
    def create(self, relative: str, replace: bool = True) -> Iterator[IO[bytes]]:
        """Write a file that appears whole or not at all.

        On a local file system it is renamed into place. For an object store it is written to
        scratch disk first: fsspec would publish what there is of it when writing fails.

        Args:
            replace: whether a file that has appeared there meanwhile gives way to this one.
        """
        target = self.path(relative)
        if not self.local:
            with tempfile.TemporaryDirectory(prefix="idedup-") as folder:
                scratch = Path(folder) / "object"
                with scratch.open("wb") as stream:
                    yield stream
                if replace or not self.exists(relative):
                    self._fs.put_file(str(scratch), target)
            return
        self._fs.makedirs(self._fs._parent(target), exist_ok=True)
        partial = f"{target}.{uuid.uuid4().hex}.partial"
        try:
            with self._fs.open(partial, "wb") as stream:
                yield stream
            if replace or not self.exists(relative):
                self._fs.mv(partial, target)
        finally:
            if self._fs.exists(partial):
                self._fs.rm_file(partial)

    def files_under(self, folder: str) -> Iterator[StoredFile]:
        """Every file in a folder of the lake and below, in no order; none if it is not there."""
        start = len(self.path(""))
        found = self._fs.find(self.path(folder), detail=True)
        for path, about in found.items():
            written = about.get("LastModified") or about.get("mtime") or about.get("last_modified")
            if not isinstance(written, datetime):
                written = (
                    self._fs.modified(path)
                    if written is None
                    else datetime.fromtimestamp(written, UTC)
                )
            written = written if written.tzinfo else written.replace(tzinfo=UTC)
            yield StoredFile(path[start:], int(about["size"]), written)

    def remove(self, relative: str) -> None:
        """Delete a file; one that is gone already is no fault."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self.path(relative))

    def write_text(self, relative: str, text: str) -> None:
        with self.create(relative) as stream:
            stream.write(text.encode())

    @cached_property
    def id(self) -> str:
        """What tells this lake from an older one at the same place: versions of two do not compare.

        A UUID in `lake.json`, written once; of processes that write it at the same moment, one
        does. Who copies a lake copies its id; who removes the file has another lake.
        """
        for _ in range(2):
            if self.exists(_LAKE_FILE):
                return str(json.loads(self.read_text(_LAKE_FILE))["lake_id"])
            self._create_once(_LAKE_FILE, json.dumps({"lake_id": str(uuid.uuid4())}).encode())
        return str(json.loads(self.read_text(_LAKE_FILE))["lake_id"])

    def _create_once(self, relative: str, content: bytes) -> None:
        """Write a small file whole unless it is there already; whoever comes first, wins."""
        target = self.path(relative)
        try:
            if self.local:
                self._fs.makedirs(self._fs._parent(target), exist_ok=True)
                partial = f"{target}.{uuid.uuid4().hex}.partial"
                try:
                    Path(partial).write_bytes(content)
                    os.link(partial, target)  # unlike a rename, refused when there is a file
                except FileExistsError:
                    raise
                except OSError:  # a file system without links, such as a memory stick's
                    with Path(target).open("xb") as stream:
                        stream.write(content)
                finally:
                    Path(partial).unlink(missing_ok=True)
            else:
                self._fs.pipe_file(target, content, mode="create")
        except FileExistsError:
            log.debug("%s was there first", relative)

    def local_copy(self, relative: str, folder: str) -> str:
        """A path on this machine with the file's content, for libraries that need one."""
        if self.local:
            return self.path(relative)
        target = f"{folder}/{hashlib.sha256(relative.encode()).hexdigest()[:16]}"
        self._fs.get_file(self.path(relative), target)
        return target

    # --- tables --------------------------------------------------------------------------------

    def snapshot(self, name: str, version: int | None = None) -> Snapshot:
        """Pin a table's newest version, or a given one; the table is created when it is missing."""
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
            pq.ParquetWriter(stream, schema, compression="zstd", write_page_index=True) as writer,
        ):
            for batch in batches:
                selected = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
                writer.write_table(selected, row_group_size=_ROW_GROUP)
                count += batch.num_rows
        return DataFile(relative, self.size(f"{name}/{relative}"), count, dict(partition))

    def written(self, name: str, partition: Mapping[str, str], file_name: str) -> DataFile | None:
        """A data file written earlier under a chosen name, or None if there is none.

        Its `rows` are -1 when it is damaged.
        """
        relative = self.data_path(name, partition, file_name)
        if not self.exists(f"{name}/{relative}"):
            return None
        with self.open(f"{name}/{relative}") as stream:
            try:
                rows = pq.ParquetFile(stream).metadata.num_rows
            except pa.ArrowInvalid:
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
            # A little read-ahead only: thumbnails are large, and memory is bounded.
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

    # --- candidates ----------------------------------------------------------------------------

    def save_candidate(self, candidate: Candidate) -> str:
        """Keep a candidate where its gate, and a person after a failure, finds it."""
        relative = f"candidates/{safe_name(candidate.run_id)}/{candidate.stage}.json"
        self.write_text(relative, candidate.to_json())
        return relative

    def load_candidate(self, relative: str) -> Candidate:
        return Candidate.from_json(self.read_text(relative))


# Its scheme, as in `sources`: a path may hold `://` further on.
def safe_name(run_id: str) -> str:
    """A run id as a file name, another one for every run id."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", run_id)
    if safe == run_id and not safe.startswith("."):
        return safe
    return f"run_{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def stored_schema(definition: TableDefinition) -> pa.Schema:
    """The columns inside the data files: all but the partition columns, as Delta stores them."""
    return pa.schema([f for f in definition.schema if f.name not in definition.partition_by])


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
