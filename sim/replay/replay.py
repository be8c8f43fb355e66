"""Long runs of the microcircuit's gateware: events from a file, every step recorded.

Two harnesses do the same to the core, in the same clock cycles, with the same files: ``replay.cpp``, a
program that is several times faster, and ``replay.sv`` under cocotb, which also runs in Icarus and shows
waves.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Shape

from ...gateware.events import EventKind, channel_shape
from ...gateware.kept import cache_folder
from ...gateware.microcircuit.microcircuit import Microcircuit, Timing
from ...gateware.microcircuit.parameters import Parameter, word_width
from ...gateware.scratch import Scratch
from ...gateware.toolchain import ToolError, find_tool
from ...golden_model.config import ChipConfig
from ...golden_model.events import Events
from ...golden_model.microcircuit import SIGNALS, MicrocircuitFixed
from ...golden_model.recalibration import Outcome, RecalibrationFixed
from ..build.kept_verilog import CHECKED, kept_verilog, sim_sources
from ..build.netlist import Netlist
from ..build.readback import readback_verilog
from ..build.simulators import NOT_WRITTEN, CocotbSimulator, Design, Simulator, not_written
from ..failure import BenchFailure
from .comparison import first_difference, first_recalibration
from .record import (
    CHUNK,
    END_MARK,
    RECORD_BITS,
    DamagedRecord,
    Progress,
    Record,
    Session,
    Signals,
    read_session,
    read_signals,
    recalibration_rows,
)

__all__ = [
    "Scenario",
    "Write",
    "core_netlist",
    "core_verilog",
    "expected_signals",
    "polled",
    "replay",
    "replay_design",
    "replay_session",
]

BENCH = "microzone.sim.replay.bench"
"""What cocotb runs on ``replay.sv``."""
_ENDS = {
    2: "the core lost a tick",
    3: "the core hangs",
    4: "a step took more or fewer cycles than the core states",
    5: "the core rejected an event or a write",
}
"""How ``replay.cpp`` ends where the core is to blame, by its exit status; as ``bench.py`` says it."""
_NOT_READ = (1, 7)
"""And where files are, beside ``NOT_WRITTEN``."""
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


Detections = dict[EventKind, npt.NDArray[np.bool_]]


class _Stimulus(Protocol):
    """What is sent to the core: :class:`Scenario`, or the events of a session."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> ChipConfig: ...
    @property
    def steps(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def writes(self) -> Sequence[Write]: ...
    def detections(self, start: int, stop: int) -> Detections:
        """Detections from step `start` up to `stop`, by kind, shape (steps, channels)."""


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

    def detections(self, start: int, stop: int) -> Detections:
        """As :class:`_Stimulus` says."""
        given = {EventKind.PN: self.pn, EventKind.IO: self.io}
        if self.blanked is not None:
            given[EventKind.BLANKED] = self.blanked
        return {kind: detections[start:stop] for kind, detections in given.items()}


@dataclass(frozen=True)
class _EventStimulus:
    """The events of a session, of one channel."""

    events: Events
    config: ChipConfig
    name: str = "session"
    channels: int = 1
    writes: Sequence[Write] = ()

    @property
    def steps(self) -> int:
        return self.events.n_steps

    def detections(self, start: int, stop: int) -> Detections:
        found = {}
        for kind, steps in ((EventKind.PN, self.events.pn), (EventKind.IO, self.events.io)):
            found[kind] = np.zeros((stop - start, 1), np.bool_)
            found[kind][steps[slice(*np.searchsorted(steps, (start, stop)))] - start] = True
        edges = np.zeros((stop - start + 1, 1), np.int8)
        for column, change in ((0, 1), (1, -1)):
            np.add.at(edges[:, 0], np.clip(self.events.blanked[:, column], start, stop) - start, change)
        found[EventKind.BLANKED] = np.cumsum(edges[:-1], axis=0, dtype=np.int8).astype(np.bool_)
        return found


def expected_signals(scenario: Scenario) -> Signals:
    """Every internal signal of the fixed-point model, shape (steps, channels), plus `response`.

    Where the configuration recalibrates also ``recalibrations``, in the columns of
    ``comparison.RECALIBRATION``.
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

    ConfigError if the configuration has no time to recalibrate so many channels; ToolError without Yosys.
    """
    return _remembered(config, channels, find_tool("yosys"), cache_folder())


@lru_cache(maxsize=8)
def _remembered(config: ChipConfig, channels: int, yosys: str, folder: Path) -> str:
    """The core, elaborated once in a process for each Yosys and cache that the environment names."""
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
    config: ChipConfig,
    channels: int,
    *,
    compiled: bool = False,
    waves: bool = False,
    verilog: str | None = None,
) -> Design:
    """The core, or another one as `verilog`, inside ``replay.sv`` or, if `compiled`, ``replay.cpp``."""
    core = {"microcircuit.sv": verilog or core_verilog(config, channels)}
    parameters = {
        "CHANNELS": channels,
        "CHANNEL_BITS": channel_shape(channels).width,
        "WORD_BITS": word_width(config),
        "PARAMETER_BITS": Shape.cast(Parameter).width,
    }
    own = {"STEP_CYCLES": Timing(config, channels).latency(channels - 1), "END_MARK": END_MARK}
    if compiled:
        return Design(
            core | sim_sources("replay/core.sv", "replay/replay.cpp", CHECKED),
            "replay_core",
            parameters,
            program="replay.cpp",
            defines=own,
        )
    sources = core | sim_sources("replay/core.sv", "replay/replay.sv")
    return Design(sources, "replay", parameters | own, waves=waves)


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
        Compare every signal recorded with the fixed-point model. Then the scenario is a bench, and runs under
        cocotb where the simulator has it; else as a program where the simulator compiles one.
    waves : Path, optional
        Write a VCD here, expected values beside the actual ones. Implies `full`, and cocotb.
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
        If the simulator is missing or fails, or its record is not whole.
    """
    full = full or waves is not None
    expected = expected_signals(scenario) if check or waves is not None else {}
    with _replayed(
        scenario,
        simulator,
        full=full,
        bench=check or waves is not None,
        waves=waves,
        expected=expected,
        progress=progress,
        verilog=verilog,
    ) as record:
        signals = read_signals(record, scenario.config)
    if check:
        difference = first_difference(expected, signals, scenario.config)
        if difference is None and scenario.config.recalibration.enabled:
            difference = first_recalibration(expected["recalibrations"], signals["recalibrations"])
        if difference is not None:
            again = f"seed {scenario.seed}, again with: {scenario.again}"
            raise BenchFailure(f"{scenario.name}: {difference}; {again}")
    return signals


def replay_session(
    events: Events, config: ChipConfig, simulator: Simulator, *, progress: Progress | None = None
) -> Session:
    """Run the events of one channel on the gateware, and keep CRs and w: 8 bytes a step.

    Parameters
    ----------
    events : Events
    config : ChipConfig
    simulator : Simulator
        Where; as a program, unless it compiles none.
    progress : callable, optional
        Told the number of steps done.

    Raises
    ------
    BenchFailure, ToolError
        As :func:`replay`.
    """
    with _replayed(_EventStimulus(events, config), simulator, progress=progress) as record:
        return read_session(record, config)


@contextmanager
def _replayed(
    stimulus: _Stimulus,
    simulator: Simulator,
    *,
    full: bool = False,
    bench: bool = False,
    waves: Path | None = None,
    expected: Signals | None = None,
    progress: Progress | None = None,
    verilog: str | None = None,
) -> Iterator[Record]:
    """The record of a replay. A program may be writing it while it is read, and has ended well afterwards.

    `bench` asks for cocotb. Errors as :func:`replay`.
    """
    if waves is not None and not isinstance(simulator, CocotbSimulator):
        raise ToolError(f"{simulator.name}: replays only, without waves; take verilator or icarus")
    compiled = simulator.compiles_programs and not (bench and isinstance(simulator, CocotbSimulator))
    design = replay_design(
        stimulus.config, stimulus.channels, compiled=compiled, waves=waves is not None, verilog=verilog
    )
    with Scratch() as folder:
        entries = _write_stimulus(folder / "stimulus.bin", stimulus)
        arguments = [
            f"+stimulus={folder / 'stimulus.bin'}",
            f"+entries={entries}",
            f"+recalibrations={folder / 'recalibrations.bin'}",
            f"+steps={stimulus.steps}",
            f"+cycles={_cycle_limit(stimulus, entries)}",
            *(["+full"] if full else []),
        ]
        recorded = partial(Record, folder=folder, steps=stimulus.steps, channels=stimulus.channels, full=full)
        if compiled:
            with (
                simulator.start(design, arguments, folder=folder) as process,
                _ends_well(process, stimulus.name, folder),
            ):
                assert process.stdout is not None
                yield recorded(process.stdout, progress=progress)
            return
        assert isinstance(simulator, CocotbSimulator)
        path = folder / "record.bin"
        arguments.append(f"+record={path}")
        if waves is not None:
            assert expected is not None
            _write_expected(folder / "expected.bin", expected)
            arguments += [f"+expected={folder / 'expected.bin'}", f"+waves={waves.resolve()}"]
        with polled(path, (24 if full else 8) * stimulus.channels, progress):
            simulator.run(
                design, BENCH, folder, plusargs=arguments, given={"MICROZONE_SCENARIO": stimulus.name}
            )
        with path.open("rb") as file:
            yield recorded(file)


@contextmanager
def _ends_well(process: subprocess.Popen[bytes], name: str, folder: Path) -> Iterator[None]:
    """While the output of ``replay.cpp`` is read, and until it ends; errors as :func:`replay`."""
    assert process.stdout is not None
    try:
        yield
    except DamagedRecord:
        # Where the program ended by itself, how it did so tells more.
        process.stdout.close()
        if process.wait() != -signal.SIGPIPE:
            _check_end(process, name, folder)
        raise
    except BaseException:
        process.kill()
        raise
    _check_end(process, name, folder)


def _check_end(process: subprocess.Popen[bytes], name: str, folder: Path) -> None:
    """Wait for ``replay.cpp``; BenchFailure or ToolError for its exit status."""
    status = process.wait()
    if status in _ENDS:
        raise BenchFailure(f"{name}: {_ENDS[status]}")
    if status == NOT_WRITTEN:
        raise not_written(folder)
    if status in _NOT_READ:
        raise ToolError(f"{name}: the replay could not read its files")
    if status:
        raise ToolError(f"{name}: the replay ended with status {status}")


def _cycle_limit(stimulus: _Stimulus, entries: int) -> int:
    """Clock cycles that a replay takes at the very most."""
    timing = Timing(stimulus.config, stimulus.channels)
    waiting = timing.cycles_per_step + 4
    return int(timing.initialise_cycles + (stimulus.steps + 2 + entries) * waiting + _POLL_CYCLES)


_LAYOUT = np.dtype(
    [("step", ">u4"), ("channel", ">u2"), ("parameter", "u1"), ("kind", "u1"), ("word", ">u8")]
)


def _write_stimulus(path: Path, stimulus: _Stimulus) -> int:
    """Entries of (step, channel, parameter, kind, word), writes before the events of a step; how many."""
    count = 0
    try:
        with path.open("wb") as file:
            for start in range(0, stimulus.steps, CHUNK):
                entries = _entries(stimulus, start, min(start + CHUNK, stimulus.steps))
                count += entries.size
                file.write(entries.tobytes())
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from None
    return count


def _entries(stimulus: _Stimulus, start: int, stop: int) -> npt.NDArray[Any]:
    """What is sent from step `start` up to `stop`."""
    due = [write for write in stimulus.writes if start <= write.step < stop]
    writes = np.zeros(len(due), _LAYOUT)
    for entry, write in zip(writes, due, strict=True):
        entry["step"], entry["channel"] = write.step, write.channel
        entry["parameter"], entry["kind"] = write.parameter.value, _WRITE
        entry["word"] = write.word % 2**64  # two's complement
    parts = [writes]
    for kind, detections in stimulus.detections(start, stop).items():
        steps, channels = np.nonzero(detections)
        part = np.zeros(steps.size, _LAYOUT)
        part["step"], part["channel"], part["kind"] = start + steps, channels, kind.value
        parts.append(part)
    entries = np.concatenate(parts)  # in native byte order, whatever the parts have
    return entries[np.argsort(entries["step"], kind="stable")].astype(_LAYOUT)


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
