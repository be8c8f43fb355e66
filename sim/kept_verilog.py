"""Sources of designs: Verilog of components, kept in the cache, and the files of this folder around them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..gateware import toolchain
from ..gateware.toolchain import to_rtlil, to_verilog
from .simulators import cache_folder

__all__ = ["bench_source", "kept_verilog"]


def bench_source(name: str) -> str:
    """Text of a Verilog or C++ file of this folder."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def kept_verilog(make: Callable[[], Any], name: str) -> str:
    """SystemVerilog of the component that `make` makes, as module `name`; kept by the hash of its RTLIL.

    ToolError without Yosys.
    """
    rtlil = to_rtlil(make(), name)
    how = Path(toolchain.__file__).read_bytes()  # how it is written is part of what was written
    kept = cache_folder() / f"{name}-{hashlib.sha256(rtlil.encode() + how).hexdigest()[:20]}.sv"
    if not kept.is_file():
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(to_verilog(make(), name), encoding="utf-8")
        part.replace(kept)
    return kept.read_text(encoding="utf-8")
