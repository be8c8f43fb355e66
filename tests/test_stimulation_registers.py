"""The registers of the stimulation: what the program says, and changes at every moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, ResetInserter, Signal
from amaranth.lib import memory
from amaranth.sim import Simulator
from microzone.gateware.stimulation import program as stimulation_program
from microzone.gateware.stimulation import registers as stimulation_registers
from microzone.gateware.stimulation import stimulation
from microzone.gateware.stimulation.program import (
    PROGRAM,
    Row,
    judging_cycles,
)
from microzone.gateware.stimulation.registers import (
    StimulationRegister,
    setting_widths,
    settings_words,
    stimulation_layout,
)
from microzone.golden_model import ChipConfig
from microzone.golden_model.config import BlankingMode, PulseShape
from microzone.golden_model.stimulation import StimulationTiming, Stimulator, TrainSettings
from support import applying, changed
from test_stimulation_program import CONFIGS, SMALL, WIDE, around, slow_but_first, verdict


class Colliding(Elaboratable):
    """A memory as on the iCE40: what is read while it is written is anything, here its complement."""

    def __init__(self, **options: Any) -> None:
        self.inner = memory.Memory(**options)
        self.garbled, self.collided, self.count = Signal(options["shape"]), Signal(), Signal(16)

    def read_port(self) -> Any:
        self.read = self.inner.read_port()
        return SimpleNamespace(addr=self.read.addr, data=self.garbled)

    def write_port(self) -> Any:
        self.write = self.inner.write_port()
        return self.write

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.inner = self.inner
        m.d.sync += [
            self.collided.eq(self.write.en & (self.write.addr == self.read.addr)),
            self.count.eq(self.count + self.collided),
        ]
        m.d.comb += self.garbled.eq(self.read.data ^ self.collided.replicate(len(self.garbled)))
        return m


class Driven:
    """The stimulation in Amaranth's simulator, armed, with a host and steps."""

    def __init__(self, config: ChipConfig, core: Any = None) -> None:
        self.core = core or stimulation.Stimulation(config)
        self.timing = StimulationTiming(config)
        self.rows: list[tuple[int, ...]] = []
        self.changes: list[int] = []
        self.answers: list[int] = []

    def run(self, bench: Callable[..., Any]) -> None:
        async def drive(ctx: Any) -> None:
            self.ctx = ctx
            ctx.set(self.core.readback.ready, 1)
            await self.cycle()
            await self.cycle(arm=1)
            await bench(self)

        self.reset = Signal()
        simulator = Simulator(ResetInserter(self.reset)(self.core))
        simulator.add_clock(1e-6)
        simulator.add_testbench(drive)
        simulator.run()

    @property
    def now(self) -> int:
        return len(self.rows)

    async def cycle(self, **levels: int) -> None:
        core, ctx = self.core, self.ctx
        levels |= {"heartbeat": self.now % (self.timing.watchdog // 2) == 0}
        levels |= {"tick": self.now % (self.timing.tick_timeout // 3) == 0}
        for name in ("arm", "disarm", "trigger", "heartbeat", "tick"):
            ctx.set(getattr(core, name), levels.get(name, 0))
        if ctx.get(core.registers.applied):
            self.changes.append(self.now)
        self.rows.append(tuple(ctx.get(getattr(core, n)) for n in ("cathodic", "anodic", "enable", "blank")))
        if ctx.get(core.readback.valid) and ctx.get(core.readback.ready):
            self.answers.append(ctx.get(core.readback.payload))
        self.taken = bool(ctx.get(core.access.ready))
        await ctx.tick()

    async def idle(self, cycles: int) -> None:
        for _ in range(cycles):
            await self.cycle()

    async def access(self, register: StimulationRegister, word: int | None, **levels: int) -> None:
        payload = {"register": register, "write": word is not None, "word": word or 0}
        self.ctx.set(self.core.access.payload, payload)
        self.ctx.set(self.core.access.valid, 1)
        await self.cycle(**levels)
        while not self.taken:
            await self.cycle()
        self.ctx.set(self.core.access.valid, 0)

    async def write(self, settings: TrainSettings) -> None:
        for register, word in settings_words(settings).items():
            await self.access(register, word)

    async def until_applied(self) -> None:
        before = len(self.changes)
        while len(self.changes) == before:
            await self.cycle()


def effective(driven: Driven) -> tuple[int, ...]:
    registers, ctx = driven.core.registers, driven.ctx
    return tuple(ctx.get(getattr(registers, name)) for name in ("good", "flags", "pulses", "unlength"))


def expected(timing: StimulationTiming, settings: TrainSettings) -> tuple[int, ...]:
    got = verdict(timing, settings)
    bits = stimulation_layout(timing.config)["word"].width
    return int(got.good), got.flags, got.pulses, (1 << bits) - 1 - got.rows[Row.LENGTH]


def judged(name: str, core: Any, cases: int) -> str | None:
    """First settings of which the gateware does not say what the program does, or later than it says."""
    config = CONFIGS[name]
    driven = Driven(config, core)
    found: list[str] = []

    async def bench(driven: Driven) -> None:
        timing = driven.timing
        for _, settings in zip(range(cases), around(timing, random.Random(7)), strict=False):
            await driven.write(settings)
            written = driven.now - 1
            await driven.idle(driven.core.check_cycles - 1)
            if effective(driven) != expected(timing, settings):
                found.append(f"{settings}: {effective(driven)}, expected {expected(timing, settings)}")
                return
            cycles = verdict(timing, settings).cycles + 3
            taken = driven.changes[-1] + 1 - written
            if taken != cycles:
                found.append(f"{settings}: {taken} cycles, expected {cycles}")
                return

    driven.run(bench)
    return found[0] if found else None


@pytest.mark.parametrize("name", CONFIGS)
def test_the_gateware_judges_as_the_program_does(name: str) -> None:
    assert judged(name, None, 15) is None


def test_check_cycles_are_those_of_the_longest_judgement() -> None:
    """No pulses, which are taken for the most rounds; of WIDE, whose product does not stop them."""
    timing = StimulationTiming(WIDE)
    for pulses in range(1 << setting_widths(timing)[StimulationRegister.PULSES]):
        cycles = verdict(timing, replace(timing.settings, pulses=pulses)).cycles
        assert cycles + 3 <= stimulation.Stimulation(WIDE).check_cycles
    timing = StimulationTiming(SMALL)
    settings = replace(timing.settings, period=0, pulses=0)
    assert (
        judging_cycles(setting_widths(timing)[StimulationRegister.PULSES]) > verdict(timing, settings).cycles
    )


def _levels(model: Stimulator, cycles: int) -> list[tuple[int, ...]]:
    levels = {name: np.zeros(cycles, int) for name in ("cathodic", "anodic", "enable")}
    for cycle, name, level in model.edges:
        levels[name][cycle:] = level
    levels["blank"] = model.blanked_at(np.arange(cycles)).astype(int)
    return list(zip(*(column.tolist() for column in levels.values()), strict=True))


LATER = replace(
    StimulationTiming(SMALL).settings,
    period=31, width=1, width_anodic=1, gap=0, pulses=2, blank_mode=BlankingMode.FIXED, blank_fixed=20,
)  # fmt: skip


def changes_at(offset: int, first: TrainSettings, core: Any = None) -> bool:
    """Whether a trigger so long after other settings take effect makes the train that the model does."""
    driven = Driven(SMALL, core)
    same: list[bool] = []

    async def bench(driven: Driven) -> None:
        await driven.write(first)
        await driven.until_applied()
        await driven.idle(60)
        await driven.write(LATER)
        judging = driven.now + verdict(driven.timing, LATER).cycles + 2
        while driven.now != judging + offset:
            await driven.cycle()
        at = driven.now
        await driven.cycle(trigger=1)
        await driven.idle(400)
        model = Stimulator(SMALL)
        model.settings = LATER if driven.changes[-1] < at else first
        assert model.trigger(at)
        same.append(_levels(model, driven.now) == driven.rows)

    driven.run(bench)
    return same[0]


OFFSETS = range(-2, 4)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_train_has_the_settings_of_before_or_of_after(offset: int) -> None:
    configured = StimulationTiming(SMALL).settings
    assert changes_at(offset, configured)
    assert changes_at(offset, replace(configured, shape=PulseShape.MONOPHASIC, pulses=1))


def after_reset(delay: int, core: Any = None) -> bool:
    """Whether a reset so long after a write brings the configured settings back, for the first trigger."""
    driven = Driven(SMALL, core)
    same: list[bool] = []

    async def bench(driven: Driven) -> None:
        await driven.write(LATER)
        await driven.idle(delay)
        driven.ctx.set(driven.reset, 1)
        await driven.cycle()
        driven.ctx.set(driven.reset, 0)
        await driven.cycle()
        await driven.cycle(arm=1)
        at = driven.now
        await driven.cycle(trigger=1)
        for register, word in settings_words(driven.timing.settings).items():
            await driven.access(register, None)
            while not driven.answers:
                await driven.cycle()
            same.append(driven.answers.pop() == word)
        await driven.idle(200)
        model = Stimulator(SMALL)
        same.append(model.trigger(at) and _levels(model, driven.now) == driven.rows)

    driven.run(bench)
    return all(same)


@pytest.mark.parametrize("delay", [0, 1, 7, 50, 112, 113, 114, 115, 116, 117, 118, 130, 160])
def test_a_reset_brings_the_configured_settings_back(delay: int) -> None:
    assert after_reset(delay)


@pytest.mark.parametrize("word", [0, 1000])
def test_a_refused_write_changes_nothing(word: int) -> None:
    """One after the other all through a judgement and a copy: the same train as without, the same words."""
    driven = Driven(SMALL)

    async def bench(driven: Driven) -> None:
        for delay in (0, 1):
            await driven.write(LATER)
            before = len(driven.changes)
            await driven.idle(delay)
            while len(driven.changes) == before:
                await driven.access(StimulationRegister.STATUS, word)
            await driven.idle(driven.timing.rest)
            at = driven.now
            await driven.cycle(trigger=1)
            await driven.idle(200)
            model = Stimulator(SMALL)
            model.settings = LATER
            assert model.trigger(at)
            assert _levels(model, driven.now)[at:] == driven.rows[at:]
            for register, content in settings_words(LATER).items():
                await driven.access(register, None)
                while not driven.answers:
                    await driven.cycle()
                assert driven.answers.pop() == content, register
        assert driven.ctx.get(driven.core.rejected)

    driven.run(bench)


REGISTERS = applying(
    {
        "nothing is refused": ("with m.If(doing.refuse & carry):", "with m.If(0):"),
        "refused once, refused for ever": (", now.sound.eq(1)]", "]"),
        "no inversion": ("^ doing.invert.replicate(bits)", "^ 0"),
        "a round too many": ("repeats = (now.rounds != 1)", "repeats = (now.rounds != 0)"),
        "applied in a train": ("self.applied.eq(now.ripe & ~self.hold)", "self.applied.eq(now.ripe)"),
        "not copied": ("used.eq(written),", "used.eq(used),"),
        "not copied after a reset": ("init=START_OF_COPY", "init=START_OF_COPY + 10"),
        "not judged anew": ("m.d.sync += [now.at.eq(0), ", "m.d.sync += ["),
    },
    stimulation_registers,
)


@pytest.mark.parametrize("name", slow_but_first(REGISTERS))
def test_broken_registers_are_found(name: str) -> None:
    broken = changed(stimulation_registers, *REGISTERS[name])
    with mock.patch.object(stimulation, "StimulationRegisters", broken.StimulationRegisters):

        def core() -> Any:
            return stimulation.Stimulation(SMALL)

        configured = StimulationTiming(SMALL).settings
        assert (
            judged("small", core(), 12)
            or not all(changes_at(n, configured, core()) for n in OFFSETS)
            or not after_reset(7, core())
        )


def busy(core: Any, seed: int, look: Callable[[Any], None]) -> list[tuple[int, ...]]:
    """Outputs, answers and changes with accesses and triggers all the time."""
    rng = random.Random(seed)
    driven = Driven(SMALL, core)

    async def bench(driven: Driven) -> None:
        timing = driven.timing
        good = (s for s in around(timing, rng) if timing.refusal(s) is None)
        for _ in range(6):
            words = list(settings_words(next(good)).items())
            rng.shuffle(words)
            for register, word in words:
                trigger = int(rng.random() < 0.2)
                await driven.access(register, word if rng.random() < 0.8 else None, trigger=trigger)
                await driven.idle(rng.choice((0, 0, 1, 2, rng.randrange(60))))
            await driven.idle(rng.choice((0, driven.core.check_cycles)))
            await driven.cycle(trigger=1)
            await driven.idle(rng.randrange(200))
            await driven.cycle(arm=1)
        look(driven.ctx)

    driven.run(bench)
    return [*driven.rows, tuple(driven.answers), tuple(driven.changes)]


def collisions_matter(seed: int) -> bool:
    """Whether anything differs with a memory that gives anything for what is being written."""
    made: list[Colliding] = []
    counts: list[int] = []

    def make(**options: Any) -> Colliding:
        made.append(Colliding(**options))
        return made[-1]

    plain = busy(stimulation.Stimulation(SMALL), seed, lambda ctx: None)
    with mock.patch.object(stimulation_registers, "memory", SimpleNamespace(Memory=make)):
        core = stimulation.Stimulation(SMALL)
        garbled = busy(core, seed, lambda ctx: counts.append(ctx.get(made[-1].count)))
    assert counts[0] >= 5, f"{counts[0]} collisions"
    return garbled != plain


def test_what_is_read_while_it_is_written_is_not_used() -> None:
    assert not collisions_matter(1)


def test_a_program_that_reads_what_it_stores_is_found() -> None:
    number = next(n for n, step in enumerate(PROGRAM) if step.store is Row.BETWEEN)
    program = list(PROGRAM)
    program[number] = replace(program[number], store=program[number].row)
    with mock.patch.object(stimulation_program, "PROGRAM", tuple(program)):
        assert collisions_matter(1)
