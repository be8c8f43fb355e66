"""What ``microzone calibrate`` does: a training file to a configuration, its figure and its numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..golden_model.calibration.calibration import calibrate
from ..golden_model.calibration.goals import Goals
from ..golden_model.calibration.thresholds import Selection, select_thresholds
from ..golden_model.config import ChipConfig
from ..golden_model.events import Events
from ..golden_model.experiment.training import TrainingRecording
from ..golden_model.files import FileError, atomic_write
from ..golden_model.inputs import entry_names, open_input
from .report.figures import draw_calibration, draw_selection
from .report.output import progress_bar

__all__ = ["Calibration", "run_calibration"]


@dataclass(frozen=True)
class Calibration:
    """What came of a training file.

    Attributes
    ----------
    config : ChipConfig
        The calibrated configuration.
    selection : Selection or None
        How its thresholds were chosen, where the file holds raw samples.
    """

    config: ChipConfig
    selection: Selection | None

    def facts(self) -> dict[str, Any]:
        """Its numbers: the record, δp, δd and the thresholds."""
        assert self.config.calibration is not None
        facts = self.config.calibration.model_dump()
        facts |= self.config.plasticity.model_dump()
        if self.selection is not None:
            detection = self.config.detection
            facts |= {"pn_threshold": detection.pn.threshold, "io_threshold": detection.io.threshold}
            facts["pairs"] = self.selection.residual.size
        return facts

    def describe(self) -> list[str]:
        """The same, for a reader."""
        facts = self.facts()
        paired, alone, spontaneous = facts["p_bar"]
        lines = [
            f"detection: PN {facts['pn_tdr']:.1%} and {facts['pn_far_hz']:.3g} Hz, "
            f"IO {facts['io_tdr']:.1%} and {facts['io_far_hz']:.3g} Hz",
            f"steps of potentiation P̄: paired {paired:.4g}, CS alone {alone:.4g} a trial, "
            f"spontaneous {spontaneous:.4g} in all",
            f"events of depression D̄: paired {facts['d_bar'][0]:.4g}, CS alone {facts['d_bar'][1]:.4g} "
            f"a trial, spontaneous {facts['k'] * facts['io_rate_hz']:.4g} in all, "
            f"at {facts['io_rate_hz']:.3g} Hz",
            f"δp {facts['potentiation']:.4g} a step, δd {facts['depression']:.4g} an event, "
            f"residual {facts['residual']:.3g} of w a trial",
        ]
        if self.selection is not None:
            thresholds = f"PN {facts['pn_threshold']:.4g}, IO {facts['io_threshold']:.4g}"
            lines.insert(0, f"thresholds: {thresholds}, of {facts['pairs']} pairs")
        return lines


def run_calibration(
    training: Path, config: ChipConfig, goals: Goals, out: Path, *, figure: Path | None, console: Console
) -> Calibration:
    """Calibrate with a training file of either kind, and write configuration and figure.

    Parameters
    ----------
    training : Path
        Events file with `spontaneous_start`, or raw training session.
    config : ChipConfig
        What the calibration does not change.
    goals : Goals
    out : Path
        Configuration (TOML).
    figure : Path, optional
        Picture (PNG).
    console : Console
        Where the progress bar goes.

    Returns
    -------
    Calibration

    Raises
    ------
    CalibrationError, ConfigError, FileError
        If the file or the data in it cannot be used; nothing is written then.
    """
    selection = None
    if "pn_raw" in entry_names(training):
        recording = TrainingRecording.load(training)
        with progress_bar("detect", 2 * recording.pn_raw.size, console) as advance:
            try:
                selection = select_thresholds(recording, config, goals, progress=advance)
            except FileError as error:
                raise FileError(f"{training}: {error}") from None
        config, events = selection.config, selection.events
    else:
        events = Events.load(training)
    with open_input(training) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    calibration = Calibration(calibrate(events, config, goals, training_sha256=digest), selection)
    if figure is not None:
        title = f"calibration with {training.name}"
        if selection is None:
            draw_calibration(calibration.config, figure, title)
        else:
            draw_selection(selection, figure, title)
    with atomic_write(out) as toml:
        toml.write(calibration.config.to_toml().encode())
    return calibration
