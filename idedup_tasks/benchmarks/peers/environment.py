"""What another program's process sees of the environment: no credentials, no addresses."""

from __future__ import annotations

import os

_SEEN = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TORCH_HOME"),
)


def peer_environment() -> dict[str, str]:
    """The variables that it is given."""
    return {name: value for name, value in os.environ.items() if name in _SEEN}
