"""Groups, keepers and evidence, on collections small enough to write down."""

import numpy as np
import pytest

from idedup_tasks.settings import Thresholds
from idedup_tasks.stages.group.clusters import Clusters
from idedup_tasks.stages.group.members import (
    Images,
    Members,
    Qualities,
    choose_keepers,
    evidence,
    group_of,
)
from idedup_tasks.stages.group.prepare import reached_thresholds

# In order of arrival: a; b, a's bytes again; c, a perceptual twin of a; d, c's bytes again;
# e, near a; f, alone; g, blank; h, the same blank bytes.
NAMES = "abcdefgh"
ONTO = np.array([-1, 0, 0, 2, -1, -1, -1, 6])
IMAGES = Images(
    onto=ONTO,
    exact=np.array([False, True, False, True, False, False, False, True]),
    distance=np.array([0, 0, 4, 0, 0, 0, 0, 0], dtype=np.int32),
    hashes=np.array([0, 0, 15, 15, 2**40, 2**50, 7, 7], dtype=np.uint64),
    # Vectors in order of image_id: e, a, f.
    active=np.array([1, -1, -1, -1, 0, 2, -1, -1]),
)
VECTORS = np.array([[0.8, 0.6], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
CLUSTERS = Clusters(
    label=np.array([0, 0, 2]),
    best=np.array([1, 0, -1]),
    best_score=np.array([0.8, 0.8, 0.0]),
    components=1,
    fallbacks=0,
)
GROUP = np.array([0, 0, 0, 0, 0, -1, 6, 6])


def keepers(position_in_first_group: int) -> np.ndarray:
    return np.where(GROUP == 0, position_in_first_group, np.where(GROUP == 6, 6, -1))


def named(positions: np.ndarray) -> str:
    return "".join("-" if p < 0 else NAMES[p] for p in positions)


def test_a_group_is_a_cluster_and_all_that_collapsed_onto_it() -> None:
    assert group_of(IMAGES, CLUSTERS).tolist() == GROUP.tolist()


def test_each_member_says_why_when_the_earliest_is_kept() -> None:
    members = evidence(IMAGES, VECTORS, CLUSTERS, GROUP, keepers(0))
    assert named(members.matched) == "-aaca--g"
    assert members.relation.tolist() == [
        *("", "exact", "perceptual", "exact", "near", "", "", "exact")
    ]
    assert members.score[[1, 2, 3, 4, 7]].tolist() == [1, 1 - 4 / 64, 1, 0.8, 1]
    assert np.isnan(members.score[[0, 5, 6]]).all()
    assert members.score_to_keeper[[1, 2, 3, 4, 7]].tolist() == pytest.approx(
        [1, 1 - 4 / 64, 1 - 4 / 64, 0.8, 1]
    )


def test_links_are_turned_round_on_the_way_from_the_keeper() -> None:
    # d is kept: c is its copy, a is c's twin, and b and e still point at a.
    members = evidence(IMAGES, VECTORS, CLUSTERS, GROUP, keepers(3))
    assert named(members.matched) == "cad-a--g"
    assert members.relation.tolist() == [
        *("perceptual", "exact", "exact", "", "near", "", "", "exact")
    ]
    assert members.score[0] == 1 - 4 / 64
    assert np.isnan(members.score[3])
    assert members.score_to_keeper[2] == 1.0


def test_an_active_image_points_at_its_best_match_when_another_is_kept() -> None:
    members = evidence(IMAGES, VECTORS, CLUSTERS, GROUP, keepers(4))
    assert named(members.matched) == "eaac---g"
    assert members.relation[0] == "near"
    assert members.score_to_keeper[[0, 1, 2, 3]].tolist() == pytest.approx([0.8] * 4)


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (("resolution",), "c"),  # the largest picture
        (("format", "bytes"), "e"),  # the only PNG
        (("bytes",), "b"),
        (("earliest",), "a"),
        (("path", "earliest"), "d"),
        (("resolution", "earliest"), "c"),
    ],
)
def test_keeper_follows_the_policy(policy: tuple[str, ...], kept: str) -> None:
    qualities = Qualities(
        positions=np.array([0, 1, 2, 3, 4, 6, 7]),
        pixels=np.array([10, 10, 30, 20, 10, 1, 1]),
        bytes=np.array([5, 9, 4, 4, 4, 1, 1]),
        format=["JPEG", "JPEG", "JPEG", "JPEG", "PNG", "PNG", "PNG"],
        key=["x/a", "x/b", "x/c", "good/d", "x/e", "x/g", "x/h"],
        image_id=["4", "3", "2", "1", "0", "9", "8"],
    )
    chosen = choose_keepers(GROUP, qualities, policy, ("good/",))  # type: ignore[arg-type]
    assert NAMES[chosen[0]] == kept
    assert set(chosen[GROUP == 0]) == {NAMES.index(kept)}
    assert chosen[5] == -1


def test_the_image_id_breaks_ties() -> None:
    qualities = Qualities(
        positions=np.array([6, 7]),
        pixels=np.array([1, 1]),
        bytes=np.array([1, 1]),
        format=["PNG", "PNG"],
        key=["g", "h"],
        image_id=["9", "8"],
    )
    chosen = choose_keepers(GROUP, qualities, ("resolution", "bytes"), ())
    assert chosen[[6, 7]].tolist() == [7, 7]


def test_the_threshold_is_the_one_that_decided() -> None:
    """A match is one from the candidate threshold on; below it, only the cut holds the group."""
    none = np.full(5, -1)
    relation = np.array(["near", "near", "exact", "perceptual", ""])
    score = np.array([0.8, 0.7999, 1.0, 0.9375, np.nan])
    members = Members(none, none, none, relation, score, score)
    for candidate, cut, decided in ((0.8, 0.75, [0.8, 0.75]), (0.7, 0.75, [0.75, 0.75])):
        thresholds = Thresholds(pair=0.85, candidate=candidate, cut=cut, phash_distance=4)
        reached = reached_thresholds(members, thresholds)
        assert reached[:4].tolist() == [*decided, 1.0, 1 - 4 / 64]
        assert np.isnan(reached[4])
