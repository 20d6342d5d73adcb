"""# Maintenance of all collections

**Purpose:** what no run does: many small files become few, what was deleted at the source is found,
lake, index and warehouse are compared, old versions leave. One group of tasks per collection.

| task | does | changes |
|---|---|---|
| source | lists the whole source, names the periods that differ | with `repair`, runs them |
| check | names each difference between lake, index and warehouse | with `repair`, mends them |
| compact | merges small files and small index shards | files, never rows |
| vacuum | names what nothing refers to any more | with `delete`, deletes it |

**Inputs:** the collection files. **Outputs:** each task's log and return value. **Nothing is
deleted and nothing mended unless a run's params say so.** The DAG is paused at first.

**How to backfill:** there is nothing to backfill: it looks at what is there now. Trigger it when no
collection's run is on; one that is goes on, and prepares again what was compacted meanwhile.

## Triage notes
- **check is red:** its message names each difference. Trigger this DAG with `repair`; a difference
  that comes back points at a disk, or at somebody who writes into the lake.
- **source names vanished objects:** are they meant to be gone? Then trigger it with `repair` (and
  `allow_removals` when it is a large share), or clear the ingest of the days it names.
- **compact is retried:** runs publish all the time. Leave it, or trigger it in a quieter hour.
- **vacuum finds much, week after week:** it was never told to `delete`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TriggerRule, task, task_group

from idedup_dags import maintenance
from idedup_dags.defaults import DEFAULT_ARGS, Impact, Tag, flag, tags, text


def days(default: int, says: str) -> Param:
    says = f"{says} 2 or more; it cannot be empty."
    return Param(default, type="number", minimum=2, description=says)


with DAG(
    "idedup_maintenance",
    schedule=CronDataIntervalTimetable("0 3 * * 0", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args=DEFAULT_ARGS,
    params={
        "collection": text(None, "The name of one. Empty: all collections."),
        "repair": flag("Off: differences are named, and nothing is mended."),
        "allow_removals": flag(
            "Off: a repair stops when the source lacks a large share of a period."
        ),
        "delete": flag("Off: what vacuum finds is named, and nothing is deleted."),
        "retention_days": days(7, "Days that replaced versions stay readable."),
        "log_retention_days": days(90, "Days that reports and task logs of runs stay."),
    },
    tags=tags(Impact.MEDIUM, Tag.MAINTENANCE),
    description="Compaction, vacuum, reconciliation with the source, consistency",
    doc_md=__doc__,
) as idedup_maintenance:

    @task_group
    def collection(file: str) -> None:
        source = task(task_id="source")(maintenance.compare_source)(file)
        # A source that is out of reach is no reason not to look at the rest.
        check = task(trigger_rule=TriggerRule.ALL_DONE)(maintenance.check)(file)
        source >> check >> task(maintenance.compact)(file) >> task(maintenance.vacuum)(file)

    collection.expand(file=task(maintenance.collection_files)())
