"""What all DAGs share: how their tasks are tried again, tags, and the fields of their forms."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from airflow.sdk import Param

# `tasks.data_faults_fail` says what is tried again: faults that pass, after one to sixteen minutes.
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "idedup",
    "retries": 5,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(hours=1),
    "execution_timeout": timedelta(hours=24),
}

# What another task returned: Airflow's placeholder while a DAG is made, its JSON when a task runs.
Returned = Any


class Tag(StrEnum):
    """Tags of the DAGs by which people find them; a collection adds its own."""

    ALL = "idedup"
    DESCRIPTOR = "descriptor"
    MAINTENANCE = "maintenance"
    INVALID = "invalid-config"


class Impact(StrEnum):
    """Tags that say how bad a failure is: each DAG has one."""

    HIGH = "impact-high"
    """What people look at falls behind: today."""
    MEDIUM = "impact-medium"
    """Results stay right, while damage or waste goes unseen: this week."""
    LOW = "impact-low"
    """Only whoever triggered the run waits for it."""


def tags(impact: Impact, *more: str) -> list[str]:
    """The tags of a DAG, as plain text."""
    return [str(tag) for tag in (Tag.ALL, impact, *more)]


def photos() -> Param:
    return Param(type="string", minLength=1, description="Folder below IDEDUP_PHOTOS.")


def flag(says: str) -> Param:
    return Param(False, type="boolean", description=says)


def text(default: str | None, says: str, **schema: Any) -> Param:
    return Param(default, type=["null", "string"], description=says, **schema)


def number(kind: Literal["number", "integer"], least: float, says: str) -> Param:
    return Param(None, type=["null", kind], minimum=least, description=says)
