"""Two circuits on the same draws: in what part of the box each has the wanted behaviour, and what differs.

Parameters are drawn uniformly from a box and each draw is simulated once, in sessions of its own. The
*region* of a circuit is the set of pairs (parameters, session) with the wanted behaviour; its share of all
draws is the probability that parameters picked at random give that behaviour. Errors are Monte Carlo
standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .behaviour import NAMES, STATISTICS
from .maxent import Infeasible, reweight
from .simulations import Table

__all__ = [
    "TARGETS",
    "Change",
    "Entropy",
    "Region",
    "Wanted",
    "behaves",
    "change",
    "check_wanted",
    "entropy",
    "region",
    "share_error",
]

Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Wanted = Mapping[str, tuple[float, float]]
"""The lowest and the highest value of each statistic that matters."""

TARGETS: Mapping[str, tuple[float, float | None]] = {
    "well_timed": (0.4, None),
    "drift": (0.0, 0.05),
    "extinction": (0.3, None),
}
"""Of the maximum entropy: the mean of each statistic, and where one is asked for its standard deviation."""
_RATIO = ("potentiation", "depression")


def check_wanted(wanted: Wanted) -> None:
    """ValueError if nothing is wanted, a statistic is unknown, or its limits are in the wrong order."""
    if not wanted:
        raise ValueError("wanted: at least one statistic")
    for name, (low, high) in wanted.items():
        if name not in NAMES:
            raise ValueError(f"statistic {name!r}: choose from {', '.join(NAMES)}")
        if not low <= high:
            raise ValueError(f"{name} from {low:g} to {high:g}: needs low <= high")
        statistic = STATISTICS[NAMES.index(name)]
        if low < statistic.least or high > statistic.most:
            raise ValueError(
                f"{name} from {low:g} to {high:g}: limits are {statistic.least:g} and {statistic.most:g}"
            )


def behaves(table: Table, wanted: Wanted) -> Flags:
    """Which simulations have the wanted behaviour, shape (n,); those without a configuration have none."""
    check_wanted(wanted)
    found = np.ones(len(table.z), np.bool_)
    with np.errstate(invalid="ignore"):
        for name, (low, high) in wanted.items():
            column = table.column(name)
            found &= (column >= low) & (column <= high)
    return found


def share_error(count: int, total: int) -> float:
    """Standard error of `count` of `total`, with half a success and half a failure more: never 0."""
    share = (count + 0.5) / (total + 1)
    return math.sqrt(share * (1 - share) / (total + 1))


@dataclass(frozen=True, eq=False)
class Region:
    """Where in the box a circuit has the wanted behaviour.

    Attributes
    ----------
    count : int
        Draws that have it.
    share, error : float
        Of all draws, and its standard error.
    refused : float
        Share of the draws that the circuit's formats cannot represent; they do not have the behaviour.
    limits : dict of str to (float, float, float)
        By parameter: quantiles 0.05, 0.5 and 0.95; empty without a draw that has the behaviour.
    correlations : ndarray, shape (parameters, parameters)
        Within the region; NaN with fewer than 3 draws.
    log_ratio : (float, float) or None
        log10(δd/δp), mean and standard deviation, where both are parameters and 2 draws have the behaviour.
    energy : float
        Mean of all draws, thousands of bits a second; NaN if every one is refused.
    """

    count: int
    share: float
    error: float
    refused: float
    limits: dict[str, tuple[float, float, float]]
    correlations: Reals
    log_ratio: tuple[float, float] | None
    energy: float


def region(table: Table, wanted: Wanted) -> Region:
    """The region of a circuit, from its simulations of uniform draws."""
    chosen = behaves(table, wanted)
    count, total = int(chosen.sum()), len(chosen)
    inside = table.z[chosen]
    quantiles = np.quantile(inside, (0.05, 0.5, 0.95), axis=0).T if count else np.empty((0, 3))
    ratio = None
    if count > 1 and set(_RATIO) <= set(table.names):
        low, high = (table.names.index(name) for name in _RATIO)
        logs = inside[:, high] - inside[:, low]
        ratio = (float(logs.mean()), float(logs.std(ddof=1)))
    energies = table.column("energy")
    valid = np.isfinite(energies)
    return Region(
        count=count,
        share=count / total,
        error=share_error(count, total),
        refused=1 - float(valid.mean()),
        limits={
            name: (float(low), float(middle), float(high))
            for name, (low, middle, high) in zip(table.names, quantiles, strict=False)
        },
        correlations=np.atleast_2d(np.corrcoef(inside, rowvar=False))
        if count > 2
        else np.full((len(table.names),) * 2, np.nan),
        log_ratio=ratio,
        energy=float(energies[valid].mean()) if valid.any() else math.nan,
    )


@dataclass(frozen=True)
class Change:
    """What another circuit does to the draws of a reference, pair by pair.

    Attributes
    ----------
    share, share_error : float
        Difference of the shares of the box, other less reference.
    picked : int
        Draws at which the rest is looked at.
    before, after : float
        Share of the picked draws with the wanted behaviour, in the reference and in the other; NaN without
        any.
    kept, kept_error : float
        ``after / before``, and its standard error, of one draw at the least; NaN if `before` is.
    shifts : dict of str to (float, float, float)
        Of each statistic at the picked draws: mean of other less reference, its standard error, and the mean
        in standard deviations of the reference there (NaN where that is 0). Without energy; empty with fewer
        than 2.
    """

    share: float
    share_error: float
    picked: int
    before: float
    after: float
    kept: float
    kept_error: float
    shifts: dict[str, tuple[float, float, float]]


def change(reference: Table, other: Table, wanted: Wanted, picked: Flags) -> Change:
    """Compare two circuits that were given the same draws.

    Parameters
    ----------
    reference, other : Table
    wanted : Wanted
    picked : ndarray of bool, shape (n,)
        Draws at which a healthy circuit behaves. By simulations of other sessions than those compared: a draw
        that is picked because its session went well does less well in any other, without any lesion.

    Returns
    -------
    Change

    Raises
    ------
    ValueError
        If the draws are not the same.
    """
    if reference.names != other.names or not np.array_equal(reference.z, other.z):
        raise ValueError("tables of other draws: a comparison needs the same in both")
    first, second = behaves(reference, wanted), behaves(other, wanted)
    count = int(picked.sum())
    both = picked & np.isfinite(reference.statistics).all(axis=1) & np.isfinite(other.statistics).all(axis=1)
    shifts = {}
    for index, name in enumerate(NAMES):
        if name == "energy" or both.sum() < 2:
            continue
        healthy, changed = (table.statistics[both, index] for table in (reference, other))
        spread = float(healthy.std(ddof=1))
        mean, error = _mean(changed - healthy)
        shifts[name] = (mean, error, mean / spread if spread > 0 else math.nan)
    share, share_error_ = _mean(second.astype(np.float64) - first)
    before, after = (float(has[picked].mean()) if count else math.nan for has in (first, second))
    kept = after / before if before > 0 else math.nan
    # Of a ratio of means, to first order; none of many would have no error at all.
    residual = second[picked] - kept * first[picked]
    kept_error = max(_mean(residual)[1], 1 / count) / before if before > 0 else math.nan
    return Change(share, share_error_, count, before, after, kept, kept_error, shifts)


def _mean(values: Reals) -> tuple[float, float]:
    """And its standard error; NaN of too few."""
    if not values.size:
        return math.nan, math.nan
    error = float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else math.nan
    return float(values.mean()), error


@dataclass(frozen=True)
class Entropy:
    """Maximum entropy of a circuit's parameters under mean constraints.

    Attributes
    ----------
    relative, error : float
        Nats below the uniform density on the box (0 or less), and its standard error: e to that is the share
        of the box that is left.
    effective_size : float
        Draws that count; below 100, the figure is rough.
    infeasible : str
        Why no weights of the draws meet the constraints; empty where they do.
    """

    relative: float = math.nan
    error: float = math.nan
    effective_size: float = 0.0
    infeasible: str = ""


def entropy(table: Table, targets: Mapping[str, tuple[float, float | None]] = TARGETS) -> Entropy:
    """Re-weight the uniform draws of a circuit to the largest entropy (see ``maxent``)."""
    columns, means, labels = [], [], []
    for name, (mean, deviation) in targets.items():
        column = table.column(name)
        columns.append(column)
        means.append(mean)
        labels.append(name)
        if deviation is not None:
            columns.append((column - mean) ** 2)
            means.append(deviation**2)
            labels.append(f"variance of {name}")
    try:
        found = reweight(np.stack(columns, axis=1), np.array(means), 0.0, names=labels)
    except Infeasible as error:
        return Entropy(infeasible=str(error))
    return Entropy(found.entropy, found.entropy_error, found.effective_size)
