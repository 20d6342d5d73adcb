"""Packs: the thumbnails of a chunk of images, one after the other in one file, and behind them the
finer pictures of those that are pages.

A row of `images` says where its own lie: pack, offset, length and a checksum. A pack is named
after its content and never changes, so that runs that write one at the same moment write the same
bytes, and writing it once more mends one that a disk has spoilt.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import pyarrow as pa

from idedup_tasks.errors import TerminalError
from idedup_tasks.lake.store import Store

PLACE = ("pack", "offset", "length", "checksum")
#: Where the finer picture lies in the same pack; all null where there is none.
FINE_PLACE = ("fine_offset", "fine_length", "fine_checksum")

# A thumbnail or a few that nobody asked for are sooner read than another request is answered.
_GAP = 2**16
_IN_MEMORY = 2**25


class DamagedPack(TerminalError, RuntimeError):
    """A stored picture is missing, or its bytes are not those that were written."""


class PackWriter:
    """A pack in the making, on scratch disk once it is large; to be used in a `with` statement."""

    def __init__(self) -> None:
        self._content = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._fine = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._hasher = hashlib.sha256()
        self._end = 0
        self._with_fine: list[dict[str, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()
        self._fine.close()

    def add(self, thumbnail: bytes, fine: bytes | None = None) -> dict[str, int]:
        """Append a thumbnail, and a page's finer picture.

        Returns:
            Where they lie, as their row has it; `fine_offset` is right once `store` has returned,
            for thumbnails are read far more often and lie together.
        """
        self._content.write(thumbnail)
        self._hasher.update(thumbnail)
        offset, self._end = self._end, self._end + len(thumbnail)
        place = {"offset": offset, "length": len(thumbnail), "checksum": checksum(thumbnail)}
        if fine is not None:
            place |= {"fine_offset": self._fine.tell(), "fine_length": len(fine)}
            place["fine_checksum"] = checksum(fine)
            self._fine.write(fine)
            self._with_fine.append(place)
        return place

    def store(self, lake: Store) -> str | None:
        """Write the pack; its path in the lake, or None if nothing was added.

        One that is there is replaced: by the same bytes, unless they were damaged.
        """
        if not self._end:
            return None
        self._fine.seek(0)
        while part := self._fine.read(_GAP):
            self._hasher.update(part)
        path = f"packs/{self._hasher.hexdigest()[:32]}.pack"
        with lake.create(path) as stream:
            for content in (self._content, self._fine):
                content.seek(0)
                shutil.copyfileobj(content, stream)
        while self._with_fine:
            self._with_fine.pop()["fine_offset"] += self._end
        return path


def checksum(picture: bytes) -> int:
    """CRC-32 of the bytes.

    It is there for what happens to bytes on disks and wires: a flip within four bytes is always
    noticed, others but once in four billion. It keeps nobody out, and need not: who may write here
    may write rows too. The column has 64 bits because Delta knows no unsigned numbers.
    """
    return zlib.crc32(picture)


def find_thumbnails(lake: Store, rows: pa.RecordBatch | pa.Table) -> list[bytes | None]:
    """The thumbnails (JPEG bytes) of some rows; None where one is missing or damaged.

    Ranges are read in order of their place, those that touch, or nearly, at once. All are in memory
    together: about 15 kB each.

    Args:
        rows: rows of `images` with the columns of `PLACE`; of rejected ones None comes back.
    """
    return _find(lake, _places(rows, PLACE))


def find_pictures(
    lake: Store, rows: pa.RecordBatch | pa.Table
) -> list[tuple[bytes, bytes | None] | None]:
    """The thumbnail and the finer picture (JPEG bytes) of some rows, as `find_thumbnails` reads
    them; None where one that there should be is missing or damaged.

    A finer picture that is not None has about 150 kB.

    Args:
        rows: rows of `images` with the columns of `PLACE` and `FINE_PLACE`.
    """
    fine = _places(rows, ("pack", *FINE_PLACE))
    found = _find(lake, _places(rows, PLACE) + [p if p[2] is not None else _NOWHERE for p in fine])
    pairs = zip(found[: len(fine)], found[len(fine) :], fine, strict=True)
    return [
        None if small is None or (finer is None and place[2] is not None) else (small, finer)
        for small, finer, place in pairs
    ]


_Place = tuple[Any, ...]
_NOWHERE: _Place = (None, None, None, None)


def _places(rows: pa.RecordBatch | pa.Table, columns: Sequence[str]) -> list[_Place]:
    return list(zip(*(rows[column].to_pylist() for column in columns), strict=True))


def _find(lake: Store, places: Sequence[_Place]) -> list[bytes | None]:
    """What lies at each (pack, offset, length, checksum), and None where it does not."""
    stored = [row for row, (pack, *_) in enumerate(places) if pack is not None]
    ranges: list[tuple[str, int, int]] = []
    held: list[list[int]] = []
    for row in sorted(stored, key=lambda row: places[row][:2]):
        pack, offset, length, _ = places[row]
        if ranges and ranges[-1][0] == pack and offset <= ranges[-1][2] + _GAP:
            _, start, end = ranges[-1]
            ranges[-1] = pack, start, max(end, offset + length)
            held[-1].append(row)
        else:
            ranges.append((pack, offset, offset + length))
            held.append([row])
    found: list[bytes | None] = [None] * len(places)
    for (_, start, _), content, inside in zip(ranges, lake.read_ranges(ranges), held, strict=True):
        for row in inside:
            _, offset, length, expected = places[row]
            picture = content[offset - start : offset - start + length]
            if len(picture) == length and checksum(picture) == expected:
                found[row] = picture
    return found


def read_thumbnails(lake: Store, rows: pa.RecordBatch | pa.Table) -> list[bytes]:
    """The thumbnails (JPEG bytes) of decoded images, as `find_thumbnails` reads them.

    Raises:
        DamagedPack: one is missing or damaged; says where.
    """
    return _whole(lake, rows, find_thumbnails(lake, rows), "thumbnails")


def read_pictures(lake: Store, rows: pa.RecordBatch | pa.Table) -> list[tuple[bytes, bytes | None]]:
    """The thumbnail and the finer picture, None where there is none, of decoded images.

    Raises:
        DamagedPack: one is missing or damaged; says where.
    """
    return _whole(lake, rows, find_pictures(lake, rows), "pictures")


_Found = TypeVar("_Found")


def _whole(
    lake: Store, rows: pa.RecordBatch | pa.Table, found: Sequence[_Found | None], kind: str
) -> list[_Found]:
    lost = [row for row, picture in enumerate(found) if picture is None]
    if lost:
        where = f"{lake.uri}/{rows['pack'][lost[0]].as_py()}"
        raise DamagedPack(
            f"{len(lost):,} of {len(found):,} {kind} are missing or damaged, the first in "
            f"{where}: `idedup maintain check --repair` has these images read again."
        )
    return [picture for picture in found if picture is not None]


def stream_thumbnails(
    lake: Store, images: pa.RecordBatch, most: int
) -> Iterator[tuple[pa.RecordBatch, list[bytes]]]:
    """The rows of some decoded images, so many at a time, with their thumbnails.

    The next are read while the caller works on these, up to all of them: `images` are a chunk.

    Raises:
        DamagedPack: one is missing or damaged; says where.
    """
    parts = [images.slice(start, most) for start in range(0, images.num_rows, most)]
    with ThreadPoolExecutor(1) as reader:
        found = reader.map(lambda part: read_thumbnails(lake, part), parts)
        yield from zip(parts, found, strict=True)
