"""Means over several sessions of a draw, more of them where it matters.

One session tells little of its configuration, and weights by single sessions would pick lucky sessions, not
good parameters. So draws with weight get more sessions, in stages that double them; the others are known
well enough.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...golden_model.inference.maxent import Infeasible, MaxEnt, reweight
from ...golden_model.inference.simulations import Table
from .request import Request
from .store import DRAWN, Simulations

__all__ = ["Averages", "find_weights"]

Reals = npt.NDArray[np.float64]

_MASS = 0.99
"""Share of the weight whose draws get as many sessions again."""


class Averages:
    """Means of T and T² over the sessions of each draw.

    Attributes
    ----------
    z : ndarray, shape (n, parameters)
    sessions : ndarray of int64, shape (n,)
    """

    def __init__(self, table: Table) -> None:
        self.z = table.z
        self._total, self._squares = table.statistics.copy(), table.statistics**2
        self.sessions = np.ones(len(table.z), np.int64)

    def add(self, rows: npt.NDArray[np.int64], table: Table) -> None:
        """A session more of each of these draws, which may be there more than once."""
        np.add.at(self._total, rows, table.statistics)
        np.add.at(self._squares, rows, table.statistics**2)
        np.add.at(self.sessions, rows, 1)

    @property
    def mean(self) -> Reals:
        """Of T, shape (n, len(STATISTICS))."""
        return self._total / self.sessions[:, None]

    @property
    def squares(self) -> Reals:
        """Mean of T², same shape."""
        return self._squares / self.sessions[:, None]


def find_weights(request: Request, simulations: Simulations, drawn: Table) -> tuple[Averages, MaxEnt]:
    """Maximum-entropy weights of draws by their mean behaviour.

    Parameters
    ----------
    request : Request
    simulations : Simulations
    drawn : Table
        The draws, each with its first session.

    Raises
    ------
    Infeasible
        With the constraint's name.
    """
    averages = Averages(drawn)
    result = _solve(request, averages)
    reached = 1
    while reached < request.sessions:
        heaviest = np.argsort(-result.weights, kind="stable")
        mass = np.cumsum(result.weights[heaviest])
        rows = np.sort(heaviest[: int(np.searchsorted(mass, _MASS)) + 1])
        # Those that come anew have only what they had so far, and catch up.
        missing = 2 * reached - averages.sessions[rows]
        more = np.repeat(rows, missing)
        number = np.concatenate([np.arange(n) for n in missing]) + averages.sessions[more]
        table = simulations.run(
            f"{2 * reached} sessions", averages.z[more], simulations.seeds(more, DRAWN + number)
        )
        averages.add(more, table)
        reached *= 2
        result = _solve(request, averages)
    return averages, result


def _solve(request: Request, averages: Averages) -> MaxEnt:
    columns = request.constraints(averages.mean, averages.squares)
    try:
        return reweight(columns, request.targets, request.space.log_volume, names=request.labels)
    except Infeasible as error:
        sessions = int(averages.sessions.max())
        raise Infeasible(f"{error} (means of up to {sessions} sessions a draw)") from None
