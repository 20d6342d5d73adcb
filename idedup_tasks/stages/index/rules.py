"""The rules of index's gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from idedup_tasks.quality.rules import (
    SHA256,
    AtLeast,
    Between,
    Equal,
    Matches,
    Rule,
    Where,
    as_declared,
    filled,
    zero,
)

if TYPE_CHECKING:
    from idedup_tasks.run import Run


def rules(run: Run, counts: Mapping[str, Any]) -> list[Rule]:
    return [
        as_declared("index"),
        Rule(
            "shards_filled",
            "index",
            "model, name, path, size, checksum and number of vectors of every shard",
            filled("model_id", "shard_id", "path", "bytes", "checksum", "vectors"),
        ),
        Rule(
            "shard_sizes",
            "index",
            "files and vectors of at least one byte and one vector",
            (Between("bytes", 1, None), Between("vectors", 1, None)),
        ),
        Rule("shard_checksums", "index", "64 hex digits", (Matches("checksum", SHA256),)),
        Rule(
            "shard_files",
            "index",
            "each shard's file is there with its size",
            (Equal("bytes", "bytes_found"),),
        ),
        Rule("shards_unique", "counts", "each shard once", (zero("shards_repeated"),)),
        Rule(
            "index_reconciles",
            "counts",
            "indexed = active, and as many active images in the lake",
            (Equal("indexed", "active"), Equal("active", "active_in_lake")),
        ),
        Rule(
            "index_in_lake",
            "counts",
            "the shards hold at least as many vectors as there are active images",
            (AtLeast("vectors_in_shards", "active_in_lake"),),
        ),
        Rule(
            "self_recall",
            "counts",
            "each sampled vector finds itself",
            (Equal("found_themselves", "sampled"),),
        ),
        Rule(
            "self_recall_sampled",
            "counts",
            "a sample, when anything is indexed",
            (Between("sampled", 1, None, where=Where("indexed", "is over", 0)),),
        ),
    ]
