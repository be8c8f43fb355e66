"""Linear time-invariant systems with one input and one output, in discrete state space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy import signal

__all__ = ["Discretisation", "Reals", "StateSpace", "discrete", "leaks", "proportional_integral"]

Reals: TypeAlias = npt.NDArray[np.float64]
Discretisation = Literal["euler", "zoh", "bilinear"]
"""How a continuous system becomes a discrete one; the names of ``scipy.signal.cont2discrete``."""


@dataclass(frozen=True, eq=False)
class StateSpace:
    """``s[n+1] = A·s[n] + B·u[n]``, ``y[n] = C·s[n] + D·u[n]``.

    Attributes
    ----------
    a : ndarray, shape (order, order)
    b, c : ndarray, shape (order,)
    d : float

    Raises
    ------
    ValueError
        If the shapes do not belong together, or a number is not finite.
    """

    a: Reals
    b: Reals
    c: Reals
    d: float = 0.0

    def __post_init__(self) -> None:
        order = len(self.b)
        if self.a.shape != (order, order) or self.b.shape != (order,) or self.c.shape != (order,):
            shapes = f"{self.a.shape}, {self.b.shape}, {self.c.shape}"
            raise ValueError(f"state space: A, B, C have shapes {shapes}, not those of one input and output")
        if not all(np.isfinite(part).all() for part in (self.a, self.b, self.c, self.d)):
            raise ValueError("state space: not all numbers are finite")

    @property
    def order(self) -> int:
        """States."""
        return len(self.b)

    @property
    def matrices(self) -> tuple[Reals, Reals, Reals, float]:
        """A, B, C, D."""
        return self.a, self.b, self.c, self.d

    def after(self, first: StateSpace) -> StateSpace:
        """The two in a row: `first` drives this system."""
        a = np.block([[first.a, np.zeros((first.order, self.order))], [np.outer(self.b, first.c), self.a]])
        return StateSpace(
            a,
            np.concatenate([first.b, self.b * first.d]),
            np.concatenate([self.d * first.c, self.c]),
            self.d * first.d,
        )

    def scaled(self, factors: Reals) -> StateSpace:
        """The same system with state i measured in units of ``1 / factors[i]``."""
        return StateSpace(
            self.a * factors[:, None] / factors[None, :], self.b * factors, self.c / factors, self.d
        )


def leaks(time_constants_s: Any, gain: float, step_s: float) -> StateSpace:
    """Leaky integrators in a row, by forward Euler: each ``τ·dx/dt = input - x``, the first times `gain`.

    Parameters
    ----------
    time_constants_s : sequence of float
        τ, in the order of the signal.
    gain : float
        Of the whole at rest.
    step_s : float

    Source: Herreros et al. 2016, 3.4 (plant); ``gain`` 0.1 makes its first, of 100 ms, un-normalised.
    """
    taus = np.asarray(time_constants_s, np.float64)
    order = taus.size
    rates = step_s / taus
    a = np.diag(1 - rates) + np.diag(rates[1:], -1)
    b, c = np.zeros(order), np.zeros(order)
    b[0], c[-1] = gain * rates[0], 1.0
    return StateSpace(a, b, c)


def proportional_integral(proportional: float, integral: float, step_s: float) -> StateSpace:
    """``v = kp·e + ki·∫e``; the integral has the present step in it.

    Parameters
    ----------
    proportional, integral : float
        kp, and ki in 1/s.
    step_s : float
    """
    share = integral * step_s
    if not share:
        return StateSpace(np.zeros((0, 0)), np.zeros(0), np.zeros(0), proportional)
    return StateSpace(np.ones((1, 1)), np.array([share]), np.ones(1), proportional + share)


def discrete(system: Any, step_s: float, method: Discretisation = "euler") -> StateSpace:
    """Any LTI system with one input and one output as a discrete :class:`StateSpace`.

    Parameters
    ----------
    system : StateSpace, scipy.signal.lti, scipy.signal.dlti, tuple or array_like
        A system of scipy, continuous or discrete; what scipy takes for a continuous one: ``(num, den)``,
        ``(zeros, poles, gain)``, ``(A, B, C, D)``; or numbers, its impulse response, a step each.
    step_s : float
        Of the discrete system; that of a ``dlti`` must be the same.
    method : {"euler", "zoh", "bilinear"}
        For a continuous system.

    Returns
    -------
    StateSpace

    Raises
    ------
    ValueError
        If it is none of these, has several inputs or outputs, another step, or more zeros than poles.
    """
    if isinstance(system, StateSpace):
        return system
    if method not in get_args(Discretisation):
        raise ValueError(f"method {method!r}: choose from {', '.join(get_args(Discretisation))}")
    if isinstance(system, signal.dlti):
        if system.dt is True or not np.isclose(system.dt, step_s, rtol=1e-9, atol=0.0):
            raise ValueError(f"system: its step is {system.dt}, not {step_s:g} s")
        return _single(*_matrices(system))
    if not isinstance(system, signal.lti | tuple):
        return _impulse(system)
    continuous = system if isinstance(system, signal.lti) else _continuous(system)
    a, b, c, d, _ = signal.cont2discrete(_matrices(continuous), step_s, method=method)
    return _single(a, b, c, d)


def _continuous(system: tuple[Any, ...]) -> Any:
    try:
        return signal.lti(*system)
    except (ValueError, TypeError) as error:
        raise ValueError(f"system: {error}") from None


def _matrices(system: Any) -> tuple[Any, Any, Any, Any]:
    try:
        space = system.to_ss()
    except ValueError as error:  # improper: more zeros than poles
        raise ValueError(f"system: {error}") from None
    return space.A, space.B, space.C, space.D


def _single(a: Any, b: Any, c: Any, d: Any) -> StateSpace:
    a, b, c, d = (np.asarray(part, np.float64) for part in (a, b, c, d))
    if d.shape != (1, 1):
        raise ValueError(f"system: {d.shape[1]} inputs and {d.shape[0]} outputs; needs one of each")
    if not (b.any() and c.any()):  # a gain alone: scipy writes it with a state that nothing reaches
        return StateSpace(np.zeros((0, 0)), np.zeros(0), np.zeros(0), float(d[0, 0]))
    return StateSpace(a, b[:, 0], c[0], float(d[0, 0]))


def _impulse(response: Any) -> StateSpace:
    """A tapped delay line: state i is the input i + 1 steps ago."""
    try:
        taps = np.asarray(response, np.float64)
    except (ValueError, TypeError):
        raise ValueError(f"system: {type(response).__name__} is none that is known") from None
    if taps.ndim != 1 or not taps.size:
        raise ValueError(f"impulse response: of shape {taps.shape}, needs one number a step")
    order = taps.size - 1
    b = np.zeros(order)
    b[:1] = 1.0
    return StateSpace(np.eye(order, k=-1), b, taps[1:].copy(), float(taps[0]))
