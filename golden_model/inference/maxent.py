"""Maximum entropy under constraints by re-weighting uniform draws: exact but for sampling, in few dimensions.

Of all densities q on a box with ``E_q[T(x)] = µ``, that of largest entropy is ``q(z) ∝ exp(-η·T)``. With
draws z_i, uniform in the box, and one simulation T_i of each, η minimises the convex dual ::

    log mean_i exp(-η·(T_i - µ))

and the draws with weights ``exp(-η·T_i)`` are a sample of q. Parameters that are whole numbers are drawn
uniformly among their values, and count as these in the volume. Where T is random, this is the largest entropy
of the joint density of parameters and simulation; that of the parameters alone follows by their marginal.

Source: Bittner and Cunningham (degenerate solution networks), equation 1; Jaynes 1957.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

__all__ = ["Infeasible", "MaxEnt", "reweight", "reweight_chunks"]

Reals = npt.NDArray[np.float64]

# Of the statistics in units of their spread, and of η in units of one over it.
_STEEPEST = 1e3
"""Of η: beyond it the dual is taken for unbounded."""
_FLAT, _MET = 1e-11, 1e-6
"""Residuals: at which Newton's method stops, and beyond which the constraints are not met."""
_ITERATIONS = 100
_FIRST = 10.0
"""Length of a first step of η, at most."""
_FEW = 100
"""Effective draws below which moments and marginals are not to be relied on."""
_SINGULAR = 1e-12
"""Eigenvalues of the curvature, over the largest: directions in which the statistics do not vary."""


class Infeasible(ValueError):
    """No weights of these draws meet the constraints."""


@dataclass(frozen=True, eq=False)
class MaxEnt:
    """Draws re-weighted, and a certificate: how far from the optimum, and from the limit of many draws.

    Attributes
    ----------
    eta : ndarray, shape (statistics,)
        Natural parameters; infinite where the target is the least or the most that any draw has, so that only
        draws with exactly that remain.
    weights : ndarray, shape (draws,)
        Sum 1.
    entropy : float
        Of q, in nats: relative to the uniform density plus the logarithm of the box's volume.
    effective_size : float
        1 / Σ weights²: draws that count.
    residual : ndarray, shape (statistics,)
        Σ weights·T - µ: what is left of the constraints.
    standard_error : ndarray, shape (statistics,)
        Of the weighted means, by the draws' finite number.
    eta_error : ndarray, shape (statistics,)
        Of η, likewise; NaN where η is infinite. Where statistics are tied to each other only a part of η is
        determined, and this is the error of that part.
    entropy_error : float
        Of the entropy, likewise, nats.
    gap : float
        Dual less primal objective, nats: the entropy of any weights that meet the constraints exactly is at
        most this much larger.
    lost : float
        Estimated share of the weight of what :func:`reweight_chunks` has dropped.
    """

    eta: Reals
    weights: Reals
    entropy: float
    effective_size: float
    residual: Reals
    standard_error: Reals
    eta_error: Reals
    entropy_error: float
    gap: float
    lost: float = 0.0

    @property
    def warning(self) -> str | None:
        """What is wrong with the sample of draws, if anything is."""
        if self.effective_size < _FEW:
            drawn = self.weights.size
            return f"effective size {self.effective_size:.1f} of {drawn} draws: at least {_FEW} must count"
        return None

    def mean(self, values: Reals) -> Reals:
        """Weighted mean over the draws of what is, or begins, with an axis of them."""
        return np.asarray(np.tensordot(self.weights, values, axes=1))

    def masses(self, values: Reals) -> tuple[Reals, Reals]:
        """The values that a parameter of whole numbers takes, and the probability of each."""
        distinct, which = np.unique(values, return_inverse=True)
        return distinct, np.asarray(np.bincount(which, self.weights, distinct.size), np.float64)

    def sample(self, count: int, seed: int) -> npt.NDArray[np.int64]:
        """Indices of draws, with replacement, by weight."""
        rng = np.random.default_rng(seed)
        return rng.choice(self.weights.size, size=count, p=self.weights)


def reweight(
    statistics: Reals,
    targets: Reals,
    log_volume: float,
    *,
    left_out: int = 0,
    names: Sequence[str] | None = None,
) -> MaxEnt:
    """Weights of largest entropy with which uniform draws have the wanted mean statistics.

    Parameters
    ----------
    statistics : ndarray, shape (draws, statistics)
        T of each draw; draws with a NaN count as outside the support.
    targets : ndarray, shape (statistics,)
        µ.
    log_volume : float
        Logarithm of the volume that the draws are uniform in.
    left_out : int
        Further uniform draws of the same volume that are not given, and have no weight.
    names : sequence of str, shape (statistics,), optional
        Of the statistics, for messages; else ``statistic 0`` and so on.

    Returns
    -------
    MaxEnt

    Raises
    ------
    Infeasible
        If µ is outside what the draws can have as their mean, naming the statistic that is farthest off.
    ValueError
        If shapes do not match, there is no statistic, a target is not finite, or `left_out` is negative.
    """
    found = np.asarray(statistics, np.float64)
    wanted = np.asarray(targets, np.float64)
    if found.ndim != 2 or wanted.shape != found.shape[1:] or not wanted.size:
        raise ValueError(
            f"statistics of shape {found.shape} and targets of shape {wanted.shape}: as many, at least one"
        )
    labels = [f"statistic {index}" for index in range(wanted.size)] if names is None else list(names)
    if len(labels) != wanted.size:
        raise ValueError(f"names {', '.join(labels)}: {wanted.size} statistics")
    if not np.isfinite(wanted).all():
        raise ValueError(f"targets {wanted.tolist()}: must be finite")
    if left_out < 0:
        raise ValueError(f"left_out = {left_out}: must not be negative")
    total = len(found) + left_out
    inside, ends = _support(found, wanted, labels)
    away = found[inside] - wanted
    eta, eta_error, weights = _solve(away, wanted, labels)
    residual = weights @ away
    positive = weights[weights > 0]
    relative = -float(np.sum(positive * np.log(positive * total)))
    # Draws outside the support are lost volume, in the dual too.
    dual = float(logsumexp(-away @ eta)) - np.log(total)
    effective_size = 1 / float(np.sum(weights**2))
    everywhere = np.zeros(len(found))
    everywhere[inside] = weights
    free = ends == 0
    return MaxEnt(
        eta=np.where(free, eta, -np.inf * np.where(free, 1, ends)),
        weights=everywhere,
        entropy=relative + log_volume,
        effective_size=effective_size,
        residual=residual,
        standard_error=np.sqrt(np.sum(weights[:, None] ** 2 * (away - residual) ** 2, axis=0)),
        eta_error=np.where(free, eta_error, np.nan),
        # That of the logarithm of a mean of exp(-η·T): η itself adds nothing to first order, at the minimum.
        entropy_error=float(np.sqrt(max(1 / effective_size - 1 / total, 0.0))),
        gap=dual - relative,
    )


def _support(
    found: Reals, wanted: Reals, labels: list[str]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Draws that can have weight; per statistic whether µ is the least (-1) or most (1) of them, else 0."""
    inside: npt.NDArray[np.bool_] = np.asarray(np.isfinite(found).all(axis=1))
    if not inside.any():
        raise Infeasible("no draw has finite statistics")
    ends = np.zeros(wanted.size, np.int64)
    for _ in range(wanted.size + 1):  # an end reached for one statistic can make another's
        for index, target in enumerate(wanted):
            column = found[inside, index]
            low, high = column.min(), column.max()
            if not low <= target <= high:
                among = " that the other targets leave" if ends.any() else ""
                raise Infeasible(
                    f"{labels[index]}: target {target:g}, the draws{among} have {low:g} to {high:g}"
                )
            if low < high and target in (low, high):
                ends[index] = -1 if target == low else 1
                inside[inside] = column == target
    return inside, ends


def _solve(away: Reals, wanted: Reals, labels: list[str]) -> tuple[Reals, Reals, Reals]:
    """η, its standard error, and the weights, of draws with T - µ as given, shape (draws, statistics)."""
    spread = away.std(axis=0)
    spread[spread == 0] = 1.0
    scaled = away / spread

    def weigh(eta: Reals) -> tuple[float, Reals]:
        exponents = -scaled @ eta
        total = float(logsumexp(exponents))
        return total, np.exp(exponents - total)

    def dual(eta: Reals) -> tuple[float, Reals]:
        total, weights = weigh(eta)
        return total - float(np.log(len(scaled))), -(weights @ scaled)

    def curvature(eta: Reals) -> Reals:
        _, weights = weigh(eta)
        mean = weights @ scaled
        return np.asarray((scaled * weights[:, None]).T @ scaled - np.outer(mean, mean))

    eta = np.zeros(wanted.size)
    value, slope = dual(eta)
    for _ in range(_ITERATIONS):
        if np.abs(slope).max() < _FLAT or np.abs(eta).max() > _STEEPEST:
            break
        step = np.linalg.lstsq(curvature(eta), -slope)[0]
        length = float(np.linalg.norm(step))
        if length == 0:
            break
        # Where next to nothing bends the dual the step is of any length; twice as far as so far is far
        # enough.
        step *= min(1.0, max(_FIRST, 2 * float(np.linalg.norm(eta))) / length)
        downhill, share = float(slope @ step), 1.0
        while (ahead := dual(eta + share * step))[0] > value + 1e-4 * share * downhill and share > 1e-6:
            share /= 2
        eta, (value, slope) = eta + share * step, ahead
    if np.abs(slope).max() > _MET:
        index = int(np.argmax(np.abs(slope)))
        # A direction in which every draw lies on one side of µ is a proof; else the draws there are too few.
        where = "outside" if (scaled @ eta >= 0).all() else "outside or too near the edge of"
        targets = ", ".join(f"{label} {target:g}" for label, target in zip(labels, wanted, strict=True))
        raise Infeasible(
            f"{targets}: {where} what any weights of the draws can have as means, "
            f"farthest off {labels[index]}"
        )
    _, weights = weigh(eta)
    # Of an M-estimator: inverse curvature about the variance of its slope.
    inverse = np.linalg.pinv(curvature(eta), rcond=_SINGULAR, hermitian=True)
    influence = (scaled * weights[:, None]) @ inverse
    return eta / spread, np.linalg.norm(influence, axis=0) / spread, weights


def reweight_chunks(
    chunks: Iterable[tuple[Reals, Reals]], targets: Reals, log_volume: float, *, negligible: float = 1e-9
) -> tuple[Reals, Reals, MaxEnt]:
    """Re-weight more draws than fit in memory, by dropping those that have next to no weight.

    The first chunk is solved alone. Of each only draws are kept that would with its η have more than a share
    `negligible` of the first chunk's largest weight; what the others would have had is summed up in
    :attr:`MaxEnt.lost`.

    Parameters
    ----------
    chunks : iterable of (z, T)
        Uniform draws, shape (n, parameters), and their statistics, shape (n, statistics).
    targets, log_volume
        See :func:`reweight`.
    negligible : float

    Returns
    -------
    z : ndarray, shape (kept, parameters)
    statistics : ndarray, shape (kept, statistics)
    result : MaxEnt
        Of those kept; its entropy is that of all.

    Raises
    ------
    Infeasible, ValueError
        See :func:`reweight`; also if there is no chunk.
    """
    wanted = np.asarray(targets, np.float64)
    pilot: MaxEnt | None = None
    largest: float | None = None
    kept: list[tuple[Reals, Reals]] = []
    dropped, mass, lost = 0, 0.0, 0.0
    for z, statistics in chunks:
        if pilot is None:
            pilot = reweight(statistics, wanted, log_volume)
            if not np.isfinite(pilot.eta).all():
                raise Infeasible(f"targets {wanted.tolist()}: at an end of what the first chunk's draws have")
        exponents = _exponents(statistics, wanted, pilot.eta)
        largest = float(exponents.max()) if largest is None else largest
        relative = np.exp(exponents - largest)
        keep = relative > negligible
        kept.append((z[keep], statistics[keep]))
        dropped += int(keep.size - keep.sum())
        mass += float(relative[keep].sum())
        lost += float(relative[~keep].sum())
    if pilot is None:
        raise ValueError("chunks: at least one")
    z, statistics = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    result = reweight(statistics, wanted, log_volume, left_out=dropped)
    return z, statistics, replace(result, lost=lost / (mass + lost))


def _exponents(statistics: Reals, wanted: Reals, eta: Reals) -> Reals:
    """Logarithms of the draws' weights, but for a constant: shape (n,); none where T is not finite."""
    finite = np.isfinite(statistics).all(axis=1)
    found = np.full(len(statistics), -np.inf)
    found[finite] = (wanted - statistics[finite]) @ eta
    return found
