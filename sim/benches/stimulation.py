"""The stimulation at its ports: every cycle of every output is that of ``Stimulator``.

Environment: ``MICROZONE_CONFIG`` (TOML) and what ``BenchBase`` takes; one set of random settings, with a few
trains, for each 50 steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from cocotb.triggers import FallingEdge, ReadOnly
from microzone.gateware.stimulation.interlock import InterlockFault
from microzone.gateware.stimulation.registers import (
    BLANK_MODES,
    SETTINGS,
    SHAPES,
    StimulationRegister,
    setting_widths,
    settings_words,
    stimulation_layout,
)
from microzone.gateware.stimulation.stimulation import Stimulation
from microzone.golden_model.config import ChipConfig, PulseShape
from microzone.golden_model.stimulation import LATENCY, Stimulator, TrainSettings
from microzone.sim.benches.drivers import BenchBase, bench_test
from microzone.sim.failure import BenchFailure, check

_INPUTS = ("trigger", "arm", "disarm", "heartbeat", "emergency_stop", "amplifier_fault", "tick")
_OUTPUTS = ("cathodic", "anodic", "enable", "train", "blank", "armed", "fault", "ignored", "rejected")
_REGISTER_BITS = int(Shape.cast(StimulationRegister).width)


# Durations of a few clock cycles: trains, rests and watchdogs by the hundred.
_CLOCK = {"clock_hz": 10_000.0}
_LIMITS = {"rate_hz": 500.0, "width_s": 6e-4, "duration_s": 0.02, "rest_s": 0.005}
_TRAIN = {"rate_hz": 400.0, "width_s": 4e-4, "interphase_s": 2e-4, "duration_s": 0.0125, "watchdog_s": 0.05}
_BLANKING = {"guard_before_s": 3e-4, "guard_after_s": 6e-4, "fixed_s": 0.03}
STIMULATION_CONFIGS = {
    "biphasic": ChipConfig.make(
        time=_CLOCK, stimulation={**_TRAIN, "limits": _LIMITS}, blanking={**_BLANKING, "mode": "pulse"}
    ),
    "monophasic": ChipConfig.make(
        time=_CLOCK,
        stimulation={**_TRAIN, "shape": "monophasic", "interphase_s": 0.0, "limits": _LIMITS},
        blanking={**_BLANKING, "mode": "fixed"},
    ),
}
"""What it is tried with, by name."""


class Bench(BenchBase):
    """The stimulation, clocked cycle by cycle, and the model beside it."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.config = ChipConfig.from_toml(self.config_text)
        self.sets = max(self.steps // 50, 1)
        self.model = Stimulator(self.config)
        self.timing = self.model.timing
        self.check_cycles = Stimulation(self.config).check_cycles
        self.word_bits = stimulation_layout(self.config)["word"].shape
        self.now = 0
        self.alive, self.stepping = True, True
        self.rows: list[dict[str, int]] = []
        self.answers: list[int] = []

    async def start(self) -> None:
        """Clock, reset, and a rest, since a reset makes up for none."""
        self.dut.readback__ready.value = 1
        await self.start_clock(*_INPUTS, "access__valid", "access__payload")
        self.model.armed = False
        await self.idle(self.timing.rest)

    async def cycle(self, **levels: int) -> dict[str, int]:
        """One clock cycle with these inputs, the others 0; the outputs in it, which are kept."""
        if self.alive:
            levels.setdefault("heartbeat", int(self.now % (self.timing.watchdog // 2) == 0))
        if self.stepping:
            levels.setdefault("tick", int(self.now % (self.timing.tick_timeout // 3) == 0))
        for name in _INPUTS:
            getattr(self.dut, name).value = levels.get(name, 0)
        await ReadOnly()
        row = {name: int(getattr(self.dut, name).value) for name in _OUTPUTS}
        self.rows.append(row)
        if int(self.dut.readback__valid.value):
            self.answers.append(int(self.dut.readback__payload.value))
        self.taken = int(self.dut.access__ready.value)
        await FallingEdge(self.dut.clk)
        self.now += 1
        return row

    async def idle(self, cycles: int) -> None:
        for _ in range(cycles):
            await self.cycle()

    async def trigger(self) -> bool:
        """A trigger, in the model too; whether it starts a train."""
        accepted = self.model.trigger(self.now)
        row = await self.cycle(trigger=1)
        check(
            row["ignored"] == (not accepted),
            f"cycle {self.now - 1}: ignored = {row['ignored']}, the model "
            f"{'accepts' if accepted else 'ignores'} the trigger; {self.model.settings}; {self.seed}",
        )
        return accepted

    async def arm(self) -> None:
        await self.cycle(arm=1)
        self.model.armed = True
        row = await self.cycle()
        check(row["armed"] and not row["fault"], f"not armed, fault {row['fault']}; {self.seed}")

    async def stop(self, **levels: int) -> None:
        """A cycle with what disarms, in the model too."""
        self.model.stop(self.now, at_once="emergency_stop" in levels)
        await self.cycle(**levels)

    async def reset(self) -> None:
        """A cycle of reset, in the model too."""
        self.model.reset(self.now)
        self.dut.rst.value = 1
        await self.cycle()
        self.dut.rst.value = 0

    async def access(self, register: int, word: int | None = None) -> int:
        """An access that is offered until it is taken; the cycle in which it was."""
        payload = register | int(word is not None) << _REGISTER_BITS | (word or 0) << _REGISTER_BITS + 1
        self.dut.access__valid.value = 1
        self.dut.access__payload.value = payload
        while True:
            await self.cycle()
            if self.taken:
                self.dut.access__valid.value = 0
                return self.now - 1

    async def read(self, register: StimulationRegister) -> int:
        return await self.answer(register.value)

    async def answer(self, register: int) -> int:
        """What a read of a register, which may not exist, answers."""
        before = len(self.answers)
        await self.access(register)
        while len(self.answers) == before:
            await self.cycle()
        return self.answers[-1]

    async def write(self, settings: TrainSettings) -> None:
        """Write every register, in any order."""
        words = list(settings_words(settings).items())
        self.rng.shuffle(words)
        for register, word in words:
            await self.access(register.value, word)

    async def configure(self, settings: TrainSettings) -> None:
        """Write every register, and wait until they are in effect."""
        await self.write(settings)
        # While a train is on the judgement may have to wait, and what it finds has to.
        while self.model.train_at(self.now):
            await self.cycle()
        await self.idle(self.check_cycles - 1)
        self.model.settings = settings

    def settings(self) -> TrainSettings:
        """Random ones within the limits."""
        rng, timing = self.rng, self.timing
        while True:
            width = rng.randint(1, timing.width_limit)
            settings = TrainSettings(
                period=rng.choice((timing.period_limit, rng.randint(1, timing.duration_limit))),
                width=width,
                width_anodic=width,
                gap=rng.choice((0, 1, rng.randint(0, timing.period_limit))),
                pulses=rng.choice((1, 2, rng.randint(1, timing.pulses_limit))),
                shape=rng.choice(SHAPES),
                blank_mode=rng.choice(BLANK_MODES),
                blank_fixed=rng.choice((0, 1, rng.randint(1, 3 * timing.duration_limit))),
                guard_before=rng.choice((0, 1, rng.randint(0, 2 * timing.period_limit))),
                guard_after=rng.choice((0, 1, rng.randint(0, 2 * timing.period_limit))),
            )
            if timing.refusal(settings) is None:
                return settings

    def beyond(self) -> TrainSettings:
        """Random ones that are not."""
        while True:
            timing, settings = self.timing, self.settings()
            changes = self.rng.choice(
                (
                    {"width": timing.width_limit + 1, "width_anodic": timing.width_limit + 1, "gap": 0},
                    {"width": 0, "width_anodic": 0},
                    {"width_anodic": settings.width + 1, "shape": PulseShape.BIPHASIC},
                    {"width_anodic": settings.width - 1, "shape": PulseShape.BIPHASIC},
                    {"gap": timing.period_limit - 2 * settings.width, "shape": PulseShape.BIPHASIC},
                    {"period": timing.period_limit - 1},
                    {"period": timing.duration_limit + 1, "pulses": 1},
                    {"pulses": 0},
                    {"pulses": timing.pulses_limit + 1},
                    {"period": timing.duration_limit // 2 + 1, "pulses": 3},
                    {"blank_fixed": timing.blank_limit + 1},
                    {"guard_before": timing.guard_limit + 1},
                    {"guard_after": timing.guard_limit + 1},
                )
            )
            wrong = replace(settings, **changes)
            if timing.refusal(wrong) is not None:
                return wrong

    def compare(self) -> None:
        """All cycles so far with the model."""
        expected = {
            name: np.zeros(self.now + self.timing.duration_limit, np.int64)
            for name in ("cathodic", "anodic", "enable")
        }
        for cycle, name, level in self.model.edges:
            expected[name][cycle:] = level
        expected = {name: levels[: self.now] for name, levels in expected.items()}
        expected["train"] = expected["enable"]
        expected["blank"] = self.model.blanked_at(np.arange(self.now)).astype(np.int64)
        for name, levels in expected.items():
            got = np.array([row[name] for row in self.rows])
            wrong = np.flatnonzero(got != levels)
            if wrong.size:
                cycle = wrong[0]
                raise BenchFailure(
                    f"cycle {cycle}: {name} is {got[cycle]}, expected {levels[cycle]}; "
                    f"{self.model.settings}; "
                    f"{self.seed}"
                )
        on = self.model.on_cycles(0, 1, self.now)[0]
        counted = [sum(row[name] for row in self.rows) for name in ("cathodic", "anodic")]
        check(on.tolist() == counted, f"on for {counted} cycles, the model says {on.tolist()}; {self.seed}")

    async def expect_fault(self, fault: InterlockFault) -> None:
        row = await self.cycle()
        check(
            not row["armed"] and row["fault"] == fault.value,
            f"cycle {self.now - 1}: armed {row['armed']}, fault {InterlockFault(row['fault']).name}, "
            f"expected {fault.name}; {self.seed}",
        )
        check(await self.read(StimulationRegister.FAULT) == fault.value, f"{fault.name} not read back")


@bench_test
async def trains_and_blanking(dut: Any) -> None:
    """Any settings, any triggers: every edge and every blanked cycle, the first cycle after a rest too."""
    bench = Bench(dut)
    await bench.start()
    check(not await bench.trigger(), "not armed")
    await bench.arm()
    exact = 0
    for number in range(bench.sets):
        if number:
            await bench.configure(bench.settings())
        settings, rest = bench.model.settings, bench.timing.rest
        while not await bench.trigger():
            pass  # in every cycle: the first one that the rest allows is the model's
        end = bench.now - 1 + LATENCY + settings.duration
        for _ in range(bench.rng.randrange(4)):
            await bench.idle(bench.rng.randrange(settings.duration))
            await bench.trigger()
        await bench.idle(max(end + rest - 2 - bench.now, 0))
        early, first = await bench.trigger(), await bench.trigger()
        exact += first and not early
        await bench.idle(bench.rng.randrange(2 * settings.period))
        if bench.rng.random() < 0.5:
            await bench.idle(settings.duration + bench.rng.randrange(settings.blank_fixed + 1))
    await bench.idle(bench.timing.duration_limit)
    bench.compare()
    check(not any(row["fault"] for row in bench.rows), f"a fault; {bench.seed}")
    check(exact, f"no trigger in the first cycle after a rest; {bench.seed}")
    dut._log.info(f"{bench.model.trains} trains")


@bench_test
async def refused_settings(dut: Any) -> None:
    """What is beyond a limit, or unbalanced, starts no train and disarms; good settings work again."""
    bench = Bench(dut)
    await bench.start()
    for _ in range(bench.sets):
        await bench.configure(bench.beyond())
        await bench.arm()
        check(not await bench.trigger(), f"a train beyond the limits begins; {bench.seed}")
        await bench.expect_fault(InterlockFault.REFUSED)
        check(not await bench.trigger(), "not armed")
        await bench.configure(bench.settings())
        await bench.arm()
        check(await bench.trigger(), f"{bench.model.settings}; {bench.seed}")
        await bench.idle(bench.model.settings.duration + bench.timing.rest + 3)
    bench.compare()


@bench_test
async def stops_in_mid_train(dut: Any) -> None:
    """Emergency stop at once, all else one cycle later; latched, read back, gone with the next arming."""
    bench = Bench(dut)
    await bench.start()
    await bench.arm()
    stops = {
        "emergency_stop": InterlockFault.EMERGENCY_STOP,
        "amplifier_fault": InterlockFault.AMPLIFIER,
        "disarm": InterlockFault.NONE,
    }
    for number in range(2 * bench.sets):
        if number % 3 == 2:
            await bench.configure(bench.settings())
        while not await bench.trigger():
            pass
        await bench.idle(bench.rng.randrange(bench.model.settings.duration + 4))
        name = bench.rng.choice(list(stops))
        await bench.stop(**{name: 1})
        if name != "disarm":
            # The cause goes on: arming is ignored, and the first fault stays.
            other = "amplifier_fault" if name == "emergency_stop" else "emergency_stop"
            row = await bench.cycle(arm=1, **{name: 1})
            check(not row["armed"], f"armed while {name} goes on; {bench.seed}")
            row = await bench.cycle(arm=1, **{other: 1})
            check(not row["armed"], f"armed while {name} and {other} go on; {bench.seed}")
            check(row["fault"] == stops[name].value, f"{other} takes the place of {name}; {bench.seed}")
        await bench.expect_fault(stops[name])
        await bench.cycle(arm=1, disarm=1)
        check(not (await bench.cycle())["armed"], "disarm goes before arm")
        await bench.idle(bench.rng.randrange(bench.timing.rest))
        await bench.arm()
    await bench.idle(bench.timing.duration_limit)
    bench.compare()


@bench_test
async def arming_with_a_cause(dut: Any) -> None:
    """It is ignored, and says why."""
    bench = Bench(dut)
    await bench.start()
    for name, fault in (
        ("emergency_stop", InterlockFault.EMERGENCY_STOP),
        ("amplifier_fault", InterlockFault.AMPLIFIER),
    ):
        await bench.cycle(**{name: 1})
        row = await bench.cycle()
        check(row["fault"] == 0, "nothing was armed that could be stopped")
        await bench.cycle(arm=1, **{name: 1})
        await bench.expect_fault(fault)
        await bench.arm()
        await bench.cycle(disarm=1)
        await bench.cycle()
    bench.model.armed = False
    bench.compare()


@bench_test
async def watchdogs(dut: Any) -> None:
    """Without heartbeat, and without step ticks, to the cycle; in mid-train and at rest."""
    bench = Bench(dut)
    await bench.start()
    for sign, limit, fault in (
        ("heartbeat", bench.timing.watchdog, InterlockFault.WATCHDOG),
        ("tick", bench.timing.tick_timeout, InterlockFault.CLOCK),
    ):
        for before in (0, 1, bench.model.settings.width + 1, bench.model.settings.duration + 5):
            await bench.arm()
            await bench.idle(bench.timing.rest)
            bench.alive, bench.stepping = sign != "heartbeat", sign != "tick"
            last = bench.now
            await bench.cycle(**{sign: 1})
            late = last + 1 + limit
            await bench.idle(late - before - bench.now)
            if before:
                check(await bench.trigger(), f"no train although armed; {bench.seed}")
                await bench.idle(late - bench.now)
            bench.model.stop(late)
            row = await bench.cycle()
            check(row["armed"], f"{fault.name} too early")
            await bench.expect_fault(fault)
            bench.alive = bench.stepping = True
            await bench.idle(bench.timing.duration_limit)
    # A sign in time keeps it armed.
    await bench.arm()
    bench.alive = False
    for _ in range(3):
        await bench.cycle(heartbeat=1)
        await bench.idle(bench.timing.watchdog - 1)
    check((await bench.cycle(heartbeat=1))["armed"], f"disarmed in spite of heartbeats; {bench.seed}")
    bench.alive = True
    bench.compare()


@bench_test
async def registers(dut: Any) -> None:
    """Written is read, no more than fits; what does not exist is rejected; a train keeps its settings."""
    bench = Bench(dut)
    await bench.start()
    for register, word in settings_words(bench.timing.settings).items():
        check(await bench.read(register) == word, f"{register.name} after reset")
    for register in SETTINGS:
        most = (1 << setting_widths(bench.timing)[register]) - 1
        if register in (StimulationRegister.SHAPE, StimulationRegister.BLANK_MODE):
            continue
        await bench.access(register.value, (1 << bench.word_bits) - 1)
        check(await bench.read(register) == most, f"{register.name} does not saturate")
    await bench.configure(bench.timing.settings)
    await bench.arm()
    status = await bench.read(StimulationRegister.STATUS)
    check(status == 0b0001, f"status {status:#b} instead of armed; {bench.seed}")
    check(await bench.trigger(), f"no train although armed; {bench.seed}")
    start = bench.now - 1 + LATENCY
    later = bench.settings()
    kept = bench.model.settings
    await bench.idle(LATENCY)
    check(await bench.read(StimulationRegister.STATUS) & 0b0111 == 0b0111, "armed, train, resting")
    await bench.write(later)
    await bench.idle(start + kept.duration + max(bench.timing.rest, bench.check_cycles) - bench.now)
    bench.model.settings = later
    check(await bench.trigger(), f"{later}; {bench.seed}")
    await bench.idle(later.duration + bench.timing.rest)
    refused = sum(row["rejected"] for row in bench.rows)
    check(not refused, f"{refused} accesses refused; {bench.seed}")
    wrong: tuple[tuple[int, int | None], ...] = (
        (StimulationRegister.STATUS.value, 0),
        (StimulationRegister.FAULT.value, 1),
        (StimulationRegister.SHAPE.value, len(SHAPES)),
        (StimulationRegister.BLANK_MODE.value, len(BLANK_MODES)),
        (len(StimulationRegister), 0),
        (len(StimulationRegister) + 1, None),
    )
    for number, content in wrong:
        await bench.reset()
        if content is None:
            check(await bench.answer(number) == 0, "a refused read answers 0")
        else:
            await bench.access(number, content)
        row = await bench.cycle()
        check(row["rejected"], f"access of {number}, word {content}, was not rejected")
        for known, value in settings_words(bench.timing.settings).items():
            check(await bench.read(known) == value, f"{known.name} changed")
    bench.compare()


@bench_test
async def reset_in_mid_train(dut: Any) -> None:
    """It stops the outputs in its own cycle, disarms, and does not shorten the rest."""
    bench = Bench(dut)
    await bench.start()
    for _ in range(10):
        await bench.arm()
        check(await bench.trigger(), f"the rest is over; {bench.seed}")
        await bench.idle(LATENCY + bench.rng.randrange(bench.model.settings.duration))
        await bench.reset()
        await bench.idle(1)  # arming counts by its rise
        await bench.arm()
        while not await bench.trigger():
            pass
        await bench.idle(bench.model.settings.duration + bench.timing.rest + LATENCY)
        await bench.cycle(disarm=1)
        bench.model.armed = False
        await bench.cycle()
    bench.compare()
