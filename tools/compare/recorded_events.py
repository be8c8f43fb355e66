"""The events of a recording for ``microzone compare``: detected in float, fixed and RTL, and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from ...golden_model.config import ChipConfig
from ...golden_model.events import Events, Steps
from ...golden_model.precision.detection import DetectionPrecision, measure_detection
from ...sim.build.simulators import Simulator
from ..report.output import progress_bar
from .detect import RecordedChannel

__all__ = ["RecordedEvents", "detect_all"]


@dataclass(frozen=True)
class RecordedEvents:
    """What three detectors found in one channel of a recording.

    Attributes
    ----------
    source : str
        File and channel.
    events : Events
        Those of the fixed-point model.
    precision : DetectionPrecision
    difference : str or None
        Where RTL first differs from fixed; None if nowhere.
    duration_s : float
        Of the recording.
    """

    source: str
    events: Events
    precision: DetectionPrecision
    difference: str | None
    duration_s: float

    def describe(self) -> str:
        """Number and rate of the events, and what the models make of them.

        One channel alone does not make a session: without the other, w and the CRs stay as they are.
        """
        fixed, real, shift = self.precision.fixed, self.precision.real, self.precision.largest_shift
        agreement = (
            f"float finds {real.size}"
            if shift is None
            else f"float finds as many, at most {shift} sample{'s' if shift != 1 else ''} away"
        )
        rtl = "RTL has the same events as fixed" if self.difference is None else self.difference
        return (
            f"{self.source}: {fixed.size} events in {self.duration_s:.1f} s "
            f"({fixed.size / self.duration_s:.2f} Hz) in fixed point; {agreement}; {rtl}. "
            "With one channel only there is no learning (demo --io-recording makes a session of it)"
        )

    def summary(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return {
            "source": self.source,
            "duration_s": self.duration_s,
            "events_fixed": int(self.precision.fixed.size),
            "events_float": int(self.precision.real.size),
            "largest_shift_samples": self.precision.largest_shift,
            "bit_accurate": self.difference is None,
            "first_difference": self.difference,
            "signals": {name: seen.summary() for name, seen in self.precision.signals.items()},
        }


def detect_all(
    source: RecordedChannel,
    config: ChipConfig,
    *,
    as_pn: bool,
    simulator: Simulator,
    console: Console,
) -> RecordedEvents:
    """Detect events with the float model, the fixed-point model and the gateware.

    Parameters
    ----------
    source : RecordedChannel
    config : ChipConfig
    as_pn : bool
        The events are those of the PN, with its settings; else of the IO.
    simulator : Simulator
        Where the gateware runs.
    console : rich.console.Console
        For progress bars.

    Returns
    -------
    RecordedEvents

    Raises
    ------
    FileError, ConfigError
        If recording or settings cannot be used.
    ToolError, BenchFailure
        From the simulation.
    """
    settings = config.detection.pn if as_pn else config.detection.io
    length = source.samples.size
    source.check(config)
    with progress_bar("detect", length, console) as progress:
        precision = measure_detection(source.samples, config, settings, source.rate_hz, progress=progress)
    with progress_bar("rtl", length, console) as progress:
        found = source.detect_rtl(simulator, config, settings, progress=progress)
    events = source.events(precision.fixed, config, as_pn=as_pn)
    difference = _difference(precision.fixed, found.samples[0])
    name = f"{source.recording.path.name}, {source.name}"
    return RecordedEvents(name, events, precision, difference, length / source.rate_hz)


def _difference(fixed: Steps, rtl: Steps) -> str | None:
    """The first event that only one of the two has."""
    alone = np.setxor1d(fixed, rtl)
    if not alone.size:
        return None
    whose = "fixed" if np.isin(alone[0], fixed) else "RTL"
    return f"detection: sample {alone[0]:,} has an event in {whose} only"
