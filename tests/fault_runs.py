"""Runs verbs in forked processes of one that has all loaded, each with a disk that fills at another write.

Reads a line of JSON for each run: folder, verb and arguments, calls that may write (-1: all). Answers with
one: status, how many calls there were, what was printed. Yosys and its like, whose writing is not this
process's, run once for the same files: what they have made is kept in the folder ``$KEPT``.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from microzone.boards import build, family, flow
from microzone.gateware import toolchain
from microzone.tools.cli import main as cli

LOADED = (
    "microzone.tools.sessions.demo", "microzone.tools.compare.compare", "microzone.tools.calibrate",
    "microzone.sim.blocks", "microzone.tools.report.figures", "matplotlib.backends.backend_agg",
    "microzone.tools.cfpc", "microzone.tools.infer", "microzone.tools.infer_compare", "microzone.tools.sweep",
    "microzone.tools.reproduce.command", "microzone.golden_model.recordings",
)  # fmt: skip
DISK = ctypes.CDLL(None)
DISK.disk_calls.restype = ctypes.c_longlong
DISK.disk_full_after.argtypes = (ctypes.c_longlong,)
KEPT = Path(os.environ["KEPT"])


def run_tool(tool: str, arguments: Sequence[str], folder: Path) -> str:
    """As the toolchain's, once for the same files."""
    asked = hashlib.sha256(json.dumps([tool, *arguments]).encode())
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        asked.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    kept = KEPT / asked.hexdigest()
    printed = kept.with_suffix(".txt")
    DISK.disk_paused(1)
    try:
        if not printed.is_file():
            printed.write_text(toolchain.run_tool(tool, arguments, folder))
            shutil.copytree(folder, kept)
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        return printed.read_text()
    finally:
        DISK.disk_paused(0)


def run(folder: str, arguments: list[str], calls: int, told: int) -> NoReturn:
    """In a process of its own, whose output is a pipe: that is no disk. Ends it."""
    os.chdir(folder)
    sys.argv = ["microzone", *arguments]
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    status = 70
    DISK.disk_full_after(calls)
    try:
        cli.main()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    used = DISK.disk_calls()
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(told, str(used).encode())
    os._exit(status)


def main() -> None:
    for module in LOADED:  # once, and not in each of the runs
        importlib.import_module(module)
    for user in (build, family, flow):
        user.run_tool = run_tool
    for line in sys.stdin:
        folder, arguments, calls = json.loads(line)
        (output, printed), (answer, told) = os.pipe(), os.pipe()
        child = os.fork()
        if not child:
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            run(folder, arguments, calls, told)
        os.close(printed)
        os.close(told)
        with os.fdopen(output, errors="replace") as source:
            text = source.read()
        with os.fdopen(answer) as source:
            used = int(source.read() or -1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([status, used, text]), flush=True)


if __name__ == "__main__":
    main()
