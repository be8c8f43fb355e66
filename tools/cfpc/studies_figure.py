"""The pictures of the studies of CFPC: learning curves on changed loops, deviation by word length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.robustness import Robustness, Verdict
from ...golden_model.cfpc.word_lengths import TOLERANCE, WordLength
from ...golden_model.fixed import Rounding
from ..report.figures import save_figure

__all__ = ["draw_robustness", "draw_word_lengths"]

# Okabe and Ito's palette.
_RULES = {
    "FM-ET": ("#0072B2", "-", 2.6),
    "low-order": ("#009E73", "-", 2.0),
    "WH": ("#D55E00", "-", 1.6),
    "WH+50 ms": ("#E69F00", "--", 2.0),
    "WH+70 ms": ("#CC79A7", "--", 2.0),
}
_WORDS = {
    ("weight", Rounding.HALF_UP): ("#0072B2", "o-", "weight, rounded"),
    ("weight", Rounding.FLOOR): ("#D55E00", "s-", "weight, truncated"),
    ("signal", Rounding.HALF_UP): ("#009E73", "^-", "signal"),
    ("state", Rounding.HALF_UP): ("#E69F00", "v-", "state"),
    ("coefficient", Rounding.HALF_UP): ("#CC79A7", "d-", "coefficient"),
}
_TOP = 20.0
"""rRMSE above which a curve leaves the picture."""


def draw_robustness(found: Sequence[Robustness], path: Path, title: str) -> None:
    """A panel a loop: rRMSE of each rule by trial, and the best that the bases can do; PNG."""
    changes = list(dict.fromkeys(one.change for one in found))
    rows = -(-(len(changes) + 1) // 4)
    figure = Figure(figsize=(14, 3.5 * rows), layout="constrained")
    panels: list[Axes] = figure.subplots(rows, 4, sharex=True, sharey=True).ravel().tolist()
    for change, axes in zip(changes, panels, strict=False):
        _draw_loop(axes, [one for one in found if one.change == change])
        axes.set_title(change.name, fontsize=11)
        axes.set_xlabel("trial")
        axes.tick_params(labelbottom=True)
    for axes in panels[::4]:
        axes.set_ylabel("rRMSE (share of trial 1)")
    for axes in panels[len(changes) :]:
        axes.axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    panels[len(changes)].legend(handles, labels, loc="center", fontsize=11, frameon=False)
    figure.suptitle(title, fontsize=13)
    save_figure(figure, path)


def _draw_loop(axes: Axes, found: Sequence[Robustness]) -> None:
    trials = np.arange(1, len(found[0].relative) + 1)
    for one in found:
        colour, style, width = _RULES.get(one.rule, ("#000000", ":", 1.5))
        shares = np.minimum(one.relative, 10 * _TOP)
        axes.plot(trials, shares, style, color=colour, linewidth=width, label=one.rule)
    axes.axhline(found[0].optimum, color="#000000", linewidth=1, linestyle=":", label="optimum")
    settled = [one for one in found if one.verdict not in (Verdict.DIVERGES, Verdict.UNSTABLE)]
    if not settled:
        axes.text(0.97, 0.08, "every rule diverges", ha="right", transform=axes.transAxes, fontsize=11)
    axes.set(xscale="log", yscale="log", xlim=(1, trials[-1]), ylim=(0.03, _TOP))
    axes.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10"])
    axes.minorticks_off()
    ticks = [tick for tick in (1, 7, 20, 50, 200) if tick <= trials[-1]]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def draw_word_lengths(config: CfpcConfig, found: Sequence[WordLength], path: Path, title: str) -> None:
    """Deviation from float by fraction bits, a line a word; PNG."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots()
    for (word, way), (colour, style, label) in _WORDS.items():
        points = [p for p in found if (p.word, p.rounding) == (word, way) and np.isfinite(p.deviation)]
        bits = np.array([point.format.fraction_bits for point in points])
        percent = np.array([100 * point.deviation for point in points])
        axes.plot(bits, percent, style, color=colour, linewidth=2, markersize=5, label=label)
        chosen = bits == getattr(config.formats, word).fraction_bits
        if way is config.formats.weight_rounding or word != "weight":
            axes.plot(
                bits[chosen], percent[chosen], "o", color=colour, markersize=14, fillstyle="none",
                markeredgewidth=2,
            )  # fmt: skip
    axes.plot([], [], "o", color="#666666", markersize=14, fillstyle="none", label="configured")
    axes.axhline(100 * TOLERANCE, color="#000000", linestyle="--", linewidth=1)
    axes.text(
        0.005, 100 * TOLERANCE, f"{100 * TOLERANCE:g} %", va="bottom", transform=axes.get_yaxis_transform()
    )
    axes.set(
        yscale="log", xlabel="fraction bits of the word, all others as configured",
        ylabel="largest deviation of a trial's error from float (%)", title=title,
    )  # fmt: skip
    ticks = [0.01, 0.1, 1, 10, 100, 1000]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_major_locator(MultipleLocator(2))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=10, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
