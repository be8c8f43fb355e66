"""Sources of designs: Verilog of components, kept in the cache, and the files of ``sim/`` around them."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...boards.family import FamilyName
from ...gateware.toolchain import find_tool, to_rtlil, to_verilog, tool_version
from ...golden_model.provenance import provenance
from .netlist import netlist_verilog
from .simulators import cache_folder, in_cache

_SIM = files(__package__.rpartition(".")[0])

__all__ = ["kept_text", "kept_verilog", "sim_sources"]


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


def kept_text(name: str, key: str, make: Callable[[], str]) -> str:
    """What `make` makes, from the cache where it has been made under the same key before."""
    kept = cache_folder() / f"{name}-{key[:20]}.sv"
    if not kept.is_file():
        text, part = make(), kept.with_suffix(f".{os.getpid()}")
        try:
            with in_cache():
                part.write_text(text, encoding="utf-8")
                part.replace(kept)
        finally:
            part.unlink(missing_ok=True)
    return kept.read_text(encoding="utf-8")
