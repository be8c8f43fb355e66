"""One session on each model, and what the models' answers have in common."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from ..golden_model.config import ChipConfig, ConfigError
from ..golden_model.events import Events, Recalibrations, Result
from ..golden_model.experiment.protocol import BLOCK, Protocol, Score, Trial, score
from ..golden_model.fixed import to_real
from ..golden_model.microcircuit import MicrocircuitFixed, MicrocircuitFloat
from ..golden_model.recalibration import Status
from ..sim.build.simulators import Simulator
from ..sim.replay.comparison import RECALIBRATION, first_difference, first_recalibration
from ..sim.replay.record import recalibration_rows
from ..sim.replay.replay import replay_session

__all__ = [
    "CONSTANT",
    "LABELS",
    "MODELS",
    "Comparison",
    "Course",
    "ModelName",
    "behaviour",
    "course_numbers",
    "fixed_recalibrations",
    "float_recalibrations",
    "paired_then_alone",
    "run_model",
]

ModelName = Literal["float", "fixed", "rtl"]
MODELS: tuple[ModelName, ...] = ("float", "fixed", "rtl")
CONSTANT = "constant"
"""Beside the three: the fixed-point model with the recalibration switched off, as a control."""
LABELS = {CONSTANT: "fixed, δ constant"}
"""How a result is called where its name does not say it."""


def paired_then_alone(paired: int, cs_alone: int, *, iti_s: tuple[float, float] = Protocol.iti_s) -> Protocol:
    """The protocol of ``--paired`` and ``--cs-alone``; ConfigError where there can be none."""
    if paired + cs_alone == 0:
        raise ConfigError("--paired and --cs-alone are both 0: needs a trial")
    try:
        return Protocol(trials=(Trial.PAIRED,) * paired + (Trial.CS_ALONE,) * cs_alone, iti_s=iti_s)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def run_model(
    model: ModelName,
    events: Events,
    config: ChipConfig,
    *,
    simulator: Simulator | None = None,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Run one model on one events file.

    Parameters
    ----------
    model : {"float", "fixed", "rtl"}
    events : Events
    config : ChipConfig
    simulator : Simulator
        Needed for ``rtl``.
    progress : callable, optional
        Told the number of steps done.

    Returns
    -------
    Result

    Raises
    ------
    BenchFailure, ToolError
        From the simulation.
    """
    enabled = config.recalibration.enabled
    if model == "float":
        real = MicrocircuitFloat(config).process(
            events.pn_steps, events.io_steps, blanked=events.blanked_steps
        )
        found = recalibration_rows(real.recalibrations, np.float64)
        outcomes = float_recalibrations(found) if enabled else None
        result = Result(np.flatnonzero(real.cr), real.weight, None, config, outcomes)
    else:
        if model == "fixed":
            fixed = MicrocircuitFixed(config).process(
                events.pn_steps, events.io_steps, blanked=events.blanked_steps
            )
            cr, raw = np.flatnonzero(fixed.cr), fixed.weight
            rows = recalibration_rows(fixed.recalibrations)
        else:
            if simulator is None:
                raise ValueError("model rtl needs a simulator")
            session = replay_session(events, config, simulator, progress=progress)
            cr, raw, rows = session.cr, session.weight, session.recalibrations
        outcomes = fixed_recalibrations(rows, config) if enabled else None
        result = Result(cr, to_real(raw, config.formats.weight), raw, config, outcomes)
    if progress:
        progress(events.n_steps)
    return result


def float_recalibrations(rows: npt.NDArray[np.float64]) -> Recalibrations:
    """From real values, in the columns of ``comparison.RECALIBRATION``."""
    step, _, status, rate_hz, potentiation, depression = np.asarray(rows, np.float64).T
    return Recalibrations(step.astype(np.int64), status.astype(np.int64), rate_hz, potentiation, depression)


def fixed_recalibrations(rows: npt.NDArray[np.int64], config: ChipConfig) -> Recalibrations:
    """From raw words, in the columns of ``comparison.RECALIBRATION``."""
    formats = config.formats
    step, _, status, rate, potentiation, depression = rows.T
    return Recalibrations(
        step,
        status,
        to_real(rate, formats.rate) * config.rate_full_scale_hz,
        to_real(potentiation, formats.potentiation),
        to_real(depression, formats.depression),
    )


@dataclass(frozen=True)
class Comparison:
    """The answers of the models to one session, side by side.

    Attributes
    ----------
    events : Events
    results : mapping of str to Result
        By the names of :data:`MODELS`, and :data:`CONSTANT` where the configuration recalibrates.
    isi_s : float
        When the US is due after the CS.
    """

    events: Events
    results: Mapping[str, Result]
    isi_s: float = 0.3

    @property
    def shown(self) -> Result:
        """The result that stands for all where one is enough: the fixed-point model's, where there is one."""
        return self.results.get("fixed") or next(iter(self.results.values()))

    @property
    def config(self) -> ChipConfig:
        return self.shown.config

    @cached_property
    def difference(self) -> str | None:
        """Where RTL first differs from fixed, in w, CR or a recalibration; None if nowhere."""
        fixed, rtl = self.results["fixed"], self.results["rtl"]
        n_steps = self.events.n_steps
        difference = first_difference(_comparable(fixed, n_steps), _comparable(rtl, n_steps), self.config)
        return difference or first_recalibration(_rows(fixed), _rows(rtl))

    @property
    def largest_weight_error(self) -> float:
        """Largest |w fixed - w float| over all steps."""
        return float(np.abs(self.results["fixed"].w - self.results["float"].w).max())

    def cr_shifts(self) -> tuple[dict[int, int], int]:
        """Fixed CRs against float CRs.

        Returns
        -------
        (dict of int to int, int)
            How many CRs are shifted by how many steps (fixed less float), and how many of either model
            have no partner within the length of a trace.
        """
        return _pair_up(self.results["float"].cr, self.results["fixed"].cr, self.config.trace_steps)

    @cached_property
    def scores(self) -> dict[str, Score]:
        """Behaviour by model; empty for events without trials."""
        if not self.events.cs.size:
            return {}
        return {
            name: score(result.cr, result.w, self.events, self.config, isi_s=self.isi_s)
            for name, result in self.results.items()
        }

    def trial_kinds(self) -> list[Trial]:
        """Paired, CS alone or unpaired, from when the US came."""
        ends = np.append(self.events.cs[1:], self.events.n_steps)
        isi = self.config.steps(self.isi_s)
        kinds = []
        for start, end in zip(self.events.cs, ends, strict=True):
            us = self.events.us[(self.events.us >= start) & (self.events.us < end)]
            kinds.append(
                Trial.CS_ALONE if not us.size else Trial.PAIRED if us[0] == start + isi else Trial.UNPAIRED
            )
        return kinds

    def learning(self, name: str) -> dict[str, int | None]:
        """How long a model took to learn and to forget, in trials.

        Parameters
        ----------
        name : str
            Of the result.

        Returns
        -------
        dict of str to int or None
            ``trials_to_acquire``: paired trials up to the first well-timed one; None if there is none.
            ``trials_to_extinguish``: trials after the last paired one, up to the last well-timed one; None if
            one of the last ten is. Each is there only if the session has such trials.
        """
        well_timed = self.scores[name].well_timed
        paired = np.array([kind is Trial.PAIRED for kind in self.trial_kinds()])
        found: dict[str, int | None] = {}
        if paired.any():
            first = np.flatnonzero(well_timed[paired])
            found["trials_to_acquire"] = int(first[0]) + 1 if first.size else None
            after = well_timed[np.flatnonzero(paired)[-1] + 1 :]
            if after.size and well_timed[paired].any():
                last = np.flatnonzero(after)
                found["trials_to_extinguish"] = (
                    None if after[-BLOCK:].any() else int(last[-1]) + 1 if last.size else 0
                )
        return found

    def summary(self) -> dict[str, Any]:
        """Everything above as plain numbers, for JSON."""
        shifts, unmatched = self.cr_shifts()
        scores = self.scores
        summary: dict[str, Any] = {
            "n_steps": self.events.n_steps,
            "config_sha256": self.config.digest,
            "bit_accurate": self.difference is None if "rtl" in self.results else None,
            "first_difference": self.difference if "rtl" in self.results else None,
            "fixed_against_float": {
                "largest_weight_error": self.largest_weight_error,
                "largest_weight_error_lsb": self.largest_weight_error / self.config.formats.weight.lsb,
                "cr_shift_steps": {str(shift): count for shift, count in sorted(shifts.items())},
                "cr_without_partner": unmatched,
            },
            "models": {name: behaviour(result, scores.get(name)) for name, result in self.results.items()},
        }
        if scores:
            for name, numbers in summary["models"].items():
                numbers |= self.learning(name)
            differing = int((scores["float"].well_timed != scores["fixed"].well_timed).sum())
            summary["fixed_against_float"]["well_timed_differs_trials"] = differing
            summary["fixed_against_float"]["trials"] = int(self.events.cs.size)
        return summary


def _rows(result: Result) -> npt.NDArray[np.float64]:
    """Recalibrations of the one channel, in the columns of ``comparison.RECALIBRATION``."""
    found = result.recalibrations
    if found is None:
        return np.zeros((0, len(RECALIBRATION)))
    channel = np.zeros_like(found.step)
    columns = (found.step, channel, found.status, found.rate_hz, found.potentiation, found.depression)
    return np.stack([column.astype(np.float64) for column in columns], axis=1)


def _comparable(result: Result, n_steps: int) -> dict[str, npt.NDArray[Any]]:
    cr = np.zeros((n_steps, 1), np.bool_)
    cr[result.cr] = True
    assert result.w_raw is not None
    return {"weight": result.w_raw[:, None], "cr": cr}


def _pair_up(
    ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64], limit: int
) -> tuple[dict[int, int], int]:
    """Pair equal steps, then the nearest within `limit`; counts by shift, and how many stay alone."""
    shifts: Counter[int] = Counter()
    left = [int(step) for step in np.setdiff1d(ours, theirs)]
    right = [int(step) for step in np.setdiff1d(theirs, ours)]
    shifts[0] = int(ours.size - len(left))
    # The closest pairs first; differences are few, so that every pair within reach can be looked at.
    near = [
        (abs(b - a), a, b)
        for a in left
        for b in right[bisect_left(right, a - limit) : bisect_left(right, a + limit + 1)]
    ]
    for _, a, b in sorted(near):
        if a in left and b in right:
            shifts[b - a] += 1
            left.remove(a)
            right.remove(b)
    return {shift: count for shift, count in shifts.items() if count}, len(left) + len(right)


@dataclass(frozen=True)
class Course:
    """What a report says of CRs and w.

    Attributes
    ----------
    cr : int
        How many.
    w_min, w_max, w_last : float
        Least, largest and last w after a step.
    """

    cr: int
    w_min: float
    w_max: float
    w_last: float

    @classmethod
    def of(cls, result: Result) -> Self:
        """Of a result in memory."""
        w = result.w
        return cls(int(result.cr.size), float(w.min()), float(w.max()), float(w[-1]))


def behaviour(result: Result, trials: Score | None) -> dict[str, Any]:
    """A result as plain numbers, for JSON."""
    return course_numbers(Course.of(result), result.config, result.recalibrations, trials)


def course_numbers(
    course: Course, config: ChipConfig, found: Recalibrations | None, trials: Score | None
) -> dict[str, Any]:
    """:func:`behaviour` of a result that is not in memory as a whole."""
    numbers: dict[str, Any] = asdict(course) | {"w_drift": course.w_last - config.weight.initial}
    if found is not None:
        numbers["recalibrations"] = {
            "count": int(found.step.size),
            "kept": {
                Status(status).name.lower(): int(count)
                for status, count in zip(*np.unique(found.status, return_counts=True), strict=True)
                if status != Status.GOOD
            },
            "step": found.step.tolist(),
            "rate_hz": found.rate_hz.tolist(),
            "potentiation": found.potentiation.tolist(),
            "depression": found.depression.tolist(),
        }
    if trials is not None:
        latency = trials.mean_latency_s
        numbers |= {
            "well_timed_trials": int(trials.well_timed.sum()),
            "late_trials": int(trials.late.sum()),
            "well_timed_percent": 100 * float(trials.well_timed.mean()),
            "first_cr_trial": trials.first_cr,
            "first_well_timed_trial": trials.first_well_timed,
            "last_well_timed_trial": trials.last_well_timed,
            "mean_latency_s": None if np.isnan(latency) else latency,
            "well_timed_by_block": trials.blocks(trials.well_timed).round(6).tolist(),
            "late_by_block": trials.blocks(trials.late).round(6).tolist(),
            "w_by_trial": trials.weight.tolist(),
        }
    return numbers
