"""``microzone cfpc``: what it writes and tells, own references and bases, rules, the gateware, mistakes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
import pytest
from conftest import Outcome
from microzone.golden_model.cfpc import (
    AdaptiveFilterFixed,
    AdaptiveFilterFloat,
    CfpcConfig,
    Problem,
    Trial,
    rule,
    run_trials,
)
from microzone.golden_model.cfpc.fixed_filter import Steps
from microzone.tools.cfpc.task import Task, rule_name

Microzone = Callable[..., Outcome]
CONFIG, BLINK = CfpcConfig.make(), CfpcConfig.blink()
AT = np.arange(1500) * 0.001
HILL = np.exp(-(((AT - 0.7) / 0.1) ** 2))
"""A reference that is not the configured one."""


def report_of(outcome: Outcome, status: int = 0) -> dict[str, Any]:
    assert outcome.status == status, outcome.err
    report: dict[str, Any] = json.loads(outcome.out)
    return report


# --- what it writes and tells -----------------------------------------------------------------


def test_pursuit_is_the_run_of_the_fixed_point_model(microzone: Microzone) -> None:
    report = report_of(microzone("cfpc", "pursuit", "--json"))
    expected = run_trials(AdaptiveFilterFixed(CONFIG), CONFIG, 50)
    real = run_trials(AdaptiveFilterFloat(CONFIG), CONFIG, 50)
    assert {path.name for path in Path("cfpc-output").iterdir()} == {
        "figure.png",
        "result.npz",
        "report.json",
        "microzone-run.json",
    }
    assert json.loads(Path("cfpc-output/report.json").read_text()) == report
    assert Path("cfpc-output/figure.png").read_bytes().startswith(b"\x89PNG")
    with np.load("cfpc-output/result.npz") as result:
        assert CfpcConfig.from_toml(str(result["config"])) == CONFIG and str(result["model"]) == "fixed"
        for name, values in {
            "r": CONFIG.reference, "x": CONFIG.basis_inputs, "rmse": expected.rmse,
            "relative": expected.relative, "weights": expected.weights,
            "weights_raw": expected.weights / CONFIG.formats.weight.lsb,
            "y_first": expected.first.y, "e_first": expected.first.error, "o_first": expected.first.o,
            "y_last": expected.last.y, "e_last": expected.last.error, "o_last": expected.last.o,
        }.items():  # fmt: skip
            assert np.array_equal(result[name], values), name
        assert result["weights"].shape == result["weights_raw"].shape == (51, 20)
    relative = report["relative_rmse"]
    assert list(relative) == ["1", "7", "20", "50"]
    for trial, value in {"1": 1.0, "7": 0.0706, "20": 0.0664, "50": 0.0664}.items():
        assert relative[trial] == pytest.approx(value, rel=0.02)
    assert report["optimum"]["relative_to_reactive"] == pytest.approx(0.0602, rel=0.02)
    assert report["optimum"]["rmse"] == pytest.approx(
        report["optimum"]["relative_to_first"] * report["rmse"]["first"], rel=1e-6
    )
    assert report["lag_s"]["before"]["half_height"] == pytest.approx(0.089, abs=0.001)
    assert abs(report["lag_s"]["after"]["half_height"]) < 0.002
    assert report["stability"]["stable"] and report["warnings"] == []
    apart = np.abs(expected.rmse / real.rmse - 1)
    found = report["fixed_against_float"]
    assert found["largest_deviation"] == pytest.approx(apart.max(), abs=1e-9) and apart.max() < 0.002
    assert found["trial"] == apart.argmax() + 1
    assert report["config_sha256"] == CONFIG.digest


def test_it_says_in_words_what_the_report_has(microzone: Microzone) -> None:
    outcome = microzone("cfpc", "pursuit", "--out", "p")
    assert outcome.status == 0, outcome.err
    for words in (
        "pursuit, fixed: rule FM-ET, 50 trials of 2.5 s, 20 bases (shifted)",
        "lag behind the reference: 89 ms at half height (83 ms along the movement) reactive, 0 ms at half height",
        "stable: smallest eigenvalue of the symmetric part 71.91",
        "fixed against float: RMSE differs by at most 0.0",
        "picture, result and report in p",
    ):
        assert words in outcome.out
    rows = [line.split() for line in outcome.out.splitlines() if line.startswith(("trial", "relative"))]
    assert rows == [
        ["trial", "1", "7", "20", "50", "optimum"],
        ["relative", "RMSE", "1.0000", "0.0706", "0.0664", "0.0664", "0.0643"],
    ]
    assert "warning" not in outcome.out


def test_float_is_compared_with_nothing(microzone: Microzone) -> None:
    report = report_of(microzone("cfpc", "blink", "--model", "float", "--trials", "3", "--json"))
    assert report["task"] == "blink" and list(report["relative_rmse"]) == ["1", "3"]
    assert "fixed_against_float" not in report and "bit_accurate" not in report
    expected = run_trials(AdaptiveFilterFloat(BLINK), BLINK, 3)
    with np.load("cfpc-output/result.npz") as result:
        assert np.array_equal(result["rmse"], expected.rmse) and "weights_raw" not in result
    assert report["lag_s"]["before"]["along"] is None  # the reflex closes the eyelid by little more than half


@pytest.mark.parametrize(("task", "config"), [("pursuit", CONFIG), ("blink", BLINK)])
def test_a_configuration_is_printed_and_taken_back(
    task: str, config: CfpcConfig, microzone: Microzone
) -> None:
    printed = microzone("cfpc", "config", task).out
    assert CfpcConfig.from_toml(printed) == config
    Path("c.toml").write_text(printed)
    report = report_of(microzone("cfpc", "pursuit", "--config", "c.toml", "--trials", "1", "--json"))
    assert report["config_sha256"] == config.digest


def test_sections_that_a_file_lacks_are_those_of_the_task(microzone: Microzone) -> None:
    Path("c.toml").write_text("[controller]\nproportional = 0.25\nintegral = 5.0\ndelay_s = 0.02\n")
    report = report_of(microzone("cfpc", "blink", "--config", "c.toml", "--trials", "1", "--json"))
    assert report["config_sha256"] == BLINK.replace(controller={"proportional": 0.25}).digest
    assert report["steps"] == 1000


# --- own references and bases -----------------------------------------------------------------


def test_a_reference_of_ones_own(microzone: Microzone) -> None:
    np.save("r.npy", HILL)
    report = report_of(microzone("cfpc", "pursuit", "--reference", "r.npy", "--trials", "4", "--json"))
    config = CONFIG.replace(task={"trial_s": 1.5})
    expected = run_trials(AdaptiveFilterFixed(config), config, 4, reference=HILL)
    assert report["steps"] == 1500
    with np.load("cfpc-output/result.npz") as result:
        assert np.array_equal(result["r"], HILL) and np.array_equal(result["y_last"], expected.last.y)


def test_bases_of_ones_own(microzone: Microzone) -> None:
    """Against convolutions with the loop's impulse response: its optimum, its stability, its first trial."""
    bases = np.stack([HILL, np.roll(HILL, -200), np.sin(20 * AT) ** 2], axis=1) * 1.25
    np.save("x.npy", bases)
    np.save("r.npy", HILL)
    arguments = ("--bases", "x.npy", "--reference", "r.npy", "--trials", "2", "--model", "float")
    report = report_of(microzone("cfpc", "pursuit", *arguments, "--json"))
    assert report["bases"] == 3
    impulse = CONFIG.loop.impulse_response(1500)
    traces = np.stack([np.convolve(impulse, x)[:1500] for x in bases.T], axis=1)
    error = HILL - np.convolve(impulse, HILL)[:1500]
    optimum = np.linalg.lstsq(traces, error, rcond=None)[0]
    assert report["rmse"]["reactive"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)
    assert report["optimum"]["rmse"] == pytest.approx(
        np.sqrt(np.mean((error - traces @ optimum) ** 2)), rel=1e-5
    )
    smallest = np.linalg.eigvalsh(traces.T @ traces)[0]
    assert report["stability"]["smallest_eigenvalue"] == pytest.approx(smallest, rel=1e-5)
    with np.load("cfpc-output/result.npz") as result:
        assert np.array_equal(result["x"], bases)
        assert np.allclose(result["weights"][1], 2**-8 * traces.T @ result["e_first"], atol=1e-12)
        config = CfpcConfig.from_toml(str(result["config"]))
    assert (config.bases.shifted, config.bases.count, config.bases.amplitude) == (False, 3, 1.25)


def test_bases_that_are_the_configured_ones_learn_as_these(microzone: Microzone) -> None:
    np.save("x.npy", BLINK.basis_matrix)
    own = report_of(microzone("cfpc", "blink", "--bases", "x.npy", "--model", "float", "--json"))
    usual = report_of(microzone("cfpc", "blink", "--model", "float", "--json"))
    # Only the tail of the last Gaussian is cut off at the end of a trial.
    assert own["relative_rmse"] == pytest.approx(usual["relative_rmse"], rel=1e-2)
    assert own["optimum"] == pytest.approx(usual["optimum"], rel=1e-9)


# --- rules ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FM-ET", "low-order", "WH", "WH+50 ms", "WH+70"])
def test_each_rule_has_its_stability(name: str, microzone: Microzone) -> None:
    report = report_of(microzone("cfpc", "pursuit", "--rule", name, "--trials", "2", "--json"))
    config = rule(name, CONFIG)
    expected = Problem.of(config).stability(config.traces, CONFIG.learning.rate)
    assert report["rule"] == rule_name(config) == {"WH+70": "WH+70 ms"}.get(name, name)
    assert report["stability"]["smallest_eigenvalue"] == pytest.approx(expected.smallest_eigenvalue, rel=1e-6)
    assert report["stability"]["stable"] is (name != "WH")
    assert report["config_sha256"] == config.digest


def test_an_unstable_rule_is_warned_of_in_a_line(microzone: Microzone) -> None:
    outcome = microzone("cfpc", "pursuit", "--rule", "WH", "--trials", "30")
    assert outcome.status == 0
    assert "\nunstable: smallest eigenvalue of the symmetric part -42" in outcome.out
    assert "\nwarning: rule WH is unstable: smallest eigenvalue -42.2, needs more than 0;" in outcome.out
    assert "\nwarning: formats.signal = SQ(2,16): error or output was at its limit in " in outcome.out


def test_a_rate_beyond_the_highest_is_warned_of(microzone: Microzone) -> None:
    Path("c.toml").write_text("[learning]\nrate = 0.015625\n")
    report = report_of(microzone("cfpc", "pursuit", "--config", "c.toml", "--trials", "2", "--json"))
    (warning,) = report["warnings"]
    assert warning.startswith("learning.rate = 0.015625: from 0.0132 on")


def test_weights_at_their_limit_are_warned_of(microzone: Microzone) -> None:
    Path("c.toml").write_text('[formats]\nsignal = "SQ(3,15)"\nweight = "SQ(1,23)"\n')
    report = report_of(microzone("cfpc", "blink", "--config", "c.toml", "--json"))
    limit, ends = report["warnings"][-1], report["warnings"][0]
    assert limit == (
        "formats.weight = SQ(1,23): within 1% of its limit in 2 of 20 synapses; more integer bits would hold them"
    )
    assert ends.startswith("trial 50 is ") and "times as far off as with the best w" in ends


def test_a_reference_that_jumps_back_is_warned_of(microzone: Microzone) -> None:
    np.save("r.npy", np.minimum(AT, 1.0))
    report = report_of(microzone("cfpc", "pursuit", "--reference", "r.npy", "--trials", "3", "--json"))
    assert (
        "reference: begins at 0, ends at 1; trials follow each other, so each but the first begins with a jump"
        in report["warnings"]
    )
    assert "trial 3 is worse than trial 1" in report["warnings"]


def test_bases_that_move_nothing_are_told_from_an_unstable_rule(microzone: Microzone) -> None:
    Path("c.toml").write_text("[bases]\ncount = 30\n")
    report = report_of(microzone("cfpc", "pursuit", "--config", "c.toml", "--trials", "2", "--json"))
    told = [warning for warning in report["warnings"] if warning.startswith("bases: ")]
    assert told and "directions of w move nothing" in told[0]
    assert report["stability"]["stable"] and report["stability"]["idle"] > 0


def test_transposed_bases_are_refused(microzone: Microzone) -> None:
    np.save("x.npy", CONFIG.basis_matrix.T)
    outcome = microzone("cfpc", "pursuit", "--bases", "x.npy")
    assert outcome.status == 2
    assert outcome.err == "error: x.npy: has shape (20, 2500), needs (steps, bases) (2500, 20)\n"


def test_what_diverges_ends_in_a_line(microzone: Microzone) -> None:
    outcome = microzone("cfpc", "pursuit", "--rule", "WH", "--model", "float", "--trials", "200")
    assert outcome.status == 1 and outcome.err.count("\n") == 1
    assert outcome.err == (
        "error: float, trial 108: diverged, the error is more than 1,000,000 times that of the reactive loop\n"
    )
    assert not list(Path("cfpc-output").iterdir())


def test_what_overflows_at_once_ends_in_a_line_too(microzone: Microzone) -> None:
    Path("c.toml").write_text("[learning]\nrate = 65536.0\n")
    outcome = microzone("cfpc", "pursuit", "--config", "c.toml", "--model", "float")
    assert outcome.status == 1 and outcome.err.startswith("error: float, trial 1: diverged")


def test_fixed_point_goes_on_where_float_diverges(microzone: Microzone) -> None:
    report = report_of(microzone("cfpc", "pursuit", "--rule", "WH", "--trials", "110", "--json"))
    assert any(line.startswith("not compared with float, trial 108: diverged") for line in report["warnings"])
    assert "fixed_against_float" not in report and report["relative_rmse"]["110"] > 1


# --- the gateware -----------------------------------------------------------------------------


class Pretended(AdaptiveFilterFixed):
    """The fixed-point model in place of the gateware, with one bit of its record changed."""

    flip: tuple[str, int, int] | None = None

    def __init__(self, config: CfpcConfig, *, record: bool) -> None:
        super().__init__(config)
        assert record
        self._model_again = AdaptiveFilterFixed(config)
        self._parts: list[Steps] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self, loop: Any, reference: np.ndarray, inputs: np.ndarray) -> Trial:
        trial = super().close(loop, reference, inputs)
        errors = np.rint(trial.error / self.words.signal.lsb).astype(np.int64)
        self._parts.append(self._model_again.process(errors, self.quantised(inputs)))
        return trial

    @property
    def steps(self) -> Steps:
        names = ("o", "traces", "weights")
        joined = {name: np.concatenate([getattr(part, name) for part in self._parts]) for name in names}
        if self.flip is not None:
            name, step, synapse = self.flip
            joined[name].reshape(len(joined["o"]), -1)[step, synapse] ^= 1
        return Steps(**joined)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> type[Pretended]:
    module = ModuleType("cfpc_loop")
    module.AdaptiveFilterRtl = Pretended  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "microzone.sim.loop.cfpc_loop", module)
    monkeypatch.setattr(Pretended, "flip", None)
    return Pretended


def test_gateware_that_is_equal_is_bit_accurate(pretended: type[Pretended], microzone: Microzone) -> None:
    outcome = microzone("cfpc", "blink", "--model", "rtl", "--trials", "3")
    assert outcome.status == 0, outcome.err
    assert "bit-accurate: rtl equals fixed in o, h and w at each of 3,000 steps" in outcome.out
    report = json.loads(Path("cfpc-output/report.json").read_text())
    assert report["model"] == "rtl" and report["bit_accurate"] and report["difference"] is None
    with np.load("cfpc-output/result.npz") as result:
        expected = run_trials(AdaptiveFilterFixed(BLINK), BLINK, 3)
        assert np.array_equal(result["weights"], expected.weights) and "weights_raw" in result


def test_the_gateware_itself_is_bit_accurate(microzone: Microzone) -> None:
    report = report_of(microzone("cfpc", "pursuit", "--model", "rtl", "--trials", "2", "--json"))
    assert report["bit_accurate"] and report["difference"] is None and report["warnings"] == []
    expected = run_trials(AdaptiveFilterFixed(CONFIG), CONFIG, 2)
    with np.load("cfpc-output/result.npz") as result:
        assert np.array_equal(result["weights"], expected.weights)
        assert np.array_equal(result["y_last"], expected.last.y)


@pytest.mark.parametrize(
    ("flip", "place"),
    [
        (("o", 0, 0), "trial 1, step 0: o "),
        (("o", 2999, 0), "trial 3, step 999: o "),
        (("traces", 1400, 19), "trial 2, step 400, synapse 19: h "),
        (("weights", 1500, 7), "trial 2, step 500, synapse 7: w "),
    ],
)
def test_gateware_that_differs_is_told_where(
    flip: tuple[str, int, int],
    place: str,
    pretended: type[Pretended],
    microzone: Microzone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretended, "flip", flip)
    outcome = microzone("cfpc", "blink", "--model", "rtl", "--trials", "3")
    assert outcome.status == 1
    assert f"not bit-accurate: {place}expected 0x" in outcome.out.replace("-0x", "0x")
    report = json.loads(Path("cfpc-output/report.json").read_text())
    name, step, synapse = flip
    model, fixed = AdaptiveFilterFixed(BLINK), AdaptiveFilterFixed(BLINK)
    errors: list[np.ndarray] = []
    run_trials(fixed, BLINK, 3, keep=lambda trial: errors.append(trial.error / BLINK.formats.signal.lsb))
    inputs = np.tile(model.quantised(BLINK.basis_inputs), (3, 1))
    steps = model.process(np.concatenate(errors).astype(np.int64), inputs)
    word = int(getattr(steps, name).reshape(3000, -1)[step, synapse])
    assert report["difference"]["expected"].startswith(f"{word:#x} = ")
    assert report["difference"]["got"].startswith(f"{word ^ 1:#x} = ")


def test_the_first_difference_counts_and_in_a_step_that_of_h(
    pretended: type[Pretended], microzone: Microzone, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretended.steps

    def twice(self: Pretended) -> Steps:
        steps: Steps = whole.fget(self)  # type: ignore[attr-defined]
        steps.o[700] ^= 1
        steps.weights[699, 3] ^= 1
        steps.traces[699, 12] ^= 1
        return steps

    monkeypatch.setattr(pretended, "steps", property(twice))
    outcome = microzone("cfpc", "blink", "--model", "rtl", "--trials", "1")
    assert outcome.status == 1 and "trial 1, step 699, synapse 12: h " in outcome.out


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--rule", "LMS"), "rule 'LMS': choose from FM-ET, low-order, WH, WH+50 ms and other delays"),
        (("--rule", "WH+2500"), "eligibility.delay_s = 2.5: less than a trial of 2.5 s"),
        (("--config", "none.toml"), "none.toml: No such file or directory"),
        (("--config", "bad.toml"), "bad.toml: learning.rate = 0.3: a power of two from 2^-32 to 2^16"),
        (("--reference", "none.npy"), "none.npy: No such file or directory"),
        (("--reference", "."), ".: Is a directory"),
        (("--reference", "bad.toml"), "bad.toml: not a readable .npy file ("),
        (("--reference", "matrix.npy"), "matrix.npy: has shape (1500, 2), needs (steps,)"),
        (("--reference", "words.npy"), "words.npy: of <U4, needs real numbers"),
        (("--reference", "objects.npy"), "objects.npy: not a readable .npy file ("),
        (("--reference", "nan.npy"), "nan.npy: entry 3 is not finite"),
        (("--reference", "empty.npy"), "empty.npy: has shape (0,), needs (steps,)"),
        (("--reference", "still.npy"), "reference: the reactive loop follows it without error"),
        (("--bases", "short.npy"), "short.npy: has shape (4,), needs (steps, bases)"),
        (("--bases", "inf.npy"), "inf.npy: entry (2, 1) is not finite"),
        (("--bases", "matrix.npy", "--reference", "short.npy"), "matrix.npy: 1500 steps, short.npy has 4"),
        (("--bases", "large.npy"), "large.npy: up to 3, formats.signal = SQ(2,16) ends at 1.99998"),
        (("--bases", "many.npy"), "many.npy: bases.count = 5000: "),
        (("--trials", "0"), "Invalid value for '--trials'"),
        (("--model", "amaranth"), "Invalid value for '--model'"),
        (("--out", "taken/p"), "taken/p: cannot be made: Not a directory"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_a_line(
    arguments: tuple[str, ...], complaint: str, microzone: Microzone
) -> None:
    Path("taken").touch()
    Path("bad.toml").write_text("[learning]\nrate = 0.3\n")
    matrix = np.ones((1500, 2))
    for name, array in {
        "matrix": matrix, "large": 3 * matrix, "many": np.ones((3, 5000)), "short": np.arange(4.0),
        "still": np.zeros(100), "empty": np.zeros(0), "words": np.array(["some", "text"]),
        "nan": np.array([0, 1, 2, np.nan]), "inf": np.where(np.arange(8).reshape(4, 2) == 5, np.inf, 0.0),
    }.items():  # fmt: skip
        np.save(f"{name}.npy", array)
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    outcome = microzone("cfpc", "pursuit", *arguments)
    assert outcome.status == 2 and outcome.err.startswith(f"error: {complaint}"), outcome.err
    assert outcome.err.count("\n") == 1 and outcome.out == ""
    assert not Path("cfpc-output").exists()


def test_a_loop_that_answers_too_late_has_no_low_order_model(microzone: Microzone) -> None:
    np.save("r.npy", np.linspace(0, 1, 40))
    outcome = microzone("cfpc", "pursuit", "--rule", "low-order", "--reference", "r.npy")
    assert outcome.status == 2
    assert outcome.err == "error: eligibility: loop: no answer to a pulse within 40 steps\n"


def test_whole_numbers_are_real_ones(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", np.arange(9, dtype=np.uint8))
    reference = Task.of(CONFIG, reference=tmp_path / "r.npy").reference
    assert reference.dtype == np.float64 and reference.tolist() == list(range(9))
