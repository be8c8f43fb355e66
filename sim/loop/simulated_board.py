"""A board without the board: the linked chip's gateware in Verilator, its serial cable, and electrodes.

Time is simulated: it goes on only while somebody waits for bytes (:meth:`SimulatedBoard.read`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from ...gateware.identity import identity_of
from ...gateware.linked_chip import LinkedChip
from ...gateware.toolchain import to_rtlil
from ...golden_model.chip import ChipTiming, Source
from ...golden_model.config import ChipConfig
from ...golden_model.experiment.preparation import Preparation
from ..build.kept_verilog import CHECKED, kept_verilog, sim_sources
from ..build.piped import PipedProgram
from ..build.simulators import PROGRAM, Design, Verilator
from .amplifier import AnaloguePath

__all__ = ["Electrodes", "SimulatedBoard", "board_design", "electrodes_of", "simulated_identity"]

Electrodes = Callable[[Sequence[Sequence[int]]], Source]
"""What the electrodes see, given what set-up has left in each amplifier chip's registers."""

_CORE = "linked_chip"
"""Module name of the chip."""
_REGISTER_BYTES = 18
_RESET_CYCLES = 4
_BITS_A_BYTE = 10
"""On a UART, start and stop bits included."""


def electrodes_of(config: ChipConfig, preparation: Preparation, seed: int) -> Electrodes:
    """The electrodes in a preparation, behind amplifiers with noise and offsets of this seed."""
    amplifier = config.amplifier

    def connect(registers: Sequence[Sequence[int]]) -> Source:
        path = AnaloguePath(registers, amplifier.rate_hz, amplifier.electrodes, seed)
        return lambda on: path.convert(preparation.record(on))

    return connect


def simulated_identity(config: ChipConfig) -> str:
    """What a chip says of itself in simulation: the digest of all that is simulated of it."""
    return identity_of(to_rtlil(LinkedChip(config), _CORE))


def board_design(config: ChipConfig, byte_cycles: int) -> Design:
    """The linked chip with its amplifier chips, inside ``board.cpp``."""
    amplifier, identity = config.amplifier, simulated_identity(config)
    numbers = {"CHIPS": amplifier.chips, "CHANNELS": amplifier.channels}
    own = sim_sources("loop/board.sv", "loop/amplifier.sv", "loop/board.cpp", CHECKED)
    return Design(
        sources={"core.sv": kept_verilog(lambda: LinkedChip(config, identity=identity), _CORE), **own},
        top="board_bench",
        parameters=numbers,
        program="board.cpp",
        defines={
            **numbers,
            "FRAME_CYCLES": ChipTiming(config).frame_cycles,
            "BYTE_CYCLES": byte_cycles,
            "RESET_CYCLES": _RESET_CYCLES,
        },
    )


class SimulatedBoard:
    """A chip at the end of a serial cable; reads and writes bytes as a serial port does.

    Parameters
    ----------
    config : ChipConfig
        With which the gateware is built.
    electrodes : Electrodes, optional
        Silence where it is absent.
    n_frames : int, optional
        So many frames the electrodes have; then they are silent.
    baud : float
        Of the cable: bytes take their time, in both directions.

    Attributes
    ----------
    frames : int
        Done since the front end first came up.
    plugged : bool
        The cable; what is sent on a pulled one is lost.
    emergency_stop : bool
        The switch.
    amplifiers_plugged : bool
    running, armed, fault : bool
        The lamps.

    Raises
    ------
    BenchFailure
        If the simulation ends by itself.
    ToolError
        If the simulator is missing or fails.
    """

    def __init__(
        self,
        config: ChipConfig,
        electrodes: Electrodes | None = None,
        *,
        n_frames: int | None = None,
        baud: float = 1e6,
    ) -> None:
        self.config, self.timing = config, ChipTiming(config)
        self.frames, self.n_frames = 0, n_frames
        self.plugged, self.amplifiers_plugged, self.emergency_stop = True, True, False
        self.running = self.armed = self.fault = False
        self._train = self._interrupted = False
        self._electrodes, self._source = electrodes, None if electrodes else _silence(config)
        self._to_send, self._waiting = b"", 0
        self._cycles = 0
        self._on = np.zeros((1, 2))
        self._registers: list[bytes] = []
        byte_cycles = max(round(config.time.clock_hz * _BITS_A_BYTE / baud), 1)
        program = Verilator().build(self._design(byte_cycles)) / PROGRAM
        self._program = PipedProgram(program, {2: "frames begin and do not last"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _design(self, byte_cycles: int) -> Design:
        """What is simulated."""
        return board_design(self.config, byte_cycles)

    def close(self) -> None:
        """End the simulation."""
        self._program.close()

    @property
    def finished(self) -> bool:
        """The electrodes have nothing more to give."""
        return self.n_frames is not None and self.frames >= self.n_frames

    def now(self) -> float:
        """Simulated seconds since power-up."""
        return self._cycles / self.config.time.clock_hz

    def write(self, data: bytes) -> None:
        """Send bytes; they leave as time goes on."""
        if self.plugged:
            self._to_send += data

    def read(self, timeout_s: float) -> bytes:
        """What the chip sends: waits for the first bytes, at most `timeout_s` simulated seconds."""
        end = self.now() + timeout_s
        while True:
            received = self._advance()
            if received or self.now() >= end:
                return received

    def _advance(self) -> bytes:
        """Some time, at most a step: one frame at a time while pulses are on, which the electrodes see."""
        step = self.timing.frames_per_step
        if not self.running:
            return self._run(step, None)
        within = self.frames % step
        # No pulse begins between two ticks unless a train is in progress once the first frame is over.
        # After an outage the chip's steps begin anywhere within these.
        count = 1 if self._train or self._interrupted or not within else step - within
        on = np.zeros((count, 2))
        on[0] = self._on[-1]
        return self._run(count, self._codes(on))

    def _codes(self, on: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
        if self._source is None:
            assert self._electrodes is not None
            self._source = self._electrodes([list(registers) for registers in self._registers])
        left = len(on) if self.n_frames is None else max(min(len(on), self.n_frames - self.frames), 0)
        codes = np.zeros((len(on), self.config.amplifier.electrodes), np.int16)
        if left:
            codes[:left] = self._source(on[:left])
        return codes

    def _run(self, frames: int, codes: npt.NDArray[np.int16] | None) -> bytes:
        control = self.emergency_stop | (not self.amplifiers_plugged) << 1 | (codes is None) << 2
        sent, self._to_send = self._to_send, b""
        request = np.array([frames, control, len(sent)], np.uint32).tobytes()
        words = b"" if codes is None else np.ascontiguousarray(codes, np.int16).tobytes()
        program = self._program
        program.tell(request + words + sent)
        run = program.number(4)
        on = np.frombuffer(program.take(4 * run), np.uint16).reshape(-1, 2)
        self._cycles = program.number(8)
        flags = program.number(4)
        self._train, self.running, self.armed, self.fault = (bool(flags >> bit & 1) for bit in range(4))
        self._waiting = program.number(4)
        received = program.take(program.number(4))
        chips = self.config.amplifier.chips
        self._registers = [program.take(_REGISTER_BYTES) for _ in range(chips)]
        if codes is not None:
            self._interrupted |= not self.running
            self._on = on / self.timing.frame_cycles
            self.frames += run
        return received if self.plugged else b""


def _silence(config: ChipConfig) -> Source:
    return lambda on: np.zeros((len(on), config.amplifier.electrodes), np.int16)
