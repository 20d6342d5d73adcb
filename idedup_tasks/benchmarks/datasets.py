"""What benchmarks measure on: images with known copies, made one at a time and never all held.

- `copydays`: any folder of photographs, each edited in some of the ways of `edits`; or INRIA
  Copydays itself, where its folder is given (`original`, `crops/10` … `jpegqual/75` …, `strong`;
  the first four digits of a name tell the photograph).
- `edits`: every third photograph of a folder is an original, with copies edited one to four times
  on top of each other; the next one is only seen edited, so that it has no answer; the third is
  what others are pasted on, or what is pasted on them.
- `groups`: a folder with `groups.csv` (file,group): UKBench, Holidays, QUALINET and the like. A
  file without a group is like nothing else.
- `cifar10`: a folder with `pairs.csv` (a,b,same) that labels pairs of its images, or of CIFAR-10's
  binary batches in it (`data_batch_1.bin/17` is the eighteenth image of that file).
- `layouts`: drawn, no folder needed: pictures of one layout with other content, honest copies of
  each third one.
- `documents`: drawn: invoices as scanned at 300 dpi, recompressed, and with one digit changed.

Photographs are first reduced to a short side of 512 pixels, edited, and reduced again to what the
workflow describes images from: a short side of 256, a long one of 1,024, never enlarged.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from idedup_tasks.benchmarks import layouts
from idedup_tasks.benchmarks.edits import CROPS_AND_JPEGS, EDITS, combined
from idedup_tasks.benchmarks.peers.environment import peer_environment
from idedup_tasks.compute import usable_cores
from idedup_tasks.errors import TerminalError
from idedup_tasks.images import THUMBNAIL_LONG_SIDE, THUMBNAIL_SHORT_SIDE

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
Item = TypeVar("Item")

DRAWN = ("layouts", "documents")
DATASETS = ("copydays", "edits", "groups", "cifar10", *DRAWN)
ORIGINAL, DISTRACTOR = "original", "distractor"
PHOTO_SIDE = 512
BATCH = 64
PICTURES, DOCUMENTS = 480, 24  # drawn unless a limit is given

_EDIT_SCRIPT = Path(__file__).parent / "peers" / "edit.py"
_SMALLEST = 16
_CIFAR_RECORD = 1 + 3 * 32 * 32
_CROPS_AND_JPEGS, _STRONG = "crops and JPEGs", "strong edits"
_LOOKS = 3  # layouts of each family


class BenchmarkError(TerminalError):
    """Images, labels or methods that a benchmark was given cannot be used."""


@dataclass(frozen=True)
class Dataset:
    """n images and what is known of them.

    kinds: text (n,), `original`, `distractor` or what was done to a photograph. groups: int64 (n,),
    equal for copies of one picture. queries, references: rows that are compared. sets: kinds of
    queries that are also summed up by themselves, by name. collection: rows that are grouped.
    open: makes an image by its row. pairs: int64 (m, 2) rows, `same` bool (m,): only these are
    compared, where there are any. originals: rows that others of their group were made from.
    file: the bytes and the ending of an image's file by its row, where it has one of its own.
    """

    name: str
    kinds: np.ndarray
    groups: np.ndarray
    queries: np.ndarray
    references: np.ndarray
    sets: dict[str, list[str]]
    collection: np.ndarray
    open: Callable[[int], Image.Image]
    pairs: np.ndarray | None = None
    same: np.ndarray | None = None
    originals: np.ndarray | None = None
    file: Callable[[int], tuple[bytes, str]] | None = None

    def __len__(self) -> int:
        return len(self.kinds)

    def batches(self, size: int = BATCH) -> Iterator[list[Image.Image]]:
        """All images in order, RGB; the same ones each time."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            for first in range(0, len(self), size):
                rows = range(first, min(first + size, len(self)))
                yield list(pool.map(self._thumbnail, rows))

    def _thumbnail(self, row: int) -> Image.Image:
        return reduced(self.open(row), THUMBNAIL_SHORT_SIDE, THUMBNAIL_LONG_SIDE)


def open_dataset(
    name: str,
    photos: Path | None = None,
    distractors: Path | None = None,
    limit: int | None = None,
    copies: int = 5,
    seed: int = 0,
    peer_python: Path | None = None,
) -> Dataset:
    """A dataset by its name.

    Args:
        photos: its folder; for layouts, where given, what memes and sites show.
        distractors: a folder of unrelated photographs, for copydays.
        limit: use at most so many photographs (groups and pairs for the others), evenly chosen; of
            what is drawn, so many pictures or documents without their copies.
        copies: edited copies of each photograph, for copydays (over all, each kind equally often)
            and edits.
        seed: of the edits, and of what is drawn.
        peer_python: a Python with AugLy, which edits then makes its copies with.

    Raises:
        BenchmarkError: files are missing, or are not what the dataset needs.
    """
    if name not in DATASETS:
        raise BenchmarkError(f"there is no dataset {name!r}: expected {', '.join(DATASETS)}")
    if photos is None and name not in DRAWN:
        raise BenchmarkError(f"{name} is made of a folder's pictures: name it with --photos")
    if photos is not None and not photos.is_dir():
        raise BenchmarkError(f"{photos} is no folder: expected one of photographs")
    if distractors is not None and name != "copydays":
        raise BenchmarkError(f"distractors go with copydays: {name} has its own unrelated images")
    if name == "layouts":
        return _layouts(photos, limit or PICTURES, seed)
    if photos is None:
        return _documents(limit or DOCUMENTS, seed)
    if name == "copydays":
        if (photos / ORIGINAL).is_dir():
            return _inria_copydays(photos, distractors, limit)
        return _edited(photos, distractors, limit, copies, seed)
    if name == "edits":
        return _several_edits(photos, limit, copies, seed, peer_python)
    return _grouped(photos, limit) if name == "groups" else _cifar10(photos, limit)


# --- pictures ----------------------------------------------------------------------------------


def reduced(image: Image.Image, short: int, long: int) -> Image.Image:
    """The image within these sides, in pixels; never enlarged."""
    scale = min(short / min(image.size), long / max(image.size), 1.0)
    if scale == 1.0:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def read_photo(file: Path) -> Image.Image:
    """Decode to RGB, orientation applied, at a short side of 512 pixels at most.

    Raises BenchmarkError where that cannot be done, or the picture is too small to be edited.
    """
    try:
        with Image.open(file) as image:
            image.draft("RGB", (2 * PHOTO_SIDE, 2 * PHOTO_SIDE))
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BenchmarkError(f"{file} cannot be read ({error}): mend or remove it") from error
    if min(picture.size) < _SMALLEST:
        raise BenchmarkError(
            f"{file} is {picture.width} × {picture.height} pixels: expected {_SMALLEST} or more a "
            "side; remove it"
        )
    return reduced(picture, PHOTO_SIDE, 4 * PHOTO_SIDE)


def photo_files(folder: Path) -> list[Path]:
    """All photographs under a folder, in order of path.

    Raises BenchmarkError where there are none.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise BenchmarkError(
            f"{folder} holds no photographs: expected files ending in {', '.join(sorted(SUFFIXES))}"
        )
    return files


def evenly(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, spread over all of them, in order."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


# --- copydays ----------------------------------------------------------------------------------


def _edited(
    photos: Path, distractors: Path | None, limit: int | None, copies: int, seed: int
) -> Dataset:
    files = evenly(photo_files(photos), limit)
    others = photo_files(distractors) if distractors is not None else []
    if len(files) < 2:
        raise BenchmarkError(f"{photos} holds one photograph: expected several, to be told apart")
    names = list(EDITS)
    if not 1 <= copies <= len(names):
        raise BenchmarkError(f"{copies} copies of each photograph: expected 1 to {len(names)}")
    # Photograph i gets kinds k·i, k·i + 1, …: over all, each kind equally often.
    edits = [(i, (copies * i + k) % len(names)) for i in range(len(files)) for k in range(copies)]
    decode = lru_cache(maxsize=BATCH)(read_photo)

    def open_(row: int) -> Image.Image:
        if row < len(files):
            return decode(files[row])
        if row < len(files) + len(others):
            return read_photo(others[row - len(files)])
        i, kind = edits[row - len(files) - len(others)]
        rng = np.random.default_rng([seed, i, kind])
        other = (i + int(rng.integers(1, len(files)))) % len(files)
        return EDITS[names[kind]](decode(files[i]), rng, lambda: decode(files[other]))

    return _queries_and_references(
        "copydays",
        len(files),
        len(others),
        [i for i, _ in edits],
        [names[kind] for _, kind in edits],
        open_,
    )


_COUNTS = ("one edit", "two edits", "three edits", "four edits")


def _several_edits(
    photos: Path, limit: int | None, copies: int, seed: int, peer_python: Path | None
) -> Dataset:
    files = evenly(photo_files(photos), limit)
    if len(files) < 6:
        raise BenchmarkError(f"{photos} holds {len(files)} photographs: expected six or more")
    originals, material = len(files[::3]), range(2, len(files), 3)
    # Photograph of each query: first those of which the original is there too.
    sources = [*(3 * (q // copies) for q in range(originals * copies)), *range(1, len(files), 3)]
    counts = [1 + q % len(_COUNTS) for q in range(len(sources))]
    others = np.random.default_rng([seed, 0]).choice(material, len(sources)).tolist()
    if peer_python is None:
        name, edited = "edits of our own", _own_edits(files, sources, others, counts, seed)
    else:
        name, edited = _edits_by_augly(peer_python, files, sources, others, counts, seed)

    def file(row: int) -> tuple[bytes, str]:
        return edited(row - originals) if row >= originals else _own_file(files[3 * row])

    def open_(row: int) -> Image.Image:
        if row < originals:
            return read_photo(files[3 * row])
        with Image.open(io.BytesIO(file(row)[0])) as image:
            return image.convert("RGB")

    rows = np.arange(originals + len(sources))
    return Dataset(
        name,
        np.array([*[ORIGINAL] * originals, *(_COUNTS[count - 1] for count in counts)]),
        np.array([*range(0, len(files), 3), *sources]),
        rows[originals:],
        rows[:originals],
        {},
        rows,
        open_,
        originals=rows[:originals],
        file=file,
    )


def _edits_by_augly(
    python: Path,
    files: list[Path],
    sources: list[int],
    others: list[int],
    counts: list[int],
    seed: int,
) -> tuple[str, Callable[[int], tuple[bytes, str]]]:
    """All copies, made at once in a folder that lasts as long as what reads them."""
    kinds = json.loads(_ask(python, "--edits"))
    folder = tempfile.TemporaryDirectory(prefix="idedup-edits-")
    plan = []
    for query, (source, other) in enumerate(zip(sources, others, strict=True)):
        rng = np.random.default_rng([seed, query, 1])
        plan.append(
            {
                "photo": str(files[source].absolute()),
                "other": str(files[other].absolute()),
                "edits": [kinds[n] for n in rng.permutation(len(kinds))[: counts[query]]],
                "seed": int(rng.integers(2**31)),
                "file": f"{query:07}.jpg",
            }
        )
    place = Path(folder.name)
    (place / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    said = json.loads(_ask(python, str(place / "plan.json"), str(place)))

    def edited(query: int) -> tuple[bytes, str]:
        return _own_file(Path(folder.name) / f"{query:07}.jpg")

    return f"edits by AugLy {said['augly']}", edited


def _ask(python: Path, *arguments: str) -> str:
    """What the editing script prints last, run by that Python."""
    command = [str(python), str(_EDIT_SCRIPT), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - a Python that the caller named
            command, capture_output=True, text=True, env=peer_environment()
        )
    except OSError as error:
        raise BenchmarkError(f"{python} cannot be run ({error.strerror}): name a Python") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise BenchmarkError(
            f"AugLy cannot be used by {python} ({said[-1]}): install it there "
            "(docs/benchmarks.md), or leave --peer-python out and the edits are idedup's own"
        )
    return done.stdout.splitlines()[-1]


def _own_edits(
    files: list[Path], sources: list[int], others: list[int], counts: list[int], seed: int
) -> Callable[[int], tuple[bytes, str]]:
    """The edits of `edits`, which share no code with AugLy's."""

    def edited(query: int) -> tuple[bytes, str]:
        rng = np.random.default_rng([seed, query, 1])
        change = combined(counts[query])
        image = change(
            read_photo(files[sources[query]]), rng, lambda: read_photo(files[others[query]])
        )
        return layouts.encoded(image, "recompressed", rng)

    return edited


def _inria_copydays(photos: Path, distractors: Path | None, limit: int | None) -> Dataset:
    files = evenly(photo_files(photos / ORIGINAL), limit)
    originals = {file.name[:4]: i for i, file in enumerate(files)}
    if len(originals) < len(files):
        raise BenchmarkError(
            f"{photos / ORIGINAL} holds names that begin alike: expected INRIA Copydays, where the "
            "first four digits are a photograph's own"
        )
    others = photo_files(distractors) if distractors is not None else []
    blocks = {f"crops/{percent}": f"crop {percent} %" for percent in range(10, 90, 5)}
    blocks |= {f"jpegqual/{quality}": f"JPEG {quality}" for quality in range(1, 101)}
    blocks["strong"] = "strong"
    copies, kinds, sources = [], [], []
    for block, kind in blocks.items():
        for file in photo_files(photos / block) if (photos / block).is_dir() else ():
            if file.name[:4] in originals:
                copies.append(file)
                kinds.append(kind)
                sources.append(originals[file.name[:4]])
    if not copies:
        raise BenchmarkError(
            f"{photos} has a folder {ORIGINAL} but no copies: expected crops/10, jpegqual/75 or "
            "strong beside it"
        )
    everything = [*files, *others, *copies]
    return _queries_and_references(
        "INRIA Copydays",
        len(files),
        len(others),
        sources,
        kinds,
        lambda row: read_photo(everything[row]),
    )


def _queries_and_references(
    name: str,
    originals: int,
    distractors: int,
    sources: list[int],
    kinds: list[str],
    open_: Callable[[int], Image.Image],
) -> Dataset:
    """Copies are sought among originals and distractors; a third of the photographs are grouped."""
    known = originals + distractors
    groups = np.concatenate([np.arange(known), np.array(sources, np.int64)])
    found = list(dict.fromkeys(kinds))
    order = {kind: place for place, kind in enumerate(EDITS)}
    found.sort(key=lambda kind: order.get(kind, len(order)))
    crops = [kind for kind in found if kind in CROPS_AND_JPEGS]
    sets = {_CROPS_AND_JPEGS: crops, _STRONG: [kind for kind in found if kind not in crops]}
    rows = np.arange(len(groups))
    return Dataset(
        name,
        np.array([*[ORIGINAL] * originals, *[DISTRACTOR] * distractors, *kinds]),
        groups,
        rows[known:],
        rows[:known],
        {title: members for title, members in sets.items() if members},
        rows[(rows < known) | (groups % 3 == 0)],
        open_,
        originals=rows[:originals],
    )


# --- drawn -------------------------------------------------------------------------------------


def _layouts(photos: Path | None, pictures: int, seed: int) -> Dataset:
    """Picture i is of family i modulo their number, in one of three looks; a third has copies."""
    _check_fonts()
    files = None if photos is None else photo_files(photos)

    def photograph(rng: np.random.Generator) -> Image.Image:
        if files is None:
            return layouts.scene(rng)
        return read_photo(files[int(rng.integers(len(files)))])

    names, kinds = list(layouts.FAMILIES), list(layouts.COPIES)
    copies = [(i, kinds[(i // 3 + k) % len(kinds)]) for i in range(0, pictures, 3) for k in (0, 1)]
    rows: list[tuple[int, str | None]] = [*((i, None) for i in range(pictures)), *copies]

    def file(row: int) -> tuple[bytes, str]:
        i, copy = rows[row]
        family, group = i % len(names), i // len(names) % _LOOKS
        look = layouts.draw_look((seed * len(names) + family) * _LOOKS + group, photograph)
        image = layouts.FAMILIES[names[family]](look, np.random.default_rng([seed, i]))
        return layouts.encoded(image, copy, np.random.default_rng([seed, row, 1]))

    families = [names[i % len(names)] for i, _ in rows]
    return _drawn("layouts", families, [i for i, _ in rows], pictures, file)


def _documents(count: int, seed: int) -> Dataset:
    """Each invoice, a copy of it recompressed, and one with another digit, like no other."""
    _check_fonts()
    kinds = [ORIGINAL, "recompressed", "one digit changed"]

    def file(row: int) -> tuple[bytes, str]:
        kind, i = divmod(row, count)
        look = layouts.draw_look(seed * count + i, layouts.scene)
        change = np.random.default_rng([seed, i, 2]) if kind == 2 else None
        image = layouts.invoice(look, np.random.default_rng([seed, i]), change)
        # As many of the changed ones are recompressed as not.
        copy = "recompressed" if kind == 1 or (kind == 2 and i % 2) else None
        return layouts.encoded(image, copy, np.random.default_rng([seed, row, 1]))

    groups = [*range(count), *range(count), *range(count, 2 * count)]
    return _drawn("documents", [kind for kind in kinds for _ in range(count)], groups, count, file)


def _drawn(
    name: str,
    kinds: list[str],
    groups: list[int],
    originals: int,
    file: Callable[[int], tuple[bytes, str]],
) -> Dataset:
    """All pictures are compared with each other and grouped; the first ones are originals."""

    def open_(row: int) -> Image.Image:
        with Image.open(io.BytesIO(file(row)[0])) as image:
            return image.convert("RGB")

    every = np.arange(len(groups))
    return Dataset(
        name,
        np.array(kinds),
        np.array(groups),
        every,
        every,
        {},
        every,
        open_,
        originals=every[:originals],
        file=file,
    )


def _check_fonts() -> None:
    try:
        layouts.check_fonts()
    except FileNotFoundError as error:
        raise BenchmarkError(str(error)) from error


# --- labelled images ---------------------------------------------------------------------------


def _grouped(photos: Path, limit: int | None) -> Dataset:
    table = photos / "groups.csv"
    rows = _read_table(table, ("file", "group"))
    seen: dict[str, int] = {}
    for line, (file, _) in enumerate(rows, 2):
        if file in seen:
            raise BenchmarkError(f"{table}, line {line}: {file} is in line {seen[file]} too")
        seen[file] = line
        if not (photos / file).is_file():
            raise BenchmarkError(f"{table}, line {line}: there is no file {photos / file}")
    names = sorted({group for _, group in rows if group})
    kept = set(evenly(names, limit))
    rows = [(file, group) for file, group in rows if group in kept or (not group and limit is None)]
    number = {group: i for i, group in enumerate(names)}
    groups = np.array([number.get(group, len(names) + i) for i, (_, group) in enumerate(rows)])
    if len(np.unique(groups)) == len(groups):
        raise BenchmarkError(f"{table} has no group of two or more files: nothing could be found")
    every = np.arange(len(rows))
    return Dataset(
        "groups",
        np.full(len(rows), "image"),
        groups,
        every,
        every,
        {},
        every,
        lambda row: read_photo(photos / rows[row][0]),
        file=lambda row: _own_file(photos / rows[row][0]),
    )


def _own_file(file: Path) -> tuple[bytes, str]:
    return file.read_bytes(), file.suffix.removeprefix(".")


def _cifar10(photos: Path, limit: int | None) -> Dataset:
    table = photos / "pairs.csv"
    labelled = evenly(_read_table(table, ("a", "b", "same")), limit)
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    names = sorted({name for a, b, _ in labelled for name in (a, b)})
    place = {name: i for i, name in enumerate(names)}
    for a, b, word in labelled:
        if word.lower() not in words:
            raise BenchmarkError(f"{table}: same is {word!r} for {a} and {b}: expected 1 or 0")
    same = np.array([words[word.lower()] for _, _, word in labelled])
    if same.all() or not same.any():
        raise BenchmarkError(f"{table}: expected pairs of both kinds, same 1 and same 0")
    for name in names:
        _cifar_image(photos, name)  # a name that is nothing is said before anything is measured
    return Dataset(
        "cifar10",
        np.full(len(names), "image"),
        np.arange(len(names)),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        {},
        np.empty(0, np.int64),
        lambda row: _cifar_image(photos, names[row]),
        np.array([(place[a], place[b]) for a, b, _ in labelled]),
        same,
    )


def _cifar_image(photos: Path, name: str) -> Image.Image:
    """An image file, or the record of a binary batch: a label, then planes of red, green, blue."""
    file = photos / name
    if file.is_file() and file.suffix != ".bin":
        return read_photo(file)
    batch, _, number = name.rpartition("/")
    if not batch.endswith(".bin") or not (photos / batch).is_file() or not number.isdecimal():
        raise BenchmarkError(
            f"{photos / 'pairs.csv'}: {name} is neither a file in {photos} nor a record of a "
            "binary batch there, such as data_batch_1.bin/17"
        )
    count, rest = divmod((photos / batch).stat().st_size, _CIFAR_RECORD)
    if rest or int(number) >= count:
        raise BenchmarkError(
            f"{photos / batch} holds {count} whole records of {_CIFAR_RECORD} bytes"
            f"{' and some more' if rest else ''}: {name} is not one of CIFAR-10's images"
        )
    with (photos / batch).open("rb") as stream:
        stream.seek(int(number) * _CIFAR_RECORD + 1)
        planes = np.frombuffer(stream.read(_CIFAR_RECORD - 1), np.uint8).reshape(3, 32, 32)
    return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))


def _read_table(file: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The rows of a CSV file with these columns, in this order, blanks taken away."""
    wanted = ",".join(columns)
    if not file.is_file():
        raise BenchmarkError(f"there is no {file}: expected a CSV file with columns {wanted}")
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise BenchmarkError(f"{file} has no column {missing[0]}: expected {wanted}")
            rows = [tuple((row[name] or "").strip() for name in columns) for row in reader]
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{file} is not UTF-8 text ({error}): save it as UTF-8") from error
    if not rows:
        raise BenchmarkError(f"{file} has no rows: expected {wanted}")
    return rows
