"""Groups of what was seen: every member was looked at with its keeper, whatever came first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idedup_tasks.lake import LOOK
from idedup_tasks.settings import RELATIONS, Collection, Grouping
from idedup_tasks.stages.group.cutting import ROUNDS
from idedup_tasks.stages.group.keepers import Facts
from idedup_tasks.stages.group.seen import Seen
from idedup_tasks.stages.group.settling import CHANGES, PASSES, Settled, settle

POLICY = Collection.model_validate({"name": "c", "source": "/"}).keeper
Say = Callable[[int, int], str]  # what one content is to another


def row(relation: str, score: float | None = None, a: float = 1, b: float = 1) -> dict[str, object]:
    """A look; the part of a whole lies in its upper left corner."""
    by_word = 0.9 if relation in RELATIONS else 0.2
    side = b**0.5 if b < 1 else 1 / a**0.5
    return {
        "relation": relation,
        "score": by_word if score is None else score,
        "overlap_a": a,
        "overlap_b": b,
        "changed": 0.1 if relation == "edited" else 0.0,
        "place": "top left" if relation == "edited" else None,
        "blur": 0.0,
        "transform": [side, 0, 0, 0, side, 0, 0, 0, 1],
        "way": "frames",
    }


def table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, pa.schema(LOOK))


def facts(n: int, **given: object) -> Facts:
    plain = {
        "width": np.full(n, 1000),
        "height": np.full(n, 800),
        "detail": np.full(n, 0.5),
        "colour": np.ones(n),
        "was_jpeg": np.zeros(n, bool),
        "coarseness": np.zeros(n),
        "bytes": np.full(n, 100_000),
        "exif_fields": np.zeros(n, np.int64),
        "format": np.full(n, "JPEG"),
        "path": np.zeros(n, np.int64),
        "earliest": np.arange(n),
        "image_id": np.array([f"{i:032x}" for i in range(n)]),
    }
    return Facts(**(plain | given))  # type: ignore[arg-type]


class Double:
    """Says of pairs what a function says, and remembers how many it was asked for."""

    def __init__(self, say: Say) -> None:
        self.say, self.asked = say, 0

    def __call__(self, first: np.ndarray, second: np.ndarray) -> pa.Table:
        self.asked += len(first)
        return table([row(self.say(int(a), int(b))) for a, b in zip(first, second, strict=True)])


def grouped(
    n: int, pairs: list[tuple[int, int]], say: Say, known: Facts | None = None, limit: int = 64
) -> tuple[Settled, Seen, Double]:
    double = Double(say)
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    seen = Seen(n, ends[:, 0], ends[:, 1], Double(say)(ends[:, 0], ends[:, 1]), double)
    grouping = Grouping.model_validate({"linkage_limit": limit})
    return settle(seen, known or facts(n), POLICY, grouping), seen, double


def always(word: str) -> Say:
    return lambda a, b: word


def test_a_chain_of_edits_puts_no_end_under_the_other() -> None:
    """A-B and B-C are edits, and A-C nobody would call one: C may not be said to be A's."""

    def say(a: int, b: int) -> str:
        return "edited" if abs(a - b) == 1 else "alike"

    found, seen, _ = grouped(3, [(0, 1), (1, 2), (0, 2)], say)
    for member in np.flatnonzero(found.look >= 0):
        assert abs(member - found.keeper[member]) == 1
        assert seen.linked(found.look[[member]]).all()


def test_what_was_not_looked_at_is_looked_at_before_it_is_put_under_a_keeper() -> None:
    found, _, double = grouped(3, [(0, 1), (1, 2)], always("same"))
    assert double.asked == 1
    assert len(set(found.keeper.tolist())) == 1


def test_two_parts_of_one_whole_need_nothing_in_common() -> None:
    """Four corners of one picture differ from each other, and all are its crops."""
    corners = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]
    first, second, rows = [], [], []
    for a in range(5):
        for b in range(a + 1, 5):
            look = row("different", 0.0)
            if a == 0:
                look = row("crop", 0.9, 0.25, 1.0)
                x, y = corners[b - 1]  # from the whole to the corner
                look["transform"] = [2, 0, -2 * x, 0, 2, -2 * y, 0, 0, 1]
            first.append(a), second.append(b), rows.append(look)
    ends = np.array([first, second])
    found = settle(Seen(5, *ends, table(rows)), facts(5), POLICY, Grouping.model_validate({}))
    assert found.keeper.tolist() == [0] * 5
    # In one place they would have to agree.
    for look in rows[:4]:
        look["transform"] = [2, 0, 0, 0, 2, 0, 0, 0, 1]
    found = settle(Seen(5, *ends, table(rows)), facts(5), POLICY, Grouping.model_validate({}))
    assert (found.keeper == 0).sum() < 5


def test_who_is_not_tied_to_the_keeper_leaves_and_is_grouped_again() -> None:
    """The linkage joins all five, and the last two are not tied to the first, which is kept."""
    pairs = [(a, b) for a in range(5) for b in range(a + 1, 5)]
    apart = {(0, 3), (0, 4)}
    rows = [row("alike", 0.49) if pair in apart else row("same") for pair in pairs]
    ends = np.array(pairs).T
    found = settle(
        Seen(5, *ends, table(rows)), facts(5), ("earliest",), Grouping.model_validate({})
    )
    assert found.keeper.tolist() == [0, 0, 0, 3, 3]
    assert found.left == 2


@st.composite
def collections(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], dict[tuple[int, int], str]]:
    n = draw(st.integers(2, 14))
    words = st.sampled_from(["same", "same", "crop", "inside", "edited", "alike", "different"])
    every = [(a, b) for a in range(n) for b in range(a + 1, n)]
    said = {pair: draw(words) for pair in every}
    pairs = [pair for pair in every if draw(st.booleans())]
    return n, pairs, said


@settings(deadline=None, max_examples=150)
@given(collections(), st.randoms(use_true_random=False), st.sampled_from([2, 5, 64]))
def test_everybody_was_looked_at_with_their_keeper_in_any_order(
    given: tuple[int, list[tuple[int, int]], dict[tuple[int, int], str]],
    random: object,
    limit: int,
) -> None:
    n, pairs, said = given

    def say(a: int, b: int) -> str:
        return said[min(a, b), max(a, b)]

    found, seen, _ = grouped(n, pairs, say, limit=limit)
    for content, keeper in enumerate(found.keeper.tolist()):
        if keeper in (-1, content):
            assert found.look[content] == -1
            continue
        assert found.keeper[keeper] == keeper
        assert say(content, keeper) in RELATIONS
        at = found.look[content]
        assert {int(seen.first[at]), int(seen.second[at])} == {content, keeper}
    kept = [k for k in found.keeper.tolist() if k >= 0]
    assert all(kept.count(k) > 1 for k in kept)

    turned = [pair[::-1] if random.random() < 0.5 else pair for pair in pairs]  # type: ignore[attr-defined]
    random.shuffle(turned)  # type: ignore[attr-defined]
    again, other, _ = grouped(n, turned, say, limit=limit)
    assert again.keeper.tolist() == found.keeper.tolist()
    assert other.first[again.look[again.look >= 0]].tolist() == (
        seen.first[found.look[found.look >= 0]].tolist()
    )


@pytest.mark.parametrize(
    ("say", "largest"),
    [
        (always("same"), 3000),  # all copies of one
        (lambda a, b: "edited" if abs(a - b) <= 6 else "alike", 13),  # nothing but a chain
        (lambda a, b: "same" if (a * 7919 + b * 7919) % 3 else "different", None),  # no order in it
    ],
)
def test_a_large_component_costs_a_few_looks_a_content(say: Say, largest: int | None) -> None:
    """Each of thousands is tied to a few by what match has looked at."""
    n, rng = 3000, np.random.default_rng(0)
    near = {(i, i + d) for i in range(n) for d in (1, 2, 5) if i + d < n}
    far = {(int(a), int(b)) for a, b in np.sort(rng.integers(0, n, (2 * n, 2))) if a != b}
    pairs = [pair for pair in sorted(near | far) if say(*pair) in RELATIONS]
    found, seen, double = grouped(n, pairs, say)
    assert found.large == 1
    assert double.asked <= n * PASSES * (2 * ROUNDS + CHANGES + 1)
    assert double.asked <= 5 * n
    sizes = np.bincount(found.keeper[found.keeper >= 0])
    assert largest is None or sizes.max() <= largest
    if largest == n:
        assert sizes.max() == n
    members = np.flatnonzero(found.look >= 0)
    assert seen.linked(found.look[members]).all()


def test_a_look_is_said_from_the_side_of_either() -> None:
    """Pairs are stored in any order, and turned round for whoever asks."""
    seen = Seen(3, np.array([2, 0]), np.array([1, 1]), table([row("crop", 0.9, 1.0, 0.25)] * 2))
    assert seen.first.tolist() == [0, 1]
    assert seen.overlap_first.tolist() == [1.0, 0.25]
    rows = seen.rows(np.array([1, 2]), np.array([2, 1]))
    assert rows.tolist() == [1, 1]
    own, other = seen.said(rows, np.array([1, 2])).to_pylist()
    assert (own["overlap_a"], own["overlap_b"]) == (0.25, 1.0)
    assert (other["overlap_a"], other["overlap_b"]) == (1.0, 0.25)
    assert np.allclose(
        np.reshape(own["transform"], (3, 3)) @ np.reshape(other["transform"], (3, 3)), np.eye(3)
    )
    assert seen.rows(np.array([0]), np.array([2])).tolist() == [-1]
    with pytest.raises(LookupError, match="1 pairs were not looked at"):
        seen.look(np.array([0]), np.array([2]))
