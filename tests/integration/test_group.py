"""The group stage on drawn pictures: what it writes, and what its gate finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import Bench, Picture, bench, doubles, place, walk

from idedup_tasks.lake import Candidate
from idedup_tasks.settings import STAGES
from idedup_tasks.stages.group.facts import facts
from idedup_tasks.stages.group.prepare import prepare, regroup

BEFORE = STAGES[: STAGES.index("group")]
# Family and degrees: within one, up to 10 apart are the same, 20 a crop, 30 edited, 60 alike.
DRAWN = {
    "a.png": (1, 0),
    "b.png": (1, 8),
    "c.png": (1, 25),
    "d.png": (2, 0),
    "e.png": (3, 40),
    "f.png": (3, 15),
}


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    doubles(monkeypatch.setattr)
    made = bench(tmp_path / "home", tmp_path / "source")
    for i, (key, (family, degrees)) in enumerate(DRAWN.items()):
        content = Picture((i + 1) * 0x123456789ABCDEF % 2**64, family, degrees).content
        place(made.source, key, content, i % 2, i)
        if key in ("a.png", "d.png"):
            place(made.source, f"copy-of-{key}", content, 3, i)
    walk(made.run(), BEFORE)
    return made


def verdicts(made: Bench) -> dict[str, tuple[str, str | None, str | None, str | None]]:
    """By key: verdict, relation, keeper and reason."""
    lake = made.run().lake
    images = lake.snapshot("images").read(["image_id", "key"]).to_pylist()
    key = {row["image_id"]: row["key"] for row in images}
    return {
        key[row["image_id"]]: (
            row["verdict"],
            row["relation"],
            key.get(row["keeper_id"]),
            row["why"],
        )
        for row in lake.snapshot("groups").read().to_pylist()
    }


def test_each_member_says_what_it_is_to_its_keeper(drawn: Bench) -> None:
    counts = walk(drawn.run(), ["group"])["group"]["counts"]
    found = verdicts(drawn)
    # c is a part of b, 17 degrees away, and no more than edited beside a.
    assert found["b.png"][:3] == ("keeper", None, "b.png")
    assert found["a.png"][:3] == ("duplicate", "same", "b.png")
    assert found["copy-of-a.png"] == ("duplicate", "same", "b.png", "the same picture")
    assert found["c.png"][1:] == ("crop", "b.png", "a crop: shows 50 % of the keeper")
    assert found["d.png"] == ("keeper", None, "d.png", "all have the same bytes")
    assert found["copy-of-d.png"] == ("duplicate", "exact", "d.png", "the same bytes")
    verdict, relation, keeper, why = found["f.png"]
    assert (verdict, relation, keeper) == ("variant", "edited", "e.png")
    assert why == "this or the keeper is edited: 10 % differs, top left"
    assert {k: counts[k] for k in ("unique", "keepers", "exact", "same", "crop", "edited")} == {
        **{"unique": 0, "keepers": 3, "exact": 1, "same": 2, "crop": 1, "edited": 1}
    }
    assert counts["looks_asked"] == 0  # of small components match has looked at all pairs


def test_the_gate_finds_a_member_that_nobody_looked_at(
    drawn: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = drawn.run()
    candidate: Candidate = prepare(run)
    assert facts(run, candidate)["members_never_looked_at"] == 0
    # By another verifier nothing was looked at, and equal bytes need none.
    monkeypatch.setattr("idedup_tasks.stages.group.facts.verifier_version", lambda: "another")
    assert facts(run, candidate)["members_never_looked_at"] == 4


def test_grouping_again_changes_nothing(drawn: Bench) -> None:
    walk(drawn.run(), ["group"])
    again = prepare(drawn.run())
    assert not again.changes[0].add
    assert not again.changes[0].remove


def test_another_policy_is_tried_without_writing(drawn: Bench) -> None:
    walk(drawn.run(), ["group"])
    version = drawn.run().lake.snapshot("groups").version
    rows = regroup(drawn.run(), None, ("earliest",)).to_pylist()
    groups = {row["group_id"]: row["keeper_id"] for row in rows if row["group_id"]}
    assert all(group == keeper for group, keeper in groups.items())
    apart = regroup(drawn.run(), 1.0).to_pylist()
    assert sum(row["group_id"] is not None for row in apart) == 4  # copies by their bytes
    assert drawn.run().lake.snapshot("groups").version == version
