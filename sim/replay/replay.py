"""Long runs of the microcircuit's gateware: events from a file, every step recorded, in ``replay.sv``."""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Shape

from ...gateware.events import EventKind, channel_shape
from ...gateware.microcircuit.microcircuit import Microcircuit, Timing
from ...gateware.microcircuit.parameters import Parameter, word_width
from ...golden_model.config import ChipConfig
from ...golden_model.microcircuit import SIGNALS, MicrocircuitFixed
from ...golden_model.recalibration import Outcome, RecalibrationFixed
from ..build.kept_verilog import kept_verilog, sim_sources
from ..build.netlist import Netlist
from ..build.readback import readback_verilog
from ..build.simulators import Design, Simulator
from .record import RECORD_BITS, read_recalibrations, read_record, recalibration_rows

__all__ = [
    "Scenario",
    "Write",
    "core_netlist",
    "core_verilog",
    "expected_signals",
    "polled",
    "replay",
    "replay_design",
]

Signals = dict[str, npt.NDArray[Any]]
Progress = Callable[[int], None]

_WRITE = 255
"""Kind of a parameter write in a stimulus record, beside those of :class:`EventKind`."""
_POLL_S = 0.2
_POLL_CYCLES = 100_000
"""More than the bench lets pass between two looks."""


@dataclass(frozen=True)
class Write:
    """A parameter changed at run time, before `step`; `word` is raw, in the parameter's format."""

    step: int
    channel: int
    parameter: Parameter
    word: int


@dataclass(frozen=True)
class Scenario:
    """One run of the core.

    Attributes
    ----------
    name : str
        For messages.
    config : ChipConfig
    pn, io : ndarray of bool, shape (steps, channels)
        Detections.
    writes : sequence of Write
        Parameter changes, ascending in step.
    blanked : ndarray of bool, same shape, optional
        Steps in which the IO channel is blanked; else in none.
    seed : int
        What it was drawn from, for messages.
    again : str
        Command that runs it once more, for messages.
    """

    name: str
    config: ChipConfig
    pn: npt.NDArray[np.bool_]
    io: npt.NDArray[np.bool_]
    writes: Sequence[Write] = ()
    seed: int = 0
    again: str = ""
    blanked: npt.NDArray[np.bool_] | None = None

    @property
    def steps(self) -> int:
        return int(self.pn.shape[0])

    @property
    def channels(self) -> int:
        return int(self.pn.shape[1])


def expected_signals(scenario: Scenario) -> Signals:
    """Every internal signal of the fixed-point model, shape (steps, channels), plus `response`.

    Where the configuration recalibrates also ``recalibrations``, as :func:`record.read_recalibrations`.
    """
    model = MicrocircuitFixed(scenario.config, scenario.channels)
    blanked = np.zeros_like(scenario.io) if scenario.blanked is None else scenario.blanked
    outcomes: list[Outcome[np.int64]] = []
    cuts = sorted({0, scenario.steps, *(write.step for write in scenario.writes)})
    parts: list[Any] = []
    for start, stop in itertools.pairwise(cuts):
        for write in scenario.writes:
            if write.step == start:
                _apply(write, model)
        part = slice(start, stop)
        response = model.process(scenario.pn[part], scenario.io[part], blanked=blanked[part], trace=True)
        parts.append(response.signals)
        outcomes += response.recalibrations
    joined = {name: np.concatenate([part[name] for part in parts]) for name in SIGNALS}
    joined["response"] = joined["cr"]
    if model.recalibration is not None:
        joined["recalibrations"] = recalibration_rows(outcomes)
    return joined


def _apply(write: Write, model: MicrocircuitFixed) -> None:
    """Do in the model what an access does in the gateware."""
    row = write.parameter.row
    if row is not None:
        recalibration = model.recalibration
        assert isinstance(recalibration, RecalibrationFixed)
        recalibration.write(write.channel, row, write.word)
        return
    held = {
        Parameter.WEIGHT: model.weight,
        Parameter.POTENTIATION: model.potentiation,
        Parameter.DEPRESSION: model.depression,
    }
    held[write.parameter][write.channel] = write.word


def core_verilog(config: ChipConfig, channels: int) -> str:
    """SystemVerilog of the core, module ``microcircuit``; kept in the cache by the hash of its RTLIL.

    ConfigError if the configuration has no time to recalibrate so many channels.
    """
    return core_netlist(config, channels, None)


def core_netlist(config: ChipConfig, channels: int, netlist: Netlist | None) -> str:
    """The same of the core as synthesised for a family, or as its bitstream has it.

    ConfigError also if the configuration recalibrates, which cannot be read back.
    """
    Timing(config, channels)  # refuses before anything is made
    if netlist == "bitstream":
        return readback_verilog(config, channels)
    return kept_verilog(lambda: Microcircuit(config, channels), "microcircuit", netlist=netlist)


def replay_design(
    config: ChipConfig, channels: int, *, waves: bool = False, verilog: str | None = None
) -> Design:
    """The core, or another one as `verilog`, inside ``replay.sv`` or, for CXXRTL, ``replay.cpp``."""
    return Design(
        sources={
            "microcircuit.sv": verilog or core_verilog(config, channels),
            **sim_sources("replay/replay.sv", "replay/replay.cpp"),
        },
        top="replay",
        parameters={
            "CHANNELS": channels,
            "CHANNEL_BITS": channel_shape(channels).width,
            "WORD_BITS": word_width(config),
            "PARAMETER_BITS": Shape.cast(Parameter).width,
            "STEP_CYCLES": Timing(config, channels).latency(channels - 1),
        },
        waves=waves,
    )


def replay(
    scenario: Scenario,
    simulator: Simulator,
    *,
    full: bool = False,
    check: bool = False,
    waves: Path | None = None,
    progress: Progress | None = None,
    verilog: str | None = None,
) -> Signals:
    """Run a scenario on the gateware.

    Parameters
    ----------
    scenario : Scenario
        What to run.
    simulator : Simulator
        Where.
    full : bool
        Record age, trace and scaled too; otherwise w and the binary signals.
    check : bool
        Let the cocotb bench compare every signal recorded with the fixed-point model.
    waves : Path, optional
        Write a VCD here, expected values beside the actual ones. Implies `full`.
    progress : callable, optional
        Told the number of steps done, a few times a second.
    verilog : str, optional
        Of another core, such as a netlist, module ``microcircuit``; else the gateware as it is written.

    Returns
    -------
    dict of str to ndarray of int64, shape (steps, channels)
        Raw words by the names of ``golden_model.microcircuit.SIGNALS``, plus `response`; and
        ``recalibrations``, where the configuration has them enabled.

    Raises
    ------
    BenchFailure
        If the core reports a lost tick or a rejected event, or `check` finds a difference.
    ToolError
        If the simulator is missing or fails.
    """
    full = full or waves is not None
    design = replay_design(scenario.config, scenario.channels, waves=waves is not None, verilog=verilog)
    with tempfile.TemporaryDirectory(prefix="microzone-") as name:
        folder = Path(name)
        record = folder / "record.bin"
        _write_stimulus(folder / "stimulus.bin", scenario)
        plusargs = [
            f"+stimulus={folder / 'stimulus.bin'}",
            f"+record={record}",
            f"+recalibrations={folder / 'recalibrations.bin'}",
            f"+steps={scenario.steps}",
            f"+cycles={_cycle_limit(scenario)}",
        ]
        environment = {"MICROZONE_SCENARIO": scenario.name}
        if full:
            plusargs.append("+full")
        expected = expected_signals(scenario) if check or waves is not None else {}
        if waves is not None:
            _write_expected(folder / "expected.bin", expected)
            plusargs += [f"+expected={folder / 'expected.bin'}", f"+waves={waves.resolve()}"]
        if check:
            np.savez(folder / "expected.npz", **expected)  # type: ignore[arg-type]
            environment |= {
                "MICROZONE_EXPECTED": str(folder / "expected.npz"),
                "MICROZONE_RECORD": str(record),
                "MICROZONE_RECALIBRATIONS": str(folder / "recalibrations.bin"),
                "MICROZONE_CONFIG": scenario.config.to_toml(),
                "MICROZONE_AGAIN": f"seed {scenario.seed}, again with: {scenario.again}",
            }
        bytes_a_step = (24 if full else 8) * scenario.channels
        with polled(record, bytes_a_step, progress):
            simulator.replay(design, folder, plusargs=plusargs, environment=environment)
        signals = read_record(record, scenario.config, scenario.channels, full=full)
        if scenario.config.recalibration.enabled:
            signals["recalibrations"] = read_recalibrations(folder / "recalibrations.bin")
        return signals


def _cycle_limit(scenario: Scenario) -> int:
    """Clock cycles that the replay of a scenario takes at the very most."""
    timing = Timing(scenario.config, scenario.channels)
    events = sum(np.count_nonzero(detections) for _, detections in _kinds(scenario))
    records = events + len(scenario.writes)
    waiting = timing.cycles_per_step + 4
    return int(timing.initialise_cycles + (scenario.steps + 2 + records) * waiting + _POLL_CYCLES)


def _write_stimulus(path: Path, scenario: Scenario) -> None:
    """Records of (step, channel, parameter, kind, word), writes before the events of a step."""
    layout = np.dtype(
        [("step", ">u4"), ("channel", ">u2"), ("parameter", "u1"), ("kind", "u1"), ("word", ">u8")]
    )
    writes = np.zeros(len(scenario.writes), layout)
    for record, write in zip(writes, scenario.writes, strict=True):
        record["step"], record["channel"] = write.step, write.channel
        record["parameter"], record["kind"] = write.parameter.value, _WRITE
        record["word"] = write.word % 2**64  # two's complement
    parts = [writes]
    for kind, detections in _kinds(scenario):
        steps, channels = np.nonzero(detections)
        part = np.zeros(steps.size, layout)
        part["step"], part["channel"], part["kind"] = steps, channels, kind.value
        parts.append(part)
    records = np.concatenate(parts)  # in native byte order, whatever the parts have
    records[np.argsort(records["step"], kind="stable")].astype(layout).tofile(path)


def _kinds(scenario: Scenario) -> list[tuple[EventKind, npt.NDArray[np.bool_]]]:
    """What is sent, by kind."""
    kinds = [(EventKind.PN, scenario.pn), (EventKind.IO, scenario.io)]
    return kinds if scenario.blanked is None else [*kinds, (EventKind.BLANKED, scenario.blanked)]


def _write_expected(path: Path, signals: Signals) -> None:
    """Records as ``replay.sv`` makes them, most significant word first."""
    words = np.zeros((*signals["weight"].shape, 3), ">u8")
    low = signals["weight"].astype(np.uint64) << np.uint64(16)  # drops the sign's bits above 48
    for bit, name in enumerate(RECORD_BITS):
        low |= signals[name].astype(np.uint64) << np.uint64(bit)
    words[..., 2] = low
    words[..., 1] = signals["trace"].astype(np.uint64) << np.uint64(16) | signals["age"].astype(np.uint64)
    words[..., 0] = signals["scaled"].astype(np.uint64)
    words.tofile(path)


class polled:  # noqa: N801 - used as a context manager
    """Tell `progress` how many steps a growing record holds."""

    def __init__(self, record: Path, bytes_a_step: int, progress: Progress | None) -> None:
        self._record, self._bytes, self._progress = record, bytes_a_step, progress
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def _poll(self) -> None:
        while not self._ended.wait(_POLL_S):
            if self._progress and self._record.is_file():
                self._progress(self._record.stat().st_size // self._bytes)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
