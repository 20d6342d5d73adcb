"""# Training a descriptor

**Purpose:** a descriptor that knows the copies of *your* photographs (aerial, medical, product, …),
trained without labels, calibrated, measured, and kept if it is better than the one it would follow.

| task | does | writes |
|---|---|---|
| preprocess | sets one photograph in six aside, decodes all once | the run's folder |
| train | learns, from a checkpoint where there is one | weights, curves |
| calibrate | chooses input side, thresholds and quantiser on what was set aside | the sidecar |
| benchmark | measures the candidate against the hashes and the current descriptor | warehouse |
| register | keeps the candidate if it beats the current one | the lake's `models`, warehouse |

**Inputs:** folders of photographs below `IDEDUP_PHOTOS` (separated by colons; by default
`IDEDUP_HOME/photos`) on the workers, a network, a budget; `init`: a descriptor, imagenet, or a file
below `IDEDUP_HOME/training`. **Outputs:** `IDEDUP_HOME/training/<run>`, and `models/<model_id>` in
the lake. No collection changes: name the new model_id as `descriptor` in a collection's file to
have it embedded anew.

**How to backfill:** there is nothing to backfill; trigger it by hand. A run that is cleared goes on
from its checkpoint.

## Triage notes
- **preprocess: "to calibrate with":** give a folder with about 600 photographs or more.
- **train is killed or times out:** clear it, it continues. A loss that is not finite: try `init`.
- **register: "not registered":** the candidate was measured as no better; nothing changed.
- **IDEDUP_HOME** must be a disk that the workers share, or the tasks must run on one of them.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from idedup_dags import training
from idedup_dags.defaults import DEFAULT_ARGS, Impact, Tag, number, photos, tags, text
from idedup_tasks.training import RECIPES

with DAG(
    "descriptor_training",
    schedule=None,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"execution_timeout": timedelta(hours=6)},
    params={
        "photos": photos(),
        "network": Param(
            "mobilenet_v3", enum=list(RECIPES), description="What to train. It cannot be empty."
        ),
        "init": text(
            "mobilenet_v3",
            "A descriptor, a safetensors file or imagenet. Empty: start from nothing.",
        ),
        "minutes": number(
            "number",
            0,
            "Learn for about so many minutes. Empty, as the next two: what the recipe says.",
        ),
        "cpu_seconds": number(
            "number", 1, "Learn with so much processor time. Empty: as much as the others allow."
        ),
        "steps": number(
            "integer", 0, "Learn for so many steps at most. Empty: as many as the others allow."
        ),
        "side": number("integer", 32, "Input side in pixels. Empty: what the recipe says."),
        "benchmark_photos": text(
            None, "Folder of others to measure on. Empty: those that were set aside."
        ),
        "batch": number("integer", 2, "Photographs in a batch. Empty: what the recipe says."),
    },
    tags=tags(Impact.LOW, Tag.DESCRIPTOR),
    description="Trains, calibrates, measures and registers a descriptor",
    doc_md=__doc__,
) as descriptor_training:
    prepared = task(training.preprocess)()
    trained = task(execution_timeout=timedelta(days=2))(training.train)(prepared)
    calibrated = task(training.calibrate)(prepared, trained)
    measured = task(training.benchmark)(calibrated)
    measured >> task(training.register)(calibrated)
