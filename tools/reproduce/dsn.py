"""Figure 2 of the DSN paper, the linear system; and what any example of it is judged by.

An example is a normalising flow, trained as a degenerate solution network, and beside it re-weighted uniform
draws, which know the optimum.

Source: Bittner and Cunningham, degenerate solution networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...golden_model.inference import linear_system
from ...golden_model.inference.maxent import MaxEnt, reweight_chunks
from ..report.output import progress_bar
from .dsn_picture import Compared, draw_linear
from .setting import Setting
from .statements import Limits, Reproduction, Statement

if TYPE_CHECKING:
    from ...golden_model.inference.dsn import DsnResult

__all__ = ["ERRORS", "SAMPLES", "SOURCE", "dsn_2", "numbers", "optimum_statements", "train"]

Reals = npt.NDArray[np.float64]

SOURCE = "Bittner and Cunningham, Degenerate solution networks (DSNs) for theoretical neuroscience"
_FLOW: Mapping[str, Any] = {}
"""Settings of the linear system's flow that are not the default."""
SAMPLES = 20_000
_WRITTEN = 500
"""Samples in the JSON."""
_NATS = 0.1
"""Entropy that a flow may miss ..."""
_SLACK = 0.05
"""... or have too much, as its constraints are met but nearly, and its entropy is a mean over draws."""
ERRORS = 3.0
"""Standard errors that a mean may be off."""
_MULTIPLIER = 0.1
"""Of λ, how far from η, in one over the unit of the statistic."""
_MARGINAL = 0.04
"""Largest difference of the two distributions of any one parameter."""


def train(
    setting: Setting,
    label: str,
    simulate: Any,
    targets: Reals,
    box: tuple[Sequence[float], Sequence[float]],
    scale: Sequence[float],
    chosen: Mapping[str, Any],
) -> DsnResult:
    """A trained flow, with a progress bar; see ``fit_dsn``."""
    from ...golden_model.inference.dsn import Settings, fit_dsn

    settings = Settings(**chosen)
    with progress_bar(label, settings.rounds, setting.console, unit="rounds") as advance:
        return fit_dsn(
            simulate, targets, *box, seed=setting.seed, scale=scale, settings=settings,
            progress=lambda done, _: advance(done),
        )  # fmt: skip


def optimum_statements(
    found: DsnResult, compared: Compared, best: float, eta: Reals, scale: Sequence[float]
) -> list[Statement]:
    """Entropy, multipliers and marginals of the flow against the optimum."""
    apart = {
        name: _apart(found_z, drawn, compared.weights)
        for name, found_z, drawn in zip(compared.names, compared.z.T, compared.draws.T, strict=True)
    }
    scaled = np.array(scale) * found.multipliers, np.array(scale) * eta
    return [
        Statement(
            "The flow's density is of largest entropy (nats that it misses)", "maximally entropic",
            {"float": best - found.entropy}, Limits(-_SLACK, _NATS), "{:.3f}",
            {"float": f"{found.entropy:.3f} of {best:.3f}"},
        ),
        Statement(
            "Its multipliers λ are the natural parameters η (largest difference, in units of 1/statistic)",
            "η is unknown",
            {"float": float(np.abs(scaled[0] - scaled[1]).max())}, Limits(high=_MULTIPLIER), "{:.3f}",
            {"float": "; ".join(", ".join(f"{value:.3f}" for value in values) for values in scaled)},
        ),
        Statement(
            "Each parameter is distributed as in re-weighted draws (largest difference of distributions)",
            "the full distribution",
            {"float": max(apart.values())}, Limits(high=_MARGINAL), "{:.1%}",
            {"float": ", ".join(f"{name} {value:.1%}" for name, value in apart.items())},
        ),
    ]  # fmt: skip


def _apart(z: Reals, draws: Reals, weights: Reals) -> float:
    """Kolmogorov and Smirnov's distance of samples and weighted draws of one parameter."""
    order = np.argsort(draws)
    share = np.searchsorted(np.sort(z), draws[order]) / len(z)
    return float(np.abs(share - np.cumsum(weights[order])).max())


def numbers(found: DsnResult, compared: Compared, exact: MaxEnt) -> dict[str, Any]:
    """What the JSON has of either example."""
    return {
        "parameters": compared.names,
        "samples": compared.z[:_WRITTEN].round(5),
        "correlations": dict(zip(("flow", "reweighted"), compared.correlations, strict=True)),
        "flow": {
            "entropy": found.entropy,
            "violation": found.violation,
            "standard_error": found.standard_error,
            "multipliers": found.multipliers,
            "history": found.history,
            "converged": found.converged,
            "training_seconds": found.seconds,
        },
        "reweighted": {
            "entropy": exact.entropy,
            "entropy_error": exact.entropy_error,
            "eta": exact.eta,
            "eta_error": exact.eta_error,
            "effective_size": exact.effective_size,
            "gap": exact.gap,
            "lost": exact.lost,
        },
    }


# --- figure 2 ---------------------------------------------------------------------------------

_DRAWS = 16_000_000
_VIOLATION = 0.03
_MOMENTS = (
    ("real(λ)", "0.0"),
    ("(real(λ) - 0)²", "1.0, of real(λ)²"),
    ("imag(λ)", "4π"),
    ("(imag(λ) - 4π)²", "1.0, of imag(λ)²"),
)


def dsn_2(setting: Setting) -> Reproduction:
    """The linear system: a flow, re-weighted draws, and integration."""
    side = linear_system.BOX[1]
    box, units = ([-side] * 4, [side] * 4), (1.0,) * len(linear_system.TARGETS)
    draws, exact = _reweighted_linear(setting)
    entropy, eta = linear_system.quadrature()
    found = train(
        setting, "flow", linear_system.statistics, linear_system.TARGETS, box, units, _FLOW,
    )  # fmt: skip
    z = found.sample(SAMPLES, setting.seed)
    share = float((z[:, 1] > 0).mean())
    # Of two equal modes a share p of one leaves ln 2 less, but for the entropy of the choice.
    best = entropy - math.log(2) - sum(p * math.log(p) for p in (share, 1 - share) if p)
    compared = Compared(linear_system.NAMES, z, draws, _as_shared(exact.weights, draws[:, 1] > 0, share), box)
    correlation, among = (float(matrix[0, 3]) for matrix in compared.correlations)
    errors = np.abs(exact.eta - eta) / exact.eta_error
    statements = [
        *(
            Statement(
                f"E[{name}], over samples of the flow", paper, {"float": float(target + off)},
                Limits(float(target) - _VIOLATION, float(target) + _VIOLATION), "{:.3f}",
            )
            for (name, paper), target, off in zip(
                _MOMENTS, linear_system.TARGETS, found.violation, strict=True
            )
        ),
        *optimum_statements(found, compared, best, eta, units),
        Statement(
            "a2·a3 is below 0, as in what oscillates with either sign of a2 (share of samples)",
            "a band of oscillations",
            {"float": float((z[:, 1] * z[:, 2] < 0).mean())}, Limits(1, 1), "{:.2%}",
            {"float": f"a2 above 0 in {share:.0%}"},
        ),
        Statement(
            "a1 and a4 balance (correlation)", "nontrivial (though intuitively sensible) structure",
            {"float": correlation}, Limits(-1, -0.95), "{:.3f}",
            {"float": f"re-weighted {among:.3f}"},
        ),
        Statement(
            f"Re-weighted draws have the largest entropy that integration gives ({entropy:.3f} nats, both "
            "modes)", "cannot be derived",
            {"float": exact.entropy},
            Limits(entropy - ERRORS * exact.entropy_error, entropy + ERRORS * exact.entropy_error),
            "{:.3f}", {"float": f"± {exact.entropy_error:.3f}"},
        ),
        Statement(
            f"They have its η, {_listed(eta)} (farthest, in standard errors)", "unknown",
            {"float": float(errors.max())}, Limits(high=ERRORS), "{:.1f}",
            {"float": _listed(exact.eta)},
        ),
    ]  # fmt: skip
    return Reproduction(
        "dsn-2",
        "the linear systems that oscillate in a band",
        f"ẋ = A·x, z = (a1, a2, a3, a4). A normalising flow, and {_DRAWS:,} uniform draws, re-weighted; seed "
        f"{setting.seed}.",
        (
            "The second moments are variances about the targets: E[imag(λ)²] = 1, as printed, cannot be with "
            "E[imag(λ)] = 4π.",
            f"Not in the paper: entries of A from {-side:g} to {side:g}. Without a box the entropy has no "
            "limit.",
            "λ is the upper one of a pair; of two that are real, their mean. a2 and a3 have opposite signs: "
            "there are two modes, and a flow settles in one, which costs it ln 2.",
        ),
        statements,
        numbers(found, compared, exact) | {"quadrature": {"entropy": entropy, "eta": eta}, "a2 > 0": share},
        lambda path: draw_linear(compared, path),
        source=SOURCE,
    )


def _listed(values: Reals) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _reweighted_linear(setting: Setting) -> tuple[Reals, MaxEnt]:
    with progress_bar("draws", _DRAWS, setting.console) as advance:

        def told() -> Iterator[tuple[Reals, Reals]]:
            done = 0
            for z, statistics in linear_system.chunks(_DRAWS, setting.seed):
                yield z, statistics
                done += len(z)
                advance(done)

        draws, _, exact = reweight_chunks(told(), linear_system.TARGETS, linear_system.LOG_VOLUME)
    return draws, exact


def _as_shared(weights: Reals, first: npt.NDArray[np.bool_], share: float) -> Reals:
    """Weights of draws in two modes, with a `share` of the sum in the first."""
    within = weights[first].sum(), weights[~first].sum()
    return np.asarray(weights * np.where(first, share / within[0], (1 - share) / within[1]))
