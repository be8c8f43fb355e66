"""Neural posterior estimation, where the posterior is known, and on the chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import EXTRA

pytest.importorskip("torch", reason=EXTRA)
pytest.importorskip("sbi", reason=EXTRA)
import torch
from microzone.golden_model import ChipConfig
from microzone.golden_model.files import FileError
from microzone.golden_model.inference import npe
from microzone.golden_model.inference.behaviour import STATISTICS, Experiment, behaviour
from microzone.golden_model.inference.npe import Gates, Posterior, gates, train
from microzone.golden_model.inference.parameters import ParameterSpace
from microzone.golden_model.inference.simulations import Table, simulate
from scipy.stats import kstest

NAMES = [s.name for s in STATISTICS]
USED = ("well_timed", "drift", "extinction")
SPACE = ParameterSpace(
    ("potentiation", "depression"), limits={"potentiation": (-5, -4), "depression": (-2, -1)}
)
MIX = np.array([[1.0, 0.3], [-0.4, 0.8], [0.5, 0.5]])
NOISE = np.array([0.05, 0.04, 0.1])


def linear(z: np.ndarray, seed: int) -> np.ndarray:
    """Statistics that are linear in z, with Gaussian noise; those not used are NaN."""
    found = np.full((len(z), len(NAMES)), np.nan)
    noise = NOISE * np.random.default_rng(seed).standard_normal((len(z), 3))
    found[:, [NAMES.index(name) for name in USED]] = z @ MIX.T + noise
    return found


def linear_table(count: int, seed: int) -> Table:
    z = SPACE.uniform(count, seed)
    return Table(tuple(SPACE.names), z, linear(z, seed), np.arange(count))


PRECISION = MIX.T @ np.diag(NOISE**-2.0) @ MIX
SPREAD = np.linalg.inv(PRECISION)


def exact_mean(statistics: np.ndarray) -> np.ndarray:
    """Of the posterior under a flat prior: weighted least squares."""
    seen = statistics[..., [NAMES.index(name) for name in USED]]
    return np.asarray(seen @ np.diag(NOISE**-2.0) @ MIX @ SPREAD)


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    return train(SPACE, linear_table(4000, 1), USED, seed=1)


def test_a_linear_simulator_has_the_posterior_of_least_squares(posterior: Posterior) -> None:
    # From the middle of the box, whose sides are ten standard deviations away.
    z = np.random.default_rng(2).uniform([-4.7, -1.7], [-4.3, -1.3], (20, 2))
    seen = linear(z, 2)
    drawn = posterior.sample(seen, 2000, seed=3)
    assert drawn.shape == (20, 2000, 2)
    away = (drawn.mean(axis=1) - exact_mean(seen)) / np.sqrt(np.diag(SPREAD))
    assert np.sqrt((away**2).mean()) < 0.25
    covariance = np.mean([np.cov(each.T) for each in drawn], axis=0)
    assert covariance == pytest.approx(SPREAD, rel=0.25, abs=0.1 * np.sqrt(np.linalg.det(SPREAD)))
    assert (drawn >= SPACE.low).all() and (drawn <= SPACE.high).all()
    assert posterior.sample(seen[0], 5, seed=3).shape == (5, 2)
    assert (posterior.sample(seen[0], 5, seed=3) == posterior.sample(seen[0], 5, seed=3)).all()
    assert (posterior.sample(seen[0], 5, seed=3) != posterior.sample(seen[0], 5, seed=4)).any()


class Shifted:
    """An estimator whose samples are moved and stretched about their mean, by what the gates are to notice."""

    def __init__(self, estimator: Any, stretch: float, shift: float) -> None:
        self.estimator, self.stretch, self.shift = estimator, stretch, shift

    def _back(self, z: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return (z - self.shift - self._mean(condition)) / self.stretch + self._mean(condition)

    def _mean(self, condition: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return torch.as_tensor(self.estimator.sample((200,), condition=condition).mean(0))

    def sample(self, shape: tuple[int], condition: torch.Tensor) -> torch.Tensor:
        drawn, mean = self.estimator.sample(shape, condition=condition), self._mean(condition)
        return torch.as_tensor((drawn - mean) * self.stretch + mean + self.shift)

    def log_prob(self, z: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.estimator.log_prob(self._back(z, condition), condition=condition))


def test_the_gates_let_a_right_posterior_pass_and_no_wrong_one(posterior: Posterior) -> None:
    held_out = linear_table(300, 4)
    right = gates(posterior, held_out, seed=5, count=300)
    assert right.passed and right.held_out == 300
    assert 0.85 * 300 < right.covered < 0.95 * 300
    assert abs(right.tarp_spread) < 0.03
    for stretch, shift, narrow in ((0.5, 0.0, True), (2.0, 0.0, False), (1.0, 0.3, None)):
        wrong = gates(
            replace(posterior, estimator=Shifted(posterior.estimator, stretch, shift)),
            held_out,
            seed=5,
            count=300,
        )
        assert not wrong.passed, (stretch, shift, wrong)
        assert min(wrong.sbc) < 1e-4
        if narrow is not None:
            assert wrong.tarp < 1e-3
            # Of a Gaussian in two dimensions: 1 - 0.1 ** (stretch ** 2), 0.44 and 1.
            assert wrong.covered == pytest.approx(300 * (1 - 0.1 ** (stretch**2)), abs=20)
            assert (wrong.tarp_spread > 0.04) == narrow and (wrong.tarp_spread < -0.04) == (not narrow)


def test_each_gate_alone_can_refuse() -> None:
    good = Gates(held_out=100, covered=80, sbc=(0.006, 0.9), tarp=0.02, tarp_spread=0.0)
    assert good.passed
    for changes in ({"covered": 79}, {"sbc": (0.9, 0.004)}, {"sbc": (0.9, 0.9, 0.003)}, {"tarp": 0.009}):
        assert not replace(good, **changes).passed, changes  # type: ignore[arg-type]


def test_a_posterior_comes_back_from_its_file(posterior: Posterior, tmp_path: Path) -> None:
    path = tmp_path / "posterior.pt"
    posterior.save(path)
    again = Posterior.load(path)
    seen = linear(np.array([[-4.5, -1.5], [-4.4, -1.2]]), 6)
    assert (again.sample(seen, 50, seed=7) == posterior.sample(seen, 50, seed=7)).all()
    assert again.used == USED and again.space.names == SPACE.names
    assert (again.space.low == SPACE.low).all() and (again.space.high == SPACE.high).all()
    assert again.space.config == SPACE.config
    assert again.outside(seen[0]) == [] == posterior.outside(seen[0])
    seen[0, NAMES.index("drift")] = 9.0
    (told,) = again.outside(seen[0])
    assert told.startswith("drift = 9: the simulations have ")


def other(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda kept: {**kept, **changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other(version=2), "version = 2: this program reads version 1"),
        (other(kind="something"), "not a posterior"),
        (lambda kept: [1, 2], "not a posterior"),
        (other(statistics=["well_timed", "speed", "drift"]), "statistic 'speed'"),
        (other(statistics=["well_timed"]), "no posterior of this version"),
        (other(parameters=["potentiation", "size"]), "parameter 'size'"),
        (other(limits=[[-5.0, -2.0], [-9.0, -1.0]]), "limits are"),
        (other(config="no toml"), "no posterior of this version"),
        (lambda kept: {name: value for name, value in kept.items() if name != "scaling"}, "'scaling'"),
        (other(scaling=[[0.0, 0.0]] * 4), "scaling: of other than 3 statistics"),
        (other(estimator={}), "no posterior of this version"),
    ],
)  # fmt: skip
def test_another_file_is_refused_in_one_line(
    posterior: Posterior, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = tmp_path / "posterior.pt"
    posterior.save(path)
    torch.save(change(torch.load(path, weights_only=True)), path)
    with pytest.raises(FileError, match=message) as caught:
        Posterior.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


class Malicious:
    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Malicious, "ran", True))


def test_what_is_no_posterior_is_neither_run_nor_read(tmp_path: Path) -> None:
    path = tmp_path / "posterior.pt"
    with pytest.raises(FileError, match="No such file"):
        Posterior.load(path)
    for content in (b"", b"text", b"PK\x03\x04 cut short"):
        path.write_bytes(content)
        with pytest.raises(FileError, match="not a posterior"):
            Posterior.load(path)
    torch.save({"kind": "microzone posterior", "version": 1, "config": Malicious()}, path)
    with pytest.raises(FileError, match="not a posterior"):
        Posterior.load(path)
    assert not Malicious.ran
    with pytest.raises(FileError, match="no folder"):
        Posterior(SPACE, USED, torch.nn.Linear(1, 1), *(np.ones(3),) * 4).save(
            tmp_path / "none" / "posterior.pt"
        )
    assert list(tmp_path.iterdir()) == [path]


def test_whole_numbers_stay_so_and_one_parameter_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = ParameterSpace(("weight_bits",), limits={"weight_bits": (16, 19)})
    z = space.uniform(600, 1)
    found = np.full((600, len(NAMES)), np.nan)
    found[:, NAMES.index("energy")] = z[:, 0] + 0.2 * np.random.default_rng(2).standard_normal(600)
    posterior = train(space, Table(("weight_bits",), z, found, np.arange(600)), ["energy"], seed=1, epochs=40)
    seen = np.full((4, len(NAMES)), np.nan)
    seen[:, NAMES.index("energy")] = [16, 17, 18, 19]
    drawn = posterior.sample(seen, 200, seed=3)[..., 0]
    assert set(np.unique(drawn)) <= {16, 17, 18, 19}
    assert (np.abs(drawn - [[16], [17], [18], [19]]) < 0.5).mean() > 0.85
    assert list(tmp_path.iterdir()) == []  # no logs left behind


def test_draws_uniform_in_the_box_are_uniform_for_the_flow() -> None:
    # Whole numbers too, the first and the last of them with a cell as wide as the others'.
    space = ParameterSpace(("threshold", "weight_bits"), limits={"weight_bits": (16, 19)})
    shares = torch.sigmoid(npe._logits(space.uniform(5000, 1), space, np.random.default_rng(2))).numpy()
    for column in shares.T:
        assert kstest(column, "uniform").pvalue > 0.01
        assert column.min() > 1e-5 and column.max() < 1 - 1e-5


def test_what_cannot_be_trained_on_is_refused() -> None:
    table = linear_table(150, 1)
    constant = replace(table, statistics=np.where(np.isnan(table.statistics), 1.0, table.statistics))
    for space, given, used, message in (
        (SPACE, table, ("speed",), "statistic 'speed': choose from cr_rate"),
        (SPACE, table, (), "at least one"),
        (SPACE, table, ("drift", "drift"), "each once"),
        (SPACE, table, ("energy",), "0 simulations with finite statistics: at least 100"),
        (SPACE, linear_table(99, 1), USED, "99 simulations with finite statistics: at least 100"),
        (SPACE, constant, ("energy", "drift"), "statistic 'energy': the same in all simulations"),
        (
            ParameterSpace(("threshold",)),
            table,
            USED,
            "parameters threshold: the table has potentiation, depression",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            train(space, given, used, seed=1)
    narrower = ParameterSpace(SPACE.names, limits={"potentiation": (-4.6, -4.4), "depression": (-2, -1)})
    with pytest.raises(ValueError, match=r"in the table: limits of the box are -4\.6 and -4\.4"):
        train(narrower, table, USED, seed=1)


def test_behaviour_that_is_not_known_is_refused(posterior: Posterior) -> None:
    with pytest.raises(ValueError, match="statistic 'well_timed': not finite"):
        posterior.sample(np.full(len(NAMES), np.nan), 5, seed=1)
    for wrong in (np.zeros(3), np.zeros((2, len(NAMES) + 1))):
        with pytest.raises(ValueError, match=f"needs {len(NAMES)} columns"):
            posterior.sample(wrong, 5, seed=1)
    with pytest.raises(ValueError, match="the table has depression, potentiation"):
        gates(posterior, replace(linear_table(3, 1), names=("depression", "potentiation")), seed=1)
    with pytest.raises(ValueError, match="potentiation = -9 in the table: limits of the box are -5 and -4"):
        gates(posterior, replace(linear_table(1, 1), z=np.array([[-9.0, -1.5]])), seed=1)
    with pytest.raises(ValueError, match="no simulation held out"):
        gates(posterior, replace(linear_table(3, 1), statistics=np.full((3, len(NAMES)), np.nan)), seed=1)


@pytest.mark.slow
def test_the_chip_is_found_from_its_behaviour_and_the_gates_pass() -> None:
    space = ParameterSpace(("potentiation", "depression", "threshold"))
    used = ("cr_rate", "well_timed", "latency", "first_cr", "extinction", "drift")
    table = simulate(space, space.uniform(6000, 1), np.arange(6000))
    posterior = train(space, table, used, seed=1)
    held_out = simulate(space, space.uniform(200, 2), 10**6 + np.arange(200))
    result = gates(posterior, held_out, seed=1)
    assert result.passed, result
    # The default chip, in sessions of their own: δp and δd are weak each, but their ratio is sharp.
    config = ChipConfig.make()
    drawn = posterior.sample(behaviour(config, Experiment(), range(123456, 123476)), 2000, seed=1)
    truth = space.values(config)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=1)
    assert (((low < truth) & (truth < high)).sum(axis=0) >= 17).all()
    ratio = drawn[:, :, 1] - drawn[:, :, 0]
    assert np.abs((ratio.mean(axis=1) - (truth[1] - truth[0])) / ratio.std(axis=1)).max() < 4
    assert ratio.std(axis=1).mean() < 0.4 * drawn[:, :, :2].std(axis=1).mean(axis=0).min()
