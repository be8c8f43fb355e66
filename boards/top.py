"""The chip on a board: pads, UART and synchronisers around the chip with its link."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Elaboratable, Module, Value
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer

from ..gateware.linked_chip import LinkedChip
from ..gateware.uart import Uart
from ..golden_model.config import ChipConfig
from .pins import LAMPS, SPI_LINES, STIMULATOR_LINES

__all__ = ["Top"]


class Top(Elaboratable):
    """What a bitstream holds.

    All pads are plain: the lines of the SPI come from registers, and the delay search of the amplifier's
    set-up needs MISO as it is. The UART synchronises its own. The emergency stop passes two registers that
    begin as pressed. The platform resets everything at power-up.

    Parameters
    ----------
    config : ChipConfig
        Its ``time.clock_hz`` is the clock of the board.
    baud : int
        Bits a second of the UART.

    Raises
    ------
    ConfigError, ValueError
        See :class:`LinkedChip` and :class:`Uart`.
    """

    def __init__(self, config: ChipConfig, baud: int) -> None:
        self._chips = config.amplifier.chips
        self._chip = LinkedChip(config)
        self._uart = Uart(clock_hz=config.time.clock_hz, baud=baud)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.chip = chip = self._chip
        m.submodules.uart = uart = self._uart
        wiring.connect(m, uart.received, chip.rx)
        wiring.connect(m, chip.tx, uart.send)

        def drive(port: Any, name: str, value: Value) -> None:
            m.submodules[name] = pad = io.Buffer("o", port)
            m.d.comb += pad.o.eq(value)

        def read(port: Any, name: str) -> Value:
            m.submodules[name] = pad = io.Buffer("i", port)
            return Value.cast(pad.i)

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

        lamps = platform.request("lamp", dir="-")
        lit = {"running": chip.observed.running, "armed": chip.observed.armed, "fault": chip.fault}
        for lamp in LAMPS:
            drive(getattr(lamps, lamp), f"lamp_{lamp}", lit[lamp])

        serial = platform.request("uart", dir="-")
        m.d.comb += [uart.rx.eq(read(serial.rx, "rx")), chip.rx_error.eq(uart.error)]
        drive(serial.tx, "tx", uart.tx)

        if ("held_high", 0) in platform.resources:
            drive(platform.request("held_high", dir="-"), "held_high", Const(1))
        return m
