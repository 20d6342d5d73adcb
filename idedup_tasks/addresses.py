"""Addresses of sources and lakes: paths and URLs, and what in them may not be shown."""

from __future__ import annotations

import re

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def split_address(address: str) -> tuple[str, str]:
    """The protocol in lower case (`file` for `local://` too, "" for a path), and what follows it.

    A path may hold `://` further on; what `file://` names is a path as well.
    """
    found = _PROTOCOL.match(address)
    if found is None:
        return "", address
    protocol = found[1].lower()
    return "file" if protocol == "local" else protocol, address[found.end() :]


def holds_user(address: str) -> bool:
    """Whether a URL has a user or a password before its host."""
    protocol, rest = split_address(address)
    if protocol in ("", "file"):
        return False
    authority = rest.partition("/")[0]
    # A secret key may hold slashes. A host:port or an ARN is no user:password, and Azure's
    # container@account no user.
    before_at = rest.rpartition("@")[0].partition("/")[0]
    named = ":" in before_at and not re.match(r"arn:|[^/:]*:\d+/", rest)
    return named or ("@" in authority and not protocol.startswith("abfs"))


def secret_in(source: str) -> str | None:
    """What a source's address holds that may not be shown, in words that do not show it."""
    way_out = "give credentials as a connection or through the environment"
    if holds_user(source):
        return f"the address holds a user or a password: {way_out}"
    protocol, rest = split_address(source)
    if protocol not in ("", "file") and re.search("[?#]", rest):
        return f"the address goes on after ? or #, where keys are passed: {way_out}"
    return None
