"""Behaviour as statistics T(x): what a session of the microcircuit came to, in seven numbers.

The one definition for every method and every model. A session is that of the paper's figure 10, paired trials
and then CS alone; a second one, of unpaired trials, starts from the initial w again. A statistic that the
trials do not show is NaN.

Source: Herreros et al. 2014, "Use of the model with simulated data" and figures 10 and 14 to 16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from ..calibration.goals import CalibrationError
from ..calibration.plasticity_events import io_quality, pn_quality
from ..config import ChipConfig
from ..events import Events, Steps
from ..experiment.engine import Engine
from ..experiment.protocol import (
    IO_QUALITY,
    PN_QUALITY,
    DetectionQuality,
    Protocol,
    Trial,
    score_trials,
    usual_isi_s,
)
from ..fixed import to_real
from ..microcircuit import Microcircuit, MicrocircuitFixed, MicrocircuitFloat

__all__ = [
    "NAMES",
    "STATISTICS",
    "VARIANTS",
    "Energy",
    "Experiment",
    "Statistic",
    "Variant",
    "behaviour",
    "conditioned",
    "energy",
]

Reals = npt.NDArray[np.float64]
Variant = Literal["float", "fixed", "engine-float", "engine-fixed"]
"""Step by step, or from event to event; the engines are bit for bit, or within rounding, the same."""
VARIANTS: tuple[Variant, ...] = get_args(Variant)


@dataclass(frozen=True)
class Statistic:
    """One entry of T.

    Attributes
    ----------
    name : str
    unit : str
    scale : float
        A difference that matters to a user: the unit in which constraints are compared.
    text : str
    least, most : float
        That it can be.
    """

    name: str
    unit: str
    scale: float
    text: str
    least: float = 0.0
    most: float = math.inf


_MOST_TRIALS = 10_000
"""Of a kind: a day of them, and far below the longest session."""
_END = 40
"""Trials at the end of a phase that a rate is taken over."""
STATISTICS = (
    Statistic("cr_rate", "", 0.05, f"share of the last {_END} paired trials with a CR", most=1.0),
    Statistic(
        "well_timed", "", 0.05, f"share of the last {_END} paired trials with a well-timed CR", most=1.0
    ),
    Statistic(
        "latency", "s", 0.01, f"mean from CS to CR in the last {_END} paired trials; the ISI without CRs"
    ),
    Statistic("first_cr", "trials", 5.0, "first paired trial with a CR; one after the last without", 1.0),
    Statistic("extinction", "", 0.05, f"share of the last {_END} CS-alone trials with a CR", most=1.0),
    Statistic("drift", "", 0.02, "change of w over the unpaired trials", -1.0, 1.0),
    Statistic("energy", "kbit/s", 50.0, "bit products of multiplications and bits of memory accesses"),
)
NAMES = tuple(statistic.name for statistic in STATISTICS)


@dataclass(frozen=True)
class Experiment:
    """The two sessions that T is measured in.

    Attributes
    ----------
    paired, cs_alone, unpaired : int
        Trials. With 0 of one kind there are no statistics of it.
    pn, io : DetectionQuality
    isi_s : float

    Raises
    ------
    ValueError
        If a number or an interval is out of range, or there is no trial before the unpaired ones.
    """

    paired: int = 120
    cs_alone: int = 180
    unpaired: int = 100
    pn: DetectionQuality = PN_QUALITY
    io: DetectionQuality = IO_QUALITY
    isi_s: float = 0.3

    def __post_init__(self) -> None:
        for name in ("paired", "cs_alone", "unpaired"):
            if not 0 <= getattr(self, name) <= _MOST_TRIALS:
                raise ValueError(f"{name} = {getattr(self, name)}: limits are 0 and {_MOST_TRIALS}")
        if not self.paired + self.cs_alone:
            raise ValueError("paired and cs_alone are both 0: needs a trial")
        Protocol((Trial.PAIRED,), self.pn, self.io, self.isi_s)

    @classmethod
    def seen(cls, events: Events, config: ChipConfig) -> Self:
        """The experiment of a recorded session: its trials, and the detectors as they did in it.

        Raises
        ------
        ValueError
            If it is other than paired trials and then CS alone.
        """
        if not events.cs.size:
            raise ValueError("cs: has no trials")
        ends = np.append(events.cs[1:], events.n_steps)
        first = np.searchsorted(events.us, events.cs)
        with_us = first < np.searchsorted(events.us, ends)
        isi_s = usual_isi_s(events, config) if with_us.any() else cls.isi_s
        due = None if isi_s is None else config.steps(isi_s)
        paired = int(with_us.sum())
        if due is None or not np.array_equal(with_us, np.arange(events.cs.size) < paired):
            raise ValueError("us: needs paired trials first, all with one interval to the US, then CS alone")
        if (events.us[first[:paired]] - events.cs[:paired] != due).any():
            raise ValueError(f"us: trials with another interval to the US than most have, {isi_s:g} s")
        try:
            pn = _evoking(pn_quality(events, config))
            io = _evoking(io_quality(events, config)) if paired else IO_QUALITY
        except CalibrationError as error:
            raise ValueError(str(error)) from None
        return cls(paired, events.cs.size - paired, 0, pn, io, cls.isi_s if isi_s is None else isi_s)

    def sessions(self, config: ChipConfig, seed: int) -> tuple[Events, Events | None]:
        """Conditioning and unpaired session of a seed; None for the latter where it has no trials."""
        trials = (Trial.PAIRED,) * self.paired + (Trial.CS_ALONE,) * self.cs_alone
        protocol = Protocol(trials, self.pn, self.io, self.isi_s)
        # Two streams of one seed.
        first, second = np.random.SeedSequence(seed).generate_state(2, np.uint64)
        session = protocol.events(config, int(first))
        if not self.unpaired:
            return session, None
        unpaired = replace(protocol, trials=(Trial.UNPAIRED,) * self.unpaired)
        return session, unpaired.events(config, int(second))


def _evoking(measured: DetectionQuality) -> DetectionQuality:
    """The detector that is measured so: in what is measured, chance detections in a window are hits too."""
    start, stop = measured.window_s
    missed = (1 - measured.tdr) * math.exp(measured.far_hz * (stop - start))
    return replace(measured, tdr=max(0.0, 1 - missed))


@dataclass(frozen=True)
class Energy:
    """Operations of a session.

    Attributes
    ----------
    multiplications, accesses : int
        Products of w and T; words read from or written to the state's memory.
    product_bits, access_bits : int
        Width of w times width of T, summed; bits of those words.
    seconds : float
        Of the session.
    """

    multiplications: int
    accesses: int
    product_bits: int
    access_bits: int
    seconds: float

    @property
    def rate(self) -> float:
        """Thousands of bits a second, products and accesses together."""
        return (self.product_bits + self.access_bits) / self.seconds / 1000


def energy(config: ChipConfig, events: Events, *, event_driven: bool) -> Energy:
    """What the microcircuit computes in a session.

    Parameters
    ----------
    config : ChipConfig
        Its formats are the widths.
    events : Events
    event_driven : bool
        A circuit that is asleep but for the steps with an active trace or plasticity trace; else it computes
        each step, as the gateware does: reads and writes w and its other state, and multiplies.
    """
    formats = config.formats
    if event_driven:
        active = _covered(events.pn, config.trace_steps, events.n_steps)
        both = np.sort(np.concatenate([events.pn, events.pn + config.eligibility_delay_steps]))
        steps, products = _covered(both, config.trace_steps, events.n_steps), active
    else:
        steps = products = events.n_steps
    age = config.trace_steps.bit_length()
    state = formats.weight.width + formats.trace.width + 2 * age + 1
    return Energy(
        multiplications=products,
        accesses=2 * steps,
        product_bits=products * formats.weight.width * formats.trace.width,
        access_bits=2 * steps * state,
        seconds=events.n_steps * config.time.step_s,
    )


def _covered(starts: Steps, length: int, n_steps: int) -> int:
    """Steps in the union of stretches of one length."""
    inside = starts[starts < n_steps]
    if not inside.size:
        return 0
    gaps = np.minimum(np.diff(np.append(inside, n_steps)), length)
    return int(gaps.sum())


def behaviour(
    config: ChipConfig,
    experiment: Experiment,
    seeds: Sequence[int],
    *,
    variant: Variant = "engine-fixed",
    event_driven: bool = False,
) -> Reals:
    """T of a configuration, once for each seed.

    Parameters
    ----------
    config : ChipConfig
    experiment : Experiment
    seeds : sequence of int
    variant : {"float", "fixed", "engine-float", "engine-fixed"}
    event_driven : bool
        How the energy is counted: see :func:`energy`.

    Returns
    -------
    ndarray, shape (seeds, len(STATISTICS))
        NaN for what the experiment has no trials for.
    """
    run = _runner(config, variant)
    found = np.empty((len(seeds), len(STATISTICS)))
    for row, seed in enumerate(seeds):
        session, unpaired = experiment.sessions(config, seed)
        cr, _ = run(session, session.cs)
        found[row] = conditioned(cr, session, config, experiment)
        if unpaired is not None:
            _, drifted = run(unpaired, np.array([unpaired.n_steps - 1]))
            found[row, _DRIFT] = drifted[0] - config.weight.initial
        found[row, _ENERGY] = energy(config, session, event_driven=event_driven).rate
    return found


_DRIFT, _ENERGY = NAMES.index("drift"), NAMES.index("energy")


def conditioned(cr: Steps, session: Events, config: ChipConfig, experiment: Experiment) -> Reals:
    """T of one conditioning session, whichever model or chip has answered it.

    Parameters
    ----------
    cr : ndarray of int64
        Steps with a CR.
    session : Events
        With the trials of `experiment`: the paired ones, then CS alone.
    config : ChipConfig
        Of the microcircuit: step, and length of a trace.
    experiment : Experiment

    Returns
    -------
    ndarray, shape (len(STATISTICS),)
        NaN for drift, for energy and for what the trials do not show.
    """
    trials = score_trials(cr, np.zeros(session.cs.size), session, config, isi_s=experiment.isi_s)
    # What the CS evokes: a trace that began in the window of a true detection has ended by then.
    latest = experiment.pn.window_s[1] + config.trace.duration_s + config.time.step_s / 2
    with np.errstate(invalid="ignore"):
        responded = trials.latency_s <= latest
    found = np.full(len(STATISTICS), np.nan)
    paired, alone = responded[: experiment.paired], responded[experiment.paired :]
    if paired.size:
        end = slice(max(paired.size - _END, 0), paired.size)
        latencies = trials.latency_s[end][responded[end]]
        found[:4] = (
            responded[end].mean(),
            trials.well_timed[end].mean(),
            latencies.mean() if latencies.size else experiment.isi_s,
            paired.argmax() + 1 if paired.any() else paired.size + 1,
        )
    if alone.size:
        found[4] = alone[-_END:].mean()
    return found


def _runner(config: ChipConfig, variant: Variant) -> Any:
    """(events, steps) -> CRs, and w after these steps."""
    if variant in ("engine-float", "engine-fixed"):
        engine: Engine[Any] = Engine(config, "float" if variant == "engine-float" else "fixed")

        def jump(events: Events, steps: Steps) -> tuple[Steps, Reals]:
            course = engine.run(events)
            return course.cr, course.weight(steps)

        return jump
    models: dict[str, type[Microcircuit[Any]]] = {"float": MicrocircuitFloat, "fixed": MicrocircuitFixed}
    circuit = models[variant](config)

    def walk(events: Events, steps: Steps) -> tuple[Steps, Reals]:
        circuit.reset()
        response = circuit.process(events.pn_steps, events.io_steps)
        weight = response.weight[steps]
        real = to_real(weight, config.formats.weight) if variant == "fixed" else weight
        return np.flatnonzero(response.cr), np.asarray(real, np.float64)

    return walk
