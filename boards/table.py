"""What the chip takes on each board, and the largest chip that fits: ``python -m microzone.boards.table``.

Builds each board with its usual FPGA and writes ``boards/resources.json``, from which the documentation has
its table. That takes a quarter of an hour; names of boards as arguments build only those.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..gateware.toolchain import ToolError
from ..golden_model.chip import ChipTiming
from ..golden_model.config import ChipConfig, ConfigError
from ..golden_model.events import atomic_write
from .board import BOARDS, Board
from .build import BuildReport, build

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


def largest(board: Board) -> tuple[BuildReport, ChipConfig]:
    """The build with the most microcircuits that fits and meets the clock, two electrodes each.

    The largest that the clock has time for is tried first; if it does not fit, the sizes are bisected.

    Raises
    ------
    ToolError
        If none does.
    """
    candidates = sizes(board)
    found: tuple[BuildReport, ChipConfig] | None = None
    first, end, at = 0, len(candidates), 0
    while first < end:
        chips, channels = candidates[at]
        config = board.sized(chips, channels)
        try:
            found, end = (_built(board, config), config), at
        except ToolError as error:
            print(f"{board.name}, {chips} x {channels}: {error}", file=sys.stderr)
            first = at + 1
        at = (first + end) // 2
    if found is None:
        raise ToolError(f"{board.name}: no chip fits, of those that its clock has time for")
    return found


def _built(board: Board, config: ChipConfig) -> BuildReport:
    def tell(line: str) -> None:
        print(f"{board.name}: {line}", file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix="microzone-") as folder:
        return build(board, config, Path(folder), progress=tell)


def _row(report: BuildReport, config: ChipConfig) -> dict[str, Any]:
    """What does not depend on the version of a tool's bitstream."""
    return {
        "chips": config.amplifier.chips,
        "electrodes": report.electrodes,
        "circuits": report.circuits,
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
    """Build, and write the numbers; those of boards that are not asked for stay."""
    wanted = sys.argv[1:] or RECORDED
    for name in wanted:
        if name not in RECORDED:
            raise ToolError(f"board {name!r}: choose from {', '.join(RECORDED)}")
        board = BOARDS[name]
        config = board.config()
        built = {"complete": _row(_built(board, config), config), "largest": _row(*largest(board))}
        numbers: dict[str, Any] = json.loads(RESOURCES.read_text()) if RESOURCES.exists() else {}
        numbers[name] = built
        ordered = {name: numbers[name] for name in RECORDED if name in numbers}
        with atomic_write(RESOURCES) as file:
            file.write((json.dumps(ordered, indent=1) + "\n").encode())


if __name__ == "__main__":
    try:
        main()
    except ToolError as error:
        sys.exit(f"error: {error}")
