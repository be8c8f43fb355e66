"""Stiff and sloppy directions of a behaviour: of a region of the box, about a point, and how far it goes.

Coordinates are in standard deviations of the uniform density on the box, so that units of different
parameters compare and a direction without constraint has variance 1. A *stiff* direction is one in which
little is allowed, a *sloppy* one one in which much is. Three answers, which agree where the region is convex
and behaviour linear:

- of the region: eigenvectors of the covariance of its draws, or of re-weighted ones (:func:`directions`);
- about a point: eigenvectors of the Fisher information ``J' C⁻¹ J`` of one session, J the
  derivative of the mean statistics and C their covariance over sessions (:func:`fisher`);
- from a point outwards: the distance at which the behaviour is half as frequent (:func:`margin`).

Designs say which simulations the last two need: rows of parameters with their seeds, the same seeds at each
point (common random numbers), so that the noise of the sessions cancels in differences.

Source: Gutenkunst et al. 2007 (doi 10.1371/journal.pcbi.0030189), for the terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .behaviour import NAMES
from .comparison import Wanted, behaves
from .parameters import ParameterSpace
from .simulations import Table

__all__ = [
    "DISTANCES",
    "Directions",
    "Fisher",
    "Margin",
    "directions",
    "fisher",
    "fisher_design",
    "margin",
    "margin_design",
    "scales",
]

Reals = npt.NDArray[np.float64]
Design = tuple[Reals, npt.NDArray[np.int64]]
"""Parameters, shape (rows, parameters), and seeds, shape (rows,)."""

DISTANCES = np.geomspace(1 / 64, 1, 9)
"""Points of a ray, in shares of the way to the box's border."""
_RESAMPLES, _BLOCKS = 200, 60
_BEHAVIOUR = [index for index, name in enumerate(NAMES) if name != "energy"]


def scales(space: ParameterSpace) -> Reals:
    """Standard deviation of each parameter in the box, shape (parameters,)."""
    return np.asarray((space.high - space.low) / math.sqrt(12))


@dataclass(frozen=True, eq=False)
class Directions:
    """Principal directions of a region, stiffest first.

    Attributes
    ----------
    spreads, errors : ndarray, shape (parameters,)
        Standard deviation along each, the uniform density's being 1, and its standard error.
    vectors : ndarray, shape (parameters, parameters)
        A row a direction, of length 1; the largest component is positive.
    alignment : ndarray, shape (parameters,)
        Mean |cosine| between a direction and the same of resampled draws; 1 if certain, lower where two
        directions have much the same spread.
    """

    spreads: Reals
    errors: Reals
    vectors: Reals
    alignment: Reals


def directions(z: Reals, space: ParameterSpace, weights: Reals | None = None, *, seed: int = 0) -> Directions:
    """Principal directions of draws.

    Parameters
    ----------
    z : ndarray, shape (n, parameters)
        More draws than parameters.
    space : ParameterSpace
    weights : ndarray, shape (n,), optional
        Sum 1; else all the same.
    seed : int
        Of the resampling.

    Raises
    ------
    ValueError
        If there are too few draws.
    """
    if len(z) <= z.shape[1] + 1:
        raise ValueError(f"{len(z)} draws of {z.shape[1]} parameters: at least {z.shape[1] + 2}")
    scaled = z / scales(space)
    chances = np.full(len(z), 1 / len(z)) if weights is None else weights
    values, vectors = _principal(scaled, chances)
    rng = np.random.default_rng(seed)
    spreads, cosines = [], []
    for _ in range(_RESAMPLES):
        rows = rng.integers(len(z), size=len(z))
        if not chances[rows].sum() > 0:
            continue
        other, turned = _principal(scaled[rows], chances[rows] / chances[rows].sum())
        spreads.append(np.sqrt(other))
        cosines.append(np.abs(np.sum(turned * vectors, axis=1)))
    return Directions(
        spreads=np.sqrt(values),
        errors=np.std(spreads, axis=0, ddof=1),
        vectors=vectors,
        alignment=np.mean(cosines, axis=0),
    )


def _principal(scaled: Reals, chances: Reals) -> tuple[Reals, Reals]:
    """Variances, smallest first, and the directions as rows."""
    away = scaled - chances @ scaled
    # Of weights w the unbiased covariance has 1 - Σ w² for a divisor.
    covariance = (away * chances[:, None]).T @ away / max(1 - float(np.sum(chances**2)), 1e-12)
    values, columns = np.linalg.eigh(covariance)
    return np.maximum(values, 0.0), _oriented(columns.T)


def _oriented(rows: Reals) -> Reals:
    """Signs such that the largest component of each row is positive."""
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    return np.asarray(rows * np.where(largest < 0, -1.0, 1.0))


# --- about a point ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Fisher:
    """What one session tells of the parameters about a point, stiffest direction first.

    Attributes
    ----------
    jacobian, jacobian_error : ndarray, shape (statistics, parameters)
        Of the mean of each statistic but energy, by standard deviation of the box, and its standard error.
    values, errors : ndarray, shape (parameters,)
        Eigenvalues of the Fisher information; 1/sqrt of one is the standard deviation, in those of the box,
        that one session leaves along its direction. The estimate is unbiased, so that one near 0 may come
        out below.
    vectors : ndarray, shape (parameters, parameters)
        A row a direction, oriented as those of :class:`Directions`.
    names : tuple of str
        Statistics in the order of `jacobian`.
    """

    jacobian: Reals
    jacobian_error: Reals
    values: Reals
    errors: Reals
    vectors: Reals
    names: tuple[str, ...]


def fisher_design(space: ParameterSpace, centre: Reals, seeds: Sequence[int], step: float = 0.1) -> Design:
    """Simulations for :func:`fisher`: the centre, and a step to both sides of it along each parameter.

    Parameters
    ----------
    space : ParameterSpace
    centre : ndarray, shape (parameters,)
    seeds : sequence of int
        One session each at every point.
    step : float
        In standard deviations of the box. Too short, and the grain of rates of 40 trials and of delays in
        whole steps shows; too long, and curvature does.
    """
    points = [centre]
    for index, scale in enumerate(scales(space)):
        for sign in (1, -1):
            point = np.array(centre, np.float64)
            point[index] = np.clip(point[index] + sign * step * scale, space.low[index], space.high[index])
            points.append(point)
    return _crossed(np.array(points), seeds)


def _crossed(points: Reals, seeds: Sequence[int]) -> Design:
    """Every point with every seed; the seeds of a point are together."""
    return np.repeat(points, len(seeds), axis=0), np.tile(np.asarray(seeds, np.int64), len(points))


def fisher(table: Table, space: ParameterSpace) -> Fisher:
    """Fisher information of one session about a point, from the simulations of :func:`fisher_design`.

    Parameters
    ----------
    table : Table
    space : ParameterSpace

    Raises
    ------
    ValueError
        If the table has another shape than the design, a point of it was refused, or there are too few
        sessions.
    """
    size = len(space.names)
    points = 1 + 2 * size
    sessions = len(table.z) // points
    if sessions * points != len(table.z) or sessions < len(_BEHAVIOUR) + 4:
        raise ValueError(
            f"{len(table.z)} simulations: needs {points} points of at least {len(_BEHAVIOUR) + 4} sessions"
        )
    found = table.statistics[:, _BEHAVIOUR].reshape(points, sessions, -1)
    if not np.isfinite(found).all():
        raise ValueError("a point near the centre is refused by the circuit's formats")
    z = table.z.reshape(points, sessions, size)[:, 0]
    # Distances as simulated, which the border of the box may have cut.
    lengths = np.array([z[1 + 2 * i, i] - z[2 + 2 * i, i] for i in range(size)]) / scales(space)
    slopes = (found[1::2] - found[2::2]) / lengths[:, None, None]
    each = np.moveaxis(slopes, 0, -1)  # sessions, statistics, parameters
    values, vectors = _information(each, found[0])
    # Jackknife: sessions drawn twice, as by resampling, would not be different ones in the pairs.
    blocks = min(sessions, _BLOCKS)
    block = np.arange(sessions) % blocks
    without = np.array([_information(each[block != out], found[0][block != out])[0] for out in range(blocks)])
    return Fisher(
        jacobian=each.mean(axis=0),
        jacobian_error=each.std(axis=0, ddof=1) / math.sqrt(sessions),
        values=values,
        errors=np.sqrt((blocks - 1) * without.var(axis=0)),
        vectors=vectors,
        names=tuple(NAMES[index] for index in _BEHAVIOUR),
    )


def _information(each: Reals, centre: Reals) -> tuple[Reals, Reals]:
    """Eigenvalues, largest first, and directions as rows, of J'C⁻¹J."""
    sessions = len(each)
    varies = centre.std(axis=0) > 0
    size = int(varies.sum())
    if not size:  # nothing that sessions tell apart, nothing that is learnt of them
        return np.zeros(each.shape[2]), np.eye(each.shape[2])
    covariance = np.atleast_2d(np.cov(centre[:, varies], rowvar=False))
    # The inverse of an estimated covariance is too large by this factor (Hartlap et al. 2007).
    inverse = np.linalg.pinv(covariance) * (sessions - size - 2) / (sessions - 1)
    slopes = each[:, varies]
    # The product of two sessions' slopes has no noise in common: the mean over pairs of different sessions is
    # unbiased, where that of J'C⁻¹J with the mean J is not.
    total = slopes.sum(axis=0)
    same = np.einsum("nsp,st,ntq->pq", slopes, inverse, slopes)
    information = (total.T @ inverse @ total - same) / (sessions * (sessions - 1))
    values, columns = np.linalg.eigh((information + information.T) / 2)
    return values[::-1], _oriented(columns.T[::-1])


# --- from a point outwards --------------------------------------------------------------------


@dataclass(frozen=True)
class Margin:
    """How far a behaviour goes in one direction.

    Attributes
    ----------
    distance, error : float
        In standard deviations of the box, and its standard error; NaN if the centre never has the behaviour.
    reach : float
        Distance to the border of the box.
    inside : bool
        Whether the behaviour is lost within the box; if not, `distance` is `reach`.
    at_centre : float
        Share of the sessions at the centre with the behaviour.
    """

    distance: float
    error: float
    reach: float
    inside: bool
    at_centre: float


def reach(space: ParameterSpace, centre: Reals, direction: Reals) -> float:
    """Distance from the centre to the border of the box, in standard deviations of the box."""
    along = direction * scales(space)
    with np.errstate(divide="ignore", invalid="ignore"):
        limits = np.where(along > 0, (space.high - centre) / along, (space.low - centre) / along)
    return float(limits[along != 0].min())


def margin_design(space: ParameterSpace, centre: Reals, direction: Reals, seeds: Sequence[int]) -> Design:
    """Simulations for :func:`margin`: the centre, and :data:`DISTANCES` of the way to the border.

    Parameters
    ----------
    space : ParameterSpace
    centre : ndarray, shape (parameters,)
        Within the box.
    direction : ndarray, shape (parameters,)
        In standard deviations of the box, of length 1.
    seeds : sequence of int
        One session each at every point.
    """
    lengths = np.concatenate([[0.0], DISTANCES]) * reach(space, centre, direction)
    points = centre + lengths[:, None] * direction * scales(space)
    return _crossed(np.clip(points, space.low, space.high), seeds)


def margin(table: Table, space: ParameterSpace, direction: Reals, wanted: Wanted, *, seed: int = 0) -> Margin:
    """Distance at which the behaviour is half as frequent as at the centre, from :func:`margin_design`.

    Between two points the frequency is taken for a straight line over the logarithm of the distance; a
    simulation that the formats refuse does not have the behaviour.

    Raises
    ------
    ValueError
        If the table has another shape than the design.
    """
    points = 1 + DISTANCES.size
    if not len(table.z) or len(table.z) % points:
        raise ValueError(f"{len(table.z)} simulations: needs {points} points")
    has = behaves(table, wanted).reshape(points, -1)
    way = reach(space, table.z[0], direction)
    shares = has.mean(axis=1)
    share, inside = _half(shares)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(_RESAMPLES):
        drawn = has[:, rng.integers(has.shape[1], size=has.shape[1])].mean(axis=1)
        found.append(_half(drawn)[0])
    others = np.array(found)
    others = others[np.isfinite(others)]
    return Margin(
        distance=share * way,
        error=float(others.std(ddof=1)) * way if others.size > 1 and math.isfinite(share) else math.nan,
        reach=way,
        inside=inside,
        at_centre=float(shares[0]),
    )


def _half(shares: Reals) -> tuple[float, bool]:
    """Where, in shares of the way, the frequency falls below half of the first; whether it does."""
    if shares[0] == 0:
        return math.nan, False
    level = shares[0] / 2
    below = np.flatnonzero(shares[1:] < level)
    if not below.size:
        return 1.0, False
    after = int(below[0])
    if after == 0:
        return float(DISTANCES[0]), True
    high, low = shares[after], shares[after + 1]
    part = (high - level) / (high - low)
    return float(np.exp(np.interp(part, (0, 1), np.log(DISTANCES[after - 1 : after + 1])))), True
