"""How pages are made of templates: everything is escaped, and figures read alike on all of them."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
from jinja2.bccache import Bucket, FileSystemBytecodeCache
from markupsafe import Markup
from PIL import Image

from idedup_tasks.pages.units import human_bytes, human_seconds


class _Compiled(FileSystemBytecodeCache):
    """Templates compiled, beside the compiled modules of this package and under the same terms:
    as far as they can be written there, and checked against what they were made of."""

    def __init__(self) -> None:
        folder = Path(__file__).with_name("__pycache__")
        super().__init__(f"{folder}", f"jinja2-{version('jinja2')}-%s.cache")

    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if not sys.dont_write_bytecode:
            with suppress(OSError):
                super().dump_bytecode(bucket)


def templates(folder: Path, /, **filters: Callable[..., Any]) -> jinja2.Environment:
    """The templates of a folder, which may include the style sheet and the charts of all pages.

    Args:
        filters: the page's own, beside those of all pages or in place of them.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        bytecode_cache=_Compiled(),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        size=human_bytes,
        duration=human_seconds,
        count=lambda value: "–" if value is None else f"{value:,}",
        n=lambda value: f"{value:.1f}".removesuffix(".0"),
        visible=visible,
        breaking=breaking,
    )
    environment.filters.update(filters)
    return environment


def visible(text: str) -> str:
    """Text without characters that hide or reorder others: controls and directional overrides."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", "\ufffd", text
    )


def breaking(path: str) -> Markup:
    """A path, `visible`, that a line may end in behind each slash."""
    return Markup("/<wbr>").join(visible(path).split("/"))


def data_uri(picture: Image.Image, quality: int) -> str:
    """A picture inside a page: the address that is a JPEG of it, of a quality from 1 to 95."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
