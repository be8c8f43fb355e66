"""Bitstreams onto boards, by the programmers that others make."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..gateware.processes import run
from ..gateware.toolchain import ToolError
from .board import Board

__all__ = ["find_programmer", "flash"]


def find_programmer(board: Board) -> tuple[str, ...]:
    """The command that writes the flash of a board; ToolError if no program for it is installed."""
    for command in board.programmers:
        if shutil.which(command[0]):
            return command
    names = " or ".join(command[0] for command in board.programmers)
    raise ToolError(f"{board.name}: cannot be flashed without {names}; the bitstream does not need it")


def flash(board: Board, bitstream: Path) -> str:
    """Write a bitstream to the flash of a board that is plugged in; the program that did it.

    Raises
    ------
    ToolError
        If there is no program for it, or it fails: no board, or no right to use its port.
    """
    command = find_programmer(board)
    try:
        done = run([*command, bitstream])
    except OSError as error:
        raise ToolError(f"{command[0]}: cannot be run: {error.strerror}") from None
    if done.returncode:
        printed = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ToolError(f"{command[0]}: {printed[-1] if printed else f'status {done.returncode}'}")
    return command[0]
