"""Which picture of a group is kept, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from test_grouping import POLICY, facts, row, table

from idedup_tasks.benchmarks.keepers import ORIGINAL, WAYS, edited, group, look_at, proposed
from idedup_tasks.settings import Grouping
from idedup_tasks.stages.group.keepers import Facts, keepers, percent, rank, times_of
from idedup_tasks.stages.group.seen import Seen
from idedup_tasks.stages.group.settling import sentences, settle

Looks = dict[tuple[int, int], dict[str, object]]


def kept(
    n: int, looks: Looks, policy: tuple[str, ...] = POLICY, **given: object
) -> tuple[int, list[str]]:
    """The keeper of one group of all, and what is said of each."""
    ends = np.array(sorted(looks)).T
    seen = Seen(n, *ends, table([looks[pair] for pair in sorted(looks)]))
    known: Facts = facts(n, **given)
    found = settle(seen, known, policy, Grouping.model_validate({}))  # type: ignore[arg-type]
    assert len(set(found.keeper.tolist())) == 1
    return int(found.keeper[0]), sentences(found, seen, known, policy)  # type: ignore[arg-type]


def all_same(n: int, **other: dict[str, object]) -> Looks:
    looks: Looks = {(a, b): row("same") for a in range(n) for b in range(a + 1, n)}
    return looks | {(int(k[1]), int(k[2])): v for k, v in other.items()}


def test_the_whole_is_kept_and_not_its_crop() -> None:
    keeper, why = kept(2, {(0, 1): row("crop", 0.9, 1.0, 0.62)}, bytes=np.array([9, 1]))
    assert keeper == 1
    assert why == ["a crop: shows 62 % of the keeper", "whole picture"]


def test_the_inner_picture_is_kept_and_not_the_screenshot_of_it() -> None:
    looks = {(0, 1): row("inside", 0.9, 0.4, 1.0)}
    keeper, why = kept(2, looks, width=np.array([2000, 1000]), detail=np.array([2.0, 0.5]))
    assert keeper == 1
    assert why[0] == "a screenshot or frame around it: the keeper is 40 % of it"


def test_what_is_a_crop_of_one_was_not_framed_by_its_twin() -> None:
    """0 and 1 are twins; 2 is a crop of one, and seems to be framed by the other."""
    keeper, _ = kept(
        3, all_same(3, p02=row("inside", 0.9, 0.6, 1.0), p12=row("crop", 0.9, 0.6, 1.0))
    )
    assert keeper == 0


def test_a_crop_that_was_enlarged_is_not_kept() -> None:
    """It has more pixels than the whole has there, and no more detail than those could show."""
    inside = row("inside", 0.9, 0.5, 1.0)
    keeper, _ = kept(
        3,
        all_same(3, p02=inside, p12=inside),
        width=np.array([1000, 1000, 2000]),
        detail=np.array([0.5, 0.5, 0.3]),
    )
    assert keeper == 0


def test_of_three_the_one_that_disagrees_with_most_is_edited() -> None:
    keeper, why = kept(3, all_same(3, p01=row("edited"), p02=row("edited")))
    assert keeper == 1
    assert why == [
        "edited: 10 % differs, top left",
        "whole picture; not edited; the earliest",
        "the same picture",
    ]


def test_of_two_nobody_knows_which_was_edited() -> None:
    keeper, why = kept(2, {(0, 1): row("edited")})
    assert keeper == 0
    assert "it or the other is edited" in why[0]
    # Where it is in the keeper, the look says; the member is asked.
    assert why[1].startswith("this or the keeper is edited: 10 % differs")


@pytest.mark.parametrize(
    ("linear", "words"),
    [
        ([-1, 0, 1, 0, 1, 0, 0, 0, 1], "mirrored"),
        # What is left in the member is above in the keeper.
        ([0, -1, 1, 1, 0, 0, 0, 0, 1], "turned by 90° to the left"),
        ([0, 1, 0, -1, 0, 1, 0, 0, 1], "turned by 90° to the right"),
    ],
)
def test_a_member_says_how_it_is_turned(linear: list[float], words: str) -> None:
    _, why = kept(2, {(0, 1): {**row("same"), "transform": linear}}, bytes=np.array([1, 9]))
    [said] = [sentence for sentence in why if sentence.startswith("the same picture")]
    assert said == f"the same picture, {words}"


def test_more_pixels_without_more_detail_are_no_reason() -> None:
    """An enlarged copy has its original's detail, and what was shrunk has less."""
    enlarged = {"width": np.array([2000, 1000]), "height": np.array([1600, 800])}
    keeper, _ = kept(2, all_same(2), **enlarged, detail=np.array([0.48, 0.5]))
    assert keeper == 1
    keeper, why = kept(2, all_same(2), **enlarged, detail=np.array([1.05, 0.5]))
    assert keeper == 0
    assert why == ["whole picture; 2.1 times the detail", "the same picture, 0.5 times the detail"]


def test_noise_is_no_detail_where_most_say_so() -> None:
    """The last seems to have thrice the detail of four others with as many pixels."""
    keeper, _ = kept(5, all_same(5), detail=np.array([0.2, 0.2, 0.2, 0.2, 0.6]))
    assert keeper == 0
    blurred = np.array([0.2, 0.6, 0.6, 0.6, 0.6])
    assert kept(5, all_same(5), detail=blurred)[0] == 1


@pytest.mark.parametrize(
    ("formats", "best"),
    [
        (("JPEG", "RAW"), 1),
        (("JPEG", "HEIF"), 1),
        (("PNG", "HEIF"), 1),
        (("WEBP", "JPEG"), 1),
    ],
)
def test_what_a_camera_wrote_goes_before_what_was_made_of_it(
    formats: tuple[str, ...], best: int
) -> None:
    keeper, why = kept(2, all_same(2), format=np.array(formats), detail=np.array([0.5, 0.47]))
    assert keeper == best
    assert f"{formats[best]}, not {formats[1 - best]}" in why[best]


def test_a_lossless_file_of_what_was_lossy_is_no_better() -> None:
    """Equal pixels have equal detail; a JPEG of a PNG has another in its last digits."""
    formats = np.array(["PNG", "JPEG"])
    assert kept(2, all_same(2), format=formats, detail=np.array([0.5, 0.5]))[0] == 1
    assert kept(2, all_same(2), format=formats, detail=np.array([0.5, 0.49]))[0] == 0
    fields = np.array([0, 24])
    described = {"format": formats, "detail": np.array([0.5, 0.49]), "exif_fields": fields}
    assert kept(2, all_same(2), **described)[0] == 1


def test_a_lossless_file_full_of_detail_is_told_by_its_colours() -> None:
    """Its detail is all of its pixels, as that of any copy is."""
    full = {
        "format": np.array(["PNG", "JPEG"]),
        "width": np.array([176, 176]),
        "height": np.array([264, 264]),
        "detail": np.full(2, 176 * 264 / 1e6),
    }
    assert kept(2, all_same(2), **full, colour=np.array([23.25, 23.25]))[0] == 1
    assert kept(2, all_same(2), **full, colour=np.array([23.25, 23.26]))[0] == 0
    assert kept(2, all_same(2), **full, colour=np.zeros(2))[0] == 0


def test_a_lossless_file_whose_pixels_were_a_jpegs_is_no_better_than_that() -> None:
    """Its own JPEG has as many pixels; one of another size is not what it was made from."""
    made = {"format": np.array(["PNG", "JPEG"]), "was_jpeg": np.array([True, False])}
    keeper, why = kept(2, all_same(2), **made)
    assert keeper == 1
    assert why[1] == "whole picture; JPEG, not PNG"
    assert kept(2, all_same(2), **made, width=np.array([1000, 990]))[0] == 0
    made["earliest"] = np.array([1, 0])
    assert kept(2, all_same(2), **made, width=np.array([1000, 990]))[0] == 1


def test_a_coarse_jpeg_is_not_what_a_lossless_file_was_made_from() -> None:
    made = {"format": np.array(["PNG", "JPEG"]), "was_jpeg": np.array([True, False])}
    later = {"earliest": np.array([1, 0]), "colour": np.array([1, 1.01])}
    keeper, why = kept(2, all_same(2), **made, **later, coarseness=np.array([0, 46.0]))
    assert (keeper, why[0]) == (0, "whole picture; PNG, not JPEG")
    assert kept(2, all_same(2), **made, coarseness=np.array([0, 29.0]))[0] == 1


@pytest.mark.parametrize("measure", ["colour", "detail"])
def test_who_agrees_best_agrees_in_what_a_look_does_not_compare(measure: str) -> None:
    """The first came first, and has stronger colours, or noise, than all the others."""
    own = {measure: np.array([1.3, 1, 1, 1]), "earliest": np.array([0, 1, 2, 3])}
    assert kept(4, all_same(4), **own)[0] == 1
    # Of two nobody knows.
    assert kept(2, all_same(2), **{name: values[:2] for name, values in own.items()})[0] == 0


def test_what_has_lost_its_colours_is_edited() -> None:
    assert kept(3, all_same(3), colour=np.array([0.0, 9.0, 9.0]))[0] == 1
    assert kept(3, all_same(3), colour=np.array([np.nan, 9.0, 9.0]))[0] == 0


def test_what_lies_as_most_do_and_agrees_best_is_kept() -> None:
    mirrored = row("same") | {"transform": [-1, 0, 1, 0, 1, 0, 0, 0, 1]}
    assert kept(3, all_same(3, p01=mirrored, p02=mirrored))[0] == 1
    worse = row("same", 0.88)
    keeper, why = kept(4, all_same(4, p01=worse, p02=worse, p03=worse, p23=worse))
    assert keeper == 1
    assert why[1] == "whole picture; agrees best with the others"


@pytest.mark.parametrize(
    ("policy", "best"),
    [
        (("resolution",), 2),
        (("format", "bytes"), 4),
        (("bytes",), 1),
        (("earliest",), 0),
        (("path", "earliest"), 3),
        (("exif", "resolution"), 3),
    ],
)
def test_a_policy_may_name_what_it_likes(policy: tuple[str, ...], best: int) -> None:
    keeper, _ = kept(
        5,
        all_same(5),
        policy,
        width=np.array([10, 10, 30, 20, 10]),
        bytes=np.array([5, 9, 4, 4, 4]),
        exif_fields=np.array([0, 0, 0, 1, 0]),
        format=np.array(["JPEG", "JPEG", "JPEG", "JPEG", "PNG"]),
        detail=np.array([0.5, 0.5, 0.5, 0.5, 0.49]),
        path=np.array([1, 1, 1, 0, 1]),
    )
    assert keeper == best


def test_the_image_id_breaks_ties() -> None:
    keeper, why = kept(2, all_same(2), ("resolution",), image_id=np.array(["9", "8"]))
    assert keeper == 1
    assert why[1] == "the first by id"


def test_groups_are_ranked_apart() -> None:
    known = facts(5, width=np.array([9, 5, 1, 2, 3]))
    nothing = np.empty(0, np.int64)
    label = np.array([0, 0, -1, 3, 3])
    ranks = rank(label, Seen(5, nothing, nothing, table([])), known, ("resolution",))
    assert keepers(label, ranks).tolist() == [0, 0, -1, 4, 4]


def test_numbers_are_rounded_for_people() -> None:
    assert [percent(x) for x in (0.0, 0.003, 0.07, 0.994, 1.0)] == [
        *("0 %", "less than 1 %", "7 %", "99 %", "100 %")
    ]
    assert [times_of(x) for x in (0.04, 0.42, 2.14, 17.3)] == ["0.04", "0.4", "2.1", "17"]


def landscape(seed: int) -> Image.Image:
    """Structure of all sizes and no straight edges, which would look like seams: 320 x 240."""
    random = np.random.default_rng(seed)
    picture = np.zeros((240, 320, 3))
    for side in (3, 6, 12, 24, 48, 96):
        coarse = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        grown = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
        picture += (np.asarray(grown) - 128.0) * 1.2 / side**0.45
    return Image.fromarray((picture + 128).clip(0, 255).astype(np.uint8))


def test_photographs_are_kept_and_not_their_edits() -> None:
    """The verifier itself, on pictures that are drawn and edited in the benchmark's ways."""
    photos = [landscape(seed) for seed in range(4)]
    images = edited(photos[:2], photos[2:])
    assert set(images.kind) == {ORIGINAL, *WAYS}
    first, second = proposed(images.photo, 1)
    found = group(
        images, first, second, look_at(images, first, second), Grouping.model_validate({}), POLICY
    )
    members = np.flatnonzero(found.keeper >= 0)
    assert len(members) > 0.9 * len(images.photo)
    assert (images.photo[members] == images.photo[found.keeper[members]]).all()
    assert [images.kind[keeper] for keeper in np.unique(found.keeper[members])] == [ORIGINAL] * 2
