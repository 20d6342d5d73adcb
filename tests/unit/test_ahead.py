"""What a first scan needs is begun before the stage that asks for it, and made once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from idedup_tasks import compute
from idedup_tasks.isolation import crew_size


class Made:
    """Something costly, which says what became of it."""

    all: ClassVar[list[Made]] = []

    def __init__(self, name: str) -> None:
        self.name, self.closed = name, 0
        Made.all.append(self)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _none_made() -> Iterator[None]:
    Made.all.clear()
    yield
    Made.all.clear()


def ask(name: str) -> Made:
    return compute.once(Made, name)


def test_a_job_takes_what_was_begun_and_its_stage_closes_it() -> None:
    with compute.ahead() as begin:
        begin(Made, "network")
        jobs = [(None, "network"), (None, "network"), (None, "other")]
        found = [made for _, made in compute.run_jobs(ask, jobs)]
        assert [made.closed for made in found] == [1, 1, 1]
    assert found[0] is found[1]
    assert sorted(made.name for made in Made.all) == ["network", "other"]
    assert [made.closed for made in found] == [1, 1, 1]


def test_what_nobody_asked_for_is_closed_though_the_scan_failed() -> None:
    with pytest.raises(LookupError), compute.ahead() as begin:
        begin(Made, "network")
        raise LookupError
    assert [made.closed for made in Made.all] == [1]


def test_what_could_not_be_made_fails_the_job_that_asks() -> None:
    with compute.ahead() as begin:
        begin(int, "no number")
        with pytest.raises(ValueError, match="no number"):
            list(compute.run_jobs(lambda text: compute.once(int, text), [(None, "no number")]))


@pytest.mark.parametrize(
    ("objects", "cores", "processes"), [(0, 8, 1), (10, 8, 1), (17, 8, 2), (1000, 8, 8), (99, 1, 1)]
)
def test_no_process_starts_that_nothing_would_be_handed_to(
    objects: int, cores: int, processes: int
) -> None:
    assert crew_size(objects, cores) == processes
