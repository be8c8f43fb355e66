"""Statistics of a fixed-point signal beside its float counterpart: range, overflow, underflow, error, SQNR.

A :class:`SignalRange` takes a signal stretch by stretch, so that its memory does not grow with the session;
:func:`signal_formats` says which signals of the microcircuit are numbers, and in which words.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config import ChipConfig
from ..fixed import QFormat, to_real

__all__ = ["SignalRange", "decibels", "floor_log2", "log2_histogram", "needed_bits", "signal_formats"]

Words = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


def signal_formats(config: ChipConfig) -> dict[str, QFormat]:
    """Format of each signal of the microcircuit that is a number; by ``microcircuit.SIGNALS``, in its order.

    The other signals are one bit each. The age is a counter up to K.
    """
    return {
        "age": QFormat(False, config.trace_steps.bit_length(), 0),
        "trace": config.formats.trace,
        "weight": config.formats.weight,
        "scaled": config.scaled_format,
    }


def floor_log2(magnitudes: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Exponent of the power of two at or below each magnitude, all above 0; exact for integers too.

    Parameters
    ----------
    magnitudes : array_like of int or float
        Integers below 2**63.

    Returns
    -------
    ndarray of int64
    """
    given = np.asarray(magnitudes)
    exponents = np.frexp(given.astype(np.float64))[1].astype(np.int64) - 1
    if given.dtype.kind in "iu":  # above 53 bits the conversion may have rounded up to the next power
        exponents -= (np.int64(1) << np.minimum(exponents, 62)) > given
        exponents = np.minimum(exponents, 62)
    return exponents


def log2_histogram(values: npt.ArrayLike, fraction_bits: int = 0) -> Counter[int | None]:
    """How many magnitudes lie in [2^e, 2^(e+1)), by e; under None, how many are 0.

    Parameters
    ----------
    values : array_like of int or float
        Raw words with `fraction_bits`, or real values.

    Returns
    -------
    Counter
        Of the values, by e; of equal length in sum.
    """
    given = np.abs(np.asarray(values)).ravel()
    exponents = floor_log2(given[given > 0])
    found: Counter[int | None] = Counter()
    if exponents.size:
        first = int(exponents.min())
        counts = np.bincount(exponents - first)
        found.update({first + int(e) - fraction_bits: int(counts[e]) for e in np.flatnonzero(counts)})
    if exponents.size < given.size:
        found[None] = given.size - exponents.size
    return found


def needed_bits(fmt: QFormat, lowest: float, highest: float) -> tuple[bool, int]:
    """What a format with the fraction bits of `fmt` must have to hold both values.

    Parameters
    ----------
    fmt : QFormat
    lowest, highest : float
        Real values; each rounds to a word half up.

    Returns
    -------
    (bool, int)
        Whether it must be signed, and its integer bits, a sign included: no fewer than those of `fmt`.
    """
    low, high = (math.floor(value / fmt.lsb + 0.5) for value in (lowest, highest))
    signed = fmt.signed or low < 0
    # In two's complement -2**n takes as many bits as 2**n - 1.
    width = max(max(high, 0).bit_length(), (-low - 1).bit_length() if low < 0 else 0) + signed
    return signed, max(width - fmt.fraction_bits, fmt.integer_bits + (signed and not fmt.signed))


def decibels(signal_energy: float, error_energy: float) -> float:
    """Ratio of two energies in dB: infinite without error, minus infinite without signal."""
    if error_energy == 0:
        return math.inf
    return 10 * math.log10(signal_energy / error_energy) if signal_energy else -math.inf


@dataclass
class SignalRange:
    """What one number of the fixed-point model did over a session, beside the float model's.

    Attributes
    ----------
    name : str
    fmt : QFormat
    steps : int
        Seen so far.
    raw_min, raw_max : int
        Smallest and largest raw word; 0 before the first step.
    real_min, real_max : float
        Of the float model.
    overflows_top, overflows_bottom : int
        Steps in which the word would have left its format upwards or downwards, and was held at the limit.
    wanted_min, wanted_max : int
        Smallest and largest raw word before it was held.
    first_overflow : int or None
        The first such step.
    underflows : int
        Steps in which the float value is not 0, but below half an LSB.
    first_underflow : int or None
    histogram, real_histogram : Counter
        Of the words' values and of the float model's; see :func:`log2_histogram`.
    largest_error_lsb : float
        Largest |fixed - float| in LSB.
    first_beyond_lsb : int or None
        The first step in which that is above 1.
    """

    name: str
    fmt: QFormat
    steps: int = 0
    raw_min: int = 0
    raw_max: int = 0
    real_min: float = 0.0
    real_max: float = 0.0
    overflows_top: int = 0
    overflows_bottom: int = 0
    wanted_min: int = 0
    wanted_max: int = 0
    first_overflow: int | None = None
    underflows: int = 0
    first_underflow: int | None = None
    histogram: Counter[int | None] = field(default_factory=Counter)
    real_histogram: Counter[int | None] = field(default_factory=Counter)
    largest_error_lsb: float = 0.0
    first_beyond_lsb: int | None = None
    _bits: int = 0
    _sums: Reals = field(default_factory=lambda: np.zeros(3))

    def add(self, words: Words, real: Reals, wanted: Words | None = None) -> Reals:
        """Take the next stretch of the signal.

        Parameters
        ----------
        words : ndarray of int64, shape (steps,)
            Raw words in :attr:`fmt`.
        real : ndarray of float64, same shape
            The float model's values.
        wanted : ndarray of int64, same shape, optional
            The words before they were held at a limit, on the same scale; else `words`.

        Returns
        -------
        ndarray of float64, same shape
            Fixed less float in LSB.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        wanted = words if wanted is None else wanted
        if not words.shape == real.shape == wanted.shape or words.ndim != 1:
            raise ValueError(
                f"{self.name}: shapes {words.shape}, {real.shape}, {wanted.shape}: must be equal"
            )
        if not words.size:
            return np.zeros(0)
        first = self.steps == 0
        self.raw_min = int(words.min()) if first else min(self.raw_min, int(words.min()))
        self.raw_max = int(words.max()) if first else max(self.raw_max, int(words.max()))
        self.real_min = float(real.min()) if first else min(self.real_min, float(real.min()))
        self.real_max = float(real.max()) if first else max(self.real_max, float(real.max()))
        self.wanted_min = int(wanted.min()) if first else min(self.wanted_min, int(wanted.min()))
        self.wanted_max = int(wanted.max()) if first else max(self.wanted_max, int(wanted.max()))
        top, bottom = wanted > self.fmt.raw_max, wanted < self.fmt.raw_min
        self.overflows_top += int(top.sum())
        self.overflows_bottom += int(bottom.sum())
        lost = (real != 0) & (np.abs(real) < self.fmt.lsb / 2)
        self.underflows += int(lost.sum())
        error = (to_real(words, self.fmt) - real) / self.fmt.lsb
        self.first_overflow = self._first(self.first_overflow, top | bottom)
        self.first_underflow = self._first(self.first_underflow, lost)
        self.first_beyond_lsb = self._first(self.first_beyond_lsb, np.abs(error) > 1)
        self.histogram.update(log2_histogram(words, self.fmt.fraction_bits))
        self.real_histogram.update(log2_histogram(real))
        self.largest_error_lsb = max(self.largest_error_lsb, float(np.abs(error).max()))
        self._bits |= int(np.bitwise_or.reduce(words))
        scaled = real / self.fmt.lsb
        self._sums += [float(np.square(scaled).sum()), float(np.square(error).sum()), float(error.sum())]
        self.steps += words.size
        return np.asarray(error)

    def _first(self, known: int | None, happens: npt.NDArray[np.bool_]) -> int | None:
        if known is not None or not happens.any():
            return known
        return self.steps + int(np.argmax(happens))

    @property
    def overflows(self) -> int:
        """Steps with an overflow, upwards or downwards."""
        return self.overflows_top + self.overflows_bottom

    @property
    def rms_error_lsb(self) -> float:
        """Root mean square of fixed less float, in LSB."""
        return math.sqrt(self._sums[1] / self.steps) if self.steps else 0.0

    @property
    def mean_error_lsb(self) -> float:
        """Mean of fixed less float, in LSB: the bias."""
        return float(self._sums[2] / self.steps) if self.steps else 0.0

    @property
    def sqnr_db(self) -> float:
        """Energy of the float signal over that of the error, in dB; infinite where there is none."""
        return decibels(float(self._sums[0]), float(self._sums[1]))

    @property
    def unused_top_bits(self) -> int:
        """Leading bits of the word, a needless sign included, that no value used."""
        low = -self.raw_min - 1 if self.raw_min < 0 else 0
        used = max(max(self.raw_max, 0).bit_length(), low.bit_length()) + (self.raw_min < 0)
        return self.fmt.width - used

    @property
    def wasted_integer_bits(self) -> int:
        """Integer bits that could go without an overflow; a format has no fewer than 0 of them."""
        return min(self.unused_top_bits, self.fmt.integer_bits)

    @property
    def wasted_fraction_bits(self) -> int:
        """Trailing bits of the fraction that were 0 in every word."""
        if self._bits == 0:
            return self.fmt.fraction_bits
        return min((self._bits & -self._bits).bit_length() - 1, self.fmt.fraction_bits)

    def summary(self) -> dict[str, Any]:
        """Everything as plain numbers, for JSON; an infinite SQNR is None."""
        sqnr = self.sqnr_db
        return {
            "format": str(self.fmt),
            "raw_min": self.raw_min,
            "raw_max": self.raw_max,
            "min": to_real(self.raw_min, self.fmt),
            "max": to_real(self.raw_max, self.fmt),
            "float_min": self.real_min,
            "float_max": self.real_max,
            "overflows_top": self.overflows_top,
            "overflows_bottom": self.overflows_bottom,
            "first_overflow_step": self.first_overflow,
            "underflows": self.underflows,
            "first_underflow_step": self.first_underflow,
            "wasted_integer_bits": self.wasted_integer_bits,
            "wasted_fraction_bits": self.wasted_fraction_bits,
            "unused_top_bits": self.unused_top_bits,
            "largest_error_lsb": self.largest_error_lsb,
            "rms_error_lsb": self.rms_error_lsb,
            "mean_error_lsb": self.mean_error_lsb,
            "sqnr_db": sqnr if math.isfinite(sqnr) else None,
            "first_step_beyond_lsb": self.first_beyond_lsb,
            "log2_histogram": _plain(self.histogram),
            "float_log2_histogram": _plain(self.real_histogram),
        }


def _plain(histogram: Counter[int | None]) -> dict[str, int]:
    """Exponents in ascending order as text, and ``zero``."""
    found = {str(e): histogram[e] for e in sorted(e for e in histogram if e is not None)}
    return found | ({"zero": histogram[None]} if None in histogram else {})
