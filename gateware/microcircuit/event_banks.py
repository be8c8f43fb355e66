"""Events on their way into a step: a bit a channel and kind, in two banks."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import memory, stream
from amaranth.lib.wiring import In, Out

from ..component import Component
from ..events import EventKind, channel_shape, event_stream

__all__ = ["EventBanks"]


class EventBanks(Component):
    """Collects the events of one step while those of the step before are consumed.

    Parameters
    ----------
    channels : int
        Channels, at least 1.

    Attributes
    ----------
    rows : int
        Rows of both banks: as many cycles of `clear` empty them.

    Members
    -------
    events : In(event_stream(channels))
        Detections and blanking; not taken in the cycles of `consume` and `clear`.
    unknown : Out(1)
        The event taken in this cycle names no channel or is a CR, and is dropped.
    swap : In(1)
        Exchange the banks: what was collected up to and in this cycle can be consumed from the next on.
    channel : In(channel_shape(channels))
        Whose events to fetch and consume.
    fetch : In(1)
        Read them; `pn`, `io` and `blanked` are valid from the next cycle until the next `fetch`.
    consume : In(1)
        Forget them.
    clear : In(1)
        Forget row `clear_row` of both banks' rows.
    clear_row : In(range(rows))
    pn, io : Out(1)
        Detections; an IO detection in a blanked step is none.
    blanked : Out(1)
    """

    events: stream.Interface
    unknown: Signal
    swap: Signal
    channel: Signal
    fetch: Signal
    consume: Signal
    clear: Signal
    clear_row: Signal
    pn: Signal
    io: Signal
    blanked: Signal

    def __init__(self, channels: int) -> None:
        self._channels = channels
        shape = channel_shape(channels)
        self.rows = 2 << shape.width
        super().__init__(
            {
                "events": In(event_stream(channels)),
                "unknown": Out(1),
                "swap": In(1),
                "channel": In(shape),
                "fetch": In(1),
                "consume": In(1),
                "clear": In(1),
                "clear_row": In(range(self.rows)),
                "pn": Out(1),
                "io": Out(1),
                "blanked": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Two rows a channel, one in each bank; a bit a kind, written by itself.
        banks: memory.Memory[int, Value] = memory.Memory(
            shape=3, depth=self.rows, init=[], attrs={"ram_style": "block"}
        )
        m.submodules.banks = banks
        read, write = banks.read_port(), banks.write_port(granularity=1)

        # The bank that collects; the other one is consumed.
        filling = Signal()
        with m.If(self.swap):
            m.d.sync += filling.eq(~filling)

        # What comes in, and whether it is for the banks.
        event = self.events.payload
        kinds = Cat(event.kind == kind for kind in (EventKind.PN, EventKind.IO, EventKind.BLANKED))
        known = (event.channel < self._channels) & kinds.any()
        taken = self.events.valid & self.events.ready

        # What goes out: the bits of a channel, in the order of `kinds`.
        detected_io = Signal()
        m.d.comb += [
            read.addr.eq(Cat(self.channel, ~filling)),
            read.en.eq(self.fetch),
            Cat(self.pn, detected_io, self.blanked).eq(read.data),
            self.io.eq(detected_io & ~self.blanked),
            self.events.ready.eq(~self.consume & ~self.clear),
            self.unknown.eq(taken & ~known),
        ]

        # One write a cycle; events wait where it is taken.
        with m.If(self.clear):
            m.d.comb += [write.addr.eq(self.clear_row), write.data.eq(0b000), write.en.eq(0b111)]
        with m.Elif(self.consume):
            m.d.comb += [write.addr.eq(read.addr), write.data.eq(0b000), write.en.eq(0b111)]
        with m.Elif(taken & known):
            m.d.comb += [
                write.addr.eq(Cat(event.channel, filling)),
                write.data.eq(0b111),
                write.en.eq(kinds),
            ]
        return m
