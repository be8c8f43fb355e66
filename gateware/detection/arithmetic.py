"""The arithmetic of the event detection: accumulator of the averages, the gain's product, the frames so far.

All is made for FPGAs whose logic cell is a LUT of four inputs, a carry and a flip-flop: what a carry chain
adds comes in the right sign, since an inverter in front of it costs a cell, and the flip-flops behind it take
its sum and nothing else.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib.wiring import In, Out

from ...golden_model.detection_parameters import DetectionParameters
from ...golden_model.fixed import QFormat
from ..component import Component
from ..fixed import resize

__all__ = ["Accumulator", "FrameCount", "GainProduct", "is_less"]


def is_less(value: Value, inverted: Value) -> Value:
    """``value < ~inverted``, `value` without sign and `inverted` with one: the sign of their difference."""
    return (Cat(1, value, 0).as_signed() + Cat(1, inverted).as_signed())[-1]


class FrameCount(Component):
    """How many frames have begun, and whether an average that is still a plain one becomes a slower one.

    Parameters
    ----------
    parameters : DetectionParameters

    Members
    -------
    frame : In(1)
        A frame begins.
    inverted : Out(signed(count_format.width + 2))
        ``~(frames begun)`` two cycles later. Once they are more than any number of ``count_format`` they stay
        more, and only the bits of ``count_format`` go on.
    log2 : In(range(most_bits + 1))
        The shift of such an average.
    grows : Out(1)
        One more from the next frame on: the frames begun by then are a multiple of ``2**(log2 + 1)``. From 0
        on, with every frame, that is floor(log2(frames begun)), most_bits at most.
    """

    frame: Signal
    inverted: Signal
    log2: Signal
    grows: Signal

    def __init__(self, parameters: DetectionParameters) -> None:
        self._count, self._most_bits = parameters.count_format, parameters.most_bits
        super().__init__(
            {
                "frame": In(1),
                "inverted": Out(Shape(self._count.width + 2, signed=True)),
                "log2": In(range(self._most_bits + 1)),
                "grows": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        begins = Signal()
        inverted = self.inverted
        beyond = inverted[self._count.width :]
        m.d.sync += begins.eq(self.frame)
        # It is 0 in the first cycle after reset: a flip-flop that starts as 1 has inverters on both sides.
        with m.If(begins | ~inverted[-1]):
            m.d.sync += inverted.eq(inverted - 1)
        with m.If(beyond == 0b10):
            m.d.sync += beyond.eq(0b10)
        # One frame more is such a multiple where all bits below are 1. None of them is in that first cycle.
        ends = Cat((inverted[: bits + 1] == 0) & inverted[-1] for bits in range(self._most_bits))
        m.d.comb += self.grows.eq(ends.bit_select(self.log2, 1))
        return m


class Accumulator(Component):
    """``augend + ~(value >> bits)``: the averages, and what is between them.

    The leaky average old + (operand - old) / 2**bits takes two cycles and no inverter for `old`, the augend::

        ~(operand - old) = old + ~operand
        old + (operand - old) / 2**bits = old + ~(~(operand - old) >> bits)

    It is rounded half up: the last bit shifted out, inverted too, is the carry.

    Parameters
    ----------
    parameters : DetectionParameters
    width : int
        Bits of a word of the table.

    Attributes
    ----------
    work : QFormat
        What averages and rectified samples need of ``formats.detection_state``.

    Members
    -------
    word : In(signed(width))
        The augend: a word of the table.
    sample : In(formats.detection_state)
        The augend instead, with `sampling`; its value then, if `alone`.
    takes : In(1)
        Take the sum, the next `value`, as all that follows says.
    sampling, alone : In(1)
        Take `sample`; take the augend only.
    bits : In(range(most_bits + 1))
        Shift what is in it, of so many bits as the difference of two averages has.
    rounding, carry : In(1)
        Add the rounding of the shift; add 1.
    invert : In(1)
        Take its complement instead.
    saturating : In(1)
        Hold it at the maximum of `work`; it is not negative.
    clear : In(1)
        Take 0 instead.
    value : Out(signed(width + 1))
    """

    word: Signal
    sample: Signal
    takes: Signal
    sampling: Signal
    alone: Signal
    bits: Signal
    rounding: Signal
    carry: Signal
    invert: Signal
    saturating: Signal
    clear: Signal
    value: Signal

    def __init__(self, parameters: DetectionParameters, width: int) -> None:
        state, limit = parameters.config.formats.detection_state, parameters.input_format.integer_bits
        # The mean stays among the samples, so that abs(x - m) has a bit more than these.
        self._difference = QFormat(True, min(limit, state.integer_bits) + 1, state.fraction_bits)
        self.work = QFormat(True, min(limit + 1, state.integer_bits), state.fraction_bits)
        # A sample that is not saturated has zeros below.
        self._zeros = parameters.align if limit <= state.integer_bits else 0
        self._width = width
        super().__init__(
            {
                "word": In(Shape(width, signed=True)),
                "sample": In(state.as_shape()),
                "takes": In(1),
                "sampling": In(1),
                "alone": In(1),
                "bits": In(range(parameters.most_bits + 1)),
                "rounding": In(1),
                "carry": In(1),
                "invert": In(1),
                "saturating": In(1),
                "clear": In(1),
                "value": Out(Shape(width + 1, signed=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        width, zeros, difference = self._width, self._zeros, self._difference
        # The two summands. In place of a sample's lowest bits, all 0, come the word's, which are reset below.
        shifted = Cat(Const(1, 1), self.value[: difference.width]).as_signed() >> self.bits
        addend = Mux(self.alone, 0, ~shifted[1:].as_signed())
        chosen = Mux(self.sampling, self.sample[zeros:].as_signed(), self.word[zeros:].as_signed())
        augend = Cat(self.word[:zeros], chosen).as_signed()
        # One carry chain, the carry coming from below.
        carry = Signal()
        m.d.comb += carry.eq(self.carry | (self.rounding & ~shifted[0]))
        total = (Cat(carry, augend).as_signed() + Cat(carry, addend).as_signed())[1 : 2 + width]
        result = (total ^ self.invert.replicate(width + 1)).as_signed()
        with m.If(self.takes):
            m.d.sync += self.value.eq(result)
        if self.work != difference:
            with m.If(self.saturating):
                held = resize(result[: difference.width].as_signed(), difference, self.work)
                m.d.sync += self.value.eq(held)
        # Last, and not as one more choice of the sum: so they are resets of the flip-flops.
        with m.If(self.clear | self.sampling):
            m.d.sync += self.value[:zeros].eq(0)
        with m.If(self.clear):
            m.d.sync += self.value[zeros:].eq(0)
        return m


class GainProduct(Component):
    """The threshold gain·v, rounded half up: a bit of the gain a cycle from the lowest.

    The gain's register shifts out as the product shifts in, which begins with half of
    its last bit: that rounds.

    Parameters
    ----------
    parameters : DetectionParameters
    work : QFormat
        Of v.

    Members
    -------
    start : In(1)
        Take `gain` and `factor`.
    gain : In(formats.detection_gain)
    factor : In(work.width - 1)
        v, which is not negative.
    ends : Out(1)
        In the last of as many cycles as the gain has bits, and after them.
    threshold : Out(parameters.threshold_format.width)
        After them.
    relative : Out(1)
        The gain is not 0.
    """

    start: Signal
    gain: Signal
    factor: Signal
    ends: Signal
    threshold: Signal
    relative: Signal

    def __init__(self, parameters: DetectionParameters, work: QFormat) -> None:
        self._gain = parameters.config.formats.detection_gain
        self._high_bits = max(work.width - 1, self._gain.fraction_bits)
        super().__init__(
            {
                "start": In(1),
                "gain": In(self._gain.as_shape()),
                "factor": In(work.width - 1),
                "ends": Out(1),
                "threshold": Out(self._gain.integer_bits + self._high_bits),
                "relative": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        gain = self._gain
        left = Signal(range(gain.width + 1))  # bits of the gain to go
        factor = Signal.like(self.factor)
        # The gain in its low bits, of which the lowest decides on the next sum in the high ones.
        product = Signal(gain.width + self._high_bits)
        low, high = product[: gain.width], product[gain.width :]
        m.d.comb += [self.ends.eq(left <= 1), self.threshold.eq(product[gain.fraction_bits :])]
        with m.If(left != 0):
            added = Mux(low[0], high + factor, high)
            m.d.sync += [left.eq(left - 1), product.eq(Cat(low[1:], added[: len(high) + 1]))]
        with m.If(self.start):
            rounding = 1 << gain.fraction_bits >> 1  # half of the threshold's last bit; 0 without a fraction
            m.d.sync += [
                left.eq(gain.width),
                factor.eq(self.factor),
                product.eq(Cat(self.gain, Const(rounding, len(high)))),
                self.relative.eq(self.gain.any()),
            ]
        return m
