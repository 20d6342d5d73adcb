"""What the params of a run may name on a worker: whoever may trigger a DAG gives them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from airflow.sdk.exceptions import AirflowFailException

from idedup_tasks.settings import Places


def photos(param: str, value: str) -> Path:
    """A folder below those of `IDEDUP_PHOTOS` (separated by colons; `IDEDUP_HOME/photos`).

    Raises:
        AirflowFailException: it lies elsewhere, also by a link.
    """
    named = os.environ.get("IDEDUP_PHOTOS") or str(Places.from_environment().home / "photos")
    return _within(param, value, [Path(root) for root in named.split(":") if root], "IDEDUP_PHOTOS")


def descriptor(param: str, value: str) -> str:
    """A descriptor or hash by name or model_id, or a file that a training run wrote.

    Raises:
        AirflowFailException: a file that lies elsewhere than below `IDEDUP_HOME/training`.
    """
    if re.fullmatch(r"[A-Za-z0-9_-]+", value):
        return value
    return str(_within(param, value, [Places.from_environment().home / "training"], "IDEDUP_HOME"))


def _within(param: str, value: str, roots: list[Path], variable: str) -> Path:
    path = Path(value).expanduser().resolve()
    if any(path.is_relative_to(root.expanduser().resolve()) for root in roots):
        return path
    raise AirflowFailException(
        f"params: {param}: {value} is not below {' or '.join(map(str, roots))}, where runs may "
        f"look: put it there, or let the deployment's {variable} name another folder."
    )
