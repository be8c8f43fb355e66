"""A format made too narrow on purpose: signal, step and missing bits are named; by default nothing is amiss."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from microzone.golden_model import (
    UQ,
    ChipConfig,
    Events,
    MicrocircuitFixed,
    MicrocircuitFloat,
    PrecisionWarning,
    Protocol,
    Trial,
    quantize,
)
from microzone.golden_model.microcircuit import SIGNALS
from microzone.golden_model.precision.divergence import _missing_bits, recalibration_divergence
from microzone.golden_model.precision.precision import Precision, measure_precision
from microzone.golden_model.precision.quantisation import quantised_parameters
from microzone.golden_model.recalibration import Outcome, RecalibrationFixed, RecalibrationFloat, Status
from microzone.tools.compare.precision_text import find_faults, place

SEED = 1
PROTOCOL = Protocol(trials=(Trial.PAIRED,) * 50 + (Trial.CS_ALONE,) * 20)


def configured(**sections: Any) -> ChipConfig:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        return ChipConfig.make(**sections)


@pytest.fixture(scope="module")
def events() -> Events:
    return PROTOCOL.events(ChipConfig.make(), SEED)


@functools.cache
def narrowed(culprit: str) -> tuple[ChipConfig, Precision]:
    """A configuration with a narrow format, and what it does to the session."""
    config = configured(**NARROW[culprit])
    return config, measure_precision(PROTOCOL.events(ChipConfig.make(), SEED), config)


def traced(model: type, events: Events, config: ChipConfig) -> dict[str, np.ndarray]:
    return model(config).process(events.pn_steps, events.io_steps, trace=True).signals


def sentences(precision: Precision, events: Events, config: ChipConfig) -> str:
    found = find_faults(precision, quantised_parameters(config), events, config)
    return "\n".join(f"{one.title}: {one.text}" for one in found)


# --- the default --------------------------------------------------------------------------------


def test_the_default_has_no_overflow_underflow_or_divergence(events: Events) -> None:
    config = ChipConfig.make()
    found = measure_precision(events, config)
    assert found.overflows == [] and found.underflows == [] and found.divergence is None
    assert all(seen.overflows == 0 and seen.underflows == 0 for seen in found.signals.values())
    assert all(seen.differing == 0 for seen in found.decisions.values())
    text = sentences(found, events, config)
    assert text.startswith("no overflow: ") and "no underflow: " in text and "no decision differs: " in text


def test_statistics_are_those_of_the_two_models(events: Events) -> None:
    config = ChipConfig.make()
    fixed, real = (traced(model, events, config) for model in (MicrocircuitFixed, MicrocircuitFloat))
    found = measure_precision(events, config, chunk=4099)
    assert set(found.signals) | set(found.decisions) == set(SIGNALS)
    for name, seen in found.signals.items():
        error = fixed[name] * seen.fmt.lsb - real[name]
        assert (seen.raw_min, seen.raw_max) == (fixed[name].min(), fixed[name].max()), name
        assert (seen.real_min, seen.real_max) == (real[name].min(), real[name].max()), name
        assert seen.largest_error_lsb * seen.fmt.lsb == pytest.approx(np.abs(error).max()), name
        assert seen.rms_error_lsb * seen.fmt.lsb == pytest.approx(math.sqrt(np.square(error).mean())), name
        assert seen.steps == sum(seen.histogram.values()) == events.n_steps
    for name, decision in found.decisions.items():
        assert (decision.fixed, decision.real) == (fixed[name].sum(), real[name].sum()), name
    error = (fixed["weight"] * config.formats.weight.lsb - real["weight"]) / config.formats.weight.lsb
    steps, low, high = found.course.T
    assert steps[-1] == events.n_steps - 1 and (np.diff(steps) > 0).all() and steps.size < 5000
    starts = np.concatenate([[0], steps[:-1].astype(int) + 1])
    assert np.array_equal(low, np.minimum.reduceat(error, starts))
    assert np.array_equal(high, np.maximum.reduceat(error, starts))


@pytest.mark.parametrize("sections", [{}, {"plasticity": {"potentiation": 2e-4, "depression": 0.05}}])
def test_nothing_depends_on_the_chunk(events: Events, sections: dict[str, Any]) -> None:
    config = configured(**sections)
    whole, split = (measure_precision(events, config, chunk=chunk) for chunk in (1 << 22, 777))
    ours, theirs = whole.summary(), split.summary()
    sums = {name: signal.pop("sqnr_db") for name, signal in ours["signals"].items()}
    for name, signal in theirs["signals"].items():
        assert signal.pop("sqnr_db") == pytest.approx(sums[name])
        for key in ("rms_error_lsb", "mean_error_lsb"):
            assert signal.pop(key) == pytest.approx(ours["signals"][name].pop(key)), name
    assert ours == theirs


# --- overflow -----------------------------------------------------------------------------------


def without_limits(events: Events, config: ChipConfig) -> tuple[np.ndarray, int]:
    """W by a plain loop over the equation of process 8, and the first step beyond the format."""
    signals = traced(MicrocircuitFloat, events, config)
    w, course = config.weight.initial, []
    for eligible, gated in zip(signals["plasticity_trace"], signals["gated_io"], strict=True):
        w += eligible * (config.plasticity.potentiation - gated * config.plasticity.depression)
        course.append(w)
    beyond = (np.array(course) > config.formats.weight.max) | (np.array(course) < config.formats.weight.min)
    return np.array(course), int(np.argmax(beyond))


def test_a_weight_that_grows_out_of_its_format_is_named(events: Events) -> None:
    config = configured(plasticity={"potentiation": 2e-4}, formats={"weight": "UQ(0,32)"})
    found = measure_precision(events, config)
    (overflow,) = found.overflows
    # w stays above where CRs begin, with and without limits: the gate never closes, the loop is exact.
    assert found.decisions["cr"].fixed == 0
    course, first = without_limits(events, config)
    assert (overflow.signal, overflow.step) == ("weight", first)
    assert overflow.highest == pytest.approx(course.max(), rel=1e-6) and overflow.highest > 2
    assert overflow.missing_integer_bits == math.floor(math.log2(course.max())) + 1
    assert overflow.needed == f"UQ({overflow.missing_integer_bits},32)"
    text = sentences(found, events, config)
    assert f"OVERFLOW: w (process 8, weight) leaves UQ(0,32) in {place(first, events, config)}" in text
    assert f"needs {overflow.missing_integer_bits} more integer bits: {overflow.needed}" in text
    # The bits named are enough, and one fewer is not.
    for bits, enough in ((0, True), (-1, False)):
        wider = config.replace(formats={"weight": f"UQ({overflow.missing_integer_bits + bits},32)"})
        assert (measure_precision(events, wider).overflows == []) is enough


def test_a_weight_that_falls_below_zero_needs_a_sign(events: Events) -> None:
    config = configured(plasticity={"depression": 0.2})
    found = measure_precision(events, config)
    (overflow,) = found.overflows
    fixed = traced(MicrocircuitFixed, events, config)["weight"]
    assert overflow.step == int(np.argmax(fixed == 0)) and found.signals["weight"].overflows_top == 0
    assert overflow.lowest < 0 and overflow.needed.startswith("SQ(")
    assert overflow.changes is not None and overflow.changes > overflow.step
    text = sentences(found, events, config)
    assert "a sign among them: SQ(" in text
    assert f"the first CR decision that this changes is in {place(overflow.changes, events, config)}" in text
    signed = config.replace(formats={"weight": overflow.needed})
    assert measure_precision(events, signed).overflows == []


def test_a_limit_just_reached_is_no_overflow() -> None:
    config = configured(plasticity={"potentiation": 0.0625, "depression": 0.0}, formats={"weight": "UQ(0,8)", "potentiation": "UQ(0,8)", "depression": "UQ(0,8)"}, weight={"initial": 0.5}, trace={"duration_s": 0.014})  # fmt: skip
    # 7 eligible steps a detection, 0.5 + 7/16 = 0.9375: 240 of 255.
    one = measure_precision(Events(np.array([5]), np.array([], np.int64), 200), config)
    assert one.overflows == [] and one.signals["weight"].raw_max == 240
    two = measure_precision(Events(np.array([5, 30]), np.array([], np.int64), 200), config)
    (overflow,) = two.overflows
    assert overflow.step == 30 + config.eligibility_delay_steps and overflow.times == 7
    assert overflow.highest == 0.5 + 14 / 16 and overflow.missing_integer_bits == 1


# --- divergence ---------------------------------------------------------------------------------

NARROW = {
    "plasticity.potentiation": {"formats": {"potentiation": "UQ(0,20)"}},
    "plasticity.depression": {"formats": {"depression": "UQ(0,14)"}},
    "slope of the trace": {"formats": {"trace": "UQ(1,13)"}},
    "threshold.level": {"formats": {"threshold": "UQ(0,7)"}},
    "weight.initial": {
        "weight": {"initial": 0.4966},
        "formats": {"weight": "UQ(0,10)", "potentiation": "UQ(0,10)", "depression": "UQ(0,10)"},
        "plasticity": {"potentiation": 0.0, "depression": 0.015625},
    },
}
FORMAT_OF = {
    "plasticity.potentiation": "potentiation",
    "plasticity.depression": "depression",
    "slope of the trace": "trace",
    "threshold.level": "threshold",
    "weight.initial": "weight",
}


@pytest.mark.parametrize("culprit", NARROW)
def test_a_narrow_format_is_named_where_it_first_changes_a_decision(events: Events, culprit: str) -> None:
    config, precision = narrowed(culprit)
    fixed, real = (traced(model, events, config) for model in (MicrocircuitFixed, MicrocircuitFloat))
    found = precision.divergence
    assert found is not None
    differs = np.array(
        [fixed[name] != real[name] for name in SIGNALS if name not in ("trace", "weight", "scaled")]
    )
    first = int(np.argmax(differs.any(axis=0)))
    assert (found.step, found.signal, found.process) == (first, "below", 3)
    assert found.parameter == culprit and found.fmt == getattr(config.formats, FORMAT_OF[culprit])
    # The parts are all that moved S - θ.
    moved = fixed["scaled"][first] * config.scaled_format.lsb - real["scaled"][first]
    threshold = quantize(config.threshold.level, config.formats.threshold) * config.formats.threshold.lsb
    moved -= threshold - config.threshold.level
    assert sum(found.parts.values()) == pytest.approx(moved, rel=1e-6, abs=1e-12)
    assert found.margin == pytest.approx(real["scaled"][first] - config.threshold.level)
    assert abs(moved) >= abs(found.margin)
    text = sentences(precision, events, config)
    assert f"FIRST DIVERGENCE: {place(first, events, config)}, below (process 3)" in text
    assert f"by {culprit} in {found.fmt}: needs {found.missing_fraction_bits} more fraction bit" in text


@pytest.mark.parametrize(
    ("value", "part", "margin", "moved", "expected"),
    [
        (None, -1e-3, 3e-4, -1e-3, 2),  # a quarter of it is less than the margin, half of it is not
        (None, -1e-3, 5.1e-4, -1e-3, 1),
        (None, 1e-3, -3e-4, 1e-3, 2),
        (None, -3e-4, 1e-4, -6e-4, None),  # the other parts alone are too much
        (0.3, -1e-3, 4e-4, -1e-3, 2),  # 4.8, 9.6, 19.2 LSB: +0.0125, +0.0125, -0.0031
        (0.3, -1e-3, 4e-4, -1.2e-3, 2),  # -0.0002 of others, +0.00025 of it
        (0.3, -1e-3, 4e-4, -1.9e-3, None),
        (0.3, -1e-3, 4e-4, -1.7e-3, None),  # -0.0007 and +0.00025 are below -0.0004
        (0.3, -1e-3, 4e-4, -1.6e-3, 2),  # -0.0006 and +0.00025 are not
    ],
)
def test_missing_bits_by_hand(
    value: float | None, part: float, margin: float, moved: float, expected: int | None
) -> None:
    assert _missing_bits(value, UQ(0, 4), part, margin, moved) == expected


@pytest.mark.parametrize("culprit", NARROW)
def test_fewer_bits_than_named_do_not_do(events: Events, culprit: str) -> None:
    config, precision = narrowed(culprit)
    found = precision.divergence
    assert found is not None and found.fmt is not None and found.missing_fraction_bits is not None
    for more in range(1, found.missing_fraction_bits):
        wider = f"UQ({found.fmt.integer_bits},{found.fmt.fraction_bits + more})"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            after = measure_precision(events, config.replace(formats={FORMAT_OF[culprit]: wider})).divergence
        assert after is not None and after.step <= found.step
    if culprit in ("plasticity.potentiation", "threshold.level"):
        assert found.missing_fraction_bits > 1, "a case in which that says something"


@pytest.mark.parametrize("culprit", NARROW)
def test_the_bits_named_leave_that_decision_as_it_is_in_float(events: Events, culprit: str) -> None:
    config, precision = narrowed(culprit)
    found = precision.divergence
    assert found is not None and found.fmt is not None and found.missing_fraction_bits is not None
    bits = found.fmt.fraction_bits + found.missing_fraction_bits
    wider = f"UQ({found.fmt.integer_bits},{bits})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        after = measure_precision(events, config.replace(formats={FORMAT_OF[culprit]: wider})).divergence
    assert after is None or after.step > found.step


def test_an_error_from_before_a_limit_is_forgotten_there() -> None:
    """W is held at the top, in both models, so that only what follows counts."""
    config = configured(
        plasticity={"potentiation": 1e-3}, formats={"weight": "UQ(0,16)", "potentiation": "UQ(0,16)", "depression": "UQ(0,16)"},
    )  # fmt: skip
    # Trials without IO detections up to the top, then so many of them that w falls to where CRs begin.
    events = Events(np.arange(100, 40_000, 200), np.arange(8000, 40_000, 8), 40_000)
    found = measure_precision(events, config)
    assert found.divergence is not None and "saturation" in found.divergence.parts
    fixed, real = (traced(model, events, config) for model in (MicrocircuitFixed, MicrocircuitFloat))
    at = found.divergence.step
    error = fixed["weight"][at] * config.formats.weight.lsb - real["weight"][at]
    of_w = sum(found.divergence.parts[name] for name in ("saturation", "potentiation", "depression"))
    assert of_w == pytest.approx(error * real["trace"][at], rel=1e-9)


# --- recalibration ------------------------------------------------------------------------------

COEFFICIENTS = {"alpha": (0.0, 2e-5, 0.0), "beta": (1.0, 0.0, 0.0), "gamma": (0.01, 0.0)}


def recalibrated(**sections: Any) -> ChipConfig:
    given = {"enabled": True, "period_s": 20.0, **COEFFICIENTS, **sections.pop("recalibration", {})}
    return configured(recalibration=given, **sections)


def test_recalibrations_are_signals_too(events: Events) -> None:
    config = recalibrated()
    model = MicrocircuitFixed(config)
    outcomes = model.process(events.pn_steps, events.io_steps).recalibrations
    good = [one for one in outcomes if one.status is Status.GOOD]
    found = measure_precision(events, config)
    assert found.recalibration_steps == [one.step for one in good] and len(good) > 10
    seen = found.recalibrations["potentiation"]
    assert (seen.raw_min, seen.raw_max) == (
        min(one.potentiation for one in good),
        max(one.potentiation for one in good),
    )
    assert found.recalibrations["rate"].largest_error_lsb <= 0.5
    assert found.overflows == [] and found.divergence is None


def test_a_recalibrated_potentiation_beyond_its_format_is_an_overflow(events: Events) -> None:
    config = recalibrated(recalibration={"alpha": (0.0, 1.0, 0.0)})  # δp = x: above 1 at rates above 1 Hz
    outcomes = MicrocircuitFixed(config).process(events.pn_steps, events.io_steps).recalibrations
    refused = [one for one in outcomes if one.status is Status.OVERFLOW]
    precision = measure_precision(events, config)
    found = next(one for one in precision.overflows if one.signal == "potentiation")
    assert (found.step, found.times) == (refused[0].step, len(refused))
    largest = max(one.count / (one.observed * config.time.step_s) for one in refused)
    assert found.highest == pytest.approx(largest)
    assert found.missing_integer_bits == math.floor(math.log2(largest)) + 1
    text = sentences(precision, events, config)
    assert "OVERFLOW: δp (formats.potentiation) leaves UQ(0,32)" in text


def test_a_recalibrated_potentiation_that_becomes_zero_is_an_underflow(events: Events) -> None:
    config = recalibrated(recalibration={"alpha": (0.0, 5e-11, 0.0)})  # half an LSB is 1.16e-10
    found = measure_precision(events, config)
    (underflow,) = found.underflows
    assert underflow.signal == "potentiation" and underflow.step in found.recalibration_steps
    bits = underflow.fmt.fraction_bits + underflow.missing_fraction_bits
    rates = [one.count / (one.observed * config.time.step_s) for one in MicrocircuitFixed(config).process(events.pn_steps, events.io_steps).recalibrations if one.status is Status.GOOD]  # fmt: skip
    least = min(rates) * 5e-11
    assert least >= 2.0 ** -(bits + 1) and least < 2.0**-bits
    text = sentences(found, events, config)
    assert f"UNDERFLOW: δp (formats.potentiation) becomes 0 in UQ(0,32) in {underflow.times} recalib" in text
    assert f"needs {underflow.missing_fraction_bits} more fraction bit" in text


def test_a_recalibration_refused_by_rounding_is_a_divergence() -> None:
    """A rate at the very end of the working range, which a coarse word of it puts inside or outside."""
    config = recalibrated(
        recalibration={"rate_max_hz": 2.049, "rate_min_hz": 0.5, "period_s": 20.0},
        formats={"rate": "UQ(0,9)"},
    )
    seconds = config.recalibration_steps * config.time.step_s
    for count in range(1, 200):
        args = (0, count, config.recalibration_steps)
        ours, theirs = (
            model(config, 1).evaluate(*args)[0] for model in (RecalibrationFixed, RecalibrationFloat)
        )
        if ours is not theirs:
            break
    else:
        pytest.fail("no count of IO detections is judged differently")
    assert count == pytest.approx(2.049 * seconds, abs=1)
    io = np.arange(count) * (config.recalibration_steps // count)
    events = Events(np.array([], np.int64), io, 2 * config.recalibration_steps)
    found = measure_precision(events, config).divergence
    assert found is not None and found.signal == "recalibration" and found.process is None
    assert found.parameter == "formats.rate" and found.missing_fraction_bits is not None
    assert f"{ours.name} in fixed point, {theirs.name} in float" in found.cause
    wider = config.replace(formats={"rate": f"UQ(0,{9 + found.missing_fraction_bits})"})
    assert measure_precision(events, wider).divergence is None


def test_the_parts_of_a_divergence_follow_the_recalibrations(events: Events) -> None:
    config = recalibrated(formats={"potentiation": "UQ(0,20)"})
    fixed, real = (traced(model, events, config) for model in (MicrocircuitFixed, MicrocircuitFloat))
    found = measure_precision(events, config).divergence
    assert found is not None and found.signal == "below"
    assert found.step > 3 * config.recalibration_steps, "some recalibrations before it"
    assert found.parameter == "recalibrated potentiation" and found.fmt == config.formats.potentiation
    at = found.step
    error = fixed["weight"][at] * config.formats.weight.lsb - real["weight"][at]
    of_w = sum(found.parts[name] for name in ("weight.initial", "potentiation", "depression"))
    assert of_w == pytest.approx(error * real["trace"][at], rel=1e-9)


def test_where_no_format_helps_none_is_named() -> None:
    config = recalibrated()
    ours = Outcome(10, 0, Status.GOOD, 20, config.recalibration_steps, 0, 0, 0)
    theirs = Outcome(10, 0, Status.NEGATIVE, 20, config.recalibration_steps, 0.0, 0.0, 0.0)
    found = recalibration_divergence(ours, theirs, config)
    assert found.parameter is None and found.missing_fraction_bits is None
    assert "GOOD in fixed point, NEGATIVE in float" in found.cause


def test_blanked_steps_count_as_in_the_models(events: Events) -> None:
    blanked = np.array([[int(step), int(step) + 400] for step in events.cs])
    hidden = Events(events.pn, events.io, events.n_steps, events.cs, events.us, blanked=blanked)
    found = measure_precision(hidden, ChipConfig.make())
    model = MicrocircuitFixed(ChipConfig.make())
    expected = model.process(hidden.pn_steps, hidden.io_steps, blanked=hidden.blanked_steps, trace=True)
    assert found.decisions["gated_io"].fixed == expected.signals["gated_io"].sum()
    assert found.signals["weight"].raw_max == expected.weight.max()


def test_a_place_in_words(events: Events) -> None:
    config = ChipConfig.make()
    first, second = (int(step) for step in events.cs[:2])
    assert place(0, events, config) == "step 0 (0.000 s)"
    assert place(first, events, config).endswith(", trial 1)") and place(second - 1, events, config).endswith(
        "trial 1)"
    )
    assert place(60_000, Events(events.pn, events.io, events.n_steps), config) == "step 60,000 (2 min 0.0 s)"
