"""The table of docs/reproduce.md: what ``microzone reproduce`` says of each statement.

It takes minutes, so that ``make docs`` makes this table anew only with ``PICTURES=all``; a slow test compares
it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from microzone.tools.reproduce.command import FIGURES, files_of

__all__ = ["PAGE", "page_with", "reproduced_rows", "rows_of_page"]

PAGE = Path(__file__).resolve().parents[1] / "reproduce.md"
_ROW = re.compile(rf"^\| (?:{'|'.join(FIGURES)}) \| .*\|$")


def reproduced_rows(folder: Path, figures: Iterable[str]) -> list[str]:
    """A row for each statement, from what ``reproduce`` has written to a folder for these figures."""
    rows = []
    for figure in figures:
        _, _, page = files_of(figure)
        lines = (folder / page).read_text(encoding="utf-8").splitlines()
        tables = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("|")]
        for statement, paper, needs, of_float, of_fixed, of_rtl, verdict in tables[2:]:
            ours = of_fixed or of_float or of_rtl
            if of_float and of_fixed and of_float.partition(" (")[0] != of_fixed.partition(" (")[0]:
                ours = f"{of_float}; fixed {of_fixed}"
            holds = "yes" if verdict == "holds" else "**no**"
            rows.append(f"| {figure} | {statement} | {paper} | {needs} | {ours} | {holds} |")
    return rows


def rows_of_page(figures: Iterable[str]) -> list[str]:
    """The rows that the page has for these figures."""
    begins = tuple(f"| {figure} | " for figure in figures)
    return [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(begins)]


def page_with(rows: Iterable[str]) -> str:
    """The page with these rows for its own."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    places = [number for number, line in enumerate(lines) if _ROW.match(line)]
    first, last = places[0], places[-1]
    return "\n".join([*lines[:first], *rows, *lines[last + 1 :]]) + "\n"
