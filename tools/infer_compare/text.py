"""What ``microzone infer-compare`` tells at the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from ...golden_model.inference.circuits import HEALTHY
from ...golden_model.inference.separation import Separation
from ..text import tinted
from .study import Asked, Comparison, Found

__all__ = ["print_comparison"]


def print_comparison(asked: Asked, comparison: Comparison, console: Console) -> None:
    """Where each circuit behaves, how far it may change, what it takes; and what tells a pathology."""
    table = Table(box=None, header_style="bold")
    for title in ("circuit", "box (%)", "refused", "kept (%)", "log10(δd/δp)", "margin", "kbit/s"):
        table.add_column(title, justify="left" if title == "circuit" else "right", no_wrap=True)
    for found in comparison.found.values():
        table.add_row(found.circuit.name, *_cells(found))
    console.print(table)
    told = Table(box=None, header_style="bold")
    for title in ("pathology", "by behaviour", "most by", "by parameters", "most by"):
        told.add_column(title, no_wrap=True)
    for found in comparison.found.values():
        if found.circuit.group == "pathology":
            told.add_row(
                found.circuit.name, *_told(found.told_by_behaviour), *_told(found.told_by_parameters)
            )
    if told.row_count:
        console.print(told)
    if not comparison.found[HEALTHY.name].region.count:
        console.print(tinted("warning", "yellow", ": no draw of the chip behaves; widen --want or --limits"))
    colour = "green" if comparison.equal == comparison.checked else "red"
    console.print(
        tinted(
            "event by event = step by step",
            colour,
            f" in {comparison.equal} of {comparison.checked} draws",
        )
    )
    wanted = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in asked.wanted.items())
    console.print(
        f"box: draws that behave ({wanted}), with Monte Carlo standard error\n"
        "kept: of the behaviour that the chip has where it behaves in other sessions\n"
        "margin: change of log10(δd/δp), down and up, at which half of it is left\n"
        "by: area under the curve, held out, of telling a pathology from the chip\n"
        "most by: what tells most by itself; -: too few draws behave",
        highlight=False,
    )


def _cells(found: Found) -> list[str]:
    region, change, margins = found.region, found.change, found.ratio_margins
    kept = "-"
    if change is not None and math.isfinite(change.kept):
        kept = f"{100 * change.kept:.0f}±{100 * change.kept_error:.0f}"
    return [
        f"{100 * region.share:.2f}±{100 * region.error:.2f}",
        f"{region.refused:.0%}" if region.refused >= 0.005 else "-",
        kept,
        "-" if region.log_ratio is None else "{:.2f}±{:.2f}".format(*region.log_ratio),
        "-" if margins is None else " ".join(f"{change:+.2f}" for change, _ in margins),
        "-" if found.circuit.variant == "engine-float" else f"{region.energy:.0f}",
    ]


def _told(separation: Separation | None) -> tuple[str, str]:
    if separation is None:
        return "-", ""
    best = max(separation.alone, key=lambda name: abs(separation.alone[name] - 0.5))
    return f"{separation.area:.2f}±{separation.error:.2f}", f"{best} ({separation.alone[best]:.2f})"
