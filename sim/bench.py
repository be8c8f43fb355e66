"""Run the benches of a block: what ``microzone sim`` and the tests start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..gateware.microcircuit import Timing
from ..gateware.rational import RationalEvaluator
from ..golden_model.config import ChipConfig, ConfigError
from .kept_verilog import kept_verilog
from .replay import Scenario, core_verilog, replay
from .scenarios import CONFIGS, scenarios
from .simulators import CocotbSimulator, Design, Simulator
from .waves import write_save_file

__all__ = ["run_microcircuit", "run_recalibration"]


def run_microcircuit(
    simulator: Simulator,
    *,
    channels: int = 1,
    config_name: str = "default",
    seed: int = 1,
    steps: int = 1500,
    ports: bool = True,
    waves: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """The cocotb benches of the microcircuit on one build of the core.

    Parameters
    ----------
    simulator : Simulator
    channels : int
    config_name : str
        A key of ``scenarios.CONFIGS``.
    seed : int
        Of the stimuli.
    steps : int
        Length of each replayed scenario.
    ports : bool
        Run the bench of the core's ports too, where the simulator runs cocotb.
    waves : Path, optional
        Folder for a VCD and a GTKWave save file of each replayed scenario.
    report : callable
        Told the name of each bench that passed.

    Raises
    ------
    BenchFailure
        At the first difference; the message has the seed and the command to repeat it.
    ToolError
        If the simulator is missing or fails.
    """
    config = CONFIGS[config_name]
    again = _again("microcircuit", simulator, channels, config_name, seed, steps)
    if ports and isinstance(simulator, CocotbSimulator):
        design = Design({"microcircuit.sv": core_verilog(config, channels)}, "microcircuit")
        _run_cocotb(simulator, design, "microcircuit", config, channels, seed, again)
        report("ports: handshakes, back-pressure, latency, access, faults, reset")
    _replay_all(scenarios(config, channels, seed, steps=steps), simulator, again, waves, report)


def run_recalibration(
    simulator: Simulator,
    *,
    channels: int = 1,
    config_name: str = "adaptive",
    seed: int = 1,
    steps: int = 1500,
    waves: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """The cocotb benches of the recalibration: the evaluator by itself, then the core with steps running.

    Parameters, returns and errors as :func:`run_microcircuit`. `waves` records the core.
    """
    config = CONFIGS[config_name]
    if not config.recalibration.enabled:
        able = [name for name, known in CONFIGS.items() if known.recalibration.enabled]
        raise ConfigError(
            f"configuration {config_name!r} does not recalibrate: choose from {', '.join(able)}"
        )
    Timing(config, channels)  # refuses too many channels before anything is made
    again = _again("recalibration", simulator, channels, config_name, seed, steps)
    if isinstance(simulator, CocotbSimulator):
        design = Design(
            {"evaluator.sv": kept_verilog(lambda: RationalEvaluator(config, channels), "evaluator")},
            "evaluator",
        )
        _run_cocotb(simulator, design, "recalibration", config, channels, seed, again)
        report("evaluator: sound, adversarial and random coefficients, latency, reads in between")
    wanted = [s for s in scenarios(config, channels, seed, steps=steps) if s.name == "recalibrating"]
    _replay_all(wanted, simulator, again, waves, report)


def _run_cocotb(
    simulator: CocotbSimulator,
    design: Design,
    bench: str,
    config: ChipConfig,
    channels: int,
    seed: int,
    again: str,
) -> None:
    """An interactive bench, ``benches.NAME``."""
    with tempfile.TemporaryDirectory(prefix="microzone-") as folder:
        simulator.run(
            design,
            f"microzone.sim.benches.{bench}",
            Path(folder),
            seed=seed,
            environment={
                "MICROZONE_CONFIG": config.to_toml(),
                "MICROZONE_CHANNELS": str(channels),
                "MICROZONE_AGAIN": again,
            },
        )


def _replay_all(
    wanted: Sequence[Scenario],
    simulator: Simulator,
    again: str,
    waves: Path | None,
    report: Callable[[str], None],
) -> None:
    """Replay scenarios, compared in every signal."""
    for scenario in wanted:
        vcd = waves / f"{scenario.name}.vcd" if waves else None
        try:
            replay(replace(scenario, again=again), simulator, full=True, check=True, waves=vcd)
        finally:
            if vcd and vcd.is_file() and vcd.stat().st_size:
                write_save_file(vcd)
        report(f"{scenario.name}: {scenario.steps} steps equal in every signal")


def _again(block: str, simulator: Simulator, channels: int, config_name: str, seed: int, steps: int) -> str:
    """The command that repeats a run."""
    return (
        f"microzone sim {block} --simulator {simulator.name} --channels {channels} "
        f"--config {config_name} --seed {seed} --steps {steps}"
    )
