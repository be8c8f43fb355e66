"""The boards that bitstreams are made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from amaranth.hdl import Elaboratable

from ..golden_model.calibration.default import calibrated_config
from ..golden_model.config import ChipConfig
from . import icebreaker, orangecrab, ulx3s
from .family import ECP5, ICE40, Family
from .pins import Wire, wires

__all__ = ["BOARDS", "Board"]


@dataclass(frozen=True)
class Board:
    """A board with its FPGA.

    Attributes
    ----------
    name : str
        As on the command line.
    title : str
        Name and FPGA for a reader.
    platform : callable
        Makes an Amaranth platform with the resources of ``pins.chip_resources``; each design needs a new one.
    family : Family
    clock_hz : float
        Of its oscillator, which is the clock of the chip: no PLL.
    label : callable
        From a connector's pin such as ``pmod_0:1`` to what is printed on the board.
    programmers : tuple of tuples of str
        Commands that write a bitstream to the board's flash, first choice first; the file is their last
        argument.
    dfu : tuple of int, optional
        Vendor and product where the bootloader takes bitstreams by USB, each with a suffix that says so.
    baud : int
        Bits a second of the UART, if not told otherwise.
    chips : int
        Amplifier chips that there are wires for.
    """

    name: str
    title: str
    platform: Callable[[], Any]
    family: Family
    clock_hz: float
    label: Callable[[str], str]
    programmers: tuple[tuple[str, ...], ...]
    dfu: tuple[int, int] | None = None
    baud: int = 1_000_000
    chips: int = 2

    def config(self) -> ChipConfig:
        """The default configuration of the chip: one microcircuit, two electrodes, recalibration."""
        return calibrated_config().replace(time={"clock_hz": self.clock_hz})

    def sized(self, chips: int, channels: int) -> ChipConfig:
        """The chip's default configuration, with microcircuits for all inputs of so many RHD chips."""
        circuits = chips * channels // 2
        return self.config().replace(
            amplifier={"chips": chips, "channels": channels},
            electrodes={"pn": tuple(range(circuits)), "io": tuple(range(circuits, 2 * circuits))},
        )

    def plan(self, top: Elaboratable) -> Any:
        """What Amaranth makes of a top module for this board: a ``BuildPlan``, with RTLIL and constraints.

        Without names of source lines, equal hardware is equal text.
        """
        return self.platform().prepare(top, "top", emit_src=False)

    def clock_port(self) -> str:
        """Where the oscillator goes into the top module."""
        platform = self.platform()
        return str(platform.request(platform.default_clk, dir="-").io.name)

    def wires(self) -> list[Wire]:
        """Every pin that the chip uses."""
        return wires(self.platform(), self.chips)


def _icebreaker() -> Board:
    return Board(
        name="icebreaker",
        title="iCEBreaker, iCE40 UP5K",
        platform=icebreaker.icebreaker,
        family=ICE40,
        clock_hz=ICE40.clock_hz,
        label=icebreaker.label,
        programmers=(("iceprog",), ("openFPGALoader", "-b", "ice40_generic", "-f")),
    )


def _ulx3s(name: str, variant: str) -> Board:
    return Board(
        name=name,
        title=f"ULX3S, ECP5 LFE5U-{variant.upper()}",
        platform=partial(ulx3s.ulx3s, variant),
        family=ECP5,
        clock_hz=ECP5.clock_hz,
        label=ulx3s.label,
        programmers=(("openFPGALoader", "-b", "ulx3s", "-f"), ("fujprog", "-j", "flash")),
    )


def _orangecrab(name: str, variant: str) -> Board:
    return Board(
        name=name,
        title=f"OrangeCrab, ECP5 LFE5U-{variant.upper()}",
        platform=partial(orangecrab.orangecrab, variant),
        family=ECP5,
        clock_hz=48e6,
        label=orangecrab.label,
        programmers=(
            ("dfu-util", "-d", "1209:5af0", "-a", "0", "-D"),
            ("openFPGALoader", "-b", "orangeCrab"),
        ),
        dfu=(0x1209, 0x5AF0),
    )


BOARDS = {
    board.name: board
    for board in (
        _icebreaker(),
        _ulx3s("ulx3s", "85f"),
        *(_ulx3s(f"ulx3s-{variant}", variant) for variant in ("12f", "25f", "45f")),
        _orangecrab("orangecrab", "25f"),
        _orangecrab("orangecrab-85f", "85f"),
    )
}
"""By name; where an FPGA comes in several sizes the name alone is the usual one."""
