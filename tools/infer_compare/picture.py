"""Pictures of a comparison of circuits: regions, energy against robustness, directions, pathologies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ...golden_model.inference.behaviour import NAMES, STATISTICS
from ...golden_model.inference.circuits import HEALTHY
from ...golden_model.inference.comparison import behaves
from ...golden_model.inference.parameters import CHIP, PARAMETERS
from ..report.figures import save_figure
from .study import CONTROL, Comparison, Found

__all__ = ["draw_energy", "draw_pathologies", "draw_regions", "draw_sensitivity"]

# Okabe and Ito's palette, as in ``tools.report.figures``.
_COLOURS = {"variant": "#0072B2", "control": "#999999", "pathology": "#D55E00", "words": "#009E73"}
_DARK = 0.6
"""Share of a colour scale beyond which text on it is white."""
_GREY, _LINE, _AT_BORDER = "#BBBBBB", "#000000", "#56B4E9"
_LABELS = [PARAMETERS[name].label.replace(" (", "\n(") for name in CHIP]


def draw_regions(comparison: Comparison, path: Path) -> None:
    """Draws that behave, over δp and δd: each circuit on top of the chip, with its line of no drift; PNG."""
    asked, healthy = comparison.asked, comparison.found[HEALTHY.name]
    shown = [
        found
        for found in comparison.found.values()
        if found.circuit.group in ("variant", "pathology") and found.circuit.name != "event-driven"
    ]
    columns = min(5, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.6, 3.3 * rows + 0.8), layout="constrained")
    figure.suptitle(
        f"Draws with the wanted behaviour, of {asked.draws:,}: the chip's grey, the circuit's in colour\n"
        "dashed: no drift, as much gained by δp as lost by δd at the spontaneous IO rate",
        fontsize=12,
    )
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    space = asked.space(HEALTHY)
    x = np.array([space.low[0], space.high[0]])
    behind = healthy.table.z[behaves(healthy.table, asked.wanted)]
    for axes, found in zip(grid.flat, shown, strict=False):
        inside = found.table.z[behaves(found.table, asked.wanted)]
        axes.plot(behind[:, 0], behind[:, 1], "o", color=_GREY, markersize=4, mec="none")
        colour = _COLOURS[found.circuit.group]
        axes.plot(inside[:, 0], inside[:, 1], "o", color=colour, markersize=3, mec="none", alpha=0.8)
        rate = asked.experiment.io.far_hz * found.circuit.io_rate * found.circuit.depression
        offset = -math.log10(rate * asked.config.time.step_s)
        axes.plot(x, x + offset, color=_LINE, linewidth=1, linestyle="--")
        region = found.region
        share = f"{100 * region.share:.1f}±{100 * region.error:.1f} %"
        axes.set_title(f"{found.circuit.name}: {share}\n{found.circuit.text}", fontsize=9)
        axes.set(xlim=x, ylim=(space.low[1], space.high[1]))
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("log10 δd (w an event)")
    for axes in grid[-1]:
        axes.set_xlabel(
            "log10 δp (w a step of 2 ms)".replace("2 ms", f"{1000 * asked.config.time.step_s:g} ms")
        )
    save_figure(figure, path)


def draw_energy(comparison: Comparison, path: Path) -> None:
    """Share of the box, and width of the margin of δd/δp, over energy; PNG."""
    shown = [
        found
        for found in comparison.found.values()
        if found.circuit.group in ("variant", "words") and found.circuit.variant != "engine-float"
    ]
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    figure.suptitle("Energy against robustness: up and left is better", fontsize=12)
    shares, margins = figure.subplots(1, 2)
    _scatter(shares, shown, [(100 * each.region.share, 100 * each.region.error) for each in shown])
    shares.set(ylabel="share of the box that behaves (%)")
    _scatter(margins, shown, [_width(found) for found in shown])
    margins.set(ylabel="width of the margin of log10(δd/δp) (decades)")
    save_figure(figure, path)


def _width(found: Found) -> tuple[float, float]:
    """Of the margins down and up together, and its error."""
    ends = found.ratio_margins
    if ends is None:
        return math.nan, math.nan
    (low, first), (high, second) = ends
    return high - low, math.hypot(first, second)


def _scatter(axes: Axes, shown: Sequence[Found], values: Sequence[tuple[float, float]]) -> None:
    words = [i for i, found in enumerate(shown) if found.circuit.group == "words" or found.circuit is HEALTHY]
    words.sort(key=lambda i: shown[i].region.energy)
    axes.plot(
        [shown[i].region.energy for i in words], [values[i][0] for i in words], color=_COLOURS["words"],
        linewidth=1, zorder=1, label="fraction bits of w and δ (trace: 15), to the chip's own",
    )  # fmt: skip
    for found, (value, error) in zip(shown, values, strict=True):
        if not math.isfinite(value):
            continue
        energy, circuit = found.region.energy, found.circuit
        marker = "os"[circuit.fraction_bits is not None]
        axes.errorbar(energy, value, error, fmt=marker, color=_COLOURS[circuit.group], capsize=3)
        # Of two with one energy the names stand above and below; so do those of neighbouring words.
        others = [
            other for each, (other, _) in zip(shown, values, strict=True) if each.region.energy == energy
        ]
        below = len(others) > 1 and value == min(others)
        if circuit.fraction_bits:
            below = circuit.fraction_bits[0] % 4 == 2
        axes.annotate(
            str(circuit.fraction_bits[0]) if circuit.fraction_bits else circuit.name,
            (energy, value - error if below else value + error),
            xytext=(0, -4 if below else 4), textcoords="offset points", ha="center",
            va="top" if below else "bottom", fontsize=9,
            color=_COLOURS["words"] if circuit.fraction_bits else "black",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    highest = max((value + error for value, error in values if math.isfinite(value)), default=1.0)
    axes.set_ylim(0, 1.18 * highest)
    energies = [found.region.energy for found in shown]
    axes.set_xlim(0.6 * min(energies), 1.6 * max(energies))
    axes.set_xlabel("energy: bits multiplied and moved (kbit/s)")
    axes.legend(loc="lower left", fontsize=9, frameon=False)
    axes.grid(axis="y", color="#EEEEEE")
    axes.spines[["top", "right"]].set_visible(False)


def draw_sensitivity(comparison: Comparison, path: Path) -> None:
    """Directions of the chip's region and about its middle, spreads of all circuits, margins; PNG."""
    healthy = comparison.found[HEALTHY.name]
    figure = Figure(figsize=(13, 9), layout="constrained")
    (region, local), (spreads, margins) = figure.subplots(2, 2)
    if healthy.directions is None:
        region.set_title(f"no directions: {healthy.missing}")
    else:
        along = healthy.directions
        names = [
            f"{name}: {spread:.2f}±{error:.2f}"
            for name, spread, error in zip(_ordinals(len(CHIP)), along.spreads, along.errors, strict=True)
        ]
        _loadings(region, along.vectors, names, "region: directions, and spread (1: no constraint)")
    if healthy.fisher is None:
        local.set_title(f"no Fisher information: {healthy.missing}")
    else:
        names = [
            f"{name}: {_left(value)}"
            for name, value in zip(_ordinals(len(CHIP)), healthy.fisher.values, strict=True)
        ]
        _loadings(
            local,
            healthy.fisher.vectors,
            names,
            "in its middle: directions, and spread that a session leaves",
        )
    _draw_spreads(spreads, comparison)
    _draw_margins(margins, healthy)
    save_figure(figure, path)


def _ordinals(count: int) -> list[str]:
    return ["stiffest", *({2: "2nd", 3: "3rd"}.get(i, f"{i}th") for i in range(2, count)), "sloppiest"]


def _left(value: float) -> str:
    return "none learnt" if value <= 0 else f"{1 / math.sqrt(value):.2f}"


def _loadings(axes: Axes, vectors: npt.NDArray[np.float64], names: Sequence[str], title: str) -> None:
    axes.imshow(vectors, cmap="PuOr", vmin=-1.2, vmax=1.2, aspect="auto")
    for (row, column), value in np.ndenumerate(vectors):
        colour = "white" if abs(value) > _DARK else "black"
        axes.text(column, row, f"{value:+.2f}", ha="center", va="center", fontsize=11, color=colour)
    axes.set_xticks(range(len(_LABELS)), _LABELS, fontsize=11)
    axes.set_yticks(range(len(names)), names, fontsize=10)
    axes.set_title(title, fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_spreads(axes: Axes, comparison: Comparison) -> None:
    """Spread along each direction of each region, one above the other."""
    shown = [found for found in comparison.found.values() if found.directions is not None]
    for index, found in enumerate(shown):
        along = found.directions
        assert along is not None
        axes.errorbar(
            np.full(along.spreads.size, index), along.spreads, along.errors, fmt="_", markersize=11,
            markeredgewidth=2.5, linewidth=1, color=_COLOURS[found.circuit.group],
        )  # fmt: skip
    axes.axhline(1, color=_GREY, linewidth=1, linestyle="--")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xticks(
        range(len(shown)), [found.circuit.name for found in shown], rotation=60, ha="right", fontsize=9
    )
    axes.set_ylabel("spread (standard deviations of the box)")
    axes.set_title("spread along the four directions of each region (dashed: no constraint)", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_margins(axes: Axes, healthy: Found) -> None:
    """How far each parameter alone may go from the middle of the chip's region."""
    for row, name in enumerate(CHIP):
        for sign, direction in (("+", 1), ("-", -1)):
            found = healthy.margins.get(f"{name} {sign}")
            if found is None or not math.isfinite(found.distance):
                continue
            axes.barh(row, direction * found.reach, 0.75, color="#EEEEEE")
            colour = _COLOURS["variant"] if found.inside else _AT_BORDER
            axes.barh(
                row, direction * found.distance, 0.5, color=colour,
                xerr=found.error if found.inside else None, capsize=3,
            )  # fmt: skip
    axes.axvline(0, color=_LINE, linewidth=0.8)
    axes.set_yticks(range(len(CHIP)), _LABELS, fontsize=11)
    axes.invert_yaxis()
    axes.set_xlabel("distance from the region's middle (sd of the box; grey: to its border)")
    axes.set_title(
        "the chip: one parameter alone, until behaviour\nis half as frequent (light blue: not in the box)",
        fontsize=11,
    )
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_pathologies(comparison: Comparison, path: Path) -> None:
    """What each pathology shifts, and how well behaviour or parameters tell it from the chip; PNG."""
    shown = [
        found
        for found in comparison.found.values()
        if found.change is not None and found.change.shifts and found.circuit.group != "words"
        and found.circuit.name != CONTROL
    ]  # fmt: skip
    names = [name for name in NAMES if name != "energy"]
    figure = Figure(figsize=(13, 1.6 + 0.55 * max(len(shown), 2)), layout="constrained")
    if not shown:
        figure.suptitle("No circuit to compare, or no draws at which the chip behaves", fontsize=12)
        save_figure(figure, path)
        return
    figure.suptitle("The same parameters and sessions, another circuit", fontsize=12)
    shifts, told = figure.subplots(1, 2, width_ratios=(2.2, 1))
    scales = {statistic.name: statistic.scale for statistic in STATISTICS}
    values = np.array([[found.change.shifts[name][2] for name in names] for found in shown if found.change])
    shifts.imshow(np.nan_to_num(values), cmap="PuOr", vmin=-3, vmax=3, aspect="auto")
    for row, found in enumerate(shown):
        assert found.change is not None
        for column, name in enumerate(names):
            mean, error, _ = found.change.shifts[name]
            digits = max(math.ceil(-math.log10(scales[name] / 10)), 0)
            text = f"{mean:+.{digits}f}±{error:.{digits}f}" if round(abs(mean) + error, digits) else "0"
            colour = "white" if abs(values[row, column]) > 3 * _DARK else "black"
            shifts.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    units = {statistic.name: f"\n({statistic.unit})" if statistic.unit else "" for statistic in STATISTICS}
    shifts.set_xticks(range(len(names)), [name + units[name] for name in names])
    shifts.set_yticks(
        range(len(shown)), [f"{found.circuit.name}\n{found.circuit.text}" for found in shown], fontsize=8
    )
    shifts.set_title(
        "shift (mean ± error); colour: in standard deviations of the chip's draws, to ±3", fontsize=10
    )
    shifts.tick_params(length=0)
    for row, found in enumerate(shown):
        for offset, separation, colour, label in (
            (-0.17, found.told_by_behaviour, "#D55E00", "by behaviour"),
            (0.17, found.told_by_parameters, "#56B4E9", "by parameters that behave"),
        ):
            if separation is not None:
                told.barh(
                    row + offset, separation.area - 0.5, 0.3, left=0.5, color=colour, xerr=separation.error,
                    capsize=2, label=label if label not in told.get_legend_handles_labels()[1] else None,
                )  # fmt: skip
    told.set_yticks(range(len(shown)), [""] * len(shown))
    told.set_ylim(len(shown) - 0.5, -0.5)
    told.set(xlim=(0.5, 1.03), xlabel="area under the curve (0.5: chance)")
    told.set_title("told from the chip", fontsize=10)
    if told.get_legend_handles_labels()[1]:
        told.legend(fontsize=8, loc="upper right", framealpha=0.9)
    told.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
