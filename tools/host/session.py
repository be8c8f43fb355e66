"""``microzone host record``: a chip at work, from rest on, written so that ``compare`` reads it back.

While the chip works only the journal is written (``journal``); its files are made of that (``conversion``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...gateware.amplifier.amplifier import AmplifierFault
from ...gateware.link.frames import RecordKind
from ...gateware.microcircuit.parameters import PLASTIC, Parameter
from ...golden_model.config import ChipConfig
from ...golden_model.events import Steps
from ...golden_model.files import FileError
from ...sim.failure import BenchFailure
from ..report.output import make_folder
from .chip import Host, LinkError
from .conversion import EmptyJournalError, check_free, convert
from .journal import JOURNAL, Entry, Journal, JournalError, how_to_recover
from .recording import LEAP, Recording, State, near
from .stopping import Stop, stop_on_signals

__all__ = ["EVERYTHING", "RecordingError", "record_session", "rest_steps"]

EVERYTHING = tuple(kind for kind in RecordKind if kind is not RecordKind.LOST)
"""What a chip can be asked to report; LOST it reports unasked."""
_POLL_S = 0.02
_LAST_WORD_S = 2.0
"""For the records that the chip still keeps to come."""
_STUCK_S = 1.0
"""Without a step."""
_WORD = 1 << 32
"""Register STEPS begins again there."""
_NONE: Steps = np.zeros(0, np.int64)


class RecordingError(LinkError):
    """A recording has not become files; the message says what is kept, and where."""


def rest_steps(config: ChipConfig) -> int:
    """Steps without events after which every trace, delay and inhibition is over."""
    delays = config.eligibility_delay_steps, config.noi_delay_steps
    return 2 * config.trace_steps + max(delays) + 2


def record_session(
    host: Host,
    config: ChipConfig,
    out: Path,
    *,
    n_steps: int | None = None,
    trials: tuple[Steps, Steps] = (_NONE, _NONE),
    progress: Callable[[int], None] = lambda _: None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Arm a chip, let it work, write down what it says; then disarm it, and disable its front end.

    It begins with every microcircuit at rest: before the front end first runs, or, where it has run, after
    some time without it. Ctrl-C ends it, and so do SIGTERM, SIGHUP and the loss of the link; what is known by
    then is written. Whatever else ends it leaves its journal, of which :func:`conversion.convert` makes the
    same files.

    Parameters
    ----------
    host : Host
    config : ChipConfig
        What the chip is loaded with; w, δp and δd may differ, and are then those of the files.
    out : Path
        Folder for ``events.npz``, ``result.npz`` and ``config.toml`` of microcircuit 0, the same with
        ``-1`` and so on of the others, ``detections.npz`` and ``report.json``.
    n_steps : int, optional
        Length; else until an interrupt.
    trials : (ndarray of int64, ndarray of int64)
        Steps of CS and US, where they are known.
    progress : callable
        Told the number of steps done.
    overwrite : bool
        Replace an earlier recording in `out`, once there is a new one.

    Returns
    -------
    dict
        The report. ``complete`` says whether everything was heard: no record lost in the chip, on the wire or
        in the host, and the fixed-point model replays it; ``problems`` says what was not. ``ended_by`` names
        the signal that has ended it, if one has.

    Raises
    ------
    LinkError
        If it cannot begin: the chip has other parameters, does not come up, or does not arm; or nothing was
        recorded.
    RecordingError
        If the disk is full: the journal keeps what was heard.
    FileError
        If the folder cannot be made, or holds an earlier recording.
    """
    identity = host.check_built()
    start, header = _begin(host, config)
    make_folder(out)
    check_free(out, overwrite=overwrite)
    header |= {
        "config": config.to_toml(),
        "chip": asdict(identity),
        "n_steps": n_steps,
        "cs": trials[0].tolist(),
        "us": trials[1].tolist(),
    }
    journal = Journal(out / JOURNAL, header)
    recording = Recording(journal, start)
    try:
        with stop_on_signals() as stop:
            _run(host, recording, n_steps, stop, progress)
    except JournalError as error:
        seconds = recording.saved * config.time.step_s
        raise RecordingError(
            f"{error.path}: {error.reason}: it ends after {recording.saved} steps ({seconds:.1f} s), which "
            f"are kept: {how_to_recover(journal.path)}, once there is room"
        ) from None
    finally:
        if recording.heard:
            journal.close()
        else:
            journal.discard()
    try:
        report = convert(journal.path, out, overwrite=overwrite)
    except EmptyJournalError as error:
        journal.path.unlink()
        raise LinkError(str(error)) from None
    except FileError as error:
        raise RecordingError(f"{error}; nothing is lost: {how_to_recover(journal.path)}") from None
    return report


class _Status:
    """What a journal says beside the records: counts of the link, and problems."""

    def __init__(self, host: Host, recording: Recording) -> None:
        self._host, self._journal = host, recording.journal
        self.problems: list[str] = []
        self._lost_before = host.read("control.TELEMETRY_LOST")
        self.lost = 0
        self.ended_by: str | None = None
        self._written: dict[str, Any] = {}

    def note(self, error: Exception) -> None:
        """A problem, once."""
        if str(error) not in self.problems:
            self.problems.append(str(error))

    def ask_lost(self) -> None:
        """How many records the chip has lost by its own count."""
        self.lost = (self._host.read("control.TELEMETRY_LOST") - self._lost_before) % _WORD

    def write(self, *, ended: bool = False) -> None:
        """Into the journal, where something has changed."""
        host = self._host
        link = {
            "lost": self.lost,
            "missing": host.missing,
            "duplicates": host.duplicates,
            "unknown": host.unknown,
            "overflowed": host.overflowed,
            "bad_frames": host.bad_frames,
            "repeated_requests": host.repeated,
        }
        now = {"link": link, "problems": list(self.problems), "ended_by": self.ended_by, "ended": ended}
        if now != self._written:
            self._journal.add_json(Entry.STATUS, now)
            self._written = now


def _run(
    host: Host, recording: Recording, n_steps: int | None, stop: Stop, progress: Callable[[int], None]
) -> None:
    """Everything from enabling the chip to disabling it; JournalError if the journal takes no more."""
    status = _Status(host, recording)
    try:
        host.enable()
        host.arm()
    except LinkError:
        _leave(host)
        raise
    try:
        _listen(host, recording, status, n_steps, stop, progress)
        if stop.signal is not None:
            status.ended_by = stop.signal.name
    except KeyboardInterrupt:
        status.ended_by = "SIGINT"
    except (LinkError, BenchFailure) as error:
        status.note(error)
    except BaseException:  # the journal's, or a second signal
        _leave(host)
        raise
    try:
        _finish(host, recording, status)
        status.ask_lost()
    except (LinkError, BenchFailure) as error:
        status.note(error)
    except JournalError:
        _leave(host)
        raise
    status.write(ended=True)


def _leave(host: Host) -> None:
    """Disarm and disable a chip that is not listened to any more, if the link lets it."""
    with suppress(LinkError, BenchFailure):
        host.disarm()
        host.enable(False)
        host.report()


def _begin(host: Host, config: ChipConfig) -> tuple[int, dict[str, Any]]:
    """The microcircuits at rest, the front end disabled, telemetry on: STEPS, and what to know of it."""
    host.verify(config, without=PLASTIC)
    host.enable(False)
    host.report()
    steps = host.read("control.STEPS")
    if steps:
        if config.recalibration.enabled:
            raise LinkError(
                f"the chip has made {steps} steps, and its recalibration counts from the first: reset it"
            )
        goal = steps + rest_steps(config)
        end = host.transport.now() + _STUCK_S + 2 * rest_steps(config) * config.time.step_s
        while host.read("control.STEPS") < goal:
            if host.transport.now() > end:
                raise LinkError("the chip makes no steps")
            host.poll(_POLL_S)
    weights = host.weights()
    host.poll(0.0)
    host.forget_records()
    host.report(*EVERYTHING)
    start = host.read("control.STEPS")
    # Without a front end that runs, all steps are blanked.
    return start, {"start": start, "weights": asdict(weights), "blanked": steps > 0}


def _listen(
    host: Host,
    recording: Recording,
    status: _Status,
    n_steps: int | None,
    stop: Stop,
    progress: Callable[[int], None],
) -> None:
    """Until the steps are over, or it shall stop; LinkError if the chip comes to a halt."""
    before, stuck = -1, 0.0
    while stop.signal is None and (n_steps is None or recording.known <= n_steps):
        _take(host, recording)
        status.write()
        now = host.transport.now()
        if recording.known > before:
            before, stuck = recording.known, now + _STUCK_S
        elif now > stuck:
            raise LinkError("the chip makes no steps")
        progress(recording.known)


def _take(host: Host, recording: Recording) -> bool:
    """Take the records that have come; True if one says that the front end is disabled.

    All of them are taken, even if the link then fails. The chip is asked how many steps it has made where
    there are none, or one says a step far from that of the one before.
    """
    disabled, trouble = False, None
    records = host.poll(_POLL_S)
    made: int | None = None
    if not records or any(recording.leaps(record) for record in records):
        try:
            made = _steps_made(host, recording)
        except LinkError as error:
            trouble = error
    for record in records:
        state = recording.take(record, made)
        disabled |= state is not None and _is_disabled(state)
        if record.kind is RecordKind.RECALIBRATION and record.index < len(host.config.electrodes.pn):
            learnt = (Parameter.POTENTIATION, Parameter.DEPRESSION)
            try:
                words = [host.read(f"circuits[{record.index}].{p.name}") for p in learnt]
                recording.recalibrated(record, made, *words)
            except LinkError as error:
                trouble = error
    recording.write()
    if trouble is not None and not disabled:
        raise trouble
    return disabled


def _is_disabled(state: State) -> bool:
    return not state.running and state.amplifier is AmplifierFault.NONE


def _steps_made(host: Host, recording: Recording) -> int:
    """Steps since the recording began; LinkError if the chip has begun anew."""
    known = recording.known
    made = near((host.read("control.STEPS") - recording.start) % _WORD, known, _WORD)
    if made < known - LEAP:
        raise LinkError("the chip was reset")
    recording.made = made
    return made


def _finish(host: Host, recording: Recording, status: _Status) -> None:
    """Disarm and disable the chip, and hear it out.

    The record that says that the front end is disabled comes behind all that were made before, and one comes
    in any case: if the front end has failed, disabling it clears the fault.
    """
    host.disarm()
    host.enable(False)
    end = host.transport.now() + _LAST_WORD_S
    while not _take(host, recording):
        if host.transport.now() > end:
            status.problems.append("the chip's last record did not come")
            break
    host.report()
