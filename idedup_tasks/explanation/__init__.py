"""What one image is to another, drawn; and why the two were looked at.

>>> found = idedup_tasks.explain("a.jpg", "b.jpg")
>>> found.relation, found.why
('edited', 'Edited: 7 % of what both show differs, mostly top left.')
>>> found.drawing  # Pillow image: both, with what differs marked
>>> found.where.similarity_a  # float32 (96, 96): what of the first image the second shows
>>> found.save("why.html")
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idedup_tasks.explanation import picture
from idedup_tasks.explanation.drawing import TURNS, Pair, draw, turn_of
from idedup_tasks.explanation.finding import Finding, sentence, share
from idedup_tasks.explanation.where import Where, find_where

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "TURNS",
    "Explanation",
    "Finding",
    "Pair",
    "Where",
    "check_drawing",
    "draw",
    "find_where",
    "picture",
    "sentence",
    "share",
    "turn_of",
]

# Most width and height, in pixels, of either picture of a drawing.
_SIDE = 480


@dataclass(frozen=True)
class Explanation(Finding):
    """What was found of two images, and can be looked at."""

    @property
    def drawing(self) -> Image.Image:
        """Both pictures beside each other, as they lie on each other, what differs marked."""
        return self.pair.beside(_SIDE)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as something to look at: a PNG, or an HTML file that needs nothing else.

        Args:
            path: the file, in a folder that is there.

        Raises:
            ValueError: the name ends in neither .html nor .png.
        """
        file = Path(path)
        check_drawing(file)
        if file.suffix.lower() == ".png":
            picture.draw(self).save(file, "PNG")
        else:
            file.write_text(picture.page(self), encoding="utf-8")


def check_drawing(path: Path) -> None:
    """Raises ValueError where an explanation cannot be drawn into a file of that name."""
    if path.suffix.lower() not in (".html", ".png"):
        raise ValueError(f"{path} is neither .html nor .png: name a file of one of these.")
