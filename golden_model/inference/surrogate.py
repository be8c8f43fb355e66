"""A surrogate of a simulator: the mean statistics at given parameters, learnt from a table, differentiable.

A network of two layers is fitted by least squares, whose optimum is the mean ``E[T|z]``. So a second moment
needs a column of its own, T² in the table, and must not be made of the mean afterwards: ``E[T²|z]`` is larger
by the variance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Surrogate", "surrogate"]

Reals = npt.NDArray[np.float64]

_HELD_OUT = 0.1
_LEAST = 200
_BATCH = 256
_RATE, _LAST_RATE = 3e-3, 1e-4


class Surrogate(torch.nn.Module):
    """Parameters, shape (n, d), to mean statistics, shape (n, k). Made by :func:`surrogate`.

    Attributes
    ----------
    explained : ndarray, shape (k,)
        Share of each statistic's variance among simulations that it was not fitted to. What is left is noise
        of the simulator and error of the fit: it bounds the error from above.
    bias, bias_error : ndarray, shape (k,)
        Mean error over these simulations, and the standard error of it.
    """

    low: Tensor
    high: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, low: Reals, high: Reals, centre: Reals, spread: Reals, hidden: int) -> None:
        super().__init__()
        for name, values in (("low", low), ("high", high), ("centre", centre), ("spread", spread)):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32))
        self.network = torch.nn.Sequential(
            torch.nn.Linear(len(low), hidden),
            torch.nn.SiLU(),
            torch.nn.Linear(hidden, hidden),
            torch.nn.SiLU(),
            torch.nn.Linear(hidden, len(centre)),
        )
        self.explained = self.bias = self.bias_error = np.full(len(centre), np.nan)

    def scaled(self, z: Tensor) -> Tensor:
        """Statistics in units of their spread in the table, about their mean there."""
        found: Tensor = self.network(2 * (z - self.low) / (self.high - self.low) - 1)
        return found

    def forward(self, z: Tensor) -> Tensor:
        """E[T|z]."""
        return self.centre + self.spread * self.scaled(z)


def surrogate(
    z: Reals,
    statistics: Reals,
    low: Reals,
    high: Reals,
    *,
    seed: int,
    hidden: int = 64,
    epochs: int = 60,
) -> Surrogate:
    """Fit a surrogate to a table of simulations.

    Parameters
    ----------
    z : ndarray, shape (n, d)
        Parameters within the box; whole numbers are taken as real.
    statistics : ndarray, shape (n, k)
        T of a simulation of each; rows with a NaN are left out.
    low, high : ndarray, shape (d,)
        The box.
    seed : int
        Of initial weights, of the order of the rows and of the choice of those held out.
    hidden, epochs : int
        Units of each layer; passes through the table.

    Raises
    ------
    ValueError
        If shapes do not match, or fewer than 200 rows are finite.
    """
    z, statistics = np.asarray(z, np.float64), np.asarray(statistics, np.float64)
    if (
        z.ndim != 2
        or statistics.ndim != 2
        or len(z) != len(statistics)
        or not len(low) == len(high) == z.shape[1]
    ):
        raise ValueError(
            f"parameters of shape {z.shape}, statistics of shape {statistics.shape}, {len(low)} limits"
        )
    valid = np.isfinite(statistics).all(axis=1)
    if valid.sum() < _LEAST:
        raise ValueError(f"{valid.sum()} simulations with finite statistics: at least {_LEAST}")
    torch.set_num_threads(1)  # small matrices: a second thread is slower
    order = np.random.default_rng(seed).permutation(np.flatnonzero(valid))
    test, fitted = order[: round(_HELD_OUT * order.size)], order[round(_HELD_OUT * order.size) :]
    centre, spread = statistics[fitted].mean(axis=0), statistics[fitted].std(axis=0)
    inputs = torch.as_tensor(z[fitted], dtype=torch.float32)
    outputs = torch.as_tensor(
        (statistics[fitted] - centre) / np.where(spread > 0, spread, 1.0), dtype=torch.float32
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Surrogate(np.asarray(low), np.asarray(high), centre, spread, hidden)
        optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
        decay = (_LAST_RATE / _RATE) ** (1 / epochs)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, decay)
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(inputs)), _BATCH):
                loss = ((model.scaled(inputs[rows]) - outputs[rows]) ** 2).mean()
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
            schedule.step()
    model.requires_grad_(False)
    errors = model(torch.as_tensor(z[test], dtype=torch.float32)).double().numpy() - statistics[test]
    variance = statistics[test].var(axis=0)
    variance[variance == 0] = np.nan  # nothing to explain
    model.explained = 1 - (errors**2).mean(axis=0) / variance
    model.bias = errors.mean(axis=0)
    model.bias_error = errors.std(axis=0) / np.sqrt(len(test))
    return model
