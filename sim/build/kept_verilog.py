"""Sources of designs: Verilog of components, kept in the cache, and the files of ``sim/`` around them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...boards.family import FamilyName
from ...gateware.kept import kept_text
from ...gateware.toolchain import find_tool, to_rtlil, to_verilog, tool_version
from ...golden_model.provenance import provenance
from .netlist import netlist_verilog

_SIM = files(__package__.rpartition(".")[0])

__all__ = ["CHECKED", "kept_verilog", "sim_sources"]

CHECKED = "build/checked.h"
"""What each program in C++ writes its output with."""


def sim_sources(*paths: str) -> dict[str, str]:
    """Texts of Verilog and C++ files, named from ``sim/`` on (``"replay/replay.sv"``), by their last name."""
    return {Path(path).name: _SIM.joinpath(path).read_text(encoding="utf-8") for path in paths}


def kept_verilog(make: Callable[[], Any], name: str, *, netlist: FamilyName | None = None) -> str:
    """SystemVerilog of the component that `make` makes, as module `name`.

    It is kept by the component's RTLIL, and by what has made Verilog of that: the gateware's own sources
    count by what they come to.

    Parameters
    ----------
    make : callable
        Makes a component that has not been elaborated yet.
    name : str
    netlist : {"ice40", "ecp5"}, optional
        Synthesised for this family first: the same ports, and the cells of the family instead of processes.

    Raises
    ------
    ToolError
        Without Yosys.
    """
    rtlil = to_rtlil(make(), name)
    tools = {"yosys": tool_version(find_tool("yosys"))}
    if netlist is None:
        key = provenance(to_verilog, tools=tools).key(rtlil)
        return kept_text(name, key, lambda: to_verilog(make(), name))
    key = provenance(netlist_verilog, tools=tools).key(f"{netlist}\n{rtlil}")
    return kept_text(f"{name}-{netlist}", key, lambda: netlist_verilog(rtlil, name, netlist))
