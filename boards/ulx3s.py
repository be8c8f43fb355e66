"""ULX3S: an ECP5 of four sizes, 25 MHz, wires on header J1."""

from __future__ import annotations

from typing import Any

from amaranth.build import Attrs, Pins, Resource
from amaranth_boards.ulx3s import (
    ULX3S_12F_Platform,
    ULX3S_25F_Platform,
    ULX3S_45F_Platform,
    ULX3S_85F_Platform,
)

from .pins import chip_resources

__all__ = ["VARIANTS", "label", "ulx3s"]

VARIANTS = {
    "12f": ULX3S_12F_Platform,
    "25f": ULX3S_25F_Platform,
    "45f": ULX3S_45F_Platform,
    "85f": ULX3S_85F_Platform,
}


def label(place: str) -> str:
    """``gpio_0:3-`` as the board has it printed, GN3."""
    pin = place.partition(":")[2]
    return ("GP" if pin[-1] == "+" else "GN") + pin[:-1]


def ulx3s(variant: str) -> Any:
    """The platform with the chip's resources; the first pins of J1, which nothing else on the board uses."""
    platform = VARIANTS[variant]()
    platform.add_resources(
        [
            *chip_resources(
                ("gpio", 0),
                amplifiers=(("0+", "0-", "1+", "1-"), ("2+", "2-", "3+", "3-")),
                stimulator=("4+", "4-", "5+"),
                emergency_stop="5-",
                lamps={
                    "running": ("B2", None, False),
                    "armed": ("C2", None, False),
                    "fault": ("C1", None, False),
                },
                attrs=Attrs(IO_TYPE="LVCMOS33"),
                pull_up=Attrs(PULLMODE="UP"),
            ),
            # GPIO0 of the board's ESP32, which may reboot the board while it is low.
            Resource("held_high", 0, Pins("L2", dir="o"), Attrs(IO_TYPE="LVCMOS33")),
        ]
    )
    return platform
