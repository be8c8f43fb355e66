"""The step tick, from a clock divider."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from ..golden_model.config import ChipConfig, ConfigError
from .component import Component

__all__ = ["StepTimer"]


class StepTimer(Component):
    """One tick each ``time.step_s`` seconds of clock.

    Parameters
    ----------
    config : ChipConfig
        Gives the step.
    clock_hz : float
        Frequency of the clock.

    Attributes
    ----------
    period : int
        Clock cycles from tick to tick.

    Members
    -------
    enable : In(1)
        While low the divider waits at its start.
    tick : Out(1)
        High for one cycle each `period`; first `period` cycles after `enable` rises.

    Raises
    ------
    ConfigError
        If the step is no whole number of clock cycles, or shorter than one.
    """

    enable: Signal
    tick: Signal

    def __init__(self, config: ChipConfig, clock_hz: float) -> None:
        period = config.time.step_s * clock_hz
        self.period = round(period)
        if self.period < 1 or abs(period - self.period) > 1e-6:
            raise ConfigError(
                f"time.step_s = {config.time.step_s:g}: {period:g} cycles of the {clock_hz:g} Hz clock, "
                "must be a whole number"
            )
        super().__init__({"enable": In(1), "tick": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        elapsed = Signal(range(self.period))
        m.d.comb += self.tick.eq(self.enable & (elapsed == self.period - 1))
        with m.If(self.enable & ~self.tick):
            m.d.sync += elapsed.eq(elapsed + 1)
        with m.Else():
            m.d.sync += elapsed.eq(0)
        return m
