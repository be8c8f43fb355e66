"""``microzone host record``: a chip at work, from rest on, written so that ``compare`` reads it back."""

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
from ...golden_model.files import atomic_write
from ..models import Comparison, behaviour
from ..report.output import make_folder, write_json
from .chip import Host, LinkError
from .recording import Recording

__all__ = ["EVERYTHING", "record_session", "rest_steps"]

EVERYTHING = tuple(kind for kind in RecordKind if kind is not RecordKind.LOST)
"""What a chip can be asked to report; LOST it reports unasked."""
_POLL_S = 0.02
_LAST_WORD_S = 2.0
"""For the records that the chip still keeps to come."""
_STUCK_S = 1.0
"""Without a step."""
_NONE: Steps = np.zeros(0, np.int64)


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
) -> dict[str, Any]:
    """Arm a chip, let it work, write down what it says; then disarm it, and disable its front end.

    It begins with every microcircuit at rest: before the front end first runs, or, where it has run, after
    some time without it. KeyboardInterrupt ends it, and so does the loss of the link; what is known by then
    is written.

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

    Returns
    -------
    dict
        The report. ``complete`` says whether everything was heard: no record lost in the chip, on the wire or
        in the host, and the fixed-point model replays it; ``problems`` says what was not.

    Raises
    ------
    LinkError
        If it cannot begin: the chip has other parameters, does not come up, or does not arm; or nothing was
        recorded.
    FileError
        If the folder cannot be made.
    """
    make_folder(out)
    identity = host.check_built()
    recording, known = _run(host, config, n_steps, progress)
    if known < 1:
        raise LinkError("; ".join(recording.problems) or "nothing was recorded")
    report: dict[str, Any] = {"complete": False, "problems": recording.problems, "chip": asdict(identity)}
    for circuit in range(len(config.electrodes.pn)):
        end = f"-{circuit}" if circuit else ""
        events = recording.events(circuit, known, cs=trials[0], us=trials[1])
        result = recording.result(circuit, known)
        if difference := recording.replays(circuit, events, result):
            recording.problems.append(difference)
        events.save(out / f"events{end}.npz")
        result.save(out / f"result{end}.npz")
        with atomic_write(out / f"config{end}.toml") as file:
            file.write(result.config.to_toml().encode())
        if not circuit:
            scores = Comparison(events, {"chip": result}).scores
            report |= {"config_sha256": result.config.digest, **recording.facts(known)}
            report |= behaviour(result, scores.get("chip"))
    step, frame, electrode = recording.detections(known).T
    with atomic_write(out / "detections.npz") as file:
        np.savez_compressed(file, step=step, frame=frame, electrode=electrode)
    report["link"] = {
        "lost": recording.lost,
        "missing": host.missing,
        "overflowed": host.overflowed,
        "bad_frames": host.bad_frames,
        "repeated_requests": host.repeated,
    }
    report["complete"] = not recording.problems
    write_json(out / "report.json", report)
    return report


def _run(
    host: Host, config: ChipConfig, n_steps: int | None, progress: Callable[[int], None]
) -> tuple[Recording, int]:
    """The recording, and the steps that are known of."""
    recording = _begin(host, config)
    lost = host.read("control.TELEMETRY_LOST")
    interrupted = False
    try:
        host.enable()
        host.arm()
    except LinkError:
        with suppress(LinkError):
            host.enable(False)
            host.report()
        raise
    try:
        _listen(host, recording, n_steps, progress)
    except KeyboardInterrupt:
        interrupted = True
    except LinkError as error:
        recording.problems.append(str(error))
    try:
        _finish(host, recording)
        recording.lost = (host.read("control.TELEMETRY_LOST") - lost) % 2**32
    except LinkError as error:
        if str(error) not in recording.problems:
            recording.problems.append(str(error))
    known = max(recording.now - 1, 0)  # the last step may have been told in part
    if n_steps is not None:
        if known < n_steps and not interrupted:
            recording.problems.append(f"ends after {known} of {n_steps} steps")
        known = min(known, n_steps)
    for count, what in (
        (recording.lost - recording.told_lost, "records were more than the chip had room for"),
        (host.missing, "records got lost on the wire"),
        (host.overflowed, "records were more than the host could keep"),
    ):
        if count:
            recording.problems.append(f"{count} {what}")
    return recording, known


def _begin(host: Host, config: ChipConfig) -> Recording:
    """The microcircuits at rest, the front end disabled, telemetry on."""
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
    # Without a front end that runs, all steps are blanked.
    return Recording(config, host.read("control.STEPS"), weights, blanked=steps > 0)


def _listen(host: Host, recording: Recording, n_steps: int | None, progress: Callable[[int], None]) -> None:
    """Until the steps are over; LinkError if the chip comes to a halt."""
    steps, stuck = 0, 0.0
    while n_steps is None or max(steps, recording.now) <= n_steps:
        heard = recording.heard
        _take(host, recording)
        if recording.heard == heard:
            # Nothing happens that is told, perhaps; but steps are made.
            before, steps = steps, host.read("control.STEPS") - recording.start
            now = host.transport.now()
            if steps + 1 < recording.now:
                raise LinkError("the chip was reset")
            if steps > before:
                stuck = now + _STUCK_S
            elif now > stuck > 0:
                raise LinkError("the chip makes no steps")
        progress(max(steps, recording.now))


def _take(host: Host, recording: Recording) -> bool:
    """Take the records that have come; True if one says that the front end is disabled."""
    disabled = False
    for record in host.poll(_POLL_S):
        state = recording.take(record)
        disabled |= state is not None and not state.running and state.amplifier is AmplifierFault.NONE
        if record.kind is RecordKind.RECALIBRATION:
            learnt = (Parameter.POTENTIATION, Parameter.DEPRESSION)
            recording.recalibrated(record, *(host.read(f"circuits[{record.index}].{p.name}") for p in learnt))
    return disabled


def _finish(host: Host, recording: Recording) -> None:
    """Disarm and disable the chip, and hear it out.

    The record that says that the front end is disabled comes behind all that were made before, and one comes
    in any case: if the front end has failed, disabling it clears the fault.
    """
    host.disarm()
    host.enable(False)
    end = host.transport.now() + _LAST_WORD_S
    while not _take(host, recording):
        if host.transport.now() > end:
            recording.problems.append("the chip's last record did not come")
            break
    host.report()
