"""Degenerate solution networks, against answers that are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conftest import EXTRA

pytest.importorskip("torch", reason=EXTRA)
pytest.importorskip("zuko", reason=EXTRA)
import torch
from microzone.golden_model.inference import dsn, linear_system, rank_one
from microzone.golden_model.inference.dsn import BoxFlow, DsnResult, Settings, Surrogate, fit_dsn, surrogate
from microzone.golden_model.inference.maxent import reweight, reweight_chunks
from torch import Tensor

SMALL = Settings(
    rounds=14, steps=60, batch=128, check=8192, last_check=32768, transforms=4, hidden=16, memory=60,
    rate=5e-3, last_rate=3e-4, penalty=0.3, most_penalty=5.0,
)  # fmt: skip
TARGETS, LOW, HIGH = (0.0, 0.5**2), (-3.0, -3.0), (3.0, 3.0)
SCALE = (1.0, 0.5)


def band(z: Tensor) -> Tensor:
    """Mean and second moment of a sum: a ridge across the box, each parameter as free as the box lets it."""
    total = z[:, 0] + z[:, 1]
    return torch.stack([total, total**2], 1)


@pytest.fixture(scope="module")
def truth() -> tuple[float, np.ndarray]:
    axis = -3 + 6 * (np.arange(400) + 0.5) / 400
    total = np.add.outer(axis, axis).ravel()
    found = reweight(np.stack([total, total**2], axis=1), np.array(TARGETS), 2 * math.log(6))
    return found.entropy, found.eta


def check_band(found: DsnResult, truth: tuple[float, np.ndarray]) -> None:
    entropy, eta = truth
    assert found.converged
    assert found.entropy == pytest.approx(entropy, abs=0.05)
    assert found.multipliers == pytest.approx(eta, abs=0.3)
    # Of a Gaussian's mean and variance, nearly.
    assert found.standard_error * math.sqrt(32768) == pytest.approx([0.5, math.sqrt(2) * 0.5**2], rel=0.2)
    z = found.sample(4000, 1)
    assert (np.abs(z) <= 3).all()
    # Of the ridge the box lets about the whole diagonal be used.
    assert np.corrcoef(z.T)[0, 1] < -0.9 and z[:, 0].std() == pytest.approx(1.7, abs=0.15)


@pytest.mark.parametrize("differentiable", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_ridge_is_found_whole(differentiable: bool, truth: tuple[float, np.ndarray]) -> None:
    told: list[str] = []

    def simulate(z: Tensor) -> Tensor:
        assert z.requires_grad == (differentiable and torch.is_grad_enabled())
        return band(z)

    found = fit_dsn(
        simulate, TARGETS, LOW, HIGH, seed=1, scale=SCALE, differentiable=differentiable, settings=SMALL,
        progress=lambda done, text: told.append(f"{done} {text}"),
    )  # fmt: skip
    check_band(found, truth)
    assert found.gradient == ("pathwise" if differentiable else "score")
    assert told[-1].startswith("14 entropy") and len(told) == len(found.history) == 14


def test_a_surrogate_of_noisy_simulations_leads_to_the_same() -> None:
    def simulate(z: np.ndarray, seed: int) -> np.ndarray:
        seen = z.sum(axis=1) + 0.3 * np.random.default_rng(seed).standard_normal(len(z))
        return np.stack([seen, seen**2], axis=1)

    wanted, low, high = np.array([0.5, 0.5]), -np.ones(2), np.ones(2)
    axis = -1 + 2 * (np.arange(300) + 0.5) / 300
    total = np.add.outer(axis, axis).ravel()
    truth = reweight(np.stack([total, total**2 + 0.3**2], axis=1), wanted, math.log(4))
    z = np.random.default_rng(1).uniform(low, high, (4000, 2))
    model = surrogate(z, simulate(z, 2), low, high, seed=1, epochs=30)
    assert (model.explained > 0.7).all() and (np.abs(model.bias) < 4 * model.bias_error).all()
    found = fit_dsn(model, wanted, low, high, seed=1, settings=replace(SMALL, penalty=3.0, most_penalty=30.0))
    assert found.converged and found.gradient == "surrogate"
    assert found.entropy == pytest.approx(truth.entropy, abs=0.05)
    # What counts is the simulator, not the surrogate.
    assert simulate(found.sample(50_000, 3), 4).mean(axis=0) == pytest.approx(wanted, abs=0.05)


def test_a_simulator_refined_on_the_way_is_the_one_that_counts(truth: tuple[float, np.ndarray]) -> None:
    seen: dict[int, np.ndarray] = {}

    def refine(done: int, draw: Callable[[int], np.ndarray]) -> Callable[[Tensor], Tensor] | None:
        seen[done] = draw(2000).sum(axis=1)
        return band if done == 3 else None

    wrong = fit_dsn(lambda z: band(z - 0.5), TARGETS, LOW, HIGH, seed=1, scale=SCALE, settings=SMALL)
    assert wrong.sample(4000, 1).sum(axis=1).mean() == pytest.approx(1, abs=0.05)
    found = fit_dsn(
        lambda z: band(z - 0.5), TARGETS, LOW, HIGH, seed=1, scale=SCALE, settings=SMALL, refine=refine
    )
    check_band(found, truth)
    assert found.sample(4000, 1).sum(axis=1).mean() == pytest.approx(0, abs=0.05)
    # Drawn from the network as it was: the wrong simulator's at first.
    assert list(seen) == list(range(1, 15))
    assert seen[3].mean() > 0.2 and abs(seen[14].mean()) < 0.1


def test_the_surrogate_learns_the_second_moment_and_not_the_square_of_the_mean() -> None:
    rng = np.random.default_rng(2)
    z = rng.uniform(-1, 1, (3000, 1))
    seen = z[:, 0] + 0.5 * rng.standard_normal(3000)
    statistics = np.stack([seen, seen**2, np.ones(3000)], axis=1)
    statistics[::10, 0] = np.nan

    def fitted() -> Surrogate:
        return surrogate(z, statistics, -np.ones(1), np.ones(1), seed=3, hidden=16, epochs=60)

    model = fitted()
    at = model(torch.tensor([[-0.8], [0.0], [0.8]])).numpy()
    assert at[:, 0] == pytest.approx([-0.8, 0, 0.8], abs=0.1)
    assert at[:, 1] == pytest.approx([0.89, 0.25, 0.89], abs=0.12)
    assert (at[:, 2] == 1).all()
    # Of a variance of 1/3 + 1/4 the mean's is the first.
    assert model.explained[0] == pytest.approx(4 / 7, abs=0.1) and np.isnan(model.explained[2])
    assert (fitted()(torch.tensor([[0.3]])) == model(torch.tensor([[0.3]]))).all()
    for wrong, message in (
        (statistics[:100], "shape"),
        (np.full((3000, 1), np.nan), "0 simulations with finite"),
    ):
        with pytest.raises(ValueError, match=message):
            surrogate(z, wrong, -np.ones(1), np.ones(1), seed=1)


def test_a_surrogate_is_judged_by_simulations_that_it_has_not_seen() -> None:
    rng = np.random.default_rng(5)
    z, noise = rng.uniform(-1, 1, (200, 8)), rng.standard_normal((200, 1))
    model = surrogate(z, noise, -np.ones(8), np.ones(8), seed=1, epochs=800)
    errors = model(torch.as_tensor(z, dtype=torch.float32)).numpy() - noise
    assert np.median(np.abs(errors)) < 0.2, "it knows the noise by heart"
    # Twenty are held out: their errors are the noise and what it has learnt of other noise.
    assert model.explained[0] < -1
    unseen = np.sort(np.abs(errors[:, 0]))[-20:]
    assert np.hypot(model.bias[0], model.bias_error[0] * math.sqrt(20)) == pytest.approx(
        math.sqrt((unseen**2).mean()), rel=0.1
    )
    assert 0 < abs(model.bias[0]) < 4 * model.bias_error[0]


def test_a_flow_is_a_density_on_its_box() -> None:
    torch.manual_seed(4)
    flow = BoxFlow([-1.0, 2.0], [1.0, 6.0], transforms=3, hidden=8)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        z, log_density = flow.draw(2000)
        assert (z >= torch.tensor([-1.0, 2.0])).all() and (z <= torch.tensor([1.0, 6.0])).all()
        inside = ((z - flow.low) / flow.width - 0.5).abs().amax(1) < 0.499
        assert flow.log_density(z[inside]).numpy() == pytest.approx(log_density[inside].numpy(), abs=1e-2)
        x, y = (low + width * (torch.arange(500) + 0.5) / 500 for low, width in ((-1, 2), (2, 4)))
        cells = torch.cartesian_prod(x, y)
        mass = flow.log_density(cells).exp().mean() * 8
    assert float(mass) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("differentiable", [True, False])
def test_the_gradient_of_the_penalty_is_unbiased(differentiable: bool) -> None:
    # Of |E T - µ|²/2 with T = z, and batches of 2: |mean - µ|² of four draws is too large by a quarter of the variance.
    torch.manual_seed(5)
    flow = BoxFlow([0.0, 0.0], [1.0, 1.0], transforms=1, hidden=4)
    settings = Settings(batch=2, transforms=1, hidden=4)
    wanted, units, none = torch.tensor([0.7, 0.2]), torch.ones(2), torch.zeros(2)
    bias = [parameter for name, parameter in flow.named_parameters() if name.endswith("bias")][-1]

    def slopes(loss: Tensor) -> np.ndarray:
        return np.asarray(torch.autograd.grad(loss, bias)[0].numpy())

    def of_one_mean(count: int) -> Tensor:
        return 0.5 * ((flow.draw(count)[0].mean(0) - wanted) ** 2).sum()

    exact = slopes(of_one_mean(400_000))
    found, naive = [], []
    for seed in range(600):
        with_penalty, without = 1.0, 0.0  # the same draws: what differs is the penalty's
        losses = []
        for penalty in (with_penalty, without):
            torch.manual_seed(seed)
            losses.append(
                dsn._loss(flow, lambda z: z, wanted, units, none, penalty, settings, differentiable)
            )
        found.append(slopes(losses[0]) - slopes(losses[1]))
        torch.manual_seed(seed)
        naive.append(slopes(of_one_mean(4)))

    def errors_off(each: list[np.ndarray]) -> np.ndarray:
        return np.asarray((np.mean(each, axis=0) - exact) / np.std(each, axis=0) * math.sqrt(len(each)))

    assert np.abs(errors_off(found)).max() < 4
    assert np.abs(errors_off(naive)).max() > 6  # a bias of that size is seen


def test_what_has_not_converged_is_not_called_so() -> None:
    few = Settings(rounds=2, steps=10, batch=32, check=512, last_check=2048, transforms=2, hidden=8)
    assert not fit_dsn(band, TARGETS, LOW, HIGH, seed=1, settings=few).converged  # the entropy still falls
    beyond = fit_dsn(band, (0.0, 100.0), LOW, HIGH, seed=1, settings=few)  # no sum has a square above 36
    assert not beyond.converged and beyond.violation[1] < -60
    free = fit_dsn(band, (0.0, 6.0), LOW, HIGH, seed=1, scale=(10.0, 100.0), settings=few)
    assert (np.abs(free.violation) < 3).all() and np.ptp(free.history[:, 0]) < 0.1
    assert free.converged == bool((np.abs(free.violation) / (10, 100) < few.tolerance).all())
    # Whatever one round comes to, that it has come to rest cannot be seen.
    one = fit_dsn(band, (0.0, 6.0), LOW, HIGH, seed=1, scale=(1e4, 1e4), settings=replace(few, rounds=1))
    two = fit_dsn(band, (0.0, 6.0), LOW, HIGH, seed=1, scale=(1e4, 1e4), settings=few)
    assert two.converged and not one.converged


@pytest.mark.parametrize(
    ("target", "growth", "most", "last"),
    [(30.0, 1.5, 2.0, 0.15), (30.0, 50.0, 0.3, 0.3), (1e4, 1.5, 2.0, 0.15)],
)
def test_multipliers_are_summed_violations_by_a_penalty_that_grows(
    target: float, growth: float, most: float, last: float
) -> None:
    # In three rounds of two steps the violation does not halve, so that the third has a larger penalty.
    few = Settings(
        rounds=3, steps=2, batch=16, check=64, last_check=64, transforms=2, hidden=4,
        penalty=0.1, growth=growth, most_penalty=most,
    )  # fmt: skip
    found = fit_dsn(band, (0.0, target), LOW, HIGH, seed=1, settings=few)
    capped = np.clip(found.history[:, 1:], -50, 50)
    assert (found.history[:, 2] < -20).all()
    assert found.multipliers == pytest.approx(np.array([0.1, 0.1, last]) @ capped, rel=1e-4, abs=1e-5)


def test_the_rate_falls_geometrically_after_two_fifths() -> None:
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    rates = []
    for done in range(11):
        dsn._set_rate(optimiser, Settings(rounds=11, rate=1e-2, last_rate=1e-4), done)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates[:5] == [1e-2] * 5 and rates[-1] == pytest.approx(1e-4)
    assert np.diff(np.log(rates[4:])) == pytest.approx(-np.log(100) / 6)


def test_a_seed_gives_one_network_and_leaves_the_generator_alone() -> None:
    few = Settings(rounds=1, steps=5, batch=16, check=64, last_check=64, transforms=2, hidden=4)
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    one, same, other = (fit_dsn(band, TARGETS, LOW, HIGH, seed=seed, settings=few) for seed in (1, 1, 2))
    assert torch.rand(1) == expected
    assert one.entropy == same.entropy != other.entropy
    assert (one.sample(10, 3) == same.sample(10, 3)).all()
    assert (one.sample(10, 3) != one.sample(10, 4)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": (0.0, 3.0)}, "box from"),
        ({"low": (0.0,)}, "box from"),
        ({"low": (0.0,), "high": (1.0,)}, "at least 2 parameters"),
        ({"high": (3.0, math.inf)}, "needs finite low < high"),
        ({"targets": ()}, "one each"),
        ({"targets": (0.0, math.nan)}, r"targets \[0.0, nan\].*: must be finite"),
        ({"scale": (1.0, math.inf)}, "must be finite"),
        ({"scale": (1.0, 0.0)}, "scales above 0"),
        ({"scale": (1.0,)}, "one each"),
        ({"targets": (1.0, 2.0, 3.0)}, r"statistics of shape \(16, 2\): for 16 draws and 3 targets"),
        ({"simulate": lambda z: band(z) / 0}, r"statistics: of 16 of 16 draws not finite, first at z = \["),
        (
            {"simulate": lambda z: band(z).where(z[:, :1] > 0, math.nan)},
            r"statistics: of \d of 16 draws not finite, first at z = \[-",
        ),
        ({"simulate": lambda z: (band(z) * 0).sqrt()}, "gradient: not finite in round 1, seed = 1"),
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, object], message: str) -> None:
    few = Settings(rounds=1, steps=1, batch=8, check=256, last_check=256, transforms=2, hidden=4)
    arguments = {
        "simulate": band,
        "targets": TARGETS,
        "low": LOW,
        "high": HIGH,
        "settings": few,
        "seed": 1,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        fit_dsn(**arguments)  # type: ignore[arg-type]


def test_wrong_settings_are_refused() -> None:
    for changes, message in (
        ({"batch": 1}, "batch = 1: at least 2"),
        ({"hidden": 0}, "hidden = 0: at least 1"),
        ({"growth": 0.5}, "growth = 0.5: at least 1"),
        ({"penalty": math.nan}, "penalty = nan: must be above 0"),
        ({"last_rate": 0.0}, "last_rate = 0.0: must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Settings(**changes)  # type: ignore[arg-type]


# --- rank-one networks ------------------------------------------------------------------------


def test_the_mean_field_of_independent_neurons_is_an_integral() -> None:
    # Without recurrence x is the stimulus: κ = <n·tanh(x)>, and N neurons are a sample of so many.
    z = torch.tensor([[0.0, 0.3, 0.0, 2.0, 0.0]], dtype=torch.float64)
    x = np.linspace(-9, 9, 20001)
    weights = np.exp(-(x**2) / 2)
    weights /= weights.sum()
    n, rate = 0.3 + 2 * x, np.tanh(x)
    go = weights @ (n * rate)
    spread = weights @ (n * rate) ** 2 - go**2, (0.3**2 + 2**2) * (weights @ rate**2)
    found = rank_one.mean_field(z)[0].numpy()
    assert found == pytest.approx([go, (go - 1) ** 2, 0], abs=1e-4)
    finite = rank_one.mean_field(z, 400)[0].numpy()
    assert (finite - found)[1:] * 400 == pytest.approx(spread, rel=2e-3)


@pytest.mark.parametrize("z", [(0.9, 0.7, 0.6, 1.8, 0.8), (1.2, -0.5, 1.5, 2.5, 0.3)])
def test_the_variance_among_networks_by_differences(
    z: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A network of N neurons is a sample of the Gaussians: (κ, C) = averages(κ, C) + noise / √N.
    mean_m, mean_n, sd_m, sd_n, g = z
    nodes, weights = np.polynomial.hermite_e.hermegauss(81)
    first, second = (axis.ravel() for axis in np.meshgrid(nodes, nodes))
    weights = np.outer(weights, weights).ravel() / weights.sum() ** 2

    def products(state: np.ndarray, overlap: float) -> np.ndarray:
        kappa, square = state
        variance = (sd_m * kappa) ** 2 + 1 + g**2 * square
        rate = np.tanh(mean_m * kappa + math.sqrt(variance) * first)
        n = (
            mean_n
            + overlap / math.sqrt(variance) * first
            + math.sqrt(sd_n**2 - overlap**2 / variance) * second
        )
        return np.stack([n * rate, rate**2])

    spreads = []
    for overlap in (sd_n, 0.0):
        state = np.array([0.5, 0.5])
        for _ in range(400):
            state = state + 0.3 * (products(state, overlap) @ weights - state)
        jacobian = np.stack(
            [
                (products(state + d, overlap) - products(state - d, overlap)) @ weights / 2e-5
                for d in 1e-5 * np.eye(2)
            ],
            axis=1,
        )
        response = np.linalg.inv(np.eye(2) - jacobian)
        noise = np.cov(products(state, overlap), aweights=weights, ddof=0)
        spreads.append((response @ noise @ response.T)[0, 0])
        assert np.linalg.det(np.eye(2) - jacobian) > 2 * rank_one._LEAST_STABLE
    shipped = rank_one.mean_field(torch.tensor([z], dtype=torch.float64), 400)[0].numpy()
    nodes, weights = np.polynomial.hermite_e.hermegauss(81)
    monkeypatch.setattr(rank_one, "_NODES", nodes)
    monkeypatch.setattr(rank_one, "_NODE_WEIGHTS", weights / weights.sum())
    few, many = (
        rank_one.mean_field(torch.tensor([z], dtype=torch.float64), n)[0].numpy() for n in (400, 10**8)
    )
    # Of so many neurons the response is linear in the noise.
    assert many[1] - (many[0] - 1) ** 2 == pytest.approx(spreads[0] / 10**8, rel=1e-3)
    assert many[2] == pytest.approx(spreads[1] / 10**8, rel=1e-3)
    assert shipped == pytest.approx(few, abs=1e-3)


def test_networks_vary_about_the_mean_field_as_it_says() -> None:
    # Feedback that multiplies the variance of B by 3.2, and disorder that takes 0.06 off the response to A.
    z, neurons, count = np.array([1.0, 0.8, 0.5, 2.0, 0.9]), 300, 250
    found = rank_one.simulate_networks(np.tile(z, (count, 1)), neurons, seed=1)
    told = rank_one.mean_field(torch.tensor(z[None]), neurons)[0].numpy()
    many = rank_one.mean_field(torch.tensor(z[None]))[0].numpy()
    assert found[:, 0].mean() == pytest.approx(told[0], abs=4 * math.sqrt((told[1] - many[1]) / count))
    assert found[:, 0].var() == pytest.approx(told[1] - many[1], rel=0.3)
    assert found[:, 2].mean() == pytest.approx(told[2], rel=0.35) and many[2] < 1e-6
    assert (found[:, 1] == (found[:, 0] - 1) ** 2).all()


def test_a_second_stable_state_is_found_by_theory_and_by_networks() -> None:
    # κ = 0 solves the equations for B; but what starts beside it goes to 1.98.
    z = np.array([2.0, 2.0, 0.3, 0.5, 0.5])
    told = rank_one.mean_field(torch.tensor(z[None]))[0].numpy()
    assert told[2] == pytest.approx(1.98**2, rel=0.02)
    found = rank_one.simulate_networks(np.tile(z, (40, 1)), 400, seed=2)
    error = found.std(axis=0) / math.sqrt(40)
    assert (np.abs(found.mean(axis=0) - told)[[0, 2]] < 4 * error[[0, 2]]).all()


def test_the_mean_field_has_a_gradient_everywhere_in_the_box() -> None:
    rng = np.random.default_rng(3)
    corners = np.array(np.meshgrid(*zip(rank_one.LOW, rank_one.HIGH, strict=True))).reshape(5, -1).T
    z = torch.tensor(
        np.concatenate([rng.uniform(rank_one.LOW, rank_one.HIGH, (200, 5)), corners]), requires_grad=True
    )
    found = rank_one.mean_field(z, 500)
    assert torch.isfinite(found).all() and (found[:, 1:] >= 0).all()
    slopes = torch.autograd.grad(found.sum(), z)[0]
    assert torch.isfinite(slopes).all()
    # By differences, in one direction.
    point = z.detach()[:20]
    step = torch.tensor(rng.standard_normal((20, 5))) * 1e-5
    by_hand = (rank_one.mean_field(point + step, 500) - rank_one.mean_field(point - step, 500)).sum(1) / 2
    assert (slopes[:20] * step).sum(1).numpy() == pytest.approx(by_hand.numpy(), rel=1e-3, abs=1e-8)


# --- what takes minutes -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "differentiable"), [(2, True), (1, False)])
def test_the_linear_system(seed: int, differentiable: bool) -> None:
    found = fit_dsn(
        linear_system.statistics, linear_system.TARGETS, [linear_system.BOX[0]] * 4, [linear_system.BOX[1]] * 4,
        seed=seed, differentiable=differentiable,
    )  # fmt: skip
    entropy, eta = linear_system.quadrature()
    assert found.converged and np.abs(found.violation).max() < 0.03
    assert found.multipliers == pytest.approx(eta, abs=0.1)
    z = found.sample(20_000, 1)
    assert np.corrcoef(z[:, 0], z[:, 3])[0, 1] == pytest.approx(-0.98, abs=0.01)
    # One mode has log 2 less entropy than both; a flow may share itself out between them, with a bridge.
    share = float((z[:, 1] > 0).mean())
    assert (z[:, 1] * z[:, 2] < 0).mean() >= (1 if share in (0, 1) else 0.99)
    shared = -sum(part * math.log(part) for part in (share, 1 - share) if part)
    assert found.entropy == pytest.approx(entropy - math.log(2) + shared, abs=0.1)
    z = z[np.sign(z[:, 1]) == np.sign(np.median(z[:, 1]))]
    # Against re-weighted draws of that mode.
    draws, _, exact = reweight_chunks(linear_system.chunks(4_000_000, 1), linear_system.TARGETS, linear_system.LOG_VOLUME)  # fmt: skip
    mode = np.sign(draws[:, 1]) == np.sign(np.median(z[:, 1]))
    draws, weights = draws[mode], exact.weights[mode] / exact.weights[mode].sum()
    for column in range(4):
        order = np.argsort(draws[:, column])
        share = np.searchsorted(np.sort(z[:, column]), draws[order, column]) / len(z)
        assert np.abs(share - np.cumsum(weights[order])).max() < 0.04, linear_system.NAMES[column]
