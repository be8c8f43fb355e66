"""``microzone infer-compare``: arguments in, tables, pictures and a report out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .options import (
    ConfigOption,
    JsonOption,
    SchedulerOption,
    UserError,
    WorkersOption,
    console,
    errors,
    load_config,
)

if TYPE_CHECKING:
    from ...golden_model.inference.separation import Separation
    from ..infer_compare.study import Asked, Comparison, Found

__all__ = ["infer_compare"]


def infer_compare(
    out: Annotated[Path, typer.Option(help="Folder; simulations that it has are not run again.")] = Path(
        "infer-compare-output"
    ),
    config: ConfigOption = None,
    circuits: Annotated[
        str, typer.Option(help="Which, separated by commas; the chip is always there. Else all.")
    ] = "",
    want: Annotated[
        list[str] | None, typer.Option(help="Behaviour, STATISTIC=LOW:HIGH; may be repeated.")
    ] = None,
    limits: Annotated[
        list[str] | None, typer.Option(help="Of the box, PARAMETER=LOW:HIGH; may be repeated.")
    ] = None,
    draws: Annotated[int, typer.Option(min=50, max=1_000_000, help="Of the box, uniform.")] = 4000,
    sessions: Annotated[
        int, typer.Option(min=12, max=100_000, help="At each point about the middle of a region.")
    ] = 60,
    seed: Annotated[int, typer.Option(min=0, max=10**7, help="Of draws and sessions.")] = 1,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Variants and pathologies of the circuit: where each behaves, how far, what tells it, at what energy."""
    from ...golden_model.inference.circuits import CIRCUITS
    from ..cluster import check_where
    from ..infer_compare.picture import draw_energy, draw_pathologies, draw_regions, draw_sensitivity
    from ..infer_compare.report import report
    from ..infer_compare.study import WANTED, Asked, compare_circuits
    from ..report.output import make_folder, write_json

    check_where(scheduler, workers)
    wanted, box = _ranges("--want", want), _ranges("--limits", limits)
    names = tuple(name.strip() for name in circuits.split(",")) if circuits else tuple(CIRCUITS)
    try:
        asked = Asked(
            load_config(config),
            names,
            wanted or WANTED,
            box,
            draws=draws,
            sessions=sessions,
            seed=seed,
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    make_folder(out)
    found = compare_circuits(asked, out, scheduler=scheduler, workers=workers, status=errors)
    numbers = report(found)
    write_json(out / "report.json", numbers)
    draw_regions(found, out / "regions.png")
    draw_energy(found, out / "energy.png")
    draw_sensitivity(found, out / "sensitivity.png")
    draw_pathologies(found, out / "pathologies.png")
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        _print(asked, found)
        console.print(f"numbers: {out / 'report.json'}   pictures: {out}/*.png", highlight=False)
    if found.equal < found.checked:
        raise typer.Exit(1)


def _ranges(option: str, texts: list[str] | None) -> dict[str, tuple[float, float]]:
    """``NAME=LOW:HIGH`` by name."""
    found: dict[str, tuple[float, float]] = {}
    for text in texts or []:
        name, equals, limits = text.partition("=")
        low, colon, high = limits.partition(":")
        try:
            if not (equals and colon):
                raise ValueError
            pair = float(low), float(high)
        except ValueError:
            raise UserError(f"{option} {text}: needs NAME=LOW:HIGH, as in drift=-0.1:0.1") from None
        if not all(map(math.isfinite, pair)):
            raise UserError(f"{option} {text}: needs finite limits")
        if name in found:
            raise UserError(f"{option} {name}: is there twice")
        found[name] = pair
    return found


def _print(asked: Asked, comparison: Comparison) -> None:
    from ...golden_model.inference.circuits import HEALTHY

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
        console.print(
            "[yellow]warning[/]: no draw of the chip behaves; widen --want or --limits", highlight=False
        )
    colour = "green" if comparison.equal == comparison.checked else "red"
    console.print(
        f"[{colour}]event by event = step by step[/] in {comparison.equal} of {comparison.checked} draws",
        highlight=False,
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
