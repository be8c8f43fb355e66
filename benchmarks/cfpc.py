"""Smooth pursuit by CFPC and by what a user would take instead, in one run, on the same loops and noise.

``make benchmark``. LMS and NLMS are those of padasip, fed the bases and the target e + o, each with the best
step size of a grid on the nominal loop. Norm-optimal iterative learning control (ILC) has the whole transfer
matrix T of the nominal loop: o += (TᵀT + λI)⁻¹Tᵀe after each trial; on bases, w += (RᵀR + λI)⁻¹Rᵀe with
R = T·X. The loop goes on from one trial to the next for all of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from microzone.golden_model.cfpc import (
    AdaptiveFilter,
    AdaptiveFilterFixed,
    AdaptiveFilterFloat,
    CfpcConfig,
    FilterWords,
    LoopState,
    Problem,
    Trial,
    rule,
)
from microzone.golden_model.cfpc.filter import rms
from microzone.golden_model.cfpc.loop import advance, output
from microzone.golden_model.cfpc.robustness import Change, changed_loop
from padasip.filters import FilterLMS, FilterNLMS

Reals = npt.NDArray[np.float64]

SHOWN = (1, 7, 20, 50)
STEPS = tuple(2.0**-n for n in range(5, 15))
LAMBDAS = (0.01, 1.0, 100.0)
NOISE = 0.01
"""Standard deviation of the noise in the measured position: 1 % of the ramp, new in each step."""
SEED = 1
WIDE = 44
FAR = 100.0
"""rRMSE from which a run counts as diverged, and is ended."""


class Padasip(AdaptiveFilter):
    """A filter of padasip in the loop: it learns bases of `late` steps ago; target: e + their o."""

    def __init__(self, kind: Callable[..., Any], step: float, config: CfpcConfig, late: int) -> None:
        self.filter = kind(config.bases.count, mu=step, w="zeros")
        self.bases, self.late = config.basis_matrix, late

    @property
    def weights(self) -> Reals:
        return self.filter.w

    def close(self, loop: LoopState, reference: Reals, inputs: Reals) -> Trial:
        steps, late = reference.size, self.late
        y, error, o = np.empty(steps), np.empty(steps), np.empty(steps)
        for n in range(steps):
            y[n] = loop.measure()
            error[n] = reference[n] - y[n]
            o[n] = self.filter.predict(self.bases[n])
            if n >= late:
                self.filter.adapt(error[n] + o[n - late], self.bases[n - late])
            loop.drive(reference[n] + o[n], y[n])
        return Trial(y, error, o)


@numba.njit
def play(loop, reference, o, y):  # type: ignore[no-untyped-def]
    """The loop driven by r and a given o. Returns the head of its delay line."""
    (a, b, c, d), feedback, state, line, head = loop
    for n in range(reference.size):
        y[n] = output(c, d, state, line, head, 0.0)
        advance(a, b, feedback, state, line, head, reference[n] + o[n], y[n])
        head = (head + 1) % max(line.size, 1)
    return head


class Ilc(AdaptiveFilter):
    """A matrix makes the next trial's o, or the weights of its bases, from the errors of the last trial."""

    def __init__(self, gain: Reals, bases: Reals) -> None:
        self.gain, self.bases = gain, bases
        self._weights = np.zeros(bases.shape[1])

    @classmethod
    def of(cls, config: CfpcConfig, weight: float, *, bases: bool) -> Ilc:
        steps = config.trial_steps
        x = config.basis_matrix if bases else np.eye(steps)
        moved = config.loop.respond(x) if bases else config.loop.transfer_matrix(steps)
        return cls(np.linalg.solve(moved.T @ moved + weight * np.eye(x.shape[1]), moved.T), x)

    @property
    def weights(self) -> Reals:
        return self._weights

    def close(self, loop: LoopState, reference: Reals, inputs: Reals) -> Trial:
        y, o = np.empty(reference.size), self.bases @ self._weights
        loop.head = play(loop.arguments(), reference, o, y)
        error = reference - y
        self._weights = self._weights + self.gain @ error
        return Trial(y, error, o)


@dataclass(frozen=True)
class Method:
    """What is compared, and what it costs a step: numbers learnt, multiplications, words of memory."""

    name: str
    make: Callable[[], AdaptiveFilter]
    learnt: int
    multiplications: int
    words: int


@dataclass(frozen=True)
class Condition:
    """What is really there, and the noise in what is measured of it."""

    name: str
    change: Change
    noise: float = 0.0


CONDITIONS = (
    Condition("nominal", Change("nominal")),
    Condition("time constant × 1.5", Change("time constant", time_constant=1.5)),
    Condition("delay + 20 ms", Change("delay", delay_s=0.02)),
    Condition("measurement noise", Change("nominal"), NOISE),
)


def run(
    adaptive: AdaptiveFilter, config: CfpcConfig, condition: Condition, trials: int, rest: float
) -> tuple[Reals, float]:
    """Error of the true position in each trial, rms as a share of `rest`; nan once diverged. Seconds a trial.

    Noise n in what is measured is a reference of r - n for the loop and for the filter alike.
    """
    loop = LoopState(changed_loop(config, condition.change))
    rng = np.random.default_rng(SEED)
    relative, began, done = np.full(trials, np.nan), time.perf_counter(), 0
    for k in range(trials):
        noise = condition.noise * rng.standard_normal(config.trial_steps)
        trial = adaptive.close(loop, config.reference - noise, config.basis_inputs)
        share, done = rms(config.reference - trial.y) / rest, k + 1
        if not share < FAR:
            break
        relative[k] = share
    return relative, (time.perf_counter() - began) / done


def tuned(
    kind: Callable[..., Any], config: CfpcConfig, late: int, trials: int, rest: float
) -> tuple[float, str]:
    """The step size with the least error in the last nominal trial, and how to write it."""
    found = []
    for step in STEPS:
        relative, _ = run(Padasip(kind, step, config, late), config, CONDITIONS[0], trials, rest)
        found.append(np.nan_to_num(relative[-1], nan=np.inf))
    best = int(np.argmin(found))
    at_end = " (end of the grid)" if best in (0, len(STEPS) - 1) else ""
    return STEPS[best], f"2^{np.log2(STEPS[best]):.0f}{at_end}"


def methods(config: CfpcConfig, trials: int, rest: float) -> list[Method]:
    words = FilterWords.of(config)
    count, steps = config.bases.count, config.trial_steps
    slow, low = config.replace(learning={"rate": 2.0**-10}), rule("low-order", config)
    found = []
    for name, kind, configured in (
        ("FM-ET, float, η = 2^-8", AdaptiveFilterFloat, config),
        ("FM-ET, fixed, η = 2^-8", AdaptiveFilterFixed, config),
        ("FM-ET, float, η = 2^-10", AdaptiveFilterFloat, slow),
        ("low-order, float, η = 2^-8", AdaptiveFilterFloat, low),
    ):
        own = FilterWords.of(configured)
        products = 2 * count + sum(np.count_nonzero(part) for part in (own.a, own.b, own.c, own.d))
        # Weights, lines of bases and traces, delay and states of the forward model.
        memory = count + 2 * own.line_words + own.delay + own.order
        make = lambda kind=kind, configured=configured: kind(configured)  # noqa: E731
        found.append(Method(name, make, count, products, memory))
    for kind, name, lateness in (
        (FilterLMS, "LMS", (0.0, 0.05, 0.07)),
        (FilterNLMS, "NLMS", (0.0, 0.05, 0.07)),
        (partial(FilterNLMS, eps=1.0), "NLMS, ε = 1", (0.05, 0.07)),
    ):
        for late_s in lateness:
            late = config.steps(late_s)
            step, said = tuned(kind, config, late, trials, rest)
            label = f"{name}, {f'{1000 * late_s:.0f} ms late' if late else 'raw'}, µ = {said}"
            make = lambda kind=kind, step=step, late=late: Padasip(kind, step, config, late)  # noqa: E731
            # Output, output of the late bases, update; NLMS: power of the bases too.
            each = (3 if kind is FilterLMS else 4) * count
            found.append(Method(label, make, count, each, count + words.line_words + late))
    for weight in LAMBDAS:
        make = lambda weight=weight: Ilc.of(config, weight, bases=False)  # noqa: E731
        found.append(Method(f"ILC, λ = {weight:g}", make, steps, steps, steps * steps + 2 * steps))
    make = lambda: Ilc.of(config, LAMBDAS[0], bases=True)  # noqa: E731
    found.append(
        Method(
            f"ILC on bases, λ = {LAMBDAS[0]:g}",
            make,
            count,
            2 * count,
            count * steps + count + words.line_words,
        )
    )
    return found


def speed(config: CfpcConfig, repeats: int) -> None:
    """Steps a second of the compiled models, the best of so many."""
    for name, kind in (("float", AdaptiveFilterFloat), ("fixed", AdaptiveFilterFixed)):
        adaptive, loop, best = kind(config), LoopState(config.loop), np.inf
        for _ in range(repeats):
            began = time.perf_counter()
            for _ in range(10):
                adaptive.close(loop, config.reference, config.basis_inputs)
            best = min(best, time.perf_counter() - began)
        print(f"{name:<8}{10 * config.trial_steps / best:>14,.0f} steps/s, {config.bases.count} synapses")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    options = parser.parse_args()
    config, trials = CfpcConfig.make(), options.trials
    compared = None
    shown = [n for n in SHOWN if n <= trials]
    for condition in CONDITIONS:
        problem = Problem.of(config, loop=changed_loop(config, condition.change))
        rest = rms(problem.initial_error)
        compared = compared or methods(config, trials, rest)
        best = problem.relative_error(problem.optimum)
        print(f"\n{condition.name}: reactive loop alone 1, best w {best:.4f}")
        trial_columns = "".join(f"{f'trial {n}':>10}" for n in shown)
        print(f"{'':<{WIDE}}{trial_columns}{'learnt':>8}{'products':>10}{'words':>11}{'ms/trial':>10}")
        for method in compared:
            if condition is CONDITIONS[0]:  # compiles
                run(method.make(), config, condition, 1, rest)
            relative, seconds = run(method.make(), config, condition, trials, rest)
            cells = "".join(
                f"{'diverges' if np.isnan(x) else f'{x:.4f}':>10}" for x in relative[np.array(shown) - 1]
            )
            print(
                f"{method.name:<{WIDE}}{cells}{method.learnt:>8,}{method.multiplications:>10,}{method.words:>11,}"
                f"{1000 * seconds:>10.2f}"
            )
    print()
    speed(config, 20)


if __name__ == "__main__":
    main()
