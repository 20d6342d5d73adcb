"""Pictures that lie in a picture, found by their edges."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from idedup_tasks.descriptors.inner import cut, inner_pictures


def scene(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """Soft blobs: no straight edge in it."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def app(width: int = 256, height: int = 400) -> Image.Image:
    """A screen of some app: a bar, lines of text, round pictures of people."""
    screen = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(screen)
    for row in range(8, height, 24):
        draw.text((20, row), "what is on your mind", (60, 60, 60))
        draw.ellipse((4, row, 14, row + 10), (90, 120, 160))
    return screen


def worst(found: tuple[float, ...], box: tuple[int, ...], size: tuple[int, int]) -> float:
    """Pixels by which a side is off."""
    scale = np.array(size * 2)
    return float(np.abs(np.array(found) * scale - np.array(box)).max())


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_on_another_is_found(seed: int) -> None:
    outer = scene(seed + 100, (320, 240))
    left, top = (int(v) for v in np.random.default_rng(seed).integers(20, 100, 2))
    outer.paste(scene(seed), (left, top))
    found = inner_pictures(outer, 2)
    assert min(worst(b, (left, top, left + 120, top + 90), outer.size) for b in found) <= 4


def test_a_picture_in_a_screen_of_an_app_is_found_without_the_bars_beside_it() -> None:
    screen = app()
    screen.paste("black", (20, 150, 236, 300))
    screen.paste(scene(3, (120, 150)), (70, 150))
    found = inner_pictures(screen, 2)
    assert min(worst(b, (70, 150, 190, 300), screen.size) for b in found) <= 5


def test_bars_alone_are_cut_off() -> None:
    padded = Image.new("RGB", (200, 200), (30, 60, 90))
    padded.paste(scene(5, (200, 110)), (0, 45))
    [first, *_] = inner_pictures(padded, 2)
    assert worst(first, (0, 45, 200, 155), padded.size) <= 4


def test_a_picture_without_edges_has_none_in_it() -> None:
    assert inner_pictures(scene(1, (256, 256)), 2) == []
    assert inner_pictures(Image.new("RGB", (256, 256), "red"), 2) == []


def test_no_more_are_given_than_asked_for_and_all_lie_inside() -> None:
    collage = Image.new("RGB", (300, 300), "white")
    for at in range(4):
        collage.paste(scene(at), (10 + at % 2 * 150, 20 + at // 2 * 140))
    for count in (1, 2, 4):
        found = inner_pictures(collage, count)
        assert 1 <= len(found) <= count
        for left, top, right, bottom in found:
            assert 0 <= left < right <= 1
            assert 0 <= top < bottom <= 1
            assert min(cut(collage, (left, top, right, bottom)).size) >= 4


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (15, 15), (16, 16), (4000, 20), (7, 300)])
def test_odd_sizes_are_no_fault(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    for box in inner_pictures(image, 2):
        assert min(cut(image, box).size) >= 1
