"""``microzone doctor``: what is installed, and what is missing."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from .options import JsonOption, console

__all__ = ["doctor"]


def doctor(
    as_json: JsonOption = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Empty the cache instead: compiled simulations, Verilog, kernels.")
    ] = False,
) -> None:
    """Print each tool's version, how to get what is missing, and where the cache is."""
    if prune:
        from ...gateware.kept import prune as empty_cache

        folder, freed = empty_cache()
        console.print(f"cache {folder}: {freed / 1e6:.0f} MB removed", highlight=False, markup=False)
        return
    from rich.table import Table

    from ...gateware.kept import size_of
    from ...golden_model.files import cache_path
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
        folder = cache_path()
        size = size_of(folder) / 1e6 if folder.is_dir() else 0
        console.print(
            f"cache {folder}: {size:.0f} MB; empty it with: microzone doctor --prune",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    if any(finding.needed and finding.version is None for finding in findings):
        raise typer.Exit(1)
