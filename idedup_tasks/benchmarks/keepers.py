"""Groups and keepers of photographs and their edits, by looks alone: what is kept, and is it right?

    python -m idedup_tasks.benchmarks.keepers --photos FOLDER --output keepers.csv

Each photograph is edited in `WAYS`, and arrives somewhere among its copies. All pairs of one
photograph are looked at, and as many images of others beside it; what was seen is grouped, and the
keeper chosen, by the functions of the group stage. Nothing is retrieved: what the descriptor would
not have proposed is looked at here as well. Prints how many groups keep their photograph, which
images are kept instead, and how right the groups are.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from idedup_tasks.benchmarks.datasets import SUFFIXES, BenchmarkError, evenly, read_photo
from idedup_tasks.benchmarks.measures import grouping_quality
from idedup_tasks.images import read_image
from idedup_tasks.lake import LOOK
from idedup_tasks.settings import Collection, Grouping, KeeperCriterion, Limits
from idedup_tasks.stages.group.keepers import Facts
from idedup_tasks.stages.group.seen import Seen
from idedup_tasks.stages.group.settling import sentences, settle
from idedup_tasks.verification import look, open_picture, verifier_version

Way = Callable[[Image.Image, Image.Image, np.random.Generator], Image.Image]
PHOTO_SIDE = 1024


def _resized(factor: float) -> Way:
    def way(image: Image.Image, _: Image.Image, __: np.random.Generator) -> Image.Image:
        size = round(image.width * factor), round(image.height * factor)
        return image.resize(size, Image.Resampling.BICUBIC)

    return way


def _crop(share: float) -> Way:
    """A window of the photograph's proportions with that share of its area."""

    def way(image: Image.Image, _: Image.Image, rng: np.random.Generator) -> Image.Image:
        wide, high = (round(side * share**0.5) for side in image.size)
        left = int(rng.integers(0, image.width - wide + 1))
        top = int(rng.integers(0, image.height - high + 1))
        return image.crop((left, top, left + wide, top + high))

    return way


def _framed(colour: str) -> Way:
    def way(image: Image.Image, _: Image.Image, __: np.random.Generator) -> Image.Image:
        return ImageOps.expand(image, max(4, image.width // 16), colour)

    return way


def _screenshot(image: Image.Image, _: Image.Image, __: np.random.Generator) -> Image.Image:
    """Shown smaller by a phone: bars with text above and below, black around."""
    shown = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    bar = max(16, shown.height // 8)
    frame = Image.new("RGB", (shown.width, shown.height + 4 * bar), "black")
    frame.paste(shown, (0, 2 * bar))
    draw = ImageDraw.Draw(frame)
    draw.rectangle((0, 0, frame.width, bar), (32, 33, 36))
    font = ImageFont.load_default(bar * 0.6)
    draw.text((bar, bar * 0.1), "12:41   album", "white", font)
    draw.text((bar, frame.height - 1.2 * bar), "128 likes · share", (200, 200, 200), font)
    return frame


def _text(image: Image.Image, _: Image.Image, rng: np.random.Generator) -> Image.Image:
    copy = image.copy()
    font = ImageFont.load_default(image.height * 0.1)
    at = image.width * 0.05, image.height * float(rng.choice([0.05, 0.8]))
    ImageDraw.Draw(copy).text(
        at, "ONE DAY ALL THIS", "white", font, stroke_width=2, stroke_fill="black"
    )
    return copy


def _logo(image: Image.Image, _: Image.Image, __: np.random.Generator) -> Image.Image:
    copy = image.copy()
    side = min(image.size) // 6
    right, low = image.width - side // 4, image.height - side // 4
    draw = ImageDraw.Draw(copy)
    draw.ellipse((right - side, low - side, right, low), (210, 30, 60))
    draw.text(
        (right - 0.75 * side, low - 0.8 * side), "K", "white", ImageFont.load_default(side / 2)
    )
    return copy


def _noise(image: Image.Image, _: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    pixels = pixels + 20 * rng.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _pasted(image: Image.Image, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    """On an unrelated photograph, as half of its width and height."""
    ground = other.resize((image.width * 3 // 2, image.height * 3 // 2))
    small = image.resize((image.width * 4 // 5, image.height * 4 // 5))
    left = int(rng.integers(0, ground.width - small.width))
    ground.paste(small, (left, int(rng.integers(0, ground.height - small.height))))
    return ground


def _cast(image: Image.Image, _: Image.Image, __: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, np.float32) * np.array([1.15, 1.0, 0.8], np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _as_it_is(image: Image.Image, _: Image.Image, __: np.random.Generator) -> Image.Image:
    return image


# What is done, and how it is stored: PNG, or JPEG of this quality.
WAYS: dict[str, tuple[Way, int | None]] = {
    "half": (_resized(0.5), 90),
    "double": (_resized(2), 90),
    "JPEG 30": (_as_it_is, 30),
    "JPEG 60": (_as_it_is, 60),
    "crop 60 %": (_crop(0.6), 90),
    "crop 80 %": (_crop(0.8), 90),
    "border white": (_framed("white"), 90),
    "border black": (_framed("black"), 90),
    "screenshot": (_screenshot, 90),
    "text": (_text, 90),
    "logo": (_logo, 90),
    "blur": (lambda i, *_: i.filter(ImageFilter.GaussianBlur(i.width * 0.004)), 90),
    "noise": (_noise, 90),
    "brightness": (lambda i, *_: ImageEnhance.Brightness(i).enhance(1.3), 90),
    "contrast": (lambda i, *_: ImageEnhance.Contrast(i).enhance(1.4), 90),
    "grey": (lambda i, *_: ImageOps.grayscale(i).convert("RGB"), 90),
    "quarter turn": (lambda i, *_: i.transpose(Image.Transpose.ROTATE_90), 90),
    "mirror": (lambda i, *_: ImageOps.mirror(i), 90),
    "rotation 3°": (lambda i, *_: i.rotate(3, Image.Resampling.BICUBIC), 90),
    "pasted": (_pasted, 90),
    "PNG": (_as_it_is, None),
    "colour cast": (_cast, 90),
}
ORIGINAL = "original"


@dataclass(frozen=True)
class Edited:
    """Photographs and their edits, image by image in the order in which they arrive.

    photo: int64 (n,), which photograph it is, or was made from. kind: (n,) ORIGINAL or a way.
    content: the bytes of its file.
    """

    photo: np.ndarray
    kind: np.ndarray
    content: list[bytes]


def edited(photos: Sequence[Image.Image], grounds: Sequence[Image.Image], seed: int = 0) -> Edited:
    """Each photograph, with a file of its own, and its edits, in an order drawn for all.

    Args:
        grounds: as many others, which some are pasted on, and which show up nowhere else.
    """
    images: list[tuple[int, str, bytes]] = []
    for row, photo in enumerate(photos):
        images.append((row, ORIGINAL, _stored(photo, 95)))
        # The edits are of what the file shows.
        with Image.open(io.BytesIO(images[-1][2])) as file:
            photo = file.convert("RGB")
        rng = np.random.default_rng([seed, row])
        for kind, (way, quality) in WAYS.items():
            images.append((row, kind, _stored(way(photo, grounds[row], rng), quality)))
    order = np.random.default_rng(seed).permutation(len(images))
    photo_of, kinds, contents = zip(*(images[i] for i in order), strict=True)
    return Edited(np.array(photo_of), np.array(kinds), list(contents))


def _stored(image: Image.Image, quality: int | None) -> bytes:
    stream = io.BytesIO()
    if quality is None:
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def proposed(photo: np.ndarray, others: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(m,) rows each: all pairs of one photograph, and `others` of each image with any others."""
    n = len(photo)
    first, second = np.triu_indices(n, 1)
    same = photo[first] == photo[second]
    rng = np.random.default_rng(seed)
    a, b = np.repeat(np.arange(n), others), rng.integers(0, n, n * others)
    apart = photo[a] != photo[b]
    pairs = np.concatenate(
        [np.stack([first[same], second[same]], axis=1), np.sort(np.stack([a, b], axis=1)[apart])]
    )
    pairs = np.unique(pairs, axis=0)
    return pairs[:, 0], pairs[:, 1]


def look_at(images: Edited, first: np.ndarray, second: np.ndarray) -> pa.Table:
    """What the first of each pair is to the second; columns of `lake.LOOK`."""
    limits = Limits.model_validate({})
    pictures = {
        i: open_picture(images.content[i], limits)
        for i in np.unique(np.concatenate([first, second])).tolist()
    }
    looks = []
    for done, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        looks.append(look(pictures[a], pictures[b]).row())
        if done % 500 == 499:
            print(f"looking: {done + 1:,} of {len(first):,}", flush=True)
    return pa.Table.from_pylist(looks, pa.schema(LOOK))


@dataclass(frozen=True)
class Outcome:
    """What became of the images, in their order.

    keeper: int64 (n,), the keeper of each one's group, -1 of an image alone. why: (n,) sentences.
    """

    keeper: np.ndarray
    why: list[str]

    @property
    def labels(self) -> np.ndarray:
        return np.where(self.keeper >= 0, self.keeper, np.arange(len(self.keeper)))


def group(
    images: Edited,
    first: np.ndarray,
    second: np.ndarray,
    looks: pa.Table,
    settings: Grouping,
    policy: Sequence[KeeperCriterion],
    original_first: bool = False,
) -> Outcome:
    """Group the images by what was seen of them, as the group stage does.

    Args:
        original_first: whether photographs arrive before all of their edits.
    """
    ask = partial(look_at, images)
    seen = Seen(len(images.content), first, second, looks, ask)
    facts = facts_of(images)
    if original_first:
        order = np.argsort(images.kind != ORIGINAL, kind="stable")
        facts = replace(facts, earliest=np.argsort(order))
    settled = settle(seen, facts, policy, settings)
    return Outcome(settled.keeper, sentences(settled, seen, facts, policy))


def facts_of(images: Edited) -> Facts:
    """What the keeper policy knows of the images: none has EXIF, for that would tell."""
    read = [read_image(content) for content in images.content]
    n = len(read)
    return Facts(
        width=np.array([facts.width for facts in read]),
        height=np.array([facts.height for facts in read]),
        detail=np.array([facts.detail for facts in read]),
        colour=np.array([facts.colour for facts in read]),
        was_jpeg=np.array([facts.was_jpeg for facts in read]),
        coarseness=np.array([facts.coarseness for facts in read]),
        bytes=np.array([facts.bytes for facts in read]),
        exif_fields=np.zeros(n, np.int64),
        format=np.array([facts.format for facts in read]),
        path=np.zeros(n, np.int64),
        earliest=np.arange(n),
        image_id=np.array([hashlib.sha256(content).hexdigest() for content in images.content]),
    )


def report(images: Edited, found: Outcome, in_time: Outcome) -> Iterator[str]:
    """The lines of the table; `in_time`: what had become of them, had photographs come first."""
    original = np.full(int(images.photo.max()) + 1, -1)
    originals = np.flatnonzero(images.kind == ORIGINAL)
    original[images.photo[originals]] = originals
    yield f"{len(originals):,} photographs, {len(WAYS)} edits each; {verifier_version()}"
    for when, one in (("somewhere among its edits", found), ("before its edits", in_time)):
        kept = one.keeper[originals] == originals
        precision, recall, f1 = grouping_quality(one.labels, images.photo)
        members = np.flatnonzero(one.keeper >= 0)
        wrong = int((images.photo[members] != images.photo[one.keeper[members]]).sum())
        yield f"an original that arrives {when}"
        yield f"  is the keeper: {kept.sum():,} of {len(originals):,} ({kept.mean():.1%})"
        yield f"  groups: precision {precision:.4f}, recall {recall:.4f}, F1 {f1:.4f}"
        yield f"  members of another photograph's group: {wrong}"
        instead = Counter(
            "alone" if keeper < 0 else str(images.kind[keeper])
            for keeper in one.keeper[originals[~kept]].tolist()
        )
        yield from (f"  kept instead: {kind:<14} {n:>4}" for kind, n in instead.most_common())
    yield f"{'edit':<16} {'in the group of its original':>30}"
    for kind in WAYS:
        rows = np.flatnonzero(images.kind == kind)
        its = original[images.photo[rows]]
        together = found.labels[rows] == found.labels[its]
        yield f"{kind:<16} {together.sum():>23} of {len(rows):>3}"


def _open(folder: Path, count: int) -> list[Image.Image]:
    """Twice as many photographs: each other one is a ground."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    if len(files) < 4:
        raise BenchmarkError(f"{folder} holds {len(files)} photographs: expected four or more")
    photos = []
    for file in evenly(files, 2 * count):
        photo = read_photo(file)
        photo.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
        photos.append(photo)
    return photos


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--limit", type=int, default=30, help="so many of them, evenly chosen")
    parser.add_argument("--others", type=int, default=3, help="unrelated images to each image")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--looks", type=Path, help="Parquet file to keep looks in, and take from")
    parser.add_argument("--output", type=Path, help="CSV file with a row for each image")
    given = parser.parse_args()
    photos = _open(given.photos, given.limit)
    even = len(photos) // 2 * 2
    images = edited(photos[:even:2], photos[1:even:2], given.seed)
    first, second = proposed(images.photo, given.others, given.seed)
    if given.looks is not None and given.looks.is_file():
        looks = pq.read_table(given.looks)
    else:
        looks = look_at(images, first, second)
        if given.looks is not None:
            pq.write_table(looks, given.looks)
    collection = Collection.model_validate({"name": "keepers", "source": "/"})
    grouped = partial(group, images, first, second, looks, collection.grouping, collection.keeper)
    found = grouped()
    for line in report(images, found, grouped(original_first=True)):
        print(line)
    if given.output is not None:
        with given.output.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow(("photo", "kind", "kept_photo", "kept_kind", "why"))
            for i, keeper in enumerate(found.keeper.tolist()):
                kept = ("", "") if keeper < 0 else (images.photo[keeper], images.kind[keeper])
                rows.writerow((images.photo[i], images.kind[i], *kept, found.why[i]))


if __name__ == "__main__":
    main()
