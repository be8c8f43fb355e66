"""Learning from trial to trial (batch): rules as matrices, the optimum, and whether a rule is stable.

With the transfer matrix T, bases X, and ``e0 = (I - T)·r`` the error without the filter, weights w leave
``e = e0 - T·X·w``. A rule with eligibility traces H does ``w += η·Hᵀ·e`` after each trial.

Source: Herreros et al. 2016, equations 3 to 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from .config import CfpcConfig, Trace
from .filter import rms
from .loop import Loop
from .systems import Reals

__all__ = ["RULES", "Batch", "Problem", "Stability", "rule"]

RULES = ("FM-ET", "WH", "WH+50 ms", "WH+70 ms")
"""Of the source's figure 4."""


def rule(name: str, config: CfpcConfig) -> CfpcConfig:
    """The configuration with the trace of a rule: ``FM-ET``, ``low-order``, ``WH`` or ``WH+N ms``.

    Raises
    ------
    ValueError
        If there is no such rule.
    """
    eligibility: dict[str, object]
    if name == "FM-ET":
        eligibility = {"trace": Trace.FORWARD_MODEL, "delay_s": None, "leaks_s": None}
    elif name == "low-order":
        eligibility = {"trace": Trace.LOW_ORDER, "delay_s": None, "leaks_s": None}
    else:
        head, _, delay = name.removesuffix(" ms").partition("+")
        if head != "WH" or not (delay.isdecimal() or name == "WH"):
            raise ValueError(f"rule {name!r}: choose from FM-ET, low-order, WH, WH+50 ms and other delays")
        eligibility = {"trace": Trace.DELAY, "delay_s": int(delay or 0) / 1000, "leaks_s": None}
    return config.replace(eligibility=eligibility)


_IDLE = 1e-9
"""As a share of the largest direction's."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Learning from trial to trial.

    Attributes
    ----------
    rmse : ndarray, shape (trials,)
    weights : ndarray, shape (trials, G)
        In each trial.
    """

    rmse: Reals
    weights: Reals

    @property
    def relative(self) -> Reals:
        """Error as a share of the first trial's."""
        shares: Reals = self.rmse / self.rmse[0]
        return shares


@dataclass(frozen=True)
class Stability:
    """What ``w += η·Hᵀ·e`` does, from ``M = Hᵀ·T·X``: the distance to where it goes is multiplied by I - η·M.

    Attributes
    ----------
    smallest_eigenvalue : float
        Of (M + Mᵀ)/2, idle directions left out. Above 0 the distance falls in every trial, for a rate that
        is low enough; below 0 there are weights from which it grows, at any rate.
    highest_rate : float
        Below it the distance falls in every trial, whatever the weights; 0 if there is none.
    spectral_radius : float
        Of I - η·M. It decides what happens in the end only: M is far from normal, and below 1 the error may
        first grow a thousandfold (the rule of Widrow and Hoff does).
    idle : int
        Directions of w that move nothing: bases beyond the end of a trial, or alike.
    """

    smallest_eigenvalue: float
    highest_rate: float
    spectral_radius: float
    idle: int

    @property
    def stable(self) -> bool:
        """By the symmetric part."""
        return self.smallest_eigenvalue > 0


@dataclass(frozen=True, eq=False)
class Problem:
    """A task seen from trial to trial.

    Attributes
    ----------
    initial_error : ndarray, shape (steps,)
        e0: of the reactive loop alone.
    responses : ndarray, shape (steps, G)
        T·X: what each basis moves.

    Raises
    ------
    ValueError
        If the shapes do not belong together, or a number is not finite.
    """

    initial_error: Reals
    responses: Reals

    def __post_init__(self) -> None:
        error, responses = self.initial_error, self.responses
        if error.ndim != 1 or responses.ndim != 2 or len(error) != len(responses) or not responses.size:
            raise ValueError(
                f"reference and bases of shapes {error.shape} and {responses.shape}: a trial of N steps has "
                "(N,) and (N, G)"
            )
        if not (np.isfinite(error).all() and np.isfinite(responses).all()):
            raise ValueError("reference, bases or loop: not all numbers are finite")

    @classmethod
    def of(
        cls,
        config: CfpcConfig,
        *,
        loop: Loop | None = None,
        reference: Reals | None = None,
        bases: Reals | None = None,
    ) -> Problem:
        """Of the configured task, or with another loop, reference or bases in place of the configured one.

        Parameters
        ----------
        config : CfpcConfig
        loop : Loop, optional
        reference : ndarray, shape (steps,), optional
        bases : ndarray, shape (steps, G), optional
        """
        loop = loop or config.loop
        reference = config.reference if reference is None else reference
        bases = config.basis_matrix if bases is None else bases
        return cls(reference - loop.respond(reference), loop.respond(bases))

    @classmethod
    def measured(cls, transfer: Reals, reference: Reals, bases: Reals) -> Problem:
        """From a transfer matrix, by model or by measurement.

        Parameters
        ----------
        transfer : ndarray, shape (steps, steps)
        reference : ndarray, shape (steps,)
        bases : ndarray, shape (steps, G)
        """
        return cls(reference - transfer @ reference, transfer @ bases)

    @property
    def optimum(self) -> Reals:
        """w* by the pseudo-inverse, shape (G,) (equation 4)."""
        return np.asarray(np.linalg.lstsq(self.responses, self.initial_error, rcond=None)[0], np.float64)

    def error(self, weights: Reals) -> Reals:
        """Error of a trial with these weights, shape (steps,)."""
        return self.initial_error - self.responses @ weights

    def relative_error(self, weights: Reals) -> float:
        """Root mean square of it, as a share of that without the filter."""
        return rms(self.error(weights)) / rms(self.initial_error)

    def learn(self, traces: Reals, rate: float, trials: int, initial: Sequence[float] | None = None) -> Batch:
        """Trials of the rule with these traces (equation 5).

        Parameters
        ----------
        traces : ndarray, shape (steps, G)
            H.
        rate : float
            η.
        trials : int
        initial : sequence of float, optional
            Weights; else 0.
        """
        weights = np.zeros(traces.shape[1]) if initial is None else np.array(initial, np.float64)
        rmse, course = np.empty(trials), np.empty((trials, weights.size))
        for k in range(trials):
            error = self.error(weights)
            rmse[k], course[k] = rms(error), weights
            weights += rate * (traces.T @ error)
        return Batch(rmse, course)

    def stability(self, traces: Reals, rate: float) -> Stability:
        """Of the rule with these traces and this rate.

        The norm of I - η·M is below 1 while η·MᵀM is less than M + Mᵀ.
        """
        matrix = traces.T @ self.responses
        values = np.linalg.eigvals(np.eye(len(matrix)) - rate * matrix)
        # What moves nothing and is not learnt: neither M nor its transpose has anything in that direction.
        _, sizes, right = np.linalg.svd(np.vstack([matrix, matrix.T]), full_matrices=False)
        moved = right[sizes > _IDLE * max(sizes[0], np.finfo(np.float64).tiny)]
        matrix = moved @ matrix @ moved.T
        symmetric = matrix + matrix.T
        smallest = float(np.linalg.eigvalsh(symmetric)[0]) / 2 if len(matrix) else 0.0
        highest = 0.0
        if smallest > 0:
            highest = 1 / float(eigh(matrix.T @ matrix, symmetric, eigvals_only=True)[-1])
        return Stability(smallest, highest, float(max(abs(values))), len(values) - len(moved))
