"""The pictures of CFPC: signals before and after learning, error, and the learning curve.

Source: Herreros et al. 2016, figures 3 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...golden_model.cfpc.systems import Reals
from ..report.figures import MODEL_STYLE, save_figure
from .run import Run
from .task import Task

__all__ = ["draw_run", "draw_signals", "set_curve"]

# Okabe and Ito's palette, as in ``tools.report.figures``.
REFERENCE, BEFORE, AFTER, OUTPUT = "#000000", "#E69F00", "#0072B2", "#009E73"
_FALLS_BELOW = 2.0
"""A learning curve that grows further is drawn on a logarithmic scale."""


_STYLE = MODEL_STYLE | {"board": MODEL_STYLE["rtl"]}
"""The same gateware."""


def draw_signals(position: Axes, error: Axes, task: Task, run: Run) -> None:
    """Left r, y[1], y[last]; right e[1], e[last], o[last]: the source's figure 3."""
    first, last, trials = run.course.first, run.course.last, run.course.rmse.size
    time = np.arange(task.reference.size) * task.config.time.step_s
    position.plot(time, task.reference, color=REFERENCE, linewidth=1.2, linestyle="--", label="r", zorder=3)
    position.plot(time, first.y, color=BEFORE, linewidth=2, label="y[1]")
    position.plot(time, last.y, color=AFTER, linewidth=2.5, label=f"y[{trials}]")
    error.plot(time, task.reference - first.y, color=BEFORE, linewidth=2, label="e[1]")
    error.plot(time, task.reference - last.y, color=AFTER, linewidth=2, label=f"e[{trials}]")
    error.plot(time, last.o, color=OUTPUT, linewidth=2, linestyle=(0, (5, 2)), label=f"o[{trials}]")
    error.axhline(0, color="#999999", linewidth=0.8, zorder=0)
    for axes in (position, error):
        axes.set(xlabel="time in the trial (s)", xlim=(0, time.size * task.config.time.step_s))
        axes.legend(fontsize=9, framealpha=0.9)
    position.set(ylabel="r, y (a.u.)", title="reference and output")
    error.set(ylabel="e, o (a.u.)", title="error, and what the filter adds to r")


def set_curve(axes: Axes, curves: Mapping[str, Reals], optimum: float, name: str) -> None:
    """Axes of learning curves, with the optimum; logarithmic where one of them grows."""
    axes.axhline(optimum, color="#555555", linewidth=1.2, linestyle=(0, (6, 3)), label=name, zorder=4)
    trials = max(curve.size for curve in curves.values())
    highest = max(float(curve.max()) for curve in curves.values())
    if highest > _FALLS_BELOW:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.05 * max(highest, 1.0))
    axes.set(xlabel="trial", ylabel="relative RMSE", xlim=(0, trials + 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.legend(fontsize=9, framealpha=0.9)


def draw_run(task: Task, runs: Mapping[str, Run], shown: str, path: Path, title: str) -> None:
    """Signals of one model, learning curves of all; PNG."""
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    position, error, learning = figure.subplots(1, 3, width_ratios=(1.15, 1.15, 1))
    draw_signals(position, error, task, runs[shown])
    curves = {model: run.course.relative for model, run in runs.items()}
    for model, curve in curves.items():
        marker = "o" if curve.size == 1 else None
        learning.plot(np.arange(1, curve.size + 1), curve, label=model, marker=marker, **_STYLE[model])
    optimum = task.optimum_rmse / runs[shown].course.rmse[0]
    set_curve(learning, curves, optimum, "optimum (pseudo-inverse)")
    learning.set_title("learning, as a share of trial 1")
    save_figure(figure, path)
