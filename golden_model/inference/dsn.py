"""Degenerate solution network (DSN): the parameters with a wanted behaviour, as a normalising flow.

Among the densities q(z) on a box that a flow can be, the one of largest entropy with ``E[T(x)] = µ``, found
by an augmented Lagrangian::

    minimise  -H(q) + λ·R + c/2·|R|²        R = E_z[E_x[T(x)]] - µ

An estimate of |R|² from one batch is too large by its variance; the gradient here uses ``R_1·R_2`` of two
independent batches, which is unbiased. Where the simulator is differentiable, that of R goes through it
(``pathwise``); else by the score function, ``E[(T - mean)·∇log q]``, which needs only values of T
(``score``); or through a surrogate fitted to a table (``surrogate``), where simulations are too slow for
either.

Source: Bittner and Cunningham, degenerate solution networks, equation 1; Loaiza-Ganem, Gao and Cunningham
2017 (maximum entropy flow networks).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import zuko
from torch import Tensor

from .surrogate import Surrogate, surrogate

__all__ = ["BoxFlow", "DsnResult", "Settings", "Surrogate", "fit_dsn", "surrogate"]

Reals = npt.NDArray[np.float64]
Simulate = Callable[[Tensor], Tensor]
"""Parameters, shape (n, d), to statistics T, shape (n, k)."""


class BoxFlow(torch.nn.Module):
    """A flow (RealNVP) whose samples lie in a box.

    Parameters
    ----------
    low, high : sequence of float
        Of the box, per parameter.
    transforms, hidden : int
        Coupling transforms, and units of each of two layers in them.
    """

    low: Tensor
    width: Tensor

    def __init__(
        self, low: Sequence[float], high: Sequence[float], transforms: int = 8, hidden: int = 64
    ) -> None:
        super().__init__()
        self.register_buffer("low", torch.as_tensor(low, dtype=torch.float32))
        self.register_buffer("width", torch.as_tensor(high, dtype=torch.float32) - self.low)
        self.flow = zuko.flows.RealNVP(len(low), transforms=transforms, hidden_features=(hidden, hidden))

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Parameters, shape (count, d), and their log density, shape (count,): both differentiable."""
        y, log_density = self.flow().rsample_and_log_prob((count,))
        return self.low + self.width * torch.sigmoid(y), log_density - self._stretched(y)

    def draw_scored(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`draw`, and the log density of these parameters as fixed ones, shape (count,).

        Not through :meth:`log_density`: back from the parameters, single precision loses what is near an edge
        of the box, where a density far too small has a slope without limit.
        """
        distribution = self.flow()
        y, log_density = distribution.rsample_and_log_prob((count,))
        fixed = y.detach()
        score = distribution.log_prob(fixed) - self._stretched(fixed)
        return self.low + self.width * torch.sigmoid(y), log_density - self._stretched(y), score

    def log_density(self, z: Tensor) -> Tensor:
        """Of parameters in the box, shape (n, d); shape (n,). Beyond it the value is that of its edge."""
        y = torch.logit(((z - self.low) / self.width).clamp(1e-6, 1 - 1e-6))
        density: Tensor = self.flow().log_prob(y)
        return density - self._stretched(y)

    def _stretched(self, y: Tensor) -> Tensor:
        """Log of the volume that a unit of y takes in the box."""
        log_sigmoid = torch.nn.functional.logsigmoid
        return (log_sigmoid(y) + log_sigmoid(-y) + self.width.log()).sum(-1)


@dataclass(frozen=True)
class Settings:
    """Of the optimisation.

    Attributes
    ----------
    rounds, steps : int
        Rounds of the augmented Lagrangian, and gradient steps in each.
    batch : int
        Draws of each of the two independent batches of a step.
    check, last_check : int
        Draws with which a round's violations are measured, and those of the trained network.
    rate, last_rate : float
        Of Adam: the first until two fifths of the rounds are over, then falling geometrically to the last.
    memory : float
        Gradient steps over which the network's weights are averaged, exponentially; the average is what is
        measured and kept. It has less of the noise that the gradient leaves in the weights.
    penalty, most_penalty, growth : float
        c at first and at most, and its factor where a round has not halved the violation.
    transforms, hidden : int
        See :class:`BoxFlow`.
    tolerance : float
        Of every violation, in units of its statistic's scale, for convergence ...
    entropy_tolerance : float
        ... and of the entropy's change over the last quarter of the rounds, in nats; of one round alone
        nothing can be said.

    Raises
    ------
    ValueError
        If a number is too small.
    """

    rounds: int = 24
    steps: int = 250
    batch: int = 256
    check: int = 16384
    last_check: int = 65536
    rate: float = 2e-3
    last_rate: float = 1e-4
    memory: float = 200.0
    penalty: float = 1e-2
    most_penalty: float = 2.0
    growth: float = 1.3
    transforms: int = 8
    hidden: int = 64
    tolerance: float = 0.03
    entropy_tolerance: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (
            ("rounds", 1),
            ("steps", 1),
            ("batch", 2),
            ("check", 2),
            ("last_check", 2),
            ("memory", 1),
            ("growth", 1),
            ("transforms", 1),
            ("hidden", 1),
        ):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} = {getattr(self, name)}: at least {least}")
        for name in ("rate", "last_rate", "penalty", "most_penalty", "tolerance", "entropy_tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: must be above 0")


@dataclass(frozen=True, eq=False)
class DsnResult:
    """A trained network.

    Attributes
    ----------
    flow : BoxFlow
    entropy : float
        Of q, in nats.
    violation : ndarray, shape (statistics,)
        E[T] - µ, measured on fresh draws; with a surrogate, that of the surrogate.
    standard_error : ndarray, shape (statistics,)
        Of it.
    multipliers : ndarray, shape (statistics,)
        λ: at the optimum the natural parameters η of the density.
    history : ndarray, shape (rounds, 1 + statistics)
        Entropy and violation after each round.
    converged : bool
        Every violation is within the tolerance, and the entropy has changed by less than its own over the
        last quarter of the rounds.
    gradient : str
        How the simulator was differentiated: ``pathwise``, ``score`` or ``surrogate``.
    seconds : float
    """

    flow: BoxFlow
    entropy: float
    violation: Reals
    standard_error: Reals
    multipliers: Reals
    history: Reals
    converged: bool
    gradient: str
    seconds: float

    def sample(self, count: int, seed: int) -> Reals:
        """Parameters, shape (count, d)."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return _sample(self.flow, count)


def _sample(flow: BoxFlow, count: int) -> Reals:
    """Parameters, shape (count, d)."""
    with torch.no_grad():
        return np.asarray(flow.draw(count)[0].numpy(), np.float64)


def fit_dsn(
    simulate: Simulate,
    targets: Sequence[float] | Reals,
    low: Sequence[float],
    high: Sequence[float],
    *,
    seed: int,
    scale: Sequence[float] | Reals | None = None,
    differentiable: bool = True,
    settings: Settings | None = None,
    progress: Callable[[int, str], None] = lambda done, told: None,
    refine: Callable[[int, Callable[[int], Reals]], Simulate | None] = lambda done, draw: None,
) -> DsnResult:
    """Train a degenerate solution network.

    Parameters
    ----------
    simulate : callable
        Parameters, shape (n, d), to statistics, shape (n, k): of the same number type, float32.
    targets : sequence of float, shape (k,)
        µ.
    low, high : sequence of float, shape (d,)
        The box.
    seed : int
        Of initial weights and draws.
    scale : sequence of float, shape (k,), optional
        Units in which violations are compared; else 1.
    differentiable : bool
        The gradient goes through `simulate`; else the score function takes its place, and `simulate` may be
        any code, random too.
    settings : Settings, optional
    progress : callable
        Told the rounds done, and what they came to.
    refine : callable
        Told the rounds done, and given a function that draws parameters, shape (count, d), from the network
        as it is; what it returns, unless None, takes the place of `simulate`. So a surrogate can be fitted
        anew, to simulations of what matters.

    Raises
    ------
    ValueError
        If shapes do not match, the box is empty, endless or of one parameter, a target or a scale is not
        finite, or a statistic or its gradient is not.
    """
    settings = settings or Settings()
    torch.set_num_threads(1)  # small matrices: a second thread is slower
    began = time.perf_counter()
    if len(low) != len(high) or not all(-math.inf < a < b < math.inf for a, b in zip(low, high, strict=True)):
        raise ValueError(f"box from {list(low)} to {list(high)}: needs finite low < high for each parameter")
    if len(low) < 2:
        raise ValueError("a flow of coupled parameters: at least 2 parameters; maximum entropy takes 1")
    wanted = torch.as_tensor(np.asarray(targets, np.float32))
    units = torch.ones_like(wanted) if scale is None else torch.as_tensor(np.asarray(scale, np.float32))
    if wanted.ndim != 1 or not wanted.numel() or units.shape != wanted.shape or not bool((units > 0).all()):
        raise ValueError(f"targets {wanted.tolist()}, scale {units.tolist()}: one each, scales above 0")
    if not bool(torch.isfinite(wanted + units).all()):
        raise ValueError(f"targets {wanted.tolist()}, scale {units.tolist()}: must be finite")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = BoxFlow(low, high, settings.transforms, settings.hidden)
        average = deepcopy(flow)
        optimiser = torch.optim.Adam(flow.parameters(), lr=settings.rate)
        multipliers, penalty, before = torch.zeros_like(wanted), settings.penalty, math.inf
        history = []
        for done in range(settings.rounds):
            _set_rate(optimiser, settings, done)
            for _ in range(settings.steps):
                loss = _loss(flow, simulate, wanted, units, multipliers, penalty, settings, differentiable)
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                if not bool(torch.nn.utils.clip_grad_norm_(flow.parameters(), _CLIP).isfinite()):
                    raise ValueError(f"gradient: not finite in round {done + 1}, seed = {seed}")
                optimiser.step()
                with torch.no_grad():
                    for kept, weight in zip(average.parameters(), flow.parameters(), strict=True):
                        kept.lerp_(weight, 1 / settings.memory)
            refined = refine(done + 1, partial(_sample, average))
            simulate = simulate if refined is None else refined
            entropy, violation, error = _measure(average, simulate, wanted, settings.check)
            scaled = violation / units
            multipliers = multipliers + penalty * scaled.clamp(-_FAR, _FAR)
            norm = float(scaled.norm())
            if norm > before / 2:
                penalty = min(penalty * settings.growth, settings.most_penalty)
            before = norm
            history.append([entropy, *violation.tolist()])
            progress(
                done + 1, f"entropy {entropy:.3f} nats, largest violation {float(scaled.abs().max()):.3f}"
            )
        entropy, violation, error = _measure(average, simulate, wanted, settings.last_check)
    course = np.array(history)
    quarter = course[-max(settings.rounds // 4, 2) :, 0]
    at_rest = quarter.size > 1 and float(np.ptp(quarter)) < settings.entropy_tolerance
    return DsnResult(
        flow=average,
        entropy=entropy,
        violation=violation.double().numpy(),
        standard_error=error.double().numpy(),
        multipliers=(multipliers / units).double().numpy(),
        history=course,
        converged=at_rest and bool(((violation / units).abs() < settings.tolerance).all()),
        gradient=_gradient(simulate, differentiable),
        seconds=time.perf_counter() - began,
    )


_CLIP = 10.0
"""Of the gradient's norm."""
_FAR = 50.0
"""Of a violation, in units: more does not move a multiplier further."""
_STEADY = 0.4
"""Share of the rounds with the first rate."""


def _gradient(simulate: Simulate, differentiable: bool) -> str:
    if not differentiable:
        return "score"
    return "surrogate" if isinstance(simulate, Surrogate) else "pathwise"


def _set_rate(optimiser: torch.optim.Optimizer, settings: Settings, done: int) -> None:
    late = max(0.0, (done / max(settings.rounds - 1, 1) - _STEADY) / (1 - _STEADY))
    for group in optimiser.param_groups:
        group["lr"] = settings.rate * (settings.last_rate / settings.rate) ** late


def _loss(
    flow: BoxFlow,
    simulate: Simulate,
    wanted: Tensor,
    units: Tensor,
    multipliers: Tensor,
    penalty: float,
    settings: Settings,
    differentiable: bool,
) -> Tensor:
    """A number whose gradient is an unbiased estimate of the augmented Lagrangian's."""
    if differentiable:
        z, log_density = flow.draw(2 * settings.batch)
        found = _away(simulate, z, wanted) / units
        first, second = (half.mean(0) for half in found.chunk(2))
        return (
            log_density.mean()
            + ((first + second) / 2 * multipliers).sum()
            + penalty / 2 * (first * second).sum()
        )
    z, log_density, score = flow.draw_scored(2 * settings.batch)
    with torch.no_grad():
        found = _away(simulate, z.detach(), wanted) / units
    halves, scores = found.chunk(2), score.chunk(2)
    means = [half.mean(0) for half in halves]
    # The mean as a baseline leaves the gradient as it is, but for a factor that makes up for its own share.
    bias = settings.batch / (settings.batch - 1)
    slopes = [
        bias * ((half - mean) * own[:, None]).mean(0)
        for half, mean, own in zip(halves, means, scores, strict=True)
    ]
    linear = ((slopes[0] + slopes[1]) / 2 * multipliers).sum()
    return log_density.mean() + linear + penalty / 2 * (slopes[0] * means[1] + means[0] * slopes[1]).sum()


def _away(simulate: Simulate, z: Tensor, wanted: Tensor) -> Tensor:
    """T - µ of each draw, shape (n, k)."""
    found = simulate(z)
    if found.shape != (len(z), wanted.numel()):
        raise ValueError(
            f"statistics of shape {tuple(found.shape)}: for {len(z)} draws and {wanted.numel()} targets"
        )
    finite = torch.isfinite(found).all(1)
    if not bool(finite.all()):
        refused = z[~finite].detach()
        raise ValueError(
            f"statistics: of {len(refused)} of {len(z)} draws not finite, first at z = {refused[0].tolist()}"
        )
    return found - wanted


@torch.no_grad()
def _measure(flow: BoxFlow, simulate: Simulate, wanted: Tensor, count: int) -> tuple[float, Tensor, Tensor]:
    """Entropy, violation, its standard error."""
    z, log_density = flow.draw(count)
    away = _away(simulate, z, wanted)
    return -float(log_density.mean()), away.mean(0), away.std(0) / math.sqrt(count)
