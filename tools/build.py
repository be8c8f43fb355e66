"""``microzone build``: a board's bitstream, what it takes, and its checksum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..boards.board import BOARDS, Board
from ..boards.build import SEEDS, BuildReport, build_bitstream
from ..boards.designs import DESIGNS, Configuration, design_of
from ..boards.flash import find_programmer, flash
from ..golden_model.config import ConfigError
from .build_check import BuiltNetlist, check_checkable, check_netlist
from .report.origin import origin
from .report.output import make_folder, working

__all__ = ["build_command", "files_of", "folder_of"]


def folder_of(board: str, design: str) -> Path:
    """Where a bitstream is put if nobody says where."""
    return Path("build") / f"{_board(board).name}{DESIGNS[design].suffix}"


def files_of(board: str, design: str) -> tuple[str, ...]:
    """What a build may leave in its folder: bitstream, configuration, report, netlist."""
    made = (
        f"{_board(board).name}{DESIGNS[design].suffix}.{kind}" for kind in ("bin", "bit", "dfu", "json", "v")
    )
    return ("config.toml", "report.json", *made)


def _board(name: str) -> Board:
    """ConfigError if there is no such board."""
    if name not in BOARDS:
        raise ConfigError(f"board {name!r}: choose from {', '.join(BOARDS)}")
    return BOARDS[name]


def build_command(
    name: str,
    config: Configuration | None,
    out: Path | None,
    *,
    design: str = "chip",
    seeds: Sequence[int] = SEEDS,
    baud: int | None = None,
    checks: bool = False,
    flashes: bool = False,
    console: Console,
    status: Console,
) -> dict[str, Any]:
    """Build the bitstream of a board, print what it takes, and write it to the board if asked to.

    Parameters
    ----------
    name : str
        Of the board.
    config : Configuration, optional
        Put on the board's clock; what takes another time there is said in a note. Else the design's default:
        one microcircuit, two electrodes, recalibration; or smooth pursuit.
    out : Path, optional
        Folder for bitstream, ``config.toml`` and ``report.json``; else ``build/`` and the names of board and
        design.
    design : str
        Of the default configuration; a given one says itself what it is of.
    seeds : sequence of int
        Of nextpnr, tried until one meets the clock.
    baud : int, optional
        Of the UART; else the board's.
    checks : bool
        ``out`` gets the netlist too, and a session over its pins has to be equal to the fixed-point model's.
    flashes : bool
        Write the bitstream to the board's flash.
    console, status : Console
        For the result, and for what is going on.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    ConfigError
        If there is no such board, the configuration is not for it, or what is built cannot be checked.
    BenchFailure, LinkError
        If the netlist does something else than the fixed-point model. Nothing is flashed then.
    ToolError
        If the FPGA is too small, no seed meets the clock, a tool fails, or there is none to flash with.
    FileError
        If ``out`` cannot be written.
    """
    board = _board(name)
    chosen = DESIGNS[design] if config is None else design_of(config)
    config = chosen.default(board) if config is None else config
    config, changes = chosen.clocked(board, config)
    for line in changes:
        status.print(f"note: {line}", highlight=False, markup=False)
    chosen.check(board, config)
    if checks:
        check_checkable(config)
    if flashes:
        find_programmer(board)  # before minutes of work
    out = out or folder_of(name, chosen.name)
    make_folder(out)
    with working(board.name, status) as show:

        def tell(line: str) -> None:
            show(f"{board.name}: {line}")
            if not status.is_terminal:
                status.print(f"{board.name}: {line}", highlight=False)

        about = {"origin": origin()}
        report = build_bitstream(
            board, config, out, seeds=seeds, baud=baud, keep_netlist=checks, about=about, progress=tell
        )
        facts = asdict(report) | about | {"out": str(out / report.bitstream)}
        if checks:
            facts["checked"] = check_netlist(BuiltNetlist.load(out), progress=tell)
        if flashes:
            tell("writing to the board's flash")
            facts["flashed_by"] = flash(board, out / report.bitstream)
    _show(report, out, console)
    if checks:
        console.print(
            "the netlist at its pins: equal to the fixed-point model in {steps} steps, {cr} CRs, "
            "{detections} detections, {pulsed_frames} frames with pulses".format(**facts["checked"]),
            highlight=False,
        )
    if flashes:
        console.print(f"written to the board by {facts['flashed_by']}", highlight=False)
    return facts


def _show(report: BuildReport, out: Path, console: Console) -> None:
    table = Table("", "used", "available", box=None)
    table.add_row("LUTs", str(report.luts), "")
    table.add_row("flip-flops", str(report.flip_flops), "")
    for what, use in (
        ("logic cells", report.logic_cells), ("DSPs", report.dsps), ("RAMs", report.rams)
    ):  # fmt: skip
        share = use.used / use.available
        table.add_row(what, str(use.used), f"{use.available} ({share:.0%} used)")
    console.print(table)
    what = DESIGNS[report.design].summary.format(**report.contents)
    console.print(
        f"{report.board}: {what}, {report.fmax_hz / 1e6:.2f} MHz with seed {report.seed}, "
        f"clock {report.clock_hz / 1e6:g} MHz\n"
        f"{out / report.bitstream}: identity {report.identity}, sha256 {report.sha256}",
        highlight=False,
    )
