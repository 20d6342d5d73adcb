"""What tests of several folders share; it also puts this folder on the path, for `builders`."""

from __future__ import annotations

from pathlib import Path

import builders
import pytest


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures say themselves what their hash and vector are; see `builders`."""
    builders.doubles(monkeypatch.setattr)


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the gates' rules and the drawing of pages: most of the time that a walk takes."""
    builders.unguarded(monkeypatch.setattr)


@pytest.fixture
def bench(tmp_path: Path, drawn: None) -> builders.Bench:
    """A collection of drawn pictures, empty, with an empty lake and warehouse."""
    return builders.bench(tmp_path / "home", tmp_path / "source")
