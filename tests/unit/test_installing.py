"""What pyproject.toml, requirements.txt, the Makefile and the Dockerfile agree on."""

from __future__ import annotations

import os
import re
import subprocess
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


# --- make setup ---

# Stands for Python and for pip, on a machine that has no uv.
PYTHON = """\
#!/bin/bash
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *" uv=="*) exit 1 ;;
  "-m pip install"*)
    echo "  Downloading numpy-2.4.6-cp311-manylinux_x86_64.whl (16.9 MB)"
    echo "  Downloading idna-3.20-py3-none-any.whl (72 kB)"
    if [ -e full ]; then echo "ERROR: No space left on device"; exit 1; fi
    echo "Installing collected packages: numpy, idna" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for file in ("Makefile", "pyproject.toml", "requirements.txt"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    for name, script in (("python", PYTHON), ("df", '#!/bin/sh\necho; echo "x 1 1 $FREE"\n')):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def set_up(checkout: Path, python: str, free_gb: int) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{checkout}:{os.environ['PATH']}", "FREE": str(free_gb * 2**20)}
    command = ["make", "setup", f"PYTHON={python}"]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


def test_setting_up_shows_what_it_downloads_and_what_it_took(checkout: Path) -> None:
    done = set_up(checkout, "./python", 100)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "Setting up .venv from requirements.txt, once:",
        "  Downloading numpy-2.4.6-cp311-manylinux_x86_64.whl (16.9 MB)",
        "  Installing 2 packages",
    ]
    assert re.fullmatch(r"Set up in \d+ s: \.venv holds \d+ MB\.", lines[3])
    assert set_up(checkout, "./python", 100).stdout == "", "once"


@pytest.mark.parametrize(
    ("python", "free_gb", "full", "sentence"),
    [
        (
            "/no/such",
            100,
            False,
            "idedup needs Python 3.11 to 3.14, and /no/such has none",
        ),
        ("./python", 1, False, r"Setting up needs \d+ GB of disk, and .* has 1 GB free: make room"),
        (
            "./python",
            100,
            True,
            "Installing requirements.txt failed: ERROR: No space left",
        ),
    ],
)
def test_what_stops_setting_up_is_a_sentence(
    checkout: Path, python: str, free_gb: int, full: bool, sentence: str
) -> None:
    if full:
        (checkout / "full").touch()
    failed = set_up(checkout, python, free_gb)
    assert failed.returncode != 0
    said, make = failed.stderr.splitlines()
    assert re.match(sentence, said)
    assert make.startswith("make: ")
    assert not (checkout / ".venv/installed").exists()


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
    # Not by subscript: of a field that is missing, that is None or a KeyError, as others patch it.
    fields = {f: dist.metadata.get_all(f) or [] for f in ("License-Expression", "License")}
    stated = [*fields["License-Expression"], *fields["License"]]
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
