"""Prefilter, index, match, group and report over synthetic rows: seconds and peak memory of each.

    python -m idedup_tasks.benchmarks.scale --rows 1000000 --new 10000 --folder /tmp/scale

First everything at once, then so many new images over it, then a run with nothing new, then one
with an image that is gone.

A lake is made of random hashes and vectors with planted copies: 2 % with equal bytes, 2 % with
hashes a bit apart, 2 % with similar vectors. No pictures are involved, so ingest and embed are not
measured here; what a look at the planted pairs would say is in the lake beforehand, and any other
is counted and says `different`. Each stage runs in a process of its own, without its gate. Memory
is the largest anonymous resident set it had, which leaves out the pages of memory-mapped scratch
files that the system may drop at any time. CPU seconds are those of all threads: on a busy machine
they say more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from idedup_tasks import pipeline
from idedup_tasks.lake import (
    EMBEDDINGS,
    IMAGES,
    LOOKS,
    TableChange,
    reconcile_partition,
)
from idedup_tasks.run import Run
from idedup_tasks.settings import Collection, Places, sqlite_url

_DAYS = 30
_START = datetime(2026, 1, 1, tzinfo=UTC)
_SHARE = 0.02


def make_run(folder: Path) -> Run:
    """The run that the stages are measured in."""
    places = Places(
        home=folder,
        lake=str(folder / "lake"),
        warehouse=sqlite_url(folder / "warehouse.db"),
        collections=folder,
    )
    collection = Collection.model_validate({"name": "scale", "source": "/nowhere"})
    return Run(collection, "scale", None, places)


def build(run: Run, rows: int, first: int = 0, days: int = _DAYS) -> dict[str, int]:
    """Fill images and embeddings with synthetic rows.

    Args:
        first: the number of the first image, past those of an earlier build.
        days: periods that the images are spread over, after those of an earlier build.
    """
    seed = first
    rng = np.random.default_rng(seed)
    lake, model_id = run.lake, run.model_id
    then = len({f["arrival"] for f in lake.snapshot("images").partitions()})
    planted = int(rows * _SHARE)
    digests = rng.integers(0, 256, (rows, 32), dtype=np.uint8)
    hashes = rng.integers(0, 2**64, rows, dtype=np.uint64)
    place = rng.permutation(rows)[: 6 * planted].reshape(6, planted)
    original, copy, seen, twin, near, relative = place
    digests[copy], hashes[copy] = digests[original], hashes[original]
    hashes[twin] = hashes[seen] ^ (np.uint64(1) << rng.integers(0, 64, planted, dtype=np.uint64))
    partner = np.full(rows, -1)
    partner[relative] = near
    dim = 256
    changes = {name: TableChange(name, lake.snapshot(name).version) for name in _TABLES}
    # The vector of an image is drawn from its own seed, so that a copy's can be made from it
    # without holding a million.
    for day, part in enumerate(np.array_split(np.arange(rows), days), then):
        arrival = (_START + timedelta(days=day)).strftime("%Y-%m-%d")
        ids = [f"{first + i:032x}" for i in part]
        sha256 = [bytes(d).hex() for d in digests[part]]
        images = {name: pa.nulls(len(part), IMAGES.field(name).type) for name in IMAGES.names}
        at = [_START + timedelta(days=day, microseconds=int(i)) for i in range(len(part))]
        images |= {
            "arrival": pa.array([arrival] * len(part)),
            "image_id": pa.array(ids),
            "key": pa.array([f"{arrival}/{first + i}.jpg" for i in part]),
            "uri": pa.array([f"/nowhere/{arrival}/{first + i}.jpg" for i in part]),
            "arrived_at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "bytes": pa.array(rng.integers(10_000, 5_000_000, len(part))),
            "etag": pa.array(ids),
            "sha256": pa.array(sha256),
            "width": pa.array([4000] * len(part), pa.int32()),
            "height": pa.array([3000] * len(part), pa.int32()),
            "format": pa.array(["JPEG"] * len(part)),
            "mode": pa.array(["RGB"] * len(part)),
            "status": pa.array(["decoded"] * len(part)),
            "low_information": pa.array([False] * len(part)),
        }
        vectors = np.empty((len(part), dim), dtype=np.float32)
        for row, i in enumerate(part):
            source = partner[i] if partner[i] >= 0 else i
            vectors[row] = np.random.default_rng([seed, int(source)]).standard_normal(dim)
            if partner[i] >= 0:
                vectors[row] += 0.5 * rng.standard_normal(dim)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
        embeddings = {name: images[name] for name in ("arrival", "image_id", "sha256")}
        embeddings |= {
            "model_id": pa.array([model_id] * len(part)),
            "vector": column,
            "regions": pa.nulls(len(part)),
        }
        tables = {
            "images": pa.table(images, IMAGES),
            "embeddings": pa.table({n: embeddings[n] for n in EMBEDDINGS.names}).cast(EMBEDDINGS),
        }
        for name, table in tables.items():
            partition = {"arrival": arrival}
            if name == "embeddings":
                partition["model_id"] = model_id
            changes[name].add.append(lake.write_rows(name, partition, table))
    lake.publish(changes["images"])
    lake.publish(changes["embeddings"])
    held = np.load(_hashes(run)) if first else hashes[:0]
    np.save(_hashes(run), np.concatenate([held, hashes]))
    _write_looks(run, digests, seen, twin, "same")
    _write_looks(run, digests, near, relative, "edited")
    return {"rows": rows, "exact": planted, "hashes": planted, "vectors": planted}


def _hashes(run: Run) -> Path:
    """What the images hash to, by number."""
    return Path(run.places.home) / "hashes.npy"


def _look(relation: str) -> dict[str, Any]:
    """Columns of `lake.LOOK`."""
    return {
        "relation": relation,
        "score": 0.0 if relation == "different" else 0.99,
        "overlap_a": 1.0,
        "overlap_b": 1.0,
        "changed": {"same": 0.0, "edited": 0.05}.get(relation, 1.0),
        "place": None if relation == "same" else "top left",
        "blur": 0.0,
        "transform": np.eye(3).ravel().tolist(),
        "way": "frames",
    }


def _different(chunk: Any) -> Iterator[dict[str, Any]]:
    """What a look says of random pairs that lie near by chance."""
    yield from (_look("different") for _ in chunk.first)


def _write_looks(
    run: Run, digests: np.ndarray, first: np.ndarray, second: np.ndarray, relation: str
) -> None:
    """What a look at each pair of contents says: uint8 (n, 32) digests, and rows of them."""
    from idedup_tasks.verification import verifier_version

    rows = [
        {"verifier": verifier_version(), "sha256_a": a, "sha256_b": b, **_look(relation)}
        for a, b in (
            sorted(bytes(digests[i]).hex() for i in pair)
            for pair in zip(first, second, strict=True)
        )
    ]
    change = TableChange("looks", run.lake.snapshot("looks").version)
    partition = {"verifier": verifier_version()}
    change.add.append(run.lake.write_rows("looks", partition, pa.Table.from_pylist(rows, LOOKS)))
    run.lake.publish(change)


_TABLES = ("images", "embeddings")


class _Memory:
    """The largest anonymous resident set of this process, in bytes, sampled."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    self.peak = max(self.peak, int(line.split()[1]) * 1024)

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.peak


def measure(run: Run, stage: str) -> dict[str, Any]:
    """Prepare and publish one stage, without its gate, and say what it took."""
    from idedup_tasks import looking
    from idedup_tasks.stages.prefilter import prepare as prefilter
    from idedup_tasks.warehouse import Warehouse

    Warehouse(run.places.warehouse).upgrade()
    module = pipeline.stage_module(stage)
    hashes = np.load(_hashes(run))

    def hashed(chunk: Any) -> np.ndarray:
        numbers = [int(i, 16) for i in chunk.images["image_id"].to_pylist()]
        own: np.ndarray = hashes[numbers][:, None]
        return own

    memory, started, worked = _Memory(), time.perf_counter(), time.process_time()
    # There are no pictures.
    with (
        patch.object(looking, "_seen", _different),
        patch.object(prefilter, "hash_chunk", hashed),
    ):
        candidate = module.prepare(run)
    run.lake.save_candidate(candidate)
    module.publish(run, candidate)
    return {
        "stage": stage,
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
        "peak_mib": round(memory.stop() / 2**20),
        "counts": candidate.counts,
    }


def _settle_embeddings(run: Run) -> None:
    """What the embed stage would record: which fingerprints the vectors are complete for."""
    lake = run.lake
    change = TableChange("embeddings", lake.snapshot("embeddings").version)
    change.metadata = {"reads": {"fingerprints": lake.snapshot("fingerprints").version}}
    lake.publish(change)


def remove_one(run: Run) -> None:
    """Have the first image of the collection be gone."""
    images = run.lake.snapshot("images")
    change = TableChange("images", images.version)
    partition = min(images.partitions(), key=lambda p: p["arrival"])
    rows = images.read(files=images.files(**partition)).slice(1)
    reconcile_partition(run.lake, images, change, partition, rows)
    run.lake.publish(change)


def stages(folder: Path) -> Iterator[dict[str, Any]]:
    """Measure each stage in a process of its own."""
    for stage in ("prefilter", "index", "match", "group", "report"):
        command = [sys.executable, "-m", __spec__.name, "--folder", str(folder), "--stage", stage]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
        yield json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="images of the synthetic lake")
    parser.add_argument("--new", type=int, default=0, help="images that come after the first run")
    parser.add_argument(
        "--folder", type=Path, required=True, help="empty or missing; removed after"
    )
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    run = make_run(chosen.folder)
    if chosen.stage:
        result = measure(run, chosen.stage)
        if chosen.stage == "prefilter":
            _settle_embeddings(run)
        print(json.dumps(result))
        return
    if chosen.folder.exists() and any(chosen.folder.iterdir()):
        parser.error(f"{chosen.folder} is not empty")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(build(run, chosen.rows)), flush=True)
    runs: dict[str, Callable[[], object]] = {"first": lambda: None}
    if chosen.new:
        runs |= {
            "new": lambda: build(run, chosen.new, chosen.rows, days=1),
            "idle": lambda: None,
            "removed": lambda: remove_one(run),
        }
    for name, happens in runs.items():
        happens()
        for result in stages(chosen.folder):
            print(json.dumps({"run": name, **result}), flush=True)


if __name__ == "__main__":
    main()
