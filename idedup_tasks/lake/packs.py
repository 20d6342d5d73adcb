"""Packs: the thumbnails of a chunk of images, one after the other in one file.

A row of `images` says where its own lies: pack, offset, length and a checksum. A pack is named
after its content and never changes, so that runs that write one at the same moment write the same
bytes, and writing it once more mends one that a disk has spoilt.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import pyarrow as pa

from idedup_tasks.errors import TerminalError
from idedup_tasks.lake.store import Store

PLACE = ("pack", "offset", "length", "checksum")

# A thumbnail or a few that nobody asked for are sooner read than another request is answered.
_GAP = 2**16
_IN_MEMORY = 2**25


class DamagedPack(TerminalError, RuntimeError):
    """A thumbnail is missing, or its bytes are not those that were written."""


class PackWriter:
    """A pack in the making, on scratch disk once it is large; to be used in a `with` statement."""

    def __init__(self) -> None:
        self._content = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._hasher = hashlib.sha256()
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    def add(self, thumbnail: bytes) -> dict[str, int]:
        """Append a thumbnail; its offset, length and checksum, as its row has them."""
        self._content.write(thumbnail)
        self._hasher.update(thumbnail)
        offset, self._end = self._end, self._end + len(thumbnail)
        return {"offset": offset, "length": len(thumbnail), "checksum": checksum(thumbnail)}

    def store(self, lake: Store) -> str | None:
        """Write the pack; its path in the lake, or None if nothing was added.

        One that is there is replaced: by the same bytes, unless they were damaged.
        """
        if not self._end:
            return None
        path = f"packs/{self._hasher.hexdigest()[:32]}.pack"
        self._content.seek(0)
        with lake.create(path) as stream:
            shutil.copyfileobj(self._content, stream)
        return path


def checksum(thumbnail: bytes) -> int:
    """CRC-32 of the bytes.

    It is there for what happens to bytes on disks and wires: a flip within four bytes is always
    noticed, others but once in four billion. It keeps nobody out, and need not: who may write here
    may write rows too. The column has 64 bits because Delta knows no unsigned numbers.
    """
    return zlib.crc32(thumbnail)


def find_thumbnails(lake: Store, rows: pa.RecordBatch | pa.Table) -> list[bytes | None]:
    """The thumbnails (JPEG bytes) of some rows; None where one is missing or damaged.

    Ranges are read in order of their place, those that touch, or nearly, at once. All are in memory
    together: about 15 kB each.

    Args:
        rows: rows of `images` with the columns of `PLACE`; of rejected ones None comes back.
    """
    places = list(zip(*(rows[column].to_pylist() for column in PLACE), strict=True))
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
            thumbnail = content[offset - start : offset - start + length]
            if len(thumbnail) == length and checksum(thumbnail) == expected:
                found[row] = thumbnail
    return found


def read_thumbnails(lake: Store, rows: pa.RecordBatch | pa.Table) -> list[bytes]:
    """The thumbnails (JPEG bytes) of decoded images, as `find_thumbnails` reads them.

    Raises:
        DamagedPack: one is missing or damaged; says where.
    """
    found = find_thumbnails(lake, rows)
    lost = [row for row, thumbnail in enumerate(found) if thumbnail is None]
    if lost:
        where = f"{lake.uri}/{rows['pack'][lost[0]].as_py()}"
        raise DamagedPack(
            f"{len(lost):,} of {len(found):,} thumbnails are missing or damaged, the first in "
            f"{where}: `idedup maintain check --repair` has these images read again."
        )
    return [thumbnail for thumbnail in found if thumbnail is not None]


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
