"""What nobody has foreseen is one line, with the path and the operation; all of it with --debug."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import Outcome
from microzone.boards.board import BOARDS
from microzone.boards.build import build_bitstream
from microzone.boards.family import read_made
from microzone.gateware.toolchain import ToolError
from microzone.golden_model import Events, Result
from microzone.golden_model.microcircuit import MicrocircuitFloat

Microzone = Callable[..., Outcome]

ERRORS: dict[str, tuple[BaseException, str]] = {
    "no space": (OSError(errno.ENOSPC, "No space left on device"), "No space left on device (temporary files are in "),
    "a path": (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "/x/y: Permission denied ("),
    "two paths": (OSError(errno.EXDEV, "Invalid cross-device link", "/x", None, "/y"), "/x and /y: Invalid cross"),
    "too many files": (OSError(errno.EMFILE, "Too many open files", "z"), "z: Too many open files ("),
    "memory": (MemoryError(), "not enough memory: MemoryError ("),
    "memory of numpy": (np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(float)), "not enough memory: Unable"),
    "recursion": (RecursionError("maximum recursion depth exceeded"), "nested too deep ("),
    "a defect": (KeyError("x"), "unexpected: KeyError: 'x' ("),
    "lines": (ValueError("a\nb\x1b[2J"), "unexpected: ValueError: a b\\x1b[2J ("),
    "a long text": (ValueError("x" * 100_000), "unexpected: ValueError: xxx"),
}  # fmt: skip


@pytest.fixture
def failing(microzone: Microzone, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """`microzone run` whose model raises this."""
    Events(np.array([10]), np.array([20]), 100).save("e.npz")

    def call(error: BaseException, *options: str) -> Outcome:
        def process(*_: Any, **__: Any) -> Any:
            raise error

        with mock.patch.object(MicrocircuitFloat, "process", process):
            return microzone(*options, "run", "e.npz", "--model", "float", "--out", "r.npz")

    return call


@pytest.mark.parametrize("what", ERRORS)
def test_an_unexpected_error_is_one_line(failing: Callable[..., Outcome], what: str) -> None:
    error, message = ERRORS[what]
    done = failing(error)
    assert done.status == 1 and done.err.startswith(f"error: {message}") and done.err.count("\n") == 1
    assert re.search(r"\(process, in \w+\.py line \d+; microzone --debug VERB \.\.\. shows all\)$", done.err)
    assert len(done.err) < 2300 and not Path("r.npz").exists()


@pytest.mark.parametrize("what", ERRORS)
def test_debug_shows_all_of_it(failing: Callable[..., Outcome], what: str) -> None:
    done = failing(ERRORS[what][0], "--debug")
    assert done.status == 1 and done.err.startswith("Traceback (most recent call last):")
    assert ", in main" in done.err and ", in process" in done.err
    assert done.err.rstrip().splitlines()[-1].startswith("error: ")


def test_debug_holds_for_one_call(failing: Callable[..., Outcome]) -> None:
    failing(KeyError("x"), "--debug")
    assert "Traceback" not in failing(KeyError("x")).err


def test_a_users_mistake_has_no_traceback_even_then(microzone: Microzone) -> None:
    done = microzone("--debug", "run", "none.npz", "--out", "r.npz")
    assert done.status == 2 and done.err == "error: none.npz: No such file or directory\n"


UNBUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"])
"""What is printed is written at once, or at the end: PYTHONUNBUFFERED says which."""


def printing(tmp_path: Path, verb: str, where: str, unbuffered: str) -> tuple[int, str]:
    """Status and stderr of a verb that prints, in a shell that says where to."""
    command = (
        f"{shlex.quote(sys.executable)} -m microzone.tools.cli.main {verb} {where}; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    return int(done.stdout.split()[-1]), done.stderr


@UNBUFFERED
@pytest.mark.parametrize("verb", ["cfpc config", "sim --list"])  # by print, and by rich
def test_what_cannot_be_printed_is_one_line_at_most(tmp_path: Path, verb: str, unbuffered: str) -> None:
    assert printing(tmp_path, verb, "| true", unbuffered) == (1, ""), "who stops reading is told nothing"
    status, told = printing(tmp_path, verb, "> /dev/full", unbuffered)
    assert status == 1 and told.startswith("error: No space left on device") and told.count("\n") == 1
    assert printing(tmp_path, "cfpc config", ">&-", unbuffered) == (0, "")


# --- tools that end as if all were well -------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "left"),
    [("YOSYS", "yosys: ended as if all were well, and left no cells.json"), ],
)  # fmt: skip
def test_a_tool_that_leaves_nothing(
    microzone: Microzone, monkeypatch: pytest.MonkeyPatch, name: str, left: str, tmp_path: Path
) -> None:
    tool = tmp_path / "yosys"
    tool.write_text("#!/bin/sh\necho 'Yosys 0.70'\n")
    tool.chmod(0o755)
    monkeypatch.setenv(name, str(tool))
    done = microzone("build", "icebreaker", "--out", "o")
    assert done.status == 1 and done.err.splitlines()[-1] == f"error: {left}"
    assert not list(Path("o").iterdir())


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"design": 1}', '{"design": {}}', "\x00"])
def test_a_tools_file_that_is_not_whole(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cells.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ToolError, match=r"^yosys: .*cells\.json"):
        read_made(path, "yosys", ("design", "num_cells_by_type"))


def test_a_placer_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthesis is left out: it takes a minute."""
    from microzone.boards import build
    from microzone.boards.family import Synthesised

    def made(family: Any, rtlil: str, folder: Path, **_: Any) -> Synthesised:
        for name in ("top.json", "top.v"):
            (folder / name).write_text("{}")
        return Synthesised(folder / "top.json", folder / "top.v", 1, 1)

    tool = tmp_path / "nextpnr-ice40"
    tool.write_text("#!/bin/sh\necho 'nextpnr-ice40 -- Next Generation Place and Route (Version 0.11)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("NEXTPNR_ICE40", str(tool))
    monkeypatch.setattr(build, "synthesise", made)
    board = BOARDS["icebreaker"]
    with pytest.raises(
        ToolError, match=r"nextpnr-ice40: ended as if all were well, and left no placed\.json"
    ):
        build_bitstream(board, board.config(), tmp_path, seeds=[1])


def test_other_programs_texts_are_plain(microzone: Microzone, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[tool.poetry]\nname = "x"\n')
    Events(np.array([10]), np.array([20]), 100).save("e.npz")
    done = microzone("run", "e.npz", "--config", tmp_path / "x.toml", "--out", "r.npz")
    assert done.status == 2 and done.err.count("\n") == 1
    assert "x.toml: no configuration of the chip: has tool, needs some of time, trace, threshold" in done.err


def test_a_result_is_whole_where_nothing_can_be_printed(tmp_path: Path) -> None:
    """A stream that is closed ends in a status, with the files written."""
    Events(np.array([10]), np.array([20]), 100).save(tmp_path / "e.npz")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "microzone.tools.cli.main", "run", "e.npz", "--model", "float", "--out", "r.npz"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=os.environ,
        )  # fmt: skip
    assert done.returncode != 0 and "Traceback" not in done.stderr and "No space left" in done.stderr
    assert Result.load(tmp_path / "r.npz").w.size == 100
