"""# Duplicates in a collection of images

One DAG per file of the collections' folder. **Purpose:** find copies among images, and show why.

| stage | does | writes |
|---|---|---|
| ingest | lists the source, reads and decodes each new object once | `images` |
| prefilter | collapses equal bytes, and twins that a look says are the same | `fingerprints` |
| embed | describes each remaining image by a vector | `embeddings` |
| index | searches those vectors, checks that each finds itself | `index` |
| match | looks at every pair that hash or vectors propose | `looks`, `matches` |
| group | cuts what was seen into groups, chooses keepers | `groups` |
| report | brings the warehouse up to date, writes the HTML report | warehouse, `reports` |

**Inputs:** the source that the file names, never changed. **Outputs:** tables in the lake, rows in
the warehouse, a report a run, an event of the asset "dedup report". Gates check, then publish.

**Which images:** a scheduled or backfilled run brings its interval up to date. A manual run takes
`start` and `end`, or everything when they are empty.

**How to backfill:** *Trigger → Backfill* in the UI, `airflow backfill create --dag-id … --from-date
… --to-date …`, or POST `/api/v2/backfills`. Any interval, any order, as often as you like: each run
reconciles. *All runs* repeats what succeeded. **Alerts:** as the collection file says.

## Triage notes
- **A gate is red:** a rule of severity `error` is broken; its log names the rule and the candidate,
  which is kept and was not published. Mend the cause, then clear the stage's `prepare`.
- **"would remove":** the listing lacks many images that were there. Is the source mounted? If they
  are meant to be gone, run again with `allow_removals`.
- **A task is retried:** source, warehouse or Dask is out of reach, or another run published first.
- **Red at the first try:** a retry would only repeat it. Its log's last lines name the way out.
- **Tag `invalid-config`:** the file named by the task has a fault; it names field and expectation.
- **A task does not start:** does the pool named by `IDEDUP_GPU_POOL` exist?
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, time
from typing import Any

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, TaskGroup, chain, task

from idedup_dags import alerts, tasks
from idedup_dags.defaults import DEFAULT_ARGS, Impact, Tag, tags
from idedup_tasks.settings import STAGES, Collection, Places, SettingsError, load_collection

GPU_POOL = os.environ.get("IDEDUP_GPU_POOL")


def collection_dag(file: str, collection: Collection) -> DAG:
    cron, first = collection.schedule, datetime.combine(collection.start_date, time(), UTC)
    report = Asset(f"{collection.name} dedup report", uri=f"x-idedup://{collection.name}/report")
    with DAG(
        f"image_dedup_{collection.name}",
        schedule=CronDataIntervalTimetable(cron, timezone="UTC") if cron else None,
        start_date=first,
        catchup=False,
        max_active_runs=1,
        default_args={
            **DEFAULT_ARGS,
            "owner": collection.owner,
            "show_return_value_in_logs": False,  # so that a log ends in the stage's own line
            **alerts.task_settings(file),
        },
        params=tasks.PARAMS,
        tags=tags(Impact.HIGH, *collection.tags),
        description=f"Duplicate images in {collection.source}",
        doc_md=f"{__doc__}\nSettings: `{file}`. Source: `{collection.source}`.",
        **alerts.dag_settings(file, collection),
    ) as dag:
        for stage in STAGES:
            own: dict[str, Any] = {"outlets": [report]} if stage == "report" else {}
            pool: dict[str, Any] = {"pool": GPU_POOL} if GPU_POOL and stage == "embed" else {}
            with TaskGroup(stage) as group:
                prepare = task(execution_timeout=tasks.TIMEOUTS[stage], **pool)(tasks.prepare)
                gate = task(execution_timeout=tasks.GATE_TIMEOUT, **pool, **own)(tasks.gate)
                gate(file, stage, prepare(file, stage))
        for reporting in group:  # the last stage's: the report
            reporting.operator_extra_links = (tasks.ReportLink(),)
        chain(*dag.task_group.children.values())
    return dag


def invalid_dag(dag_id: str, fault: str) -> DAG:
    with DAG(dag_id, schedule=None, tags=tags(Impact.HIGH, Tag.INVALID), doc_md=fault) as dag:
        task(task_display_name=fault[:250], retries=0)(tasks.tell(fault))()
    return dag


for path in sorted(Places.from_environment().collections.glob("*.yaml")):
    try:
        dag = collection_dag(path.name, load_collection(path))
        if dag.dag_id in globals():
            raise SettingsError(f"{path.name}: name: expected one that no other file has")
    except SettingsError as error:
        dag = invalid_dag(f"invalid_{re.sub(r'[^A-Za-z0-9_.-]+', '_', path.stem)}", str(error))
    globals()[dag.dag_id] = dag
