"""The adaptive filter in floating point, and the loop closed around any such filter.

In each step, in this order, from the error e and the bases x_j of the step, with h_j the eligibility trace,
which is x_j through the forward model::

    o = Σ w_j·x_j                 w_j := w_j + η·h_j·e

e does not depend on o of the same step, since the loop has inertia; so both are computed at once.

Source: Herreros et al. 2016, equations 1 and 9.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..compiled import compiled
from .config import CfpcConfig
from .loop import Loop, LoopState, advance, output
from .systems import Reals

__all__ = ["AdaptiveFilter", "AdaptiveFilterFloat", "Course", "Trial", "rms", "run_trials"]


@dataclass(frozen=True, eq=False)
class Trial:
    """Signals of a trial, each of shape (steps,).

    Attributes
    ----------
    y : ndarray
        Output of the plant.
    error : ndarray
        e = r - y, as the filter has it.
    o : ndarray
        Output of the filter.
    """

    y: Reals
    error: Reals
    o: Reals


class AdaptiveFilter(ABC):
    """An adaptive filter that a loop can be closed around: float, fixed-point or gateware.

    Attributes
    ----------
    frozen : bool
        The weights stay.
    """

    frozen: bool = False

    @abstractmethod
    def close(self, loop: LoopState, reference: Reals, inputs: Reals) -> Trial:
        """A trial: the loop driven by ``r + o``, the filter by its error.

        Parameters
        ----------
        loop : LoopState
            Goes on from where it is.
        reference : ndarray, shape (steps,)
        inputs : ndarray, shape (steps, 1) for shifted bases, else (steps, G)
        """

    @property
    @abstractmethod
    def weights(self) -> Reals:
        """w, shape (G,)."""


class Memory(NamedTuple):
    """What a filter remembers between steps: real values, or raw words.

    Attributes
    ----------
    states : ndarray, shape (inputs, order)
        Of the forward model, one for each input.
    line : ndarray, shape (inputs, delay)
        Of the delay of its loop.
    basis_line, trace_line : ndarray, shape (words,)
        Basis signals and eligibility traces: of each synapse, or of the last steps where bases are shifted.
    heads : ndarray of int64, shape (2,)
        Position in ``line``, and in the two other lines.
    """

    states: npt.NDArray[Any]
    line: npt.NDArray[Any]
    basis_line: npt.NDArray[Any]
    trace_line: npt.NDArray[Any]
    heads: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, inputs: int, order: int, delay: int, words: int, dtype: type[Any]) -> Memory:
        """A filter at rest."""
        return cls(
            states=np.zeros((inputs, order), dtype),
            line=np.zeros((inputs, delay), dtype),
            basis_line=np.zeros(words, dtype),
            trace_line=np.zeros(words, dtype),
            heads=np.zeros(2, np.int64),
        )


@compiled()
def _close(loop, model, memory, weights, rate, reference, inputs, trial):  # type: ignore[no-untyped-def]
    """A trial; `loop`: plant, feedback, state, line, head. Returns the head."""
    (a, b, c, d), feedback, plant_state, plant_line, head = loop
    (model_a, model_b, model_c, model_d), model_feedback, spacing = model
    states, line, basis_line, trace_line, heads = memory
    y, error, o = trial
    length = basis_line.size
    at, tap = heads[0], heads[1]
    for n in range(reference.size):
        y[n] = output(c, d, plant_state, plant_line, head, 0.0)
        error[n] = reference[n] - y[n]
        for k in range(inputs.shape[1]):
            x = inputs[n, k]
            h = output(model_c, model_d, states[k], line[k], at, x)
            advance(model_a, model_b, model_feedback, states[k], line[k], at, x, h)
            where = tap if spacing else k
            basis_line[where], trace_line[where] = x, h
        total = 0.0
        for j in range(weights.size):
            where = (tap - j * spacing) % length if spacing else j
            total += weights[j] * basis_line[where]
            weights[j] += rate * trace_line[where] * error[n]
        o[n] = total
        advance(a, b, feedback, plant_state, plant_line, head, reference[n] + total, y[n])
        head = (head + 1) % max(plant_line.size, 1)
        at = (at + 1) % max(line.shape[1], 1)
        tap = (tap + 1) % length
    heads[0], heads[1] = at, tap
    return head


class AdaptiveFilterFloat(AdaptiveFilter):
    """The filter in floating point.

    Parameters
    ----------
    config : CfpcConfig
        Its eligibility model, bases, and rate on-line.
    """

    def __init__(self, config: CfpcConfig) -> None:
        model, bases = config.eligibility_model, config.bases
        spacing = config.spacing_steps if bases.shifted else 0
        inputs = 1 if bases.shifted else bases.count
        length = spacing * (bases.count - 1) + 1 if bases.shifted else bases.count
        self._rate = config.learning.rate
        self._model = model.system.matrices, model.feedback, spacing
        self._memory = Memory.empty(inputs, model.system.order, model.delay, length, np.float64)
        self._weights = np.zeros(bases.count)

    @property
    def weights(self) -> Reals:
        return self._weights

    def close(self, loop: LoopState, reference: Reals, inputs: Reals) -> Trial:
        trial = Trial(*(np.empty(reference.size) for _ in range(3)))
        rate = 0.0 if self.frozen else self._rate
        loop.head = _close(
            loop.arguments(), self._model, self._memory, self._weights, rate, reference, inputs,
            (trial.y, trial.error, trial.o),
        )  # fmt: skip
        return trial


@dataclass(frozen=True, eq=False)
class Course:
    """A run of trials.

    Attributes
    ----------
    rmse : ndarray, shape (trials,)
        Root mean square of ``r - y`` in each.
    weights : ndarray, shape (trials + 1, G)
        Before the first trial and after each.
    first, last : Trial
    """

    rmse: Reals
    weights: Reals
    first: Trial
    last: Trial

    @property
    def relative(self) -> Reals:
        """The same as shares of the first trial's (rRMSE of the source)."""
        shares: Reals = self.rmse / self.rmse[0]
        return shares


def run_trials(
    adaptive: AdaptiveFilter,
    config: CfpcConfig,
    trials: int,
    *,
    loop: Loop | None = None,
    reference: Reals | None = None,
    inputs: Reals | None = None,
    progress: Callable[[int], None] = lambda done: None,
    keep: Callable[[Trial], None] = lambda trial: None,
) -> Course:
    """Trials in a row, on-line: filter and loop go on from one to the next.

    Parameters
    ----------
    adaptive : AdaptiveFilter
    config : CfpcConfig
        Its task and bases.
    trials : int
        At least 1.
    loop : Loop, optional
        What is really there, from rest; else the configured loop.
    reference : ndarray, shape (steps,), optional
        Of a trial; else the configured one.
    inputs : ndarray, shape (steps, 1) for shifted bases, else (steps, G), optional
        Streamed in a trial; else the configured Gaussians.
    progress : callable
        Is told the number of trials done.
    keep : callable
        Is given each trial.

    Raises
    ------
    ValueError
        If there are no trials, a shape is wrong, or a basis exceeds ``bases.amplitude``.
    """
    if trials < 1:
        raise ValueError(f"trials = {trials}: at least 1")
    reference = config.reference if reference is None else np.ascontiguousarray(reference, np.float64)
    inputs = config.basis_inputs if inputs is None else np.ascontiguousarray(inputs, np.float64)
    _check_signals(config, reference, inputs)
    running = LoopState(loop or config.loop)
    rmse, weights = np.empty(trials), [adaptive.weights.copy()]
    first = last = None
    for k in range(trials):
        last = adaptive.close(running, reference, inputs)
        first = first or last
        rmse[k] = rms(reference - last.y)
        weights.append(adaptive.weights.copy())
        keep(last)
        progress(k + 1)
    assert first is not None and last is not None
    return Course(rmse, np.stack(weights), first, last)


def _check_signals(config: CfpcConfig, reference: Reals, inputs: Reals) -> None:
    bases = config.bases
    wanted = (reference.size, 1 if bases.shifted else bases.count)
    if reference.ndim != 1 or not reference.size or inputs.shape != wanted:
        raise ValueError(
            f"reference and bases of shapes {reference.shape} and {inputs.shape}: a trial of N steps has "
            f"(N,) and (N, {wanted[1]})"
        )
    if not (np.isfinite(reference).all() and np.isfinite(inputs).all()):
        raise ValueError("reference or bases: not all numbers are finite")
    if np.abs(inputs).max() > bases.amplitude:
        raise ValueError(
            f"bases: up to {np.abs(inputs).max():g}, more than bases.amplitude = {bases.amplitude:g}"
        )


def rms(signal: Reals) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(signal))))
