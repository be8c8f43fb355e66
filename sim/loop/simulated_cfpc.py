"""A CFPC board without the board: the linked filter's gateware in Verilator, and its serial cable.

Time is simulated: it goes on only while somebody waits for bytes (:meth:`SimulatedCfpc.read`).
"""

from __future__ import annotations

from typing import Self

import numpy as np

from ...gateware.cfpc.linked import LinkedCfpc
from ...gateware.identity import identity_of
from ...gateware.toolchain import to_rtlil
from ...golden_model.cfpc.config import CfpcConfig
from ..build.kept_verilog import CHECKED, kept_verilog, sim_sources
from ..build.piped import PipedProgram
from ..build.simulators import PROGRAM, Design, Verilator

__all__ = ["SimulatedCfpc", "cfpc_board_design", "simulated_cfpc_identity"]

_CORE = "linked_cfpc"
"""Module name of the filter with its link."""
_BITS_A_BYTE = 10
"""On a UART, start and stop bits included."""


def simulated_cfpc_identity(config: CfpcConfig) -> str:
    """What a filter says of itself in simulation: the digest of all that is simulated of it."""
    return identity_of(to_rtlil(LinkedCfpc(config), _CORE))


def cfpc_board_design(config: CfpcConfig, byte_cycles: int) -> Design:
    """The linked filter inside ``simulated_cfpc.cpp``."""
    identity = simulated_cfpc_identity(config)
    own = sim_sources("loop/simulated_cfpc.sv", "loop/simulated_cfpc.cpp", CHECKED)
    return Design(
        sources={"core.sv": kept_verilog(lambda: LinkedCfpc(config, identity=identity), _CORE), **own},
        top="cfpc_bench",
        program="simulated_cfpc.cpp",
        defines={"BYTE_CYCLES": byte_cycles},
    )


class SimulatedCfpc:
    """A filter at the end of a serial cable; reads and writes bytes as a serial port does.

    Parameters
    ----------
    config : CfpcConfig
        With which the gateware is built.
    baud : float
        Of the cable: bytes take their time, in both directions.

    Attributes
    ----------
    plugged : bool
        The cable; what is sent on a pulled one is lost.
    learning, saturated : bool
        The lamps.

    Raises
    ------
    BenchFailure
        If the simulation ends by itself.
    ToolError
        If the simulator is missing or fails.
    """

    def __init__(self, config: CfpcConfig, *, baud: float = 1e6) -> None:
        self.config = config
        self.plugged = True
        self.learning = self.saturated = False
        self._to_send, self._cycles = b"", 0
        byte_cycles = max(round(config.time.clock_hz * _BITS_A_BYTE / baud), 1)
        self._program = PipedProgram(Verilator().build(cfpc_board_design(config, byte_cycles)) / PROGRAM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the simulation."""
        self._program.close()

    def now(self) -> float:
        """Simulated seconds since power-up."""
        return self._cycles / self.config.time.clock_hz

    def write(self, data: bytes) -> None:
        """Send bytes; they leave as time goes on."""
        if self.plugged:
            self._to_send += data

    def read(self, timeout_s: float) -> bytes:
        """What the filter sends: waits for the first bytes, at most `timeout_s` simulated seconds."""
        sent, self._to_send = self._to_send, b""
        cycles = max(round(timeout_s * self.config.time.clock_hz), 1)
        program = self._program
        program.tell(np.array([cycles, len(sent)], np.uint32).tobytes() + sent)
        self._cycles = program.number(8)
        flags = program.number(4)
        self.learning, self.saturated = bool(flags & 1), bool(flags >> 1 & 1)
        received = program.take(program.number(4))
        return received if self.plugged else b""
