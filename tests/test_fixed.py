"""Number formats: exhaustive on all small formats, against exact fractions, fxpmath and the hardware."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from fxpmath import Fxp
from hypothesis import given
from hypothesis import strategies as st
from microzone.gateware.fixed import resize as hdl_resize
from microzone.golden_model.fixed import SQ, UQ, Overflow, QFormat, Rounding, quantize, resize, to_real

WIDEST = 4
FORMATS = [
    QFormat(signed, integer, fraction)
    for signed in (False, True)
    for integer, fraction in itertools.product(range(WIDEST + 1), repeat=2)
    if signed <= integer and 1 <= integer + fraction <= WIDEST
]
MODES = list(itertools.product(Rounding, Overflow))


def words(fmt: QFormat) -> np.ndarray:
    return np.arange(fmt.raw_min, fmt.raw_max + 1)


def exact(value: Fraction, fmt: QFormat, rounding: Rounding, overflow: Overflow) -> int:
    """The definition, in exact arithmetic."""
    scaled = value * 2**fmt.fraction_bits
    if rounding is Rounding.FLOOR:
        raw = floor(scaled)
    elif rounding is Rounding.HALF_UP:
        raw = floor(scaled + Fraction(1, 2))
    else:
        raw = round(scaled)  # Python's round of a Fraction goes half to even
    if overflow is Overflow.SATURATE:
        return min(max(raw, fmt.raw_min), fmt.raw_max)
    return (raw - fmt.raw_min) % (1 << fmt.width) + fmt.raw_min


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_resize_is_exact_on_all_small_formats(rounding: Rounding, overflow: Overflow) -> None:
    for source, target in itertools.product(FORMATS, repeat=2):
        got = resize(words(source), source, target, rounding=rounding, overflow=overflow)
        want = [
            exact(Fraction(int(raw), 2**source.fraction_bits), target, rounding, overflow)
            for raw in words(source)
        ]
        assert got.tolist() == want, (source, target)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_quantize_agrees_with_fxpmath(rounding: Rounding, overflow: Overflow) -> None:
    values = np.arange(-80, 81) / 8 / 4  # quarters of the finest LSB, so every tie of every format
    for fmt in FORMATS:
        # fxpmath has no half-up: it is the floor of half an LSB more.
        shift, method = {
            Rounding.HALF_UP: (fmt.lsb / 2, "floor"),
            Rounding.HALF_EVEN: (0.0, "around"),
            Rounding.FLOOR: (0.0, "floor"),
        }[rounding]
        oracle = Fxp(
            values + shift, signed=fmt.signed, n_word=fmt.width, n_frac=fmt.fraction_bits,
            rounding=method, overflow=overflow.value,
        )  # fmt: skip
        got = quantize(values, fmt, rounding=rounding, overflow=overflow)
        assert got.tolist() == np.asarray(oracle.val).astype(int).tolist(), fmt


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_hardware_resize_equals_python(rounding: Rounding, overflow: Overflow) -> None:
    m = Module()
    inputs = {source: Signal(source.as_shape(), name=f"in{i}") for i, source in enumerate(FORMATS)}
    outputs = {}
    for number, (source, target) in enumerate(itertools.product(FORMATS, repeat=2)):
        value = hdl_resize(inputs[source], source, target, rounding=rounding, overflow=overflow)
        assert value.shape() == target.as_shape()
        outputs[source, target] = Signal(target.as_shape(), name=f"out{number}")
        m.d.comb += outputs[source, target].eq(value)

    async def bench(ctx) -> None:  # type: ignore[no-untyped-def]
        for index in range(1 << WIDEST):
            for source, signal in inputs.items():
                ctx.set(signal, int(words(source)[index % (1 << source.width)]))
            for (source, target), signal in outputs.items():
                raw = int(words(source)[index % (1 << source.width)])
                want = resize(raw, source, target, rounding=rounding, overflow=overflow)
                assert ctx.get(signal) == want, (source, target, raw)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


@given(
    st.floats(-(2.0**40), 2.0**40),
    st.integers(0, 20),
    st.integers(0, 20),
    st.booleans(),
    st.sampled_from(MODES),
)
def test_quantize_is_exact_on_any_float(x: float, i: int, f: int, signed: bool, mode: tuple) -> None:  # type: ignore[type-arg]
    fmt = QFormat(signed, i + 1, f)
    rounding, overflow = mode
    want = exact(Fraction(x), fmt, rounding, overflow)
    assert quantize(x, fmt, rounding=rounding, overflow=overflow) == want


def test_quantize_saturates_at_the_widest_formats() -> None:
    for fmt in (UQ(0, 62), SQ(1, 61), UQ(62, 0)):
        assert quantize(2.0**70, fmt) == fmt.raw_max
        assert quantize(-(2.0**70), fmt) == fmt.raw_min
        assert resize(fmt.raw_max, fmt, fmt) == fmt.raw_max


def test_scalars_stay_python_numbers() -> None:
    assert type(quantize(0.5, UQ(0, 4))) is int
    assert type(resize(3, UQ(2, 2), UQ(2, 0))) is int
    assert type(to_real(3, UQ(2, 2))) is float


def test_formats_read_and_print() -> None:
    for fmt in FORMATS:
        assert QFormat.parse(str(fmt)) == fmt
    assert SQ(2, 3).min == -2 and SQ(2, 3).max == 1.875 and SQ(2, 3).lsb == 0.125


@pytest.mark.parametrize("text", ["UQ(0,0)", "SQ(0,4)", "Q(1,2)", "UQ(1,-2)", "UQ(40,40)", "UQ(1;2)", ""])
def test_impossible_formats_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"needs integer bits|width|is not a format"):
        QFormat.parse(text)


def test_bad_words_and_values_are_refused() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        quantize([0.0, np.nan], UQ(0, 4))
    with pytest.raises(ValueError, match="outside"):
        resize(16, UQ(0, 4), UQ(0, 2))
    with pytest.raises(ValueError, match="integers"):
        resize(0.5, UQ(0, 4), UQ(0, 2))
    with pytest.raises(ValueError, match="has shape"):
        hdl_resize(Signal(3), UQ(0, 4), UQ(0, 2))
