"""Where a report comes from: version, sources, command and date of what has made it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ... import __version__
from ...golden_model.provenance import whole_package

__all__ = ["command_line", "made_by", "origin"]


def command_line() -> str:
    """The command of this process, as a shell takes it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def origin(*, dated: bool = True) -> dict[str, str]:
    """What made a report, for its entry ``origin``.

    Parameters
    ----------
    dated : bool
        With the date. Not where a report is made again from what a folder has: it says the same again.

    Returns
    -------
    dict
        ``version``; ``sources``, of all source files and of the packages that decide numbers, the same in
        every installation with the same content; ``command``; ``date``, UTC.
    """
    found = {"version": __version__, "sources": whole_package().key("")[:16], "command": command_line()}
    if dated:
        found["date"] = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    return found


def made_by(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The origin of a report as names and values for its reader; with the seed, where it has one."""
    found = report["origin"]
    lines = [
        ("made by", f"microzone {found['version']}, sources {found['sources']}"),
        ("command", found["command"]),
        ("date", found["date"]),
    ]
    return [*lines, ("seed", str(report["seed"]))] if "seed" in report else lines
