"""The bench of the stimulation: what ``microzone sim stimulation`` and the tests start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ...boards.family import FamilyName
from ...gateware.stimulation.stimulation import Stimulation
from ...gateware.toolchain import ToolError
from ...golden_model.config import ChipConfig, ConfigError
from ..build.kept_verilog import kept_verilog
from ..build.netlist import again_netlist
from ..build.simulators import CocotbSimulator, Design, Simulator

__all__ = ["STIMULATION_CONFIGS", "run_stimulation"]

# Durations of a few clock cycles: trains, rests and watchdogs by the hundred.
_CLOCK = {"clock_hz": 10_000.0}
_LIMITS = {"rate_hz": 500.0, "width_s": 6e-4, "duration_s": 0.02, "rest_s": 0.005}
_TRAIN = {"rate_hz": 400.0, "width_s": 4e-4, "interphase_s": 2e-4, "duration_s": 0.0125, "watchdog_s": 0.05}
_BLANKING = {"guard_before_s": 3e-4, "guard_after_s": 6e-4, "fixed_s": 0.03}
STIMULATION_CONFIGS = {
    "biphasic": ChipConfig.make(
        time=_CLOCK, stimulation={**_TRAIN, "limits": _LIMITS}, blanking={**_BLANKING, "mode": "pulse"}
    ),
    "monophasic": ChipConfig.make(
        time=_CLOCK,
        stimulation={**_TRAIN, "shape": "monophasic", "interphase_s": 0.0, "limits": _LIMITS},
        blanking={**_BLANKING, "mode": "fixed"},
    ),
}


def run_stimulation(
    simulator: Simulator,
    *,
    channels: int = 1,
    config_name: str = "biphasic",
    seed: int = 1,
    steps: int = 1500,
    waves: Path | None = None,
    netlist: FamilyName | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """The cocotb bench of pulse generator, interlock and blanking level, against ``Stimulator``.

    Parameters
    ----------
    simulator : Simulator
        One that runs cocotb.
    channels : int
        Not looked at: there is one stimulation.
    config_name : str
        A key of :data:`STIMULATION_CONFIGS`.
    seed : int
        Of the stimuli.
    steps : int
        One set of random settings, with a few trains, for each 50.
    waves : Path, optional
        None are recorded: refused.
    netlist : {"ice40", "ecp5"}, optional
        Run the block as synthesised for this family.
    report : callable
        Told what passed.

    Raises
    ------
    BenchFailure
        At the first difference; the message has the seed and the command to repeat it.
    ConfigError
        If there is no such configuration, or waves are asked for.
    ToolError
        If the simulator is missing, fails, or does not run cocotb.
    """
    if config_name not in STIMULATION_CONFIGS:
        raise ConfigError(f"configuration {config_name!r}: choose from {', '.join(STIMULATION_CONFIGS)}")
    if waves is not None:
        raise ConfigError("--waves: the bench of the stimulation records none")
    if not isinstance(simulator, CocotbSimulator):
        raise ToolError(f"{simulator.name}: does not run cocotb; take verilator or icarus")
    config = STIMULATION_CONFIGS[config_name]
    again = (
        f"microzone sim stimulation --simulator {simulator.name} --config {config_name} --seed {seed} "
        f"--steps {steps}{again_netlist(netlist)}"
    )
    verilog = kept_verilog(lambda: Stimulation(config), "stimulation", netlist=netlist)
    with tempfile.TemporaryDirectory(prefix="microzone-") as folder:
        simulator.run(
            Design({"stimulation.sv": verilog}, "stimulation"),
            "microzone.sim.benches.stimulation",
            Path(folder),
            seed=seed,
            environment={
                "MICROZONE_CONFIG": config.to_toml(),
                "MICROZONE_SETS": str(max(steps // 50, 1)),
                "MICROZONE_AGAIN": again,
            },
        )
    report("pulses, blanking, refusals, stops, watchdogs, registers: equal in every cycle")
