"""The bench of the link: what ``microzone sim link`` and the tests start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ...boards.family import FamilyName
from ...gateware.link.link import Link
from ...gateware.toolchain import ToolError
from ...golden_model.config import ConfigError
from ..build.kept_verilog import kept_verilog
from ..build.netlist import again_netlist
from ..build.simulators import CocotbSimulator, Design, Simulator

__all__ = ["LINK_CONFIGS", "run_link"]

LINK_CONFIGS = ("default",)
"""The link depends on no configuration."""


def run_link(
    simulator: Simulator,
    *,
    channels: int = 1,
    config_name: str = "default",
    seed: int = 1,
    steps: int = 1500,
    waves: Path | None = None,
    netlist: FamilyName | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """The cocotb bench of requests, replies and telemetry, against ``LinkModel``.

    Parameters
    ----------
    simulator : Simulator
        One that runs cocotb.
    channels : int
        Not looked at: there is one link.
    config_name : str
        ``default``.
    seed : int
        Of the stimuli.
    steps : int
        One piece of traffic, a frame or what is left of one, for each 5.
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
    if config_name not in LINK_CONFIGS:
        raise ConfigError(f"configuration {config_name!r}: choose from {', '.join(LINK_CONFIGS)}")
    if waves is not None:
        raise ConfigError("--waves: the bench of the link records none")
    if not isinstance(simulator, CocotbSimulator):
        raise ToolError(f"{simulator.name}: does not run cocotb; take verilator or icarus")
    again = (
        f"microzone sim link --simulator {simulator.name} --seed {seed} --steps {steps}"
        f"{again_netlist(netlist)}"
    )
    with tempfile.TemporaryDirectory(prefix="microzone-") as folder:
        simulator.run(
            Design({"link.sv": kept_verilog(Link, "link", netlist=netlist)}, "link"),
            "microzone.sim.benches.link",
            Path(folder),
            seed=seed,
            environment={"MICROZONE_PIECES": str(max(steps // 5, 1)), "MICROZONE_AGAIN": again},
        )
    report("requests good and bad, replies, telemetry in between, stalls: equal byte for byte")
