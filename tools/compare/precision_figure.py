"""The picture of a session's precision: values and errors among the bits, and w's error over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator

from ...golden_model.config import ChipConfig
from ...golden_model.precision.precision import Precision
from ...golden_model.precision.ranges import SignalRange
from ..report.figures import MODEL_STYLE, save_figure
from .precision_text import SYMBOLS

__all__ = ["draw_precision"]

_BITS, _FAULT = "#D9D9D9", "#D55E00"
_FIXED, _FLOAT = MODEL_STYLE["fixed"]["color"], MODEL_STYLE["float"]["color"]
_LEAST_SHARE = 1e-7
"""Shares of the steps below this are not told apart."""


def draw_precision(precision: Precision, config: ChipConfig, path: Path) -> None:
    """Histograms of every number among the bits of its format, and the error of w over time; PNG."""
    shown = {**precision.signals, **precision.recalibrations}
    shown = {name: seen for name, seen in shown.items() if name != "age" and seen.steps}
    figure = Figure(figsize=(13, 3.6 + 1.05 * len(shown)), layout="constrained")
    bits, course = figure.subplots(2, 1, height_ratios=(1.05 * len(shown), 2.4))
    _draw_bits(bits, shown, precision)
    _draw_error(course, precision, config)
    save_figure(figure, path)


def _draw_bits(axes: Axes, shown: Mapping[str, SignalRange], precision: Precision) -> None:
    """A row a signal: the bits that it has, how often each was the leading one, and its error."""
    overflows = {overflow.signal: overflow for overflow in precision.overflows}
    right = 2.0
    for row, (name, seen) in enumerate(reversed(list(shown.items()))):
        fmt = seen.fmt
        top = fmt.integer_bits - fmt.signed
        axes.barh(
            row, top + fmt.fraction_bits, 0.8, left=-fmt.fraction_bits, color=_BITS,
            label="bits of the format" if row == 0 else None,
        )  # fmt: skip
        for index, (histogram, colour, label) in enumerate(
            ((seen.real_histogram, _FLOAT, "float"), (seen.histogram, _FIXED, "fixed"))
        ):
            exponents = np.array([exponent for exponent in histogram if exponent is not None])
            counts = np.array([histogram[exponent] for exponent in exponents])
            if not exponents.size:
                continue
            share = np.log10(np.maximum(counts / seen.steps, _LEAST_SHARE) / _LEAST_SHARE)
            axes.bar(
                exponents + 0.5, 0.8 * share / -math.log10(_LEAST_SHARE), (0.92, 0.5)[index],
                bottom=row - 0.4, color=colour, zorder=3 + index,
                label=f"values, {label}" if row == 0 else None,
            )  # fmt: skip
        for error, marker, label in (
            (seen.largest_error_lsb, "D", "largest error"),
            (seen.rms_error_lsb, "|", "rms error"),
        ):
            if error:
                axes.plot(
                    math.log2(error) - fmt.fraction_bits, row, marker, color="black",
                    markersize=(6, 14)[marker == "|"], markeredgewidth=1.8, linestyle="none", zorder=6,
                    label=label,
                )  # fmt: skip
        if name in overflows:
            found = overflows[name]
            reached = math.log2(max(abs(found.lowest), abs(found.highest)))
            right = max(right, reached + 1)
            axes.annotate(
                "", (reached, row), (top, row), zorder=7,
                arrowprops={"arrowstyle": "-|>", "color": _FAULT, "linewidth": 2.5},
            )  # fmt: skip
            axes.text(
                top + 0.2, row + 0.15, f"{found.missing_integer_bits} bits missing", color=_FAULT, zorder=7,
                fontweight="bold",
            )  # fmt: skip
            right = max(right, top + 7)
        axes.text(1.01, row, str(fmt), va="center", fontsize=10, transform=axes.get_yaxis_transform())
    rows = list(shown)[::-1]
    axes.set_yticks(range(len(rows)), [SYMBOLS[name] for name in rows], fontsize=12)
    axes.set_xlim(-max(seen.fmt.fraction_bits for seen in shown.values()) - 1, right)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set(
        xlabel="weight of the bit: log2 of the value",
        title="values and errors among the bits of each format (height: share of steps, log scale)",
    )
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(
        unique.values(), unique.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=len(unique),
        fontsize=9, frameon=False,
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)


def _draw_error(axes: Axes, precision: Precision, config: ChipConfig) -> None:
    """Fixed less float of w, and where something went wrong first."""
    time = precision.course[:, 0] * config.time.step_s
    axes.fill_between(
        time, precision.course[:, 1], precision.course[:, 2], step="pre", color=_FIXED, linewidth=0.8,
        edgecolor=_FIXED,
    )  # fmt: skip
    largest = float(np.abs(precision.course[:, 1:]).max())
    if largest > 1e5:  # before and after a divergence both
        axes.set_yscale("symlog", linthresh=10)
        ticks = SymmetricalLogLocator(base=10, linthresh=10, subs=[1])
        ticks.set_params(numticks=7)
        axes.yaxis.set_major_locator(ticks)
    else:
        axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    marks = [(overflow.step, f"{SYMBOLS[overflow.signal]} overflows") for overflow in precision.overflows]
    if precision.divergence is not None:
        marks.append((precision.divergence.step, "first divergence"))
    for index, (step, label) in enumerate(sorted(marks)):
        axes.axvline(
            step * config.time.step_s,
            color=_FAULT,
            linewidth=1.5,
            linestyle=("-", "--", ":")[index % 3],
            label=label,
        )
    if marks:
        axes.legend(fontsize=9, loc="upper left")
    axes.set(
        xlim=(0, max(time[-1], config.time.step_s)), xlabel="time (s)",
        ylabel=f"error (LSB of {config.formats.weight})",
        title="error of w: fixed less float",
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
