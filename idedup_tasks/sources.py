"""List and read the objects of a collection, wherever they lie.

A source is a folder (a path, `~` allowed, or `file://`) or any URL that fsspec knows (`s3://`,
`gs://`, `az://` ...). Listings are streamed: page by page on S3, folder by folder elsewhere.
Credentials come from `storage_options` or the environment; they are refused inside a URL, and what
is raised here never repeats them.

Nothing is skipped in silence. What cannot be read (a folder without permission, a named pipe, a
dangling link) is listed with its `problem`, so that it can be counted as rejected.

File names that are not valid UTF-8 exist, but tables hold UTF-8. Each offending byte 0x80-0xFF is
written as the private-use character U+EF80-U+EFFF (the convention of MirBSD), and so are the bytes
of a name that really holds such a character, which makes the mapping reversible for every name.
"""

from __future__ import annotations

import heapq
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec

from idedup_tasks.addresses import holds_user, split_address
from idedup_tasks.errors import TerminalError, TransientError
from idedup_tasks.extras import require_protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ESCAPES = re.compile("[\uef80-\uefff]")


class SourceUnreachable(TransientError):
    """The source as a whole cannot be listed or read now; trying again later may help."""


class ObjectUnreadable(TerminalError):
    """One object cannot be read, though its source answers."""


class ObjectVanished(ObjectUnreadable):
    """One object was listed and is no longer there."""


@dataclass(frozen=True)
class SourceObject:
    """One entry of a listing.

    key: relative to the source, with "/" between folders. uri: the whole address, without
    credentials. bytes: its size. modified_at: UTC, to the microsecond. etag: changes when the
    content does: the store's ETag, hash or generation, or a local file's modification time in
    nanoseconds. problem: why it cannot be read, as a sentence, or None. The key of a folder that
    cannot be listed ends in "/".
    """

    key: str
    uri: str
    bytes: int
    modified_at: datetime
    etag: str
    problem: str | None = None


def list_objects(
    uri: str | Path,
    storage_options: Mapping[str, Any] | None = None,
    *,
    follow_links: bool = False,
) -> Iterator[SourceObject]:
    """List all objects under `uri`, recursively, in no particular order.

    Hidden files and empty ones are objects like others; a store's folder markers are not. A link to
    a file of the source counts as a file. A link to a folder of the source has a `problem`, for
    everything in it is listed already; so has a link that leads out of the source, and nothing is
    looked at there. With `follow_links` it is followed, and each folder outside is listed once:
    under the first of the links to it, in order of their keys. The source itself may be a link.

    Raises `SourceUnreachable` if the source, or on a remote store any part of it, cannot be listed,
    and `ValueError` for a URL that holds a password or names an unknown protocol.
    """
    scheme, address = _split(uri)
    if scheme == "file":
        yield from _list_local(address, follow_links)
        return
    options = dict(storage_options or {})
    filesystem, path = _open_filesystem(scheme, address, options)
    lister = _list_s3 if scheme in ("s3", "s3a") else _list_remote
    try:
        for key, info in lister(filesystem, path):
            yield SourceObject(
                key=key,
                uri=f"{address.rstrip('/')}/{key}",
                bytes=int(info.get("size") or 0),
                modified_at=_modified_at(info),
                etag=_etag(info),
            )
    except Exception as error:
        raise SourceUnreachable(
            f"{_without_secrets(address)} cannot be listed: {explain(error, options)}."
        ) from None


def read_object(
    uri: str,
    max_bytes: int,
    storage_options: Mapping[str, Any] | None = None,
    *,
    within: str | None = None,
) -> bytes:
    """Read an object, at most `max_bytes` + 1 of it: one more than allowed tells that it is larger.

    `uri` is that of a `SourceObject`; `within` a local source that its links must not have been
    turned to lead out of since. Raises `ObjectVanished`, `ObjectUnreadable` (no permission, a read
    error, not a regular file, outside `within`) or, when a remote store does not answer,
    `SourceUnreachable`.
    """
    scheme, address = _split(uri)
    if scheme == "file":
        return _read_local(address, max_bytes, None if within is None else _split(within)[1])
    options = dict(storage_options or {})
    filesystem, path = _open_filesystem(scheme, address, options)
    shown = _without_secrets(address)
    try:
        return bytes(filesystem.cat_file(path, start=0, end=max_bytes + 1))
    except FileNotFoundError:
        raise ObjectVanished(f"{shown} is no longer there.") from None
    except PermissionError as error:
        raise ObjectUnreadable(f"{shown} may not be read: {explain(error, options)}.") from None
    except Exception as error:
        # A range of an empty object does not exist, which S3 calls an error.
        if "InvalidRange" in str(error) or "range" in str(error).lower():
            try:
                if filesystem.size(path) == 0:
                    return b""
            except Exception as second:
                error = second
        raise SourceUnreachable(f"{shown} cannot be read: {explain(error, options)}.") from None


def is_local(uri: str | Path) -> bool:
    """Tell whether a source or object lies in this machine's file system."""
    return _split(uri)[0] == "file"


def _split(uri: str | Path) -> tuple[str, str]:
    """The protocol and the normal form: an absolute path for local sources, else the URL."""
    text = os.fspath(uri)
    scheme, rest = split_address(text)
    if not scheme:
        return "file", _absolute(str(Path(text).expanduser()))
    if scheme == "file":
        return "file", _absolute(_decode_name(rest))
    if holds_user(text):
        raise ValueError(
            f"{_without_secrets(text)} holds a user or a password; give credentials as storage "
            "options or through the environment instead."
        )
    return scheme, text


def _absolute(path: str) -> str:
    # Not resolve(): a source that is reached through a link keeps its address when the link moves.
    return os.path.abspath(path)  # noqa: PTH100


def _open_filesystem(scheme: str, address: str, options: dict[str, Any]) -> tuple[Any, str]:
    require_protocol(address)
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except (ValueError, ImportError) as error:
        raise ValueError(f"{scheme}:// is not a protocol that can be read: {error}.") from None
    try:
        filesystem = kind(**{**kind._get_kwargs_from_urls(address), **options})
    except Exception as error:
        raise SourceUnreachable(
            f"{_without_secrets(address)} cannot be reached: {explain(error, options)}."
        ) from None
    return filesystem, str(kind._strip_protocol(address)).rstrip("/")


# --- local files ---------------------------------------------------------------------------------


def _list_local(root: str, follow_links: bool) -> Iterator[SourceObject]:
    try:
        os.scandir(root).close()
    except OSError as error:
        raise SourceUnreachable(
            f"{_encode_name(root)} cannot be listed: {error.strerror or error}."
        ) from None
    real_root = os.path.realpath(root)
    # Links to folders outside wait until everything before them is listed, so that under which of
    # them a folder is listed does not hang on the order in which a disk names its entries.
    waiting = [("", root)]
    listed: set[tuple[int, int]] = set()  # devices and inodes of folders; only while following
    while waiting:
        prefix, folder = heapq.heappop(waiting)
        for item in _list_tree(root, prefix, folder, real_root, listed if follow_links else None):
            if isinstance(item, SourceObject):
                yield item
            else:
                heapq.heappush(waiting, item)


def _list_tree(
    root: str, prefix: str, folder: str, real_root: str, listed: set[tuple[int, int]] | None
) -> Iterator[SourceObject | tuple[str, str]]:
    """The objects in a folder and below; as (key with "/", path) the links that are to be followed.

    Args:
        prefix: the folder's key.
        listed: the folders that were listed before, where links out of the source are followed.
    """
    pending = [(prefix, folder)]
    while pending:
        prefix, folder = pending.pop()
        try:
            if listed is not None:
                found = os.stat(folder)  # noqa: PTH116
                if (found.st_dev, found.st_ino) in listed:
                    yield _local_object(root, prefix, found, _LISTED_ELSEWHERE)
                    continue
                listed.add((found.st_dev, found.st_ino))
            entries = os.scandir(folder)
        except FileNotFoundError:
            continue  # removed since its parent was listed: no longer part of the source
        except OSError as error:
            problem = f"The folder cannot be listed: {error.strerror or error}."
            yield _local_object(root, prefix, os.stat(folder), problem)  # noqa: PTH116
            continue
        with entries:
            for entry in entries:
                key = prefix + entry.name
                is_link = entry.is_symlink()
                outside = is_link and not _lies_in(os.path.realpath(entry.path), real_root)
                try:
                    if outside and listed is None:
                        # Not even its size: nothing out there is any of the source's business.
                        link = entry.stat(follow_symlinks=False)
                        yield _local_object(root, key, link, _LEADS_OUT)
                        continue
                    found = entry.stat()
                except OSError as error:
                    try:
                        link = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # removed while its folder was listed
                    what = "The link leads nowhere" if is_link else "It cannot be read"
                    problem = f"{what}: {error.strerror or error}."
                    yield _local_object(root, key, link, problem)
                    continue
                if not stat.S_ISDIR(found.st_mode):
                    yield _local_object(root, key, found, _special(found.st_mode))
                elif outside:
                    yield key + "/", entry.path
                elif is_link:
                    link = entry.stat(follow_symlinks=False)
                    yield _local_object(root, key, link, _LISTED_ELSEWHERE)
                else:
                    pending.append((key + "/", entry.path))


_LISTED_ELSEWHERE = "It leads to a folder that is listed under another name."
_LEADS_OUT = "The link leads out of the source; `follow_links: true` would follow it."


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _special(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    kinds = (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    )
    kind = next((name for test, name in kinds if test(mode)), "a special file")
    return f"It is {kind}, which is never opened."


def _local_object(root: str, key: str, found: os.stat_result, problem: str | None) -> SourceObject:
    try:
        modified_at = _EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)
    except OverflowError:
        modified_at = _EPOCH
        problem = problem or "Its modification time lies beyond the year 9999."
    stored = _encode_name(key)
    return SourceObject(
        key=stored,
        uri=f"file://{_encode_name(root).rstrip('/')}/{stored}",
        bytes=found.st_size if stat.S_ISREG(found.st_mode) else 0,
        modified_at=modified_at,
        etag=str(found.st_mtime_ns),
        problem=problem,
    )


def _read_local(path: str, max_bytes: int, within: str | None) -> bytes:
    shown = _encode_name(path)
    try:
        # Not to wait for ever if a pipe has taken the file's place since it was listed.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise ObjectUnreadable(f"{shown} cannot be read: it is not a regular file.")
            if within is not None and not _lies_in(
                _path_of(descriptor, path), os.path.realpath(within)
            ):
                raise ObjectUnreadable(f"{shown} cannot be read: it now leads out of the source.")
            return file.read(max_bytes + 1)
    except FileNotFoundError:
        raise ObjectVanished(f"{shown} is no longer there.") from None
    except OSError as error:
        raise ObjectUnreadable(f"{shown} cannot be read: {error.strerror or error}.") from None


def _path_of(descriptor: int, path: str) -> str:
    """Where an open file lies; Linux tells of the file itself, whatever became of its links."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
    except OSError:
        return os.path.realpath(path)


def _encode_name(name: str) -> str:
    """A file name as Python holds it (undecodable bytes as lone surrogates), fit for a table."""
    name = _ESCAPES.sub(lambda found: _escape(found.group().encode()), name)
    return "".join(
        chr(0xEF00 + ord(letter) - 0xDC00) if "\udc80" <= letter <= "\udcff" else letter
        for letter in name
    )


def _escape(raw: bytes) -> str:
    return "".join(chr(0xEF00 + byte) for byte in raw)


def _decode_name(stored: str) -> str:
    raw = b"".join(
        bytes([ord(letter) - 0xEF00])
        if "\uef80" <= letter <= "\uefff"
        else letter.encode("utf-8", "surrogateescape")
        for letter in stored
    )
    return os.fsdecode(raw)


# --- remote stores -------------------------------------------------------------------------------


def _list_s3(filesystem: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Page through a bucket, a thousand keys at a time."""
    bucket, _, prefix = path.partition("/")
    prefix = f"{prefix}/" if prefix else ""
    request = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = filesystem.call_s3("list_objects_v2", **request)
        for item in page.get("Contents", ()):
            if not item["Key"].endswith("/"):
                yield item["Key"][len(prefix) :], {**item, "size": item["Size"]}
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _list_remote(filesystem: Any, root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk folder by folder. (fsspec's own walk leaves out sub-folders that fail, silently.)"""
    pending = [root]
    while pending:
        folder = pending.pop()
        filesystem.invalidate_cache()
        for info in filesystem.ls(folder, detail=True):
            name = info["name"]
            if info["type"] == "directory":
                if name.rstrip("/") != folder:
                    pending.append(name.rstrip("/"))
            elif not name.endswith("/") and name != folder:
                yield name[len(root) :].lstrip("/"), info


def _modified_at(info: Mapping[str, Any]) -> datetime:
    names = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
    value = next((info[name] for name in names if info.get(name) is not None), None)
    if isinstance(value, int | float):
        value = datetime.fromtimestamp(value, UTC)
    elif isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise TypeError(f"the store states no modification time for {info.get('name')}")
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _etag(info: Mapping[str, Any]) -> str:
    content_md5 = (info.get("content_settings") or {}).get("content_md5")
    names = ("ETag", "etag", "md5Hash", "generation")
    value = next((info[name] for name in names if info.get(name)), content_md5)
    if isinstance(value, bytes | bytearray):
        value = value.hex()
    return str(value).strip('"') if value else _modified_at(info).isoformat()


# --- what may be said ----------------------------------------------------------------------------


def _without_secrets(text: str) -> str:
    """Blank out user@, user:password@ and signatures in URLs."""
    text = re.sub(r"(://)([^/@\s]*@|[^/@\s:]*:(?!\d+/)[^@\s]*@)", r"\1***@", text)
    return re.sub(r"(?i)\b(sig|signature|token|x-amz-[a-z-]+)=[^&\s]+", r"\1=***", text)


def explain(error: BaseException, options: Mapping[str, Any]) -> str:
    """One line about an error, without anything that the storage options hold in confidence."""
    text = _without_secrets(" ".join(str(error).split()))
    for secret in _secrets(options):
        text = text.replace(secret, "***")
    return f"{type(error).__name__}: {text[:300]}".rstrip(": .")


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif isinstance(value, str) and re.search(
            r"(?i)key|secret|token|pass|credential|connection_string|sas", name
        ):
            yield value
