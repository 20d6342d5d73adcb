"""Table 2: one command trains, measures and tabulates, and goes on where it was stopped."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from builders import save_scenes

from idedup_tasks.training import table2

pytestmark = pytest.mark.training


def test_rows_are_trained_measured_and_not_done_again(tmp_path, monkeypatch):
    photos, others = tmp_path / "photos", tmp_path / "others"
    save_scenes(photos, 750)
    save_scenes(others, 12, first=750)
    monkeypatch.setenv("IDEDUP_HOME", str(tmp_path / "home"))
    rows = (table2.Row("lenet", 32), table2.Row("mobilenet_v3", 32, shipped=True))
    monkeypatch.setattr(table2, "ROWS", rows)
    output = tmp_path / "table2"
    command = ["table2", "--photos", str(photos), "--others", str(others)]
    command += ["--output", str(output), "--cpu-seconds", "1"]
    monkeypatch.setattr(sys, "argv", command)
    table2.main()
    written = (output / "table2.md").read_text()
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in written.splitlines()[2:]]
    assert [line[:3] for line in cells] == [
        ["lenet", "32", "scratch"],
        ["mobilenet_v3", "32", "shipped"],
    ]
    for line, row in zip(cells, rows, strict=True):
        folder = output / row.folder
        training = json.loads((folder / f"{row.network}.json").read_text())["figures"]["training"]
        assert (training["cpu_seconds"], training["init"] is not None) == (1, row.shipped)
        assert training["cpu_seconds_spent"] >= 1
        assert training["photographs_seen"] == 64 * training["steps"] > 0
        measured = json.loads((folder / "benchmark" / "benchmark.json").read_text())["methods"]
        found = measured[row.network]["pairs"]["all"]
        assert line[4:7] == [
            f"{training['steps']:,}",
            f"{training['photographs_seen']:,}",
            f"{found['micro_ap']:.3f}",
        ]

    def made() -> dict[Path, int]:
        kept = [p for p in output.rglob("*") if p.is_file() and p.name != "table2.md"]
        return {p: p.stat().st_mtime_ns for p in kept}

    before = made()
    table2.main()
    assert made() == before
    assert (output / "table2.md").read_text() == written


def test_the_table_has_all_networks_and_both_starts_of_the_papers():
    assert len({row.folder for row in table2.ROWS}) == len(table2.ROWS)
    for network in ("idedupnet", "mobilenet_v3"):
        found = {(row.side, row.start) for row in table2.ROWS if row.network == network}
        assert found == {(s, start) for s in (64, 224) for start in ("shipped", "scratch")}
    assert {row.network for row in table2.ROWS if row.side == 64 and not row.shipped} == {
        *("idedupnet", "mobilenet_v3", "lenet", "resnet50", "densenet121", "unet")
    }
