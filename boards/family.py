"""What synthesis for a family of FPGAs is: command, options, cells and their models, tools.

Bitstreams, costs, and the netlists that benches run on are all made by :func:`synthesise`, so that a bench
on a netlist says something about the bitstream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..gateware.toolchain import ToolError, find_tool, run_tool, tool_version, yosys_share

__all__ = [
    "ECP5",
    "FAMILIES",
    "ICE40",
    "Family",
    "FamilyName",
    "Synthesised",
    "check_made",
    "read_made",
    "synthesise",
    "without_collisions",
]

FamilyName: TypeAlias = Literal["ice40", "ecp5"]


@dataclass(frozen=True)
class Family:
    """What the FPGAs of a family have in common.

    Attributes
    ----------
    name : {"ice40", "ecp5"}
        As on the command line, and as Yosys calls its folder.
    command : str
        Of Yosys, for the synthesis.
    dsp, no_dsp : str
        Its option for multiplying in DSPs, and for not; empty where it does so by itself.
    no_pads : str
        Its option for a top module that shall get no pads; empty where it never makes any.
    clock_hz : float
        Of its slowest board. What is no board's is made for it.
    spare : bool
        Rather fewer LUTs than a faster clock.
    nextpnr : str
        Places and routes.
    logic, dsps, rams : str
        Cells, as the report of nextpnr calls them.
    lut, flip_flop : str
        How the names of such cells begin in Yosys.
    """

    name: FamilyName
    command: str
    dsp: str
    no_dsp: str
    no_pads: str
    clock_hz: float
    spare: bool
    nextpnr: str
    logic: str
    dsps: str
    rams: str
    lut: str
    flip_flop: str

    @property
    def cell_models(self) -> Path:
        """Verilog of the family's cells, as Yosys ships it."""
        return yosys_share() / self.name / "cells_sim.v"

    def versions(self) -> dict[str, str]:
        """Of Yosys and nextpnr, by name; ToolError where one is missing."""
        return {name: tool_version(find_tool(name)) for name in ("yosys", self.nextpnr)}

    def script(
        self, top: str = "top", *, clock_hz: float | None = None, pads: bool = False, dsp: bool = True
    ) -> str:
        """The commands of Yosys from ``top.il`` to what :class:`Synthesised` names; options as there.

        By itself ABC makes everything as fast as it can. Told the clock's period it spends no LUT on speed
        that nobody needs; with the second of Yosys' own scripts for it as well, the chip takes 3 % fewer
        cells.
        """
        lines = ["read_rtlil top.il"]
        if self.spare:
            period_ps = round(1e12 / (clock_hz or self.clock_hz))
            lines += [f"scratchpad -set abc9.D {period_ps}", "scratchpad -copy abc9.script.flow2 abc9.script"]
        options = (self.dsp if dsp else self.no_dsp, "" if pads else self.no_pads, f"-top {top}")
        lines += [
            " ".join([self.command, *filter(None, options)]),
            "tee -q -o cells.json stat -json",
            "write_json top.json",
            "write_verilog -noattr top.v",  # last: it rewrites some cells of Yosys' own
        ]
        return "\n".join([*lines, ""])


ICE40 = Family(
    name="ice40", command="synth_ice40", dsp="-dsp", no_dsp="", no_pads="",
    clock_hz=12e6, spare=True, lut="SB_LUT4", flip_flop="SB_DFF",
    nextpnr="nextpnr-ice40", logic="ICESTORM_LC", dsps="ICESTORM_DSP", rams="ICESTORM_RAM",
)  # fmt: skip
ECP5 = Family(
    name="ecp5", command="synth_ecp5", dsp="", no_dsp="-nodsp", no_pads="-noiopad",
    clock_hz=25e6, spare=False, lut="LUT4", flip_flop="TRELLIS_FF",
    nextpnr="nextpnr-ecp5", logic="TRELLIS_COMB", dsps="MULT18X18D", rams="DP16KD",
)  # fmt: skip

FAMILIES: dict[FamilyName, Family] = {family.name: family for family in (ICE40, ECP5)}
"""By name."""


@dataclass(frozen=True)
class Synthesised:
    """A netlist, as one run of Yosys has written it twice.

    Attributes
    ----------
    json : Path
        For nextpnr.
    verilog : Path
        For simulators, without models of the cells.
    luts, flip_flops : int
    """

    json: Path
    verilog: Path
    luts: int
    flip_flops: int


def synthesise(
    family: Family,
    rtlil: str,
    folder: Path,
    *,
    top: str = "top",
    clock_hz: float | None = None,
    pads: bool = False,
    dsp: bool = True,
) -> Synthesised:
    """Synthesise for a family of FPGAs, as every bitstream is.

    Parameters
    ----------
    family : Family
    rtlil : str
        From ``toolchain.to_rtlil``, or of an Amaranth platform.
    folder : Path
        Receives the netlist and the log.
    top : str
        Name of the top module.
    clock_hz : float, optional
        That has to be reached; else the family's own.
    pads : bool
        The top module has the pads of a board. A block by itself has none.
    dsp : bool
        Multiply in DSPs; in logic cells otherwise.

    Raises
    ------
    ToolError
        If Yosys is missing or fails.
    """
    (folder / "top.il").write_text(without_collisions(rtlil), encoding="utf-8")
    script = family.script(top, clock_hz=clock_hz, pads=pads, dsp=dsp)
    (folder / "top.ys").write_text(script, encoding="utf-8")
    run_tool("yosys", ["-q", "-l", "top.rpt", "top.ys"], folder)
    counts = read_made(folder / "cells.json", "yosys", ("design", "num_cells_by_type"))
    for name in ("top.json", "top.v"):
        check_made(folder / name, "yosys")
    luts, flip_flops = (
        sum(count for name, count in counts.items() if name.startswith(kind))
        for kind in (family.lut, family.flip_flop)
    )
    return Synthesised(folder / "top.json", folder / "top.v", luts, flip_flops)


def check_made(path: Path, tool: str) -> None:
    """ToolError if a tool that has said nothing has left nothing."""
    if not (path.is_file() and path.stat().st_size):
        raise ToolError(f"{tool}: ended as if all were well, and left no {path.name}")


def read_made(path: Path, tool: str, where: Sequence[str] = ()) -> Any:
    """What stands in a JSON file of a tool, under these keys; ToolError if it is not there or not whole."""
    check_made(path, tool)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for key in where:
            found = found[key]
    except (ValueError, KeyError, TypeError):
        raise ToolError(f"{tool}: has left a {path.name} that is not whole") from None
    return found


def without_collisions(rtlil: str) -> str:
    """RTLIL whose memories may answer anything to a read of the word that is written in the same cycle.

    Amaranth asks for the old word there. Block RAM has no such order, so that Yosys would put flip-flops,
    comparators and multiplexers around each memory, for a word that no block of this gateware uses.
    """
    return re.sub(r"(parameter \\COLLISION_X_MASK 1')0", r"\g<1>1", rtlil)
