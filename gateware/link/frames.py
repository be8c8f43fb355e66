"""What goes over the link, as software sees it: frames on the wire, requests, replies, telemetry records.

``gateware/link/link.py`` is the hardware of the same; docs/blocks/link.md has the tables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from typing import Any, TypeVar

from amaranth.lib import data

__all__ = [
    "ABORT",
    "ESCAPE",
    "ESCAPED",
    "FCS_GOOD",
    "FCS_INIT",
    "FLAG",
    "HEADER_BYTES",
    "MAX_CONTENT",
    "MAX_WORDS",
    "PROTOCOL",
    "RECORD_BYTES",
    "REPLY",
    "Decoder",
    "Operation",
    "Record",
    "RecordKind",
    "Reply",
    "Request",
    "Status",
    "UnknownCodeError",
    "encode",
    "next_fcs",
    "parse_answer",
    "record_layout",
]

PROTOCOL = 1
"""Version of all that a host relies on: frames, requests, replies, records, and what the registers mean.

One more whenever a host of the version before would misunderstand a chip.
"""
FLAG = 0x7E
"""Before and after each frame; one may do both."""
ESCAPE = 0x7D
"""Before a byte that would be a flag or an escape, which follows changed by :data:`ESCAPED`."""
ESCAPED = 0x20
ABORT = bytes([ESCAPE, FLAG])
"""Ends a frame that was begun, as a bad one (RFC 1662, 4.3)."""
FCS_INIT, FCS_GOOD = 0xFFFF, 0xF0B8
"""Of the check sequence's register (RFC 1662): see :func:`next_fcs`."""
MAX_WORDS = 32
"""Of a request."""
HEADER_BYTES = 5
"""Of a request: sequence, operation, count, address low, address high."""
MAX_CONTENT = 255
"""Bytes of a frame between the flags, escapes not counted; a longer frame is bad."""
REPLY = 0x80
"""Set in the second byte of a reply, and of no telemetry record."""
_FCS_BYTES = 2
_WORD_BYTES = 4
_RECORD = struct.Struct("<BBBBHI")
RECORD_BYTES = _RECORD.size


class Operation(IntEnum):
    """What a request asks for."""

    READ = 1
    WRITE = 2


class Status(IntEnum):
    """The last byte of a reply.

    BAD_ADDRESS: misaligned, nothing there, or read-only and written. FULL: no room in the shadow queue.
    """

    OK = 0
    BAD_OPERATION = 1
    BAD_LENGTH = 2
    BAD_ADDRESS = 3
    FULL = 4


class RecordKind(IntEnum):
    """What a telemetry record tells; ``index``, ``flags`` and ``data`` of each are in docs/blocks/link.md."""

    TIME = 1
    STEP = 2
    BLANKING = 3
    DETECTION = 4
    RECALIBRATION = 5
    STATE = 6
    COMMITTED = 7
    LOST = 15


C = TypeVar("C", Status, RecordKind)


class UnknownCodeError(ValueError):
    """A reply or record that is well formed, with a status or kind that is none of those of this version."""


def record_layout() -> data.StructLayout:
    """Layout of a telemetry record in hardware; the frame's sequence number is the link's."""
    return data.StructLayout({"kind": 4, "index": 6, "flags": 4, "step": 16, "data": 32})


@dataclass(frozen=True)
class Request:
    """From the host: read or write `count` words at consecutive addresses.

    Attributes
    ----------
    sequence : int
        0 to 255. A WRITE that bears the number of the last one executed is not executed again.
    operation : int
        An :class:`Operation`; another number is answered with BAD_OPERATION.
    address : int
        Of the first word, in bytes.
    count : int
        1 to :data:`MAX_WORDS`.
    words : tuple of int
        Of a WRITE, unsigned.
    """

    sequence: int
    operation: int
    address: int
    count: int
    words: tuple[int, ...] = ()

    def payload(self) -> bytes:
        """ValueError where a field does not fit; what does not make sense can be sent."""
        return _packed("<BBBH", self.sequence, self.operation, self.count, self.address, words=self.words)


@dataclass(frozen=True)
class Reply:
    """From the chip, to a request.

    Attributes
    ----------
    sequence, operation : int
        As the request had them (but for bit 7 of the operation).
    words : tuple of int
        Of a READ: as many as were asked for, where length and operation were good; 0 for a bad one.
    status : Status
        Of the first word that was bad.
    """

    sequence: int
    operation: int
    words: tuple[int, ...]
    status: Status

    def payload(self) -> bytes:
        """ValueError where a field does not fit."""
        head = _packed("<BB", self.sequence, self.operation | REPLY, words=self.words)
        return head + bytes([self.status])


@dataclass(frozen=True)
class Record:
    """From the chip, by itself.

    Attributes
    ----------
    sequence : int
        Of the record: one more than that of the record before, modulo 256.
    kind : RecordKind
    index, flags : int
        6 and 4 bits.
    step : int
        The low 16 bits of the step's number.
    data : int
        32 bits, unsigned.
    """

    sequence: int
    kind: RecordKind
    index: int
    flags: int
    step: int
    data: int

    def payload(self) -> bytes:
        """ValueError where a field does not fit."""
        try:
            return _RECORD.pack(self.sequence, self.kind, self.index, self.flags, self.step, self.data)
        except struct.error as error:
            raise ValueError(f"{self}: {error}") from None


def encode(payload: bytes) -> bytes:
    """The frame of a payload as it goes over the wire, both flags included.

    Raises
    ------
    ValueError
        If the payload is empty, or the frame would be too long for a receiver.
    """
    if not 0 < len(payload) <= MAX_CONTENT - _FCS_BYTES:
        raise ValueError(f"payload of {len(payload)} bytes: must be 1 to {MAX_CONTENT - _FCS_BYTES}")
    content = payload + _fcs(payload).to_bytes(_FCS_BYTES, "little")
    wire = bytearray([FLAG])
    for octet in content:
        wire += bytes([ESCAPE, octet ^ ESCAPED]) if octet in (FLAG, ESCAPE) else bytes([octet])
    wire.append(FLAG)
    return bytes(wire)


class Decoder:
    """Takes a stream of bytes apart into the payloads of its frames.

    Attributes
    ----------
    bad : int
        Frames dropped so far: with a wrong check sequence, too short or long, ended by an escape, or broken.
        Nothing between two flags is no frame.
    """

    def __init__(self) -> None:
        self.bad = 0
        self._content = bytearray()
        self._escaped = self._broken = False

    def feed(self, received: bytes) -> list[bytes]:
        """Payloads of the good frames that end in these bytes."""
        return [payload for octet in received for payload in self._take(octet)]

    def break_frame(self) -> None:
        """The line lost or broke a byte: what the next flag ends is bad."""
        self._broken = True

    def _take(self, octet: int) -> Iterator[bytes]:
        if octet == FLAG:
            content, broken = bytes(self._content), self._broken or self._escaped
            self._content.clear()
            self._escaped = self._broken = False
            if content or broken:
                payload = content[:-_FCS_BYTES]
                if payload and not broken and _fcs(payload).to_bytes(_FCS_BYTES, "little") == content[-2:]:
                    yield payload
                else:
                    self.bad += 1
        elif octet == ESCAPE and not self._escaped:
            self._escaped = True
        elif len(self._content) == MAX_CONTENT:
            self._broken = True
        else:
            self._content.append(octet ^ ESCAPED if self._escaped else octet)
            self._escaped = False


def parse_answer(payload: bytes) -> Reply | Record:
    """The reply or record of a frame from the chip.

    Raises
    ------
    UnknownCodeError
        If its status or kind is none.
    ValueError
        If it is neither.
    """
    if len(payload) > 2 and payload[1] & REPLY:
        words, rest = divmod(len(payload) - 3, _WORD_BYTES)
        reads = payload[1] == Operation.READ | REPLY
        if rest or words > MAX_WORDS or (words and not reads):
            raise ValueError(f"no reply: {payload.hex(' ')}")
        values = struct.unpack(f"<{words}I", payload[2:-1])
        return Reply(payload[0], payload[1] & ~REPLY, values, _code(Status, payload[-1]))
    if len(payload) != RECORD_BYTES:
        raise ValueError(f"neither reply nor record: {payload.hex(' ')}")
    sequence, kind, index, flags, step, word = _RECORD.unpack(payload)
    layout = record_layout()
    if index >> layout["index"].width or flags >> layout["flags"].width:
        raise ValueError(f"no record: {payload.hex(' ')}")
    return Record(sequence, _code(RecordKind, kind), index, flags, step, word)


def _code(kind: type[C], number: int) -> C:
    try:
        return kind(number)
    except ValueError as error:
        raise UnknownCodeError(str(error)) from None


def next_fcs(fcs: Any, octet: Any) -> Any:
    """The register of the check sequence after one more byte; of integers, or of values in hardware.

    It begins with :data:`FCS_INIT`. The check sequence is its inverse after the payload; after both it is
    :data:`FCS_GOOD`. The same as a bit at a time (RFC 1662, appendix C), since the taps of x¹⁶ + x¹² + x⁵ + 1
    are far apart.
    """
    mixed = (fcs ^ octet) & 0xFF
    mixed = (mixed ^ mixed << 4) & 0xFF
    return (fcs >> 8 ^ mixed << 8 ^ mixed << 3 ^ mixed >> 4) & 0xFFFF


def _fcs(payload: bytes) -> int:
    return reduce(next_fcs, payload, FCS_INIT) ^ 0xFFFF


def _packed(form: str, *fields: int, words: tuple[int, ...]) -> bytes:
    try:
        return struct.pack(f"{form}{len(words)}I", *fields, *words)
    except struct.error as error:
        raise ValueError(f"{fields}, {words}: {error}") from None
