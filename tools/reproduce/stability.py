"""Figures 4 and 5, and savings: learning with and without the stability constraint.

Source: Herreros et al. 2014, "Performance of the model with spontaneous activity in the IO"; savings: its
introduction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ...golden_model.config import ChipConfig
from ...golden_model.experiment.sessions import ProtocolDraw, Sessions
from .pictures import (
    BLUE,
    MODEL_STYLE,
    ORANGE,
    block_means,
    block_middles,
    draw_levels,
    firing_level,
    mark_phase,
    save_figure,
    save_rasters,
    set_trials,
)  # fmt: skip
from .setting import ENGINES, Setting, Shown, equal_statements
from .simulated import ASSUMED, LAST, PAIRED, SESSIONS, calibrated, paired_first, with_plasticity
from .statements import Limits, Reproduction, Statement, ratio

__all__ = ["figure_4", "figure_5", "savings"]

_ALONE, _AGAIN = 420, 120
_LENGTH = (
    f"{PAIRED} paired trials, then {_ALONE} CS alone, so many that CRs are extinguished, as its protocol "
    "asks; the paper's numbers for these figures are not in the text."
)
_END = slice(-40, None)
_ACQUIRED, _EXTINGUISHED = 0.10, 0.05
_LEARNT = 0.5
"""Acquired once so many of the sessions respond."""
_WITH, _WITHOUT = "with", "without"
_COLOURS = {_WITH: BLUE, _WITHOUT: ORANGE}


def _configs(setting: Setting) -> dict[str, ChipConfig]:
    """By constraint."""

    def make() -> dict[str, ChipConfig]:
        return {
            name: with_plasticity(setting.config, calibrated(setting.config, stable=name == _WITH))
            for name in (_WITH, _WITHOUT)
        }

    return setting.once("stability configs", make)


def _shown(setting: Setting) -> dict[str, Shown]:
    events = paired_first(_ALONE).events(setting.config, setting.seed)

    def make() -> dict[str, Shown]:
        return {
            name: setting.show(f"{name} stability", events, config)
            for name, config in _configs(setting).items()
        }

    return setting.once("stability shown", make)


def _many(setting: Setting) -> dict[str, dict[str, Sessions]]:
    draw = ProtocolDraw(paired_first(_ALONE, again=_AGAIN), setting.config)

    def make() -> dict[str, dict[str, Sessions]]:
        return {
            name: setting.simulate(f"{name} stability", draw, config, setting.seeds(SESSIONS))
            for name, config in _configs(setting).items()
        }

    return setting.once("stability sessions", make)


def _steps(setting: Setting) -> str:
    described = [
        f"{name} the constraint δp = {config.plasticity.potentiation:.3g}, δd = "
        f"{config.plasticity.depression:.3g}"
        for name, config in _configs(setting).items()
    ]
    return "; ".join(described) + "."


def figure_4(setting: Setting) -> Reproduction:
    """Rasters of one session with and one without the stability constraint."""
    shown = _shown(setting)
    statements = []
    for name, one in shown.items():
        scores = one.comparison.scores
        learnt = {model: float(s.well_timed[LAST].mean()) for model, s in scores.items()}
        left = {model: float(s.well_timed[_END].mean()) for model, s in scores.items()}
        statements += [
            Statement(
                f"{name.capitalize()} the constraint, CS-US pairs teach well-timed CRs (share of the last 40 "
                "paired)",
                "acquires", learnt, Limits(low=_ACQUIRED), "{:.0%}",
            ),
            Statement(
                f"{name.capitalize()} it, CS alone extinguishes them (share of the last 40 CS alone)",
                "extinguishes", left, Limits(high=_EXTINGUISHED), "{:.0%}",
            ),
        ]  # fmt: skip
    statements += equal_statements(list(shown.values()))
    return Reproduction(
        "4",
        "sessions with and without the stability constraint",
        f"One session, seed {setting.seed}, with each.",
        (*ASSUMED, _LENGTH, _steps(setting)),
        statements,
        {name: one.comparison.summary()["models"] for name, one in shown.items()},
        lambda path: save_rasters(
            [(f"{name} stability constraint", one.comparison) for name, one in shown.items()], path,
            f"Figure 4: one session {_WITH} and one {_WITHOUT} the stability constraint (seed "
            f"{setting.seed})",
        ),
    )  # fmt: skip


def _below(course: np.ndarray, level: float) -> float:
    """First trial, from 1, with less than this; infinite if there is none."""
    where = np.flatnonzero(course < level)
    return float(where[0] + 1) if where.size else math.inf


def _extinction(found: Sessions) -> float:
    """CS-alone trials until well-timed CRs are below the acquired share, by blocks."""
    blocks = found.blocks(found.well_timed[:, PAIRED : PAIRED + _ALONE])
    return 10 * (_below(blocks, _ACQUIRED) - 1)


def figure_5(setting: Setting) -> Reproduction:
    """Behaviour and w with and without the stability constraint."""
    many, shown = _many(setting), _shown(setting)
    phase = slice(PAIRED, PAIRED + _ALONE)
    fires = firing_level(setting.config, setting.config.trace.duration_s)
    acquired, left, plateau, growth, slower = {}, {}, {}, {}, {}
    details = {}
    for model in ENGINES:
        stable, free = many[_WITH][model], many[_WITHOUT][model]
        acquired[model] = float(min(f.well_timed[:, LAST].mean() for f in (stable, free)))
        left[model] = float(max(f.responded[:, phase][:, _END].mean() for f in (stable, free)))
        course, other = (f.mean_weight[phase] for f in (stable, free))
        plateau[model] = float(course[-1] - course[-61])
        growth[model] = float(other.max() - max(fires, other[0]))
        ends = [_extinction(f) for f in (stable, free)]
        slower[model] = ratio(*ends)
        details[model] = f"{ends[0]:.0f} : {ends[1]:.0f} trials"
    statements = [
        Statement(
            "Both acquire well-timed CRs (the lesser share of the last 40 paired)", "similar in behaviour",
            acquired, Limits(low=_ACQUIRED), "{:.0%}",
        ),
        Statement(
            "Extinction is slower with the constraint (trials to below 10 % well-timed, ratio)", "slower",
            slower, Limits(low=1.05), "{:.1f}", details,
        ),
        Statement(
            "CS alone extinguishes CRs, late ones too (the larger share of the last 40 CS alone)",
            "complete extinction", left, Limits(high=0.15), "{:.0%}",
        ),
        Statement(
            "With it, w comes to a plateau (change of the mean w in the last 60 trials of CS alone)",
            "stable plateau", plateau, Limits(-0.03, 0.03), "{:+.3f}",
        ),
        Statement(
            "Without it, w goes on growing beyond the level of extinction (by so much)", "grows",
            growth, Limits(low=0.1), "{:+.2f}",
        ),
        *equal_statements(list(shown.values())),
    ]  # fmt: skip
    return Reproduction(
        "5",
        "behaviour and w with and without the stability constraint",
        f"Means of {len(setting.seeds(SESSIONS))} sessions each, seeds from {setting.seed} on; drawn thin, "
        f"the session of seed {setting.seed}.",
        (*ASSUMED, _LENGTH, _steps(setting), "The weight's format ends at 1: so does the growth of w."),
        statements,
        {
            name: {
                model: {
                    "mean_weight_by_block": block_means(found.mean_weight[: PAIRED + _ALONE]),
                    "well_timed_by_block": found.blocks(found.well_timed[:, : PAIRED + _ALONE]),
                    "cr_by_block": found.blocks(found.responded[:, : PAIRED + _ALONE]),
                }
                for model, found in by_model.items()
            }
            for name, by_model in many.items()
        },
        lambda path: _draw_5(many, shown, setting, path),
    )


def _draw_5(
    many: Mapping[str, Mapping[str, Sessions]], shown: Mapping[str, Shown], setting: Setting, path: Path
) -> None:
    figure = Figure(figsize=(13, 5), layout="constrained")
    figure.suptitle("Figure 5: with and without the stability constraint", fontsize=13)
    behaviour, weight = figure.subplots(1, 2)
    trials = PAIRED + _ALONE
    at = block_middles(trials)
    for name, by_model in many.items():
        found, one = by_model["fixed"], shown[name].comparison.scores["fixed"]
        colour = _COLOURS[name]
        behaviour.plot(
            at, 100 * found.blocks(found.well_timed[:, :trials]), color=colour, linewidth=2,
            label=f"{name}: well-timed",
        )  # fmt: skip
        behaviour.plot(
            at, 100 * found.blocks(found.responded[:, :trials]), color=colour, linewidth=1.3, linestyle="--",
            label=f"{name}: any CR",
        )  # fmt: skip
        weight.plot(at, block_means(found.mean_weight[:trials]), color=colour, linewidth=2.5, label=name)
        weight.plot(at, block_means(one.weight), color=colour, linewidth=0.8)
    draw_levels(weight, setting.config)
    set_trials(behaviour, trials, "trials with CRs (%)", "behaviour")
    set_trials(weight, trials, "mean w at the CS", "memory parameter")
    for axes in (behaviour, weight):
        mark_phase(axes, PAIRED)
        axes.legend(fontsize=9)
    save_figure(figure, path)


def savings(setting: Setting) -> Reproduction:
    """Acquisition, extinction, and acquisition again: faster the second time, if w was kept near."""
    many = _many(setting)
    again = slice(PAIRED + _ALONE, PAIRED + _ALONE + _AGAIN)
    trials: dict[str, dict[str, list[float]]] = {
        name: {
            model: [
                _below(-f.responded[:, phase].mean(axis=0), -_LEARNT) for phase in (slice(0, PAIRED), again)
            ]
            for model, f in by_model.items()
        }
        for name, by_model in many.items()
    }
    told = {
        name: {
            model: " then ".join("never" if math.isinf(n) else f"{n:.0f}" for n in pair) + " trials"
            for model, pair in by_model.items()
        }
        for name, by_model in trials.items()
    }
    again_over_first = {
        name: {model: ratio(second, first) for model, (first, second) in by_model.items()}
        for name, by_model in trials.items()
    }
    timed = {
        model: [float(f.well_timed[:, start : start + 40].mean()) for start in (0, again.start)]
        for model, f in many[_WITH].items()
    }
    statements = [
        Statement(
            "CRs are acquired faster after extinction (trials until half of the sessions respond, second / "
            "first)",
            "more rapidly acquired", again_over_first[_WITH], Limits(high=0.9), "{:.2f}", told[_WITH],
        ),
        Statement(
            "Well-timed CRs come back sooner (share of the first 40 paired trials, second / first)",
            "more rapidly acquired",
            {model: ratio(second, first) for model, (first, second) in timed.items()},
            Limits(low=1.1), "{:.1f}",
            {model: f"{first:.1%}, then {second:.1%}" for model, (first, second) in timed.items()},
        ),
        Statement(
            "Without the stability constraint, reacquisition can be harder than acquisition",
            "harder", again_over_first[_WITHOUT], Limits(low=1.1), "{:.2f}", told[_WITHOUT],
        ),
    ]  # fmt: skip
    return Reproduction(
        "savings",
        "reacquisition after extinction",
        f"{PAIRED} paired trials, {_ALONE} CS alone, {_AGAIN} paired; means of "
        f"{len(setting.seeds(SESSIONS))} sessions, seeds from {setting.seed} on.",
        (*ASSUMED, _steps(setting)),
        statements,
        {
            "trials_to_acquire": trials,
            "mean_weight": {
                name: {model: f.mean_weight for model, f in by_model.items()}
                for name, by_model in many.items()
            },
        },
        lambda path: _draw_savings(many, setting, path),
    )


def _draw_savings(many: Mapping[str, Mapping[str, Sessions]], setting: Setting, path: Path) -> None:
    figure = Figure(figsize=(13, 5), layout="constrained")
    figure.suptitle("Savings: acquisition, and acquisition again after extinction", fontsize=13)
    course, compared = figure.subplots(1, 2, width_ratios=(1.5, 1))
    total = PAIRED + _ALONE + _AGAIN
    for name, by_model in many.items():
        for model, found in by_model.items():
            style = MODEL_STYLE[model] | {"color": _COLOURS[name]}
            style["linewidth"] = 3.5 if model == "float" else 1.2
            if model == "float":
                style["alpha"] = 0.4
            course.plot(np.arange(1, total + 1), found.mean_weight, label=f"{name}, {model}", **style)
        found = by_model["fixed"]
        start = PAIRED + _ALONE
        for label, phase, line in (
            ("first time", slice(0, PAIRED), "--"), ("again", slice(start, start + _AGAIN), "-"),
        ):  # fmt: skip
            share = 100 * found.blocks(found.responded[:, phase])
            compared.plot(
                block_middles(PAIRED), share, line, color=_COLOURS[name], linewidth=1.8,
                label=f"{name}, {label}",
            )  # fmt: skip
    draw_levels(course, setting.config)
    mark_phase(course, PAIRED, PAIRED + _ALONE)
    set_trials(course, total, "mean w at the CS", "memory parameter (paired | CS alone | paired)")
    set_trials(compared, PAIRED, "trials with CRs (%)", "CRs, from the start of each acquisition")
    course.legend(fontsize=9)
    compared.legend(fontsize=9, title="stability constraint")
    save_figure(figure, path)
