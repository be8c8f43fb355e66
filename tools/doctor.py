"""``microzone doctor``: which tools are here, and how to get those that are missing."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

from ..gateware.toolchain import ToolError, find_tool, tool_version
from ..sim.blocks import BENCHES
from ..sim.build.simulators import SIMULATORS, find_libpython_or_fail, printed

__all__ = ["Finding", "examine"]


@dataclass(frozen=True)
class Finding:
    """One tool: what for, its version (None if missing), where, and how to get it."""

    tool: str
    purpose: str
    version: str | None
    where: str
    how_to_get: str
    needed: bool


def examine() -> list[Finding]:
    """Every tool that microzone calls."""
    findings = [
        Finding("python", "everything", platform.python_version(), "", "", True),
        _probe(
            "libpython",
            "cocotb",
            lambda: (platform.python_version(), find_libpython_or_fail()),
            "apt-get install libpython3-dev",
        ),
        *(_program(name, "Verilator's compiled models") for name in ("g++", "make")),
        *(
            Finding(name, _simulated(name), found, "", simulator.how_to_get, name == "verilator")
            for name, simulator in SIMULATORS.items()
            for found in [simulator.version()]
        ),
        *(Finding(name, "gateware, benches", version(name), "", "", True) for name in ("amaranth", "cocotb")),
    ]
    for name, purpose, package in (
        ("yosys", "Verilog, synthesis", "yosys"),
        ("nextpnr-ice40", "bitstreams", "nextpnr-ice40"),
        ("icepack", "bitstreams", "nextpnr-ice40"),
        ("nextpnr-ecp5", "bitstreams", "nextpnr-ecp5"),
        ("ecppack", "bitstreams", "nextpnr-ecp5"),
    ):
        findings.append(_probe(name, purpose, partial(_tool, name), f"pip install yowasp-{package}"))
    how = "apt-get install fpga-icestorm"
    findings.append(replace(_probe("icebox_vlog", "bitstreams, read back", _icebox, how), needed=False))
    found = version("z3-solver") if find_spec("z3") else None
    findings.append(Finding("z3", "proofs", found, "", "pip install z3-solver", False))
    return findings


_WITHOUT_VERSION = ("icepack",)
"""What prints no version, whatever it is asked."""


def _simulated(simulator: str) -> str:
    """Which blocks' benches a simulator runs."""
    able = [name for name, bench in BENCHES.items() if simulator in bench.simulators]
    return f"simulation: {'all blocks' if len(able) == len(BENCHES) else ', '.join(able)}"


def _tool(name: str) -> tuple[str, str]:
    path = find_tool(name)
    found = tool_version(path)
    if not found and name not in _WITHOUT_VERSION:
        raise ToolError(f"{name}: fails when asked for its version")
    return found, path


def _icebox() -> tuple[str, str]:
    return "present", find_tool("icebox_vlog")


def _program(name: str, purpose: str) -> Finding:
    def probe() -> tuple[str, str]:
        path = shutil.which(name)
        if path is None:
            raise ToolError(f"{name}: not found")
        lines = printed(path, "--version").splitlines()
        if not lines:
            raise ToolError(f"{name}: fails when asked for its version")
        return lines[0].split()[-1], path

    return _probe(name, purpose, probe, f"apt-get install {name}")


def _probe(tool: str, purpose: str, probe: Callable[[], tuple[str, str]], how_to_get: str) -> Finding:
    try:
        found, where = probe()
    except ToolError:
        return Finding(tool, purpose, None, "", how_to_get, True)
    return Finding(tool, purpose, found, where, how_to_get, True)
