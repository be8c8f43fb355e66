"""The link to the host: requests in frames become accesses of a bus, answers and telemetry go back."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .frames import (
    ESCAPE,
    ESCAPED,
    FCS_GOOD,
    FCS_INIT,
    FLAG,
    HEADER_BYTES,
    MAX_CONTENT,
    MAX_WORDS,
    REPLY,
    Operation,
    Status,
    next_fcs,
    record_layout,
)

__all__ = ["Deframer", "Framer", "Link", "bus_signature"]

_FCS_BYTES = 2
_OCTET = 8
_WORD, _WORD_BYTES = 32, 4
_HEADER = data.StructLayout({"operation": _OCTET, "count": _OCTET, "address": 16})
_STATUS = Shape.cast(range(max(Status) + 1))


def bus_signature() -> wiring.Signature:
    """Accesses of 32-bit words, seen from the side that asks.

    ``valid`` and all that goes with it stay until ``ready``, in whose cycle ``read_data`` and ``status``
    count. An access may take any number of cycles; none is withdrawn.
    """
    return wiring.Signature(
        {
            "valid": Out(1),
            "write": Out(1),
            "address": Out(16),
            "write_data": Out(_WORD),
            "ready": In(1),
            "read_data": In(_WORD),
            "status": In(_STATUS),
        }
    )


FIRST = -(HEADER_BYTES + _FCS_BYTES) % (1 << _OCTET)
"""Where a request is kept; so its data are at the end of the memory and its beginning."""


class Deframer(wiring.Component):
    """Takes frames out of a stream of bytes: ``frames.Decoder`` in hardware.

    Attributes
    ----------
    fcs, escaped, broken : Signal
        For proofs: all that is known of the present frame, but for `length`.

    Members
    -------
    rx : In(stream of 8 bits)
        Always taken.
    rx_error : In(1)
        A byte was lost or broken: the present frame is bad.
    hold : In(1)
        From the cycle after `good`, while the frame is in use: `length` stays, and a frame of which a byte
        comes meanwhile is bad.
    release : In(1)
        Last cycle of `hold`.
    write : Out(1)
        `octet` is a byte of a frame.
    octet : Out(8)
    length : Out(8)
        Bytes of the frame so far, less header and check sequence, modulo 256: first :data:`FIRST`.
    good, bad : Out(1)
        In the cycle of the flag that ends a frame: it has the right check sequence and is long enough
        to be a request, or not.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "rx": In(stream.Signature(_OCTET)),
                "rx_error": In(1),
                "hold": In(1),
                "release": In(1),
                "write": Out(1),
                "octet": Out(_OCTET),
                "length": Out(_OCTET, init=FIRST),
                "good": Out(1),
                "bad": Out(1),
            }
        )
        self.fcs, self.escaped, self.broken = Signal(16, init=FCS_INIT), Signal(), Signal()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fcs, escaped, broken = self.fcs, self.escaped, self.broken
        flag, escape = self.rx.payload == FLAG, (self.rx.payload == ESCAPE) & ~escaped
        ends, room = self.rx.valid & flag, self.length != (FIRST + MAX_CONTENT) % (1 << _OCTET)
        wrong = broken | escaped | self.rx_error
        some = (self.length != FIRST) & ~self.hold
        m.d.comb += [
            self.rx.ready.eq(1),
            self.octet.eq(self.rx.payload ^ Mux(escaped, ESCAPED, 0)),
            self.write.eq(self.rx.valid & ~flag & ~escape & room & ~self.hold),
            # While held the check sequence is at its start, at which it is not good.
            self.good.eq(ends & ~wrong & (fcs == FCS_GOOD) & (self.length < FIRST)),
            self.bad.eq(ends & ~self.good & (some | wrong)),
        ]
        with m.If(ends):
            m.d.sync += [fcs.eq(FCS_INIT), escaped.eq(0), broken.eq(0)]
        with m.Else():
            with m.If(self.rx.valid):
                m.d.sync += escaped.eq(escape)
            with m.If(self.rx_error | (self.rx.valid & (self.hold | (~escape & ~room)))):
                m.d.sync += broken.eq(1)
            with m.If(self.write):
                m.d.sync += fcs.eq(next_fcs(fcs, self.octet))
        with m.If(self.release | (ends & ~self.good & ~self.hold)):
            m.d.sync += self.length.eq(FIRST)
        with m.Elif(self.write):
            m.d.sync += self.length.eq(self.length + 1)
        return m


class Framer(wiring.Component):
    """Puts frames into a stream of bytes: ``frames.encode`` in hardware.

    Members
    -------
    content : In(stream of ``octet``, ``last``)
        Payloads, at least a byte each.
    tx : Out(stream of 8 bits)
    """

    def __init__(self) -> None:
        content = data.StructLayout({"octet": _OCTET, "last": 1})
        super().__init__({"content": In(stream.Signature(content)), "tx": Out(stream.Signature(_OCTET))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # The byte that is being sent, perhaps in two; from here on, so that no long path goes through.
        octet, last, full, escaped = Signal(_OCTET), Signal(), Signal(), Signal()
        fcs, flags = Signal(16), Signal()
        special = (octet == FLAG) | (octet == ESCAPE)
        stuffs = special & ~escaped
        goes = self.tx.valid & self.tx.ready
        sent = goes & ~stuffs & ~flags
        m.d.comb += [
            self.tx.valid.eq(full),
            self.tx.payload.eq(Mux(flags, FLAG, Mux(stuffs, ESCAPE, octet ^ Mux(escaped, ESCAPED, 0)))),
        ]
        with m.If(goes & ~flags):
            m.d.sync += escaped.eq(stuffs)
        with m.If(sent):
            m.d.sync += full.eq(0)

        with m.FSM():
            with m.State("BEGIN"):
                m.d.comb += [flags.eq(1), self.content.ready.eq(~full)]
                m.d.sync += fcs.eq(FCS_INIT)
                with m.If(goes):
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += self.content.ready.eq(~full)
                with m.If(sent):
                    m.d.sync += fcs.eq(next_fcs(fcs, octet))
                    with m.If(last):
                        m.next = "FCS_LOW"
            for state, following in (("FCS_LOW", "FCS_HIGH"), ("FCS_HIGH", "END")):
                with m.State(state):
                    with m.If(~full):
                        m.d.sync += [octet.eq(~fcs), fcs.eq(fcs >> _OCTET), full.eq(1)]
                    with m.If(sent):
                        m.next = following
            with m.State("END"):
                m.d.comb += [flags.eq(1), self.tx.valid.eq(1)]
                with m.If(goes):
                    m.next = "BEGIN"
        content = self.content
        with m.If(content.valid & content.ready):
            m.d.sync += [octet.eq(content.payload.octet), last.eq(content.payload.last), full.eq(1)]
        return m


class Link(wiring.Component):
    """Executes requests, one at a time, and sends replies and telemetry; docs/blocks/link.md has the rules.

    A request is kept in a memory until its check sequence is known to be right; a reply is made of what the
    bus answers as it is sent. What is written is written before the reply begins, whether that can leave or
    not. Telemetry goes out between replies.

    Attributes
    ----------
    deframer : Deframer
    write, read
        Ports of the memory that a request is kept in: for proofs.

    Members
    -------
    rx : In(stream of 8 bits)
        From the host; always taken.
    rx_error : In(1)
        A byte was lost or broken on the way.
    tx : Out(stream of 8 bits)
        To the host.
    bus : Out(bus_signature())
        Aligned addresses only.
    records : In(stream of ``frames.record_layout()``)
    good, bad : Out(1)
        A frame was accepted as a request, or dropped.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "rx": In(stream.Signature(_OCTET)),
                "rx_error": In(1),
                "tx": Out(stream.Signature(_OCTET)),
                "bus": Out(bus_signature()),
                "records": In(stream.Signature(record_layout())),
                "good": Out(1),
                "bad": Out(1),
            }
        )
        self.deframer = Deframer()
        self._buffer = memory.Memory(shape=_OCTET, depth=1 << _OCTET, init=[], attrs={"ram_style": "block"})
        self.write, self.read = self._buffer.write_port(), self._buffer.read_port()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        m.submodules.deframer = deframer = self.deframer
        m.submodules.framer = framer = Framer()
        m.submodules.buffer = self._buffer
        write, read = self.write, self.read
        wiring.connect(m, wiring.flipped(self.rx), deframer.rx)
        wiring.connect(m, framer.tx, wiring.flipped(self.tx))
        m.d.comb += [
            deframer.rx_error.eq(self.rx_error),
            write.addr.eq(deframer.length),
            write.data.eq(deframer.octet),
            write.en.eq(deframer.write),
            self.good.eq(deframer.good),
            self.bad.eq(deframer.bad),
        ]

        # `octet` is the byte of the request before `place`, from the cycle after its fetch on.
        place, octet = Signal(_OCTET, init=FIRST), read.data
        m.d.comb += [read.addr.eq(place), read.en.eq(0)]

        def fetch() -> None:
            m.d.comb += read.en.eq(1)
            m.d.sync += place.eq(place + 1)

        # Four bytes: what follows the sequence number in a header, or a word of data on its way in or out.
        word, part = Signal(_WORD, reset_less=True), Signal(range(_WORD_BYTES))
        header = data.View(_HEADER, word)
        shifted, whole = Cat(word[_OCTET:], octet), part == _WORD_BYTES - 1

        # The request.
        heads, steps, runs = Signal(), Signal(), Signal(reset_less=True)
        reads, writes = (Signal(reset_less=True, name=name) for name in ("reads", "writes"))
        aligned, address = Signal(reset_less=True), Signal(len(bus.address) - 2, reset_less=True)
        count, status = Signal(range(MAX_WORDS + 1), reset_less=True), Signal(Status, reset_less=True)
        asks_read, asks_write = header.operation == Operation.READ, header.operation == Operation.WRITE
        fits = (header.count != 0) & (header.count <= MAX_WORDS)
        fits &= deframer.length == Cat(Const(0, 2), Mux(asks_write, header.count[: len(count)], 0))
        # Loaded or counted: what is added makes room in a logic cell for the load.
        with m.If(heads | steps):
            m.d.sync += [
                address.eq(Mux(heads, header.address[2:], address - (~heads).replicate(len(address)))),
                count.eq(Mux(heads, header.count, count + (~heads).replicate(len(count)))),
            ]
        # The WRITE that was executed last, if no READ has been since.
        last, repeatable, repeated = Signal(_OCTET, reset_less=True), Signal(), Signal(reset_less=True)

        found = Mux(aligned, bus.status, Status.BAD_ADDRESS)
        fine = found == Status.OK
        m.d.comb += [
            bus.write.eq(writes),
            bus.address.eq(Cat(Const(0, 2), address)),
            bus.write_data.eq(word),
        ]

        # What is sent, byte by byte: a reply or, in between, a record.
        sent = framer.content.valid & framer.content.ready
        reply, replies, waits, replying = Signal(_OCTET), Signal(), Signal(), Signal()
        ends_reply, telling = Signal(), Signal()
        record, at, number = self._record_octet(m)
        told = sent & telling & at.all()
        m.d.comb += [
            framer.content.valid.eq(telling | replies),
            framer.content.payload.octet.eq(Mux(telling, record, reply)),
            framer.content.payload.last.eq(Mux(telling, at.all(), ends_reply)),
            self.records.ready.eq(told),
        ]
        with m.If(told):
            m.d.sync += [telling.eq(0), number.eq(number + 1), at.eq(at.init)]
        with m.Elif(telling & sent):
            m.d.sync += at.eq(at + 1)
        with m.Elif(self.records.valid & ~waits & ~replying):
            m.d.sync += telling.eq(1)

        m.d.comb += deframer.hold.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += deframer.hold.eq(0)
                with m.If(deframer.good):
                    fetch()
                    m.next = "REPEATED"
            with m.State("REPEATED"):
                fetch()
                m.d.sync += repeated.eq(repeatable & (octet == last))
                m.next = "HEADER"
            with m.State("HEADER"):
                fetch()
                m.d.sync += [word.eq(shifted), part.eq(part + 1)]
                with m.If(whole):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += heads.eq(1)
                m.d.sync += [
                    reads.eq(asks_read),
                    writes.eq(asks_write),
                    aligned.eq(~header.address[:2].any()),
                ]
                m.d.sync += runs.eq(fits & (asks_read | asks_write))
                m.next = "READY"
                with m.If(fits & (asks_read | (asks_write & ~repeated))):
                    m.d.sync += status.eq(Status.OK)
                with m.If(fits & asks_write & ~repeated):
                    m.next = "LOAD"
            with m.State("LOAD"):
                fetch()
                m.d.sync += [word.eq(shifted), part.eq(part + 1)]
                with m.If(whole):
                    m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += bus.valid.eq(aligned)
                with m.If(bus.ready | ~aligned):
                    m.d.comb += steps.eq(1)
                    m.d.sync += word.eq(Mux(fine, bus.read_data, 0))
                    with m.If(status == Status.OK):
                        m.d.sync += status.eq(found)
                    m.next = "READY"
                    with m.If(reads):
                        m.next = "DATA"
                    with m.Elif(fine & (count != 1)):
                        m.next = "LOAD"
            with m.State("READY"):
                m.d.comb += waits.eq(1)
                m.d.sync += place.eq(FIRST)
                with m.If(~telling):
                    m.d.sync += replying.eq(1)
                    m.next = "REWIND"
            with m.State("REWIND"):
                fetch()
                m.next = "SEQUENCE"
            with m.State("SEQUENCE"):
                m.d.comb += [replies.eq(1), reply.eq(octet)]
                with m.If(sent):
                    fetch()
                    with m.If(runs):
                        m.d.sync += [repeatable.eq(writes), last.eq(octet)]
                    m.next = "OPERATION"
            with m.State("OPERATION"):
                m.d.comb += [replies.eq(1), reply.eq(octet | REPLY)]
                with m.If(sent):
                    m.next = "STATUS"
                    with m.If(runs & reads):
                        m.next = "ACCESS"
            with m.State("DATA"):
                m.d.comb += [replies.eq(1), reply.eq(word)]
                with m.If(sent):
                    m.d.sync += [word.eq(shifted), part.eq(part + 1)]
                    with m.If(whole):
                        m.next = "ACCESS"
                        with m.If(count == 0):
                            m.next = "STATUS"
            with m.State("STATUS"):
                refused = Mux(reads | writes, Status.BAD_LENGTH, Status.BAD_OPERATION)
                m.d.comb += [replies.eq(1), ends_reply.eq(1), reply.eq(Mux(runs, status, refused))]
                with m.If(sent):
                    m.d.comb += deframer.release.eq(1)
                    m.d.sync += [replying.eq(0), place.eq(FIRST)]
                    m.next = "IDLE"
        return m

    def _record_octet(self, m: Module) -> tuple[Value, Signal, Signal]:
        """The byte of the record to send, which byte that is, up to all ones, and the record's number."""
        fields, number = self.records.payload, Signal(_OCTET)
        octets = [number, fields.kind, fields.index, fields.flags]
        octets += [fields.step[:_OCTET], fields.step[_OCTET:]]
        octets += [fields.data.word_select(byte, _OCTET) for byte in range(_WORD_BYTES)]
        # Counted so that the bytes of data are aligned and the last one is told by its ones.
        end = 1 << ceil_log2(len(octets))
        at = Signal(range(end), init=end - len(octets))
        padded = Cat(Const(0, _OCTET * at.init), (Cat(octet, Const(0, _OCTET))[:_OCTET] for octet in octets))
        return padded.word_select(at, _OCTET), at, number
