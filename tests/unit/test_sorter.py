"""The sorter, on pairs whose parts do or do not lie on each other."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from idedup_tasks.descriptors import load_card
from idedup_tasks.descriptors.sorter import Sorter, clues, fit_sorter
from idedup_tasks.lake import Lake
from idedup_tasks.stages.match import candidates

find_pairs = partial(candidates.find_pairs, lake=Lake("/nowhere", "none"))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def eight_bits(vectors: np.ndarray) -> np.ndarray:
    return np.rint(unit(vectors) * 127).astype(np.int8)


def images(seed: int, n: int, noise: float = 0.0, dim: int = 32) -> np.ndarray:
    """(n, 10, dim) int8: the same n images at any noise."""
    clean = np.random.default_rng(seed).normal(size=(n, 10, dim))
    return eight_bits(clean + noise * np.random.default_rng(seed + 1).normal(size=clean.shape))


@pytest.fixture(scope="module")
def sorter() -> Sorter:
    first, second = images(1, 300), images(1, 300, noise=1.0)
    others = clues(first, np.roll(second, 1, axis=0))
    return fit_sorter(clues(first, second), others, np.ones(300), most=3)


def test_copies_pass_and_others_do_not_with_their_parts_turned_too(sorter: Sorter) -> None:
    first, second = images(7, 200), images(7, 200, noise=1.0)
    turned = second.copy()
    turned[:, 1:] = np.rot90(second[:, 1:].reshape(200, 3, 3, -1), axes=(1, 2)).reshape(200, 9, -1)
    assert (sorter.likeness(first, second) >= 0).mean() > 0.95
    assert (sorter.likeness(first, turned) >= 0).mean() > 0.9
    assert (sorter.likeness(first, np.roll(second, 1, axis=0)) >= 0).mean() < 0.05


def test_a_picture_that_lies_in_one_passes_whatever_the_clues_say(sorter: Sorter) -> None:
    first, others = images(11, 100), images(12, 100)
    inner = images(13, 100)[:, :2]
    empty = np.zeros_like(inner)
    alone = sorter.likeness(first, others)
    level = replace(sorter, inner=0.8)

    def likeness(of_first: np.ndarray, of_second: np.ndarray) -> np.ndarray:
        ends = (np.concatenate(e, axis=1) for e in ((first, of_first), (others, of_second)))
        return level.likeness(*ends)

    # Pictures that resemble nothing change nothing.
    assert (likeness(empty, empty) == np.maximum(alone, -16.0)).all()
    assert (likeness(inner, empty) >= 0).mean() < 0.05
    shown = np.stack([empty[:, 0], others[:, 0]], axis=1)  # the other image lies in the first
    assert (likeness(shown, empty) >= 0).all()
    assert (likeness(inner, inner[:, ::-1]) >= 0).all()


def test_the_level_lets_as_many_false_pairs_pass_as_it_was_asked_for() -> None:
    first, second = images(1, 300), images(1, 300, noise=1.0)
    others = clues(first, np.roll(second, 1, axis=0))
    weight = np.full(300, 2.0)
    for most in (0, 10, 100):
        fitted = fit_sorter(clues(first, second), others, weight, most)
        assert most - 4 <= weight[fitted.of_clues(others) >= 0].sum() <= most


def test_it_does_not_matter_which_image_is_first_or_what_else_is_asked(sorter: Sorter) -> None:
    first, second = images(3, 50), images(3, 50, noise=2.0)
    together = sorter.likeness(first, second)
    assert (sorter.likeness(second, first) == together).all()
    alone = [sorter.likeness(first[i : i + 1], second[i : i + 1])[0] for i in range(50)]
    assert alone == together.tolist()


def test_the_shipped_one_takes_clues_of_three_by_three_parts() -> None:
    shipped = Sorter(**load_card().sorter)
    assert shipped.likeness(images(1, 2), images(1, 2)).min() > 0


@pytest.mark.parametrize("per_image", [2, 60])
@pytest.mark.parametrize("dense", [1, candidates.DENSE])
def test_pairs_are_those_that_it_passes_best_first(
    sorter: Sorter, per_image: int, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "DENSE", dense)
    monkeypatch.setattr(candidates, "SIDE", 16)
    both = np.concatenate([images(5, 30), images(5, 30, noise=1.0)])
    vectors = unit(both[:, 0].astype(np.float64)).astype(np.float32)
    n = len(both)
    cosine = find_pairs(vectors, np.ones(n, bool), 0.1, n, regions=both[:, 1:])
    first, second = cosine.first, cosine.second
    rank = candidates.ranks_of(sorter, vectors, both[:, 1:], first, second)
    kept: set[tuple[int, int, int]] = set()
    for i in range(n):
        mine = np.flatnonzero(((first == i) | (second == i)) & (rank >= 0))
        best = sorted(mine, key=lambda k, i=i: (-rank[k], first[k] + second[k] - i))[:per_image]
        kept |= {(int(first[k]), int(second[k]), int(cosine.score[k])) for k in best}
    ask = partial(
        find_pairs, vectors, threshold=0.1, per_image=per_image, regions=both[:, 1:], sorter=sorter
    )
    found = ask(np.ones(n, bool))
    assert set(zip(found.first, found.second, found.score, strict=True)) == kept
    if per_image == n:
        # And the same where most were compared before.
        old = (first < 50) & (second < 50) & (rank >= 0)
        known = first[old], second[old], cosine.score[old]
        again = ask(np.arange(n) >= 50, known=known)
        assert again.score.tolist() == found.score.tolist()
        assert again.degree.tolist() == found.degree.tolist()
