"""Pictures of one layout that are not the same, with honest copies of some.

Chats of one app, receipts of one shop, pages of one book: people keep many of these, and what finds
duplicates by one fingerprint merges them. A family draws pictures of one `Look`, which agree in all
but their content. The same seeds and photographs give the same pictures.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from idedup_tasks.benchmarks.layouts import papers, pictures, screens
from idedup_tasks.benchmarks.layouts.invoice import invoice
from idedup_tasks.benchmarks.layouts.sheet import (
    Colour,
    Look,
    Photographs,
    check_fonts,
    draw_look,
    scene,
)

__all__ = [
    "COPIES",
    "FAMILIES",
    "Colour",
    "Family",
    "Look",
    "Photographs",
    "check_fonts",
    "draw_look",
    "encoded",
    "invoice",
    "scene",
]

#: Draws a picture of a look with content from a generator.
Family = Callable[[Look, np.random.Generator], Image.Image]

FAMILIES: dict[str, Family] = {
    "chat": screens.chat,
    "site": screens.site,
    "code": screens.code,
    "calendar": screens.calendar,
    "weather": screens.weather,
    "receipt": papers.receipt,
    "form": papers.form,
    "page": papers.page,
    "table": papers.table,
    "card": papers.card,
    "ticket": papers.ticket,
    "chart": pictures.chart,
    "slide": pictures.slide,
    "meme": pictures.meme,
    "map": pictures.card_map,
    "product": pictures.product,
}

#: What happens to a picture on its way from one folder to another: format, and whether resized.
COPIES: dict[str, tuple[str, bool]] = {
    "recompressed": ("JPEG", False),
    "converted": ("WEBP", False),
    "resized": ("PNG", True),
    "sent": ("JPEG", True),
}


def encoded(image: Image.Image, copy: str | None, rng: np.random.Generator) -> tuple[bytes, str]:
    """The file of a picture, or of an honest copy of it: its bytes, and the ending of its name.

    The original is lossless. Copies are compressed at quality 40 to 92, resized to 50 to 85 % of
    the sides, seldom to 125 %, or both.
    """
    kind, resize = COPIES[copy] if copy else ("PNG", False)
    if resize:
        factor = 1.25 if rng.random() < 0.15 else rng.uniform(0.5, 0.85)
        size = (round(image.width * factor), round(image.height * factor))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if kind == "PNG":
        image.save(buffer, kind)
    else:
        image.save(buffer, kind, quality=int(rng.integers(40, 93)))
    return buffer.getvalue(), {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}[kind]
