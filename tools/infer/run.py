"""An inference from beginning to end: simulations, samples, checks, configurations, pictures, report."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ...golden_model.files import atomic_write
from ...sim.build.simulators import Simulator
from ..report.output import as_json, write_json
from .checks import check_rtl, choose, simulate_afresh, write_samples
from .methods import answer
from .picture import draw_behaviour, draw_pairs
from .request import Request
from .store import Simulations
from .summary import summary
from .words import narrowest, widths

__all__ = ["run_inference"]

_CONDITIONS = 3
"""Samples that word lengths have to hold with."""


def run_inference(
    request: Request,
    folder: Path,
    *,
    samples: int = 5,
    checked: int = 400,
    words: tuple[str, ...] = (),
    word_sessions: int = 500,
    simulator: Simulator | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    status: Console,
) -> dict[str, Any]:
    """Infer, check, and write what it comes to.

    Parameters
    ----------
    request : Request
    folder : Path
        Gets ``infer.json`` (what the simulations are of), ``parts/`` (the simulations), ``posterior.npz``,
        ``report.json``, ``pairs.png``, ``behaviour.png``, ``sample-1.toml`` and so on, and with ``npe``
        ``posterior.pt``.
    samples : int
        Configurations to write.
    checked : int
        Samples that are simulated afresh.
    words : tuple of str
        Words whose narrowest width is looked for.
    word_sessions : int
        Of each width with each of three samples.
    simulator : Simulator, optional
        Where the first sample runs as gateware.
    scheduler, workers
        Of ``cluster``.
    status : rich.console.Console
        For progress.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    FileError, UserError
        If the folder holds something else or cannot be written; if the behaviour cannot be had.
    BenchFailure, ToolError
        From the simulation of the gateware.
    """
    with ExitStack() as stack:
        simulations = Simulations(folder, request, (scheduler, workers), status, stack)
        found = answer(request, simulations, status)
        shown, fresh, refused = simulate_afresh(request, found, simulations, checked)
        chosen = choose(request, found, simulations, samples)
        tried = {
            name: widths(request, chosen[:_CONDITIONS], simulations, name, word_sessions) for name in words
        }
    with atomic_write(folder / "posterior.npz") as file:
        np.savez_compressed(
            file,
            names=np.array(request.names),
            z=found.z,
            weights=found.weights,
            low=request.space.low,
            high=request.space.high,
        )
    if found.posterior is not None:
        found.posterior.save(folder / "posterior.pt")
    paths = write_samples(request, chosen, folder)
    draw_pairs(request, found, folder / "pairs.png")
    draw_behaviour(request, shown, fresh, folder / "behaviour.png")
    report: dict[str, Any] = {
        "method": request.method.value,
        "wanted": {str(each.name): [each.value, each.spread] for each in request.wanted},
        "simulations": request.simulations,
        "seed": request.seed,
        "variant": request.variant,
        **found.facts,
        "warnings": list(found.warnings),
        **summary(request, found),
        "behaviour": {each.wanted.name: each.facts() for each in shown},
        "behaviour_samples": checked,
        "behaviour_refused": refused,
        "samples": [
            {"file": path.name, **sample.facts(request.names, request.wanted)}
            for path, sample in zip(paths, chosen, strict=True)
        ],
    }
    passed = found.passed and bool(chosen) and all(each.within for each in shown) and not refused
    if words:
        report["words"] = {
            name: {"narrowest": narrowest(of), "widths": [width.facts() for width in of]}
            for name, of in tried.items()
        }
    if simulator is not None and chosen:
        report["rtl"] = check_rtl(request, chosen[0], paths[0], simulations, simulator, status)
        passed &= report["rtl"]["bit_accurate"] and report["rtl"]["shows"]
    report["passed"] = passed
    report = as_json(report)
    write_json(folder / "report.json", report)
    return report
