"""What a core costs on the iCE40 UP5K: synthesis by Yosys, place and route by nextpnr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..gateware.component import Component
from ..gateware.microcircuit.microcircuit import Microcircuit
from ..gateware.scratch import Scratch
from ..gateware.step_timer import StepTimer
from ..gateware.toolchain import ToolError, to_rtlil
from ..golden_model.config import ChipConfig
from .family import ICE40, synthesise
from .flow import place

__all__ = ["CLOCK_HZ", "Cost", "FewPins", "component_cost", "microcircuit_cost", "synthesise_up5k"]

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


def component_cost(component: Component, config: ChipConfig, *, dsp: bool = True) -> Cost:
    """Cost of a component by itself, with a step timer where it takes a `tick`; see :func:`synthesise_up5k`.

    Parameters
    ----------
    component : Component
    config : ChipConfig
        Gives the step.
    dsp : bool
        Multiply in DSPs.
    """
    takes_tick = ("tick", In) in [(name, port.flow) for name, port in component.signature.members.items()]
    return synthesise_up5k(FewPins(component, StepTimer(config, CLOCK_HZ) if takes_tick else None), dsp=dsp)


def microcircuit_cost(config: ChipConfig, channels: int = 1, *, dsp: bool = True) -> Cost:
    """Cost of the microcircuit core with its step timer; see :func:`synthesise_up5k`.

    It does not ask the registry of blocks: a cost that is kept is computed anew when another block changes
    there.
    """
    return component_cost(Microcircuit(config, channels), config, dsp=dsp)


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
    with Scratch() as folder:
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
