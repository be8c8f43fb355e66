"""The adaptive filter in fixed point, bit for bit as in gateware; each step in the order of ``filter``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..compiled import compiled
from ..fixed import Rounding, quantize
from .config import CfpcConfig
from .filter import AdaptiveFilter, Memory, Trial
from .loop import LoopState, advance, output
from .systems import Reals
from .words import FilterWords, Raw

__all__ = ["AdaptiveFilterFixed", "Steps"]


_FAR = 1 << 62
"""Beyond any product."""


@compiled()
def _narrow(word, drop, half_up, low, high):  # type: ignore[no-untyped-def]
    """As ``golden_model.fixed.resize``: round, then saturate."""
    if drop > 0:  # noqa: SIM108
        word = (word + (1 << (drop - 1)) if half_up else word) >> drop
    else:
        word = word << -drop
    return min(max(word, low), high)


class _Shifts(NamedTuple):
    """Bits that a sum has below the word that is made of it."""

    coefficient: int
    weight: int
    update: int


class _Limits(NamedTuple):
    """Lowest and highest raw word of each format."""

    signal: tuple[int, int]
    state: tuple[int, int]
    weight: tuple[int, int]


class _Model(NamedTuple):
    """What stays the same in all steps, in raw words."""

    matrices: tuple[Raw, Raw, Raw, int]
    feedback: bool
    spacing: int
    half_up: bool
    shifts: _Shifts
    limits: _Limits


@compiled()
def _step(model, memory, weights, frozen, error, inputs):  # type: ignore[no-untyped-def]
    """One step in raw words; o."""
    a, b, c, d = model.matrices
    feedback, spacing, coefficient_shift = model.feedback, model.spacing, model.shifts.coefficient
    signal_low, signal_high = model.limits.signal
    state_low, state_high = model.limits.state
    weight_low, weight_high = model.limits.weight
    states, line, basis_line, trace_line, heads = memory
    order, delay, length = b.size, line.shape[1], basis_line.size
    at, tap = heads[0], heads[1]
    after = np.zeros(order, np.int64)
    for k in range(inputs.size):
        x = inputs[k]
        delayed = line[k, at] if delay else x
        h = d * delayed
        for i in range(order):
            h += c[i] * states[k, i]
        h = _narrow(h, coefficient_shift, True, signal_low, signal_high)
        u = _narrow(x - h, 0, True, signal_low, signal_high) if feedback else x
        if delay:
            line[k, at] = u
        else:
            delayed = u
        for i in range(order):
            total = b[i] * delayed
            for j in range(order):
                total += a[i, j] * states[k, j]
            after[i] = _narrow(total, coefficient_shift, True, state_low, state_high)
        states[k] = after
        where = tap if spacing else k
        basis_line[where], trace_line[where] = x, h
    total = 0
    for j in range(weights.size):
        where = (tap - j * spacing) % length if spacing else j
        total += weights[j] * basis_line[where]
        if not frozen:
            change = _narrow(trace_line[where] * error, model.shifts.update, model.half_up, -_FAR, _FAR)
            weights[j] = min(max(weights[j] + change, weight_low), weight_high)
    heads[0] = (at + 1) % max(delay, 1)
    heads[1] = (tap + 1) % length
    return _narrow(total, model.shifts.weight, True, signal_low, signal_high)


@compiled()
def _process(model, memory, weights, frozen, error, inputs, steps):  # type: ignore[no-untyped-def]
    """Steps of given errors."""
    spacing, trace_line, heads = model.spacing, memory.trace_line, memory.heads
    o, traces, courses = steps
    length = trace_line.size
    for n in range(error.size):
        tap = heads[1]
        o[n] = _step(model, memory, weights, frozen, error[n], inputs[n])
        for j in range(weights.size):
            traces[n, j] = trace_line[(tap - j * spacing) % length if spacing else j]
            courses[n, j] = weights[j]


@compiled()
def _close(loop, model, memory, weights, frozen, scale, reference, inputs, trial):  # type: ignore[no-untyped-def]
    """A trial; `loop`: plant, feedback, state, line, head. Returns the head."""
    (a, b, c, d), feedback, state, line, head = loop
    y, error, o = trial
    low, high = model.limits.signal
    for n in range(reference.size):
        y[n] = output(c, d, state, line, head, 0.0)
        # As golden_model.fixed.quantize: half up, then saturated.
        scaled = (reference[n] - y[n]) * scale
        whole = np.floor(scaled)
        if scaled - whole >= 0.5:
            whole += 1.0
        raw = np.int64(min(max(whole, float(low)), float(high)))
        word = _step(model, memory, weights, frozen, raw, inputs[n])
        error[n], o[n] = raw / scale, word / scale
        advance(a, b, feedback, state, line, head, reference[n] + o[n], y[n])
        head = (head + 1) % max(line.size, 1)
    return head


@dataclass(frozen=True, eq=False)
class Steps:
    """Raw words of a number of steps.

    Attributes
    ----------
    o : ndarray of int64, shape (steps,)
    traces : ndarray of int64, shape (steps, G)
        h of each step.
    weights : ndarray of int64, shape (steps, G)
        w after each step.
    """

    o: Raw
    traces: Raw
    weights: Raw


class AdaptiveFilterFixed(AdaptiveFilter):
    """The filter in raw words.

    Parameters
    ----------
    config : CfpcConfig

    Attributes
    ----------
    words : FilterWords
    weight : ndarray of int64, shape (G,)
        Raw; may be written between steps.

    Raises
    ------
    ConfigError
        See :meth:`FilterWords.of`.
    """

    def __init__(self, config: CfpcConfig) -> None:
        self.words = words = FilterWords.of(config)
        self.weight = np.zeros(words.count, np.int64)
        limits = ((fmt.raw_min, fmt.raw_max) for fmt in (words.signal, words.state, words.weight))
        self._model = _Model(
            (words.a, words.b, words.c, words.d),
            words.feedback,
            words.spacing,
            half_up=words.rounding is Rounding.HALF_UP,
            shifts=_Shifts(words.coefficient.fraction_bits, words.weight.fraction_bits, words.update_shift),
            limits=_Limits(*limits),
        )
        self._memory = Memory.empty(words.inputs, words.order, words.delay, words.line_words, np.int64)

    @property
    def weights(self) -> Reals:
        """w, real."""
        return np.asarray(self.weight * self.words.weight.lsb, np.float64)

    def step(self, error: int, inputs: Raw) -> int:
        """One step in raw words.

        Parameters
        ----------
        error : int
            In ``signal``.
        inputs : ndarray of int64, shape (1,) for shifted bases, else (G,)
            In ``signal``.

        Returns
        -------
        int
            o, in ``signal``.
        """
        inputs = np.asarray(inputs, np.int64)
        return int(_step(self._model, self._memory, self.weight, self.frozen, error, inputs))

    def process(self, error: Raw, inputs: Raw) -> Steps:
        """Steps of given errors: nothing closes the loop.

        Parameters
        ----------
        error : ndarray of int64, shape (steps,)
        inputs : ndarray of int64, shape (steps, 1) for shifted bases, else (steps, G)
        """
        steps, count = len(error), self.words.count
        made = Steps(*(np.empty(shape, np.int64) for shape in (steps, (steps, count), (steps, count))))
        into = made.o, made.traces, made.weights
        _process(self._model, self._memory, self.weight, self.frozen, error, inputs, into)
        return made

    def close(self, loop: LoopState, reference: Reals, inputs: Reals) -> Trial:
        trial = Trial(*(np.empty(reference.size) for _ in range(3)))
        scale = 2.0**self.words.signal.fraction_bits
        loop.head = _close(
            loop.arguments(), self._model, self._memory, self.weight, self.frozen, scale, reference,
            self.quantised(inputs), (trial.y, trial.error, trial.o),
        )  # fmt: skip
        return trial

    def quantised(self, inputs: Reals) -> Raw:
        """Basis signals as raw words."""
        return np.asarray(quantize(inputs, self.words.signal), np.int64)
