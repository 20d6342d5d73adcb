"""Why a file is not taken in: a stable code for counting and a sentence for a person."""

from __future__ import annotations

from PIL import Image, UnidentifiedImageError

from idedup_tasks.errors import TerminalError
from idedup_tasks.settings import Limits


class Rejected(TerminalError, ValueError):
    """A file that is not taken in.

    code: stable and short, for counting: empty, too-large, too-many-pixels, not-an-image,
    unsupported, corrupt, truncated, out-of-memory, unreadable, vanished, crashed, timed-out.
    reason: a sentence for a person, which never holds credentials.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def check_pixels(width: int, height: int, limits: Limits) -> None:
    if width < 1 or height < 1:
        raise Rejected("corrupt", f"The header states a picture of {width} x {height} pixels.")
    if width * height > limits.max_pixels:
        raise Rejected(
            "too-many-pixels",
            f"The picture has {width} x {height} pixels, more than the limit of "
            f"{limits.max_pixels:,}.",
        )


def too_large(size: int, limits: Limits) -> Rejected:
    return Rejected(
        "too-large", f"The file has {size:,} bytes, more than the limit of {limits.max_bytes:,}."
    )


def rejection(error: BaseException, format_: str) -> Rejected:
    """Put what a decoder raised into one of the stable codes."""
    text = " ".join(str(error).split())[:200].rstrip(".")
    if isinstance(error, Image.DecompressionBombError):
        return Rejected("too-many-pixels", f"The {format_} file is a decompression bomb: {text}.")
    if isinstance(error, MemoryError):
        return Rejected("out-of-memory", f"Decoding the {format_} file takes too much memory.")
    if isinstance(error, UnidentifiedImageError):
        return Rejected("corrupt", f"The file begins like {format_} but its header cannot be read.")
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return Rejected("truncated", f"The {format_} file ends before its picture does: {text}.")
    return Rejected("corrupt", f"The {format_} file is damaged: {text or type(error).__name__}.")
