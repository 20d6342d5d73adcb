"""How much a file's EXIF says, without reading what: a hostile one costs no more than others."""

from __future__ import annotations

import contextlib
import struct

# Where pictures lie in the file and how they are coded, and the directories inside directories.
_LAYOUT = {*range(254, 260), *range(262, 267), *range(277, 281), *range(284, 286), *range(288, 293)}
_LAYOUT |= {273, 301, 317, *range(320, 339), 339, 340, 341, 347, *range(512, 522), *range(529, 533)}
_EXIF, _GPS = 0x8769, 0x8825
_LAYOUT |= {_EXIF, _GPS, 0xA005}
_MOST = 1_000  # entries of a directory that are looked at


def count_fields(exif: object) -> int:
    """Fields of EXIF data, bytes that begin as a TIFF file does; 0 for anything else.

    Counted are the entries of the first directory and of its EXIF and GPS directories, tags that
    say how pixels are laid out aside (a TIFF file has those without saying anything).
    """
    if not isinstance(exif, bytes):
        return 0
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 0
    count = 0
    with contextlib.suppress(struct.error):  # one that ends early has the fields read so far
        directories = [struct.unpack_from(f"{order}I", exif, 4)[0]]
        for at in directories:
            stated = struct.unpack_from(f"{order}H", exif, at)[0]
            for entry in range(min(stated, _MOST)):
                tag, _, _, value = struct.unpack_from(f"{order}HHII", exif, at + 2 + 12 * entry)
                count += tag not in _LAYOUT
                if tag in (_EXIF, _GPS) and at == directories[0] and len(directories) < 3:
                    directories.append(value)
    return count
