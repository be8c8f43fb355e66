"""Learning in CFPC: the paper's numbers, the optimum, the gradient, stability; batch and on-line in float."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from cfpc_configs import configs
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.golden_model.cfpc import (
    RULES,
    AdaptiveFilterFloat,
    CfpcConfig,
    Course,
    Loop,
    LoopState,
    Problem,
    Trial,
    leaks,
    low_order,
    measured_transfer_matrix,
    rule,
    run_trials,
)
from microzone.golden_model.cfpc.filter import rms
from numpy.testing import assert_allclose, assert_array_equal

PURSUIT = CfpcConfig.make()
RATE = PURSUIT.learning.batch_rate
TRIALS = (1, 7, 20, 50)
Reals = np.ndarray[Any, np.dtype[np.float64]]

PAPER = {
    "FM-ET": (1.0, 0.0606, 0.0602, 0.0602),
    "WH+70 ms": (1.0, 0.0746, 0.0619, 0.0620),
    "WH+50 ms": (1.0, 0.110, 0.0691, 0.0644),
}
"""Batch, η = 0.005, relative RMSE at trials 1, 7, 20, 50."""


@cache
def problem() -> Problem:
    return Problem.of(PURSUIT)


def at_trials(relative: Reals) -> Reals:
    return relative[np.array(TRIALS) - 1]


# --- batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAPER)
def test_batch_learning_curves(name: str) -> None:
    batch = problem().learn(rule(name, PURSUIT).traces, RATE, 50)
    assert_allclose(at_trials(batch.relative), PAPER[name], rtol=0.02)


def test_the_optimum() -> None:
    assert_allclose(problem().relative_error(problem().optimum), 0.0602, rtol=0.005)
    expected = np.linalg.pinv(problem().responses) @ problem().initial_error
    assert_allclose(problem().optimum, expected, rtol=1e-6, atol=1e-9)
    rng = np.random.default_rng(1)
    for away in 1e-3 * rng.standard_normal((20, 20)):
        assert rms(problem().error(problem().optimum + away)) > rms(problem().error(problem().optimum))


def test_fm_et_goes_to_the_optimum_and_no_other_rule_does() -> None:
    for name in RULES:
        batch = problem().learn(rule(name, PURSUIT).traces, RATE, 400)
        near = abs(batch.weights[-1] - problem().optimum).max() < 1e-9
        assert near == (name == "FM-ET"), name


def test_a_change_of_w_is_the_gradient_of_the_squared_error() -> None:
    """Equation 5: η·Hᵀe is -η times the gradient of eᵀe/2, here by finite differences of whole trials."""
    weights, step = np.random.default_rng(2).standard_normal(20), 1e-4

    def cost(w: Reals) -> float:
        y = PURSUIT.loop.respond(PURSUIT.reference + PURSUIT.basis_matrix @ w)
        return float(np.sum((PURSUIT.reference - y) ** 2) / 2)

    gradient = np.array([(cost(weights + d) - cost(weights - d)) / (2 * step) for d in step * np.eye(20)])
    learnt = problem().learn(PURSUIT.traces, RATE, 2, initial=weights.tolist()).weights
    assert_array_equal(learnt[0], weights)
    assert_allclose(learnt[1] - learnt[0], -RATE * gradient, rtol=1e-6)


def test_the_error_is_that_of_a_simulated_trial() -> None:
    weights = np.random.default_rng(3).standard_normal(20)
    y = PURSUIT.loop.respond(PURSUIT.reference + PURSUIT.basis_matrix @ weights)
    assert_allclose(problem().error(weights), PURSUIT.reference - y, atol=1e-11)
    assert_allclose(
        problem().learn(PURSUIT.traces, RATE, 1, weights.tolist()).rmse, rms(PURSUIT.reference - y)
    )


def test_a_measured_problem_is_that_of_the_model() -> None:
    config = PURSUIT.replace(task={"trial_s": 1.2})
    transfer = measured_transfer_matrix(config.loop.respond, config.trial_steps, amplitude=3.0)
    by_model, measured = Problem.of(config), Problem.measured(transfer, config.reference, config.basis_matrix)
    assert_allclose(measured.initial_error, by_model.initial_error, atol=1e-12)
    assert_allclose(measured.responses, by_model.responses, atol=1e-12)


def test_another_loop_reference_and_bases() -> None:
    loop, reference = Loop(leaks((0.05,), 1.0, 0.001), 3), np.ones(100)
    bases = np.random.default_rng(4).standard_normal((100, 3))
    other = Problem.of(PURSUIT, loop=loop, reference=reference, bases=bases)
    assert_allclose(other.initial_error, reference - loop.respond(reference))
    assert_allclose(other.responses, loop.transfer_matrix(100) @ bases, atol=1e-12)


# --- rules ------------------------------------------------------------------------------------


def test_traces_of_the_rules() -> None:
    bases, steps = PURSUIT.basis_matrix, PURSUIT.trial_steps
    assert_allclose(PURSUIT.traces, PURSUIT.loop.transfer_matrix(steps) @ bases, atol=1e-10)
    for name, late in (("WH", 0), ("WH+50 ms", 50), ("WH+70 ms", 70), ("WH+7 ms", 7)):
        expected = np.vstack([np.zeros((late, 20)), bases[: steps - late]])
        assert_array_equal(rule(name, PURSUIT).traces, expected)
        assert rule(name, PURSUIT).eligibility.delay_s == late / 1000


def test_rules_change_nothing_but_the_trace() -> None:
    start = PURSUIT.replace(eligibility={"trace": "low-order", "delay_s": 0.05, "leaks_s": [0.02]})
    for name in (*RULES, "low-order"):
        made = rule(name, start)
        assert made.replace(eligibility=PURSUIT.eligibility.model_dump()) == PURSUIT
    assert rule("FM-ET", start) == PURSUIT
    assert rule("low-order", start).eligibility.leaks_s is None


@pytest.mark.parametrize("name", ["LMS", "WH+", "WH+5.5 ms", "WH-50 ms", "WH50", "fm-et", "XWH+50 ms", ""])
def test_no_other_rules(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"rule '{name}': choose from FM-ET, low-order, WH, ".replace("+", r"\+")
    ):
        rule(name, PURSUIT)


@pytest.mark.parametrize(("order", "taus"), [(1, (0.02,)), (2, (0.03, 0.008))])
def test_a_low_order_model_finds_delay_and_leaks(order: int, taus: tuple[float, ...]) -> None:
    true = Loop(leaks(taus, 0.8, 0.001), 17, feedback=False)
    found = low_order(true, 400, order)
    assert not found.feedback and found.system.order == order
    assert_allclose(found.impulse_response(400), true.impulse_response(400), atol=1e-7)


def test_the_low_order_model_of_the_pursuit_loop() -> None:
    fitted, wanted = (loop.impulse_response(2500) for loop in (low_order(PURSUIT.loop, 2500), PURSUIT.loop))
    assert_allclose(fitted.sum(), wanted.sum(), rtol=1e-3)
    assert np.corrcoef(fitted, wanted)[0, 1] > 0.8
    single = low_order(PURSUIT.loop, 2500, 1).impulse_response(2500)
    assert np.sum((fitted - wanted) ** 2) < np.sum((single - wanted) ** 2) < np.sum(wanted**2)
    relative = problem().learn(rule("low-order", PURSUIT).traces, RATE, 50).relative
    assert_allclose(at_trials(relative), (1, 0.0788, 0.0632, 0.0632), rtol=0.01)


def test_low_order_models_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="order = 3: 1 or 2"):
        low_order(PURSUIT.loop, 2500, 3)
    with pytest.raises(ValueError, match="loop: no answer to a pulse within 40 steps"):
        low_order(PURSUIT.loop, 40)


# --- stability --------------------------------------------------------------------------------


def test_stability_is_that_of_the_matrices() -> None:
    traces = rule("WH+70 ms", PURSUIT).traces
    matrix = traces.T @ PURSUIT.loop.transfer_matrix(2500) @ PURSUIT.basis_matrix
    found = problem().stability(traces, RATE)
    assert_allclose(found.smallest_eigenvalue, np.linalg.eigvalsh((matrix + matrix.T) / 2).min(), rtol=1e-8)
    assert_allclose(
        found.spectral_radius, abs(np.linalg.eigvals(np.eye(20) - RATE * matrix)).max(), rtol=1e-8
    )
    assert found.stable


@pytest.mark.parametrize("name", ["FM-ET", "low-order", "WH+50 ms", "WH+70 ms"])
def test_the_highest_rate_is_where_the_distance_first_grows(name: str) -> None:
    traces = rule(name, PURSUIT).traces
    highest = problem().stability(traces, RATE).highest_rate
    matrix = traces.T @ problem().responses
    norms = [np.linalg.norm(np.eye(20) - rate * matrix, 2) for rate in (0.999 * highest, 1.001 * highest)]
    assert norms[0] < 1 < norms[1]
    # And so it is in trials: of the weights that grow most, above, and of any, below.
    goal = np.linalg.solve(matrix, traces.T @ problem().initial_error)
    worst = np.linalg.svd(np.eye(20) - 1.001 * highest * matrix)[2][0]
    random = np.random.default_rng(5).standard_normal((10, 20))
    for rate, starts, falls in ((0.999, np.vstack([worst, random]), True), (1.001, worst[None], False)):
        for start in starts:
            course = problem().learn(traces, rate * highest, 2, (goal + start).tolist()).weights - goal
            assert (np.linalg.norm(course[1]) < np.linalg.norm(course[0])) is np.bool_(falls)


def test_widrow_hoff_is_unstable_at_any_rate_though_its_spectral_radius_is_below_1() -> None:
    traces = rule("WH", PURSUIT).traces
    found = problem().stability(traces, RATE)
    assert found.smallest_eigenvalue < -40 and not found.stable
    assert found.highest_rate == 0.0
    assert_allclose(found.spectral_radius, 0.928, atol=5e-4)
    matrix = traces.T @ problem().responses
    worst = np.linalg.eigh(matrix + matrix.T)[1][:, 0]
    for rate in (1e-6, 1e-4, 1e-2):
        assert np.linalg.norm(worst - rate * matrix @ worst) > 1


def test_batch_widrow_hoff_dips_then_grows_6251_times_and_stays_there() -> None:
    """Not without bound: M is far from normal, but it is stable in the end."""
    traces = rule("WH", PURSUIT).traces
    batch = problem().learn(traces, RATE, 1500)
    relative = batch.relative
    assert relative[:10].min() < 0.5 and relative[:10].argmin() < 9
    assert relative[19] > 3 and relative[49] > 500
    peak = int(relative.argmax())
    assert 100 < peak < 200
    assert_allclose([relative[peak], relative[199], relative[-1]], [6376, 6251, 6247], rtol=0.005)
    # Where Xᵀe is 0: the fixed point of the rule, far from the optimum.
    end = np.linalg.solve(traces.T @ problem().responses, traces.T @ problem().initial_error)
    assert_allclose(problem().relative_error(end), relative[-1], rtol=1e-3)


# --- on-line ----------------------------------------------------------------------------------


@cache
def online(name: str, trials: int = 50) -> Course:
    config = rule(name, PURSUIT)
    return run_trials(AdaptiveFilterFloat(config), config, trials)


def test_online_learning_curve() -> None:
    assert_allclose(at_trials(online("FM-ET").relative), (1.0, 0.0706, 0.0664, 0.0664), rtol=0.02)


def test_online_widrow_hoff_grows_without_bound() -> None:
    relative = online("WH", 400).relative
    assert relative[:10].min() < 0.5
    growth = (relative[[199, 299, 399]] / relative[[99, 199, 299]]) ** 0.01
    assert (growth > 1.1).all()  # each trial
    assert relative[-1] > 1e20


def literal(config: CfpcConfig, trials: int) -> tuple[Reals, Reals]:
    """y and w of equations 1 and 9, each synapse with a loop of its own; by the state space with the delay as states."""
    loop, bases, rate = config.loop, config.basis_matrix, config.learning.rate
    traces = config.eligibility_model.respond(np.tile(bases, (trials, 1)))
    running, w, course = LoopState(loop), np.zeros(bases.shape[1]), []
    for n, r in enumerate(np.tile(config.reference, trials)):
        y = running.measure()
        x = bases[n % len(bases)]
        running.drive(r + float(x @ w), y)
        w = w + rate * traces[n] * (r - y)
        course.append(y)
    return np.array(course), w


@settings(max_examples=40)
@given(config=configs(), trials=st.integers(1, 2))
def test_trials_are_the_literal_equations(config: CfpcConfig, trials: int) -> None:
    """General bases, and shifted ones where the first trial's have ended before the second."""
    ends = (config.bases.count - 1) * config.spacing_steps
    if config.bases.shifted and trials > 1:
        config = config.replace(task={"trial_s": 0.2})
        assert ends < 20 and abs(config.basis_inputs[-20:]).max() < 1e-9
    kept: list[Trial] = []
    course = run_trials(AdaptiveFilterFloat(config), config, trials, keep=kept.append)
    y, weights = literal(config, trials)
    scale = 1 + abs(y).max()
    assert_allclose(np.concatenate([trial.y for trial in kept]), y, rtol=1e-6, atol=1e-9 * scale)
    assert_allclose(course.weights[-1], weights, rtol=1e-6, atol=1e-9 * scale)
    reference = np.tile(config.reference, trials)
    assert_array_equal(
        np.concatenate([trial.error for trial in kept]), reference - np.concatenate([t.y for t in kept])
    )
    assert_allclose(course.rmse, [rms(config.reference - trial.y) for trial in kept])


def test_shifted_bases_and_general_ones() -> None:
    general = PURSUIT.replace(bases={"shifted": False})
    weights = run_trials(AdaptiveFilterFloat(general), general, 10, inputs=PURSUIT.basis_matrix).weights
    assert_allclose(weights, online("FM-ET").weights[:11], atol=1e-12)
    # Gaussians that do not begin with the trial: up to 4e-4 earlier on.
    weights = run_trials(AdaptiveFilterFloat(general), general, 10).weights
    assert_allclose(weights, online("FM-ET").weights[:11], atol=1e-5)


def test_frozen_weights_stay_and_traces_go_on() -> None:
    adaptive, loop = AdaptiveFilterFloat(PURSUIT), LoopState(PURSUIT.loop)
    adaptive.close(loop, PURSUIT.reference, PURSUIT.basis_inputs)
    learnt, adaptive.frozen = adaptive.weights.copy(), True
    half = PURSUIT.trial_steps // 2
    for part in (slice(0, half), slice(half, None)):
        trial = adaptive.close(loop, PURSUIT.reference[part], PURSUIT.basis_inputs[part])
        assert_array_equal(adaptive.weights, learnt)
        assert_allclose(trial.o, (PURSUIT.basis_matrix @ learnt)[part], atol=1e-12)
    adaptive.frozen = False
    adaptive.close(loop, PURSUIT.reference, PURSUIT.basis_inputs)
    assert (adaptive.weights != learnt).any()


def test_trials_with_what_the_user_gives() -> None:
    rng = np.random.default_rng(6)
    config = PURSUIT.replace(bases={"shifted": False, "count": 3})
    reference, inputs = np.sin(np.arange(700) / 40), rng.uniform(-1, 1, (700, 3))
    loop, done = Loop(config.loop.system, 20), []
    course = run_trials(
        AdaptiveFilterFloat(config),
        config,
        3,
        loop=loop,
        reference=reference,
        inputs=inputs,
        progress=done.append,
    )
    assert done == [1, 2, 3] and course.rmse.shape == (3,) and course.weights.shape == (4, 3)
    assert not course.weights[0].any()
    assert_allclose(course.first.y, loop.respond(reference + course.first.o), atol=1e-12)
    assert_allclose(course.rmse[-1], rms(reference - course.last.y))
    assert_array_equal(course.relative, course.rmse / course.rmse[0])


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no trials": ({"trials": 0}, "trials = 0: at least 1"),
    "bases of another shape": (
        {"inputs": np.zeros((2500, 2))},
        r"shapes \(2500,\) and \(2500, 2\).* \(N, 1\)",
    ),
    "bases of another length": ({"inputs": np.zeros((2400, 1))}, r"and \(2400, 1\)"),
    "a reference of two signals": ({"reference": np.zeros((2500, 1))}, r"shapes \(2500, 1\)"),
    "no steps": ({"reference": np.zeros(0), "inputs": np.zeros((0, 1))}, r"shapes \(0,\)"),
    "not finite": ({"reference": np.full(2500, np.nan)}, "not all numbers are finite"),
    "bases not finite": ({"inputs": np.full((2500, 1), np.inf)}, "not all numbers are finite"),
    "larger than agreed": (
        {"inputs": np.full((2500, 1), -1.5)},
        "bases: up to 1.5, more than bases.amplitude = 1",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_signals_that_do_not_fit_are_refused(name: str) -> None:
    changes, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as caught:
        run_trials(AdaptiveFilterFloat(PURSUIT), PURSUIT, **{"trials": 1} | changes)
    assert "\n" not in str(caught.value)
