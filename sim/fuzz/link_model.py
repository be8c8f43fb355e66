"""What the link has to answer: the rules for requests, said once more in software."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Protocol

from ...gateware.link.frames import HEADER_BYTES, MAX_WORDS, Operation, Reply, Status

__all__ = ["Access", "Device", "LinkModel", "Registers"]

_WORD_BYTES = 4


@dataclass(frozen=True)
class Access:
    """One access on the bus, and what it got; `word` is what a READ got or a WRITE brought."""

    write: bool
    address: int
    word: int
    status: Status


class Device(Protocol):
    """What is behind the bus."""

    def access(self, write: bool, address: int, word: int) -> tuple[int, Status]:
        """The word read, and the status."""


@dataclass
class Registers:
    """A few of every kind; ``link_fuzz.cpp`` has them too."""

    words: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(0x000, 0x100, 4), 0))

    def access(self, write: bool, address: int, word: int) -> tuple[int, Status]:
        """Words from 0x000 on, read-only ones from 0x100 on, and one at 0xFFFC that takes nothing."""
        if address in self.words:
            if write:
                self.words[address] = word
            return self.words[address], Status.OK
        if address in range(0x100, 0x140) and not write:
            return address * 0x7D7E0101 & 0xFFFFFFFF, Status.OK
        if address == 0xFFFC:
            return 0x7E7E7D7D, Status.FULL if write else Status.OK
        # What comes with a bad status is not looked at.
        return 0xDEADBEEF, Status.BAD_ADDRESS


class LinkModel:
    """Executes the payloads of good frames, one after the other.

    Parameters
    ----------
    device : Device

    Attributes
    ----------
    accesses : list of Access
        On the bus so far.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.accesses: list[Access] = []
        self._written: tuple[int, Status] | None = None

    def answer(self, payload: bytes) -> Reply | None:
        """The reply to a frame's payload; None where it is too short for a request, and counts as bad."""
        if len(payload) < HEADER_BYTES:
            return None
        sequence, operation, count, address = struct.unpack_from("<BBBH", payload)
        rest = len(payload) - HEADER_BYTES
        echoed = operation & 0x7F
        if operation not in (Operation.READ, Operation.WRITE):
            return Reply(sequence, echoed, (), Status.BAD_OPERATION)
        writes = operation == Operation.WRITE
        if not 1 <= count <= MAX_WORDS or rest != writes * count * _WORD_BYTES:
            return Reply(sequence, echoed, (), Status.BAD_LENGTH)
        addresses = [address + _WORD_BYTES * number & 0xFFFF for number in range(count)]
        if not writes:
            self._written = None
            answers = [self._access(False, at, 0) for at in addresses]
            bad = [status for _, status in answers if status != Status.OK]
            words = tuple(word if status == Status.OK else 0 for word, status in answers)
            return Reply(sequence, echoed, words, bad[0] if bad else Status.OK)
        if self._written is None or self._written[0] != sequence:
            status = Status.OK
            for at, word in zip(
                addresses, struct.unpack_from(f"<{count}I", payload, HEADER_BYTES), strict=True
            ):
                status = self._access(True, at, word)[1]
                if status != Status.OK:
                    break
            self._written = sequence, status
        return Reply(sequence, echoed, (), self._written[1])

    def _access(self, write: bool, address: int, word: int) -> tuple[int, Status]:
        if address % _WORD_BYTES:
            return 0, Status.BAD_ADDRESS
        got, status = self.device.access(write, address, word)
        self.accesses.append(Access(write, address, word if write else got, status))
        return got, status
