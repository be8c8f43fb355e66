"""Circuits compared: regions and changes, what tells them apart, directions and margins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import EXTRA
from microzone.golden_model.inference.behaviour import NAMES
from microzone.golden_model.inference.comparison import behaves, change, entropy, region, share_error
from microzone.golden_model.inference.parameters import CHIP, ParameterSpace
from microzone.golden_model.inference.sensitivity import (
    DISTANCES,
    directions,
    fisher,
    fisher_design,
    margin,
    margin_design,
    scales,
)
from microzone.golden_model.inference.separation import area, logistic, separate
from microzone.golden_model.inference.simulations import Table

ENERGY = NAMES.index("energy")


# --- regions and changes ----------------------------------------------------------------------


def table(z: Any, /, **columns: Any) -> Table:
    """Hand-made; statistics that are not named are 0."""
    rows = np.array(z, np.float64)
    rows = np.column_stack([rows, np.zeros((len(rows), 4 - rows.shape[1]))])
    statistics = np.zeros((len(rows), len(NAMES)))
    for name, values in columns.items():
        statistics[:, NAMES.index(name)] = values
    return Table(CHIP, rows, statistics, np.arange(len(rows)))


def test_a_region_of_four_draws() -> None:
    made = table(
        [[-4, -1], [-4, -1.5], [-5, -2], [-3, -1]],
        well_timed=[0.5, 0.2, 0.9, np.nan],
        energy=[10, 20, 30, np.nan],
    )
    made.statistics[3] = np.nan
    wanted = {"well_timed": (0.5, 0.9)}
    assert behaves(made, wanted).tolist() == [True, False, True, False]
    found = region(made, wanted)
    assert (found.count, found.share, found.refused, found.energy) == (2, 0.5, 0.25, 20.0)
    assert found.log_ratio == pytest.approx((3.0, 0.0))
    assert found.limits["potentiation"] == pytest.approx((-4.95, -4.5, -4.05))
    empty = region(made, {"well_timed": (0.95, 1)})
    assert (empty.count, empty.limits, empty.log_ratio) == (0, {}, None)
    assert empty.error > 0


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "at least one"),
        ({"speed": (0, 1)}, "statistic 'speed': choose from cr_rate, well_timed"),
        ({"drift": (1, 0)}, "drift from 1 to 0"),
        ({"drift": (math.nan, 0)}, "drift from nan to 0"),
    ],
)
def test_what_cannot_be_wanted(wanted: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        behaves(table([[0, 0]]), wanted)


def test_the_error_of_a_share_is_the_spread_of_shares() -> None:
    drawn = np.random.default_rng(1).binomial(400, 0.05, size=4000) / 400
    assert share_error(20, 400) == pytest.approx(drawn.std(), rel=0.05)


def test_a_change_is_taken_pair_by_pair() -> None:
    z = np.zeros((4, 2))
    first = table(z, well_timed=[1, 1, 0, 0], drift=[0.1, 0.3, 0.2, 0.4])
    second = table(z, well_timed=[1, 0, 0, 0], drift=[0.2, 0.6, 9.0, 9.0])
    found = change(first, second, {"well_timed": (0.5, 1)}, np.array([True, True, False, False]))
    assert (found.share, found.share_error) == pytest.approx((-0.25, 0.25))
    assert (found.picked, found.before, found.after) == (2, 1.0, 0.5)
    # Residuals after - before/2 of 0.5 and -0.5: 0.5, and the share before is 1.
    assert (found.kept, found.kept_error) == pytest.approx((0.5, 0.5))
    # Differences 0.1 and 0.3; the reference's own are 0.1 and 0.3 too.
    spread = math.sqrt(0.02)
    assert found.shifts["drift"] == pytest.approx((0.2, spread / math.sqrt(2), 0.2 / spread))
    assert math.isnan(found.shifts["latency"][2]), "no spread to compare with"
    assert "energy" not in found.shifts


def test_a_change_needs_the_same_draws() -> None:
    first, second = table([[0, 0], [1, 1]]), table([[0, 0], [1, 2]])
    with pytest.raises(ValueError, match="other draws"):
        change(first, second, {"drift": (0, 1)}, np.ones(2, bool))


def test_draws_picked_by_other_sessions_show_no_change_without_one() -> None:
    """Picked by their own luck, the draws would seem to get worse in any other session."""
    rng = np.random.default_rng(2)
    ability = rng.normal(size=4000)
    tables = [table(np.c_[ability, ability], latency=ability + rng.normal(size=4000)) for _ in range(3)]
    wanted = {"latency": (1.0, math.inf)}
    fair = change(tables[0], tables[1], wanted, behaves(tables[2], wanted))
    biased = change(tables[0], tables[1], wanted, behaves(tables[0], wanted))
    assert abs(fair.kept - 1) < 3 * fair.kept_error
    assert biased.kept - 1 < -10 * biased.kept_error


def test_the_entropy_is_that_of_a_truncated_exponential() -> None:
    draws = np.random.default_rng(3).uniform(size=20_000)
    # E = 0.3 on [0, 1]: rate 2.672 solves 1/b - 1/(e^b - 1) = 0.3, entropy 1 - b/(e^b - 1) + log((1 - e^-b)/b)
    rate = 2.6721
    closed = 1 - rate / math.expm1(rate) + math.log(-math.expm1(-rate) / rate)
    assert 1 / rate - 1 / math.expm1(rate) == pytest.approx(0.3, abs=1e-4)
    found = entropy(table(np.zeros((20_000, 2)), well_timed=draws), {"well_timed": (0.3, None)})
    assert found.relative == pytest.approx(closed, abs=4 * found.error)
    assert 0 < found.error < 0.01
    refused = entropy(table(np.zeros((10, 2))), {"well_timed": (0.3, None)})
    assert "well_timed: target 0.3" in refused.infeasible and math.isnan(refused.relative)


# --- separation -------------------------------------------------------------------------------


def test_logistic_regression_agrees_with_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason=EXTRA)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 4))
    y = rng.random(300) < 1 / (1 + np.exp(-(x @ [2, -1, 0, 0.5] + 0.7)))
    for ridge in (0.01, 1.0, 100.0):
        oracle = linear.LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=10_000).fit(x, y)
        found = logistic(x, y, ridge)
        np.testing.assert_allclose(found, [*oracle.coef_[0], oracle.intercept_[0]], atol=1e-5)


def test_logistic_regression_of_what_a_plane_separates_is_finite() -> None:
    x = np.linspace(-1, 1, 40)[:, None]
    assert 0 < logistic(x, x[:, 0] > 0, 1e-3)[0] < 1e4


def test_the_area_is_the_chance_of_a_higher_score() -> None:
    rng = np.random.default_rng(5)
    scores, labels = rng.integers(5, size=60).astype(float), rng.random(60) < 0.4
    pairs = np.subtract.outer(scores[labels], scores[~labels])
    assert area(scores, labels) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)


def test_a_feature_that_tells_is_found() -> None:
    rng = np.random.default_rng(6)
    labels = np.repeat([False, True], 400)
    x = rng.normal(size=(800, 2)) + np.c_[1.5 * labels, np.zeros(800)]
    found = separate(["shifted", "noise"], x, labels, np.tile(np.arange(400), 2))
    # Two normals 1.5 apart: Φ(1.5/√2) = 0.856.
    assert found.area == pytest.approx(0.856, abs=4 * found.error)
    assert found.alone["shifted"] == pytest.approx(0.856, abs=0.05)
    assert abs(found.alone["noise"] - 0.5) < 0.08
    assert found.coefficients["shifted"][0] > 5 * abs(found.coefficients["noise"][0])
    assert found.counts == (400, 400)
    spread = np.std(
        [
            separate(["x"], rng.normal(size=(800, 1)) + 1.5 * labels[:, None], labels, np.arange(800)).area
            for _ in range(8)
        ]
    )
    assert 0.4 < found.error / spread < 2.5


def test_what_belongs_together_is_held_out_together() -> None:
    """More features than groups: a twin in the other folds would be recognised."""
    rng = np.random.default_rng(7)
    twins = np.repeat(np.arange(40), 2)
    x = rng.normal(size=(40, 60))[twins]
    labels = (np.arange(40) % 2 == 0)[twins]
    names = [str(i) for i in range(60)]
    assert separate(names, x, labels, np.arange(80)).area > 0.95
    assert abs(separate(names, x, labels, twins).area - 0.5) < 0.2


def test_too_few_to_separate() -> None:
    with pytest.raises(ValueError, match="groups of 3 and 7: at least 5 each"):
        separate(["x"], np.zeros((10, 1)), np.arange(10) > 2, np.arange(10))


# --- directions and margins -------------------------------------------------------------------

SPACE = ParameterSpace()


def test_directions_of_a_known_covariance() -> None:
    rng = np.random.default_rng(8)
    turned = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    known = np.array([0.05, 0.3, 0.6, 1.0])
    z = (rng.normal(size=(5000, 4)) * known) @ turned * scales(SPACE)
    found = directions(z, SPACE)
    assert (np.abs(found.spreads - known) < 4 * found.errors).all()
    np.testing.assert_allclose(found.errors, known / math.sqrt(2 * 5000), rtol=0.3)
    np.testing.assert_allclose(np.abs(np.sum(found.vectors * turned, axis=1)), 1, atol=0.02)
    assert (found.alignment > 0.98).all()
    assert (np.abs(found.vectors).max(axis=1) == found.vectors.max(axis=1)).all(), (
        "largest component positive"
    )


def test_directions_of_uniform_draws_have_no_constraint_and_weights_give_one() -> None:
    z = SPACE.uniform(20_000, 9)
    np.testing.assert_allclose(directions(z, SPACE).spreads, 1, atol=0.03)
    weights = np.exp(-0.5 * ((z[:, 2] - 0.35) / 0.01) ** 2)
    found = directions(z, SPACE, weights / weights.sum())
    assert found.spreads[0] == pytest.approx(0.01 / scales(SPACE)[2], rel=0.1)
    np.testing.assert_allclose(found.vectors[0], [0, 0, 1, 0], atol=0.1)
    with pytest.raises(ValueError, match="4 draws of 4 parameters: at least 6"):
        directions(z[:4], SPACE)


def linear(rng: np.random.Generator, sessions: int, slope_noise: float) -> tuple[Table, np.ndarray]:
    """T = A u + session's noise, with slopes that vary over sessions; the exact Fisher information."""
    slopes = np.zeros((6, 4))
    slopes[0, 0], slopes[1, 1], slopes[2, 2] = 2.0, 1.0, 0.5
    centre = np.array([-4.5, -1.5, 0.35, 0.1])
    z, seeds = fisher_design(SPACE, centre, range(sessions))
    u = (z - centre) / scales(SPACE)
    noise, each = rng.normal(size=(sessions, 6)), slopes + slope_noise * rng.normal(size=(sessions, 6, 4))
    statistics = np.zeros((len(z), len(NAMES)))
    statistics[:, [i for i in range(len(NAMES)) if i != ENERGY]] = (
        np.einsum("rij,rj->ri", each[seeds], u) + noise[seeds]
    )
    return Table(CHIP, z, statistics, seeds), np.array([4.0, 1.0, 0.25, 0.0])


def test_fisher_information_of_a_linear_model() -> None:
    made, exact = linear(np.random.default_rng(10), 600, 0.0)
    found = fisher(made, SPACE)
    np.testing.assert_allclose(found.values, exact, rtol=0.2, atol=1e-9)
    np.testing.assert_allclose(np.abs(found.vectors), np.eye(4), atol=0.2)
    np.testing.assert_allclose(found.jacobian[:3, :3], np.diag([2, 1, 0.5]), atol=1e-9)
    assert found.names == NAMES[:ENERGY]


def test_fisher_information_is_not_raised_by_noise_in_the_slopes() -> None:
    """Of 20 sessions with slopes as noisy as 1: the plug-in estimate's trace is 6·4/20 = 1.2 too high."""
    rng = np.random.default_rng(11)
    found = [fisher(linear(rng, 20, 1.0)[0], SPACE) for _ in range(60)]
    traces = np.array([each.values.sum() for each in found])
    assert abs(traces.mean() - 5.25) < 3 * traces.std() / math.sqrt(60)
    assert traces.std() / math.sqrt(60) < 0.4
    stiffest = np.array([each.values[0] for each in found])
    errors = np.array([each.errors[0] for each in found])
    assert 0.5 < np.median(errors) / stiffest.std() < 2


def test_a_design_about_a_corner_keeps_to_the_box() -> None:
    z, _ = fisher_design(SPACE, SPACE.high, range(20))
    assert (z <= SPACE.high).all()
    made = table(z)
    made.statistics[:, 0] = (z[:, 0] - SPACE.high[0]) / scales(SPACE)[0] * 3
    assert fisher(made, SPACE).jacobian[0, 0] == pytest.approx(3)


def test_fisher_information_needs_its_design() -> None:
    z, _ = fisher_design(SPACE, SPACE.uniform(1, 1)[0], range(20))
    with pytest.raises(ValueError, match="needs 9 points of at least 10 sessions"):
        fisher(table(z[:-1]), SPACE)
    refused = table(z)
    refused.statistics[7] = np.nan
    with pytest.raises(ValueError, match="refused"):
        fisher(refused, SPACE)


def ray(lost_beyond: float, seeds: int = 30) -> tuple[Table, np.ndarray]:
    """Behaviour (drift 0) within a distance of the box's middle along δp, in standard deviations."""
    centre = (SPACE.low + SPACE.high) / 2
    direction = np.array([1.0, 0, 0, 0])
    z, _ = margin_design(SPACE, centre, direction, range(seeds))
    away = (z[:, 0] - centre[0]) / scales(SPACE)[0]
    return table(z, drift=1.0 * (away > lost_beyond)), direction


def test_a_margin_is_where_behaviour_is_lost() -> None:
    wanted = {"drift": (0.0, 0.5)}
    border = math.sqrt(3)
    for length in (0.03, 0.2, 1.2):
        found = margin(*_with_space(ray(length)), wanted)
        around = np.concatenate([[0], DISTANCES]) * border
        assert around[around <= length][-1] <= found.distance <= around[around > length][0]
        assert found.inside and found.at_centre == 1 and found.reach == pytest.approx(border)
    never = margin(*_with_space(ray(5.0)), wanted)
    assert (never.distance, never.inside) == (pytest.approx(border), False)
    nowhere = margin(*_with_space(ray(-1.0)), wanted)
    assert math.isnan(nowhere.distance) and not nowhere.inside


def _with_space(made: tuple[Table, np.ndarray]) -> tuple[Table, ParameterSpace, np.ndarray]:
    return made[0], SPACE, made[1]


def test_half_as_frequent_is_between_the_points() -> None:
    made, direction = ray(5.0, seeds=40)
    drift = made.statistics.reshape(1 + DISTANCES.size, 40, -1)[:, :, NAMES.index("drift")]
    drift[5:, :30] = 1  # from all sessions to a quarter of them: half is 2/3 of the way
    drift[9:] = 1
    found = margin(made, SPACE, direction, {"drift": (0.0, 0.5)})
    low, high = DISTANCES[3:5] * math.sqrt(3)
    assert found.distance == pytest.approx(low * (high / low) ** (2 / 3))
    assert 0 < found.error < high - low
    made.statistics[:, NAMES.index("drift")] = np.where(drift.ravel() == 1, np.nan, 0)
    assert margin(made, SPACE, direction, {"drift": (0.0, 0.5)}) == found, "refused is lost"
    with pytest.raises(ValueError, match="needs 10 points"):
        margin(table(made.z[:399]), SPACE, direction, {"drift": (0, 1)})
