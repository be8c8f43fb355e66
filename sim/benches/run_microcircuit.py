"""Run the benches of a block: what ``microzone sim`` and the tests start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ...boards.family import FamilyName
from ...gateware.microcircuit.microcircuit import Timing
from ...gateware.microcircuit.rational import RationalEvaluator
from ...golden_model.config import ChipConfig, ConfigError
from ..build.kept_verilog import kept_verilog
from ..build.netlist import Netlist, again_netlist
from ..build.simulators import CocotbSimulator, Design, Simulator
from ..build.waves import write_save_file
from ..replay.replay import Scenario, core_netlist, core_verilog, replay
from ..replay.scenarios import CONFIGS, scenarios

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
    netlist: Netlist | None = None,
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
    netlist : {"ice40", "ecp5", "bitstream"}, optional
        Run the core as synthesised for this family, or as a bitstream of the iCE40 has it: there the replays
        compare w and the binary signals.
    report : callable
        Told the name of each bench that passed.

    Raises
    ------
    BenchFailure
        At the first difference; the message has the seed and the command to repeat it.
    ConfigError
        If the simulator takes no netlist, or the configuration cannot be read back or waves are asked of it.
    ToolError
        If the simulator or a tool of the netlist is missing or fails.
    """
    config = CONFIGS[config_name]
    _refuse(simulator, netlist, waves)
    again = _again("microcircuit", simulator, channels, config_name, seed, steps, netlist)
    verilog = core_netlist(config, channels, netlist) if netlist else core_verilog(config, channels)
    if ports and isinstance(simulator, CocotbSimulator):
        design = Design({"microcircuit.sv": verilog}, "microcircuit")
        _run_cocotb(simulator, design, "microcircuit", config, channels, seed, again)
        report("ports: handshakes, back-pressure, latency, access, faults, reset")
    wanted = scenarios(config, channels, seed, steps=steps)
    _replay_all(wanted, simulator, again, waves, report, netlist)


def run_recalibration(
    simulator: Simulator,
    *,
    channels: int = 1,
    config_name: str = "adaptive",
    seed: int = 1,
    steps: int = 1500,
    waves: Path | None = None,
    netlist: FamilyName | None = None,
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
    _refuse(simulator, netlist, waves)
    again = _again("recalibration", simulator, channels, config_name, seed, steps, netlist)
    if isinstance(simulator, CocotbSimulator):
        verilog = kept_verilog(lambda: RationalEvaluator(config, channels), "evaluator", netlist=netlist)
        design = Design({"evaluator.sv": verilog}, "evaluator")
        _run_cocotb(simulator, design, "recalibration", config, channels, seed, again)
        report("evaluator: sound, adversarial and random coefficients, latency, reads in between")
    wanted = [s for s in scenarios(config, channels, seed, steps=steps) if s.name == "recalibrating"]
    _replay_all(wanted, simulator, again, waves, report, netlist)


def _refuse(simulator: Simulator, netlist: Netlist | None, waves: Path | None) -> None:
    """ConfigError for what a netlist is not made for."""
    if netlist and not isinstance(simulator, CocotbSimulator):
        raise ConfigError(f"{simulator.name}: takes no netlist, take verilator or icarus")
    if netlist == "bitstream" and waves is not None:
        raise ConfigError("--waves: a bitstream has no pads for all signals that they show")


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
    netlist: Netlist | None,
) -> None:
    """Replay scenarios, compared in every signal that there is."""
    full = netlist != "bitstream"
    compared = "every signal" if full else "w and every binary signal"
    for scenario in wanted:
        core = core_netlist(scenario.config, scenario.channels, netlist) if netlist else None
        vcd = waves / f"{scenario.name}.vcd" if waves else None
        try:
            replay(replace(scenario, again=again), simulator, full=full, check=True, waves=vcd, verilog=core)
        finally:
            if vcd and vcd.is_file() and vcd.stat().st_size:
                write_save_file(vcd)
        report(f"{scenario.name}: {scenario.steps} steps equal in {compared}")


def _again(
    block: str,
    simulator: Simulator,
    channels: int,
    config_name: str,
    seed: int,
    steps: int,
    netlist: Netlist | None,
) -> str:
    """The command that repeats a run."""
    return (
        f"microzone sim {block} --simulator {simulator.name} --channels {channels} "
        f"--config {config_name} --seed {seed} --steps {steps}{again_netlist(netlist)}"
    )
