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
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .config import CalibrationRecord, ChipConfig
from .events import Events, Steps
from .protocol import IO_QUALITY, PN_QUALITY, DetectionQuality
from .recalibration import Coefficients

__all__ = [
    "CalibrationError",
    "Goals",
    "IoCounts",
    "PlasticityEvents",
    "PnCounts",
    "TrainingCounts",
    "calibrate",
    "check_session",
    "check_working_range",
    "coefficients",
    "count_io",
    "count_pn",
    "determine",
    "eligible_steps",
    "expected_error",
    "io_quality",
    "pair_counts",
    "plasticity_events",
    "pn_quality",
    "residual",
    "solve",
]

_PAPER_TRIALS = 30
_PAPER_SPONTANEOUS_S = 120.0
_LARGEST_CONDITION = 1e6
"""Condition number, with scaled columns, beyond which δp and δd cannot be told apart."""
_SURE = 3.0
"""Standard errors by which a difference is called one."""


class CalibrationError(ValueError):
    """Training data that determine no plasticity; the message says what more to record."""


@dataclass(frozen=True)
class Goals:
    """What the plasticity shall do.

    Parameters
    ----------
    delta_a, delta_e : float
        Change of w that acquisition and extinction need: 0.5 to 0.3, and back.
    trials_a, trials_e : float
        Trials in which they shall be done.
    costs : (float, float, float)
        Weights of the squared residuals of acquisition, extinction and stability. The paper weights stability
        most, since it alone ensures that pairing lowers w and CS alone raises it.
    noi_pass : float
        σ̄: share of the IO detections that the inhibition lets through in extinction.

    Raises
    ------
    CalibrationError
        If a value is out of range.
    """

    delta_a: float = 0.2
    trials_a: float = 40.0
    delta_e: float = 0.2
    trials_e: float = 40.0
    costs: tuple[float, float, float] = (1.0, 1.0, 10.0)
    noi_pass: float = 0.5

    def __post_init__(self) -> None:
        for name in ("delta_a", "trials_a", "delta_e", "trials_e"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise CalibrationError(f"{name} = {value:g}: must be above 0")
        c1, c2, c3 = self.costs
        if not (all(math.isfinite(cost) and cost > 0 for cost in self.costs) and c3 > c1 and c3 > c2):
            raise CalibrationError(
                f"costs = {c1:g}, {c2:g}, {c3:g}: must be above 0, and the third, of stability, the largest"
            )
        if not 0 <= self.noi_pass <= 1:
            raise CalibrationError(f"noi_pass = {self.noi_pass:g}: a share, limits are 0 and 1")

    @property
    def changes(self) -> tuple[float, float]:
        """Wanted change of w a trial: (-Δa/Ta, +Δe/Te)."""
        return -self.delta_a / self.trials_a, self.delta_e / self.trials_e


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


# --- from detections to plasticity events -----------------------------------------------------


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
    edges = np.zeros(n_steps + 1, np.int64)
    np.add.at(edges, np.minimum(pn + delay, n_steps), 1)
    np.add.at(edges, np.minimum(pn + delay + length, n_steps), -1)
    return np.cumsum(edges[:-1]) > 0


def plasticity_events(
    events: Events, config: ChipConfig, *, noi_pass: float = Goals.noi_pass
) -> TrainingCounts:
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
    start = check_session(events)
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
    start, quiet = check_session(events), ~events.blanked_steps
    evoked = events.pn[_in_window(events.pn, events.cs, PN_QUALITY, step_s)]
    if not evoked.size:
        first, last = PN_QUALITY.window_s
        raise CalibrationError(
            f"no PN detection {1000 * first:g} to {1000 * last:g} ms after any of the {events.cs.size} CS: "
            f"lower the PN threshold, or move the electrode; {_more_trials(events.cs.size)}"
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
    start, blanked = check_session(events), events.blanked_steps
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
            f"{_more_trials(trials)}"
        )


def _no_spontaneous(name: str, events: Events, config: ChipConfig) -> CalibrationError:
    length_s = (events.n_steps - check_session(events)) * config.time.step_s
    return CalibrationError(
        f"no spontaneous {name} detection in {length_s:.3g} s without stimuli: record "
        f"{max(_PAPER_SPONTANEOUS_S - length_s, 2 * length_s):.3g} s more, or lower the {name} threshold"
    )


def check_session(events: Events) -> int:
    """The start of the spontaneous period; CalibrationError if a part of the session is missing."""
    start = events.spontaneous_start
    if start is None:
        raise CalibrationError(
            "spontaneous_start: entry is missing, the step where the paired trials have ended"
        )
    if not events.cs.size:
        raise CalibrationError(f"cs: no trial; {_more_trials(0)}")
    if events.cs[-1] >= start:
        raise CalibrationError(f"spontaneous_start = {start}: must be after the last CS, {events.cs[-1]}")
    ends = np.append(events.cs[1:], start)
    without = np.flatnonzero(np.searchsorted(events.us, events.cs) == np.searchsorted(events.us, ends))
    if without.size:
        raise CalibrationError(
            f"us: none after cs[{without[0]}] = {events.cs[without[0]]}; every training trial is paired"
        )
    return start


def _more_trials(trials: int) -> str:
    return f"record {max(_PAPER_TRIALS - trials, _PAPER_TRIALS // 3)} paired trials more"


def _in_window(
    steps: Steps, triggers: Steps, quality: DetectionQuality, step_s: float
) -> npt.NDArray[np.bool_]:
    """Which of the steps are in the window of a true detection after a trigger."""
    first, stop = (round(seconds / step_s) for seconds in quality.window_s)
    trigger = np.searchsorted(triggers, steps - first, side="right") - 1
    return (trigger >= 0) & (steps < triggers[trigger] + stop)


def pn_quality(events: Events, config: ChipConfig) -> DetectionQuality:
    """Measured TDR and FAR of the PN detections, in the paper's window after each CS."""
    return _quality(events.pn, events.cs, events, PN_QUALITY, config.time.step_s)


def io_quality(events: Events, config: ChipConfig) -> DetectionQuality:
    """Measured TDR and FAR of the IO detections that count, in the paper's window after each US."""
    io = events.io[~events.blanked_steps[events.io]]
    return _quality(io, events.us, events, IO_QUALITY, config.time.step_s)


def _quality(
    steps: Steps, triggers: Steps, events: Events, paper: DetectionQuality, step_s: float
) -> DetectionQuality:
    """Measured TDR and FAR, in the paper's windows."""
    inside = _in_window(steps, triggers, paper, step_s)
    first, stop = (round(seconds / step_s) for seconds in paper.window_s)
    hit = np.searchsorted(steps, triggers + stop) > np.searchsorted(steps, triggers + first)
    outside_s = (events.n_steps - triggers.size * (stop - first)) * step_s
    # A ratio of 1 would need infinitely many detections: half a trial is the least miss to be claimed.
    tdr = min(np.count_nonzero(hit) / triggers.size, 1 - 0.5 / triggers.size)
    return DetectionQuality(tdr, float(np.count_nonzero(~inside) / outside_s), paper.window_s)


# --- from plasticity events to δp, δd and the coefficients ---------------------------------------


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
        raise CalibrationError(f"the system is singular at an IO rate of {rate_hz:g} Hz: {plasticity}")
    potentiation, depression = np.linalg.lstsq(rows / scale, right, rcond=None)[0] / scale
    return float(potentiation), float(depression)


def residual(plasticity: PlasticityEvents, goals: Goals) -> float:
    """Root of the weighted sum of squares that the best δp and δd leave, in w a trial."""
    rows, right = _system(plasticity, goals, plasticity.io_rate_hz)
    return float(np.linalg.norm(rows @ solve(plasticity, goals, plasticity.io_rate_hz) - right))


def expected_error(plasticity: PlasticityEvents, goals: Goals, trials: int, between: float) -> float:
    """The residual, and the chance that is in a calibration from so few trials, in w a trial.

    Depressions are counts, so that what they do to w in `trials` trials varies by chance as δd²·(their
    number).
    Without it the smallest residual is one of many that are 0 by accident, whatever the channels detect.

    Parameters
    ----------
    plasticity : PlasticityEvents
    goals : Goals
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
    return math.sqrt(residual(plasticity, goals) ** 2 + variance)


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
    _check_excess(plasticity, trials)
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
        raise CalibrationError(f"{error}; {_more_trials(trials)}, or ask for other changes of w") from None
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


def _check_excess(plasticity: PlasticityEvents, trials: int) -> None:
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
