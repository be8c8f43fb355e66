"""What chip and CFPC filter take on each board, and the largest chip: ``python -m microzone.boards.table``.

Builds each board with its usual FPGA and writes ``boards/resources.json``, from which the documentation has
its tables. That takes half an hour; names of boards and designs as arguments build only those.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ..gateware.scratch import Scratch
from ..gateware.toolchain import ToolError
from ..golden_model.chip import ChipTiming
from ..golden_model.config import ConfigError
from ..golden_model.files import atomic_write
from .board import BOARDS, Board
from .build import BuildReport, build_bitstream
from .designs import DESIGNS, Configuration

__all__ = ["RECORDED", "RESOURCES", "largest", "sizes"]

RESOURCES = Path(__file__).with_name("resources.json")
RECORDED = [name for name in BOARDS if "-" not in name]
"""Other sizes of the same FPGA take the same cells."""


def sizes(board: Board) -> list[tuple[int, int]]:
    """Chips and inputs of each that the board's clock has time for, most electrodes first."""
    found = []
    for chips in range(1, board.chips + 1):
        for channels in range(2 if chips == 1 else 1, 33):
            try:
                ChipTiming(board.sized(chips, channels))
            except ConfigError:
                continue
            if chips * channels % 2 == 0:
                found.append((chips, channels))
    return sorted(found, key=lambda size: (-size[0] * size[1], size[0]))


def largest(board: Board) -> BuildReport:
    """The build with the most microcircuits that fits and meets the clock, two electrodes each.

    The largest that the clock has time for is tried first; if it does not fit, the sizes are bisected.

    Raises
    ------
    ToolError
        If none does.
    """
    candidates = sizes(board)
    found: BuildReport | None = None
    first, end, at = 0, len(candidates), 0
    while first < end:
        chips, channels = candidates[at]
        try:
            found, end = _built(board, board.sized(chips, channels)), at
        except ToolError as error:
            print(f"{board.name}, {chips} x {channels}: {error}", file=sys.stderr)
            first = at + 1
        at = (first + end) // 2
    if found is None:
        raise ToolError(f"{board.name}: no chip fits, of those that its clock has time for")
    return found


def _built(board: Board, config: Configuration) -> BuildReport:
    def tell(line: str) -> None:
        print(f"{board.name}: {line}", file=sys.stderr)

    with Scratch() as folder:
        return build_bitstream(board, config, folder, progress=tell)


def _chips(board: Board) -> dict[str, BuildReport]:
    return {"complete": _built(board, board.config()), "largest": largest(board)}


def _filters(board: Board) -> dict[str, BuildReport]:
    """Smooth pursuit: one input and its delayed copies, and the same bases with an input each."""
    shifted = DESIGNS["cfpc"].default(board)
    general = shifted.replace(bases={"shifted": False})
    return {"shifted": _built(board, shifted), "general": _built(board, general)}


_SIZES = {"chip": _chips, "cfpc": _filters}


def _row(report: BuildReport) -> dict[str, Any]:
    """What does not depend on the version of a tool's bitstream."""
    return {
        **report.contents,
        "luts": report.luts,
        "flip_flops": report.flip_flops,
        "logic_cells": [report.logic_cells.used, report.logic_cells.available],
        "dsps": [report.dsps.used, report.dsps.available],
        "rams": [report.rams.used, report.rams.available],
        "clock_hz": report.clock_hz,
        "fmax_hz": round(report.fmax_hz),
        "seed": report.seed,
        "tools": report.tools,
    }


def main() -> None:
    """Build, and write the numbers; those of boards and designs that are not asked for stay."""
    asked = sys.argv[1:]
    for name in asked:
        if name not in RECORDED and name not in DESIGNS:
            raise ToolError(f"{name!r}: choose from {', '.join([*RECORDED, *DESIGNS])}")
    boards = [name for name in RECORDED if name in asked] or RECORDED
    for design in [name for name in DESIGNS if name in asked] or DESIGNS:
        for board in boards:
            built = {size: _row(report) for size, report in _SIZES[design](BOARDS[board]).items()}
            _record(design, board, built)


def _record(design: str, board: str, built: dict[str, Any]) -> None:
    numbers: dict[str, Any] = json.loads(RESOURCES.read_text()) if RESOURCES.exists() else {}
    numbers.setdefault(design, {})[board] = built
    ordered = {
        design: {board: numbers[design][board] for board in RECORDED if board in numbers[design]}
        for design in DESIGNS
        if design in numbers
    }
    with atomic_write(RESOURCES) as file:
        file.write((json.dumps(ordered, indent=1) + "\n").encode())


if __name__ == "__main__":
    try:
        main()
    except ToolError as error:
        sys.exit(f"error: {error}")
