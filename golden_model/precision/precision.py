"""Fixed point against float over a session, signal by signal: ranges, overflow, underflow, first divergence.

Three models go through the session in step: the fixed-point one, the float one with the same limits of w, and
a float one whose w has none. The first two differ by rounding alone, the last two by the limits alone. So
what w would have needed is read off the third, and a decision of the first that is not the second's is due
to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config import ChipConfig
from ..events import Events
from ..fixed import QFormat, to_real
from ..microcircuit import SIGNALS, MicrocircuitFixed, MicrocircuitFloat
from ..recalibration import Outcome, Status
from .divergence import (
    Divergence,
    Rounding,
    Stretch,
    decision_divergence,
    process_stretch,
    recalibration_divergence,
)
from .ranges import SignalRange, needed_bits, signal_formats

__all__ = ["CHUNK", "Decision", "Overflow", "Precision", "Underflow", "measure_precision"]

CHUNK = 1 << 16
"""Steps at a time: 11 signals of three models then take about 20 MB."""
_COURSE = 2000
"""Points of the course of w's error, about."""


@dataclass
class Decision:
    """A signal of one bit: in how many steps it was 1, and in how many fixed and float differed.

    Attributes
    ----------
    fixed, real : int
        Steps in which it was 1, by model.
    differing : int
        Steps in which the models differed.
    first_differing : int or None
        The first such step.
    """

    fixed: int = 0
    real: int = 0
    differing: int = 0
    first_differing: int | None = None

    def add(self, start: int, words: npt.NDArray[np.int64], real: npt.NDArray[np.float64]) -> None:
        """Take the next stretch, which begins at step `start`."""
        differs = words != real
        self.fixed += int(words.sum())
        self.real += int(real.sum())
        self.differing += int(differs.sum())
        if self.first_differing is None and differs.any():
            self.first_differing = start + int(np.argmax(differs))

    def summary(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return {
            "steps_fixed": self.fixed,
            "steps_float": self.real,
            "steps_differing": self.differing,
            "first_differing_step": self.first_differing,
        }


@dataclass(frozen=True)
class Overflow:
    """A signal that left its format.

    Attributes
    ----------
    signal : str
    step : int
        The first step.
    times : int
        Steps, or recalibrations, in which it did.
    lowest, highest : float
        What it would have reached without limits.
    fmt : QFormat
    changes : int or None
        The first step in which a decision is another than without limits; None if none is, or if the
        value is not used at all, as that of a recalibration.
    """

    signal: str
    step: int
    times: int
    lowest: float
    highest: float
    fmt: QFormat
    changes: int | None = None

    @property
    def missing_integer_bits(self) -> int:
        """Integer bits, a sign included, that the format lacks."""
        return needed_bits(self.fmt, self.lowest, self.highest)[1] - self.fmt.integer_bits

    @property
    def needed(self) -> str:
        """The narrowest format with as many fraction bits that holds both values."""
        signed, integer_bits = needed_bits(self.fmt, self.lowest, self.highest)
        return f"{'SU'[not signed]}Q({integer_bits},{self.fmt.fraction_bits})"

    def summary(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return {
            "signal": self.signal,
            "step": self.step,
            "times": self.times,
            "lowest": self.lowest,
            "highest": self.highest,
            "format": str(self.fmt),
            "needed": self.needed,
            "missing_integer_bits": self.missing_integer_bits,
            "first_step_it_changes": self.changes,
        }


@dataclass(frozen=True)
class Underflow:
    """A signal whose values, though not 0, were below half an LSB.

    Attributes
    ----------
    signal : str
    step : int
        The first step.
    times : int
        Steps, or recalibrations, in which they were.
    fmt : QFormat
    missing_fraction_bits : int
        By which the smallest of them would not round to 0.
    """

    signal: str
    step: int
    times: int
    fmt: QFormat
    missing_fraction_bits: int

    @classmethod
    def of(cls, seen: SignalRange, step: int) -> Underflow:
        """From the statistics of a signal, and its first step below half an LSB."""
        least = min(exponent for exponent in seen.real_histogram if exponent is not None)
        return cls(seen.name, step, seen.underflows, seen.fmt, -least - 1 - seen.fmt.fraction_bits)

    def summary(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return {
            "signal": self.signal,
            "step": self.step,
            "times": self.times,
            "format": str(self.fmt),
            "missing_fraction_bits": self.missing_fraction_bits,
        }


@dataclass
class Precision:
    """What fixed point did to a session.

    Attributes
    ----------
    signals : dict of str to SignalRange
        The numbers of the microcircuit, by ``microcircuit.SIGNALS``.
    decisions : dict of str to Decision
        Its signals of one bit.
    recalibrations : dict of str to SignalRange
        Rate as a share of full scale, δp and δd of the recalibrations that changed δ in both models; their
        steps count recalibrations. Empty where the configuration has none.
    recalibration_steps : list of int
        The step of each of those.
    overflows : list of Overflow
    underflows : list of Underflow
    divergence : Divergence or None
        The first decision, or recalibration, that differs between fixed and float.
    course : ndarray of float64, shape (points, 3)
        Error of w (fixed less float, in LSB): the last step of each stretch, the lowest and the highest.
    unlimited : (float, float)
        Lowest and highest w of the float model without limits.
    """

    signals: dict[str, SignalRange]
    decisions: dict[str, Decision]
    recalibrations: dict[str, SignalRange]
    recalibration_steps: list[int] = field(default_factory=list)
    overflows: list[Overflow] = field(default_factory=list)
    underflows: list[Underflow] = field(default_factory=list)
    divergence: Divergence | None = None
    course: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    unlimited: tuple[float, float] = (0.0, 0.0)

    def summary(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return {
            "signals": {name: seen.summary() for name, seen in self.signals.items()},
            "decisions": {name: seen.summary() for name, seen in self.decisions.items()},
            "recalibrations": {name: seen.summary() for name, seen in self.recalibrations.items()},
            "overflows": [overflow.summary() for overflow in self.overflows],
            "underflows": [underflow.summary() for underflow in self.underflows],
            "first_divergence": None if self.divergence is None else self.divergence.summary(),
            "w_without_limits": list(self.unlimited),
        }


class _Unlimited(MicrocircuitFloat):
    """The float model with a w that has no limits."""

    @staticmethod
    def _parameters(config: ChipConfig) -> Any:
        constants, initial = MicrocircuitFloat._parameters(config)
        return (*constants[:3], -math.inf, math.inf), initial


def measure_precision(
    events: Events,
    config: ChipConfig,
    *,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> Precision:
    """Run a session and measure every signal.

    Parameters
    ----------
    events : Events
    config : ChipConfig
    chunk : int
        Steps at a time; nothing but the memory taken depends on it.
    progress : callable, optional
        Told the number of steps done.

    Returns
    -------
    Precision
    """
    fixed, real, free = MicrocircuitFixed(config), MicrocircuitFloat(config), _Unlimited(config)
    formats = signal_formats(config)
    found = Precision(
        {name: SignalRange(name, fmt) for name, fmt in formats.items()},
        {name: Decision() for name in SIGNALS if name not in formats},
        {},
    )
    dense = (events.pn_steps, events.io_steps, events.blanked_steps)
    rounding = Rounding(config)
    outcomes: list[tuple[Outcome[Any], Outcome[Any]]] = []
    course: list[tuple[float, float, float]] = []
    limits: list[float] = []
    changes: int | None = None
    stride = max(1, -(-events.n_steps // _COURSE))
    for start in range(0, events.n_steps, chunk):
        inputs = tuple(entry[start : start + chunk] for entry in dense)
        ours, theirs, unlimited = (process_stretch(model, start, *inputs) for model in (fixed, real, free))
        for name in SIGNALS:
            words, values = ours.signals[name], theirs.signals[name]
            if name in found.decisions:
                found.decisions[name].add(start, words, values)
                continue
            wanted = ours.wanted if name == "weight" else None
            error = found.signals[name].add(words, values, wanted)
            if name == "weight":
                course += _thin(start, error, stride)
        limits += [float(unlimited.signals["weight"].min()), float(unlimited.signals["weight"].max())]
        if changes is None and found.signals["weight"].overflows:
            changes = _first_decision(start, theirs.signals, unlimited.signals)
        outcomes += zip(ours.outcomes, theirs.outcomes, strict=True)
        if found.divergence is None:
            found.divergence = _first_divergence(start, ours, theirs, config, rounding)
        rounding.add(ours, theirs)
        if progress:
            progress(start + ours.wanted.size)
    found.course = np.array(course)
    found.unlimited = (min(limits), max(limits))
    _judge_weight(found, changes)
    _judge_recalibrations(found, outcomes, config)
    for seen in found.signals.values():
        if seen.first_underflow is not None:
            found.underflows.append(Underflow.of(seen, seen.first_underflow))
    return found


def _thin(start: int, error: npt.NDArray[np.float64], stride: int) -> list[tuple[float, float, float]]:
    """(last step, lowest, highest) of each stretch of at most `stride` steps."""
    parts = [(at, error[at : at + stride]) for at in range(0, error.size, stride)]
    return [(start + at + part.size - 1, float(part.min()), float(part.max())) for at, part in parts]


def _first_decision(
    start: int, ours: Mapping[str, npt.NDArray[Any]], theirs: Mapping[str, npt.NDArray[Any]]
) -> int | None:
    """The first step in which B is another."""
    differs = ours["below"] != theirs["below"]
    return start + int(np.argmax(differs)) if differs.any() else None


def _first_divergence(
    start: int, ours: Stretch, theirs: Stretch, config: ChipConfig, rounding: Rounding
) -> Divergence | None:
    """The first of the stretch: a recalibration that one model refuses, or a decision."""
    at = _first_decision(start, ours.signals, theirs.signals)
    for mine, other in zip(ours.outcomes, theirs.outcomes, strict=True):
        if mine.status is not other.status and (at is None or mine.step <= at):
            return recalibration_divergence(mine, other, config)
    if at is None:
        return None
    return decision_divergence(at, at - start, ours, theirs, config, rounding)


def _judge_weight(found: Precision, changes: int | None) -> None:
    seen = found.signals["weight"]
    if seen.first_overflow is None:
        return
    # The word's own way counts too: it may just reach a limit that the float model just misses.
    low, high = (to_real(word, seen.fmt) for word in (seen.wanted_min, seen.wanted_max))
    lowest, highest = min(found.unlimited[0], low), max(found.unlimited[1], high)
    found.overflows.append(
        Overflow("weight", seen.first_overflow, seen.overflows, lowest, highest, seen.fmt, changes)
    )


def _judge_recalibrations(
    found: Precision, outcomes: Sequence[tuple[Outcome[Any], Outcome[Any]]], config: ChipConfig
) -> None:
    """Fill in ranges, overflows and underflows of the recalibrations."""
    coefficients, formats = config.recalibration.coefficients, config.formats
    if not config.recalibration.enabled or coefficients is None:
        return
    good = [pair for pair in outcomes if pair[0].status is pair[1].status is Status.GOOD]
    found.recalibration_steps = [mine.step for mine, _ in good]
    for index, (name, fmt) in enumerate(
        (("rate", formats.rate), ("potentiation", formats.potentiation), ("depression", formats.depression))
    ):
        scale = config.rate_full_scale_hz if name == "rate" else 1.0
        seen = SignalRange(name, fmt)
        seen.add(
            np.array([getattr(mine, name) for mine, _ in good], np.int64),
            np.array([getattr(other, name) / scale for _, other in good], np.float64),
        )
        found.recalibrations[name] = seen
        if seen.first_underflow is not None:
            step = found.recalibration_steps[seen.first_underflow]
            found.underflows.append(Underflow.of(seen, step))
        if name == "rate":
            continue
        refused = [
            (mine.step, coefficients.plasticity(other.rate)[index - 1])
            for mine, other in outcomes
            if mine.status is Status.OVERFLOW
        ]
        beyond = [(step, value) for step, value in refused if value > fmt.max]
        if beyond:
            highest = max(value for _, value in beyond)
            found.overflows.append(Overflow(name, beyond[0][0], len(beyond), 0.0, highest, fmt))
