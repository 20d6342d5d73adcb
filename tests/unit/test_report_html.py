"""The report's page: whole in itself, safe with hostile names, readable when there is nothing."""

from __future__ import annotations

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
from result_rows import a_candidate, a_run, batches, counts_in, duplicate, image, keeper, rejected

from idedup_tasks.lake import EMBEDDINGS, IMAGES, PAIRS, PackWriter, TableChange
from idedup_tasks.pages import charts
from idedup_tasks.pages.charts import Chart
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
VOID = {"meta", "img", "br", "link", "input", "hr"}


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


def a_thumbnail(colour: int, size: tuple[int, int] = (256, 300)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (colour % 256, 90, 120)).save(out, "JPEG")
    return out.getvalue()


def fill_lake(run: Run, results: list[dict[str, Any]], damaged: tuple[str, ...] = ()) -> None:
    """Thumbnails, vectors and scores as the stages leave them."""
    rng = np.random.default_rng(7)
    base = rng.normal(size=256)
    for arrival in sorted({row["arrival"] for row in results}):
        rows = [row for row in results if row["arrival"] == arrival]
        content, pack = [], PackWriter()
        for number, row in enumerate(rows):
            stored = dict.fromkeys(IMAGES.names) | {n: row.get(n) for n in IMAGES.names}
            stored["status"] = "rejected" if row["status"] == "rejected" else "decoded"
            stored["etag"] = "1"
            if row["status"] != "rejected":
                stored |= pack.add(a_thumbnail(number * 20))
            if row["image_id"] in damaged:
                stored["checksum"] ^= 1
            content.append(stored)
        path = pack.store(run.lake)
        for stored in content:
            stored["pack"] = path if stored["length"] else None
        table = pa.Table.from_pylist(content, schema=IMAGES)
        publish(run, "images", {"arrival": arrival}, table)
        vectors = []
        for row in rows:
            if row["status"] == "active":
                vector = base + rng.normal(size=256)
                vector /= np.linalg.norm(vector)
                vectors.append(
                    {**row, "model_id": run.model_id, "vector": vector.tolist(), "regions": b""}
                )
        if vectors:
            table = pa.Table.from_pylist(
                [{n: v[n] for n in EMBEDDINGS.names} for v in vectors], schema=EMBEDDINGS
            )
            partition = {"model_id": run.model_id, "arrival": arrival}
            publish(run, "embeddings", partition, table)
    scores = rng.uniform(0.7, 1.0, 500).round(4)
    pairs = [{"image_a": f"a{i}", "image_b": f"b{i}", "score": s} for i, s in enumerate(scores)]
    publish(run, "pairs", {}, pa.Table.from_pylist(pairs, schema=PAIRS))


def report(
    run: Run, results: list[dict[str, Any]], lake: bool = True, damaged: tuple[str, ...] = ()
) -> tuple[str, Page]:
    warehouse = Warehouse(f"sqlite:///{run.places.home}/warehouse.db")
    warehouse.upgrade()
    if lake:
        fill_lake(run, results, damaged)
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
    warehouse.apply(run, a_candidate(run), batches(results))
    html = render(run, warehouse)
    return html, Page(html)


def a_collection() -> list[dict[str, Any]]:
    second = {"arrival": "2026-01-02"}
    return [
        keeper("01", key="summer/beach.tif", bytes=9_000_000),
        duplicate("02", "01", "01", "01", "exact", key="backup/beach.tif", bytes=9_000_000),
        duplicate("03", "02", "01", "01", "perceptual", key="small/beach.jpg", **second),
        duplicate("04", "01", "01", "01", "near", key="crop/beach.jpg", bytes=2_000, **second),
        duplicate("05", "04", "01", "01", "near", key="crop/beach2.jpg", bytes=2_000, **second),
        image("06"),
        rejected("07", "too_large", key="huge.png"),
    ]


def test_page_says_what_was_found(tmp_path: Path) -> None:
    html, page = report(a_run(tmp_path, price_per_gb_month=1.0, currency="EUR"), a_collection())
    assert html.startswith("<!doctype html>")
    words = page.words
    for expected in (
        "Duplicates in photos",
        "Images 6 of 7 files, ",
        "Groups 1",
        "Exact 1 duplicates, 9 MB",
        "Perceptual 1 duplicates, 100 bytes",
        "Near 2 duplicates, 4 kB",
        "Reclaimable 9 MB",
        "Cost a month < 0.01 EUR of duplicates, at 1.0 EUR a GB",
        " 1 rejected",
        "Group 1: 5 images mixed",
        "beach2.jpg",
        "0.81 ≥ 0.65",
        "like crop/beach.jpg",
        "too large",
        "huge.png",
        "3 objects lie outside <the window>",
        "prefilter failed",
        "2 min 10 s",
        "1 of 2 rules are broken.",
        "too_many<",
    ):
        assert expected in words, expected
    titles = [a["aria-label"] for a in page.all("svg")]
    assert len(titles) == 5
    assert "500 pairs" in titles[3]
    assert titles[4].startswith("How the group was put together: Average linkage of 3 images")


def test_uncertain_members_are_shown_first(tmp_path: Path) -> None:
    content = [
        keeper("01", key="keep.tif"),
        duplicate("02", "01", "01", "01", "near", key="sure.jpg"),
        duplicate("03", "02", "01", "01", "near", key="doubtful.jpg", score_to_keeper=0.66),
    ]
    html, page = report(a_run(tmp_path), content)
    words = page.words
    assert "Near 2 duplicates, 200 bytes 1 uncertain" in words
    assert "To look at first" in words
    assert "Similarity of the two 0.66; a match counts from 0.65." in words
    assert "idedup explain 01 03 --output why.html --collection photos" in words
    assert f"IDEDUP_HOME={tmp_path}" in words  # so that it is found from any folder
    group = words[words.index("Group 1: 3 images") :]
    assert group.index("keep.tif") < group.index("doubtful.jpg") < group.index("sure.jpg")
    assert html.count('class="tag uncertain"') == 2
    assert {"#uncertain"} <= {a["href"] for a in page.all("a")}


def test_without_doubts_nothing_is_said_of_them(tmp_path: Path) -> None:
    _, page = report(a_run(tmp_path, grouping={"uncertain_margin": 0.0}), a_collection())
    assert "uncertain" not in page.words.replace("what is uncertain", "")


@pytest.mark.parametrize(
    ("threshold", "because", "said"),
    [
        (0.57, "", "From 0.57 on, pairs of this collection stand out"),
        (
            None,
            "too few pairs stand out",
            "No threshold is suggested from this collection: too few",
        ),
    ],
)
def test_a_suggested_threshold(
    tmp_path: Path, threshold: float | None, because: str, said: str
) -> None:
    run = a_run(tmp_path)
    warehouse = Warehouse(f"sqlite:///{tmp_path}/warehouse.db")
    warehouse.upgrade()
    best = [0, 300, 200, *[0] * 46, 1]
    found = {"threshold": threshold, "because": because, "images": 501, "best_matches": best}
    candidate = a_candidate(run, "group", active=501, groups=0, suggestion=found)
    warehouse.record_stage(run, "group", datetime(2026, 1, 2, tzinfo=UTC), 1.0, candidate)
    warehouse.apply(run, a_candidate(run), batches([image("01")]))
    page = Page(render(run, warehouse))
    assert said in page.words
    [label] = [
        a["aria-label"] for a in page.all("svg") if "Most similar" in (a["aria-label"] or "")
    ]
    assert "501 sampled images" in (label or "")
    assert ("suggested 0.57" in page.words) == (threshold is not None)


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
        "crop/beach2.jpg",
    ]
    assert "no picture" in page.words
    assert len(html) < 100_000


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(tmp_path: Path, name: str) -> None:
    content = [
        keeper("01", key=name),
        duplicate("02", "01", "01", "01", "near", key=f"x/{name}", format=name),
        duplicate("03", "02", "01", "01", "near", key=name, method=name),
        rejected("04", name, key=name, reason=name),
    ]
    _, plain = report(a_run(tmp_path, name="plain"), a_collection())
    html, page = report(a_run(tmp_path, run_id=name), content)
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
    assert "No two images of this collection are duplicates of each other." in page.words
    assert page.words.count("and 70 more") == 40
    assert len(html) < 200_000


def test_many_groups_and_members_are_cut_short(tmp_path: Path) -> None:
    content: list[dict[str, Any]] = []
    for group in range(25):
        first = f"{group:02x}000"
        content.append(keeper(first))
        content += [
            duplicate(f"{group:02x}{i:03x}", first, first, first, "near") for i in range(1, 41)
        ]
    _, page = report(a_run(tmp_path), content)
    words = page.words
    assert "20 of 25 groups are shown here." in words
    assert words.count("and 29 more") == 20
    assert len(page.all("img")) == 20 * 12
    assert words.count("30 of 41 members") == 20


def test_twins_of_one_image_have_no_tree(tmp_path: Path) -> None:
    content = [keeper("01"), duplicate("02", "01", "01", "01", "exact")]
    _, page = report(a_run(tmp_path), content)
    assert "There is no tree to draw" in page.words


def test_long_histories_are_folded(tmp_path: Path) -> None:
    content = [keeper("000000", arrival="2000-01-01")]
    for month in range(1, 400):
        arrival = f"{2000 + month // 12}-{month % 12 + 1:02d}-05"
        content.append(
            duplicate(f"{month:06x}", "000000", "000000", "000000", "exact", arrival=arrival)
        )
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


def test_marks_stay_inside_the_chart() -> None:
    chart = Chart("t", "s", height=240)
    counts = np.zeros(40, dtype=np.int64)
    counts[[0, 39]] = 1_000_000, 1
    charts.histogram(chart, counts, 0.6, 0.01, {"pair": 0.75, "candidate": 0.65, "cut": 0.65})
    assert "logarithmic" in chart.note
    for bar in chart.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= chart.width
        assert bar.y >= 0
        assert bar.y + bar.height <= chart.height
        assert bar.height >= 1
    for line in chart.lines:
        assert all(0 <= v <= chart.width for v in (line.x1, line.x2))
        assert all(0 <= v <= chart.height for v in (line.y1, line.y2))


def test_histogram_keeps_scores_in_the_bin_they_start(tmp_path: Path) -> None:
    """0.29 as a binary fraction is just under 29 hundredths: it must not fall one bin short."""
    run = a_run(tmp_path)
    rows = [{"image_a": "a", "image_b": f"b{i}", "score": i / 100} for i in range(60, 100)]
    publish(run, "pairs", {}, pa.Table.from_pylist(rows, schema=PAIRS))
    warehouse = Warehouse(f"sqlite:///{tmp_path}/warehouse.db")
    warehouse.upgrade()
    warehouse.apply(run, a_candidate(run), batches([image("01")]))
    html = render(run, warehouse)
    titles = re.findall(r"<title>(\d+) pairs from ([\d.]+)", html)
    assert titles == [("1", f"{i / 100:.2f}") for i in range(60, 100)]
