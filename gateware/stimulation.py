"""Stimulation: pulse generator, interlock, and the blanking level for the IO electrodes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden_model.config import BlankingMode, ChipConfig
from ..golden_model.stimulation import LATENCY, StimulationTiming
from .interlock import Interlock, InterlockFault
from .stimulation_registers import BLANK_MODES, StimulationRegisters

__all__ = ["Stimulation"]


class Stimulation(wiring.Component):
    """A pulse train a trigger, through the :class:`Interlock`, and the blanking level that goes with it.

    When what is on, is in ``microzone.golden_model.stimulation``; this is ``Stimulator`` cycle by cycle. A
    written setting is judged with all others, by a multiplication; then, once no train is in progress, all
    settings take effect together. With settings beyond a limit, or an anodic phase unlike the cathodic one of
    a biphasic pulse, the next trigger starts no train but disarms, with the fault REFUSED.

    A train that is cut short ends where it is; the guard of a pulse in progress, and a fixed blanking, go on
    from there as they would after its end. A train none of which was delivered blanks nothing.

    Parameters
    ----------
    config : ChipConfig
        What the registers hold after reset, and the limits.

    Attributes
    ----------
    latency : int
        Clock cycles from a trigger to the first output edge.
    check_cycles : int
        Clock cycles from a write until it has taken effect, without a train.

    Members
    -------
    trigger : In(1)
        A conditioned response: start a train.
    arm, disarm, heartbeat, emergency_stop, amplifier_fault, tick : In(1)
        See :class:`Interlock`.
    cathodic, anodic : Out(1)
    enable : Out(1)
        High from the first edge of a train to its last.
    train : Out(1)
        As `enable`.
    blank : Out(1)
        The IO electrodes shall not be listened to.
    armed : Out(1)
    fault : Out(InterlockFault)
    ignored : Out(1)
        In the cycle of a `trigger` that starts no train: not armed, in a train or rest, or refused.
    access : In(stream of stimulation_layout(config))
        Read or write a register. A word beyond a register's width writes the largest that it can hold. Writes
        wait while settings are judged.
    readback : Out(stream of the word)
        Answer to each read, in order. A further read waits until it is taken; writes do not.
    rejected : Out(1)
        An access named a register that does not exist, wrote a read-only one, or a SHAPE or BLANK_MODE that
        does not exist, and had no effect (a read answers 0). Held until reset.

    Raises
    ------
    ConfigError
        See ``golden_model.stimulation.StimulationTiming``.
    """

    latency = LATENCY

    def __init__(self, config: ChipConfig) -> None:
        self.timing = StimulationTiming(config)
        self.interlock = Interlock(config)
        self._registers = StimulationRegisters(config)
        self.check_cycles = self._registers.check_cycles
        self.blanks_by_pulse = Signal()
        members = self._registers.signature.members
        super().__init__(
            {
                "trigger": In(1),
                "arm": In(1),
                "disarm": In(1),
                "heartbeat": In(1),
                "emergency_stop": In(1),
                "amplifier_fault": In(1),
                "tick": In(1),
                "cathodic": Out(1),
                "anodic": Out(1),
                "enable": Out(1),
                "train": Out(1),
                "blank": Out(1),
                "armed": Out(1),
                "fault": Out(InterlockFault),
                "ignored": Out(1),
                "access": members["access"],
                "readback": members["readback"],
                "rejected": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.interlock = interlock = self.interlock
        m.submodules.registers = registers = self._registers
        wiring.connect(m, wiring.flipped(self.access), registers.access)
        wiring.connect(m, registers.readback, wiring.flipped(self.readback))
        for name in ("arm", "disarm", "heartbeat", "emergency_stop", "amplifier_fault", "tick"):
            m.d.comb += getattr(interlock, name).eq(getattr(self, name))
        for name in ("cathodic", "anodic", "enable", "armed", "fault"):
            m.d.comb += getattr(self, name).eq(getattr(interlock, name))
        m.d.comb += [
            self.train.eq(interlock.enable),
            self.rejected.eq(registers.rejected),
            registers.status.eq(Cat(self.armed, self.train, interlock.resting, self.blank)),
            registers.fault.eq(self.fault),
        ]

        # Pulses.
        settings = registers.settings
        left = Signal(max(len(registers.pause), len(settings.width), len(settings.gap)))
        pulses_left = Signal.like(settings.pulses)
        able, accepts, pulsing, pauses, nearing = (
            Signal(name=name) for name in ("able", "accepts", "pulsing", "pauses", "nearing")
        )
        m.d.comb += [
            able.eq(self.armed & ~interlock.resting),
            self.ignored.eq(self.trigger & ~accepts),
            interlock.monophasic.eq(~settings.biphasic),
        ]
        m.d.sync += left.eq(left - 1)
        with m.FSM() as generator:
            idle = generator.ongoing("IDLE")
            with m.State("IDLE"):
                m.d.comb += [
                    accepts.eq(self.trigger & able & registers.good),
                    interlock.refused.eq(self.trigger & able & ~registers.good),
                ]
                with m.If(accepts):
                    m.d.sync += [left.eq(settings.width - 1), pulses_left.eq(settings.pulses - 1)]
                    m.next = "CATHODIC"
            with m.State("CATHODIC"):
                m.d.comb += [interlock.cathodic_request.eq(1), pulsing.eq(1)]
                with m.If(left == 0):
                    with m.If(~settings.biphasic):
                        self._end_pulse(m, left, pulses_left)
                    with m.Elif(settings.gap == 0):
                        m.d.sync += left.eq(settings.width - 1)
                        m.next = "ANODIC"
                    with m.Else():
                        m.d.sync += left.eq(settings.gap - 1)
                        m.next = "GAP"
                self._abandon(m)
            with m.State("GAP"):
                m.d.comb += pulsing.eq(1)
                with m.If(left == 0):
                    m.d.sync += left.eq(settings.width - 1)
                    m.next = "ANODIC"
                self._abandon(m)
            with m.State("ANODIC"):
                m.d.comb += [interlock.anodic_request.eq(1), pulsing.eq(1)]
                with m.If(left == 0):
                    self._end_pulse(m, left, pulses_left)
                self._abandon(m)
            with m.State("PAUSE"):
                m.d.comb += [pauses.eq(1), nearing.eq(left < settings.guard_before)]
                with m.If(left == 0):
                    m.d.sync += [left.eq(settings.width - 1), pulses_left.eq(pulses_left - 1)]
                    m.next = "CATHODIC"
                self._abandon(m)
        m.d.comb += [
            interlock.enable_request.eq(pulsing | pauses),
            registers.hold.eq(~idle | accepts),
        ]

        self._blanking(m, pulsing, nearing)
        return m

    def _abandon(self, m: Module) -> None:
        """Whatever stopped the interlock stops the train; nothing of it is left for the next arming."""
        with m.If(~self.armed):
            m.next = "IDLE"

    def _end_pulse(self, m: Module, left: Signal, pulses_left: Signal) -> None:
        with m.If(pulses_left == 0):
            m.next = "IDLE"
        with m.Else():
            m.d.sync += left.eq(self._registers.pause - 1)
            m.next = "PAUSE"

    def _blanking(self, m: Module, pulsing: Signal, nearing: Signal) -> None:
        """The level, in step with the outputs: one cycle, the interlock's, after the requests."""
        settings = self._registers.settings
        by_pulse = self.blanks_by_pulse
        by_train = settings.blank_mode == BLANK_MODES.index(BlankingMode.FIXED)
        was_pulsing, was_nearing, was_enabled, starts, pulse = (
            Signal(name=name) for name in ("was_pulsing", "was_nearing", "was_enabled", "starts", "pulse")
        )
        m.d.comb += by_pulse.eq(settings.blank_mode == BLANK_MODES.index(BlankingMode.PULSE))
        guard_left, fixed_left = Signal.like(settings.guard_after), Signal.like(settings.blank_fixed)
        m.d.sync += [was_pulsing.eq(pulsing), was_nearing.eq(nearing), was_enabled.eq(self.enable)]
        m.d.comb += [
            starts.eq(by_train & self.enable & ~was_enabled & (settings.blank_fixed != 0)),
            pulse.eq(by_pulse & self.enable & was_pulsing),
            self.blank.eq(
                pulse
                | (by_pulse & self.enable & was_nearing)
                | (guard_left != 0)
                | starts
                | (fixed_left != 0)
            ),
        ]
        # Of two windows, settings may have changed in between, the one that ends later counts.
        for left, begins, length in (
            (guard_left, pulse, settings.guard_after),
            (fixed_left, starts, settings.blank_fixed - 1),
        ):
            with m.If(begins & (length >= left)):
                m.d.sync += left.eq(length[: len(left)])
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
