"""Alerts: what went wrong, told through Airflow's notifiers as a collection's file says.

    alerts:
      - notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier
        on: [failure, quality, deadline]
        arguments: {to: team@example.org, subject: "{{ alert.kind }}: {{ alert.collection }}"}

The log is always told. Whoever cannot be told is a line in the log as well, and no reason for a
task to fail.

A collection file names no code but notifiers of Airflow's providers, and of modules that the
deployment trusts (`IDEDUP_NOTIFIERS`). Their arguments are theirs: templates are rendered in
Airflow's sandbox with the context of the task, connections and variables included, and some attach
files. So whoever writes collection files can have sent out what the tasks can read.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseNotifier
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from idedup_tasks.settings import (
    Alert,
    AlertKind,
    Collection,
    Places,
    SettingsError,
    load_collection,
    notifier_fault,
)

log = logging.getLogger(__name__)


class LogNotifier(BaseNotifier):
    """Writes the alert into the log of the process that noticed: what always happens."""

    template_fields = ("text",)

    def __init__(
        self, text: str = "Alert ({{ alert.kind }}) of {{ alert.collection }}: {{ alert.text }}"
    ) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        log.error("%s", self.text)


def notifier_of(alert: Alert) -> BaseNotifier:
    """A notifier as a collection's file states it; each is used once, for it fills in its texts.

    Raises:
        SettingsError: it is none that may be used, there is no such class, or it takes other
            arguments.
    """
    if fault := notifier_fault(alert.notifier):
        raise SettingsError(fault)
    said = "it is no notifier"
    module, _, name = alert.notifier.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
        if isinstance(found, type) and issubclass(found, BaseNotifier):
            return found(**alert.arguments)
    except (AttributeError, ImportError, TypeError) as error:
        said = str(error)
    except ValueError as error:  # which may quote an argument
        said = type(error).__name__
    raise SettingsError(
        f"alerts: {alert.notifier}: {said} (expected a notifier that is installed, with its "
        "arguments)"
    )


def dag_settings(file: str, collection: Collection) -> dict[str, Any]:
    """What a DAG is given: a deadline, if the collection has one.

    Raises:
        SettingsError: a notifier cannot be made; better known now than when it is needed.
    """
    for alert in collection.alerts:
        try:
            notifier_of(alert)
        except SettingsError as fault:
            raise SettingsError(f"{file}: {fault}") from fault
    if collection.deadline_hours is None:
        return {}
    return {
        "deadline": DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(hours=collection.deadline_hours),
            callback=SyncCallback(deadline_missed, {"file": file}),
        )
    }


def task_settings(file: str) -> dict[str, Callable[[Mapping[str, Any]], None]]:
    """What every task is given: whom to tell when it has failed for good."""

    def failed(context: Mapping[str, Any]) -> None:
        from idedup_tasks.pipeline import QualityFailure

        exception = context.get("exception")
        broken = isinstance(getattr(exception, "__cause__", None), QualityFailure)
        said = exception or "it was ended from outside"
        text = f"{context['task_instance'].task_id} failed: {said}"
        send("quality" if broken else "failure", _collection(file), context, text)

    return {"on_failure_callback": failed}


def deadline_missed(file: str, context: Mapping[str, Any] | None = None) -> None:
    """The callback of a missed deadline; the executor runs it, with a short context."""
    collection = _collection(file)
    text = f"the run has not ended within {collection.deadline_hours:g} hours"
    send("deadline", collection, context or {}, text)


def send(kind: AlertKind, collection: Collection, context: Mapping[str, Any], text: str) -> None:
    """Tell the log, and everybody whom the collection names for this kind of alert."""
    run = context.get("dag_run")
    run_id = run.get("dag_run_id") if isinstance(run, Mapping) else getattr(run, "run_id", None)
    about = {"kind": kind, "collection": collection.name, "text": text, "run_id": run_id}
    LogNotifier()({**context, "alert": about})
    for alert in collection.alerts:
        if kind not in alert.on:
            continue
        try:
            notifier_of(alert)({**context, "alert": about})
        except Exception:  # whatever a mail server or a chat may answer
            log.exception("%s could not be told of: %s", alert.notifier, text)


def _collection(file: str) -> Collection:
    return load_collection(Places.from_environment().collections / file)
