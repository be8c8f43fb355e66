"""Figure 10: the experiment, predicted from the training data.

Source: Herreros et al. 2014, "Optimization of the plasticity parameters and signal detection regimes".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ...golden_model.experiment.protocol import IO_QUALITY, Protocol
from ...golden_model.experiment.sessions import ProtocolDraw, Sessions
from .pictures import (
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
from .setting import ENGINES, Setting
from .statements import Limits, Reproduction, Statement

__all__ = ["figure_10"]

_SESSIONS = 2500
_PAIRED = 120
_ASYMPTOTE = slice(80, _PAIRED)
_EXTINCTION = slice(_PAIRED + 110, _PAIRED + 120)
"""The last block of the first 120 trials of CS alone."""
_ACQUIRED = 0.3
"""The calibration's goal for w."""
_PN_LATENCY_S = 0.0962
"""To draw below which w a CR is well-timed."""


def figure_10(setting: Setting) -> Reproduction:
    """Thousands of sessions at the detection rates of the training."""
    protocol = Protocol()
    config, seeds = setting.config, setting.seeds(_SESSIONS)
    many = setting.once(
        "prediction", lambda: setting.simulate("figure 10", ProtocolDraw(protocol, config), config, seeds)
    )
    # Read as the share with at least one detection in the window, spontaneous ones included.
    chance = 1 - math.exp(-IO_QUALITY.far_hz * (IO_QUALITY.window_s[1] - IO_QUALITY.window_s[0]))
    evoked = 1 - (1 - IO_QUALITY.tdr) / (1 - chance)
    poorer = replace(protocol, io=replace(IO_QUALITY, tdr=evoked))
    inclusive = setting.once(
        "prediction, inclusive",
        lambda: setting.simulate("IO, chance included", ProtocolDraw(poorer, config), config, seeds),
    )["fixed"]
    statements = _statements(many)
    return Reproduction(
        "10",
        "the experiment predicted from the training data",
        f"{_PAIRED} paired trials and {len(protocol.trials) - _PAIRED} CS alone, {len(seeds)} sessions, "
        f"seeds from {setting.seed} on; PN {protocol.pn.tdr:.1%}, {protocol.pn.far_hz:g} Hz, IO "
        f"{protocol.io.tdr:.1%}, {protocol.io.far_hz:g} Hz; δp = {config.plasticity.potentiation:g}, δd = "
        f"{config.plasticity.depression:g}.",
        (
            "δp and δd are printed in reverse in the text.",
            f"Acquisition: the first trial at which the mean w is below {_ACQUIRED:g}. Asymptote: trials 81 "
            f"to {_PAIRED}. Total extinction: no CR in the last ten of the first 120 trials of CS alone.",
            f"Spontaneous IO detections in the window come on top of the {IO_QUALITY.tdr:.1%}, so that "
            f"{1 - (1 - IO_QUALITY.tdr) * (1 - chance):.0%} of the US have a detection. Were they included "
            f"({evoked:.1%} evoked): acquisition in {_acquisition(inclusive):.0f} trials, asymptote "
            f"{_asymptote(inclusive):.0%}, total extinction in {_extinct(inclusive):.0%} of the sessions.",
        ),
        statements,
        {
            model: {
                "mean_weight": found.mean_weight,
                "well_timed_by_block": found.blocks(found.well_timed),
                "late_by_block": found.blocks(found.late),
                "acquisition_trials": _acquisition(found),
                "asymptote": _asymptote(found),
                "standard_error_of_asymptote": _asymptote_error(found),
                "total_extinction": _extinct(found),
            }
            for model, found in (*many.items(), ("fixed, chance included", inclusive))
        },
        lambda path: _draw(many["fixed"], setting, path),
    )


def _acquisition(found: Sessions) -> float:
    below = np.flatnonzero(found.mean_weight < _ACQUIRED)
    return float(below[0] + 1) if below.size else math.nan


def _asymptote(found: Sessions) -> float:
    return float(found.well_timed[:, _ASYMPTOTE].mean())


def _asymptote_error(found: Sessions) -> float:
    """Standard error over sessions."""
    shares = found.well_timed[:, _ASYMPTOTE].mean(axis=1)
    return float(shares.std() / math.sqrt(shares.size))


def _extinct(found: Sessions) -> float:
    return float((~found.responded[:, _EXTINCTION].any(axis=1)).mean())


def _extinct_timed(found: Sessions) -> float:
    return float((~found.well_timed[:, _EXTINCTION].any(axis=1)).mean())


def _statements(many: Mapping[str, Sessions]) -> list[Statement]:
    timed = {model: _extinct_timed(many[model]) for model in ENGINES}
    return [
        Statement(
            "Acquisition (trials to a mean w below 0.3)", "40 trials",
            {m: _acquisition(many[m]) for m in ENGINES}, Limits(30, 50), "{:.0f}",
        ),
        Statement(
            "Asymptote of well-timed CRs", "40 %",
            {m: _asymptote(many[m]) for m in ENGINES}, Limits(0.25, 0.45), "{:.1%}",
            {m: f"± {_asymptote_error(many[m]):.1%}" for m in ENGINES},
        ),
        Statement(
            "Total extinction of CRs after 120 trials of CS alone (share of sessions)", "low chance",
            {m: _extinct(many[m]) for m in ENGINES}, Limits(high=0.4999), "{:.0%}",
            {m: f"{timed[m]:.0%} if late CRs are not counted" for m in ENGINES},
        ),
    ]  # fmt: skip


def _draw(found: Sessions, setting: Setting, path: Path) -> None:
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    figure.suptitle(
        f"Figure 10: {found.seeds.size} sessions predicted from the training data (fixed point)", fontsize=13
    )
    weight, behaviour = figure.subplots(1, 2)
    trials = found.weight.shape[1]
    at, blocks, timed = block_middles(trials), block_means(found.weight), block_means(found.well_timed)
    draw_spread(weight, blocks, 0.1, 0.8, trials)
    weight.plot(at, blocks.mean(axis=0), color=BLUE, linewidth=2.5, label="mean")
    weight.plot(at, blocks[0], color=RED, linewidth=1.2, label=f"session of seed {found.seeds[0]}")
    due = Protocol.isi_s - 0.02
    draw_levels(weight, setting.config, due - _PN_LATENCY_S)
    draw_spread(behaviour, 100 * timed, -5, 105, trials)
    behaviour.plot(at, 100 * timed.mean(axis=0), color=BLUE, linewidth=2.5, label="mean")
    behaviour.plot(at, 100 * timed[0], color=RED, linewidth=1.2, label=f"session of seed {found.seeds[0]}")
    set_trials(weight, trials, "w at the CS", "memory parameter, blocks of 10; grey: its distribution")
    set_trials(behaviour, trials, "well-timed CRs (% of trials)", "behaviour")
    for axes in (weight, behaviour):
        mark_phase(axes, _PAIRED)
        axes.legend(fontsize=9)
    save_figure(figure, path)
