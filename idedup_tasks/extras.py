"""What only an extra of the package installs; whatever needs it and lacks it says so here."""

import importlib

from idedup_tasks.errors import TerminalError

_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "distributed": "dask",
    "psycopg": "postgres",
    "s3fs": "s3",
    "gcsfs": "gcs",
    "adlfs": "azure",
}


class ExtraMissing(TerminalError, ImportError):
    """A library that an extra installs cannot be imported: one sentence with the command."""


def require(module: str, what: str, extra: str | None = None) -> None:
    """Import a module of an extra, or say what needs it and how to install it.

    Args:
        module: as it is imported.
        what: what cannot be done without it, the beginning of the sentence.
        extra: where another than the module's usual one is to be named.

    Raises:
        ExtraMissing: it cannot be imported.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        name = "PyTorch" if module.startswith("torch") else module
        extra = extra or _EXTRAS.get(module)
        wanted = f"'idedup[{extra}]'" if extra else module
        reason = " ".join(str(error).split())
        raise ExtraMissing(
            f"{what} needs {name}, which cannot be imported here ({reason}): pip install {wanted}"
        ) from error


def require_protocol(address: str) -> None:
    """`require` what fsspec needs for the protocol of a path or URL.

    Raises:
        ExtraMissing: it cannot be imported.
    """
    from fsspec.registry import known_implementations

    scheme, separator, _ = address.partition("://")
    known = known_implementations.get(scheme.lower())
    if separator and known is not None:
        require(known["class"].partition(".")[0], f"{scheme}://")
