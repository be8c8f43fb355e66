"""What tells two groups of simulations apart: ridge logistic regression, judged on what it has not seen.

A small classifier rather than a large one: its coefficients say which feature matters, and in which
direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from scipy.stats import rankdata

__all__ = ["Separation", "area", "logistic", "separate"]

Reals = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

_NEWTON_STEPS = 50
_RESAMPLES = 200
_RIDGE = 1.0


@dataclass(frozen=True)
class Separation:
    """How well features tell two groups apart.

    Attributes
    ----------
    area, error : float
        Under the receiver operating characteristic of held-out predictions: 0.5 is chance, 1 is without
        error; the error is that of resampled groups.
    accuracy : float
        Held-out, balanced: mean of the shares of both groups that are told right.
    coefficients : dict of str to (float, float)
        By feature, in log odds a standard deviation: mean over the folds, and their standard deviation.
    alone : dict of str to float
        The area under the curve of each feature by itself; below 0.5 where the second group has the lower
        values.
    counts : (int, int)
        Members of each group.
    """

    area: float
    error: float
    accuracy: float
    coefficients: dict[str, tuple[float, float]]
    alone: dict[str, float]
    counts: tuple[int, int]


def logistic(features: Reals, labels: Labels, ridge: float = _RIDGE) -> Reals:
    """Coefficients of a logistic regression, by Newton's method.

    Parameters
    ----------
    features : ndarray, shape (n, features)
        Standardised.
    labels : ndarray of bool, shape (n,)
    ridge : float
        Above 0: half of it times the sum of squares is added to the negative log likelihood, but for the
        intercept's. Groups that a plane separates have finite coefficients with it alone.

    Returns
    -------
    ndarray, shape (features + 1,)
        The intercept last.
    """
    design = np.column_stack([features, np.ones(len(features))])
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 0.0

    def loss(beta: Reals) -> float:
        odds = design @ beta
        return float(np.logaddexp(0, odds).sum() - odds[labels].sum() + penalty @ beta**2 / 2)

    beta = np.zeros(design.shape[1])
    current = loss(beta)
    for _ in range(_NEWTON_STEPS):
        chance = expit(design @ beta)
        gradient = design.T @ (chance - labels) + penalty * beta
        curvature = (design.T * (chance * (1 - chance))) @ design + np.diag(penalty)
        # Where every prediction is certain, that of the intercept has no curvature left.
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(beta)), gradient)
        scale = 1.0
        while (reached := loss(beta - scale * step)) > current and scale > 1e-6:
            scale /= 2
        beta, before, current = beta - scale * step, current, min(reached, current)
        if before - current < 1e-10 * (1 + abs(current)):
            break
    return beta


def area(scores: Reals, labels: Labels) -> float:
    """Under the receiver operating characteristic: chance that one of the second group scores higher."""
    ranks = rankdata(scores)
    positive = int(labels.sum())
    negative = labels.size - positive
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


def separate(
    names: Sequence[str],
    features: Reals,
    labels: Labels,
    groups: npt.NDArray[np.int64],
    *,
    folds: int = 5,
    seed: int = 0,
) -> Separation:
    """Fit and judge a logistic regression.

    Parameters
    ----------
    names : sequence of str
    features : ndarray, shape (n, len(names))
        Finite.
    labels : ndarray of bool, shape (n,)
        True for the second group.
    groups : ndarray of int64, shape (n,)
        What belongs together, such as the two simulations of one draw, is in the same fold.
    folds : int
    seed : int
        Of the folds and the resampling.

    Raises
    ------
    ValueError
        If one of the two has fewer members than there are folds, or a fold lacks one.
    """
    counts = int((~labels).sum()), int(labels.sum())
    if min(counts) < folds:
        raise ValueError(f"groups of {counts[0]} and {counts[1]}: at least {folds} each, one a fold")
    rng = np.random.default_rng(seed)
    distinct, member = np.unique(groups, return_inverse=True)
    fold = rng.permutation(np.arange(distinct.size) % folds)[member]
    scores, found = np.empty(labels.size), []
    for held in range(folds):
        out = fold == held
        if not 0 < labels[~out].sum() < (~out).sum():
            raise ValueError(f"fold {held}: the other folds have one of the two groups only")
        mean, spread = features[~out].mean(axis=0), features[~out].std(axis=0)
        spread[spread == 0] = 1.0
        beta = logistic((features[~out] - mean) / spread, labels[~out])
        scores[out] = (features[out] - mean) / spread @ beta[:-1] + beta[-1]
        found.append(beta[:-1])
    right = (scores > 0) == labels
    return Separation(
        area=area(scores, labels),
        error=_area_error(scores, labels, member, rng),
        accuracy=float((right[labels].mean() + right[~labels].mean()) / 2),
        coefficients={
            name: (float(mean), float(spread))
            for name, mean, spread in zip(names, np.mean(found, axis=0), np.std(found, axis=0), strict=True)
        },
        alone={name: area(column, labels) for name, column in zip(names, features.T, strict=True)},
        counts=counts,
    )


def _area_error(
    scores: Reals, labels: Labels, member: npt.NDArray[np.int64], rng: np.random.Generator
) -> float:
    """Standard deviation over resampled groups."""
    order = np.argsort(member, kind="stable")
    starts = np.searchsorted(member[order], np.arange(member.max() + 2))
    areas = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(member.max() + 1, size=member.max() + 1)
        rows = np.concatenate([order[starts[i] : starts[i + 1]] for i in drawn])
        if 0 < labels[rows].sum() < rows.size:
            areas.append(area(scores[rows], labels[rows]))
    return float(np.std(areas, ddof=1))
