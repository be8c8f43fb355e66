"""``microzone compare``: float, fixed and RTL on one session: bits, behaviour, ranges, errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ...golden_model.config import ChipConfig
from ...golden_model.events import Events, Result
from ...golden_model.files import atomic_write
from ...golden_model.precision.precision import measure_precision
from ...golden_model.precision.quantisation import quantised_parameters
from ...sim.build.simulators import Simulator
from ...sim.replay.replay import replay_design
from ..models import CONSTANT, MODELS, Comparison, run_model
from ..report.figures import draw_session
from ..report.origin import origin
from ..report.output import make_folder, progress_bar, working, write_json
from ..text import tinted
from .precision_figure import draw_precision
from .precision_text import Finding, find_detection_faults, find_faults
from .recorded_events import RecordedEvents
from .report import write_report
from .tables import Columns, behaviour_table, short_range_table

__all__ = ["FILES", "compare_models"]

FILES = (
    "report.html", "report.json", "figure.png", "precision.png", "events.npz", "config.toml",
    *(f"{name}.npz" for name in (*MODELS, CONSTANT)),
)  # fmt: skip
"""What :func:`compare_models` writes."""


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
    recorded: RecordedEvents | None = None,
) -> dict[str, Any]:
    """Run the three models, print tables and verdict, write everything to `out`.

    Where the configuration recalibrates, the fixed-point model also runs without, as a control.

    Parameters
    ----------
    events : Events
    config : ChipConfig
    out : Path
        Folder for ``report.html``, ``figure.png``, ``precision.png``, ``report.json``, ``events.npz``,
        ``config.toml`` and a result file a model.
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
    recorded : RecordedEvents, optional
        Where the events come from a recording: its detection is part of the report and of the verdict.

    Returns
    -------
    dict
        The report: `facts`, :meth:`Comparison.summary`, ``precision``, ``origin``, and the seconds of
        each part.
    """
    make_folder(out)
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    with working(f"{simulator.name}: building the simulation (once for each configuration)", console):
        simulator.build(replay_design(config, 1, compiled=simulator.compiles_programs))
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
    report = {**(facts or {}), "simulator": f"{simulator.name} {simulator.version()}", "origin": origin()}
    if events.cs.size:
        report["isi_s"] = isi_s
        console.print(f"the US is due {1000 * isi_s:g} ms after the CS", highlight=False)
    report |= comparison.summary() | {"seconds": {name: round(s, 3) for name, s in seconds.items()}}
    if recorded is not None:
        report["detection"] = recorded.summary()
        report["bit_accurate"] = report["bit_accurate"] and recorded.difference is None
        report["first_difference"] = recorded.difference or report["first_difference"]
    began = time.perf_counter()
    with progress_bar("ranges", events.n_steps, console) as advance:
        precision = measure_precision(events, config, progress=advance)
    report["seconds"]["ranges"] = round(time.perf_counter() - began, 3)
    parameters = quantised_parameters(config)
    report["precision"] = precision.summary()
    report["precision"]["parameters"] = {one.name: one.summary() for one in parameters}
    behaviour = behaviour_table(comparison, seconds)
    _print(behaviour, console)
    _print(short_range_table(precision.signals | precision.recalibrations), console)
    faults = find_faults(precision, parameters, events, config)
    if recorded is not None:
        _print(short_range_table(recorded.precision.signals), console)
        faults += find_detection_faults(recorded.precision)
    for fault in faults:
        colour = "green" if fault.good else "yellow"
        console.print(tinted(fault.title, f"bold {colour}", f": {fault.text}"))
    verdict = _print_verdict(comparison, report, console)
    short = "RTL = fixed in every step" if report["bit_accurate"] else "RTL DIFFERS FROM FIXED"
    draw_session(comparison, out / "figure.png", f"{title}: {short}")
    draw_precision(precision, config, out / "precision.png")
    events.save(out / "events.npz")
    with atomic_write(out / "config.toml") as file:
        file.write(config.to_toml().encode())
    for name, result in results.items():
        result.save(out / f"{name}.npz")
    write_json(out / "report.json", report)
    write_report(
        out / "report.html", title, [verdict, *faults], report, comparison, behaviour, precision, parameters,
        recorded,
    )  # fmt: skip
    line = f"report: {out / 'report.html'}   figure: {out / 'figure.png'}   numbers: {out / 'report.json'}"
    console.print(line, highlight=False)
    return report


def _print(columns: Columns, console: Console) -> None:
    table = Table(*columns.names, box=None, header_style="bold")
    for row in columns.rows:
        table.add_row(*row)
    console.print(table)


def _print_verdict(comparison: Comparison, report: Mapping[str, Any], console: Console) -> Finding:
    """Print fixed against float, then the verdict on bit-accuracy, which is returned."""
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
        text = (
            f"RTL equals fixed in w and CR at every one of "
            f"{comparison.events.n_steps:,} steps{also} ({report['simulator']})"
        )
        verdict = Finding("BIT-ACCURATE", True, text)
    else:
        verdict = Finding("NOT BIT-ACCURATE", False, report["first_difference"])
    colour = "green" if verdict.good else "red"
    console.print(tinted(verdict.title, f"bold {colour}", f": {verdict.text}"))
    return verdict
