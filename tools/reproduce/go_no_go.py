"""Go/No-Go of the DSN paper: networks of rank one that answer stimulus A and not B, by mean-field theory.

Whether they do it is asked of simulated networks.

Source: Bittner and Cunningham, degenerate solution networks; Mastrogiuseppe and Ostojic 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...golden_model.inference import rank_one
from ...golden_model.inference.maxent import MaxEnt, reweight
from ..report.output import progress_bar
from .dsn import ERRORS, SAMPLES, SOURCE, numbers, optimum_statements, train
from .dsn_picture import Compared, draw_go_no_go
from .setting import Setting
from .statements import Limits, Reproduction, Statement

if TYPE_CHECKING:
    from ...golden_model.inference.dsn import DsnResult

__all__ = ["dsn_go_no_go"]

Reals = npt.NDArray[np.float64]

_NEURONS = 1000
"""N of the mean field that the flow is trained on, and of the first simulations ..."""
_FEWER_NEURONS = 500
"""... and of the others."""
_NETWORKS = 400
"""Simulated, and half as many of fewer neurons."""
_CHUNK = 10
"""Networks that a worker takes at a time."""
_UNIFORM, _AT_ONCE = 100_000, 5_000
"""Draws that are re-weighted, and those whose mean fields are in memory at a time."""
_STATISTICS = ("κ for A", "(κ for A - 1)²", "κ² for B")
_WORDS = (
    "respond in the readout dimension to stimulus A",
    "respond to stimulus A",
    "have no response to stimulus B",
)


@dataclass(frozen=True, eq=False)
class _Simulated:
    """Networks of so many neurons, one a row.

    Attributes
    ----------
    neurons : int
    statistics, mean_field : ndarray, shape (networks, statistics)
        Of each network, and what the mean field of so many neurons says of its parameters.
    """

    neurons: int
    statistics: Reals
    mean_field: Reals

    @property
    def difference(self) -> Reals:
        """Mean of what networks differ from their mean fields by."""
        return np.asarray((self.statistics - self.mean_field).mean(axis=0))

    @property
    def error(self) -> Reals:
        """Its standard error; NaN of a single network."""
        if len(self.statistics) < 2:
            return np.full(self.statistics.shape[1], np.nan)
        deviation = (self.statistics - self.mean_field).std(axis=0, ddof=1)
        return np.asarray(deviation / np.sqrt(len(self.statistics)))


def dsn_go_no_go(setting: Setting) -> Reproduction:
    """Networks of rank one: a flow of their parameters, re-weighted draws, and simulated networks."""
    found = train(
        setting, "flow", lambda z: rank_one.mean_field(z, _NEURONS), rank_one.TARGETS,
        (rank_one.LOW, rank_one.HIGH), rank_one.SCALE, rank_one.TRAINING,
    )  # fmt: skip
    draws, exact = _reweighted(setting, found)
    z = found.sample(SAMPLES, setting.seed)
    compared = Compared(rank_one.NAMES, z, draws, exact.weights, (rank_one.LOW, rank_one.HIGH))
    simulated = _simulate(setting, found)
    first, second = simulated
    scaled = np.abs(found.violation) / rank_one.SCALE
    response, silence = first.statistics[:, 0], np.sqrt(first.statistics[:, 2])
    statements = [
        Statement(
            f"The mean field of {_NEURONS} neurons meets the constraints (largest violation, in units of "
            f"{', '.join(map(str, rank_one.SCALE))})", "E[T(x)] = µ",
            {"float": float(scaled.max())}, Limits(high=float(rank_one.TRAINING["tolerance"])), "{:.3f}",
            {"float": _listed(rank_one.TARGETS + found.violation)},
        ),
        *(_network_statement(first, index, found) for index in range(len(_STATISTICS))),
        Statement(
            "A network answers A and not B (share: κ in 0.5 to 1.5 for A, ±0.5 for B)",
            "solve the Go No-Go task",
            {"float": float(((np.abs(response - 1) < 0.5) & (silence < 0.5)).mean())}, Limits(low=0.95),
            "{:.1%}",
        ),
        Statement(
            f"{len(second.statistics)} networks of {second.neurons} neurons are as the mean field of "
            f"{second.neurons} has them (farthest mean, in standard errors)", "theory used for T(x)",
            {"float": float(np.abs(second.difference / second.error).max())}, Limits(high=ERRORS), "{:.1f}",
            {
                "float": f"{_listed(second.statistics.mean(axis=0))} against "
                f"{_listed(second.mean_field.mean(axis=0))}"
            },
        ),
        *optimum_statements(found, compared, exact.entropy, exact.eta, rank_one.SCALE),
        *_structure_statements(compared),
    ]  # fmt: skip
    return Reproduction(
        "dsn-go-no-go",
        "Go/No-Go, networks of rank one that answer one stimulus of two",
        f"z = ({', '.join(rank_one.NAMES)}). A flow, trained on the mean field of {_NEURONS} neurons; "
        f"{_UNIFORM:,} uniform draws of it, re-weighted; {len(first.statistics)} networks of {first.neurons} "
        f"neurons and {len(second.statistics)} of {second.neurons}, each of a sample of its own; seed "
        f"{setting.seed}.",
        (
            "Not in the paper: stimulus A is the pattern of n, B as large and independent of it; the target "
            "is a response κ of 1 ± 0.1 to A, of 0 ± 0.1 to B; and the box of the parameters, "
            f"{', '.join(map('{}: {:g} to {:g}'.format, rank_one.NAMES, rank_one.LOW, rank_one.HIGH))}.",
            "Mean-field theory is of infinitely many neurons; the fluctuations of N neurons are solved for "
            "in its equations.",
        ),
        statements,
        numbers(found, compared, exact)
        | {
            "networks": {
                str(one.neurons): {
                    "statistics": one.statistics,
                    "mean": one.statistics.mean(axis=0),
                    "mean_field": one.mean_field.mean(axis=0),
                    "difference_error": one.error,
                }
                for one in simulated
            },
            "targets": rank_one.TARGETS,
        },
        lambda path: draw_go_no_go(compared, response, silence, path),
        source=SOURCE,
    )


def _listed(values: Reals) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _network_statement(networks: _Simulated, index: int, found: DsnResult) -> Statement:
    """That networks meet a constraint, on average.

    The mean field of all samples is known better than that of the few that are simulated: networks tell what
    they differ from theirs by.
    """
    target, count = float(rank_one.TARGETS[index]), len(networks.statistics)
    mean = float(target + found.violation[index] + networks.difference[index])
    error = float(np.hypot(networks.error[index], found.standard_error[index]))
    alone, said = networks.statistics[:, index].mean(), networks.mean_field[:, index].mean()
    return Statement(
        f"E[{_STATISTICS[index]}], mean field corrected by {count} networks of {networks.neurons} neurons",
        _WORDS[index],
        {"float": mean},
        Limits(target - ERRORS * error, target + ERRORS * error),
        "{:.4f}",
        {"float": f"± {error:.4f}; these networks {alone:.4f}, their mean field {said:.4f}"},
        reason=(
            "one network has no standard error" if count < 2
            else f"{abs(mean - target) / error:.1f} standard errors from the target {target:g}"
        ),
    )  # fmt: skip


def _structure_statements(compared: Compared) -> list[Statement]:
    """What in the parameters is tied, and what is free."""
    unstable = _unstable()
    feedback, among = compared.z[:, 0] * compared.z[:, 1], compared.draws[:, 0] * compared.draws[:, 1]
    share = float((feedback > unstable).mean()) / float((among > unstable).mean())
    return [
        Statement(
            f"Feedback seldom makes silence unstable: Mm·Mn above {unstable:.2f} (share, over the box's)",
            "no response to stimulus B",
            {"float": share}, Limits(high=0.25), "{:.2f}",
            {"float": f"{(feedback > unstable).mean():.1%} against {(among > unstable).mean():.1%}"},
        ),
        Statement(
            "What feedback adds to the response, the overlap with A need not (correlation of Σn and Mm·Mn)",
            "solution space",
            {"float": float(np.corrcoef(compared.z[:, 3], feedback)[0, 1])}, Limits(high=-0.4), "{:.2f}",
        ),
        Statement(
            "The disorder g is free (largest difference from the uniform distribution)", "solution space",
            {"float": _from_uniform(compared.z[:, 4], rank_one.LOW[4], rank_one.HIGH[4])},
            Limits(high=0.05), "{:.1%}",
        ),
    ]  # fmt: skip


def _unstable() -> float:
    """Feedback Mm·Mn that, without disorder, makes κ = 0 unstable: one over the mean slope of tanh."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    return float(weights.sum() / (weights @ (1 - np.tanh(nodes) ** 2)))


def _from_uniform(values: Reals, low: float, high: float) -> float:
    ordered = (np.sort(values) - low) / (high - low)
    steps = np.arange(len(values) + 1) / len(values)
    return float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))


def _mean_field(found: DsnResult, z: Reals, neurons: int) -> Reals:
    """Of numbers, by tensors of the network's kind: torch itself is no import of this folder."""
    tensor = found.flow.low.new_tensor
    parts = [
        rank_one.mean_field(tensor(z[start : start + _AT_ONCE]), neurons).numpy()
        for start in range(0, len(z), _AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float64)


def _reweighted(setting: Setting, found: DsnResult) -> tuple[Reals, MaxEnt]:
    low, high = np.array(rank_one.LOW), np.array(rank_one.HIGH)
    z = np.random.default_rng(setting.seed).uniform(low, high, (_UNIFORM, low.size))
    volume = float(np.log(high - low).sum())
    return z, reweight(_mean_field(found, z, _NEURONS), rank_one.TARGETS, volume)


def _simulate(setting: Setting, found: DsnResult) -> list[_Simulated]:
    """Networks of samples, first those of many neurons."""
    first = setting.sessions or _NETWORKS
    z = found.sample(first + -(-first // 2), setting.seed + 1)
    return [
        _networks(setting, z[:first], 0, _NEURONS, found),
        _networks(setting, z[first:], first, _FEWER_NEURONS, found),
    ]


def _networks(setting: Setting, z: Reals, start: int, neurons: int, found: DsnResult) -> _Simulated:
    """The same on this machine and on any cluster."""
    chunks = [(start + at, z[at : at + _CHUNK]) for at in range(0, len(z), _CHUNK)]
    work = partial(_work, neurons, setting.seed)
    parts: dict[int, Reals] = {}
    mapped = enumerate(map(work, chunks)) if setting.run is None else setting.run.map(work, chunks)
    with progress_bar(f"networks, N = {neurons}", len(z), setting.console) as advance:
        for index, part in mapped:
            parts[index] = part
            advance(sum(map(len, parts.values())))
    statistics = np.concatenate([parts[index] for index in range(len(chunks))])
    return _Simulated(neurons, statistics, _mean_field(found, z, neurons))


def _work(neurons: int, seed: int, chunk: tuple[int, Sequence[Any]]) -> Reals:
    """Networks of one chunk: a seed for each chunk, of its first network's number."""
    first, z = chunk
    return rank_one.simulate_networks(np.asarray(z), neurons, (seed << 32) + first)
