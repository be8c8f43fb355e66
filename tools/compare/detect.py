"""Events from one channel of a recording: what ``microzone detect`` and ``demo --io-recording`` share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.config import ChannelDetection, ChipConfig
from ...golden_model.detection import (
    SIGNALS,
    Detections,
    Detector,
    DetectorFixed,
    DetectorFloat,
    detection_score,
    events_in_steps,
)
from ...golden_model.events import Events, Steps
from ...golden_model.files import FileError
from ...golden_model.recordings.recording import Recording, read_recording
from ...sim.build.simulators import Simulator

__all__ = ["DETECTORS", "RecordedChannel", "describe_held", "describe_labels"]

DETECTORS: dict[str, type[Detector[Any]]] = {"float": DetectorFloat, "fixed": DetectorFixed}
"""By the name of the model."""


@dataclass(frozen=True)
class RecordedChannel:
    """One channel of a recording.

    Attributes
    ----------
    recording : Recording
    name : str
    rate_hz : float
        Sample rate.
    samples : ndarray of int, shape (samples,)
        ADC counts.
    """

    recording: Recording
    name: str
    rate_hz: float
    samples: npt.NDArray[Any]

    @classmethod
    def read(cls, path: Path, name: str, rate_hz: float, lsb: float | None) -> RecordedChannel:
        """Read it; FileError if file or channel cannot be used."""
        recording = read_recording(path)
        return cls(recording, name, rate_hz, recording.channel(name, lsb=lsb))

    def labels(self, name: str) -> npt.NDArray[Any]:
        """The variable that marks true events; FileError if it is missing or of another length."""
        marks = self.recording.vector(name)
        if marks.size != self.samples.size:
            raise FileError(
                f"{self.recording.path}: {name!r} has {marks.size} entries, {self.name!r} {self.samples.size}"
            )
        return marks

    @property
    def held(self) -> int:
        """Samples that the converter held at its limit: a pile at the largest or the smallest value.

        Of a signal that is not cut off the outermost value is a rare one, and the one next to it is not.
        """
        _, piles = np.unique(self.samples, return_counts=True)
        ends = ((piles[0], piles[1]), (piles[-1], piles[-2])) if piles.size > 1 else ()
        return sum(int(end) for end, beside in ends if end > 10 and end > 3 * beside)

    def check(self, config: ChipConfig) -> None:
        """FileError for samples that no detector can use: out of range, or of one or two values alone."""
        fmt, least, most = config.formats.sample, self.samples.min(), self.samples.max()
        where = f"{self.recording.path}: channel {self.name!r}"
        if least < fmt.raw_min or most > fmt.raw_max:
            raise FileError(
                f"{where}: samples from {least} to {most}: outside formats.sample = {fmt}, limits are "
                f"{fmt.raw_min} and {fmt.raw_max}"
            )
        if ((self.samples == least) | (self.samples == most)).all():
            values = f"is {least} throughout" if least == most else f"is {least} or {most} throughout"
            raise FileError(
                f"{where} {values}: no signal of an electrode (volts that were rounded to whole numbers? a "
                "marker?)"
            )

    def detect(
        self, model: str, config: ChipConfig, settings: ChannelDetection, *, trace: bool = False
    ) -> Detections:
        """Run a detector; ConfigError for settings, FileError for samples that it cannot use."""
        self.check(config)
        return DETECTORS[model](config, settings, self.rate_hz).process(self.samples, trace=trace)

    def detect_rtl(
        self,
        simulator: Simulator,
        config: ChipConfig,
        settings: ChannelDetection,
        *,
        trace: bool = False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Detections:
        """Run the gateware; ToolError or BenchFailure where a simulation fails, else as :meth:`detect`."""
        from ...sim.replay.detection_replay import DetectionScenario, replay_detection

        self.check(config)
        scenario = DetectionScenario(
            self.name, config, (settings,), self.rate_hz, self.samples.reshape(-1, 1)
        )
        found = replay_detection(scenario, simulator, full=trace, progress=progress)
        words = {name: found[name] for name in SIGNALS} if trace else {}
        scale = -config.formats.detection_state.fraction_bits
        signals = {name: np.ldexp(raw, scale) for name, raw in words.items()}
        return Detections([np.flatnonzero(found["sent"][:, 0])], signals, words)

    def events(self, at: Steps, config: ChipConfig, *, as_pn: bool) -> Events:
        """Events at samples `at` in steps of the chip, as those of the PN, else of the IO."""
        steps, n_steps = events_in_steps(at, self.samples.size, self.rate_hz, config)
        none = steps[:0]
        return Events(pn=steps if as_pn else none, io=none if as_pn else steps, n_steps=n_steps, samples=at)

    def facts(self, events: Steps, labels: npt.NDArray[Any] | None) -> dict[str, Any]:
        """Count and rate of the events, and hits and false alarms where there are labels."""
        duration_s = self.samples.size / self.rate_hz
        facts: dict[str, Any] = {
            "events": int(events.size),
            "duration_s": duration_s,
            "rate_hz": events.size / duration_s,
            "held_samples": self.held,
        }
        if labels is not None:
            labelled, hit, false = detection_score(events, labels, self.rate_hz)
            facts |= {"labelled": labelled, "found": hit, "false_alarm_hz": false / duration_s}
        return facts


def describe_held(facts: dict[str, Any]) -> str:
    """That the converter held samples at the end of its range, as the end of a line; nothing where not."""
    held = facts["held_samples"]
    return f"; {held} samples are cut off at the end of the converter's range" if held else ""


def describe_labels(facts: dict[str, Any]) -> str:
    """Hits and false alarms as the end of a line; nothing without labels."""
    if "labelled" not in facts:
        return ""
    return (
        f"; {facts['found']} of {facts['labelled']} labelled events found, "
        f"false alarms {facts['false_alarm_hz']:.3f} Hz"
    )
