"""What the verbs of the command line share on their way in: options, consoles, the configuration.

The modules of this package load what a verb works with when the verb is called, not before: ``--help`` is
printed at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..text import PlainConsole

if TYPE_CHECKING:
    from ...golden_model.config import ChipConfig
    from ...sim.build.simulators import Simulator

__all__ = [
    "BENCH_NAMES",
    "BLOCK_NAMES",
    "DEFAULT_SIMULATOR",
    "MOST_BAUD",
    "MOST_SEED",
    "MOST_TRIALS",
    "BaudOption",
    "ConfigOption",
    "JsonOption",
    "Model",
    "OverwriteOption",
    "PortOption",
    "SchedulerOption",
    "SimulatorName",
    "SimulatorOption",
    "Site",
    "TlsCaOption",
    "TlsCertOption",
    "TlsKeyOption",
    "WorkersOption",
    "check_scheduler",
    "chosen_simulator",
    "console",
    "errors",
    "load_config",
]

MOST_TRIALS, MOST_SEED, MOST_BAUD = 100_000, 2**32 - 1, 100_000_000
"""Largest numbers on the command line: of a kind of trial, of a seed, of bits a second."""
console = PlainConsole()
errors = PlainConsole(stderr=True)


class Model(StrEnum):
    """The three models of the chip."""

    FLOAT = "float"
    FIXED = "fixed"
    RTL = "rtl"


class SimulatorName(StrEnum):
    """Keys of ``sim.SIMULATORS``."""

    VERILATOR = "verilator"
    ICARUS = "icarus"
    CXXRTL = "cxxrtl"


class Site(StrEnum):
    """The two recording sites."""

    PN = "pn"
    IO = "io"


ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration (TOML); else the default.")
]
SimulatorOption = Annotated[SimulatorName, typer.Option("--simulator", help="Where the gateware runs.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Take the place of another run whose files are there.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", help="Dask scheduler, tls://HOST:8786; else this machine.")
]
TlsCaOption = Annotated[
    Path | None, typer.Option("--tls-ca", help="Authority of the scheduler's certificate (PEM).")
]
TlsCertOption = Annotated[
    Path | None, typer.Option("--tls-cert", help="Your certificate for the scheduler (PEM).")
]
TlsKeyOption = Annotated[
    Path | None, typer.Option("--tls-key", help="Key of that certificate (PEM), if not in the same file.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, max=1024, help="Processes on this machine; else one a core; 0: none but this."
    ),
]
PortOption = Annotated[
    str | None, typer.Option("--port", help="Serial port; else the only USB one that there is.")
]
BaudOption = Annotated[
    int, typer.Option("--baud", min=9600, max=MOST_BAUD, help="Bits a second of the serial port.")
]
DEFAULT_SIMULATOR = SimulatorName.VERILATOR
BENCH_NAMES = ("microcircuit", "recalibration", "amplifier", "detection", "stimulation", "link", "cfpc")
"""Keys of ``sim.blocks.BENCHES``."""
BLOCK_NAMES = (*BENCH_NAMES, "chip")
"""Keys of ``gateware.blocks.BLOCKS``."""


def load_config(path: Path | None) -> ChipConfig:
    """The configuration of a file, or the default one."""
    from ...golden_model.config import ChipConfig

    return ChipConfig.load(path) if path else ChipConfig.make()


def chosen_simulator(name: SimulatorName) -> Simulator:
    """The simulator of that name; ToolError if it is not installed."""
    from ...sim.build.simulators import find_simulator

    return find_simulator(name.value)


def check_scheduler(
    scheduler: str | None,
    workers: int | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """UserError if the work cannot be done there; a line if others could have code run there, too."""
    from ..cluster import check_where, is_encrypted, use_certificates

    check_where(scheduler, workers)
    use_certificates(scheduler, tls_ca, tls_cert, tls_key)
    if scheduler is not None and not is_encrypted(scheduler):
        errors.print(
            f"warning: scheduler {scheduler}: is not encrypted; who can reach it can run code as you",
            highlight=False,
            markup=False,
        )
