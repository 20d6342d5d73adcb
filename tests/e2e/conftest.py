"""One source and its answer for all end-to-end tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trial import fresh_state, make_source


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("e2e") / "source")


@pytest.fixture(scope="session")
def fresh(
    source: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[Any, ...]]]:
    """The current state after one run over everything."""
    return fresh_state(tmp_path_factory.mktemp("fresh"), source)
