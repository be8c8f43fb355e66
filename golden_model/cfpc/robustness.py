"""What a filter learns where plant or delay are not those of its forward model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ..sections import ConfigError
from .config import CfpcConfig
from .filter import AdaptiveFilterFloat, run_trials
from .learning import Problem, rule
from .loop import Loop, LoopState
from .systems import Reals, leaks

__all__ = [
    "CHANGES", "STUDIED", "Change", "Robustness", "Verdict", "changed_loop", "reactive_limits", "study",
    "trial_map",
]  # fmt: skip

STUDIED = ("FM-ET", "low-order", "WH", "WH+50 ms", "WH+70 ms")
"""Rules of the study."""


@dataclass(frozen=True)
class Change:
    """What is really there, beside what the configuration says.

    Attributes
    ----------
    name : str
    time_constant, gain : float
        Factors of the slowest leak, at the same gain at rest, and of the gain of the plant.
    delay_s : float
        Added to the delay of the feedback.
    """

    name: str
    time_constant: float = 1.0
    gain: float = 1.0
    delay_s: float = 0.0


CHANGES = (
    Change("nominal"),
    Change("time constant × 0.5", time_constant=0.5),
    Change("time constant × 1.5", time_constant=1.5),
    Change("gain × 0.7", gain=0.7),
    Change("gain × 1.3", gain=1.3),
    Change("delay - 20 ms", delay_s=-0.02),
    Change("delay + 20 ms", delay_s=0.02),
)


class Verdict(StrEnum):
    """How learning goes on-line."""

    LEARNS = "learns"
    RISES = "learns, then rises"
    WORSE = "ends worse than without"
    DIVERGES = "diverges"
    UNSTABLE = "unstable without learning"


_RISE = 1.1
"""From here on an error counts as risen again: the largest after its minimum, over that."""


@dataclass(frozen=True)
class Robustness:
    """One rule on one loop.

    Attributes
    ----------
    change : Change
    rule : str
    reactive_radius : float
        Spectral radius of the reactive loop, a step; unstable without learning from 1 on.
    optimum : float
        rRMSE with the best weights for this loop.
    relative : tuple of float
        rRMSE of each trial on-line, as a share of the first's; infinite where it is no number.
    smallest_eigenvalue : float
        Of the symmetric part of HᵀTX: batch learning.
    highest_rate : float
        Of batch learning (see ``learning.Stability``).
    growth : float
        Spectral radius of :func:`trial_map`: on-line learning settles if it is below 1.
    """

    change: Change
    rule: str
    reactive_radius: float
    optimum: float
    relative: tuple[float, ...]
    smallest_eigenvalue: float
    highest_rate: float
    growth: float

    @property
    def verdict(self) -> Verdict:
        """By the spectral radii, and by the course where these are below 1."""
        if self.reactive_radius >= 1:
            return Verdict.UNSTABLE
        if self.growth >= 1:
            return Verdict.DIVERGES
        if self.relative[-1] > 1:
            return Verdict.WORSE
        lowest = int(np.argmin(self.relative))
        risen = max(self.relative[lowest:]) > _RISE * self.relative[lowest]
        return Verdict.RISES if risen else Verdict.LEARNS


def changed_loop(config: CfpcConfig, change: Change) -> Loop:
    """The loop that is really there.

    Raises
    ------
    ConfigError
        If the plant has no leak to change, a leak becomes too short for the step, or the delay negative.
    """
    plant, step_s = config.plant, config.time.step_s
    if plant.leaks_s is None:
        raise ConfigError("plant.leaks_s: the study changes the slowest leak, and this plant has none")
    taus = list(plant.leaks_s)
    slowest = int(np.argmax(taus))
    taus[slowest] *= change.time_constant
    if taus[slowest] <= step_s / 2:
        raise ConfigError(f"plant.leaks_s: {change.name}: {taus[slowest]:g} s, half a step or less")
    delay_s = config.controller.delay_s + change.delay_s
    if config.steps(delay_s) < 0:
        raise ConfigError(
            f"controller.delay_s = {config.controller.delay_s:g}: {change.name} leaves less than none"
        )
    loop = config.loop_of(leaks(taus, plant.gain * change.gain, step_s))
    return Loop(loop.system, config.steps(delay_s))


def reactive_limits(config: CfpcConfig) -> dict[str, float]:
    """Where the reactive loop becomes unstable by itself, one thing changed; by bisection.

    Returns
    -------
    dict
        ``time_constant``: factor below 1; ``gain``: factor above 1; both to 0.1 %, 0 and infinite where none
        within a factor of 100 does. ``delay_s``: what is added, to a step; infinite beyond 256 steps.

    Raises
    ------
    ConfigError
        If the plant has no leak to change.
    """

    def stable(**change: float) -> bool:
        return changed_loop(config, Change("limit", **change)).spectral_radius() < 1

    step_s = config.time.step_s
    shortest = max(0.51 * step_s / max(config.plant.leaks_s or (np.inf,)), 0.01)
    time_constant = _edge(lambda x: stable(time_constant=float(np.exp(x))), float(np.log(shortest)), 1e-3)
    gain = _edge(lambda x: stable(gain=float(np.exp(x))), float(np.log(100.0)), 1e-3)
    delay = _edge(lambda x: stable(delay_s=round(x) * step_s), 256.0, 0.5)
    return {
        "time_constant": float(np.exp(time_constant)) if np.isfinite(time_constant) else 0.0,
        "gain": float(np.exp(gain)),
        "delay_s": float(np.round(delay)) * step_s,
    }


def _edge(stable: Callable[[float], bool], furthest: float, width: float) -> float:
    """Where between 0 and `furthest` it ceases to be stable, seen from 0; infinite if it does not."""
    inside, outside = 0.0, furthest / 256
    while stable(outside):
        if outside == furthest:
            return np.inf
        inside, outside = outside, 2 * outside
    while abs(outside - inside) > width:
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if stable(middle) else (inside, middle)
    return outside


def trial_map(config: CfpcConfig, loop: Loop) -> Reals:
    """What a trial of on-line learning does to a small difference: shape (n, n), n states, delay and weights.

    The equations are linear in these, and periodic with the trial; so the spectral radius is by how much
    a difference grows a trial in the end. The reference does not matter.

    Parameters
    ----------
    config : CfpcConfig
        Of the filter.
    loop : Loop
        What is really there.
    """
    filter_ = AdaptiveFilterFloat(config)
    silence = np.zeros(config.trial_steps)
    filter_.frozen = True
    for _ in range(_trials_to_settle(config)):
        filter_.close(LoopState(loop), silence, config.basis_inputs)
    filter_.frozen = False
    order, delay = loop.system.order, loop.delay
    n = order + delay + config.bases.count
    moved = np.empty((n, n))
    for column, unit in enumerate(np.eye(n)):
        running, copied = LoopState(loop), copy.deepcopy(filter_)
        running.state[:], running.line[:] = unit[:order], unit[order : order + delay]
        copied.weights[:] = unit[order + delay :]
        copied.close(running, silence, config.basis_inputs)
        line = np.roll(running.line, -running.head)
        moved[:, column] = np.concatenate([running.state, line, copied.weights])
    return moved


def _trials_to_settle(config: CfpcConfig) -> int:
    """Until traces and bases are those of every later trial: the spread of the bases, and one trial more."""
    spread = config.spacing_steps * (config.bases.count - 1) if config.bases.shifted else 0
    return 2 + spread // config.trial_steps


def study(
    config: CfpcConfig,
    trials: int = 200,
    *,
    rules: Sequence[str] = STUDIED,
    changes: Sequence[Change] = CHANGES,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Robustness]:
    """Each rule, on-line in float, on each loop; the traces are those of the configured loop.

    Parameters
    ----------
    config : CfpcConfig
    trials : int
        At least 1.
    progress : callable
        Is told the number of rules and loops done.

    Raises
    ------
    ConfigError
        See :func:`changed_loop`.
    ValueError
        See ``learning.rule``.
    """
    configs = {name: rule(name, config) for name in rules}
    found = []
    for change in changes:
        loop = changed_loop(config, change)
        problem = Problem.of(config, loop=loop)
        optimum = problem.relative_error(problem.optimum)
        for name, configured in configs.items():
            stability = problem.stability(configured.traces, config.learning.rate)
            with np.errstate(over="ignore", invalid="ignore"):  # where it diverges
                course = run_trials(AdaptiveFilterFloat(configured), configured, trials, loop=loop).relative
            found.append(
                Robustness(
                    change=change,
                    rule=name,
                    reactive_radius=loop.spectral_radius(),
                    optimum=optimum,
                    relative=tuple(np.nan_to_num(course, nan=np.inf, posinf=np.inf).tolist()),
                    smallest_eigenvalue=stability.smallest_eigenvalue,
                    highest_rate=stability.highest_rate,
                    growth=float(max(abs(np.linalg.eigvals(trial_map(configured, loop))))),
                )
            )
            progress(len(found))
    return found
