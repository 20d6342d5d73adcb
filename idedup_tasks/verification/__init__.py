"""Looks at two pictures and says what one is to the other; no verdict without it.

    >>> seen = compare("holiday.jpg", "holiday-small.jpg")
    >>> seen.relation, seen.score
    ('same', 0.9998)
    >>> look(Picture.of_thumbnail(…), Picture.of_thumbnail(…)).relation

`docs/verification.md` tells how a look decides. It is a function of the two contents alone: of one
`verifier_version`, on one family of processors, whatever the order and however many workers.
"""

from idedup_tasks.verification.evidence import Evidence
from idedup_tasks.verification.looks import (
    Laid,
    Look,
    compare,
    lay,
    look,
    open_picture,
    turned_rows,
    verifier_version,
)
from idedup_tasks.verification.picture import Picture
from idedup_tasks.verification.verdict import Relation

__all__ = [
    "Evidence",
    "Laid",
    "Look",
    "Picture",
    "Relation",
    "compare",
    "lay",
    "look",
    "open_picture",
    "turned_rows",
    "verifier_version",
]
