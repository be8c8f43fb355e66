"""``microzone doctor``: what is installed, and what is missing."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from .options import JsonOption, console

__all__ = ["doctor"]


def doctor(as_json: JsonOption = False) -> None:
    """Print each tool's version, and how to get what is missing."""
    from rich.table import Table

    from ..doctor import examine

    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        table = Table("tool", "for", "version", box=None)
        table.add_column("where, or how to get it", overflow="fold")
        for finding in findings:
            absent = "missing" if finding.needed else "not installed (optional)"
            note = finding.how_to_get if finding.version is None else finding.where
            table.add_row(
                finding.tool,
                finding.purpose,
                absent if finding.version is None else finding.version or "found",
                note,
            )
        console.print(table)
    if any(finding.needed and finding.version is None for finding in findings):
        raise typer.Exit(1)
