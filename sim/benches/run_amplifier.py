"""Run the bench of the amplifier front end: what ``microzone sim amplifier`` and the tests start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ...boards.family import FamilyName
from ...gateware.amplifier.amplifier import Amplifier
from ...golden_model.config import ChipConfig, ConfigError
from ..build.kept_verilog import kept_verilog, sim_sources
from ..build.netlist import again_netlist
from ..build.simulators import CocotbSimulator, Design, Simulator
from ..replay.scenarios import CONFIGS

__all__ = ["amplifier_design", "run_amplifier"]

_CHIPS = 2
_SLOW_CLOCK_HZ = 24e6
_FAST_CLOCK_HZ = 48e6
_SLOW_CLOCK_COMMANDS = 20
"""Inputs of a chip that the slower clock converts at 30 kS/s, with what a frame has beside them."""


def amplifier_design(
    config: ChipConfig, verilog: str | None = None, *, netlist: FamilyName | None = None
) -> Design:
    """The front end with a model of each of its chips, module ``amplifier_bench``.

    Parameters
    ----------
    config : ChipConfig
    verilog : str, optional
        Of another front end, module ``front_end``.
    netlist : {"ice40", "ecp5"}, optional
        The front end as synthesised for this family.
    """
    front_end = Amplifier(config)
    return Design(
        {
            "front_end.sv": verilog or kept_verilog(lambda: Amplifier(config), "front_end", netlist=netlist),
            **sim_sources("loop/amplifier.sv", "benches/amplifier_bench.sv"),
        },
        "amplifier_bench",
        parameters={
            "CHIPS": config.amplifier.chips,
            "PAYLOAD": front_end.samples.payload.shape().size,
            "DELAYS": front_end.delays.shape().size,
            "CHIP_BITS": len(front_end.faulty_chip),
            "CLOCK_PS": int(1e12 / config.time.clock_hz),
        },
    )


def run_amplifier(
    simulator: Simulator,
    *,
    channels: int = 2,
    chips: int = _CHIPS,
    config_name: str = "default",
    clock_hz: float | None = None,
    seed: int = 1,
    steps: int = 100,
    waves: Path | None = None,
    netlist: FamilyName | None = None,
    report: Callable[[str], None] = lambda line: None,
    verilog: str | None = None,
) -> None:
    """The cocotb bench of the front end with models of its amplifier chips.

    Parameters
    ----------
    simulator : Simulator
    channels : int
        Inputs of each chip that are used.
    chips : int
    config_name : str
        A key of ``scenarios.CONFIGS``.
    clock_hz : float, optional
        By default 24 MHz, for more than 18 inputs 48 MHz.
    seed : int
    steps : int
        A fifth as many frames are compared.
    waves : Path, optional
        Refused: this bench records none.
    netlist : {"ice40", "ecp5"}, optional
        Run the block as synthesised for this family.
    report : callable
        Told what passed.
    verilog : str, optional
        Of a front end to test in place of the present one.

    Raises
    ------
    BenchFailure
        At the first difference; the message has the seed and the command to repeat it.
    ConfigError
        If the chips have no such inputs, waves are asked for, or a netlist of a simulator with glitches.
    ToolError
        If the simulator is missing, fails, or runs no cocotb.
    """
    if waves is not None:
        raise ConfigError("--waves: the bench of the amplifier records none")
    slow = channels + 2 <= _SLOW_CLOCK_COMMANDS
    default_clock_hz = _SLOW_CLOCK_HZ if slow else _FAST_CLOCK_HZ
    config = CONFIGS[config_name].replace(
        time={"clock_hz": clock_hz or default_clock_hz},
        amplifier={"chips": chips, "channels": channels, "rate_hz": 30e3},
    )
    if not isinstance(simulator, CocotbSimulator):
        raise ConfigError(f"{simulator.name}: runs no cocotb, take another simulator")
    again = (
        f"microzone sim amplifier --simulator {simulator.name} --channels {channels} "
        f"--config {config_name} --seed {seed} --steps {steps}{again_netlist(netlist)}"
    )
    if netlist and simulator.name == "icarus":
        raise ConfigError("icarus: a netlist glitches in it, and this bench waits for edges; take verilator")
    # What the command line does not offer.
    if chips != _CHIPS:
        again += f"; with {chips} chips"
    if config.time.clock_hz != default_clock_hz:
        again += f"; at {config.time.clock_hz / 1e6:g} MHz"
    with tempfile.TemporaryDirectory(prefix="microzone-") as folder:
        simulator.run(
            amplifier_design(config, verilog, netlist=netlist),
            "microzone.sim.benches.amplifier",
            Path(folder),
            seed=seed,
            environment={
                "MICROZONE_CONFIG": config.to_toml(),
                "MICROZONE_FRAMES": str(max(steps // 5, 2)),
                "MICROZONE_AGAIN": again,
            },
        )
    report(
        f"amplifier: {chips} chips of {channels} electrodes, set-up, cables, samples, times, faults "
        f"at {config.time.clock_hz / 1e6:g} MHz"
    )
