"""The gateware in Amaranth's simulator: equal to the fixed-point model, and unequal once a process is broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Shape, Signal, signed, unsigned
from amaranth.lib import memory
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.gateware import Microcircuit, RationalEvaluator, StepTimer
from microzone.gateware.fixed import below
from microzone.gateware.microcircuit.delay_line import DelayLines
from microzone.gateware.microcircuit.ports import (
    Commit,
    Recalibrated,
    commit_signature,
    recalibrated_signature,
)
from microzone.golden_model import ChipConfig, ConfigError
from microzone.sim.replay.comparison import first_difference, first_recalibration
from microzone.sim.replay.replay import Scenario, expected_signals
from microzone.sim.replay.scenarios import CONFIGS, scenarios
from support import DETECTED, PROCESSES, RECALIBRATION_MUTATIONS, mutant, no_collisions, simulate


def difference(core: Any, scenario: Scenario) -> str | None:
    got = simulate(core, scenario)
    expected = expected_signals(scenario)
    detected = {"pn": scenario.pn, "io": scenario.io, "blanked": np.zeros_like(scenario.pn)}
    if scenario.blanked is not None:
        detected |= {"io": scenario.io & ~scenario.blanked, "blanked": scenario.blanked}
    for name in DETECTED:
        if not np.array_equal(got[name], detected[name]):
            return f"{name} of a step"
    if not np.array_equal(got["response"], expected["response"]):
        return "responses"
    if got["late"].size:
        return f"step {got['late'][0]} took other than the stated cycles"
    found = first_difference(expected, got, scenario.config)
    if found is None and scenario.config.recalibration.enabled:
        found = first_recalibration(expected["recalibrations"], got["recalibrations"])
    return found


@pytest.mark.parametrize(
    ("name", "channels"),
    [("default", 1), ("undelayed", 2), ("signed", 3), ("signed", 1), ("adaptive", 3), ("narrow", 2)],
)
def test_every_signal_of_every_step_is_equal(name: str, channels: int) -> None:
    for scenario in scenarios(CONFIGS[name], channels, seed=2, steps=350):
        with no_collisions():
            assert difference(Microcircuit(scenario.config, channels), scenario) is None, scenario.name


@st.composite
def small_scenarios(draw: st.DrawFn) -> Scenario:
    k, d, q = draw(st.integers(1, 6)), draw(st.integers(0, 6)), draw(st.integers(0, 6))
    config = ChipConfig.make(
        trace={"duration_s": k * 0.002},
        noi={"delay_s": q * 0.002},
        eligibility={"delay_s": d * 0.002},
        plasticity={
            "potentiation": draw(st.sampled_from([0.0, 0.01, 0.3])),
            "depression": draw(st.sampled_from([0.0, 0.2, 0.9])),
        },
        weight={"initial": draw(st.sampled_from([0.0, 0.19, 0.3, 0.5]))},
    )
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 3)))
    cells = shape[0] * shape[1]
    pn, io = (
        np.array(draw(st.lists(st.booleans(), min_size=cells, max_size=cells))).reshape(shape)
        for _ in range(2)
    )
    return Scenario("hypothesis", config, pn, io)


@settings(max_examples=25)
@given(small_scenarios())
def test_any_small_configuration_is_equal(scenario: Scenario) -> None:
    assert difference(Microcircuit(scenario.config, scenario.channels), scenario) is None


@pytest.mark.parametrize("name", PROCESSES)
def test_a_broken_process_is_found(name: str) -> None:
    with mutant(name) as core:
        found = [
            difference(core(scenario.config, 3), scenario)
            for scenario in scenarios(CONFIGS["signed"], 3, seed=2, steps=350)
        ]
    assert any(found), "no scenario tells this mutant from the model"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if i % 7 else [])
        for i, name in enumerate(RECALIBRATION_MUTATIONS)
    ],
)
def test_a_broken_recalibration_is_found(name: str) -> None:
    with mutant(name) as core:
        for config_name, channels in (("adaptive", 5), ("narrow", 1)):
            for seed in range(4):
                config = CONFIGS[config_name]
                scenario = scenarios(config, channels, seed, steps=1600)[3]
                found = difference(core(config, channels), scenario)
                if found:
                    print(f"{name}: {found}")
                    return
    pytest.fail("no scenario tells this mutant from the model")


def test_latency_and_cycles_are_small_enough() -> None:
    core = Microcircuit(ChipConfig.make())
    assert core.cycles_per_channel <= 8
    assert core.latency() <= 16


@pytest.mark.parametrize(
    ("delays", "channels"), [((1,), 1), ((1, 1), 3), ((5, 5), 1), ((4, 3), 3), ((1, 6), 2), ((2, 5, 2), 3)]
)
def test_each_line_delays_each_channel_by_its_own(delays: tuple[int, ...], channels: int) -> None:
    lines = DelayLines(delays, channels)
    rng = np.random.default_rng(sum(delays) + channels)
    bits = rng.integers(0, 2, (40, channels, len(delays)))

    async def walk(ctx: Any, expected: Any, stored: Any) -> None:
        for channel in range(channels):
            ctx.set(lines.fetch, 1)
            await ctx.tick()
            ctx.set(lines.fetch, 0)
            got = [ctx.get(lines.data_out) >> line & 1 for line in range(len(delays))]
            assert got == expected(channel), channel
            word = stored(channel)
            for line in range(len(delays)):  # in separate cycles, beside wrong bits of the others
                last = line == len(delays) - 1
                others = int(rng.integers(1 << len(delays))) & ~(1 << line)
                ctx.set(lines.data_in, int(word[line]) << line | others)
                ctx.set(lines.store, 1 << line)
                ctx.set(lines.advance, last)
                await ctx.tick()
            ctx.set(lines.store, 0)
            ctx.set(lines.advance, 0)

    async def bench(ctx: Any) -> None:
        for start in (0, 40):
            for step in range(40):
                await walk(
                    ctx,
                    lambda channel, step=step: [
                        bits[step - delay, channel, line] if step >= delay else 0
                        for line, delay in enumerate(delays)
                    ],
                    lambda channel, step=step: bits[step, channel],
                )
            ctx.set(lines.clear, 1)
            await ctx.tick().repeat(lines.rows + start)  # any number from `rows` on
            ctx.set(lines.clear, 0)
        for _ in range(2 * max(delays)):
            await walk(ctx, lambda channel: [0] * len(delays), lambda channel: [0] * len(delays))

    with no_collisions():
        simulator = Simulator(lines)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()


@pytest.mark.parametrize("shape", [unsigned(1), unsigned(4), signed(1), signed(4)])
def test_below_is_less_than_for_every_number(shape: Shape) -> None:
    """Beside the range of the word too, where it is always or never less."""
    word = Signal(shape)
    limits = range(-20, 21)
    numbers = range(-8, 16) if shape.signed else range(16)
    less = Signal(len(limits))
    m = Module()
    m.d.comb += less.eq(Cat(below(word, limit) for limit in limits))

    async def bench(ctx: Any) -> None:
        for number in numbers:
            ctx.set(word, number)
            inside = ctx.get(word)
            await ctx.delay(1e-9)
            assert ctx.get(less) == sum((inside < limit) << i for i, limit in enumerate(limits)), inside

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


def test_a_row_read_while_it_is_written_is_noticed() -> None:
    """The check that the core goes through in each kind of scenario."""
    m = Module()
    m.submodules.rows = rows = memory.Memory(shape=1, depth=2, init=[])
    read, write = rows.read_port(), rows.write_port()
    m.d.comb += [write.en.eq(1), write.addr.eq(1)]
    seen = []

    async def bench(ctx: Any) -> None:
        for enabled, row in ((1, 0), (0, 1)):
            ctx.set(read.en, enabled)
            ctx.set(read.addr, row)
            await ctx.tick()
        seen.append("no collision yet")
        ctx.set(read.en, 1)
        ctx.set(read.addr, 1)
        for _ in range(2):
            await ctx.tick()

    with no_collisions():
        simulator = Simulator(m)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        with pytest.raises(AssertionError, match="collision"):
            simulator.run()
    assert seen


def test_step_timer_ticks_each_period() -> None:
    timer = StepTimer(ChipConfig.make(), clock_hz=5000.0)
    ticks = []

    async def bench(ctx: Any) -> None:
        for cycle in range(45):
            ctx.set(timer.enable, cycle not in (12, 13))
            ticks.append(ctx.get(timer.tick))
            await ctx.tick()

    simulator = Simulator(timer)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert timer.period == 10
    assert np.flatnonzero(ticks).tolist() == [9, 23, 33, 43]


@pytest.mark.parametrize("clock_hz", [12_345_678.9, 100.0])
def test_a_step_that_is_no_whole_number_of_cycles_is_refused(clock_hz: float) -> None:
    with pytest.raises(ConfigError, match="must be a whole number"):
        StepTimer(ChipConfig.make(), clock_hz)


def test_impossible_sizes_are_refused() -> None:
    for make in (lambda: Microcircuit(ChipConfig.make(), 0), lambda: DelayLines([0], 1)):
        with pytest.raises(ValueError, match="at least 1"):
            make()


@pytest.mark.parametrize("signature", [commit_signature, recalibrated_signature])
def test_the_protocol_of_a_port_has_its_signals(signature: Any) -> None:
    protocol = {commit_signature: Commit, recalibrated_signature: Recalibrated}[signature]
    assert list(protocol.__annotations__) == list(signature(CONFIGS["default"], 2).members)


def test_an_evaluator_without_coefficients_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha, beta and gamma are not all given"):
        RationalEvaluator(CONFIGS["default"], 1)
