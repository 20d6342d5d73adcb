"""Batched hashes equal the `imagehash` package's, bit for bit."""

from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageOps

from idedup_tasks.hashes import DIHEDRAL, dihedral_variants, perceptual_hash

PHOTOS = Path(__file__).resolve().parents[2] / "../shared/photos/eval"

REFERENCE = {
    "phash": imagehash.phash,
    "dhash": imagehash.dhash,
    "ahash": imagehash.average_hash,
    "whash": imagehash.whash,
}


def samples():
    """Noise, gradients, flat and tiny pictures of many shapes and modes."""
    random = np.random.default_rng(20)
    pictures = []
    shapes = [(256, 341), (256, 256), (300, 200), (1024, 1), (1, 1), (7, 9), (8, 8), (33, 64)]
    for height, width in shapes:
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        pictures.append(Image.fromarray(noise))
        small = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        pictures.append(small.resize((width, height), Image.Resampling.BICUBIC))
        pictures.append(Image.linear_gradient("L").resize((width, height)))
        pictures.append(Image.new("RGB", (width, height), (200, 10, 30)))
        pictures.append(Image.radial_gradient("L").resize((width, height)).convert("RGB"))
    pictures.append(pictures[0].convert("P"))
    pictures.append(pictures[1].convert("CMYK"))
    return pictures


def as_hex(hashes):
    return [f"{value:016x}" for value in hashes.tolist()]


@pytest.mark.parametrize("kind", REFERENCE)
def test_equal_imagehash_on_generated_pictures(kind):
    pictures = samples()
    hashes = perceptual_hash(pictures, kind)
    assert hashes.dtype == np.uint64
    assert hashes.shape == (len(pictures),)
    assert as_hex(hashes) == [str(REFERENCE[kind](picture)) for picture in pictures]
    assert len(set(hashes.tolist())) > len(pictures) // 3


@pytest.mark.parametrize("kind", REFERENCE)
def test_equal_imagehash_on_photographs(kind):
    paths = sorted(PHOTOS.rglob("*.jpg"))[::7][:400]
    if not paths:
        pytest.skip("there is no folder of photographs beside the checkout")
    pictures = [Image.open(path).convert("RGB") for path in paths]
    expected = [str(REFERENCE[kind](picture)) for picture in pictures]
    assert as_hex(perceptual_hash(pictures, kind)) == expected


@pytest.mark.parametrize("kind", REFERENCE)
def test_a_hash_does_not_depend_on_its_neighbours(kind):
    pictures = samples()
    together = perceptual_hash(pictures, kind)
    alone = np.concatenate([perceptual_hash([picture], kind) for picture in pictures])
    backwards = perceptual_hash(pictures[::-1], kind)[::-1]
    assert (together == alone).all()
    assert (together == backwards).all()


def test_more_images_than_a_batch():
    pictures = samples()[:3] * 200
    hashes = perceptual_hash(pictures)
    assert (hashes.reshape(200, 3) == hashes[:3]).all()


def test_no_images():
    assert perceptual_hash([]).shape == (0,)
    assert dihedral_variants([]).shape == (0, len(DIHEDRAL))


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"'colorhash'.*phash, dhash, ahash, whash"):
        perceptual_hash([Image.new("L", (9, 9))], "colorhash")


@pytest.mark.parametrize("kind", REFERENCE)
def test_dihedral_variants_are_hashes_of_turned_and_mirrored_pictures(kind):
    pictures = samples()[:5]
    variants = dihedral_variants(pictures, kind)
    assert variants.shape == (5, 8)
    assert variants.dtype == np.uint64
    assert (variants[:, 0] == perceptual_hash(pictures, kind)).all()
    for row, picture in zip(variants, pictures, strict=True):
        turned = [
            picture,
            picture.rotate(90, expand=True),
            picture.rotate(180, expand=True),
            picture.rotate(270, expand=True),
            ImageOps.mirror(picture),
            ImageOps.flip(picture),
            ImageOps.mirror(picture.rotate(270, expand=True)),
            ImageOps.mirror(picture.rotate(90, expand=True)),
        ]
        assert as_hex(row) == [str(REFERENCE[kind](one)) for one in turned]
