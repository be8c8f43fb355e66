"""What a replay has recorded: reading it while it is written, and nothing but the whole of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ...gateware.toolchain import ToolError
from ...golden_model.config import ChipConfig
from ...golden_model.fixed import QFormat
from ...golden_model.recalibration import Outcome
from .comparison import RECALIBRATION

__all__ = [
    "CHUNK",
    "END_MARK",
    "RECORD_BITS",
    "DamagedRecord",
    "Record",
    "Session",
    "read_recalibrations",
    "read_session",
    "read_signals",
    "recalibration_rows",
    "signed_words",
]

Signals = dict[str, npt.NDArray[Any]]
Progress = Callable[[int], None]

CHUNK = 1 << 16
"""Steps, or entries of a record, at a time: so many take less than a megabyte."""
END_MARK = 0x454E4421
"""The first word of a record's end."""
RECORD_BITS = (
    "active",
    "plasticity_trace",
    "delayed_inhibition",
    "gated_io",
    "below",
    "cr",
    "inhibition",
    "response",
)
"""The low byte of a record's entry, from bit 0; `response` is the CR that left on the stream."""
_RESPONSE = RECORD_BITS.index("response")


class DamagedRecord(ToolError):
    """A record that is not what the replay has to write; the message says where it is."""


class Record:
    """The record of a replay (``replay.sv`` has its layout), a stretch at a time.

    Parameters
    ----------
    stream : binary file
        Where the record comes from: a file, or the output of a program that is still running.
    folder : Path
        Where the recalibrations are, and the record if it is a file; for messages.
    steps, channels : int
        How long the record has to be.
    full : bool
        Whether an entry has every signal: three words, not one.
    progress : callable, optional
        Told the number of steps read.

    Attributes
    ----------
    recalibrations : ndarray of int64, shape (recalibrations, 6)
        In the columns of ``comparison.RECALIBRATION``; known once all entries have been read.
    """

    def __init__(
        self,
        stream: IO[bytes],
        *,
        folder: Path,
        steps: int,
        channels: int,
        full: bool,
        progress: Progress | None = None,
    ) -> None:
        self.steps, self.channels, self.full = steps, channels, full
        self.recalibrations = np.zeros((0, len(RECALIBRATION)), np.int64)
        self._stream, self._folder, self._progress = stream, folder, progress

    def entries(self) -> Iterator[tuple[slice, npt.NDArray[np.uint64]]]:
        """Every entry, a channel's step: which ones, and their words, shape (entries, words).

        Raises
        ------
        DamagedRecord
            At the end, if the record has other than an entry for each channel in each step, or if its end
            mark is missing or tells of other words.
        """
        count, words = self.steps * self.channels, 3 if self.full else 1
        total = 0
        for first in range(0, count, CHUNK):
            part = slice(first, min(first + CHUNK, count))
            chunk = self._take((part.stop - first) * words)
            total += int(chunk.sum())
            yield part, chunk.reshape(-1, words)
            if self._progress:
                self._progress(part.stop // self.channels)
        mark, commits, rounds, stated = self._take(4).tolist()
        rows = np.fromfile(self._folder / "recalibrations.bin", "<u8")
        total += int(rows.sum())
        expected = (END_MARK, count, rows.size / 4, total % 2**64)
        if (mark, commits, rounds, stated) != expected or self._stream.read(1):
            raise DamagedRecord(f"{self._folder}: the record of the replay is damaged; is there space left?")
        self.recalibrations = _recalibrations(rows)

    def _take(self, count: int) -> npt.NDArray[np.uint64]:
        octets = self._stream.read(8 * count)
        if len(octets) != 8 * count:
            raise DamagedRecord(
                f"{self._folder}: the record of the replay is not whole; is there space left?"
            )
        return np.frombuffer(octets, "<u8")


@dataclass(frozen=True)
class Session:
    """What a session of one channel leaves of a record: 8 bytes a step.

    Attributes
    ----------
    cr : ndarray of int64
        Steps in which a CR left on the stream.
    weight : ndarray of int64, shape (steps,)
        w after each step, raw.
    recalibrations : ndarray of int64, shape (recalibrations, 6)
        In the columns of ``comparison.RECALIBRATION``.
    """

    cr: npt.NDArray[np.int64]
    weight: npt.NDArray[np.int64]
    recalibrations: npt.NDArray[np.int64]


def read_session(record: Record, config: ChipConfig) -> Session:
    """The CRs and w of a record of one channel; DamagedRecord as :meth:`Record.entries`."""
    weight = np.empty(record.steps, np.int64)
    responses = []
    for part, words in record.entries():
        low = words[:, 0]
        weight[part] = signed_words(low >> np.uint64(16), config.formats.weight)
        responses.append(part.start + np.flatnonzero(low & np.uint64(1 << _RESPONSE)))
    return Session(np.concatenate(responses), weight, record.recalibrations)


def read_signals(record: Record, config: ChipConfig) -> Signals:
    """All of a record, arrays of shape (steps, channels); DamagedRecord as :meth:`Record.entries`.

    Where the configuration recalibrates also ``recalibrations``.
    """
    names = (*RECORD_BITS, "weight", *(("age", "trace", "scaled") if record.full else ()))
    signals: Signals = {name: np.empty(record.steps * record.channels, np.int64) for name in names}
    for part, words in record.entries():
        low = words[:, 0]
        for bit, name in enumerate(RECORD_BITS):
            signals[name][part] = low >> np.uint64(bit) & np.uint64(1)
        signals["weight"][part] = signed_words(low >> np.uint64(16), config.formats.weight)
        if record.full:
            signals["age"][part] = words[:, 1] & np.uint64(0xFFFF)
            signals["trace"][part] = words[:, 1] >> np.uint64(16)
            signals["scaled"][part] = signed_words(words[:, 2], config.scaled_format)
    signals = {name: values.reshape(record.steps, record.channels) for name, values in signals.items()}
    if config.recalibration.enabled:
        signals["recalibrations"] = record.recalibrations
    return signals


def read_recalibrations(path: Path) -> npt.NDArray[np.int64]:
    """Recalibrations as ``replay.sv`` writes them, in the columns of ``comparison.RECALIBRATION``."""
    return _recalibrations(np.fromfile(path, "<u8"))


def _recalibrations(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    words = words.reshape(-1, 4).astype(np.int64)
    first = words[:, 0]
    return np.stack([first & 0xFFFFFFFF, first >> 32 & 0xFFFF, first >> 48, *words[:, 1:].T], axis=1)


def recalibration_rows(outcomes: Sequence[Outcome[Any]], kind: type = np.int64) -> npt.NDArray[Any]:
    """What a golden model reports, in the same columns: raw words, or real values of `kind` float64."""
    rows = [[getattr(outcome, name) for name in RECALIBRATION] for outcome in outcomes]
    return np.array(rows, kind).reshape(-1, len(RECALIBRATION))


def signed_words(words: npt.NDArray[np.uint64], fmt: QFormat) -> npt.NDArray[np.int64]:
    """Raw words from the low bits of a field."""
    values = (words & np.uint64((1 << fmt.width) - 1)).astype(np.int64)
    return values - ((values >> fmt.width - 1 & 1) << fmt.width) if fmt.signed else values
