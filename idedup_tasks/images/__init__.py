"""Decode an image file once into everything the later stages need.

`read_image` is the only place where bytes that a stranger made are decoded. What a file *is* comes
from its content, never from its name; what may be decoded is the closed list `FORMATS`; how large a
picture may be is read from its header before a pixel is decoded. A decoder can still crash or hang,
so collections are read through `read_objects`, which does the work in expendable processes.

The thumbnail is what hashes and descriptors are computed from, so its making is part of the
collection's identity: short side 256, long side at most 1,024, never enlarged, RGB, orientation
applied, transparency on white, JPEG quality 90.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import io
import re
import struct
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain
from typing import Any

import numpy as np
import pi_heif
import rawpy
from PIL import AvifImagePlugin, ExifTags, Image, ImageCms, JpegImagePlugin

from idedup_tasks.errors import TerminalError
from idedup_tasks.isolation import Crew, Failure, map_isolated
from idedup_tasks.sources import (
    ObjectUnreadable,
    ObjectVanished,
    SourceObject,
    is_local,
    list_objects,
    read_object,
)

THUMBNAIL_SHORT_SIDE = 256
THUMBNAIL_LONG_SIDE = 1024
THUMBNAIL_QUALITY = 90

#: Formats that are decoded, by the names Pillow gives them, and RAW for every camera's raw files.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF", "HEIF", "JXL", "RAW"),
    *("PSD", "DDS", "QOI", "ICO", "CUR", "TGA", "PPM"),
)

pi_heif.register_heif_opener()
# One image, one thread: the processes of `read_objects` already keep the cores busy.
pi_heif.options.DECODE_THREADS = 1
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Pillow warns from half of what it refuses; `read_image` refuses by `Limits.max_pixels` itself.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Limits:
    """What a file may cost.

    max_bytes: size of the file in bytes. max_pixels: width x height as its header states them,
    which bounds the memory of decoding (about 4 bytes a pixel, twice that for transparency).
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 100_000_000


class Rejected(TerminalError, ValueError):
    """A file that is not taken in.

    code: stable and short, for counting: empty, too-large, too-many-pixels, not-an-image,
    unsupported, corrupt, truncated, out-of-memory, unreadable, vanished, crashed, timed-out.
    reason: a sentence for a person, which never holds credentials.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image after reading it once.

    sha256: hex digest of the file. bytes: its size. format: one of `FORMATS`, sniffed from content.
    width, height: pixels of the original, orientation applied. mode: Pillow's name of the original
    pixel layout ("RGB", "P", "I;16", ...; "RAW" for a sensor's mosaic). exif_orientation: 1 to 8 as
    the file states it, 1 where it states none or nonsense. taken_at: EXIF DateTimeOriginal in UTC;
    a camera that recorded no offset is taken at its word as UTC. low_information: see
    `is_low_information`. thumbnail: JPEG bytes, see the module's docstring.
    """

    sha256: str
    bytes: int
    format: str
    width: int
    height: int
    mode: str
    exif_orientation: int
    taken_at: datetime | None
    low_information: bool
    thumbnail: builtins.bytes = field(repr=False)


@dataclass(frozen=True)
class _Decoded:
    """A picture shrunk to thumbnail size, and what its header said."""

    picture: Image.Image
    width: int
    height: int
    mode: str
    exif_orientation: int
    taken_at: datetime | None


def read_image(data: bytes, limits: Limits | None = None) -> ImageFacts:
    """Decode one image file from memory.

    Equal bytes give equal facts, thumbnail included, bit for bit under the same libraries. The
    first frame of an animation and the first page of a multi-page file stand for the whole.

    Raises `Rejected` for everything that cannot or may not be decoded, and nothing else.
    """
    limits = limits or Limits()
    if not data:
        raise Rejected("empty", "The file holds no bytes.")
    if len(data) > limits.max_bytes:
        raise _too_large(len(data), limits)
    format_ = _sniff(data)
    # Decoders check frames inside containers (icons, GIF frames) against Pillow's own guard, which
    # refuses above twice this number.
    Image.MAX_IMAGE_PIXELS = limits.max_pixels // 2
    try:
        decoded = (_decode_raw if format_ == "RAW" else _decode)(data, format_, limits)
        thumbnail = io.BytesIO()
        decoded.picture.save(thumbnail, "JPEG", quality=THUMBNAIL_QUALITY)
        low_information = is_low_information(decoded.picture)
    except (KeyboardInterrupt, SystemExit, Rejected):
        raise
    except BaseException as error:
        # Decoders raise whatever they like, and the one written in Rust panics with an exception
        # that does not derive from Exception.
        raise _rejection(error, format_) from error
    return ImageFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        format=format_,
        width=decoded.width,
        height=decoded.height,
        mode=decoded.mode,
        exif_orientation=decoded.exif_orientation,
        taken_at=decoded.taken_at,
        low_information=low_information,
        thumbnail=thumbnail.getvalue(),
    )


def is_low_information(thumbnail: Image.Image) -> bool:
    """Tell whether a picture is flat or nearly blank, so that only equal bytes prove a copy.

    The RGB picture is averaged over a grid of 32 x 32 cells, which takes noise away. It is low in
    information if inside the outer eighth of the grid

    - the cells' levels, from the 1st to the 99th percentile, spread by at most 10 of 256 in every
      channel (a speck, a staple or a page number does not make a page; a line of text does), and
    - the median deviation of pixels within a cell is at most 10, so that an even texture is not
      taken for a blank,

    and each line of cells along the outer eighth spreads as little from its 10th to its 90th
    percentile, up to one a side: a blank may have a frame or a scanner's dark edge, but a skyline
    under an empty sky is a picture.
    """
    cells_a_side, margin, flat, noise = 32, 4, 10.0, 10.0
    rgb = thumbnail.convert("RGB")
    grid = rgb.resize((cells_a_side, cells_a_side), Image.Resampling.BOX)
    cells = np.asarray(grid, dtype=np.float64)
    inner = cells[margin:-margin, margin:-margin]
    if _spread(inner.reshape(-1, 3), tail=1) > flat:
        return False

    # Deviation within a cell: mean of squares less the square of the mean, on the grey picture.
    grey = np.asarray(rgb.convert("L"), dtype=np.float32)
    squares = Image.fromarray(grey**2).resize(grid.size, Image.Resampling.BOX)
    means = Image.fromarray(grey).resize(grid.size, Image.Resampling.BOX)
    variance = np.asarray(squares, np.float64) - np.asarray(means, np.float64) ** 2
    inner_variance = variance[margin:-margin, margin:-margin]
    if float(np.sqrt(max(np.median(inner_variance), 0.0))) > noise:
        return False

    for side in range(4):
        lines = np.rot90(cells, side)[:margin, margin:-margin]
        if sum(_spread(line, tail=10) > flat for line in lines) > 1:
            return False
    return True


def _spread(levels: np.ndarray, tail: int) -> float:
    """Distance between the percentiles `tail` and 100 - `tail`, in the widest channel of (n, 3)."""
    low, high = np.percentile(levels, (tail, 100 - tail), axis=0)
    return float((high - low).max())


# --- what a file is ------------------------------------------------------------------------------

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
_TIFF_HEADERS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def _sniff(data: bytes) -> str:
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
    if head[:4] in _TIFF_HEADERS:
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
    tags = _first_directory(data)
    color_filter_array, linear_raw = 32803, 34892
    return bool(
        _DNG_VERSION in tags
        or (tags.get(_PHOTOMETRIC) or (0,))[0] in (color_filter_array, linear_raw)
        or ((tags.get(_SUBFILE_TYPE) or (0,))[0] & 1 and tags.get(_SUB_DIRECTORIES))
    )


_SUBFILE_TYPE, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 254, 262, 330, 50706
_STRIPS, _TILES = (273, 279), (324, 325)


def _first_directory(data: bytes) -> dict[int, tuple[int, ...]]:
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


def _is_cut_off(data: bytes) -> bool:
    """Tell whether a TIFF-like raw file places picture data beyond its end.

    LibRaw fills what is missing with black and says so only on standard error.
    """
    order = "<" if data[:2] == b"II" else ">"
    first = _first_directory(data)
    directories = [first]
    directories += [_directory(data, at, order) for at in first.get(_SUB_DIRECTORIES, ())]
    return any(
        start + length > len(data)
        for tags in directories
        for starts, lengths in (_STRIPS, _TILES)
        for start, length in zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False)
    )


# --- decoding ------------------------------------------------------------------------------------


def _decode(data: bytes, format_: str, limits: Limits) -> _Decoded:
    with _open(data, format_, limits) as image:
        width, height = image.size
        _check_pixels(width, height, limits)
        mode = image.mode
        # What the file states, before TIFF and HEIF apply it while loading and forget it.
        stated = image.info.get("original_orientation")
        if format_ == "TIFF":
            stated = _exif(image).get(ExifTags.Base.Orientation)
        size = _thumbnail_size(width, height)
        shrunk_by_codec = _shrink_while_decoding(image, data, size)
        image.load()
        if not shrunk_by_codec:
            width, height = image.size  # icons say only now which of their pictures they gave
        exif = _exif(image)
        orientation = _valid_orientation(exif.get(ExifTags.Base.Orientation))
        picture = _to_rgb(image, _thumbnail_size(width, height))
    # In JPEG XL the code stream's own orientation rules, and is applied.
    if format_ != "JXL":
        picture = _upright(picture, orientation)
        if orientation >= 5:
            width, height = height, width
    return _Decoded(
        picture=picture,
        width=width,
        height=height,
        mode=mode,
        exif_orientation=orientation if stated is None else _valid_orientation(stated),
        taken_at=_taken_at(exif),
    )


def _open(data: bytes, format_: str, limits: Limits) -> Image.Image:
    if format_ != "JXL":
        return Image.open(io.BytesIO(data), formats=[format_])
    try:
        import pylibjxl
    except ImportError:
        raise Rejected(
            "unsupported",
            "The file is JPEG XL, which is read where the package pylibjxl is installed (it has "
            "wheels for Linux on x86-64).",
        ) from None
    header = pylibjxl.probe(data)
    _check_pixels(header["width"], header["height"], limits)
    with pylibjxl.JXL(threads=1, pool_size=1) as decoder:
        pixels, metadata = decoder.decode(data, metadata=True)
    image = Image.fromarray(pixels)  # 8 bits a channel, whatever the file has
    image.info["exif"] = metadata.get("exif")
    return image


def _shrink_while_decoding(image: Image.Image, data: bytes, size: tuple[int, int]) -> bool:
    """Let the codec decode fewer pixels, at least twice those wanted; tell whether it will."""
    before = image.size
    enough = (2 * size[0], 2 * size[1])
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, enough)
        return image.size != before
    if image.format == "JPEG2000":
        # Number of decomposition levels: in the COD marker of the main header (ISO/IEC 15444-1).
        start = data.find(b"\xff\x4f\xff\x51")
        marker = data.find(b"\xff\x52\x00", start)
        levels = data[marker + 9] if 0 <= start < marker < len(data) - 9 else 0
        fold = min(before[0] // enough[0], before[1] // enough[1])
        power = min(max(fold.bit_length() - 1, 0), levels)
        if power:
            image.reduce = power  # type: ignore[assignment, method-assign]
            return True
    return False


def _decode_raw(data: bytes, format_: str, limits: Limits) -> _Decoded:
    """Take the preview that the camera embedded, or develop the sensor's data without one."""
    if _DNG_VERSION in _first_directory(data) and _is_cut_off(data):
        raise Rejected("truncated", "The RAW file ends before its picture does.")
    with rawpy.imread(io.BytesIO(data)) as raw:
        sizes = raw.sizes
        _check_pixels(sizes.raw_width, sizes.raw_height, limits)
        width, height = sizes.width, sizes.height
        # LibRaw's flips, as EXIF numbers them.
        orientation = {3: 3, 5: 8, 6: 6}.get(sizes.flip, 1)
        exif = _exif_of_tiff(data)
        preview = _preview(raw, limits)
        if preview is not None:
            exif = exif or _exif(preview)
            # A few cameras store the preview upright already.
            turned = (preview.width < preview.height) != (width < height)
            picture = _to_rgb(preview, _thumbnail_size(*preview.size))
            picture = picture if turned else _upright(picture, orientation)
        else:
            if data[:4] in _TIFF_HEADERS and _is_cut_off(data):
                raise Rejected("truncated", "The RAW file ends before its picture does.")
            half = min(width, height) >= 2 * THUMBNAIL_SHORT_SIDE
            developed = raw.postprocess(use_camera_wb=True, half_size=half)
            picture = Image.fromarray(developed)
            picture = _to_rgb(picture, _thumbnail_size(*picture.size))
    if orientation >= 5:
        width, height = height, width
    return _Decoded(picture, width, height, "RAW", orientation, _taken_at(exif))


def _preview(raw: rawpy.RawPy, limits: Limits) -> Image.Image | None:
    """The embedded preview, decoded, if it is large enough for a thumbnail."""
    try:
        embedded = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if embedded.format == rawpy.ThumbFormat.JPEG:
        preview: Image.Image = Image.open(io.BytesIO(bytes(embedded.data)), formats=["JPEG"])
        _check_pixels(*preview.size, limits)
    else:
        preview = Image.fromarray(np.asarray(embedded.data))
    if min(preview.size) < min(THUMBNAIL_SHORT_SIDE, raw.sizes.width, raw.sizes.height):
        return None
    wide, high = _thumbnail_size(*preview.size)
    if isinstance(preview, JpegImagePlugin.JpegImageFile):
        preview.draft(None, (2 * wide, 2 * high))
    preview.load()
    return preview


def _thumbnail_size(width: int, height: int) -> tuple[int, int]:
    scale = min(
        THUMBNAIL_SHORT_SIDE / min(width, height), THUMBNAIL_LONG_SIDE / max(width, height), 1.0
    )
    return max(1, round(width * scale)), max(1, round(height * scale))


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    operations = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    operation = operations.get(orientation)
    return picture if operation is None else picture.transpose(operation)


def _to_rgb(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Shrink any decoded picture to `size` and turn it into plain RGB on white."""
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        image = converted if converted is not None else image
    elif image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK", "YCbCr"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    shrunk = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if shrunk.mode == "RGBA":
        white = Image.new("RGBA", size, "white")
        shrunk = Image.alpha_composite(white, shrunk)
    rgb = shrunk.convert("RGB")
    rgb.info.clear()  # comments and profiles of the original do not belong in the thumbnail
    return rgb


def _eight_bits(image: Image.Image) -> Image.Image:
    """Map 16-bit, 32-bit and float grey to 8 bits.

    Whole numbers are divided by the smallest full scale (8, 12 or 16 bits) that holds them, floats
    from 0 to 1 are multiplied by 255; anything else is stretched from its least to its greatest.
    """
    levels = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(levels.min()), float(levels.max())
    scales = (1.0, 255.0) if image.mode == "F" else (255.0, 4095.0, 65535.0)
    full = next((scale for scale in scales if low >= 0 and high <= scale), None)
    if full is None:
        levels, full = levels - low, (high - low) or 1.0
    return Image.fromarray(np.rint(levels * (255.0 / full)).astype(np.uint8))


# --- metadata ------------------------------------------------------------------------------------


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except Exception:  # malformed metadata is as good as none: the picture itself is sound
        return Image.Exif()


def _exif_of_tiff(data: bytes) -> Image.Exif:
    exif = Image.Exif()
    if data[:4] in _TIFF_HEADERS:
        with contextlib.suppress(Exception):  # as in `_exif`
            exif.load(data)
    return exif


def _valid_orientation(value: Any) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _taken_at(exif: Image.Exif) -> datetime | None:
    try:
        tags = exif.get_ifd(ExifTags.IFD.Exif)
        text = str(tags.get(ExifTags.Base.DateTimeOriginal, ""))
        moment = datetime.strptime(text.strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        fraction = re.match(r"\d{1,6}", str(tags.get(ExifTags.Base.SubsecTimeOriginal, "")))
        if fraction:
            moment = moment.replace(microsecond=int(fraction.group().ljust(6, "0")))
        offset = re.match(
            r"([+-])(\d\d):(\d\d)", str(tags.get(ExifTags.Base.OffsetTimeOriginal, ""))
        )
        if offset:
            sign, hours, minutes = offset.groups()
            east = timedelta(hours=int(hours), minutes=int(minutes))
            zone = timezone(east if sign == "+" else -east)
            moment = moment.replace(tzinfo=zone).astimezone(UTC)
    except Exception:  # as in `_exif`: no date, or none that makes sense
        return None
    return moment


# --- refusing ------------------------------------------------------------------------------------


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width < 1 or height < 1:
        raise Rejected("corrupt", f"The header states a picture of {width} x {height} pixels.")
    if width * height > limits.max_pixels:
        raise Rejected(
            "too-many-pixels",
            f"The picture has {width} x {height} pixels, more than the limit of "
            f"{limits.max_pixels:,}.",
        )


def _too_large(size: int, limits: Limits) -> Rejected:
    return Rejected(
        "too-large", f"The file has {size:,} bytes, more than the limit of {limits.max_bytes:,}."
    )


def _rejection(error: BaseException, format_: str) -> Rejected:
    """Put what a decoder raised into one of the stable codes."""
    text = " ".join(str(error).split())[:200].rstrip(".")
    if isinstance(error, Image.DecompressionBombError):
        return Rejected("too-many-pixels", f"The {format_} file is a decompression bomb: {text}.")
    if isinstance(error, MemoryError):
        return Rejected("out-of-memory", f"Decoding the {format_} file takes too much memory.")
    if isinstance(error, Image.UnidentifiedImageError):
        return Rejected("corrupt", f"The file begins like {format_} but its header cannot be read.")
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return Rejected("truncated", f"The {format_} file ends before its picture does: {text}.")
    return Rejected("corrupt", f"The {format_} file is damaged: {text or type(error).__name__}.")


# --- reading a collection ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reader:
    """Reads and decodes one object, in a worker, so that its bytes never cross to the parent."""

    limits: Limits
    storage_options: Mapping[str, Any] = field(repr=False)
    follow_links: bool = False

    def __call__(self, item: SourceObject) -> ImageFacts | Rejected:
        if item.problem is not None:
            return Rejected("unreadable", item.problem)
        if item.bytes > self.limits.max_bytes:
            return _too_large(item.bytes, self.limits)
        source = item.uri.removesuffix(item.key)
        try:
            data = read_object(
                item.uri,
                self.limits.max_bytes,
                self.storage_options,
                within=None if self.follow_links else source,
            )
            return read_image(data, self.limits)
        except Rejected as rejected:
            if rejected.code == "out-of-memory":  # perhaps a neighbour's fault: try it alone
                raise MemoryError from None
            # Not the one that was raised: its traceback keeps the decoded picture in memory.
            return Rejected(rejected.code, rejected.reason)
        except ObjectUnreadable as error:
            # One object without permission is that object's matter; when the listing fails as
            # well, credentials have expired or a disk is gone, and nothing must be concluded.
            next(list_objects(source, self.storage_options), None)
            code = "vanished" if isinstance(error, ObjectVanished) else "unreadable"
            return Rejected(code, str(error))


_WORKER_MEMORY = 4 * 2**30


def decoding_crew(processes: int) -> Crew:
    """Worker processes for `read_objects`, to be kept from one call to the next."""
    return Crew(processes, _WORKER_MEMORY)


def read_objects(
    objects: Iterable[SourceObject],
    limits: Limits | None = None,
    storage_options: Mapping[str, Any] | None = None,
    *,
    processes: int,
    timeout_s: float = 120.0,
    memory_limit_bytes: int = _WORKER_MEMORY,
    crew: Crew | None = None,
    follow_links: bool = False,
) -> Generator[tuple[SourceObject, ImageFacts | Rejected], None, None]:
    """Read and decode a stream of objects in worker processes, in order, a bounded number at once.

    Each object is read by a worker and comes back as its facts or as `Rejected`; a file that
    crashes its decoder, or is not done in timeout_s seconds or within memory_limit_bytes of address
    space, is rejected as crashed, timed-out or out-of-memory. From remote stores each worker reads
    several objects at once, since the network is what it waits for.

    A `crew`, such as `decoding_crew` gives, is kept for the next call. A local file that has come
    to lead out of its source since it was listed is `unreadable` unless `follow_links` is set.

    Raises `SourceUnreachable` when the source as a whole stops answering.
    """
    objects = iter(objects)
    first = next(objects, None)
    if first is None:
        return
    reader = _Reader(limits or Limits(), dict(storage_options or {}), follow_links)
    threads = 1 if is_local(first.uri) else 8
    under_way: deque[SourceObject] = deque()

    def noted() -> Iterator[SourceObject]:
        for item in chain([first], objects):
            under_way.append(item)
            yield item

    results = map_isolated(
        reader,
        noted(),
        processes=processes,
        timeout_s=timeout_s,
        batch=16,
        threads=threads,
        memory_limit_bytes=memory_limit_bytes,
        crew=crew,
    )
    with contextlib.closing(results):
        for result in results:
            item = under_way.popleft()
            if not isinstance(result, Failure):
                yield item, result
                continue
            if result.kind == "timed-out":  # the file, or a store that has fallen silent?
                next(list_objects(item.uri.removesuffix(item.key), storage_options), None)
            yield item, _failed(result, timeout_s)


def _failed(failure: Failure[SourceObject], timeout_s: float) -> Rejected:
    if failure.kind == "crashed":
        return Rejected("crashed", f"The decoder crashed on the file: it {failure.detail}.")
    if failure.kind == "timed-out":
        return Rejected("timed-out", f"Reading the file took more than {timeout_s:g} seconds.")
    return Rejected("out-of-memory", "Decoding the file takes too much memory.")
