"""A look at two pictures: what it calls them, and that it says the same whoever asks."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import builders
import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from idedup_tasks import compare
from idedup_tasks.images import Rejected
from idedup_tasks.lake import LOOK
from idedup_tasks.settings import Limits
from idedup_tasks.verification import (
    Look,
    Picture,
    lay,
    look,
    open_picture,
    verifier_version,
)
from idedup_tasks.verification.agreement import Aligned, agreement
from idedup_tasks.verification.geometry import apply
from idedup_tasks.verification.verdict import relation, score

DUPLICATES = {"exact", "same", "crop"}


def photograph(seed: int, width: int = 360, height: int = 270) -> Image.Image:
    """Soft light, hard-edged things and texture: nothing repeats."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for cells in (3, 7, 16, 40, 110):
        grain = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        pixels += cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC) / cells**0.5
    pixels = (pixels - pixels.min()) / np.ptp(pixels) * 255
    image = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(24):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h = rng.uniform(10, width / 5, 2)
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x, y, x + w, y + h), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(0.7))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def form(seed: int, filled: int = 8) -> Image.Image:
    """One printed form; a few of its fields are filled in."""
    image = Image.new("RGB", (510, 660), "white")
    draw = ImageDraw.Draw(image)
    draw.text((40, 24), "APPLICATION 27-B", "black", ImageFont.load_default(24))
    for row in range(16):
        y = 80 + 34 * row
        draw.text((40, y), f"Question {row + 1}:", (40, 40, 40), ImageFont.load_default(14))
        draw.rectangle((200, y - 4, 470, y + 20), outline=(90, 90, 90))
    rng = np.random.default_rng(seed)
    for row in rng.choice(16, filled, replace=False):
        word = "".join(rng.choice(list("abcdefghiklmnoprst"), rng.integers(5, 12)))
        draw.text((208, 80 + 34 * row), word, (20, 20, 120), ImageFont.load_default(15))
    return image


def bill(total: str) -> Image.Image:
    """One bill; only its sum differs."""
    image = Image.new("RGB", (240, 330), "white")
    draw = ImageDraw.Draw(image)
    for row in range(9):
        draw.text((16, 14 + 28 * row), f"Item {row + 1}", "black", ImageFont.load_default(15))
        draw.text((160, 14 + 28 * row), f"{7 * row + 3}.50", "black", ImageFont.load_default(15))
    draw.text((16, 290), "Total", "black", ImageFont.load_default(18))
    draw.text((150, 290), total, "black", ImageFont.load_default(18))
    return image


def captioned(image: Image.Image, text: str) -> Image.Image:
    copy = image.copy()
    font = ImageFont.load_default(30)
    ImageDraw.Draw(copy).text((20, 12), text, "white", font, stroke_width=2, stroke_fill="black")
    return copy


def framed(image: Image.Image) -> Image.Image:
    """Shown in a window, on white, with words around."""
    window = Image.new("RGB", (image.width + 120, image.height + 160), "white")
    draw = ImageDraw.Draw(window)
    draw.rectangle((0, 0, window.width, 40), fill=(40, 60, 120))
    draw.text((20, 10), "a window", "white", ImageFont.load_default(18))
    window.paste(image, (60, 70))
    draw.text((60, window.height - 50), "1,024 likes", "black", ImageFont.load_default(18))
    return window


PHOTO = photograph(1)


def recoloured(image: Image.Image) -> Image.Image:
    image = ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(0.6)).enhance(0.8)
    return image.point([int(255 * (i / 255) ** 1.3) for i in range(256)] * 3)


def noisy(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    noise = 20 * np.random.default_rng(3).standard_normal(pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


SAME: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda i: i.resize((180, 135), Image.Resampling.BICUBIC),
    "an eighth of the pixels": lambda i: i.resize((127, 95), Image.Resampling.LANCZOS),
    "JPEG 20": lambda i: jpeg(i, 20),
    "JPEG 5": lambda i: jpeg(i, 5),
    "stretched": lambda i: i.resize((360, 200)),
    "mirrored": ImageOps.mirror,
    "turned by 90": lambda i: i.rotate(90, expand=True),
    "turned by 180": lambda i: i.rotate(180),
    "turned by 270 and mirrored": lambda i: ImageOps.mirror(i.rotate(270, expand=True)),
    "blurred": lambda i: i.filter(ImageFilter.GaussianBlur(3)),
    "noisy": noisy,
    "grey": lambda i: i.convert("L"),
    "recoloured": recoloured,
}


@pytest.mark.parametrize("kind", SAME)
def test_a_copy_in_the_same_frame_is_the_same(kind: str) -> None:
    seen = compare(PHOTO, SAME[kind](PHOTO))
    assert (seen.relation, seen.changed) == ("same", 0.0)
    assert min(seen.overlap_a, seen.overlap_b) > 0.98
    assert seen.score > 0.8
    assert seen.evidence.way == "frames", "the same frame needs no features"


CUT: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a half": lambda i: i.crop((40, 30, 290, 225)),
    "a quarter, shrunk": lambda i: i.crop((160, 100, 340, 235)).resize((120, 90)),
    "a strip": lambda i: i.crop((0, 120, 360, 230)),
    "mirrored": lambda i: ImageOps.mirror(i.crop((20, 60, 260, 260))),
}


@pytest.mark.parametrize("kind", CUT)
def test_a_plain_crop_needs_no_local_features(kind: str) -> None:
    limits = Limits.model_validate({})
    whole, part = open_picture(PHOTO, limits), open_picture(CUT[kind](PHOTO), limits)
    seen = look(part, whole)
    assert (seen.relation, seen.changed) == ("crop", 0.0)
    assert seen.overlap_a > 0.99
    assert "features" not in vars(whole)
    # Anything else is left to them: a part that was turned by some degrees.
    turned = open_picture(CUT[kind](PHOTO.rotate(17, Image.Resampling.BICUBIC)), limits)
    assert look(turned, whole).evidence.way != "frames"
    assert "features" in vars(whole)


def test_equal_bytes_are_exact_and_equal_pixels_in_other_bytes_are_not() -> None:
    png, webp = io.BytesIO(), io.BytesIO()
    PHOTO.save(png, "PNG")
    PHOTO.save(webp, "WEBP", lossless=True)
    assert compare(png.getvalue(), png.getvalue()).relation == "exact"
    assert compare(png.getvalue(), webp.getvalue()).relation == "same"


def test_a_part_is_a_crop_and_the_transform_says_where_it_lies() -> None:
    part = PHOTO.crop((90, 54, 288, 216))
    seen = compare(part, PHOTO)
    assert (seen.relation, seen.changed) == ("crop", 0.0)
    assert seen.overlap_a > 0.98
    assert seen.overlap_b == pytest.approx(198 * 162 / (360 * 270), abs=0.02)
    corners = apply(seen.transform, np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert corners == pytest.approx(np.array([[0.25, 0.2], [0.8, 0.8]]), abs=0.01)


def test_a_mirrored_part_is_found() -> None:
    seen = compare(PHOTO, ImageOps.mirror(PHOTO.crop((60, 30, 290, 230))))
    assert seen.relation == "crop"
    assert seen.transform[0, 0] < 0 < seen.transform[1, 1]


def test_a_picture_in_a_window_is_inside_it() -> None:
    seen = compare(PHOTO, framed(PHOTO))
    assert (seen.relation, seen.changed) == ("inside", 0.0)
    assert seen.overlap_a > 0.97 > seen.overlap_b


def test_a_part_of_less_detail_in_the_whole_is_inside() -> None:
    large = photograph(5, 1200, 900)
    part = large.crop((300, 225, 900, 675))
    assert compare(part, large).relation == "crop"
    assert compare(part, large.resize((400, 300), Image.Resampling.LANCZOS)).relation == "inside"


def test_text_on_a_photograph_is_an_edit_that_is_measured() -> None:
    seen = compare(PHOTO, captioned(PHOTO, "ONE TWO"))
    assert seen.relation == "edited"
    assert 0 < seen.changed < 0.3


def test_what_differs_is_marked_where_it_is() -> None:
    a, b = (Picture(np.asarray(i)) for i in (PHOTO, captioned(PHOTO, "ONE TWO")))
    for first, second in ((a, b), (b, a)):
        laid = lay(first, second, look(first, second).transform)
        assert laid is not None
        assert laid.a.shape == laid.b.shape == (*laid.differs.shape, 3)
        rows, columns = np.nonzero(laid.differs)
        assert len(rows) > 100
        assert rows.max() < 0.2 * len(laid.differs), "the text is at the top"
        assert columns.max() < 0.7 * laid.differs.shape[1]
    beside = np.array([[1, 0, 0.99], [0, 1, 0], [0, 0, 1]])
    assert lay(a, b, beside) is None, "too little overlaps"


def stuck(image: Image.Image, x: float, y: float) -> Image.Image:
    """A sticker in the middle of that share of the width and height."""
    copy = image.copy()
    left, top = x * image.width - 22, y * image.height - 22
    ImageDraw.Draw(copy).ellipse((left, top, left + 44, top + 44), fill="yellow", outline="black")
    return copy


TURNS: dict[str, tuple[Callable[[Image.Image], Image.Image], str]] = {
    "upright": (lambda i: i.resize((300, 225)), "top left"),
    "mirrored": (ImageOps.mirror, "top right"),
    "upside down": (lambda i: i.rotate(180), "bottom right"),
    "turned left": (lambda i: i.rotate(90, expand=True), "bottom left"),
    "turned right and mirrored": (
        lambda i: ImageOps.mirror(i.rotate(-90, expand=True)),
        "top left",
    ),
}


@pytest.mark.parametrize("kind", TURNS)
def test_the_place_of_a_change_is_named_as_each_picture_lies(kind: str) -> None:
    turn, there = TURNS[kind]
    seen = compare(PHOTO, turn(stuck(PHOTO, 0.15, 0.15)))
    assert (seen.relation, seen.place, seen.turned().place) == ("edited", "top left", there)


@pytest.mark.parametrize(
    ("spots", "where"),
    [
        ([(0.5, 0.15)], "top"),
        ([(0.15, 0.5)], "left"),
        ([(0.5, 0.5)], "middle"),
        ([(0.15, 0.85), (0.5, 0.85), (0.85, 0.85)], "bottom"),
        ([(0.15, 0.15), (0.85, 0.5), (0.5, 0.85)], "all over"),
        ([], ""),
    ],
)
def test_the_place_is_that_of_most_of_what_differs(
    spots: list[tuple[float, float]], where: str
) -> None:
    copy = PHOTO
    for spot in spots:
        copy = stuck(copy, *spot)
    assert compare(PHOTO, jpeg(copy, 80)).place == where


def test_a_look_is_a_row_of_the_lake_and_turns_round_as_one() -> None:
    seen = compare(
        PHOTO, ImageOps.mirror(stuck(PHOTO, 0.15, 0.15).filter(ImageFilter.GaussianBlur(2)))
    )
    assert seen.blur < 0 < seen.turned().blur
    assert list(seen.row()) == [field.name for field in LOOK]
    assert pa.RecordBatch.from_pylist([seen.row()], pa.schema(LOOK)).to_pylist() == [seen.row()]
    assert builders.turned(seen.row()) == seen.turned().row()
    assert builders.turned(compare(PHOTO, PHOTO).row()) == compare(PHOTO, PHOTO).row()


def test_looks_at_the_same_time_say_what_they_say_alone() -> None:
    threads = cv2.getNumThreads()
    shown = [np.asarray(photograph(seed)) for seed in range(4)]
    shown += [np.asarray(captioned(photograph(seed), "other words")) for seed in range(4)]

    def at(pair: tuple[int, int]) -> Look:
        return look(*(Picture(shown[i]) for i in pair))

    pairs = [(i, j) for i in range(8) for j in range(8)]
    alone = [at(pair).row() for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        assert [seen.row() for seen in pool.map(at, pairs)] == alone
    assert cv2.getNumThreads() == threads


@pytest.mark.parametrize("quality", [95, 40])
def test_other_words_on_one_photograph_are_no_duplicate(quality: int) -> None:
    one, other = captioned(PHOTO, "WHEN YOU SEE IT"), captioned(PHOTO, "NOBODY EXPECTS")
    seen = compare(one, jpeg(other, quality))
    assert seen.relation in {"edited", "alike"}
    assert seen.changed > 0.01
    assert compare(one, jpeg(one, quality)).relation == "same"


@pytest.mark.parametrize("copy", [lambda i: i, lambda i: jpeg(i.resize((340, 440)), 60)])
def test_forms_with_other_entries_are_no_duplicates(
    copy: Callable[[Image.Image], Image.Image],
) -> None:
    for seed in range(4):
        seen = compare(form(seed), copy(form(seed + 10)))
        assert seen.relation in {"edited", "alike"}, seen
        assert seen.evidence.way == "frames", "frames that register are final"
    assert compare(form(0), jpeg(form(0).resize((340, 440)), 60)).relation == "same"


def test_one_digit_makes_another_document() -> None:
    assert compare(bill("371.90"), bill("571.90")).relation not in DUPLICATES
    assert compare(bill("371.90"), jpeg(bill("371.90"), 60)).relation == "same"


def test_what_a_thumbnail_hides_is_seen_in_the_finer_picture() -> None:
    """At 256 pixels two pages that differ in one word are equal."""

    def page(word: str) -> Image.Image:
        image = Image.new("RGB", (1000, 1400), "white")
        draw = ImageDraw.Draw(image)
        for row in range(44):
            draw.text((60, 30 + 30 * row), f"line {row} " * 8, "black", ImageFont.load_default(17))
        draw.rectangle((60, 690, 400, 722), fill="white")
        draw.text((60, 690), word, "black", ImageFont.load_default(17))
        return image

    def picture(image: Image.Image, fine: bool) -> Picture:
        small = np.asarray(image.resize((256, 358), Image.Resampling.LANCZOS))
        grey = np.asarray(image.convert("L"))
        return Picture(small, width=1000, height=1400, fine=grey if fine else None)

    one, other, copy = (
        page("the sum is 471"),
        page("the sum is 417"),
        jpeg(page("the sum is 471"), 50),
    )
    assert look(picture(one, True), picture(other, True)).relation not in DUPLICATES
    assert look(picture(one, True), picture(copy, True)).relation == "same"
    # `compare` makes the finer pictures itself.
    files = [io.BytesIO() for _ in range(3)]
    for file, image in zip(files, (one, other, copy), strict=True):
        image.save(file, "PNG")
    contents = [file.getvalue() for file in files]
    assert compare(contents[0], contents[1]).relation not in DUPLICATES
    assert compare(contents[0], contents[2]).relation == "same"
    assert compare(one, other).relation not in DUPLICATES


def test_a_sliver_that_both_show_tells_nothing() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    inside = np.zeros((128, 128), np.uint8)
    inside[64, :] = 255
    whole = (0, 0, 128, 128)
    seen, _ = agreement(Aligned(noise[0], noise[1], inside, False, whole, (128, 128)))
    assert seen.changed == 1


def test_unrelated_pictures_are_different() -> None:
    for seed in range(2, 8):
        seen = compare(PHOTO, photograph(seed))
        assert seen.relation in {"different", "alike"}
        assert seen.score < 0.3


def test_a_second_shot_is_alike() -> None:
    """The same things from a step aside: near ones have moved more than far ones."""
    far, near = photograph(11), photograph(12)
    mask = Image.new("L", far.size)
    draw = ImageDraw.Draw(mask)
    for left in (20, 130, 250):
        draw.ellipse((left, 60 + left // 4, left + 90, 190 + left // 4), fill=255)
    first = Image.composite(near, far, mask)
    aside = Image.composite(
        near.transform(near.size, Image.Transform.AFFINE, (1, 0, -16, 0, 1, -3)),
        far,
        mask.transform(near.size, Image.Transform.AFFINE, (1, 0, -16, 0, 1, -3)),
    )
    assert compare(first, aside).relation in {"alike", "edited"}


def receipt(first: int) -> Image.Image:
    """On a dark table; only what was bought differs."""
    image = Image.new("RGB", (270, 400), (86, 66, 60))
    draw = ImageDraw.Draw(image)
    draw.rectangle((45, 25, 225, 350), fill=(246, 244, 240))
    draw.text((85, 40), "THE SHOP", "black", ImageFont.load_default(20))
    for row in range(8):
        bought = 37 * (first + row) % 101
        draw.text((60, 90 + 24 * row), f"Item {bought}", (30, 30, 30), ImageFont.load_default(13))
        price = f"{bought / 7:.2f}"
        draw.text((175, 90 + 24 * row), price, (30, 30, 30), ImageFont.load_default(13))
    for bar in range(0, 120, 5):
        draw.rectangle((75 + bar, 310, 76 + bar + bar % 3, 340), fill="black")
    return image


def test_receipts_of_one_shop_are_alike_though_no_page_fills_the_picture() -> None:
    assert compare(receipt(1), receipt(20)).relation == "alike"
    assert compare(receipt(1), jpeg(receipt(1), 60)).relation == "same"


def test_less_in_agreement_will_do_where_one_has_something_that_the_other_lacks() -> None:
    """Letters on a plain ground are added; the entries of another receipt are exchanged."""
    evidence = compare(receipt(1), receipt(20)).evidence
    assert evidence.agreement.added < 0.4
    blank = receipt(1)
    ImageDraw.Draw(blank).rectangle((55, 85, 220, 285), fill=(246, 244, 240))
    assert compare(receipt(1), blank).evidence.agreement.added > 0.9
    little = replace(evidence.agreement, changed=0.05, unlike=0.09, structure=0.37, detail=0.85)
    for added, structure, sure, said in (
        (0.9, 0.37, 0.9, "edited"),
        (0.1, 0.37, 0.9, "alike"),
        (0.9, 0.37, 0.6, "alike"),
        (0.9, 0.25, 0.9, "alike"),
    ):
        agreed = replace(little, added=added, structure=structure)
        assert relation(replace(evidence, agreement=agreed), sure, 1.0) == said


def shrunk(seed: int, shift: float = 0.0) -> Image.Image:
    """Of 32 pixels, as in a data set of small pictures."""
    box = (20 + 7 * shift, 10 + 7 * shift, 244 + 7 * shift, 234 + 7 * shift)
    return photograph(seed, 280, 260).resize((32, 32), Image.Resampling.BICUBIC, box)


def test_small_copies_are_found_though_they_moved_by_a_pixel() -> None:
    for seed in range(6):
        small = shrunk(seed)
        assert compare(small, jpeg(small, 60)).relation == "same"
        assert compare(small, ImageOps.mirror(small)).relation == "same"
        assert compare(small, shrunk(seed, 1.0)).relation in ("crop", "inside")


def test_the_fewer_pixels_the_more_closely_they_must_agree() -> None:
    """What two photographs of one light agree in at 32 pixels: a curve and a blur explain it."""
    loosely = replace(compare(shrunk(1), jpeg(shrunk(1), 60)).evidence, frame_correlation=0.7)
    seen = replace(loosely.agreement, detail=0.76, correlation=0.93, noise=12.0, blur=1.2)
    for side, said in ((32, "alike"), (64, "alike"), (176, "same")):
        evidence = replace(loosely, agreement=replace(seen, side=side))
        assert relation(evidence, score(evidence), 1.0) == said


def test_noise_at_its_ceiling_hides_what_differs_in_flat_pictures() -> None:
    """Two icons on one ground, two pages of panels; a noisy copy has structure all over."""
    evidence = compare(photograph(1), jpeg(photograph(1), 60)).evidence
    for noise, structure, changed, sure, said in (
        (12.0, 0.1, 0.0, 0.84, "alike"),
        (7.0, 0.1, 0.0, 0.84, "same"),
        (12.0, 0.6, 0.0, 0.84, "same"),
        (12.0, 0.6, 0.1, 0.66, "alike"),
        (7.0, 0.6, 0.1, 0.66, "edited"),
        (12.0, 0.9, 0.1, 0.76, "edited"),
    ):
        agreed = replace(
            evidence.agreement, noise=noise, structure=structure, changed=changed, detail=0.87
        )
        assert relation(replace(evidence, agreement=agreed), sure, 1.0) == said


def chart(seed: int) -> Image.Image:
    """Bars and thin lines on white, 900 x 600 pixels."""
    rng = np.random.default_rng(seed)
    drawn = Image.new("RGB", (900, 600), "white")
    draw = ImageDraw.Draw(drawn)
    for row in range(60, 560, 55):
        draw.line((60, row, 860, row), (200, 200, 200), 1)
        draw.text((15, row - 6), f"{600 - row}", "black")
    for bar, height in enumerate(rng.integers(60, 460, 9)):
        left = 80 + 85 * bar
        draw.rectangle((left, 555 - int(height), left + 50, 555), (50, 110, 180))
        draw.text((left, 565), "abcdefghi"[bar] * 4, "black")
    return drawn


@pytest.mark.parametrize("seed", range(3))
def test_what_lies_beyond_a_frame_does_not_show_through(seed: int) -> None:
    """Of a drawing little is informative: a rim of the frame would be much of it."""
    framed = ImageOps.expand(chart(seed), 48, (40, 90, 140))
    seen = compare(chart(seed), framed)
    assert (seen.relation, seen.changed) == ("inside", 0.0)


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_a_part_of_a_page_is_laid_on_it_in_the_finer_pictures_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = Image.new("RGB", (900, 900), "white")
    draw = ImageDraw.Draw(drawn)
    for _ in range(8):
        (x, y), (wide, high) = rng.integers(50, 700, 2), rng.integers(40, 200, 2)
        colour = tuple(int(v) for v in rng.integers(0, 200, 3))
        draw.ellipse((int(x), int(y), int(x + wide), int(y + high)), fill=colour)
    seen = compare(drawn, drawn.crop((45, 90, 855, 891)))
    assert seen.relation in ("crop", "inside")
    assert seen.changed == 0.0


# --- whoever asks, and however ---


def pairs() -> list[tuple[Image.Image, Image.Image]]:
    return [
        (PHOTO, jpeg(PHOTO, 20)),
        (PHOTO, PHOTO.rotate(90, expand=True)),
        (PHOTO, PHOTO.crop((40, 30, 300, 220))),
        (PHOTO, framed(PHOTO)),
        (PHOTO, captioned(PHOTO, "WORDS")),
        (PHOTO, photograph(3)),
        (form(1), form(2)),
    ]


@pytest.mark.parametrize("row", range(len(pairs())))
def test_the_order_of_two_pictures_changes_nothing(row: int) -> None:
    a, b = pairs()[row]
    one, other = compare(a, b), compare(b, a)
    assert (one.relation, one.score, one.changed) == (other.relation, other.score, other.changed)
    assert (one.overlap_a, one.overlap_b) == (other.overlap_b, other.overlap_a)
    if one.evidence.way != "none":
        assert one.transform @ other.transform / (one.transform @ other.transform)[2, 2] == (
            pytest.approx(np.eye(3), abs=1e-9)
        )


def test_a_look_is_the_same_again_and_whatever_was_looked_at_before() -> None:
    def all_of(look_: Look) -> tuple[object, ...]:
        return (look_.relation, look_.score, look_.changed, look_.transform.tobytes())

    def picture(image: Image.Image) -> Picture:
        return Picture(np.asarray(image.convert("RGB")))

    fresh = [all_of(look(picture(a), picture(b))) for a, b in pairs()]
    cv2.setNumThreads(2)
    kept: dict[int, Picture] = {}
    for _ in range(2):
        again = []
        for row, (a, b) in reversed(list(enumerate(pairs()))):
            first = kept.setdefault(id(a) if a is PHOTO else -row - 1, picture(a))
            again.append(all_of(look(first, picture(b))))
        assert again[::-1] == fresh
    assert cv2.getNumThreads() == 2, "the caller's threads are as they were"


def test_the_version_names_code_and_calibration() -> None:
    assert verifier_version() == verifier_version()
    assert verifier_version().startswith("looks-")


# --- odd pictures ---


def test_blank_pictures_are_undecided() -> None:
    white = Image.new("RGB", (300, 200), "white")
    for other in (
        Image.new("RGB", (310, 200), "white"),
        Image.new("RGB", (200, 300), (250, 250, 250)),
        Image.new("RGB", (300, 200), "black"),
    ):
        assert compare(white, jpeg(other, 70)).relation == "undecided"
    assert compare(white, PHOTO).relation in {"undecided", "different"}


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 3), (8, 8)])
def test_pictures_of_a_few_pixels_are_undecided_or_different(size: tuple[int, int]) -> None:
    tiny = PHOTO.resize(size)
    assert compare(PHOTO, tiny).relation in {"undecided", "different", "alike"}
    assert compare(tiny, tiny.rotate(180)).relation not in {"same", "crop", "inside"} or size == (
        1,
        1,
    )


def test_the_same_frame_decides_from_24_pixels() -> None:
    small = PHOTO.resize((32, 24), Image.Resampling.LANCZOS)
    assert compare(PHOTO, small).relation == "same"
    assert compare(photograph(4), small).relation not in DUPLICATES


def test_transparency_lies_on_white_and_sixteen_bits_are_shrunk() -> None:
    clear = PHOTO.convert("RGBA")
    clear.putalpha(Image.new("L", PHOTO.size, 255))
    assert compare(clear, PHOTO).relation == "exact", "of Pillow images: equal pixels"
    clear.putalpha(Image.new("L", PHOTO.size, 0))
    assert compare(clear, Image.new("RGB", PHOTO.size, "white")).relation == "exact"
    grey = np.asarray(PHOTO.convert("L"), np.uint16) * 257
    deep = io.BytesIO()
    Image.fromarray(grey).save(deep, "PNG")
    assert compare(Image.fromarray(grey), PHOTO).relation == "same"
    assert compare(deep.getvalue(), PHOTO).relation == "same"


def test_what_may_not_be_decoded_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    PHOTO.save(file)
    guard = Image.MAX_IMAGE_PIXELS
    with pytest.raises(Rejected, match=r"97200 pixels"):
        compare(file, PHOTO, limits=Limits(max_pixels=10_000))
    with pytest.raises(Rejected, match=r"360 x 270 pixels"):
        compare(PHOTO, PHOTO, limits=Limits(max_pixels=10_000))
    with pytest.raises(Rejected, match=r"more than the limit of 10"):
        compare(file, PHOTO, limits=Limits(max_bytes=10))
    with pytest.raises(Rejected):
        compare(b"no image", PHOTO)
    with pytest.raises(FileNotFoundError):
        compare(tmp_path / "none.jpg", PHOTO)
    assert guard == Image.MAX_IMAGE_PIXELS, "Pillow's, of the caller's process"


def test_a_picture_is_rgb_in_bytes() -> None:
    with pytest.raises(ValueError, match=r"\(height, width, 3\) in uint8"):
        Picture(np.zeros((4, 4), np.uint8))
