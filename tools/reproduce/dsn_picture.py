"""Pictures of degenerate solution networks: each pair of parameters, and the behaviour that ties them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

from .pictures import BLACK, BLUE, GREY, ORANGE, RED, save_figure

__all__ = ["Compared", "draw_go_no_go", "draw_linear"]

Reals = npt.NDArray[np.float64]

_SHOWN = 1500
_BINS, _CELLS = 40, 60
"""Of a marginal; along each side of a pair's contours."""
_MASS = (0.9, 0.5)
"""Within the contours."""
_MARGIN = 0.02


@dataclass(frozen=True, eq=False)
class Compared:
    """Samples of a flow, and re-weighted uniform draws.

    Attributes
    ----------
    names : sequence of str
        Of the parameters.
    z : ndarray, shape (n, parameters)
        Samples of the flow, equally likely.
    draws : ndarray, shape (m, parameters)
    weights : ndarray, shape (m,)
        Of the draws; sum 1.
    box : (low, high), of sequences of float, shape (parameters,)
    """

    names: Sequence[str]
    z: Reals
    draws: Reals
    weights: Reals
    box: tuple[Sequence[float], Sequence[float]]

    def side(self, index: int) -> tuple[float, float]:
        """Of the box."""
        return self.box[0][index], self.box[1][index]

    @property
    def correlations(self) -> tuple[Reals, Reals]:
        """Of the samples and of the draws, each of shape (parameters, parameters)."""
        return _correlation(self.z), _correlation(self.draws, self.weights)


def _correlation(z: Reals, weights: Reals | None = None) -> Reals:
    covariance = np.cov(z.T, aweights=weights)
    deviation = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(deviation, deviation))


def draw_linear(compared: Compared, path: Path) -> None:
    """Pairs of a1 to a4, the eigenvalues, and the two products whose difference is the determinant; PNG."""
    figure = Figure(figsize=(15.5, 9.6), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(2.15, 1))[0]
    a1, a2, a3, a4 = compared.z[:_SHOWN].T
    apart, real = (a1 - a4) / 2, (a1 + a4) / 2
    seen = _draw_pairs(left, compared, np.abs(apart), "|a1 - a4|/2 (1/s)", "(1/s)", 1.0)
    values, products = right.subplots(2, 1)

    values.scatter(real, np.sqrt(np.maximum(a1 * a4 - a2 * a3 - real**2, 0)), **seen)
    angle = np.linspace(0, 2 * math.pi, 200)
    for deviations in (1, 2):
        values.plot(
            deviations * np.cos(angle), 4 * math.pi + deviations * np.sin(angle), color=RED, linewidth=1.6,
            linestyle="-" if deviations == 1 else ":",
            label="wanted: 0 ± 1 and 4π ± 1" if deviations == 1 else "two standard deviations",
        )  # fmt: skip
    values.set(
        xlabel="real part = trace/2 (1/s)", ylabel="imaginary part = √(determinant - trace²/4) (1/s)",
        title="eigenvalues: a band of oscillations", aspect="equal",
    )  # fmt: skip
    values.legend(fontsize=9, loc="upper right")

    products.scatter(apart, -a2 * a3, **seen)
    span = np.linspace(-30, 30, 200)
    products.plot(
        span, (4 * math.pi) ** 2 + span**2, color=RED, linewidth=1.6, label="(4π)² + ((a1 - a4)/2)²"
    )
    products.axhline(0, color=GREY, linewidth=1)
    products.set(
        xlabel="(a1 - a4)/2 (1/s)", ylabel="-a2·a3 (1/s²)", xlim=(-30, 30), ylim=(-40, 930),
        title="a2·a3 makes up for what a1 and a4 differ by",
    )  # fmt: skip
    products.legend(fontsize=9, loc="upper center")
    figure.suptitle(
        "DSN, figure 2: linear systems that oscillate in a band. Those with -a2, -a3 do as well: a flow "
        "settles in one mode",
        fontsize=13,
    )
    save_figure(figure, path)


def draw_go_no_go(compared: Compared, go: Reals, no_go: Reals, path: Path) -> None:
    """Pairs of the five parameters, responses of networks to A and to B, and what adds up to them; PNG.

    Parameters
    ----------
    compared : Compared
    go, no_go : ndarray, shape (networks,)
        κ for A, |κ| for B.
    path : Path
    """
    figure = Figure(figsize=(16, 10.5), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(2.3, 1))[0]
    shown = compared.z[:_SHOWN]
    feedback = shown[:, 0] * shown[:, 1]
    seen = _draw_pairs(left, compared, feedback, "feedback Mm·Mn", "", 3.5)
    first, second, third = right.subplots(3, 1)
    _draw_responses(first, go, "κ for A", 1.0)
    _draw_responses(second, no_go, "|κ| for B", 0.0)
    third.scatter(feedback, shown[:, 3], **seen)
    third.set(
        xlabel="feedback Mm·Mn", ylabel="overlap with A, Σn", title="more feedback, less overlap needed",
        xlim=(-2, 2), ylim=compared.side(3),
    )  # fmt: skip
    figure.suptitle("DSN, Go/No-Go: networks of rank one that answer A and not B", fontsize=13)
    save_figure(figure, path)


def _draw_responses(panel: Axes, found: Reals, label: str, target: float) -> None:
    edges = np.arange(0, max(1.6, float(found.max())) + 0.025, 0.025)
    panel.hist(found, edges.tolist(), color=BLUE, alpha=0.75, label=f"{len(found)} networks")
    panel.axvline(target, color=RED, linewidth=2, label="target")
    panel.axvspan(
        max(target - 0.1, 0), target + 0.1, color=RED, alpha=0.13, linewidth=0, label="wanted: ± 0.1"
    )
    panel.set(xlabel=label, ylabel="networks", xlim=(-0.02, edges[-1]), title=f"response to {label[-1]}")
    panel.legend(fontsize=9)


def _draw_pairs(
    figure: SubFigure, compared: Compared, colour: Reals, label: str, unit: str, smooth: float
) -> dict[str, Any]:
    """Marginals, pairs below, correlations above; returns how the samples are drawn.

    Parameters
    ----------
    figure : SubFigure
    compared : Compared
    colour : ndarray, shape (_SHOWN,)
        Of the samples.
    label, unit : str
        Of the colour; of all parameters.
    smooth : float
        Standard deviation over which densities are smoothed for the contours, in cells: of few draws, more.
    """
    size = len(compared.names)
    axes = figure.subplots(size, size, squeeze=False)
    # Colour-blind readers can tell the colours of cividis apart.
    scale = ScalarMappable(Normalize(*np.quantile(colour, [0.02, 0.98])), "cividis")
    style: dict[str, Any] = {
        "c": colour, "norm": scale.norm, "cmap": scale.cmap, "s": 5, "linewidths": 0, "rasterized": True,
    }  # fmt: skip
    inside, among = compared.correlations
    for row in range(size):
        for column in range(size):
            panel: Axes = axes[row][column]
            if column > row:
                _write_correlation(panel, inside[row, column], among[row, column])
                continue
            if column == row:
                _draw_marginal(panel, compared, row)
            else:
                _draw_pair(panel, compared, (column, row), style, smooth)
            if row == size - 1:
                panel.set_xlabel(f"{compared.names[column]} {unit}".strip())
            else:
                panel.tick_params(labelbottom=False)
            if column == 0 and row > 0:
                panel.set_ylabel(f"{compared.names[row]} {unit}".strip())
            elif column < row:
                panel.tick_params(labelleft=False)
    figure.colorbar(scale, ax=axes[:, -1].tolist(), label=f"colour of samples: {label}", shrink=0.5)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9.5, frameon=False)
    return style


def _write_correlation(panel: Axes, inside: float, among: float) -> None:
    panel.set_axis_off()
    panel.text(
        0.5, 0.5, f"r = {inside:+.2f}\nre-weighted {among:+.2f}", ha="center", va="center",
        transform=panel.transAxes, fontsize=10 + 4 * abs(inside), color=BLACK if abs(inside) > 0.2 else GREY,
    )  # fmt: skip


def _draw_marginal(panel: Axes, compared: Compared, index: int) -> None:
    low, high = compared.side(index)
    edges = np.linspace(low, high, _BINS + 1)
    found, _ = np.histogram(compared.z[:, index], edges, density=True)
    wanted, _ = np.histogram(compared.draws[:, index], edges, weights=compared.weights, density=True)
    panel.stairs(found, edges, fill=True, color=BLUE, alpha=0.55, label="samples of the flow")
    panel.stairs(
        wanted, edges, color=BLACK, linewidth=1.5, label="re-weighted draws (pairs: 50 and 90 % of them)"
    )
    panel.plot(
        [low, high], np.full(2, 1 / (high - low)), color=ORANGE, linewidth=1.5, linestyle=":",
        label="the box, uniform",
    )  # fmt: skip
    panel.set(xlim=(low, high), ylim=(0, None))
    panel.tick_params(labelleft=False, left=False)
    panel.xaxis.set_major_locator(MaxNLocator(4, prune="both"))


def _draw_pair(
    panel: Axes, compared: Compared, pair: tuple[int, int], style: dict[str, Any], smooth: float
) -> None:
    panel.scatter(*compared.z[:_SHOWN, pair].T, **style | {"s": 3})
    sides = [compared.side(index) for index in pair]
    edges = [np.linspace(*side, _CELLS + 1) for side in sides]
    first, second = compared.draws[:, pair].T
    mass, _, _ = np.histogram2d(first, second, edges, weights=compared.weights)
    density = gaussian_filter(mass, smooth)
    ordered = np.sort(density.ravel())[::-1]
    levels = [float(ordered[np.searchsorted(np.cumsum(ordered), share * ordered.sum())]) for share in _MASS]
    middles = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    panel.contour(*middles, density.T, levels, colors=BLACK, linewidths=1.1)
    panel.set(xlim=sides[0], ylim=sides[1])
    panel.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    panel.yaxis.set_major_locator(MaxNLocator(4))
