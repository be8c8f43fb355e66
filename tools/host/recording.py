"""A session as its telemetry tells it: which step each record belongs to, put down in a journal."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from ...gateware.amplifier.amplifier import AmplifierFault
from ...gateware.link.frames import Record, RecordKind
from ...gateware.stimulation.interlock import InterlockFault
from .faults import UnknownFault, fault_of
from .journal import LEARNT, Entry, Journal

__all__ = [
    "BLANKED",
    "CR",
    "IO",
    "LEAP",
    "NEAR",
    "PN",
    "UNPLACED",
    "Recording",
    "State",
    "StepCount",
    "near",
    "whole_steps",
]

_STAMP = 1 << 16
NEAR = 1024
"""Steps within which records come in order."""
LEAP = 64
"""Steps from one record to the next that are believed without asking."""
PN, IO, CR, BLANKED = 1, 2, 4, 8
"""Flags of a record STEP."""
UNPLACED = int(np.iinfo(np.int64).min)
"""In place of the step of a record that says a step which the chip has not made."""
_ROW = struct.Struct("<qBBBBI")


def near(low: int, now: int, modulus: int) -> int:
    """The number nearest to `now` of those with the same remainder as `low`."""
    return now + (low - now + modulus // 2) % modulus - modulus // 2


def whole_steps(now: int) -> int:
    """Steps that are known, where records tell of `now`: the last one may have been told in part."""
    return max(now - 1, 0)


class StepCount:
    """Numbers of steps in full, of records that have their low 16 bits.

    Parameters
    ----------
    steps : int
        Register STEPS when telemetry began.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def of(self, record: Record) -> int:
        """Steps that had been started when a record was made. Records come nearly in order."""
        low = record.step
        if record.kind is RecordKind.TIME:
            self.steps = record.data << 16 | low
        else:
            self.steps = near(low, self.steps, _STAMP)
        return self.steps


@dataclass(frozen=True)
class State:
    """What a record STATE says.

    Attributes
    ----------
    running, armed, train : bool
    stimulation : InterlockFault
    amplifier : AmplifierFault
    chip : int
        The amplifier chip that is at fault.
    """

    running: bool
    armed: bool
    train: bool
    stimulation: InterlockFault | UnknownFault
    amplifier: AmplifierFault | UnknownFault
    chip: int

    @classmethod
    def of(cls, record: Record) -> State:
        return cls.said(record.index, record.flags, record.data)

    @classmethod
    def said(cls, index: int, flags: int, word: int) -> State:
        """From the fields of a record."""
        running, armed, train = (bool(flags >> bit & 1) for bit in range(3))
        stimulation = fault_of(InterlockFault, word & 0xFF)
        amplifier = fault_of(AmplifierFault, word >> 8 & 7)
        return cls(running, armed, train, stimulation, amplifier, index)

    @property
    def unknown(self) -> bool:
        """Whether a fault is none that this host knows."""
        return isinstance(self.stimulation, UnknownFault) or isinstance(self.amplifier, UnknownFault)

    @property
    def faults(self) -> list[str]:
        """What went wrong, if something did."""
        found = []
        if self.amplifier is not AmplifierFault.NONE:
            found.append(f"amplifier chip {self.chip}: {self.amplifier.name}")
        # Without a front end that runs the stimulation is always disarmed.
        if self.stimulation not in (InterlockFault.NONE, InterlockFault.AMPLIFIER):
            found.append(f"stimulation: {self.stimulation.name}")
        return found


class Recording:
    """Puts the records of one session into its journal, each with its step in full.

    Nothing of a session stays in memory: ``conversion.convert`` makes files of the journal.

    Parameters
    ----------
    journal : Journal
    start : int
        Register STEPS when it begins: number of the first step that is recorded.

    Attributes
    ----------
    now : int
        Steps recorded so far, as far as records tell.
    saved : int
        Of them, those that the journal has for certain.
    made : int
        Steps that the chip has made, when it was last asked.
    heard : int
        Records so far.
    """

    def __init__(self, journal: Journal, start: int) -> None:
        self.journal, self.start = journal, start
        self.now = self.saved = self.made = self.heard = 0
        self._rows = bytearray()

    @property
    def known(self) -> int:
        """Steps that the chip has made, as far as is known."""
        return max(self.made, self.now)

    def leaps(self, record: Record) -> bool:
        """Whether a record says a step far from that of the one before."""
        return not 0 <= near(record.step - self.start, self.now, _STAMP) - self.now + LEAP <= 2 * LEAP

    def take(self, record: Record, made: int | None) -> State | None:
        """Note what a record says; a state, if it is one.

        Parameters
        ----------
        record : Record
        made : int or None
            Steps that the chip has made since the recording began, asked after the record came; None where
            it was not asked, or does not answer.
        """
        self.heard += 1
        tick = self._tick(record, made)
        if tick != UNPLACED:
            self.now = max(self.now, tick)
        self._rows += _ROW.pack(tick, record.kind, record.index, record.flags, record.sequence, record.data)
        return State.of(record) if record.kind is RecordKind.STATE else None

    def recalibrated(self, record: Record, made: int | None, potentiation: int, depression: int) -> None:
        """A record RECALIBRATION, taken before, and the δp and δd that the registers then had."""
        tick = self._tick(record, made)
        if tick != UNPLACED:
            row = (record.index, record.flags, tick, record.data, potentiation, depression)
            self.write()
            self.journal.add(Entry.LEARNT, np.array(row, LEARNT).tobytes())

    def write(self) -> None:
        """Put what was taken into the journal; JournalError if it takes no more."""
        rows, self._rows = bytes(self._rows), bytearray()
        if rows:
            self.journal.add(Entry.RECORDS, rows)
            self.saved = whole_steps(self.now)

    def _tick(self, record: Record, made: int | None) -> int:
        """Steps that had been started when a record was made; :data:`UNPLACED` if that cannot be.

        A record comes long before its 16 bits say the same again: it is of the last step that has them and
        was made; where nobody knows how many were, of the one nearest to the record before. So a record TIME,
        which says a step in full, is checked and not relied on.
        """
        low = record.step - self.start
        tick = near(low, self.now, _STAMP) if made is None else made - (made - low) % _STAMP
        return tick if tick >= self.now - NEAR else UNPLACED
