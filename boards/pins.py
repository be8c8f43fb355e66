"""What the chip needs of a board's pins, under the same names on every board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.build import Attrs, Pins, Resource, Subsignal

__all__ = ["LAMPS", "SPI_LINES", "STIMULATOR_LINES", "Wire", "chip_resources", "wires"]

SPI_LINES = ("cs_n", "sclk", "mosi", "miso")
STIMULATOR_LINES = ("cathodic", "anodic", "stimulate")
LAMPS = ("running", "armed", "fault")

Connector = tuple[str, int]
"""Name and number of a connector of the platform."""


@dataclass(frozen=True)
class Wire:
    """One pin of the chip on a board.

    Attributes
    ----------
    signal : str
        Such as ``rhd 0 sclk``.
    direction : str
        ``i`` or ``o``, seen from the FPGA.
    place : str
        Connector and its pin, such as ``pmod_0:1``; empty for what is soldered to the board.
    pin : str
        Of the FPGA's package.
    port : str
        Of the top module.
    inverted : bool
        Low is one.
    """

    signal: str
    direction: str
    place: str
    pin: str
    port: str
    inverted: bool


def chip_resources(
    connector: Connector,
    *,
    amplifiers: Sequence[Sequence[str]],
    stimulator: Sequence[str],
    emergency_stop: str,
    lamps: Mapping[str, tuple[str, Connector | None, bool]],
    attrs: Attrs,
    pull_up: Attrs,
    others: Connector | None = None,
) -> list[Resource]:
    """Resources ``rhd``, ``stimulator``, ``emergency_stop`` and ``lamp``.

    The emergency stop is a switch to ground that opens: its pin is pulled up, and high is stop. An unplugged
    cable stops too.

    Parameters
    ----------
    connector : Connector
        Of the amplifier chips.
    amplifiers : sequence of sequences of str
        Per chip, the connector's pins for :data:`SPI_LINES`.
    stimulator : sequence of str
        Pins for :data:`STIMULATOR_LINES`.
    emergency_stop : str
        Pin of the switch.
    lamps : mapping
        For each of :data:`LAMPS` pin, connector (None: a pin of the FPGA), and whether low lights it.
    attrs, pull_up : Attrs
        Of all pins; what the emergency stop has besides.
    others : Connector, optional
        Of stimulator and emergency stop, where it is another.

    Returns
    -------
    list of Resource
    """
    others = others or connector
    resources = [
        Resource(
            "rhd",
            number,
            *(
                Subsignal(line, Pins(pin, dir="i" if line == "miso" else "o", conn=connector))
                for line, pin in zip(SPI_LINES, pins, strict=True)
            ),
            attrs,
        )
        for number, pins in enumerate(amplifiers)
    ]
    lines = zip(STIMULATOR_LINES, stimulator, strict=True)
    resources.append(
        Resource(
            "stimulator", 0, *(Subsignal(line, Pins(pin, dir="o", conn=others)) for line, pin in lines), attrs
        )
    )
    resources.append(
        Resource("emergency_stop", 0, Pins(emergency_stop, dir="i", conn=others), attrs, pull_up)
    )
    lit = (
        Subsignal(name, Pins(lamps[name][0], dir="o", conn=lamps[name][1], invert=lamps[name][2]))
        for name in LAMPS
    )
    resources.append(Resource("lamp", 0, *lit, attrs))
    return resources


def wires(platform: Any, chips: int) -> list[Wire]:
    """Every pin that the chip uses on a fresh platform, in the order of the documentation."""
    wanted = [*(("rhd", chip) for chip in range(chips)), ("stimulator", 0), ("emergency_stop", 0)]
    wanted += [("lamp", 0), ("uart", 0)]
    return [wire for name, number in wanted for wire in _wires(platform, name, number)]


def _wires(platform: Any, name: str, number: int) -> Iterator[Wire]:
    resource = platform.lookup(name, number)
    several = sum(key[0] == name for key in platform.resources) > 1
    whole = f"{name} {number}" if several else name
    ports = platform.request(name, number, dir="-")
    for part in resource.ios:
        if isinstance(part, Subsignal):
            subsignal: Any = part  # the stubs lack its name and pins
            pins, port = subsignal.ios[0], getattr(ports, subsignal.name)
            signal = f"{whole} {subsignal.name}"
        else:
            signal, pins, port = whole, part, ports
        # Handshake lines of an UART stay unused.
        if name == "uart" and not signal.endswith((" rx", " tx")):
            continue
        for place, pin in zip(pins.names, port.io.metadata, strict=True):
            where = place if ":" in place else ""
            (inverted,) = port.invert  # a pin a port
            yield Wire(signal.replace("_", " "), pins.dir, where, pin.name, port.io.name, inverted)
