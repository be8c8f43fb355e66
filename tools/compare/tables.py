"""The tables of ``microzone compare``, as text: for the terminal and for the HTML report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...golden_model.events import Result
from ...golden_model.experiment.protocol import Score
from ...golden_model.precision.precision import Precision
from ...golden_model.precision.quantisation import Quantised
from ...golden_model.precision.ranges import SignalRange
from ...golden_model.recalibration import Status
from ...golden_model.representable import WARNED_ERROR
from ..models import LABELS, Comparison
from .precision_text import SYMBOLS

__all__ = [
    "Columns",
    "behaviour_table",
    "decision_table",
    "parameter_table",
    "range_table",
    "short_range_table",
]


class Columns(NamedTuple):
    """A table of text.

    Attributes
    ----------
    names : sequence of str
    rows : sequence of sequence of str
    faults : sequence of (int, int)
        (row, column) of the cells that show a fault.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    faults: Sequence[tuple[int, int]] = ()


def behaviour_table(comparison: Comparison, seconds: Mapping[str, float]) -> Columns:
    """What each model did, and how long it took to compute."""
    results, scores = comparison.results, comparison.scores
    rows = [
        ["conditioned responses", *(str(result.cr.size) for result in results.values())],
        ["w at the end", *(f"{result.w[-1]:.6f}" for result in results.values())],
        [
            "drift of w",
            *(f"{result.w[-1] - result.config.weight.initial:+.6f}" for result in results.values()),
        ],
    ]
    if scores:
        trials = comparison.events.cs.size
        describe: dict[str, Callable[[Score], str]] = {
            f"well-timed trials of {trials}": lambda s: (
                f"{int(s.well_timed.sum())} ({100 * s.well_timed.mean():.1f} %)"
            ),
            "late trials": lambda s: str(int(s.late.sum())),
            "first CR, trial": lambda s: _or(s.first_cr, "none"),
            "first well-timed, trial": lambda s: _or(s.first_well_timed, "none"),
            "last well-timed, trial": lambda s: _or(s.last_well_timed, "none"),
            "mean latency of the well-timed": _latency,
        }
        rows += [[label, *(text(score) for score in scores.values())] for label, text in describe.items()]
        learnt = [comparison.learning(name) for name in scores]
        for key, label, never in (
            ("trials_to_acquire", "trials to acquire", "not acquired"),
            ("trials_to_extinguish", "trials to extinguish", "not extinguished"),
        ):
            if any(key in found for found in learnt):
                rows.append([label, *(_or(found[key], never) if key in found else "-" for found in learnt)])
    if comparison.config.recalibration.enabled:
        rows.append(["recalibrations", *(_recalibrations(result) for result in results.values())])
    rows.append(["seconds", *(f"{seconds[name]:.2f}" for name in results)])
    return Columns(["", *(LABELS.get(name, name) for name in results)], rows)


def range_table(signals: Mapping[str, SignalRange], overflowing: Sequence[str] = ()) -> Columns:
    """Range, overflow, underflow, wasted bits and error of each number; `overflowing` has overflowed too."""
    names = [
        "signal", "format", "range used", "raw", "overflows", "underflows", "wasted bits: integer, fraction",
        "largest error", "largest error, LSB", "rms error, LSB", "SQNR",
    ]  # fmt: skip
    rows: list[list[str]] = []
    faults: list[tuple[int, int]] = []
    for name, seen in signals.items():
        low, high = seen.raw_min * seen.fmt.lsb, seen.raw_max * seen.fmt.lsb
        if seen.overflows or name in overflowing:
            faults.append((len(rows), names.index("overflows")))
        if seen.underflows:
            faults.append((len(rows), names.index("underflows")))
        rows.append(
            [
                SYMBOLS.get(name, name),
                str(seen.fmt),
                f"{low:.5g} to {high:.5g}",
                f"{seen.raw_min:#x} to {seen.raw_max:#x}",
                f"{seen.overflows:,}",
                f"{seen.underflows:,}",
                f"{seen.wasted_integer_bits}, {seen.wasted_fraction_bits}",
                f"{seen.largest_error_lsb * seen.fmt.lsb:.3g}",
                f"{seen.largest_error_lsb:.4g}",
                f"{seen.rms_error_lsb:.4g}",
                f"{seen.sqnr_db:.1f} dB" if math.isfinite(seen.sqnr_db) else "exact" if seen.steps else "-",
            ]
        )
    return Columns(names, rows, faults)


def short_range_table(signals: Mapping[str, SignalRange]) -> Columns:
    """The same in a terminal's width, integer bits before fraction bits."""
    names = ["signal", "format", "range used", "over-, underflows", "wasted bits", "error, LSB", "SQNR"]
    whole = range_table(signals)
    rows = []
    for row in whole.rows:
        cells = dict(zip(whole.names, row, strict=True))
        both = f"{cells['overflows']}, {cells['underflows']}"
        wasted = cells["wasted bits: integer, fraction"]
        rows.append([*row[:3], both, wasted, cells["largest error, LSB"], cells["SQNR"]])
    return Columns(names, rows)


def decision_table(precision: Precision) -> Columns:
    """The signals of one bit."""
    rows: list[list[str]] = []
    faults: list[tuple[int, int]] = []
    for name, seen in precision.decisions.items():
        if seen.differing:
            faults.append((len(rows), 3))
        first = "-" if seen.first_differing is None else f"{seen.first_differing:,}"
        rows.append([SYMBOLS[name], f"{seen.fixed:,}", f"{seen.real:,}", f"{seen.differing:,}", first])
    return Columns(["signal", "steps at 1, fixed", "float", "steps that differ", "first"], rows, faults)


def parameter_table(parameters: Sequence[Quantised]) -> Columns:
    """What quantisation makes of each parameter."""
    names = [
        "parameter",
        "value",
        "format",
        "raw",
        "becomes",
        "error, LSB",
        "relative error",
        "missing fraction bits",
    ]
    rows: list[list[str]] = []
    faults: list[tuple[int, int]] = []
    for one in parameters:
        missing = one.missing_fraction_bits
        if one.rounds_to_zero:
            faults.append((len(rows), names.index("becomes")))
        if one.relative_error > WARNED_ERROR:
            faults.append((len(rows), names.index("relative error")))
        rows.append(
            [
                one.name,
                f"{one.value:.9g}",
                str(one.fmt),
                f"{one.word:#x}",
                f"{one.quantised:.9g}",
                f"{one.error_lsb:+.3f}",
                f"{one.relative_error:.2g}",
                _or(missing, "-"),
            ]
        )
    return Columns(names, rows, faults)


def _recalibrations(result: Result) -> str:
    found = result.recalibrations
    if found is None:
        return "none"
    refused = found.status[found.status != Status.GOOD]
    if not refused.size:
        return str(found.step.size)
    why = ", ".join(Status(status).name for status in np.unique(refused))
    return f"{found.step.size}, {refused.size} of them refused ({why})"


def _or(number: int | None, otherwise: str) -> str:
    return otherwise if number is None else str(number)


def _latency(trials: Score) -> str:
    return f"{1000 * trials.mean_latency_s:.0f} ms" if trials.well_timed.any() else "none"
