"""What a query calls a copy was looked at; what shows nothing matches by its bytes only."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from builders import Bench, bench, encoded, place, scene, walk
from PIL import Image, ImageDraw

from idedup_tasks import api, verification
from idedup_tasks.descriptors import descriptor_info
from idedup_tasks.lake import TableChange
from idedup_tasks.settings import Limits, Thresholds

BLANK = encoded(Image.new("RGB", (200, 260), (250, 250, 250)))
# As a scanner would make it of the same sheet: not one byte is equal.
OTHER_BLANK = encoded(Image.new("RGB", (400, 520), (249, 250, 248)))
PHOTO = scene(3, 480, 360)


def page(sums: str) -> bytes:
    """A form of one layout, filled in."""
    sheet = Image.new("L", (480, 640), 255)
    pen = ImageDraw.Draw(sheet)
    for line in range(12):
        pen.rectangle((40, 60 + 45 * line, 440, 62 + 45 * line), 120)
        pen.text((50, 40 + 45 * line), f"Item {line}", 30, font_size=16)
        pen.text((330, 40 + 45 * line), sums[line % len(sums)] * 6, 0, font_size=18)
    return encoded(sheet.convert("RGB"))


FORM = page("183")
FILES = {
    "photo.png": encoded(PHOTO),
    "copy.jpg": encoded(PHOTO.resize((320, 240)), "JPEG", quality=80),
    "part.jpg": encoded(PHOTO.crop((60, 40, 400, 310)), "JPEG", quality=92),
    "blank.png": BLANK,
    "form.png": FORM,
    **{f"other-{i}.png": encoded(scene(i, 480, 360)) for i in (11, 12)},
}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A lake up to its index, with the real hash, descriptor and verifier, in which everything
    with a vector or a hash within reach is proposed."""
    folder = tmp_path_factory.mktemp("query")
    near = Thresholds(candidate=0.0, phash_distance=16)
    made = bench(folder / "home", folder / "pictures", thresholds=near.model_dump())
    for minute, (name, content) in enumerate(FILES.items()):
        place(made.source, name, content, 0, minute)
    run = made.run()
    walk(run, ("ingest", "prefilter", "embed", "index"))
    run.lake.publish(TableChange("groups", run.lake.snapshot("groups").version))
    (folder / "home" / "drawn.yaml").write_text(
        f"name: drawn\nsource: {made.source}\nschedule: null\n"
        f"model_id: {descriptor_info('mobilenet_v3').model_id}\n"
        f"thresholds: {{candidate: 0.0, phash_distance: 16}}\n"
    )
    return made


@pytest.fixture
def ask(
    collection: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bytes], dict[str, api.Match]]:
    for name, value in (
        ("IDEDUP_HOME", collection.home),
        ("IDEDUP_LAKE", collection.places.lake),
        ("IDEDUP_COLLECTIONS", collection.home),
    ):
        monkeypatch.setenv(name, str(value))

    def ask(content: bytes) -> dict[str, api.Match]:
        file = tmp_path / "asked"
        file.write_bytes(content)
        found = api.query(file, limit=50)
        return {Path(match.uri).name: match for match in found}

    return ask


def test_each_match_says_what_was_seen(ask: Callable[[bytes], dict[str, api.Match]]) -> None:
    found = ask(encoded(PHOTO, "JPEG", quality=85))
    assert {name: found[name].relation for name in ("photo.png", "copy.jpg", "part.jpg")} == {
        "photo.png": "same",
        "copy.jpg": "same",
        "part.jpg": "crop",
    }
    part = found["part.jpg"]
    assert part.method.startswith("looks-")
    assert part.match_overlap > 0.97
    assert part.overlap == pytest.approx(340 * 270 / (480 * 360), abs=0.03)
    assert part.why.startswith("a crop: shows 5")
    # Whatever the vectors propose, it is no copy unless a look says so.
    assert {m.relation for name, m in found.items() if name.startswith("other")} <= {"alike"}


def test_bytes_need_no_look(ask: Callable[[bytes], dict[str, api.Match]]) -> None:
    found = ask(FILES["photo.png"])
    assert (found["photo.png"].relation, found["photo.png"].method) == ("exact", "sha256")
    assert next(iter(found)) == "photo.png"


def test_one_layout_with_other_content_is_at_most_alike(
    ask: Callable[[bytes], dict[str, api.Match]],
) -> None:
    found = ask(page("946"))
    assert {match.relation for match in found.values()} <= {"alike"}
    relations = [match.relation for match in ask(FORM).values()]
    assert relations == sorted(relations, key=lambda relation: relation == "alike")


def test_a_blank_page_matches_by_its_bytes_only(
    ask: Callable[[bytes], dict[str, api.Match]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On either side, whatever a look would say: here, that all is the same."""
    same = verification.look(*[verification.open_picture(PHOTO, Limits.model_validate({}))] * 2)
    same = replace(same, relation="same")
    monkeypatch.setattr("idedup_tasks.verification.look", lambda a, b: same)
    assert len(ask(FILES["copy.jpg"])) > 1
    assert list(ask(BLANK)) == ["blank.png"]
    assert ask(OTHER_BLANK) == {}
    nearly = Image.open(io.BytesIO(BLANK))
    ImageDraw.Draw(nearly).rectangle((5, 5, 120, 90), "black")
    assert "blank.png" not in ask(encoded(nearly))
