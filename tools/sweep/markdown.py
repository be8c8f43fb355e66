"""The tables of a sweep as text: for the terminal's reader, and for a page of documentation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .table import Row

__all__ = ["SHOWN", "TOGETHER", "Line", "as_markdown", "lines", "refusals"]

SHOWN = ("acquisition", "asymptote", "extinction", "remaining")
"""Measures that stand for all in a table and a picture."""
_HEADINGS = ("experiment", "set to", "conditions", "distance", "furthest in", "trials differ",
             "sessions differ", "logic cells")  # fmt: skip
TOGETHER = (
    ("distance", "distance", "{:.3f}"),
    ("trials differ", "trials_differ", "{:.3f}"),
    ("sessions differ", "sessions_differ", "{:.2%}"),
    ("logic cells", "logic_cells", "{}"),
    ("with recalibration", "logic_cells_recalibrating", "{}"),
)
"""Rows of the table of formats together: title, entry of the report, form."""


@dataclass(frozen=True)
class Line:
    """What an experiment found for one value of its formats, or of its fields where it has none.

    Attributes
    ----------
    experiment, value : str
    rows : tuple of Row
        One a condition.
    """

    experiment: str
    value: str
    rows: tuple[Row, ...]

    @property
    def worst(self) -> Row:
        """The row that is refused, or else the furthest from float."""
        return max(self.rows, key=lambda row: math.inf if row.distance is None else row.distance)

    @property
    def has_formats(self) -> bool:
        """Formats are swept: what matters is the distance. Else it is behaviour itself."""
        return bool(self.rows[0].point.formats)

    def behaviour(self) -> list[str]:
        """The measures of :data:`SHOWN`, of the fixed-point model, with their Monte Carlo error."""
        shifts = self.worst.shifts
        return [
            f"{shifts[name].fixed:.3g} ± {shifts[name].fixed_error:.2g}" if name in shifts else "-"
            for name in SHOWN
        ]

    def cells(self) -> list[str]:
        """Distance, measure, trials and sessions that differ, logic cells; ``refused`` alone where it is."""
        worst = self.worst
        if worst.distance is None:
            return ["refused", "", "", "", ""]
        return [
            f"{worst.distance:.3f}",
            worst.furthest or "",
            f"{worst.course['trials_differ']:.3f}",
            f"{worst.course['sessions_differ']:.1%}",
            "-" if worst.logic_cells is None else f"{worst.logic_cells}",
        ]


def lines(rows: Sequence[Row]) -> list[Line]:
    """Rows of the same formats under several conditions together, in their order."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        shown = row.point.formats or row.point.settings
        value = ", ".join(dict.fromkeys(str(setting) for setting in shown.values()))
        grouped.setdefault((row.point.experiment, value), []).append(row)
    return [Line(*heading, tuple(conditions)) for heading, conditions in grouped.items()]


def refusals(found: Sequence[Line]) -> list[str]:
    """Why each of these is refused that is."""
    return [
        f"{line.value} refused: {line.worst.point.refused}" for line in found if line.worst.distance is None
    ]


def as_markdown(rows: Sequence[Row], report: Mapping[str, Any]) -> str:
    """Both tables, and the refusals."""
    found = lines(rows)
    text = [
        f"{report['sessions']} sessions a point, seeds from {report['seed']} on; the furthest condition.",
        "",
        "| " + " | ".join(_HEADINGS) + " |",
        "| --- " * len(_HEADINGS) + "|",
    ]
    for line in found:
        smallest = report["smallest"].get(line.experiment, {}).get("formats", {})
        mark = "**" if smallest and smallest == line.rows[0].point.formats else ""
        cells = [line.experiment, line.value, str(len(line.rows)), *line.cells()]
        text.append("| " + " | ".join(f"{mark}{cell}{mark}" if cell else "" for cell in cells) + " |")
    text += ["", *(f"- {refusal}" for refusal in refusals(found))]
    plain = [line for line in found if not line.has_formats and line.worst.distance is not None]
    if plain:
        text += ["", "| experiment | set to | " + " | ".join(SHOWN) + " |", "| --- " * (2 + len(SHOWN)) + "|"]
        text += [
            f"| {line.experiment} | {line.value} | " + " | ".join(line.behaviour()) + " |" for line in plain
        ]
    if report["together"]:
        text += ["", *_together(report)]
    return "\n".join(text) + "\n"


def _together(report: Mapping[str, Any]) -> list[str]:
    names = list(report["together"])
    sets = [report["together"][name] for name in names]
    text = [
        "| together | " + " | ".join(names) + " | margin of configured (bits) |",
        "| --- |" + " --- |" * (len(names) + 1),
    ]
    for field, margin in report["configured_margin_bits"].items():
        text.append(f"| {field} | " + " | ".join(each["formats"][field] for each in sets) + f" | {margin} |")
    for title, key, form in TOGETHER:
        values = ("-" if each[key] is None else form.format(each[key]) for each in sets)
        text.append(f"| {title} | " + " | ".join(values) + " | |")
    return text
