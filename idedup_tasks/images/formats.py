"""What a file is, by its content: the closed list of formats, and how each is told."""

from __future__ import annotations

import contextlib
import re
import struct

from idedup_tasks.images.refusal import Rejected

#: Formats that are decoded, by the names Pillow gives them, and RAW for every camera's raw files.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF", "HEIF", "JXL", "RAW"),
    *("PSD", "DDS", "QOI", "ICO", "CUR", "TGA", "PPM"),
)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\xff\x0a", "JXL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JXL"),
    (b"8BPS", "PSD"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x02\x00", "CUR"),
    # Raw files of cameras that are not plain TIFF: Fuji, Olympus, Panasonic, Canon, Minolta, Sigma.
    (b"FUJIFILMCCD-RAW", "RAW"),
    (b"IIRO", "RAW"),
    (b"IIRS", "RAW"),
    (b"MMOR", "RAW"),
    (b"IIU\x00", "RAW"),
    (b"II\x1a\x00\x00\x00HEAPCCDR", "RAW"),
    (b"\x00MRM", "RAW"),
    (b"FOVb", "RAW"),
)

#: Frequent company of photographs that is recognised in order to say what it is.
_NOT_READ: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"\x00\x05\x16\x07", "a macOS resource file (._name)"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\x01\xda", "an SGI image"),
    (b"BLP1", "a Blizzard texture"),
    (b"BLP2", "a Blizzard texture"),
    (b"8BPB", "a Photoshop document of the large kind (PSB)"),
)

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1"}
TIFF_HEADERS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def sniff(data: bytes) -> str:
    """Name the format from the content: one of `FORMATS`, or raise `Rejected`."""
    head = data[:64]
    # Truevision gave TGA a signature, at the end, in version 2; older files cannot be told from
    # noise and are not taken in. First, since a TGA may begin as a cursor does.
    if data[-18:-2] == b"TRUEVISION-XFILE" and head[2:3] in b"\1\2\3\x09\x0a\x0b":
        return "TGA"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:4] in TIFF_HEADERS:
        return "RAW" if _is_camera_raw(data) else "TIFF"
    if head[4:8] == b"ftyp":
        return _sniff_boxes(data)
    if re.match(rb"P[1-6]\s", head):
        return "PPM"
    for magic, name in _NOT_READ:
        if head.startswith(magic):
            raise Rejected("unsupported", f"The file is {name}, which is not read.")
    if re.match(rb"(?s)\s*(\xef\xbb\xbf)?\s*<(\?xml|!doctype|html|svg)", head, re.IGNORECASE):
        raise Rejected("unsupported", "The file is HTML, SVG or other markup, which is not read.")
    raise Rejected("not-an-image", "The content is not that of any known image format.")


def _sniff_boxes(data: bytes) -> str:
    """Tell AVIF, HEIF and Canon CR3 from videos by the brands of the ISO base media file."""
    size = min(int.from_bytes(data[:4], "big"), 512)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))}
    if b"crx " in brands:
        return "RAW"
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & _HEIF_BRANDS:
        return "HEIF"
    brand = data[8:12].decode("ascii", "replace").strip()
    raise Rejected("unsupported", f"The file is a video or other media ({brand!r}), not an image.")


def _is_camera_raw(data: bytes) -> bool:
    """Tell DNG, CR2, NEF, ARW, PEF and their like from other TIFF files by the first directory.

    Raw are: the version tag of DNG, the mark of CR2, a first picture that is a sensor's mosaic, or
    one that is only a preview beside sub-directories (Nikon, Sony, Samsung).
    """
    if data[8:10] == b"CR":
        return True
    tags = first_directory(data)
    color_filter_array, linear_raw = 32803, 34892
    return bool(
        DNG_VERSION in tags
        or (tags.get(_PHOTOMETRIC) or (0,))[0] in (color_filter_array, linear_raw)
        or ((tags.get(_SUBFILE_TYPE) or (0,))[0] & 1 and tags.get(_SUB_DIRECTORIES))
    )


_SUBFILE_TYPE, _PHOTOMETRIC, _SUB_DIRECTORIES, DNG_VERSION = 254, 262, 330, 50706
_STRIPS, _TILES = (273, 279), (324, 325)


def first_directory(data: bytes) -> dict[int, tuple[int, ...]]:
    """Whole-number tags of the first directory of a classic TIFF; empty if it cannot be read."""
    if len(data) < 8 or data[2:4] not in (b"*\x00", b"\x00*"):
        return {}
    order = "<" if data[:2] == b"II" else ">"
    return _directory(data, struct.unpack_from(order + "I", data, 4)[0], order)


def _directory(data: bytes, offset: int, order: str) -> dict[int, tuple[int, ...]]:
    """Whole-number tags of the TIFF directory at `offset`, as far as they lie within the file."""
    tags: dict[int, tuple[int, ...]] = {}
    widths = {1: "B", 3: "H", 4: "I", 13: "I"}
    with contextlib.suppress(struct.error):  # a directory that ends early has the tags read so far
        for entry in range(struct.unpack_from(order + "H", data, offset)[0]):
            at = offset + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(order + "HHI", data, at)
            if kind not in widths or count > 1_000_000:
                continue
            layout = f"{order}{count}{widths[kind]}"
            at += 8
            if struct.calcsize(layout) > 4:
                at = struct.unpack_from(order + "I", data, at)[0]
            tags[tag] = struct.unpack_from(layout, data, at)
    return tags


def is_cut_off(data: bytes) -> bool:
    """Tell whether a TIFF-like raw file places picture data beyond its end.

    LibRaw fills what is missing with black and says so only on standard error.
    """
    order = "<" if data[:2] == b"II" else ">"
    first = first_directory(data)
    directories = [first]
    directories += [_directory(data, at, order) for at in first.get(_SUB_DIRECTORIES, ())]
    return any(
        start + length > len(data)
        for tags in directories
        for starts, lengths in (_STRIPS, _TILES)
        for start, length in zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False)
    )


def first_rows(data: bytes, rows: int) -> bytes | None:
    """A JPEG that states to have no more than so many rows; None where it states no size.

    A decoder stops after them: a part of a large picture at full size costs no more than what lies
    above it.
    """
    at = 2
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1]
        if marker in (0xC0, 0xC1, 0xC2):  # the frame's header (ISO/IEC 10918-1, B.2.2)
            return data[: at + 5] + rows.to_bytes(2, "big") + data[at + 7 :]
        # Any number of bytes 0xff may stand before a marker.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
