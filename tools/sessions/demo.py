"""``microzone demo``: a conditioning session, synthetic or with a real IO, on all three models."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ...golden_model.calibration.calibration import calibrate
from ...golden_model.config import ChipConfig, ConfigError
from ...golden_model.detection import events_in_steps
from ...golden_model.events import Events
from ...golden_model.experiment.protocol import TRAINING, Protocol
from ...golden_model.files import FileError
from ...sim.build.simulators import Simulator
from ..compare.compare import FILES as COMPARED
from ..compare.compare import compare_models
from ..compare.detect import RecordedChannel, describe_labels
from ..models import paired_then_alone
from ..report.output import make_folder

__all__ = ["FILES", "IO_DRIFT_HZ", "DemoSession", "IoRecording", "run_demo"]

FILES = (*COMPARED, "training.npz")
"""What :func:`run_demo` writes."""
IO_DRIFT_HZ = (1.14, 1.74, 0.64)
"""Spontaneous IO rate at the start, at the end of the paired trials, and at the end: the paper's figure
14."""
_PAIRED, _DRIFTING_PAIRED = 120, 190


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


@dataclass(frozen=True)
class DemoSession:
    """The session that the demo draws.

    Attributes
    ----------
    paired : int or None
        Paired trials; else 120, or the 190 of the paper's experiment where the IO rate drifts.
    cs_alone : int
        CS-alone trials after them.
    seed : int
        Of the synthetic detections.
    recording : IoRecording or None
        What stands for the spontaneous activity of the IO; else it is drawn.
    adaptive : bool
        Let the IO rate drift, and recalibrate; a configuration that is not calibrated is calibrated first,
        from a training session.
    """

    paired: int | None = None
    cs_alone: int = 180
    seed: int = 1
    recording: IoRecording | None = None
    adaptive: bool = False


def run_demo(
    config: ChipConfig, out: Path, session: DemoSession, *, simulator: Simulator, console: Console
) -> dict[str, Any]:
    """Draw the session, run and compare the models; returns the report of ``compare_models``.

    Raises
    ------
    FileError, ConfigError
        If the recording, or the number of trials, cannot be used.
    """
    paired, cs_alone, seed = session.paired, session.cs_alone, session.seed
    adaptive, recording = session.adaptive, session.recording
    if adaptive and recording is not None:
        raise ConfigError(
            "--adaptive and --io-recording: the rate of a recording cannot drift, take one of them"
        )
    if paired is None:
        paired = _DRIFTING_PAIRED if adaptive else _PAIRED
    protocol = paired_then_alone(paired, cs_alone)
    facts: dict[str, Any] = {
        "seed": seed,
        "paired": paired,
        "cs_alone": cs_alone,
        "pn": {"tdr": protocol.pn.tdr, "far_hz": protocol.pn.far_hz},
        "io": {"tdr": protocol.io.tdr, "far_hz": protocol.io.far_hz},
    }
    title = f"{paired} paired + {cs_alone} CS-alone trials"
    if adaptive:
        if not config.recalibration.enabled:
            try:
                config = _calibrated(config, out, seed, console)
            except ValueError as error:
                raise ConfigError(str(error)) from None
        # From the first rate to the second while trials are paired, on to the third while they are not.
        drift = IO_DRIFT_HZ if paired and cs_alone else IO_DRIFT_HZ[:2] if paired else IO_DRIFT_HZ[1:]
        protocol = replace(protocol, io_drift_hz=drift)
        facts["io"]["drift_hz"] = list(drift)
        title += f", IO rate drifting {' to '.join(f'{rate:g}' for rate in drift)} Hz"
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


def _calibrated(config: ChipConfig, out: Path, seed: int, console: Console) -> ChipConfig:
    """`config`, calibrated by a synthetic training session, which is left in `out`."""
    training = TRAINING.training(config, seed)
    make_folder(out)
    path = out / "training.npz"
    training.save(path)
    config = calibrate(
        Events.load(path), config, training_sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    record = config.calibration
    assert record is not None
    line = (
        f"calibrated by {path}: δp {config.plasticity.potentiation:.3g} a step, δd "
        f"{config.plasticity.depression:.3g} an event at an IO rate of {record.io_rate_hz:.2f} Hz"
    )
    console.print(line, highlight=False)
    return config


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
