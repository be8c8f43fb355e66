"""Figures 3 and 4 of the CFPC paper: smooth pursuit before and after learning; learning curves of rules.

Source: Herreros, Arsiwalla and Verschure 2016, 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.lag import Lag
from ...golden_model.cfpc.learning import RULES, Batch, Stability, rule
from ...golden_model.cfpc.systems import Reals
from ..cfpc.picture import draw_signals, set_curve
from ..cfpc.run import Run, deviation, first_difference, run_on
from ..cfpc.task import Task
from .pictures import BLACK, BLUE, GREEN, GREY, ORANGE, RED, save_figure
from .setting import ENGINES, Setting
from .statements import Limits, Reproduction, Statement

__all__ = ["cfpc_3", "cfpc_4"]

SOURCE = "Herreros, Arsiwalla and Verschure 2016, NIPS 29"
_TRIALS = 50
_SETTLED = 0.05
"""Of the movement's height."""
_ONSET = 0.05
"""Of the largest o."""
_ASSUMED = (
    "Not in the paper: the first of the 20 bases is centred 0.2 s after the start of the trial, which sets "
    "the optimum; a rate of 0.005 in batch and 2^-8 on-line.",
    "The gain of the plant is in kp and ki: the leaky integrator of 100 ms is not normalised.",
)
_LEARNING = "On-line: w changes in every step, and plant and filter go on from trial to trial without rest."
_REFERENCE_VALUES: Mapping[str, tuple[float, float, float]] = {
    "FM-ET": (0.0606, 0.0602, 0.0602),
    "WH+50 ms": (0.110, 0.0691, 0.0644),
    "WH+70 ms": (0.0746, 0.0619, 0.0620),
    "on-line": (0.0706, 0.0664, 0.0664),
}
_AT = (7, 20, 50)
"""Trials of these."""


def _task(setting: Setting) -> Task:
    return setting.once("cfpc task", lambda: Task.of(CfpcConfig.make()))


def _runs(setting: Setting) -> dict[str, Run]:
    """Trials on-line, on float, fixed and, unless left out, RTL."""
    models = (*ENGINES, "rtl") if setting.simulator is not None else ENGINES

    def make() -> dict[str, Run]:
        return {m: run_on(m, _task(setting), _TRIALS, setting.console, "pursuit, ") for m in models}

    return setting.once("cfpc runs", make)


def _equal_statements(setting: Setting) -> list[Statement]:
    """That RTL equals fixed point; none where RTL is left out."""
    task, runs = _task(setting), _runs(setting)
    if "rtl" not in runs:
        return []
    difference = setting.once("cfpc difference", lambda: first_difference(task, runs["fixed"], runs["rtl"]))
    return [
        Statement(
            f"RTL equals fixed in o, h and w at each of {_TRIALS * task.reference.size:,} steps (1 if not)",
            "",
            {"rtl": float(difference is not None)}, Limits(0, 0), "{:.0f}",
            reason="" if difference is None else difference.describe(),
        )
    ]  # fmt: skip


# --- figure 3 ---------------------------------------------------------------------------------


def cfpc_3(setting: Setting) -> Reproduction:
    """Position, error and feed-forward signal before and after learning."""
    task, runs = _task(setting), _runs(setting)
    step_s = task.config.time.step_s
    lag = {m: Lag.of(task.reference, run.course.first.y, step_s) for m, run in runs.items()}
    after = {m: Lag.of(task.reference, run.course.last.y, step_s) for m, run in runs.items()}
    reactive = Lag.of(task.reference, task.reactive, step_s)
    statements = [
        Statement(
            "In the first trial y lags r (at half height of the first movement)", "about 100 ms",
            {m: 1000 * found.half_height for m, found in lag.items()}, Limits(80, 120), "{:.0f} ms",
            {m: f"{1000 * found.along:.0f} ms along it" for m, found in lag.items()},
        ),
        Statement(
            "Before any learning, w = 0, it does so too", "about 100 ms",
            {"float": 1000 * reactive.half_height}, Limits(80, 120), "{:.0f} ms",
            {"float": f"{1000 * reactive.along:.0f} ms along it"},
        ),
        Statement(
            f"It converges to the position while the target remains still (time until within {_SETTLED:.0%})",
            "about 300 ms",
            {m: 1000 * _settling_s(task, run.course.first.y) for m, run in runs.items()},
            Limits(200, 350), "{:.0f} ms",
        ),
        Statement(
            f"After learning y tracks r without delay (lag at half height in trial {_TRIALS})", "none",
            {m: 1000 * found.half_height for m, found in after.items()}, Limits(-5, 5), "{:.1f} ms",
            {m: f"{1000 * found.along:.1f} ms along it" for m, found in after.items()},
        ),
        Statement(
            "o leads the onsets and offsets of the target's movements (mean of four)", "about 100 ms",
            {m: 1000 * _lead_s(task, run.course.last.o) for m, run in runs.items()},
            Limits(80, 120), "{:.0f} ms",
        ),
        Statement(
            f"The error almost disappears (relative RMSE in trial {_TRIALS})", "almost completely",
            {m: float(run.course.relative[-1]) for m, run in runs.items()}, Limits(high=0.1), "{:.4f}",
        ),
        *_equal_statements(setting),
    ]  # fmt: skip
    shown = runs["fixed"].course
    every = slice(None, None, 10)
    signals = {"r": task.reference, "y[1]": shown.first.y, f"y[{_TRIALS}]": shown.last.y}
    signals |= {"e[1]": task.reference - shown.first.y, f"e[{_TRIALS}]": task.reference - shown.last.y}
    return Reproduction(
        "cfpc-3",
        "smooth pursuit before and after learning",
        f"{_TRIALS} trials on-line by FM-ET. Shown: fixed point.",
        (
            *_ASSUMED,
            _LEARNING,
            f"The change of o counts from where it is {_ONSET:.0%} of the largest o; half way through, o is "
            f"{1000 * _lead_s(task, shown.last.o, 0.5):.0f} ms ahead.",
            f"Converged is within {_SETTLED:.0%} of the movement's height; y[1] comes within 2 % after "
            f"{1000 * _settling_s(task, shown.first.y, 0.02):.0f} ms.",
        ),
        statements,
        {
            "every_10_steps_of_fixed": {
                name: signal[every] for name, signal in (signals | {f"o[{_TRIALS}]": shown.last.o}).items()
            },
            "lag_s": {
                "reactive": asdict(reactive),
                "first": {m: asdict(found) for m, found in lag.items()},
                "last": {m: asdict(found) for m, found in after.items()},
            },
        },
        lambda path: _draw_3(setting, path),
        source=SOURCE,
        config_sha256=task.config.digest,
    )


def _settling_s(task: Task, output: Reals, share: float = _SETTLED) -> float:
    """From where the target stops until the output is near it, and stays so while it is still."""
    top = float(task.reference.max())
    still = np.flatnonzero(task.reference == top)
    away = np.flatnonzero(np.abs(output - task.reference)[still] > share * top)
    if away.size and away[-1] == still.size - 1:
        return float("nan")
    return float(away[-1] + 1 if away.size else 0) * task.config.time.step_s


def _lead_s(task: Task, o: Reals, share: float = _ONSET) -> float:
    """Mean time from where o changes to where the target's velocity does, at each point of the reference."""
    step_s, points = task.config.time.step_s, task.config.task.reference
    largest = float(np.abs(o).max())
    if not largest:
        return float("nan")
    leads = []
    for (start_s, before), (stop_s, after) in zip(points[0::2], points[1::2], strict=True):
        around_s = (stop_s - start_s) / 2
        begin, end = (round(at_s / step_s) for at_s in (start_s - around_s, stop_s + around_s))
        forward = np.sign(after - before) * o[begin:end]
        top = int(forward.argmax())
        onset = _first(forward > share * largest) - 1
        offset = top + _first(forward[top:] < forward[top] - share * largest) - 1
        leads += [start_s - (begin + onset) * step_s, stop_s - (begin + offset) * step_s]
    return float(np.mean(leads))


def _draw_3(setting: Setting, path: Path) -> None:
    figure = Figure(figsize=(13, 5), layout="constrained")
    figure.suptitle("CFPC, figure 3: before and after learning (fixed point)", fontsize=13)
    position, error = figure.subplots(1, 2)
    draw_signals(position, error, _task(setting), _runs(setting)["fixed"])
    save_figure(figure, path)


# --- figure 4 ---------------------------------------------------------------------------------


def _batches(setting: Setting) -> dict[str, tuple[Batch, Stability]]:
    """Trials in batch, rule by rule."""

    def make() -> dict[str, tuple[Batch, Stability]]:
        problem, found = _task(setting).problem, {}
        for name in RULES:
            config = rule(name, _task(setting).config)
            rate = config.learning.batch_rate
            batch = problem.learn(config.traces, rate, _TRIALS)
            found[name] = batch, problem.stability(config.traces, rate)
        return found

    return setting.once("cfpc batches", make)


def cfpc_4(setting: Setting) -> Reproduction:
    """Learning curves of the rules, and of the on-line rule on each model."""
    task, runs, found = _task(setting), _runs(setting), _batches(setting)
    curves = {name: batch.relative for name, (batch, _) in found.items()}
    optimum = task.optimum_rmse / task.reactive_rmse
    online = {m: run.course.relative for m, run in runs.items()}
    near = {name: _first(curves[name] <= 1.1 * optimum) for name in RULES}
    worse = _first(curves["WH"][1:] > 1) + 1
    statements = [
        Statement(
            "By trial 7 FM-ET has almost converged to the optimum (batch: relative RMSE over the optimum's)",
            "almost converged",
            {"float": float(curves["FM-ET"][6] / optimum)}, Limits(high=1.05), "{:.3f}",
        ),
        Statement(
            "By trial 7 it has so on-line too (relative RMSE over that of trial 50)", "almost converged",
            {m: float(curve[6] / curve[-1]) for m, curve in online.items()}, Limits(0.9, 1.1), "{:.3f}",
        ),
        Statement(
            "WH worsens rapidly (first trial with a larger error than trial 1)", "worsens rapidly",
            {"float": worse}, Limits(high=20), "{:.0f}",
            {"float": f"relative RMSE {curves['WH'][-1]:.0f} in trial {_TRIALS}"},
        ),
        Statement(
            f"WH+50 ms improves (relative RMSE in trial {_TRIALS})", "improves",
            {"float": float(curves["WH+50 ms"][-1])}, Limits(high=0.1), "{:.4f}",
        ),
        Statement(
            "but not as fast as FM-ET (trials to within 10 % of the optimum, ratio)", "not as fast",
            {"float": near["WH+50 ms"] / near["FM-ET"]}, Limits(low=1.5), "{:.1f}",
            {"float": f"{near['WH+50 ms']:.0f} against {near['FM-ET']:.0f}"},
        ),
        Statement(
            f"WH+70 ms performs almost as good as FM-ET (relative RMSE in trial {_TRIALS}, ratio)",
            "almost as good",
            {"float": float(curves["WH+70 ms"][-1] / curves["FM-ET"][-1])}, Limits(high=1.05), "{:.3f}",
        ),
        *(
            _reference_statement(f"{name}, batch", name, {"float": curves[name]})
            for name in RULES if name in _REFERENCE_VALUES
        ),
        _reference_statement("FM-ET, on-line", "on-line", online),
        Statement(
            "On-line, fixed point learns like float (largest deviation of the RMSE in any trial)", "",
            {"fixed": deviation(runs["fixed"], runs["float"])[0]}, Limits(high=0.002), "{:.3%}",
        ),
        *_equal_statements(setting),
    ]  # fmt: skip
    first = float(runs["float"].course.rmse[0])
    scaled = task.optimum_rmse / first
    return Reproduction(
        "cfpc-4",
        "learning curves of four rules",
        f"{_TRIALS} trials: each rule in batch (float), FM-ET on-line on each model.",
        (
            *_ASSUMED,
            _LEARNING,
            "Relative RMSE: each curve as a share of its own first trial. On-line that is "
            f"{1 - first / task.reactive_rmse:.1%} smaller, since the filter learns within it; on its scale "
            f"the optimum is {scaled:.4f} in place of {optimum:.4f}.",
            "The paper has no numbers of its curves; those compared with are of a separate simulation of the "
            "same equations, step by step.",
        ),
        statements,
        {
            "optimum": optimum,
            "batch": curves,
            "online": online,
            "stability": {name: asdict(s) | {"stable": s.stable} for name, (_, s) in found.items()},
        },
        lambda path: _draw_4(curves, online, (optimum, scaled), path),
        source=SOURCE,
        config_sha256=task.config.digest,
    )


def _first(holds: np.ndarray) -> float:
    """Where it first holds, from 1; infinite if nowhere."""
    where = np.flatnonzero(holds)
    return float(where[0] + 1) if where.size else float("inf")


def _reference_statement(text: str, name: str, curves: Mapping[str, Reals]) -> Statement:
    """Learning curves at three trials, and what is expected there."""
    wanted = np.array(_REFERENCE_VALUES[name])
    at = [trial - 1 for trial in _AT]
    found = {model: curve[at] for model, curve in curves.items()}
    return Statement(
        f"{text}: relative RMSE of trials {', '.join(map(str, _AT))} (farthest from "
        f"{', '.join(f'{value:.4f}' for value in wanted)})", "",
        {model: float(np.abs(values / wanted - 1).max()) for model, values in found.items()},
        Limits(high=0.02), "{:.2%}",
        {model: ", ".join(f"{value:.4f}" for value in values) for model, values in found.items()},
    )  # fmt: skip


_COLOURS = {"WH": RED, "WH+50 ms": ORANGE, "WH+70 ms": GREEN, "FM-ET": BLUE}


def _draw_4(
    curves: Mapping[str, Reals], online: Mapping[str, Reals], optima: tuple[float, float], path: Path
) -> None:
    """With the optimum on the scales of the two kinds of curves."""
    optimum, scaled = optima
    figure = Figure(figsize=(13, 5), layout="constrained")
    figure.suptitle("CFPC, figure 4: relative RMSE with different learning rules", fontsize=13)
    whole, detail = figure.subplots(1, 2)
    for axes in (whole, detail):
        _draw_curves(axes, curves, online)
        set_curve(axes, curves, optimum, "optimum, w* = (TX)⁺e0")
        axes.set(yscale="linear", xlim=(0, _TRIALS))
    whole.set(ylim=(0, 1), title="as in the paper")
    detail.set(ylim=(0.95 * optimum, 2 * optimum), title="near the optimum")
    line = detail.axhline(scaled, color=BLACK, linewidth=1, linestyle=":", label="optimum, scale of on-line")
    detail.legend(handles=[line], fontsize=9, framealpha=0.9)
    save_figure(figure, path)


def _draw_curves(axes: Axes, curves: Mapping[str, Reals], online: Mapping[str, Reals]) -> None:
    trials = np.arange(1, _TRIALS + 1)
    for name in _COLOURS:
        axes.plot(trials, curves[name], color=_COLOURS[name], linewidth=2, label=name)
    axes.plot(trials, online["float"], color=GREY, linewidth=3.5, alpha=0.6, label="FM-ET on-line, float")
    axes.plot(
        trials,
        online["fixed"],
        color=BLACK,
        linewidth=1.1,
        linestyle=(0, (4, 2)),
        label="FM-ET on-line, fixed",
    )
