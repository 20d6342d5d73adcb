"""The stack's secrets: refuse to start without good ones, or write a file with fresh ones.

    python config/stack/environment.py check [.env]         the file's, or the environment's
    python config/stack/environment.py write .env.example .env

Only the standard library: it runs in the image and on a machine that has nothing but Python.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

SECRETS = (
    "POSTGRES_PASSWORD",
    "AIRFLOW_DB_PASSWORD",
    "IDEDUP_OWNER_PASSWORD",
    "IDEDUP_WRITER_PASSWORD",
    "IDEDUP_BI_PASSWORD",
    "SUPERSET_DB_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "AIRFLOW_FERNET_KEY",
    "AIRFLOW_JWT_SECRET",
    "AIRFLOW_SECRET_KEY",
    "AIRFLOW_ADMIN_PASSWORD",
    "SUPERSET_SECRET_KEY",
    "SUPERSET_ADMIN_PASSWORD",
)
_SHORTEST = {"S3_ACCESS_KEY": 16, "AIRFLOW_JWT_SECRET": 64}
_EXAMPLE = "change-me"
_LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, 1 when the stack must not start, 2 for bad use."""
    if arguments[:1] == ["check"] and len(arguments) <= 2:
        if arguments[1:] and not Path(arguments[1]).exists():
            print(f"{arguments[1]} is missing: `make env` writes one.", file=sys.stderr)
            return 1
        found = list(faults(read(Path(arguments[1])) if arguments[1:] else os.environ))
    elif arguments[:1] == ["write"] and len(arguments) == 3:
        return write(Path(arguments[1]), Path(arguments[2]))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


def faults(values: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each secret that must not be used; it never repeats the secret."""
    holders: dict[str, str] = {}
    for name in SECRETS:
        value, shortest = values.get(name, ""), _SHORTEST.get(name, 24)
        if not value:
            yield f"{name} is not set: give it {shortest} or more letters and digits in .env."
        elif value.startswith(_EXAMPLE):
            yield (
                f"{name} still has the value of .env.example, which everybody knows: give it "
                f"{shortest} or more random letters and digits in .env."
            )
        elif name == "AIRFLOW_FERNET_KEY":
            if not _is_fernet_key(value):
                yield f"{name} is no Fernet key: expected 32 random bytes in URL-safe base64."
        elif not re.fullmatch(r"[A-Za-z0-9_-]+", value):
            yield f"{name} holds a character that breaks an address: use letters, digits, - and _."
        elif len(value) < shortest:
            yield f"{name} has {len(value)} characters: expected {shortest} or more."
        elif value in holders:
            yield f"{name} is the same as {holders[value]}: give each its own."
        holders.setdefault(value, name)


def _is_fernet_key(value: str) -> bool:
    try:
        return len(base64.b64decode(value, altchars=b"-_", validate=True)) == 32
    except binascii.Error:
        return False


def read(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of an environment file, as Compose reads unquoted ones."""
    lines = (_LINE.fullmatch(line.strip()) for line in path.read_text("utf-8").splitlines())
    return {found[1]: found[2].strip() for found in lines if found}


def write(example: Path, target: Path) -> int:
    """Copy the example with random secrets to a file that only its owner can read."""
    lines = []
    for line in example.read_text("utf-8").splitlines():
        found = _LINE.fullmatch(line)
        secret = found is not None and found[1] in SECRETS
        lines.append(f"{found[1]}={draw(found[1])}" if found and secret else line)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} is there already, and is left as it is.", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
    return 0


def draw(name: str) -> str:
    """A random secret that `faults` accepts under this name."""
    if name == "AIRFLOW_FERNET_KEY":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(max(16, _SHORTEST.get(name, 32) // 2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
