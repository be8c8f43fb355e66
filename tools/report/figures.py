"""The pictures: a session's rasters, weight and blocks of CRs; a detector's signals."""

from __future__ import annotations

import hashlib
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ... import __version__
from ...golden_model.calibration.thresholds import Roc, Selection
from ...golden_model.config import ChipConfig
from ...golden_model.detection import Detections
from ...golden_model.events import Recalibrations
from ...golden_model.experiment.protocol import BLOCK, PRE_US_S, Trial
from ...golden_model.files import atomic_write
from ...golden_model.recalibration import Status
from ..models import CONSTANT, LABELS, Comparison
from ..text import printable
from .origin import command_line

__all__ = [
    "MODEL_STYLE",
    "draw_calibration",
    "draw_detections",
    "draw_rasters",
    "draw_selection",
    "draw_session",
    "plotted",
    "save_figure",
]

# Okabe and Ito's palette: told apart by colour-blind readers too.
_PN, _IO, _CR = "#009E73", "#000000", "#0072B2"
_CS_SHADE, _US_SHADE = "#F0E442", "#CC79A7"
MODEL_STYLE: dict[str, dict[str, Any]] = {
    "float": {"color": "#E69F00", "linewidth": 3.5},
    "fixed": {"color": "#0072B2", "linewidth": 1.8},
    "rtl": {"color": "#000000", "linewidth": 0.9, "linestyle": (0, (3, 3))},
    CONSTANT: {"color": "#999999", "linewidth": 1.2, "zorder": 1.5},
}
_CHOSEN, _IMPOSSIBLE = "#D55E00", "#E5E5E5"
_LEAST_FAR_HZ = 0.02
"""Below, false alarm rates are drawn on a linear scale."""
_SPAN = 1e-3
"""Smallest error that has a colour of its own, over the largest."""
_RASTER_S = (-0.2, 1.0)
_TITLE_LETTERS = 8
"""Of a title, an inch of the page: no font is so wide that they do not fit."""
_CS_DURATION_S, _US_DURATION_S = 0.45, 0.15
"""The paper's stimuli: 450 ms of noise, 150 ms of air puff."""


def draw_session(
    comparison: Comparison, path: Path, title: str, *, eyelid: npt.NDArray[np.float64] | None = None
) -> None:
    """Rasters of PN, IO and CR around each CS, w and CRs a block, of every model; PNG.

    With `eyelid`, its closure in each step from 0 to 1, also how far it is closed when the US is due. Events
    without trials get w and the CRs over time instead.
    """
    figure = Figure(figsize=(13, 8), layout="constrained")
    figure.suptitle(title, fontsize=13)
    if comparison.events.cs.size:
        recalibrated = comparison.shown.recalibrations
        rows = 3 + (recalibrated is not None) + (eyelid is not None)
        figure.set_figheight(8 + 2.2 * (rows - 3))
        grid = figure.add_gridspec(rows, 2, width_ratios=(1.15, 1))
        draw_rasters(figure.add_subplot(grid[:, 0]), comparison)
        _draw_weight(figure.add_subplot(grid[0, 1]), comparison)
        _draw_blocks(figure.add_subplot(grid[1, 1]), comparison, "well_timed", "well-timed CRs (% of trials)")
        _draw_blocks(figure.add_subplot(grid[2, 1]), comparison, "late", "late CRs (% of trials)")
        if recalibrated is not None:
            _draw_recalibrations(figure.add_subplot(grid[3, 1]), comparison, recalibrated)
        if eyelid is not None:
            _draw_eyelid(figure.add_subplot(grid[rows - 1, 1]), comparison, eyelid)
    else:
        _draw_course(figure.add_subplot(), comparison)
    save_figure(figure, path)


def draw_detections(detections: Detections, rate_hz: float, path: Path, title: str) -> None:
    """A recording's variability, the threshold, and the events found; PNG."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    figure.suptitle(title, fontsize=13)
    overview, detail = figure.subplots(1, 2, width_ratios=(2, 1))
    events = detections.samples[0]
    n = detections.signals["variability"].shape[0]
    centre = int(events[events.size // 2]) if events.size else n // 2
    spans = (
        (overview, 0, n),
        (detail, max(0, centre - round(0.1 * rate_hz)), min(n, centre + round(0.1 * rate_hz))),
    )
    for axes, start, stop in spans:
        # A peak that a thinned-out line would miss is kept: the largest of each stretch is drawn.
        stretch = max(1, (stop - start) // 4000)
        whole = start + (stop - start) // stretch * stretch
        time = np.arange(start, whole, stretch) / rate_hz
        variability = detections.signals["variability"][start:whole, 0].reshape(-1, stretch).max(axis=1)
        threshold = detections.signals["threshold"][start:whole, 0].reshape(-1, stretch).max(axis=1)
        axes.plot(time, variability, color=_CR, linewidth=0.7, label="variability s")
        axes.plot(time, threshold, color="#D55E00", linewidth=1.2, label="threshold")
        shown = events[(events >= start) & (events < stop)] / rate_hz
        top = variability.max() * 1.05
        axes.plot(shown, np.full(shown.size, top), "v", color=_IO, markersize=5, label="event")
        # The threshold starts high, before its average has settled, and need not be seen whole.
        axes.set(xlabel="time (s)", xlim=(start / rate_hz, stop / rate_hz), ylim=(0, 1.15 * top))
    overview.set_ylabel("ADC counts")
    overview.legend(loc="upper right", framealpha=0.9)
    detail.set_title("the event in the middle", fontsize=10)
    detail.xaxis.set_major_locator(MaxNLocator(5))
    save_figure(figure, path)


def draw_calibration(config: ChipConfig, path: Path, title: str) -> None:
    """δp and δd of a calibrated configuration over the IO rate, in the working range; PNG."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    figure.suptitle(title, fontsize=13)
    section, record = config.recalibration, config.calibration
    assert section.coefficients is not None and record is not None
    rates = np.linspace(section.rate_min_hz, section.rate_max_hz, 400)
    curves = np.array([section.coefficients.plasticity(rate) for rate in rates]).T
    calibrated = (config.plasticity.potentiation, config.plasticity.depression)
    names = ("potentiation δp (w a step)", "depression δd (w an event)")
    for axes, curve, value, name in zip(figure.subplots(1, 2), curves, calibrated, names, strict=True):
        axes.plot(rates, curve, color=_CR, linewidth=2)
        axes.axvline(record.io_rate_hz, color="grey", linewidth=1, linestyle=":")
        axes.plot(
            record.io_rate_hz, value, "o", color=_CHOSEN, markersize=8,
            label=f"calibrated: {value:.3g} at {record.io_rate_hz:.3g} Hz",
        )  # fmt: skip
        axes.set(
            xlabel="spontaneous IO rate (Hz)", ylabel=name,
            xlim=(section.rate_min_hz, section.rate_max_hz), ylim=(0, 1.15 * curve.max()),
        )  # fmt: skip
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useMathText=True)
        axes.legend(loc="lower right", framealpha=0.9)
    save_figure(figure, path)


def draw_selection(selection: Selection, path: Path, title: str) -> None:
    """ROC of both channels and the error of each pair of thresholds, the chosen ones marked; PNG."""
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    curves, residuals = figure.subplots(1, 2)
    first, second = selection.chosen
    _draw_roc(curves, selection.pn, first, "PN", _PN)
    _draw_roc(curves, selection.io, second, "IO", _IO)
    curves.set_xscale("symlog", linthresh=_LEAST_FAR_HZ)  # a rate of 0 is seen too
    curves.set(
        xlim=(0, None), ylim=(-3, 103), title="receiver operating characteristic",
        xlabel="false alarms (Hz)", ylabel="stimuli detected (%)",
    )  # fmt: skip
    curves.xaxis.set_major_formatter("{x:g}")
    curves.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=9)
    pn, io = selection.pn.thresholds, selection.io.thresholds
    possible = np.isfinite(selection.error)
    residuals.set_facecolor(_IMPOSSIBLE)
    scale = LogNorm(vmin=max(selection.error.min(), selection.error[possible].max() * _SPAN))
    drawn = residuals.pcolormesh(
        io, pn, np.where(possible, selection.error, np.nan), norm=scale, cmap="cividis", shading="nearest"
    )
    figure.colorbar(drawn, ax=residuals, label="error (w a trial)", extend="min")
    residuals.plot(io[second], pn[first], "o", color=_CHOSEN, markersize=9, mec="white", label="chosen")
    handles, _ = residuals.get_legend_handles_labels()
    residuals.legend(
        handles=[*handles, Patch(color=_IMPOSSIBLE, label="determines no plasticity")], framealpha=0.9
    )
    residuals.set(xscale="log", yscale="log", title="calibration with each pair")
    for axis, name, channel in (
        (residuals.xaxis, "IO", selection.config.detection.io),
        (residuals.yaxis, "PN", selection.config.detection.pn),
    ):
        axis.set_label_text(
            f"{name} threshold ({'× mean variability' if channel.relative else 'ADC counts'})"
        )
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
    save_figure(figure, path)


def _draw_roc(axes: Axes, roc: Roc, chosen: int, name: str, colour: str) -> None:
    rates = np.array([quality.far_hz for quality in roc.qualities])
    hits = np.array([100 * quality.tdr for quality in roc.qualities])
    axes.plot(rates, hits, ".-", color=colour, linewidth=1.2, markersize=5, label=name)
    axes.plot(
        rates[chosen], hits[chosen], "o", color=_CHOSEN, mec=colour, mew=2, markersize=10,
        label=f"chosen: {name} {roc.thresholds[chosen]:.3g}, {hits[chosen]:.0f} % at {rates[chosen]:.2g} Hz",
    )  # fmt: skip


def draw_rasters(axes: Axes, comparison: Comparison) -> None:
    """Detections of both channels and CRs around each CS, of the result that is shown."""
    events, step_s = comparison.events, comparison.config.time.step_s
    due = comparison.isi_s
    paired = np.array([kind is Trial.PAIRED for kind in comparison.trial_kinds()])
    axes.axvspan(0, _CS_DURATION_S, color=_CS_SHADE, alpha=0.25, linewidth=0, label="CS")
    for first, last in _stretches(paired):
        label = "US" if first == np.flatnonzero(paired)[0] else None
        axes.fill_between(
            (due, due + _US_DURATION_S), first + 0.5, last + 1.5, color=_US_SHADE, alpha=0.35, linewidth=0,
            label=label,
        )  # fmt: skip
    cr = comparison.shown.cr
    scale = min(4.0, max(1.0, 150 / events.cs.size))  # few trials, large dots
    for steps, colour, size, label in (
        (events.io, _IO, 1.2 * scale, "IO"),
        (events.pn, _PN, 2 * scale, "PN"),
    ):
        time, trial = _around_cs(steps, events.cs, step_s)
        axes.plot(time, trial, ".", color=colour, markersize=size, label=label)
    time, trial = _around_cs(cr, events.cs, step_s)
    well = (time > 0) & (time <= due - PRE_US_S)
    axes.plot(time[well], trial[well], "o", color=_CR, markersize=3.6 * scale**0.5, label="CR, well-timed")
    axes.plot(
        time[~well],
        trial[~well],
        "o",
        color=_CR,
        markersize=4 if scale > 1 else 3.4,
        mfc="none",
        markeredgewidth=0.7,
        label="CR, late or between trials",
    )
    axes.axvline(due - PRE_US_S, color=_CR, linewidth=0.8, label="limit of well-timed")
    for boundary in np.flatnonzero(np.diff(paired.astype(int))):
        axes.axhline(boundary + 1.5, color="#D55E00", linestyle="--", linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(
        xlim=_RASTER_S, ylim=(events.cs.size + 0.5, 0.5), xlabel="time from the CS (s)", ylabel="trial",
        title="detections and conditioned responses",
    )  # fmt: skip
    # Two rows: one would be wider than the raster, which would have to make room for it.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=4, markerscale=2, fontsize=8.5)


def _around_cs(
    steps: npt.NDArray[np.int64], cs: npt.NDArray[np.int64], step_s: float
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(seconds from the nearest CS before or just after, trial from 1) of the events near one."""
    lead = round(-_RASTER_S[0] / step_s)
    trial = np.searchsorted(cs - lead, steps, side="right")
    steps, trial = steps[trial > 0], trial[trial > 0]
    time = (steps - cs[trial - 1]) * step_s
    near = time <= _RASTER_S[1]
    return time[near], trial[near]


def _stretches(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(first), int(stop) - 1) for first, stop in edges.reshape(-1, 2)]


def _draw_weight(axes: Axes, comparison: Comparison) -> None:
    config = comparison.config
    for name, trials in comparison.scores.items():
        label = LABELS.get(name, name)
        axes.plot(np.arange(1, trials.weight.size + 1), trials.weight, label=label, **MODEL_STYLE[name])
    fires_last = config.threshold.level / (config.trace.end or np.nan)
    axes.axhline(fires_last, color="grey", linewidth=1, linestyle=":", label="CRs below")
    axes.set(ylabel="w at each CS", title="the memory")
    axes.legend(ncols=len(comparison.scores) + 1, fontsize=8, handlelength=1.5, columnspacing=1)
    _set_trials(axes, comparison)


def _draw_blocks(axes: Axes, comparison: Comparison, what: str, label: str) -> None:
    for name, trials in comparison.scores.items():
        share = 100 * trials.blocks(getattr(trials, what))
        first = 1 + BLOCK * np.arange(share.size)
        middle = (first + np.minimum(first + BLOCK - 1, comparison.events.cs.size)) / 2
        axes.plot(middle, share, label=name, marker=".", **MODEL_STYLE[name])
    axes.set(ylim=(-3, 103), ylabel=label, xlabel="trial")
    _set_trials(axes, comparison)


def _draw_recalibrations(axes: Axes, comparison: Comparison, found: Recalibrations) -> None:
    """The IO rate as counted, and the δp and δd that it led to, as multiples of the configured ones."""
    trial = np.interp(found.step, comparison.events.cs, np.arange(1, comparison.events.cs.size + 1))
    good = found.status == Status.GOOD
    axes.plot(trial, found.rate_hz, ".-", color=_IO, linewidth=1, label="IO rate")
    axes.plot(trial[~good], found.rate_hz[~good], "x", color="#D55E00", label="refused")
    axes.set(ylabel="IO rate (Hz)", xlabel="trial", ylim=(0, None))
    plasticity, other = comparison.config.plasticity, axes.twinx()
    for name, values, configured, colour in (
        ("δp", found.potentiation, plasticity.potentiation, "#009E73"),
        ("δd", found.depression, plasticity.depression, "#CC79A7"),
    ):
        if configured:
            steps = np.concatenate([[0.5], trial]), np.concatenate([[1], values / configured])
            other.step(*steps, where="post", color=colour, linewidth=1.5, label=name)
    other.set(ylabel="δ, multiples of the start", ylim=(0, None))
    lines = axes.get_lines()[: 1 if good.all() else 2] + other.get_lines()
    axes.legend(lines, [str(line.get_label()) for line in lines], ncols=4, fontsize=8, loc="lower left")
    _set_trials(axes, comparison)


def _draw_eyelid(axes: Axes, comparison: Comparison, eyelid: npt.NDArray[np.float64]) -> None:
    """How far the eyelid is closed when the US is due, trial by trial."""
    due = comparison.events.cs + comparison.config.steps(comparison.isi_s)
    closed = 100 * eyelid[np.minimum(due, eyelid.size - 1)]
    axes.plot(np.arange(1, closed.size + 1), closed, ".", color=_CR, markersize=4)
    axes.set(ylim=(-3, 103), ylabel="eyelid closed at\nthe US (%)", xlabel="trial")
    _set_trials(axes, comparison)


def _set_trials(axes: Axes, comparison: Comparison) -> None:
    """All trials, by whole numbers."""
    axes.set_xlim(0.5, comparison.events.cs.size + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_course(axes: Axes, comparison: Comparison) -> None:
    step_s = comparison.config.time.step_s
    stride = max(1, comparison.events.n_steps // 4000)
    time = np.arange(0, comparison.events.n_steps, stride) * step_s
    for name, result in comparison.results.items():
        axes.plot(time, result.w[::stride], label=f"w {name}", **MODEL_STYLE[name])
    shown = comparison.shown
    axes.plot(shown.cr * step_s, shown.w[shown.cr], "o", color=_CR, markersize=3, label="CR")
    axes.set(xlabel="time (s)", ylabel="w")
    axes.legend()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; names in its texts are drawn as they are, no formulas.

    A title that is wider than the page, as with the name of a file in it, goes on in another line. The file
    tells what made it, and, as ``Plotted``, the digest of :func:`plotted`.
    """
    FigureCanvasAgg(figure)
    about = {"Software": f"microzone {__version__}", "Command": command_line(), "Plotted": plotted(figure)}
    for text in figure.findobj(Text):
        if text.get_text():  # those of ticks are not there yet: they may be powers of ten
            text.set_parse_math(False)
            text.set_text(printable(text.get_text(), lines=True))
    if title := figure.get_suptitle():
        width = round(_TITLE_LETTERS * figure.get_figwidth())
        figure.suptitle(textwrap.fill(title, width, replace_whitespace=False))
    about = {name: printable(value) for name, value in about.items()}
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110, metadata=about)


def plotted(figure: Figure) -> str:
    """Digest of what a figure shows, whatever draws it: two pictures of the same numbers have the same one.

    Of each axes all texts, and the numbers of lines, dots, areas and images to five digits. Neither fonts,
    nor sizes, nor places on the page count, which differ from version to version of the libraries.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    found = [figure.get_suptitle()]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
        found += [text.get_text() for text in axes.texts]
        for line in axes.lines:
            found += [str(line.get_label()), _rounded(line.get_xydata())]
        for area in axes.collections:
            paths = [path.vertices for path in area.get_paths()]
            found += [_rounded(area.get_offsets()), _rounded(area.get_array()), *map(_rounded, paths)]
        for patch in axes.patches:
            found.append(_rounded(patch.get_patch_transform().transform_path(patch.get_path()).vertices))
        found += [_rounded(image.get_array()) for image in axes.images]
    return hashlib.sha256("\n".join(found).encode(errors="surrogateescape")).hexdigest()[:16]


def _rounded(values: npt.ArrayLike | None) -> str:
    """Numbers as text, to five digits; what is masked or not finite is a word."""
    if values is None:
        return ""
    numbers = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    return " ".join(f"{number:.5g}" for number in (numbers + 0.0).ravel())  # -0 is 0
