"""The fixed-point filter of CFPC against Python integers, against itself, and against float."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from cfpc_configs import configs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from microzone.golden_model import SQ, QFormat, Rounding, quantize, resize
from microzone.golden_model.cfpc import (
    AdaptiveFilterFixed,
    AdaptiveFilterFloat,
    CfpcConfig,
    Course,
    FilterWords,
    LoopState,
    fixed_filter,
    rule,
    run_trials,
)
from microzone.golden_model.cfpc.fixed_filter import Steps
from microzone.golden_model.sections import ConfigError
from numpy.testing import assert_allclose, assert_array_equal
from support import applying, changed

seeds = st.integers(0, 2**32 - 1)
WIDEST = 62


def narrowed(total: int, drop: int, target: QFormat, rounding: Rounding = Rounding.HALF_UP) -> int:
    """Raw word of `target` from a sum with `drop` more fraction bits: rounded, then saturated."""
    whole = QFormat(True, target.width, 0)
    if drop >= 0:
        return resize(total, SQ(WIDEST - drop, drop), whole, rounding=rounding)
    return resize(total << -drop, SQ(WIDEST, 0), whole)


class Oracle:
    """The filter in Python integers, each synapse by itself, its past in lists and no ring buffer."""

    def __init__(self, config: CfpcConfig) -> None:
        words = FilterWords.of(config)
        self.config, self.words = config, words
        self.weights = [0] * config.bases.count
        self.states = [[0] * words.order for _ in self.weights]
        self.delay, self.feedback = config.eligibility_model.delay, config.eligibility_model.feedback
        self.driven: list[list[int]] = [[] for _ in self.weights]
        self.past: list[list[int]] = []

    def bases(self, inputs: list[int]) -> list[int]:
        """The basis of each synapse, in this step."""
        self.past.append(inputs)
        if not self.config.bases.shifted:
            return inputs
        at = [len(self.past) - 1 - j * self.config.spacing_steps for j in range(len(self.weights))]
        return [self.past[n][0] if n >= 0 else 0 for n in at]

    def step(self, error: int, inputs: list[int], frozen: bool) -> tuple[int, list[int]]:
        """o, and h of each synapse."""
        formats, words = self.config.formats, self.words
        fraction = formats.coefficient.fraction_bits
        bases, traces = self.bases(inputs), []
        for j, x in enumerate(bases):
            driven, states = self.driven[j], self.states[j]
            late = x if not self.delay else driven[-self.delay] if len(driven) >= self.delay else 0
            y = int(words.d) * late + sum(int(c) * s for c, s in zip(words.c, states, strict=True))
            h = narrowed(y, fraction, formats.signal)
            u = narrowed(x - h, 0, formats.signal) if self.feedback else x
            driven.append(u)
            late = late if self.delay else u
            rows = [sum(int(a) * s for a, s in zip(row, states, strict=True)) for row in words.a]
            sums = [row + int(b) * late for row, b in zip(rows, words.b, strict=True)]
            self.states[j] = [narrowed(total, fraction, formats.state) for total in sums]
            traces.append(h)
        o = sum(w * x for w, x in zip(self.weights, bases, strict=True))
        if not frozen:
            # η·h·e in units of w: e and h bring the fraction bits of a signal each.
            drop = 2 * formats.signal.fraction_bits - formats.weight.fraction_bits
            drop -= round(np.log2(self.config.learning.rate))
            wide = QFormat(True, WIDEST, 0)
            for j, h in enumerate(traces):
                change = narrowed(h * error, drop, wide, formats.weight_rounding)
                fmt = formats.weight
                self.weights[j] = min(max(self.weights[j] + change, fmt.raw_min), fmt.raw_max)
        return narrowed(o, formats.weight.fraction_bits, formats.signal), traces


def expected(config: CfpcConfig, error: Any, inputs: Any, frozen: Any) -> Steps:
    oracle, o, traces, weights = Oracle(config), [], [], []
    for e, x, still in zip(error.tolist(), inputs.tolist(), frozen.tolist(), strict=True):
        out, h = oracle.step(e, x, still)
        o.append(out)
        traces.append(h)
        weights.append(list(oracle.weights))
    return Steps(*(np.array(part, np.int64) for part in (o, traces, weights)))


def assert_same(got: Steps, wanted: Steps) -> None:
    for name in ("o", "traces", "weights"):
        assert_array_equal(getattr(got, name), getattr(wanted, name), name)


def stimulus(config: CfpcConfig, seed: int, steps: int = 40) -> tuple[Any, Any]:
    """Errors and bases: random over the whole range or small, with the two limits among them."""
    fmt, rng = config.formats.signal, np.random.default_rng(seed)
    count = 1 if config.bases.shifted else config.bases.count
    values = rng.integers(fmt.raw_min, fmt.raw_max, (steps, 1 + count), endpoint=True)
    values >>= rng.integers(0, fmt.width, (steps, 1))
    ends = rng.random(values.shape)
    values[ends < 0.05], values[ends > 0.95] = fmt.raw_min, fmt.raw_max
    return values[:, 0].copy(), values[:, 1:].copy()


PURSUIT, BLINK = CfpcConfig.make(), CfpcConfig.blink()
NARROW = CfpcConfig.make(
    plant={"leaks_s": (0.004, 0.002), "gain": 0.2},
    controller={"proportional": 5.0, "integral": 20.0, "delay_s": 0.003},
    bases={"count": 3, "spacing_s": 0.001, "amplitude": 0.05},
    learning={"rate": 512.0},
    formats={"signal": SQ(1, 9), "state": SQ(1, 8), "weight": SQ(1, 10), "coefficient": SQ(11, 12)},
)


@settings(max_examples=150)
@given(config=configs(), seed=seeds)
@example(PURSUIT, 1)
@example(PURSUIT.replace(formats={"weight_rounding": "floor"}, bases={"shifted": False}), 2)
@example(BLINK, 3)
@example(NARROW, 4)
@example(rule("WH", PURSUIT), 5)
@example(rule("WH+50 ms", PURSUIT), 6)
def test_it_is_the_integer_arithmetic_of_its_docstring(config: CfpcConfig, seed: int) -> None:
    error, inputs = stimulus(config, seed)
    running = np.zeros(error.size, bool)
    assert_same(AdaptiveFilterFixed(config).process(error, inputs), expected(config, error, inputs, running))


def test_every_kind_of_saturation_is_met() -> None:
    """Else the test above says nothing of it."""
    error, inputs = stimulus(NARROW, 4, 400)
    made, formats, oracle = AdaptiveFilterFixed(NARROW).process(error, inputs), NARROW.formats, Oracle(NARROW)
    assert {formats.weight.raw_min, formats.weight.raw_max} <= set(made.weights.ravel().tolist())
    assert {formats.signal.raw_min, formats.signal.raw_max} <= set(made.o.tolist())
    states, driven = set(), set()
    for e, x in zip(error.tolist(), inputs.tolist(), strict=True):
        oracle.step(e, x, False)
        states |= {word for states in oracle.states for word in states}
        driven |= {inputs[-1] for inputs in oracle.driven}
    assert {formats.state.raw_min, formats.state.raw_max} & states
    assert {formats.signal.raw_min, formats.signal.raw_max} <= driven


def in_steps(config: CfpcConfig, error: Any, inputs: Any, frozen: Any) -> Steps:
    """By ``step``, freezing where it is said; h by a second filter without error, which does not matter to it."""
    adaptive, o, weights = AdaptiveFilterFixed(config), [], []
    for e, x, still in zip(error, inputs, frozen, strict=True):
        adaptive.frozen = bool(still)
        o.append(adaptive.step(int(e), x))
        weights.append(adaptive.weight.copy())
    return Steps(
        np.array(o, np.int64),
        AdaptiveFilterFixed(config).process(np.zeros_like(error), inputs).traces,
        np.array(weights, np.int64),
    )


@settings(max_examples=60)
@given(config=configs(), seed=seeds)
def test_steps_with_w_frozen_at_times(config: CfpcConfig, seed: int) -> None:
    error, inputs = stimulus(config, seed)
    frozen = np.random.default_rng(seed).random(error.size) < 0.4
    assert_same(in_steps(config, error, inputs, frozen), expected(config, error, inputs, frozen))


@settings(max_examples=60)
@given(config=configs().filter(lambda config: config.bases.shifted), seed=seeds)
@example(PURSUIT, 1)
def test_shifted_bases_are_general_ones_bit_for_bit(config: CfpcConfig, seed: int) -> None:
    error, inputs = stimulus(config, seed, 60)
    general = config.replace(bases={"shifted": False})
    spread = config.spread(inputs.astype(np.float64)).astype(np.int64)
    assert_same(
        AdaptiveFilterFixed(config).process(error, inputs),
        AdaptiveFilterFixed(general).process(error, spread),
    )


@settings(max_examples=60)
@given(config=configs(), seed=seeds)
def test_a_closed_loop_is_its_steps(config: CfpcConfig, seed: int) -> None:
    """The float plant gives e, quantised; o goes back."""
    adaptive, rng = AdaptiveFilterFixed(config), np.random.default_rng(seed)
    scale = rng.choice([0.3, 30.0])  # the second saturates e
    reference = scale * rng.standard_normal(50)
    inputs = config.bases.amplitude * rng.uniform(-1, 1, (50, adaptive.words.inputs))
    trial = adaptive.close(LoopState(config.loop), reference, inputs)
    fmt = config.formats.signal
    error = quantize(reference - trial.y, fmt)
    assert_array_equal(trial.error, error * fmt.lsb)
    other = AdaptiveFilterFixed(config)
    steps = other.process(error, other.quantised(inputs))
    assert_array_equal(trial.o, steps.o * fmt.lsb)
    assert_array_equal(adaptive.weight, steps.weights[-1])
    assert_allclose(trial.y, config.loop.respond(reference + trial.o), rtol=1e-9, atol=1e-9)


def test_an_error_half_way_between_words_goes_up() -> None:
    """While y is 0, for the delay."""
    halves = (np.arange(-5, 5) + 0.5) * PURSUIT.formats.signal.lsb
    trial = AdaptiveFilterFixed(PURSUIT).close(LoopState(PURSUIT.loop), halves, np.zeros((10, 1)))
    assert not trial.y.any()
    assert_array_equal(trial.error / PURSUIT.formats.signal.lsb, np.arange(-4, 6))


def test_a_trial_goes_on_where_the_last_one_ended() -> None:
    error, inputs = stimulus(PURSUIT, 8, 700)
    whole, halves = AdaptiveFilterFixed(PURSUIT), AdaptiveFilterFixed(PURSUIT)
    together = whole.process(error, inputs)
    apart = [halves.process(error[part], inputs[part]) for part in (slice(0, 333), slice(333, None))]
    joined = (np.concatenate([getattr(half, name) for half in apart]) for name in ("o", "traces", "weights"))
    assert_same(Steps(*joined), together)


def test_weights_are_read_and_written_between_steps() -> None:
    adaptive = AdaptiveFilterFixed(PURSUIT)
    adaptive.weight[:] = np.arange(20) - 7
    assert_array_equal(adaptive.weights, (np.arange(20) - 7) * 2.0**-22)
    adaptive.weight[:], adaptive.frozen = 0, True
    adaptive.weight[0] = 3 << 20  # 0.75
    assert adaptive.step(5000, np.array([40000])) == 30000
    assert adaptive.weight[0] == 3 << 20


# --- the code broken on purpose ---------------------------------------------------------------

MUTANTS = applying({
    "no half before the shift": ("(word + (1 << (drop - 1)) if half_up else word) >> drop", "word >> drop"),
    "changes of w are always rounded": ("shifts.update, model.half_up, -_FAR", "shifts.update, True, -_FAR"),
    "o from the weights after learning": (
        "        total += weights[j] * basis_line[where]\n        if not frozen:",
        "        late = weights[j]\n        if not frozen:",
    ),
    "w wraps": (
        "weights[j] = min(max(weights[j] + change, weight_low), weight_high)",
        "weights[j] = (weights[j] + change - weight_low) % (weight_high - weight_low + 1) + weight_low",
    ),
    "x - h is not held": ("u = _narrow(x - h, 0, True, signal_low, signal_high) if", "u = x - h if"),
    "no feedback": ("if feedback else x", "if feedback and False else x"),
    "states in the format of signals": (
        "after[i] = _narrow(total, coefficient_shift, True, state_low, state_high)",
        "after[i] = _narrow(total, coefficient_shift, True, signal_low, signal_high)",
    ),
    "states are updated one after the other": (
        "            after[i] = _narrow(",
        "            states[k, i] = after[i] = _narrow(",
    ),
    "delay a step too long": ("heads[0] = (at + 1) % max(delay, 1)", "heads[0] = at"),
    "the line of the bases is one too short": (
        "heads[1] = (tap + 1) % length",
        "heads[1] = (tap + 1) % max(length - 1, 1)",
    ),
    "frozen traces": ("basis_line[where], trace_line[where] = x, h", "basis_line[where] = x\n        trace_line[where] = 0 if frozen else h"),
    "frozen is not heeded": ("if not frozen:", "if True:"),
    "D is left out": ("h = d * delayed", "h = 0 * delayed"),
    "no delay: states driven by x": ("            delayed = u\n", "            delayed = x\n"),
}, fixed_filter)  # fmt: skip


@cache
def judged() -> list[tuple[CfpcConfig, Any, Any, Any, Steps]]:
    """Cases that between them show each mutant, and what is right."""
    plain = {"controller": {"delay_s": 0.004}, "bases": {"count": 3, "spacing_s": 0.002}}
    with_d = {"plant": {"leaks_s": None, "impulse_response": (0.3, 0.2)}, "controller": {"proportional": 0.5}}
    cases = [
        CfpcConfig.make(**plain),
        NARROW,
        PURSUIT.replace(formats={"weight_rounding": "floor"}, **plain),
        PURSUIT.replace(controller={"delay_s": 0.0}),
        CfpcConfig.make(**with_d | {"controller": {"proportional": 0.5, "integral": 0.0, "delay_s": 0.003}}),
    ]
    found = []
    for seed, config in enumerate(cases):
        error, inputs = stimulus(config, seed, 150)
        frozen = np.random.default_rng(seed).random(error.size) < 0.3
        found.append((config, error, inputs, frozen, expected(config, error, inputs, frozen)))
    return found


def differs(module: Any) -> bool:
    for config, error, inputs, frozen, right in judged():
        adaptive = module.AdaptiveFilterFixed(config)
        for n, (e, x, still) in enumerate(zip(error, inputs, frozen, strict=True)):
            adaptive.frozen = bool(still)
            o = adaptive.step(int(e), x)
            if o != right.o[n] or (adaptive.weight != right.weights[n]).any():
                return True
    return False


def test_the_unbroken_code_passes_what_judges_the_mutants() -> None:
    assert not differs(fixed_filter)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(name: str) -> None:
    with np.errstate(over="ignore"):
        # Not compiled: numba would keep it under the name of the real one.
        assert differs(changed(fixed_filter, *MUTANTS[name], without="@compiled()\n"))


# --- words ------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(config=configs())
def test_the_words_are_the_forward_model_to_half_an_lsb(config: CfpcConfig) -> None:
    words, system = FilterWords.of(config), config.eligibility_model.system
    lsb, unit, signal_lsb = words.coefficient.lsb, words.state_units, words.signal.lsb
    assert (np.log2(unit) % 1 == 0).all()
    true = {
        "a": system.a * unit[None, :] / unit[:, None],
        "b": system.b * signal_lsb / unit,
        "c": system.c * unit / signal_lsb,
        "d": np.array(system.d),
    }
    for name, values in true.items():
        assert (np.abs(np.asarray(getattr(words, name)) * lsb - values) <= lsb / 2 * (1 + 1e-9)).all(), name
    assert words.inputs == (1 if config.bases.shifted else config.bases.count)


@settings(max_examples=50)
@given(config=configs(), seed=seeds)
def test_no_basis_takes_a_state_out_of_its_format(config: CfpcConfig, seed: int) -> None:
    """And the units are the finest such powers of two: a state comes to above a quarter of full scale."""
    words, loop = FilterWords.of(config), config.eligibility_model
    if not words.order:
        return
    pulse, steps = LoopState(loop), config.trial_steps
    course = []
    for n in range(steps):
        pulse.drive(float(n == 0), pulse.measure())
        course.append(pulse.state.copy())
    answer = np.array(course)
    # The input that a state answers most to: the signs of its answer to a pulse, backwards.
    for i in range(words.order):
        worst = config.bases.amplitude * np.sign(answer[::-1, i])
        reached = abs(answer[::-1, i] @ worst) / words.state_units[i]
        limit = words.state.raw_max
        assert reached <= limit * (1 + 1e-9)
        assert not reached or reached >= limit / 2 * (1 - 1e-9)


def test_a_state_that_nothing_drives_has_a_word() -> None:
    """Of a plant of gain 0."""
    words = FilterWords.of(
        CfpcConfig.make(plant={"leaks_s": (0.1,), "gain": 0.0}, controller={"integral": 0.0})
    )
    assert words.state_units == [words.state.lsb] and not words.b.any()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "states": (
        {"plant": {"leaks_s": None, "impulse_response": (0.05,) * 18}, "controller": {"proportional": 1.0, "integral": 0.0, "delay_s": 0.001}},
        "eligibility: a forward model of 17 states, at most 16: choose trace = 'low-order'",
    ),
    "coefficient": (
        {"formats": {"coefficient": SQ(1, 21)}},
        r"formats.coefficient = SQ\(1,21\): the forward model has 1, which needs 2 integer bits",
    ),
    "accumulator of o": (
        {"formats": {"weight": SQ(2, 30), "signal": SQ(2, 26)}, "bases": {"count": 20}},
        "formats.weight and signal: their products sum to 65 bits, at most 62",
    ),
    "accumulator of a state": (
        {"formats": {"state": SQ(1, 30), "coefficient": SQ(3, 29)}},
        "formats.coefficient and state: their products sum to 65 bits, at most 62",
    ),
    "accumulator of h": (
        {"formats": {"signal": SQ(2, 28), "weight": SQ(2, 10), "coefficient": SQ(3, 29)}},
        "formats.coefficient and signal: their products sum to 64 bits, at most 62",
    ),
    "a rate that shifts a change away": (
        {"formats": {"signal": SQ(1, 29), "weight": SQ(20, 1), "coefficient": SQ(18, 10)}, "learning": {"rate": 2.0**-32}},
        "learning.rate = 2.32831e-10: a change of w loses 89 bits, at most 61",
    ),
    "a rate that shifts a change out of its word": (
        {"formats": {"signal": SQ(20, 2), "weight": SQ(1, 24), "coefficient": SQ(8, 21)}, "learning": {"rate": 2.0**16}},
        "formats.signal and weight at this learning.rate: their products sum to 82 bits, at most 62",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_words_that_cannot_be_are_refused(name: str) -> None:
    sections, message = REFUSED[name]
    config = CfpcConfig.make(**sections)
    with pytest.raises(ConfigError, match=message) as caught:
        AdaptiveFilterFixed(config)
    assert "\n" not in str(caught.value)


# --- against float ----------------------------------------------------------------------------


@cache
def course(kind: type, task: str, trials: int = 50) -> Course:
    config = BLINK if task == "blink" else PURSUIT
    return run_trials(kind(config), config, trials)


@pytest.mark.parametrize("task", ["pursuit", "blink"])
def test_fixed_is_within_a_fifth_of_a_percent_of_float_in_every_trial(task: str) -> None:
    off = course(AdaptiveFilterFixed, task).rmse / course(AdaptiveFilterFloat, task).rmse - 1
    assert abs(off).max() < 0.002
    assert abs(off).max() < 0.0005  # measured: 0.03 % and 0.01 %
    weights = course(AdaptiveFilterFixed, task).weights - course(AdaptiveFilterFloat, task).weights
    assert 0 < abs(weights).max() < 2e-3


@pytest.mark.parametrize("shifted", [True, False])
def test_one_trial_is_close_to_float_sample_by_sample(shifted: bool) -> None:
    config = PURSUIT.replace(bases={"shifted": shifted})
    fixed, exact = (
        run_trials(kind(config), config, 1).last for kind in (AdaptiveFilterFixed, AdaptiveFilterFloat)
    )
    for name in ("y", "error", "o"):
        assert abs(getattr(fixed, name) - getattr(exact, name)).max() < 2e-3, name
    assert abs(exact.o).max() > 0.01


def test_weights_that_would_leave_their_format_are_held() -> None:
    config = PURSUIT.replace(
        formats={"weight": SQ(1, 22)}, task={"reference": ((0.5, 0.0), (1.0, 9.0), (2.0, 0.0))}
    )
    held = run_trials(AdaptiveFilterFixed(config), config, 10).weights
    free = run_trials(AdaptiveFilterFloat(config), config, 10).weights
    assert 0.999 < held.max() <= config.formats.weight.max and free.max() > 1
