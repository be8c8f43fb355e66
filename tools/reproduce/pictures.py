"""What the pictures of the reproductions share: distributions a block, levels of w, phases, the raster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...golden_model.config import ChipConfig
from ...golden_model.experiment.protocol import BLOCK
from ..models import Comparison
from ..report.figures import MODEL_STYLE, draw_rasters, save_figure

__all__ = [
    "BLACK", "BLUE", "GREEN", "GREY", "MODEL_STYLE", "ORANGE", "PINK", "RED", "block_means",
    "block_middles", "draw_levels", "draw_rasters", "draw_spread", "firing_level", "mark_phase",
    "save_figure",
    "save_rasters", "set_trials",
]  # fmt: skip

# Okabe and Ito's palette, as in ``tools.report.figures``.
BLACK, BLUE, GREEN, ORANGE, RED, PINK, GREY = (
    "#000000", "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#999999",
)  # fmt: skip
_BINS = 50


def block_means(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Means over blocks of ten trials, the last axis; the last block may be shorter."""
    n = values.shape[-1]
    starts = np.arange(0, n, BLOCK)
    sums = np.add.reduceat(values.astype(np.float64), starts, axis=-1)
    return np.asarray(sums / np.diff(np.append(starts, n)))


def block_middles(trials: int) -> npt.NDArray[np.float64]:
    """The trial, counted from 1, in the middle of each block."""
    first = 1 + BLOCK * np.arange(-(-trials // BLOCK))
    return np.asarray((first + np.minimum(first + BLOCK - 1, trials)) / 2)


def firing_level(config: ChipConfig, after_s: float) -> float:
    """The w whose CR comes this long after the PN detection: θ/T."""
    age = after_s / config.time.step_s
    return config.threshold.level / (config.trace.start - age * config.trace_slope)


def draw_levels(axes: Axes, config: ChipConfig, well_timed_s: float | None = None) -> None:
    """Below which w there are CRs, and, with a latency after the PN detection, CRs by then."""
    levels = {"CRs below": firing_level(config, config.trace.duration_s)}
    if well_timed_s is not None:
        levels["well-timed below"] = firing_level(config, well_timed_s)
    for (label, level), style in zip(levels.items(), (":", "--"), strict=False):
        axes.axhline(level, color=GREEN, linewidth=1, linestyle=style, label=f"{label} {level:.2f}")


def draw_spread(axes: Axes, blocks: npt.NDArray[np.float64], low: float, high: float, trials: int) -> None:
    """The distribution of the sessions' values in each block, grey; shape (sessions, blocks).

    Each column is drawn relative to its fullest bin, so that blocks of different spread can be read alike.
    """
    edges = np.linspace(low, high, _BINS + 1)
    counts = np.stack([np.histogram(np.clip(column, low, high), edges)[0] for column in blocks.T], axis=1)
    share = counts / np.maximum(counts.max(axis=0), 1)
    borders = 0.5 + np.minimum(BLOCK * np.arange(blocks.shape[1] + 1), trials)
    axes.pcolormesh(borders, edges, share, cmap="Greys", vmin=0, vmax=1.4, zorder=0.5, rasterized=True)


def mark_phase(axes: Axes, *after: int) -> None:
    """A line after these trials, where another phase begins."""
    for trial in after:
        axes.axvline(trial + 0.5, color=RED, linewidth=1, linestyle="--")


def set_trials(axes: Axes, trials: int, ylabel: str, title: str = "") -> None:
    """The axis of all trials, and what is drawn over it."""
    axes.set(xlim=(0.5, trials + 0.5), xlabel="trial", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if title:
        axes.set_title(title, fontsize=10.5)


def save_rasters(
    shown: Sequence[tuple[str, Comparison]], path: Path, title: str, span_s: tuple[float, float] | None = None
) -> None:
    """Rasters side by side, each with its own title; with `span_s`, only so much time around the CS."""
    figure = Figure(figsize=(6.2 * len(shown), 7.5), layout="constrained")
    figure.suptitle(title, fontsize=13)
    for index, (name, comparison) in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), index + 1)
        draw_rasters(axes, comparison)
        axes.set_title(name, fontsize=10.5)
        if span_s is not None:
            axes.set_xlim(span_s)
        legend = axes.get_legend()
        if legend is not None and index:
            legend.remove()
    save_figure(figure, path)
