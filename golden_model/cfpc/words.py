"""A CFPC system as raw words: what the fixed-point filter and the gateware are made from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..fixed import QFormat, Rounding, quantize
from ..sections import ConfigError
from .config import CfpcConfig
from .loop import Loop, LoopState
from .systems import Reals

__all__ = ["MOST_STATES", "FilterWords", "Raw"]

Raw = npt.NDArray[np.int64]

MOST_STATES = 16
"""Of a forward model: a synapse's product for each two of them that act on each other."""
_ACCUMULATOR_BITS = 62
_NOTHING = 2.0**-200
"""A state that stays below is none: its unit would be beyond what a double's reciprocal can be."""


@dataclass(frozen=True, eq=False)
class FilterWords:
    """Words and shifts; every product is summed at full width, then rounded half up once and saturated.

    A state is a word in a unit of its own, a power of two chosen so that no basis of the task's amplitude
    takes it out of its format; so ``a``, ``b`` and ``c`` are in units of words, and one shift does for all::

        h = (C·s + D·ud) >> coefficient_shift        s' = (A·s + B·ud) >> coefficient_shift
        o = (Σ w_j·x_j) >> weight_shift              w_j' = w_j + (h_j·e >> update_shift)

    Attributes
    ----------
    count : int
        G, synapses.
    spacing : int
        Steps from one basis to the next; 0 where each has an input of its own.
    delay : int
        D, steps before the forward model; 0: the basis itself.
    feedback : bool
        The forward model's input is x - h; else x.
    a, b, c, d : ndarray of int64, int
        Words in ``coefficient``.
    signal, state, weight, coefficient : QFormat
    update_shift : int
        Bits that h·e loses on its way to w; below 0 it gains them.
    rounding : Rounding
        Of the change of w.
    state_units : ndarray of float
        Value of a word of each state.
    """

    count: int
    spacing: int
    delay: int
    feedback: bool
    a: Raw
    b: Raw
    c: Raw
    d: int
    signal: QFormat
    state: QFormat
    weight: QFormat
    coefficient: QFormat
    update_shift: int
    rounding: Rounding
    state_units: Reals

    @classmethod
    def of(cls, config: CfpcConfig) -> FilterWords:
        """The words of a configuration.

        Raises
        ------
        ConfigError
            If the forward model has more than :data:`MOST_STATES` states, a coefficient is beyond its
            format, or a sum is too wide.
        """
        formats, model = config.formats, config.eligibility_model
        order, count = model.system.order, config.bases.count
        lost = 2 * formats.signal.fraction_bits + config.rate_shift - formats.weight.fraction_bits
        if order > MOST_STATES:
            raise ConfigError(
                f"eligibility: a forward model of {order} states, at most {MOST_STATES}: "
                "choose trace = 'low-order' (--rule low-order)"
            )
        for fields, bits in (
            ("weight and signal", formats.weight.width + formats.signal.width + count.bit_length()),
            ("coefficient and state", formats.coefficient.width + formats.state.width + order.bit_length()),
            ("coefficient and signal", formats.coefficient.width + formats.signal.width + order.bit_length()),
            ("signal and weight at this learning.rate", 2 * formats.signal.width + max(-lost, 0) + 2),
        ):
            if bits > _ACCUMULATOR_BITS:
                raise ConfigError(
                    f"formats.{fields}: their products sum to {bits} bits, at most {_ACCUMULATOR_BITS}"
                )
        if lost >= _ACCUMULATOR_BITS:
            raise ConfigError(
                f"learning.rate = {config.learning.rate:g}: a change of w loses {lost} bits, at most "
                f"{_ACCUMULATOR_BITS - 1}"
            )
        bounds = _state_bounds(model, config.trial_steps) * config.bases.amplitude
        units = np.array([_unit(bound, formats.state) for bound in bounds])
        raw = model.system.scaled(1 / units)
        lsb = formats.signal.lsb
        parts: dict[str, Reals] = {
            "a": raw.a,
            "b": raw.b * lsb,
            "c": raw.c / lsb,
            "d": np.array(raw.d),
        }
        words = {}
        for name, values in parts.items():
            largest = float(np.abs(values).max(initial=0.0))
            if largest > formats.coefficient.max:
                needed = 1 + math.ceil(math.log2(largest * (1 + formats.coefficient.lsb)))
                raise ConfigError(
                    f"formats.coefficient = {formats.coefficient}: the forward model has {largest:g}, which "
                    f"needs {max(needed, 1)} integer bits"
                )
            words[name] = np.asarray(quantize(values, formats.coefficient), np.int64)
        return cls(
            count=count,
            spacing=config.spacing_steps if config.bases.shifted else 0,
            delay=model.delay,
            feedback=model.feedback,
            a=words["a"],
            b=words["b"],
            c=words["c"],
            d=int(words["d"]),
            signal=formats.signal,
            state=formats.state,
            weight=formats.weight,
            coefficient=formats.coefficient,
            update_shift=lost,
            rounding=formats.weight_rounding,
            state_units=units,
        )

    @property
    def order(self) -> int:
        """States of a forward model."""
        return len(self.b)

    @property
    def inputs(self) -> int:
        """Basis words a step: 1, or one for each synapse."""
        return 1 if self.spacing else self.count

    @property
    def line_words(self) -> int:
        """Words that the delay line of shifted bases holds, and that of their traces."""
        return self.spacing * (self.count - 1) + 1 if self.spacing else self.count


def _state_bounds(model: Loop, steps: int) -> Reals:
    """Largest magnitude of each state for inputs between -1 and 1: the sum of its answer to a pulse."""
    running = LoopState(model) if model.system.order else None
    total = np.zeros(model.system.order)
    for n in range(steps if running else 0):
        assert running is not None
        running.drive(float(n == 0), running.measure())
        total += np.abs(running.state)
    return total


def _unit(bound: float, fmt: QFormat) -> float:
    """The finest power of two with which `bound` is in the format, if it can be told from nothing."""
    if bound < _NOTHING:
        return fmt.lsb
    unit = 2.0 ** math.ceil(math.log2(bound / fmt.raw_max))
    return unit if bound / unit <= fmt.raw_max else 2 * unit
