"""Long runs of the event detection in gateware: samples from a file, all recorded by a Verilog bench."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Shape

from ...boards.family import FamilyName
from ...gateware.detection.detection import Detection, DetectionTiming
from ...gateware.detection.parameters import detection_word_width
from ...gateware.events import channel_shape
from ...gateware.scratch import Scratch
from ...gateware.toolchain import ToolError
from ...golden_model.config import ChannelDetection, ChipConfig
from ...golden_model.detection import SIGNALS, DetectorFixed
from ...golden_model.detection_parameters import DetectionParameters, DetectionRow
from ...golden_model.fixed import QFormat
from ..build.kept_verilog import kept_verilog, sim_sources
from ..build.simulators import CocotbSimulator, Design, Simulator
from ..failure import BenchFailure
from .comparison import describe_word
from .record import DamagedRecord, Progress, Signals
from .replay import BENCH, polled

__all__ = [
    "DetectionScenario",
    "DetectionWrite",
    "detection_design",
    "detection_verilog",
    "expected_detection",
    "first_detection_difference",
    "replay_detection",
]

_BITS = ("event", "sent", "blanked")
"""The low bits of a record; `sent` is the event that left on the stream."""
_SAMPLE_BITS = 31
_POLL_CYCLES = 100_000
"""More than the bench lets pass between two looks."""


@dataclass(frozen=True)
class DetectionWrite:
    """A parameter changed at run time, before `frame`; `word` is raw, in the row's format."""

    frame: int
    electrode: int
    row: DetectionRow
    word: int


@dataclass(frozen=True)
class DetectionScenario:
    """One run of the event detection.

    Attributes
    ----------
    name : str
        For messages.
    config : ChipConfig
    settings : tuple of ChannelDetection
        One an electrode.
    rate_hz : float
    samples : ndarray of int, shape (frames, electrodes)
        ADC counts.
    blanked : ndarray of bool, same shape, optional
        Samples that are blanked; else none.
    writes : sequence of DetectionWrite
        Parameter changes, ascending in frame.
    pressure : bool
        Take events at times only.
    seed : int
        What it was drawn from, for messages.
    again : str
        Command that runs it once more, for messages.
    """

    name: str
    config: ChipConfig
    settings: tuple[ChannelDetection, ...]
    rate_hz: float
    samples: npt.NDArray[Any]
    blanked: npt.NDArray[np.bool_] | None = None
    writes: Sequence[DetectionWrite] = ()
    pressure: bool = False
    seed: int = 0
    again: str = ""

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """`blanked`, or none."""
        return np.zeros(self.samples.shape, np.bool_) if self.blanked is None else self.blanked


def expected_detection(scenario: DetectionScenario) -> Signals:
    """Every signal of the fixed-point model, shape (frames, electrodes), and `event`, `sent`, `blanked`."""
    model = DetectorFixed(scenario.config, scenario.settings, scenario.rate_hz)
    frames = scenario.samples.shape[0]
    event = np.zeros(scenario.samples.shape, np.int64)
    cuts = sorted({0, frames, *(write.frame for write in scenario.writes)})
    parts: list[Mapping[str, npt.NDArray[np.int64]]] = []
    for start, stop in itertools.pairwise(cuts):
        for write in scenario.writes:
            if write.frame == start:
                model.write(write.electrode, write.row, write.word)
        part = slice(start, stop)
        found = model.process(scenario.samples[part], blanked=scenario.mask[part], trace=True)
        parts.append(found.words)
        for electrode, at in enumerate(found.samples):
            event[at, electrode] = 1
    joined = {name: np.concatenate([part[name] for part in parts]) for name in SIGNALS}
    return joined | {"event": event, "sent": event, "blanked": scenario.mask.astype(np.int64)}


def first_detection_difference(
    expected: Signals, actual: Signals, parameters: DetectionParameters
) -> str | None:
    """The first frame, electrode and signal, in the order of evaluation, not equal; None if all are."""
    first: tuple[int, int, int] | None = None
    names = [name for name in ("blanked", *SIGNALS, "event", "sent") if name in actual]
    for order, name in enumerate(names):
        if expected[name].shape != actual[name].shape:
            return f"{name}: expected {expected[name].shape} frames x electrodes, got {actual[name].shape}"
        wrong = np.argwhere(expected[name] != actual[name])
        if wrong.size:
            frame, electrode = (int(index) for index in wrong[0])
            first = min(first or (frame, electrode, order), (frame, electrode, order))
    if first is None:
        return None
    frame, electrode, order = first
    name = names[order]
    fmt = _formats(parameters).get(name)
    want, got = (int(signals[name][frame, electrode]) for signals in (expected, actual))
    return (
        f"frame {frame}, electrode {electrode}: {name} expected {describe_word(want, fmt)}, "
        f"got {describe_word(got, fmt)}"
    )


def _formats(parameters: DetectionParameters) -> dict[str, QFormat]:
    state = parameters.config.formats.detection_state
    return dict.fromkeys(SIGNALS, state) | {"threshold": parameters.threshold_format}


def detection_verilog(
    config: ChipConfig,
    settings: Sequence[ChannelDetection],
    rate_hz: float,
    *,
    netlist: FamilyName | None = None,
) -> str:
    """SystemVerilog of the block, module ``detection``, or of its netlist for a family; kept in the cache."""
    return kept_verilog(lambda: Detection(config, settings, rate_hz), "detection", netlist=netlist)


def detection_design(
    scenario: DetectionScenario, *, waves: bool = False, netlist: FamilyName | None = None
) -> Design:
    """The block, or its netlist for a family, inside ``detection_replay.sv``."""
    timing = DetectionTiming(scenario.config, scenario.settings, scenario.rate_hz)
    verilog = detection_verilog(scenario.config, scenario.settings, scenario.rate_hz, netlist=netlist)
    return Design(
        sources={
            "detection.sv": verilog,
            **sim_sources("replay/detection_replay.sv"),
        },
        top="detection_replay",
        parameters={
            "ELECTRODES": timing.electrodes,
            "ELECTRODE_BITS": channel_shape(timing.electrodes).width,
            "SAMPLE_BITS": scenario.config.formats.sample.width,
            "WORD_BITS": detection_word_width(timing.parameters),
            "ROW_BITS": Shape.cast(DetectionRow).width,
            "LATENCY": timing.latency,
            "INTERVAL": timing.cycles_per_sample,
        },
        waves=waves,
    )


def replay_detection(
    scenario: DetectionScenario,
    simulator: Simulator,
    *,
    full: bool = False,
    check: bool = False,
    waves: Path | None = None,
    progress: Progress | None = None,
    netlist: FamilyName | None = None,
) -> Signals:
    """Run a scenario on the gateware.

    Parameters
    ----------
    scenario : DetectionScenario
        What to run.
    simulator : Simulator
        Where; one that runs cocotb.
    full : bool
        Record every internal signal; otherwise the events only.
    check : bool
        Compare all that is recorded with the fixed-point model.
    waves : Path, optional
        Write a VCD here.
    progress : callable, optional
        Told the number of frames done, a few times a second.
    netlist : {"ice40", "ecp5"}, optional
        Run the block as synthesised for this family.

    Returns
    -------
    dict of str to ndarray of int64, shape (frames, electrodes)
        ``event``, ``sent`` and ``blanked``; with `full` raw words by the names of ``detection.SIGNALS`` too.

    Raises
    ------
    BenchFailure
        If the gateware hangs, rejects a write, takes other than the stated cycles, or differs.
    ToolError
        If the simulator is missing, fails, or runs no cocotb.
    """
    if not isinstance(simulator, CocotbSimulator):
        raise ToolError(f"{simulator.name}: does not run this bench; take verilator or icarus")
    timing = DetectionTiming(scenario.config, scenario.settings, scenario.rate_hz)
    parameters = timing.parameters
    if scenario.config.formats.sample.width > _SAMPLE_BITS:
        raise ToolError(f"formats.sample: the replay takes up to {_SAMPLE_BITS} bits")
    frames, electrodes = scenario.samples.shape
    samples = max(frames * electrodes, 1)
    with Scratch() as folder:
        record = folder / "record.bin"
        _write_stimulus(folder, scenario)
        cycles = timing.initialise_cycles + _POLL_CYCLES + 8 * (frames + len(scenario.writes))
        plusargs = [
            f"+stimulus={folder / 'stimulus.bin'}",
            f"+writes={folder / 'writes.bin'}",
            f"+record={record}",
            f"+steps={frames}",
            f"+cycles={cycles + 2 * samples * (timing.latency + 8)}",
        ]
        plusargs += ["+full"] if full else []
        plusargs += ["+pressure"] if scenario.pressure else []
        plusargs += [f"+waves={waves.resolve()}"] if waves is not None else []
        bytes_a_frame = (40 if full else 8) * electrodes
        with polled(record, bytes_a_frame, progress):
            simulator.run(
                detection_design(scenario, waves=waves is not None, netlist=netlist),
                BENCH,
                folder,
                plusargs=plusargs,
                given={"MICROZONE_SCENARIO": scenario.name},
            )
        signals = _read_record(record, parameters, samples=frames * electrodes, full=full)
    if check:
        difference = first_detection_difference(expected_detection(scenario), signals, parameters)
        if difference is not None:
            raise BenchFailure(
                f"{scenario.name}: {difference}; seed {scenario.seed}, again with: {scenario.again}"
            )
    return signals


def _write_stimulus(folder: Path, scenario: DetectionScenario) -> None:
    words = scenario.samples.astype(np.int64) & ((1 << _SAMPLE_BITS) - 1)
    words |= scenario.mask.astype(np.int64) << _SAMPLE_BITS
    words.astype(">u4").tofile(folder / "stimulus.bin")
    layout = np.dtype(
        [("frame", ">u4"), ("electrode", ">u2"), ("row", "u1"), ("unused", "u1"), ("word", ">u8")]
    )
    writes = [(w.frame, w.electrode, int(w.row), 0, w.word % (1 << 64)) for w in scenario.writes]
    np.array(writes, layout).tofile(folder / "writes.bin")


def _read_record(path: Path, parameters: DetectionParameters, *, samples: int, full: bool) -> Signals:
    """Decode the record; BenchFailure if the samples are not all there, in order."""
    electrodes = parameters.electrodes
    words = np.fromfile(path, "<u8")
    if words.size != samples * (5 if full else 1):
        raise DamagedRecord(f"{path}: the record of the replay is not whole; is there space left?")
    words = words.reshape(-1, 5 if full else 1)
    low = words[:, 0].astype(np.int64)
    order = np.arange(low.size)
    place = (low >> 32) * electrodes + (low >> 16 & 0xFFFF)
    if not np.array_equal(place, order):
        raise BenchFailure("detection: samples are missing, or in another order than they were sent")
    signals = {name: low >> bit & 1 for bit, name in enumerate(_BITS)}
    if full:
        for column, (name, fmt) in enumerate(_formats(parameters).items(), 1):
            unused = 64 - fmt.width
            signals[name] = (words[:, column].astype(np.int64) << unused) >> unused  # extended by its sign
    return {name: values.reshape(-1, electrodes) for name, values in signals.items()}
