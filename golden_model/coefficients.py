"""The eight coefficients by which δp and δd follow the rate of the inferior olive (see ``recalibration``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Coefficients"]


@dataclass(frozen=True)
class Coefficients:
    """The eight coefficients, in powers of the IO rate in Hz.

    Attributes
    ----------
    alpha, beta : (float, float, float)
        Numerator of δp and common denominator, lowest power first.
    gamma : (float, float)
        Numerator of δd.
    """

    alpha: tuple[float, float, float]
    beta: tuple[float, float, float]
    gamma: tuple[float, float]

    def determinant(self, rate_hz: float) -> float:
        """The denominator at an IO rate."""
        return _horner(self.beta, rate_hz)

    def plasticity(self, rate_hz: float) -> tuple[float, float]:
        """(δp a step, δd an event) at an IO rate; ZeroDivisionError where the determinant is 0."""
        determinant = self.determinant(rate_hz)
        return _horner(self.alpha, rate_hz) / determinant, _horner(self.gamma, rate_hz) / determinant


def _horner(coefficients: Sequence[float], x: float) -> float:
    total = 0.0
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total
