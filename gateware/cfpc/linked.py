"""The CFPC filter with its link to a host: bytes in, bytes out, whatever carries them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.cfpc.config import CfpcConfig
from ..component import Component
from ..identity import NO_IDENTITY
from ..link.link import Link
from .filter import Cfpc
from .registers import CfpcRegisters

__all__ = ["LinkedCfpc"]

_ALIVE_BIT = 7
"""Of the number of steps: at 1000 steps a second a lamp is seen to blink."""


class LinkedCfpc(Component):
    """Filter, register block and link. UART, SPI or USB take the two streams of bytes.

    Parameters
    ----------
    config : CfpcConfig
    identity : str
        What the gateware says of itself, see ``identity_of``.

    Members
    -------
    rx : In(stream of 8 bits)
        From the host; always taken.
    rx_error : In(1)
        The carrier lost or broke a byte of the present frame.
    tx : Out(stream of 8 bits)
        To the host.
    alive : Out(1)
        Changes each 128 steps.
    learning : Out(1)
        The weights are not frozen.
    saturated : Out(1)
        The last o is at a limit of its format.

    Raises
    ------
    ConfigError
        See :class:`Cfpc`.
    """

    rx: stream.Interface
    rx_error: Signal
    tx: stream.Interface
    alive: Signal
    learning: Signal
    saturated: Signal

    def __init__(self, config: CfpcConfig, *, identity: str = NO_IDENTITY) -> None:
        self.config = config
        self._filter, self._link = Cfpc(config), Link()
        self._registers = CfpcRegisters(config, identity=identity)
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "rx_error": In(1),
                "tx": Out(stream.Signature(8)),
                "alive": Out(1),
                "learning": Out(1),
                "saturated": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.registers = registers = self._registers
        filter_ = self._filter
        m.submodules.filter = ResetInserter(registers.reset)(filter_)
        m.submodules.link = link = self._link
        wiring.connect(m, wiring.flipped(self.rx), link.rx)
        wiring.connect(m, link.tx, wiring.flipped(self.tx))
        wiring.connect(m, link.bus, registers.bus)
        wiring.connect(m, registers.records, link.records)
        wiring.connect(m, registers.samples, filter_.samples)
        wiring.connect(m, filter_.outputs, registers.outputs)
        wiring.connect(m, registers.access, filter_.access)
        wiring.connect(m, filter_.readback, registers.readback)
        m.d.comb += [
            link.rx_error.eq(self.rx_error),
            filter_.freeze.eq(registers.freeze),
            registers.busy.eq(filter_.busy),
            registers.rejected.eq(filter_.rejected),
            self.alive.eq(registers.steps[_ALIVE_BIT]),
            self.learning.eq(~registers.freeze),
            self.saturated.eq(registers.saturated),
        ]
        return m
