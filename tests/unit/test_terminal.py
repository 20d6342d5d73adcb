"""What commands print with, and that Ctrl-C ends them wherever it comes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from idedup_tasks import cli, terminal
from idedup_tasks.cli import program


class Finalised:
    """Ctrl-C comes as it is thrown away: what is raised there is dropped by Python."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def _a_terminal_s_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_ctrl_c_that_python_dropped_is_raised_again(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.ctrl_c() as pressed, terminal.stage_bars() as show:
        show("ingest", "listing", 1, None)
        assert not pressed()
        Finalised()
        assert pressed()
        with pytest.raises(KeyboardInterrupt):
            show("ingest", "listing", 2, None)
    assert "Exception ignored" not in capsys.readouterr().err


def test_what_is_pressed_in_one_command_ends_no_other() -> None:
    with terminal.ctrl_c():
        Finalised()
    with terminal.ctrl_c() as pressed, terminal.stage_bars() as show:
        show("ingest", "listing", 1, None)
        assert not pressed()


def test_an_error_that_ctrl_c_was_taken_for_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def scan(**_: object) -> int:
        Finalised()
        raise RuntimeError("a library's own")

    monkeypatch.setattr(program, "app", scan)
    assert cli.main(["scan", "pictures"]) == 130
    assert capsys.readouterr().err.startswith("Interrupted. Run the same command again")
