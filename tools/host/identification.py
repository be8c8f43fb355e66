"""What a chip or a CFPC filter is, and whether its gateware is what this installation would build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.config import ChipConfig, ConfigError
from .cfpc import CfpcIdentity, CfpcLink
from .chip import Identity
from .connection import Connection, connected
from .link import Transport
from .serial import SerialTransport, find_port

__all__ = ["Identification", "identify_chip", "identify_filter"]


@dataclass(frozen=True)
class Identification:
    """What was found, beside what would be built.

    Attributes
    ----------
    found : Identity or CfpcIdentity
        What the gateware says of itself.
    known : bool
        Whether it is built with the configuration that was given.
    builds : mapping of str to str
        Identities of what this installation builds of that configuration, by board.
    """

    found: Identity | CfpcIdentity
    known: bool
    builds: Mapping[str, str]

    @property
    def same(self) -> list[str]:
        """Boards for which this installation builds the gateware that was found."""
        return [name for name, identity in self.builds.items() if identity == self.found.identity]

    def facts(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self.found) | {
            "config_is_known": self.known,
            "builds": dict(self.builds),
            "is_built_here": bool(self.same) if self.builds else None,
        }

    def describe(self) -> Iterator[str]:
        """In two lines, for a reader."""
        found = self.found
        if isinstance(found, CfpcIdentity):
            what = f"CFPC filter {found.version}"
            geometry = f"{found.synapses} synapses, {found.inputs} inputs"
        else:
            what = f"microzone {found.version}"
            parts = [name for name in ("recalibration", "bandpass") if getattr(found, name)]
            geometry = (
                f"{found.circuits} microcircuits, {found.electrodes} electrodes, "
                f"{' and '.join(parts) or 'no recalibration'}"
            )
        whose = "" if self.known else " (not that of --config)"
        yield (
            f"{what}, identity {found.identity}, configuration {found.digest[:12]}{whose}: "
            f"{geometry}, clock {found.clock_hz / 1e6:g} MHz"
        )
        if self.same:
            yield f"its gateware is what this installation builds for {', '.join(self.same)}"
        elif self.builds:
            listed = ", ".join(f"{identity} for {name}" for name, identity in self.builds.items())
            yield f"its gateware is not what this installation builds of this configuration: {listed}"
        elif self.known:
            yield (
                "this installation builds its configuration for no board: "
                "its gateware is compared with nothing"
            )
        else:
            yield "its gateware can be compared with what this installation builds only with its own --config"


def identify_chip(where: Connection, status: Console) -> Identification:
    """Ask a chip; parameters and errors as for ``connected``."""
    with connected(where, status=status) as (host, _):
        found = host.identify()
    return _compared(found, host.config, where, status)


def identify_filter(where: Connection, status: Console) -> Identification:
    """Ask a CFPC filter; parameters and errors as for ``connected``."""
    config = CfpcConfig.load(where.config) if where.config else CfpcConfig.make()
    transport: Transport
    if where.simulated:
        if where.port is not None:
            raise ConfigError("--port and --simulated: choose one")
        from ...sim.loop.simulated_cfpc import SimulatedCfpc

        with status.status("verilator: building the simulation (once for each configuration)"):
            transport = SimulatedCfpc(config, baud=where.baud)
    else:
        transport = SerialTransport(where.port or find_port(), where.baud)
    try:
        found = CfpcLink(transport, config).identify()
    finally:
        transport.close()
    return _compared(found, config, where, status)


def _compared(
    found: Identity | CfpcIdentity, config: ChipConfig | CfpcConfig, where: Connection, status: Console
) -> Identification:
    if found.digest != config.digest:
        return Identification(found, False, {})
    if where.simulated:
        from ...sim.loop.simulated_board import simulated_identity
        from ...sim.loop.simulated_cfpc import simulated_cfpc_identity

        identity = (
            simulated_identity(config) if isinstance(config, ChipConfig) else simulated_cfpc_identity(config)
        )
        return Identification(found, True, {"simulation": identity})
    from ...boards.identity import board_identities

    with status.status("Amaranth: elaborating what this installation builds"):
        return Identification(found, True, board_identities(config, where.baud))
