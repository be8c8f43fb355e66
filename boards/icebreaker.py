"""iCEBreaker: iCE40 UP5K, 12 MHz, two PMODs for the chip's wires."""

from __future__ import annotations

from typing import Any

from amaranth.build import Attrs
from amaranth_boards.icebreaker import ICEBreakerPlatform

from .pins import chip_resources

__all__ = ["icebreaker", "label"]

_PRINTED = {"pmod_0": "PMOD1A", "pmod_1": "PMOD1B", "pmod_2": "PMOD2"}


def label(place: str) -> str:
    """``pmod_0:1`` as the board has it printed, PMOD1A 1."""
    connector, _, pin = place.partition(":")
    return f"{_PRINTED[connector]} {pin}"


def icebreaker() -> Any:
    """The platform with the chip's resources; PMOD1A has the lines of two Digilent SPI PMODs."""
    platform = ICEBreakerPlatform()
    platform.add_resources(
        chip_resources(
            ("pmod", 0),
            amplifiers=(("1", "4", "2", "3"), ("7", "10", "8", "9")),
            stimulator=("1", "2", "3"),
            emergency_stop="4",
            others=("pmod", 1),
            # The red and the green lamp beside the FPGA; the middle one of the part that breaks off.
            lamps={
                "running": ("37", None, True),
                "armed": ("7", ("pmod", 2), False),
                "fault": ("11", None, True),
            },
            attrs=Attrs(IO_STANDARD="SB_LVCMOS"),
            pull_up=Attrs(PULLUP=1),
        )
    )
    return platform
