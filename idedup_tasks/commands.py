"""Commands as text that can be pasted into a shell as they stand, and work from any folder."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from idedup_tasks.settings import Places


def command(
    verb: str, *arguments: str, places: Places, collection: str, scan: Path | None = None
) -> str:
    """`idedup VERB ARGUMENTS`, with what finds the collection again, quoted for a POSIX shell.

    Args:
        places: where the collection lives. The warehouse is never named: these commands read none,
            and its address may hold a password.
        scan: output folder of the scan that the collection is of.
    """
    environment: dict[str, str] = {}
    if scan is not None:
        options = ["--scan", str(scan)]
        if len(list(places.collections.glob("*.y*ml"))) > 1:  # other sources, scanned into it too
            options += ["--collection", collection]
    else:
        options = ["--collection", collection]
        environment["IDEDUP_HOME"] = str(places.home)
        if places.lake != str(places.home / "lake"):
            environment["IDEDUP_LAKE"] = places.lake
        if places.collections != places.home / "collections":
            environment["IDEDUP_COLLECTIONS"] = str(places.collections.absolute())
    words = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join([*words, shlex.join([_program(), verb, *arguments, *options])])


def file_name(uri: str) -> str:
    """How a person names a stored object: a local file by its path, another by its URL."""
    # A name with bytes that are not UTF-8 is only found by its address (`sources`).
    return uri if re.search("[\uef80-\uefff]", uri) else uri.removeprefix("file://")


def _program() -> str:
    """`idedup` where a shell finds this installation's; else its path, if it has one."""
    own = Path(sys.executable).parent / "idedup"
    found = shutil.which("idedup")
    if not own.exists() or (found is not None and Path(found).samefile(own)):
        return "idedup"
    return str(own)
