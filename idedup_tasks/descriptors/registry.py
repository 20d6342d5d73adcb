"""Registered descriptors: `{lake}/models/{model_id}/`, written once and never changed.

A folder holds what `idedup train` wrote: weights, the converted network, quantiser, calibration,
curves and the sidecar.
`registration.json` comes last and says with which digests; a folder without it is not there yet.
The folder is named by the model_id that the descriptor has on a CPU.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idedup_tasks.descriptors.card import (
    REGISTERED_AS,
    DescriptorCard,
    DescriptorError,
    checked_file,
    file_sha256,
    is_model_id,
)
from idedup_tasks.settings import Places

if TYPE_CHECKING:
    from idedup_tasks.lake import Lake

REGISTRATION = "registration.json"


def models(root: str | None = None) -> Lake:
    """The part of a lake that holds registered descriptors; by default of IDEDUP_LAKE's."""
    from idedup_tasks.lake import Lake

    return Lake(root or Places.from_environment().lake, "models")


def add_card(card: DescriptorCard, details: Mapping[str, Any], root: str | None = None) -> str:
    """Copy a descriptor's files into the lake; returns the folder's address.

    `details` (small JSON: what it was compared with) are kept in its registration. What is
    registered already stays as it is. Raises DescriptorError where a file of the descriptor is
    missing or not the one that its sidecar records.
    """
    lake, model_id = models(root), card.model_id(REGISTERED_AS)
    location = f"{lake.uri}/{model_id}"
    if lake.exists(f"{model_id}/{REGISTRATION}"):
        return location
    recorded = {
        card.weights: card.weights_sha256,
        card.quantiser: card.quantiser_sha256,
        **card.converted,
    }
    files = [checked_file(card, file, sha256) for file, sha256 in recorded.items()]
    further = (f"{card.name}_calibration.json", "training.json", "training.png")
    files += [path for name in further if (path := card.folder / name).is_file()]
    files.append(card.folder / f"{card.name}.json")
    for path in files:
        with lake.create(f"{model_id}/{path.name}") as stream:
            stream.write(path.read_bytes())
    registration = {
        "model_id": model_id,
        "descriptor": card.name,
        "registered_at": datetime.now(UTC).isoformat(timespec="microseconds"),
        "files": {path.name: file_sha256(path) for path in files},
        **details,
    }
    lake.write_text(f"{model_id}/{REGISTRATION}", json.dumps(registration, indent=2) + "\n")
    return location


def registrations(root: str | None = None) -> list[dict[str, Any]]:
    """The registrations of a lake, oldest first."""
    lake = models(root)
    found = [
        json.loads(lake.read_text(file.path))
        for file in lake.files_under("")
        if file.path.split("/")[1:] == [REGISTRATION]
    ]
    return sorted(found, key=lambda r: (r["registered_at"], r["model_id"]))


def registered_card(model_id: str, root: str | None = None) -> Path:
    """The sidecar of a registered descriptor on this machine, its files' digests checked.

    From a remote lake the folder is fetched once, into IDEDUP_HOME/cache/models. Raises
    DescriptorError where it is not registered or a file is not the one that was registered.
    """
    lake = models(root)
    kept = Places.from_environment().home / "cache" / "models" / model_id
    local = Path(lake.path(model_id))
    if lake.local:
        kept = local
    if not (kept / REGISTRATION).is_file():
        if (
            kept == local
            or not is_model_id(model_id)
            or not lake.exists(f"{model_id}/{REGISTRATION}")
        ):
            raise DescriptorError(
                f"descriptor {model_id!r} is neither installed nor registered in {lake.uri}; "
                "register it with `idedup train --register`, or name another as `descriptor`"
            )
        fetch(lake, model_id, kept)
    registration = json.loads((kept / REGISTRATION).read_text("utf-8"))
    sidecar = kept / f"{registration['descriptor']}.json"
    check(sidecar, registration["files"][sidecar.name])
    return sidecar


def fetch(lake: Lake, model_id: str, folder: Path) -> None:
    """Copy a registered descriptor to a folder that appears whole or not at all."""
    text = lake.read_text(f"{model_id}/{REGISTRATION}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        whole = Path(scratch) / model_id
        whole.mkdir()
        for name, sha256 in json.loads(text)["files"].items():
            with lake.open(f"{model_id}/{name}") as source, (whole / name).open("wb") as target:
                shutil.copyfileobj(source, target)
            check(whole / name, sha256)
        (whole / REGISTRATION).write_text(text, "utf-8")
        try:
            whole.replace(folder)
        except OSError:
            # Another process fetched it meanwhile.
            if not (folder / REGISTRATION).is_file():
                raise


def check(path: Path, sha256: str) -> None:
    """Compare a file with its registered digest; raises DescriptorError where it differs."""
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "nothing"
    if found != sha256:
        raise DescriptorError(
            f"{path} is not the file that was registered (sha256 {found}, not {sha256}); restore "
            "the lake's folder from its backup, or register the descriptor under new weights"
        )
