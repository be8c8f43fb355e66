"""Opening a chip: at a serial port, or its gateware in simulation with a virtual preparation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ...boards.board import BOARDS
from ...golden_model.config import ChipConfig, ConfigError
from ...golden_model.experiment.preparation import Preparation
from ..models import paired_then_alone
from .chip import Host
from .link import Transport

__all__ = ["Connection", "Trials", "building", "check_place", "connected", "serial_transport"]


@dataclass(frozen=True)
class Connection:
    """Where a chip is.

    Attributes
    ----------
    port : str or None
        Serial port; else the only USB one that there is.
    baud : int
        Bits a second.
    simulated : bool
        Its gateware in Verilator, in place of a port.
    config : Path or None
        The TOML that came with its bitstream; else the default configuration: of the board, as the chip says.
    """

    port: str | None = None
    baud: int = 1_000_000
    simulated: bool = False
    config: Path | None = None


@dataclass(frozen=True)
class Trials:
    """What the virtual preparation of a simulated chip is put through.

    Attributes
    ----------
    paired, cs_alone : int
        Trials of each kind, in this order.
    iti_s : (float, float)
        Shortest and longest interval from CS to CS, in s.
    seed : int
        Of preparation and amplifier.
    """

    paired: int = 10
    cs_alone: int = 0
    iti_s: tuple[float, float] = (10.0, 15.0)
    seed: int = 1


def check_place(where: Connection) -> None:
    """ConfigError if a chip is asked for both at a port and in simulation."""
    if where.simulated and where.port is not None:
        raise ConfigError("--port and --simulated: choose one")


def serial_transport(where: Connection) -> Transport:
    """The open serial port; LinkError if it cannot be opened."""
    from .serial import SerialTransport, find_port

    return SerialTransport(where.port or find_port(), where.baud)


def building(status: Console | None) -> AbstractContextManager[object]:
    """Tells that a simulation is being built."""
    told = "verilator: building the simulation (once for each configuration)"
    return (status or Console(quiet=True)).status(told)


@contextmanager
def connected(
    where: Connection, trials: Trials | None = None, *, status: Console | None = None
) -> Iterator[tuple[Host, Preparation | None]]:
    """A host of a chip, and the preparation that the chip is connected to in simulation.

    Parameters
    ----------
    where : Connection
    trials : Trials, optional
        Of the preparation of a simulated chip; without them it has none.
    status : rich.console.Console, optional
        Told while a simulation is being built.

    Raises
    ------
    ConfigError, FileError
        If the configuration cannot be used, or both a port and a simulation are asked for.
    LinkError
        If the port cannot be opened.
    ToolError
        If the simulation cannot be built.
    """
    config = ChipConfig.load(where.config) if where.config else None
    preparation = None
    if where.simulated:
        check_place(where)
        from ...sim.loop.closed_loop import with_slowest_clock
        from ...sim.loop.simulated_board import SimulatedBoard, electrodes_of

        config = with_slowest_clock(config or ChipConfig.make())
        electrodes, n_frames = None, None
        if trials is not None:
            protocol = paired_then_alone(trials.paired, trials.cs_alone, iti_s=trials.iti_s)
            preparation = Preparation(config, protocol, trials.seed)
            electrodes, n_frames = electrodes_of(config, preparation, trials.seed), preparation.n_frames
        with building(status):
            transport: Transport = SimulatedBoard(config, electrodes, n_frames=n_frames, baud=where.baud)
    else:
        transport = serial_transport(where)
    with closing(transport):
        host = Host(transport, config or _built_with(transport))
        try:
            yield host, preparation
        finally:
            host.close()


def _built_with(transport: Transport) -> ChipConfig:
    """The configuration of which a chip has the digest, if it is a board's own; else the default one."""
    digest = Host(transport).who_is_there()[1]
    configs = (board.config() for board in BOARDS.values())
    return next((config for config in configs if config.digest == digest), ChipConfig.make())
