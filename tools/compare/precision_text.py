"""What the precision of a session comes to, in sentences: for the terminal and for the HTML report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...golden_model.config import ChipConfig
from ...golden_model.events import Events
from ...golden_model.microcircuit import SIGNALS
from ...golden_model.precision.detection import DetectionPrecision
from ...golden_model.precision.precision import Overflow, Precision
from ...golden_model.precision.quantisation import Quantised

__all__ = ["SYMBOLS", "Finding", "find_detection_faults", "find_faults", "place"]

SYMBOLS = {
    "age": "age",
    "trace": "T",
    "weight": "w",
    "scaled": "S = w·T",
    "rate": "IO rate",
    "potentiation": "δp",
    "depression": "δd",
    "active": "active",
    "plasticity_trace": "Π",
    "delayed_inhibition": "NΛ",
    "gated_io": "C",
    "below": "B",
    "cr": "F, the CR",
    "inhibition": "N",
}
"""What the paper calls a signal."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict.

    Attributes
    ----------
    title : str
        What was looked at, and whether it is as wanted.
    good : bool
    text : str
    """

    title: str
    good: bool
    text: str


def place(step: int, events: Events, config: ChipConfig) -> str:
    """A step with its time and, where there are trials, its trial."""
    seconds = step * config.time.step_s
    minutes, rest = divmod(seconds, 60)
    time = f"{minutes:.0f} min {rest:.1f} s" if minutes else f"{rest:.3f} s"
    trial = int(np.searchsorted(events.cs, step, side="right"))
    return f"step {step:,} ({time}{f', trial {trial}' if trial else ''})"


def find_faults(
    precision: Precision, parameters: list[Quantised], events: Events, config: ChipConfig
) -> list[Finding]:
    """Overflow, underflow and first divergence; each is there, as good news or bad."""
    steps = f"in {events.n_steps:,} steps"
    found = [
        Finding("OVERFLOW", False, _overflow(overflow, events, config)) for overflow in precision.overflows
    ] or [Finding("no overflow", True, f"no signal left its format {steps}")]
    lost = [
        f"{_name(one.signal)} becomes 0 in {one.fmt} {_times(one.times, one.signal)} in which it is not 0, "
        f"first in {place(one.step, events, config)}: needs {_more(one.missing_fraction_bits, 'fraction')}"
        for one in precision.underflows
    ]
    for parameter in parameters:
        if parameter.rounds_to_zero:
            lost.append(
                f"{parameter.name} = {parameter.value:.3g} becomes 0 in {parameter.fmt}: needs "
                f"{_more(parameter.missing_fraction_bits, 'fraction')}"
            )
    found += [Finding("UNDERFLOW", False, text) for text in lost] or [
        Finding("no underflow", True, "no value became 0 that is not")
    ]
    return [*found, _divergence(precision, events, config)]


def find_detection_faults(precision: DetectionPrecision) -> list[Finding]:
    """Overflows of the signals of a detector; nothing where there are none.

    They cross 0 all the time, so that values below half an LSB are no fault.
    """
    return [
        Finding(
            "OVERFLOW",
            False,
            f"detection: {name} leaves {seen.fmt} in sample {seen.first_overflow:,}, and in "
            f"{seen.overflows:,} samples in all; without limits it would go from {seen.real_min:.4g} to "
            f"{seen.real_max:.4g}",
        )
        for name, seen in precision.signals.items()
        if seen.overflows
    ]


def _overflow(found: Overflow, events: Events, config: ChipConfig) -> str:
    signed = found.needed.startswith("S") and not found.fmt.signed
    beyond = found.highest if found.highest > found.fmt.max else found.lowest
    text = (
        f"{_name(found.signal)} leaves {found.fmt} in {place(found.step, events, config)}, "
        f"and {_times(found.times, found.signal)} in all; without limits it would reach {beyond:.4g}: needs "
        f"{_more(found.missing_integer_bits, 'integer')}{', a sign among them' if signed else ''}: "
        f"{found.needed}"
    )
    if found.changes is not None:
        text += f"; the first CR decision that this changes is in {place(found.changes, events, config)}"
    return text


def _divergence(precision: Precision, events: Events, config: ChipConfig) -> Finding:
    found = precision.divergence
    if found is None:
        text = f"fixed and float take the same ones in all {events.n_steps:,} steps"
        return Finding("no decision differs", True, text)
    process = "" if found.process is None else f" (process {found.process})"
    missing = ""
    if found.missing_fraction_bits is not None:
        missing = f": needs {_more(found.missing_fraction_bits, 'fraction')}"
    elif found.parameter is not None:
        missing = ", and more fraction bits of that format alone would not do"
    if found.parameter in ("plasticity.potentiation", "plasticity.depression") and found.fmt is not None:
        spare = config.formats.weight.fraction_bits - found.fmt.fraction_bits
        if (found.missing_fraction_bits or 0) > spare:
            missing += f", and with it formats.weight = {config.formats.weight}, for δ may be no finer than w"
    where = place(found.step, events, config)
    return Finding("FIRST DIVERGENCE", False, f"{where}, {found.signal}{process}: {found.cause}{missing}")


def _name(signal: str) -> str:
    process = SIGNALS.get(signal)
    symbol = SYMBOLS[signal]
    return f"{symbol} (formats.{signal})" if process is None else f"{symbol} (process {process}, {signal})"


def _times(count: int, signal: str) -> str:
    unit = "step" if signal in SIGNALS else "recalibration"
    return f"in {count:,} {unit}{'s' if count != 1 else ''}"


def _more(bits: int | None, kind: str) -> str:
    if bits is None:
        return f"more {kind} bits than any format has"
    return f"{bits} more {kind} bit{'s' if bits != 1 else ''}"
