"""Figures 3 and 4 of the CFPC paper: against a simulation that shares no code, and what would not bear them out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import Outcome
from microzone.golden_model import ChipConfig
from microzone.golden_model.cfpc import CfpcConfig, Course, Trial, rule
from microzone.sim.build.simulators import find_simulator
from microzone.tools.cfpc.task import Task
from microzone.tools.reproduce import cfpc as module
from microzone.tools.reproduce.cfpc import cfpc_3, cfpc_4
from microzone.tools.reproduce.setting import Setting
from microzone.tools.reproduce.statements import Limits, Reproduction, plain
from support import applying, changed

CHIP = ChipConfig.make()
CONFIG = CfpcConfig.make()
N, G = 2500, 20
T = np.arange(N) * 1e-3
R = np.interp(T, [0.5, 1.0, 1.5, 2.0], [0, 1, 1, 0])
FIRST = np.exp(-0.5 * ((T - 0.2) / 0.05) ** 2)
X = np.stack([np.r_[np.zeros(100 * j), FIRST[: N - 100 * j]] for j in range(G)], axis=1)
"""Copies of the first, cut where the trial begins: shifts of one another, and not whole Gaussians."""


class Loops:
    """Loops side by side: PI of 20 and 100/s, 50 steps of delay, leaks of 100 and 3 ms; written out."""

    def __init__(self, count: int) -> None:
        self.xi, self.x1, self.x2 = (np.zeros(count) for _ in range(3))
        self.line = np.zeros((50, count))

    def step(self, n: int, u: np.ndarray) -> None:
        delayed = self.line[n % 50].copy()
        self.line[n % 50] = u
        self.xi = self.xi + 0.01 * delayed
        v = 2 * delayed + self.xi
        self.x2, self.x1 = self.x2 + (self.x1 - self.x2) / 3, self.x1 + 0.01 * (v - self.x1)


def answers(inputs: np.ndarray) -> np.ndarray:
    """From rest, to inputs of shape (steps, loops)."""
    loops, outputs = Loops(inputs.shape[1]), np.empty_like(inputs)
    for n, x in enumerate(inputs):
        outputs[n] = loops.x2
        loops.step(n, x - loops.x2)
    return outputs


def rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(signal**2)))


@pytest.fixture(scope="module")
def separate() -> dict[str, np.ndarray]:
    """Learning curves: in batch 50 trials, on-line 20."""
    error, moved = R - answers(R[:, None])[:, 0], answers(X)
    late = {"FM-ET": moved}
    late |= {f"WH+{d} ms": np.vstack([np.zeros((d, G)), X[: N - d]]) for d in (50, 70)} | {"WH": X}
    curves = {}
    for name, traces in late.items():
        w, rmse = np.zeros(G), []
        for _ in range(50):
            left = error - moved @ w
            rmse.append(rms(left))
            w += 0.005 * traces.T @ left
        curves[name] = np.array(rmse)
    optimum = np.linalg.pinv(moved) @ error
    curves["optimum"] = np.array([rms(error - moved @ optimum)])
    loop, models, w, rmse = Loops(1), Loops(G), np.zeros(G), []
    for trial in range(20):
        left = np.empty(N)
        for n in range(N):
            at = trial * N + n
            left[n] = R[n] - loop.x2[0]
            o, h = w @ X[n], models.x2
            w = w + 2**-8 * h * left[n]
            loop.step(at, np.array([left[n] + o]))
            models.step(at, X[n] - h)
        rmse.append(rms(left))
    curves["on-line"] = np.array(rmse)
    return curves


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting(CHIP)


def statement(reproduction: Reproduction, start: str) -> Any:
    (found,) = [one for one in reproduction.statements if one.text.startswith(start)]
    return found


def test_every_statement_holds_on_float_and_fixed(setting: Setting) -> None:
    for figure in (cfpc_3, cfpc_4):
        for one in figure(setting).statements:
            assert one.holds, f"{one.text}: {one.values}"


def test_the_curves_are_those_of_a_separate_simulation(
    setting: Setting, separate: dict[str, np.ndarray]
) -> None:
    numbers = plain(cfpc_4(setting).numbers)
    for name in ("FM-ET", "WH", "WH+50 ms", "WH+70 ms"):
        curve = separate[name] / separate[name][0]
        assert np.allclose(numbers["batch"][name], curve, rtol=1e-6, atol=0), name
    assert numbers["optimum"] == pytest.approx(separate["optimum"][0] / separate["FM-ET"][0], rel=1e-6)
    curve = separate["on-line"] / separate["on-line"][0]
    assert np.allclose(numbers["online"]["float"][:20], curve, rtol=1e-6, atol=0)
    assert np.allclose(numbers["online"]["fixed"][:20], curve, rtol=2e-3, atol=0)


def test_the_reference_values_are_met_within_two_percent(setting: Setting) -> None:
    reproduction = cfpc_4(setting)
    wanted = {
        "FM-ET, batch": (0.0606, 0.0602, 0.0602), "WH+50 ms, batch": (0.110, 0.0691, 0.0644),
        "WH+70 ms, batch": (0.0746, 0.0619, 0.0620), "FM-ET, on-line": (0.0706, 0.0664, 0.0664),
    }  # fmt: skip
    curves = {f"{name}, batch": {"float": curve} for name, curve in reproduction.numbers["batch"].items()}
    curves["FM-ET, on-line"] = reproduction.numbers["online"]
    for text, values in wanted.items():
        found = statement(reproduction, text)
        assert found.limits == Limits(high=0.02)
        for model, curve in curves[text].items():
            apart = np.abs(curve[[6, 19, 49]] / values - 1).max()
            assert found.values[model] == pytest.approx(apart) and apart <= 0.02


def test_stability_is_by_the_symmetric_part(setting: Setting, separate: dict[str, np.ndarray]) -> None:
    found = cfpc_4(setting).numbers["stability"]
    assert {name: one["stable"] for name, one in found.items()} == {
        "FM-ET": True, "WH": False, "WH+50 ms": True, "WH+70 ms": True,
    }  # fmt: skip
    assert found["WH"]["spectral_radius"] < 1 and separate["WH"][-1] > 100 * separate["WH"][0]


# --- signals made by hand ---------------------------------------------------------------------


def test_o_leads_by_the_time_that_it_was_shifted() -> None:
    task = Task.of(CONFIG)
    velocity = np.diff(R, append=0.0)
    for lead in (0, 40, 100):
        o = np.roll(velocity, -lead)
        assert 1000 * module._lead_s(task, o) == pytest.approx(lead, abs=1.5)
        assert 1000 * module._lead_s(task, o, 0.5) == pytest.approx(lead, abs=1.5)
    assert np.isnan(module._lead_s(task, np.zeros(N)))


def test_settling_ends_when_the_output_stays_near() -> None:
    task = Task.of(CONFIG)
    output = R.copy()
    output[1000:1200] = 0.5
    output[1200:1243] = 0.949
    output[1243:1300] = 0.951
    assert 1000 * module._settling_s(task, output) == pytest.approx(243)
    assert 1000 * module._settling_s(task, output, 0.06) == pytest.approx(200)
    assert module._settling_s(task, R) == 0
    output[1480:] = 0.5
    assert np.isnan(module._settling_s(task, output))


def without(signal: str, course: Course) -> Course:
    """A course whose last trial is like its first in a signal, or has no o."""
    value = np.zeros(N) if signal == "o" else getattr(course.first, signal)
    trial = {name: getattr(course.last, name) for name in ("y", "error", "o")} | {signal: value}
    return replace(course, last=Trial(**trial))


@pytest.mark.parametrize(
    ("signal", "start"), [("y", "After learning y tracks r without delay"), ("o", "o leads the onsets")]
)
def test_what_has_not_learnt_bears_nothing_out(signal: str, start: str, setting: Setting) -> None:
    runs = {m: replace(run, course=without(signal, run.course)) for m, run in module._runs(setting).items()}
    with mock.patch.object(module, "_runs", lambda setting: runs):
        failed = [one.text for one in cfpc_3(setting).statements if not one.holds]
    assert len(failed) == 1 and failed[0].startswith(start)


@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("WH", {"By trial 7 it has", "FM-ET, on-line", "On-line, fixed"}),
        ("WH+50 ms", {"By trial 7 it has", "FM-ET, on-line"}),
        ("low-order", {"By trial 7 it has", "FM-ET, on-line"}),
    ],
)
def test_another_rule_on_line_does_not_pass_for_it(name: str, failing: set[str]) -> None:
    other = Setting(CHIP)
    other.once("cfpc task", lambda: Task.of(rule(name, CONFIG)))
    failed = [one.text for one in cfpc_4(other).statements if not one.holds]
    assert {text for text in failed if not any(text.startswith(start) for start in failing)} == set()
    assert len(failed) == len(failing)


@pytest.mark.parametrize(
    ("old", "new", "start"),
    applying(
        [
            (
                "problem.learn(config.traces, rate",
                "problem.learn(config.traces, rate / 4",
                "By trial 7 FM-ET",
            ),
            ('near["WH+50 ms"] / near["FM-ET"]', 'near["FM-ET"] / near["WH+50 ms"]', "but not as fast"),
            ('_first(curves["WH"][1:] > 1)', '_first(curves["WH"][1:] > 9)', "WH worsens rapidly"),
            ('curves["WH+70 ms"][-1]', 'curves["WH+70 ms"][6]', "WH+70 ms performs"),
        ],
        module,
    ),
)
def test_a_broken_figure_is_noticed(old: str, new: str, start: str) -> None:
    failed = [one.text for one in changed(module, old, new).cfpc_4(Setting(CHIP)).statements if not one.holds]
    assert any(text.startswith(start) for text in failed), failed


# --- the verb ---------------------------------------------------------------------------------


def test_the_verb_names_paper_and_configuration(microzone: Callable[..., Outcome]) -> None:
    outcome = microzone("reproduce", "cfpc-4", "8", "--sessions", "2", "--no-rtl", "--workers", "0", "--json")
    assert outcome.status == 0, outcome.err
    eight, four = json.loads(outcome.out)["figures"]
    assert (eight["figure"], four["figure"]) == ("8", "cfpc-4")
    assert eight["source"] == "Herreros et al. 2014, doi 10.3389/fbioe.2014.00014"
    assert four["source"] == "Herreros, Arsiwalla and Verschure 2016, NIPS 29"
    assert eight["config_sha256"] == CHIP.digest and four["config_sha256"] == CONFIG.digest
    out = Path("reproduce-output")
    assert {f"figure-cfpc-4.{ending}" for ending in ("png", "json", "md")} <= {p.name for p in out.iterdir()}
    rows = [line for line in (out / "index.md").read_text().splitlines() if line.startswith("| [")]
    assert "| Herreros et al. 2014, doi" in rows[0] and "| Herreros, Arsiwalla and Verschure 2016" in rows[1]
    assert rows[1].startswith("| [CFPC, figure 4: learning curves of four rules](figure-cfpc-4.md) |")
    assert four["source"] + "." in (out / "figure-cfpc-4.md").read_text()


@pytest.mark.slow
def test_the_gateware_equals_the_fixed_point_model_in_all_trials() -> None:
    """50 trials of 2,500 steps in Verilator."""
    setting = Setting(CHIP, simulator=find_simulator("verilator"))
    for figure in (cfpc_3, cfpc_4):
        equal = statement(figure(setting), "RTL equals fixed in o, h and w at each of 125,000 steps")
        assert equal.values == {"rtl": 0.0} and equal.holds
    for one in cfpc_3(setting).statements:
        if "fixed" in one.values:
            assert one.values["rtl"] == one.values["fixed"], one.text
