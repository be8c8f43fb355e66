"""Formal proofs of the link and of its queue: harnesses for :func:`formal.verify`.

Every input is free in every cycle, the reset too. What the proofs need to know of the inside is asserted with
the rest, not assumed.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from ...gateware.component import Component
from ...gateware.link.frames import (
    ESCAPE,
    ESCAPED,
    FCS_GOOD,
    FCS_INIT,
    FLAG,
    HEADER_BYTES,
    MAX_CONTENT,
    RecordKind,
)
from ...gateware.link.link import FIRST, Link
from ...gateware.link.record_fifo import RecordFifo
from .interlock import _Harness

__all__ = ["FifoHarness", "LinkHarness"]

_POLYNOMIAL = 0x8408
"""x¹⁶ + x¹² + x⁵ + 1, low powers on the left."""


class LinkHarness(_Harness[Link]):
    """No access of the bus without a frame whose check sequence is right; each flag starts afresh.

    A monitor of its own undoes the escapes and computes the check sequence bit by bit.

    Parameters
    ----------
    design : Link, optional
        In place of the link: one that is broken on purpose.
    """

    def __init__(self, design: Link | None = None) -> None:
        super().__init__(design or Link())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self.connect(m)
        link, deframer, octet = self.design, self.design.deframer, self.design.rx.payload
        flag = link.rx.valid & (octet == FLAG)
        came = link.rx.valid & (octet != FLAG)

        # The frame as it comes: a request's bytes, none of them while a request is executed.
        fcs, count, escaped = Signal(16, init=FCS_INIT), Signal(range(MAX_CONTENT + 2)), Signal()
        wrong, busy = Signal(), Signal()
        escapes = came & (octet == ESCAPE) & ~escaped
        following: Value = fcs ^ octet ^ Mux(escaped, ESCAPED, 0)
        for _ in range(len(octet)):
            following = following[1:] ^ Mux(following[0], _POLYNOMIAL, 0)
        with m.If(flag):
            m.d.sync += [fcs.eq(FCS_INIT), count.eq(0), escaped.eq(0), wrong.eq(0)]
        with m.Else():
            with m.If(link.rx_error | (came & busy)):
                m.d.sync += wrong.eq(1)
            with m.If(came):
                m.d.sync += escaped.eq(escapes)
            with m.If(came & ~escapes):
                m.d.sync += fcs.eq(following)
            with m.If(came & ~escapes & (count <= MAX_CONTENT)):
                m.d.sync += count.eq(count + 1)
        size = (count >= HEADER_BYTES + 2) & (count <= MAX_CONTENT)
        right = flag & size & (fcs == FCS_GOOD) & ~escaped & ~wrong & ~link.rx_error
        with m.If(link.good):
            m.d.sync += busy.eq(1)
        with m.Elif(deframer.release):
            m.d.sync += busy.eq(0)
        _check(m, "accepted with the right check sequence only", ~link.good | right)
        _check(m, "accepted with the right check sequence", ~right | link.good)
        _check(
            m,
            "dropped otherwise",
            link.bad == flag & ~right & ((count != 0) | escaped | wrong | link.rx_error),
        )
        _check(m, "no access without an accepted request", ~link.bus.valid | busy)
        _check(m, "a request stays as it is while executed", ~(deframer.write & busy))

        asked = Cat(link.bus.valid, link.bus.write, link.bus.address, link.bus.write_data)
        _check_kept(m, "an access is not withdrawn", asked, link.bus.ready)
        _check_kept(m, "a byte is not withdrawn", Cat(link.tx.valid, link.tx.payload), link.tx.ready)
        _check(m, "aligned accesses only", ~link.bus.valid | (link.bus.address[:2] == 0))

        # Whatever was before, what is known of a frame after a flag is what is known of one after a reset.
        fresh = Signal()
        m.d.sync += fresh.eq(flag)
        start = (deframer.fcs == FCS_INIT) & ~deframer.escaped & ~deframer.broken
        _check(m, "a flag starts afresh", ~fresh | (start & (busy | (deframer.length == FIRST))))

        _check(m, "the memory is not read while written", ~(link.read.en & link.write.en))

        # What relates the monitor to the design, for the induction.
        _check(m, "busy", busy == deframer.hold)
        _check(m, "escaped", escaped == deframer.escaped)
        _check(m, "broken", deframer.broken == wrong | (count > MAX_CONTENT))
        _check(m, "empty while busy", ~busy | wrong | (count == 0))
        _check(m, "check sequence", deframer.broken | (fcs == deframer.fcs))
        _check(m, "check sequence while busy", ~busy | (deframer.fcs == FCS_INIT))
        length = (deframer.length - FIRST)[:8]
        _check(m, "length", deframer.broken | busy | (count == length))

        m.d.comb += [
            Cover(link.good & link.rx.valid, "a request"),
            Cover(link.bad, "a bad frame"),
        ]
        return m


class FifoHarness(Component):
    """Every record that goes in comes out once, unchanged, in order, or is counted and told of.

    One record, any, is followed by its number from where it goes in to where it comes out.

    Parameters
    ----------
    depth : int
    design : RecordFifo, optional
        In place of the queue: one that is broken on purpose.

    Members
    -------
    choose : In(1)
        The record that goes in is the one to follow, if there is none yet.

    Those of the queue.
    """

    valid: Signal
    record: data.View[data.StructLayout]
    records: stream.Interface
    losing: Signal
    lost: Signal
    choose: Signal

    def __init__(self, depth: int = 4, design: RecordFifo | None = None) -> None:
        self.design = design or RecordFifo(depth)
        self._kept = self.design.memory.read_port(domain="comb")
        super().__init__({**self.design.signature.members, "choose": In(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.design = fifo = self.design
        wiring.connect(m, fifo.records, wiring.flipped(self.records))
        m.d.comb += [fifo.valid.eq(self.valid), fifo.record.eq(self.record), self.lost.eq(fifo.lost)]
        depth, numbers = fifo.depth, range(4 * fifo.depth)
        goes_in, comes_out = Signal(), self.records.valid & self.records.ready
        lost, level = Signal(), Signal(range(2 * depth))
        m.d.comb += [level.eq(fifo.tail - fifo.head), goes_in.eq(fifo.takes), lost.eq(fifo.loses)]

        # What goes in: a record as it came, or LOST in place of it.
        tells = goes_in & fifo.owing
        losses, untold = Signal.like(self.lost), Signal.like(self.lost)
        m.d.sync += losses.eq(losses + (lost | tells))
        m.d.sync += untold.eq(Mux(tells, 0, untold + lost))
        _check(m, "taken or lost", self.valid == goes_in ^ lost)
        _check(m, "lost ones are counted", self.lost == losses)
        _check(m, "a loss is told of", fifo.owing == (untold != 0))
        _check(m, "LOST says how many", fifo.since == (untold + 1)[: len(untold)])
        m.d.comb += Assume(~untold.all(), "the counter goes round after four thousand million in a row")
        _check(m, "nothing is lost while there is room", ~lost | (level >= depth // 2))
        expected = Signal.like(self.record)
        m.d.comb += expected.eq(self.record)
        with m.If(fifo.owing):
            m.d.comb += [expected.kind.eq(RecordKind.LOST), expected.data.eq(untold + 1)]

        # What comes out, by numbers that are used again long after.
        entered, left, mine = (Signal(numbers, name=name) for name in ("entered", "left", "mine"))
        follows, content = Signal(), Signal.like(self.record)
        m.d.sync += [entered.eq(entered + goes_in), left.eq(left + comes_out)]
        chosen = self.choose & goes_in & ~follows
        mine_is_next = follows & (mine == left)
        with m.If(chosen):
            m.d.sync += [follows.eq(1), mine.eq(entered), content.eq(expected)]
        with m.Elif(mine_is_next & comes_out):
            m.d.sync += follows.eq(0)
        offered, wanted = Value.cast(self.records.payload), Value.cast(content)
        _check(
            m, "what comes out is what went in", ~(mine_is_next & self.records.valid) | (offered == wanted)
        )
        _check_kept(m, "a record is not withdrawn", Cat(self.records.valid, offered), self.records.ready)

        together = fifo.read.en & fifo.write.en & (fifo.read.addr == fifo.write.addr)
        _check(m, "no place is read while written", ~together)

        # For the induction: how many there are, and where the followed one is.
        inside, before = Signal(numbers), Signal(numbers)
        m.d.comb += [
            inside.eq(entered - left),
            before.eq(mine - left),
            self._kept.addr.eq(fifo.tail - inside + before),
        ]
        _check(m, "none is invented", inside == level + self.records.valid)
        _check(m, "no more than fit", level <= depth)
        _check(m, "dropping from full to half empty", ~fifo.dropping | (level >= depth // 2))
        _check(m, "the followed one is inside", ~follows | (before < inside))
        kept = Value.cast(self._kept.data) == wanted
        _check(m, "the followed one is kept", ~follows | (mine_is_next & self.records.valid) | kept)

        told = comes_out & (self.records.payload.kind == RecordKind.LOST)
        m.d.comb += [
            Cover(told & mine_is_next & (self.records.payload.data > 2), "LOST comes out"),
            Cover(comes_out & mine_is_next & (self.lost != 0) & ~told, "a record after a loss comes out"),
        ]
        return m


def _check(m: Module, name: str, holds: Value) -> None:
    m.d.comb += Assert(holds, name)


def _check_kept(m: Module, name: str, offered: Value, ready: Value) -> None:
    """A stream: what is valid, the lowest bit, stays as it is until `ready`."""
    waits, before = Signal(), Signal.like(offered, name="before")
    m.d.sync += [waits.eq(offered[0] & ~ready), before.eq(offered)]
    _check(m, name, ~waits | (offered == before))
