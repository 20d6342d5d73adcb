"""The rules of embed's gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from idedup_tasks.quality.rules import (
    Between,
    Equal,
    Rule,
    Where,
    as_declared,
    filled,
    one_of,
    zero,
)

if TYPE_CHECKING:
    from idedup_tasks.run import Run

# float32 rounding of a unit vector's norm is 1e-7; a vector that nobody normalised is far off.
_NORM_TOLERANCE = 1e-3


def rules(run: Run, counts: Mapping[str, Any]) -> list[Rule]:
    from idedup_tasks.descriptors import descriptor_info

    dim = descriptor_info(run.collection.descriptor).dim
    return [
        as_declared("embeddings"),
        Rule(
            "embeddings_filled",
            "embeddings",
            "a model, an id and a digest in every row",
            filled("model_id", "image_id", "sha256"),
        ),
        Rule(
            "one_model",
            "embeddings",
            f"only {run.model_id}",
            (one_of("model_id", run.model_id),),
        ),
        Rule("vector_lengths", "embeddings", f"{dim} values", (Between("dim", dim, dim),)),
        Rule("vectors_finite", "embeddings", "no NaN and no infinity", (one_of("broken", False),)),
        Rule(
            "vectors_unit",
            "embeddings",
            f"norm 1 ± {_NORM_TOLERANCE}",
            (
                Between(
                    "norm",
                    1 - _NORM_TOLERANCE,
                    1 + _NORM_TOLERANCE,
                    where=Where("broken", "is", False),
                ),
            ),
        ),
        Rule(
            "embeddings_unique",
            "counts",
            "each image once under the model",
            (zero("embeddings_repeated"),),
        ),
        Rule(
            "embed_reconciles",
            "counts",
            "active = present + embedded, and as many active images in the lake",
            (Equal("active", "present_and_embedded"), Equal("active", "active_in_lake")),
        ),
        Rule(
            "embeddings_complete",
            "counts",
            "a vector, made from the current bytes, for each active image",
            (zero("active_without_embedding"),),
        ),
    ]
