"""One request at a time over a link, until it is answered; registers by name; what comes unasked.

Each request has a sequence number and is repeated under the same one: a write that is repeated because its
reply was lost is done once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

from ...gateware.link.frames import (
    ABORT,
    MAX_WORDS,
    PROTOCOL,
    REPLY,
    Decoder,
    Operation,
    Record,
    Reply,
    Request,
    Status,
    UnknownCodeError,
    encode,
    parse_answer,
)
from ...gateware.registers.file import MAGIC
from ...gateware.registers.map import Register, RegisterMap

__all__ = ["HostLink", "LinkError", "RefusedError", "Transport", "runs"]

_SEQUENCES = 256
_WORD_BYTES = 4
_DIGEST_WORDS, _IDENTITY_WORDS = 8, 2
_QUEUE = 1 << 17
"""Records that wait for their reader at most; at the rate of a link of 1 Mbaud, those of 15 s."""
_REMEMBERED = _SEQUENCES // 2
"""Records among which one that comes again is looked for."""


class LinkError(Exception):
    """The link, or the chip at its other end, did not do what it should; the message is one line."""


class RefusedError(LinkError):
    """A request that was answered with a bad status.

    Attributes
    ----------
    status : Status
    """

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


class Transport(Protocol):
    """What carries the bytes. A device that is gone is a :class:`LinkError`, until it is back."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def read(self, timeout_s: float) -> bytes:
        """What has come; waits for the first bytes, at most so long, and returns none after that."""

    def now(self) -> float:
        """Seconds, from anywhere on; in a simulation, the chip's."""

    def close(self) -> None:
        """Let go of the device."""


class HostLink:
    """Registers of a design, read and written over a transport; and the records that come in between.

    A design that is no chip has a class of its own, with its `magic` and how it is called.

    Parameters
    ----------
    transport : Transport
    registers : RegisterMap
    timeout_s : float
        After which a request without reply is repeated.
    retries : int
        How often.

    Attributes
    ----------
    malformed : int
        Good frames that were neither reply nor record.
    missing : int
        Records that got lost on the wire, by the gaps in their numbers.
    duplicates : int
        Records that came again, and were dropped.
    unknown : int
        Records of a kind that this host has no name for.
    overflowed : int
        Records that found the queue full, because nobody took them.
    repeated : int
        Requests that were sent again.
    """

    magic, what, device = MAGIC, "microzone", "chip"

    def __init__(
        self, transport: Transport, registers: RegisterMap, *, timeout_s: float, retries: int
    ) -> None:
        self.transport, self.registers = transport, registers
        self.timeout_s, self.retries = timeout_s, retries
        self.malformed = self.missing = self.overflowed = self.repeated = 0
        self.duplicates = self.unknown = 0
        self._decoder = Decoder()
        self._sequence = 0
        self._in_step = False
        self._records: deque[Record] = deque()
        self._last_record: int | None = None
        self._remembered: deque[Record] = deque(maxlen=_REMEMBERED)

    @property
    def bad_frames(self) -> int:
        """Frames from the chip that were dropped as damaged."""
        return self._decoder.bad

    # --- registers ------------------------------------------------------------------------------

    def register(self, path: str) -> Register:
        """A register by its name; LinkError if the chip has none of it."""
        try:
            return self.registers[path]
        except KeyError:
            raise LinkError(f"register {path!r}: the chip has none of this name") from None

    def read(self, path: str) -> int:
        """The word of a register.

        Raises
        ------
        LinkError
            If there is no such register, or no answer.
        """
        return self.read_many(self.register(path).address, 1)[0]

    def read_many(self, address: int, count: int) -> list[int]:
        """Words at consecutive addresses, as many as you like; LinkError as for :meth:`read`."""
        words: list[int] = []
        while len(words) < count:
            size = min(count - len(words), MAX_WORDS)
            words += self._request(Operation.READ, address + _WORD_BYTES * len(words), size)
        return words

    def write(self, path: str, *words: int) -> None:
        """Words into a register and the ones behind it; LinkError as for :meth:`read`."""
        self.write_many(self.register(path).address, words)

    def write_many(self, address: int, words: Sequence[int]) -> None:
        """Words at consecutive addresses, as many as you like; LinkError as for :meth:`read`."""
        for start in range(0, len(words), MAX_WORDS):
            part = tuple(words[start : start + MAX_WORDS])
            self._request(Operation.WRITE, address + _WORD_BYTES * start, len(part), part)

    def read_fields(self, path: str) -> dict[str, int]:
        """The fields of a register by name."""
        word = self.read(path)
        fields = self.register(path).fields
        return {name: field.of(word) for name, field in fields.items()}

    def write_fields(self, path: str, **values: int) -> None:
        """Some fields of a register; the others stay, or are 0 where the register cannot be read."""
        register = self.register(path)
        word = self.read(path) if register.readable else 0
        for name, value in values.items():
            if name not in register.fields:
                raise LinkError(f"register {path}: no field {name!r}")
            field = register.fields[name]
            if not 0 <= value < 1 << field.width:
                raise LinkError(f"{path}.{name} = {value}: limit is {(1 << field.width) - 1}")
            word = word & ~field.mask | value << field.low
        self.write(path, word)

    def read_words(self, paths: Iterable[str]) -> dict[str, int]:
        """Words of many registers, in bursts as long as their addresses allow."""
        registers = sorted((self.register(path) for path in dict.fromkeys(paths)), key=lambda r: r.address)
        words: dict[str, int] = {}
        for run in runs(registers):
            read = self.read_many(run[0].address, len(run))
            words |= {register.path: word for register, word in zip(run, read, strict=True)}
        return words

    # --- identity -------------------------------------------------------------------------------

    def who_is_there(self) -> tuple[str, str, str]:
        """Version of the gateware, digest of the configuration that it is built with, identity of both.

        Raises
        ------
        LinkError
            If nothing answers, what answers is something else, or it speaks another version of the protocol.
        """
        self._join()
        self._check_protocol()
        version = self.read_fields("control.VERSION")
        return (
            ".".join(str(version[part]) for part in ("major", "minor", "patch")),
            self._digits("control.CONFIG_HASH[0]", _DIGEST_WORDS),
            self._digits("control.IDENTITY[0]", _IDENTITY_WORDS),
        )

    def _check_protocol(self) -> None:
        """LinkError unless the other side speaks the version of the protocol that this host does."""
        try:
            spoken = f"version {self.read('control.PROTOCOL')}"
        except RefusedError as error:
            if error.status is not Status.BAD_ADDRESS:
                raise
            spoken = "a version without number"
        if spoken != f"version {PROTOCOL}":
            raise LinkError(
                f"the {self.device} speaks {spoken} of the link's protocol, this host version {PROTOCOL}: "
                "build its bitstream again, or use the installation that it was built with"
            )

    def _digits(self, path: str, count: int) -> str:
        """Hex digits in consecutive registers."""
        return "".join(f"{word:08x}" for word in self.read_many(self.register(path).address, count))

    def check_digest(self, found: str, wanted: str) -> None:
        """LinkError unless the two digests of a configuration are the same."""
        if found != wanted:
            raise LinkError(
                f"the {self.device} is built with configuration {found[:12]}, not {wanted[:12]}: "
                "name the TOML that came with its bitstream with --config"
            )

    # --- records --------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[Record]:
        """Records that have come; waits for the first bytes, at most `timeout_s`."""
        self._beat()
        if not self._records:
            self._receive(timeout_s)
        records = list(self._records)
        self._records.clear()
        return records

    def forget_records(self) -> None:
        """Drop the records that wait, and what is known of lost ones."""
        self._records.clear()
        self._remembered.clear()
        self._last_record = None
        self.missing = self.overflowed = self.duplicates = self.unknown = 0

    # --- requests -------------------------------------------------------------------------------

    def _beat(self) -> None:
        """Called before each request and each wait."""

    def _join(self) -> None:
        """A read, which leaves its sequence number with the chip, so that the next write is a new one.

        LinkError if what answers is something else.
        """
        magic = self._attempt(Operation.READ, self.register("control.MAGIC").address, 1)[0]
        if magic != self.magic:
            raise LinkError(f"what answers is no {self.what}: its MAGIC is {magic:#010x}")
        self._in_step = True

    def _request(
        self, operation: Operation, address: int, count: int, words: tuple[int, ...] = ()
    ) -> tuple[int, ...]:
        if not self._in_step:
            self._join()
        self._beat()
        return self._attempt(operation, address, count, words)

    def _attempt(
        self, operation: Operation, address: int, count: int, words: tuple[int, ...] = ()
    ) -> tuple[int, ...]:
        """Words of a good reply; LinkError without one after all retries, or with a bad status."""
        self._sequence = (self._sequence + 1) % _SEQUENCES
        in_step, self._in_step = self._in_step, False
        frame = encode(Request(self._sequence, operation, address, count, words).payload())
        if not in_step:  # a request cut off before its closing flag must not be completed by this one's
            frame = ABORT + frame
        for attempt in range(self.retries + 1):
            self.repeated += attempt > 0
            self.transport.write(frame)
            end = self.transport.now() + self.timeout_s
            while (left := end - self.transport.now()) > 0:
                for reply in self._receive(left):
                    if reply.sequence != self._sequence or reply.operation != operation:
                        continue  # to an earlier request, that was repeated
                    self._in_step = in_step
                    if reply.status is not Status.OK:
                        known = self.registers.by_address.get(address)
                        where = known.path if known else f"address {address:#06x}"
                        raise RefusedError(
                            f"{operation.name.lower()} of {count} words at {where}: {reply.status.name}",
                            reply.status,
                        )
                    if len(reply.words) == (count if operation is Operation.READ else 0):
                        return reply.words
                    self.malformed += 1
        raise LinkError(f"no answer in {self.retries + 1} attempts of {1000 * self.timeout_s:g} ms")

    def _receive(self, timeout_s: float) -> list[Reply]:
        """Replies that have come; records go into the queue."""
        replies = []
        for payload in self._decoder.feed(self.transport.read(timeout_s)):
            try:
                answer = parse_answer(payload)
            except UnknownCodeError as error:
                if payload[1] & REPLY:
                    raise LinkError(f"the {self.device} says what this host does not know: {error}") from None
                self.unknown += 1
                self._follow(payload[0])
                continue
            except ValueError:
                self.malformed += 1
                continue
            if isinstance(answer, Reply):
                replies.append(answer)
            else:
                self._take(answer)
        return replies

    def _take(self, record: Record) -> None:
        if self._came_before(record):
            self.duplicates += 1
            return
        self._follow(record.sequence)
        self._remembered.append(record)
        if len(self._records) == _QUEUE:
            self.overflowed += 1
        else:
            self._records.append(record)

    def _follow(self, sequence: int) -> None:
        """Count what is missing between a record and the one before."""
        if self._last_record is not None:
            self.missing += (sequence - self._last_record - 1) % _SEQUENCES
        self._last_record = sequence

    def _came_before(self, record: Record) -> bool:
        """Whether it is a frame that the wire has delivered again, by itself or in a burst.

        One with the number and the content of a record not long ago; unless the last one said the same under
        another number: then this chip repeats itself, and its number alone tells records apart.
        """
        if self._last_record is None or record.sequence == (self._last_record + 1) % _SEQUENCES:
            return False
        if record not in self._remembered:
            return False
        last = self._remembered[-1]
        return record == last or replace(record, sequence=last.sequence) != last


def runs(registers: Sequence[Register]) -> Iterator[list[Register]]:
    """Divide registers into runs of consecutive addresses."""
    run = [*registers[:1]]
    for before, register in pairwise(registers):
        if register.address != before.address + _WORD_BYTES:
            yield run
            run = []
        run.append(register)
    if run:
        yield run
