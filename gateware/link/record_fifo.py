"""Telemetry records on their way to the link: none is held up, none is lost silently."""

from __future__ import annotations

from typing import Any, NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from ..component import Component
from .frames import RecordKind, record_layout

__all__ = ["RecordFifo"]


class _Level(NamedTuple):
    """How many records wait: none; half of what there is room for; as many as there is room for."""

    empty: Value
    half_empty: Value
    full: Value


class RecordFifo(Component):
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
        `record` is one; gone in the next cycle.
    record : In(record_layout())
    records : Out(stream of record_layout())
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

    valid: Signal
    record: data.View[data.StructLayout]
    records: stream.Interface
    losing: Signal
    lost: Signal

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
        self.memory: memory.Memory[data.StructLayout, data.View[data.StructLayout]] = memory.Memory(
            shape=layout, depth=depth, init=[], attrs={"ram_style": "block"}
        )
        self.write, self.read = self.memory.write_port(), self.memory.read_port()
        # The bit above the address tells full from empty.
        self.tail, self.head = Signal(range(2 * depth)), Signal(range(2 * depth))
        # The record of this cycle is put in, or lost; all are, and a LOST is due.
        self.takes, self.loses, self.dropping, self.owing = Signal(), Signal(), Signal(), Signal()
        # The record that LOST takes the place of is counted in advance.
        self.since = Signal.like(self.lost, init=1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = self.memory
        level = self._level()
        self._put(m, level)
        self._tell(m)
        self._count(m)
        self._offer(m, level)
        return m

    def _level(self) -> _Level:
        """How full it is, by the bits in which both ends differ; half empty is never passed unseen."""
        differs = self.tail ^ self.head
        low, middle, high = differs[:-2] == 0, differs[-2], differs[-1]
        return _Level(empty=low & ~middle & ~high, half_empty=low & middle, full=low & ~middle & high)

    def _put(self, m: Module, level: _Level) -> None:
        """Where a record goes: into the memory, or nowhere."""
        write = self.write
        m.d.comb += [
            self.takes.eq(self.valid & ~level.full & ~self.dropping),
            self.loses.eq(self.valid & (level.full | self.dropping)),
            write.addr.eq(self.tail[:-1]),
            write.en.eq(self.takes),
            write.data.eq(self.record),
        ]
        m.d.sync += self.dropping.eq(Mux(self.dropping, ~level.half_empty, self.loses))

    def _tell(self, m: Module) -> None:
        """A LOST in place of the record that comes, where one is due."""
        with m.If(self.owing):
            m.d.comb += [
                self.write.data.kind.eq(RecordKind.LOST),
                self.write.data.data.eq(self.since),
            ]

    def _losing(self) -> Value:
        """A record is lost: it is not put in, or a LOST takes its place."""
        return self.loses | (self.takes & self.owing)

    def _count(self, m: Module) -> None:
        """What is put in, what is lost since the last LOST, and all that is lost."""
        with m.If(self.takes):
            m.d.sync += [self.tail.eq(self.tail + 1), self.since.eq(1), self.owing.eq(0)]
        with m.Elif(self.loses):
            m.d.sync += [self.since.eq(self.since + 1), self.owing.eq(1)]
        m.d.comb += self.losing.eq(self._losing())
        with m.If(self.losing):
            m.d.sync += self.lost.eq(self.lost + 1)

    def _offer(self, m: Module, level: _Level) -> None:
        """The record that is offered: the memory keeps what it has read until the next read."""
        head, read, records = self.head, self.read, self.records
        m.d.comb += [
            read.addr.eq(head[:-1]),
            read.en.eq(~level.empty & (records.ready | ~records.valid)),
            records.payload.eq(read.data),
        ]
        with m.If(read.en):
            m.d.sync += [head.eq(head + 1), records.valid.eq(1)]
        with m.Elif(records.ready):
            m.d.sync += records.valid.eq(0)
