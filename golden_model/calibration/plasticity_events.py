"""Plasticity events of a training session: what its detections would do to w.

Source: Herreros et al. 2014, "Estimation of plasticity events". Which of them belong to which condition, and
what is made of them, is in ``calibration``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..config import ChipConfig
from ..events import Events, Steps
from ..experiment.protocol import IO_QUALITY, PN_QUALITY, DetectionQuality
from .goals import CalibrationError

__all__ = [
    "IoCounts",
    "PlasticityEvents",
    "PnCounts",
    "TrainingCounts",
    "check_sees_us",
    "check_session",
    "count_io",
    "count_pn",
    "eligible_steps",
    "io_quality",
    "more_trials",
    "pair_counts",
    "plasticity_events",
    "pn_quality",
]

_PAPER_TRIALS = 30
_PAPER_SPONTANEOUS_S = 120.0
_SURE = 3.0
"""Standard errors by which a difference is called one."""


@dataclass(frozen=True)
class PlasticityEvents:
    """Mean plasticity events a trial in the three conditions.

    Attributes
    ----------
    p_bar : (float, float, float)
        Steps of potentiation.
    d_bar : (float, float)
        Events of depression, paired and CS alone.
    k : float
        Seconds: events of depression in the spontaneous period, per Hz of IO rate.
    io_rate_hz : float
        The spontaneous IO rate.
    """

    p_bar: tuple[float, float, float]
    d_bar: tuple[float, float]
    k: float
    io_rate_hz: float


@dataclass(frozen=True)
class TrainingCounts:
    """The plasticity events of a session, and how well each channel detects its stimulus in it."""

    plasticity: PlasticityEvents
    pn: DetectionQuality
    io: DetectionQuality
    trials: int
    spontaneous_s: float


@dataclass(frozen=True)
class PnCounts:
    """What the PN detections of a session give, whatever the IO detects.

    Attributes
    ----------
    eligible : ndarray of bool, shape (n_steps,)
        Π of the paired trials.
    paired_steps : float
        Its unblanked steps a trial: P̄1 and P̄2.
    spontaneous_s : float
        Unblanked time with Π = 1 in the spontaneous period: P̄3, and k.
    """

    eligible: npt.NDArray[np.bool_]
    paired_steps: float
    spontaneous_s: float


@dataclass(frozen=True)
class IoCounts:
    """What the IO detections of a session give: those that count, and the spontaneous rate."""

    steps: Steps
    rate_hz: float


def eligible_steps(pn: Steps, n_steps: int, config: ChipConfig) -> npt.NDArray[np.bool_]:
    """Π of these PN detections: the convolution with the eligibility waveform ε, one bool a step."""
    delay, length = config.eligibility_delay_steps, config.trace_steps
    return _covered(pn + delay, pn + delay + length, n_steps)


def _covered(starts: Steps, stops: Steps, n_steps: int) -> npt.NDArray[np.bool_]:
    """Steps within any of these stretches, which may overlap and reach beyond the end; one bool a step."""
    edges = np.zeros(n_steps + 1, np.int64)
    np.add.at(edges, np.minimum(starts, n_steps), 1)
    np.add.at(edges, np.minimum(stops, n_steps), -1)
    return np.cumsum(edges[:-1]) > 0


def plasticity_events(events: Events, config: ChipConfig, *, noi_pass: float) -> TrainingCounts:
    """Count a training session.

    Parameters
    ----------
    events : Events
        With `cs` and `us` of the paired trials, and `spontaneous_start`.
    config : ChipConfig
        Gives the eligibility waveform and the step.
    noi_pass : float
        σ̄.

    Returns
    -------
    TrainingCounts

    Raises
    ------
    CalibrationError
        If a part of the session, or every detection of a kind, is missing.
    """
    start = check_session(events, config)
    plasticity = pair_counts(count_pn(events, config), count_io(events, config), events, config, noi_pass)
    return TrainingCounts(
        plasticity,
        pn_quality(events, config),
        io_quality(events, config),
        int(events.cs.size),
        (events.n_steps - start) * config.time.step_s,
    )


def count_pn(events: Events, config: ChipConfig) -> PnCounts:
    """The part of :func:`plasticity_events` that needs the PN detections alone."""
    step_s = config.time.step_s
    start, quiet = check_session(events, config), ~events.blanked_steps
    if not quiet[start:].any():
        raise CalibrationError("blanked: the IO channel, in the whole period without stimuli")
    evoked = events.pn[_in_window(events.pn, events.cs, PN_QUALITY, step_s)]
    if not evoked.size:
        first, last = PN_QUALITY.window_s
        raise CalibrationError(
            f"no PN detection {1000 * first:g} to {1000 * last:g} ms after any of the {events.cs.size} CS: "
            f"lower the PN threshold, or move the electrode; {more_trials(events.cs.size)}"
        )
    _check_sees_cs(events, config)
    eligible = eligible_steps(evoked, events.n_steps, config)
    spontaneous = eligible_steps(events.pn[events.pn >= start], events.n_steps, config)
    seconds = np.count_nonzero(spontaneous & quiet) * step_s
    if not seconds:
        raise _no_spontaneous("PN", events, config)
    return PnCounts(eligible, np.count_nonzero(eligible & quiet) / events.cs.size, seconds)


def count_io(events: Events, config: ChipConfig) -> IoCounts:
    """The part of :func:`plasticity_events` that needs the IO detections alone."""
    start, blanked = check_session(events, config), events.blanked_steps
    io = events.io[~blanked[events.io]]
    detected = np.count_nonzero(io >= start)
    if not detected:
        raise _no_spontaneous("IO", events, config)
    return IoCounts(io, detected / (np.count_nonzero(~blanked[start:]) * config.time.step_s))


def pair_counts(
    pn: PnCounts, io: IoCounts, events: Events, config: ChipConfig, noi_pass: float
) -> PlasticityEvents:
    """The plasticity events of both channels together; no detection of `events` is looked at."""
    step_s = config.time.step_s
    return PlasticityEvents(
        p_bar=(pn.paired_steps, pn.paired_steps, pn.spontaneous_s / step_s),
        d_bar=(
            np.count_nonzero(pn.eligible[io.steps]) / events.cs.size,
            pn.paired_steps * step_s * io.rate_hz * noi_pass,
        ),
        k=pn.spontaneous_s,
        io_rate_hz=io.rate_hz,
    )


def _check_sees_cs(events: Events, config: ChipConfig) -> None:
    """CalibrationError unless a CS is detected more often than chance would in the same window."""
    quality, trials = pn_quality(events, config), events.cs.size
    chance = -math.expm1(-quality.far_hz * (quality.window_s[1] - quality.window_s[0]))
    if quality.tdr <= chance + _SURE * math.sqrt(chance * (1 - chance) / trials):
        raise CalibrationError(
            f"{quality.tdr:.0%} of {trials} CS are detected, where {quality.far_hz:.3g} Hz of false alarms "
            f"detect {chance:.0%} by chance: the PN channel does not see the CS; raise the PN threshold, or "
            f"{more_trials(trials)}"
        )


def _no_spontaneous(name: str, events: Events, config: ChipConfig) -> CalibrationError:
    length_s = (events.n_steps - check_session(events, config)) * config.time.step_s
    return CalibrationError(
        f"no spontaneous {name} detection in {length_s:.3g} s without stimuli: record "
        f"{max(_PAPER_SPONTANEOUS_S - length_s, 2 * length_s):.3g} s more, or lower the {name} threshold"
    )


def check_session(events: Events, config: ChipConfig) -> int:
    """The start of the spontaneous period; CalibrationError if a part of the session is missing."""
    start, step_s = events.spontaneous_start, config.time.step_s
    if start is None:
        raise CalibrationError(
            "spontaneous_start: entry is missing, the step where the paired trials have ended"
        )
    if not events.cs.size:
        raise CalibrationError(f"cs: no trial; {more_trials(0)}")
    if events.cs[-1] >= start:
        raise CalibrationError(f"spontaneous_start = {start}: must be after the last CS, {events.cs[-1]}")
    ends = np.append(events.cs[1:], events.n_steps)
    count = np.searchsorted(events.us, ends) - np.searchsorted(events.us, events.cs)
    for at in np.flatnonzero(count != 1)[:1]:
        raise CalibrationError(
            f"us: {count[at] or 'none'} after cs[{at}] = {events.cs[at]}; a training trial has one, its onset"
        )
    if events.us[0] < events.cs[0]:
        raise CalibrationError(f"us[0] = {events.us[0]}: before the first CS")
    # Responses to the last trial are no spontaneous activity.
    over = max(
        events.cs[-1] + PN_QUALITY.window_steps(step_s)[1],
        events.us[-1] + IO_QUALITY.window_steps(step_s)[1],
    )
    if start < over:
        raise CalibrationError(
            f"spontaneous_start = {start}: the responses to the last trial are over at {over}"
        )
    return int(start)


def more_trials(trials: int) -> str:
    """What to record, for a message: as many as the paper has, or a third of that."""
    return f"record {max(_PAPER_TRIALS - trials, _PAPER_TRIALS // 3)} paired trials more"


def _in_window(
    steps: Steps, triggers: Steps, quality: DetectionQuality, step_s: float
) -> npt.NDArray[np.bool_]:
    """Which of the steps are in the window of a true detection after a trigger."""
    first, stop = quality.window_steps(step_s)
    trigger = np.searchsorted(triggers, steps - first, side="right") - 1
    return (trigger >= 0) & (steps < triggers[trigger] + stop)


def pn_quality(events: Events, config: ChipConfig) -> DetectionQuality:
    """Measured TDR and FAR of the PN detections, in the paper's window after each CS."""
    nothing = np.zeros(events.n_steps, np.bool_)
    return _quality(events.pn, events.cs, nothing, "PN", PN_QUALITY, config.time.step_s)


def io_quality(events: Events, config: ChipConfig) -> DetectionQuality:
    """Measured TDR and FAR of the IO detections that count, in the paper's window after each US."""
    blanked = events.blanked_steps
    io = events.io[~blanked[events.io]]
    return _quality(io, events.us, blanked, "IO", IO_QUALITY, config.time.step_s)


def _quality(
    steps: Steps,
    triggers: Steps,
    hidden: npt.NDArray[np.bool_],
    name: str,
    paper: DetectionQuality,
    step_s: float,
) -> DetectionQuality:
    """Measured TDR and FAR in the paper's windows, of the triggers and the time that were not hidden."""
    first, stop = paper.window_steps(step_s)
    inside = _covered(triggers + first, triggers + stop, hidden.size)
    outside_s = np.count_nonzero(~inside & ~hidden) * step_s
    seen = np.concatenate([[0], np.cumsum(hidden)])
    windows = np.minimum(np.stack([triggers + first, triggers + stop]), hidden.size)
    open_triggers = triggers[seen[windows[1]] == seen[windows[0]]]
    if not open_triggers.size or not outside_s:
        raise CalibrationError(
            f"the {name} channel is blanked after every stimulus, or there is no time between stimuli"
        )
    hit = np.searchsorted(steps, open_triggers + stop) > np.searchsorted(steps, open_triggers + first)
    # A ratio of 1 would need infinitely many detections: half a trial is the least miss to be claimed.
    tdr = min(np.count_nonzero(hit) / open_triggers.size, 1 - 0.5 / open_triggers.size)
    return DetectionQuality(tdr, float(np.count_nonzero(~inside[steps]) / outside_s), paper.window_s)


def check_sees_us(plasticity: PlasticityEvents, trials: int) -> None:
    """CalibrationError unless pairing has more depression than chance: otherwise nothing can be acquired."""
    chance = plasticity.p_bar[0] * plasticity.k / plasticity.p_bar[2] * plasticity.io_rate_hz
    excess = plasticity.d_bar[0] - chance
    if excess > 0:
        return
    # Both are counts: their difference is that of two Poisson variables.
    needed = math.ceil(_SURE**2 * (plasticity.d_bar[0] + chance) / (0.5 * max(chance, 1 / trials)) ** 2)
    raise CalibrationError(
        f"IO detections after a CS are no more frequent with a US ({plasticity.d_bar[0]:.3g} a trial) than "
        f"without ({chance:.3g}): the IO channel does not see the US in these {trials} trials; change its "
        f"threshold, or record {max(needed - trials, _PAPER_TRIALS // 3)} paired trials more"
    )
