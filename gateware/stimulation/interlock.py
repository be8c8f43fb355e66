"""The interlock between the pulse generator and the stimulator: what no register and no fault gets past."""

from __future__ import annotations

import enum
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ...golden_model.config import ChipConfig
from ...golden_model.stimulation import StimulationTiming
from ..component import Component

__all__ = ["Interlock", "InterlockFault"]


class InterlockFault(enum.Enum):
    """Why the stimulation was disarmed; of several causes in one cycle, the first in this list."""

    NONE = 0
    EMERGENCY_STOP = 1
    AMPLIFIER = 2  # the front end does not run, or lost its chips
    REFUSED = 3  # settings beyond a limit, or unbalanced
    WATCHDOG = 4  # no heartbeat of the host
    CLOCK = 5  # no step tick
    OVERLAP = 6  # both phases at once
    SHAPE = 7  # an anodic phase in a monophasic train
    WIDTH = 8  # a cathodic phase too long
    RATE = 9  # a pulse too early
    DURATION = 10  # a train too long, or the rest after it too short
    UNBALANCED = 11  # more anodic than cathodic, or less when the next pulse may begin


class _Stopwatch:
    """Cycles since it was set, as far as a limit.

    Counted up to a power of two: that the limit is reached is one bit, and takes no comparison.

    Parameters
    ----------
    name : str
    limit : int
        At least 1. It is reached at power-up; a reset changes nothing.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._first = (1 << bits_for(limit - 1)) - limit
        self.count = Signal(bits_for(limit - 1) + 1, init=self._first + limit, name=name, reset_less=True)

    @property
    def cycles(self) -> Value:
        """What it shows: for proofs."""
        return self.count - self._first

    @property
    def due(self) -> Value:
        """Whether the limit is reached."""
        return self.count[-1]

    def run(self, m: Module, sets: Value, cycles: int = 0) -> None:
        """Set it to some cycles, in cycles with `sets`; else it goes on."""
        with m.If(sets):
            m.d.sync += self.count.eq(self._first + cycles)
        with m.Elif(~self.due):
            m.d.sync += self.count.eq(self.count + 1)


class Interlock(Component):
    """Passes on the phases that a pulse generator requests, within limits fixed at synthesis.

    An output follows its request one cycle later, from a register. In each cycle the requests are checked
    against counters of what has been delivered; a request beyond a limit is not delivered, nor is any after
    it: the fault is latched and the interlock is no longer armed. With w, T, D and R the limits of
    ``[stimulation.limits]`` in cycles:

    - never both outputs; none that is not armed, in reset, or during an emergency stop;
    - a cathodic phase lasts at most w; the anodic time of its pulse is no longer than it;
    - pulses start at least T apart, whatever happens in between;
    - a train, that is outputs with less than R of silence between them, lasts at most D;
    - biphasic: T after its start each pulse has had as much anodic as cathodic time; monophasic: none.

    In the long run an output is on for at most ``StimulationTiming.duty_limit`` of the time. The counters
    of T, D and R go on through disarming, faults and reset, so that none of these makes up for a rest.

    Disarming, faults and reset may cut a pulse short and leave its charge unbalanced: the stimulator has
    to let it flow back when `enable` falls. After arming the balance is counted from 0.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    latency : int
        Cycles from request to output.

    Members
    -------
    cathodic_request, anodic_request : In(1)
    enable_request : In(1)
        Keep `enable` up between the phases.
    monophasic : In(1)
        Of the train that begins; looked at with the first pulse after a rest, or after arming.
    refused : In(1)
        The pulse generator will not work with the settings it has.
    arm : In(1)
        A rise arms; so one that is stuck does not arm again. Ignored while there is an emergency stop or a
        fault of the amplifier, whose cause it latches if none is; else it clears a latched fault.
    disarm : In(1)
        Goes before `arm`.
    heartbeat : In(1)
        A rise says that the host is there; counted from arming.
    tick : In(1)
        A step begins; counted from arming.
    emergency_stop : In(1)
        Puts the outputs to rest in the same cycle, combinationally; disarms.
    amplifier_fault : In(1)
        Disarms. As all other causes, it puts the outputs to rest from the next cycle on.
    cathodic, anodic : Out(1)
    enable : Out(1)
        High from the first output of a train to the end of its last, or of what is left of it.
    armed : Out(1)
    fault : Out(InterlockFault)
        First cause since arming; NONE while armed.
    resting : Out(1)
        Less than R cycles of silence so far.
    """

    cathodic_request: Signal
    anodic_request: Signal
    enable_request: Signal
    monophasic: Signal
    refused: Signal
    arm: Signal
    disarm: Signal
    heartbeat: Signal
    tick: Signal
    emergency_stop: Signal
    amplifier_fault: Signal
    cathodic: Signal
    anodic: Signal
    enable: Signal
    armed: Signal
    fault: Signal
    resting: Signal

    latency = 1

    def __init__(self, config: ChipConfig) -> None:
        self.timing = timing = StimulationTiming(config)
        super().__init__(
            {
                "cathodic_request": In(1),
                "anodic_request": In(1),
                "enable_request": In(1),
                "monophasic": In(1),
                "refused": In(1),
                "arm": In(1),
                "disarm": In(1),
                "heartbeat": In(1),
                "tick": In(1),
                "emergency_stop": In(1),
                "amplifier_fault": In(1),
                "cathodic": Out(1),
                "anodic": Out(1),
                "enable": Out(1),
                "armed": Out(1),
                "fault": Out(InterlockFault),
                "resting": Out(1),
            }
        )
        # Members of the object, so that a proof can say how its own counters relate to these.
        # Since the last pulse started, since an output was on, since the train began; since the last signs of
        # life of host and step clock.
        self._since_start = _Stopwatch("since_start", timing.period_limit)
        self._silence = _Stopwatch("silence", timing.rest)
        self._train = _Stopwatch("train_cycles", timing.duration_limit)
        self._heartbeat = _Stopwatch("without_heartbeat", timing.watchdog)
        self._tick = _Stopwatch("without_tick", timing.tick_timeout)
        self.since_start, self.silence = self._since_start.cycles, self._silence.cycles
        self.train_cycles = self._train.cycles
        self.without_heartbeat, self.without_tick = self._heartbeat.cycles, self._tick.cycles
        # Cathodic less anodic time of the present pulse.
        self.charge = Signal(range(timing.width_limit + 1))
        # The train is monophasic; there was no pulse since arming.
        self.single, self.fresh = Signal(), Signal(init=1)
        # Inputs whose rise counts, as they were in the cycle before.
        self.arm_before, self.heartbeat_before = Signal(init=1), Signal(init=1)
        # The outputs, but for emergency stop and reset.
        self.delivered_cathodic, self.delivered_anodic, self.delivered_enable = (
            Signal(name=f"delivered_{name}") for name in ("cathodic", "anodic", "enable")
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        timing = self.timing
        # Requests: for an output, for either; a cathodic phase that begins, and one that goes on.
        cathodic, anodic, either = Signal(), Signal(), Signal()
        m.d.comb += [
            cathodic.eq(self.cathodic_request),
            anodic.eq(self.anodic_request),
            either.eq(cathodic | anodic),
            self.resting.eq(~self._silence.due),
        ]
        starts, continues = cathodic & ~self.delivered_cathodic, cathodic & self.delivered_cathodic
        # The charge after a cycle of output: one up while a cathodic phase continues, else one down; then the
        # bit above it, a carry, says that there was some to take from.
        changed = Signal(len(self.charge) + 1)
        m.d.comb += changed.eq(self.charge + Mux(continues, 1, (1 << len(self.charge)) - 1))
        charged = continues | changed[-1]

        # Causes of a fault, of which the first counts.
        causes: dict[InterlockFault, Value] = {
            InterlockFault.EMERGENCY_STOP: self.emergency_stop,
            InterlockFault.AMPLIFIER: self.amplifier_fault,
        }
        when_armed = {
            InterlockFault.REFUSED: self.refused,
            InterlockFault.WATCHDOG: self._heartbeat.due,
            InterlockFault.CLOCK: self._tick.due,
            InterlockFault.OVERLAP: cathodic & anodic,
            InterlockFault.SHAPE: anodic & self.single,
            InterlockFault.WIDTH: continues & (self.charge == timing.width_limit),
            InterlockFault.RATE: starts & ~self._since_start.due,
            InterlockFault.DURATION: either & self.resting & self._train.due,
            InterlockFault.UNBALANCED: (anodic & ~charged) | (charged & ~self.single & self._since_start.due),
        }
        causes |= {fault: self.armed & cause for fault, cause in when_armed.items()}
        cause, first = Signal(), Signal(InterlockFault)
        number: Value = Const(InterlockFault.NONE.value, len(Value.cast(first)))
        for fault, present in reversed(causes.items()):
            number = Mux(present, Const(fault.value, len(number)), number)
        m.d.comb += [cause.eq(Cat(causes.values()).any()), first.eq(number)]

        # Arming, disarming, and the fault that is kept.
        m.d.sync += [self.arm_before.eq(self.arm), self.heartbeat_before.eq(self.heartbeat)]
        arms = self.arm & ~self.arm_before
        with m.If(cause):
            m.d.sync += self.armed.eq(0)
            with m.If((self.armed | arms) & (self.fault == InterlockFault.NONE)):
                m.d.sync += self.fault.eq(first)
        with m.Elif(self.disarm):
            m.d.sync += self.armed.eq(0)
        with m.Elif(arms):
            m.d.sync += [self.armed.eq(1), self.fault.eq(InterlockFault.NONE)]

        # Outputs: what `passes` is delivered from the next cycle on, while it is `safe`.
        reset = ResetSignal("sync", allow_reset_less=True)
        passes = self.armed & ~cause & ~self.disarm & ~reset
        delivers, begins = passes & either, passes & starts
        safe = ~self.emergency_stop & ~reset
        m.d.sync += [
            self.delivered_cathodic.eq(passes & cathodic),
            self.delivered_anodic.eq(passes & anodic),
            self.delivered_enable.eq(passes & (either | self.enable_request)),
        ]
        m.d.comb += [
            self.cathodic.eq(self.delivered_cathodic & safe),
            self.anodic.eq(self.delivered_anodic & safe),
            self.enable.eq(self.delivered_enable & safe),
        ]

        # What has been delivered: times, charge, and whether the train is monophasic.
        self._since_start.run(m, begins, 1)
        self._silence.run(m, delivers)
        self._train.run(m, delivers & ~self.resting, 1)
        with m.If(~self.armed):
            m.d.sync += [self.charge.eq(0), self.fresh.eq(1)]
        with m.Elif(begins):
            m.d.sync += [self.charge.eq(1), self.fresh.eq(0)]
            with m.If(self.fresh | ~self.resting):
                m.d.sync += self.single.eq(self.monophasic)
        with m.Elif(delivers):
            m.d.sync += self.charge.eq(changed[: len(self.charge)])

        # Who is still there.
        self._heartbeat.run(m, ~self.armed | (self.heartbeat & ~self.heartbeat_before))
        self._tick.run(m, ~self.armed | self.tick)
        return m
