"""Whether a chip's gateware is what this installation would build of its configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.config import ChipConfig
from .cfpc import CfpcIdentity, CfpcLink
from .chip import Identity
from .connection import Connection, building, check_place, connected, serial_transport
from .link import Transport

__all__ = ["Identification", "identify"]


@dataclass(frozen=True)
class Identification:
    """What a chip says of itself, beside what this installation builds.

    Attributes
    ----------
    found : Identity or CfpcIdentity
    what, geometry : str
        Kind and version, and what there is of what; for a reader.
    config_is_known : bool
        The chip's configuration is the one that was given.
    builds : dict of str to str
        Identities of what this installation builds of it, by board; none of an unknown configuration.
    """

    found: Identity | CfpcIdentity
    what: str
    geometry: str
    config_is_known: bool
    builds: dict[str, str]

    @property
    def built_for(self) -> list[str]:
        """The boards for which this installation would build the same gateware."""
        return [board for board, identity in self.builds.items() if identity == self.found.identity]

    def facts(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        verdict = {
            "config_is_known": self.config_is_known,
            "builds": self.builds,
            "is_built_here": bool(self.built_for) if self.builds else None,
        }
        return asdict(self.found) | verdict

    def describe(self) -> list[str]:
        """In lines for a reader."""
        found = self.found
        whose = "" if self.config_is_known else " (not that of --config)"
        first = (
            f"{self.what}, identity {found.identity}, configuration {found.digest[:12]}{whose}: "
            f"{self.geometry}, clock {found.clock_hz / 1e6:g} MHz"
        )
        return [first, f"its gateware {self._verdict}"]

    @property
    def _verdict(self) -> str:
        if self.built_for:
            return f"is what this installation builds for {', '.join(self.built_for)}"
        if self.builds:
            listed = ", ".join(f"{identity} for {name}" for name, identity in self.builds.items())
            return f"is not what this installation builds of this configuration: {listed}"
        if self.config_is_known:
            return "is compared with nothing: this installation builds its configuration for no board"
        return "can be compared with what this installation builds only with its own --config"


def identify(where: Connection, design: str, *, status: Console) -> Identification:
    """Ask a chip what it is, and look at what would be built of its configuration.

    Parameters
    ----------
    where : Connection
    design : {"chip", "cfpc"}
    status : rich.console.Console
        Told of what takes long.

    Raises
    ------
    ConfigError, LinkError, ToolError
        As ``connected``.
    """
    if design == "cfpc":
        config = CfpcConfig.load(where.config) if where.config else CfpcConfig.make()
        filter_found = _identify_filter(config, where, status)
        known = filter_found.digest == config.digest
        return Identification(
            filter_found,
            f"CFPC filter {filter_found.version}",
            f"{filter_found.synapses} synapses, {filter_found.inputs} inputs",
            known,
            _would_build(config, where, status) if known else {},
        )
    with connected(where, status=status) as (host, _):
        found, own = host.identify(), host.config
    parts = [name for name in ("recalibration", "bandpass") if getattr(found, name)]
    known = found.digest == own.digest
    return Identification(
        found,
        f"microzone {found.version}",
        f"{found.circuits} microcircuit{'s' * (found.circuits != 1)}, {found.electrodes} electrodes, "
        f"{' and '.join(parts) or 'no recalibration'}",
        known,
        _would_build(own, where, status) if known else {},
    )


def _identify_filter(config: CfpcConfig, where: Connection, status: Console) -> CfpcIdentity:
    """What a CFPC filter says of itself."""
    transport: Transport
    if where.simulated:
        check_place(where)
        from ...sim.loop.simulated_cfpc import SimulatedCfpc

        with building(status):
            transport = SimulatedCfpc(config, baud=where.baud)
    else:
        transport = serial_transport(where)
    try:
        return CfpcLink(transport, config).identify()
    finally:
        transport.close()


def _would_build(config: ChipConfig | CfpcConfig, where: Connection, status: Console) -> dict[str, str]:
    """Identities of what this installation builds of a configuration, by board."""
    if where.simulated:
        from ...sim.loop.simulated_board import simulated_identity
        from ...sim.loop.simulated_cfpc import simulated_cfpc_identity

        if isinstance(config, ChipConfig):
            return {"simulation": simulated_identity(config)}
        return {"simulation": simulated_cfpc_identity(config)}
    from ...boards.identity import board_identities

    with status.status("Amaranth: elaborating what this installation builds"):
        return board_identities(config, where.baud)
