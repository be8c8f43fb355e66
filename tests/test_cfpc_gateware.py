"""The gateware of CFPC's adaptive filter: equal to the fixed-point model in every value, and unequal once broken."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import pytest
from amaranth.sim import Simulator as AmaranthSimulator
from cfpc_configs import configs
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from microzone.boards.cfpc_cost import cfpc_cost
from microzone.boards.cost import CLOCK_HZ
from microzone.gateware.cfpc import arithmetic as cfpc_arithmetic
from microzone.gateware.cfpc import filter as cfpc
from microzone.gateware.cfpc import forward as cfpc_forward
from microzone.gateware.cfpc import program as cfpc_program
from microzone.gateware.cfpc.program import CfpcTiming
from microzone.gateware.toolchain import ToolError, to_verilog
from microzone.golden_model.cfpc import AdaptiveFilterFixed, CfpcConfig, Course, Trial, run_trials
from microzone.golden_model.cfpc.fixed_filter import Steps
from microzone.golden_model.config import ConfigError
from microzone.sim.benches.cfpc import CFPC_CONFIGS
from microzone.sim.blocks import BENCHES
from microzone.sim.build.simulators import SIMULATORS, CocotbSimulator
from microzone.sim.failure import BenchFailure
from microzone.sim.loop.cfpc_loop import AdaptiveFilterRtl
from numpy.testing import assert_array_equal
from support import applying, changed, no_collisions

# --- Amaranth's own simulator --------------------------------------------------------------------

CFPC = {
    "a basis is a spacing further back": ("length - spacing, -spacing", "length - spacing + 1, 1 - spacing"),
    "the line moves on after the last synapse": ("(visit & ~step.last_synapse) if", "visit if"),
    "frozen weights learn": ("Mux(step.frozen, before,", "Mux(0, before,"),
    "a freeze of any sample counts": ("frozen.eq(self.freeze)", "frozen.eq(step.frozen | self.freeze)"),
    "the error of the first sample counts": (
        "error.eq(given.error)",
        "error.eq(Mux(self.busy, step.error, given.error))",
    ),
    "o drops a bit too few": (
        "weight.fraction_bits, words.signal)",
        "weight.fraction_bits - 1, words.signal)",
    ),
}
FORWARD = {
    "one bank of states": ("bank.eq(~bank)", "bank.eq(bank)"),
    "states go to the next input": ("Cat(state, *writing, ~bank)", "Cat(state, *reading, ~bank)"),
    "the delay is a step short": ("head == timing.operand_rows - 1", "head == timing.operand_rows - 2"),
    "the basis is not fed back": ("if words.feedback else", "if not words.feedback else"),
    "u wraps": ("narrowed(self.basis - self.trace, 0, words.signal)", "self.basis - self.trace"),
    "h is rounded otherwise": (
        "narrowed(self.total, drop, words.signal)",
        "narrowed(self.total - 1, drop, words.signal)",
    ),
    "a state is rounded otherwise": (
        "narrowed(self.total, drop, words.state)",
        "narrowed(self.total - 1, drop, words.state)",
    ),
}
ARITHMETIC = {
    "changes are always rounded half up": ("rounding=rounding", "rounding=Rounding.HALF_UP"),
    "changes are never rounded half up": ("rounding=rounding", "rounding=Rounding.FLOOR"),
    "w wraps": ("return narrowed(after, 0, words.weight)", "return after[: words.weight.width].as_signed()"),
    "the basis learns": ("multiplicand.eq(self.heard_trace)", "multiplicand.eq(self.heard_basis)"),
    "sums go on": ("Mux(first[1], 0, self.total)", "self.total"),
}
MUTATIONS = {
    name: (module, *change)
    for module, changes in ((cfpc, CFPC), (cfpc_forward, FORWARD), (cfpc_arithmetic, ARITHMETIC))
    for name, change in changes.items()
}
# Of the program's schedule: a constant, and what it is for a mutant.
SCHEDULE = {
    "u is multiplied before it is there": ("_FED", 5),
    "the next basis comes too early": ("_KEEP", 3),
    "a state and u are written at once": ("_NARROW", 100),
}


BENCH = BENCHES["cfpc"]

# What shows at the ports only, and in which test of the bench.
PORTS = {
    "an answer is overwritten": (
        ("(request.write | ~self.readback.valid)", "(request.write | True)"),
        "gaps_back_pressure_and_accesses",
    ),
    "an output does not wait": (
        ("finish.eq(self.outputs.valid & self.outputs.ready)", "finish.eq(self.outputs.valid)"),
        "gaps_back_pressure_and_accesses",
    ),
    "samples go before accesses": (
        ("wanted & ~(served & self.samples.valid)", "wanted & ~self.samples.valid"),
        "steps_and_accesses_take_turns: 0 accesses between two steps",
    ),
    "synapses that do not exist are read": (
        ("Mux(exists, factor, 0)", "factor"),
        r"unknown_synapses: answer to .*0xffffff \(-.*\), expected 0x000000 \(0\)",
    ),
    "the weights are not cleared": (
        ("learnt.en.eq(step.write | step.initialise |", "learnt.en.eq(step.write |"),
        r"answer to Access.*, expected 0x000000 \(0\)",
    ),
}
MUTATIONS = applying(MUTATIONS | {name: (cfpc, *change) for name, (change, _) in PORTS.items()})


@contextmanager
def mutant(name: str) -> Iterator[Any]:
    """The class of the filter with one piece of its source, or of one of its parts', replaced."""
    with ExitStack() as patches:
        if name in SCHEDULE:
            constant, value = SCHEDULE[name]
            patches.enter_context(mock.patch.object(cfpc_program, constant, value))
            yield cfpc.Cfpc
            return
        module, old, new = MUTATIONS[name]
        other = changed(module, old, new)
        if module is cfpc:
            yield other.Cfpc
            return
        for user, part in itertools.product((cfpc, cfpc_forward), other.__all__):
            if hasattr(user, part) and user is not module:
                patches.enter_context(mock.patch.object(user, part, getattr(other, part)))
        yield cfpc.Cfpc


def stimuli(config: CfpcConfig, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors, bases and freezes: words at the limits, of any size, or silence, in stretches."""
    rng, words = np.random.default_rng(seed), CfpcTiming(config).words
    low, high, width = words.signal.raw_min, words.signal.raw_max, words.signal.width

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        kind = np.repeat(rng.integers(4, size=(steps // 6 + 1, *shape[1:])), 6, axis=0)[:steps]
        anything = rng.integers(low, high, shape, endpoint=True)
        at_limits = np.where(rng.random(shape) < 0.8, high, low)
        return np.choose(
            kind, [anything, anything >> rng.integers(width, size=shape), at_limits, 0 * anything]
        )

    return draw((steps,)), draw((steps, words.inputs)), rng.random(steps) < 0.1


def difference(kind: Any, config: CfpcConfig, *, steps: int = 60, seed: int = 1) -> str | None:
    """What first differs from the model, the stated cycles included."""
    errors, inputs, frozen = stimuli(config, steps, seed)
    model, made = AdaptiveFilterFixed(config), []
    for n in range(steps):
        model.frozen = bool(frozen[n])
        made.append(model.process(errors[n : n + 1], inputs[n : n + 1]))
    core, rng, wrong = kind(config), np.random.default_rng(seed), []

    async def bench(ctx: Any) -> None:
        for cycle in range(core.initialise_cycles):
            if not ctx.get(core.busy):
                wrong.append(f"idle after {cycle} cycles")
            await ctx.tick()
        ctx.set(core.outputs.ready, 1)
        for n in range(steps):
            cycles = 0
            for k, basis in enumerate(inputs[n]):
                # Errors and freezes of all samples but the last do not count.
                last = k == len(inputs[n]) - 1
                error = errors[n] if last else rng.integers(model.words.signal.raw_min, 1)
                ctx.set(core.freeze, bool(frozen[n]) if last else int(rng.integers(2)))
                ctx.set(core.samples.payload, {"error": int(error), "basis": int(basis)})
                ctx.set(core.samples.valid, 1)
                while not ctx.get(core.samples.ready):
                    await ctx.tick()
                    cycles += 1
                accepted = cycles
                await ctx.tick()
                cycles += 1
            ctx.set(core.samples.valid, 0)
            ctx.set(core.freeze, int(rng.integers(2)))
            seen = []
            while not ctx.get(core.outputs.valid) and cycles < 10 * core.step_cycles:
                if ctx.get(core.commit.valid):
                    now = core.commit
                    seen.append([ctx.get(value) for value in (now.synapse, now.trace, now.weight)])
                await ctx.tick()
                cycles += 1
            want = [
                [j, *pair] for j, pair in enumerate(zip(made[n].traces[0], made[n].weights[0], strict=True))
            ]
            if seen != want:
                wrong.append(f"step {n}: {seen}, expected {want}")
            if ctx.get(core.outputs.payload) != made[n].o[0]:
                wrong.append(f"step {n}: output {ctx.get(core.outputs.payload)}, expected {made[n].o[0]}")
            if (cycles - accepted, cycles) != (core.cycles_per_step, core.step_cycles - 1):
                wrong.append(f"step {n}: {cycles - accepted} of {cycles} cycles")
            await ctx.tick()

    with no_collisions():
        simulator = AmaranthSimulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return f"{wrong[0]}; seed {seed}" if wrong else None


@pytest.mark.parametrize("name", CFPC_CONFIGS)
def test_every_value_of_every_step_is_equal(name: str) -> None:
    assert difference(cfpc.Cfpc, CFPC_CONFIGS[name]) is None


@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])  # to shrink takes minutes
@given(configs(), st.integers(0, 2**32 - 1))
def test_any_configuration_is_equal(config: CfpcConfig, seed: int) -> None:
    assert difference(cfpc.Cfpc, config, steps=25, seed=seed) is None


def test_a_state_is_written_to_the_input_that_it_is_of() -> None:
    """A row of one product is summed as early as can be."""
    config = CfpcConfig.make(
        plant={"leaks_s": None, "impulse_response": (0.0, 0.25)},
        controller={"proportional": 1.0, "integral": 0.0, "delay_s": 0.001},
        bases={"count": 2, "shifted": False},
    )
    program = CfpcTiming(config).program
    assert program[1].first and program[1].last and not program[1].trace
    assert difference(cfpc.Cfpc, config) is None


@pytest.mark.parametrize("name", CFPC_CONFIGS)
def test_no_sum_is_too_wide(name: str) -> None:
    words = CfpcTiming(CFPC_CONFIGS[name]).words
    limit = 1 << cfpc_arithmetic.total_shape(words).width - 1
    state = 1 << cfpc_arithmetic.operand_shape(words).width - 1
    row = (words.order + 1) * -words.coefficient.raw_min * state
    assert max(row, words.count * words.weight.raw_min * words.signal.raw_min) < limit


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in (*MUTATIONS, *SCHEDULE) if name not in PORTS])
def test_a_broken_filter_is_found(name: str) -> None:
    with mutant(name) as kind:
        for config in CFPC_CONFIGS.values():
            try:
                found = difference(kind, config, steps=120)
            except AssertionError as error:  # a memory's word is read as it is written
                found = str(error)
            if found:
                print(f"{name}: {found}")
                return
    pytest.fail("no configuration tells this mutant from the model")


# --- cycles ----------------------------------------------------------------------------------------


def test_a_step_takes_few_cycles() -> None:
    shifted, own = (CfpcTiming(CfpcConfig.make(bases={"shifted": shifted})) for shifted in (True, False))
    assert shifted.step_cycles < 100 and own.step_cycles < 400
    assert shifted.fits(CLOCK_HZ) and own.fits(CLOCK_HZ)


@pytest.mark.parametrize(("shifted", "clock_hz"), [(True, 1e6), (False, 12e6)])
def test_the_most_bases_are_those_that_fit(shifted: bool, clock_hz: float) -> None:
    def timing(count: int) -> CfpcTiming:
        return CfpcTiming(CfpcConfig.make(bases={"shifted": shifted, "count": count}))

    most = timing(20).most_bases(clock_hz)
    assert most > 100 and timing(most).most_bases(clock_hz) == most
    assert timing(most).fits(clock_hz) and not timing(most + 1).fits(clock_hz)
    assert timing(20).most_bases(1000.0) == 0


# --- cocotb ----------------------------------------------------------------------------------------


def usable(name: str) -> CocotbSimulator:
    """The simulator of that name; skips the test where it is not installed."""
    simulator = SIMULATORS[name]
    if simulator.version() is None:
        pytest.skip(f"{name} is not installed; get it with: {simulator.how_to_get}")
    assert isinstance(simulator, CocotbSimulator)
    return simulator


@pytest.mark.parametrize("name", ["default", "undelayed", "four-state"])  # Icarus takes them all
@pytest.mark.slow
def test_the_bench_passes(name: str) -> None:
    told: list[str] = []
    steps = 300 if name == "default" else 3000
    BENCH.run(usable("verilator"), config_name=name, seed=3, steps=steps, report=told.append)
    assert told


@pytest.mark.parametrize(
    "name",
    ["general", *(pytest.param(n, marks=pytest.mark.slow) for n in CFPC_CONFIGS if n != "general")],
)
def test_the_bench_passes_on_icarus(name: str) -> None:
    BENCH.run(usable("icarus"), config_name=name, seed=4, steps=60)


@pytest.mark.slow
@pytest.mark.parametrize("name", PORTS)
def test_the_bench_finds_a_broken_port(name: str) -> None:
    with mutant(name) as kind:
        verilog = to_verilog(kind(CFPC_CONFIGS["default"]), "cfpc")
    with pytest.raises(BenchFailure, match=PORTS[name][1]):
        replace(BENCH, emit=lambda *_: verilog).run(usable("icarus"), steps=150)


def test_the_bench_says_where_and_how_to_see_it_again() -> None:
    with mutant("the basis learns") as kind:
        verilog = to_verilog(kind(CFPC_CONFIGS["default"]), "cfpc")
    where = (
        r"\w+: step \d+, synapse \d: weight: 0x[0-9a-f]{6} \(\S+\), expected 0x[0-9a-f]{6} "
        r"\(\S+\); seed \d+; microzone sim cfpc --simulator icarus --config default --seed 7 --steps 40$"
    )
    with pytest.raises(BenchFailure, match=where):
        replace(BENCH, emit=lambda *_: verilog).run(usable("icarus"), seed=7, steps=40)


def test_what_the_bench_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="configuration 'none': choose from default, general"):
        BENCH.run(SIMULATORS["icarus"], config_name="none")
    with pytest.raises(ToolError, match="cxxrtl: does not run cocotb; take verilator or icarus"):
        BENCH.run(SIMULATORS["cxxrtl"])


# --- the loop in Verilator ---------------------------------------------------------------------------


def fixed_course(config: CfpcConfig, trials: int) -> tuple[Course, Steps]:
    """Trials of the fixed-point model, and every step of them."""
    errors: list[np.ndarray] = []

    def keep(trial: Trial) -> None:
        errors.append(np.rint(trial.error * 2**config.formats.signal.fraction_bits).astype(np.int64))

    course = run_trials(AdaptiveFilterFixed(config), config, trials, keep=keep)
    model = AdaptiveFilterFixed(config)
    inputs = np.tile(model.quantised(config.basis_inputs), (trials, 1))
    return course, model.process(np.concatenate(errors), inputs)


def assert_loop_is_equal(config: CfpcConfig, trials: int) -> Course:
    """Every o, trace and weight of every step, and so every y."""
    usable("verilator")
    course, steps = fixed_course(config, trials)
    with AdaptiveFilterRtl(config, record=True) as gateware:
        found = run_trials(gateware, config, trials)
        for name in ("o", "traces", "weights"):
            got, want = getattr(gateware.steps, name), getattr(steps, name)
            assert got.shape == want.shape
            wrong = np.argwhere(got != want)
            assert not wrong.size, f"{name}: first wrong in {wrong[0]}"
        assert_array_equal(gateware.raw_weights, steps.weights[-1])
    assert_array_equal(found.rmse, course.rmse)
    assert_array_equal(found.weights, course.weights)
    return found


def test_the_loop_is_equal_in_every_step() -> None:
    course = assert_loop_is_equal(CfpcConfig.make(), 3)
    assert course.relative[-1] < 0.3, "nothing was learnt: this shows nothing"


@pytest.mark.slow
def test_fifty_trials_are_equal_in_every_step() -> None:
    course = assert_loop_is_equal(CfpcConfig.make(), 50)
    assert course.relative[-1] < 0.067


@pytest.mark.parametrize(
    "config",
    [CfpcConfig.make(bases={"shifted": False}), CfpcConfig.blink()],
    ids=["own inputs", "blink"],
)
@pytest.mark.slow
def test_other_loops_are_equal_in_every_step(config: CfpcConfig) -> None:
    course = assert_loop_is_equal(config, 3)
    assert course.relative[-1] < 0.7


@cache
def one_trial() -> np.ndarray:
    """Weights of the model after a trial."""
    model = AdaptiveFilterFixed(CfpcConfig.make())
    run_trials(model, CfpcConfig.make(), 1)
    return model.weight


def test_weights_are_written_and_frozen() -> None:
    """The loop goes on from given weights, and with freezing stays there; as the model's."""
    usable("verilator")
    config = CfpcConfig.make()
    given = one_trial() // 2
    model = AdaptiveFilterFixed(config)
    model.weight[:], model.frozen = given, True
    with AdaptiveFilterRtl(config, record=True) as gateware:
        assert not gateware.steps.o.size and not gateware.raw_weights.any()
        gateware.raw_weights, gateware.frozen = given, True
        want, got = run_trials(model, config, 1), run_trials(gateware, config, 1)
        assert_array_equal(gateware.raw_weights, given)
        assert_array_equal(got.last.o, want.last.o)
        assert got.last.o.any()
        gateware.frozen = model.frozen = False
        want, got = run_trials(model, config, 1), run_trials(gateware, config, 1)
        assert_array_equal(gateware.raw_weights, model.weight)
        assert (gateware.raw_weights != given).any()
        with pytest.raises(ValueError, match=r"weights of shape \(2,\), needs \(20,\)"):
            gateware.raw_weights = given[:2]
        with pytest.raises(ValueError, match=r"weights: 0 to 8388608, outside SQ\(2,22\)"):
            gateware.raw_weights = np.where(np.arange(20) == 3, 1 << 23, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "why"),
    applying(
        [
            (("finish.eq(self.outputs.valid & self.outputs.ready)", "finish.eq(0)"), "the filter hangs"),
            (("visit.eq(odd)", "visit.eq(1)"), "a step took more or fewer cycles than the filter states"),
            (
                ("below(request.synapse, self.words.count)", "below(request.synapse, 3)"),
                "an access was rejected",
            ),
        ],
        cfpc,
    ),
)
def test_a_simulation_that_ends_says_why(change: tuple[str, str], why: str) -> None:
    usable("verilator")
    config = CFPC_CONFIGS["default"]
    kind = changed(cfpc, *change).Cfpc
    with mock.patch("microzone.sim.loop.cfpc_loop.Cfpc", kind), AdaptiveFilterRtl(config) as gateware:
        with pytest.raises(BenchFailure, match=f"the simulation ended by itself, {why}"):
            run_trials(gateware, config, 1)
        with pytest.raises(ValueError, match="record = False: no step is kept"):
            _ = gateware.steps


# --- cost --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_filter_fits_the_up5k() -> None:
    cost = cfpc_cost(CfpcConfig.make())
    print(f"\n{cost}")
    assert 0 < cost.logic_cells < 1200 and 0 < cost.dsps <= 4 and 0 < cost.rams <= 24
    assert cost.fmax_hz >= CLOCK_HZ
