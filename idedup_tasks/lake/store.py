"""The files of one collection, on a local folder or an object store."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from idedup_tasks.errors import TerminalError
from idedup_tasks.extras import require_protocol
from idedup_tasks.settings import local_folder

log = logging.getLogger(__name__)

_LAKE_FILE = "lake.json"
# What the files of a lake are and say: raised when an older release could not read them, or this
# one those of an older. Format 3 has finer pictures of pages in its packs, and what looks saw.
_FORMAT = 3


class OtherFormat(TerminalError, RuntimeError):
    """A lake was written by a release that lays out its files in another way."""


@dataclass(frozen=True)
class StoredFile:
    """A file of the lake, whether anything refers to it or not."""

    path: str  # relative to the collection's folder
    bytes: int
    written_at: datetime


class Store:
    """Files that appear whole or not at all, by their path below one collection's folder.

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

    def path(self, relative: str) -> str:
        """Full path of a file as the lake's file system takes it."""
        return f"{self._path}/{relative}"

    def exists(self, relative: str) -> bool:
        return bool(self._fs.exists(self.path(relative)))

    def size(self, relative: str) -> int:
        return int(self._fs.size(self.path(relative)))

    def open(self, relative: str) -> IO[bytes]:
        stream: IO[bytes] = self._fs.open(self.path(relative), "rb")
        return stream

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Parts of files (path, start, end in bytes), one request each, many at once on a store.

        A part is shorter where its file ends before it does, and empty where there is no file.
        """
        paths, starts, ends = zip(*ranges, strict=True) if ranges else ((), (), ())
        found = self._fs.cat_ranges(
            [self.path(p) for p in paths], [*starts], [*ends], on_error="return"
        )
        for position, content in enumerate(found):
            if isinstance(content, FileNotFoundError):
                found[position] = b""
            elif isinstance(content, Exception):
                # A store refuses what begins beyond the end.
                if self.size(paths[position]) > starts[position]:
                    raise content
                found[position] = b""
        return [bytes(content) for content in found]

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
        if not self.exists(_LAKE_FILE):
            stated = {"lake_id": str(uuid.uuid4()), "format": _FORMAT}
            self._create_once(_LAKE_FILE, json.dumps(stated).encode())
        return str(json.loads(self.read_text(_LAKE_FILE))["lake_id"])

    @cached_property
    def stated_format(self) -> int:
        """The number that `lake.json` states; what has none is new, or of the first format."""
        if not self.exists(_LAKE_FILE):
            return _FORMAT
        return int(json.loads(self.read_text(_LAKE_FILE)).get("format", 1))

    def refuse_format(self, found: int) -> None:
        """Raise `OtherFormat` unless this is the format that this release reads and writes."""
        if found != _FORMAT:
            raise OtherFormat(
                f"The lake {self.uri} is of format {found}, and this release reads and writes "
                f"format {_FORMAT}: scan or ingest anew into another home (--output, IDEDUP_HOME "
                "or IDEDUP_LAKE)."
            )

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
