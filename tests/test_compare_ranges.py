"""Statistics of signals and parameters, each against an oracle of its own: hand-made arrays, exact integers."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from microzone.golden_model import SQ, UQ, ChipConfig, PrecisionWarning, QFormat
from microzone.golden_model.precision.quantisation import Quantised, quantised_parameters
from microzone.golden_model.precision.ranges import (
    SignalRange,
    decibels,
    floor_log2,
    log2_histogram,
    needed_bits,
    signal_formats,
)

WORDS = st.lists(st.integers(-128, 127), min_size=1, max_size=40)
SIGNED = SQ(3, 5)


def measured(fmt: QFormat, words: list[int], real: list[float], parts: int = 1) -> SignalRange:
    seen = SignalRange("x", fmt)
    for some, values in zip(np.array_split(words, parts), np.array_split(real, parts), strict=True):
        seen.add(some.astype(np.int64), values.astype(np.float64))
    return seen


@given(st.integers(1, 2**63 - 1))
def test_the_exponent_of_an_integer_is_exact(value: int) -> None:
    assert floor_log2(np.array([value], np.int64))[0] == value.bit_length() - 1


@pytest.mark.parametrize("power", [52, 53, 54, 61, 62])
def test_the_exponent_is_exact_beside_powers_of_two_that_floats_miss(power: int) -> None:
    around = np.array([2**power - 1, 2**power, 2**power + 1], np.int64)
    assert floor_log2(around).tolist() == [power - 1, power, power]


def test_a_histogram_by_hand() -> None:
    values = [0, 0.0, 1, -1, 1.999, 2, 3, 4, -0.5, 0.2499]
    assert log2_histogram(values) == Counter({None: 2, 0: 3, 1: 2, 2: 1, -1: 1, -3: 1})
    assert log2_histogram(np.array([0, 1, 5, 8, -8]), 3) == Counter({None: 1, -3: 1, -1: 1, 0: 2})


@given(st.lists(st.floats(-1e300, 1e300), max_size=30))
def test_a_histogram_has_every_value_once_and_in_its_bin(values: list[float]) -> None:
    found = log2_histogram(values)
    expected = Counter(None if v == 0 else math.frexp(abs(v))[1] - 1 for v in values)
    assert found == expected


def test_a_signal_by_hand() -> None:
    seen = measured(UQ(2, 2), [0, 2, 6, 10], [0.1, 0.5, 1.0, 2.5])
    assert (seen.raw_min, seen.raw_max, seen.real_min, seen.real_max) == (0, 10, 0.1, 2.5)
    # Fixed less float: -0.1, 0, 0.5, 0; in LSB of 1/4: -0.4, 0, 2, 0.
    assert seen.largest_error_lsb == pytest.approx(2.0) and seen.first_beyond_lsb == 2
    assert seen.mean_error_lsb == pytest.approx(0.4)
    assert seen.rms_error_lsb == pytest.approx(math.sqrt((0.16 + 4) / 4))
    assert seen.underflows == 1 and seen.first_underflow == 0  # 0.1 is below half of 1/4
    assert seen.overflows == 0
    assert (seen.wasted_integer_bits, seen.wasted_fraction_bits) == (0, 1)  # 10 takes 4 bits, all are even
    assert seen.histogram == Counter({None: 1, -1: 1, 0: 1, 1: 1})


def test_an_underflow_is_below_half_an_lsb() -> None:
    seen = measured(UQ(2, 2), [0, 1, 1, 0, 0, 0], [0.124, 0.125, 0.2, -0.124, 0.0, -0.2])
    assert seen.underflows == 2 and seen.first_underflow == 0


def test_wasted_bits_by_hand() -> None:
    for fmt, words, integer, fraction in (
        (UQ(4, 4), [0x13, 0x2C], 2, 0),
        (UQ(4, 4), [0x10, 0x20], 2, 4),
        (UQ(4, 4), [0, 0], 4, 4),
        (UQ(0, 8), [0x0F], 0, 0),  # the fraction's leading bits cannot go
        (SQ(4, 4), [0x10, 0x0F], 3, 0),  # never negative: the sign is one of the three
        (SQ(4, 4), [-16, 15], 3, 0),
        (SQ(4, 4), [-17], 2, 0),
        (SQ(4, 4), [-128, 127], 0, 0),
        (SQ(4, 4), [-32], 2, 4),
    ):
        seen = measured(fmt, words, [word * fmt.lsb for word in words])
        assert (seen.wasted_integer_bits, seen.wasted_fraction_bits) == (integer, fraction), (fmt, words)


@given(WORDS)
def test_a_format_without_the_wasted_bits_holds_every_value(words: list[int]) -> None:
    seen = measured(SIGNED, words, [0.0] * len(words))
    cut, top = seen.wasted_fraction_bits, seen.unused_top_bits
    signed = min(words) < 0
    width = SIGNED.width - top - cut
    for word in words:
        assert word % (1 << cut) == 0
        kept = word >> cut
        low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << max(width, 0)) - 1)
        assert low <= kept <= high
    # One bit fewer at the top would not do.
    largest = max(max(words), -min(words) - 1)
    assert largest >> max(SIGNED.width - top - 1 - signed, 0) or largest == 0


@given(WORDS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_stretches_add_up_to_the_whole(words: list[int], parts: int, random: object) -> None:
    real = [word / 32 + random.uniform(-0.1, 0.1) for word in words]  # type: ignore[attr-defined]
    whole, split = measured(SIGNED, words, real), measured(SIGNED, words, real, parts)
    ours, theirs = whole.summary(), split.summary()
    for name, value in ours.items():
        assert theirs[name] == (pytest.approx(value) if isinstance(value, float) else value), name


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=50))
def test_sqnr_is_that_of_one_line_of_numpy(real: list[float]) -> None:
    values = np.array(real)
    words = np.floor(values * 32 + 0.5).astype(np.int64)
    seen = SignalRange("x", SIGNED)
    seen.add(words, values)
    error = words / 32 - values
    if not error.any():
        assert seen.sqnr_db == math.inf and seen.summary()["sqnr_db"] is None
    elif np.square(values).sum() > 0 and np.square(error).sum() > 1e-300:
        expected = 10 * np.log10(np.square(values).sum() / np.square(error).sum())
        assert seen.sqnr_db == pytest.approx(expected)


def test_decibels_at_the_ends() -> None:
    assert decibels(100.0, 1.0) == pytest.approx(20.0)
    assert decibels(1.0, 0.0) == math.inf and decibels(0.0, 1.0) == -math.inf


def test_overflows_are_counted_by_side_with_the_first() -> None:
    seen = SignalRange("x", SQ(3, 0))
    seen.add(np.array([0, 3]), np.array([0.0, 3.0]), np.array([0, 3]))
    assert seen.overflows == 0 and seen.first_overflow is None
    seen.add(np.array([3, 3, -4]), np.array([3.0, 3, -4]), np.array([3, 4, -9]))
    assert (seen.overflows_top, seen.overflows_bottom, seen.first_overflow) == (1, 1, 3)
    assert (seen.wanted_min, seen.wanted_max) == (-9, 4)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x: shapes \(2,\), \(3,\), \(2,\): must be equal"):
        SignalRange("x", SIGNED).add(np.zeros(2, np.int64), np.zeros(3))


@given(st.integers(-4000, 4000), st.integers(-4000, 4000), st.integers(0, 4), st.booleans())
def test_needed_bits_are_enough_and_not_one_too_many(a: int, b: int, integer: int, signed: bool) -> None:
    low, high = min(a, b), max(a, b)
    fmt = QFormat(signed, integer + signed, 3)
    needs_sign, bits = needed_bits(fmt, low / 8, high / 8)
    found = QFormat(needs_sign, bits, 3)
    assert found.raw_min <= low and high <= found.raw_max
    assert needs_sign == (signed or low < 0)
    grown = fmt.integer_bits + (needs_sign and not signed)
    if bits > grown:
        narrower = QFormat(needs_sign, bits - 1, 3)
        assert not (narrower.raw_min <= low and high <= narrower.raw_max)


def test_a_value_that_just_rounds_into_its_format_needs_no_bit() -> None:
    assert needed_bits(UQ(1, 2), 0.0, 1.75 + 0.124) == (False, 1)
    assert needed_bits(UQ(1, 2), 0.0, 1.75 + 0.125) == (False, 2)
    assert needed_bits(UQ(1, 2), -0.126, 1.0) == (True, 2)


def test_formats_of_the_numbers_among_the_signals() -> None:
    config = ChipConfig.make()
    formats = signal_formats(config)
    assert formats["weight"] == config.formats.weight and formats["trace"] == config.formats.trace
    assert formats["scaled"] == config.scaled_format
    assert formats["age"].raw_max >= config.trace_steps > formats["age"].raw_max // 2


# --- parameters -------------------------------------------------------------------------------


def test_a_parameter_by_hand() -> None:
    one = Quantised("θ", 0.3, UQ(0, 4))  # 4.8 LSB
    assert (one.word, one.quantised) == (5, 0.3125)
    assert one.error_lsb == pytest.approx(0.2) and one.relative_error == pytest.approx(0.0125 / 0.3)
    assert not one.rounds_to_zero
    # 0.3: 9.6 (10), 19.2 (19), 38.4 (38), 76.8 (77), 153.6, 307.2 (307: 0.07 %)
    assert one.missing_fraction_bits == 6
    zero = Quantised("δ", 0.02, UQ(0, 4))
    assert zero.rounds_to_zero and zero.word == 0 and zero.relative_error == 1.0
    nothing = Quantised("δ", 0.0, UQ(0, 4))
    assert not nothing.rounds_to_zero and nothing.missing_fraction_bits == 0
    assert Quantised("δ", 2.0**-70, UQ(0, 4)).missing_fraction_bits is None


@given(st.integers(1, 10**6), st.integers(2, 20))
def test_missing_fraction_bits_are_the_fewest(numerator: int, fraction: int) -> None:
    value = numerator / 10**6 * 0.9
    missing = Quantised("x", value, UQ(0, fraction)).missing_fraction_bits
    assert missing is not None

    def off(bits: int) -> Fraction:
        exact = Fraction(value)
        word = math.floor(exact * 2**bits + Fraction(1, 2))
        return abs(Fraction(word, 2**bits) / exact - 1)

    assert off(fraction + missing) <= Fraction(1001, 10**6)
    assert all(off(fraction + fewer) > Fraction(999, 10**6) for fewer in range(missing))


def test_the_default_parameters_lack_nothing() -> None:
    found = {one.name: one for one in quantised_parameters(ChipConfig.make())}
    assert list(found) == [
        "trace.start",
        "(trace.start - trace.end)/steps",
        "threshold.level",
        "weight.initial",
        "plasticity.potentiation",
        "plasticity.depression",
    ]
    assert all(one.missing_fraction_bits == 0 and not one.rounds_to_zero for one in found.values())


def test_a_coarse_potentiation_is_named_with_its_bits() -> None:
    with pytest.warns(PrecisionWarning):
        config = ChipConfig.make(formats={"potentiation": "UQ(0,20)"})
    found = {one.name: one for one in quantised_parameters(config)}["plasticity.potentiation"]
    # 35.2322 LSB becomes 35 (0.66 %); two bits: 140.93, 141 (0.05 %).
    assert found.word == 35 and found.missing_fraction_bits == 2


def test_coefficients_are_judged_as_they_are_stored() -> None:
    config = ChipConfig.make(
        recalibration={
            "enabled": True,
            "alpha": (1e-3, 0.5, 0.0),
            "beta": (10.0, 20.0, 30.0),
            "gamma": (1.0, 1e-9),
        }
    )
    found = {one.name: one for one in quantised_parameters(config)}
    betas = [found[f"recalibration.beta[{power}]"] for power in range(3)]
    assert 0.5 <= max(abs(one.value) for one in betas) < 1
    scale = config.rate_full_scale_hz
    ratio = betas[2].value / betas[0].value
    assert ratio == pytest.approx(3 * scale**2)
    assert found["recalibration.gamma[1]"].rounds_to_zero == (1e-9 * scale < 2.0**-28)
