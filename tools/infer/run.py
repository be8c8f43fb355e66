"""An inference from beginning to end: simulations, samples, checks, configurations, pictures, report."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from rich.console import Console

from ...golden_model.files import atomic_write
from ...golden_model.inference.parameters import WORDS
from ...sim.build.simulators import Simulator
from ..errors import UserError
from ..report.origin import origin
from ..report.output import as_json, write_json
from .checks import check_rtl, choose, simulate_afresh, write_samples
from .methods import answer
from .picture import draw_behaviour, draw_pairs
from .request import Request
from .store import ASKED, Simulations
from .summary import summary
from .words import narrowest, widths

__all__ = ["FILES", "Checks", "run_inference"]

FILES = (
    ASKED, "posterior.npz", "posterior.pt", "report.json", "pairs.png", "behaviour.png", "sample-*.toml"
)  # fmt: skip
"""What :func:`run_inference` writes beside ``parts/``."""

_CONDITIONS = 3
"""Samples that word lengths have to hold with."""


@dataclass(frozen=True)
class Checks:
    """What is made and tried of an answer.

    Attributes
    ----------
    samples : int
        Configurations to write.
    words : tuple of str
        Words whose narrowest width is looked for.
    word_sessions : int
        Sessions of each width with each of three samples.
    simulated : int
        Samples that are simulated afresh.
    """

    samples: int = 5
    words: tuple[str, ...] = ()
    word_sessions: int = 500
    simulated: int = 400

    @classmethod
    def parse(cls, samples: int, words: str, word_sessions: int) -> Self:
        """From names of words, separated by commas; UserError for one that there is not."""
        names = tuple(name for name in words.split(",") if name)
        for name in names:
            if name not in WORDS:
                raise UserError(f"--words {name}: choose from {', '.join(WORDS)}")
        return cls(samples, names, word_sessions)


def run_inference(
    request: Request,
    folder: Path,
    checks: Checks,
    *,
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
    checks : Checks
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
        shown, fresh, refused = simulate_afresh(request, found, simulations, checks.simulated)
        chosen = choose(request, found, simulations, checks.samples)
        tried = {
            name: widths(request, chosen[:_CONDITIONS], simulations, name, checks.word_sessions)
            for name in checks.words
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
        "behaviour_samples": checks.simulated,
        "behaviour_refused": refused,
        "samples": [
            {"file": path.name, **sample.facts(request.names, request.wanted)}
            for path, sample in zip(paths, chosen, strict=True)
        ],
    }
    passed = found.passed and bool(chosen) and all(each.within for each in shown) and not refused
    if checks.words:
        report["words"] = {
            name: {"narrowest": narrowest(of), "widths": [width.facts() for width in of]}
            for name, of in tried.items()
        }
    if simulator is not None and chosen:
        report["rtl"] = check_rtl(request, chosen[0], paths[0], simulations, simulator, status)
        passed &= report["rtl"]["bit_accurate"] and report["rtl"]["shows"]
    report |= {"passed": passed, "origin": origin(dated=False)}
    report = as_json(report)
    write_json(folder / "report.json", report)
    return report
