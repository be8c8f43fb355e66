"""A design on a board: pads, UART and synchronisers around the chip, or the CFPC filter, with its link."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from amaranth.hdl import Cat, Const, Elaboratable, Module, Value
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer

from ..gateware.cfpc.linked import LinkedCfpc
from ..gateware.identity import NO_IDENTITY
from ..gateware.link.uart import Uart
from ..gateware.linked_chip import LinkedChip
from ..golden_model.cfpc.config import CfpcConfig
from ..golden_model.config import ChipConfig
from .pins import LAMPS, SPI_LINES, STIMULATOR_LINES

__all__ = ["CfpcTop", "LinkedTop", "Top"]

Drive: TypeAlias = Callable[[Any, str, Value], None]
Read: TypeAlias = Callable[[Any, str], Value]


class LinkedTop(Elaboratable, ABC):
    """What a bitstream holds: a design with a link, the UART, and pads.

    All pads are plain. The UART synchronises its own. The platform resets everything at power-up.

    Parameters
    ----------
    linked : wiring.Component
        With ``rx``, ``rx_error`` and ``tx``.
    name : str
        Of it, in netlists.
    clock_hz : float
        Of the board.
    baud : int
        Bits a second of the UART.

    Raises
    ------
    ValueError
        See :class:`Uart`.
    """

    def __init__(self, linked: Any, name: str, clock_hz: float, baud: int) -> None:
        self._linked, self._name = linked, name
        self._uart = Uart(clock_hz=clock_hz, baud=baud)

    @abstractmethod
    def lamps(self) -> dict[str, Value]:
        """What lights each of ``pins.LAMPS``."""

    def wire(self, m: Module, platform: Any, drive: Drive, read: Read) -> None:
        """Connect the design's other pins."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules[self._name] = linked = self._linked
        m.submodules.uart = uart = self._uart
        wiring.connect(m, uart.received, linked.rx)
        wiring.connect(m, linked.tx, uart.send)

        def drive(port: Any, name: str, value: Value) -> None:
            m.submodules[name] = pad = io.Buffer(io.Direction.Output, port)
            m.d.comb += pad.o.eq(value)

        def read(port: Any, name: str) -> Value:
            m.submodules[name] = pad = io.Buffer(io.Direction.Input, port)
            return Value.cast(pad.i)

        self.wire(m, platform, drive, read)

        lamps, lit = platform.request("lamp", dir="-"), self.lamps()
        for lamp in LAMPS:
            drive(getattr(lamps, lamp), f"lamp_{lamp}", lit[lamp])

        serial = platform.request("uart", dir="-")
        m.d.comb += [uart.rx.eq(read(serial.rx, "rx")), linked.rx_error.eq(uart.error)]
        drive(serial.tx, "tx", uart.tx)

        if ("held_high", 0) in platform.resources:
            drive(platform.request("held_high", dir="-"), "held_high", Const(1))
        return m


class Top(LinkedTop):
    """The chip on a board.

    The lines of the SPI come from registers, and the delay search of the amplifier's set-up needs MISO as it
    is. The emergency stop passes two registers that begin as pressed.

    Parameters
    ----------
    config : ChipConfig
        Its ``time.clock_hz`` is the clock of the board.
    baud : int
        Bits a second of the UART.
    identity : str
        What the bitstream says of itself, see ``board_identity``.

    Raises
    ------
    ConfigError, ValueError
        See :class:`LinkedChip` and :class:`Uart`.
    """

    def __init__(self, config: ChipConfig, baud: int, identity: str = NO_IDENTITY) -> None:
        self._chips = config.amplifier.chips
        self._chip = LinkedChip(config, identity=identity)
        super().__init__(self._chip, "chip", config.time.clock_hz, baud)

    def lamps(self) -> dict[str, Value]:
        chip = self._chip
        return {"running": chip.observed.running, "armed": chip.observed.armed, "fault": chip.fault}

    def wire(self, m: Module, platform: Any, drive: Drive, read: Read) -> None:
        chip = self._chip
        answers = []
        for number in range(self._chips):
            ports = platform.request("rhd", number, dir="-")
            for line in SPI_LINES[:-1]:
                drive(getattr(ports, line), f"{line}_{number}", getattr(chip.spi, line))
            answers.append(read(ports.miso, f"miso_{number}"))
        m.d.comb += chip.spi.miso.eq(Cat(answers))

        stimulator = platform.request("stimulator", dir="-")
        for line in STIMULATOR_LINES:
            drive(getattr(stimulator, line), line, getattr(chip, line))
        opened = read(platform.request("emergency_stop", dir="-"), "switch")
        m.submodules.stop = FFSynchronizer(opened, chip.emergency_stop, init=1)


class CfpcTop(LinkedTop):
    """The CFPC filter on a board: no other pins than serial line and lamps.

    Parameters
    ----------
    config : CfpcConfig
        Its ``time.clock_hz`` is the clock of the board.
    baud : int
        Bits a second of the UART.
    identity : str
        What the bitstream says of itself, see ``board_identity``.

    Raises
    ------
    ConfigError, ValueError
        See :class:`LinkedCfpc` and :class:`Uart`.
    """

    def __init__(self, config: CfpcConfig, baud: int, identity: str = NO_IDENTITY) -> None:
        self._filter = LinkedCfpc(config, identity=identity)
        super().__init__(self._filter, "cfpc", config.time.clock_hz, baud)

    def lamps(self) -> dict[str, Value]:
        linked = self._filter
        return {"running": linked.alive, "armed": linked.learning, "fault": linked.saturated}
