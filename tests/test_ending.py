"""The interrupt that a signal raises arrives, whatever runs at that moment."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Outcome
from microzone.gateware.toolchain import ToolError
from microzone.tools.cli import signals
from microzone.tools.cli.signals import Ending

PATIENCE_S = 20.0


class Finalised:
    """A signal comes while this is being finalised, where Python drops what is raised."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_AGAIN_S", 0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_that_python_drops_comes_again(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {each: signal.getsignal(each) for each in (number, signal.SIGALRM)}
    with Ending() as ending, pytest.raises(KeyboardInterrupt):
        doomed = Finalised(number)
        del doomed
        assert ending.received is number
        time.sleep(PATIENCE_S)
    assert ending.status == 128 + number
    assert {each: signal.getsignal(each) for each in before} == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert capsys.readouterr().err == "", "what Python says of it is of no use to a user"


def leave(how: Callable[[], None]) -> list[str]:
    """What happens in a block that is left because of a signal, and takes its time for that."""
    seen: list[str] = []
    with Ending(), pytest.raises(KeyboardInterrupt):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            how()
            time.sleep(0.3)
            seen.append("left")
    return seen


def fail() -> None:
    """An error on the way out, which is seen to there."""
    try:
        raise ToolError("it has been ended")
    except ToolError:
        time.sleep(0.2)


@pytest.mark.parametrize("how", [lambda: None, fail])
def test_blocks_are_left_undisturbed(how: Callable[[], None]) -> None:
    assert leave(how) == ["left"]


def test_another_unraisable_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class Faulty:
        def __del__(self) -> None:
            raise ValueError("of its own")

    with Ending():
        faulty = Faulty()
        del faulty
    assert [str(what.exc_value) for what in told] == ["of its own"]


def test_what_fails_because_of_a_signal_was_interrupted(
    microzone: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a tool that was ended is not what the user is told."""

    def simulators() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ToolError("yosys: ended by signal 15") from None

    monkeypatch.setattr("microzone.tools.cli.main.app", lambda **_: simulators())
    done = microzone("doctor")
    assert done.status == 128 + signal.SIGTERM and done.err == "error: interrupted\n", done.err
