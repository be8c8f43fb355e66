"""What the verbs of the command line share on their way in: options, consoles, the configuration."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ...golden_model.config import ChipConfig
from ...sim.build.simulators import SIMULATORS
from ..errors import UserError

__all__ = [
    "DEFAULT_SIMULATOR",
    "ConfigOption",
    "JsonOption",
    "Model",
    "SchedulerOption",
    "SimulatorName",
    "SimulatorOption",
    "UserError",
    "WorkersOption",
    "console",
    "errors",
    "load_config",
]

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)


class Model(StrEnum):
    """The three models of the chip."""

    FLOAT = "float"
    FIXED = "fixed"
    RTL = "rtl"


SimulatorName = StrEnum("SimulatorName", {name.upper(): name for name in SIMULATORS})  # type: ignore[misc]

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration (TOML); else the default.")
]
SimulatorOption = Annotated[SimulatorName, typer.Option("--simulator", help="Where the gateware runs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", help="Dask scheduler, tcp://HOST:8786; else this machine.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Processes on this machine; else one a core; 0: none but this."),
]
DEFAULT_SIMULATOR = SimulatorName(next(iter(SIMULATORS)))


def load_config(path: Path | None) -> ChipConfig:
    """The configuration of a file, or the default one."""
    return ChipConfig.load(path) if path else ChipConfig.make()
