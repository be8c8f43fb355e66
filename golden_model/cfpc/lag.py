"""How far an output lags behind its reference in the first movement of a trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from .systems import Reals

__all__ = ["Lag"]

_LEVELS = np.linspace(0.1, 0.9, 9)
"""Of the movement's height, where the lag along it is measured."""


@dataclass(frozen=True)
class Lag:
    """Seconds from the reference to the output; below 0 the output leads.

    The first movement of the reference is that from its first value to the one farthest from it.

    Attributes
    ----------
    half_height : float
        From the reference's crossing of the movement's half height to the output's in the same direction; of
        several, to the one nearest in time. NaN where the output has none.
    along : float
        The same, mean over 10 to 90 % of the height; NaN where one of these levels has none.
    """

    half_height: float
    along: float

    @classmethod
    def of(cls, reference: Reals, output: Reals, step_s: float) -> Self:
        """Of a trial.

        Parameters
        ----------
        reference, output : ndarray, shape (steps,)
        step_s : float

        Raises
        ------
        ValueError
            If the shapes are not those, or the reference does not move.
        """
        if reference.ndim != 1 or not reference.size or reference.shape != output.shape:
            raise ValueError(f"reference and output of shapes {reference.shape} and {output.shape}")
        moved = reference - reference[0]
        height = moved[np.argmax(np.abs(moved))]
        if not height:
            raise ValueError("reference: it does not move, so that nothing can lag behind it")
        lags = [
            step_s * _lag_at(moved / height, (output - reference[0]) / height, level)
            for level in (0.5, *_LEVELS)
        ]
        return cls(lags[0], float(np.mean(lags[1:])))


def _lag_at(reference: Reals, output: Reals, level: float) -> float:
    """Steps between the crossings of a level."""
    there, found = _crossings(reference, level)[0], _crossings(output, level)
    if not found.size:
        return float("nan")
    return float(found[np.argmin(np.abs(found - there))] - there)


def _crossings(signal: Reals, level: float) -> Reals:
    """Where a signal rises to a level, in steps, between two of them by straight interpolation."""
    before, after = signal[:-1], signal[1:]
    at = np.flatnonzero((before < level) & (after >= level))
    return np.asarray(at + (level - before[at]) / (after[at] - before[at]), np.float64)
