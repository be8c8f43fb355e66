"""``microzone cfpc``: a task run, compared, written and told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ...golden_model.cfpc.lag import Lag
from ...golden_model.cfpc.systems import Reals
from ...golden_model.files import atomic_write, check_target
from ..report.origin import origin
from ..report.output import as_json, make_folder, write_json
from ..text import tinted
from .picture import draw_run
from .run import Connect, DivergenceError, Run, deviation, first_difference, run_on, trial_apart
from .task import Task, rule_name

__all__ = ["FILES", "run_task"]

_SHOWN = (1, 7, 20)
"""Trials that are told, beside the last: those of the source's text, and one between."""
_BESIDE = {"float": (), "fixed": ("float",), "rtl": ("fixed",), "board": ("fixed",)}
"""What a model is compared with."""
_JUMP = 0.05
"""From the end of a trial to the beginning of the next, as a share of the reference's range."""
_SLOW, _ENOUGH = 2.0, 20
"""Times the optimum's error, after so many trials."""
_NEAR = 0.99
"""Of a weight's limit: it may have been there."""
FILES = ("figure.png", "result.npz", "report.json")
"""What :func:`run_task` writes."""


def run_task(
    task: Task,
    model: str,
    trials: int,
    out: Path,
    console: Console,
    status: Console,
    connect: Connect | None = None,
) -> dict[str, Any]:
    """Run a task, write picture, result and report into a folder, print what came of it.

    Parameters
    ----------
    task : Task
    model : {"float", "fixed", "rtl", "board"}
        Fixed point is compared with float, the gateware with fixed point.
    trials : int
    out : Path
    console, status : rich.console.Console
        Where to print, and where to show progress.
    connect : callable, optional
        Gives the board.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    DivergenceError
        If the error of `model` grows without bound; nothing is written.
    FileError
        If the folder cannot be written; before any work.
    """
    make_folder(out)
    for name in FILES:
        check_target(out / name)
    runs = {model: run_on(model, task, trials, status, connect=connect)}
    facts = _facts(task, runs[model])
    for other in _BESIDE[model]:
        try:
            runs[other] = run_on(other, task, trials, status)
        except DivergenceError as error:
            facts["warnings"].append(f"not compared with {error}")
    facts |= _compared(task, runs)
    report: dict[str, Any] = as_json(facts, digits=9) | {"origin": origin()}
    title = f"CFPC, {task.config.task.name}: {facts['rule']}, {trials} trials ({model})"
    draw_run(task, dict(reversed(runs.items())), model, out / "figure.png", title)
    _save(task, runs[model], out / "result.npz")
    write_json(out / "report.json", report)
    _print(task, report, console)
    console.print(f"picture, result and report in {out}", highlight=False)
    return report


def _facts(task: Task, run: Run) -> dict[str, Any]:
    """What is known of one run."""
    config, course, stability = task.config, run.course, task.stability
    trials = course.rmse.size
    shown = [n for n in (*_SHOWN, trials) if n <= trials]
    facts: dict[str, Any] = {
        "task": config.task.name,
        "model": run.model,
        "rule": rule_name(config),
        "trials": trials,
        "steps": task.reference.size,
        "step_s": config.time.step_s,
        "bases": config.bases.count,
        "relative_rmse": {str(n): course.relative[n - 1] for n in dict.fromkeys(shown)},
        "rmse": {"reactive": task.reactive_rmse, "first": course.rmse[0], "last": course.rmse[-1]},
        "optimum": {
            "rmse": task.optimum_rmse,
            "relative_to_first": task.optimum_rmse / course.rmse[0],
            "relative_to_reactive": task.optimum_rmse / task.reactive_rmse,
        },
        "lag_s": {"before": _lag(task, task.reactive), "after": _lag(task, course.last.y)},
        "stability": asdict(stability) | {"stable": stability.stable, "rate": config.learning.rate},
        "config_sha256": config.digest,
        "warnings": list(_warnings(task, run)),
    }
    return facts


def _lag(task: Task, output: Reals) -> dict[str, float]:
    """None behind a reference that does not move."""
    if np.ptp(task.reference) == 0:
        return {"half_height": float("nan"), "along": float("nan")}
    return asdict(Lag.of(task.reference, output, task.config.time.step_s))


def _warnings(task: Task, run: Run) -> Iterator[str]:
    yield from _of_learning(task, run)
    formats, wider = task.config.formats, "more integer bits would hold them"
    if run.saturated:
        steps = f"{run.saturated:,} steps"
        yield f"formats.signal = {formats.signal}: error or output was at its limit in {steps}; {wider}"
    if run.raw is not None:
        # Weights are known after each trial only, and one that was clipped may have come back a little since.
        near = np.abs(run.raw).max(axis=0) > _NEAR * formats.weight.raw_max
        if near.any():
            count = f"{np.count_nonzero(near)} of {near.size} synapses"
            limit = f"within {1 - _NEAR:.0%} of its limit"
            yield f"formats.weight = {formats.weight}: {limit} in {count}; {wider}"


def _of_learning(task: Task, run: Run) -> Iterator[str]:
    """What a task, its rule and its rate keep from being learnt."""
    stability, rate = task.stability, task.config.learning.rate
    first, last = task.reference[0], task.reference[-1]
    trials, ends = run.course.rmse.size, run.course.relative[-1]
    if abs(last - first) > _JUMP * np.ptp(task.reference):
        yield (
            f"reference: begins at {first:g}, ends at {last:g}; trials follow each other, so each but the "
            "first begins with a jump"
        )
    if stability.idle:
        count = f"{stability.idle} of {task.config.bases.count} directions of w"
        yield f"bases: {count} move nothing: bases beyond the end of the trial, or alike"
    if not stability.stable:
        yield (
            f"rule {rule_name(task.config)} is unstable: smallest eigenvalue "
            f"{stability.smallest_eigenvalue:.3g}, needs more than 0; the error can grow at any rate"
        )
    elif rate >= stability.highest_rate:
        yield (
            f"learning.rate = {rate:g}: from {stability.highest_rate:.3g} on the error of the weights may "
            "grow in a trial"
        )
    elif trials >= _ENOUGH and run.course.rmse[-1] > _SLOW * task.optimum_rmse:
        yield (
            f"trial {trials} is {run.course.rmse[-1] / task.optimum_rmse:.1f} times as far off as with the "
            f"best w: more trials, or a higher learning.rate (below {stability.highest_rate:.3g})"
        )
    if ends > 1:
        yield f"trial {trials} is worse than trial 1"


def _compared(task: Task, runs: Mapping[str, Run]) -> dict[str, Any]:
    """Fixed point with float, the gateware with fixed point."""
    facts: dict[str, Any] = {}
    if "fixed" in runs and "float" in runs:
        largest, trial = deviation(runs["fixed"], runs["float"])
        facts["fixed_against_float"] = {"largest_deviation": largest, "trial": trial}
    if "board" in runs and "fixed" in runs:
        apart = trial_apart(runs["fixed"], runs["board"])
        facts["bit_accurate"] = apart is None
        facts["first_difference"] = "" if apart is None else f"first in trial {apart}"
    if "rtl" in runs:
        difference = first_difference(task, runs["fixed"], runs["rtl"])
        facts["bit_accurate"] = difference is None
        facts["difference"] = None if difference is None else asdict(difference)
        facts["first_difference"] = "" if difference is None else difference.describe()
    return facts


def _save(task: Task, run: Run, path: Path) -> None:
    """Everything of a run in one file."""
    entries: dict[str, Any] = {
        "model": np.array(run.model),
        "config": np.array(task.config.to_toml()),
        "r": task.reference,
        "x": task.inputs,
        "rmse": run.course.rmse,
        "relative": run.course.relative,
        "weights": run.course.weights,
    }
    for when, trial in (("first", run.course.first), ("last", run.course.last)):
        entries |= {f"y_{when}": trial.y, f"e_{when}": trial.error, f"o_{when}": trial.o}
    if run.raw is not None:
        entries["weights_raw"] = run.raw
    with atomic_write(path) as file:
        np.savez_compressed(file, **entries)


def _print(task: Task, report: dict[str, Any], console: Console) -> None:
    config, relative = task.config, report["relative_rmse"]
    spread = "shifted" if config.bases.shifted else "of their own"
    console.print(
        tinted(
            report["task"],
            "bold",
            f", {report['model']}: rule {report['rule']}, {report['trials']} trials of "
            f"{report['steps'] * report['step_s']:g} s, {report['bases']} bases ({spread})",
        )
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("trial")
    for name in (*relative, "optimum"):
        table.add_column(name, justify="right")
    shown = (*relative.values(), report["optimum"]["relative_to_first"])
    table.add_row("relative RMSE", *(f"{value:.4f}" for value in shown))
    console.print(table)
    before, after = (_lag_in_words(report["lag_s"][when]) for when in ("before", "after"))
    console.print(f"lag behind the reference: {before} reactive, {after} in trial {report['trials']}")
    stability = report["stability"]
    verdict = ("stable", "green") if stability["stable"] else ("unstable", "red")
    smallest = f": smallest eigenvalue of the symmetric part {stability['smallest_eigenvalue']:.4g}"
    console.print(tinted(*verdict, smallest))
    if "fixed_against_float" in report:
        found = report["fixed_against_float"]
        console.print(
            f"fixed against float: RMSE differs by at most {found['largest_deviation']:.3%} (in trial "
            f"{found['trial']})",
            highlight=False,
        )
    if report.get("bit_accurate"):
        steps = f"{report['trials'] * report['steps']:,} steps"
        equal = f"in o, h and w at each of {steps}"
        if report["model"] == "board":
            equal = f"in e at each of {steps}, and in w after each trial"
        console.print(tinted("bit-accurate", "green", f": {report['model']} equals fixed {equal}"))
    elif "bit_accurate" in report:
        console.print(tinted("not bit-accurate", "red", f": {report['first_difference']}"))
    for warning in report["warnings"]:
        console.print(tinted("warning", "yellow", f": {warning}"))


def _lag_in_words(lag: dict[str, float | None]) -> str:
    if lag["half_height"] is None:
        return "unknown"
    along = "" if lag["along"] is None else f" ({round(1000 * lag['along'])} ms along the movement)"
    return f"{round(1000 * lag['half_height'])} ms at half height{along}"
