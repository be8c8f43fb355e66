"""The files of a recording, made of its journal: a piece at a time, however long it is.

The journal is read once, and its records are put in order into files beside it, one a microcircuit. From
these each entry of each ``.npz`` file is written piece by piece, and the fixed-point model is run over them.
So the memory that is needed does not depend on how long the recording is.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...gateware.link.frames import RecordKind
from ...golden_model.chip import ChipTiming
from ...golden_model.config import ChipConfig
from ...golden_model.events import Events, Recalibrations, Steps
from ...golden_model.experiment.protocol import score_trials
from ...golden_model.files import FileError, atomic_write
from ...golden_model.fixed import QFormat, to_real
from ...golden_model.microcircuit import MicrocircuitFixed
from ...golden_model.recalibration import Status
from ...golden_model.representable import PrecisionWarning
from ..models import Course, course_numbers
from ..report.output import make_folder, write_json
from .archive import Pieces, write_archive
from .journal import JOURNAL, LEARNT, ROW, Entry, JournalFile, how_to_recover, is_written, reserved
from .parameters import Weights
from .recording import CR, IO, NEAR, PN, UNPLACED, State, whole_steps

__all__ = ["EmptyJournalError", "check_free", "convert"]

_BATCH = 1 << 16
"""Records that are looked at together."""
_PIECE = 1 << 17
"""Steps that are looked at together."""
_LISTED = 100
"""Problems and faults that a report lists."""
_TIME_STEPS = 1 << 16
"""Steps in which a chip says something, at least; it says TIME four times as often."""
_NAMES = ("events*.npz", "result*.npz", "config*.toml", "detections.npz", "report.json")
_WORK = ".converting"
"""Folder in that of the recording, while files are made."""
_TOLD = np.dtype([("step", "<i8"), ("flags", "u1"), ("data", "<u4")])
"""What a record says of its step, in the files beside the journal."""

Rows = npt.NDArray[np.void]


class EmptyJournalError(FileError):
    """A journal without a step; the message says why, if that is known."""


def check_free(out: Path, *, overwrite: bool, inputs: Iterable[Path | None] = ()) -> None:
    """FileError if a folder holds what a new recording would replace.

    A journal is not replaced in any case: it may be all that there is of a recording; and neither is one of
    the files that are read for the recording.
    """
    journal = out / JOURNAL
    if journal.exists():
        if is_written(journal):
            raise FileError(f"{journal}: is being written: a recording into {out} goes on")
        raise FileError(
            f"{journal}: a recording that was not brought to its end: {how_to_recover(journal)}; or remove it"
        )
    if not overwrite and (found := _files(out)):
        raise FileError(
            f"{out}: holds a recording ({found[0].name}): choose another folder, or replace it with "
            "--overwrite"
        )
    replaced = {path.resolve() for path in _files(out)}
    for path in inputs:
        if path is not None and path.resolve() in replaced:
            raise FileError(f"{path}: is read, and would be replaced: choose another folder than {out}")


def _files(folder: Path) -> list[Path]:
    """The files of a recording in a folder."""
    return sorted(path for pattern in _NAMES for path in folder.glob(pattern))


def convert(journal: Path, out: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Make the files of a recording of its journal.

    They appear in `out` once all of them are made; then the journal is removed, if it was read to its end.

    Parameters
    ----------
    journal : Path
    out : Path
        Folder, see ``record_session``.
    overwrite : bool
        Replace a recording there.

    Returns
    -------
    dict
        The report, as of ``record_session``.

    Raises
    ------
    FileError
        If the journal cannot be read, or the files cannot be written: then the journal is as it was.
    EmptyJournalError
        If it has no step.
    """
    with reserved(journal):
        if not overwrite and (found := _files(out)):
            raise FileError(f"{out}: holds a recording ({found[0].name}): replace it with --overwrite")
        source = JournalFile(journal)
        make_folder(out)
        try:
            report = _convert(source, out)
            if not source.unread:
                journal.unlink()
        except OSError as error:
            where = error.filename or out
            raise FileError(f"{where}: cannot be written: {error.strerror}") from None
    return report


def _convert(source: JournalFile, out: Path) -> dict[str, Any]:
    """Make all files in a folder of their own, then put them in their places."""
    work = out / _WORK
    made = work / "made"
    shutil.rmtree(work, ignore_errors=True)  # of a conversion that was killed
    made.mkdir(parents=True)
    try:
        report = _write(_Contents(source, work), made)
        for old in _files(out):
            old.unlink()
        for new in sorted(made.iterdir()):
            new.replace(out / new.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


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


class _Ordered:
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
class _Counts:
    """What a report says of the records, beside the microcircuits."""

    kinds: Counter[RecordKind] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    faults: _Notes = field(default_factory=_Notes)
    problems: _Notes = field(default_factory=_Notes)
    told_lost: int = 0
    now: int = 0


class _Contents:
    """A journal taken apart: records in order by microcircuit, in files; counts.

    Parameters
    ----------
    source : JournalFile
    folder : Path
        For the files.
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
        self.counts = _Counts()
        self.status: dict[str, Any] = {}
        self._timing = ChipTiming(self.config)
        self._known_faults: list[str] = []
        self._learnt: dict[tuple[int, int], tuple[int, ...]] = {}
        self.told = [_Ordered(folder / f"told-{circuit}") for circuit in range(self.circuits)]
        self.blanking = _Ordered(folder / "blanking")
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


class _Circuit:
    """What one microcircuit was told, and what it answered.

    Parameters
    ----------
    contents : _Contents
    number : int

    Attributes
    ----------
    config : ChipConfig
        That begins as this microcircuit did.
    course : Course
    score : Score or None
        Where the trials are known.
    difference : str or None
        Where the fixed-point model answers otherwise; None if nowhere, or if it cannot tell: one microcircuit
        of several has its recalibrations at other times than one by itself.
    """

    def __init__(self, contents: _Contents, number: int) -> None:
        self._contents, self._number = contents, number
        self.config = contents.weights.in_config(contents.config, number)
        self._format = self.config.formats.weight
        self._sizes: Counter[str] = Counter()
        self.difference: str | None = None
        self._look()

    def _look(self) -> None:
        """Everything that takes one look at all of the recording."""
        contents, several = self._contents, self._contents.circuits > 1
        model = None if several and self.config.recalibration.enabled else MicrocircuitFixed(self.config)
        trials = bool(contents.cs.size)
        low, high, last = np.inf, -np.inf, 0
        at_cs, responses = [], []
        for (start, stop, rows, raw), (_, _, blanked) in zip(self._pieces(), contents.blanked(), strict=True):
            dense = np.zeros((3, stop - start), np.bool_)
            for row, (name, flag) in zip(dense, _FLAGS.items(), strict=True):
                row[rows["step"][rows["flags"] & flag != 0] - start] = True
                self._sizes[name] += int(row.sum())
            low, high, last = min(low, raw.min()), max(high, raw.max()), raw[-1]
            if trials:
                within = contents.cs[(contents.cs >= start) & (contents.cs < stop)]
                at_cs.append(raw[within - start])
                responses.append(start + np.flatnonzero(dense[2]))
            if model is not None and self.difference is None:
                answer = model.process(dense[0], dense[1], blanked=blanked)
                wrong = np.flatnonzero((answer.weight != raw) | (answer.cr != dense[2]))
                if wrong.size:
                    where = f"from step {start + int(wrong[0])} on"
                    told = "the fixed-point model answers otherwise"
                    self.difference = f"microcircuit {self._number}: {told} {where}"
        self._sizes["blanked"] = sum(edges.size for edges in contents.edges())
        real = [float(to_real(int(word), self._format)) for word in (low, high, last)]
        self.course = Course(self._sizes["cr"], *real)
        self.score = None
        if trials and (events := self._trials()).cs.size:
            weight = to_real(np.concatenate(at_cs), self._format)
            self.score = score_trials(np.concatenate(responses), np.asarray(weight), events, self.config)

    def _trials(self) -> Events:
        """The session with its trials alone."""
        none = np.zeros(0, np.int64)
        cs, us = self._contents.trials
        return Events(none, none, self._contents.n_steps, cs=cs, us=us)

    def _pieces(self) -> Iterator[tuple[int, int, Rows, Steps]]:
        """As ``_Ordered.pieces``, with the raw w after each step."""
        last = self._contents.weights.words["weight"][self._number]
        for start, stop, rows in self._contents.told[self._number].pieces(self._contents.n_steps):
            known = np.concatenate([[last], _raw_words(rows["data"], self._format)])
            raw = known[np.searchsorted(rows["step"], np.arange(start, stop), side="right")]
            yield start, stop, rows, raw
            last = raw[-1]

    def _flagged(self, name: str) -> Pieces:
        """Steps with a flag."""
        flag = _FLAGS[name]
        return Pieces(
            np.int64,
            (self._sizes[name],),
            lambda: (rows["step"][rows["flags"] & flag != 0] for _, _, rows, _ in self._pieces()),
        )

    @property
    def events(self) -> dict[str, Any]:
        """Entries of its events file, as of ``Events.save``."""
        contents = self._contents
        entries: dict[str, Any] = {name: self._flagged(name) for name in ("pn", "io")}
        entries["n_steps"] = np.array(contents.n_steps, np.int64)
        cs, us = contents.trials
        if cs.size or us.size:
            entries |= {"cs": cs, "us": us}
        if self._sizes["blanked"]:
            entries["blanked"] = Pieces(np.int64, (self._sizes["blanked"] // 2, 2), contents.edges)
        return entries

    @property
    def result(self) -> dict[str, Any]:
        """Entries of its result file, as of ``Result.save``."""
        shape = (self._contents.n_steps,)
        entries: dict[str, Any] = {
            "cr": self._flagged("cr"),
            "w": Pieces(
                np.float64,
                shape,
                lambda: (np.asarray(to_real(raw, self._format)) for *_, raw in self._pieces()),
            ),
            "config": np.array(self.config.to_toml()),
            "w_raw": Pieces(np.int64, shape, lambda: (raw for *_, raw in self._pieces())),
        }
        if (found := self._contents.recalibrations(self._number)) is not None:
            entries |= {f"recalibration_{name}": values for name, values in vars(found).items()}
        return entries


_FLAGS = {"pn": PN, "io": IO, "cr": CR}


def _raw_words(words: npt.NDArray[np.uint32], fmt: QFormat) -> Steps:
    """``parameters.raw_word`` of many."""
    kept = words.astype(np.int64) & ((1 << fmt.width) - 1)
    return np.where((kept > fmt.raw_max) & fmt.signed, kept - (1 << fmt.width), kept)


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


def _write(contents: _Contents, folder: Path) -> dict[str, Any]:
    """All files of a recording; its report."""
    problems = contents.counts.problems
    if contents.n_steps < 1:
        raise EmptyJournalError("; ".join(problems.lines) or "nothing was recorded")
    report: dict[str, Any] = {"complete": False, "problems": [], "chip": contents.chip}
    for number in range(contents.circuits):
        end = f"-{number}" if number else ""
        circuit = _Circuit(contents, number)
        if circuit.difference is not None:
            problems.add(circuit.difference)
        write_archive(folder / f"events{end}.npz", circuit.events)
        write_archive(folder / f"result{end}.npz", circuit.result)
        with atomic_write(folder / f"config{end}.toml") as file:
            file.write(circuit.config.to_toml().encode())
        if not number:
            report |= {"config_sha256": circuit.config.digest, **contents.facts}
            found = contents.recalibrations(number)
            report |= course_numbers(circuit.course, circuit.config, found, circuit.score)
    size = sum(steps.size for steps in contents.detected("tick"))
    write_archive(
        folder / "detections.npz",
        {
            name: Pieces(np.int64, (size,), partial(contents.detected, column))
            for name, column in (("step", "tick"), ("frame", "data"), ("electrode", "index"))
        },
    )
    report["link"] = contents.link
    report |= {"problems": problems.lines, "complete": not problems.lines}
    write_json(folder / "report.json", report)
    return report
