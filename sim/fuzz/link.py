"""Garbage for the link, by the million: a program around its gateware, and a judge that knows the rules."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...gateware.link.frames import (
    ESCAPE,
    FLAG,
    HEADER_BYTES,
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
    parse_answer,
    record_layout,
)
from ...gateware.link.link import Link
from ...gateware.link.record_fifo import RecordFifo
from ...gateware.processes import run
from ...gateware.scratch import Scratch
from ...gateware.toolchain import ToolError
from ..build.kept_verilog import CHECKED, kept_verilog, sim_sources
from ..build.simulators import NOT_WRITTEN, PROGRAM, Design, Verilator
from ..failure import BenchFailure
from .link_model import Access, LinkModel, Registers

__all__ = ["LINE_ERROR", "FuzzResult", "fuzz_design", "fuzz_link", "garbage"]

LINE_ERROR, WAIT = 0x100, 0x200
"""Among the bytes: the line loses or breaks one; beside one: what was asked so far is answered first."""
_DEPTH = 16
"""Of the queue, so that it is often full."""
_NO_FILES = (1, NOT_WRITTEN)
"""Exit statuses of ``link_fuzz.cpp`` where a file cannot be read, or written."""
_ENDS = {3: "the link hangs", 4: "a stream or the bus withdraws what it offers"}


@dataclass(frozen=True)
class FuzzResult:
    """What was tried and found equal: entries, frames accepted and dropped, words on the bus, records."""

    entries: int
    good: int
    bad: int
    accesses: int
    records: int
    lost: int


def garbage(rng: random.Random, count: int) -> Iterator[int]:
    """At least `count` entries: bytes, frames whole and in pieces, errors of the line; a request ends them.

    A few frames have every fault that the link looks for; many have one that only the check sequence shows.
    """
    done = 0
    while done < count:
        entries = _piece(rng)
        done += len(entries)
        yield from entries
    yield from (FLAG | WAIT, *encode(Request(rng.randrange(256), Operation.READ, 0, MAX_WORDS).payload()))


def _piece(rng: random.Random) -> list[int]:
    choice = rng.randrange(14)
    if choice == 0:
        return [rng.randrange(256) for _ in range(rng.randrange(40))]
    if choice == 1:
        return [rng.choice((FLAG, ESCAPE, 0x5D, 0x5E, 0)) for _ in range(rng.randrange(12))]
    if choice == 2 and rng.random() < 0.1:
        size = rng.choice((MAX_CONTENT - 2, MAX_CONTENT - 3, rng.randrange(1, MAX_CONTENT - 1)))
        whole = encode(rng.randbytes(size))
        return list(
            whole if rng.random() < 0.5 else whole[:-1] + rng.randbytes(rng.randrange(1, 300)) + whole
        )
    payload = _payload(rng)
    frame = list(encode(payload))
    if choice == 3:
        del frame[rng.randrange(len(frame)) :]  # truncated
    elif choice == 4:
        del frame[: rng.randrange(len(frame))]
    elif choice == 5:
        frame += frame  # duplicated
    elif choice == 6:
        for _ in range(rng.randint(1, 3)):
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    elif choice == 7:
        del frame[rng.randrange(len(frame))]
    elif choice == 8:
        frame.insert(rng.randrange(len(frame)), rng.choice((rng.randrange(256), ESCAPE, FLAG)))
    elif choice == 9:
        frame.insert(rng.randrange(len(frame) + 1), LINE_ERROR)
    elif choice == 10:
        frame = [*frame[:-1], *encode(_payload(rng))]  # one flag between two
    elif choice == 11:
        frame[-1:] = [ESCAPE, FLAG]
    return frame


def _payload(rng: random.Random) -> bytes:
    """A request: mostly a good one, few of them with other than good addresses; few sequence numbers."""
    operation = rng.choice((Operation.READ, Operation.WRITE))
    count = rng.choice((1, 1, 2, 3, rng.randint(1, 8), rng.randint(0, MAX_WORDS + 1)))
    address = 4 * rng.randrange(64)
    if rng.random() < 0.2:
        address = rng.choice(
            (0xFC, 0x13C, 0xFFF8, 0xFFFC, address + rng.randrange(4), rng.randrange(1 << 16))
        )
    words = tuple(rng.choice((rng.getrandbits(32), 0x7D7E7E7D)) for _ in range(count))
    whole = Request(
        rng.randrange(4), operation, address, count, words if operation == Operation.WRITE else ()
    )
    payload = whole.payload()
    if rng.random() < 0.1:
        number = rng.randrange(min(len(payload), 4))
        payload = payload[:number] + rng.randbytes(1) + payload[number + 1 :]
    elif rng.random() < 0.1:
        payload = rng.choice(
            (payload[: rng.randint(1, len(payload))], payload + rng.randbytes(rng.randint(1, 5)))
        )
    return payload


def fuzz_design() -> Design:
    """The link and its queue, inside ``link_fuzz.cpp``."""
    return Design(
        sources={
            "fifo.sv": kept_verilog(lambda: RecordFifo(_DEPTH), "record_fifo"),
            "link.sv": kept_verilog(Link, "link"),
            **sim_sources("fuzz/link_fuzz.sv", "fuzz/link_fuzz.cpp", CHECKED),
        },
        top="link_fuzz",
        program="link_fuzz.cpp",
    )


def fuzz_link(entries: npt.NDArray[np.uint16], *, seed: int, wait: bool) -> FuzzResult:
    """Feed the gateware, and compare all that it does with ``frames.Decoder`` and :class:`LinkModel`.

    Parameters
    ----------
    entries : ndarray of uint16
        As :func:`garbage` makes them.
    seed : int
        Of pauses, stalls and latencies.
    wait : bool
        Let each reply arrive before the next byte, so that all is known in advance. Otherwise bytes come
        while requests are executed, and the frames that they belong to are dropped: only those.

    Returns
    -------
    FuzzResult

    Raises
    ------
    BenchFailure
        At the first difference.
    ToolError
        If Verilator is missing or fails.
    """
    with Scratch() as folder:
        entries.tofile(folder / "entries.bin")
        program = Verilator().build(fuzz_design()) / PROGRAM
        arguments: list[str | Path] = [folder / "entries.bin", folder, str(seed), str(int(wait))]
        status = run([program, *arguments]).returncode
        if status in _NO_FILES:
            raise ToolError(f"{folder}: the fuzzer cannot use its files; is there space left?")
        frames = np.fromfile(folder / "frames.bin", np.uint32).reshape(-1, 2).astype(np.int64)
        bus = np.fromfile(folder / "bus.bin", np.uint32).reshape(-1, 4)
        sent = np.fromfile(folder / "sent.bin", np.uint32).reshape(-1, 2)
        pushed = np.fromfile(folder / "pushed.bin", np.uint64)
    again = f"seed {seed}, wait {wait}"
    if status:
        raise BenchFailure(
            f"link: {_ENDS.get(status, f'status {status}')} after {len(sent)} bytes sent; {again}"
        )

    replies, ends, records = _answers(sent, again)
    lost = _check_records(records, pushed, again)
    payloads = _frames(entries)
    accepted = frames[frames[:, 1] == 1, 0].tolist()
    if wait:
        dropped = frames[frames[:, 1] == 0, 0].tolist()
        good = [at for at, (_, payload) in payloads.items() if payload is not None]
        bad = [at for at, (_, payload) in payloads.items() if payload is None]
        _equal("frames accepted, by their ends", good, accepted, again)
        _equal("frames dropped, by their ends", bad, dropped, again)
    else:
        _check_refusals(payloads, accepted, ends, again)
    model = LinkModel(Registers())
    expected = [model.answer(payloads[at][1] or b"") for at in accepted]
    accesses = [Access(bool(write), at, word, Status(status)) for write, at, word, status in bus.tolist()]
    _equal("accesses of the bus", model.accesses, accesses, again)
    _equal("replies", expected, replies, again)
    if not replies or not accepted or accepted[-1] != len(entries) - 1:
        raise BenchFailure(f"link: the last request has no answer; {again}")
    return FuzzResult(
        len(entries), len(accepted), len(frames) - len(accepted), len(accesses), len(records), lost
    )


def _frames(entries: npt.NDArray[np.uint16]) -> dict[int, tuple[int, bytes | None]]:
    """By the entry of the flag that ends it: where a frame begins, and its payload; None if it is bad."""
    decoder, start = Decoder(), 0
    found: dict[int, tuple[int, bytes | None]] = {}
    for at, entry in enumerate((entries.astype(np.int64) & ~WAIT).tolist()):
        if entry == LINE_ERROR:
            decoder.break_frame()
        elif entry != FLAG:
            decoder.feed(bytes([entry]))
        else:
            bad = decoder.bad
            for payload in decoder.feed(bytes([FLAG])):
                found[at] = start, payload if len(payload) >= HEADER_BYTES else None
            if decoder.bad != bad:
                found[at] = start, None
            start = at + 1
    return found


def _answers(sent: npt.NDArray[np.uint32], again: str) -> tuple[list[Reply], list[int], list[Record]]:
    """Replies, the entries that had been taken as each ended, and records."""
    decoder, replies, records = Decoder(), list[Reply](), list[Record]()
    ends, wire = list[int](), bytearray()
    for at, octet in sent.tolist():
        for payload in decoder.feed(bytes([octet])):
            wire += encode(payload)
            try:
                answer = parse_answer(payload)
            except ValueError as error:
                raise BenchFailure(f"link: {error}; {again}") from None
            if isinstance(answer, Reply):
                replies.append(answer)
                ends.append(at)
            else:
                records.append(answer)
    if decoder.bad or bytes(wire) != bytes(sent[:, 1].astype(np.uint8)):
        raise BenchFailure(f"link: what it sends is no sequence of frames; {again}")
    return replies, ends, records


def _check_records(records: Sequence[Record], pushed: npt.NDArray[np.uint64], again: str) -> int:
    """Every record comes out, in order, or is counted by the LOST in its place; how many were lost."""
    layout = record_layout()
    given: list[Any] = [layout.from_bits(int(bits)) for bits in pushed[:-1]]  # with the layout's fields
    at = told = 0
    for number, record in enumerate(records):
        if record.kind == RecordKind.LOST:
            told += record.data
            at += record.data
            right = at <= len(given) and record.step == given[at - 1].step
        else:
            fields = (record.kind, record.index, record.flags, record.step, record.data)
            right = at < len(given) and fields == tuple(getattr(given[at], name) for name, _ in layout)
            at += 1
        if not right or record.sequence != number % 256:
            raise BenchFailure(f"link: record {number} is {record}; {again}")
    lost = int(pushed[-1])
    if lost != told + len(given) - at:
        raise BenchFailure(f"link: {len(given)} records, {lost} counted as lost, {told} told of; {again}")
    return lost


def _check_refusals(
    payloads: Mapping[int, tuple[int, bytes | None]], accepted: Sequence[int], ends: Sequence[int], again: str
) -> None:
    """Of the good frames only such are dropped of which a byte came before the reply before had left."""
    taken = set(accepted)
    busy = dict(zip(accepted, ends, strict=True))
    until = 0
    for at, (start, payload) in payloads.items():
        if at in taken and payload is None:
            raise BenchFailure(f"link: a bad frame, of entries {start} to {at}, is accepted; {again}")
        if at not in taken and payload is not None and start >= until:
            raise BenchFailure(f"link: a good frame, of entries {start} to {at}, is dropped; {again}")
        until = busy.get(at, until)


def _equal(what: str, expected: Sequence[object], got: Sequence[object], again: str) -> None:
    for number, (one, other) in enumerate(itertools.zip_longest(expected, got)):
        if one != other:
            raise BenchFailure(f"link: {what}: number {number} expected {one}, got {other}; {again}")
