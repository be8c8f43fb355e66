"""Figures 6 to 8: what the latencies of the inhibition and of the plasticity trace are good for.

Source: Herreros et al. 2014, "Effect of the latencies of the cerebellar model".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ...golden_model.config import ChipConfig
from ...golden_model.experiment.protocol import Protocol
from ...golden_model.experiment.sessions import ProtocolDraw, Sessions
from ..models import Comparison
from .pictures import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    RED,
    block_means,
    block_middles,
    draw_levels,
    draw_rasters,
    mark_phase,
    save_figure,
    save_rasters,
    set_trials,
)  # fmt: skip
from .setting import ENGINES, Setting
from .simulated import (
    ASSUMED,
    FAST_GOALS,
    LAST,
    METHODS,
    NOISY_TDR,
    PAIRED,
    PROMPT,
    SESSIONS,
    Windows,
    calibrated,
    paired_first,
    with_plasticity,
)  # fmt: skip
from .statements import Limits, Reproduction, Statement, ratio

__all__ = ["figure_6", "figure_7", "figure_8"]

_ALONE = 60
_PROMPT_NOI: dict[str, dict[str, Any]] = {"noi": {"delay_s": 0.0}}
"""The inhibition without delay: one step, which keeps the loop causal."""
_DELAYED, _NONE, _FAST, _NOISY = (
    "NOI delay 100 ms",
    "no delay",
    "no delay, twice as fast",
    "no delay, IO 50 %",
)
_COLOURS = {_DELAYED: BLUE, _NONE: BLACK, _FAST: RED, _NOISY: ORANGE}
_WELL_TIMED_LEVEL = 0.28
"""The text's limit: below, CRs come early enough."""
_ISI_S = 0.02
"""Figure 8: below the minimum, Λnoi = 100 ms, and so short that no CR can be well-timed."""
_TRACE_DELAYED, _TRACE_PROMPT = "trace delayed by 100 ms", "trace without delay"


@dataclass(frozen=True)
class _Condition:
    """A protocol and the configuration that it is run with."""

    protocol: Protocol
    config: ChipConfig

    @property
    def draw(self) -> ProtocolDraw:
        return ProtocolDraw(self.protocol, self.config)


@dataclass
class _Experiment:
    """Everything of figures 6 to 8 for detections in these windows."""

    setting: Setting
    windows: Windows
    conditions: dict[str, _Condition] = field(init=False)

    def __post_init__(self) -> None:
        base, windows = self.setting.config, self.windows
        delta = calibrated(base, windows=windows)
        fast = calibrated(base, windows=windows, goals=FAST_GOALS)
        noisy = calibrated(base, io_tdr=NOISY_TDR, windows=windows)
        usual = paired_first(_ALONE, windows=windows)
        poor = paired_first(_ALONE, io_tdr=NOISY_TDR, windows=windows)
        short = paired_first(_ALONE, isi_s=_ISI_S, windows=windows)
        stock = with_plasticity(base, delta)
        self.conditions = {
            _DELAYED: _Condition(usual, stock),
            _NONE: _Condition(usual, with_plasticity(base, delta, **_PROMPT_NOI)),
            _FAST: _Condition(usual, with_plasticity(base, fast, **_PROMPT_NOI)),
            _NOISY: _Condition(poor, with_plasticity(base, noisy, **_PROMPT_NOI)),
            _TRACE_DELAYED: _Condition(short, stock),
            _TRACE_PROMPT: _Condition(short, stock.replace(eligibility={"delay_s": 0.0})),
        }

    @classmethod
    def of(cls, setting: Setting, windows: Windows) -> _Experiment:
        return setting.once(f"latencies {windows}", lambda: cls(setting, windows))

    def many(self, name: str) -> dict[str, Sessions]:
        """Sessions of a condition, by model."""
        condition, setting = self.conditions[name], self.setting
        return setting.once(
            f"latencies {name} {self.windows}",
            lambda: setting.simulate(
                name,
                condition.draw,
                condition.config,
                setting.seeds(SESSIONS),
                isi_s=condition.protocol.isi_s,
            ),
        )

    def single(self, name: str) -> Comparison:
        """The session of the seed, on float and fixed."""
        condition, setting = self.conditions[name], self.setting
        return setting.once(
            f"latencies single {name} {self.windows}",
            lambda: (
                setting.models_only()
                .show(name, condition.draw(setting.seed), condition.config, isi_s=condition.protocol.isi_s)
                .comparison
            ),
        )

    def steps(self, *names: str) -> str:
        """δp and δd of conditions, told."""
        plasticity = [(name, self.conditions[name].config.plasticity) for name in names]
        return "; ".join(
            f"{name}: δp = {p.potentiation:.3g}, δd = {p.depression:.3g}" for name, p in plasticity
        )

    def numbers(self, *names: str) -> dict[str, Any]:
        """What the pictures show, and the values behind the statements."""
        return {name: {model: _summary(found) for model, found in self.many(name).items()} for name in names}


# --- values, of the last 40 paired trials ---------------------------------------------------------


def _each(many: Mapping[str, Sessions], value: Callable[[Sessions], float]) -> dict[str, float]:
    return {model: value(many[model]) for model in ENGINES}


def _responded(found: Sessions) -> float:
    return float(found.responded[:, LAST].mean())


def _well_timed(found: Sessions) -> float:
    return float(found.well_timed[:, LAST].mean())


def _weight(found: Sessions) -> float:
    return float(found.weight[:, LAST].mean())


def _latencies(found: Sessions) -> npt.NDArray[np.float64]:
    latency = found.latency_s[:, LAST]
    return np.asarray(latency[~np.isnan(latency)])


def _median_latency(found: Sessions) -> float:
    latency = _latencies(found)
    return float(np.median(latency)) if latency.size else float("nan")


def _before_us(found: Sessions) -> float:
    latency = _latencies(found)
    return float((latency < 0.3).mean()) if latency.size else 0.0


def _jitter(found: Sessions) -> float:
    """Standard deviation of w from trial to trial about its mean in the session."""
    return float(found.weight[:, LAST].std(axis=1).mean())


def _ratio(
    above: Mapping[str, Sessions], below: Mapping[str, Sessions], value: Callable[[Sessions], float]
) -> dict[str, float]:
    return {model: ratio(value(above[model]), value(below[model])) for model in ENGINES}


def _both(
    first: Mapping[str, Sessions],
    second: Mapping[str, Sessions],
    value: Callable[[Sessions], float],
    form: str,
) -> dict[str, str]:
    return {m: f"{form.format(value(first[m]))} against {form.format(value(second[m]))}" for m in ENGINES}


def _summary(found: Sessions) -> dict[str, Any]:
    return {
        "well_timed": _well_timed(found),
        "responded": _responded(found),
        "mean_weight": _weight(found),
        "jitter_of_weight": _jitter(found),
        "median_latency_s": _median_latency(found),
        "before_us": _before_us(found),
        "mean_weight_by_block": block_means(found.mean_weight),
    }


# --- what they test -------------------------------------------------------------------------------


def _statements_6(experiment: _Experiment) -> list[Statement]:
    delayed, prompt = experiment.many(_DELAYED), experiment.many(_NONE)
    shift = {m: _median_latency(prompt[m]) - _median_latency(delayed[m]) for m in ENGINES}
    return [
        Statement(
            "Without delay of the NOI CRs are triggered (share of trials)", "triggers CRs",
            _each(prompt, _responded), Limits(low=0.8), "{:.0%}",
        ),
        Statement(
            "The CR anticipates the US (share of CRs before it)", "anticipates",
            _each(prompt, _before_us), Limits(low=0.5), "{:.0%}",
        ),
        Statement(
            "The CR is too late to be well-timed (share of well-timed trials, without delay over with)",
            "maladaptively timed", _ratio(prompt, delayed, _well_timed), Limits(high=0.5), "{:.2f}",
            _both(prompt, delayed, _well_timed, "{:.1%}"),
        ),
        Statement(
            "w does not get low enough for well-timed CRs (mean w without delay)", "above 0.28",
            _each(prompt, _weight), Limits(low=_WELL_TIMED_LEVEL),
        ),
        Statement(
            "With the delay it does (mean w with it)", "below 0.28",
            _each(delayed, _weight), Limits(high=_WELL_TIMED_LEVEL),
        ),
        Statement(
            "CRs come later by about the delay (median latency without less that with)", "Λnoi = 100 ms",
            shift, Limits(0.07, 0.13), "{:.3f} s",
        ),
    ]  # fmt: skip


def _statements_7(experiment: _Experiment) -> list[Statement]:
    calm = experiment.many(_NONE)
    statements = []
    for name, what in ((_FAST, "Learning twice as fast"), (_NOISY, "IO detections lowered from 70 to 50 %")):
        noisy = experiment.many(name)
        statements += [
            Statement(
                f"{what}: some CRs are well-timed by accident (share, over that of figure 6)", "occasional",
                _ratio(noisy, calm, _well_timed), Limits(low=1.0), "{:.2f}",
                _both(noisy, calm, _well_timed, "{:.1%}"),
            ),
            Statement(
                f"{what}: w is more noisy (standard deviation in a session, over that of figure 6)",
                "more noisy", _ratio(noisy, calm, _jitter), Limits(low=1.05), "{:.2f}",
                _both(noisy, calm, _jitter, "{:.4f}"),
            ),
        ]  # fmt: skip
    return statements


def _statements_8(experiment: _Experiment) -> list[Statement]:
    prompt, delayed = experiment.many(_TRACE_PROMPT), experiment.many(_TRACE_DELAYED)
    return [
        Statement(
            "Without delay of the plasticity trace, CRs are acquired (share of trials)", "acquires",
            _each(prompt, _responded), Limits(low=0.5), "{:.0%}",
        ),
        Statement(
            "These CRs can only be late (well-timed share)", "late by definition",
            _each(prompt, _well_timed), Limits(high=0.01), "{:.1%}",
        ),
        Statement(
            "With the delay, no association is built (share of trials with a CR)", "none",
            _each(delayed, _responded), Limits(high=0.05), "{:.1%}",
        ),
    ]  # fmt: skip


def _reproduction(
    figure: str,
    title: str,
    setting: Setting,
    test: Callable[[_Experiment], list[Statement]],
    names: tuple[str, ...],
    assumptions: tuple[str, ...],
    draw: Callable[[_Experiment, Path], None],
) -> Reproduction:
    """Statements with prompt detections; told and in the numbers, which of them need these."""
    experiment, wide = (_Experiment.of(setting, windows) for windows in (PROMPT, METHODS))
    with_methods = test(wide)
    failed = [
        f"{statement.text}: {statement.cell('fixed')}" for statement in with_methods if not statement.holds
    ]
    told = f"With detections anywhere in the windows of Methods instead ({METHODS}): " + (
        "these do not hold: " + "; ".join(failed) if failed else "all hold too"
    )
    return Reproduction(
        figure,
        title,
        f"{PAIRED} paired trials and {_ALONE} CS alone, {len(setting.seeds(SESSIONS))} sessions, seeds from "
        f"{setting.seed} on; values of the last 40 paired trials. Rasters: fixed point, seed {setting.seed}.",
        (*ASSUMED, *assumptions, experiment.steps(*names), told),
        test(experiment),
        {
            "prompt": experiment.numbers(*names),
            "methods": wide.numbers(*names),
            "statements_with_windows_of_methods": [statement.facts() for statement in with_methods],
        },
        lambda path: draw(experiment, path),
    )


def figure_6(setting: Setting) -> Reproduction:
    """The inhibition with and without delay."""
    return _reproduction(
        "6", "the nucleo-olivary inhibition (NOI) with and without delay", setting, _statements_6,
        (_DELAYED, _NONE), (),
        lambda experiment, path: _draw(
            experiment, (_NONE,), (_DELAYED, _NONE), path, "Figure 6: NOI without delay"
        ),
    )  # fmt: skip


def figure_7(setting: Setting) -> Reproduction:
    """The inhibition without delay, with more noise in w."""
    return _reproduction(
        "7", "NOI without delay, with more noise in w", setting, _statements_7, (_NONE, _FAST, _NOISY),
        ("Each condition has δp and δd calibrated for it.",),
        lambda experiment, path: _draw(
            experiment, (_FAST, _NOISY), (_NONE, _FAST, _NOISY), path,
            "Figure 7: NOI without delay, more noise",
        ),
    )  # fmt: skip


def figure_8(setting: Setting) -> Reproduction:
    """The plasticity trace with and without delay, at an ISI below the minimum."""
    isi = f"ISI {1000 * _ISI_S:.0f} ms"
    return _reproduction(
        "8",
        "the plasticity trace with and without delay, at an ISI below the minimum", setting, _statements_8,
        (_TRACE_DELAYED, _TRACE_PROMPT), (f"{isi}; the paper's is not in the text.",),
        lambda experiment, path: save_rasters(
            [(name, experiment.single(name)) for name in (_TRACE_DELAYED, _TRACE_PROMPT)], path,
            f"Figure 8: {isi}, below the minimum (seed {setting.seed})", (-0.05, 0.4),
        ),
    )  # fmt: skip


def _draw(
    experiment: _Experiment, rasters: tuple[str, ...], courses: tuple[str, ...], path: Path, title: str
) -> None:
    """Rasters of single sessions, and the course of w: single (thin) and mean."""
    setting = experiment.setting
    figure = Figure(figsize=(5.8 * (1 + len(rasters)), 6.5), layout="constrained")
    figure.suptitle(f"{title} (seed {setting.seed})", fontsize=13)
    axes = figure.subplots(1, 1 + len(rasters))
    for index, name in enumerate(rasters):
        draw_rasters(axes[index], experiment.single(name))
        axes[index].set_title(name, fontsize=10.5)
        axes[index].set_xlim(-0.1, 0.6)
        axes[index].get_legend().set(visible=not index)
    weight, trials = axes[-1], PAIRED + _ALONE
    at = block_middles(trials)
    for name in courses:
        found = experiment.many(name)["fixed"]
        weight.plot(at, block_means(found.mean_weight), color=_COLOURS[name], linewidth=2.5, label=name)
        weight.plot(at, block_means(found.weight[0]), color=_COLOURS[name], linewidth=0.8)
    draw_levels(weight, setting.config)
    label = f"well-timed below {_WELL_TIMED_LEVEL:g}"
    weight.axhline(_WELL_TIMED_LEVEL, color=GREEN, linewidth=1, linestyle="--", label=label)
    mark_phase(weight, PAIRED)
    set_trials(weight, trials, "w at the CS", "mean of all sessions, and one (thin); blocks of 10")
    weight.legend(fontsize=9)
    save_figure(figure, path)
