"""Stimulation: pulse generator, interlock, and the blanking level for the IO electrodes."""

from __future__ import annotations

import enum
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.config import ChipConfig
from ...golden_model.stimulation import LATENCY, StimulationTiming
from ..component import Component
from .interlock import Interlock, InterlockFault
from .program import Flag, Row
from .registers import StimulationRegister, StimulationRegisters, setting_widths

__all__ = ["Stimulation"]


class _Segment(enum.Enum):
    """What the pulse generator requests, one after the other; of the pause, NEAR is blanked by pulse."""

    IDLE = 0
    CATHODIC = 1
    ANODIC = 2
    GAP = 3
    FAR = 4
    NEAR = 5


_PULSE = (_Segment.CATHODIC, _Segment.GAP, _Segment.ANODIC)


class Stimulation(Component):
    """A pulse train a trigger, through the :class:`Interlock`, and the blanking level that goes with it.

    When what is on, is in ``microzone.golden_model.stimulation``; this is ``Stimulator`` cycle by cycle. The
    settings are rows of a memory: a written one is judged with all others by a small program; then, once no
    train is in progress, all take effect together. With settings beyond a limit, or an anodic phase unlike
    the cathodic one of a biphasic pulse, the next trigger starts no train but disarms, with the fault
    REFUSED.

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
        Most clock cycles from the last write, or the end of a train, until the settings are in effect.

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
        Read or write a register. A word beyond a register's width writes the largest that it can hold. A
        write waits while settings that have taken effect are copied, a read while settings are judged, too.
    readback : Out(stream of the word)
        Answer to each read, in order. A further read, and judging, wait until it is taken.
    rejected : Out(1)
        An access named a register that does not exist, wrote a read-only one, or a SHAPE or BLANK_MODE that
        does not exist, and had no effect (a read answers 0). Held until reset.

    Raises
    ------
    ConfigError
        See ``golden_model.stimulation.StimulationTiming``.
    """

    trigger: Signal
    arm: Signal
    disarm: Signal
    heartbeat: Signal
    emergency_stop: Signal
    amplifier_fault: Signal
    tick: Signal
    cathodic: Signal
    anodic: Signal
    enable: Signal
    train: Signal
    blank: Signal
    armed: Signal
    fault: Signal
    ignored: Signal
    access: stream.Interface
    readback: stream.Interface
    rejected: Signal

    latency = LATENCY

    def __init__(self, config: ChipConfig) -> None:
        self.timing = StimulationTiming(config)
        self.interlock = Interlock(config)
        self.registers = StimulationRegisters(config)
        self.check_cycles = self.registers.check_cycles
        # For proofs.
        self.blanks_by_pulse, self.prepared = Signal(), Signal()
        # Of durations that are good; GUARD_BEFORE counts only where it is shorter than the pause.
        self._left_bits = max(setting_widths(self.timing)[StimulationRegister.PERIOD], 3)
        members = self.registers.signature.members
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
        m.submodules.registers = registers = self.registers
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
        pulsing, nearing = self._pulses(m)
        self._blanking(m, pulsing, nearing)
        return m

    def _pulses(self, m: Module) -> tuple[Value, Value]:
        """Request the segments of a train; whether it is within a pulse, and within the guard before one."""
        interlock, registers = self.interlock, self.registers
        # A trigger is `able` to start a train; it `accepts` if the settings are good.
        able, accepts, stops = (Signal(name=name) for name in ("able", "accepts", "stops"))
        # The segment of now, and the one that comes after it.
        segment, coming = Signal(_Segment), Signal(_Segment, init=_Segment.CATHODIC)
        idle, pulsing = segment == _Segment.IDLE, _is_one_of(segment, _PULSE)
        nearing = (segment == _Segment.NEAR) & registers.flags[Flag.NEARS.value]
        m.d.comb += [
            able.eq(self.trigger & self.armed & ~interlock.resting & idle),
            accepts.eq(able & registers.good),
            self.ignored.eq(self.trigger & ~accepts),
            interlock.refused.eq(able & ~registers.good),
            interlock.monophasic.eq(~registers.flags[Flag.BIPHASIC.value]),
            interlock.cathodic_request.eq(segment == _Segment.CATHODIC),
            interlock.anodic_request.eq(segment == _Segment.ANODIC),
            interlock.enable_request.eq(~idle),
            registers.hold.eq(~idle | accepts),
        ]
        # Cycles `left` of the segment less 1; a segment `begins`, is in its `last` cycle, and a pulse `ends`.
        # The duration of the segment that comes is at the port of the memory in the last cycle of the one
        # before; while idle it is here already. As long as there are cycles to `spare`, the port is lent.
        left, fewer = Signal(self._left_bits), Signal(self._left_bits + 1)
        loads, begins, spare, last, ends = (
            Signal(name=name) for name in ("loads", "begins", "spare", "last", "ends")
        )
        pulses = Signal.like(registers.pulses, init=1)  # the number of the present one
        m.d.comb += [
            fewer.eq(left + ((1 << self._left_bits) - 1)),  # carries where left is not 0
            spare.eq(left[2]),
            last.eq(~fewer[-1] & ~idle),
            self.prepared.eq(~idle | (coming == _Segment.CATHODIC)),
            ends.eq(last & pulsing & ~_is_one_of(coming, _PULSE)),
            # Whatever stopped the interlock stops the train; nothing of it is left for the next arming.
            stops.eq((~self.armed & ~idle) | (ends & (pulses == registers.pulses))),
            begins.eq(accepts | last),
            registers.fetch.eq(begins | stops | registers.applied | (~idle & ~spare)),
        ]
        after = Signal(_Segment)  # the segment after `coming`
        m.d.comb += [
            after.eq(self._after(coming)),
            registers.row.eq(
                self._row(Mux(stops | registers.applied, _Segment.CATHODIC, Mux(begins, after, coming)))
            ),
        ]
        m.d.sync += loads.eq(stops | registers.applied)
        with m.If(stops):
            m.d.sync += [segment.eq(_Segment.IDLE), coming.eq(_Segment.CATHODIC), pulses.eq(1)]
        with m.Elif(begins):
            m.d.sync += [segment.eq(coming), coming.eq(after), pulses.eq(pulses + ends)]
        with m.If(loads | last):
            m.d.sync += left.eq(registers.word[: len(left)])  # beyond it are 0, if the settings are good
        with m.Elif(~idle):
            m.d.sync += left.eq(fewer[: len(left)])
        return pulsing, nearing

    def _after(self, segment: Signal) -> Value:
        """The segment after one."""
        flags = self.registers.flags
        biphasic, gapped = flags[Flag.BIPHASIC.value], flags[Flag.GAPPED.value]
        pause = Mux(flags[Flag.APART.value], _Segment.FAR, _Segment.NEAR)
        return Mux(
            segment == _Segment.CATHODIC,
            Mux(biphasic, Mux(gapped, _Segment.GAP, _Segment.ANODIC), pause),
            Mux(
                segment == _Segment.GAP,
                _Segment.ANODIC,
                Mux(
                    segment == _Segment.ANODIC,
                    pause,
                    Mux(segment == _Segment.FAR, _Segment.NEAR, _Segment.CATHODIC),
                ),
            ),
        )

    def _row(self, segment: Value) -> Value:
        """Where the duration of a segment is."""
        apart = self.registers.flags[Flag.APART.value]
        return Mux(
            (segment == _Segment.CATHODIC) | (segment == _Segment.ANODIC),
            Row.PHASE,
            Mux(
                segment == _Segment.GAP,
                Row.BETWEEN,
                Mux((segment == _Segment.NEAR) & apart, Row.NEAR, Row.PAUSE),
            ),
        )

    def _blanking(self, m: Module, pulsing: Value, nearing: Value) -> None:
        """The level, in step with the outputs: one cycle, the interlock's, after the requests."""
        flags, unlength = self.registers.flags, self.registers.unlength
        by_pulse, by_train = self.blanks_by_pulse, Signal()
        blanks, beyond_fixed = flags[Flag.BLANKS.value], flags[Flag.BY_PULSE.value]
        # As it was in the cycle before, which the outputs follow; a train `starts`, a `pulse` is delivered.
        was_pulsing, was_nearing, was_enabled, starts, pulse = (
            Signal(name=name) for name in ("was_pulsing", "was_nearing", "was_enabled", "starts", "pulse")
        )
        m.d.sync += [was_pulsing.eq(pulsing), was_nearing.eq(nearing), was_enabled.eq(self.enable)]
        # Cycles `left` of a window. Of two, settings may have changed between them, the later end counts.
        left = Signal.like(unlength, init=0)
        bits = len(left)
        fewer, longer = Signal(bits + 1), Signal(bits + 1)
        m.d.comb += [
            fewer.eq(left + ((1 << bits) - 1)),  # carries where left is not 0
            longer.eq(left + unlength),  # carries where left is more than the length
            by_pulse.eq(blanks & beyond_fixed),
            by_train.eq(blanks & ~beyond_fixed & flags[Flag.LASTS.value]),
            starts.eq(by_train & self.enable & ~was_enabled),
            pulse.eq(by_pulse & self.enable & was_pulsing),
            self.blank.eq(pulse | (by_pulse & self.enable & was_nearing) | starts | fewer[bits]),
        ]
        with m.If((starts | pulse) & ~longer[bits]):
            m.d.sync += left.eq(~unlength)
        with m.Elif(fewer[bits]):
            m.d.sync += left.eq(fewer[:bits])


def _is_one_of(segment: Signal, segments: tuple[_Segment, ...]) -> Value:
    return Cat(segment == other for other in segments).any()
