"""The HTML report of ``microzone compare``: verdict, behaviour, signals, parameters, configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...golden_model.files import atomic_write
from ...golden_model.precision.precision import Precision
from ...golden_model.precision.quantisation import Quantised
from ..models import Comparison
from ..report.origin import made_by
from ..report.page import details, facts, page, paragraph, picture, section, symbols, table, verdicts
from .precision_text import Finding
from .recorded_events import RecordedEvents
from .tables import Columns, decision_table, parameter_table, range_table

__all__ = ["write_report"]

_BEHAVIOUR = {
    "CS": "the cue",
    "US": "what it announces",
    "CR": "the response",
    "PN, IO": "the channels that detect CS and US",
    "w": "the weight, what is learned",
    "well-timed": "a CR after its CS, and 20 ms or more before the US is due",
    "late": "a CR after that",
}
_SIGNALS = {
    "age": "steps since the last CS detection",
    "T": "trace: the ramp that a CS detection starts",
    "w": "weight",
    "S": "w·T, which is compared with θ",
    "LSB": "the least significant bit of the format, its step",
    "raw": "the words that are stored",
    "SQNR": "signal to quantisation noise ratio",
    "UQ(i,f), SQ(i,f)": "a word of i integer and f fraction bits, without and with a sign",
}
_DECISIONS = {
    "active": "a trace is under way",
    "Π": "the plasticity trace: w may change",
    "NΛ": "the inhibition of the IO",
    "C": "an IO detection that is not inhibited",
    "B": "S is below the threshold θ, while a trace is under way",
    "F": "B has just begun: the CR",
    "N": "the inhibitory pulse that a CR starts",
}
_PARAMETERS = {
    "trace.start, .end, steps": "T at a CS detection, at its end, and how long it falls",
    "threshold.level": "θ: a CR where w·T falls below it",
    "weight.initial": "w at the start",
    "plasticity.potentiation": "δp, added to w in each step of the plasticity trace",
    "plasticity.depression": "δd, taken from w by each IO detection in it",
    "recalibration.*": "coefficients of δp and δd over the IO rate",
}
_RATES = {
    "IO rate": "detections of the IO a second",
    "δp": "potentiation a step",
    "δd": "depression an event",
}
_DETECTOR = {
    "filtered": "the samples, band-passed where that is asked for",
    "mean": "their running mean",
    "variability": "the smoothed distance from it, s",
    "threshold": "what s has to pass",
}


def write_report(
    path: Path,
    title: str,
    verdict: Sequence[Finding],
    report: dict[str, Any],
    comparison: Comparison,
    behaviour: Columns,
    precision: Precision,
    parameters: Sequence[Quantised],
    recorded: RecordedEvents | None = None,
) -> None:
    """Write the page, whole or not at all; the pictures are read from beside it.

    Parameters
    ----------
    path : Path
        The HTML file; ``figure.png`` and ``precision.png`` are in its folder.
    title : str
        Of the session.
    verdict : sequence of Finding
    report : dict
        As in ``report.json``.
    comparison : Comparison
    behaviour : Columns
    precision : Precision
    parameters : sequence of Quantised
    recorded : RecordedEvents, optional
        Where the events come from a recording.
    """
    events, config = comparison.events, comparison.config
    overflowing = [overflow.signal for overflow in precision.overflows]
    low, high = precision.unlimited
    parts = [
        verdicts((finding.title, finding.good, finding.text) for finding in verdict),
        facts(
            [
                ("length", f"{events.n_steps:,} steps, {events.n_steps * config.time.step_s:,.1f} s"),
                ("detections", f"{events.pn.size:,} of the PN, {events.io.size:,} of the IO"),
                ("trials", f"{events.cs.size:,}"),
                ("simulator", report["simulator"]),
                ("configuration", f"SHA-256 {report['config_sha256']}"),
                *made_by(report),
            ]
        ),
        section(
            "Behaviour",
            _table(behaviour),
            symbols(_BEHAVIOUR),
            picture(path.parent / "figure.png", "Detections and CRs around each CS; w and CRs by trial"),
        ),
        section(
            "Signals: range, overflow, underflow, error",
            paragraph(
                "An overflow is a step in which the word would have left its format and was held at the "
                "limit; an underflow one in which the float value is not 0, but below half an LSB. Wasted "
                "bits are leading integer bits that no value used, and trailing fraction bits that were "
                "always 0. Errors are fixed less float; SQNR is the energy of the float signal over that of "
                "the error."
            ),
            _table(range_table(precision.signals, overflowing)),
            symbols(_SIGNALS),
            paragraph(f"Without limits, w in float would go from {low:.6g} to {high:.6g}."),
            picture(path.parent / "precision.png", "Values and errors among the bits; error of w over time"),
            _table(decision_table(precision)),
            symbols(_DECISIONS),
        ),
        section(
            "Parameters: what quantisation makes of them",
            _table(parameter_table(parameters)),
            symbols(_PARAMETERS),
        ),
    ]
    if precision.recalibrations:
        parts.append(
            section(
                "Recalibration",
                paragraph(
                    f"Rate (as a share of {config.rate_full_scale_hz:g} Hz), δp and δd of the "
                    f"{len(precision.recalibration_steps)} recalibrations that changed δ in fixed and float."
                ),
                _table(range_table(precision.recalibrations, overflowing)),
                symbols(_RATES),
            )
        )
    if recorded is not None:
        parts.append(
            section(
                "Detection",
                paragraph(recorded.describe()),
                _table(range_table(recorded.precision.signals)),
                symbols(_DETECTOR),
            )
        )
    parts.append(details("Configuration (config.toml)", config.to_toml()))
    with atomic_write(path) as file:
        file.write(page(title, "float, fixed point and RTL side by side", parts).encode())


def _table(columns: Columns) -> str:
    return table(columns.names, columns.rows, faults=columns.faults)
