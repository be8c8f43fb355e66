"""``microzone demo``: a conditioning session, synthetic or with a real IO, on all three models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ..golden_model.config import ChipConfig, ConfigError
from ..golden_model.detection import events_in_steps
from ..golden_model.events import FileError
from ..golden_model.protocol import Protocol, Trial
from ..sim.simulators import Simulator
from .compare import compare_models
from .detect import RecordedChannel, describe_labels

__all__ = ["IoRecording", "run_demo"]


@dataclass(frozen=True)
class IoRecording:
    """A recording whose events stand for the spontaneous activity of the inferior olive."""

    path: Path
    channel: str
    rate_hz: float
    lsb: float | None
    labels: str

    def detect(self, config: ChipConfig) -> tuple[npt.NDArray[np.int64], int, dict[str, Any]]:
        """Detect with the fixed-point model, and with the float model beside it.

        Returns
        -------
        (ndarray of int64, int, dict)
            Steps of the events, length of the recording in steps, and what to report.

        Raises
        ------
        FileError, ConfigError
            If the recording or the settings cannot be used.
        """
        source = RecordedChannel.read(self.path, self.channel, self.rate_hz, self.lsb)
        real, events = (
            source.detect(model, config, config.detection.io).samples[0] for model in ("float", "fixed")
        )
        if not events.size:
            raise FileError(f"{self.path}: no event in channel {self.channel!r}, nothing to repeat")
        marks = source.recording.variables.get(self.labels)
        usable = marks is not None and marks.size == source.samples.size
        facts: dict[str, Any] = {
            "recording": self.path.name,
            "channel": self.channel,
            "sample_rate_hz": self.rate_hz,
            **source.facts(events, marks if usable else None),
            "detection": config.detection.io.model_dump(mode="json", exclude_none=True),
            "largest_fixed_float_shift_samples": (
                int(np.abs(events - real).max()) if events.size == real.size else None
            ),
        }
        steps, n_steps = events_in_steps(events, source.samples.size, self.rate_hz, config)
        return steps, n_steps, facts


def run_demo(
    config: ChipConfig,
    out: Path,
    *,
    paired: int,
    cs_alone: int,
    seed: int,
    simulator: Simulator,
    recording: IoRecording | None,
    console: Console,
) -> dict[str, Any]:
    """Draw the session, run and compare the models; returns the report of ``compare_models``.

    Raises
    ------
    FileError, ConfigError
        If the recording, or the number of trials, cannot be used.
    """
    if paired + cs_alone == 0:
        raise ConfigError("--paired and --cs-alone are both 0: needs a trial")
    protocol = Protocol(trials=(Trial.PAIRED,) * paired + (Trial.CS_ALONE,) * cs_alone)
    facts: dict[str, Any] = {
        "seed": seed,
        "paired": paired,
        "cs_alone": cs_alone,
        "pn": {"tdr": protocol.pn.tdr, "far_hz": protocol.pn.far_hz},
        "io": {"tdr": protocol.io.tdr, "far_hz": protocol.io.far_hz},
    }
    title = f"{paired} paired + {cs_alone} CS-alone trials"
    background = None
    if recording is not None:
        steps, length, found = recording.detect(config)
        _print_recording(found, console)
        facts["io_recording"] = found
        facts["io"]["far_hz"] = found["rate_hz"]
        title += f", IO from {recording.path.name}"
        background = _repeated(steps, length, protocol, config)
    try:
        events = protocol.events(config, seed, io_background=background)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return compare_models(
        events,
        config,
        out,
        simulator=simulator,
        title=title,
        console=console,
        isi_s=protocol.isi_s,
        facts=facts,
    )


def _repeated(
    steps: npt.NDArray[np.int64], length: int, protocol: Protocol, config: ChipConfig
) -> npt.NDArray[np.int64]:
    """The events of a recording of `length` steps, over and over, for as long as a session can last."""
    longest = config.steps((len(protocol.trials) + 1) * protocol.iti_s[1]) + 1
    starts = np.arange(0, longest, length)
    return (starts[:, None] + steps).ravel()


def _print_recording(found: dict[str, Any], console: Console) -> None:
    shift = found["largest_fixed_float_shift_samples"]
    agreement = (
        "fixed and float differ in their number of events"
        if shift is None
        else f"fixed within {shift} samples of float"
    )
    line = (
        f"IO from {found['recording']}, {found['channel']}: {found['events']} events in "
        f"{found['duration_s']:.1f} s ({found['rate_hz']:.2f} Hz), {agreement}"
        f"{describe_labels(found)}"
    )
    console.print(line, highlight=False)
