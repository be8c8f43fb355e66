"""The link to the host: requests in frames become accesses of a bus, answers and telemetry go back."""

from __future__ import annotations

from typing import Any, Protocol

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..component import Component
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

__all__ = ["Bus", "Deframer", "Framer", "Link", "bus_signature"]

_FCS_BYTES = 2
_OCTET = 8
_WORD, _WORD_BYTES = 32, 4
_HEADER = data.StructLayout({"operation": _OCTET, "count": _OCTET, "address": 16})
_STATUS = Shape.cast(range(max(Status) + 1))


class Bus(Protocol):
    """The parts of :func:`bus_signature`."""

    valid: Signal
    write: Signal
    address: Signal
    write_data: Signal
    ready: Signal
    read_data: Signal
    status: Signal

    @property
    def signature(self) -> wiring.Signature: ...


def bus_signature() -> wiring.Signature:
    """Accesses of 32-bit words, seen from the side that asks; a :class:`Bus` is what it makes.

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


class Deframer(Component):
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
        Without its escape.
    length : Out(8)
        Bytes of the frame so far, less header and check sequence, modulo 256: first :data:`FIRST`.
    good, bad : Out(1)
        In the cycle of the flag that ends a frame: it has the right check sequence and is long enough
        to be a request, or not.
    """

    rx: stream.Interface
    rx_error: Signal
    hold: Signal
    release: Signal
    write: Signal
    octet: Signal
    length: Signal
    good: Signal
    bad: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "rx": In(stream.Signature(_OCTET)),
                "rx_error": In(1),
                "hold": In(1),
                "release": In(1),
                "write": Out(1),
                "octet": Out(_OCTET),
                "length": Out(_OCTET, init=FIRST),  # type: ignore[call-arg]  # the stubs call it reset
                "good": Out(1),
                "bad": Out(1),
            }
        )
        self.fcs, self.escaped, self.broken = Signal(16, init=FCS_INIT), Signal(), Signal()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fcs, escaped, broken = self.fcs, self.escaped, self.broken
        # What the byte is; whether the frame has room for one more, is bad already, or has begun at all.
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
        # What is known of the frame so far.
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


class Framer(Component):
    """Puts frames into a stream of bytes: ``frames.encode`` in hardware.

    Members
    -------
    content : In(stream of ``octet``, ``last``)
        Payloads, at least a byte each.
    tx : Out(stream of 8 bits)
        The frames.
    """

    content: stream.Interface
    tx: stream.Interface

    def __init__(self) -> None:
        content = data.StructLayout({"octet": _OCTET, "last": 1})
        super().__init__({"content": In(stream.Signature(content)), "tx": Out(stream.Signature(_OCTET))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # The byte that is being sent, perhaps in two; from here on, so that no long path goes through.
        octet, last, full, escaped = Signal(_OCTET), Signal(), Signal(), Signal()
        # The check sequence so far; a flag is being sent in place of a byte.
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


class _Request:
    """The request that is executed: where it is read, what it asks for, and the word of it in progress.

    Parameters
    ----------
    octet : Value
        What the memory of the request has read.

    Attributes
    ----------
    place : Signal
        Where the memory is read next.
    octet : Value
        The byte of the request before `place`, from the cycle after its fetch on.
    word, part : Signal
        Four bytes: what follows the sequence number in a header, or a word of data on its way in or out; and
        how many of them have passed.
    header : data.View
        `word` as the header.
    shifted, whole : Value
        `word` after one more byte; that byte is the fourth.
    heads, advances : Signal
        Commands: take address and count from the header; go on to the next word.
    reads, writes, runs : Signal
        The operation; it is a good request of either.
    aligned, address, count : Signal
        Of the word to access next, and the words that are left.
    status : Signal
        Of the reply.
    found, fine : Value
        The status of the access in progress; it is OK.
    last, repeatable, repeated : Signal
        The WRITE that was executed last: its sequence number; there has been no READ since; the request is
        the same again.
    """

    def __init__(self, octet: Value, bus: Bus) -> None:
        self.place, self.octet = Signal(_OCTET, init=FIRST), octet
        self.word, self.part = Signal(_WORD, reset_less=True), Signal(range(_WORD_BYTES))
        self.header = data.View(_HEADER, self.word)
        self.shifted, self.whole = Cat(self.word[_OCTET:], octet), self.part == _WORD_BYTES - 1
        self.heads, self.advances, self.runs = Signal(), Signal(), Signal(reset_less=True)
        self.reads, self.writes = Signal(reset_less=True), Signal(reset_less=True)
        self.aligned, self.address = Signal(reset_less=True), Signal(len(bus.address) - 2, reset_less=True)
        self.count = Signal(range(MAX_WORDS + 1), reset_less=True)
        self.status = Signal(Status, reset_less=True)
        self.found = Mux(self.aligned, bus.status, Status.BAD_ADDRESS)
        self.fine = self.found == Status.OK
        self.last, self.repeatable = Signal(_OCTET, reset_less=True), Signal()
        self.repeated = Signal(reset_less=True)


class _Reply:
    """What is sent, byte by byte: a reply or, in between, a record.

    Attributes
    ----------
    octet, valid, last : Signal
        A byte of the reply, whether there is one, and whether it is the last.
    sent : Signal
        The byte on its way, of either, has left.
    waits, busy : Signal
        A reply is about to begin; it has begun: no record begins meanwhile.
    telling : Signal
        A record is being sent.
    """

    def __init__(self, sent: Value) -> None:
        self.octet, self.valid, self.last = Signal(_OCTET), Signal(), Signal()
        self.waits, self.busy, self.telling = Signal(), Signal(), Signal()
        self.sent = sent


class Link(Component):
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
        Telemetry to send; one is taken once all of it has left.
    good, bad : Out(1)
        A frame was accepted as a request, or dropped.
    """

    rx: stream.Interface
    rx_error: Signal
    tx: stream.Interface
    bus: Bus
    records: stream.Interface
    good: Signal
    bad: Signal

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
        self._framer = Framer()
        self._buffer: memory.Memory[int, Value] = memory.Memory(
            shape=_OCTET, depth=1 << _OCTET, init=[], attrs={"ram_style": "block"}
        )
        self.write, self.read = self._buffer.write_port(), self._buffer.read_port()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.deframer = self.deframer
        m.submodules.framer = self._framer
        m.submodules.buffer = self._buffer
        self._receive(m)
        request = self._request(m)
        reply = self._send(m)
        m.d.comb += self.deframer.hold.eq(1)
        with m.FSM():
            self._take(m, request)
            self._access(m, request)
            self._answer(m, request, reply)
        return m

    def _receive(self, m: Module) -> None:
        """Frames, into the memory."""
        deframer, write = self.deframer, self.write
        wiring.connect(m, wiring.flipped(self.rx), deframer.rx)
        wiring.connect(m, self._framer.tx, wiring.flipped(self.tx))
        m.d.comb += [
            deframer.rx_error.eq(self.rx_error),
            write.addr.eq(deframer.length),
            write.data.eq(deframer.octet),
            write.en.eq(deframer.write),
            self.good.eq(deframer.good),
            self.bad.eq(deframer.bad),
        ]

    def _request(self, m: Module) -> _Request:
        """The request, read from the memory, and the access that it is at."""
        request, bus = _Request(self.read.data, self.bus), self.bus
        m.d.comb += [self.read.addr.eq(request.place), self.read.en.eq(0)]
        # Loaded or counted: what is added makes room in a logic cell for the load.
        header, heads = request.header, request.heads
        address, count = request.address, request.count
        with m.If(heads | request.advances):
            m.d.sync += [
                address.eq(Mux(heads, header.address[2:], address - (~heads).replicate(len(address)))),
                count.eq(Mux(heads, header.count, count + (~heads).replicate(len(count)))),
            ]
        m.d.comb += [
            bus.write.eq(request.writes),
            bus.address.eq(Cat(Const(0, 2), request.address)),
            bus.write_data.eq(request.word),
        ]
        return request

    def _send(self, m: Module) -> _Reply:
        """What goes to the framer; and when a record may go."""
        content = self._framer.content
        reply = _Reply(content.valid & content.ready)
        record, at, number = self._record_octet(m)
        told = reply.sent & reply.telling & at.all()
        m.d.comb += [
            content.valid.eq(reply.telling | reply.valid),
            content.payload.octet.eq(Mux(reply.telling, record, reply.octet)),
            content.payload.last.eq(Mux(reply.telling, at.all(), reply.last)),
            self.records.ready.eq(told),
        ]
        with m.If(told):
            m.d.sync += [reply.telling.eq(0), number.eq(number + 1), at.eq(at.init)]
        with m.Elif(reply.telling & reply.sent):
            m.d.sync += at.eq(at + 1)
        with m.Elif(self.records.valid & ~reply.waits & ~reply.busy):
            m.d.sync += reply.telling.eq(1)
        return reply

    def _fetch(self, m: Module, request: _Request) -> None:
        """Read the next byte of the request."""
        m.d.comb += self.read.en.eq(1)
        m.d.sync += request.place.eq(request.place + 1)

    def _shift(self, m: Module, request: _Request) -> None:
        """Put the byte that was read last into the word, and take one out of it."""
        m.d.sync += [request.word.eq(request.shifted), request.part.eq(request.part + 1)]

    def _take(self, m: Module, request: _Request) -> None:
        """States from a good frame on: its header is read and judged."""
        header, count = request.header, request.count
        asks_read, asks_write = header.operation == Operation.READ, header.operation == Operation.WRITE
        fits = (header.count != 0) & (header.count <= MAX_WORDS)
        fits &= self.deframer.length == Cat(Const(0, 2), Mux(asks_write, header.count[: len(count)], 0))
        with m.State("IDLE"):
            m.d.comb += self.deframer.hold.eq(0)
            with m.If(self.deframer.good):
                self._fetch(m, request)
                m.next = "REPEATED"
        with m.State("REPEATED"):
            self._fetch(m, request)
            m.d.sync += request.repeated.eq(request.repeatable & (request.octet == request.last))
            m.next = "HEADER"
        with m.State("HEADER"):
            self._fetch(m, request)
            self._shift(m, request)
            with m.If(request.whole):
                m.next = "CHECK"
        with m.State("CHECK"):
            m.d.comb += request.heads.eq(1)
            m.d.sync += [
                request.reads.eq(asks_read),
                request.writes.eq(asks_write),
                request.aligned.eq(~header.address[:2].any()),
            ]
            m.d.sync += request.runs.eq(fits & (asks_read | asks_write))
            m.next = "READY"
            with m.If(fits & (asks_read | (asks_write & ~request.repeated))):
                m.d.sync += request.status.eq(Status.OK)
            with m.If(fits & asks_write & ~request.repeated):
                m.next = "LOAD"

    def _access(self, m: Module, request: _Request) -> None:
        """States of a word: where it is written it is loaded first, and all are before the reply begins."""
        bus = self.bus
        with m.State("LOAD"):
            self._fetch(m, request)
            self._shift(m, request)
            with m.If(request.whole):
                m.next = "ACCESS"
        with m.State("ACCESS"):
            m.d.comb += bus.valid.eq(request.aligned)
            with m.If(bus.ready | ~request.aligned):
                m.d.comb += request.advances.eq(1)
                m.d.sync += request.word.eq(Mux(request.fine, bus.read_data, 0))
                with m.If(request.status == Status.OK):
                    m.d.sync += request.status.eq(request.found)
                m.next = "READY"
                with m.If(request.reads):
                    m.next = "DATA"
                with m.Elif(request.fine & (request.count != 1)):
                    m.next = "LOAD"

    def _answer(self, m: Module, request: _Request, reply: _Reply) -> None:
        """States of the reply: its beginning is that of the request, which is read once more."""
        with m.State("READY"):
            m.d.comb += reply.waits.eq(1)
            m.d.sync += request.place.eq(FIRST)
            with m.If(~reply.telling):
                m.d.sync += reply.busy.eq(1)
                m.next = "REWIND"
        with m.State("REWIND"):
            self._fetch(m, request)
            m.next = "SEQUENCE"
        with m.State("SEQUENCE"):
            m.d.comb += [reply.valid.eq(1), reply.octet.eq(request.octet)]
            with m.If(reply.sent):
                self._fetch(m, request)
                with m.If(request.runs):
                    m.d.sync += [request.repeatable.eq(request.writes), request.last.eq(request.octet)]
                m.next = "OPERATION"
        with m.State("OPERATION"):
            m.d.comb += [reply.valid.eq(1), reply.octet.eq(request.octet | REPLY)]
            with m.If(reply.sent):
                m.next = "STATUS"
                with m.If(request.runs & request.reads):
                    m.next = "ACCESS"
        with m.State("DATA"):
            m.d.comb += [reply.valid.eq(1), reply.octet.eq(request.word)]
            with m.If(reply.sent):
                self._shift(m, request)
                with m.If(request.whole):
                    m.next = "ACCESS"
                    with m.If(request.count == 0):
                        m.next = "STATUS"
        with m.State("STATUS"):
            refused = Mux(request.reads | request.writes, Status.BAD_LENGTH, Status.BAD_OPERATION)
            m.d.comb += [
                reply.valid.eq(1),
                reply.last.eq(1),
                reply.octet.eq(Mux(request.runs, request.status, refused)),
            ]
            with m.If(reply.sent):
                m.d.comb += self.deframer.release.eq(1)
                m.d.sync += [reply.busy.eq(0), request.place.eq(FIRST)]
                m.next = "IDLE"

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
