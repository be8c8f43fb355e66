"""The first place where fixed point and float decide differently, and which rounding is behind it.

The age is an integer and the other inputs of a decision are earlier decisions, so that the first that differs
is always B, of process 3: S = w·T against θ. Then, with Δ for fixed less float,

    Δ(S - θ) = Δw·T_float + w_fixed·ΔT - Δθ        ΔT = Δτ0 - age·Δslope
    Δw = Δw0 + Σ Π·(Δδp - C·Δδd)                   since w was last at a limit, and with Δw there for Δw0

which splits what moved S across θ into one part for each quantised parameter. The largest is named, with the
fraction bits that its parameter would need for S to stay on the side of θ that it is on in float.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..config import ChipConfig, ConfigError, PrecisionWarning
from ..fixed import WIDEST, QFormat, quantize, to_real
from ..microcircuit import SIGNALS, Microcircuit, MicrocircuitFixed
from ..recalibration import Outcome, RecalibrationFixed, Status

__all__ = [
    "Divergence",
    "Rounding",
    "Stretch",
    "decision_divergence",
    "process_stretch",
    "recalibration_divergence",
]

_MOST_BITS = 16
"""More bits than these are not tried."""


class Stretch(NamedTuple):
    """One model's answer to a stretch of a session; arrays have an entry a step.

    Attributes
    ----------
    signals : mapping of str to ndarray
        By ``microcircuit.SIGNALS``.
    wanted : ndarray
        w before it was held at its limits.
    potentiation, depression : ndarray
        δp and δd with which the step learnt, on the scale of w.
    outcomes : sequence of Outcome
        Recalibrations that ended.
    """

    signals: Mapping[str, npt.NDArray[Any]]
    wanted: npt.NDArray[Any]
    potentiation: npt.NDArray[Any]
    depression: npt.NDArray[Any]
    outcomes: Sequence[Outcome[Any]]


def process_stretch(
    model: Microcircuit[Any],
    start: int,
    pn: npt.NDArray[np.bool_],
    io: npt.NDArray[np.bool_],
    blanked: npt.NDArray[np.bool_],
) -> Stretch:
    """Run a model of one channel through the stretch that begins at step `start`."""
    words = model.config.quantised
    in_words = isinstance(model, MicrocircuitFixed)
    before, plasticity = model.weight[0], [value[0] for value in model.plasticity()]
    response = model.process(pn, io, blanked=blanked, trace=True)
    by_step = []
    for value, name, shift in zip(
        plasticity,
        ("potentiation", "depression"),
        (words.potentiation_shift, words.depression_shift),
        strict=True,
    ):
        course = np.full(pn.shape, value)
        for outcome in response.recalibrations:
            changed = getattr(outcome, name)
            course[outcome.step - start :] = changed << shift if in_words else changed
        by_step.append(course)
    signals = response.signals
    last = np.concatenate([[before], signals["weight"][:-1]])
    change = np.where(signals["gated_io"] != 0, by_step[0] - by_step[1], by_step[0])
    wanted = np.where(signals["plasticity_trace"] != 0, last + change, last)
    return Stretch(signals, wanted, by_step[0], by_step[1], response.recalibrations)


class Rounding:
    """Where the error of w, fixed less float, comes from, as far as the stretches go that were added.

    Parameters
    ----------
    config : ChipConfig
    """

    def __init__(self, config: ChipConfig) -> None:
        self._fmt = config.formats.weight
        initial = to_real(config.quantised.weight_initial, self._fmt) - config.weight.initial
        self._parts = {"weight.initial": initial, "potentiation": 0.0, "depression": 0.0}

    def parts(self, ours: Stretch, theirs: Stretch, stop: int) -> dict[str, float]:
        """Parts of Δw after `stop` more steps of a stretch in which no decision has differed before.

        Parameters
        ----------
        ours, theirs : Stretch
            Of the fixed and of the float model.
        stop : int

        Returns
        -------
        dict of str to float
            ``weight.initial``, or ``saturation`` once w was at a limit; ``potentiation``, ``depression``.
        """
        parts = dict(self._parts)
        weights = ours.signals["weight"][:stop], theirs.signals["weight"][:stop]
        held = (ours.wanted[:stop] != weights[0]) | (theirs.wanted[:stop] != weights[1])
        begin = 0
        if held.any():
            last = int(np.flatnonzero(held)[-1])
            begin = last + 1
            error = float(to_real(weights[0][last], self._fmt) - weights[1][last])
            parts = {"saturation": error, "potentiation": 0.0, "depression": 0.0}
        span = slice(begin, stop)
        eligible = theirs.signals["plasticity_trace"][span] != 0
        gated = eligible & (theirs.signals["gated_io"][span] != 0)
        for name, steps, sign in (("potentiation", eligible, 1), ("depression", gated, -1)):
            error_by_step = to_real(getattr(ours, name)[span], self._fmt) - getattr(theirs, name)[span]
            parts[name] += sign * float(error_by_step[steps].sum())
        return parts

    def add(self, ours: Stretch, theirs: Stretch) -> None:
        """Take a whole stretch."""
        self._parts = self.parts(ours, theirs, ours.wanted.size)


@dataclass(frozen=True)
class Divergence:
    """The first decision that fixed point takes differently.

    Attributes
    ----------
    step : int
    signal : str
        By ``microcircuit.SIGNALS``, or ``recalibration``.
    cause : str
        In words.
    parameter : str or None
        The parameter whose rounding has the largest part in it.
    fmt : QFormat or None
        Its format.
    missing_fraction_bits : int or None
        How many more would leave the decision as it is in float; None if that format's alone would not.
    margin : float
        S - θ in float; NaN for a recalibration.
    parts : mapping of str to float
        What moved S - θ, by parameter.
    """

    step: int
    signal: str
    cause: str
    parameter: str | None
    fmt: QFormat | None
    missing_fraction_bits: int | None
    margin: float = math.nan
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def process(self) -> int | None:
        """Number of the process that the signal belongs to."""
        return SIGNALS.get(self.signal)

    def summary(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return {
            "step": self.step,
            "signal": self.signal,
            "process": self.process,
            "cause": self.cause,
            "parameter": self.parameter,
            "format": None if self.fmt is None else str(self.fmt),
            "missing_fraction_bits": self.missing_fraction_bits,
            "margin": None if math.isnan(self.margin) else self.margin,
            "parts": dict(self.parts),
        }


def decision_divergence(
    step: int, at: int, ours: Stretch, theirs: Stretch, config: ChipConfig, rounding: Rounding
) -> Divergence:
    """Why B differs in a step.

    Parameters
    ----------
    step : int
        Of the session.
    at : int
        The same step, from the start of the stretch.
    ours, theirs : Stretch
        Of the fixed and of the float model.
    config : ChipConfig
    rounding : Rounding
        Up to the start of the stretch.

    Returns
    -------
    Divergence
    """
    words, formats = config.quantised, config.formats
    weight = float(to_real(ours.signals["weight"][at], formats.weight))
    trace, scaled = (float(theirs.signals[name][at]) for name in ("trace", "scaled"))
    age = int(theirs.signals["age"][at])
    parts = {name: part * trace for name, part in rounding.parts(ours, theirs, at + 1).items()}
    parts["trace.start"] = weight * (to_real(words.trace_start, formats.trace) - config.trace.start)
    slope_error = to_real(words.trace_slope, formats.trace) - config.trace_slope
    parts["slope of the trace"] = -weight * age * slope_error
    parts["threshold.level"] = config.threshold.level - to_real(words.threshold, formats.threshold)
    margin, moved = scaled - config.threshold.level, sum(parts.values())
    fixed_below = bool(ours.signals["below"][at])
    culprit = max(parts, key=lambda name: -parts[name] if fixed_below else parts[name])
    label, value, fmt = {
        "weight.initial": ("weight.initial", config.weight.initial, formats.weight),
        "saturation": ("weight", None, formats.weight),
        "potentiation": ("plasticity.potentiation", config.plasticity.potentiation, formats.potentiation),
        "depression": ("plasticity.depression", config.plasticity.depression, formats.depression),
        "trace.start": ("trace.start", config.trace.start, formats.trace),
        "slope of the trace": ("slope of the trace", config.trace_slope, formats.trace),
        "threshold.level": ("threshold.level", config.threshold.level, formats.threshold),
    }[culprit]
    if culprit in ("potentiation", "depression"):
        learnt = float(getattr(theirs, culprit)[at])
        if learnt != value:  # a recalibrated one: rounded itself, or computed from rounded coefficients
            error = getattr(ours, culprit)[at] * formats.weight.lsb - learnt
            label, value = f"recalibrated {culprit}", None
            fmt = fmt if abs(error) <= fmt.lsb / 2 else formats.coefficient
    missing = _missing_bits(value, fmt, parts[culprit], margin, moved)
    sides = ("below", "not below") if fixed_below else ("not below", "below")
    cause = (
        f"S = w*T is {sides[0]} θ in fixed point and {sides[1]} in float, where it is {abs(margin):.3g} from "
        f"it: rounding moves S - θ by {moved:.3g}, of which {parts[culprit]:.3g} by {label} in {fmt}"
    )
    return Divergence(step, "below", cause, label, fmt, missing, margin, parts)


def _missing_bits(value: float | None, fmt: QFormat, part: float, margin: float, moved: float) -> int | None:
    """The fewest more fraction bits with which S is on the side of θ that it is on in float.

    `part` of `moved` is in proportion to the rounding of `value`, or, without it, halves with each bit.
    """
    for more in range(1, min(_MOST_BITS, WIDEST - fmt.width) + 1):
        left = 2.0**-more
        if value is not None:
            wider = QFormat(fmt.signed, fmt.integer_bits, fmt.fraction_bits + more)
            now, then = ((to_real(quantize(value, one), one) - value) for one in (fmt, wider))
            left = then / now
        if (margin + moved - part + part * left < 0) == (margin < 0):
            return more
    return None


def recalibration_divergence(ours: Outcome[Any], theirs: Outcome[Any], config: ChipConfig) -> Divergence:
    """Why a recalibration is refused in one model only, by trying wider rates and coefficients.

    Parameters
    ----------
    ours, theirs : Outcome
        Of the fixed and of the float model.
    config : ChipConfig

    Returns
    -------
    Divergence
    """
    cause = f"the recalibration is {ours.status.name} in fixed point, {theirs.status.name} in float"
    for more in range(1, _MOST_BITS + 1):
        for name in ("coefficient", "rate"):
            fmt: QFormat = getattr(config.formats, name)
            wider = QFormat(fmt.signed, fmt.integer_bits, fmt.fraction_bits + more)
            if _status_with(config, name, wider, ours) is theirs.status:
                return Divergence(ours.step, "recalibration", cause, f"formats.{name}", fmt, more)
    return Divergence(ours.step, "recalibration", cause, None, None, None)


def _status_with(config: ChipConfig, name: str, fmt: QFormat, ours: Outcome[Any]) -> Status | None:
    """What becomes of a recalibration with another format; None if the configuration is refused then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)  # only tried, not used
        try:
            changed = config.replace(formats={name: str(fmt)})
        except ConfigError:
            return None
    status: Status = RecalibrationFixed(changed, 1).evaluate(0, ours.count, ours.observed)[0]
    return status
