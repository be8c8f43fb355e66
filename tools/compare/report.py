"""The HTML report of ``microzone compare``: verdict, behaviour, signals, parameters, configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...golden_model.files import atomic_write
from ...golden_model.precision.precision import Precision
from ...golden_model.precision.quantisation import Quantised
from ..models import Comparison
from ..report.page import details, facts, page, paragraph, picture, section, table, verdicts
from .precision_text import Finding
from .recorded_events import RecordedEvents
from .tables import Columns, decision_table, parameter_table, range_table

__all__ = ["write_report"]


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
            ]
        ),
        section(
            "Behaviour",
            _table(behaviour),
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
            paragraph(f"Without limits, w in float would go from {low:.6g} to {high:.6g}."),
            picture(path.parent / "precision.png", "Values and errors among the bits; error of w over time"),
            _table(decision_table(precision)),
        ),
        section("Parameters: what quantisation makes of them", _table(parameter_table(parameters))),
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
            )
        )
    if recorded is not None:
        parts.append(
            section(
                "Detection",
                paragraph(recorded.describe()),
                _table(range_table(recorded.precision.signals)),
            )
        )
    parts.append(details("Configuration (config.toml)", config.to_toml()))
    with atomic_write(path) as file:
        file.write(page(title, "float, fixed point and RTL side by side", parts).encode())


def _table(columns: Columns) -> str:
    return table(columns.names, columns.rows, faults=columns.faults)
