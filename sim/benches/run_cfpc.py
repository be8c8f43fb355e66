"""The bench of the adaptive filter of CFPC: what ``microzone sim cfpc`` and the tests start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...boards.family import FamilyName
from ...gateware.cfpc.filter import Cfpc
from ...gateware.toolchain import ToolError
from ...golden_model.cfpc import CfpcConfig
from ...golden_model.config import ConfigError
from ..build.kept_verilog import kept_verilog
from ..build.netlist import again_netlist
from ..build.simulators import CocotbSimulator, Design, Simulator

__all__ = ["CFPC_CONFIGS", "run_cfpc"]

# Few bases so close to each other that the lines come round every few dozen steps.
_CLOSE: dict[str, Any] = {"count": 5, "width_s": 0.002, "spacing_s": 0.007, "first_s": 0.003}
_OWN = {**_CLOSE, "shifted": False}
_BRIEF = {"delay_s": 0.006}
# So fast that a few hundred steps take weights to their limits.
_FAST = {"rate": 0.25}
# Narrow words of unlike widths: everything saturates.
_NARROW = {
    "signal": "SQ(2,5)",
    "state": "SQ(1,8)",
    "weight": "SQ(2,11)",
    "coefficient": "SQ(7,4)",
    "weight_rounding": "floor",
}
CFPC_CONFIGS = {
    "default": CfpcConfig.make(bases=_CLOSE, learning=_FAST),
    # An input of its own for each synapse, through a plant that answers at once (D is not 0); a short delay.
    "general": CfpcConfig.make(
        bases=_OWN,
        plant={"leaks_s": None, "numerator": (0.001, 0.1), "denominator": (0.1, 1.0), "method": "bilinear"},
        controller=_BRIEF,
        learning=_FAST,
    ),
    # A delay of 0 feeds h back within the step; one synapse, with an input of its own; h·e gains bits.
    "undelayed": CfpcConfig.make(
        bases={**_OWN, "count": 1},
        controller={"delay_s": 0.0},
        learning=_FAST,
        formats={"signal": "SQ(2,8)", "coefficient": "SQ(5,19)"},
    ),
    # No state at all; a synapse for each step.
    "delay": CfpcConfig.make(
        bases={**_CLOSE, "spacing_s": 0.001},
        eligibility={"trace": "delay", "delay_s": 0.004},
        learning=_FAST,
    ),
    # The rule of Widrow and Hoff, with an input for each synapse; no number is left that names none.
    "wh": CfpcConfig.make(
        bases={**_OWN, "count": 4}, eligibility={"trace": "delay", "delay_s": 0.0}, learning=_FAST
    ),
    "low-order": CfpcConfig.make(
        bases=_CLOSE,
        eligibility={"trace": "low-order", "delay_s": 0.005, "leaks_s": (0.01, 0.004)},
        learning=_FAST,
    ),
    # Four states of the plant and one of the controller.
    "four-state": CfpcConfig.make(
        bases=_CLOSE,
        plant={"leaks_s": (0.02, 0.01, 0.005, 0.003), "gain": 0.1},
        controller={"proportional": 2.0, "integral": 10.0, "delay_s": 0.003},
        learning=_FAST,
    ),
    "narrow": CfpcConfig.make(bases=_CLOSE, controller=_BRIEF, learning=_FAST, formats=_NARROW),
}
"""By name; the configurations of ``microzone sim cfpc``."""


def run_cfpc(
    simulator: Simulator,
    *,
    channels: int = 1,
    config_name: str = "default",
    seed: int = 1,
    steps: int = 1500,
    waves: Path | None = None,
    netlist: FamilyName | None = None,
    report: Callable[[str], None] = lambda line: None,
    verilog: str | None = None,
) -> None:
    """The cocotb bench of the adaptive filter, against ``AdaptiveFilterFixed``.

    Parameters
    ----------
    simulator : Simulator
        One that runs cocotb.
    channels : int
        Not looked at: there is one filter.
    config_name : str
        A key of :data:`CFPC_CONFIGS`.
    seed : int
        Of the stimuli.
    steps : int
        Of the filter without a pause; a fifth as many in each other test.
    waves : Path, optional
        None are recorded: refused.
    netlist : {"ice40", "ecp5"}, optional
        Run the block as synthesised for this family.
    report : callable
        Told what passed.
    verilog : str, optional
        Of another filter, module ``cfpc``, to test in place of the present one.

    Raises
    ------
    BenchFailure
        At the first difference; the message has the seed and the command to repeat it.
    ConfigError
        If there is no such configuration, or waves are asked for.
    ToolError
        If the simulator is missing, fails, or does not run cocotb.
    """
    if config_name not in CFPC_CONFIGS:
        raise ConfigError(f"configuration {config_name!r}: choose from {', '.join(CFPC_CONFIGS)}")
    if waves is not None:
        raise ConfigError("--waves: the bench of the adaptive filter records none")
    if not isinstance(simulator, CocotbSimulator):
        raise ToolError(f"{simulator.name}: does not run cocotb; take verilator or icarus")
    config = CFPC_CONFIGS[config_name]
    again = (
        f"microzone sim cfpc --simulator {simulator.name} --config {config_name} --seed {seed} "
        f"--steps {steps}{again_netlist(netlist)}"
    )
    text = verilog or kept_verilog(lambda: Cfpc(config), "cfpc", netlist=netlist)
    with tempfile.TemporaryDirectory(prefix="microzone-") as folder:
        simulator.run(
            Design({"cfpc.sv": text}, "cfpc"),
            "microzone.sim.benches.cfpc",
            Path(folder),
            seed=seed,
            environment={
                "MICROZONE_CONFIG": config.to_toml(),
                "MICROZONE_STEPS": str(steps),
                "MICROZONE_AGAIN": again,
            },
        )
    report(
        f"{config_name}: {steps} steps, gaps, back-pressure, latency, accesses, freezing, reset: all equal"
    )
