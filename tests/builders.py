"""Collections small enough to walk many times, in which the test decides what resembles what.

A `Picture` is drawn as two boards of 8 x 8 black and white fields: on the left its perceptual hash,
on the right the plane (`family`) and direction (`degrees`) of its vector. `doubles` are the four
functions that read them back, and stand in for

- the perceptual hash, the descriptor and the look at a pair, so that chains, ties and collapses
  come about where the test puts them, and not where a network happens to see them;
- the worker processes that decode (one process does it), since starting them takes longer than
  everything else that a small walk does.

Everything else is real: files, decoding, thumbnails, lake, stages, warehouse. Tests that leave the
doubles out use `scene` and its edits.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from idedup_tasks import images, pipeline, verification
from idedup_tasks.descriptors import descriptor_info
from idedup_tasks.images.objects import ObjectReader
from idedup_tasks.lake import LOOK, TABLES, find_thumbnails
from idedup_tasks.run import Run
from idedup_tasks.settings import STAGES, Collection, Limits, Places, Thresholds
from idedup_tasks.warehouse import Warehouse

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
# Two vectors of one plane that are 30 degrees apart are looked at (0.866), of 60 not (0.5).
THRESHOLDS = Thresholds(candidate=0.8, phash_distance=4)
_FIELD = 8

# --- pictures that say what they are -----------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """What a drawn picture's hash and vector will be; `nonce` gives other bytes, nothing else."""

    hash: int
    family: int
    degrees: int = 0
    nonce: int = 0

    @property
    def content(self) -> bytes:
        """The PNG file."""
        code = (self.family << 9) | self.degrees
        # Both ends of the scale are always there: a picture of one grey has low information.
        right = (code << 8) | 0xA5 | (self.nonce % 2**20) << 44
        boards = np.concatenate([_board(self.hash), _board(right)], axis=1)
        stream = io.BytesIO()
        Image.fromarray(boards).save(stream, "PNG", compress_level=1)
        return stream.getvalue()


def _board(bits: int) -> np.ndarray:
    fields = np.unpackbits(np.array([bits], dtype=">u8").view(np.uint8)).reshape(8, 8)
    return np.kron(fields * 255, np.ones((_FIELD, _FIELD))).astype(np.uint8)


def _bits(board: np.ndarray) -> int:
    fields = board.reshape(8, _FIELD, 8, _FIELD).mean(axis=(1, 3)) > 127
    return int(np.packbits(fields).view(">u8")[0])


def drawn_hash(thumbnails: list[Image.Image], kind: str = "phash") -> np.ndarray:
    """In place of `prefilter.perceptual_hash`: (n,) uint64, read off the left board."""
    grey = [np.asarray(t.convert("L")) for t in thumbnails]
    return np.array([_bits(g[:, :64]) for g in grey], dtype=np.uint64)


class DrawnDescriptor:
    """In place of the network: (n, 256) float32, read off the right board."""

    def encode(self, thumbnails: list[Image.Image]) -> np.ndarray:
        vectors = np.zeros((len(thumbnails), 256), dtype=np.float32)
        for vector, thumbnail in zip(vectors, thumbnails, strict=True):
            family, degrees = _subject(np.asarray(thumbnail.convert("L")))
            angle = np.deg2rad(degrees)
            vector[2 * family : 2 * family + 2] = np.cos(angle), np.sin(angle)
        return vectors

    def encode_with_regions(self, thumbnails: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """A drawn picture is nowhere a part of another."""
        return self.encode(thumbnails), np.empty((len(thumbnails), 0, 256), dtype=np.int8)


def _subject(drawn: np.ndarray) -> tuple[int, int]:
    """Family and degrees, read off the right board."""
    code = (_bits(drawn[:, 64:]) >> 8) & 0xFFFF
    return code >> 9, code & 0x1FF


def drawn_look(a: verification.Picture, b: verification.Picture) -> verification.Look:
    """In place of `verification.look`: by how many degrees two of a family are apart.

    Up to 10 the same, up to 20 a crop (of the one with fewer degrees), up to 30 edited, up to 60
    alike; so what is linked is no equivalence.
    """
    (family_a, degrees_a), (family_b, degrees_b) = _subject(a.grey), _subject(b.grey)
    apart = abs(degrees_a - degrees_b) if family_a == family_b else 360
    words = ((10, "same"), (20, "crop"), (30, "edited"), (60, "alike"))
    relation = next((word for most, word in words if apart <= most), "different")
    part = 0.5 if relation == "crop" else 1.0
    return verification.Look(
        relation=relation,
        score=round(max(0.0, 1 - apart / 90), 4),
        overlap_a=1.0 if degrees_a > degrees_b else part,
        overlap_b=1.0 if degrees_b > degrees_a else part,
        changed=0.1 if relation == "edited" else 0.0,
        place="top left" if relation == "edited" else "",
        blur=0.0,
        transform=np.eye(3),
        evidence=verification.Evidence.equal(),
    )


def read_in_process(
    objects: Iterable[Any],
    limits: Limits,
    storage_options: Mapping[str, Any],
    *,
    follow_links: bool = False,
    **_: Any,
) -> Iterator[Any]:
    """In place of `images.read_objects`: the same reader, without its worker processes."""
    reader = ObjectReader(limits, storage_options, follow_links)
    for item in objects:
        try:
            yield item, reader(item)
        except images.Rejected as rejected:
            yield item, rejected


def doubles(set_attribute: Callable[[str, Any], None]) -> None:
    """Install the four, by a function such as pytest's `monkeypatch.setattr`."""
    set_attribute("idedup_tasks.stages.prefilter.prepare.perceptual_hash", drawn_hash)
    set_attribute("idedup_tasks.descriptors.load_descriptor", lambda *_: DrawnDescriptor())
    set_attribute("idedup_tasks.verification.look", drawn_look)
    set_attribute("idedup_tasks.images.read_objects", read_in_process)


def unguarded(set_attribute: Callable[[str, Any], None]) -> None:
    """Leave out the gates' rules and the drawing of pages, by far the slowest parts of a walk.

    For tests that walk dozens of times to compare what is left behind; they end with walks that are
    checked in full.
    """
    set_attribute("idedup_tasks.pipeline.check", lambda run, candidate, evaluator: [])
    set_attribute("idedup_tasks.stages.report.page.render", lambda *_: "")


# --- pictures that look like something ---------------------------------------------------------


def scene(seed: int, width: int = 96, height: int | None = None) -> Image.Image:
    """A smooth coloured scene with a few hard-edged shapes; different seeds do not resemble.

    It is as high as it is wide, unless told otherwise.
    """
    height = height or width
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).copy()
    for _ in range(6):
        x, y = random.integers(0, (width - 12, height - 12))
        w, h = random.integers(8, (width // 2, height // 2))
        picture[y : y + h, x : x + w] = random.integers(0, 256, 3)
    return Image.fromarray(picture)


def scenes(count: int, first: int = 0) -> list[Image.Image]:
    """Scenes of the seeds from `first` on: upright, square and lying ones in turn, 80 high."""
    return [scene(i, 60 + 20 * (i % 4), 80) for i in range(first, first + count)]


def save_scenes(folder: Path, count: int, first: int = 0) -> Path:
    """Write `scenes` as 000.png, 001.png and so on of `folder`, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(scenes(count, first)):
        picture.save(folder / f"{i:03}.png")
    return folder


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


# --- files ---------------------------------------------------------------------------------------


def moment(day: int, minute: int = 0) -> datetime:
    return FIRST_DAY + timedelta(days=day, minutes=minute)


def place(folder: Path, key: str, content: bytes, day: int, minute: int = 0) -> Path:
    """Write a file that arrived `minute` minutes into `day`."""
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    at = moment(day, minute).timestamp()
    os.utime(path, (at, at))
    return path


# --- runs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """A source folder, and a lake and a warehouse to bring it into."""

    source: Path
    home: Path
    collection: Collection
    lake: str = ""  # where it is not in `home`

    def run(self, day: int | None = None, days: int = 1, **options: Any) -> Run:
        """A run over `days` days from `day` on, or over everything."""
        window = None if day is None else (moment(day), moment(day + days))
        options.setdefault("run_id", f"run-{day}-{days}")
        options.setdefault("progress", lambda *_: None)
        return Run(self.collection, window=window, places=self.places, **options)

    @property
    def places(self) -> Places:
        return Places(
            home=self.home,
            lake=self.lake or str(self.home / "lake"),
            warehouse=f"sqlite:///{self.home}/warehouse.db",
            collections=self.home,
        )

    def with_settings(self, **settings: Any) -> Bench:
        """The same collection, in the same lake, with other settings."""
        changed = self.collection.model_dump() | settings
        return replace(self, collection=Collection.model_validate(changed))

    def fresh(self, home: Path) -> Bench:
        """The same source and settings, with a lake and a warehouse that know nothing."""
        return replace(self, home=home).upgraded()

    def upgraded(self) -> Bench:
        Warehouse(self.places.warehouse).upgrade()
        return self


def bench(home: Path, source: Path, **settings: Any) -> Bench:
    """A collection of drawn pictures, with an empty lake and warehouse in `home`."""
    source.mkdir(parents=True, exist_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    given = {
        "name": "drawn",
        "source": str(source),
        "model_id": descriptor_info("mobilenet_v3").model_id,
        "thresholds": THRESHOLDS.model_dump(),
        "schedule": None,
    }
    return Bench(source, home, Collection.model_validate(given | settings)).upgraded()


def walk(run: Run, stages: Iterable[str] = STAGES) -> dict[str, dict[str, Any]]:
    """Stages and their gates one after the other; what each gate returned."""
    return {s: pipeline.gate(s, run, pipeline.prepare(s, run)["candidate"]) for s in stages}


# --- what must be equal --------------------------------------------------------------------------

# What is history in a row that is otherwise current state.
_HISTORY = {"run_id", "versions_read", "applied_at"}
_HISTORY_TABLES = {"run", "quality_result", "alembic_version"}
_HISTORY_VIEWS = {
    "run_health",
    "run_summary",
    "rejects_by_run",
    "quality_over_time",
    "quality_open",
}


def current_state(run: Run) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that must not depend on how it came about, row for row, by table or view.

    Left out: where in the lake a row or a thumbnail lies, which index shard holds a vector, vectors
    of images that are no longer active, looks at pairs that are none any more, and history (runs,
    quality results, times of writing).
    """
    lake = run.lake
    state: dict[str, list[tuple[Any, ...]]] = {}
    for name in ("images", "fingerprints", "matches", "groups"):
        rows = lake.snapshot(name).read()
        rows = rows.sort_by([(c, "ascending") for c in TABLES[name].key])
        if name == "images":
            thumbnails = pa.array(find_thumbnails(lake, rows), pa.binary())
            rows = rows.drop_columns(["pack", "offset", "fine_offset"])
            rows = rows.append_column("thumbnail", thumbnails)
        state[name] = [tuple(map(_shown, row.values())) for row in rows.to_pylist()]
    prints = lake.snapshot("fingerprints").read(["arrival", "image_id", "sha256", "status"])
    active = {tuple(r.values())[:3] for r in prints.to_pylist() if r["status"] == "active"}
    vectors = lake.snapshot("embeddings").read(["arrival", "image_id", "sha256", "vector"])
    state["vectors"] = sorted(
        (*key, _shown(np.array(row["vector"], np.float32).tobytes()))
        for row in vectors.to_pylist()
        if (key := tuple(row.values())[:3]) in active
    )
    return state | warehouse_state(run.places.warehouse.removeprefix("sqlite:///"))


def warehouse_state(path: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table and view over current state, sorted."""
    state = {}
    with contextlib.closing(sqlite3.connect(path)) as database:
        kinds = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
        for (name,) in database.execute(kinds).fetchall():
            if name in _HISTORY_TABLES | _HISTORY_VIEWS or name.startswith("sqlite_"):
                continue
            cursor = database.execute(f"SELECT * FROM {name}")
            names = [c[0] for c in cursor.description]
            kept = [i for i, column in enumerate(names) if column not in _HISTORY]
            rows = [tuple(row[i] for i in kept) for row in cursor.fetchall()]
            state[f"warehouse.{name}"] = sorted(rows, key=repr)
    return state


def _shown(value: Any) -> Any:
    """Long binary values by their digest: a failed comparison is read by people."""
    if isinstance(value, bytes) and len(value) > 64:
        return hashlib.sha256(value).hexdigest()[:16]
    return tuple(value) if isinstance(value, list) else value


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """By table, the rows that only one side has: empty when the states are equal."""
    found = {}
    for name in sorted(left.keys() | right.keys()):
        a, b = left.get(name, []), right.get(name, [])
        if a != b:
            found[name] = {
                "only left": [r for r in a if r not in b],
                "only right": [r for r in b if r not in a],
            }
    return found


def versions(run: Run) -> dict[str, int]:
    """The newest version of every table of the lake."""
    return {name: run.lake.snapshot(name).version for name in TABLES}


def turned(look: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `lake.LOOK` as of the same pair the other way round."""
    rows = pa.Table.from_pylist([dict(look)], pa.schema(LOOK))
    return dict(verification.turned_rows(rows, np.array([True])).to_pylist()[0])
