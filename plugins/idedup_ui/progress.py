"""Where a run is, in sentences: read from Airflow's own record of the run and its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select
from sqlalchemy.orm import Session

from idedup_tasks.settings import STAGES

_PARTS = ("prepare", "gate")


@dataclass(frozen=True)
class TaskState:
    """A task of a run: its state in Airflow's words, and since when (UTC)."""

    state: str
    since: datetime | None


@dataclass(frozen=True)
class RunState:
    """A run: its state in Airflow's words, since when (UTC), where its interval of arrivals starts
    if it has one, whether its DAG is paused, and its tasks by id."""

    state: str
    since: datetime | None
    window_start: datetime | None
    paused: bool
    tasks: Mapping[str, TaskState]

    @property
    def going(self) -> bool:
        """Whether the run has not ended."""
        return self.state in ("queued", "running")


def run_state(session: Session, dag_id: str, run_id: str) -> RunState | None:
    """What Airflow knows of a run; None when it knows no such run."""
    of_run = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    run = session.scalar(of_run)
    if run is None:
        return None
    tasks = session.scalars(
        select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
    )
    return RunState(
        state=str(run.state),
        since=run.queued_at if run.state == "queued" else run.start_date,
        window_start=(
            run.data_interval_start if run.run_type in ("scheduled", "backfill") else None
        ),
        paused=bool(session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == dag_id))),
        tasks={
            task.task_id: TaskState(
                str(task.state or ""), task.start_date if task.state == "running" else None
            )
            for task in tasks
        },
    )


def sentences(run: RunState, reasons: Mapping[str, str]) -> list[str]:
    """Where a run is, and what a person can do about it.

    Args:
        run: what Airflow knows of it.
        reasons: why a stage failed, by stage, as far as that is recorded.
    """
    said = []
    if run.state == "queued":
        said.append(f"This run has waited for its turn since {_moment(run.since)}.")
        said.append("A collection's runs go one after another.")
    elif run.state == "running":
        said.append(f"This run began at {_moment(run.since)}.")
        said += _stages(run, reasons) or ["Its next task is about to start."]
    elif run.state == "failed":
        said += _stages(run, reasons) or ["This run failed before a stage began."]
        said.append(
            "Mend the cause, then clear the failed stage's prepare: what follows it runs again. "
            "The task's log says more, and the DAG's documentation what failures mean."
        )
    elif any(task.state == "success" for task in run.tasks.values()):
        said.append("This run succeeded, and its report is no longer there.")
        said.append("Clear report.prepare to have one written of the present state.")
    else:
        said.append("This run ended without a task: its date is before the DAG's start_date.")
    if run.going and run.paused:
        said.append("The DAG is paused: nothing more starts until somebody unpauses it.")
    return said


def _stages(run: RunState, reasons: Mapping[str, str]) -> list[str]:
    """What is being done, what is done, what is still to come."""
    said, done, to_come = [], [], []
    for stage in STAGES:
        parts = {part: run.tasks.get(f"{stage}.{part}", TaskState("", None)) for part in _PARTS}
        doing = [_doing(stage, part, task, reasons.get(stage)) for part, task in parts.items()]
        if parts["gate"].state == "success":
            done.append(stage)
        elif any(doing):
            said += [sentence for sentence in doing if sentence]
        elif parts["prepare"].state == "success":
            said.append(f"{stage} is prepared, and its gate is next.")
        else:
            to_come.append(stage)
    if not said and not done:
        return []
    if done:
        said.append(f"Done: {', '.join(done)}.")
    if to_come:
        said.append(f"{'Still to come' if run.going else 'Not begun'}: {', '.join(to_come)}.")
    return said


def _doing(stage: str, part: str, task: TaskState, reason: str | None) -> str | None:
    what = stage if part == "prepare" else f"The gate of {stage}"
    why = f": {reason.rstrip('.')}" if reason else ""
    if task.state == "running":
        return f"{what} has been running since {_moment(task.since)}."
    if task.state in ("queued", "scheduled"):
        return f"{what} waits for a free worker."
    if task.state in ("up_for_retry", "restarting"):
        return f"{what} did not succeed and is tried again{why}."
    if task.state == "failed":
        return f"{what} failed{why}."
    return None


def reasons(
    stages: Iterable[Mapping[str, object]], quality: Sequence[Mapping[str, object]]
) -> dict[str, str]:
    """Why stages failed, from the warehouse's rows about a run: its stages and its rules."""
    found = {str(row["stage"]): str(row["error"]) for row in stages if row["error"]}
    for rule in quality:
        if not rule["success"] and rule["severity"] == "error":
            observed = str(rule["observed"]).removeprefix(f"{rule['rule']} ")
            found.setdefault(
                str(rule["stage"]),
                f"{rule['rule']}: found {observed}, expected {rule['expected']}",
            )
    return found


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "a moment ago"
