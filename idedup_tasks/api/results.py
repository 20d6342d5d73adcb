"""The files that a scan leaves in its output folder, each whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from idedup_tasks.run import Run

# What others read by name stands first; columns are only ever added.
GROUP_COLUMNS = (
    "uri",
    "group_id",
    "relation",
    "is_keeper",
    "image_id",
    "score",
    "overlap",
    "keeper_overlap",
    "changed",
    "place",
    "why",
    "keeper_uri",
    "width",
    "height",
    "bytes",
    "path",
)
PAIR_COLUMNS = ("uri_a", "uri_b", "relation", "score", "overlap_a", "overlap_b", "changed")
# Of verdicts, within a group.
_ORDER = ("keeper", "duplicate", "variant")


@dataclass(frozen=True)
class ScanResult:
    """Where a scan's files are, and what it found.

    Attributes:
        output: the folder with `report.html`, `groups.csv`, `groups.parquet`, `pairs.csv`,
            `pairs.parquet`, `images.parquet` and `summary.json`.
        summary: the content of `summary.json`.

    `groups`, `pairs` and `images` are Arrow tables, read from their files each time they are asked
    for; `.to_pandas()` makes a data frame of one.
    """

    output: Path
    summary: dict[str, Any]

    @property
    def report(self) -> Path:
        return self.output / "report.html"

    @property
    def groups(self) -> pa.Table:
        """A row per member of a group, in the order of `groups.csv`; columns `GROUP_COLUMNS`."""
        import pyarrow.parquet as pq

        return pq.read_table(self.output / "groups.parquet")

    @property
    def pairs(self) -> pa.Table:
        """A row per pair that was looked at, the likeliest first; columns `PAIR_COLUMNS`."""
        import pyarrow.parquet as pq

        return pq.read_table(self.output / "pairs.parquet")

    @property
    def images(self) -> pa.Table:
        """A row per file with status and verdict; columns of `images.parquet`."""
        import pyarrow.parquet as pq

        return pq.read_table(self.output / "images.parquet")


def write_results(run: Run, files: Mapping[str, str], report: str, folder: Path) -> None:
    """Write `images.parquet`, `report.html`, and `groups` and `pairs` as Parquet and CSV.

    Args:
        files: where in the lake the report stage left `results` and `pairs`.
        report: where it left its page.
        folder: the scan's output.
    """
    import pyarrow.parquet as pq

    results = files["results"]
    for source, name in ((results, "images.parquet"), (report, "report.html")):
        with run.lake.open(source) as found, _replacing(folder / name) as copy:
            shutil.copyfileobj(found, copy)
    groups, pairs = group_members(run, results), pairs_looked_at(run, results, files["pairs"])
    for name, rows in (("groups", groups), ("pairs", pairs)):
        with _replacing(folder / f"{name}.parquet") as stream:
            pq.write_table(rows, stream, compression="zstd")
        with _replacing(folder / f"{name}.csv") as stream:
            write_csv(rows, stream)


def group_members(run: Run, results: str) -> pa.Table:
    """One row per member of a group of two or more: groups by age, the keeper first, variants last.

    `relation` and what follows it are of the member to its keeper.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from idedup_tasks.stages.report.prepare import read_results

    columns = [
        "image_id", "uri", "arrived_at", "group_id", "verdict", "relation", "score", "overlap",
        "keeper_overlap", "changed", "place", "why", "keeper_id", "width", "height", "bytes",
    ]  # fmt: skip
    batches = [
        batch.select(columns).filter(pc.field("group_id").is_valid())
        for batch in read_results(run.lake, results)
    ]
    rows = pa.Table.from_batches(batches)
    ids, uris = rows["image_id"].combine_chunks(), rows["uri"].combine_chunks()
    # The group is named after its earliest member, so that member's arrival is the group's age.
    age = rows["arrived_at"].take(pc.index_in(rows["group_id"].combine_chunks(), value_set=ids))
    made = {
        "path": pc.replace_substring_regex(uris, r"^[A-Za-z][A-Za-z0-9+.-]*://", ""),
        "is_keeper": pc.equal(rows["verdict"], "keeper"),
        "keeper_uri": uris.take(pc.index_in(rows["keeper_id"].combine_chunks(), value_set=ids)),
        "place_in_group": pc.index_in(rows["verdict"], value_set=pa.array(_ORDER)),
        "age": age,
    }
    for name, values in made.items():
        rows = rows.append_column(name, values)
    order = [(c, "ascending") for c in ("age", "group_id", "place_in_group", "uri")]
    return rows.sort_by(order).select(list(GROUP_COLUMNS)).combine_chunks()


def pairs_looked_at(run: Run, results: str, pairs: str) -> pa.Table:
    """One row per pair of images that was looked at, whatever was seen; the likeliest first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from idedup_tasks.lake import PAIR_RESULTS, RESULTS
    from idedup_tasks.stages.report.prepare import read_results

    named = ["image_id", "uri"]
    schema = pa.schema([RESULTS.field(name) for name in named])
    batches = (batch.select(named) for batch in read_results(run.lake, results))
    images = pa.Table.from_batches(batches, schema).combine_chunks()
    ids, uris = (images[name].combine_chunks() for name in named)
    rows = pa.Table.from_batches(read_results(run.lake, pairs), PAIR_RESULTS)
    for side in ("a", "b"):
        place = pc.index_in(rows[f"image_{side}"].combine_chunks(), value_set=ids)
        rows = rows.append_column(f"uri_{side}", uris.take(place))
    order = [("score", "descending"), ("uri_a", "ascending"), ("uri_b", "ascending")]
    return rows.sort_by(order).select(list(PAIR_COLUMNS)).combine_chunks()


def write_csv(rows: pa.Table, stream: IO[bytes]) -> None:
    """UTF-8, quoted where needed, so that every name comes back as it was.

    No cell is changed to guard against formulae, and none can be one: texts are addresses, paths
    that begin with a slash or a bucket's name, ids and words of ours.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(rows.column_names)
    for batch in rows.to_batches(16_384):
        cells = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        writer.writerows(
            [str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in cells
        )
    text.detach()


def write_summary(summary: Mapping[str, Any], folder: Path) -> None:
    with _replacing(folder / "summary.json") as stream:
        stream.write(json.dumps(summary, indent=1, ensure_ascii=False).encode() + b"\n")


def rejected_files(run: Run, results: str) -> list[dict[str, str]]:
    """`uri` and `reason` of each file that could not be read, by uri."""
    import pyarrow.compute as pc

    from idedup_tasks.stages.report.prepare import read_results

    found: list[dict[str, str]] = []
    for batch in read_results(run.lake, results):
        rows = batch.filter(pc.field("status") == "rejected").select(["uri", "reason"])
        found += rows.to_pylist()
    return sorted(found, key=lambda row: row["uri"])


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
