"""The DSN paper's examples: what bears them out and what does not, the verb, and what is asked of the extra."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import EXTRA, Outcome
from microzone.golden_model import ChipConfig
from microzone.golden_model.inference import linear_system, rank_one
from microzone.tools.errors import UserError
from microzone.tools.reproduce import dsn as module
from microzone.tools.reproduce import go_no_go
from microzone.tools.reproduce.command import FIGURES, WITH_INFERENCE, chosen_figures
from microzone.tools.reproduce.dsn_picture import Compared
from microzone.tools.reproduce.setting import Setting
from microzone.tools.reproduce.statements import Reproduction, plain
from rich.console import Console
from scipy.integrate import quad
from scipy.stats import kstest
from support import applying, changed

CHIP = ChipConfig.make()
LINEAR = (
    "E[real(λ)]", "E[(real(λ) - 0)²]", "E[imag(λ)]", "E[(imag(λ) - 4π)²]", "The flow's density",
    "Its multipliers", "Each parameter", "a2·a3", "a1 and a4", "Re-weighted draws", "They have its η",
)  # fmt: skip
FEW = {
    "rounds": 2, "steps": 3, "batch": 8, "check": 64, "last_check": 256, "transforms": 2, "hidden": 4,
    "tolerance": 0.1,
}  # fmt: skip


@pytest.fixture
def extra() -> None:
    pytest.importorskip("torch", reason=EXTRA)
    pytest.importorskip("zuko", reason=EXTRA)


def failed(reproduction: Reproduction) -> list[str]:
    return [one.text for one in reproduction.statements if not one.holds]


# --- figure 2, by a network that is known -----------------------------------------------------

Drawn = tuple[np.ndarray, Any]


@pytest.fixture(scope="module")
def reweighted() -> Drawn:
    """A million draws, by the way that the figure goes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_DRAWS", 1_000_000)
        return module._reweighted_linear(Setting(CHIP))


def network(
    reweighted: Drawn, change: Callable[[np.ndarray], np.ndarray] = lambda z: z, **facts: Any
) -> SimpleNamespace:
    """As if trained to the optimum, in the mode with a2 below 0; and changed."""
    draws, exact = reweighted
    mode = draws[:, 1] < 0
    rows = np.random.default_rng(1).choice(
        np.flatnonzero(mode), 20_000, p=exact.weights[mode] / exact.weights[mode].sum()
    )
    z = change(draws[rows])
    entropy, eta = linear_system.quadrature()
    return SimpleNamespace(
        **{
            "entropy": entropy - math.log(2),
            "violation": linear_system.statistics(z).mean(axis=0) - linear_system.TARGETS,
            "standard_error": np.full(4, 0.01), "multipliers": eta, "history": np.zeros((2, 5)),
            "converged": True, "seconds": 1.0, "sample": lambda count, seed: z[:count],
        } | facts
    )  # fmt: skip


@pytest.fixture
def judged(reweighted: Drawn, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reproduction]:
    monkeypatch.setattr(module, "_reweighted_linear", lambda setting: reweighted)

    def judge(*arguments: Any, **facts: Any) -> Reproduction:
        monkeypatch.setattr(module, "train", lambda *_: network(reweighted, *arguments, **facts))
        return module.dsn_2(Setting(CHIP))

    return judge


def test_the_optimum_bears_out_every_statement(judged: Callable[..., Reproduction], tmp_path: Path) -> None:
    found = judged()
    assert failed(found) == []
    assert len(found.statements) == len(LINEAR)
    for one, start in zip(found.statements, LINEAR, strict=True):
        assert one.text.startswith(start) and set(one.values) == {"float"} and one.paper
        assert "|" not in "".join(one.row())
    assert "seconds" not in " ".join(one.text for one in found.statements)
    facts = json.loads(json.dumps(plain(found.facts()), allow_nan=False))
    assert facts["numbers"]["quadrature"]["entropy"] == pytest.approx(11.389, abs=1e-3)
    assert np.allclose(facts["numbers"]["quadrature"]["eta"], [0, 0.5, -0.008, 0.494], atol=1e-3)
    assert facts["numbers"]["correlations"]["flow"][0][3] == pytest.approx(-0.984, abs=0.003)
    found.draw(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def shifted(column: int, by: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda z: z + by * np.eye(4)[column]


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"entropy": 10.696 - 0.11}, ("The flow's density",)),
        ({"entropy": 10.696 + 0.06}, ("The flow's density",)),  # more than the most
        ({"multipliers": np.array([0.0, 0.5, 0.1, 0.49])}, ("Its multipliers",)),
        ({"violation": np.array([0.031, 0, 0, 0])}, ("E[real(λ)]",)),
        ({"violation": np.array([0, 0, 0, -0.031])}, ("E[(imag(λ) - 4π)²]",)),
    ],
)
def test_a_network_short_of_the_optimum_is_noticed(
    change: dict[str, Any], failing: tuple[str, ...], judged: Callable[..., Reproduction]
) -> None:
    found = failed(judged(**change))
    assert len(found) == len(failing) and all(map(str.startswith, found, failing)), found


def test_samples_of_another_structure_are_noticed(judged: Callable[..., Reproduction]) -> None:
    kept = {"violation": np.zeros(4)}

    def loose(z: np.ndarray) -> np.ndarray:
        """The marginals as they are, a1 and a4 independent."""
        return np.stack([np.random.default_rng(2).permutation(z[:, 0]), *z[:, 1:].T], axis=1)

    assert [text[:9] for text in failed(judged(loose, **kept))] == ["a1 and a4"]
    narrow = failed(judged(lambda z: z * np.array([0.8, 1, 1, 0.8]), **kept))
    assert [text[:14] for text in narrow] == ["Each parameter"]
    mirrored = failed(judged(lambda z: np.where(np.arange(len(z)) == 7, -1, 1)[:, None] * np.abs(z), **kept))
    assert any(text.startswith("a2·a3") for text in mirrored)


def test_a_network_of_both_modes_must_have_the_entropy_of_both(
    judged: Callable[..., Reproduction],
) -> None:
    both, one = linear_system.quadrature()[0], linear_system.quadrature()[0] - math.log(2)

    def split(share: float) -> Callable[[np.ndarray], np.ndarray]:
        # (a2, a3) -> -(a2, a3) is the other mode.
        return lambda z: z * np.where(np.arange(len(z)) < share * len(z), -1, 1)[:, None] ** [0, 1, 1, 0]

    assert failed(judged(split(0.5), entropy=both)) == []
    assert [text[:18] for text in failed(judged(split(0.5), entropy=one))] == ["The flow's density"]
    quarter = one - 0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    found = judged(split(0.25), entropy=quarter)
    assert failed(found) == [] and found.numbers["a2 > 0"] == pytest.approx(0.25)
    assert found.statements[4].values["float"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "start"),
    applying(
        [
            ("- math.log(2) - sum(", "- sum(", "The flow's density"),
            ("(_DRAWS, setting.seed):", "(_DRAWS, 1):\n                statistics += 0.1", "They have its η"),
            ("share / within[0], (1 - share)", "1 / within[0], 1", "Each parameter"),
            ("errors.max()", "10 * errors.max()", "They have its η"),
        ],
        module,
    ),
)
def test_a_broken_figure_is_noticed(
    old: str, new: str, start: str, reweighted: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = changed(module, old, new)
    monkeypatch.setattr(other, "train", lambda *_: network(reweighted))
    if "_DRAWS" in old:
        monkeypatch.setattr(other, "_DRAWS", 1_000_000)
    else:
        monkeypatch.setattr(other, "_reweighted_linear", lambda setting: reweighted)
    assert any(text.startswith(start) for text in failed(other.dsn_2(Setting(CHIP)))), start


def test_distances_of_distributions_are_those_of_scipy() -> None:
    rng = np.random.default_rng(3)
    found, drawn = rng.normal(size=300), rng.normal(0.2, size=500)
    wanted = kstest(found, drawn).statistic
    assert module._apart(found, drawn, np.full(500, 1 / 500)) == pytest.approx(wanted, abs=1 / 300)
    # A draw of weight 2 is two draws.
    twice = np.where(drawn > 0, 2.0, 1.0)
    wanted = kstest(found, np.repeat(drawn, twice.astype(int))).statistic
    assert module._apart(found, drawn, twice / twice.sum()) == pytest.approx(wanted, abs=1 / 300)
    for shape in ((1, 3), (3, 1)):  # too low, too high
        values = rng.beta(*shape, 400) * 0.9
        assert go_no_go._from_uniform(values, 0.0, 0.9) == pytest.approx(
            kstest(values / 0.9, "uniform").statistic
        )


# --- Go/No-Go ---------------------------------------------------------------------------------


def test_feedback_is_unstable_where_the_slope_of_silence_is_one() -> None:
    slope, _ = quad(lambda x: math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) / math.cosh(x) ** 2, -20, 20)
    assert go_no_go._unstable() == pytest.approx(1 / slope, rel=1e-4)


def networks(difference: Sequence[float], count: int = 400) -> go_no_go._Simulated:
    """That differ from a mean field as told, with standard errors of 0.005, 0.0005, 0.0005."""
    spread = np.sqrt(count - 1) * np.array([0.005, 0.0005, 0.0005])
    sides = np.where(np.arange(count) % 2, -1, 1)[:, None]
    mean_field = np.random.default_rng(7).uniform(size=(count, 3))
    return go_no_go._Simulated(1000, mean_field + np.array(difference) + spread * sides, mean_field)


def test_networks_that_miss_a_constraint_are_noticed() -> None:
    found: Any = SimpleNamespace(violation=np.array([0.001, 0.0001, -0.0001]), standard_error=np.zeros(3))
    met = networks([0.0135, -0.0015, 0.0015])
    assert met.error == pytest.approx([0.005, 0.0005, 0.0005])
    statements = [go_no_go._network_statement(met, k, found) for k in range(3)]
    assert all(one.holds for one in statements)
    assert [one.values["float"] for one in statements] == pytest.approx([1.0145, 0.0086, 0.0114])
    for difference, index in (([0.015, 0, 0], 0), ([0, 0.0015, 0], 1), ([0, 0, -0.0015], 2)):
        statements = [go_no_go._network_statement(networks(difference), k, found) for k in range(3)]
        assert [one.holds for one in statements] == [k != index for k in range(3)]
        assert "3.2 standard errors from the target" in statements[index].reason
    found.standard_error = np.array([0.005, 0, 0])
    assert go_no_go._network_statement(networks([0.015, 0, 0]), 0, found).holds
    single = go_no_go._Simulated(1000, rank_one.TARGETS[None], rank_one.TARGETS[None])
    alone = go_no_go._network_statement(single, 0, found)
    assert not alone.holds and alone.reason == "one network has no standard error"


def compared(change: Callable[[np.ndarray], np.ndarray]) -> Compared:
    rng = np.random.default_rng(4)
    draws = rng.uniform(rank_one.LOW, rank_one.HIGH, (40_000, 5))
    feedback = draws[:, 0] * draws[:, 1]
    likely = np.exp(-2 * (draws[:, 3] + feedback - 2.5) ** 2) * (feedback < 1.5)
    z = draws[rng.choice(len(draws), 20_000, p=likely / likely.sum())]
    box = rank_one.LOW, rank_one.HIGH
    return Compared(rank_one.NAMES, change(z), draws, likely / likely.sum(), box)


def test_what_is_tied_and_what_is_free() -> None:
    def told(change: Callable[[np.ndarray], np.ndarray]) -> list[bool]:
        return [one.holds for one in go_no_go._structure_statements(compared(change))]

    def loose(column: int) -> Callable[[np.ndarray], np.ndarray]:
        uniform = np.random.default_rng(5).uniform(rank_one.LOW, rank_one.HIGH, (20_000, 5))
        return lambda z: np.where(np.arange(5) == column, uniform, z)

    assert told(lambda z: z) == [True, True, True]
    assert told(loose(3)) == [True, False, True]
    assert told(loose(0))[0] is False
    assert told(lambda z: z * [1, 1, 1, 1, 0.9]) == [True, True, False]


class Backwards:
    """A cluster whose last chunk is finished first."""

    def map(self, function: Callable[[Any], Any], chunks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for index in reversed(range(len(chunks))):
            yield index, function(chunks[index])


def test_networks_are_the_same_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_no_go, "_mean_field", lambda found, z, neurons: np.zeros((len(z), 3)))
    for name, value in (("_NEURONS", 30), ("_FEWER_NEURONS", 20), ("_CHUNK", 2)):
        monkeypatch.setattr(go_no_go, name, value)
    z = np.random.default_rng(6).uniform(rank_one.LOW, rank_one.HIGH, (30, 5))
    found: Any = SimpleNamespace(sample=lambda count, seed: z[:count])
    here, there, other = (
        go_no_go._simulate(Setting(CHIP, seed=seed, sessions=5, run=run), found)
        for seed, run in ((1, None), (1, Backwards()), (2, None))
    )
    for one, same, another, count, neurons in zip(here, there, other, (5, 3), (30, 20), strict=True):
        assert one.statistics.shape == (count, 3) and one.neurons == neurons
        assert (one.statistics == same.statistics).all() and (one.statistics != another.statistics).any()
    seeds: list[int] = []
    monkeypatch.setattr(rank_one, "simulate_networks", lambda z, n, seed: seeds.append(seed) or z[:, :3])
    go_no_go._simulate(Setting(CHIP, seed=1, sessions=5), found)
    go_no_go._simulate(Setting(CHIP, seed=2, sessions=5), found)
    assert len(seeds) == len(set(seeds)) == 10, "each chunk of either size has a seed of its own"


# --- the verb ---------------------------------------------------------------------------------


@pytest.fixture
def tiny(extra: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything as it is, but in seconds: networks that are not trained."""
    monkeypatch.setattr(module, "_FLOW", FEW)
    monkeypatch.setattr(module, "_DRAWS", 400_000)
    monkeypatch.setattr(rank_one, "TRAINING", FEW)
    monkeypatch.setattr(go_no_go, "_UNIFORM", 5000)


@pytest.mark.usefixtures("tiny")
def test_the_verb_writes_both(microzone: Callable[..., Outcome]) -> None:
    outcome = microzone("reproduce", *WITH_INFERENCE, "--sessions", "1", "--workers", "0", "--json")
    assert outcome.status == 0, outcome.err
    linear, task = json.loads(outcome.out)["figures"]
    assert (linear["figure"], task["figure"]) == WITH_INFERENCE
    for one in (linear, task):
        assert one["source"].startswith("Bittner and Cunningham")
        assert one["numbers"]["flow"]["training_seconds"] > 0
        assert len(one["numbers"]["flow"]["history"]) == FEW["rounds"]
        assert one["numbers"]["flow"]["converged"] is False
        assert {*one["statements"][0]["values"]} == {"float"}
        picture = Path(f"reproduce-output/figure-{one['figure']}.png")
        assert picture.read_bytes().startswith(b"\x89PNG")
        table = Path(f"reproduce-output/figure-{one['figure']}.md").read_text().splitlines()
        rows = [line for line in table if line.startswith("| ")]
        assert len(rows) == 2 + len(one["statements"]) and {row.count("|") for row in rows} == {8}
        held = {s["statement"].split(" (")[0]: s["holds"] for s in one["statements"]}
        assert not held["The flow's density is of largest entropy"], "after six steps"
        assert not held["Each parameter is distributed as in re-weighted draws"]
    assert len(task["numbers"]["networks"]["1000"]["statistics"]) == 1
    assert len(task["numbers"]["networks"]["500"]["statistics"]) == 1
    index = Path("reproduce-output/index.md").read_text()
    assert "| [DSN, figure 2: " in index and "| [DSN: Go/No-Go, " in index


def test_without_the_extra_a_line_says_how_to_get_it(
    microzone: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    needed = "needs torch, sbi, zuko: make inference"
    for name in WITH_INFERENCE:
        outcome = microzone("reproduce", "10", name, "--out", "r", "--workers", "0")
        assert outcome.status == 2 and outcome.err == f"error: figure {name!r}: {needed}\n"
        assert not Path("r").exists()
    told = io.StringIO()
    chosen = chosen_figures(["all"], Console(file=told, width=300))
    assert chosen == [name for name in FIGURES if name not in WITH_INFERENCE]
    assert told.getvalue() == f"left out: dsn-2, dsn-go-no-go, as each {needed}\n"
    told.truncate(0)
    assert chosen_figures(["10"], Console(file=told)) == ["10"] and not told.getvalue().strip("\0")
    with pytest.raises(UserError, match="figure 'dsn-2': needs"):
        chosen_figures(["all", "dsn-2"])


def test_with_the_extra_all_is_all(extra: None) -> None:
    assert chosen_figures(["all"]) == list(FIGURES) and set(WITH_INFERENCE) < set(FIGURES)


@pytest.mark.slow
@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("name", WITH_INFERENCE)
def test_what_holds_of_the_paper(name: str) -> None:
    assert failed(FIGURES[name](Setting(CHIP))) == []
