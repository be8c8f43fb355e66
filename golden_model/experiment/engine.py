"""The microcircuit in closed form between events: cost grows with detections, not with silence.

Between two events (a detection of the pontine nuclei (PN), the end of a trace, the beginning or end of the
plasticity trace Π, a detection of the inferior olive (IO) that counts) nothing happens but that, with n the
steps since the last change::

    w[n] = min(w[0] + n·δp, highest w)  while Π, else w[0]         T[n] = T[0] - n·slope while active
    S[n] = w[n]·T[n]

S is concave in n, as the product of a line that rises and one that falls. So the steps in which S is below
θ are the first few and the last few of a stretch, and bisection finds both in logarithmic time: where S
falls through θ there is a conditioned response (CR).

The same equations, parameters and order of processes as ``microcircuit``, with its constants and its
recalibration. In fixed point the closed form is exact, and w, CRs and recalibrations are those of
``MicrocircuitFixed`` bit for bit. In float, ``w + n·δp`` is rounded once where the model that goes step by
step rounds n times: w differs by up to 2⁻⁵³ for each step with Π so far, and a CR by a step where S comes
that near to θ.

Source: Herreros et al. 2014 (doi 10.3389/fbioe.2014.00014), Appendix 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from ..compiled import compiled
from ..config import ChipConfig
from ..events import Events, Steps
from ..fixed import to_real
from ..microcircuit import Microcircuit, MicrocircuitFixed, MicrocircuitFloat
from ..recalibration import Outcome
from .masking import StimulationMask

__all__ = ["Course", "Engine", "EngineModel"]

EngineModel = Literal["float", "fixed"]
Number = TypeVar("Number", np.float64, np.int64)

_FAR = 10**12
"""More steps than any session has."""
(
    _DETECTED, _ELIGIBLE, _BELOW,   # steps of the last PN detection and of the last one delayed; B
    _PN, _DELAYED, _IO, _GATE, _BLANK,  # the next PN detection, the same delayed, IO, CR to inhibit, stretch
    _CRS, _PIECES, _BLANKS,         # how many there are
    _COUNT, _TRAIN,                 # unblanked IO detections so far; CR that started the last train
    _BASE, _TOP,                    # the line that w is on: its first step, and n where w is highest
) = range(15)  # fmt: skip


@compiled(nogil=True)
def _weight(step, line, state, high):  # type: ignore[no-untyped-def]
    """W after a step, from the line that it is on: (w before the line, change a step)."""
    n = step - state[_BASE] + 1
    if n >= state[_TOP]:
        return high
    return min(line[0] + n * line[1], high)


@compiled(nogil=True)
def _scaled(step, line, state, constants):  # type: ignore[no-untyped-def]
    """S in a step with an active trace."""
    trace = constants.start - (step - state[_DETECTED]) * constants.slope
    return _weight(step, line, state, constants.high) * trace


@compiled(nogil=True)
def _falls_through(first, last, line, state, constants):  # type: ignore[no-untyped-def]
    """The first step with S below θ, where S is not below it in step `first` but is in `last`."""
    while last - first > 1:
        middle = (first + last) // 2
        if _scaled(middle, line, state, constants) < constants.theta:
            last = middle
        else:
            first = middle
    return last


@compiled(nogil=True)
def _highest(first, last, line, state, constants):  # type: ignore[no-untyped-def]
    """The step from `first` to `last` with the highest S."""
    while first < last:
        middle = (first + last) // 2
        if _scaled(middle + 1, line, state, constants) > _scaled(middle, line, state, constants):
            first = middle + 1
        else:
            last = middle
    return first


@compiled(nogil=True)
def _listen(stop, io, state, blanks):  # type: ignore[no-untyped-def]
    """Count the unblanked IO detections before step `stop`; whether there is one in the step before it."""
    heard = False
    while state[_IO] < io.size and io[state[_IO]] < stop:
        at = io[state[_IO]]
        state[_IO] += 1
        while state[_BLANK] < state[_BLANKS] and blanks[state[_BLANK], 1] <= at:
            state[_BLANK] += 1
        if state[_BLANK] == state[_BLANKS] or at < blanks[state[_BLANK], 0]:
            state[_COUNT] += 1
            heard = at == stop - 1
    return heard


@compiled(nogil=True)
def _respond(step, state, windows, recovery, crs, blanks):  # type: ignore[no-untyped-def]
    """A CR, and the steps that its train blanks."""
    crs[state[_CRS]] = step
    state[_CRS] += 1
    if len(windows) == 0 or step - state[_TRAIN] < recovery:
        return
    state[_TRAIN] = step
    for i in range(len(windows)):
        first, stop = step + windows[i, 0], step + windows[i, 1]
        last = state[_BLANKS] - 1
        if last >= 0 and first <= blanks[last, 1]:
            blanks[last, 1] = max(blanks[last, 1], stop)
        else:
            blanks[last + 1, 0] = first
            blanks[last + 1, 1] = stop
            state[_BLANKS] += 1


@compiled(nogil=True)
def _jump(  # type: ignore[no-untyped-def]
    now, stop, pn, io, state, line, delays, constants, potentiation, depression,
    windows, recovery, crs, pieces, values, blanks,
):  # fmt: skip
    """Advance from step `now` to `stop`, or until an output is full; returns the step that was reached."""
    trace_steps, delay, noi_delay = delays
    theta, low, high = constants.theta, constants.low, constants.high
    zero = high - high
    t = now
    while t < stop:
        if (
            state[_CRS] + 2 > len(crs)
            or state[_PIECES] + 1 > len(pieces)
            or state[_BLANKS] + 2 * len(windows) > len(blanks)
        ):
            return t
        # 1, 7 trace and plasticity trace
        if state[_PN] < pn.size and pn[state[_PN]] == t:
            state[_DETECTED] = t
            state[_PN] += 1
        if state[_DELAYED] < pn.size and pn[state[_DELAYED]] + delay == t:
            state[_ELIGIBLE] = t
            state[_DELAYED] += 1
        active = t - state[_DETECTED] < trace_steps
        eligible = t - state[_ELIGIBLE] < trace_steps
        # 5, 6 delayed inhibition and gate
        gated = _listen(t + 1, io, state, blanks) and eligible
        if gated:
            while state[_GATE] < state[_CRS] and crs[state[_GATE]] <= t - noi_delay:
                state[_GATE] += 1
            gated = state[_GATE] == 0 or t - noi_delay - crs[state[_GATE] - 1] >= trace_steps
        # Until step `end` none of that changes.
        end = t + 1 if gated else stop
        if state[_PN] < pn.size:
            end = min(end, pn[state[_PN]])
        if state[_DELAYED] < pn.size:
            end = min(end, pn[state[_DELAYED]] + delay)
        if active:
            end = min(end, state[_DETECTED] + trace_steps)
        if eligible:
            end = min(end, state[_ELIGIBLE] + trace_steps)
            if state[_IO] < io.size:
                end = min(end, io[state[_IO]])
        # 8 coincidence
        change = potentiation if eligible and not gated else zero
        if gated or change != line[1]:
            w = _weight(t - 1, line, state, high)
            if gated:
                w = min(max(w + (potentiation - depression), low), high)
            line[0] = w
            line[1] = change
            state[_BASE] = t
            state[_TOP] = np.int64(min((high - w) // change, zero + _FAR)) + 1 if change > zero else _FAR
            pieces[state[_PIECES], 0] = t
            pieces[state[_PIECES], 1] = state[_TOP]
            values[state[_PIECES], 0] = w
            values[state[_PIECES], 1] = change
            state[_PIECES] += 1
        # 2, 3, 4 scaling, threshold and inhibitory pulse
        last_below = False
        if active:
            first_below = _scaled(t, line, state, constants) < theta
            last_below = _scaled(end - 1, line, state, constants) < theta
            above = t
            if first_below:
                if not state[_BELOW]:
                    _respond(t, state, windows, recovery, crs, blanks)
                if last_below and change > zero:
                    above = _highest(t, end - 1, line, state, constants)
            if last_below and _scaled(above, line, state, constants) >= theta:
                at = _falls_through(above, end - 1, line, state, constants)
                _respond(at, state, windows, recovery, crs, blanks)
        state[_BELOW] = last_below
        t = end
    _listen(stop, io, state, blanks)
    return t


@dataclass(frozen=True)
class Course(Generic[Number]):
    """What a microcircuit did in a session, exact in each step, stored by what changed.

    Attributes
    ----------
    config : ChipConfig
    n_steps : int
    cr : ndarray of int64
        Steps with a conditioned response.
    blanked : ndarray of int64, shape (n, 2)
        Stretches in which the IO was blanked: first step, and the step after the last.
    recalibrations : sequence of Outcome
    pieces : ndarray of int64, shape (m, 2)
        The lines that w is on: the first step of each, and the steps after which w is at its highest.
    values : ndarray, shape (m, 2)
        w before each line, and its change a step: real values or raw words, as the model computes.
    """

    config: ChipConfig
    n_steps: int
    cr: Steps
    blanked: Steps
    recalibrations: Sequence[Outcome[Number]]
    pieces: Steps
    values: npt.NDArray[Number]

    def raw(self, steps: npt.ArrayLike) -> npt.NDArray[Number]:
        """W after each of these steps, as the model has it: real values, or raw words.

        Raises
        ------
        ValueError
            If a step is outside the session.
        """
        at = np.asarray(steps, np.int64)
        if at.size and not (at.min() >= 0 and at.max() < self.n_steps):
            raise ValueError(f"steps from {at.min()} to {at.max()}: limits are 0 and {self.n_steps - 1}")
        piece = np.searchsorted(self.pieces[:, 0], at, side="right") - 1
        first, top = self.pieces[piece].T
        before, change = self.values[piece].T
        n = at - first + 1
        high = self._high
        line = np.minimum(before + np.minimum(n, top) * change, high)
        return np.asarray(np.where(n >= top, high, line), self.values.dtype)

    @property
    def _high(self) -> Any:
        limits = self.config.formats.weight
        return limits.raw_max if self.values.dtype == np.int64 else limits.max

    def weight(self, steps: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """W after each of these steps, as real values; ValueError as for :meth:`raw`."""
        raw = self.raw(steps)
        return np.asarray(
            to_real(raw, self.config.formats.weight) if raw.dtype == np.int64 else raw, np.float64
        )


class Engine(Generic[Number]):
    """One microcircuit of a configuration, run through whole sessions from reset.

    Parameters
    ----------
    config : ChipConfig
    model : {"float", "fixed"}
    masked : bool
        A CR blanks the IO as the chip's own stimulation does (``[stimulation]``, ``[blanking]``).

    Raises
    ------
    ConfigError
        If the stimulation cannot be made, with `masked`.
    """

    def __init__(self, config: ChipConfig, model: EngineModel = "fixed", *, masked: bool = False) -> None:
        self.config, self.masked = config, masked
        models: dict[str, type[Microcircuit[Any]]] = {"float": MicrocircuitFloat, "fixed": MicrocircuitFixed}
        self._circuit: Microcircuit[Number] = models[model](config)
        self._windows, self._recovery = np.zeros((0, 2), np.int64), 0
        if masked:
            mask = StimulationMask.of(config)
            self._windows, self._recovery = mask.windows, mask.recovery_steps

    def run(self, events: Events) -> Course[Number]:
        """Run a session.

        Parameters
        ----------
        events : Events
            Time and memory grow with its detections, not with `n_steps`.

        Returns
        -------
        Course

        Raises
        ------
        ValueError
            If the events say what was blanked, and the engine is `masked`.
        """
        if self.masked and events.blanked.size:
            raise ValueError("blanked: the events have stretches of their own, the engine makes some too")
        circuit, recalibration = self._circuit, self._circuit.recalibration
        circuit.reset()
        state, line = np.zeros(15, np.int64), np.zeros(2, circuit.weight.dtype)
        never = -circuit.delays.trace - self._recovery
        state[[_DETECTED, _ELIGIBLE, _TRAIN]] = never
        state[_TOP], state[_BLANKS] = _FAR, len(events.blanked)
        line[0] = circuit.weight[0]
        room = 64 + 4 * events.pn.size
        crs = np.empty(room, np.int64)
        pieces, values = np.empty((room, 2), np.int64), np.empty((room, 2), line.dtype)
        pieces[0], values[0] = (0, _FAR), (line[0], 0)
        state[_PIECES] = 1
        blanks = np.array(events.blanked, np.int64)
        if len(self._windows):
            blanks = np.empty((room + 2 * len(self._windows), 2), np.int64)
        outcomes: list[Outcome[Number]] = []
        now = 0
        while now < events.n_steps:
            stop, counted = events.n_steps, state[_COUNT]
            if recalibration is not None:
                stop = min(stop, now + recalibration.begin())
            potentiation, depression = (value[0] for value in circuit.plasticity())
            reached = now
            while reached < stop:
                reached = _jump(
                    reached, stop, events.pn, events.io, state, line,
                    circuit.delays, circuit.constants, potentiation, depression,
                    self._windows, self._recovery, crs, pieces, values, blanks,
                )  # fmt: skip
                if reached < stop:
                    crs, pieces, values = _grown(crs), _grown(pieces), _grown(values)
                    blanks = _grown(blanks) if len(self._windows) else blanks
            if recalibration is not None:
                outcome = recalibration.observe(
                    stop - now,
                    np.array([state[_COUNT] - counted]),
                    np.array([_overlap(blanks[: state[_BLANKS]], now, stop)]),
                    circuit.potentiation,
                    circuit.depression,
                )
                outcomes += [] if outcome is None else [outcome]
            now = stop
        stretches = blanks[: state[_BLANKS]]
        return Course(
            self.config,
            events.n_steps,
            crs[: state[_CRS]].copy(),
            np.minimum(stretches[stretches[:, 0] < events.n_steps], events.n_steps),
            outcomes,
            pieces[: state[_PIECES]].copy(),
            values[: state[_PIECES]].copy(),
        )


def _grown(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array with room for as much again."""
    return np.concatenate([array, np.empty_like(array)])


def _overlap(stretches: Steps, first: int, stop: int) -> int:
    """Steps from `first` on, before `stop`, that are in one of these stretches."""
    low = np.searchsorted(stretches[:, 1], first, side="right")
    high = np.searchsorted(stretches[:, 0], stop)
    inside = np.clip(stretches[low:high], first, stop)
    return int((inside[:, 1] - inside[:, 0]).sum())
