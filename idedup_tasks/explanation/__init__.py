"""Why two images are, or are not, duplicates: where they match, and what decided.

>>> found = idedup_tasks.explain("a.jpg", "b.jpg")
>>> found.verdict
'Near duplicates: the cosine of 0.8312 reaches the pair threshold of 0.5151.'
>>> found.where.similarity_a  # float32 (96, 96): what of the first image the second shows
>>> found.save("why.html")
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from idedup_tasks.explanation import picture
from idedup_tasks.explanation.finding import TURNS, Finding, decide
from idedup_tasks.explanation.where import Point, Where, best_turn, cut, find_where

__all__ = [
    "TURNS",
    "Explanation",
    "Finding",
    "Point",
    "Where",
    "best_turn",
    "check_drawing",
    "cut",
    "decide",
    "find_where",
    "picture",
]


@dataclass(frozen=True)
class Explanation(Finding):
    """What was found of two images, and can be looked at."""

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
