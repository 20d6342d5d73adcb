"""# Descriptors, hashes and other programs, measured on the same images

**Purpose:** say what a descriptor finds before it is used, and whether a trained one is better.
Triggered by hand; `idedup benchmark` does the same without Airflow.

**Inputs:** `photos`, a folder below `IDEDUP_PHOTOS` (folders separated by colons; by default
`IDEDUP_HOME/photos`); `dataset`: `copydays` (edited copies of the photographs, or INRIA Copydays
itself), `groups` (the folder's `groups.csv`: file,group) or `cifar10` (its `pairs.csv`: a,b,same);
`methods`: descriptors by name, model_id or path of the JSON file that a training run wrote below
`IDEDUP_HOME/training`, `ahash`, `dhash`, `phash`, `whash`; where the deployment's
`IDEDUP_PEER_PYTHON` is a Python that has them, also `fastdup`, `imagededup-phash` and the like.
`limit`: so many photographs at most.

**Outputs:** `benchmark.html`, `.json` and `.csv` in `IDEDUP_HOME/benchmarks/<run id>`, and rows of
`benchmark_result` in the warehouse, in place of those of an earlier try.

**How to backfill:** there is no interval and no schedule: trigger it again.

## Triage notes
- **The task fails at once:** its error says which parameter names something that is not there.
- **It is ended for lack of memory:** choose fewer methods; each has a process of its own.
- **"run `idedup db upgrade`":** the warehouse is older than this release.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, task

from idedup_dags import benchmark
from idedup_dags.defaults import DEFAULT_ARGS, Impact, Tag, number, photos, tags

with DAG(
    "descriptor_benchmark",
    schedule=None,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params={
        "photos": photos(),
        "dataset": Param(
            "copydays",
            enum=["copydays", "groups", "cifar10"],
            description="What the folder is: see the DAG's documentation. It cannot be empty.",
        ),
        "methods": Param(
            ["mobilenet_v3", "ahash", "dhash", "phash", "whash"],
            type="array",
            items={"type": "string"},
            minItems=1,
            description="One or more: descriptors by name, model_id or file; hashes; programs.",
        ),
        "limit": number("integer", 2, "So many photographs at most. Empty: all of the folder."),
    },
    tags=tags(Impact.LOW, Tag.DESCRIPTOR),
    description="Measures descriptors and hashes: precision, recall, speed, memory",
    doc_md=__doc__,
) as descriptor_benchmark:
    task(benchmark.measure)()
