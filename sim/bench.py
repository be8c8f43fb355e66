"""Run the benches of a block: what ``microzone sim`` and the tests start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..golden_model.config import ChipConfig
from .replay import core_verilog, replay
from .scenarios import CONFIGS, scenarios
from .simulators import CocotbSimulator, Design, Simulator
from .waves import write_save_file

__all__ = ["BLOCKS", "run_microcircuit"]


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
    again = (
        f"microzone sim microcircuit --simulator {simulator.name} --channels {channels} "
        f"--config {config_name} --seed {seed} --steps {steps}"
    )
    if ports and isinstance(simulator, CocotbSimulator):
        _run_ports(simulator, config, channels, seed, again)
        report("ports: handshakes, back-pressure, latency, access, faults, reset")
    for scenario in scenarios(config, channels, seed, steps=steps):
        vcd = waves / f"{scenario.name}.vcd" if waves else None
        try:
            replay(replace(scenario, again=again), simulator, full=True, check=True, waves=vcd)
        finally:
            if vcd and vcd.is_file() and vcd.stat().st_size:
                write_save_file(vcd)
        report(f"{scenario.name}: {scenario.steps} steps equal in every signal")


def _run_ports(simulator: CocotbSimulator, config: ChipConfig, channels: int, seed: int, again: str) -> None:
    """The interactive bench, ``benches.microcircuit``."""
    with tempfile.TemporaryDirectory(prefix="microzone-") as folder:
        simulator.run(
            Design({"microcircuit.sv": core_verilog(config, channels)}, "microcircuit"),
            "microzone.sim.benches.microcircuit",
            Path(folder),
            seed=seed,
            environment={
                "MICROZONE_CONFIG": config.to_toml(),
                "MICROZONE_CHANNELS": str(channels),
                "MICROZONE_AGAIN": again,
            },
        )


BLOCKS = {"microcircuit": run_microcircuit}
"""What ``microzone sim`` can run, by the name of the block."""
