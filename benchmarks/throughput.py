"""Steps a second of the float model, the fixed-point model and the gateware in each simulator, in one run.

``make benchmark``; machines are noisy, so read the ratios, and the steps a second of processor time, of this
process and of the simulation, where others use the machine too. Compilation is not counted: each model runs
once before it is timed.

At the end: bytes a step that a session in RTL takes in Python at its peak, its result (w and its raw words,
16 bytes a step) included. It is the difference between two lengths.

``--beside PYTHON`` does the same with another installation, such as an older commit's ``.venv/bin/python``,
by turns with this one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from microzone.golden_model import (
    TRAINING,
    ChipConfig,
    MicrocircuitFixed,
    MicrocircuitFloat,
    Protocol,
)

_LENGTHS = (600_000, 1_200_000)
"""Steps of the two sessions whose memory is compared."""


def _found(*modules: str) -> Any:
    """The first of the modules that there is: an older installation may have another name for it."""
    for module in modules:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(module)
    raise SystemExit(f"none of {', '.join(modules)}: not an installation that this benchmark knows")


def _processor_seconds() -> float:
    """Of this process and of the simulations that it has run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _process(kind: Any, config: ChipConfig, pn: Any, io: Any) -> object:
    return kind(config).process(pn, io)


class _Runs:
    """What there is to measure in one installation."""

    def __init__(self, steps: int, interpreted_steps: int) -> None:
        self._run_model = _found("microzone.tools.models", "microzone.tools.session").run_model
        simulators = _found("microzone.sim.build.simulators", "microzone.sim.simulators").SIMULATORS
        self.config = ChipConfig.make()
        self.events = Protocol().events(self.config, seed=1)
        calibration = _found(
            "microzone.golden_model.calibration.calibration", "microzone.golden_model.calibration"
        )
        adaptive = calibration.calibrate(
            TRAINING.training(self.config, 1), self.config, training_sha256="0" * 64
        )
        pn, io = self.events.pn_steps, self.events.io_steps
        self.runs: dict[str, tuple[int, Callable[[], object]]] = {}
        for name, kind in (("float", MicrocircuitFloat), ("fixed", MicrocircuitFixed)):
            stop = min(steps, pn.size)
            for label, config in ((name, self.config), (f"{name}, recalibrating", adaptive)):
                model = partial(_process, kind, config, pn[:stop], io[:stop])
                self.runs[label] = stop, model
        self.missing: list[str] = []
        for simulator in simulators.values():
            if simulator.version() is None:
                self.missing.append(f"rtl on {simulator.name}: not installed ({simulator.how_to_get})")
                continue
            stop = min(interpreted_steps if simulator.name == "icarus" else steps, pn.size)
            self.runs[f"rtl on {simulator.name}"] = stop, partial(self.session, stop, simulator)
        self._simulators = simulators

    def session(self, stop: int, simulator: Any) -> object:
        """The gateware's answer to the first steps of a session."""
        events = self.events
        cut = replace(
            events,
            pn=events.pn[events.pn < stop],
            io=events.io[events.io < stop],
            cs=events.cs[:0],
            us=events.us[:0],
            n_steps=stop,
        )
        return self._run_model("rtl", cut, self.config, simulator=simulator)

    def measure(self, name: str) -> dict[str, float]:
        """Steps a second, by the clock and by processor time."""
        steps, run = self.runs[name]
        before, began = _processor_seconds(), time.perf_counter()
        run()
        seconds, busy = time.perf_counter() - began, _processor_seconds() - before
        return {"wall": steps / seconds, "processor": steps / busy}

    def bytes_a_step(self) -> float:
        """Of a session in RTL at its peak, on the default simulator."""
        peaks = []
        for stop in _LENGTHS:
            self.session(stop, self._simulators["verilator"])
            tracemalloc.start()
            self.session(stop, self._simulators["verilator"])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return (peaks[1] - peaks[0]) / (_LENGTHS[1] - _LENGTHS[0])


class _Worker:
    """An installation at work in a process of its own, which answers one request at a time."""

    def __init__(self, python: str, options: argparse.Namespace) -> None:
        lengths = ["--steps", str(options.steps), "--interpreted-steps", str(options.interpreted_steps)]
        self._process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), "--worker", *lengths],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, request: str) -> Any:
        """The answer to ``names``, ``missing``, ``bytes``, or a name to measure."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(request, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the benchmark of {self._process.args} has ended by itself")
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _work(runs: _Runs) -> None:
    for line in sys.stdin:
        request = line.strip()
        fixed = {
            "names": lambda: list(runs.runs),
            "missing": lambda: runs.missing,
            "bytes": runs.bytes_a_step,
        }
        print(json.dumps(fixed[request]() if request in fixed else runs.measure(request)), flush=True)


@contextlib.contextmanager
def _workers(options: argparse.Namespace) -> Iterator[dict[str, _Worker]]:
    pythons = {"here": sys.executable} | ({"beside": options.beside} if options.beside else {})
    workers = {name: _Worker(python, options) for name, python in pythons.items()}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_800_000, help="for the models and compiled simulators")
    parser.add_argument("--interpreted-steps", type=int, default=60_000, help="for Icarus")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beside", metavar="PYTHON", help="of another installation")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(_Runs(options.steps, options.interpreted_steps))
        return
    with _workers(options) as workers:
        for line in workers["here"].ask("missing"):
            print(line)
        columns = [f"{what}, {where}" for where in workers for what in ("steps/s", "of processor")]
        print(f"{'':<24}" + "".join(f"{column:>22}" for column in columns))
        for name in workers["here"].ask("names"):
            found: dict[str, list[dict[str, float]]] = {where: [] for where in workers}
            for repeat in range(1 + options.repeats):
                for where, worker in workers.items():
                    speed = worker.ask(name)
                    found[where] += [speed] if repeat else []  # the first one compiles
            medians = [
                float(np.median([speed[kind] for speed in speeds]))
                for speeds in found.values()
                for kind in ("wall", "processor")
            ]
            print(f"{name:<24}" + "".join(f"{median:>22,.0f}" for median in medians), flush=True)
        for where, worker in workers.items():
            print(f"a session in RTL, {where}: {worker.ask('bytes'):.1f} bytes a step at the peak")


if __name__ == "__main__":
    main()
