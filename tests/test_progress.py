"""How long work shows what is left: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable

import pytest
from conftest import Outcome
from microzone.tools.report import output
from rich.console import Console


def wait_for(capsys: pytest.CaptureFixture[str], pattern: str) -> str:
    """What stderr has got, as soon as it has a line like that; an AssertionError after 20 s."""
    seen, until = "", time.monotonic() + 20
    while not re.search(pattern, seen) and time.monotonic() < until:
        time.sleep(0.01)
        seen += capsys.readouterr().err
    assert re.search(pattern, seen), seen
    return seen


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "EVERY_S", 0.02)


@pytest.mark.usefixtures("often")
def test_off_a_terminal_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    with output.progress_bar("sweep\x1b", 200, Console(file=out), unit="points") as advance:
        seen = wait_for(capsys, r"^sweep\\x1b: 0 s so far\n")
        advance(50)  # what an earlier run has left
        seen += wait_for(capsys, r"sweep\\x1b: 25% \(50/200 points\), 0 s so far\n")
        advance(100)
        seen += wait_for(capsys, r"sweep\\x1b: 50% \(100/200 points\), \d s so far, about \d+ s left\n")
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == "", "it goes on after its end"
    assert seen.replace("\n", "").isprintable() and out.getvalue() == ""


@pytest.mark.usefixtures("often")
def test_work_of_unknown_length(capsys: pytest.CaptureFixture[str]) -> None:
    with output.working("building", Console(file=io.StringIO())) as show:
        wait_for(capsys, r"^building: 0 s so far\n")
        show("routing")
        wait_for(capsys, r"routing: \d s so far\n")


@pytest.mark.usefixtures("often")
def test_work_that_counts_without_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress_bar("record", None, Console(file=io.StringIO())) as advance:
        advance(12_000)
        wait_for(capsys, r"^record: 0 s so far\n")
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    with output.progress_bar("record", None, terminal) as advance:
        advance(12_000)


@pytest.mark.usefixtures("often")
def test_who_wants_to_hear_nothing_hears_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress_bar("x", 2, Console(quiet=True)), output.working("y", Console(quiet=True)):
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_is_told_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    with output.progress_bar("x", 9, Console(file=out, force_terminal=True, width=120)) as advance:
        advance(3)
    assert " left" in out.getvalue() and capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min")])
def test_times_in_words(seconds: float, words: str) -> None:
    assert output._in_words(seconds) == words


@pytest.mark.usefixtures("often")
def test_a_verb_whose_output_is_a_file(
    microzone: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, line, advance = threading.Event(), output._Lines._line, output._Lines.advance

    def tell(lines: output._Lines) -> str:
        told.set()
        return line(lines)

    def wait_until_told(lines: output._Lines, done: int) -> None:
        """A machine that needs less than a line's time for all of the work says nothing otherwise."""
        advance(lines, done)
        assert told.wait(20)

    monkeypatch.setattr(output._Lines, "_line", tell)
    monkeypatch.setattr(output._Lines, "advance", wait_until_told)
    done = microzone("cfpc", "pursuit", "--trials", "40", "--out", "o", "--json")
    assert done.status == 0 and re.search(r"fixed.*: .* so far", done.err), done.err
    assert done.err.replace("\n", "").isprintable()
