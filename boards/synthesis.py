"""What blocks cost on an FPGA: synthesis by Yosys, place and route by nextpnr.

``python -m microzone.boards.synthesis`` prints the table of microcircuit and chip, and with names of blocks
that of these. What a whole board takes is ``boards/table.py``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..gateware.blocks import BLOCKS, Block
from ..gateware.component import Component
from ..gateware.step_timer import StepTimer
from ..gateware.toolchain import ToolError, to_rtlil
from ..golden_model.config import ChipConfig, ConfigError
from .board import calibrated_config
from .family import ICE40, synthesise
from .flow import DoesNotFit, place

__all__ = [
    "Cost",
    "FewPins",
    "block_cost",
    "calibrated_config",
    "chip_cost",
    "microcircuit_cost",
    "synthesise_up5k",
]

_UNCONNECTED = ("commit", "recalibrated", "detected", "delivered")

CLOCK_HZ = ICE40.clock_hz
"""The oscillator of the iCEBreaker."""


@dataclass(frozen=True)
class Cost:
    """Resources of a design on the iCE40 UP5K, and the clock that it reaches.

    Attributes
    ----------
    logic_cells, logic_cells_available : int
        The cells include `wrapper_bits` flip-flops of :class:`FewPins`.
    dsps, rams : int
        SB_MAC16 and SB_RAM40 blocks.
    fmax_hz : float
    """

    wrapper_bits: int
    logic_cells: int
    logic_cells_available: int
    dsps: int
    rams: int
    fmax_hz: float


class FewPins(Component):
    """A core behind four pins, so that it can be placed without a board's pin-out.

    Inputs come from a shift register and outputs leave by the parity of a register: nothing is optimised
    away, and every path starts and ends in a flip-flop. Ports for benches and telemetry stay unconnected.

    Parameters
    ----------
    core : wiring.Component
    timer : StepTimer, optional
        Gives the core its `tick`.

    Members
    -------
    serial : In(1)
    enable : In(1)
    parity : Out(1)

    Attributes
    ----------
    wrapper_bits : int
        Flip-flops of the two registers.
    """

    serial: Signal
    enable: Signal
    parity: Signal

    def __init__(self, core: wiring.Component[Any], timer: StepTimer | None = None) -> None:
        self._core: Any = core  # with a timer it has a `tick`
        self._timer = timer
        self._into: list[Value] = []
        self._out_of: list[Value] = []
        for path, member, value in core.signature.flatten(core):
            if path[0] not in _UNCONNECTED and not (timer and path[0] == "tick"):
                (self._into if member.flow is In else self._out_of).append(Value.cast(value))
        self.wrapper_bits = sum(len(value) for value in (*self._into, *self._out_of))
        super().__init__({"serial": In(1), "enable": In(1), "parity": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core = self._core
        shifted = Signal(len(Cat(self._into)))
        held = Signal(len(Cat(self._out_of)))
        m.d.sync += [
            shifted.eq(Cat(self.serial, shifted)),
            held.eq(Cat(self._out_of)),
            self.parity.eq(held.xor()),
        ]
        m.d.comb += Cat(self._into).eq(shifted)
        if self._timer is not None:
            m.submodules.timer = self._timer
            m.d.comb += [self._timer.enable.eq(self.enable), self._core.tick.eq(self._timer.tick)]
        return m


def block_cost(block: Block, config: Any, channels: int = 1, *, dsp: bool = True) -> Cost:
    """Cost of a block by itself, with a step timer where it takes a `tick`; see :func:`synthesise_up5k`.

    Parameters
    ----------
    block : Block
    config : ChipConfig or CfpcConfig, optional
        None of a block that depends on none.
    channels : int
    dsp : bool
        Multiply in DSPs.
    """
    component = block.component(config, channels)
    takes_tick = ("tick", In) in [(name, port.flow) for name, port in component.signature.members.items()]
    return synthesise_up5k(FewPins(component, StepTimer(config, CLOCK_HZ) if takes_tick else None), dsp=dsp)


def microcircuit_cost(config: ChipConfig, channels: int = 1, *, dsp: bool = True) -> Cost:
    """Cost of the microcircuit core with its step timer; see :func:`synthesise_up5k`."""
    return block_cost(BLOCKS["microcircuit"], config, channels, dsp=dsp)


def chip_cost(config: ChipConfig) -> Cost:
    """Cost of the whole chip; see :func:`synthesise_up5k`."""
    return block_cost(BLOCKS["chip"], config)


def synthesise_up5k(top: FewPins, *, dsp: bool = True, seed: int = 1) -> Cost:
    """Synthesise, place and route a core for the iCE40 UP5K, as bitstreams are.

    Parameters
    ----------
    top : FewPins
    dsp : bool
        Multiply in SB_MAC16 blocks; in logic cells otherwise.
    seed : int
        Of the placer; equal seeds give equal results.

    Returns
    -------
    Cost

    Raises
    ------
    ToolError
        If a tool is missing or fails, the core does not fit, or 12 MHz are not met.
    """
    with tempfile.TemporaryDirectory(prefix="microzone-") as name:
        folder = Path(name)
        synthesise(ICE40, to_rtlil(top, "top"), folder, dsp=dsp)
        device = ["--up5k", "--package", "sg48", "--json", "top.json"]
        placed = place(ICE40, folder, device, clock_hz=CLOCK_HZ, seed=seed)
    if placed.fmax_hz < CLOCK_HZ:
        raise ToolError(f"timing is not met: {placed.fmax_hz / 1e6:.2f} MHz, limit is {CLOCK_HZ / 1e6:g} MHz")
    return Cost(
        wrapper_bits=top.wrapper_bits,
        logic_cells=placed.logic_cells.used,
        logic_cells_available=placed.logic_cells.available,
        dsps=placed.dsps.used,
        rams=placed.rams.used,
        fmax_hz=placed.fmax_hz,
    )


def main(names: Sequence[str] = ()) -> None:
    """Print the costs of the blocks of these names; without, of microcircuits and a chip in variants."""
    if unknown := [name for name in names if name not in BLOCKS]:
        raise ConfigError(f"block {unknown[0]!r}: choose from {', '.join(BLOCKS)}")
    print("iCE40 UP5K, default formats; the cells include the test wrapper's flip-flops")
    if names:
        _print_blocks([BLOCKS[name] for name in names])
    else:
        _print_variants()


def _print_blocks(blocks: Sequence[Block]) -> None:
    """A row a block, of its default configuration."""
    print("block             logic cells  of wrapper  DSPs  RAMs  Fmax (MHz)")
    for block in blocks:
        try:
            cost = block_cost(block, block.config())
        except DoesNotFit as error:
            print(f"{block.name:<16}  {error}")
            continue
        print("{:<16}  {:>11}  {:>10}  {:>4}  {:>4}  {:>10}".format(block.name, *_cells(cost)))


def _print_variants() -> None:
    """The core, with and without DSPs and recalibration, of more channels, and a chip."""
    print("core              recalibration  DSP  logic cells  of wrapper  DSPs  RAMs  Fmax (MHz)")
    default, calibrated = ChipConfig.make(), calibrated_config()
    for name, config, channels, dsp in (
        ("1 microcircuit", default, 1, True),
        ("1 microcircuit", default, 1, False),
        ("7 microcircuits", default, 7, True),
        ("64 microcircuits", default, 64, True),
        ("1 microcircuit", calibrated, 1, True),
        ("64 microcircuits", calibrated, 64, True),
        ("chip", default, None, True),
        ("chip", calibrated, None, True),
    ):
        cost = chip_cost(config) if channels is None else microcircuit_cost(config, channels, dsp=dsp)
        row = [name, "yes" if config.recalibration.enabled else "no", "yes" if dsp else "no", *_cells(cost)]
        print("{:<16}  {:>13}  {:>3}  {:>11}  {:>10}  {:>4}  {:>4}  {:>10}".format(*row))


def _cells(cost: Cost) -> list[str | int]:
    """The columns of a cost."""
    used = f"{cost.logic_cells}/{cost.logic_cells_available}"
    return [used, cost.wrapper_bits, cost.dsps, cost.rams, f"{cost.fmax_hz / 1e6:.1f}"]


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ConfigError, ToolError) as error:
        sys.exit(f"error: {error}")
