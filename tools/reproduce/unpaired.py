"""Figures 15 and 16: what a drifting IO rate does without association, with constant and with recalibrated δ.

Source: Herreros et al. 2014, "Instability of the activity during the recording" and "Calibration method
adapted to fluctuating IO activity". Unpaired: the IO detections of the experiment, shuffled within their
trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...golden_model.events import Events
from ...golden_model.experiment.sessions import Sessions, ShuffledIo
from ..report.output import progress_bar
from ..sessions.drift import Course, run_drift
from .adaptive import ASSUMED as COEFFICIENTS
from .adaptive import recalibrating
from .channels import heard_io
from .experiment import drawn_events, many_sessions, shown_session
from .pictures import (
    BLACK,
    BLUE,
    RED,
    block_means,
    block_middles,
    draw_levels,
    draw_spread,
    mark_phase,
    save_figure,
    set_trials,
)  # fmt: skip
from .recorded import ASSUMED, CS_ALONE, PAIRED, recorded_draw
from .setting import ENGINES, Setting
from .statements import Limits, Reproduction, Statement, percentile, ratio

__all__ = ["figure_15", "figure_16"]

_SHUFFLES, _SESSIONS, _CALIBRATIONS = 20_000, 2500, 200
_TOTAL = PAIRED + CS_ALONE
_LATE, _END = slice(PAIRED - 40, PAIRED), slice(-40, None)
_ACQUISITION = slice(0, PAIRED)


def _heard_acquisition(setting: Setting) -> Events:
    """The paired trials of the experiment as the chip heard them; nothing is blanked any more."""
    events = shown_session(setting).heard["fixed"]
    stop = int(events.cs[PAIRED])
    io = heard_io(events)
    return Events(
        events.pn[events.pn < stop], io[io < stop], stop, events.cs[:PAIRED], events.us[events.us < stop]
    )


def figure_15(setting: Setting) -> Reproduction:
    """The acquisition of the experiment against the same with its IO detections shuffled."""
    seeds = setting.seeds(_SHUFFLES)
    draw = ShuffledIo(_heard_acquisition(setting))
    many = setting.once("shuffled", lambda: setting.simulate("shuffled", draw, setting.config, seeds))
    scores = {model: shown_session(setting).comparison.scores[model] for model in ENGINES}
    paired = {
        model: {
            "weight": score.weight[_ACQUISITION],
            "responded": (score.well_timed | score.late)[_ACQUISITION],
            "well_timed": score.well_timed[_ACQUISITION],
        }
        for model, score in scores.items()
    }
    start = setting.config.weight.initial
    median = {m: float(np.median(many[m].weight[:, -1])) for m in ENGINES}
    shares = {m: float(many[m].responded.mean()) for m in ENGINES}
    own = {m: float(paired[m]["responded"].mean()) for m in ENGINES}
    statements = [
        Statement(
            "Unpaired, w falls in acquisition (median w at its end)", f"below its start, {start:g}",
            median, Limits(high=start - 0.05),
        ),
        Statement(
            "Unpaired, some well-timed CRs are fired (share of trials)",
            "a small number", {m: float(many[m].well_timed.mean()) for m in ENGINES},
            Limits(0.001, 0.1), "{:.1%}",
        ),
        Statement(
            "Unpaired CRs are clearly fewer than those of the experiment (share of trials, over its own)",
            "clearly below",
            _over(shares, own), Limits(high=0.5), "{:.2f}",
            {m: f"{shares[m]:.0%} against {own[m]:.0%}" for m in ENGINES},
        ),
        Statement(
            "The experiment has more well-timed CRs than nearly all unpaired (its percentile among them)",
            "above the upper 10 %",
            {
                m: percentile(float(paired[m]["well_timed"].mean()), many[m].well_timed.mean(axis=1))
                for m in ENGINES
            },
            Limits(low=90.0), "{:.1f} %",
        ),
        Statement(
            "The experiment has a lower w than nearly all unpaired (percentile of its mean in acquisition)",
            "below the bottom 5 %",
            {m: percentile(float(paired[m]["weight"].mean()), many[m].weight.mean(axis=1)) for m in ENGINES},
            Limits(high=5.0), "{:.1f} %",
        ),
    ]  # fmt: skip
    return Reproduction(
        "15",
        "the experiment against simulated unpaired acquisition",
        f"The IO detections of the session of figures 11 to 13 (seed {setting.seed}), as heard, shuffled "
        f"within their trials; {len(seeds)} times, seeds from {setting.seed} on.",
        (
            *ASSUMED,
            "In the shuffled sessions nothing is blanked: what was blanked in the experiment is missing.",
        ),
        statements,
        {
            model: {
                "unpaired": _bands(found),
                "experiment": {name: block_means(column) for name, column in paired[model].items()},
            }
            for model, found in many.items()
        },
        lambda path: _draw_15(many["fixed"], paired["fixed"], setting, path),
    )


def _bands(found: Sessions) -> dict[str, Any]:
    """What the picture shows, a block."""
    weight = block_means(found.weight)
    return {
        "median_weight": np.median(weight, axis=0),
        "weight_percentile_5": np.percentile(weight, 5, axis=0),
        "weight_percentile_10": np.percentile(weight, 10, axis=0),
        "mean_weight": weight.mean(axis=0),
        "well_timed": found.blocks(found.well_timed),
        "responded": found.blocks(found.responded),
    }


def _draw_15(found: Sessions, paired: Mapping[str, npt.NDArray[Any]], setting: Setting, path: Path) -> None:
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    figure.suptitle(
        f"Figure 15: the experiment (seed {setting.seed}) against {found.seeds.size} unpaired (fixed point)",
        fontsize=13,
    )
    weight, timed, responded = figure.subplots(1, 3)
    _spread_of(weight, block_means(found.weight), block_means(paired["weight"]), PAIRED, (0.1, 0.8), 5)
    draw_levels(weight, setting.config)
    for axes, name, label in ((timed, "well_timed", "well-timed"), (responded, "responded", "any")):
        share = 100 * block_means(getattr(found, name))
        _spread_of(axes, share, 100 * block_means(paired[name]), PAIRED, (-5, 105), 90)
        set_trials(axes, PAIRED, "% of trials", f"{label} CRs")
    set_trials(weight, PAIRED, "w at the CS", "memory parameter, blocks of 10")
    for axes in (weight, timed):
        axes.legend(fontsize=9)
    save_figure(figure, path)


def _spread_of(
    axes: Axes,
    blocks: npt.NDArray[np.float64],
    paired: npt.NDArray[np.float64],
    trials: int,
    limits: tuple[float, float],
    edge: int,
) -> None:
    """Distribution, median and one percentile of the unpaired; the paired over it."""
    at = block_middles(trials)
    draw_spread(axes, blocks, *limits, trials)
    axes.plot(
        at, np.median(blocks, axis=0), color=BLUE, linewidth=1.8, linestyle=":", label="unpaired: median"
    )
    axes.plot(at, np.percentile(blocks, edge, axis=0), color=RED, linewidth=1.5, label=f"unpaired: {edge} %")
    axes.plot(at, paired, color=BLACK, linewidth=2, label="paired")


def figure_16(setting: Setting) -> Reproduction:
    """Unpaired and paired training while the chip recalibrates."""
    config, seeds = recalibrating(setting), setting.seeds(_SESSIONS)
    events = drawn_events(setting)
    unpaired = setting.once(
        "adaptive unpaired", lambda: setting.simulate("unpaired", ShuffledIo(events), config, seeds)
    )
    paired = setting.once(
        "adaptive paired", lambda: setting.simulate("paired", recorded_draw(config), config, seeds)
    )
    constant = config.replace(recalibration={"enabled": False})
    steady = setting.once(
        "constant paired", lambda: setting.simulate("constant", recorded_draw(config), constant, seeds)
    )
    own = _own_calibrations(setting)
    start = config.weight.initial
    experiment = many_sessions(setting)
    learnt, before = (
        {m: float(found[m].well_timed[:, _LATE].mean()) for m in ENGINES} for found in (paired, steady)
    )
    masked = {m: float(experiment[m].well_timed[:, _LATE].mean()) for m in ENGINES}
    statements = [
        Statement(
            f"Unpaired, w stays within 0.1 of its start (farthest mean w from {start:g})", "± 0.1",
            {m: _farthest(unpaired[m].mean_weight, start) for m in ENGINES}, Limits(start - 0.1, start + 0.1),
        ),
        Statement(
            "Unpaired, there are no well-timed CRs on average (share of trials)", "none",
            {m: float(unpaired[m].well_timed.mean()) for m in ENGINES}, Limits(high=0.01), "{:.2%}",
        ),
        Statement(
            "Paired, w falls in acquisition (mean w of trials 151 to 190)", "acquires",
            {m: float(paired[m].weight[:, _LATE].mean()) for m in ENGINES}, Limits(high=0.35),
        ),
        Statement(
            "Paired, well-timed CRs are acquired (share of trials 151 to 190)",
            "acquires", learnt, Limits(low=0.1), "{:.0%}",
        ),
        Statement(
            "Paired, they extinguish (well-timed share of the last 40 trials)", "extinguishes",
            {m: float(paired[m].well_timed[:, _END].mean()) for m in ENGINES}, Limits(high=0.02), "{:.2%}",
        ),
        Statement(
            "CRs decrease by the end of acquisition, where the IO rate is higher (well-timed share of "
            "trials 151 to 190 over that with constant δ, nothing blanked)", "decreases",
            _over(learnt, before), Limits(high=0.95), "{:.2f}",
            {m: f"{learnt[m]:.0%} against {before[m]:.0%}" for m in ENGINES},
        ),
        Statement(
            "The same over that of the experiment, blanked for 2 s after each CR", "decreases",
            _over(learnt, masked), Limits(high=0.95), "{:.2f}",
            {m: f"{learnt[m]:.0%} against {masked[m]:.0%}" for m in ENGINES},
            "the blanking of the experiment costs more well-timed CRs than the recalibration: a CR hides "
            "the US from the trace at once, late CRs included, so that w settles higher",
        ),
        Statement(
            f"Fresh sessions, each with its own calibration from 30 trials ({_calibrations(setting)} of "
            f"them): unpaired, w stays within 0.1 (farthest mean w from {start:g})", "± 0.1",
            {m: _farthest(own[m].mean_weight, start) for m in ENGINES}, Limits(start - 0.1, start + 0.1),
            reason="30 trials determine δp and δd poorly, and large ones let w wander: it is stopped below, "
            "where CRs and with them the inhibition set in, but not above; and the rate is 150 s old on "
            "average when it is used, so that δp stays too large while the rate falls",
        ),
    ]  # fmt: skip
    numbers = {
        model: {
            "unpaired": _bands(unpaired[model]),
            "paired": _bands(paired[model]),
            "constant": _bands(steady[model]),
            "own_calibrations_unpaired_mean_weight": own[model].mean_weight,
        }
        for model in ENGINES
    }
    return Reproduction(
        "16",
        "unpaired and paired training with the adaptive calibration",
        f"Unpaired: all IO detections of the session of figures 11 to 13 (seed {setting.seed}), shuffled "
        f"within their trials. Paired: sessions like it. {len(seeds)} of each, seeds from {setting.seed} on; "
        f"recalibrated every {config.recalibration.period_s:g} s; nothing is blanked.",
        (
            *ASSUMED,
            *COEFFICIENTS,
            "The paper put other trials' IO in place of what its stimulation had masked; ours was drawn, "
            "and is whole.",
        ),
        statements,
        numbers,
        lambda path: _draw_16(unpaired["fixed"], paired["fixed"], setting, path),
    )


def _over(above: Mapping[str, float], below: Mapping[str, float]) -> dict[str, float]:
    return {model: ratio(above[model], below[model]) for model in ENGINES}


def _farthest(course: npt.NDArray[np.float64], start: float) -> float:
    return float(course[np.abs(course - start).argmax()])


def _calibrations(setting: Setting) -> int:
    return min(setting.sessions or _CALIBRATIONS, _CALIBRATIONS)


def _own_calibrations(setting: Setting) -> dict[str, Course]:
    """The drift experiment: a training session and a calibration for each seed."""

    def make() -> dict[str, Course]:
        count = _calibrations(setting)
        seeds = range(setting.seed, setting.seed + count)
        with progress_bar("own calibrations", count, setting.console) as advance:
            found = run_drift(seeds, config=setting.config, progress=advance)
        return {model: found["unpaired", "recalibrated", model] for model in ENGINES}

    return setting.once("own calibrations", make)


def _draw_16(unpaired: Sessions, paired: Sessions, setting: Setting, path: Path) -> None:
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    figure.suptitle(
        f"Figure 16: with the adaptive calibration; grey: {unpaired.seeds.size} unpaired (fixed point)"
    )
    weight, timed = figure.subplots(1, 2)
    start = setting.config.weight.initial
    at = block_middles(_TOTAL)
    for axes, name, scale, limits, edge in (
        (weight, "weight", 1, (0.1, 1.0), 10), (timed, "well_timed", 100, (-5.0, 105.0), 90),
    ):  # fmt: skip
        blocks = scale * block_means(getattr(unpaired, name))
        draw_spread(axes, blocks, limits[0], limits[1], _TOTAL)
        axes.plot(at, blocks.mean(axis=0), color=BLUE, linewidth=2, linestyle=":", label="unpaired: mean")
        axes.plot(
            at, np.percentile(blocks, edge, axis=0), color=RED, linewidth=1.2, label=f"unpaired: {edge} %"
        )
        of_paired = scale * block_means(getattr(paired, name))
        axes.plot(at, of_paired.mean(axis=0), color=BLACK, linewidth=2, label="paired: mean")
        axes.plot(at, of_paired[0], color=BLACK, linewidth=0.8, label=f"paired: seed {setting.seed}")
        mark_phase(axes, PAIRED)
        axes.legend(fontsize=9)
    weight.axhspan(start - 0.1, start + 0.1, color=BLUE, alpha=0.08, linewidth=0)
    draw_levels(weight, setting.config)
    set_trials(weight, _TOTAL, "w at the CS", "memory parameter, blocks of 10; blue: ± 0.1 of the start")
    set_trials(timed, _TOTAL, "well-timed CRs (% of trials)", "behaviour")
    save_figure(figure, path)
