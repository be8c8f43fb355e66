"""Event detection: from the raw samples of an electrode to the events of its population.

Source: Herreros et al. 2014, "Signal processing": subtract a running mean, rectify, smooth, threshold;
one event an upward crossing, then a refractory time. Sample n, with x the samples:

====  =============================
mean  m += (x - m) / 2**min(a, l)
rect  r = abs(x - m)
var   s += (r - s) / 2**min(b, l)
long  v += (r - v) / 2**min(c, l)
thr   s > gain·v, or s > level
====  =============================

An optional band-pass for raw input comes first (two biquads, Butterworth). The time constants are powers of
two of the sample period, the nearest to those configured, so that in hardware each average is a shift and
two adds; ``gain`` has a few bits and multiplies by shifts and adds. The threshold is relative to v, the
channel's long-run mean variability, unless configured absolute: a multiple carries over between recordings
whose gain differs.

Each average starts as a plain one: l = floor(log2(n + 1)). So m is the first sample at first, and a constant
offset of the samples is gone with it. Every electrode starts with the first of its samples that is not
blanked: l is 0 until then, and 1 more after a sample that is not blanked where n + 2 is a multiple of
2**(l + 1), which is the same if none is. The band-pass starts as if the first sample had always been there:
both zeros of its first biquad are at 0 Hz, so that this has put out nothing but 0.

Float and fixed share one formula, :func:`_detect`, on float64 or on raw words. In fixed point every state has
the one format ``formats.detection_state``, whose fraction bits the slowest average needs.

Samples of a blanked electrode are not listened to: its filter and averages stand still, there is no event,
and time goes on (the refractory time, and n).

In fixed point everything is bounded whatever the parameters' words: the output of a biquad and what goes
into the averages saturate, and abs(x - m) does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import overload

from .compiled import compiled
from .config import ChannelDetection, ChipConfig
from .detection_parameters import TAPS, DetectionParameters, DetectionRow

__all__ = [
    "SIGNALS",
    "DetectionRow",
    "Detections",
    "Detector",
    "DetectorFixed",
    "DetectorFloat",
    "detection_score",
    "events_in_steps",
]

Number = TypeVar("Number", np.float64, np.int64)

SIGNALS = ("filtered", "mean", "variability", "threshold")
"""The internal signals, in the order of evaluation."""


@dataclass(frozen=True)
class Detections:
    """What a detector found in a stretch of samples.

    Attributes
    ----------
    samples : list of ndarray of int64
        For each electrode, the index of the sample of each event, counted from the detector's reset.
    signals : mapping of str to ndarray of float64, shape (samples, electrodes)
        ``filtered`` (0 while blanked), ``mean``, ``variability``, ``threshold`` in ADC counts; empty unless
        asked for.
    words : mapping of str to ndarray of int64, same shape
        The same as raw words, in fixed point: all of ``formats.detection_state``, but that ``threshold``
        has as many integer bits more as ``formats.detection_gain``.
    """

    samples: list[npt.NDArray[np.int64]]
    signals: Mapping[str, npt.NDArray[np.float64]]
    words: Mapping[str, npt.NDArray[np.int64]]


def _divide(value, bits):  # type: ignore[no-untyped-def]
    """``value / 2**bits``; an integer is rounded half up."""
    raise TypeError("compiled code only")


@overload(_divide)
def _divide_overload(value, bits):  # type: ignore[no-untyped-def]
    if isinstance(value, types.Float):
        return lambda value, bits: value * 2.0**-bits
    return lambda value, bits: (value + (1 << bits >> 1)) >> bits


def _rest(electrodes: int, dtype: type[Any]) -> npt.NDArray[Any]:
    """What each electrode remembers beside its biquads, before the first sample."""
    fields = [("mean", dtype), ("smooth", dtype), ("long", dtype)]  # m, s, v
    counts = [
        ("left", np.int64),  # samples of the refractory time
        ("above", np.int64),  # s above threshold
        ("heard", np.int64),  # a sample that was not blanked
        ("warm", np.int64),  # l
    ]
    return np.zeros(electrodes, np.dtype([*fields, *counts]))


@compiled()
def _detect(  # type: ignore[no-untyped-def]
    x, blanked, seen, biquads, biquad_bits, biquad_state, states, bits, waits, gain, gain_bits,
    level, shape, limits, crossed, signals
):  # fmt: skip
    """Run every electrode over ``x.shape[0]`` samples, in place: the one statement of the detector's step.

    ``calibration.thresholds`` takes its decision over again, for many thresholds at once.

    ``states[e]`` is one of :func:`_rest`, `seen` the samples before these. ``bits[e]`` is (a, b, c),
    ``waits[e]`` is (refractory, settle). `shape` is (largest shift, fraction bits to add after the filter);
    `limits` are those of the filter, then of the averages.
    """
    most_bits, align = shape
    filter_min, filter_max, state_min, state_max = limits
    masked = blanked.shape[0] > 0
    for e in range(x.shape[1]):
        state = states[e]
        mean, smooth, long = state.mean, state.smooth, state.long
        left, above = state.left, state.above != 0
        begun, warm = state.heard != 0, state.warm
        mean_bits, smooth_bits = min(bits[e, 0], most_bits), min(bits[e, 1], most_bits)
        long_bits = min(bits[e, 2], most_bits)
        refractory, settle = waits[e, 0], waits[e, 1]
        now = seen
        for n in range(x.shape[0]):
            value = x[n, e]
            heard = not (masked and blanked[n, e])
            if heard:
                if not begun and biquads.shape[1] > 0:
                    biquad_state[e, 0, 0], biquad_state[e, 0, 1] = value, value
                begun = True
                for section in range(biquads.shape[1]):
                    b0, b1, b2 = biquads[e, section, 0], biquads[e, section, 1], biquads[e, section, 2]
                    a1, a2 = biquads[e, section, 3], biquads[e, section, 4]
                    past = biquad_state[e, section]  # the last two inputs, the last two outputs
                    total = b0 * value + b1 * past[0] + b2 * past[1] - a1 * past[2] - a2 * past[3]
                    out = min(max(_divide(total, biquad_bits), filter_min), filter_max)
                    past[1], past[0] = past[0], value
                    past[3], past[2] = past[2], out
                    value = out
                value = min(max(value * (1 << align), state_min), state_max)
                mean += _divide(value - mean, min(mean_bits, warm))
                rectified = min(abs(value - mean), state_max)
                smooth += _divide(rectified - smooth, min(smooth_bits, warm))
                long += _divide(rectified - long, min(long_bits, warm))
                if warm < most_bits and (now + 2) % (2 << warm) == 0:
                    warm += 1
            else:
                value = value * 0
            threshold = _divide(gain[e] * long, gain_bits) if gain[e] > 0 else level[e]
            if heard:
                was_above, above = above, smooth > threshold
                if above and not was_above and left == 0 and now >= settle:
                    crossed[n, e] = True
                    left = refractory
            if left > 0:
                left -= 1
            now += 1
            if signals.shape[0] > 0:
                signals[0, n, e], signals[1, n, e] = value, mean
                signals[2, n, e], signals[3, n, e] = smooth, threshold
        state.mean = mean
        state.smooth = smooth
        state.long = long
        state.left = left
        state.above = above
        state.heard = begun
        state.warm = warm


class Detector(ABC, Generic[Number]):
    """Event detection on some electrodes; the base of both models.

    Parameters
    ----------
    config : ChipConfig
        Gives the formats.
    settings : ChannelDetection or sequence of ChannelDetection
        ``config.detection.pn`` or ``config.detection.io``, one an electrode.
    rate_hz : float
        Sample rate.

    Attributes
    ----------
    parameters : DetectionParameters
        As configured.
    electrodes : int

    Raises
    ------
    ConfigError
        If a time constant or frequency does not suit the sample rate, or a format is too narrow.
    ValueError
        If there is no electrode.
    """

    _dtype: type[Number]
    _biquads: npt.NDArray[Number]
    _biquad_state: npt.NDArray[Number]
    _gain: npt.NDArray[Number]
    _level: npt.NDArray[Number]

    def __init__(
        self, config: ChipConfig, settings: ChannelDetection | Sequence[ChannelDetection], rate_hz: float
    ) -> None:
        self.parameters = DetectionParameters(config, settings, rate_hz)
        self.config, self.rate_hz, self.electrodes = config, rate_hz, self.parameters.electrodes
        self._bits, self._waits = self.parameters.bits.copy(), self.parameters.waits.copy()
        self._shape = (self.parameters.most_bits, self._align())
        self._biquads, self._biquad_bits = self._filter()
        self._gain, self._gain_bits, self._level = self._threshold()
        self.reset()

    @abstractmethod
    def _align(self) -> int:
        """Fraction bits that the averages have more than the filter."""

    @abstractmethod
    def _filter(self) -> tuple[npt.NDArray[Number], int]:
        """Biquads, and the fraction bits of their coefficients."""

    @abstractmethod
    def _threshold(self) -> tuple[npt.NDArray[Number], int, npt.NDArray[Number]]:
        """(gain or 0, its fraction bits, absolute level); arrays of an entry an electrode."""

    @abstractmethod
    def _limits(self) -> tuple[Number, Number, Number, Number]:
        """Smallest and largest output of a biquad, then state of an average."""

    @abstractmethod
    def _input(self, samples: npt.NDArray[Any]) -> npt.NDArray[Number]:
        """Samples in the detector's number type."""

    @abstractmethod
    def _output(self, signals: npt.NDArray[Number]) -> npt.NDArray[np.float64]:
        """Recorded signals in ADC counts."""

    def reset(self) -> None:
        """Forget all samples; parameters that were written stay."""
        self._biquad_state = np.zeros((self.electrodes, self._biquads.shape[1], 4), self._dtype)
        self._states = _rest(self.electrodes, self._dtype)
        self._seen = 0

    def process(
        self, samples: npt.ArrayLike, *, blanked: npt.ArrayLike | None = None, trace: bool = False
    ) -> Detections:
        """Detect events in a stretch of samples; the state carries over to the next call.

        Parameters
        ----------
        samples : array_like of int, shape (samples, electrodes), or (samples,) for one electrode
            ADC counts.
        blanked : array_like of bool, same shape, optional
            Samples that are not listened to; else none.
        trace : bool
            Record the internal signals too.

        Returns
        -------
        Detections

        Raises
        ------
        ValueError
            If a shape does not fit or a sample is no whole number within ``formats.sample``.
        """
        given = np.asarray(samples)
        if given.ndim not in (1, 2) or (given.shape[1] if given.ndim == 2 else 1) != self.electrodes:
            raise ValueError(f"samples of shape {given.shape}: needs (samples, {self.electrodes})")
        if given.dtype.kind not in "iu":
            raise ValueError(f"samples are {given.dtype}, must be whole ADC counts")
        fmt = self.config.formats.sample
        if given.size and (given.min() < fmt.raw_min or given.max() > fmt.raw_max):
            raise ValueError(
                f"samples from {given.min()} to {given.max()}: outside formats.sample = {fmt}, limits are "
                f"{fmt.raw_min} and {fmt.raw_max}"
            )
        x: npt.NDArray[Number] = self._input(given.reshape(-1, self.electrodes))
        mask: npt.NDArray[np.bool_] = np.zeros((0, self.electrodes), np.bool_)
        if blanked is not None:
            mask = np.asarray(blanked, np.bool_)
            if mask.shape != given.shape:
                raise ValueError(f"blanked of shape {mask.shape}: needs that of the samples, {given.shape}")
            mask = mask.reshape(x.shape)
        crossed = np.zeros(x.shape, np.bool_)
        recorded = np.empty((len(SIGNALS) if trace else 0, *x.shape), self._dtype)
        _detect(
            x, mask, self._seen, self._biquads, self._biquad_bits, self._biquad_state, self._states,
            self._bits, self._waits, self._gain, self._gain_bits, self._level, self._shape,
            self._limits(), crossed, recorded,
        )  # fmt: skip
        first = self._seen
        self._seen += x.shape[0]
        signals = dict(zip(SIGNALS, self._output(recorded), strict=True)) if trace else {}
        words: dict[str, npt.NDArray[np.int64]] = {}
        if trace and self._dtype is np.int64:
            words = dict(zip(SIGNALS, recorded.astype(np.int64, copy=False), strict=True))
        return Detections([first + np.flatnonzero(column) for column in crossed.T], signals, words)


class DetectorFloat(Detector[np.float64]):
    """Event detection in double precision, without limits."""

    _dtype = np.float64

    def _align(self) -> int:
        return 0

    def _filter(self) -> Any:
        return self.parameters.sections.copy(), 0

    def _threshold(self) -> Any:
        settings = self.parameters.settings
        gain = np.array([one.threshold if one.relative else 0.0 for one in settings])
        return gain, 0, np.array([one.threshold for one in settings])

    def _limits(self) -> Any:
        return -np.inf, np.inf, -np.inf, np.inf

    def _input(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return samples.astype(np.float64)

    def _output(self, signals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return signals


class DetectorFixed(Detector[np.int64]):
    """Event detection on raw words; what its gateware computes, bit for bit."""

    _dtype = np.int64

    def _align(self) -> int:
        return self.parameters.align

    def _filter(self) -> Any:
        given = self.parameters
        words = [given.words(row) for row in given.rows if row.tap is not None]
        biquads = np.array(words, np.int64).T.reshape(self.electrodes, -1, TAPS)
        return np.ascontiguousarray(biquads), self.config.formats.filter_coefficient.fraction_bits

    def _threshold(self) -> Any:
        gain, level = (self.parameters.words(row) for row in (DetectionRow.GAIN, DetectionRow.LEVEL))
        return gain, self.config.formats.detection_gain.fraction_bits, level

    def _limits(self) -> Any:
        first, then = self.config.formats.filter_state, self.config.formats.detection_state
        return first.raw_min, first.raw_max, then.raw_min, then.raw_max

    def _input(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        shift = self.parameters.input_format.fraction_bits - self.config.formats.sample.fraction_bits
        return samples.astype(np.int64) << shift

    def _output(self, signals: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.ldexp(signals, -self.config.formats.detection_state.fraction_bits))

    def write(self, electrode: int, row: DetectionRow, word: int) -> None:
        """Write a parameter, as an access of the gateware does: it counts from the next sample on.

        Parameters
        ----------
        electrode : int
        row : DetectionRow
            A gain of 0 makes the level count.
        word : int
            Raw word in ``parameters.row_format(row)``; bits beyond it are dropped.

        Raises
        ------
        ValueError
            If there is no such electrode, or no band-pass to have the row.
        """
        fmt = self.parameters.row_format(row)
        kept = word & ((1 << fmt.width) - 1)
        array, index = self._place(electrode, row)
        array[index] = kept - (1 << fmt.width) if kept > fmt.raw_max else kept

    def read(self, electrode: int, row: DetectionRow) -> int:
        """Raw word of a parameter; ValueError as for :meth:`write`."""
        array, index = self._place(electrode, row)
        return int(array[index])

    def _place(self, electrode: int, row: DetectionRow) -> tuple[npt.NDArray[np.int64], tuple[int, ...]]:
        if not 0 <= electrode < self.electrodes or row not in self.parameters.rows:
            raise ValueError(f"electrode {electrode}, row {row}: there is none")
        if row.tap is not None:
            return self._biquads, (electrode, *divmod(row.tap, TAPS))
        if row is DetectionRow.GAIN:
            return self._gain, (electrode,)
        if row is DetectionRow.LEVEL:
            return self._level, (electrode,)
        if row >= DetectionRow.REFRACTORY:
            return self._waits, (electrode, row - DetectionRow.REFRACTORY)
        return self._bits, (electrode, row - DetectionRow.MEAN_BITS)


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
