"""The pictures of an inference: each pair of parameters, and wanted against shown behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...golden_model.inference.behaviour import STATISTICS
from ..report.figures import save_figure
from ..reproduce.pictures import BLACK, BLUE, GREEN, GREY, ORANGE, RED
from .checks import Shown
from .methods import Answer
from .request import Method, Request
from .summary import stable_ratio

__all__ = ["draw_behaviour", "draw_pairs"]

Reals = npt.NDArray[np.float64]

_BINS = 30
_DRAWN = 20_000
_SHARES = ("cr_rate", "well_timed", "extinction")


def draw_pairs(request: Request, answer: Answer, path: Path) -> None:
    """The density of each parameter against the box's, of each pair below, correlations above; PNG."""
    space = request.space
    size = len(request.names)
    z = answer.sample(_DRAWN, request.seed)
    figure = Figure(figsize=(2.7 * size + 1.2, 2.5 * size + 1.0), layout="constrained")
    axes = figure.subplots(size, size, squeeze=False)
    edges = [_edges(request, index) for index in range(size)]
    for row in range(size):
        for column in range(size):
            panel: Axes = axes[row][column]
            if column > row:
                _draw_correlation(panel, z[:, column], z[:, row])
            elif column == row:
                _draw_marginal(panel, request, z[:, row], row, edges[row])
            else:
                _draw_pair(panel, request, z, (column, row), edges)
            if row == size - 1:
                panel.set_xlabel(space.parameters[column].label)
            elif column <= row:
                panel.tick_params(labelbottom=False)
            if column == 0 and row > 0:
                panel.set_ylabel(space.parameters[row].label)
            elif column < row:
                panel.tick_params(labelleft=False)
    handles, labels = [], []
    for panel in axes.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.suptitle(_title(request), fontsize=11)
    save_figure(figure, path)


def _title(request: Request) -> str:
    asked = ", ".join(map(str, request.wanted))
    verb = "seen" if request.method is Method.NPE else "wanted"
    return f"{request.method}: parameters with the {verb} behaviour\n{asked}"


def _edges(request: Request, index: int) -> Reals:
    low, high = request.space.low[index], request.space.high[index]
    if request.space.parameters[index].integer:
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high, _BINS + 1)


def _draw_marginal(panel: Axes, request: Request, values: Reals, index: int, edges: Reals) -> None:
    density, _ = np.histogram(values, edges, density=True)
    panel.stairs(density, edges, fill=True, color=BLUE, alpha=0.75, label="samples")
    panel.plot(
        [edges[0], edges[-1]], np.full(2, 1 / (edges[-1] - edges[0])), color=GREY, linewidth=1.5,
        linestyle=":", label="the box, uniform",
    )  # fmt: skip
    if request.seen is not None:
        value = request.space.parameters[index].of(request.seen.config)
        panel.axvline(value, color=RED, linewidth=1.6, label="configuration that was seen")
    panel.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
    panel.tick_params(labelleft=False, left=False)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=request.space.parameters[index].integer))


def _draw_pair(
    panel: Axes, request: Request, z: Reals, pair: tuple[int, int], edges: Sequence[Reals]
) -> None:
    first, second = pair
    counts, _, _ = np.histogram2d(z[:, first], z[:, second], [edges[first], edges[second]])
    shown = np.where(counts > 0, counts, np.nan).T
    panel.pcolormesh(
        edges[first], edges[second], shown, cmap="Blues", vmin=-0.15 * counts.max(), rasterized=True
    )
    names = request.names[first], request.names[second]
    if set(names) == {"potentiation", "depression"}:
        ratio = stable_ratio(request)
        along = np.array([edges[first][0], edges[first][-1]])
        offset = ratio if names[0] == "potentiation" else -ratio
        panel.plot(
            along, along + offset, color=ORANGE, linewidth=1.8, label="no drift: δp = δd · IO rate · dt"
        )
    if request.seen is not None:
        truth = request.space.values(request.seen.config)
        panel.plot(truth[first], truth[second], "+", color=RED, markersize=11, markeredgewidth=2)
    panel.set(xlim=(edges[first][0], edges[first][-1]), ylim=(edges[second][0], edges[second][-1]))
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=request.space.parameters[first].integer))
    panel.yaxis.set_major_locator(MaxNLocator(4, integer=request.space.parameters[second].integer))


def _draw_correlation(panel: Axes, first: Reals, second: Reals) -> None:
    panel.set_axis_off()
    varies = first.std() > 0 and second.std() > 0
    value = float(np.corrcoef(first, second)[0, 1]) if varies else 0.0
    panel.text(
        0.5, 0.5, f"r = {value:+.2f}", ha="center", va="center", transform=panel.transAxes,
        fontsize=10 + 8 * abs(value), color=BLACK if abs(value) > 0.3 else GREY,
    )  # fmt: skip


def draw_behaviour(request: Request, shown: Sequence[Shown], fresh: Reals, path: Path) -> None:
    """Each statistic of fresh sessions of the samples, and what was wanted or seen; PNG."""
    size = len(shown)
    columns = min(size, 3)
    rows = -(-size // columns)
    figure = Figure(figsize=(4.0 * columns + 0.6, 3.1 * rows + 1.2), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat[size:]:
        panel.set_axis_off()
    for panel, one in zip(panels.flat, shown, strict=False):
        _draw_statistic(panel, one, fresh[:, one.wanted.index], seen=request.method is Method.NPE)
    for panel in panels[:, 0]:
        panel.set_ylabel("sessions")
    handles, labels = panels[0][0].get_legend_handles_labels()
    for other in panels.flat[1:size]:
        for handle, label in zip(*other.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.suptitle(f"{len(fresh)} samples simulated afresh, fixed point: one session each", fontsize=11)
    save_figure(figure, path)


def _draw_statistic(panel: Axes, shown: Shown, values: Reals, *, seen: bool) -> None:
    wanted = shown.wanted
    statistic = STATISTICS[wanted.index]
    if wanted.name in _SHARES:
        panel.hist(values, np.arange(-0.0125, 1.03, 0.025).tolist(), color=BLUE, alpha=0.75, label="sessions")
        panel.set_xlim(-0.02, 1.02)
    else:
        panel.hist(values, 40, color=BLUE, alpha=0.75, label="sessions")
    panel.axvline(wanted.value, color=RED, linewidth=2, label="seen" if seen else "wanted mean")
    if wanted.spread is not None:
        panel.axvspan(
            wanted.value - wanted.spread, wanted.value + wanted.spread, color=RED, alpha=0.13, linewidth=0,
            label="wanted spread",
        )  # fmt: skip
    if not seen:
        panel.axvline(shown.mean, color=BLACK, linewidth=1.6, linestyle="--", label="mean of the sessions")
    detail = (
        f"{shown.tail:.0%} as far out" if shown.tail is not None else f"{shown.mean:.3g} ± {shown.error:.2g}"
    )
    panel.set_title(
        f"{wanted.name}: {'within' if shown.within else 'off'} ({detail})", fontsize=10,
        color=GREEN if shown.within else RED,
    )  # fmt: skip
    panel.set_xlabel(f"{wanted.name}" + (f" ({statistic.unit})" if statistic.unit else ""))
