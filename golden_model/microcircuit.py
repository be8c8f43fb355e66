"""The cerebellar microcircuit, processes 1 to 8, in float and in fixed point.

Source: Herreros et al. 2014 (doi 10.3389/fbioe.2014.00014), Appendix 1. In every step k of ``dt``,
with the detections P[k] (pontine nuclei: the CS) and I[k] (inferior olive: the US), evaluate in order,
with K = Λτ/dt and D = Λnoi/dt:

==  ==================  ==================================================================
 1  trace               age := 0 if P[k], else age+1 while active, idle once age = K;
                        active[k] = age < K; T[k] = τ0 - age·(τ0-τ1)/K while active, else 0
 7  plasticity trace    Π[k] = active[k-D]
 5  delayed inhibition  NΛ[k] = N[k-max(D,1)]
 6  gate                C[k] = I[k] and not NΛ[k]
 8  coincidence         w[k] = sat(w[k-1] + Π[k]·(δp - C[k]·δd))
 2  scaling             S[k] = w[k]·T[k]
 3  threshold           B[k] = active[k] and S[k] < θ; the CR is F[k] = B[k] and not B[k-1]
 4  inhibitory pulse    N[k] = 1 for the K steps that begin at each F
==  ==================  ==================================================================

Where this departs from the letter of the appendix:

- *The age is an integer counter.* The appendix ends the trace by comparing T with τ1, which floating
  point ends a step early or late. Its own eligibility waveform lasts Λτ, so: exactly K steps.
- *A CR needs an active trace.* Read literally, S falls through θ when the trace ends, and a CR fires
  at the end of every trace with w·τ1 > θ.
- *w below θ/τ0 fires at once.* Read literally (S must come from above θ) a strongly depressed w never
  fires again, the nucleo-olivary inhibition falls silent and w runs away downwards. At rest the Purkinje
  cell is active, that is, above threshold: B is false at rest and the first active step can fire.
- *The inhibition's delay is at least one step*, which keeps the loop causal when Λnoi = 0.
- *w saturates* at the limits of its format, in the float model too; the paper names no limits.
- *An IO detection in a step in which the IO channel is blanked is none*, neither for w nor for the rate.
- *A detection during a trace restarts it* (T = τ0) and may fire another CR; overlapping inhibitory
  pulses merge and never count 2.

Float and fixed share one step: :func:`_advance` runs on float64 or on int64 raw words. All quantisation
is in the parameters. In fixed point w·T is compared at full width, w changes by quantised δ, and the
trace is τ0 less age times a quantised slope, so that the fixed-point model is exact integer arithmetic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from .compiled import compiled
from .config import ChipConfig
from .fixed import to_real
from .recalibration import CYCLES_PER_CHANNEL, Outcome, Recalibration, RecalibrationFixed, RecalibrationFloat

__all__ = [
    "CYCLES_PER_CHANNEL",
    "SIGNALS",
    "Constants",
    "Delays",
    "Microcircuit",
    "MicrocircuitFixed",
    "MicrocircuitFloat",
    "Response",
]

Number = TypeVar("Number", np.float64, np.int64)

SIGNALS = {
    "age": 1,
    "active": 1,
    "trace": 1,
    "plasticity_trace": 7,
    "delayed_inhibition": 5,
    "gated_io": 6,
    "weight": 8,
    "scaled": 2,
    "below": 3,
    "cr": 3,
    "inhibition": 4,
}
"""Internal signals that a trace records, in the order of evaluation, with the process of each."""

_INDEX = {name: index for index, name in enumerate(SIGNALS)}
_AGE, _ACTIVE, _TRACE, _PLASTICITY, _DELAYED, _GATED, _WEIGHT, _SCALED, _BELOW, _CR, _INHIBITION = range(
    len(SIGNALS)
)


class Delays(NamedTuple):
    """Durations of the step, in steps.

    Attributes
    ----------
    trace : int
        K: of the trace, and of an inhibitory pulse.
    eligibility : int
        D of the plasticity trace (process 7).
    inhibition : int
        D of the inhibition (process 5), at least 1.
    """

    trace: int
    eligibility: int
    inhibition: int


class Constants(NamedTuple, Generic[Number]):
    """What stays the same in all steps: real values, or raw words.

    Attributes
    ----------
    start, slope : Number
        τ0, and the fall of the trace a step.
    theta : Number
        θ on the scale of w·T.
    low, high : Number
        Lowest and highest w.
    """

    start: Number
    slope: Number
    theta: Number
    low: Number
    high: Number


_STATE = np.dtype(
    [
        ("age", np.int64),
        ("pulse_left", np.int64),  # steps left of the inhibitory pulse
        ("below", np.int64),  # B of the last step
        ("active_slot", np.int64),  # position in the ring of delayed `active`
        ("inhibition_slot", np.int64),  # position in the ring of delayed inhibition
    ]
)
"""What a channel remembers beside w and its rings."""


@dataclass(frozen=True)
class Response(Generic[Number]):
    """What a microcircuit answers to a stretch of detections.

    Attributes
    ----------
    cr : ndarray of bool, shape of the detections
        True in each step in which a conditioned response is triggered.
    weight : ndarray, same shape
        w after each step: real values (float64) or raw words (int64), as the model computes.
    signals : mapping of str to ndarray
        Every internal signal of :data:`SIGNALS`, of the same shape; empty unless asked for.
    recalibrations : sequence of Outcome
        Each recalibration that ended, where the configuration has them enabled.
    """

    cr: npt.NDArray[np.bool_]
    weight: npt.NDArray[Number]
    signals: Mapping[str, npt.NDArray[Any]]
    recalibrations: Sequence[Outcome[Number]] = ()


@compiled()
def _advance(  # type: ignore[no-untyped-def]
    pn, io, weight, potentiation, depression, states, active_ring, inhibition_ring,
    delays, constants, cr_out, weight_out, signals,
):  # fmt: skip
    """Advance every channel by ``pn.shape[0]`` steps, in place; the only statement of the step.

    ``states[c]`` is a :data:`_STATE`. A ring holds the last D values of a delayed signal: read, then
    overwritten in the same step.
    """
    trace_steps, delay, noi_delay = delays
    start, slope, theta, low, high = constants
    zero = start - start
    traced = signals.shape[0] > 0
    for c in range(pn.shape[1]):
        state = states[c]
        age, left, below_before = state.age, state.pulse_left, state.below
        p, q = state.active_slot, state.inhibition_slot
        w = weight[c]
        for k in range(pn.shape[0]):
            # 1 trace
            if pn[k, c]:
                age = 0
            elif age < trace_steps:
                age += 1
            active = age < trace_steps
            trace = start - age * slope if active else zero
            # 7 plasticity trace
            if delay > 0:
                eligible = active_ring[c, p]
                active_ring[c, p] = active
                p = p + 1 if p + 1 < delay else 0
            else:
                eligible = active
            # 5 delayed inhibition
            inhibited = inhibition_ring[c, q]
            # 6 gate
            gated = io[k, c] and not inhibited
            # 8 coincidence
            if eligible:
                change = potentiation[c] - depression[c] if gated else potentiation[c]
                w = min(max(w + change, low), high)
            # 2 scaling
            scaled = w * trace
            # 3 threshold
            below = active and scaled < theta
            fires = below and not below_before
            below_before = np.int64(below)
            # 4 inhibitory pulse
            if fires:
                left = trace_steps
            inhibits = left > 0
            if inhibits:
                left -= 1
            inhibition_ring[c, q] = inhibits
            q = q + 1 if q + 1 < noi_delay else 0

            cr_out[k, c] = fires
            weight_out[k, c] = w
            if traced:
                signals[_AGE, k, c] = age
                signals[_ACTIVE, k, c] = active
                signals[_TRACE, k, c] = trace
                signals[_PLASTICITY, k, c] = eligible
                signals[_DELAYED, k, c] = inhibited
                signals[_GATED, k, c] = gated
                signals[_WEIGHT, k, c] = w
                signals[_SCALED, k, c] = scaled
                signals[_BELOW, k, c] = below
                signals[_CR, k, c] = fires
                signals[_INHIBITION, k, c] = inhibits
        weight[c] = w
        state.age = age
        state.pulse_left = left
        state.below = below_before
        state.active_slot = p
        state.inhibition_slot = q


class Microcircuit(ABC, Generic[Number]):
    """State and parameters of `channels` independent microcircuits; the base of both models.

    Parameters
    ----------
    config : ChipConfig
        Parameters and formats.
    channels : int
        Microcircuits side by side, at least 1.

    Attributes
    ----------
    weight, potentiation, depression : ndarray, shape (channels,)
        w, δp and δd of each channel, writable between steps: real values in
        :class:`MicrocircuitFloat`, raw words in their formats in :class:`MicrocircuitFixed`.
    recalibration : Recalibration or None
        What changes δp and δd in between, where the configuration has it enabled.
    delays : Delays
    constants : Constants

    Raises
    ------
    ValueError
        If `channels` is below 1, or too many to recalibrate within a period.
    """

    recalibration: Recalibration[Number] | None
    weight: npt.NDArray[Number]
    potentiation: npt.NDArray[Number]
    depression: npt.NDArray[Number]
    constants: Constants[Number]
    _initial: tuple[Number, Number, Number]

    def __init__(self, config: ChipConfig, channels: int = 1) -> None:
        if channels < 1:
            raise ValueError(f"channels = {channels}: at least 1")
        self.config = config
        self.channels = channels
        self.delays = Delays(config.trace_steps, config.eligibility_delay_steps, config.noi_delay_steps)
        self.constants, self._initial = self._parameters(config)
        words = config.quantised
        self._potentiation_shift, self._depression_shift = words.potentiation_shift, words.depression_shift
        self.recalibration = self._recalibration() if config.recalibration.enabled else None
        self.reset()

    @staticmethod
    @abstractmethod
    def _parameters(config: ChipConfig) -> tuple[Constants[Number], tuple[Number, Number, Number]]:
        """The constants, and the initial (w, δp, δd)."""

    @abstractmethod
    def _recalibration(self) -> Recalibration[Number]:
        """The recalibration of the same number type."""

    @abstractmethod
    def plasticity(self) -> tuple[npt.NDArray[Number], npt.NDArray[Number]]:
        """(δp, δd) of each channel on the scale of w."""

    @property
    @abstractmethod
    def weight_real(self) -> npt.NDArray[np.float64]:
        """W of each channel as real values."""

    def reset(self) -> None:
        """Every channel at rest, with the configured w, δp, δd and coefficients."""
        if self.recalibration is not None:
            self.recalibration.reset()
        self.weight, self.potentiation, self.depression = (
            np.full(self.channels, value) for value in self._initial
        )
        self._states = np.zeros(self.channels, _STATE)
        self._states["age"] = self.delays.trace
        self._active_ring = np.zeros((self.channels, max(self.delays.eligibility, 1)), np.bool_)
        self._inhibition_ring = np.zeros((self.channels, self.delays.inhibition), np.bool_)

    def step(self, pn: npt.ArrayLike, io: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """One step of every channel.

        Parameters
        ----------
        pn, io : array_like of bool, shape (channels,)
            Detections of this step.

        Returns
        -------
        ndarray of bool, shape (channels,)
            The channels that trigger a CR.
        """
        first, second = (np.reshape(np.asarray(x, np.bool_), (1, -1)) for x in (pn, io))
        return np.asarray(self.process(first, second).cr[0])

    def process(
        self,
        pn: npt.ArrayLike,
        io: npt.ArrayLike,
        *,
        blanked: npt.ArrayLike | None = None,
        trace: bool = False,
    ) -> Response[Number]:
        """Many steps of every channel; the state carries over to the next call.

        Parameters
        ----------
        pn, io : array_like of bool, shape (steps, channels), or (steps,) for one channel
            Detections, one a step.
        blanked : array_like of bool, same shape, optional
            Steps in which the IO channel was blanked; else in none.
        trace : bool
            Record every internal signal too (eleven arrays).

        Returns
        -------
        Response
            Arrays of the shape of the detections.

        Raises
        ------
        ValueError
            If the shapes differ or do not have this many channels.
        """
        first, second = (np.ascontiguousarray(x, np.bool_) for x in (pn, io))
        given = first.shape
        hidden = np.zeros(given, np.bool_) if blanked is None else np.ascontiguousarray(blanked, np.bool_)
        for name, other in (("io", second), ("blanked", hidden)):
            if other.shape != given:
                raise ValueError(f"pn has shape {given}, {name} has {other.shape}: must be equal")
        if len(given) not in (1, 2) or (given[1] if len(given) == 2 else 1) != self.channels:
            raise ValueError(f"detections of shape {given}: needs (steps, {self.channels})")
        shape: tuple[int, int] = (given[0], self.channels)
        cr = np.empty(shape, np.bool_)
        weight = np.empty(shape, self.weight.dtype)
        signals = np.empty((len(SIGNALS) if trace else 0, *shape), self.weight.dtype)
        first, hidden = first.reshape(shape), hidden.reshape(shape)
        second = second.reshape(shape) & ~hidden
        recalibrations: list[Outcome[Number]] = []
        start = 0
        while start < shape[0]:
            stretch = shape[0] - start
            if self.recalibration is not None:
                stretch = min(stretch, self.recalibration.begin())
            part = slice(start, start + stretch)
            _advance(
                first[part], second[part],
                self.weight, *self.plasticity(),
                self._states, self._active_ring, self._inhibition_ring,
                self.delays, self.constants, cr[part], weight[part], signals[:, part],
            )  # fmt: skip
            if self.recalibration is not None:
                outcome = self.recalibration.observe(
                    stretch, second[part].sum(axis=0), hidden[part].sum(axis=0),
                    self.potentiation, self.depression,
                )  # fmt: skip
                recalibrations += [] if outcome is None else [outcome]
            start += stretch
        named = {name: signals[i].reshape(given) for name, i in _INDEX.items()} if trace else {}
        return Response(cr.reshape(given), weight.reshape(given), named, recalibrations)


class MicrocircuitFloat(Microcircuit[np.float64]):
    """The microcircuit in double precision; w keeps within the limits of its format."""

    @staticmethod
    def _parameters(config: ChipConfig) -> Any:
        limits = config.formats.weight
        constants = Constants(
            start=np.float64(config.trace.start),
            slope=np.float64(config.trace_slope),
            theta=np.float64(config.threshold.level),
            low=np.float64(limits.min),
            high=np.float64(limits.max),
        )
        plasticity = config.plasticity
        return constants, (config.weight.initial, plasticity.potentiation, plasticity.depression)

    def _recalibration(self) -> Any:
        return RecalibrationFloat(self.config, self.channels)

    def plasticity(self) -> Any:
        return self.potentiation, self.depression

    @property
    def weight_real(self) -> npt.NDArray[np.float64]:
        """W of each channel."""
        return self.weight.copy()


class MicrocircuitFixed(Microcircuit[np.int64]):
    """The microcircuit on raw words, bit for bit what the gateware computes.

    w, δp and δd are raw words in their formats; δ is shifted left to the scale of w where its own
    format is coarser. S and θ are compared on the scale of the full product w·T.
    """

    @staticmethod
    def _parameters(config: ChipConfig) -> Any:
        words, limits = config.quantised, config.formats.weight
        constants = Constants(
            start=np.int64(words.trace_start),
            slope=np.int64(words.trace_slope),
            theta=np.int64(words.threshold << words.threshold_shift),
            low=np.int64(limits.raw_min),
            high=np.int64(limits.raw_max),
        )
        initial = (
            np.int64(words.weight_initial),
            np.int64(words.potentiation),
            np.int64(words.depression),
        )
        return constants, initial

    def _recalibration(self) -> Any:
        return RecalibrationFixed(self.config, self.channels)

    def plasticity(self) -> Any:
        return self.potentiation << self._potentiation_shift, self.depression << self._depression_shift

    @property
    def weight_real(self) -> npt.NDArray[np.float64]:
        """W of each channel as real values."""
        return np.asarray(to_real(self.weight, self.config.formats.weight))
