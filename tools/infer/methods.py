"""The three methods, each from simulations to samples of parameters."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ...golden_model.inference.behaviour import NAMES
from ...golden_model.inference.simulations import Table
from ..errors import UserError
from ..report.output import progress_bar
from .averages import find_weights
from .request import Method, Request
from .store import DRAWN, REFINED, Simulations

if TYPE_CHECKING:
    from ...golden_model.inference.npe import Posterior

__all__ = ["Answer", "answer"]

Reals = npt.NDArray[np.float64]

_SAMPLES = 4000
_REFINED = (4, 8, 12, 16, 20)
"""Rounds of the flow after which the surrogate is fitted anew, with as many simulations again in all."""
_FLOW: dict[str, Any] = {"rounds": 30, "penalty": 0.2, "tolerance": 0.2, "entropy_tolerance": 0.3}
"""Settings of the flow; penalty and tolerance in differences that matter."""
_HELD_OUT, _FEWEST_HELD_OUT = 200, 50
"""Simulations that the gates of a posterior are checked with, at most a tenth of all but so many at least."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Samples of parameters.

    Attributes
    ----------
    z : ndarray, shape (n, parameters)
    weights : ndarray, shape (n,)
        Sum 1.
    facts : dict
        Of the method, as JSON has it.
    warnings : tuple of str
    passed : bool
        Its own tests; without any, true.
    posterior : Posterior or None
        Of ``npe``: for any behaviour.
    """

    z: Reals
    weights: Reals
    facts: dict[str, Any]
    warnings: tuple[str, ...] = ()
    passed: bool = True
    posterior: Posterior | None = None

    def sample(self, count: int, seed: int, *, distinct: bool = False) -> Reals:
        """Rows by weight; if `distinct`, each at most once."""
        rng = np.random.default_rng(seed)
        size = min(count, int(np.count_nonzero(self.weights))) if distinct else count
        return self.z[rng.choice(len(self.z), size=size, p=self.weights, replace=not distinct)]


def answer(request: Request, simulations: Simulations, status: Console) -> Answer:
    """Simulate, and find the parameters.

    Parameters
    ----------
    request : Request
    simulations : Simulations
    status : rich.console.Console
        For progress.

    Raises
    ------
    Infeasible
        If the wanted means are outside what the draws can have.
    UserError
        If there is too little to learn from.
    """
    z = simulations.draw()
    drawn = simulations.run("draws", z, simulations.seeds(np.arange(len(z)), DRAWN))
    refused = float(np.isnan(drawn.statistics).all(axis=1).mean())
    began = time.perf_counter()
    try:
        if request.method is Method.MAXENT:
            found = _maxent(request, simulations, drawn)
        elif request.method is Method.DSN:
            found = _dsn(request, simulations, drawn, status)
        else:
            found = _npe(request, drawn, status)
    except ValueError as error:
        raise UserError(f"--method {request.method}: {error}") from None
    found.facts["refused"] = refused
    found.facts["seconds"] = round(time.perf_counter() - began, 1)
    return found


def _maxent(request: Request, simulations: Simulations, drawn: Table) -> Answer:
    averages, result = find_weights(request, simulations, drawn)
    facts = {
        "entropy": result.entropy,
        "entropy_error": result.entropy_error,
        "entropy_uniform": request.space.log_volume,
        "effective_size": result.effective_size,
        "gap": result.gap,
        "sessions": int(averages.sessions.sum()),
        "constraints": {
            label: {"target": target, "violation": violation, "standard_error": error, "eta": eta}
            for label, target, violation, error, eta in zip(
                request.labels, request.targets, result.residual, result.standard_error, result.eta,
                strict=True,
            )
        },
    }  # fmt: skip
    warnings = [] if result.warning is None else [f"{result.warning}; more simulations may help"]
    return Answer(averages.z, result.weights, facts, tuple(warnings))


def _dsn(request: Request, simulations: Simulations, drawn: Table, status: Console) -> Answer:
    from ...golden_model.inference.dsn import Settings, Surrogate, fit_dsn, surrogate

    space = request.space
    low, high = space.low, space.high
    settings = Settings(**_FLOW)
    table = drawn

    def learn() -> Surrogate:
        columns = request.constraints(table.statistics, table.statistics**2)
        return surrogate(table.z, columns, low, high, seed=request.seed)

    def refine(done: int, draw: Callable[[int], Reals]) -> Surrogate | None:
        """Simulate what the network has come to: of draws from the whole box few are where it matters."""
        nonlocal table
        if done not in _REFINED:
            return None
        # Single precision may be off the box by its rounding.
        z = np.clip(draw(len(drawn.z) // len(_REFINED)), low, high)
        seeds = simulations.seeds(np.arange(len(z)), REFINED + done)
        table = Table.join([table, simulations.run(f"round {done}", z, seeds)])
        learnt.append(learn())
        return learnt[-1]

    learnt = [learn()]
    with progress_bar("flow", settings.rounds, status, unit="rounds") as advance:
        result = fit_dsn(
            learnt[0], request.targets, low.tolist(), high.tolist(), seed=request.seed,
            scale=request.scales, settings=settings, progress=lambda done, _: advance(done), refine=refine,
        )  # fmt: skip
    facts = {
        "entropy": result.entropy,
        "entropy_uniform": request.space.log_volume,
        "converged": result.converged,
        "gradient": result.gradient,
        "simulations_near": len(table.z) - len(drawn.z),
        "surrogate_explained": dict(zip(request.labels, learnt[-1].explained.tolist(), strict=True)),
        "constraints": {
            label: {"target": target, "violation": violation, "standard_error": error, "eta": eta}
            for label, target, violation, error, eta in zip(
                request.labels, request.targets, result.violation, result.standard_error, result.multipliers,
                strict=True,
            )
        },
    }  # fmt: skip
    warnings = () if result.converged else ("the flow has not converged",)
    z = result.sample(_SAMPLES, request.seed)
    return Answer(z, np.full(len(z), 1 / len(z)), facts, warnings, result.converged)


def _npe(request: Request, drawn: Table, status: Console) -> Answer:
    from dataclasses import asdict

    from ...golden_model.inference.npe import gates, train

    kept = min(_HELD_OUT, max(len(drawn.z) // 10, _FEWEST_HELD_OUT))
    training, held_out = _split(drawn, len(drawn.z) - kept)
    used = [wanted.name for wanted in request.wanted]
    seen = np.full(len(NAMES), np.nan)
    for wanted in request.wanted:
        seen[wanted.index] = wanted.value
    # What sbi says on the way out is neither progress nor result.
    with status.status("training the posterior, checking its gates"), redirect_stdout(io.StringIO()):
        posterior = train(request.space, training, used, seed=request.seed)
        passed = gates(posterior, held_out, seed=request.seed)
        z = posterior.sample(seen, _SAMPLES, request.seed)
    facts = {
        "gates": asdict(passed) | {"sbc": dict(zip(request.names, passed.sbc, strict=True))},
        "gates_passed": passed.passed,
        "seen": {wanted.name: wanted.value for wanted in request.wanted},
    }
    warned = [f"seen {text}: the posterior is a guess" for text in posterior.outside(seen)]
    if not passed.passed:
        warned.append("the gates are not passed; more simulations may help")
    return Answer(z, np.full(len(z), 1 / len(z)), facts, tuple(warned), passed.passed, posterior)


def _split(table: Table, first: int) -> tuple[Table, Table]:
    parts = (slice(None, first), slice(first, None))
    whole, rest = (
        Table(table.names, table.z[rows], table.statistics[rows], table.seeds[rows]) for rows in parts
    )
    return whole, rest
