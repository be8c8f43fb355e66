"""The software codec of the link: frames on the wire, requests, replies, records."""

from __future__ import annotations

import itertools

import pytest
from amaranth.lib.crc.catalog import CRC16_IBM_SDLC
from hypothesis import given
from hypothesis import strategies as st
from microzone.gateware.link.frames import (
    ESCAPE,
    FCS_GOOD,
    FCS_INIT,
    FLAG,
    MAX_CONTENT,
    MAX_WORDS,
    Decoder,
    Operation,
    Record,
    RecordKind,
    Reply,
    Request,
    Status,
    encode,
    next_fcs,
    parse_answer,
    record_layout,
)

PAYLOADS = st.binary(min_size=1, max_size=MAX_CONTENT - 2)
WORDS = st.integers(0, (1 << 32) - 1)
OCTETS = st.integers(0, 255)


def fcs_by_bits(payload: bytes) -> int:
    """RFC 1662 a bit at a time, written from the polynomial."""
    register = 0xFFFF
    for octet in payload:
        for bit in range(8):
            feedback = (register ^ octet >> bit) & 1
            register = register >> 1 ^ (0x8408 if feedback else 0)
    return register ^ 0xFFFF


def wire_of(content: bytes) -> bytes:
    """The escapes of RFC 1662, by replacement."""
    escaped = content.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e")
    return b"\x7e" + escaped + b"\x7e"


def frame_of(payload: bytes) -> bytes:
    return wire_of(payload + fcs_by_bits(payload).to_bytes(2, "little"))


def test_the_check_sequence_a_byte_at_a_time_is_that_a_bit_at_a_time() -> None:
    registers = [0, FCS_INIT, 0x1234, *(1 << bit for bit in range(16))]
    for register, octet in itertools.product(registers, range(256)):
        by_bits = register
        for bit in range(8):
            by_bits = by_bits >> 1 ^ (0x8408 if (by_bits ^ octet >> bit) & 1 else 0)
        assert next_fcs(register, octet) == by_bits, (register, octet)


def test_the_check_sequence_is_that_of_the_catalogue() -> None:
    assert encode(b"123456789")[-3:-1] == (0x906E).to_bytes(2, "little")
    assert CRC16_IBM_SDLC(data_width=8).compute(b"123456789") == 0x906E
    register = FCS_INIT
    for octet in b"123456789\x6e\x90":
        register = next_fcs(register, octet)
    assert register == FCS_GOOD


@given(PAYLOADS)
def test_a_frame_is_that_of_the_standard(payload: bytes) -> None:
    assert encode(payload) == frame_of(payload)


def test_what_no_receiver_takes_is_not_encoded() -> None:
    assert len(encode(bytes(MAX_CONTENT - 2))) == MAX_CONTENT + 2
    for size in (0, MAX_CONTENT - 1):
        with pytest.raises(ValueError, match=f"payload of {size} bytes: must be 1 to {MAX_CONTENT - 2}"):
            encode(bytes(size))


@given(st.lists(PAYLOADS, max_size=5), st.data())
def test_frames_come_back_whatever_the_pieces(payloads: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(frame_of(payload) for payload in payloads)
    decoder, found, at = Decoder(), [], 0
    while at < len(wire):
        size = data.draw(st.integers(1, 40))
        found += decoder.feed(wire[at : at + size])
        at += size
    assert found == payloads and decoder.bad == 0


@given(st.binary(max_size=300), PAYLOADS)
def test_the_first_good_frame_after_garbage_arrives(noise: bytes, payload: bytes) -> None:
    decoder = Decoder()
    decoder.feed(noise)
    assert decoder.feed(frame_of(payload))[-1] == payload


@given(st.lists(PAYLOADS, min_size=2, max_size=4))
def test_one_flag_between_two_frames_is_enough(payloads: list[bytes]) -> None:
    wire = b"\x7e" + b"".join(frame_of(payload)[1:] for payload in payloads)
    assert Decoder().feed(wire) == payloads


@pytest.mark.parametrize(
    ("wire", "bad"),
    [
        pytest.param(b"\x7e\x7e\x7e", 0, id="nothing"),
        pytest.param(frame_of(b"abc")[:-1] + b"\x7d\x7e", 1, id="aborted"),
        pytest.param(b"\x7e\x7d\x7e", 1, id="aborted at once"),
        pytest.param(b"\x7e\x00\x00\x7e", 1, id="no payload, with the check sequence of that"),
        pytest.param(b"\x7e\x00\x7e", 1, id="one byte"),
        pytest.param(b"garbage\x7e", 1, id="before the first flag"),
        pytest.param(frame_of(b"abc").replace(b"b", b"c"), 1, id="changed"),
        pytest.param(frame_of(b"abc")[:-2] + b"\x7e", 1, id="cut"),
        pytest.param(wire_of(bytes(MAX_CONTENT - 1) + fcs_by_bits(bytes(MAX_CONTENT - 1)).to_bytes(2, "little")), 1, id="too long"),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_dropped_and_counted(wire: bytes, bad: int) -> None:
    decoder = Decoder()
    assert decoder.feed(wire) == [] and decoder.bad == bad
    assert decoder.feed(frame_of(b"next")) == [b"next"] and decoder.bad == bad


def test_the_longest_frame_is_taken() -> None:
    payload = bytes(range(MAX_CONTENT - 2))
    assert Decoder().feed(frame_of(payload)) == [payload]


def test_a_broken_byte_makes_its_frame_bad() -> None:
    decoder, frame = Decoder(), frame_of(b"abc")
    decoder.feed(frame[:3])
    decoder.break_frame()
    assert decoder.feed(frame[3:]) == [] and decoder.bad == 1
    assert decoder.feed(frame) == [b"abc"]


def test_no_single_bit_changes_a_request_into_another() -> None:
    frame = frame_of(Request(1, Operation.WRITE, 0x14, 2, (0x7E, 0xFFFFFFFF)).payload())
    for bit in range(8, 8 * len(frame) - 8):
        broken = bytearray(frame)
        broken[bit // 8] ^= 1 << bit % 8
        assert Decoder().feed(bytes(broken)) == [], bit


def test_a_request_is_laid_out_as_the_table_says() -> None:
    assert Request(7, Operation.READ, 0x4010, 3).payload() == bytes([7, 1, 3, 0x10, 0x40])
    written = Request(8, Operation.WRITE, 0x0414, 2, (0x04030201, 0x08070605)).payload()
    assert written == bytes([8, 2, 2, 0x14, 0x04, 1, 2, 3, 4, 5, 6, 7, 8])
    for wrong in (
        Request(256, 1, 0, 1),
        Request(0, 1, 1 << 16, 1),
        Request(0, 2, 0, 1, (1 << 32,)),
        Request(0, 2, 0, 1, (-1,)),
    ):
        with pytest.raises(ValueError, match=str(wrong.address)):
            wrong.payload()


@given(OCTETS, st.lists(WORDS, max_size=MAX_WORDS), st.sampled_from(Status))
def test_replies_come_back(sequence: int, words: list[int], status: Status) -> None:
    reply = Reply(sequence, Operation.READ, tuple(words), status)
    assert parse_answer(reply.payload()) == reply
    assert reply.payload()[:2] == bytes([sequence, 0x81]) and reply.payload()[-1] == status
    other = Reply(sequence, Operation.WRITE, (), status)
    assert parse_answer(other.payload()) == other


@given(
    OCTETS, st.sampled_from(RecordKind), st.integers(0, 63), st.integers(0, 15), st.integers(0, 65535), WORDS
)
def test_records_come_back(
    sequence: int, kind: RecordKind, index: int, flags: int, step: int, word: int
) -> None:
    record = Record(sequence, kind, index, flags, step, word)
    payload = record.payload()
    assert parse_answer(payload) == record
    little = step.to_bytes(2, "little") + word.to_bytes(4, "little")
    assert payload == bytes([sequence, kind, index, flags]) + little and len(payload) == 10


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x01\x81", id="no status"),
        pytest.param(b"\x01\x81\x05", id="unknown status"),
        pytest.param(b"\x01\x81ab\x00", id="half a word"),
        pytest.param(b"\x01\x82abcd\x00", id="words of a WRITE"),
        pytest.param(b"\x01\x81" + bytes(4 * MAX_WORDS + 5), id="too many words"),
        pytest.param(b"\x01\x01" + bytes(7), id="record too short"),
        pytest.param(b"\x01\x01" + bytes(9), id="record too long"),
        pytest.param(b"\x01\x00" + bytes(8), id="no kind"),
        pytest.param(b"\x01\x0e" + bytes(8), id="unknown kind"),
        pytest.param(b"\x01\x01\x40" + bytes(7), id="index of seven bits"),
        pytest.param(b"\x01\x01\x00\x10" + bytes(6), id="flags of five bits"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_neither_reply_nor_record_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"no reply|no record|nor record|not a valid"):
        parse_answer(payload)


def test_kinds_and_fields_fit_their_places() -> None:
    layout = record_layout()
    assert max(RecordKind) < 1 << layout["kind"].width and layout.size == 62
    assert (FLAG, ESCAPE) == (0x7E, 0x7D)
    for wrong in (Record(0, RecordKind.TIME, 0, 0, 1 << 16, 0), Record(0, RecordKind.TIME, 0, 0, 0, 1 << 32)):
        with pytest.raises(ValueError, match="Record"):
            wrong.payload()
