"""The picture of the virtual preparation: one trial at the electrodes, with artefact and eyelid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...golden_model.config import ChipConfig
from ...golden_model.experiment.preparation import Preparation
from ...golden_model.experiment.protocol import Protocol, Trial
from ...golden_model.stimulation import Stimulator
from ..report.figures import save_figure

__all__ = ["draw_preparation"]

# Okabe and Ito's palette: told apart by colour-blind readers too.
_PN, _IO, _EYELID = "#009E73", "#000000", "#0072B2"
_CS_SHADE, _US_SHADE, _TRAIN_SHADE = "#F0E442", "#CC79A7", "#56B4E9"
_CS_S, _US_S = 0.45, 0.15
"""The paper's stimuli: 450 ms of noise, 150 ms of air puff."""
_CR_S = 0.2
"""CS to train, as after a well-timed CR."""
_SHOWN_S = (-0.1, 0.7)
_TRIALS = 20


def draw_preparation(config: ChipConfig, path: Path, seed: int = 1) -> None:
    """Draw the first trial of a session with a PN response before the train and an IO response after it.

    Parameters
    ----------
    config : ChipConfig
        With one microcircuit at least; the first is drawn.
    path : Path
        PNG.
    seed : int
        Of the session: paired trials with a train 200 ms after each CS.

    Raises
    ------
    ValueError
        If no trial of the session has both.
    """
    preparation = Preparation(config, Protocol(trials=(Trial.PAIRED,) * _TRIALS), seed)
    stimulator, rate_hz = Stimulator(config), preparation.rate_hz
    width, train_end_s = round(config.time.clock_hz / rate_hz), _CR_S + config.stimulation.duration_s
    before, after = (round(seconds * rate_hz) for seconds in _SHOWN_S)
    for step in preparation.cs:
        cs = int(step) * preparation.frames_per_step
        preparation.record(np.zeros((cs + before - preparation.frames, 2)))
        stimulator.trigger((cs + round(_CR_S * rate_hz)) * width)
        first = preparation.frames
        on = stimulator.on_cycles((first - 1) * width, after - before, width) / width
        volts = preparation.record(on)
        pn, io = (
            (frames[(frames >= cs) & (frames < first + volts.shape[0])] - cs) / rate_hz
            for frames in (preparation.evoked_pn[0], preparation.evoked_io[0])
        )
        if pn.size and pn[0] < _CR_S - 0.05 and io.size and io[0] > train_end_s:
            _draw(preparation, volts, on, float(pn[0]), float(io[0]), path)
            return
    raise ValueError(f"seed {seed}: no trial of {_TRIALS} with responses of both sites")


def _draw(
    preparation: Preparation,
    volts: npt.NDArray[np.float64],
    on: npt.NDArray[np.float64],
    pn_s: float,
    io_s: float,
    path: Path,
) -> None:
    config, rate_hz = preparation.config, preparation.rate_hz
    time = _SHOWN_S[0] + np.arange(volts.shape[0]) / rate_hz
    pn, io = volts[:, config.electrodes.pn[0]], volts[:, config.electrodes.io[0]]
    pulse_s = time[np.flatnonzero(on[:, 0])[0]]
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    figure.suptitle(
        "Virtual preparation: a paired trial at the electrodes, before the amplifier", fontsize=13
    )
    grid = figure.add_gridspec(3, 2, width_ratios=(2.6, 1), height_ratios=(1, 1, 0.7))
    top, middle, bottom = (figure.add_subplot(grid[row, 0]) for row in range(3))
    isi_s = preparation.protocol.isi_s
    bars: tuple[tuple[float, float, str, str], ...] = (
        (0, _CS_S, _CS_SHADE, "CS"),
        (isi_s, isi_s + _US_S, _US_SHADE, "US"),
        (_CR_S, _CR_S + config.stimulation.duration_s, _TRAIN_SHADE, "pulse train"),
    )
    for axes in (top, middle, bottom):
        for row, (start, stop, colour, name) in enumerate(bars):
            axes.axvspan(
                start, stop, 0.03 + 0.05 * row, 0.07 + 0.05 * row, color=colour, linewidth=0, label=name
            )
        axes.set_xlim(*_SHOWN_S)
    _trace(top, time, pn, _PN, "PN (µV)", (-400, 400))
    _trace(middle, time, io, _IO, "IO (µV)", (-400, 400))
    middle.set_title(f"artefact to ±{np.abs(io).max() / 1000:.1f} mV, cut off here", fontsize=9, loc="right")
    steps = preparation.eyelid[-(volts.shape[0] // preparation.frames_per_step) :]
    at = _SHOWN_S[0] + np.arange(1, steps.size + 1) * config.time.step_s
    bottom.plot(at, steps, color=_EYELID, linewidth=1.8)
    bottom.set(ylabel="eyelid closed", xlabel="time after the CS (s)", ylim=(-0.25, 1.05))
    top.legend(loc="upper right", ncols=3, fontsize=8, framealpha=0.9)
    details = (
        (pn, _PN, pn_s, (-5, 50), (-400, 400), "a response of the PN"),
        (io, _IO, io_s, (-2, 12), (-400, 400), "a complex spike of the IO"),
        (io, _IO, pulse_s, (-0.5, 4), (-4500, 4500), "one pulse on the IO"),
    )
    for row, (trace, colour, onset, (low, high), limits, title) in enumerate(details):
        axes = figure.add_subplot(grid[row, 1])
        near = (time >= onset + low / 1000) & (time < onset + high / 1000)
        _trace(axes, 1000 * (time[near] - onset), trace[near], colour, "", limits)
        axes.set_title(title, fontsize=10)
    axes.set_xlabel("time (ms)")
    save_figure(figure, path)


def _trace(axes: Axes, time: Any, volts: Any, colour: str, name: str, limits: tuple[float, float]) -> None:
    axes.plot(time, volts, color=colour, linewidth=0.6)
    axes.set(ylabel=name, ylim=limits)
