"""From a netlist to a placed design: nextpnr for a family of FPGAs, in a folder of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..gateware.toolchain import ToolError, run_tool
from .family import Family, read_made

__all__ = ["DoesNotFit", "Placed", "Use", "place"]


class DoesNotFit(ToolError):
    """A design that is larger than the FPGA: no other seed helps."""


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
    used = read_made(report, family.nextpnr, ("utilization",))
    clocks = read_made(report, family.nextpnr, ("fmax",))
    try:
        logic_cells, dsps, rams = (
            Use(used[kind]["used"], used[kind]["available"])
            for kind in (family.logic, family.dsps, family.rams)
        )
        fmax_hz = 1e6 * min(clock["achieved"] for clock in clocks.values())
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ToolError(f"{family.nextpnr}: has left a {report.name} that is not whole") from None
    return Placed(seed, fmax_hz, logic_cells, dsps, rams)
