"""Thousands of hostile inputs: no traceback, no hang, little memory, and a refusal is one line."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import hostile_inputs as hostile
import pytest

_START_SECONDS = 120.0
"""Until the first case is done: libraries are loaded, kernels compiled."""


def run_all(count: int | None, folder: Path) -> tuple[int, list[str]]:
    """Run so many cases, or all, in a process that is started anew after one that hangs.

    Returns
    -------
    (int, list of str)
        How many there were; of each that went wrong its name, what is wrong, and what it said.
    """
    cases = hostile.chosen(count)
    wanted = "all" if count is None else str(count)
    wrong, done = [], 0
    while done < len(cases):
        command = [sys.executable, hostile.__file__, wanted, str(done), str(len(cases))]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=folder
        ) as process:
            assert process.stdout is not None
            left, rest = _START_SECONDS, b""
            try:
                while done < len(cases):
                    line, rest, ended = _line(process.stdout.fileno(), rest, left)
                    if line is None:
                        how = f"died with status {process.wait()}" if ended else f"not done in {left:g} s"
                        wrong.append(f"{cases[done].name}: {how}")
                        done += 1
                        break
                    found = json.loads(line)
                    faults = hostile.faults(cases[done], found)
                    if faults:
                        wrong.append(f"{cases[done].name}: {', '.join(faults)}: {found['err'][-600:]}")
                    done, left = done + 1, 3 * hostile.SECONDS
            finally:
                process.kill()
    return done, wrong


def _line(stream: int, rest: bytes, seconds: float) -> tuple[bytes | None, bytes, bool]:
    """The next line within so many seconds, what came after it, and whether the stream has ended."""
    until = time.monotonic() + seconds
    while b"\n" not in rest:
        ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None, rest, False
        piece = os.read(stream, 1 << 16)
        if not piece:
            return None, rest, True
        rest += piece
    line, _, rest = rest.partition(b"\n")
    return line, rest, False


def test_some_hostile_inputs(tmp_path: Path) -> None:
    count, wrong = run_all(60, tmp_path)
    assert count == 60 and not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_all_hostile_inputs(tmp_path: Path) -> None:
    count, wrong = run_all(None, tmp_path)
    print(f"\n{count} hostile inputs")
    assert count >= 1000 and not wrong, "\n".join(wrong)


def test_each_verb_that_reads_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each kind of file in each place where one is read."""
    monkeypatch.chdir(tmp_path)  # good files beside the bad one are written where one is
    names = {case.name for case in hostile.every_case()}
    assert len(names) == len(hostile.every_case()) >= 1000
    for slot in hostile.SLOTS:
        assert {f"{slot}: {what}" for what in (*hostile.FILES, *hostile.PATHS)} <= names
    verbs = {arguments("x")[0] for _, arguments in hostile.SLOTS.values()}
    assert verbs >= {
        "run", "compare", "calibrate", "infer", "infer-compare", "detect", "demo", "session", "verilog", "build",
        "sweep", "reproduce", "cfpc", "host",
    }  # fmt: skip


def test_faults_are_seen() -> None:
    """What the corpus would say of verbs that are worse."""
    refused = hostile.Case("x", list, hostile.REFUSED)
    good = {"status": 2, "err": "error: x: no\n", "lines": 1, "seconds": 0.1, "bytes": 1 << 20}
    assert hostile.faults(refused, good) == []
    for change, fault in (
        ({"status": 0, "err": "", "lines": 0}, "not refused"),
        ({"err": "Traceback (most recent call last):\nerror: x\n", "lines": 2}, "traceback"),
        ({"err": "error: unexpected: KeyError: 'x'\n", "status": 1}, "traceback"),
        ({"seconds": 21.0}, "21.0 s"),
        ({"bytes": 2 << 30}, "2048 MiB"),
        ({"err": "error: \x1b[2J\n"}, "control characters"),
        ({"err": "usage: x\n"}, "no line that begins with error"),
    ):
        assert any(fault in found for found in hostile.faults(refused, good | change)), change
    goes = hostile.Case("x", list, hostile.GOES)
    assert hostile.faults(goes, good) == ["status 2, refused"]
