"""Figure 14: the drifting rate of the inferior olive, and what the chip makes of it.

Source: Herreros et al. 2014, "Instability of the activity during the recording".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ...golden_model.config import ChipConfig
from ...golden_model.events import Events, Recalibrations, Steps
from ...golden_model.experiment.protocol import IO_QUALITY
from .adaptive import ASSUMED as COEFFICIENTS
from .adaptive import recalibrating
from .channels import heard_io
from .experiment import drawn_events
from .pictures import (
    BLACK,
    GREY,
    MODEL_STYLE,
    RED,
    block_means,
    block_middles,
    mark_phase,
    save_figure,
    set_trials,
)  # fmt: skip
from .recorded import ASSUMED, BLANKED, CS_ALONE, PAIRED, SESSION
from .setting import Setting, Shown, equal_statements
from .statements import Limits, Reproduction, Statement

__all__ = ["figure_14"]

_EARLY, _LATE, _END = slice(0, 40), slice(PAIRED - 40, PAIRED), slice(-40, None)


def _config(setting: Setting) -> ChipConfig:
    return recalibrating(setting).replace(**BLANKED)


def _shown(setting: Setting) -> Shown:
    """The session of the experiment, recalibrating, in closed loop."""
    return setting.once(
        "rate", lambda: setting.show("recalibrating", drawn_events(setting), _config(setting), masked=True)
    )


def _counts(events: Events, step_s: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(IO detections heard, seconds in which the IO was not blanked), a trial."""
    edges = np.append(events.cs, events.n_steps)
    counts = np.diff(np.searchsorted(heard_io(events), edges))
    hidden = np.diff(_blanked_before(events.blanked, edges))
    return counts.astype(np.float64), (np.diff(edges) - hidden) * step_s


def _blanked_before(blanked: Steps, steps: Steps) -> Steps:
    """Blanked steps before each of these."""
    lengths = np.concatenate([[0], np.cumsum(blanked[:, 1] - blanked[:, 0])])
    passed = np.searchsorted(blanked[:, 1], steps)
    inside = np.zeros(steps.size, np.int64)
    within = (passed < len(blanked)) if len(blanked) else np.zeros(steps.size, bool)
    if within.any():
        inside[within] = np.maximum(steps[within] - blanked[passed[within], 0], 0)
    return np.asarray(lengths[passed] + inside)


def _rate(events: Events, step_s: float, trials: slice) -> float:
    counts, seconds = _counts(events, step_s)
    return float(counts[trials].sum() / seconds[trials].sum())


def _true_rate(events: Events, steps: Steps) -> npt.NDArray[np.float64]:
    return SESSION.io_rate_hz(steps, events.cs, events.n_steps)


def _bias(found: Recalibrations, events: Events, config: ChipConfig) -> float:
    """Mean of the chip's estimates over that of the spontaneous rates in the middles of their periods."""
    true = _true_rate(events, found.step - config.recalibration_steps // 2)
    return float(found.rate_hz.mean() / true.mean())


def figure_14(setting: Setting) -> Reproduction:
    """The IO rate in each trial, the rate that was drawn, and the chip's estimates."""
    shown, config = _shown(setting), _config(setting)
    step_s = config.time.step_s
    heard, results = shown.heard, shown.comparison.results
    rates = {
        model: [_rate(events, step_s, trials) for trials in (_EARLY, _LATE, _END)]
        for model, events in heard.items()
    }
    told = {model: " to ".join(f"{rate:.2f}" for rate in three) + " Hz" for model, three in rates.items()}
    found = {model: result.recalibrations for model, result in results.items()}
    bias = {
        m: _bias(rows, heard[m], config) for m, rows in found.items() if rows is not None and rows.step.size
    }
    over_all_time = {
        model: float(_counts(events, step_s)[0].sum() / (events.n_steps * step_s)
                     / (_counts(events, step_s)[0].sum() / _counts(events, step_s)[1].sum()))
        for model, events in heard.items()
    }  # fmt: skip
    statements = [
        Statement(
            "The IO rate rises in acquisition (last 40 trials over first 40)", "increased",
            {m: three[1] / three[0] for m, three in rates.items()}, Limits(low=1.15), "{:.2f}", told,
        ),
        Statement(
            "The IO rate falls in extinction (its last 40 trials over the last 40 of acquisition)",
            "decreased",
            {m: three[2] / three[1] for m, three in rates.items()}, Limits(high=0.85), "{:.2f}",
        ),
        Statement(
            "The chip's estimates follow it (their mean over that of the spontaneous rate; evoked "
            "detections are counted too, which makes it high)",
            "over-estimates in acquisition", bias, Limits(0.95, 1.15), "{:.2f}",
        ),
        Statement(
            "Counted over all time instead of the unblanked time, the rate would be too low (ratio)",
            "masked 2 s after each CR", over_all_time, Limits(high=0.97), "{:.2f}",
        ),
        *equal_statements([shown]),
    ]  # fmt: skip
    return Reproduction(
        "14",
        "fluctuations of the spontaneous IO rate",
        f"The session of figures 11 to 13, seed {setting.seed}, on a chip that recalibrates every "
        f"{config.recalibration.period_s:g} s.",
        (*ASSUMED, *COEFFICIENTS),
        statements,
        {
            "rate_by_block_hz": {m: _blocks(events, step_s) for m, events in heard.items()},
            "estimates": {
                model: {"trial": _trials(rows.step, heard[model]), "rate_hz": rows.rate_hz}
                for model, rows in found.items()
                if rows is not None
            },
        },
        lambda path: _draw(setting, path),
    )


def _blocks(events: Events, step_s: float) -> npt.NDArray[np.float64]:
    counts, seconds = _counts(events, step_s)
    return np.asarray(block_means(counts) / block_means(seconds))


def _trials(steps: Steps, events: Events) -> npt.NDArray[np.float64]:
    """Where steps are on the axis of trials."""
    return np.interp(steps, events.cs, np.arange(1, events.cs.size + 1))


def _draw(setting: Setting, path: Path) -> None:
    shown, config = _shown(setting), _config(setting)
    events, step_s = shown.heard["fixed"], config.time.step_s
    total = PAIRED + CS_ALONE
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    figure.suptitle(
        f"Figure 14: the IO rate in the experiment, and the chip's estimates of it (seed {setting.seed})"
    )
    axes = figure.subplots()
    counts, seconds = _counts(events, step_s)
    heard = seconds > 1.0
    at = np.arange(1, total + 1)
    axes.plot(at[heard], counts[heard] / seconds[heard], ".", color=GREY, markersize=4, label="each trial")
    axes.plot(block_middles(total), _blocks(events, step_s), color=BLACK, linewidth=1.8, label="blocks of 10")
    axes.plot(at, _true_rate(events, events.cs), color=RED, linewidth=1.5, linestyle="--", label="drawn")
    for model, result in shown.comparison.results.items():
        rows = result.recalibrations
        if rows is not None:
            # An estimate belongs to the period before it.
            middle = _trials(rows.step - config.recalibration_steps // 2, events)
            axes.plot(middle, rows.rate_hz, label=f"estimate, {model}", marker=".", **MODEL_STYLE[model])
    axes.axhline(IO_QUALITY.far_hz, color=GREY, linewidth=1, linestyle=":")
    mark_phase(axes, PAIRED)
    set_trials(axes, total, "IO detections (Hz)")
    axes.set_ylim(0, None)
    axes.legend(fontsize=9, ncols=2)
    save_figure(figure, path)
