"""OrangeCrab r0.2: an ECP5 of two sizes, 48 MHz, wires on the header of an Adafruit Feather."""

from __future__ import annotations

from typing import Any

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform, OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

from .pins import chip_resources

__all__ = ["VARIANTS", "label", "orangecrab"]

VARIANTS = {"25f": OrangeCrabR0_2_25FPlatform, "85f": OrangeCrabR0_2_85FPlatform}

_PRINTED = {"cipo": "MISO", "copi": "MOSI"}


def label(place: str) -> str:
    """``io_0:sck`` as the board has it printed, SCK."""
    pin = place.partition(":")[2]
    return _PRINTED.get(pin, pin.upper())


def orangecrab(variant: str) -> Any:
    """The platform with the chip's resources; the UART is on the header, as the USB has no chip for one."""
    platform = VARIANTS[variant]()
    attrs = Attrs(IO_TYPE="LVCMOS33")
    platform.add_resources(
        [
            *chip_resources(
                ("io", 0),
                amplifiers=(("5", "sck", "copi", "cipo"), ("6", "9", "10", "11")),
                stimulator=("a0", "a1", "a2"),
                emergency_stop="a3",
                # The colours of the one lamp.
                lamps={
                    "running": ("M3", None, True),
                    "armed": ("J3", None, True),
                    "fault": ("K4", None, True),
                },
                attrs=attrs,
                pull_up=Attrs(PULLMODE="UP"),
            ),
            UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
        ]
    )
    return platform
