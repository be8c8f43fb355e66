"""What event detection is set to, an electrode each: real values, raw words, and where each word is."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .config import ChannelDetection, ChipConfig, ConfigError
from .fixed import UQ, QFormat, quantize

__all__ = ["SECTIONS", "TAPS", "DetectionParameters", "DetectionRow"]

_BANDPASS_ORDER = 2
SECTIONS = 2
"""Biquads of the band-pass."""
TAPS = 5
"""Coefficients of a biquad: b0, b1, b2, a1, a2."""
_WIDEST = 62
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0)


class DetectionRow(enum.IntEnum):
    """Where a parameter is among the words of an electrode; the biquads only where there is a band-pass."""

    MEAN_BITS = 0
    SMOOTH_BITS = 1
    VARIABILITY_BITS = 2
    REFRACTORY = 3
    SETTLE = 4
    GAIN = 5
    LEVEL = 6
    FIRST_B0 = 16
    FIRST_B1 = 17
    FIRST_B2 = 18
    FIRST_A1 = 19
    FIRST_A2 = 20
    SECOND_B0 = 21
    SECOND_B1 = 22
    SECOND_B2 = 23
    SECOND_A1 = 24
    SECOND_A2 = 25

    @property
    def tap(self) -> int | None:
        """Number of a coefficient of the band-pass, first biquad first; None for the others."""
        return self.value - 16 if self.value >= 16 else None


class DetectionParameters:
    """The settings of some electrodes, at a sample rate, as numbers a detector computes with.

    Parameters
    ----------
    config : ChipConfig
        Gives the formats.
    settings : ChannelDetection or sequence of ChannelDetection
        One an electrode.
    rate_hz : float
        Sample rate.

    Attributes
    ----------
    settings : tuple of ChannelDetection
    electrodes : int
    filtered : bool
        Whether there is a band-pass; an electrode without one then has biquads that change nothing.
    bits : ndarray of int64, shape (electrodes, 3)
        The shifts a, b and c: log2 of the time constants of mean, variability and long-run variability.
    waits : ndarray of int64, shape (electrodes, 2)
        Samples from one event to the next at least, and without event after reset.
    sections : ndarray of float64, shape (electrodes, 2 or 0, 5)
        Biquads (b0, b1, b2, a1, a2), the high-pass one first.
    most_bits : int
        Largest shift: the fraction bits of ``formats.detection_state``.
    count_format : QFormat
        Of the counts of samples: both waits, and the samples seen, which stay at its maximum.
    threshold_format : QFormat
        Of gain·v and of the level.

    Raises
    ------
    ConfigError
        If a time constant or frequency does not suit the sample rate.
    ValueError
        If there is no electrode.
    """

    def __init__(
        self, config: ChipConfig, settings: ChannelDetection | Sequence[ChannelDetection], rate_hz: float
    ) -> None:
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise ConfigError(f"rate = {rate_hz:g} Hz: must be above 0")
        each = (settings,) if isinstance(settings, ChannelDetection) else tuple(settings)
        if not each:
            raise ValueError("settings: at least one electrode")
        self.config, self.settings, self.rate_hz, self.electrodes = config, each, rate_hz, len(each)
        state, gain = config.formats.detection_state, config.formats.detection_gain
        self.most_bits = state.fraction_bits
        fields = ("mean_tau_s", "smooth_tau_s", "variability_tau_s")
        self.bits = np.array([[self._bits(name, getattr(one, name)) for name in fields] for one in each])
        # The refractory time is never shorter than configured, so that no step has two events.
        waits = [(math.ceil(s.refractory_s * rate_hz - 1e-9), round(s.settle_s * rate_hz)) for s in each]
        self.waits = np.array(waits, np.int64)
        self.filtered = any(one.bandpass_hz is not None for one in each)
        self.sections = np.array([self._biquads(one) for one in each]).reshape(self.electrodes, -1, TAPS)
        self.count_format = UQ(max(self.most_bits, int(self.waits.max()).bit_length()), 0)
        self.threshold_format = QFormat(True, state.integer_bits + gain.integer_bits, state.fraction_bits)

    def _bits(self, field: str, tau_s: float) -> int:
        """log2 of a time constant in samples, rounded."""
        bits = round(math.log2(max(tau_s * self.rate_hz, 1e-9)))
        if not 1 <= bits <= self.most_bits:
            raise ConfigError(
                f"detection {field} = {tau_s:g} at {self.rate_hz:g} Hz: 2**{bits} samples, limits are 2**1 "
                f"and 2**{self.most_bits}, the fraction bits of formats.detection_state"
            )
        return bits

    def _biquads(self, one: ChannelDetection) -> npt.NDArray[np.float64]:
        """The band-pass of an electrode, shape (sections, 5); no row where no electrode has one."""
        band = one.bandpass_hz
        if band is None:
            return np.array([_IDENTITY] * SECTIONS if self.filtered else [])
        if band[1] >= self.rate_hz / 2:
            raise ConfigError(
                f"detection bandpass_hz = {band[0]:g} to {band[1]:g}: limit at {self.rate_hz:g} Hz is "
                f"{self.rate_hz / 2:g}"
            )
        from scipy.signal import butter  # a second to load, for band-passes alone

        sections = butter(_BANDPASS_ORDER, band, "bandpass", fs=self.rate_hz, output="sos")
        # First the biquad that passes no constant, exactly: 1, -2, 1 are words of any format that has them.
        gain = sections[:, 0].prod()
        sections[:, :3] /= sections[:, :1]
        sections = sections[np.argsort(np.abs(sections[:, :3].sum(axis=1)))]
        sections[1, :3] *= gain
        return np.asarray(np.delete(sections, 3, axis=1))

    # --- raw words ----------------------------------------------------------------------------

    @property
    def input_format(self) -> QFormat:
        """Format of what the averages get: of the band-pass's output, or of a sample."""
        return self.config.formats.filter_state if self.filtered else self.config.formats.sample

    @property
    def align(self) -> int:
        """Fraction bits that the averages have more than their input.

        Raises
        ------
        ConfigError
            If the formats of filter and averages do not go together.
        """
        formats, given = self.config.formats, self.input_format
        if self.filtered:
            span = given.width + formats.filter_coefficient.width + 3
            if span > _WIDEST:
                raise ConfigError(
                    f"formats.filter_state = {given}, formats.filter_coefficient = "
                    f"{formats.filter_coefficient}: a biquad's sum has {span} bits, limit is {_WIDEST}"
                )
        align = formats.detection_state.fraction_bits - given.fraction_bits
        if align < 0:
            raise ConfigError(
                f"formats.detection_state = {formats.detection_state}: needs at least the "
                f"{given.fraction_bits} fraction bits of its input"
            )
        if given.width + align > _WIDEST:
            raise ConfigError(
                f"formats.detection_state = {formats.detection_state}: its input {given} has "
                f"{given.width + align} bits with as many fraction bits, limit is {_WIDEST}"
            )
        return align

    @property
    def rows(self) -> tuple[DetectionRow, ...]:
        """The parameters that there are."""
        return tuple(row for row in DetectionRow if row.tap is None or self.filtered)

    def row_format(self, row: DetectionRow) -> QFormat:
        """Format of a parameter's word. A shift above `most_bits` counts as that."""
        formats = self.config.formats
        if row.tap is not None:
            return formats.filter_coefficient
        if row is DetectionRow.GAIN:
            return formats.detection_gain
        if row is DetectionRow.LEVEL:
            return formats.detection_state
        if row in (DetectionRow.REFRACTORY, DetectionRow.SETTLE):
            return self.count_format
        return UQ(self.most_bits.bit_length(), 0)

    def words(self, row: DetectionRow) -> npt.NDArray[np.int64]:
        """Configured raw word of each electrode; ConfigError where the format does not hold it."""
        if row.tap is not None:
            return self._coefficient_words().reshape(self.electrodes, -1)[:, row.tap]
        if row in (DetectionRow.GAIN, DetectionRow.LEVEL):
            wanted = [one.relative is (row is DetectionRow.GAIN) for one in self.settings]
            values = [one.threshold for one in self.settings]
            return np.where(wanted, quantize(values, self.row_format(row)), 0)
        if row in (DetectionRow.REFRACTORY, DetectionRow.SETTLE):
            return self.waits[:, row - DetectionRow.REFRACTORY]
        return self.bits[:, row - DetectionRow.MEAN_BITS]

    def _coefficient_words(self) -> npt.NDArray[np.int64]:
        fmt = self.config.formats.filter_coefficient
        outside = self.sections[(self.sections < fmt.min) | (self.sections > fmt.max)]
        if outside.size:
            raise ConfigError(
                f"formats.filter_coefficient = {fmt}: a coefficient of the band-pass is {outside[0]:.4g}, "
                f"limits are {fmt.min:g} and {fmt.max:.6g}"
            )
        words: Any = quantize(self.sections, fmt)
        return np.asarray(words, np.int64)
