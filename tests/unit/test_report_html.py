"""The report's page: whole in itself, safe with hostile names, readable when there is nothing."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from result_rows import a_candidate, a_run, counts_in, fill, image, keeper, member, pair, rejected

from idedup_tasks.explanation.drawing import ACCENT
from idedup_tasks.lake import GROUPS, IMAGES, MATCHES, PackWriter, TableChange
from idedup_tasks.pages import charts
from idedup_tasks.pages.templates import visible
from idedup_tasks.pages.units import human_bytes, human_seconds
from idedup_tasks.run import Run
from idedup_tasks.stages.report.page import render
from idedup_tasks.warehouse import Warehouse

HOSTILE = [
    "<script>alert(1)</script>.jpg",
    "\"><img src=x onerror=alert(1)>'.jpg",
    "{{ 7 * 7 }}{% raw %}.jpg",
    "</title></style><svg onload=alert(1)>.jpg",
    "photo\u202egpj.exe\x07.jpg",
    "javascript:alert(1)/&amp;.jpg",
]
VOID = {"meta", "img", "br", "link", "input", "hr", "wbr"}


@dataclass(frozen=True)
class Result:
    rule: str
    severity: str
    success: bool
    observed: str = "3"
    expected: str = "at most 2"


class Page(HTMLParser):
    """The elements of a page; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1:] == [tag], f"</{tag}> closes {self._open[-3:]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def publish(run: Run, table: str, partition: dict[str, str], rows: pa.Table) -> None:
    lake = run.lake
    change = TableChange(table, lake.snapshot(table).version)
    change.add.append(lake.write_rows(table, partition, rows))
    lake.publish(change)


def a_thumbnail(number: int, edited: bool = False) -> bytes:
    """JPEG bytes; `edited`: with a white block in the middle."""
    noise = np.random.default_rng(number).integers(40, 200, (12, 10, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((256, 300), Image.Resampling.BICUBIC)
    if edited:
        picture.paste("white", (100, 120, 150, 170))
    out = io.BytesIO()
    picture.save(out, "JPEG")
    return out.getvalue()


def fill_lake(
    run: Run,
    results: list[dict[str, Any]],
    pairs: list[dict[str, Any]],
    damaged: tuple[str, ...] = (),
) -> None:
    """Thumbnails and what was seen of pairs, as the stages leave them.

    Members look like their keepers; crops are its left half, by their transform.
    """
    numbers = {row["image_id"]: number for number, row in enumerate(results)}
    for arrival in sorted({row["arrival"] for row in results}):
        rows = [row for row in results if row["arrival"] == arrival]
        content, pack = [], PackWriter()
        for row in rows:
            stored = dict.fromkeys(IMAGES.names) | {n: row.get(n) for n in IMAGES.names}
            stored["status"] = "rejected" if row["status"] == "rejected" else "decoded"
            stored["etag"] = "1"
            if row["status"] != "rejected":
                look = numbers[row["keeper_id"] or row["image_id"]]
                stored |= pack.add(a_thumbnail(look, row["relation"] == "edited"))
            if row["image_id"] in damaged:
                stored["checksum"] ^= 1
            content.append(stored)
        path = pack.store(run.lake)
        for stored in content:
            stored["pack"] = path if stored["length"] else None
        publish(run, "images", {"arrival": arrival}, pa.Table.from_pylist(content, schema=IMAGES))
        grouped = [
            {name: row.get(name) for name in GROUPS.names}
            | {"crowded": False, "transform": transform_of(row["relation"])}
            for row in rows
            if row["verdict"] is not None
        ]
        if grouped:
            table = pa.Table.from_pylist(grouped, schema=GROUPS)
            publish(run, "groups", {"arrival": arrival}, table)
    if pairs:
        matched = [
            {"proposed_by": "vector", "blur": 0.0, "way": "frames", "transform": PLACED, **row}
            for row in pairs
        ]
        table = pa.Table.from_pylist(
            [{name: row.get(name) for name in MATCHES.names} for row in matched], schema=MATCHES
        )
        publish(run, "matches", {}, table)


PLACED = np.eye(3).ravel().tolist()


def transform_of(relation: str | None) -> list[float] | None:
    if relation is None:
        return None
    return [0.5, 0, 0, 0, 1, 0, 0, 0, 1] if relation == "crop" else PLACED


def report(
    run: Run,
    results: list[dict[str, Any]],
    lake: bool = True,
    damaged: tuple[str, ...] = (),
    pairs: list[dict[str, Any]] | None = None,
) -> tuple[str, Page]:
    warehouse = Warehouse(f"sqlite:///{run.places.home}/warehouse.db")
    warehouse.upgrade()
    if lake:
        fill_lake(run, results, pairs or [], damaged)
    started = datetime(2026, 1, 2, tzinfo=UTC)
    candidate = a_candidate(run, "ingest", listed=9, decoded=8, images=9)
    candidate.warnings.append("3 objects lie outside <the window>")
    warehouse.record_stage(run, "ingest", started, 130.0, candidate, counts_in(candidate))
    warehouse.record_stage(run, "prefilter", started, 1.0, error="lost & gone")
    warehouse.record_quality(
        run,
        "ingest",
        [Result("holds_well", "error", True), Result("too_many<", "error", False, "9 & more")],
    )
    fill(warehouse, run, results, pairs or [])
    html = render(run, warehouse)
    return html, Page(html)


def drawn(uri: str | None) -> np.ndarray:
    """The pixels of a picture in a page: int16 (height, width, 3)."""
    assert uri is not None
    content = base64.b64decode(uri.partition(",")[2])
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


def is_marked(pixels: np.ndarray) -> np.ndarray:
    """Where the accent colour is, as a JPEG leaves it: bool (height, width)."""
    return (np.abs(pixels - ACCENT) < 40).all(axis=2)


def a_collection() -> list[dict[str, Any]]:
    second = {"arrival": "2026-01-02"}
    return [
        keeper("01", key="summer/beach.tif", bytes=9_000_000, why="the whole picture"),
        member("02", "01", "01", "exact", key="backup/beach.tif", bytes=9_000_000),
        member("03", "01", "01", "same", key="small/beach.jpg", **second),
        member("04", "01", "01", "crop", key="crop/beach.jpg", bytes=2_000, **second),
        member("05", "01", "01", "edited", key="edit/beach.jpg", bytes=7_000, **second),
        image("06"),
        rejected("07", "too_large", key="huge.png"),
    ]


def test_page_says_what_was_found(tmp_path: Path) -> None:
    run = a_run(tmp_path, price_per_gb_month=1.0, currency="EUR")
    html, page = report(run, a_collection(), pairs=[pair("01", "06", score=0.52, changed=0.21)])
    assert html.startswith("<!doctype html>")
    words = page.words
    for expected in (
        "Duplicates in photos",
        "Images 6 of 7 files, ",
        "Groups 1",
        "Duplicates 3 9 MB reclaimable",
        "1 exact, 1 same, 1 crop",
        "Variants 1 kept: not reclaimable 0 inside, 1 edited",
        "Alike, apart 1 pair looked at, not one picture",
        "Cost a month < 0.01 EUR of duplicates, at 1.0 EUR a GB",
        " 1 rejected",
        "Group 1: 5 images 3 duplicates, 9 MB reclaimable 1 variant beside them",
        "keep the whole picture beach.tif",
        "crop crop, by hand beach.jpg in crop",
        "Variants, not reclaimable",
        "21 % of what both show differs; score 0.52",
        "too large",
        "huge.png",
        "3 objects lie outside <the window>",
        "prefilter failed",
        "2 min 10 s",
        "1 of 2 rules are broken.",
        "too_many<",
    ):
        assert expected in words, expected
    assert len(page.all("svg")) == 3
    assert not re.search(r"\b(near|perceptual|uncertain|threshold)\b", words.lower())


def test_variants_stand_beside_their_group_and_are_kept(tmp_path: Path) -> None:
    _, page = report(a_run(tmp_path), a_collection())
    words = page.words
    group = words[words.index("Group 1: 5 images") : words.index("Where the duplicates are")]
    names = ["beach.tif in summer", "in backup", "in small", "in crop"]
    names += ["Variants, not reclaimable", "in edit"]
    assert [group.index(name) for name in names] == sorted(group.index(name) for name in names)
    kept = a_run(tmp_path / "kept", grouping={"variants_reclaimable": True})
    _, page = report(kept, a_collection())
    assert "Variants, reclaimable in this collection" in page.words
    assert "reclaimable in this collection 0 inside, 1 edited" in page.words


def test_small_groups_stand_beside_each_other(tmp_path: Path) -> None:
    content = [keeper("01"), *(member(f"0{i}", "01", "01", "same") for i in range(2, 5))]
    content += [keeper("11"), member("12", "11", "11", "same")]
    content += [keeper("21"), member("22", "21", "21", "edited")]
    _, page = report(a_run(tmp_path), content)
    groups = [section["class"] for section in page.all("section")]
    # The first takes the page's width; the last is a keeper and, beside it, what is drawn with it.
    assert groups == ["group large", "group", "group one"]


def test_what_differs_is_drawn_and_marked(tmp_path: Path) -> None:
    _, page = report(a_run(tmp_path), a_collection())
    pictures = [(image["alt"], drawn(image["src"])) for image in page.all("img")]
    names = [name for name, _ in pictures]
    assert names == [
        "summer/beach.tif",
        "backup/beach.tif",
        "small/beach.jpg",
        "summer/beach.tif",
        "crop/beach.jpg",
        "summer/beach.tif",
        "edit/beach.jpg",
    ]
    crop, edited = pictures[3][1], pictures[5:]
    plain = drawn(page.all("img")[0]["src"])
    half = crop.shape[1] // 2
    assert crop[:, half + 8 :].mean() < 0.7 * plain.mean(), "what the crop does not show is dark"
    assert abs(crop[:, 4 : half - 4].mean() - plain[:, : plain.shape[1] // 2].mean()) < 12
    assert not is_marked(crop).any()
    for name, shown in edited:
        marks = is_marked(shown)
        assert marks.sum() > 50, name
        rows, columns = np.nonzero(marks)
        height, width = marks.shape
        assert 0.3 * height < rows.min() < rows.max() < 0.65 * height
        assert 0.3 * width < columns.min() < columns.max() < 0.68 * width


def test_alike_pairs_are_listed_apart_the_worst_first(tmp_path: Path) -> None:
    content = [keeper("01"), member("02", "01", "01", "exact")]
    content += [image(f"a{i:x}", key=f"shot {i:02}.jpg") for i in range(13)]
    pairs = [pair("a0", f"a{i:x}", score=0.3 + i / 50) for i in range(1, 13)]
    pairs.append(pair("01", "ac", "different", score=0.0))
    _, page = report(a_run(tmp_path), content, pairs=pairs)
    words = page.words
    alike = words[words.index("Alike, and listed apart") :]
    # A run writes no `pairs.csv`, a scan does.
    assert "9 of 12 are shown here; all are in the view alike_pairs ." in alike
    assert alike.index("shot 12.jpg") < alike.index("shot 11.jpg") < alike.index("shot 04.jpg")
    assert "shot 03.jpg" not in alike
    assert "idedup explain a0 ac --output why.html --collection photos" in alike
    assert f"IDEDUP_HOME={tmp_path}" in alike  # so that it is found from any folder
    assert {"#alike"} <= {a["href"] for a in page.all("a")}


def test_without_alike_pairs_nothing_is_listed(tmp_path: Path) -> None:
    _, page = report(a_run(tmp_path), a_collection())
    assert "listed apart" not in page.words
    assert "Alike, apart 0" in page.words


def test_crowded_images_are_counted(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    warehouse = Warehouse(f"sqlite:///{tmp_path}/warehouse.db")
    warehouse.upgrade()
    candidate = a_candidate(run, "match", crowded=1234)
    warehouse.record_stage(run, "match", datetime(2026, 1, 2, tzinfo=UTC), 1.0, candidate)
    fill(warehouse, run, [keeper("01"), member("02", "01", "01", "exact")])
    words = Page(render(run, warehouse)).words
    assert "1,234 images are crowded: they have 10 look-alikes or more" in words


def test_page_needs_nothing_else_and_runs_nothing(tmp_path: Path) -> None:
    html, page = report(a_run(tmp_path), a_collection())
    policy = page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert (
        policy["content"] == "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
    )
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object"})
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), value
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert page.all("html")[0]["lang"] == "en"


def test_pictures_are_small_and_named(tmp_path: Path) -> None:
    html, page = report(a_run(tmp_path), a_collection(), damaged=("04",))
    pictures = page.all("img")
    assert [p["alt"] for p in pictures] == [
        "summer/beach.tif",
        "backup/beach.tif",
        "small/beach.jpg",
        "summer/beach.tif",
        "edit/beach.jpg",
    ]
    assert "no picture" in page.words
    # They are in the page already: asked for late, they are missing in print and while one scrolls.
    assert {p.get("loading") for p in pictures} == {None}
    assert len(html) < 150_000


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(tmp_path: Path, name: str) -> None:
    content = [
        keeper("01", key=name),
        member("02", "01", "01", "edited", key=f"x/{name}", format=name),
        member("03", "01", "01", "same", key=name, method=name, why=name),
        rejected("04", name, key=name, reason=name),
    ]
    alike = [pair("01", "06")]
    known = [*a_collection(), member("0e", "01", "01", "exact", key="in/two/folders.jpg")]
    _, plain = report(a_run(tmp_path, name="plain"), known, pairs=alike)
    html, page = report(a_run(tmp_path, run_id=name), content, pairs=[pair("02", "03")])
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
    assert all(not n.startswith("on") for _, attributes in page.elements for n in attributes)
    assert visible(name.rpartition("/")[2]) in "".join(page.text)
    assert not re.search("[\u202a-\u202e\x00-\x08]", html)
    assert "49.jpg" not in page.words


def test_an_empty_collection(tmp_path: Path) -> None:
    _, page = report(a_run(tmp_path), [], lake=False)
    assert "There is no image in this collection yet." in page.words
    assert page.all("svg") == []
    assert page.all("img") == []


def test_no_groups_and_thousands_of_rejects(tmp_path: Path) -> None:
    content = [image("01")]
    content += [rejected(f"{i:06x}", f"reason_{i % 40:02d}") for i in range(0x1000, 0x1000 + 3000)]
    html, page = report(a_run(tmp_path), content)
    assert (
        "No image of this collection was seen to be another's duplicate or variant." in page.words
    )
    assert page.words.count("and 70 more") == 40
    assert len(html) < 200_000


def test_many_groups_and_members_are_cut_short(tmp_path: Path) -> None:
    content: list[dict[str, Any]] = []
    for group in range(25):
        first = f"{group:02x}000"
        content.append(keeper(first))
        content += [member(f"{group:02x}{i:03x}", first, first, "crop") for i in range(1, 41)]
    html, page = report(a_run(tmp_path), content)
    words = page.words
    assert "20 of 25 groups are shown here." in words
    assert words.count("and 29 more") == 20
    # Of each group 12 members, of which 4 are drawn beside the keeper.
    assert len(page.all("img")) == 20 * (12 + 4)
    assert len(html) < 5_000_000


def test_long_histories_are_folded(tmp_path: Path) -> None:
    content = [keeper("000000", arrival="2000-01-01")]
    for month in range(1, 400):
        arrival = f"{2000 + month // 12}-{month % 12 + 1:02d}-05"
        content.append(member(f"{month:06x}", "000000", "000000", "exact", arrival=arrival))
    _, page = report(a_run(tmp_path), content, lake=False)
    [label] = [a["aria-label"] for a in page.all("svg") if "by arrival" in (a["aria-label"] or "")]
    assert "in 34 arrival periods; most, 12, arrived in 2001." in label


def test_unknown_collection(tmp_path: Path) -> None:
    warehouse = Warehouse(f"sqlite:///{tmp_path}/warehouse.db")
    warehouse.upgrade()
    with pytest.raises(LookupError, match="holds no collection photos"):
        render(a_run(tmp_path), warehouse)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_600, "1 MB"),
        (12_340_000, "12.3 MB"),
        (2 * 10**15, "2 PB"),
    ],
)
def test_human_bytes(value: int, text: str) -> None:
    assert human_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.04, "0.0 s"), (59.96, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_human_seconds(value: float | None, text: str) -> None:
    assert human_seconds(value) == text


@pytest.mark.parametrize("top", [0, 1, 3, 4, 5, 7, 19, 60, 99, 100, 12_345, 10**9])
def test_ticks_cover_the_values(top: int) -> None:
    ticks = charts.nice_ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] >= top
    assert 2 <= len(ticks) <= 7
    assert len(set(np.diff(ticks).round(6))) == 1
