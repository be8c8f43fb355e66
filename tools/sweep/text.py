"""What ``microzone sweep`` tells at the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ..text import tinted
from .markdown import SHOWN, TOGETHER, lines, refusals
from .table import Row

__all__ = ["print_report", "print_rows"]

_FEW = 500
"""Sessions below which the Monte Carlo error hides what others would show."""


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """A line for each value of an experiment's formats: the furthest of all its conditions."""
    table = Table(box=None, header_style="bold")
    for title in ("experiment", "set to", "distance", "furthest in", "trials", "sessions", "cells"):
        left = title in ("experiment", "set to", "furthest in")
        table.add_column(title, justify="left" if left else "right", no_wrap=True)
    found = lines(rows)
    before = ""
    for line in found:
        distance, *others = line.cells()
        colour = "green" if line.worst.within else "red"
        name = "" if line.experiment == before else line.experiment
        table.add_row(name, line.value, tinted(distance, colour), *others)
        before = line.experiment
    console.print(table)
    plain = [line for line in found if not line.has_formats and line.worst.distance is not None]
    if plain:
        behaviour = Table(title="behaviour, fixed point", title_justify="left", box=None, header_style="bold")
        for title in ("experiment", "set to", *SHOWN):
            left = title in ("experiment", "set to")
            behaviour.add_column(title, justify="left" if left else "right", no_wrap=True)
        for line in plain:
            behaviour.add_row(line.experiment, line.value, *line.behaviour())
        console.print(behaviour)
    for refusal in refusals(found):
        console.print(refusal, highlight=False)
    console.print(
        "distance: how far behaviour may have shifted, in Monte Carlo standard errors of float; up to 1 it "
        "does not show\ntrials, sessions: trials a session in which one model alone is in time, sessions "
        "with such a trial; of several conditions, the one with the largest distance",
        highlight=False,
    )


def print_report(report: dict[str, Any], console: Console) -> None:
    """The narrowest formats, what they come to together, and what could not be synthesised."""
    for name, found in report["smallest"].items():
        formats = ", ".join(f"{field} {text}" for field, text in found["formats"].items())
        console.print(f"smallest {name}: {formats}, {_cells(found['logic_cells'])} cells", highlight=False)
    if report["together"]:
        table = Table("", box=None, header_style="bold")
        names = list(report["together"])
        for name in names:
            table.add_column(name, justify="right")
        table.add_column("margin (bits)", justify="right")
        sets = [report["together"][name] for name in names]
        for field, margin in report["configured_margin_bits"].items():
            table.add_row(field, *(each["formats"][field] for each in sets), f"{margin:+d}")
        for title, key, form in TOGETHER:
            table.add_row(title, *("" if each[key] is None else form.format(each[key]) for each in sets))
        console.print(table)
        proposed = report["together"]["proposed"]
        if proposed["within"]:
            bits = f": the smallest formats and {report['margin_bits']} bits more"
            verdict = tinted("proposed", "green", bits)
        else:
            why = (
                f"refused: {proposed['refused']}" if proposed["refused"] else "behaviour shifts all the same"
            )
            bits = f": with {report['margin_bits']} bits more than the smallest, {why}"
            verdict = tinted("not proposed", "red", bits)
        console.print(verdict)
    if report["sessions"] < _FEW:
        console.print(
            tinted(
                f"{report['sessions']} sessions a point are few",
                "yellow",
                ": narrower formats pass than with the paper's 2,500",
            )
        )
    for error in report["not_synthesised"]:
        console.print(f"not synthesised: {error}", highlight=False)


def _cells(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
