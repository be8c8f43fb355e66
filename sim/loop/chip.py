"""The chip's gateware in closed loop: Verilator runs it frame by frame, as a program (``chip.cpp``).

Around it are models of its amplifier chips, whose conversions the other end of the pipe supplies.
"""

from __future__ import annotations

from enum import IntFlag
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ...boards.family import FamilyName
from ...gateware.amplifier.amplifier import AmplifierFault
from ...gateware.chip import Chip
from ...gateware.events import EventKind
from ...gateware.scratch import Scratch
from ...gateware.stimulation.interlock import InterlockFault
from ...golden_model.chip import ChipTiming, Source
from ...golden_model.config import ChipConfig
from ..build.kept_verilog import CHECKED, kept_verilog, sim_sources
from ..build.piped import PipedProgram
from ..build.simulators import PROGRAM, Design, Verilator
from ..failure import BenchFailure
from ..replay.record import read_recalibrations, signed_words
from .chip_record import ChipRecord

__all__ = ["Control", "RtlChip", "build_chip", "chip_design", "chip_verilog"]

_SETUP_CYCLES = 20_000_000
_REGISTER_BYTES = 18
_EDGES = np.dtype([("cycle", "<u8"), ("signal", "<u4"), ("level", "<u4")])
_DETECTIONS = np.dtype([("frame", "<u4"), ("electrode", "<u4")])
_DELIVERED = np.dtype([("step", "<u4"), ("channel", "<u2"), ("kind", "<u2")])
_COMMITS = np.dtype([("weight", "<u8"), ("step", "<u4"), ("channel", "<u2"), ("cr", "<u2")])


class Control(IntFlag):
    """What happens to the chip from outside while frames run; as ``chip.cpp`` takes it."""

    ARM = 1
    HEARTBEAT = 2
    EMERGENCY_STOP = 4
    UNPLUGGED = 8
    DISABLED = 16


def chip_verilog(config: ChipConfig, *, netlist: FamilyName | None = None) -> str:
    """SystemVerilog of the chip, module ``chip``; ConfigError if the parts do not fit together.

    With `netlist` of the chip as synthesised for that family.
    """
    return kept_verilog(lambda: Chip(config), "chip", netlist=netlist)


def chip_design(config: ChipConfig, *, netlist: FamilyName | None = None) -> Design:
    """The chip with its amplifier chips, inside ``chip.cpp``."""
    timing, amplifier = ChipTiming(config), config.amplifier
    numbers = {
        "CHIPS": amplifier.chips,
        "CHANNELS": amplifier.channels,
        "CIRCUITS": len(config.electrodes.pn),
    }
    own = sim_sources("loop/chip.sv", "loop/amplifier.sv", "loop/chip.cpp", CHECKED)
    return Design(
        sources={"core.sv": chip_verilog(config, netlist=netlist), **own},
        top="chip_bench",
        parameters=numbers,
        program="chip.cpp",
        defines={
            **numbers,
            "FRAME_CYCLES": timing.frame_cycles,
            "FRAMES_PER_STEP": timing.frames_per_step,
        },
    )


def build_chip(config: ChipConfig, *, netlist: FamilyName | None = None) -> Path:
    """The program that runs the chip, from the cache where it has been built before."""
    return Verilator().build(chip_design(config, netlist=netlist)) / PROGRAM


class RtlChip:
    """A running simulation of the gateware; :meth:`step` as ``golden_model.chip.Chip`` has it.

    Parameters
    ----------
    config : ChipConfig
    netlist : {"ice40", "ecp5"}, optional
        Run the chip as synthesised for this family.

    Attributes
    ----------
    registers : list of bytes
        What set-up has left in each amplifier chip's 18 registers.
    steps : int
        Done so far.
    control : Control
        For the frames to come; armed in the first one only.
    armed, running : bool
        After the last frame.
    amplifier_fault, stimulation_fault
        After the last frame.

    Raises
    ------
    BenchFailure
        If the front end does not come up, a step is lost, or a pulse comes when none can.
    ToolError
        If the simulator is missing or fails.
    """

    def __init__(self, config: ChipConfig, *, netlist: FamilyName | None = None) -> None:
        self.config, self.timing = config, ChipTiming(config)
        self.steps = 0
        self.control = Control.HEARTBEAT
        self._on = np.zeros((1, 2))
        self._train = self._interrupted = False
        program = build_chip(config, netlist=netlist)
        self._folder = Scratch()
        self._program = PipedProgram(
            program, arguments=(self._folder.path, str(_SETUP_CYCLES)), folder=self._folder.path
        )
        self._take_flags()
        if not self.running:
            self.close()
            raise BenchFailure(f"the front end does not come up: {self.amplifier_fault.name}")
        self.registers = [self._program.take(_REGISTER_BYTES) for _ in range(config.amplifier.chips)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the simulation and forget its logs."""
        self._program.close()
        self._folder.close()

    def step(self, source: Source) -> None:
        """One step in closed loop; `source` is asked for its frames in parts, as the pulses become known."""
        frames, done = self.timing.frames_per_step, 0
        while done < frames:
            # No pulse can begin between two ticks unless a train is in progress once the first frame is over.
            # After an outage the chip's steps begin anywhere within these.
            count = 1 if self._train or self._interrupted or not done else frames - done
            on = np.zeros((count, 2))
            on[0] = self._on[-1]
            self._on = self._run(source(on))
            if self._on[:-1].any():
                raise BenchFailure(f"step {self.steps}: a pulse outside of a train")
            done += count
        self.steps += 1

    def _run(self, codes: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
        """Some frames; the shares of each in which the two outputs were on."""
        control = self.control | (Control.ARM if self.steps == 0 else Control(0))
        request = np.array([codes.shape[0], control], np.uint32).tobytes()
        self._program.tell(request + np.ascontiguousarray(codes, np.int16).tobytes())
        on = np.frombuffer(self._program.take(4 * codes.shape[0]), np.uint16).reshape(-1, 2)
        self._take_flags()
        return on / self.timing.frame_cycles

    def _take_flags(self) -> None:
        flags = self._program.number(4)
        self._train, self.running, self.armed = (bool(flags >> bit & 1) for bit in range(3))
        self.amplifier_fault = AmplifierFault(flags >> 8 & 0xFF)
        self.stimulation_fault = InterlockFault(flags >> 16 & 0xFF)
        self._interrupted |= not self.running
        if flags >> 3 & 1:
            raise BenchFailure(f"step {self.steps}: a step lost, a frame out of place, or an event rejected")

    def finish(self) -> ChipRecord:
        """End the simulation; what the chip did in all steps."""
        self._program.finish()
        detections, delivered, commits = (
            self._log("detections", _DETECTIONS),
            self._log("delivered", _DELIVERED),
            self._log("commits", _COMMITS),
        )
        shape = (self.steps, len(self.config.electrodes.pn))

        def given(kind: EventKind) -> npt.NDArray[np.bool_]:
            steps = np.zeros(shape, np.bool_)
            chosen = delivered[delivered["kind"] == kind.value]
            steps[chosen["step"], chosen["channel"]] = True
            return steps

        weight, cr = np.full(shape, -1, np.int64), np.zeros(shape, np.bool_)
        at = (commits["step"], commits["channel"])
        weight[at] = signed_words(commits["weight"], self.config.formats.weight)
        cr[at] = commits["cr"] != 0
        record = ChipRecord(
            detections=_columns(detections[np.lexsort((detections["electrode"], detections["frame"]))]),
            blanked_frames=self._log("blanked", np.dtype("<u4")).astype(np.int64),
            pn=given(EventKind.PN),
            io=given(EventKind.IO),
            blanked=np.asarray(given(EventKind.BLANKED).all(axis=1)),
            cr=cr,
            weight=weight,
            recalibrations=read_recalibrations(self._folder.path / "recalibrations.bin"),
            edges=_columns(self._log("edges", _EDGES)),
        )
        self.close()
        return record

    def _log(self, name: str, layout: np.dtype[Any]) -> npt.NDArray[Any]:
        """The records of one of the logs that ``chip.cpp`` has written."""
        return np.fromfile(self._folder.path / f"{name}.bin", layout)


def _columns(records: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The fields of records as columns of integers."""
    return np.stack([records[name].astype(np.int64) for name in records.dtype.names or ()], axis=1)
