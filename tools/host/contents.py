"""A recording's journal taken apart: its records in order, in files, and what is to be said of it.

The journal is read once, and its records are put in order into files beside it, one a microcircuit. These are
read piece by piece, so that the memory that is needed does not depend on how long the recording is.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...gateware.link.frames import RecordKind
from ...golden_model.chip import ChipTiming
from ...golden_model.config import ChipConfig
from ...golden_model.events import Recalibrations, Steps
from ...golden_model.files import FileError
from ...golden_model.fixed import to_real
from ...golden_model.recalibration import Status
from ...golden_model.representable import PrecisionWarning
from .journal import LEARNT, ROW, Entry, JournalFile
from .parameters import Weights
from .recording import NEAR, UNPLACED, State, whole_steps

__all__ = ["Contents", "Rows"]

_BATCH = 1 << 16
"""Records that are looked at together."""
_PIECE = 1 << 17
"""Steps that are looked at together."""
_LISTED = 100
"""Problems and faults that a report lists."""
_TIME_STEPS = 1 << 16
"""Steps in which a chip says something, at least; it says TIME four times as often."""
_TOLD = np.dtype([("step", "<i8"), ("flags", "u1"), ("data", "<u4")])
"""What a record says of its step, in the files beside the journal."""

Rows = npt.NDArray[np.void]


class _Notes:
    """Lines for a report: the first hundred, and how many more there were."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._more = 0

    def add(self, line: str) -> None:
        if len(self._first) < _LISTED:
            self._first.append(line)
        else:
            self._more += 1

    @property
    def lines(self) -> list[str]:
        return [*self._first, *([f"and {self._more} more"] if self._more else [])]


class Ordered:
    """A file of records by their step, one each: the last one that came. They come nearly in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting = np.zeros(0, _TOLD)
        self._file = path.open("wb")

    def add(self, step: Steps, flags: npt.NDArray[Any], data: npt.NDArray[Any]) -> None:
        rows = np.zeros(step.size, _TOLD)
        rows["step"], rows["flags"], rows["data"] = step, flags, data
        rows = np.concatenate([self._waiting, rows])
        if not rows.size:
            return
        rows = rows[np.argsort(rows["step"], kind="stable")]
        rows = rows[np.append(np.diff(rows["step"]) > 0, True)]
        ready = np.searchsorted(rows["step"], rows["step"][-1] - 2 * NEAR)
        self._file.write(rows[:ready].tobytes())
        self._waiting = rows[ready:]

    def close(self) -> None:
        self._file.write(self._waiting.tobytes())
        self._file.close()

    def pieces(self, n_steps: int) -> Iterator[tuple[int, int, Rows]]:
        """First step, step after the last, and the records between, of each piece of the recording."""
        with self.path.open("rb") as file:
            rows = np.zeros(0, _TOLD)
            for start in range(0, n_steps, _PIECE):
                stop = min(start + _PIECE, n_steps)
                # One record a step: so many are enough.
                more = np.frombuffer(file.read((_PIECE - rows.size) * _TOLD.itemsize), _TOLD)
                rows = np.concatenate([rows, more])
                count = np.searchsorted(rows["step"], stop)
                yield start, stop, rows[:count]
                rows = rows[count:]


@dataclass
class Counts:
    """What a report says of the records, beside the microcircuits."""

    kinds: Counter[RecordKind] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    faults: _Notes = field(default_factory=_Notes)
    problems: _Notes = field(default_factory=_Notes)
    told_lost: int = 0
    now: int = 0


class Contents:
    """A journal taken apart: records in order by microcircuit, in files; counts.

    Once it is made, the whole journal has been read.

    Parameters
    ----------
    source : JournalFile
    folder : Path
        For the files.

    Attributes
    ----------
    config : ChipConfig
    weights : Weights
        With which the recording began.
    circuits : int
        Microcircuits.
    counts : Counts
        Of records; faults and problems.
    n_steps : int
        Length of the recording.
    cs, us : ndarray of int64
        Steps of all stimuli that were asked for.
    link : dict
        What got lost on the way, by name.
    chip : dict
        What the chip said it is.
    told : list of Ordered
        Records STEP of each microcircuit.

    Raises
    ------
    FileError
        If the journal's header does not fit this version, or it says more steps than it can hold.
    """

    def __init__(self, source: JournalFile, folder: Path) -> None:
        header = source.header
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)  # told when it was loaded
            try:
                self.config = ChipConfig.from_toml(header["config"])
                self.weights = _weights(header["weights"])
                self.weights.check_fits(self.config, other_config=True)
                self.start, self.chip = index(header["start"]), dict(header["chip"])
                self.asked = None if header["n_steps"] is None else index(header["n_steps"])
                self.cs, self.us = (np.array(header[name], np.int64) for name in ("cs", "us"))
                blanked = bool(header["blanked"])
            except (KeyError, TypeError, ValueError) as error:
                raise FileError(f"{source.path}: its header does not fit this version ({error})") from None
        self.circuits = len(self.config.electrodes.pn)
        self.counts = Counts()
        self.status: dict[str, Any] = {}
        self._timing = ChipTiming(self.config)
        self._known_faults: list[str] = []
        self._learnt: dict[tuple[int, int], tuple[int, ...]] = {}
        self.told = [Ordered(folder / f"told-{circuit}") for circuit in range(self.circuits)]
        self.blanking = Ordered(folder / "blanking")
        self.blanking.add(np.zeros(1, np.int64), np.array([blanked]), np.zeros(1))
        self.detections = folder / "detections"
        with self.detections.open("wb") as file:
            for rows in self._batches(source):
                self._take(rows, file)
        for ordered in (*self.told, self.blanking):
            ordered.close()
        most = _TIME_STEPS * (2 + self.counts.kinds.total())
        if self.counts.now > most:
            raise FileError(f"{source.path}: says {self.counts.now} steps: in its records are {most} at most")
        self.n_steps = whole_steps(self.counts.now)
        if self.asked is not None:
            self.n_steps = min(self.n_steps, self.asked)
        self._end(source)

    def _batches(self, source: JournalFile) -> Iterator[Rows]:
        """The records of a journal, many at a time; other entries are noted."""
        waiting: list[bytes] = []
        size = 0
        for kind, content in source.entries():
            if kind is Entry.RECORDS:
                waiting.append(content)
                size += len(content)
                if size >= _BATCH * ROW.itemsize:
                    yield np.frombuffer(b"".join(waiting), ROW)
                    waiting, size = [], 0
            elif kind is Entry.LEARNT:
                circuit, status, step, *words = np.frombuffer(content, LEARNT)[0].tolist()
                if status in set(Status):
                    self._learnt[circuit, step] = (status, *words)
                else:
                    self.counts.odd["say a status of a recalibration that is none"] += 1
            elif kind is Entry.STATUS:
                self.status = _status(content)
        yield np.frombuffer(b"".join(waiting), ROW)

    def _take(self, rows: Rows, detections: Any) -> None:
        counts = self.counts
        for number, count in zip(*np.unique(rows["kind"], return_counts=True), strict=True):
            if number in set(RecordKind):
                counts.kinds[RecordKind(number)] += int(count)
            else:
                counts.odd["are of a kind that this host does not know"] += int(count)
        ticks = rows["tick"]
        placed = ticks != UNPLACED
        counts.odd["say a step that the chip has not made"] += int((~placed).sum())
        if placed.any():
            counts.now = max(counts.now, int(ticks[placed].max()))
        steps = ticks - 1  # what its tick has started
        kinds = rows["kind"]

        is_step = placed & (kinds == RecordKind.STEP)
        counts.odd["are of a microcircuit that there is not"] += int(
            (is_step & (rows["index"] >= self.circuits)).sum()
        )
        for circuit, told in enumerate(self.told):
            ours = is_step & (rows["index"] == circuit) & (steps >= 0)
            told.add(steps[ours], rows["flags"][ours], rows["data"][ours])
        ours = placed & (kinds == RecordKind.BLANKING)
        self.blanking.add(np.maximum(steps[ours], 0), rows["flags"][ours] & 1, rows["data"][ours])
        is_detection = placed & (kinds == RecordKind.DETECTION)
        good = (rows["index"] < self.config.amplifier.electrodes) & (rows["data"] >= 1)
        good &= rows["data"] <= self._timing.frames_per_step
        counts.odd["are of an electrode or a frame that there is not"] += int((is_detection & ~good).sum())
        detections.write(rows[is_detection & good].tobytes())
        is_time = placed & (kinds == RecordKind.TIME)
        wrong = (ticks[is_time] + self.start >> 16) & 0xFFFF != rows["data"][is_time]
        counts.odd["say another TIME than the chip's"] += int(wrong.sum())
        rare = (RecordKind.STATE, RecordKind.COMMITTED, RecordKind.LOST, RecordKind.RECALIBRATION)
        for row in rows[np.isin(kinds, rare)].tolist():
            self._note(*row)

    def _note(self, tick: int, kind: int, index: int, flags: int, _: int, data: int) -> None:
        """A record that does not come often."""
        counts = self.counts
        where = f"step {tick}" if tick != UNPLACED else "at some step"
        if kind == RecordKind.STATE:
            state = State.said(index, flags, data)
            for fault in state.faults:
                if fault not in self._known_faults:
                    counts.faults.add(f"{where}: {fault}")
            self._known_faults = state.faults
            counts.odd["say a fault that this host does not know"] += state.unknown
        elif kind == RecordKind.RECALIBRATION:
            counts.odd["are of a microcircuit that there is not"] += index >= self.circuits
        elif kind == RecordKind.LOST:
            counts.told_lost += data
            counts.problems.add(f"{where}: the chip had no room for {data} records")
        elif data:
            counts.problems.add(f"{where}: {data} parameters changed")

    def _end(self, source: JournalFile) -> None:
        """What is not as it should be with the whole."""
        counts, status = self.counts, self.status
        self.link = {"lost": 0, "missing": 0, "overflowed": 0} | status.get("link", {})
        for line in status.get("problems", []):
            counts.problems.add(str(line))
        for what, count in sorted(counts.odd.items()):
            if count:
                counts.problems.add(f"records that {what}: {count}")
        if not status.get("ended"):
            counts.problems.add("it has no end: what recorded it was stopped, or had no more room")
        if source.unread:
            counts.problems.add(f"the last {source.unread} bytes of the journal cannot be read: it is kept")
        if self.asked is not None and self.n_steps < self.asked and not status.get("ended_by"):
            counts.problems.add(f"ends after {self.n_steps} of {self.asked} steps")
        for count, what in (
            (self.link["lost"] - counts.told_lost, "records were more than the chip had room for"),
            (self.link["missing"], "records got lost on the wire"),
            (self.link.get("unknown", 0), "records are of a kind that this host does not know"),
            (self.link["overflowed"], "records were more than the host could keep"),
        ):
            if count > 0:
                counts.problems.add(f"{count} {what}")

    @property
    def trials(self) -> tuple[Steps, Steps]:
        """Steps of CS and US within the recording, where they are known."""
        return self.cs[self.cs < self.n_steps], self.us[self.us < self.n_steps]

    @property
    def facts(self) -> dict[str, Any]:
        """Counts as plain numbers, for JSON."""
        kinds = self.counts.kinds
        return {
            "n_steps": self.n_steps,
            "seconds": self.n_steps * self.config.time.step_s,
            "ended_by": self.status.get("ended_by"),
            "records": {kind.name.lower(): kinds[kind] for kind in RecordKind if kinds[kind]},
            "faults": self.counts.faults.lines,
        }

    def recalibrations(self, circuit: int) -> Recalibrations | None:
        """Of a microcircuit, where it recalibrates."""
        if not self.config.recalibration.enabled:
            return None
        rows = [
            (step, *words)
            for (of, step), words in sorted(self._learnt.items())
            if of == circuit and 0 <= step <= self.n_steps
        ]
        step, status, rate, potentiation, depression = np.array(rows, np.int64).reshape(-1, 5).T
        formats = self.config.formats
        return Recalibrations(
            step,
            status,
            to_real(rate, formats.rate) * self.config.rate_full_scale_hz,
            to_real(potentiation, formats.potentiation),
            to_real(depression, formats.depression),
        )

    def blanked(self) -> Iterator[tuple[int, int, npt.NDArray[np.bool_]]]:
        """Of each piece, whether its steps were blanked."""
        level = False
        for start, stop, rows in self.blanking.pieces(self.n_steps):
            levels = np.concatenate([[level], rows["flags"] != 0])
            yield start, stop, levels[np.searchsorted(rows["step"], np.arange(start, stop), side="right")]
            level = bool(levels[-1])

    def edges(self) -> Iterator[Steps]:
        """Where blanking begins and ends, in turn."""
        level = False
        for start, _, blanked in self.blanked():
            yield start + np.flatnonzero(np.diff(np.concatenate([[level], blanked]).astype(np.int8)))
            level = bool(blanked[-1])
        if level:
            yield np.array([self.n_steps])

    def detected(self, name: str) -> Iterator[Steps]:
        """A field of the detections within the recording."""
        with self.detections.open("rb") as file:
            while content := file.read(_BATCH * ROW.itemsize):
                rows = np.frombuffer(content, ROW)
                yield rows[name][rows["tick"] < self.n_steps].astype(np.int64)


def _weights(known: dict[str, Any]) -> Weights:
    """Of a header; TypeError or KeyError where they are not what they should be."""
    words = {name: tuple(index(word) for word in words) for name, words in known["words"].items()}
    return Weights(known["digest"], dict(known["formats"]), words)


def _status(content: bytes) -> dict[str, Any]:
    """Of an entry STATUS; nothing where it is not as it should be."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    link, problems, ended_by = (found.get(name) for name in ("link", "problems", "ended_by"))
    counted = isinstance(link, dict) and all(type(count) is int for count in link.values())
    whole = counted and isinstance(problems, list) and isinstance(ended_by, str | None)
    return found if whole else {}
