"""Pictures of a sweep: bits that behaviour needs, the Pareto front, behaviour over a parameter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...golden_model.fixed import QFormat
from ..report.figures import save_figure
from .behaviour import MEASURES
from .markdown import SHOWN
from .proposal import Candidate, pareto_front
from .spec import Experiment, Spec
from .table import Row

__all__ = ["draw_behaviour", "draw_formats"]

# Okabe and Ito's palette, and a marker each: told apart without colour too.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_MARKERS = "os^Dv*"
_CANDIDATES = {"smallest": ("P", "#D55E00"), "proposed": ("*", "#000000"), "configured": ("X", "#999999")}
_DISTANCE = "largest shift of behaviour\n(Monte Carlo standard errors of float)"
_LINEAR_BELOW = 0.01
"""Distances below are drawn on a linear scale, so that 0 is seen."""


def draw_formats(spec: Spec, rows: Sequence[Row], candidates: Sequence[Candidate], path: Path) -> None:
    """Distance from float over the bits of each format, and over logic cells with the Pareto front; PNG."""
    series = [
        (experiment.name, worst)
        for experiment in spec.experiment
        if sum(axis.is_format for axis in experiment.axis) == 1
        and (worst := _worst([row for row in rows if row.point.experiment == experiment.name]))
    ]
    synthesised = [row for row in rows if row.logic_cells is not None]
    kinds = sorted({_recalibrates(row) for row in synthesised})
    figure = Figure(figsize=(6.5 + 5.5 * len(kinds), 5.4), layout="constrained")
    panels = figure.subplots(1, 1 + len(kinds), squeeze=False)[0]
    _draw_bits(panels[0], series)
    for axes, recalibrates in zip(panels[1:], kinds, strict=True):
        _draw_cells(axes, series, candidates, recalibrates)
    figure.suptitle(
        f"Fixed point against float on the same {spec.sessions:,} sessions a point:"
        f"{' ' if kinds else chr(10)}below the line, formats do not show in behaviour",
        fontsize=12,
    )
    save_figure(figure, path)


def draw_behaviour(experiment: Experiment, rows: Sequence[Row], path: Path) -> None:
    """Behaviour of both models over the values of an experiment without formats; PNG."""
    mine = [row for row in rows if row.point.experiment == experiment.name and row.sessions]
    if not mine:
        return
    first = experiment.axis[0]
    numeric = all(isinstance(value, int | float) for value in first.values)
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    figure.suptitle(f"{experiment.name}: mean and Monte Carlo standard error", fontsize=12)
    panels = figure.subplots(1, len(SHOWN))
    groups = [
        (other, list(group))
        for other, group in groupby(sorted(mine, key=lambda row: _others(row, first.fields)),
                                    key=lambda row: _others(row, first.fields))
    ]  # fmt: skip
    for axes, name in zip(panels, SHOWN, strict=True):
        for i, (other, group) in enumerate(groups):
            with_it = [row for row in group if name in row.shifts]
            settings = [row.point.settings[first.fields[0]] for row in with_it]
            x = settings if numeric else [str(setting) for setting in settings]
            for model, style in (("float", "-"), ("fixed", ":")):
                attribute = "real" if model == "float" else "fixed"
                axes.errorbar(
                    x,
                    [getattr(row.shifts[name], attribute) for row in with_it],
                    [getattr(row.shifts[name], f"{attribute}_error") for row in with_it],
                    fmt=style + _MARKERS[i % len(_MARKERS)], color=_COLOURS[i % len(_COLOURS)],
                    capsize=2, linewidth=3 if model == "float" else 1.5, alpha=0.5 if model == "float" else 1,
                    label=f"{model} {other}".strip(), markersize=4,
                )  # fmt: skip
        axes.set(xlabel=", ".join(first.fields), title=MEASURES[name].replace(", ", ",\n"))
        axes.title.set_fontsize(9)
        axes.set_ylim(bottom=0)
    panels[0].legend(fontsize=8)
    save_figure(figure, path)


def _others(row: Row, fields: Sequence[str]) -> str:
    """What is set besides the fields of the first axis."""
    return ", ".join(f"{k} = {v}" for k, v in row.point.settings.items() if k not in fields)


def _worst(rows: Sequence[Row]) -> list[Row]:
    """Of each set of formats the row of the condition with the largest distance, narrowest first."""
    found = []
    for _, group in groupby(sorted(rows, key=_formats), key=_formats):
        conditions = list(group)
        if all(row.distance is not None for row in conditions):  # a format that is refused once is none
            found.append(max(conditions, key=lambda row: row.distance or 0.0))
    return sorted(found, key=_bits)


def _formats(row: Row) -> str:
    return json.dumps(row.point.formats)


def _bits(row: Row) -> int:
    """Fraction bits of the first swept format."""
    return QFormat.parse(next(iter(row.point.formats.values()))).fraction_bits


def _recalibrates(row: Row) -> bool:
    return row.point.config is not None and row.point.config.recalibration.enabled


def _draw_bits(axes: Axes, series: Sequence[tuple[str, Sequence[Row]]]) -> None:
    for i, (name, rows) in enumerate(series):
        axes.plot(
            [_bits(row) for row in rows], [row.distance or 0.0 for row in rows],
            "-" + _MARKERS[i % len(_MARKERS)], color=_COLOURS[i % len(_COLOURS)], label=name,
        )  # fmt: skip
    _limit(axes)
    axes.set(xlabel="fraction bits of the swept format", title="bits that behaviour needs")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(title="swept format", framealpha=0.9)


def _draw_cells(
    axes: Axes,
    series: Sequence[tuple[str, Sequence[Row]]],
    candidates: Sequence[Candidate],
    recalibrates: bool,
) -> None:
    shown: list[Row] = []
    for i, (name, rows) in enumerate(series):
        mine = [row for row in rows if row.logic_cells is not None and _recalibrates(row) is recalibrates]
        if not mine:
            continue
        shown += mine
        axes.plot(
            [row.logic_cells or 0 for row in mine], [row.distance or 0.0 for row in mine],
            _MARKERS[i % len(_MARKERS)], color=_COLOURS[i % len(_COLOURS)], markersize=5, label=name,
        )  # fmt: skip
    for candidate in candidates:
        cells = candidate.logic_cells(recalibrating=recalibrates)
        matching = [row for row in candidate.rows if _recalibrates(row) is recalibrates and row.sessions]
        if cells is None or not matching:
            continue
        worst = max(matching, key=lambda row: row.distance or 0.0)
        shown.append(worst)
        marker, colour = _CANDIDATES[candidate.name]
        axes.plot(
            cells, worst.distance or 0.0, marker, color=colour, markersize=13, mec="white", zorder=4,
            linestyle="none", label=f"{candidate.name} formats together",
        )  # fmt: skip
    front = pareto_front(shown)
    axes.step(
        [row.logic_cells or 0 for row in front], [row.distance or 0.0 for row in front],
        where="post", color="black", linewidth=1, label="Pareto front", zorder=1.5,
    )  # fmt: skip
    _limit(axes)
    axes.set(
        xlabel="logic cells of the core (iCE40 UP5K)",
        title="with recalibration" if recalibrates else "without recalibration",
    )
    axes.legend(fontsize=8, framealpha=0.9)


def _limit(axes: Axes) -> None:
    axes.set_yscale("symlog", linthresh=_LINEAR_BELOW)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.axhline(1, color="#D55E00", linewidth=1, linestyle="--", label="Monte Carlo error")
    axes.set_ylabel(_DISTANCE)
