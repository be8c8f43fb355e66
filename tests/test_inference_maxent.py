"""Re-weighting of uniform draws, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.golden_model.inference import linear_system, maxent
from microzone.golden_model.inference.maxent import Infeasible, MaxEnt, reweight, reweight_chunks
from scipy.optimize import brentq


def grid(low: float, high: float, count: int = 4000) -> np.ndarray:
    """Midpoints: draws without the noise of draws, so that closed forms hold to about 1/count²."""
    return low + (high - low) * (np.arange(count) + 0.5) / count


@settings(deadline=None, max_examples=40)
@given(mean=st.floats(0.03, 0.97), low=st.floats(-5, 5), width=st.floats(0.01, 100))
def test_a_mean_gives_a_truncated_exponential(mean: float, low: float, width: float) -> None:
    z = grid(low, low + width)
    found = reweight(z[:, None], np.array([low + mean * width]), math.log(width))

    def away(eta: float) -> float:  # of a unit interval
        return 0.5 - mean - eta / 12 if abs(eta) < 1e-4 else 1 / eta - 1 / math.expm1(eta) - mean

    eta = brentq(away, -300, 300)
    mass = 1.0 if abs(eta) < 1e-4 else -math.expm1(-eta) / eta
    assert found.eta[0] * width == pytest.approx(eta, rel=1e-4, abs=1e-4)
    assert found.entropy == pytest.approx(math.log(mass) + eta * mean + math.log(width), abs=1e-5)
    assert abs(found.gap) < 1e-9 and abs(found.residual[0]) < 1e-9 * (abs(low) + width)


@settings(deadline=None, max_examples=25)
@given(mean=st.floats(-2, 2), spread=st.floats(0.2, 1.5))
def test_two_moments_give_a_gaussian(mean: float, spread: float) -> None:
    z = grid(-15, 15)
    statistics = np.stack([z, (z - mean) ** 2], axis=1)
    found = reweight(statistics, np.array([mean, spread**2]), math.log(30))
    assert found.eta == pytest.approx([0, 1 / (2 * spread**2)], abs=1e-4 / spread**2)
    assert found.entropy == pytest.approx(0.5 * math.log(2 * math.pi * math.e * spread**2), abs=1e-5)
    assert found.mean((z - mean) ** 4) == pytest.approx(3 * spread**4, rel=1e-4)


@settings(deadline=None, max_examples=40)
@given(values=st.integers(2, 20), share=st.floats(0.03, 0.97), times=st.integers(1, 50))
def test_whole_numbers_have_boltzmann_weights(values: int, share: float, times: int) -> None:
    z = np.repeat(np.arange(values), times).astype(float)
    target = share * (values - 1)
    found = reweight(z[:, None], np.array([target]), math.log(values))
    numbers = np.arange(values)

    def boltzmann(eta: float) -> np.ndarray:
        weights = np.exp(-eta * (numbers - (values - 1 if eta < 0 else 0)))
        return np.asarray(weights / weights.sum())

    wanted = boltzmann(brentq(lambda eta: boltzmann(eta) @ numbers - target, -50, 50, xtol=1e-13))
    distinct, masses = found.masses(z)
    assert (distinct == numbers).all()
    assert masses == pytest.approx(wanted, abs=1e-7)
    assert found.entropy == pytest.approx(-np.sum(wanted * np.log(wanted)), abs=1e-7)


def test_a_whole_number_beside_a_real_one() -> None:
    # The energy of n levels of width z, by hand: q(z, n) ∝ exp(-η·n·z) on [0, 1] x {1, 2, 3}.
    z, n = np.tile(grid(0, 1), 3), np.repeat([1.0, 2.0, 3.0], 4000)
    eta = 2.5
    parts = np.array([-math.expm1(-eta * k) / (eta * k) for k in (1, 2, 3)])
    slope = np.array([(1 - math.exp(-eta * k) * (1 + eta * k)) / (eta * k) ** 2 * k for k in (1, 2, 3)])
    target = slope.sum() / parts.sum()
    found = reweight((n * z)[:, None], np.array([target]), math.log(3))
    assert found.eta[0] == pytest.approx(eta, abs=1e-6)
    assert found.masses(n)[1] == pytest.approx(parts / parts.sum(), abs=1e-7)
    assert found.entropy == pytest.approx(math.log(parts.sum()) + eta * target, abs=1e-7)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), count=st.integers(30, 300), dimensions=st.integers(1, 4))
def test_no_other_weights_with_these_means_have_more_entropy(seed: int, count: int, dimensions: int) -> None:
    rng = np.random.default_rng(seed)
    statistics = rng.standard_normal((count, dimensions)) ** rng.integers(1, 3, dimensions)
    target = rng.dirichlet(np.full(count, 0.5)) @ statistics
    found = reweight(statistics, target, 0.0)
    assert found.weights @ statistics == pytest.approx(target, abs=1e-6)
    assert found.weights.sum() == pytest.approx(1)
    # Any direction that keeps sum and means, scaled so that no weight becomes negative.
    kept = np.linalg.qr(np.column_stack([np.ones(count), statistics]))[0]
    for _ in range(5):
        aside = rng.standard_normal(count) * found.weights
        aside -= kept @ (kept.T @ aside)
        shift = 0.3 * aside * np.min(found.weights / np.abs(aside))
        other = found.weights + shift
        assert -np.sum(other * np.log(other * count)) < found.entropy + 1e-9


def test_errors_are_those_of_repeated_draws() -> None:
    # A Gaussian in a box, 60 times: errors as stated, in entropy, η and means of what is not constrained.
    found, spread = [], 0.5
    for seed in range(60):
        z = np.random.default_rng(seed).uniform(-5, 5, 3000)
        found.append(reweight(np.stack([z, z**2], axis=1), np.array([0, spread**2]), math.log(10)))
    entropy = 0.5 * math.log(2 * math.pi * math.e * spread**2)
    for away, stated in (
        ([m.entropy - entropy for m in found], [m.entropy_error for m in found]),
        ([m.eta[0] for m in found], [m.eta_error[0] for m in found]),
        ([m.eta[1] - 1 / (2 * spread**2) for m in found], [m.eta_error[1] for m in found]),
    ):
        relative = np.array(away) / np.array(stated)
        # Of 60 standard normal numbers, mean 0 ± .13, spread 1 ± .09.
        assert abs(relative.mean()) < 0.5
        assert 0.7 < relative.std() < 1.3
    # All draws with the weight that they have anyway come to the volume, whatever they are.
    z = np.random.default_rng(1).uniform(size=(500, 1))
    assert reweight(z, z.mean(axis=0), 0.0).entropy_error < 1e-6
    # Effective size is what a mean's variance says it is.
    assert found[0].standard_error[0] == pytest.approx(spread / math.sqrt(found[0].effective_size), rel=0.3)


def test_the_certificate_of_a_solution_that_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    z = np.random.default_rng(3).exponential(size=(2000, 1))
    statistics, target = np.hstack([z, z**2]), np.array([0.5, 0.6])
    exact = reweight(statistics, target, 0.0)
    monkeypatch.setattr(maxent, "_FLAT", 0.03)
    monkeypatch.setattr(maxent, "_MET", 0.03)
    rough = reweight(statistics, target, 0.0)
    assert rough.residual == pytest.approx(rough.weights @ statistics - target)
    assert np.abs(rough.residual).max() > 1e-4
    assert rough.gap == pytest.approx(-rough.eta @ rough.residual)
    assert exact.entropy <= rough.entropy + rough.gap < exact.entropy + 0.01


def test_a_sample_is_drawn_by_weight() -> None:
    z = np.repeat([0.0, 1.0, 2.0], 50)
    found = reweight(z[:, None], np.array([0.5]), 0.0)
    shares = np.bincount(z[found.sample(20_000, 1)].astype(int)) / 20_000
    assert shares == pytest.approx(found.masses(z)[1], abs=0.015)
    assert (found.sample(9, 1) == found.sample(9, 1)).all() and (
        found.sample(9, 1) != found.sample(9, 2)
    ).any()


def test_draws_without_weight_may_be_left_out_or_without_statistics() -> None:
    z = grid(-30, 30)
    statistics, target = np.stack([z, z**2], axis=1), np.array([0.0, 1.0])
    whole = reweight(statistics, target, math.log(60))
    near = np.abs(z) < 9
    thinned = reweight(statistics[near], target, math.log(60), left_out=int((~near).sum()))
    assert thinned.entropy == pytest.approx(whole.entropy, abs=1e-9)
    assert thinned.eta == pytest.approx(whole.eta, abs=1e-6)
    assert thinned.entropy_error == pytest.approx(whole.entropy_error, rel=1e-6)
    unseen = np.where(near[:, None], statistics, np.nan)
    missing = reweight(unseen, target, math.log(60))
    assert missing.entropy == pytest.approx(whole.entropy, abs=1e-9) and abs(missing.gap) < 1e-9
    assert (missing.weights[~near] == 0).all()


def test_an_end_of_what_the_draws_have_leaves_those_that_have_it() -> None:
    z = grid(0, 1, 1000)
    success = (z < 0.25).astype(float)
    found = reweight(np.stack([success, z], axis=1), np.array([1.0, 0.1]), 0.0)
    within = reweight(z[z < 0.25, None], np.array([0.1]), math.log(0.25))
    assert found.eta[0] == -np.inf and found.eta[1] == pytest.approx(within.eta[0])
    assert found.entropy == pytest.approx(within.entropy) and abs(found.gap) < 1e-9
    assert found.weights[z > 0.25].max() == 0
    none = reweight(success[:, None], np.array([0.0]), 0.0)
    assert none.eta[0] == np.inf and none.entropy == pytest.approx(math.log(0.75))
    assert np.isnan(none.eta_error[0])
    # The end of one statistic leaves only draws at which one before it has its own.
    chained = reweight(np.array([[0.0, 1], [4, 2], [1, 3], [2, 3]]), np.array([2.0, 3.0]), 0.0)
    assert chained.weights.tolist() == [0, 0, 0, 1] and (chained.eta == -np.inf).all()


def test_statistics_that_are_tied_leave_errors_of_what_is_determined() -> None:
    z = np.random.default_rng(1).uniform(size=(5000, 2))
    target = np.array([0.3, 0.4])
    free = reweight(z, target, 0.0)
    mix = np.array([[1.0, 0.0], [0.0, 1.0], [1 / 3, 1 / 3]])
    tied = reweight(z @ mix.T, mix @ target, 0.0)
    assert tied.entropy == pytest.approx(free.entropy) and tied.eta @ mix == pytest.approx(free.eta)
    # Of the many η with these weights the shortest, each in units of its statistic's spread.
    spread = (z @ mix.T).std(axis=0)
    shortest = np.linalg.pinv(mix.T / spread) / spread[:, None]
    influence = (
        free.weights[:, None] * (z - target) @ np.linalg.inv(np.cov(z.T, aweights=free.weights, ddof=0))
    )
    error = np.linalg.norm(influence @ shortest.T, axis=0)
    assert tied.eta_error == pytest.approx(error, rel=1e-3)
    # On an edge that is oblique the weights are right, η is as large as it takes, and nothing is a NaN.
    corners = reweight(np.array([[0.0, 0], [0, 1], [1, 0]]), np.array([0.5, 0.5]), math.log(3))
    assert corners.weights == pytest.approx([0, 0.5, 0.5], abs=1e-6)
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(11) / 10, np.arange(11) / 10))
    edge = reweight(np.stack([x, y], 1)[x + y < 1.01], np.array([0.5, 0.5]), math.log(66))
    assert edge.entropy == pytest.approx(math.log(11)) and np.isfinite(edge.eta_error).all()


def test_few_draws_that_count_are_told() -> None:
    z = grid(0, 1, 2000)
    assert reweight(z[:, None], np.array([0.4]), 0.0).warning is None
    found = reweight(z[:, None], np.array([0.01]), 0.0)
    assert found.effective_size < 100
    assert found.warning is not None and f"effective size {found.effective_size:.1f} of 2000" in found.warning


@pytest.mark.parametrize(
    ("statistics", "targets", "message"),
    [
        ([[0.0], [1.0]], [1.5], r"statistic 0: target 1.5, the draws have 0 to 1$"),
        ([[0.0, 0], [1, 1], [2, 4]], [0.5, 4.5], "statistic 1: target 4.5, the draws have 0 to 4"),
        # The mean square is at least the square of the mean: outside the hull, inside each range.
        ([[x, x * x] for x in np.linspace(0, 2, 50)], [1.0, 0.5], "outside what any weights"),
        ([[0.0, 0], [0, 1], [1, 2], [1, 3]], [0.0, 2.5], "statistic 1: target 2.5, the draws that the other targets leave have 0 to 1"),
        ([[np.nan], [np.inf]], [0.0], "no draw has finite statistics"),
        (np.zeros((0, 1)), [0.0], "no draw has finite statistics"),
        # In between two draws, but of these two the weights would be next to nothing but one.
        (np.arange(5000)[:, None] / 5000, [0.9997], "outside or too near the edge of what any weights .* statistic 0$"),
    ],
)  # fmt: skip
def test_what_cannot_be_met_is_said_in_one_line(
    statistics: list[list[float]], targets: list[float], message: str
) -> None:
    with pytest.raises(Infeasible, match=message) as caught:
        reweight(np.array(statistics), np.array(targets), 0.0)
    assert "\n" not in str(caught.value)


def test_messages_have_the_names_of_the_statistics() -> None:
    statistics = np.array([[x, x * x] for x in np.linspace(0, 2, 50)])
    for targets, message in (
        ([1.0, 4.5], "square: target 4.5, the draws have 0 to 4$"),
        ([1.0, 0.5], "outside what any weights .*farthest off (mean|square)$"),
    ):
        with pytest.raises(Infeasible, match=message):
            reweight(statistics, np.array(targets), 0.0, names=("mean", "square"))
    with pytest.raises(ValueError, match="names mean: 2 statistics"):
        reweight(statistics, np.array([1.0, 1.2]), 0.0, names=("mean",))


@pytest.mark.parametrize(
    ("statistics", "targets", "left_out", "message"),
    [
        (np.zeros(3), np.zeros(1), 0, r"shape \(3,\)"),
        (np.zeros((3, 2)), np.zeros(1), 0, r"\(3, 2\) and targets of shape \(1,\)"),
        (np.zeros((3, 0)), np.zeros(0), 0, r"\(3, 0\) and targets of shape \(0,\): as many, at least one"),
        (np.zeros((3, 1)), np.array([np.nan]), 0, "must be finite"),
        (np.zeros((3, 1)), np.zeros(1), -1, "left_out = -1"),
    ],
)
def test_wrong_arguments_are_refused(
    statistics: np.ndarray, targets: np.ndarray, left_out: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reweight(statistics, targets, 0.0, left_out=left_out)


def test_chunks_come_to_what_the_whole_comes_to() -> None:
    parts = [(z := grid(-30, 30)[k::4, None], np.hstack([z, z**2])) for k in range(4)]
    target = np.array([0.5, 1.5])
    whole = reweight(np.concatenate([t for _, t in parts]), target, math.log(60))
    z, statistics, found = reweight_chunks(iter(parts), target, math.log(60), negligible=1e-4)
    assert len(z) == len(statistics) == found.weights.size < 0.3 * 4000
    assert 1e-6 < found.lost < 1e-4
    assert found.entropy == pytest.approx(whole.entropy, abs=1e-3)
    assert found.eta == pytest.approx(whole.eta, abs=1e-3)
    assert found.sample(1000, 1).max() < len(z)
    # Draws without finite statistics count as draws, and as nothing else.
    unseen = [(z, np.where(np.abs(z) < 20, t, [[np.inf, np.nan]])) for z, t in parts]
    _, _, missing = reweight_chunks(iter(unseen), target, math.log(60), negligible=1e-4)
    assert missing.entropy == pytest.approx(found.entropy, abs=1e-9)
    assert missing.lost == pytest.approx(found.lost, rel=1e-3)
    with pytest.raises(Infeasible, match="at an end of what the first chunk's draws have"):
        reweight_chunks(iter(parts), parts[0][1][np.abs(parts[0][0][:, 0]).argmin()], 0.0)
    with pytest.raises(ValueError, match="chunks: at least one"):
        reweight_chunks(iter([]), target, 0.0)


def check_linear_system(found: MaxEnt, z: np.ndarray) -> None:
    entropy, eta = linear_system.quadrature()
    assert abs(found.entropy - entropy) < 4 * found.entropy_error
    assert (np.abs(found.eta - eta) < 4 * found.eta_error).all()
    assert np.abs(found.residual).max() < 1e-6 and abs(found.gap) < 1e-6 and found.lost < 1e-6
    # Oscillating takes entries of opposite signs; a1 + a4 is pinned, a1 - a4 is not.
    assert found.mean(z[:, 1] * z[:, 2] < 0) == pytest.approx(1)
    covariance = np.cov(z.T, aweights=found.weights)
    assert covariance[0, 3] / math.sqrt(covariance[0, 0] * covariance[3, 3]) == pytest.approx(-0.98, abs=0.01)


def test_the_statistics_of_the_linear_system_are_those_of_eigenvalues() -> None:
    z = linear_system.uniform(500, 4)
    values = np.linalg.eigvals(z.reshape(-1, 2, 2))
    real, imaginary = values.real.mean(axis=1), np.abs(values.imag).max(axis=1)
    wanted = np.stack([real, real**2, imaginary, (imaginary - 4 * math.pi) ** 2], axis=1)
    assert 100 < (imaginary == 0).sum() < 400
    assert linear_system.statistics(z) == pytest.approx(wanted, abs=1e-6)


def test_the_linear_system_by_quadrature_and_by_draws() -> None:
    entropy, eta = linear_system.quadrature()
    assert entropy == pytest.approx(11.389, abs=5e-4)
    assert eta == pytest.approx([0, 0.500, -0.008, 0.494], abs=5e-4)
    finer = linear_system.quadrature(302)
    assert finer[0] == pytest.approx(entropy, abs=1e-9) and finer[1] == pytest.approx(eta, abs=1e-8)
    z, _, found = reweight_chunks(linear_system.chunks(1_500_000, 1, size=500_000), linear_system.TARGETS, linear_system.LOG_VOLUME)  # fmt: skip
    check_linear_system(found, z)
    assert found.effective_size > 5000


@pytest.mark.slow
def test_sixteen_million_draws_of_the_linear_system() -> None:
    z, _, found = reweight_chunks(linear_system.chunks(16_000_000, 2), linear_system.TARGETS, linear_system.LOG_VOLUME)  # fmt: skip
    check_linear_system(found, z)
    assert found.effective_size > 70_000 and found.entropy_error < 0.004 and found.eta_error.max() < 0.003
