"""The conditioning protocol: trials, synthetic detections, and the score of a session.

Source: Herreros et al. 2014, "Experimental protocol" and "Use of the model with simulated data".
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..config import ChipConfig
from ..events import MAX_STEPS, Events, Steps

__all__ = [
    "TRAINING",
    "DetectionQuality",
    "Protocol",
    "Score",
    "Stimuli",
    "Trial",
    "bernoulli_steps",
    "score",
    "score_trials",
    "usual_isi_s",
]

PRE_US_S = 0.02
"""A CR is well-timed if it is triggered at least this long before the US."""
BLOCK = 10
"""Trials a block."""


class Trial(enum.Enum):
    """What a trial presents: CS then US, CS alone, or both at unrelated times."""

    PAIRED = "paired"
    CS_ALONE = "CS alone"
    UNPAIRED = "unpaired"


@dataclass(frozen=True)
class DetectionQuality:
    """How well one channel detects its stimulus.

    Parameters
    ----------
    tdr : float
        True detection ratio: share of stimuli with at least one detection in the window, 0 to below 1.
    far_hz : float
        False alarm rate: spontaneous detections a second.
    window_s : (float, float)
        Window of a true detection, seconds after the trigger.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    tdr: float
    far_hz: float
    window_s: tuple[float, float]

    def __post_init__(self) -> None:
        if not 0 <= self.tdr < 1:
            raise ValueError(f"tdr = {self.tdr:g}: limits are 0 and below 1")
        if not (math.isfinite(self.far_hz) and self.far_hz >= 0):
            raise ValueError(f"far_hz = {self.far_hz:g}: must be 0 or more")
        if not 0 <= self.window_s[0] < self.window_s[1] < math.inf:
            raise ValueError(f"window_s = {self.window_s}: needs 0 <= start < end")

    def window_steps(self, step_s: float) -> tuple[int, int]:
        """The window in steps after the trigger: its first, and the one after its last."""
        first, stop = (round(seconds / step_s) for seconds in self.window_s)
        return first, stop

    def detections(self, triggers: Steps, n_steps: int, step_s: float, rng: np.random.Generator) -> Steps:
        """Synthetic detections: spontaneous ones anywhere, evoked ones in the window of each trigger.

        A step detects spontaneously with probability ``far_hz·step_s`` and, within a window of n steps,
        is evoked with probability ``1 - (1 - tdr)**(1/n)``.

        Parameters
        ----------
        triggers : ndarray of int64
            Steps of the stimuli.
        n_steps : int
            Length in steps.
        step_s : float
            Seconds a step.
        rng : numpy.random.Generator
            Source of the randomness.

        Returns
        -------
        ndarray of int64
            Steps with a detection, ascending, unique. Cost grows with them, not with `n_steps`.
        """
        spontaneous = bernoulli_steps(n_steps, self.far_hz * step_s, rng)
        return _union(spontaneous, self.evoked(triggers, n_steps, step_s, rng))

    def evoked(self, triggers: Steps, n_steps: int, step_s: float, rng: np.random.Generator) -> Steps:
        """The evoked detections alone; parameters as for :meth:`detections`."""
        first, stop = self.window_steps(step_s)
        if stop <= first:
            raise ValueError(f"window_s = {self.window_s}: shorter than a step of {step_s:g} s")
        per_step = 1 - (1 - self.tdr) ** (1 / (stop - first))
        # In one dimension, where numpy finds what is true several times as fast.
        found = np.flatnonzero(rng.random(triggers.size * (stop - first)) < per_step)
        trial, offset = np.divmod(found, stop - first)
        steps = _union(triggers[trial] + first + offset)
        return steps[steps < n_steps]


def _union(*parts: Steps) -> Steps:
    """Sorted, each step once. Sorting what is nearly sorted beats numpy.unique's hash table."""
    steps = np.sort(np.concatenate(parts), kind="stable")
    return steps[np.diff(steps, prepend=-1) > 0]


def bernoulli_steps(n_steps: int, probability: float, rng: np.random.Generator) -> Steps:
    """Successes of `n_steps` independent draws, by their geometric gaps."""
    if probability <= 0:
        return np.zeros(0, np.int64)
    if probability >= 1:
        return np.arange(n_steps, dtype=np.int64)
    steps: list[Steps] = []
    last = -1
    while last < n_steps:
        expected = (n_steps - last) * probability
        gaps = rng.geometric(probability, size=int(expected + 4 * math.sqrt(expected) + 16))
        gaps = np.minimum(gaps, n_steps + 1)  # a tiny probability gives gaps whose sum would wrap
        steps.append(last + np.cumsum(gaps, dtype=np.int64))
        last = int(steps[-1][-1])
    joined = np.concatenate(steps)
    return joined[joined < n_steps]


PN_QUALITY = DetectionQuality(tdr=0.914, far_hz=0.11, window_s=(0.010, 0.150))
"""The paper's PN channel after calibration."""
IO_QUALITY = DetectionQuality(tdr=0.486, far_hz=1.14, window_s=(0.005, 0.205))
"""The paper's IO channel after calibration."""


@dataclass(frozen=True)
class Stimuli:
    """When a session presents what.

    Attributes
    ----------
    cs, us : ndarray of int64
        Steps of the triggers; a CS-alone trial has none in `us`.
    n_steps : int
        Length of the session.
    """

    cs: Steps
    us: Steps
    n_steps: int


@dataclass(frozen=True)
class Protocol:
    """A conditioning session.

    Parameters
    ----------
    trials : sequence of Trial
        In order. The default is that of the paper's figure 10: 120 paired, then 180 CS alone.
    pn, io : DetectionQuality
        The two channels.
    isi_s : float
        Inter-stimulus interval: CS onset to US onset in a paired trial.
    iti_s : (float, float)
        Inter-trial interval, CS to CS, drawn uniformly.
    io_drift_hz : sequence of float
        Spontaneous IO rate at the start, wherever the kind of trial changes, and at the end, with straight
        lines in between; empty for that of `io` throughout.

    Raises
    ------
    ValueError
        If there is no trial, an interval is out of range, or the drift has another number of rates.
    """

    trials: Sequence[Trial] = (Trial.PAIRED,) * 120 + (Trial.CS_ALONE,) * 180
    pn: DetectionQuality = PN_QUALITY
    io: DetectionQuality = IO_QUALITY
    isi_s: float = 0.3
    iti_s: tuple[float, float] = (10.0, 15.0)
    io_drift_hz: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not self.trials:
            raise ValueError("trials: at least one")
        if not 0 < self.isi_s < self.iti_s[0] <= self.iti_s[1] < math.inf:
            raise ValueError(
                f"isi_s = {self.isi_s:g}, iti_s = {self.iti_s}: needs 0 < isi_s < shortest <= longest iti_s"
            )
        wanted = len(self._changes()) + 2
        if self.io_drift_hz and len(self.io_drift_hz) != wanted:
            raise ValueError(f"io_drift_hz: {len(self.io_drift_hz)} rates, these trials need {wanted}")
        for rate in self.io_drift_hz:
            if not (math.isfinite(rate) and rate >= 0):
                raise ValueError(f"io_drift_hz = {rate:g}: must be 0 or more")

    @cached_property
    def _kinds(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which trials are paired, and which present the CS alone."""
        paired, alone = (
            np.array([trial is kind for trial in self.trials]) for kind in (Trial.PAIRED, Trial.CS_ALONE)
        )
        return paired, alone

    def _changes(self) -> list[int]:
        """Trials that are of another kind than the one before."""
        return [i for i in range(1, len(self.trials)) if self.trials[i] is not self.trials[i - 1]]

    def io_rate_hz(self, steps: Steps, cs: Steps, n_steps: int) -> npt.NDArray[np.float64]:
        """Spontaneous IO rate in each of `steps`, of a session of these trials and this length."""
        if not self.io_drift_hz:
            return np.full(steps.size, self.io.far_hz)
        return np.interp(steps, [0, *cs[self._changes()], n_steps], self.io_drift_hz)

    def _spontaneous_io(self, cs: Steps, n_steps: int, step_s: float, rng: np.random.Generator) -> Steps:
        """Detections at the drifting rate: drawn at the highest, and thinned out."""
        highest = max(self.io_drift_hz)
        steps = bernoulli_steps(n_steps, highest * step_s, rng)
        return steps[rng.random(steps.size) * highest < self.io_rate_hz(steps, cs, n_steps)]

    def stimuli(self, config: ChipConfig, rng: np.random.Generator) -> Stimuli:
        """Draw the times of the trials: the first that :meth:`events` draws.

        Parameters
        ----------
        config : ChipConfig
            Gives the step.
        rng : numpy.random.Generator
            ``numpy.random.default_rng(seed)`` for the trials of :meth:`events` with this seed.

        Returns
        -------
        Stimuli

        Raises
        ------
        ValueError
            If the session is longer than an events file may be.
        """
        step_s = config.time.step_s
        onsets = np.cumsum(rng.uniform(*self.iti_s, size=len(self.trials) + 1))
        if onsets[-1] / step_s > MAX_STEPS:
            raise ValueError(f"session of {onsets[-1]:.0f} s: limit is {MAX_STEPS} steps")
        cs_steps = np.round(onsets / step_s).astype(np.int64)
        n_steps = int(cs_steps[-1])
        cs = cs_steps[:-1]
        isi = config.steps(self.isi_s)
        # An unrelated US falls anywhere in the trial, as when the paper shuffles the IO within trials.
        unrelated = cs + np.floor(rng.random(cs.size) * np.diff(cs_steps)).astype(np.int64)
        paired, alone = self._kinds
        us = np.where(paired, cs + isi, unrelated)[~alone]
        return Stimuli(cs, _union(us[us < n_steps]), n_steps)

    def events(self, config: ChipConfig, seed: int, *, io_background: Steps | None = None) -> Events:
        """Draw a session.

        Parameters
        ----------
        config : ChipConfig
            Gives the step.
        seed : int
            Of the random generator; equal seeds give equal sessions.
        io_background : ndarray of int64, optional
            Spontaneous IO detections to use in place of drawn ones, in steps; what lies beyond the
            session is left out.

        Returns
        -------
        Events
            With `cs` and `us`; a CS-alone trial has no entry in `us`.

        Raises
        ------
        ValueError
            If the session is longer than an events file may be.
        """
        rng = np.random.default_rng(seed)
        stimuli = self.stimuli(config, rng)
        cs, us, n_steps, step_s = stimuli.cs, stimuli.us, stimuli.n_steps, config.time.step_s
        pn = self.pn.detections(cs, n_steps, step_s, rng)
        if io_background is None and self.io_drift_hz:
            io_background = self._spontaneous_io(cs, n_steps, step_s, rng)
        if io_background is None:
            io = self.io.detections(us, n_steps, step_s, rng)
        else:
            io = _union(io_background[io_background < n_steps], self.io.evoked(us, n_steps, step_s, rng))
        return Events(pn=pn, io=io, n_steps=n_steps, cs=cs, us=us)

    def training(self, config: ChipConfig, seed: int, *, spontaneous_s: float = 120.0) -> Events:
        """Draw a training session: the trials of :meth:`events`, then a period without stimuli.

        Parameters
        ----------
        config : ChipConfig
            Gives the step.
        seed : int
            Of the random generators; the trials are those of :meth:`events` with the same seed.
        spontaneous_s : float
            Length of the period, in seconds; a drifting IO rate has come to rest in it.

        Returns
        -------
        Events
            With `spontaneous_start`.

        Raises
        ------
        ValueError
            If the session is longer than an events file may be, or the period shorter than a step.
        """
        trials, length = self.events(config, seed), config.steps(spontaneous_s)
        rng = np.random.default_rng((seed, 1))  # not that of the trials, whose draws stay as they are
        io_after = replace(self.io, far_hz=self.io_drift_hz[-1]) if self.io_drift_hz else self.io
        pn, io = (
            np.concatenate(
                [before, trials.n_steps + quality.detections(trials.us[:0], length, config.time.step_s, rng)]
            )
            for before, quality in ((trials.pn, self.pn), (trials.io, io_after))
        )
        return replace(
            trials, pn=pn, io=io, n_steps=trials.n_steps + length, spontaneous_start=trials.n_steps
        )


TRAINING = Protocol(trials=(Trial.PAIRED,) * 30)
"""The paper's training session: its 30 paired trials, for :meth:`Protocol.training`."""


@dataclass(frozen=True)
class Score:
    """The behaviour of one session, trial by trial.

    Attributes
    ----------
    well_timed, late : ndarray of bool, shape (trials,)
        A trial is well-timed if a CR comes after the CS and at least 20 ms before the US is (or would
        be) due; it is late if it is not well-timed and a CR comes later in the trial.
    latency_s : ndarray of float64, shape (trials,)
        CS to the first CR of the trial; NaN where there is none.
    weight : ndarray of float64, shape (trials,)
        w at each CS.
    """

    well_timed: npt.NDArray[np.bool_]
    late: npt.NDArray[np.bool_]
    latency_s: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]

    @property
    def first_cr(self) -> int | None:
        """First trial with a CR, from 1; None if there is none."""
        return _first(self.well_timed | self.late)

    @property
    def first_well_timed(self) -> int | None:
        """First trial with a well-timed CR, from 1."""
        return _first(self.well_timed)

    @property
    def last_well_timed(self) -> int | None:
        """Last trial with a well-timed CR, from 1."""
        last = _first(self.well_timed[::-1])
        return None if last is None else self.well_timed.size + 1 - last

    @property
    def mean_latency_s(self) -> float:
        """Mean latency of the well-timed CRs, from the CS; NaN if there are none."""
        return float(self.latency_s[self.well_timed].mean()) if self.well_timed.any() else math.nan

    def blocks(self, trials: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Share of true trials in each block of ten; the last block may be shorter."""
        starts = np.arange(0, trials.size, BLOCK)
        counts = np.add.reduceat(trials.astype(np.float64), starts)
        return counts / np.diff(np.append(starts, trials.size))


def _first(trials: npt.NDArray[np.bool_]) -> int | None:
    where = np.flatnonzero(trials)
    return int(where[0]) + 1 if where.size else None


def usual_isi_s(events: Events, config: ChipConfig) -> float | None:
    """The interval from CS to US, in s, that most trials with a US share; None where there is none.

    Parameters
    ----------
    events : Events
        A trial lasts from its CS to the next; the first US in it counts.
    config : ChipConfig
        Gives the step.
    """
    ends = np.append(events.cs[1:], events.n_steps)
    first = np.searchsorted(events.us, events.cs)
    has_us = first < np.searchsorted(events.us, ends)
    intervals, counts = np.unique(events.us[first[has_us]] - events.cs[has_us], return_counts=True)
    if not counts.size or 2 * counts.max() <= np.count_nonzero(has_us) or not intervals[counts.argmax()]:
        return None
    return float(intervals[counts.argmax()] * config.time.step_s)


def score(
    cr: Steps,
    weight: npt.NDArray[np.float64],
    events: Events,
    config: ChipConfig,
    *,
    isi_s: float = 0.3,
) -> Score:
    """Score the CRs of a session; a trial lasts from its CS to the next.

    Parameters
    ----------
    cr : ndarray of int64
        Steps with a CR.
    weight : ndarray of float64, shape (n_steps,)
        w after each step.
    events : Events
        The session; its `cs` marks the trials.
    config : ChipConfig
        Gives the step.
    isi_s : float
        When the US is due after the CS, in CS-alone trials too.

    Returns
    -------
    Score
        One entry a trial.
    """
    return score_trials(cr, weight[events.cs], events, config, isi_s=isi_s)


def score_trials(
    cr: Steps,
    weight: npt.NDArray[np.float64],
    events: Events,
    config: ChipConfig,
    *,
    isi_s: float = 0.3,
) -> Score:
    """:func:`score` from w after each CS alone, shape (trials,)."""
    cs = events.cs
    ends = np.append(cs[1:], events.n_steps)
    first = np.searchsorted(cr, cs)
    responded = first < np.searchsorted(cr, ends)
    latency = np.full(cs.size, np.nan)
    latency[responded] = (cr[first[responded]] - cs[responded]) * config.time.step_s
    limit = config.steps(isi_s - PRE_US_S) * config.time.step_s
    with np.errstate(invalid="ignore"):
        well_timed = latency <= limit + config.time.step_s / 2
    return Score(well_timed, responded & ~well_timed, latency, weight)
