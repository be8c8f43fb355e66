"""Behind ``microzone infer``: means over sessions, verdicts, summaries, widths of words, gateware."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome
from infer_requests import CONFIG, SMALL, WANT, asked
from microzone.golden_model import ChipConfig, Events, Result
from microzone.golden_model.inference.behaviour import NAMES, Experiment, behaviour
from microzone.tools.infer import checks, run
from microzone.tools.infer.averages import Averages
from microzone.tools.infer.checks import Shown, check_rtl
from microzone.tools.infer.methods import Answer
from microzone.tools.infer.request import Wanted
from microzone.tools.infer.store import Simulations
from microzone.tools.infer.summary import masses, quantile, stable_ratio, summary
from microzone.tools.infer.words import Width, narrowest, widths
from microzone.tools.models import run_model
from rich.console import Console

Microzone = Callable[..., Outcome]


def test_means_of_draws_by_hand() -> None:
    from microzone.golden_model.inference.simulations import Table

    def table(values: list[float]) -> Table:
        statistics = np.tile(np.array(values)[:, None], (1, len(NAMES)))
        return Table(("threshold",), np.zeros((len(values), 1)), statistics, np.arange(len(values)))

    averages = Averages(table([1.0, 2.0, np.nan]))
    averages.add(np.array([0, 0, 1]), table([3.0, 5.0, 4.0]))
    np.testing.assert_allclose(averages.mean[:, 0], [3, 3, np.nan])
    np.testing.assert_allclose(averages.squares[:, 0], [35 / 3, 10, np.nan])
    assert averages.sessions.tolist() == [3, 2, 1]


def test_constraints_are_means_and_squares_about_what_is_wanted() -> None:
    rng = np.random.default_rng(1)
    sessions = rng.normal(size=(50, 8, len(NAMES)))
    found = asked().constraints(sessions.mean(axis=1), (sessions**2).mean(axis=1))
    cr_rate, drift = sessions[..., NAMES.index("cr_rate")], sessions[..., NAMES.index("drift")]
    wanted = [cr_rate.mean(1), ((cr_rate - 0.45) ** 2).mean(1), drift.mean(1), (drift**2).mean(1)]
    np.testing.assert_allclose(found.T, wanted)
    assert asked().labels == ["cr_rate", "variance of cr_rate", "drift", "variance of drift"]
    np.testing.assert_allclose(asked().targets, [0.45, 0.3**2, 0, 0.1**2])


def test_no_session_serves_twice(tmp_path: Path) -> None:
    numbers = np.array([0, 1, 31, 5000, 6019, 7000, 8499])
    found = []
    with ExitStack() as stack:
        for seed in (1, 2):
            simulations = Simulations(
                tmp_path / str(seed), asked(seed=seed), (None, 0), Console(quiet=True), stack
            )
            found.append(simulations.seeds(np.arange(0, 10**6, 999)[:, None], numbers).ravel())
    assert np.unique(np.concatenate(found)).size == 2 * found[0].size
    assert max(seeds.max() for seeds in found) < 2**63 // 10**6, "a seed of 10**7 still fits"


def test_more_draws_are_these_and_others(tmp_path: Path) -> None:
    with ExitStack() as stack:
        drawn = []
        for count in (400, 700):
            simulations = Simulations(
                tmp_path / str(count), asked(simulations=count), (None, 0), Console(quiet=True), stack
            )
            drawn.append(simulations.draw())
    np.testing.assert_array_equal(drawn[1][:400], drawn[0])
    assert np.unique(drawn[1], axis=0).shape == (700, 2)


@pytest.mark.parametrize(
    ("mean", "spread", "within"), [(0.8, 0.25, True), (0.5, 0.25, False), (0.8, 0.6, False)], ids=str
)
def test_a_behaviour_is_as_wanted_or_not(mean: float, spread: float, within: bool) -> None:
    values = mean + spread * np.tile([-1.0, 1.0], 200)
    found = Shown.of(Wanted("cr_rate", 0.8, 0.25), values, seen=False, among=1)
    assert found.within is within
    assert found.mean == pytest.approx(mean) and found.spread == pytest.approx(math.hypot(spread, mean - 0.8))


def test_how_unlikely_a_seen_behaviour_is() -> None:
    values = np.arange(400) / 400

    def tail(value: float) -> Shown:
        return Shown.of(Wanted("cr_rate", value), values, seen=True, among=2)

    assert tail(0.5).tail == pytest.approx(1, abs=0.01) and tail(0.9).tail == pytest.approx(0.2, abs=0.01)
    assert tail(0.9).within and not tail(0.9995).within


def test_the_summary_of_known_samples() -> None:
    rng = np.random.default_rng(1)
    potentiation = rng.uniform(-5, -4, 5000)
    z = np.stack([potentiation, potentiation + 2.64 + rng.normal(0, 0.05, 5000)], axis=1)
    found = summary(asked(), Answer(z, np.full(5000, 1 / 5000), {}))
    assert found["log_ratio"]["mean"] == pytest.approx(2.64, abs=0.005)
    assert found["log_ratio"]["deviation"] == pytest.approx(0.05, abs=0.003)
    assert found["correlations"][0][1] > 0.95
    stiffest = found["directions"][0]["vector"]
    assert stiffest["potentiation"] * stiffest["depression"] < 0, "the ratio, δd against δp"
    assert found["directions"][0]["spread"] < 0.3 * found["directions"][1]["spread"]
    assert found["parameters"]["potentiation"]["quantiles"]["0.5"] == pytest.approx(-4.5, abs=0.03)


def test_weighted_quantiles_and_masses() -> None:
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.6, 0.3])
    assert [quantile(values, weights, share) for share in (0.5, 0.7, 0.95)] == [1, 2, 3]
    found = masses(values, weights, 1, 4)
    assert list(found) == [1, 2, 3, 4] and list(found.values()) == pytest.approx([0.6, 0.3, 0.1, 0.0])


def test_no_io_rate_no_stable_ratio() -> None:
    quiet = dataclasses.replace(Experiment(), io=dataclasses.replace(Experiment().io, far_hz=0.0))
    assert stable_ratio(asked(experiment=quiet)) == math.inf


# --- words ------------------------------------------------------------------------------------


def test_the_narrowest_word_that_every_wider_one_agrees_with() -> None:
    def of(*distances: float | None) -> int | None:
        return narrowest([Width(20 + i, distance, "") for i, distance in enumerate(distances)])

    assert of(None, 3.0, 0.9, 0.5) == 22 and of(0.9, 3.0, 0.8) == 22
    assert of(None, None) is None and of(0.5, 2.0) is None


def test_distances_grow_as_words_narrow(tmp_path: Path) -> None:
    sample = checks.Sample(np.zeros(0), CONFIG, np.zeros(0), np.zeros(0), False)
    with ExitStack() as stack:
        simulations = Simulations(tmp_path, asked(), (None, 0), Console(quiet=True), stack)
        found = widths(asked(), [sample], simulations, "weight_bits", 40)
    distance = {width.bits: width.distance for width in found}
    assert list(distance) == list(range(12, 33))
    assert distance[17] is None and distance[20] is not None  # δp is off by 9 % in 17 bits
    assert distance[20] > 2 * distance[26] >= 0 and distance[32] < 0.5


# --- as gateware ------------------------------------------------------------------------------


@pytest.mark.parametrize("flaw", ["none", "w", "behaviour"])
def test_the_verdict_on_gateware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flaw: str) -> None:
    """With the fixed-point model in place of the simulated gateware, and what it may do wrong."""

    def model(name: str, events: Events, config: ChipConfig, **_: Any) -> Result:
        result = run_model("fixed", events, config)
        if name == "rtl" and flaw == "w":
            assert result.w_raw is not None
            result.w_raw[1000:] += 1
        return result

    monkeypatch.setattr(checks, "run_model", model)
    wanted = (Wanted("cr_rate", 0.1 if flaw == "behaviour" else 0.8), Wanted("drift", 0.0, 0.1))
    request_ = asked(wanted=wanted)
    own = behaviour(CONFIG, request_.experiment, range(20))
    sample = checks.Sample(np.array([-4.47, -1.79]), CONFIG, own.mean(axis=0), own.std(axis=0), False)
    (path,) = checks.write_samples(request_, [sample], tmp_path)
    with ExitStack() as stack:
        simulations = Simulations(tmp_path, request_, (None, 0), Console(quiet=True), stack)
        found = check_rtl(request_, sample, path, simulations, None, Console(quiet=True))  # type: ignore[arg-type]
    assert found["bit_accurate"] is (flaw != "w") and found["shows"] is (flaw != "behaviour")
    assert (found["first_difference"] or "paired: ").startswith("paired: ")
    seed = int(simulations.seeds(np.zeros(1, np.int64), 7000)[0])
    alone = behaviour(CONFIG, request_.experiment, [seed], variant="fixed")[0]
    for name, value in found["statistics"].items():
        assert value == pytest.approx(alone[NAMES.index(name)], abs=1e-12), name


@pytest.mark.slow
def test_a_sample_on_gateware(microzone: Microzone) -> None:
    done = microzone("infer", *WANT, *SMALL, "--check-rtl", "--words", "weight_bits", "--word-sessions", 50)
    assert done.status == 0, done.err
    assert "sample-1.toml on RTL: BIT-ACCURATE with fixed" in done.out and "shows the behaviour" in done.out
    report = json.loads(Path("found/report.json").read_text())
    assert report["rtl"]["bit_accurate"] and report["rtl"]["steps"] > 200_000
    assert report["words"]["weight_bits"]["narrowest"] is not None


def test_samples_of_before_are_removed(tmp_path: Path) -> None:
    sample = checks.Sample(
        np.array([-4.47, -1.79]), CONFIG, np.zeros(len(NAMES)), np.zeros(len(NAMES)), False
    )
    checks.write_samples(asked(), [sample] * 3, tmp_path)
    checks.write_samples(asked(), [sample], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["sample-1.toml"]
    assert ChipConfig.load(tmp_path / "sample-1.toml") == CONFIG
    assert run._CONDITIONS >= 1
