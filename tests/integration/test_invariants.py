"""Whatever the order of intervals, reruns and backfills: the state of one run over everything.

Histories are made up by hypothesis: files arrive late, change and vanish between runs over windows,
over everything, or of single stages. Afterwards the intervals that files came to, changed in or
left have rerun, in any order, and what is then in lake and warehouse must equal, row for row, what
one run over the same folder leaves in an empty lake and warehouse.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import builders
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from builders import Bench, Picture, current_state, differences, walk
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from idedup_tasks import verification
from idedup_tasks.lake import LOOK
from idedup_tasks.settings import DUPLICATES, RELATIONS

DAYS = 3
# What histories must have led to, over all of a test's examples; asserted at its end.
CASES = {
    *("late", "changed", "moved to another day", "vanished", "stage alone"),
    *("chain", "equal scores", "equal arrivals", "reactivated", "group split", "rejected"),
    *(relation for relation in RELATIONS if relation != "inside"),  # which no double says
}


@dataclass(frozen=True)
class File:
    """A file that comes to be in the source: what is in it, and when it says it came."""

    key: str
    content: bytes
    day: int
    minute: int


@dataclass
class History:
    """Files by the step at which they are written (0: before the first run), and steps."""

    files: list[tuple[int, File]]
    steps: list[tuple[Any, ...]]
    order: random.Random = field(repr=False)


_FLAT = b"P5 128 64 255 " + bytes([90]) * (128 * 64)
_OTHER_FLAT = b"P5 128 64 255 " + bytes([200]) * (128 * 64)


def _motif(number: int, kind: str, base: int) -> list[bytes]:
    """A few pictures that have something to do with each other, and nothing with other motifs."""
    family, other = 2 * number, 2 * number + 1

    def hashed(i: int) -> int:  # far from each other
        return (base ^ (0x9E3779B97F4A7C15 * (i + 1))) % 2**64

    if kind == "chain":  # A~B~C~D, each an edit of the next, and A and C are only alike
        return [Picture(hashed(i), family, 30 * i).content for i in range(4)]
    if kind == "tie":  # B is as near to A, whose part it is, as to C
        return [Picture(hashed(i), family, 20 * i).content for i in range(3)]
    if kind == "steps":
        # Hashes in steps of 3 bits of 4 allowed: which are active depends on the earliest. The last
        # is no twin of any, and a part of the third and fourth.
        near = [base, base ^ 0b111, base ^ 0b111111, base ^ 0b111111000]
        steps = [Picture(h, family, 10 * i).content for i, h in enumerate(near)]
        return [*steps, Picture(hashed(1), family, 45).content]
    if kind == "lookalikes":  # one hash, and when looked at nothing in common
        return [Picture(base, subject).content for subject in (family, other)]
    if kind == "copies":
        same = Picture(base, family).content
        return [same, same, Picture(base, family, nonce=1).content, same]
    if kind == "flat":
        return [_FLAT, _FLAT, _OTHER_FLAT]
    return [b"this is no image", Picture(base, family).content]


@st.composite
def histories(draw: st.DrawFn) -> History:
    kinds = st.sampled_from(("chain", "tie", "steps", "lookalikes", "copies", "flat", "broken"))
    chosen = draw(st.lists(kinds, min_size=3, max_size=5))
    order = random.Random(draw(st.integers(0, 2**32)))
    count = draw(st.integers(2, 6))
    files = []
    for number, kind in enumerate(chosen):
        for i, content in enumerate(_motif(number, kind, order.getrandbits(64))):
            late = order.choice((0, 0, 0, order.randrange(count)))
            # Not named in order of arrival, and few moments: ties are decided by the key.
            key = f"{order.choice('ab')}/{order.randrange(100):02}-{number}-{i}.bin"
            files.append((late, File(key, content, order.randrange(DAYS), order.randrange(3))))
    day = st.integers(0, DAYS - 1)
    step = st.one_of(
        st.tuples(st.just("run"), day),
        st.tuples(st.just("run"), st.none()),
        st.tuples(st.just("stage"), st.sampled_from(builders.STAGES), day),
        st.tuples(st.just("change"), st.integers(0, 99), st.integers(0, 99)),
        st.tuples(st.just("move"), st.integers(0, 99), day),
        st.tuples(st.just("vanish"), st.integers(0, 99)),
    )
    first = ("run", draw(day))
    return History(files, [first, *draw(st.lists(step, min_size=count, max_size=count))], order)


class World:
    """A source folder that changes, and the days that must rerun because of it."""

    def __init__(self, bench: Bench, seen: Counter[str]) -> None:
        self.bench, self.seen = bench, seen
        self.present: list[File] = []
        self.due = set(range(DAYS))

    def write(self, file: File) -> None:
        builders.place(self.bench.source, file.key, file.content, file.day, file.minute)
        self.present = [f for f in self.present if f.key != file.key] + [file]
        self.due.add(file.day)

    def remove(self, file: File) -> None:
        (self.bench.source / file.key).unlink()
        self.present.remove(file)
        self.due.add(file.day)

    def run(self, day: int | None) -> None:
        walk(self.bench.run(day, allow_removals=True))
        self.due -= set(range(DAYS)) if day is None else {day}

    def note(self, *cases: str) -> None:
        for case in cases:
            self.seen[case] += 1
            event(case)


def _live(world: World, history: History) -> None:
    """Go through a history; afterwards the days that are due have run."""
    before: dict[str, tuple[str, str, str | None]] = {}
    for number, step in enumerate(history.steps):
        for when, file in history.files:
            if when == number:
                world.write(file)
                if number:
                    world.note("late")
        what, *arguments = step
        if what in ("change", "move", "vanish") and world.present:
            file = world.present[arguments[0] % len(world.present)]
            if what == "change":
                like = world.present[arguments[1] % len(world.present)]
                world.write(File(file.key, like.content, file.day, file.minute + 3))
                world.note("changed")
            elif what == "move":
                world.due.add(file.day)
                world.write(File(file.key, file.content, arguments[1], file.minute))
                if file.day != arguments[1]:
                    world.note("moved to another day")
            else:
                world.remove(file)
                world.note("vanished")
        elif what == "run":
            world.run(*arguments)
        elif what == "stage":
            stage, day = arguments
            walk(world.bench.run(day, allow_removals=True), [stage])
            world.note("stage alone")
        before = _compare_groups(world, before)
    due = sorted(world.due)
    history.order.shuffle(due)
    for day in due:
        world.run(day)
        before = _compare_groups(world, before)


def _compare_groups(
    world: World, before: dict[str, tuple[str, str, str | None]]
) -> dict[str, tuple[str, str, str | None]]:
    """Note what became of images since the groups were looked at last."""
    rows = world.bench.run().lake.snapshot("groups").read(["image_id", "sha256", "status"])
    names = world.bench.run().lake.snapshot("groups").read(["image_id", "group_id"])
    groups = dict(zip(names["image_id"].to_pylist(), names["group_id"].to_pylist(), strict=True))
    after = {
        r["image_id"]: (r["sha256"], r["status"], groups[r["image_id"]]) for r in rows.to_pylist()
    }
    same = [i for i in before.keys() & after.keys() if before[i][0] == after[i][0]]
    if any(before[i][1] == "collapsed" and after[i][1] == "active" for i in same):
        world.note("reactivated")
    together = [i for i in same if before[i][2] is not None]
    if any(
        before[a][2] == before[b][2] and after[a][2] != after[b][2]
        for a, b in combinations(together, 2)
    ):
        world.note("group split")
    return after


def _note_what_there_is(world: World) -> None:
    """Note the shapes that the final state holds."""
    lake = world.bench.run().lake
    matches = lake.snapshot("matches").read().to_pylist()
    linked = [row for row in matches if row["relation"] in RELATIONS]
    scores = {(row["image_a"], row["image_b"]): row["score"] for row in linked}
    for (a, b), (c, d) in combinations(scores, 2):
        shared = {a, b} & {c, d}
        if len(shared) == 1:
            ends = tuple(sorted({a, b} ^ {c, d}))
            if ends not in scores:
                world.note("chain")
            if scores[a, b] == scores[c, d]:
                world.note("equal scores")
    images = lake.snapshot("images").read(["arrived_at", "status"])
    arrived = Counter(images["arrived_at"].to_pylist())
    if any(count > 1 for count in arrived.values()):
        world.note("equal arrivals")
    if "rejected" in images["status"].to_pylist():
        world.note("rejected")


def test_any_history_ends_as_one_run_over_everything(
    tmp_path: Path, drawn: None, unguarded: None
) -> None:
    """Invariants 1, 2 and 9, and that the hard cases did occur."""
    seen: Counter[str] = Counter()

    @settings(max_examples=10, deadline=None, derandomize=True, database=None)
    @given(histories())
    def holds(history: History) -> None:
        seen["examples"] += 1
        home = tmp_path / f"{seen['examples']}"
        world = World(builders.bench(home, home / "source"), seen)
        _live(world, history)
        _note_what_there_is(world)
        once = world.bench.fresh(home / "fresh")
        walk(once.run())
        assert differences(current_state(world.bench.run()), current_state(once.run())) == {}
        seen.update(_seen(world.bench))

    holds()
    assert seen.keys() >= CASES, f"never occurred: {sorted(CASES - seen.keys())}"


def _seen(bench: Bench) -> Counter[str]:
    """Invariant 9: what `groups` says of each member is what a look at it and its keeper said.

    Returns the members by relation.
    """
    lake = bench.run().lake
    groups = lake.snapshot("groups").read().to_pylist()
    looks = lake.snapshot("looks")
    rows = looks.read(files=looks.files(verifier=verification.verifier_version())).to_pylist()
    look_at = {(row["sha256_a"], row["sha256_b"]): row for row in rows}
    content_of = {row["image_id"]: row["sha256"] for row in groups}
    relations: Counter[str] = Counter()
    for row in groups:
        if row["verdict"] in ("unique", "keeper"):
            assert row["relation"] is None
            continue
        own, kept = row["sha256"], content_of[row["keeper_id"]]
        relations[row["relation"]] += 1
        assert row["verdict"] == ("duplicate" if row["relation"] in DUPLICATES else "variant")
        if own == kept:
            assert (row["relation"], row["method"], row["score"]) == ("exact", "sha256", 1.0)
            continue
        assert row["method"] == verification.verifier_version()
        look = look_at[min(own, kept), max(own, kept)]
        look = {name: look[name] for name in pa.schema(LOOK).names}
        look = look if own < kept else builders.turned(look)
        assert row["relation"] == look["relation"] in RELATIONS
        for name, said in (("overlap", "overlap_a"), ("keeper_overlap", "overlap_b")):
            assert row[name] == look[said]
        for name in ("score", "changed", "place"):
            assert row[name] == look[name]
        # To be had from a look that was turned round and back.
        assert row["transform"] == pytest.approx(look["transform"], rel=1e-9, abs=1e-9)
    return relations


def _mixed(bench: Bench, order: list[int]) -> None:
    """Every motif once, over three days, the files written in the given order."""
    kinds = ("chain", "tie", "steps", "lookalikes", "copies", "flat", "broken")
    contents = [
        (f"{number}-{i}.bin", content, (number + i) % DAYS, i % 2)
        for number, kind in enumerate(kinds)
        for i, content in enumerate(_motif(number, kind, 0x0123456789ABCDEF * (number + 1)))
    ]
    for index in sorted(range(len(contents)), key=lambda i: order[i % len(order)] * 100 + i):
        builders.place(bench.source, *contents[index])


def test_a_rerun_of_anything_changes_nothing(bench: Bench) -> None:
    """Invariant 1, with gates and pages: no version is added, and no row differs."""
    _mixed(bench, [0])
    walk(bench.run())
    state, versions = current_state(bench.run()), builders.versions(bench.run())
    files = {name: bench.run().lake.snapshot(name).files() for name in versions}
    walk(bench.run(run_id="again"))
    for day in range(DAYS):
        walk(bench.run(day), ["ingest", "group"])
    assert builders.versions(bench.run()) == versions
    assert {n: bench.run().lake.snapshot(n).files() for n in versions} == files
    assert differences(current_state(bench.run()), state) == {}


def test_a_rerun_reads_nothing_again(bench: Bench, unguarded: None) -> None:
    _mixed(bench, [0])
    first = walk(bench.run())["ingest"]["counts"]
    again = walk(bench.run(run_id="again"))
    assert first["read"] == first["listed"] > 0
    assert again["ingest"]["counts"]["read"] == 0
    assert again["embed"]["counts"]["embedded"] == 0
    assert again["match"]["counts"]["images"] == 0
    assert again["match"]["counts"]["looks_new"] == 0


def test_order_of_files_and_halves_do_not_matter(
    tmp_path: Path, drawn: None, unguarded: None
) -> None:
    """Invariant 2: one folder, written and listed in other orders, whole or in two halves."""
    states = []
    for number, order in enumerate(([0], [3, 1, 2], [2, 0, 1])):
        home = tmp_path / f"{number}"
        # One source path for all: URIs are part of the state.
        bench = builders.bench(home, tmp_path / "source")
        for path in sorted(bench.source.rglob("*.bin")):
            path.unlink()
        _mixed(bench, order)
        if number == 2:  # half of the files come after a first run has seen the others
            away = sorted(bench.source.glob("*.bin"))[::2]
            for path in away:
                path.rename(path.with_suffix(".away"))
            hidden = bench.source.rename(tmp_path / "hidden")
            bench.source.mkdir()
            for path in hidden.glob("*.bin"):
                path.rename(bench.source / path.name)
            walk(bench.run(run_id="first-half"))
            for path in hidden.glob("*.away"):
                path.rename(bench.source / f"{path.stem}.bin")
        walk(bench.run())
        states.append(current_state(bench.run()))
    assert differences(states[0], states[1]) == {}
    assert differences(states[0], states[2]) == {}


def _edits(source: Path) -> None:
    """Two scenes, each with copies of many kinds over three days, and one that is alone."""
    for number in range(2):
        whole = Image.new("RGB", (300, 240))
        for i in range(36):  # enough to tell an edit by, however little of it agrees
            tile = builders.scene(100 * number + i, 50 - 2 * (i % 3), 40 - 3 * (i % 4))
            whole.paste(tile, (50 * (i % 6), 40 * (i // 6)))
        lettered = whole.copy()
        draw = ImageDraw.Draw(lettered)
        draw.text((30, 180), "SALE", font_size=32, fill=(255, 255, 255), stroke_width=1)
        pictures: dict[str, tuple[Image.Image, str]] = {
            "whole.png": (whole, "PNG"),
            "small.jpg": (whole.resize((200, 160), Image.Resampling.LANCZOS), "JPEG"),
            "crop.png": (whole.crop((40, 30, 270, 220)), "PNG"),
            "lettered.png": (lettered, "PNG"),
            "mirrored.jpg": (ImageOps.mirror(whole), "JPEG"),
        }
        for i, (key, (picture, kind)) in enumerate(pictures.items()):
            content = builders.encoded(picture, kind)
            builders.place(source, f"{number}-{key}", content, (number + i) % DAYS, i)
    builders.place(source, "alone.png", builders.encoded(builders.scene(50, 300, 240)), 1, 9)


def test_real_looks_end_equal_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unguarded: None
) -> None:
    """Invariants 1, 2 and 9 with the real verifier, hash and descriptor."""
    monkeypatch.setattr("idedup_tasks.images.read_objects", builders.read_in_process)
    _edits(tmp_path / "source")
    benches = [
        builders.bench(tmp_path / f"{number}", tmp_path / "source", model_id=None, thresholds=None)
        for number in range(3)
    ]
    walk(benches[0].run())
    for bench, order in zip(benches[1:], ([2, 0, 1], [1, 2, 0]), strict=True):
        for day in order:
            walk(bench.run(day))
        for day in order[:-1]:  # what came later has an effect on what ran before
            walk(bench.run(day))
    expected = current_state(benches[0].run())
    for bench in benches:
        assert differences(current_state(bench.run()), expected) == {}
        assert _seen(bench).keys() & {"same", "crop", "edited"}
    of_scene = [
        {f"{n}-{key}" for key in ("crop.png", "lettered.png", "small.jpg", "whole.png")}
        for n in range(2)
    ]
    for wanted, found in zip(of_scene, _groups(benches[0]), strict=True):
        assert wanted <= found


def test_another_verifier_looks_at_everything_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idedup_tasks.images.read_objects", builders.read_in_process)
    _edits(tmp_path / "source")
    bench = builders.bench(tmp_path / "home", tmp_path / "source", model_id=None, thresholds=None)
    walk(bench.run())
    lake = bench.run().lake
    before, looks = lake.snapshot("groups").read(), lake.snapshot("looks").read()
    for module in (
        *("looking", "stages.prefilter.prepare", "stages.match.prepare"),
        *("stages.group.prepare", "stages.group.facts"),
    ):
        monkeypatch.setattr(f"idedup_tasks.{module}.verifier_version", lambda: "looks-2-other")
    for day in (1, 0, 2):
        walk(bench.run(day))
    after, anew = lake.snapshot("groups").read(), lake.snapshot("looks").read()
    assert after.drop_columns("method").equals(before.drop_columns("method"))
    assert set(after["method"].to_pylist()) == {None, "looks-2-other"}
    kept = anew.filter(pc.field("verifier") != "looks-2-other")
    new = anew.filter(pc.field("verifier") == "looks-2-other")
    assert kept.num_rows == new.num_rows == looks.num_rows > 0
    order = [("sha256_a", "ascending"), ("sha256_b", "ascending")]
    assert (
        new.drop_columns("verifier")
        .sort_by(order)
        .equals(kept.drop_columns("verifier").sort_by(order))
    )
    assert walk(bench.run())["match"]["counts"]["looks_new"] == 0


def test_the_chain_is_cut_and_says_so(bench: Bench, unguarded: None) -> None:
    """A~B~C~...~Z, each a candidate pair with the next, is not one group."""
    for i in range(26):
        picture = Picture(0x9E3779B97F4A7C15 * (i + 1) % 2**64, 1, 13 * i)
        builders.place(bench.source, f"{i:02}.png", picture.content, 0, i)
    counts = walk(bench.run())["group"]["counts"]
    assert counts["components"] == 1
    assert counts["groups"] > 3
    assert counts["largest_group"] < 9
    matches = bench.run().lake.snapshot("matches").read().to_pylist()
    tied = {(row["image_a"], row["image_b"]) for row in matches if row["relation"] in RELATIONS}
    groups = bench.run().lake.snapshot("groups").read(["image_id", "group_id"]).to_pylist()
    group_of = {row["image_id"]: row["group_id"] for row in groups}
    assert any(group_of[a] != group_of[b] for a, b in tied), "and the pairs that were cut are there"


def test_a_reactivated_image_is_compared_and_leaves_its_group(
    bench: Bench, unguarded: None, tmp_path: Path
) -> None:
    """An earlier arrival takes its twin away: it is active again, and finds a match of its own."""
    base = 0x0123456789ABCDEF
    # Same as its twin in hash and look, and out of reach of the hash that comes early.
    twin, again = Picture(base ^ 0b111, 1, 10), Picture(base ^ 0b111111, 1, 20)
    builders.place(bench.source, "twin.png", twin.content, 1)
    builders.place(bench.source, "match.png", Picture(base * 5 % 2**64, 1, 48).content, 1)
    builders.place(bench.source, "again.png", again.content, 2)
    walk(bench.run(1))
    walk(bench.run(2))
    assert _groups(bench) == [{"again.png", "twin.png"}]
    assert _pairs(bench, "vector") == {}
    builders.place(bench.source, "early.png", Picture(base, 1).content, 0)
    counts = walk(bench.run(0))["match"]["counts"]
    assert counts["images"] == 2  # the earlier arrival and the image that is active again
    assert counts["candidates"] == 2
    assert _pairs(bench, "hash") == {("early.png", "twin.png"): "same"}
    assert _pairs(bench, "vector") == {
        ("again.png", "early.png"): "crop",
        ("again.png", "match.png"): "edited",
    }
    # match.png is nothing to early.png, which is the whole and kept.
    assert _groups(bench) == [{"again.png", "early.png", "twin.png"}]
    once = bench.fresh(tmp_path / "fresh")
    walk(once.run())
    assert differences(current_state(bench.run()), current_state(once.run())) == {}


def _pairs(bench: Bench, proposed_by: str) -> dict[tuple[str, ...], str]:
    """Relations of the matches that were proposed so, by keys."""
    lake = bench.run().lake
    keys = lake.snapshot("images").read(["image_id", "key"]).to_pylist()
    key_of = {row["image_id"]: row["key"] for row in keys}
    return {
        tuple(sorted((key_of[row["image_a"]], key_of[row["image_b"]]))): row["relation"]
        for row in lake.snapshot("matches").read().to_pylist()
        if row["proposed_by"] == proposed_by
    }


def _groups(bench: Bench) -> list[set[str]]:
    """The keys of each group, by the first."""
    lake = bench.run().lake
    keys = lake.snapshot("images").read(["image_id", "key"]).to_pylist()
    key_of = {row["image_id"]: row["key"] for row in keys}
    groups: dict[str, set[str]] = {}
    for row in lake.snapshot("groups").read(["image_id", "group_id"]).to_pylist():
        if row["group_id"] is not None:
            groups.setdefault(row["group_id"], set()).add(key_of[row["image_id"]])
    return sorted(groups.values(), key=min)
