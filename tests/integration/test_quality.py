"""Each rule of the gates, turned red by one planted fault, and green without it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from idedup_tasks.descriptors import descriptor_info
from idedup_tasks.lake import (
    PAIR_RESULTS,
    RESULTS,
    TABLES,
    Candidate,
    DataFile,
    TableChange,
    stored_schema,
)
from idedup_tasks.pipeline import check, rule_names, rules_of
from idedup_tasks.quality import RuleResult, counting, frames
from idedup_tasks.run import Run
from idedup_tasks.settings import STAGES, Collection, Places
from idedup_tasks.verification import verifier_version

INFO = descriptor_info("mobilenet_v3")
READS = {
    "ingest": [],
    "prefilter": ["images"],
    "embed": ["fingerprints", "images"],
    "index": ["fingerprints", "embeddings"],
    "match": ["fingerprints", "embeddings", "index"],
    "group": ["images", "fingerprints", "matches"],
    "report": ["images", "groups", "matches"],
}
WRITES = {
    "ingest": ["images"],
    "prefilter": ["fingerprints"],
    "embed": ["embeddings"],
    "index": ["index"],
    "match": ["matches"],
    "group": ["groups"],
    "report": [],
}
SHARD, IDS = "shards/0.faiss", "shards/0.ids.parquet"
PACK = "packs/0.pack"
Row = dict[str, Any]
_SHAPE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def name(i: int) -> str:
    return hashlib.blake2b(f"{i}".encode(), digest_size=16).hexdigest()


def content(i: int) -> str:
    return hashlib.sha256(f"{i}".encode()).hexdigest()


def seen(a: int, b: int, relation: str, score: float) -> Row:
    """A pair of images, in the order of their ids, and what a look says of them."""
    first, second = sorted((name(a), name(b)))
    # Of a crop, the second is the whole.
    overlaps = {name(a): 1.0, name(b): 0.5 if relation == "crop" else 1.0}
    return {
        "image_a": first, "image_b": second, "relation": relation, "score": score,
        "overlap_a": overlaps[first], "overlap_b": overlaps[second], "changed": 0.0, "blur": 0.0,
        "transform": [*_SHAPE], "way": "bytes" if relation == "exact" else "frames",
    }  # fmt: skip


def member(verdict: str, relation: str, keeper: int, score: float = 0.9) -> Row:
    """What `groups` says of a member of the group that is named after its keeper."""
    return {
        "verdict": verdict, "group_id": name(keeper), "relation": relation,
        "method": "sha256" if relation == "exact" else verifier_version(),
        "keeper_id": name(keeper), "score": score, "overlap": 1.0,
        "keeper_overlap": 0.5 if relation == "crop" else 1.0, "changed": 0.0,
        "transform": [*_SHAPE], "why": "of the keeper",
    }  # fmt: skip


def kept(i: int) -> Row:
    """What `groups` says of a keeper after which its group is named."""
    unseen = dict.fromkeys(member("", "", i))
    return unseen | {
        "verdict": "keeper", "group_id": name(i), "keeper_id": name(i), "why": "the whole picture"
    }  # fmt: skip


class World:
    """Twelve images over two days, as seven stages that do their work would leave them.

    3 is a copy of 1 and 6 of 5 (flat); 4 is a twin of 2, 2 a crop of 1 and 4 an edit of it; 7 and 8
    are alike; 10 is a page, with a finer picture; 11 cannot be read. Groups: {1, 2, 3, 4} and
    {5, 6}.
    """

    def __init__(self, folder: Path, **collection: Any) -> None:
        collection = {"name": "photos", "source": "/nowhere", "device": "cpu", **collection}
        places = Places(
            home=folder, lake=str(folder / "lake"), warehouse="sqlite://", collections=folder
        )
        self.run = Run(Collection.model_validate(collection), "by-hand", None, places)
        self.rows: dict[str, list[Row]] = {table: [] for table in TABLES}
        self.results: list[Row] = []
        self.pairs: list[Row] = []
        self.shards: dict[str, bytes] = {SHARD: b"vectors", IDS: b"ids", PACK: b"jpeg" * 12}
        self.counts: dict[str, Row] = {}
        self.extra: dict[str, pa.Array] = {}  # columns that no schema declares
        self._fill()

    def _fill(self) -> None:
        rng = np.random.default_rng(1)
        for i in range(12):
            original = {3: 1, 6: 5}.get(i, i)
            moment = datetime(2026, 1, 1 + i // 6, i, 30, tzinfo=UTC)
            day = {"arrival": f"2026-01-0{1 + i // 6}", "image_id": name(i)}
            decoded = i != 11
            facts_of = {
                "sha256": content(original), "width": 40, "height": 30, "format": "JPEG",
                "mode": "RGB", "exif_orientation": 1, "low_information": original == 5,
                "pack": PACK, "offset": 4 * i, "length": 4, "checksum": 1,
                "detail": 0.0012, "colour": 9.0, "was_jpeg": False,
        "coarseness": 0.0, "exif_fields": 0,
            }  # fmt: skip
            if i == 10:
                facts_of |= {"fine_offset": 44, "fine_length": 4, "fine_checksum": 1}
            refused = {"reason_code": "not-an-image", "reason": "starts with no known signature"}
            listed = {"key": f"{i}.jpg", "uri": f"/nowhere/{i}.jpg", "arrived_at": moment}
            self.rows["images"].append(
                day
                | listed
                | {"bytes": 100 + i, "etag": "1", "status": "decoded" if decoded else "rejected"}
                | (facts_of if decoded else refused)
            )
            verdict: Row = {"verdict": None}
            if decoded:
                collapsed = {3: (1, "exact", 0), 6: (5, "exact", 0), 4: (2, "same", 2)}.get(i)
                status = {"status": "collapsed" if collapsed else "active"}
                print_of = {
                    "sha256": content(original),
                    "hash": i,
                    "low_information": original == 5,
                }
                onto = {}
                if collapsed:
                    onto = {
                        "onto": name(collapsed[0]),
                        "relation": collapsed[1],
                        "distance": collapsed[2],
                    }
                self.rows["fingerprints"].append(day | print_of | status | onto)
                if not collapsed:
                    vector = rng.normal(size=INFO.dim)
                    self.rows["embeddings"].append(
                        day
                        | {"model_id": self.run.model_id, "sha256": content(original)}
                        | {"vector": (vector / np.linalg.norm(vector)).astype(np.float32)}
                    )
                verdict = {"verdict": "unique", "crowded": False}
                evidence = {
                    2: ("duplicate", "crop", 1, 0.9),
                    3: ("duplicate", "exact", 1, 1.0),
                    4: ("variant", "edited", 1, 0.8),
                    6: ("duplicate", "exact", 5, 1.0),
                }.get(i)
                if evidence:
                    verdict |= member(*evidence)
                elif i in (1, 5):
                    verdict |= kept(i)
                self.rows["groups"].append(day | {"sha256": content(original)} | status | verdict)
            state = self.rows["groups"][-1]["status"] if decoded else "rejected"
            self.results.append(
                {k: v for k, v in self.rows["images"][-1].items() if k in RESULTS.names}
                | {"status": state}
                | {k: v for k, v in verdict.items() if k in RESULTS.names}
            )
        for a, b, by, cosine, relation, score in (
            (4, 2, "hash", None, "same", 0.95),
            (4, 1, "component", None, "edited", 0.8),
            (7, 8, "vector", 0.6, "alike", 0.3),
            (2, 1, "vector", 0.8, "crop", 0.9),
        ):
            self.look(a, b, relation, score)
            look = seen(a, b, relation, score)
            self.rows["matches"].append(look | {"proposed_by": by, "cosine": cosine})
        copies = [seen(3, 1, "exact", 1.0), seen(6, 5, "exact", 1.0)]
        self.pairs = [
            {k: row[k] for k in PAIR_RESULTS.names} for row in (*self.rows["matches"], *copies)
        ]
        self.rows["index"] = [
            {
                "model_id": self.run.model_id, "shard_id": "0", "path": SHARD, "bytes": 10,
                "checksum": content(0), "vectors": 8,
            }
        ]  # fmt: skip
        duplicates = {"duplicates_exact": 2, "duplicates_same": 0, "duplicates_crop": 1}
        variants = {"variants_inside": 0, "variants_edited": 1}
        of_embed = {"active": 8, "present": 0, "embedded": 8, "dim": INFO.dim, "images": 8}
        of_index = {"active": 8, "indexed": 8, "added": 8, "shards": 1, "rebuilt": 0, "stale": 0}
        of_group = {"decoded": 11, "active": 8, "unique": 5, "keepers": 2, "groups": 2}
        related = {"exact": 2, "same": 0, "crop": 1, "inside": 0, "edited": 1}
        self.counts = {
            "ingest": {
                "listed": 12, "decoded": 11, "rejected": 1, "reused": 0, "read": 12, "vanished": 0,
                "max_removed_ratio": 0.0,
            },
            "prefilter": {
                "decoded": 11, "active": 8, "collapsed_exact": 2, "collapsed_same": 1,
            },
            "embed": {**of_embed, "model_id": self.run.model_id},
            "index": {**of_index, "sampled": 4, "found_themselves": 4, "images": 8},
            "match": {
                "active": 8, "images": 8, "candidates": 2, "hash_pairs": 1, "component_pairs": 1,
                "looked_at": 4, "looks_new": 3, "looks_known": 1, "crowded": 0, "components": 1,
                "mode": "exact", "sampled_recall": None, "same": 1, "edited": 1, "alike": 1,
                "exact": 0, "crop": 1, "inside": 0, "different": 0, "undecided": 0,
            },
            "group": {
                **of_group, **related, "largest_group": 4, "images": 11, "crowded": 0,
                "components": 1, "components_large": 0, "left": 0, "looks_asked": 0,
                "linkage": "average",
            },
            "report": {
                "images": 12, "decoded": 11, "active": 8, "collapsed": 3, "rejected": 1,
                "groups": 2, "bytes": sum(range(100, 112)), "duplicates": 3, **duplicates,
                "variants": 1, **variants, "reclaimable_exact": 103 + 106, "reclaimable_same": 0,
                "reclaimable_crop": 102, "reclaimable_inside": 0, "reclaimable_edited": 0,
                "pairs": 6, "alike": 1,
            },
        }  # fmt: skip

    def look(self, a: int, b: int, relation: str, score: float = 0.9) -> None:
        """Somebody has looked at the contents of two images."""
        low, high = sorted((content(a), content(b)))
        look = {
            k: v
            for k, v in seen(a, b, relation, score).items()
            if k in TABLES["looks"].schema.names
        }
        of_pair = {"verifier": verifier_version(), "sha256_a": low, "sha256_b": high}
        self.rows["looks"].append(look | of_pair)

    def row(self, table: str, i: int) -> Row:
        return next(r for r in self.rows[table] if r["image_id"] == name(i))

    def change(self, table: str) -> TableChange:
        """Write all rows of a table, a file per partition."""
        definition, lake = TABLES[table], self.run.lake
        change = TableChange(table, lake.snapshot(table).version)
        partitions: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows[table]:
            key = tuple(row[c] for c in definition.partition_by)
            partitions.setdefault(key, []).append(row)
        for key, rows in sorted(partitions.items()):
            partition = dict(zip(definition.partition_by, key, strict=True))
            # The lake's own writer refuses nulls where there may be none; a broken one might not.
            schema = pa.schema([f.with_nullable(True) for f in stored_schema(definition)])
            path = lake.data_path(table, partition, f"{len(change.add)}.parquet")
            with lake.create(f"{table}/{path}") as stream:
                pq.write_table(pa.Table.from_pylist(rows, schema), stream)
            change.add.append(DataFile(path, lake.size(f"{table}/{path}"), len(rows), partition))
        return change

    def candidate(self, stage: str) -> Candidate:
        """Publish what the stage reads, and prepare what it would write."""
        lake = self.run.lake
        reads = {table: lake.publish(self.change(table)) for table in READS[stage]}
        for path, data in self.shards.items():
            with lake.create(path) as stream:
                stream.write(data)
        if stage == "group":  # not read by the stage: what its gate counts again
            lake.publish(self.change("looks"))
        files = {}
        if stage == "report":
            files = {"results": "results.parquet", "pairs": "pairs.parquet"}
            with lake.create(files["pairs"]) as stream:
                pq.write_table(pa.Table.from_pylist(self.pairs, PAIR_RESULTS), stream)
            table = pa.Table.from_pylist(self.results, RESULTS)
            for column, values in self.extra.items():
                table = table.append_column(column, values)
            with lake.create(files["results"]) as stream:
                pq.write_table(table, stream)
        changes = [self.change(table) for table in WRITES[stage]]
        return Candidate(stage, "by-hand", changes, reads, self.counts[stage], files=files)

    def check(self, stage: str, **run: Any) -> list[RuleResult]:
        return check(replace(self.run, **run), self.candidate(stage))


def red(results: list[RuleResult]) -> dict[str, str]:
    return {r.rule: r.observed for r in results if not r.success}


@pytest.mark.parametrize("stage", STAGES)
def test_a_clean_candidate_breaks_no_rule(stage: str, tmp_path: Path) -> None:
    results = World(tmp_path).check(stage)
    assert red(results) == {}
    assert all(r.observed and r.expected for r in results)


# --- planted faults ----------------------------------------------------------------------------

Fault = Callable[[World], Any]


def setting(table: str, i: int, **values: Any) -> Fault:
    return lambda world: world.row(table, i).update(values)


def counted(stage: str, **values: Any) -> Fault:
    return lambda world: world.counts[stage].update(values)


def result(i: int, **values: Any) -> Fault:
    return lambda world: world.results[i].update(values)


def every(*faults: Fault) -> Fault:
    return lambda world: [fault(world) for fault in faults]


def match(**values: Any) -> Fault:
    return lambda world: world.rows["matches"][-1].update(values)


def too_far_apart(world: World) -> None:
    world.rows["matches"][-1]["cosine"] = world.run.thresholds.candidate - 0.0001


def turned_match(world: World) -> None:
    row = world.rows["matches"][-1]
    row.update(image_a=row["image_b"], image_b=row["image_a"])


def twice(table: str, stage: str, **counts: int) -> Fault:
    """The last row once more, counted as if it belonged there."""

    def fault(world: World) -> None:
        world.rows[table].append(dict(world.rows[table][-1]))
        for count, more in counts.items():
            world.counts[stage][count] += more

    return fault


def scaled_vector(factor: float) -> Fault:
    def fault(world: World) -> None:
        world.row("embeddings", 2)["vector"] = world.row("embeddings", 2)["vector"] * factor

    return fault


def broken_vector(world: World) -> None:
    vector = world.row("embeddings", 2)["vector"].copy()
    vector[3] = np.nan
    world.row("embeddings", 2)["vector"] = vector


def short_vector(world: World) -> None:
    world.row("embeddings", 2)["vector"] = np.ones(1, np.float32)


def another_model(world: World) -> None:
    world.rows["embeddings"].append(world.row("embeddings", 2) | {"model_id": "another"})


def shard(**values: Any) -> Fault:
    return lambda world: world.rows["index"][0].update(values)


def one_group_of_three_and_one_of_one(world: World) -> None:
    world.row("groups", 2).update(kept(2))
    world.counts["group"].update(keepers=3, groups=3, crop=0)


def two_keepers_and_none(world: World) -> None:
    """One more in the first group; and two images that are a group and name that of another."""
    world.row("groups", 2).update(kept(2), group_id=name(1), keeper_id=name(1))
    for i in (9, 10):
        world.look(i, 1, "same")
        world.row("groups", i).update(member("duplicate", "same", 1), group_id=name(9))
    world.counts["group"].update(keepers=3, groups=3, unique=3, crop=0, same=2)


def keeper_of_another_group(world: World) -> None:
    world.look(4, 5, "edited")
    world.row("groups", 4)["keeper_id"] = name(5)


def look_of_another_version(world: World) -> None:
    for row in world.rows["looks"]:
        row["verifier"] = "looks-0"


def no_look(a: int, b: int) -> Fault:
    ends = {content(a), content(b)}

    def fault(world: World) -> None:
        looks = world.rows["looks"]
        looks[:] = [row for row in looks if {row["sha256_a"], row["sha256_b"]} != ends]

    return fault


def named_after_a_stranger(world: World) -> None:
    for i in (1, 2, 3, 4):
        world.row("groups", i)["group_id"] = name(7)


def empty_shard(world: World) -> None:
    world.rows["index"][0]["bytes"] = 0
    world.shards = {SHARD: b"", IDS: b""}


def odd_relation(world: World) -> None:
    world.results[2]["relation"] = "odd"
    world.counts["report"]["reclaimable_crop"] = 0


def pair(at: int, **values: Any) -> Fault:
    return lambda world: world.pairs[at].update(values)


def one_pair_twice(world: World) -> None:
    world.pairs.append(dict(world.pairs[-1]))
    world.counts["report"]["pairs"] += 1


def one_pair_less(world: World) -> None:
    world.pairs.pop()
    world.counts["report"]["pairs"] -= 1


def one_pair_more(world: World) -> None:
    world.pairs.append(world.pairs[-1] | {"image_a": name(9)})
    world.counts["report"]["pairs"] += 1


FAULTS: list[tuple[str, str, Fault]] = [
    ("ingest", "images_filled", setting("images", 4, sha256=None)),
    ("ingest", "images_filled", setting("images", 11, reason=None)),
    (
        "ingest",
        "images_statuses",
        every(
            setting("images", 11, status="lost"),
            counted("ingest", listed=11, read=11, rejected=0),
        ),
    ),
    ("ingest", "image_ids", setting("images", 4, image_id="4.jpg")),
    ("ingest", "image_digests", setting("images", 4, sha256="0" * 63 + "g")),
    ("ingest", "image_sizes", setting("images", 4, width=0)),
    ("ingest", "images_filled", setting("images", 4, checksum=None)),
    ("ingest", "images_filled", setting("images", 4, detail=None)),
    ("ingest", "thumbnails_in_packs", setting("images", 4, pack="packs/lost.pack")),
    ("ingest", "thumbnails_in_packs", setting("images", 10, offset=45)),
    ("ingest", "thumbnails_in_packs", setting("images", 4, offset=-1)),
    ("ingest", "thumbnails_in_packs", setting("images", 10, fine_offset=45)),
    ("ingest", "thumbnails_in_packs", setting("images", 10, fine_length=None)),
    ("ingest", "thumbnails_in_packs", setting("images", 10, fine_checksum=None)),
    ("ingest", "packs_reconcile", lambda world: world.shards.update({PACK: b"jpeg" * 13})),
    ("ingest", "arrival_periods", setting("images", 4, arrival="2026-01-02")),
    (
        "ingest",
        "arrivals_plausible",
        setting("images", 4, arrived_at=datetime(2107, 12, 31, tzinfo=UTC), arrival="2107-12-31"),
    ),
    ("ingest", "images_unique", twice("images", "ingest", listed=1, rejected=1, read=1)),
    ("ingest", "ingest_reconciles", counted("ingest", listed=13, read=13)),
    ("ingest", "ingest_reconciles", counted("ingest", reused=1)),
    ("ingest", "ingest_in_lake", counted("ingest", decoded=10, rejected=2)),
    (
        "ingest",
        "reject_ratio",
        every(
            *(
                setting("images", i, status="rejected", reason_code="x", reason="x", pack=None)
                for i in (7, 8, 9)
            ),
            counted("ingest", decoded=8, rejected=4),
        ),
    ),
    ("ingest", "removal_ratio", counted("ingest", max_removed_ratio=0.21)),
    ("prefilter", "fingerprints_filled", setting("fingerprints", 4, low_information=None)),
    ("prefilter", "fingerprint_statuses", setting("fingerprints", 0, status="idle")),
    ("prefilter", "collapse_evidence", setting("fingerprints", 4, distance=None)),
    ("prefilter", "collapse_evidence", setting("fingerprints", 0, onto=name(1))),
    ("prefilter", "collapse_distances", setting("fingerprints", 4, distance=65)),
    ("prefilter", "collapse_distances", setting("fingerprints", 3, distance=1)),
    ("prefilter", "low_information_by_bytes", setting("fingerprints", 4, low_information=True)),
    ("prefilter", "collapse_targets", setting("fingerprints", 3, onto=name(99))),
    ("prefilter", "collapse_targets", setting("fingerprints", 4, onto=name(3))),
    ("prefilter", "fingerprints_unique", twice("fingerprints", "prefilter", active=1, decoded=1)),
    ("prefilter", "prefilter_reconciles", counted("prefilter", decoded=12)),
    ("prefilter", "prefilter_in_lake", counted("prefilter", active=7, collapsed_exact=3)),
    ("prefilter", "fingerprints_complete", setting("fingerprints", 4, sha256=content(99))),
    ("prefilter", "fingerprints_complete", setting("fingerprints", 4, arrival="2026-01-02")),
    ("embed", "embeddings_filled", setting("embeddings", 2, sha256=None)),
    ("embed", "one_model", another_model),
    ("embed", "vector_lengths", short_vector),
    ("embed", "vectors_finite", broken_vector),
    ("embed", "vectors_unit", scaled_vector(1.01)),
    ("embed", "vectors_unit", scaled_vector(0.0)),
    ("embed", "embeddings_unique", twice("embeddings", "embed")),
    ("embed", "embed_reconciles", counted("embed", embedded=7)),
    ("embed", "embeddings_complete", setting("embeddings", 2, sha256=content(99))),
    ("index", "shards_filled", shard(checksum=None)),
    ("index", "shard_sizes", empty_shard),
    ("index", "shard_checksums", shard(checksum="md5:0")),
    ("index", "shard_files", lambda world: world.shards.pop(IDS)),
    ("index", "shard_files", lambda world: world.shards.update({SHARD: b"vect"})),
    ("index", "shards_unique", twice("index", "index")),
    ("index", "index_reconciles", counted("index", indexed=7)),
    ("index", "index_in_lake", shard(vectors=7)),
    ("index", "self_recall", counted("index", found_themselves=3)),
    ("index", "self_recall_sampled", counted("index", sampled=0, found_themselves=0)),
    ("match", "matches_filled", match(way=None)),
    ("match", "matches_ordered", turned_match),
    ("match", "match_words", match(way="guessed")),
    ("match", "match_words", match(proposed_by="chance", cosine=None)),
    ("match", "match_shares", match(changed=1.5)),
    ("match", "match_transforms", match(transform=[1.0] * 8)),
    ("match", "match_cosines", too_far_apart),
    ("match", "match_cosines", match(cosine=None)),
    ("match", "twins_are_the_same", every(
        lambda world: world.rows["matches"][0].update(relation="alike"),
        counted("match", same=0, alike=2),
    )),
    ("match", "matches_unique", twice(
        "matches", "match", candidates=1, crop=1, looks_new=1, looked_at=1
    )),
    ("match", "matches_of_contents", match(image_b=name(3), image_a="0" * 32)),
    ("match", "match_reconciles", counted("match", looks_new=4)),
    ("match", "match_reconciles", counted("match", active=7)),
    ("match", "match_in_lake", counted("match", edited=0, alike=2)),
    ("match", "match_in_lake", counted("match", crowded=1)),
    ("match", "candidate_recall", counted("match", sampled_recall=0.9)),
    ("group", "groups_filled", setting("groups", 9, sha256=None)),
    ("group", "groups_filled", setting("groups", 9, crowded=None)),
    ("group", "group_words", setting("groups", 2, relation="odd")),
    (
        "group",
        "group_words",
        every(setting("groups", 2, relation="edited"), counted("group", crop=0, edited=2)),
    ),
    (
        "group",
        "group_words",
        every(setting("groups", 4, relation="crop"), counted("group", crop=2, edited=0)),
    ),
    ("group", "group_ids", setting("groups", 1, why=None)),
    ("group", "group_ids", setting("groups", 9, why="odd")),
    ("group", "group_ids", setting("groups", 9, keeper_id=name(1))),
    ("group", "evidence", setting("groups", 2, method=None)),
    ("group", "evidence", setting("groups", 4, score=None)),
    ("group", "evidence", setting("groups", 4, transform=None)),
    ("group", "evidence", setting("groups", 3, keeper_overlap=None)),
    ("group", "no_evidence_for_keepers", setting("groups", 1, score=0.9)),
    ("group", "no_evidence_for_keepers", setting("groups", 9, place="top left")),
    ("group", "group_shares", setting("groups", 2, score=1.2)),
    ("group", "group_shares", setting("groups", 2, keeper_overlap=-0.1)),
    ("group", "groups_of_two", one_group_of_three_and_one_of_one),
    ("group", "one_keeper", two_keepers_and_none),
    ("group", "one_keeper", keeper_of_another_group),
    ("group", "group_names", named_after_a_stranger),
    ("group", "seen", no_look(4, 1)),
    ("group", "seen", look_of_another_version),
    ("group", "seen", setting("groups", 3, sha256=content(99))),
    ("group", "verdicts_unique", twice("groups", "group", decoded=1, unique=1)),
    ("group", "group_reconciles", counted("group", decoded=12)),
    ("group", "group_reconciles", counted("group", groups=3)),
    ("group", "group_in_lake", counted("group", unique=4, same=1)),
    ("group", "group_in_lake", counted("group", crowded=1)),
    ("group", "verdicts_complete", setting("groups", 9, sha256=content(99))),
    ("report", "results_schema", lambda world: world.extra.update(note=pa.nulls(12, pa.string()))),
    ("report", "results_filled", result(11, reason=None)),
    ("report", "result_statuses", odd_relation),
    ("report", "result_evidence", result(2, why=None)),
    (
        "report",
        "results_unique",
        every(
            lambda world: world.results.append(dict(world.results[10])),
            lambda world: world.rows["images"].append(dict(world.rows["images"][10])),
            counted("report", images=13, active=9),
        ),
    ),
    ("report", "report_reconciles", counted("report", collapsed=4)),
    ("report", "report_duplicates", counted("report", groups=3)),
    ("report", "report_duplicates", counted("report", variants=0)),
    ("report", "report_duplicates", counted("report", duplicates_exact=1, duplicates_same=1)),
    ("report", "reclaimable_bytes", counted("report", reclaimable_exact=1)),
    ("report", "reclaimable_bytes", counted("report", reclaimable_edited=104)),
    ("report", "result_pairs_unique", one_pair_twice),
    ("report", "result_pairs_complete", one_pair_less),
    ("report", "result_pairs_complete", one_pair_more),
    ("report", "result_pairs_complete", pair(0, score=0.2)),
    ("report", "result_pairs_complete", counted("report", alike=2)),
    ("report", "results_complete", result(11, image_id=name(99))),
    ("report", "results_as_grouped", result(2, sha256=content(99))),
]  # fmt: skip


# A status that does not exist, or a row too many, cannot be counted or compared rightly either.
ALSO = {
    "thumbnails_in_packs": "packs_reconcile",
    "fingerprint_statuses": "prefilter_in_lake",
    "fingerprints_unique": "prefilter_reconciles",
    "embeddings_filled": "embeddings_complete",
    "match_words": "match_in_lake",
    "groups_filled": "verdicts_complete",
    "group_words": "group_in_lake",
    "seen": "verdicts_complete",
    "verdicts_unique": "group_reconciles",
    "result_statuses": "result_pairs_complete",
}


@pytest.mark.parametrize(
    ("stage", "rule", "fault"), FAULTS, ids=[f"{rule}-{n}" for n, (_, rule, _) in enumerate(FAULTS)]
)
def test_a_planted_fault_turns_its_rule_red(
    stage: str, rule: str, fault: Fault, tmp_path: Path
) -> None:
    world = World(tmp_path)
    fault(world)
    assert set(red(world.check(stage))) - {ALSO.get(rule)} == {rule}


@pytest.mark.parametrize(
    ("stage", "table", "rule"),
    [
        ("ingest", "images", "images_schema"),
        ("prefilter", "fingerprints", "fingerprints_schema"),
        ("embed", "embeddings", "embeddings_schema"),
        ("index", "index", "index_schema"),
        ("match", "matches", "matches_schema"),
        ("group", "groups", "groups_schema"),
    ],
)
def test_a_file_with_other_columns_or_rows_than_declared_is_found(
    stage: str, table: str, rule: str, tmp_path: Path
) -> None:
    world = World(tmp_path)
    candidate = world.candidate(stage)
    change = next(c for c in candidate.changes if c.table == table)
    path = world.run.lake.path(f"{table}/{change.add[0].path}")
    rows = pq.ParquetFile(path).read()

    pq.write_table(rows.append_column("note", pa.nulls(rows.num_rows, pa.string())), path)
    assert red(check(world.run, candidate)).keys() == {rule}

    pq.write_table(rows, path)
    change.add[0] = replace(change.add[0], rows=rows.num_rows + 1)
    assert red(check(world.run, candidate)).keys() == {rule}


def test_every_rule_has_a_planted_fault() -> None:
    world = World(Path("/nowhere"))
    named = [rule.name for stage in STAGES for rule in rules_of(stage, world.run, {})]
    assert len(named) == len(set(named))  # `warn_only` names a rule without its stage
    schemas = {n for n in named if n.endswith("_schema")} - {"results_schema"}  # tested above
    # A jump needs days of history before it: tests/dags/test_alerts.py has them.
    assert {rule for _, rule, _ in FAULTS} == set(named) - schemas - {"duplicate_rate_jump"}


# --- limits, demotions, and what cannot be evaluated ---------------------------------------------


def severity(results: list[RuleResult], rule: str) -> tuple[str, bool]:
    return next((r.severity, r.success) for r in results if r.rule == rule)


def test_a_collection_can_demote_a_rule_to_a_warning(tmp_path: Path) -> None:
    world = World(tmp_path, quality={"warn_only": ["removal_ratio"]})
    world.counts["ingest"]["max_removed_ratio"] = 0.5
    assert severity(world.check("ingest"), "removal_ratio") == ("warn", False)


def test_removals_can_be_allowed_for_one_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.counts["ingest"]["max_removed_ratio"] = 1.0
    assert severity(world.check("ingest"), "removal_ratio") == ("error", False)
    assert severity(world.check("ingest", allow_removals=True), "removal_ratio") == ("error", True)


def test_few_objects_only_warn_of_rejects(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.rows["images"] = [world.row("images", i) for i in (10, 11)]
    world.counts["ingest"].update(listed=2, decoded=1, read=2)
    assert severity(world.check("ingest"), "reject_ratio") == ("warn", False)


def test_only_the_window_of_the_run_is_reconciled(tmp_path: Path) -> None:
    world = World(tmp_path)
    first_day = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    world.counts["ingest"].update(listed=6, decoded=6, rejected=0, read=6)
    assert red(world.check("ingest", window=first_day)) == {}
    second_day = tuple(t + timedelta(days=1) for t in first_day)
    assert red(world.check("ingest", window=second_day)).keys() == {"ingest_in_lake"}


@pytest.mark.parametrize("stage", STAGES)
def test_an_interval_without_images_is_green(stage: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.rows = {table: [] for table in TABLES}
    world.results, world.pairs = [], []
    world.counts = {
        stage: {k: 0 if isinstance(v, int | float) else v for k, v in counts.items()}
        for stage, counts in world.counts.items()
    }
    results = world.check(stage)
    assert red(results) == {}
    assert any(r.observed == "no rows to check" for r in results) or stage == "report"


def test_a_rule_that_cannot_be_evaluated_is_broken(tmp_path: Path) -> None:
    world = World(tmp_path)
    del world.counts["index"]["sampled"]
    observed = red(world.check("index"))
    assert observed.keys() == {"self_recall", "self_recall_sampled"}
    assert "sampled" in observed["self_recall"]


def test_a_data_file_that_cannot_be_read_breaks_the_rules_over_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    candidate = world.candidate("embed")
    file = candidate.changes[0].add[0]
    Path(world.run.lake.path(f"embeddings/{file.path}")).write_bytes(b"x" * file.bytes)
    observed = red(check(world.run, candidate))
    assert {"embeddings_schema", "vectors_unit", "embeddings_complete"} <= observed.keys()
    assert all("not evaluated" in o for o in observed.values())


def test_a_fault_says_what_was_found_and_what_is_wanted(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.row("images", 4)["width"] = 0
    world.row("images", 5)["width"] = -7
    found = next(r for r in world.check("ingest") if r.rule == "image_sizes")
    assert found.observed == "width is 0, -7 (2 of 12 rows)"
    assert found.expected.startswith("width and height of 1 or more")
    world = World(tmp_path)
    world.counts["ingest"]["read"] = 11
    found = next(r for r in world.check("ingest") if r.rule == "ingest_reconciles")
    assert found.observed == "listed 12, reused_and_read 11"


# --- memory: batches and passes ------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_many_batches_and_passes_find_the_same(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "BATCH_ROWS", 2)
    monkeypatch.setattr(counting, "KEYS_AT_ONCE", 3)
    assert red(World(tmp_path / "clean").check(stage)) == {}
    over_all_rows = (
        {"images_unique", "image_sizes", "collapse_targets", "fingerprints_complete"}
        | {"embeddings_complete", "vectors_unit", "shards_unique", "one_keeper", "groups_of_two"}
        | {"matches_unique", "matches_of_contents"}
        | {"seen", "verdicts_unique", "evidence", "results_complete"}
        | {"result_pairs_unique", "result_pairs_complete"}
    )
    for n, (of_stage, rule, fault) in enumerate(FAULTS):
        if of_stage == stage and rule in over_all_rows:
            world = World(tmp_path / str(n))
            fault(world)
            assert set(red(world.check(stage))) - {ALSO.get(rule)} == {rule}


def test_gates_write_nothing_and_report_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "world")
    candidate = world.candidate("group")
    before = sorted(tmp_path.rglob("*"))
    empty = tmp_path / "cwd"
    empty.mkdir()
    monkeypatch.chdir(empty)
    check(world.run, candidate)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, empty])
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"


def test_naming_the_gates_imports_no_great_expectations() -> None:
    code = "import idedup_tasks.quality, sys; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_documentation_names_every_rule() -> None:
    text = (Path(__file__).parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == rule_names()
