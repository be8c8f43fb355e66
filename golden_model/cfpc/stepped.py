"""The loop closed around a filter that is asked for one step at a time: gateware, simulated or on a board."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..fixed import QFormat, quantize
from .filter import Trial
from .loop import LoopState
from .systems import Reals
from .words import Raw

__all__ = ["close_by_steps"]


def close_by_steps(
    step: Callable[[int, Raw], int], signal: QFormat, loop: LoopState, reference: Reals, inputs: Reals
) -> Trial:
    """A trial, as ``AdaptiveFilterFixed.close`` to the bit.

    Parameters
    ----------
    step : callable
        Takes e and the basis words of a step, shape (1,) or (G,), to o; all raw words.
    signal : QFormat
        Of these.
    loop, reference, inputs
        See ``AdaptiveFilter.close``.
    """
    trial = Trial(*(np.empty(reference.size) for _ in range(3)))
    raw = np.asarray(quantize(inputs, signal), np.int64)
    for n, wanted in enumerate(reference):
        y = loop.measure()
        error = int(quantize(wanted - y, signal))
        o = step(error, raw[n]) * signal.lsb
        trial.y[n], trial.error[n], trial.o[n] = y, error * signal.lsb, o
        loop.drive(wanted + o, y)
    return trial
