"""Decode one file of a known format, no larger than a thumbnail needs, and read its header."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pi_heif
import rawpy
from PIL import AvifImagePlugin, ExifTags, Image, ImageCms, JpegImagePlugin

from idedup_tasks.images.blocks import was_jpeg
from idedup_tasks.images.detail import real_detail
from idedup_tasks.images.exif import count_fields
from idedup_tasks.images.formats import (
    DNG_VERSION,
    TIFF_HEADERS,
    first_directory,
    first_rows,
    is_cut_off,
)
from idedup_tasks.images.page import fine_size, is_worth_finer
from idedup_tasks.images.refusal import Rejected, check_pixels
from idedup_tasks.images.thumbnail import THUMBNAIL_SHORT_SIDE, thumbnail_size
from idedup_tasks.settings import Limits

pi_heif.register_heif_opener()
# One image, one thread: the processes of `read_objects` already keep the cores busy.
pi_heif.options.DECODE_THREADS = 1
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Pillow warns from half of what it refuses; `read_image` refuses by `Limits.max_pixels` itself.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


# Formats whose pixels are those that somebody stored. Lossy ones have blocks of their own.
_LOSSLESS = ("PNG", "TIFF", "PSD", "BMP")


@dataclass(frozen=True)
class Decoded:
    """A picture shrunk to thumbnail size, a page finer as well, and what its header said."""

    picture: Image.Image
    fine: Image.Image | None
    detail: float
    was_jpeg: bool
    coarseness: float
    width: int
    height: int
    mode: str
    exif_orientation: int
    exif_fields: int
    taken_at: datetime | None


def decode(data: bytes, format_: str, limits: Limits) -> Decoded:
    """Decode a file of a format that `sniff` named; raises whatever its decoder does."""
    # Decoders check frames inside containers (icons, GIF frames) against Pillow's own guard, which
    # refuses above twice this number.
    Image.MAX_IMAGE_PIXELS = limits.max_pixels // 2
    return (_decode_raw if format_ == "RAW" else _decode)(data, format_, limits)


def _coarseness(image: Image.Image) -> float:
    """Mean step of a JPEG's luminance table, before it is loaded; 0 for other formats."""
    steps = getattr(image, "quantization", {}).get(0, ())
    return sum(steps) / len(steps) if steps else 0.0


def _decode(data: bytes, format_: str, limits: Limits) -> Decoded:
    with _open(data, format_, limits) as image:
        width, height = image.size
        check_pixels(width, height, limits)
        mode = image.mode
        coarseness = _coarseness(image)
        # What the file states, before TIFF and HEIF apply it while loading and forget it.
        stated = image.info.get("original_orientation")
        if format_ == "TIFF":
            stated = _exif(image).get(ExifTags.Base.Orientation)
        twice = _twice(thumbnail_size(width, height))
        shrunk_by_codec = shrink_while_decoding(image, data, twice)
        image.load()
        if not shrunk_by_codec:
            width, height = image.size  # icons say only now which of their pictures they gave
        exif = _exif(image)
        orientation = _valid_orientation(exif.get(ExifTags.Base.Orientation))
        fields = count_fields(data if format_ == "TIFF" else image.info.get("exif"))
        plain = _plain(image)
        picture = _to_rgb(plain, thumbnail_size(width, height))

        def rows(top: int, bottom: int) -> Image.Image | None:
            if not shrunk_by_codec:
                return plain.crop((0, top, width, bottom))
            cut = first_rows(data, bottom) if format_ == "JPEG" else None
            if cut is None:
                return None
            grey = _decoded_to(cut, format_, limits, (width, bottom))
            return _plain(grey.crop((0, top, width, bottom)))

        detail = real_detail(plain, width, height, rows)
        fine = None
        if is_worth_finer(picture, width, height):
            # Only now is it known to be a page: a photograph is never decoded a second time.
            enough = fine_size(width, height)
            if shrunk_by_codec and plain.width < enough[0]:
                plain = _plain(_decoded_to(data, format_, limits, enough))
            fine = _to_grey(plain, enough)
    # In JPEG XL the code stream's own orientation rules, and is applied.
    if format_ != "JXL":
        picture = _upright(picture, orientation)
        fine = fine and _upright(fine, orientation)
        if orientation >= 5:
            width, height = height, width
    return Decoded(
        picture=picture,
        fine=fine,
        detail=detail,
        was_jpeg=format_ in _LOSSLESS and was_jpeg(plain),
        coarseness=coarseness,
        width=width,
        height=height,
        mode=mode,
        exif_orientation=orientation if stated is None else _valid_orientation(stated),
        exif_fields=fields,
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
    check_pixels(header["width"], header["height"], limits)
    with pylibjxl.JXL(threads=1, pool_size=1) as decoder:
        pixels, metadata = decoder.decode(data, metadata=True)
    image = Image.fromarray(pixels)  # 8 bits a channel, whatever the file has
    image.info["exif"] = metadata.get("exif")
    return image


def _decoded_to(data: bytes, format_: str, limits: Limits, enough: tuple[int, int]) -> Image.Image:
    """The picture once more, of at least so many pixels, and of a JPEG in colour only the grey."""
    image = _open(data, format_, limits)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft("L", enough)
    else:
        shrink_while_decoding(image, data, enough)
    image.load()
    return image


def shrink_while_decoding(image: Image.Image, data: bytes, enough: tuple[int, int]) -> bool:
    """Let the codec decode fewer pixels, but at least so many; tell whether it will."""
    before = image.size
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


def _decode_raw(data: bytes, format_: str, limits: Limits) -> Decoded:
    """Take the preview that the camera embedded, or develop the sensor's data without one."""
    if DNG_VERSION in first_directory(data) and is_cut_off(data):
        raise Rejected("truncated", "The RAW file ends before its picture does.")
    with rawpy.imread(io.BytesIO(data)) as raw:
        sizes = raw.sizes
        check_pixels(sizes.raw_width, sizes.raw_height, limits)
        width, height = sizes.width, sizes.height
        # LibRaw's flips, as EXIF numbers them.
        orientation = {3: 3, 5: 8, 6: 6}.get(sizes.flip, 1)
        exif = _exif_of_tiff(data)
        preview = _preview(raw, limits)
        if preview is not None:
            exif = exif or _exif(preview)
            # A few cameras store the preview upright already.
            turned = (preview.width < preview.height) != (width < height)
            turn = 1 if turned else orientation
            plain = preview
        else:
            if data[:4] in TIFF_HEADERS and is_cut_off(data):
                raise Rejected("truncated", "The RAW file ends before its picture does.")
            half = min(width, height) >= 2 * THUMBNAIL_SHORT_SIDE
            plain = Image.fromarray(raw.postprocess(use_camera_wb=True, half_size=half))
            turn = 1
        plain = _plain(plain)
        if orientation >= 5:
            width, height = height, width
        picture = _upright(_to_rgb(plain, thumbnail_size(*plain.size)), turn)
        stored = (width, height) if turn < 5 else (height, width)
        detail = real_detail(plain, *stored, lambda *_: None)
        fine = None
        if is_worth_finer(picture, width, height):
            if preview is not None:
                plain = _plain(_preview(raw, limits, fine_size) or preview)
            fine = _upright(_to_grey(plain, fine_size(*stored)), turn)
    fields = count_fields(data) or count_fields(preview and preview.info.get("exif"))
    return Decoded(
        picture,
        fine,
        detail,
        False,
        0.0,
        width,
        height,
        "RAW",
        orientation,
        fields,
        _taken_at(exif),
    )


def _preview(
    raw: rawpy.RawPy,
    limits: Limits,
    enough: Callable[[int, int], tuple[int, int]] = lambda *size: _twice(thumbnail_size(*size)),
) -> Image.Image | None:
    """The embedded preview, decoded, if it is large enough for a thumbnail."""
    try:
        embedded = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if embedded.format == rawpy.ThumbFormat.JPEG:
        preview: Image.Image = Image.open(io.BytesIO(bytes(embedded.data)), formats=["JPEG"])
        check_pixels(*preview.size, limits)
    else:
        preview = Image.fromarray(np.asarray(embedded.data))
    if min(preview.size) < min(THUMBNAIL_SHORT_SIDE, raw.sizes.width, raw.sizes.height):
        return None
    if isinstance(preview, JpegImagePlugin.JpegImageFile):
        preview.draft(None, enough(*preview.size))
    preview.load()
    return preview


def _twice(size: tuple[int, int]) -> tuple[int, int]:
    return 2 * size[0], 2 * size[1]


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


def _plain(image: Image.Image) -> Image.Image:
    """Any decoded picture in one of the modes L, RGB, RGBA, CMYK and YCbCr."""
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return converted if converted is not None else image.convert("RGB")
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image)
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode not in ("L", "RGB", "CMYK", "YCbCr"):
        return image.convert("L" if image.mode == "1" else "RGB")
    return image


def _to_rgb(plain: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Shrink a picture that `_plain` gave to `size` and turn it into RGB on white."""
    shrunk = plain.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if shrunk.mode == "RGBA":
        white = Image.new("RGBA", size, "white")
        shrunk = Image.alpha_composite(white, shrunk)
    rgb = shrunk.convert("RGB")
    rgb.info.clear()  # comments and profiles of the original do not belong in the thumbnail
    return rgb


def _to_grey(plain: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The same in grey, of fewer pixels than `size` where the picture has no more."""
    size = size if size[0] < plain.width else plain.size
    if plain.mode == "RGBA":
        return _to_rgb(plain, size).convert("L")
    grey = plain.convert("L")
    grey.info.clear()
    # Averaging by whole pixels first takes a quarter of the time, and no digit of a page at 300 dpi
    # gets lost.
    return grey.resize(size, Image.Resampling.LANCZOS, reducing_gap=1.1)


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


# --- metadata -----------------------------------------------------------------------------------


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except Exception:  # malformed metadata is as good as none: the picture itself is sound
        return Image.Exif()


def _exif_of_tiff(data: bytes) -> Image.Exif:
    exif = Image.Exif()
    if data[:4] in TIFF_HEADERS:
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
