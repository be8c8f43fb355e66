"""Calibration: from a training session to δp, δd and the eight coefficients of the recalibration.

Source: Herreros et al. 2014, "Calibration of the cerebellar model" and Appendix 2. A training session is
about 30 paired CS-US trials, then about two minutes without stimuli. Three conditions shall change w by a
wanted amount a trial: 1 paired trials (acquisition), 2 CS alone (extinction), 3 spontaneous activity
(stability)::

    [ P̄1  -D̄1 ]          [ -Δa/Ta ]
    [ P̄2  -D̄2 ] [δp]  =  [ +Δe/Te ]      by least squares, the squared residuals
    [ P̄3  -D̄3 ] [δd]     [    0   ]      weighted by the costs c1, c2, c3

P̄i is the mean number of steps with an eligible trace (Π = 1) a trial, D̄i that of IO detections in them:

- *Paired*: Π is that of the PN detections in the window of a true detection after each CS; those between
  the trials belong to condition 3.
- *CS alone*: as the paper does, the PN data of the paired trials with the IO data of the spontaneous
  period. All ways to lay the one over the other count alike, so that D̄2 = P̄2·(IO detections a spontaneous
  step), times σ̄, the share of them that the nucleo-olivary inhibition lets through in extinction.
- *Spontaneous*: P̄3 counts the whole period, and D̄3 = k·x, with x the spontaneous IO rate and k the time
  with Π = 1. The paper's k = PNfar·Λτ·T3 is that time if no two traces overlap. Where some do, it makes δp
  larger than the steps that it is added in allow for, and w drifts up.

D̄3 is all that the IO rate changes, so that the solution is a rational function of x: :func:`coefficients`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..coefficients import Coefficients
from ..config import CalibrationRecord, ChipConfig
from ..events import Events
from .goals import CalibrationError, Goals
from .plasticity_events import (
    PlasticityEvents,
    check_sees_us,
    more_trials,
    plasticity_events,
)

__all__ = [
    "calibrate",
    "check_working_range",
    "coefficients",
    "determine",
    "expected_error",
    "residual",
    "solve",
]

_LARGEST_CONDITION = 1e6
"""Condition number, with scaled columns, beyond which δp and δd cannot be told apart."""


def _system(
    plasticity: PlasticityEvents, goals: Goals, rate_hz: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rows of the linear system and its right side, each weighted by the root of its cost."""
    d_bar = (*plasticity.d_bar, plasticity.k * rate_hz)
    rows = np.array([plasticity.p_bar, [-d for d in d_bar]]).T
    roots = np.sqrt(goals.costs)
    return rows * roots[:, None], np.array([*goals.changes, 0.0]) * roots


def solve(plasticity: PlasticityEvents, goals: Goals, rate_hz: float) -> tuple[float, float]:
    """(δp, δd) at an IO rate, by numpy's least squares.

    Raises
    ------
    CalibrationError
        If the system is singular.
    """
    rows, right = _system(plasticity, goals, rate_hz)
    scale = np.linalg.norm(rows, axis=0)  # columns in like units, so that their condition means something
    if not scale.all() or np.linalg.cond(rows / scale) > _LARGEST_CONDITION:
        means = ", ".join(f"{value:.4g}" for value in (*plasticity.p_bar, *plasticity.d_bar))
        raise CalibrationError(
            f"δp and δd cannot be told apart at an IO rate of {rate_hz:.3g} Hz: P̄1 to P̄3, D̄1, D̄2 are {means}"
        )
    potentiation, depression = np.linalg.lstsq(rows / scale, right, rcond=None)[0] / scale
    return float(potentiation), float(depression)


def residual(plasticity: PlasticityEvents, goals: Goals) -> float:
    """Root of the weighted sum of squares that the best δp and δd leave, in w a trial."""
    rows, right = _system(plasticity, goals, plasticity.io_rate_hz)
    return float(np.linalg.norm(rows @ solve(plasticity, goals, plasticity.io_rate_hz) - right))


def expected_error(
    plasticity: PlasticityEvents, goals: Goals, left: float, trials: int, between: float
) -> float:
    """The residual, and the chance that is in a calibration from so few trials, in w a trial.

    Depressions are counts: what they do to w in `trials` trials varies by chance, as δd²·(their number).
    Without that the smallest residual is one of many that are 0 by accident, whatever the channels detect.

    Parameters
    ----------
    plasticity : PlasticityEvents
    goals : Goals
    left : float
        Its :func:`residual`.
    trials : int
        Paired trials of the session.
    between : float
        Depressions by false alarms of both channels in the time of a trial.

    Returns
    -------
    float
        √(residual² + δd²·(D̄1 + D̄2 + 2·between)/trials).

    Raises
    ------
    CalibrationError
        If the system is singular.
    """
    _, depression = solve(plasticity, goals, plasticity.io_rate_hz)
    variance = depression**2 * (sum(plasticity.d_bar) + 2 * between) / trials
    return math.sqrt(left**2 + variance)


def coefficients(plasticity: PlasticityEvents, goals: Goals) -> Coefficients:
    """The eight coefficients: :func:`solve` for every IO rate at once.

    With m = P̄1·D̄2 - P̄2·D̄1, u = c1·P̄1·b1 + c2·P̄2·b2, v = c1·D̄1·b1 + c2·D̄2·b2, the appendix's terms
    (signs mended, see :func:`solve` for what they are tested against) become sums without cancellation::

        β0 = c1·c2·m² + c3·P̄3²·(c1·D̄1² + c2·D̄2²)    α0 = c1·c2·m·(D̄2·b1 - D̄1·b2)
        β1 = -2·c3·P̄3·k·(c1·P̄1·D̄1 + c2·P̄2·D̄2)       α1 = -c3·P̄3·k·v
        β2 = c3·k²·(c1·P̄1² + c2·P̄2²)                 α2 = c3·k²·u
        γ0 = c1·c2·m·(P̄2·b1 - P̄1·b2) - c3·P̄3²·v      γ1 = c3·P̄3·k·u
    """
    (c1, c2, c3), (b1, b2), k = goals.costs, goals.changes, plasticity.k
    (p1, p2, p3), (d1, d2) = plasticity.p_bar, plasticity.d_bar
    m = p1 * d2 - p2 * d1
    u = c1 * p1 * b1 + c2 * p2 * b2
    v = c1 * d1 * b1 + c2 * d2 * b2
    return Coefficients(
        alpha=(c1 * c2 * m * (d2 * b1 - d1 * b2), -c3 * p3 * k * v, c3 * k**2 * u),
        beta=(
            c1 * c2 * m**2 + c3 * p3**2 * (c1 * d1**2 + c2 * d2**2),
            -2 * c3 * p3 * k * (c1 * p1 * d1 + c2 * p2 * d2),
            c3 * k**2 * (c1 * p1**2 + c2 * p2**2),
        ),
        gamma=(c1 * c2 * m * (p2 * b1 - p1 * b2) - c3 * p3**2 * v, c3 * p3 * k * u),
    )


def check_working_range(rational: Coefficients, low_hz: float, high_hz: float) -> None:
    """CalibrationError if δp or δd is not above 0, or has a pole, anywhere in the range."""
    if rational.determinant(_lowest(rational.beta, low_hz, high_hz)) <= 0:
        raise CalibrationError(f"δp and δd have a pole between {low_hz:g} and {high_hz:g} Hz")
    for index, (name, numerator) in enumerate((("δp", rational.alpha), ("δd", rational.gamma))):
        worst = _lowest(numerator, low_hz, high_hz)
        value = rational.plasticity(worst)[index]
        if value <= 0:
            raise CalibrationError(f"{name} = {value:.3g} at an IO rate of {worst:.3g} Hz: must be above 0")


def _lowest(polynomial: tuple[float, ...], low: float, high: float) -> float:
    """Where in the range a polynomial of degree 1 or 2 is lowest."""
    places = [low, high]
    if len(polynomial) == 3 and polynomial[2] > 0:
        places.append(min(max(-polynomial[1] / (2 * polynomial[2]), low), high))
    return min(places, key=lambda x: sum(c * x**i for i, c in enumerate(polynomial)))


def determine(plasticity: PlasticityEvents, goals: Goals, config: ChipConfig, trials: int) -> Coefficients:
    """The coefficients, if the plasticity events determine a plasticity that works.

    Parameters
    ----------
    plasticity : PlasticityEvents
    goals : Goals
    config : ChipConfig
        ``recalibration`` gives the working range.
    trials : int
        How many the means are taken over: for the advice in the message.

    Returns
    -------
    Coefficients

    Raises
    ------
    CalibrationError
        If the IO is blind to the US, its rate is outside the working range, or δp or δd is not above 0 in it.
    """
    check_sees_us(plasticity, trials)
    rational = coefficients(plasticity, goals)
    limits, rate_hz = config.recalibration, plasticity.io_rate_hz
    if not limits.rate_min_hz <= rate_hz <= limits.rate_max_hz:
        raise CalibrationError(
            f"spontaneous IO rate of {rate_hz:.3g} Hz: outside the working range, limits are "
            f"{limits.rate_min_hz:g} and {limits.rate_max_hz:g}; change the IO threshold, or recalibration."
            f"{'rate_min_hz' if rate_hz < limits.rate_min_hz else 'rate_max_hz'}"
        )
    try:
        check_working_range(rational, limits.rate_min_hz, limits.rate_max_hz)
    except CalibrationError as error:
        raise CalibrationError(f"{error}; {more_trials(trials)}, or ask for other changes of w") from None
    return rational


def calibrate(
    events: Events, config: ChipConfig, goals: Goals = Goals(), *, training_sha256: str
) -> ChipConfig:
    """A configuration with δp, δd, coefficients and the record of how they came about.

    Parameters
    ----------
    events : Events
        A training session, see :func:`plasticity_events`.
    config : ChipConfig
        All else; ``recalibration`` gives the working range, and becomes enabled.
    goals : Goals
    training_sha256 : str
        Of the file that the session came from, for the record.

    Returns
    -------
    ChipConfig

    Raises
    ------
    CalibrationError
        If the data determine no plasticity, or δp or δd is not above 0 in the working range.
    ConfigError
        If a format cannot hold the result.
    """
    counts = plasticity_events(events, config, noi_pass=goals.noi_pass)
    plasticity = counts.plasticity
    rational = determine(plasticity, goals, config, counts.trials)
    potentiation, depression = solve(plasticity, goals, plasticity.io_rate_hz)
    record = CalibrationRecord(
        p_bar=plasticity.p_bar,
        d_bar=plasticity.d_bar,
        k=plasticity.k,
        io_rate_hz=plasticity.io_rate_hz,
        costs=goals.costs,
        delta_a=goals.delta_a,
        trials_a=goals.trials_a,
        delta_e=goals.delta_e,
        trials_e=goals.trials_e,
        noi_pass=goals.noi_pass,
        residual=residual(plasticity, goals),
        pn_tdr=counts.pn.tdr,
        pn_far_hz=counts.pn.far_hz,
        io_tdr=counts.io.tdr,
        io_far_hz=counts.io.far_hz,
        training_sha256=training_sha256,
    )
    return config.replace(
        plasticity={"potentiation": potentiation, "depression": depression},
        recalibration={
            "enabled": True,
            "alpha": rational.alpha,
            "beta": rational.beta,
            "gamma": rational.gamma,
        },
        calibration=record.model_dump(),
    )
