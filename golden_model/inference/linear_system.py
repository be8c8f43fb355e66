"""The linear system ``dx/dt = A·x`` of two dimensions that oscillates in a band: the DSN paper's figure 2.

z = (a1, a2, a3, a4), the entries of A by rows. Statistics of its pair of eigenvalues: real part (their mean
where both are real) and imaginary part (0 there), mean and variance about the target. The paper prints 1 as
the second moment of the imaginary part, which its mean of 4π excludes: second moments are variances.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BOX", "LOG_VOLUME", "NAMES", "TARGETS", "chunks", "quadrature", "statistics", "uniform"]

Reals = npt.NDArray[np.float64]

NAMES = ("a1", "a2", "a3", "a4")
_SIDE = 30.0
BOX = (-_SIDE, _SIDE)
"""Of each entry: without one the entropy has no limit."""
LOG_VOLUME = 4 * math.log(2 * _SIDE)
_REAL, _IMAGINARY = 0.0, 4 * math.pi
TARGETS = np.array([_REAL, 1.0, _IMAGINARY, 1.0])
"""E[real], E[(real - 0)²], E[imag], E[(imag - 4π)²]."""


def statistics(z: Any) -> Any:
    """T of each row: shape (n, 4) to (n, 4), for arrays of numpy and tensors of torch alike."""
    a1, a2, a3, a4 = (z[:, i] for i in range(4))
    real = (a1 + a4) / 2
    squared = a1 * a4 - a2 * a3 - real**2
    if isinstance(z, np.ndarray):
        imaginary = np.sqrt(np.maximum(squared, 0.0))
        stack: Any = np.stack
    else:
        import torch

        positive = squared > 0
        # The inner choice keeps the slope of the root at 0 out of the gradient, where it would turn into a
        # NaN.
        imaginary = torch.where(
            positive, torch.where(positive, squared, torch.ones_like(squared)).sqrt(), 0.0
        )
        stack = torch.stack
    return stack([real, (real - _REAL) ** 2, imaginary, (imaginary - _IMAGINARY) ** 2], 1)


def uniform(count: int, seed: int | tuple[int, ...]) -> Reals:
    """Draws in the box, shape (count, 4)."""
    return np.random.default_rng(seed).uniform(*BOX, size=(count, 4))


def chunks(count: int, seed: int, *, size: int = 1_000_000) -> Iterator[tuple[Reals, Reals]]:
    """Draws and their statistics, a chunk at a time; the last may be smaller."""
    for start in range(0, count, size):
        z = uniform(min(size, count - start), (seed, start))
        yield z, statistics(z)


def quadrature(points: int = 201) -> tuple[float, Reals]:
    """The largest entropy, nats, and η, by integration instead of draws: exact to 1e-9.

    In r = (a1 + a4)/2 and ω, the imaginary part, the box has the density ::

        16·ω·∫_0^D ln(L²/(d² + ω²)) dd        D = min(L - |r|, √(L² - ω²))

    with d = (a1 - a4)/2: a product a2·a3 = -u has the density 2·ln(L²/|u|), and u = ω² + d². Both signs of a2
    are in it; one mode of the two has ln 2 less entropy. Real pairs are left out: their weight is below
    1e-30.

    Parameters
    ----------
    points : int
        Of each axis.
    """
    real = np.linspace(-10, 10, points)
    imaginary = np.linspace(1e-3, _IMAGINARY + 10, points)
    r, omega = (grid.ravel() for grid in np.meshgrid(real, imaginary, indexing="ij"))
    most = np.minimum(_SIDE - np.abs(r), np.sqrt(_SIDE**2 - omega**2))
    inner = most * (np.log(_SIDE**2 / (most**2 + omega**2)) + 2) - 2 * omega * np.arctan(most / omega)
    area = 16 * omega * inner * (real[1] - real[0]) * (imaginary[1] - imaginary[0])
    away = np.stack([r, (r - _REAL) ** 2, omega, (omega - _IMAGINARY) ** 2], 1) - TARGETS
    eta = np.array([0.0, 0.5, 0.0, 0.5])  # a Gaussian in r and ω, if the box's density were flat
    for _ in range(20):  # Newton's steps on the convex dual: from here four are enough
        weights = area * np.exp(-away @ eta)
        mass = weights.sum()
        mean = weights @ away / mass
        curvature = (away * weights[:, None]).T @ away / mass - np.outer(mean, mean)
        eta = eta + np.linalg.solve(curvature, mean)
    return float(np.log(mass)), eta
