"""``microzone session``: the whole chip on a virtual preparation, in closed loop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ...golden_model.chip import ChipTiming
from ...golden_model.config import ChipConfig, ConfigError
from ...golden_model.events import Events, Result
from ...golden_model.experiment.preparation import Preparation
from ...golden_model.experiment.protocol import Protocol
from ...golden_model.files import FileError, atomic_write
from ...golden_model.fixed import to_real
from ...golden_model.recordings.recording import read_recording
from ...sim.loop.chip import build_chip
from ...sim.loop.chip_record import OUTPUTS, ChipRecord
from ...sim.loop.closed_loop import ChipModel, run_closed_loop
from ..models import Comparison, behaviour, fixed_recalibrations, float_recalibrations
from ..report.figures import draw_session
from ..report.origin import origin
from ..report.output import make_folder, progress_bar, working, write_json
from ..text import tinted

__all__ = ["FILES", "ChipSession", "ElectrodeRecording", "run_session"]

FILES = ("session.png", "report.json", "events.npz", "result.npz", "config.toml")
"""What :func:`run_session` writes."""
_MATCH_S = (-0.001, 0.02)
"""A detection from 1 ms before to 20 ms after the start of a true event is that event's."""
_CIRCUIT = 0
"""Files and figure show the first microcircuit; the others get the same stimuli."""


@dataclass(frozen=True)
class ElectrodeRecording:
    """A real recording, as what an electrode sees."""

    path: Path
    channel: str
    rate_hz: float
    microvolts_a_count: float

    def microvolts(self, config: ChipConfig) -> npt.NDArray[np.float64]:
        """Its samples; FileError if it cannot be read, or has another rate than the amplifier."""
        if self.rate_hz != config.amplifier.rate_hz:
            raise FileError(
                f"{self.path}: rate of {self.rate_hz:g} Hz, amplifier.rate_hz is {config.amplifier.rate_hz:g}"
            )
        if not (np.isfinite(self.microvolts_a_count) and self.microvolts_a_count > 0):
            raise FileError(f"{self.path}: a count of {self.microvolts_a_count:g} uV, must be above 0")
        return read_recording(self.path).channel(self.channel) * self.microvolts_a_count


@dataclass(frozen=True)
class ChipSession:
    """A session that one model has done.

    Attributes
    ----------
    model : {"float", "fixed", "rtl"}
    config : ChipConfig
    preparation : Preparation
        At its end.
    record : ChipRecord
    has_recording : bool
        A real recording was the background of the IO.
    """

    model: ChipModel
    config: ChipConfig
    preparation: Preparation
    record: ChipRecord
    has_recording: bool = False

    @classmethod
    def run(
        cls,
        model: ChipModel,
        config: ChipConfig,
        protocol: Protocol,
        seed: int,
        *,
        io_background: npt.NDArray[np.float64] | None = None,
        console: Console,
    ) -> ChipSession:
        """Run it, with a progress bar."""
        try:
            preparation = Preparation(config, protocol, seed, io_background=io_background)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        steps = preparation.n_frames // ChipTiming(config).frames_per_step
        with progress_bar(model, steps, console) as advance:
            record = run_closed_loop(model, config, preparation, seed, progress=advance)
        return cls(model, config, preparation, record, io_background is not None)

    @property
    def n_steps(self) -> int:
        return int(self.record.blanked.size)

    def events(self) -> Events:
        """What the first microcircuit was told, as an events file."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self.record.blanked.astype(np.int8), [0]])))
        cs, us = (steps[steps < self.n_steps] for steps in (self.preparation.cs, self.preparation.us))
        return Events(
            pn=np.flatnonzero(self.record.pn[:, _CIRCUIT]),
            io=np.flatnonzero(self.record.io[:, _CIRCUIT]),
            n_steps=self.n_steps,
            cs=cs,
            us=us,
            blanked=edges.reshape(-1, 2).astype(np.int64),
        )

    def result(self) -> Result:
        """What it answered, as a result file."""
        weight = self.record.weight[:, _CIRCUIT]
        raw = None if self.model == "float" else weight.astype(np.int64)
        real = weight if raw is None else to_real(raw, self.config.formats.weight)
        found = None
        if self.config.recalibration.enabled:
            rows = self.record.recalibrations
            rows = rows[rows[:, 1] == _CIRCUIT]
            found = float_recalibrations(rows) if raw is None else fixed_recalibrations(rows, self.config)
        cr = np.flatnonzero(self.record.cr[:, _CIRCUIT])
        return Result(cr, np.asarray(real, np.float64), raw, self.config, found)

    def facts(self) -> dict[str, Any]:
        """Pulses, blanking, and the detections of the first IO electrode beside the truth."""
        timing, record = ChipTiming(self.config), self.record
        rate_hz, step_s = self.config.amplifier.rate_hz, self.config.time.step_s
        seconds = self.n_steps * step_s
        found = record.detections[record.detections[:, 1] == self.config.electrodes.io[_CIRCUIT], 0]
        rises = record.edges[record.edges[:, 2] == 1]
        pulses = rises[rises[:, 1] == OUTPUTS.index("cathodic"), 0] // timing.frame_cycles
        trains = int(np.count_nonzero(rises[:, 1] == OUTPUTS.index("enable")))
        unblanked = np.count_nonzero(~record.blanked) * step_s
        heard = np.count_nonzero(record.io[:, _CIRCUIT] & ~record.blanked)
        facts = {
            "seconds": seconds,
            "trains": trains,
            "pulses": int(pulses.size),
            "dead_ms_a_train": 1e3 * record.blanked_frames.size / rate_hz / trains if trains else 0.0,
            "io_detected": int(found.size),
            "io_rate_hz": heard / unblanked if unblanked else 0.0,
            "io_rate_uncorrected_hz": heard / seconds,
        }
        if self.has_recording:
            return facts  # whose own events are not known
        truth = (self.preparation.spontaneous_io[_CIRCUIT], self.preparation.evoked_io[_CIRCUIT])
        true = np.sort(np.concatenate(truth))
        before, after = (round(offset * rate_hz) for offset in _MATCH_S)
        known = _any_between(true, found - after, found - before)
        artefacts = ~known & _any_between(pulses, found - after, found)
        return facts | {
            "io_true": int(true.size),
            "io_false": int(np.count_nonzero(~known)),
            "io_artefacts": int(np.count_nonzero(artefacts)),
            "io_rate_true_hz": true.size / seconds,
        }


def _any_between(
    times: npt.NDArray[np.int64], first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether one of some ascending times is from `first` to `last`, for each pair."""
    return np.searchsorted(times, first) < np.searchsorted(times, last, side="right")


def run_session(
    model: ChipModel,
    config: ChipConfig,
    protocol: Protocol,
    seed: int,
    out: Path,
    *,
    recording: ElectrodeRecording | None = None,
    console: Console,
) -> dict[str, Any]:
    """Run a session, and write it to `out`; with ``rtl`` also on the fixed-point model, for the verdict.

    Parameters
    ----------
    model : {"float", "fixed", "rtl"}
    config : ChipConfig
    protocol : Protocol
    seed : int
        Of the preparation and the amplifier.
    out : Path
        Folder for ``session.png``, ``report.json``, ``events.npz``, ``result.npz`` and ``config.toml``.
    recording : ElectrodeRecording, optional
        Takes the place of the IO's own activity.
    console : rich.console.Console
        Where to print.

    Returns
    -------
    dict
        The report: :meth:`ChipSession.facts`, the behaviour, and, for ``rtl``, ``bit_accurate``.

    Raises
    ------
    ConfigError, FileError
        If rates, clock and durations do not fit together, or the recording cannot be used.
    BenchFailure, ToolError
        From the simulation.
    """
    ChipTiming(config)
    io_background = recording.microvolts(config) if recording else None
    make_folder(out)
    models: tuple[ChipModel, ...] = ("fixed", "rtl") if model == "rtl" else (model,)
    if model == "rtl":
        with working("verilator: building the simulation (once for each configuration)", console):
            build_chip(config)
    seconds: dict[str, float] = {}
    done: dict[str, ChipSession] = {}
    for name in models:
        began = time.perf_counter()
        done[name] = ChipSession.run(
            name, config, protocol, seed, io_background=io_background, console=console
        )
        seconds[name] = time.perf_counter() - began
    session = done[model]
    events, result = session.events(), session.result()
    comparison = Comparison(events, {model: result}, protocol.isi_s)
    report: dict[str, Any] = {"model": model, "seed": seed, "config_sha256": config.digest}
    if model == "rtl":
        difference = done["fixed"].record.first_difference(session.record)
        report |= {"bit_accurate": difference is None, "first_difference": difference}
    report |= session.facts() | behaviour(result, comparison.scores.get(model)) | {"wall_seconds": seconds}
    report["origin"] = origin()
    trials = [kind.value for kind in protocol.trials]
    counts = ", ".join(f"{trials.count(kind)} {kind}" for kind in dict.fromkeys(trials))
    title = f"{model}: {counts} trials, from electrodes to stimulation in closed loop"
    draw_session(comparison, out / "session.png", title, eyelid=session.preparation.eyelid)
    events.save(out / "events.npz")
    result.save(out / "result.npz")
    with atomic_write(out / "config.toml") as file:
        file.write(config.to_toml().encode())
    write_json(out / "report.json", report)
    _print(report, session, console)
    console.print(f"written to {out}/: session.png, report.json, events.npz, result.npz, config.toml")
    return report


def _print(report: dict[str, Any], session: ChipSession, console: Console) -> None:
    heard = f"rate {report['io_rate_hz']:.3f} Hz while heard"
    olive = f"IO: {report['io_detected']} detections, {heard}"
    if not session.has_recording:
        olive = (
            f"IO: {report['io_detected']} detections of {report['io_true']} events, {report['io_false']} "
            f"false, {report['io_artefacts']} of these artefacts; {heard}, true "
            f"{report['io_rate_true_hz']:.3f} Hz"
        )
    lines = [
        f"{report['model']}: {session.preparation.cs.size} trials, {report['seconds']:.0f} s; CRs in "
        f"{report['well_timed_trials']} well-timed and {report['late_trials']} late, first well-timed "
        f"{report['first_well_timed_trial'] or '-'}; w {report['w_last']:.3f} at the end",
        f"stimulation: {report['trains']} trains, {report['pulses']} pulses; IO not heard "
        f"{report['dead_ms_a_train']:.1f} ms a train",
        olive,
    ]
    for line in lines:
        console.print(line, highlight=False)
    if "bit_accurate" in report:
        record = session.record
        if report["bit_accurate"]:
            console.print(
                tinted(
                    "BIT-ACCURATE",
                    "bold green",
                    f": RTL equals fixed in w and CR at every one of {session.n_steps:,} steps, in "
                    f"{len(record.detections):,} detections and in {len(record.edges):,} edges of the pulses",
                )
            )
        else:
            console.print(tinted("NOT BIT-ACCURATE", "bold red", f": {report['first_difference']}"))
