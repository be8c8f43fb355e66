"""Systems and loops of CFPC against scipy.signal, against the equations as they stand, and against roots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from microzone.golden_model.cfpc import (
    CfpcConfig,
    Loop,
    LoopState,
    StateSpace,
    discrete,
    leaks,
    measured_transfer_matrix,
    proportional_integral,
)
from numpy.testing import assert_allclose
from scipy import signal

STEP = 0.001
STEPS = 300
Reals = np.ndarray[Any, np.dtype[np.float64]]

seeds = st.integers(0, 2**32 - 1)


def noise(seed: int, steps: int = STEPS) -> Reals:
    return np.random.default_rng(seed).standard_normal(steps)


def simulated(system: StateSpace, u: Reals) -> Reals:
    """By scipy."""
    matrices = system.a, system.b[:, None], system.c[None, :], np.array([[system.d]])
    return np.asarray(signal.dlsim((*matrices, STEP), u)[1][:, 0])


def gain_of(d: float) -> StateSpace:
    return StateSpace(np.zeros((0, 0)), np.zeros(0), np.zeros(0), d)


@st.composite
def stable_poles(draw: st.DrawFn) -> Reals:
    """One to four poles in 1/s, apart from each other, a pair of them complex at times."""
    slow = draw(st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True))
    poles = [-5.0 * each + 0j for each in slow]
    if len(poles) >= 2 and draw(st.booleans()):
        turn = 1j * draw(st.integers(5, 300))
        poles[:2] = [poles[0] + turn, poles[0] - turn]
    return np.array(poles)


@st.composite
def discrete_systems(draw: st.DrawFn) -> StateSpace:
    """Random, of order 0 to 4, its spectral radius below 0.95; with and without D."""
    order = draw(st.integers(0, 4))
    rng = np.random.default_rng(draw(seeds))
    a = rng.standard_normal((order, order))
    if order:
        a *= draw(st.floats(0.1, 0.95)) / max(abs(np.linalg.eigvals(a)))
    d = float(rng.standard_normal()) if draw(st.booleans()) else 0.0
    return StateSpace(a, rng.standard_normal(order), rng.standard_normal(order), d)


# --- from scipy -------------------------------------------------------------------------------


@given(poles=stable_poles(), seed=seeds)
def test_zero_order_hold_is_the_continuous_system_held(poles: Reals, seed: int) -> None:
    numerator, denominator = [3.0, 2.0][: len(poles)], np.poly(poles).real
    made = discrete((numerator, denominator), STEP, "zoh")
    u = noise(seed, 100)
    fine = 5  # dlsim of the discrete system against lsim of the continuous one, its input held
    held = np.repeat(u, fine)
    _, y, _ = signal.lsim((numerator, denominator), held, np.arange(held.size) * STEP / fine, interp=False)
    assert_allclose(simulated(made, u), y[::fine], rtol=1e-6, atol=1e-9 * max(abs(y)))


@given(poles=stable_poles())
def test_bilinear_maps_the_frequency_response(poles: Reals) -> None:
    numerator, denominator = [3.0, 2.0][: len(poles)], np.poly(poles).real
    made = discrete((numerator, denominator), STEP, "bilinear")
    z = np.exp(1j * np.linspace(0.01, 3.0, 40))
    s = 2 / STEP * (z - 1) / (z + 1)
    response = [
        made.c @ np.linalg.solve(each * np.eye(made.order) - made.a, made.b.astype(complex)) + made.d
        for each in z
    ]
    assert_allclose(response, np.polyval(numerator, s) / np.polyval(denominator, s), rtol=1e-6)


def test_euler_is_the_literal_integration() -> None:
    a, b, c, d = (
        np.array([[-30.0, 20.0], [-50.0, -80.0]]),
        np.array([[1.0], [40.0]]),
        np.array([[2.0, 1.0]]),
        [[0.3]],
    )
    u, x, expected = noise(1), np.zeros(2), []
    for each in u:
        expected.append(float(c[0] @ x + 0.3 * each))
        x = x + STEP * (a @ x + b[:, 0] * each)
    for system in ((a, b, c, d), signal.StateSpace(a, b, c, d)):
        assert_allclose(simulated(discrete(system, STEP), u), expected, rtol=1e-10)


POLES, ZEROS, GAIN = [-20.0, -90.0], [-40.0], 7.0
SAME = {
    "numerator and denominator": (GAIN * np.poly(ZEROS), np.poly(POLES)),
    "zeros, poles, gain": (ZEROS, POLES, GAIN),
    "TransferFunction": signal.TransferFunction(GAIN * np.poly(ZEROS), np.poly(POLES)),
    "ZerosPolesGain": signal.ZerosPolesGain(ZEROS, POLES, GAIN),
    "A, B, C, D": signal.tf2ss(GAIN * np.poly(ZEROS), np.poly(POLES)),
    "StateSpace": signal.StateSpace(*signal.tf2ss(GAIN * np.poly(ZEROS), np.poly(POLES))),
}


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("method", ["euler", "zoh", "bilinear"])
def test_every_kind_of_continuous_system_is_the_same(kind: str, method: Any) -> None:
    system = SAME[kind]
    made = discrete(system, STEP, method)
    numerator, denominator, _ = signal.cont2discrete((GAIN * np.poly(ZEROS), np.poly(POLES)), STEP, method)
    u = noise(2)
    assert_allclose(
        simulated(made, u), signal.lfilter(numerator.ravel(), denominator, u), rtol=1e-8, atol=1e-12
    )


@pytest.mark.parametrize(
    ("system", "numerator", "denominator"),
    [
        (signal.dlti([0.5, 0.2], [1.0, -1.1, 0.3], dt=STEP), [0.0, 0.5, 0.2], [1.0, -1.1, 0.3]),
        (signal.dlti([-0.4], [0.6, 0.5], 0.5, dt=STEP), [0.0, 0.5, 0.2], [1.0, -1.1, 0.3]),
        (
            signal.dlti(*signal.tf2ss([0.5, 0.2], [1.0, -1.1, 0.3]), dt=STEP),
            [0.0, 0.5, 0.2],
            [1.0, -1.1, 0.3],
        ),
        (signal.dlti([2.0, 0.2], [1.0, -0.9], dt=STEP), [2.0, 0.2], [1.0, -0.9]),
    ],
    ids=["transfer function", "zeros", "state space", "with D"],
)
def test_a_discrete_system_stays_what_it_is(
    system: Any, numerator: list[float], denominator: list[float]
) -> None:
    u = noise(3)
    expected = signal.lfilter(numerator, denominator, u)
    assert_allclose(simulated(discrete(system, STEP), u), expected, rtol=1e-9, atol=1e-12)


@given(taps=st.lists(st.floats(-2, 2), min_size=1, max_size=8), seed=seeds)
def test_an_impulse_response_is_a_convolution(taps: list[float], seed: int) -> None:
    made, u = discrete(taps, STEP), noise(seed, 40)
    assert made.order == len(taps) - 1
    assert_allclose(Loop(made, 0, feedback=False).respond(u), np.convolve(u, taps)[:40], atol=1e-12)


@pytest.mark.parametrize("system", [([4.0], [2.0]), signal.dlti([2.0], [1.0], dt=STEP), [2.0]])
def test_a_gain_alone_has_no_state(system: Any) -> None:
    made = discrete(system, STEP)
    assert (made.order, made.d) == (0, 2.0)


def test_a_state_space_is_taken_as_it_is() -> None:
    system = leaks([0.1], 1.0, STEP)
    assert discrete(system, STEP) is system


TWO = np.eye(2)
REFUSED = {
    "two inputs": ((-TWO, TWO, TWO[:1], np.zeros((1, 2))), "2 inputs and 1 outputs"),
    "two outputs": ((-TWO, TWO[:, :1], TWO, np.zeros((2, 1))), "1 inputs and 2 outputs"),
    "improper": (([1.0, 0.0, 0.0], [1.0, 1.0]), "system: Improper transfer function"),
    "a tuple of one": (([1.0],), "system: 'system' must be a tuple or needs 2, 3, or 4|system: .*2, 3 or 4"),
    "another step": (signal.dlti([1.0], [1.0, -0.5], dt=0.002), "system: its step is 0.002, not 0.001 s"),
    "no step": (signal.dlti([1.0], [1.0, -0.5]), "system: its step is True, not 0.001 s"),
    "a name": ("leak", "system: str is none that is known"),
    "an object": (object(), "system: object is none that is known"),
    "no numbers": ([], r"impulse response: of shape \(0,\)"),
    "a matrix": (TWO, r"impulse response: of shape \(2, 2\)"),
    "not finite": ([1.0, np.nan], "not all numbers are finite"),
    "not finite, gain": ([np.inf], "not all numbers are finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_system_is_refused(name: str) -> None:
    system, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as caught:
        discrete(system, STEP)
    assert "\n" not in str(caught.value)


def test_another_method_is_refused() -> None:
    with pytest.raises(ValueError, match="method 'tustin': choose from euler, zoh, bilinear"):
        discrete(([1.0], [1.0, 1.0]), STEP, "tustin")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b", "c"), [((2, 1), 2, 2), ((2, 2), 1, 2), ((2, 2), 2, 3)], ids=["A", "B", "C"]
)
def test_shapes_that_do_not_belong_together_are_refused(a: tuple[int, int], b: int, c: int) -> None:
    with pytest.raises(ValueError, match="not those of one input and output"):
        StateSpace(np.zeros(a), np.zeros(b), np.zeros(c))


# --- in a row, in other units -----------------------------------------------------------------


@given(first=discrete_systems(), second=discrete_systems(), seed=seeds)
def test_two_in_a_row(first: StateSpace, second: StateSpace, seed: int) -> None:
    u = noise(seed, 100)
    expected = simulated(second, simulated(first, u))
    assert_allclose(
        simulated(second.after(first), u), expected, rtol=1e-7, atol=1e-9 * (1 + max(abs(expected)))
    )


@given(system=discrete_systems(), seed=seeds)
def test_other_units_of_the_states_change_nothing_outside(system: StateSpace, seed: int) -> None:
    factors = 2.0 ** np.random.default_rng(seed).integers(-12, 12, system.order)
    u, scaled = noise(seed, 100), system.scaled(factors)
    assert_allclose(simulated(scaled, u), simulated(system, u), rtol=1e-9, atol=1e-12)
    if system.order:  # and inside a state is so many times what it was
        pulse = scaled.b * u[0]
        assert_allclose(pulse, factors * system.b * u[0], rtol=1e-12)


def test_leaks_are_the_literal_equations() -> None:
    taus, gain, u = (0.1, 0.02, 0.003), 0.7, noise(5)
    x, expected = [0.0, 0.0, 0.0], []
    for each in u:
        expected.append(x[2])
        x = [
            x[0] + STEP / taus[0] * (gain * each - x[0]),
            x[1] + STEP / taus[1] * (x[0] - x[1]),
            x[2] + STEP / taus[2] * (x[1] - x[2]),
        ]
    assert_allclose(simulated(leaks(taus, gain, STEP), u), expected, atol=1e-12)


@pytest.mark.parametrize("integral", [0.0, 100.0])
def test_the_controller_is_the_literal_equation(integral: float) -> None:
    made, u = proportional_integral(20.0, integral, STEP), noise(6)
    assert made.order == (integral > 0)  # no state that nothing is made of
    total, expected = 0.0, []
    for each in u:
        total += integral * STEP * each
        expected.append(20.0 * each + total)
    assert_allclose(simulated(made, u), expected, atol=1e-10)


# --- the loop ---------------------------------------------------------------------------------


def test_the_pursuit_loop_is_the_literal_equations() -> None:
    """Plant gain folded into the controller, as the equations are usually written down."""
    config = CfpcConfig.make()
    drive = config.reference + noise(7, config.trial_steps)
    ring, xi, x1, x2, expected = [0.0] * 50, 0.0, 0.0, 0.0, []
    for n, r in enumerate(drive):
        y = x2
        expected.append(y)
        delayed, ring[n % 50] = ring[n % 50], r - y
        xi += 0.01 * delayed
        v = 2.0 * delayed + xi
        x1, x2 = x1 + 0.01 * (v - x1), x2 + (x1 - x2) / 3
    assert_allclose(config.loop.respond(drive), expected, atol=1e-11)


def with_delay_as_states(loop: Loop) -> tuple[Reals, Reals, Reals, Reals]:
    """The closed loop as one state space of scipy, its delay line a shift register of states."""
    s, delay = loop.system, loop.delay
    n = s.order + delay
    open_a, open_b = np.zeros((n, n)), np.zeros(n)
    open_a[: s.order, : s.order] = s.a
    c = np.concatenate([s.c, np.zeros(delay)])
    if delay:
        open_a[: s.order, -1], open_b[s.order] = s.b, 1.0
        open_a[s.order + 1 :, s.order : -1] = np.eye(delay - 1)
        c[-1] += s.d
        through = 0.0
    else:
        open_b[:], through = s.b, s.d
    if loop.feedback:  # u = x - y
        return open_a - np.outer(open_b, c), open_b[:, None], c[None, :], np.array([[0.0]])
    return open_a, open_b[:, None], c[None, :], np.array([[through]])


@st.composite
def loops(draw: st.DrawFn) -> Loop:
    system, delay = draw(discrete_systems()), draw(st.integers(0, 12))
    feedback = draw(st.booleans())
    if not delay and feedback:
        system = StateSpace(system.a, system.b, system.c)
    scale = draw(st.floats(0.05, 1.0))  # else most closed loops grow by orders a step
    return Loop(StateSpace(system.a, scale * system.b, system.c, scale * system.d), delay, feedback)


@given(loop=loops(), seed=seeds)
def test_any_loop_is_its_state_space_with_the_delay_as_states(loop: Loop, seed: int) -> None:
    u = noise(seed, 60)
    matrices = with_delay_as_states(loop)
    expected = signal.dlsim((*matrices, 1.0), u)[1][:, 0] if matrices[1].size else matrices[3][0, 0] * u
    assert_allclose(loop.respond(u), expected, rtol=1e-6, atol=1e-9 * (1 + max(abs(expected))))


@given(loop=loops())
def test_the_spectral_radius_is_the_largest_root(loop: Loop) -> None:
    """Of the characteristic polynomial: that of A, or with feedback z^D·den(z) + num(z)."""
    s = loop.system
    denominator = np.poly(s.a) if s.order else np.ones(1)
    polynomial = denominator
    if loop.feedback:
        numerator = (np.poly(s.a - np.outer(s.b, s.c)) if s.order else np.ones(1)) + (s.d - 1) * denominator
        polynomial = np.polyadd(np.concatenate([denominator, np.zeros(loop.delay)]), numerator)
    largest = max(abs(np.roots(polynomial)), default=0.0)
    # A root of multiplicity m moves by the m-th root of the rounding.
    assert_allclose(loop.spectral_radius(), largest, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("gain", "delay"), [(0.1, 50), (0.1, 96), (0.18, 50), (0.3, 50), (0.1, 0)])
def test_the_spectral_radius_is_how_the_loop_grows(gain: float, delay: int) -> None:
    loop = Loop(leaks((0.1, 0.003), gain, STEP).after(proportional_integral(20.0, 100.0, STEP)), delay)
    answer = abs(loop.impulse_response(12_000))
    early, late = answer[4000:6000].max(), answer[10_000:].max()
    assert_allclose((late / early) ** (1 / 6000), loop.spectral_radius(), atol=1e-4)
    assert (loop.spectral_radius() < 1) == (late < early)


def test_loops_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="delay = -1 steps: at least 0"):
        Loop(leaks([0.1], 1.0, STEP), -1)
    with pytest.raises(ValueError, match="its output depends on itself"):
        Loop(gain_of(0.5), 0)
    with pytest.raises(ValueError, match="its output is not known before it is driven"):
        LoopState(Loop(gain_of(0.5), 0, feedback=False))


@given(loop=loops(), seed=seeds)
@example(Loop(leaks([0.01], 1.0, STEP), 0), 0)
def test_a_step_at_a_time_is_the_same(loop: Loop, seed: int) -> None:
    assume(loop.delay or not loop.system.d)
    u, running, y = noise(seed, 30), LoopState(loop), np.empty(30)
    for n, each in enumerate(u):
        y[n] = running.measure()
        running.drive(each, y[n])
    assert_allclose(y, loop.respond(u), rtol=1e-12, atol=1e-12 * (1 + max(abs(y))))


def test_signals_in_columns() -> None:
    loop, u = CfpcConfig.make().loop, np.stack([noise(8), noise(9)], axis=1)
    assert_allclose(loop.respond(u), np.stack([loop.respond(u[:, 0]), loop.respond(u[:, 1])], axis=1))
    assert loop.respond(np.zeros((STEPS, 0))).shape == (STEPS, 0)


# --- the transfer matrix ----------------------------------------------------------------------


def test_the_transfer_matrix_answers_any_input() -> None:
    loop = CfpcConfig.make().loop
    matrix, u = loop.transfer_matrix(STEPS), noise(10)
    assert_allclose(matrix @ u, loop.respond(u), atol=1e-12)
    assert not np.triu(matrix, 1).any()


@pytest.mark.parametrize("amplitude", [1.0, -0.25, 40.0])
def test_the_matrix_by_measurement_is_that_by_model(amplitude: float) -> None:
    loop = CfpcConfig.make().loop
    measured = measured_transfer_matrix(loop.respond, STEPS, amplitude=amplitude)
    assert_allclose(measured, loop.transfer_matrix(STEPS), atol=1e-14)


def test_noise_averages_out_of_a_measured_matrix() -> None:
    loop, rng, sigma = CfpcConfig.make().loop, np.random.default_rng(11), 0.02

    def respond(u: Reals) -> Reals:
        return loop.respond(u) + sigma * rng.standard_normal(u.size)

    true = loop.impulse_response(STEPS)
    for repeats in (1, 100):
        measured = measured_transfer_matrix(respond, STEPS, amplitude=2.0, repeats=repeats)
        off = np.sqrt(np.mean((measured[:, 0] - true) ** 2))
        assert_allclose(off, sigma / 2 / np.sqrt(repeats), rtol=0.15)  # 300 samples: 4 % each, seed 11


@pytest.mark.parametrize(
    ("changes", "respond", "message"),
    [
        ({"amplitude": 0.0}, lambda u: u, "amplitude = 0"),
        ({"repeats": 0}, lambda u: u, "repeats = 0"),
        ({}, lambda u: u[:-1], rf"answer of shape \({STEPS - 1},\), needs \({STEPS},\)"),
    ],
)
def test_measurements_that_are_none_are_refused(changes: dict[str, Any], respond: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured_transfer_matrix(respond, STEPS, **changes)
