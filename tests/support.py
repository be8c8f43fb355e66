"""Run the microcircuit in Amaranth's own simulator, and break it on purpose."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from amaranth.hdl import Assert, Module
from amaranth.lib import memory
from amaranth.sim import Simulator
from microzone.gateware.microcircuit import event_banks, microcircuit, rational, recalibration
from microzone.golden_model.microcircuit import SIGNALS
from microzone.sim.replay.comparison import RECALIBRATION
from microzone.sim.replay.replay import Scenario

DETECTED = ("pn", "io", "blanked")
"""What a step tells of its detections, beside what it makes of them."""


def simulate(core: Any, scenario: Scenario) -> dict[str, np.ndarray]:
    """Every signal of every step, shape (steps, channels), plus the CRs that left on the stream.

    ``late`` has the steps in which a channel took other than the stated cycles.
    """
    shape = (scenario.steps, scenario.channels)
    record = {name: np.zeros(shape, np.int64) for name in (*SIGNALS, *DETECTED, "response")}
    recalibrations: list[list[int]] = []
    late = np.zeros(scenario.steps, bool)
    blanked = np.zeros(shape, bool) if scenario.blanked is None else scenario.blanked

    async def bench(ctx: Any) -> None:
        ctx.set(core.responses.ready, 1)
        while ctx.get(core.busy):
            await ctx.tick()
        for step in range(scenario.steps):
            for write in (write for write in scenario.writes if write.step == step):
                await access(ctx, core, write.channel, write.parameter.value, write.word)
            for kind, detections in ((0, scenario.pn), (1, scenario.io), (3, blanked)):
                for channel in np.flatnonzero(detections[step]):
                    await send(ctx, core, int(channel), kind)
            ctx.set(core.tick, 1)
            await ctx.tick()
            ctx.set(core.tick, 0)
            cycles = 1
            for channel in range(scenario.channels):
                while not ctx.get(core.commit.valid):
                    await ctx.tick()
                    cycles += 1
                late[step] |= cycles != core.latency(channel)
                assert ctx.get(core.commit.channel) == channel
                for name in (*SIGNALS, *DETECTED):
                    record[name][step, channel] = ctx.get(getattr(core.commit, name))
                record["response"][step, channel] = ctx.get(core.responses.valid)
                if ctx.get(core.recalibrated.valid):
                    words = [ctx.get(getattr(core.recalibrated, name)) for name in RECALIBRATION[1:]]
                    recalibrations.append([step + 1, *words])
                await ctx.tick()
                cycles += 1

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    record["late"] = np.flatnonzero(late)
    if scenario.config.recalibration.enabled:
        record["recalibrations"] = np.array(recalibrations, np.int64).reshape(-1, len(RECALIBRATION))
    return record


@contextmanager
def no_collisions() -> Iterator[None]:
    """Whatever is elaborated within: a simulation fails if a memory's row is read while it is written.

    Synthesis is told that this does not happen (boards/family.py), or else it adds logic to each memory.
    """
    elaborate = memory.Memory.elaborate

    def watched(self: Any, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = elaborate(self, platform)
        for read in self.read_ports:
            for write in self.write_ports:
                m.d.sync += Assert(~(read.en & write.en.any() & (read.addr == write.addr)), "collision")
        return m

    with mock.patch.object(memory.Memory, "elaborate", watched):
        yield


async def send(ctx: Any, core: Any, channel: int, kind: int) -> None:
    """Offer one event until it is taken."""
    ctx.set(core.events.payload, {"channel": channel, "kind": kind})
    ctx.set(core.events.valid, 1)
    while not ctx.get(core.events.ready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(core.events.valid, 0)


async def access(ctx: Any, core: Any, channel: int, parameter: int, word: int | None) -> None:
    """Offer one read (`word` None) or write until it is taken."""
    payload = {"channel": channel, "parameter": parameter, "write": word is not None}
    width = core.access.payload.word.shape().width
    ctx.set(core.access.payload, payload | {"word": (word or 0) % (1 << width)})
    ctx.set(core.access.valid, 1)
    while not ctx.get(core.access.ready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(core.access.valid, 0)


# Each of the eight processes broken on purpose: what stands in gateware/microcircuit/microcircuit.py, and what replaces it.
PROCESSES = {
    "1 trace: one step too long": ("below(before.age, idle - 1)", "below(before.age, idle)"),
    "1 trace: slope off by one LSB": (
        "(before.trace - words.trace_slope)",
        "(before.trace - words.trace_slope - 1)",
    ),
    "1 trace: a second detection does not restart it": (
        "now.age.eq(Mux(detections.pn, 0,",
        "now.age.eq(Mux(detections.pn & (before.age == idle), 0,",
    ),
    "2 scaling: w before learning": ("now.weight * now.trace", "before_weight * now.trace"),
    "3 threshold: at or below": (
        "(words.threshold_shift), words.threshold)",
        "(words.threshold_shift), words.threshold + 1)",
    ),
    "3 threshold: a CR in every step below": (
        "now.cr.eq(now.below & ~before.below)",
        "now.cr.eq(now.below)",
    ),
    "3 threshold: without an active trace": (
        "now.below.eq(now.active & under)",
        "now.below.eq(under)",
    ),
    "4 inhibitory pulse: one step short": (
        "Mux(now.cr, config.trace_steps, before",
        "Mux(now.cr, config.trace_steps - 1, before",
    ),
    "4 inhibitory pulse: not retriggerable": (
        "Mux(now.cr, config.trace_steps, before",
        "Mux(now.cr & (before.pulse_left == 0), config.trace_steps, before",
    ),
    "5 delayed inhibition: one step late": (
        "(config.noi_delay_steps, inhibition",
        "(config.noi_delay_steps + 1, inhibition",
    ),
    "6 gate: left open": ("gated = detections.io & ~inhibited", "gated = detections.io"),
    "7 plasticity trace: one step late": (
        "(config.eligibility_delay_steps, active",
        "(config.eligibility_delay_steps + 1, active",
    ),
    "8 coincidence: δd without δp": (
        "Mux(gated, potentiation - depression, potentiation)",
        "Mux(gated, -depression, potentiation)",
    ),
    "8 coincidence: wraps at its limits": (
        "resize(learnt, learnt_format, target)",
        "resize(learnt, learnt_format, target, overflow=Overflow.WRAP)",
    ),
}

# What only shows where events, ticks and accesses overlap with steps.
HANDSHAKES = {
    "a tick beside a waiting one is lost": ("waiting.eq(waiting & self.tick)", "waiting.eq(0)"),
    "an answer is overwritten": ("(request.write | ~self.readback.valid)", "(request.write | True)"),
    "a response does not wait": ("with m.If(~now.cr | self.responses.ready):", "with m.If(1):"),
    "accesses go before steps": (
        "with m.If(self.tick | waiting):",
        "with m.If((self.tick | waiting) & ~self.access.valid):",
    ),
}
BANKS = {
    "one bank only": ("filling.eq(~filling)", "filling.eq(filling)"),
    "events are taken while others are consumed": (
        "self.events.ready.eq(~self.consume & ~self.clear)",
        "self.events.ready.eq(1)",
    ),
    "detections are not forgotten": ("with m.Elif(self.consume):", "with m.Elif(0):"),
}
# What the recalibration adds: the schedule, the counters and the evaluator.
SCHEDULE = {
    "visits begin a step early": ("begins_round.eq(fewer_until < 0)", "begins_round.eq(fewer_until <= 0)"),
    "a period is a step too long": ("Mux(begins_round, period - 1,", "Mux(begins_round, period,"),
    "a first round too early": ("init=period)", "init=0)"),
    "a visit ends a step early": ("last.eq(turn & is_last)", "last.eq(turn & (visit_left == 1))"),
    "counters go on": ("Mux(first | self.clear, 0, before", "Mux(self.clear, 0, before"),
    "the sampling step is not counted": (
        "Mux(first | self.clear, 0, before.counter)\n                + ",
        "Mux(first | self.clear, 0, before.counter)\n                + ~first & ",
    ),
    "blanked time counts": ("Mux(self.scale, ~self.blanked,", "Mux(self.scale, 1,"),
    "a write in mid-visit is not noticed": ("interrupted.eq(1)", "interrupted.eq(0)"),
    "half a set is used": ("interrupted.eq(~before.whole)", "interrupted.eq(0)"),
    "every write interrupts": ("self.write & (self.accessed == visited)", "self.write"),
}
EVALUATOR = {
    "products are not rounded": ("Mux(words.load == _Load.TOTAL, rounding, 0)", "0"),
    "quotients are not rounded": ("Cat(rounding, quotient)", "Cat(Const(0, 1), quotient)"),
    "large quotients wrap": (
        "shifts.eq(~(remaining.at_end | quotient.too_large))",
        "shifts.eq(~remaining.at_end)",
    ),
    "a rate at the limit is refused": ("~below(whole_rate, high + 1)", "~below(whole_rate, high)"),
    "the least determinant is refused": ("(result, LEAST_DETERMINANT)", "(result, LEAST_DETERMINANT + 1)"),
    "a negative numerator passes": ("with m.If(result < 0):", "with m.If(0):"),
    "exponents are added": ("inverts.eq(load == _Load.BETA_EXPONENT)", "inverts.eq(0)"),
    "a divisor is not aligned": ("with m.If(~fits):", "with m.If(1):"),
    "a detection in each step passes for no step": (
        "(words.is_rate & remaining.left[2])",
        "(words.is_rate & remaining.left[0])",
    ),
    "a rate beyond full scale passes": ("with m.If(too_high | below(", "with m.If(below("),
}
# What shows only where the evaluator's memory is borrowed again and again, or in the longest evaluation: its own
# bench does so.
LOANS = {
    "0 is divided": ("m.If((load == _Load.DETERMINANT) & ~adder.fits)", "m.If(0)"),
    "a loan of the memory is not waited for": (
        "reads.eq(~evaluator.lend & ~evaluator.write)",
        "reads.eq(~evaluator.write)",
    ),
    "a total is lost beside a write": ("keeps.eq(~evaluator.write & (", "keeps.eq(1 & ("),
}
WAITS = {
    "steps wait for the evaluator": (
        'm.d.comb += walk.scale.eq(1)\n                m.next = "THRESHOLD"',
        "m.d.comb += walk.scale.eq(1)\n                with m.If(port.recalibration._evaluator.done):\n"
        '                    m.next = "THRESHOLD"',
    ),
}
_APPLY: set[tuple[str, str]] = set()
"""Changes that have been seen to apply: name of the module, and what is replaced."""


def applying(rows: Any, module: Any = None) -> Any:
    """Rows of a table of mutants, as they are: an error where one of their changes does not apply.

    Tables are made where pytest collects the tests: a change of a source that is not what it was is noticed
    even where its test is not run.

    Parameters
    ----------
    rows : dict or list of tuple
        Each has what stands in the source and what replaces it: its first two texts. It may have a module.
    module : module, optional
        Of rows that have none.

    Raises
    ------
    LookupError
        If what is to be replaced does not stand in the module, or more than once.
    """
    for row in rows.values() if isinstance(rows, dict) else rows:
        parts = [one for part in row for one in (part if isinstance(part, tuple) else (part,))]
        where = next((part for part in parts if isinstance(part, ModuleType)), module)
        old, _ = [part for part in parts if isinstance(part, str)][:2]
        _source(where, old)
        _APPLY.add((where.__name__, old))
    return rows


def _source(module: Any, old: str) -> str:
    """The text of a module; LookupError unless it has `old` in one place."""
    path = Path(module.__file__)
    source = path.read_text(encoding="utf-8")
    if source.count(old) != 1:  # no AssertionError, which is what a broken design is found by
        raise LookupError(f"{old!r} stands {source.count(old)} times in {path.name}")
    return source


_OF_MODULES = (
    (microcircuit, PROCESSES | HANDSHAKES),
    (event_banks, BANKS),
    (recalibration, SCHEDULE),
    (rational, EVALUATOR),
    (microcircuit, WAITS),
    (rational, LOANS),
)
_ALL = applying({name: (module, *change) for module, table in _OF_MODULES for name, change in table.items()})
MUTATIONS = {name: _ALL[name] for name in PROCESSES | HANDSHAKES | BANKS}
RECALIBRATION_MUTATIONS = {name: _ALL[name] for name in SCHEDULE | EVALUATOR | WAITS}
LOAN_MUTATIONS = {name: _ALL[name] for name in LOANS}


@contextmanager
def mutant(name: str) -> Iterator[Any]:
    """The class of a core with one piece of its source, or that of a part of it, replaced."""
    module, old, new = _ALL[name]
    other = changed(module, old, new)
    if module is microcircuit:
        yield other.Microcircuit
        return
    where, part = {
        event_banks: (microcircuit, "EventBanks"),
        recalibration: (microcircuit, "Recalibration"),
        rational: (recalibration, "RationalEvaluator"),
    }[module]
    with mock.patch.object(where, part, getattr(other, part)):
        yield microcircuit.Microcircuit


def changed(module: Any, old: str, new: str, *, without: str = "") -> Any:
    """A module with one piece of its source replaced, and another left out wherever it stands."""
    if (module.__name__, old) not in _APPLY:
        raise LookupError(f"{old!r}: this change is in no table that `applying` has looked at")
    text = _source(module, old).replace(old, new)
    text = text.replace(without, "") if without else text
    spec = importlib.util.spec_from_loader(f"{module.__package__}._mutant", loader=None)
    assert spec is not None
    other = importlib.util.module_from_spec(spec)
    other.__package__ = module.__package__
    text = text.replace("import QFormat\n", "import Overflow, QFormat\n", 1)
    with mock.patch.dict(sys.modules, {spec.name: other}):
        exec(compile(text, module.__file__, "exec"), other.__dict__)
    return other
