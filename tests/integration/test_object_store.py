"""Source and lake on a store that speaks S3: real requests, and credentials that stay out of sight.

The server is moto's, in a process of its own: what it is asked is what a store would be asked.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import builders
import pytest
from botocore.config import Config
from builders import Bench, Picture, current_state, differences, walk

from idedup_tasks import maintenance, pipeline
from idedup_tasks.lake import (
    PLACE,
    Conflict,
    DamagedPack,
    Lake,
    TableChange,
    find_thumbnails,
    read_thumbnails,
)
from idedup_tasks.run import Run

KEY, SECRET = "AKIAEXAMPLEIDEDUP", "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of an S3 server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, "the server has ended"
                time.sleep(0.1)
        yield address
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def store(server: str) -> Iterator[object]:
    """An empty store; its client."""
    urllib.request.urlopen(f"{server}/moto-api/reset", data=b"", timeout=30).close()
    client = boto3.client(
        "s3",
        endpoint_url=server,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(retries={"max_attempts": 2}),
    )
    client.create_bucket(Bucket="photos")
    client.create_bucket(Bucket="lake")
    yield client
    client.close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, server: str, tmp_path: Path) -> None:
    """Credentials as a deployment gives them: by the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)


def _pictures() -> dict[str, bytes]:
    base = 0x0123456789ABCDEF
    return {
        "2026/01/01/a.png": Picture(base, 1).content,
        "2026/01/01/copy of a.png": Picture(base, 1).content,
        "2026/01/02/b é&+.png": Picture(base ^ 0b111, 1).content,
        "2026/01/02/c.png": Picture(~base % 2**64, 1, 20).content,
        "2026/01/02/broken.png": b"\x89PNG\r\n\x1a\n and no more",
        "2026/01/03/d.png": Picture(base * 5 % 2**64, 2).content,
    }


# Moments from keys: a store says itself when an object was written.
ARRIVAL = {"rule": "key", "template": "{year}/{month}/{day}/"}


def _shapes(run: Run) -> dict[str, list[tuple[object, ...]]]:
    """The state without what says where the source is and how it names versions of an object."""
    state = current_state(run)
    groups = run.lake.snapshot("groups").read(["image_id", "status", "verdict", "group_id"])
    rows = sorted(tuple(row.values()) for row in groups.to_pylist())
    return {"groups": rows, "matches": state["matches"], "vectors": state["vectors"]}


@pytest.fixture
def local(tmp_path: Path, drawn: None, unguarded: None) -> Run:
    """The same pictures in a local folder and a local lake, walked."""
    bench = builders.bench(tmp_path / "local-home", tmp_path / "local", arrival=ARRIVAL)
    for key, content in _pictures().items():
        builders.place(bench.source, key, content, 0)
    walk(bench.run())
    return bench.run()


@pytest.fixture
def bucket(store: Any, tmp_path: Path) -> Bench:
    """The same pictures in a bucket."""
    for key, content in _pictures().items():
        store.put_object(Bucket="photos", Key=f"in/{key}", Body=content)
    bench = builders.bench(tmp_path / "home", tmp_path, arrival=ARRIVAL)
    return bench.with_settings(source="s3://photos/in")


@pytest.fixture
def stored(bucket: Bench, environment: None) -> Bench:
    """And the lake in another."""
    return replace(bucket, lake="s3://lake/idedup")


def test_source_and_lake_on_a_store(stored: Bench, local: Run) -> None:
    """Days in the wrong order, and everything again: as from a folder into a folder."""
    for day in (2, 1, 0):
        walk(stored.run(day))
    assert differences(_shapes(stored.run()), _shapes(local)) == {}
    versions = builders.versions(stored.run())
    counts = walk(stored.run())["ingest"]["counts"]
    assert (counts["read"], counts["reused"]) == (0, 6)
    assert builders.versions(stored.run()) == versions


def test_a_store_is_maintained_as_a_folder_is(
    stored: Bench, drawn: None, unguarded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chunks in ("ingest.planning", "embed.prepare"):
        monkeypatch.setattr(f"idedup_tasks.stages.{chunks}.CHUNK", 1)
    run = stored.run(run_id="run")
    walk(run)
    expected, held = current_state(run), {f.path for f in run.lake.files_under("")}
    assert held >= {"lake.json", "candidates/run/report.json"}
    done = {c.table: c for c in maintenance.compact(run)}
    assert (done["images"].before, done["images"].after) == (6, 3)
    walk(run)
    maintenance.vacuum(run, delete=True, now=datetime.now(UTC) + timedelta(days=10))
    left = {f.path for f in run.lake.files_under("images") if f.path.endswith(".parquet")}
    assert left == {f"images/{f.path}" for f in run.lake.snapshot("images").files()}
    assert differences(current_state(run), expected) == {}
    assert maintenance.compare_source(run) == maintenance.check(run) == []
    run.lake.remove(f"groups/{run.lake.snapshot('groups').files()[0].path}")
    found = maintenance.check(run)
    assert ["is missing" in str(d) for d in found] == [True]
    assert maintenance.repair(run, found) == []
    assert differences(current_state(run), expected) == {}


@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_damaged_packs_of_a_store_are_named_and_mended(
    stored: Bench, drawn: None, unguarded: None, damage: str
) -> None:
    run = stored.run()
    walk(run)
    expected, lake = current_state(run), run.lake
    rows = lake.snapshot("images").read([*PLACE]).drop_null()
    assert None not in find_thumbnails(lake, rows)
    pack = rows["pack"][0].as_py()
    with lake.open(pack) as stream:
        content = stream.read()
    lake.remove(pack)
    if damage != "gone":
        with lake.create(pack) as stream:
            stream.write(content[:-1] if damage == "cut" else b"")
    with pytest.raises(DamagedPack, match=pack):
        read_thumbnails(lake, rows)
    found = maintenance.check(run)
    assert [pack in str(d) for d in found] == [True]
    assert maintenance.repair(run, found) == []
    assert differences(current_state(run), expected) == {}


def test_of_many_that_ask_a_store_for_its_id_one_writes(store: object, environment: None) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = {*threads.map(lambda _: Lake("s3://lake/idedup", "photos").id, range(16))}
    assert len(found) == 1


def test_the_store_refuses_the_second_of_two_commits(
    store: object, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake("s3://lake/idedup", "photos")
    pinned = lake.snapshot("matches")
    lake.publish(TableChange("matches", pinned.version, metadata={"by": "first"}))
    with pytest.raises(Conflict, match="prepared again"):
        lake.publish(TableChange("matches", pinned.version, metadata={"by": "second"}))
    monkeypatch.setattr(Lake, "snapshot", lambda *_: pinned)
    with pytest.raises(Conflict, match="same moment"):
        lake.publish(TableChange("matches", pinned.version, metadata={"by": "second"}))
    monkeypatch.undo()


def test_a_file_that_was_not_finished_does_not_appear(store: object, environment: None) -> None:
    lake = Lake("s3://lake/idedup", "photos")
    with pytest.raises(ZeroDivisionError), lake.create("candidates/half.bin") as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert not lake.exists("candidates/half.bin")
    lake.write_text("candidates/whole.txt", "whole")
    assert lake.read_text("candidates/whole.txt") == "whole"


def test_credentials_of_a_connection_stay_out_of_sight(
    bucket: Bench, server: str, drawn: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Given as options, as the DAG does; then wrong ones, which must fail without being told."""
    options = {"key": KEY, "secret": SECRET, "client_kwargs": {"endpoint_url": server}}
    run = bucket.run(source_options=options)
    with caplog.at_level(logging.DEBUG, logger="idedup_tasks"):
        returned = [pipeline.prepare("ingest", run)]
        returned.append(pipeline.gate("ingest", run, returned[0]["candidate"]))
        returned += walk(run, pipeline.STAGES[1:]).values()
        nowhere = bucket.with_settings(source="s3://nowhere/in").run(source_options=options)
        with pytest.raises(Exception, match="cannot be listed") as failure:
            pipeline.prepare("ingest", nowhere)
    assert returned[-1]["counts"]["images"] == 6
    # Data files are compressed: what is in them is looked at as rows.
    rows = repr(current_state(run))
    assert "broken.png" in rows
    for said in (rows, repr(run), repr(returned), str(failure.value), caplog.text):
        assert SECRET not in said
        assert KEY not in said
    files = [p for p in bucket.home.rglob("*") if p.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        assert KEY.encode() not in content, path
