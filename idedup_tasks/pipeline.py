"""The pipeline: seven stages, named once. The DAGs and the command line walk `STAGES`.

Each stage is a folder of `stages/`, with two functions in its `prepare`:

    prepare(run) -> Candidate        compute the difference between what is and what should be
    publish(run, candidate) -> dict  make it so, atomically; returns the versions written

Between them stands the gate: `idedup_tasks.quality` checks the candidate against the stage's
`rules` and `facts`, and nothing is published when a rule of severity `error` is broken. What the
stage counted is its `counts`.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from idedup_tasks import quality
from idedup_tasks.errors import TerminalError
from idedup_tasks.quality import Evaluator, Rule, RuleResult
from idedup_tasks.run import Run
from idedup_tasks.settings import STAGES, Collection, Places

if TYPE_CHECKING:
    from idedup_tasks.lake import Candidate, Conflict
    from idedup_tasks.warehouse import StageCounts

log = logging.getLogger(__name__)

# A stage that loses this many races in a row leaves the rest to the scheduler's retry.
_ATTEMPTS = 5


class QualityFailure(TerminalError, RuntimeError):
    """A rule of severity `error` is broken: the candidate is kept and not published."""


class Stage(Protocol):
    """What a stage's module offers."""

    def prepare(self, run: Run) -> Candidate: ...

    def publish(self, run: Run, candidate: Candidate) -> dict[str, int]: ...


def stage_module(name: str) -> Stage:
    """What a stage is made of; imported here, so that naming the stages costs nothing."""
    return cast(Stage, _part(name, "prepare"))


def counts_of(stage: str, counts: Mapping[str, Any]) -> StageCounts:
    """What a stage counted, from the JSON that its candidate keeps: `stages/<stage>/counts.py`."""
    return cast("StageCounts", _part(stage, "counts").Counts(**counts))


def check(
    run: Run, candidate: Candidate, evaluator: Evaluator = "great_expectations"
) -> list[RuleResult]:
    """Check a candidate against its stage's rules; see `idedup_tasks.quality.check`."""
    rules = rules_of(candidate.stage, run, candidate.counts)
    facts = _part(candidate.stage, "facts").facts
    return quality.check(run, candidate, rules, facts, evaluator)


def rules_of(stage: str, run: Run, counts: Mapping[str, Any]) -> list[Rule]:
    """A stage's rules with the collection's limits: `stages/<stage>/rules.py`.

    Args:
        counts: what the stage counted; a few images are judged less strictly.
    """
    found: list[Rule] = _part(stage, "rules").rules(run, counts)
    return found


def rule_names() -> frozenset[str]:
    """The names of all rules, over all stages, which `quality.warn_only` may hold."""
    places = Places(home=Path(), lake="", warehouse="", collections=Path())
    run = Run(Collection.model_validate({"name": "any", "source": "any"}), "any", None, places)
    return frozenset(rule.name for stage in STAGES for rule in rules_of(stage, run, {}))


def _part(stage: str, part: str) -> Any:
    if stage not in STAGES:
        raise ValueError(f"{stage!r} is not a stage: expected one of {', '.join(STAGES)}.")
    return importlib.import_module(f"idedup_tasks.stages.{stage}.{part}")


def prepare(stage: str, run: Run) -> dict[str, Any]:
    """Run a stage and keep its candidate in the lake.

    Returns:
        Small JSON: `candidate` (its path in the lake), `counts`, `warnings`.
    """
    from idedup_tasks.warehouse import Warehouse, WarehouseError

    started, clock = datetime.now(UTC), time.perf_counter()
    warehouse = Warehouse(run.places.warehouse)
    try:
        candidate = stage_module(stage).prepare(run)
    except Exception as error:
        seconds = time.perf_counter() - clock
        try:
            warehouse.record_stage(run, stage, started, seconds, error=f"{error}"[:2000])
        except WarehouseError as unrecorded:  # what failed first is what people must see
            log.error("%s: its failure is not recorded: %s", stage, unrecorded)
        raise
    path = run.lake.save_candidate(candidate)
    for warning in candidate.warnings:
        log.warning("%s: %s", stage, warning)
    log.info("%s: %s.", stage, _found(candidate.counts))
    seconds, counts = time.perf_counter() - clock, counts_of(stage, candidate.counts)
    warehouse.record_stage(run, stage, started, seconds, candidate, counts)
    return {"candidate": path, "counts": candidate.counts, "warnings": candidate.warnings}


def gate(
    stage: str, run: Run, candidate_path: str, evaluator: Evaluator = "great_expectations"
) -> dict[str, Any]:
    """Check a candidate and publish it; prepare it again when another run published meanwhile.

    Args:
        evaluator: of the rules; a gate of a DAG leaves it as it is.

    Returns:
        Small JSON: `versions` written, `counts`, and as `warned` what was observed by each rule of
        severity `warn` that is broken.

    Raises:
        QualityFailure: an `error` rule is broken; one line that names the rules, what was found
            and expected, what to do, and where the candidate is.
        Conflict: each time another run published first; retry the task.
    """
    from idedup_tasks.lake import Conflict
    from idedup_tasks.warehouse import Warehouse

    warehouse = Warehouse(run.places.warehouse)
    candidate = run.lake.load_candidate(candidate_path)
    conflict: Conflict | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            log.info("%s: prepared again, another run published meanwhile", stage)
            candidate_path = prepare(stage, run)["candidate"]
            candidate = run.lake.load_candidate(candidate_path)
        results = check(run, candidate, evaluator)
        warehouse.record_quality(run, stage, results)
        broken = [r for r in results if not r.success and r.severity == "error"]
        if broken:
            raise QualityFailure(
                f"{stage} of {run.collection.name} is not published: {_rules(broken)}. "
                f"Mend the cause, then have {stage} prepared again; "
                f"the candidate is kept at {run.lake.uri}/{candidate_path}."
            )
        try:
            versions = stage_module(stage).publish(run, candidate)
        except Conflict as error:
            conflict = error
            continue
        warehouse.record_published(run, stage, versions)
        warned = [r for r in results if not r.success]
        log.info("%s: %s", stage, _passed(results, warned, versions))
        return {
            "versions": versions,
            "counts": candidate.counts,
            "warned": {r.rule: r.observed for r in warned},
        }
    raise Conflict(
        f"{stage} of {run.collection.name} is not published after {_ATTEMPTS} tries; the last "
        f"time: {conflict}"
    ) from conflict


def _found(counts: Mapping[str, Any]) -> str:
    """The numbers of a candidate's counts in one line; `images` are those the stage worked on."""
    numbers = {n: v for n, v in counts.items() if type(v) in (int, float) and v}
    if "images" in numbers:
        numbers = {"worked on": numbers.pop("images"), **numbers}
    return ", ".join(f"{n.replace('_', ' ')} {v:,}" for n, v in numbers.items()) or "nothing to do"


def _passed(
    results: Sequence[RuleResult], warned: Sequence[RuleResult], versions: Mapping[str, Any]
) -> str:
    holding = len(results) - len(warned)
    held = f"{holding} rules hold" if holding != 1 else "1 rule holds"
    if warned:
        held += f", {len(warned)} {'warns' if len(warned) == 1 else 'warn'} ({_rules(warned)})"
    tables = [f"{table} version {version}" for table, version in versions.items()]
    return f"{held}; published as {versions.get('report') or ', '.join(tables)}."


def _rules(results: Sequence[RuleResult]) -> str:
    return "; ".join(
        f"{r.rule}: found {r.observed.removeprefix(f'{r.rule} ')}, expected {r.expected}"
        for r in results
    )


def execute(run: Run) -> dict[str, dict[str, Any]]:
    """Walk all stages and their gates in this process: the same as the DAG, without Airflow."""
    return {stage: gate(stage, run, prepare(stage, run)["candidate"]) for stage in STAGES}
