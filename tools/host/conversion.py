"""The files of a recording, made of its journal: a piece at a time, however long it is.

What is in the journal is read by ``contents.py``. Each entry of each ``.npz`` file is written piece by piece,
and the fixed-point model is run over the pieces.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.events import Events, Steps
from ...golden_model.experiment.protocol import score_trials
from ...golden_model.files import FileError, atomic_write
from ...golden_model.fixed import QFormat, to_real
from ...golden_model.microcircuit import MicrocircuitFixed
from ..models import Course, course_numbers
from ..report.origin import origin
from ..report.output import make_folder, write_json
from .archive import Pieces, write_archive
from .contents import Contents, Rows
from .journal import JOURNAL, JournalFile, how_to_recover, is_written, reserved
from .recording import CR, IO, PN

__all__ = ["EmptyJournalError", "check_free", "convert"]

_NAMES = ("events*.npz", "result*.npz", "config*.toml", "detections.npz", "report.json")
_WORK = ".converting"
"""Folder in that of the recording, while files are made."""


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
        report = _write(Contents(source, work), made)
        for old in _files(out):
            old.unlink()
        for new in sorted(made.iterdir()):
            new.replace(out / new.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


_FLAGS = {"pn": PN, "io": IO, "cr": CR}


class _Circuit:
    """What one microcircuit was told, and what it answered.

    Parameters
    ----------
    contents : Contents
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

    def __init__(self, contents: Contents, number: int) -> None:
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
        """As ``Contents.told``, with the raw w after each step."""
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


def _raw_words(words: npt.NDArray[np.uint32], fmt: QFormat) -> Steps:
    """``parameters.raw_word`` of many."""
    kept = words.astype(np.int64) & ((1 << fmt.width) - 1)
    return np.where((kept > fmt.raw_max) & fmt.signed, kept - (1 << fmt.width), kept)


def _write(contents: Contents, folder: Path) -> dict[str, Any]:
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
    report |= {"problems": problems.lines, "complete": not problems.lines, "origin": origin()}
    write_json(folder / "report.json", report)
    return report
