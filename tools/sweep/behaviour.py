"""What a session's behaviour is measured by, and how far two models are apart in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...golden_model.experiment.sessions import Sessions
from .scenario import Scenario

__all__ = ["CONFIDENCE", "COURSE", "LAST_TRIALS", "MEASURES", "Shift", "course", "measures", "paired_shift"]

Column = npt.NDArray[np.float64]

LAST_TRIALS = 40
"""Trials at the end of training, or of extinction, that tell its outcome."""
CONFIDENCE = 2.0
"""Standard errors of a shift that it is taken to be larger than it is found."""
MEASURES = {
    "acquisition": "trials to the first well-timed CR",
    "asymptote": f"well-timed CRs, share of the last {LAST_TRIALS} training trials",
    "late": "late CRs, share of the training trials",
    "latency_s": "latency of the well-timed CRs (s)",
    "weight_trained": "w at the last training trial",
    "extinction": "CS-alone trials to the last well-timed CR",
    "remaining": f"well-timed CRs, share of the last {LAST_TRIALS} CS-alone trials",
    "weight_end": "w at the last trial",
}
"""Of one session of one model; NaN where there is none."""
COURSE = {
    "weight_rms": "rms difference of w over the trials",
    "weight_largest": "largest difference of w",
    "trials_differ": "trials that only one of the models answers in time",
}
"""Of one session on both models."""


def measures(sessions: Sessions, scenario: Scenario) -> dict[str, Column]:
    """Each of :data:`MEASURES`, one value a session.

    A session that acquires nothing is given one trial more than there are to acquire in; one whose last
    well-timed CR is in training, 0 trials of extinction. Without CS-alone trials there is no extinction.
    """
    n = scenario.training
    timed = sessions.well_timed
    trained, alone = timed[:, :n], timed[:, n:]
    none = np.full(sessions.seeds.size, np.nan)
    first, last = Sessions.first(trained), Sessions.last(alone) if alone.size else none
    count = timed.sum(axis=1)
    total = np.where(timed, sessions.latency_s, 0.0).sum(axis=1)
    return {
        "acquisition": np.where(np.isnan(first), n + 1.0, first),
        "asymptote": trained[:, -LAST_TRIALS:].mean(axis=1),
        "late": sessions.late[:, :n].mean(axis=1),
        "latency_s": np.where(count > 0, total / np.maximum(count, 1), np.nan),
        "weight_trained": sessions.weight[:, n - 1],
        "extinction": np.where(np.isnan(last), 0.0, last) if alone.size else none,
        "remaining": alone[:, -LAST_TRIALS:].mean(axis=1) if alone.size else none,
        "weight_end": sessions.weight[:, -1],
    }


def course(real: Sessions, fixed: Sessions) -> dict[str, Column]:
    """Each of :data:`COURSE`, one value a session."""
    difference = fixed.weight - real.weight
    return {
        "weight_rms": np.sqrt((difference**2).mean(axis=1)),
        "weight_largest": np.abs(difference).max(axis=1),
        "trials_differ": (fixed.well_timed != real.well_timed).sum(axis=1).astype(np.float64),
    }


@dataclass(frozen=True)
class Shift:
    """A measure on both models, on the same sessions.

    Attributes
    ----------
    real, real_error : float
        Mean of the float model, and its Monte Carlo standard error.
    fixed, fixed_error : float
        The same of the fixed-point model.
    shift, shift_error : float
        Mean of the differences session by session, fixed less float, and its standard error.
    """

    real: float
    real_error: float
    fixed: float
    fixed_error: float
    shift: float
    shift_error: float

    @property
    def distance(self) -> float:
        """How large the shift may be, in Monte Carlo standard errors of the float model's mean.

        The shift counts with :data:`CONFIDENCE` times its own error on top: 1 and below shows that it is
        within the Monte Carlo error, not only that it is not shown to be beyond it.
        """
        largest = abs(self.shift) + CONFIDENCE * self.shift_error
        if largest == 0:
            return 0.0
        return largest / self.real_error if self.real_error else math.inf


def paired_shift(real: Column, fixed: Column) -> Shift | None:
    """Compare a measure of both models, session by session.

    Parameters
    ----------
    real, fixed : ndarray of float64, shape (sessions,)
        Of the float and of the fixed-point model; a session in which one is NaN does not count.

    Returns
    -------
    Shift or None
        None where fewer than two sessions have the measure.
    """
    both = ~(np.isnan(real) | np.isnan(fixed))
    a, b = real[both], fixed[both]
    if a.size < 2:
        return None
    errors = [float(x.std(ddof=1)) / math.sqrt(a.size) for x in (a, b, b - a)]
    means = [float(x.mean()) for x in (a, b, b - a)]
    return Shift(means[0], errors[0], means[1], errors[1], means[2], errors[2])
