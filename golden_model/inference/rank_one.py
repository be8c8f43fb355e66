"""A recurrent network of rank one that does Go/No-Go: by mean-field theory, and neuron by neuron.

    dx/dt = -x + J·tanh(x) + I      J = g·X + m·nᵀ/N      X_ij ~ N(0, 1/N)  m_i ~ N(Mm, Σm²)  n_i ~ N(Mn, Σn²)

The response, along m, is ``κ = Σ n_i·tanh(x_i)/N``. Stimulus A is the pattern of n, ``I_i = (n_i - Mn)/Σn``;
stimulus B is as large and has nothing to do with it. At rest, in the limit of many neurons, x is Gaussian
over them with ::

    mean = Mm·κ      variance = Σm²·κ² + 1 + g²·C      C = <tanh²>      κ = <n·tanh>

where n and x have the covariance Σn for A, and none for B. A network of N neurons is a sample of these
Gaussians, so that its averages are off by a fluctuation, normal with the variance over neurons divided by N:
κ = <n·tanh> + ξ·sd(n·tanh)/√N, and C by what goes with it and a fluctuation ζ of its own. The mean-field
equations with these are solved for several ξ and ζ, and the moments of the response are means over them. To
first order the feedback would amplify ξ without limit near a bifurcation, where the second moment for B comes
from; in networks, and so in these equations, saturation holds it.

Statistics: κ for A and its variance about the target, and κ² for B. B's equations always hold for κ = 0,
which answers nothing if it is stable; so κ starts beside it and is followed in time.

Source: Bittner and Cunningham, "Richer DSN models"; Mastrogiuseppe and Ostojic 2018. Neither stimulus nor
target is in the first, nor the term in 1/N in either: these are of ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["HIGH", "LOW", "NAMES", "SCALE", "TARGETS", "TRAINING", "mean_field", "simulate_networks"]

Reals = npt.NDArray[np.float64]

NAMES = ("Mm", "Mn", "Σm", "Σn", "g")
LOW = (-2.0, -2.0, 0.0, 0.0, 0.0)
HIGH = (2.0, 2.0, 2.0, 3.0, 0.9)
"""g stays below 1: without input the network is not chaotic."""
_RESPONSE = 1.0
TARGETS = np.array([_RESPONSE, 0.1**2, 0.1**2])
"""E[κ for A], E[(κ for A - 1)²], E[κ² for B]."""
SCALE = (0.1, 0.01, 0.01)
"""Units of the violations."""
TRAINING = {"rounds": 20, "steps": 120, "batch": 128, "check": 4096, "last_check": 32768, "tolerance": 0.1}
"""Settings of a DSN: fewer draws than by default, as each takes sixty steps; violations in :data:`SCALE`."""
_STEP, _STEPS = 0.5, 60
"""Of the mean field's time, in units of the neurons' time constant: thirty of these in all."""
_START = 0.5
_LEAST_STABLE = 0.1
"""Of det(1 - Jacobian): nearer to a bifurcation the gradient has a pole."""
_NEWTON = 2
"""Steps of Newton's after it."""
_LEAST = 1e-12
"""Of a variance: its root has a slope."""
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
"""Of the Gaussian averages. Beside 121 nodes, κ is within 0.005 in 99 % of the box and 0.02 in all."""
_FLUCTUATIONS, _FLUCTUATION_WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_FLUCTUATION_WEIGHTS = _FLUCTUATION_WEIGHTS / _FLUCTUATION_WEIGHTS.sum()
"""Of ξ. Beside 15 nodes, κ² for B is within 2 % near the bifurcation."""
_XI = np.append(_FLUCTUATIONS, [0, 0])
_ZETA = np.append(0 * _FLUCTUATIONS, [1, -1])
_SHARES = np.append(_FLUCTUATION_WEIGHTS - np.eye(5)[2], [0.5, 0.5])
"""Of the pairs (ξ, ζ): ζ, which matters little, by its second difference about ξ = 0."""


def mean_field(z: Any, neurons: int | None = None) -> Any:
    """T of each row by mean-field theory: tensor of shape (n, 5) to (n, 3), differentiable.

    Parameters
    ----------
    z : tensor, shape (n, 5)
    neurons : int, optional
        N, whose fluctuations the moments are means over; else there are none.
    """
    import torch

    overlaps = torch.stack([z[:, 3], 0 * z[:, 3]])
    kappa, weights = _responses(z, overlaps, neurons)
    go, no_go = kappa @ weights, kappa**2 @ weights
    spread = (kappa[0] - _RESPONSE) ** 2 @ weights
    return torch.stack([go[0], spread, no_go[1]], 1)


def _responses(z: Any, overlap: Any, neurons: int | None) -> tuple[Any, Any]:
    """κ at the end for each fluctuation, shape (2, n, fluctuations), and their weights.

    `overlap`: covariance of n and x, shape (2, n). The state is followed in time without a gradient, and
    brought to rest by Newton's steps; the last is differentiable, and has the gradient of what is at rest.
    """
    import torch

    nodes, weights = (torch.as_tensor(array, dtype=z.dtype) for array in (_NODES, _NODE_WEIGHTS))
    if neurons is None:
        xi, zeta, shares = z.new_zeros(1), z.new_zeros(1), z.new_ones(1)
    else:
        xi, zeta, shares = (torch.as_tensor(array, dtype=z.dtype) for array in (_XI, _ZETA, _SHARES))
        xi, zeta = xi / neurons**0.5, zeta / neurons**0.5

    def step(kappa: Any, variance: Any, z: Any, overlap: Any) -> tuple[Any, Any]:
        """What κ and the variance of x are driven to."""
        mean_m, mean_n, sd_m, sd_n, g = (z[:, i, None] for i in range(5))
        deviation = variance.sqrt()[..., None]
        rate = torch.tanh((mean_m * kappa)[..., None] + deviation * nodes)
        n = mean_n[..., None] + overlap[..., None, None] / deviation * nodes
        square, each = rate**2, n * rate
        mean, power = each @ weights, square @ weights
        # Covariance of (n·tanh, tanh²) over neurons; n varies about its mean given x, too.
        beside = sd_n**2 - overlap[..., None] ** 2 / variance
        deviant = ((each**2 @ weights + beside * power - mean**2).clamp(min=_LEAST)).sqrt()
        along = (each * square @ weights - mean * power) / deviant
        across = (square**2 @ weights - power**2 - along**2).clamp(min=_LEAST).sqrt()
        fluctuation = power + xi * along + zeta * across
        return mean + xi * deviant, (sd_m * kappa) ** 2 + 1 + g**2 * fluctuation

    with torch.no_grad():
        kappa = z.new_full((*overlap.shape, len(xi)), _START)
        variance = torch.ones_like(kappa)
        for _ in range(_STEPS):
            to_kappa, to_variance = step(kappa, variance, z, overlap)
            kappa = kappa + _STEP * (to_kappa - kappa)
            variance = variance + _STEP * (to_variance - variance)
    for last in [False] * _NEWTON + [True]:
        with torch.enable_grad():
            state = kappa.detach().requires_grad_(), variance.detach().requires_grad_()
            to_kappa, to_variance = step(*state, z.detach(), overlap.detach())
            k_k, k_v = torch.autograd.grad(to_kappa.sum(), state, retain_graph=True)
            v_k, v_v = torch.autograd.grad(to_variance.sum(), state)
        kappa, variance = (value.detach() for value in state)
        determinant = ((1 - k_k) * (1 - v_v) - k_v * v_k).clamp(min=_LEAST_STABLE)
        if last:  # of what is solved only slopes with the parameters are left
            to_kappa, to_variance = step(kappa, variance, z, overlap)
        else:
            to_kappa, to_variance = to_kappa.detach(), to_variance.detach()
        off_kappa, off_variance = to_kappa - kappa, to_variance - variance
        kappa = kappa + ((1 - v_v) * off_kappa + k_v * off_variance) / determinant
        variance = variance + ((1 - k_k) * off_variance + v_k * off_kappa) / determinant
    return kappa, shares


def simulate_networks(
    z: Reals, neurons: int, seed: int, *, duration: float = 30.0, step: float = 0.1
) -> Reals:
    """T of each row by a network of its own: shape (n, 5) to (n, 3).

    Parameters
    ----------
    z : ndarray, shape (n, 5)
    neurons : int
        N.
    seed : int
        Of connectivity, patterns and stimuli.
    duration, step : float
        Of forward Euler, in time constants of a neuron; the response is the mean over the last third.
    """
    found = np.empty((len(z), 3))
    steps = round(duration / step)
    for row, parameters in enumerate(z):
        rng = np.random.default_rng((seed, row))
        mean_m, mean_n, sd_m, sd_n, g = np.asarray(parameters, np.float32)
        # Single precision: a network's matrix passes through the cache in each step, and 1e-7 is far below
        # 1/√N.
        pattern, around, other = rng.standard_normal((3, neurons), np.float32)
        m, n = mean_m + sd_m * around, mean_n + sd_n * pattern
        random = g / np.float32(np.sqrt(neurons)) * rng.standard_normal((neurons, neurons), np.float32)
        stimuli = np.stack([pattern, other], axis=1)
        x = np.repeat((np.float32(_START) * m)[:, None], 2, axis=1)
        kappas = np.empty((steps, 2))
        for k in range(steps):
            rates = np.tanh(x)
            kappa = n @ rates / np.float32(neurons)
            x += np.float32(step) * (-x + random @ rates + m[:, None] * kappa + stimuli)
            kappas[k] = kappa
        go, no_go = kappas[2 * steps // 3 :].mean(axis=0)
        found[row] = go, (go - _RESPONSE) ** 2, no_go**2
    return found
