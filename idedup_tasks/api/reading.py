"""What is there to be asked: a collection or an earlier scan, and images to compare with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idedup_tasks.errors import TerminalError
from idedup_tasks.settings import Collection, Places, SettingsError, load_collection, sqlite_url

if TYPE_CHECKING:
    from PIL.Image import Image

    from idedup_tasks.images import ImageFacts
    from idedup_tasks.run import Run
    from idedup_tasks.verification import Picture


class UsageError(TerminalError, ValueError):
    """What was asked for cannot be done: one sentence that names the way out."""


def places_of_scan(output: Path) -> Places:
    """Where a scan into `output` keeps its lake, warehouse and settings."""
    home = output / ".idedup"
    return Places(
        home=home,
        lake=str(home / "lake"),
        warehouse=sqlite_url(home / "warehouse.db"),
        collections=home / "collections",
    )


def open_collection(collection: str | None, scan: str | os.PathLike[str] | None) -> Run:
    """A run to read a collection with; it prepares nothing.

    Args:
        collection: its name; the only one there is when None.
        scan: output folder of an earlier scan, instead of the places of the environment.

    Raises:
        UsageError: there is no such collection, or it holds nothing yet.
    """
    places = Places.from_environment()
    if scan is not None:
        folder = Path(scan).expanduser().resolve()
        places = places_of_scan(folder)
        if not places.collections.is_dir():
            raise UsageError(f"{scan} holds no scan: name the folder given to scan as output.")
    found = _find_collection(places, collection)

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


def _find_collection(places: Places, name: str | None) -> Collection:
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


def read_image(collection: Collection, path: str) -> ImageFacts:
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


def picture_of(facts: ImageFacts) -> Picture:
    """An image that was read as a look sees it."""
    from idedup_tasks.verification import Picture

    about: dict[str, Any] = {name: getattr(facts, name) for name in ("width", "height", "sha256")}
    return Picture.of_thumbnail(facts.thumbnail, fine=facts.fine, **about)


def thumbnail_of(facts: ImageFacts) -> Image:
    from idedup_tasks.images import open_thumbnail

    return open_thumbnail(facts.thumbnail)
