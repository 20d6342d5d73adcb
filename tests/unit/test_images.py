"""Every kind of file is decoded once and alike, or refused with a code and a sentence."""

import csv
import functools
import io
import os
import struct
import sys
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import numpy as np
import pillow_heif
import pylibjxl
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image, ImageCms, ImageDraw, ImageEnhance, ImageFile, ImageFilter, ImageOps

from idedup_tasks.images import (
    FORMATS,
    ImageFacts,
    Rejected,
    decoding,
    exif,
    formats,
    is_low_information,
    read_image,
    read_objects,
)
from idedup_tasks.settings import Limits
from idedup_tasks.sources import SourceUnreachable, list_objects

SHARED = Path(__file__).resolve().parents[2] / "../shared"
ODD = SHARED / "odd_inputs"
PHOTOS = SHARED / "photos"

pylibjxl.register_pillow()  # for writing


def scene(width=400, height=300, seed=1):
    """A picture of soft blobs with a bright corner, so that up, down, left and right differ."""
    random = np.random.default_rng(seed)
    small = random.integers(40, 200, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    ImageDraw.Draw(picture).rectangle((0, 0, width // 4, height // 8), fill=(250, 240, 30))
    return picture


def encode(picture, format_, **options):
    file = io.BytesIO()
    if format_ == "HEIF":  # what decodes it cannot encode
        pillow_heif.from_pillow(picture).save(file, **options)
    else:
        picture.save(file, format_, **options)
    return file.getvalue()


def pixels(facts):
    return np.asarray(Image.open(io.BytesIO(facts.thumbnail)), dtype=np.float64)


def difference(one, other):
    """Mean difference of two thumbnails in grey levels."""
    return float(np.abs(pixels(one) - pixels(other)).mean())


@functools.cache
def reference():
    return read_image(encode(scene(), "PNG"))


def rejection(data, limits=None):
    with pytest.raises(Rejected) as caught:
        read_image(data, limits)
    assert str(caught.value) == caught.value.reason
    assert caught.value.reason.endswith(".")
    assert "\n" not in caught.value.reason
    return caught.value.code


# --- what comes out ------------------------------------------------------------------------------


def test_facts_of_a_photograph():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769).update({0x9003: "2024:02:29 23:30:00", 0x9011: "-05:30", 0x9291: "250"})
    data = encode(scene(), "JPEG", quality=95, exif=exif, comment=b"not for the thumbnail")
    facts = read_image(data)
    assert facts.bytes == len(data)
    assert facts.format == "JPEG"
    assert facts.mode == "RGB"
    assert (facts.width, facts.height, facts.exif_orientation) == (300, 400, 6)
    assert facts.taken_at == datetime(2024, 3, 1, 5, 0, 0, 250000, UTC)
    assert facts.taken_at.utcoffset().total_seconds() == 0
    assert facts.low_information is False
    assert len(facts.sha256) == 64
    assert facts.sha256 == read_image(data).sha256
    with Image.open(io.BytesIO(facts.thumbnail)) as thumbnail:
        assert (thumbnail.format, thumbnail.mode, thumbnail.size) == ("JPEG", "RGB", (256, 341))
        assert not thumbnail.getexif()
        assert "comment" not in thumbnail.info


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), (341, 256)),
        ((3000, 4000), (256, 341)),
        ((256, 256), (256, 256)),
        ((100, 80), (100, 80)),
        ((300, 255), (300, 255)),
        ((2000, 200), (1024, 102)),
        ((6000, 600), (1024, 102)),
        ((9000, 3), (1024, 1)),
        ((1, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_thumbnail_size(size, expected, format_):
    facts = read_image(encode(Image.new("RGB", size, "teal"), format_))
    assert (facts.width, facts.height) == size
    assert pixels(facts).shape == (expected[1], expected[0], 3)


def test_equal_bytes_give_equal_facts():
    for data in (
        encode(scene(2000, 1500), "JPEG"),
        encode(scene(), "WEBP"),
        encode(scene(), "AVIF"),
    ):
        assert read_image(data) == read_image(data)


def test_decoding_at_reduced_size_hardly_shows(monkeypatch):
    for format_ in ("JPEG", "JPEG2000"):
        data = encode(scene(4000, 3000).filter(ImageFilter.SHARPEN), format_)
        reduced = read_image(data)
        with monkeypatch.context() as patched:
            patched.setattr(decoding, "shrink_while_decoding", lambda *_: False)
            full = read_image(data)
        assert reduced.detail == pytest.approx(full.detail, rel=0.1)
        assert reduced.colour == pytest.approx(full.colour, abs=0.1)
        same = {"thumbnail": b"", "detail": 0, "colour": 0}
        assert replace(reduced, **same) == replace(full, **same)
        assert reduced.thumbnail != full.thumbnail, "the codec did not reduce at all"
        assert difference(reduced, full) < 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(orientation, format_):
    undo = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = scene()
    for operation in undo[orientation]:
        stored = stored.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts = read_image(encode(stored, format_, exif=exif))
    assert (facts.width, facts.height) == (400, 300)
    assert facts.exif_orientation == orientation
    assert difference(facts, reference()) < 4


@pytest.mark.parametrize(("orientation", "stored"), [(1, (400, 300)), (6, (300, 400))])
def test_heif_applies_its_own_orientation(orientation, stored):
    picture = scene() if orientation == 1 else scene().transpose(Image.Transpose.ROTATE_90)
    assert picture.size == stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts = read_image(encode(picture, "HEIF", exif=exif.tobytes()))
    assert (facts.width, facts.height, facts.exif_orientation) == (400, 300, orientation)
    assert difference(facts, reference()) < 4


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("JPEG", {"quality": 92}),
        ("JPEG", {"quality": 92, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"quality": 92}),
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("JPEG2000", {}),
        ("AVIF", {"quality": 92}),
        ("HEIF", {"quality": 92}),
        ("JXL", {"lossless": True}),
        ("QOI", {}),
        ("DDS", {}),
        ("PPM", {}),
        ("ICO", {"sizes": [(200, 150)]}),
    ],
)
def test_formats_agree_on_the_picture(format_, options):
    data = encode(scene(), format_, **options)
    facts = read_image(data)
    assert facts.format == format_
    assert format_ in FORMATS
    if format_ == "ICO":
        assert (facts.width, facts.height) == (200, 150)
    else:
        assert (facts.width, facts.height) == (400, 300)
        assert difference(facts, reference()) < 6


def test_multi_picture_jpeg_of_phones_is_a_jpeg():
    other = scene(seed=2)
    data = encode(scene(), "MPO", save_all=True, append_images=[other], quality=92)
    facts = read_image(data)
    assert facts.format == "JPEG"
    assert difference(facts, reference()) < 4


def test_tga_is_told_by_its_signature():
    data = encode(scene(), "TGA")
    assert read_image(data).format == "TGA"
    assert rejection(data[:-26]) in {"not-an-image", "corrupt"}


def lab(picture):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")


@pytest.mark.parametrize(
    ("picture", "format_", "mode", "tolerance"),
    [
        (scene().convert("CMYK"), "JPEG", "CMYK", 4),
        (scene().convert("CMYK"), "TIFF", "CMYK", 2),
        (scene().quantize(256), "PNG", "P", 6),
        (lab(scene()), "TIFF", "LAB", 4),
        (scene().convert("YCbCr"), "TIFF", "YCbCr", 3),
    ],
)
def test_colour_modes_agree_on_the_picture(picture, format_, mode, tolerance):
    facts = read_image(encode(picture, format_))
    assert facts.mode == mode
    assert difference(facts, reference()) < tolerance


GREY = np.asarray(scene().convert("L"))


@pytest.mark.parametrize(
    ("levels", "mode"),
    [
        (GREY, "L"),
        ((GREY.astype(np.uint16) * 257), "I;16"),
        ((GREY.astype(np.uint16) * 16), "I;16"),  # twelve bits in sixteen
        ((GREY / 255.0).astype(np.float32), "F"),
        (GREY.astype(np.float32), "F"),
        (GREY.astype(np.int32) * 257, "I"),
    ],
)
def test_depths_of_grey_agree_on_the_picture(levels, mode):
    facts = read_image(encode(Image.fromarray(levels), "TIFF"))
    assert facts.mode == mode
    assert difference(facts, read_image(encode(Image.fromarray(GREY), "PNG"))) < 1.5


def test_unbounded_levels_are_stretched():
    levels = GREY.astype(np.float32) * 1000 - 40_000
    levels[0, 0] = np.nan
    facts = read_image(encode(Image.fromarray(levels), "TIFF"))
    shown = pixels(facts)
    assert shown.min() < 20
    assert shown.max() > 235
    assert not facts.low_information
    flat = read_image(encode(Image.fromarray(np.full((40, 40), -7.5, np.float32)), "TIFF"))
    assert flat.low_information


def test_one_bit_pictures():
    facts = read_image(encode(scene().convert("1"), "PNG"))
    assert facts.mode == "1"
    small = Image.open(io.BytesIO(facts.thumbnail)).resize((8, 6), Image.Resampling.BOX)
    grey = scene().convert("L").convert("RGB").resize((8, 6), Image.Resampling.BOX)
    assert np.abs(np.asarray(small, float) - np.asarray(grey, float)).mean() < 8


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "tRNS"])
def test_transparency_lies_on_white(mode):
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 255) if mode != "LA" else (90, 90, 90, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 32, 64))
    if mode == "tRNS":
        data = encode(picture.convert("RGB"), "PNG", transparency=(0, 0, 0))
    else:
        data = encode(picture.convert(mode), "PNG")
    shown = pixels(read_image(data))
    assert shown[:, :24].min() > 245
    assert shown[:, 40:, 1].max() < 100


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_stands_for_the_animation(format_):
    frames = [scene(), scene(seed=2), scene(seed=3)]
    data = encode(frames[0], format_, save_all=True, append_images=frames[1:])
    facts = read_image(data)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames == 3
    assert difference(facts, reference()) < 6


def test_jpeg_xl_is_refused_by_its_header(monkeypatch):
    data = encode(scene(), "JXL")
    monkeypatch.setattr(pylibjxl, "JXL", None)  # no pixel is ever decoded
    assert rejection(data, Limits(max_pixels=400 * 300 - 1)) == "too-many-pixels"


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_xl_made_of_a_jpeg_is_that_jpeg(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769).update({0x9003: "2024:02:29 23:30:00"})
    jpeg = encode(scene(), "JPEG", quality=95, exif=exif)
    facts, same = read_image(pylibjxl.jpeg_to_jxl(jpeg)), read_image(jpeg)
    assert facts.format == "JXL"
    assert facts.exif_orientation == orientation
    assert (facts.width, facts.height, facts.taken_at) == (same.width, same.height, same.taken_at)
    assert difference(facts, same) < 2


def test_jpeg_xl_without_its_decoder_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pylibjxl", None)
    with pytest.raises(Rejected, match="pylibjxl") as caught:
        read_image(encode(scene(), "JXL"))
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, None),
        ({0x9003: "2020:01:02 03:04:05"}, datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ({0x9003: "2020:01:02 03:04:05\0"}, datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ({0x9003: "0000:00:00 00:00:00"}, None),
        ({0x9003: "    :  :     :  :  "}, None),
        ({0x9003: "yesterday"}, None),
        ({0x9003: "0001:01:01 00:00:00", 0x9011: "+02:00"}, None),
        (
            {0x9003: "2020:01:01 00:30:00", 0x9011: "+02:00"},
            datetime(2019, 12, 31, 22, 30, tzinfo=UTC),
        ),
    ],
)
def test_dates(tags, expected):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(tags)
    assert read_image(encode(scene(), "JPEG", exif=exif)).taken_at == expected


def test_nonsense_in_metadata_does_not_cost_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 99
    facts = read_image(encode(scene(), "JPEG", exif=exif))
    assert facts.exif_orientation == 1
    assert facts.width == 400
    facts = read_image(encode(scene(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fnonsense"))
    assert facts.taken_at is None
    assert difference(facts, reference()) < 6


# --- pages ---------------------------------------------------------------------------------------


def printed(width=1240, height=1754, seed=1, ground=255):
    """A page of small text, dark on one level."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (width, height), (ground, ground, ground))
    draw = ImageDraw.Draw(picture)
    for y in range(height // 20, height - height // 20, 24):
        words = " ".join(str(n) for n in random.integers(0, 10**6, 20))
        draw.text((width // 20, y), words, fill=(20, 20, 40))
    return picture


def fine(facts):
    return Image.open(io.BytesIO(facts.fine))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1240, 1754), (1024, 1448)),
        ((2480, 3508), (1024, 1448)),
        ((600, 400), (600, 400)),
        ((380, 500), None),  # shrunk by 1.48
        ((256, 256), None),
        ((200, 9000), (182, 8192)),
    ],
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "JPEG2000"])
def test_a_page_that_its_thumbnail_shrank_has_a_finer_picture(size, expected, format_):
    facts = read_image(encode(printed(*size), format_))
    if expected is None:
        assert facts.fine is None
        return
    finer = fine(facts)
    assert (finer.format, finer.mode, finer.size) == ("JPEG", "L", expected)
    whole = printed(*size).convert("L").resize(expected, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(finer, float) - np.asarray(whole, float)).mean() < 4


def test_a_photograph_has_no_finer_picture_and_is_decoded_once(monkeypatch):
    """But for some of its rows at full size: the header that says so is another."""
    opened, whole = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda f, *a, **k: opened.append(f.getvalue()) or whole(f, *a, **k)
    )
    for picture, times in ((scene(2000, 1500), 1), (printed(), 2)):
        data = encode(picture, "JPEG")
        opened.clear()
        assert (read_image(data).fine is None) == (times == 1)
        assert opened.count(data) == times


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("AVIF", {"quality": 95}),
        ("HEIF", {"quality": 95}),
        ("JXL", {"lossless": True}),
    ],
)
def test_formats_agree_on_the_finer_picture(format_, options):
    page = printed()
    finer = fine(read_image(encode(page, format_, **options)))
    same = fine(read_image(encode(page, "PNG")))
    assert finer.size == same.size == (1024, 1448)
    assert np.abs(np.asarray(finer, float) - np.asarray(same, float)).mean() < 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "LA", "RGBA", "CMYK"])
def test_the_finer_picture_of_every_mode_is_dark_print_on_white(mode):
    page = printed()
    if mode == "I;16":
        page = Image.fromarray(np.asarray(page.convert("L")).astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA"):
        page.putalpha(page.convert("L").point(lambda level: 255 - level))
        page = page.convert(mode)
    else:
        page = page.convert(mode)
    levels = np.asarray(fine(read_image(encode(page, "TIFF"))))
    assert levels.shape == (1448, 1024)
    assert np.median(levels) > 250
    assert levels.min() < 120


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_the_finer_picture_lies_as_the_thumbnail_does(format_, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts = read_image(encode(printed(), format_, exif=exif))
    thumbnail = Image.open(io.BytesIO(facts.thumbnail)).convert("L")
    shrunk = fine(facts).resize(thumbnail.size, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(shrunk, float) - np.asarray(thumbnail, float)).mean() < 4


# --- detail --------------------------------------------------------------------------------------


def detailed(count=12):
    """Photographs of about 200 pixels, or where there are none, drawings with edges all over."""
    if PHOTOS.is_dir():
        files = sorted((PHOTOS / "eval").glob("*.jpg"))
        return [Image.open(f).convert("RGB") for f in files[:: len(files) // 60][:60]]
    pictures = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        picture = scene(1200, 900, seed)
        for _ in range(300):
            x, y, r = random.integers(0, 1200), random.integers(0, 900), random.integers(5, 60)
            colour = tuple(int(c) for c in random.integers(0, 256, 3))
            ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), fill=colour)
        pictures.append(picture.resize((300, 225), Image.Resampling.LANCZOS))
    return pictures


def needed(picture, format_="PNG", **options):
    return read_image(encode(picture, format_, **options)).detail


def resized(picture, factor, way=Image.Resampling.BICUBIC):
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), way)


def test_an_enlarged_copy_has_the_detail_of_its_original_and_a_blurred_one_less():
    pictures = detailed()
    own = np.array([needed(p) for p in pictures])
    assert (own > 0).all()
    for factor in (1.5, 2, 3):
        for way in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
            share = np.array([needed(resized(p, factor, way)) for p in pictures]) / own
            assert np.mean(share < 1.15) >= 0.96, (factor, way)
            assert 0.6 < np.median(share) < 1.0
    for radius in (0.7, 1, 2):
        blur = ImageFilter.GaussianBlur(radius)
        assert (np.array([needed(p.filter(blur)) for p in pictures]) < own).all()
    small = np.array([needed(resized(p, 0.5, Image.Resampling.LANCZOS)) for p in pictures])
    assert (small < own).all()


def test_a_codec_hardly_changes_the_detail():
    pictures = detailed()
    own = np.array([needed(p) for p in pictures])
    for options in ({"quality": 90}, {"quality": 75}):
        share = np.array([needed(p, "JPEG", **options) for p in pictures]) / own
        assert 0.9 < np.median(share) < 1.1


def test_a_frame_adds_no_detail_to_what_it_frames():
    pictures = detailed()
    for colour in ((30, 30, 30), (255, 255, 255)):
        shares = []
        for picture in pictures:
            framed = Image.new("RGB", (picture.width * 3 // 2, picture.height * 3 // 2), colour)
            framed.paste(picture, (picture.width // 4, picture.height // 4))
            shares.append(needed(framed) * (2 / 3) ** 2 / needed(picture))
        assert 0.8 < np.median(shares) < 1.25


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_the_detail_of_a_large_picture_does_not_depend_on_its_format(format_):
    """A JPEG of 1,600 pixels is decoded smaller, but for its sharpest rows."""
    random = np.random.default_rng(3)
    picture = scene(1600, 1200)
    for _ in range(400):
        x, y, r = random.integers(0, 1600), random.integers(0, 1200), random.integers(5, 60)
        colour = tuple(int(c) for c in random.integers(0, 256, 3))
        ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), fill=colour)
    own = needed(picture, format_)
    assert own == pytest.approx(needed(picture), rel=0.1)
    assert own > 0.6 * 1.92
    # At 3,200 pixels the codec gives the smaller picture back, full of detail.
    assert needed(resized(picture, 2), format_) < 1.05 * own
    assert needed(picture.filter(ImageFilter.GaussianBlur(6)), format_) < 1.92 / 4
    assert needed(resized(picture, 0.5), format_) < 1.92 / 2
    small = resized(picture, 0.2)
    for factor in (2, 5, 8):
        assert needed(resized(small, factor), format_) < 1.15 * needed(small)


@pytest.mark.parametrize("progressive", [False, True])
def test_the_first_rows_of_a_jpeg_are_read_without_the_others(progressive):
    data = encode(scene(640, 480), "JPEG", progressive=progressive)
    whole = np.asarray(Image.open(io.BytesIO(data)))
    # Any number of bytes 0xff may stand before a marker.
    for file in (data, data[:2] + b"\xff\xff" + data[2:]):
        top = np.asarray(Image.open(io.BytesIO(formats.first_rows(file, 96))))
        assert top.shape == (96, 640, 3)
        assert np.array_equal(top[:80], whole[:80])
    assert formats.first_rows(data[:2] + b"no marker", 96) is None


def test_what_was_decoded_from_a_jpeg_is_told():
    pictures = detailed()
    decoded = [Image.open(io.BytesIO(encode(p, "JPEG", quality=95))) for p in pictures]
    # The photographs at hand were JPEGs; of another size they are not any more.
    never = [resized(p, 0.9) for p in pictures]

    def told(pictures, format_="PNG"):
        return np.mean([read_image(encode(p, format_)).was_jpeg for p in pictures])

    assert told(never) == told(never, "JPEG") == 0
    assert told(decoded) > 0.9
    assert told(decoded, "TIFF") > 0.9
    for edit in (ImageOps.mirror, lambda p: ImageEnhance.Brightness(p).enhance(1.2)):
        assert told([edit(p) for p in decoded]) > 0.85
    assert told([resized(p, 2) for p in decoded]) == 0
    for flat in (Image.new("RGB", (300, 300), "teal"), Image.new("L", (20, 9), 3), blank(127, 2)):
        assert not read_image(encode(flat, "PNG")).was_jpeg


def test_a_small_picture_hardly_says_that_it_was_a_jpeg() -> None:
    """Few blocks look like a JPEG's by chance: one in twenty did at 72 pixels."""
    small = [scene(72, 72, seed).convert("RGB") for seed in range(60)]
    assert not any(read_image(encode(p, "PNG")).was_jpeg for p in small)


def test_how_coarse_a_jpeg_is_its_tables_say() -> None:
    picture = scene()
    fine, coarse = (read_image(encode(picture, "JPEG", quality=q)).coarseness for q in (75, 60))
    assert (round(fine), round(coarse)) == (29, 46)
    assert read_image(encode(picture, "PNG")).coarseness == 0


def test_what_has_no_structure_has_no_detail():
    assert needed(Image.new("RGB", (400, 300), "teal")) == 0.0
    assert needed(blank(127, noise=2)) < needed(scene()) / 2
    assert needed(Image.new("RGB", (3, 2), "teal")) == 0.0


# --- how much a file says of itself --------------------------------------------------------------


def test_a_grey_picture_has_no_colour_whatever_its_layout():
    picture = Image.new("RGB", (40, 30), (90, 40, 60))
    assert read_image(encode(picture, "PNG")).colour == 50
    assert read_image(encode(picture.convert("L").convert("RGB"), "PNG")).colour == 0


def test_exif_fields_are_counted():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "maker", "model"
    exif.get_ifd(0x8769).update({0x9003: "2024:02:29 23:30:00", 0x9291: "250", 0x829A: 0.01})
    exif.get_ifd(0x8825).update({1: "N", 3: "E"})
    for format_ in ("JPEG", "PNG", "WEBP", "AVIF"):
        assert read_image(encode(scene(), format_, exif=exif)).exif_fields == 7, format_
        assert read_image(encode(scene(), format_)).exif_fields == 0, format_
    assert read_image(encode(scene(), "HEIF", exif=exif.tobytes())).exif_fields == 7
    assert read_image(encode(scene(), "TIFF", exif=exif)).exif_fields == 2  # all that Pillow writes
    assert read_image(encode(scene(), "TIFF")).exif_fields == 0


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\xff\xff\xff\x7f",
        b"\x08\0\0\0\xff\xff" + b"\x69\x87\x04\0\x01\0\0\0\x08\0\0\0" * 65_535,
        b"\x08\0\0\0\xff\xff" + b"\x0f\x01\x02\0\xff\xff\xff\xff\x08\0\0\0" * 65_535,
    ],
)
def test_hostile_exif_is_counted_no_further_than_it_is_worth(tail):
    assert exif.count_fields(b"II*\0" + tail) <= 3_000


# --- blanks --------------------------------------------------------------------------------------


def blank(level=245, noise=0.0, size=(341, 256), seed=5):
    random = np.random.default_rng(seed)
    levels = level + noise * random.standard_normal((size[1], size[0], 3))
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def framed(picture, width, colour="black"):
    ImageDraw.Draw(picture).rectangle(
        (0, 0, picture.width - 1, picture.height - 1), outline=colour, width=width
    )
    return picture


def edged(picture, side):
    """A scanner's dark edge, a little askew, along one side."""
    wide, high = picture.size
    corners = [(wide - 14, 0), (wide, 0), (wide, high), (wide - 10, high)]
    ImageDraw.Draw(picture).polygon(corners, fill=20)
    return picture.rotate(90 * side, expand=True)


def specked(picture):
    draw = ImageDraw.Draw(picture)
    draw.ellipse((100, 100, 106, 106), fill=60)
    draw.text((165, 235), "17", fill=30)
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        blank(),
        blank(0),
        blank(127, noise=4),
        blank(250, noise=8),
        blank(size=(3, 2)),
        framed(blank(240, noise=3), 12),
        framed(blank(240), 25, "gray"),
        *(edged(blank(240, noise=2), side) for side in range(4)),
        specked(blank(248, noise=2)),
        Image.new("RGB", (256, 256), (200, 30, 30)),
    ],
)
def test_blanks_are_low_in_information(picture):
    assert is_low_information(picture)
    assert read_image(encode(picture, "JPEG", quality=80)).low_information


def skyline():
    picture = blank(200, noise=1)
    draw = ImageDraw.Draw(picture)
    for step, height in enumerate([5, 22, 12, 28, 8, 30, 18, 25]):
        draw.rectangle((step * 43, 256 - height, step * 43 + 30, 256), fill=40)
    return picture


def line_of_text():
    picture = blank(250)
    draw = ImageDraw.Draw(picture)
    for line in range(2):
        draw.text((60, 120 + 12 * line), "The quick brown fox jumps over it", fill=0)
    return picture


def faint():
    """Fog: a scene squeezed into 24 grey levels."""
    levels = np.asarray(scene(341, 256), dtype=np.float64)
    return Image.fromarray((180 + levels * 24 / 255).astype(np.uint8))


def texture():
    random = np.random.default_rng(8)
    return Image.fromarray(random.integers(60, 200, (256, 341), dtype=np.uint8))


def equally_bright():
    """Two colours that are one grey."""
    picture = Image.new("RGB", (300, 256), (150, 76, 29))
    picture.paste((0, 150, 60), (150, 0, 300, 256))
    return picture


@pytest.mark.parametrize(
    "picture",
    [scene(), faint(), skyline(), line_of_text(), texture(), equally_bright()],
    ids=["scene", "faint", "skyline", "text", "texture", "colours"],
)
def test_pictures_are_not_low_in_information(picture):
    assert not is_low_information(picture)


def test_no_photograph_is_low_in_information():
    paths = sorted((PHOTOS / "eval").rglob("*.jpg"))[::5][:800]
    if not paths:
        pytest.skip("there is no folder of photographs beside the checkout")
    blanks = [path.name for path in paths if read_image(path.read_bytes()).low_information]
    assert blanks == []


# --- what is refused -----------------------------------------------------------------------------


def png_header(width, height):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\0", "not-an-image"),
        (bytes(range(1, 200)) * 30, "not-an-image"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "unsupported"),
        (b"\xef\xbb\xbf  <?xml version='1.0'?><svg/>", "unsupported"),
        (b"%PDF-1.7\n...", "unsupported"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "unsupported"),
        (b"just some words, named .jpg by somebody", "not-an-image"),
        (b"GIF89a", "corrupt"),
        (b"\xff\xd8\xff\xe0", "corrupt"),
        (b"\xff\x0a", "corrupt"),
        (b"II*\0", "corrupt"),
        (png_header(40_000, 40_000), "too-many-pixels"),
        (png_header(60_000, 2_000), "too-many-pixels"),
        (png_header(4_000, 4_000), "truncated"),
    ],
)
def test_refusals(data, code):
    assert rejection(data) in {code, "truncated"} if code == "corrupt" else rejection(data) == code


@functools.cache
def large_file(format_, **options):
    return encode(scene(1200, 900), format_, **options)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {}),
        ("BMP", {}),
        ("AVIF", {}),
        ("HEIF", {}),
        ("JXL", {}),
    ],
)
def test_truncated_files_are_refused(format_, options, share):
    data = large_file(format_, **options)
    code = rejection(data[: int(len(data) * share)])
    assert code in {"truncated", "corrupt"}


def test_damaged_bytes_are_decoded_or_refused_and_nothing_else():
    """A thousand small injuries: `Rejected` is the only exception that comes out."""
    random = np.random.default_rng(3)
    names = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF", "HEIF", "JXL", "ICO")
    sound = [encode(scene(64, 48), name) for name in names] + [dng(64, 48)]
    refused = 0
    for _ in range(1000):
        data = bytearray(sound[random.integers(len(sound))])
        for _ in range(random.integers(1, 6)):
            data[random.integers(len(data))] = random.integers(256)
        try:
            facts = read_image(bytes(data))
        except Rejected:
            refused += 1
        else:
            assert facts.thumbnail
    assert 100 < refused < 900


def test_limits_are_exact():
    data = encode(scene(), "PNG")
    assert read_image(data, Limits(max_bytes=len(data), max_pixels=400 * 300)).width == 400
    assert rejection(data, Limits(max_bytes=len(data) - 1)) == "too-large"
    for format_ in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF", "JPEG2000", "JXL", "BMP"):
        data = encode(scene(), format_)
        assert rejection(data, Limits(max_pixels=400 * 300 - 1)) == "too-many-pixels", format_


def test_the_name_of_a_format_is_no_invitation():
    """PostScript would start a program; it and other exotic formats never reach a decoder."""
    for data in (encode(scene(), "EPS"), encode(scene(), "SGI"), encode(scene(), "PDF")):
        assert rejection(data) == "unsupported"


def test_a_panicking_decoder_is_a_refusal(monkeypatch):
    class PanicException(BaseException):
        """As Rust's bindings raise it: not an Exception."""

    def panic(*_):
        raise PanicException("index out of bounds")

    monkeypatch.setattr(ImageFile.ImageFile, "load", panic)
    assert rejection(encode(scene(), "PNG")) == "corrupt"

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_image(encode(scene(), "PNG"))


# --- camera RAW ----------------------------------------------------------------------------------


def dng(width=640, height=480, orientation=1, keep=1.0):
    """A DNG of a linear RGB picture, without a preview."""
    strip = np.asarray(scene(width, height), dtype="<u2")
    body = (strip * 257).tobytes()
    entries = [
        (254, 4, 1, 0),
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, (16, 16, 16)),
        (259, 3, 1, 1),
        (262, 3, 1, 34892),
        (271, 2, 8, b"Example\0"),
        (272, 2, 8, b"Camera1\0"),
        (273, 4, 1, "strip"),
        (274, 3, 1, orientation),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, len(body)),
        (284, 3, 1, 1),
        (50706, 1, 4, bytes([1, 4, 0, 0])),
        (50708, 2, 8, b"Camera1\0"),
    ]
    extra_at = 8 + 2 + 12 * len(entries) + 4
    extra = b""
    rows = []
    strip_at = extra_at + sum(8 for _, kind, count, _ in entries if kind == 2 or count == 3)
    for tag, kind, count, value in entries:
        if value == "strip":
            packed = struct.pack("<I", strip_at)
        elif isinstance(value, tuple):
            packed = struct.pack("<I", extra_at + len(extra))
            extra += struct.pack("<3H", *value) + b"\0\0"
        elif isinstance(value, bytes) and len(value) > 4:
            packed = struct.pack("<I", extra_at + len(extra))
            extra += value
        elif isinstance(value, bytes):
            packed = value
        else:
            packed = struct.pack("<I", value)
        rows.append(struct.pack("<HHI", tag, kind, count) + packed)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(rows) + b"\0\0\0\0" + extra
    return head + body[: int(len(body) * keep)]


def test_raw_without_a_preview_is_developed():
    facts = read_image(dng())
    assert (facts.format, facts.mode, facts.width, facts.height) == ("RAW", "RAW", 640, 480)
    assert pixels(facts).shape == (256, 341, 3)
    assert not facts.low_information
    turned = read_image(dng(orientation=6))
    assert (turned.width, turned.height, turned.exif_orientation) == (480, 640, 6)
    upright = np.rot90(pixels(facts), -1)
    assert np.abs(pixels(turned) - upright).mean() < 3


def test_raw_is_held_to_the_limits_and_must_be_whole():
    assert rejection(dng(), Limits(max_pixels=640 * 480 - 1)) == "too-many-pixels"
    assert rejection(dng(keep=0.9)) == "truncated"


# --- the zoo -------------------------------------------------------------------------------------


def manifest():
    if not ODD.is_dir():
        return []
    with (ODD / "manifest.csv").open(encoding="utf-8") as file:
        return [(row["file"], row["expected"]) for row in csv.DictReader(file)]


@pytest.mark.skipif(not ODD.is_dir(), reason="there is no folder of odd inputs beside the checkout")
def test_every_odd_input_does_what_its_manifest_says():
    wrong = []
    expectations = manifest()
    for name, expected in expectations:
        try:
            outcome = read_image((ODD / name).read_bytes())
        except Rejected as rejected:
            outcome = rejected
        decoded = isinstance(outcome, ImageFacts)
        allowed = {"decodes": {True}, "must be rejected cleanly": {False}}
        if decoded not in allowed.get(expected, {True, False}):
            wrong.append((name, expected, outcome))
    assert wrong == []
    assert len(expectations) > 100


# --- collections ---------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_by_workers(tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.jpg").write_bytes(encode(scene(seed=number), "JPEG"))
    (tmp_path / "broken.jpg").write_bytes(encode(scene(), "JPEG")[:2000])
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").write_bytes(b"x")
    (tmp_path / "large.bmp").write_bytes(encode(scene(), "BMP"))
    objects = sorted(list_objects(tmp_path), key=lambda item: item.key)
    (tmp_path / "gone.jpg").unlink()
    results = list(read_objects(objects, Limits(max_bytes=200_000), processes=2))
    assert [item for item, _ in results] == objects
    outcomes = {item.key: outcome for item, outcome in results}
    codes = {key: one.code for key, one in outcomes.items() if isinstance(one, Rejected)}
    assert codes == {
        "broken.jpg": "truncated",
        "empty.jpg": "empty",
        "pipe.jpg": "unreadable",
        "gone.jpg": "vanished",
        "large.bmp": "too-large",
    }
    assert "named pipe" in outcomes["pipe.jpg"].reason
    for number in range(40):
        data = (tmp_path / f"{number:02}.jpg").read_bytes()
        assert outcomes[f"{number:02}.jpg"] == read_image(data)
    assert list(read_objects([], processes=2)) == []


def test_a_file_that_takes_too_much_memory_costs_itself_only(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(scene(), "JPEG"))
    (tmp_path / "b.png").write_bytes(encode(Image.new("RGBA", (9000, 9000)), "PNG"))
    (tmp_path / "c.jpg").write_bytes(encode(scene(), "JPEG"))
    objects = sorted(list_objects(tmp_path), key=lambda item: item.key)
    results = [one for _, one in read_objects(objects, processes=1, memory_limit_bytes=2**30)]
    assert [isinstance(one, ImageFacts) for one in results] == [True, False, True]
    assert results[1].code in {"out-of-memory", "crashed"}


def test_a_file_that_takes_too_long_is_refused(tmp_path):
    """Eighty million pixels take longer than the tenth of a second in which limits are enforced."""
    (tmp_path / "a.png").write_bytes(encode(Image.new("RGB", (9000, 9000), "teal"), "PNG"))
    limits = Limits(timeout_seconds=0.01)
    [(_, rejected)] = read_objects(list_objects(tmp_path), limits, processes=1)
    assert rejected.code == "timed-out"
    assert "0.01 seconds" in rejected.reason


def test_a_source_that_goes_away_is_not_a_heap_of_rejected_files(tmp_path):
    root = tmp_path / "mounted"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.jpg").write_bytes(encode(scene(), "JPEG"))
    objects = list(list_objects(root))
    root.rename(tmp_path / "unmounted")
    with pytest.raises(SourceUnreachable, match="mounted cannot be listed"):
        list(read_objects(objects, processes=1))


def test_a_store_is_read_by_workers():
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "key": "me",
        "secret": "hush-hush",
        "endpoint_url": f"http://{host}:{port}",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    try:
        filesystem = fsspec.filesystem("s3", **options)
        filesystem.mkdir("pictures")
        expected = {}
        for number in range(20):
            data = encode(scene(seed=number), "JPEG")
            filesystem.pipe_file(f"pictures/{number}.jpg", data)
            expected[f"{number}.jpg"] = read_image(data)
        filesystem.pipe_file("pictures/none.jpg", b"")
        objects = list(list_objects("s3://pictures", options))
        filesystem.rm_file("pictures/7.jpg")
        found = {
            item.key: facts for item, facts in read_objects(objects, None, options, processes=2)
        }
        assert found.pop("none.jpg").code == "empty"
        assert found.pop("7.jpg").code == "vanished"
        expected.pop("7.jpg")
        assert found == expected
    finally:
        server.stop()
    with pytest.raises(SourceUnreachable) as caught:
        list(read_objects(objects, None, options, processes=1))
    assert "hush-hush" not in str(caught.value)
