"""Event detection: from the raw samples of an electrode to the events of its population.

Source: Herreros et al. 2014, "Signal processing": subtract a running mean, rectify, smooth, threshold;
one event an upward crossing, then a refractory time. Sample n, with x the samples:

====  =====================================================
mean  m += (x - m) / 2**a
rect  r = abs(x - m)
var   s += (r - s) / 2**b
long  v += (r - v) / 2**min(c, floor(log2(n + 1)))
thr   s > gain·v, or s > level
====  =====================================================

An optional band-pass for raw input comes first (two biquads, Butterworth). The time constants are powers of
two of the sample period, the nearest to those configured, so that in hardware each average is a shift and
two adds; ``gain`` has a few bits and multiplies by shifts and adds. The threshold is relative to v, the
channel's long-run mean variability, unless configured absolute: a multiple carries over between recordings
whose gain differs. v's time constant grows with the samples seen, so that it starts as a plain average.

Float and fixed share one formula, :func:`_detect`, on float64 or on raw words. In fixed point every state has
the one format ``formats.detection_state``, whose fraction bits the slowest average needs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numba
import numpy as np
import numpy.typing as npt
import scipy.signal
from numba import types
from numba.extending import overload

from .config import ChannelDetection, ChipConfig, ConfigError
from .fixed import quantize

__all__ = ["Detections", "Detector", "DetectorFixed", "DetectorFloat", "detection_score", "events_in_steps"]

Number = TypeVar("Number", np.float64, np.int64)

_SIGNALS = ("filtered", "mean", "variability", "threshold")
_BANDPASS_ORDER = 2


@dataclass(frozen=True)
class Detections:
    """What a detector found in a stretch of samples.

    Attributes
    ----------
    samples : list of ndarray of int64
        For each channel, the index of the sample of each event, counted from the detector's reset.
    signals : mapping of str to ndarray, shape (samples, channels)
        ``filtered``, ``mean``, ``variability``, ``threshold`` in ADC counts; empty unless asked for.
    """

    samples: list[npt.NDArray[np.int64]]
    signals: Mapping[str, npt.NDArray[np.float64]]


def _divide(value, bits):  # type: ignore[no-untyped-def]
    """``value / 2**bits``; an integer is rounded half up."""
    raise TypeError("compiled code only")


@overload(_divide)
def _divide_overload(value, bits):  # type: ignore[no-untyped-def]
    if isinstance(value, types.Float):
        return lambda value, bits: value * 2.0**-bits
    return lambda value, bits: (value + (1 << bits >> 1)) >> bits


@numba.njit(cache=True)
def _detect(  # type: ignore[no-untyped-def]
    x, biquads, biquad_bits, biquad_state, average, counts, shape, gain, gain_bits, level, crossed, signals
):  # fmt: skip
    """Run every channel over ``x.shape[0]`` samples, in place; the only statement of the detector.

    ``average[c]`` is (m, s, v), ``counts[c]`` is (samples seen, samples since the last event, above).
    `shape` is (a, b, c, refractory, settle, fraction bits to add after the filter).
    """
    mean_bits, smooth_bits, long_bits, refractory, settle, align = shape
    for ch in range(x.shape[1]):
        mean, smooth, long = average[ch, 0], average[ch, 1], average[ch, 2]
        seen, since, above = counts[ch, 0], counts[ch, 1], counts[ch, 2] != 0
        warm_bits = 0
        while warm_bits < long_bits and (2 << warm_bits) <= seen + 1:
            warm_bits += 1
        for n in range(x.shape[0]):
            value = x[n, ch]
            for section in range(biquads.shape[0]):
                b0, b1, b2 = biquads[section, 0], biquads[section, 1], biquads[section, 2]
                a1, a2 = biquads[section, 3], biquads[section, 4]
                state = biquad_state[ch, section]
                total = b0 * value + b1 * state[0] + b2 * state[1] - a1 * state[2] - a2 * state[3]
                out = _divide(total, biquad_bits)
                state[1], state[0] = state[0], value
                state[3], state[2] = state[2], out
                value = out
            value = value * (1 << align)
            mean += _divide(value - mean, mean_bits)
            rectified = abs(value - mean)
            smooth += _divide(rectified - smooth, smooth_bits)
            if warm_bits < long_bits and (2 << warm_bits) <= seen + 1:
                warm_bits += 1
            long += _divide(rectified - long, warm_bits)
            threshold = _divide(gain * long, gain_bits) if gain > 0 else level
            was_above, above = above, smooth > threshold
            if above and not was_above and since >= refractory and seen >= settle:
                crossed[n, ch] = True
                since = 0
            since += 1
            seen += 1
            if signals.shape[0] > 0:
                signals[0, n, ch], signals[1, n, ch] = value, mean
                signals[2, n, ch], signals[3, n, ch] = smooth, threshold
        average[ch, 0], average[ch, 1], average[ch, 2] = mean, smooth, long
        counts[ch, 0], counts[ch, 1], counts[ch, 2] = seen, since, above


class Detector(ABC, Generic[Number]):
    """Event detection on `channels` electrodes; the base of both models.

    Parameters
    ----------
    config : ChipConfig
        Gives the formats.
    channel : ChannelDetection
        ``config.detection.pn`` or ``config.detection.io``.
    rate_hz : float
        Sample rate.
    channels : int
        Electrodes side by side, at least 1.

    Attributes
    ----------
    mean_bits, smooth_bits, variability_bits : int
        The shifts a, b and c.
    refractory_samples, settle_samples : int
        Samples from one event to the next at least, and without event after reset.

    Raises
    ------
    ConfigError
        If a time constant or frequency does not suit the sample rate, or a format is too narrow.
    """

    _dtype: type[Number]
    _biquads: npt.NDArray[Number]
    _biquad_state: npt.NDArray[Number]
    _average: npt.NDArray[Number]
    _gain: Number
    _level: Number

    def __init__(
        self, config: ChipConfig, channel: ChannelDetection, rate_hz: float, channels: int = 1
    ) -> None:
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise ConfigError(f"rate = {rate_hz:g} Hz: must be above 0")
        if channels < 1:
            raise ValueError(f"channels = {channels}: at least 1")
        self.config, self.channel = config, channel
        self.rate_hz, self.channels = rate_hz, channels
        self.mean_bits = self._bits("mean_tau_s", channel.mean_tau_s)
        self.smooth_bits = self._bits("smooth_tau_s", channel.smooth_tau_s)
        self.variability_bits = self._bits("variability_tau_s", channel.variability_tau_s)
        # Never shorter than configured, so that no step has two events.
        self.refractory_samples = math.ceil(channel.refractory_s * rate_hz - 1e-9)
        self.settle_samples = round(channel.settle_s * rate_hz)
        self._shape = (
            self.mean_bits,
            self.smooth_bits,
            self.variability_bits,
            self.refractory_samples,
            self.settle_samples,
            self._align(),
        )
        self._biquads, self._biquad_bits = self._filter()
        self._gain, self._gain_bits, self._level = self._threshold()
        self.reset()

    def _bits(self, field: str, tau_s: float) -> int:
        """log2 of a time constant in samples, rounded."""
        bits = round(math.log2(max(tau_s * self.rate_hz, 1e-9)))
        limit = self.config.formats.detection_state.fraction_bits
        if not 1 <= bits <= limit:
            raise ConfigError(
                f"detection {field} = {tau_s:g} at {self.rate_hz:g} Hz: 2**{bits} samples, limits are 2**1 "
                f"and 2**{limit}, the fraction bits of formats.detection_state"
            )
        return bits

    def _sections(self) -> npt.NDArray[np.float64]:
        """Biquads (b0, b1, b2, a1, a2) of the band-pass, shape (sections, 5); no row without one."""
        band = self.channel.bandpass_hz
        if band is None:
            return np.zeros((0, 5))
        if band[1] >= self.rate_hz / 2:
            raise ConfigError(
                f"detection bandpass_hz = {band[0]:g} to {band[1]:g}: limit at {self.rate_hz:g} Hz is "
                f"{self.rate_hz / 2:g}"
            )
        sections = scipy.signal.butter(_BANDPASS_ORDER, band, "bandpass", fs=self.rate_hz, output="sos")
        return np.delete(sections, 3, axis=1)

    @abstractmethod
    def _align(self) -> int:
        """Fraction bits that the averages have more than the filter."""

    @abstractmethod
    def _filter(self) -> tuple[npt.NDArray[Number], int]:
        """Biquads, and the fraction bits of their coefficients."""

    @abstractmethod
    def _threshold(self) -> tuple[Number, int, Number]:
        """(gain or 0, its fraction bits, absolute level)."""

    @abstractmethod
    def _input(self, samples: npt.NDArray[Any]) -> npt.NDArray[Number]:
        """Samples in the detector's number type."""

    @abstractmethod
    def _output(self, signals: npt.NDArray[Number]) -> npt.NDArray[np.float64]:
        """Recorded signals in ADC counts."""

    def reset(self) -> None:
        """Forget all samples."""
        self._biquad_state = np.zeros((self.channels, self._biquads.shape[0], 4), self._dtype)
        self._average = np.zeros((self.channels, 3), self._dtype)
        self._counts = np.zeros((self.channels, 3), np.int64)
        self._counts[:, 1] = np.iinfo(np.int64).max // 2  # no event yet

    def process(self, samples: npt.ArrayLike, *, trace: bool = False) -> Detections:
        """Detect events in a stretch of samples; the state carries over to the next call.

        Parameters
        ----------
        samples : array_like of int, shape (samples, channels), or (samples,) for one channel
            ADC counts.
        trace : bool
            Record the internal signals too.

        Returns
        -------
        Detections

        Raises
        ------
        ValueError
            If the shape does not fit or a sample is no whole number within ``formats.sample``.
        """
        given = np.asarray(samples)
        if given.ndim not in (1, 2) or (given.shape[1] if given.ndim == 2 else 1) != self.channels:
            raise ValueError(f"samples of shape {given.shape}: needs (samples, {self.channels})")
        if given.dtype.kind not in "iu":
            raise ValueError(f"samples are {given.dtype}, must be whole ADC counts")
        fmt = self.config.formats.sample
        if given.size and (given.min() < fmt.raw_min or given.max() > fmt.raw_max):
            raise ValueError(
                f"samples from {given.min()} to {given.max()}: outside formats.sample = {fmt}, limits are "
                f"{fmt.raw_min} and {fmt.raw_max}"
            )
        x: npt.NDArray[Number] = self._input(given.reshape(-1, self.channels))
        first = int(self._counts[0, 0])
        crossed = np.zeros(x.shape, np.bool_)
        recorded = np.empty((len(_SIGNALS) if trace else 0, *x.shape), self._dtype)
        _detect(
            x, self._biquads, self._biquad_bits, self._biquad_state, self._average, self._counts,
            self._shape, self._gain, self._gain_bits, self._level, crossed, recorded,
        )  # fmt: skip
        signals = dict(zip(_SIGNALS, self._output(recorded), strict=True)) if trace else {}
        return Detections([first + np.flatnonzero(column) for column in crossed.T], signals)


class DetectorFloat(Detector[np.float64]):
    """Event detection in double precision."""

    _dtype = np.float64

    def _align(self) -> int:
        return 0

    def _filter(self) -> Any:
        return self._sections(), 0

    def _threshold(self) -> Any:
        relative = self.channel.relative
        level = self.channel.threshold
        return (level, 0, 0.0) if relative else (0.0, 0, level)

    def _input(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return samples.astype(np.float64)

    def _output(self, signals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return signals


class DetectorFixed(Detector[np.int64]):
    """Event detection on raw words; what its gateware will compute, bit for bit."""

    _dtype = np.int64

    def _align(self) -> int:
        formats = self.config.formats
        fraction = formats.sample.fraction_bits
        if self.channel.bandpass_hz is not None:
            fraction = formats.filter_state.fraction_bits
            span = formats.filter_state.width + formats.filter_coefficient.width + 3
            if span > 62:
                raise ConfigError(
                    f"formats.filter_state = {formats.filter_state}, formats.filter_coefficient = "
                    f"{formats.filter_coefficient}: a biquad's sum has {span} bits, limit is 62"
                )
        align = formats.detection_state.fraction_bits - fraction
        if align < 0:
            raise ConfigError(
                f"formats.detection_state = {formats.detection_state}: needs at least the {fraction} "
                "fraction bits of its input"
            )
        return align

    def _filter(self) -> Any:
        fmt = self.config.formats.filter_coefficient
        sections = self._sections()
        outside = sections[(sections < fmt.min) | (sections > fmt.max)]
        if outside.size:
            raise ConfigError(
                f"formats.filter_coefficient = {fmt}: a coefficient of the band-pass is {outside[0]:.4g}, "
                f"limits are {fmt.min:g} and {fmt.max:.6g}"
            )
        return np.asarray(quantize(sections, fmt)), fmt.fraction_bits

    def _threshold(self) -> Any:
        formats = self.config.formats
        value = self.channel.threshold
        fmt = formats.detection_gain if self.channel.relative else formats.detection_state
        raw = np.int64(quantize(value, fmt))
        if self.channel.relative:
            return raw, fmt.fraction_bits, np.int64(0)
        return np.int64(0), 0, raw

    def _input(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        shift = 0
        if self.channel.bandpass_hz is not None:
            shift = self.config.formats.filter_state.fraction_bits - self.config.formats.sample.fraction_bits
        return samples.astype(np.int64) << shift

    def _output(self, signals: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.ldexp(signals, -self.config.formats.detection_state.fraction_bits))


def events_in_steps(
    samples: npt.NDArray[np.int64], n_samples: int, rate_hz: float, config: ChipConfig
) -> tuple[npt.NDArray[np.int64], int]:
    """Events by sample index to events by step.

    Parameters
    ----------
    samples : ndarray of int64
        Sample index of each event.
    n_samples : int
        Length of the recording.
    rate_hz : float
        Sample rate.
    config : ChipConfig
        Gives the step.

    Returns
    -------
    (ndarray of int64, int)
        The step that each event falls into, and the number of steps: that of the last sample, plus 1.
    """
    per_sample = 1 / (rate_hz * config.time.step_s)
    n_steps = int((n_samples - 1) * per_sample + 1e-9) + 1 if n_samples else 0
    return np.floor(samples * per_sample + 1e-9).astype(np.int64), n_steps


def detection_score(
    samples: npt.NDArray[np.int64],
    labels: npt.NDArray[Any],
    rate_hz: float,
    *,
    before_s: float = 0.005,
    after_s: float = 0.015,
) -> tuple[int, int, int]:
    """Compare detections with labelled events.

    Parameters
    ----------
    samples : ndarray of int64
        Sample index of each detection.
    labels : ndarray, shape (recording,)
        Nonzero during each labelled event.
    rate_hz : float
        Sample rate.
    before_s, after_s : float
        A detection from `before_s` before an event's start to `after_s` after its end is that event's.

    Returns
    -------
    (int, int, int)
        Labelled events, those found, and detections that belong to none.
    """
    edges = np.diff(np.concatenate([[0], (np.asarray(labels) != 0).astype(np.int8), [0]]))
    starts = np.flatnonzero(edges == 1) - round(before_s * rate_hz)
    ends = np.flatnonzero(edges == -1) + round(after_s * rate_hz)
    inside = (samples >= starts[:, None]) & (samples <= ends[:, None])
    return starts.size, int(inside.any(axis=1).sum()), int((~inside.any(axis=0)).sum())
