"""Recalibration: δp and δd follow the spontaneous rate of the inferior olive (IO).

Source: Herreros et al. 2014, "Adaptive calibration of the model" and Appendix 2. At the end of each period
the IO detections of that period, counted before the gate, over the time in which the IO was not blanked give
the rate x in Hz, and two rational functions give the plasticity that keeps w from drifting at that rate::

    δp(x) = (α2·x² + α1·x + α0) / (β2·x² + β1·x + β0)      δd(x) = (γ1·x + γ0) / (β2·x² + β1·x + β0)

The eight coefficients come from ``calibration``; with P in steps a trial, D in events a trial and w without
unit, x in Hz, α0 is in steps·events², β0 in steps²·events², γ0 in steps²·events, and each higher coefficient
in that of the one below it per Hz.

**When.** Step k is the k-th since reset, P the steps of a period. All channels share one evaluator, which
visits one after the other for :func:`visit_steps` V: channel c in round j counts up to, not including, step
jP + cV, and learns with the new δ from step jP + (c+1)V on. Its next period has begun at jP + cV.

**When not.** Where a check fails, the channel keeps the δ that it has and its :class:`Status` says why. A
set of coefficients is whole once its last word, ``GAMMA_EXPONENT``, is written after any other: one that is
not whole when its channel's visit begins, or is written to during it, is not used.

**Fixed point.** The evaluator works on y = x·dt·2^E, the rate as a share of full scale, with the largest
E that keeps y below 1 in the working range. A polynomial is stored as the coefficients of y, over 2^e, where
e is chosen so that the largest lies in [½, 1). Three divisions with rounding (the rate, δp, δd), Horner's
scheme with a rounding each step, and nothing else loses bits.
"""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from .coefficients import Coefficients
from .fixed import QFormat, Rounding, quantize, resize, to_real
from .settings import ChipSettings

__all__ = [
    "CYCLES_PER_CHANNEL",
    "LEAST_DETERMINANT",
    "ROWS",
    "Outcome",
    "Recalibration",
    "RecalibrationFixed",
    "RecalibrationFloat",
    "Row",
    "Status",
    "accumulator_format",
    "check_round",
    "coefficient_words",
    "count_bits",
    "division_bits",
    "evaluation_cycles",
    "largest_shift",
    "rate_limits",
    "row_format",
    "visit_steps",
]

Number = TypeVar("Number", np.float64, np.int64)

WORK_CYCLES = 512
"""Clock cycles that the evaluator may take for a channel at the very most."""
_OVERHEAD_CYCLES = 64
"""Cycles of an evaluation beside those a bit: eleven words loaded, each perhaps held up by an access."""
CYCLES_PER_CHANNEL = 4
"""Clock cycles that the gateware takes for one channel's step."""
SIGNIFICANT_BITS = 12
"""A determinant needs more to count: it is off by up to 3 LSB, and δp and δd shall not be by 0.1 %."""
LEAST_DETERMINANT = 1 << SIGNIFICANT_BITS
"""Raw word of the smallest determinant that is used."""


def visit_steps(channels: int) -> int:
    """V: steps for which the shared evaluator stays with one of `channels` channels.

    It has the cycles of all but the first step of its visit, at least CYCLES_PER_CHANNEL a channel each.
    """
    return 1 + math.ceil(WORK_CYCLES / (CYCLES_PER_CHANNEL * channels))


class Status(enum.IntEnum):
    """What became of a channel's last recalibration; only GOOD has changed δp and δd."""

    NEVER = 0
    """There was none yet."""
    GOOD = 1
    UNOBSERVED = 2
    """The IO was blanked all the time."""
    RATE = 3
    """The rate is outside the working range."""
    DETERMINANT = 4
    """The denominator is negative or too near 0."""
    NEGATIVE = 5
    """δp or δd is below 0."""
    OVERFLOW = 6
    """δp or δd is above its format."""
    INTERRUPTED = 7
    """The coefficients were not whole, or one was written in mid-visit."""


class Row(enum.IntEnum):
    """Where a coefficient is among the words of a channel."""

    ALPHA_0 = 0
    ALPHA_1 = 1
    ALPHA_2 = 2
    ALPHA_EXPONENT = 3
    BETA_0 = 4
    BETA_1 = 5
    BETA_2 = 6
    BETA_EXPONENT = 7
    GAMMA_0 = 8
    GAMMA_1 = 9
    GAMMA_EXPONENT = 11


ROWS = 12
"""Words of a channel, the unused one included."""
EXPONENT = QFormat(True, 8, 0)
"""Format of the three exponents."""


# --- the words of the fixed-point model -------------------------------------------------------


def row_format(config: ChipSettings, row: Row) -> QFormat:
    """Format of a coefficient or exponent."""
    return EXPONENT if row.name.endswith("EXPONENT") else config.formats.coefficient


def accumulator_format(config: ChipSettings) -> QFormat:
    """Format of a polynomial's value: three normalised coefficients stay below 3."""
    return QFormat(True, 3, config.formats.coefficient.fraction_bits)


def count_bits(config: ChipSettings) -> int:
    """Bits of the two counters: a first period is shorter than two."""
    return (2 * config.recalibration_steps - 1).bit_length()


def division_bits(config: ChipSettings) -> int:
    """Bits of dividend and divisor."""
    return max(count_bits(config), accumulator_format(config).width)


def largest_shift(config: ChipSettings) -> int:
    """Doublings of a quotient of polynomials, at most: beyond, any δ but 0 is above its format."""
    formats = config.formats
    return accumulator_format(config).width + max(formats.potentiation.width, formats.depression.width)


def evaluation_cycles(config: ChipSettings) -> int:
    """Clock cycles that the gateware takes for one channel at the most.

    Three divisions, a cycle a bit; five products, a cycle a bit of the rate; some for each word loaded.
    """
    formats = config.formats
    rate = division_bits(config) + config.rate_scale_bits + formats.rate.fraction_bits + 1
    plasticity = 2 * (division_bits(config) + largest_shift(config))
    products = 5 * formats.rate.width
    return rate + plasticity + products + _OVERHEAD_CYCLES


def rate_limits(config: ChipSettings) -> tuple[int, int]:
    """Raw words of the working range's ends."""
    limits = (config.recalibration.rate_min_hz, config.recalibration.rate_max_hz)
    low, high = (quantize(hertz / config.rate_full_scale_hz, config.formats.rate) for hertz in limits)
    return low, high


def coefficient_words(coefficients: Coefficients, config: ChipSettings) -> list[int]:
    """Normalise and quantise.

    Parameters
    ----------
    coefficients : Coefficients
    config : ChipSettings
        Gives ``formats.coefficient`` and the full scale of the rate.

    Returns
    -------
    list of int
        The words of a channel, by :class:`Row`: coefficients of y in ``formats.coefficient``, and
        exponents.

    Raises
    ------
    ValueError
        If an exponent is beyond 8 bits with a sign.
    """
    words = [0] * ROWS
    for first, name in ((Row.ALPHA_0, "alpha"), (Row.BETA_0, "beta"), (Row.GAMMA_0, "gamma")):
        scaled = _scaled(getattr(coefficients, name), config)
        if not all(math.isfinite(value) for value in scaled):
            raise ValueError(f"recalibration.{name}: too large at the full scale of the rate")
        exponent = _exponent(scaled)
        if not EXPONENT.raw_min <= exponent <= EXPONENT.raw_max:
            raise ValueError(
                f"recalibration.{name}: exponent {exponent}, limits are {EXPONENT.raw_min} and "
                f"{EXPONENT.raw_max}"
            )
        for i, value in enumerate(scaled):
            words[first + i] = quantize(math.ldexp(value, -exponent), config.formats.coefficient)
        words[first + 3] = exponent
    return words


def _scaled(values: Sequence[float], config: ChipSettings) -> list[float]:
    """Coefficients of the rate in Hz to those of y; infinite where too large."""
    full_scale = np.float64(config.rate_full_scale_hz)
    with np.errstate(over="ignore"):
        return [float(value * full_scale**i) for i, value in enumerate(values)]


def _exponent(values: Sequence[float]) -> int:
    """The e that brings the largest magnitude over 2**e into [1/2, 1); 0 if all are 0."""
    return math.frexp(max(abs(value) for value in values))[1]


# --- the two models ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome(Generic[Number]):
    """One recalibration of one channel.

    Attributes
    ----------
    step : int
        The first step that learns with the new δ.
    channel : int
    status : Status
    count : int
        IO detections of the period, in unblanked steps.
    observed : int
        Its unblanked steps.
    rate : float or int
        In Hz, or the raw word of ``formats.rate``; 0 where nothing was observed.
    potentiation, depression : float or int
        δp and δd from `step` on: real values, or raw words.
    """

    step: int
    channel: int
    status: Status
    count: int
    observed: int
    rate: Any
    potentiation: Any
    depression: Any


@dataclass
class _Visit:
    """The evaluator at work on a channel: what it sampled, and whether its coefficients stayed."""

    channel: int
    count: int
    observed: int
    interrupted: bool


class Recalibration(ABC, Generic[Number]):
    """Counters, coefficients and evaluator of `channels` channels; the base of both models.

    Parameters
    ----------
    config : ChipSettings
        With ``recalibration.enabled``.
    channels : int

    Attributes
    ----------
    visit_steps : int
        V.
    now : int
        Steps since reset.
    status : list of Status
        Of each channel's last recalibration.

    Raises
    ------
    ValueError
        If a round of visits is longer than a period.
    """

    def __init__(self, config: ChipSettings, channels: int) -> None:
        self.config, self.channels = config, channels
        self.visit_steps = check_round(config, channels)
        self._period = config.recalibration_steps
        self.reset()

    def reset(self) -> None:
        """Forget all counts; every channel has the configured coefficients."""
        self.now = 0
        self._whole = [True] * self.channels
        self.status = [Status.NEVER] * self.channels
        self._counts = np.zeros((2, self.channels), np.int64)
        self._visit: _Visit | None = None

    @abstractmethod
    def evaluate(
        self, channel: int, count: int, observed: int
    ) -> tuple[Status, Number, tuple[Number, Number] | None]:
        """(status, rate, new δp and δd if GOOD) from IO detections and unblanked steps of a channel."""

    def _written(self, channel: int, *, whole: bool) -> None:
        """A coefficient of `channel` is written now, so that a visit of it comes to nothing."""
        self._whole[channel] = whole
        if self._visit is not None and self._visit.channel == channel:
            self._visit.interrupted = True

    def begin(self) -> int:
        """Begin the visit that is due before the next step, if one is; steps until the next change."""
        if self.now < self._period:
            return self._period - self.now
        place, within = divmod(self.now % self._period, self.visit_steps)
        if within == 0 and place < self.channels and self._visit is None:
            count, observed = (int(n) for n in self._counts[:, place])
            self._visit = _Visit(place, count, observed, interrupted=not self._whole[place])
            self._counts[:, place] = 0
        end = (place + 1) * self.visit_steps if place < self.channels else self._period
        return end - self.now % self._period

    def observe(
        self,
        steps: int,
        io: npt.NDArray[np.int64],
        blanked: npt.NDArray[np.int64],
        potentiation: npt.NDArray[Number],
        depression: npt.NDArray[Number],
    ) -> Outcome[Number] | None:
        """Count steps that have passed, no more than :meth:`begin` said; a visit may end with them.

        Parameters
        ----------
        steps : int
        io, blanked : ndarray of int64, shape (channels,)
            How many detections outside blanked steps, and how many blanked steps, were among them.
        potentiation, depression : ndarray, shape (channels,)
            δp and δd of the microcircuit, changed in place.

        Returns
        -------
        Outcome or None
            Of the visit that has ended, if one has.
        """
        self._counts[0] += io
        self._counts[1] += steps - blanked
        self.now += steps
        visit = self._visit
        if visit is None or self.now % self._period % self.visit_steps:
            return None
        self._visit = None
        status, rate, plasticity = self.evaluate(visit.channel, visit.count, visit.observed)
        if visit.interrupted:
            status, plasticity = Status.INTERRUPTED, None
        at = visit.channel
        if plasticity is not None:
            potentiation[at], depression[at] = plasticity
        self.status[at] = status
        learnt = potentiation[at].item(), depression[at].item()
        return Outcome(self.now, at, status, visit.count, visit.observed, rate, *learnt)


def check_round(config: ChipSettings, channels: int) -> int:
    """V, if a round over all channels fits a period; ValueError otherwise."""
    steps = visit_steps(channels)
    if steps * channels > config.recalibration_steps:
        raise ValueError(
            f"recalibration.period_s = {config.recalibration.period_s:g}: "
            f"{config.recalibration_steps} steps, "
            f"limit for {channels} channels is {steps * channels}"
        )
    return steps


class RecalibrationFloat(Recalibration[np.float64]):
    """Recalibration in double precision, with the limits of the fixed-point formats."""

    def reset(self) -> None:
        """Forget all counts; every channel has the configured coefficients."""
        super().reset()
        configured = self.config.recalibration.coefficients
        assert configured is not None
        self.coefficients = [configured] * self.channels

    def evaluate(self, channel: int, count: int, observed: int) -> Any:
        """As the base class says; the rate in Hz."""
        formats, limits = self.config.formats, self.config.recalibration
        coefficients = self.coefficients[channel]
        if observed == 0:
            return Status.UNOBSERVED, 0.0, None
        rate = count / (observed * self.config.time.step_s)
        if not limits.rate_min_hz <= rate <= limits.rate_max_hz:
            return Status.RATE, rate, None
        largest = _exponent(_scaled(coefficients.beta, self.config))
        least = to_real(LEAST_DETERMINANT, accumulator_format(self.config))
        if coefficients.determinant(rate) < math.ldexp(least, largest):
            return Status.DETERMINANT, rate, None
        plasticity = coefficients.plasticity(rate)
        for value, fmt in zip(plasticity, (formats.potentiation, formats.depression), strict=True):
            if value < 0:
                return Status.NEGATIVE, rate, None
            if value > fmt.max:
                return Status.OVERFLOW, rate, None
        return Status.GOOD, rate, plasticity


class RecalibrationFixed(Recalibration[np.int64]):
    """Recalibration on raw words, bit for bit what the gateware computes.

    Attributes
    ----------
    words : ndarray of int64, shape (channels, 12)
        The words of each channel, by :class:`Row`.
    """

    def reset(self) -> None:
        """Forget all counts; every channel has the configured coefficients."""
        super().reset()
        configured = self.config.recalibration.coefficients
        assert configured is not None
        self.words = np.tile(
            np.array(coefficient_words(configured, self.config), np.int64), (self.channels, 1)
        )

    def evaluate(self, channel: int, count: int, observed: int) -> Any:
        """As the base class says; the rate as a raw word, held at its format's largest."""
        config, words = self.config, [int(word) for word in self.words[channel]]
        if observed == 0:
            return Status.UNOBSERVED, 0, None
        fmt = config.formats.rate
        rate = _divide(count, observed, config.rate_scale_bits + fmt.fraction_bits + 1)
        low, high = rate_limits(config)
        if not low <= rate <= high:
            return Status.RATE, min(rate, fmt.raw_max), None
        determinant = self._polynomial(words[Row.BETA_0 : Row.BETA_EXPONENT], rate)
        if determinant < LEAST_DETERMINANT:
            return Status.DETERMINANT, rate, None
        plasticity = []
        for first, count_of, target in (
            (Row.ALPHA_0, 3, config.formats.potentiation),
            (Row.GAMMA_0, 2, config.formats.depression),
        ):
            numerator = self._polynomial(words[first : first + count_of], rate)
            if numerator < 0:
                return Status.NEGATIVE, rate, None
            shift = words[first + 3] - words[Row.BETA_EXPONENT] + target.fraction_bits + 1
            if shift > largest_shift(config) and numerator:
                return Status.OVERFLOW, rate, None
            value = _divide(numerator, determinant, shift)
            if value > target.raw_max:
                return Status.OVERFLOW, rate, None
            plasticity.append(value)
        return Status.GOOD, rate, tuple(plasticity)

    def write(self, channel: int, row: Row, word: int) -> None:
        """Write a coefficient, as an access of the gateware does; ``GAMMA_EXPONENT`` makes the set whole.

        Parameters
        ----------
        channel : int
        row : Row
        word : int
            Raw word; bits beyond its format are dropped.
        """
        fmt = row_format(self.config, row)
        kept = word & ((1 << fmt.width) - 1)
        self.words[channel, row] = kept - (kept >> fmt.width - 1 << fmt.width)
        self._written(channel, whole=row is Row.GAMMA_EXPONENT)

    def _polynomial(self, words: Sequence[int], rate: int) -> int:
        """Horner's scheme from the highest power, each product rounded half up."""
        fmt, by = accumulator_format(self.config), self.config.formats.rate
        product = QFormat(True, fmt.integer_bits, fmt.fraction_bits + by.fraction_bits)
        total = words[-1]
        for word in reversed(words[:-1]):
            total = resize(total * rate, product, fmt, rounding=Rounding.HALF_UP) + word
        return total

    def rate_hz(self, rate: int) -> float:
        """A raw word of the rate in Hz."""
        return float(to_real(rate, self.config.formats.rate)) * self.config.rate_full_scale_hz


def _divide(dividend: int, divisor: int, shift: int) -> int:
    """``dividend·2**(shift-1) / divisor``, rounded half up: one bit more than wanted, then halved."""
    shifted = dividend << shift if shift >= 0 else dividend >> -shift
    return (shifted // divisor + 1) >> 1
