"""A linear system behind a delay, with or without feedback: plant, forward model and delay trace alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import toeplitz

from ..compiled import compiled
from .systems import Reals, StateSpace

__all__ = ["Loop", "LoopState", "measured_transfer_matrix"]


@compiled()
def output(c, d, state, line, head, x):  # type: ignore[no-untyped-def]
    """Y of the present step: of state and delay line, and, where there is no delay, of `x`."""
    y = d * (line[head] if line.size else x)
    for i in range(state.size):
        y += c[i] * state[i]
    return y


@compiled()
def advance(a, b, feedback, state, line, head, x, y):  # type: ignore[no-untyped-def]
    """To the next step; `y` is the output of this one."""
    u = x - y if feedback else x
    if line.size:
        delayed = line[head]
        line[head] = u
    else:
        delayed = u
    after = np.zeros(state.size)
    for i in range(state.size):
        for j in range(state.size):
            after[i] += a[i, j] * state[j]
        after[i] += b[i] * delayed
    state[:] = after


@compiled()
def _respond(a, b, c, d, feedback, delay, x):  # type: ignore[no-untyped-def]
    y = np.empty(x.size)
    state, line = np.zeros(b.size), np.zeros(delay)
    for n in range(x.size):
        head = n % delay if delay else 0
        y[n] = output(c, d, state, line, head, x[n])
        advance(a, b, feedback, state, line, head, x[n], y[n])
    return y


@dataclass(frozen=True, eq=False)
class Loop:
    """``s[n+1] = A·s[n] + B·u[n-delay]``, ``y[n] = C·s[n] + D·u[n-delay]``; u = x - y, or x without feedback.

    The closed loop of plant, reactive controller and delay, driven by the reference and the feed-forward
    signal (x = r + o); and, driven by a basis alone, the forward model that makes its synapse's eligibility
    trace.

    Attributes
    ----------
    system : StateSpace
        Controller and plant, one after the other.
    delay : int
        Steps.
    feedback : bool

    Raises
    ------
    ValueError
        If `delay` is negative, or y depends on itself: feedback without delay around a system with D.

    Source: Herreros et al. 2016, 2.2 and 3.1.
    """

    system: StateSpace
    delay: int
    feedback: bool = True

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise ValueError(f"delay = {self.delay} steps: at least 0")
        if self.feedback and not self.delay and self.system.d:
            raise ValueError("loop: its output depends on itself; it needs a delay or a plant with inertia")

    def respond(self, x: Reals) -> Reals:
        """The output from rest.

        Parameters
        ----------
        x : array_like, shape (steps,) or (steps, signals)

        Returns
        -------
        ndarray, of the same shape
        """
        x = np.asarray(x, np.float64)
        if x.ndim > 1:
            columns = [self.respond(np.ascontiguousarray(column)) for column in x.T]
            return np.stack(columns, axis=1) if columns else x
        s = self.system
        answer: Reals = _respond(s.a, s.b, s.c, s.d, self.feedback, self.delay, x)
        return answer

    def impulse_response(self, steps: int) -> Reals:
        """Of the first steps, shape (steps,)."""
        pulse = np.zeros(steps)
        pulse[:1] = 1.0
        return self.respond(pulse)

    def transfer_matrix(self, steps: int) -> Reals:
        """T with ``y = T·x``, shape (steps, steps): by model, as in Herreros et al. 2016, 3.1."""
        return _causal(self.impulse_response(steps))

    def spectral_radius(self) -> float:
        """Of the whole, its delay line included: the loop is stable by itself if it is below 1."""
        s, delay = self.system, self.delay
        if not self.feedback:
            return float(max(abs(np.linalg.eigvals(s.a)), default=0.0))
        if not delay:
            closed = s.a - np.outer(s.b, s.c)
            return float(max(abs(np.linalg.eigvals(closed)), default=0.0))
        whole = np.zeros((s.order + delay, s.order + delay))
        last = s.order + delay - 1
        whole[: s.order, : s.order] = s.a
        whole[: s.order, last] = s.b
        whole[s.order, : s.order] = -s.c
        whole[s.order, last] = -s.d
        for row in range(s.order + 1, s.order + delay):
            whole[row, row - 1] = 1.0
        return float(max(abs(np.linalg.eigvals(whole))))


class LoopState:
    """A loop in progress, a step at a time: `measure` y, then `drive` it.

    Parameters
    ----------
    loop : Loop
        With a delay, or a system without D: its output is known before it is driven.
    """

    def __init__(self, loop: Loop) -> None:
        if not loop.delay and loop.system.d:
            raise ValueError("loop: its output is not known before it is driven")
        self.loop = loop
        self.state, self.line = np.zeros(loop.system.order), np.zeros(loop.delay)
        self.head = 0

    def arguments(self) -> tuple[tuple[Reals, Reals, Reals, float], bool, Reals, Reals, int]:
        """Matrices, feedback, state, line and its head: what a compiled trial goes on from."""
        return self.loop.system.matrices, self.loop.feedback, self.state, self.line, self.head

    def measure(self) -> float:
        """The output of the present step."""
        system = self.loop.system
        return float(output(system.c, system.d, self.state, self.line, self.head, 0.0))

    def drive(self, x: float, y: float) -> None:
        """To the next step; `y` is what :meth:`measure` has given."""
        loop = self.loop
        advance(loop.system.a, loop.system.b, loop.feedback, self.state, self.line, self.head, x, y)
        self.head = (self.head + 1) % loop.delay if loop.delay else 0


def measured_transfer_matrix(
    respond: Callable[[Reals], Reals], steps: int, *, amplitude: float = 1.0, repeats: int = 1
) -> Reals:
    """T by measurement: from what a system at rest answers to a pulse of one step.

    Parameters
    ----------
    respond : callable
        Takes the input of a trial, shape (steps,), to its output, from rest.
    steps : int
    amplitude : float
        Of the pulse.
    repeats : int
        So many answers are averaged.

    Returns
    -------
    ndarray, shape (steps, steps)

    Raises
    ------
    ValueError
        If the amplitude is 0, there are no repeats, or an answer has another shape.

    Source: Herreros et al. 2016, 3.1: "measuring the impulse response curve".
    """
    if not amplitude or repeats < 1:
        raise ValueError(f"amplitude = {amplitude:g}, repeats = {repeats}: needs some pulse")
    pulse = np.zeros(steps)
    pulse[0] = amplitude
    answers = [np.asarray(respond(pulse.copy()), np.float64) for _ in range(repeats)]
    if any(answer.shape != (steps,) for answer in answers):
        raise ValueError(f"answer of shape {answers[0].shape}, needs ({steps},)")
    return _causal(np.mean(answers, axis=0) / amplitude)


def _causal(response: Reals) -> Reals:
    """Lower triangular: its columns are shifted repetitions of the impulse response."""
    matrix: Reals = toeplitz(response, np.zeros(response.size))
    return matrix
