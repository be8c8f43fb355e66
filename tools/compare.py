"""``microzone compare``: float, fixed and RTL on one events file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ..golden_model.config import ChipConfig
from ..golden_model.events import Events, Result, atomic_write
from ..golden_model.protocol import Score
from ..golden_model.recalibration import Status
from ..sim.replay import replay_design
from ..sim.simulators import Simulator
from .figures import draw_session
from .output import make_folder, progress_bar, write_json
from .session import CONSTANT, LABELS, MODELS, Comparison, run_model

__all__ = ["compare_models"]


def compare_models(
    events: Events,
    config: ChipConfig,
    out: Path,
    *,
    simulator: Simulator,
    title: str,
    console: Console,
    isi_s: float = 0.3,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the three models, print tables and verdict, write everything to `out`.

    Where the configuration recalibrates, the fixed-point model also runs without, as a control.

    Parameters
    ----------
    events : Events
    config : ChipConfig
    out : Path
        Folder for ``figure.png``, ``report.json``, ``events.npz``, ``config.toml`` and a result file a model.
    simulator : Simulator
        Where the gateware runs.
    title : str
        Of the figure.
    console : rich.console.Console
        Where to print.
    isi_s : float
        When the US is due after the CS.
    facts : mapping, optional
        More entries for the report.

    Returns
    -------
    dict
        The report: `facts`, :meth:`Comparison.summary`, and the seconds of each part.
    """
    make_folder(out)
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    with console.status(f"{simulator.name}: building the simulation (once for each configuration)"):
        simulator.build(replay_design(config, 1))
    seconds["build"] = time.perf_counter() - began
    results: dict[str, Result] = {}
    for model in MODELS:
        began = time.perf_counter()
        with progress_bar(model, events.n_steps, console) as advance:
            results[model] = run_model(model, events, config, simulator=simulator, progress=advance)
        seconds[model] = time.perf_counter() - began
    if config.recalibration.enabled:
        began = time.perf_counter()
        results[CONSTANT] = run_model("fixed", events, config.replace(recalibration={"enabled": False}))
        seconds[CONSTANT] = time.perf_counter() - began
    comparison = Comparison(events, results, isi_s)
    report = {**(facts or {}), "simulator": f"{simulator.name} {simulator.version()}"}
    report |= comparison.summary() | {"seconds": {name: round(s, 3) for name, s in seconds.items()}}
    _print_behaviour(comparison, seconds, console)
    _print_verdict(comparison, report, console)
    verdict = "RTL = fixed in every step" if report["bit_accurate"] else "RTL DIFFERS FROM FIXED"
    draw_session(comparison, out / "figure.png", f"{title}: {verdict}")
    events.save(out / "events.npz")
    with atomic_write(out / "config.toml") as file:
        file.write(config.to_toml().encode())
    for name, result in results.items():
        result.save(out / f"{name}.npz")
    write_json(out / "report.json", report)
    console.print(f"figure: {out / 'figure.png'}   numbers: {out / 'report.json'}", highlight=False)
    return report


def _print_behaviour(comparison: Comparison, seconds: Mapping[str, float], console: Console) -> None:
    columns = (LABELS.get(name, name) for name in comparison.results)
    table = Table("", *columns, box=None, header_style="bold")
    results, scores = comparison.results, comparison.scores
    table.add_row("conditioned responses", *(str(result.cr.size) for result in results.values()))
    table.add_row("w at the end", *(f"{result.w[-1]:.6f}" for result in results.values()))
    if scores:
        trials = comparison.events.cs.size
        rows = {
            f"well-timed trials of {trials}": lambda s: str(int(s.well_timed.sum())),
            "late trials": lambda s: str(int(s.late.sum())),
            "first CR, trial": lambda s: _trial(s.first_cr),
            "first well-timed, trial": lambda s: _trial(s.first_well_timed),
            "last well-timed, trial": lambda s: _trial(s.last_well_timed),
            "mean latency of the well-timed": _latency,
        }
        for label, describe in rows.items():
            table.add_row(label, *(describe(score) for score in scores.values()))
    if comparison.config.recalibration.enabled:
        table.add_row("recalibrations", *(_recalibrations(result) for result in results.values()))
    table.add_row("seconds", *(f"{seconds[name]:.2f}" for name in results))
    console.print(table)


def _recalibrations(result: Result) -> str:
    found = result.recalibrations
    if found is None:
        return "none"
    refused = found.status[found.status != Status.GOOD]
    if not refused.size:
        return str(found.step.size)
    why = ", ".join(Status(status).name for status in np.unique(refused))
    return f"{found.step.size}, {refused.size} of them refused ({why})"


def _trial(number: int | None) -> str:
    return "none" if number is None else str(number)


def _latency(trials: Score) -> str:
    return f"{1000 * trials.mean_latency_s:.0f} ms" if trials.well_timed.any() else "none"


def _print_verdict(comparison: Comparison, report: Mapping[str, Any], console: Console) -> None:
    against = report["fixed_against_float"]
    shifts = {int(shift): count for shift, count in against["cr_shift_steps"].items()}
    shifted = ", ".join(f"{count} by {shift:+d} steps" for shift, count in shifts.items() if shift)
    alone = against["cr_without_partner"]
    line = (
        f"fixed against float: largest |Δw| {against['largest_weight_error']:.3g} "
        f"({against['largest_weight_error_lsb']:.0f} LSB); CRs moved: {shifted or 'none'}; "
        f"CRs of one model only: {alone or 'none'}"
    )
    if "trials" in against:
        line += (
            f"; well-timed differs in {against['well_timed_differs_trials']} of {against['trials']} trials"
        )
    console.print(line, highlight=False)
    rtl = comparison.results["rtl"].recalibrations
    also = "" if rtl is None else f", and in each of {rtl.step.size} recalibrations"
    if report["bit_accurate"]:
        console.print(
            f"[bold green]BIT-ACCURATE[/]: RTL equals fixed in w and CR at every one of "
            f"{comparison.events.n_steps:,} steps{also} ({report['simulator']})",
            highlight=False,
        )
    else:
        console.print(f"[bold red]NOT BIT-ACCURATE[/]: {report['first_difference']}", highlight=False)
