"""What flows and posteriors come to, and how long they take, in one run.

The linear system through its own slope and by the score function, with several seeds, beside the known
optimum; the chip from simulations to gates. ``microzone reproduce dsn-2 dsn-go-no-go`` has the rest.

Needs the extra `inference`; about a quarter of an hour of one core. ``--only`` takes one part. Seconds are of
the processor, one thread, but for the simulations of the chip: these are of the clock, on two processes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from microzone.golden_model import ChipConfig
from microzone.golden_model.experiment.protocol import IO_QUALITY
from microzone.golden_model.inference import linear_system
from microzone.golden_model.inference.behaviour import Experiment, behaviour
from microzone.golden_model.inference.dsn import fit_dsn
from microzone.golden_model.inference.maxent import reweight
from microzone.golden_model.inference.npe import gates, train
from microzone.golden_model.inference.parameters import ParameterSpace
from microzone.golden_model.inference.simulations import Table, simulate
from microzone.tools.cluster import cluster

SIMULATIONS, HELD_OUT, CHUNK = 20_000, 200, 500
CHIP = ("potentiation", "depression", "threshold")
SEEN = ("cr_rate", "well_timed", "latency", "first_cr", "extinction", "drift")


@contextmanager
def timed(text: str) -> Iterator[None]:
    began = time.process_time()
    yield
    print(f"  {text:<40}{time.process_time() - began:>8.1f} s")


def show(name: str, values: object) -> None:
    print(f"  {name:<28}", np.array2string(np.asarray(values, float), precision=4, suppress_small=True))


def dsn_linear(seeds: list[int], differentiable: bool) -> None:
    optimum = linear_system.quadrature()[0] - np.log(2)
    print(f"linear system, DSN: one mode has at most {optimum:.3f} nats")
    for seed in seeds:
        low, high = linear_system.BOX
        with timed(f"seed {seed}, {'pathwise' if differentiable else 'score function'}"):
            found = fit_dsn(
                linear_system.statistics, linear_system.TARGETS, [low] * 4, [high] * 4,
                seed=seed, differentiable=differentiable,
            )  # fmt: skip
        show("entropy, converged", [found.entropy, found.converged])
        show("violations", found.violation)
        show("multipliers", found.multipliers)
        z = found.sample(20_000, 1)
        show(
            "P(a2·a3 < 0), corr(a1, a4)",
            [(z[:, 1] * z[:, 2] < 0).mean(), np.corrcoef(z[:, 0], z[:, 3])[0, 1]],
        )


def _simulate(first: int) -> Table:
    space = ParameterSpace(CHIP)
    seeds = np.arange(first, first + CHUNK)
    return simulate(space, space.uniform(CHUNK, first), seeds)


def chip() -> None:
    print(f"chip, NPE: {SIMULATIONS} simulations of {', '.join(CHIP)}")
    space = ParameterSpace(CHIP)
    began = time.perf_counter()
    with cluster(workers=2) as run:
        parts = dict(run.map(_simulate, range(0, SIMULATIONS + HELD_OUT, CHUNK)))
    whole = Table.join([parts[index] for index in sorted(parts)])
    print(f"  {'simulations, two processes':<40}{time.perf_counter() - began:>8.1f} s")
    table, held_out = (
        Table(whole.names, whole.z[rows], whole.statistics[rows], whole.seeds[rows])
        for rows in (slice(SIMULATIONS), slice(SIMULATIONS, SIMULATIONS + HELD_OUT))
    )
    with timed("training"):
        posterior = train(space, table, SEEN, seed=1)
    with timed("gates"):
        result = gates(posterior, held_out, seed=1)
    print(f"  {result}, passed {result.passed}")
    config = ChipConfig.make()
    drawn = posterior.sample(behaviour(config, Experiment(), [123456])[0], 4000, seed=1)
    truth = [np.log10(config.plasticity.potentiation), np.log10(config.plasticity.depression), 0.4]
    show("the default chip's", truth)
    show("posterior mean", drawn.mean(axis=0))
    show("posterior sd", drawn.std(axis=0))
    ratio = drawn[:, 1] - drawn[:, 0]
    show("log10 δd/δp, mean, sd", [truth[1] - truth[0], ratio.mean(), ratio.std()])

    print("chip, maximum entropy: well_timed 0.4, drift 0 ± 0.05, extinction 0.3, each of single sessions")
    column = table.column
    columns = np.stack(
        [column("well_timed"), column("drift"), column("drift") ** 2, column("extinction")], axis=1
    )
    found = reweight(columns, np.array([0.4, 0.0, 0.05**2, 0.3]), space.log_volume)
    ratio = table.z[:, 1] - table.z[:, 0]
    mean = float(found.mean(ratio))
    show("log10 δd/δp, mean, sd", [mean, np.sqrt(found.mean((ratio - mean) ** 2))])
    show("stability condition", -np.log10(config.time.step_s * IO_QUALITY.far_hz))
    show("effective size", found.effective_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("linear", "chip"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    if options.only in (None, "linear"):
        dsn_linear(options.seeds, differentiable=True)
        dsn_linear(options.seeds[:1], differentiable=False)
    if options.only in (None, "chip"):
        chip()


if __name__ == "__main__":
    main()
