"""The studies of CFPC: what a trial does to a difference, verdicts, narrowest words; their commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome
from microzone.golden_model import SQ, Rounding
from microzone.golden_model.cfpc import (
    AdaptiveFilterFixed,
    AdaptiveFilterFloat,
    CfpcConfig,
    Loop,
    LoopState,
    Problem,
    leaks,
    rule,
    run_trials,
)
from microzone.golden_model.cfpc import robustness as robust
from microzone.golden_model.cfpc import word_lengths as words
from microzone.golden_model.cfpc.robustness import (
    CHANGES,
    Change,
    Robustness,
    Verdict,
    changed_loop,
    trial_map,
)
from microzone.golden_model.cfpc.word_lengths import WordLength, smallest, with_word
from microzone.golden_model.sections import ConfigError
from microzone.tools.cfpc import studies
from numpy.testing import assert_allclose

Microzone = Callable[..., Outcome]

PURSUIT, BLINK = CfpcConfig.make(), CfpcConfig.blink()
LATER, SLOWER, FASTER = CHANGES[6], CHANGES[2], CHANGES[1]


# --- robustness -------------------------------------------------------------------------------


def test_changed_loops_are_the_literal_equations() -> None:
    change = Change("all", time_constant=1.5, gain=0.7, delay_s=-0.02)
    ring, xi, x1, x2, expected = [0.0] * 30, 0.0, 0.0, 0.0, []
    drive = PURSUIT.reference
    for n, r in enumerate(drive):
        expected.append(x2)
        delayed, ring[n % 30] = ring[n % 30], r - x2
        xi += 0.1 * delayed
        v = 20.0 * delayed + xi
        x1, x2 = x1 + (0.7 * 0.1 * v - x1) / 150, x2 + (x1 - x2) / 3
    assert_allclose(changed_loop(PURSUIT, change).respond(drive), expected, atol=1e-11)
    nominal = changed_loop(PURSUIT, CHANGES[0])
    assert_allclose(nominal.impulse_response(500), PURSUIT.loop.impulse_response(500), atol=1e-15)


@pytest.mark.parametrize("change", [CHANGES[0], LATER], ids=lambda change: change.name)
@pytest.mark.parametrize("name", ["FM-ET", "WH+50 ms"])
def test_the_trial_map_is_what_becomes_of_a_difference(name: str, change: Change) -> None:
    """Of two runs that begin differently, with the same reference: trial by trial, from anywhere."""
    config, loop = rule(name, PURSUIT), changed_loop(PURSUIT, change)
    order, delay = loop.system.order, loop.delay
    moved = trial_map(config, loop)
    assert moved.shape == (order + delay + 20,) * 2
    unit = np.random.default_rng(1).standard_normal(len(moved))
    after = []
    for start in (np.zeros(len(moved)), unit):
        adaptive, running = AdaptiveFilterFloat(config), LoopState(loop)
        adaptive.frozen = True  # until its traces are those of every trial
        adaptive.close(LoopState(loop), config.reference, config.basis_inputs)
        adaptive.frozen = False
        running.state[:], running.line[:] = start[:order], start[order : order + delay]
        adaptive.weights[:] = start[order + delay :]
        for _ in range(2):
            adaptive.close(running, config.reference, config.basis_inputs)
        line = np.roll(running.line, -running.head)
        after.append(np.concatenate([running.state, line, adaptive.weights]))
    assert_allclose(after[1] - after[0], moved @ moved @ unit, rtol=1e-6, atol=1e-9)


@cache
def studied(trials: int = 200) -> dict[tuple[str, str], Robustness]:
    found = robust.study(PURSUIT, trials, changes=(CHANGES[0], SLOWER, CHANGES[5], LATER))
    return {(one.change.name, one.rule): one for one in found}


def test_growth_is_that_of_the_trials() -> None:
    diverging = 0
    for one in studied().values():
        if one.growth > 1.03:
            measured = (one.relative[199] / one.relative[99]) ** 0.01
            assert_allclose(measured, one.growth, rtol=0.02, err_msg=f"{one.change.name}, {one.rule}")
            diverging += 1
        else:
            assert one.growth < 1 and one.relative[-1] < 3
    assert diverging >= 6


def test_verdicts_of_the_study() -> None:
    verdicts = {key: one.verdict for key, one in studied().items()}
    for name in ("FM-ET", "low-order", "WH+50 ms", "WH+70 ms"):
        assert verdicts["nominal", name] is Verdict.LEARNS
    assert verdicts["nominal", "WH"] is Verdict.DIVERGES
    assert verdicts["time constant × 1.5", "FM-ET"] is Verdict.LEARNS
    assert verdicts["delay - 20 ms", "WH"] is Verdict.WORSE
    # A feedback 20 ms later than the forward model's is more than FM-ET takes at this rate; a quarter of it is not.
    assert verdicts["delay + 20 ms", "FM-ET"] is Verdict.DIVERGES
    assert verdicts["delay + 20 ms", "low-order"] is Verdict.RISES
    slow = PURSUIT.replace(learning={"rate": 2.0**-10})
    (later,) = robust.study(slow, 200, rules=["FM-ET"], changes=[LATER])
    assert later.growth < 1 and later.relative[-1] < 0.1


def test_a_rate_is_for_a_loop_even_if_its_model_is_right() -> None:
    later = PURSUIT.replace(controller={"delay_s": 0.07})
    stability = Problem.of(later).stability(later.traces, 2.0**-8)
    assert 2.0**-9 < stability.highest_rate < 2.0**-8
    for rate, verdict in ((2.0**-8, Verdict.DIVERGES), (2.0**-9, Verdict.LEARNS)):
        config = later.replace(learning={"rate": rate})
        (one,) = robust.study(config, 60, rules=["FM-ET"], changes=[CHANGES[0]])
        assert one.verdict is verdict
    assert_allclose(one.relative[-1], 0.0669, rtol=0.01)


def test_numbers_of_the_study() -> None:
    one = studied()["nominal", "FM-ET"]
    assert_allclose(one.relative[49], 0.0664, rtol=0.02)
    assert_allclose(one.optimum, 0.0602, rtol=0.005)
    stability = Problem.of(PURSUIT).stability(PURSUIT.traces, 2.0**-8)
    assert_allclose(one.smallest_eigenvalue, stability.smallest_eigenvalue)
    assert_allclose(one.highest_rate, stability.highest_rate)
    assert_allclose(one.reactive_radius, PURSUIT.loop.spectral_radius())
    # The traces are those of the nominal loop, the optimum is the real one's.
    later, loop = studied()["delay + 20 ms", "FM-ET"], changed_loop(PURSUIT, LATER)
    real = Problem.of(PURSUIT, loop=loop)
    assert_allclose(later.optimum, real.relative_error(real.optimum))
    assert_allclose(later.smallest_eigenvalue, real.stability(PURSUIT.traces, 1.0).smallest_eigenvalue)


def made(**fields: Any) -> Robustness:
    values = {
        "change": CHANGES[0], "rule": "FM-ET", "reactive_radius": 0.99, "optimum": 0.1, "relative": (1.0, 0.2, 0.2),
        "smallest_eigenvalue": 1.0, "highest_rate": 0.1, "growth": 0.9,
    }  # fmt: skip
    return Robustness(**{**values, **fields})


def test_verdicts() -> None:
    assert made().verdict is Verdict.LEARNS
    assert made(relative=(1.0, 0.2, 0.21)).verdict is Verdict.LEARNS
    assert made(relative=(1.0, 0.2, 0.3, 0.2)).verdict is Verdict.RISES
    assert made(relative=(1.0, 0.2, 1.1)).verdict is Verdict.WORSE
    assert made(growth=1.0).verdict is Verdict.DIVERGES
    assert made(growth=1.2, reactive_radius=1.0).verdict is Verdict.UNSTABLE


def test_a_loop_that_is_unstable_by_itself_is_told_and_its_numbers_are_no_nan() -> None:
    change = Change("much", gain=30.0)
    (one,) = robust.study(PURSUIT, 60, rules=["WH"], changes=[change])
    assert one.verdict is Verdict.UNSTABLE and one.reactive_radius > 1
    assert np.inf in one.relative and not np.isnan(one.relative).any()
    facts = studies.robustness_facts(PURSUIT, [one])
    assert "NaN" not in json.dumps(facts) and "Infinity" not in json.dumps(facts)
    assert studies.robustness_row(one)[1] == "> 1000"


def test_limits_of_the_reactive_loop() -> None:
    limits = robust.reactive_limits(PURSUIT)

    def radius(**change: float) -> float:
        return changed_loop(PURSUIT, Change("", **change)).spectral_radius()

    for field in ("time_constant", "gain"):
        outwards = 0.998 if limits[field] < 1 else 1.002
        assert radius(**{field: limits[field]}) >= 1 > radius(**{field: limits[field] / outwards})
    assert radius(delay_s=limits["delay_s"]) >= 1 > radius(delay_s=limits["delay_s"] - 0.001)
    assert_allclose(
        [limits[f] for f in ("time_constant", "gain", "delay_s")], [0.484, 1.658, 0.046], rtol=2e-3
    )
    assert limits["time_constant"] < 0.5 and limits["gain"] > 1.3 and limits["delay_s"] > 0.02


def test_a_loop_without_limits() -> None:
    """A single leak without delay and integral is stable with any gain that Euler bears."""
    config = CfpcConfig.make(
        plant={"leaks_s": [1.0], "gain": 0.1},
        controller={"proportional": 1.0, "integral": 0.0, "delay_s": 0.0},
    )
    limits = robust.reactive_limits(config)
    assert limits["time_constant"] == 0.0 and limits["gain"] == np.inf
    assert studies.robustness_facts(config, [])["reactive_limits"]["gain"] is None


@pytest.mark.parametrize(
    ("sections", "change", "message"),
    [
        (
            {"plant": {"impulse_response": [0.0, 0.01]}},
            CHANGES[0],
            "plant.leaks_s: the study changes the slowest",
        ),
        (
            {"controller": {"delay_s": 0.01}},
            CHANGES[5],
            "controller.delay_s = 0.01: delay - 20 ms leaves less than",
        ),
        (
            {},
            Change("thousandth", time_constant=0.001),
            "plant.leaks_s: thousandth: 0.0001 s, half a step or less",
        ),
    ],
)
def test_changes_that_cannot_be(sections: dict[str, Any], change: Change, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed_loop(CfpcConfig.make(**sections), change)


# --- word lengths -----------------------------------------------------------------------------


@cache
def found(task: str = "pursuit") -> list[WordLength]:
    return words.study(BLINK if task == "blink" else PURSUIT)


def deviation(word: str, bits: int, way: Rounding = Rounding.HALF_UP) -> float:
    (point,) = (p for p in found() if (p.word, p.format.fraction_bits, p.rounding) == (word, bits, way))
    return point.deviation


def test_truncated_weights_fail_where_rounded_ones_do_not() -> None:
    """What is cut off is up to an LSB a step and always in one direction: w drifts down."""
    for bits in range(12, 24):
        assert deviation("weight", bits, Rounding.FLOOR) > 4 * deviation("weight", bits)
    configured = PURSUIT.formats.weight.fraction_bits
    assert deviation("weight", configured) < 0.0005 < 0.002 < deviation("weight", configured, Rounding.FLOOR)
    assert deviation("weight", 17) < 0.01 and deviation("weight", 17, Rounding.FLOOR) > 1.0
    exact = run_trials(AdaptiveFilterFloat(PURSUIT), PURSUIT, 50).weights[-1]
    bias = {}
    for way in Rounding.HALF_UP, Rounding.FLOOR:
        config = with_word(PURSUIT, "weight", 17, way)
        bias[way] = (run_trials(AdaptiveFilterFixed(config), config, 50).weights[-1] - exact).mean()
    assert bias[Rounding.FLOOR] < -0.005 and abs(bias[Rounding.HALF_UP]) < -bias[Rounding.FLOOR] / 20


def test_deviations_are_those_of_whole_runs() -> None:
    exact = run_trials(AdaptiveFilterFloat(PURSUIT), PURSUIT, 50).rmse
    config = PURSUIT.replace(formats={"weight": SQ(2, 15)})
    off = run_trials(AdaptiveFilterFixed(config), config, 50).rmse / exact - 1
    assert deviation("weight", 15) == abs(off).max()
    (point,) = (
        p for p in found() if p.word == "weight" and p.format == SQ(2, 15) and p.rounding is Rounding.HALF_UP
    )
    assert (point.trial, point.final) == (int(abs(off).argmax()) + 1, off[-1])
    assert not point.within and deviation("weight", 22) < words.TOLERANCE


def test_the_narrowest_words() -> None:
    best = {(p.word, p.rounding): smallest(found(), p.word, p.rounding) for p in found()}
    formats = {key: None if point is None else str(point.format) for key, point in best.items()}
    assert formats == {
        ("weight", Rounding.HALF_UP): "SQ(2,20)",
        ("weight", Rounding.FLOOR): "SQ(2,24)",
        ("signal", Rounding.HALF_UP): "SQ(2,11)",
        ("state", Rounding.HALF_UP): "SQ(1,17)",
        ("coefficient", Rounding.HALF_UP): "SQ(3,15)",
    }
    for word in ("signal", "state", "weight", "coefficient"):  # the configured ones have what is needed
        assert (
            getattr(PURSUIT.formats, word).fraction_bits >= best[word, Rounding.HALF_UP].format.fraction_bits
        )


def point(bits: int, deviation: float) -> WordLength:
    return WordLength("state", SQ(1, bits), Rounding.HALF_UP, SQ(3, 21), deviation, 1, 0.0)


def test_the_narrowest_is_the_one_from_which_all_are_within() -> None:
    course = [point(10, 0.001), point(11, 0.003), point(12, 0.002), point(13, 0.0001)]
    assert smallest(course, "state", Rounding.HALF_UP) == course[2]
    assert smallest(course[::-1], "state", Rounding.HALF_UP) == course[2]
    assert smallest([*course, point(14, 0.1)], "state", Rounding.HALF_UP) is None
    assert smallest(course, "signal", Rounding.HALF_UP) is None


def test_only_one_thing_changes() -> None:
    for word, bits in (("state", 12), ("signal", 7), ("coefficient", 10), ("weight", 14)):
        changed, before = with_word(PURSUIT, word, bits), PURSUIT.formats
        for name in ("signal", "state", "weight", "coefficient", "weight_rounding"):
            now, then = getattr(changed.formats, name), getattr(before, name)
            if name == word:
                assert now == SQ(then.integer_bits, bits)
            elif name == "coefficient" and word in ("state", "signal"):  # integer bits alone
                assert now.fraction_bits == then.fraction_bits and now.integer_bits > then.integer_bits
            else:
                assert now == then, f"{word}: {name}"
        assert changed.replace(formats=before.model_dump()) == PURSUIT
    assert with_word(PURSUIT, "state", 12).formats.coefficient == SQ(8, 21)
    assert with_word(PURSUIT, "state", 17) == PURSUIT


def test_words_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"formats\.weight: "):
        with_word(PURSUIT, "weight", -1)
    with pytest.raises(
        ConfigError, match=r"formats.coefficient = SQ\(11,21\): the forward model has .* needs 13"
    ):
        with_word(PURSUIT, "state", 7)


def test_a_study_of_what_does_not_fit_or_learn() -> None:
    narrow = PURSUIT.replace(formats={"coefficient": SQ(3, 29)})
    points = {p.format.fraction_bits: p for p in words.study(narrow, 2) if p.word == "state"}
    assert points[9].deviation == np.inf and not points[9].within and np.isfinite(points[17].deviation)
    assert studies.word_length_rows([points[9]])[1] == [["9", "does not fit"]]
    assert studies.word_length_facts(narrow, [points[9]], 2)["points"][0]["deviation"] is None
    with pytest.raises(ConfigError, match=r"after 50 trials the error in float is \d+ times the first one's"):
        words.study(rule("WH", PURSUIT))
    with pytest.raises(ConfigError, match=r"formats\.coefficient = "):
        words.study(PURSUIT.replace(formats={"coefficient": SQ(1, 21)}))


def test_all_narrow_words_at_once() -> None:
    both = studies.combined_words(PURSUIT, found(), 0, 50)
    assert both is not None and both.format == SQ(2, 20) and both.coefficient.fraction_bits == 15
    one_by_one = with_word(with_word(PURSUIT, "state", 17), "weight", 20)
    assert words.together(PURSUIT, {"state": 17, "weight": 20}).deviation == pytest.approx(
        abs(words.deviations(one_by_one, run_trials(AdaptiveFilterFloat(PURSUIT), PURSUIT, 50).rmse)).max()
    )
    assert studies.combined_words(PURSUIT, [point(20, 0.1)], 0, 2) is None


# --- commands ---------------------------------------------------------------------------------


def test_robustness_on_the_command_line(microzone: Microzone) -> None:
    Path("blink.toml").write_text(BLINK.to_toml(), encoding="utf-8")
    blink = "cfpc", "robustness", "--config", "blink.toml", "--trials", 5
    done = microzone(*blink, "--out", "studies", "--json")
    assert done.status == 0, done.err
    facts = json.loads(done.out)
    assert facts == json.loads(Path("studies/robustness.json").read_text(encoding="utf-8"))
    assert len(facts["rules"]) == 35 and len(facts["rules"][0]["relative"]) == 5
    assert Path("studies/robustness.png").read_bytes().startswith(b"\x89PNG")
    told = microzone(*blink)
    assert told.status == 0 and "trial 5 " in told.out and "trial 50" not in told.out
    assert "the reactive loop becomes unstable at gain × 4.950\n" in told.out
    limits = {"time_constant": 0.5, "gain": 2.0, "delay_s": 0.03}
    assert studies.describe_limits(limits).endswith("at time constant × 0.500, gain × 2.000, delay + 30 ms")
    nothing = {"time_constant": 0.0, "gain": np.inf, "delay_s": np.inf}
    assert studies.describe_limits(nothing).endswith("at no change that was tried")


def test_word_lengths_on_the_command_line(microzone: Microzone) -> None:
    Path("blink.toml").write_text(BLINK.to_toml(), encoding="utf-8")
    done = microzone(
        "cfpc", "word-lengths", "--config", "blink.toml", "--trials", 5, "--out", "studies", "--json"
    )
    assert done.status == 0, done.err
    facts = json.loads(done.out)
    assert facts == json.loads(Path("studies/word-lengths.json").read_text(encoding="utf-8"))
    assert facts["task"] == "blink" and len(facts["points"]) == sum(1 for _ in words.points(BLINK))
    assert Path("studies/word-lengths.png").read_bytes().startswith(b"\x89PNG")
    told = microzone("cfpc", "word-lengths", "--trials", 50)
    assert told.status == 0
    assert "weight, truncated: narrowest within 0.2 %: SQ(2,24)" in told.out


@pytest.mark.parametrize("command", ["robustness", "word-lengths"])
def test_mistakes_on_the_command_line(microzone: Microzone, command: str) -> None:
    Path("plant.toml").write_text("[plant]\nimpulse_response = [0.0, 0.01]\n", encoding="utf-8")
    Path("file").touch()
    for arguments, message in (
        (("--config", "nowhere.toml"), "nowhere.toml: No such file"),
        (("--trials", "0"), "'--trials': Input should be greater than or equal to 1"),
        (("--out", "file"), "file: cannot be made"),
    ):
        done = microzone("cfpc", command, *arguments)
        assert done.status == 2 and message in done.err and done.err.count("\n") == 1, done.err
    if command == "robustness":
        done = microzone("cfpc", command, "--config", "plant.toml")
        assert done.status == 2 and "plant.leaks_s: the study changes the slowest leak" in done.err


def test_a_plant_that_is_a_loop_of_its_own() -> None:
    """The study takes a loop with one leak and no delay line."""
    config = CfpcConfig.make(
        plant={"leaks_s": [0.05], "gain": 0.5},
        controller={"proportional": 1.0, "integral": 0.0, "delay_s": 0.0},
    )
    assert isinstance(changed_loop(config, CHANGES[0]), Loop)
    moved = trial_map(config, Loop(leaks((0.05,), 0.5, 0.001), 0))
    assert moved.shape == (21, 21) and abs(np.linalg.eigvals(moved)).max() < 1
