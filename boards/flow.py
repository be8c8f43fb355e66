"""From RTLIL to a placed design: Yosys and nextpnr for a family of FPGAs, each run in a folder of its own."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..gateware.toolchain import ToolError, find_tool

__all__ = [
    "ECP5",
    "ICE40",
    "DoesNotFit",
    "Family",
    "Placed",
    "Use",
    "cells",
    "place",
    "preparation",
    "run_tool",
]


class DoesNotFit(ToolError):
    """A design that is larger than the FPGA: no other seed helps."""


@dataclass(frozen=True)
class Family:
    """What the FPGAs of a family have in common.

    Attributes
    ----------
    name : str
    options : str
        Of Yosys' synthesis, so that it uses all that the FPGA has.
    spare : bool
        Rather fewer LUTs than a faster clock.
    nextpnr : str
    logic, dsp, ram : str
        Cells, as the report of nextpnr calls them.
    lut, flip_flop : str
        How the names of such cells begin in Yosys.
    """

    name: str
    options: str
    spare: bool
    nextpnr: str
    logic: str
    dsp: str
    ram: str
    lut: str
    flip_flop: str


ICE40 = Family(
    name="ice40", options="-dsp", spare=True, nextpnr="nextpnr-ice40",
    logic="ICESTORM_LC", dsp="ICESTORM_DSP", ram="ICESTORM_RAM", lut="SB_LUT4", flip_flop="SB_DFF",
)  # fmt: skip
ECP5 = Family(
    name="ecp5", options="", spare=False, nextpnr="nextpnr-ecp5",
    logic="TRELLIS_COMB", dsp="MULT18X18D", ram="DP16KD", lut="LUT4", flip_flop="TRELLIS_FF",
)  # fmt: skip


@dataclass(frozen=True)
class Use:
    """Of one kind of cell."""

    used: int
    available: int

    def __str__(self) -> str:
        return f"{self.used}/{self.available}"


@dataclass(frozen=True)
class Placed:
    """A placed and routed design.

    Attributes
    ----------
    seed : int
    fmax_hz : float
        Of the slowest clock.
    logic_cells, dsps, rams : Use
        On the ECP5 a logic cell is one LUT; flip-flops are counted apart there.
    """

    seed: int
    fmax_hz: float
    logic_cells: Use
    dsps: Use
    rams: Use


def preparation(family: Family, clock_hz: float) -> str:
    """Commands of Yosys before the synthesis, which tell ABC whether to spare LUTs.

    By itself ABC makes everything as fast as it can. Told the clock's period it spends no LUT on speed that
    nobody needs; with the second of Yosys' own scripts for it as well, the chip takes 3 % fewer cells.
    """
    if not family.spare:
        return ""
    return f"scratchpad -set abc9.D {round(1e12 / clock_hz)}; scratchpad -copy abc9.script.flow2 abc9.script"


def cells(family: Family, statistics: Path) -> tuple[int, int]:
    """LUTs and flip-flops in what ``stat -json`` of Yosys wrote."""
    counts = json.loads(statistics.read_text())["design"]["num_cells_by_type"]
    luts, flip_flops = (
        sum(count for name, count in counts.items() if name.startswith(kind))
        for kind in (family.lut, family.flip_flop)
    )
    return luts, flip_flops


def place(family: Family, folder: Path, options: Sequence[str], *, clock_hz: float, seed: int = 1) -> Placed:
    """Place and route, timing met or not.

    Parameters
    ----------
    family : Family
    folder : Path
        Where the design is.
    options : sequence of str
        Device, package, and the names of the files in the folder.
    clock_hz : float
        What is aimed at.
    seed : int
        Equal seeds give equal results.

    Raises
    ------
    DoesNotFit
        If the design is larger than the FPGA.
    ToolError
        If nextpnr is missing or fails.
    """
    log, report = folder / "top.tim", folder / "placed.json"
    arguments = [*options, "--seed", str(seed), "--freq", f"{clock_hz / 1e6:g}", "--timing-allow-fail"]
    try:
        run_tool(family.nextpnr, [*arguments, "--quiet", "--log", log.name, "--report", report.name], folder)
    except ToolError as error:
        used = re.findall(r"(\w+): *(\d+)/ *(\d+) +\d+%", log.read_text() if log.exists() else "")
        lacking = [f"{need} of {have} {kind}" for kind, need, have in used if int(need) > int(have)]
        if lacking:
            raise DoesNotFit(f"{family.nextpnr}: does not fit: {', '.join(lacking)}") from None
        raise error from None
    facts = json.loads(report.read_text())
    logic_cells, dsps, rams = (
        Use(facts["utilization"][kind]["used"], facts["utilization"][kind]["available"])
        for kind in (family.logic, family.dsp, family.ram)
    )
    fmax_hz = 1e6 * min(clock["achieved"] for clock in facts["fmax"].values())
    return Placed(seed, fmax_hz, logic_cells, dsps, rams)


def run_tool(tool: str, arguments: Sequence[str], folder: Path) -> None:
    """Run a program in a folder; ToolError with its first complaint if it fails.

    Files are named relative to the folder: a program of YoWASP sees no other.
    """
    done = subprocess.run([find_tool(tool), *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        printed = (done.stderr + done.stdout).splitlines()
        complaints = [line for line in printed if "ERROR" in line] or [line for line in printed if line]
        raise ToolError(f"{tool}: {complaints[0] if complaints else 'failed'}")
