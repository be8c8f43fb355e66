"""What samples say of the parameters: means, ratio, correlations, stiff and sloppy directions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ...golden_model.inference.sensitivity import directions
from .methods import Answer
from .request import Request

__all__ = ["log_ratio", "masses", "quantile", "stable_ratio", "summary"]

Reals = npt.NDArray[np.float64]

_QUANTILES = (0.05, 0.5, 0.95)
_RESAMPLED = 2000


def stable_ratio(request: Request) -> float:
    """log10(δd/δp) with which w does not drift: a step of potentiation for δd times the IO's rate a step."""
    rate = request.experiment.io.far_hz * request.config.time.step_s
    return -math.log10(rate) if rate > 0 else math.inf


def log_ratio(request: Request, z: Reals) -> Reals | None:
    """log10(δd/δp) of each row, or None where they are not both parameters."""
    if not {"potentiation", "depression"} <= set(request.names):
        return None
    first, second = (request.names.index(name) for name in ("potentiation", "depression"))
    return np.asarray(z[:, second] - z[:, first])


def quantile(values: Reals, weights: Reals, share: float) -> float:
    """Weighted: the least value with at least this share of the weight at and below it."""
    order = np.argsort(values, kind="stable")
    at = int(np.searchsorted(np.cumsum(weights[order]), share))
    return float(values[order[min(at, values.size - 1)]])


def masses(values: Reals, weights: Reals, low: float, high: float) -> dict[int, float]:
    """Probability of each whole number from `low` to `high`."""
    counts = np.bincount(np.rint(values - low).astype(np.int64), weights, round(high - low) + 1)
    return {round(low) + index: float(mass) for index, mass in enumerate(counts)}


def summary(request: Request, answer: Answer) -> dict[str, Any]:
    """As JSON has it."""
    z, weights, space = answer.z, answer.weights, request.space
    mean = weights @ z
    away = z - mean
    covariance = (away * weights[:, None]).T @ away
    deviation = np.sqrt(np.diag(covariance))
    parameters: dict[str, Any] = {}
    for index, parameter in enumerate(space.parameters):
        facts: dict[str, Any] = {
            "low": float(space.low[index]),
            "high": float(space.high[index]),
            "mean": float(mean[index]),
            "deviation": float(deviation[index]),
            "quantiles": {f"{share:g}": quantile(z[:, index], weights, share) for share in _QUANTILES},
        }
        if parameter.integer:
            facts["masses"] = {
                str(bits): mass
                for bits, mass in masses(z[:, index], weights, space.low[index], space.high[index]).items()
            }
        if request.seen is not None:
            facts["configured"] = float(parameter.of(request.seen.config))
        parameters[parameter.name] = facts
    safe = np.where(deviation > 0, deviation, 1.0)
    principal = directions(answer.sample(_RESAMPLED, request.seed), space, seed=request.seed)
    found: dict[str, Any] = {
        "parameters": parameters,
        "correlations": (covariance / np.outer(safe, safe)).tolist(),
        "directions": [
            {
                "spread": float(spread),
                "spread_error": float(error),
                "vector": dict(zip(request.names, vector.tolist(), strict=True)),
            }
            for spread, error, vector in zip(
                principal.spreads, principal.errors, principal.vectors, strict=True
            )
        ],
    }
    ratio = log_ratio(request, z)
    if ratio is not None:
        centre = float(weights @ ratio)
        found["log_ratio"] = {
            "mean": centre,
            "deviation": math.sqrt(float(weights @ (ratio - centre) ** 2)),
            "stability_condition": stable_ratio(request),
        }
    return found
