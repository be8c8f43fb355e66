"""The microcircuit as a bitstream has it: placed, routed, packed, unpacked, and turned back into Verilog.

What is simulated in the end is no longer Yosys' netlist, but what the configuration bits say: look-up tables,
carries, flip-flops, block RAMs and the wires between them, as ``icebox_vlog`` of Project IceStorm reads
them. It does not know the multipliers of the UP5K, so that this is a build without. The core has more ports
than any package of the UP5K has pins: the part is an iCE40 HX8K, with the same cells and block RAMs.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib.wiring import Flow, In, Member

from ...boards.family import ICE40, synthesise
from ...gateware.component import Component
from ...gateware.kept import kept_text
from ...gateware.microcircuit.microcircuit import Microcircuit, Timing
from ...gateware.scratch import Scratch
from ...gateware.toolchain import ToolError, find_tool, run_tool, to_rtlil
from ...golden_model.config import ChipConfig, ConfigError
from ...golden_model.provenance import provenance
from .netlist import with_cells

__all__ = ["UNSEEN", "Pads", "readback_verilog"]

UNSEEN = ("age", "trace", "scaled")
"""Signals of a commit without pads: there are not enough. What they lead to is seen in w and the CRs."""
_PART = ("--hx8k", "--package", "ct256")
_BITSTREAM_NAME = "routed"


class Pads(Component):
    """The microcircuit with its ports as single vectors, but for those that get no pads.

    Parameters
    ----------
    core : Microcircuit

    Attributes
    ----------
    ports : dict of str to tuple of Flow and Value
        All of the core's, by the names that its Verilog has.

    Members
    -------
    Those of `ports` that have pads.
    """

    def __init__(self, core: Microcircuit) -> None:
        self._core = core
        self.ports: dict[str, tuple[Flow, Value]] = {}
        padded: dict[str, Member] = {}
        member: Any  # a Member; the stubs say that it is a Flow
        for path, member, value in core.signature.flatten(core):
            name = "__".join(map(str, path))
            self.ports[name] = (member.flow, Value.cast(value))
            if path[0] != "recalibrated" and not (path[0] == "commit" and path[1] in UNSEEN):
                padded[name] = member.flow(len(Value.cast(value)))
        super().__init__(padded)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core = self._core
        for name in self.signature.members:
            (flow, value), outer = self.ports[name], getattr(self, name)
            m.d.comb += value.eq(outer) if flow is In else outer.eq(value)
        return m


def readback_verilog(config: ChipConfig, channels: int = 1) -> str:
    """Verilog of the core as its bitstream has it, module ``microcircuit``; kept in the cache.

    Its ports are those of ``replay.core_verilog``; the unseen ones and those of the recalibration are 0.

    Raises
    ------
    ConfigError
        If the configuration recalibrates, or has no time for so many channels.
    ToolError
        If a tool is missing or fails, or the core does not fit.
    """
    Timing(config, channels)
    if config.recalibration.enabled:
        raise ConfigError("recalibration.enabled: the package of the read-back has no pins for its results")
    pads = Pads(Microcircuit(config, channels))
    rtlil = to_rtlil(pads, "microcircuit")
    tools = ICE40.versions()
    tools["icebox_vlog"] = hashlib.sha256(Path(find_tool("icebox_vlog")).read_bytes()).hexdigest()
    key = provenance(readback_verilog, tools=tools).key(rtlil)
    return kept_text("microcircuit-bitstream", key, lambda: _read_back(rtlil, pads))


def _read_back(rtlil: str, pads: Pads) -> str:
    """To a bitstream and back."""
    with Scratch() as folder:
        made = synthesise(ICE40, rtlil, folder, top="microcircuit", dsp=False)
        options = [*_PART, "--json", made.json.name, "--asc", "core.asc", "--write", "routed.json"]
        options += ["--freq", f"{ICE40.clock_hz / 1e6:g}", "--seed", "1", "--quiet"]
        run_tool(ICE40.nextpnr, options, folder)
        run_tool("icepack", ["core.asc", "core.bin"], folder)
        # From here on the bitstream alone, and which pad is whose.
        (folder / "core.asc").unlink()
        run_tool("iceunpack", ["core.bin", "unpacked.asc"], folder)
        (folder / "pads.pcf").write_text(_pads(folder / "routed.json"), encoding="utf-8")
        options = ["-s", "-c", "-n", _BITSTREAM_NAME, "-p", "pads.pcf", "unpacked.asc"]
        routed = run_tool("icebox_vlog", options, folder)
    return with_cells(_declared_apart(routed) + _wrapper(routed, pads), "ice40")


def _pads(routed: Path) -> str:
    """Which pad the placer has given to each port, as constraints."""
    (top,) = json.loads(routed.read_text(encoding="utf-8"))["modules"].values()
    lines = []
    for name, cell in top["cells"].items():
        if cell["type"] == "SB_IO":
            x, y, pad = re.findall(r"\d+", cell["attributes"]["NEXTPNR_BEL"])
            lines.append(f"set_io {name.removesuffix('$sb_io')} {x} {y} {pad}\n")
    return "".join(lines)


_HEADER = re.compile(rf"module {_BITSTREAM_NAME} \((.*?)\);", re.DOTALL)
_PORT = re.compile(r"(input|output) (?:\[(\d+):0\] )?\\?(\w+)")


def _declared_apart(routed: str) -> str:
    """The module with its ports declared after its header: only then may they come once more as nets."""

    def header(found: re.Match[str]) -> str:
        names = ", ".join(port[3] for port in _PORT.finditer(found[1]))
        declared = "".join(f"{port[0]} ;\n" for port in _PORT.finditer(found[1]))
        return f"module {_BITSTREAM_NAME} ({names});\n{declared}"

    return _HEADER.sub(header, routed)


def _wrapper(routed: str, pads: Pads) -> str:
    """Module ``microcircuit`` with all ports of the core, around the one read back."""
    header = _HEADER.search(routed)
    found = _PORT.findall(header[1] if header else "")
    back = {name: (direction, int(high or 0) + 1) for direction, high, name in found}
    ports, connections, unseen = [], [], []
    clocked = {"clk": ("input", 1), "rst": ("input", 1)}
    core = {n: ("input" if flow is In else "output", len(value)) for n, (flow, value) in pads.ports.items()}
    for name, (direction, width) in (clocked | core).items():
        ports.append(f"    {direction} [{width - 1}:0] {name}")
        if name not in clocked and name not in pads.signature.members:
            unseen.append(f"    assign {name} = 0;")
            continue
        connections.append(f"        .{name}({name})")
        if back.get(name) != (direction, width):
            raise ToolError(f"icebox_vlog: {name} came back as {back.get(name)}, not {direction, width}")
    lines = ["module microcircuit (", ",\n".join(ports), ");", f"    {_BITSTREAM_NAME} bitstream ("]
    return "\n".join([*lines, ",\n".join(connections), "    );", *unseen, "endmodule", ""])
