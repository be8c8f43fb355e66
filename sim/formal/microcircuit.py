"""Formal search of the microcircuit: a harness for :func:`formal.verify` that counts by itself.

Every input is free in every cycle: ticks, events, accesses, back-pressure, reset; only an access that waits
stays as it is. A channel's state is in memories, so that this is a search from power-up (``bmc``) through all
that can happen in so many cycles, on formats and delays small enough for traces and pulses to fit in.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, ResetSignal, Signal, Value

from ...gateware.events import EventKind
from ...gateware.microcircuit.microcircuit import Microcircuit
from ...gateware.microcircuit.parameters import Parameter
from ...golden_model.config import ChipConfig
from .interlock import _Harness

__all__ = ["SMALL", "MicrocircuitHarness"]

SMALL = {
    "trace": {"start": 1.0, "end": 0.25, "duration_s": 0.006},
    "threshold": {"level": 0.1875},
    "noi": {"delay_s": 0.002},
    "eligibility": {"delay_s": 0.002},
    "weight": {"initial": 0.25},
    "plasticity": {"potentiation": 0.125, "depression": 0.375},
    "formats": {
        "weight": "UQ(0,4)",
        "trace": "UQ(1,2)",
        "threshold": "UQ(0,4)",
        "potentiation": "UQ(0,4)",
        "depression": "UQ(0,4)",
    },
}
"""Sections of a configuration whose traces and pulses are three steps long, and its delays one."""


class MicrocircuitHarness(_Harness[Microcircuit]):
    """What a microcircuit commits, step by step, beside what it should, from what the ports have shown.

    Parameters
    ----------
    config : ChipConfig
        Without recalibration; delays of one step at least.
    design : Microcircuit, optional
        In place of the microcircuit: one that is broken on purpose.
    undisturbed : bool
        Without resets, accesses and back-pressure, and with a tick as soon as one can start a step: the
        search then gets through more steps.
    """

    def __init__(
        self, config: ChipConfig, design: Microcircuit | None = None, *, undisturbed: bool = False
    ) -> None:
        self.config, self.undisturbed = config, undisturbed
        super().__init__(design or Microcircuit(config))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self.connect(m)
        core, config, words = self.design, self.config, self.config.quantised
        now = core.commit
        length = config.trace_steps
        done = now.valid

        # What the rules of a stream ask of who sends: an access that waits stays as it is.
        asked, taken = core.access.payload, core.access.valid & core.access.ready
        waits, before = Signal(name="access_waits"), Signal.like(Value.cast(asked), name="access_before")
        m.d.sync += [waits.eq(core.access.valid & ~core.access.ready), before.eq(Value.cast(asked))]
        m.d.comb += Assume(
            ~waits | (core.access.valid & (Value.cast(asked) == before)), "an access stays as it is"
        )

        if self.undisturbed:
            reset = ResetSignal("sync", allow_reset_less=True)
            m.d.comb += Assume(
                ~reset & ~core.access.valid & core.responses.ready & (core.tick == ~core.busy), "undisturbed"
            )

        # What a host has written, between steps.
        kept: dict[Parameter, Signal] = {}
        for parameter, initial, fmt in (
            (Parameter.WEIGHT, words.weight_initial, config.formats.weight),
            (Parameter.POTENTIATION, words.potentiation, config.formats.potentiation),
            (Parameter.DEPRESSION, words.depression, config.formats.depression),
        ):
            kept[parameter] = Signal(fmt.as_shape(), init=initial, name=f"seen_{parameter.name.lower()}")
            writes = taken & asked.write & (asked.parameter == parameter) & (asked.channel == 0)
            with m.If(writes):
                m.d.sync += kept[parameter].eq(asked.word)
        weight = kept[Parameter.WEIGHT]
        with m.If(done):
            m.d.sync += weight.eq(now.weight)

        # Events: those that were taken up to the start of a step, which is the cycle before `busy` rises.
        event, kinds = core.events.payload, (EventKind.PN, EventKind.IO, EventKind.BLANKED)
        arrives = core.events.valid & core.events.ready & (event.channel == 0)
        arrived, collected, of_step = (
            Signal(len(kinds), name=name) for name in ("arrived", "collected", "of_step")
        )
        was_busy = Signal(init=1)
        m.d.sync += [
            was_busy.eq(core.busy),
            arrived.eq(Cat(arrives & (event.kind == kind) for kind in kinds)),
            collected.eq(collected | arrived),
        ]
        with m.If(core.busy & ~was_busy):
            m.d.sync += [of_step.eq(collected | arrived), collected.eq(0)]
        self._check(m, "each PN detection in its step", now.pn == of_step[0])
        self._check(m, "each IO detection in its step, unless blanked", now.io == (of_step[1] & ~of_step[2]))
        self._check(m, "blanked steps", now.blanked == of_step[2])

        # 4 the trace: a PN detection starts it, and it lasts `length` steps.
        age = Signal(range(length + 1), init=length, name="seen_age")
        age_now = Signal.like(age, name="seen_age_now")
        active = Signal(name="seen_active")
        m.d.comb += [
            age_now.eq(Mux(now.pn, 0, Mux(age == length, length, age + 1))),
            active.eq(age_now != length),
        ]
        # 2 inhibition: a CR starts it, and it lasts as long.
        left = Signal(range(length + 1), name="seen_left")
        left_now = Signal.like(left, name="seen_left_now")
        m.d.comb += left_now.eq(Mux(now.cr, length, left))
        inhibition = left_now != 0
        below = Signal(name="seen_below")
        inhibited = self._delayed(m, inhibition, config.noi_delay_steps, "seen_inhibition")
        eligible = self._delayed(m, active, config.eligibility_delay_steps, "seen_active")
        with m.If(done):
            m.d.sync += [
                age.eq(age_now),
                left.eq(Mux(inhibition, left_now - 1, 0)),
                below.eq(now.below),
            ]

        self._check(m, "the trace is active for its steps after a PN detection", now.active == active)
        ramp = words.trace_start - age_now * words.trace_slope
        self._check(m, "the trace falls by its slope", now.trace == Mux(active, ramp, 0))
        self._check(m, "age counts the steps since", now.age == age_now)
        self._check(m, "inhibition lasts the pulse", now.inhibition == inhibition)
        self._check(m, "delayed inhibition is that of a delay ago", now.delayed_inhibition == inhibited)
        self._check(m, "no IO passes under inhibition", ~now.gated_io | (now.io & ~inhibited))
        self._check(m, "IO passes else", now.gated_io | ~now.io | inhibited)
        self._check(m, "plasticity trace is the trace of a delay ago", now.plasticity_trace == eligible)

        # 1 w saturates, and rests while nothing is eligible.
        limit = config.formats.weight.raw_max
        rise = kept[Parameter.POTENTIATION] << words.potentiation_shift
        fall = kept[Parameter.DEPRESSION] << words.depression_shift
        learnt = (weight + rise) - Mux(now.gated_io, fall, 0)
        wanted = Mux(learnt < 0, 0, Mux(learnt > limit, limit, learnt))
        self._check(
            m, "w is learnt within its limits", now.weight == Mux(now.plasticity_trace, wanted, weight)
        )
        # 2, 3 scaling and threshold; a CR comes as w·T falls below it.
        self._check(m, "the trace is scaled by w", now.scaled == now.weight * now.trace)
        under = (now.scaled >> words.threshold_shift) < words.threshold
        self._check(m, "below the threshold while the trace is active", now.below == (now.active & under))
        self._check(m, "a CR as w·T falls below", now.cr == (now.below & ~below))
        accepted = core.responses.valid & core.responses.ready
        m.d.comb += Assert(accepted == (done & now.cr), "each CR comes once")

        # Steps: one a tick.
        owed, waited = Signal(range(4), name="owed"), Signal(range(16), name="waited")
        m.d.sync += [
            owed.eq(owed + core.tick - done),
            waited.eq(
                Mux(done | (owed == 0) | (core.responses.valid & ~core.responses.ready), 0, waited + 1)
            ),
        ]
        # From an overrun on nobody can tell from outside how many ticks were lost.
        m.d.comb += [
            Assert(~done | (owed != 0) | core.overrun, "no step without a tick"),
            Assert((owed <= 2) | core.overrun, "a tick that is lost is told"),
        ]
        most = core.initialise_cycles + core.cycles_per_step + 3
        with m.If(~core.overrun):
            m.d.comb += Assert(waited <= most, "a step after each tick")
        for name, seen in {
            "w at its top": done & (now.weight == limit) & now.plasticity_trace,
            "w at 0": done & (now.weight == 0) & now.plasticity_trace & (weight != 0),
            "a CR": accepted,
            "IO under inhibition": done & now.io & now.delayed_inhibition,
            "a second PN detection": done & now.pn & (age != length),
            "the trace runs out": done & (age == length - 1) & ~now.pn,
            "a tick waits": owed == 2,
        }.items():
            m.d.comb += Cover(seen, name)
        return m

    def _check(self, m: Module, name: str, holds: Value) -> None:
        """Something that holds in each cycle with a commit."""
        m.d.comb += Assert(~self.design.commit.valid | holds, name)

    def _delayed(self, m: Module, signal: Value, steps: int, name: str) -> Value:
        """A signal, so many commits ago."""
        history = Signal(steps, name=f"{name}_before")
        with m.If(self.design.commit.valid):
            m.d.sync += history.eq((history << 1) | signal)
        return history[-1]
