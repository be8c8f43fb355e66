"""Steps a second of the float model, the fixed-point model and the gateware in each simulator, in one run.

``make benchmark``; machines are noisy, so read the ratios. Compilation is not counted: each model runs once
before it is timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from microzone.golden_model import (
    TRAINING,
    ChipConfig,
    MicrocircuitFixed,
    MicrocircuitFloat,
    Protocol,
)
from microzone.golden_model.calibrate import calibrate
from microzone.sim.build.simulators import SIMULATORS
from microzone.sim.replay.replay import Scenario, replay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_800_000, help="for the models and Verilator")
    parser.add_argument("--interpreted-steps", type=int, default=60_000, help="for Icarus")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    config = ChipConfig.make()
    adaptive = calibrate(TRAINING.training(config, 1), config, training_sha256="0" * 64)
    events = Protocol().events(config, seed=1)
    pn, io = events.pn_steps, events.io_steps
    runs: dict[str, tuple[int, Callable[[], object]]] = {}
    for name, kind in (("float", MicrocircuitFloat), ("fixed", MicrocircuitFixed)):
        stop = min(options.steps, pn.size)
        runs[name] = (stop, lambda kind=kind, stop=stop: kind(config).process(pn[:stop], io[:stop]))
        runs[f"{name}, recalibrating"] = (
            stop, lambda kind=kind, stop=stop: kind(adaptive).process(pn[:stop], io[:stop])
        )  # fmt: skip
    for simulator in SIMULATORS.values():
        if simulator.version() is None:
            print(f"rtl on {simulator.name}: not installed ({simulator.how_to_get})")
            continue
        wanted = options.interpreted_steps if simulator.name == "icarus" else options.steps
        stop = min(wanted, pn.size)
        scenario = Scenario("benchmark", config, pn[:stop, None], io[:stop, None])
        runs[f"rtl on {simulator.name}"] = (stop, lambda s=scenario, where=simulator: replay(s, where))
    speeds = {}
    for name, (steps, run) in runs.items():
        run()
        seconds = []
        for _ in range(options.repeats):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        speeds[name] = steps / float(np.median(seconds))
    slowest = min(speeds.values())
    print(f"{'':<22}{'steps a second':>16}{'times the slowest':>20}")
    for name, speed in speeds.items():
        print(f"{name:<22}{speed:>16,.0f}{speed / slowest:>20,.0f}")


if __name__ == "__main__":
    main()
