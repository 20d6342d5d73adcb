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

GROUP_COLUMNS = (
    "uri",
    "path",
    "group_id",
    "is_keeper",
    "relation",
    "method",
    "score",
    "score_to_keeper",
    "matched_uri",
    "keeper_uri",
    "width",
    "height",
    "bytes",
    "uncertain",
)


@dataclass(frozen=True)
class ScanResult:
    """Where a scan's files are, and what it found.

    Attributes:
        output: the folder with `report.html`, `groups.csv`, `groups.parquet`, `images.parquet` and
            `summary.json`.
        summary: the content of `summary.json`.

    `groups` and `images` are Arrow tables, read from their files each time they are asked for;
    `.to_pandas()` makes a data frame of one.
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
    def images(self) -> pa.Table:
        """A row per file with status and verdict; columns of `images.parquet`."""
        import pyarrow.parquet as pq

        return pq.read_table(self.output / "images.parquet")


def write_results(run: Run, results: str, report: str, folder: Path) -> None:
    """Write `images.parquet`, `report.html`, `groups.parquet` and `groups.csv`.

    Args:
        results, report: where in the lake the report stage left them.
        folder: the scan's output.
    """
    import pyarrow.parquet as pq

    for source, name in ((results, "images.parquet"), (report, "report.html")):
        with run.lake.open(source) as found, _replacing(folder / name) as copy:
            shutil.copyfileobj(found, copy)
    groups = group_members(run, results)
    with _replacing(folder / "groups.parquet") as stream:
        pq.write_table(groups, stream, compression="zstd")
    with _replacing(folder / "groups.csv") as stream:
        write_csv(groups, stream)


def group_members(run: Run, results: str) -> pa.Table:
    """One row per member of a group of two or more: groups by age, the keeper first, then those
    whose place in it is uncertain."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from idedup_tasks.lake import uncertain
    from idedup_tasks.stages.report.prepare import read_results

    columns = [
        "image_id", "uri", "arrived_at", "group_id", "verdict", "relation", "method", "score",
        "threshold", "score_to_keeper", "matched_id", "keeper_id", "width", "height", "bytes",
    ]  # fmt: skip
    batches = [
        batch.select(columns).filter(pc.field("group_id").is_valid())
        for batch in read_results(run.lake, results)
    ]
    rows = pa.Table.from_batches(batches)
    ids, uris = rows["image_id"].combine_chunks(), rows["uri"].combine_chunks()

    def uri_of(column: str) -> pa.Array:
        return uris.take(pc.index_in(rows[column].combine_chunks(), value_set=ids))

    # The group is named after its earliest member, so that member's arrival is the group's age.
    age = rows["arrived_at"].take(pc.index_in(rows["group_id"].combine_chunks(), value_set=ids))
    doubtful = uncertain(rows, run.collection.grouping.uncertain_margin)
    made = {
        "uncertain": doubtful,
        "certain": pc.invert(doubtful),
        "path": pc.replace_substring_regex(uris, r"^[A-Za-z][A-Za-z0-9+.-]*://", ""),
        "is_keeper": pc.equal(rows["verdict"], "keeper"),
        "matched_uri": uri_of("matched_id"),
        "keeper_uri": uri_of("keeper_id"),
        "duplicate": pc.not_equal(rows["verdict"], "keeper"),
        "age": age,
    }
    for name, values in made.items():
        rows = rows.append_column(name, values)
    order = [(c, "ascending") for c in ("age", "group_id", "duplicate", "certain", "uri")]
    return rows.sort_by(order).select(list(GROUP_COLUMNS)).combine_chunks()


def write_csv(groups: pa.Table, stream: IO[bytes]) -> None:
    """UTF-8, quoted where needed, so that every name comes back as it was.

    No cell is changed to guard against formulae, and none can be one: texts are addresses, paths
    that begin with a slash or a bucket's name, ids and words of ours.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(GROUP_COLUMNS)
    for batch in groups.to_batches(16_384):
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        writer.writerows(
            [str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows
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
