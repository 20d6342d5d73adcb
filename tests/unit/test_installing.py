"""What pyproject.toml, requirements.txt, the Makefile and the Dockerfile agree on."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
RANGES = [
    Requirement(text) for group in (PROJECT["dependencies"], *EXTRAS.values()) for text in group
]


def pins(file: str) -> dict[str, Requirement]:
    lines = (ROOT / file).read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    assert len({canonicalize_name(pin.name) for pin in found}) == len(found)
    return {canonicalize_name(pin.name): pin for pin in found}


@pytest.mark.parametrize("needed", RANGES, ids=str)
def test_every_range_holds_the_version_that_is_tested(needed: Requirement) -> None:
    pinned = pins("requirements.txt")
    for name in [needed.name, *(f"{needed.name}-{extra}" for extra in needed.extras)]:
        pin = pinned[canonicalize_name(name)]
        [specifier] = pin.specifier
        assert specifier.operator == "=="
        assert needed.specifier.contains(specifier.version), f"{pin} is not in {needed}"
        assert pin.marker == needed.marker


def test_requirements_can_be_constraints() -> None:
    """pip refuses constraints with extras; and a file of both kinds names each package once."""
    assert [str(pin) for pin in pins("requirements.txt").values() if pin.extras] == []
    assert set(pins("requirements.txt")).isdisjoint(pins("requirements-dev.txt"))


def test_the_core_needs_nothing_large_that_it_does_not_use() -> None:
    core = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert core.isdisjoint({"torch", "torchvision", "apache-airflow", "dask", "distributed"})
    assert "faiss-cpu" in core


def test_each_extra_is_documented() -> None:
    written = (ROOT / "docs/installing.md").read_text()
    assert set(EXTRAS) == set(re.findall(r"^\| `(\w+)` \|", written, flags=re.M))


def test_faiss_for_gpus_is_of_the_version_that_is_tested() -> None:
    [pin] = pins("requirements.txt")["faiss-cpu"].specifier
    for file in ("Dockerfile", "docs/installing.md"):
        assert re.findall(r"faiss-gpu==([\d.]+\d)", (ROOT / file).read_text()) == [pin.version], (
            file
        )


# --- licences ---


def brought(extra: str) -> dict[str, Distribution]:
    """The distributions of the core and of an extra, with all that they need here."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in [*PROJECT["dependencies"], *EXTRAS.get(extra, [])]]
    while waiting:
        needed = waiting.pop()
        name = canonicalize_name(needed.name)
        if name in found or (needed.marker and not needed.marker.evaluate()):
            continue
        found[name] = distribution(name)
        for inner in map(Requirement, found[name].requires or []):
            extras = ("", *needed.extras)
            if not inner.marker or any(inner.marker.evaluate({"extra": e}) for e in extras):
                inner.marker = None
                waiting.append(inner)
    return found


def licence(dist: Distribution) -> str:
    """What a distribution's metadata say of its licence."""
    stated = [dist.metadata["License-Expression"], dist.metadata["License"]]
    stated += [c for c in dist.metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    return " | ".join(text.splitlines()[0] for text in stated if text)


@pytest.mark.parametrize("extra", ["core", "airflow"])
def test_nothing_brings_the_gpl_and_the_page_names_what_is_not_permissive(extra: str) -> None:
    named = (ROOT / "docs/licences.md").read_text()
    found = brought(extra)
    assert len(found) > 50
    for name, dist in found.items():
        stated = licence(dist)
        assert stated, name
        if re.search(r"GPL|General Public|MPL", stated):
            assert f"`{name}`" in named, f"{name}: {stated}"
            assert re.search(r"Lesser|LGPL|MPL|Artistic", stated), f"{name}: {stated}"
