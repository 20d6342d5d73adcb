"""The workflow as functions: scan a folder, ask what it holds and why, preview settings.

    >>> result = idedup_tasks.scan("~/Pictures", "duplicates")
    >>> result.summary["counts"]["duplicates_near"]
    >>> idedup_tasks.query("new.jpg", "pictures")[:1]
    >>> idedup_tasks.explain("a.jpg", "b.jpg").verdict
    >>> idedup_tasks.preview("pictures", cut=0.7).after.duplicates

The command line is made from these.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

import yaml

from idedup_tasks.errors import TerminalError
from idedup_tasks.extras import require_protocol
from idedup_tasks.settings import (
    STAGES,
    Collection,
    KeeperCriterion,
    Places,
    SettingsError,
    Thresholds,
    load_collection,
    local_folder,
    make_private,
    read_settings,
    secret_in,
    sqlite_url,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from PIL.Image import Image

    from idedup_tasks.explanation import Explanation
    from idedup_tasks.images import ImageFacts
    from idedup_tasks.lake import Snapshot
    from idedup_tasks.run import Run

GROUP_COLUMNS = (
    "uri",
    "path",
    "group_id",
    "is_keeper",
    "relation",
    "method",
    "score",
    "score_to_keeper",
    "matched_uri",
    "keeper_uri",
    "width",
    "height",
    "bytes",
    "uncertain",
)

Progress = Callable[[str, str, int, int | None], None]


class UsageError(TerminalError, ValueError):
    """What was asked for cannot be done: one sentence that names the way out."""


# --- scan --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScanResult:
    """Where a scan's files are, and what it found.

    Attributes:
        output: the folder with `report.html`, `groups.csv`, `groups.parquet`, `images.parquet` and
            `summary.json`.
        summary: the content of `summary.json`.

    `groups` and `images` are Arrow tables, read from their files each time they are asked for;
    `.to_pandas()` makes a data frame of one.
    """

    output: Path
    summary: dict[str, Any]

    @property
    def report(self) -> Path:
        return self.output / "report.html"

    @property
    def groups(self) -> pa.Table:
        """A row per member of a group, in the order of `groups.csv`; columns `GROUP_COLUMNS`."""
        import pyarrow.parquet as pq

        return pq.read_table(self.output / "groups.parquet")

    @property
    def images(self) -> pa.Table:
        """A row per file with status and verdict; columns of `images.parquet`."""
        import pyarrow.parquet as pq

        return pq.read_table(self.output / "images.parquet")


def scan(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    settings: str | os.PathLike[str] | None = None,
    descriptor: str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> ScanResult:
    """Find the duplicates in a folder or bucket, in this process.

    What was read is kept under `output/.idedup`: a second scan of the same source reads only what
    is new, and one that was interrupted goes on where it was.

    Args:
        source: folder or URL (`s3://`, `gs://`, `az://`; credentials from the environment).
        output: folder for the results, made if needed; when it lies inside the source, it is left
            out of the scan.
        settings: YAML file with the fields of a collection; `name` and `source` may be left out.
        descriptor, device: override those of the settings.
        progress: called with (stage, what, done, total or None) as the stages work.

    Raises:
        UsageError: source or output cannot be used.
        SettingsError: the settings file cannot be used.
        DescriptorError, ExtraMissing: the device or the source's protocol cannot be used here.
        QualityFailure: a gate found the result of a stage wrong; nothing of it was kept.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    address = _address(source)
    content = _scan_settings(settings, descriptor, device)
    if not os.environ.get("IDEDUP_DASK_SCHEDULER"):
        _refuse_device(content.get("device"))
    folder = _output_folder(Path(output), address)
    excluded = _excluded(address, folder)
    _refuse_empty(address, content.get("follow_links") is True, excluded)
    _make_output(folder, output)
    places = places_of_scan(folder)
    collection = _scan_collection(places, address, content, settings)

    # Seconds of imports: only now that nothing speaks against it.
    from idedup_tasks import pipeline
    from idedup_tasks.run import Run
    from idedup_tasks.warehouse import Warehouse

    Warehouse(places.warehouse).upgrade()

    current = [""]

    def report_progress(what: str, done: int, total: int | None) -> None:
        if progress is not None:
            progress(current[0], what, done, total)

    run = Run(
        collection=collection,
        run_id=f"scan-{started:%Y-%m-%dT%H:%M:%S.%f}",
        window=None,
        places=places,
        # Deleting duplicates and scanning again is what a scan is for.
        allow_removals=True,
        excluded=excluded,
        progress=report_progress,
        scan=folder,
    )
    # Before hours of reading: a descriptor that is not there, or not the one that is pinned.
    model_id = run.model_id
    stages: dict[str, Any] = {}
    warnings: list[str] = []
    for stage in STAGES:
        current[0] = stage
        report_progress("starting", 0, None)
        begun = time.perf_counter()
        prepared = pipeline.prepare(stage, run)
        between = time.perf_counter()
        report_progress("checking", 0, None)
        published = pipeline.gate(stage, run, prepared["candidate"], evaluator="arrow")
        seconds = between - begun
        images = pipeline.counts_of(stage, published["counts"]).images
        stages[stage] = {
            "seconds": round(seconds, 3),
            "gate_seconds": round(time.perf_counter() - between, 3),
            "images_per_second": round(images / seconds, 1) if seconds else None,
            **published["counts"],
        }
        warnings += prepared["warnings"]
    warnings += _broken_warnings(run)

    results = run.lake.load_candidate(prepared["candidate"]).files["results"]
    _write_results(run, results, published["versions"]["report"], folder)
    summary = {
        "source": address,
        "collection": collection.name,
        "run_id": run.run_id,
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 3),
        "model_id": model_id,
        "thresholds": run.thresholds.model_dump(),
        "keeper": list(collection.keeper),
        "excluded": list(excluded),
        "counts": published["counts"],
        "stages": stages,
        "warnings": warnings,
        "rejected": _rejected(run, results),
    }
    with _replacing(folder / "summary.json") as stream:
        stream.write(json.dumps(summary, indent=1, ensure_ascii=False).encode() + b"\n")
    return ScanResult(folder, summary)


def places_of_scan(output: Path) -> Places:
    """Where a scan into `output` keeps its lake, warehouse and settings."""
    home = output / ".idedup"
    return Places(
        home=home,
        lake=str(home / "lake"),
        warehouse=sqlite_url(home / "warehouse.db"),
        collections=home / "collections",
    )


def size_text(count: float) -> str:
    """Bytes in units of thousands, as people read them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def collection_name(address: str) -> str:
    """A collection's name made from its source: the last part, and a digest to tell namesakes."""
    slug = re.sub(r"[^a-z0-9]+", "-", address.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-")
    return (
        f"{slug or 'pictures'}"[:40]
        + "-"
        + hashlib.sha256(address.encode(errors="surrogateescape")).hexdigest()[:6]
    )


def _address(source: str | os.PathLike[str]) -> str:
    """The source as an absolute path or URL.

    Raises:
        UsageError: a local source that is not a folder which can be read, or an address with
            credentials in it.
    """
    from idedup_tasks.sources import is_local

    text = os.fspath(source)
    if said := secret_in(text):
        raise UsageError(f"SOURCE: {said}.")
    if not is_local(text):
        require_protocol(text)
        return text
    # Not resolved: a source that is reached through a link keeps its address.
    path = Path(os.path.abspath(Path(text.removeprefix("file://")).expanduser()))  # noqa: PTH100
    if not path.exists():
        raise UsageError(f"{text} is not there: name a folder or a URL such as s3://bucket/prefix.")
    if not path.is_dir():
        raise UsageError(f"{text} is a file: name the folder that holds it.")
    if not os.access(path, os.R_OK | os.X_OK):
        raise UsageError(f"{text} may not be read: change its permissions or your user.")
    return str(path)


def _output_folder(output: Path, address: str) -> Path:
    """The folder for the results, which is not made yet."""
    folder = output.expanduser().resolve()
    local_folder(str(folder))  # refused before anything is made
    if folder == Path(address).resolve():
        raise UsageError(
            f"{output} is the source itself: name a folder of its own for the results, such as "
            f"{output / 'duplicates'}."
        )
    return folder


def _make_output(folder: Path, named: str | os.PathLike[str]) -> None:
    """Make the folder for the results; `named`: as the user calls it."""
    try:
        # The results have the user's own mode. One of an earlier release was open to everybody.
        make_private(folder / ".idedup").chmod(0o700)
        probe = folder / ".idedup" / f"probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"{os.fspath(named)} cannot be written to ({error.strerror}): name another folder for "
            "the results."
        ) from error


def _excluded(address: str, folder: Path) -> tuple[str, ...]:
    """The keys of a local source that are the scan's own output."""
    from idedup_tasks.sources import is_local

    if not is_local(address):
        return ()
    root = Path(address).resolve()
    if not folder.is_relative_to(root):
        return ()
    return (f"{folder.relative_to(root).as_posix()}/",)


def _refuse_empty(address: str, follow_links: bool, excluded: tuple[str, ...]) -> None:
    from idedup_tasks.sources import list_objects

    try:
        found = list_objects(address, follow_links=follow_links)
        objects = (o for o in found if not o.key.startswith(excluded))
        first = next(objects, None)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if first is None:
        raise UsageError(f"{address} holds no files: name a folder with images in it.")


def _refuse_device(device: object) -> None:
    """Before anything is read or made; what is no device's name is for the settings to refuse."""
    if device in ("auto", "cpu", "cuda"):
        from idedup_tasks.descriptors.descriptor import check_device

        check_device(str(device))


def _scan_settings(
    settings: str | os.PathLike[str] | None, descriptor: str | None, device: str | None
) -> dict[str, Any]:
    """The fields of a collection that were given for a scan."""
    content: dict[str, Any] = {"quality": {"warn_only": ["reject_ratio"]}}
    if settings is not None:
        content |= read_settings(Path(settings).expanduser(), "device: cpu")
    overrides = {"descriptor": descriptor, "device": device}
    return content | {k: v for k, v in overrides.items() if v is not None}


def _scan_collection(
    places: Places,
    address: str,
    content: dict[str, Any],
    settings: str | os.PathLike[str] | None,
) -> Collection:
    """The settings of a scan; kept beside its lake, where `query` and `preview` find them."""
    content = {"name": collection_name(address)} | content | {"source": address, "schedule": None}
    places.collections.mkdir(parents=True, exist_ok=True)
    kept = places.collections / f"{collection_name(address)}.yaml"
    text = "# Made by `idedup scan`; every field: docs/collections.md.\n" + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True
    )
    draft = kept.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(text, encoding="utf-8")
    try:
        collection = load_collection(draft)
        draft.replace(kept)
    except SettingsError as error:
        # The fault is in what the user wrote, not in the copy of it.
        shown = Path(settings).name if settings is not None else "the options"
        raise SettingsError(str(error).replace(draft.name, shown)) from None
    finally:
        draft.unlink(missing_ok=True)
    return collection


def _broken_warnings(run: Run) -> list[str]:
    """The rules of the gates that only warn and do not hold, in words."""
    from idedup_tasks.warehouse import Warehouse

    rows = Warehouse(run.places.warehouse).query(
        "quality", collection=run.collection.name, run_id=run.run_id
    )
    return [
        f"{row['stage']}: {row['observed']} (wanted: {row['expected']})"
        for row in rows
        if not row["success"]
    ]


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_results(run: Run, results: str, report: str, folder: Path) -> None:
    import pyarrow.parquet as pq

    for source, name in ((results, "images.parquet"), (report, "report.html")):
        with run.lake.open(source) as found, _replacing(folder / name) as copy:
            shutil.copyfileobj(found, copy)
    groups = _groups(run, results)
    with _replacing(folder / "groups.parquet") as stream:
        pq.write_table(groups, stream, compression="zstd")
    with _replacing(folder / "groups.csv") as stream:
        _write_csv(groups, stream)


def _groups(run: Run, results: str) -> pa.Table:
    """One row per member of a group of two or more: groups by age, the keeper first, then those
    whose place in it is uncertain."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from idedup_tasks.lake import uncertain
    from idedup_tasks.stages.report.prepare import read_results

    columns = [
        "image_id", "uri", "arrived_at", "group_id", "verdict", "relation", "method", "score",
        "threshold", "score_to_keeper", "matched_id", "keeper_id", "width", "height", "bytes",
    ]  # fmt: skip
    batches = [
        batch.select(columns).filter(pc.field("group_id").is_valid())
        for batch in read_results(run.lake, results)
    ]
    rows = pa.Table.from_batches(batches)
    ids, uris = rows["image_id"].combine_chunks(), rows["uri"].combine_chunks()

    def uri_of(column: str) -> pa.Array:
        return uris.take(pc.index_in(rows[column].combine_chunks(), value_set=ids))

    # The group is named after its earliest member, so that member's arrival is the group's age.
    age = rows["arrived_at"].take(pc.index_in(rows["group_id"].combine_chunks(), value_set=ids))
    doubtful = uncertain(rows, run.collection.grouping.uncertain_margin)
    made = {
        "uncertain": doubtful,
        "certain": pc.invert(doubtful),
        "path": pc.replace_substring_regex(uris, r"^[A-Za-z][A-Za-z0-9+.-]*://", ""),
        "is_keeper": pc.equal(rows["verdict"], "keeper"),
        "matched_uri": uri_of("matched_id"),
        "keeper_uri": uri_of("keeper_id"),
        "duplicate": pc.not_equal(rows["verdict"], "keeper"),
        "age": age,
    }
    for name, values in made.items():
        rows = rows.append_column(name, values)
    order = [(c, "ascending") for c in ("age", "group_id", "duplicate", "certain", "uri")]
    return rows.sort_by(order).select(list(GROUP_COLUMNS)).combine_chunks()


def _write_csv(groups: pa.Table, stream: IO[bytes]) -> None:
    """UTF-8, quoted where needed, so that every name comes back as it was.

    No cell is changed to guard against formulae, and none can be one: texts are addresses, paths
    that begin with a slash or a bucket's name, ids and words of ours.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(GROUP_COLUMNS)
    for batch in groups.to_batches(16_384):
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        writer.writerows(
            [str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows
        )
    text.detach()


def _rejected(run: Run, results: str) -> list[dict[str, str]]:
    import pyarrow.compute as pc

    from idedup_tasks.stages.report.prepare import read_results

    found: list[dict[str, str]] = []
    for batch in read_results(run.lake, results):
        rows = batch.filter(pc.field("status") == "rejected").select(["uri", "reason"])
        found += rows.to_pylist()
    return sorted(found, key=lambda row: row["uri"])


# --- query -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Match:
    """One image of a collection that is a copy, a twin or a near duplicate of the one asked about.

    Attributes:
        relation: `exact`, `perceptual` or `near`.
        score: 1 for equal bytes; 1 - d/64 for hashes d bits apart; else the cosine similarity.
        threshold: the score from which it counts as one.
        verdict: `unique`, `keeper` or `duplicate` within the collection.
    """

    image_id: str
    uri: str
    relation: str
    method: str
    score: float
    threshold: float
    verdict: str | None
    group_id: str | None
    width: int
    height: int
    bytes: int


def query(
    image: str | os.PathLike[str],
    collection: str | None = None,
    *,
    limit: int = 10,
    scan: str | os.PathLike[str] | None = None,
) -> list[Match]:
    """What a collection already holds of an image, best first; nothing is written.

    Copies by bytes and perceptual twins are looked for among all images, near duplicates among the
    active ones: what collapsed onto one of them stands behind it.

    Args:
        image: path or URL of an image file.
        collection: its name; the only one there is when left out.
        limit: at most so many matches.
        scan: output folder of an earlier `scan`, instead of the places of the environment.

    Raises:
        UsageError: there is no such image or collection, or the collection holds nothing yet.
        Rejected: the file is not an image that can be read.
    """
    run = _open(collection, scan)
    facts = _read(run.collection, os.fspath(image))
    found: dict[str, tuple[str, str, float, float]] = {}
    for name in _same_bytes(run.lake.snapshot("images"), facts.sha256):
        found[name] = ("exact", "sha256", 1.0, 1.0)
    if not facts.low_information:
        # As in the workflow: flat and near-blank images match by their bytes only.
        for name, score in _perceptual_twins(run, facts):
            found.setdefault(
                name,
                (
                    "perceptual",
                    run.collection.prefilter.hash,
                    score,
                    1 - run.thresholds.phash_distance / 64,
                ),
            )
        for name, score in _near_duplicates(run, facts, limit):
            found.setdefault(name, ("near", run.model_id, score, run.thresholds.pair))
    return _matches(run, found)[:limit]


def _read(collection: Collection, path: str) -> ImageFacts:
    """An image as ingest would read it.

    Raises:
        UsageError: there is no file of that name.
        Rejected: it is no image that can be read; says which and why.
    """
    from idedup_tasks import images, sources

    limits = collection.limits
    try:
        if sources.is_local(path) and Path(path.removeprefix("file://")).expanduser().is_dir():
            raise UsageError(f"{path} is a folder: name one image in it.")
        data = sources.read_object(path, limits.max_bytes)
    except sources.ObjectVanished:
        raise UsageError(f"{path} is not there: name an image file or its URL.") from None
    except ValueError as error:  # also: a password in the address, an unknown protocol
        raise UsageError(str(error)) from None
    try:
        return images.read_image(data, limits)
    except images.Rejected as error:
        raise images.Rejected(error.code, f"{path} cannot be compared: {error.reason}") from error


def _same_bytes(images: Snapshot, sha256: str) -> list[str]:
    import pyarrow.dataset as ds

    return images.read(["image_id"], ds.field("sha256") == sha256)["image_id"].to_pylist()


def _thumbnail(facts: ImageFacts) -> Any:
    from idedup_tasks.images import open_thumbnail

    return open_thumbnail(facts.thumbnail)


def _perceptual_twins(run: Run, facts: ImageFacts) -> Iterator[tuple[str, float]]:
    """Images within the perceptual distance, with their scores."""
    import numpy as np

    from idedup_tasks.hashes import dihedral_variants, perceptual_hash

    settings, distance = run.collection.prefilter, run.thresholds.phash_distance
    thumbnail = _thumbnail(facts)
    if settings.mirrored:
        own = dihedral_variants([thumbnail], settings.hash)[0]
    else:
        own = perceptual_hash([thumbnail], settings.hash)
    for batch in run.lake.snapshot("fingerprints").scan(["image_id", "hash", "low_information"]):
        hashes = batch["hash"].to_numpy().view(np.uint64)
        bits = np.bitwise_count(hashes[:, None] ^ own[None, :]).min(axis=1)
        near = (bits <= distance) & ~batch["low_information"].to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(near):
            yield batch["image_id"][int(row)].as_py(), 1 - int(bits[row]) / 64


def _near_duplicates(run: Run, facts: ImageFacts, limit: int) -> Iterator[tuple[str, float]]:
    """The most similar active images from the pair threshold on, with their cosines."""
    from idedup_tasks import shards
    from idedup_tasks.descriptors import load_descriptor

    model_id = run.model_id
    descriptor = load_descriptor(run.collection.descriptor, run.collection.device)
    if descriptor.model_id != model_id:
        raise UsageError(f"The descriptor here is {descriptor.model_id}, the index is {model_id}.")
    names, scores = shards.search(run.lake, model_id, descriptor.encode([_thumbnail(facts)]), limit)
    for name, score in zip(names[0], scores[0], strict=False):
        if round(float(score), 4) >= run.thresholds.pair:
            yield name, round(float(score), 4)


def _matches(run: Run, found: dict[str, tuple[str, str, float, float]]) -> list[Match]:
    import pyarrow as pa
    import pyarrow.dataset as ds

    wanted = ds.field("image_id").isin(pa.array(list(found), pa.string()))
    groups = run.lake.snapshot("groups").read(["image_id", "verdict", "group_id"], wanted)
    verdicts = {row["image_id"]: row for row in groups.to_pylist()}
    columns = ["image_id", "uri", "width", "height", "bytes", "arrived_at"]
    kinds = ("exact", "perceptual", "near")
    rows = run.lake.snapshot("images").read(columns, wanted).to_pylist()
    rows.sort(
        key=lambda row: (
            kinds.index(found[row["image_id"]][0]),
            -found[row["image_id"]][2],
            row["arrived_at"],
            row["uri"],
        )
    )
    return [
        Match(
            row["image_id"],
            row["uri"],
            *found[row["image_id"]],
            verdicts.get(row["image_id"], {}).get("verdict"),
            verdicts.get(row["image_id"], {}).get("group_id"),
            row["width"],
            row["height"],
            row["bytes"],
        )
        for row in rows
    ]


# --- explain -----------------------------------------------------------------------------------

_IMAGE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class _Compared:
    """One of the two images to explain; image_id only where it was named by it."""

    name: str
    sha256: str
    low_information: bool
    thumbnail: Image
    image_id: str | None = None


def explain(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    collection: str | None = None,
    *,
    scan: str | os.PathLike[str] | None = None,
) -> Explanation:
    """Why two images are, or are not, duplicates, and where they match; nothing is written.

    Args:
        a, b: path or URL of an image file, or the image_id of an image of the collection.
        collection: its name; its descriptor, thresholds and hash are used. Left out, and with two
            files, those of the shipped descriptor.
        scan: output folder of an earlier `scan`, instead of the places of the environment.

    Raises:
        UsageError: no such file, collection or image_id, or an image_id of a rejected file.
        Rejected: a file is not an image that can be read.
        DescriptorError: the descriptor's network cannot be looked into.
    """
    given = [os.fspath(image) for image in (a, b)]
    asked = collection is not None or scan is not None or any(map(_is_image_id, given))
    run = _open(collection, scan) if asked else None
    plain = {"name": "files", "source": "/"}
    settings = Collection.model_validate(plain) if run is None else run.collection
    # Files first, and what takes seconds to import only when there are two to compare.
    files = {name: _read(settings, name) for name in given if not _is_image_id(name)}

    import numpy as np

    from idedup_tasks import explanation
    from idedup_tasks.descriptors import load_card, load_descriptor
    from idedup_tasks.explanation.places import PlaceNetwork
    from idedup_tasks.hashes import DIHEDRAL, dihedral_variants, perceptual_hash
    from idedup_tasks.stages.group.clusters import cosine

    thresholds = _thresholds(settings)
    first, second = (
        _file(name, files[name]) if run is None or name in files else _named_image(run, name)
        for name in given
    )
    descriptor = load_descriptor(settings.descriptor, settings.device)
    if run is not None and descriptor.model_id != run.model_id:
        raise UsageError(f"The descriptor here is {descriptor.model_id}, not {run.model_id}.")
    shown = [second.thumbnail if t is None else second.thumbnail.transpose(t) for t in DIHEDRAL]
    vectors = descriptor.encode([first.thumbnail, *shown])
    cosines = cosine(np.broadcast_to(vectors[0], vectors[1:].shape), vectors[1:])
    margin = settings.grouping.uncertain_margin
    # Unrelated pictures are like each other in one position or another by chance.
    alike = cosines >= max(thresholds.cut, float(cosines.max()) - margin)
    network = PlaceNetwork(load_card(settings.descriptor))
    turned = {turn: shown[turn] for turn in sorted({0, *np.flatnonzero(alike).tolist()})}
    best = explanation.best_turn(network, first.thumbnail, turned)
    where = explanation.find_where(network, first.thumbnail, second.thumbnail, DIHEDRAL[best])

    hashes = dihedral_variants([second.thumbnail], settings.prefilter.hash)[0]
    if not settings.prefilter.mirrored:
        hashes = hashes[:1]
    own = perceptual_hash([first.thumbnail], settings.prefilter.hash)
    distance = int(np.bitwise_count(hashes ^ own).min())

    common_cosine = None
    if where.common is not None:
        parts = [
            explanation.cut(first.thumbnail, where.common.box_a),
            explanation.cut(shown[best], where.common.box_b),
        ]
        cut_out = descriptor.encode(parts)
        common_cosine = float(cosine(cut_out[:1], cut_out[1:])[0])
    same_bytes = first.sha256 == second.sha256
    relation, uncertain, verdict = explanation.decide(
        same_bytes,
        first.low_information or second.low_information,
        distance,
        float(cosines[0]),
        common_cosine,
        thresholds,
        margin,
    )
    return explanation.Explanation(
        a=first.name,
        b=second.name,
        model_id=descriptor.model_id,
        cosine=float(cosines[0]),
        thresholds=thresholds,
        hash=settings.prefilter.hash,
        hash_distance=distance,
        same_bytes=same_bytes,
        relation=relation,
        uncertain=uncertain,
        verdict=verdict,
        decided=None if run is None else _decided(run, first, second),
        turn=explanation.TURNS[best],
        turned_cosine=float(cosines[best]),
        common_cosine=common_cosine,
        where=where,
        picture_a=first.thumbnail,
        picture_b=shown[best],
    )


def _is_image_id(name: str) -> bool:
    return _IMAGE_ID.fullmatch(name) is not None and not Path(name).exists()


def _thresholds(collection: Collection) -> Thresholds:
    from idedup_tasks.descriptors import descriptor_info

    if collection.thresholds is not None:
        return collection.thresholds
    return Thresholds(**asdict(descriptor_info(collection.descriptor).thresholds))


def _file(path: str, facts: ImageFacts) -> _Compared:
    return _Compared(path, facts.sha256, facts.low_information, _thumbnail(facts))


def _named_image(run: Run, image_id: str) -> _Compared:
    """An image of the collection, by its id."""
    import pyarrow.dataset as ds

    from idedup_tasks.images import open_thumbnail

    columns = ["uri", "sha256", "low_information", "thumbnail", "reason"]
    rows = run.lake.snapshot("images").read(columns, ds.field("image_id") == image_id).to_pylist()
    name = run.collection.name
    if not rows:
        raise UsageError(
            f"Collection {name} has no image {image_id}: take ids from its report, its tables or "
            "views, or give the path of a file."
        )
    [row] = rows
    if row["thumbnail"] is None:
        raise UsageError(f"Image {image_id} of {name} was rejected: {row['reason']}.")
    thumbnail = open_thumbnail(row["thumbnail"])
    return _Compared(row["uri"], row["sha256"], row["low_information"], thumbnail, image_id)


def _decided(run: Run, first: _Compared, second: _Compared) -> str | None:
    """What the collection's groups say of two of its images, as one sentence."""
    import pyarrow.dataset as ds

    ids = [first.image_id, second.image_id]
    if None in ids:
        return None
    columns = ["image_id", "verdict", "group_id", "relation", "matched_id", "score", "threshold"]
    rows = run.lake.snapshot("groups").read(columns, ds.field("image_id").isin(ids)).to_pylist()
    found = {row["image_id"]: row for row in rows}
    one, other = (found.get(str(name)) for name in ids)
    if one is None or other is None:
        return "not yet grouped"
    if one["group_id"] is None or one["group_id"] != other["group_id"]:
        return "not in one group"
    for row, name, against in ((one, "first", second), (other, "second", first)):
        if row["matched_id"] == against.image_id:
            return (
                f"one group; the {name} is there as {row['relation']} duplicate of the other, by a "
                f"score of {row['score']:.4f} (from {row['threshold']:.4g})"
            )
    return "one group, each through other members of it"


# --- preview -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Totals:
    """Groups of two or more, images that are duplicates, and the bytes of those."""

    groups: int
    duplicates: int
    reclaimable_bytes: int


@dataclass(frozen=True)
class Preview:
    """What another cut or keeper policy would change.

    Attributes:
        before, after: totals now, and with the other settings.
        dissolved: groups whose members would all be unique.
        split: other groups whose members would no longer be together.
        merged: groups after that hold members of two or more groups of now.
        appeared: groups after whose members are all unique now.
        other_keeper: groups with the same members and another keeper.
        newly_duplicate, no_longer_duplicate: uris of images whose verdict would become, or cease to
            be, duplicate; sorted.
    """

    before: Totals
    after: Totals
    dissolved: int
    split: int
    merged: int
    appeared: int
    other_keeper: int
    newly_duplicate: list[str]
    no_longer_duplicate: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def preview(
    collection: str | None = None,
    *,
    cut: float | None = None,
    keeper: Sequence[str] | None = None,
    scan: str | os.PathLike[str] | None = None,
) -> Preview:
    """What another cut or keeper policy would change in a collection; nothing is written.

    Args:
        collection: its name; the only one there is when left out.
        cut: similarity at which the hierarchical clustering is cut, 0 to 1. Only images that pairs
            from the candidate threshold on connect are ever together, however low the cut.
        keeper: criteria in order: `resolution`, `format`, `bytes`, `earliest`, `path`.
        scan: output folder of an earlier `scan`, instead of the places of the environment.

    Raises:
        UsageError: a value that cannot be previewed, or no such collection.
    """
    from idedup_tasks.stages.group import prepare as group

    run = _open(collection, scan)
    policy = _policy(run, keeper)
    if cut is not None and not 0 <= cut <= 1:
        raise UsageError(f"A cut of {cut} is no similarity: expected 0 to 1.")
    if cut is None and keeper is None:
        raise UsageError("There is nothing to preview: give another cut or another keeper.")
    after = group.regroup(run, run.thresholds.cut if cut is None else cut, policy)
    groups = run.lake.snapshot("groups")
    before = groups.read(["image_id", "group_id", "keeper_id"])
    images = run.lake.snapshot("images", groups.reads("images")).read(["image_id", "uri", "bytes"])
    rows = before.to_pandas().merge(
        after.to_pandas(), on="image_id", suffixes=("_before", "_after"), validate="one_to_one"
    )
    return _compared(rows.merge(images.to_pandas(), on="image_id", validate="one_to_one"))


def _policy(run: Run, keeper: Sequence[str] | None) -> tuple[KeeperCriterion, ...]:
    if keeper is None:
        return run.collection.keeper
    for criterion in keeper:
        if criterion not in get_args(KeeperCriterion):
            raise UsageError(
                f"{criterion!r} is not a keeper criterion: expected "
                f"{', '.join(get_args(KeeperCriterion))}."
            )
    if "path" in keeper and not run.collection.preferred_paths:
        raise UsageError("The keeper criterion path needs preferred_paths in the collection file.")
    return tuple(keeper)  # type: ignore[arg-type]


def _compared(rows: pd.DataFrame) -> Preview:
    """Compare two groupings of the same images.

    Args:
        rows: image_id, uri, bytes, and group_id and keeper_id each `_before` and `_after`, null for
            a unique image.
    """
    duplicate = {}
    totals = {}
    for when in ("before", "after"):
        kept = rows[f"keeper_id_{when}"].isna() | (rows[f"keeper_id_{when}"] == rows["image_id"])
        duplicate[when] = ~kept
        totals[when] = Totals(
            int(rows[f"group_id_{when}"].nunique()),
            int((~kept).sum()),
            int(rows.loc[~kept, "bytes"].sum()),
        )
    # A unique image is a group of its own here, so that leaving a group counts as a split.
    before = rows["group_id_before"].fillna(rows["image_id"])
    after = rows["group_id_after"].fillna(rows["image_id"])
    grouped_before, grouped_after = rows["group_id_before"].notna(), rows["group_id_after"].notna()
    parts = after[grouped_before].groupby(before[grouped_before]).nunique()
    alone = (~grouped_after[grouped_before]).groupby(before[grouped_before]).all()
    sources = rows["group_id_before"][grouped_after].groupby(after[grouped_after]).nunique()
    sizes_before = before.map(before.value_counts())
    sizes_after = after.map(after.value_counts())
    same = grouped_before & grouped_after & (sizes_before == sizes_after)
    same &= before.map(parts).fillna(0) == 1
    other = same & (rows["keeper_id_before"] != rows["keeper_id_after"])
    newly = duplicate["after"] & ~duplicate["before"]
    no_longer = duplicate["before"] & ~duplicate["after"]
    return Preview(
        totals["before"],
        totals["after"],
        dissolved=int(alone.sum()),
        split=int(((parts > 1) & ~alone).sum()),
        merged=int((sources > 1).sum()),
        appeared=int((sources == 0).sum()),
        other_keeper=int(before[other].nunique()),
        newly_duplicate=sorted(rows.loc[newly, "uri"]),
        no_longer_duplicate=sorted(rows.loc[no_longer, "uri"]),
    )


# --- collections -------------------------------------------------------------------------------


def _open(collection: str | None, scan: str | os.PathLike[str] | None) -> Run:
    """A run to read with; it prepares nothing."""
    places = Places.from_environment()
    if scan is not None:
        folder = Path(scan).expanduser().resolve()
        places = places_of_scan(folder)
        if not places.collections.is_dir():
            raise UsageError(f"{scan} holds no scan: name the folder given to scan as output.")
    found = _find(places, collection)

    from idedup_tasks.run import Run

    run = Run(found, "reading", None, places)
    if not run.lake.exists("groups/_delta_log"):
        if scan is not None:
            raise UsageError(
                f"The scan in {scan} came to no result: scan again with it as output, which goes "
                "on where it stopped."
            )
        raise UsageError(
            f"Collection {found.name} holds nothing yet at {run.lake.uri}: run it first, or set "
            "IDEDUP_LAKE to where its lake is."
        )
    return run


def _find(places: Places, name: str | None) -> Collection:
    """The collection of a name, or the only one there is."""
    found: dict[str, Collection] = {}
    faults: list[str] = []
    for path in sorted(places.collections.glob("*.y*ml")):
        try:
            collection = load_collection(path)
        except SettingsError as error:
            faults.append(str(error))
        else:
            found[collection.name] = collection
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is None or name not in found:
        what = "No collection was named" if name is None else f"There is no collection {name}"
        there = ", ".join(sorted(found)) or "none"
        unusable = f" (not usable: {'; '.join(faults)})" if faults else ""
        raise UsageError(
            f"{what}: {places.collections} has {there}{unusable}; name one with --collection, or "
            "the output folder of a scan with --scan."
        )
    return found[name]
