"""Fixed point against float in event detection: ranges, overflow, underflow and error of each signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..config import ChannelDetection, ChipConfig
from ..detection import SIGNALS, DetectorFixed, DetectorFloat
from .ranges import SignalRange

__all__ = ["DetectionPrecision", "measure_detection"]

CHUNK = 1 << 16


@dataclass(frozen=True)
class DetectionPrecision:
    """What fixed point did to the detection of events in one electrode's samples.

    Attributes
    ----------
    signals : dict of str to SignalRange
        By ``detection.SIGNALS``; their steps count samples.
    fixed, real : ndarray of int64
        Sample of each event, by model.
    """

    signals: dict[str, SignalRange]
    fixed: npt.NDArray[np.int64]
    real: npt.NDArray[np.int64]

    @property
    def largest_shift(self) -> int | None:
        """Largest shift of an event in samples; None if one model finds more events than the other."""
        if self.fixed.size != self.real.size:
            return None
        return int(np.abs(self.fixed - self.real).max(initial=0))


def measure_detection(
    samples: npt.NDArray[np.integer],
    config: ChipConfig,
    settings: ChannelDetection,
    rate_hz: float,
    *,
    progress: Callable[[int], None] | None = None,
) -> DetectionPrecision:
    """Run both detectors and measure every signal.

    Parameters
    ----------
    samples : ndarray of int, shape (samples,)
        ADC counts.
    config : ChipConfig
        Gives the formats.
    settings : ChannelDetection
    rate_hz : float
        Sample rate.
    progress : callable, optional
        Told the number of samples done.

    Returns
    -------
    DetectionPrecision

    Raises
    ------
    ConfigError, ValueError
        As the detectors do.
    """
    ours, theirs = DetectorFixed(config, settings, rate_hz), DetectorFloat(config, settings, rate_hz)
    formats = dict.fromkeys(SIGNALS, config.formats.detection_state)
    formats["threshold"] = ours.parameters.threshold_format
    signals = {name: SignalRange(name, fmt) for name, fmt in formats.items()}
    fixed, real = [], []
    for start in range(0, samples.size, CHUNK):
        part = samples[start : start + CHUNK]
        found, wanted = ours.process(part, trace=True), theirs.process(part, trace=True)
        fixed.append(found.samples[0])
        real.append(wanted.samples[0])
        for name, seen in signals.items():
            words, values = found.words[name][:, 0], wanted.signals[name][:, 0]
            # A word at a limit may have been held there: then the float model, which has none, says.
            held = (words == seen.fmt.raw_max) | (words == seen.fmt.raw_min)
            unheld = np.floor(values / seen.fmt.lsb + 0.5).astype(np.int64)
            seen.add(words, np.ascontiguousarray(values), np.where(held, unheld, words))
        if progress:
            progress(start + part.size)
    none = np.zeros(0, np.int64)
    return DetectionPrecision(signals, np.concatenate([none, *fixed]), np.concatenate([none, *real]))
