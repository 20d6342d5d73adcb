"""Find the duplicates in a folder or bucket, without a collection file and without Airflow."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from idedup_tasks.addresses import secret_in
from idedup_tasks.api.reading import UsageError, places_of_scan
from idedup_tasks.api.results import ScanResult, rejected_files, write_results, write_summary
from idedup_tasks.compute import ahead, cores_of_job, scheduler_address, usable_cores
from idedup_tasks.extras import require_protocol
from idedup_tasks.settings import (
    STAGES,
    Collection,
    Places,
    SettingsError,
    load_collection,
    local_folder,
    make_private,
    read_settings,
)

if TYPE_CHECKING:
    from idedup_tasks.run import Run

Progress = Callable[[str, str, int, int | None], None]


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
    address = source_address(source)
    content = _scan_settings(settings, descriptor, device)
    if not os.environ.get("IDEDUP_DASK_SCHEDULER"):
        _refuse_device(content.get("device"))
    folder = _output_folder(Path(output), address)
    excluded = _excluded(address, folder)
    few = _refuse_empty(address, content.get("follow_links") is True, excluded)
    _make_output(folder, output)
    places = places_of_scan(folder)
    run_before = Path(places.lake).exists()
    collection = _scan_collection(places, address, content, settings)

    with ExitStack() as kept, ahead() as begin:
        # What a first scan is sure to need starts beside the imports of all else.
        if not run_before and scheduler_address() is None:
            _begin(begin, collection, few)

        # A second of imports: only now that nothing speaks against it.
        from idedup_tasks import pipeline
        from idedup_tasks.run import Run
        from idedup_tasks.warehouse import Warehouse

        warehouse = Warehouse(places.warehouse)
        warehouse.upgrade()
        # Whoever closes the last connection has SQLite move its log into the file: once is enough.
        kept.enter_context(warehouse.connect())

        stage = ""

        def show(what: str, done: int, total: int | None) -> None:
            if progress is not None:
                progress(stage, what, done, total)

        run = Run(
            collection=collection,
            run_id=f"scan-{started:%Y-%m-%dT%H:%M:%S.%f}",
            window=None,
            places=places,
            # Deleting duplicates and scanning again is what a scan is for.
            allow_removals=True,
            excluded=excluded,
            progress=show,
            scan=folder,
        )
        # Before hours of reading: a descriptor that is not there, or not the one that is pinned.
        model_id = run.model_id
        stages: dict[str, Any] = {}
        warnings: list[str] = []
        for stage in STAGES:
            show("starting", 0, None)
            begun = time.perf_counter()
            prepared = pipeline.prepare(stage, run)
            between = time.perf_counter()
            show("checking", 0, None)
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

        files = run.lake.load_candidate(prepared["candidate"]).files
        write_results(run, files, published["versions"]["report"], folder)
        summary = {
            "source": address,
            "collection": collection.name,
            "run_id": run.run_id,
            "started_at": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 3),
            "model_id": model_id,
            "thresholds": run.thresholds.model_dump(),
            "cut": collection.grouping.cut,
            "keeper": list(collection.keeper),
            "excluded": list(excluded),
            "counts": published["counts"],
            "stages": stages,
            "warnings": warnings,
            "rejected": rejected_files(run, files["results"]),
        }
        write_summary(summary, folder)
        return ScanResult(folder, summary)


def collection_name(address: str) -> str:
    """A collection's name made from its source: the last part, and a digest to tell namesakes."""
    slug = re.sub(r"[^a-z0-9]+", "-", address.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-")
    return (
        f"{slug or 'pictures'}"[:40]
        + "-"
        + hashlib.sha256(address.encode(errors="surrogateescape")).hexdigest()[:6]
    )


def source_address(source: str | os.PathLike[str]) -> str:
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


def _refuse_empty(address: str, follow_links: bool, excluded: tuple[str, ...]) -> int:
    """How many objects there are, of which no more are counted than keep all cores busy."""
    from idedup_tasks.isolation import HANDED_OVER
    from idedup_tasks.sources import list_objects

    try:
        found = list_objects(address, follow_links=follow_links)
        objects = (o for o in found if not o.key.startswith(excluded))
        count = sum(1 for _ in islice(objects, usable_cores() * HANDED_OVER))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not count:
        raise UsageError(f"{address} holds no files: name a folder with images in it.")
    return count


def _begin(begin: Callable[..., None], collection: Collection, objects: int) -> None:
    """Start the processes that decode, and have the descriptor loaded, as the stages will ask."""
    from idedup_tasks.isolation import crew_size, worker_crew

    processes = crew_size(objects, cores_of_job())
    begin(worker_crew, processes, "idedup_tasks.images", threading.get_ident())

    from idedup_tasks.descriptors import load_descriptor
    from idedup_tasks.descriptors.card import resolve_device

    device = resolve_device(collection.device)
    if device == "cpu":
        begin(load_descriptor, collection.descriptor, device, collection.matching.thorough)


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
