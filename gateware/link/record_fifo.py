"""Telemetry records on their way to the link: none is held up, none is lost silently."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .frames import RecordKind, record_layout

__all__ = ["RecordFifo"]


class RecordFifo(wiring.Component):
    """First in, first out, in block memory; counts what finds it full.

    Once it has been full, it takes nothing until it is half empty: else each place that becomes free would be
    spent on telling of losses. The record that comes first then is lost, too, and gives its place, with its
    step, to a record LOST.

    Parameters
    ----------
    depth : int
        Records that wait besides the one offered; a power of 2, at least 4.

    Attributes
    ----------
    memory, write, read, head, tail, takes, loses, dropping, owing, since
        For proofs: where records wait, from `head` on and before `tail`; a record is put in,
        or lost; all are lost until it is half empty; a LOST is due, and what it will say.

    Members
    -------
    valid : In(1)
        `record` is one, of ``frames.record_layout()``; gone in the next cycle.
    record : In
    records : Out(stream of the same)
        Out two cycles after in, or later. ``index`` and ``flags`` of LOST mean nothing; its ``data`` are the
        records lost since the LOST before.
    losing : Out(1)
        A record is lost in this cycle.
    lost : Out(32)
        All that were lost.

    Raises
    ------
    ValueError
        If there is no such depth.
    """

    def __init__(self, depth: int = 256) -> None:
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"depth {depth}: must be a power of 2, at least 4")
        self.depth = depth
        layout = record_layout()
        super().__init__(
            {
                "valid": In(1),
                "record": In(layout),
                "records": Out(stream.Signature(layout)),
                "losing": Out(1),
                "lost": Out(layout["data"].shape),
            }
        )
        self.memory = memory.Memory(shape=layout, depth=depth, init=[], attrs={"ram_style": "block"})
        self.write, self.read = self.memory.write_port(), self.memory.read_port()
        # The bit above the address tells full from empty.
        self.tail, self.head = Signal(range(2 * depth)), Signal(range(2 * depth))
        self.takes, self.loses, self.dropping, self.owing = Signal(), Signal(), Signal(), Signal()
        # The record that LOST takes the place of is counted in advance.
        self.since = Signal.like(self.lost, init=1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = self.memory
        head, tail, write, read = self.head, self.tail, self.write, self.read
        differs = tail ^ head
        low, middle, high = differs[:-2] == 0, differs[-2], differs[-1]
        empty, half, full = low & ~middle & ~high, low & middle, low & ~middle & high

        m.d.comb += [
            self.takes.eq(self.valid & ~full & ~self.dropping),
            self.loses.eq(self.valid & (full | self.dropping)),
            write.addr.eq(tail[:-1]),
            write.en.eq(self.takes),
            write.data.eq(self.record),
        ]
        m.d.sync += self.dropping.eq(Mux(self.dropping, ~half, self.loses))
        with m.If(self.owing):
            m.d.comb += [write.data.kind.eq(RecordKind.LOST), write.data.data.eq(self.since)]
        with m.If(self.takes):
            m.d.sync += [tail.eq(tail + 1), self.since.eq(1), self.owing.eq(0)]
        with m.Elif(self.loses):
            m.d.sync += [self.since.eq(self.since + 1), self.owing.eq(1)]
        m.d.comb += self.losing.eq(self.loses | (self.takes & self.owing))
        with m.If(self.losing):
            m.d.sync += self.lost.eq(self.lost + 1)

        # The memory keeps what it has read until the next read: the record that is offered.
        m.d.comb += [
            read.addr.eq(head[:-1]),
            read.en.eq(~empty & (self.records.ready | ~self.records.valid)),
            self.records.payload.eq(read.data),
        ]
        with m.If(read.en):
            m.d.sync += [head.eq(head + 1), self.records.valid.eq(1)]
        with m.Elif(self.records.ready):
            m.d.sync += self.records.valid.eq(0)
        return m
