"""Configurations: what is kept, what is refused with field, value and limit, what is warned about."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from microzone.golden_model.config import ChipConfig, ConfigError, PrecisionWarning


def test_the_default_is_clean_and_survives_toml() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = ChipConfig.make()
        again = ChipConfig.from_toml(config.to_toml())
    assert again == config
    assert again.digest == config.digest
    assert (config.trace_steps, config.eligibility_delay_steps, config.noi_delay_steps) == (150, 50, 50)


def test_changes_reach_the_digest() -> None:
    config = ChipConfig.make()
    assert config.replace(plasticity={"depression": 0.0162}).digest != config.digest
    assert config.replace(formats={"weight": "UQ(0,34)"}).digest != config.digest


def test_the_inhibition_is_delayed_by_one_step_at_least() -> None:
    assert ChipConfig.make(noi={"delay_s": 0.0}).noi_delay_steps == 1


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"plasticity": {"potentiation": 1e-11}}, r"plasticity\.potentiation = 1e-11: rounds to 0 .* limit is"),
        (
            {"plasticity": {"potentiation": 3.36e-5}, "formats": {"potentiation": "UQ(0,16)"}},
            r"plasticity\.potentiation = 3\.36e-05: becomes .* off by .*%, limit is 1%",
        ),
        ({"plasticity": {"depression": 1.5}}, r"plasticity\.depression = 1\.5: outside UQ\(0,32\), limits are"),
        ({"plasticity": {"depression": -0.1}}, r"plasticity\.depression = -0\.1: .*greater than or equal to 0"),
        ({"threshold": {"level": 0.9999999999}}, r"threshold\.level = 1: outside"),
        (
            {"threshold": {"level": 0.6}, "trace": {"start": 0.5, "end": 0.2}},
            r"threshold\.level = 0\.6: outside the range of S = w\*T, limit is 0\.5",
        ),
        ({"threshold": {"level": 0.0}}, r"threshold\.level = 0: .*greater than 0"),
        ({"noi": {"delay_s": 0.101}}, r"noi\.delay_s = 0\.101: 50\.5 steps .* must be a whole number"),
        ({"eligibility": {"delay_s": 0.0031}}, r"eligibility\.delay_s = 0\.0031: .* must be a whole number"),
        ({"trace": {"duration_s": 0.001}}, r"trace\.duration_s = 0\.001: .* must be a whole number"),
        ({"trace": {"duration_s": 1000.0}}, r"trace\.duration_s = 1000: 500000 steps, limits are 1 and 65535"),
        ({"trace": {"end": 1.0}}, r"trace\.end = 1: must be below trace\.start = 1"),
        ({"formats": {"trace": "UQ(1,6)"}}, r"\(trace\.start - trace\.end\)/steps = 0\.00353333: rounds to 0"),
        ({"formats": {"trace": "UQ(0,20)"}}, r"trace\.start = 1: outside UQ\(0,20\)"),
        ({"formats": {"trace": "SQ(2,20)"}}, r"formats\.trace.*unsigned only"),
        ({"formats": {"weight": "UQ(0,45)"}}, r"formats\.weight, formats\.trace: their product has 66 bits"),
        ({"formats": {"weight": "UQ(0,24)"}}, r"formats\.potentiation = UQ\(0,32\): finer than w, limit is"),
        ({"formats": {"weight": "what"}}, r"formats\.weight = 'what': 'what' is not a format"),
        ({"formats": {"threshold": "UQ(20,30)"}}, r"formats\.threshold.* limit is 10 integer bits"),
        ({"formats": {"threshold": "UQ(0,60)"}}, r"formats\.threshold.* limit is 52"),
        ({"weight": {"initial": 1.5}}, r"weight\.initial = 1\.5: outside UQ\(0,32\)"),
        ({"weight": {"initial": float("nan")}}, r"weight\.initial = nan: .*finite"),
        ({"time": {"step_s": 0.0}}, r"time\.step_s = 0: .*greater than 0"),
        ({"wieght": {}}, r"wieght: Extra inputs"),
        ({"detection": {"io": {"treshold": 1}}}, r"detection\.io\.treshold: Extra inputs"),
        ({"detection": {"io": {"bandpass_hz": [3000.0, 300.0]}}}, r"detection\.io\.bandpass_hz.*0 < low < high"),
        ({"detection": {"pn": {"refractory_s": 0.001}}}, r"detection\.pn\.refractory_s = 0\.001: at least one step"),
        ({"detection": {"io": {"threshold": 20.0}}}, r"detection\.io\.threshold = 20: outside UQ\(4,8\)"),
        ({"detection": {"pn": {"threshold": 0.001}}}, r"detection\.pn\.threshold = 0\.001: rounds to 0"),
        (
            {"detection": {"io": {"threshold": 1e6, "relative": False}}},
            r"detection\.io\.threshold = 1e\+06: outside SQ\(18,20\)",
        ),
        ({"formats": {"detection_gain": "UQ(4,30)"}}, r"formats\.detection_gain = UQ\(4,30\): too wide"),
        ({"formats": {"detection_state": "SQ(17,20)"}}, r"formats\.detection_state = SQ\(17,20\): too narrow .* limit is SQ\(18,20\)"),
        ({"formats": {"filter_state": "SQ(2,0)"}}, r"formats\.filter_state = SQ\(2,0\): too narrow"),
        ({"formats": {"sample": "SQ(16,4)"}}, r"formats\.sample = SQ\(16,4\): whole ADC counts"),
        ({"formats": {"sample": "SQ(62,0)"}}, r"formats\.filter_state = SQ\(18,8\): too narrow"),
        ({"formats": {"weight": "UQ(0,50)", "trace": "UQ(1,10)"}}, r"formats\.weight = UQ\(0,50\): 50 bits, limit is 48"),
        ({"formats": {"potentiation": "UQ(30,32)"}}, r"formats\.potentiation = UQ\(30,32\): .* limit is 27 integer"),
        ({"trace": {"duration_s": 1e308}}, r"trace\.duration_s = 1e\+308: .* steps, limits are 1 and 65535"),
        ({"time": {"step_s": 1e-310}}, r"trace\.duration_s = 0\.3: inf steps, limits are"),
        ({"trace": {"start": True}}, r"trace\.start = True: Input should be a valid number"),
        ({"threshold": {"level": "0.188"}}, r"threshold\.level = '0\.188': Input should be a valid number"),
        ({"cls": 1}, r"cls: Extra inputs"),
        ({"recalibration": {"enabled": 1}}, r"recalibration\.enabled = 1: Input should be a valid boolean"),
        ({"calibration": {"k": -1.0}}, r"calibration"),
    ],
)  # fmt: skip
def test_refusals_name_field_value_and_limit(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        ChipConfig.make(**sections)
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore::microzone.golden_model.config.PrecisionWarning")
def test_a_trace_that_would_fall_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="too narrow, the rounded slope takes the trace below 0"):
        ChipConfig.make(
            trace={"start": 1.0, "end": 0.0, "duration_s": 1.998},
            threshold={"level": 0.3},
            formats={"trace": "UQ(1,16)"},
        )


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"formats": {"weight": "UQ(0,20)", "potentiation": "UQ(0,20)", "depression": "UQ(0,20)"}},
            r"plasticity\.potentiation = 3\.36e-05: becomes .* off by 0\.66%",
        ),
        ({"detection": {"io": {"threshold": 0.3}}}, r"detection\.io\.threshold = 0\.3: becomes 0\.300781"),
        ({"trace": {"end": 0.43}, "formats": {"trace": "UQ(1,14)"}}, r"formats\.trace = UQ\(1,14\): the rounded slope is .* steps off"),
    ],
)  # fmt: skip
def test_what_only_loses_precision_is_warned_about(sections: dict[str, Any], message: str) -> None:
    with pytest.warns(PrecisionWarning, match=message):
        ChipConfig.make(**sections)


def test_files_are_named_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "chip.toml"
    with pytest.raises(ConfigError, match=r"chip\.toml: No such file"):
        ChipConfig.load(path)
    path.write_text("[weight\n")
    with pytest.raises(ConfigError, match=r"chip\.toml: not TOML"):
        ChipConfig.load(path)
    path.write_text("a = " + "[" * 5000)
    with pytest.raises(ConfigError, match=r"chip\.toml: not TOML"):
        ChipConfig.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"chip\.toml: .*decode"):
        ChipConfig.load(path)
    path.write_text("[weight]\ninitial = 0.3\n")
    assert ChipConfig.load(path).weight.initial == 0.3
