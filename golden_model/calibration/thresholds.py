"""Thresholds of the two detectors: calibrate with every pair, keep the one with the smallest error.

Source: Herreros et al. 2014, "Calibration of the cerebellar model". Each channel is detected once: the
variability does not depend on the threshold, so that one pass over the samples finds the events at every
threshold. A pair of thresholds needs little beyond that: Π of a PN threshold is computed once, and the IO
events of each IO threshold counted in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..compiled import compiled
from ..config import ChannelDetection, ChipConfig
from ..detection import DetectorFloat
from ..events import Events, Steps
from ..experiment.protocol import DetectionQuality
from ..experiment.training import TrainingRecording
from ..files import FileError
from ..fixed import quantize
from .calibration import determine, expected_error, residual
from .goals import CalibrationError, Goals
from .plasticity_events import (
    IoCounts,
    PnCounts,
    check_session,
    count_io,
    count_pn,
    io_quality,
    pair_counts,
    pn_quality,
)

__all__ = ["Roc", "Selection", "default_thresholds", "events_at", "select_thresholds"]

Counts = TypeVar("Counts", PnCounts, IoCounts)
Thresholds = npt.NDArray[np.float64]

_RELATIVE_RANGE = (1.1, 12.0)
"""Multiples of the long-run mean variability: from within the noise to beyond every burst."""
_THRESHOLDS = 50
"""A channel; 2,500 pairs."""
_CHUNK = 2**18
"""Samples at a time: 8 MB of signals."""
_TIE = 1e-12
"""Errors that differ by less, in w a trial, differ by rounding."""
_NEVER = np.iinfo(np.int64).min // 2


@dataclass(frozen=True)
class Roc:
    """How well a channel detects its stimulus, threshold by threshold.

    Attributes
    ----------
    thresholds : ndarray of float64, shape (n,)
        Ascending; multiples of the long-run mean variability, or ADC counts.
    qualities : list of DetectionQuality
        Measured TDR and FAR at each.
    """

    thresholds: Thresholds
    qualities: list[DetectionQuality]


@dataclass(frozen=True)
class Selection:
    """The chosen pair of thresholds, among all.

    Attributes
    ----------
    config : ChipConfig
        With the chosen ``detection.pn.threshold`` and ``detection.io.threshold``.
    events : Events
        The session as the chosen thresholds detect it.
    pn, io : Roc
    residual : ndarray of float64, shape (PN thresholds, IO thresholds)
        Of the calibration with each pair, in w a trial; infinite where a pair determines no plasticity.
    error : ndarray of float64, same shape
        The residual with the chance that is in it, ``calibration.expected_error``: what decides.
    chosen : (int, int)
        Which PN and which IO threshold.
    """

    config: ChipConfig
    events: Events
    pn: Roc
    io: Roc
    residual: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    chosen: tuple[int, int]


# --- many thresholds at once ----------------------------------------------------------------------


@compiled()
def _cross(  # type: ignore[no-untyped-def]
    variability, scale, thresholds, first, refractory, settle, below, last, found, counts
):  # fmt: skip
    """Events of a stretch of samples at ascending thresholds, as the detector has them at each.

    ``below[0]`` is how many thresholds the variability is above: a sample costs what it moves by, not
    how many thresholds there are. ``last[t]`` is the sample of the last event at a threshold, ``found[t]``
    are those of this stretch, ``counts[t]`` how many.
    """
    level = below[0]
    for n in range(variability.size):
        sample = first + n
        while level < thresholds.size and variability[n] > thresholds[level] * scale[n]:
            if sample - last[level] >= refractory and sample >= settle:
                found[level, counts[level]] = sample
                counts[level] += 1
                last[level] = sample
            level += 1
        while level > 0 and not variability[n] > thresholds[level - 1] * scale[n]:
            level -= 1
    below[0] = level


def _variability(
    samples: npt.NDArray[np.int16], detector: DetectorFloat, progress: Callable[[int], None]
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """(variability, its long-run mean) of a channel, a chunk at a time, whatever the threshold."""
    for start in range(0, samples.size, _CHUNK):
        try:
            signals = detector.process(samples[start : start + _CHUNK], trace=True).signals
        except ValueError as error:
            raise FileError(str(error)) from None
        progress(min(start + _CHUNK, samples.size))
        yield signals["variability"][:, 0], signals["threshold"][:, 0]


def _detector(config: ChipConfig, channel: ChannelDetection, rate_hz: float) -> DetectorFloat:
    """A detector whose threshold signal is the long-run mean variability itself."""
    return DetectorFloat(config, channel.model_copy(update={"threshold": 1.0, "relative": True}), rate_hz)


def events_at(
    thresholds: Thresholds,
    samples: npt.NDArray[np.int16],
    config: ChipConfig,
    channel: ChannelDetection,
    rate_hz: float,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Steps]:
    """The events at many thresholds: those of a :class:`DetectorFloat` with each.

    Parameters
    ----------
    thresholds : ndarray of float64, shape (n,)
        Ascending, above 0; in the unit that ``channel.relative`` says.
    samples : ndarray of int16, shape (samples,)
        ADC counts.
    config : ChipConfig
        Gives the formats.
    channel : ChannelDetection
        All but the threshold.
    rate_hz : float
        Sample rate.
    progress : callable, optional
        Called with the number of samples done.

    Returns
    -------
    list of ndarray of int64
        The sample index of each event, at each threshold.

    Raises
    ------
    ValueError
        If the thresholds are not ascending, or not above 0.
    ConfigError
        If the settings do not suit the sample rate.
    FileError
        If a sample is outside ``formats.sample``.
    """
    if not (thresholds.size and thresholds[0] > 0 and (np.diff(thresholds) > 0).all()):
        raise ValueError("thresholds: must be above 0 and ascend")
    detector = _detector(config, channel, rate_hz)
    refractory, settle = detector.parameters.waits[0].tolist()
    below = np.zeros(1, np.int64)
    last = np.full(thresholds.size, _NEVER)
    parts: list[list[Steps]] = [[] for _ in thresholds]
    first = 0
    for variability, mean in _variability(samples, detector, progress):
        scale = mean if channel.relative else np.ones_like(mean)
        most = variability.size // max(refractory, 2) + 1  # a crossing needs a sample below before it
        found = np.empty((thresholds.size, most), np.int64)
        counts = np.zeros(thresholds.size, np.int64)
        _cross(variability, scale, thresholds, first, refractory, settle, below, last, found, counts)
        for part, row, count in zip(parts, found, counts, strict=True):
            part.append(row[:count].copy())
        first += variability.size
    return [np.concatenate(part) for part in parts]


def default_thresholds(
    samples: npt.NDArray[np.int16], config: ChipConfig, channel: ChannelDetection, rate_hz: float
) -> Thresholds:
    """Fifty thresholds, evenly spaced on a logarithmic scale, that the fixed-point format has too.

    Parameters
    ----------
    samples, config, channel, rate_hz
        As for :func:`events_at`; the samples matter only to absolute thresholds, which are multiples of the
        channel's mean variability in ADC counts.

    Returns
    -------
    ndarray of float64
        Ascending; fewer where the format is coarse.

    Raises
    ------
    CalibrationError
        If the format has none of them: a silent channel, or a format too narrow.
    """
    fmt, scale = config.formats.detection_gain, 1.0
    if not channel.relative:
        fmt = config.formats.detection_state
        for _, mean in _variability(samples, _detector(config, channel, rate_hz), lambda done: None):
            scale = float(mean[-1])
    wanted = scale * np.geomspace(*_RELATIVE_RANGE, _THRESHOLDS)
    words = np.unique(quantize(wanted[wanted <= fmt.max], fmt))
    if not words.any():
        raise CalibrationError(
            f"no threshold from {wanted[0]:.3g} to {wanted[-1]:.3g} in {fmt}: a silent channel, or too "
            "narrow a format"
        )
    return np.asarray(words[words > 0] * fmt.lsb)


# --- pairs ----------------------------------------------------------------------------------------


def select_thresholds(
    recording: TrainingRecording,
    config: ChipConfig,
    goals: Goals = Goals(),
    *,
    pn_thresholds: Thresholds | None = None,
    io_thresholds: Thresholds | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Selection:
    """Calibrate with every pair of thresholds, and keep the pair with the smallest error.

    The paper keeps the smallest residual. With as many trials as it has, a whole line of pairs leaves none to
    speak of, most of which detect badly; so that the chance in the residual counts too.

    Parameters
    ----------
    recording : TrainingRecording
    config : ChipConfig
        All but the thresholds.
    goals : Goals
    pn_thresholds, io_thresholds : ndarray of float64, optional
        Ascending; else :func:`default_thresholds`.
    progress : callable, optional
        Called with the number of samples done, of both channels together.

    Returns
    -------
    Selection

    Raises
    ------
    CalibrationError
        If a part of the session is missing, or no pair determines a plasticity.
    ConfigError, FileError
        If the samples cannot be detected in.
    """
    none = np.zeros(0, np.int64)
    session = recording.events(none, none, config)
    start = check_session(session, config)  # before the long work
    a_trial = (start - session.cs[0]) / session.cs.size / (session.n_steps - start)
    length, rate_hz, detection = recording.pn_raw.size, recording.rate_hz, config.detection
    if pn_thresholds is None:
        pn_thresholds = default_thresholds(recording.pn_raw, config, detection.pn, rate_hz)
    if io_thresholds is None:
        io_thresholds = default_thresholds(recording.io_raw, config, detection.io, rate_hz)
    pn = events_at(pn_thresholds, recording.pn_raw, config, detection.pn, rate_hz, progress=progress)
    io = events_at(
        io_thresholds, recording.io_raw, config, detection.io, rate_hz,
        progress=lambda done: progress(length + done),
    )  # fmt: skip
    pn_sessions = [recording.events(samples, none, config) for samples in pn]
    io_sessions = [recording.events(none, samples, config) for samples in io]
    residuals, errors = np.full((2, len(pn), len(io)), np.inf)
    nearest: tuple[float, str] | None = None
    pn_counts = [_counts_or_refusal(count_pn, events, config) for events in pn_sessions]
    io_counts = [_counts_or_refusal(count_io, events, config) for events in io_sessions]
    counted: tuple[tuple[str, Sequence[PnCounts | IoCounts | str]], ...]
    counted = (("PN", pn_counts), ("IO", io_counts))
    for name, counts in counted:
        refusals = [refusal for refusal in counts if isinstance(refusal, str)]
        if len(refusals) == len(counts):
            raise CalibrationError(f"none of {len(counts)} {name} thresholds calibrates: {refusals[0]}")
    for i, j in np.ndindex(residuals.shape):
        left, error, refusal = _calibrate_pair(pn_counts[i], io_counts[j], session, a_trial, config, goals)
        if refusal is None:
            residuals[i, j], errors[i, j] = left, error
        elif nearest is None or left < nearest[0]:
            nearest = left, f"PN {pn_thresholds[i]:.4g} and IO {io_thresholds[j]:.4g}: {refusal}"
    if nearest is not None and not np.isfinite(residuals).any():
        raise CalibrationError(
            f"none of {residuals.size} pairs of thresholds calibrates; the best, {nearest[1]}"
        )
    tied = np.argwhere(errors <= errors.min() + _TIE)
    first, second = (int(at) for at in tied[-1])  # the highest thresholds: the fewest false alarms
    chosen = {"pn": float(pn_thresholds[first]), "io": float(io_thresholds[second])}
    return Selection(
        config.replace(
            detection={
                name: getattr(detection, name).model_dump() | {"threshold": threshold}
                for name, threshold in chosen.items()
            }
        ),
        recording.events(pn[first], io[second], config),
        Roc(pn_thresholds, [pn_quality(events, config) for events in pn_sessions]),
        Roc(io_thresholds, [io_quality(events, config) for events in io_sessions]),
        residuals,
        errors,
        (first, second),
    )


def _counts_or_refusal(
    count: Callable[[Events, ChipConfig], Counts], events: Events, config: ChipConfig
) -> Counts | str:
    try:
        return count(events, config)
    except CalibrationError as error:
        return str(error)


def _calibrate_pair(
    pn: PnCounts | str,
    io: IoCounts | str,
    session: Events,
    a_trial: float,
    config: ChipConfig,
    goals: Goals,
) -> tuple[float, float, str | None]:
    """(residual and error, or infinity where there are none; why the pair is degenerate, or None).

    `a_trial` is the length of a trial over that of the spontaneous period.
    """
    for counts in (pn, io):
        if isinstance(counts, str):
            return np.inf, np.inf, counts
    assert isinstance(pn, PnCounts) and isinstance(io, IoCounts)
    plasticity, trials = pair_counts(pn, io, session, config, goals.noi_pass), int(session.cs.size)
    between = plasticity.k * plasticity.io_rate_hz * a_trial
    left = error = np.inf
    try:
        left = residual(plasticity, goals)
        error = expected_error(plasticity, goals, left, trials, between)
        determine(plasticity, goals, config, trials)
    except CalibrationError as refusal:
        return left, error, str(refusal)
    return left, error, None
