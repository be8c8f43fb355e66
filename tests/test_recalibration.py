"""Recalibration: when and from what, float against fixed, every reason to keep δp and δd; the drift experiment."""

from __future__ import annotations

import dataclasses
import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.golden_model import (
    ChipConfig,
    ConfigError,
    MicrocircuitFixed,
    MicrocircuitFloat,
    PrecisionWarning,
)
from microzone.golden_model.calibration.calibration import check_working_range, coefficients
from microzone.golden_model.calibration.goals import CalibrationError, Goals
from microzone.golden_model.calibration.plasticity_events import PlasticityEvents
from microzone.golden_model.coefficients import Coefficients
from microzone.golden_model.recalibration import (
    EXPONENT,
    RecalibrationFixed,
    RecalibrationFloat,
    Row,
    Status,
    accumulator_format,
    coefficient_words,
    evaluation_cycles,
    rate_limits,
    visit_steps,
)
from microzone.golden_model.recalibration import _divide as divide
from microzone.sim.replay.scenarios import CONFIGS
from microzone.tools.sessions.drift import run_drift

PAPER_LIKE = Coefficients(
    alpha=(1.1, 665.0, 0.0), beta=(9.72e7, -7.05e7, 1.86e7), gamma=(3.33e5, 0.0)
)  # what a training session gives
ADAPTIVE = CONFIGS["adaptive"]


def adaptive(known: Coefficients = PAPER_LIKE, **sections: Any) -> ChipConfig:
    changes = {"enabled": True, **dataclasses.asdict(known), **sections.pop("recalibration", {})}
    return ChipConfig.make(recalibration=changes, **sections)


# --- float against fixed ----------------------------------------------------------------------


def random_calibration(rng: np.random.Generator) -> Coefficients:
    """Coefficients of a training session that calibrates, of any plausible kind."""
    while True:
        rate_hz, paired = rng.uniform(0.3, 3.5), rng.uniform(30, 400)
        alone = paired * rng.choice((1.0, rng.uniform(0.9, 1.1)))
        depressions = paired * 0.002 * rate_hz + rng.uniform(0.1, 1.5)
        extinguished = alone * 0.002 * rate_hz * rng.uniform(0.2, 1)
        spontaneous = rng.uniform(300, 6000)
        plasticity = PlasticityEvents(
            (paired, alone, spontaneous), (depressions, extinguished), spontaneous * 0.002, rate_hz
        )
        goals = Goals(
            delta_a=rng.uniform(0.1, 0.3),
            trials_a=rng.uniform(20, 80),
            delta_e=rng.uniform(0.1, 0.3),
            trials_e=rng.uniform(20, 80),
            costs=(1.0, rng.uniform(0.3, 3.0), rng.uniform(5.0, 50.0)),
        )
        found = coefficients(plasticity, goals)
        try:
            check_working_range(found, 0.25, 4.0)
        except CalibrationError:
            continue
        return found


def test_fixed_is_within_a_thousandth_or_one_lsb_of_float_for_a_thousand_calibrations() -> None:
    rng = np.random.default_rng(7)
    worst = 0.0
    for index in range(1000):
        config = adaptive(random_calibration(rng))
        real, fixed = RecalibrationFloat(config, 1), RecalibrationFixed(config, 1)
        formats = (config.formats.potentiation, config.formats.depression)
        for rate_hz in (0.25, 0.5, 1.14, 2.0, 3.3, 4.0):
            observed = 75_000 - int(rng.integers(2)) * 30_000
            count = round(rate_hz * observed * 0.002)
            count += count < 0.25 * observed * 0.002
            status, _, wanted = real.evaluate(0, count, observed)
            got_status, _, got = fixed.evaluate(0, count, observed)
            where = f"calibration {index}, {count} detections in {observed} steps"
            assert status is Status.GOOD and got_status is Status.GOOD, where
            assert wanted is not None and got is not None
            for value, word, fmt in zip(wanted, got, formats, strict=True):
                error = abs(word * fmt.lsb - value)
                assert error <= max(1e-3 * value, fmt.lsb), f"{where}: {word * fmt.lsb}, not {value}"
                if error > fmt.lsb:
                    worst = max(worst, error / value)
    assert worst < 2e-4, "the docs say 0.01 %"


def test_polynomials_are_horner_with_one_rounding_a_product() -> None:
    """Against rational numbers, rounded half up where the gateware rounds."""
    rng = np.random.default_rng(1)
    fixed = RecalibrationFixed(ADAPTIVE, 1)
    fmt, rate_bits = ADAPTIVE.formats.coefficient, ADAPTIVE.formats.rate.fraction_bits
    for _ in range(500):
        words = [int(w) for w in rng.integers(fmt.raw_min, fmt.raw_max, 3, endpoint=True)]
        rate = int(rng.integers(0, 1 << rate_bits))
        total = words[2]
        for word in (words[1], words[0]):
            total = math.floor(Fraction(total * rate, 1 << rate_bits) + Fraction(1, 2)) + word
        assert fixed._polynomial(words, rate) == total
        assert accumulator_format(ADAPTIVE).raw_min <= total <= accumulator_format(ADAPTIVE).raw_max


@given(st.integers(0, 2**40), st.integers(1, 2**40), st.integers(-70, 70))
def test_division_rounds_half_up(dividend: int, divisor: int, shift: int) -> None:
    got = divide(dividend, divisor, shift)
    exact = Fraction(dividend, divisor) * Fraction(2) ** (shift - 1)
    if shift >= 0:
        assert got == math.floor(exact + Fraction(1, 2))
    else:  # the dividend's low bits are gone before: never a whole LSB
        assert abs(got - exact) <= 1


@given(
    st.lists(st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-12), min_size=8, max_size=8),
)
def test_coefficients_are_normalised_and_read_back(values: list[float]) -> None:
    known = Coefficients((*values[:3],), (*values[3:6],), (*values[6:],))  # type: ignore[arg-type]
    words = coefficient_words(known, ADAPTIVE)
    fmt, scale = ADAPTIVE.formats.coefficient, ADAPTIVE.rate_full_scale_hz
    for first, given_values in (
        (Row.ALPHA_0, known.alpha),
        (Row.BETA_0, known.beta),
        (Row.GAMMA_0, known.gamma),
    ):
        exponent = words[first + 3]
        mantissas = [words[first + i] * fmt.lsb for i in range(len(given_values))]
        assert not any(given_values) or 0.5 - fmt.lsb <= max(map(abs, mantissas)) <= 1
        for i, (value, mantissa) in enumerate(zip(given_values, mantissas, strict=True)):
            limit = 1.5 * fmt.lsb if mantissa == fmt.max else 0.5 * fmt.lsb
            assert abs(mantissa - value * scale**i * 2.0**-exponent) <= limit * (1 + 1e-9)


def test_an_exponent_beyond_its_word_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"recalibration\.gamma: exponent -1\d\d, limits are -128 and 127"):
        adaptive(dataclasses.replace(PAPER_LIKE, gamma=(1e-45, 0.0)))
    assert EXPONENT.raw_max == 127


# --- reasons to keep what there is ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::microzone.golden_model.PrecisionWarning")
@pytest.mark.parametrize("kind", [RecalibrationFloat, RecalibrationFixed])
@pytest.mark.parametrize(
    ("known", "count", "observed", "status"),
    [
        ({}, 171, 75_000, Status.GOOD),
        ({}, 0, 0, Status.UNOBSERVED),
        ({}, 5, 0, Status.UNOBSERVED),
        ({}, 0, 75_000, Status.RATE),
        ({}, 37, 75_000, Status.RATE),
        ({}, 38, 75_000, Status.GOOD),
        ({}, 600, 75_000, Status.GOOD),
        ({}, 601, 75_000, Status.RATE),
        ({}, 75_000, 75_000, Status.RATE),
        ({"beta": (0.0, 0.0, 0.0)}, 171, 75_000, Status.DETERMINANT),
        ({"beta": (1.0, -2 / 1.14, 1 / 1.14**2)}, 171, 75_000, Status.DETERMINANT),
        ({"beta": (-1.0, 0.0, 0.0)}, 171, 75_000, Status.DETERMINANT),
        ({"alpha": (-1.0, 0.0, 0.0)}, 171, 75_000, Status.NEGATIVE),
        ({"gamma": (-1.0, 0.0)}, 171, 75_000, Status.NEGATIVE),
        ({"alpha": (0.0, 0.0, 0.0)}, 171, 75_000, Status.GOOD),
        ({"alpha": (1e9, 0.0, 0.0)}, 171, 75_000, Status.OVERFLOW),
        ({"gamma": (1e9, 0.0)}, 171, 75_000, Status.OVERFLOW),
        ({"gamma": (1e36, 0.0)}, 171, 75_000, Status.OVERFLOW),
    ],
)
def test_each_check(kind: Any, known: dict[str, Any], count: int, observed: int, status: Status) -> None:
    model = kind(adaptive(dataclasses.replace(PAPER_LIKE, **known)), 1)
    got, _, plasticity = model.evaluate(0, count, observed)
    assert got is status
    assert (plasticity is not None) == (status is Status.GOOD)


def test_a_kept_delta_stays_and_the_status_says_why() -> None:
    model = MicrocircuitFixed(ADAPTIVE)
    assert model.recalibration is not None
    before = model.potentiation.copy(), model.depression.copy()
    silent, busy = np.zeros((200, 1), bool), np.random.default_rng(0).random((200, 1)) < 0.1
    assert not model.process(silent, silent).recalibrations and model.recalibration.status == [Status.NEVER]
    [outcome] = model.process(silent, busy).recalibrations
    assert outcome.status is Status.RATE, "of the silent period; what is counted in its visit comes next"
    assert (model.potentiation == before[0]).all() and (model.depression == before[1]).all()
    assert model.recalibration.status == [Status.RATE]
    [outcome] = model.process(silent, silent).recalibrations
    assert outcome.status is Status.GOOD and outcome.count == busy.sum()
    assert (model.potentiation == outcome.potentiation).all() and (model.potentiation != before[0]).all()
    model.reset()
    assert model.recalibration.status == [Status.NEVER] and (model.depression == before[1]).all()


# --- when -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 64])
def test_each_channel_counts_its_own_period_and_learns_after_its_visit(channels: int) -> None:
    """One IO detection just before and one just at each boundary tell which period a step belongs to."""
    model = MicrocircuitFixed(ADAPTIVE, channels)
    period, visit = ADAPTIVE.recalibration_steps, visit_steps(channels)
    steps = 3 * period + channels * visit
    pn, io = np.zeros((2, steps, channels), bool)
    for channel in range(channels):
        for number in (1, 2):
            boundary = number * period + channel * visit
            io[boundary - number : boundary, channel] = True
            io[boundary : boundary + 2 + number, channel] = True
    hidden = np.zeros_like(io)
    hidden[: period // 2] = True
    outcomes = model.process(pn, io, blanked=hidden).recalibrations
    assert [o.channel for o in outcomes] == [*range(channels)] * 3
    for index, outcome in enumerate(outcomes):
        number, channel = index // channels + 1, index % channels
        assert outcome.step == number * period + (channel + 1) * visit
        first = number == 1
        assert outcome.observed == (period - period // 2 + channel * visit if first else period)
        assert outcome.count == {1: 1, 2: 3 + 2, 3: 4}[number]


def test_pieces_of_any_length_give_the_same_as_one() -> None:
    rng = np.random.default_rng(5)
    pn, io, hidden = (rng.random((1500, 3)) < p for p in (0.03, 0.15, 0.2))
    for kind in (MicrocircuitFloat, MicrocircuitFixed):
        whole: Any = kind(ADAPTIVE, 3).process(pn, io, blanked=hidden)
        model, start, weights, outcomes = kind(ADAPTIVE, 3), 0, [], []
        while start < 1500:
            part = slice(start, start + int(rng.integers(1, 90)))
            response: Any = model.process(pn[part], io[part], blanked=hidden[part])
            weights.append(response.weight)
            outcomes += response.recalibrations
            start = part.stop
        assert np.array_equal(np.concatenate(weights), whole.weight)
        assert outcomes == list(whole.recalibrations) and len(outcomes) == 20


def test_blanked_steps_hide_detections_and_take_no_time() -> None:
    """All detections that count are outside, so that blanking at random changes no rate."""
    rng = np.random.default_rng(2)
    io, hidden = rng.random((400, 1)) < 0.2, rng.random((400, 1)) < 0.5
    none = np.zeros_like(io)
    [first] = MicrocircuitFloat(ADAPTIVE).process(none, io, blanked=hidden).recalibrations
    assert first.count == (io & ~hidden)[:200].sum() and first.observed == 200 - hidden[:200].sum()
    assert first.rate == pytest.approx(first.count / (first.observed * 0.002))
    seen = MicrocircuitFixed(ADAPTIVE)
    pn = np.zeros_like(io)
    pn[::40] = True
    assert np.array_equal(seen.process(pn, io, blanked=hidden).weight, _fixed(pn, io & ~hidden, hidden))


def _fixed(pn: Any, io: Any, hidden: Any) -> Any:
    return MicrocircuitFixed(ADAPTIVE).process(pn, io, blanked=hidden).weight


def test_a_set_is_used_once_it_is_whole() -> None:
    rng = np.random.default_rng(3)
    pn, io = np.zeros((200, 1), bool), rng.random((200, 1)) < 0.1
    model = MicrocircuitFixed(ADAPTIVE)
    recalibration = model.recalibration
    assert isinstance(recalibration, RecalibrationFixed)
    model.process(pn, io)
    recalibration.write(0, Row.ALPHA_0, 77)  # before the visit; its end comes after it
    assert [o.status for o in model.process(pn, io).recalibrations] == [Status.INTERRUPTED]
    recalibration.write(0, Row.GAMMA_EXPONENT, int(recalibration.words[0, Row.GAMMA_EXPONENT]))
    assert [o.status for o in model.process(pn, io).recalibrations] == [Status.GOOD]
    recalibration.write(0, Row.BETA_EXPONENT, 0x1FF)
    assert recalibration.words[0, Row.BETA_EXPONENT] == -1, "bits beyond the format are dropped"
    recalibration.write(0, Row.BETA_0, 1 << 27)
    assert recalibration.words[0, Row.BETA_0] == -(1 << 27)
    model.reset()
    model.process(pn, io)
    assert [o.status for o in model.process(pn, io).recalibrations] == [Status.GOOD]


def test_a_rate_beyond_full_scale_is_refused_even_if_the_limit_rounds_to_it() -> None:
    config = adaptive(recalibration={"rate_max_hz": 7.81249999})
    for count in (1172, 2000, 75_000):
        for kind in (RecalibrationFloat, RecalibrationFixed):
            model: Any = kind(config, 1)
            assert model.evaluate(0, count, 75_000)[0] is Status.RATE, (kind, count)
    assert RecalibrationFixed(config, 1).evaluate(0, 40_000, 75_000)[1] == config.formats.rate.raw_max


def test_a_write_in_mid_visit_ends_it_without_effect_and_one_beside_it_counts() -> None:
    rng = np.random.default_rng(3)
    pn, io = np.zeros((200 + 200, 2), bool), rng.random((400, 2)) < 0.1
    visit = visit_steps(2)
    for at, channel, statuses in (
        (200, 0, (Status.GOOD, Status.GOOD)),
        (201, 0, (Status.INTERRUPTED, Status.GOOD)),
        (200 + visit - 1, 0, (Status.INTERRUPTED, Status.GOOD)),
        (200 + visit, 0, (Status.GOOD, Status.GOOD)),
        (201, 1, (Status.GOOD, Status.GOOD)),
        (201 + visit, 1, (Status.GOOD, Status.INTERRUPTED)),
    ):
        model = MicrocircuitFixed(ADAPTIVE, 2)
        assert model.recalibration is not None
        found = list(model.process(pn[:at], io[:at]).recalibrations)
        recalibration = model.recalibration
        assert isinstance(recalibration, RecalibrationFixed)
        recalibration.write(
            channel, Row.GAMMA_EXPONENT, int(recalibration.words[channel, Row.GAMMA_EXPONENT])
        )
        found += model.process(pn[at:], io[at:]).recalibrations
        assert tuple(outcome.status for outcome in found) == statuses, (at, channel)


# --- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recalibration": {"beta": None}}, r"recalibration\.beta: needed where enabled"),
        ({"recalibration": {"period_s": 0.25}}, r"period_s = 0\.25: 125 steps, limit for 1 channels is 129"),
        ({"recalibration": {"period_s": 150.001}}, r"period_s = 150\.001: .* must be a whole number"),
        ({"recalibration": {"period_s": 1e6}}, r"period_s = 1e\+06: limit is 8388608 steps"),
        ({"recalibration": {"rate_min_hz": 4.0}}, r"rate_min_hz = 4, rate_max_hz = 4: needs rate_min_hz <"),
        (
            {"recalibration": {"rate_max_hz": 500.0}},
            r"rate_max_hz = 500: must be below 500, one detection a step",
        ),
        ({"recalibration": {"rate_min_hz": 1e-5}}, r"rate_min_hz = 1e-05: UQ\(0,22\) rounds .* 9\.31e-05"),
        ({"formats": {"rate": "UQ(1,20)"}}, r"formats\.rate = UQ\(1,20\): a share of full scale"),
        ({"formats": {"coefficient": "SQ(2,20)"}}, r"formats\.coefficient = SQ\(2,20\): normalised"),
        (
            {"formats": {"coefficient": "SQ(1,12)"}},
            r"SQ\(1,12\): too narrow for a determinant, .* SQ\(1,13\)",
        ),
        ({"formats": {"coefficient": "SQ(1,38)"}}, r"a product of Horner's scheme has 63 bits, limit is 62"),
        (
            {
                "formats": {"rate": "UQ(0,46)", "coefficient": "SQ(1,13)"},
                "recalibration": {"rate_min_hz": 0.0, "rate_max_hz": 1e-6},
            },
            r"takes 5\d\d cycles, limit is 512",
        ),
    ],
)
def test_what_cannot_recalibrate_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        adaptive(**changes)


@pytest.mark.parametrize("fraction_bits", [13, 15])
def test_words_too_narrow_for_these_coefficients_are_warned_about(fraction_bits: int) -> None:
    with pytest.warns(
        PrecisionWarning, match=rf"SQ\(1,{fraction_bits}\)?, .*: recalibration at [\d.]+ Hz is"
    ):
        adaptive(formats={"coefficient": f"SQ(1,{fraction_bits})"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adaptive()


def test_more_channels_than_a_period_has_visits_for_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"recalibration\.period_s = 0\.4: 200 steps, limit for 128 channels is 256"
    ):
        MicrocircuitFixed(ADAPTIVE, 128)


@given(st.floats(0.5, 200.0), st.floats(1e-4, 4e-3))
def test_the_working_range_uses_the_upper_half_of_the_rate_word(rate_max_hz: float, step_s: float) -> None:
    if rate_max_hz * step_s >= 1:
        return
    config = ChipConfig.make().model_copy(
        update={
            "time": ChipConfig.make().time.model_copy(update={"step_s": step_s}),
            "recalibration": ChipConfig.make().recalibration.model_copy(update={"rate_max_hz": rate_max_hz}),
        }
    )
    _, high = rate_limits(config)
    assert config.formats.rate.raw_max / 2 <= high <= config.formats.rate.raw_max
    assert rate_max_hz < config.rate_full_scale_hz <= 2 * rate_max_hz * (1 + 1e-12)


@settings(max_examples=30)
@given(st.integers(1, 4096))
def test_a_visit_has_the_cycles_that_an_evaluation_takes(channels: int) -> None:
    assert evaluation_cycles(ChipConfig.make()) <= (visit_steps(channels) - 1) * 4 * channels


# --- the drift experiment ---------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_drift(seeds: int) -> None:
    """Figures 14 to 16. What recalibration cannot do is in docs/blocks/recalibration.md."""
    courses = run_drift(range(seeds))
    for model in ("float", "fixed"):
        constant, unpaired = (courses["unpaired", how, model] for how in ("constant", "recalibrated"))
        paired = courses["paired", "recalibrated", model]
        about = f"{model}, seeds 0 to {seeds - 1}"
        assert constant.mean_weight.min() < 0.35 and constant.responded.mean() > 0.3, about
        assert constant.well_timed.mean() > 0.05, about
        assert np.abs(unpaired.mean_weight[:190] - 0.5).max() < 0.1, about
        assert unpaired.well_timed.mean() < 0.01, about
        assert paired.mean_weight[150:190].max() < 0.35 and paired.well_timed[:, 150:190].mean() > 0.1, about
        assert paired.mean_weight[-1] > 0.4 and paired.well_timed[:, -40:].mean() < 0.02, about
    for key in (("unpaired", "recalibrated"), ("paired", "recalibrated")):
        real, fixed = courses[*key, "float"], courses[*key, "fixed"]
        assert np.abs(real.weight - fixed.weight).max() < 0.02, key
        assert (real.well_timed != fixed.well_timed).mean() < 1e-3, key
