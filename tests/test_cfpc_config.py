"""The configuration of CFPC: what it describes, what it refuses, and its TOML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cfpc_configs import configs
from hypothesis import given, settings
from microzone.golden_model import SQ, UQ, ChipConfig
from microzone.golden_model.cfpc import CfpcConfig, FilterWords, Trace
from microzone.golden_model.sections import ConfigError
from numpy.testing import assert_allclose, assert_array_equal
from scipy import signal

DEFAULT = CfpcConfig.make()

NO_LEAKS = {"leaks_s": None}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "step": ({"time": {"step_s": 0.0}}, "time.step_s = 0: Input should be greater than 0"),
    "clock": ({"time": {"clock_hz": -1.0}}, "time.clock_hz = -1: Input should be greater than 0"),
    "no number": ({"time": {"step_s": "1 ms"}}, "time.step_s = '1 ms': Input should be a valid number"),
    "a bool": ({"bases": {"amplitude": True}}, "bases.amplitude = True: Input should be a valid number"),
    "infinite": ({"controller": {"proportional": np.inf}}, "controller.proportional = inf: Input should be a finite"),
    "unknown field": ({"plant": {"mass": 1.0}}, "plant.mass: Extra inputs are not permitted"),
    "unknown section": ({"muscle": {}}, "muscle: Extra inputs are not permitted"),
    "short trial": ({"task": {"trial_s": 0.0004}}, "task.trial_s = 0.0004: 1 to 1000000 steps of 0.001 s"),
    "long trial": ({"task": {"trial_s": 1001.0}}, "task.trial_s = 1001: 1 to 1000000 steps of 0.001 s"),
    "no reference": ({"task": {"reference": []}}, r"task.reference = \[\]: .* at least 1 item"),
    "times equal": ({"task": {"reference": [(0.1, 0.0), (0.1, 1.0)]}}, r"task.reference: its times \[0.1, 0.1\] do not"),
    "times falling": ({"task": {"reference": [(0.2, 0.0), (0.1, 1.0)]}}, r"task.reference: its times \[0.2, 0.1\] do"),
    "time below 0": ({"task": {"reference": [(-0.1, 0.0)]}}, "task.reference.0.0 = -0.1: .* greater than or equal to 0"),
    "no spacing": ({"bases": {"spacing_s": 0.0004}}, "bases.spacing_s = 0.0004: at least a step of 0.001 s"),
    "no bases": ({"bases": {"count": 0}}, "bases.count = 0: .* greater than or equal to 1"),
    "many bases": ({"bases": {"count": 4097}}, "bases.count = 4097: .* less than or equal to 4096"),
    "count no integer": ({"bases": {"count": 20.0}}, "bases.count = 20: Input should be a valid integer"),
    "width": ({"bases": {"width_s": 0.0}}, "bases.width_s = 0: Input should be greater than 0"),
    "shifted": ({"bases": {"shifted": 1}}, "bases.shifted = 1: Input should be a valid boolean"),
    "no plant": ({"plant": NO_LEAKS}, "plant: give one of leaks_s, numerator with denominator, impulse_response"),
    "two plants": ({"plant": {"leaks_s": [0.1], "impulse_response": [1.0]}}, "plant: give one of leaks_s"),
    "no leaks": ({"plant": {"leaks_s": []}}, r"plant.leaks_s = \[\]: each longer than half a step of 0.001 s"),
    "short leak": ({"plant": {"leaks_s": [0.1, 0.0005]}}, r"plant.leaks_s = \[0.1, 0.0005\]: each longer than half"),
    "no denominator": ({"plant": {"numerator": [1.0]}}, "plant: a transfer function has a numerator and a denominator"),
    "no numerator": ({"plant": {"denominator": [1.0]}}, "plant: a transfer function has a numerator and"),
    "improper": (
        {"plant": {"numerator": [1.0, 0.0, 0.0], "denominator": [1.0, 1.0]}},
        "plant: system: Improper transfer function",
    ),
    "denominator 0": ({"plant": {"numerator": [1.0], "denominator": [0.0]}}, "plant: Denominator must have"),
    "empty response": ({"plant": {"impulse_response": []}}, r"plant: impulse response: of shape \(0,\)"),
    "method": ({"plant": {"leaks_s": [0.1], "method": "tustin"}}, "plant.method = 'tustin': Input should be 'euler'"),
    "loop without inertia": (
        {"plant": {"impulse_response": [0.01]}, "controller": {"delay_s": 0.0}},
        "plant: loop: its output depends on itself",
    ),
    "a long delay": (
        {"controller": {"delay_s": 1e5}},
        r"controller.delay_s = 100000: 100000000 steps of 0.001 s, at most 1000",
    ),
    "unstable loop": (
        {"plant": {"leaks_s": [0.1, 0.003], "gain": 0.2}},
        r"controller: the loop is unstable by itself \(spectral radius 1.0026, needs less than 1\)",
    ),
    "delay below 0": ({"controller": {"delay_s": -0.001}}, "controller.delay_s = -0.001: .* greater than or equal to 0"),
    "forward model with delay": (
        {"eligibility": {"delay_s": 0.05}},
        "eligibility: a forward model has the delay and the leaks of the loop",
    ),
    "forward model with leaks": ({"eligibility": {"leaks_s": [0.1]}}, "eligibility: a forward model has the delay"),
    "delay with leaks": (
        {"eligibility": {"trace": "delay", "delay_s": 0.05, "leaks_s": [0.1]}},
        "eligibility.leaks_s: a delay has none, choose trace = 'low-order'",
    ),
    "half a low order": (
        {"eligibility": {"trace": "low-order", "delay_s": 0.05}},
        "eligibility: give both delay_s and leaks_s of a low-order trace, or neither",
    ),
    "other half": ({"eligibility": {"trace": "low-order", "leaks_s": [0.1]}}, "eligibility: give both delay_s and leaks_s"),
    "three leaks": (
        {"eligibility": {"trace": "low-order", "delay_s": 0.05, "leaks_s": [0.1, 0.1, 0.1]}},
        "eligibility.leaks_s = .*: .* at most 2 items",
    ),
    "short eligibility": (
        {"eligibility": {"trace": "low-order", "delay_s": 0.05, "leaks_s": [0.0004]}},
        r"eligibility.leaks_s = \[0.0004\]: each longer than half a step",
    ),
    "trace": ({"eligibility": {"trace": "LMS"}}, "eligibility.trace = 'LMS': Input should be 'forward-model'"),
    "rate": ({"learning": {"rate": 0.005}}, r"learning.rate = 0.005: a power of two .* such as 0.00390625"),
    "low rate": ({"learning": {"rate": 2.0**-33}}, r"learning.rate = 1.16415e-10: a power of two from 2\^-32 to 2\^16"),
    "high rate": ({"learning": {"rate": 2.0**17}}, "learning.rate = 131072: a power of two .* such as 65536"),
    "rate 0": ({"learning": {"rate": 0.0}}, "learning.rate = 0: Input should be greater than 0"),
    "unsigned": ({"formats": {"weight": UQ(0, 24)}}, r"formats.weight = UQ\(0,24\): needs a signed format of at most 32"),
    "wide": ({"formats": {"state": SQ(1, 32)}}, r"formats.state = SQ\(1,32\): needs a signed format of at most 32 bits"),
    "no format": ({"formats": {"signal": "Q15"}}, "formats.signal = 'Q15': .* is not a format such as"),
    "rounding": ({"formats": {"weight_rounding": "half-even"}}, "formats.weight_rounding = 'half-even': choose from half-up"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(name: str) -> None:
    sections, message = REFUSED[name]
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        CfpcConfig.make(**sections)
    assert "\n" not in str(caught.value)


@settings(max_examples=60)
@given(config=configs())
def test_toml_gives_an_equal_one_back(config: CfpcConfig) -> None:
    again = CfpcConfig.from_toml(config.to_toml())
    assert again == config and again.digest == config.digest
    assert_array_equal(again.basis_inputs, config.basis_inputs)


@pytest.mark.parametrize("config", [DEFAULT, CfpcConfig.blink()], ids=["pursuit", "blink"])
def test_the_built_in_tasks(config: CfpcConfig, tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert CfpcConfig.load(path) == config
    assert FilterWords.of(config).count == config.bases.count
    path.write_text(config.to_toml().replace("count = 20", "count = -1"), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: bases.count = -1: "):
        CfpcConfig.load(path)


def test_a_file_is_laid_over_a_task() -> None:
    """Field by field; but another kind of plant, and a trace, come without what the task has of it."""
    blink = CfpcConfig.blink()
    over = CfpcConfig.from_toml(
        "[bases]\ncount = 22\n[plant]\ngain = 0.5\n[controller]\nintegral = 4.0", blink
    )
    assert (over.bases.count, over.bases.width_s, over.bases.spacing_s) == (22, 0.02, 0.03)
    assert (over.plant.leaks_s, over.plant.gain) == (blink.plant.leaks_s, 0.5)
    assert (over.controller.proportional, over.controller.integral) == (0.5, 4.0)
    assert (over.task, over.learning, over.formats) == (blink.task, blink.learning, blink.formats)
    same = CfpcConfig.from_toml("[plant]\nleaks_s = [0.1, 0.003]")
    assert same == DEFAULT and same.plant.gain == 0.1
    other = CfpcConfig.from_toml("[plant]\nnumerator = [0.1]\ndenominator = [0.1, 1.0]")
    assert (other.plant.leaks_s, other.plant.gain) == (None, 1.0)
    low = DEFAULT.replace(eligibility={"trace": "low-order", "delay_s": 0.05, "leaks_s": (0.02,)})
    assert CfpcConfig.from_toml('[eligibility]\ntrace = "delay"', low).eligibility.leaks_s is None
    assert CfpcConfig.from_toml("[eligibility]\ndelay_s = 0.06", low).eligibility.leaks_s == (0.02,)
    with pytest.raises(ConfigError, match=r"^plant"):
        CfpcConfig.from_toml("plant = 3", blink)


def test_the_configuration_of_the_other_system_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^a configuration of the chip, needs one of CFPC$"):
        CfpcConfig.from_toml(ChipConfig.make().to_toml())
    with pytest.raises(ConfigError, match=r"^a configuration of CFPC, needs one of the chip$"):
        ChipConfig.from_toml(DEFAULT.to_toml())
    with pytest.raises(ConfigError, match=r"^trace: Extra inputs"):
        CfpcConfig.from_toml("[trace]\nstart = 1.0\n[bases]\ncount = 3")


def test_a_state_that_is_nothing_has_a_unit_all_the_same() -> None:
    """Its reciprocal is a number."""
    config = DEFAULT.replace(plant={"gain": 1e-310}, controller={"integral": 0.0})
    assert np.isfinite(FilterWords.of(config).state_units).all()


def test_replace_changes_fields_and_keeps_the_rest() -> None:
    other = DEFAULT.replace(bases={"count": 7}, learning={"rate": 0.5})
    assert (other.bases.count, other.bases.width_s, other.learning.rate) == (7, 0.05, 0.5)
    assert other.replace(bases={"count": 20}, learning={"rate": 2.0**-8}) == DEFAULT
    with pytest.raises(ConfigError, match=r"bases\.count = 0"):
        DEFAULT.replace(bases={"count": 0})


def test_steps_and_shift() -> None:
    assert (DEFAULT.trial_steps, DEFAULT.spacing_steps, DEFAULT.delay_steps, DEFAULT.rate_shift) == (
        2500,
        100,
        50,
        8,
    )
    assert DEFAULT.replace(learning={"rate": 4.0}).rate_shift == -2
    halved = DEFAULT.replace(time={"step_s": 0.0005})
    assert (halved.trial_steps, halved.delay_steps) == (5000, 100)


def test_the_reference_goes_through_its_points() -> None:
    r = DEFAULT.reference
    assert r.shape == (2500,)
    assert_allclose(
        r[[0, 500, 750, 1000, 1250, 1500, 1750, 2000, 2499]], [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0], atol=1e-12
    )
    constant = DEFAULT.replace(task={"reference": [(1.0, 0.3)]})
    assert_array_equal(constant.reference, np.full(2500, 0.3))


def test_bases_are_gaussians_in_time() -> None:
    x, at = DEFAULT.basis_matrix, np.arange(2500) * 0.001
    assert x.shape == (2500, 20)
    for j in range(20):
        centre = 0.2 + 0.1 * j
        expected = np.exp(-((at - centre) ** 2) / (2 * 0.05**2))
        # Shifted bases begin with the trial; before, the Gaussian is below 4e-4.
        assert_allclose(x[j * 100 :, j], expected[j * 100 :], atol=1e-12)
        assert not x[: j * 100, j].any() and expected[: j * 100].max(initial=0.0) < 4e-4
    general = DEFAULT.replace(bases={"shifted": False, "amplitude": 0.5})
    assert_allclose(general.basis_matrix[:, 7], 0.5 * np.exp(-((at - 0.9) ** 2) / 0.005), atol=1e-12)
    assert DEFAULT.basis_inputs.shape == (2500, 1) and general.basis_inputs.shape == (2500, 20)


def test_bases_beyond_the_end_of_a_trial_are_none() -> None:
    config = DEFAULT.replace(task={"trial_s": 0.25})
    assert config.basis_matrix.shape == (250, 20)
    assert not config.basis_matrix[:, 3:].any() and config.basis_matrix[:, 2].any()


def test_every_kind_of_plant_is_its_system() -> None:
    pulse = np.zeros(200)
    pulse[0] = 1.0
    numerator, denominator = [0.4], [0.0003, 0.103, 1.0]
    for method in ("euler", "zoh", "bilinear"):
        plant = {
            "leaks_s": None,
            "gain": 0.5,
            "numerator": numerator,
            "denominator": denominator,
            "method": method,
        }
        made = CfpcConfig.make(plant=plant, controller={"proportional": 1.0, "integral": 1.0}).plant_system
        b, a, _ = signal.cont2discrete(([0.2], denominator), 0.001, method)
        y = signal.dlsim((made.a, made.b[:, None], made.c[None], [[made.d]], 0.001), pulse)[1][:, 0]
        assert_allclose(y, signal.lfilter(b.ravel(), a, pulse), atol=1e-9)
    controller = {"proportional": 1.0, "integral": 1.0}
    taps = CfpcConfig.make(
        plant={"impulse_response": [0.0, 0.2, 0.1], "gain": 0.5}, controller=controller
    ).plant_system
    assert_array_equal([taps.d, *taps.c], [0.0, 0.1, 0.05])
    fraction = {"numerator": [1.0], "denominator": [0.0003, 0.103, 1.0]}
    two, chain = (
        CfpcConfig.make(plant=plant, controller=controller) for plant in (fraction, {"leaks_s": [0.1, 0.003]})
    )
    assert_allclose(two.loop.impulse_response(500), chain.loop.impulse_response(500), atol=1e-9)


def test_a_plant_without_inertia_is_a_plant() -> None:
    config = CfpcConfig.make(
        plant={"numerator": [4.0], "denominator": [2.0]}, controller={"proportional": 0.3, "integral": 2.0}
    )
    assert config.plant_system.order == 0 and config.plant_system.d == 2.0
    delayed = config.loop.impulse_response(60)
    assert not delayed[:50].any() and delayed[50] == pytest.approx(2 * (0.3 + 0.002))


def test_models_of_the_traces() -> None:
    assert DEFAULT.eligibility_model is DEFAULT.loop
    late = DEFAULT.replace(eligibility={"trace": "delay", "delay_s": 0.07}).eligibility_model
    assert (late.delay, late.system.order, late.feedback) == (70, 0, False)
    given_ = DEFAULT.replace(
        eligibility={"trace": Trace.LOW_ORDER, "delay_s": 0.02, "leaks_s": [0.01, 0.004]}
    )
    model = given_.eligibility_model
    assert (model.delay, model.system.order, model.feedback) == (20, 2, False)
    assert_allclose(model.impulse_response(500).sum(), 1.0, rtol=1e-6)
    fitted = DEFAULT.replace(eligibility={"trace": "low-order"}).eligibility_model
    assert not fitted.feedback and fitted.system.order == 2
