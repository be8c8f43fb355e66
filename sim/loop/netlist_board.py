"""A board without the board, as its bitstream has it: the netlist that was placed and routed, at its pins.

Pads, clock, power-on reset and UART are those of the netlist. What is at no pin cannot be seen or driven.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...boards.board import Board
from ...boards.pins import LAMPS, SPI_LINES, STIMULATOR_LINES
from ...gateware.link.uart import BitRate
from ...golden_model.chip import ChipTiming
from ...golden_model.config import ChipConfig
from ..build.kept_verilog import CHECKED, sim_sources
from ..build.netlist import with_cells
from ..build.simulators import Design
from .simulated_board import Electrodes, SimulatedBoard

__all__ = ["NetlistBoard", "pins_verilog"]

_POWER_UP_S = 20e-6
"""The power-on reset of the iCE40 takes 15 µs."""


class NetlistBoard(SimulatedBoard):
    """A board of which the netlist is simulated, with its amplifier chips, at the end of a serial cable.

    Parameters
    ----------
    board : Board
    config : ChipConfig
        With which the netlist was built.
    netlist : str
        Verilog of the top module, without models of its cells, as ``boards.build`` keeps it.
    electrodes, n_frames
        As :class:`SimulatedBoard` takes them.
    baud : int, optional
        That the UART was built for; else the board's.

    Attributes
    ----------
    pulses : list of ndarray of int64, shape (frames, 2)
        Clock cycles of each frame so far in which the pins of the cathodic and of the anodic phase were on.

    Raises
    ------
    BenchFailure
        If the simulation ends by itself.
    ToolError
        If the simulator, or a model of a cell, is missing.
    """

    def __init__(
        self,
        board: Board,
        config: ChipConfig,
        netlist: str,
        electrodes: Electrodes | None = None,
        *,
        n_frames: int | None = None,
        baud: int | None = None,
    ) -> None:
        self._board, self._netlist = board, netlist
        self.pulses: list[npt.NDArray[np.int64]] = []
        made = BitRate.nearest(clock_hz=config.time.clock_hz, baud=baud or board.baud)
        super().__init__(config, electrodes, n_frames=n_frames, baud=made.baud)

    def _design(self, byte_cycles: int) -> Design:
        timing, amplifier = ChipTiming(self.config), self.config.amplifier
        numbers = {
            "CHIPS": amplifier.chips,
            "CHANNELS": amplifier.channels,
            "FRAME_CYCLES": timing.frame_cycles,
            "BYTE_CYCLES": byte_cycles,
        }
        return Design(
            sources={
                "netlist.sv": with_cells(self._netlist, self._board.family.name),
                "pins.sv": pins_verilog(self._board, amplifier.chips),
                **sim_sources("loop/board_pins.sv", "loop/amplifier.sv", "loop/board.cpp", CHECKED),
            },
            top="board_bench",
            parameters=numbers,
            program="board.cpp",
            defines=numbers | {"RESET_CYCLES": round(_POWER_UP_S * self.config.time.clock_hz)},
        )

    def _run(self, frames: int, codes: npt.NDArray[np.int16] | None) -> bytes:
        received = super()._run(frames, codes)
        if codes is not None:
            self.pulses.append(np.rint(self._on * self.timing.frame_cycles).astype(np.int64))
        return received


_PINS = """module pins (
    input clk, emergency_stop, uart_rx,
    input [{last}:0] miso,
    output [{last}:0] cs_n, sclk, mosi,
    output uart_tx, cathodic, anodic, stimulate, running, armed, fault
);
{pads}    top top ({connections});
endmodule
"""


def pins_verilog(board: Board, chips: int) -> str:
    """Module ``pins``: the top module of a board, its pins by names that all boards have, ones being high."""
    names = {f"stimulator {line}": line for line in STIMULATOR_LINES}
    names.update({f"lamp {lamp}": lamp for lamp in LAMPS})
    names |= {signal: signal.replace(" ", "_") for signal in ("emergency stop", "uart rx", "uart tx")}
    for chip in range(chips):
        names |= {f"rhd {chip} {line.replace('_', ' ')}": f"{line}[{chip}]" for line in SPI_LINES}
    clock = board.clock_port()
    ports, pads = [clock], [f"    wire pad_{clock} = clk;\n"]
    for wire in board.wires():
        if wire.signal not in names:  # an amplifier chip that this configuration has not
            continue
        name, pad, inverts = names[wire.signal], f"pad_{wire.port}", "~" if wire.inverted else ""
        ports.append(wire.port)
        if wire.direction == "o":
            pads.append(f"    wire {pad};\n    assign {name} = {inverts}{pad};\n")
        else:
            pads.append(f"    wire {pad} = {inverts}{name};\n")
    connections = ", ".join(f".{port}(pad_{port})" for port in ports)
    return _PINS.format(last=chips - 1, connections=connections, pads="".join(pads))
