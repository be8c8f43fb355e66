"""Bytes over a serial line: 8 data bits, no parity, one stop bit."""

from __future__ import annotations

from typing import Any, NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..component import Component

__all__ = ["BitRate", "Uart"]

_DATA_BITS = 8
_LEAST_CYCLES = 4
"""Clock cycles a bit: with fewer the middle of a bit cannot be told."""
_MOST_BITS = 16
_EXACT, _TOLERATED = 0.0025, 0.02
"""Relative error of the baud rate: with less no more bits are spent on it; more is refused."""


class BitRate(NamedTuple):
    """A baud rate as a clock makes it.

    Attributes
    ----------
    phase_bits, increment : int
        Width of the phase, and what a clock cycle adds.
    baud : float
        Bits a second as made.
    """

    phase_bits: int
    increment: int
    baud: float

    @classmethod
    def nearest(cls, *, clock_hz: float, baud: float) -> BitRate:
        """The narrowest that is exact enough, else the widest.

        Raises
        ------
        ValueError
            If the clock cannot make the baud rate within 2 %, or gives less than 4 cycles a bit.
        """
        if not 0 < _LEAST_CYCLES * baud <= clock_hz:
            raise ValueError(
                f"{baud:g} baud: limit is {clock_hz / _LEAST_CYCLES:g} at a clock of {clock_hz:g} Hz"
            )
        for bits in range(2, _MOST_BITS + 1):
            increment = round(baud / clock_hz * (1 << bits))
            made = cls(bits, increment, clock_hz * increment / (1 << bits))
            error = abs(made.baud / baud - 1)
            if error <= _EXACT:
                break
        if error > _TOLERATED:
            raise ValueError(
                f"{baud:g} baud: {made.baud:g} is nearest at a clock of {clock_hz:g} Hz, "
                f"limit is {_TOLERATED:.0%} off"
            )
        return made


class Uart(Component):
    """Receiver and transmitter.

    Both count bits by a phase to which each clock cycle adds baud/clock; a bit is over when it overflows. The
    receiver starts its phase half a bit ahead at each falling edge, and so looks at the middle of each bit.

    Parameters
    ----------
    clock_hz : float
    baud : float
        Bits a second, start and stop bits counted.

    Attributes
    ----------
    phase_bits, increment, baud
        As of :class:`BitRate`.

    Members
    -------
    rx : In(1)
        From the other side; any clock, it is synchronised here.
    tx : Out(1)
        To the other side; 1 where nothing is sent.
    received : Out(stream of 8 bits)
        A byte that is not taken by the time of the next one is lost, and sets `error`.
    error : Out(1)
        High for a cycle: a byte without a stop bit, which is dropped (a break is one, however long), or a
        byte that was not taken.
    send : In(stream of 8 bits)
        What goes out by `tx`.

    Raises
    ------
    ValueError
        As of :meth:`BitRate.nearest`.
    """

    rx: Signal
    tx: Signal
    received: stream.Interface
    error: Signal
    send: stream.Interface

    def __init__(self, *, clock_hz: float, baud: float) -> None:
        self.phase_bits, self.increment, self.baud = BitRate.nearest(clock_hz=clock_hz, baud=baud)
        super().__init__(
            {
                "rx": In(1, init=1),  # type: ignore[call-arg]  # the stubs call it reset
                "tx": Out(1, init=1),  # type: ignore[call-arg]
                "received": Out(stream.Signature(_DATA_BITS)),
                "error": Out(1),
                "send": In(stream.Signature(_DATA_BITS)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._transmit(m)
        self._receive(m)
        return m

    def _turns(self, m: Module, name: str, start: int, restarts: Value) -> Value:
        """Whether a bit is over; the phase is at `start` in the cycle after `restarts`."""
        phase = Signal(self.phase_bits, name=f"{name}_phase")
        advanced = phase + self.increment
        m.d.sync += phase.eq(Mux(restarts, start, advanced))
        return advanced[self.phase_bits]

    def _transmit(self, m: Module) -> None:
        # What is left to send: data, and the stop bit, which is the last one.
        left, busy = Signal(_DATA_BITS + 1), Signal()
        turns = self._turns(m, "tx", 0, ~busy)
        m.d.comb += self.send.ready.eq(~busy)
        with m.If(~busy):
            m.d.sync += left.eq(Cat(self.send.payload, 1))
            with m.If(self.send.valid):
                m.d.sync += [busy.eq(1), self.tx.eq(0)]
        with m.Elif(turns):
            m.d.sync += left.eq(left >> 1)
            with m.If(left == 0):
                m.d.sync += busy.eq(0)
            with m.Else():
                m.d.sync += self.tx.eq(left[0])

    def _receive(self, m: Module) -> None:
        # The line in the clock of this design, and whether no byte is in progress.
        line, idle = Signal(init=1), Signal()
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1)
        # Half a bit ahead; the edge was half a cycle before it is seen, on average.
        ahead = (1 << self.phase_bits - 1) + self.increment // 2
        turns = self._turns(m, "rx", ahead, idle)
        # The bits come in from above; below them is a one, which is at the bottom with the eighth.
        found = Signal(_DATA_BITS + 1)
        received = self.received
        m.d.comb += received.payload.eq(found[1:])
        with m.If(received.ready):
            m.d.sync += received.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                with m.If(~line):
                    m.d.comb += self.error.eq(received.valid & ~received.ready)
                    m.d.sync += [found.eq(1 << _DATA_BITS), received.valid.eq(0)]
                    m.next = "START"
            with m.State("START"), m.If(turns):
                m.next = "DATA"
                with m.If(line):  # too short for a bit
                    m.next = "IDLE"
            with m.State("DATA"):
                with m.If(turns & ~found[0]):
                    m.d.sync += found.eq(Cat(found[1:], line))
                with m.Elif(turns & line):
                    m.d.sync += received.valid.eq(1)
                    m.next = "IDLE"
                with m.Elif(turns):
                    m.d.comb += self.error.eq(1)
                    m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
