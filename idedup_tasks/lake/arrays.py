"""Arrays that all jobs of a stage look at: as they are, or through the lake to workers."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from idedup_tasks import compute
from idedup_tasks.lake.delta import Lake


class SharedArrays:
    """Arrays too large for a job; a job that holds this finds them where it runs.

    Each is to be looked at for the duration of a job: what a memory map has read counts as the
    process's memory until the map is closed.
    """

    def __init__(
        self, lake: Lake, paths: Mapping[str, str], arrays: Mapping[str, np.ndarray] | None
    ) -> None:
        self._lake, self._paths, self._arrays = lake, paths, arrays

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": None}

    def __getitem__(self, name: str) -> np.ndarray:
        if self._arrays is not None:
            return self._arrays[name]
        path = _copy_here(self._lake, self._paths[name])
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return array


_COPIES = 8  # of two sets of arrays: one in use, and the one before
_copies: OrderedDict[str, tuple[TemporaryDirectory[str], str]] = OrderedDict()
_copying = threading.Lock()


def _copy_here(lake: Lake, path: str) -> str:
    """Where on this machine a shared array is; fetched once a process, if the lake is remote."""
    with _copying:
        if path not in _copies:
            folder = TemporaryDirectory(prefix="idedup-")
            _copies[path] = folder, lake.local_copy(path, folder.name)
            while len(_copies) > _COPIES:
                _copies.popitem(last=False)[1][0].cleanup()
        return _copies[path][1]


@contextmanager
def share_arrays(
    lake: Lake, arrays: Mapping[str, np.ndarray], *, here: bool
) -> Iterator[SharedArrays]:
    """Lay out arrays for jobs: in the lake for those that travel to workers, else as they are.

    Args:
        here: as `compute.run_jobs` takes it.

    The files are gone afterwards; those of a process that was killed go with old candidates.
    """
    name = uuid.uuid4().hex
    paths: dict[str, str] = {}
    if compute.scheduler_address() and not here:
        paths = {key: f"candidates/shared-{name}/{key}.npy" for key in arrays}
    try:
        for key, path in paths.items():
            with lake.create(path) as stream:
                np.lib.format.write_array(stream, np.asanyarray(arrays[key]), allow_pickle=False)
        yield SharedArrays(lake, paths, arrays)
    finally:
        for path in paths.values():
            lake.remove(path)
